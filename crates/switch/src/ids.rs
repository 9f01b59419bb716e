//! Names of the things that the core keeps apart: peers, links, issuers, groups, movements, actions.
//!
//! Peers are opaque to the core: an index and a generation that the shell chose. Configured things carry the number that
//! the configuration gives them, so that a record still names the same link after the file was reordered.

use core::fmt;

/// One connection of a terminal, chosen by the shell; never used again for another connection in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Place in the shell's table of connections.
    pub index: u32,
    /// How often that place was used before.
    pub generation: u32,
}

/// One open connection of an issuer link, chosen by the shell like [`ConnId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId {
    /// Place in the shell's table of link connections.
    pub index: u32,
    /// How often that place was used before.
    pub generation: u32,
}

/// The number of an issuer in the configuration (`[[issuer]] number`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerNo(pub u16);

/// A configured link: one STAN space of one issuer, with one or more connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkNo {
    /// Whose link it is.
    pub issuer: IssuerNo,
    /// Its number among the issuer's links.
    pub number: u16,
}

impl fmt::Display for LinkNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.issuer.0, self.number)
    }
}

/// The number of a terminal group in the configuration (`[[group]] number`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupNo(pub u16);

/// A movement's serial number within its partition, in the order in which movements began. Its RRN is made from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MovementId(pub u64);

/// One message that the shell was asked to write; its fate comes back as [`crate::Input::Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ActionId(pub u64);

/// One question of an operator; its answer comes back as [`crate::Action::Resolved`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// One look-up beyond memory; its result comes back as [`crate::Input::Found`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

/// The sequence number of a record in the partition's journal; 0 is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// What the clocks say at one moment. The core never reads a clock: the shell passes this in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that only goes forward and counts suspended time (K7). Deadlines run on it.
    pub uptime_ms: u64,
    /// Milliseconds since 1970 UTC by the wall clock. Goes into DE7 and RRNs; records and ages take it from the start of the
    /// process and go on with the uptime, so that a jump decides nothing (K7).
    pub wall_ms: u64,
}
