//! Deliberate bugs in core, journal and outbox: each must be found by some seed.
//!
//! One bug is in force for the whole process, so nothing else may run beside. Invariant: afterwards none is.

use crate::runner::{Limits, run_seeds};
use crate::world::Telling;

/// One bug and who found it.
#[derive(Clone, Debug)]
pub struct Killed {
    /// Where it is: switch, journal or partition.
    pub place: &'static str,
    /// What it does.
    pub name: &'static str,
    /// The first of the seeds that found it, and what it saw.
    pub by: Option<(u64, String)>,
}

/// Runs seeds 1, 2, 3 … up to `most` against each bug until one finds it. `begin` hears of each before.
pub fn hunt(most: u64, mut begin: impl FnMut(&'static str)) -> Vec<Killed> {
    let mut found = Vec::new();
    for mutant in switch::mutant::Mutant::ALL {
        begin(mutant.name());
        switch::mutant::set(Some(*mutant));
        found.push(Killed { place: "switch", name: mutant.name(), by: first_seed(most) });
        switch::mutant::set(None);
    }
    for mutant in journal::mutant::Mutant::ALL {
        begin(mutant.name());
        journal::mutant::set(Some(*mutant));
        found.push(Killed { place: "journal", name: mutant.name(), by: first_seed(most) });
        journal::mutant::set(None);
    }
    for mutant in partition::mutant::Mutant::ALL {
        begin(mutant.name());
        partition::mutant::set(Some(*mutant));
        found.push(Killed { place: "partition", name: mutant.name(), by: first_seed(most) });
        partition::mutant::set(None);
    }
    found
}

/// The first seed that breaks a promise: in batches, so that all cores work and the answer is the same on every machine.
fn first_seed(most: u64) -> Option<(u64, String)> {
    const BATCH: u64 = 8;
    let mut from = 1;
    while from <= most {
        let seeds: Vec<u64> = (from..=most.min(from + BATCH - 1)).collect();
        let total = run_seeds(&seeds, Telling::default(), Limits::default(), |_| {});
        if let Some(failure) = total.failures.first() {
            return Some((failure.seed, failure.violations.first().cloned().unwrap_or_default()));
        }
        from += BATCH;
    }
    None
}

/// One line of JSON.
#[must_use]
pub fn json(found: &[Killed]) -> String {
    let line = |killed: &Killed| {
        serde_json::json!({
            "name": killed.name,
            "place": killed.place,
            "killed_by_seed": killed.by.as_ref().map(|(seed, _)| seed),
        })
    };
    serde_json::json!({ "mutants": found.iter().map(line).collect::<Vec<_>>() }).to_string()
}
