//! An issuer that is not there: 91 at once, nothing kept waiting, and a refused key stays refused (M7).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::site::PAN;
use crate::support::{Host, Options, Site, code, echo, repeat_of, sale, until};

#[tokio::test]
async fn m7_91_while_it_is_down_and_the_refused_key_stays_refused_when_it_is_back() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&sale(1, 1, PAN, 100)).await), "00");
    site.issuer.set_links_up(false);
    let gone = async || (site.daemon.metric("switchd_link_closed_total").await > 0.0).then_some(());
    until("the link is gone", gone).await;
    let refused = sale(1, 2, PAN, 1250);
    assert_eq!(code(&line.ask(&refused).await), "91");
    assert_eq!(code(&line.ask(&echo(1, 3)).await), "00", "the switch itself is there");
    until("the daemon says that it is not ready", async || (!site.daemon.is_ready().await).then_some(())).await;

    site.issuer.set_links_up(true);
    until("the daemon is ready again", async || site.daemon.is_ready().await.then_some(())).await;
    assert_eq!(code(&line.ask(&repeat_of(&refused)).await), "91", "a delayed copy is not executed later");
    assert_eq!(code(&line.ask(&refused).await), "91");
    assert_eq!(code(&line.ask(&sale(1, 4, PAN, 200)).await), "00");
    assert_eq!(site.issuer_net(), 300);
    assert_eq!(site.daemon.movements().await.len(), 2, "a refusal before an intent leaves no record (M2)");
    site.nothing_in_doubt().await;
}

#[tokio::test]
async fn m7_91_when_it_was_never_there() {
    let nobody = {
        let host = Host::start().await;
        host.address()
    };
    let mut site = Site::prepare(Options::default(), &[]).await;
    site.daemon.listening().await;
    site.daemon.kill();
    site.lead_to(vec![(nobody, false)]);
    site.spawn_again();
    site.daemon.listening().await;
    assert_eq!(code(&site.line(1).await.ask(&sale(1, 1, PAN, 100)).await), "91");
    assert!(!site.daemon.is_ready().await);
}

/// An issuer that does not take a sign-on is not there either.
#[tokio::test]
async fn m7_91_before_the_sign_on_is_answered() {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a free port");
    let mut site = Site::prepare(Options::default(), &[]).await;
    site.daemon.listening().await;
    site.daemon.kill();
    site.lead_to(vec![(listener.local_addr().expect("it is bound"), false)]);
    site.spawn_again();
    site.daemon.listening().await;
    let _mute = crate::support::within("the switch's connection", listener.accept()).await.expect("it connects");
    assert_eq!(code(&site.line(1).await.ask(&sale(1, 1, PAN, 100)).await), "91");
}

/// Connections to a host that refuses sign-on, timed: each wait is at least half of 20, 40, 80 … ms.
#[tokio::test]
async fn a_refused_sign_on_is_named_and_tried_again_ever_later() {
    let host = Host::answering_sign_on("05").await;
    let options = Options { backoff_max: 60_000, log: "info", ..Options::default() };
    let mut site = Site::prepare(options, &[Some(&host)]).await;
    site.daemon.listening().await;
    until("a first attempt", async || (host.connections() >= 1).then_some(())).await;
    let since = Instant::now();
    until("seven more", async || (host.connections() >= 8).then_some(())).await;
    let took = since.elapsed();
    assert!(took >= Duration::from_millis(1_000), "10 + 20 + 40 + 80 + 160 + 320 + 640 ms at least, not {took:?}");
    let log = site.daemon.log();
    let named = |line: &&str| line.contains("WARN") && line.contains("refused the sign-on") && line.contains("code=05");
    assert!(log.lines().filter(named).count() >= 7, "each refusal is named with its code");
}
