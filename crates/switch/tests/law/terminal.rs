//! What a terminal sends again: repeats, sales keyed again, reversals, look-ups (D1-D13).
//! The language of the scripts is in `world`.

use crate::world::{World, check, check_with, config, shops};
use switch::*;

#[test]
fn d1_a_repeat_in_flight_moves_the_answer_to_its_newest_connection() {
    check(
        "sale 1 1000 > issuer 0200 1000
         close
         repeat 1 1000 conn 2
         answer 00 > terminal 0210 00
         evidence 1 handed",
    );
}

#[test]
fn d2_a_repeat_gets_the_stored_answer_and_the_issuer_sees_nothing() {
    check(
        "sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51\nrepeat 1 1000 > terminal 0210 51\nsale 1 1000 > terminal 0210 51",
    );
    check(
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nrepeat 1 1000 > terminal 0210 00\npass 700000\nrepeat 1 1000 > terminal 0210 00",
    );
}

#[test]
fn d3_a_repeat_of_what_is_unwound_gets_68() {
    check(
        "sale 1 1000 > issuer 0200 1000
         pass 15000 > issuer 0420 1000 4021; terminal 0210 68
         repeat 1 1000 > terminal 0210 68",
    );
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 51 > terminal 0210 51
         reverse 1 1000 > terminal 0410 00
         repeat 1 1000 > terminal 0210 68",
    );
}

#[test]
fn d4_the_same_key_with_other_content_is_refused_and_the_first_untouched() {
    check(
        "sale 1 1000 > issuer 0200 1000
         sale 1 2000 conn 2 > terminal 0210 94
         waits
         exceptions 1
         answer 00 > terminal 0210 00
         sale 1 2000 > terminal 0210 94
         state 1 awaiting_confirmation
         repeat 1 1000 > terminal 0210 00",
    );
    // A later reversal that does not say which one it means is for a person (D12); one that proves it is not.
    let contested = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nsale 1 2000 > terminal 0210 94\n";
    check(&format!("{contested}reverse 1 1000 > terminal 0410 00\nstate 1 needs_operator\noperator 1 D12"));
    check(&format!("{contested}reverse 1 1000 rrn > issuer 0420 1000 4000; terminal 0410 00\ncause 1 D8"));
}

#[test]
fn outside_the_window_a_used_stan_is_a_new_transaction() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 51 > terminal 0210 51
         pass 599999
         sale 1 1000 time 071809 > terminal 0210 51
         pass 1
         sale 1 1000 time 071809 > issuer 0200 1000
         noted STAN reuse
         movements 2",
    );
    // Of the same local time it is the same, however long ago.
    check("sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51\npass 600000\nsale 1 1000 > terminal 0210 51");
}

#[test]
fn the_chips_counter_and_random_number_make_a_tap_and_nothing_else_of_it() {
    let tapped = "sale 1 1000 tap 1 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    // A repeat may carry another cryptogram, or a terminal leave the chip's data out of it.
    check(&format!("{tapped}repeat 1 1000 tap 1 cryptogram 9 > terminal 0210 00\nmovements 1"));
    for another in ["tap 2", "tap 1 random 9"] {
        check(&format!("{tapped}sale 1 1000 {another} > issuer 0200 1000\nnoted STAN reuse\nmovements 2\nexceptions 1"));
        check(&format!("{tapped}repeat 1 1000 {another} > issuer 0200 1000\nmovements 2"));
    }
    // Chip data on one side only is another content, and no proof of another tap.
    check(&format!("{tapped}sale 1 1000 > terminal 0210 94\nmovements 1"));
}

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
fn d11_a_repeat_whose_original_never_arrived_is_the_original_unless_it_is_old() {
    check("repeat 1 1000 > issuer 0200 1000");
    check("repeat 1 1000 time 060000 > terminal 0210 94\nwaits\nexceptions 1");
}

#[test]
fn d12_a_reversal_that_differs_is_for_a_person() {
    let live = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    check(&format!("{live}reverse 1 900 > terminal 0410 64\nstate 1 needs_operator\noperator 1 D12\ndoubt 1"));
    check(&format!("{live}reverse 1 1000 keep 1001 > terminal 0410 64\nstate 1 needs_operator"));
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
fn what_memory_holds_is_not_overwritten_by_what_a_look_up_finds() {
    let mut config = config();
    config.dedup_keys = 1;
    let mut world = World::new(config);
    world.run(
        "sale 1 1000 > issuer 0200 1000
         answer 51 > terminal 0210 51
         pass 1300000
         sale 2 1000 time 073000 > issuer 0200 1000
         answer 51 > terminal 0210 51
         sale 1 700 time 073000 > issuer 0200 700
         movements 2
         reverse 1 1000 de7 1122070000 > find
         found > terminal 0410 00
         state 1 awaiting_issuer",
    );
    let recalled = world.records().iter().filter(|entry| matches!(entry.record, Record::Recalled { .. })).count();
    assert_eq!(recalled, 1, "only what memory had let go");
}

#[test]
fn look_ups_bring_back_what_memory_let_go() {
    let small = |config: &mut Config| config.dedup_keys = 1;
    let let_go = "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 3000
         sale 2 500 > issuer 0200 500
         answer 51 > terminal 0210 51
         pass 1300000
         sale 3 700 time 073000 > issuer 0200 700
         answer 51 > terminal 0210 51
         movements 1
        ";
    check_with(
        small,
        &format!(
            "{let_go}\nreverse 1 1000 de7 1122070809 > find\nfound > issuer 0420 1000 4000; terminal 0410 00\nack 00\nstate 1 unwound"
        ),
    );
    check_with(
        small,
        &format!("{let_go}\nreverse 9 1000 > find\nfound > terminal 0410 00\nsale 9 1000 time 073000 > terminal 0210 94"),
    );
    check_with(small, &format!("{let_go}\nrepeat 1 1000 > find\nfound > terminal 0210 00"));
    // A reversal cancels a request that waits for its look-up; one that cannot be looked up stays without an answer.
    check_with(
        small,
        &format!("{let_go}\nrepeat 8 1000 > find\nreverse 8 1000 conn 2 > find\nfound\nfound > terminal 0410 00"),
    );
    check_with(small, &format!("{let_go}\nreverse 1 1000 > find\nnot-found"));
    check_with(small, &format!("{let_go}\nrepeat 8 1000 > find\nnot-found > terminal 0210 91"));
}

#[test]
fn m8_d5_a_sale_keyed_again_unwinds_the_one_that_was_not_handed_over_and_goes_on() {
    check(
        "sale 1 1000 > issuer 0200 1000
         report undeliverable
         answer 00 > terminal 0210 00
         pass 1000
         sale 2 1000 fresh conn 2 > issuer 0420 1000 4013; issuer 0200 1000
         cause 1 D5
         answer 00 > terminal 0210 00
         ack 00
         state 1 unwound
         state 2 awaiting_confirmation
         exceptions 0",
    );
    // Another amount, card, class or a reference to it: another sale.
    for other in [
        "sale 2 1001 fresh > issuer 0200 1001",
        "sale 2 1000 fresh card 2 > issuer 0200 1000",
        "auth 2 1000 fresh > issuer 0100 1000",
    ] {
        check(&format!(
            "sale 1 1000 > issuer 0200 1000
             report undeliverable
             answer 00 > terminal 0210 00
             {other}
             state 1 awaiting_delivery"
        ));
    }
}

/// Connect per call: the first copy of a request, or an older repeat, can be overtaken by a newer one and come when its own
/// connection is gone. The terminal has its answer.
#[test]
fn m8_t8_a_copy_that_comes_right_after_the_answer_was_handed_takes_nothing_back() {
    let handed = "sale 1 1000 > issuer 0200 1000
         repeat 1 1000 conn 2
         answer 00 > terminal 0210 00
         state 1 awaiting_confirmation
         ";
    for copy in ["sale 1 1000", "repeat 1 1000"] {
        check(&format!(
            "{handed}report undeliverable
             {copy} > terminal 0210 00
             state 1 awaiting_confirmation
             evidence 1 unknown
             report undeliverable
             {copy} > terminal 0210 00
             evidence 1 unknown
             pass 10000
             state 1 awaiting_confirmation"
        ));
    }
    // After the margin it was sent by a terminal that did not get the answer.
    check(&format!(
        "{handed}pass 2000
         report undeliverable
         repeat 1 1000 conn 3 > terminal 0210 00
         state 1 awaiting_delivery
         pass 5000 > issuer 0420 1000 4013"
    ));
}

/// The sale that was flagged may be undone, and the next one stands beside the first: its own entry names it.
#[test]
fn d6_each_sale_that_goes_on_beside_an_equal_one_is_flagged() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 2 1000 > issuer 0200 1000
         exceptions 1
         report undeliverable
         answer 00 > terminal 0210 00
         sale 3 1000 > issuer 0420 1000 4013; issuer 0200 1000
         exceptions 2",
    );
    // One that is refused charges nobody: one entry is enough, however often it is tried.
    check_with(
        |config| shops(config).on_rekey = OnRekey::Refuse,
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 2 1000 > terminal 0210 94
         sale 3 1000 > terminal 0210 94
         exceptions 1",
    );
}

#[test]
fn m8_d6_equal_sales_that_may_both_be_good_are_flagged_and_never_reversed() {
    let twice = "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 3000
         ";
    check(&format!(
        "{twice}sale 2 1000 fresh > issuer 0200 1000\nexceptions 1\nstate 1 confirmed\nanswer 00 > terminal 0210 00\ndoubt 0"
    ));
    check_with(
        |config| shops(config).on_rekey = OnRekey::Refuse,
        &format!(
            "{twice}sale 2 1000 fresh > terminal 0210 94\nexceptions 1\nmovements 1\nrepeat 2 1000 fresh > terminal 0210 94"
        ),
    );
    check(&format!("{twice}pass 180000\nsale 2 1000 fresh > issuer 0200 1000\nexceptions 0"));
    // A crash hides whether the first was handed: allowed and flagged, not reversed.
    check(
        "sale 1 1000 > issuer 0200 1000
         report silent
         answer 00 > terminal 0210 00
         crash
         link up
         sale 2 1000 fresh > issuer 0200 1000
         exceptions 1
         state 1 awaiting_confirmation",
    );
}

#[test]
fn a_new_tap_under_a_used_key_is_a_new_transaction_and_closes_the_earlier() {
    check(
        "sale 1 1000 tap 1 > issuer 0200 1000
         sale 1 1000 tap 2 conn 2 > issuer 0420 1000 4001; issuer 0200 1000
         movements 2
         answer 00 > terminal 0210 00
         repeat 1 1000 tap 2 > terminal 0210 00
         repeat 1 1000 tap 1 > terminal 0210 68",
    );
    check(
        "sale 1 1000 tap 1 > issuer 0200 1000
         report undeliverable
         answer 00 > terminal 0210 00
         sale 1 1000 tap 2 conn 2 > issuer 0420 1000 4013; issuer 0200 1000",
    );
    check(
        "sale 1 1000 tap 1 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 1 1000 tap 2 conn 2 > issuer 0200 1000
         exceptions 1",
    );
}

#[test]
fn on_repeat_unwind_takes_a_late_repeat_for_a_sale_given_up() {
    let unwind = |config: &mut Config| shops(config).on_repeat = OnRepeat::Unwind;
    let sale = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    check_with(unwind, &format!("{sale}pass 1999\nrepeat 1 1000 > terminal 0210 00\nstate 1 awaiting_confirmation"));
    check_with(
        unwind,
        &format!(
            "{sale}pass 2000\nrepeat 1 1000 > issuer 0420 1000 4013; terminal 0210 68\ncause 1 D2\nack 00\nstate 1 unwound"
        ),
    );
    check_with(
        unwind,
        "sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51\npass 5000\nrepeat 1 1000 > terminal 0210 51",
    );
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
fn d1_t8_an_answer_goes_to_the_connection_that_last_carried_its_key() {
    for then in ["", "close", "close\nlink up 2"] {
        check(&format!(
            "sale 1 1000 > issuer 0200 1000
             repeat 1 1000 conn 2
             {then}
             answer 00 > terminal 0210 00
             answered-on 2
             evidence 1 handed
             repeat 1 1000 conn 3 > terminal 0210 00
             answered-on 3"
        ));
    }
    // Nobody is there on the newest: the older is not told.
    check("sale 1 1000 > issuer 0200 1000\nrepeat 1 1000 conn 2\nclose conn 2\nanswer 00\nevidence 1 not_handed");
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

/// Two approvals would stand, and nobody would know: what a serial terminal would have given up (T10), another is flagged for.
#[test]
fn d6_an_equal_sale_while_the_first_awaits_its_issuer_is_flagged() {
    let lanes = |change: fn(&mut Group)| {
        move |config: &mut Config| {
            let group = config.groups.get_mut(&GroupNo(1)).unwrap();
            (group.serial, group.reverses_first) = (false, false);
            change(group);
        }
    };
    check_with(
        lanes(|_| {}),
        "sale 1 1000 > issuer 0200 1000
         sale 2 1000 > issuer 0200 1000
         exceptions 1",
    );
    check_with(
        lanes(|group| group.on_rekey = OnRekey::Refuse),
        "sale 1 1000 > issuer 0200 1000
         sale 2 1000 > issuer 0200 1000
         exceptions 1
         answer 00 nth 1 > terminal 0210 00
         sale 3 1000 fresh > issuer 0200 1000
         answer 00 nth 2 > terminal 0210 00
         answer 51 nth 3 > terminal 0210 51
         sale 4 1000 fresh > terminal 0210 94",
    );
}

#[test]
fn d6_the_entry_of_two_equal_sales_is_closed_when_one_of_them_ends_without_money() {
    let lanes = |config: &mut Config| {
        let group = config.groups.get_mut(&GroupNo(1)).unwrap();
        (group.serial, group.reverses_first) = (false, false);
    };
    let two = "sale 1 1000 > issuer 0200 1000\nsale 2 1000 fresh > issuer 0200 1000\nexceptions 1\n";
    for ends in [
        "answer 51 nth 1 > terminal 0210 51",
        "answer 51 nth 2 > terminal 0210 51",
        "answer 00 nth 1 > terminal 0210 00\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\nexceptions 1\nack 00",
        "reverse 2 1000 > issuer 0420 1000 4000; terminal 0410 00\nanswer 51 nth 2 > issuer 0421 1000 4000\nack 00",
    ] {
        check_with(lanes, &format!("{two}{ends}\nexceptions 0\ncrash\nexceptions 0"));
    }
    check_with(
        lanes,
        "report silent\nsale 1 1000 > issuer 0200 1000\nsale 2 1000 fresh > issuer 0200 1000\nexceptions 1\nnever-sent > terminal 0210 91\nexceptions 0",
    );
    // The third was flagged beside the second, and stands beside the first.
    check_with(
        lanes,
        &format!(
            "{two}sale 3 1000 fresh > issuer 0200 1000\nexceptions 2\nanswer 51 nth 2 > terminal 0210 51\nexceptions 2"
        ),
    );
    // Both stand: a person decides.
    check_with(lanes, &format!("{two}answer 00 nth 1 > terminal 0210 00\nanswer 00 nth 2 > terminal 0210 00\nexceptions 1"));
    // Refused by policy, and the sale that it was refused for is undone.
    check_with(
        |config| shops(config).on_rekey = OnRekey::Refuse,
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 2 1000 fresh > terminal 0210 94
         exceptions 1
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         ack 00
         exceptions 0",
    );
}

#[test]
fn d6_a_sale_that_is_refused_is_flagged_beside_nothing() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         link down
         sale 2 1000 fresh > terminal 0210 91
         sale 3 1000 fresh > terminal 0210 91
         exceptions 0
         drain
         sale 4 1000 fresh > terminal 0210 96
         exceptions 0",
    );
}

#[test]
fn d6_what_a_person_has_or_let_stand_counts_as_standing() {
    let listed =
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nanswer 00 approval AP0002\nstate 1 needs_operator\n";
    let again = "sale 2 1000 fresh > issuer 0200 1000\n";
    check(&format!("{listed}{again}exceptions 1"));
    check(&format!("{listed}resolve 1 stands > resolved\n{again}exceptions 1"));
    check(&format!("{listed}resolve 1 undone-elsewhere > resolved\n{again}exceptions 0"));
    check(&format!("{listed}resolve 1 undo > issuer 0420 1000 4001; resolved\nexceptions 1\n{again}exceptions 1"));
}

#[test]
fn d6_a_terminal_whose_entries_nobody_looks_at_gets_no_more_equal_sales() {
    let mut world = World::new(config());
    world.run("sale 1 1000 fresh > issuer 0200 1000\nanswer 00 > terminal 0210 00");
    for stan in 2..=1001 {
        world.run_unchecked(&format!("sale {stan} 1000 fresh"));
        world.run_unchecked("answer 00");
    }
    world.run(
        "exceptions 1000
         sale 2000 1000 fresh > terminal 0210 96
         sale 2001 700 fresh > issuer 0200 700
         repeat 2002 700 time 060000 > terminal 0210 94
         exceptions 1000
         sale 2003 1000 fresh term 2 conn 2 > issuer 0200 1000",
    );
}

#[test]
fn m8_d5_a_request_that_carries_an_answers_approval_code_or_rrn_proves_it() {
    let not_handed =
        "sale 1 1000 > issuer 0200 1000\nreport undeliverable\nanswer 00 > terminal 0210 00\nevidence 1 not_handed\n";
    check(&format!(
        "{not_handed}sale 2 700 de38 AP0001 conn 2 > issuer 0200 700\nevidence 1 seen\npass 5000\nstate 1 awaiting_confirmation"
    ));
    check(&format!("{not_handed}sale 2 700 de38 AP0009 conn 2 > issuer 0200 700\nevidence 1 not_handed"));
    check(&format!("{not_handed}sale 2 700 de38 000000 conn 2 > issuer 0200 700\nevidence 1 not_handed"));
    // Another terminal proves nothing.
    check(&format!("{not_handed}sale 2 700 de38 AP0001 term 2 conn 2 > issuer 0200 700\nevidence 1 not_handed"));
    // What a crash left unknown is known then, and C3 takes it.
    check(
        "sale 1 1000 > issuer 0200 1000\nreport silent\nanswer 00 > terminal 0210 00\ncrash\nlink up\nevidence 1 unknown
         sale 2 700 de38 AP0001 conn 2 > issuer 0200 700\nevidence 1 seen",
    );
    // A reversal that a person has to judge proves it too.
    check(&format!("{not_handed}reverse 1 900 de38 AP0001 > terminal 0410 64\nevidence 1 seen"));
    check(&format!("{not_handed}reverse 1 900 > terminal 0410 64\nevidence 1 not_handed"));
}

#[test]
fn d11_a_tombstone_refuses_an_original_that_was_made_while_it_lived() {
    check("reverse 1 1000 > terminal 0410 00\npass 86399999\nsale 1 1000 fresh > terminal 0210 94");
    check("reverse 1 1000 > terminal 0410 00\npass 86400001\nsale 1 1000 > terminal 0210 94");
    check("reverse 1 1000 > terminal 0410 00\npass 86400001\nsale 1 1000 fresh > issuer 0200 1000");
    check("reverse 1 1000 > terminal 0410 00\npass 86400001\nsale 1 1000 date 1123 > issuer 0200 1000");
}

#[test]
fn d7_d8_c3_a_copy_that_crossed_its_answer_is_taken_back_and_its_failure_confirms_nothing() {
    let handed = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    check(&format!(
        "{handed}report silent\nrepeat 1 1000 conn 2 > terminal 0210 00
         reverse 1 1000 conn 3 > withdraw; issuer 0420 1000 4000; terminal 0410 00"
    ));
    // One that was written needs no taking back.
    check(&format!(
        "{handed}repeat 1 1000 conn 2 > terminal 0210 00\nevidence 1 handed
         reverse 1 1000 conn 3 > issuer 0420 1000 4000; terminal 0410 00"
    ));
    let failed = format!("{handed}pass 1000\nreport undeliverable\nrepeat 1 1000 conn 2 > terminal 0210 00\n");
    check(&format!("{failed}evidence 1 unknown\nunknown 1\npass 86400000\nstate 1 needs_operator\noperator 1 K2"));
    // What comes after the margin is a terminal that asks again.
    check(&format!(
        "{failed}pass 1000\nrepeat 1 1000 > terminal 0210 00\nevidence 1 handed\npass 86400000\nstate 1 confirmed"
    ));
}

#[test]
fn t8_what_became_of_the_answer_is_recorded_while_a_person_has_the_case() {
    let listed = "sale 1 1000 > issuer 0200 1000\nreport silent\nanswer 00 > terminal 0210 00\nanswer 00 approval AP0002\n";
    for (then, evidence) in [("written", "handed"), ("late undeliverable", "not_handed"), ("crash", "unknown")] {
        check(&format!("{listed}{then}\nevidence 1 {evidence}\npass 5000\nstate 1 needs_operator\noperator 1 T7"));
    }
}

/// A repeat on the connection that the answer waits for: both copies are taken back with the first reversal.
#[test]
fn d7_every_copy_of_a_queued_answer_is_withdrawn() {
    check(
        "sale 1 1000 > issuer 0200 1000
         report silent
         answer 00 > terminal 0210 00
         report silent
         repeat 1 1000 > terminal 0210 00
         reverse 1 1000 > withdraw; withdraw; issuer 0420 1000 4000; terminal 0410 00",
    );
}

/// A terminal that repeats while its answer is on the way gets the first copy and hangs up: the second cannot be handed over,
/// and says nothing of the first.
#[test]
fn m8_a_repeat_that_crossed_its_answer_takes_nothing_back() {
    let live = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    let undeliverable = "report undeliverable\nrepeat 1 1000 conn 2 > terminal 0210 00\n";
    check(&format!("{live}pass 1999\n{undeliverable}evidence 1 unknown\npass 5000\nstate 1 awaiting_confirmation"));
    check(&format!("{live}pass 2000\n{undeliverable}evidence 1 not_handed\npass 5000 > issuer 0420 1000 4013"));
}

#[test]
fn m8_t8_a_copy_of_the_answer_that_was_handed_counts_whatever_becomes_of_the_newest() {
    let offered = "sale 1 1000 > issuer 0200 1000\nreport silent\nanswer 00 > terminal 0210 00\nreport silent\n";
    // The repeat came on the same connection, or on another one while the first write could not be taken back any more.
    for repeat in ["repeat 1 1000 > terminal 0210 00", "repeat 1 1000 conn 2 > withdraw; terminal 0210 00"] {
        for (first, then) in [("written", "late undeliverable"), ("late undeliverable", "written")] {
            check(&format!(
                "{offered}{repeat}\n{first}\n{then}\nevidence 1 handed\npass 5000\nstate 1 awaiting_confirmation"
            ));
        }
        // It is reported after the newest: the grace has begun, and ends.
        let both_failed = format!("{offered}{repeat}\nlate undeliverable\nlate undeliverable\nevidence 1 not_handed\n");
        check(&format!("{both_failed}pass 5000 > issuer 0420 1000 4013"));
        // What was handed once says nothing of an answer that the terminal asks for long after.
        check(&format!(
            "{offered}{repeat}\nwritten\nlate undeliverable\npass 2000\nreport undeliverable\nrepeat 1 1000 > terminal 0210 00
             evidence 1 not_handed\npass 5000 > issuer 0420 1000 4013"
        ));
    }
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
    check(&format!("{live}reverse 1 1000 de95 000000000700 > issuer 0420 1000 4004; terminal 0410 00\nnet 1 700"));
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
}

#[test]
fn d6_many_equal_sales_that_ended_hide_none_that_stands() {
    let mut world = World::new(config());
    world.run("sale 1 1000 fresh > issuer 0200 1000\nanswer 00 > terminal 0210 00");
    for stan in 2..=20 {
        world.run_free(&format!("sale {stan} 1000 fresh"));
        world.run("answer 51 > terminal 0210 51");
    }
    world.run("exceptions 0\nsale 21 1000 fresh > issuer 0200 1000\nexceptions 1");
}
