//! What can go wrong, and whose fault it is: the caller's options, the environment, damaged files.

use std::io;

use crate::Lsn;

/// What helps when a journal is refused.
const NEXT: &str = "next: leave the directory as it is; restore it from the standby copy, or ask support";

/// Why a caller does not take a record or a checkpoint that it is given at the start.
pub type Rejected = Box<dyn std::error::Error + Send + Sync>;

/// Why a journal was not opened. Nothing was changed in the directory, unless it is `Io` or `Rejected`.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the journal open (K6).
    #[error("the journal is in use by another process (K6); next: stop that process, or serve another directory")]
    Locked,
    /// The options contradict themselves.
    #[error("journal options: {0}")]
    Options(&'static str),
    /// The environment failed: permission, device, space.
    #[error("cannot {action} {file}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file of the journal's directory.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The files are not what was made durable (K5).
    #[error("{file} at offset {offset}: {damage}; {NEXT}")]
    Damaged {
        /// The file of the journal's directory.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// The caller did not take what it was given.
    #[error("record {lsn} was not accepted: {source}; {NEXT}")]
    Rejected {
        /// The record, or the record of the checkpoint.
        lsn: Lsn,
        /// What the caller said.
        source: Rejected,
    },
}

/// What is wrong at a place of the journal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A file that must exist does not.
    #[error("the file is missing")]
    Missing,
    /// A file is shorter or longer than its header says.
    #[error("the file has {found} bytes instead of {expected}")]
    Length {
        /// As the header or the format says.
        expected: u64,
        /// As found.
        found: u64,
    },
    /// A header or mark fails its check.
    #[error("the header is damaged")]
    Header,
    /// Both slots of the mark fail their check.
    #[error("the high-water mark is damaged")]
    Mark,
    /// Written by a version of the software that this one does not know.
    #[error("format version {0} is not known to this version of the software")]
    Version(u32),
    /// The file belongs to another journal.
    #[error("the file belongs to another journal")]
    Foreign,
    /// A segment does not continue the one before it: the end of that one was lost, or it is another copy's.
    #[error("record {expected} is expected here, but the next segment begins with record {found}")]
    Gap {
        /// The LSN that should follow.
        expected: Lsn,
        /// The LSN that the next segment begins with.
        found: Lsn,
    },
    /// LSNs fit, chain values do not.
    #[error("the chain is broken: the content before this place is not what was written")]
    Chain,
    /// A bad group with a whole one after it.
    #[error("the group of record {first} is damaged, the group of record {later} at offset {later_offset} is whole")]
    BeforeWhole {
        /// First LSN that is expected here.
        first: Lsn,
        /// First LSN of the later group.
        later: Lsn,
        /// Where the later group is.
        later_offset: u64,
    },
    /// The journal ends before what the mark says was durable: damaged end, or an older copy was restored.
    #[error("the journal ends before record {first}, but record {mark} was durable: a damaged end, or an older copy")]
    BelowMark {
        /// First LSN that is missing or damaged.
        first: Lsn,
        /// What the mark says was durable.
        mark: Lsn,
    },
    /// A group is whole, a record in it is not: it was written so.
    #[error("a whole group holds a malformed record {0}")]
    Record(Lsn),
    /// A checkpoint is newer than the journal.
    #[error("the checkpoint is of record {checkpoint}, but the journal ends with record {last}: an older copy")]
    OlderThanCheckpoint {
        /// The checkpoint's LSN.
        checkpoint: Lsn,
        /// The journal's last LSN.
        last: Lsn,
    },
    /// The oldest segment begins later than the records that are needed.
    #[error("no valid checkpoint reaches the oldest record {0}: records before it are needed and gone")]
    NoCheckpoint(Lsn),
}

/// The journal took a failed write or sync and will never commit again (M6). What is at or above `failed` may be on
/// disk or not: nothing that concerns it may be sent; the process ends, and the next start decides.
#[derive(Debug, thiserror::Error)]
#[error("the commit of record {failed} failed, the journal takes no more: cannot {action}: {source}")]
pub struct Poisoned {
    /// First LSN that is not known to be durable.
    pub failed: Lsn,
    /// The step that failed.
    pub action: &'static str,
    /// What the system said.
    pub source: io::Error,
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The records from there on were retired.
    #[error("record {from} is gone, the oldest is {oldest}")]
    Retired {
        /// Asked for.
        from: Lsn,
        /// The oldest that there is.
        oldest: Lsn,
    },
    /// The environment failed.
    #[error("cannot read {file}: {source}")]
    Io {
        /// The file of the journal's directory.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A durable record is not what was written.
    #[error("{file} at offset {offset}: {damage}; {NEXT}")]
    Damaged {
        /// The file of the journal's directory.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
}

impl From<ReadError> for OpenError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io { file, source } => OpenError::Io { action: "read", file, source },
            ReadError::Damaged { file, offset, damage } => OpenError::Damaged { file, offset, damage },
            ReadError::Retired { from, oldest } => OpenError::Damaged {
                file: "checkpoint".into(),
                offset: 0,
                damage: Damage::Gap { expected: from, found: oldest },
            },
        }
    }
}
