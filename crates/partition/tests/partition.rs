//! The partition over a disk that loses what a disk may lose: nothing leaves before its record, and nothing durable is lost.

use std::collections::BTreeSet;
use std::sync::Arc;

use iso8583::{Fields, Mti, Rrn};
use journal::memory::{Fate, MemStorage};
use partition::{CommitStats, Keys, KeysRefused, OpenError, Opened, Options, Partition, Poisoned};
use switch::*;

const PAN: &str = "4111111111111111";
const BANK: LinkNo = LinkNo { issuer: IssuerNo(1), number: 1 };
const CONN: ConnId = ConnId { index: 1, generation: 0 };

fn options(keys: Keys) -> Options {
    let mut config = Config { dedup_keys: 4, ..Config::default() };
    config.groups.insert(GroupNo(1), Group::default());
    config.issuers.insert(IssuerNo(1), Issuer::default());
    config.links.insert(BANK, Link { sign_on: false, echo_after_ms: 0, ..Link::default() });
    config.routes.push(Route { prefix: String::new(), issuer: IssuerNo(1) });
    let journal = journal::Options { segment_bytes: 16 << 10, group_bytes_max: 8 << 10, ..journal::Options::default() };
    Options { journal, config, keys }
}

struct Keyring {
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
}

impl Keyring {
    fn new() -> Keyring {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        Keys::generate().write(&path).unwrap();
        Keyring { _dir: dir, path }
    }

    fn options(&self) -> Options {
        options(self.keys())
    }

    fn keys(&self) -> Keys {
        Keys::read(&self.path).unwrap()
    }

    /// A new key of each kind, before these.
    fn rotated(&self) -> Keyring {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        self.keys().with_new_pan_key().unwrap().with_new_look_up_key().write(&path).unwrap();
        Keyring { _dir: dir, path }
    }
}

/// A partition with a terminal and an issuer that says yes.
struct World {
    partition: Partition<MemStorage>,
    now: Now,
    dead: bool,
    requests: Vec<Fields>,
    reversals: Vec<Fields>,
    answers: Vec<Fields>,
}

impl World {
    fn open(storage: &MemStorage, keys: &Keyring, now: Now) -> Result<(World, Opened), OpenError> {
        let (partition, opened) = Partition::open(Arc::new(storage.clone()), keys.options(), now)?;
        let link = LinkId { index: 1, generation: 1 };
        let (requests, reversals, answers) = Default::default();
        let mut world = World { partition, now, dead: false, requests, reversals, answers };
        world.input(Input::LinkOpened { link, number: BANK });
        Ok((world, opened))
    }

    fn input(&mut self, input: Input) {
        let mut inputs = vec![input];
        self.partition.turn(self.now, &mut inputs);
        self.run();
    }

    /// Commits, releases and plays issuer and kernel until nothing moves. What leaves while a commit is under way has left
    /// before the disk has it: it must not need it.
    fn run(&mut self) {
        loop {
            let commit = self.partition.take_commit();
            let idle = commit.is_none();
            let mut actions = Vec::new();
            self.partition.release(&mut actions);
            if idle && actions.is_empty() {
                return;
            }
            let mut inputs: Vec<Input> = actions.drain(..).flat_map(|action| self.act(action)).collect();
            if commit.is_some_and(|commit| self.partition.committed(self.now, commit.run()).is_err()) {
                self.dead = true;
                self.partition.release(&mut actions);
                assert!(actions.is_empty(), "M6: after a failed commit nothing is sent");
                return;
            }
            self.partition.turn(self.now, &mut inputs);
        }
    }

    fn act(&mut self, action: Action) -> Vec<Input> {
        match action {
            Action::ToTerminal { id, message, .. } => {
                self.answers.push(*message);
                vec![Input::Report { action: id, report: Report::Written }]
            }
            Action::ToIssuer { id, link, message, card } => {
                assert!(card.is_none(), "the card of a reversal is put in before it leaves");
                let mut answer = Box::new(Fields::new(message.mti().response()));
                for de in [4, 7, 11, 37, 41, 42, 49] {
                    answer.copy_from(&message, de);
                }
                answer.set(39, b"00");
                if message.has(90) {
                    self.reversals.push(*message)
                } else {
                    self.requests.push(*message)
                }
                vec![Input::Report { action: id, report: Report::Written }, Input::Issuer { link, message: answer }]
            }
            Action::Find { id, query } => vec![self.partition.look_up(&query).run(id)],
            Action::Withdraw { .. }
            | Action::Unsend { .. }
            | Action::Resolved { .. }
            | Action::ResetIfUnacknowledged { .. }
            | Action::CloseLink { .. }
            | Action::Note(_) => {
                vec![]
            }
        }
    }

    fn terminal(&mut self, mti: &[u8; 4], stan: u32, more: &[(u8, &str)]) {
        self.input(from_terminal(mti, stan, more));
    }

    /// Takes the next commit, which must be there, and runs it to its end.
    fn commit(&mut self) -> Result<CommitStats, Poisoned> {
        let commit = self.partition.take_commit().expect("a group waits");
        self.partition.committed(self.now, commit.run())
    }

    fn released(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.partition.release(&mut actions);
        actions
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { uptime_ms: self.now.uptime_ms + ms, wall_ms: self.now.wall_ms + ms };
        self.partition.turn(self.now, &mut Vec::new());
        self.run();
    }

    fn snapshot(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.partition.view().snapshot(&mut bytes);
        bytes
    }

    fn checkpoint(&mut self) -> Option<Lsn> {
        let job = self.partition.checkpoint_due()?;
        Some(self.partition.checkpointed(job.run()).unwrap())
    }
}

/// A message of the terminal.
fn from_terminal(mti: &[u8; 4], stan: u32, more: &[(u8, &str)]) -> Input {
    let mut message = Box::new(Fields::new(Mti::new(mti)));
    for (de, text) in [(2, PAN), (3, "000000"), (4, "000000001000"), (49, "156"), (41, "TERM0001"), (42, "MERCHANT0000001")]
    {
        message.set(de, text.as_bytes());
    }
    message.set(11, format!("{stan:06}").as_bytes());
    more.iter().for_each(|(de, text)| message.set(*de, text.as_bytes()));
    Input::Terminal { conn: CONN, group: GroupNo(1), message, card: None }
}

fn start() -> Now {
    Now { uptime_ms: 1000, wall_ms: 1_795_331_289_000 }
}

fn rrns(messages: &[Fields]) -> BTreeSet<Rrn> {
    messages.iter().map(|message| Rrn::try_from(message.get(37).unwrap()).unwrap()).collect()
}

/// A life with sales, a decline of nothing, a repeat and a reversal.
fn live(world: &mut World) {
    for stan in 1..=3 {
        world.terminal(b"0200", stan, &[]);
        world.pass(3000);
    }
    world.terminal(b"0201", 3, &[]);
    world.terminal(b"0400", 900, &[(90, "020000000200000000000000000000000000000000")]);
    world.terminal(b"0200", 4, &[]);
}

#[test]
fn m1_m2_m3_whatever_the_disk_loses_what_was_sent_is_known_after_the_crash() {
    let keys = Keyring::new();
    let whole = {
        let storage = MemStorage::new([1; 16]);
        let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
        let before = storage.operations();
        live(&mut world);
        assert_eq!((world.requests.len(), world.reversals.len()), (4, 1));
        storage.operations() - before
    };
    assert!(whole > 20, "{whole} operations of the disk");
    for operations in 0..whole {
        for fate in [Fate::Lost, Fate::Kept, Fate::Torn(100)] {
            let storage = MemStorage::new([1; 16]);
            let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
            storage.power_off_after(operations);
            live(&mut world);
            assert!(world.dead);
            let (recovered, opened) = World::open(&storage.crash(|_| fate), &keys, world.now).unwrap();
            let view = recovered.partition.view();
            let what = format!("power off after {operations} operations, {fate:?}: {opened:?}");
            for rrn in rrns(&world.requests) {
                assert!(view.movement_by_rrn(&rrn).is_some(), "I1: a request seen by an issuer has an intent: {what}");
            }
            for answer in world.answers.iter().filter(|answer| answer.has(38) || answer.mti().as_bytes() == b"0210") {
                let rrn = Rrn::try_from(answer.get(37).unwrap()).unwrap();
                let movement = view.movement_by_rrn(&rrn).unwrap();
                assert!(movement.approval_held(), "I2: an approval seen by a terminal has an outcome: {what}");
            }
            for reversal in &world.reversals {
                let rrn = Rrn::try_from(reversal.get(37).unwrap()).unwrap();
                assert!(view.movement_by_rrn(&rrn).unwrap().obligation.is_some(), "M3: {what}");
            }
            // What was in flight is unwound by the next life, to the end.
            let mut world = recovered;
            for _ in 0..60 {
                world.pass(1000);
            }
            assert_eq!(world.partition.view().doubt().count(), 0, "{what}");
        }
    }
}

#[test]
fn m6_after_a_failed_sync_nothing_leaves_and_nothing_is_committed() {
    let keys = Keyring::new();
    for kept in [false, true] {
        let storage = MemStorage::new([1; 16]);
        let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
        world.terminal(b"0200", 1, &[]);
        storage.fail_sync(1, kept);
        let answers = world.answers.len();
        world.terminal(b"0200", 2, &[]);
        assert!(world.dead);
        world.terminal(b"0201", 1, &[]);
        world.terminal(b"0800", 3, &[]);
        assert_eq!((world.answers.len(), world.requests.len()), (answers, 1), "not even a repeat or an echo is answered");
        assert!(world.partition.take_commit().is_none());
    }
}

#[test]
fn m6_without_a_reserve_new_intents_are_refused_and_reversals_go_on() {
    let keys = Keyring::new();
    let storage = MemStorage::new([1; 16]);
    let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
    world.terminal(b"0200", 1, &[]);
    storage.set_space_left(Some(0));
    let mut stan = 1;
    while world.partition.has_reserve() {
        stan += 1;
        assert!(stan < 1000, "the reserve ends some time");
        world.terminal(b"0200", stan, &[]);
    }
    assert!(!world.dead);
    let movements = world.partition.view().movements().count();
    world.terminal(b"0200", stan + 1, &[]);
    assert_eq!(world.answers.last().unwrap().text(39), Some("96"));
    assert_eq!(world.partition.view().movements().count(), movements);
    let original = format!("0200{stan:06}{:032}", 0);
    world.terminal(b"0400", 990, &[(90, &original)]);
    assert_eq!(world.answers.last().unwrap().text(39), Some("00"));
    assert_eq!(world.reversals.len(), 1);
    // Space comes back, and a slow timer notices: sales are taken again.
    storage.set_space_left(None);
    let upkeep = world.partition.take_upkeep().expect("nothing is in flight");
    let cost = world.partition.committed(world.now, upkeep.run()).unwrap();
    assert_eq!(cost.records, 0);
    assert!(world.partition.has_reserve());
    world.terminal(b"0200", stan + 2, &[]);
    assert_eq!(world.answers.last().unwrap().text(39), Some("00"));
}

#[test]
fn m6_what_is_durable_and_has_not_left_stays_when_the_next_commit_fails() {
    let keys = Keyring::new();
    for kept in [false, true] {
        let storage = MemStorage::new([1; 16]);
        let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
        world.partition.turn(world.now, &mut vec![from_terminal(b"0200", 1, &[])]);
        world.commit().unwrap();
        // Its request could leave now. Before it does, the disk fails.
        world.partition.turn(world.now, &mut vec![from_terminal(b"0200", 2, &[]), from_terminal(b"0800", 3, &[])]);
        storage.fail_sync(1, kept);
        assert!(world.commit().is_err());
        assert!(world.released().is_empty(), "neither a request nor an echo");
        assert!(world.partition.take_commit().is_none() && world.partition.take_upkeep().is_none());
        assert!(world.partition.close().is_err());
    }
}

#[test]
fn a_commit_tells_what_it_cost() {
    let keys = Keyring::new();
    let storage = MemStorage::new([1; 16]);
    let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
    let mut bytes_before = 0;
    for sales in 1..=3 {
        let before = world.partition.view().lsn().0;
        let mut inputs: Vec<Input> = (1..=sales).map(|n| from_terminal(b"0200", sales * 10 + n, &[])).collect();
        world.partition.turn(world.now, &mut inputs);
        let records = world.partition.view().lsn().0 - before;
        let cost = world.commit().unwrap();
        assert_eq!((u64::from(cost.records), records >= u64::from(sales)), (records, true));
        assert!(cost.bytes_total > bytes_before && cost.bytes_total % 512 == 0);
        bytes_before = cost.bytes_total;
        let upkeep = world.partition.take_upkeep().expect("nothing is in flight");
        let cost = world.partition.committed(world.now, upkeep.run()).unwrap();
        assert_eq!((cost.records, cost.bytes_total, cost.sync), (0, bytes_before, std::time::Duration::ZERO));
    }
}

/// A drain waits for all of it: the issuer, the terminal, the disk.
#[test]
fn a_partition_is_quiet_when_nothing_waits_for_anybody() {
    let keys = Keyring::new();
    let storage = MemStorage::new([1; 16]);
    let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
    let check = |world: &World, in_flight: bool, quiet: bool, what: &str| {
        assert_eq!((world.partition.commit_in_flight(), world.partition.quiet()), (in_flight, quiet), "{what}");
    };
    check(&world, false, true, "just opened");
    world.partition.turn(world.now, &mut vec![from_terminal(b"0800", 1, &[])]);
    check(&world, false, false, "an echo waits to leave");
    assert!(!world.released().is_empty());
    check(&world, false, true, "it left");

    world.partition.turn(world.now, &mut vec![from_terminal(b"0200", 2, &[])]);
    check(&world, false, false, "an intent waits for the disk");
    world.commit().unwrap();
    let released = world.released();
    check(&world, false, false, "a request waits for its issuer");
    let mut inputs: Vec<Input> = released.into_iter().flat_map(|action| world.act(action)).collect();
    world.partition.turn(world.now, &mut inputs);
    world.commit().unwrap();
    let mut inputs: Vec<Input> = world.released().into_iter().flat_map(|action| world.act(action)).collect();
    world.partition.turn(world.now, &mut inputs);
    check(&world, false, false, "the handed mark is in memory alone");
    world.now.uptime_ms = world.partition.next_timeout().unwrap();
    world.partition.turn(world.now, &mut Vec::new());
    let commit = world.partition.take_commit().expect("it waited long enough");
    check(&world, true, false, "it is on its way to the disk");
    world.partition.committed(world.now, commit.run()).unwrap();
    world.released();
    check(&world, false, true, "all is done");
}

#[test]
fn k6_a_second_partition_on_one_journal_is_refused() {
    let keys = Keyring::new();
    let storage = MemStorage::new([1; 16]);
    let (_first, _) = World::open(&storage, &keys, start()).unwrap();
    assert!(matches!(World::open(&storage, &keys, start()), Err(OpenError::Journal(journal::OpenError::Locked))));
}

#[test]
fn i4_checkpoints_and_restarts_give_the_same_state() {
    let keys = Keyring::new();
    let mut storage = MemStorage::new([1; 16]);
    let mut checkpoints = 0;
    let mut now = start();
    for life in 0..4 {
        let (mut world, opened) = World::open(&storage, &keys, now).unwrap();
        assert_eq!(opened.epoch, life + 1);
        for stan in 1..=40 {
            world.terminal(b"0200", life * 100 + stan, &[]);
            world.pass(3000);
            checkpoints += u32::from(world.checkpoint().is_some());
        }
        now = world.now;
        let (live, replayed) = (world.snapshot(), {
            let copy = storage.kill();
            let mut told = 0;
            let opened = Partition::open_if(Arc::new(copy), keys.options(), now, |_| told += 1, |_| Ok(()));
            let (reopened, found) = opened.unwrap();
            assert_eq!(told, found.journal.records, "each replayed record is told");
            // The restart's own records come on top: epoch and LSN differ, movements do not.
            reopened.view().movements().map(|movement| (movement.id, movement.state)).collect::<Vec<_>>()
        });
        let restored = Switch::restore(keys.options().config, &live).unwrap();
        assert_eq!(restored.movements().map(|movement| (movement.id, movement.state)).collect::<Vec<_>>(), replayed);
        storage = storage.crash(|_| Fate::Lost);
    }
    assert!(checkpoints > 3, "{checkpoints} checkpoints were made and used");
}

#[test]
fn a_checkpoint_is_made_once_for_each_sealed_segment_and_never_two_at_a_time() {
    let keys = Keyring::new();
    let storage = MemStorage::new([1; 16]);
    let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
    let made = |storage: &MemStorage| {
        let names = journal::Storage::list(storage).unwrap();
        names.iter().filter_map(|name| name.strip_prefix("checkpoint-")?.parse().ok()).max().unwrap_or(0)
    };
    // A segment is sealed by some sales; then a checkpoint is due, until one is under way.
    let mut stan = 0;
    let mut seal = |world: &mut World| {
        for _ in 0..1000 {
            if let Some(job) = world.partition.checkpoint_due() {
                return job;
            }
            stan += 1;
            world.terminal(b"0200", stan, &[]);
            world.pass(3000);
        }
        panic!("no segment was sealed");
    };
    assert!(world.partition.checkpoint_due().is_none(), "no segment is sealed");
    let first = seal(&mut world);
    assert!(world.partition.checkpoint_due().is_none(), "it is under way");
    let lsn = world.partition.checkpointed(first.run()).unwrap();
    assert_eq!(made(&storage), lsn.0);
    assert!(world.partition.checkpoint_due().is_none(), "there is one of this segment");

    // One that fails is tried again with the next segment, not before.
    let second = seal(&mut world);
    storage.set_space_left(Some(0));
    assert!(world.partition.checkpointed(second.run()).is_err());
    storage.set_space_left(None);
    assert_eq!(made(&storage), lsn.0);
    assert!(world.partition.checkpoint_due().is_none());
    let third = seal(&mut world);
    let newest = world.partition.checkpointed(third.run()).unwrap();
    assert!(newest > lsn);
    assert_eq!(made(&storage), newest.0);

    // The next life begins with it, and makes none of the same segment.
    let now = world.now;
    world.partition.close().unwrap();
    let (mut world, opened) = World::open(&storage, &keys, now).unwrap();
    assert!(opened.journal.clean, "the stop was clean");
    assert_eq!(opened.journal.checkpoint.map(|lsn| lsn.0), Some(newest.0));
    assert!(world.partition.checkpoint_due().is_none());
}

#[test]
fn k5_a_checkpoint_of_another_record_than_its_name_says_is_refused() {
    let keys = Keyring::new();
    let storage = MemStorage::new([1; 16]);
    let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
    for stan in 1..=30 {
        world.terminal(b"0200", stan, &[]);
        world.pass(3000);
    }
    let lsn = world.checkpoint().expect("a segment was sealed").0;
    drop(world);
    let bytes = storage.bytes_of(&format!("checkpoint-{lsn:020}")).unwrap();
    World::open(&storage.kill(), &keys, start()).unwrap();
    // Whole, and written for a later record: those between would be missing. Or for an earlier one: they would count twice.
    for other in [lsn - 1, lsn + 1] {
        let wrong = storage.kill();
        wrong.take(&format!("checkpoint-{lsn:020}"));
        journal::write_checkpoint(&wrong, journal::Lsn(other), &bytes[64..]).unwrap();
        let refused = World::open(&wrong, &keys, start()).map(|_| ());
        assert!(matches!(refused, Err(OpenError::Journal(journal::OpenError::Rejected { .. }))), "{refused:?}");
    }
}

#[test]
fn look_ups_scan_the_journal_for_what_memory_let_go() {
    let keys = Keyring::new();
    let storage = MemStorage::new([1; 16]);
    let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
    for stan in 1..=12 {
        world.terminal(b"0200", stan, &[]);
        world.pass(400_000);
    }
    let rrn = rrns(&world.requests[..1]).pop_first().unwrap();
    assert!(world.partition.view().movement_by_rrn(&rrn).is_none(), "memory let the first one go");
    world.terminal(b"0400", 990, &[(37, rrn.as_str()), (90, "020000000100000000000000000000000000000000")]);
    assert_eq!(world.answers.last().unwrap().text(39), Some("00"));
    assert_eq!(world.reversals.len(), 1);
    assert_eq!(world.reversals[0].text(2), Some(PAN), "the sealed card is in the reversal");
    assert_eq!(world.partition.view().movement_by_rrn(&rrn).unwrap().state, StateKind::Unwound);
    let (again, _) = World::open(&storage.kill(), &keys, world.now).unwrap();
    assert_eq!(again.partition.view().movement_by_rrn(&rrn).unwrap().state, StateKind::Unwound, "and a replay has it");
}

#[test]
fn another_journals_keys_are_refused() {
    let keys = Keyring::new();
    let storage = MemStorage::new([1; 16]);
    let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
    world.terminal(b"0200", 1, &[]);
    drop(world);
    let foreign = World::open(&storage.kill(), &Keyring::new(), start());
    assert!(matches!(foreign, Err(OpenError::ForeignKeys { .. })));
    World::open(&storage.kill(), &keys, start()).unwrap();
}

/// A repeat of this sale is answered from memory.
fn is_known(world: &mut World, stan: u32) {
    let (asked, answered) = (world.requests.len(), world.answers.len());
    world.terminal(b"0201", stan, &[]);
    assert_eq!((world.requests.len(), world.answers.len()), (asked, answered + 1), "D2: STAN {stan} is not asked for again");
    assert_eq!(world.answers.last().unwrap().text(39), Some("00"));
}

#[test]
fn section_10_keys_that_are_taken_while_it_runs_are_known_to_the_next_start() {
    let old = Keyring::new();
    let new = old.rotated();
    let storage = MemStorage::new([1; 16]);
    let (mut world, _) = World::open(&storage, &old, start()).unwrap();
    world.terminal(b"0200", 1, &[]);
    world.partition.take_keys(world.now, &new.keys()).unwrap();
    is_known(&mut world, 1);
    world.terminal(b"0200", 2, &[]);
    let sealed_with = |stan: u32, world: &World| {
        let movement = world.partition.view().movements().find(|movement| movement.key.stan.get() == stan).unwrap();
        movement.card.unwrap().sealed.key
    };
    assert_eq!([1, 2].map(|stan| sealed_with(stan, &world)), [1, 2]);
    let disk = storage.crash(|_| Fate::Lost);
    assert!(matches!(World::open(&disk, &old, start()), Err(OpenError::ForeignKeys { .. })), "what it sealed needs them");
    let (mut world, _) = World::open(&disk, &new, world.now).unwrap();
    (1..=2).for_each(|stan| is_known(&mut world, stan));
    for stan in 1..=2 {
        world.terminal(b"0400", 990, &[(90, &format!("0200{stan:06}{:032}", 0))]);
        assert_eq!(world.reversals.last().unwrap().text(2), Some(PAN), "each key opens what it sealed");
    }
    assert_eq!(world.reversals.len(), 2);
}

#[test]
fn section_10_keys_that_lack_one_in_use_are_refused_and_the_old_stay() {
    let old = Keyring::new();
    let new = old.rotated();
    let storage = MemStorage::new([1; 16]);
    let (mut world, _) = World::open(&storage, &new, start()).unwrap();
    world.terminal(b"0200", 1, &[]);
    let before = world.partition.view().lsn();
    let mut refused = |keys: &Keys| world.partition.take_keys(world.now, keys).unwrap_err();
    assert_eq!(refused(&Keys::generate()), KeysRefused::Lacks { key: 0 });
    assert_eq!(refused(&old.keys()), KeysRefused::Lacks { key: 0 });
    assert_eq!(world.partition.view().lsn(), before, "no record");
    is_known(&mut world, 1);
    // M6: the last room of a full disk is for outcomes.
    storage.set_space_left(Some(0));
    for stan in 2.. {
        if !world.partition.has_reserve() {
            break;
        }
        world.terminal(b"0200", stan, &[]);
    }
    let newer = new.rotated();
    assert_eq!(world.partition.take_keys(world.now, &newer.keys()), Err(KeysRefused::NoRoom));
    assert_eq!(world.partition.take_keys(world.now, &new.keys()), Ok(()), "they are the ones that it has");
}

/// What memory let go is marked in the journal as its time was.
#[test]
fn section_10_what_a_look_up_brings_after_a_rotation_is_known_by_its_card() {
    let old = Keyring::new();
    let storage = MemStorage::new([1; 16]);
    let (mut world, _) = World::open(&storage, &old, start()).unwrap();
    for stan in 1..=12 {
        world.terminal(b"0200", stan, &[]);
        world.pass(400_000);
    }
    let rrn = rrns(&world.requests[..1]).pop_first().unwrap();
    let now = world.now;
    drop(world);
    let (mut world, _) = World::open(&storage.kill(), &old.rotated(), now).unwrap();
    assert!(world.partition.view().movement_by_rrn(&rrn).is_none(), "memory let the first one go");
    world.terminal(b"0400", 990, &[(37, rrn.as_str()), (90, "020000000100000000000000000000000000000000")]);
    assert_eq!((world.reversals.len(), world.answers.last().unwrap().text(39)), (1, Some("00")));
}

#[test]
fn section_10_a_rotation_that_loses_power_is_taken_up_by_the_next_start() {
    let old = Keyring::new();
    let new = old.rotated();
    let sold = || {
        let storage = MemStorage::new([1; 16]);
        let (mut world, _) = World::open(&storage, &old, start()).unwrap();
        (1..=400).for_each(|stan| world.terminal(b"0200", stan, &[]));
        (storage, world)
    };
    let rotate = |world: &mut World| {
        world.partition.take_keys(world.now, &new.keys()).unwrap();
        world.pass(1000);
        world.pass(1000);
    };
    let whole = {
        let (storage, mut world) = sold();
        let before = storage.operations();
        rotate(&mut world);
        storage.operations() - before
    };
    assert!(whole >= 4, "more than one group: {whole} operations of the disk");
    for operations in 0..=whole {
        let (storage, mut world) = sold();
        storage.power_off_after(operations);
        rotate(&mut world);
        let disk = storage.crash(|_| Fate::Lost);
        let (mut world, _) = World::open(&disk, &new, world.now).unwrap();
        for stan in [1, 57, 250, 400] {
            is_known(&mut world, stan);
        }
        let marks: BTreeSet<CardHmac> =
            world.partition.view().movements().filter_map(|movement| movement.fingerprint.card).collect();
        assert_eq!(
            marks,
            BTreeSet::from([world.partition.marks(&PAN.parse().unwrap())[0]]),
            "after {operations} operations"
        );
    }
}

#[test]
fn r7_an_issuer_with_open_movements_and_the_partitions_number_cannot_be_taken_away() {
    let keys = Keyring::new();
    let storage = MemStorage::new([1; 16]);
    let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
    world.terminal(b"0200", 1, &[]);
    world.pass(1000);
    drop(world);
    let opened = |change: &dyn Fn(&mut Config)| {
        let mut options = keys.options();
        change(&mut options.config);
        Partition::open(Arc::new(storage.kill()), options, start()).map(|_| ())
    };
    let renumber = |config: &mut Config| {
        config.issuers = [(IssuerNo(5), Issuer::default())].into();
        config.links = [(LinkNo { issuer: IssuerNo(5), number: 1 }, Link::default())].into();
        config.routes.clear();
    };
    assert!(matches!(opened(&renumber), Err(OpenError::IssuerGone { issuer: 1, open: 1 })));
    assert!(matches!(opened(&|config| config.partition = 2), Err(OpenError::OtherPartition { found: 1, configured: 2 })));
    opened(&|_| ()).unwrap();
}

#[test]
fn section_10_no_byte_of_the_disk_shows_a_pan() {
    let keys = Keyring::new();
    let storage = MemStorage::new([1; 16]);
    let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
    for stan in 1..=60 {
        world.terminal(b"0200", stan, &[(35, "4111111111111111=29122010000000000000"), (14, "2912")]);
        world.checkpoint();
    }
    world.partition.close().unwrap();
    let files = journal::Storage::list(&storage).unwrap();
    assert!(files.iter().any(|file| file.starts_with("checkpoint")));
    let packed: Vec<u8> = vec![0x41, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11];
    let track = &b"29122010000000000000"[..];
    for file in files {
        let bytes = storage.bytes_of(&file).unwrap();
        for secret in [PAN.as_bytes(), &packed, track] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret), "{file} shows a secret");
        }
        if file.starts_with("checkpoint") {
            assert!(bytes.windows(4).any(|window| window == b"1111"), "the last four digits may be shown");
        }
    }
}

#[test]
fn k2_a_handed_mark_waits_for_company_and_not_for_ever() {
    let keys = Keyring::new();
    let storage = MemStorage::new([1; 16]);
    let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
    world.terminal(b"0200", 1, &[]);
    assert_eq!(world.partition.view().movements().next().unwrap().evidence, Evidence::Handed);
    assert!(world.partition.take_commit().is_none(), "nobody waits for the mark");
    let due_ms = world.partition.next_timeout().unwrap();
    assert!(due_ms > world.now.uptime_ms && due_ms <= world.now.uptime_ms + 100, "it is committed soon all the same");
    let before = storage.operations();
    world.pass(due_ms - world.now.uptime_ms);
    assert!(storage.operations() > before);
    assert!(world.partition.quiet());
    // The next one waits for as long, from its own time on.
    world.pass(5000);
    world.terminal(b"0200", 2, &[]);
    assert!(world.partition.take_commit().is_none(), "nobody waits for this mark either");
    assert_eq!(world.partition.next_timeout(), Some(world.now.uptime_ms + 20));
}

#[test]
fn section_10_every_life_seals_under_an_epoch_of_its_own() {
    let keys = Keyring::new();
    let mut storage = MemStorage::new([1; 16]);
    let mut nonces = BTreeSet::new();
    for life in 1..=3 {
        let (mut world, _) = World::open(&storage, &keys, start()).unwrap();
        world.terminal(b"0200", life, &[]);
        nonces.extend(world.partition.view().movements().map(|movement| movement.card.unwrap().sealed.nonce));
        storage = storage.kill();
    }
    assert_eq!(nonces.len(), 3, "no nonce is used twice with one key");
}
