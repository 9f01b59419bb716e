//! The high-water mark: what was durable at least, kept apart from the segments.
//!
//! Invariant: a mark is written only after what it names is durable, and a torn write of it leaves the one before.

use crate::error::{Damage, OpenError};
use crate::format::{FORMAT_VERSION, Identity, SECTOR, identity_at, put, u32_at, u64_at};
use crate::storage::{Storage, StorageFile};
use std::io;

pub(crate) const MARK_FILE: &str = "mark";
const MARK_TEMPORARY: &str = "mark.tmp";
const MAGIC: &[u8; 8] = b"SWJ MARK";
/// The two slots lie in different pages.
const SLOTS: [u64; 2] = [0, 4096];
const FILE_BYTES: u64 = 8192;
/// No journal lives for so many marks.
const SEQUENCE_MAX: u64 = u64::MAX >> 1;

/// One mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub identity: Identity,
    /// Grows with every mark written; its parity chooses the slot.
    pub sequence: u64,
    /// The last LSN known to be durable.
    pub durable: u64,
    /// The oldest segment that is needed; those below it are retired.
    pub oldest: u64,
    /// The newest segment that exists; 0 before the first was made.
    pub newest: u64,
    /// Written by a clean stop, and nothing since.
    pub clean: bool,
}

impl Mark {
    fn encode(&self) -> [u8; SECTOR] {
        let mut out = [0; SECTOR];
        put(&mut out, 0, MAGIC);
        put(&mut out, 8, &FORMAT_VERSION.to_le_bytes());
        put(&mut out, 12, &u32::from(self.clean).to_le_bytes());
        put(&mut out, 16, &self.identity);
        put(&mut out, 32, &self.sequence.to_le_bytes());
        put(&mut out, 40, &self.durable.to_le_bytes());
        put(&mut out, 48, &self.oldest.to_le_bytes());
        put(&mut out, 56, &self.newest.to_le_bytes());
        let crc = crc32c::crc32c(&out[..508]);
        put(&mut out, 508, &crc.to_le_bytes());
        out
    }

    /// The mark of a whole slot; `Err` of a version that is not known.
    fn decode(slot: &[u8; SECTOR]) -> Result<Option<Mark>, Damage> {
        if &slot[..8] != MAGIC || u32_at(slot, 508) != crc32c::crc32c(&slot[..508]) {
            return Ok(None);
        }
        match u32_at(slot, 8) {
            // So many marks nobody wrote, and the next one could not be counted.
            FORMAT_VERSION if u64_at(slot, 32) > SEQUENCE_MAX => Ok(None),
            FORMAT_VERSION => Ok(Some(Mark {
                identity: identity_at(slot, 16),
                sequence: u64_at(slot, 32),
                durable: u64_at(slot, 40),
                oldest: u64_at(slot, 48),
                newest: u64_at(slot, 56),
                clean: u32_at(slot, 12) == 1,
            })),
            other => Err(Damage::Version(other)),
        }
    }
}

/// The open mark file and what it says.
pub(crate) struct MarkFile<F> {
    file: F,
    pub mark: Mark,
}

impl<F: StorageFile> MarkFile<F> {
    /// Makes the mark of a new journal, durably.
    pub(crate) fn create<S: Storage<File = F>>(storage: &S, identity: Identity) -> io::Result<Self> {
        let file = storage.create(MARK_TEMPORARY, FILE_BYTES)?;
        let mark = Mark { identity, sequence: 0, durable: 0, oldest: 1, newest: 0, clean: false };
        let mut this = MarkFile { file, mark };
        this.write()?;
        this.write()?;
        storage.rename(MARK_TEMPORARY, MARK_FILE)?;
        storage.sync_dir()?;
        Ok(this)
    }

    /// Reads the newer whole slot. `None` when there is no file.
    pub(crate) fn open<S: Storage<File = F>>(storage: &S) -> Result<Option<Self>, OpenError> {
        let io = |source| OpenError::Io { action: "read", file: MARK_FILE.into(), source };
        let damaged = |damage| OpenError::Damaged { file: MARK_FILE.into(), offset: 0, damage };
        let file = match storage.open(MARK_FILE) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        let found = file.bytes().map_err(io)?;
        if found != FILE_BYTES {
            return Err(damaged(Damage::Length { expected: FILE_BYTES, found }));
        }
        let mut newest: Option<Mark> = None;
        for offset in SLOTS {
            let mut slot = [0; SECTOR];
            file.read_at(&mut slot, offset).map_err(io)?;
            if let Some(mark) = Mark::decode(&slot).map_err(damaged)?
                && newest.as_ref().is_none_or(|n| n.sequence < mark.sequence)
            {
                newest = Some(mark);
            }
        }
        let mark = newest.ok_or_else(|| damaged(Damage::Mark))?;
        Ok(Some(MarkFile { file, mark }))
    }

    /// Makes the mark that was read durable, and its name: a process that was killed may have left it in the system's memory
    /// alone, and the next mark overwrites the one before it. Written again, as a sync after a failed one finds nothing to do.
    pub(crate) fn settle<S: Storage<File = F>>(&self, storage: &S) -> io::Result<()> {
        self.put()?;
        storage.sync_dir()
    }

    /// Writes `mark` as the next one, into the other slot, durably.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        self.mark.sequence += 1;
        self.put()
    }

    fn put(&self) -> io::Result<()> {
        let slot = SLOTS[(self.mark.sequence % 2) as usize];
        self.file.write_at(&self.mark.encode(), slot)?;
        self.file.sync_data()
    }
}
