//! How an approval is known to be received (C1-C3). The language of the scripts is in `world`.

use crate::world::{check, check_with, shops};
use switch::*;

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
    // One of each class under one STAN: its own class says which is meant.
    let both = "auth 1 1000 > issuer 0100 1000\nanswer 00 > terminal 0110 00\nsale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    run(&format!("{both}complete 1 00 > terminal 0212 00\nstate 1 confirmed"));
    run(&format!(
        "{both}complete-auth 1 00 > terminal 0112 00\nstate 1 awaiting_confirmation\ncomplete 1 00 > terminal 0212 00"
    ));
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
fn d2_a_repeat_of_what_a_person_let_stand_gets_its_answer() {
    let at = |then: &str| {
        check_with(
            |config| {
                shops(config).serial = false;
                shops(config).at_deadline = AtDeadline::Operator;
            },
            &format!(
                "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\npass 86400000\nstate 1 needs_operator\n{then}"
            ),
        );
    };
    at("resolve 1 stands > resolved\nrepeat 1 1000 > terminal 0210 00\nnet 1 1000");
    at("resolve 1 undone-elsewhere > resolved\nrepeat 1 1000 > terminal 0210 68\nnet 1 0");
    at("resolve 1 adjusted-elsewhere 700 > resolved\nrepeat 1 1000 > terminal 0210 68\nnet 1 700");
}

#[test]
fn c2_a_completion_that_says_no_undoes_what_a_person_has() {
    let listed = "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 900 > terminal 0410 64
         state 1 needs_operator
         ";
    check(&format!("{listed}complete 1 05 > issuer 0420 1000 4000; terminal 0212 00\ncause 1 C2\nack 00\nstate 1 unwound"));
    // A reversal is under way: nothing new, and the word is kept.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         ack 25
         state 1 needs_operator
         complete 1 05 > terminal 0212 00
         state 1 needs_operator",
    );
    // Nothing that could be undone; a repeat of the sale is not given an answer that its terminal did not complete.
    check(
        "sale 1 1000 > issuer 0200 1000
         reverse 1 900 > terminal 0410 64
         complete 1 05 > terminal 0212 00
         state 1 needs_operator
         waits
         repeat 1 1000 > terminal 0210 68",
    );
}

/// A terminal that asked again and got its answer a moment ago: what it sends now may have been on its way before.
#[test]
fn c1_the_margin_counts_from_the_newest_handing() {
    let handed_again =
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\npass 3000\nrepeat 1 1000 > terminal 0210 00\n";
    check(&format!("{handed_again}pass 1999\nsale 2 500 > issuer 0200 500\nstate 1 awaiting_confirmation"));
    check(&format!("{handed_again}pass 2000\nsale 2 500 > issuer 0200 500\nstate 1 confirmed"));
}

/// The terminal's word counts after memory has let the sale go: what it did not complete is undone, and not kept for want of
/// a look-up.
#[test]
fn c2_a_completion_finds_what_memory_let_go() {
    let let_go = "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         pass 3000
         sale 2 500 > issuer 0200 500
         answer 51 > terminal 0210 51
         pass 1300000
         sale 3 700 fresh > issuer 0200 700
         answer 51 > terminal 0210 51
         movements 1
        ";
    let check = |script: &str| check_with(|config| config.dedup_keys = 1, &format!("{let_go}{script}"));
    check(
        "complete 1 05 set 12=070809,13=1122 > find\nfound > issuer 0420 1000 4000; terminal 0212 00\nack 00\nstate 1 unwound",
    );
    check("complete 1 00 set 12=070809,13=1122 > find\nfound > terminal 0212 00\nstate 1 confirmed");
    // Found, and not proved; nothing there; and what is in memory needs no look-up.
    check("complete 1 05 > find\nfound > terminal 0212 25");
    check("complete 9 05 > find\nfound > terminal 0212 25");
    check("complete 3 00 > terminal 0212 68");
}
