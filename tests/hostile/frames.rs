//! Terminals with a good certificate and bad manners: lengths, drops of bytes, no reading, half a message, coming and going.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use rustls::pki_types::ServerName;

use super::{SHORT, check, client, connect, site};
use crate::support::line::frame;
use crate::support::site::PAN;
use crate::support::{Site, code, echo, name, sale, until, within};

const CLOSED: &str = "switchd_terminal_closed_total";

type Stream = TlsStream<TcpStream>;

/// An attacker's connection, bytes as they come. It takes little before it reads.
async fn secured(site: &Site, number: u16) -> Stream {
    let server = ServerName::try_from("localhost").expect("localhost is a name");
    let connector = TlsConnector::from(client(site, &name(number)));
    within("a handshake", connector.connect(server, connect(site).await)).await.expect("the certificate is registered")
}

/// The daemon ends the connection; what it said before.
async fn end_of(stream: &mut Stream) -> Vec<u8> {
    let mut said = Vec::new();
    // A reset is an end too.
    let _ = within("the end of a connection", stream.read_to_end(&mut said)).await;
    said
}

/// Ten attacks one after the other, each on a connection of its own.
async fn ten(site: &Site, attack: impl AsyncFn(Stream)) {
    for _ in 0..10 {
        attack(secured(site, 2).await).await;
    }
}

#[tokio::test]
async fn silent_after_the_handshake() {
    let site = site(SHORT).await;
    let wait = async || assert_eq!(end_of(&mut secured(&site, 2).await).await, b"");
    check("silent after the handshake", &site, wait).await;
    site.daemon.series_counts(CLOSED, "reason=\"no_first_message\"", 2.0).await;
}

#[tokio::test]
async fn a_message_of_one_byte_per_100_ms() {
    let site = site(SHORT).await;
    let drip = async || {
        let (mut read, mut write) = tokio::io::split(secured(&site, 2).await);
        let drops = async {
            for byte in frame(&echo(2, 1)) {
                if write.write_all(&[byte]).await.is_err() || write.flush().await.is_err() {
                    return;
                }
                sleep(Duration::from_millis(100)).await;
            }
        };
        let mut byte = [0; 1];
        tokio::select! {
            () = drops => panic!("the message takes ten seconds, the limit is one"),
            ended = within("the end", read.read(&mut byte)) => assert!(!ended.is_ok_and(|bytes| bytes > 0)),
        }
    };
    check("message, one byte per 100 ms", &site, drip).await;
    site.daemon.series_counts(CLOSED, "reason=\"slow_frame\"", 2.0).await;
}

#[tokio::test]
async fn a_length_of_ffff() {
    let site = site(SHORT).await;
    let announce = async |mut stream: Stream| {
        stream.write_all(&[0xff, 0xff]).await.expect("it is open");
        assert_eq!(end_of(&mut stream).await, b"");
    };
    check("length FFFF", &site, || ten(&site, announce)).await;
    site.daemon.series_counts(CLOSED, "reason=\"too_long\"", 20.0).await;
}

/// Each is a keep-alive and is answered; whoever reads the answers may go on, and delays nobody.
#[tokio::test]
async fn endless_zero_lengths() {
    let site = site("").await;
    let flood = async || {
        let (mut read, mut write) = tokio::io::split(secured(&site, 2).await);
        let zeros = vec![0; 8 << 10];
        let until = Instant::now() + Duration::from_secs(1);
        let (mut sent, mut got) = (0, 0);
        let writing = async {
            while Instant::now() < until {
                write.write_all(&zeros).await.expect("the daemon reads");
                sent += zeros.len();
            }
            write.shutdown().await.expect("the daemon reads");
        };
        let reading = async {
            let mut buffer = vec![0; 64 << 10];
            while let Ok(bytes @ 1..) = read.read(&mut buffer).await {
                assert!(buffer[..bytes].iter().all(|byte| *byte == 0), "nothing but keep-alives comes");
                got += bytes;
            }
        };
        within("the flood", async { tokio::join!(writing, reading) }).await;
        assert!(got > 100_000 && got <= sent, "{sent} bytes sent, {got} answered");
    };
    check("endless zero lengths", &site, flood).await;
}

#[tokio::test]
async fn keep_alives_whose_answers_are_never_read() {
    let site = site("").await;
    let flood = async || {
        let mut stream = secured(&site, 2).await;
        let zeros = vec![0; 8 << 10];
        // The daemon closes when its own buffer is full, behind those of both kernels.
        within("the end", async { while stream.write_all(&zeros).await.is_ok() {} }).await;
    };
    check("keep-alives never read", &site, flood).await;
    site.daemon.series_counts(CLOSED, "reason=\"backlog\"", 2.0).await;
}

#[tokio::test]
async fn never_reading() {
    let site = site("").await;
    let ask = async || {
        let mut stream = secured(&site, 2).await;
        let echoes = frame(&echo(2, 1)).repeat(100);
        within("the end", async { while stream.write_all(&echoes).await.is_ok() {} }).await;
    };
    check("never reading", &site, ask).await;
    site.daemon.series_counts(CLOSED, "reason=\"backlog\"", 2.0).await;
}

/// It says goodbye behind its request. Whatever became of that, the ledgers agree.
#[tokio::test]
async fn half_close() {
    let site = site(SHORT).await;
    let mut stan = 0;
    let leave = || {
        stan += 1;
        let (request, bare) = (frame(&sale(2, stan, PAN, 100 + u64::from(stan))), stan % 2 == 0);
        let site = &site;
        async move {
            let mut stream = secured(site, 2).await;
            stream.write_all(&request).await.expect("it is open");
            if bare {
                // Of the socket, without TLS's own.
                stream.flush().await.expect("it is open");
                stream.get_mut().0.shutdown().await.expect("it is open");
            } else {
                stream.shutdown().await.expect("it is open");
            }
            end_of(&mut stream).await;
        }
    };
    check("half-close", &site, leave).await;
    site.daemon.series_counts(CLOSED, "reason=\"peer_closed\"", 2.0).await;
}

#[tokio::test]
async fn a_reset_in_the_middle_of_a_message() {
    let site = site(SHORT).await;
    let half = frame(&sale(2, 1, PAN, 100));
    let reset = async |mut stream: Stream| {
        stream.write_all(&half[..half.len() / 2]).await.expect("it is open");
        stream.flush().await.expect("it is open");
        stream.get_ref().0.set_zero_linger().expect("it is a socket");
    };
    check("reset in mid-message", &site, || ten(&site, reset)).await;
    // Broken; superseded where the next one came before the reset was seen; a failed handshake where the reset was faster.
    let gone = async || site.daemon.metric(CLOSED).await + site.daemon.metric("switchd_terminal_refused_total").await;
    until("all of them are gone", async || (gone().await >= 20.0).then_some(())).await;
    let of_two = site.daemon.movements().await.into_iter().filter(|movement| movement.terminal == name(2)).count();
    assert_eq!(of_two, 0, "half a request is none");
}

async fn reconnects(site: &Site, count: u32) {
    let mut tasks = JoinSet::new();
    let (address, config) = (site.daemon.address(), client(site, &name(2)));
    for number in 1..=count {
        while tasks.len() >= 16 {
            tasks.join_next().await.expect("some are there").expect("none panics");
        }
        let config = config.clone();
        tasks.spawn(async move {
            let connected = within("a connection", crate::support::line::Line::connect(address, config)).await;
            let Ok(mut line) = connected else { return };
            // Others of the same terminal come, and the newest wins.
            line.try_send(&echo(2, 1 + number % 900_000)).await;
            line.receive().await;
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("none panics");
    }
}

#[tokio::test]
async fn three_hundred_reconnects() {
    let site = site("").await;
    check("300 reconnects", &site, || reconnects(&site, 300)).await;
}

#[tokio::test]
#[ignore = "a minute; run by hand"]
async fn long_ten_thousand_reconnects() {
    let site = site("").await;
    check("10,000 reconnects", &site, || reconnects(&site, 10_000)).await;
}

/// One terminal asks far more than it may at once. It waits; others and itself are served, and nothing is refused.
#[tokio::test]
async fn a_terminal_that_asks_too_much_at_once_waits_and_no_other_does() {
    use crate::support::Options;
    use counterparts::faults::Fault;
    let site = Site::open(Options {
        limits: "terminal_in_flight_max = 4",
        serial: false,
        reverses_first: false,
        more: "in_flight_max = 8\n".to_owned(),
        ..Options::default()
    })
    .await;
    site.on_requests(Fault::DelayMs(200));
    let mut greedy = site.line(2).await;
    let since = Instant::now();
    for stan in 1..=24 {
        greedy.send(&sale(2, stan, PAN, 100 + u64::from(stan))).await;
    }
    until("the link is busy", async || (site.daemon.metric("switchd_link_in_flight").await >= 4.0).then_some(())).await;
    assert_eq!(code(&site.line(1).await.ask(&sale(1, 1, PAN, 50)).await), "00", "there is room on the link for others");
    for _ in 1..=24 {
        let answer = greedy.receive().await.expect("it is answered");
        assert_eq!(code(&answer), "00");
    }
    assert!(since.elapsed() >= Duration::from_millis(6 * 200), "four at once, six times");
    site.nothing_in_doubt().await;
}
