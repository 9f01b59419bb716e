//! Peers that say nothing, before or after their handshake: they keep nobody out, they go, and the log says why.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::support::site::PAN;
use crate::support::{Options, Site, code, name, sale, until, within};

/// Connections of one peer that says nothing on any of them.
async fn silent(site: &Site, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(TcpStream::connect(site.daemon.address()).await.expect("the kernel takes it"));
    }
    held
}

/// The daemon closes this connection.
async fn assert_closed(stream: &mut TcpStream) {
    let read = within("the end of a silent connection", stream.read(&mut [0; 1])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "it is closed, and nothing is said");
}

async fn assert_served(site: &Site, number: u16) {
    assert_eq!(code(&site.line(number).await.ask(&sale(number, 1, PAN, 100)).await), "00");
}

#[tokio::test]
async fn six_hundred_silent_connections_keep_no_terminal_out() {
    let limits = "first_byte_timeout = \"1h\"\nhandshake_timeout = \"1h\"";
    let site = Site::open(Options { limits, ..Options::default() }).await;
    let held = silent(&site, 600).await;
    assert_served(&site, 1).await;
    assert_eq!(site.daemon.metric("switchd_terminal_refused_total").await, 0.0);
    drop(held);
}

#[tokio::test]
async fn when_all_places_are_taken_the_one_that_is_silent_for_longest_goes() {
    let limits = "first_byte_timeout = \"1h\"\nhandshake_timeout = \"1h\"\nunauthenticated_max = 20";
    let site = Site::open(Options { limits, ..Options::default() }).await;
    let mut held = silent(&site, 60).await;
    assert_served(&site, 1).await;
    for gone in &mut held[..40] {
        assert_closed(gone).await;
    }
    site.daemon.counts("switchd_terminal_refused_total", 41.0).await;
    let newest = held.last_mut().expect("there are 60");
    assert!(newest.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "it stays");
}

#[tokio::test]
async fn a_silent_connection_is_closed_in_time_and_the_log_stays_short() {
    let options = Options { limits: "first_byte_timeout = \"100ms\"", log: "info", ..Options::default() };
    let site = Site::open(options).await;
    for mut stream in silent(&site, 100).await {
        assert_closed(&mut stream).await;
    }
    site.daemon.counts("switchd_terminal_refused_total", 100.0).await;
    let count = |log: &str, text: &str| log.lines().filter(|line| line.contains(text)).count();
    until("the rest is counted in a line", async || (count(&site.daemon.log(), "were left out") > 0).then_some(())).await;
    let lines = count(&site.daemon.log(), "first_byte_timeout");
    assert!((1..100).contains(&lines), "{lines} lines for 100 connections");
}

#[tokio::test]
async fn why_the_switch_hung_up_on_a_terminal_is_in_the_log() {
    let options = Options { limits: "frame_timeout = \"200ms\"", log: "info", ..Options::default() };
    let site = Site::open(options).await;
    for (number, bytes, reason) in [(1, &[0xff, 0xff][..], "too_long"), (2, &[0, 99, b'0'], "slow_frame")] {
        let mut line = site.line(number).await;
        assert_eq!(code(&line.ask(&sale(number, 1, PAN, 100)).await), "00");
        line.send_bytes(bytes).await;
        assert!(line.receive().await.is_none(), "{reason}");
        let said = |line: &str| line.contains(reason) && line.contains(&name(number)) && line.contains("INFO");
        until(reason, async || site.daemon.log().lines().any(said).then_some(())).await;
    }
}
