//! The connections of issuer links: sign-on, echo, and what ends them. The language of the scripts is in `world`.

use crate::world::{World, check_with, config};
use switch::*;

fn signing_on(config: &mut Config) {
    for link in config.links.values_mut() {
        link.sign_on = true;
        link.echo_after_ms = 30_000;
    }
}

/// A script on a link whose sign-on waits for its answer.
fn check(script: &str) {
    check_with(signing_on, script);
}

#[test]
fn a_link_takes_requests_once_its_sign_on_is_accepted() {
    check("ready 0\nsale 1 1000 > terminal 0210 91\nnetwork 00\nready 1\nsale 2 1000 fresh > issuer 0200 1000");
    check("network 91 > close link refused\nready 0\nnetwork 00\nready 0");
    check("network 00 drop 39 > close link\nready 0");
    for wrong in ["set 11=000099", "drop 11"] {
        check(&format!("network 00 {wrong}\nnoted unmatched\nready 0\nnetwork 00\nready 1"));
    }
    // Nothing was asked: it says nothing.
    check("network 00\nnetwork 00\nnoted unmatched\nnetwork 91\nnoted unmatched\nready 1");
    check("pass 14999\nready 0\npass 1 > close link\nnetwork 00\nready 0");
}

/// The operator's wish: what is drained takes no new request, and what was promised goes on.
#[test]
fn a_drained_link_takes_no_requests_and_keeps_every_promise() {
    check(
        "network 00
         sale 1 1000 > issuer 0200 1000
         order drain
         ready 1
         answer 00 > terminal 0210 00
         sale 2 2000 > terminal 0210 91
         reverse 1 1000 > issuer 0420 1000 4000; terminal 0410 00
         order up
         sale 3 3000 > issuer 0200 3000",
    );
}

#[test]
fn a_wish_stands_whatever_becomes_of_the_link() {
    for health in [
        "",
        "link down\nlink up > issuer 0800 001\nnetwork 00\n",
        "link down\nlink up > issuer 0800 001\nnetwork 91 > close link refused\nlink down\nlink up > issuer 0800 001\nnetwork 00\n",
    ] {
        check(&format!(
            "network 00\norder drain\n{health}ready 1\nsale 1 1000 > terminal 0210 91\norder up\nsale 2 1000 > issuer 0200 1000"
        ));
    }
    // Signed off, it asks for nothing but echoes when it comes back, and no echo brings it up.
    check(
        "network 00
         order sign-off > issuer 0800 002
         ready 0
         network 00
         link down
         link up
         ready 0
         sale 1 1000 > terminal 0210 91
         pass 30000 > issuer 0800 301
         network 00
         ready 0
         order up > issuer 0800 001
         network 00
         ready 1
         sale 2 1000 > issuer 0200 1000",
    );
}

#[test]
fn a_reversal_waits_for_the_sign_on_of_a_link_that_is_signed_off() {
    check(
        "network 00
         sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         order sign-off > issuer 0800 002
         network 00
         reverse 1 1000 > terminal 0410 00
         order sign-on > issuer 0800 001
         network 00 > issuer 0420 1000 4000",
    );
}

#[test]
fn a_refused_or_overtaken_sign_off_changes_no_wish() {
    check("network 00\norder sign-off > issuer 0800 002\nnetwork 91\nready 0\nsale 1 1000 > terminal 0210 91");
    check("order sign-off > issuer 0800 002\nnetwork 00\nready 0");
    check("network 00\norder sign-on > issuer 0800 001\nready 1\nnetwork 00\nready 1");
    check("network 00\norder sign-off > issuer 0800 002\norder up > issuer 0800 001\nnetwork 00\nready 1");
    check("network 00\norder sign-off > issuer 0800 002\npass 15000 > close link\nready 0");
}

#[test]
fn m3_what_is_owed_leaves_with_the_sign_on() {
    check(
        "network 00
         sale 1 1000 > issuer 0200 1000
         answer 00 > terminal 0210 00
         link down
         link up > issuer 0800 001
         reverse 1 1000 > terminal 0410 00
         network 00 > issuer 0420 1000 4000",
    );
}

#[test]
fn a_quiet_link_is_asked_for_an_echo_and_closed_without_one() {
    let up = "network 00\nready 1\n";
    check(&format!("{up}pass 29999\npass 1 > issuer 0800 301\nnetwork 00\npass 29999\npass 1 > issuer 0800 301"));
    check(&format!("{up}pass 30000 > issuer 0800 301\npass 14999\nready 1\npass 1 > close link\nready 0"));
    // The host is heard: it is quiet from there.
    check(&format!(
        "{up}pass 20000\nhost-asks 0800 > issuer 0810 000055 301 00\npass 10000\npass 19999\npass 1 > issuer 0800 301"
    ));
    check(&format!("{up}pass 20000\nhost-asks 0302\nnoted unmatched\npass 29999\npass 1 > issuer 0800 301"));
    check_with(
        |config| {
            signing_on(config);
            config.links.values_mut().for_each(|link| link.echo_after_ms = 0);
        },
        &format!("{up}pass 3600000\nready 1"),
    );
}

#[test]
fn what_is_open_is_counted_and_a_link_says_what_it_carries() {
    let mut world = World::new(config());
    let census = |world: &World| -> Vec<(&str, u64, u64, bool)> {
        let rows = world.core().census();
        rows.iter().map(|row| (row.state.name(), row.count, row.amount_minor, row.in_doubt)).collect()
    };
    let in_flight = |world: &World| world.core().links().map(|link| link.in_flight).collect::<Vec<_>>();
    assert!(world.core().quiet());
    world.run("sale 1 1000 > issuer 0200 1000\nsale 1 500 term 2 conn 2 > issuer 0200 500");
    assert_eq!(census(&world), [("awaiting_issuer", 2, 1500, true)]);
    let named = |rrn: &str| world.core().movement_by_rrn(&rrn.parse().unwrap()).map(|movement| movement.id);
    assert_eq!(
        ["632610000001", "632610000002", "632610000003"].map(named),
        [Some(MovementId(1)), Some(MovementId(2)), None]
    );
    assert_eq!(world.core().links().next().unwrap().number.to_string(), "1.1");
    assert_eq!((in_flight(&world), world.core().quiet()), (vec![2], false));
    world.run("answer 00 nth 1 > terminal 0210 00\nreport silent\nanswer 00 nth 2 > terminal 0210 00");
    assert_eq!(census(&world), [("awaiting_delivery", 1, 500, true), ("awaiting_confirmation", 1, 1000, false)]);
    assert_eq!((in_flight(&world), world.core().quiet()), (vec![0], false));
    world.run("written\nreverse 1 1000 keep 400 > issuer 0420 1000 4004; terminal 0410 00");
    assert_eq!(census(&world), [("awaiting_confirmation", 1, 500, false), ("awaiting_confirmation", 1, 1000, true)]);
    assert!(world.core().quiet(), "nobody waits for an answer");
    let begun = world.core().movements().next().unwrap().begun_wall_ms;
    world.run_free("pass 5000");
    world.run("sale 2 700 term 2 conn 2 fresh > issuer 0200 700\nanswer 00 > terminal 0210 00");
    let oldest: Vec<_> = world.core().census().iter().map(|row| row.oldest_wall_ms).collect();
    assert_eq!(oldest, [Some(begun + 5000), Some(begun)]);
    world.run("ack 00\ndoubt 0");
    assert_eq!(world.core().census().iter().map(|row| row.oldest_wall_ms).collect::<Vec<_>>(), [Some(begun)]);
}

/// The wait for the sign-on's answer is over with it: an echo that comes right after has a wait of its own.
#[test]
fn a_link_waits_for_one_answer_at_a_time() {
    check_with(
        |config| {
            signing_on(config);
            config.links.values_mut().for_each(|link| link.echo_after_ms = 14_000);
        },
        "network 00\npass 14000 > issuer 0800 301\npass 1000\nready 1\npass 13999\nready 1\npass 1 > close link",
    );
}

/// Programs read them from `switchd status --json`.
#[test]
fn what_an_operator_wishes_of_a_link_has_its_name() {
    use switch::LinkWish::{Drained, SignedOff, Up};
    assert_eq!([Up, Drained, SignedOff].map(switch::LinkWish::name), ["up", "drained", "signed-off"]);
}

/// Programs read them from `switchd doubt --json`.
#[test]
fn what_comes_next_has_a_name_of_its_own() {
    let mut names = Next::ALL.map(Next::name);
    assert_eq!(names[..3], ["issuer_answer", "handing", "asked_again"]);
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "{names:?}");
}
