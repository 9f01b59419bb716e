//! A late approval never becomes a success (T5).

use counterparts::faults::Fault;

use crate::support::site::PAN;
use crate::support::{Options, Site, code, sale, until};

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
    let site = Site::open(Options { original_horizon: 1_200, ..Options::impatient() }).await;
    site.on_requests(Fault::LateMs(4_000));
    let request = sale(1, 1, PAN, 1250);
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&request).await), "68");
    site.reaches(&request, "unwound").await;
    let rules = until("the late approval is on the list", async || {
        let rules: Vec<_> = site.daemon.doubt().await.exceptions.into_iter().map(|entry| entry.rule).collect();
        (!rules.is_empty()).then_some(rules)
    })
    .await;
    assert_eq!(rules, ["T5"]);
    let tx = site.reaches(&request, "unwound").await;
    assert_eq!(tx.cause.as_deref(), Some("T5"));
    line.assert_silent(1).await;
    assert_eq!(site.issuer_net(), 0);
    site.nothing_in_doubt().await;
}

#[tokio::test]
async fn t10_a_serial_terminal_that_asks_anew_has_given_up_the_one_before() {
    let site = Site::open(Options::default()).await;
    site.on_requests(Fault::LateMs(1_000));
    let mut line = site.line(1).await;
    let (first, second) = (sale(1, 1, PAN, 1250), sale(1, 2, PAN, 700));
    line.send(&first).await;
    site.issuer_moved(1).await;
    site.no_faults();
    assert_eq!(code(&line.ask(&second).await), "00");
    let tx = site.reaches(&first, "unwound").await;
    assert_eq!(tx.cause.as_deref(), Some("T10"));
    line.assert_silent(1).await;
    assert_eq!(site.issuer_net(), 700);
}
