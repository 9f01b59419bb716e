//! The decisions that are not rows of a table in the core, over every combination of what decides them: what a new sale says
//! of an earlier one, what a deadline does, what a restart does. Expected is what the money rules say, written again here.

use crate::world::{World, config};
use switch::*;

/// How an earlier sale of 1000 (STAN 1, card 0) was left.
const EARLIER: [(&str, &str); 12] = [
    ("awaiting_issuer", "sale 1 1000 > issuer 0200 1000"),
    ("offered", "sale 1 1000 > issuer 0200 1000\nreport silent\nanswer 00 > terminal 0210 00"),
    ("not_handed", "sale 1 1000 > issuer 0200 1000\nreport undeliverable\nanswer 00 > terminal 0210 00"),
    ("handed", "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00"),
    ("unknown", "sale 1 1000 > issuer 0200 1000\nreport silent\nanswer 00 > terminal 0210 00\ncrash\nlink up"),
    ("confirmed", "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\npass 4000\nCONFIRM"),
    (
        "owed",
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00",
    ),
    ("operator", "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 900 > terminal 0410 64"),
    ("declined", "sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51"),
    (
        "unwound",
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\nack 00",
    ),
    (
        "resolved",
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 900 > terminal 0410 64\nresolve 1 stands > resolved",
    ),
    ("conflict", "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nsale 1 900 > terminal 0210 94"),
];

const STATES: [(&str, StateKind); 12] = [
    ("awaiting_issuer", StateKind::AwaitingIssuer),
    ("offered", StateKind::AwaitingDelivery),
    ("not_handed", StateKind::AwaitingDelivery),
    ("handed", StateKind::AwaitingConfirmation),
    ("unknown", StateKind::AwaitingConfirmation),
    ("confirmed", StateKind::Confirmed),
    ("owed", StateKind::AwaitingReversalAck),
    ("operator", StateKind::NeedsOperator),
    ("declined", StateKind::Declined),
    ("unwound", StateKind::Unwound),
    ("resolved", StateKind::Resolved),
    ("conflict", StateKind::AwaitingConfirmation),
];

fn state_of(earlier: &str) -> StateKind {
    STATES.iter().find(|(name, _)| *name == earlier).map(|(_, state)| *state).unwrap()
}

/// A world in which the earlier sale was left like this. `confirmed` needs a profile that C1 or C2 can confirm: here C2.
fn world(change: impl FnOnce(&mut Group), script: &str) -> World {
    let mut config = config();
    change(config.groups.get_mut(&GroupNo(1)).unwrap());
    let mut world = World::new(config);
    world.run(&script.replace("CONFIRM", "complete 1 00 > terminal 0212 00"));
    world
}

fn earlier(world: &World) -> &Movement {
    world.core().movements().find(|movement| movement.key.stan.get() == 1).expect("the earlier sale")
}

fn rule_of(movement: &Movement) -> Option<&'static str> {
    movement.obligation.as_ref().map(|obligation| obligation.rule.name())
}

/// T10, D5, D6, C1: state and evidence × profile × policy × whether the sales are equal × whether the margin and the window
/// have passed. M8 over all of them: what the terminal may hold is never reversed by a new sale.
#[test]
fn m8_every_new_sale_after_every_earlier_one() {
    let mut seen = 0;
    for (name, script) in EARLIER {
        for serial in [false, true] {
            for reverses_first in [false, true] {
                for on_rekey in [OnRekey::AllowAndFlag, OnRekey::Refuse] {
                    for (equal, amount) in [(true, 1000), (false, 700)] {
                        for (pass_ms, margin, window) in [(0, false, true), (2_000, true, true), (176_000, true, false)] {
                            let what = format!(
                                "{name} serial {serial} reverses_first {reverses_first} {on_rekey:?} equal {equal} after {pass_ms}"
                            );
                            let profile = |group: &mut Group| {
                                (group.serial, group.reverses_first, group.on_rekey) = (serial, reverses_first, on_rekey);
                                // Nothing ends by itself while the time passes.
                                group.redeliver_grace_ms = 500_000;
                            };
                            let mut world = world(profile, script);
                            if pass_ms > 2_000 && name == "awaiting_issuer" {
                                continue;
                            }
                            // 180 s are over, also where 4 s went by before.
                            world.run_free(&format!("pass {}", if window { pass_ms } else { pass_ms + 4_000 }));
                            // A repeated send of what is owed is not what is asked here.
                            let sent = world.step(&format!("sale 2 {amount} fresh conn 2"));
                            let (before, after) = (state_of(name), earlier(&world));
                            let live = matches!(
                                before,
                                StateKind::AwaitingDelivery | StateKind::AwaitingConfirmation | StateKind::Confirmed
                            );
                            let rekeyed = equal && window && live;
                            let flagged = rekeyed && name != "not_handed";
                            let refused = flagged && on_rekey == OnRekey::Refuse;
                            let margin = margin || name == "conflict" && pass_ms >= 2_000;
                            let c1 =
                                serial && reverses_first && margin && before == StateKind::AwaitingConfirmation && !refused;
                            let (state, rule) = match before {
                                StateKind::AwaitingIssuer if serial => (StateKind::AwaitingReversalAck, Some("T10")),
                                _ if rekeyed && name == "not_handed" => (StateKind::AwaitingReversalAck, Some("D5")),
                                _ if c1 => (StateKind::Confirmed, None),
                                _ => (before, rule_of(after)),
                            };
                            assert_eq!((after.state, rule_of(after)), (state, rule), "{what}");
                            let answer =
                                if refused { "terminal 0210 94".to_owned() } else { format!("issuer 0200 {amount}") };
                            assert_eq!(sent.last(), Some(&answer), "{what}: {sent:?}");
                            let d6 = world.core().exceptions().filter(|(_, exception)| exception.rule == Rule::D6).count();
                            assert_eq!(d6, usize::from(flagged), "{what}: flagged");
                            if matches!(name, "offered" | "handed" | "unknown" | "confirmed" | "conflict") {
                                assert!(!after.owes(), "M8: {what}");
                            }
                            seen += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(seen, 12 * 2 * 2 * 2 * 2 * 3 - 16, "every combination");
}

/// C2, C3, K2: what the deadline does, by evidence and policy. M8: silence confirms only what was handed.
#[test]
fn c3_every_deadline_by_evidence_and_policy() {
    for (evidence, script) in EARLIER.into_iter().filter(|(name, _)| matches!(*name, "handed" | "unknown")) {
        for at_deadline in [AtDeadline::Confirm, AtDeadline::Operator, AtDeadline::Reverse] {
            for confirm_within_ms in [None, Some(60_000)] {
                let mut world =
                    world(|group| (group.at_deadline, group.confirm_within_ms) = (at_deadline, confirm_within_ms), script);
                let what = format!("{evidence} {at_deadline:?} {confirm_within_ms:?}");
                let deadline_ms = confirm_within_ms.unwrap_or(86_400_000);
                world.run_free(&format!("pass {}", deadline_ms - 1));
                assert_eq!(earlier(&world).state, StateKind::AwaitingConfirmation, "{what}: too early");
                world.run_free("pass 1");
                let movement = earlier(&world);
                let ended = (movement.state, rule_of(movement).or(movement.operator_rule.map(Rule::name)));
                let expected = match (confirm_within_ms, evidence, at_deadline) {
                    (Some(_), _, _) => (StateKind::AwaitingReversalAck, Some("C2")),
                    (None, "handed", AtDeadline::Confirm) => (StateKind::Confirmed, None),
                    (None, "handed", AtDeadline::Operator) => (StateKind::NeedsOperator, Some("C3")),
                    (None, "handed", AtDeadline::Reverse) => (StateKind::AwaitingReversalAck, Some("C3")),
                    (None, _, _) => (StateKind::NeedsOperator, Some("K2")),
                };
                assert_eq!(ended, expected, "{what}");
            }
        }
    }
}

/// K1, K2, K3: what a crash makes of every state, and that nothing but the request in flight is reversed by it.
#[test]
fn k1_k2_k3_every_state_after_a_crash() {
    for (name, script) in EARLIER {
        let mut world = world(|_| {}, script);
        let evidence = earlier(&world).evidence;
        world.run_free("crash");
        let movement = earlier(&world);
        let (state, rule) = match name {
            "awaiting_issuer" => (StateKind::AwaitingReversalAck, Some("K1")),
            "offered" => (StateKind::AwaitingConfirmation, None),
            _ => (state_of(name), rule_of(movement)),
        };
        assert_eq!((movement.state, rule_of(movement)), (state, rule), "{name}");
        let expected = if name == "offered" { Evidence::Unknown } else { evidence };
        assert_eq!(movement.evidence, expected, "{name}: evidence");
        // Nothing goes out before a link is there, and then only what is owed.
        let sent = [world.step("link up"), world.step("pass 0")].concat();
        let reversals = sent.iter().filter(|sent| sent.starts_with("issuer 042")).count();
        assert_eq!(reversals, usize::from(state == StateKind::AwaitingReversalAck), "{name}: {sent:?}");
    }
}

/// Timers: with every link gone and an hour of silence, what each state has become.
#[test]
fn t1_t8_every_state_after_an_hour_of_silence() {
    for (name, script) in EARLIER {
        let mut world = world(|_| {}, script);
        if name == "unknown" {
            world.run_free("pass 0");
        }
        world.run_free("pass 3600000");
        let movement = earlier(&world);
        let (state, rule) = match name {
            "awaiting_issuer" => (StateKind::AwaitingReversalAck, Some("T1")),
            "not_handed" => (StateKind::AwaitingReversalAck, Some("T8")),
            _ => (state_of(name), rule_of(movement)),
        };
        assert_eq!((movement.state, rule_of(movement)), (state, rule), "{name}");
    }
}

const REPORTS: [&str; 5] = ["written", "partial", "notsent", "undeliverable", "unbuildable"];

/// T2, T3: what a late report of a request's write makes of every state that it can find.
#[test]
fn t2_t3_every_report_of_a_request_in_every_state() {
    let unreported = "report silent\nsale 1 1000 > issuer 0200 1000\n";
    let found = [
        (StateKind::AwaitingIssuer, ""),
        (StateKind::AwaitingReversalAck, "pass 15000 > issuer 0420 1000 4021; terminal 0210 68"),
        (StateKind::NeedsOperator, "reverse 1 900 > terminal 0410 64"),
        (StateKind::AwaitingDelivery, "report undeliverable\nanswer 00 > terminal 0210 00"),
        (StateKind::AwaitingConfirmation, "answer 00 > terminal 0210 00"),
        (StateKind::Declined, "answer 51 > terminal 0210 51"),
        (StateKind::Confirmed, "answer 00 > terminal 0210 00\ncomplete 1 00 > terminal 0212 00"),
        (
            StateKind::Unwound,
            "answer 00 > terminal 0210 00\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\nack 00",
        ),
        (StateKind::Resolved, "reverse 1 900 > terminal 0410 64\nresolve 1 stands > resolved"),
    ];
    assert_eq!(found.map(|(state, _)| state).len(), StateKind::ALL.len());
    for (before, then) in found {
        for report in REPORTS {
            let mut world = world(|_| {}, &format!("{unreported}{then}"));
            assert_eq!(earlier(&world).state, before, "{then}");
            let sent = world.step(&format!("late {report}"));
            let never = matches!(report, "notsent" | "undeliverable" | "unbuildable");
            let (after, told) = match before {
                StateKind::AwaitingIssuer if never => (StateKind::Declined, Some("terminal 0210 91")),
                StateKind::AwaitingIssuer if report == "partial" => {
                    (StateKind::AwaitingReversalAck, Some("terminal 0210 68"))
                }
                StateKind::AwaitingReversalAck | StateKind::NeedsOperator if never => (StateKind::Unwound, None),
                unchanged => (unchanged, None),
            };
            assert_eq!(earlier(&world).state, after, "{} and {report}", before.name());
            assert_eq!(sent.last().map(String::as_str), told, "{} and {report}: {sent:?}", before.name());
        }
    }
}

/// T8: what the report of an offered answer makes of it, and that an older answer's report makes nothing.
#[test]
fn t8_every_report_of_an_answer() {
    let offered = "sale 1 1000 > issuer 0200 1000\nreport silent\nanswer 00 > terminal 0210 00\n";
    for report in REPORTS {
        let mut first = world(|_| {}, offered);
        first.run_free(&format!("late {report}"));
        let expected = match report {
            "written" => (StateKind::AwaitingConfirmation, Evidence::Handed),
            _ => (StateKind::AwaitingDelivery, Evidence::NotHanded),
        };
        assert_eq!((earlier(&first).state, earlier(&first).evidence), expected, "{report}");
        // Meanwhile given again, reversed, or confirmed: this report is of the past.
        for (then, state) in [
            ("repeat 1 1000 conn 2 > withdraw; terminal 0210 00", StateKind::AwaitingConfirmation),
            ("report silent\nrepeat 1 1000 conn 2 > withdraw; terminal 0210 00", StateKind::AwaitingDelivery),
            ("report silent\nrepeat 1 1000 > terminal 0210 00", StateKind::AwaitingDelivery),
            ("reverse 1 1000 > withdraw; issuer 0420 1000 4000; terminal 0410 00", StateKind::AwaitingReversalAck),
            ("reverse 1 900 > withdraw; terminal 0410 64", StateKind::NeedsOperator),
            ("complete 1 00 > withdraw; terminal 0212 00", StateKind::Confirmed),
        ] {
            let mut later = world(|_| {}, &format!("{offered}{then}"));
            let evidence = earlier(&later).evidence;
            let sent = later.step(&format!("late {report}"));
            assert_eq!((earlier(&later).state, earlier(&later).evidence), (state, evidence), "{then}, {report}");
            assert_eq!(sent, Vec::<String>::new(), "{then}, {report}");
        }
    }
}

/// D1, D2, D3: a repeat in every state × what repeats mean in the group × whether the margin has passed.
#[test]
fn d1_d2_d3_every_repeat_in_every_state() {
    for (name, script) in EARLIER {
        for on_repeat in [OnRepeat::Replay, OnRepeat::Unwind] {
            for (pass_ms, past_margin) in [(0, false), (1_999, false), (2_000, true)] {
                let profile = |group: &mut Group| {
                    group.on_repeat = on_repeat;
                    group.redeliver_grace_ms = 500_000;
                };
                let mut world = world(profile, script);
                world.run_free(&format!("pass {pass_ms}"));
                let requests = world.requests().len();
                let sent = world.step("repeat 1 1000 conn 2");
                let unwinds = on_repeat == OnRepeat::Unwind && past_margin;
                let state = state_of(name);
                let code = match state {
                    StateKind::AwaitingIssuer => None,
                    StateKind::AwaitingDelivery | StateKind::AwaitingConfirmation if unwinds => Some("68"),
                    StateKind::AwaitingDelivery | StateKind::AwaitingConfirmation | StateKind::Confirmed => Some("00"),
                    StateKind::Declined => Some("51"),
                    StateKind::AwaitingReversalAck | StateKind::NeedsOperator | StateKind::Unwound | StateKind::Resolved => {
                        Some("68")
                    }
                };
                let what = format!("{name}, {on_repeat:?}, after {pass_ms}: {sent:?}");
                let told = code.map(|code| format!("terminal 0210 {code}"));
                let answers: Vec<&String> = sent.iter().filter(|sent| sent.starts_with("terminal")).collect();
                assert_eq!(answers, told.iter().collect::<Vec<_>>(), "{what}");
                assert_eq!(world.requests().len(), requests, "M5: {what}");
                let live = matches!(state, StateKind::AwaitingDelivery | StateKind::AwaitingConfirmation);
                let undone = unwinds && live;
                assert_eq!(sent.iter().any(|sent| sent == "issuer 0420 1000 4013"), undone, "{what}");
            }
        }
    }
}
