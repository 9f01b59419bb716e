//! The gate: a million simulated transactions, and an auditor who must find nothing.
//!
//! The corpus of seeds that failed once, fixed seeds, and fresh ones from the commit: every commit looks where nobody looked
//! before. Not a proof that the auditor sees anything: that is in `mutants.rs`.

use std::io::Write;

use sim::{COMMIT, Limits, Plan, Telling, corpus, run, run_seeds, shrink};

const TRANSACTIONS: u64 = 1_000_000;

/// Half of the transactions, about.
const FIXED: u64 = 1500;

/// Seeds that no run before this commit has seen, unless it was not committed yet.
fn fresh() -> impl Iterator<Item = u64> {
    let start = u64::from_str_radix(COMMIT.get(..12).unwrap_or("0"), 16).unwrap_or(0) | 1 << 40;
    (0..).map(move |offset| start.wrapping_add(offset))
}

#[test]
fn a_million_transactions_and_no_violation() {
    let seeds: Vec<u64> = corpus().into_iter().chain(1..=FIXED).chain(fresh().take(5000)).collect();
    let limits = Limits { transactions: Some(TRANSACTIONS), time: None };
    let total = run_seeds(&seeds, Telling::default(), limits, |_| {});
    // Past the harness, which shows what is printed only of tests that fail.
    let _ = writeln!(std::io::stderr(), "simulated: {}", total.json());
    println!("{total}");
    for failure in &total.failures {
        let command = shrink(failure.seed).map_or_else(String::new, |smallest| smallest.command);
        println!("seed {} of {COMMIT}: {:?}\n  {command}", failure.seed, failure.violations);
    }
    assert!(total.failures.is_empty(), "{} seeds failed", total.failures.len());
    assert!(total.transactions >= TRANSACTIONS, "{} transactions", total.transactions);
    assert!(total.faults >= 300_000, "{} faults", total.faults);
    assert!(total.crashes >= 2_000, "{} crashes", total.crashes);
    let seldom: Vec<_> = sim::SIMULABLE
        .iter()
        .map(|rule| (*rule, total.coverage.rules.get(rule).copied().unwrap_or(0)))
        .filter(|(_, count)| *count < 100)
        .collect();
    assert!(seldom.is_empty(), "rules that fired less than 100 times: {seldom:?}");
}

#[test]
fn a_seed_is_twice_the_same() {
    for seed in 1..=6 {
        let plan = Plan::draw(seed);
        let (first, second) = (run(&plan, Telling::default()), run(&plan, Telling { trace: true, blind: false }));
        assert_eq!(first.hash, second.hash, "seed {seed}");
        assert!(!second.trace.is_empty());
    }
}
