//! A journal that is not the newest never serves silently (K5): the daemon refuses it and says what to do, and an operator who
//! has nothing better takes it by name, with a new key for cards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::support::daemon::switchd;
use crate::support::site::PAN;
use crate::support::{Options, Site, code, sale};

/// A site that has made one sale.
async fn one_sale() -> Site {
    let site = Site::open(Options::default()).await;
    sell(&site, 1).await;
    site
}

async fn sell(site: &Site, stan: u32) {
    assert_eq!(code(&site.line(1).await.ask(&sale(1, stan, PAN, 100)).await), "00");
}

fn journal(site: &Site) -> PathBuf {
    site.dir().join("journal")
}

/// What a backup program makes of a directory: the same names, bytes and times, in other files.
fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.expect("cp starts").success());
}

fn replace(site: &Site, by: &Path) {
    fs::rename(journal(site), site.dir().join("replaced")).expect("both are ours");
    copy(by, &journal(site));
}

/// The daemon does not start: its code, and what it says.
async fn refused(site: &mut Site, said: &[&str]) {
    site.spawn_again();
    assert_eq!(site.daemon.exited().await.code(), Some(21), "{}", site.daemon.log_since_start());
    let log = site.daemon.log_since_start();
    for text in said.iter().chain(&["(K5)", "next: "]) {
        assert!(log.contains(text), "{text:?} is not in {log}");
    }
    assert!(!site.dir().join("addresses.json").exists(), "nothing was bound");
}

/// `switchd adopt` as this person says it.
async fn adopt_by(site: &Site, who: &str, why: &str) -> Output {
    let config = site.config();
    let config = config.to_str().expect("the path is text");
    switchd(["adopt", "--config", config, "--who", who, "--why", why, "--json"]).await
}

async fn adopt(site: &Site) -> String {
    let output = adopt_by(site, "ann", "the disk is lost, ticket 7").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("--json prints JSON");
    assert_eq!(told["journal"].as_str(), journal(site).to_str());
    told["known"].as_str().expect("it says what was known").to_owned()
}

#[tokio::test]
async fn k5_an_older_copy_of_the_whole_directory_is_refused_and_taken_only_by_name_with_a_new_key() {
    let mut site = one_sale().await;
    site.daemon.stop().await;
    let backup = site.dir().join("backup");
    copy(&journal(&site), &backup);
    site.start_again().await;
    sell(&site, 2).await;
    site.daemon.kill();
    replace(&site, &backup);
    refused(&mut site, &["is an older copy", "journal.witness"]).await;
    refused(&mut site, &["is an older copy"]).await;

    let told = adopt(&site).await;
    assert!(told.contains("the witness saw record"), "{told}");
    refused(&mut site, &["PAN key 1 seals still"]).await;
    let keys = site.dir().join("keys/journal.keys");
    let old = fs::read_to_string(&keys).expect("init made it");
    fs::write(&keys, format!("pan 2 {}\n{old}", "5a".repeat(32))).expect("the directory is ours");
    site.start_again().await;
    assert!(site.daemon.log_since_start().contains("ticket 7"), "who and why are in the log");
    assert_eq!(site.daemon.movements().await.len(), 1, "the copy knows the first sale only");
    sell(&site, 3).await;
    site.crash().await;
    site.daemon.stop().await;
    site.start_again().await;
    assert_eq!(site.daemon.movements().await.len(), 2, "it is the journal from now on");
}

#[tokio::test]
async fn k5_a_copy_of_a_journal_that_ran_is_refused_and_the_journal_itself_is_not() {
    let mut site = one_sale().await;
    site.daemon.kill();
    // It has every record that the witness saw, and nobody can say whether it has all.
    let backup = site.dir().join("backup");
    copy(&journal(&site), &backup);
    replace(&site, &backup);
    refused(&mut site, &["is a copy"]).await;
    fs::remove_dir_all(journal(&site)).expect("it is ours");
    fs::rename(site.dir().join("replaced"), journal(&site)).expect("both are ours");
    site.start_again().await;
    assert_eq!(site.daemon.movements().await.len(), 1);
}

#[tokio::test]
async fn k5_a_whole_copy_after_a_clean_stop_goes_on_elsewhere() {
    let mut site = one_sale().await;
    site.daemon.stop().await;
    let moved = site.dir().join("moved");
    copy(&journal(&site), &moved);
    replace(&site, &moved);
    site.start_again().await;
    assert_eq!(site.daemon.movements().await.len(), 1);
    sell(&site, 2).await;
    site.crash().await;
    assert_eq!(site.daemon.movements().await.len(), 2);
}

#[tokio::test]
async fn k5_no_journal_where_there_was_one_is_no_new_beginning() {
    let mut site = one_sale().await;
    site.daemon.stop().await;
    let away = site.dir().join("away");
    fs::rename(journal(&site), &away).expect("both are ours");
    refused(&mut site, &["there is no journal in", "mount its disk"]).await;
    assert!(!journal(&site).exists(), "none was begun");
    fs::create_dir(journal(&site)).expect("the directory is ours");
    refused(&mut site, &["there is no journal in"]).await;
    fs::remove_dir(journal(&site)).expect("it is still empty");
    fs::rename(&away, journal(&site)).expect("both are ours");
    site.start_again().await;
}

#[tokio::test]
async fn k5_a_journal_without_its_witness_and_another_journal_are_refused() {
    let mut site = one_sale().await;
    site.daemon.stop().await;
    let (witness, aside) = (site.dir().join("journal.witness"), site.dir().join("aside"));
    fs::rename(&witness, &aside).expect("both are ours");
    refused(&mut site, &["is missing"]).await;
    fs::write(&witness, "[]").expect("the directory is ours");
    refused(&mut site, &["is not a witness"]).await;
    fs::rename(&aside, &witness).expect("both are ours");

    let other = one_sale().await;
    fs::rename(journal(&site), site.dir().join("own")).expect("both are ours");
    copy(&journal(&other), &journal(&site));
    // Its keys came with it, so that nothing else is wrong.
    fs::copy(other.dir().join("keys/journal.keys"), site.dir().join("keys/journal.keys")).expect("both are ours");
    refused(&mut site, &["is another one than"]).await;
}

#[tokio::test]
async fn k6_a_journal_that_is_served_cannot_be_adopted() {
    let site = one_sale().await;
    let output = adopt_by(&site, "ann", "x").await;
    assert_eq!(output.status.code(), Some(20), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The alarm is on the counter, and a daemon without sales writes the witness at its start alone.
#[tokio::test]
async fn k5_a_witness_that_cannot_be_written_at_the_start_is_counted() {
    let mut site = Site::open(Options::default()).await;
    site.daemon.stop().await;
    // In the way of the file that would become the witness.
    fs::create_dir(site.dir().join("journal.part")).expect("the directory is ours");
    site.start_again().await;
    assert_eq!(site.daemon.metric("switchd_witness_failures_total").await, 1.0);
}

#[tokio::test]
async fn k5_a_journal_that_agrees_with_its_witness_is_not_adopted() {
    let mut site = one_sale().await;
    for clean in [true, false] {
        if clean {
            site.daemon.stop().await;
        } else {
            site.daemon.kill();
        }
        let witness = fs::read(site.dir().join("journal.witness")).expect("it is there");
        let output = adopt_by(&site, "ann", "x").await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("nothing is to be adopted") && said.contains("next: start"), "{said}");
        assert_eq!(fs::read(site.dir().join("journal.witness")).expect("it is there"), witness, "nothing was written");
        // No new key is asked for.
        site.start_again().await;
    }
}

#[tokio::test]
async fn who_adopts_and_why_are_one_line_without_a_card_number() {
    let mut site = one_sale().await;
    site.daemon.stop().await;
    let witness = site.dir().join("journal.witness");
    fs::remove_file(&witness).expect("it is ours");
    for (who, why) in [("", "x"), ("ann", " "), ("ann\nbob", "x"), ("ann", "a\nb"), ("ann", PAN), (PAN, "x")] {
        let output = adopt_by(&site, who, why).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{who:?} {why:?}: {said}");
        assert!(said.contains("one line of 1 to 255 bytes") || said.contains("may be a card number"), "{said}");
        assert!(!said.contains(PAN) && !witness.exists(), "{said}");
    }
    adopt(&site).await;
    // Decided anew.
    adopt(&site).await;
}
