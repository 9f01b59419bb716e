//! Kill -9 at the worst moments: nothing that was said is forgotten, nothing that was begun is lost (M1, M2, K1, K2, K4).

use counterparts::faults::{Fault, Side};

use crate::support::site::{PAN, POOR_PAN};
use crate::support::{Host, Options, Site, card, code, field, repeat_of, reversal_of, sale};

#[tokio::test]
async fn k1_a_request_without_an_outcome_is_unwound_after_the_start() {
    let mut site = Site::open(Options { original_horizon: 1_500, ..Options::default() }).await;
    site.on_requests(Fault::Silence(Side::AfterLedger));
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    line.send(&request).await;
    site.issuer_moved(1).await;
    site.daemon.kill();
    assert!(line.receive().await.is_none(), "nothing is said before the outcome is durable");
    site.no_faults();
    site.start_again().await;
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&repeat_of(&request)).await), "68", "the repeat never becomes a second request");
    let tx = site.reaches(&request, "unwound").await;
    assert_eq!(tx.cause.as_deref(), Some("K1"));
    assert_eq!((site.issuer.movements().len(), site.issuer_net()), (1, 0));
    site.nothing_in_doubt().await;
}

#[tokio::test]
async fn k2_an_approval_that_was_told_stands_and_its_repeat_gets_it_again() {
    let mut site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    let answer = line.ask(&request).await;
    site.daemon.kill();
    site.start_again().await;
    let tx = site.tx(&request).await;
    assert_eq!((tx.state.as_str(), tx.net), ("awaiting_confirmation", 1250));
    // The mark of handing is written lazily: whether it was durable in time is left open.
    assert!(["unknown", "handed"].contains(&tx.evidence.as_str()), "{}", tx.evidence);
    let mut line = site.line(1).await;
    let again = line.ask(&repeat_of(&request)).await;
    for de in [37, 38, 39, 4, 54] {
        assert_eq!(field(&again, de), field(&answer, de), "DE{de}");
    }
    // C1 holds for what a crash left unknown, too; margins count from the start.
    let mut stan = 2;
    while site.tx(&request).await.state != "confirmed" {
        assert_eq!(code(&line.ask(&sale(1, stan, PAN, 1)).await), "00");
        stan += 1;
        assert!(stan < 5_000, "no later sale confirms it");
    }
    assert_eq!(site.issuer.report().counts.repeats, 0);
}

#[tokio::test]
async fn k2_an_approval_that_was_told_before_the_crash_can_be_reversed_after_it() {
    let mut site = Site::open(Options::default()).await;
    let request = sale(1, 1, PAN, 1250);
    assert_eq!(code(&site.line(1).await.ask(&request).await), "00");
    site.crash().await;
    assert_eq!(code(&site.line(1).await.ask(&reversal_of(&request, 2)).await), "00");
    let tx = site.reaches(&request, "unwound").await;
    assert_eq!(tx.cause.as_deref(), Some("D8"));
    assert_eq!(site.issuer_net(), 0);
}

/// M3: the terminal was told 00, so the promise must be there after the crash, whatever else is not.
#[tokio::test]
async fn m3_a_reversal_that_was_answered_is_kept_after_a_crash() {
    let mut host = Host::start().await;
    let mut site = Site::with_hosts(Options::impatient(), &[Some(&host)]).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    line.send(&request).await;
    let original = host.next().await;
    host.answer(&original, "00");
    assert_eq!(code(&line.receive().await.expect("the approval comes")), "00");
    assert_eq!(code(&line.ask(&reversal_of(&request, 2)).await), "00");
    site.crash().await;
    let reversal = host.next_after(original.line).await;
    assert_eq!(reversal.message.mti().class(), 4);
    host.answer(&reversal, "00");
    site.reaches(&request, "unwound").await;
}

/// K4, I3: neither STAN nor RRN is used twice over many starts.
#[tokio::test]
async fn k4_no_stan_and_no_rrn_comes_again_after_a_crash() {
    let mut site = Site::open(Options::default()).await;
    for start in 0..3 {
        let mut line = site.line(1).await;
        for sale_of_start in 0..4 {
            let pan = if sale_of_start == 0 { POOR_PAN } else { PAN };
            assert_ne!(code(&line.ask(&sale(1, 1 + start * 10 + sale_of_start, pan, 1_000)).await), "91");
        }
        site.crash().await;
    }
    let movements = site.issuer.movements();
    let distinct = |of: fn(&counterparts::issuer::MovementLine) -> &str| {
        movements.iter().map(of).collect::<std::collections::BTreeSet<_>>().len()
    };
    assert_eq!(movements.len(), 9);
    assert_eq!(distinct(|movement| &movement.stan), 9, "{movements:?}");
    assert_eq!(distinct(|movement| &movement.rrn), 9, "{movements:?}");
    assert_eq!(site.daemon.movements().await.len(), 12);
}

/// A terminal of `counterparts` under a daemon that is killed in mid-flight, with an answer on its way.
#[tokio::test]
async fn a_terminal_whose_switch_was_killed_clears_what_it_does_not_know_and_all_ledgers_agree() {
    let mut site = Site::open(Options { original_horizon: 1_500, ..Options::default() }).await;
    let mut terminal = site.terminal(1);
    assert!(terminal.sale(&card(), 100).await.expect("the daemon is there").is_approved());
    site.on_requests(Fault::Silence(Side::AfterLedger));
    let presented = card();
    let killed = async {
        site.issuer_moved(2).await;
        site.daemon.kill();
    };
    let (receipt, ()) = tokio::join!(terminal.sale(&presented, 1250), killed);
    let receipt = receipt.expect("a lost connection is a receipt");
    assert_eq!(receipt.code, None);
    site.no_faults();
    site.start_again().await;
    let cleared = terminal.clear_pending(crate::support::PATIENCE).await.expect("the daemon is there again");
    assert!(cleared.expect("it owed one").is_approved());
    assert!(terminal.sale(&presented, 300).await.expect("the daemon is there").is_approved());
    let found = site.reconciled(&[terminal.journal()]).await;
    assert_eq!(found.issuer.net, 400);
}
