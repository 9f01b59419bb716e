//! Sales keyed or tapped again (D5, D6).
//! The language of the scripts is in `world`.

use crate::world::{World, check, check_with, config, shops};
use switch::*;

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
    // The third ends: the entry of the two that stand stays, and so does its own, which may stand for the first and second.
    check_with(
        lanes,
        &format!(
            "{two}answer 00 nth 1 > terminal 0210 00\nanswer 00 nth 2 > terminal 0210 00
             sale 3 1000 fresh > issuer 0200 1000\nexceptions 2\nanswer 51 nth 3 > terminal 0210 51\nexceptions 2"
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
         sale 2003 1000 fresh term 2 conn 2 > issuer 0200 1000
         # A person has looked at one: there is room for one again.
         resolve entry stands > resolved
         sale 2004 1000 fresh > issuer 0420 700 4001; issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 2005 1000 fresh > terminal 0210 96
         exceptions 1000",
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
fn d6_many_equal_sales_that_ended_hide_none_that_stands() {
    let mut world = World::new(config());
    world.run("sale 1 1000 fresh > issuer 0200 1000\nanswer 00 > terminal 0210 00");
    for stan in 2..=20 {
        world.run_free(&format!("sale {stan} 1000 fresh"));
        world.run("answer 51 > terminal 0210 51");
    }
    world.run("exceptions 0\nsale 21 1000 fresh > issuer 0200 1000\nexceptions 1");
}

/// A request that names the earlier sale is not that sale keyed again.
#[test]
fn d6_an_equal_request_that_names_the_earlier_one_is_another() {
    let live = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    let de90 = |stan: &str| format!("set 90=0200{stan}{}", "0".repeat(32));
    for (reference, entries) in [
        ("ownrrn 632610000001".to_owned(), 0),
        ("ownrrn 632610000009".to_owned(), 1),
        ("de38 AP0001".to_owned(), 0),
        ("de38 AP0009".to_owned(), 1),
        (de90("000001"), 0),
        (de90("000009"), 1),
        ("set 61=000001000001".to_owned(), 0),
        ("set 61=000001000009".to_owned(), 1),
    ] {
        check(&format!("{live}sale 2 1000 fresh {reference} > issuer 0200 1000\nexceptions {entries}"));
    }
    // Without an approval code nothing is named by one that is absent.
    check(
        "sale 1 1000 > issuer 0200 1000\nanswer 00 drop 38 > terminal 0210 00\nsale 2 1000 fresh > issuer 0200 1000\nexceptions 1",
    );
}

/// Another card at the same terminal, one after the other: neither is the other keyed or tapped again.
#[test]
fn m8_d5_d6_another_tap_under_another_key_is_another_sale() {
    for (report, state) in [("undeliverable", "awaiting_delivery"), ("written", "awaiting_confirmation")] {
        check(&format!(
            "sale 1 1000 tap 1 > issuer 0200 1000\nreport {report}\nanswer 00 > terminal 0210 00
             sale 2 500 tap 2 conn 2 > issuer 0200 500\nstate 1 {state}\nexceptions 0"
        ));
    }
}
