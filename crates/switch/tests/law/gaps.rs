//! Rules that hold over whole histories, or that other scripts show only in passing: a proof of their own name.

use crate::world::{World, check, check_with, config};
use switch::*;

fn window_of(reversals: usize) -> impl FnOnce(&mut Config) {
    move |config| config.issuers.get_mut(&IssuerNo(1)).unwrap().reversal_window = reversals
}

/// Whatever a terminal or a link does between them, the issuer gets one request for a key, and one answer decides it.
#[test]
fn m5_one_key_is_one_request_at_the_issuer_whatever_comes_again() {
    let disturbances = [
        "repeat 1 1000",
        "repeat 1 1000 conn 2",
        "sale 1 1000 conn 3",
        "sale 1 2000 conn 2",
        "close",
        "link up 2",
        "link down",
        "pass 15000",
        "crash",
        "reverse 1 1000",
        "drain",
    ];
    for first in disturbances {
        for second in disturbances {
            if (first, second) == ("link down", "link down") {
                continue;
            }
            let mut world = World::new(config());
            world.run("sale 1 1000 > issuer 0200 1000");
            for step in [first, second] {
                // A crash takes the links with it.
                let lost = first == "crash" && second == "link down" && step == "link down";
                if !lost {
                    world.run_free(step);
                }
            }
            world.run_free("link up");
            world.run_free("admit");
            let again = world.step("repeat 1 1000 conn 4");
            assert_eq!(world.requests().len(), 1, "{first}, {second}: a second request left");
            assert!(!again.iter().any(|sent| sent.starts_with("issuer 02")), "{first}, {second}: {again:?}");
            // Its answer is given once, or what it moved is owed back.
            world.run_free("link up");
            let answered = world.step("answer 00");
            let given = answered.iter().filter(|sent| *sent == "terminal 0210 00").count();
            let movement = world.core().movements().next().unwrap();
            assert!(given <= 1, "{first}, {second}: {answered:?}");
            let in_hand = movement.owes() || movement.state == StateKind::NeedsOperator;
            assert!(given == 1 || in_hand, "{first}, {second}: an approval that nobody has and nobody undoes");
            assert!(!(given == 1 && movement.owes()), "{first}, {second}: delivered and unwound");
        }
    }
}

#[test]
fn m5_what_was_not_written_is_not_routed_to_another_link() {
    check("link up 2\nreport notsent\nsale 1 1000 > issuer 0200 1000; terminal 0210 91\nrepeat 1 1000 > terminal 0210 91");
    check("link up 2\nreport partial\nsale 1 1000 > issuer 0200 1000; issuer 0420 1000 4021 on 2; terminal 0210 68");
}

#[test]
fn m2_no_answer_after_an_intent_leaves_before_the_outcome() {
    let sale = "sale 1 1000 > issuer 0200 1000\n";
    for outcome in [
        "answer 00 > terminal 0210 00",
        "answer 51 > terminal 0210 51",
        "pass 15000 > issuer 0420 1000 4021; terminal 0210 68",
        "answer 00 amount 1001 > issuer 0420 1001 4020; terminal 0210 68",
        "answer 10 amount 600 > issuer 0420 600 4020; terminal 0210 51",
    ] {
        let mut world = World::new(config());
        world.run(sale);
        let before = world.core().lsn();
        world.run(outcome);
        assert!(world.answer_waits_for() > before, "{outcome}: the answer does not wait for its outcome");
    }
}

#[test]
fn m3_a_failure_is_told_after_the_promise() {
    for (sale, failure) in [
        ("sale 1 1000 > issuer 0200 1000", "pass 15000 > issuer 0420 1000 4021; terminal 0210 68"),
        ("sale 1 1000 > issuer 0200 1000", "link down > terminal 0210 68"),
        ("sale 1 1000 > issuer 0200 1000", "answer 96 > issuer 0420 1000 4021; terminal 0210 68"),
        ("sale 1 1000 > issuer 0200 1000", "reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00"),
        (
            "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00",
            "reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00",
        ),
        (
            "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00",
            "reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00",
        ),
    ] {
        let mut world = World::new(config());
        world.run(sale);
        world.run(failure);
        let promise = world.records().iter().rposition(|entry| matches!(entry.record, Record::Obligation { .. }));
        let promise = promise.unwrap_or_else(|| panic!("{failure}: no promise")) as u64 + 1;
        assert!(world.answer_waits_for().0 >= promise, "{failure}: told before the promise is durable");
    }
}

#[test]
fn m4_neither_refusals_nor_time_nor_restarts_end_a_promise() {
    let mut world = World::new(config());
    world.run("sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00");
    world.run("reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00");
    for step in [
        "ack 91",
        "ack 96",
        "ack 06",
        "ack 68",
        "ack Z9",
        "answer 51",
        "pass 86400000",
        "link down",
        "pass 86400000",
        "crash",
        "link up",
        "pass 600000",
        "journal-full",
        "pass 600000",
        "drain",
        "pass 600000",
        "admit",
    ] {
        world.run_free(step);
        world.run("state 1 awaiting_reversal_ack\ndoubt 1");
    }
    world.run_free("ack 00");
    world.run("state 1 unwound\ndoubt 0");
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
fn r5_a_silent_promise_stands_behind_what_was_never_sent() {
    check_with(
        window_of(1),
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 1 2000 term 2 conn 2 > issuer 0200 2000
         answer 00 > terminal 0210 00
         sale 1 3000 term 3 conn 3 > issuer 0200 3000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         reverse 1 2000 term 2 conn 2 > terminal 0410 00
         pass 15000 > issuer 0420 2000 4000
         # The silent one is due again, and older than the one that comes now.
         pass 1250
         reverse 1 3000 term 3 conn 3 > terminal 0410 00
         ack 00 > issuer 0420 3000 4000
         ack 00 > issuer 0421 1000 4000",
    );
}

#[test]
fn r5_a_poisoned_promise_delays_nobody() {
    check_with(
        window_of(1),
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 1 2000 term 2 conn 2 > issuer 0200 2000
         answer 00 > terminal 0210 00
         report unbuildable
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         reverse 1 2000 term 2 conn 2 > issuer 0420 2000 4000; terminal 0410 00
         ack 00
         doubt 1",
    );
}

#[test]
fn r6_after_a_reconnect_or_a_restart_the_oldest_go_first() {
    let three = "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 1 2000 term 2 conn 2 > issuer 0200 2000
         answer 00 > terminal 0210 00
         sale 1 3000 term 3 conn 3 > issuer 0200 3000
         answer 00 > terminal 0210 00
         link down
         reverse 1 3000 term 3 conn 3 > terminal 0410 00
         reverse 1 1000 > terminal 0410 00
         reverse 1 2000 term 2 conn 2 > terminal 0410 00
        ";
    let oldest_first = "issuer 0420 1000 4000; issuer 0420 2000 4000; issuer 0420 3000 4000";
    check(&format!("{three}\nlink up > {oldest_first}"));
    check(&format!("{three}\ncrash\npass 0\nlink up > {oldest_first}"));
}

#[test]
fn r8_a_reversal_is_built_from_what_is_stored_and_says_the_same_after_a_crash() {
    let mut world = World::new(config());
    world.run("sale 1 1000 tap 7 > issuer 0200 1000\nanswer 00 > terminal 0210 00");
    world.run("reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\ncrash\nlink up");
    world.run_free("pass 0");
    let [before, after] = world.reversals() else { panic!("a send before the crash and one after it") };
    assert!([35, 52, 55].iter().all(|de| world.requests()[0].has(*de)), "the request had them");
    for reversal in [before, after] {
        for de in [35, 36, 45, 52, 53, 55] {
            assert!(!reversal.has(de), "DE{de} is never stored, so no reversal can carry it");
        }
        assert!(!reversal.has(2), "the card is put in sealed, by the shell");
    }
    for de in (3..=128).filter(|de| *de != 64 && *de != 128) {
        assert_eq!(before.get(de), after.get(de), "DE{de} of the reversal changed over a crash");
    }
    for entry in world.records() {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        for secret in [&b"4111111111111111"[..], b"29122010000000000000", &[7; 8]] {
            let is_key_check = matches!(entry.record, Record::Restarted { .. });
            assert!(is_key_check || !bytes.windows(secret.len()).any(|part| part == secret), "a secret is in {entry:?}");
        }
    }
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
