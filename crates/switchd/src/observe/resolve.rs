//! An operator's decision on its way to the core: judged in form, given a number, answered when it is durable.
//!
//! Whether it may be taken is the core's to say (section 2). Invariant: what is written down for ever names who and why,
//! and no card.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use switch::{AskId, Case, Input, Lsn, Refusal, Resolution, Switch};
use tokio::sync::oneshot;

use super::json::{self, MovementJson};

/// The most bytes of `who` and of `why` that a record takes.
const TEXT_MAX: usize = 255;

/// An order as `switchd resolve` sends it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrderJson {
    /// What is decided.
    pub(crate) resolution: Wish,
    /// What stands, minor units; with `adjusted-elsewhere` only.
    pub(crate) amount: Option<u64>,
    /// Who decides.
    pub(crate) who: String,
    /// Why.
    pub(crate) why: String,
}

/// The ways to decide, as a person writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Wish {
    /// It happened and stays; unsent reversals are withdrawn.
    Stands,
    /// Reverse it.
    Undo,
    /// It was undone by other means.
    UndoneElsewhere,
    /// It was corrected by other means, to --amount.
    AdjustedElsewhere,
}

/// What is wrong with the form of an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongOrder {
    /// An adjustment has an amount.
    #[error("adjusted-elsewhere needs an amount; next: say what stands with --amount, in minor units")]
    NoAmount,
    /// Nothing else has one.
    #[error("an amount goes with adjusted-elsewhere only; next: leave --amount out")]
    Amount,
    /// Empty, too long, or not one line.
    #[error("{0} must be one line of 1 to {TEXT_MAX} bytes")]
    Text(&'static str),
    /// It would be stored in clear.
    #[error(
        "{0} holds what may be a card number, and is stored in clear; next: say it in other words, a movement by its RRN"
    )]
    CardNumber(&'static str),
}

impl OrderJson {
    /// What the core is asked for.
    pub(crate) fn judge(&self) -> Result<Resolution, WrongOrder> {
        for (name, text) in [("who", &self.who), ("why", &self.why)] {
            one_line(name, text)?;
        }
        match (self.resolution, self.amount) {
            (Wish::Stands, None) => Ok(Resolution::Stands),
            (Wish::Undo, None) => Ok(Resolution::Undo),
            (Wish::UndoneElsewhere, None) => Ok(Resolution::UndoneElsewhere),
            (Wish::AdjustedElsewhere, Some(minor)) => Ok(Resolution::AdjustedElsewhere { minor }),
            (Wish::AdjustedElsewhere, None) => Err(WrongOrder::NoAmount),
            (Wish::Stands | Wish::Undo | Wish::UndoneElsewhere, Some(_)) => Err(WrongOrder::Amount),
        }
    }
}

/// Whether a text of an operator may be written down: one line, not too long, and no card number in it.
pub(crate) fn one_line(name: &'static str, text: &str) -> Result<(), WrongOrder> {
    if text.trim().is_empty() || text.len() > TEXT_MAX || text.chars().any(char::is_control) {
        return Err(WrongOrder::Text(name));
    }
    if may_hold_a_card(text) { Err(WrongOrder::CardNumber(name)) } else { Ok(()) }
}

/// The digits of a card number: at least, at most.
const CARD_DIGITS: std::ops::RangeInclusive<usize> = 13..=19;

/// 13 digits or more in a row (an RRN has 12), or 13 to 19 with a right check digit, however they are set apart: whatever is
/// neither letter nor digit may stand between. Nine in ten numbers that are no card's fail the check digit; the others are
/// refused for nothing, and said in other words.
fn may_hold_a_card(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_alphanumeric() && !letter.is_ascii_digit();
    text.split(is_letter).any(|numbers| {
        let groups: Vec<&str> = numbers.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).collect();
        (0..groups.len()).any(|from| begins_a_card(&groups[from..]))
    })
}

/// Whether the first of these groups of digits, or it and some that follow, may be a card number.
fn begins_a_card(groups: &[&str]) -> bool {
    let mut digits = String::new();
    for group in groups {
        digits.push_str(group);
        let whole = CARD_DIGITS.contains(&digits.len()) && passes_luhn(&digits);
        if whole || group.len() >= *CARD_DIGITS.start() {
            return true;
        }
        if digits.len() > *CARD_DIGITS.end() {
            return false;
        }
    }
    false
}

/// Whether the last digit is the check digit of the others.
fn passes_luhn(digits: &str) -> bool {
    let doubled = |value: u8| if value > 4 { 2 * value - 9 } else { 2 * value };
    let values = digits.bytes().rev().map(|digit| digit - b'0');
    let sum: u32 = (0..).zip(values).map(|(at, value)| u32::from(if at % 2 == 1 { doubled(value) } else { value })).sum();
    sum.is_multiple_of(10)
}

/// An order for the engine.
#[derive(Debug)]
pub(crate) struct Order {
    /// Which movement or entry.
    pub(crate) case: Case,
    /// What is decided.
    pub(crate) resolution: Resolution,
    /// Who decides.
    pub(crate) who: String,
    /// Why.
    pub(crate) why: String,
    /// Who waits; may be gone, which changes nothing.
    pub(crate) reply: Reply,
}

/// Takes the movement after the decision, where there is one in memory, or why it was not taken.
type Reply = oneshot::Sender<Result<Option<MovementJson>, Refusal>>;

/// How an entry for a person is named: by the number of its record.
const ENTRY: &str = "entry-";

/// The name of an entry.
pub(crate) fn entry_name(entry: Lsn) -> String {
    format!("{ENTRY}{}", entry.0)
}

/// The digits of an entry's number: at most those of an RRN, so that no card number passes for one into a log.
const ENTRY_DIGITS: std::ops::RangeInclusive<usize> = 1..=12;

/// What a person names: an RRN, or an entry of the list.
pub(crate) fn case(text: &str) -> Option<Case> {
    match text.strip_prefix(ENTRY) {
        Some(number) => {
            let fits = ENTRY_DIGITS.contains(&number.len()) && number.bytes().all(|digit| digit.is_ascii_digit());
            number.parse().ok().filter(|_| fits).map(|number| Case::Entry(Lsn(number)))
        }
        None => text.parse().ok().map(Case::Movement),
    }
}

/// The same for people.
fn shown(case: Case) -> String {
    match case {
        Case::Movement(rrn) => rrn.to_string(),
        Case::Entry(entry) => entry_name(entry),
    }
}

/// Orders that the core has not answered.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    open: RefCell<BTreeMap<AskId, (Case, Reply)>>,
    given: Cell<u64>,
}

impl Orders {
    /// Numbers an order for the core.
    pub(crate) fn input(&self, order: Order) -> Input {
        let Order { case, resolution, who, why, reply } = order;
        tracing::info!(target: "audit", case = shown(case), resolution = resolution.name(), who, why, "an operator decides");
        let ask = AskId(self.given.get());
        self.given.set(ask.0 + 1);
        self.open.borrow_mut().insert(ask, (case, reply));
        Input::Resolve { ask, case, resolution, who, why }
    }

    /// Answers one.
    pub(crate) fn answer(&self, view: &Switch, ask: AskId, result: Result<(), Refusal>) {
        let Some((case, reply)) = self.open.borrow_mut().remove(&ask) else { return };
        match result {
            Ok(()) => tracing::info!(target: "audit", case = shown(case), "the operator's decision is on record"),
            Err(refusal) => {
                tracing::warn!(target: "audit", case = shown(case), %refusal, "the operator's decision is refused")
            }
        }
        let movement = || match case {
            Case::Movement(rrn) => view.movement_by_rrn(&rrn).map(json::movement),
            Case::Entry(_) => None,
        };
        let _ = reply.send(result.map(|()| movement()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(resolution: Wish, amount: Option<u64>, why: &str, judged: Result<Resolution, WrongOrder>) {
        let order = OrderJson { resolution, amount, who: "Ann".to_owned(), why: why.to_owned() };
        assert_eq!(order.judge(), judged, "{order:?}");
    }

    #[test]
    fn an_rrn_or_an_entry_is_named() {
        assert_eq!(case("632610000001"), "632610000001".parse().ok().map(Case::Movement));
        assert_eq!(case("entry-41"), Some(Case::Entry(Lsn(41))));
        assert_eq!(case(&entry_name(Lsn(41))), Some(Case::Entry(Lsn(41))));
        for wrong in ["", "entry-", "entry-x", "entry--1", "entry_41", "63261/000001"] {
            assert_eq!(case(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_amount_goes_with_an_adjustment_and_nothing_else() {
        check(Wish::Stands, None, "seen", Ok(Resolution::Stands));
        check(Wish::Undo, None, "seen", Ok(Resolution::Undo));
        check(Wish::UndoneElsewhere, None, "seen", Ok(Resolution::UndoneElsewhere));
        check(Wish::AdjustedElsewhere, Some(5), "seen", Ok(Resolution::AdjustedElsewhere { minor: 5 }));
        check(Wish::AdjustedElsewhere, None, "seen", Err(WrongOrder::NoAmount));
        check(Wish::Stands, Some(5), "seen", Err(WrongOrder::Amount));
    }

    #[test]
    fn section_10_a_card_number_names_no_movement_and_no_entry() {
        assert_eq!(case("entry-41"), Some(Case::Entry(Lsn(41))));
        assert_eq!(case("entry-999999999999"), Some(Case::Entry(Lsn(999_999_999_999))));
        assert!(matches!(case("632610000001"), Some(Case::Movement(_))));
        for typed in ["entry-4000001234567899", "entry-4000001234567", "entry-+41", "entry-", "4000001234567899"] {
            assert_eq!(case(typed), None, "{typed}");
        }
    }

    #[test]
    fn who_and_why_are_one_line_that_a_record_takes() {
        let text = Err(WrongOrder::Text("why"));
        check(Wish::Stands, None, "", text.clone());
        check(Wish::Stands, None, "  ", text.clone());
        check(Wish::Stands, None, "a\nb", text.clone());
        check(Wish::Stands, None, &"x".repeat(256), text);
        check(Wish::Stands, None, &"x".repeat(255), Ok(Resolution::Stands));
    }

    #[test]
    fn a_card_number_is_not_stored_in_clear() {
        let card = Err(WrongOrder::CardNumber("why"));
        for number in [
            "4000001234567899",
            "4000 0012 3456 7899.",
            "4000  0012  3456  7899",
            "4000.0012.3456.7899",
            "4000/0012/3456/7899",
            "4000_0012_3456_7899",
            "4000 - 0012 - 3456 - 7899",
            "4000\u{a0}0012\u{2013}3456\u{a0}7899",
            "(400000) 1234567899",
            "400000123456, 7899",
            "4 0 0 0 0 0 1 2 3 4 5 6 7 8 9 9",
            "3782-822463-10005",
            // The groups around it do not hide it.
            "12 34 4000 0012 3456 7899 56",
            "632610000001 4000 0012 3456 7899",
            // No card's check digit, and more than anything else has.
            "4000001234567890",
            "40000012345678990000",
        ] {
            check(Wish::Stands, None, &format!("card {number}"), card.clone());
            check(Wish::Stands, None, &format!("card{number}x"), card.clone());
        }
        check(Wish::Stands, None, "see 632610000001 632610000002, 2026-11-22 10:15", Ok(Resolution::Stands));
        check(Wish::Stands, None, "4000 0012 3456 7890", Ok(Resolution::Stands));
        check(Wish::Stands, None, "4000a0012b3456c7899", Ok(Resolution::Stands));
        check(Wish::Stands, None, "call 0800 123456", Ok(Resolution::Stands));
    }
}
