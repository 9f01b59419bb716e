//! TLS on both sides: client certificates are required of terminals and shown to issuers; 1.2 and 1.3, no early data.
//!
//! Terminals' sessions are not resumed: a resumed one carries the certificate of an earlier handshake, which may have
//! expired or been taken back since. Loads and judges files before anything is bound. Invariant: a connection whose peer's
//! certificate was not verified by the configured authority, and against its revocation list where there is one, in this
//! very handshake never carries a message.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::x509::X509Name;

use crate::config::registry::Fingerprint;
use crate::config::{LinkTls, Listen, Settings};
use crate::observe::expiry::{self, Ending};
use crate::shell::links::LinkSecurity;

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
    /// A certificate or revocation list that cannot be read.
    #[error("{file}: {problem}", file = .file.display())]
    Unreadable {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A signer of terminals whose revocation list is missing: all its terminals would be refused.
    #[error(
        "{file}: no revocation list of {signer}; next: add the one of each certificate in client_ca", file = .file.display()
    )]
    NoList {
        /// The file of the lists.
        file: PathBuf,
        /// The signer.
        signer: String,
    },
    /// A name that no certificate can carry.
    #[error("server_name {0:?}: {1}")]
    Name(String, InvalidDnsNameError),
}

/// For the terminals' side.
pub(crate) fn server(listen: &Listen) -> Result<Arc<ServerConfig>, TlsError> {
    let roots = Arc::new(authorities(&listen.client_ca)?);
    let mut verifier = WebPkiClientVerifier::builder(roots);
    if let Some(file) = &listen.client_crl {
        let lists = revocation_lists(file)?;
        each_signer_has_a_list(listen, file, &lists)?;
        verifier = verifier.with_crls(lists);
    }
    let verifier = verifier.build().map_err(|source| TlsError::Verifier { file: listen.client_ca.clone(), source })?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&listen.certificate)?, private_key(&listen.key)?)
        .map_err(|source| TlsError::Rustls { file: listen.certificate.clone(), source })?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    assert_eq!(config.max_early_data_size, 0, "early data can be replayed");
    Ok(Arc::new(config))
}

/// For a link.
pub(crate) fn client(tls: &LinkTls) -> Result<LinkSecurity, TlsError> {
    let builder = ClientConfig::builder().with_root_certificates(authorities(&tls.ca)?);
    let config = match &tls.identity {
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(|source| TlsError::Rustls { file: certificate.clone(), source })?,
        None => builder.with_no_client_auth(),
    };
    let name =
        ServerName::try_from(tls.server_name.clone()).map_err(|error| TlsError::Name(tls.server_name.clone(), error))?;
    Ok(LinkSecurity::Tls(Arc::new(config), name))
}

/// Who a verified certificate belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// SHA-256 of the certificate.
    pub(crate) fingerprint: Fingerprint,
    /// Its common name.
    pub(crate) subject: Option<String>,
    /// When it ends, seconds since 1970; never, where that cannot be read.
    pub(crate) not_after_s: i64,
}

impl Identity {
    /// Of an end-entity certificate.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest.as_ref());
        let parsed = x509_parser::parse_x509_certificate(certificate).ok().map(|(_, parsed)| parsed);
        let subject = parsed.as_ref().and_then(|parsed| common_name(parsed.subject()));
        let not_after_s = parsed.map_or(i64::MAX, |parsed| parsed.validity().not_after.timestamp());
        Identity { fingerprint, subject, not_after_s }
    }

    /// The fingerprint as the registry writes it.
    pub(crate) fn hex(&self) -> String {
        self.fingerprint.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Everything of the configuration that ends by itself.
pub(crate) fn endings(settings: &Settings) -> Result<Vec<Ending>, TlsError> {
    let listen = &settings.listen;
    let mut endings = of_certificates("[listen] certificate", &listen.certificate)?;
    endings.extend(of_certificates("[listen] client_ca", &listen.client_ca)?);
    if let Some(file) = &listen.client_crl {
        for list in revocation_lists(file)? {
            let (subject, at_s) = signer_and_end(file, &list)?;
            endings.push(Ending {
                kind: expiry::Kind::RevocationList,
                named: "[listen] client_crl".to_owned(),
                subject,
                at_s,
            });
        }
    }
    for (number, link) in &settings.links {
        let Some(tls) = &link.tls else { continue };
        endings.extend(of_certificates(&format!("link {number} ca"), &tls.ca)?);
        if let Some((certificate, _)) = &tls.identity {
            endings.extend(of_certificates(&format!("link {number} certificate"), certificate)?);
        }
    }
    Ok(endings)
}

fn of_certificates(named: &str, file: &Path) -> Result<Vec<Ending>, TlsError> {
    let ending = |certificate: &CertificateDer<'_>| {
        let identity = Identity::of(certificate);
        Ending {
            kind: expiry::Kind::Certificate,
            named: named.to_owned(),
            subject: identity.subject.unwrap_or_default(),
            at_s: identity.not_after_s,
        }
    };
    Ok(certificates(file)?.iter().map(ending).collect())
}

fn revocation_lists(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let wrong = |source| TlsError::File { file: file.to_owned(), source };
    let found: Result<Vec<_>, _> = CertificateRevocationListDer::pem_file_iter(file).map_err(wrong)?.collect();
    let found = found.map_err(wrong)?;
    if found.is_empty() { Err(unreadable(file, "no revocation list in it")) } else { Ok(found) }
}

/// Who signed a list, and when the next one is due: this one goes on to count, as to refuse every terminal because a file
/// is old would do more harm, but the gauge and the warnings say it.
fn signer_and_end(file: &Path, list: &CertificateRevocationListDer<'_>) -> Result<(String, i64), TlsError> {
    let (_, parsed) = x509_parser::parse_x509_crl(list).map_err(|error| unreadable(file, &error.to_string()))?;
    let at_s = parsed.next_update().map_or(i64::MAX, |next| next.timestamp());
    Ok((common_name(parsed.issuer()).unwrap_or_default(), at_s))
}

/// A signer without a list would have all its terminals refused, one by one, for a reason that nobody would think of.
fn each_signer_has_a_list(listen: &Listen, file: &Path, lists: &[CertificateRevocationListDer<'_>]) -> Result<(), TlsError> {
    let mut signers = Vec::new();
    for list in lists {
        let (_, parsed) = x509_parser::parse_x509_crl(list).map_err(|error| unreadable(file, &error.to_string()))?;
        signers.push(parsed.issuer().as_raw().to_vec());
    }
    for certificate in certificates(&listen.client_ca)? {
        let parsed = x509_parser::parse_x509_certificate(&certificate);
        let (_, parsed) = parsed.map_err(|error| unreadable(&listen.client_ca, &error.to_string()))?;
        if !signers.iter().any(|signer| signer == parsed.subject().as_raw()) {
            return Err(TlsError::NoList { file: file.to_owned(), signer: parsed.subject().to_string() });
        }
    }
    Ok(())
}

fn common_name(name: &X509Name<'_>) -> Option<String> {
    name.iter_common_name().next().and_then(|name| name.as_str().ok()).map(str::to_owned)
}

fn unreadable(file: &Path, problem: &str) -> TlsError {
    TlsError::Unreadable { file: file.to_owned(), problem: problem.to_owned() }
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
