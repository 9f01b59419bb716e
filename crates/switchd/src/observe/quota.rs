//! So many log lines a second about each peer and each kind of thing that happens to movements, and a count of the rest.
//!
//! A peer that is loud silences nobody but itself; more of them than are told apart silence one another, but neither the
//! lines about issuers and movements nor the audit. Invariant: nothing is left out without a line that says how often.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use switch::IssuerNo;

/// Addresses that are told apart within one second; what more of them would say is counted only.
const ADDRESSES_MAX: usize = 256;

/// Who or what a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A terminal, or whoever else connects, by its address.
    Address(IpAddr),
    /// The same, where the line is for the audit: its peer has a certificate of ours.
    Audit(IpAddr),
    /// An issuer's host.
    Issuer(IssuerNo),
    /// What happens to movements of an issuer, by its name in the log.
    Movements(IssuerNo, &'static str),
    /// Movements and entries for a person, by the rule that hands them over.
    Person(&'static str),
}

/// Who shares a bounded number of places with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Share {
    Strangers,
    Audited,
    /// As many as the configuration and the rules make.
    Known,
}

impl Subject {
    fn share(self) -> Share {
        match self {
            Subject::Address(_) => Share::Strangers,
            Subject::Audit(_) => Share::Audited,
            Subject::Issuer(_) | Subject::Movements(_, _) | Subject::Person(_) => Share::Known,
        }
    }

    /// Addresses that one peer can have are one.
    fn whole(self) -> Self {
        match self {
            Subject::Address(address) => Subject::Address(network(address)),
            Subject::Audit(address) => Subject::Audit(network(address)),
            Subject::Issuer(_) | Subject::Movements(_, _) | Subject::Person(_) => self,
        }
    }
}

/// What a host is given: an address of version 4, a network of 64 bits of version 6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

/// What is left of this second.
#[derive(Debug)]
pub(crate) struct Quota {
    most: u32,
    written: RefCell<BTreeMap<Share, BTreeMap<Subject, u32>>>,
    unsaid: Cell<u64>,
}

impl Quota {
    /// `most` lines a second about each.
    pub(crate) fn new(most: u32) -> Self {
        Quota { most, written: RefCell::default(), unsaid: Cell::new(0) }
    }

    /// Whether a line about this may be written; if not, it is counted.
    pub(crate) fn take(&self, subject: Subject) -> bool {
        let subject = subject.whole();
        let mut written = self.written.borrow_mut();
        let written = written.entry(subject.share()).or_default();
        let has_place = subject.share() == Share::Known || written.len() < ADDRESSES_MAX;
        if has_place || written.contains_key(&subject) {
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
        assert_eq!((written, quota.renew()), (ADDRESSES_MAX, 100_000 - ADDRESSES_MAX as u64));
    }

    #[test]
    fn the_addresses_of_one_network_of_version_6_are_one_peer() {
        let quota = Quota::new(1);
        let of = |network: u128, host: u128| Subject::Address(IpAddr::V6(Ipv6Addr::from_bits(network << 64 | host)));
        assert_eq!((0..1_000).filter(|host| quota.take(of(0x2001_0db8_0000_0001, *host))).count(), 1);
        assert!(quota.take(of(0x2001_0db8_0000_0002, 1)), "another network");
        let mapped = |v4: u128| Subject::Address(IpAddr::V6(Ipv6Addr::from_bits(0xffff << 32 | v4)));
        assert!(quota.take(mapped(1)) && quota.take(mapped(2)), "addresses of version 4 differ in version 6 too");
        assert!(!quota.take(address(1)), "and are the same ones");
    }

    #[test]
    fn a_crowd_of_strangers_silences_neither_issuers_nor_movements_nor_the_audit() {
        let quota = Quota::new(1);
        let crowd = (0..10_000).filter(|number| quota.take(address(*number))).count();
        assert_eq!(crowd, ADDRESSES_MAX);
        let audited = Subject::Audit(IpAddr::V4(7.into()));
        for subject in
            [Subject::Issuer(IssuerNo(1)), Subject::Movements(IssuerNo(1), "late answer"), Subject::Person("T4"), audited]
        {
            assert!(quota.take(subject), "{subject:?}");
        }
    }
}
