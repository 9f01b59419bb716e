//! A reversal that the issuer ignores is sent again until it is acknowledged (M4, R4).

use counterparts::faults::{Fault, MtiClass, Side};

use crate::support::site::{PAN, rule};
use crate::support::{Options, Site, code, reversal_of, sale};

#[tokio::test]
async fn r4_a_terminals_reversal_that_the_issuer_ignores_twice_is_done_the_third_time() {
    let site = Site::open(Options::impatient()).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    assert_eq!(code(&line.ask(&request).await), "00");
    site.issuer.set_faults(vec![rule(MtiClass::Reversal, Fault::Ignore).times(2)]);
    assert_eq!(code(&line.ask(&reversal_of(&request, 2)).await), "00", "the promise is enough for the terminal");
    site.reaches(&request, "unwound").await;
    let counts = site.issuer.report().counts;
    assert_eq!((counts.faults, counts.reversed), (2, 1));
    assert_eq!(site.daemon.metric("switchd_obligations_sent_total").await, 3.0);
    assert_eq!(site.daemon.metric("switchd_obligations_acknowledged_total").await, 1.0);
    assert_eq!(site.issuer_net(), 0);
    site.nothing_in_doubt().await;
}

/// The acknowledgement is lost, not the reversal: the issuer does it once and says 00 again.
#[tokio::test]
async fn r4_an_acknowledgement_that_is_lost_twice_is_asked_for_again() {
    let site = Site::open(Options::impatient()).await;
    let lost = rule(MtiClass::Reversal, Fault::Silence(Side::AfterLedger)).times(2);
    site.issuer.set_faults(vec![lost, rule(MtiClass::Request, Fault::Silence(Side::AfterLedger))]);
    let request = sale(1, 1, PAN, 1250);
    assert_eq!(code(&site.line(1).await.ask(&request).await), "68");
    site.reaches(&request, "unwound").await;
    let counts = site.issuer.report().counts;
    assert_eq!(counts.reversed, 1);
    assert!(counts.reversed_again >= 1, "{counts:?}");
    assert_eq!(site.issuer_net(), 0);
    site.nothing_in_doubt().await;
}
