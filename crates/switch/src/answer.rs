//! What an issuer answers to a request, in time or late (T1-T6, T9), and what becomes of the write that carried it.

use iso8583::{Amount, Currency, Fields, MaskedPan, Pan, ResponseCode, Stan};

use crate::action::{Action, Note, Pending};
use crate::codes::Money;
use crate::config::Link;
use crate::ids::{ActionId, GroupNo, LinkNo, Lsn, MovementId, Now};
use crate::input::Report;
use crate::machine::{Output, Purpose, Switch};
use crate::message;
use crate::movement::{Answer, Evidence, Movement, Reason, Rule, Scope, StateKind};
use crate::mutant::{Mutant, on};
use crate::record::{AckVerdict, Record};
use crate::request::terminal_of;
use crate::table::{decide, takes};

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An approval of the request.
    Approved,
    /// An approval of less (T9).
    Less,
    /// An approval of more (T4).
    Invalid,
    /// An approval of another card or RRN (T4): it proves nothing about when this original arrives (R3).
    Foreign,
    /// Nothing moved.
    Declined,
    /// The code does not say (T1).
    Unknown,
}

/// How it compares with an approval that is held already (T7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Twin {
    /// None is held.
    None,
    /// One with the same DE38 is.
    Same,
    /// One with another DE38 is.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Outcome durable, then the terminal gets it (M2).
    Deliver,
    /// The same, and nothing is owed.
    Decline,
    /// The terminal gets it if its group takes partial approvals; otherwise what was approved is reversed first (4020), and
    /// the terminal gets 51 or 61 (T9).
    Less,
    /// Reversed (4020), the terminal gets 68 (T4).
    ReverseInvalid,
    /// The same, and the answer is not held.
    ReverseForeign,
    /// Reversed (4021), the terminal gets 68 (T1).
    GiveUp,
    /// Kept with its obligation, which can be decided now (T5, R3).
    HoldAndDecide,
    /// Kept for the person who has it.
    Hold,
    /// A second approval while the first is being undone: an exception, the obligation goes on (T7).
    HoldAnother,
    /// A new obligation and an exception (T5).
    Reopen,
    /// Only a person can tell which of two approvals counts (T7).
    Operator,
    /// An exception, nothing else (T5, Resolved).
    Exception,
    /// Counted.
    Ignore,
}

#[derive(Debug)]
struct Row {
    state: &'static [StateKind],
    owed: &'static [bool],
    kind: &'static [Kind],
    twin: &'static [Twin],
    then: Decision,
}

use Kind::{Approved, Declined, Foreign, Invalid, Less, Unknown};
use StateKind as S;

const ANY_OWED: &[bool] = &[];
const ANY_TWIN: &[Twin] = &[];
const MOVED: &[Kind] = &[Approved, Less, Invalid];
const LIVE: &[StateKind] = &[S::AwaitingDelivery, S::AwaitingConfirmation, S::Confirmed];
const NOT_AS_BEFORE: &[Twin] = &[Twin::None, Twin::Other];

/// Section 4: an answer to a request × the state that it finds. `owed`: an obligation is or was open.
#[rustfmt::skip]
const ANSWERS: &[Row] = &[
    Row { state: &[S::AwaitingIssuer], owed: ANY_OWED, kind: &[Approved], twin: ANY_TWIN, then: Decision::Deliver },
    Row { state: &[S::AwaitingIssuer], owed: ANY_OWED, kind: &[Less], twin: ANY_TWIN, then: Decision::Less },
    Row { state: &[S::AwaitingIssuer], owed: ANY_OWED, kind: &[Invalid], twin: ANY_TWIN, then: Decision::ReverseInvalid },
    Row { state: &[S::AwaitingIssuer], owed: ANY_OWED, kind: &[Foreign], twin: ANY_TWIN, then: Decision::ReverseForeign },
    Row { state: &[S::AwaitingReversalAck, S::NeedsOperator], owed: ANY_OWED, kind: &[Foreign], twin: ANY_TWIN, then: Decision::Ignore },
    Row { state: &[S::AwaitingDelivery, S::AwaitingConfirmation, S::Confirmed, S::Declined, S::Unwound, S::Resolved], owed: ANY_OWED, kind: &[Foreign], twin: ANY_TWIN, then: Decision::Exception },
    Row { state: &[S::AwaitingIssuer], owed: ANY_OWED, kind: &[Declined], twin: ANY_TWIN, then: Decision::Decline },
    Row { state: &[S::AwaitingIssuer], owed: ANY_OWED, kind: &[Unknown], twin: ANY_TWIN, then: Decision::GiveUp },
    Row { state: &[S::AwaitingReversalAck], owed: ANY_OWED, kind: MOVED, twin: &[Twin::None], then: Decision::HoldAndDecide },
    Row { state: &[S::AwaitingReversalAck, S::NeedsOperator], owed: ANY_OWED, kind: MOVED, twin: &[Twin::Other], then: Decision::HoldAnother },
    Row { state: &[S::AwaitingReversalAck], owed: ANY_OWED, kind: MOVED, twin: &[Twin::Same], then: Decision::Ignore },
    Row { state: &[S::AwaitingReversalAck], owed: ANY_OWED, kind: &[Declined], twin: &[Twin::None], then: Decision::HoldAndDecide },
    Row { state: &[S::AwaitingReversalAck], owed: ANY_OWED, kind: &[Declined], twin: &[Twin::Same, Twin::Other], then: Decision::Ignore },
    Row { state: &[S::NeedsOperator], owed: ANY_OWED, kind: MOVED, twin: &[Twin::None], then: Decision::Hold },
    Row { state: &[S::NeedsOperator], owed: ANY_OWED, kind: MOVED, twin: &[Twin::Same], then: Decision::Ignore },
    Row { state: &[S::NeedsOperator], owed: &[false], kind: &[Declined], twin: &[Twin::None], then: Decision::Decline },
    Row { state: &[S::NeedsOperator], owed: &[true], kind: &[Declined], twin: &[Twin::None], then: Decision::Hold },
    Row { state: &[S::NeedsOperator], owed: ANY_OWED, kind: &[Declined], twin: &[Twin::Same, Twin::Other], then: Decision::Ignore },
    Row { state: LIVE, owed: ANY_OWED, kind: MOVED, twin: &[Twin::Same], then: Decision::Ignore },
    Row { state: LIVE, owed: ANY_OWED, kind: MOVED, twin: NOT_AS_BEFORE, then: Decision::Operator },
    Row { state: &[S::Declined, S::Unwound], owed: ANY_OWED, kind: MOVED, twin: &[Twin::Same], then: Decision::Ignore },
    Row { state: &[S::Declined, S::Unwound], owed: ANY_OWED, kind: MOVED, twin: NOT_AS_BEFORE, then: Decision::Reopen },
    Row { state: &[S::Resolved], owed: ANY_OWED, kind: MOVED, twin: ANY_TWIN, then: Decision::Exception },
    Row { state: &[S::AwaitingDelivery, S::AwaitingConfirmation, S::Confirmed, S::Declined, S::Unwound, S::Resolved], owed: ANY_OWED, kind: &[Declined, Unknown], twin: ANY_TWIN, then: Decision::Ignore },
    Row { state: &[S::AwaitingReversalAck, S::NeedsOperator], owed: ANY_OWED, kind: &[Unknown], twin: ANY_TWIN, then: Decision::Ignore },
];

fn matches(row: &Row, state: StateKind, owed: bool, kind: Kind, twin: Twin) -> bool {
    takes(row.state, state) && takes(row.owed, owed) && takes(row.kind, kind) && takes(row.twin, twin)
}

impl Switch {
    /// 0110 or 0210. T6 is in the MTI: an answer to a reversal never comes this way.
    pub(crate) fn request_answered(&mut self, now: Now, number: LinkNo, message: &Fields, out: &mut Output) {
        let config = self.config.clone();
        let link = config.link(number);
        let stan = message.get(11).and_then(|digits| Stan::try_from(digits).ok());
        let asked = stan.and_then(|stan| self.state.by_link_stan.get(&(number, stan)));
        let Some(movement) = asked.and_then(|id| self.movement(*id)).filter(|movement| answers(movement, link, message))
        else {
            return self.unmatched(number, message, out);
        };
        let Some(answer) = read(now, movement, link, message) else {
            return self.unmatched(number, message, out);
        };
        let (id, rrn) = (movement.id, movement.rrn);
        let kind = kind(movement, link, message, answer.code);
        let twin = twin(movement, &answer);
        let (state, owed) = (movement.state, movement.owes());
        let row = decide(ANSWERS, |row| matches(row, state, owed, kind, twin));
        self.forget_in_flight(id);
        if let Some(waiter) = self.live.get_mut(&id).and_then(|live| live.waiter.as_mut()) {
            message::pass_on(&mut waiter.echo, message);
        }
        if state != StateKind::AwaitingIssuer {
            self.note(Note::LateAnswer { issuer: number.issuer, rrn, code: answer.code }, out);
        }
        match row.then {
            Decision::Deliver => self.deliver(now, id, answer, out),
            Decision::Decline => {
                let code = answer.code;
                self.write(now, Record::Answered { id, answer, to: StateKind::Declined, evidence: Evidence::None }, out);
                self.give_answer(now, id, code, out);
                self.close_flags(now, id, out);
                self.settle(id, out);
            }
            Decision::Less => {
                let group = config.group(self.movement(id).map_or(GroupNo(0), |movement| movement.group));
                if group.takes_partial_approvals || on(Mutant::LessToAnybody) {
                    return self.deliver(now, id, answer, out);
                }
                if on(Mutant::LessIsNothing) {
                    let evidence = Evidence::None;
                    self.write(now, Record::Answered { id, answer, to: StateKind::Declined, evidence }, out);
                    self.settle(id, out);
                    return self.answer_waiter(now, id, group.partial_refused_as, out);
                }
                self.write(now, Record::LateAnswer { id, answer }, out);
                self.oblige(now, id, Rule::T9, Reason::InvalidAnswer, out);
                self.answer_waiter(now, id, group.partial_refused_as, out);
            }
            Decision::ReverseInvalid => {
                self.write(now, Record::LateAnswer { id, answer }, out);
                self.oblige(now, id, Rule::T4, Reason::InvalidAnswer, out);
                self.answer_waiter(now, id, ResponseCode::RESPONSE_TOO_LATE, out);
            }
            Decision::ReverseForeign => {
                self.oblige(now, id, Rule::T4, Reason::InvalidAnswer, out);
                self.answer_waiter(now, id, ResponseCode::RESPONSE_TOO_LATE, out);
            }
            Decision::GiveUp => self.give_up_request(now, id, Rule::T1, out),
            Decision::HoldAndDecide if on(Mutant::AnswerForAck) => {
                let code = answer.code;
                self.stop_sending(id);
                self.write(now, Record::ReversalAnswered { id, code, verdict: AckVerdict::Ended }, out);
                self.settle(id, out);
            }
            Decision::HoldAndDecide => {
                let shown = answer.code;
                self.write(now, Record::LateAnswer { id, answer }, out);
                self.reversal_can_be_decided(now, id, out);
                if on(Mutant::ShowLateApproval) {
                    self.give_answer(now, id, shown, out);
                }
            }
            Decision::Hold => {
                self.write(now, Record::LateAnswer { id, answer }, out);
            }
            Decision::HoldAnother => {
                self.movement_exception(now, id, Rule::T7, out);
                self.write(now, Record::AnotherApproval { id, approval: answer.approval }, out);
            }
            Decision::Reopen if on(Mutant::LateStands) => {}
            Decision::Reopen => {
                // The promise first: a crash between the two must not leave an approval that nobody undoes (M4).
                self.promise_unsent(now, id, Rule::T5, Reason::Timeout, out);
                self.write(now, Record::LateAnswer { id, answer }, out);
                self.movement_exception(now, id, Rule::T5, out);
                self.send_due_reversals(now, number.issuer, out);
            }
            Decision::Operator if on(Mutant::IgnoreSecond) => {}
            Decision::Operator if on(Mutant::SecondUndoesFirst) => {
                self.stop_waiting(id);
                self.oblige(now, id, Rule::T7, Reason::InvalidAnswer, out);
            }
            Decision::Operator => match answer.approval {
                // The link undoes exactly the approval that is named: the first stays.
                Some(approval) if link.addresses_one_approval && !owed => {
                    let minor = self.movement(id).map(|movement| booked_minor(movement, answer.amount));
                    let scope = Scope::Approval { approval, minor };
                    self.promise(now, id, (Rule::T7, Reason::InvalidAnswer, scope), out);
                    self.write(now, Record::AnotherApproval { id, approval: Some(approval) }, out);
                }
                // A reversal could hit the good one.
                approval => {
                    self.leave_to_operator(now, id, Rule::T7, out);
                    self.write(now, Record::AnotherApproval { id, approval }, out);
                }
            },
            Decision::Exception => self.movement_exception(now, id, Rule::T5, out),
            Decision::Ignore => {}
        }
    }

    pub(crate) fn movement_exception(&mut self, now: Now, id: MovementId, rule: Rule, out: &mut Output) {
        if let Some((terminal, stan)) = self.movement(id).map(|movement| (movement.key.terminal, movement.key.stan)) {
            self.exception(now, rule, terminal, stan, Some(id), out);
        }
    }

    /// An approval: its outcome, then the answer, offered if somebody is there to take it (M2, T8).
    fn deliver(&mut self, now: Now, id: MovementId, answer: Answer, out: &mut Output) {
        let waited = self.live.get(&id).is_some_and(|live| live.waiter.is_some());
        let evidence = if waited { Evidence::Offered } else { Evidence::NotHanded };
        let code = answer.code;
        self.write(now, Record::Answered { id, answer, to: StateKind::AwaitingDelivery, evidence }, out);
        self.clear_timer(id);
        if waited {
            self.give_answer(now, id, code, out);
        } else {
            self.begin_grace(now, id);
        }
        self.settle(id, out);
    }

    /// Gives the stored answer to whoever waits; an approval is offered until its report comes.
    fn give_answer(&mut self, now: Now, id: MovementId, code: ResponseCode, out: &mut Output) {
        let issuer_ms = self.issuer_ms(now, id);
        let Some(waiter) = self.stop_waiting(id) else { return };
        let Some(movement) = self.movement(id) else { return };
        let (rrn, after, offered) = (movement.rrn, movement.last_record, movement.evidence == Evidence::Offered);
        let after = if on(Mutant::AnswerBeforeOutcome) { Lsn(0) } else { after };
        let message = message::answer(&waiter.echo, code, Some(movement), true);
        let action = self.new_action(offered.then_some(Purpose::Offer(id)));
        if offered {
            let live = self.live(id);
            live.offered = Some((action, waiter.conn));
            live.released_ms = Some(now.uptime_ms);
        }
        let (conn, after_ms) = (waiter.conn, now.uptime_ms.saturating_sub(waiter.since_ms));
        out.actions.push(Pending { after, action: Action::ToTerminal { id: action, conn, message } });
        self.note(Note::Answered { mti: waiter.echo.mti(), code, rrn: Some(rrn), after_ms, issuer_ms }, out);
    }

    /// T1, T2: the obligation first, then 68 (M3), the reversal at once.
    pub(crate) fn give_up_request(&mut self, now: Now, id: MovementId, rule: Rule, out: &mut Output) {
        self.oblige(now, id, rule, Reason::Timeout, out);
        if !on(Mutant::ShowLateApproval) {
            self.answer_waiter(now, id, ResponseCode::RESPONSE_TOO_LATE, out);
        }
    }

    /// The request of this movement no longer counts as unanswered on its connection.
    pub(crate) fn forget_in_flight(&mut self, id: MovementId) {
        let link = self.live.get(&id).and_then(|live| live.request).map(|request| request.link);
        if let Some(connection) = link.and_then(|link| self.connections.get_mut(&link)) {
            connection.requests.remove(&id);
        }
    }

    /// What became of a write.
    pub(crate) fn report(&mut self, now: Now, action: ActionId, report: Report, out: &mut Output) {
        match self.purposes.remove(&action) {
            Some(Purpose::Offer(id)) => self.offer_reported(now, id, report, out),
            Some(Purpose::Copy(id, conn)) => self.copy_reported(now, (id, conn), report, out),
            Some(Purpose::Crossing(id, conn)) => self.crossing_reported(now, (id, conn), action, report, out),
            Some(Purpose::Request(id)) => self.request_reported(now, id, report, out),
            Some(Purpose::Reversal(id)) => self.reversal_reported(now, id, action, report, out),
            None => {}
        }
    }

    fn request_reported(&mut self, now: Now, id: MovementId, report: Report, out: &mut Output) {
        let Some(state) = self.movement(id).map(|movement| movement.state) else { return };
        let Some(request) = self.live.get_mut(&id).and_then(|live| live.request.as_mut()) else { return };
        match report {
            Report::Written => {
                request.left = true;
                self.live(id).horizon_from_ms = Some(now.uptime_ms);
                self.reversal_horizon_known(now, id);
            }
            Report::Partial => {
                request.left = true;
                let link = request.link;
                self.link_failed(link, out);
                // T2. The horizon counts from the report that the connection is closed, which comes next.
                if state == StateKind::AwaitingIssuer {
                    self.give_up_request(now, id, Rule::T2, out);
                }
            }
            Report::NotSent | Report::Unbuildable | Report::Undeliverable => {
                let link = request.link;
                if report != Report::Unbuildable {
                    self.link_failed(link, out);
                }
                self.forget_in_flight(id);
                self.never_sent(now, id, state, out);
            }
        }
    }

    /// T3: not one byte left, so nothing moved and nothing is owed.
    pub(crate) fn never_sent(&mut self, now: Now, id: MovementId, state: StateKind, out: &mut Output) {
        let code = ResponseCode::ISSUER_UNAVAILABLE;
        match state {
            StateKind::AwaitingIssuer => {
                self.write(now, Record::NeverSent { id, code }, out);
                self.note_decided("T3", id, out);
                self.answer_waiter(now, id, code, out);
                self.close_flags(now, id, out);
                self.settle(id, out);
            }
            StateKind::AwaitingReversalAck | StateKind::NeedsOperator => {
                // Its reversal, if that has not left either: the issuer knows nothing of it.
                self.unsend(id, out);
                self.write(now, Record::NeverSent { id, code }, out);
                self.note_decided("T3", id, out);
                self.close_flags(now, id, out);
                self.settle(id, out);
            }
            StateKind::AwaitingDelivery
            | StateKind::AwaitingConfirmation
            | StateKind::Declined
            | StateKind::Confirmed
            | StateKind::Unwound
            | StateKind::Resolved => {}
        }
    }

    pub(crate) fn note_decided(&self, rule: &'static str, id: MovementId, out: &mut Output) {
        let rrn = self.movement(id).map(|movement| movement.rrn);
        self.note(Note::Decided { rule, rrn }, out);
    }
}

/// Whether a message answers this request (T4, WIRE): class, DE7 or DE37, terminal. An absent field is not a difference.
fn answers(movement: &Movement, link: &Link, message: &Fields) -> bool {
    let class = message.mti() == movement.key.class.request().response();
    let same = |de: u8, held: &[u8]| message.get(de).is_none_or(|carried| carried == held);
    let when = if link.echoes_de7 { same(7, &movement.sent_as.transmitted) } else { same(37, movement.rrn.as_bytes()) };
    let terminal = &movement.key.terminal;
    class && when && same(41, terminal.terminal()) && same(42, terminal.merchant())
}

/// The answer as far as it is kept; `None` without DE39.
fn read(now: Now, movement: &Movement, link: &Link, message: &Fields) -> Option<Answer> {
    let code = ResponseCode::try_from(message.get(39)?).ok()?;
    Some(Answer {
        code,
        approval: message.get(38).and_then(|text| text.try_into().ok()),
        amount: approved_amount(movement, message).ok().flatten().filter(|amount| *amount != movement.fingerprint.amount),
        balances: message.text(54).map(Into::into),
        moved: link.codes.money(code) == Money::Moved,
        wall_ms: now.wall_ms,
    })
}

/// DE4 with DE49, or with the request's currency where DE49 is absent; `Err` for an amount that cannot be read.
fn approved_amount(movement: &Movement, message: &Fields) -> Result<Option<Amount>, iso8583::ValueError> {
    let Some(digits) = message.get(4) else { return Ok(None) };
    let currency = message.get(49).map_or(Ok(movement.fingerprint.amount.currency()), Currency::try_from)?;
    Amount::from_digits(digits, currency).map(Some)
}

fn kind(movement: &Movement, link: &Link, message: &Fields, code: ResponseCode) -> Kind {
    match link.codes.money(code) {
        Money::NotMoved => return Declined,
        Money::Unknown => return if on(Mutant::UnknownDeclines) { Declined } else { Unknown },
        Money::Moved => {}
    }
    if link.echoes_card_and_rrn && !names_card_and_rrn(movement, message) {
        return Foreign;
    }
    let asked = movement.fingerprint.amount;
    let Ok(approved) = approved_amount(movement, message) else { return Invalid };
    let approved = approved.unwrap_or(asked);
    if approved.currency() != asked.currency() || approved.minor() > asked.minor() {
        if on(Mutant::BelieveMore) {
            return Approved;
        }
        return Invalid;
    }
    if approved.minor() < asked.minor() || code == ResponseCode::PARTIAL_APPROVAL { Less } else { Approved }
}

/// Whether card and RRN, where the answer carries them, are those of the request (T4). Cards are compared as far as they may
/// be known here: length, first six, last four.
fn names_card_and_rrn(movement: &Movement, message: &Fields) -> bool {
    let rrn = message.get(37).is_none_or(|carried| carried == movement.rrn.as_bytes());
    rrn && card_agrees(movement, message)
}

/// Whether DE2, where carried, can be the movement's card.
pub(crate) fn card_agrees(movement: &Movement, message: &Fields) -> bool {
    let carried: Option<Option<MaskedPan>> = message.get(2).map(|pan| Pan::try_from(pan).ok().map(|pan| pan.masked()));
    match (carried, movement.card) {
        (Some(carried), Some(card)) => carried == Some(card.masked),
        (Some(_), None) | (None, _) => true,
    }
}

/// What an approval can have on the issuer's books, in minor units: its own amount, but never more than was asked for, and
/// what was asked for where the answer speaks of another currency (T4).
pub(crate) fn booked_minor(movement: &Movement, approved: Option<Amount>) -> u64 {
    let asked = movement.fingerprint.amount;
    let approved = approved.filter(|approved| approved.currency() == asked.currency());
    approved.map_or(asked.minor(), |approved| approved.minor().min(asked.minor()))
}

fn twin(movement: &Movement, answer: &Answer) -> Twin {
    match movement.answer.as_ref().filter(|held| held.moved) {
        None => Twin::None,
        Some(held) if held.approval == answer.approval => Twin::Same,
        Some(_) if movement.second_approval.is_some() && movement.second_approval == answer.approval => Twin::Same,
        Some(_) => Twin::Other,
    }
}

/// Whether a message's terminal, where it carries one, is the movement's.
pub(crate) fn terminal_agrees(movement: &Movement, message: &Fields) -> bool {
    if message.has(41) && message.has(42) {
        return terminal_of(message) == Some(movement.key.terminal);
    }
    message.get(41).is_none_or(|carried| carried == movement.key.terminal.terminal())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::assert_one_row;

    #[test]
    fn every_answer_matches_exactly_one_row() {
        for state in StateKind::ALL {
            for owed in [false, true] {
                for kind in [Approved, Less, Invalid, Foreign, Declined, Unknown] {
                    for twin in [Twin::None, Twin::Same, Twin::Other] {
                        let what = (state, owed, kind, twin);
                        assert_one_row(ANSWERS, &what, |row| matches(row, state, owed, kind, twin));
                    }
                }
            }
        }
    }
}
