//! Every state in which a sale can be left, under every profile: what the tests of totality run over.

use crate::world::{World, config, shops};
use switch::*;

/// How an earlier sale of 1000 (STAN 1, card 0) was left, and its state. `confirmed` is by the terminal's own word (C2),
/// which every profile takes.
pub(crate) const EARLIER: [(&str, StateKind, &str); 13] = [
    ("awaiting_issuer", StateKind::AwaitingIssuer, "sale 1 1000 > issuer 0200 1000"),
    ("offered", StateKind::AwaitingDelivery, "sale 1 1000 > issuer 0200 1000\nreport silent\nanswer 00 > terminal 0210 00"),
    (
        "not_handed",
        StateKind::AwaitingDelivery,
        "sale 1 1000 > issuer 0200 1000\nreport undeliverable\nanswer 00 > terminal 0210 00",
    ),
    ("handed", StateKind::AwaitingConfirmation, "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00"),
    (
        "unknown",
        StateKind::AwaitingConfirmation,
        "sale 1 1000 > issuer 0200 1000\nreport silent\nanswer 00 > terminal 0210 00\ncrash\nlink up",
    ),
    (
        "confirmed",
        StateKind::Confirmed,
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\npass 4000\ncomplete 1 00 > terminal 0212 00",
    ),
    (
        "owed",
        StateKind::AwaitingReversalAck,
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00",
    ),
    (
        "operator",
        StateKind::NeedsOperator,
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 900 > terminal 0410 64",
    ),
    ("declined", StateKind::Declined, "sale 1 1000 > issuer 0200 1000\nanswer 51 > terminal 0210 51"),
    (
        "unwound",
        StateKind::Unwound,
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00\nack 00",
    ),
    (
        "resolved",
        StateKind::Resolved,
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 900 > terminal 0410 64\nresolve 1 stands > resolved",
    ),
    // Its key was used with another content (D4).
    (
        "contested",
        StateKind::AwaitingConfirmation,
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nsale 1 900 > terminal 0210 94",
    ),
    // 400 of it remain, the rest is being reversed (D13).
    (
        "part",
        StateKind::AwaitingConfirmation,
        "sale 1 1000 > issuer 0200 1000\nanswer 00 > terminal 0210 00\nreverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00",
    ),
];

/// What a group of terminals can be told apart by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    pub(crate) serial: bool,
    pub(crate) reverses_first: bool,
    pub(crate) on_repeat: OnRepeat,
    pub(crate) on_rekey: OnRekey,
    pub(crate) at_deadline: AtDeadline,
    pub(crate) confirms: bool,
    pub(crate) takes_partial: bool,
}

impl Profile {
    pub(crate) fn all() -> Vec<Profile> {
        let mut all = Vec::new();
        let both = [false, true];
        for (serial, reverses_first) in both.map(|a| both.map(|b| (a, b))).concat() {
            for on_repeat in [OnRepeat::Replay, OnRepeat::Unwind] {
                for on_rekey in [OnRekey::AllowAndFlag, OnRekey::Refuse] {
                    for at_deadline in [AtDeadline::Confirm, AtDeadline::Operator, AtDeadline::Reverse] {
                        for (confirms, takes_partial) in both.map(|a| both.map(|b| (a, b))).concat() {
                            all.push(Profile {
                                serial,
                                reverses_first,
                                on_repeat,
                                on_rekey,
                                at_deadline,
                                confirms,
                                takes_partial,
                            });
                        }
                    }
                }
            }
        }
        assert_eq!(all.len(), 2 * 2 * 2 * 2 * 3 * 2 * 2);
        all
    }

    /// A world of such terminals, whose earlier sale was left like this.
    pub(crate) fn world(self, change: impl FnOnce(&mut Group), script: &str) -> World {
        let mut config = config();
        let group = shops(&mut config);
        (group.serial, group.reverses_first) = (self.serial, self.reverses_first);
        (group.on_repeat, group.on_rekey, group.at_deadline) = (self.on_repeat, self.on_rekey, self.at_deadline);
        group.confirm_within_ms = self.confirms.then_some(60_000);
        group.takes_partial_approvals = self.takes_partial;
        change(group);
        let mut world = World::new(config);
        world.run(script);
        world
    }
}

/// Every state of an earlier sale under every profile; `judge` is told which, in words too.
pub(crate) fn each(mut judge: impl FnMut(&str, Profile, &'static str, World)) {
    each_with(|_| {}, |what, profile, name, world| judge(what, profile, name, world));
}

/// The same, with settings changed that no profile names.
pub(crate) fn each_with(change: impl Fn(&mut Group), mut judge: impl FnMut(&str, Profile, &'static str, World)) {
    for profile in Profile::all() {
        for (name, state, script) in EARLIER {
            let world = profile.world(&change, script);
            assert_eq!(earlier(&world).state, state, "{name}");
            judge(&format!("{name}, {profile:?}"), profile, name, world);
        }
    }
}

pub(crate) fn state_of(earlier: &str) -> StateKind {
    EARLIER.iter().find(|(name, ..)| *name == earlier).map(|(_, state, _)| *state).unwrap()
}

pub(crate) fn earlier(world: &World) -> &Movement {
    world.core().movements().find(|movement| movement.key.stan.get() == 1).expect("the earlier sale")
}

/// The rule of the promise to reverse, or the one that left it to a person.
pub(crate) fn rule_of(movement: &Movement) -> Option<&'static str> {
    let promise = movement.obligation.as_ref().map(|obligation| obligation.rule.name());
    movement.operator_rule.map(Rule::name).or(promise)
}

/// How many entries for a person this rule made.
pub(crate) fn flagged(world: &World, rule: Rule) -> usize {
    world.core().exceptions().filter(|(_, exception)| exception.rule == rule).count()
}
