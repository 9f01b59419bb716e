//! How often each rule, trouble and state occurred. Decides nothing.

use std::collections::BTreeMap;

use partition::Opened;
use switch::Note;

use crate::plan::Trouble;

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// By the rule's number.
    pub rules: BTreeMap<&'static str, u64>,
    /// By the trouble's name.
    pub troubles: BTreeMap<&'static str, u64>,
    /// By the state's name.
    pub states: BTreeMap<&'static str, u64>,
    /// Everything else that is worth a count.
    pub events: BTreeMap<&'static str, u64>,
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
        if opened.journal.torn_groups_cut > 0 {
            self.rule("K5");
            self.event("torn group cut");
        }
    }

    /// What the core says of itself.
    pub(crate) fn note(&mut self, note: &Note) {
        match note {
            Note::Decided { rule, .. } | Note::ObligationRecorded { rule, .. } | Note::Exception { rule, .. } => {
                self.rule(rule)
            }
            Note::ObligationSent { .. } => self.rule("R1"),
            Note::ObligationAcknowledged { .. } => self.rule("R2"),
            Note::LateAnswer { .. } => self.rule("T5"),
            Note::Unmatched { .. } => self.rule("T4"),
            Note::State { state, .. } => *self.states.entry(state.name()).or_default() += 1,
            Note::Answered { .. } | Note::LinkReady { .. } => {}
        }
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Coverage) {
        let pairs = [
            (&mut self.rules, &other.rules),
            (&mut self.troubles, &other.troubles),
            (&mut self.states, &other.states),
            (&mut self.events, &other.events),
        ];
        for (mine, theirs) in pairs {
            for (name, count) in theirs {
                *mine.entry(name).or_default() += count;
            }
        }
    }
}
