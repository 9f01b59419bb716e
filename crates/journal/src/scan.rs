//! Reading a segment group by group, each checked against the chain.
//!
//! Invariant: a group that a scan gives is whole, has the LSN and the chain value that are due, and is of this segment.

use std::io;
use std::ops::ControlFlow;

use crate::Lsn;
use crate::error::{Damage, ReadError};
use crate::format::{
    GROUP_HEADER_BYTES, GroupHeader, HeaderFault, Identity, Records, SECTOR, SegmentHeader, check_chain, stored_chain,
};
use crate::storage::{Storage, StorageFile};

/// Bytes read at once.
const WINDOW_BYTES: usize = 256 << 10;
const PREFIX: &str = "segment-";

pub(crate) fn segment_name(number: u64) -> String {
    format!("{PREFIX}{number:016}")
}

/// The number in a segment's name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix(PREFIX)?.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// A part of a file in memory, moved forward as it is read.
struct Window<F> {
    file: F,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<F: StorageFile> Window<F> {
    fn get(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let held = self.start..self.start + self.bytes.len() as u64;
        if !(held.contains(&offset) && offset + length as u64 <= held.end) {
            let rest = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.bytes.resize(length.max(WINDOW_BYTES).min(rest.max(length)), 0);
            self.start = offset;
            self.file.read_at(&mut self.bytes, offset)?;
        }
        let at = (offset - self.start) as usize;
        Ok(&self.bytes[at..at + length])
    }
}

/// Why a scan stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// No room for another group.
    Full,
    /// A sector of zeros where a group would begin.
    Zeros,
    /// Something, but not the group that is due.
    Bad,
}

/// One step of a scan.
#[derive(Debug)]
pub(crate) enum Step {
    /// The group that was due; its records are at hand until the next step.
    Group(GroupHeader),
    Stop(Stop),
}

/// A segment being read.
pub(crate) struct SegmentScan<F> {
    window: Window<F>,
    name: String,
    pub header: SegmentHeader,
    /// Where the next group begins.
    pub offset: u64,
    /// Where the group of the last step began.
    pub group_offset: u64,
    /// The LSN that is due.
    pub next_lsn: u64,
    /// The chain value that is due.
    pub chain: u64,
}

impl<F: StorageFile> SegmentScan<F> {
    /// Opens a segment and checks its header against its name and the journal.
    pub(crate) fn open<S: Storage<File = F>>(storage: &S, number: u64, identity: &Identity) -> Result<Self, ReadError> {
        let name = segment_name(number);
        let io = |source| ReadError::Io { file: name.clone(), source };
        let damaged = |damage| ReadError::Damaged { file: name.clone(), offset: 0, damage };
        let file = match storage.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(Damage::Missing));
            }
            other => other.map_err(io)?,
        };
        let length = file.bytes().map_err(io)?;
        if length < SECTOR as u64 {
            return Err(damaged(Damage::Length { expected: SECTOR as u64, found: length }));
        }
        let mut sector = [0; SECTOR];
        file.read_at(&mut sector, 0).map_err(io)?;
        let header = SegmentHeader::decode(&sector).map_err(|fault| {
            damaged(match fault {
                HeaderFault::Damaged => Damage::Header,
                HeaderFault::Version(version) => Damage::Version(version),
            })
        })?;
        if header.identity != *identity {
            return Err(damaged(Damage::Foreign));
        }
        if header.number != number {
            return Err(damaged(Damage::Header));
        }
        if header.segment_bytes != length {
            return Err(damaged(Damage::Length { expected: header.segment_bytes, found: length }));
        }
        let (next_lsn, chain) = (header.first_lsn, header.chain);
        let window = Window { file, length, start: 0, bytes: Vec::new() };
        let first = SECTOR as u64;
        Ok(SegmentScan { window, name, header, offset: first, group_offset: first, next_lsn, chain })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn into_file(self) -> F {
        self.window.file
    }

    pub(crate) fn damaged(&self, offset: u64, damage: Damage) -> ReadError {
        ReadError::Damaged { file: self.name.clone(), offset, damage }
    }

    /// What was read ahead may have changed since.
    pub(crate) fn forget_read(&mut self) {
        self.window.bytes.clear();
    }

    fn get(&mut self, offset: u64, length: usize) -> Result<&[u8], ReadError> {
        let name = &self.name;
        self.window.get(offset, length).map_err(|source| ReadError::Io { file: name.clone(), source })
    }

    /// The header at `offset` when it is whole, of this segment, and its group fits.
    pub(crate) fn header_at(&mut self, offset: u64) -> Result<Option<GroupHeader>, ReadError> {
        let (identity, number, room) = (self.header.identity, self.header.number, self.header.segment_bytes - offset);
        let header = GroupHeader::decode(self.get(offset, GROUP_HEADER_BYTES)?, &identity);
        Ok(header.filter(|h| h.segment == number && h.count > 0 && h.bytes() as u64 <= room))
    }

    pub(crate) fn has_room(&self, offset: u64) -> bool {
        offset.checked_add(SECTOR as u64).is_some_and(|end| end <= self.header.segment_bytes)
    }

    /// Reads the next group and checks it wholly. Groups that end before `from` are passed by with their header and
    /// stored chain value checked alone: `from` is 0 where everything must be verified.
    pub(crate) fn step(&mut self, from: u64) -> Result<Step, ReadError> {
        loop {
            let offset = self.offset;
            if !self.has_room(offset) {
                return Ok(Step::Stop(Stop::Full));
            }
            let header = self.header_at(offset)?;
            let Some(header) = header.filter(|h| h.first_lsn == self.next_lsn && h.chain_before == self.chain) else {
                let zeros = self.get(offset, SECTOR)?.iter().all(|byte| *byte == 0);
                return Ok(Step::Stop(if zeros { Stop::Zeros } else { Stop::Bad }));
            };
            let passed = header.next_lsn() <= from;
            let chain = if passed {
                let mut trailer = [0; 8];
                trailer.copy_from_slice(self.get(offset + header.bytes() as u64 - 8, 8)?);
                stored_chain(&trailer)
            } else {
                match check_chain(self.get(offset, header.bytes())?, &header) {
                    Some(chain) => chain,
                    None => return Ok(Step::Stop(Stop::Bad)),
                }
            };
            self.group_offset = offset;
            self.offset += header.bytes() as u64;
            self.next_lsn = header.next_lsn();
            self.chain = chain;
            if !passed {
                return Ok(Step::Group(header));
            }
        }
    }

    /// Gives the records of the group of the last step, which was `header`, until `each` breaks.
    ///
    /// The group is whole, so a malformed record was written so: damage, wherever it is.
    pub(crate) fn records(
        &mut self,
        header: &GroupHeader,
        mut each: impl FnMut(Lsn, &[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ReadError> {
        let mut malformed = None;
        for record in Records::new(self.group(header)?, header) {
            match record {
                Ok((lsn, payload)) => {
                    if each(Lsn(lsn), payload).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
                Err(lsn) => malformed = Some(Lsn(lsn)),
            }
        }
        match malformed {
            None => Ok(ControlFlow::Continue(())),
            Some(lsn) => Err(self.damaged(self.group_offset, Damage::Record(lsn))),
        }
    }

    /// Writes the last group, which was `header`, again as it is.
    pub(crate) fn rewrite(&mut self, header: &GroupHeader) -> io::Result<()> {
        let mut group = vec![0; header.bytes()];
        let offset = self.offset - group.len() as u64;
        self.window.file.read_at(&mut group, offset)?;
        self.window.file.write_at(&group, offset)
    }

    /// The bytes of the group of the last step.
    pub(crate) fn group(&mut self, header: &GroupHeader) -> Result<&[u8], ReadError> {
        self.get(self.group_offset, header.bytes())
    }

    /// The first whole group of this segment after the place where the scan stopped.
    pub(crate) fn later_group(&mut self) -> Result<Option<(u64, GroupHeader)>, ReadError> {
        let mut offset = self.offset + SECTOR as u64;
        while self.has_room(offset) {
            if let Some(header) = self.header_at(offset)?
                && check_chain(self.get(offset, header.bytes())?, &header).is_some()
            {
                return Ok(Some((offset, header)));
            }
            offset += SECTOR as u64;
        }
        Ok(None)
    }

    /// Overwrites with zeros whatever is not zero from the place where the scan stopped to the end, durably.
    pub(crate) fn cut(&mut self) -> io::Result<()> {
        const PART: usize = 64 << 10;
        let zeros = vec![0; PART];
        let mut part = vec![0; PART];
        let mut offset = self.offset;
        while offset < self.header.segment_bytes {
            let length = PART.min(usize::try_from(self.header.segment_bytes - offset).unwrap_or(PART));
            self.window.file.read_at(&mut part[..length], offset)?;
            if part[..length] != zeros[..length] {
                self.window.file.write_at(&zeros[..length], offset)?;
            }
            offset += length as u64;
        }
        self.window.bytes.clear();
        self.window.file.sync_data()
    }
}
