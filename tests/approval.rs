//! A sale is approved, stands at the issuer, and is confirmed by what the terminal sends next (M1, M2, C1).

use crate::support::site::PAN;
use crate::support::{Options, Site, card, code, echo, field, sale};

#[tokio::test]
async fn a_sale_is_approved_and_confirmed_by_a_later_sale() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let first = sale(1, 1, PAN, 1250);
    let answer = line.ask(&first).await;
    assert_eq!(code(&answer), "00");
    assert_eq!((field(&answer, 4), field(&answer, 49)), ("000000001250", "978"));
    assert_eq!(field(&answer, 38).len(), 6, "an approval has its code");
    assert!(!answer.has(2), "the card number comes back only by setting");

    let tx = site.reaches(&first, "awaiting_confirmation").await;
    assert_eq!((tx.rrn.as_str(), tx.amount, tx.net), (field(&answer, 37), 1250, 1250));
    let [movement] = &site.issuer.movements()[..] else { panic!("one movement at the issuer") };
    assert_eq!((movement.rrn.as_str(), movement.net), (tx.rrn.as_str(), 1250));

    // C1 is about time: sales inside the margin prove nothing, the first one beyond it does.
    let mut stan = 2;
    loop {
        assert_eq!(code(&line.ask(&sale(1, stan, PAN, 100)).await), "00");
        stan += 1;
        if site.tx(&first).await.state == "confirmed" {
            break;
        }
        assert!(stan < 5_000, "no later sale confirms the first");
    }
    assert_eq!(site.tx(&first).await.cause.as_deref(), Some("later request (C1)"));
    assert_eq!(site.daemon.metric("switchd_obligations_recorded_total").await, 0.0);
}

#[tokio::test]
async fn inside_the_crossing_margin_nothing_is_confirmed() {
    let site = Site::open(Options { crossing_margin: 300_000, ..Options::default() }).await;
    let mut line = site.line(1).await;
    let first = sale(1, 1, PAN, 1250);
    line.ask(&first).await;
    site.reaches(&first, "awaiting_confirmation").await;
    assert_eq!(code(&line.ask(&sale(1, 2, PAN, 100)).await), "00");
    assert_eq!(site.tx(&first).await.state, "awaiting_confirmation");
}

#[tokio::test]
async fn a_terminal_that_does_not_reverse_first_confirms_nothing() {
    let options = Options { crossing_margin: 10, reverses_first: false, ..Options::default() };
    let site = Site::open(options).await;
    let mut line = site.line(1).await;
    let first = sale(1, 1, PAN, 1250);
    line.ask(&first).await;
    site.reaches(&first, "awaiting_confirmation").await;
    for stan in 2..30 {
        assert_eq!(code(&line.ask(&sale(1, stan, PAN, 100)).await), "00");
    }
    assert_eq!(site.tx(&first).await.state, "awaiting_confirmation");
}

#[tokio::test]
async fn three_ledgers_agree_after_sales_and_authorisations_of_several_terminals() {
    let site = Site::open(Options::default()).await;
    let mut journals = Vec::new();
    for number in 1..=3 {
        let mut terminal = site.terminal(number);
        assert!(terminal.sign_on().await.expect("the daemon is there").is_approved());
        for minor in [500, 700] {
            let receipt = terminal.sale(&card(), minor).await.expect("the daemon is there");
            assert!(receipt.is_approved(), "{receipt}");
            let receipt = terminal.auth(&card(), minor).await.expect("the daemon is there");
            assert!(receipt.is_approved(), "{receipt}");
        }
        journals.push(terminal.journal());
    }
    let found = site.reconciled(&journals).await;
    assert_eq!((found.issuer.movements, found.issuer.net), (12, 7_200));
}

#[tokio::test]
async fn an_echo_is_answered() {
    let site = Site::open(Options::default()).await;
    let answer = site.line(1).await.ask(&echo(1, 1)).await;
    assert_eq!((answer.mti().as_str(), code(&answer), field(&answer, 70)), ("0810", "00", "301"));
}
