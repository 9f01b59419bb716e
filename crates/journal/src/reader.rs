//! Reading durable records while the journal is being written, and from a journal that nobody serves.
//!
//! Invariant: a reader gives only durable records, in order, each checked; and a segment that is being read is not
//! recycled under it.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checkpoint::Checkpoint;
use crate::error::{Damage, OpenError, ReadError};
use crate::format::Identity;
use crate::recover;
use crate::scan::{SegmentScan, Step};
use crate::storage::Storage;
use crate::{Lsn, mark};

/// A segment that takes no more records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    /// Its number, one more than the one before it.
    pub number: u64,
    /// Its first record.
    pub first: Lsn,
    /// Its last record.
    pub last: Lsn,
}

/// A segment that exists and is not retired.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub number: u64,
    pub first_lsn: u64,
}

/// What the journal's writer and its readers know in common.
pub(crate) struct Shared {
    pub identity: Identity,
    durable: AtomicU64,
    layout: Mutex<Layout>,
}

struct Layout {
    /// Ascending; the last is the active one.
    segments: VecDeque<Segment>,
    /// The segment with which each scan under way began.
    pins: Vec<u64>,
}

impl Shared {
    pub(crate) fn new(identity: Identity, segments: impl IntoIterator<Item = Segment>, durable: u64) -> Arc<Self> {
        let layout = Layout { segments: segments.into_iter().collect(), pins: Vec::new() };
        assert!(!layout.segments.is_empty(), "a journal has an active segment");
        Arc::new(Shared { identity, durable: AtomicU64::new(durable), layout: Mutex::new(layout) })
    }

    fn layout(&self) -> MutexGuard<'_, Layout> {
        self.layout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn set_durable(&self, lsn: u64) {
        self.durable.store(lsn, Ordering::Release);
    }

    pub(crate) fn add(&self, segment: Segment) {
        self.layout().segments.push_back(segment);
    }

    pub(crate) fn oldest(&self) -> Segment {
        self.layout().segments[0]
    }

    pub(crate) fn sealed(&self) -> Vec<SealedSegment> {
        let layout = self.layout();
        let pairs = layout.segments.iter().zip(layout.segments.iter().skip(1));
        pairs
            .map(|(this, next)| SealedSegment {
                number: this.number,
                first: Lsn(this.first_lsn),
                last: Lsn(next.first_lsn - 1),
            })
            .collect()
    }

    /// Takes the sealed segments out whose records are all below `below`, as far as nobody reads them.
    pub(crate) fn retire(&self, below: u64) -> Vec<u64> {
        let mut layout = self.layout();
        let pinned = layout.pins.iter().copied().min().unwrap_or(u64::MAX);
        let mut gone = Vec::new();
        while layout.segments.len() > 1 && layout.segments[1].first_lsn <= below && layout.segments[0].number < pinned {
            gone.extend(layout.segments.pop_front().map(|segment| segment.number));
        }
        gone
    }

    /// Keeps the segment that holds `from`, and all after it, from being recycled.
    fn pin(&self, from: u64) -> Result<Pin<'_>, ReadError> {
        Ok(Pin { shared: self, number: self.hold(from)? })
    }

    /// As [`Shared::pin`], to be taken back by the caller: the number of the segment that is held.
    pub(crate) fn hold(&self, from: u64) -> Result<u64, ReadError> {
        let mut layout = self.layout();
        let holds = layout.segments.iter().rev().find(|segment| segment.first_lsn <= from);
        let Some(number) = holds.map(|segment| segment.number) else {
            return Err(ReadError::Retired { from: Lsn(from), oldest: Lsn(layout.segments[0].first_lsn) });
        };
        layout.pins.push(number);
        Ok(number)
    }

    /// Takes one hold of a segment back.
    pub(crate) fn unpin(&self, number: u64) {
        let mut layout = self.layout();
        if let Some(at) = layout.pins.iter().position(|pinned| *pinned == number) {
            layout.pins.swap_remove(at);
        }
    }

    /// Moves one hold to another segment.
    pub(crate) fn repin(&self, from: u64, to: u64) {
        let mut layout = self.layout();
        if let Some(pinned) = layout.pins.iter_mut().find(|pinned| **pinned == from) {
            *pinned = to;
        }
    }
}

/// A scan under way.
struct Pin<'a> {
    shared: &'a Shared,
    number: u64,
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.shared.unpin(self.number);
    }
}

/// Reads durable records; see [`crate::Journal::reader`]. May be used from any thread, and cloned.
pub struct Reader<S> {
    storage: Arc<S>,
    shared: Arc<Shared>,
}

impl<S> Clone for Reader<S> {
    fn clone(&self) -> Self {
        Reader { storage: Arc::clone(&self.storage), shared: Arc::clone(&self.shared) }
    }
}

impl<S: Storage> Reader<S> {
    pub(crate) fn new(storage: Arc<S>, shared: Arc<Shared>) -> Self {
        Reader { storage, shared }
    }

    /// Verifies a journal that nobody serves, without its lock and without changing anything, and gives a reader of
    /// its whole groups (a torn last one is passed over) and the newest valid checkpoint.
    ///
    /// # Errors
    /// As [`crate::Journal::open`]; a directory without a journal is `Damaged` with a missing mark.
    pub fn open(storage: Arc<S>) -> Result<(Self, Option<Checkpoint>), OpenError> {
        let Some(survey) = recover::survey(&*storage)? else {
            return Err(OpenError::Damaged { file: mark::MARK_FILE.into(), offset: 0, damage: Damage::Missing });
        };
        let shared = Shared::new(survey.mark.mark.identity, survey.segments, survey.last);
        Ok((Reader { storage, shared }, survey.checkpoint))
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(crate) fn storage(&self) -> &S {
        &self.storage
    }

    /// Random bytes that tell this journal from every other.
    #[must_use]
    pub fn identity(&self) -> [u8; 16] {
        self.shared.identity
    }

    /// The last record that can be read.
    #[must_use]
    pub fn durable(&self) -> Lsn {
        Lsn(self.shared.durable())
    }

    /// The oldest record that can be read (the next one to come, when there is none).
    #[must_use]
    pub fn oldest(&self) -> Lsn {
        Lsn(self.shared.oldest().first_lsn)
    }

    /// The sealed segments, oldest first.
    #[must_use]
    pub fn sealed(&self) -> Vec<SealedSegment> {
        self.shared.sealed()
    }

    /// Gives the records from `from` to `upto` or the last durable one, both included, until `each` breaks. Returns
    /// the LSN to go on from. Reads the segment of `from` from its beginning: there is no index of records.
    ///
    /// # Errors
    /// [`ReadError::Retired`] when `from` is older than the oldest record; damage; the environment.
    pub fn for_each(
        &self,
        from: Lsn,
        upto: Lsn,
        mut each: impl FnMut(Lsn, &[u8]) -> ControlFlow<()>,
    ) -> Result<Lsn, ReadError> {
        // Fixed before the first read: what is durable now is whole in every page that is read from now on.
        let upto = upto.0.min(self.shared.durable());
        let from = from.0.max(1);
        if from > upto {
            return Ok(Lsn(from));
        }
        let pin = self.shared.pin(from)?;
        let mut scan = SegmentScan::open(&*self.storage, pin.number, &self.shared.identity)?;
        loop {
            while scan.next_lsn <= upto
                && let Step::Group(header) = scan.step(from)?
            {
                let mut next = from;
                let flow = scan.records(&header, |lsn, payload| {
                    if lsn.0 < from {
                        return ControlFlow::Continue(());
                    }
                    if lsn.0 > upto {
                        return ControlFlow::Break(());
                    }
                    next = lsn.0 + 1;
                    each(lsn, payload)
                })?;
                if flow.is_break() {
                    return Ok(Lsn(next));
                }
            }
            if scan.next_lsn > upto {
                return Ok(Lsn(scan.next_lsn));
            }
            scan = self.continue_in_next(&scan)?;
        }
    }

    /// The scan of the segment after `scan`'s, which must continue it.
    pub(crate) fn continue_in_next(&self, scan: &SegmentScan<S::File>) -> Result<SegmentScan<S::File>, ReadError> {
        let number = scan.header.number + 1;
        let exists = self.shared.layout().segments.back().is_some_and(|newest| number <= newest.number);
        if !exists {
            let damage = Damage::BelowMark { first: Lsn(scan.next_lsn), mark: self.durable() };
            return Err(scan.damaged(scan.offset, damage));
        }
        let next = SegmentScan::open(&*self.storage, number, &self.shared.identity)?;
        recover::check_continues(scan, &next)?;
        Ok(next)
    }
}
