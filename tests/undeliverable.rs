//! An approval that finds its terminal gone waits a moment for it to ask again, then it is unwound (T8).

use crate::support::site::PAN;
use crate::support::{Host, Options, Site, code, repeat_of, sale, until};

/// A sale that the host approves after its terminal has gone.
async fn vanished(site: &Site, host: &mut Host) -> iso8583::Fields {
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    line.send(&request).await;
    let arrived = host.next().await;
    line.reset();
    site.daemon.counts("switchd_terminal_closed_total", 1.0).await;
    host.answer(&arrived, "00");
    request
}

async fn open(redeliver_grace: u64) -> (Site, Host) {
    let host = Host::start().await;
    let site = Site::with_hosts(Options { redeliver_grace, ..Options::default() }, &[Some(&host)]).await;
    (site, host)
}

#[tokio::test]
async fn t8_a_repeat_within_the_grace_gets_the_approval() {
    let (site, mut host) = open(60_000).await;
    let request = vanished(&site, &mut host).await;
    let tx = site.reaches(&request, "awaiting_delivery").await;
    assert_eq!(tx.evidence, "not_handed");
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&repeat_of(&request)).await), "00");
    let tx = site.reaches(&request, "awaiting_confirmation").await;
    assert_eq!((tx.evidence.as_str(), tx.net), ("handed", 1250));
    host.assert_nothing_more();
}

#[tokio::test]
async fn t8_without_a_repeat_it_is_reversed_and_the_key_answered_68() {
    let (site, mut host) = open(300).await;
    let request = vanished(&site, &mut host).await;
    let reversal = host.next().await;
    assert_eq!(reversal.message.mti().as_str(), "0420");
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&repeat_of(&request)).await), "68");
    host.answer(&reversal, "00");
    let tx = site.reaches(&request, "unwound").await;
    assert_eq!(tx.cause.as_deref(), Some("T8"));
    assert_eq!(code(&line.ask(&repeat_of(&request)).await), "68");
    site.nothing_in_doubt().await;
}

#[tokio::test]
async fn t8_the_grace_survives_a_crash() {
    let (mut site, mut host) = open(2_000).await;
    let request = vanished(&site, &mut host).await;
    site.reaches(&request, "awaiting_delivery").await;
    // What the daemon shows it may not have written yet; what it has answered, and all before it, it has (M2).
    let mut line = site.line(2).await;
    line.send(&sale(2, 1, PAN, 100)).await;
    let other = host.next().await;
    host.answer(&other, "51");
    assert_eq!(code(&line.receive().await.expect("it is answered")), "51");
    site.crash().await;
    let reversal = host.next_after(other.line).await;
    host.answer(&reversal, "00");
    let tx = site.reaches(&request, "unwound").await;
    assert_eq!(tx.cause.as_deref(), Some("T8"));
}

/// A terminal of `counterparts` that vanishes at each point, comes back, clears what it owes, and sells on.
#[tokio::test]
async fn a_terminal_that_vanishes_anywhere_ends_with_the_same_ledger_as_the_issuer() {
    use counterparts::net::terminal::{Vanish, VanishPoint};
    let site = Site::open(Options { redeliver_grace: 300, ..Options::default() }).await;
    let mut terminal = site.terminal(1);
    for point in
        [VanishPoint::BeforeSending, VanishPoint::AfterSending, VanishPoint::HalfAnswer, VanishPoint::BeforeBelieving]
    {
        for reset in [false, true] {
            terminal.vanish_next(Vanish { point, reset });
            let receipt = terminal.sale(&crate::support::card(), 1250).await.expect("the daemon is there");
            assert_eq!(receipt.code, None, "{point:?}");
            // It was switched off, and all that it has is its journal.
            terminal = site.terminal(1);
            until("the terminal has cleared what it owed", async || {
                let cleared = terminal.clear_pending(crate::support::PATIENCE).await.expect("the daemon is there");
                cleared.map(|receipt| assert!(receipt.is_approved(), "{receipt}"))
            })
            .await;
            assert!(terminal.sale(&crate::support::card(), 100).await.expect("the daemon is there").is_approved());
        }
    }
    let found = site.reconciled(&[terminal.journal()]).await;
    assert_eq!(found.issuer.net, 800);
}
