//! Core, journal, outbox and sealing as one value: a **partition**.
//!
//! ```text
//! inputs -> turn: decide, encode, append --> take_commit -> Commit::run (any thread) -> committed
//!                     |                                                                     |
//!                     +--> outbox <---------------- what is durable ------------------------+
//!                             |
//!                          release -> actions for the shell
//! ```
//!
//! It has no thread, channel, socket or clock; the daemon, the simulation and the benches run this same code. Rules M1 to M3
//! are properties of the data flow: an action leaves by [`Partition::release`] only, and only when its record is durable.
//! After a failed commit nothing leaves any more (M6).
//!
//! Absent on purpose: sockets, files of configuration, metrics.

mod background;
mod keys;
#[doc(hidden)]
pub mod mutant;
mod outbox;

use std::sync::Arc;
use std::time::Duration;

use iso8583::Pan;
use journal::{Journal, Reader, Recovered, Rejected, Replay, Storage};
use switch::{Action, Admission, CardHmac, Config, Entry, Input, Lsn, Now, Output, Query, Report, Switch};

pub use background::{CheckpointDone, CheckpointJob, HistoryJob, LookUp, ScanError};
pub use journal::{Commit, Committed, Poisoned};
pub use keys::{KeyError, Keys};

use keys::Sealer;
use mutant::{Mutant, on};
use outbox::Outbox;

/// Why a partition was not opened. Nothing was decided, and nothing was sent.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal is in use, damaged, or cannot be read or written (K5, K6).
    #[error(transparent)]
    Journal(#[from] journal::OpenError),
    /// Cards could neither be opened for reversals nor found again.
    #[error(
        "these are not the keys of this journal: key {key} (0: the look-up key) is missing or another; \
         next: put the key file back that was beside this journal"
    )]
    ForeignKeys {
        /// The number of the first key that differs.
        key: u16,
    },
    /// Nothing could ever keep its promises (R7).
    #[error(
        "issuer {issuer} is not in the configuration, and {open} of its movements are open; \
         next: put it back until `switchd doubt` shows none of its movements"
    )]
    IssuerGone {
        /// Its number.
        issuer: u16,
        /// How many of its movements are open.
        open: usize,
    },
    /// The journal is another partition's.
    #[error(
        "this is the journal of partition {found}, the configuration says {configured}; next: set [partition] number back"
    )]
    OtherPartition {
        /// Of the journal.
        found: u8,
        /// Of the configuration.
        configured: u8,
    },
    /// The caller did not take the journal that was found, and says why ([`Partition::open_if`]).
    #[error("{0}")]
    NotTaken(String),
}

/// Why a partition that runs does not take other keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysRefused {
    /// Cards that were sealed or marked with it could neither be opened nor found.
    #[error(
        "the key file lacks key {key} (0: a look-up key), which this journal uses; next: put its line back, below the newer ones"
    )]
    Lacks {
        /// The number of the first key that is missing.
        key: u16,
    },
    /// Their records are not what the last room is for (M6).
    #[error("the journal has no room for new keys (M6); next: make room on its disk")]
    NoRoom,
}

/// Which journal was found, before this life writes to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What tells it from other journals, and is the same in every copy of it.
    pub identity: [u8; 16],
    /// Its last record.
    pub last: Lsn,
    /// How often it was started; 0 for a journal that was just made.
    pub epoch: u32,
    /// The keys of its newest life, by number and check value.
    pub keys: Vec<(u16, [u8; 8])>,
    /// The key that will seal cards from now on, by number and check value.
    pub seals: (u16, [u8; 8]),
}

/// What a partition is opened with.
#[derive(Debug)]
pub struct Options {
    /// How the journal is laid out.
    pub journal: journal::Options,
    /// The rules' settings, already checked ([`Config::check`]).
    pub config: Config,
    /// The keys of its cards.
    pub keys: Keys,
}

/// What [`Partition::open`] found.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What the journal found and did.
    pub journal: Recovered,
    /// Movements in memory.
    pub movements: usize,
    /// Of those, in doubt.
    pub in_doubt: usize,
    /// How often the partition was started, this time included.
    pub epoch: u32,
}

/// What a commit cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitStats {
    /// Records in its group; 0 for upkeep.
    pub records: u32,
    /// Bytes on disk since the start.
    pub bytes_total: u64,
    /// Time of its `fdatasync`.
    pub sync: Duration,
}

/// How long records that nobody waits for (handed marks, confirmations) may wait for company before they are committed, in
/// milliseconds. K2 covers their loss.
const LAZY_COMMIT_MS: u64 = 20;

/// One value that decides and remembers. See the crate's documentation.
pub struct Partition<S: Storage> {
    core: Switch,
    journal: Journal<S>,
    storage: Arc<S>,
    sealer: Sealer,
    outbox: Outbox,
    output: Output,
    encoded: Vec<u8>,
    /// Reports that the partition makes itself, for the next turn.
    reports: Vec<Input>,
    poisoned: bool,
    /// The uptime of the newest turn, and of the one that opened the group that nobody waits for.
    turned_ms: u64,
    open_since_ms: Option<u64>,
    /// What the shell wants; the journal's own need comes on top.
    admission: Admission,
    has_reserve: bool,
    checkpoint: background::Newest,
}

impl<S: Storage> Partition<S> {
    /// Locks and recovers the journal, replays it onto its newest checkpoint, and makes the records of the restart durable
    /// (K1-K3). Blocks.
    ///
    /// # Errors
    /// [`OpenError`], with the file, the offset and what to do (K5, K6).
    pub fn open(storage: Arc<S>, options: Options, now: Now) -> Result<(Self, Opened), OpenError> {
        Self::open_if(storage, options, now, |_| {}, |_| Ok(()))
    }

    /// As [`Partition::open`], if the caller takes the journal that is found: no directory can tell by itself that a newer
    /// copy of it exists (K5). `replayed` is told of every record that is replayed, as a long journal takes long.
    ///
    /// # Errors
    /// [`OpenError::NotTaken`] with what the caller says. No record was written.
    pub fn open_if(
        storage: Arc<S>,
        options: Options,
        now: Now,
        mut replayed: impl FnMut(Lsn),
        takes: impl FnOnce(&Found) -> Result<(), String>,
    ) -> Result<(Self, Opened), OpenError> {
        let Options { journal: journal_options, config, keys } = options;
        let mut core = Switch::new(config.clone());
        let mut other_partition = None;
        let mut checkpoint = background::Newest::default();
        let (journal, recovered) = Journal::open(Arc::clone(&storage), journal_options, |replay| {
            if let Replay::Record(lsn, _) = &replay {
                replayed(Lsn(lsn.0));
            }
            take(&mut core, &mut checkpoint, &config, &mut other_partition, replay)
        })?;
        check_belongs(&core, &keys, other_partition)?;
        let seals = keys.pan_checks()[0];
        let last = Lsn(recovered.last.0);
        let found = Found { identity: journal.identity(), last, epoch: core.epoch(), keys: core.keys().to_vec(), seals };
        takes(&found).map_err(OpenError::NotTaken)?;
        let mut partition = Partition {
            sealer: Sealer::new(&keys, 0),
            has_reserve: journal.has_reserve(),
            core,
            journal,
            storage,
            outbox: Outbox::default(),
            output: Output::default(),
            encoded: Vec::new(),
            reports: Vec::new(),
            poisoned: false,
            turned_ms: now.uptime_ms,
            open_since_ms: None,
            admission: Admission::Open,
            checkpoint,
        };
        let sealer = &partition.sealer;
        partition.core.start(now, keys.checks(), &|sealed| sealer.mark_of(sealed), &mut partition.output);
        partition.keep_output();
        // The epoch is durable before anything is sealed under it.
        while let Some(commit) = partition.journal.take_commit() {
            partition.journal.committed(commit.run()).map_err(|poisoned| journal::OpenError::Io {
                action: "write the restart to",
                file: "the journal".into(),
                source: poisoned.source,
            })?;
        }
        partition.open_since_ms = None;
        partition.sealer = Sealer::new(&keys, partition.core.epoch());
        partition.has_reserve = partition.journal.has_reserve();
        let opened = Opened {
            journal: recovered,
            movements: partition.core.movements().count(),
            in_doubt: partition.core.doubt().count(),
            epoch: partition.core.epoch(),
        };
        partition.tell_admission(now);
        Ok((partition, opened))
    }

    /// Takes what happened, decides, fires the timers that are due, and puts the records into the open commit group.
    pub fn turn(&mut self, now: Now, inputs: &mut Vec<Input>) {
        if self.poisoned {
            inputs.clear();
            return;
        }
        self.turned_ms = now.uptime_ms;
        for input in std::mem::take(&mut self.reports) {
            self.core.turn(now, input, &mut self.output);
        }
        for input in inputs.drain(..) {
            let input = self.prepare(now, input);
            if let Some(input) = input {
                self.core.turn(now, input, &mut self.output);
            }
        }
        self.core.expire(now, &mut self.output);
        self.keep_output();
    }

    /// Takes a ring of keys: from now on its first ones seal and mark, and memory is marked anew if the look-up key is
    /// another. The records of it come before those of anything sealed with them (section 10).
    ///
    /// # Errors
    /// [`KeysRefused`]; nothing has changed then.
    pub fn take_keys(&mut self, now: Now, keys: &Keys) -> Result<(), KeysRefused> {
        self.fits(keys)?;
        self.sealer.take(keys);
        let sealer = &self.sealer;
        self.core.take_keys(now, keys.checks(), &|sealed| sealer.mark_of(sealed), &mut self.output);
        self.keep_output();
        Ok(())
    }

    /// Whether [`Partition::take_keys`] takes these.
    ///
    /// # Errors
    /// Why not.
    pub fn fits(&self, keys: &Keys) -> Result<(), KeysRefused> {
        match keys.lack(self.core.keys()) {
            Some(key) => Err(KeysRefused::Lacks { key }),
            None if !self.has_reserve && keys.checks() != self.core.keys() => Err(KeysRefused::NoRoom),
            None => Ok(()),
        }
    }

    /// Seals the card of a terminal's message and marks those of the journal's; keeps what the shell wants of the admission.
    fn prepare(&mut self, now: Now, input: Input) -> Option<Input> {
        match input {
            Input::Terminal { conn, group, message, card: _ } => {
                let pan = switch::pan_digits(&message).and_then(|digits| Pan::try_from(digits.as_bytes()).ok());
                let card = pan.map(|pan| self.sealer.card(&pan));
                Some(Input::Terminal { conn, group, message, card })
            }
            Input::Found { query, found: Some(mut found) } => {
                found.iter_mut().for_each(|movement| self.sealer.mark_anew(movement));
                Some(Input::Found { query, found: Some(found) })
            }
            Input::Admission(admission) => {
                self.admission = admission;
                self.tell_admission(now);
                None
            }
            other => Some(other),
        }
    }

    fn tell_admission(&mut self, now: Now) {
        let admission = match self.admission {
            Admission::Open if !self.has_reserve => Admission::JournalFull,
            wanted => wanted,
        };
        self.core.turn(now, Input::Admission(admission), &mut self.output);
    }

    /// Appends the records of the output, and puts its actions into the outbox.
    fn keep_output(&mut self) {
        if !self.output.records.is_empty() {
            self.open_since_ms.get_or_insert(self.turned_ms);
        }
        for entry in self.output.records.drain(..) {
            self.encoded.clear();
            entry.encode(&mut self.encoded);
            self.journal.append(&self.encoded);
        }
        // The core numbers its records itself, so that actions can name them: the two must agree.
        assert_eq!(self.core.lsn().0 + 1, self.journal.next_lsn().0, "the core and the journal number records alike");
        self.outbox.take(&mut self.output.actions, &mut self.reports);
    }

    /// The next group to make durable; at most one is in flight. `None` also while nobody waits for the open group and it is
    /// young: [`Partition::next_timeout`] then says when to turn again.
    pub fn take_commit(&mut self) -> Option<Commit<S>> {
        let waited_for = self.outbox.waits_beyond(Lsn(self.journal.durable().0));
        if !waited_for && self.lazy_commit_ms()? > self.turned_ms {
            return None;
        }
        let commit = self.journal.take_commit();
        if self.journal.open_bytes() == 0 {
            self.open_since_ms = None;
        }
        commit
    }

    /// When the open group is committed although nobody waits for it.
    fn lazy_commit_ms(&self) -> Option<u64> {
        self.open_since_ms.map(|since_ms| since_ms + LAZY_COMMIT_MS)
    }

    /// Work for a quiet journal: a new reserve, retired segments. For a slow timer.
    pub fn take_upkeep(&mut self) -> Option<Commit<S>> {
        if self.poisoned { None } else { self.journal.take_upkeep() }
    }

    /// Takes the outcome of a commit. What it made durable can be released now.
    ///
    /// # Errors
    /// [`Poisoned`]: the partition is dead for good. Send nothing, close the terminals' connections, end the process (M6).
    pub fn committed(&mut self, now: Now, committed: Committed<S>) -> Result<CommitStats, Poisoned> {
        let sync = committed.sync_time();
        let before = self.journal.stats().commits;
        if let Err(poisoned) = self.journal.committed(committed) {
            self.poisoned = true;
            return Err(poisoned);
        }
        let stats = self.journal.stats();
        if self.has_reserve != self.journal.has_reserve() {
            self.has_reserve = self.journal.has_reserve();
            self.tell_admission(now);
            self.keep_output();
        }
        let records = if stats.commits > before { stats.last_group_records } else { 0 };
        Ok(CommitStats { records, bytes_total: stats.bytes, sync })
    }

    /// Hands out the actions whose records are durable, in order. Reversals get their card here.
    pub fn release(&mut self, out: &mut Vec<Action>) {
        let poison = on(Mutant::ReleaseAfterPoison) && self.poisoned;
        if self.poisoned && !poison {
            return;
        }
        let durable = if poison || on(Mutant::ReleaseAtOnce) { u64::MAX } else { self.journal.durable().0 };
        let (sealer, reports) = (&self.sealer, &mut self.reports);
        self.outbox.release(Lsn(durable), |action| match action {
            Action::ToIssuer { id, link, mut message, card: Some(sealed) } => match sealer.open(&sealed) {
                Some(pan) => {
                    message.set(2, pan.digits());
                    out.push(Action::ToIssuer { id, link, message, card: None });
                }
                None => reports.push(Input::Report { action: id, report: Report::Unbuildable }),
            },
            other => out.push(other),
        });
    }

    /// When [`Partition::turn`] must be called again at the latest, on [`Now::uptime_ms`]; 0 for at once.
    pub fn next_timeout(&self) -> Option<u64> {
        if !self.reports.is_empty() {
            return Some(0);
        }
        let lazy_ms = self.lazy_commit_ms().filter(|_| !self.journal.in_flight());
        [lazy_ms, self.core.next_timeout()].into_iter().flatten().min()
    }

    /// The core, to be read.
    pub fn view(&self) -> &Switch {
        &self.core
    }

    /// False when the journal cannot promise room: new intents get 96, and the daemon is not ready (M6).
    pub fn has_reserve(&self) -> bool {
        self.has_reserve
    }

    /// The last record that is durable.
    pub fn durable(&self) -> Lsn {
        Lsn(self.journal.durable().0)
    }

    /// Whether a commit is in flight.
    pub fn commit_in_flight(&self) -> bool {
        self.journal.in_flight()
    }

    /// Nothing awaits an issuer, a delivery or the disk: a drain may end.
    pub fn quiet(&self) -> bool {
        self.core.quiet() && self.outbox.is_empty() && self.journal.open_bytes() == 0 && !self.journal.in_flight()
    }

    /// A reader of the durable records, for any thread: for a view beside the journal.
    pub fn reader(&self) -> Reader<S> {
        self.journal.reader()
    }

    /// Asks that segments be retired whose records are all below `below`; done by a later commit or upkeep, and never for
    /// one that a kept checkpoint needs. The caller says what nothing open needs.
    pub fn retire(&mut self, below: Lsn) {
        self.journal.retire(journal::Lsn(below.0));
    }

    /// The work of an [`Action::Find`]: a scan of the durable journal, for any thread.
    pub fn look_up(&self, query: &Query) -> LookUp<S> {
        LookUp::new(self.journal.reader(), *query)
    }

    /// What a card is known by in records: a mark for each look-up key.
    pub fn marks(&self, pan: &Pan) -> Vec<CardHmac> {
        self.sealer.marks(pan)
    }

    /// The work of telling the history of movements to a person: a scan of the durable journal, for any thread.
    pub fn history(&self) -> HistoryJob<S> {
        HistoryJob::new(self.journal.reader())
    }

    /// The work of making the next checkpoint, when a segment was sealed since the newest; for any thread.
    pub fn checkpoint_due(&mut self) -> Option<CheckpointJob<S>> {
        let sealed = self.journal.sealed().last()?;
        self.checkpoint.job(sealed.last, &self.storage, self.journal.reader(), self.core.config())
    }

    /// Takes the outcome of a checkpoint; the error is for the log, nothing depends on it.
    ///
    /// # Errors
    /// What the job failed with. It is tried again with the next sealed segment.
    pub fn checkpointed(&mut self, done: CheckpointDone) -> Result<Lsn, background::CheckpointError> {
        self.checkpoint.done(done)
    }

    /// The clean stop. No commit may be in flight.
    ///
    /// # Errors
    /// [`Poisoned`] when the last commit failed.
    pub fn close(self) -> Result<(), Poisoned> {
        self.journal.close()
    }
}

fn take(
    core: &mut Switch,
    checkpoint: &mut background::Newest,
    config: &Config,
    other_partition: &mut Option<u8>,
    replay: Replay<'_>,
) -> Result<(), Rejected> {
    match replay {
        Replay::Checkpoint(newest) => {
            *core = Switch::restore(config.clone(), &newest.bytes)?;
            checkpoint.found(Lsn(newest.lsn.0), newest.bytes.clone());
        }
        Replay::Record(lsn, payload) => {
            let entry = Entry::decode(payload)?;
            if entry.partition != config.partition {
                other_partition.get_or_insert(entry.partition);
            }
            core.replay(Lsn(lsn.0), &entry)?;
        }
    }
    Ok(())
}

/// Whether keys and configuration are those that the journal's promises need.
fn check_belongs(core: &Switch, keys: &Keys, other_partition: Option<u8>) -> Result<(), OpenError> {
    if let Some(found) = other_partition {
        return Err(OpenError::OtherPartition { found, configured: core.config().partition });
    }
    if let Some(key) = keys.lack(core.keys()) {
        return Err(OpenError::ForeignKeys { key });
    }
    let mut open = std::collections::BTreeMap::<u16, usize>::new();
    for row in core.census().iter().filter(|row| !core.config().issuers.contains_key(&row.issuer)) {
        *open.entry(row.issuer.0).or_default() += row.count as usize;
    }
    match open.first_key_value() {
        Some((issuer, open)) => Err(OpenError::IssuerGone { issuer: *issuer, open: *open }),
        None => Ok(()),
    }
}

pub use background::CheckpointError;
