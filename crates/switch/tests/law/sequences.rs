//! Sequences of events that a first version of the core got wrong, each named after the rule that it broke.

use crate::world::{World, check, check_with, config};
use switch::*;

const LET_GO: &str = "sale 1 1000 > issuer 0200 1000
     answer 00 > terminal 0210 00
     pass 3000
     sale 2 500 > issuer 0200 500
     answer 51 > terminal 0210 51
     pass 1300000
     sale 3 700 fresh > issuer 0200 700
     answer 51 > terminal 0210 51
     movements 1
    ";

fn one_in_memory(config: &mut Config) {
    config.dedup_keys = 1;
}

#[test]
fn d8_a_reversal_may_name_its_original_by_the_terminals_own_rrn() {
    for term in ["ownrrn 000000000005", "ownrrn 000000000005 de38 000000", "ownrrn 000000000000"] {
        check(&format!(
            "sale 1 1000 term 1 ownrrn 000000000005 > issuer 0200 1000
             answer 00 > terminal 0210 00
             sale 7 1000 term 2 conn 2 ownrrn 000000000005 > issuer 0200 1000
             answer 00 > terminal 0210 00
             reverse 7 1000 term 2 conn 2 {term} > issuer 0420 1000 4000; terminal 0410 00"
        ));
    }
}

#[test]
fn k4_a_number_that_a_terminal_thought_of_is_nobodys_rrn() {
    // Constant, blank, the number that is next here, and one that memory has let go.
    for own in ["000000000000", "____________", "123456789012", "632610000002"] {
        let mut config = config();
        config.dedup_keys = 1;
        let mut world = World::new(config);
        for stan in 1..=5 {
            world.run_free(&format!("sale {stan} 1000 fresh ownrrn {}", own));
            world.run("answer 51 > terminal 0210 51\npass 1300000");
        }
        world.run("movements 1");
        let rrns: std::collections::BTreeSet<_> =
            world.requests().iter().map(|request| request.get(37).unwrap().to_vec()).collect();
        assert_eq!(rrns.len(), 5, "I3: no RRN is used twice");
        assert!(rrns.iter().all(|rrn| rrn.starts_with(b"63261")), "{own}");
    }
}

#[test]
fn section_2_an_entry_is_closed_with_its_movement_and_no_other() {
    let sale = |stan: u32| {
        format!(
            "sale {stan} 1000 fresh ownrrn 000000000000 > issuer 0200 1000\nanswer 51 > terminal 0210 51\nsale {stan} 2000 fresh > terminal 0210 94\n"
        )
    };
    check(&format!(
        "{}{}exceptions 2\nresolve 1 stands > resolved\nexceptions 1\nresolve 2 stands > resolved\nexceptions 0",
        sale(1),
        sale(2)
    ));
}

#[test]
fn m4_a_restart_under_another_configuration_loses_no_obligation() {
    let mut world = World::new(config());
    world.run(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 3000
         sale 2 500 > issuer 0200 500
         answer 51 > terminal 0210 51
         pass 1300000
         sale 3 700 fresh > issuer 0200 700
         answer 51 > terminal 0210 51
         reverse 1 1000 de7 1122070809 > issuer 0420 1000 4000; terminal 0410 00
         doubt 1",
    );
    world.config.dedup_keys = 1;
    world.run("crash\ndoubt 1");
}

#[test]
fn section_6_a_reversal_that_cancels_a_look_up_is_itself_looked_up() {
    check_with(
        one_in_memory,
        &format!(
            "{LET_GO}
             repeat 1 1000 > find
             reverse 1 1000 conn 2 de7 1122070809 > find
             found
             found > issuer 0420 1000 4000; terminal 0410 00
             ack 00
             state 1 unwound"
        ),
    );
}

#[test]
fn section_6_one_scan_serves_a_reversal_and_its_repeats() {
    check_with(
        one_in_memory,
        &format!("{LET_GO}\nreverse 9 1000 > find\nreverse 9 1000\nreverse 9 1000\nfound > terminal 0410 00"),
    );
}

#[test]
fn t10_and_c1_do_not_act_backwards_after_a_look_up() {
    // The newer sale means that the one that still waits for its look-up was given up.
    check_with(
        one_in_memory,
        &format!(
            "{LET_GO}\nrepeat 8 1000 fresh > find\nsale 9 1000 fresh > issuer 0200 1000\nfound\nstate 9 awaiting_issuer"
        ),
    );
    // The margin of C1 is measured when the request arrives.
    check_with(
        one_in_memory,
        &format!(
            "{LET_GO}
             sale 9 1000 fresh > issuer 0200 1000
             answer 00 > terminal 0210 00
             repeat 8 900 fresh > find
             pass 3000
             found > issuer 0200 900
             state 9 awaiting_confirmation"
        ),
    );
}

#[test]
fn d11_an_old_movement_of_the_same_stan_does_not_take_the_tombstones_place() {
    for (code, operator) in [("51", 0), ("00", 1)] {
        check(&format!(
            "sale 5 1000 > issuer 0200 1000
             answer {code} > terminal 0210 {code}
             pass 700000
             reverse 5 1000 > terminal 0410 00
             doubt {operator}
             sale 5 1000 fresh > terminal 0210 94"
        ));
    }
}

#[test]
fn d11_tombstones_of_both_classes_hold() {
    check("reverse 5 1000 > terminal 0410 00\nreverse 5 1000 class 0100 > terminal 0410 00\nsale 5 1000 > terminal 0210 94");
}

#[test]
fn m7_a_case_for_a_person_gives_its_place_on_the_link_back() {
    check_with(
        |config| config.links.values_mut().for_each(|link| link.in_flight_max = 1),
        "sale 1 1000 > issuer 0200 1000
         reverse 1 2000 > terminal 0410 64
         pass 1000
         sale 2 1000 fresh > issuer 0200 1000",
    );
}

#[test]
fn r1_what_never_left_does_not_count_as_sent() {
    check(
        "sale 1 1000 > issuer 0200 1000
         link up 2
         answer 00 > terminal 0210 00
         report notsent
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00; issuer 0420 1000 4000 on 2
         ack 94 on 2
         state 1 awaiting_reversal_ack",
    );
}

#[test]
fn r1_an_acknowledgement_names_the_amount_that_was_sent() {
    check(
        "sale 1 1000 > issuer 0200 1000
         pass 15000 > issuer 0420 1000 4021; terminal 0210 68
         pass 15000 > issuer 0421 1000 4021
         answer 10 amount 400 > issuer 0421 400 4021
         ack 00 nth 2
         state 1 awaiting_reversal_ack
         ack 00
         state 1 unwound",
    );
}

#[test]
fn k7_a_jump_of_the_wall_clock_makes_no_repeat_a_new_sale() {
    for jump_ms in [3_600_000, -3_600_000, 40 * 86_400_000] {
        let mut world = World::new(config());
        world.run("sale 1 1000 fresh > issuer 0200 1000\nanswer 00 > terminal 0210 00");
        world.jump_wall_clock(jump_ms);
        world.run("repeat 1 1000 fresh > terminal 0210 00");
    }
}

#[test]
fn t7_a_second_approval_does_not_hide_the_first() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 approval AP0001 > terminal 0210 00
         answer 00 approval AP0002
         state 1 needs_operator
         answer 00 approval AP0002
         reverse 1 1000 de38 AP0001 > issuer 0420 1000 4000; terminal 0410 00",
    );
    // While the first is undone, the second is an entry for a person.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 approval AP0001 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         answer 00 approval AP0002
         exceptions 1
         ack 00
         state 1 unwound",
    );
}

#[test]
fn m4_a_crash_inside_a_turn_leaves_no_approval_that_nobody_undoes() {
    let mut whole = World::new(config());
    whole.run("sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51\nanswer 00 > issuer 0420 1000 4021");
    for kept in 1..=whole.records.len() {
        let mut world = World::new(config());
        world.run("sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51\nanswer 00 > issuer 0420 1000 4021");
        world.records.truncate(kept);
        world.run_free("crash");
        let open = world.core().movements().all(|movement| !movement.approval_held() || movement.owes());
        assert!(open, "after {kept} records");
    }
}

#[test]
fn k4_a_recalled_movement_does_not_take_the_stan_of_one_in_flight() {
    let mut config = config();
    config.dedup_keys = 1;
    let mut world = World::new(config);
    world.run(LET_GO);
    // The link's STANs have come round.
    let last = world.records.last().unwrap().clone();
    let stan = iso8583::Stan::new(899_999).unwrap();
    let link = LinkNo { issuer: IssuerNo(1), number: 1 };
    world.records.push(Entry { record: Record::StanUsed { link, stan }, ..last });
    world.run_free("crash");
    world.run_free("link up");
    world.run(
        "sale 9 1000 fresh > issuer 0200 1000
         reverse 1 1000 de7 1122070809 conn 2 > find
         found > issuer 0420 1000 4000; terminal 0410 00
         answer 00 > terminal 0210 00",
    );
}

#[test]
fn d4_one_entry_for_a_person_is_enough() {
    let mut world = World::new(config());
    world.run("sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00");
    for _ in 0..20 {
        world.run("sale 1 999 > terminal 0210 94");
    }
    world.run("exceptions 1");
}

#[test]
fn r3_early_acknowledgements_do_not_put_the_deciding_send_off() {
    let mut world = World::new(config());
    world.run(
        "sale 1 1000 > issuer 0200 1000
         pass 15000 > issuer 0420 1000 4021; terminal 0210 68
         pass 15000 > issuer 0421 1000 4021
         pass 15000",
    );
    let before = world.reversals().len();
    for _ in 0..60 {
        world.run_free("ack 00 nth 1");
        world.run_free("pass 900");
    }
    assert!(world.reversals().len() > before);
}

#[test]
fn r0_a_late_report_of_a_closed_link_does_not_fail_another() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         link up 2
         report silent
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         link down 1
         pass 1300 > issuer 0421 1000 4000 on 2
         never-sent
         sale 2 1000 fresh > issuer 0200 1000 on 2",
    );
}

#[test]
fn k2_what_nobody_knows_to_be_delivered_is_listed() {
    check("sale 1 1000 > issuer 0200 1000\nreport silent\nanswer 00 > terminal 0210 00\ncrash\ndoubt 0\nunknown 1");
}

#[test]
fn d11_a_terminal_has_so_many_tombstones_and_then_no_00() {
    check_with(
        |config| config.groups.get_mut(&GroupNo(1)).unwrap().tombstones_max = 2,
        "reverse 1 1000 > terminal 0410 00
         reverse 2 1000 > terminal 0410 00
         reverse 2 1000 > terminal 0410 00
         reverse 3 1000 > terminal 0410 96
         reverse 3 1000 term 2 > terminal 0410 00",
    );
}

#[test]
fn section_6_a_repeat_with_a_time_of_its_own_is_known_by_it() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         repeat 1 1000 de7now 1122070950 > terminal 0210 00
         reverse 1 1000 de7 1122070950 > issuer 0420 1000 4000; terminal 0410 00",
    );
    // A time that neither the sale nor its repeat had.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         repeat 1 1000 de7now 1122070950 > terminal 0210 00
         reverse 1 1000 de7 1122070951 > terminal 0410 00
         state 1 needs_operator",
    );
}

#[test]
fn section_6_rrn_and_approval_code_name_their_transaction_under_any_stan() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 own rrn de38 AP0001 > issuer 0420 1000 4000; terminal 0410 00",
    );
    check(
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 1000 own rrn de38 XX0001 > terminal 0410 00\nstate 1 needs_operator",
    );
}

#[test]
fn d13_a_partial_reversal_proves_that_the_terminal_holds_the_approval() {
    check(
        "sale 1 1000 > issuer 0200 1000
         report undeliverable
         answer 00 > terminal 0210 00
         reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00
         evidence 1 seen
         ack 00
         pass 5000
         state 1 awaiting_confirmation
         net 1 400",
    );
}

#[test]
fn what_comes_after_an_operators_decision_is_an_entry_for_a_person_once() {
    let resolved = "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         resolve 1 undone-elsewhere > resolved
        ";
    check(&format!(
        "{resolved}\nreverse 1 1000 > terminal 0410 00\nexceptions 1\nreverse 1 1000 > terminal 0410 00\nexceptions 1"
    ));
    check(&format!(
        "{resolved}\ncomplete 1 05 > terminal 0212 00\nexceptions 1\ncomplete-again 1 05 > terminal 0212 00\nexceptions 1"
    ));
    check(&format!(
        "{resolved}\nack 00\nexceptions 1\nack 00\nexceptions 1\nresolve 1 stands > resolved\nexceptions 0\nack 00\nexceptions 1"
    ));
}

/// The movement's number in base 36, of which every digit counts.
#[test]
fn k4_an_rrn_is_made_of_every_digit_of_its_movements_number() {
    let mut world = World::new(config());
    for stan in 1..=1297 {
        world.run_unchecked(&format!("sale {stan} {stan} fresh"));
        world.run_unchecked("answer 51");
    }
    let rrns: std::collections::BTreeSet<_> = world.requests().iter().map(|request| request.text(37).unwrap()).collect();
    assert_eq!(rrns.len(), 1297, "I3: no RRN is used twice");
    for (number, rrn) in
        [(1, "632610000001"), (35, "63261000000Z"), (36, "632610000010"), (37, "632610000011"), (1297, "632610000101")]
    {
        assert_eq!(world.requests()[number - 1].text(37), Some(rrn));
    }
}
