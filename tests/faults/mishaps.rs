//! What issuers and wires do wrong while processes are struck: everything that ends without a person.
//!
//! Not here: faults that end with a person (another DE38, another amount than the books have, refused reversals), which
//! [`crate::fault_matrix`] has one by one. Invariant: no request is judged later than [`LONGEST_DELAY_MS`] after it came.

use counterparts::faults::{Approval, Fault, Match, MtiClass, Rule, Side, Wrong};
use counterparts::issuer::Settings;
use counterparts::scenario::Scenario;
use counterparts::wire_faults::{Direction, WireFault, WireRule};

const BEFORE: Side = Side::BeforeLedger;
const AFTER: Side = Side::AfterLedger;

/// The longest that a request can be on its way to the mock's ledger; shorter than the horizon.
pub(super) const LONGEST_DELAY_MS: u64 = 1_500;

/// What a card without an account of its own has, minor units.
const BALANCE: u64 = 1_000_000_000;

/// One chunk in thirty, on the way between terminals and switch.
pub(super) fn terminals_wire() -> Vec<WireRule> {
    let to_terminal = |fault, rate| WireRule::new(fault).going(Direction::ToClient).at_rate(rate);
    let to_switch = |fault, rate| WireRule::new(fault).going(Direction::ToServer).at_rate(rate);
    vec![
        to_terminal(WireFault::Cut, 0.005),
        to_terminal(WireFault::Reset, 0.005),
        to_terminal(WireFault::Halve(20), 0.005),
        to_terminal(WireFault::DelayMs(50), 0.01),
        to_switch(WireFault::Cut, 0.002),
        to_switch(WireFault::Reset, 0.002),
        to_switch(WireFault::Halve(20), 0.002),
        to_switch(WireFault::DelayMs(50), 0.01),
    ]
}

/// One chunk in two hundred, on the way between switch and issuer; a cut strikes all that is in flight there.
pub(super) fn issuers_wire() -> Vec<WireRule> {
    let cuts = [WireFault::Cut, WireFault::Reset, WireFault::Halve(20)].map(|fault| WireRule::new(fault).at_rate(0.001));
    cuts.into_iter().chain([WireRule::new(WireFault::DelayMs(50)).at_rate(0.002)]).collect()
}

/// What an issuer does in a round. In every other one it answers 00 to the reversal of what it does not know, and forgets it.
pub(super) fn scenario(round: u32) -> Scenario {
    let unknown_original_code = iso8583::ResponseCode::new(if round.is_multiple_of(2) { *b"00" } else { *b"25" });
    let settings = Settings { unknown_original_code, default_balance: Some(BALANCE), ..Settings::default() };
    let version = counterparts::scenario::VERSION;
    Scenario { version, name: format!("round {round}"), rules: rules(), settings: Some(settings) }
}

/// About one request in three is struck, and as many reversals.
fn rules() -> Vec<Rule> {
    let code = |code: &[u8; 2]| iso8583::ResponseCode::new(*code);
    let twice = |after_ms| Fault::Double { approval: Approval::Same, after_ms };
    let late_partial = Fault::Late { by_ms: LONGEST_DELAY_MS, of: Box::new(Fault::PartialPercent(50)) };
    let late_half = Fault::Late { by_ms: 150, of: Box::new(Fault::Half(AFTER)) };
    [
        requests([
            (0.05, Fault::DelayMs(LONGEST_DELAY_MS)),
            (0.10, Fault::DelayMs(150)),
            (0.03, Fault::LateMs(LONGEST_DELAY_MS)),
            (0.01, Fault::Silence(AFTER)),
            (0.01, Fault::Silence(BEFORE)),
            (0.005, Fault::Cut(AFTER)),
            (0.005, Fault::Cut(BEFORE)),
        ]),
        requests([
            (0.02, twice(0)),
            (0.02, twice(150)),
            (0.02, Fault::PartialPercent(60)),
            (0.01, late_partial),
            (0.005, Fault::Answer(code(b"96"))),
            (0.005, Fault::AnswerMoved(code(b"96"))),
            (0.005, Fault::AnswerMoved(code(b"68"))),
        ]),
        requests([
            (0.005, Fault::Wrong(Wrong::Stan)),
            (0.005, Fault::Wrong(Wrong::Rrn)),
            (0.005, Fault::Wrong(Wrong::Card)),
            (0.005, Fault::Wrong(Wrong::Terminal)),
            (0.005, Fault::Garbage(AFTER)),
            (0.02, Fault::OtherConnection),
            (0.002, Fault::CutOthers),
        ]),
        requests([
            (0.003, Fault::Half(AFTER)),
            (0.003, Fault::Half(BEFORE)),
            (0.003, late_half),
            (0.002, Fault::HalfAndSilence(AFTER)),
            (0.003, Fault::ImpossibleLength(AFTER)),
            (0.001, Fault::Down { side: AFTER, for_ms: 200 }),
            (0.001, Fault::Down { side: BEFORE, for_ms: 200 }),
        ]),
        reversals([
            (0.10, Fault::Ignore),
            (0.05, Fault::Silence(AFTER)),
            (0.05, Fault::Answer(code(b"91"))),
            (0.05, Fault::AnswerMoved(code(b"96"))),
            (0.02, Fault::Cut(AFTER)),
            (0.02, Fault::Garbage(AFTER)),
            (0.02, Fault::Wrong(Wrong::Stan)),
            (0.02, Fault::Wrong(Wrong::Rrn)),
            (0.01, Fault::Wrong(Wrong::More)),
            (0.05, twice(50)),
            (0.05, Fault::LateMs(300)),
            (0.05, Fault::OtherConnection),
        ]),
    ]
    .concat()
}

fn requests<const N: usize>(faults: [(f64, Fault); N]) -> Vec<Rule> {
    of_class(MtiClass::Request, faults)
}

fn reversals<const N: usize>(faults: [(f64, Fault); N]) -> Vec<Rule> {
    of_class(MtiClass::Reversal, faults)
}

fn of_class<const N: usize>(class: MtiClass, faults: [(f64, Fault); N]) -> Vec<Rule> {
    let strike = |(rate, fault)| Rule::new(Match { mti_class: Some(class), rate: Some(rate), ..Match::default() }, fault);
    faults.map(strike).to_vec()
}
