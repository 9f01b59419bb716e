//! The decisions that are not rows of a table in the core, over every combination of what decides them: what a new sale says
//! of an earlier one, what the reports of writes do, what a repeat means. Expected is what the money rules say, written again
//! here.

use crate::every::{each, each_with, earlier, flagged, rule_of, state_of};
use crate::world::{World, config};
use switch::*;

fn world(script: &str) -> World {
    let mut world = World::new(config());
    world.run(script);
    world
}

/// T10, D5, D6, C1: state and evidence × profile × policy × whether the sales are equal × whether the margin and the window
/// have passed. M8 over all of them: what the terminal may hold is never reversed by a new sale.
#[test]
fn m8_every_new_sale_after_every_earlier_one() {
    let mut seen = 0;
    // Nothing ends by itself while the time passes.
    let patient = |group: &mut Group| {
        group.redeliver_grace_ms = 500_000;
        group.confirm_within_ms = group.confirm_within_ms.map(|_| 500_000);
    };
    for (equal, amount) in [(true, 1000), (false, 700)] {
        for (pass_ms, margin, window) in [(0, false, true), (2_000, true, true), (180_000, true, false)] {
            each_with(patient, |what, profile, name, mut world| {
                // It is unwound by then (T1).
                if name == "awaiting_issuer" && pass_ms > 2_000 {
                    return;
                }
                let what = format!("{what}, equal {equal}, after {pass_ms} ms");
                world.run_free(&format!("pass {pass_ms}"));
                let (before, rule) = (state_of(name), rule_of(earlier(&world)));
                let sent = world.step(&format!("sale 2 {amount} fresh conn 2"));
                let after = earlier(&world);
                let live =
                    matches!(before, StateKind::AwaitingDelivery | StateKind::AwaitingConfirmation | StateKind::Confirmed);
                // A person has it with its approval held, or let it stand.
                let listed = matches!(name, "operator" | "resolved");
                let rekeyed = equal && window && (live || listed);
                // What a serial terminal left behind is T10's; any other's may be approved yet, and then two stand (I9).
                let in_flight = equal && before == StateKind::AwaitingIssuer && !profile.serial;
                let flag = rekeyed && name != "not_handed" || in_flight;
                let refused = flag && !in_flight && profile.on_rekey == OnRekey::Refuse;
                let c1 = profile.serial
                    && profile.reverses_first
                    && margin
                    && before == StateKind::AwaitingConfirmation
                    && !refused;
                let expected = match before {
                    StateKind::AwaitingIssuer if profile.serial => (StateKind::AwaitingReversalAck, Some("T10")),
                    _ if rekeyed && name == "not_handed" => (StateKind::AwaitingReversalAck, Some("D5")),
                    _ if c1 => (StateKind::Confirmed, rule),
                    _ => (before, rule),
                };
                assert_eq!((after.state, rule_of(after)), expected, "{what}");
                let answer = if refused { "terminal 0210 94".to_owned() } else { format!("issuer 0200 {amount}") };
                assert_eq!(sent.last(), Some(&answer), "{what}: {sent:?}");
                assert_eq!(flagged(&world, Rule::D6), usize::from(flag), "{what}");
                if matches!(name, "offered" | "handed" | "unknown" | "confirmed" | "contested") {
                    assert!(!after.owes(), "M8: {what}");
                }
                seen += 1;
            });
        }
    }
    assert_eq!(seen, 2 * (3 * 13 - 1) * 192, "every combination");
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
            let mut world = world(&format!("{unreported}{then}"));
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
        let mut first = world(offered);
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
            let mut later = world(&format!("{offered}{then}"));
            let evidence = earlier(&later).evidence;
            let sent = later.step(&format!("late {report}"));
            assert_eq!((earlier(&later).state, earlier(&later).evidence), (state, evidence), "{then}, {report}");
            assert_eq!(sent, Vec::<String>::new(), "{then}, {report}");
        }
    }
}

/// D1, D2, D3: a repeat in every state × profile × whether the margin has passed.
#[test]
fn d1_d2_d3_every_repeat_in_every_state() {
    for (pass_ms, past_margin) in [(0, false), (1_999, false), (2_000, true)] {
        each(|what, profile, name, mut world| {
            world.run_free(&format!("pass {pass_ms}"));
            let sent = world.step("repeat 1 1000 conn 2");
            // For these terminals a repeat after the margin says that they gave up.
            let gave_up = profile.on_repeat == OnRepeat::Unwind && past_margin;
            let state = state_of(name);
            let live = matches!(state, StateKind::AwaitingDelivery | StateKind::AwaitingConfirmation);
            let code = match state {
                StateKind::AwaitingIssuer => None,
                StateKind::AwaitingDelivery | StateKind::AwaitingConfirmation if gave_up => Some("68"),
                StateKind::AwaitingDelivery | StateKind::AwaitingConfirmation | StateKind::Confirmed => Some("00"),
                StateKind::Declined => Some("51"),
                StateKind::AwaitingReversalAck | StateKind::NeedsOperator | StateKind::Unwound | StateKind::Resolved => {
                    Some("68")
                }
            };
            let what = format!("{what}, after {pass_ms} ms: {sent:?}");
            let told = code.map(|code| format!("terminal 0210 {code}"));
            let answers: Vec<&String> = sent.iter().filter(|sent| sent.starts_with("terminal")).collect();
            assert_eq!(answers, told.iter().collect::<Vec<_>>(), "{what}");
            assert_eq!(world.requests().len(), 1, "M5: {what}");
            assert_eq!(sent.iter().any(|sent| sent == "issuer 0420 1000 4013"), gave_up && live, "{what}");
        });
    }
}
