//! The index behind a journal that is being written: a thread of its own follows the durable records, builds the index again
//! when it has to, and drops what is about to be retired.
//!
//! It is never on the way of a transaction: nobody waits for it but a look-up that it has to answer. Invariant: an answer
//! covers every record that was durable when it was asked for; while that cannot be had there is no answer.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use journal::{Lsn, ReadError, Reader, Storage, Tail};
use switch::{About, Movement, MovementId, Query};

use crate::contain::died;
use crate::engine::Kind;
use crate::history::{Found, LookUp};
use crate::view::{Error, Filler, Index};

/// How long it sleeps when there is nothing new. A look-up wakes it.
const IDLE: Duration = Duration::from_millis(100);
/// Records and bytes of one batch: small enough for a look-up to wait for, large enough for an engine to be quick.
const BATCH_RECORDS: usize = 4_096;
const BATCH_BYTES: usize = 4 << 20;
/// So near it follows: a look-up waits for the rest. One batch.
const NEAR: u64 = BATCH_RECORDS as u64;
/// How often a long way is reported.
const REPORT: Duration = Duration::from_secs(5);
/// How often it looks whether something may be retired.
const RETENTION: Duration = Duration::from_secs(1);
/// After an index could not be built: a full disk, most likely. Doubled to the longest.
const AGAIN_FIRST: Duration = Duration::from_millis(100);
const AGAIN_LONGEST: Duration = Duration::from_secs(60);

/// How an index is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The engine.
    pub kind: Kind,
    /// Its directory. Only what an index made there is ever removed.
    pub dir: PathBuf,
    /// How long a look-up waits for the index to catch up.
    pub patience: Duration,
}

/// What stands in the way of a look-up. A request gets 91, a reversal waits (D11).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// It is being opened or built.
    #[error("the index is being built: {covered} of {durable} records; next: try again")]
    Building {
        /// The last record that it covers.
        covered: u64,
        /// The last durable record.
        durable: u64,
    },
    /// It did not catch up in time.
    #[error("the index is behind: {covered} of {durable} records; next: try again")]
    Behind {
        /// The last record that it covers.
        covered: u64,
        /// The last durable record.
        durable: u64,
    },
    /// It failed in the middle of the look-up, and will be built again.
    #[error("the index failed and is built again: {0}; next: try again")]
    Failed(String),
    /// The journal itself cannot be read; the index is as it was.
    #[error("{0}; next: `switchd journal verify`")]
    Journal(String),
}

/// What the thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Opening what is there.
    Opening,
    /// Building it from the oldest record on.
    Building,
    /// Following the journal.
    Following,
    /// It could not be built, and waits to try again.
    Waiting,
}

impl Stage {
    /// For labels and `--json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Opening => "opening",
            Stage::Building => "building",
            Stage::Following => "following",
            Stage::Waiting => "waiting",
        }
    }
}

/// Where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is doing.
    pub stage: Stage,
    /// The last record that it covers.
    pub covered: Lsn,
    /// The last durable record.
    pub durable: Lsn,
    /// How often it was built from nothing in this process.
    pub built: u64,
    /// Records that it takes in a second while it is behind; 0 when it is not, or that is not known yet.
    pub records_per_second: u64,
    /// Why it failed last, until it follows again.
    pub failed: Option<String>,
}

impl Status {
    /// Durable records that it does not cover.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.durable.0.saturating_sub(self.covered.0)
    }
}

/// What retention may let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retain {
    /// Records of before this moment, by the wall clock in milliseconds…
    pub before_wall_ms: u64,
    /// …but nothing from the beginning of this movement on.
    pub oldest_open: Option<MovementId>,
}

struct Progress {
    stage: Stage,
    covered: Lsn,
    built: u64,
    records_per_second: u64,
    failed: Option<String>,
}

struct Shared<S: Storage> {
    reader: Reader<S>,
    options: Options,
    /// `None` while there is nothing that could answer.
    index: RwLock<Option<Index>>,
    progress: Mutex<Progress>,
    changed: Condvar,
    retain: Mutex<Option<Retain>>,
    retire_below: AtomicU64,
    /// A look-up came upon damage.
    damaged: AtomicBool,
    stop: AtomicBool,
}

/// An index that is kept up. See the module. Dropped without [`Live::stop`], its thread ends by itself, unless the process
/// does before: what a failing disk holds up keeps nobody waiting (M6).
pub struct Live<S: Storage> {
    shared: Arc<Shared<S>>,
    thread: Thread,
    /// To be waited for, once.
    joined: Mutex<Option<JoinHandle<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Storage + Send + Sync + 'static> Live<S>
where
    S::File: Send,
{
    /// Starts the thread, which opens or builds the index.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn start(reader: Reader<S>, options: Options) -> io::Result<Live<S>> {
        let shared = Arc::new(Shared {
            reader,
            options,
            index: RwLock::new(None),
            progress: Mutex::new(Progress {
                stage: Stage::Opening,
                covered: Lsn(0),
                built: 0,
                records_per_second: 0,
                failed: None,
            }),
            changed: Condvar::new(),
            retain: Mutex::new(None),
            retire_below: AtomicU64::new(0),
            damaged: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let feeder = Feeder { shared: Arc::clone(&shared) };
        let thread = thread::Builder::new().name("index".to_owned()).spawn(move || feeder.run())?;
        Ok(Live { shared, thread: thread.thread().clone(), joined: Mutex::new(Some(thread)) })
    }
}

impl<S: Storage> Live<S> {
    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Says what may be let go; looked at about once a second.
    pub fn retain(&self, retain: Option<Retain>) {
        *lock(&self.shared.retain) = retain;
    }

    /// Segments of records below this may be retired: the index has dropped them. 0: none.
    #[must_use]
    pub fn retire_below(&self) -> Lsn {
        Lsn(self.shared.retire_below.load(Ordering::Acquire))
    }

    /// What a look-up of the core asks for, oldest first. Blocks for at most [`Options::patience`] and the reading.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn find(&self, query: &Query) -> Result<Vec<Movement>, Unavailable> {
        self.ask(|index, reader| index.find(reader, query))
    }

    /// What a person asks for: of movements the newest `most`. Blocks like [`Live::find`].
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn histories(&self, what: &LookUp, most: usize) -> Result<Found, Unavailable> {
        self.ask(|index, reader| index.histories(reader, what, most))
    }

    /// The same of what `wanted` takes; `None` when `go_on` said no.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub fn chosen(
        &self,
        what: &LookUp,
        most: usize,
        wanted: &dyn Fn(About<'_>) -> bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Found>, Unavailable> {
        // Whoever reads for long holds up an index that is to be taken away.
        let on = || go_on() && !self.shared.stopping() && !self.shared.damaged.load(Ordering::Acquire);
        self.ask(|index, reader| index.chosen(reader, what, most, wanted, &on))
    }

    fn ask<T>(&self, question: impl FnOnce(&Index, &Reader<S>) -> Result<T, Error>) -> Result<T, Unavailable> {
        let shared = &self.shared;
        self.wait_for(shared.reader.durable())?;
        let index = shared.index.read().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = index.as_ref() else { return Err(shared.building()) };
        question(index, &shared.reader).map_err(|error| {
            if let Error::Scan(_) = error {
                return Unavailable::Journal(error.to_string());
            }
            // Whatever it is, an index that is built anew has it right, or fails where it is reported.
            shared.damaged.store(true, Ordering::Release);
            self.wake();
            Unavailable::Failed(error.to_string())
        })
    }

    /// Until the index covers this record.
    fn wait_for(&self, lsn: Lsn) -> Result<(), Unavailable> {
        let shared = &self.shared;
        let until = Instant::now() + shared.options.patience;
        self.wake();
        let mut progress = lock(&shared.progress);
        loop {
            match progress.stage {
                Stage::Opening | Stage::Building | Stage::Waiting => {
                    drop(progress);
                    return Err(shared.building());
                }
                Stage::Following if progress.covered >= lsn => return Ok(()),
                Stage::Following => {}
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Unavailable::Behind { covered: progress.covered.0, durable: shared.reader.durable().0 });
            }
            progress = shared.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn wake(&self) {
        self.thread.unpark();
    }

    fn tell_to_stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// Closes the index, after the batch in the thread's hands. While the journal is still locked, so that a successor
    /// finds it closed.
    pub fn stop(&self) {
        self.tell_to_stop();
        if let Some(thread) = lock(&self.joined).take() {
            // A panic of the thread has ended the process already, or the test.
            let _ = thread.join();
        }
    }
}

impl<S: Storage> Drop for Live<S> {
    fn drop(&mut self) {
        self.tell_to_stop();
    }
}

impl<S: Storage> Shared<S> {
    fn status(&self) -> Status {
        let progress = lock(&self.progress);
        let Progress { stage, covered, built, records_per_second, ref failed } = *progress;
        Status { stage, covered, durable: self.reader.durable(), built, records_per_second, failed: failed.clone() }
    }

    fn building(&self) -> Unavailable {
        let status = self.status();
        Unavailable::Building { covered: status.covered.0, durable: status.durable.0 }
    }

    fn set(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut lock(&self.progress));
        self.changed.notify_all();
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// What the thread runs.
struct Feeder<S: Storage> {
    shared: Arc<Shared<S>>,
}

/// Why an index that was opened is not used.
enum Unusable {
    Empty,
    Foreign,
    Ahead { covered: Lsn, durable: Lsn },
    Gone { covered: Lsn, oldest: Lsn },
    Another { covered: Lsn },
}

impl Unusable {
    fn reason(&self) -> String {
        match self {
            Unusable::Empty => "there is none of this version".to_owned(),
            Unusable::Foreign => "it is of another journal".to_owned(),
            Unusable::Ahead { covered, durable } => {
                format!("it covers record {covered}, the journal ends with {durable}: a journal that was restored")
            }
            Unusable::Gone { covered, oldest } => format!("it covers record {covered}, the oldest is {oldest}"),
            Unusable::Another { covered } => format!("record {covered} of the journal is another: one that was restored"),
        }
    }
}

impl<S: Storage> Feeder<S> {
    fn run(self) {
        let mut again = AGAIN_FIRST;
        while !self.shared.stopping() {
            let since = Instant::now();
            let ended = self.keep_up();
            if let Err(error) = &ended {
                // Whoever reads in it stops, and nobody begins: the lock is wanted for closing it.
                self.shared.damaged.store(true, Ordering::Release);
                self.shared.set(|progress| (progress.stage, progress.failed) = (Stage::Waiting, Some(error.to_string())));
            }
            self.close();
            let Err(error) = ended else { return };
            if since.elapsed() > AGAIN_LONGEST {
                again = AGAIN_FIRST;
            }
            tracing::error!(%error, again_ms = again.as_millis(), "the index failed and is built again: look-ups have to wait");
            self.sleep(again);
            again = (again * 2).min(AGAIN_LONGEST);
            if let Err(error) = Index::remove(&self.shared.options.dir) {
                tracing::error!(%error, "the index cannot be removed");
            }
        }
    }

    /// Sleeps, unless the process stops.
    fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.shared.stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
        }
    }

    /// Closes what is open; no look-up holds it any more.
    fn close(&self) {
        *self.shared.index.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Opens or builds, then follows until the process stops.
    fn keep_up(&self) -> Result<(), Error> {
        let shared = &self.shared;
        shared.set(|progress| (progress.stage, progress.covered) = (Stage::Opening, Lsn(0)));
        shared.damaged.store(false, Ordering::Release);
        let dead = died();
        let (index, empty) = self.open()?;
        let mut filler = Filler::new(&index, shared.reader.identity(), shared.reader.oldest())?;
        let stage = if empty { Stage::Building } else { Stage::Following };
        shared.set(|progress| {
            progress.stage = stage;
            progress.covered = filler.mark().lsn;
            progress.built += u64::from(empty);
        });
        shared.retire_below.fetch_max(filler.mark().kept_from.0, Ordering::AcqRel);
        *shared.index.write().unwrap_or_else(PoisonError::into_inner) = Some(index);
        // Only this thread ever writes to it or takes it away, so that it may hold it for reading as it fills it.
        let held = shared.index.read().unwrap_or_else(PoisonError::into_inner);
        let Some(index) = held.as_ref() else { return Ok(()) };
        let mut tail = shared.reader.tail(filler.mark().lsn.next())?;
        let mut report = Report::begin(filler.mark().lsn);
        let mut retention_due = Instant::now();
        while !shared.stopping() {
            if shared.damaged.load(Ordering::Acquire) || died() > dead {
                let text = "a look-up came upon damage, or a thread of the engine ended".to_owned();
                return Err(crate::engine::EngineError::Failed(text).into());
            }
            let lag = self.fill(index, &mut filler, &mut tail, &mut report)?;
            // One that is never quite there, as records go on to come, lets go all the same what is past its retention.
            if lag > NEAR {
                continue;
            }
            if Instant::now() >= retention_due {
                retention_due = Instant::now() + RETENTION;
                self.let_go(index, &mut filler)?;
            }
            if shared.reader.durable() < tail.next() {
                thread::park_timeout(IDLE);
            }
        }
        index.sync()
    }

    /// What is there, if it is of this journal and not ahead of it, or an empty one.
    fn open(&self) -> Result<(Index, bool), Error> {
        let Options { kind, dir, .. } = &self.shared.options;
        let opened = match Index::open(*kind, dir) {
            Ok(index) => self.judge(&index)?.map_or(Ok(index), |why| Err(why.reason())),
            Err(Error::Engine(error)) => Err(error.to_string()),
            Err(other) => return Err(other),
        };
        match opened {
            Ok(index) => Ok((index, false)),
            Err(reason) => {
                tracing::warn!(reason, engine = kind.name(), dir = %dir.display(), "the index is built from the journal");
                Index::remove(dir)?;
                Ok((Index::open(*kind, dir)?, true))
            }
        }
    }

    /// Whether an index that was opened belongs to the journal as it is.
    fn judge(&self, index: &Index) -> Result<Option<Unusable>, Error> {
        let reader = &self.shared.reader;
        // One that says nothing, or cannot be read, is as good as none.
        let Ok(Some(mark)) = index.mark() else { return Ok(Some(Unusable::Empty)) };
        if mark.journal != reader.identity() {
            return Ok(Some(Unusable::Foreign));
        }
        let (covered, durable, oldest) = (mark.lsn, reader.durable(), reader.oldest());
        if covered > durable {
            return Ok(Some(Unusable::Ahead { covered, durable }));
        }
        if covered < oldest {
            return Ok(Some(Unusable::Gone { covered, oldest }));
        }
        let mut same = false;
        match reader.read_at(&[(covered, mark.place)], |_, payload| same = crc32c::crc32c(payload) == mark.crc) {
            Ok(()) | Err(ReadError::Damaged { .. }) => Ok(Some(Unusable::Another { covered }).filter(|_| !same)),
            Err(other) => Err(other.into()),
        }
    }

    /// Applies the next batch, and says how many durable records are left.
    fn fill(&self, index: &Index, filler: &mut Filler, tail: &mut Tail<S>, report: &mut Report) -> Result<u64, Error> {
        let mut failed = None;
        tail.take(|lsn, place, payload| {
            if let Err(error) = filler.add(lsn, place, payload) {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            let full = filler.records() >= BATCH_RECORDS || filler.bytes() >= BATCH_BYTES;
            if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        filler.apply(index)?;
        let (covered, durable) = (filler.mark().lsn, self.shared.reader.durable());
        let lag = durable.0.saturating_sub(covered.0);
        let rate = report.tell(lag > 0, covered, durable);
        self.shared.set(|progress| {
            (progress.covered, progress.records_per_second) = (covered, rate);
            if lag <= NEAR {
                (progress.stage, progress.failed) = (Stage::Following, None);
            }
        });
        Ok(lag)
    }

    /// Drops what retention lets go, and says so to whoever retires segments.
    fn let_go(&self, index: &Index, filler: &mut Filler) -> Result<(), Error> {
        let shared = &self.shared;
        let Some(retain) = *lock(&shared.retain) else { return Ok(()) };
        let sealed = shared.reader.sealed();
        let sealed = &sealed[sealed.partition_point(|segment| segment.last < filler.mark().kept_from)..];
        for segment in index.too_old(sealed, filler.mark().lsn, retain.before_wall_ms, retain.oldest_open)? {
            if shared.stopping() {
                return Ok(());
            }
            filler.drop_segment(index, &shared.reader, &segment)?;
            let below = filler.mark().kept_from;
            shared.retire_below.fetch_max(below.0, Ordering::AcqRel);
            tracing::info!(segment = segment.number, first = segment.first.0, last = segment.last.0, "past its retention");
        }
        Ok(())
    }
}

/// Tells the log how far a long way is, and when it ends.
struct Report {
    from: Lsn,
    since: Instant,
    last: Instant,
    told: bool,
}

impl Report {
    fn begin(from: Lsn) -> Self {
        Report { from, since: Instant::now(), last: Instant::now(), told: false }
    }

    /// The records of a second, while it is behind.
    fn tell(&mut self, behind: bool, covered: Lsn, durable: Lsn) -> u64 {
        let took_ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = if behind { (covered.0 - self.from.0).saturating_mul(1_000) / took_ms } else { 0 };
        if behind && self.last.elapsed() >= REPORT {
            let percent = covered.0.saturating_mul(100) / durable.0.max(1);
            tracing::info!(covered = covered.0, durable = durable.0, percent, records_per_second = rate, "index");
            (self.last, self.told) = (Instant::now(), true);
        }
        if !behind {
            if std::mem::take(&mut self.told) {
                tracing::info!(covered = covered.0, "the index has caught up");
            }
            (self.from, self.since, self.last) = (covered, Instant::now(), Instant::now());
        }
        rate
    }
}
