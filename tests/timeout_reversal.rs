//! A silent issuer: the terminal gets 68, the switch reverses, and only what counts ends it (T1, M3, R1-R4).

use std::time::{Duration, Instant};

use counterparts::faults::{Fault, Side};

use crate::support::site::PAN;
use crate::support::{Host, Options, Site, code, field, sale};

#[tokio::test]
async fn t1_what_a_silent_issuer_has_moved_is_unwound() {
    let site = Site::open(Options::impatient()).await;
    site.on_requests(Fault::Silence(Side::AfterLedger));
    let request = sale(1, 1, PAN, 1250);
    assert_eq!(code(&site.line(1).await.ask(&request).await), "68");
    let tx = site.tx(&request).await;
    assert_eq!((tx.cause.as_deref(), tx.net), (Some("T1"), 0), "the obligation comes before the answer (M3)");
    site.reaches(&request, "unwound").await;
    assert_eq!((site.issuer.movements().len(), site.issuer_net()), (1, 0));
    site.nothing_in_doubt().await;
}

#[tokio::test]
async fn t1_what_a_silent_issuer_has_not_moved_is_unwound_too() {
    let site = Site::open(Options::impatient()).await;
    site.on_requests(Fault::Silence(Side::BeforeLedger));
    let request = sale(1, 1, PAN, 1250);
    assert_eq!(code(&site.line(1).await.ask(&request).await), "68");
    site.reaches(&request, "unwound").await;
    assert_eq!(site.issuer.movements(), []);
    assert!(site.issuer.report().counts.reversals_unknown >= 2, "an early one and the deciding one");
}

#[tokio::test]
async fn a_terminal_that_was_told_68_clears_it_and_sells_on() {
    let site = Site::open(Options::impatient()).await;
    site.on_requests(Fault::Silence(Side::AfterLedger));
    let mut terminal = site.terminal(1);
    let receipt = terminal.sale(&crate::support::card(), 1250).await.expect("the daemon is there");
    assert_eq!(receipt.code(), "68");
    site.no_faults();
    let cleared = terminal.clear_pending(crate::support::PATIENCE).await.expect("the switch takes the reversal (D10)");
    assert!(cleared.expect("it owed one").is_approved());
    assert!(terminal.sale(&crate::support::card(), 500).await.expect("the daemon is there").is_approved());
    let found = site.reconciled(&[terminal.journal()]).await;
    assert_eq!(found.issuer.net, 500);
}

#[tokio::test]
async fn t1_a_code_that_does_not_say_whether_money_moved_is_no_answer() {
    let site = Site::open(Options::impatient()).await;
    site.on_requests(Fault::Answer("96".parse().expect("it is a code")));
    let request = sale(1, 1, PAN, 1250);
    assert_eq!(code(&site.line(1).await.ask(&request).await), "68");
    site.reaches(&request, "unwound").await;
}

/// R1, R3: what the host sees, message by message. Its first acknowledgement comes too early to count.
#[tokio::test]
async fn r3_the_deciding_send_comes_after_the_horizon_under_its_own_stan() {
    let mut host = Host::start().await;
    let site = Site::with_hosts(Options::impatient(), &[Some(&host)]).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    line.send(&request).await;
    let original = host.next().await;
    let asked = Instant::now();
    assert_eq!(field(&original.message, 4), "000000001250");
    let answer = line.receive().await.expect("68 comes");
    assert_eq!(code(&answer), "68");

    let early = host.next().await;
    assert_eq!(early.message.mti().as_str(), "0420");
    assert_eq!(field(&early.message, 37), field(&original.message, 37));
    let named = format!("0200{}{}", field(&original.message, 11), field(&original.message, 7));
    assert!(field(&early.message, 90).starts_with(&named), "DE90 names the original");
    assert_eq!(field(&early.message, 2), PAN, "the card, taken out of its seal");
    assert_eq!(field(&early.message, 95), "0".repeat(42));
    host.answer(&early, "00");

    let deciding = host.next().await;
    // The horizon counts from the write of the original, a moment before the host read it.
    let margin = Duration::from_millis(100);
    assert!(asked.elapsed() + margin >= Duration::from_millis(Options::impatient().original_horizon), "too early to count");
    assert_eq!(site.tx(&request).await.state, "awaiting_reversal_ack", "the early acknowledgement does not count");
    assert_eq!(deciding.message.mti().as_str(), "0421", "from the second send on it is a repeat");
    assert_ne!(field(&deciding.message, 11), field(&early.message, 11), "its own STAN");
    assert_eq!(field(&deciding.message, 90), field(&early.message, 90));
    host.answer(&deciding, "00");
    site.reaches(&request, "unwound").await;
    host.assert_nothing_more();
}

/// R4: any other code is no end.
#[tokio::test]
async fn r4_a_refused_reversal_is_sent_again_with_the_same_numbers() {
    let mut host = Host::start().await;
    let site = Site::with_hosts(Options::impatient(), &[Some(&host)]).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    line.send(&request).await;
    let original = host.next().await;
    // R3: with the answer held every send decides. An approval of another amount is one (T4).
    let mut wrong = crate::support::host::answer_to(&original.message, "00");
    wrong.set(4, b"000000009999");
    host.send(original.line, &wrong);
    assert_eq!(code(&line.receive().await.expect("68 comes")), "68");
    let first = host.next().await;
    for refusal in ["91", "96", "06"] {
        host.answer(&first, refusal);
        let again = host.next().await;
        assert_eq!(again.message.mti().as_str(), "0421");
        for de in [7, 11, 37, 90] {
            assert_eq!(field(&again.message, de), field(&first.message, de), "DE{de} is constant over repeats");
        }
    }
    assert_eq!(site.tx(&request).await.state, "awaiting_reversal_ack");
    host.answer(&first, "00");
    site.reaches(&request, "unwound").await;
}
