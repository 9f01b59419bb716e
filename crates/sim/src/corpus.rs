//! Seeds that failed once. They run before all others. Invariant: a seed is in it once.

use std::io::Write;
use std::path::Path;

use crate::runner::Failure;

const SEEDS: &str = include_str!("../corpus.txt");

/// Where it is kept, from the root of the repository.
const FILE: &str = "crates/sim/corpus.txt";

/// The seeds of the corpus as it was when this was built, in the order in which they were found.
#[must_use]
pub fn corpus() -> Vec<u64> {
    SEEDS.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect()
}

/// Adds seeds that failed, when the current directory is the repository. Says which are new.
///
/// # Errors
/// When the file cannot be written.
pub fn keep(failures: &[Failure]) -> std::io::Result<Vec<u64>> {
    if !Path::new(FILE).exists() {
        return Ok(Vec::new());
    }
    let known = corpus();
    let mut file = std::fs::OpenOptions::new().append(true).open(FILE)?;
    let mut new = Vec::new();
    for failure in failures.iter().filter(|failure| !known.contains(&failure.seed)) {
        let what = failure.violations.first().map_or("", String::as_str);
        writeln!(file, "{} {}: {}", failure.seed, crate::COMMIT, what.lines().next().unwrap_or_default())?;
        new.push(failure.seed);
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_line_of_the_corpus_is_a_comment_or_a_seed_with_its_story() {
        let lines = super::SEEDS.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(lines.count(), super::corpus().len());
    }
}
