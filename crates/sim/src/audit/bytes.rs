//! Reads a journal's bytes, as `docs/ARCHITECTURE.md` and the journal's own page describe them. Shares no code with the
//! journal or the core: what those write wrongly, this does not read rightly by the same mistake.
//!
//! Follows what is durable only. Invariant: a record is given once, in order, and only whole.

use journal::memory::MemStorage;

const SECTOR: usize = 512;
const GROUP_HEADER: usize = 48;
const RECORD_HEADER: usize = 20;

/// Where the reader stands.
#[derive(Default)]
pub(crate) struct Tail {
    segment: u64,
    /// The file's name.
    name: String,
    offset: u64,
    pub(crate) lsn: u64,
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn name(segment: u64) -> String {
    format!("segment-{segment:016}")
}

impl Tail {
    /// Gives every record that became durable since the last time.
    pub(crate) fn advance(&mut self, disk: &MemStorage, mut each: impl FnMut(u64, &[u8])) {
        if self.offset == 0 {
            let Some(first) = first_segment(disk) else { return };
            self.go_to(first);
        }
        loop {
            if let Some(group) = self.group(disk) {
                self.offset += group.len() as u64;
                self.records(&group, &mut each);
                continue;
            }
            // The next segment begins with the group that is due.
            let next = disk.durable_bytes(&name(self.segment + 1), 0, SECTOR + GROUP_HEADER);
            let due = next.and_then(|bytes| u64_at(&bytes, SECTOR + 16)).is_some_and(|lsn| lsn == self.lsn + 1);
            if !due {
                return;
            }
            self.go_to(self.segment + 1);
        }
    }

    fn go_to(&mut self, segment: u64) {
        (self.segment, self.name, self.offset) = (segment, name(segment), SECTOR as u64);
    }

    /// The whole group at this place, if the one that is due is there.
    fn group(&self, disk: &MemStorage) -> Option<Vec<u8>> {
        let head = disk.durable_bytes(&self.name, self.offset, GROUP_HEADER)?;
        let due = head.starts_with(b"SWJGROUP") && u64_at(&head, 8)? == self.segment && u64_at(&head, 16)? == self.lsn + 1;
        if !due {
            return None;
        }
        let length = (GROUP_HEADER + 8 + u32_at(&head, 36)? as usize).next_multiple_of(SECTOR);
        let group = disk.durable_bytes(&self.name, self.offset, length)?;
        // The last eight bytes close the group; without them it is not all there.
        (group.len() == length && u64_at(&group, length - 8)? != 0).then_some(group)
    }

    fn records(&mut self, group: &[u8], each: &mut impl FnMut(u64, &[u8])) {
        let count = u32_at(group, 32).unwrap_or(0);
        let mut rest = &group[GROUP_HEADER..];
        for _ in 0..count {
            let Some(length) = u32_at(rest, 4) else { return };
            let end = RECORD_HEADER + length as usize;
            let Some(record) = rest.get(..end) else { return };
            if u32_at(record, 0) != Some(crc32c::crc32c(&record[4..])) || u64_at(record, 8) != Some(self.lsn + 1) {
                return;
            }
            self.lsn += 1;
            each(self.lsn, &record[RECORD_HEADER..]);
            rest = &rest[end..];
        }
    }
}

fn first_segment(disk: &MemStorage) -> Option<u64> {
    let names = journal::Storage::list(disk).ok()?;
    names.iter().filter_map(|name| name.strip_prefix("segment-")?.parse().ok()).min()
}

/// Takes values off the front of a record.
pub(crate) struct Cursor<'a>(pub(crate) &'a [u8]);

/// A record that does not hold what it should.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

type Read<T> = Result<T, Unreadable>;

impl<'a> Cursor<'a> {
    pub(crate) fn bytes(&mut self, len: usize) -> Read<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(Unreadable)?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Read<u8> {
        Ok(self.bytes(1)?[0])
    }

    pub(crate) fn u16(&mut self) -> Read<u16> {
        Ok(u16::from_le_bytes(self.bytes(2)?.try_into().map_err(|_| Unreadable)?))
    }

    pub(crate) fn u32(&mut self) -> Read<u32> {
        u32_at(self.bytes(4)?, 0).ok_or(Unreadable)
    }

    pub(crate) fn u64(&mut self) -> Read<u64> {
        u64_at(self.bytes(8)?, 0).ok_or(Unreadable)
    }

    pub(crate) fn text(&mut self, len: usize) -> Read<String> {
        Ok(String::from_utf8_lossy(self.bytes(len)?).into_owned())
    }

    /// A string with its length before it.
    pub(crate) fn string(&mut self) -> Read<String> {
        let len = usize::from(self.u8()?);
        self.text(len)
    }

    pub(crate) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(Unreadable),
        }
    }
}
