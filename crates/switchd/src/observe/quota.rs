//! So many log lines a second about each peer, and a count of the rest.
//!
//! A peer that is loud silences nobody but itself, unless more peers are loud than are told apart. Invariant: nothing is
//! left out without a line that says how often.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;

use switch::IssuerNo;

/// Peers that are told apart within one second; what more of them would say is counted only.
const PEERS_MAX: usize = 256;

/// Who a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A terminal, or whoever else connects, by its address.
    Address(IpAddr),
    /// An issuer's host.
    Issuer(IssuerNo),
}

/// What is left of this second.
#[derive(Debug)]
pub(crate) struct Quota {
    most: u32,
    written: RefCell<BTreeMap<Subject, u32>>,
    unsaid: Cell<u64>,
}

impl Quota {
    /// `most` lines a second about each peer.
    pub(crate) fn new(most: u32) -> Self {
        Quota { most, written: RefCell::default(), unsaid: Cell::new(0) }
    }

    /// Whether a line about this peer may be written; if not, it is counted.
    pub(crate) fn take(&self, subject: Subject) -> bool {
        let mut written = self.written.borrow_mut();
        if written.len() < PEERS_MAX || written.contains_key(&subject) {
            let lines = written.entry(subject).or_default();
            if *lines < self.most {
                *lines += 1;
                return true;
            }
        }
        self.unsaid.set(self.unsaid.get() + 1);
        false
    }

    /// A new second begins: how many lines were left out in the one before.
    pub(crate) fn renew(&self) -> u64 {
        self.written.borrow_mut().clear();
        self.unsaid.replace(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Subject {
        Subject::Address(IpAddr::V4(number.into()))
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let quota = Quota::new(5);
        let written = (0..100).filter(|_| quota.take(address(1))).count();
        assert_eq!((written, quota.renew()), (5, 95));
        assert!(quota.take(address(1)));
        assert_eq!(quota.renew(), 0);
    }

    #[test]
    fn a_loud_peer_silences_nobody_else() {
        let quota = Quota::new(2);
        assert_eq!((0..100).filter(|_| quota.take(address(1))).count(), 2);
        assert!(quota.take(address(2)) && quota.take(Subject::Issuer(IssuerNo(1))));
    }

    #[test]
    fn any_number_of_peers_takes_a_bounded_place_and_a_bounded_number_of_lines() {
        let quota = Quota::new(1);
        let written = (0..100_000).filter(|number| quota.take(address(*number))).count();
        assert_eq!((written, quota.renew()), (PEERS_MAX, 100_000 - PEERS_MAX as u64));
    }
}
