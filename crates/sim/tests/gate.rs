//! The gate: a million simulated transactions, and an auditor who must find nothing.
//!
//! The corpus of seeds that failed once, fixed seeds, and fresh ones from the commit, so that every commit looks where nobody
//! looked before. Not a proof that the auditor sees anything: that is in `mutants.rs`.

use std::io::Write;

use sim::{COMMIT, Limits, Plan, SIMULABLE, Telling, Total, corpus, keep, run, run_seeds};

const TRANSACTIONS: u64 = 1_000_000;

/// Half of the transactions, about.
const FIXED: u64 = 1500;

/// The second half: seeds that no run before this commit has seen, unless it was not committed yet.
fn fresh() -> impl Iterator<Item = u64> {
    let of_commit = u64::from_str_radix(COMMIT.get(..12).unwrap_or("0"), 16).unwrap_or(0) | 1 << 40;
    (0..5000).map(move |offset| of_commit.wrapping_add(offset))
}

/// What has to come together in a run.
struct Least {
    transactions: u64,
    faults: u64,
    crashes: u64,
    /// Requests that were approved: a switch that refuses everything is safe and of no use.
    approvals: u64,
    /// Of each rule that can be simulated.
    firings: u64,
}

fn approvals(total: &Total) -> u64 {
    total.coverage.transitions.get(&("awaiting_issuer", "awaiting_delivery")).copied().unwrap_or(0)
}

/// What is wrong with a run.
fn complaints(total: &Total, least: &Least) -> Vec<String> {
    let counts = [
        ("transactions", total.transactions, least.transactions),
        ("faults", total.faults, least.faults),
        ("crashes", total.crashes, least.crashes),
        ("approvals", approvals(total), least.approvals),
    ];
    let too_few = counts.iter().filter(|(_, count, least)| count < least).map(|(what, count, _)| format!("{count} {what}"));
    let failed = total.failures.iter().map(|failure| format!("seed {} fails", failure.seed));
    let fired = |rule: &str| total.coverage.rules.get(rule).copied().unwrap_or(0);
    let seldom = SIMULABLE
        .iter()
        .filter(|rule| fired(rule) < least.firings)
        .map(|rule| format!("{rule} fired {} times", fired(rule)));
    let never = total.never().into_iter().map(|what| format!("{what} never occurred"));
    too_few.chain(failed).chain(seldom).chain(never).collect()
}

#[test]
fn a_million_transactions_and_no_violation() {
    let seeds: Vec<u64> = corpus().into_iter().chain(1..=FIXED).chain(fresh()).collect();
    let limits = Limits { transactions: Some(TRANSACTIONS), time: None };
    let mut total = run_seeds(&seeds, Telling::default(), limits, |_| {});
    // Past the harness, which shows what is printed only of tests that fail.
    let _ = writeln!(std::io::stderr(), "simulated: {}", total.json());
    println!("{total}");
    total.shrink_first();
    for failure in &total.failures {
        let command = failure.smallest.as_ref().map_or("", |smallest| &smallest.command);
        println!("seed {} of {COMMIT}: {:?}\n  {command}", failure.seed, failure.violations);
    }
    println!("added to the corpus: {:?}", keep(&total.failures));
    let least = Least { transactions: TRANSACTIONS, faults: 300_000, crashes: 2_000, approvals: 400_000, firings: 100 };
    assert_eq!(complaints(&total, &least), Vec::<String>::new());
}

#[test]
fn with_the_auditor_off_the_gate_fails() {
    let seeds: Vec<u64> = (1..=100).collect();
    let wrong = |blind, firings| {
        let least = Least { transactions: 25_000, faults: 10_000, crashes: 500, approvals: 10_000, firings };
        complaints(&run_seeds(&seeds, Telling { trace: false, blind }, Limits::default(), |_| {}), &least)
    };
    // A hundred seeds need not show every rule.
    assert_eq!(wrong(false, 0), Vec::<String>::new());
    assert!(wrong(true, 1).contains(&"M1 fired 0 times".to_owned()));
}

#[test]
fn a_seed_is_twice_the_same() {
    for seed in 1..=6 {
        let plan = Plan::draw(seed);
        let [told, blind] = [(true, false), (false, true)].map(|(trace, blind)| run(&plan, Telling { trace, blind }));
        let first = run(&plan, Telling::default());
        assert!(first.is_same(&told), "seed {seed}");
        assert!(!told.trace.is_empty());
        // The auditor changes nothing: who looks away sees the same run.
        assert_eq!((first.hash, first.transactions), (blind.hash, blind.transactions), "seed {seed}");
    }
}
