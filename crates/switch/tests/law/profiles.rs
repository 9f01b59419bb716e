//! Terminals as they come: one at a time, many over one connection, a connection for each message. What is said of a rule here
//! is said of it between several terminals or connections.

use crate::world::{check, check_with, shops};
use switch::*;

/// Terminals that do several transactions at once.
fn parallel(config: &mut Config) {
    shops(config).serial = false;
    shops(config).reverses_first = false;
}

#[test]
fn serial_a_newer_sale_gives_up_the_older_and_confirms_what_was_handed() {
    // Approved and handed long enough ago, then two begun at once: the first is confirmed, the second given up.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 2000
         sale 2 500 > issuer 0200 500
         confirmed 1 C1
         sale 3 700 conn 2 > issuer 0420 500 4001; issuer 0200 700
         cause 2 T10
         answer 00 > terminal 0210 00
         answered-on 2
         state 1 confirmed",
    );
    // A repeat of the newest is no newer sale.
    check("sale 1 1000 > issuer 0200 1000\nrepeat 1 1000 conn 2\nsale 1 1000 conn 3\nstate 1 awaiting_issuer");
    // Of several that are no more than begun at once, none is given up where terminals do several.
    check_with(
        parallel,
        "sale 1 1000 > issuer 0200 1000
         sale 2 500 > issuer 0200 500
         sale 3 700 > issuer 0200 700
         answer 00 nth 3 > terminal 0210 00
         answer 00 nth 1 > terminal 0210 00
         answer 00 nth 2 > terminal 0210 00
         doubt 0",
    );
}

#[test]
fn reverses_first_is_what_c1_rests_on() {
    let two = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\npass 2000\nsale 2 500 > issuer 0200 500\n";
    check(&format!("{two}state 1 confirmed"));
    check_with(|config| shops(config).reverses_first = false, &format!("{two}state 1 awaiting_confirmation"));
    // Such a terminal would have reversed it before, so also what a crash made doubtful is confirmed.
    check(
        "sale 1 1000 > issuer 0200 1000
         report silent
         answer 00 > terminal 0210 00
         crash
         link up
         pass 2000
         sale 2 500 > issuer 0200 500
         confirmed 1 C1",
    );
    // Its reversal comes first, then the new sale: nothing is confirmed, and the card's reversal goes before.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 2000
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         sale 2 500 > issuer 0200 500
         state 1 awaiting_reversal_ack",
    );
}

/// Two lanes over connection 1, each with a sale of its own under the same STAN.
const LANES: &str = "sale 1 1000 term 1 > issuer 0200 1000\nsale 1 2000 term 2 > issuer 0200 2000\n";

#[test]
fn lanes_t10_of_one_lane_never_touches_another() {
    check(&format!(
        "{LANES}sale 2 700 term 1 > issuer 0420 1000 4001; issuer 0200 700
         doubt 3
         answer 00 nth 2 > terminal 0210 00
         answered-lane 2
         answer 00 nth 3 > terminal 0210 00
         answered-lane 1
         answer 00 nth 1 > issuer 0421 1000 4001"
    ));
}

#[test]
fn lanes_c1_of_one_lane_confirms_nothing_of_another() {
    check(&format!(
        "{LANES}answer 00 nth 1 > terminal 0210 00
         answer 00 nth 2 > terminal 0210 00
         pass 2000
         sale 5 500 term 2 > issuer 0200 500
         noted C1"
    ));
    check(
        "sale 1 1000 term 1 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 2000
         sale 5 500 term 2 > issuer 0200 500
         state 1 awaiting_confirmation",
    );
}

#[test]
fn lanes_answers_carry_their_lane_in_whatever_order_they_come() {
    check(&format!(
        "{LANES}sale 1 3000 term 3 > issuer 0200 3000
         answer 00 nth 3 > terminal 0210 00
         answered-lane 3
         answer 51 nth 1 > terminal 0210 51
         answered-lane 1
         answer 00 nth 2 > terminal 0210 00
         answered-lane 2
         repeat 1 1000 term 1 > terminal 0210 51
         answered-lane 1
         repeat 1 3000 term 3 > terminal 0210 00
         answered-lane 3
         reverse 1 2000 term 2 > issuer 0420 2000 4000; terminal 0410 00
         answered-lane 2
         doubt 1"
    ));
}

#[test]
fn lanes_d5_d6_equal_sales_of_two_lanes_are_two_sales() {
    check(
        "sale 1 1000 term 1 > issuer 0200 1000
         report undeliverable
         answer 00 > terminal 0210 00
         sale 2 1000 term 2 fresh > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 3 1000 term 3 fresh > issuer 0200 1000
         exceptions 0
         state 1 awaiting_delivery",
    );
}

#[test]
fn lanes_t8_a_lost_connection_is_every_lanes_and_each_lane_has_its_own_grace() {
    // Nobody is there: every lane's approval waits for its repeat; one lane asks again, the other does not.
    check(&format!(
        "{LANES}close
         answer 00 nth 1
         pass 1000
         answer 00 nth 2
         pass 3000
         repeat 1 1000 term 1 conn 2 > terminal 0210 00
         answered-lane 1
         pass 1999
         doubt 1
         pass 1 > issuer 0420 2000 4013
         repeat 1 2000 term 2 conn 2 > terminal 0210 68
         answered-lane 2"
    ));
    // Handed before the connection was lost: nothing is taken back.
    check(&format!(
        "{LANES}answer 00 nth 1 > terminal 0210 00
         answer 00 nth 2 > terminal 0210 00
         close
         pass 3600000
         doubt 0"
    ));
}

#[test]
fn lanes_t8_an_answer_goes_only_to_the_connection_that_last_carried_its_key() {
    // Lane 2 has moved to connection 2; connection 1 ends and takes only lane 1 along.
    check(&format!(
        "{LANES}repeat 1 2000 term 2 conn 2
         close conn 1
         answer 00 nth 2 > terminal 0210 00
         answered-on 2
         answered-lane 2
         answer 00 nth 1
         pass 5000 > issuer 0420 1000 4013"
    ));
}

#[test]
fn lanes_d7_a_reversal_of_one_lane_leaves_the_others_alone() {
    check(&format!(
        "{LANES}reverse 1 1000 term 1 > issuer 0420 1000 4000; terminal 0410 00
         answered-lane 1
         answer 00 nth 2 > terminal 0210 00
         answered-lane 2
         reverse 1 1000 term 2 > terminal 0410 64
         answered-lane 2"
    ));
}

#[test]
fn per_call_t8_closed_right_after_sending_waits_for_the_next_call() {
    check(
        "sale 1 1000 conn 1 > issuer 0200 1000
         close conn 1
         answer 00
         evidence 1 not_handed
         pass 4999
         repeat 1 1000 conn 2 > terminal 0210 00
         answered-on 2
         close conn 2
         pass 3600000
         state 1 awaiting_confirmation",
    );
    // The next call is too late, or says that the sale is off.
    check(
        "sale 1 1000 conn 1 > issuer 0200 1000
         close conn 1
         answer 00
         pass 5000 > issuer 0420 1000 4013
         repeat 1 1000 conn 2 > terminal 0210 68",
    );
    check(
        "sale 1 1000 conn 1 > issuer 0200 1000
         close conn 1
         answer 00
         reverse 1 1000 conn 2 > issuer 0420 1000 4000; terminal 0410 00
         cause 1 D7",
    );
}

#[test]
fn per_call_d1_a_repeat_while_the_first_call_is_unanswered_gets_the_one_answer() {
    check(
        "sale 1 1000 conn 1 > issuer 0200 1000
         repeat 1 1000 conn 2
         close conn 1
         answer 00 > terminal 0210 00
         answered-on 2
         evidence 1 handed",
    );
    // The second call ended too; a third comes after the answer.
    check(
        "sale 1 1000 conn 1 > issuer 0200 1000
         repeat 1 1000 conn 2
         close conn 2
         answer 00
         evidence 1 not_handed
         repeat 1 1000 conn 3 > terminal 0210 00
         answered-on 3",
    );
}

#[test]
fn per_call_d2_answers_that_cross_repeats_are_given_once_more_and_reversed_never() {
    // The answer leaves on the first call while its repeat is on the way on the second.
    check(
        "sale 1 1000 conn 1 > issuer 0200 1000
         answer 00 > terminal 0210 00
         repeat 1 1000 conn 2 > terminal 0210 00
         close conn 1
         close conn 2
         pass 3600000
         doubt 0
         state 1 awaiting_confirmation",
    );
    // It is still being written on the first: taken back there, given here, and what is said of the first counts no more.
    check(
        "sale 1 1000 conn 1 > issuer 0200 1000
         report silent
         answer 00 > terminal 0210 00
         repeat 1 1000 conn 2 > withdraw; terminal 0210 00
         late undeliverable
         evidence 1 handed
         pass 3600000
         state 1 awaiting_confirmation",
    );
    // Repeats that mean "given up" are told from those that crossed the answer by the margin.
    let unwind = |config: &mut Config| shops(config).on_repeat = OnRepeat::Unwind;
    let crossed = "sale 1 1000 conn 1 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    check_with(
        unwind,
        &format!("{crossed}pass 1999\nrepeat 1 1000 conn 2 > terminal 0210 00\nstate 1 awaiting_confirmation"),
    );
    check_with(unwind, &format!("{crossed}pass 2000\nrepeat 1 1000 conn 2 > issuer 0420 1000 4013; terminal 0210 68"));
}

#[test]
fn per_call_d7_d10_a_reversal_and_an_answer_that_cross() {
    // The reversal comes on a second call while the issuer thinks: the first call is told nothing.
    check(
        "sale 1 1000 conn 1 > issuer 0200 1000
         reverse 1 1000 conn 2 > issuer 0420 1000 4000; terminal 0410 00
         answered-on 2
         answer 00 > issuer 0421 1000 4000
         repeat 1 1000 conn 3 > terminal 0210 68
         ack 00
         reverse 1 1000 conn 4 > terminal 0410 00
         answered-on 4
         state 1 unwound",
    );
    // It overtakes its own original.
    check(
        "reverse 1 1000 conn 2 > terminal 0410 00
         sale 1 1000 conn 1 > terminal 0210 94
         repeat 1 1000 conn 3 > terminal 0210 94
         movements 0",
    );
}

#[test]
fn per_call_d5_d6_a_sale_keyed_again_on_a_new_call() {
    // The first call ended before its answer: what is keyed again takes its place.
    check(
        "sale 1 1000 conn 1 > issuer 0200 1000
         close conn 1
         answer 00
         sale 2 1000 fresh conn 2 > issuer 0420 1000 4013; issuer 0200 1000
         cause 1 D5
         answer 00 > terminal 0210 00
         ack 00
         state 1 unwound
         state 2 awaiting_confirmation",
    );
    // The same twice in a row, both handed: flagged, and both stand, whatever becomes of the calls.
    check_with(
        parallel,
        "sale 1 1000 conn 1 > issuer 0200 1000
         answer 00 > terminal 0210 00
         close conn 1
         sale 2 1000 fresh conn 2 > issuer 0200 1000
         answer 00 > terminal 0210 00
         close conn 2
         exceptions 1
         pass 3600000
         doubt 0
         state 1 awaiting_confirmation
         state 2 awaiting_confirmation",
    );
    // Each charge that may be one too many has its entry; one that was declined has none.
    check_with(
        parallel,
        "sale 1 1000 conn 1 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 2 1000 fresh conn 2 > issuer 0200 1000
         answer 51 > terminal 0210 51
         sale 3 1000 fresh conn 3 > issuer 0200 1000
         exceptions 1",
    );
    check_with(
        |config| shops(config).on_rekey = OnRekey::Refuse,
        "sale 1 1000 conn 1 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 2 1000 fresh conn 2 > terminal 0210 94
         sale 3 1000 fresh conn 3 > terminal 0210 94
         exceptions 1",
    );
}
