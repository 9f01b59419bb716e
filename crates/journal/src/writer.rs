//! What a commit does to the disk: one write and one sync, rotation, the mark, retirement, the spare segments.
//!
//! The writer is a value that travels: it lies in the journal, goes out with the one commit in flight, and comes back
//! with its outcome. So no lock is needed, and two writes at once are impossible.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::format::{GroupBuffer, SECTOR, SegmentHeader};
use crate::mark::{Mark, MarkFile};
use crate::mutant::{Mutant, on};
use crate::reader::{Segment, Shared};
use crate::scan::segment_name;
use crate::storage::{Storage, StorageFile};
use crate::{Options, checkpoint};

const SPARE_PREFIX: &str = "spare-";
/// After a spare could not be had it is tried again with every so manieth commit, and with every upkeep.
const SPARE_RETRY_COMMITS: u32 = 64;
/// A new spare is written with zeros in slices: so many bytes, and so many times the group, with each commit.
const SLICE_BYTES: usize = 256 << 10;
const SLICE_GROUPS: usize = 4;

pub(crate) fn spare_name(number: u64) -> String {
    format!("{SPARE_PREFIX}{number:016}")
}

/// The number in a spare's name.
pub(crate) fn spare_number(name: &str) -> Option<u64> {
    let number = name.strip_prefix(SPARE_PREFIX)?.parse().ok()?;
    (spare_name(number) == name).then_some(number)
}

/// A step that failed, and with what.
pub(crate) type StepError = (&'static str, io::Error);

/// Names the step of an error.
pub(crate) fn step<T>(action: &'static str, result: io::Result<T>) -> Result<T, StepError> {
    result.map_err(|error| (action, error))
}

/// A new spare on its way from allocated to written: `fdatasync` of blocks that were never written must also record
/// that they now are, which takes half as long again. It may serve as it is.
pub(crate) struct Filling<F> {
    spare: u64,
    file: F,
    filled: u64,
}

/// Writes zeros from `offset` on.
pub(crate) fn write_zeros<F: StorageFile>(file: &F, mut offset: u64, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; SLICE_BYTES.min(usize::try_from(bytes).unwrap_or(SLICE_BYTES))];
    let end = offset + bytes;
    while offset < end {
        let part = zeros.len().min(usize::try_from(end - offset).unwrap_or(zeros.len()));
        file.write_at(&zeros[..part], offset)?;
        offset += part as u64;
    }
    Ok(())
}

/// The disk side of a journal.
pub(crate) struct Writer<S: Storage> {
    pub storage: Arc<S>,
    pub shared: Arc<Shared>,
    pub options: Options,
    pub mark: MarkFile<S::File>,
    /// The active segment.
    pub file: S::File,
    pub number: u64,
    pub capacity: u64,
    /// Where its next group goes.
    pub end: u64,
    /// The last LSN that was synced.
    pub durable: u64,
    pub spares: Vec<u64>,
    pub next_spare: u64,
    /// Retired segments that still lie under their own name.
    pub retired: Vec<u64>,
    pub spare_failed: bool,
    pub spare_retry: u32,
    pub filling: Option<Filling<S::File>>,
    pub commits_since_mark: u32,
    /// Held as long as somebody could write.
    pub _lock: S::Lock,
}

impl<S: Storage> Writer<S> {
    /// Whether a group of this length goes to the next segment.
    pub(crate) fn must_rotate(&self, group_bytes: u64) -> bool {
        self.end + group_bytes > self.capacity
    }

    pub(crate) fn has_reserve(&self) -> bool {
        !self.spare_failed || !self.spares.is_empty()
    }

    /// Makes a sealed group durable; with `rotation`, as the first of that segment. Gives the time of the sync.
    pub(crate) fn commit(
        &mut self,
        group: &mut GroupBuffer,
        rotation: Option<SegmentHeader>,
    ) -> Result<Duration, StepError> {
        assert_eq!(group.first_lsn(), self.durable + 1, "groups are written in order, without a gap");
        let sync = match &rotation {
            None => {
                step("write a group", self.file.write_at(group.group(self.capacity - self.end), self.end))?;
                let started = Instant::now();
                if !on(Mutant::NoSync) {
                    let synced = self.file.sync_data();
                    step("sync a group", if on(Mutant::IgnoreFailedSync) { Ok(()) } else { synced })?;
                }
                started.elapsed()
            }
            Some(header) => self.rotate(group, header)?,
        };
        self.end += group.sealed_bytes();
        self.durable = group.last_lsn();
        self.commits_since_mark += 1;
        if rotation.is_some() || self.commits_since_mark >= self.options.mark_commits {
            self.write_mark(false)?;
        }
        Ok(sync)
    }

    /// The segment gets its name only after its content is durable: one that has the name is whole.
    fn rotate(&mut self, group: &mut GroupBuffer, header: &SegmentHeader) -> Result<Duration, StepError> {
        assert_eq!(header.number, self.number + 1, "segments are numbered without a gap");
        let (spare, file) = match self.spares.pop() {
            Some(spare) => (spare, step("open a spare segment", self.storage.open(&spare_name(spare)))?),
            None => step("make a segment without a spare", self.create_spare())?,
        };
        step("write a segment", file.write_at(group.segment_start(header), 0))?;
        let started = Instant::now();
        if !on(Mutant::NoSegmentSync) {
            step("sync a segment", file.sync_data())?;
        }
        let sync = started.elapsed();
        step("rename a segment", self.storage.rename(&spare_name(spare), &segment_name(header.number)))?;
        if !on(Mutant::NoDirectorySync) {
            step("sync the directory", self.storage.sync_dir())?;
        }
        self.file = file;
        self.number = header.number;
        self.capacity = header.segment_bytes;
        self.end = SECTOR as u64;
        self.shared.add(Segment { number: header.number, first_lsn: header.first_lsn });
        Ok(sync)
    }

    /// Writes the mark of what is durable now.
    fn write_mark(&mut self, clean: bool) -> Result<(), StepError> {
        self.mark.mark = Mark {
            durable: self.durable,
            oldest: self.shared.oldest().number,
            newest: self.number,
            clean,
            ..self.mark.mark.clone()
        };
        self.commits_since_mark = 0;
        step("write the high-water mark", self.mark.write())
    }

    /// The mark of a start, before anything is written.
    pub(crate) fn mark_start(&mut self) -> Result<(), StepError> {
        self.write_mark(false)
    }

    /// The mark of a clean stop, in both slots, so that one flipped bit does not take it back.
    pub(crate) fn mark_clean(&mut self) -> Result<(), StepError> {
        self.write_mark(true)?;
        self.write_mark(true)
    }

    /// Work that nobody waits for: retires what is below `below`, keeps the spares; in proportion to a group of
    /// `group_bytes`. Only a failed mark is an error.
    pub(crate) fn upkeep(&mut self, below: Option<u64>, group_bytes: usize) -> Result<(), StepError> {
        if let Some(below) = below {
            self.retire(below)?;
        }
        self.recycle();
        self.prepare_spare();
        self.fill_spare(SLICE_BYTES.max(SLICE_GROUPS * group_bytes) as u64);
        Ok(())
    }

    /// Retires segments below `below`, but none that the older of the kept checkpoints needs: if the newer one turns
    /// out to be damaged, the older must do. The mark names the new oldest segment before any file goes.
    fn retire(&mut self, below: u64) -> Result<(), StepError> {
        let Ok(names) = self.storage.list() else {
            return Ok(());
        };
        let Some(kept) = checkpoint::listed(&names).first().copied() else {
            return Ok(());
        };
        let gone = self.shared.retire(below.min(kept.0 + 1));
        if !gone.is_empty() {
            self.write_mark(false)?;
            self.retired.extend(gone);
        }
        Ok(())
    }

    /// Makes spares of retired segments, or removes them. What fails is tried again; until then it takes space.
    fn recycle(&mut self) {
        while let Some(number) = self.retired.pop() {
            let name = segment_name(number);
            let wanted = self.spares.len() < self.options.reserve_segments as usize;
            let fits =
                wanted && self.storage.open(&name).and_then(|f| f.bytes()).is_ok_and(|b| b == self.options.segment_bytes);
            let done =
                if fits { self.storage.rename(&name, &spare_name(self.next_spare)) } else { self.storage.remove(&name) };
            if done.is_err() {
                self.retired.push(number);
                return;
            }
            if fits {
                self.spares.push(self.next_spare);
                self.next_spare += 1;
                self.spare_failed = false;
            }
        }
    }

    /// Preallocates a spare when the active segment is half full: late enough for a retired one to serve instead,
    /// early enough for half a segment of outcomes when the disk is full (M6).
    fn prepare_spare(&mut self) {
        if self.spares.len() >= self.options.reserve_segments as usize || self.end * 2 < self.capacity {
            return;
        }
        if self.spare_retry > 0 {
            self.spare_retry -= 1;
            return;
        }
        match self.create_spare() {
            Ok((spare, file)) => {
                self.spares.push(spare);
                self.spare_failed = false;
                self.filling = Some(Filling { spare, file, filled: 0 });
            }
            Err(_) => {
                self.spare_failed = true;
                self.spare_retry = SPARE_RETRY_COMMITS;
            }
        }
    }

    /// Writes the next slice of a new spare, as long as it is one.
    fn fill_spare(&mut self, slice: u64) {
        let spares = &self.spares;
        let Some(mut filling) = self.filling.take_if(|filling| spares.contains(&filling.spare)) else {
            self.filling = None;
            return;
        };
        let slice = slice.min(self.options.segment_bytes - filling.filled);
        let written = write_zeros(&filling.file, filling.filled, slice).and_then(|()| filling.file.sync_data());
        filling.filled += slice;
        // One that fails stays as it is: what is wrong with it a rotation finds out, if anything.
        if written.is_ok() && filling.filled < self.options.segment_bytes {
            self.filling = Some(filling);
        }
    }

    fn create_spare(&mut self) -> io::Result<(u64, S::File)> {
        let number = self.next_spare;
        let name = spare_name(number);
        let file = self.storage.create(&name, self.options.segment_bytes)?;
        if let Err(error) = file.sync_data() {
            // It takes space and is of no use; a start removes it if this does not.
            let _ = self.storage.remove(&name);
            return Err(error);
        }
        self.next_spare += 1;
        Ok((number, file))
    }
}
