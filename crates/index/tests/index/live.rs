//! The thread that keeps an index up: it follows, builds again what it cannot use, and drops what is to be retired.

use std::path::Path;
use std::time::{Duration, Instant};

use index::{Batch, Index, Kind, Live, LookUp, Options, Retain, Stage, Unavailable};
use iso8583::{Rrn, Stan, TerminalId};
use journal::Lsn;
use journal::memory::MemStorage;
use switch::{Movement, MovementId, Query, StateKind};

use crate::conformance::fill;
use crate::world::{Dice, TERMINALS, World};

const KIND: Kind = Kind::Fjall;

fn start(world: &World, dir: &Path) -> Live<MemStorage> {
    let options = Options { kind: KIND, dir: dir.to_owned(), patience: Duration::from_secs(20) };
    Live::start(world.partition.reader(), options).expect("a thread can be had")
}

/// Waits until this is so.
fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let since = Instant::now();
    while !reached() {
        assert!(since.elapsed() < Duration::from_secs(30), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn followed(live: &Live<MemStorage>) {
    until("it follows", || live.status().stage == Stage::Following && live.status().lag() == 0);
}

/// The movements that an RRN names, asked again for as long as the index is being built.
fn by_rrn(live: &Live<MemStorage>, rrn: Rrn) -> Vec<Movement> {
    loop {
        match live.histories(&LookUp::Rrn(rrn), 99) {
            Ok(found) => return found.histories.into_iter().map(|history| history.movement).collect(),
            Err(Unavailable::Building { .. } | Unavailable::Failed(_)) => std::thread::sleep(Duration::from_millis(5)),
            Err(other @ (Unavailable::Behind { .. } | Unavailable::Journal(_))) => panic!("{other}"),
        }
    }
}

fn newest(world: &World) -> Movement {
    world.partition.view().movements().last().expect("there is one").clone()
}

#[test]
fn an_answer_covers_what_was_durable_when_it_was_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut world = World::begin(1);
    let live = start(&world, dir.path());
    followed(&live);
    for stan in 1..=60 {
        world.terminal(0, b"0200", stan, 0, &[]);
        let terminal = TerminalId::new(TERMINALS[0].0, TERMINALS[0].1).expect("a name");
        let stan = Stan::new(u32::try_from(stan).expect("small")).expect("a number");
        let query = Query { terminal, stan, rrn: None, since_wall_ms: 0, card: None };
        let found = live.find(&query).expect("it waits for its own record");
        let known: Vec<Movement> =
            found.into_iter().map(|movement| Movement { evidence: switch::Evidence::None, ..movement }).collect();
        assert_eq!(known.len(), 1, "{stan}");
        assert!(matches!(known[0].state, StateKind::AwaitingDelivery | StateKind::AwaitingConfirmation));
    }
    live.stop();
    assert!(
        matches!(live.histories(&LookUp::Rrn(newest(&world).rrn), 9), Err(Unavailable::Building { .. })),
        "it is closed"
    );
}

/// What an index that is there is worth: `built` is how often it had to be built again.
fn check(spoil: impl FnOnce(World, &Path) -> World, built: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let world = World::begin(1).live(&mut Dice::new(8), 80);
    let live = start(&world, dir.path());
    followed(&live);
    assert_eq!(live.status().built, 1, "there was none");
    live.stop();
    drop(live);
    let world = spoil(world, dir.path());
    let live = start(&world, dir.path());
    followed(&live);
    let movement = newest(&world);
    assert!(by_rrn(&live, movement.rrn).iter().any(|found| found.id == movement.id));
    assert_eq!(live.status().built, built);
    live.stop();
}

#[test]
fn an_index_of_this_journal_is_used_and_any_other_is_built_again() {
    check(|world, _| world, 0);
    check(|world, _| world.live(&mut Dice::new(9), 60), 0);
    check(|world, _| world.restart(), 0);
    check(
        |world, dir| {
            Index::remove(dir).expect("removed");
            world
        },
        1,
    );
    check(|_, _| World::begin(2).live(&mut Dice::new(8), 80), 1);
    // A journal that was restored: it ends before what the index covers.
    check(|_, _| World::begin(1).live(&mut Dice::new(8), 20), 1);
    // And one that went on another way, beyond it.
    check(|_, _| World::begin(1).live(&mut Dice::new(10), 200), 1);
    // A mark that is none, and an index of nothing but that.
    check(
        |world, dir| {
            let engine = KIND.open(&dir.join("fjall-1")).expect("what is there");
            let mut batch = Batch::default();
            batch.put(b"V", b"another version");
            engine.apply(&batch).expect("taken");
            world
        },
        1,
    );
    check(
        |world, dir| {
            std::fs::remove_dir_all(dir).expect("removed");
            std::fs::create_dir(dir).expect("made");
            std::fs::write(dir.join("fjall-1"), "not even a directory").expect("written");
            world
        },
        1,
    );
}

#[test]
fn damage_that_a_look_up_comes_upon_is_built_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let world = World::begin(1).live(&mut Dice::new(4), 80);
    let reader = world.partition.reader();
    let index = Index::open(KIND, dir.path()).expect("an empty one");
    fill(&index, &reader, 50);
    drop(index);
    let movement = newest(&world);
    let engine = KIND.open(&dir.path().join("fjall-1")).expect("what is there");
    let mut batch = Batch::default();
    let key = [b"M".as_slice(), &movement.id.0.to_be_bytes(), &movement.last_record.0.to_be_bytes()].concat();
    // A place where no record is.
    batch.put(&key, &[7_u64.to_be_bytes(), 512_u64.to_be_bytes()].concat());
    engine.apply(&batch).expect("taken");
    drop(engine);
    let live = start(&world, dir.path());
    followed(&live);
    assert_eq!(live.status().built, 0, "nobody has looked");
    assert!(matches!(live.histories(&LookUp::Rrn(movement.rrn), 9), Err(Unavailable::Failed(_))));
    assert!(by_rrn(&live, movement.rrn).contains(&movement));
    assert_eq!(live.status().built, 1);
    live.stop();
}

#[test]
fn what_is_past_its_retention_is_dropped_and_what_an_open_movement_needs_is_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut world = World::begin(1).live(&mut Dice::new(21), 400);
    world.pass(86_400_000);
    let middle_ms = world.now.wall_ms - 40_000_000;
    world = world.live(&mut Dice::new(22), 100);
    let live = start(&world, dir.path());
    followed(&live);
    let all: Vec<Movement> = {
        let everything = LookUp::Terminal { terminal: index::Name::Terminal(*b"TERM0001"), wall_ms: 0..u64::MAX };
        let found = live.histories(&everything, 9_999).expect("it answers");
        found.histories.into_iter().map(|history| history.movement).collect()
    };
    let (old, young): (Vec<_>, Vec<_>) = all.iter().partition(|movement| movement.begun_wall_ms < middle_ms);
    assert!(old.len() > 20 && young.len() > 5);
    // The first movement is said to be open: nothing goes.
    live.retain(Some(Retain { before_wall_ms: middle_ms, oldest_open: Some(MovementId(1)) }));
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(live.retire_below() <= Lsn(1));
    let sealed = world.partition.reader().sealed();
    assert!(sealed.len() > 4, "{}", sealed.len());

    live.retain(Some(Retain { before_wall_ms: middle_ms, oldest_open: None }));
    until("something may be retired", || live.retire_below() > Lsn(1));
    let segments = world.partition.reader().sealed().len();
    let below = live.retire_below();
    world.partition.retire(switch::Lsn(below.0));
    let upkeep = world.partition.take_upkeep().expect("nothing is in flight");
    world.partition.committed(world.now, upkeep.run()).expect("done");
    let reader = world.partition.reader();
    assert!(reader.sealed().len() < segments && reader.oldest() <= below && reader.oldest() > Lsn(1));

    for movement in &young {
        assert!(by_rrn(&live, movement.rrn).contains(movement), "what is young stays");
    }
    let gone = old.iter().filter(|movement| by_rrn(&live, movement.rrn).iter().all(|found| found.id != movement.id)).count();
    assert!(gone > 10, "{gone} are gone");
    // What is dropped stays dropped.
    live.stop();
    let below = live.retire_below();
    let again = start(&world, dir.path());
    followed(&again);
    assert_eq!((again.status().built, again.retire_below()), (0, below));
    again.stop();
}

/// A segment that has rotted stands in the way of every build: that is said, and for as long as it is so.
#[test]
fn a_journal_that_cannot_be_read_is_said_until_the_index_follows() {
    let dir = tempfile::tempdir().expect("a directory");
    let world = World::begin(1).live(&mut Dice::new(5), 250);
    let sealed = world.partition.reader().sealed();
    assert!(sealed.len() > 2, "{}", sealed.len());
    // A byte of a record in its middle.
    let rot = || world.storage.flip_bit(&format!("segment-{:016}", sealed[1].number), 8 << 10, 3);
    rot();
    let live = start(&world, dir.path());
    until("it says why", || live.status().failed.is_some());
    let status = live.status();
    assert!(matches!(status.stage, Stage::Waiting | Stage::Opening | Stage::Building), "{status:?}");
    let why = status.failed.expect("it failed");
    assert!(why.contains("segment"), "{why}");
    rot();
    followed(&live);
    assert_eq!(live.status().failed, None);
    live.stop();
}
