//! SIGTERM drains: what is in flight is answered, new work gets 96, and the process ends with 0 (M7).

use counterparts::faults::{Fault, Side};
use rustix::process::Signal;

use crate::support::line::Line;
use crate::support::site::PAN;
use crate::support::{Host, Options, Site, code, repeat_of, reversal_of, sale, until};

#[tokio::test]
async fn a_drain_answers_what_is_in_flight_refuses_new_work_and_ends_with_0() {
    let mut host = Host::start().await;
    let mut site = Site::with_hosts(Options::default(), &[Some(&host)]).await;
    let (mut busy, mut other) = (site.line(1).await, site.line(2).await);
    let sold = sale(2, 1, PAN, 100);
    other.send(&sold).await;
    let arrived = host.next().await;
    host.answer(&arrived, "00");
    assert_eq!(code(&other.receive().await.expect("it is answered")), "00");
    let request = sale(1, 1, PAN, 1250);
    busy.send(&request).await;
    let in_flight = host.next().await;

    site.daemon.terminate();
    until("the daemon says that it drains", async || (!site.daemon.is_ready().await).then_some(())).await;
    assert_eq!(code(&other.ask(&sale(2, 2, PAN, 100)).await), "96");
    assert_eq!(code(&other.ask(&repeat_of(&sold)).await), "00", "what is known is still answered (D2)");
    assert_eq!(code(&other.ask(&reversal_of(&sold, 3)).await), "00", "and what is undone is still undone (D8)");
    let reversal = host.next().await;
    assert_eq!(reversal.message.mti().as_str(), "0420");
    let tls = crate::support::line::identity(&site.tls(), "TERM0003").client().expect("init made it");
    assert!(Line::connect(site.daemon.address(), tls).await.is_err(), "no new terminals");

    host.answer(&in_flight, "00");
    let answer = busy.receive().await.expect("what is in flight is answered");
    assert_eq!(code(&answer), "00");
    assert_eq!(site.daemon.exited().await.code(), Some(0), "an obligation is kept, not waited for (M4)");
    assert!(busy.receive().await.is_none(), "the connection is closed");

    site.start_again().await;
    let tx = site.tx(&request).await;
    assert_eq!(
        (tx.state.as_str(), tx.evidence.as_str()),
        ("awaiting_confirmation", "handed"),
        "a clean stop forgets nothing"
    );
    let reversal = host.next_after(in_flight.line).await;
    assert_eq!(reversal.message.mti().as_str(), "0421");
    host.answer(&reversal, "00");
    site.reaches(&sold, "unwound").await;
}

#[tokio::test]
async fn a_stop_with_nothing_to_do_ends_at_once() {
    let mut site = Site::open(Options::default()).await;
    site.daemon.stop().await;
    for left in ["addresses.json", "admin.sock"] {
        assert!(!site.dir().join(left).exists(), "{left} looks like a running daemon");
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_drain_with_its_own_code_and_the_next_start_takes_it_up() {
    let mut site = Site::open(Options { original_horizon: 1_500, ..Options::default() }).await;
    site.on_requests(Fault::Silence(Side::AfterLedger));
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    line.send(&request).await;
    site.issuer_moved(1).await;
    site.daemon.terminate();
    until("the daemon says that it drains", async || (!site.daemon.is_ready().await).then_some(())).await;
    site.daemon.terminate();
    assert_eq!(site.daemon.exited().await.code(), Some(30), "drain-cut");
    site.no_faults();
    site.start_again().await;
    let tx = site.reaches(&request, "unwound").await;
    assert_eq!(tx.cause.as_deref(), Some("T2"), "the end of the drain cut the link");
    assert_eq!(site.issuer_net(), 0);
}

#[tokio::test]
async fn a_signal_that_others_take_for_a_reload_is_named_and_does_not_kill() {
    let mut site = Site::open(Options { log: "info", ..Options::default() }).await;
    for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2")] {
        site.daemon.signal(signal);
        let said = |line: &str| line.contains("WARN") && line.contains(name) && line.contains("SIGHUP reloads");
        until(name, async || site.daemon.log().lines().any(said).then_some(())).await;
    }
    assert_eq!(code(&site.line(1).await.ask(&sale(1, 1, PAN, 100)).await), "00");
    site.daemon.stop().await;
}
