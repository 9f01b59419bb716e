//! What every engine must do, run against each that was built in.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;

use index::{Batch, Error, Filler, Found, Index, Kind, LookUp, Name};
use iso8583::{Stan, TerminalId};
use journal::memory::MemStorage;
use journal::{Lsn, Reader};
use switch::{About, CardHmac, Entry, Input, Movement, MovementId, Query, QueryId, Record};

use crate::world::{Dice, TERMINALS, World};

/// Runs a test against every engine.
fn each(test: impl Fn(Kind, &Path)) {
    assert!(Kind::ALL.len() == 2, "the suite is to meet both engines");
    for kind in Kind::ALL {
        let dir = tempfile::tempdir().expect("a directory");
        test(*kind, dir.path());
    }
}

/// Fills an index with all that is durable, so many records at a time.
pub(crate) fn fill(index: &Index, reader: &Reader<MemStorage>, at_once: usize) {
    let mut filler = Filler::new(index, reader.identity(), reader.oldest()).expect("it can be read");
    let mut tail = reader.tail(filler.mark().lsn.next()).expect("nothing is gone");
    while tail.next() <= reader.durable() {
        tail.take(|lsn, place, payload| {
            filler.add(lsn, place, payload).expect("a record of ours");
            if filler.records() == at_once { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .expect("sound");
        filler.apply(index).expect("it takes it");
    }
    assert_eq!(index.mark().expect("it can be read").map(|mark| mark.lsn), Some(reader.durable()));
}

fn terminal(of: usize) -> TerminalId {
    TerminalId::new(TERMINALS[of].0, TERMINALS[of].1).expect("a name")
}

/// Every record, and every movement that the journal tells of, by a scan that shares nothing with the index.
fn scanned(reader: &Reader<MemStorage>) -> (Vec<(Lsn, Entry)>, BTreeMap<MovementId, Movement>) {
    let (mut records, mut finder) = (Vec::new(), switch::Finder::of_all());
    reader
        .for_each(reader.oldest(), reader.durable(), |lsn, payload| {
            let entry = Entry::decode(payload).expect("a record of ours");
            finder.take(switch::Lsn(lsn.0), &entry).expect("it follows");
            records.push((lsn, entry));
            ControlFlow::Continue(())
        })
        .expect("sound");
    (records, finder.finish().into_iter().map(|movement| (movement.id, movement)).collect())
}

#[test]
fn a_batch_is_there_after_it_is_opened_again_and_in_order() {
    each(|kind, dir| {
        let engine = kind.open(&dir.join("engine")).expect("an empty one");
        let mut batch = Batch::default();
        for (key, value) in [("b", "2"), ("a", "1"), ("c", "3"), ("ab", "12"), ("b", "two"), ("d", "")] {
            batch.put(key.as_bytes(), value.as_bytes());
        }
        batch.remove(b"c");
        batch.remove(b"never");
        engine.apply(&batch).expect("taken");
        batch.clear();
        batch.put(b"e", b"5");
        engine.apply(&batch).expect("taken");
        engine.sync().expect("synced");
        drop(engine);
        let engine = kind.open(&dir.join("engine")).expect("what is there");
        let all = |from: &str, to: &str, most: usize| {
            let mut read = Vec::new();
            let mut each = |key: &[u8], value: &[u8]| {
                read.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
                if read.len() == most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            engine.scan(from.as_bytes(), to.as_bytes(), &mut each).expect("read");
            read.join(" ")
        };
        assert_eq!(all("a", "z", 99), "a=1 ab=12 b=two d= e=5");
        assert_eq!(all("ab", "d", 99), "ab=12 b=two", "the first is included, the last is not");
        assert_eq!(all("a", "z", 2), "a=1 ab=12");
        assert_eq!(all("x", "z", 9), "");
        assert_eq!(engine.get(b"b").expect("read").as_deref(), Some(b"two".as_slice()));
        assert_eq!(engine.get(b"c").expect("read"), None);
    });
}

#[test]
fn every_look_up_of_the_core_finds_what_a_scan_finds() {
    each(|kind, dir| {
        for seed in 1..=6 {
            let world = World::begin(1).live(&mut Dice::new(seed), 150);
            let reader = world.partition.reader();
            let index = Index::open(kind, &dir.join(seed.to_string())).expect("an empty one");
            fill(&index, &reader, 1 + 37 * (seed as usize % 3));
            let mut found = 0;
            let (_, movements) = scanned(&reader);
            let begun: Vec<u64> = movements.values().map(|movement| movement.begun_wall_ms).collect();
            let rrns: Vec<_> = movements.values().flat_map(|m| [Some(m.rrn), m.terminal_rrn]).step_by(5).collect();
            for stan in 1..=40 {
                for of in 0..3 {
                    for (since_wall_ms, rrn) in [(0, None), (begun[begun.len() / 2], rrns[stan % rrns.len()])] {
                        let stan = Stan::new(stan as u32).expect("a number");
                        let query = Query { terminal: terminal(of), stan, rrn, since_wall_ms, card: None };
                        let Input::Found { found: Some(by_scan), .. } = world.partition.look_up(&query).run(QueryId(1))
                        else {
                            panic!("the scan answers")
                        };
                        assert_eq!(index.find(&reader, &query).expect("it answers"), by_scan, "{seed}: {query:?}");
                        found += by_scan.len();
                    }
                }
            }
            assert!(found > 30, "{found}: there was something to find");
            assert!(movements.values().any(|movement| movement.evidence == switch::Evidence::Unknown), "and a start (K2)");
        }
    });
}

/// The movements of a look-up, with the number of their records.
fn told(found: &Found) -> Vec<(MovementId, usize)> {
    found.histories.iter().map(|history| (history.movement.id, history.records.len())).collect()
}

#[test]
fn a_history_is_every_record_about_a_movement_by_whatever_it_is_asked_for() {
    each(|kind, dir| {
        let world = World::begin(1).live(&mut Dice::new(77), 250);
        let reader = world.partition.reader();
        let index = Index::open(kind, dir).expect("an empty one");
        fill(&index, &reader, 64);
        let (records, movements) = scanned(&reader);
        let about = |id| records.iter().filter(move |(_, entry)| entry.record.movement() == Some(id)).cloned();
        let ask = |what: &LookUp| index.histories(&reader, what, 1_000).expect("it answers");
        let all_of = |of: &dyn Fn(&Movement) -> bool| {
            let of = movements.values().filter(|movement| of(movement));
            of.map(|movement| (movement.id, about(movement.id).count())).collect::<Vec<_>>()
        };
        for movement in movements.values() {
            let by_rrn = ask(&LookUp::Rrn(movement.rrn));
            let history = by_rrn.histories.iter().find(|history| history.movement.id == movement.id).expect("it is told");
            assert_eq!(history.movement, *movement);
            let expected: Vec<_> = about(movement.id).map(|(lsn, entry)| (switch::Lsn(lsn.0), entry)).collect();
            assert_eq!(history.records, expected);
            let key = movement.key;
            let exactly = ask(&LookUp::Key { terminal: Name::Exactly(key.terminal), stan: key.stan });
            assert_eq!(told(&exactly), all_of(&|m| (m.key.terminal, m.key.stan) == (key.terminal, key.stan)));
            let by_name = ask(&LookUp::Key { terminal: Name::Terminal(*key.terminal.terminal()), stan: key.stan });
            let same = |m: &Movement| (m.key.terminal.terminal(), m.key.stan) == (key.terminal.terminal(), key.stan);
            assert_eq!(told(&by_name), all_of(&same));
        }
        let middle = movements.values().nth(movements.len() / 2).expect("there are some").begun_wall_ms;
        for wall_ms in [0..u64::MAX, 0..middle, middle..u64::MAX, middle..middle + 1, 5..6] {
            for of in 0..3 {
                let exactly = ask(&LookUp::Terminal { terminal: Name::Exactly(terminal(of)), wall_ms: wall_ms.clone() });
                let its = |m: &Movement| m.key.terminal == terminal(of) && wall_ms.contains(&m.begun_wall_ms);
                assert_eq!(told(&exactly), all_of(&its));
            }
            let name = Name::Terminal(*b"TERM0001");
            let by_name = ask(&LookUp::Terminal { terminal: name, wall_ms: wall_ms.clone() });
            let its = |m: &Movement| m.key.terminal.terminal() == b"TERM0001" && wall_ms.contains(&m.begun_wall_ms);
            assert_eq!(told(&by_name), all_of(&its));
            let cards: BTreeSet<CardHmac> = movements.values().map(|movement| world.card(movement)).collect();
            assert_eq!(cards.len(), 3);
            for card in cards {
                // A key that was used before is asked for too, and knows nothing.
                let by_card = ask(&LookUp::Card { cards: vec![CardHmac([9; 16]), card], wall_ms: wall_ms.clone() });
                let its = |m: &Movement| world.card(m) == card && wall_ms.contains(&m.begun_wall_ms);
                assert_eq!(told(&by_card), all_of(&its));
            }
        }
        let own = movements.values().filter_map(|m| m.terminal_rrn).next().expect("terminals gave one");
        let newest = index.histories(&reader, &LookUp::Rrn(own), 2).expect("it answers");
        let all = all_of(&|m| m.terminal_rrn == Some(own));
        assert_eq!((told(&newest), newest.more), (all[all.len() - 2..].to_vec(), all.len() - 2), "the newest two");
    });
}

#[test]
fn d11_what_is_about_no_movement_is_told_apart_and_a_closed_exception_with_its_closing() {
    each(|kind, dir| {
        let mut world = World::begin(1);
        world.terminal(0, b"0400", 7, 0, &[(90, &format!("0200000007{}", "0".repeat(32)))]);
        world.terminal(0, b"0200", 1, 0, &[]);
        world.terminal(0, b"0200", 1, 1, &[]);
        let exception = world.partition.view().exceptions().next().expect("D4 made one").0;
        world.input(Input::Resolve {
            ask: switch::AskId(1),
            case: switch::Case::Entry(exception),
            resolution: switch::Resolution::Stands,
            who: "an operator".into(),
            why: "both cards were there".into(),
        });
        world.pass(100);
        let reader = world.partition.reader();
        let index = Index::open(kind, dir).expect("an empty one");
        fill(&index, &reader, 1);
        let ask = |stan| {
            let key = LookUp::Key { terminal: Name::Exactly(terminal(0)), stan: Stan::new(stan).expect("a number") };
            index.histories(&reader, &key, 9).expect("it answers")
        };
        let buried = ask(7);
        assert!(buried.histories.is_empty());
        assert!(matches!(buried.alone[..], [(_, Entry { record: Record::Tombstone { .. }, .. })]), "{buried:?}");
        let closed = ask(1);
        assert_eq!(closed.alone, []);
        let last = &closed.histories[0].records.last().expect("it has records").1.record;
        assert!(matches!(last, Record::ExceptionClosed { who, .. } if who == "an operator"), "{last:?}");
    });
}

#[test]
fn an_index_goes_on_where_it_stood_and_one_of_another_engine_is_removed() {
    each(|kind, dir| {
        let mut dice = Dice::new(5);
        let mut world = World::begin(1).live(&mut dice, 60);
        for _ in 0..4 {
            let index = Index::open(kind, dir).expect("what is there");
            fill(&index, &world.partition.reader(), 50);
            drop(index);
            world = world.live(&mut dice, 40);
        }
        let reader = world.partition.reader();
        let index = Index::open(kind, dir).expect("what is there");
        fill(&index, &reader, 50);
        let (_, movements) = scanned(&reader);
        for movement in movements.values() {
            let found = index.histories(&reader, &LookUp::Rrn(movement.rrn), 999).expect("it answers").histories;
            assert!(found.iter().any(|history| history.movement == *movement), "{movement:?}");
        }
        drop(index);
        std::fs::write(dir.join("of somebody else"), "stays").expect("written");
        let other = *Kind::ALL.iter().find(|other| **other != kind).expect("there are two");
        assert_eq!(Index::open(other, dir).expect("an empty one").mark().expect("it can be read"), None);
        assert_eq!(Index::open(kind, dir).expect("an empty one").mark().expect("it can be read"), None);
        Index::remove(dir).expect("removed");
        assert_eq!(std::fs::read_dir(dir).expect("it is there").count(), 1, "only what is its own is removed");
    });
}

#[test]
fn an_entry_that_is_none_is_an_error_and_not_an_answer() {
    each(|kind, dir| {
        let world = World::begin(1).live(&mut Dice::new(3), 60);
        let reader = world.partition.reader();
        let index = Index::open(kind, dir).expect("an empty one");
        fill(&index, &reader, 50);
        drop(index);
        let (_, movements) = scanned(&reader);
        let movement = movements.values().next().expect("there is one");
        let engine = kind.open(&dir.join(format!("{}-1", kind.name()))).expect("what is there");
        let mut batch = Batch::default();
        let mut key = vec![b'M'];
        key.extend_from_slice(&movement.id.0.to_be_bytes());
        key.extend_from_slice(&movement.last_record.0.to_be_bytes());
        batch.put(&key, b"short");
        engine.apply(&batch).expect("taken");
        drop(engine);
        let index = Index::open(kind, dir).expect("what is there");
        let asked = index.histories(&reader, &LookUp::Rrn(movement.rrn), 9);
        assert!(matches!(asked, Err(Error::Entry)), "{asked:?}");
    });
}

#[test]
fn a_time_is_told_as_reading_the_whole_journal_tells_it_the_newest_first_and_for_as_long_as_somebody_waits() {
    each(|kind, dir| {
        let world = World::begin(1).live(&mut Dice::new(78), 250);
        let reader = world.partition.reader();
        assert!(reader.sealed().len() > 3, "there is something to pass over");
        let index = Index::open(kind, dir).expect("an empty one");
        fill(&index, &reader, 64);
        let (_, movements) = scanned(&reader);
        let begun: Vec<u64> = movements.values().map(|movement| movement.begun_wall_ms).collect();
        let (first, middle, last) = (begun[0], begun[begun.len() / 2], begun[begun.len() - 1]);
        for wall_ms in [0..u64::MAX, middle..u64::MAX, first..middle, middle..middle + 1, last + 1..u64::MAX] {
            let card = world.card(movements.values().last().expect("there is one"));
            let wanted = |about: About<'_>| match about {
                About::Movement(m) => world.card(m) == card && wall_ms.contains(&m.begun_wall_ms),
                About::Alone(_) => false,
            };
            for most in [2, 1_000] {
                let what = LookUp::Time { wall_ms: wall_ms.clone() };
                let found = index.chosen(&reader, &what, most, &wanted, &|| true).expect("it answers").expect("it goes on");
                let read = world.partition.history().run(wanted, most, || true).expect("it reads").expect("it goes on");
                assert_eq!((&found.histories, found.more as u64), (&read.told, read.left_out), "{wall_ms:?}");
            }
            let asked = Cell::new(0);
            let twice = || asked.replace(asked.get() + 1) < 2;
            let what = LookUp::Time { wall_ms: 0..u64::MAX };
            assert_eq!(index.chosen(&reader, &what, 9, &wanted, &twice).expect("it answers"), None);
            assert_eq!(asked.replace(0), 3, "and reads no further");
            assert_eq!(world.partition.history().run(wanted, 9, twice).expect("it reads"), None);
            assert_eq!(asked.get(), 3, "and reads no further");
        }
    });
}
