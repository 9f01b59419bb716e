//! Connections of issuer links: sign-on, echo, what travels on each, and which may take the next message.
//!
//! Opening them again is the shell's work; what a lost one means for the money is decided here (T2). An operator's wish
//! stands beside the health of a link: what is wished down takes no requests however healthy it is, and comes up by a wish
//! alone.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use iso8583::{Fields, ResponseCode, Stan};

use crate::action::{Action, Note, Pending, Stray};
use crate::ids::{IssuerNo, LinkId, LinkNo, Lsn, MovementId, Now};
use crate::input::{LinkOrder, LinkWish};
use crate::machine::{Output, Switch};
use crate::message::{self, Network};
use crate::movement::{Rule, StateKind};
use crate::mutant::{Mutant, on};
use crate::record::Record;

/// A connection of a link while it is open.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: LinkNo,
    /// Signed on, and not failing: takes requests and reversals.
    pub(crate) ready: bool,
    /// Requests written here that have no answer yet.
    pub(crate) requests: BTreeSet<MovementId>,
    /// The 0800 that waits for its 0810.
    asked: Option<(Network, Stan)>,
    /// The host has accepted the sign-on, or the link wants none.
    signed_on: bool,
    /// A write failed or an 0800 stayed without an answer: it will be closed and takes nothing more.
    failed: bool,
    heard_ms: u64,
    pub(crate) timer_ms: Option<u64>,
}

impl Switch {
    pub(crate) fn link_opened(&mut self, now: Now, link: LinkId, number: LinkNo, out: &mut Output) {
        let connection = Connection {
            number,
            ready: false,
            requests: BTreeSet::new(),
            asked: None,
            signed_on: false,
            failed: false,
            heard_ms: now.uptime_ms,
            timer_ms: None,
        };
        self.connections.insert(link, connection);
        match self.wish(number) {
            LinkWish::SignedOff => self.rest(now, link),
            LinkWish::Up | LinkWish::Drained => self.sign_on(now, link, out),
        }
    }

    /// Signs on, where the link wants it.
    fn sign_on(&mut self, now: Now, link: LinkId, out: &mut Output) {
        let Some(number) = self.connections.get(&link).map(|connection| connection.number) else { return };
        if self.config.link(number).sign_on {
            self.ask(now, link, Network::SignOn, out);
        } else {
            self.ready(now, link, out);
        }
    }

    /// A connection that is wished down: nothing goes on it but echoes.
    fn rest(&mut self, now: Now, link: LinkId) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        connection.asked = None;
        connection.signed_on = false;
        let echo_after_ms = self.config.link(connection.number).echo_after_ms;
        self.clear_link_timer(link);
        if echo_after_ms > 0 {
            self.set_link_timer(link, now.uptime_ms + echo_after_ms);
        }
    }

    /// What the operator wishes of a link.
    pub fn wish(&self, number: LinkNo) -> LinkWish {
        self.wishes.get(&number).copied().unwrap_or_default()
    }

    /// Takes an operator's order for a link: its wish, and what follows for the connections that are open.
    pub(crate) fn link_ordered(&mut self, now: Now, number: LinkNo, order: LinkOrder, out: &mut Output) {
        let before = self.wishes.insert(number, order.wish()).unwrap_or_default();
        let of_link = |(_, connection): &(&LinkId, &Connection)| connection.number == number && !connection.failed;
        let open: Vec<LinkId> = self.connections.iter().filter(of_link).map(|(link, _)| *link).collect();
        for link in open {
            let asks_on = |asked: &Option<(Network, Stan)>| matches!(asked, Some((Network::SignOn, _)));
            let Some((signed_on, asking)) =
                self.connections.get(&link).map(|connection| (connection.signed_on, asks_on(&connection.asked)))
            else {
                continue;
            };
            match order {
                LinkOrder::SignOff if before != LinkWish::SignedOff => self.sign_off(now, link, out),
                LinkOrder::SignOff => {}
                LinkOrder::SignOn => self.sign_on(now, link, out),
                LinkOrder::Up | LinkOrder::Drain if !signed_on && !asking => self.sign_on(now, link, out),
                LinkOrder::Up | LinkOrder::Drain => {}
            }
        }
    }

    fn sign_off(&mut self, now: Now, link: LinkId, out: &mut Output) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        let number = connection.number;
        connection.signed_on = false;
        if core::mem::replace(&mut connection.ready, false) {
            self.note(Note::LinkReady { link, ready: false }, out);
        }
        if self.config.link(number).sign_on {
            self.ask(now, link, Network::SignOff, out);
        } else {
            self.rest(now, link);
        }
    }

    /// Sends 0800. Its STAN is durable before it leaves (K4), though it moves nothing.
    fn ask(&mut self, now: Now, link: LinkId, what: Network, out: &mut Output) {
        let Some(number) = self.connections.get(&link).map(|connection| connection.number) else { return };
        let timeout_ms = self.config.link(number).response_timeout_ms;
        let Some(stan) = self.state.free_stan(number, self.config.link(number).late_horizon_ms, now.wall_ms) else {
            // Every number is in use: the link is as busy as a link can be, and its answers are the proof of its life.
            self.set_link_timer(link, now.uptime_ms + timeout_ms);
            return;
        };
        let after = self.write(now, Record::StanUsed { link: number, stan }, out);
        let message = message::network(what, stan, self.numbers(stan).transmitted);
        let id = self.new_action(None);
        out.actions.push(Pending { after, action: Action::ToIssuer { id, link, message, card: None } });
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.asked = Some((what, stan));
        }
        self.set_link_timer(link, now.uptime_ms + timeout_ms);
    }

    fn ready(&mut self, now: Now, link: LinkId, out: &mut Output) {
        let Some(connection) = self.connections.get_mut(&link).filter(|connection| !connection.failed) else { return };
        connection.ready = true;
        connection.signed_on = true;
        connection.asked = None;
        let number = connection.number;
        self.clear_link_timer(link);
        let echo_after_ms = self.config.link(number).echo_after_ms;
        if echo_after_ms > 0 {
            self.set_link_timer(link, now.uptime_ms + echo_after_ms);
        }
        self.note(Note::LinkReady { link, ready: true }, out);
        self.send_due_reversals(now, number.issuer, out);
    }

    /// No more messages on this connection: a write on it failed, or it will be closed.
    pub(crate) fn link_failed(&mut self, link: LinkId, out: &mut Output) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        connection.failed = true;
        if core::mem::replace(&mut connection.ready, false) {
            self.note(Note::LinkReady { link, ready: false }, out);
        }
    }

    /// An echo is due, or the 0810 of the last 0800 is overdue.
    pub(crate) fn link_timer(&mut self, now: Now, link: LinkId, out: &mut Output) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        connection.timer_ms = None;
        if connection.asked.is_some() {
            self.link_failed(link, out);
            out.actions.push(Pending { after: Lsn(0), action: Action::CloseLink { link, refused: None } });
            return;
        }
        let number = connection.number;
        if !connection.signed_on && self.wish(number) != LinkWish::SignedOff {
            return self.ask(now, link, Network::SignOn, out);
        }
        let Some(connection) = self.connections.get(&link) else { return };
        let quiet_until_ms = connection.heard_ms + self.config.link(connection.number).echo_after_ms;
        if quiet_until_ms > now.uptime_ms {
            self.set_link_timer(link, quiet_until_ms);
        } else {
            self.ask(now, link, Network::Echo, out);
        }
    }

    pub(crate) fn issuer_message(&mut self, now: Now, link: LinkId, message: &Fields, out: &mut Output) {
        let Some(connection) = self.connections.get_mut(&link) else { return };
        connection.heard_ms = now.uptime_ms;
        let number = connection.number;
        match message.mti().as_bytes() {
            b"0110" | b"0210" => self.request_answered(now, number, message, out),
            b"0410" | b"0430" => self.reversal_answered(now, number, message, out),
            b"0810" | b"0830" => self.network_answered(now, link, message, out),
            b"0800" | b"0820" => self.network_asked(link, message, out),
            _ => self.unmatched(number, message, out),
        }
    }

    pub(crate) fn unmatched(&self, link: LinkNo, message: &Fields, out: &mut Output) {
        self.note(Note::Unmatched { link, stray: Stray::of(message) }, out);
    }

    fn network_answered(&mut self, now: Now, link: LinkId, message: &Fields, out: &mut Output) {
        let stan = message.get(11).and_then(|digits| Stan::try_from(digits).ok());
        let Some(connection) = self.connections.get_mut(&link) else { return };
        let number = connection.number;
        let Some((what, _)) = connection.asked.filter(|(_, asked)| Some(*asked) == stan) else {
            return self.unmatched(number, message, out);
        };
        let accepted = message.get(39) == Some(ResponseCode::APPROVED.as_bytes());
        match (self.wish(number), what) {
            // A host that refuses the sign-off is left alone all the same; so is one whose sign-on came in between.
            (LinkWish::SignedOff, Network::SignOff | Network::Echo) => return self.rest(now, link),
            (LinkWish::SignedOff, Network::SignOn) => return self.sign_off(now, link, out),
            // The wish has changed while the sign-off was on its way.
            (LinkWish::Up | LinkWish::Drained, Network::SignOff) => return self.sign_on(now, link, out),
            (LinkWish::Up | LinkWish::Drained, Network::SignOn | Network::Echo) if accepted => {
                return self.ready(now, link, out);
            }
            (LinkWish::Up | LinkWish::Drained, Network::SignOn | Network::Echo) => {}
        }
        let refused = message.get(39).and_then(|text| ResponseCode::try_from(text).ok());
        self.link_failed(link, out);
        out.actions.push(Pending { after: Lsn(0), action: Action::CloseLink { link, refused } });
    }

    fn network_asked(&mut self, link: LinkId, message: &Fields, out: &mut Output) {
        let id = self.new_action(None);
        let message = message::network_answer(message, ResponseCode::APPROVED);
        out.actions.push(Pending { after: Lsn(0), action: Action::ToIssuer { id, link, message, card: None } });
    }

    /// T2: what was written here and is unanswered is unwound at once; reversals go out again elsewhere (R0).
    pub(crate) fn link_closed(&mut self, now: Now, link: LinkId, out: &mut Output) {
        self.link_failed(link, out);
        self.clear_link_timer(link);
        let Some(connection) = self.connections.remove(&link) else { return };
        let carried: Vec<MovementId> = self
            .live
            .iter()
            .filter(|(_, live)| live.horizon_from_ms.is_none() && live.request.is_some_and(|request| request.link == link))
            .map(|(id, _)| *id)
            .collect();
        for id in carried {
            self.live(id).horizon_from_ms = Some(now.uptime_ms);
            self.reversal_horizon_known(now, id);
        }
        for id in connection.requests {
            let left = self.live.get(&id).and_then(|live| live.request).is_some_and(|request| request.left);
            let awaited = self.movement(id).is_some_and(|movement| movement.state == StateKind::AwaitingIssuer);
            // A request that the shell has not reported has not left; its report comes and decides (T3).
            if left && awaited && on(Mutant::LostIsUnsent) {
                self.never_sent(now, id, StateKind::AwaitingIssuer, out);
            } else if left && awaited {
                self.give_up_request(now, id, Rule::T2, out);
            }
        }
        let unacknowledged: Vec<MovementId> = self
            .unacknowledged
            .get(&connection.number.issuer)
            .into_iter()
            .flatten()
            .copied()
            .filter(|id| self.live.get(id).and_then(|live| live.sending.in_flight).is_some_and(|flight| flight.link == link))
            .collect();
        for id in unacknowledged {
            self.reversal_unanswered(now, id, out);
        }
        self.send_due_reversals(now, connection.number.issuer, out);
    }

    /// The ready connection of an issuer with the fewest unanswered requests, of a link below its admission limit (M7).
    pub(crate) fn connection_for_request(&self, issuer: IssuerNo) -> Option<(LinkId, LinkNo)> {
        let of_issuer = || self.connections.iter().filter(move |(_, connection)| connection.number.issuer == issuer);
        let in_flight = |number: LinkNo| -> usize {
            of_issuer().filter(|(_, other)| other.number == number).map(|(_, other)| other.requests.len()).sum()
        };
        of_issuer()
            .filter(|(_, connection)| connection.ready && self.wish(connection.number) == LinkWish::Up)
            .filter(|(_, connection)| in_flight(connection.number) < self.config.link(connection.number).in_flight_max)
            .min_by_key(|(link, connection)| (connection.requests.len(), **link))
            .map(|(link, connection)| (*link, connection.number))
    }

    /// A connection for a reversal: any that is ready (R0), of the original's link if there is one.
    pub(crate) fn connection_for_reversal(&self, original: LinkNo) -> Option<(LinkId, LinkNo)> {
        self.connections
            .iter()
            .filter(|(_, connection)| connection.ready && connection.number.issuer == original.issuer)
            .min_by_key(|(link, connection)| (connection.number != original, connection.requests.len(), **link))
            .map(|(link, connection)| (*link, connection.number))
    }
}
