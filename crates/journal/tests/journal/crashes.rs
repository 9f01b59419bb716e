//! The power fails at every step, and of what was not synced any part survives: in short runs every part there is, in long
//! ones a sample.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use journal::memory::{Fate, MemStorage, Unsynced};
use journal::{Journal, Lsn, Options, Storage, write_checkpoint};

use crate::common::{IDENTITY, append, commit, names, open, payload};
use crate::interrupted::Interrupted;

/// Segments that three small groups fill, so that a short run rotates and recycles.
fn tiny() -> Options {
    Options { segment_bytes: 2048, group_bytes_max: 1536, reserve_segments: 1, mark_commits: 3 }
}

/// What a run was told is durable, and where its groups end.
#[derive(Clone, Default)]
struct Told {
    acknowledged: u64,
    /// The newest checkpoint whose writing succeeded.
    checkpoint: u64,
    /// How many there must be: two, once two were written, so that one may turn out to be damaged.
    checkpoints: usize,
    ends: Vec<u64>,
}

/// One step of a run.
#[derive(Clone, Copy)]
enum Do {
    /// A group of so many records.
    Group(u64),
    Checkpoint,
    /// A checkpoint; and before its step `before`, counted from 0, another thread commits a group of `count` records. After
    /// it, when there are fewer steps.
    Beside {
        before: u64,
        count: u64,
    },
    Retire,
    Close,
}

/// A run under way: the journal, and what it told so far.
struct Run {
    journal: Journal<MemStorage>,
    told: Told,
    failed: bool,
}

impl Run {
    fn group(&mut self, count: u64) {
        append(&mut self.journal, count);
        while let Some(commit) = self.journal.take_commit() {
            self.told.ends.extend(commit.records().map(|(_, last)| last.0));
            match self.journal.committed(commit.run()) {
                Ok(durable) => self.told.acknowledged = durable.0,
                Err(_) => self.failed = true,
            }
        }
    }
}

/// Writes a checkpoint of what is durable.
fn checkpoint<S: Storage>(run: &Mutex<Run>, storage: &S) {
    let lsn = locked(run).journal.durable();
    let written = write_checkpoint(storage, lsn, &lsn.0.to_le_bytes());
    let mut run = locked(run);
    match written {
        Ok(()) => {
            run.told.checkpoints = (run.told.checkpoints + usize::from(run.told.checkpoint < lsn.0)).min(2);
            run.told.checkpoint = lsn.0;
        }
        Err(_) => run.failed = true,
    }
}

fn locked(run: &Mutex<Run>) -> MutexGuard<'_, Run> {
    run.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs until the power fails, and tells what was acknowledged until then.
fn run(storage: &Arc<MemStorage>, options: &Options, steps: &[Do]) -> Told {
    let told = Told { ends: vec![0], ..Told::default() };
    let Ok(opened) = open(storage, options) else {
        return told;
    };
    let run = Arc::new(Mutex::new(Run { journal: opened.journal, told, failed: false }));
    for step in steps {
        match *step {
            Do::Group(count) => locked(&run).group(count),
            Do::Checkpoint => checkpoint(&run, &**storage),
            Do::Beside { before, count } => {
                let other = Arc::clone(&run);
                let steps = Interrupted::new(storage, before, move || locked(&other).group(count));
                checkpoint(&run, &steps);
                steps.interrupt();
            }
            Do::Retire => {
                let journal = &mut locked(&run).journal;
                journal.retire(journal.durable());
            }
            Do::Close => break,
        }
        if locked(&run).failed {
            break;
        }
    }
    let run = Arc::into_inner(run).and_then(|run| run.into_inner().ok()).expect("nobody else has it");
    if !run.failed && matches!(steps.last(), Some(Do::Close)) {
        let _ = run.journal.close();
    }
    run.told
}

/// Opens what a crash left and checks it against what was told. Gives the journal, and what it must hold from now on.
fn check_recovered(storage: &Arc<MemStorage>, options: &Options, told: &Told) -> (Journal<MemStorage>, Told) {
    let opened = open(storage, options).unwrap_or_else(|error| panic!("refused after a crash: {error}"));
    let last = opened.recovered.last.0;
    assert!(last >= told.acknowledged, "record {} was acknowledged, {last} is the last", told.acknowledged);
    assert!(told.ends.contains(&last), "record {last} ends no group of {:?}", told.ends);
    let from = opened.checkpoint.map_or(0, |(lsn, state)| {
        assert_eq!(state, lsn.to_le_bytes());
        lsn
    });
    assert!(from >= told.checkpoint, "checkpoint {} was written, {from} is the newest", told.checkpoint);
    assert_eq!(opened.recovered.checkpoints_damaged, [], "a crash damages none that has its name");
    let checkpoints = names(&**storage).iter().filter(|name| name.starts_with("checkpoint-")).count();
    assert!(checkpoints >= told.checkpoints, "{checkpoints} checkpoints, {} were kept", told.checkpoints);
    let expected: Vec<_> = (from + 1..=last).map(|lsn| (lsn, payload(lsn))).collect();
    assert_eq!(opened.records, expected);
    (opened.journal, Told { acknowledged: last, checkpoint: from, checkpoints: told.checkpoints, ends: vec![last] })
}

/// What a crash left recovers, recovers again to the same after another crash, and goes on.
fn check_crash(crashed: MemStorage, options: &Options, told: &Told) {
    let crashed = Arc::new(crashed);
    let (journal, found) = check_recovered(&crashed, options, told);
    drop(journal);
    let again = Arc::new(crashed.crash(|_| Fate::Lost));
    let (mut journal, mut found) = check_recovered(&again, options, &found);
    commit(&mut journal, 2);
    commit(&mut journal, 1);
    let after = Arc::new(again.crash(|_| Fate::Lost));
    found.acknowledged += 3;
    found.ends = vec![found.acknowledged];
    check_recovered(&after, options, &found);
}

/// What may become of one thing that was not synced.
fn fates(what: Unsynced<'_>) -> Vec<Fate> {
    match what {
        Unsynced::Piece { bytes, .. } => vec![Fate::Lost, Fate::Kept, Fate::Torn(bytes / 3)],
        Unsynced::Name(_) | Unsynced::Length(_) => vec![Fate::Lost, Fate::Kept],
    }
}

/// So many outcomes of one crash are tried one by one. A run in which more are possible is not a short one.
const OUTCOMES_MAX: u64 = 20_000;

/// Gives every disk that a crash can leave now: of each thing that was not synced, every fate, in every combination.
/// Returns how many there were.
fn every_crash(storage: &MemStorage, mut each: impl FnMut(MemStorage)) -> u64 {
    // Which fate of how many each thing met in the crash before. What there is to ask depends on what was answered: a file
    // whose name is lost has no pieces.
    let mut choices: Vec<(usize, usize)> = Vec::new();
    for outcomes in 1..=OUTCOMES_MAX {
        let mut thing = 0;
        each(storage.crash(|what| {
            let fates = fates(what);
            if thing == choices.len() {
                choices.push((0, fates.len()));
            }
            thing += 1;
            fates[choices[thing - 1].0]
        }));
        while choices.pop_if(|(choice, fates)| *choice + 1 == *fates).is_some() {}
        match choices.last_mut() {
            Some((choice, _)) => *choice += 1,
            None => return outcomes,
        }
    }
    panic!("more than {OUTCOMES_MAX} outcomes: too many for all of them");
}

/// The power fails at every step of a run, and every crash that is then possible recovers.
fn check(name: &str, options: &Options, steps: &[Do], crashes_min: u64) {
    let whole = Arc::new(MemStorage::new(IDENTITY));
    run(&whole, options, steps);
    let mut crashes = 0;
    for operations in 0..=whole.operations() {
        let storage = Arc::new(MemStorage::new(IDENTITY));
        storage.power_off_after(operations);
        let told = run(&storage, options, steps);
        // The process is killed instead; the next one relies on what it read, whatever the power does then.
        let killed = Arc::new(storage.kill());
        let (journal, found) = check_recovered(&killed, options, &told);
        drop(journal);
        check_crash(killed.crash(|_| Fate::Lost), options, &found);
        crashes += every_crash(&storage, |crashed| check_crash(crashed, options, &told));
    }
    println!("{name}: {crashes} crashes");
    assert!(crashes >= crashes_min, "{name}: {crashes} crashes, {crashes_min} were expected");
}

#[test]
fn k5_groups_survive_whole_or_not_at_all() {
    check("groups", &tiny(), &[Do::Group(1), Do::Group(12), Do::Group(2), Do::Close], 200);
}

#[test]
fn k5_every_sector_of_a_large_group_may_be_lost_or_torn() {
    use Do::Group;
    // Five sectors and the zeros behind them; then as many as the first group of the next segment, with its header.
    let large = Options { segment_bytes: 4096, group_bytes_max: 2560, reserve_segments: 1, mark_commits: 3 };
    check("large groups", &large, &[Group(2), Group(33), Group(33), Do::Close], 8_000);
}

#[test]
fn k5_rotation_survives_every_crash() {
    use Do::Group;
    let steps = [Group(1), Group(1), Group(1), Group(1), Group(12), Group(11), Group(1), Do::Close];
    check("rotation", &tiny(), &steps, 300);
}

/// A run with rotations, checkpoints and recycled segments.
fn recycling(rounds: u64) -> Vec<Do> {
    use Do::{Checkpoint, Close, Group, Retire};
    let mut steps = vec![Group(1), Group(2), Group(1)];
    for _ in 0..rounds {
        steps.extend([Group(1), Group(1), Group(9), Checkpoint, Retire, Group(1), Group(1)]);
    }
    steps.push(Close);
    steps
}

#[test]
fn k5_checkpoints_and_recycling_survive_every_crash() {
    check("recycling", &tiny(), &recycling(3), 1500);
}

#[test]
fn k5_a_checkpoint_made_beside_commits_survives_every_crash() {
    use Do::{Beside, Close, Group, Retire};
    // A whole commit, which begins a segment and then retires the oldest, between any two steps of the checkpoint's making.
    for before in 0..8 {
        let steps = [Group(1), Group(1), Group(9), Group(1), Beside { before: 99, count: 1 }, Group(9), Group(1), Retire]
            .into_iter()
            .chain([Beside { before, count: 9 }, Retire, Group(1), Close])
            .collect::<Vec<_>>();
        check(&format!("commit before step {before} of a checkpoint"), &tiny(), &steps, 400);
    }
}

#[test]
fn k5_a_recovery_that_is_cut_short_at_every_step_is_taken_up_by_the_next() {
    let mut crashes = 0;
    let steps = recycling(2);
    let operations = |steps: &[Do]| {
        let storage = Arc::new(MemStorage::new(IDENTITY));
        run(&storage, &tiny(), steps);
        storage.operations()
    };
    for operations in operations(&[])..=operations(&steps) {
        let storage = Arc::new(MemStorage::new(IDENTITY));
        storage.power_off_after(operations);
        let told = run(&storage, &tiny(), &steps);
        every_crash(&storage, |crashed| {
            for operations in 0.. {
                let second = Arc::new(crashed.kill());
                second.power_off_after(operations);
                let recovered = open(&second, &tiny()).is_ok();
                crashes += every_crash(&second, |again| check_crash(again, &tiny(), &told));
                if recovered {
                    break;
                }
            }
        });
    }
    println!("recovery cut short: {crashes} crashes");
    assert!(crashes >= 8_000, "{crashes} crashes");
}

/// A process is killed, and what it wrote is only in the system's memory; the next one reads it, and the power fails at any step
/// of its start. It must not overwrite the last thing that is on the disk while it relies on what is not.
#[test]
fn k5_a_start_after_a_kill_survives_a_power_loss_at_every_step() {
    let mut crashes = 0;
    for steps in [&[Do::Group(1), Do::Group(2), Do::Close][..], &[Do::Group(1), Do::Checkpoint, Do::Group(1)]] {
        let whole = Arc::new(MemStorage::new(IDENTITY));
        run(&whole, &tiny(), steps);
        for operations in 0..=whole.operations() {
            let storage = Arc::new(MemStorage::new(IDENTITY));
            storage.power_off_after(operations);
            let told = run(&storage, &tiny(), steps);
            for operations in 0.. {
                let second = Arc::new(storage.kill());
                second.power_off_after(operations);
                let started = open(&second, &tiny()).is_ok();
                crashes += every_crash(&second, |crashed| check_crash(crashed, &tiny(), &told));
                if started {
                    break;
                }
            }
        }
    }
    println!("power loss in a start after a kill: {crashes} crashes");
    assert!(crashes >= 2_000, "{crashes} crashes");
}

/// A generator that gives the same numbers every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

#[test]
fn k5_long_runs_survive_a_sample_of_crashes() {
    let options = Options { segment_bytes: 8192, group_bytes_max: 4096, reserve_segments: 2, mark_commits: 7 };
    let mut crashes = 0;
    for seed in 1..=8 {
        let mut numbers = Numbers(seed);
        let steps: Vec<Do> = (0..300)
            .map(|_| match numbers.below(12) {
                0 => Do::Checkpoint,
                1 => Do::Beside { before: numbers.below(9), count: 1 + numbers.below(30) },
                2 => Do::Retire,
                _ => Do::Group(1 + numbers.below(40)),
            })
            .collect();
        let whole = Arc::new(MemStorage::new(IDENTITY));
        run(&whole, &options, &steps);
        for _ in 0..20 {
            let storage = Arc::new(MemStorage::new(IDENTITY));
            storage.power_off_after(numbers.below(whole.operations()));
            let told = run(&storage, &options, &steps);
            for _ in 0..8 {
                let crashed = storage.crash(|what| {
                    let fates = fates(what);
                    fates[numbers.below(fates.len() as u64) as usize]
                });
                check_crash(crashed, &options, &told);
                crashes += 1;
            }
        }
    }
    println!("long runs: {crashes} crashes");
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
                let mut told = Told { acknowledged: 1, ends: vec![1], ..Told::default() };
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
                let (journal, found) = check_recovered(&restarted, &tiny(), &told);
                drop(journal);
                check_crash(restarted.crash(|_| Fate::Lost), &tiny(), &found);
            }
        }
    }
}

#[test]
fn a_run_is_the_same_twice() {
    let files = || {
        let storage = Arc::new(MemStorage::new(IDENTITY));
        run(&storage, &tiny(), &[Do::Group(3), Do::Group(12), Do::Checkpoint, Do::Group(9), Do::Group(1), Do::Close]);
        let mut names = storage.list().expect("listed");
        names.sort();
        names.into_iter().map(|name| (storage.bytes_of(&name), name)).collect::<Vec<_>>()
    };
    assert_eq!(files(), files());
    assert_eq!(Lsn(1), Lsn::default().next());
}
