//! Every deliberate bug must be found, and by the auditor: one that looks away finds none.
//!
//! One bug is in force for the whole process; so this is one test in a process of its own.

use sim::{Plan, Telling, mutants, run};
use switch::mutant::{Mutant, set};

/// Seeds tried against each.
const SEEDS: u64 = 400;

#[test]
fn every_mutant_dies_and_a_blind_auditor_kills_none() {
    let found = mutants::hunt(SEEDS, |_| {});
    for mutants::Killed { place, name, by } in &found {
        let by = by.as_ref().map_or_else(|| "LIVES".to_owned(), |(seed, what)| format!("seed {seed}: {what}"));
        println!("{place:<9} {name:<50} {by}");
    }
    assert!(found.len() >= 25, "{} mutants", found.len());
    let alive: Vec<&str> = found.iter().filter(|killed| killed.by.is_none()).map(|killed| killed.name).collect();
    assert!(alive.is_empty(), "no seed up to {SEEDS} finds: {alive:?}");

    set(Some(Mutant::SendBeforeIntent));
    let sees = |blind| !run(&Plan::draw(1), Telling { trace: false, blind }).violations.is_empty();
    assert!(sees(false) && !sees(true), "what was found, the auditor found");
    set(None);
    assert!(!sees(false), "without a bug there is nothing to find");
}
