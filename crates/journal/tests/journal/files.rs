//! The journal on real files.

use std::fs::{self, OpenOptions};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use journal::{FsStorage, Lsn, OpenError, Options, Storage, write_checkpoint};
use tempfile::TempDir;

use crate::common::{append, commit, names, open, open_whole, payload, small, upkeep};

fn directory() -> (TempDir, Arc<FsStorage>) {
    let parent = tempfile::tempdir().expect("a temporary directory");
    let storage = Arc::new(FsStorage::new(parent.path().join("journal")).expect("made"));
    (parent, storage)
}

#[test]
fn records_come_back_over_rotations_and_restarts() {
    let (_parent, storage) = directory();
    for start in 0..4 {
        let mut journal = open_whole(&storage, &small(), start * 30).journal;
        for _ in 0..10 {
            commit(&mut journal, 1);
        }
        append(&mut journal, 20);
        journal.close().expect("clean");
    }
    assert!(open_whole(&storage, &small(), 120).recovered.clean);
}

#[test]
fn k6_lock_holds_between_handles_and_ends_with_the_journal() {
    let (parent, storage) = directory();
    let journal = open_whole(&storage, &small(), 0).journal;
    let other = Arc::new(FsStorage::new(parent.path().join("journal")).expect("there"));
    assert!(matches!(open(&other, &small()), Err(OpenError::Locked)));
    drop(journal);
    open_whole(&other, &small(), 0);
}

#[test]
fn files_are_private_and_allocated() {
    let (parent, storage) = directory();
    let options = Options { segment_bytes: 1 << 20, group_bytes_max: 1 << 18, ..Options::default() };
    let mut journal = open_whole(&storage, &options, 0).journal;
    for _ in 0..3 {
        journal.append(&vec![7; 200 << 10]);
        let commit = journal.take_commit().expect("open");
        journal.committed(commit.run()).expect("durable");
    }
    // The spare is made now, and not yet written.
    journal.append(&[7]);
    assert_eq!(names(&*storage), ["lock", "mark", "segment-0000000000000001", "spare-0000000000000001"]);
    let path = parent.path().join("journal");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o700);
    for name in names(&*storage) {
        let metadata = fs::metadata(path.join(&name)).expect("there");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
        assert!(metadata.blocks() * 512 >= metadata.len(), "{name} has holes");
    }
}

#[test]
fn identities_of_journals_differ() {
    let ((_p, one), (_q, other)) = (directory(), directory());
    assert_ne!(one.identity().expect("random"), other.identity().expect("random"));
}

#[test]
fn k5_torn_end_is_cut_in_the_file() {
    let (parent, storage) = directory();
    let mut journal = open_whole(&storage, &small(), 0).journal;
    commit(&mut journal, 1);
    commit(&mut journal, 20);
    drop(journal);
    let segment = parent.path().join("journal/segment-0000000000000001");
    let file = OpenOptions::new().write(true).open(&segment).expect("there");
    file.write_all_at(&[0; 512], 1024 + 512).expect("written");
    assert_eq!(open_whole(&storage, &small(), 1).recovered.torn_groups_cut, 1);
    let bytes = fs::read(&segment).expect("read");
    assert!(bytes[1024..].iter().all(|byte| *byte == 0));
    assert_eq!(open_whole(&storage, &small(), 1).recovered.torn_groups_cut, 0);
}

#[test]
fn k5_shortened_segment_is_refused() {
    let (parent, storage) = directory();
    let mut journal = open_whole(&storage, &small(), 0).journal;
    commit(&mut journal, 1);
    journal.close().expect("clean");
    let segment = parent.path().join("journal/segment-0000000000000001");
    OpenOptions::new().write(true).open(segment).expect("there").set_len(4000).expect("cut");
    assert!(matches!(open(&storage, &small()), Err(OpenError::Damaged { .. })));
}

#[test]
fn readers_read_while_the_journal_is_written_and_recycled() {
    let (_parent, storage) = directory();
    let mut journal = open_whole(&storage, &small(), 0).journal;
    let reader = journal.reader();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let checking = scope.spawn(|| {
            let mut scans = 0;
            while !done.load(Ordering::Acquire) {
                let from = reader.oldest();
                let upto = reader.durable();
                let read = reader.for_each(from, upto, |lsn, bytes| {
                    assert_eq!(bytes, payload(lsn.0));
                    ControlFlow::Continue(())
                });
                match read {
                    Ok(next) => assert!(next > upto),
                    // Retired between the two lines above: then there is an older beginning no more.
                    Err(journal::ReadError::Retired { oldest, .. }) => assert!(oldest > from),
                    Err(other) => panic!("{other}"),
                }
                scans += 1;
            }
            scans
        });
        for round in 1..=400 {
            append(&mut journal, 1 + round % 3);
            let commit = journal.take_commit().expect("open");
            let committed = std::thread::scope(|inner| inner.spawn(|| commit.run()).join().expect("ran"));
            journal.committed(committed).expect("durable");
            if round % 20 == 0 {
                write_checkpoint(&*storage, journal.durable(), b"state").expect("written");
                journal.retire(Lsn(journal.durable().0.saturating_sub(30)));
            }
        }
        done.store(true, Ordering::Release);
        assert!(checking.join().expect("no record differed") > 0);
    });
    // While the reader read, little could be retired; now it can.
    journal.retire(journal.durable());
    upkeep(&mut journal);
    assert!(reader.oldest() > Lsn(500));
    journal.close().expect("clean");
}
