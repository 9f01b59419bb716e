//! The journal as its owner sees it: append, commit, and what became of it.
//!
//! Invariant: LSNs are given without a gap; `durable` moves only by a commit that was synced; after a failed one no
//! commit is ever given again (M6).

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use crate::checkpoint::{self, Checkpoint};
use crate::error::{OpenError, Poisoned, Rejected};
use crate::format::{GroupBuffer, SECTOR, SegmentHeader, chain_start};
use crate::mark::MarkFile;
use crate::mutant::{Mutant, on};
use crate::reader::{Reader, SealedSegment, Shared};
use crate::recover::{self, Survey};
use crate::scan::segment_name;
use crate::storage::{Storage, StorageFile};
use crate::writer::{StepError, Writer, spare_name, spare_number, step, write_zeros};
use crate::{Lsn, Options};

/// Buffers kept for the next groups: one open, one in flight.
const IDLE_BUFFERS_MAX: usize = 2;

/// What [`Journal::open`] gives its caller, in this order.
#[derive(Debug)]
pub enum Replay<'a> {
    /// The newest valid checkpoint, once, if there is one.
    Checkpoint(&'a Checkpoint),
    /// Every record after it.
    Record(Lsn, &'a [u8]),
}

/// What [`Journal::open`] found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The last durable record.
    pub last: Lsn,
    /// The checkpoint that was used.
    pub checkpoint: Option<Lsn>,
    /// Records given after it.
    pub records: u64,
    /// The last stop was clean.
    pub clean: bool,
    /// Torn last groups that were cut: 0 or 1.
    pub torn_groups_cut: u64,
    /// Where: file and offset in bytes.
    pub torn_at: Option<(String, u64)>,
    /// Checkpoints that failed their check and were put aside.
    pub checkpoints_damaged: Vec<Lsn>,
    /// There was no journal, one was made.
    pub created: bool,
}

/// Counters since the open, and the last commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Groups made durable.
    pub commits: u64,
    /// Records in them.
    pub records: u64,
    /// Their length on disk in bytes.
    pub bytes: u64,
    /// Segments begun.
    pub rotations: u64,
    /// Torn groups cut by the open.
    pub torn_groups_cut: u64,
    /// Records of the last group.
    pub last_group_records: u32,
    /// Time of the last `fdatasync`.
    pub last_sync: Duration,
}

/// The journal, owned by one thread. See the crate's head for its use.
pub struct Journal<S: Storage> {
    options: Options,
    storage: Arc<S>,
    shared: Arc<Shared>,
    next: u64,
    /// The chain value after the last group that was taken.
    chain: u64,
    /// Groups not taken yet; records go to the last. More than one only when a group was full before it was taken.
    open: VecDeque<GroupBuffer>,
    idle: Vec<GroupBuffer>,
    /// Away while a commit is in flight.
    writer: Option<Box<Writer<S>>>,
    poisoned: Option<(Lsn, StepError)>,
    retire_below: Option<u64>,
    has_reserve: bool,
    stats: Stats,
}

/// A group on its way to the disk; or upkeep without a group. Dropping one that was not run ends the journal's
/// commits, as its writer is gone with it.
#[must_use = "a commit does nothing until it is run"]
pub struct Commit<S: Storage> {
    writer: Box<Writer<S>>,
    group: Option<GroupBuffer>,
    rotation: Option<SegmentHeader>,
    retire_below: Option<u64>,
}

/// The outcome of a [`Commit`], for [`Journal::committed`].
#[must_use = "the journal waits for its outcome"]
pub struct Committed<S: Storage> {
    writer: Box<Writer<S>>,
    group: Option<GroupBuffer>,
    rotated: bool,
    outcome: Result<Duration, StepError>,
}

impl<S: Storage> Commit<S> {
    /// The records in it; `None` for upkeep.
    #[must_use]
    pub fn records(&self) -> Option<(Lsn, Lsn)> {
        self.group.as_ref().map(|group| (Lsn(group.first_lsn()), Lsn(group.last_lsn())))
    }

    /// Writes and syncs. Blocks; may run on any thread.
    pub fn run(mut self) -> Committed<S> {
        let rotated = self.rotation.is_some();
        let (written, bytes) = match &mut self.group {
            Some(group) => (self.writer.commit(group, self.rotation), group.sealed_bytes() as usize),
            None => (Ok(Duration::ZERO), 0),
        };
        let outcome = written.and_then(|sync| self.writer.upkeep(self.retire_below, bytes).map(|()| sync));
        Committed { writer: self.writer, group: self.group, rotated, outcome }
    }
}

impl<S: Storage> Committed<S> {
    /// How long the `fdatasync` took; zero for upkeep and after an error.
    #[must_use]
    pub fn sync_time(&self) -> Duration {
        self.outcome.as_ref().map_or(Duration::ZERO, |sync| *sync)
    }
}

impl<S: Storage> Journal<S> {
    /// Locks and verifies the journal (making one in an empty directory), gives `each` the newest valid checkpoint and
    /// the records after it, cuts a torn last group, and makes all that was given durable.
    ///
    /// # Errors
    /// [`OpenError`], after which the lock is given back; see there and the crate's head for what is refused.
    pub fn open(
        storage: Arc<S>,
        options: Options,
        each: impl FnMut(Replay<'_>) -> Result<(), Rejected>,
    ) -> Result<(Self, Recovered), OpenError> {
        options.check()?;
        let lock = storage.lock().map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => OpenError::Locked,
            _ => OpenError::Io { action: "lock", file: "lock".into(), source },
        })?;
        let mut created = false;
        let survey = loop {
            match recover::survey(&*storage)? {
                Some(survey) => break survey,
                None => {
                    assert!(!created, "a journal that was just made is found");
                    create(&*storage, &options)?;
                    created = true;
                }
            }
        };
        let mut recovered = Recovered {
            last: Lsn(survey.last),
            checkpoint: survey.checkpoint.as_ref().map(|checkpoint| checkpoint.lsn),
            records: 0,
            clean: survey.clean(),
            torn_groups_cut: u64::from(survey.torn),
            torn_at: survey.torn.then(|| (survey.tail.name().to_owned(), survey.tail.offset)),
            checkpoints_damaged: survey.checkpoints_damaged.clone(),
            created,
        };
        let shared = Shared::new(survey.mark.mark.identity, survey.segments.iter().copied(), survey.last);
        let reader = Reader::new(Arc::clone(&storage), Arc::clone(&shared));
        recovered.records = replay(&reader, survey.checkpoint.as_ref(), each)?;
        let (next, chain) = (survey.last + 1, survey.tail.chain);
        let writer = take_over(&storage, &shared, &options, survey, lock)?;
        let journal = Journal {
            options,
            storage,
            shared,
            next,
            chain,
            open: VecDeque::new(),
            idle: Vec::new(),
            has_reserve: writer.has_reserve(),
            writer: Some(Box::new(writer)),
            poisoned: None,
            retire_below: None,
            stats: Stats { torn_groups_cut: recovered.torn_groups_cut, ..Stats::default() },
        };
        Ok((journal, recovered))
    }

    /// The LSN that the next append gets.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        Lsn(self.next)
    }

    /// What tells this journal from every other; made with it, and the same in every copy of it.
    #[must_use]
    pub fn identity(&self) -> [u8; 16] {
        self.shared.identity
    }

    /// The last record that is durable; 0 when there is none.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        Lsn(self.shared.durable())
    }

    /// Copies a record into the open group. In memory: neither blocks nor fails. A group that is full is closed and
    /// another opened, so records appended together may lie in different groups, in order.
    ///
    /// # Panics
    /// When the payload is longer than [`Options::record_bytes_max`], which the caller's limits must rule out.
    pub fn append(&mut self, payload: &[u8]) -> Lsn {
        assert!(payload.len() <= self.options.record_bytes_max(), "a record of {} bytes is too long", payload.len());
        let lsn = self.next;
        let mut group = match self.open.pop_back() {
            Some(group) if group.fits(payload.len(), self.options.group_bytes_max) => group,
            full => {
                self.open.extend(full);
                self.idle.pop().unwrap_or_else(GroupBuffer::new)
            }
        };
        group.push(lsn, payload);
        self.open.push_back(group);
        self.next += 1;
        Lsn(lsn)
    }

    /// Takes the oldest open group out. `None` when nothing is open, when a commit is in flight, or after a failure.
    pub fn take_commit(&mut self) -> Option<Commit<S>> {
        if self.poisoned.is_some() || self.writer.is_none() {
            return None;
        }
        let mut group = self.open.pop_front()?;
        let writer = self.writer.take()?;
        let rotate = writer.must_rotate(group.disk_bytes() as u64);
        let number = writer.number + u64::from(rotate);
        let rotation = rotate.then(|| SegmentHeader {
            identity: self.shared.identity,
            number,
            first_lsn: group.first_lsn(),
            chain: self.chain,
            segment_bytes: self.options.segment_bytes,
        });
        self.chain = group.seal(number, self.chain, &self.shared.identity);
        Some(Commit { writer, group: Some(group), rotation, retire_below: self.retire_below.take() })
    }

    /// A commit without records: carries out [`retire`](Self::retire) and tries again for a spare segment. For a slow
    /// timer, so that a quiet journal does both too. `None` as for [`take_commit`](Self::take_commit).
    pub fn take_upkeep(&mut self) -> Option<Commit<S>> {
        if self.poisoned.is_some() {
            return None;
        }
        let mut writer = self.writer.take()?;
        writer.spare_retry = 0;
        Some(Commit { writer, group: None, rotation: None, retire_below: self.retire_below.take() })
    }

    /// Takes the outcome of the commit in flight, and gives the last durable record.
    ///
    /// # Errors
    /// [`Poisoned`] when it failed: the journal commits no more (M6).
    ///
    /// # Panics
    /// When no commit of this journal is in flight.
    pub fn committed(&mut self, committed: Committed<S>) -> Result<Lsn, Poisoned> {
        let ours = self.writer.is_none() && Arc::ptr_eq(&committed.writer.shared, &self.shared);
        assert!(ours, "the outcome of this journal's one commit in flight is due");
        let Committed { writer, group, rotated, outcome } = committed;
        self.has_reserve = writer.has_reserve();
        self.writer = Some(writer);
        match outcome {
            Err(error) => {
                // Also when only the mark failed after the group was synced: a device that fails is not believed.
                let failed = group.as_ref().map_or(self.durable().next(), |group| Lsn(group.first_lsn()));
                self.poisoned = Some((failed, error));
                self.check()?;
            }
            Ok(sync) => {
                if let Some(mut group) = group {
                    self.shared.set_durable(group.last_lsn());
                    self.stats.commits += 1;
                    self.stats.records += u64::from(group.count());
                    self.stats.bytes += group.sealed_bytes();
                    self.stats.rotations += u64::from(rotated);
                    self.stats.last_group_records = group.count();
                    self.stats.last_sync = sync;
                    if self.idle.len() < IDLE_BUFFERS_MAX {
                        group.clear();
                        self.idle.push(group);
                    }
                }
            }
        }
        Ok(self.durable())
    }

    fn check(&self) -> Result<(), Poisoned> {
        match &self.poisoned {
            None => Ok(()),
            Some((failed, (action, error))) => {
                Err(Poisoned { failed: *failed, action, source: io::Error::new(error.kind(), error.to_string()) })
            }
        }
    }

    /// Whether a commit is in flight.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        self.writer.is_none()
    }

    /// Bytes of records appended and not taken yet.
    #[must_use]
    pub fn open_bytes(&self) -> usize {
        self.open.iter().map(GroupBuffer::disk_bytes).sum()
    }

    /// False when the next segment could not be had, as the disk is full: the caller then refuses new intents (M6),
    /// and what is left of the active segment, about half, takes outcomes.
    #[must_use]
    pub fn has_reserve(&self) -> bool {
        self.has_reserve
    }

    /// The sealed segments, oldest first.
    pub fn sealed(&self) -> impl Iterator<Item = SealedSegment> + use<S> {
        self.shared.sealed().into_iter()
    }

    /// Asks that segments whose records are all below `below` be retired: recycled as spares, or removed. Done by the
    /// next commit or upkeep, but never for a segment that the older of the kept checkpoints needs, nor for one that a
    /// [`Reader`] is reading: ask again later.
    pub fn retire(&mut self, below: Lsn) {
        self.retire_below = self.retire_below.max(Some(below.0));
    }

    /// A reader of the durable records, for any thread.
    #[must_use]
    pub fn reader(&self) -> Reader<S> {
        Reader::new(Arc::clone(&self.storage), Arc::clone(&self.shared))
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The clean stop: commits what is open, here and now, and writes the mark.
    ///
    /// # Errors
    /// [`Poisoned`] when a commit failed, now or before; then the stop is not a clean one.
    ///
    /// # Panics
    /// When a commit is in flight.
    pub fn close(mut self) -> Result<(), Poisoned> {
        assert!(!self.in_flight(), "the outcome of the commit in flight is due before the close");
        self.check()?;
        while let Some(commit) = self.take_commit() {
            self.committed(commit.run())?;
        }
        if let Some(writer) = &mut self.writer
            && let Err(error) = writer.mark_clean()
        {
            self.poisoned = Some((self.durable().next(), error));
        }
        self.check()
    }
}

fn failed(file: &str) -> impl Fn(StepError) -> OpenError {
    let file = file.to_owned();
    move |(action, source)| OpenError::Io { action, file: file.clone(), source }
}

/// Makes the mark and the first segment; or the segment alone, when a crash came between the two.
fn create<S: Storage>(storage: &S, options: &Options) -> Result<(), OpenError> {
    let mark = match MarkFile::open(storage)? {
        Some(mark) => {
            step("sync", mark.settle(storage)).map_err(failed("mark"))?;
            mark
        }
        None => {
            let identity = step("get an identity for", storage.identity()).map_err(failed("mark"))?;
            step("make", MarkFile::create(storage, identity)).map_err(failed("mark"))?
        }
    };
    let header = SegmentHeader {
        identity: mark.mark.identity,
        number: 1,
        first_lsn: 1,
        chain: chain_start(&mark.mark.identity),
        segment_bytes: options.segment_bytes,
    };
    let name = segment_name(1);
    let temporary = format!("{name}.tmp");
    let made = storage.create(&temporary, options.segment_bytes).and_then(|file| {
        file.write_at(&header.encode(), 0)?;
        write_zeros(&file, SECTOR as u64, options.segment_bytes - SECTOR as u64)?;
        file.sync_data()?;
        storage.rename(&temporary, &name)?;
        storage.sync_dir()
    });
    step("make", made).map_err(failed(&name))
}

/// Gives the checkpoint and the records after it, and counts these.
fn replay<S: Storage>(
    reader: &Reader<S>,
    checkpoint: Option<&Checkpoint>,
    mut each: impl FnMut(Replay<'_>) -> Result<(), Rejected>,
) -> Result<u64, OpenError> {
    let mut from = Lsn(1);
    if let Some(checkpoint) = checkpoint {
        let lsn = checkpoint.lsn;
        each(Replay::Checkpoint(checkpoint)).map_err(|source| OpenError::Rejected { lsn, source })?;
        from = lsn.next();
    }
    let mut rejected = None;
    let next = reader.for_each(from, Lsn(u64::MAX), |lsn, payload| match each(Replay::Record(lsn, payload)) {
        Ok(()) => ControlFlow::Continue(()),
        Err(source) => {
            rejected = Some(OpenError::Rejected { lsn, source });
            ControlFlow::Break(())
        }
    })?;
    match rejected {
        Some(error) => Err(error),
        None => Ok(next.0 - from.0),
    }
}

/// Makes a surveyed journal writable: what was found is made durable, what was torn is overwritten, and the mark says
/// that somebody serves it.
fn take_over<S: Storage>(
    storage: &Arc<S>,
    shared: &Arc<Shared>,
    options: &Options,
    mut survey: Survey<S::File>,
    lock: S::Lock,
) -> Result<Writer<S>, OpenError> {
    step("sync", survey.mark.settle(&**storage)).map_err(failed("mark"))?;
    let tail = survey.tail.name().to_owned();
    if !survey.clean() || survey.torn {
        // After a failed sync the last group may be readable and yet not on disk, and a sync would find nothing to
        // do: writing it again makes the sync mean something. The cut syncs both.
        if let Some(header) = survey.last_group.filter(|_| !on(Mutant::TrustWhatIsRead)) {
            let again = survey.tail.rewrite(&header);
            step("write again", again).map_err(failed(&tail))?;
        }
        step("cut the torn end of", survey.tail.cut()).map_err(failed(&tail))?;
        step("sync", storage.sync_dir()).map_err(failed("."))?;
    }
    for lsn in &survey.checkpoints_damaged {
        let name = checkpoint::file_name(*lsn);
        step("put aside", storage.rename(&name, &format!("damaged-{name}"))).map_err(failed(&name))?;
    }
    for name in survey.names.iter().filter(|name| name.ends_with(".tmp")) {
        step("remove", storage.remove(name)).map_err(failed(name))?;
    }
    let (spares, next_spare) = find_spares(&**storage, options, &survey.names)?;
    let (number, capacity, end) = (survey.tail.header.number, survey.tail.header.segment_bytes, survey.tail.offset);
    let mut writer = Writer {
        storage: Arc::clone(storage),
        shared: Arc::clone(shared),
        options: options.clone(),
        mark: survey.mark,
        file: survey.tail.into_file(),
        number,
        capacity,
        end,
        durable: survey.last,
        spares,
        next_spare,
        retired: survey.retired,
        spare_failed: false,
        spare_retry: 0,
        filling: None,
        commits_since_mark: 0,
        _lock: lock,
    };
    writer.mark_start().and_then(|()| writer.upkeep(None, 0)).map_err(failed("mark"))?;
    Ok(writer)
}

/// The spares that can be used, and a number above all; those of another length are removed.
fn find_spares<S: Storage>(storage: &S, options: &Options, names: &[String]) -> Result<(Vec<u64>, u64), OpenError> {
    let mut spares = Vec::new();
    let mut next = 1;
    for number in names.iter().filter_map(|name| spare_number(name)) {
        let name = spare_name(number);
        let bytes = step("open", storage.open(&name).and_then(|file| file.bytes())).map_err(failed(&name))?;
        next = next.max(number + 1);
        if bytes == options.segment_bytes && spares.len() < options.reserve_segments as usize {
            spares.push(number);
        } else {
            step("remove", storage.remove(&name)).map_err(failed(&name))?;
        }
    }
    Ok((spares, next))
}
