//! The issuer's rules, a message in and an effect out.

use iso8583::{Fields, Mti};

use super::*;
use crate::faults::{Approval, Match, Rule, Wrong};

const CARD: &str = "4000001234567899";
const NOW: u64 = 1_709_251_199_999;

fn mti(text: &str) -> Mti {
    text.parse().unwrap()
}

fn set(message: &mut Fields, de: u8, value: &str) {
    message.set(de, value.as_bytes());
}

/// A sale of 12.50; `stan` also makes DE37.
fn request(kind: &str, stan: u32) -> Fields {
    let mut message = Fields::new(mti(kind));
    for (de, value) in [
        (2, CARD),
        (3, "000000"),
        (4, "000000001250"),
        (7, "0229235959"),
        (12, "235959"),
        (13, "0229"),
        (41, "TERM0001"),
        (42, "MERCHANT0000001"),
        (49, "978"),
    ] {
        set(&mut message, de, value);
    }
    set(&mut message, 11, &format!("{stan:06}"));
    set(&mut message, 37, &format!("532604{stan:06}"));
    message
}

fn with(mut message: Fields, changes: &[(u8, &str)]) -> Fields {
    for (de, value) in changes {
        match *value {
            "" => message.remove(*de),
            value => set(&mut message, *de, value),
        }
    }
    message
}

/// A full reversal of `request(_, stan)` by DE90 and DE37, with a STAN of its own.
fn reversal(kind: &str, stan: u32) -> Fields {
    let original = format!("0200{stan:06}0229235959{:022}", 0);
    let own = format!("{:06}", 500_000 + stan);
    with(request(kind, stan), &[(7, "0301000000"), (11, &own), (90, &original)])
}

fn settings() -> Settings {
    let account = AccountSettings::new(CARD.parse().unwrap(), 10_000);
    Settings { accounts: vec![account], ..Settings::default() }
}

fn issuer() -> Issuer {
    Issuer::new(settings(), 1)
}

#[track_caller]
fn send(issuer: &mut Issuer, message: &Fields) -> Fields {
    match issuer.receive(NOW, message) {
        Effect::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

/// Sends a message; the code of its answer, and what the issuer's movements then say.
#[track_caller]
fn check(issuer: &mut Issuer, message: &Fields, code: &str, nets: &[i64]) {
    let answer = send(issuer, message);
    assert_eq!(answer.text(39), Some(code));
    assert_eq!(answer.mti(), message.mti().response());
    let stands: Vec<_> = issuer.movements().iter().map(|line| line.net).collect();
    assert_eq!(stands, nets);
    let report = issuer.report(0);
    assert!(report.ledger.consistent, "{:?}", report.ledger.inconsistencies);
    assert_eq!(report.ledger.negative_nets, 0);
}

/// One sale with these terms and changes, and the code that it gets.
#[track_caller]
fn check_terms(terms: impl FnOnce(&mut AccountSettings), changes: &[(u8, &str)], code: &str) {
    let mut settings = settings();
    terms(&mut settings.accounts[0]);
    let mut issuer = Issuer::new(settings, 1);
    let nets: &[i64] = if code == "00" { &[1250] } else { &[] };
    check(&mut issuer, &with(request("0200", 1), changes), code, nets);
}

#[test]
fn a_request_is_judged_by_the_accounts_terms() {
    check_terms(|_| {}, &[], "00");
    check_terms(|_| {}, &[(2, ""), (35, "4000001234567899=30121010000000000")], "00");
    check_terms(|_| {}, &[(2, "4000009999999999")], "14");
    check_terms(|_| {}, &[(4, "000000010001")], "51");
    check_terms(|_| {}, &[(4, "000000000000")], "13");
    check_terms(|_| {}, &[(4, "")], "30");
    check_terms(|_| {}, &[(3, "")], "30");
    check_terms(|_| {}, &[(2, "")], "30");
    check_terms(|_| {}, &[(11, "")], "30");
    check_terms(|_| {}, &[(3, "200000")], "12");
    check_terms(|account| account.status = Status::Lost, &[], "41");
    check_terms(|account| account.status = Status::Stolen, &[], "43");
    check_terms(|account| account.status = Status::Restricted, &[], "62");
    check_terms(|account| account.expiry = Some("3012".to_owned()), &[(14, "3012")], "00");
    check_terms(|account| account.expiry = Some("3012".to_owned()), &[(14, "3011")], "54");
    check_terms(|account| account.expiry = Some("2402".to_owned()), &[], "00");
    check_terms(|account| account.expiry = Some("2401".to_owned()), &[(14, "2401")], "54");
    check_terms(|account| account.limit = Some(1250), &[], "00");
    check_terms(|account| account.limit = Some(1249), &[], "61");
    let pin = |account: &mut AccountSettings| account.pin_block = Some((*b"right PB").into());
    check_terms(pin, &[(52, "right PB")], "00");
    check_terms(pin, &[(52, "wrong PB")], "55");
    check_terms(pin, &[], "55");
}

#[test]
fn an_unknown_card_gets_an_account_when_settings_say_so() {
    let settings = Settings { default_balance: Some(2000), ..Settings::default() };
    let mut issuer = Issuer::new(settings, 1);
    check(&mut issuer, &request("0200", 1), "00", &[1250]);
    check(&mut issuer, &request("0200", 2), "51", &[1250]);
}

#[test]
fn holds_and_debits_are_told_apart_and_an_inquiry_moves_nothing() {
    let mut issuer = issuer();
    check(&mut issuer, &request("0100", 1), "00", &[1250]);
    check(&mut issuer, &with(request("0200", 2), &[(3, "010000")]), "00", &[1250, 1250]);
    let inquiry = with(request("0200", 3), &[(3, "310000"), (4, "")]);
    let answer = send(&mut issuer, &inquiry);
    assert_eq!(answer.text(54), Some("0002978C000000007500"));
    assert_eq!(issuer.movements().len(), 2);
    let report = issuer.report(9).ledger;
    assert_eq!((report.held, report.paid), (1250, 1250));
    let kinds: Vec<_> = report.entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [EntryKind::Hold, EntryKind::Debit]);
}

#[test]
fn an_answer_echoes_what_answers_echo() {
    let mut issuer = issuer();
    let more = [(14, "3012"), (22, "051"), (25, "00"), (32, "123456"), (33, "654321")];
    let message = with(request("0200", 1), &more);
    let answer = send(&mut issuer, &message);
    let echoed = [2, 3, 4, 7, 11, 12, 13, 32, 33, 37, 41, 42, 49];
    for de in echoed {
        assert_eq!(answer.get(de), message.get(de), "DE{de}");
    }
    let own: Vec<_> = answer.iter().map(|(de, _)| de).filter(|de| !echoed.contains(de)).collect();
    assert_eq!(own, [38, 39, 54]);
    issuer.change(Settings { echoes_card: false, balance_in_answer: false, ..settings() });
    let answer = send(&mut issuer, &request("0200", 2));
    assert!(!answer.has(2) && !answer.has(54) && answer.has(38));
}

#[test]
fn a_repeat_is_answered_from_memory_and_moves_nothing() {
    let mut issuer = issuer();
    let first = send(&mut issuer, &request("0200", 1));
    send(&mut issuer, &request("0200", 2));
    for kind in ["0201", "0200"] {
        let again = send(&mut issuer, &request(kind, 1));
        assert_eq!(again, first, "{kind}");
    }
    check(&mut issuer, &with(request("0200", 3), &[(4, "000000010000")]), "51", &[1250, 1250]);
    check(&mut issuer, &with(request("0201", 3), &[(4, "000000010000")]), "51", &[1250, 1250]);
    assert_eq!(issuer.counts.repeats, 3);
    // The same STAN and DE7 with another amount is no repeat.
    check(&mut issuer, &with(request("0200", 1), &[(4, "000000000001")]), "94", &[1250, 1250]);
    // Nor is it one with another DE7, RRN, terminal or class.
    let other_day = with(request("0200", 1), &[(7, "0301000000"), (37, "")]);
    check(&mut issuer, &other_day, "00", &[1250, 1250, 1250]);
    let other_terminal = with(request("0200", 1), &[(41, "TERM0002"), (37, "")]);
    check(&mut issuer, &other_terminal, "00", &[1250; 4]);
    let other_rrn = with(request("0200", 1), &[(37, "532604999999")]);
    check(&mut issuer, &other_rrn, "00", &[1250; 5]);
    check(&mut issuer, &request("0100", 1), "00", &[1250; 6]);
}

#[test]
fn a_reversal_gives_back_once_and_says_so_again() {
    let mut issuer = issuer();
    send(&mut issuer, &request("0200", 1));
    send(&mut issuer, &request("0200", 2));
    check(&mut issuer, &reversal("0420", 1), "00", &[0, 1250]);
    check(&mut issuer, &reversal("0421", 1), "00", &[0, 1250]);
    check(&mut issuer, &reversal("0400", 1), "00", &[0, 1250]);
    check(&mut issuer, &reversal("0401", 2), "00", &[0, 0]);
    assert!(issuer.movements().iter().all(|line| line.reversed));
    assert_eq!((issuer.counts.reversed, issuer.counts.reversed_again), (2, 2));
    // What was approved and reversed is not approved again by a late copy of the request.
    check(&mut issuer, &request("0201", 1), "00", &[0, 0]);
}

#[test]
fn a_partial_reversal_leaves_what_remains() {
    let mut issuer = issuer();
    send(&mut issuer, &request("0200", 1));
    let down_to = |remains: u64| {
        let de95 = format!("{remains:012}{:030}", 0);
        with(reversal("0420", 1), &[(95, &de95)])
    };
    check(&mut issuer, &down_to(1251), "64", &[1250]);
    check(&mut issuer, &down_to(1000), "00", &[1000]);
    check(&mut issuer, &down_to(1000), "00", &[1000]);
    check(&mut issuer, &down_to(1100), "00", &[1000]);
    check(&mut issuer, &down_to(400), "00", &[400]);
    check(&mut issuer, &down_to(0), "00", &[0]);
    check(&mut issuer, &down_to(400), "00", &[0]);
}

/// A reversal of one sale, changed like this: its code, and what stands.
#[track_caller]
fn check_reversal(changes: &[(u8, &str)], code: &str, net: i64) {
    let mut issuer = issuer();
    send(&mut issuer, &request("0200", 1));
    check(&mut issuer, &with(reversal("0400", 1), changes), code, &[net]);
}

#[test]
fn a_reversal_finds_its_original_and_nothing_else() {
    let de90 = |mti: &str, stan: &str, de7: &str| format!("{mti}{stan}{de7}{:022}", 0);
    check_reversal(&[], "00", 0);
    check_reversal(&[(37, "")], "00", 0);
    check_reversal(&[(2, "")], "00", 0);
    check_reversal(&[(90, "")], "00", 0);
    check_reversal(&[(90, ""), (37, ""), (11, "000001")], "00", 0);
    check_reversal(&[(90, &de90("0200", "000001", "0000000000")), (37, "")], "00", 0);
    check_reversal(&[(90, &de90("0200", "000001", "0229000000")), (37, "")], "25", 1250);
    check_reversal(&[(90, &de90("0100", "000001", "0229235959")), (37, "")], "25", 1250);
    check_reversal(&[(90, &de90("0200", "000002", "0229235959")), (37, "")], "25", 1250);
    check_reversal(&[(90, ""), (37, "")], "25", 1250);
    check_reversal(&[(37, "532604999999")], "25", 1250);
    check_reversal(&[(41, "TERM0002")], "25", 1250);
    check_reversal(&[(2, "4000009999999999")], "25", 1250);
    check_reversal(&[(4, "000000001251")], "64", 1250);
    check_reversal(&[(4, "")], "00", 0);
    check_reversal(&[(90, ""), (11, "")], "30", 1250);
}

#[test]
fn a_reversal_of_a_declined_request_is_done() {
    let mut issuer = issuer();
    check(&mut issuer, &with(request("0200", 1), &[(4, "000000010001")]), "51", &[]);
    check(&mut issuer, &reversal("0420", 1), "00", &[]);
}

#[test]
fn a_reversal_before_its_original_is_forgotten_or_remembered_by_setting() {
    let mut issuer = issuer();
    check(&mut issuer, &reversal("0420", 1), "25", &[]);
    check(&mut issuer, &request("0200", 1), "00", &[1250]);
    let code = ResponseCode::APPROVED;
    issuer.change(Settings { remembers_early_reversals: true, unknown_original_code: code, ..settings() });
    check(&mut issuer, &reversal("0420", 2), "00", &[1250]);
    check(&mut issuer, &reversal("0421", 2), "00", &[1250]);
    check(&mut issuer, &request("0200", 2), "12", &[1250]);
    check(&mut issuer, &request("0201", 2), "12", &[1250]);
    check(&mut issuer, &request("0200", 3), "00", &[1250, 1250]);
    assert_eq!(issuer.counts.refused_after_early_reversal, 1);
}

#[test]
fn network_messages_are_answered_00() {
    let mut issuer = issuer();
    for (kind, de70, code) in [
        ("0800", "001", "00"),
        ("0800", "002", "00"),
        ("0820", "201", "00"),
        ("0800", "301", "00"),
        ("0800", "999", "12"),
        ("0800", "", "30"),
    ] {
        let mut message = Fields::new(mti(kind));
        let fields = [(7, "0229235959"), (11, "000001"), (70, de70)];
        message = with(message, &fields);
        check(&mut issuer, &message, code, &[]);
    }
}

#[test]
fn an_unknown_mti_is_answered_12_or_ignored_and_an_answer_is_always_ignored() {
    let mut issuer = issuer();
    check(&mut issuer, &request("0220", 1), "12", &[]);
    assert_eq!(issuer.receive(NOW, &request("0210", 1)), Effect::Silence);
    assert_eq!(issuer.receive(NOW, &request("0810", 1)), Effect::Silence);
    issuer.change(Settings { ignores_unknown_mti: true, ..settings() });
    assert_eq!(issuer.receive(NOW, &request("0220", 1)), Effect::Silence);
}

/// A sale struck by a fault: the effect, and whether the ledger moved.
#[track_caller]
fn check_fault(fault: Fault, expected: impl Fn(&Effect) -> bool, moved: bool) {
    let mut issuer = issuer();
    issuer.faults().replace(vec![Rule::new(Match::default(), fault.clone()).times(1)]);
    let effect = issuer.receive(NOW, &request("0200", 1));
    assert!(expected(&effect), "{fault:?}: {effect:?}");
    assert_eq!(issuer.movements().len(), usize::from(moved), "{fault:?}");
    // The fault is over: the repeat is judged, and moves only what has not moved.
    check(&mut issuer, &request("0201", 1), "00", &[1250]);
}

#[test]
fn a_fault_strikes_on_its_side_of_the_ledger() {
    let silence = |effect: &Effect| *effect == Effect::Silence;
    let cut = |effect: &Effect| *effect == Effect::Cut;
    check_fault(Fault::Ignore, silence, false);
    check_fault(Fault::Silence(Side::BeforeLedger), silence, false);
    check_fault(Fault::Silence(Side::AfterLedger), silence, true);
    check_fault(Fault::Cut(Side::BeforeLedger), cut, false);
    check_fault(Fault::Cut(Side::AfterLedger), cut, true);
    let later = |effect: &Effect| matches!(effect, Effect::Resume { after_ms: 500, .. });
    check_fault(Fault::DelayMs(500), later, false);
    let answer = |effect: &Effect| matches!(effect, Effect::Answer(_));
    let late = |effect: &Effect| matches!(effect, Effect::Later { after_ms: 500, effect } if answer(effect));
    check_fault(Fault::LateMs(500), late, true);
    check_fault(Fault::LateMs(0), answer, true);
    let answered = |effect: &Effect| matches!(effect, Effect::Answer(answer) if answer.text(39) == Some("91"));
    check_fault(Fault::Answer(ResponseCode::ISSUER_UNAVAILABLE), answered, false);
}

#[test]
fn a_resumed_message_is_judged_without_faults() {
    let mut issuer = issuer();
    issuer.faults().replace(vec![Rule::new(Match::default(), Fault::DelayMs(9))]);
    let message = request("0200", 1);
    assert_eq!(issuer.receive(NOW, &message), Effect::Resume { after_ms: 9, message: message.clone() });
    let answer = issuer.resume(NOW, &request("0200", 1)).unwrap();
    assert_eq!(answer.text(39), Some("00"));
}

#[test]
fn nothing_that_is_shown_holds_a_whole_card_number() {
    let mut issuer = issuer();
    send(&mut issuer, &request("0200", 1));
    let shown = [
        serde_json::to_string(&issuer.report(9)).unwrap(),
        serde_json::to_string(&issuer.movements()).unwrap(),
        serde_json::to_string(issuer.settings()).unwrap(),
        format!("{issuer:?}"),
        format!("{:?}", issuer.receive(NOW, &request("0200", 2))),
    ];
    for shown in shown {
        assert!(!shown.contains(CARD), "{shown}");
    }
}

#[test]
fn movements_say_what_the_auditor_asks_for() {
    let mut issuer = issuer();
    send(&mut issuer, &request("0200", 1));
    let shown = serde_json::to_value(issuer.movements()).unwrap();
    let expected = serde_json::json!([{
        "rrn": "532604000001", "stan": "000001", "terminal": "TERM0001", "amount": 1250,
        "currency": "978", "mti": "0200", "reversed": false, "net": 1250
    }]);
    assert_eq!(shown, expected);
    // Two links may use one STAN at the same second; one RRN approved twice is what is named.
    send(&mut issuer, &with(request("0200", 1), &[(11, "000777")]));
    let named = issuer.report(0).ledger.approved_more_than_once;
    assert_eq!(named, [RrnCount { rrn: "532604000001".to_owned(), times: 2 }]);
}

/// An issuer whose first message is struck by a fault.
fn struck(fault: Fault) -> Issuer {
    let mut issuer = issuer();
    issuer.faults().replace(vec![Rule::new(Match::default(), fault).times(1)]);
    issuer
}

#[test]
fn garbage_and_half_a_frame_strike_on_their_side_of_the_ledger() {
    check_fault(Fault::Garbage(Side::BeforeLedger), |effect| *effect == Effect::Garbage, false);
    check_fault(Fault::Garbage(Side::AfterLedger), |effect| *effect == Effect::Garbage, true);
    let half = |effect: &Effect| matches!(effect, Effect::Half(answer) if answer.mti() == mti("0210"));
    check_fault(Fault::Half(Side::BeforeLedger), half, false);
    check_fault(Fault::Half(Side::AfterLedger), half, true);
    check_fault(Fault::CutOthers, |effect| matches!(effect, Effect::Alone(answer) if answer.has(38)), true);
}

#[test]
fn a_broken_frame_another_connection_and_an_outage_strike_on_their_side_of_the_ledger() {
    for (side, moved) in [(Side::BeforeLedger, false), (Side::AfterLedger, true)] {
        let half = |effect: &Effect| matches!(effect, Effect::HalfAndSilence(answer) if answer.mti() == mti("0210"));
        check_fault(Fault::HalfAndSilence(side), half, moved);
        check_fault(Fault::ImpossibleLength(side), |effect| *effect == Effect::ImpossibleLength, moved);
        check_fault(Fault::Down { side, for_ms: 9 }, |effect| *effect == Effect::Down { for_ms: 9 }, moved);
    }
    let elsewhere = |effect: &Effect| matches!(effect, Effect::Elsewhere(answer) if answer.has(38));
    check_fault(Fault::OtherConnection, elsewhere, true);
}

#[test]
fn every_fault_can_come_late_and_its_ledger_moves_at_once() {
    let late = |of| Fault::Late { by_ms: 70, of: Box::new(of) };
    let comes_late = |of: Fault, expected: Effect| {
        let mut issuer = struck(late(of));
        let effect = issuer.receive(NOW, &request("0200", 1));
        let Effect::Later { after_ms: 70, effect } = effect else { panic!("{effect:?}") };
        assert_eq!(*effect, expected);
        assert_eq!(issuer.movements().len(), 1);
    };
    comes_late(Fault::Garbage(Side::AfterLedger), Effect::Garbage);
    comes_late(Fault::Cut(Side::AfterLedger), Effect::Cut);
    let partial = send(&mut struck(Fault::PartialPercent(50)), &request("0200", 1));
    assert_eq!(partial.text(4), Some("000000000625"));
    comes_late(Fault::PartialPercent(50), Effect::Answer(partial));
    let answer = send(&mut issuer(), &request("0200", 1));
    comes_late(late(Fault::OtherConnection), Effect::Later { after_ms: 70, effect: Box::new(Effect::Elsewhere(answer)) });
}

/// A sale approved twice, each approval with its debit.
#[track_caller]
fn approved_twice(addresses_one_approval: bool) -> (Issuer, String) {
    let mut issuer = struck(Fault::Double { approval: Approval::SecondDebit, after_ms: 40 });
    issuer.change(Settings { addresses_one_approval, ..settings() });
    let effect = issuer.receive(NOW, &request("0200", 1));
    let Effect::Twice { first, after_ms: 40, second } = effect else { panic!("{effect:?}") };
    assert_ne!(first.get(38), second.get(38));
    (issuer, second.text(38).unwrap().to_owned())
}

#[test]
fn a_second_debit_is_undone_by_its_own_approval_where_one_can_be_named_and_else_never() {
    for (addresses, nets) in [(true, [1250, 0]), (false, [0, 1250])] {
        let (mut issuer, second) = approved_twice(addresses);
        check(&mut issuer, &request("0201", 1), "00", &[1250, 1250]);
        check(&mut issuer, &with(reversal("0420", 1), &[(38, &second)]), "00", &nets);
        check(&mut issuer, &with(reversal("0421", 1), &[(38, &second)]), "00", &nets);
        assert_eq!(issuer.movements().iter().map(|line| line.second).collect::<Vec<_>>(), [false, true]);
        let twice = issuer.report(0).ledger.approved_more_than_once;
        assert_eq!(twice, [RrnCount { rrn: "532604000001".to_owned(), times: 2 }]);
        // The first approval's name, or none at all, is the first one.
        check(&mut issuer, &reversal("0420", 1), "00", &[0, nets[1]]);
    }
    // Who undoes the one that is named knows no other.
    let (mut issuer, _) = approved_twice(true);
    check(&mut issuer, &with(reversal("0420", 1), &[(38, "Z00001")]), "25", &[1250, 1250]);
    // Nothing was approved: nothing to double; and a repeat struck again makes no third debit.
    let poor = with(request("0200", 2), &[(4, "000000030000")]);
    let mut issuer = struck(Fault::Double { approval: Approval::SecondDebit, after_ms: 0 });
    assert!(matches!(issuer.receive(NOW, &poor), Effect::Twice { first, second, .. } if first == second));
    assert!(issuer.movements().is_empty());
    let (mut issuer, _) = approved_twice(true);
    issuer
        .faults()
        .replace(vec![Rule::new(Match::default(), Fault::Double { approval: Approval::SecondDebit, after_ms: 0 })]);
    issuer.receive(NOW, &request("0201", 1));
    assert_eq!(issuer.movements().len(), 2);
}

#[test]
fn a_person_gives_a_second_debit_back_once() {
    let rrn = "532604000001".parse().unwrap();
    let (mut issuer, _) = approved_twice(false);
    assert!(issuer.approved_twice(rrn));
    assert!(!issuer.give_back_one(NOW, rrn, 1), "neither leaves that");
    assert!(issuer.give_back_one(NOW, rrn, 1250));
    check(&mut issuer, &request("0201", 1), "00", &[0, 1250]);
    assert!(!issuer.give_back_one(NOW, rrn, 1250), "it stands once already");
    assert!(issuer.give_back_one(NOW, rrn, 0));
    check(&mut issuer, &request("0201", 1), "00", &[0, 0]);
    assert!(issuer.report(0).ledger.consistent);
    let mut issuer = self::issuer();
    send(&mut issuer, &request("0200", 1));
    assert!(!issuer.approved_twice(rrn) && !issuer.give_back_one(NOW, rrn, 0), "it was approved once");
    assert!(issuer.give_back_all(NOW, rrn) && !issuer.give_back_all(NOW, rrn), "it stood once");
    check(&mut issuer, &request("0201", 1), "00", &[0]);
}

/// A sale with one wrong thing in its answer, the ledger as if nothing were wrong.
#[track_caller]
fn check_wrong(what: Wrong, de: u8, expected: &str) {
    let mut right = send(&mut issuer(), &request("0200", 1));
    let mut issuer = struck(Fault::Wrong(what));
    let wrong = send(&mut issuer, &request("0200", 1));
    assert_eq!(wrong.text(de), Some(expected), "{what:?}");
    assert_ne!(wrong.get(de), right.get(de), "{what:?}");
    right.copy_from(&wrong, de);
    assert_eq!(wrong, right, "{what:?}: nothing else differs");
    check(&mut issuer, &request("0201", 1), "00", &[1250]);
}

#[test]
fn a_wrong_answer_differs_in_one_data_element() {
    check_wrong(Wrong::Stan, 11, "500001");
    check_wrong(Wrong::Rrn, 37, "532604000002");
    check_wrong(Wrong::Card, 2, "4000001234567890");
    check_wrong(Wrong::Terminal, 41, "TERM0002");
    check_wrong(Wrong::More, 4, "000000001251");
    check_wrong(Wrong::Less, 4, "000000001249");
    check_wrong(Wrong::Currency, 49, "979");
    let mut issuer = struck(Fault::Wrong(Wrong::Card));
    issuer.change(Settings { echoes_card: false, ..settings() });
    assert!(!send(&mut issuer, &request("0200", 1)).has(2), "what is not echoed stays absent");
}

#[test]
fn a_double_answer_has_the_same_or_another_approval_and_moves_once() {
    for (approval, same) in [(Approval::Same, true), (Approval::Other, false)] {
        let mut issuer = struck(Fault::Double { approval, after_ms: 40 });
        let effect = issuer.receive(NOW, &request("0200", 1));
        let Effect::Twice { first, after_ms: 40, mut second } = effect else { panic!("{effect:?}") };
        assert_eq!(first.get(38) == second.get(38), same);
        second.copy_from(&first, 38);
        assert_eq!(second, first);
        check(&mut issuer, &request("0201", 1), "00", &[1250]);
    }
}

#[test]
fn any_code_is_answered_with_or_without_a_movement() {
    for code in ["96", "06", "68", "91", "Z9"] {
        let refused = |fault, nets: &[i64]| {
            let mut issuer = struck(fault);
            let answer = send(&mut issuer, &request("0200", 1));
            assert_eq!(answer.text(39), Some(code));
            assert!(!answer.has(38) && !answer.has(54), "{code}");
            let stands: Vec<_> = issuer.movements().iter().map(|line| line.net).collect();
            assert_eq!(stands, nets, "{code}");
        };
        refused(Fault::Answer(code.parse().unwrap()), &[]);
        refused(Fault::AnswerMoved(code.parse().unwrap()), &[1250]);
    }
    let answer = send(&mut struck(Fault::AnswerMoved("11".parse().unwrap())), &request("0200", 1));
    assert!(answer.has(38), "a code that approves keeps its approval");
}

/// A sale of `asked` approved in part, and then its reversal with this DE4.
#[track_caller]
fn check_partial(percent: u8, asked: u64, approved: u64, reversed_as: u64, code: &str) {
    let de4 = |minor: u64| format!("{minor:012}");
    let mut issuer = struck(Fault::PartialPercent(percent));
    let sale = with(request("0200", 1), &[(4, &de4(asked))]);
    let answer = send(&mut issuer, &sale);
    assert_eq!((answer.text(39), answer.text(4)), (Some("10"), Some(de4(approved).as_str())));
    let mut repeat = sale.clone();
    repeat.set_mti(mti("0201"));
    assert_eq!(send(&mut issuer, &repeat), answer, "the repeat is told the same");
    let net = i64::try_from(approved).unwrap();
    let back = with(reversal("0420", 1), &[(4, &de4(reversed_as))]);
    check(&mut issuer, &back, code, &[if code == "00" { 0 } else { net }]);
}

#[test]
fn a_partial_approval_moves_the_lesser_amount_and_is_reversed_by_either() {
    check_partial(60, 1250, 750, 750, "00");
    check_partial(60, 1250, 750, 1250, "00");
    check_partial(60, 1250, 750, 749, "64");
    check_partial(99, 2, 1, 1, "00");
    // More than there is, but its part is there.
    check_partial(50, 20_000, 10_000, 10_000, "00");
    // What cannot be approved is not approved in part either, and one unit has no part.
    let poor = with(request("0200", 1), &[(4, "000000030000")]);
    check(&mut struck(Fault::PartialPercent(50)), &poor, "51", &[]);
    let unit = with(request("0200", 1), &[(4, "000000000001")]);
    check(&mut struck(Fault::PartialPercent(50)), &unit, "00", &[1]);
}

#[test]
fn a_reversal_is_refused_with_any_code_or_answered_00_and_the_ledger_stays() {
    for code in ["00", "05", "12", "21", "25", "30", "91", "94", "96"] {
        let mut issuer = issuer();
        send(&mut issuer, &request("0200", 1));
        let reversals = Match { mti_class: Some(MtiClass::Reversal), ..Match::default() };
        issuer.faults().replace(vec![Rule::new(reversals, Fault::Answer(code.parse().unwrap())).times(1)]);
        check(&mut issuer, &reversal("0420", 1), code, &[1250]);
        check(&mut issuer, &reversal("0421", 1), "00", &[0]);
    }
}

#[test]
fn an_unknown_original_is_answered_00_by_setting_and_then_forgotten() {
    let mut issuer = issuer();
    issuer.change(Settings { unknown_original_code: ResponseCode::APPROVED, ..settings() });
    check(&mut issuer, &reversal("0420", 1), "00", &[]);
    check(&mut issuer, &request("0200", 1), "00", &[1250]);
}
