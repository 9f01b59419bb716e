//! Reversals: from the promise to the acknowledgement that counts (M3, M4, R0-R5).
//!
//! A reversal can overtake its original, so what counts is when it was sent. Until a usable answer is held or the horizon
//! has passed, sends are early: made at once, under their own numbers, and whatever comes back is provisional. Then the
//! deciding send goes out under new numbers, and only its acknowledgement ends the obligation (R3).

use iso8583::{Amount, Fields, ResponseCode, Stan};

use crate::action::{Action, Note, Pending};
use crate::answer::{card_agrees, terminal_agrees};
use crate::ids::{IssuerNo, LinkId, LinkNo, MovementId, Now};
use crate::input::Report;
use crate::machine::{Output, Purpose, Sending, Switch, Timer};
use crate::message;
use crate::movement::{Movement, Reason, Rule, StateKind};
use crate::record::Record;
use crate::table::{decide, takes};

/// What the code of an acknowledgement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Code {
    /// 00.
    Done,
    /// 25, 21, 12: no such original.
    NoOriginal,
    /// 94: seen before.
    Duplicate,
    /// 30: it cannot be read there.
    Unreadable,
    /// Anything else.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// The obligation ends.
    Unwound,
    /// Only a person can tell.
    Operator,
    /// Again, later (R4).
    Again,
    /// Journaled; the deciding send decides (R3).
    Provisional,
}

#[derive(Debug)]
struct Row {
    counts: &'static [bool],
    code: &'static [Code],
    approval_held: &'static [bool],
    sent_again: &'static [bool],
    then: Decision,
}

const ANY: &[bool] = &[];

/// R2 and R3: an acknowledgement × whether it counts × whether an approval is held × whether its numbers were sent before.
#[rustfmt::skip]
const ACKNOWLEDGEMENTS: &[Row] = &[
    Row { counts: &[false], code: &[], approval_held: ANY, sent_again: ANY, then: Decision::Provisional },
    Row { counts: &[true], code: &[Code::Done], approval_held: ANY, sent_again: ANY, then: Decision::Unwound },
    Row { counts: &[true], code: &[Code::NoOriginal], approval_held: &[false], sent_again: ANY, then: Decision::Unwound },
    Row { counts: &[true], code: &[Code::NoOriginal], approval_held: &[true], sent_again: ANY, then: Decision::Operator },
    Row { counts: &[true], code: &[Code::Duplicate], approval_held: ANY, sent_again: &[true], then: Decision::Unwound },
    Row { counts: &[true], code: &[Code::Duplicate], approval_held: ANY, sent_again: &[false], then: Decision::Again },
    Row { counts: &[true], code: &[Code::Unreadable], approval_held: ANY, sent_again: ANY, then: Decision::Operator },
    Row { counts: &[true], code: &[Code::Other], approval_held: ANY, sent_again: ANY, then: Decision::Again },
];

fn matches(row: &Row, counts: bool, code: Code, approval_held: bool, sent_again: bool) -> bool {
    takes(row.counts, counts)
        && takes(row.code, code)
        && takes(row.approval_held, approval_held)
        && takes(row.sent_again, sent_again)
}

impl Switch {
    /// Promises to reverse a movement (M3) and sends the reversal as soon as the promise is durable.
    pub(crate) fn oblige(&mut self, now: Now, id: MovementId, rule: Rule, reason: Reason, out: &mut Output) {
        self.withdraw(id, out);
        self.clear_timer(id);
        self.forget_in_flight(id);
        self.write(now, Record::Obligation { id, rule, reason }, out);
        let Some((issuer, rrn)) = self.movement(id).map(|movement| (movement.link.issuer, movement.rrn)) else { return };
        self.live(id).sending = Sending::default();
        self.note(Note::ObligationRecorded { issuer, rule: rule.name(), rrn }, out);
        self.settle(id, out);
        self.reversal_due(now, id, out);
    }

    /// Puts a reversal into the line of its issuer, and sends what may go.
    pub(crate) fn reversal_due(&mut self, now: Now, id: MovementId, out: &mut Output) {
        let Some(issuer) = self.movement(id).map(|movement| movement.link.issuer) else { return };
        self.due.entry(issuer).or_default().insert(id);
        self.send_due_reversals(now, issuer, out);
    }

    /// Sends what is due, oldest first, while the window is open and a connection is ready.
    pub(crate) fn send_due_reversals(&mut self, now: Now, issuer: IssuerNo, out: &mut Output) {
        let window = self.config.issuers.get(&issuer).map_or(1, |issuer| issuer.reversal_window);
        while self.unacknowledged.get(&issuer).map_or(0, |ids| ids.len()) < window {
            let Some(id) = self.due.get(&issuer).and_then(|ids| ids.first()).copied() else { return };
            let Some(original) = self.movement(id).map(|movement| movement.link) else { return };
            let Some((link, number)) = self.connection_for_reversal(original) else { return };
            if !self.send_reversal(now, id, link, number, out) {
                return;
            }
        }
    }

    /// Whether an acknowledgement of a reversal sent now would count (R3).
    fn may_decide(&self, now: Now, movement: &Movement) -> bool {
        let link = self.config.link(movement.link);
        let decided = movement.obligation.as_ref().is_some_and(|obligation| obligation.deciding.is_some());
        let past_horizon = self.horizon_ms(movement).is_some_and(|at_ms| at_ms <= now.uptime_ms);
        decided || link.remembers_early_reversals || movement.answer.is_some() || past_horizon
    }

    /// When the original can no longer arrive; `None` while that is not known yet.
    fn horizon_ms(&self, movement: &Movement) -> Option<u64> {
        let from_ms = self.live.get(&movement.id)?.horizon_from_ms?;
        Some(from_ms + self.config.link(movement.link).original_horizon_ms)
    }

    /// Sends a reversal under the numbers of its phase, which are durable before it leaves. False when no STAN is free.
    fn send_reversal(&mut self, now: Now, id: MovementId, link: LinkId, number: LinkNo, out: &mut Output) -> bool {
        let config = self.config.clone();
        let Some(movement) = self.movement(id) else { return false };
        let issuer = movement.link.issuer;
        let deciding = self.may_decide(now, movement);
        let Some(obligation) = &movement.obligation else { return false };
        let numbers = match if deciding { obligation.deciding } else { obligation.early } {
            Some(numbers) => numbers,
            None => {
                let late_horizon_ms = config.link(number).late_horizon_ms;
                let Some(stan) = self.state.free_reversal_stan(issuer, late_horizon_ms, now.wall_ms) else { return false };
                let numbers = Switch::numbers(stan, now);
                self.write(now, Record::ReversalNumbered { id, numbers, deciding }, out);
                numbers
            }
        };
        let sending = &mut self.live(id).sending;
        let again = sending.sent_before || sending.sends > 0;
        sending.sends += 1;
        sending.deciding_sends += u32::from(deciding);
        sending.in_flight = Some((numbers.stan, link));
        let attempt = sending.sends;
        self.due.entry(issuer).or_default().remove(&id);
        self.unacknowledged.entry(issuer).or_default().insert(id);
        let Some(movement) = self.movement(id) else { return false };
        let (rrn, after, card) = (movement.rrn, movement.last_record, movement.card.map(|card| card.sealed));
        let message = message::reversal(movement, config.link(number), numbers, again);
        let answered_by_ms = now.uptime_ms + config.link(number).response_timeout_ms;
        // An early send is not waited for longer than until the deciding one may go.
        let until_ms =
            self.horizon_ms(movement).filter(|_| !deciding).map_or(answered_by_ms, |at_ms| at_ms.min(answered_by_ms));
        let action = self.new_action(Some(Purpose::Reversal(id, numbers.stan)));
        out.actions.push(Pending { after, action: Action::ToIssuer { id: action, link, message, card } });
        self.set_timer(id, until_ms.max(now.uptime_ms + 1), Timer::Reversal(id));
        self.note(Note::ObligationSent { issuer, rrn, attempt }, out);
        true
    }

    /// The wait of R4 before the next send: the setting, and up to a quarter more, spread by the movement's number.
    fn retry_ms(&self, issuer: IssuerNo, id: MovementId, sends: u32) -> u64 {
        let waits = self.config.issuers.get(&issuer).map_or(&[][..], |issuer| &issuer.reversal_retry_ms);
        let place = (sends.saturating_sub(1) as usize).min(waits.len().saturating_sub(1));
        let wait_ms = waits.get(place).copied().unwrap_or(60_000);
        let spread = (id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(sends)).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        wait_ms + spread % (wait_ms / 4 + 1)
    }

    /// Nobody answered the send that was in flight, or its connection is gone: again after the wait of R4, or at the horizon
    /// if that comes sooner.
    pub(crate) fn reversal_unanswered(&mut self, now: Now, id: MovementId, out: &mut Output) {
        self.take_from_flight(id);
        self.await_next_send(now, id, false);
        self.send_after_one_left(now, id, out);
    }

    fn take_from_flight(&mut self, id: MovementId) -> Option<(Stan, LinkId)> {
        let in_flight = self.live.get_mut(&id)?.sending.in_flight.take()?;
        let issuer = self.movement(id)?.link.issuer;
        if let Some(ids) = self.unacknowledged.get_mut(&issuer) {
            ids.remove(&id);
        }
        Some(in_flight)
    }

    fn send_after_one_left(&mut self, now: Now, id: MovementId, out: &mut Output) {
        if let Some(issuer) = self.movement(id).map(|movement| movement.link.issuer) {
            self.send_due_reversals(now, issuer, out);
        }
    }

    /// Sets the timer of the next send. After a provisional acknowledgement only the horizon is worth waiting for.
    fn await_next_send(&mut self, now: Now, id: MovementId, provisional: bool) {
        let Some(movement) = self.movement(id) else { return };
        let sends = self.live.get(&id).map_or(0, |live| live.sending.sends);
        let again_ms = now.uptime_ms + self.retry_ms(movement.link.issuer, id, sends);
        let at_ms = match (self.may_decide(now, movement), self.horizon_ms(movement)) {
            (false, Some(horizon_ms)) if provisional => horizon_ms,
            (false, Some(horizon_ms)) => horizon_ms.min(again_ms),
            (false, None) | (true, _) => again_ms,
        };
        self.set_timer(id, at_ms, Timer::Reversal(id));
    }

    /// The timer of an obligation: its send was not answered in time, or the next one is due.
    pub(crate) fn reversal_timer(&mut self, now: Now, id: MovementId, out: &mut Output) {
        let Some(movement) = self.movement(id).filter(|movement| movement.state == StateKind::AwaitingReversalAck) else {
            return;
        };
        let decide_now = self.may_decide(now, movement)
            && movement.obligation.as_ref().is_some_and(|obligation| obligation.deciding.is_none());
        let waited = self.take_from_flight(id).is_some();
        if waited && !decide_now {
            self.await_next_send(now, id, false);
            self.send_after_one_left(now, id, out);
        } else {
            self.reversal_due(now, id, out);
        }
    }

    /// The original's report has come after its obligation was opened: now the horizon is known.
    pub(crate) fn reversal_horizon_known(&mut self, now: Now, id: MovementId) {
        let in_flight = self.live.get(&id).is_some_and(|live| live.sending.in_flight.is_some());
        let due = self.due.values().any(|ids| ids.contains(&id));
        if !in_flight && !due {
            self.await_next_send(now, id, false);
        }
    }

    /// A usable answer of the original has come (R3): the deciding send goes out now.
    pub(crate) fn reversal_can_be_decided(&mut self, now: Now, id: MovementId, out: &mut Output) {
        let decided =
            self.movement(id).and_then(|m| m.obligation.as_ref()).is_some_and(|obligation| obligation.deciding.is_some());
        if !decided {
            self.take_from_flight(id);
            self.clear_timer(id);
            self.reversal_due(now, id, out);
        }
    }

    /// No send of this movement is due or in flight any more.
    pub(crate) fn stop_sending(&mut self, id: MovementId) {
        self.take_from_flight(id);
        for ids in self.due.values_mut() {
            ids.remove(&id);
        }
    }

    /// What became of the write of a reversal. One that never left is due again at once, elsewhere.
    pub(crate) fn reversal_reported(&mut self, now: Now, id: MovementId, stan: Stan, report: Report, out: &mut Output) {
        let Some((_, link)) = self.live.get(&id).and_then(|live| live.sending.in_flight).filter(|(sent, _)| *sent == stan)
        else {
            return;
        };
        match report {
            Report::Written => {}
            Report::Partial => self.link_failed(link, out),
            // R4: parked, and in nobody's way.
            Report::Unbuildable => self.leave_to_operator(now, id, Rule::R4, out),
            Report::NotSent | Report::Undeliverable => {
                self.link_failed(link, out);
                self.take_from_flight(id);
                self.clear_timer(id);
                self.reversal_due(now, id, out);
            }
        }
    }

    /// 0410 or 0430 (R1, R2, R3; T4 applies to it too).
    pub(crate) fn reversal_answered(&mut self, now: Now, number: LinkNo, message: &Fields, out: &mut Output) {
        let config = self.config.clone();
        let issuer = number.issuer;
        let stan = message.get(11).and_then(|digits| Stan::try_from(digits).ok());
        let code = message.get(39).and_then(|text| ResponseCode::try_from(text).ok());
        let asked = stan.and_then(|stan| self.state.by_reversal_stan.get(&(issuer, stan))).copied();
        let movement = asked.and_then(|id| self.movement(id));
        let (Some(stan), Some(code), Some(movement)) = (stan, code, movement) else {
            return self.unmatched(issuer, message.mti(), out);
        };
        let Some(obligation) = movement.obligation.as_ref().filter(|_| movement.state == StateKind::AwaitingReversalAck)
        else {
            return self.unmatched(issuer, message.mti(), out);
        };
        let deciding = obligation.deciding.is_some_and(|numbers| numbers.stan == stan);
        let numbers = if deciding { obligation.deciding } else { obligation.early };
        let Some(numbers) = numbers.filter(|numbers| numbers.stan == stan) else {
            return self.unmatched(issuer, message.mti(), out);
        };
        let link = config.link(number);
        let same = |de: u8, held: &[u8]| message.get(de).is_none_or(|carried| carried == held);
        let names_it = (!link.echoes_de7 || same(7, &numbers.transmitted))
            && (!link.echoes_card_and_rrn || (same(37, movement.rrn.as_bytes()) && card_agrees(movement, message)))
            && original_agrees(movement, message)
            && amount_agrees(movement, message)
            && terminal_agrees(movement, message);
        if !names_it {
            return self.unmatched(issuer, message.mti(), out);
        }
        let (id, rrn, approval_held) = (movement.id, movement.rrn, movement.approval_held());
        let sending = self.live.get(&id).map(|live| live.sending).unwrap_or_default();
        let sent_again = sending.decided_before || sending.deciding_sends > 1;
        let kind = code_kind(code, &link.codes.no_original);
        let row = decide(ACKNOWLEDGEMENTS, |row| matches(row, deciding, kind, approval_held, sent_again));
        if sending.in_flight.is_some_and(|(sent, _)| sent == stan) {
            self.take_from_flight(id);
        }
        let to = match row.then {
            Decision::Unwound => StateKind::Unwound,
            Decision::Operator => StateKind::NeedsOperator,
            Decision::Again | Decision::Provisional => StateKind::AwaitingReversalAck,
        };
        self.write(now, Record::ReversalAnswered { id, code, to }, out);
        match row.then {
            Decision::Unwound => {
                self.note(Note::ObligationAcknowledged { issuer, rrn, code }, out);
                self.settle(id, out);
            }
            Decision::Operator => {
                self.clear_timer(id);
                self.stop_sending(id);
                let rule = self.movement(id).and_then(|movement| movement.operator_rule).unwrap_or(Rule::R2);
                self.note(Note::Exception { rule: rule.name(), rrn: Some(rrn) }, out);
                self.settle(id, out);
            }
            Decision::Again => self.await_next_send(now, id, false),
            // The deciding send may be in flight or due already; its own timer stands.
            Decision::Provisional
                if self.live.get(&id).is_some_and(|live| live.sending.in_flight.is_none()) && !self.is_due(issuer, id) =>
            {
                self.await_next_send(now, id, true);
            }
            Decision::Provisional => {}
        }
        self.send_due_reversals(now, issuer, out);
    }

    fn is_due(&self, issuer: IssuerNo, id: MovementId) -> bool {
        self.due.get(&issuer).is_some_and(|ids| ids.contains(&id))
    }
}

fn code_kind(code: ResponseCode, no_original: &[ResponseCode]) -> Code {
    if code == ResponseCode::APPROVED {
        Code::Done
    } else if no_original.contains(&code) {
        Code::NoOriginal
    } else if code == ResponseCode::DUPLICATE {
        Code::Duplicate
    } else if code == ResponseCode::FORMAT_ERROR {
        Code::Unreadable
    } else {
        Code::Other
    }
}

/// DE90, where carried, names the movement's request: its STAN at least.
fn original_agrees(movement: &Movement, message: &Fields) -> bool {
    message.get(90).is_none_or(|original| original.get(4..10) == Some(&movement.sent_as.stan.digits()[..]))
}

/// DE4, where carried, is the amount that was to be reversed.
fn amount_agrees(movement: &Movement, message: &Fields) -> bool {
    message.get(4).is_none_or(|digits| {
        Amount::from_digits(digits, movement.fingerprint.amount.currency())
            .is_ok_and(|amount| amount.minor() == movement.amount().minor())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::assert_one_row;

    #[test]
    fn every_acknowledgement_matches_exactly_one_row() {
        for counts in [false, true] {
            for code in [Code::Done, Code::NoOriginal, Code::Duplicate, Code::Unreadable, Code::Other] {
                for approval_held in [false, true] {
                    for sent_again in [false, true] {
                        let what = (counts, code, approval_held, sent_again);
                        assert_one_row(ACKNOWLEDGEMENTS, &what, |row| matches(row, counts, code, approval_held, sent_again));
                    }
                }
            }
        }
    }
}
