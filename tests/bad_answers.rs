//! What is not an answer decides nothing; what is an approval of something else is unwound (T4, T6, T7).

use iso8583::{Fields, Mti};

use crate::support::host::answer_to;
use crate::support::line::frame;
use crate::support::site::PAN;
use crate::support::{Host, Options, Site, code, sale, until};

/// What a bad message does to the request that waits.
enum Then {
    /// Nothing: the right answer afterwards is delivered.
    Ignored,
    /// It is unwound by this rule, the terminal gets 68.
    Unwound(&'static str),
    /// Unwound too, but only by the reversal that is sent after the horizon: the answer proved nothing of this original (R3).
    UnwoundAfterTheHorizon(&'static str),
}

/// Sends `bad` for a waiting sale, then the right answer, and looks at what became of it.
async fn check(what: &str, bad: impl FnOnce(&Fields) -> Vec<u8>, then: Then) {
    let mut host = Host::start().await;
    let options = match then {
        Then::Ignored | Then::Unwound(_) => Options::default(),
        Then::UnwoundAfterTheHorizon(_) => {
            Options { original_horizon: 2_000, response_timeout: 1_500, ..Options::default() }
        }
    };
    let site = Site::with_hosts(options, &[Some(&host)]).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    line.send(&request).await;
    let arrived = host.next().await;
    host.send_bytes(arrived.line, bad(&arrived.message));
    match then {
        Then::Ignored => {
            let counted = async || {
                let unmatched = site.daemon.metric("switchd_unmatched_answers_total").await;
                let unreadable = site.daemon.metric("switchd_parse_errors_total").await;
                (unmatched + unreadable == 1.0).then_some(())
            };
            until(&format!("{what} is counted"), counted).await;
            assert_eq!(site.tx(&request).await.state, "awaiting_issuer", "{what}");
            host.answer(&arrived, "00");
            assert_eq!(code(&line.receive().await.expect("the answer comes")), "00", "{what}");
        }
        Then::Unwound(rule) => {
            assert_eq!(code(&line.receive().await.expect("68 comes")), "68", "{what}");
            let reversal = host.next().await;
            assert_eq!(reversal.message.mti().as_str(), "0420", "{what}");
            host.answer(&reversal, "00");
            let tx = site.reaches(&request, "unwound").await;
            assert_eq!(tx.cause.as_deref(), Some(rule), "{what}");
        }
        Then::UnwoundAfterTheHorizon(rule) => {
            assert_eq!(code(&line.receive().await.expect("68 comes")), "68", "{what}");
            let early = host.next().await;
            assert_eq!(early.message.mti().as_str(), "0420", "{what}");
            host.answer(&early, "00");
            let deciding = host.next().await;
            assert_eq!(deciding.message.mti().as_str(), "0421", "{what}");
            assert_ne!(deciding.message.get(11), early.message.get(11), "{what}: the deciding send has its own STAN");
            assert_eq!(site.tx(&request).await.state, "awaiting_reversal_ack", "{what}");
            host.answer(&deciding, "00");
            let tx = site.reaches(&request, "unwound").await;
            assert_eq!(tx.cause.as_deref(), Some(rule), "{what}");
        }
    }
    line.assert_silent(1).await;
    assert_eq!(site.daemon.metric("switchd_link_closed_total").await, 0.0, "{what}: the link goes on");
}

fn with(message: &Fields, de: u8, value: &[u8]) -> Vec<u8> {
    let mut answer = answer_to(message, "00");
    answer.set(de, value);
    frame(&answer)
}

#[tokio::test]
async fn t4_garbage_is_counted_and_ignored() {
    check("garbage", |_| vec![0, 6, 0xff, 0xff, 0xff, 0xff, 0x00, 0x01], Then::Ignored).await;
}

#[tokio::test]
async fn t4_an_answer_cut_short_is_counted_and_ignored() {
    let cut_short = |message: &Fields| {
        let whole = frame(&answer_to(message, "00"));
        let kept = whole.len() - 7;
        let length = u16::try_from(kept - 2).expect("it was one");
        [&length.to_be_bytes()[..], &whole[2..kept]].concat()
    };
    check("an answer cut short", cut_short, Then::Ignored).await;
}

#[tokio::test]
async fn t4_an_answer_with_another_stan_or_terminal_is_ignored() {
    check("another STAN", |message| with(message, 11, b"777777"), Then::Ignored).await;
    check("another terminal", |message| with(message, 41, b"TERM0009"), Then::Ignored).await;
}

#[tokio::test]
async fn t6_an_answer_to_a_reversal_is_no_answer_to_the_request() {
    let other_class = |message: &Fields| {
        let mut answer = answer_to(message, "00");
        answer.set_mti(Mti::new(b"0430"));
        frame(&answer)
    };
    check("0430 with the request's STAN", other_class, Then::Ignored).await;
}

#[tokio::test]
async fn t4_an_approval_of_more_or_of_another_card_or_rrn_is_unwound() {
    check("more", |message| with(message, 4, b"000000001251"), Then::Unwound("T4")).await;
    let after = Then::UnwoundAfterTheHorizon;
    check("another card", |message| with(message, 2, b"4000001234567800"), after("T4")).await;
    check("another RRN", |message| with(message, 37, b"999999999999"), after("T4")).await;
}

#[tokio::test]
async fn t7_the_same_approval_twice_is_ignored_another_one_is_for_a_person() {
    let mut host = Host::start().await;
    let site = Site::with_hosts(Options::default(), &[Some(&host)]).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    line.send(&request).await;
    let arrived = host.next().await;
    host.answer(&arrived, "00");
    assert_eq!(code(&line.receive().await.expect("the answer comes")), "00");
    host.answer(&arrived, "00");
    let counted = async || (site.daemon.metric("switchd_late_answers_total").await == 1.0).then_some(());
    until("the second answer is counted", counted).await;
    assert_eq!(site.tx(&request).await.state, "awaiting_confirmation");
    host.send_bytes(arrived.line, with(&arrived.message, 38, b"B00002"));
    let tx = site.reaches(&request, "needs_operator").await;
    assert_eq!(tx.cause.as_deref(), Some("T7"));
    host.assert_nothing_more();
    line.assert_silent(1).await;
}
