//! What a terminal sends again: repeats, look-ups, the copies of an answer (D1-D4, T8).
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
fn d4_what_was_refused_stays_refused_when_the_window_of_the_first_has_passed() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 599999
         sale 1 2000 fresh > terminal 0210 94
         pass 20000
         repeat 1 2000 fresh > terminal 0210 94",
    );
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
fn d11_a_repeat_whose_original_never_arrived_is_the_original_unless_it_is_old() {
    check("repeat 1 1000 > issuer 0200 1000");
    check("repeat 1 1000 time 060000 > terminal 0210 94\nwaits\nexceptions 1");
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

/// A reversal again of what is the next to go from memory is about a movement that is still there: its answer carries the RRN,
/// and what a person decided on is listed (D10).
#[test]
fn d10_a_record_about_a_movement_does_not_take_it_from_memory() {
    for (end, exceptions) in [
        ("reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\nack 00", 0),
        ("reverse 1 900 > terminal 0410 64\nresolve 1 stands > resolved", 1),
    ] {
        let mut config = config();
        config.dedup_keys = 1;
        let mut world = World::new(config);
        world.run(&format!(
            "sale 1 1000 > issuer 0200 1000
             answer 00 > terminal 0210 00
             {end}
             sale 2 500 time 070909 > issuer 0200 500
             answer 51 > terminal 0210 51
             pass 1300000
             reverse 1 1000 de7 1122070809 > terminal 0410 00
             movements 2
             exceptions {exceptions}"
        ));
        let rrn = world.answered.as_ref().and_then(|answer| answer.text(37)).expect("DE37").to_owned();
        let named = world.core().movements().find(|movement| movement.rrn.as_bytes() == rrn.as_bytes());
        assert_eq!(named.map(|movement| movement.key.stan.get()), Some(1));
        world.run("sale 3 700 time 073000 > issuer 0200 700\nmovements 2");
    }
}

/// A version that let go with the very record about a movement recalled what this one still holds: it is there once.
#[test]
fn what_is_recalled_though_memory_holds_it_is_there_once() {
    let mut config = config();
    config.dedup_keys = 1;
    let mut world = World::new(config.clone());
    world.run(
        "sale 1 1000 > issuer 0200 1000
         answer 51 > terminal 0210 51
         sale 2 500 time 070909 > issuer 0200 500
         answer 51 > terminal 0210 51
         pass 1300000",
    );
    let first = world.core().movements().next().expect("both are there").clone();
    let wall_ms = first.since_wall_ms + 1_300_000;
    let tombstone = Record::Tombstone { terminal: first.key.terminal, stan: first.key.stan, class: None, amount: None };
    let mut replayed = Switch::new(config);
    let recalled = Entry { partition: 1, wall_ms, record: Record::Recalled { movement: first.clone() } };
    // The last lets go of all but the newest.
    let more = [recalled, Entry { partition: 1, wall_ms: wall_ms * 2, record: tombstone }];
    for (lsn, entry) in (1..).zip(world.records().iter().chain(&more)) {
        replayed.replay(Lsn(lsn), entry).expect("a record that fits");
    }
    assert!(replayed.movements().map(|movement| movement.id).eq([first.id]));
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
            "{handed}pass 1999
             report undeliverable
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

/// What was handed lies before its repeat in the same stream: it may arrive, though the copy behind it could not be handed.
#[test]
fn m8_t8_a_copy_that_fails_behind_an_answer_in_the_same_stream_proves_nothing() {
    let handed = "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         state 1 awaiting_confirmation
         pass 20000
         report undeliverable
         ";
    check(&format!(
        "{handed}repeat 1 1000 > terminal 0210 00
         state 1 awaiting_confirmation
         evidence 1 unknown
         unknown 1
         pass 5000
         state 1 awaiting_confirmation
         pass 86400000
         operator 1 K2"
    ));
    // A copy for a repeat that crossed the answer is an answer in the stream too.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         repeat 1 1000 conn 2 > terminal 0210 00
         pass 20000
         report undeliverable
         repeat 1 1000 conn 2 > terminal 0210 00
         state 1 awaiting_confirmation
         evidence 1 unknown",
    );
    // So it is on each connection that it was handed to.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 20000
         repeat 1 1000 conn 2 > terminal 0210 00
         evidence 1 handed
         pass 20000
         report undeliverable
         repeat 1 1000 > terminal 0210 00
         evidence 1 unknown",
    );
    // And what a person reads of it.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 approval AAAAAA > terminal 0210 00
         pass 20000
         report silent
         repeat 1 1000 > terminal 0210 00
         answer 00 approval BBBBBB
         operator 1 T7
         late undeliverable
         evidence 1 unknown",
    );
    // On another connection nothing lies before it, and the terminal has left the first (T8).
    check(&format!(
        "{handed}repeat 1 1000 conn 2 > terminal 0210 00
         state 1 awaiting_delivery
         evidence 1 not_handed
         pass 5000 > issuer 0420 1000 4013"
    ));
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
        // What was handed once says nothing of an answer that the terminal asks for long after, on another connection.
        check(&format!(
            "{offered}{repeat}\nwritten\nlate undeliverable\npass 2000\nreport undeliverable\nrepeat 1 1000 conn 3 > terminal 0210 00
             evidence 1 not_handed\npass 5000 > issuer 0420 1000 4013"
        ));
    }
}

/// The margin of `on_repeat` runs from when the answer was given out last: a terminal that has only just got it gave nothing up.
#[test]
fn d2_a_repeat_counts_from_the_newest_time_that_the_answer_was_given_out() {
    let unwind = |config: &mut Config| shops(config).on_repeat = OnRepeat::Unwind;
    let given_again = "sale 1 1000 > issuer 0200 1000
         report undeliverable
         answer 00 > terminal 0210 00
         pass 1500
         repeat 1 1000 conn 2 > terminal 0210 00
         ";
    check_with(
        unwind,
        &format!("{given_again}pass 1999\nrepeat 1 1000 conn 3 > terminal 0210 00\nstate 1 awaiting_confirmation"),
    );
    check_with(
        unwind,
        &format!("{given_again}pass 2000\nrepeat 1 1000 conn 3 > issuer 0420 1000 4013; terminal 0210 68\ncause 1 D2"),
    );
}

/// Only what may still wait is taken back.
#[test]
fn t8_copies_whose_write_was_reported_are_not_taken_back() {
    check(
        "sale 1 1000 > issuer 0200 1000
         report silent
         answer 00 > terminal 0210 00
         report silent
         repeat 1 1000 > terminal 0210 00
         written
         written
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00",
    );
}

/// The two uses of a key can have one time: it does not say which of them a reversal means.
#[test]
fn d4_the_originals_time_does_not_prove_which_use_of_a_contested_key_is_meant() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 1 2000 > terminal 0210 94
         reverse 1 1000 de7 1122070809 > terminal 0410 00
         state 1 needs_operator
         operator 1 D12",
    );
}

/// A look-up sees the whole journal, whatever the daemon was told to keep in memory: an older use of the STAN stands.
#[test]
fn look_ups_find_what_stands_behind_a_newer_use_of_its_stan() {
    check_with(
        |config| config.dedup_keys = 1,
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 3000
         sale 2 500 > issuer 0200 500
         answer 51 > terminal 0210 51
         pass 1300000
         sale 1 700 fresh > issuer 0200 700
         answer 51 > terminal 0210 51
         pass 1300000
         sale 3 600 fresh > issuer 0200 600
         answer 51 > terminal 0210 51
         movements 1
         reverse 1 1000 de7 1122070809 > find
         found > issuer 0420 1000 4000; terminal 0410 00",
    );
}

/// DE12 and DE13 are the terminal's wall clock: its group says how far that is from UTC.
#[test]
fn d11_the_time_that_a_terminal_says_is_its_local_time() {
    let offset = |minutes| move |config: &mut Config| shops(config).utc_offset_minutes = minutes;
    check_with(offset(480), "repeat 1 1000 time 150809 > issuer 0200 1000");
    check_with(offset(480), "repeat 1 1000 time 070809 > terminal 0210 94");
    check_with(offset(-300), "repeat 1 1000 time 020809 > issuer 0200 1000");
    check_with(offset(-300), "repeat 1 1000 time 015809 > terminal 0210 94");
}

/// A message of the terminal proved that it has the answer: a copy that fails afterwards proves nothing against it.
#[test]
fn m8_t8_a_copy_that_fails_does_not_take_back_what_a_message_proved() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         report undeliverable
         repeat 1 1000 conn 2 > terminal 0210 00
         evidence 1 unknown
         sale 2 700 de38 AP0001 conn 3 > issuer 0200 700
         evidence 1 seen
         answer 51 > terminal 0210 51
         report silent
         repeat 1 1000 conn 2 > terminal 0210 00
         late undeliverable
         evidence 1 seen
         pass 86400000
         state 1 confirmed",
    );
}

/// An old grace does not run on beside the new one: the terminal has just been told again.
#[test]
fn t8_the_grace_begins_anew_with_each_try() {
    check(
        "sale 1 1000 > issuer 0200 1000
         report undeliverable
         answer 00 > terminal 0210 00
         pass 4999
         report undeliverable
         repeat 1 1000 > terminal 0210 00
         pass 4999
         state 1 awaiting_delivery
         pass 1 > issuer 0420 1000 4013",
    );
}

const LET_GO: &str = "sale 1 1000 > issuer 0200 1000
     answer 00 > terminal 0210 00
     pass 3000
     sale 2 500 > issuer 0200 500
     answer 51 > terminal 0210 51
     pass 1300000
     sale 3 700 time 073000 > issuer 0200 700
     answer 51 > terminal 0210 51
     movements 1
    ";

/// What waits for its look-up is there for whatever comes next, and for nothing else.
#[test]
fn d1_d4_a_request_that_waits_for_its_look_up_counts_as_present() {
    let check = |script: &str| {
        let lanes = |config: &mut Config| {
            config.dedup_keys = 1;
            (shops(config).serial, shops(config).reverses_first) = (false, false);
        };
        check_with(lanes, &format!("{}{script}", LET_GO.replace("movements 1", "movements 2")));
    };
    check(
        "repeat 8 1000 fresh > find\nrepeat 8 1000 fresh conn 2\nfound > issuer 0200 1000\nanswer 00 > terminal 0210 00\nanswered-on 2",
    );
    check("repeat 8 1000 fresh > find\nrepeat 8 900 fresh conn 2 > terminal 0210 94\nfound > issuer 0200 1000");
    check("repeat 8 1000 fresh > find\nrepeat 9 900 fresh conn 2 > find\nfound > issuer 0200 1000\nfound > issuer 0200 900");
    // A reversal of another STAN, class or terminal leaves it alone.
    check("repeat 8 1000 fresh > find\nreverse 9 1000 > find\nfound > issuer 0200 1000\nfound > terminal 0410 00");
    check(
        "repeat 8 1000 fresh > find\nreverse 8 1000 class 0100 > find\nfound > issuer 0200 1000\nfound > terminal 0410 00",
    );
    check("repeat 8 1000 fresh > find\nreverse 8 1000 term 2 > find\nfound > issuer 0200 1000\nfound > terminal 0410 00");
    check("repeat 8 1000 fresh > find\nreverse 8 1000 bare > find\nfound\nfound > terminal 0410 00");
    // A reversal and a completion of one STAN, and reversals of two.
    check("reverse 9 1000 bare > find\ncomplete 9 00 > find\nfound > terminal 0410 00\nfound > terminal 0212 25");
    check("reverse 9 1000 > find\nreverse 8 1000 > find\nfound > terminal 0410 00\nfound > terminal 0410 00");
    // Nobody is there to be told 91, and the key is not refused; somebody else's connection says nothing.
    check("repeat 8 1000 fresh > find\nclose\nnot-found\nrepeat 8 1000 fresh > find\nfound > issuer 0200 1000");
    check("repeat 8 1000 fresh > find\nclose conn 2\nnot-found > terminal 0210 91\nrepeat 8 1000 fresh > terminal 0210 91");
    check("repeat 8 1000 fresh > find\nclose\nrepeat 8 1000 fresh conn 2\nnot-found > terminal 0210 91");
}

/// What is not asked for stays in the journal: another STAN, another terminal, what is too old for the look-back.
#[test]
fn look_ups_bring_back_what_was_asked_for_and_nothing_else() {
    for (lookback_ms, recalled) in [(432_000_000, 1), (1_000_000, 0)] {
        let mut config = config();
        (config.dedup_keys, config.reversal_lookback_ms) = (1, lookback_ms);
        let mut world = World::new(config);
        world.run(
            "sale 1 1000 > issuer 0200 1000
             answer 51 > terminal 0210 51
             sale 1 600 term 2 conn 2 > issuer 0200 600
             answer 51 > terminal 0210 51
             sale 2 500 > issuer 0200 500
             answer 51 > terminal 0210 51
             pass 1300000
             sale 3 700 time 073000 > issuer 0200 700
             answer 51 > terminal 0210 51
             movements 1
             reverse 1 1000 de7 1122070809 > find
             found > terminal 0410 00",
        );
        let found = world.records().iter().filter(|entry| matches!(entry.record, Record::Recalled { .. })).count();
        assert_eq!(found, recalled, "within {lookback_ms} ms");
    }
}
