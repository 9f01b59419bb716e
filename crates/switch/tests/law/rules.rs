//! The money rules, a script each, named after the rule that it holds. The language of the scripts is in `world`.

use crate::world::{World, check, check_with, config};
use switch::*;

fn shops(config: &mut Config) -> &mut Group {
    config.groups.get_mut(&GroupNo(1)).unwrap()
}

fn link(config: &mut Config) -> &mut Link {
    config.links.get_mut(&LinkNo { issuer: IssuerNo(1), number: 1 }).unwrap()
}

#[test]
fn an_approval_is_confirmed_by_the_next_sale_c1() {
    check(
        "sale 1 1000 > issuer 0200 1000
         state 1 awaiting_issuer
         doubt 1
         answer 00 > terminal 0210 00
         state 1 awaiting_confirmation
         evidence 1 handed
         doubt 0
         pass 2000
         sale 2 500 > issuer 0200 500
         state 1 confirmed
         confirmed 1 C1",
    );
}

#[test]
fn c1_needs_the_margin_the_profile_and_a_money_request() {
    let soon = "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 1999
         sale 2 500 > issuer 0200 500
         state 1 awaiting_confirmation";
    check(soon);
    let late = &soon.replace("1999", "2000");
    check_with(|config| shops(config).reverses_first = false, late);
    check_with(|config| shops(config).serial = false, late);
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 5000
         echo > terminal 0810 00
         repeat 1 1000 > terminal 0210 00
         reverse 77 5 > terminal 0410 00
         state 1 awaiting_confirmation",
    );
    // Another terminal proves nothing.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 5000
         sale 1 1000 term 2 > issuer 0200 1000
         answer 00 > terminal 0210 00
         doubt 0",
    );
}

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
fn m1_the_request_carries_the_switchs_numbers_and_the_terminals_fields() {
    let mut world = World::new(config());
    world.run("sale 42 1000 > issuer 0200 1000");
    let request = &world.requests()[0];
    assert_eq!(request.text(11), Some("000001"), "the link's STAN, not the terminal's");
    assert_eq!(request.text(37), Some("632610000001"), "YDDD, partition, counter");
    assert_eq!((request.has(35), request.has(52)), (true, true), "what is not stored still travels");
    assert!(!request.has(64), "a MAC ends at the leg that it was made for");
    assert_eq!(request.text(41), Some("TERM0001"));
    assert!(matches!(&world.records()[1].record, Record::Intent { movement } if movement.sent_as.stan.get() == 1));
}

#[test]
fn m7_refusals_leave_no_record_and_the_key_stays_refused() {
    check(
        "link down
         sale 1 1000 > terminal 0210 91
         movements 0
         link up
         repeat 1 1000 > terminal 0210 91
         sale 2 1000 > issuer 0200 1000",
    );
    check("sale 1 1000 card 1 > terminal 0210 91");
    check(
        "drain\nsale 1 1000 > terminal 0210 96\nadmit\nrepeat 1 1000 > terminal 0210 96\npass 600000\nsale 1 1000 time 072000 > issuer 0200 1000",
    );
    check("journal-full\nsale 1 1000 > terminal 0210 96\nmovements 0");
    check_with(
        |config| link(config).in_flight_max = 1,
        "sale 1 1000 > issuer 0200 1000
         sale 1 1000 term 2 conn 2 > terminal 0210 91
         answer 51 > terminal 0210 51
         sale 2 1000 term 2 conn 2 > issuer 0200 1000",
    );
}

#[test]
fn m6_while_the_journal_is_full_repeats_and_reversals_are_still_served() {
    check(
        "sale 1 1000 > issuer 0200 1000
         journal-full
         repeat 1 1000 conn 2
         answer 00 > terminal 0210 00
         repeat 1 1000 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         ack 00
         state 1 unwound",
    );
}

#[test]
fn messages_that_cannot_be_money_requests_are_answered_and_leave_nothing() {
    check("sale 1 0 > terminal 0210 13\nmovements 0");
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
    // The terminal's reversal came first: its obligation ends.
    check(
        "report silent
         sale 1 1000 > issuer 0200 1000
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         never-sent
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
             answer 00 {wrong} > issuer 0420 {} 4020; terminal 0210 68
             cause 1 T4",
            if wrong == "amount 1001" { 1001 } else { 1000 }
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
fn r0_a_reversal_goes_out_on_any_live_link() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         link down
         reverse 1 1000 > terminal 0410 00
         link up 2 > issuer 0420 1000 4000 on 2
         ack 00
         state 1 unwound",
    );
}

#[test]
fn r1_a_reversal_names_its_original_and_keeps_its_numbers_over_its_repeats() {
    let mut world = World::new(config());
    world.run(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         pass 20000 > issuer 0421 1000 4000",
    );
    let (request, [first, second]) = (&world.requests()[0], world.reversals()) else { panic!() };
    assert_eq!((first.get(11), first.get(7)), (second.get(11), second.get(7)), "constant over the repeats");
    assert_ne!(first.get(11), request.get(11), "a STAN of its own");
    assert_eq!(first.get(37), request.get(37));
    assert_eq!(first.text(38), Some("AP0001"));
    assert_eq!(first.text(95), Some(&*"0".repeat(42)));
    let named = format!("0200{}{}", request.text(11).unwrap(), request.text(7).unwrap());
    assert_eq!(first.text(90).map(|original| &original[..20]), Some(&*named));
}

#[test]
fn r1_reversals_can_be_requests_by_setting() {
    check_with(
        |config| link(config).reversal_as_request = true,
        "sale 1 1000 > issuer 0200 1000
         pass 15000 > issuer 0400 1000 4021; terminal 0210 68
         pass 15000 > issuer 0401 1000 4021",
    );
}

#[test]
fn r2_which_acknowledgements_end_an_obligation() {
    let after_approval = |code: &str, then: &str| {
        check(&format!(
            "sale 1 1000 > issuer 0200 1000
             answer 00 > terminal 0210 00
             reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
             ack {code}
             {then}"
        ));
    };
    after_approval("00", "state 1 unwound");
    for code in ["25", "21", "12"] {
        after_approval(code, "state 1 needs_operator\noperator 1 R2");
    }
    after_approval("94", "state 1 awaiting_reversal_ack\npass 2000 > issuer 0421 1000 4000\nack 94\nstate 1 unwound");
    after_approval("30", "state 1 needs_operator\noperator 1 R4");
    let without = |code: &str| {
        check(&format!(
            "sale 1 1000 > issuer 0200 1000
             pass 15000 > issuer 0420 1000 4021; terminal 0210 68
             ack 91
             pass 15000 > issuer 0421 1000 4021
             ack {code}
             state 1 unwound"
        ));
    };
    for code in ["00", "25", "21", "12"] {
        without(code);
    }
}

#[test]
fn r3_an_early_acknowledgement_is_provisional_whatever_it_says() {
    for code in ["00", "25", "94", "30", "91"] {
        let mut world = World::new(config());
        world.run(&format!(
            "sale 1 1000 > issuer 0200 1000
             pass 15000 > issuer 0420 1000 4021; terminal 0210 68
             ack {code}
             state 1 awaiting_reversal_ack
             pass 14999
             pass 1 > issuer 0421 1000 4021
             ack {code} nth 1
             state 1 awaiting_reversal_ack
             ack 00
             state 1 unwound"
        ));
        let [early, deciding] = world.reversals() else { panic!() };
        assert_ne!(early.get(11), deciding.get(11), "the deciding send has its own STAN");
        assert_ne!(early.get(7), deciding.get(7), "and its own DE7");
    }
}

#[test]
fn r3_a_link_that_remembers_early_reversals_may_end_them_early() {
    check_with(
        |config| link(config).remembers_early_reversals = true,
        "sale 1 1000 > issuer 0200 1000
         pass 15000 > issuer 0420 1000 4021; terminal 0210 68
         ack 00
         state 1 unwound",
    );
}

#[test]
fn r3_the_horizon_counts_from_the_write_or_the_end_of_the_connection() {
    // No report of the request ever comes: until its connection is closed nothing is decided, however long that takes.
    let mut world = World::new(config());
    world.run("report silent\nsale 1 1000 > issuer 0200 1000\npass 15000 > issuer 0420 1000 4021; terminal 0210 68\nack 00");
    world.run_free("pass 600000");
    world.run_free("ack 00");
    world.run("state 1 awaiting_reversal_ack\nlink down\nlink up");
    world.run_free("pass 29999");
    world.run_free("ack 00");
    world.run("state 1 awaiting_reversal_ack");
    world.run_free("pass 1");
    world.run_free("ack 00");
    world.run("state 1 unwound");
    // The report comes after the obligation was opened: the horizon begins with it.
    let mut world = World::new(config());
    world.run("report silent\nsale 1 1000 > issuer 0200 1000\npass 15000 > issuer 0420 1000 4021; terminal 0210 68\nack 00\nwritten");
    world.run_free("pass 29999");
    world.run_free("ack 00");
    world.run("state 1 awaiting_reversal_ack");
    world.run_free("pass 1");
    world.run_free("ack 00");
    world.run("state 1 unwound");
}

#[test]
fn r4_a_reversal_is_sent_for_ever_at_growing_distances() {
    let mut world = World::new(config());
    world.run("sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00");
    for _ in 0..50 {
        world.run("pass 0\nstate 1 awaiting_reversal_ack");
        world.run_free("pass 800000");
    }
    assert!(world.reversals().len() > 50, "{} sends", world.reversals().len());
    world.run_free("ack 00");
    world.run("state 1 unwound");
}

#[test]
fn r4_a_reversal_that_cannot_be_built_is_parked_in_nobodys_way() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         report unbuildable
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         state 1 needs_operator
         operator 1 R4",
    );
}

#[test]
fn r5_a_window_bounds_the_reversals_and_new_work_goes_on() {
    check_with(
        |config| config.issuers.get_mut(&IssuerNo(1)).unwrap().reversal_window = 1,
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 1 2000 term 2 conn 2 > issuer 0200 2000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         reverse 1 2000 term 2 conn 2 > terminal 0410 00
         sale 9 300 term 3 conn 3 card 2 > issuer 0200 300
         ack 00 > issuer 0420 2000 4000
         ack 00
         doubt 1",
    );
}

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
         pass 600000
         sale 1 1000 time 071809 > issuer 0200 1000
         movements 2",
    );
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
fn c3_a_handed_approval_is_confirmed_at_the_deadline() {
    check_with(
        |config| shops(config).serial = false,
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 86399999
         state 1 awaiting_confirmation
         pass 1
         state 1 confirmed
         confirmed 1 C3",
    );
}

#[test]
fn k1_what_was_in_flight_is_unwound_after_a_crash() {
    check(
        "sale 1 1000 > issuer 0200 1000
         crash
         cause 1 K1
         link up > issuer 0420 1000 4021
         ack 00
         state 1 awaiting_reversal_ack
         pass 30000 > issuer 0421 1000 4021
         ack 00
         state 1 unwound
         repeat 1 1000 > terminal 0210 68",
    );
}

#[test]
fn k2_what_was_offered_is_unknown_after_a_crash_and_a_persons_at_the_deadline() {
    let crashed = "sale 1 1000 > issuer 0200 1000
         report silent
         answer 00 > terminal 0210 00
         crash
         link up
         state 1 awaiting_confirmation
         evidence 1 unknown
        ";
    check(&format!("{crashed}\nrepeat 1 1000 > terminal 0210 00\nevidence 1 handed"));
    check(&format!("{crashed}\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\ncause 1 D8"));
    // C1 applies, its margin counted from the restart.
    check(&format!("{crashed}\npass 1999\nsale 2 500 > issuer 0200 500\nstate 1 awaiting_confirmation"));
    check(&format!("{crashed}\npass 2000\nsale 2 500 > issuer 0200 500\nstate 1 confirmed"));
    check(&format!("{crashed}\npass 86400000\nstate 1 needs_operator\noperator 1 K2\nrepeat 1 1000 > terminal 0210 00"));
}

#[test]
fn k3_an_obligation_goes_on_after_a_crash_as_a_repeat() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         crash
         link up
         pass 0 > issuer 0421 1000 4000
         ack 94
         state 1 unwound",
    );
}

#[test]
fn k3_the_horizon_of_an_early_reversal_counts_from_the_restart() {
    check(
        "sale 1 1000 > issuer 0200 1000
         pass 15000 > issuer 0420 1000 4021; terminal 0210 68
         crash
         link up
         pass 0 > issuer 0421 1000 4021
         ack 00
         pass 29999
         state 1 awaiting_reversal_ack
         pass 1 > issuer 0421 1000 4021
         ack 00
         state 1 unwound",
    );
}

#[test]
fn k4_a_stan_in_use_is_skipped_and_without_one_the_request_is_refused() {
    let mut world = World::new(config());
    for stan in 1..=20 {
        world.run(&format!("sale {stan} 1000 term {stan} > issuer 0200 1000"));
    }
    world.run_free("crash");
    world.run_free("link up");
    world.run_free("sale 30 1000 term 30");
    let mut stans: Vec<&str> = world.requests().iter().map(|request| request.text(11).unwrap()).collect();
    stans.sort();
    stans.dedup();
    assert_eq!(stans.len(), 21, "no STAN is used twice, over a crash too");
}

#[test]
fn k4_a_stan_that_is_free_again_waits_for_its_turn() {
    let mut world = World::new(config());
    world.run("sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51\npass 3600000\nsale 2 1000 > issuer 0200 1000");
    assert_eq!(world.requests()[1].text(11), Some("000002"));
    world.run("answer 51 > terminal 0210 51\ncrash\nlink up\npass 3600000\nsale 3 1000 > issuer 0200 1000");
    assert_eq!(world.requests()[2].text(11), Some("000003"));
}

#[test]
fn k7_deadlines_survive_a_restart_and_ignore_jumps_of_the_wall_clock() {
    let undelivered = "sale 1 1000 > issuer 0200 1000
         report undeliverable
         answer 00 > terminal 0210 00
         pass 3000
         crash
         link up
         state 1 awaiting_delivery
        ";
    check(&format!("{undelivered}\npass 1999\nstate 1 awaiting_delivery\npass 1 > issuer 0420 1000 4013"));
    let mut world = World::new(config());
    world.run("sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00");
    world.jump_wall_clock(-7_200_000);
    world.run("pass 1000\nstate 1 awaiting_confirmation");
    world.jump_wall_clock(90 * 86_400_000);
    world.run("pass 1000\nstate 1 awaiting_confirmation\ndoubt 0");
}

#[test]
fn links_sign_on_echo_and_are_given_up_when_they_do_not_answer() {
    check_with(
        |config| {
            for link in config.links.values_mut() {
                link.sign_on = true;
                link.echo_after_ms = 30_000;
            }
        },
        "sale 1 1000 > terminal 0210 91
         pass 15000 > close link
         link up 2 > issuer 0800 001 on 2
         sale 2 1000 > terminal 0210 91",
    );
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
fn r6_a_new_request_is_written_after_its_cards_unsent_reversals() {
    check_with(
        |config| config.issuers.get_mut(&IssuerNo(1)).unwrap().reversal_window = 1,
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 1 2000 term 2 conn 2 card 2 > issuer 0200 2000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         reverse 1 2000 term 2 conn 2 > terminal 0410 00
         sale 9 300 term 3 conn 3 card 2 > issuer 0420 2000 4000; issuer 0200 300",
    );
}

#[test]
fn r7_an_old_promise_is_still_kept_and_listed_once() {
    let mut world = World::new(config());
    world.run("sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00");
    world.run_free("pass 86000000");
    world.run("exceptions 0");
    world.run_free("pass 7200000");
    world.run("exceptions 1\nstate 1 awaiting_reversal_ack");
    let sends = world.reversals().len();
    world.run_free("pass 7200000");
    assert!(world.reversals().len() > sends, "it is sent all the same");
    world.run("exceptions 1");
    world.run_free("ack 00");
    world.run("state 1 unwound");
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
fn c2_a_completion_confirms_or_undoes_and_silence_undoes() {
    let vending = |config: &mut Config| {
        shops(config).serial = false;
        shops(config).reverses_first = false;
        shops(config).confirm_within_ms = Some(60_000);
    };
    let sale = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    let run = |script: &str| check_with(vending, script);
    run(&format!(
        "{sale}complete 1 00 > terminal 0212 00\nstate 1 confirmed\nconfirmed 1 C2\ncomplete-again 1 00 > terminal 0212 00"
    ));
    run(&format!(
        "{sale}complete 1 05 > issuer 0420 1000 4000; terminal 0212 00\ncause 1 C2\ncomplete-again 1 05 > terminal 0212 00"
    ));
    run(&format!("{sale}pass 59999\nstate 1 awaiting_confirmation\npass 1 > issuer 0420 1000 4013\ncause 1 C2"));
    run(&format!("{sale}pass 60000 > issuer 0420 1000 4013\ncomplete 1 00 > terminal 0212 68\nexceptions 1"));
    run("complete 1 00 > terminal 0212 25");
    run("sale 1 1000 > issuer 0200 1000\ncomplete 1 00 > terminal 0212 25\nstate 1 awaiting_issuer");
    // K2: counted from the restart.
    run(&format!(
        "{sale}pass 50000\ncrash\nlink up\npass 59999\nstate 1 awaiting_confirmation\npass 1 > issuer 0420 1000 4013"
    ));
}

#[test]
fn c3_the_deadline_follows_the_groups_policy() {
    let at = |policy: AtDeadline, then: &str| {
        check_with(
            |config| {
                shops(config).serial = false;
                shops(config).at_deadline = policy;
            },
            &format!("sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\npass 86400000{then}"),
        );
    };
    at(AtDeadline::Confirm, "\nstate 1 confirmed");
    at(AtDeadline::Operator, "\nstate 1 needs_operator\noperator 1 C3\nrepeat 1 1000 > terminal 0210 00");
    at(AtDeadline::Reverse, " > issuer 0420 1000 4001\ncause 1 C3");
}

#[test]
fn an_operator_decides_what_no_rule_can() {
    let case = "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 900 > terminal 0410 64
         state 1 needs_operator
         ";
    check(&format!(
        "{case}resolve 1 stands > resolved\nstate 1 resolved\nnet 1 1000\ndoubt 0\nresolve 1 stands > refused NothingOpen"
    ));
    check(&format!(
        "{case}resolve 1 undone-elsewhere > resolved\nnet 1 0\nreverse 1 1000 > terminal 0410 00\nstate 1 resolved"
    ));
    check(&format!(
        "{case}resolve 1 adjusted-elsewhere 1001 > refused AboveAmount\nresolve 1 adjusted-elsewhere 700 > resolved\nnet 1 700"
    ));
    check(&format!("{case}resolve 1 undo > issuer 0420 1000 4001; resolved\ncause 1 operator\nack 00\nstate 1 unwound"));
    check(&format!("{case}resolve 1 stands > resolved\ncrash\nstate 1 resolved\nnet 1 1000"));
    check("resolve unknown stands > refused UnknownRrn");
    check("sale 1 1000 > issuer 0200 1000\nresolve 1 stands > refused StillAwaited");
    check("sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51\nresolve 1 undo > refused NothingToUndo");
    // A promise that the issuer never acknowledges.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         resolve 1 undo > refused NothingToUndo
         resolve 1 undone-elsewhere > resolved
         pass 3600000
         ack 00
         state 1 resolved
         doubt 0",
    );
    // What only an exception names.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 1 2000 > terminal 0210 94
         exceptions 1
         resolve 1 stands > resolved
         exceptions 0
         state 1 awaiting_confirmation
         crash
         exceptions 0",
    );
}
