//! The journal's promises at their edges: exact sizes, files one byte too short, checkpoints of other places, and counters.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use journal::memory::MemStorage;
use journal::{Damage, Lsn, OpenError, Options, write_checkpoint};

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

const SEGMENT: &str = "segment-0000000000000001";

fn refused(storage: &Arc<MemStorage>) -> (String, u64, Damage) {
    match open(storage, &small()) {
        Err(OpenError::Damaged { file, offset, damage }) => (file, offset, damage),
        Err(other) => panic!("refused otherwise: {other}"),
        Ok(opened) => panic!("opened: {:?}", opened.recovered),
    }
}

#[test]
fn k5_a_segment_of_another_length_is_refused_with_both() {
    let storage = closed(&[1]);
    let whole = storage.bytes_of(SEGMENT).expect("there");
    for (found, expected) in [(0, 512), (100, 512), (511, 512), (512, 4096), (4000, 4096), (4095, 4096)] {
        storage.put(SEGMENT, whole[..found as usize].to_vec());
        assert_eq!(refused(&storage), (SEGMENT.into(), 0, Damage::Length { expected, found }));
    }
    storage.put(SEGMENT, [&whole[..], b"!"].concat());
    assert_eq!(refused(&storage).2, Damage::Length { expected: 4096, found: 4097 });
}

#[test]
fn k5_a_journal_that_lost_its_only_segment_is_refused() {
    let storage = closed(&[1]);
    storage.take(SEGMENT);
    assert_eq!(refused(&storage), (SEGMENT.into(), 0, Damage::Missing));
}

#[test]
fn k5_checkpoints_without_a_journal_are_refused() {
    let (storage, _) = with_checkpoints();
    storage.take(SEGMENT);
    storage.take("mark");
    assert_eq!(refused(&storage), ("mark".into(), 0, Damage::Missing));
}

#[test]
fn k5_a_damaged_slot_of_the_mark_leaves_the_other() {
    // After a clean stop both say the same, so that nothing is lost with one of them.
    let storage = closed(&[1, 1]);
    let whole = storage.bytes_of("mark").expect("there");
    for slot in [0, 4096] {
        for bit in 0..512 * 8 {
            let bad = copy(&storage);
            bad.flip_bit("mark", slot + bit / 8, (bit % 8) as u8);
            assert!(open_whole(&bad, &small(), 2).recovered.clean, "slot {slot} bit {bit}");
        }
        // What no mark begins with is none, whatever follows.
        let mut other = whole.clone();
        let place = slot as usize;
        other[place] = b'X';
        other[place + 40] = 99;
        let crc = crc32c::crc32c(&other[place..place + 508]);
        other[place + 508..place + 512].copy_from_slice(&crc.to_le_bytes());
        let bad = copy(&storage);
        bad.put("mark", other);
        assert!(open_whole(&bad, &small(), 2).recovered.clean, "slot {slot}");
    }
}

/// The first segment with something else in its header, and a check that fits.
fn with_header(storage: &MemStorage, at: usize) -> Arc<MemStorage> {
    let mut segment = storage.bytes_of(SEGMENT).expect("there");
    segment[at] ^= 4;
    let crc = crc32c::crc32c(&segment[..508]);
    segment[508..512].copy_from_slice(&crc.to_le_bytes());
    let bad = copy(storage);
    bad.put(SEGMENT, segment);
    bad
}

#[test]
fn k5_a_first_segment_that_does_not_begin_the_journal_is_refused() {
    let storage = closed(&[1, 1]);
    let check = |at, damage| assert_eq!(refused(&with_header(&storage, at)), (SEGMENT.into(), 0, damage), "byte {at}");
    check(32, Damage::Header);
    check(40, Damage::Chain);
    check(48, Damage::Chain);
    check(16, Damage::Foreign);
    check(8, Damage::Version(5));
    check(57, Damage::Length { expected: 4096 ^ 0x400, found: 4096 });
}

/// The first record of the second group is told to be so many bytes longer, with a check of the header that fits.
fn with_longer_body(storage: &MemStorage, more: u32) -> Arc<MemStorage> {
    let mut segment = storage.bytes_of(SEGMENT).expect("there");
    let header = &mut segment[1024..1072];
    let body = u32::from_le_bytes(header[36..40].try_into().expect("four bytes"));
    header[36..40].copy_from_slice(&(body + more).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&IDENTITY), &header[..44]);
    header[44..48].copy_from_slice(&crc.to_le_bytes());
    let bad = copy(storage);
    bad.put(SEGMENT, segment);
    bad
}

#[test]
fn k5_a_group_that_would_reach_beyond_its_segment_is_no_group() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    commit(&mut journal, 1);
    commit(&mut journal, 1);
    drop(journal);
    for more in [512, 2048, 4096, 1 << 20, u32::MAX / 2] {
        let opened = open_whole(&with_longer_body(&storage, more), &small(), 1);
        assert_eq!(opened.recovered.torn_at, Some((SEGMENT.into(), 1024)), "{more}");
    }
}

#[test]
fn k5_a_bad_group_of_several_sectors_before_a_whole_one_is_damage() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    commit(&mut journal, 1);
    journal.append(&[7; 1100]);
    let large = journal.take_commit().expect("open");
    journal.committed(large.run()).expect("durable");
    commit(&mut journal, 1);
    drop(journal);
    for offset in [1030, 1700, 2500] {
        let bad = copy(&storage);
        bad.flip_bit(SEGMENT, offset, 0);
        let expected = Damage::BeforeWhole { first: Lsn(2), later: Lsn(3), later_offset: 1024 + 1536 };
        assert_eq!(refused(&bad), (SEGMENT.into(), 1024, expected));
    }
}

#[test]
fn k5_a_torn_end_is_cut_to_the_end_of_a_large_segment() {
    let options = Options { segment_bytes: 150 << 10, ..small() };
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open(&storage, &options).expect("new").journal;
    commit(&mut journal, 1);
    drop(journal);
    let mut segment = storage.bytes_of(SEGMENT).expect("there");
    for place in [1024, 70_000, 140_000, (150 << 10) - 1] {
        segment[place] = 0xee;
    }
    storage.put(SEGMENT, segment.clone());
    let opened = open_whole(&storage, &options, 1);
    assert_eq!(opened.recovered.torn_groups_cut, 1);
    drop(opened);
    let after_a_crash = storage.crash(|_| journal::memory::Fate::Lost).bytes_of(SEGMENT).expect("there");
    assert_eq!(after_a_crash.len(), segment.len());
    assert_eq!(after_a_crash[..1024], segment[..1024]);
    assert!(after_a_crash[1024..].iter().all(|byte| *byte == 0));
}

#[test]
fn groups_larger_than_what_is_read_at_once_come_back() {
    let options = Options { segment_bytes: 2 << 20, group_bytes_max: 700 << 10, ..small() };
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open(&storage, &options).expect("new").journal;
    let lengths = [300 << 10, 100, 200 << 10, 650 << 10, 8, 255 << 10, 256 << 10, 100 << 10, 1000];
    for (at, bytes) in lengths.iter().enumerate() {
        journal.append(&vec![at as u8; *bytes]);
        let commit = journal.take_commit().expect("open");
        journal.committed(commit.run()).expect("durable");
    }
    drop(journal);
    let opened = open(&storage, &options).expect("sound");
    assert_eq!(opened.recovered.last, Lsn(9));
    for (at, (_, bytes)) in opened.records.iter().enumerate() {
        assert!(bytes.len() == lengths[at] && bytes.iter().all(|byte| *byte == at as u8), "record {}", at + 1);
    }
    // Also without a look at what lies before.
    let mut seen = Vec::new();
    let read = opened.journal.reader().for_each(Lsn(6), Lsn(8), |lsn, bytes| {
        seen.push((lsn.0, bytes.len()));
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(read.expect("read"), Lsn(9));
    assert_eq!(seen, [(6, 255 << 10), (7, 256 << 10), (8, 100 << 10)]);
}

#[test]
fn a_reader_goes_on_into_the_next_segment_at_its_first_record() {
    let storage = closed(&[1; 20]);
    let reader = open_whole(&storage, &small(), 20).journal.reader();
    // Records 8 and 15 are the first of their segments.
    for (from, upto) in [(7, 8), (8, 8), (1, 14), (1, 15), (15, 15), (14, 14)] {
        let mut seen = Vec::new();
        let next = reader.for_each(Lsn(from), Lsn(upto), |lsn, _| {
            seen.push(lsn.0);
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!((next.expect("read"), seen), (Lsn(upto + 1), (from..=upto).collect::<Vec<_>>()));
    }
}

#[test]
fn k5_a_segment_that_goes_while_it_is_read_is_damage() {
    let storage = closed(&[1; 20]);
    let reader = open_whole(&storage, &small(), 20).journal.reader();
    storage.take("segment-0000000000000002");
    match reader.for_each(Lsn(1), Lsn(20), |_, _| std::ops::ControlFlow::Continue(())) {
        Err(journal::ReadError::Damaged { file, damage: Damage::Missing, .. }) => {
            assert_eq!(file, "segment-0000000000000002");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_the_environment_refuses_is_told_as_that_and_not_as_damage() {
    for name in ["mark", SEGMENT, "checkpoint-00000000000000000001"] {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let storage = Arc::new(journal::FsStorage::new(directory.path()).expect("there"));
        let mut journal = open_whole(&storage, &small(), 0).journal;
        commit(&mut journal, 1);
        write_checkpoint(&*storage, Lsn(1), b"state").expect("written");
        journal.close().expect("clean");
        // A folder in its place cannot be opened as a file, even by the administrator.
        let path = directory.path().join(name);
        std::fs::remove_file(&path).expect("there");
        std::fs::create_dir(&path).expect("made");
        match open(&storage, &small()).map(|opened| opened.recovered) {
            Err(OpenError::Io { action: "read", file, .. }) => assert_eq!(file, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn m6_a_sync_that_the_system_refuses_is_an_error() {
    use journal::{Storage, StorageFile};
    // Pipes and the folders of /proc can be opened, and not synced.
    let (pipe, _other_end) = std::io::pipe().expect("a pipe");
    assert!(StorageFile::sync_data(&std::fs::File::from(std::os::fd::OwnedFd::from(pipe))).is_err());
    assert!(journal::FsStorage::new("/proc/self").expect("a folder").sync_dir().is_err());
}
