//! What a deadline does with a movement (T1, T8, C2, C3, K2).
//!
//! When reversals are sent again is in `unwind`, the echoes of connections are in `links`.

use crate::action::{Action, Pending};
use crate::config::AtDeadline;
use crate::ids::{Lsn, MovementId, Now};
use crate::machine::{Output, Switch};
use crate::movement::{ConfirmedBy, Evidence, Reason, Rule, StateKind};
use crate::mutant::{Mutant, on};
use crate::table::{decide, takes};

/// Which deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// `response_timeout`: the issuer is silent.
    Response,
    /// `redeliver_grace`: nobody asked again.
    Grace,
    /// `confirm_within` or `confirm_deadline`: nobody confirmed.
    Confirm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Obligation, then 68 (T1, M3).
    GiveUp,
    /// Obligation.
    Unwind(Rule, Reason),
    /// Confirmed by silence (C3).
    Confirm,
    /// A person decides.
    Operator(Rule),
    /// The deadline was of a state that is left, or a write is pending (T8).
    Nothing,
}

#[derive(Debug)]
struct Row {
    deadline: &'static [Deadline],
    state: &'static [StateKind],
    evidence: &'static [Evidence],
    /// Whether the terminals confirm with a message of their own (C2).
    explicit: &'static [bool],
    policy: &'static [AtDeadline],
    then: Decision,
}

use Deadline as L;
use StateKind as S;

const ANY: &[bool] = &[];
const ANY_EVIDENCE: &[Evidence] = &[];
const ANY_POLICY: &[AtDeadline] = &[];
const HANDED: &[Evidence] = &[Evidence::Handed, Evidence::Seen];
const NOT_KNOWN_HANDED: &[Evidence] = &[Evidence::None, Evidence::Offered, Evidence::NotHanded, Evidence::Unknown];
const NO_NEWS: &[Evidence] = &[Evidence::None, Evidence::Offered, Evidence::Handed, Evidence::Seen, Evidence::Unknown];
const NOT_ISSUER: &[StateKind] = &[
    S::AwaitingDelivery,
    S::AwaitingConfirmation,
    S::AwaitingReversalAck,
    S::NeedsOperator,
    S::Declined,
    S::Confirmed,
    S::Unwound,
    S::Resolved,
];
const NOT_DELIVERY: &[StateKind] = &[
    S::AwaitingIssuer,
    S::AwaitingConfirmation,
    S::AwaitingReversalAck,
    S::NeedsOperator,
    S::Declined,
    S::Confirmed,
    S::Unwound,
    S::Resolved,
];
const NOT_CONFIRMATION: &[StateKind] = &[
    S::AwaitingIssuer,
    S::AwaitingDelivery,
    S::AwaitingReversalAck,
    S::NeedsOperator,
    S::Declined,
    S::Confirmed,
    S::Unwound,
    S::Resolved,
];

/// A deadline × the state that it finds × the evidence × the profile.
#[rustfmt::skip]
const DEADLINES: &[Row] = &[
    Row { deadline: &[L::Response], state: &[S::AwaitingIssuer], evidence: ANY_EVIDENCE, explicit: ANY, policy: ANY_POLICY, then: Decision::GiveUp },
    Row { deadline: &[L::Response], state: NOT_ISSUER, evidence: ANY_EVIDENCE, explicit: ANY, policy: ANY_POLICY, then: Decision::Nothing },
    Row { deadline: &[L::Grace], state: &[S::AwaitingDelivery], evidence: &[Evidence::NotHanded], explicit: ANY, policy: ANY_POLICY, then: Decision::Unwind(Rule::T8, Reason::NotDelivered) },
    Row { deadline: &[L::Grace], state: &[S::AwaitingDelivery], evidence: NO_NEWS, explicit: ANY, policy: ANY_POLICY, then: Decision::Nothing },
    Row { deadline: &[L::Grace], state: NOT_DELIVERY, evidence: ANY_EVIDENCE, explicit: ANY, policy: ANY_POLICY, then: Decision::Nothing },
    Row { deadline: &[L::Confirm], state: &[S::AwaitingConfirmation], evidence: ANY_EVIDENCE, explicit: &[true], policy: ANY_POLICY, then: Decision::Unwind(Rule::C2, Reason::NotDelivered) },
    Row { deadline: &[L::Confirm], state: &[S::AwaitingConfirmation], evidence: HANDED, explicit: &[false], policy: &[AtDeadline::Confirm], then: Decision::Confirm },
    Row { deadline: &[L::Confirm], state: &[S::AwaitingConfirmation], evidence: HANDED, explicit: &[false], policy: &[AtDeadline::Operator], then: Decision::Operator(Rule::C3) },
    Row { deadline: &[L::Confirm], state: &[S::AwaitingConfirmation], evidence: HANDED, explicit: &[false], policy: &[AtDeadline::Reverse], then: Decision::Unwind(Rule::C3, Reason::Unspecified) },
    // What nobody knows to be handed is never confirmed, nor undone, by silence (K2, M8).
    Row { deadline: &[L::Confirm], state: &[S::AwaitingConfirmation], evidence: NOT_KNOWN_HANDED, explicit: &[false], policy: ANY_POLICY, then: Decision::Operator(Rule::K2) },
    Row { deadline: &[L::Confirm], state: NOT_CONFIRMATION, evidence: ANY_EVIDENCE, explicit: ANY, policy: ANY_POLICY, then: Decision::Nothing },
];

fn matches(row: &Row, deadline: Deadline, state: StateKind, evidence: Evidence, explicit: bool, policy: AtDeadline) -> bool {
    takes(row.deadline, deadline)
        && takes(row.state, state)
        && takes(row.evidence, evidence)
        && takes(row.explicit, explicit)
        && takes(row.policy, policy)
}

impl Switch {
    /// The deadline of a movement's state has passed.
    pub(crate) fn deadline_passed(&mut self, now: Now, id: MovementId, deadline: Deadline, out: &mut Output) {
        let Some(movement) = self.movement(id) else { return };
        let (state, evidence) = (movement.state, movement.evidence);
        let group = self.config.group(movement.group);
        let (explicit, policy) = (group.confirm_within_ms.is_some(), group.at_deadline);
        match decide(DEADLINES, |row| matches(row, deadline, state, evidence, explicit, policy)).then {
            Decision::Unwind(Rule::T8, _) if on(Mutant::NoGraceEnd) => {}
            Decision::Unwind(Rule::C2, _) if on(Mutant::SilentCompletion) => {
                self.confirm(now, id, ConfirmedBy::CutOver, Rule::C3, out);
            }
            Decision::Operator(Rule::K2) if on(Mutant::SilenceIsGold) => {
                self.confirm(now, id, ConfirmedBy::CutOver, Rule::C3, out);
            }
            Decision::GiveUp => self.response_timed_out(now, id, out),
            Decision::Unwind(rule, reason) => self.oblige(now, id, rule, reason, out),
            Decision::Confirm => self.confirm(now, id, ConfirmedBy::CutOver, Rule::C3, out),
            Decision::Operator(rule) => self.leave_to_operator(now, id, rule, out),
            Decision::Nothing => {}
        }
    }

    /// T1: no usable answer in time. Bytes that the host did not acknowledge are taken back with their connection (R3).
    fn response_timed_out(&mut self, now: Now, id: MovementId, out: &mut Output) {
        let written = self.live.get(&id).and_then(|live| live.request).filter(|request| request.left);
        if on(Mutant::TimeoutDeclines) {
            return self.never_sent(now, id, StateKind::AwaitingIssuer, out);
        }
        self.give_up_request(now, id, Rule::T1, out);
        if let Some(link) = written.map(|request| request.link) {
            out.actions.push(Pending { after: Lsn(0), action: Action::ResetIfUnacknowledged { link } });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::assert_one_row;

    #[test]
    fn every_deadline_matches_exactly_one_row() {
        for deadline in [Deadline::Response, Deadline::Grace, Deadline::Confirm] {
            for state in StateKind::ALL {
                for evidence in Evidence::ALL {
                    for explicit in [false, true] {
                        for policy in [AtDeadline::Confirm, AtDeadline::Operator, AtDeadline::Reverse] {
                            let what = (deadline, state, evidence, explicit, policy);
                            assert_one_row(DEADLINES, &what, |row| {
                                matches(row, deadline, state, evidence, explicit, policy)
                            });
                        }
                    }
                }
            }
        }
    }
}
