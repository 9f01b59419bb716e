//! The state alone: numbers, memory's limits, restored and damaged states.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::{format, vec};

use iso8583::{Fields, Mti, Pan};

use super::*;
use crate::action::Action;
use crate::card::{Card, SEALED_BYTES, SealedPan};
use crate::config::{Config, Group, Issuer, Link, Route};
use crate::ids::{ConnId, GroupNo, LinkId, Now};
use crate::input::{Input, Report};
use crate::machine::{Output, Switch};

const LINK: LinkNo = LinkNo { issuer: IssuerNo(1), number: 1 };

#[test]
fn k4_the_next_free_number_goes_round_once_and_is_none_when_all_are_busy() {
    let next = |last, busy: &[u32]| next_free(last, 1, 5, |stan| busy.contains(&stan.get())).map(Stan::get);
    assert_eq!(next(0, &[]), Some(1));
    assert_eq!(next(2, &[]), Some(3), "a number that is free again waits for its turn");
    assert_eq!(next(2, &[3, 4]), Some(5));
    assert_eq!(next(5, &[]), Some(1), "after the last comes the first");
    assert_eq!(next(4, &[5, 1, 2]), Some(3));
    assert_eq!(next(3, &[4, 5, 1, 2]), Some(3), "the last one itself is the last to be looked at");
    assert_eq!(next(3, &[1, 2, 3, 4, 5]), None);
    assert_eq!(next(900_000, &[]), Some(1), "a range that became smaller");
}

fn request(stan: u32) -> Input {
    let mut message = Fields::new(Mti::new(b"0200"));
    // Each of another amount: equal ones in flight would be flagged (D6).
    message.set(4, format!("{stan:012}").as_bytes());
    for (de, text) in [(2, "4111111111111111"), (3, "000000"), (41, "TERM0001"), (49, "156")] {
        message.set(de, text.as_bytes());
    }
    message.set(11, format!("{stan:06}").as_bytes());
    message.set(42, b"MERCHANT0000001");
    let pan: Pan = "4111111111111111".parse().unwrap();
    let sealed = SealedPan { key: 1, nonce: [0; 12], sealed: [0; SEALED_BYTES] };
    let card = Card { sealed, hmac: CardHmac([0; 16]), masked: pan.masked() };
    let conn = ConnId { index: 1, generation: 0 };
    Input::Terminal { conn, group: GroupNo(1), message: Box::new(message), card: Some(card) }
}

/// The STANs of the requests that a turn sends, and the codes that it answers.
fn turn(core: &mut Switch, now: Now, input: Input) -> Vec<String> {
    let mut out = Output::default();
    core.turn(now, input, &mut out);
    let mut said = Vec::new();
    for action in out.actions.into_iter().map(|pending| pending.action) {
        match action {
            Action::ToIssuer { id, message, .. } => {
                said.push(format!("stan {}", message.text(11).unwrap()));
                core.turn(now, Input::Report { action: id, report: Report::Written }, &mut Output::default());
            }
            Action::ToTerminal { message, .. } => said.push(format!("code {}", message.text(39).unwrap())),
            Action::Withdraw { .. }
            | Action::Unsend { .. }
            | Action::ResetIfUnacknowledged { .. }
            | Action::CloseLink { .. }
            | Action::Find { .. }
            | Action::Resolved { .. }
            | Action::Note(_) => {}
        }
    }
    said
}

/// Every number of the link is one that an answer may still come for: 91, and no intent.
#[test]
fn k4_without_a_free_stan_a_request_is_refused_and_leaves_no_record() {
    let mut config = Config::default();
    config.groups.insert(GroupNo(1), Group { serial: false, ..Group::default() });
    config.issuers.insert(IssuerNo(1), Issuer::default());
    config.links.insert(LINK, Link { sign_on: false, echo_after_ms: 0, ..Link::default() });
    config.routes.push(Route { prefix: String::new(), issuer: IssuerNo(1) });
    let mut core = Switch::new(config);
    let now = Now { uptime_ms: 1, wall_ms: 1_795_331_289_000 };
    core.start(now, vec![], &|_| None, &mut Output::default());
    let link = LinkId { index: 1, generation: 1 };
    core.turn(now, Input::LinkOpened { link, number: LINK }, &mut Output::default());
    assert_eq!(turn(&mut core, now, request(1)), ["stan 000001"]);
    // The index as 899,999 requests in flight would leave it: each number names one that awaits its issuer.
    let in_flight = *core.state.movements.keys().next().unwrap();
    for number in 1..FIRST_REVERSAL_STAN {
        core.state.by_link_stan.insert((LINK, Stan::new(number).unwrap()), in_flight);
    }
    let before = core.lsn();
    assert_eq!(turn(&mut core, now, request(2)), ["code 91"]);
    assert_eq!((core.lsn(), core.state.movements.len()), (before, 1), "no intent");
    core.state.by_link_stan.remove(&(LINK, Stan::new(500_000).unwrap()));
    assert_eq!(turn(&mut core, now, request(2)), ["code 91"], "the key stays refused (M7)");
    assert_eq!(turn(&mut core, now, request(3)), ["stan 500000"]);
}

/// A sign-on waits for a number as long as it would for an answer, and is sent when there is one.
#[test]
fn k4_a_sign_on_without_a_free_stan_is_asked_for_again() {
    let mut config = Config::default();
    let busy = LinkNo { number: 2, ..LINK };
    config.groups.insert(GroupNo(1), Group::default());
    config.issuers.insert(IssuerNo(1), Issuer::default());
    config.links.insert(busy, Link { sign_on: false, echo_after_ms: 0, ..Link::default() });
    config.links.insert(LINK, Link { response_timeout_ms: 7_000, ..Link::default() });
    config.routes.push(Route { prefix: String::new(), issuer: IssuerNo(1) });
    let mut core = Switch::new(config);
    let now = Now { uptime_ms: 1_000, wall_ms: 1_795_331_289_000 };
    core.start(now, vec![], &|_| None, &mut Output::default());
    let opened = |index, number| Input::LinkOpened { link: LinkId { index, generation: 1 }, number };
    core.turn(now, opened(1, busy), &mut Output::default());
    turn(&mut core, now, request(1));
    let in_flight = *core.state.movements.keys().next().unwrap();
    for number in 1..FIRST_REVERSAL_STAN {
        core.state.by_link_stan.insert((LINK, Stan::new(number).unwrap()), in_flight);
    }
    assert_eq!(turn(&mut core, now, opened(2, LINK)), Vec::<String>::new());
    assert_eq!(core.next_timeout(), Some(8_000));
    core.state.by_link_stan.remove(&(LINK, Stan::new(77).unwrap()));
    let mut out = Output::default();
    core.expire(Now { uptime_ms: 8_000, ..now }, &mut out);
    let asked: Vec<_> = out.actions.iter().filter(|pending| matches!(pending.action, Action::ToIssuer { .. })).collect();
    assert_eq!((asked.len(), out.records.len(), core.next_timeout()), (1, 1, Some(15_000)));
}
