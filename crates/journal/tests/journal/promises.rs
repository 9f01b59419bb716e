//! The journal's promises, one test each, on a disk in memory.

use std::ops::ControlFlow;
use std::sync::Arc;

use crate::common::{IDENTITY, append, closed, commit, copy, names, open, open_whole, payload, small, upkeep};
use journal::memory::{Fate, MemStorage};
use journal::{Damage, Lsn, OpenError, Options, ReadError, Reader, write_checkpoint};

fn damage(storage: &Arc<MemStorage>) -> (String, u64, Damage) {
    match open(storage, &small()) {
        Err(OpenError::Damaged { file, offset, damage }) => (file, offset, damage),
        Err(other) => panic!("refused otherwise: {other}"),
        Ok(opened) => panic!("opened: {:?}", opened.recovered),
    }
}

#[test]
fn new_journal_is_empty_and_records_come_back() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut opened = open_whole(&storage, &small(), 0);
    assert!(opened.recovered.created);
    assert_eq!(opened.journal.durable(), Lsn(0));
    commit(&mut opened.journal, 3);
    append(&mut opened.journal, 2);
    assert_eq!(opened.journal.durable(), Lsn(3));
    opened.journal.close().expect("clean");
    let reopened = open_whole(&storage, &small(), 5);
    assert!(reopened.recovered.clean && !reopened.recovered.created);
}

#[test]
fn one_commit_is_in_flight_at_most() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    assert!(journal.take_commit().is_none(), "nothing is open");
    append(&mut journal, 1);
    let first = journal.take_commit().expect("open");
    assert_eq!(first.records(), Some((Lsn(1), Lsn(1))));
    append(&mut journal, 1);
    assert!(journal.take_commit().is_none() && journal.take_upkeep().is_none());
    assert_eq!(journal.committed(first.run()).expect("durable"), Lsn(1));
    let second = journal.take_commit().expect("open");
    assert_eq!(journal.committed(std::thread::spawn(|| second.run()).join().expect("ran")).expect("durable"), Lsn(2));
    assert_eq!((journal.stats().commits, journal.stats().records), (2, 2));
}

#[test]
fn a_full_group_is_closed_and_the_next_opened() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    append(&mut journal, 100);
    let mut last = 0;
    while let Some(commit) = journal.take_commit() {
        let (first, end) = commit.records().expect("records");
        assert_eq!(first.0, last + 1);
        last = journal.committed(commit.run()).expect("durable").0;
        assert_eq!(last, end.0);
    }
    assert_eq!(last, 100);
    assert!(journal.stats().commits > 3 && journal.stats().rotations > 1);
    journal.close().expect("clean");
    open_whole(&storage, &small(), 100);
}

#[test]
fn the_largest_record_fits_and_a_larger_one_asserts() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let options = Options { segment_bytes: 2048 + 512, ..small() };
    let mut journal = open_whole(&storage, &options, 0).journal;
    let largest = vec![7; options.record_bytes_max()];
    for _ in 0..4 {
        journal.append(&largest);
    }
    journal.close().expect("clean");
    let opened = open(&storage, &options).expect("sound");
    assert_eq!(opened.records.len(), 4);
    assert!(opened.records.iter().all(|(_, bytes)| *bytes == largest));
    let mut journal = opened.journal;
    let larger = vec![7; options.record_bytes_max() + 1];
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| journal.append(&larger))).is_err());
}

#[test]
fn options_that_contradict_themselves_are_refused() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    for options in [
        Options { group_bytes_max: 4096, ..small() },
        Options { group_bytes_max: 0, ..small() },
        Options { segment_bytes: 5000, ..small() },
        Options { segment_bytes: 1 << 33, ..small() },
        Options { reserve_segments: 0, ..small() },
        Options { mark_commits: 0, ..small() },
    ] {
        assert!(matches!(open(&storage, &options), Err(OpenError::Options(_))), "{options:?}");
    }
    assert!(names(&*storage).is_empty());
}

#[test]
fn k6_a_second_journal_on_the_directory_is_refused() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut first = open_whole(&storage, &small(), 0).journal;
    assert!(matches!(open(&storage, &small()), Err(OpenError::Locked)));
    append(&mut first, 1);
    let commit = first.take_commit().expect("open");
    drop(first);
    assert!(matches!(open(&storage, &small()), Err(OpenError::Locked)), "the commit may still write");
    drop(commit.run());
    open_whole(&storage, &small(), 1);
}

#[test]
fn a_rejected_record_gives_the_lock_back_and_changes_nothing() {
    let storage = closed(&[1, 1]);
    let before = storage.operations();
    let refused = journal::Journal::open(Arc::clone(&storage), small(), |replay| match replay {
        journal::Replay::Record(Lsn(2), _) => Err("no such kind of record".into()),
        journal::Replay::Record(..) | journal::Replay::Checkpoint(_) => Ok(()),
    });
    assert!(matches!(refused, Err(OpenError::Rejected { lsn: Lsn(2), .. })));
    assert_eq!(storage.operations(), before);
    open_whole(&storage, &small(), 2);
}

#[test]
fn m6_a_failed_sync_poisons_for_good() {
    for kept in [false, true] {
        let storage = Arc::new(MemStorage::new(IDENTITY));
        let mut journal = open_whole(&storage, &small(), 0).journal;
        commit(&mut journal, 2);
        append(&mut journal, 2);
        storage.fail_sync(1, kept);
        let failing = journal.take_commit().expect("open");
        append(&mut journal, 1);
        let poisoned = journal.committed(failing.run()).expect_err("failed");
        assert_eq!((poisoned.failed, poisoned.action), (Lsn(3), "sync a group"));
        assert_eq!(journal.durable(), Lsn(2));
        assert!(journal.take_commit().is_none() && journal.take_upkeep().is_none());
        assert!(journal.close().is_err());

        // The process starts again: the group can be read, so it counts, and from then on it must be on disk.
        let again = copy(&storage);
        drop(open_whole(&again, &small(), 4));
        open_whole(&Arc::new(again.crash(|_| Fate::Lost)), &small(), 4);
        // The power fails instead.
        let crashed = Arc::new(storage.crash(|_| Fate::Lost));
        open_whole(&crashed, &small(), if kept { 4 } else { 2 });
    }
}

#[test]
fn m6_a_failed_write_poisons_and_half_a_group_is_cut() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    commit(&mut journal, 2);
    append(&mut journal, 2);
    storage.fail_write(1, 100);
    let failing = journal.take_commit().expect("open");
    assert_eq!(journal.committed(failing.run()).expect_err("failed").action, "write a group");
    assert!(journal.take_commit().is_none());
    let opened = open_whole(&copy(&storage), &small(), 2);
    assert_eq!(opened.recovered.torn_groups_cut, 1);
    assert_eq!(opened.recovered.torn_at, Some(("segment-0000000000000001".into(), 1024)));
    assert_eq!(opened.journal.stats().torn_groups_cut, 1);
}

#[test]
fn k5_torn_group_is_cut_for_good() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    commit(&mut journal, 1);
    append(&mut journal, 20);
    storage.power_off_after(1);
    let failing = journal.take_commit().expect("open");
    assert!(journal.committed(failing.run()).is_err());
    // All of the group but its second sector.
    let mut pieces = 0;
    let torn = Arc::new(storage.crash(|_| {
        pieces += 1;
        if pieces == 2 { Fate::Lost } else { Fate::Kept }
    }));
    assert!(pieces > 3);
    let opened = open_whole(&torn, &small(), 1);
    assert_eq!(opened.recovered.torn_groups_cut, 1);
    drop(opened);
    // Crashed again, the cut group stays cut: also what had reached the disk of it is gone.
    let again = Arc::new(torn.crash(|_| Fate::Lost));
    let segment = again.bytes_of("segment-0000000000000001").expect("there");
    assert!(segment[1024..].iter().all(|byte| *byte == 0));
    let opened = open_whole(&again, &small(), 1);
    assert_eq!(opened.recovered.torn_groups_cut, 0);
}

#[test]
fn k5_bad_group_before_a_whole_one_is_damage() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    for _ in 0..3 {
        commit(&mut journal, 1);
    }
    drop(journal);
    // No mark covers them, and still the second cannot be torn, as the third is whole.
    for offset in [1024, 1050, 1100, 1500] {
        let bad = copy(&storage);
        bad.flip_bit("segment-0000000000000001", offset, 3);
        let expected = Damage::BeforeWhole { first: Lsn(2), later: Lsn(3), later_offset: 1536 };
        assert_eq!(damage(&bad), ("segment-0000000000000001".into(), 1024, expected));
    }
    // The last one can be.
    storage.flip_bit("segment-0000000000000001", 1540, 3);
    assert_eq!(open_whole(&storage, &small(), 2).recovered.torn_groups_cut, 1);
}

#[test]
fn k5_bad_group_below_the_mark_is_damage() {
    let storage = closed(&[1, 1]);
    storage.flip_bit("segment-0000000000000001", 1100, 3);
    let expected = Damage::BelowMark { first: Lsn(2), mark: Lsn(2) };
    assert_eq!(damage(&storage), ("segment-0000000000000001".into(), 1024, expected));
}

#[test]
fn k5_clean_stop_is_marked_twice() {
    // One flipped bit takes one slot away, not what the mark says.
    let storage = closed(&[1, 1]);
    storage.flip_bit("segment-0000000000000001", 1100, 3);
    for slot in [0, 4096] {
        let bad = copy(&storage);
        bad.flip_bit("mark", slot + 41, 0);
        assert_eq!(damage(&bad).2, Damage::BelowMark { first: Lsn(2), mark: Lsn(2) });
    }
}

#[test]
fn k5_lazy_mark_follows_what_is_durable() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open(&storage, &Options { mark_commits: 2, ..small() }).expect("new").journal;
    for _ in 0..3 {
        commit(&mut journal, 1);
    }
    drop(journal);
    // The third lies above the mark of the second.
    let torn = copy(&storage);
    torn.flip_bit("segment-0000000000000001", 1540, 3);
    open_whole(&torn, &small(), 2);
    storage.flip_bit("segment-0000000000000001", 1540, 3);
    storage.flip_bit("segment-0000000000000001", 1030, 3);
    assert_eq!(damage(&storage).2, Damage::BelowMark { first: Lsn(2), mark: Lsn(2) });
}

#[test]
fn k5_error_names_file_offset_and_what_helps() {
    let storage = closed(&[1, 1]);
    storage.flip_bit("segment-0000000000000001", 1100, 3);
    let Err(error) = open(&storage, &small()) else { panic!("opened") };
    let text = error.to_string();
    assert!(text.starts_with("segment-0000000000000001 at offset 1024: "), "{text}");
    assert!(text.contains("next: ") && text.contains("standby copy"), "{text}");
}

#[test]
fn k5_missing_segment_is_refused() {
    let storage = closed(&[1; 20]);
    let segments: Vec<String> = names(&*storage).into_iter().filter(|name| name.starts_with("segment-")).collect();
    assert_eq!(segments.len(), 3);
    for gone in segments {
        let bad = copy(&storage);
        bad.take(&gone);
        assert_eq!(damage(&bad), (gone, 0, Damage::Missing));
    }
}

#[test]
fn k5_missing_or_foreign_mark_is_refused() {
    let storage = closed(&[1]);
    let other = Arc::new(MemStorage::new([9; 16]));
    open(&other, &small()).expect("new").journal.close().expect("clean");
    let mark = storage.bytes_of("mark").expect("there");
    storage.take("mark");
    assert_eq!(damage(&storage), ("mark".into(), 0, Damage::Missing));
    storage.put("mark", other.bytes_of("mark").expect("there"));
    assert_eq!(damage(&storage).2, Damage::Foreign);
    storage.put("mark", vec![0; 8192]);
    assert_eq!(damage(&storage).2, Damage::Mark);
    storage.put("mark", mark[..100].to_vec());
    assert_eq!(damage(&storage).2, Damage::Length { expected: 8192, found: 100 });
    // Whole, and counted so far that no next one could be.
    let mut last = mark.clone();
    for slot in [0, 4096] {
        last[slot + 32..slot + 40].copy_from_slice(&u64::MAX.to_le_bytes());
        let crc = crc32c::crc32c(&last[slot..slot + 508]);
        last[slot + 508..slot + 512].copy_from_slice(&crc.to_le_bytes());
    }
    storage.put("mark", last);
    assert_eq!(damage(&storage).2, Damage::Mark);
    storage.put("mark", mark);
    open_whole(&storage, &small(), 1);
}

#[test]
fn k5_restored_older_copy_is_refused() {
    // An older copy of the segments under a newer mark.
    let storage = closed(&[1, 1]);
    let older = storage.bytes_of("segment-0000000000000001").expect("there");
    let mut journal = open_whole(&storage, &small(), 2).journal;
    commit(&mut journal, 1);
    journal.close().expect("clean");
    storage.put("segment-0000000000000001", older);
    assert_eq!(damage(&storage).2, Damage::BelowMark { first: Lsn(3), mark: Lsn(3) });

    // An older copy of segments and mark under a newer checkpoint.
    let storage = closed(&[1, 1]);
    let older = copy(&storage);
    let mut journal = open_whole(&storage, &small(), 2).journal;
    commit(&mut journal, 1);
    write_checkpoint(&*storage, Lsn(3), b"three").expect("written");
    let name = "checkpoint-00000000000000000003";
    older.put(name, storage.bytes_of(name).expect("there"));
    let expected = Damage::OlderThanCheckpoint { checkpoint: Lsn(3), last: Lsn(2) };
    assert_eq!(damage(&older), (name.into(), 0, expected));
}

/// A journal of the same identity as `closed(&[1; 20])`, with as many records of the same sizes, and other content.
fn another_history() -> Arc<MemStorage> {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open(&storage, &small()).expect("new").journal;
    for lsn in 1..=20 {
        let other: Vec<u8> = payload(lsn).iter().map(|byte| !byte).collect();
        journal.append(&other);
        let commit = journal.take_commit().expect("open");
        journal.committed(commit.run()).expect("durable");
    }
    journal.close().expect("clean");
    storage
}

#[test]
fn k5_segment_of_another_history_is_refused() {
    // All numbers fit, the chain tells them apart.
    let (storage, other) = (closed(&[1; 20]), another_history());
    let name = "segment-0000000000000002";
    storage.put(name, other.bytes_of(name).expect("there"));
    assert_eq!(damage(&storage), (name.into(), 0, Damage::Chain));
}

#[test]
fn k5_groups_of_another_history_are_refused() {
    let (storage, other) = (closed(&[1; 20]), another_history());
    let name = "segment-0000000000000003";
    let mut spliced = storage.bytes_of(name).expect("there");
    spliced[1024..].copy_from_slice(&other.bytes_of(name).expect("there")[1024..]);
    storage.put(name, spliced);
    let expected = Damage::BeforeWhole { first: Lsn(16), later: Lsn(17), later_offset: 1536 };
    assert_eq!(damage(&storage), (name.into(), 1024, expected));
}

#[test]
fn k5_groups_swapped_or_repeated_are_refused() {
    let storage = closed(&[1, 1, 1]);
    let segment = storage.bytes_of("segment-0000000000000001").expect("there");
    let mut swapped = segment.clone();
    swapped[512..1024].copy_from_slice(&segment[1024..1536]);
    swapped[1024..1536].copy_from_slice(&segment[512..1024]);
    storage.put("segment-0000000000000001", swapped);
    assert!(matches!(damage(&storage).2, Damage::BeforeWhole { first: Lsn(1), .. }));
    let mut repeated = segment.clone();
    repeated[2048..2560].copy_from_slice(&segment[1536..2048]);
    storage.put("segment-0000000000000001", repeated);
    assert!(open(&storage, &small()).is_ok_and(|opened| opened.recovered.last == Lsn(3)), "after the end: cut");
}

#[test]
fn unfinished_files_and_an_unfinished_journal_are_taken_in_hand() {
    // Power failing at every step of the making of a journal.
    for operations in 0..30 {
        let storage = Arc::new(MemStorage::new(IDENTITY));
        storage.power_off_after(operations);
        drop(open(&storage, &small()));
        for fate in [Fate::Lost, Fate::Kept] {
            let crashed = Arc::new(storage.crash(|_| fate));
            let mut journal = open_whole(&crashed, &small(), 0).journal;
            assert!(!names(&*crashed).iter().any(|name| name.ends_with(".tmp")));
            commit(&mut journal, 1);
            drop(journal);
            open_whole(&crashed, &small(), 1);
        }
    }
}

#[test]
fn unfinished_checkpoint_is_removed() {
    let storage = closed(&[1]);
    storage.put("checkpoint-00000000000000000001.tmp", vec![1, 2, 3]);
    let opened = open_whole(&storage, &small(), 1);
    assert_eq!(opened.checkpoint, None);
    assert!(names(&*storage).iter().all(|name| !name.ends_with(".tmp")));
}

#[test]
fn checkpoint_is_given_first_and_then_what_follows_it() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    for _ in 0..20 {
        commit(&mut journal, 1);
    }
    for lsn in [3, 7, 14] {
        write_checkpoint(&*storage, Lsn(lsn), format!("state {lsn}").as_bytes()).expect("written");
    }
    journal.close().expect("clean");
    let kept: Vec<String> = names(&*storage).into_iter().filter(|n| n.starts_with("checkpoint")).collect();
    assert_eq!(kept, ["checkpoint-00000000000000000007", "checkpoint-00000000000000000014"]);
    let opened = open(&storage, &small()).expect("sound");
    assert_eq!(opened.checkpoint, Some((14, b"state 14".to_vec())));
    assert_eq!(opened.records.iter().map(|r| r.0).collect::<Vec<_>>(), [15, 16, 17, 18, 19, 20]);
    assert_eq!(opened.recovered.records, 6);
    drop(opened);

    // A damaged one is put aside, and the one before it serves.
    storage.flip_bit("checkpoint-00000000000000000014", 66, 0);
    let opened = open(&storage, &small()).expect("sound");
    assert_eq!(opened.checkpoint, Some((7, b"state 7".to_vec())));
    assert_eq!(opened.records.len(), 13);
    assert_eq!(opened.recovered.checkpoints_damaged, [Lsn(14)]);
    assert!(names(&*storage).contains(&"damaged-checkpoint-00000000000000000014".into()));
}

#[test]
fn retired_segments_are_recycled_and_their_stale_groups_never_read() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let options = small();
    let mut journal = open_whole(&storage, &options, 0).journal;
    let mut files_max = 0;
    for round in 1..=60_u64 {
        commit(&mut journal, 1);
        if round % 7 == 0 {
            write_checkpoint(&*storage, journal.durable(), b"state").expect("written");
            journal.retire(journal.durable());
        }
        files_max = files_max.max(names(&*storage).iter().filter(|n| n.contains("e")).count());
        // Every state on the way recovers to what is durable, also after a crash.
        let crashed = Arc::new(storage.crash(|_| Fate::Lost));
        let opened = open(&crashed, &options).expect("sound");
        assert_eq!((opened.recovered.last, opened.recovered.torn_groups_cut), (Lsn(round), 0));
        assert!(opened.records.iter().all(|(lsn, bytes)| *bytes == payload(*lsn)));
    }
    assert!(journal.stats().rotations >= 8);
    assert!(files_max <= 8, "{files_max} files");
    let first = journal.sealed().next().expect("sealed");
    assert!(first.number > 4);
    let reader = journal.reader();
    let missing = reader.for_each(Lsn(1), Lsn(60), |_, _| ControlFlow::Continue(()));
    assert!(matches!(missing, Err(ReadError::Retired { from: Lsn(1), oldest }) if oldest == first.first));
}

#[test]
fn retirement_keeps_what_the_older_checkpoint_needs() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    for _ in 0..30 {
        commit(&mut journal, 1);
    }
    journal.retire(Lsn(30));
    upkeep(&mut journal);
    assert_eq!(journal.reader().oldest(), Lsn(1), "without a checkpoint all is needed");
    write_checkpoint(&*storage, Lsn(8), b"eight").expect("written");
    write_checkpoint(&*storage, Lsn(25), b"twenty-five").expect("written");
    journal.retire(Lsn(30));
    upkeep(&mut journal);
    assert!(journal.reader().oldest() > Lsn(1) && journal.reader().oldest() <= Lsn(9));
    drop(journal);
    storage.flip_bit("checkpoint-00000000000000000025", 70, 1);
    assert_eq!(open(&storage, &small()).expect("sound").checkpoint.map(|c| c.0), Some(8));
    storage.flip_bit("checkpoint-00000000000000000008", 66, 1);
    assert!(matches!(damage(&storage).2, Damage::NoCheckpoint(_)));
}

#[test]
fn a_segment_that_is_read_is_not_recycled() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    for _ in 0..20 {
        commit(&mut journal, 1);
    }
    write_checkpoint(&*storage, Lsn(20), b"state").expect("written");
    let reader = journal.reader();
    let mut seen = 0;
    let next = reader
        .for_each(Lsn(1), Lsn(u64::MAX), |lsn, bytes| {
            if lsn == Lsn(2) {
                journal.retire(Lsn(20));
                upkeep(&mut journal);
            }
            assert_eq!(bytes, payload(lsn.0));
            seen += 1;
            ControlFlow::Continue(())
        })
        .expect("read");
    assert_eq!((seen, next), (20, Lsn(21)));
    assert_eq!(reader.oldest(), Lsn(1));
    journal.retire(Lsn(20));
    upkeep(&mut journal);
    assert_eq!(reader.oldest(), Lsn(15));
}

#[test]
fn reader_gives_durable_records_within_its_bounds() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    for count in [3, 1, 4, 1, 5, 9, 2, 6, 5, 3] {
        commit(&mut journal, count);
    }
    append(&mut journal, 4);
    let reader = journal.reader();
    let check = |from: u64, upto: u64, expected: std::ops::Range<u64>, next: u64| {
        let mut seen = Vec::new();
        let end = reader.for_each(Lsn(from), Lsn(upto), |lsn, bytes| {
            assert_eq!(bytes, payload(lsn.0));
            seen.push(lsn.0);
            ControlFlow::Continue(())
        });
        assert_eq!(end.expect("read"), Lsn(next), "{from}..={upto}");
        assert_eq!(seen, expected.collect::<Vec<_>>(), "{from}..={upto}");
    };
    check(0, u64::MAX, 1..40, 40);
    check(1, 39, 1..40, 40);
    check(2, 2, 2..3, 3);
    check(5, 17, 5..18, 18);
    check(20, 100, 20..40, 40);
    check(40, 100, 40..40, 40);
    check(9, 8, 9..9, 9);
    let stopped = reader
        .for_each(Lsn(5), Lsn(39), |lsn, _| if lsn == Lsn(7) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
    assert_eq!(stopped.expect("read"), Lsn(8));
    assert_eq!(journal.sealed().map(|s| s.first).next(), Some(Lsn(1)));
}

#[test]
fn reader_refuses_damage_below_the_durable_end() {
    let storage = closed(&[1; 20]);
    let reader = open_whole(&storage, &small(), 20).journal.reader();
    storage.flip_bit("segment-0000000000000002", 1100, 0);
    let read = reader.for_each(Lsn(1), Lsn(20), |_, _| ControlFlow::Continue(()));
    let Err(ReadError::Damaged { file, offset, .. }) = read else { panic!("{read:?}") };
    assert_eq!((file.as_str(), offset), ("segment-0000000000000002", 1024));
}

#[test]
fn offline_reader_verifies_without_changing_anything() {
    let storage = closed(&[1; 20]);
    let before = storage.operations();
    let (reader, checkpoint) = Reader::open(Arc::clone(&storage)).expect("sound");
    assert_eq!((reader.durable(), checkpoint), (Lsn(20), None));
    assert_eq!(storage.operations(), before);
    let empty = Reader::open(Arc::new(MemStorage::new(IDENTITY)));
    assert!(matches!(empty, Err(OpenError::Damaged { damage: Damage::Missing, .. })));
    storage.flip_bit("segment-0000000000000001", 1100, 3);
    assert!(Reader::open(storage).is_err());
}

#[test]
fn m6_full_disk_takes_the_reserve_and_leaves_room_for_outcomes() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    storage.set_space_left(Some(0));
    let mut before_the_end = 0;
    for _ in 0..7 {
        commit(&mut journal, 1);
        before_the_end += u64::from(!journal.has_reserve());
    }
    assert!(before_the_end >= 4, "half a segment is left when the reserve is lost, had {before_the_end}");
    // Space comes back, and a slow timer notices.
    storage.set_space_left(None);
    upkeep(&mut journal);
    assert!(journal.has_reserve());
    commit(&mut journal, 1);
    assert_eq!(journal.stats().rotations, 1);

    // Or it does not: the rotation without a spare poisons, and nothing durable is lost.
    storage.set_space_left(Some(0));
    for _ in 0..6 {
        commit(&mut journal, 1);
    }
    append(&mut journal, 1);
    let failing = journal.take_commit().expect("open");
    let poisoned = journal.committed(failing.run()).expect_err("no space");
    assert_eq!(poisoned.source.kind(), std::io::ErrorKind::StorageFull);
    drop(journal);
    open_whole(&storage, &small(), 14);
}

#[test]
fn retired_segments_give_a_full_disk_its_reserve_back() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    for _ in 0..8 {
        commit(&mut journal, 1);
    }
    write_checkpoint(&*storage, Lsn(8), b"state").expect("written");
    storage.set_space_left(Some(0));
    for _ in 0..4 {
        commit(&mut journal, 1);
    }
    assert!(!journal.has_reserve());
    journal.retire(Lsn(8));
    upkeep(&mut journal);
    assert!(journal.has_reserve());
    for _ in 0..4 {
        commit(&mut journal, 1);
    }
    assert_eq!((journal.stats().rotations, journal.durable()), (2, Lsn(16)));
}

#[test]
fn segment_size_may_change_between_runs() {
    let storage = closed(&[1; 10]);
    let larger = Options { segment_bytes: 8192, group_bytes_max: 7680, ..small() };
    let mut journal = open_whole(&storage, &larger, 10).journal;
    for _ in 0..40 {
        commit(&mut journal, 1);
    }
    append(&mut journal, 60);
    journal.close().expect("clean");
    let mut journal = open_whole(&storage, &small(), 110).journal;
    for _ in 0..20 {
        commit(&mut journal, 1);
    }
    drop(journal);
    let mut journal = open_whole(&storage, &small(), 130).journal;
    // Retired segments of another size are no spares.
    write_checkpoint(&*storage, Lsn(130), b"state").expect("written");
    for below in 1..=130 {
        journal.retire(Lsn(below));
        commit(&mut journal, 1);
    }
    drop(journal);
    let opened = open(&storage, &small()).expect("sound");
    assert_eq!(opened.recovered.last, Lsn(260));
    assert!(opened.journal.reader().oldest() > Lsn(100));
}

#[test]
fn a_spare_that_serves_before_it_is_filled_is_filled_no_more() {
    let options = Options { segment_bytes: 1 << 20, group_bytes_max: 900 << 10, ..small() };
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open(&storage, &options).expect("new").journal;
    // Nearly half; a little more, with which the filling begins; then what does not fit any more, and is less than half
    // of the next, so that no other spare is begun.
    let groups = [500 << 10, 20 << 10, 505 << 10, 100, 100, 100, 100, 100];
    for bytes in groups {
        journal.append(&vec![7; bytes]);
        let commit = journal.take_commit().expect("open");
        journal.committed(commit.run()).expect("durable");
    }
    assert_eq!(journal.stats().rotations, 1);
    journal.close().expect("clean");
    let records = open(&storage, &options).expect("sound").records;
    assert!(records.iter().map(|(_, bytes)| bytes.len()).eq(groups));
    assert!(records.iter().all(|(_, bytes)| bytes.iter().all(|byte| *byte == 7)));
}

#[test]
fn parts_may_go_to_other_threads() {
    fn send<T: Send>() {}
    fn send_and_sync<T: Send + Sync>() {}
    send::<journal::Journal<MemStorage>>();
    send::<journal::Commit<journal::FsStorage>>();
    send::<journal::Committed<journal::FsStorage>>();
    send_and_sync::<Reader<journal::FsStorage>>();
    send_and_sync::<OpenError>();
}

/// Journals outlive the software: these values change only with the format's version, and then the old ones are read
/// still.
#[test]
fn format_version_1_is_fixed() {
    let storage = closed(&[1, 3, 12]);
    write_checkpoint(&*storage, Lsn(4), b"state").expect("written");
    let crc = |name: &str| crc32c::crc32c(&storage.bytes_of(name).expect("there"));
    let files = ["segment-0000000000000001", "mark", "checkpoint-00000000000000000004"];
    assert_eq!(files.map(crc), [380_677_969, 3_417_179_691, 2_555_147_849]);
}
