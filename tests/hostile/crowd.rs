//! Terminals in numbers, all well-behaved: idle over TLS, and all of them coming back at once to the successor of a daemon that
//! was stopped under them. Prints what each costs; the long form has ten thousand.
//!
//! One certificate speaks for all of them, as for the lanes of a concentrator, so that the newest connection of none wins.
//! Invariant: each sells exactly once, whatever it had to try, and the ledgers agree on all of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use iso8583::Fields;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ClientConfig;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Honest, P99_MAX, Scene, client};
use crate::support::line::{Line, MERCHANT};
use crate::support::site::PAN;
use crate::support::{Options, Site, code, echo, name, repeat_of, sale, skipped, until, within};

/// Handshakes that this process has on the way at once while nobody is in a hurry.
const ON_THE_WAY: usize = 100;

/// Longer than any lane needs when all is well, on a machine that does much else.
const ALL_WITHIN: Duration = Duration::from_secs(180);

/// What a terminal waits before it tries again, milliseconds, and a little more for each of some.
const AGAIN_MS: u64 = 100;

fn may_have(descriptors: u64, test: &str) -> bool {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let enough = raised.is_ok() && maximum.is_none_or(|most| most >= descriptors);
    enough || skipped(test, &format!("this process may not have {descriptors} open files"), "SWITCHD_REQUIRE_CROWD")
}

async fn scene() -> Scene {
    let more = "in_flight_max = 5000\n".to_owned();
    // All terminals share one thread here, which takes longer for their first bytes than as many machines would.
    let limits =
        "connections_max = 11000\nfirst_byte_timeout = \"2min\"\nhandshake_timeout = \"2min\"\nhandshake_grace = \"2min\"";
    let options = Options { limits, log: "info", more, ..Options::default() };
    let mut site = Scene::open(options).await;
    site.daemon.kill();
    let registry = format!(
        "[[terminal]]\nsubject = \"{}\"\nallow = \"{}/{MERCHANT}\"\ngroup = 1\n\
         [[terminal]]\nsubject = \"{}\"\nallow = \"L*/{MERCHANT}\"\ngroup = 1\n",
        name(1),
        name(1),
        name(2)
    );
    std::fs::write(site.dir().join("terminals.toml"), registry).expect("the directory is ours");
    site.start_again().await;
    site
}

/// The sale of a lane; each has its own terminal number.
fn sale_of(lane: u64) -> Fields {
    let mut request = sale(2, 1, PAN, amount(lane));
    request.set(41, format!("L{lane:07}").as_bytes());
    request
}

fn amount(lane: u64) -> u64 {
    100 + lane
}

/// Connects so many lanes, each with a handshake of its own and an echo.
async fn idle(site: &Site, count: u64) -> Vec<Line> {
    let (address, config) = (site.daemon.address(), client(site, &name(2)));
    let (mut tasks, mut lines) = (JoinSet::new(), Vec::new());
    for lane in 0..count {
        if tasks.len() >= ON_THE_WAY {
            lines.push(tasks.join_next().await.expect("some are there").expect("none panics"));
        }
        let config = config.clone();
        tasks.spawn(async move {
            let mut line = within("a lane", Line::connect(address, config)).await.expect("it is taken");
            let mut hello = echo(2, 1);
            hello.set(41, format!("L{lane:07}").as_bytes());
            assert_eq!(code(&line.ask(&hello).await), "00");
            line
        });
    }
    while let Some(line) = tasks.join_next().await {
        lines.push(line.expect("none panics"));
    }
    lines
}

/// One lane that lost its switch: it tries until its one sale is answered. How often it tried.
async fn comes_back(lane: u64, address: std::net::SocketAddr, config: Arc<ClientConfig>) -> u32 {
    let first = sale_of(lane);
    let again = repeat_of(&first);
    let mut sent = false;
    for tried in 1.. {
        if let Ok(Ok(mut line)) = timeout(ALL_WITHIN, Line::connect(address, config.clone())).await {
            line.try_send(if sent { &again } else { &first }).await;
            sent = true;
            if let Some(answer) = line.receive().await {
                assert_eq!(code(&answer), "00", "lane {lane}");
                return tried;
            }
        }
        sleep(Duration::from_millis(AGAIN_MS + lane % AGAIN_MS)).await;
    }
    unreachable!("it tries for ever")
}

/// Figures of a crowd.
async fn crowd(test: &str, count: u64) {
    if !may_have(count + 2_000, test) {
        return;
    }
    let mut site = scene().await;
    let before = site.daemon.resident();
    let since = Instant::now();
    let lines = idle(&site, count).await;
    println!("{test}: {count} terminals connected in {:.1?}", since.elapsed());
    let all = async || (site.daemon.metric("switchd_terminal_connections").await == to_f64(count)).then_some(());
    until("all are connected", all).await;
    let each = (site.daemon.resident() - before) / count;
    println!("{test}: {each} bytes of memory for each idle terminal");
    assert!(each < 64 << 10, "{each} bytes for a terminal that does nothing");

    let honest = Honest::start(&site);
    sleep(Duration::from_secs(2)).await;
    let served = honest.finish().await;
    println!("{test}: beside them {} sales, p99 {:.1?}", served.latencies.len(), served.p99());
    assert!(served.p99() < P99_MAX);

    let since = Instant::now();
    site.daemon.terminate();
    assert_eq!(site.daemon.exited().await.code(), Some(0));
    let stopped = since.elapsed();
    site.spawn_again();
    site.daemon.listening().await;
    let listens = since.elapsed();
    site.daemon.ready().await;
    let (ready, address, config) = (since.elapsed(), site.daemon.address(), client(&site, &name(2)));
    drop(lines);
    let mut tasks = JoinSet::new();
    for lane in 0..count {
        tasks.spawn(comes_back(lane, address, config.clone()));
    }
    let (mut tries, mut first) = (0, None);
    while let Some(tried) = timeout(ALL_WITHIN, tasks.join_next()).await.expect("all come back in time") {
        tries += tried.expect("none panics");
        first.get_or_insert(since.elapsed());
    }
    let last = since.elapsed();
    println!(
        "{test}: from SIGTERM: stopped {stopped:.1?}, the successor listens {listens:.1?}, is ready {ready:.1?}, first sale {:.1?}, \
         all {count} {last:.1?} after {tries} connections",
        first.unwrap_or_default()
    );
    // The honest one has sold too.
    site.nothing_in_doubt().await;
    let movements = site.daemon.movements().await;
    let lanes: Vec<_> = movements.iter().filter(|movement| movement.terminal.starts_with('L')).collect();
    assert_eq!(lanes.len() as u64, count, "one movement of each");
    assert!(
        lanes.iter().all(|movement| movement.net == i64::try_from(movement.amount).expect("it is small")),
        "each stands"
    );
    let net: i64 = movements.iter().map(|movement| movement.net).sum();
    let books: i64 = site.issuer.movements().await.iter().map(|movement| movement.net).sum();
    assert_eq!(books, net, "issuer and switch agree");
    let expected: u64 = (0..count).map(amount).sum();
    assert_eq!(lanes.iter().map(|movement| movement.amount).sum::<u64>(), expected);
}

fn to_f64(count: u64) -> f64 {
    f64::from(u32::try_from(count).expect("a crowd is smaller"))
}

#[tokio::test]
async fn five_hundred_terminals_idle_and_all_at_once() {
    crowd("crowd of 500", 500).await;
}

#[tokio::test]
#[ignore = "minutes; run by hand"]
async fn long_ten_thousand_terminals_idle_and_all_at_once() {
    crowd("crowd of 10,000", 10_000).await;
}
