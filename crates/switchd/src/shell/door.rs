//! The door: connections of which nobody knows yet whose they are.
//!
//! A peer that says nothing costs a socket and a place here. It takes no slot of a handshake, and goes when its time is
//! over, or sooner when all places are taken and another comes. Invariant: silent peers keep nobody out, however many
//! they are.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::limits::Limits;

/// All places before authentication, and the slots of handshakes among them.
pub(crate) struct Door {
    places_max: usize,
    taken: Cell<usize>,
    /// Who has not said a byte, oldest first.
    silent: RefCell<VecDeque<Rc<Notify>>>,
    patience: Duration,
    handshakes: Arc<Semaphore>,
}

/// A place of one connection, until it is known or gone.
pub(crate) struct Place {
    door: Rc<Door>,
    /// Notified when it has to go.
    leave: Rc<Notify>,
}

impl Door {
    /// Nobody is there.
    pub(crate) fn new(limits: &Limits) -> Self {
        Door {
            places_max: limits.unauthenticated_max,
            taken: Cell::new(0),
            silent: RefCell::default(),
            patience: Duration::from_millis(limits.first_byte_timeout_ms),
            handshakes: Arc::new(Semaphore::new(limits.handshakes_max)),
        }
    }

    /// A place for a new connection. When all are taken, the one that is silent for longest goes; `None` when none is.
    pub(crate) fn enter(self: &Rc<Self>) -> Option<Place> {
        if self.taken.get() >= self.places_max {
            self.silent.borrow_mut().pop_front()?.notify_one();
        }
        self.taken.set(self.taken.get() + 1);
        let leave = Rc::new(Notify::new());
        self.silent.borrow_mut().push_back(leave.clone());
        Some(Place { door: self.clone(), leave })
    }
}

impl Place {
    /// Ends when the peer has said something, or with the reason why it has to go.
    pub(crate) async fn first_byte(&self, stream: &TcpStream) -> Result<(), &'static str> {
        let mut byte = [0; 1];
        let spoke = tokio::select! {
            biased;
            // Looked at, as readiness alone may be wrong; an error shows again when the handshake reads.
            spoke = timeout(self.door.patience, stream.peek(&mut byte)) => {
                spoke.map(drop).map_err(|_| "first_byte_timeout")
            }
            () = self.leave.notified() => Err("unauthenticated_max"),
        };
        self.no_longer_silent();
        spoke
    }

    /// Waits for a slot of a handshake.
    pub(crate) async fn slot(&self) -> OwnedSemaphorePermit {
        self.door.handshakes.clone().acquire_owned().await.expect("the slots are never closed")
    }

    fn no_longer_silent(&self) {
        self.door.silent.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.leave));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.no_longer_silent();
        self.door.taken.set(self.door.taken.get() - 1);
    }
}
