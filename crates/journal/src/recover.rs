//! What is in a directory, judged by K5 without changing anything.
//!
//! Invariant: a survey succeeds only if every record at or below the mark is there and whole, and only the group after
//! the last one can be bad.

use crate::Lsn;
use crate::checkpoint::{self, Checkpoint};
use crate::error::{Damage, OpenError, ReadError};
use crate::format::{GroupHeader, Identity, chain_start};
use crate::mark::{MARK_FILE, MarkFile};
use crate::mutant::{Mutant, on};
use crate::reader::Segment;
use crate::scan::{SegmentScan, Step, Stop, segment_name, segment_number};
use crate::storage::{Storage, StorageFile};

/// The state of a sound journal.
pub(crate) struct Survey<F> {
    pub mark: MarkFile<F>,
    /// All files of the directory.
    pub names: Vec<String>,
    /// The segments that count, ascending.
    pub segments: Vec<Segment>,
    /// Numbers of segments that were retired but not removed yet.
    pub retired: Vec<u64>,
    /// The active segment, scanned to its end.
    pub tail: SegmentScan<F>,
    /// The last group of the active segment.
    pub last_group: Option<GroupHeader>,
    /// Whether something that is no group follows it.
    pub torn: bool,
    /// The last whole record.
    pub last: u64,
    /// The newest valid checkpoint.
    pub checkpoint: Option<Checkpoint>,
    /// Checkpoints newer than that which fail their check.
    pub checkpoints_damaged: Vec<Lsn>,
}

impl<F> Survey<F> {
    /// Whether the last stop was clean, and nothing was written since.
    pub(crate) fn clean(&self) -> bool {
        self.mark.mark.clean && self.mark.mark.durable == self.last
    }
}

/// Surveys a directory. `None` when there is no journal in it, or one whose making was interrupted.
pub(crate) fn survey<S: Storage>(storage: &S) -> Result<Option<Survey<S::File>>, OpenError> {
    let names = storage.list().map_err(|source| OpenError::Io { action: "list", file: ".".into(), source })?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let checkpoints = checkpoint::listed(&names);
    let Some(mark) = MarkFile::open(storage)? else {
        return if numbers.is_empty() && checkpoints.is_empty() {
            Ok(None)
        } else {
            Err(OpenError::Damaged { file: MARK_FILE.into(), offset: 0, damage: Damage::Missing })
        };
    };
    if numbers.is_empty() && mark.mark.newest == 0 {
        return Ok(None);
    }
    let retired: Vec<u64> = numbers.iter().copied().filter(|n| *n < mark.mark.oldest).collect();
    numbers.retain(|n| *n >= mark.mark.oldest);
    check_numbers(&numbers, mark.mark.oldest, mark.mark.newest)?;

    let identity = mark.mark.identity;
    let mut segments = Vec::with_capacity(numbers.len());
    let mut current: Option<(SegmentScan<S::File>, ScanEnd)> = None;
    for number in numbers {
        let mut next = SegmentScan::open(storage, number, &identity)?;
        match &current {
            None => check_first(&next, &identity)?,
            Some((before, _)) => check_continues(before, &next)?,
        }
        segments.push(Segment { number, first_lsn: next.header.first_lsn });
        let end = scan_to_end(&mut next)?;
        current = Some((next, end));
    }
    let Some((mut tail, mut end)) = current else {
        let file = segment_name(mark.mark.oldest);
        return Err(OpenError::Damaged { file, offset: 0, damage: Damage::Missing });
    };
    check_tail(&mut tail, &end, mark.mark.durable)?;
    if let (Stop::Bad, Some(before)) = (end.stop, end.last_start.filter(|_| on(Mutant::CutTooMuch))) {
        (tail.offset, tail.next_lsn, tail.chain) = before;
        end.last_group = None;
    }
    let last = tail.next_lsn - 1;
    let oldest = Lsn(segments[0].first_lsn);
    let (checkpoint, checkpoints_damaged) = choose_checkpoint(storage, &checkpoints, &identity, oldest, Lsn(last))?;
    let torn = end.stop == Stop::Bad;
    let last_group = end.last_group;
    Ok(Some(Survey { mark, names, segments, retired, tail, last_group, torn, last, checkpoint, checkpoints_damaged }))
}

/// Every segment from the oldest to the newest that the mark names is there, without a hole.
fn check_numbers(numbers: &[u64], oldest: u64, newest: u64) -> Result<(), OpenError> {
    let last = numbers.last().copied().unwrap_or(0).max(newest).max(oldest);
    let missing = (oldest..=last).zip(numbers.iter().copied().map(Some).chain(std::iter::repeat(None)));
    match missing.into_iter().find(|(due, found)| Some(*due) != *found) {
        None => Ok(()),
        Some((due, _)) => Err(OpenError::Damaged { file: segment_name(due), offset: 0, damage: Damage::Missing }),
    }
}

/// The first segment of a journal begins with its first record; of a later one its header is believed.
fn check_first<F: StorageFile>(scan: &SegmentScan<F>, identity: &Identity) -> Result<(), ReadError> {
    let first = scan.header.number == 1;
    if first && (scan.header.first_lsn != 1 || scan.header.chain != chain_start(identity)) {
        return Err(scan.damaged(0, Damage::Chain));
    }
    Ok(())
}

/// `next` begins with the record and the chain value that `before` ends with.
pub(crate) fn check_continues<F: StorageFile>(before: &SegmentScan<F>, next: &SegmentScan<F>) -> Result<(), ReadError> {
    if next.header.first_lsn != before.next_lsn {
        let damage = Damage::Gap { expected: Lsn(before.next_lsn), found: Lsn(next.header.first_lsn) };
        return Err(before.damaged(before.offset, damage));
    }
    if next.header.chain != before.chain {
        return Err(next.damaged(0, Damage::Chain));
    }
    Ok(())
}

/// How a scan ended.
struct ScanEnd {
    stop: Stop,
    last_group: Option<GroupHeader>,
    /// Where the last group begins: offset, LSN and chain value.
    last_start: Option<(u64, u64, u64)>,
}

fn scan_to_end<F: StorageFile>(scan: &mut SegmentScan<F>) -> Result<ScanEnd, ReadError> {
    let (mut last_group, mut last_start) = (None, None);
    loop {
        match scan.step(0)? {
            Step::Group(header) => {
                let before = (scan.group_offset, header.first_lsn, header.chain_before);
                let _ = scan.records(&header, |_, _| std::ops::ControlFlow::Continue(()))?;
                last_group = Some(header);
                last_start = Some(before);
            }
            Step::Stop(stop) => return Ok(ScanEnd { stop, last_group, last_start }),
        }
    }
}

/// K5 at the end of the journal: what follows the last whole group is damage, torn, or nothing.
fn check_tail<F: StorageFile>(tail: &mut SegmentScan<F>, end: &ScanEnd, durable: u64) -> Result<(), ReadError> {
    let first = Lsn(tail.next_lsn);
    if on(Mutant::DamageIsTorn) {
        return Ok(());
    }
    if end.stop != Stop::Full
        && let Some((later_offset, later)) = tail.later_group()?
    {
        let damage = Damage::BeforeWhole { first, later: Lsn(later.first_lsn), later_offset };
        return Err(tail.damaged(tail.offset, damage));
    }
    if first.0 <= durable {
        return Err(tail.damaged(tail.offset, Damage::BelowMark { first, mark: Lsn(durable) }));
    }
    Ok(())
}

/// The newest checkpoint that passes its check, and those newer that do not.
fn choose_checkpoint<S: Storage>(
    storage: &S,
    listed: &[Lsn],
    identity: &Identity,
    oldest: Lsn,
    last: Lsn,
) -> Result<(Option<Checkpoint>, Vec<Lsn>), OpenError> {
    let mut damaged = Vec::new();
    for lsn in listed.iter().rev() {
        let Some(checkpoint) = checkpoint::read(storage, *lsn, identity)? else {
            damaged.push(*lsn);
            continue;
        };
        let refused = |damage| OpenError::Damaged { file: checkpoint::file_name(*lsn), offset: 0, damage };
        if *lsn > last {
            return Err(refused(Damage::OlderThanCheckpoint { checkpoint: *lsn, last }));
        }
        if lsn.next() < oldest {
            return Err(refused(Damage::NoCheckpoint(oldest)));
        }
        return Ok((Some(checkpoint), damaged));
    }
    if oldest != Lsn(1) {
        let file = damaged.first().map_or_else(|| "checkpoint".into(), |lsn| checkpoint::file_name(*lsn));
        return Err(OpenError::Damaged { file, offset: 0, damage: Damage::NoCheckpoint(oldest) });
    }
    Ok((None, damaged))
}
