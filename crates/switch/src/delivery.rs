//! The way of an approval to its terminal, and its confirmation (T8, D2, C1, C3).

use alloc::vec::Vec;

use iso8583::ResponseCode;

use crate::action::{Action, Note, Pending};
use crate::ids::{ActionId, ConnId, Lsn, MovementId, Now};
use crate::input::Report;
use crate::look_up::Arrival;
use crate::machine::{Output, Purpose, Switch, Timer};
use crate::message;
use crate::movement::{ConfirmedBy, Evidence, Movement, Rule, StateKind};
use crate::mutant::{Mutant, on};
use crate::record::Record;
use crate::request::answered;

impl Switch {
    /// The shell says what became of the newest answer.
    pub(crate) fn offer_reported(&mut self, now: Now, id: MovementId, report: Report, out: &mut Output) {
        // An older answer's report does not come here: it is a copy's, or its purpose went when it was withdrawn.
        let live = self.live(id);
        let conn = live.offered.take().map(|(_, conn)| conn);
        live.offered_before.clear();
        // An earlier answer lies before this one in the same stream, and may arrive where this one could not be handed (M8).
        let handed_before = conn.is_some_and(|conn| live.handed_on.contains(&conn));
        if let (Some(conn), Report::Written) = (conn, report) {
            live.handed_to(conn);
        }
        let report = if core::mem::take(&mut live.copy_handed) { Report::Written } else { report };
        let Some((state, evidence)) = self.movement(id).map(|movement| (movement.state, movement.evidence)) else { return };
        if state == StateKind::NeedsOperator && evidence == Evidence::Offered {
            // T7 left the answer on its way: the person reads what became of it.
            let evidence = match report {
                Report::Written => Evidence::Handed,
                Report::NotSent | Report::Partial | Report::Unbuildable | Report::Undeliverable if handed_before => {
                    Evidence::Unknown
                }
                Report::NotSent | Report::Partial | Report::Unbuildable | Report::Undeliverable => Evidence::NotHanded,
            };
            self.write(now, Record::Delivery { id, evidence }, out);
        }
        if state != StateKind::AwaitingDelivery {
            return;
        }
        match report {
            Report::Written => {
                // Lazy: nobody waits for this record (K2 covers its loss).
                self.write(now, Record::Delivery { id, evidence: Evidence::Handed }, out);
                self.await_confirmation(now, id, 0);
            }
            Report::NotSent | Report::Partial | Report::Unbuildable | Report::Undeliverable if handed_before => {
                self.write(now, Record::Delivery { id, evidence: Evidence::Unknown }, out);
                self.await_confirmation(now, id, 0);
            }
            Report::NotSent | Report::Partial | Report::Unbuildable | Report::Undeliverable => {
                self.write(now, Record::Delivery { id, evidence: Evidence::NotHanded }, out);
                self.begin_grace(now, id);
            }
        }
        self.settle(id, out);
    }

    /// The shell says what became of an older copy of the answer: one that was handed is handed, whatever becomes of the newer
    /// (M8).
    pub(crate) fn copy_reported(&mut self, now: Now, (id, conn): (MovementId, ConnId), report: Report, out: &mut Output) {
        if let (Some(live), Report::Written) = (self.live.get_mut(&id), report) {
            live.handed_to(conn);
        }
        let awaited = |movement: &&Movement| movement.state == StateKind::AwaitingDelivery && report == Report::Written;
        let Some(evidence) = self.movement(id).filter(awaited).map(|movement| movement.evidence) else { return };
        match evidence {
            Evidence::Offered => self.live(id).copy_handed = true,
            Evidence::NotHanded => self.offer_reported(now, id, report, out),
            Evidence::None | Evidence::Handed | Evidence::Seen | Evidence::Unknown => {}
        }
    }

    /// C3: the deadline of a handed approval, of which `past_ms` have passed already.
    pub(crate) fn await_confirmation(&mut self, now: Now, id: MovementId, past_ms: u64) {
        let Some(group) = self.movement(id).map(|movement| movement.group) else { return };
        let group = self.config.group(group);
        let deadline_ms = if on(Mutant::SilenceAtOnce) { 0 } else { group.confirm_deadline_ms };
        let deadline_ms = group.confirm_within_ms.unwrap_or(deadline_ms);
        let live = self.live(id);
        live.handed_ms = Some(now.uptime_ms);
        live.released_ms.get_or_insert(now.uptime_ms);
        self.set_timer(id, now.uptime_ms + deadline_ms.saturating_sub(past_ms), Timer::ConfirmDeadline(id));
    }

    /// T8: a repeat may still come for it.
    pub(crate) fn begin_grace(&mut self, now: Now, id: MovementId) {
        self.begin_grace_after(now, id, 0);
    }

    pub(crate) fn begin_grace_after(&mut self, now: Now, id: MovementId, past_ms: u64) {
        let Some(group) = self.movement(id).map(|movement| movement.group) else { return };
        let grace_ms = self.config.group(group).redeliver_grace_ms;
        self.set_timer(id, now.uptime_ms + grace_ms.saturating_sub(past_ms), Timer::GraceOver(id));
    }

    pub(crate) fn confirm(&mut self, now: Now, id: MovementId, by: ConfirmedBy, rule: Rule, out: &mut Output) {
        self.write(now, Record::Confirmed { id, by }, out);
        self.note_decided(rule.name(), id, out);
        self.settle(id, out);
    }

    /// A message proves that the terminal holds the approval, whatever became of the write: no grace runs any more.
    pub(crate) fn seen_by_terminal(&mut self, now: Now, id: MovementId, out: &mut Output) {
        let Some((state, evidence)) = self.movement(id).map(|movement| (movement.state, movement.evidence)) else { return };
        match (state, evidence) {
            (StateKind::AwaitingDelivery, _) => {
                self.withdraw(id, out);
                self.clear_timer(id);
                self.write(now, Record::Delivery { id, evidence: Evidence::Seen }, out);
                self.await_confirmation(now, id, 0);
                self.settle(id, out);
            }
            // What a crash left unknown is known now, and its deadline stays (K2).
            (StateKind::AwaitingConfirmation, Evidence::Unknown) => {
                self.write(now, Record::Delivery { id, evidence: Evidence::Seen }, out);
            }
            (
                StateKind::AwaitingIssuer
                | StateKind::AwaitingConfirmation
                | StateKind::AwaitingReversalAck
                | StateKind::NeedsOperator
                | StateKind::Declined
                | StateKind::Confirmed
                | StateKind::Unwound
                | StateKind::Resolved,
                _,
            ) => {}
        }
    }

    pub(crate) fn leave_to_operator(&mut self, now: Now, id: MovementId, rule: Rule, out: &mut Output) {
        // T7: the first approval counts until a person says otherwise, and its answer goes its way: whoever waits for it must
        // not be left without any.
        if rule != Rule::T7 {
            self.withdraw(id, out);
            self.list_undecided_approval(now, id, out);
        }
        self.clear_timer(id);
        self.forget_in_flight(id);
        // R4: only what cannot be built or read is parked; a promise beside the state is kept whatever else is in doubt.
        if rule == Rule::R4 {
            self.stop_sending(id);
        }
        self.write(now, Record::NeedsOperator { id, rule }, out);
        let rrn = self.movement(id).map(|movement| movement.rrn);
        self.note(Note::Exception { rule: rule.name(), rrn }, out);
        self.settle(id, out);
    }

    /// Takes back an answer whose write is still pending (T8, D7).
    pub(crate) fn withdraw(&mut self, id: MovementId, out: &mut Output) {
        let Some(live) = self.live.get_mut(&id) else { return };
        for (action, conn) in live.offered_before.drain(..).chain(live.offered.take()) {
            self.purposes.remove(&action);
            out.actions.push(Pending { after: Lsn(0), action: Action::Withdraw { id: action, conn } });
        }
    }

    /// A repeat of a live approval gets it again, by a record that ends the grace (D2, T8).
    pub(crate) fn offer_again(&mut self, now: Now, id: MovementId, arrival: &Arrival, out: &mut Output) {
        // A write that is pending on the same connection may as well arrive; on another it is taken back (T8).
        let here = self.live.get(&id).and_then(|live| live.offered).filter(|(_, conn)| *conn == arrival.conn);
        match here {
            Some(pending) => {
                self.purposes.insert(pending.0, Purpose::Copy(id, pending.1));
                self.live(id).offered_before.push(pending);
            }
            None => {
                let live = self.live(id);
                let copies: Vec<_> = live.offered_before.drain(..).chain(live.offered.take()).collect();
                for (action, conn) in copies {
                    self.purposes.insert(action, Purpose::Copy(id, conn));
                    out.actions.push(Pending { after: Lsn(0), action: Action::Withdraw { id: action, conn } });
                }
            }
        }
        self.clear_timer(id);
        let after = self.write(now, Record::Delivery { id, evidence: Evidence::Offered }, out);
        let action = self.new_action(Some(Purpose::Offer(id)));
        let live = self.live(id);
        live.offered = Some((action, arrival.conn));
        live.crossed = false;
        live.released_ms = Some(now.uptime_ms);
        self.send_stored(now, id, arrival, action, after, out);
        self.settle(id, out);
    }

    /// A repeat that crossed the answer gets a copy of it, which is taken back with what it is a copy of (D7, D8).
    pub(crate) fn offer_copy(&mut self, now: Now, id: MovementId, arrival: &Arrival, out: &mut Output) {
        let Some(after) = self.movement(id).map(|movement| movement.last_record) else { return };
        let action = self.new_action(Some(Purpose::Crossing(id, arrival.conn)));
        let live = self.live(id);
        live.offered_before.push((action, arrival.conn));
        live.crossed = true;
        self.send_stored(now, id, arrival, action, after, out);
    }

    /// Such a copy that could not be handed over is no evidence that the terminal is without its answer (M8), but silence does
    /// not confirm what it asked for again (C3).
    pub(crate) fn crossing_reported(
        &mut self,
        now: Now,
        (id, conn): (MovementId, ConnId),
        action: ActionId,
        report: Report,
        out: &mut Output,
    ) {
        let Some(live) = self.live.get_mut(&id) else { return };
        if report == Report::Written {
            live.handed_to(conn);
        }
        live.offered_before.retain(|(copy, _)| *copy != action);
        let handed = self.movement(id).is_some_and(|movement| {
            movement.state == StateKind::AwaitingConfirmation && movement.evidence == Evidence::Handed
        });
        if handed && report != Report::Written {
            self.write(now, Record::Delivery { id, evidence: Evidence::Unknown }, out);
            self.settle(id, out);
        }
    }

    /// A repeat of what is decided gets the stored answer (D2).
    pub(crate) fn replay_answer(&mut self, now: Now, id: MovementId, arrival: &Arrival, out: &mut Output) {
        let Some(after) = self.movement(id).map(|movement| movement.last_record) else { return };
        let action = self.new_action(None);
        self.send_stored(now, id, arrival, action, after, out);
    }

    fn send_stored(&mut self, now: Now, id: MovementId, arrival: &Arrival, action: ActionId, after: Lsn, out: &mut Output) {
        let Some(movement) = self.movement(id) else { return };
        let code = movement.answer.as_ref().map_or(ResponseCode::RESPONSE_TOO_LATE, |held| held.code);
        let rrn = movement.rrn;
        let echo = message::echo_of(&arrival.message, self.config.group(arrival.group).echo_pan);
        let message = message::answer(&echo, code, Some(movement), true);
        out.actions.push(Pending { after, action: Action::ToTerminal { id: action, conn: arrival.conn, message } });
        self.note(answered(now, arrival, code, Some(rrn)), out);
    }
}
