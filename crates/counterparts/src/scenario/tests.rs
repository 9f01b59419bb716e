//! The versions and keys of a scenario, and the examples that come with the project.

use std::path::{Path, PathBuf};

use super::*;
use crate::faults::{Approval, Fault, Side, Wrong};

#[track_caller]
fn check_refused(json: &str, sentence: &str) {
    let reason = json.parse::<Scenario>().unwrap_err().to_string();
    assert!(reason.contains(sentence), "{json}: {reason}");
}

#[test]
fn another_version_or_an_unknown_key_is_refused_with_a_sentence() {
    check_refused("", "is not JSON");
    check_refused("{", "is not JSON");
    check_refused("{}", "has no version");
    check_refused(r#"{"version": 2, "nom": "x"}"#, "has version 2, and this program reads version 1");
    check_refused(r#"{"version": 0, "name": "x"}"#, "has version 0");
    check_refused(r#"{"version": "1", "name": "x"}"#, "cannot be used: invalid type");
    check_refused(r#"{"version": 1}"#, "missing field `name`");
    check_refused(r#"{"version": 1, "name": "x", "rule": []}"#, "unknown field `rule`, expected one of");
    check_refused(r#"{"version": 1, "name": "x", "rules": [{"do": "explode"}]}"#, "unknown variant `explode`");
    check_refused(r#"{"version": 1, "name": "x", "rules": [{"do": "ignore", "time": 1}]}"#, "unknown field `time`");
    check_refused(r#"{"version": 1, "name": "x", "settings": {"balance": 1}}"#, "unknown field `balance`");
}

#[test]
fn no_refusal_shows_a_card_number() {
    const CARD: &str = "4000001234567899";
    for json in [
        format!(r#"{{"version": 1, "name": "x", "settings": {{"default_balance": "{CARD}"}}}}"#),
        format!(r#"{{"version": 1, "name": "x", "{CARD}": 1}}"#),
        format!(r#"{{"version": "{CARD}"}}"#),
        format!(r#"{{"version": {CARD}, "name": "x"}}"#),
    ] {
        let reason = json.parse::<Scenario>().unwrap_err();
        assert!(!format!("{reason} {reason:?}").contains("4000001"), "{reason}");
    }
}

#[test]
fn a_scenario_is_shown_as_it_is_read() {
    let json = r#"{"version":1,"name":"n","rules":[{"match":{},"times":2,"do":"ignore","acted":0}]}"#;
    let scenario: Scenario = json.parse().unwrap();
    assert_eq!(serde_json::to_string(&scenario).unwrap(), json);
}

/// An example of `deploy/scenarios`: its name begins with the file's, and these are its faults.
#[track_caller]
fn check_example(file: &str, faults: &[Fault]) {
    let path = examples().join(format!("{file}.json"));
    let json = std::fs::read_to_string(&path).unwrap();
    let scenario: Scenario = json.parse().unwrap_or_else(|reason| panic!("{file}: {reason}"));
    assert!(scenario.name.starts_with(&format!("{}:", file.replace('-', " "))), "{file}: {}", scenario.name);
    let found: Vec<_> = scenario.rules.into_iter().map(|rule| rule.fault).collect();
    assert_eq!(found, faults, "{file}");
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/scenarios")
}

#[test]
fn the_examples_say_what_their_names_say() {
    let answer = |code: &str| Fault::Answer(code.parse().unwrap());
    let moved = |code: &str| Fault::AnswerMoved(code.parse().unwrap());
    let double = |approval, after_ms| Fault::Double { approval, after_ms };
    check_example("silent", &[Fault::Silence(Side::AfterLedger), Fault::Silence(Side::BeforeLedger)]);
    let late = [Fault::LateMs(20_000), Fault::LateMs(40_000), Fault::DelayMs(20_000), Fault::LateMs(40_000)];
    check_example("late", &late);
    check_example("double", &[double(Approval::Other, 500), double(Approval::Same, 100)]);
    check_example("partial", &[Fault::PartialPercent(60)]);
    check_example("refuses-reversals", &[answer("96"), answer("25"), answer("94"), answer("00")]);
    check_example("forgets-early-reversals", &[Fault::DelayMs(20_000)]);
    check_example("nobody-knows", &[moved("96"), answer("96"), moved("68")]);
    let wrong = [Wrong::Stan, Wrong::Rrn, Wrong::Card, Wrong::Terminal, Wrong::More, Wrong::Less, Wrong::Currency];
    let wrong = wrong.map(Fault::Wrong);
    let broken = [Fault::Garbage(Side::AfterLedger), Fault::Half(Side::AfterLedger)];
    check_example("wrong-answers", &[wrong.as_slice(), &broken].concat());
    let cuts = [Fault::Cut(Side::BeforeLedger), Fault::Cut(Side::AfterLedger), Fault::Half(Side::AfterLedger)];
    check_example("flaky", &[cuts.as_slice(), &[Fault::CutOthers, Fault::LateMs(300)]].concat());
    check_example("approved-twice", &[double(Approval::SecondDebit, 200)]);
    let frames = [Fault::HalfAndSilence(Side::AfterLedger), Fault::ImpossibleLength(Side::AfterLedger)];
    check_example("broken-frames", &[frames.as_slice(), &[Fault::Half(Side::BeforeLedger)]].concat());
    let late = |by_ms, of| Fault::Late { by_ms, of: Box::new(of) };
    check_example("other-connection", &[late(500, Fault::OtherConnection), Fault::OtherConnection]);
    check_example("late-partial", &[late(20_000, Fault::PartialPercent(60))]);
    check_example("outage", &[Fault::Down { side: Side::AfterLedger, for_ms: 3000 }, Fault::CutOthers]);
    assert_eq!(std::fs::read_dir(examples()).unwrap().count(), 14, "each example is checked");
}

#[test]
fn a_rate_is_a_probability() {
    let with = |rate: &str| {
        let json = format!(r#"{{"version": 1, "name": "n", "rules": [{{"match": {{"rate": {rate}}}, "do": "ignore"}}]}}"#);
        json.parse::<Scenario>()
    };
    for rate in ["0", "0.5", "1.0"] {
        assert!(with(rate).is_ok(), "{rate}");
    }
    for rate in ["-0.1", "1.5", "50"] {
        assert!(with(rate).unwrap_err().to_string().contains("rate is 0 to 1"), "{rate}");
    }
}
