//! Promises to reverse, and what a person is told of them: sequences that lost one once. Each is named after its rule.

use crate::world::{World, check, check_with, config, shops};
use switch::*;

fn addresses_one(config: &mut Config) {
    config.links.values_mut().for_each(|link| link.addresses_one_approval = true);
}

const LIVE: &str = "sale 1 1000 > issuer 0200 1000\nanswer 00 approval AAAAAA > terminal 0210 00\n";

#[test]
fn t7_a_reversal_that_takes_the_place_of_a_second_approvals_is_heard_of() {
    check_with(
        addresses_one,
        &format!(
            "{LIVE}
  answer 00 approval BBBBBB > issuer 0420 1000 4020
  reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
  ack 00
  exceptions 1"
        ),
    );
}

#[test]
fn t7_a_partial_reversal_that_takes_its_place_is_heard_of_too() {
    check_with(
        addresses_one,
        &format!(
            "{LIVE}
  answer 00 approval BBBBBB > issuer 0420 1000 4020
  reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00
  ack 00
  exceptions 1"
        ),
    );
}

#[test]
fn r5_a_promise_that_ended_takes_no_place_in_the_window() {
    check_with(
        |c| c.issuers.get_mut(&IssuerNo(1)).unwrap().reversal_window = 1,
        &format!(
            "{LIVE}
  sale 9 700 term 2 conn 2 > issuer 0200 700
  answer 00 > terminal 0210 00
  reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00
  reverse 9 700 term 2 conn 2 > terminal 0410 00
  pass 15000 > issuer 0420 700 4000
  pass 1300
  ack 00 nth 1
  state 1 awaiting_confirmation
  doubt 1
  ack 00 nth 2
  doubt 0
  pass 3600000
  sale 5 300 term 3 conn 3 fresh > issuer 0200 300
  answer 00 > terminal 0210 00
  reverse 5 300 term 3 conn 3 > issuer 0420 300 4000; terminal 0410 00"
        ),
    );
}

#[test]
fn r3_what_was_never_answered_has_its_horizon_after_a_restart() {
    let mut w = World::new(config());
    w.run("sale 1 1000 > issuer 0200 1000\nreverse 1 2000 > terminal 0410 64\nstate 1 needs_operator\ncrash\nlink up\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00");
    for _ in 0..50 {
        w.run_free("pass 60000");
        w.run_free("ack 00");
    }
    w.run("state 1 unwound");
}

#[test]
fn r3_an_operators_undo_after_a_restart_is_decided() {
    let mut w = World::new(config());
    w.run("sale 1 1000 > issuer 0200 1000\nreverse 1 2000 > terminal 0410 64\ncrash\nlink up\nresolve 1 undo > issuer 0420 1000 4001; resolved");
    for _ in 0..50 {
        w.run_free("pass 60000");
        w.run_free("ack 00");
    }
    w.run("state 1 unwound");
}

#[test]
fn d5_what_is_promised_is_sent_although_the_new_sale_is_refused() {
    let mut c = config();
    shops(&mut c).serial = false;
    shops(&mut c).reverses_first = false;
    let mut w = World::new(c);
    w.run(
        "sale 1 1000 > issuer 0200 1000
  sale 2 1000 > issuer 0200 1000
  answer 00 nth 1 > terminal 0210 00
  report undeliverable
  answer 00 nth 2 > terminal 0210 00
  evidence 2 not_handed",
    );
    shops(&mut w.config).on_rekey = OnRekey::Refuse;
    w.run_free("crash");
    w.run_free("link up");
    w.run_free("sale 3 1000");
    w.run("state 2 awaiting_reversal_ack\ncause 2 D5");
    w.run_free("pass 3600000");
    w.run("state 2 awaiting_reversal_ack");
    assert!(!w.reversals().is_empty());
}

#[test]
fn d5_what_is_promised_is_sent_although_the_new_sale_has_no_route() {
    let mut w = World::new(config());
    w.run(
        "sale 1 1000 tap 1 > issuer 0200 1000
  report undeliverable
  answer 00 > terminal 0210 00",
    );
    w.run_free("sale 1 1000 tap 2 card 1");
    w.run_free("pass 3600000");
    w.run("state 1 awaiting_reversal_ack");
    assert!(!w.reversals().is_empty());
}

#[test]
fn resolved_a_reversal_after_stands_is_heard_of() {
    check(&format!(
        "{LIVE}
  reverse 1 2000 > terminal 0410 64
  resolve 1 stands > resolved
  reverse 1 1000 > terminal 0410 00
  net 1 1000
  exceptions 1"
    ));
}

#[test]
fn resolved_an_acknowledgement_after_stands_is_heard_of() {
    check(&format!(
        "{LIVE}
  reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
  resolve 1 stands > resolved
  ack 00
  net 1 1000
  exceptions 1"
    ));
}

#[test]
fn resolved_stands_leaves_what_a_partial_reversal_left() {
    check(&format!(
        "{LIVE}
  reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00
  ack 00
  net 1 400
  reverse 1 2000 > terminal 0410 64
  resolve 1 stands > resolved
  net 1 400"
    ));
}

#[test]
fn r7_what_waits_in_the_line_is_listed() {
    check(&format!(
        "{LIVE}
  link down
  reverse 1 1000 > terminal 0410 00
  pass 172800000
  exceptions 1"
    ));
}

#[test]
fn r5_a_promise_that_ended_does_not_block_the_line() {
    let mut c = config();
    c.dedup_keys = 1;
    c.issuers.get_mut(&IssuerNo(1)).unwrap().reversal_window = 1;
    c.issuers.get_mut(&IssuerNo(1)).unwrap().reversal_retry_ms = vec![1000];
    let mut w = World::new(c);
    w.run(&format!(
        "{LIVE}
  pass 3000
  sale 2 500 > issuer 0200 500
  answer 51 > terminal 0210 51
  state 1 confirmed
  reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00"
    ));
    w.run_free("pass 1300000");
    for k in 0..3 {
        w.run_free(&format!("sale {} 70{k} term {} conn {} fresh", 9 + k, 2 + k, 2 + k));
        w.run_free("answer 00");
        w.run_free(&format!("reverse {} 70{k} term {} conn {}", 9 + k, 2 + k, 2 + k));
    }
    // until 1 is due behind one in flight
    w.run_free("pass 120000");
    w.run_free("ack 00 nth 1");
    for k in 0..3 {
        w.run_free(&format!("sale {} 80{k} term {} conn {} fresh", 29 + k, 12 + k, 12 + k));
        w.run_free("answer 00");
        w.run_free(&format!("reverse {} 80{k} term {} conn {}", 29 + k, 12 + k, 12 + k));
    }
    let before = w.reversals().len();
    for _ in 0..60 {
        w.run_free("pass 150000");
    }
    let mid = w.reversals().len();
    w.run_free("pass 36000000");
    w.run_free("link down");
    w.run_free("link up");
    w.run_free("pass 600000");
    assert!(w.reversals().len() > mid);
    assert!(w.reversals().len() > before + 100);
}

#[test]
fn m2_an_answer_waits_although_its_record_let_the_movement_go() {
    let mut c = config();
    c.dedup_keys = 1;
    let mut w = World::new(c);
    w.run(
        "sale 1 1000 > issuer 0200 1000
  answer 51 > terminal 0210 51
  pass 3000
  sale 2 500 > issuer 0200 500
  answer 51 > terminal 0210 51
  pass 1300000
  reverse 1 1000 de7 1122070809 > terminal 0410 00
  waits",
    );
}

#[test]
fn m2_a_completions_answer_waits_although_its_record_let_the_movement_go() {
    let mut c = config();
    c.dedup_keys = 1;
    let mut w = World::new(c);
    w.run(
        "sale 1 1000 > issuer 0200 1000
  answer 51 > terminal 0210 51
  pass 3000
  sale 2 500 > issuer 0200 500
  answer 51 > terminal 0210 51
  pass 1300000",
    );
    w.run_free("complete 1 00");
    w.run("waits");
}

#[test]
fn r4_a_case_for_a_person_does_not_silence_a_partial_reversal() {
    let mut w = World::new(config());
    w.run(&format!(
        "{LIVE}
  reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00
  reverse 1 2000 > terminal 0410 64
  state 1 needs_operator"
    ));
    w.run_free("pass 3600000");
    assert!(w.reversals().len() > 1, "{}", w.reversals().len());
}

#[test]
fn t8_does_not_reverse_what_a_partial_reversal_left() {
    check(
        "sale 1 1000 > issuer 0200 1000
  answer 00 > terminal 0210 00
  report undeliverable
  repeat 1 1000 > terminal 0210 00
  reverse 1 1000 keep 400 de38 AP0001 > issuer 0420 1000 4004; terminal 0410 00
  ack 00
  pass 6000
  net 1 400",
    );
}

#[test]
fn section_6_a_look_up_finds_by_rrn_too() {
    let mut c = config();
    c.dedup_keys = 1;
    let mut w = World::new(c);
    w.run(
        "sale 1 1000 > issuer 0200 1000
  answer 00 > terminal 0210 00
  pass 3000",
    );
    let rrn = w.core().movement_by_id(MovementId(1)).unwrap().rrn;
    w.run(
        "sale 2 500 > issuer 0200 500
  answer 51 > terminal 0210 51
  pass 1300000
  sale 3 500 fresh > issuer 0200 500",
    );
    w.run(&format!("reverse 1 1000 own ownrrn {} de38 AP0001 > find", std::str::from_utf8(rrn.as_bytes()).unwrap()));
    w.run("found > issuer 0420 1000 4000; terminal 0410 00");
}

#[test]
fn c2_one_entry_for_a_person_however_often_it_comes() {
    let mut w = World::new(config());
    w.run("sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51");
    for _ in 0..50 {
        w.run_free("complete 1 00");
    }
    w.run("exceptions 1");
}

#[test]
fn i4_a_restore_knows_whose_a_reversals_number_is() {
    let mut w = World::new(config());
    w.run(
        "sale 1 1000 > issuer 0200 1000
  answer 00 > terminal 0210 00
  sale 2 700 term 2 conn 2 > issuer 0200 700
  answer 00 > terminal 0210 00
  reverse 2 700 term 2 conn 2 > issuer 0420 700 4000; terminal 0410 00
  ack 00
  pass 700000",
    );
    // the counter is at its end: another movement's number
    w.run(
        "sale 3 300 term 3 conn 3 fresh > issuer 0200 300
  answer 00 > terminal 0210 00
  reverse 3 300 term 3 conn 3 > issuer 0420 300 4000; terminal 0410 00
  ack 00",
    );
    let at = w.records.iter().rposition(|e| matches!(e.record, Record::ReversalNumbered { .. })).unwrap();
    if let Record::ReversalNumbered { numbers, .. } = &mut w.records[at].record {
        numbers.sent_as.stan = iso8583::Stan::new(999_999).unwrap();
    }
    w.run_free("crash");
    w.run_free("link up");
    w.run("reverse 1 1000 de7 1122070809 > issuer 0420 1000 4000; terminal 0410 00");
    w.restore();
    w.run_free("link up");
    w.run_free("pass 2000");
    w.run("ack 00\nstate 1 unwound");
    // Both of its users have ended: it is still the newer one's, and busy for as long (K4).
    w.restores_to_the_same_indexes();
}

#[test]
fn r3_an_answer_that_t4_rejects_is_not_a_usable_one() {
    check(
        "sale 1 1000 > issuer 0200 1000
  answer 00 rrn 999999999999 > issuer 0420 1000 4020; terminal 0210 68
  ack 00
  state 1 awaiting_reversal_ack",
    );
}

/// A serial terminal's later sale does not confirm one whose reversal waits for its look-up.
#[test]
fn c1_and_a_reversal_that_waits_for_its_look_up() {
    let mut c = config();
    c.dedup_keys = 1;
    let mut w = World::new(c);
    w.run(
        "sale 1 1000 > issuer 0200 1000
     answer 00 > terminal 0210 00
     pass 3000
     sale 2 500 > issuer 0200 500
     answer 51 > terminal 0210 51
     pass 1300000
     sale 3 700 fresh > issuer 0200 700
     answer 51 > terminal 0210 51
     reverse 9 1000 > find",
    );
    w.run_free("sale 9 1000 fresh");
    w.run_free("found");
    w.run("state 9 awaiting_reversal_ack");
}

#[test]
fn resolved_undo_answers_who_waits() {
    check(
        "sale 1 1000 > issuer 0200 1000
  reverse 1 2000 > terminal 0410 64
  resolve 1 undo > issuer 0420 1000 4001; terminal 0210 68; resolved",
    );
}

#[test]
fn d11_only_live_tombstones_fill_the_quota() {
    check_with(
        |c| shops(c).tombstones_max = 1,
        "reverse 1 1000 > terminal 0410 00
  pass 100000000
  reverse 2 1000 > terminal 0410 00",
    );
}

#[test]
fn t7_the_same_second_approval_again_is_nothing_new() {
    check_with(
        addresses_one,
        &format!(
            "{LIVE}
  answer 00 approval BBBBBB > issuer 0420 1000 4020
  ack 00
  answer 00 approval BBBBBB
  doubt 0"
        ),
    );
}

#[test]
fn t7_nor_is_it_while_its_reversal_is_in_flight() {
    check_with(
        addresses_one,
        &format!(
            "{LIVE}
  answer 00 approval BBBBBB > issuer 0420 1000 4020
  answer 00 approval BBBBBB"
        ),
    );
}

#[test]
fn d4_the_first_can_be_confirmed_by_its_completion() {
    check_with(
        |c| {
            shops(c).serial = false;
            shops(c).reverses_first = false;
            shops(c).confirm_within_ms = Some(60000);
        },
        &format!(
            "{LIVE}
  sale 1 999 > terminal 0210 94
  complete 1 00 > terminal 0212 00"
        ),
    );
}

#[test]
fn d12_a_recent_ended_movement_does_not_hide_an_older_one_that_stands() {
    check(
        "sale 1 700 > issuer 0200 700
  answer 00 > terminal 0210 00
  pass 700000
  sale 1 1000 fresh card 2 > issuer 0200 1000
  answer 51 > terminal 0210 51
  reverse 1 700 > terminal 0410 00
  doubt 1",
    );
}

#[test]
fn t7_a_second_approval_that_nobody_decided_on_is_heard_of_when_another_word_takes_the_case() {
    let second = format!("{LIVE}\n  answer 00 approval BBBBBB\n  operator 1 T7\n");
    check(&format!(
        "{second}  reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\n  ack 00\n  state 1 unwound\n  exceptions 1"
    ));
    check(&format!("{second}  resolve 1 undo > issuer 0420 1000 4001; resolved\n  ack 00\n  exceptions 1"));
    check_with(
        |config| shops(config).confirm_within_ms = Some(60_000),
        &format!("{second}  complete 1 00 > terminal 0212 68\n  exceptions 1\n  state 1 needs_operator"),
    );
    // A wrong reversal first: then the case is D12's.
    let wrong = format!("{second}  reverse 1 900 > terminal 0410 64\n  operator 1 D12\n  exceptions 1\n");
    check(&wrong);
    // An order to undo is about the approval that its reversal names.
    check(&format!(
        "{wrong}  resolve 1 undo > issuer 0420 1000 4001; resolved\n  ack 00\n  state 1 unwound\n  exceptions 1"
    ));
    check(&format!(
        "{wrong}  resolve 1 undo > issuer 0420 1000 4001; resolved\n  ack 00\n  resolve entry stands > resolved\n  exceptions 0"
    ));
}

#[test]
fn t7_whatever_takes_the_place_of_a_second_approvals_promise_is_heard_of() {
    let second = format!("{LIVE}\n  answer 00 approval BBBBBB > issuer 0420 1000 4020\n");
    let ended = "ack 00\n  state 1 unwound\n  exceptions 1";
    for takes in [
        "resolve 1 undo > issuer 0420 1000 4001; resolved",
        "complete 1 05 > issuer 0420 1000 4000; terminal 0212 00",
        "pass 500 > issuer 0420 1000 4013",
    ] {
        let short = |config: &mut Config| {
            addresses_one(config);
            shops(config).confirm_within_ms = Some(500);
        };
        check_with(short, &format!("{second}{takes}\n{ended}"));
    }
}

#[test]
fn t7_the_reversal_of_a_second_approval_names_its_own_amount() {
    for (answer, minor) in [("10 amount 600", 600), ("00 amount 1001", 1000), ("00 amount 600 currency 840", 1000)] {
        check_with(
            addresses_one,
            &format!("{LIVE}\n  answer {answer} approval BBBBBB > issuer 0420 {minor} 4020\n  net 1 1000"),
        );
    }
}

#[test]
fn r7_a_promise_that_takes_the_place_of_a_listed_one_is_one_entry_and_no_timer_spins() {
    check(&format!(
        "{LIVE}
  link down
  reverse 1 1000 keep 400 > terminal 0410 00
  pass 86400000
  exceptions 1
  reverse 1 1000 rrn > terminal 0410 00
  state 1 awaiting_reversal_ack
  pass 86399999
  pass 1
  pass 86400000
  exceptions 1
  link up > issuer 0420 1000 4000
  ack 00
  state 1 unwound"
    ));
    check(
        "sale 1 1000 > issuer 0200 1000
  pass 15000 > issuer 0420 1000 4021; terminal 0210 68
  link down
  pass 86400000
  exceptions 1
  link up > issuer 0421 1000 4021
  pass 15000
  ack 00
  state 1 unwound
  answer 00 > issuer 0420 1000 4021
  exceptions 2
  link down
  pass 86400000
  exceptions 2",
    );
}

#[test]
fn t7_a_second_approval_that_nobody_decided_on_is_heard_of_when_an_acknowledgement_takes_the_case() {
    let second = format!(
        "{LIVE}  reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00
  answer 00 approval BBBBBB
  operator 1 T7
  "
    );
    check(&format!("{second}ack 30\n  operator 1 R4\n  exceptions 1"));
    check(&format!("{second}ack 00\n  operator 1 T7\n  exceptions 0"));
}

/// The promise is older than the end of the number's earlier user, and it is the one that the number's answers belong to.
#[test]
fn i4_a_restore_gives_a_reversals_number_to_the_one_who_owes() {
    let mut w = World::new(config());
    w.run(
        "sale 1 1000 > issuer 0200 1000
  answer 00 > terminal 0210 00
  sale 2 700 term 2 conn 2 > issuer 0200 700
  answer 00 > terminal 0210 00
  sale 3 300 term 3 conn 3 > issuer 0200 300
  answer 00 > terminal 0210 00
  reverse 2 700 term 2 conn 2 > issuer 0420 700 4000; terminal 0410 00
  reverse 3 300 term 3 conn 3 > issuer 0420 300 4000; terminal 0410 00
  ack 00
  report notsent
  sale 4 400 term 4 conn 4 > issuer 0200 400; terminal 0210 91
  reverse 1 1000 > terminal 0410 00
  pass 5000
  ack 00 nth 1
  state 2 unwound",
    );
    w.run_free("pass 700000");
    // The numbers come round.
    for entry in &mut w.records {
        if let Record::ReversalNumbered { id: MovementId(3), numbers, .. } = &mut entry.record {
            numbers.sent_as.stan = iso8583::Stan::new(999_999).unwrap();
        }
    }
    w.run("crash\nlink up\npass 0 > issuer 0420 1000 4000");
    assert_eq!((w.reversals()[0].get(11), w.reversals().len()), (w.reversals()[2].get(11), 3));
    w.restore();
    w.run("link up\npass 0 > issuer 0421 1000 4000\nack 00\nstate 1 unwound");
}
