//! Before anybody knows who it is: silence, drops of bytes, garbage, old versions, two thousand at once.

use counterparts::seeded::Seeded;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep};

use super::{SHORT, Scene, assert_closed, check, connect, refused, site};
use crate::support::{Options, Site, code, echo, within};

const REFUSED: &str = "switchd_terminal_refused_total";

/// A client hello of TLS 1.1 (version 3.2 in the record and in the hello), with no extension that would say more.
fn hello_of_tls_1_1() -> Vec<u8> {
    let mut body = vec![3, 2];
    body.extend([7; 32]);
    // No session, two old suites, no compression.
    body.extend([0, 0, 4, 0x00, 0x2f, 0xc0, 0x13, 1, 0]);
    let length = u8::try_from(body.len()).expect("it is short");
    let mut hello = vec![22, 3, 2, 0, length + 4, 1, 0, 0, length];
    hello.extend(body);
    hello
}

/// So many connections, each doing the same at once; all are closed by the daemon.
async fn all(site: &Site, count: usize, play: impl AsyncFn(&mut TcpStream)) {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(connect(site).await);
    }
    for stream in &mut streams {
        play(stream).await;
    }
    for stream in &mut streams {
        assert_closed(stream).await;
    }
}

#[tokio::test]
async fn silent_after_connect() {
    let site = site(SHORT).await;
    check("silent after connect", &site, || all(&site, 200, async |_| ())).await;
    site.daemon.series_counts(REFUSED, &refused("first_byte_timeout"), 400.0).await;
}

#[tokio::test]
async fn a_handshake_of_one_byte_per_100_ms() {
    let site = site(SHORT).await;
    let drip = async || {
        let mut streams = Vec::new();
        for _ in 0..50 {
            streams.push(connect(&site).await);
        }
        for byte in &hello_of_tls_1_1()[..20] {
            for stream in &mut streams {
                let _ = stream.write_all(&[*byte]).await;
            }
            sleep(Duration::from_millis(100)).await;
        }
        for stream in &mut streams {
            assert_closed(stream).await;
        }
    };
    check("handshake, one byte per 100 ms", &site, drip).await;
    site.daemon.series_counts(REFUSED, &refused("handshake_timeout"), 100.0).await;
}

#[tokio::test]
async fn a_handshake_that_stops_after_its_first_byte_gives_its_place_to_others() {
    let limits =
        "handshake_timeout = \"1h\"\nfirst_byte_timeout = \"1h\"\nhandshake_grace = \"3s\"\nunauthenticated_max = 50";
    let site = site(limits).await;
    let begin = async || {
        let mut held = Vec::new();
        for _ in 0..80 {
            let mut stream = connect(&site).await;
            stream.write_all(&[22]).await.expect("it is open");
            held.push(stream);
        }
        // A terminal comes meanwhile: all places are taken by those, and nobody's time is over.
        within("a terminal among them", site.line(2)).await;
        held.iter_mut().for_each(|stream| stream.set_zero_linger().expect("it is a socket"));
    };
    check("handshakes that stop", &site, begin).await;
    site.daemon.series_counts(REFUSED, &refused("unauthenticated_max"), 60.0).await;
}

#[tokio::test]
async fn garbage_as_handshake() {
    let site = site(SHORT).await;
    let mut seeded = Seeded::new(7);
    let garbage: Vec<Vec<u8>> = (0..50).map(|_| (0..125).flat_map(|_| seeded.next_u64().to_be_bytes()).collect()).collect();
    let send = async || {
        for bytes in &garbage {
            let mut stream = connect(&site).await;
            let _ = stream.write_all(bytes).await;
            // A first byte of 22 and a length make it wait for more: then its time ends it.
            assert_closed(&mut stream).await;
        }
    };
    check("garbage as handshake", &site, send).await;
    let refused = site.daemon.metric(REFUSED).await;
    assert!(refused >= 100.0, "{refused} of 100 were refused");
}

#[tokio::test]
async fn a_client_hello_of_tls_1_1_gets_an_alert() {
    let site = site(SHORT).await;
    let ask = async || {
        let mut stream = connect(&site).await;
        stream.write_all(&hello_of_tls_1_1()).await.expect("it is open");
        let mut answer = Vec::new();
        let _ = within("an alert", stream.read_to_end(&mut answer)).await;
        // A record of alerts, a fatal one: handshake_failure (40), as it offers nothing that is spoken here, or
        // protocol_version (70).
        assert!(answer.len() == 7 && answer[0] == 21 && answer[5] == 2 && [40, 70].contains(&answer[6]), "{answer:?}");
    };
    check("TLS 1.1", &site, ask).await;
    site.daemon.series_counts(REFUSED, &refused("handshake"), 2.0).await;
}

#[tokio::test]
async fn more_connections_than_are_allowed_are_closed_and_who_is_there_stays() {
    let options = Options { terminals: 4, limits: "connections_max = 3", log: "info", ..Options::default() };
    let site = Scene::open(options).await;
    let mut lines = [site.line(1).await, site.line(2).await, site.line(3).await];
    for (number, line) in (1..).zip(&mut lines) {
        assert_eq!(code(&line.ask(&echo(number, 1)).await), "00");
    }
    let mut one_more = site.line(4).await;
    one_more.try_send(&echo(4, 1)).await;
    assert!(one_more.receive().await.is_none(), "there is no place");
    site.daemon.series_counts(REFUSED, &refused("connections_max"), 1.0).await;
    let [first, second, _third] = &mut lines;
    assert_eq!(code(&first.ask(&echo(1, 2)).await), "00", "who is there stays");
    let mut again = site.line(2).await;
    assert_eq!(code(&again.ask(&echo(2, 2)).await), "00", "who comes again takes its own place");
    assert!(second.receive().await.is_none());
}

/// Some are silent, some send the beginning of a handshake, all come at once and stay until they are closed.
#[tokio::test]
async fn two_thousand_connections_at_once() {
    let site = site(SHORT).await;
    let storm = async || {
        let mut tasks = JoinSet::new();
        let address = site.daemon.address();
        for number in 0..2_000 {
            tasks.spawn(async move {
                // The kernel lets some wait: its queue is shorter.
                let mut stream = within("a connection", TcpStream::connect(address)).await.expect("the kernel takes it");
                if number % 2 == 0 {
                    let _ = stream.write_all(&hello_of_tls_1_1()[..20]).await;
                }
                assert_closed(&mut stream).await;
            });
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("each was closed");
        }
    };
    check("2,000 connections at once", &site, storm).await;
    site.daemon.counts(REFUSED, 4_000.0).await;
}
