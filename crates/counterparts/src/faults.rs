//! Rules by which a mock issuer misbehaves on purpose.
//!
//! Not behaviour of an issuer: an [`Issuer`](crate::issuer::Issuer) asks for the first rule that
//! matches a message and obeys. Invariant: the same rules, seed and messages give the same faults.
//!
//! In JSON a rule is
//! `{"match": {"card_suffix": "0042", "mti_class": "reversal"}, "times": 2, "do": "ignore"}`;
//! an absent `match` member matches everything, an absent `times` has no end, and `do` is one of
//! `"ignore"`, `{"silence": "after_ledger"}`, `{"cut": "before_ledger"}`, `{"delay_ms": 500}`,
//! `{"late_ms": 500}`, `{"answer": "91"}`, `{"answer_moved": "96"}`, `{"partial_percent": 60}`,
//! `{"double": {"approval": "other", "after_ms": 50}}`, `{"wrong": "stan"}`,
//! `{"garbage": "after_ledger"}`, `{"half": "after_ledger"}`, `{"half_and_silence": "after_ledger"}`,
//! `{"impossible_length": "after_ledger"}`, `"cut_others"`, `"other_connection"`,
//! `{"down": {"side": "before_ledger", "for_ms": 3000}}`. One rule does one thing; each of them may
//! come late: `{"late": {"by_ms": 500, "of": {"partial_percent": 60}}}`.

use iso8583::ResponseCode;
use serde::{Deserialize, Serialize};

use crate::card::Card;
use crate::seeded::Seeded;

/// One rule: what it matches, how often it acts, what it does.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which messages.
    #[serde(rename = "match", default)]
    pub matches: Match,
    /// How many more times it acts; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// What it does.
    #[serde(rename = "do")]
    pub fault: Fault,
    /// How often it has acted; a count that is put in goes on from there.
    #[serde(default)]
    pub acted: u64,
}

impl Rule {
    /// A rule that does `fault` to every message that `matches`, without end.
    #[must_use]
    pub fn new(matches: Match, fault: Fault) -> Self {
        Self { matches, times: None, fault, acted: 0 }
    }

    /// The same rule, acting `times` times.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }
}

/// Which messages a rule is for. All members that are present must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The whole card number (DE2); shown masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Card>,
    /// The last digits of the card number, at most 4 so that a rule can be shown.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "suffix")]
    pub card_suffix: Option<String>,
    /// DE4 in minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<u64>,
    /// The kind of message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mti_class: Option<MtiClass>,
    /// DE41 without trailing spaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
    /// The probability (0 to 1) of acting on a message that otherwise matches.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "probability")]
    pub rate: Option<f64>,
}

fn suffix<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    if let Some(text) = &text
        && (text.is_empty() || text.len() > 4 || !text.bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(serde::de::Error::custom("card_suffix is 1 to 4 digits"));
    }
    Ok(text)
}

fn probability<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let rate = Option::<f64>::deserialize(deserializer)?;
    if rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
        return Err(serde::de::Error::custom("rate is 0 to 1"));
    }
    Ok(rate)
}

/// The kind of a message, by its MTI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MtiClass {
    /// 0100, 0101, 0200, 0201.
    Request,
    /// 0400, 0401, 0420, 0421.
    Reversal,
    /// 0800, 0820.
    Network,
}

/// On which side of the ledger's movement a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Nothing moves.
    BeforeLedger,
    /// The ledger has moved as if nothing were wrong.
    AfterLedger,
}

/// What a rule does to a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// As if the message had not come: silence before the ledger.
    Ignore,
    /// No answer.
    Silence(Side),
    /// The connection is closed instead of an answer.
    Cut(Side),
    /// The message is judged this many milliseconds later, ledger and answer alike.
    DelayMs(u64),
    /// The ledger moves at once, the answer leaves this many milliseconds later.
    LateMs(u64),
    /// Another fault whose ledger moves at once, and all that the peer sees of it comes later.
    Late {
        /// So many milliseconds later.
        by_ms: u64,
        /// Late itself, or any other.
        of: Box<Fault>,
    },
    /// This code in DE39, and the ledger does not move. 00 to a reversal: answered as done, and
    /// nothing was.
    Answer(#[serde(with = "crate::text")] ResponseCode),
    /// The ledger moves as if nothing were wrong, and this code is in DE39; without DE38 and DE54
    /// unless the code approves.
    AnswerMoved(#[serde(with = "crate::text")] ResponseCode),
    /// A request that may be approved is approved for this share of its amount (1 to 99 per cent,
    /// at least one minor unit): code 10, the lesser amount in DE4 and in the ledger.
    PartialPercent(#[serde(deserialize_with = "percent")] u8),
    /// The answer, and then the answer again. The ledger moves once, but for
    /// [`Approval::SecondDebit`].
    Double {
        /// The second one's DE38.
        approval: Approval,
        /// Between the two; 0: both at once.
        after_ms: u64,
    },
    /// The ledger moves as if nothing were wrong, and the answer says something else.
    Wrong(Wrong),
    /// A frame of bytes that are no message, instead of an answer.
    Garbage(Side),
    /// Half of the answer's frame, and then the connection is closed.
    Half(Side),
    /// Half of the answer's frame, and then nothing more on this connection, which stays open.
    HalfAndSilence(Side),
    /// A frame that is announced longer than any message, and then nothing more on this connection,
    /// which stays open.
    ImpossibleLength(Side),
    /// The answer, and every other connection is closed.
    CutOthers,
    /// The answer leaves on the oldest of the line's other connections; it is lost when there is
    /// none.
    OtherConnection,
    /// Every connection of the message's line is closed, and new ones are refused for so long.
    Down {
        /// On which side of this message's movement.
        side: Side,
        /// Milliseconds.
        for_ms: u64,
    },
}

/// DE38 of a second answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// As in the first.
    Same,
    /// Another one, as if the request had been approved twice.
    Other,
    /// Another one, and the request was approved twice: the ledger has two debits (or holds), each
    /// with its DE38. Both answers are the same when nothing was approved.
    SecondDebit,
}

/// What an answer says wrongly. A data element that the answer does not carry stays absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wrong {
    /// DE11: half the numbers away, so that no request near it is meant.
    Stan,
    /// DE37.
    Rrn,
    /// DE2.
    Card,
    /// DE41.
    Terminal,
    /// DE4: one minor unit more.
    More,
    /// DE4: one minor unit less.
    Less,
    /// DE49.
    Currency,
}

fn percent<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let percent = u8::deserialize(deserializer)?;
    if !(1..=99).contains(&percent) {
        return Err(serde::de::Error::custom("partial_percent is 1 to 99"));
    }
    Ok(percent)
}

/// What the rules look at in a message.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The kind of message.
    pub class: MtiClass,
    /// Digits of DE2, or of DE35 up to its separator.
    pub card: Option<&'a str>,
    /// DE4 in minor units.
    pub amount: Option<u64>,
    /// DE41 without trailing spaces.
    pub terminal: Option<&'a str>,
}

/// The rules in force, in order, and the generator of their rates.
#[derive(Debug, Clone)]
pub struct Faults {
    rules: Vec<Rule>,
    seeded: Seeded,
}

impl Faults {
    /// No rules; rates draw from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rules: Vec::new(), seeded: Seeded::new(seed) }
    }

    /// Puts these rules in place of the ones in force.
    pub fn replace(&mut self, rules: Vec<Rule>) {
        self.rules = rules;
    }

    /// The rules in force, with what they have left and how often they acted.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The fault for this message: of the first rule that matches and has not run out.
    pub fn strike(&mut self, subject: &Subject<'_>) -> Option<Fault> {
        for rule in &mut self.rules {
            if rule.times == Some(0) || !rule.matches.holds(subject) {
                continue;
            }
            if rule.matches.rate.is_some_and(|rate| !self.seeded.chance(rate)) {
                continue;
            }
            rule.times = rule.times.map(|times| times - 1);
            rule.acted += 1;
            return Some(rule.fault.clone());
        }
        None
    }
}

impl Match {
    fn holds(&self, subject: &Subject<'_>) -> bool {
        let card = subject.card.unwrap_or("");
        self.card.as_ref().is_none_or(|wanted| wanted.digits() == card)
            && self.card_suffix.as_ref().is_none_or(|wanted| card.ends_with(wanted.as_str()))
            && self.amount.is_none_or(|wanted| Some(wanted) == subject.amount)
            && self.mti_class.is_none_or(|wanted| wanted == subject.class)
            && self.terminal.as_deref().is_none_or(|wanted| Some(wanted) == subject.terminal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALE: Subject<'_> =
        Subject { class: MtiClass::Request, card: Some("4000001234560042"), amount: Some(1250), terminal: Some("TERM0001") };

    #[track_caller]
    fn rule(json: &str) -> Rule {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }

    #[track_caller]
    fn check(matches: &str, subject: &Subject<'_>, expected: bool) {
        let mut faults = Faults::new(1);
        faults.replace(vec![rule(&format!(r#"{{"match": {matches}, "do": "ignore"}}"#))]);
        assert_eq!(faults.strike(subject).is_some(), expected, "{matches}");
    }

    #[test]
    fn every_member_of_a_match_must_hold() {
        check("{}", &SALE, true);
        check(r#"{"card": "4000001234560042"}"#, &SALE, true);
        check(r#"{"card": "4000001234560043"}"#, &SALE, false);
        check(r#"{"card_suffix": "42"}"#, &SALE, true);
        check(r#"{"card_suffix": "43"}"#, &SALE, false);
        check(r#"{"card_suffix": "42"}"#, &Subject { card: None, ..SALE }, false);
        check(r#"{"amount": 1250}"#, &SALE, true);
        check(r#"{"amount": 1251}"#, &SALE, false);
        check(r#"{"mti_class": "request"}"#, &SALE, true);
        check(r#"{"mti_class": "reversal"}"#, &SALE, false);
        check(r#"{"mti_class": "network"}"#, &SALE, false);
        check(r#"{"terminal": "TERM0001"}"#, &SALE, true);
        check(r#"{"terminal": "TERM0002"}"#, &SALE, false);
        check(r#"{"amount": 1250, "terminal": "TERM0002"}"#, &SALE, false);
    }

    #[test]
    fn each_fault_has_its_json() {
        let cases = [
            (r#""ignore""#, Fault::Ignore),
            (r#"{"silence":"before_ledger"}"#, Fault::Silence(Side::BeforeLedger)),
            (r#"{"cut":"after_ledger"}"#, Fault::Cut(Side::AfterLedger)),
            (r#"{"delay_ms":50}"#, Fault::DelayMs(50)),
            (r#"{"late_ms":60}"#, Fault::LateMs(60)),
            (
                r#"{"late":{"by_ms":60,"of":{"partial_percent":50}}}"#,
                Fault::Late { by_ms: 60, of: Box::new(Fault::PartialPercent(50)) },
            ),
            (r#"{"answer":"91"}"#, Fault::Answer(ResponseCode::ISSUER_UNAVAILABLE)),
            (r#"{"answer_moved":"96"}"#, Fault::AnswerMoved(ResponseCode::SYSTEM_MALFUNCTION)),
            (r#"{"partial_percent":60}"#, Fault::PartialPercent(60)),
            (r#"{"double":{"approval":"same","after_ms":0}}"#, Fault::Double { approval: Approval::Same, after_ms: 0 }),
            (r#"{"double":{"approval":"other","after_ms":5}}"#, Fault::Double { approval: Approval::Other, after_ms: 5 }),
            (
                r#"{"double":{"approval":"second_debit","after_ms":5}}"#,
                Fault::Double { approval: Approval::SecondDebit, after_ms: 5 },
            ),
            (r#"{"wrong":"stan"}"#, Fault::Wrong(Wrong::Stan)),
            (r#"{"wrong":"rrn"}"#, Fault::Wrong(Wrong::Rrn)),
            (r#"{"wrong":"card"}"#, Fault::Wrong(Wrong::Card)),
            (r#"{"wrong":"terminal"}"#, Fault::Wrong(Wrong::Terminal)),
            (r#"{"wrong":"more"}"#, Fault::Wrong(Wrong::More)),
            (r#"{"wrong":"less"}"#, Fault::Wrong(Wrong::Less)),
            (r#"{"wrong":"currency"}"#, Fault::Wrong(Wrong::Currency)),
            (r#"{"garbage":"before_ledger"}"#, Fault::Garbage(Side::BeforeLedger)),
            (r#"{"half":"after_ledger"}"#, Fault::Half(Side::AfterLedger)),
            (r#"{"half_and_silence":"after_ledger"}"#, Fault::HalfAndSilence(Side::AfterLedger)),
            (r#"{"impossible_length":"before_ledger"}"#, Fault::ImpossibleLength(Side::BeforeLedger)),
            (r#""cut_others""#, Fault::CutOthers),
            (r#""other_connection""#, Fault::OtherConnection),
            (r#"{"down":{"side":"after_ledger","for_ms":3000}}"#, Fault::Down { side: Side::AfterLedger, for_ms: 3000 }),
        ];
        for (json, fault) in cases {
            assert_eq!(rule(&format!(r#"{{"do": {json}}}"#)).fault, fault);
            assert_eq!(serde_json::to_string(&fault).unwrap(), json);
        }
    }

    #[test]
    fn an_unknown_member_is_refused() {
        let refused = |json| serde_json::from_str::<Rule>(json).is_err();
        assert!(refused(r#"{"match": {"cards": "1"}, "do": "ignore"}"#));
        assert!(refused(r#"{"do": "explode"}"#));
        assert!(refused(r#"{"match": {"card_suffix": "12345"}, "do": "ignore"}"#));
        assert!(refused(r#"{"do": {"partial_percent": 0}}"#));
        assert!(refused(r#"{"do": {"partial_percent": 100}}"#));
        assert!(refused(r#"{"do": {"wrong": "date"}}"#));
        assert!(refused(r#"{"do": {"late": {"by_ms": 1, "of": "explode"}}}"#));
        assert!(refused(r#"{"do": {"down": {"for_ms": 1}}}"#));
        assert!(refused(r#"{"do": {"double": {"approval": "same", "after_ms": 1, "times": 3}}}"#));
    }

    #[test]
    fn a_rule_acts_its_number_of_times_and_then_the_next_one_does() {
        let mut faults = Faults::new(1);
        let twice = Rule::new(Match::default(), Fault::Ignore).times(2);
        let then = Rule::new(Match::default(), Fault::Answer(ResponseCode::ISSUER_UNAVAILABLE));
        faults.replace(vec![twice, then]);
        let struck: Vec<_> = (0..4).filter_map(|_| faults.strike(&SALE)).collect();
        let answer = Fault::Answer(ResponseCode::ISSUER_UNAVAILABLE);
        assert_eq!(struck, [Fault::Ignore, Fault::Ignore, answer.clone(), answer]);
        assert_eq!(faults.rules()[0].times, Some(0));
        assert_eq!(faults.rules()[0].acted, 2);
        assert_eq!(faults.rules()[1].acted, 2);
    }

    #[test]
    fn a_rate_strikes_the_same_messages_for_the_same_seed() {
        let strikes = |seed| {
            let mut faults = Faults::new(seed);
            faults.replace(vec![rule(r#"{"match": {"rate": 0.3}, "do": "ignore"}"#)]);
            (0..1000).map(|_| faults.strike(&SALE).is_some()).collect::<Vec<_>>()
        };
        assert_eq!(strikes(5), strikes(5));
        assert_ne!(strikes(5), strikes(6));
        let hits = strikes(5).iter().filter(|hit| **hit).count();
        assert!((240..360).contains(&hits), "{hits}");
    }

    #[test]
    fn a_rule_is_shown_with_its_card_masked() {
        let shown = serde_json::to_string(&rule(r#"{"match":{"card":"4000001234560042"},"do":"ignore"}"#));
        assert!(!shown.unwrap().contains("4000001234560042"));
    }
}
