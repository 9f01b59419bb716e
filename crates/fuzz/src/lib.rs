//! Fuzz targets: what every parser of the project promises of any bytes, as plain functions that panic where it does not hold.
//!
//! A target is a property and needs no engine: the tests of this crate replay the corpora (`fuzz/corpus`) through them and
//! change them a little each time, and the programs in `fuzz/` give them to libFuzzer, a line each. docs/TESTING.md has the
//! commands and what was found. Invariant: a target opens no file and no socket, and judges the same bytes the same each time.

mod bound;
mod differential;
mod files;
mod frame;
mod message;
mod records;
mod recovery;
mod scenario;
mod traffic;

pub use differential::codec_differential;
pub use files::{certificate, configuration, keys, order};
pub use frame::frame;
pub use message::{message_ascii, message_bcd};
pub use records::{records, snapshot_bytes as snapshot};
pub use recovery::journal_recovery;
pub use scenario::scenario;
pub use traffic::traffic;

/// A property of any bytes.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus and its program.
pub const TARGETS: [(&str, Target); 13] = [
    ("frame", frame),
    ("message_ascii", message_ascii),
    ("message_bcd", message_bcd),
    ("codec_differential", codec_differential),
    ("traffic", traffic),
    ("configuration", configuration),
    ("keys", keys),
    ("certificate", certificate),
    ("order", order),
    ("scenario", scenario),
    ("records", records),
    ("snapshot", snapshot),
    ("journal_recovery", journal_recovery),
];
