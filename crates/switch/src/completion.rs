//! A terminal's word that it completed a sale, or did not (C2): 0102 and 0202, answered 0112 and 0212.
//!
//! Only for terminals that hold the goods until the answer.

use iso8583::ResponseCode;

use crate::codes::Money;
use crate::ids::{MovementId, Now};
use crate::look_up::Arrival;
use crate::machine::{Output, Switch};
use crate::message;
use crate::movement::{ConfirmedBy, Reason, Rule, StateKind};
use crate::mutant::{Mutant, on};
use crate::record::Record;
use crate::request::answered;
use crate::table::{decide, takes};
use crate::terminal_reversal::{Differs, Original, Reference};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Confirmed, then 00.
    Confirm,
    /// 00 again.
    Again,
    /// 00, kept as evidence.
    Keep,
    /// 00 and an exception: a person has decided without knowing this.
    AfterOperator,
    /// 68 and an exception: the goods may have left.
    TooLate,
    /// An obligation, then 00: as D8.
    Undo,
    /// 25: nothing that could be confirmed.
    Unknown,
}

#[derive(Debug)]
struct Row {
    state: &'static [StateKind],
    completed: &'static [bool],
    delivery_doubtful: &'static [bool],
    /// An approval is held, and no reversal is under way.
    stands: &'static [bool],
    then: Decision,
}

use StateKind as S;

const ANY: &[bool] = &[];
const LIVE: &[StateKind] = &[S::AwaitingDelivery, S::AwaitingConfirmation];

/// Section 7, C2: a completion × the state that it finds × whether a person has it only because its delivery is doubtful ×
/// whether an approval stands that nothing undoes yet.
#[rustfmt::skip]
const COMPLETIONS: &[Row] = &[
    Row { state: &[S::AwaitingIssuer], completed: &[true], delivery_doubtful: ANY, stands: ANY, then: Decision::Unknown },
    Row { state: &[S::AwaitingIssuer], completed: &[false], delivery_doubtful: ANY, stands: ANY, then: Decision::Undo },
    Row { state: LIVE, completed: &[true], delivery_doubtful: ANY, stands: ANY, then: Decision::Confirm },
    Row { state: LIVE, completed: &[false], delivery_doubtful: ANY, stands: ANY, then: Decision::Undo },
    Row { state: &[S::Confirmed], completed: &[true], delivery_doubtful: ANY, stands: ANY, then: Decision::Again },
    Row { state: &[S::Confirmed], completed: &[false], delivery_doubtful: ANY, stands: ANY, then: Decision::Undo },
    Row { state: &[S::NeedsOperator], completed: &[true], delivery_doubtful: &[true], stands: ANY, then: Decision::Confirm },
    Row { state: &[S::NeedsOperator], completed: &[false], delivery_doubtful: &[true], stands: ANY, then: Decision::Undo },
    Row { state: &[S::NeedsOperator], completed: &[true], delivery_doubtful: &[false], stands: ANY, then: Decision::TooLate },
    Row { state: &[S::NeedsOperator], completed: &[false], delivery_doubtful: &[false], stands: &[true], then: Decision::Undo },
    Row { state: &[S::NeedsOperator], completed: &[false], delivery_doubtful: &[false], stands: &[false], then: Decision::Keep },
    Row { state: &[S::AwaitingReversalAck, S::Unwound, S::Declined], completed: &[true], delivery_doubtful: ANY, stands: ANY, then: Decision::TooLate },
    Row { state: &[S::AwaitingReversalAck, S::Unwound, S::Declined], completed: &[false], delivery_doubtful: ANY, stands: ANY, then: Decision::Again },
    Row { state: &[S::Resolved], completed: ANY, delivery_doubtful: ANY, stands: ANY, then: Decision::AfterOperator },
];

fn matches(row: &Row, state: StateKind, completed: bool, doubtful: bool, stands: bool) -> bool {
    takes(row.state, state)
        && takes(row.completed, completed)
        && takes(row.delivery_doubtful, doubtful)
        && takes(row.stands, stands)
}

impl Switch {
    pub(crate) fn completion(&mut self, now: Now, arrival: Arrival, out: &mut Output) {
        let code = arrival.message.get(39).and_then(|text| ResponseCode::try_from(text).ok());
        let (Some(reference), Some(code)) = (Reference::read(&arrival.message), code) else {
            return self.refuse(now, &arrival, None, ResponseCode::FORMAT_ERROR, out);
        };
        match self.original(now, &arrival, &reference) {
            Original::One(id, Differs::No) => self.complete(now, id, code, &arrival, out),
            // Not found, or not to be told apart: nothing is confirmed on a guess.
            Original::One(..) | Original::Older(_) | Original::None if self.state.let_go && !arrival.looked_up => {
                self.look_up(now, reference.stan, reference.terminal, None, arrival, out);
            }
            Original::One(..) | Original::Older(_) | Original::None => {
                self.answer_completion(now, &arrival, ResponseCode::NOT_FOUND, None, out);
            }
        }
    }

    fn complete(&mut self, now: Now, id: MovementId, code: ResponseCode, arrival: &Arrival, out: &mut Output) {
        let Some(movement) = self.movement(id) else { return };
        let moved = self.config.link(movement.link).codes.money(code) == Money::Moved;
        let completed = moved || on(Mutant::AlwaysCompleted);
        let doubtful = matches!(movement.operator_rule, Some(Rule::K2 | Rule::C3));
        let (state, stands) = (movement.state, movement.approval_held() && !movement.owes());
        let row = decide(COMPLETIONS, |row| matches(row, state, completed, doubtful, stands));
        let answer = match row.then {
            Decision::Confirm => {
                self.withdraw(id, out);
                self.confirm(now, id, ConfirmedBy::Terminal, Rule::C2, out);
                ResponseCode::APPROVED
            }
            Decision::Again => ResponseCode::APPROVED,
            Decision::Keep => {
                self.write(now, Record::ReversalSeen { id }, out);
                ResponseCode::APPROVED
            }
            Decision::AfterOperator => {
                self.movement_exception(now, id, Rule::C2, out);
                ResponseCode::APPROVED
            }
            Decision::Undo => {
                self.stop_waiting(id);
                self.oblige(now, id, Rule::C2, Reason::CustomerCancel, out);
                ResponseCode::APPROVED
            }
            Decision::TooLate if on(Mutant::CompleteUnwound) => ResponseCode::APPROVED,
            Decision::TooLate => {
                self.movement_exception(now, id, Rule::C2, out);
                ResponseCode::RESPONSE_TOO_LATE
            }
            Decision::Unknown => ResponseCode::NOT_FOUND,
        };
        self.answer_completion(now, arrival, answer, Some(id), out);
    }

    fn answer_completion(
        &mut self,
        now: Now,
        arrival: &Arrival,
        code: ResponseCode,
        id: Option<MovementId>,
        out: &mut Output,
    ) {
        let echo = message::echo_of(&arrival.message, self.config.group(arrival.group).echo_pan);
        let movement = id.and_then(|id| self.movement(id));
        let (rrn, after) =
            (movement.map(|movement| movement.rrn), movement.map_or(self.state.lsn, |movement| movement.last_record));
        let answer = message::answer(&echo, code, movement, false);
        self.answer_terminal(arrival.conn, answer, after, out);
        self.note(answered(now, arrival, code, rrn), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::assert_one_row;

    #[test]
    fn every_completion_matches_exactly_one_row() {
        for state in StateKind::ALL {
            for completed in [false, true] {
                for (doubtful, stands) in [(false, false), (false, true), (true, false), (true, true)] {
                    assert_one_row(COMPLETIONS, &(state, completed, doubtful, stands), |row| {
                        matches(row, state, completed, doubtful, stands)
                    });
                }
            }
        }
    }
}
