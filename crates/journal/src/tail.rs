//! Following a journal that is being written, and finding single records again: what a view beside the journal needs.
//!
//! A view notes where each record lies ([`Position`]) while it follows with a [`Tail`], and comes back for it with
//! [`Reader::read_at`]. Not here: any knowledge of what a record says.
//!
//! Invariant: a tail gives every durable record from its beginning on, once, in order; the segment that it stands in is
//! not recycled while it lives.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::Lsn;
use crate::error::{Damage, ReadError};
use crate::format::{GroupHeader, check_chain};
use crate::reader::{Reader, Shared};
use crate::scan::{SegmentScan, Step};
use crate::storage::Storage;

/// Where the group of a record lies. Stays true for as long as its segment is not retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Where in its file the group begins, in bytes.
    pub offset: u64,
}

/// Keeps a segment and all after it from being recycled, for as long as it lives.
struct Hold {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.unpin(self.number);
    }
}

/// Reads on where it stopped; see [`Reader::tail`].
pub struct Tail<S: Storage> {
    reader: Reader<S>,
    scan: SegmentScan<S::File>,
    hold: Hold,
    /// The record that comes next.
    next: u64,
}

impl<S: Storage> Reader<S> {
    /// Follows the journal from record `from` on, which may be the one after the last.
    ///
    /// # Errors
    /// [`ReadError::Retired`] when `from` is older than the oldest record; damage; the environment.
    pub fn tail(&self, from: Lsn) -> Result<Tail<S>, ReadError> {
        let from = from.0.max(1);
        let shared = Arc::clone(self.shared());
        let number = shared.hold(from)?;
        let hold = Hold { shared, number };
        let scan = SegmentScan::open(self.storage(), number, &self.shared().identity)?;
        Ok(Tail { reader: self.clone(), scan, hold, next: from })
    }

    /// Gives these records, which must be in the order of their LSNs. Checks each group that it reads.
    ///
    /// # Errors
    /// [`ReadError::Retired`]: the oldest of them is gone. [`ReadError::Damaged`] also when a record does not lie where
    /// it is said to; the environment.
    pub fn read_at(&self, places: &[(Lsn, Position)], mut each: impl FnMut(Lsn, &[u8])) -> Result<(), ReadError> {
        let Some((first, _)) = places.first() else { return Ok(()) };
        let shared = Arc::clone(self.shared());
        let number = shared.hold(first.0)?;
        let _hold = Hold { shared, number };
        let mut open: Option<SegmentScan<S::File>> = None;
        for (lsn, position) in places {
            let mut scan = match open.take().filter(|scan| scan.header.number == position.segment) {
                Some(scan) => scan,
                None => SegmentScan::open(self.storage(), position.segment, &self.shared().identity)?,
            };
            let damaged = scan.damaged(position.offset, Damage::Record(*lsn));
            let Some(header) = scan.go_to(position.offset, *lsn)? else { return Err(damaged) };
            let mut found = false;
            let _ = scan.records(&header, |at, payload| {
                if at != *lsn {
                    return ControlFlow::Continue(());
                }
                found = true;
                each(at, payload);
                ControlFlow::Break(())
            })?;
            if !found {
                return Err(damaged);
            }
            open = Some(scan);
        }
        Ok(())
    }
}

impl<S: Storage> Tail<S> {
    /// The record that it gives next.
    #[must_use]
    pub fn next(&self) -> Lsn {
        Lsn(self.next)
    }

    /// Gives the durable records that come next, with the place of each, until `each` breaks or there are no more.
    ///
    /// # Errors
    /// Damage; the environment. Where it stands is not changed by one.
    pub fn take(&mut self, mut each: impl FnMut(Lsn, Position, &[u8]) -> ControlFlow<()>) -> Result<(), ReadError> {
        // Fixed before the first read, as in `for_each`. What was read ahead earlier may have been written since.
        let upto = self.reader.durable().0;
        self.scan.forget_read();
        while self.next <= upto {
            if self.scan.next_lsn > upto || !self.step(upto, &mut each)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// One group, or the change to the next segment. False when `each` breaks.
    fn step(
        &mut self,
        upto: u64,
        each: &mut impl FnMut(Lsn, Position, &[u8]) -> ControlFlow<()>,
    ) -> Result<bool, ReadError> {
        let Step::Group(header) = self.scan.step(self.next)? else {
            // Passed groups alone may have moved it to where the durable records end.
            if self.scan.next_lsn <= upto {
                self.scan = self.reader.continue_in_next(&self.scan)?;
                self.hold.move_to(self.scan.header.number);
            }
            return Ok(true);
        };
        let position = Position { segment: self.scan.header.number, offset: self.scan.group_offset };
        let next = &mut self.next;
        let flow = self.scan.records(&header, |lsn, payload| {
            if lsn.0 < *next {
                return ControlFlow::Continue(());
            }
            *next = lsn.0 + 1;
            each(lsn, position, payload)
        });
        if self.next < header.next_lsn() {
            self.scan.step_back(&header);
        }
        Ok(flow?.is_continue())
    }
}

impl Hold {
    fn move_to(&mut self, number: u64) {
        self.shared.repin(self.number, number);
        self.number = number;
    }
}

impl<F: crate::storage::StorageFile> SegmentScan<F> {
    /// The whole group at `offset` that holds `lsn`; its records are at hand until the next step.
    fn go_to(&mut self, offset: u64, lsn: Lsn) -> Result<Option<GroupHeader>, ReadError> {
        if !self.has_room(offset) {
            return Ok(None);
        }
        let header = self.header_at(offset)?.filter(|header| (header.first_lsn..header.next_lsn()).contains(&lsn.0));
        let Some(header) = header else { return Ok(None) };
        self.group_offset = offset;
        let whole = check_chain(self.group(&header)?, &header).is_some();
        Ok(Some(header).filter(|_| whole))
    }

    /// Takes the last step back: its group, which was `header`, comes again.
    fn step_back(&mut self, header: &GroupHeader) {
        (self.offset, self.next_lsn, self.chain) = (self.group_offset, header.first_lsn, header.chain_before);
    }
}
