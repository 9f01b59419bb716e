//! What a person can do without the daemon: `switchd journal verify|show|stats` and `switchd check`.
//!
//! Which damage is refused (K5) is `crates/journal`'s. Invariant: a journal is read without its keys, shown masked, and not a byte of it changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::support::daemon::switchd;
use crate::support::site::PAN;
use crate::support::{Options, Site, code, reversal_of, sale};

async fn journal(site: &Site, command: &str, more: &[&str]) -> Output {
    let dir = site.dir().join("journal");
    let dir = dir.to_str().expect("the path is text");
    switchd(["journal", command, dir].iter().chain(more)).await
}

async fn shown(site: &Site, command: &str, more: &[&str]) -> String {
    let output = journal(site, command, more).await;
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert!(!text.contains(PAN), "a card number:\n{text}");
    text
}

/// Every file of a directory.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).expect("the directory is there").map(|entry| entry.expect("it can be read"));
    entries
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("it can be read")))
        .collect()
}

#[tokio::test]
async fn a_journal_is_verified_shown_and_counted_without_keys_and_unchanged() {
    let mut site = Site::open(Options::default()).await;
    let request = sale(1, 1, PAN, 1250);
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&request).await), "00");
    assert_eq!(code(&line.ask(&reversal_of(&request, 2)).await), "00");
    let rrn = site.reaches(&request, "unwound").await.rrn;

    // Beside the daemon that serves it, too.
    let output = journal(&site, "verify", &[]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("a daemon serves this journal"));

    site.daemon.stop().await;
    fs::remove_file(site.dir().join("keys/journal.keys")).expect("it is there");
    let before = files(&site.dir().join("journal"));
    let verified: Value = serde_json::from_str(&shown(&site, "verify", &["--json"]).await).expect("JSON");
    assert_eq!((&verified["oldest"], &verified["movements"], &verified["in_doubt"]), (&1.into(), &1.into(), &0.into()));
    let text = shown(&site, "show", &["--rrn", &rrn]).await;
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].contains("0200 STAN 000001 from the terminal for 12.50 978") && lines[0].contains("400000******7899"),
        "{text}"
    );
    assert!(lines.iter().all(|line| line.contains(&rrn)), "{text}");
    assert!(text.contains("the issuer answers the reversal 00 Approved; the promise is kept"), "{text}");
    let all: Vec<Value> =
        serde_json::from_str(&shown(&site, "show", &["--json", "--from", "2", "--limit", "3"]).await).expect("JSON");
    assert_eq!(all.iter().map(|line| line["lsn"].as_u64()).collect::<Vec<_>>(), [Some(2), Some(3), Some(4)]);
    let stats: Value = serde_json::from_str(&shown(&site, "stats", &["--json"]).await).expect("JSON");
    assert_eq!(
        (&stats["records"]["intent"], &stats["starts"], &stats["open"]),
        (&1.into(), &1.into(), &Value::Array(vec![]))
    );
    assert_eq!(stats["asked"]["978"], Value::from(vec![1, 1250]));
    assert!(shown(&site, "stats", &[]).await.contains("asked for  12.50 978 in 1 sales"));
    assert_eq!(files(&site.dir().join("journal")), before, "not a byte changes");
}

#[tokio::test]
async fn a_damaged_journal_is_named_with_file_and_offset() {
    let mut site = Site::open(Options::default()).await;
    assert_eq!(code(&site.line(1).await.ask(&sale(1, 1, PAN, 1250)).await), "00");
    site.daemon.stop().await;
    let segment = site.dir().join("journal/segment-0000000000000001");
    let mut bytes = fs::read(&segment).expect("the first segment is there");
    bytes[700] ^= 1;
    fs::write(&segment, bytes).expect("it is ours");
    for command in ["verify", "show", "stats"] {
        let output = journal(&site, command, &[]).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(21), "{command}: {said}");
        assert!(said.contains("segment-0000000000000001 at offset 512") && said.contains("next: "), "{said}");
    }
}

#[tokio::test]
async fn what_is_no_journal_is_refused_and_not_made() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let none = dir.path().join("none");
    let output = switchd(["journal", "verify", none.to_str().expect("text")]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(!none.exists(), "nothing is made");
    let output = switchd(["journal", "stats", dir.path().to_str().expect("text")]).await;
    assert_eq!(output.status.code(), Some(21), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 0, "nothing is made");
}

#[tokio::test]
async fn check_judges_as_a_start_would_and_names_every_wrong_line() {
    let mut site = Site::open(Options::default()).await;
    let config = site.config();
    let check = async |more: &[&str]| {
        let args = ["check", "--config", config.to_str().expect("the path is text")];
        switchd(args.iter().chain(more)).await
    };
    let output = check(&[]).await;
    assert_eq!(output.status.code(), Some(0), "beside the running daemon: {}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("3 terminal certificates"));
    site.daemon.stop().await;
    let text = fs::read_to_string(&config).expect("it is there");
    let wrong = text.replace("serial = true", "serial = 1").replace("[metrics]", "[metrics]\nadress = 1");
    fs::write(&config, wrong).expect("it is ours");
    fs::remove_file(site.dir().join("tls/server.key")).expect("it is there");
    let output = check(&[]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{said}");
    assert!(said.contains("serial is of type") && said.contains("did you mean \"address\""), "{said}");
    let output = check(&["--json"]).await;
    let judged: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &judged["good"]), (Some(10), &false.into()));
    assert_eq!(judged["problems"].as_array().map(Vec::len), Some(2), "{judged}");
}
