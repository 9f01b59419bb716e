//! How often each rule, trouble and change of state occurred. Decides nothing.

use std::collections::BTreeMap;

use partition::Opened;
use switch::{MovementId, Note, StateKind};

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
            Note::ObligationSent { .. } => {}
            Note::ObligationAcknowledged { .. } => self.rule("R2"),
            Note::LateAnswer { .. } => self.rule("T5"),
            Note::Unmatched { .. } => self.rule("T4"),
            Note::State { id, state, .. } => self.state(*id, *state),
            Note::Answered { code, rrn: None, .. } if matches!(code.as_str(), "91" | "96") => self.rule("M7"),
            Note::Answered { .. } | Note::LinkReady { .. } => {}
        }
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
    "M1", "M2", "M3", "M4", "M6", "M7", "T1", "T2", "T3", "T4", "T5", "T7", "T8", "T9", "T10", "R0", "R1", "R2", "R3", "R4",
    "R7", "D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9", "D10", "D11", "D12", "D13", "C1", "C2", "C3", "K1", "K2",
    "K3", "K5", "K6",
];

/// The rules that the simulation holds but does not count, or cannot reach, and what proves them.
pub const PROVED_ELSEWHERE: &[(&str, &str)] = &[
    (
        "M5",
        "the auditor refuses a second send of any request; switch::speak::m5_one_key_is_one_request_at_the_issuer_whatever_comes_again",
    ),
    ("M8", "invariant I7; switch::combinations::m8_every_new_sale_after_every_earlier_one"),
    ("T6", "switch::answers::t6_answers_to_requests_and_to_reversals_never_stand_for_each_other"),
    ("R5", "switch::reversals::r5_a_poisoned_promise_delays_nobody"),
    ("R6", "switch::reversals::r6_after_a_reconnect_or_a_restart_the_oldest_go_first"),
    ("R8", "tests/leak.rs"),
    (
        "K4",
        "the auditor refuses a STAN that is used again within the late horizon; switch::state::k4_without_a_free_stan_a_request_is_refused_and_leaves_no_record",
    ),
    (
        "K7",
        "clock jumps, suspends and restarts under I7; switch::restart::k7_deadlines_survive_a_restart_and_ignore_jumps_of_the_wall_clock",
    ),
];
