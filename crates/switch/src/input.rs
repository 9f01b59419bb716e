//! Everything that can reach the core.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use iso8583::{Fields, Rrn};

use crate::card::Card;
use crate::config::Route;
use crate::ids::{ActionId, AskId, ConnId, GroupNo, LinkId, LinkNo, Lsn, QueryId};
use crate::movement::{Movement, Resolution};

/// One event from the world, in the order in which the shell saw it.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message that a terminal's connection carried. The shell has checked that the certificate may speak for its
    /// DE41 + DE42.
    Terminal {
        /// The connection.
        conn: ConnId,
        /// The terminal's group, by the registry.
        group: GroupNo,
        /// The message in canonical form.
        message: Box<Fields>,
        /// The card of DE2 or DE35, sealed. The partition fills it in; the shell passes `None`.
        card: Option<Card>,
    },
    /// A terminal's connection is gone. Comes after the report of every action that was meant for it.
    TerminalClosed {
        /// The connection.
        conn: ConnId,
    },
    /// A connection of an issuer link is open; sign-on comes next, where the link wants one.
    LinkOpened {
        /// The new connection.
        link: LinkId,
        /// Which configured link it belongs to.
        number: LinkNo,
    },
    /// A message that a link connection carried.
    Issuer {
        /// The connection.
        link: LinkId,
        /// The message in canonical form.
        message: Box<Fields>,
    },
    /// A link connection is gone. Comes after the report of every action that was meant for it.
    LinkClosed {
        /// The connection.
        link: LinkId,
    },
    /// What became of a message that the core asked the shell to write.
    Report {
        /// Which.
        action: ActionId,
        /// Its fate.
        report: Report,
    },
    /// The answer to [`crate::Action::Find`]: every movement that the journal knows under the query's key.
    Found {
        /// The query.
        query: QueryId,
        /// What was found, oldest first; `None` when the look-up could not be made (the terminal stays without an answer).
        found: Option<Vec<Movement>>,
    },
    /// An operator's decision; answered by [`crate::Action::Resolved`].
    Resolve {
        /// For the answer.
        ask: AskId,
        /// Which movement or entry.
        case: Case,
        /// What is decided.
        resolution: Resolution,
        /// Who decides.
        who: String,
        /// Why.
        why: String,
    },
    /// An operator's order for every connection of a link.
    Link {
        /// Which link.
        number: LinkNo,
        /// What is ordered.
        order: LinkOrder,
    },
    /// The routes from now on; every issuer that they lead to is in the configuration.
    Routes(Vec<Route>),
    /// Whether new money requests are admitted (M6, M7): false while draining, while the journal has no reserve, on overload.
    Admission(Admission),
}

/// What an operator orders of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkOrder {
    /// No new requests; answers and reversals go on.
    Drain,
    /// Requests again; a connection that is signed off signs on.
    Up,
    /// The same, and connections that are signed on do so again.
    SignOn,
    /// No new requests, and 0800 with DE70 002: nothing more is sent on it but echoes.
    SignOff,
}

impl LinkOrder {
    /// The wish that it leaves.
    pub const fn wish(self) -> LinkWish {
        match self {
            LinkOrder::Drain => LinkWish::Drained,
            LinkOrder::Up | LinkOrder::SignOn => LinkWish::Up,
            LinkOrder::SignOff => LinkWish::SignedOff,
        }
    }
}

/// What an operator wishes of a link. It stands whatever the link's health, and is gone with the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkWish {
    /// It takes what there is.
    #[default]
    Up,
    /// It takes no new requests.
    Drained,
    /// It takes nothing.
    SignedOff,
}

impl LinkWish {
    /// For people and `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            LinkWish::Up => "up",
            LinkWish::Drained => "drained",
            LinkWish::SignedOff => "signed-off",
        }
    }
}

/// What an operator decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// A movement, with the entries that name it.
    Movement(Rrn),
    /// One entry for a person, by the record that made it: it may name no movement.
    Entry(Lsn),
}

/// Why new money requests are refused, or that they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// New requests are taken.
    Open,
    /// The daemon is stopping: 96.
    Draining,
    /// The journal cannot promise room for outcomes and obligations: 96 (M6).
    JournalFull,
}

/// What became of a write. TCP proves nothing more than that the kernel took the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The kernel took the last byte.
    Written,
    /// Not one byte reached the kernel (T3).
    NotSent,
    /// The kernel took some bytes, not the last one (T2).
    Partial,
    /// The message could not be made: a card's key is missing, or the peer's dialect cannot carry a field. Nothing was sent.
    Unbuildable,
    /// For a terminal: the connection was gone or withdrawn before the last byte was taken (T8).
    Undeliverable,
}
