//! Random runs of everything that a journal's owner, its disk and its power supply may do, against a model: the list
//! of what was appended.

use std::sync::Arc;

use journal::memory::{Fate, MemStorage};
use journal::{Commit, Journal, Lsn, Options, write_checkpoint};
use proptest::prelude::*;

use crate::common::{IDENTITY, open};

#[derive(Clone, Debug)]
enum Op {
    Append { bytes: usize },
    Take,
    Run,
    Committed,
    Upkeep,
    Checkpoint,
    Retire { behind: u64 },
    Close,
    Kill,
    Crash { seed: u64 },
    PowerOff { operations: u64, seed: u64 },
    FailSync { nth: u64, kept: bool },
    FailWrite { nth: u64, written: usize },
    Space { bytes: Option<u64> },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..600_usize).prop_map(|bytes| Op::Append { bytes }),
        12 => Just(Op::Take),
        12 => Just(Op::Run),
        12 => Just(Op::Committed),
        1 => Just(Op::Upkeep),
        2 => Just(Op::Checkpoint),
        2 => (0..10_u64).prop_map(|behind| Op::Retire { behind }),
        1 => Just(Op::Close),
        1 => Just(Op::Kill),
        2 => any::<u64>().prop_map(|seed| Op::Crash { seed }),
        1 => (0..8_u64, any::<u64>()).prop_map(|(operations, seed)| Op::PowerOff { operations, seed }),
        1 => (1..4_u64, any::<bool>()).prop_map(|(nth, kept)| Op::FailSync { nth, kept }),
        1 => (1..4_u64, 0..2000_usize).prop_map(|(nth, written)| Op::FailWrite { nth, written }),
        1 => prop_oneof![Just(None), (0..9000_u64).prop_map(Some)].prop_map(|bytes| Op::Space { bytes }),
    ]
}

fn options() -> Options {
    Options { segment_bytes: 4096, group_bytes_max: 2048, reserve_segments: 1, mark_commits: 3 }
}

/// A crash in which a random part survives.
fn crash(storage: &MemStorage, mut seed: u64) -> Arc<MemStorage> {
    Arc::new(storage.crash(|_| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match seed >> 33 & 3 {
            0 => Fate::Torn((seed >> 40 & 511) as usize),
            1 => Fate::Lost,
            _ => Fate::Kept,
        }
    }))
}

/// What is in flight: taken, or run and not reported.
enum Flight {
    Taken(Commit<MemStorage>),
    Ran(journal::Committed<MemStorage>),
}

struct World {
    storage: Arc<MemStorage>,
    journal: Option<Journal<MemStorage>>,
    flight: Option<Flight>,
    /// What was appended; record n at n − 1.
    history: Vec<Vec<u8>>,
    acknowledged: u64,
    /// Ends of groups that were taken.
    ends: Vec<u64>,
    appended: u64,
}

impl World {
    fn new() -> Self {
        let storage = Arc::new(MemStorage::new(IDENTITY));
        let journal = Some(open(&storage, &options()).expect("new").journal);
        World { storage, journal, flight: None, history: Vec::new(), acknowledged: 0, ends: vec![0], appended: 0 }
    }

    /// The process is gone; what the disk holds is opened again and compared.
    fn restart(&mut self, storage: Arc<MemStorage>) {
        self.flight = None;
        self.journal = None;
        storage.set_space_left(None);
        self.storage = storage;
        let opened = open(&self.storage, &options()).unwrap_or_else(|error| panic!("refused: {error}"));
        let last = opened.recovered.last.0;
        assert!(last >= self.acknowledged, "{} was acknowledged, {last} is the last", self.acknowledged);
        assert!(self.ends.contains(&last), "{last} ends no group");
        let from = opened.recovered.checkpoint.map_or(0, |lsn| lsn.0);
        let expected: Vec<_> = (from..last).map(|at| (at + 1, self.history[at as usize].clone())).collect();
        assert_eq!(opened.records, expected);
        self.history.truncate(last as usize);
        self.ends.retain(|end| *end <= last);
        self.acknowledged = last;
        self.journal = Some(opened.journal);
    }

    fn step(&mut self, op: &Op) {
        match op {
            Op::Append { bytes } => {
                let Some(journal) = &mut self.journal else {
                    return;
                };
                self.appended += 1;
                let mut payload = self.appended.to_le_bytes().to_vec();
                payload.resize(8 + bytes, self.appended as u8);
                let lsn = journal.append(&payload);
                self.history.push(payload);
                assert_eq!(lsn, Lsn(self.history.len() as u64));
            }
            Op::Take => {
                let Some(journal) = &mut self.journal else {
                    return;
                };
                if let Some(commit) = journal.take_commit() {
                    assert!(self.flight.is_none(), "one at a time");
                    self.ends.extend(commit.records().map(|(_, last)| last.0));
                    self.flight = Some(Flight::Taken(commit));
                }
            }
            Op::Run => {
                if let Some(Flight::Taken(commit)) = self.flight.take_if(|f| matches!(f, Flight::Taken(_))) {
                    self.flight = Some(Flight::Ran(commit.run()));
                }
            }
            Op::Committed => {
                let Some(Flight::Ran(committed)) = self.flight.take_if(|f| matches!(f, Flight::Ran(_))) else {
                    return;
                };
                let Some(journal) = &mut self.journal else {
                    return;
                };
                match journal.committed(committed) {
                    Ok(durable) => self.acknowledged = durable.0,
                    Err(poisoned) => {
                        assert!(poisoned.failed.0 <= self.acknowledged.max(journal.durable().0) + 1);
                        assert!(journal.take_commit().is_none());
                        let storage = Arc::new(self.storage.kill());
                        self.restart(storage);
                    }
                }
            }
            Op::Upkeep => {
                let Some(journal) = &mut self.journal else {
                    return;
                };
                if let Some(commit) = journal.take_upkeep() {
                    self.flight = Some(Flight::Taken(commit));
                }
            }
            Op::Checkpoint => {
                // May fail by an injected fault, which changes nothing.
                let _ = write_checkpoint(&*self.storage, Lsn(self.acknowledged), b"state");
            }
            Op::Retire { behind } => {
                let Some(journal) = &mut self.journal else {
                    return;
                };
                journal.retire(Lsn(self.acknowledged.saturating_sub(*behind)));
            }
            Op::Close => {
                if self.flight.is_some() {
                    return;
                }
                let Some(mut journal) = self.journal.take() else {
                    return;
                };
                let all = self.history.len() as u64;
                // Taken one by one, to know where the groups end.
                while let Some(commit) = journal.take_commit() {
                    self.ends.extend(commit.records().map(|(_, last)| last.0));
                    if journal.committed(commit.run()).is_err() {
                        break;
                    }
                }
                let closed = journal.close().is_ok();
                if closed {
                    self.acknowledged = all;
                }
                let storage = if closed { crash(&self.storage, 0) } else { Arc::new(self.storage.kill()) };
                self.restart(storage);
            }
            Op::Kill => {
                let storage = Arc::new(self.storage.kill());
                self.restart(storage);
            }
            Op::Crash { seed } => {
                let storage = crash(&self.storage, *seed);
                self.restart(storage);
            }
            Op::PowerOff { operations, seed } => {
                self.storage.power_off_after(*operations);
                for op in [Op::Take, Op::Run] {
                    self.step(&op);
                }
                let storage = crash(&self.storage, *seed);
                self.restart(storage);
            }
            Op::FailSync { nth, kept } => self.storage.fail_sync(*nth, *kept),
            Op::FailWrite { nth, written } => self.storage.fail_write(*nth, *written),
            Op::Space { bytes } => self.storage.set_space_left(*bytes),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn journal_holds_what_the_model_holds(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new();
        for op in &ops {
            world.step(op);
        }
        let storage = crash(&world.storage, 1);
        world.restart(storage);
    }
}
