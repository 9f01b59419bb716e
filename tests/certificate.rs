//! Who may speak: only the holder of a registered certificate, and only for its own terminals.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::support::line::{Line, identity, name};
use crate::support::site::{PAN, initialised};
use crate::support::{Options, Site, code, sale, within};

/// With TLS 1.3 the client is done with its handshake before the server has judged it: so a refusal shows when it says
/// something, at the latest.
async fn assert_refused(site: &Site, config: Arc<ClientConfig>) {
    let connected = within("the handshake", Line::connect(site.daemon.address(), config)).await;
    if let Ok(mut line) = connected {
        line.try_send(&sale(1, 1, PAN, 100)).await;
        assert!(line.receive().await.is_none(), "a terminal without the right certificate was answered");
    }
    assert_eq!(site.issuer.movements(), []);
    assert_eq!(site.daemon.movements().await, []);
}

async fn assert_others_are_served(site: &Site) {
    assert_eq!(code(&site.line(1).await.ask(&sale(1, 1, PAN, 100)).await), "00");
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

#[tokio::test]
async fn without_a_certificate_nobody_is_served() {
    let site = Site::open(Options::default()).await;
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(site.tls().join("ca.pem")).expect("init made it");
    roots.add(ca).expect("it is a certificate");
    for versions in [&[&rustls::version::TLS12][..], &[&rustls::version::TLS13]] {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("the provider has both")
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        assert_refused(&site, Arc::new(config)).await;
    }
    assert_others_are_served(&site).await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_whatever_name_it_bears() {
    let site = Site::open(Options::default()).await;
    let elsewhere = initialised(1).await;
    let mut foreign = identity(&elsewhere.path().join("tls"), &name(1));
    // It trusts this switch, but this switch must not trust it.
    foreign.authority = site.tls().join("ca.pem");
    assert_refused(&site, foreign.client().expect("its files fit")).await;
    assert_others_are_served(&site).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_registered_is_refused() {
    let mut site = Site::prepare(Options::default(), &[]).await;
    site.daemon.listening().await;
    site.daemon.kill();
    let registry = "[[terminal]]\nsubject = \"TERM0001\"\nallow = \"TERM0001/MERCHANT0000001\"\ngroup = 1\n";
    std::fs::write(site.dir().join("terminals.toml"), registry).expect("the directory is ours");
    site.start_again().await;
    assert_refused(&site, identity(&site.tls(), &name(2)).client().expect("init made it")).await;
    assert_others_are_served(&site).await;
}

#[tokio::test]
async fn a_certificate_does_not_speak_for_another_terminal_or_merchant() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let mut elsewhere = sale(1, 1, PAN, 100);
    elsewhere.set(42, b"MERCHANT0000002");
    assert_eq!(code(&line.ask(&sale(2, 1, PAN, 100)).await), "03");
    assert_eq!(code(&line.ask(&elsewhere).await), "03");
    assert_eq!(site.issuer.movements(), []);
    assert_eq!(site.daemon.movements().await, []);
    assert_others_are_served(&site).await;
}

/// A terminal must not sell through whoever answers at the address either.
#[tokio::test]
async fn a_terminal_refuses_a_switch_of_another_authority() {
    let site = Site::open(Options::default()).await;
    let elsewhere = initialised(1).await;
    let config = identity(&elsewhere.path().join("tls"), &name(1)).client().expect("its files fit");
    assert!(Line::connect(site.daemon.address(), config).await.is_err());
}
