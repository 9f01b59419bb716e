//! The gate: a million simulated transactions, and an auditor who must find nothing.
//!
//! Fixed seeds; with `SWITCHD_SIM_FRESH=1` the second half are fresh ones from the commit. Not a proof that the auditor sees anything: that is in `mutants.rs`.

use sim::{COMMIT, Limits, Plan, Telling, run, run_seeds, shrink};

/// Seeds that broke something with the plans of today; they run first. What earlier plans found is in docs/TESTING.md, held by
/// tests of the law, as their seeds draw something else now.
const CORPUS: &[u64] = &[
    // An operator decided while a part of the sale was still being reversed.
    959, // The auditor took what became of an answer for the end of a person's case.
    555, 778,    // He took another terminal's answer for word of this movement.
    22_386, // A terminal that had used up its tombstones never came to rest.
    22_886,
];

const TRANSACTIONS: u64 = 1_000_000;

/// Seeds that no run before this commit has seen, unless it was not committed yet.
fn fresh() -> impl Iterator<Item = u64> {
    let start = u64::from_str_radix(COMMIT.get(..12).unwrap_or("0"), 16).unwrap_or(0) | 1 << 40;
    (0..).map(move |offset| start.wrapping_add(offset))
}

#[test]
fn a_million_transactions_and_no_violation() {
    let rest: Vec<u64> =
        if std::env::var_os("SWITCHD_SIM_FRESH").is_some() { fresh().take(4000).collect() } else { (1501..=5500).collect() };
    let seeds: Vec<u64> = CORPUS.iter().copied().chain(1..=1500).chain(rest).collect();
    let limits = Limits { transactions: Some(TRANSACTIONS), time: None };
    let total = run_seeds(&seeds, Telling::default(), limits, |_| {});
    println!("{total}");
    for failure in &total.failures {
        let command = shrink(failure.seed).map_or_else(String::new, |smallest| smallest.command);
        println!("seed {}: {:?}\n  {command}", failure.seed, failure.violations);
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
