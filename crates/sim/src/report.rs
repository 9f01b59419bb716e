//! What many seeds showed, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use crate::coverage::{PROVED_ELSEWHERE, SIMULABLE};
use crate::plan::Trouble;
use crate::runner::Total;

impl Total {
    /// One line.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::json!({
            "transactions": self.transactions,
            "faults": self.faults,
            "crashes": self.crashes,
            "violations": self.failures.iter().map(|failure| failure.violations.len()).sum::<usize>(),
            "seeds_failed": self.failures.len(),
            "seconds": (self.seconds * 10.0).round() / 10.0,
            "rules_never_fired": self.rules_never_fired(),
            "troubles_never_struck": self.troubles_never_struck(),
            "seeds": self.seeds,
            "flagged": self.flagged,
            "lost": self.lost,
        })
        .to_string()
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} seeds: {} transactions, {} faults, {} crashes, {} seeds failed, {:.1} s",
            self.seeds,
            self.transactions,
            self.faults,
            self.crashes,
            self.failures.len(),
            self.seconds
        )?;
        writeln!(
            f,
            "{} purchases charged twice where nobody can know, and flagged; {} debits that no switch could have unwound",
            self.flagged, self.lost
        )?;
        let rules: BTreeMap<&str, u64> =
            SIMULABLE.iter().map(|rule| (*rule, self.coverage.rules.get(rule).copied().unwrap_or(0))).collect();
        table(f, "rules", &rules)?;
        let struck = |trouble: &Trouble| self.coverage.troubles.get(trouble.name()).copied().unwrap_or(0);
        let troubles: BTreeMap<&str, u64> = Trouble::ALL.iter().map(|trouble| (trouble.name(), struck(trouble))).collect();
        table(f, "troubles", &troubles)?;
        let transitions = self.coverage.transitions.iter();
        let transitions: BTreeMap<String, u64> =
            transitions.map(|((from, to), count)| (format!("{from} > {to}"), *count)).collect();
        table(f, "changes of state", &transitions)?;
        table(f, "also", &self.coverage.events)?;
        writeln!(f, "not counted, and proved so:")?;
        PROVED_ELSEWHERE.iter().try_for_each(|(rule, here, test)| writeln!(f, "  {rule}: {test}; here: {here}"))
    }
}

/// Name and count, some to a line.
fn table<K: Ord + AsRef<str>>(f: &mut fmt::Formatter<'_>, title: &str, counts: &BTreeMap<K, u64>) -> fmt::Result {
    writeln!(f, "{title}:")?;
    let width = counts.keys().map(|name| name.as_ref().len()).max().unwrap_or(0);
    let columns = (110 / (width + 12)).max(1);
    for row in counts.iter().collect::<Vec<_>>().chunks(columns) {
        for (name, count) in row {
            write!(f, "  {:<width$} {count:>8}", name.as_ref())?;
        }
        writeln!(f)?;
    }
    Ok(())
}
