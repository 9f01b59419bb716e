//! Every state has its sentence; the facts that cost money stand in it.

use super::*;

#[test]
fn amounts_are_written_as_people_write_them() {
    let check = |minor, currency, shown: &str| assert_eq!(amount(minor, currency), shown);
    check(1250, "978", "12.50 978");
    check(5, "156", "0.05 156");
    check(1250, "392", "1250 392");
    check(1250, "048", "1250 minor units of 048");
}

#[test]
fn every_advice_and_every_reason_speaks_both_languages() {
    for code in 0..=99 {
        let code = format!("{code:02}");
        let meaning = codes::meaning(code.parse().expect("two digits"));
        let advice = meaning.retry.advice();
        assert!(!advice.en.is_empty() && advice.zh.chars().any(|c| c as u32 > 0x4e00), "{code}");
    }
}
