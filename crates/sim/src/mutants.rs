//! Deliberate bugs in core, journal and outbox: each must be found by some seed, and called by its name.
//!
//! One bug is in force for the whole process, so nothing else may run beside. Invariant: afterwards none is.

use crate::runner::{Limits, Total, run_seeds};
use crate::world::Telling;

/// One deliberate bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Of the core.
    Switch(switch::mutant::Mutant),
    /// Of the journal.
    Journal(journal::mutant::Mutant),
    /// Of the outbox.
    Partition(partition::mutant::Mutant),
}

impl Bug {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Bug> {
        let switch = switch::mutant::Mutant::ALL.iter().map(|mutant| Bug::Switch(*mutant));
        let journal = journal::mutant::Mutant::ALL.iter().map(|mutant| Bug::Journal(*mutant));
        let partition = partition::mutant::Mutant::ALL.iter().map(|mutant| Bug::Partition(*mutant));
        switch.chain(journal).chain(partition)
    }

    /// The crate that it is in.
    #[must_use]
    pub fn place(self) -> &'static str {
        match self {
            Bug::Switch(_) => "switch",
            Bug::Journal(_) => "journal",
            Bug::Partition(_) => "partition",
        }
    }

    /// What it does.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Bug::Switch(mutant) => mutant.name(),
            Bug::Journal(mutant) => mutant.name(),
            Bug::Partition(mutant) => mutant.name(),
        }
    }

    /// The money rules that it breaks.
    #[must_use]
    pub fn rule(self) -> &'static str {
        match self {
            Bug::Switch(mutant) => mutant.rule(),
            Bug::Journal(mutant) => mutant.rule(),
            Bug::Partition(mutant) => mutant.rule(),
        }
    }

    /// The invariants and rules that may find it. What breaks another one, or panics, has not found it.
    #[must_use]
    pub fn found_by(self) -> &'static [&'static str] {
        match self {
            Bug::Switch(mutant) => mutant.found_by(),
            Bug::Journal(mutant) => mutant.found_by(),
            Bug::Partition(mutant) => mutant.found_by(),
        }
    }

    /// Puts it in force until the guard is dropped.
    #[must_use]
    pub fn in_force(self) -> InForce {
        match self {
            Bug::Switch(mutant) => switch::mutant::set(Some(mutant)),
            Bug::Journal(mutant) => journal::mutant::set(Some(mutant)),
            Bug::Partition(mutant) => partition::mutant::set(Some(mutant)),
        }
        InForce
    }

    /// Whether a violation names an invariant or a rule that may find this bug.
    fn is_named_by(self, violation: &str) -> bool {
        violation.split_once(':').is_some_and(|(broken, _)| self.found_by().contains(&broken))
    }
}

/// A bug is in force. Dropping this ends it.
#[derive(Debug)]
pub struct InForce;

impl Drop for InForce {
    fn drop(&mut self) {
        switch::mutant::set(None);
        journal::mutant::set(None);
        partition::mutant::set(None);
    }
}

/// One bug and who found it.
#[derive(Clone, Debug)]
pub struct Killed {
    /// Which.
    pub bug: Bug,
    /// The first of the seeds that found it by its name, and what it saw.
    pub by: Option<(u64, String)>,
    /// The first of the seeds before that one that failed in another way: a panic, or another invariant.
    pub otherwise: Option<(u64, String)>,
}

/// Runs seeds 1, 2, 3 … up to `most` against each bug until one finds it by its name. `done` hears of each.
pub fn hunt(bugs: impl Iterator<Item = Bug>, most: u64, mut done: impl FnMut(&Killed)) -> Vec<Killed> {
    bugs.map(|bug| first_seed(bug, most)).inspect(|killed| done(killed)).collect()
}

/// In batches, so that all cores work and the answer is the same on every machine.
fn first_seed(bug: Bug, most: u64) -> Killed {
    const BATCH: u64 = 4;
    let _in_force = bug.in_force();
    let mut otherwise = None;
    let mut from = 1;
    while from <= most {
        let seeds: Vec<u64> = (from..=most.min(from + BATCH - 1)).collect();
        let total = run_seeds(&seeds, Telling::default(), Limits::default(), |_| {});
        let (named, other) = sightings(bug, &total);
        let before = |(seed, _): &(u64, String)| named.as_ref().is_none_or(|(found, _)| seed < found);
        otherwise = otherwise.or(other.filter(before));
        if named.is_some() {
            return Killed { bug, by: named, otherwise };
        }
        from += BATCH;
    }
    Killed { bug, by: None, otherwise }
}

type Sighting = (u64, String);

/// The first seed that names the bug, and the first that only fails.
fn sightings(bug: Bug, total: &Total) -> (Option<Sighting>, Option<Sighting>) {
    let (mut by_name, mut otherwise) = (None, None);
    for failure in &total.failures {
        match failure.violations.iter().find(|violation| bug.is_named_by(violation)) {
            Some(violation) => by_name = by_name.or(Some((failure.seed, violation.clone()))),
            None => otherwise = otherwise.or_else(|| Some((failure.seed, failure.violations.first()?.clone()))),
        }
    }
    (by_name, otherwise)
}

/// One line of JSON.
#[must_use]
pub fn json(found: &[Killed]) -> String {
    let line = |killed: &Killed| {
        serde_json::json!({
            "name": killed.bug.name(),
            "place": killed.bug.place(),
            "rule": killed.bug.rule(),
            "killed_by_seed": killed.by.as_ref().map(|(seed, _)| seed),
            "found_by": killed.by.as_ref().and_then(|(_, what)| what.split(':').next()),
        })
    };
    serde_json::json!({ "mutants": found.iter().map(line).collect::<Vec<_>>() }).to_string()
}

/// The table of docs/TESTING.md.
#[must_use]
pub fn markdown(found: &[Killed]) -> String {
    let lines = found.iter().map(|Killed { bug, by, .. }| {
        let (seed, broken) = match by {
            Some((seed, what)) => (seed.to_string(), what.split(':').next().unwrap_or_default()),
            None => ("lives".to_owned(), ""),
        };
        format!("| {} | {} | {} | {seed} | {broken} |\n", bug.name(), bug.place(), bug.rule())
    });
    let head = "| bug | place | breaks | seed | found by |\n|---|---|---|---|---|\n".to_owned();
    lines.fold(head, |table, line| table + &line)
}
