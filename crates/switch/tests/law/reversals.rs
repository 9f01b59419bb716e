//! Reversals, from the promise to the acknowledgement that counts (R0-R8). The language of the scripts is in `world`.

use crate::world::{World, check, check_with, config, link, window_of};
use switch::IssuerNo;
use switch::*;

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
    // The account does not know whose shop it is.
    check_with(
        window_of(1),
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 1 2000 term 2 conn 2 card 2 > issuer 0200 2000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         reverse 1 2000 term 2 conn 2 > terminal 0410 00
         sale 9 300 term 3 conn 3 card 2 shop 2 > issuer 0420 2000 4000; issuer 0200 300",
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

/// The host took the original after the horizon, and the reversal before it: the acknowledgement on its way settles nothing.
#[test]
fn r3_an_approval_after_the_deciding_send_makes_another_one_decide() {
    let unanswered = "sale 1 1000 > issuer 0200 1000
         pass 15000 > issuer 0420 1000 4021; terminal 0210 68
         ack 00
         pass 15000 > issuer 0421 1000 4021
         answer 00 > issuer 0421 1000 4021";
    check(&format!(
        "{unanswered}
         ack 00 nth 2
         state 1 awaiting_reversal_ack
         ack 00 nth 3
         state 1 unwound"
    ));
    check(&format!(
        "{unanswered}
         ack 94 nth 3
         state 1 awaiting_reversal_ack"
    ));
    check(&format!(
        "{unanswered}
         crash
         pass 0
         link up > issuer 0421 1000 4021
         ack 00 nth 2
         state 1 awaiting_reversal_ack
         ack 00
         state 1 unwound"
    ));
}

/// A reversal that was sent once and is due again waits for its place, whatever its card does next.
#[test]
fn r5_r6_a_new_request_takes_along_only_what_was_never_sent() {
    check_with(
        window_of(1),
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 1 2000 term 2 conn 2 > issuer 0200 2000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         reverse 1 2000 term 2 conn 2 > terminal 0410 00
         pass 15000 > issuer 0420 2000 4000
         pass 1250
         sale 9 300 term 3 conn 3 > issuer 0200 300
         ack 00 > issuer 0421 1000 4000",
    );
}

/// Closed by a person who knows of it, a promise that is still open is not listed anew.
#[test]
fn r7_what_a_person_has_taken_off_the_list_stays_off_it() {
    let mut world = World::new(config());
    world.run("sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00");
    world.run_free("pass 93200000");
    world.run("exceptions 1\nresolve entry stands > resolved\nexceptions 0");
    world.run_free("pass 93200000");
    world.run("exceptions 0\nstate 1 awaiting_reversal_ack\ndoubt 1");
}

/// Whatever an acknowledgement carries must be the reversal's own; what it does not carry says nothing.
#[test]
fn r1_an_acknowledgement_that_names_anything_else_is_nobodys() {
    let reversed = "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
        ";
    for wrong in [
        "set 2=5500000000000004",
        "set 4=000000000999",
        "set 7=1122070810",
        "set 11=900001",
        "set 37=999999999999",
        "set 41=OTHER001",
        "set 42=OTHERMERCHANT01",
        "set 41=OTHER001 drop 42",
        "set 49=840",
        "set 90=020000000211220708090000000000000000000000",
        "set 90=0200",
        "drop 11",
        "drop 39",
    ] {
        check(&format!("{reversed}ack 00 {wrong}\nnoted unmatched\nstate 1 awaiting_reversal_ack"));
    }
    for absent in ["4", "7", "37", "41", "42", "41,42", "49", "90", "4,7,37,41,42,49,90"] {
        check(&format!("{reversed}ack 00 drop {absent}\nstate 1 unwound"));
    }
}

/// Silence is waited for as long as for an answer, then the first wait begins: a second, and at most a quarter more.
#[test]
fn r4_a_silent_send_is_made_again_after_the_response_timeout_and_the_first_wait() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         pass 15999
         pass 251 > issuer 0421 1000 4000",
    );
}

/// An early send is made again like any other while the horizon is far; after a provisional word only the horizon counts.
#[test]
fn r3_r4_an_early_send_that_nobody_answers_is_made_again_before_the_horizon() {
    let early = "sale 1 1000 > issuer 0200 1000\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\n";
    check(&format!("{early}pass 15999\npass 251 > issuer 0421 1000 4000"));
    check(&format!("{early}ack 00\npass 29999\npass 1 > issuer 0421 1000 4000"));
}

/// The end of a connection is the horizon of what it carried and was not reported, and of nothing else.
#[test]
fn r3_the_end_of_another_connection_or_of_a_reported_write_moves_no_horizon() {
    check(
        "sale 1 1000 > issuer 0200 1000
         pass 15000 > issuer 0420 1000 4021; terminal 0210 68
         ack 00
         pass 5000
         link down
         link up 2
         pass 9999
         pass 1 > issuer 0421 1000 4021 on 2
         ack 00
         state 1 unwound",
    );
    let mut world = World::new(config());
    world.run(
        "link up 2\nreport silent\nsale 1 1000 > issuer 0200 1000\npass 15000 > issuer 0420 1000 4021; terminal 0210 68",
    );
    world.run("ack 00\nlink down 2");
    world.run_free("pass 600000");
    world.run_free("ack 00");
    world.run("state 1 awaiting_reversal_ack");
}

#[test]
fn r4_the_shortest_waits_are_waits_too() {
    for wait_ms in [1, 3, 4, 7, 8] {
        check_with(
            |config| config.issuers.get_mut(&IssuerNo(1)).unwrap().reversal_retry_ms = vec![wait_ms],
            &format!(
                "sale 1 1000 > issuer 0200 1000
                 answer 00 > terminal 0210 00
                 reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
                 ack 91
                 pass {}
                 pass {} > issuer 0421 1000 4000",
                wait_ms - 1,
                1 + wait_ms / 4
            ),
        );
    }
}

/// What was refused at one moment is not sent again at one moment: the waits are up to a quarter longer, each another.
#[test]
fn r4_the_waits_are_spread_over_a_quarter() {
    let mut world = World::new(config());
    for term in 1..=8 {
        world.run_free(&format!("sale 1 100{term} term {term} conn {term}"));
        world.run_free("answer 00");
        world.run_free(&format!("reverse 1 100{term} term {term} conn {term}"));
    }
    (1..=8).for_each(|nth| world.run_free(&format!("ack 91 nth {nth}")));
    assert_eq!(world.reversals().len(), 8);
    world.run_free("pass 999");
    assert_eq!(world.reversals().len(), 8, "none before its second is over");
    world.run_free("pass 26");
    assert!(world.reversals().len() < 12, "{} sends at once", world.reversals().len());
    world.run_free("pass 225");
    assert_eq!(world.reversals().len(), 16);
}

#[test]
fn r1_de90_ends_with_the_acquirer_right_justified() {
    for (acquirer, named) in [("12345678901", "12345678901"), ("123", "00000000123")] {
        let mut world = World::new(config());
        world.run(&format!(
            "sale 1 1000 set 32={acquirer} > issuer 0200 1000
             answer 00 > terminal 0210 00
             reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00"
        ));
        let original = world.reversals()[0].text(90).unwrap();
        assert_eq!((&original[20..31], &original[31..]), (named, "00000000000"));
    }
}
