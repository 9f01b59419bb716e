//! The newest authenticated connection of a terminal wins: one that lost its network does not wait for its own ghost.

use crate::support::site::PAN;
use crate::support::{Options, Site, code, name, sale, until};

#[tokio::test]
async fn the_newest_connection_of_a_terminal_wins_and_the_one_before_is_closed() {
    let site = Site::open(Options { log: "info", ..Options::default() }).await;
    let mut before = site.line(1).await;
    assert_eq!(code(&before.ask(&sale(1, 1, PAN, 100)).await), "00");
    let mut other = site.line(2).await;
    for stan in 2..=4 {
        let mut newest = site.line(1).await;
        assert!(before.receive().await.is_none(), "its earlier connection is closed");
        assert_eq!(code(&newest.ask(&sale(1, stan, PAN, 100 + u64::from(stan))).await), "00");
        before = newest;
    }
    assert_eq!(code(&other.ask(&sale(2, 1, PAN, 50)).await), "00", "another terminal keeps its own");
    site.daemon.series_counts("switchd_terminal_closed_total", "reason=\"superseded\"", 3.0).await;
    let said = |line: &str| line.contains("came again") && line.contains(&name(1));
    until("the log says so", async || site.daemon.log().lines().any(said).then_some(())).await;
    until("two are open", async || (site.daemon.metric("switchd_terminal_connections").await == 2.0).then_some(())).await;
}

/// Whoever speaks for many terminals may have many connections.
#[tokio::test]
async fn a_certificate_of_many_terminals_may_have_many_connections() {
    let mut site = Site::prepare(Options::default(), &[]).await;
    site.daemon.listening().await;
    site.daemon.kill();
    let registry = "[[terminal]]\nsubject = \"TERM0001\"\nallow = \"TERM*/MERCHANT0000001\"\ngroup = 1\n";
    std::fs::write(site.dir().join("terminals.toml"), registry).expect("the directory is ours");
    site.start_again().await;
    let mut lines = [site.line(1).await, site.line(1).await, site.line(1).await];
    for (number, line) in (1..).zip(&mut lines) {
        assert_eq!(code(&line.ask(&sale(number, 1, PAN, 100 + u64::from(number))).await), "00");
    }
}
