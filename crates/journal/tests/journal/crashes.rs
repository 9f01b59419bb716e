//! The power fails at every step, and of what was not synced any part survives.

use std::sync::Arc;

use journal::memory::{Fate, MemStorage, Unsynced};
use journal::{Journal, Lsn, Options, Storage, write_checkpoint};

use crate::common::{IDENTITY, append, commit, open, payload};

/// Segments that three small groups fill, so that a short run rotates and recycles.
fn tiny() -> Options {
    Options { segment_bytes: 2048, group_bytes_max: 1536, reserve_segments: 1, mark_commits: 3 }
}

/// What a run was told is durable, and where its groups end.
#[derive(Clone, Default)]
struct Told {
    acknowledged: u64,
    ends: Vec<u64>,
}

/// One step of a run.
#[derive(Clone, Copy)]
enum Do {
    /// A group of so many records.
    Group(u64),
    Checkpoint,
    Retire,
    Close,
}

/// Runs until the power fails, and tells what was acknowledged until then.
fn run(storage: &Arc<MemStorage>, steps: &[Do]) -> Told {
    let mut told = Told { acknowledged: 0, ends: vec![0] };
    let Ok(opened) = open(storage, &tiny()) else {
        return told;
    };
    let mut journal = opened.journal;
    for step in steps {
        match step {
            Do::Group(count) => {
                append(&mut journal, *count);
                let Some(commit) = journal.take_commit() else {
                    return told;
                };
                told.ends.extend(commit.records().map(|(_, last)| last.0));
                match journal.committed(commit.run()) {
                    Ok(durable) => told.acknowledged = durable.0,
                    Err(_) => return told,
                }
            }
            Do::Checkpoint => {
                let lsn = journal.durable();
                if write_checkpoint(&**storage, lsn, &lsn.0.to_le_bytes()).is_err() {
                    return told;
                }
            }
            Do::Retire => journal.retire(journal.durable()),
            Do::Close => {
                let _ = journal.close();
                return told;
            }
        }
    }
    told
}

/// Opens what a crash left and checks it against what was told. Gives the last record.
fn check_recovered(storage: &Arc<MemStorage>, told: &Told) -> (Journal<MemStorage>, u64) {
    let opened = open(storage, &tiny()).unwrap_or_else(|error| panic!("refused after a crash: {error}"));
    let last = opened.recovered.last.0;
    assert!(last >= told.acknowledged, "record {} was acknowledged, {last} is the last", told.acknowledged);
    assert!(told.ends.contains(&last), "record {last} ends no group of {:?}", told.ends);
    let from = opened.checkpoint.map_or(0, |(lsn, state)| {
        assert_eq!(state, lsn.to_le_bytes());
        lsn
    });
    let expected: Vec<_> = (from + 1..=last).map(|lsn| (lsn, payload(lsn))).collect();
    assert_eq!(opened.records, expected);
    (opened.journal, last)
}

/// What a crash left recovers, recovers again to the same after another crash, and goes on.
fn check_crash(crashed: MemStorage, told: &Told) {
    let crashed = Arc::new(crashed);
    let (journal, last) = check_recovered(&crashed, told);
    drop(journal);
    let again = Arc::new(crashed.crash(|_| Fate::Lost));
    let same = Told { acknowledged: last, ends: vec![last] };
    let (mut journal, _) = check_recovered(&again, &same);
    commit(&mut journal, 2);
    commit(&mut journal, 1);
    let after = Arc::new(again.crash(|_| Fate::Lost));
    check_recovered(&after, &Told { acknowledged: last + 3, ends: vec![last + 3] });
}

/// Crashes in which bit `n` of a mask says whether the `n`th unsynced thing survives.
fn masks(things: u32) -> Vec<u64> {
    let all = if things >= 64 { u64::MAX } else { (1 << things) - 1 };
    if things <= 8 {
        return (0..=all).collect();
    }
    // Too many for all of them: every prefix, all but one, one alone, and some of every kind.
    let ones = (0..things.min(64)).map(|n| 1_u64 << n);
    let mut masks: Vec<u64> = ones.flat_map(|one| [one - 1, one, all ^ one]).collect();
    masks.push(all);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    masks.extend((0..100).map(|_| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 7) & all
    }));
    masks
}

fn check(name: &str, steps: &[Do]) {
    let whole = Arc::new(MemStorage::new(IDENTITY));
    run(&whole, steps);
    let mut crashes = 0;
    for operations in 0..=whole.operations() {
        let storage = Arc::new(MemStorage::new(IDENTITY));
        storage.power_off_after(operations);
        let told = run(&storage, steps);
        // The process is killed instead; the next one relies on what it read, whatever the power does then.
        let killed = Arc::new(storage.kill());
        let (journal, last) = check_recovered(&killed, &told);
        drop(journal);
        check_crash(killed.crash(|_| Fate::Lost), &Told { acknowledged: last, ends: vec![last] });
        let mut things = 0;
        let _ = storage.crash(|_| {
            things += 1;
            Fate::Lost
        });
        for mask in masks(things) {
            for torn in [false, true] {
                let mut thing = 0;
                let crashed = storage.crash(|what| {
                    thing += 1;
                    match what {
                        _ if mask >> (thing - 1) & 1 == 1 => Fate::Kept,
                        Unsynced::Piece { bytes, .. } if torn => Fate::Torn(bytes / 3),
                        Unsynced::Piece { .. } | Unsynced::Name(_) | Unsynced::Length(_) => Fate::Lost,
                    }
                });
                check_crash(crashed, &told);
                crashes += 1;
            }
        }
    }
    println!("{name}: {crashes} crashes");
}

#[test]
fn groups_survive_whole_or_not_at_all() {
    check("groups", &[Do::Group(1), Do::Group(12), Do::Group(2), Do::Close]);
}

#[test]
fn rotation_survives_every_crash() {
    use Do::Group;
    check("rotation", &[Group(1), Group(1), Group(1), Group(1), Group(12), Group(11), Group(1), Do::Close]);
}

#[test]
fn checkpoints_and_recycling_survive_every_crash() {
    use Do::{Checkpoint, Close, Group, Retire};
    let mut steps = vec![Group(1), Group(2), Group(1)];
    for _ in 0..3 {
        steps.extend([Group(1), Group(1), Group(9), Checkpoint, Retire, Group(1), Group(1)]);
    }
    steps.push(Close);
    check("recycling", &steps);
}

#[test]
fn failed_sync_then_restart_then_crash_keeps_what_was_replayed() {
    for count in [1, 12] {
        for kept in [false, true] {
            for nth in 1..=8 {
                let storage = Arc::new(MemStorage::new(IDENTITY));
                let mut journal = open(&storage, &tiny()).expect("new").journal;
                commit(&mut journal, 1);
                storage.fail_sync(nth, kept);
                let mut told = Told { acknowledged: 1, ends: vec![1] };
                for _ in 0..8 {
                    append(&mut journal, count);
                    told.ends.push(journal.next_lsn().0 - 1);
                    let Some(commit) = journal.take_commit() else {
                        break;
                    };
                    match journal.committed(commit.run()) {
                        Ok(durable) => told.acknowledged = durable.0,
                        Err(_) => break,
                    }
                }
                drop(journal);
                // The next process reads the page cache; then the power fails.
                let restarted = Arc::new(storage.kill());
                let (journal, last) = check_recovered(&restarted, &told);
                drop(journal);
                check_crash(restarted.crash(|_| Fate::Lost), &Told { acknowledged: last, ends: vec![last] });
            }
        }
    }
}

#[test]
fn a_run_is_the_same_twice() {
    let files = || {
        let storage = Arc::new(MemStorage::new(IDENTITY));
        run(&storage, &[Do::Group(3), Do::Group(12), Do::Checkpoint, Do::Group(9), Do::Group(1), Do::Close]);
        let mut names = storage.list().expect("listed");
        names.sort();
        names.into_iter().map(|name| (storage.bytes_of(&name), name)).collect::<Vec<_>>()
    };
    assert_eq!(files(), files());
    assert_eq!(Lsn(1), Lsn::default().next());
}
