//! Each fault of the mock issuer, on a sale and on a reversal.

use std::collections::BTreeSet;

use counterparts::faults::{Approval, Fault, MtiClass, Side, Wrong};
use iso8583::ResponseCode;

use super::stage::{AMOUNT, HORIZON_MS, RESPONSE_TIMEOUT_MS};
use super::{Asks, Case, DECLINED, End, STANDS, UNWOUND_TWICE, end, for_a_person, unwound};

/// In time.
const SOON_MS: u64 = 400;
/// When the reversal of what came late is acknowledged, on a loaded machine too.
const AFTERWARDS_MS: u64 = 2_000;
/// After the timeout, before the horizon.
const LATE_MS: u64 = RESPONSE_TIMEOUT_MS + 700;
/// After the horizon and what follows it.
const TOO_LATE_MS: u64 = HORIZON_MS + 1_500;

const BEFORE: Side = Side::BeforeLedger;
const AFTER: Side = Side::AfterLedger;

/// A sale that this strikes: what the terminal is told, and how it ends.
fn sale(fault: Fault, told: &'static str, end: End) -> Case {
    let mut case = Case::new(format!("sale, {fault:?}"), Asks::Sale, told, end);
    case.faults.push((MtiClass::Request, fault, 1));
    case
}

/// A good sale whose reversal this strikes, so many times.
fn reversal(fault: Fault, times: u32, end: End) -> Case {
    let mut case = Case::new(format!("reversal, {fault:?} x {times}"), Asks::SaleAndReversal, "00", end);
    case.faults.push((MtiClass::Reversal, fault, times));
    case
}

fn code(code: &[u8; 2]) -> ResponseCode {
    ResponseCode::new(*code)
}

fn double(approval: Approval, after_ms: u64) -> Fault {
    Fault::Double { approval, after_ms }
}

fn late(by_ms: u64, of: Fault) -> Fault {
    Fault::Late { by_ms, of: Box::new(of) }
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let cases = [
        sales(),
        approvals_of_less_or_twice(),
        answers_that_say_something_else(),
        reversals(),
        refused_reversals(),
        more_than_one(),
    ]
    .concat();
    assert_no_fault_is_left_out(&cases);
    cases
}

/// Every fault strikes a sale and a reversal, on either side of the ledger where it has sides, in some row or in one of
/// [`super::others`]. What a late fault is late of, and which code an answer has, are the rows' choice.
fn assert_no_fault_is_left_out(cases: &[Case]) {
    let kind = |fault: &Fault| match fault {
        Fault::Ignore => "ignore".to_owned(),
        Fault::Silence(side) => format!("silence {side:?}"),
        Fault::Cut(side) => format!("cut {side:?}"),
        Fault::DelayMs(_) => "delay".to_owned(),
        Fault::LateMs(_) => "late answer".to_owned(),
        Fault::Late { .. } => "late".to_owned(),
        Fault::Answer(_) => "answer".to_owned(),
        Fault::AnswerMoved(_) => "answer, moved".to_owned(),
        Fault::PartialPercent(_) => "partial".to_owned(),
        Fault::Double { approval, .. } => format!("double {approval:?}"),
        Fault::Wrong(what) => format!("wrong {what:?}"),
        Fault::Garbage(side) => format!("garbage {side:?}"),
        Fault::Half(side) => format!("half {side:?}"),
        Fault::HalfAndSilence(side) => format!("half and silence {side:?}"),
        Fault::ImpossibleLength(side) => format!("impossible length {side:?}"),
        Fault::OtherConnection => "other connection".to_owned(),
        Fault::CutOthers => "cut others".to_owned(),
        Fault::Down { side, .. } => format!("down {side:?}"),
    };
    let plain =
        ["ignore", "delay", "late answer", "late", "answer", "answer, moved", "partial", "other connection", "cut others"];
    let sided = ["silence", "cut", "garbage", "half", "half and silence", "impossible length", "down"];
    let doubles = [Approval::Same, Approval::Other, Approval::SecondDebit].map(|approval| format!("double {approval:?}"));
    let wrong = [Wrong::Stan, Wrong::Rrn, Wrong::Card, Wrong::Terminal, Wrong::More, Wrong::Less, Wrong::Currency]
        .map(|what| format!("wrong {what:?}"));
    let sided = sided.iter().flat_map(|name| [BEFORE, AFTER].map(|side| format!("{name} {side:?}")));
    let all: BTreeSet<String> = plain.map(str::to_owned).into_iter().chain(sided).chain(doubles).chain(wrong).collect();
    let of_rows = cases.iter().flat_map(|case| &case.faults).map(|(class, fault, _)| (*class, fault.clone()));
    let strikes: Vec<_> = of_rows.chain(super::others::strikes()).collect();
    for class in [MtiClass::Request, MtiClass::Reversal] {
        let struck: BTreeSet<String> = strikes.iter().filter(|(of, _)| *of == class).map(|(_, fault)| kind(fault)).collect();
        assert_eq!(struck, all, "the faults that strike a {class:?}");
    }
}

/// T1, T2, T5, T7, T9.
fn sales() -> Vec<Case> {
    vec![
        sale(Fault::Ignore, "68", unwound("T1")),
        sale(Fault::Silence(BEFORE), "68", unwound("T1")),
        sale(Fault::Silence(AFTER), "68", unwound("T1")),
        sale(Fault::Cut(BEFORE), "68", unwound("T2")),
        sale(Fault::Cut(AFTER), "68", unwound("T2")),
        sale(Fault::Half(BEFORE), "68", unwound("T2")),
        sale(Fault::Half(AFTER), "68", unwound("T2")),
        sale(Fault::Garbage(BEFORE), "68", unwound("T1")),
        sale(Fault::Garbage(AFTER), "68", unwound("T1")),
        sale(Fault::DelayMs(SOON_MS), "00", STANDS),
        sale(Fault::DelayMs(LATE_MS), "68", unwound("T1")),
        sale(Fault::DelayMs(TOO_LATE_MS), "68", UNWOUND_TWICE),
        sale(Fault::LateMs(SOON_MS), "00", STANDS),
        sale(Fault::LateMs(LATE_MS), "68", unwound("T1")),
        sale(Fault::LateMs(TOO_LATE_MS), "68", UNWOUND_TWICE),
        // The connection stays and is deaf, until its frame takes too long.
        sale(Fault::HalfAndSilence(BEFORE), "68", unwound("T1")),
        sale(Fault::HalfAndSilence(AFTER), "68", unwound("T1")),
        sale(Fault::ImpossibleLength(BEFORE), "68", unwound("T2")),
        sale(Fault::ImpossibleLength(AFTER), "68", unwound("T2")),
        sale(late(SOON_MS, Fault::Cut(AFTER)), "68", unwound("T2")),
        sale(late(SOON_MS, Fault::Half(AFTER)), "68", unwound("T2")),
        sale(late(LATE_MS, Fault::Cut(AFTER)), "68", unwound("T1")),
        sale(late(LATE_MS, Fault::ImpossibleLength(AFTER)), "68", unwound("T1")),
    ]
}

/// T7 and T9, in time and late.
fn approvals_of_less_or_twice() -> Vec<Case> {
    const LESS: Fault = Fault::PartialPercent(60);
    const OF_LESS: i64 = AMOUNT as i64 * 6 / 10;
    const ONCE: i64 = AMOUNT as i64;
    let two_approvals = |at_issuer| End { exception: Some("T7"), at_issuer, ..unwound("T1") };
    vec![
        sale(double(Approval::Same, 0), "00", STANDS),
        sale(double(Approval::Same, SOON_MS), "00", STANDS),
        sale(double(Approval::Other, 0), "00", for_a_person("T7", ONCE)),
        sale(double(Approval::Other, SOON_MS), "00", for_a_person("T7", ONCE)),
        sale(double(Approval::SecondDebit, 0), "00", for_a_person("T7", 2 * ONCE)),
        sale(double(Approval::SecondDebit, SOON_MS), "00", for_a_person("T7", 2 * ONCE)),
        sale(late(LATE_MS, double(Approval::Same, 0)), "68", unwound("T1")),
        // The second comes while the first is undone, or once it is: the issuer may hold it for good, and a person hears of it.
        sale(late(LATE_MS, double(Approval::Other, 0)), "68", two_approvals(0)),
        sale(late(LATE_MS, double(Approval::Other, AFTERWARDS_MS)), "68", UNWOUND_TWICE),
        sale(late(LATE_MS, double(Approval::SecondDebit, 0)), "68", two_approvals(ONCE)),
        sale(late(LATE_MS, double(Approval::SecondDebit, AFTERWARDS_MS)), "68", End { at_issuer: ONCE, ..UNWOUND_TWICE }),
        sale(LESS, "51", unwound("T9")),
        sale(late(SOON_MS, LESS), "51", unwound("T9")),
        sale(late(LATE_MS, LESS), "68", unwound("T1")),
        sale(late(TOO_LATE_MS, LESS), "68", UNWOUND_TWICE),
        Case { partial: true, ..sale(LESS, "10", end("confirmed", None, OF_LESS)) },
        Case { partial: true, ..sale(late(LATE_MS, LESS), "68", unwound("T1")) },
    ]
}

/// T1 and T4: a code that says nothing of the money, and answers that are none or are of something else.
fn answers_that_say_something_else() -> Vec<Case> {
    vec![
        sale(Fault::Answer(code(b"05")), "05", DECLINED),
        sale(Fault::Answer(code(b"91")), "91", DECLINED),
        sale(Fault::Answer(code(b"06")), "68", unwound("T1")),
        sale(Fault::Answer(code(b"96")), "68", unwound("T1")),
        sale(Fault::AnswerMoved(code(b"06")), "68", unwound("T1")),
        sale(Fault::AnswerMoved(code(b"68")), "68", unwound("T1")),
        sale(Fault::AnswerMoved(code(b"94")), "68", unwound("T1")),
        sale(Fault::AnswerMoved(code(b"96")), "68", unwound("T1")),
        sale(Fault::Wrong(Wrong::Stan), "68", unwound("T1")),
        sale(Fault::Wrong(Wrong::Terminal), "68", unwound("T1")),
        sale(Fault::Wrong(Wrong::Rrn), "68", unwound("T4")),
        sale(Fault::Wrong(Wrong::Card), "68", unwound("T4")),
        sale(Fault::Wrong(Wrong::More), "68", unwound("T4")),
        sale(Fault::Wrong(Wrong::Currency), "68", unwound("T4")),
        // The issuer's books say more than its answer: it refuses the reversal of what it said, for ever (R4).
        sale(Fault::Wrong(Wrong::Less), "51", end("awaiting_reversal_ack", Some("T9"), AMOUNT as i64)),
    ]
}

/// R4: whatever becomes of an acknowledgement, the reversal is sent until one counts.
fn reversals() -> Vec<Case> {
    let struck = [
        Fault::Ignore,
        Fault::Silence(BEFORE),
        Fault::Silence(AFTER),
        Fault::Cut(BEFORE),
        Fault::Cut(AFTER),
        Fault::Half(BEFORE),
        Fault::Half(AFTER),
        Fault::Garbage(BEFORE),
        Fault::Garbage(AFTER),
        Fault::DelayMs(SOON_MS),
        Fault::DelayMs(LATE_MS),
        Fault::DelayMs(TOO_LATE_MS),
        Fault::LateMs(SOON_MS),
        Fault::LateMs(LATE_MS),
        Fault::LateMs(TOO_LATE_MS),
        double(Approval::Same, 0),
        double(Approval::Same, SOON_MS),
        double(Approval::Other, SOON_MS),
        double(Approval::SecondDebit, SOON_MS),
        Fault::HalfAndSilence(BEFORE),
        Fault::HalfAndSilence(AFTER),
        Fault::ImpossibleLength(BEFORE),
        Fault::ImpossibleLength(AFTER),
        late(LATE_MS, Fault::Cut(AFTER)),
        late(LATE_MS, double(Approval::Same, SOON_MS)),
        // A reversal is not approved for less: it is judged as if nothing were wrong.
        Fault::PartialPercent(60),
        Fault::Wrong(Wrong::Stan),
        Fault::Wrong(Wrong::Rrn),
        Fault::Wrong(Wrong::Card),
        Fault::Wrong(Wrong::Terminal),
        Fault::Wrong(Wrong::More),
        Fault::Wrong(Wrong::Less),
        Fault::Wrong(Wrong::Currency),
    ];
    struck.into_iter().map(|fault| reversal(fault, 1, unwound("D8"))).collect()
}

/// R2 and R4: refused with any code.
fn refused_reversals() -> Vec<Case> {
    let again = [b"05", b"06", b"51", b"64", b"68", b"91", b"96"].map(code);
    let no_original = [b"25", b"21", b"12"].map(code);
    let mut cases: Vec<_> = again.iter().map(|code| reversal(Fault::Answer(*code), 3, unwound("D8"))).collect();
    cases.extend(again.iter().map(|code| reversal(Fault::AnswerMoved(*code), 1, unwound("D8"))));
    // An approval is held and the issuer knows of none, or says so after it has reversed: only a person can tell.
    cases.extend(no_original.iter().map(|code| reversal(Fault::Answer(*code), 1, for_a_person("R2", AMOUNT as i64))));
    cases.extend(no_original.iter().map(|code| reversal(Fault::AnswerMoved(*code), 1, for_a_person("R2", 0))));
    cases.push(reversal(Fault::Answer(code(b"30")), 1, for_a_person("R4", AMOUNT as i64)));
    cases.push(reversal(Fault::AnswerMoved(code(b"30")), 1, for_a_person("R4", 0)));
    // 94 to the first send says nothing; to the second it says that the first was done.
    cases.push(reversal(Fault::Answer(code(b"94")), 1, unwound("D8")));
    let mut done_and_lost = reversal(Fault::Silence(AFTER), 1, unwound("D8"));
    done_and_lost.name.push_str(", then 94");
    done_and_lost.faults.push((MtiClass::Reversal, Fault::Answer(code(b"94")), 1));
    cases.push(done_and_lost);
    cases
}

/// A sale and its reversal struck alike.
fn more_than_one() -> Vec<Case> {
    let both = |fault: Fault, again: Fault, rule| {
        let mut case = sale(fault, "68", unwound(rule));
        case.name.push_str(&format!(", and its reversal, {again:?}"));
        case.faults.push((MtiClass::Reversal, again, 1));
        case
    };
    let forgetful = |case: Case| Case { name: format!("{}, early reversals forgotten", case.name), forgetful: true, ..case };
    vec![
        both(Fault::Silence(AFTER), Fault::Ignore, "T1"),
        both(Fault::Silence(AFTER), Fault::Silence(AFTER), "T1"),
        both(Fault::Silence(BEFORE), Fault::Answer(code(b"91")), "T1"),
        both(Fault::Cut(AFTER), Fault::Cut(AFTER), "T2"),
        both(Fault::LateMs(LATE_MS), Fault::Garbage(AFTER), "T1"),
        both(Fault::Wrong(Wrong::Rrn), Fault::Wrong(Wrong::Rrn), "T4"),
        // The reversal overtakes its original and is answered 00 (R3).
        forgetful(sale(Fault::DelayMs(LATE_MS), "68", unwound("T1"))),
        forgetful(sale(Fault::DelayMs(TOO_LATE_MS), "68", UNWOUND_TWICE)),
        forgetful(sale(Fault::Silence(BEFORE), "68", unwound("T1"))),
    ]
}
