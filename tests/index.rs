//! What memory let go is found again by the index: after a restart, after the index was lost, damaged or left behind. And
//! what the index cannot answer is not guessed: 91, or no answer yet (D11).

use std::fs;
use std::path::Path;
use std::time::Duration;

use iso8583::Fields;

use crate::operate::{json, said};
use crate::support::site::PAN;
use crate::support::{Options, Site, code, field, repeat_of, reversal_of, sale, until};

/// Memory lets go of what has ended after four seconds.
fn forgetful() -> Options {
    Options {
        redeliver_grace: 500,
        partition: "dedup_keys = 1",
        group: "repeat_window = \"1s\"\nrekey_window = \"0s\"",
        link: "late_horizon = \"2s\"",
        ..Options::impatient()
    }
}

/// A sale and its answer.
struct Sold {
    request: Fields,
    answer: Fields,
}

/// A site with so many confirmed sales of terminal 1 that memory has let go; one after another, so that each confirms the one
/// before it (C1).
async fn forgotten(options: Options, count: u32) -> (Site, Vec<Sold>) {
    let site = Site::open(options).await;
    let mut line = site.line(1).await;
    let mut sold = Vec::new();
    for stan in 1..=count {
        let request = sale(1, stan, PAN, 1_000 + u64::from(stan));
        let answer = line.ask(&request).await;
        assert_eq!(code(&answer), "00");
        sold.push(Sold { request, answer });
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    forget(&site, &sold).await;
    (site, sold)
}

/// Sells until memory has let these go.
async fn forget(site: &Site, sold: &[Sold]) {
    let mut line = site.line(1).await;
    let mut stan = 500_000 + u32::try_from(sold.len()).expect("a few");
    until("memory has let the first sales go", async || {
        stan += 1;
        assert_eq!(code(&line.ask(&sale(1, stan, PAN, 1)).await), "00");
        tokio::time::sleep(Duration::from_millis(120)).await;
        let known = site.daemon.movements().await;
        (!sold.iter().any(|sold| known.iter().any(|tx| tx.rrn == field(&sold.answer, 37)))).then_some(())
    })
    .await;
}

/// The reversal of a sale, which names it by the RRN of its answer.
fn reversal(sold: &Sold, stan: u32) -> Fields {
    let mut reversal = reversal_of(&sold.request, stan);
    reversal.set(37, field(&sold.answer, 37).as_bytes());
    reversal
}

/// D8: the terminal's reversal of what memory let go is answered 00, and its money goes back.
async fn is_reversed(site: &Site, sold: &Sold, stan: u32) {
    let before = site.issuer_net();
    let amount: i64 = field(&sold.request, 4).parse().expect("it is a number");
    let answer = site.line(1).await.ask(&reversal(sold, stan)).await;
    assert_eq!((code(&answer), answer.mti().as_str()), ("00", "0410"));
    until("the money goes back", async || (site.issuer_net() == before - amount).then_some(())).await;
    site.nothing_in_doubt().await;
    let known = site.daemon.movements().await;
    let tx = known.iter().find(|tx| tx.rrn == field(&sold.answer, 37)).expect("it was recalled");
    assert_eq!((tx.state.as_str(), tx.net), ("unwound", 0));
}

/// Waits until the index covers everything, and says how often it was built since the start.
async fn built(site: &Site) -> f64 {
    site.daemon.counts("switchd_index_following", 1.0).await;
    until("the index has caught up", async || (site.daemon.metric("switchd_index_lag_records").await == 0.0).then_some(()))
        .await;
    site.daemon.metric("switchd_index_built_total").await
}

#[tokio::test]
async fn d2_d8_after_a_restart_the_index_finds_what_a_repeat_and_a_reversal_mean() {
    let (mut site, sold) = forgotten(forgetful(), 3).await;
    assert_eq!(built(&site).await, 1.0, "there was none");
    site.daemon.stop().await;
    site.start_again().await;
    is_reversed(&site, &sold[0], 900_001).await;
    assert_eq!(built(&site).await, 0.0, "it was there");
    let moved = site.issuer.movements().len();
    let again = site.line(1).await.ask(&repeat_of(&sold[1].request)).await;
    for de in [37, 38, 39] {
        assert_eq!(field(&again, de), field(&sold[1].answer, de), "DE{de} of the stored answer (D2)");
    }
    assert_eq!(site.issuer.movements().len(), moved, "the issuer saw nothing of it");
}

/// Copies a directory.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("it can be made");
    for file in fs::read_dir(from).expect("it can be read") {
        let file = file.expect("it can be read").path();
        let target = to.join(file.file_name().expect("it has a name"));
        if file.is_dir() {
            copy(&file, &target);
        } else {
            fs::copy(&file, &target).expect("it can be copied");
        }
    }
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for file in fs::read_dir(dir).expect("it can be read") {
        let file = file.expect("it can be read").path();
        if file.is_dir() {
            found.extend(files(&file));
        } else {
            found.push(file);
        }
    }
    found
}

/// What may happen to the index while nobody looks.
fn spoil(how: usize, index: &Path) {
    match how {
        0 => fs::remove_dir_all(index).expect("it is there"),
        1 => {
            for file in files(index) {
                let mut bytes = fs::read(&file).expect("it can be read");
                for byte in bytes.iter_mut().step_by(97) {
                    *byte ^= 0x55;
                }
                fs::write(&file, bytes).expect("it can be written");
            }
        }
        2 => {
            for file in files(index) {
                let bytes = fs::read(&file).expect("it can be read");
                fs::write(&file, &bytes[..bytes.len() / 2]).expect("it can be written");
            }
        }
        _ => {
            for file in files(index) {
                fs::write(&file, [0xff; 5_000]).expect("it can be written");
            }
        }
    }
}

#[tokio::test]
async fn an_index_that_is_lost_or_damaged_is_built_again_and_the_daemon_lives() {
    let (mut site, sold) = forgotten(forgetful(), 4).await;
    for (how, sold) in sold.iter().enumerate() {
        site.daemon.stop().await;
        spoil(how, &site.dir().join("index"));
        site.start_again().await;
        assert!(built(&site).await >= 1.0, "way {how}");
        is_reversed(&site, sold, 900_010 + u32::try_from(how).expect("a few")).await;
        let log = site.daemon.log_since_start();
        assert!(log.contains("the index is built from the journal"), "way {how}: it is said");
    }
}

#[tokio::test]
async fn k5_after_a_kill_an_index_that_is_behind_catches_up() {
    let mut site = Site::open(forgetful()).await;
    built(&site).await;
    site.daemon.stop().await;
    let (index, aside) = (site.dir().join("index"), site.dir().join("index-aside"));
    copy(&index, &aside);
    site.start_again().await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1_250);
    let answer = line.ask(&request).await;
    let sold = Sold { request, answer };
    tokio::time::sleep(Duration::from_millis(120)).await;
    forget(&site, std::slice::from_ref(&sold)).await;
    site.daemon.kill();
    fs::remove_dir_all(&index).expect("it is there");
    fs::rename(&aside, &index).expect("the older one is put back");
    site.start_again().await;
    is_reversed(&site, &sold, 900_001).await;
    assert_eq!(built(&site).await, 0.0, "it went on where it stood");
}

#[tokio::test]
async fn d11_what_the_index_cannot_answer_is_not_guessed() {
    let options = Options { index: "dir = \"in-the-way/index\"\nwait = \"50ms\"", ..forgetful() };
    let site = Site::prepare(options, &[]).await;
    // No index can be made below a file.
    fs::write(site.dir().join("in-the-way"), "").expect("the directory is ours");
    let mut site = site;
    site.daemon.ready().await;
    let mut line = site.line(1).await;
    let request = sale(1, 1, PAN, 1_250);
    let answer = line.ask(&request).await;
    let sold = Sold { request, answer };
    tokio::time::sleep(Duration::from_millis(120)).await;
    forget(&site, std::slice::from_ref(&sold)).await;
    assert_eq!(site.daemon.metric("switchd_index_following").await, 0.0);
    let status = json(&site, &["status"]).await;
    assert!(["waiting", "opening"].contains(&status["index"]["stage"].as_str().expect("a stage")), "{status}");
    assert!(status["index"]["failed"].as_str().is_some_and(|why| why.contains("in-the-way")), "{status}");
    assert_eq!(status["index"]["lag"], status["index"]["durable"], "it covers nothing");
    let text = said(&site, &["status"]).await;
    assert!(text.contains("failed: cannot ") && text.contains("index      "), "{text}");
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&repeat_of(&sold.request)).await), "91");
    line.send(&reversal(&sold, 900_001)).await;
    line.assert_silent(1).await;
    fs::remove_file(site.dir().join("in-the-way")).expect("it is there");
    built(&site).await;
    let status = json(&site, &["status"]).await;
    assert_eq!((&status["index"]["stage"], &status["index"]["failed"]), (&"following".into(), &serde_json::Value::Null));
    assert!(said(&site, &["status"]).await.contains("index      following, "));
    is_reversed(&site, &sold, 900_001).await;
}
