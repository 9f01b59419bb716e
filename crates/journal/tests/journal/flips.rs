//! After a clean stop every flipped bit is refused or harmless (K5).

use std::ops::ControlFlow;
use std::sync::Arc;

use journal::memory::MemStorage;
use journal::{Lsn, Options, Reader, write_checkpoint};

use crate::common::{IDENTITY, append, commit, copy, names, open, payload};

fn tiny() -> Options {
    Options { segment_bytes: 2048, group_bytes_max: 1536, reserve_segments: 1, mark_commits: 3 }
}

const LAST: u64 = 26;

/// Two checkpoints, a recycled segment with stale groups at its end, a spare, a clean stop.
fn journal() -> Arc<MemStorage> {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open(&storage, &tiny()).expect("new").journal;
    for count in [1, 1, 1, 2, 2, 9] {
        commit(&mut journal, count);
    }
    for lsn in [7, 16] {
        write_checkpoint(&*storage, Lsn(lsn), &lsn.to_le_bytes()).expect("written");
    }
    journal.retire(journal.durable());
    for count in [1, 1, 1, 1, 5] {
        commit(&mut journal, count);
    }
    append(&mut journal, 1);
    journal.close().expect("clean");
    storage
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
                match Reader::open(Arc::clone(&storage)) {
                    Err(_) => refused += 1,
                    Ok((reader, checkpoint)) => {
                        let from = checkpoint.map_or(0, |checkpoint| checkpoint.lsn.0);
                        let mut records = Vec::new();
                        let read = reader.for_each(Lsn(from + 1), Lsn(u64::MAX), |lsn, bytes| {
                            records.push((lsn.0, bytes.to_vec()));
                            ControlFlow::Continue(())
                        });
                        assert!(read.is_ok(), "{file} {offset} {bit}");
                        check_harmless(&file, offset, bit, from, &records);
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
