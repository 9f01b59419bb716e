//! Reversals: from the promise to the acknowledgement that counts (M3, M4, R0-R5).
//!
//! A reversal can overtake its original, so what counts is when it was sent. Until a usable answer is held or the horizon
//! has passed, sends are early: made at once, under their own numbers, and whatever comes back is provisional. Then the
//! deciding send goes out under new numbers, and only its acknowledgement ends the obligation (R3).

use alloc::vec::Vec;

use iso8583::{Fields, ResponseCode, Stan};

use crate::action::{Action, Note, Pending};
use crate::answer::{booked_minor, card_agrees, terminal_agrees};
use crate::card::CardHmac;
use crate::ids::{ActionId, IssuerNo, LinkId, LinkNo, Lsn, MovementId, Now};
use crate::input::Report;
use crate::machine::{Flight, Output, Purpose, Sending, Switch};
use crate::message;
use crate::movement::{Movement, Reason, ReversalNumbers, Rule, Scope, StateKind};
use crate::mutant::{Mutant, on};
use crate::record::{AckVerdict, Record};
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
        self.promise(now, id, (rule, reason, Scope::All), out);
    }

    /// Promises to reverse a part of a movement, or a second approval of it: its state stays (D13, T7). A promise that is
    /// open already is replaced by one that undoes as much or more.
    pub(crate) fn promise(
        &mut self,
        now: Now,
        id: MovementId,
        (rule, reason, scope): (Rule, Reason, Scope),
        out: &mut Output,
    ) {
        self.record_promise(now, id, (rule, reason, scope), out);
        self.reversal_due(now, id, out);
    }

    /// Promises to reverse all of a movement, and leaves the sending to what follows in the same turn (D5).
    pub(crate) fn promise_unsent(&mut self, now: Now, id: MovementId, rule: Rule, reason: Reason, out: &mut Output) {
        self.withdraw(id, out);
        self.clear_timer(id);
        self.record_promise(now, id, (rule, reason, Scope::All), out);
        self.enter_line(now, id);
    }

    fn record_promise(&mut self, now: Now, id: MovementId, (rule, reason, scope): (Rule, Reason, Scope), out: &mut Output) {
        self.stop_sending(id);
        self.list_replaced_promise(now, id, out);
        self.write(now, Record::Obligation { id, rule, reason, scope }, out);
        let Some((issuer, rrn)) = self.movement(id).map(|movement| (movement.link.issuer, movement.rrn)) else { return };
        self.live(id).sending = Sending::default();
        self.note(Note::ObligationRecorded { issuer, rule: rule.name(), rrn }, out);
        self.settle(id, out);
    }

    /// R5, R6: a new request for a card is written after the card's reversals that were never sent, on the same connection.
    pub(crate) fn send_reversals_of_card(
        &mut self,
        now: Now,
        card: Option<CardHmac>,
        (link, number): (LinkId, LinkNo),
        out: &mut Output,
    ) {
        let of_card = |(_, id): &(u32, MovementId)| {
            let movement = self.movement(*id)?;
            let unsent = self.live.get(id).is_none_or(|live| live.sending.sends == 0);
            (movement.fingerprint.card == card && unsent).then_some(*id)
        };
        let unsent: Vec<MovementId> = self.due.get(&number.issuer).into_iter().flatten().filter_map(of_card).collect();
        for id in unsent {
            self.send_reversal(now, id, link, number, out);
        }
    }

    /// Puts a reversal into the line of its issuer, and sends what may go.
    pub(crate) fn reversal_due(&mut self, now: Now, id: MovementId, out: &mut Output) {
        if let Some(issuer) = self.enter_line(now, id) {
            self.send_due_reversals(now, issuer, out);
        }
    }

    fn enter_line(&mut self, now: Now, id: MovementId) -> Option<IssuerNo> {
        let issuer = self.movement(id)?.link.issuer;
        self.leave_line(id);
        let sending = &mut self.live(id).sending;
        // R5: what is silent for long stands behind what was never sent.
        let sends = sending.sends;
        sending.due = Some(sends);
        self.due.entry(issuer).or_default().insert((sends, id));
        // R7: one that waits in the line for long is listed from there.
        if let Some(left_ms) = self.until_overdue_ms(now, id) {
            self.set_reversal_timer(id, now.uptime_ms + left_ms);
        }
        Some(issuer)
    }

    fn leave_line(&mut self, id: MovementId) {
        let place = self.live.get_mut(&id).and_then(|live| live.sending.due.take());
        let issuer = self.movement(id).map(|movement| movement.link.issuer);
        if let (Some(sends), Some(line)) = (place, issuer.and_then(|issuer| self.due.get_mut(&issuer))) {
            line.remove(&(sends, id));
        }
    }

    /// Sends what is due, oldest first, while the window is open and a connection is ready.
    pub(crate) fn send_due_reversals(&mut self, now: Now, issuer: IssuerNo, out: &mut Output) {
        let window = self.config.issuers.get(&issuer).map_or(1, |issuer| issuer.reversal_window);
        while self.unacknowledged.get(&issuer).map_or(0, |ids| ids.len()) < window {
            let Some((_, id)) = self.due.get(&issuer).and_then(|line| line.first()).copied() else { return };
            let Some(original) = self.movement(id).map(|movement| movement.link) else {
                unreachable!("a movement in the line of reversals is open, and what is open stays in memory")
            };
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
        decided
            || on(Mutant::EndBeforeHorizon)
            || link.remembers_early_reversals
            || movement.answer.is_some()
            || past_horizon
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
                let minor = match obligation.scope {
                    Scope::Approval { minor: Some(minor), .. } => minor,
                    Scope::All | Scope::AllBut { .. } | Scope::Approval { minor: None, .. } => {
                        booked_minor(movement, movement.answer.as_ref().and_then(|answer| answer.amount))
                    }
                };
                let numbers = ReversalNumbers { sent_as: self.numbers(stan), minor };
                self.write(now, Record::ReversalNumbered { id, numbers, deciding }, out);
                numbers
            }
        };
        let sending = &mut self.live(id).sending;
        let again = sending.sent_before || sending.sends > 0;
        sending.sends += 1;
        sending.deciding_sends += u32::from(deciding);
        let attempt = sending.sends;
        self.leave_line(id);
        self.unacknowledged.entry(issuer).or_default().insert(id);
        let Some(movement) = self.movement(id) else { return false };
        let (rrn, after, card) = (movement.rrn, movement.last_record, movement.card.map(|card| card.sealed));
        let after = if on(Mutant::LeaveBeforePromise) { Lsn(0) } else { after };
        let mut message = message::reversal(movement, config.link(number), numbers, again);
        if on(Mutant::PartIsAll) {
            message.remove(95);
        }
        let answered_by_ms = now.uptime_ms + config.link(number).response_timeout_ms;
        // An early send is not waited for longer than until the deciding one may go.
        let until_ms =
            self.horizon_ms(movement).filter(|_| !deciding).map_or(answered_by_ms, |at_ms| at_ms.min(answered_by_ms));
        let action = self.new_action(Some(Purpose::Reversal(id)));
        self.live(id).sending.in_flight = Some(Flight { action, stan: numbers.sent_as.stan, link });
        out.actions.push(Pending { after, action: Action::ToIssuer { id: action, link, message, card } });
        self.set_reversal_timer(id, until_ms);
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

    fn take_from_flight(&mut self, id: MovementId) -> Option<Flight> {
        let in_flight = self.live.get_mut(&id)?.sending.in_flight.take()?;
        let issuer = self.movement(id)?.link.issuer;
        if let Some(ids) = self.unacknowledged.get_mut(&issuer).filter(|_| !on(Mutant::HoldTheLine)) {
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
        if sends >= 5 && on(Mutant::GiveUpAfterFive) {
            return;
        }
        let again_ms = now.uptime_ms + self.retry_ms(movement.link.issuer, id, sends);
        let at_ms = match (self.may_decide(now, movement), self.horizon_ms(movement)) {
            (false, Some(horizon_ms)) if provisional => horizon_ms,
            (false, Some(horizon_ms)) => horizon_ms.min(again_ms),
            (false, None) | (true, _) => again_ms,
        };
        self.set_reversal_timer(id, at_ms);
    }

    /// The timer of an obligation: its send was not answered in time, or the next one is due.
    pub(crate) fn reversal_timer(&mut self, now: Now, id: MovementId, out: &mut Output) {
        let Some(movement) = self.movement(id).filter(|movement| movement.owes()) else { return };
        let decide_now = self.may_decide(now, movement)
            && movement.obligation.as_ref().is_some_and(|obligation| obligation.deciding.is_none());
        self.list_if_overdue(now, id, out);
        let waited = self.take_from_flight(id).is_some();
        if waited && !decide_now {
            self.await_next_send(now, id, false);
            self.send_after_one_left(now, id, out);
        } else {
            self.reversal_due(now, id, out);
        }
    }

    /// How long until a promise needs a person; `None` when one has heard of it.
    fn until_overdue_ms(&self, now: Now, id: MovementId) -> Option<u64> {
        let movement = self.movement(id)?;
        // The entry of an earlier promise of this movement: one is enough for a person.
        let listed = (Rule::R7, movement.key.terminal, movement.key.stan, Some(id));
        if self.state.exception_about.contains_key(&listed) {
            return None;
        }
        let obligation = movement.obligation.as_ref().filter(|obligation| !obligation.overdue)?;
        let patience_ms = self.config.issuers.get(&movement.link.issuer).map_or(0, |issuer| issuer.needs_operator_after_ms);
        Some(patience_ms.saturating_sub(now.wall_ms.saturating_sub(obligation.opened_wall_ms)))
    }

    /// R7: an old promise is still kept, and a person hears of it, once.
    fn list_if_overdue(&mut self, now: Now, id: MovementId, out: &mut Output) {
        if self.until_overdue_ms(now, id) == Some(0) {
            self.movement_exception(now, id, Rule::R7, out);
        }
    }

    /// The original's report, or that of its connection's end, has come after its obligation was opened: now the horizon is
    /// known, and nothing needs to be waited for beyond it.
    pub(crate) fn reversal_horizon_known(&mut self, now: Now, id: MovementId) {
        let Some(movement) = self.movement(id).filter(|movement| movement.owes()) else { return };
        let Some(horizon_ms) = self.horizon_ms(movement).filter(|_| !self.may_decide(now, movement)) else { return };
        let timer_ms = self.live.get(&id).and_then(|live| live.reversal_timer_ms());
        if timer_ms.is_some_and(|at_ms| at_ms > horizon_ms) {
            self.set_reversal_timer(id, horizon_ms);
        }
    }

    /// A usable answer of the original has come (R3): the deciding send goes out now.
    pub(crate) fn reversal_can_be_decided(&mut self, now: Now, id: MovementId, out: &mut Output) {
        let decided =
            self.movement(id).and_then(|m| m.obligation.as_ref()).is_some_and(|obligation| obligation.deciding.is_some());
        if !decided {
            let sending = &mut self.live(id).sending;
            (sending.deciding_sends, sending.decided_before) = (0, false);
            self.take_from_flight(id);
            self.clear_reversal_timer(id);
            self.reversal_due(now, id, out);
        }
    }

    /// Takes back a send that may not have left yet (section 2, `stands`; T3).
    pub(crate) fn unsend(&self, id: MovementId, out: &mut Output) {
        let in_flight = self.live.get(&id).and_then(|live| live.sending.in_flight);
        if let Some(Flight { action, .. }) = in_flight.filter(|flight| self.purposes.contains_key(&flight.action)) {
            out.actions.push(Pending { after: Lsn(0), action: Action::Unsend { id: action } });
        }
    }

    /// No send of this movement is due or in flight any more.
    pub(crate) fn stop_sending(&mut self, id: MovementId) {
        self.take_from_flight(id);
        self.clear_reversal_timer(id);
        self.leave_line(id);
    }

    /// What became of the write of a reversal. One that never left does not count as sent, and is due again at once.
    pub(crate) fn reversal_reported(
        &mut self,
        now: Now,
        id: MovementId,
        action: ActionId,
        report: Report,
        out: &mut Output,
    ) {
        let Some(live) = self.live.get_mut(&id) else { return };
        let Some(flight) = live.sending.in_flight.filter(|flight| flight.action == action) else { return };
        match report {
            Report::Written => {}
            Report::Partial => self.link_failed(flight.link, out),
            // R4: parked, and in nobody's way.
            Report::Unbuildable => self.leave_to_operator(now, id, Rule::R4, out),
            Report::NotSent | Report::Undeliverable => {
                let decided = self.movement(id).and_then(|movement| movement.obligation.as_ref()).and_then(|o| o.deciding);
                let deciding = decided.is_some_and(|numbers| numbers.sent_as.stan == flight.stan);
                self.take_from_flight(id);
                let sending = &mut self.live(id).sending;
                sending.sends = sending.sends.saturating_sub(1);
                sending.deciding_sends = sending.deciding_sends.saturating_sub(u32::from(deciding));
                self.link_failed(flight.link, out);
                self.clear_reversal_timer(id);
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
            return self.unmatched(number, message, out);
        };
        if movement.state == StateKind::Resolved {
            // It may have been undone a second time: a person has decided without knowing this.
            let id = movement.id;
            return self.movement_exception(now, id, Rule::R2, out);
        }
        let Some(obligation) = movement.obligation.as_ref().filter(|obligation| !obligation.ended) else {
            return self.unmatched(number, message, out);
        };
        let deciding = obligation.deciding.is_some_and(|numbers| numbers.sent_as.stan == stan);
        let numbers = if deciding { obligation.deciding } else { obligation.early };
        let Some(numbers) = numbers.filter(|numbers| numbers.sent_as.stan == stan) else {
            return self.unmatched(number, message, out);
        };
        let link = config.link(number);
        let same = |de: u8, held: &[u8]| message.get(de).is_none_or(|carried| carried == held);
        let answer = if link.reversal_as_request { b"0410" } else { b"0430" };
        let names_it = message.mti().as_bytes() == answer
            && (!link.echoes_de7 || same(7, &numbers.sent_as.transmitted))
            && (!link.echoes_card_and_rrn || (same(37, movement.rrn.as_bytes()) && card_agrees(movement, message)))
            && original_agrees(movement, message)
            && amount_agrees(numbers, message)
            && same(49, movement.fingerprint.amount.currency().as_bytes())
            && terminal_agrees(movement, message);
        if !names_it {
            return self.unmatched(number, message, out);
        }
        let (id, rrn, approval_held) = (movement.id, movement.rrn, movement.approval_held());
        let sending = self.live.get(&id).map(|live| live.sending).unwrap_or_default();
        let sent_again = sending.decided_before || sending.deciding_sends > 1;
        let kind = code_kind(code, &link.codes.no_original);
        let deciding = deciding || on(Mutant::EarlyAckEnds);
        let row = decide(ACKNOWLEDGEMENTS, |row| matches(row, deciding, kind, approval_held, sent_again));
        // An answer to another send leaves the standing one with its timer.
        let standing = sending.in_flight.is_none_or(|flight| flight.stan != stan);
        if !standing {
            self.take_from_flight(id);
        }
        let verdict = match row.then {
            Decision::Unwound => AckVerdict::Ended,
            Decision::Operator => AckVerdict::Operator,
            Decision::Again | Decision::Provisional => AckVerdict::Open,
        };
        if verdict != AckVerdict::Open {
            self.stop_sending(id);
        }
        if verdict == AckVerdict::Operator {
            self.list_undecided_approval(now, id, out);
        }
        self.write(now, Record::ReversalAnswered { id, code, verdict }, out);
        match row.then {
            Decision::Unwound => {
                self.note(Note::ObligationAcknowledged { issuer, rrn, code }, out);
                if self.movement(id).is_some_and(|movement| movement.state == StateKind::Unwound) {
                    self.close_flags(now, id, out);
                }
                self.settle(id, out);
            }
            Decision::Operator => {
                self.clear_timer(id);
                self.stop_sending(id);
                self.withdraw(id, out);
                let rule = self.movement(id).and_then(|movement| movement.operator_rule).unwrap_or(Rule::R2);
                self.note(Note::Exception { rule: rule.name(), rrn: Some(rrn) }, out);
                self.settle(id, out);
            }
            Decision::Again | Decision::Provisional if standing => {}
            Decision::Again => self.await_next_send(now, id, false),
            Decision::Provisional => self.await_next_send(now, id, true),
        }
        self.send_due_reversals(now, issuer, out);
    }
}

fn code_kind(code: ResponseCode, no_original: &[ResponseCode]) -> Code {
    if code == ResponseCode::APPROVED || on(Mutant::AnyCodeEnds) {
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

/// DE4, where carried, is the amount that was sent.
fn amount_agrees(numbers: ReversalNumbers, message: &Fields) -> bool {
    let minor = |digits: &[u8]| core::str::from_utf8(digits).ok()?.parse::<u64>().ok();
    message.get(4).is_none_or(|digits| minor(digits) == Some(numbers.minor))
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
