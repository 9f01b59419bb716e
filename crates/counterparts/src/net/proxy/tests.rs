//! The proxy between a client and a server of the test, over real loopback sockets.

use std::io::ErrorKind;
use std::time::Instant;

use super::*;
use Direction::{ToClient, ToServer};

const LONG: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(150);

/// A server's listener, the proxy before it, and one connection through it.
struct Wire {
    listener: TcpListener,
    proxy: FaultyProxy,
    client: TcpStream,
    server: TcpStream,
}

impl Wire {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = FaultyProxy::start(ProxyArgs::new(listener.local_addr().unwrap())).await.unwrap();
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        Self { listener, proxy, client, server }
    }

    /// The end that sends this way, and the end that hears it.
    fn ends(&mut self, direction: Direction) -> (&mut TcpStream, &mut TcpStream) {
        match direction {
            ToServer => (&mut self.client, &mut self.server),
            ToClient => (&mut self.server, &mut self.client),
        }
    }

    async fn passes(&mut self, direction: Direction, bytes: &[u8]) {
        let (from, to) = self.ends(direction);
        from.write_all(bytes).await.unwrap();
        assert_eq!(heard(to, bytes.len()).await, bytes, "{direction:?}");
    }
}

async fn heard(peer: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    tokio::time::timeout(LONG, peer.read_exact(&mut bytes)).await.expect("in time").expect("whole");
    bytes
}

/// All that comes until the connection ends, and the error if it ends with one.
async fn until_end(peer: &mut TcpStream) -> (Vec<u8>, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(LONG, peer.read_to_end(&mut bytes)).await.expect("in time");
    (bytes, end.err().map(|error| error.kind()))
}

async fn silent(peer: &mut TcpStream) -> bool {
    tokio::time::timeout(SHORT, peer.read_u8()).await.is_err()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

#[test]
fn without_rules_bytes_pass_both_ways_and_so_does_a_close() {
    run(async {
        let mut wire = Wire::new().await;
        let much: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        wire.passes(ToServer, b"request").await;
        wire.passes(ToClient, &much).await;
        let counts = wire.proxy.counts();
        assert_eq!((counts.connections, counts.bytes_to_server, counts.bytes_to_client), (1, 7, 100_000));
        wire.client.shutdown().await.unwrap();
        assert_eq!(until_end(&mut wire.server).await, (vec![], None));
        wire.passes(ToClient, b"still open that way").await;
        assert_eq!((counts.cuts, counts.resets), (0, 0));
    });
}

/// One chunk of six bytes, struck: what its receiver has heard at the end, and how both ends end.
async fn check_end(direction: Direction, fault: WireFault, hears: &[u8], end: Option<ErrorKind>) {
    let mut wire = Wire::new().await;
    wire.passes(direction, b"before").await;
    wire.proxy.next(direction, fault);
    let (from, to) = wire.ends(direction);
    from.write_all(b"struck").await.unwrap();
    assert_eq!(until_end(to).await, (hears.to_vec(), end), "{direction:?} {fault:?}");
    assert_eq!(until_end(from).await, (vec![], end), "{direction:?} {fault:?}");
    let counts = wire.proxy.counts();
    let halves = u64::from(matches!(fault, WireFault::Halve(_)));
    let resets = u64::from(end.is_some());
    assert_eq!((counts.cuts, counts.resets, counts.halves), (1 - resets, resets, halves), "{fault:?}");
    assert_eq!(counts.bytes_to_server + counts.bytes_to_client, 6 + hears.len() as u64, "{fault:?}");
}

#[test]
fn a_chunk_is_cut_halved_or_reset_either_way() {
    run(async {
        for direction in [ToServer, ToClient] {
            check_end(direction, WireFault::Cut, b"", None).await;
            check_end(direction, WireFault::Halve(4), b"stru", None).await;
            check_end(direction, WireFault::Halve(0), b"", None).await;
            check_end(direction, WireFault::Reset, b"", Some(ErrorKind::ConnectionReset)).await;
        }
    });
}

#[test]
fn a_delayed_chunk_passes_later_and_the_other_way_is_not_delayed() {
    run(async {
        for (direction, other) in [(ToServer, ToClient), (ToClient, ToServer)] {
            let mut wire = Wire::new().await;
            wire.proxy.next(direction, WireFault::DelayMs(300));
            let began = Instant::now();
            wire.ends(direction).0.write_all(b"slow").await.unwrap();
            wire.passes(other, b"quick").await;
            assert!(silent(wire.ends(direction).1).await, "{direction:?}");
            assert_eq!(heard(wire.ends(direction).1, 4).await, b"slow");
            assert!(began.elapsed() >= Duration::from_millis(300));
            assert_eq!(wire.proxy.counts().delays, 1);
        }
    });
}

#[test]
fn a_stalled_way_is_silent_until_it_is_released_and_the_other_way_goes_on() {
    run(async {
        for (direction, other) in [(ToServer, ToClient), (ToClient, ToServer)] {
            for by_rule in [false, true] {
                let mut wire = Wire::new().await;
                if by_rule {
                    wire.proxy.next(direction, WireFault::Stall);
                } else {
                    wire.proxy.stall(direction);
                }
                wire.ends(direction).0.write_all(b"first").await.unwrap();
                assert!(silent(wire.ends(direction).1).await, "{direction:?} {by_rule}");
                wire.ends(direction).0.write_all(b" second").await.unwrap();
                wire.passes(other, b"goes on").await;
                assert!(silent(wire.ends(direction).1).await, "{direction:?} {by_rule}");
                wire.proxy.release();
                assert_eq!(heard(wire.ends(direction).1, 12).await, b"first second");
                assert_eq!(wire.proxy.counts().stalls, u64::from(by_rule));
            }
        }
    });
}

#[test]
fn all_connections_are_cut_or_reset_on_command_and_new_ones_come() {
    run(async {
        let mut wire = Wire::new().await;
        let mut second = TcpStream::connect(wire.proxy.address()).await.unwrap();
        let (mut second_server, _) = wire.listener.accept().await.unwrap();
        wire.proxy.cut();
        for end in [&mut wire.client, &mut wire.server, &mut second, &mut second_server] {
            assert_eq!(until_end(end).await, (vec![], None));
        }
        wire.client = TcpStream::connect(wire.proxy.address()).await.unwrap();
        (wire.server, _) = wire.listener.accept().await.unwrap();
        wire.passes(ToServer, b"again").await;
        wire.proxy.reset();
        for end in [&mut wire.client, &mut wire.server] {
            assert_eq!(until_end(end).await, (vec![], Some(ErrorKind::ConnectionReset)));
        }
        let counts = wire.proxy.counts();
        assert_eq!((counts.connections, counts.cuts, counts.resets), (3, 2, 1));
    });
}

#[test]
fn new_connections_are_refused_while_the_old_ones_stay() {
    run(async {
        let mut wire = Wire::new().await;
        wire.proxy.set_listening(false);
        let began = Instant::now();
        while TcpStream::connect(wire.proxy.address()).await.is_ok() {
            assert!(began.elapsed() < LONG);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        wire.passes(ToServer, b"old").await;
        wire.proxy.set_listening(true);
        while TcpStream::connect(wire.proxy.address()).await.is_err() {
            assert!(began.elapsed() < LONG);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let address = wire.proxy.address();
        wire.proxy.stop().await;
        assert!(TcpStream::connect(address).await.is_err());
        assert_eq!(until_end(&mut wire.client).await.0, b"");
    });
}

#[test]
fn a_peer_that_resets_or_is_not_there_resets_the_other() {
    run(async {
        let mut wire = Wire::new().await;
        wire.passes(ToServer, b"hello").await;
        wire.server.set_zero_linger().unwrap();
        drop(wire.server);
        assert_eq!(until_end(&mut wire.client).await.1, Some(ErrorKind::ConnectionReset));
        assert_eq!(wire.proxy.counts().resets, 0, "not of our doing");
        drop(wire.listener);
        let mut client = TcpStream::connect(wire.proxy.address()).await.unwrap();
        assert_eq!(until_end(&mut client).await.1, Some(ErrorKind::ConnectionReset));
    });
}
