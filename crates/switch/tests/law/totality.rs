//! Every decision × every state × every profile: deadlines, restarts, answers, reversals, completions, an operator's wishes.
//! New sales, repeats and reports are in `combinations`. Expected is what the money rules say, written again here.

use crate::every::{Profile, each, earlier, flagged, rule_of, state_of};
use switch::StateKind::{self, *};
use switch::*;

/// What a sale has become: its state, and the rule that promised its reversal or left it to a person.
type Fate = (StateKind, Option<&'static str>);

fn fate(world: &crate::world::World) -> Fate {
    (earlier(world).state, rule_of(earlier(world)))
}

/// T1, T8, C2, C3, K2: when the deadline of a state ends, after `crashed` or not, and what follows. Times are from the state's
/// beginning; a crash comes 1000 ms after it.
fn deadline(name: &str, profile: Profile, crashed: bool) -> Option<(u64, Fate)> {
    let policy = match profile.at_deadline {
        AtDeadline::Confirm => (Confirmed, None),
        AtDeadline::Operator => (NeedsOperator, Some("C3")),
        AtDeadline::Reverse => (AwaitingReversalAck, Some("C3")),
    };
    match name {
        "awaiting_issuer" if !crashed => Some((15_000, (AwaitingReversalAck, Some("T1")))),
        "not_handed" => Some((5_000, (AwaitingReversalAck, Some("T8")))),
        // The terminal's word is waited for anew after a crash (K2).
        "offered" | "handed" | "unknown" | "contested" | "part" if profile.confirms && (crashed || name != "offered") => {
            Some((60_000 + if crashed { 1_000 } else { 0 }, (AwaitingReversalAck, Some("C2"))))
        }
        "offered" if crashed => Some((86_401_000, (NeedsOperator, Some("K2")))),
        "unknown" => Some((86_400_000, (NeedsOperator, Some("K2")))),
        "part" if profile.at_deadline == AtDeadline::Confirm => Some((86_400_000, (Confirmed, Some("D13")))),
        "handed" | "contested" | "part" => Some((86_400_000, policy)),
        _ => None,
    }
}

#[test]
fn k1_k2_k3_k7_t1_t8_c2_c3_every_deadline_and_restart_in_every_state() {
    for crashed in [false, true] {
        each(|what, profile, name, mut world| {
            let what = format!("{what}, crashed {crashed}");
            let (before, evidence) = (fate(&world), earlier(&world).evidence);
            world.run_free("pass 1000");
            let mut expected = before;
            if crashed {
                world.run_free("crash");
                let (state, evidence) = match name {
                    "awaiting_issuer" => ((AwaitingReversalAck, Some("K1")), evidence),
                    "offered" => ((AwaitingConfirmation, None), Evidence::Unknown),
                    _ => (before, evidence),
                };
                expected = state;
                assert_eq!((fate(&world), earlier(&world).evidence), (expected, evidence), "{what}");
                // Nothing goes out before a link is there, and then only what is owed (K3).
                let sent = [world.step("link up"), world.step("pass 0")].concat();
                let reversals = sent.iter().filter(|sent| sent.starts_with("issuer 042")).count();
                assert_eq!(reversals, usize::from(earlier(&world).owes()), "{what}: {sent:?}");
            }
            let ends = deadline(name, profile, crashed);
            let wait_ms = ends.map_or(2 * 86_400_000, |(at_ms, _)| at_ms - 1_001);
            world.run_free(&format!("pass {wait_ms}"));
            assert_eq!(fate(&world), expected, "{what}: too early");
            if let Some((_, then)) = ends {
                world.run_free("pass 1");
                assert_eq!(fate(&world), then, "{what}");
            }
        });
    }
}

/// T1, T4, T5, T7, T9: what an answer, in time or late, makes of every state; what the terminal is told; who hears of it.
#[test]
fn t1_t4_t5_t7_t9_every_answer_in_every_state() {
    const ANSWERS: [&str; 8] = [
        "00 approval AP0001",
        "00 approval ZZ0002",
        "51",
        "96",
        "00 amount 1001 approval ZZ0002",
        "10 amount 600 approval ZZ0002",
        "10 amount 600 approval AP0001",
        "00 rrn 999999999999",
    ];
    let mut seen = 0;
    for answer in ANSWERS {
        let (moved, foreign) = (!matches!(answer, "51" | "96"), answer.contains("rrn"));
        each(|what, profile, name, mut world| {
            let what = format!("{what}, answer {answer}");
            let before = fate(&world);
            let twin = answer.contains("AP0001") && name != "declined";
            let (expected, told, entry) = match name {
                "awaiting_issuer" => match answer {
                    "51" => ((Declined, None), Some("51"), None),
                    "96" => ((AwaitingReversalAck, Some("T1")), Some("68"), None),
                    less if less.starts_with("10") && !profile.takes_partial => {
                        ((AwaitingReversalAck, Some("T9")), Some("51"), None)
                    }
                    less if less.starts_with("10") => ((AwaitingConfirmation, None), Some("10"), None),
                    good if good.starts_with("00 approval") => ((AwaitingConfirmation, None), Some("00"), None),
                    _ => ((AwaitingReversalAck, Some("T4")), Some("68"), None),
                },
                _ if !moved => (before, None, None),
                // Nothing that is being undone or decided is touched by another transaction's answer.
                "owed" | "operator" if foreign => (before, None, None),
                _ if foreign => (before, None, Some(Rule::T5)),
                "resolved" => (before, None, Some(Rule::T5)),
                _ if twin => (before, None, None),
                "declined" | "unwound" => ((AwaitingReversalAck, Some("T5")), None, Some(Rule::T5)),
                "owed" | "operator" => (before, None, Some(Rule::T7)),
                _ => ((NeedsOperator, Some("T7")), None, None),
            };
            let entries: usize = world.core().exceptions().len();
            let sent = world.step(&format!("answer {answer}"));
            assert_eq!(fate(&world), expected, "{what}");
            let answers: Vec<&String> = sent.iter().filter(|sent| sent.starts_with("terminal")).collect();
            let told = told.map(|code| format!("terminal 0210 {code}"));
            assert_eq!(answers, told.iter().collect::<Vec<_>>(), "{what}");
            if let Some(rule) = entry {
                assert_eq!(flagged(&world, rule), 1, "{what}");
                world.run_free(&format!("answer {answer}"));
            }
            let new = world.core().exceptions().len() - entries;
            assert_eq!(new, usize::from(entry.is_some()), "{what}: one entry, however often it comes");
            seen += 1;
        });
    }
    assert_eq!(seen, 8 * 13 * 192);
}

/// D7 to D10, D12, D13: a terminal's reversal that fits, or differs in amount, card or part, in every state.
#[test]
fn d7_d8_d9_d10_d12_d13_every_reversal_in_every_state() {
    for reversal in ["1000", "900", "1000 card 2", "1000 keep 400", "1000 keep 300"] {
        each(|what, _, name, mut world| {
            let what = format!("{what}, reverse {reversal}");
            let before = fate(&world);
            let person = (NeedsOperator, Some("D12"));
            let standing = matches!(state_of(name), AwaitingDelivery | AwaitingConfirmation | Confirmed);
            let (expected, code) = match (name, reversal) {
                ("declined" | "owed" | "unwound" | "resolved", _) => (before, "00"),
                (_, "900") => (person, "64"),
                (_, "1000 card 2") => (person, "00"),
                ("contested", _) => (person, "00"),
                ("part", "1000 keep 400") => (before, "00"),
                (_, "1000") => {
                    let rule = if matches!(name, "awaiting_issuer" | "offered" | "not_handed") { "D7" } else { "D8" };
                    ((AwaitingReversalAck, Some(rule)), "00")
                }
                (_, _) if standing => {
                    // The message proves that the terminal has its approval, and what remains stays.
                    let state = if before.0 == AwaitingDelivery { AwaitingConfirmation } else { before.0 };
                    ((state, Some("D13")), "00")
                }
                (_, _) => (person, "64"),
            };
            let sent = world.step(&format!("reverse 1 {reversal} conn 2"));
            assert_eq!(fate(&world), expected, "{what}: {sent:?}");
            assert_eq!(sent.last(), Some(&format!("terminal 0410 {code}")), "{what}");
            let reversed = sent.iter().any(|sent| sent.starts_with("issuer 0420"));
            let promised = expected != before && expected != person || name == "part" && reversal == "1000 keep 300";
            assert_eq!(reversed, promised, "{what}: {sent:?}");
            // The terminal was told 00 or 64: nothing that it reversed gets it an approval again (D3).
            let repeated = world.step("repeat 1 1000 conn 3");
            let again = if expected.1 == Some("D13") { "00" } else { "68" };
            if earlier(&world).reversal_seen || expected.1 == Some("D12") {
                assert_eq!(repeated.last(), Some(&format!("terminal 0210 {again}")), "{what}");
            }
            assert_eq!(world.requests().len(), 1, "M5: {what}");
        });
    }
}

/// C2: what a terminal's word makes of every state, and what it is told.
#[test]
fn c2_every_completion_in_every_state() {
    for completed in ["00", "05"] {
        each(|what, _, name, mut world| {
            let what = format!("{what}, complete {completed}");
            let before = fate(&world);
            let standing = matches!(state_of(name), AwaitingDelivery | AwaitingConfirmation | Confirmed);
            let undone = (AwaitingReversalAck, Some("C2"));
            let (expected, code, entry) = match (name, completed) {
                ("resolved", _) => (before, "00", true),
                ("awaiting_issuer", "00") => (before, "25", false),
                ("awaiting_issuer", _) => (undone, "00", false),
                (_, "00") if standing => ((Confirmed, before.1), "00", false),
                (_, _) if standing => (undone, "00", false),
                (_, "00") => (before, "68", true),
                ("operator", _) => (undone, "00", false),
                (_, _) => (before, "00", false),
            };
            for again in ["complete", "complete-again"] {
                let sent = world.step(&format!("{again} 1 {completed}"));
                assert_eq!(fate(&world), expected, "{what}");
                // What was undone is being undone: its repeat changes nothing.
                assert_eq!(sent.last(), Some(&format!("terminal 0212 {code}")), "{what}, {again}");
                assert_eq!(flagged(&world, Rule::C2), usize::from(entry), "{what}, {again}");
            }
        });
    }
}

/// Section 2: the four decisions of an operator × every state and promise.
#[test]
fn resolve_every_decision_in_every_state() {
    for wish in ["stands", "undo", "undone-elsewhere", "adjusted-elsewhere 400", "adjusted-elsewhere 1001"] {
        each(|what, _, name, mut world| {
            let what = format!("{what}, resolve {wish}");
            let (before, entries) = (fate(&world), world.core().exceptions().len());
            let standing = matches!(state_of(name), AwaitingDelivery | AwaitingConfirmation | Confirmed);
            let open = matches!(name, "operator" | "owed" | "part" | "unknown");
            let (expected, told) = match wish {
                "adjusted-elsewhere 1001" => (before, "refused AboveAmount"),
                _ if name == "awaiting_issuer" => (before, "refused StillAwaited"),
                "undo" if standing && entries == 0 && !open => (before, "refused NothingOpen"),
                "undo" if standing || name == "operator" => ((AwaitingReversalAck, Some("operator")), "resolved"),
                "undo" => (before, "refused NothingToUndo"),
                _ if open => ((Resolved, before.1), "resolved"),
                // An entry alone names it: what the person says of the amount counts.
                "undone-elsewhere" | "adjusted-elsewhere 400" if entries > 0 => ((Resolved, promise_of(name)), "resolved"),
                // An entry for a person is closed, and nothing else.
                _ if entries > 0 => (before, "resolved"),
                _ => (before, "refused NothingOpen"),
            };
            let net = match wish {
                "undo" => 0,
                "stands" => 1000,
                "undone-elsewhere" => 0,
                _ => 400,
            };
            let sent = world.step(&format!("resolve 1 {wish}"));
            assert_eq!(fate(&world), expected, "{what}: {sent:?}");
            assert_eq!(sent.last().map(String::as_str), Some(told), "{what}");
            assert_eq!(
                earlier(&world).owes(),
                if told == "resolved" && (open || wish == "undo") {
                    wish == "undo"
                } else {
                    matches!(name, "owed" | "part")
                },
                "{what}"
            );
            if expected.0 == Resolved && before.0 != Resolved {
                assert_eq!(earlier(&world).net_minor(), net, "{what}");
            }
            if told == "resolved" {
                assert_eq!(world.core().exceptions().len(), 0, "{what}: nothing is left on the list");
            }
            // The decision outlives the process.
            let decided = earlier(&world).verdict.clone();
            world.run_free("crash");
            assert_eq!(earlier(&world).verdict, decided, "{what}");
        });
    }
}

/// The rule of the promise that a sale left like this has or had.
fn promise_of(name: &str) -> Option<&'static str> {
    match name {
        "owed" => Some("D8"),
        "part" => Some("D13"),
        _ => None,
    }
}

/// How a promise to undo the sale was sent: whether its acknowledgement may count (R3), whether an approval is held, and
/// whether its deciding send went out twice.
const SENT: [(&str, bool, bool, bool, &str); 4] = [
    ("early", false, false, false, "sale 1 1000 > issuer 0200 1000\npass 15000 > issuer 0420 1000 4021; terminal 0210 68"),
    (
        "after the horizon",
        true,
        false,
        false,
        "sale 1 1000 > issuer 0200 1000\npass 15000 > issuer 0420 1000 4021; terminal 0210 68\npass 15000 > issuer 0421 1000 4021",
    ),
    (
        "approval held",
        true,
        true,
        false,
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00",
    ),
    (
        "sent twice",
        true,
        true,
        true,
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\nack 91\npass 1500 > issuer 0421 1000 4000",
    ),
];

/// R2, R3, R4: every acknowledgement × how the reversal was sent × profile.
#[test]
fn r2_r3_r4_every_acknowledgement_under_every_profile() {
    let codes = ["00", "25", "21", "12", "94", "30", "91", "96", "06", "68", "05"];
    let mut seen = 0;
    for profile in Profile::all() {
        for (sent, counts, held, twice, script) in SENT {
            for code in codes {
                let what = format!("{code}, {sent}, {profile:?}");
                let mut world = profile.world(|_| {}, script);
                world.run_free(&format!("ack {code}"));
                let (state, rule) = match code {
                    _ if !counts => (StateKind::AwaitingReversalAck, None),
                    "00" => (StateKind::Unwound, None),
                    "25" | "21" | "12" if held => (StateKind::NeedsOperator, Some(Rule::R2)),
                    "25" | "21" | "12" => (StateKind::Unwound, None),
                    "94" if twice => (StateKind::Unwound, None),
                    "30" => (StateKind::NeedsOperator, Some(Rule::R4)),
                    _ => (StateKind::AwaitingReversalAck, None),
                };
                let movement = earlier(&world);
                assert_eq!((movement.state, movement.operator_rule), (state, rule), "{what}");
                assert_eq!(movement.owes(), state != StateKind::Unwound, "M4: {what}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 192 * SENT.len() * codes.len(), "every combination");
}
