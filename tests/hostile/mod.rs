//! Hostile clients against the real daemon. Beside each attack a terminal that behaves sells all the while, on a thread of
//! its own; after it the connections are gone and their sockets closed, the memory is back, and the daemon lives.
//!
//! What a limit is and what the peer sees when it is hit is in docs/EDGE.md, each with its test here. Invariant: an attack
//! that did not act fails, by the count of what the daemon did about it.

mod certificates;
mod crowd;
mod frames;
mod handshake;
mod messages;
mod metrics;

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::line::{Line, identity};
use crate::support::site::{PAN, initialised, mock_issuer};
use crate::support::{IssuerProcess, Options, Site, code, name, sale, until, within};

/// The terminal that behaves; attackers have the numbers after it.
const HONEST: u16 = 1;

/// What the honest terminal's slowest sale in a hundred may take, beside any attack, on a machine that does much else.
const P99_MAX: Duration = Duration::from_secs(3);

/// What a second attack may leave of itself in the daemon's memory: an allocator keeps some of what it once had (up to 1 MiB was
/// seen). A connection holds about 18 KB, so 200 that stay are too many; that none stays is counted by their sockets.
const KEPT_MAX: u64 = 3 << 20;

/// Every deadline short, so that each is reached.
const SHORT: &str = "first_byte_timeout = \"500ms\"\nhandshake_grace = \"500ms\"\nhandshake_timeout = \"1s\"\n\
                     first_message_timeout = \"1s\"\nframe_timeout = \"1s\"";

/// A site whose issuer is a process of its own, so that attackers who keep this one busy do not slow it.
struct Scene {
    issuer: IssuerProcess,
    site: Site,
}

impl Scene {
    /// Everything runs, and the link is up.
    async fn open(options: Options) -> Self {
        let dir = initialised(options.terminals).await;
        let unused = mock_issuer(dir.path()).await;
        let issuer = IssuerProcess::start(dir.path(), "issuer", &[]).await;
        let links = vec![(issuer.address(), true)];
        let mut site = Site::around(dir, unused, options, links);
        site.daemon.ready().await;
        Scene { issuer, site }
    }
}

impl Deref for Scene {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut Site {
        &mut self.site
    }
}

async fn site(limits: &'static str) -> Scene {
    Scene::open(Options { limits, log: "info", ..Options::default() }).await
}

/// What the honest terminal saw.
struct Served {
    /// Sorted.
    latencies: Vec<Duration>,
}

impl Served {
    fn p99(&self) -> Duration {
        self.latencies[self.latencies.len() * 99 / 100]
    }
}

/// A terminal that sells, one sale after the other.
struct Honest {
    over: Arc<AtomicBool>,
    selling: JoinHandle<Served>,
}

impl Honest {
    fn start(site: &Site) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (address, tls, over_too) = (site.daemon.address(), site.tls(), over.clone());
        let selling = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(sell(address, tls, &over_too))
        });
        Honest { over, selling }
    }

    /// Waits without holding up this runtime.
    async fn finish(self) -> Served {
        self.over.store(true, Ordering::Relaxed);
        until("the honest terminal has ended", async || self.selling.is_finished().then_some(())).await;
        let mut served = self.selling.join().expect("the honest terminal was served all the while");
        served.latencies.sort_unstable();
        served
    }
}

async fn sell(address: std::net::SocketAddr, tls: PathBuf, over: &AtomicBool) -> Served {
    let mut line = Line::open(address, &tls, &name(HONEST)).await;
    let mut latencies = Vec::new();
    // Some sales after the attack too, and amounts of which no two are equal.
    let (mut stan, mut left) = (0, 5);
    while left > 0 {
        stan += 1;
        let request = sale(HONEST, stan, PAN, 1_000 + u64::from(stan));
        let since = Instant::now();
        let answer = line.ask(&request).await;
        assert_eq!(code(&answer), "00", "sale {stan} of the honest terminal");
        latencies.push(since.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
        left -= i32::from(over.load(Ordering::Relaxed));
    }
    Served { latencies }
}

/// Runs an attack twice beside a terminal that sells. The first run shows the daemon what memory it takes; after the second
/// it must not hold much more than after the first.
async fn check(what: &str, site: &Site, mut attack: impl AsyncFnMut()) {
    let sockets = site.daemon.sockets();
    let honest = Honest::start(site);
    let before = site.daemon.resident();
    attack().await;
    only_the_honest_is_left(site).await;
    let once = site.daemon.resident();
    attack().await;
    let served = honest.finish().await;
    until("every connection is gone", async || (open(site).await == 0.0).then_some(())).await;
    until("every socket is closed", async || (site.daemon.sockets() <= sockets).then_some(())).await;
    let twice = site.daemon.resident();
    let (sales, p99) = (served.latencies.len(), served.p99());
    println!(
        "{what}: beside it {sales} sales, p99 {p99:.1?}; memory {} + {} + {} KiB",
        before >> 10,
        kib(before, once),
        kib(once, twice)
    );
    assert!(p99 < P99_MAX, "{what}: p99 of the honest terminal's {sales} sales is {p99:?}");
    assert!(twice < once + KEPT_MAX, "{what}: memory grows with each attack: {before}, {once}, {twice} bytes");
    assert_eq!(code(&site.line(HONEST).await.ask(&sale(HONEST, 999_999, PAN, 77)).await), "00", "the daemon lives");
    site.nothing_in_doubt().await;
}

fn kib(from: u64, to: u64) -> u64 {
    to.saturating_sub(from) >> 10
}

async fn open(site: &Site) -> f64 {
    site.daemon.metric("switchd_terminal_connections").await
}

async fn only_the_honest_is_left(site: &Site) {
    until("the attackers are gone", async || (open(site).await <= 1.0).then_some(())).await;
}

/// A connection that takes little before it reads.
async fn connect(site: &Site) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket has a buffer");
    let connected = within("a connection", socket.connect(site.daemon.address())).await;
    connected.expect("the kernel takes it")
}

/// The daemon closes this connection, whatever it says before.
async fn assert_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = within("the end of a connection", stream.read_to_end(&mut rest)).await;
}

fn client(site: &Site, file: &str) -> Arc<ClientConfig> {
    identity(&site.tls(), file).client().expect("the certificate fits its key")
}

fn refused(reason: &str) -> String {
    format!("reason=\"{reason}\"")
}
