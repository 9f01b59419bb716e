//! What the journal's tests share: small journals in memory, and what is read back from them.

use std::sync::Arc;

use journal::memory::MemStorage;
use journal::{Journal, Lsn, OpenError, Options, Recovered, Replay, Storage};

pub(crate) const IDENTITY: [u8; 16] = *b"journal of tests";

/// Segments of eight sectors: a header and at most seven groups.
pub(crate) fn small() -> Options {
    Options { segment_bytes: 4096, group_bytes_max: 2048, reserve_segments: 1, mark_commits: 1000 }
}

/// The payload of record `lsn`: its number, and a length that differs from record to record.
pub(crate) fn payload(lsn: u64) -> Vec<u8> {
    let mut bytes = lsn.to_le_bytes().to_vec();
    bytes.resize(8 + (lsn * 37 % 90) as usize, lsn as u8);
    bytes
}

/// An opened journal, what it said, and the records that it gave.
pub(crate) struct Opened<S: Storage> {
    pub(crate) journal: Journal<S>,
    pub(crate) recovered: Recovered,
    pub(crate) checkpoint: Option<(u64, Vec<u8>)>,
    pub(crate) records: Vec<(u64, Vec<u8>)>,
}

pub(crate) fn open<S: Storage>(storage: &Arc<S>, options: &Options) -> Result<Opened<S>, OpenError> {
    let (mut records, mut checkpoint) = (Vec::new(), None);
    let (journal, recovered) = Journal::open(Arc::clone(storage), options.clone(), |replay| {
        match replay {
            Replay::Checkpoint(found) => checkpoint = Some((found.lsn.0, found.bytes.clone())),
            Replay::Record(lsn, payload) => records.push((lsn.0, payload.to_vec())),
        }
        Ok(())
    })?;
    Ok(Opened { journal, recovered, checkpoint, records })
}

/// Opens a journal that must be sound, and checks that it holds the records 1 to `last` as `payload` makes them.
pub(crate) fn open_whole<S: Storage>(storage: &Arc<S>, options: &Options, last: u64) -> Opened<S> {
    let opened = open(storage, options).unwrap_or_else(|error| panic!("must open: {error}"));
    let expected: Vec<_> = (1..=last).map(|lsn| (lsn, payload(lsn))).collect();
    assert_eq!(opened.records, expected);
    assert_eq!(opened.recovered.last, Lsn(last));
    assert_eq!(opened.journal.next_lsn(), Lsn(last + 1));
    opened
}

/// Appends the next `count` records as one group.
pub(crate) fn append<S: Storage>(journal: &mut Journal<S>, count: u64) {
    for _ in 0..count {
        let lsn = journal.next_lsn();
        assert_eq!(journal.append(&payload(lsn.0)), lsn);
    }
}

/// Appends the next `count` records as one group and makes them durable.
pub(crate) fn commit<S: Storage>(journal: &mut Journal<S>, count: u64) {
    append(journal, count);
    let commit = journal.take_commit().expect("a group is open");
    journal.committed(commit.run()).expect("durable");
}

/// Runs an upkeep.
pub(crate) fn upkeep<S: Storage>(journal: &mut Journal<S>) {
    let commit = journal.take_upkeep().expect("nothing is in flight");
    journal.committed(commit.run()).expect("kept");
}

/// A journal of cleanly stopped groups of these sizes.
pub(crate) fn closed(groups: &[u64]) -> Arc<MemStorage> {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open(&storage, &small()).expect("new").journal;
    for count in groups {
        commit(&mut journal, *count);
    }
    journal.close().expect("clean");
    storage
}

/// A copy of a disk as it is, of a process that has ended.
pub(crate) fn copy(storage: &MemStorage) -> Arc<MemStorage> {
    Arc::new(storage.kill())
}

pub(crate) fn names<S: Storage>(storage: &S) -> Vec<String> {
    let mut names = storage.list().expect("listed");
    names.sort();
    names
}
