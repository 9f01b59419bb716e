//! Journals that this version and those before it wrote, kept as files: every later version must read them.
//!
//! Each folder of `tests/fixtures` is one: its name begins with the version that wrote it, `expected.txt` says what must come
//! out, all else are the journal's files. None is ever written again. A version that changes the format adds its own:
//! `cargo test -p journal -- --ignored write_the_fixtures_of_this_version`, and what it wrote is read and committed.

use std::fmt::Write as _;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::memory::MemStorage;
use journal::{Lsn, Options, Reader, write_checkpoint};

use crate::common::{append, commit, names, open};

const EXPECTED: &str = "expected.txt";
/// Journals that are kept. One that is missing here or there is noticed.
const KEPT: [&str; 2] = ["0.1.0-cleanly-stopped", "0.1.0-killed"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn options() -> Options {
    Options { segment_bytes: 2048, group_bytes_max: 1536, reserve_segments: 1, mark_commits: 3 }
}

/// The journal in a folder, on a disk in memory: nothing in the folder can change.
fn load(folder: &Path) -> Arc<MemStorage> {
    let storage = Arc::new(MemStorage::new(*b"another identity"));
    for entry in fs::read_dir(folder).expect("a fixture can be listed") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
        if name != EXPECTED {
            storage.put(name, fs::read(&path).expect("a file of a fixture can be read"));
        }
    }
    storage
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text takes text");
        text
    })
}

/// What comes out of a journal, a line each.
fn told(storage: &Arc<MemStorage>) -> String {
    let (reader, _) = Reader::open(Arc::clone(storage)).unwrap_or_else(|error| panic!("refused: {error}"));
    let mut text = String::new();
    let read = reader.for_each(reader.oldest(), Lsn(u64::MAX), |lsn, payload| {
        writeln!(text, "record {lsn}: {}", hex(payload)).expect("text takes text");
        ControlFlow::Continue(())
    });
    read.expect("a sound journal can be read");

    let opened = open(storage, &options()).unwrap_or_else(|error| panic!("refused: {error}"));
    let recovered = &opened.recovered;
    if let Some((lsn, state)) = &opened.checkpoint {
        writeln!(text, "checkpoint {lsn}: {}", hex(state)).expect("text takes text");
    }
    let replayed: Vec<u64> = opened.records.iter().map(|(lsn, _)| *lsn).collect();
    writeln!(text, "replayed {replayed:?}").expect("text takes text");
    let torn = recovered.torn_at.as_ref().map_or("nothing".into(), |(file, offset)| format!("{file} from {offset} on"));
    writeln!(text, "clean stop {}, cut {torn}, last {}", recovered.clean, recovered.last).expect("text takes text");
    text
}

#[test]
fn k5_journals_of_every_version_are_read_as_they_were_written() {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder()).expect("the fixtures can be listed") {
        let path = entry.expect("an entry").path();
        let expected = fs::read_to_string(path.join(EXPECTED)).expect("what must come out");
        let storage = load(&path);
        // The mark lies in two slots, and either is enough.
        for slot in [0, 4096] {
            let one_slot = load(&path);
            one_slot.flip_bit("mark", slot + 100, 0);
            assert_eq!(told(&one_slot), expected, "{} without slot {slot}", path.display());
        }
        assert_eq!(told(&storage), expected, "{}", path.display());
        // And it goes on from there.
        let mut journal = open(&storage, &options()).expect("opened before").journal;
        let last = journal.durable();
        commit(&mut journal, 3);
        journal.close().expect("clean");
        assert_eq!(open(&storage, &options()).expect("goes on").recovered.last, Lsn(last.0 + 3), "{}", path.display());
        found.push(path.file_name().expect("a name").to_string_lossy().into_owned());
    }
    found.sort();
    assert_eq!(found, KEPT);
}

/// Two checkpoints, recycled segments with stale groups at their end, a spare, at the end groups of these sizes.
fn served(groups: &[u64]) -> (Arc<MemStorage>, journal::Journal<MemStorage>) {
    let storage = Arc::new(MemStorage::new(*b"kept for decades"));
    let mut journal = open(&storage, &options()).expect("new").journal;
    for count in [1, 1, 1, 2, 2, 9] {
        commit(&mut journal, count);
    }
    for lsn in [7, 16] {
        let state: Vec<u8> = format!("the state after record {lsn}").into();
        write_checkpoint(&*storage, Lsn(lsn), &state).expect("written");
    }
    journal.retire(journal.durable());
    for count in groups {
        commit(&mut journal, *count);
    }
    (storage, journal)
}

fn write(kind: &str, storage: &MemStorage) {
    let folder = folder().join(format!("{}-{kind}", env!("CARGO_PKG_VERSION")));
    fs::create_dir(&folder).unwrap_or_else(|error| panic!("{} is not written again: {error}", folder.display()));
    for name in names(storage) {
        fs::write(folder.join(&name), storage.bytes_of(&name).expect("there")).expect("written");
    }
    fs::write(folder.join(EXPECTED), told(&load(&folder))).expect("written");
}

#[test]
#[ignore = "writes the fixtures of this version, once; not a test"]
fn write_the_fixtures_of_this_version() {
    let (storage, journal) = served(&[1, 1, 7]);
    journal.close().expect("clean");
    write("cleanly-stopped", &storage);

    // Killed while a group of two sectors was being written, of which the first reached the disk.
    let (storage, mut journal) = served(&[1, 1]);
    append(&mut journal, 7);
    storage.fail_write(1, 512);
    let commit = journal.take_commit().expect("open");
    assert!(journal.committed(commit.run()).is_err());
    write("killed", &storage.kill());
}
