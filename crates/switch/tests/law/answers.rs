//! What an issuer answers, in time, late, wrongly or not at all (T1-T10). The language of the scripts is in `world`.

use crate::world::{World, check, check_with, config, link, shops};

#[test]
fn a_decline_moves_nothing() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 51 > terminal 0210 51
         state 1 declined
         doubt 0",
    );
}

#[test]
fn t1_a_silent_issuer_is_unwound() {
    check(
        "sale 1 1000 > issuer 0200 1000
         pass 14999
         state 1 awaiting_issuer
         pass 1 > issuer 0420 1000 4021; terminal 0210 68
         cause 1 T1
         doubt 1
         ack 00
         state 1 awaiting_reversal_ack
         pass 14999
         pass 1 > issuer 0421 1000 4021
         ack 00
         state 1 unwound
         doubt 0",
    );
}

#[test]
fn t1_a_code_that_does_not_say_what_became_of_the_money_is_not_an_answer() {
    for code in ["96", "06", "68", "Z9"] {
        check(&format!(
            "sale 1 1000 > issuer 0200 1000
             answer {code} > issuer 0420 1000 4021; terminal 0210 68
             cause 1 T1
             state 1 awaiting_reversal_ack"
        ));
    }
}

#[test]
fn t2_a_link_lost_in_flight_is_unwound_at_once() {
    check(
        "link up 2
         sale 1 1000 > issuer 0200 1000
         link down > issuer 0420 1000 4021 on 2; terminal 0210 68
         cause 1 T2
         ack 25
         pass 29999
         state 1 awaiting_reversal_ack
         pass 1 > issuer 0421 1000 4021 on 2
         ack 25
         state 1 unwound",
    );
    check("report partial\nsale 1 1000 > issuer 0200 1000; terminal 0210 68\ncause 1 T2");
}

#[test]
fn t2_an_answer_on_another_connection_of_the_link_counts() {
    check(
        "sale 1 1000 > issuer 0200 1000
         link up
         answer 00 > terminal 0210 00",
    );
}

#[test]
fn t3_what_never_left_owes_nothing() {
    check(
        "report notsent\nsale 1 1000 > issuer 0200 1000; terminal 0210 91\nstate 1 declined\ndoubt 0\nrepeat 1 1000 > terminal 0210 91",
    );
    // The terminal's reversal came first: its obligation ends, and what has not left of it does not leave any more.
    check(
        "report silent
         sale 1 1000 > issuer 0200 1000
         report silent
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         never-sent > unsend
         state 1 unwound
         doubt 0",
    );
}

#[test]
fn t4_answers_that_are_not_of_this_request_are_ignored() {
    for wrong in ["stan 77", "terminal OTHER001", "mti 0110", "mti 0430"] {
        check(&format!(
            "sale 1 1000 > issuer 0200 1000\nanswer 00 {wrong}\nstate 1 awaiting_issuer\nanswer 00 > terminal 0210 00"
        ));
    }
}

#[test]
fn t4_an_approval_of_more_or_of_another_card_or_rrn_is_reversed() {
    for wrong in ["amount 1001", "rrn 999999999999", "pan 5500000000000004"] {
        check(&format!(
            "sale 1 1000 > issuer 0200 1000
             answer 00 {wrong} > issuer 0420 1000 4020; terminal 0210 68
             cause 1 T4"
        ));
    }
    check("sale 1 1000 > issuer 0200 1000\nanswer 00 pan 4111111111111111 > terminal 0210 00");
    check_with(
        |config| link(config).echoes_card_and_rrn = false,
        "sale 1 1000 > issuer 0200 1000\nanswer 00 rrn 999999999999 > terminal 0210 00",
    );
}

#[test]
fn t5_a_late_approval_never_becomes_a_success() {
    check(
        "sale 1 1000 > issuer 0200 1000
         pass 15000 > issuer 0420 1000 4021; terminal 0210 68
         answer 00 > issuer 0421 1000 4021
         ack 00
         state 1 unwound
         repeat 1 1000 > terminal 0210 68",
    );
}

#[test]
fn t5_a_late_decline_does_not_end_an_obligation() {
    check(
        "sale 1 1000 > issuer 0200 1000
         pass 15000 > issuer 0420 1000 4021; terminal 0210 68
         answer 51 > issuer 0421 1000 4021
         state 1 awaiting_reversal_ack
         ack 25
         state 1 unwound",
    );
}

#[test]
fn t5_an_approval_after_the_end_opens_an_obligation_and_an_exception() {
    check(
        "sale 1 1000 > issuer 0200 1000
         pass 15000 > issuer 0420 1000 4021; terminal 0210 68
         pass 15000 > issuer 0421 1000 4021
         ack 00
         state 1 unwound
         exceptions 0
         answer 00 > issuer 0420 1000 4021
         cause 1 T5
         exceptions 1
         ack 00
         state 1 unwound
         answer 00
         state 1 unwound",
    );
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 51 > terminal 0210 51
         answer 00 > issuer 0420 1000 4021
         cause 1 T5
         exceptions 1",
    );
}

#[test]
fn t6_answers_to_requests_and_to_reversals_never_stand_for_each_other() {
    check(
        "sale 1 1000 > issuer 0200 1000
         pass 15000 > issuer 0420 1000 4021; terminal 0210 68
         answer 00 > issuer 0421 1000 4021
         ack 00 mti 0210
         state 1 awaiting_reversal_ack
         ack 00 mti 0410
         ack 00 currency 840
         state 1 awaiting_reversal_ack
         ack 00
         state 1 unwound",
    );
}

#[test]
fn t7_a_second_approval_with_another_code_is_for_a_person() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 approval AAAAAA > terminal 0210 00
         answer 00 approval AAAAAA
         state 1 awaiting_confirmation
         answer 00 approval BBBBBB
         state 1 needs_operator
         operator 1 T7",
    );
}

/// Both approvals in one read of the link: the answer of the first is on its way and stays there.
#[test]
fn t7_a_second_approval_does_not_take_back_the_answer_of_the_first() {
    check(
        "sale 1 1000 > issuer 0200 1000
         report silent
         answer 00 approval AAAAAA > terminal 0210 00
         answer 00 approval BBBBBB
         state 1 needs_operator
         written
         operator 1 T7",
    );
    // Until its terminal asks again: only one word may reach it.
    check(
        "sale 1 1000 > issuer 0200 1000
         report silent
         answer 00 approval AAAAAA > terminal 0210 00
         answer 00 approval BBBBBB
         repeat 1 1000 conn 2 > withdraw; terminal 0210 68",
    );
}

#[test]
fn t8_an_answer_that_could_not_be_handed_over_waits_for_a_repeat_and_is_then_unwound() {
    check(
        "sale 1 1000 > issuer 0200 1000
         report undeliverable
         answer 00 > terminal 0210 00
         evidence 1 not_handed
         state 1 awaiting_delivery
         pass 4999
         repeat 1 1000 conn 2 > terminal 0210 00
         evidence 1 handed
         pass 60000
         state 1 awaiting_confirmation",
    );
    check(
        "sale 1 1000 > issuer 0200 1000
         report undeliverable
         answer 00 > terminal 0210 00
         pass 5000 > issuer 0420 1000 4013
         cause 1 T8
         repeat 1 1000 conn 2 > terminal 0210 68
         ack 00
         state 1 unwound
         repeat 1 1000 conn 2 > terminal 0210 68",
    );
    // Nobody is there when the approval comes.
    check("sale 1 1000 > issuer 0200 1000\nclose\nanswer 00\nevidence 1 not_handed\npass 5000 > issuer 0420 1000 4013");
}

#[test]
fn t8_while_the_write_is_pending_no_timer_acts() {
    check(
        "sale 1 1000 > issuer 0200 1000
         report silent
         answer 00 > terminal 0210 00
         evidence 1 offered
         pass 3600000
         state 1 awaiting_delivery
         repeat 1 1000 conn 2 > withdraw; terminal 0210 00
         evidence 1 handed",
    );
}

#[test]
fn t9_an_approval_of_less_is_reversed_and_declined() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 10 amount 600 > issuer 0420 600 4020; terminal 0210 51
         cause 1 T9
         ack 00
         state 1 unwound",
    );
}

#[test]
fn t10_a_serial_terminal_that_begins_anew_has_given_up() {
    let script = "sale 1 1000 > issuer 0200 1000
         sale 2 500 conn 2 > issuer 0420 1000 4001; issuer 0200 500
         cause 1 T10
         answer 00 nth 1 > issuer 0421 1000 4001
         ack 00
         state 1 unwound
         answer 00 > terminal 0210 00";
    check(script);
    check_with(
        |config| shops(config).serial = false,
        "sale 1 1000 > issuer 0200 1000\nsale 2 500 conn 2 > issuer 0200 500\nstate 1 awaiting_issuer",
    );
}

#[test]
fn t9_a_group_that_takes_partial_approvals_gets_them() {
    let partial = "sale 1 1000 > issuer 0200 1000\n";
    check_with(
        |config| shops(config).takes_partial_approvals = true,
        &format!(
            "{partial}answer 10 amount 600 > terminal 0210 10\nnet 1 600\nreverse 1 600 > issuer 0420 600 4000; terminal 0410 00"
        ),
    );
    check_with(
        |config| shops(config).partial_refused_as = iso8583::ResponseCode::EXCEEDS_AMOUNT_LIMIT,
        &format!("{partial}answer 10 amount 600 > issuer 0420 600 4020; terminal 0210 61"),
    );
}

#[test]
fn t7_a_link_that_addresses_one_approval_gets_the_second_one_back() {
    let mut config = config();
    link(&mut config).addresses_one_approval = true;
    let mut world = World::new(config);
    world.run(
        "sale 1 1000 > issuer 0200 1000
         answer 00 approval AAAAAA > terminal 0210 00
         answer 00 approval BBBBBB > issuer 0420 1000 4020
         state 1 awaiting_confirmation
         doubt 1
         ack 00
         state 1 awaiting_confirmation
         doubt 0",
    );
    assert_eq!(world.reversals()[0].text(38), Some("BBBBBB"));
}

#[test]
fn t1_what_the_host_did_not_take_is_taken_back_with_its_connection() {
    let mut world = World::new(config());
    world.run("sale 1 1000 > issuer 0200 1000\npass 14999");
    assert_eq!(world.resets(), 0);
    world.run_free("pass 1");
    assert_eq!(world.resets(), 1, "R3: a connection with unacknowledged bytes is reset at T1");
}

#[test]
fn t4_the_reversal_of_an_approval_in_another_currency_names_what_was_asked_for() {
    for amount in ["500", "1000", "2000"] {
        check(&format!(
            "sale 1 1000 > issuer 0200 1000
             answer 00 amount {amount} currency 840 > issuer 0420 1000 4020; terminal 0210 68
             ack 00
             state 1 unwound"
        ));
    }
}

/// Once a person has heard of it, it is nothing new, also after the first is undone.
#[test]
fn t7_a_second_approval_that_came_while_the_first_was_undone_is_known_when_it_comes_again() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 approval AAAAAA > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         answer 00 approval BBBBBB
         exceptions 1
         ack 00
         state 1 unwound
         crash
         link up
         answer 00 approval BBBBBB
         state 1 unwound
         doubt 0",
    );
}

/// Late is what comes when something else was decided; it is counted, and nothing else is.
#[test]
fn t5_an_answer_is_counted_as_late_when_another_word_was_given() {
    let sale = "sale 1 1000 > issuer 0200 1000\n";
    for code in ["00", "51"] {
        check(&format!("{sale}answer {code} > terminal 0210 {code}\nnoted"));
        check(&format!(
            "{sale}pass 15000 > issuer 0420 1000 4021; terminal 0210 68\nanswer {code} > issuer 0421 1000 4021\nnoted late"
        ));
    }
}

/// A request that could not be made says nothing of its connection; one that could not be written ends it.
#[test]
fn t3_a_connection_is_given_up_for_what_it_did_not_take_and_for_nothing_else() {
    check("report unbuildable\nsale 1 1000 > issuer 0200 1000; terminal 0210 91\nsale 2 500 > issuer 0200 500");
    for fate in ["notsent", "undeliverable"] {
        check(&format!("report {fate}\nsale 1 1000 > issuer 0200 1000; terminal 0210 91\nsale 2 500 > terminal 0210 91"));
    }
}

/// The code alone, or the amount alone: both are an approval of less than the terminal takes for granted.
#[test]
fn t9_either_code_10_or_a_lower_amount_is_an_approval_of_less() {
    let sale = "sale 1 1000 > issuer 0200 1000\n";
    check(&format!("{sale}answer 00 amount 600 > issuer 0420 600 4020; terminal 0210 51\ncause 1 T9"));
    check(&format!("{sale}answer 10 > issuer 0420 1000 4020; terminal 0210 51\ncause 1 T9"));
}

#[test]
fn t7_a_third_approval_is_another_one_too() {
    let two = "sale 1 1000 > issuer 0200 1000
         answer 00 approval AAAAAA > terminal 0210 00
         answer 00 approval BBBBBB
         operator 1 T7
         exceptions 0
        ";
    check(&format!("{two}answer 00 approval BBBBBB\nexceptions 0\nanswer 00 approval CCCCCC\nexceptions 1"));
    // One that carries no code cannot be told from another, and is none that is known.
    check(&format!("{two}answer 00 drop 38\nexceptions 1"));
}

/// A terminal that does several at once: the card that was tapped again under the same key gave up that one.
#[test]
fn t10_a_new_tap_under_a_used_key_gives_up_that_one_and_no_other() {
    let lanes = |config: &mut switch::Config| (shops(config).serial, shops(config).reverses_first) = (false, false);
    let sale = "sale 1 1000 tap 1 > issuer 0200 1000\n";
    check_with(lanes, &format!("{sale}sale 2 500 tap 2 conn 2 > issuer 0200 500\nstate 1 awaiting_issuer"));
    check_with(
        lanes,
        &format!(
            "{sale}sale 2 500 conn 2 > issuer 0200 500\nsale 1 1000 tap 2 conn 3 > issuer 0420 1000 4001; issuer 0200 1000\nstate 2 awaiting_issuer"
        ),
    );
}

#[test]
fn an_answer_says_how_long_it_took_in_all_and_at_its_issuer() {
    check("sale 1 1000 > issuer 0200 1000\npass 700\nanswer 00 > terminal 0210 00\ntook 700 700");
    check(
        "sale 1 1000 > issuer 0200 1000\npass 700\nrepeat 1 1000 conn 2\npass 50\nanswer 51 > terminal 0210 51\ntook 50 750",
    );
    check("sale 1 1000 > issuer 0200 1000\npass 15000 > issuer 0420 1000 4021; terminal 0210 68\ntook 15000 15000");
    check("pass 500\nsale 1 0 > terminal 0210 13\ntook 0 0");
}

/// The report of what is still with the shell comes and decides, although its connection is gone.
#[test]
fn t2_t3_the_end_of_a_connection_does_not_tell_what_became_of_a_write() {
    let unreported = "report silent\nsale 1 1000 > issuer 0200 1000\nlink down\nstate 1 awaiting_issuer\n";
    check(&format!("{unreported}never-sent > terminal 0210 91\nstate 1 declined"));
    check(&format!("{unreported}late partial > terminal 0210 68\ncause 1 T2"));
}

/// A link can read a code in its own way.
#[test]
fn t1_what_a_code_says_of_the_money_is_the_links_to_say() {
    let codes = |money| move |config: &mut switch::Config| link(config).codes.set(iso8583::ResponseCode::new(*b"51"), money);
    let sale = "sale 1 1000 > issuer 0200 1000\n";
    check_with(
        codes(switch::Money::Unknown),
        &format!("{sale}answer 51 > issuer 0420 1000 4021; terminal 0210 68\ncause 1 T1"),
    );
    check_with(codes(switch::Money::Moved), &format!("{sale}answer 51 > terminal 0210 51\nstate 1 awaiting_confirmation"));
}
