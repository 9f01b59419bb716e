//! A disk that hangs: a sync that neither ends nor fails (M6, M7). What waits for it waits, whoever comes meanwhile gets an
//! answer, the daemon says that it is not ready, and a stop does not wait.
//!
//! `strace` delays one `fdatasync` of the real process.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::support::line::{Line, identity};
use crate::support::site::PAN;
use crate::support::strace::{can_trace_for, injected};
use crate::support::{Options, Site, code, sale, until};

/// The exit code that the table of `switchd --help` calls journal-storage.
const JOURNAL_STORAGE: i32 = 22;

/// The one that it calls drain-cut.
const DRAIN_CUT: i32 = 30;

/// A site whose daemon hangs for so long in a sync after its start, and how many sales it took before: the last one waits.
async fn hanging(delay: Duration) -> (Site, Line, u32) {
    let mut site = Site::open(Options { original_horizon: 1_500, ..Options::default() }).await;
    site.daemon.stop().await;
    // Beyond what a start syncs on any thread, and met by the journal's after some sales.
    let tracer = injected("fdatasync", &format!("delay_enter={}", delay.as_micros()), "20");
    site.spawn_again_under(&tracer);
    site.daemon.ready().await;
    let mut line = site.line(1).await;
    for stan in 1..=40 {
        line.send(&sale(1, stan, PAN, u64::from(stan))).await;
        match tokio::time::timeout(Duration::from_secs(1), line.receive()).await {
            Ok(answer) => assert_eq!(code(&answer.expect("it lives")), "00", "sale {stan}"),
            Err(_) => return (site, line, stan),
        }
    }
    panic!("no sync hung");
}

#[tokio::test]
async fn m7_while_the_disk_hangs_new_requests_get_96_and_afterwards_all_is_as_it_should_be() {
    if !can_trace_for("m7") {
        return;
    }
    let (site, mut waits, last) = hanging(Duration::from_secs(8)).await;
    until("it says that it is not ready", async || (!site.daemon.is_ready().await).then_some(())).await;
    assert!(site.daemon.metric("switchd_commit_age_seconds").await >= 2.0);
    let mut other = site.line(2).await;
    let since = Instant::now();
    assert_eq!(code(&other.ask(&sale(2, 1, PAN, 700)).await), "96");
    assert!(since.elapsed() < Duration::from_secs(2), "at once");
    // The one that met the hanging disk gets what it is due when the disk goes on.
    assert_eq!(code(&waits.receive().await.expect("it is answered")), "00");
    until("it is ready again", async || site.daemon.is_ready().await.then_some(())).await;
    assert_eq!(site.daemon.metric("switchd_commit_age_seconds").await.floor(), 0.0);
    assert_eq!(code(&other.ask(&sale(2, 2, PAN, 800)).await), "00");
    site.nothing_in_doubt().await;
    assert_eq!(site.issuer_net(), (1..=i64::from(last)).sum::<i64>() + 800, "what got 96 moved nothing");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_disk_that_hangs() {
    if !can_trace_for("m6") {
        return;
    }
    let (mut site, _waits, _) = hanging(Duration::from_secs(15)).await;
    until("it says that it is not ready", async || (!site.daemon.is_ready().await).then_some(())).await;
    let since = Instant::now();
    site.daemon.terminate();
    until("it drains", async || site.daemon.log().contains("draining").then_some(())).await;
    // The second one ends the drain. Again and again, as a tracer that holds a thread may swallow one.
    let gave_up = || site.daemon.log().contains("does not answer; next: look at the disk");
    until("it gives up", async || {
        site.daemon.terminate();
        tokio::time::sleep(Duration::from_millis(200)).await;
        gave_up().then_some(())
    })
    .await;
    assert!(since.elapsed() < Duration::from_secs(10), "after {:?}", since.elapsed());
    // The kernel, and here the tracer, keeps the process for as long as the call is in its hands.
    assert_eq!(site.daemon.exited().await.code(), Some(JOURNAL_STORAGE));
    site.start_again().await;
    site.nothing_in_doubt().await;
}

/// The slow disk makes time between the close of all connections and the end of the process.
#[tokio::test]
async fn a_handshake_that_ends_while_everything_closes_does_not_hold_up_the_stop() {
    if !can_trace_for("a_handshake_that_ends_while_everything_closes") {
        return;
    }
    let (mut site, _waits, _) = hanging(Duration::from_millis(2_200)).await;
    let open = site.daemon.descriptors();
    let late = TcpStream::connect(site.daemon.address()).await.expect("the kernel takes it");
    until("the daemon has taken it", async || (site.daemon.descriptors() > open).then_some(())).await;
    let logs = async |text: &str| until(text, async || site.daemon.log_since_start().contains(text).then_some(())).await;
    site.daemon.terminate();
    logs("draining").await;
    site.daemon.terminate();
    logs("link connection closed").await;
    let tls = identity(&site.tls(), "TERM0002").client().expect("init made it");
    // On a slow machine the daemon may have ended by now.
    if let Ok(mut late) = Line::over(late, tls).await {
        assert!(late.receive().await.is_none());
    }
    assert_eq!(site.daemon.exited().await.code(), Some(DRAIN_CUT), "a sale is open");
    assert!(!site.daemon.log_since_start().contains("connections do not close"));
}
