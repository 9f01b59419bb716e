//! Crashes, restarts, numbers and clocks (K1-K7). The language of the scripts is in `world`.

use crate::world::{World, check, check_with, config};
use switch::*;

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

/// The answer of what a person has may still come, however long that takes, and so may the one of what is owed back or began
/// a short time ago: none of them must be taken for another sale's.
#[test]
fn k4_a_stan_is_used_again_only_when_nobody_answers_to_it_any_more() {
    let live = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    let declined = "sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51\n";
    for (earlier, next) in [
        ("sale 1 1000 > issuer 0200 1000\nreverse 1 900 > terminal 0410 64\npass 3600000".to_owned(), "000002"),
        (
            format!("{live}reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00\nlink down\npass 3600000"),
            "000002",
        ),
        (format!("{declined}pass 599999"), "000002"),
        (format!("{declined}pass 600000"), "000001"),
    ] {
        let mut world = World::new(config());
        world.run(&earlier);
        // The link's STANs come round.
        let last = world.records.last().unwrap().clone();
        let (link, stan) = (LinkNo { issuer: IssuerNo(1), number: 1 }, iso8583::Stan::new(899_999).unwrap());
        world.records.push(Entry { record: Record::StanUsed { link, stan }, ..last });
        world.run("crash\nlink up\nsale 2 500 fresh term 2 conn 2 > issuer 0200 500");
        assert_eq!(world.requests()[1].text(11), Some(next), "{earlier}");
        world.run_free("answer 51 nth 1");
        world.run("state 2 awaiting_issuer");
    }
}

/// The same for the numbers of reversals, which are the issuer's: an acknowledgement must not end another's promise.
#[test]
fn k4_a_reversals_stan_is_used_again_only_when_nobody_answers_to_it_any_more() {
    for (ends, passed_ms, next) in
        [("", 3_600_000, "900001"), ("ack 00 nth 1", 599_999, "900001"), ("ack 00 nth 1", 600_000, "900000")]
    {
        let mut world = World::new(config());
        world.run(
            "sale 1 1000 > issuer 0200 1000
             answer 00 > terminal 0210 00
             reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
             sale 1 2000 term 2 conn 2 > issuer 0200 2000
             answer 00 > terminal 0210 00
             reverse 1 2000 term 2 conn 2 > issuer 0420 2000 4000; terminal 0410 00
             ack 00",
        );
        assert_eq!(world.reversals()[0].text(11), Some("900000"), "the first number of the range");
        // Its time begins with its end.
        world.run_free("pass 300000");
        if !ends.is_empty() {
            world.run(ends);
        }
        world.run_free(&format!("pass {passed_ms}"));
        // The numbers come round with the second reversal.
        for entry in &mut world.records {
            if let Record::ReversalNumbered { id: MovementId(2), numbers, .. } = &mut entry.record {
                numbers.sent_as.stan = iso8583::Stan::new(999_999).unwrap();
            }
        }
        world.run("crash\nlink up");
        world.run_free("pass 0");
        world.run("sale 3 300 fresh term 3 conn 3 > issuer 0200 300\nanswer 00 > terminal 0210 00");
        world.run("reverse 3 300 term 3 conn 3 > issuer 0420 300 4000; terminal 0410 00");
        assert_eq!(world.reversals().last().unwrap().text(11), Some(next), "{ends} and {passed_ms} ms");
    }
}

/// What is for a person and cannot be kept by sending stays parked; a promise beside any other case of theirs goes on (R4).
#[test]
fn k3_r4_a_restart_sends_what_is_owed_and_wakes_nothing_that_is_parked() {
    let live = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    let after = "crash\nstate 1 needs_operator\nlink up\npass 0";
    check(&format!(
        "{live}reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00\nreverse 1 2000 > terminal 0410 64
         {after} > issuer 0421 1000 4004\nack 00\ndoubt 1\nnet 1 400"
    ));
    let reversed = format!("{live}reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\n");
    for parked in ["25", "30"] {
        check(&format!("{reversed}ack {parked}\n{after}\npass 86400000\nstate 1 needs_operator"));
    }
}

#[test]
fn each_life_has_its_number_and_the_keys_that_it_began_with() {
    let mut world = World::new(config());
    for epoch in 1..=3 {
        assert_eq!((world.core().epoch(), world.core().keys()), (epoch, &[(0, [0; 8]), (1, [7; 8])][..]));
        world.run("crash");
    }
}

/// What was decided by the horizon before the crash stays decided: the same numbers, and their acknowledgement ends it.
#[test]
fn k3_r3_a_deciding_send_is_the_deciding_one_after_a_crash_too() {
    check(
        "sale 1 1000 > issuer 0200 1000
         pass 15000 > issuer 0420 1000 4021; terminal 0210 68
         pass 15000 > issuer 0421 1000 4021
         crash
         link up
         pass 0 > issuer 0421 1000 4021
         ack 00
         state 1 unwound",
    );
}

/// Twice the longest window after its end, to the millisecond, and with it what is known of it.
#[test]
fn memory_keeps_what_has_ended_for_as_long_as_a_window_may_ask_for_it() {
    let two = "sale 1 1000 ownrrn 000000000005 > issuer 0200 1000
         pass 15000 > issuer 0420 1000 4021; terminal 0210 68
         pass 15000 > issuer 0421 1000 4021
         ack 00
         pass 1000
         sale 2 500 fresh ownrrn 000000000006 > issuer 0200 500
         answer 51 > terminal 0210 51
         ";
    let small = |config: &mut Config| config.dedup_keys = 1;
    for (ms, movements) in [(1_198_999, 3), (1_199_000, 2)] {
        check_with(
            small,
            &format!("{two}pass {ms}\nsale 3 700 fresh term 2 conn 2 > issuer 0200 700\nmovements {movements}"),
        );
    }
}

/// Nobody waits for the mark of the handing, and it is one record.
#[test]
fn k2_a_sale_that_is_approved_and_handed_over_is_three_records() {
    for fate in ["written", "undeliverable"] {
        let mut world = World::new(config());
        let before = world.records().len();
        world.run(&format!("sale 1 1000 > issuer 0200 1000\nreport {fate}\nanswer 00 > terminal 0210 00"));
        let [Record::Intent { .. }, Record::Answered { .. }, Record::Delivery { .. }] =
            [0, 1, 2].map(|at| world.records()[before + at].record.clone())
        else {
            panic!("{:?}", world.records())
        };
        assert_eq!(world.records().len(), before + 3, "{fate}");
    }
}
