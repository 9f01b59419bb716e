//! What the journal does beside the commits: spare segments are made in time, filled, found again and recycled; what is
//! retired goes, and nothing else.

use std::sync::Arc;

use journal::memory::{Fate, MemStorage};
use journal::{Journal, Lsn, Options, SealedSegment, write_checkpoint};

use crate::common::{IDENTITY, append, commit, names, open, open_whole, small, upkeep};

fn new(options: &Options) -> (Arc<MemStorage>, Journal<MemStorage>) {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let journal = open(&storage, options).expect("new").journal;
    (storage, journal)
}

fn spares(storage: &MemStorage) -> Vec<String> {
    names(storage).into_iter().filter(|name| name.starts_with("spare-")).collect()
}

fn segments(storage: &MemStorage) -> Vec<String> {
    names(storage).into_iter().filter(|name| name.starts_with("segment-")).collect()
}

/// Makes a record of so many bytes durable, and tells how many operations that took.
fn operations_of(storage: &MemStorage, journal: &mut Journal<MemStorage>, bytes: usize) -> u64 {
    let before = storage.operations();
    journal.append(&vec![7; bytes]);
    let commit = journal.take_commit().expect("open");
    journal.committed(commit.run()).expect("durable");
    storage.operations() - before
}

#[test]
fn m6_a_spare_is_made_when_the_segment_is_half_full() {
    let (storage, mut journal) = new(&small());
    assert!(journal.has_reserve(), "there is all of a segment yet");
    // Eight sectors: its header, and two groups.
    commit(&mut journal, 1);
    commit(&mut journal, 1);
    assert_eq!(spares(&storage), [""; 0]);
    commit(&mut journal, 1);
    assert_eq!(spares(&storage), ["spare-0000000000000001"]);
    commit(&mut journal, 1);
    assert_eq!(spares(&storage), ["spare-0000000000000001"], "one is enough");
}

#[test]
fn a_new_spare_is_filled_once_a_slice_with_each_commit() {
    // A slice is 256 KiB, or four times the group, in writes of 256 KiB, and one sync. The commit itself is a write and a sync.
    let options = Options { segment_bytes: 1 << 20, group_bytes_max: 600 << 10, ..small() };
    let (storage, mut journal) = new(&options);
    assert_eq!(operations_of(&storage, &mut journal, 500 << 10), 2);
    // The spare is created and synced, and as the group is small, three more commits fill it after this one.
    assert_eq!(operations_of(&storage, &mut journal, 20 << 10), 2 + 2 + 2);
    for _ in 0..3 {
        assert_eq!(operations_of(&storage, &mut journal, 8), 2 + 2);
    }
    for _ in 0..3 {
        assert_eq!(operations_of(&storage, &mut journal, 8), 2);
    }

    let (storage, mut journal) = new(&options);
    assert_eq!(operations_of(&storage, &mut journal, 400 << 10), 2);
    // Four times this group, which is a little more than 512 KiB, is three writes; then the last.
    assert_eq!(operations_of(&storage, &mut journal, 129 << 10), 2 + 2 + 4);
    assert_eq!(operations_of(&storage, &mut journal, 129 << 10), 2 + 3);
    assert_eq!(operations_of(&storage, &mut journal, 8), 2);
}

#[test]
fn segments_of_any_length_are_filled_to_their_end_and_no_further() {
    // No multiple of what is written at once.
    let options = Options { segment_bytes: 300 << 10, group_bytes_max: 100 << 10, ..small() };
    let (storage, mut journal) = new(&options);
    for _ in 0..12 {
        operations_of(&storage, &mut journal, 60 << 10);
    }
    assert!(journal.stats().rotations >= 2);
    for name in segments(&storage).into_iter().chain(spares(&storage)) {
        assert_eq!(storage.bytes_of(&name).expect("there").len(), 300 << 10, "{name}");
    }
    drop(journal);
    assert_eq!(open(&storage, &options).expect("sound").records.len(), 12);
}

#[test]
fn m6_a_full_disk_is_asked_again_with_every_64th_commit() {
    let options = Options { segment_bytes: 256 << 10, ..small() };
    let (storage, mut journal) = new(&options);
    storage.set_space_left(Some(0));
    while journal.has_reserve() {
        operations_of(&storage, &mut journal, 1900);
    }
    storage.set_space_left(None);
    for nth in 1..=64 {
        commit(&mut journal, 1);
        assert!(!journal.has_reserve(), "commit {nth}");
    }
    commit(&mut journal, 1);
    assert!(journal.has_reserve());
}

#[test]
fn a_restart_takes_the_spares_that_there_are() {
    let two = Options { reserve_segments: 2, ..small() };
    let (storage, mut journal) = new(&two);
    for _ in 0..5 {
        commit(&mut journal, 1);
    }
    let made = ["spare-0000000000000001", "spare-0000000000000002"];
    assert_eq!(spares(&storage), made);
    journal.close().expect("clean");
    // With no space for another, both of them serve.
    storage.set_space_left(Some(0));
    storage.put("spare-1", vec![1]);
    let mut journal = open_whole(&storage, &two, 5).journal;
    assert_eq!(spares(&storage), [made[0], made[1], "spare-1"], "a name of another form is none of ours");
    for _ in 0..14 {
        commit(&mut journal, 1);
    }
    assert_eq!((journal.stats().rotations, spares(&storage)), (2, vec!["spare-1".to_owned()]));
    journal.close().expect("clean");
    storage.take("spare-1");
    open_whole(&storage, &two, 19);
}

#[test]
fn a_restart_removes_spares_that_do_not_fit() {
    let (storage, mut journal) = new(&small());
    for _ in 0..5 {
        commit(&mut journal, 1);
    }
    journal.close().expect("clean");
    // The first has another length, the second is what one reserve allows, the third is too many.
    storage.put("spare-0000000000000001", vec![0; 2048]);
    storage.put("spare-0000000000000007", vec![0; 4096]);
    storage.put("spare-0000000000000008", vec![0; 4096]);
    let mut journal = open_whole(&storage, &small(), 5).journal;
    assert_eq!(spares(&storage), ["spare-0000000000000007"]);
    // The next one has a number above all that there were.
    for _ in 0..6 {
        commit(&mut journal, 1);
    }
    assert_eq!(spares(&storage), ["spare-0000000000000009"]);
    journal.close().expect("clean");
    open_whole(&storage, &small(), 11);
}

#[test]
fn sealed_segments_are_told_with_their_records() {
    let (storage, mut journal) = new(&small());
    let check = |journal: &Journal<MemStorage>, expected: &[(u64, u64, u64)]| {
        let expected: Vec<SealedSegment> = expected
            .iter()
            .map(|(number, first, last)| SealedSegment { number: *number, first: Lsn(*first), last: Lsn(*last) })
            .collect();
        assert_eq!(journal.sealed().collect::<Vec<_>>(), expected);
        assert_eq!(journal.reader().sealed(), expected);
    };
    check(&journal, &[]);
    for _ in 0..20 {
        commit(&mut journal, 1);
    }
    check(&journal, &[(1, 1, 7), (2, 8, 14)]);
    journal.close().expect("clean");
    let reopened = open_whole(&storage, &small(), 20).journal;
    check(&reopened, &[(1, 1, 7), (2, 8, 14)]);
    let (reader, _) = journal::Reader::open(Arc::clone(&storage)).expect("sound");
    assert_eq!(reader.sealed(), reopened.reader().sealed());
}

#[test]
fn a_segment_whose_last_record_the_older_checkpoint_has_is_retired() {
    let (storage, mut journal) = new(&small());
    journal.retire(Lsn(100));
    upkeep(&mut journal);
    for _ in 0..20 {
        commit(&mut journal, 1);
    }
    // Record 14 is the last of the second segment.
    for (checkpoint, oldest) in [(13, 8), (14, 15)] {
        write_checkpoint(&*storage, Lsn(checkpoint), b"state").expect("written");
        write_checkpoint(&*storage, Lsn(checkpoint + 1), b"state").expect("written");
        if checkpoint == 14 {
            storage.take("checkpoint-00000000000000000013");
        }
        journal.retire(Lsn(20));
        upkeep(&mut journal);
        assert_eq!(journal.reader().oldest(), Lsn(oldest));
    }
    // And what is asked is a bound too.
    journal.close().expect("clean");
    let opened = open(&storage, &small()).expect("sound");
    assert_eq!((opened.recovered.last, opened.journal.reader().oldest()), (Lsn(20), Lsn(15)));
    storage.flip_bit("checkpoint-00000000000000000015", 66, 0);
    drop(opened);
    assert_eq!(open(&storage, &small()).expect("the older serves").checkpoint.map(|c| c.0), Some(14));
}

#[test]
fn retired_segments_become_spares_as_far_as_they_are_wanted_and_the_others_go() {
    for reserve in 1..=3 {
        let options = Options { reserve_segments: reserve, ..small() };
        let (storage, mut journal) = new(&small());
        for _ in 0..36 {
            commit(&mut journal, 1);
        }
        journal.close().expect("clean");
        let mut journal = open_whole(&storage, &options, 36).journal;
        assert_eq!(spares(&storage), [""; 0], "so that all of them come from what is retired");
        assert_eq!(segments(&storage).len(), 6);
        write_checkpoint(&*storage, Lsn(36), b"state").expect("written");
        journal.retire(Lsn(36));
        upkeep(&mut journal);
        assert_eq!(segments(&storage), ["segment-0000000000000006"]);
        assert_eq!(spares(&storage).len(), reserve as usize);
        // They serve: nothing has to be made.
        storage.set_space_left(Some(0));
        let spares_left = reserve as usize;
        for _ in 0..6 + 7 * spares_left {
            commit(&mut journal, 1);
        }
        assert_eq!(spares(&storage), [""; 0]);
        drop(journal);
        assert_eq!(open(&storage, &options).expect("sound").recovered.last.0, 36 + 6 + 7 * reserve as u64);
    }
}

#[test]
fn what_was_retired_and_not_removed_before_a_crash_goes_at_the_next_start() {
    let (storage, mut journal) = new(&small());
    for _ in 0..36 {
        commit(&mut journal, 1);
    }
    write_checkpoint(&*storage, Lsn(36), b"state").expect("written");
    journal.retire(Lsn(36));
    // The mark is written and synced; then the power fails.
    storage.power_off_after(2);
    let failing = journal.take_upkeep().expect("nothing is in flight");
    let _ = journal.committed(failing.run());
    let crashed = Arc::new(storage.crash(|_| Fate::Lost));
    assert_eq!(segments(&crashed).len(), 6);
    let journal = open(&crashed, &small()).expect("sound").journal;
    assert_eq!((segments(&crashed).len(), spares(&crashed).len()), (1, 1));
    assert_eq!(journal.reader().oldest(), Lsn(36));
}

#[test]
fn a_stop_that_was_not_clean_is_told() {
    let (storage, mut journal) = new(&small());
    commit(&mut journal, 1);
    journal.close().expect("clean");
    let opened = open_whole(&storage, &small(), 1);
    assert!(opened.recovered.clean);
    // Killed without a word written.
    drop(opened.journal);
    let opened = open_whole(&storage, &small(), 1);
    assert!(!opened.recovered.clean);
    // Killed after a segment was begun, with which the mark was written.
    let mut journal = opened.journal;
    while journal.stats().rotations == 0 {
        commit(&mut journal, 1);
    }
    let last = journal.durable().0;
    drop(journal);
    assert!(!open_whole(&storage, &small(), last).recovered.clean);
}

#[test]
fn a_commit_that_was_dropped_ends_the_commits() {
    let (storage, mut journal) = new(&small());
    append(&mut journal, 1);
    drop(journal.take_commit());
    append(&mut journal, 1);
    assert!(journal.take_commit().is_none() && journal.take_upkeep().is_none());
    drop(journal);
    open_whole(&storage, &small(), 0);
}
