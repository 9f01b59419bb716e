//! A new look-up key: a card that comes under its new mark is still the card of what was recorded under the old one, so no
//! repeat, no re-key and no reversal is taken for another because of a rotation.

use crate::world::{World, check_with, config, link, shops};
use switch::*;

/// While the switch runs; at its next start; while it runs and then a crash; twice.
const ROTATIONS: [&str; 4] = ["rotate", "rotate at-start\ncrash\nlink up", "rotate\ncrash\nlink up", "rotate\nrotate"];

/// The steps before a rotation and those after it, for every way to rotate.
fn over(before: &str, after: &str) {
    over_with(|_| {}, before, after);
}

fn over_with(change: impl Fn(&mut Config), before: &str, after: &str) {
    for rotation in ROTATIONS {
        check_with(&change, &format!("{before}\n{rotation}\n{after}"));
    }
}

const SALE: &str = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00";

/// Memory has let the sale go.
const LET_GO: &str = "sale 1 1000 > issuer 0200 1000
    answer 00 > terminal 0210 00
    pass 3000
    sale 2 500 > issuer 0200 500
    answer 51 > terminal 0210 51
    pass 1300000
    sale 3 700 fresh > issuer 0200 700
    answer 51 > terminal 0210 51
    movements 1";

fn one_in_memory(config: &mut Config) {
    config.dedup_keys = 1;
}

#[test]
fn d2_a_repeat_after_a_rotation_gets_the_stored_answer() {
    over(SALE, "repeat 1 1000 > terminal 0210 00\nnoted D2");
    over(SALE, "sale 1 1000 > terminal 0210 00\nnoted D2");
}

#[test]
fn d4_another_card_under_the_same_key_is_refused_after_a_rotation() {
    over(SALE, "sale 1 1000 card 2 > terminal 0210 94\nnoted D4\nrepeat 1 1000 > terminal 0210 00");
    // Its card says which use of a contested key a reversal means; another card names neither.
    let contested = format!("{SALE}\nsale 1 2000 > terminal 0210 94");
    over(&contested, "reverse 1 1000 card 0 > issuer 0420 1000 4000; terminal 0410 00\ncause 1 D8");
    over(&contested, "reverse 1 1000 > terminal 0410 00\noperator 1 D12");
}

#[test]
fn d5_a_sale_keyed_again_after_a_rotation_undoes_what_was_not_handed() {
    let not_handed = "sale 1 1000 > issuer 0200 1000\nreport undeliverable\nanswer 00 > terminal 0210 00";
    let again = "sale 2 1000 fresh > issuer 0420 1000 4013; issuer 0200 1000\ncause 1 D5";
    check_with(|_| {}, &format!("{not_handed}\nrotate\n{again}"));
}

#[test]
fn d6_equal_sales_before_and_after_a_rotation_are_flagged() {
    over(SALE, "sale 2 1000 fresh > issuer 0200 1000\nexceptions 1");
    over(SALE, "sale 2 1000 fresh card 2 > issuer 0200 1000\nexceptions 0");
    over_with(|config| shops(config).on_rekey = OnRekey::Refuse, SALE, "sale 2 1000 fresh > terminal 0210 94");
    // The entry is closed when one of the two ends without money, and stays where a third may stand.
    over(SALE, "sale 2 1000 fresh > issuer 0200 1000\nexceptions 1\nanswer 51 > terminal 0210 51\nexceptions 0");
    let two = format!("{SALE}\nsale 2 1000 fresh > issuer 0200 1000\nanswer 00 > terminal 0210 00\nexceptions 1");
    over(&two, "sale 3 1000 fresh > issuer 0200 1000\nexceptions 2\nanswer 51 > terminal 0210 51\nexceptions 2");
}

#[test]
fn d8_d12_a_reversal_with_the_card_after_a_rotation() {
    over(SALE, "reverse 1 1000 card 0 > issuer 0420 1000 4000; terminal 0410 00\nack 00\nstate 1 unwound");
    over(SALE, "reverse 1 1000 card 2 > terminal 0410 00\nstate 1 needs_operator\noperator 1 D12");
}

#[test]
fn r6_a_new_request_after_a_rotation_is_written_after_its_cards_unsent_reversals() {
    let unsent = |config: &mut Config| {
        config.issuers.get_mut(&IssuerNo(1)).unwrap().reversal_window = 1;
        link(config).original_horizon_ms = 0;
    };
    let line = "sale 1 1000 term 2 conn 2 card 2 > issuer 0200 1000
        answer 00 > terminal 0210 00
        sale 2 700 > issuer 0200 700
        answer 00 > terminal 0210 00
        reverse 1 1000 term 2 conn 2 > issuer 0420 1000 4000; terminal 0410 00
        reverse 2 700 > terminal 0410 00";
    check_with(unsent, &format!("{line}\nrotate\nsale 3 900 > issuer 0420 700 4000; issuer 0200 900"));
    check_with(unsent, &format!("{line}\nrotate\nsale 3 900 term 3 conn 3 card 2 > issuer 0200 900"));
}

/// What the journal tells of a sale is marked as its time was; whoever brings it marks it anew.
#[test]
fn d2_d8_what_is_looked_up_after_a_rotation_is_known_by_its_card() {
    over_with(
        one_in_memory,
        LET_GO,
        "reverse 1 1000 card 0 de7 1122070809 > find\nfound > issuer 0420 1000 4000; terminal 0410 00",
    );
    over_with(one_in_memory, LET_GO, "repeat 1 1000 > find\nfound > terminal 0210 00");
}

/// A look-up that is under way when the key changes: what waits is marked anew with all the rest.
#[test]
fn d2_d8_what_waits_for_its_look_up_is_known_by_its_card_after_a_rotation() {
    let check = |script: &str| check_with(one_in_memory, &format!("{LET_GO}\n{script}"));
    check("repeat 1 1000 > find\nrotate\nfound > terminal 0210 00");
    check("reverse 1 1000 card 0 de7 1122070809 > find\nrotate\nfound > issuer 0420 1000 4000; terminal 0410 00");
    check("repeat 8 1000 fresh > find\nrotate\nrepeat 8 1000 fresh conn 2\nfound > issuer 0200 1000");
}

/// Whatever part of a rotation a crash leaves, the next start marks the rest, and makes no record where nothing is left.
#[test]
fn section_10_a_rotation_that_a_crash_cuts_short_is_taken_up_by_the_next_start() {
    let mut world = World::new(config());
    for stan in 1..=250 {
        world.run_unchecked(&format!("sale {stan} {stan}00 term {stan}"));
        world.run_unchecked("answer 51");
    }
    let before = world.records().len();
    world.run("rotate");
    let whole = world.records().to_vec();
    assert!(whole.len() >= before + 5, "two records of keys, three of marks: {}", whole.len() - before);
    for upto in before..=whole.len() {
        world.records.truncate(before);
        world.records.extend_from_slice(&whole[before..upto]);
        let mut replayed = Switch::new(config());
        for (lsn, entry) in (1..).zip(world.records()) {
            replayed.replay(Lsn(lsn), entry).expect("its own records");
        }
        // From its first record on the journal opens only with both.
        let knows = |key: u8| replayed.keys().contains(&(0, [key; 8]));
        assert_eq!((knows(0), knows(1)), (true, upto > before), "cut at {upto} of {before}");
        world.run("crash");
        let newest = &world.core().keys()[0];
        assert_eq!(*newest, (0, [1; 8]), "the new key is the newest");
        let old = world.core().movements().filter(|m| m.card.map(|card| card.hmac) != m.fingerprint.card);
        assert_eq!(old.count(), 0, "one mark for each");
        let mark_key = |movement: &Movement| movement.fingerprint.card.unwrap().0[15];
        assert!(world.core().movements().all(|movement| mark_key(movement) == 1), "cut at {upto} of {before}");
        let records = world.records().len();
        world.run("crash");
        assert_eq!(world.records().len(), records + 1, "nothing is left to do");
    }
}

/// A start with keys that the journal knows is one record, as ever; one with another PAN key is two, and no marks.
#[test]
fn section_10_only_a_new_key_is_on_record_and_only_a_new_look_up_key_marks() {
    let mut core = Switch::new(config());
    let now = Now { uptime_ms: 1, wall_ms: 1_795_331_289_000 };
    let mut check = |keys: &[(u16, [u8; 8])], wanted: &[&str]| {
        let mut out = Output::default();
        core.start(now, keys.to_vec(), &|_| None, &mut out);
        let names: Vec<&str> = out.records.iter().map(|entry| entry.record.name()).collect();
        assert_eq!(names, wanted);
        assert_eq!(core.keys(), keys);
    };
    check(&[(0, [0; 8]), (1, [1; 8])], &["restarted"]);
    check(&[(0, [0; 8]), (1, [1; 8])], &["restarted"]);
    check(&[(0, [0; 8]), (2, [2; 8]), (1, [1; 8])], &["restarted", "keys"]);
    check(&[(0, [9; 8]), (0, [0; 8]), (2, [2; 8]), (1, [1; 8])], &["restarted", "keys", "keys"]);
}
