//! A late approval never becomes a success (T5).

use counterparts::faults::Fault;

use crate::support::site::PAN;
use crate::support::{Host, Options, Site, code, field, sale};

#[tokio::test]
async fn t5_an_approval_after_the_timeout_is_unwound_and_decides_the_reversal_at_once() {
    // The horizon is far away: only the answer can let the reversal count (R3).
    let site = Site::open(Options { original_horizon: 600_000, ..Options::impatient() }).await;
    site.on_requests(Fault::LateMs(1_500));
    let request = sale(1, 1, PAN, 1250);
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&request).await), "68");
    let tx = site.reaches(&request, "unwound").await;
    assert_eq!((tx.code.as_deref(), tx.cause.as_deref()), (Some("00"), Some("T1")), "the late answer is kept");
    line.assert_silent(1).await;
    assert_eq!(site.issuer_net(), 0);
    assert_eq!(site.daemon.metric("switchd_late_answers_total").await, 1.0);
    site.nothing_in_doubt().await;
}

#[tokio::test]
async fn t5_an_approval_after_all_is_unwound_opens_it_again_and_tells_a_person() {
    let mut host = Host::start().await;
    let site = Site::with_hosts(Options { original_horizon: 1_200, ..Options::impatient() }, &[Some(&host)]).await;
    let request = sale(1, 1, PAN, 1250);
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&request).await), "68");
    let original = host.next().await;
    for _ in ["early", "deciding"] {
        let reversal = host.next().await;
        host.answer(&reversal, "00");
    }
    site.reaches(&request, "unwound").await;

    host.answer(&original, "00");
    let again = host.next().await;
    assert_eq!((again.message.mti().class(), field(&again.message, 37)), (4, field(&original.message, 37)));
    let tx = site.reaches(&request, "awaiting_reversal_ack").await;
    assert_eq!(tx.cause.as_deref(), Some("T5"));
    let rules: Vec<_> = site.daemon.doubt().await.exceptions.into_iter().map(|entry| entry.rule).collect();
    assert_eq!(rules, ["T5"]);
    host.answer(&again, "00");
    site.reaches(&request, "unwound").await;
    line.assert_silent(1).await;
    site.nothing_in_doubt().await;
}

#[tokio::test]
async fn t10_a_serial_terminal_that_asks_anew_has_given_up_the_one_before() {
    let mut host = Host::start().await;
    let site = Site::with_hosts(Options::default(), &[Some(&host)]).await;
    let mut line = site.line(1).await;
    let (first, second) = (sale(1, 1, PAN, 1250), sale(1, 2, PAN, 700));
    line.send(&first).await;
    let first_at_host = host.next().await;
    line.send(&second).await;
    let mut arrived = [host.next().await, host.next().await];
    arrived.sort_by_key(|arrived| arrived.message.mti().class());
    let [second_at_host, reversal] = arrived;
    assert_eq!(field(&second_at_host.message, 4), "000000000700");
    assert_eq!(field(&reversal.message, 37), field(&first_at_host.message, 37), "R6: nobody waits for the horizon");
    // The first is approved before the second: its answer is for nobody, and lets the reversal count (R3).
    host.answer(&first_at_host, "00");
    host.answer(&second_at_host, "00");
    let answer = line.receive().await.expect("the second is answered");
    assert_eq!((field(&answer, 11), code(&answer)), ("000002", "00"));
    let deciding = host.next().await;
    host.answer(&deciding, "00");
    let tx = site.reaches(&first, "unwound").await;
    assert_eq!(tx.cause.as_deref(), Some("T10"));
    assert_eq!(site.tx(&second).await.net, 700);
    line.assert_silent(1).await;
    host.assert_nothing_more();
}
