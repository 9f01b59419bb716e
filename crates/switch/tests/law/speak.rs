//! Write before you speak (M1-M8), and what is refused before anything is written. The language of the scripts is in `world`.

use crate::world::{World, check, check_with, config, link, shops};
use switch::*;

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
        "answer 00 amount 1001 > issuer 0420 1000 4020; terminal 0210 68",
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
fn m2_what_is_refused_before_an_intent_leaves_no_record() {
    for (before, refused) in [
        ("link down", "sale 1 1000 > terminal 0210 91"),
        ("link down", "repeat 1 1000 > terminal 0210 91"),
        ("drain", "sale 1 1000 > terminal 0210 96"),
        ("journal-full", "sale 1 1000 > terminal 0210 96"),
        ("admit", "sale 1 1000 card 1 > terminal 0210 91"),
        ("admit", "sale 1 0 > terminal 0210 13"),
    ] {
        let mut world = World::new(config());
        world.run(before);
        let records = world.records().len();
        world.run(refused);
        assert_eq!(world.records().len(), records, "{before}: {refused}");
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

/// Whatever the reason was: the same key is refused for the window and taken after it.
#[test]
fn m7_a_refused_key_stays_refused_for_the_window_and_no_longer() {
    // The sale that it was refused beside is undone meanwhile (D6).
    check_with(
        |config| shops(config).on_rekey = OnRekey::Refuse,
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 2 1000 fresh > terminal 0210 94
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         ack 00
         pass 599999
         repeat 2 1000 fresh > terminal 0210 94
         pass 1
         repeat 2 1000 fresh > issuer 0200 1000",
    );
    // A repeat that came too late to be an original (D11).
    check(
        "repeat 1 1000 time 060000 > terminal 0210 94
         pass 599999
         sale 1 1000 fresh > terminal 0210 94
         pass 1
         sale 1 1000 fresh > issuer 0200 1000",
    );
    // Another sale under a key in use (D4).
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 51 > terminal 0210 51
         pass 300000
         sale 1 2000 fresh > terminal 0210 94
         pass 599999
         sale 1 2000 fresh > terminal 0210 94
         pass 1
         sale 1 2000 fresh > issuer 0200 2000",
    );
    // Refused a second time, before the first refusal was over.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 51 > terminal 0210 51
         pass 300000
         sale 1 2000 fresh > terminal 0210 94
         pass 200000
         sale 1 2000 fresh > terminal 0210 94
         pass 599999
         sale 1 2000 fresh > terminal 0210 94
         pass 1
         sale 1 2000 fresh > issuer 0200 2000",
    );
    // No link, and no place for it (M7).
    check(
        "link down
         sale 1 1000 > terminal 0210 91
         link up
         pass 599999
         sale 1 1000 fresh > terminal 0210 91
         pass 1
         sale 1 1000 fresh > issuer 0200 1000",
    );
}

/// A time or date that is no whole one proves nothing, and is no reason to refuse a sale.
#[test]
fn a_local_time_is_six_digits_with_a_date_of_four() {
    for cut in ["12=0708", "13=11", "12=07080900", "12=0708,13=11"] {
        check(&format!("sale 1 1000 set {cut} > issuer 0200 1000\nanswer 00 > terminal 0210 00"));
    }
}

/// Settlement date, text and chip data go to whoever waits for the answer; they are not kept for a repeat.
#[test]
fn what_the_issuer_says_beside_its_answer_is_passed_on_once() {
    let mut world = World::new(config());
    world.run("sale 1 1000 > issuer 0200 1000\nanswer 00 set 15=1123,44=HELLO,55=CHIP > terminal 0210 00");
    let beside = |world: &World| [15, 44, 55].map(|de| world.answered.as_ref().unwrap().get(de).map(<[u8]>::to_vec));
    assert_eq!(beside(&world), ["1123", "HELLO", "CHIP"].map(|text| Some(text.as_bytes().to_vec())));
    world.run("repeat 1 1000 > terminal 0210 00");
    assert_eq!(beside(&world), [None, None, None]);
}

#[test]
fn what_the_core_never_saw_is_refused_with_what_its_sender_needs() {
    let mut request = iso8583::Fields::new(iso8583::Mti::new(b"0200"));
    for (de, text) in [(2, "4111111111111111"), (11, "000042"), (41, "TERM0001")] {
        request.set(de, text.as_bytes());
    }
    let refused = refusal(&request, iso8583::ResponseCode::FORMAT_ERROR).unwrap();
    assert_eq!((refused.mti().as_bytes(), refused.text(39), refused.text(11)), (b"0210", Some("30"), Some("000042")));
    assert_eq!((refused.text(41), refused.has(2)), (Some("TERM0001"), false));
    assert!(refusal(&refused, iso8583::ResponseCode::FORMAT_ERROR).is_none(), "an answer is not answered");
}
