//! How often each rule, trouble and change of state occurred. Decides nothing.

use std::collections::{BTreeMap, BTreeSet};

use iso8583::Rrn;
use partition::Opened;
use switch::{IssuerNo, MovementId, Note, StateKind};

use crate::plan::Trouble;

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// By the rule's number.
    pub rules: BTreeMap<&'static str, u64>,
    /// By the trouble's name.
    pub troubles: BTreeMap<&'static str, u64>,
    /// From which state into which, as the core says of itself at the end of a turn; a new movement comes from "new".
    pub transitions: BTreeMap<(&'static str, &'static str), u64>,
    /// Everything else that is worth a count.
    pub events: BTreeMap<&'static str, u64>,
    states: BTreeMap<MovementId, StateKind>,
    by_rrn: BTreeMap<Rrn, StateKind>,
    /// Reversals that were sent and not acknowledged in this life of the process.
    unacknowledged: BTreeSet<(IssuerNo, Rrn)>,
    /// A connection has become ready, and nothing was decided since.
    just_ready: bool,
}

impl Coverage {
    pub(crate) fn rule(&mut self, rule: &'static str) {
        *self.rules.entry(rule).or_default() += 1;
    }

    pub(crate) fn trouble(&mut self, trouble: Trouble) {
        *self.troubles.entry(trouble.name()).or_default() += 1;
    }

    pub(crate) fn event(&mut self, event: &'static str) {
        *self.events.entry(event).or_default() += 1;
    }

    pub(crate) fn opened(&mut self, opened: &Opened) {
        self.event("start");
        self.unacknowledged.clear();
        self.just_ready = false;
        if opened.journal.torn_groups_cut > 0 {
            self.rule("K5");
            self.event("torn group cut");
        }
    }

    /// What the core says of itself.
    pub(crate) fn note(&mut self, note: &Note) {
        let just_ready = std::mem::take(&mut self.just_ready);
        match note {
            Note::Decided { rule, .. } | Note::ObligationRecorded { rule, .. } | Note::Exception { rule, .. } => {
                self.rule(rule)
            }
            Note::ObligationSent { issuer, rrn, attempt } => {
                self.just_ready = just_ready;
                self.reversal_sent(*issuer, *rrn, *attempt);
            }
            Note::ObligationAcknowledged { issuer, rrn, .. } => {
                self.unacknowledged.remove(&(*issuer, *rrn));
                self.rule("R2");
            }
            Note::LateAnswer { rrn, .. } => {
                self.rule("T5");
                // A 0430 was waited for, and a 0210 came.
                if self.by_rrn.get(rrn) == Some(&StateKind::AwaitingReversalAck) {
                    self.rule("T6");
                }
            }
            // Ignored, mostly as a copy; as a rule T4 counts where it promises to undo an approval.
            Note::Unmatched { .. } => self.event("answer that nothing waits for"),
            Note::State { id, rrn, state } => {
                self.by_rrn.insert(*rrn, *state);
                self.state(*id, *state);
            }
            Note::Answered { code, rrn: None, .. } if matches!(code.as_str(), "91" | "96") => self.rule("M7"),
            Note::LinkReady { ready, .. } => self.just_ready = *ready,
            Note::Answered { .. } => {}
        }
    }

    fn reversal_sent(&mut self, issuer: IssuerNo, rrn: Rrn, attempt: u32) {
        if self.just_ready {
            self.rule("R6");
        }
        let silent = self.unacknowledged.iter().any(|(of, other)| *of == issuer && *other != rrn);
        if attempt == 1 && silent {
            self.rule("R5");
        }
        self.unacknowledged.insert((issuer, rrn));
    }

    fn state(&mut self, id: MovementId, state: StateKind) {
        let before = self.states.insert(id, state);
        // What was never durable went with a crash, and its number begins again.
        let before = before.filter(|_| state != StateKind::AwaitingIssuer).map_or("new", StateKind::name);
        if before != state.name() {
            *self.transitions.entry((before, state.name())).or_default() += 1;
        }
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Coverage) {
        fn sum<K: Ord + Copy>(mine: &mut BTreeMap<K, u64>, theirs: &BTreeMap<K, u64>) {
            theirs.iter().for_each(|(name, count)| *mine.entry(*name).or_default() += count);
        }
        sum(&mut self.rules, &other.rules);
        sum(&mut self.troubles, &other.troubles);
        sum(&mut self.transitions, &other.transitions);
        sum(&mut self.events, &other.events);
    }
}

/// The rules that a run can show. The gate fails when one of them never fired.
pub const SIMULABLE: &[&str] = &[
    "M1", "M2", "M3", "M4", "M6", "M7", "T1", "T2", "T3", "T4", "T5", "T6", "T7", "T8", "T9", "T10", "R0", "R1", "R2", "R3",
    "R4", "R5", "R6", "R7", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9", "D10", "D11", "D12", "D13", "C1", "C2",
    "C3", "K1", "K2", "K3", "K4", "K5", "K6", "K7",
];

/// The rules that forbid something, so that nothing is seen of them, or that the simulation cannot reach: what looks at them
/// here, and the test that proves them, as `crate::file::test` (`e2e` is the folder `tests`).
pub const PROVED_ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "M5",
        "the auditor refuses a second send of any request",
        "switch::speak::m5_one_key_is_one_request_at_the_issuer_whatever_comes_again",
    ),
    ("M8", "invariant I7", "switch::combinations::m8_every_new_sale_after_every_earlier_one"),
    ("R8", "nothing: no file is looked at for secrets", "e2e::leak::no_secret_is_found_in_any_file_log_or_output"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::{PROVED_ELSEWHERE, SIMULABLE};

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }

    /// Whether `crate::file::test` is a test of the sources.
    fn is_a_test(name: &str) -> bool {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let Some((of, rest)) = name.split_once("::") else { return false };
        let Some((file, test)) = rest.split_once("::") else { return false };
        let folder = if of == "e2e" { root.join("tests") } else { root.join("crates").join(of) };
        let named = |path: &PathBuf| {
            let of_folder = path.ends_with("mod.rs").then(|| path.parent()).flatten();
            of_folder.unwrap_or(path).file_stem().is_some_and(|stem| stem == file)
        };
        sources(&folder).iter().filter(|path| named(path)).any(|path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let (above, _) = text.split_once(&format!("fn {test}(")).unwrap_or_default();
            // The attributes; what comes before an empty line or a body's end is another item's.
            let attributes = above.lines().rev().take_while(|line| !line.is_empty() && !line.starts_with('}'));
            attributes.map(str::trim).any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
        })
    }

    #[test]
    fn what_is_proved_elsewhere_is_proved_by_tests_that_exist() {
        for (rule, _, test) in PROVED_ELSEWHERE {
            assert!(is_a_test(test), "{rule} names {test}, which is no test");
        }
        for wrong in ["e2e::leak::no_such_test", "switch::nowhere::a", "tests/leak.rs", "switch::speak::m5"] {
            assert!(!is_a_test(wrong), "{wrong} is a test");
        }
    }

    #[test]
    fn every_rule_is_counted_or_proved_elsewhere_and_once() {
        let ranges = [("M", 1..=8), ("T", 1..=10), ("R", 0..=8), ("D", 1..=13), ("C", 1..=3), ("K", 1..=7)];
        let law: BTreeSet<String> =
            ranges.into_iter().flat_map(|(letter, of)| of.map(move |number| format!("{letter}{number}"))).collect();
        let elsewhere = PROVED_ELSEWHERE.iter().map(|(rule, ..)| *rule);
        let told: Vec<&str> = SIMULABLE.iter().copied().chain(elsewhere).collect();
        assert_eq!(told.len(), law.len());
        assert_eq!(told.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), law);
    }
}
