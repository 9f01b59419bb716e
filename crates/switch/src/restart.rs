//! What a process does with what it finds in the journal (K1-K3, K7).

use crate::ids::{MovementId, Now};
use crate::mutant::{Mutant, on};
use alloc::vec::Vec;

use crate::machine::{Output, Sending, Switch, keep};
use crate::movement::{Movement, Reason, Rule, StateKind};
use crate::record::Record;
use crate::rekey::MarkOf;
use crate::table::{decide, takes};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Obligation: the answer may be lost with the process (K1).
    Unwind,
    /// The rest of the grace (T8, K7).
    Grace,
    /// The whole of `confirm_within`: what passed while nobody could confirm does not count (K2).
    ConfirmAnew,
    /// The rest of `confirm_deadline` (C3, K7).
    Confirm,
    /// The state has no deadline.
    Nothing,
}

#[derive(Debug)]
struct Row {
    state: &'static [StateKind],
    /// Whether the terminals confirm with a message of their own (C2).
    explicit: &'static [bool],
    then: Decision,
}

use StateKind as S;

const ANY: &[bool] = &[];

/// K1, K2: what a restart finds × the profile.
#[rustfmt::skip]
const RESTARTS: &[Row] = &[
    Row { state: &[S::AwaitingIssuer], explicit: ANY, then: Decision::Unwind },
    Row { state: &[S::AwaitingDelivery], explicit: ANY, then: Decision::Grace },
    Row { state: &[S::AwaitingConfirmation], explicit: &[true], then: Decision::ConfirmAnew },
    Row { state: &[S::AwaitingConfirmation], explicit: &[false], then: Decision::Confirm },
    Row { state: &[S::AwaitingReversalAck, S::NeedsOperator, S::Declined, S::Confirmed, S::Unwound, S::Resolved], explicit: ANY, then: Decision::Nothing },
];

fn matches(row: &Row, state: StateKind, explicit: bool) -> bool {
    takes(row.state, state) && takes(row.explicit, explicit)
}

/// K3: whether a promise is sent again. One that cannot be built or read is a person's (R4), and so is one whose original the
/// issuer does not know (R2).
fn goes_on(movement: &Movement) -> bool {
    let parked = movement.state == StateKind::NeedsOperator && matches!(movement.operator_rule, Some(Rule::R2 | Rule::R4));
    movement.owes() && !parked
}

impl Switch {
    /// Begins a life of the process: after the journal was replayed, before the first input.
    ///
    /// `keys` are the numbers and check values of the keys that seal and find cards in this life, as
    /// [`Switch::take_keys`] takes them; [`Switch::keys`] gives them to the next.
    pub fn start(&mut self, now: Now, keys: Vec<(u16, [u8; 8])>, mark_of: MarkOf<'_>, out: &mut Output) {
        let now = self.steady(now);
        let known = if self.state.keys.is_empty() { keys.clone() } else { self.state.keys.clone() };
        self.write(now, Record::Restarted { epoch: self.state.epoch + 1, keep: keep(&self.config), keys: known }, out);
        self.take_keys(now, keys, mark_of, out);
        let open: alloc::collections::BTreeSet<MovementId> =
            self.state.open.values().flat_map(|tally| tally.ids.iter().copied()).collect();
        for id in open {
            self.resume(now, id, out);
        }
    }

    /// How often this partition was started; the first start is 1.
    pub fn epoch(&self) -> u32 {
        self.state.epoch
    }

    fn resume(&mut self, now: Now, id: MovementId, out: &mut Output) {
        let Some(movement) = self.movement(id) else { return };
        // K7: what remains of a deadline, whatever the wall clock did.
        let since_ms = movement.since_wall_ms;
        let passed = |deadline_ms: u64| now.wall_ms.saturating_sub(since_ms).min(deadline_ms);
        let config = self.config.clone();
        let group = config.group(movement.group);
        let (state, explicit) = (movement.state, group.confirm_within_ms.is_some());
        let owes = goes_on(movement);
        // R3: the horizon of what was never answered counts from here, failing all else.
        let unanswered = movement.answer.is_none();
        match decide(RESTARTS, |row| matches(row, state, explicit)).then {
            Decision::Unwind if on(Mutant::ForgetInFlight) => {}
            Decision::Unwind => {
                self.live(id).horizon_from_ms = Some(now.uptime_ms);
                self.oblige(now, id, Rule::K1, Reason::Timeout, out);
                self.note_decided("K1", id, out);
            }
            Decision::Grace => self.begin_grace_after(now, id, passed(group.redeliver_grace_ms)),
            Decision::ConfirmAnew => self.await_confirmation(now, id, 0),
            Decision::Confirm => self.await_confirmation(now, id, passed(group.confirm_deadline_ms)),
            Decision::Nothing => {}
        }
        if unanswered {
            self.live(id).horizon_from_ms = Some(now.uptime_ms);
        }
        if owes && !on(Mutant::ForgetPromises) {
            self.resume_reversal(now, id);
        }
    }

    /// K3: it goes on, with the repeat MTI where a send may have been made.
    fn resume_reversal(&mut self, now: Now, id: MovementId) {
        let Some(obligation) = self.movement(id).and_then(|movement| movement.obligation.as_ref()) else { return };
        let decided_before = obligation.deciding.is_some();
        let sent_before = decided_before || obligation.early.is_some();
        let live = self.live(id);
        live.horizon_from_ms = Some(now.uptime_ms);
        live.sending = Sending { sent_before, decided_before, ..Sending::default() };
        self.set_reversal_timer(id, now.uptime_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::assert_one_row;

    #[test]
    fn every_restart_matches_exactly_one_row() {
        for state in StateKind::ALL {
            for explicit in [false, true] {
                assert_one_row(RESTARTS, &(state, explicit), |row| matches(row, state, explicit));
            }
        }
    }
}
