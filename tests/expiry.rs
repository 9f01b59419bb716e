//! Certificates that end soon are on a gauge and in the log, before anybody is refused for one.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{Authority, Options, Site, name, until};

const GAUGE: &str = "switchd_certificate_expiry_timestamp_seconds";

#[tokio::test]
async fn what_ends_soon_is_on_its_gauge_and_warned_of() {
    let mut site = Site::prepare(Options { log: "info", ..Options::default() }, &[]).await;
    site.daemon.listening().await;
    site.daemon.kill();
    assert!(!site.daemon.log().contains("expires soon"), "five years are not soon");
    Authority::of(&site.tls()).sign_server(5);
    site.start_again().await;
    let said = |line: &str| line.contains("WARN") && line.contains("[listen] certificate") && line.contains("within=7");
    until("the log warns", async || site.daemon.log().lines().any(said).then_some(())).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs_f64();
    let ends = site.daemon.series(GAUGE, "named=\"[listen] certificate\",subject=\"switchd\"").await;
    assert!((ends - now - 5.0 * 86_400.0).abs() < 60.0, "five days from now: {ends}");
    for named in ["[listen] client_ca", "link 1.1 ca", "link 1.1 certificate"] {
        let metrics = site.daemon.metrics().await;
        assert!(metrics.contains(&format!("{GAUGE}{{named=\"{named}\"")), "{named} has a gauge");
    }
}

#[tokio::test]
async fn a_terminal_whose_certificate_ends_soon_is_served_and_named() {
    let site = Site::open(Options { log: "info", ..Options::default() }).await;
    Authority::of(&site.tls()).sign_for_days("soon", &name(2), 20);
    let _line = crate::support::line::Line::open(site.daemon.address(), &site.tls(), "soon").await;
    site.daemon.series_counts("switchd_terminal_certificates_expiring_total", "days=\"30\"", 1.0).await;
    let said = |line: &str| line.contains("WARN") && line.contains(&name(2)) && line.contains("expires within");
    until("the log names it", async || site.daemon.log().lines().any(said).then_some(())).await;
}
