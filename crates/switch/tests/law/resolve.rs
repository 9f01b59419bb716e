//! What an operator decides where no rule can. The language of the scripts is in `world`.

use crate::world::{World, check, check_with, config};

#[test]
fn an_operator_decides_what_no_rule_can() {
    let case = "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 900 > terminal 0410 64
         state 1 needs_operator
         ";
    check(&format!(
        "{case}resolve 1 stands > resolved\nstate 1 resolved\nnet 1 1000\ndoubt 0\nresolve 1 stands > refused NothingOpen"
    ));
    check(&format!(
        "{case}resolve 1 undone-elsewhere > resolved\nnet 1 0\nreverse 1 1000 > terminal 0410 00\nstate 1 resolved"
    ));
    check(&format!(
        "{case}resolve 1 adjusted-elsewhere 1001 > refused AboveAmount\nresolve 1 adjusted-elsewhere 700 > resolved\nnet 1 700"
    ));
    check(&format!("{case}resolve 1 undo > issuer 0420 1000 4001; resolved\ncause 1 operator\nack 00\nstate 1 unwound"));
    check(&format!("{case}resolve 1 stands > resolved\ncrash\nstate 1 resolved\nnet 1 1000"));
    check("resolve unknown stands > refused UnknownRrn");
    check("sale 1 1000 > issuer 0200 1000\nresolve 1 stands > refused StillAwaited");
    check("sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51\nresolve 1 undo > refused NothingToUndo");
    // A promise that the issuer never acknowledges.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         resolve 1 undo > refused NothingToUndo
         resolve 1 undone-elsewhere > resolved
         pass 3600000
         ack 00
         state 1 resolved
         doubt 0",
    );
    // What only an exception names.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 1 2000 > terminal 0210 94
         exceptions 1
         resolve 1 stands > resolved
         exceptions 0
         state 1 awaiting_confirmation
         crash
         exceptions 0",
    );
}

/// A flagged sale stands, and the person says otherwise: the journal's amount is what the person said.
#[test]
fn a_flagged_sale_that_was_undone_or_adjusted_elsewhere_stands_no_more() {
    for (standing, state) in [("", "awaiting_confirmation"), ("pass 3000\n", "confirmed")] {
        let flagged = format!(
            "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n{standing}sale 2 1000 fresh > issuer 0200 1000
             answer 00 > terminal 0210 00\nstate 1 {state}\nexceptions 1\n"
        );
        check(&format!("{flagged}resolve 1 undone-elsewhere > resolved\nstate 1 resolved\nnet 1 0\nexceptions 0\ndoubt 0"));
        check(&format!("{flagged}resolve 1 adjusted-elsewhere 400 > resolved\nnet 1 400\nexceptions 0\ncrash\nnet 1 400"));
        check(&format!("{flagged}resolve 1 stands > resolved\nstate 1 {state}\nnet 1 1000\nexceptions 0"));
        check(&format!("{flagged}resolve 1 undo > issuer 0420 1000 4001; resolved\nexceptions 0\nack 00\nnet 1 0"));
        check(&format!("{flagged}resolve 2 undo > refused NothingOpen\nresolve 2 undone-elsewhere > refused NothingOpen"));
    }
    // A decision that turned out to be wrong is made anew where an entry says so.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 900 > terminal 0410 64
         resolve 1 stands > resolved
         resolve 1 undone-elsewhere > refused NothingOpen
         reverse 1 1000 > terminal 0410 00
         exceptions 1
         resolve 1 undone-elsewhere > resolved
         net 1 0
         exceptions 0",
    );
}

#[test]
fn an_entry_is_closed_by_its_own_name() {
    // It names no movement: nothing but its record can be pointed at.
    let old = "repeat 1 1000 time 060000 > terminal 0210 94\nexceptions 1\n";
    check(&format!("{old}resolve entry undo > refused NothingToUndo\nexceptions 1"));
    check(&format!(
        "{old}resolve entry stands > resolved\nexceptions 0\nresolve entry stands > refused UnknownEntry\ncrash\nexceptions 0"
    ));
    // The same message makes one entry while it is open, after a crash too, and a new one when it comes after the closing.
    check(&format!("{old}crash\nlink up\nrepeat 1 1000 time 060000 > terminal 0210 94\nexceptions 1"));
    check(&format!(
        "{old}resolve entry stands > resolved\ncrash\nlink up\nrepeat 1 1000 time 060000 > terminal 0210 94\nexceptions 1"
    ));
    // One of two entries of a movement; what it names stays as it is.
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 1 2000 > terminal 0210 94
         sale 2 1000 fresh > issuer 0200 1000
         exceptions 2
         resolve entry undone-elsewhere > refused EntryMovesNothing
         resolve entry adjusted-elsewhere 400 > refused EntryMovesNothing
         exceptions 2
         resolve entry stands > resolved
         exceptions 1
         state 1 awaiting_confirmation",
    );
}

#[test]
fn what_memory_let_go_is_closed_and_the_word_waits_for_its_record() {
    let mut config = config();
    config.dedup_keys = 1;
    let mut world = World::new(config);
    world.run(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         sale 1 2000 > terminal 0210 94
         pass 3000
         sale 2 500 > issuer 0200 500
         answer 51 > terminal 0210 51",
    );
    let rrn = world.core().movements().next().unwrap().rrn;
    world.run("pass 1300000\nsale 3 700 fresh > issuer 0200 700\nanswer 51 > terminal 0210 51\nmovements 1\nexceptions 1");
    assert_eq!(world.core().exceptions().next().unwrap().1.rrn, Some(rrn), "the list still names it");
    world.run("resolve entry stands > resolved\nexceptions 0");
}

#[test]
fn stands_keeps_the_parts_that_were_acknowledged_and_no_other() {
    let first = "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 keep 700 > issuer 0420 1000 4004; terminal 0410 00
         ";
    let stands = "resolve 1 stands > resolved\nstate 1 resolved\ncrash\n";
    check(&format!("{first}ack 00\nreverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00\n{stands}net 1 700"));
    check(&format!("{first}reverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00\n{stands}net 1 1000"));
    check(&format!("{first}reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\n{stands}net 1 1000"));
    check(&format!("{first}ack 00\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\n{stands}net 1 700"));
    check(&format!("{first}ack 00\nreverse 1 900 > terminal 0410 64\n{stands}net 1 700"));
}

#[test]
fn an_adjustment_is_no_more_than_what_remains() {
    check(
        "sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         reverse 1 1000 keep 700 > issuer 0420 1000 4004; terminal 0410 00
         ack 00
         reverse 1 900 > terminal 0410 64
         resolve 1 adjusted-elsewhere 701 > refused AboveAmount
         resolve 1 adjusted-elsewhere 700 > resolved
         net 1 700",
    );
}

#[test]
fn k2_an_approval_that_may_not_have_been_delivered_can_be_closed() {
    let unknown = "sale 1 1000 > issuer 0200 1000
         report silent
         answer 00 > terminal 0210 00
         crash
         link up
         unknown 1
         ";
    check(&format!(
        "{unknown}resolve 1 stands > resolved\nunknown 0\nstate 1 resolved\nnet 1 1000\nresolve 1 stands > refused NothingOpen"
    ));
    check(&format!("{unknown}resolve 1 undone-elsewhere > resolved\nunknown 0\nnet 1 0"));
    check(&format!("{unknown}resolve 1 undo > issuer 0420 1000 4001; resolved\nunknown 0"));
}

/// Section 2: *stands* withdraws unsent reversals.
#[test]
fn stands_takes_a_reversal_back_that_may_not_have_left() {
    let promised = "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\n";
    check(&format!(
        "{promised}report silent\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         resolve 1 stands > unsend; resolved
         never-sent
         pass 3600000
         state 1 resolved\nnet 1 1000"
    ));
    check(&format!(
        "{promised}reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\nresolve 1 stands > resolved\nstate 1 resolved"
    ));
}

/// What stands cannot be changed where it is not known: only the entry could be closed, and the amount would be lost.
#[test]
fn an_adjustment_of_what_memory_let_go_is_refused() {
    check_with(
        |config| config.dedup_keys = 1,
        "sale 1 1000 > issuer 0200 1000
         answer 51 > terminal 0210 51
         sale 1 900 > terminal 0210 94
         pass 3000
         sale 2 500 fresh > issuer 0200 500
         answer 51 > terminal 0210 51
         pass 2600000
         sale 3 500 fresh > issuer 0200 500
         movements 2
         resolve named undone-elsewhere > refused EntryMovesNothing
         resolve named adjusted-elsewhere 1 > refused EntryMovesNothing
         exceptions 1
         resolve named stands > resolved
         exceptions 0",
    );
}

/// The person reads what the issuer has moved, as far as anybody knows: nothing, until it says so.
#[test]
fn what_a_person_has_stands_once_an_approval_is_held() {
    check(
        "sale 1 1000 > issuer 0200 1000
         reverse 1 900 > terminal 0410 64
         state 1 needs_operator
         net 1 0
         answer 10 amount 600
         state 1 needs_operator
         net 1 600",
    );
}
