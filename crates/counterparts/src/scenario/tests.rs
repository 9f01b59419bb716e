//! The versions and keys of a scenario, and the examples that come with the project.

use super::*;

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
