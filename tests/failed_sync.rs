//! A disk that fails in the middle of the day (M6): what the journal could not make durable is not told to anybody, the daemon
//! ends with a code of its own, and the next one recovers.
//!
//! `strace` makes `fdatasync` fail in the real process, from a given call on; which calls belong to a start is counted on a
//! clean one first.

use std::collections::BTreeMap;
use std::path::Path;

use iso8583::Fields;

use crate::support::daemon::switchd;
use crate::support::site::PAN;
use crate::support::strace::{can_trace_for, injected, tracer};
use crate::support::{Daemon, Options, Site, code, repeat_of, sale};

/// The exit code that the table of `switchd --help` calls journal-poisoned.
const JOURNAL_POISONED: i32 = 23;

/// So many syncs after the start, one after the other, are made to fail. The journal of a sale takes two or three, so that
/// these fall on intents, outcomes and marks of handing.
const FAILED: u32 = 6;

/// How often each thread has begun to sync, by the tracer's output.
fn syncs(output: &Path) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for line in std::fs::read_to_string(output).unwrap_or_default().lines().filter(|line| line.contains("fdatasync(")) {
        let thread = line.split(' ').next().unwrap_or_default();
        *counts.entry(thread.to_owned()).or_default() += 1;
    }
    counts
}

/// What a clean start syncs. `strace` counts each thread's calls for itself.
struct Start {
    /// On the thread that does it most.
    at_most: u32,
    /// On the thread that then syncs the journal of sales.
    on_the_journals_thread: u32,
}

async fn syncs_of_a_start(site: &mut Site, request: &Fields) -> Start {
    let output = site.dir().join("syncs.txt");
    let tracer = tracer(output.to_str().expect("the path is text"), "fdatasync", &[]);
    site.daemon = Daemon::spawn_under(&tracer, &site.config(), &site.dir().join("switchd.log"));
    site.daemon.ready().await;
    let started = syncs(&output);
    assert_eq!(code(&site.line(1).await.ask(request).await), "00");
    let sold = syncs(&output);
    site.daemon.stop().await;
    let of_start = |thread: &String| started.get(thread).copied().unwrap_or(0);
    let grown: Vec<_> = sold.iter().filter(|(thread, count)| **count > of_start(thread)).collect();
    assert_eq!(grown.len(), 1, "one thread syncs the journal: {started:?}, with a sale {sold:?}");
    Start { at_most: started.values().copied().max().unwrap_or(0), on_the_journals_thread: of_start(grown[0].0) }
}

#[tokio::test]
async fn m6_after_a_failed_sync_nobody_is_told_anything_and_the_restart_recovers() {
    if !can_trace_for("m6") {
        return;
    }
    let mut site = Site::open(Options { original_horizon: 1_500, ..Options::default() }).await;
    site.daemon.stop().await;
    let (mut stan, mut stands) = (1, 101);
    let start = syncs_of_a_start(&mut site, &sale(1, stan, PAN, 101)).await;
    for after_the_start in 1..=FAILED {
        let fails_from = start.at_most + after_the_start;
        let tracer = injected("fdatasync", "error=EIO", &format!("{fails_from}+"));
        site.daemon = Daemon::spawn_under(&tracer, &site.config(), &site.dir().join("switchd.log"));
        site.daemon.ready().await;
        let (mut line, mut idle) = (site.line(1).await, site.line(2).await);
        let mut told = Vec::new();
        let last = loop {
            stan += 1;
            let request = sale(1, stan, PAN, 100 + u64::from(stan));
            line.try_send(&request).await;
            let Some(answer) = line.receive().await else { break request };
            assert_eq!(code(&answer), "00", "sale {stan}: a key with an intent gets its outcome or nothing");
            stands += 100 + i64::from(stan);
            told.push(request);
            // Each takes a sync at least.
            assert!(told.len() < (fails_from - start.on_the_journals_thread) as usize, "sync {fails_from} did not fail");
        };
        // Every terminal is disconnected, whatever it was doing.
        assert!(idle.receive().await.is_none());
        assert_eq!(site.daemon.exited().await.code(), Some(JOURNAL_POISONED));
        assert!(site.daemon.log().contains("the journal takes no more"), "it says why");

        site.start_again().await;
        for request in &told {
            assert_eq!(site.tx(request).await.code.as_deref(), Some("00"), "M2: what was told is durable");
        }
        // The last one is unwound, or what was recorded of it stands; either way its terminal is told the same.
        let repeated = site.line(1).await.ask(&repeat_of(&last)).await;
        match code(&repeated) {
            "68" => drop(site.reaches(&last, "unwound").await),
            "00" => stands += 100 + i64::from(stan),
            other => panic!("the repeat of the last sale got {other}"),
        }
        site.nothing_in_doubt().await;
        assert_eq!(site.issuer_net(), stands, "fails from {fails_from}: the ledgers agree");
        site.daemon.stop().await;
    }
    let help = String::from_utf8(switchd(["--help"]).await.stdout).expect("help is text");
    assert!(help.contains("23  journal-poisoned"), "the code has its name: {help}");
}
