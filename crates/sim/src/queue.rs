//! What is to happen, by virtual time. Not a clock: time is the moment of the event that was taken last.
//!
//! Invariant: events leave in the order of their time, and those of one moment in the order in which they were put in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Virtual microseconds since the simulation began.
pub(crate) type Micros = u64;

pub(crate) const MS: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000 * MS;

struct Entry<E> {
    at: Micros,
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// Events in waiting.
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    number: u64,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Self {
        Queue { heap: BinaryHeap::new(), number: 0 }
    }

    pub(crate) fn put(&mut self, at: Micros, event: E) {
        self.number += 1;
        self.heap.push(Reverse(Entry { at, number: self.number, event }));
    }

    pub(crate) fn take(&mut self) -> Option<(Micros, E)> {
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.event))
    }
}
