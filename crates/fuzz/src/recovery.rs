//! Recovery of a journal whose files are not as they were left.
//!
//! ```text
//! byte 0   bit 0: cleanly stopped; bit 1: checksums and chain values are made good again after the changes
//! then     changes of 5 bytes: what, which file, where (2, in eighths of a sector), a value
//! ```
//! Bytes that a checksum refuses never reach what reads behind it, so half of the inputs have theirs mended. Such a journal is a
//! forgery and may hold anything; it must still be read without a panic, the same each time, and go on.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use journal::memory::MemStorage;
use journal::{Journal, Lsn, Options, Reader, Replay, write_checkpoint};

use crate::bound::holding_at_most;

const IDENTITY: [u8; 16] = *b"journal to spoil";
const SECTOR: usize = 512;
const RECORDS: u64 = 15;

fn options() -> Options {
    Options { segment_bytes: 2048, group_bytes_max: 1536, reserve_segments: 1, mark_commits: 3 }
}

type Files = BTreeMap<String, Vec<u8>>;
type Records = Vec<(u64, Vec<u8>)>;

fn payload(lsn: u64) -> Vec<u8> {
    let mut bytes = lsn.to_le_bytes().to_vec();
    bytes.resize(8 + (lsn * 37 % 90) as usize, lsn as u8);
    bytes
}

/// Checkpoints, a recycled segment with stale groups, a spare; stopped cleanly or killed.
fn make(clean: bool) -> Files {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let (mut journal, _) = Journal::open(Arc::clone(&storage), options(), |_| Ok(())).expect("a new journal");
    let commit = |journal: &mut Journal<MemStorage>, count: u64| {
        for _ in 0..count {
            let lsn = journal.next_lsn();
            journal.append(&payload(lsn.0));
        }
        let commit = journal.take_commit().expect("a group is open");
        journal.committed(commit.run()).expect("durable");
    };
    for count in [1, 1, 1, 2, 2] {
        commit(&mut journal, count);
    }
    for lsn in [3, 7] {
        write_checkpoint(&*storage, Lsn(lsn), &lsn.to_le_bytes()).expect("written");
    }
    journal.retire(journal.durable());
    for count in [1, 1, 4, 2] {
        commit(&mut journal, count);
    }
    assert_eq!(journal.durable(), Lsn(RECORDS));
    if clean {
        journal.close().expect("a clean stop");
    } else {
        drop(journal);
    }
    let names = journal::Storage::list(&*storage).expect("listed");
    names.into_iter().filter_map(|name| storage.bytes_of(&name).map(|bytes| (name, bytes))).collect()
}

fn base(clean: bool) -> &'static Files {
    static CLEAN: OnceLock<Files> = OnceLock::new();
    static KILLED: OnceLock<Files> = OnceLock::new();
    if clean { CLEAN.get_or_init(|| make(true)) } else { KILLED.get_or_init(|| make(false)) }
}

/// A small journal, changed. It is refused, or opened: then a reader sees the same, a second opening finds the same and cuts
/// nothing more, and it goes on. Without mended checksums what is found is what was written, from the first or a checkpoint on;
/// and where one change after a clean stop is all, nothing of it is missing (K5).
///
/// # Panics
/// When one of these does not hold.
pub fn journal_recovery(data: &[u8]) {
    let Some((flags, changes)) = data.split_first() else { return };
    let (clean, mended) = (flags & 1 == 1, flags & 2 == 2);
    let mut files = base(clean).clone();
    changes.chunks_exact(5).take(24).for_each(|change| spoil(&mut files, change));
    if mended {
        mend(&mut files);
    }
    let size: usize = files.values().map(Vec::len).sum();
    let whole = clean && !mended && changes.len() < 10;
    holding_at_most((2 << 20) + 16 * size, || recovered(&files, mended, whole));
}

/// `whole`: nothing may be missing of what is found.
fn recovered(files: &Files, mended: bool, whole: bool) {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    files.iter().for_each(|(name, bytes)| storage.put(name, bytes.clone()));
    let read = read(&storage);
    let unchanged = files.iter().all(|(name, bytes)| storage.bytes_of(name).as_ref() == Some(bytes));
    assert!(unchanged, "a reader changes nothing");
    let opened = open(&storage);
    let (journal, records, checkpoint, torn) = match (opened, read) {
        (Err(_), Err(_)) => return,
        // What a reader has no use for: an empty directory, from which a journal is made.
        (Ok(_), Err(_)) if files.keys().all(|name| !name.starts_with("segment-")) => return,
        // What only a writer needs: room for a segment, its lock.
        (Err(why), Ok(_)) => panic!("a reader reads it, and it is not opened: {why}"),
        (Ok(_), Err(why)) => panic!("opened, and not read: {why}"),
        (Ok((journal, records, checkpoint, torn)), Ok((seen, seen_checkpoint))) => {
            assert_eq!((&seen, seen_checkpoint), (&records, checkpoint), "a reader sees what an opening finds");
            (journal, records, checkpoint, torn)
        }
    };
    assert!(torn <= 1, "one group at most is torn");
    let from = checkpoint.unwrap_or(0);
    assert!(records.iter().zip(from + 1..).all(|((lsn, _), due)| *lsn == due), "in order, without a gap");
    if !mended {
        let original = records.iter().all(|(lsn, bytes)| *lsn <= RECORDS && *bytes == payload(*lsn));
        assert!(original, "what was never written is found");
        assert!(checkpoint.is_none_or(|lsn| lsn == 3 || lsn == 7));
    }
    let last = journal.durable();
    assert!(!whole || last == Lsn(RECORDS), "records are missing, and nobody was told");
    drop(journal);
    let (mut journal, again, _, torn) = open(&storage).expect("what opened once opens again");
    assert_eq!((again, torn), (records, 0), "a second opening finds the same");
    let lsn = journal.append(b"goes on");
    assert_eq!(lsn, last.next());
    let commit = journal.take_commit().expect("a group is open");
    journal.committed(commit.run()).expect("durable");
    drop(journal);
    let (_, records, ..) = open(&storage).expect("and again with more in it");
    assert_eq!(records.last(), Some(&(lsn.0, b"goes on".to_vec())));
}

fn read(storage: &Arc<MemStorage>) -> Result<(Records, Option<u64>), journal::OpenError> {
    let (reader, checkpoint) = Reader::open(Arc::clone(storage))?;
    let checkpoint = checkpoint.map(|checkpoint| checkpoint.lsn.0);
    let mut records = Vec::new();
    let from = Lsn(checkpoint.unwrap_or(0) + 1);
    let read = reader.for_each(from, Lsn(u64::MAX), |lsn, bytes| {
        records.push((lsn.0, bytes.to_vec()));
        ControlFlow::Continue(())
    });
    read.expect("what was verified can be read");
    Ok((records, checkpoint))
}

type Opened = (Journal<MemStorage>, Records, Option<u64>, u64);

fn open(storage: &Arc<MemStorage>) -> Result<Opened, journal::OpenError> {
    let (mut records, mut checkpoint) = (Vec::new(), None);
    let (journal, recovered) = Journal::open(Arc::clone(storage), options(), |replay| {
        match replay {
            Replay::Checkpoint(found) => checkpoint = Some(found.lsn.0),
            Replay::Record(lsn, payload) => records.push((lsn.0, payload.to_vec())),
        }
        Ok(())
    })?;
    Ok((journal, records, checkpoint, recovered.torn_groups_cut))
}

/// One change: the file by its place among the names, so that each is reached.
fn spoil(files: &mut Files, change: &[u8]) {
    let [what, which, low, high, value] = *change else { return };
    let Some(name) = files.keys().nth(usize::from(which) % files.len().max(1)).cloned() else { return };
    let place = usize::from(u16::from_le_bytes([low, high]));
    let Some(bytes) = files.get_mut(&name) else { return };
    let sectors = (bytes.len() / SECTOR).max(1);
    let (sector, at) = (place % sectors * SECTOR, place % bytes.len().max(1));
    match what % 9 {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (value % 8)),
        1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value),
        // The extremes of a number of eight bytes.
        2 => bytes.iter_mut().skip(at / 8 * 8).take(8).for_each(|byte| *byte = if value % 2 == 0 { 0xFF } else { 0 }),
        3 => bytes.iter_mut().skip(sector).take(SECTOR).for_each(|byte| *byte = if value % 2 == 0 { 0 } else { value }),
        4 => bytes.truncate(sector + usize::from(value)),
        5 => bytes.resize((bytes.len() + usize::from(value) * 8).min(16 << 10), value),
        6 => {
            let from = usize::from(value) % sectors * SECTOR;
            if from + SECTOR <= bytes.len() && sector + SECTOR <= bytes.len() {
                bytes.copy_within(from..from + SECTOR, sector);
            }
        }
        7 => {
            files.remove(&name);
        }
        _ => {
            // Under another number: a segment, a checkpoint, a spare of the wrong place.
            let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
            let digits = name.len() - stem.len();
            let renamed = format!("{stem}{value:0digits$}");
            if let Some(bytes) = files.remove(&name) {
                files.insert(renamed, bytes);
            }
        }
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut wide = [0; 8];
    wide[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(wide)
}

/// Makes every checksum and chain value good again, by the format as the journal's head draws it.
fn mend(files: &mut Files) {
    let mut chain = None;
    for (name, bytes) in files.iter_mut() {
        if name == "mark" {
            for slot in [0, 4096] {
                if bytes.len() >= slot + SECTOR {
                    let crc = crc32c::crc32c(&bytes[slot..slot + 508]);
                    put(bytes, slot + 508, &crc.to_le_bytes());
                }
            }
        } else if name.starts_with("checkpoint-") && bytes.len() >= 64 {
            let state = crc32c::crc32c(&bytes[64..]);
            put(bytes, 12, &state.to_le_bytes());
            let crc = crc32c::crc32c(&bytes[..60]);
            put(bytes, 60, &crc.to_le_bytes());
        } else if name.starts_with("segment-") && bytes.len() >= SECTOR {
            // Names are in order, and so are the segments.
            chain.iter().for_each(|chain: &u64| put(bytes, 48, &chain.to_le_bytes()));
            let crc = crc32c::crc32c(&bytes[..508]);
            put(bytes, 508, &crc.to_le_bytes());
            chain = Some(mend_groups(bytes));
        }
    }
}

/// Gives the chain value after the last group.
fn mend_groups(bytes: &mut [u8]) -> u64 {
    let (mut at, segment, mut chain) = (SECTOR, number::<8>(bytes, 32), number::<8>(bytes, 48));
    while at + SECTOR <= bytes.len() && bytes[at..at + 8] == *b"SWJGROUP" {
        let length = (48 + 8 + number::<4>(bytes, at + 36) as usize).next_multiple_of(SECTOR);
        let Some(group) = bytes.get_mut(at..at + length) else { break };
        if number::<8>(group, 8) != segment {
            break;
        }
        mend_records(group);
        put(group, 24, &chain.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&IDENTITY), &group[..44]);
        put(group, 44, &crc.to_le_bytes());
        let crc = crc32c::crc32c(&group[..length - 8]);
        chain = mix(chain ^ ((length as u64) << 32 | u64::from(crc)));
        put(group, length - 8, &chain.to_le_bytes());
        at += length;
    }
    chain
}

fn mend_records(group: &mut [u8]) {
    let end = (48 + number::<4>(group, 36) as usize).min(group.len() - 8);
    let mut at = 48;
    while at + 20 <= end {
        let record_end = (at + 20 + number::<4>(group, at + 4) as usize).min(end);
        let crc = crc32c::crc32c(&group[at + 4..record_end]);
        put(group, at, &crc.to_le_bytes());
        at = record_end;
    }
}

/// The finalizer of splitmix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mending is right: of a journal that nobody changed it changes nothing.
    #[test]
    fn a_whole_journal_needs_no_mending() {
        for clean in [true, false] {
            let mut files = base(clean).clone();
            mend(&mut files);
            for (name, bytes) in &files {
                // A slot of the mark that was never written is made a checksum for nothing.
                assert!(bytes == &base(clean)[name], "{name}");
            }
            recovered(&files, false, true);
        }
    }
}
