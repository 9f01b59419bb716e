//! A terminal's own reversal: which of its transactions it means, and what follows (D7-D12).

use alloc::vec::Vec;

use iso8583::{Amount, Currency, Fields, ResponseCode, Rrn, Stan, TerminalId};

use crate::action::Note;
use crate::answer::card_agrees;
use crate::ids::{Lsn, MovementId, Now};
use crate::look_up::Arrival;
use crate::machine::{Output, Switch};
use crate::message;
use crate::movement::{Class, Movement, Reason, Rule, Scope, StateKind, local_time};
use crate::mutant::{Mutant, on};
use crate::record::Record;
use crate::request::{answered, is_completion, says_something, terminal_of};
use crate::table::{decide, takes};

/// How a reversal differs from the movement that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Differs {
    No,
    Amount,
    /// DE95 keeps a part that is less than what stands (D13).
    Part,
    /// DE95 keeps what a partial reversal has already left.
    PartAgain,
    /// The card differs, or it cannot be told which of several is meant.
    Which,
}

/// How far an issuer is involved: what a person's case still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// No approval, or a reversal was under way.
    Nothing,
    /// An approval, and no reversal under way.
    Approval,
    /// The issuer has not answered, and no reversal is under way.
    Unanswered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// An obligation, then 00 (D7, D8).
    Reverse(Rule),
    /// 00, kept as evidence (D9, D10).
    Keep(Rule),
    /// A person decides; 64 or 00 (D12).
    Operator(ResponseCode),
    /// An obligation beside the state, then 00 (D13).
    ReversePart,
}

#[derive(Debug)]
struct Row {
    state: &'static [StateKind],
    held: &'static [Held],
    differs: &'static [Differs],
    then: Decision,
}

use StateKind as S;

const ANY_HELD: &[Held] = &[];
const ANY: &[Differs] = &[];
const STANDING: &[StateKind] = &[S::AwaitingDelivery, S::AwaitingConfirmation, S::Confirmed];
const ENDED_OR_OWED: &[StateKind] = &[S::AwaitingReversalAck, S::Unwound, S::Resolved];

/// Section 6, the rows for reversals whose original is known.
#[rustfmt::skip]
const REVERSALS: &[Row] = &[
    Row { state: &[S::AwaitingIssuer, S::AwaitingDelivery], held: ANY_HELD, differs: &[Differs::No], then: Decision::Reverse(Rule::D7) },
    Row { state: &[S::AwaitingConfirmation, S::Confirmed], held: ANY_HELD, differs: &[Differs::No], then: Decision::Reverse(Rule::D8) },
    Row { state: &[S::NeedsOperator], held: &[Held::Approval], differs: &[Differs::No], then: Decision::Reverse(Rule::D8) },
    // The right reversal of an unanswered original is D7's, although a wrong one came before it.
    Row { state: &[S::NeedsOperator], held: &[Held::Unanswered], differs: &[Differs::No], then: Decision::Reverse(Rule::D7) },
    Row { state: &[S::NeedsOperator], held: &[Held::Nothing], differs: ANY, then: Decision::Keep(Rule::D10) },
    Row { state: &[S::Declined], held: ANY_HELD, differs: ANY, then: Decision::Keep(Rule::D9) },
    Row { state: ENDED_OR_OWED, held: ANY_HELD, differs: ANY, then: Decision::Keep(Rule::D10) },
    Row { state: STANDING, held: ANY_HELD, differs: &[Differs::Part], then: Decision::ReversePart },
    Row { state: STANDING, held: ANY_HELD, differs: &[Differs::PartAgain], then: Decision::Keep(Rule::D10) },
    Row { state: STANDING, held: ANY_HELD, differs: &[Differs::Amount], then: Decision::Operator(ResponseCode::ORIGINAL_AMOUNT_WRONG) },
    Row { state: STANDING, held: ANY_HELD, differs: &[Differs::Which], then: Decision::Operator(ResponseCode::APPROVED) },
    Row { state: &[S::AwaitingIssuer], held: ANY_HELD, differs: &[Differs::Amount, Differs::Part, Differs::PartAgain], then: Decision::Operator(ResponseCode::ORIGINAL_AMOUNT_WRONG) },
    Row { state: &[S::AwaitingIssuer], held: ANY_HELD, differs: &[Differs::Which], then: Decision::Operator(ResponseCode::APPROVED) },
    Row { state: &[S::NeedsOperator], held: &[Held::Approval, Held::Unanswered], differs: &[Differs::Amount, Differs::Part, Differs::PartAgain], then: Decision::Operator(ResponseCode::ORIGINAL_AMOUNT_WRONG) },
    Row { state: &[S::NeedsOperator], held: &[Held::Approval, Held::Unanswered], differs: &[Differs::Which], then: Decision::Operator(ResponseCode::APPROVED) },
];

fn matches(row: &Row, state: StateKind, held: Held, differs: Differs) -> bool {
    takes(row.state, state) && takes(row.held, held) && takes(row.differs, differs)
}

/// What a reversal says of its original.
#[derive(Clone, Copy)]
pub(crate) struct Reference {
    pub(crate) terminal: TerminalId,
    pub(crate) stan: Stan,
    class: Option<Class>,
    transmitted: Option<[u8; 10]>,
    rrn: Option<Rrn>,
    approval: Option<[u8; 6]>,
    local_time: Option<[u8; 10]>,
    /// DE4, in minor units.
    minor: Option<u64>,
    /// DE49.
    currency: Option<Currency>,
    /// DE95: what is to remain, in minor units; 0 for a full reversal.
    remains_minor: u64,
    /// Neither DE90 nor DE61 names the original: its STAN may be the reversal's own.
    by_own_stan: bool,
    repeat: bool,
}

impl Reference {
    /// The original by DE90, else DE61, else the message's own DE11 (section 6).
    pub(crate) fn read(message: &Fields) -> Option<Reference> {
        let by_original = message.get(90).filter(|original| original.len() == 42 && original[4..10] != *b"000000");
        let by_batch = message.get(61).filter(|original| original.len() >= 12);
        let stan = match (by_original, by_batch) {
            (Some(original), _) => &original[4..10],
            (None, Some(original)) => &original[6..12],
            (None, None) => message.get(11)?,
        };
        let named = by_original.and_then(|original| iso8583::Mti::try_from(&original[..4]).ok()).and_then(Class::of);
        let class = named.or(Class::of_any(message.mti()));
        let transmitted: Option<[u8; 10]> = by_original.and_then(|original| original[10..20].try_into().ok());
        Some(Reference {
            terminal: terminal_of(message)?,
            stan: Stan::try_from(stan).ok()?,
            class,
            transmitted: transmitted.filter(|digits| *digits != [b'0'; 10]),
            rrn: message.get(37).filter(|text| says_something(text)).and_then(|text| Rrn::try_from(text).ok()),
            approval: message.get(38).filter(|text| says_something(text)).and_then(|text| text.try_into().ok()),
            local_time: local_time(message),
            minor: message.text(4).and_then(|digits| digits.parse().ok()),
            currency: message.get(49).and_then(|digits| Currency::try_from(digits).ok()),
            remains_minor: remains_minor(message)?,
            by_own_stan: by_original.is_none() && by_batch.is_none(),
            repeat: message.mti().is_repeat(),
        })
    }

    /// Nothing that identifies a transaction contradicts this one. DE12 and DE13 can be the reversal's own: they prove, and
    /// never contradict.
    fn can_mean(&self, movement: &Movement) -> bool {
        let approved = movement.answer.as_ref().is_some_and(|held| held.approval.is_some());
        self.rrn.is_none_or(|rrn| movement.is_named_by(rrn))
            && self.approval.is_none_or(|approval| !approved || movement.is_approved_by(approval))
            && agrees(self.transmitted, movement.terminal_transmitted)
    }

    /// RRN or approval code name this very transaction.
    fn names(&self, movement: &Movement) -> bool {
        self.rrn.is_some_and(|rrn| movement.is_named_by(rrn))
            || self.approval.is_some_and(|approval| movement.is_approved_by(approval))
    }

    /// They, or the original's time, prove it.
    fn proves(&self, movement: &Movement) -> bool {
        self.names(movement)
            || names(self.transmitted, movement.terminal_transmitted)
            || names(self.local_time, movement.local_time)
    }

    /// The amount is the requested or the approved one, or what remains of it; in its currency, where one is carried.
    fn amount_fits(&self, movement: &Movement) -> bool {
        let asked = movement.fingerprint.amount;
        let one_of = [Some(asked.minor()), Some(movement.amount().minor()), movement.remains_minor];
        self.currency.is_none_or(|currency| currency == asked.currency())
            && self.minor.is_none_or(|minor| one_of.contains(&Some(minor)))
    }

    /// The amount for a tombstone, where it is said in full.
    fn amount(&self) -> Option<Amount> {
        Amount::new(self.minor?, self.currency?).ok()
    }

    /// How much of an amount that fits is to be undone (D8, D12, D13).
    fn difference(&self, movement: &Movement) -> Differs {
        let stands_minor = movement.remains_minor.unwrap_or(movement.amount().minor());
        match self.remains_minor {
            0 => Differs::No,
            remains_minor if Some(remains_minor) == movement.remains_minor => Differs::PartAgain,
            remains_minor if remains_minor < stands_minor => Differs::Part,
            // A repeat that a later part has overtaken: more than it asks for is undone already.
            remains_minor if self.repeat && remains_minor < movement.amount().minor() => Differs::PartAgain,
            _ => Differs::Amount,
        }
    }
}

/// DE95: what is to remain, in minor units; 0 for a full reversal, which zeros and blanks say too. `None` for what cannot be
/// read: taken for a full reversal it would undo what the terminal keeps.
fn remains_minor(message: &Fields) -> Option<u64> {
    match message.get(95).filter(|text| says_something(text)) {
        None => Some(0),
        Some(text) => {
            let digits = text.get(..12).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
            let minor: u64 = core::str::from_utf8(digits).ok()?.parse().ok()?;
            // Nothing is to remain, but something of the settlement amount.
            let settled = text.get(12..).is_some_and(|rest| says_something(&rest[..rest.len().min(12)]));
            (minor > 0 || !settled).then_some(minor)
        }
    }
}

fn agrees<T: PartialEq>(carried: Option<T>, held: Option<T>) -> bool {
    carried.is_none() || held.is_none() || carried == held
}

fn names<T: PartialEq>(carried: Option<T>, held: Option<T>) -> bool {
    carried.is_some() && carried == held
}

/// Which movement a reversal means.
pub(crate) enum Original {
    None,
    One(MovementId, Differs),
    /// Not recent and not proved, but of this STAN and amount, and it may stand.
    Older(MovementId),
}

impl Switch {
    pub(crate) fn terminal_reversal(&mut self, now: Now, arrival: Arrival, out: &mut Output) {
        let Some(reference) = Reference::read(&arrival.message) else {
            return self.refuse(now, &arrival, None, ResponseCode::FORMAT_ERROR, out);
        };
        // A request that waits for a look-up will not become an intent any more (section 6); it may be the repeat of what
        // this reversal means, which is looked for all the same.
        self.look_ups.cancel(reference.terminal, reference.stan, reference.class);
        let original = self.original(now, &arrival, &reference);
        if !matches!(original, Original::One(..)) && self.state.let_go && !arrival.looked_up {
            return self.look_up(now, reference.stan, reference.terminal, None, arrival, out);
        }
        match original {
            Original::One(id, differs) => self.reverse_known(now, (id, differs), &reference, &arrival, out),
            // Too little to reverse it on. And the original that is really meant may still come.
            Original::Older(id) => {
                if self.bury(now, &arrival, &reference, out).is_some() {
                    self.reverse_known(now, (id, Differs::Which), &reference, &arrival, out);
                }
            }
            Original::None => {
                if let Some(after) = self.bury(now, &arrival, &reference, out) {
                    self.answer_reversal(now, &arrival, ResponseCode::APPROVED, None, after, out);
                }
            }
        }
    }

    /// The candidates that nothing contradicts; of those the newest, if it is recent or proved. What is left but cannot be
    /// told apart, or differs in amount or card, is named with the difference (D12).
    pub(crate) fn original(&self, now: Now, arrival: &Arrival, reference: &Reference) -> Original {
        let window_ms = self.config.group(arrival.group).repeat_window_ms;
        let of_stan = [Class::Authorisation, Class::Financial].into_iter().flat_map(|class| {
            self.of_key(crate::movement::Key { terminal: reference.terminal, stan: reference.stan, class })
        });
        let recent = |movement: &Movement| now.wall_ms.saturating_sub(movement.begun_wall_ms) < window_ms;
        let agrees = |movement: &Movement| reference.amount_fits(movement) && card_fits(movement, arrival);
        let of_stan: Vec<&Movement> = of_stan.collect();
        // RRN and approval code of an answer name their transaction whatever STAN the reversal has. So does the switch's RRN
        // alone where the message names no other STAN, and nothing else could be meant by its own.
        let unclear = !reference.by_own_stan || of_stan.iter().any(|movement| recent(movement) && agrees(movement));
        let named = self.named_by(reference).filter(|movement| {
            let approved = reference.approval.is_some_and(|approval| movement.is_approved_by(approval));
            let by_rrn = reference.rrn == Some(movement.rrn) && !unclear;
            movement.key.stan != reference.stan && (approved || by_rrn)
        });
        let of_terminal: Vec<&Movement> = of_stan
            .into_iter()
            .chain(named)
            .filter(|movement| now.wall_ms.saturating_sub(movement.begun_wall_ms) < self.config.reversal_lookback_ms)
            .collect();
        let mut candidates: Vec<&Movement> = of_terminal
            .iter()
            .copied()
            .filter(|movement| reference.class.is_none_or(|class| class == movement.key.class))
            .filter(|movement| reference.can_mean(movement) || self.said_by_a_repeat(reference, movement))
            .collect();
        candidates.sort_by_key(|movement| core::cmp::Reverse(movement.id));
        let nearby = |movement: &&&Movement| recent(movement) || reference.proves(movement);
        let fits = |movement: &&&Movement| agrees(movement);

        let fitting: Vec<&&Movement> = candidates.iter().filter(nearby).filter(fits).collect();
        if let Some(newest) = fitting.first() {
            let proved = reference.proves(newest);
            let two_classes = fitting.iter().any(|other| other.key.class != newest.key.class);
            // D4 concerns reversals: a completion can only mean what was approved.
            let reversal = !is_completion(arrival.message.mti());
            let unproved_contest = reversal && newest.contested && !proves_which(newest, reference, arrival);
            let unclear = (two_classes && !proved) || unproved_contest;
            return Original::One(newest.id, if unclear { Differs::Which } else { reference.difference(newest) });
        }
        let decidable = |movement: &&&Movement| {
            !matches!(movement.state, StateKind::Declined | StateKind::Unwound | StateKind::AwaitingReversalAck)
        };
        if let Some(differing) = candidates.iter().filter(decidable).find(nearby) {
            let amount = !reference.amount_fits(differing);
            return Original::One(differing.id, if amount { Differs::Amount } else { Differs::Which });
        }
        // A recent one of this very STAN, amount and card that something contradicts: 00 would say that nothing stands (I8).
        let contradicted = |movement: &&&Movement| movement.is_open() || movement.approval_held();
        if let Some(doubtful) = of_terminal.iter().filter(|m| recent(m)).filter(fits).find(contradicted) {
            return Original::One(doubtful.id, Differs::Which);
        }
        let stands = |movement: &&&Movement| !matches!(movement.state, StateKind::Declined | StateKind::Unwound);
        match candidates.iter().filter(fits).find(stands) {
            Some(older) => Original::Older(older.id),
            None => Original::None,
        }
    }

    /// A second approval that was being undone (T7) is not undone by the reversal that takes its place: a person hears of it.
    pub(crate) fn list_replaced_promise(&mut self, now: Now, id: MovementId, out: &mut Output) {
        self.list_undecided_approval(now, id, out);
        let open =
            self.movement(id).and_then(|movement| movement.obligation.as_ref()).filter(|obligation| !obligation.ended);
        if open.is_some_and(|obligation| matches!(obligation.scope, Scope::Approval { .. })) {
            self.movement_exception(now, id, Rule::T7, out);
        }
    }

    /// Nor is one that a person was to decide on, when another rule takes the case over.
    pub(crate) fn list_undecided_approval(&mut self, now: Now, id: MovementId, out: &mut Output) {
        if self.movement(id).is_some_and(|movement| movement.operator_rule == Some(Rule::T7)) {
            self.movement_exception(now, id, Rule::T7, out);
        }
    }

    /// The terminal's movement of the RRN that the reversal carries: the switch's, or else the terminal's own.
    fn named_by(&self, reference: &Reference) -> Option<&Movement> {
        let rrn = reference.rrn?;
        let id = self.state.by_rrn.get(&rrn).or_else(|| self.state.by_terminal_rrn.get(&(reference.terminal, rrn)))?;
        self.movement(*id).filter(|movement| movement.key.terminal == reference.terminal)
    }

    /// A repeat of the movement carried the time that the reversal names: terminals that make DE7 anew.
    fn said_by_a_repeat(&self, reference: &Reference, movement: &Movement) -> bool {
        let said = self.repeat_times.get(&movement.id);
        said.is_some()
            && reference.transmitted == said.copied()
            && Reference { transmitted: None, ..*reference }.can_mean(movement)
    }

    fn reverse_known(
        &mut self,
        now: Now,
        (id, differs): (MovementId, Differs),
        reference: &Reference,
        arrival: &Arrival,
        out: &mut Output,
    ) {
        let Some(movement) = self.movement(id) else { return };
        let differs = match differs {
            Differs::Amount if on(Mutant::AnyAmount) => Differs::No,
            Differs::No | Differs::Amount | Differs::Part | Differs::PartAgain | Differs::Which => differs,
        };
        let held = match (movement.owes(), &movement.answer) {
            (false, Some(answer)) if answer.moved => Held::Approval,
            (false, None) => Held::Unanswered,
            (false, Some(_)) | (true, _) => Held::Nothing,
        };
        let state = movement.state;
        let row = decide(REVERSALS, |row| matches(row, state, held, differs));
        let code = match row.then {
            Decision::Reverse(_) if on(Mutant::PromiseNothing) => ResponseCode::APPROVED,
            Decision::ReversePart if on(Mutant::PartIsNothing) => ResponseCode::APPROVED,
            Decision::Reverse(rule) => {
                self.note_decided(rule.name(), id, out);
                // Nothing more is sent for the original: whoever waits for it is not answered (D7).
                self.stop_waiting(id);
                self.oblige(now, id, rule, Reason::CustomerCancel, out);
                ResponseCode::APPROVED
            }
            Decision::Keep(rule) => {
                self.note_decided(rule.name(), id, out);
                // A part again says nothing of what remains: a repeat of the sale still gets its approval (D2, D13).
                if differs != Differs::PartAgain {
                    self.write(now, Record::ReversalSeen { id }, out);
                }
                if state == StateKind::Resolved {
                    self.movement_exception(now, id, rule, out);
                }
                ResponseCode::APPROVED
            }
            Decision::ReversePart => {
                self.note_decided(Rule::D13.name(), id, out);
                self.seen_by_terminal(now, id, out);
                let scope = Scope::AllBut { remains_minor: reference.remains_minor };
                self.promise(now, id, (Rule::D13, Reason::PartlyCompleted, scope), out);
                ResponseCode::APPROVED
            }
            Decision::Operator(code) => {
                self.note_decided(Rule::D12.name(), id, out);
                if reference.approval.is_some_and(|code| self.movement(id).is_some_and(|m| m.is_approved_by(code))) {
                    self.seen_by_terminal(now, id, out);
                }
                self.leave_to_operator(now, id, Rule::D12, out);
                code
            }
        };
        let after = self.movement(id).map_or(self.state.lsn, |movement| movement.last_record);
        let after = if on(Mutant::AnswerBeforePromise) { Lsn(0) } else { after };
        self.answer_reversal(now, arrival, code, Some(id), after, out);
    }

    /// D11: nothing that could come later will be executed. `None` when the terminal has too many tombstones: without its
    /// record 00 would be a promise that nobody keeps, so it gets 96.
    fn bury(&mut self, now: Now, arrival: &Arrival, reference: &Reference, out: &mut Output) -> Option<Lsn> {
        let (Reference { terminal, stan, class, .. }, amount) = (*reference, reference.amount());
        let quota = self.config.group(arrival.group).tombstones_max;
        let known = self.state.tombstones.contains_key(&(terminal, stan));
        if !known && self.state.tombstones_of(terminal, now.wall_ms.saturating_sub(self.config.tombstone_life_ms)) >= quota {
            self.note(Note::Exception { rule: Rule::D11.name(), rrn: None }, out);
            self.answer_reversal(now, arrival, ResponseCode::SYSTEM_MALFUNCTION, None, Lsn(0), out);
            return None;
        }
        self.note(Note::Decided { rule: Rule::D11.name(), rrn: None }, out);
        if on(Mutant::NoTombstone) {
            return Some(Lsn(0));
        }
        Some(self.write(now, Record::Tombstone { terminal, stan, class, amount }, out))
    }

    fn answer_reversal(
        &mut self,
        now: Now,
        arrival: &Arrival,
        code: ResponseCode,
        id: Option<MovementId>,
        after: Lsn,
        out: &mut Output,
    ) {
        let echo = message::echo_of(&arrival.message, self.config.group(arrival.group).echo_pan);
        let movement = id.and_then(|id| self.movement(id));
        let rrn = movement.map(|movement| movement.rrn);
        let answer = message::answer(&echo, code, movement, false);
        self.answer_terminal(arrival.conn, answer, after, out);
        self.note(answered(now, arrival, code, rrn), out);
    }
}

/// The card, where the reversal carries one, is the movement's: by HMAC.
fn card_fits(movement: &Movement, arrival: &Arrival) -> bool {
    match (arrival.card, movement.card) {
        (Some(carried), Some(held)) => carried.hmac == held.hmac,
        (None, _) => card_agrees(movement, &arrival.message),
        (Some(_), None) => true,
    }
}

/// PAN, 37 or 38 say which of the uses of a contested key is meant (D4).
fn proves_which(movement: &Movement, reference: &Reference, arrival: &Arrival) -> bool {
    let card = names(arrival.card.map(|card| card.hmac), movement.card.map(|card| card.hmac));
    card || reference.names(movement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::assert_one_row;

    #[test]
    fn every_reversal_matches_exactly_one_row() {
        for state in StateKind::ALL {
            for held in [Held::Nothing, Held::Approval, Held::Unanswered] {
                for differs in [Differs::No, Differs::Amount, Differs::Part, Differs::PartAgain, Differs::Which] {
                    assert_one_row(REVERSALS, &(state, held, differs), |row| matches(row, state, held, differs));
                }
            }
        }
    }
}
