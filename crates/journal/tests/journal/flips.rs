//! Every flipped bit is refused or harmless (K5); only after a crash the last group may be cut instead.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use journal::memory::MemStorage;
use journal::{Journal, Lsn, Options, Reader, write_checkpoint};

use crate::common::{IDENTITY, append, commit, copy, names, open, payload};

fn tiny() -> Options {
    Options { segment_bytes: 2048, group_bytes_max: 1536, reserve_segments: 1, mark_commits: 3 }
}

const LAST: u64 = 26;

/// Two checkpoints, a recycled segment with stale groups at its end, a spare; with groups of these sizes at the end.
fn served(groups: &[u64]) -> (Arc<MemStorage>, Journal<MemStorage>) {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open(&storage, &tiny()).expect("new").journal;
    for count in [1, 1, 1, 2, 2, 9] {
        commit(&mut journal, count);
    }
    for lsn in [7, 16] {
        write_checkpoint(&*storage, Lsn(lsn), &lsn.to_le_bytes()).expect("written");
    }
    journal.retire(journal.durable());
    for count in groups {
        commit(&mut journal, *count);
    }
    (storage, journal)
}

/// The same after a clean stop.
fn journal() -> Arc<MemStorage> {
    let (storage, mut journal) = served(&[1, 1, 1, 1, 5]);
    append(&mut journal, 1);
    journal.close().expect("clean");
    storage
}

/// Records with their numbers.
type Records = Vec<(u64, Vec<u8>)>;

/// The record of the checkpoint, and the records after it; `None` when the journal is refused.
fn read(storage: &Arc<MemStorage>) -> Option<(u64, Records)> {
    let (reader, checkpoint) = Reader::open(Arc::clone(storage)).ok()?;
    let from = checkpoint.map_or(0, |checkpoint| checkpoint.lsn.0);
    let mut records = Vec::new();
    let read = reader.for_each(Lsn(from + 1), Lsn(u64::MAX), |lsn, bytes| {
        records.push((lsn.0, bytes.to_vec()));
        ControlFlow::Continue(())
    });
    read.expect("what is sound can be read");
    Some((from, records))
}

/// What there is after a flip, if it is not refused, must be what was there before.
fn check_harmless(file: &str, offset: u64, bit: u8, checkpoint: u64, records: &[(u64, Vec<u8>)]) {
    let place = format!("{file} byte {offset} bit {bit}");
    assert!(checkpoint == 16 || (checkpoint == 7 && file.starts_with("checkpoint")), "{place}: {checkpoint}");
    let expected: Vec<_> = (checkpoint + 1..=LAST).map(|lsn| (lsn, payload(lsn))).collect();
    assert!(records == expected, "{place}: records differ");
}

#[test]
fn k5_every_flipped_bit_after_a_clean_stop_is_refused_or_harmless() {
    let storage = journal();
    let files = names(&*storage);
    for kind in ["mark", "lock", "segment-", "spare-", "checkpoint-"] {
        // The lock of this storage is no file.
        assert_eq!(files.iter().any(|name| name.starts_with(kind)), kind != "lock", "{kind} in {files:?}");
    }
    let (mut refused, mut harmless) = (0, 0);
    for file in files {
        let bytes = storage.bytes_of(&file).expect("there").len() as u64;
        for offset in 0..bytes {
            for bit in 0..8 {
                storage.flip_bit(&file, offset, bit);
                match read(&storage) {
                    None => refused += 1,
                    Some((checkpoint, records)) => {
                        check_harmless(&file, offset, bit, checkpoint, &records);
                        harmless += 1;
                    }
                }
                storage.flip_bit(&file, offset, bit);
            }
        }
    }
    println!("refused {refused}, harmless {harmless}");
    assert!(refused > 30_000, "{refused} flips were refused");
}

#[test]
fn k5_after_a_harmless_flip_the_journal_goes_on() {
    let storage = journal();
    for file in names(&*storage) {
        let bytes = storage.bytes_of(&file).expect("there").len() as u64;
        for place in (0..bytes * 8).step_by(13) {
            let (offset, bit) = (place / 8, (place % 8) as u8);
            let flipped = copy(&storage);
            flipped.flip_bit(&file, offset, bit);
            let Ok(opened) = open(&flipped, &tiny()) else {
                continue;
            };
            let checkpoint = opened.recovered.checkpoint.map_or(0, |lsn| lsn.0);
            check_harmless(&file, offset, bit, checkpoint, &opened.records);
            let mut journal = opened.journal;
            commit(&mut journal, 2);
            drop(journal);
            let again = open(&flipped, &tiny()).unwrap_or_else(|error| panic!("{file} {offset} {bit}: {error}"));
            assert_eq!(again.recovered.last, Lsn(LAST + 2));
        }
    }
}

/// Flips every bit of a journal that was not stopped, which ends with record `last`. All must be refused, or be as if nothing
/// had been; but `may_go`, the bytes of the last group in its segment, may have been torn: then that group is cut, which
/// leaves `kept` as the last record.
fn check_after_a_crash(name: &str, storage: &Arc<MemStorage>, segment: &str, may_go: Range<u64>, kept: u64, last: u64) {
    let (mut refused, mut harmless, mut cut) = (0, 0, 0);
    for file in names(&**storage) {
        let bytes = storage.bytes_of(&file).expect("there").len() as u64;
        for place in 0..bytes * 8 {
            let (offset, bit) = (place / 8, (place % 8) as u8);
            storage.flip_bit(&file, offset, bit);
            let read = read(storage);
            storage.flip_bit(&file, offset, bit);
            let Some((from, records)) = read else {
                refused += 1;
                continue;
            };
            let end = records.last().map_or(from, |(lsn, _)| *lsn);
            let what = format!("{name}: {file} byte {offset} bit {bit}: records {from} to {end}");
            assert!(from == 16 || (from == 7 && file.starts_with("checkpoint")), "{what}");
            assert!(end == last || (end == kept && file == segment && may_go.contains(&offset)), "{what}");
            assert!(records.iter().all(|(lsn, bytes)| *bytes == payload(*lsn)), "{what}");
            if end == last { harmless += 1 } else { cut += 1 }
        }
    }
    println!("{name}: refused {refused}, harmless {harmless}, the last group cut {cut}");
    assert_eq!(cut, (may_go.end - may_go.start) * 8, "no bit of the last group goes unnoticed");
}

#[test]
fn k5_every_flipped_bit_after_a_crash_is_refused_or_harmless_but_for_the_last_group() {
    // The last group is of two sectors; or there is a group before it that the mark does not cover either.
    for (groups, last_group, kept) in [(&[7][..], 1024..2048, 18), (&[1, 1], 1536..2048, 19)] {
        let (storage, mut journal) = served(&[1, 1]);
        let mark = storage.bytes_of("mark").expect("there");
        groups.iter().for_each(|count| commit(&mut journal, *count));
        let last = journal.durable().0;
        drop(journal);
        assert!(storage.bytes_of("mark").expect("there") == mark, "{groups:?} lie above the mark");
        let segment = names(&*storage).into_iter().rfind(|name| name.starts_with("segment-")).expect("one");
        check_after_a_crash("killed", &storage, &segment, last_group, kept, last);
    }
}

#[test]
fn k5_every_flipped_bit_after_a_crash_is_refused_or_harmless_where_the_mark_covers_the_last_group() {
    // The last group began a segment, and with it the mark was written.
    let (storage, journal) = served(&[1, 1, 1, 9]);
    assert_eq!(journal.sealed().last().map(|sealed| sealed.last), Some(Lsn(19)));
    drop(journal);
    check_after_a_crash("just begun", &storage, "none", 0..0, 0, 28);
}
