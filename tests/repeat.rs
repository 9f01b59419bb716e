//! What a terminal sends again is answered once, from the journal, and reaches the issuer once (D1-D4).

use counterparts::faults::{Fault, Side};
use iso8583::Fields;

use crate::support::site::{PAN, POOR_PAN};
use crate::support::{Host, Options, Site, code, field, repeat_of, sale};

/// The fields in which the answer to a repeat equals the first one (D2).
fn told(answer: &Fields) -> Vec<&str> {
    [37, 38, 39, 4, 54].map(|de| field(answer, de)).to_vec()
}

/// What the issuer saw of requests: new ones, and ones that it had seen.
fn seen_by_issuer(site: &Site) -> (u64, u64) {
    let counts = site.issuer.report().counts;
    (counts.approved + counts.declined, counts.repeats)
}

#[tokio::test]
async fn d1_a_repeat_in_flight_gets_the_one_answer_on_the_new_connection() {
    let mut host = Host::start().await;
    let site = Site::with_hosts(Options::default(), &[Some(&host)]).await;
    let mut old = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    old.send(&request).await;
    let arrived = host.next().await;
    let mut new = site.line(1).await;
    new.send(&repeat_of(&request)).await;
    site.daemon.counts("switchd_decided_total", 1.0).await;
    host.answer(&arrived, "00");
    let answer = new.receive().await.expect("the answer comes");
    assert_eq!((code(&answer), answer.mti().as_str()), ("00", "0210"));
    assert!(old.receive().await.is_none(), "its newest connection wins");
    new.assert_silent(1).await;
    host.assert_nothing_more();
}

#[tokio::test]
async fn d2_a_repeat_after_the_answer_gets_the_stored_answer() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    let answer = line.ask(&request).await;
    let same_line = line.ask(&repeat_of(&request)).await;
    let plain_mti = line.ask(&request).await;
    let other_line = site.line(1).await.ask(&repeat_of(&request)).await;
    for again in [&same_line, &plain_mti, &other_line] {
        assert_eq!(told(again), told(&answer));
    }
    assert_eq!(seen_by_issuer(&site), (1, 0));
    assert_eq!(site.issuer_net(), 1250);
}

#[tokio::test]
async fn d2_a_decline_and_a_restart_change_nothing_about_it() {
    let mut site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let (approved, declined) = (sale(1, 1, PAN, 1250), sale(1, 2, POOR_PAN, 90_000));
    let answers = [line.ask(&approved).await, line.ask(&declined).await];
    assert_eq!([code(&answers[0]), code(&answers[1])], ["00", "51"]);
    site.daemon.stop().await;
    site.start_again().await;
    let mut line = site.line(1).await;
    assert_eq!(told(&line.ask(&repeat_of(&approved)).await), told(&answers[0]));
    assert_eq!(told(&line.ask(&repeat_of(&declined)).await), told(&answers[1]));
    assert_eq!(seen_by_issuer(&site), (2, 0));
}

#[tokio::test]
async fn d3_a_repeat_of_what_is_unwound_gets_68_while_it_is_and_ever_after() {
    let site = Site::open(Options::impatient()).await;
    site.on_requests(Fault::Silence(Side::AfterLedger));
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    assert_eq!(code(&line.ask(&request).await), "68");
    assert_eq!(site.tx(&request).await.state, "awaiting_reversal_ack");
    assert_eq!(code(&line.ask(&repeat_of(&request)).await), "68");
    site.reaches(&request, "unwound").await;
    assert_eq!(code(&line.ask(&repeat_of(&request)).await), "68");
    assert_eq!(seen_by_issuer(&site), (1, 0));
    assert_eq!(site.issuer_net(), 0);
}

#[tokio::test]
async fn d4_the_same_key_with_other_content_gets_94_and_the_first_is_untouched() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    let answer = line.ask(&request).await;
    for other in [sale(1, 1, PAN, 1251), sale(1, 1, POOR_PAN, 1250)] {
        assert_eq!(code(&line.ask(&other).await), "94");
    }
    assert_eq!(told(&line.ask(&repeat_of(&request)).await), told(&answer));
    assert_eq!(seen_by_issuer(&site), (1, 0));
    let rules: Vec<_> = site.daemon.doubt().await.exceptions.into_iter().map(|entry| entry.rule).collect();
    assert_eq!(rules, ["D4"], "one entry for a person is enough, however often it is tried");
}

#[tokio::test]
async fn the_same_stan_of_another_terminal_or_class_is_another_transaction() {
    let site = Site::open(Options::default()).await;
    let mut authorisation = sale(1, 1, PAN, 100);
    authorisation.set_mti("0100".parse().expect("it is an MTI"));
    let (mut one, mut two) = (site.line(1).await, site.line(2).await);
    assert_eq!(code(&one.ask(&sale(1, 1, PAN, 100)).await), "00");
    assert_eq!(code(&one.ask(&authorisation).await), "00");
    assert_eq!(code(&two.ask(&sale(2, 1, PAN, 100)).await), "00");
    assert_eq!(seen_by_issuer(&site), (3, 0));
}
