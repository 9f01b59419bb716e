//! Who has no certificate, one that is over, one that was taken back, or one of somebody else.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::{SHORT, check, client, refused, site};
use crate::support::authority::{EXPIRED, GOOD};
use crate::support::line::Line;
use crate::support::site::{PAN, configuration};
use crate::support::{Authority, Options, Site, code, name, sale, until, within};

const REFUSED: &str = "switchd_terminal_refused_total";

/// Nobody with this configuration is answered. With TLS 1.3 a client learns of it when it says something.
async fn assert_refused(site: &Site, config: Arc<ClientConfig>) {
    let connected = within("the handshake", Line::connect(site.daemon.address(), config)).await;
    if let Ok(mut line) = connected {
        line.try_send(&sale(2, 1, PAN, 100)).await;
        assert!(line.receive().await.is_none(), "it was answered");
    }
}

async fn twenty(site: &Site, config: &Arc<ClientConfig>) {
    for _ in 0..20 {
        assert_refused(site, config.clone()).await;
    }
}

#[tokio::test]
async fn no_certificate() {
    let site = site(SHORT).await;
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(site.tls().join("ca.pem")).expect("init made it");
    roots.add(ca).expect("it is a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let config = Arc::new(config);
    check("no certificate", &site, || twenty(&site, &config)).await;
    site.daemon.series_counts(REFUSED, &refused("no_certificate"), 40.0).await;
}

#[tokio::test]
async fn an_expired_certificate() {
    let site = site(SHORT).await;
    Authority::of(&site.tls()).sign("old", &name(2), 7, EXPIRED);
    let config = client(&site, "old");
    check("expired certificate", &site, || twenty(&site, &config)).await;
    site.daemon.series_counts(REFUSED, &refused("certificate_expired"), 40.0).await;
}

#[tokio::test]
async fn a_revoked_certificate() {
    let mut site = site(SHORT).await;
    let authority = Authority::of(&site.tls());
    authority.sign("taken-back", &name(2), 66, GOOD);
    authority.sign("other", &name(3), 67, GOOD);
    // While nothing says that it is revoked it is as good as any; so it is the list that refuses it.
    let config = client(&site, "taken-back");
    let mut line = Line::connect(site.daemon.address(), config.clone()).await.expect("it is good");
    assert_eq!(code(&line.ask(&sale(2, 1, PAN, 100)).await), "00");
    drop(line);
    site.daemon.stop().await;
    authority.revoke(&[65, 66], 4000);
    site.set_listen("client_crl = \"tls/ca.crl\"");
    site.start_again().await;
    check("revoked certificate", &site, || twenty(&site, &config)).await;
    site.daemon.series_counts(REFUSED, &refused("certificate_revoked"), 40.0).await;
    let mut other = Line::open(site.daemon.address(), &site.tls(), "other").await;
    assert_eq!(code(&other.ask(&sale(3, 1, PAN, 100)).await), "00", "one that is not on the list is served");
}

/// A list past its next update still counts, and still refuses whom it names.
#[tokio::test]
async fn an_old_revocation_list_refuses_only_whom_it_names() {
    let mut site = site("").await;
    let authority = Authority::of(&site.tls());
    authority.sign("taken-back", &name(2), 66, GOOD);
    authority.revoke(&[66], 2021);
    site.daemon.stop().await;
    site.set_listen("client_crl = \"tls/ca.crl\"");
    site.start_again().await;
    assert_refused(&site, client(&site, "taken-back")).await;
    assert_eq!(code(&site.line(1).await.ask(&sale(1, 1, PAN, 100)).await), "00");
    let said = |line: &str| line.contains("client_crl") && line.contains("expired") && line.contains("ERROR");
    until("the log says that the list is old", async || site.daemon.log().lines().any(said).then_some(())).await;
}

#[tokio::test]
async fn a_revocation_list_that_cannot_be_right_is_refused_at_the_start() {
    let site = site("").await;
    let cases: [(&str, &dyn Fn(), &str); 3] = [
        ("tls/nobody.crl", &|| (), "nobody.crl"),
        ("tls/ca.pem", &|| (), "no revocation list in it"),
        ("tls/ca.crl", &|| foreign_list(&site), "no revocation list of CN=switchd development authority"),
    ];
    for (file, prepare, named) in cases {
        prepare();
        let listen = format!("client_crl = \"{file}\"");
        let options = Options { listen: Box::leak(listen.into_boxed_str()), ..Options::default() };
        let config = site.dir().join("other.toml");
        let text = configuration(&options, ([127, 0, 0, 1], 0).into(), &[(([127, 0, 0, 1], 9).into(), true)]);
        std::fs::write(&config, text).expect("the directory is ours");
        let config = config.to_str().expect("the path is text");
        let output = crate::support::daemon::switchd(["serve", "--config", config]).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(10), "{said}");
        assert!(said.contains(named), "{named} is not in {said}");
    }
}

/// A list of an authority that signs nobody here.
fn foreign_list(site: &Site) {
    let elsewhere = site.dir().join("elsewhere");
    std::fs::create_dir_all(&elsewhere).expect("the directory is ours");
    Authority::named("another authority", &elsewhere).revoke(&[66], 4000);
    std::fs::copy(elsewhere.join("ca.crl"), site.tls().join("ca.crl")).expect("the directory is ours");
}

#[tokio::test]
async fn another_authoritys_certificate_with_the_right_names() {
    let site = site(SHORT).await;
    Authority::impostor(&site.tls()).sign("false", &name(2), 7, GOOD);
    let config = client(&site, "false");
    check("another authority's certificate", &site, || twenty(&site, &config)).await;
    site.daemon.series_counts(REFUSED, &refused("certificate"), 40.0).await;
}

/// 03, in the audit log and counted; many of them make few lines.
#[tokio::test]
async fn another_terminals_de41() {
    let site = site("").await;
    let steal = async || {
        let mut line = site.line(2).await;
        for stan in 1..=200 {
            assert_eq!(code(&line.ask(&sale(3, stan, PAN, 100)).await), "03");
        }
    };
    check("another terminal's DE41", &site, steal).await;
    assert_eq!(site.daemon.metric("switchd_not_allowed_total").await, 400.0);
    let of_three = site.daemon.movements().await.into_iter().filter(|movement| movement.terminal == name(3)).count();
    assert_eq!(of_three, 0, "nothing of it reached the core");
    let log = site.daemon.log();
    let audited = log.lines().filter(|line| line.contains("audit") && line.contains(&name(3))).count();
    assert!((1..200).contains(&audited), "{audited} lines for 400 attempts");
    until("the rest is counted", async || site.daemon.log().contains("were left out").then_some(())).await;
}
