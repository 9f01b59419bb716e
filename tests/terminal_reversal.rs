//! A terminal's own reversal: after its original, while it is in flight, before it, again, and of another amount
//! (D7, D8, D10-D12).

use crate::support::site::PAN;
use crate::support::{Host, Options, Site, code, field, repeat_of, reversal_of, sale};

#[tokio::test]
async fn d8_an_approved_sale_is_reversed_and_d10_again_gets_the_same_word() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    assert_eq!(code(&line.ask(&request).await), "00");
    let reversal = reversal_of(&request, 2);
    let answer = line.ask(&reversal).await;
    assert_eq!((answer.mti().as_str(), code(&answer)), ("0410", "00"));
    let tx = site.reaches(&request, "unwound").await;
    assert_eq!(tx.cause.as_deref(), Some("D8"));
    assert_eq!(site.issuer_net(), 0);
    let sent = site.issuer.report().counts;

    assert_eq!(code(&line.ask(&repeat_of(&reversal)).await), "00");
    assert_eq!(code(&line.ask(&repeat_of(&request)).await), "68", "D3: its reversal was seen");
    let counts = site.issuer.report().counts;
    assert_eq!(counts, sent, "D10: the issuer sees nothing more");
    site.nothing_in_doubt().await;
}

#[tokio::test]
async fn d8_a_confirmed_sale_can_still_be_reversed() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    assert_eq!(code(&line.ask(&request).await), "00");
    let mut stan = 2;
    while site.tx(&request).await.state != "confirmed" {
        assert_eq!(code(&line.ask(&sale(1, stan, PAN, 1)).await), "00");
        stan += 1;
    }
    assert_eq!(code(&line.ask(&reversal_of(&request, stan)).await), "00");
    site.reaches(&request, "unwound").await;
    assert_eq!(site.issuer_net(), i64::from(stan - 2), "the later sales stand");
}

#[tokio::test]
async fn d7_a_reversal_while_the_issuer_thinks_is_answered_at_once_and_the_original_never() {
    let mut host = Host::start().await;
    let site = Site::with_hosts(Options::default(), &[Some(&host)]).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    line.send(&request).await;
    let original = host.next().await;
    let answer = line.ask(&reversal_of(&request, 2)).await;
    assert_eq!((answer.mti().as_str(), code(&answer)), ("0410", "00"));
    let early = host.next().await;
    host.answer(&early, "25");
    host.answer(&original, "00");
    let deciding = host.next().await;
    host.answer(&deciding, "00");
    let tx = site.reaches(&request, "unwound").await;
    assert_eq!((tx.cause.as_deref(), tx.code.as_deref()), (Some("D7"), Some("00")), "its late approval was kept");
    line.assert_silent(1).await;
    host.assert_nothing_more();
}

#[tokio::test]
async fn d11_a_reversal_before_its_original_refuses_it_with_94() {
    let mut host = Host::start().await;
    let mut site = Site::with_hosts(Options::default(), &[Some(&host)]).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    assert_eq!(code(&line.ask(&reversal_of(&request, 2)).await), "00");
    assert_eq!(code(&line.ask(&request).await), "94");
    site.crash().await;
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&request).await), "94", "the tombstone is durable");
    assert_eq!(site.daemon.movements().await, []);
    host.assert_nothing_more();
    site.nothing_in_doubt().await;
}

#[tokio::test]
async fn d12_a_reversal_of_another_amount_gets_64_and_waits_for_a_person() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    assert_eq!(code(&line.ask(&request).await), "00");
    let mut reversal = reversal_of(&request, 2);
    reversal.set(4, b"000000001251");
    assert_eq!(code(&line.ask(&reversal).await), "64");
    let tx = site.reaches(&request, "needs_operator").await;
    assert_eq!(tx.cause.as_deref(), Some("D12"));
    assert_eq!(site.issuer_net(), 1250, "the issuer sees nothing");
    let doubt = site.daemon.doubt().await;
    assert_eq!((doubt.in_doubt, doubt.movements[0].rrn.as_str()), (1, tx.rrn.as_str()));
}

#[tokio::test]
async fn a_terminal_cannot_reverse_the_sale_of_another() {
    let site = Site::open(Options::default()).await;
    let request = sale(1, 1, PAN, 1250);
    let answer = site.line(1).await.ask(&request).await;
    assert_eq!(code(&answer), "00");
    let mut foreign = reversal_of(&request, 2);
    foreign.copy_from(&sale(2, 1, PAN, 1250), 41);
    foreign.set(37, field(&answer, 37).as_bytes());
    assert_eq!(code(&site.line(2).await.ask(&foreign).await), "00", "it has no such original (D11)");
    assert_eq!(site.tx(&request).await.net, 1250);
    assert_eq!(site.issuer_net(), 1250);
}
