//! The journal's promises at their edges: exact sizes, files one byte too short, checkpoints of other places, and counters.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use journal::memory::MemStorage;
use journal::{Lsn, OpenError, Options, write_checkpoint};

use crate::common::{IDENTITY, append, closed, commit, copy, names, open, open_whole, payload, small, upkeep};

const CHECKPOINT_HEADER_BYTES: u64 = 64;

#[test]
fn options_at_their_limits_are_taken() {
    // One sector a group, one group a segment.
    let least = Options { segment_bytes: 1024, group_bytes_max: 512, reserve_segments: 1, mark_commits: 1 };
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &least, 0).journal;
    for _ in 0..5 {
        commit(&mut journal, 1);
    }
    assert_eq!(journal.stats().rotations, 4);
    drop(journal);
    open_whole(&storage, &least, 5);
}

#[test]
fn a_group_is_as_large_as_its_limit_and_no_larger() {
    // 48 bytes before the records and 8 after them, 20 before each payload.
    let options = Options { segment_bytes: 4096, group_bytes_max: 1024, ..small() };
    let check = |first: usize, second: usize, groups: u64, bytes: usize| {
        let storage = Arc::new(MemStorage::new(IDENTITY));
        let mut journal = open(&storage, &options).expect("new").journal;
        journal.append(&vec![1; first]);
        journal.append(&vec![2; second]);
        assert_eq!(journal.open_bytes(), bytes, "{first} and {second}");
        while let Some(commit) = journal.take_commit() {
            journal.committed(commit.run()).expect("durable");
        }
        assert_eq!(journal.stats().commits, groups, "{first} and {second}");
        assert_eq!(journal.open_bytes(), 0);
    };
    check(464, 464, 1, 1024);
    check(900, 28, 1, 1024);
    check(465, 464, 2, 2048);
    check(464, 465, 2, 2048);
    check(900, 29, 2, 1536);
}

#[test]
fn stats_count_groups_records_and_bytes() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    let check = |journal: &journal::Journal<MemStorage>, commits, records, bytes, last| {
        let stats = journal.stats();
        assert_eq!((stats.commits, stats.records, stats.bytes), (commits, records, bytes));
        assert_eq!(stats.last_group_records, last);
    };
    check(&journal, 0, 0, 0, 0);
    commit(&mut journal, 3);
    check(&journal, 1, 3, 512, 3);
    // 1000 bytes and their frame are three sectors.
    journal.append(&[7; 1000]);
    append(&mut journal, 1);
    let large = journal.take_commit().expect("open");
    journal.committed(large.run()).expect("durable");
    check(&journal, 2, 5, 512 + 1536, 2);
    upkeep(&mut journal);
    check(&journal, 2, 5, 512 + 1536, 2);
}

#[test]
fn a_commit_is_in_flight_until_its_outcome_is_taken_and_the_close_waits_for_it() {
    let mut journal = open(&Arc::new(MemStorage::new(IDENTITY)), &small()).expect("new").journal;
    append(&mut journal, 1);
    assert!(!journal.in_flight());
    let commit = journal.take_commit().expect("open");
    assert!(journal.in_flight());
    journal.committed(commit.run()).expect("durable");
    assert!(!journal.in_flight());
    let upkeep = journal.take_upkeep().expect("nothing is in flight");
    assert!(journal.in_flight());
    assert!(catch_unwind(AssertUnwindSafe(|| journal.close())).is_err());
    drop(upkeep);
}

#[test]
fn an_outcome_of_another_journal_asserts() {
    let [mut one, mut other] =
        [1, 2].map(|number| open(&Arc::new(MemStorage::new([number; 16])), &small()).expect("new").journal);
    append(&mut one, 1);
    append(&mut other, 1);
    let (mine, foreign) = (one.take_commit().expect("open"), other.take_commit().expect("open"));
    assert!(catch_unwind(AssertUnwindSafe(|| one.committed(foreign.run()))).is_err());
    assert_eq!(one.committed(mine.run()).expect("durable"), Lsn(1));
}

#[test]
fn the_time_of_a_sync_is_told_and_that_of_upkeep_is_none() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let storage = Arc::new(journal::FsStorage::new(directory.path()).expect("there"));
    let mut journal = open(&storage, &small()).expect("new").journal;
    append(&mut journal, 1);
    let committed = journal.take_commit().expect("open").run();
    let time = committed.sync_time();
    assert!(time > Duration::ZERO);
    journal.committed(committed).expect("durable");
    assert_eq!(journal.stats().last_sync, time);
    let kept = journal.take_upkeep().expect("nothing is in flight").run();
    assert_eq!(kept.sync_time(), Duration::ZERO);
    journal.committed(kept).expect("kept");
    assert_eq!(journal.stats().last_sync, time, "of the last group");
}

#[test]
fn a_checkpoint_without_room_fails_and_leaves_the_one_before() {
    let storage = closed(&[1, 1]);
    write_checkpoint(&*storage, Lsn(1), b"one").expect("written");
    let state = [7; 1000];
    storage.set_space_left(Some(CHECKPOINT_HEADER_BYTES + 999));
    let full = write_checkpoint(&*storage, Lsn(2), &state).expect_err("one byte is missing");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(open(&storage, &small()).expect("sound").checkpoint, Some((1, b"one".to_vec())));
    storage.set_space_left(Some(CHECKPOINT_HEADER_BYTES + 1000));
    write_checkpoint(&*storage, Lsn(2), &state).expect("there is room");
    assert_eq!(open(&storage, &small()).expect("sound").checkpoint, Some((2, state.to_vec())));
}

/// A journal with checkpoints of the records 1 and 3.
fn with_checkpoints() -> (Arc<MemStorage>, &'static str) {
    let storage = closed(&[1, 1, 1, 1]);
    write_checkpoint(&*storage, Lsn(1), b"one").expect("written");
    write_checkpoint(&*storage, Lsn(3), b"three").expect("written");
    (storage, "checkpoint-00000000000000000003")
}

/// The newest checkpoint cannot be used: it is put aside, and the one before serves, with the records after that.
fn check_put_aside(what: &str, storage: &Arc<MemStorage>) {
    let opened = open(storage, &small()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(opened.checkpoint, Some((1, b"one".to_vec())), "{what}");
    assert_eq!(opened.records, [2, 3, 4].map(|lsn| (lsn, payload(lsn))), "{what}");
    assert_eq!(opened.recovered.checkpoints_damaged, [Lsn(3)], "{what}");
    assert!(names(&**storage).contains(&"damaged-checkpoint-00000000000000000003".into()), "{what}");
}

#[test]
fn k5_a_checkpoint_that_is_not_as_it_was_written_is_put_aside() {
    let (storage, name) = with_checkpoints();
    let whole = storage.bytes_of(name).expect("there");
    for bit in 0..whole.len() * 8 {
        let bad = copy(&storage);
        bad.flip_bit(name, bit as u64 / 8, (bit % 8) as u8);
        check_put_aside(&format!("bit {bit}"), &bad);
    }
    for length in 0..whole.len() {
        let bad = copy(&storage);
        bad.put(name, whole[..length].to_vec());
        check_put_aside(&format!("{length} bytes"), &bad);
    }
    let bad = copy(&storage);
    bad.put(name, [&whole[..], b"!"].concat());
    check_put_aside("a byte more", &bad);
    // Whole, and of another record than its name says.
    let bad = copy(&storage);
    bad.put(name, storage.bytes_of("checkpoint-00000000000000000001").expect("there"));
    check_put_aside("another checkpoint under its name", &bad);
    // What no checkpoint begins with.
    let mut other = whole.clone();
    other[0] = b'X';
    let crc = crc32c::crc32c(&other[..60]);
    other[60..64].copy_from_slice(&crc.to_le_bytes());
    let bad = copy(&storage);
    bad.put(name, other);
    check_put_aside("something else with a check that fits", &bad);
}

#[test]
fn an_empty_state_is_a_checkpoint_too() {
    let (storage, _) = with_checkpoints();
    write_checkpoint(&*storage, Lsn(4), b"").expect("written");
    let opened = open(&storage, &small()).expect("sound");
    assert_eq!((opened.checkpoint, opened.records.len()), (Some((4, Vec::new())), 0));
}

#[test]
fn errors_tell_the_numbers_of_records() {
    let refused = journal::Journal::open(closed(&[1, 1, 1]), small(), |replay| match replay {
        journal::Replay::Record(Lsn(3), _) => Err("no such kind of record".into()),
        journal::Replay::Record(..) | journal::Replay::Checkpoint(_) => Ok(()),
    });
    let Err(error @ OpenError::Rejected { .. }) = refused.map(|_| ()) else { panic!("taken") };
    assert!(error.to_string().starts_with("record 3 was not accepted: no such kind of record"), "{error}");
}
