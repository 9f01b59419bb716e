//! Every deliberate bug must be found, by the invariant or the rule that it breaks, and by the auditor: one that looks away
//! finds none of them.
//!
//! One bug is in force for the whole process; so this is one test in a process of its own.

use sim::{Plan, Telling, mutants, run};

/// Seeds tried against each.
const SEEDS: u64 = 1000;

#[test]
fn every_mutant_dies_by_its_name_and_a_blind_auditor_kills_none() {
    let found = mutants::hunt(mutants::Bug::all(), SEEDS, |_| {});
    print!("{}", mutants::markdown(&found));
    assert!(found.len() >= 25, "{} mutants", found.len());
    let alive: Vec<_> = found.iter().filter(|killed| killed.by.is_none()).collect();
    assert!(alive.is_empty(), "no seed up to {SEEDS} finds: {alive:#?}");

    for mutants::Killed { bug, by, .. } in &found {
        let Some((seed, saw)) = by else { continue };
        let plan = Plan::draw(*seed);
        let with_the_bug = bug.in_force();
        let blind = run(&plan, Telling { trace: false, blind: true }).violations;
        let unseen = blind.iter().all(|violation| violation.starts_with("panic:"));
        assert!(unseen, "{}: what was found ({saw}), the auditor found: {blind:?}", bug.name());
        drop(with_the_bug);
        let without = run(&plan, Telling::default()).violations;
        assert!(without.is_empty(), "{}: seed {seed} fails without the bug: {without:?}", bug.name());
    }
}
