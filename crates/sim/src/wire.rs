//! Connections between the switch and its peers, as TCP leaves them: ordered, lossy only when they end, and ended for each
//! side at a time of its own.
//!
//! Carries whole messages, no bytes: framing and TLS are tested with real sockets. Invariant: a message arrives on its
//! connection after those that were sent before it, or not at all.

use std::collections::VecDeque;

use iso8583::Fields;
use switch::{ActionId, ConnId, LinkId, LinkNo};

use crate::queue::Micros;

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

/// One connection, from its opening to its end.
pub(crate) struct Conn {
    pub(crate) peer: Peer,
    /// In which life of the switch it was opened.
    pub(crate) life: u32,
    /// Each side's own view.
    pub(crate) switch_up: bool,
    pub(crate) peer_up: bool,
    /// Nothing passes any more, whoever knows it.
    pub(crate) dead: bool,
    /// The peer has begun a frame that it never ends: nothing that it sends later can be read.
    pub(crate) garbled: bool,
    /// The switch's kernel takes nothing.
    pub(crate) stalled: bool,
    /// Writes that the kernel has not taken.
    pub(crate) pending: VecDeque<(ActionId, Box<Fields>)>,
    /// Messages to the peer that have not arrived.
    pub(crate) on_the_way: u32,
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
            on_the_way: 0,
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
