//! Every state has its sentence; the facts that cost money stand in it.

use iso8583::{Amount, Currency, Rrn, Stan, TerminalId};
use switch::{
    Answer, Class, Fingerprint, GroupNo, IssuerNo, Key, LinkNo, Lsn, MovementId, Obligation, Reason, Rule, Scope, SentAs,
    Verdict,
};

use super::*;

/// 12.50 EUR of terminal 1, in this state, with this answer.
fn movement(state: StateKind, evidence: Evidence, code: Option<&str>) -> Movement {
    let stan = Stan::new(1).expect("a number");
    let terminal = TerminalId::new(b"TERM0001", b"MERCHANT0000001").expect("a name");
    let amount = Amount::new(1250, "978".parse::<Currency>().expect("a currency")).expect("an amount");
    let answer = |code: &str| Answer {
        code: code.parse().expect("two digits"),
        approval: None,
        amount: None,
        balances: None,
        moved: code == "00",
        wall_ms: 0,
    };
    Movement {
        id: MovementId(1),
        rrn: "632610000001".parse::<Rrn>().expect("an RRN"),
        terminal_rrn: None,
        key: Key { terminal, stan, class: Class::Financial },
        group: GroupNo(1),
        fingerprint: Fingerprint { processing_code: *b"000000", amount, card: None, references: 0, chip: None },
        card: None,
        link: LinkNo { issuer: IssuerNo(1), number: 1 },
        sent_as: SentAs { stan, transmitted: *b"1122184601" },
        local_time: None,
        terminal_transmitted: None,
        entry_mode: None,
        condition: None,
        acquirer: None,
        begun_wall_ms: 0,
        state,
        since_wall_ms: 0,
        answer: code.map(answer),
        second_approval: None,
        evidence,
        obligation: None,
        remains_minor: None,
        acknowledged_minor: None,
        confirmed: None,
        operator_rule: None,
        verdict: None,
        reversal_seen: false,
        contested: false,
        last_record: Lsn(1),
    }
}

/// A promise that is not kept yet.
fn promise() -> Obligation {
    Obligation {
        scope: Scope::All,
        ended: false,
        overdue: false,
        rule: Rule::T7,
        reason: Reason::Unspecified,
        opened_wall_ms: 0,
        early: None,
        deciding: None,
        refused: None,
    }
}

fn resolved(resolution: Resolution) -> Movement {
    let verdict = Verdict { resolution, who: "ann".to_owned(), why: "ticket 7".to_owned(), wall_ms: 0 };
    Movement { verdict: Some(verdict), ..movement(StateKind::Resolved, Evidence::None, Some("00")) }
}

/// What became of the money, by the state alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Money {
    Stands,
    MayHaveMoved,
    None,
}

/// What a sentence must say, and what it must not, in English and in Chinese.
#[track_caller]
fn check(m: &Movement, money: Money) {
    let said = sentence(m);
    let has = |text: &str, words: &[&str]| words.iter().any(|word| text.contains(word));
    let what = format!("{:?}, {:?}, {money:?}: {said:?}", m.state, m.evidence);
    let (en, zh): (&[&str], &[&str]) = match money {
        Money::Stands => (&["money moved: 12.50 978 stands", "12.50 978 stands;"], &["有效金额12.50 978"]),
        Money::MayHaveMoved => (
            &["is not known yet", "12.50 978 may have moved", "money moved (12.50 978) and is given back"],
            &["尚不确定", "可能已扣款", "可能另有扣款", "已扣款（12.50 978），发卡方确认冲正后退回"],
        ),
        Money::None => (&["no money moved", "no money stands"], &["未扣款", "款项未发生或已退回"]),
    };
    assert!(has(&said.en, en) && has(&said.zh, zh), "it says whether money moved: {what}");
    let none: (&[&str], &[&str]) = (&["no money"], &["；未扣款；", "款项未发生"]);
    assert_eq!((has(&said.en, none.0), has(&said.zh, none.1)), (money == Money::None, money == Money::None), "{what}");
    let again: (&[&str], &[&str]) = (
        &["may charge", "may try"],
        &["可重新收款", "可立即重试", "请换卡", "请稍后重试", "处理后重试", "签到后重试", "可减小"],
    );
    let warned: (&[&str], &[&str]) = (
        &["not charge again", "query before charging again", "before handing over goods or charging again"],
        &["请勿重复收款", "请先查询再收款", "再次收款前请联系收单机构"],
    );
    if money != Money::None {
        assert!(!has(&said.en, again.0) && !has(&said.zh, again.1), "it advises to charge again: {what}");
        assert!(has(&said.en, warned.0) && has(&said.zh, warned.1), "it warns of charging again: {what}");
    }
}

#[test]
fn every_state_says_whether_money_moved_and_none_advises_to_charge_while_it_may_have() {
    for evidence in Evidence::ALL {
        for state in StateKind::ALL {
            let of = |code: Option<&str>| movement(state, evidence, code);
            let owing = |m: Movement| Movement { obligation: Some(promise()), ..m };
            match state {
                StateKind::AwaitingIssuer => check(&of(None), Money::MayHaveMoved),
                StateKind::AwaitingDelivery | StateKind::AwaitingConfirmation | StateKind::Confirmed => {
                    check(&of(Some("00")), Money::Stands);
                    check(&owing(of(Some("00"))), Money::Stands);
                }
                StateKind::AwaitingReversalAck => {
                    for code in [None, Some("00"), Some("05")] {
                        check(&owing(of(code)), Money::MayHaveMoved);
                    }
                }
                StateKind::NeedsOperator => {
                    check(&of(None), Money::MayHaveMoved);
                    check(&of(Some("00")), Money::Stands);
                }
                StateKind::Declined => {
                    check(&of(None), Money::None);
                    for code in 1..=99 {
                        let code = format!("{code:02}");
                        check(&of(Some(&code)), Money::None);
                    }
                    check(&owing(of(Some("05"))), Money::MayHaveMoved);
                }
                StateKind::Unwound => {
                    check(&of(Some("00")), Money::None);
                    check(&owing(of(Some("00"))), Money::MayHaveMoved);
                }
                StateKind::Resolved => {
                    for (resolution, money) in [
                        (Resolution::Stands, Money::Stands),
                        (Resolution::AdjustedElsewhere { minor: 1250 }, Money::Stands),
                        (Resolution::AdjustedElsewhere { minor: 0 }, Money::None),
                        (Resolution::UndoneElsewhere, Money::None),
                    ] {
                        check(&Movement { evidence, ..resolved(resolution) }, money);
                    }
                    check(&owing(resolved(Resolution::UndoneElsewhere)), Money::MayHaveMoved);
                }
            }
        }
    }
}

/// What is about no movement moved nothing that is known, and is no leave to charge again either.
#[test]
fn what_is_about_no_movement_warns_of_charging_again() {
    for said in [tombstone(), entry_alone(Rule::D11), entry_alone(Rule::D6)] {
        assert!(said.en.contains("no money moved") && said.en.contains("before charging again"), "{said:?}");
        assert!(said.zh.contains("未扣款") && said.zh.contains("再次收款前"), "{said:?}");
    }
}

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
