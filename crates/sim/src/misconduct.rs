//! How issuers misbehave: which fault each trouble brings, to which messages, and how often.
//!
//! Decides nothing: what a fault does is `counterparts`'. Invariant: every fault that an issuer knows is here, but for an
//! approval of less than its books say: its reversal names that amount, which such an issuer refuses for ever (R4), and a
//! person hears of it only by R7.

use counterparts::faults::{Approval, Fault, MtiClass, Side, Wrong};
use iso8583::ResponseCode;

use crate::plan::Trouble;

/// The trouble that brings it, the messages that it strikes, the probability of each, and what it does.
pub(crate) type Misconduct = (Trouble, MtiClass, f64, Fault);

use MtiClass::{Network, Request, Reversal};
use Side::{AfterLedger, BeforeLedger};

/// All of them. The first that strikes a message is the only one.
pub(crate) fn all() -> Vec<Misconduct> {
    let parts = [no_answer(), lateness(), codes(), untrue(), answered_twice(), unreadable(), connections(), to_reversals()];
    parts.concat()
}

fn code(text: &str) -> ResponseCode {
    text.parse().unwrap_or(ResponseCode::SYSTEM_MALFUNCTION)
}

fn no_answer() -> Vec<Misconduct> {
    vec![
        (Trouble::HostSilent, Request, 0.01, Fault::Ignore),
        (Trouble::HostSilent, Request, 0.02, Fault::Silence(BeforeLedger)),
        (Trouble::HostSilent, Request, 0.05, Fault::Silence(AfterLedger)),
        (Trouble::HostSilent, Network, 0.05, Fault::Ignore),
        (Trouble::HostCut, Request, 0.01, Fault::Cut(BeforeLedger)),
        (Trouble::HostCut, Request, 0.02, Fault::Cut(AfterLedger)),
        (Trouble::HostCut, Reversal, 0.01, Fault::Cut(BeforeLedger)),
        (Trouble::HostCut, Reversal, 0.02, Fault::Cut(AfterLedger)),
        (Trouble::HostCut, Network, 0.02, Fault::Cut(BeforeLedger)),
    ]
}

fn lateness() -> Vec<Misconduct> {
    vec![
        (Trouble::HostSlow, Request, 0.03, Fault::DelayMs(5_000)),
        (Trouble::HostSlow, Request, 0.03, Fault::DelayMs(16_000)),
        (Trouble::HostSlow, Reversal, 0.03, Fault::DelayMs(16_000)),
        (Trouble::HostSlow, Network, 0.03, Fault::DelayMs(16_000)),
        (Trouble::BeyondHorizon, Request, 0.02, Fault::DelayMs(50_000)),
        (Trouble::HostLate, Request, 0.02, Fault::LateMs(14_900)),
        (Trouble::HostLate, Request, 0.02, Fault::LateMs(20_000)),
        (Trouble::HostLate, Request, 0.02, Fault::LateMs(90_000)),
        (Trouble::HostLate, Reversal, 0.05, Fault::LateMs(20_000)),
        (Trouble::HostLate, Network, 0.03, Fault::LateMs(20_000)),
    ]
}

/// Codes that say nothing of the money, and approvals of less.
fn codes() -> Vec<Misconduct> {
    let of_requests = ["09", "96", "06", "68"].into_iter().flat_map(|text| {
        [
            (Trouble::HostUnknownCode, Request, 0.02, Fault::Answer(code(text))),
            (Trouble::HostUnknownCode, Request, 0.02, Fault::AnswerMoved(code(text))),
        ]
    });
    let late_partial = Fault::Late { by_ms: 20_000, of: Box::new(Fault::PartialPercent(40)) };
    of_requests
        .chain([
            (Trouble::HostUnknownCode, Network, 0.03, Fault::Answer(code("91"))),
            (Trouble::HostPartial, Request, 0.06, Fault::PartialPercent(60)),
            (Trouble::HostPartial, Request, 0.01, late_partial),
        ])
        .collect()
}

/// Answers that say something else than the books.
fn untrue() -> Vec<Misconduct> {
    let of_all = [Wrong::Stan, Wrong::Rrn, Wrong::Card, Wrong::Terminal, Wrong::More, Wrong::Currency];
    let of_all = of_all.into_iter().flat_map(|wrong| {
        [(Trouble::HostWrong, Request, 0.01, Fault::Wrong(wrong)), (Trouble::HostWrong, Reversal, 0.02, Fault::Wrong(wrong))]
    });
    of_all
        .chain([
            (Trouble::HostWrong, Reversal, 0.02, Fault::Wrong(Wrong::Less)),
            (Trouble::HostWrong, Network, 0.02, Fault::Wrong(Wrong::Stan)),
        ])
        .collect()
}

fn answered_twice() -> Vec<Misconduct> {
    let twice = |approval, after_ms| Fault::Double { approval, after_ms };
    vec![
        (Trouble::HostTwice, Request, 0.03, twice(Approval::Same, 0)),
        (Trouble::HostTwice, Request, 0.03, twice(Approval::Same, 40_000)),
        (Trouble::HostTwice, Reversal, 0.05, twice(Approval::Same, 100)),
        (Trouble::HostTwice, Network, 0.05, twice(Approval::Same, 100)),
        (Trouble::HostOther, Request, 0.01, twice(Approval::Other, 0)),
        (Trouble::HostOther, Request, 0.01, twice(Approval::Other, 30_000)),
        (Trouble::HostSecondDebit, Request, 0.01, twice(Approval::SecondDebit, 0)),
        (Trouble::HostSecondDebit, Request, 0.01, twice(Approval::SecondDebit, 30_000)),
    ]
}

fn unreadable() -> Vec<Misconduct> {
    vec![
        (Trouble::HostGarbage, Request, 0.01, Fault::Garbage(BeforeLedger)),
        (Trouble::HostGarbage, Request, 0.02, Fault::Garbage(AfterLedger)),
        (Trouble::HostGarbage, Request, 0.01, Fault::Half(AfterLedger)),
        (Trouble::HostGarbage, Request, 0.01, Fault::Half(BeforeLedger)),
        (Trouble::HostGarbage, Request, 0.003, Fault::HalfAndSilence(AfterLedger)),
        (Trouble::HostGarbage, Request, 0.003, Fault::ImpossibleLength(AfterLedger)),
        (Trouble::HostGarbage, Reversal, 0.02, Fault::Garbage(AfterLedger)),
        (Trouble::HostGarbage, Reversal, 0.01, Fault::Half(AfterLedger)),
        (Trouble::HostGarbage, Reversal, 0.01, Fault::Half(BeforeLedger)),
        (Trouble::HostGarbage, Reversal, 0.003, Fault::HalfAndSilence(AfterLedger)),
        (Trouble::HostGarbage, Network, 0.01, Fault::Garbage(BeforeLedger)),
        (Trouble::HostGarbage, Network, 0.01, Fault::Half(BeforeLedger)),
    ]
}

/// Answers that come on another connection, and what becomes of the others.
fn connections() -> Vec<Misconduct> {
    let down = |side| Fault::Down { side, for_ms: 8_000 };
    vec![
        (Trouble::HostCut, Request, 0.01, Fault::CutOthers),
        (Trouble::HostElsewhere, Request, 0.03, Fault::OtherConnection),
        (Trouble::HostElsewhere, Reversal, 0.03, Fault::OtherConnection),
        (Trouble::HostDown, Request, 0.003, down(BeforeLedger)),
        (Trouble::HostDown, Request, 0.003, down(AfterLedger)),
        (Trouble::HostDown, Reversal, 0.003, down(AfterLedger)),
    ]
}

fn to_reversals() -> Vec<Misconduct> {
    vec![
        (Trouble::ReversalSilent, Reversal, 0.2, Fault::Silence(AfterLedger)),
        (Trouble::ReversalSilent, Reversal, 0.2, Fault::Silence(BeforeLedger)),
        (Trouble::ReversalRefused, Reversal, 0.05, Fault::Answer(code("91"))),
        (Trouble::ReversalRefused, Reversal, 0.05, Fault::Answer(code("96"))),
        (Trouble::ReversalRefused, Reversal, 0.05, Fault::Answer(code("06"))),
        (Trouble::ReversalRefused, Reversal, 0.02, Fault::Answer(code("30"))),
        // 94 says "seen before", which is a lie unless the ledger moved.
        (Trouble::ReversalRefused, Reversal, 0.05, Fault::AnswerMoved(code("94"))),
    ]
}
