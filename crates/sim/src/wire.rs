//! Connections between the switch and its peers, as TCP leaves them: ordered, lossy only when they end, and ended for each
//! side at a time of its own.
//!
//! Carries whole messages, no bytes: framing and TLS are tested with real sockets. Invariant: a message arrives on its
//! connection after those that were sent before it, or not at all; what did not arrive is never acknowledged.

use std::collections::VecDeque;

use iso8583::Fields;
use switch::{ActionId, ConnId, LinkId, LinkNo};

use crate::queue::{MS, Micros, SECOND};

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Switch,
    Peer,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// A terminal of its own.
    Device(usize),
    /// A concentrator, for several terminals.
    Hub(usize),
    /// An issuer's host.
    Host { host: usize, link: LinkNo },
}

/// A time in which the network takes nothing to the peer. The kernel sends again at growing distances, so what the hole
/// held arrives some time after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hole {
    pub(crate) until: Micros,
    /// When the first of the bytes that it holds was sent.
    pub(crate) since: Option<Micros>,
}

/// TCP_USER_TIMEOUT: so long after they were sent, bytes that nobody acknowledged end their connection.
pub(crate) const USER_TIMEOUT: Micros = 29 * SECOND;
/// The kernel sends again so long after the first time, in milliseconds.
const SENDS_AGAIN: [Micros; 7] = [200, 600, 1_400, 3_000, 6_200, 12_600, 25_400];
/// What a process leaves in a hole when it ends, its kernel tries no longer than this: with the slowest host it stays below
/// the horizon, which counts from the restart (R3).
pub(crate) const ORPHAN_TIMEOUT: Micros = 13 * SECOND;

impl Hole {
    /// When bytes that are sent now pass, if their connection lives so long.
    pub(crate) fn passes(&mut self, now: Micros) -> Option<Micros> {
        let since = *self.since.get_or_insert(now);
        SENDS_AGAIN.iter().map(|after| since + after * MS).find(|at| *at >= self.until)
    }
}

/// One connection, from its opening to its end.
pub(crate) struct Conn {
    pub(crate) peer: Peer,
    /// In which life of the switch it was opened.
    pub(crate) life: u32,
    /// Each side's own view.
    pub(crate) switch_up: bool,
    pub(crate) peer_up: bool,
    /// Nothing that is sent from now on passes, and no acknowledgement, whoever knows it.
    pub(crate) dead: bool,
    /// The peer has begun a frame that it never ends: nothing that it sends later can be read.
    pub(crate) garbled: bool,
    /// The switch's kernel takes nothing.
    pub(crate) stalled: bool,
    /// Writes that the kernel has not taken.
    pub(crate) pending: VecDeque<(ActionId, Box<Fields>)>,
    /// Messages to the peer that its kernel has not acknowledged, as the switch's kernel sees it.
    pub(crate) unacknowledged: u32,
    /// The network takes nothing to the peer for a while.
    pub(crate) hole: Option<Hole>,
    /// What would arrive later than this is lost, in each direction.
    pub(crate) to_switch_until: Micros,
    pub(crate) to_peer_until: Micros,
    /// Nothing arrives earlier, in each direction.
    pub(crate) to_switch_at: Micros,
    pub(crate) to_peer_at: Micros,
}

impl Conn {
    pub(crate) fn new(peer: Peer, life: u32, now: Micros) -> Conn {
        Conn {
            peer,
            life,
            switch_up: true,
            peer_up: true,
            dead: false,
            garbled: false,
            stalled: false,
            pending: VecDeque::new(),
            unacknowledged: 0,
            hole: None,
            to_switch_until: Micros::MAX,
            to_peer_until: Micros::MAX,
            to_switch_at: now,
            to_peer_at: now,
        }
    }

    pub(crate) fn is_link(&self) -> bool {
        matches!(self.peer, Peer::Host { .. })
    }
}

/// The names that the core knows connections by: the place in the world's list, and the life of the process.
pub(crate) fn conn_id(at: usize, life: u32) -> ConnId {
    ConnId { index: at as u32, generation: life }
}

pub(crate) fn link_id(at: usize, life: u32) -> LinkId {
    LinkId { index: at as u32, generation: life }
}
