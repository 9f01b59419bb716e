//! A person's decision: taken where something is open, refused with its reason where not, on record for ever (section 2).

use std::process::Output;

use serde_json::Value;

use crate::support::daemon::{Tx, switchd};
use crate::support::site::PAN;
use crate::support::{Options, Site, code, reversal_of, sale};

/// `switchd resolve RRN` with this decision, by ann, because of a ticket.
async fn resolve(site: &Site, rrn: &str, decision: &[&str]) -> Output {
    let config = site.config();
    let config = config.to_str().expect("the path is text");
    let fixed = ["resolve", rrn, "--config", config, "--who", "ann", "--why", "ticket 7", "--json", "--as"];
    switchd(fixed.iter().chain(decision)).await
}

/// The decision is not taken: exit code 1, and a sentence that holds `reason`.
async fn assert_refused(site: &Site, rrn: &str, decision: &[&str], reason: &str) {
    let output = resolve(site, rrn, decision).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(reason), "{reason:?} is not in {said}");
}

/// The decision is taken: exit code 0, and the movement as it is then.
async fn assert_taken(site: &Site, rrn: &str, decision: &[&str]) -> Value {
    let output = resolve(site, rrn, decision).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

/// A sale of 1250 that its terminal reverses with another amount (D12): a person has to decide.
async fn contested(options: Options) -> (Site, Tx) {
    let site = Site::open(options).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    assert_eq!(code(&line.ask(&request).await), "00");
    let mut reversal = reversal_of(&request, 2);
    reversal.set(4, b"000000001251");
    assert_eq!(code(&line.ask(&reversal).await), "64");
    let tx = site.reaches(&request, "needs_operator").await;
    let doubt = site.daemon.doubt().await;
    assert_eq!((doubt.in_doubt, doubt.movements[0].rrn.as_str()), (1, tx.rrn.as_str()), "it is listed");
    (site, tx)
}

#[tokio::test]
async fn a_decision_ends_the_doubt_once_and_survives_a_crash() {
    let (mut site, tx) = contested(Options::default()).await;
    let shown = assert_taken(&site, &tx.rrn, &["stands"]).await;
    assert_eq!((&shown["state"], &shown["net"]), (&"resolved".into(), &1250.into()));
    site.nothing_in_doubt().await;
    assert!(site.daemon.doubt().await.exceptions.is_empty(), "its entries are closed too");
    assert_refused(&site, &tx.rrn, &["undone-elsewhere"], "nothing is open").await;
    assert_refused(&site, &tx.rrn, &["undo"], "nothing to undo").await;

    site.crash().await;
    site.nothing_in_doubt().await;
    let shown: Value = serde_json::from_str(&site.daemon.admin_text(&format!("/tx/{}", tx.rrn)).await).expect("JSON");
    assert_eq!((&shown["state"], &shown["net"]), (&"resolved".into(), &1250.into()));
    let verdict = &shown["verdict"];
    assert_eq!(
        [&verdict["resolution"], &verdict["who"], &verdict["why"]],
        [&Value::from("stands"), &"ann".into(), &"ticket 7".into()]
    );
    assert_eq!(site.issuer_net(), 1250, "nothing was sent");
    let log = site.daemon.log();
    assert!(log.lines().any(|line| line.contains("audit") && line.contains("an operator decides") && line.contains("ann")));
}

#[tokio::test]
async fn an_entry_is_closed_by_its_name_and_what_it_names_stays() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1250);
    assert_eq!(code(&line.ask(&request).await), "00");
    assert_eq!(code(&line.ask(&sale(1, 1, PAN, 999)).await), "94");
    let [entry] = &site.daemon.doubt().await.exceptions[..] else { panic!("one entry (D4)") };
    assert_taken(&site, &entry.entry, &["stands"]).await;
    assert!(site.daemon.doubt().await.exceptions.is_empty());
    assert_refused(&site, &entry.entry, &["stands"], "no such entry is open").await;
    assert_eq!((site.tx(&request).await.net, site.issuer_net()), (1250, 1250));
}

#[tokio::test]
async fn an_order_to_undo_is_sent_to_the_issuer() {
    let (site, tx) = contested(Options::default()).await;
    assert_taken(&site, &tx.rrn, &["undo"]).await;
    site.nothing_in_doubt().await;
    assert_eq!(site.issuer_net(), 0);
}

#[tokio::test]
async fn what_does_not_fit_is_refused_with_its_reason() {
    let (site, tx) = contested(Options::default()).await;
    assert_refused(&site, &tx.rrn, &["adjusted-elsewhere", "--amount", "1251"], "above the approved one").await;
    assert_refused(&site, "999999999999", &["stands"], "no movement of this RRN").await;
    let output = resolve(&site, &tx.rrn, &["adjusted-elsewhere"]).await;
    assert_eq!(output.status.code(), Some(2), "an adjustment says to what");
    assert_eq!(site.daemon.doubt().await.in_doubt, 1);
    let shown = assert_taken(&site, &tx.rrn, &["adjusted-elsewhere", "--amount", "1000"]).await;
    assert_eq!((&shown["net"], &shown["verdict"]["amount"]), (&1000.into(), &1000.into()));
}

#[tokio::test]
async fn k2_an_approval_of_unknown_delivery_is_listed_apart() {
    let mut site = Site::open(Options::default()).await;
    let request = sale(1, 1, PAN, 1250);
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&request).await), "00");
    // The mark of the handing is written lazily: a kill right after the answer mostly takes it away.
    site.crash().await;
    let tx = site.tx(&request).await;
    let doubt: Value = serde_json::from_str(&site.daemon.admin_text("/doubt").await).expect("JSON");
    let listed = doubt["unknown_deliveries"].as_array().expect("it is a list").len();
    assert_eq!(listed, usize::from(tx.evidence == "unknown"), "{tx:?}");
    assert_eq!(doubt["in_doubt"], 0);
}

/// Section 10: a person types or pastes a card where an RRN belongs.
#[tokio::test]
async fn a_card_number_that_is_typed_for_an_rrn_is_not_repeated() {
    let site = Site::open(Options::default()).await;
    let track = format!(";{PAN}=30122017395820461?");
    for (typed, exit) in [(PAN, 1), (track.as_str(), 1), (&format!("entry-{PAN}"), 1)] {
        let output = resolve(&site, typed, &["stands"]).await;
        told_without_a_card(&output, exit);
    }
    for typed in [PAN, track.as_str(), &format!("entry-{PAN}")] {
        let config = site.config();
        told_without_a_card(&switchd(["why", typed, "--config", config.to_str().expect("the path is text")]).await, 2);
    }
    assert!(!site.daemon.log().contains(PAN), "{}", site.daemon.log());
}

#[track_caller]
fn told_without_a_card(output: &Output, exit: i32) {
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(exit), "{said}");
    assert!(!said.contains(PAN) && said.contains("neither an RRN nor") && said.contains("next: "), "{said}");
}
