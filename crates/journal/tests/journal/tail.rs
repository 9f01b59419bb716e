//! What a view beside the journal is promised: every record once, in order, while the journal is written; and its place.

use std::ops::ControlFlow;
use std::sync::Arc;

use journal::memory::MemStorage;
use journal::{Lsn, Position, ReadError, Tail, write_checkpoint};

use crate::common::{IDENTITY, append, commit, open_whole, payload, small};

type Taken = Vec<(Lsn, Position)>;

/// Takes at most `count` records, each of which must be the one that is due, as it was written.
fn take(tail: &mut Tail<MemStorage>, count: usize) -> Taken {
    let mut taken = Taken::new();
    let mut due = tail.next();
    let flow = |taken: &Taken| if taken.len() == count { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    tail.take(|lsn, position, bytes| {
        assert_eq!((lsn, bytes), (due, payload(lsn.0).as_slice()));
        due = lsn.next();
        taken.push((lsn, position));
        flow(&taken)
    })
    .expect("sound");
    assert_eq!(tail.next(), due);
    taken
}

#[test]
fn a_tail_gives_every_durable_record_once_in_order_and_its_place_finds_it_again() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    let mut tails =
        [1, 2, 7, 1000].map(|at_once| (at_once, journal.reader().tail(Lsn(1)).expect("it begins"), Taken::new()));
    for round in 0..80_u64 {
        commit(&mut journal, 1 + round % 5);
        append(&mut journal, 1);
        for (at_once, tail, taken) in &mut tails {
            taken.extend(take(tail, *at_once));
            assert!(tail.next() <= journal.durable().next(), "nothing that is not durable");
        }
        if let Some(commit) = journal.take_commit() {
            journal.committed(commit.run()).expect("durable");
        }
    }
    assert!(journal.stats().rotations > 5);
    for (_, mut tail, mut taken) in tails {
        taken.extend(take(&mut tail, 100_000));
        let expected: Vec<_> = (1..=journal.durable().0).map(Lsn).collect();
        assert_eq!(taken.iter().map(|(lsn, _)| *lsn).collect::<Vec<_>>(), expected);
        assert_eq!(take(&mut tail, 1), [], "there is no more");
        let every_third: Taken = taken.iter().copied().step_by(3).collect();
        let mut read = Vec::new();
        let reader = journal.reader();
        reader.read_at(&every_third, |lsn, bytes| read.push((lsn, bytes.to_vec()))).expect("they are there");
        assert_eq!(read, every_third.iter().map(|(lsn, _)| (*lsn, payload(lsn.0))).collect::<Vec<_>>());
        // A tail that begins anywhere goes on from there.
        for (lsn, position) in taken.into_iter().step_by(7) {
            let mut later = reader.tail(lsn).expect("it is there");
            assert_eq!(take(&mut later, 1), [(lsn, position)]);
        }
    }
}

#[test]
fn a_tail_may_begin_after_the_last_record() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    commit(&mut journal, 3);
    let mut tail = journal.reader().tail(Lsn(4)).expect("nothing is missing");
    assert_eq!(take(&mut tail, 9), []);
    commit(&mut journal, 2);
    assert_eq!(take(&mut tail, 9).iter().map(|(lsn, _)| lsn.0).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn the_segment_of_a_tail_is_not_retired_and_what_is_retired_is_said_to_be_gone() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    let mut tail = journal.reader().tail(Lsn(1)).expect("it begins");
    for _ in 0..60 {
        commit(&mut journal, 1);
    }
    let (first, place) = take(&mut tail, 1)[0];
    let retire = |journal: &mut journal::Journal<MemStorage>| {
        for lsn in [58, 60] {
            write_checkpoint(&*storage, Lsn(lsn), b"state").expect("written");
        }
        journal.retire(Lsn(60));
        let upkeep = journal.take_upkeep().expect("nothing is in flight");
        journal.committed(upkeep.run()).expect("done");
    };
    retire(&mut journal);
    assert_eq!(journal.reader().oldest(), Lsn(1), "the tail stands there");
    take(&mut tail, 20);
    retire(&mut journal);
    let oldest = journal.reader().oldest();
    assert!(oldest > Lsn(1) && oldest <= tail.next(), "what it has passed may go: {oldest}");
    drop(tail);
    retire(&mut journal);
    assert!(journal.reader().oldest() > oldest);
    let gone = journal.reader().read_at(&[(first, place)], |_, _| panic!("it is gone"));
    assert!(matches!(gone, Err(ReadError::Retired { from: Lsn(1), .. })), "{gone:?}");
    assert!(matches!(journal.reader().tail(Lsn(1)), Err(ReadError::Retired { from: Lsn(1), .. })));
}

#[test]
fn a_place_where_the_record_is_not_is_damage() {
    let storage = Arc::new(MemStorage::new(IDENTITY));
    let mut journal = open_whole(&storage, &small(), 0).journal;
    for _ in 0..20 {
        commit(&mut journal, 2);
    }
    let taken = take(&mut journal.reader().tail(Lsn(1)).expect("it begins"), 40);
    let (lsn, place) = taken[10];
    let check = |wrong: Position| {
        let read = journal.reader().read_at(&[(lsn, wrong)], |_, _| panic!("it is not there"));
        assert!(matches!(read, Err(ReadError::Damaged { .. })), "{wrong:?}: {read:?}");
    };
    check(Position { offset: place.offset + 512, ..place });
    check(Position { offset: place.offset + 1, ..place });
    check(Position { offset: 0, ..place });
    check(Position { offset: 4096, ..place });
    check(Position { offset: u64::MAX - 3, ..place });
    check(Position { segment: place.segment + 1, ..place });
    check(Position { segment: 99, ..place });
}
