//! Mutual TLS 1.2 and 1.3 from PEM files, for both ends.
//!
//! Invariant: no configuration made here accepts a peer without a certificate of the authority.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::NetError;

/// The PEM files of one end: who it is, and whose certificates it accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Certificate chain, own certificate first.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Certificates of the authority that signed the peer's.
    pub authority: PathBuf,
}

impl Identity {
    /// For the end that connects.
    ///
    /// # Errors
    /// [`NetError::Pem`] for a file that cannot be read, [`NetError::Tls`] if they do not fit.
    pub fn client(&self) -> Result<Arc<ClientConfig>, NetError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots()?)
            .with_client_auth_cert(certificates(&self.certificate)?, self.private_key()?)?;
        Ok(Arc::new(config))
    }

    /// For the end that listens.
    ///
    /// # Errors
    /// [`NetError::Pem`] for a file that cannot be read, [`NetError::Tls`] or
    /// [`NetError::Verifier`] if they do not fit.
    pub fn server(&self) -> Result<Arc<ServerConfig>, NetError> {
        let roots = Arc::new(self.roots()?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build()?;
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(&self.certificate)?, self.private_key()?)?;
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, NetError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.authority)? {
            roots.add(certificate)?;
        }
        Ok(roots)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, NetError> {
        PrivateKeyDer::from_pem_file(&self.key).map_err(|reason| pem(&self.key, reason))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, NetError> {
    CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(|reason| pem(file, reason))
}

fn pem(file: &Path, reason: rustls::pki_types::pem::Error) -> NetError {
    NetError::Pem { file: file.to_owned(), reason }
}

/// Named, not the process default: a library must not depend on who installs one first.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
