//! What a terminal reverses (D7-D13).
//! The language of the scripts is in `world`.

use crate::world::{World, check, check_with, config};
use switch::*;

#[test]
fn d7_a_reversal_in_flight_cancels_what_was_asked() {
    check(
        "sale 1 1000 > issuer 0200 1000
         reverse 1 1000 conn 2 > issuer 0420 1000 4000; terminal 0410 00
         cause 1 D7
         answer 00 > issuer 0421 1000 4000
         ack 00
         state 1 unwound",
    );
    check(
        "sale 1 1000 > issuer 0200 1000
         report silent
         answer 00 > terminal 0210 00
         reverse 1 1000 conn 2 > withdraw; issuer 0420 1000 4000; terminal 0410 00",
    );
}

#[test]
fn d8_a_reversal_of_a_standing_approval_undoes_it() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 bare > issuer 0420 1000 4000; terminal 0410 00
         cause 1 D8
         ack 00
         state 1 unwound
         doubt 0",
    );
    // Confirmed already: the terminal's word still counts.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 2000
         sale 2 500 > issuer 0200 500
         state 1 confirmed
         reverse 1 1000 conn 2 > issuer 0420 1000 4000; terminal 0410 00
         ack 00
         state 1 unwound",
    );
}

#[test]
fn d9_a_reversal_of_a_decline_is_answered_00() {
    check(
        "sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51\nreverse 1 1000 > terminal 0410 00\nstate 1 declined\ndoubt 0",
    );
}

#[test]
fn d10_a_reversal_again_changes_nothing() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         reverse 1 1000 > terminal 0410 00
         ack 00
         reverse 1 1000 > terminal 0410 00
         state 1 unwound",
    );
}

#[test]
fn d11_a_reversal_before_its_original_buries_it() {
    check(
        "reverse 1 1000 > terminal 0410 00
         waits
         sale 1 1000 > terminal 0210 94
         waits
         repeat 1 1000 > terminal 0210 94
         movements 0
         sale 2 1000 > issuer 0200 1000",
    );
    check("reverse 1 1000 > terminal 0410 00\ncrash\nlink up\nsale 1 1000 > terminal 0210 94");
    check("reverse 1 1000 > terminal 0410 00\npass 86400000\nsale 1 1000 date 1123 > issuer 0200 1000");
    check("reverse 1 1000 > terminal 0410 00\nsale 1 1000 term 2 > issuer 0200 1000");
}

#[test]
fn d12_a_reversal_that_differs_is_for_a_person() {
    let live = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    check(&format!("{live}reverse 1 900 > terminal 0410 64\nstate 1 needs_operator\noperator 1 D12\ndoubt 1"));
    for keeps_all in ["1000", "1001"] {
        check(&format!("{live}reverse 1 1000 keep {keeps_all} > terminal 0410 64\nstate 1 needs_operator\nnet 1 1000"));
    }
    check(&format!("{live}reverse 1 1000 card 2 > terminal 0410 00\nstate 1 needs_operator"));
    // It blocks C1.
    check(&format!(
        "{live}reverse 1 900 > terminal 0410 64\npass 5000\nsale 2 500 > issuer 0200 500\nstate 1 needs_operator"
    ));
    // An older one on STAN and amount alone.
    check(&format!("{live}pass 600000\nreverse 1 1000 > terminal 0410 00\nstate 1 needs_operator"));
    check(&format!("{live}pass 600000\nreverse 1 1000 rrn > issuer 0420 1000 4000; terminal 0410 00"));
    // A hold and a debit under one STAN, and nothing says which is meant.
    let both = format!("{live}auth 1 1000 > issuer 0100 1000\nanswer 00 > terminal 0110 00\n");
    check(&format!("{both}reverse 1 1000 bare > terminal 0410 00\nstate 1 needs_operator\ndoubt 1"));
    check(&format!("{both}reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\ndoubt 1"));
    // DE90 names another time or class: too little to reverse it on, too much to say that nothing stands.
    check(&format!("{live}reverse 1 1000 oldtime > terminal 0410 00\nstate 1 needs_operator\noperator 1 D12"));
    check(&format!("{live}reverse 1 1000 class 0100 > terminal 0410 00\nstate 1 needs_operator"));
    check(&format!("{live}reverse 1 900 oldtime > terminal 0410 00\nstate 1 awaiting_confirmation"));
    check("sale 1 1000 > issuer 0200 1000\nreverse 1 1000 oldtime > terminal 0410 00\nstate 1 needs_operator");
    check(&format!(
        "{live}pass 2000\nsale 2 500 > issuer 0200 500\nstate 1 confirmed\nreverse 1 1000 oldtime > terminal 0410 00\nstate 1 needs_operator"
    ));
    // Without DE49 the amount is still an amount.
    check(&format!("{live}reverse 1 1 nocurrency > terminal 0410 64\nstate 1 needs_operator"));
    check(&format!("{live}reverse 1 1000 nocurrency > issuer 0420 1000 4000; terminal 0410 00"));
    // The right reversal of an unanswered original, after a wrong one.
    check(
        "sale 1 1000 > issuer 0200 1000\nreverse 1 900 > terminal 0410 64\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\ncause 1 D7",
    );
    // A right reversal after a wrong one still undoes it (D8).
    check(&format!(
        "{live}reverse 1 900 > terminal 0410 64\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\nack 00\nstate 1 unwound"
    ));
}

#[test]
fn d13_a_partial_reversal_leaves_what_remains() {
    let mut world = World::new(config());
    world.run(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00
         state 1 awaiting_confirmation
         net 1 400
         doubt 1
         reverse 1 1000 keep 400 > terminal 0410 00
         ack 00
         doubt 0
         net 1 400
         pass 3000
         sale 2 500 > issuer 0200 500
         state 1 confirmed
         net 1 400
         reverse 1 1000 keep 500 > terminal 0410 64
         state 1 needs_operator",
    );
    assert_eq!(world.reversals()[0].text(95).map(|text| &text[..12]), Some("000000000400"));
    // All of it, after a part of it.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00
         reverse 1 400 > issuer 0420 1000 4000; terminal 0410 00
         cause 1 D8
         ack 00
         state 1 unwound
         net 1 0",
    );
    // It survives a crash, beside a confirmation.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00
         pass 2500
         sale 2 500 card 2 > issuer 0200 500
         state 1 confirmed
         doubt 2
         crash
         link up > issuer 0420 500 4021
         pass 0 > issuer 0421 1000 4004
         ack 00
         state 1 confirmed",
    );
    check(
        "sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51\nreverse 1 1000 keep 400 > terminal 0410 00\nstate 1 declined",
    );
}

#[test]
fn d10_a_reversal_for_what_a_person_has_or_decided_changes_nothing() {
    // In the hands of a person with nothing held: the issuer said that there was no such original (R2).
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         ack 25
         state 1 needs_operator
         reverse 1 1000 > terminal 0410 00
         waits
         state 1 needs_operator
         operator 1 R2",
    );
    for how in ["stands", "undone-elsewhere", "adjusted-elsewhere 300"] {
        check(&format!(
            "sale 1 1000 > issuer 0200 1000
             answer 00 > terminal 0210 00
             reverse 1 900 > terminal 0410 64
             resolve 1 {how} > resolved
             reverse 1 1000 > terminal 0410 00
             waits
             state 1 resolved
             doubt 0"
        ));
    }
}

#[test]
fn d9_a_reversal_of_what_never_left_is_answered_00() {
    check(
        "report notsent\nsale 1 1000 > issuer 0200 1000; terminal 0210 91\nreverse 1 1000 > terminal 0410 00\nstate 1 declined\ndoubt 0",
    );
}

#[test]
fn d12_the_reversals_of_others_find_nothing_of_this_terminal() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 term 2 conn 2 > terminal 0410 00
         reverse 1 1000 own rrn de38 AP0001 term 2 conn 2 > terminal 0410 00
         state 1 awaiting_confirmation
         evidence 1 handed",
    );
}

#[test]
fn d11_a_tombstone_refuses_an_original_that_was_made_while_it_lived() {
    check("reverse 1 1000 > terminal 0410 00\npass 86399999\nsale 1 1000 fresh > terminal 0210 94");
    check("reverse 1 1000 > terminal 0410 00\npass 86400001\nsale 1 1000 > terminal 0210 94");
    check("reverse 1 1000 > terminal 0410 00\npass 86400001\nsale 1 1000 fresh > issuer 0200 1000");
    check("reverse 1 1000 > terminal 0410 00\npass 86400001\nsale 1 1000 date 1123 > issuer 0200 1000");
}

#[test]
fn d13_a_remainder_that_cannot_be_read_is_no_full_reversal() {
    let live = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    for unreadable in
        ["+00000000700", "-00000000700", "________0700", "ABCDEFGHIJKL", "00000000070", "000000000000________7___"]
    {
        check(&format!(
            "{live}reverse 1 1000 de95 {unreadable} > terminal 0410 30\nstate 1 awaiting_confirmation\nnet 1 1000"
        ));
    }
    for full in ["000000000000", "____________", "0", "000000000000000000000000000000000000000000"] {
        check(&format!("{live}reverse 1 1000 de95 {full} > issuer 0420 1000 4000; terminal 0410 00"));
    }
    // With the amount of settlement that is to remain, or without.
    for part in ["000000000700", "000000000700000000000700"] {
        check(&format!("{live}reverse 1 1000 de95 {part} > issuer 0420 1000 4004; terminal 0410 00\nnet 1 700"));
    }
}

#[test]
fn d10_the_repeat_of_a_part_that_a_later_part_overtook() {
    let parts = "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 keep 700 > issuer 0420 1000 4004; terminal 0410 00
         ack 00
         reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00
         ack 00
         ";
    check(&format!("{parts}reverse 1 1000 keep 700 again > terminal 0430 00\nstate 1 awaiting_confirmation\nnet 1 400"));
    // Not a repeat: nobody knows what the terminal means.
    check(&format!("{parts}reverse 1 1000 keep 700 > terminal 0410 64\nstate 1 needs_operator"));
    check(&format!("{parts}reverse 1 1000 keep 1000 again > terminal 0430 64\nstate 1 needs_operator"));
}

#[test]
fn d8_the_switchs_rrn_alone_names_its_original() {
    let rrn = "63261000000";
    let live = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    let named = |rest: &str| check(&format!("{live}reverse 1 1000 own ownrrn {rrn}1 {rest}"));
    named("> issuer 0420 1000 4000; terminal 0410 00\nstate 1 awaiting_reversal_ack");
    named("card 0 > issuer 0420 1000 4000; terminal 0410 00");
    named("card 1 > terminal 0410 00\nstate 1 needs_operator");
    check(&format!("{live}reverse 1 900 own ownrrn {rrn}1 > terminal 0410 64\nstate 1 needs_operator"));
    // Another terminal's word; another STAN in DE90; a sale that its own STAN may mean.
    named("term 2 conn 2 > terminal 0410 00\nstate 1 awaiting_confirmation");
    check(&format!("{live}reverse 77 1000 ownrrn {rrn}1 > terminal 0410 00\nstate 1 awaiting_confirmation"));
    check(&format!(
        "{live}sale 999 1000 fresh > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 own ownrrn {rrn}1 > terminal 0410 00
         state 1 awaiting_confirmation
         state 999 needs_operator"
    ));
    // One of another amount, or of long ago, is not what it means.
    let other = "sale 999 700 fresh > issuer 0200 700\nanswer 00 > terminal 0210 00";
    let named = format!("reverse 1 1000 own ownrrn {rrn}1 > issuer 0420 1000 4000; terminal 0410 00\ncause 1 D8");
    check(&format!("{live}{other}\n{named}\nstate 999 awaiting_confirmation"));
    let old = "sale 999 1000 fresh card 2 > issuer 0200 1000\nanswer 51 > terminal 0210 51\npass 600000\n";
    let of_today = format!("reverse 1 1000 own ownrrn {rrn}2 > issuer 0420 1000 4000; terminal 0410 00\ncause 1 D8");
    check(&format!("{old}{live}{of_today}"));
}

/// What a person reads of it: its terminal has said that the sale is off, or has not.
#[test]
fn d7_d8_that_a_terminal_reversed_a_movement_is_on_record() {
    let live = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    for (script, seen) in [
        (format!("{live}reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00"), true),
        ("sale 1 1000 > issuer 0200 1000\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00".to_owned(), true),
        (format!("{live}reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00"), false),
        ("sale 1 1000 > issuer 0200 1000\npass 15000 > issuer 0420 1000 4021; terminal 0210 68".to_owned(), false),
    ] {
        let mut world = World::new(config());
        world.run(&format!("{script}\ncrash"));
        assert_eq!(world.core().movements().next().unwrap().reversal_seen, seen, "{script}");
    }
}

/// A field that is too short or full of zeros names nothing, and the next one is looked at.
#[test]
fn d8_the_original_is_named_by_de90_else_by_de61_else_by_the_own_stan() {
    let live = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    let (reversed, nothing) = ("issuer 0420 1000 4000; terminal 0410 00", "terminal 0410 00");
    let zeros = "0".repeat(42);
    let de90 = |stan: &str| format!("0200{stan}{}", "0".repeat(32));
    for (reversal, then) in [
        (format!("own set 90={}", de90("000001")), reversed),
        (format!("bare set 90={}", de90("000077")), nothing),
        (format!("bare set 90={zeros}"), reversed),
        ("bare set 90=0200000077".to_owned(), reversed),
        ("own set 61=000001000001".to_owned(), reversed),
        ("own set 61=000001000001999".to_owned(), reversed),
        ("bare set 61=000001000077".to_owned(), nothing),
        ("bare set 61=00000100007".to_owned(), reversed),
        (format!("own set 61=000001000001,90={zeros}"), reversed),
        (format!("own set 61=000001000077,90={}", de90("000001")), reversed),
    ] {
        check(&format!("{live}reverse 1 1000 {reversal} > {then}"));
    }
}

/// What a person finds when they look for the sale that was refused: what its reversal said of it.
#[test]
fn d11_a_tombstone_keeps_what_the_reversal_said_of_its_original() {
    for (reversal, class, minor) in [
        ("reverse 1 1000", Some(Class::Financial), Some(1000)),
        ("reverse 1 1000 class 0100", Some(Class::Authorisation), Some(1000)),
        ("reverse 1 1000 nocurrency bare", None, None),
    ] {
        let mut world = World::new(config());
        world.run(&format!("{reversal} > terminal 0410 00"));
        let Record::Tombstone { class: of, amount, .. } = world.records.last().unwrap().record else { panic!("{reversal}") };
        assert_eq!((of, amount.map(|amount| amount.minor())), (class, minor), "{reversal}");
    }
}

#[test]
fn d11_a_reversal_finds_what_began_within_the_lookback_and_nothing_older() {
    let long_ago = |ms: u64, then: &str| {
        check_with(
            |config| config.reversal_lookback_ms = 700_000,
            &format!("sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\npass {ms}\nreverse 1 1000 rrn > {then}"),
        );
    };
    long_ago(699_999, "issuer 0420 1000 4000; terminal 0410 00");
    long_ago(700_000, "terminal 0410 00\nstate 1 awaiting_confirmation");
}
