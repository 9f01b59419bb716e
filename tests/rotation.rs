//! New keys for cards, by SIGHUP and by a start: what was sold before is repeated, keyed again, reversed and found after, and
//! nothing is charged twice because of a rotation (section 10, D2 to D8).

use std::fs;

use serde_json::Value;

use crate::operate::{by_whole_card, json, said};
use crate::reload::{edit, reload};
use crate::support::daemon::switchd;
use crate::support::site::{PAN, POOR_PAN, initialised};
use crate::support::{Options, Site, code, name, reversal_of, sale, until};

/// `switchd keys rotate` for both kinds.
async fn rotate(site: &Site) {
    json(site, &["keys", "rotate", "pan"]).await;
    json(site, &["keys", "rotate", "hmac"]).await;
}

/// How many PAN keys and look-up keys the file holds.
async fn counted(site: &Site) -> (usize, usize) {
    let listed = json(site, &["keys", "list"]).await;
    let count = |kind: &str| listed[kind].as_array().map_or(0, Vec::len);
    (count("pan"), count("hmac"))
}

async fn found_by_card(site: &Site, pan: &str, count: usize) -> Vec<Value> {
    let what = format!("{count} are found by the card");
    until(&what, async || Some(by_whole_card(site, pan).await).filter(|found| found.len() == count)).await
}

/// Two sales before the rotation; after it the repeat of one, the reversal of the other, an equal one, and one of another card.
#[tokio::test]
async fn d2_d4_d6_d8_what_was_sold_before_a_rotation_is_known_after_it() {
    for by_sighup in [true, false] {
        let mut site = Site::open(Options::default()).await;
        let mut line = site.line(1).await;
        let (first, second) = (sale(1, 1, PAN, 1250), sale(1, 2, PAN, 800));
        for sale in [&first, &second] {
            assert_eq!(code(&line.ask(sale).await), "00");
        }
        rotate(&site).await;
        if by_sighup {
            reload(&site, "reloaded").await;
        } else {
            site.daemon.stop().await;
            site.start_again().await;
            line = site.line(1).await;
        }
        assert_eq!(code(&line.ask(&second).await), "00", "D2: the same again");
        site.issuer_moved(2).await;
        let mut other = first.clone();
        other.set(2, POOR_PAN.as_bytes());
        assert_eq!(code(&line.ask(&other).await), "94", "D4: another card under the key");
        let mut undo = reversal_of(&first, 3);
        undo.set(37, site.tx(&first).await.rrn.as_bytes());
        assert_eq!(code(&line.ask(&undo).await), "00", "D8: its card, out of the old seal");
        site.reaches(&first, "unwound").await;
        let equal = sale(1, 4, PAN, 800);
        assert_eq!(code(&line.ask(&equal).await), "00");
        let doubt = json(&site, &["doubt"]).await;
        assert!(doubt.to_string().contains("D6"), "the equal sale of the card is flagged: {doubt}");
        assert_eq!(code(&line.ask(&sale(1, 5, POOR_PAN, 30)).await), "00");
        assert_eq!(found_by_card(&site, PAN, 3).await.len() + found_by_card(&site, POOR_PAN, 1).await.len(), 4);
        assert_eq!(site.issuer_net(), 800 + 800 + 30);
        // What was sealed and marked by the new keys is there after a crash, and so is the rest.
        site.crash().await;
        let mut line = site.line(1).await;
        for sale in [&second, &equal] {
            assert_eq!(code(&line.ask(sale).await), "00");
        }
        assert_eq!(site.issuer_net(), 800 + 800 + 30, "by SIGHUP: {by_sighup}");
        found_by_card(&site, PAN, 3).await;
        site.daemon.stop().await;
    }
}

#[tokio::test]
async fn section_10_a_file_that_lacks_a_key_in_use_is_refused_whole() {
    let mut site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let bought = sale(1, 1, PAN, 1250);
    assert_eq!(code(&line.ask(&bought).await), "00");
    let file = site.dir().join("keys/journal.keys");
    let old = fs::read_to_string(&file).expect("it is there");
    rotate(&site).await;
    assert_eq!(counted(&site).await, (2, 2));
    let whole = fs::read_to_string(&file).expect("it is there");

    // Without the keys of before, beside a registry that locks the terminal out: neither is taken.
    let kept = |old: &str| whole.lines().filter(|line| !old.contains(line)).collect::<Vec<_>>().join("\n");
    let entry = format!("allow = \"{}/MERCHANT0000001\"", name(1));
    edit(&site, "terminals.toml", &entry, "allow = \"NOBODY/MERCHANT0000001\"");
    for (lost, number) in [(old.lines().find(|line| line.starts_with("pan")), 1), (Some(old.trim_end()), 0)] {
        fs::write(&file, kept(lost.expect("it is there"))).expect("it is ours");
        reload(&site, &format!("lacks key {number} (0: a look-up key)")).await;
        assert_eq!(code(&line.ask(&bought).await), "00", "on the same connection, by the old registry and the old keys");
    }
    edit(&site, "terminals.toml", "allow = \"NOBODY/MERCHANT0000001\"", &entry);

    // Taken, and then the file of before comes back: refused while it runs, and by a start.
    fs::write(&file, &whole).expect("it is ours");
    reload(&site, "reloaded").await;
    assert!(site.daemon.log().contains("pan_key=2"), "the log says which key seals");
    // K5: the witness knows that it does, so that no older copy of the journal is adopted with it.
    let witness = fs::read_to_string(site.dir().join("journal.witness")).expect("it is there");
    let witness: Value = serde_json::from_str(&witness).expect("it is JSON");
    let sealed = witness["keys"].as_array().expect("a list");
    assert!(sealed.len() == 2 && sealed[1].as_str().is_some_and(|key| key.starts_with("2:")), "{witness}");
    fs::write(&file, &old).expect("it is ours");
    reload(&site, "nothing is taken of it").await;
    assert_eq!(code(&line.ask(&sale(1, 2, PAN, 700)).await), "00");
    site.daemon.kill();
    site.spawn_again();
    assert!(!site.daemon.exited().await.success());
    assert!(site.daemon.log_since_start().contains("these are not the keys of this journal"));
    fs::write(&file, &whole).expect("it is ours");
    site.start_again().await;
    assert_eq!(code(&site.line(1).await.ask(&bought).await), "00");
    assert_eq!(site.issuer_net(), 1250 + 700);
    site.daemon.stop().await;
}

#[tokio::test]
async fn section_10_the_commands_show_check_values_and_no_key() {
    let site = Site::open(Options::default()).await;
    let file = site.dir().join("keys/journal.keys");
    let listed = said(&site, &["keys", "list"]).await;
    assert!(listed.contains("seals and opens") && listed.contains("cards are known by it"), "{listed}");
    assert!(!listed.contains("opens what it sealed"), "{listed}");
    // The file itself, where the daemon reads a copy of it.
    let of_file = switchd(["keys", "list", "--file", file.to_str().expect("the path is text")]).await;
    assert_eq!(String::from_utf8_lossy(&of_file.stdout), listed);
    let told = [said(&site, &["keys", "rotate", "pan"]).await, said(&site, &["keys", "rotate", "hmac"]).await];
    for told in told {
        assert!(told.contains("next: back the file up"), "{told}");
        for key in fs::read_to_string(&file).expect("it is there").split_whitespace().filter(|word| word.len() == 64) {
            assert!(!told.contains(&key[..16]), "a key is shown:\n{told}");
        }
    }
    let listed = said(&site, &["keys", "list"]).await;
    assert!(listed.contains("opens what it sealed") && listed.contains("finds what was recorded under it"), "{listed}");
    // Another rotation, and one more: nothing is lost of what was there.
    let before = fs::read_to_string(&file).expect("it is there");
    rotate(&site).await;
    let after = fs::read_to_string(&file).expect("it is there");
    assert!(before.lines().all(|line| after.contains(line)), "no key is taken out");
    assert_eq!(counted(&site).await, (3, 3));
}

#[tokio::test]
async fn section_10_rotations_at_once_lose_no_key() {
    let dir = initialised(1).await;
    let file = dir.path().join("keys/journal.keys");
    let before = fs::read_to_string(&file).expect("init made it");
    // Left by a rotation that was killed.
    fs::write(dir.path().join("keys/journal.keys.new"), "pan 2 5a5a").expect("the directory is ours");
    let rotations: Vec<_> = ["pan", "hmac"]
        .repeat(4)
        .into_iter()
        .map(|kind| {
            let args = ["keys".into(), "rotate".into(), kind.into(), "--file".into(), file.clone().into_os_string()];
            tokio::spawn(switchd(args))
        })
        .collect();
    for rotation in rotations {
        let output = rotation.await.expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let after = fs::read_to_string(&file).expect("it is there");
    assert!(before.lines().all(|line| after.contains(line)), "no key is taken out");
    let count = |kind: &str| after.lines().filter(|line| line.starts_with(kind)).count();
    assert_eq!((count("pan "), count("hmac ")), (5, 5), "every rotation's key is there");
    for number in 1..=5 {
        assert_eq!(count(&format!("pan {number} ")), 1, "numbers are given once");
    }
}
