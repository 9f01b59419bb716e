//! What an operator decides where automatic means would guess (section 2, `switchd resolve`).

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use iso8583::{ResponseCode, Rrn};

use crate::action::{Action, Pending};
use crate::ids::{AskId, Lsn, MovementId, Now};
use crate::input::Case;
use crate::machine::{Output, Switch};
use crate::movement::{Evidence, Movement, Reason, Resolution, Rule, StateKind, Verdict};
use crate::mutant::{Mutant, on};
use crate::record::Record;
use crate::state::Exception;
use crate::table::{decide, takes};

/// Why an operator's decision is not taken. Nothing was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Memory holds no movement of this RRN.
    UnknownRrn,
    /// No such entry is open.
    UnknownEntry,
    /// Nothing is open there: no doubt, no exception.
    NothingOpen,
    /// Its issuer's answer is still awaited; it decides itself soon.
    StillAwaited,
    /// There is nothing at the issuer that could be undone, or a reversal is on its way.
    NothingToUndo,
    /// An entry says nothing of what stands, so nothing else can be said of it.
    EntryMovesNothing,
    /// An adjustment above what was approved.
    AboveAmount,
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Refusal::UnknownRrn => "no movement of this RRN is in memory; next: check the RRN with `switchd doubt`",
            Refusal::UnknownEntry => "no such entry is open; next: `switchd doubt`",
            Refusal::NothingOpen => "nothing is open for this RRN; next: `switchd tx RRN` shows how it ended",
            Refusal::StillAwaited => "its issuer's answer is still awaited; next: wait for its timeout",
            Refusal::NothingToUndo => "there is nothing to undo, or its reversal is on its way; next: `switchd tx RRN`",
            Refusal::EntryMovesNothing => {
                "an entry is closed with `stands` and changes no amount; next: name the movement by its RRN"
            }
            Refusal::AboveAmount => "the adjusted amount is above the approved one; next: check the amount",
        })
    }
}

impl core::error::Error for Refusal {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Stands,
    /// Undone or adjusted elsewhere: what stands is another amount than the journal says.
    Otherwise,
    Undo,
}

const CLOSE: &[Wish] = &[Wish::Stands, Wish::Otherwise];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// The movement ends as the operator says.
    Resolve,
    /// Only its exceptions are closed.
    CloseExceptions,
    /// An obligation.
    Oblige,
    Refuse(Refusal),
}

#[derive(Debug)]
struct Row {
    state: &'static [StateKind],
    wish: &'static [Wish],
    exceptions: &'static [bool],
    owes: &'static [bool],
    /// Approved, and not known whether the terminal got it.
    unknown: &'static [bool],
    then: Decision,
}

use StateKind as S;

const ANY: &[bool] = &[];
const STANDING: &[StateKind] = &[S::AwaitingDelivery, S::AwaitingConfirmation, S::Confirmed];
const ENDED: &[StateKind] = &[S::Declined, S::Unwound, S::Resolved];

/// Section 2: an operator's wish × the state × whether an exception names the movement.
#[rustfmt::skip]
const WISHES: &[Row] = &[
    Row { state: &[S::AwaitingIssuer], wish: &[], exceptions: ANY, owes: ANY, unknown: ANY, then: Decision::Refuse(Refusal::StillAwaited) },
    Row { state: &[S::NeedsOperator, S::AwaitingReversalAck], wish: CLOSE, exceptions: ANY, owes: ANY, unknown: ANY, then: Decision::Resolve },
    Row { state: &[S::NeedsOperator], wish: &[Wish::Undo], exceptions: ANY, owes: ANY, unknown: ANY, then: Decision::Oblige },
    Row { state: &[S::AwaitingReversalAck], wish: &[Wish::Undo], exceptions: ANY, owes: ANY, unknown: ANY, then: Decision::Refuse(Refusal::NothingToUndo) },
    Row { state: STANDING, wish: CLOSE, exceptions: ANY, owes: &[true], unknown: ANY, then: Decision::Resolve },
    // The list shows it (K2): a person can say what became of it.
    Row { state: STANDING, wish: CLOSE, exceptions: ANY, owes: &[false], unknown: &[true], then: Decision::Resolve },
    Row { state: STANDING, wish: &[Wish::Stands], exceptions: &[true], owes: &[false], unknown: &[false], then: Decision::CloseExceptions },
    Row { state: STANDING, wish: &[Wish::Otherwise], exceptions: &[true], owes: &[false], unknown: &[false], then: Decision::Resolve },
    Row { state: STANDING, wish: &[Wish::Undo], exceptions: &[true], owes: ANY, unknown: ANY, then: Decision::Oblige },
    Row { state: STANDING, wish: &[Wish::Undo], exceptions: &[false], owes: &[true], unknown: ANY, then: Decision::Oblige },
    Row { state: STANDING, wish: &[Wish::Undo], exceptions: &[false], owes: &[false], unknown: &[true], then: Decision::Oblige },
    // An order to undo what nobody doubts would make doubt.
    Row { state: STANDING, wish: &[], exceptions: &[false], owes: &[false], unknown: &[false], then: Decision::Refuse(Refusal::NothingOpen) },
    Row { state: ENDED, wish: &[Wish::Stands], exceptions: &[true], owes: ANY, unknown: ANY, then: Decision::CloseExceptions },
    Row { state: ENDED, wish: &[Wish::Otherwise], exceptions: &[true], owes: ANY, unknown: ANY, then: Decision::Resolve },
    Row { state: ENDED, wish: CLOSE, exceptions: &[false], owes: ANY, unknown: ANY, then: Decision::Refuse(Refusal::NothingOpen) },
    Row { state: ENDED, wish: &[Wish::Undo], exceptions: ANY, owes: ANY, unknown: ANY, then: Decision::Refuse(Refusal::NothingToUndo) },
];

fn matches(row: &Row, state: StateKind, wish: Wish, exceptions: bool, owes: bool, unknown: bool) -> bool {
    takes(row.state, state)
        && takes(row.wish, wish)
        && takes(row.exceptions, exceptions)
        && takes(row.owes, owes)
        && takes(row.unknown, unknown)
}

impl Switch {
    /// Decides what an operator asked for, and says so once it is durable.
    pub(crate) fn resolve(
        &mut self,
        now: Now,
        ask: AskId,
        case: Case,
        (resolution, who, why): (Resolution, String, String),
        out: &mut Output,
    ) {
        let result = match case {
            Case::Movement(rrn) => self.resolved(now, rrn, resolution, who, why, out),
            Case::Entry(entry) => self.closed(now, entry, resolution, who, why, out),
        };
        let after = if result.is_ok() { self.state.lsn } else { Lsn(0) };
        out.actions.push(Pending { after, action: Action::Resolved { ask, result } });
    }

    fn resolved(
        &mut self,
        now: Now,
        rrn: Rrn,
        resolution: Resolution,
        who: String,
        why: String,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        let known = self.state.by_rrn.get(&rrn).copied();
        let named = |exception: &Exception| match known {
            Some(id) => exception.id == Some(id),
            None => exception.rrn == Some(rrn),
        };
        let mut exceptions: Vec<Lsn> =
            self.state.exceptions.iter().filter(|(_, exception)| named(exception)).map(|(lsn, _)| *lsn).collect();
        let Some(movement) = known.and_then(|id| self.movement(id)) else {
            // Memory has let it go: it ended. What a person still had of it can be closed all the same.
            match resolution {
                _ if exceptions.is_empty() => return Err(Refusal::UnknownRrn),
                Resolution::Undo => return Err(Refusal::UnknownRrn),
                // What stands cannot be changed where it is not known.
                Resolution::UndoneElsewhere | Resolution::AdjustedElsewhere { .. } => {
                    return Err(Refusal::EntryMovesNothing);
                }
                Resolution::Stands => {}
            }
            self.close_exceptions(now, exceptions, &who, &why, out);
            return Ok(());
        };
        if let Resolution::AdjustedElsewhere { minor } = resolution
            // What was promised and never acknowledged may stand yet.
            && minor > movement.acknowledged_minor.unwrap_or(movement.amount().minor())
        {
            return Err(Refusal::AboveAmount);
        }
        let (id, state, owes) = (movement.id, movement.state, movement.owes());
        let unknown = state == StateKind::AwaitingConfirmation && movement.evidence == Evidence::Unknown;
        let wish = match resolution {
            Resolution::Stands => Wish::Stands,
            Resolution::UndoneElsewhere | Resolution::AdjustedElsewhere { .. } => Wish::Otherwise,
            Resolution::Undo => Wish::Undo,
        };
        let row = decide(WISHES, |row| matches(row, state, wish, !exceptions.is_empty(), owes, unknown));
        match row.then {
            Decision::Refuse(refusal) => return Err(refusal),
            Decision::Resolve => {
                self.withdraw(id, out);
                self.unsend(id, out);
                self.stop_sending(id);
                self.record_verdict(now, id, resolution, &who, &why, out);
                self.settle(id, out);
            }
            Decision::Oblige if on(Mutant::UndoIsUndone) => {
                self.withdraw(id, out);
                self.stop_sending(id);
                self.record_verdict(now, id, Resolution::UndoneElsewhere, &who, &why, out);
                self.settle(id, out);
            }
            Decision::Oblige => {
                // What the reversal names is undone: a second approval that nobody decided on is not (T7).
                exceptions.retain(|lsn| self.state.exceptions.get(lsn).is_none_or(|entry| entry.rule != Rule::T7));
                self.record_verdict(now, id, resolution, &who, &why, out);
                self.oblige(now, id, Rule::Operator, Reason::Unspecified, out);
                self.answer_waiter(now, id, ResponseCode::RESPONSE_TOO_LATE, out);
            }
            Decision::CloseExceptions => {}
        }
        self.close_exceptions(now, exceptions, &who, &why, out);
        Ok(())
    }

    /// Closes one entry; what it names stays as it is.
    fn closed(
        &mut self,
        now: Now,
        entry: Lsn,
        resolution: Resolution,
        who: String,
        why: String,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        match resolution {
            _ if !self.state.exceptions.contains_key(&entry) => Err(Refusal::UnknownEntry),
            Resolution::Undo => Err(Refusal::NothingToUndo),
            Resolution::UndoneElsewhere | Resolution::AdjustedElsewhere { .. } => Err(Refusal::EntryMovesNothing),
            Resolution::Stands => {
                self.close_exceptions(now, vec![entry], &who, &why, out);
                Ok(())
            }
        }
    }

    fn close_exceptions(&mut self, now: Now, exceptions: Vec<Lsn>, who: &str, why: &str, out: &mut Output) {
        for exception in exceptions {
            self.write(now, Record::ExceptionClosed { exception, who: who.into(), why: why.into() }, out);
        }
    }

    fn record_verdict(&mut self, now: Now, id: MovementId, resolution: Resolution, who: &str, why: &str, out: &mut Output) {
        let verdict = Verdict { resolution, who: who.into(), why: why.into(), wall_ms: now.wall_ms };
        self.write(now, Record::Resolved { id, verdict }, out);
    }
}

/// What stands after an operator's decision, in minor units.
pub(crate) fn net_minor(movement: &Movement) -> u64 {
    match movement.verdict.as_ref().map(|verdict| verdict.resolution) {
        Some(Resolution::Stands) => movement.remains_minor.unwrap_or(movement.amount().minor()),
        Some(Resolution::AdjustedElsewhere { minor }) => minor,
        Some(Resolution::UndoneElsewhere | Resolution::Undo) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::assert_one_row;

    #[test]
    fn every_wish_matches_exactly_one_row() {
        for state in StateKind::ALL {
            for wish in [Wish::Stands, Wish::Otherwise, Wish::Undo] {
                for exceptions in [false, true] {
                    for owes in [false, true] {
                        for unknown in [false, true] {
                            let what = (state, wish, exceptions, owes, unknown);
                            assert_one_row(WISHES, &what, |row| matches(row, state, wish, exceptions, owes, unknown));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_refusal_says_why_and_what_comes_next() {
        for refusal in [
            Refusal::UnknownRrn,
            Refusal::UnknownEntry,
            Refusal::NothingOpen,
            Refusal::StillAwaited,
            Refusal::NothingToUndo,
            Refusal::EntryMovesNothing,
            Refusal::AboveAmount,
        ] {
            let text = alloc::string::ToString::to_string(&refusal);
            assert!(text.contains("; next: "), "{refusal:?} says {text:?}");
        }
    }
}
