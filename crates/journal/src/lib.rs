//! Durable records: an append-only journal of commit groups in preallocated, recycled segments.
//!
//! It is the one truth of a partition (ARCHITECTURE "The journal and the index"). It knows no payments: a record is
//! bytes and a sequence number. It starts no thread and reads no clock but to time its own `fdatasync`.
//! It does not encrypt, does not index, and does not detect a restored backup whose mark was restored with it.
//!
//! **Invariant.** What [`Journal::durable`] names is found again by every later [`Journal::open`], in order and
//! unchanged, or the open refuses and names the place (MONEY-RULES K5). Groups are atomic: after a crash the journal
//! ends at a group's end. A failed write or sync poisons the journal for good (M6).
//!
//! # Use
//! [`Journal::append`] copies a record into the open group, in memory. [`Journal::take_commit`] takes the group out as
//! a [`Commit`]; [`Commit::run`] writes and syncs it, on whatever thread; [`Journal::committed`] takes the outcome back
//! and moves the durable LSN. At most one commit is in flight; records appended meanwhile gather in the next group.
//!
//! # Files of the directory
//! | name | what |
//! |---|---|
//! | `lock` | held with `flock` while the journal is open (K6) |
//! | `mark` | high-water mark: what was durable at least, which segments exist, whether the stop was clean |
//! | `segment-<number>` | records; the highest number is the active one, the others are sealed |
//! | `spare-<number>` | preallocated for the next rotation; its content means nothing |
//! | `checkpoint-<LSN>` | the caller's state after the record LSN; the newest two are kept |
//! | `damaged-checkpoint-<LSN>` | one that failed its check at a start; kept as evidence, never read |
//! | `*.tmp` | unfinished, removed at the next start |
//!
//! # Format, version 1
//! Integers are little-endian, offsets and lengths in bytes. Everything starts on a sector of 512 bytes, and no sector
//! holds bytes of two groups, so that writing one group never rewrites a sector of an acknowledged one.
//!
//! A **segment** is its header, groups without a space between them, and a sector of zeros after the last one
//! (written with it, overwritten by the next). What follows is stale.
//! ```text
//! segment header, 512          group, a multiple of 512        record
//!   0  8 "SWJSEGMT"              0  8 "SWJGROUP"                 0  4 CRC32C of 4..end
//!   8  4 format version 1        8  8 number of its segment      4  4 payload length n
//!  12  4 zero                   16  8 first LSN                  8  8 LSN
//!  16 16 journal identity       24  8 chain value before        16  1 record version 1
//!  32  8 segment number         32  4 count of records          17  3 zero
//!  40  8 first LSN              36  4 length of records b       20  n payload
//!  48  8 chain value before     40  4 zero
//!  56  8 length of the file     44  4 CRC32C of identity, 0..44
//!  64    zeros                  48  b records
//! 508  4 CRC32C of 0..508            zeros
//!                              end-8 8 chain value after
//! ```
//! The **chain** is one 64-bit value per group: `after = mix(before ^ (length << 32 | crc))`, where `crc` is the CRC32C
//! of the group without its last 8 bytes, `length` that of the whole group, and `mix` the finalizer of splitmix64, a
//! bijection. The value before the first group is made of the journal's identity. Since a group also holds the value
//! before it, a group out of order, of another journal, of another segment, or cut out of the row does not fit its
//! neighbours. It is a guard against accidents: who can write the files can compute it.
//!
//! ```text
//! mark, 8192: slots at 0, 4096  checkpoint, 64 + n
//!   0  8 "SWJ MARK"               0  8 "SWJCHECK"
//!   8  4 format version 1         8  4 format version 1
//!  12  4 1 after a clean stop    12  4 CRC32C of the state
//!  16 16 journal identity        16 16 journal identity
//!  32  8 sequence of the mark    32  8 LSN
//!  40  8 durable LSN             40  8 length n
//!  48  8 oldest segment          48 12 zeros
//!  56  8 newest segment          60  4 CRC32C of 0..60
//!  64    zeros                   64  n state
//! 508  4 CRC32C of 0..508
//! ```
//! Marks go to the slots in turn, so that a torn one leaves the one before it. A mark is never ahead of what is durable.
//!
//! # Rotation
//! A group that does not fit the rest of its segment goes to the next: the segment's header and the group are written
//! to a spare in one write and synced, *then* the spare is renamed and the directory synced. A file named `segment-…`
//! therefore always has a whole header and a whole first group; a bad header is damage, never a torn write.
//!
//! # Recovery (K5)
//! Every group of every segment is checked. A bad group is **damage**, and the open is refused, when a later segment or
//! a whole later group exists, or when it lies at or below the mark. Otherwise it is **torn**: nothing in it was
//! acknowledged. Then the rest of the segment is overwritten with zeros and synced, and it is counted. A missing
//! segment, a gap, a broken chain, a foreign file, a journal or a checkpoint older than the other: refused.
//! After a clean stop the mark covers everything, so every flipped bit is refused or harmless; after a crash the last
//! group alone is outside that promise. Assumed of the device: a sector of 512 bytes that is not being written keeps
//! its content, and `fdatasync` does what it says.
//!
//! # When the disk is full (M6)
//! A commit inside a segment needs no new blocks. The next segment is preallocated when the active one is half full
//! (and written with zeros, a slice with each commit), or recycled from retired ones; when neither can be had, [`Journal::has_reserve`] is false and half a segment is left
//! for outcomes. Only a rotation without a spare on a full disk fails, and poisons.

mod checkpoint;
mod error;
mod format;
mod journal;
mod mark;
pub mod memory;
#[doc(hidden)]
pub mod mutant;
mod reader;
mod recover;
mod scan;
mod storage;
mod tail;
mod writer;

use std::fmt;

pub use checkpoint::{Checkpoint, write_checkpoint};
pub use error::{Damage, OpenError, Poisoned, ReadError, Rejected};
pub use journal::{Commit, Committed, Journal, Recovered, Replay, Stats};
pub use reader::{Reader, SealedSegment};
pub use storage::{FsStorage, Storage, StorageFile};
pub use tail::{Position, Tail};

/// Sequence number of a record. The first is 1, there are no gaps; 0 means "before the first".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Lsn {
        Lsn(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Sizes and limits of a journal. A change applies to segments made from then on.
#[derive(Clone, Debug)]
pub struct Options {
    /// Length of a segment file in bytes, a multiple of 512. Default 64 MiB.
    pub segment_bytes: u64,
    /// Length of the largest group on disk in bytes, a multiple of 512; at most `segment_bytes` − 512. Records that do
    /// not fit the open group start another. Default 1 MiB.
    pub group_bytes_max: usize,
    /// Spare segments to keep, at least 1. Default 1.
    pub reserve_segments: u32,
    /// The mark is written after so many commits (and at every rotation and clean stop), at least 1. Default 256.
    pub mark_commits: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: 64 << 20, group_bytes_max: 1 << 20, reserve_segments: 1, mark_commits: 256 }
    }
}

impl Options {
    /// The largest payload of one record in bytes; [`Journal::append`] asserts it.
    #[must_use]
    pub fn record_bytes_max(&self) -> usize {
        self.group_bytes_max - format::GROUP_OVERHEAD - format::RECORD_HEADER_BYTES
    }

    /// What is wrong with the options, if anything.
    fn check(&self) -> Result<(), OpenError> {
        let sector = format::SECTOR;
        let fault = if !self.segment_bytes.is_multiple_of(sector as u64) || !self.group_bytes_max.is_multiple_of(sector) {
            "segment_bytes and group_bytes_max must be multiples of 512"
        } else if self.group_bytes_max < sector {
            "group_bytes_max must be at least 512"
        } else if self.segment_bytes < (self.group_bytes_max + sector) as u64 {
            "segment_bytes must exceed group_bytes_max by 512 at least: a group must fit a segment"
        } else if self.segment_bytes > u64::from(u32::MAX) {
            "segment_bytes must be below 4 GiB"
        } else if self.reserve_segments == 0 || self.mark_commits == 0 {
            "reserve_segments and mark_commits must be at least 1"
        } else {
            return Ok(());
        };
        Err(OpenError::Options(fault))
    }
}
