//! Too much at once: a slow issuer, a full link, a full queue to the core, a host that is there and says nothing. What has
//! no room is refused at once or waits with its terminal, and what has begun ends as ever (M7).

use std::time::{Duration, Instant};

use counterparts::faults::Fault;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::host::answer_to;
use crate::support::line::{Line, frame, take};
use crate::support::site::PAN;
use crate::support::{Options, Site, code, echo, sale, until, within};

/// The code of each terminal's sale, all asked at once, and how long the slowest took.
async fn all_at_once(lines: &mut [Line], stan: u32) -> Vec<(String, Duration)> {
    let since = Instant::now();
    let mut tasks = Vec::new();
    for (number, line) in (1..).zip(lines.iter_mut()) {
        tasks.push(async move {
            let answer = line.ask(&sale(number, stan, PAN, 1_000 + u64::from(number) + 100 * u64::from(stan))).await;
            (code(&answer).to_owned(), since.elapsed())
        });
    }
    let mut answers = Vec::new();
    let mut running: Vec<_> = tasks.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        running.retain_mut(|task| match task.as_mut().poll(cx) {
            std::task::Poll::Ready(answer) => {
                answers.push(answer);
                false
            }
            std::task::Poll::Pending => true,
        });
        if running.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    answers
}

async fn lines(site: &Site, count: u16) -> Vec<Line> {
    let mut lines = Vec::new();
    for number in 1..=count {
        lines.push(site.line(number).await);
    }
    lines
}

/// Four requests have room on the link: they wait for their slow issuer, and the others get 91 at once. Nothing is lost, and
/// a refused key stays refused.
#[tokio::test]
async fn m7_a_full_link_refuses_at_once_and_a_slow_issuer_delays_only_what_it_has() {
    const SLOW: Duration = Duration::from_millis(1_500);
    let options = Options { terminals: 12, more: "in_flight_max = 4\n".to_owned(), ..Options::default() };
    let site = Site::open(options).await;
    let mut lines = lines(&site, 12).await;
    site.on_requests(Fault::DelayMs(1_500));
    let answers = all_at_once(&mut lines, 1).await;
    let (refused, served): (Vec<_>, Vec<_>) = answers.iter().partition(|(code, _)| code == "91");
    assert!(served.iter().all(|(code, took)| code == "00" && *took >= SLOW), "{served:?}");
    assert_eq!((served.len(), refused.len()), (4, 8));
    let slowest = refused.iter().map(|(_, took)| *took).max();
    assert!(slowest < Some(SLOW), "a refusal waits for nobody: {slowest:?}");
    assert_eq!(site.issuer_moved(4).await.len(), 4);
    site.no_faults();
    let answers = all_at_once(&mut lines[..4], 2).await;
    assert!(answers.iter().all(|(code, _)| code == "00"), "there is room again: {answers:?}");
    let again = lines[11].ask(&sale(12, 1, PAN, 1_112)).await;
    assert!(["00", "91"].contains(&code(&again)), "as before: {}", code(&again));
    site.nothing_in_doubt().await;
    let net: i64 = site.daemon.movements().await.iter().map(|movement| movement.net).sum();
    assert_eq!(site.issuer_net(), net, "issuer and switch agree");
}

/// The issuer is slower than the switch waits: each request is unwound, and the terminals are told in time.
#[tokio::test]
async fn t1_an_issuer_slower_than_the_timeout_delays_nobody_beyond_it() {
    let site = Site::open(Options { terminals: 12, ..Options::impatient() }).await;
    let mut lines = lines(&site, 12).await;
    site.on_requests(Fault::LateMs(1_400));
    let answers = all_at_once(&mut lines, 1).await;
    assert!(answers.iter().all(|(code, took)| code == "68" && *took < Duration::from_secs(5)), "{answers:?}");
    site.no_faults();
    let answers = all_at_once(&mut lines, 2).await;
    assert!(answers.iter().all(|(code, _)| code == "00"), "{answers:?}");
    site.nothing_in_doubt().await;
    let net: i64 = site.daemon.movements().await.iter().map(|movement| movement.net).sum();
    assert_eq!(site.issuer_net(), net, "issuer and switch agree");
}

/// With room for one event at a time terminals are read one after the other; nobody is refused.
#[tokio::test]
async fn m7_a_full_queue_to_the_core_stops_reading_and_refuses_nobody() {
    let limits = "inputs_max = 1\nterminal_in_flight_max = 1";
    let site = Site::open(Options { terminals: 12, limits, ..Options::default() }).await;
    let mut lines = lines(&site, 12).await;
    for stan in 1..=5 {
        let answers = all_at_once(&mut lines, stan).await;
        assert!(answers.iter().all(|(code, _)| code == "00"), "{answers:?}");
    }
    site.issuer_moved(60).await;
    site.nothing_in_doubt().await;
}

/// A host behind a connection that only looks alive: it takes the sign-on and says nothing after.
async fn mute_after_the_sign_on(listener: TcpListener) {
    while let Ok((mut tcp, _)) = listener.accept().await {
        tokio::spawn(async move {
            let (mut input, mut signed_on) = (Vec::new(), false);
            while tcp.read_buf(&mut input).await.is_ok_and(|bytes| bytes > 0) {
                while let Some(message) = take(&mut input) {
                    if !std::mem::replace(&mut signed_on, true) {
                        let answered = tcp.write_all(&frame(&answer_to(&message, "00"))).await;
                        answered.expect("the switch reads");
                    }
                }
            }
        });
    }
}

/// Half-open: nothing is asked, so nothing would notice but the echo.
#[tokio::test]
async fn an_echo_that_is_not_answered_ends_the_link_and_it_comes_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let host = tokio::spawn(mute_after_the_sign_on(listener));
    let options = Options { more: "echo_after = \"1s\"\n".to_owned(), ..Options::impatient() };
    let mut site = Site::prepare(options, &[]).await;
    site.daemon.listening().await;
    site.daemon.kill();
    site.lead_to(vec![(address, false)]);
    site.start_again().await;
    site.daemon.series_counts("switchd_link_closed_total", "link=\"1.1\",reason=\"unresponsive\"", 2.0).await;
    let connections = async || (site.daemon.metric("switchd_link_connections").await >= 1.0).then_some(());
    until("it is connected again", connections).await;
    host.abort();
}

/// A terminal's own echo is answered by the switch itself, whatever its issuers do.
#[tokio::test]
async fn an_echo_of_a_terminal_is_answered_without_any_issuer() {
    let site = Site::open(Options::default()).await;
    site.issuer.set_links_up(false);
    let gone = async || (site.daemon.metric("switchd_link_closed_total").await > 0.0).then_some(());
    until("the link is gone", gone).await;
    let mut line = site.line(1).await;
    assert_eq!(code(&within("an answer", line.ask(&echo(1, 1))).await), "00");
}
