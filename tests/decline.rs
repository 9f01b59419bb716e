//! A decline is passed on and moves nothing; its reversal is answered here (D9).

use crate::support::site::{POOR_BALANCE, POOR_PAN};
use crate::support::{Options, Site, code, field, reversal_of, sale};

#[tokio::test]
async fn a_sale_beyond_the_balance_is_declined_with_51() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, POOR_PAN, POOR_BALANCE + 1);
    let answer = line.ask(&request).await;
    assert_eq!(code(&answer), "51");
    assert!(!answer.has(38), "a decline has no approval code");
    let tx = site.reaches(&request, "declined").await;
    assert_eq!((tx.net, tx.rrn.as_str()), (0, field(&answer, 37)));
    assert_eq!(site.issuer.movements(), []);

    // D9: nothing moved, so there is nothing to send.
    assert_eq!(code(&line.ask(&reversal_of(&request, 2)).await), "00");
    assert_eq!(site.issuer.report().counts.reversals_of_declined, 0);
    assert_eq!(site.tx(&request).await.state, "declined");
    site.nothing_in_doubt().await;
}

#[tokio::test]
async fn a_card_that_nobody_knows_is_declined_with_14() {
    let site = Site::open(Options::default()).await;
    let request = sale(1, 1, "4000009999999999", 100);
    assert_eq!(code(&site.line(1).await.ask(&request).await), "14");
    site.reaches(&request, "declined").await;
}
