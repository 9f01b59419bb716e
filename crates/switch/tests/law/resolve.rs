//! What an operator decides where no rule can. The language of the scripts is in `world`.

use crate::world::check;

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
