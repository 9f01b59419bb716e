//! Work beside the turn, on any thread: look-ups in the journal, and checkpoints.
//!
//! A checkpoint is made by replaying sealed segments onto the checkpoint before, with the core's own code: the live core
//! never pauses, and each checkpoint tests that replaying gives the state again (I4).

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use journal::{ReadError, Reader, Storage};
use switch::{About, Config, Damaged, Entry, Finder, Historian, Histories, Input, Lsn, Query, QueryId, Switch};

/// A scan of the journal for one query.
pub struct LookUp<S: Storage> {
    reader: Reader<S>,
    query: Query,
}

impl<S: Storage> LookUp<S> {
    pub(crate) fn new(reader: Reader<S>, query: Query) -> LookUp<S> {
        LookUp { reader, query }
    }

    /// Scans. Blocks. A journal that cannot be read gives a result without an answer, and the terminal none.
    pub fn run(self, id: QueryId) -> Input {
        let mut finder = Finder::new(self.query);
        let found = scan(&self.reader, journal::Lsn(1).max(self.reader.oldest()), self.reader.durable(), |lsn, entry| {
            finder.take(lsn, entry)
        });
        Input::Found { query: id, found: found.ok().map(|()| finder.finish()) }
    }
}

/// A scan of the journal for the whole history of some movements, for people.
pub struct HistoryJob<S: Storage> {
    reader: Reader<S>,
}

impl<S: Storage> HistoryJob<S> {
    pub(crate) fn new(reader: Reader<S>) -> HistoryJob<S> {
        HistoryJob { reader }
    }

    /// Scans what is durable. Blocks, and disturbs nobody but retention: it reads files. The newest `most` of what is
    /// `wanted`; `None` when `go_on`, which is asked before each record, said no.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn run(
        self,
        wanted: impl Fn(About<'_>) -> bool,
        most: usize,
        go_on: impl Fn() -> bool,
    ) -> Result<Option<Histories>, ScanError> {
        let mut historian = Historian::new(wanted, most);
        let (from, upto) = (journal::Lsn(1).max(self.reader.oldest()), self.reader.durable());
        let mut stopped = false;
        scan_while(&self.reader, from, upto, |lsn, entry| {
            stopped = !go_on();
            if stopped {
                return Ok(ControlFlow::Break(()));
            }
            historian.take(lsn, entry).map(ControlFlow::Continue)
        })?;
        Ok((!stopped).then(|| historian.finish()))
    }
}

/// Why records could not be read or understood.
pub type ScanError = CheckpointError;

/// Why a checkpoint was not made.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The journal could not be read.
    #[error("checkpoint: {0}")]
    Read(#[from] ReadError),
    /// A record or the checkpoint before is not what this version writes.
    #[error("checkpoint: {0}")]
    Damaged(#[from] Damaged),
    /// It could not be written.
    #[error("checkpoint: cannot write it: {0}")]
    Write(#[from] io::Error),
}

/// The newest checkpoint, and whether the next is being made.
#[derive(Default)]
pub(crate) struct Newest {
    lsn: Lsn,
    bytes: Option<Arc<Vec<u8>>>,
    busy: bool,
    /// Do not try again before a segment beyond this one is sealed.
    tried: Lsn,
}

impl Newest {
    pub(crate) fn found(&mut self, lsn: Lsn, bytes: Vec<u8>) {
        self.lsn = lsn;
        self.bytes = Some(Arc::new(bytes));
    }

    pub(crate) fn job<S: Storage>(
        &mut self,
        sealed: journal::Lsn,
        storage: &Arc<S>,
        reader: Reader<S>,
        config: &Config,
    ) -> Option<CheckpointJob<S>> {
        let upto = Lsn(sealed.0);
        if self.busy || upto <= self.lsn.max(self.tried) {
            return None;
        }
        self.busy = true;
        self.tried = upto;
        Some(CheckpointJob {
            storage: Arc::clone(storage),
            reader,
            config: config.clone(),
            from: self.lsn,
            bytes: self.bytes.clone(),
            upto,
        })
    }

    pub(crate) fn done(&mut self, done: CheckpointDone) -> Result<Lsn, CheckpointError> {
        self.busy = false;
        let (lsn, bytes) = done.0?;
        self.lsn = lsn;
        self.bytes = Some(Arc::new(bytes));
        Ok(lsn)
    }
}

/// The making of a checkpoint.
pub struct CheckpointJob<S: Storage> {
    storage: Arc<S>,
    reader: Reader<S>,
    config: Config,
    from: Lsn,
    bytes: Option<Arc<Vec<u8>>>,
    upto: Lsn,
}

/// The outcome of a [`CheckpointJob`], for [`crate::Partition::checkpointed`].
pub struct CheckpointDone(Result<(Lsn, Vec<u8>), CheckpointError>);

impl<S: Storage> CheckpointJob<S> {
    /// Replays, and writes the checkpoint. Blocks.
    pub fn run(self) -> CheckpointDone {
        CheckpointDone(self.make())
    }

    fn make(self) -> Result<(Lsn, Vec<u8>), CheckpointError> {
        let mut core = match &self.bytes {
            Some(bytes) => Switch::restore(self.config.clone(), bytes)?,
            None => Switch::new(self.config.clone()),
        };
        scan(&self.reader, journal::Lsn(self.from.0 + 1), journal::Lsn(self.upto.0), |lsn, entry| core.replay(lsn, entry))?;
        let mut bytes = Vec::new();
        core.snapshot(&mut bytes);
        journal::write_checkpoint(&*self.storage, journal::Lsn(self.upto.0), &bytes)?;
        Ok((self.upto, bytes))
    }
}

fn scan<S: Storage>(
    reader: &Reader<S>,
    from: journal::Lsn,
    upto: journal::Lsn,
    mut each: impl FnMut(Lsn, &Entry) -> Result<(), Damaged>,
) -> Result<(), CheckpointError> {
    scan_while(reader, from, upto, |lsn, entry| each(lsn, entry).map(ControlFlow::Continue))
}

/// The same, until `each` breaks.
fn scan_while<S: Storage>(
    reader: &Reader<S>,
    from: journal::Lsn,
    upto: journal::Lsn,
    mut each: impl FnMut(Lsn, &Entry) -> Result<ControlFlow<()>, Damaged>,
) -> Result<(), CheckpointError> {
    let mut damaged = None;
    reader.for_each(from, upto, |lsn, payload| match Entry::decode(payload).and_then(|entry| each(Lsn(lsn.0), &entry)) {
        Ok(flow) => flow,
        Err(error) => {
            damaged = Some(error);
            ControlFlow::Break(())
        }
    })?;
    damaged.map_or(Ok(()), |error| Err(error.into()))
}
