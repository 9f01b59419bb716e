//! TLS on both sides: client certificates are required of terminals and shown to issuers; 1.2 and 1.3, no early data.
//!
//! Loads and judges files before anything is bound. Invariant: a connection whose peer's certificate was not verified by
//! the configured authority never carries a message.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::config::registry::Fingerprint;
use crate::config::{LinkTls, Listen};

/// Why TLS cannot be set up; names the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A PEM file that cannot be read, or is none.
    #[error("{file}: {source}", file = .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A PEM file without a certificate.
    #[error("{file}: no certificate in it", file = .0.display())]
    NoCertificate(PathBuf),
    /// A certificate and a key that do not fit, or an authority that cannot be used.
    #[error("{file}: {source}", file = .file.display())]
    Rustls {
        /// Of the certificate.
        file: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// An authority that cannot verify clients.
    #[error("{file}: {source}", file = .file.display())]
    Verifier {
        /// Of the authority.
        file: PathBuf,
        /// Why.
        source: rustls::server::VerifierBuilderError,
    },
    /// A name that no certificate can carry.
    #[error("server_name {0:?}: {1}")]
    Name(String, InvalidDnsNameError),
}

/// For the terminals' side.
pub(crate) fn server(listen: &Listen) -> Result<Arc<ServerConfig>, TlsError> {
    let roots = Arc::new(authorities(&listen.client_ca)?);
    let verifier = WebPkiClientVerifier::builder(roots)
        .build()
        .map_err(|source| TlsError::Verifier { file: listen.client_ca.clone(), source })?;
    let config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&listen.certificate)?, private_key(&listen.key)?)
        .map_err(|source| TlsError::Rustls { file: listen.certificate.clone(), source })?;
    assert_eq!(config.max_early_data_size, 0, "early data can be replayed");
    Ok(Arc::new(config))
}

/// For a link.
pub(crate) fn client(tls: &LinkTls) -> Result<(Arc<ClientConfig>, ServerName<'static>), TlsError> {
    let builder = ClientConfig::builder().with_root_certificates(authorities(&tls.ca)?);
    let config = match &tls.identity {
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|source| TlsError::Rustls { file: certificate.clone(), source })?,
        None => builder.with_no_client_auth(),
    };
    let name =
        ServerName::try_from(tls.server_name.clone()).map_err(|error| TlsError::Name(tls.server_name.clone(), error))?;
    Ok((Arc::new(config), name))
}

/// Who a verified certificate belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// SHA-256 of the certificate.
    pub(crate) fingerprint: Fingerprint,
    /// Its common name.
    pub(crate) subject: Option<String>,
}

impl Identity {
    /// Of an end-entity certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest.as_ref());
        let subject = x509_parser::parse_x509_certificate(certificate).ok().and_then(|(_, parsed)| {
            let name = parsed.subject().iter_common_name().next()?;
            name.as_str().ok().map(str::to_owned)
        });
        Identity { fingerprint, subject }
    }

    /// The fingerprint as the registry writes it.
    pub(crate) fn hex(&self) -> String {
        self.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::File { file: file.to_owned(), source };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).map_err(wrong)?.collect();
    let found = found.map_err(wrong)?;
    if found.is_empty() { Err(TlsError::NoCertificate(file.to_owned())) } else { Ok(found) }
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(file).map_err(|source| TlsError::File { file: file.to_owned(), source })
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|source| TlsError::Rustls { file: file.to_owned(), source })?;
    }
    Ok(roots)
}
