//! The shell: sockets on one side, the partition on the other, and nothing decided in between.
//!
//! One thread runs everything that a transaction touches: the sockets, TLS, the codec and the partition's `turn`, on one
//! current-thread runtime, as hops between threads cost more than all of that together. More threads take what would block
//! it: commits (write and fdatasync), look-ups in index and journal, checkpoints, histories for operators, the kernel's table
//! of connections. One serves metrics and the admin socket, so that a slow reader of those delays nobody; one keeps the index
//! up behind the durable records.
//!
//! ```text
//! terminals --+                    +-- commit thread
//!             +-- mailbox -- engine+-- look-up thread
//! links ------+       (one thread) +-- checkpoint thread
//! ```
//!
//! Tasks put inputs into the [`mailbox`]; the [`engine`] takes all that are there into one turn, and while a commit is in
//! flight further turns fill the next group. Invariant: exactly one report for each action, before the `Closed` of its
//! connection.

pub(crate) mod dispatch;
pub(crate) mod door;
pub(crate) mod engine;
pub(crate) mod in_flight;
pub(crate) mod links;
pub(crate) mod mailbox;
pub(crate) mod table;
pub(crate) mod terminals;
pub(crate) mod wire;
pub(crate) mod worker;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use iso8583::{Dialect, TerminalId};
use switch::LinkNo;
use tokio::sync::Notify;

use crate::config::Settings;
use crate::net::send_queue::SendQueues;
use crate::net::traffic::{End, Line};
use crate::observe::meters::Meters;
use crate::observe::quota::Quota;
use crate::observe::resolve::Orders;
use crate::observe::strays::Strays;
use crate::reload::Current;
use in_flight::InFlight;
use mailbox::Mailbox;
use table::{Place, Table};
use wire::Wire;

/// What the tasks of the shell share. All of them run on one thread.
pub(crate) struct Shell {
    /// The configuration.
    pub(crate) settings: Settings,
    /// What a reload replaces.
    current: RefCell<Rc<Current>>,
    /// The way to the core.
    pub(crate) mailbox: Mailbox,
    /// Terminal connections.
    pub(crate) terminals: RefCell<Table<Peer>>,
    /// The connection of each terminal that has a certificate of its own.
    pub(crate) newest: RefCell<BTreeMap<TerminalId, Place>>,
    /// Link connections.
    pub(crate) links: RefCell<Table<LinkPeer>>,
    /// Parsing and assembly.
    pub(crate) wire: Wire,
    /// Metrics.
    pub(crate) meters: Meters,
    /// Operators' decisions on their way.
    pub(crate) orders: Orders,
    /// What issuers sent that matched nothing.
    pub(crate) strays: Strays,
    /// Log lines about what peers do.
    pub(crate) lines: Quota,
    /// What issuers' hosts have not acknowledged (R3).
    pub(crate) queues: Rc<SendQueues>,
    /// How many sockets terminals may have, whatever is configured: the process has no more descriptors.
    pub(crate) sockets_max: usize,
    /// No new terminals.
    accepting: Cell<bool>,
    /// No new connections at all.
    closing: Cell<bool>,
    changed: Notify,
}

/// An open connection of a terminal.
#[derive(Debug)]
pub(crate) struct Peer {
    /// What waits for it.
    pub(crate) line: Rc<Line>,
    /// How it writes.
    pub(crate) dialect: &'static Dialect,
    /// What it asked and has no answer to.
    pub(crate) in_flight: InFlight,
}

/// An open connection of a link.
#[derive(Debug)]
pub(crate) struct LinkPeer {
    /// What waits for it.
    pub(crate) line: Rc<Line>,
    /// How it writes.
    pub(crate) dialect: &'static Dialect,
    /// Its link.
    pub(crate) number: LinkNo,
    /// It took requests: the host accepted the sign-on, or none is wanted.
    pub(crate) was_ready: Cell<bool>,
}

impl Shell {
    /// Nothing is open yet.
    pub(crate) fn new(settings: Settings, current: Current, meters: Meters, queues: SendQueues, sockets_max: usize) -> Self {
        Shell {
            queues: Rc::new(queues),
            current: RefCell::new(Rc::new(current)),
            mailbox: Mailbox::new(settings.limits.inputs_max),
            lines: Quota::new(settings.limits.log_lines_max),
            settings,
            sockets_max,
            terminals: RefCell::default(),
            newest: RefCell::default(),
            links: RefCell::default(),
            wire: Wire::default(),
            meters,
            orders: Orders::default(),
            strays: Strays::default(),
            accepting: Cell::new(true),
            closing: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// Registry and certificates as they are now.
    pub(crate) fn current(&self) -> Rc<Current> {
        self.current.borrow().clone()
    }

    /// Other registry and certificates from now on.
    pub(crate) fn replace_current(&self, current: Current) {
        self.current.replace(Rc::new(current));
    }

    /// Takes no new terminals from now on.
    pub(crate) fn stop_accepting(&self) {
        self.accepting.set(false);
        self.changed.notify_waiters();
    }

    /// Closes everything, after what waits for each socket.
    pub(crate) fn close_all(&self) {
        self.accepting.set(false);
        self.closing.set(true);
        self.changed.notify_waiters();
        for peer in self.terminals.borrow().values() {
            peer.line.close(End::Stopping);
        }
        for link in self.links.borrow().values() {
            link.line.close(End::Stopping);
        }
    }

    /// Closes a connection that has just come if everything closes: its handshake ended too late for [`Shell::close_all`].
    pub(crate) fn close_if_late(&self, line: &Line) {
        if self.closing() {
            line.close(End::Stopping);
        }
    }

    /// Whether everything is closed.
    pub(crate) fn all_closed(&self) -> bool {
        self.terminals.borrow().is_empty() && self.links.borrow().is_empty()
    }

    /// Ends when no terminals are taken any more.
    pub(crate) async fn until_not_accepting(&self) {
        self.until(|shell| !shell.accepting.get()).await;
    }

    /// Ends when everything closes.
    pub(crate) async fn until_closing(&self) {
        self.until(|shell| shell.closing.get()).await;
    }

    /// Whether everything closes.
    pub(crate) fn closing(&self) -> bool {
        self.closing.get()
    }

    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if reached(self) {
                return;
            }
            changed.await;
        }
    }
}
