//! Seeds that failed once. They run before all others. Invariant: a seed is in the file once.
//!
//! A seed means what [`Plan::draw`] makes of it, and a new trouble makes other plans. So a seed is kept with a fingerprint of
//! its plan, by which one sees that it is not that case any more, and with the smallest case of its day.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::plan::Plan;
use crate::runner::Failure;

const SEEDS: &str = include_str!("../corpus.txt");

/// The seeds of the corpus as it was when this was built, in the order in which they were found.
#[must_use]
pub fn corpus() -> Vec<u64> {
    SEEDS.lines().filter_map(seed_of).collect()
}

/// Seeds of the corpus that draw another plan than on the day when they were found.
#[must_use]
pub fn stale() -> Vec<u64> {
    let another = |line: &&str| {
        let kept = line.split(' ').nth(1).and_then(|word| word.strip_prefix("plan-"));
        seed_of(line).zip(kept).is_some_and(|(seed, kept)| kept != fingerprint(seed))
    };
    SEEDS.lines().filter(another).filter_map(seed_of).collect()
}

/// Adds seeds that failed, with the smallest case found ([`crate::Total::shrink_first`]), to the file in the sources that this
/// was built from, if they are still there. Says which are new.
///
/// # Errors
/// When the file cannot be read or written.
pub fn keep(failures: &[Failure]) -> std::io::Result<Vec<u64>> {
    keep_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus.txt"), failures)
}

fn keep_in(path: &PathBuf, failures: &[Failure]) -> std::io::Result<Vec<u64>> {
    if failures.is_empty() || !path.exists() {
        return Ok(Vec::new());
    }
    // The file, and not what was built in: an earlier run may have added to it.
    let mut known: Vec<u64> = std::fs::read_to_string(path)?.lines().filter_map(seed_of).collect();
    let mut file = std::fs::OpenOptions::new().append(true).open(path)?;
    let mut new = Vec::new();
    for failure in failures.iter().filter(|failure| failure.smallest.is_some()) {
        if !known.contains(&failure.seed) {
            writeln!(file, "{}", line_of(failure))?;
            known.push(failure.seed);
            new.push(failure.seed);
        }
    }
    Ok(new)
}

fn seed_of(line: &str) -> Option<u64> {
    line.split(' ').next()?.parse().ok()
}

fn line_of(failure: &Failure) -> String {
    let what = failure.violations.first().and_then(|what| what.lines().next()).unwrap_or_default();
    let smallest = failure.smallest.as_ref().map_or_else(String::new, |smallest| format!("; {}", smallest.command));
    format!("{} plan-{} {}: {what}{smallest}", failure.seed, fingerprint(failure.seed), crate::COMMIT)
}

/// Of all that a seed draws.
fn fingerprint(seed: u64) -> String {
    format!("{:08x}", crc32c::crc32c(format!("{:?}", Plan::draw(seed)).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::Smallest;

    fn failure(seed: u64) -> Failure {
        let (plan, command, violation) = (Plan::draw(seed), format!("replay {seed}"), String::new());
        let smallest = Some(Smallest { plan, command, violation });
        Failure { seed, violations: vec!["I6: a difference\nof two lines".to_owned()], smallest }
    }

    #[test]
    fn every_line_of_the_corpus_is_a_comment_or_a_seed_with_its_plan_and_story() {
        for line in SEEDS.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.splitn(3, ' ');
            let seed = words.next().map(str::parse::<u64>);
            let plan = words.next().and_then(|word| word.strip_prefix("plan-"));
            let of_plan = plan.is_some_and(|plan| plan.len() == 8 && plan.bytes().all(|b| b.is_ascii_hexdigit()));
            assert!(matches!(seed, Some(Ok(_))) && of_plan && words.next().is_some(), "{line}");
        }
    }

    #[test]
    fn what_failed_is_kept_once_however_often_it_fails() {
        let path = std::env::temp_dir().join(format!("sim-corpus-{}.txt", std::process::id()));
        std::fs::write(&path, "# seeds\n7 a story\n").expect("a file can be written");
        let kept = |failures: &[Failure]| keep_in(&path, failures).expect("the file can be written");
        assert_eq!(kept(&[failure(7), failure(8), failure(8)]), [8]);
        assert_eq!(kept(&[failure(8)]), [0; 0]);
        // Of a run in which all fails, the first few.
        assert_eq!(kept(&[Failure { smallest: None, ..failure(9) }]), [0; 0]);
        let text = std::fs::read_to_string(&path).expect("the file can be read");
        let expected =
            format!("# seeds\n7 a story\n8 plan-{} {}: I6: a difference; replay 8\n", fingerprint(8), crate::COMMIT);
        assert_eq!(text, expected);
        std::fs::remove_file(&path).expect("the file can be removed");
    }

    #[test]
    fn another_plan_has_another_fingerprint() {
        assert_eq!(fingerprint(1), fingerprint(1));
        assert_ne!(fingerprint(1), fingerprint(2));
    }
}
