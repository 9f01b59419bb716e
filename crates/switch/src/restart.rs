//! What a process does with what it finds in the journal (K1-K3, K7).

use crate::ids::{MovementId, Now};
use alloc::vec::Vec;

use crate::machine::{Output, Sending, Switch, keep};
use crate::movement::{Reason, Rule, StateKind};
use crate::record::Record;

impl Switch {
    /// Begins a life of the process: after the journal was replayed, before the first input.
    ///
    /// `keys` are the numbers and check values of the keys that seal and find cards in this life; [`Switch::keys`] gives
    /// them to the next.
    pub fn start(&mut self, now: Now, keys: Vec<(u16, [u8; 8])>, out: &mut Output) {
        let now = self.steady(now);
        self.write(now, Record::Restarted { epoch: self.state.epoch + 1, keep: keep(&self.config), keys }, out);
        let open: alloc::collections::BTreeSet<MovementId> =
            self.state.open.values().flat_map(|tally| tally.ids.iter().copied()).collect();
        for id in open {
            self.resume(now, id, out);
        }
    }

    /// What the keys of the newest life are known by.
    pub fn keys(&self) -> &[(u16, [u8; 8])] {
        &self.state.keys
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
        let parked =
            movement.state == StateKind::NeedsOperator && matches!(movement.operator_rule, Some(Rule::R2 | Rule::R4));
        let owes = movement.owes() && !parked;
        // R3: the horizon of what was never answered counts from here, failing all else.
        let unanswered = movement.answer.is_none();
        match movement.state {
            StateKind::AwaitingIssuer => {
                self.live(id).horizon_from_ms = Some(now.uptime_ms);
                self.oblige(now, id, Rule::K1, Reason::Timeout, out);
                self.note_decided("K1", id, out);
            }
            StateKind::AwaitingDelivery => self.begin_grace_after(now, id, passed(group.redeliver_grace_ms)),
            // C2 counts from the restart (K2), C3 from the handing.
            StateKind::AwaitingConfirmation if group.confirm_within_ms.is_some() => self.await_confirmation(now, id, 0),
            StateKind::AwaitingConfirmation => self.await_confirmation(now, id, passed(group.confirm_deadline_ms)),
            StateKind::AwaitingReversalAck
            | StateKind::NeedsOperator
            | StateKind::Declined
            | StateKind::Confirmed
            | StateKind::Unwound
            | StateKind::Resolved => {}
        }
        if unanswered {
            self.live(id).horizon_from_ms = Some(now.uptime_ms);
        }
        if owes {
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
