//! The result of a look-up: what a scan of the journal says about one terminal's STAN, or tells a person of a movement.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::action::Query;
use crate::binary::Damaged;
use crate::ids::{Lsn, MovementId};
use crate::movement::Movement;
use crate::record::{Entry, Record};
use crate::state::State;

/// Collects the movements that a [`Query`] asks for from the records of a journal, which come in their order. Records
/// about movements whose beginning it did not see are passed over: that part of the journal is gone.
#[derive(Debug)]
pub struct Finder {
    /// `None` takes every movement.
    query: Option<Query>,
    state: State,
}

impl Finder {
    /// A finder that has seen no record.
    pub fn new(query: Query) -> Finder {
        Finder { query: Some(query), state: State::keeping_all() }
    }

    /// A finder that takes every movement that it is shown, for a caller who has chosen the records.
    pub fn of_all() -> Finder {
        Finder { query: None, state: State::keeping_all() }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// The record does not follow from those before it.
    pub fn take(&mut self, lsn: Lsn, entry: &Entry) -> Result<(), Damaged> {
        let asked_for = |movement: &Movement| {
            self.query.is_none_or(|query| {
                movement.key.terminal == query.terminal
                    && (movement.key.stan == query.stan || query.rrn.is_some_and(|rrn| movement.is_named_by(rrn)))
                    && movement.begun_wall_ms >= query.since_wall_ms
            })
        };
        if concerns(&self.state, entry, asked_for) { self.state.apply(lsn, entry) } else { Ok(()) }
    }

    /// What was found, oldest first.
    pub fn finish(self) -> Vec<Movement> {
        self.state.movements.into_values().collect()
    }
}

/// Whether a record is about a movement that is held already, or that `wanted` takes in with this record.
fn concerns(held: &State, entry: &Entry, wanted: impl Fn(&Movement) -> bool) -> bool {
    match &entry.record {
        Record::Intent { movement } | Record::Recalled { movement } => wanted(movement),
        // What was offered is unknown after it (K2).
        Record::Restarted { .. } => true,
        other => other.movement().is_some_and(|id| held.movements.contains_key(&id)),
    }
}

/// A movement with every record about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// As the newest of these records leaves it.
    pub movement: Movement,
    /// The records about it, oldest first; those of restarts are not among them.
    pub records: Vec<(Lsn, Entry)>,
}

/// What a search for people judges.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    /// A movement as it began.
    Movement(&'a Movement),
    /// A record that is about no movement, as [`Record::alone`] says.
    Alone(&'a Entry),
}

/// What a search for people found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histories {
    /// The movements, oldest first.
    pub told: Vec<Told>,
    /// Records that are about no movement (D11), and those that closed one of them, in their order.
    pub alone: Vec<(Lsn, Entry)>,
    /// Older ones that are not among them.
    pub left_out: u64,
}

/// Collects the whole history of what `wanted` takes, from records in their order: for people.
///
/// Not the look-up that decisions are made on: that is [`Finder`]. Keeps the newest movements, and the newest records about
/// none, where there are more than it may keep.
#[derive(Debug)]
pub struct Historian<W> {
    wanted: W,
    most: usize,
    state: State,
    records: BTreeMap<MovementId, Vec<(Lsn, Entry)>>,
    alone: BTreeMap<Lsn, Entry>,
    /// What closed one of those, by the record that it closed.
    closed: BTreeMap<Lsn, (Lsn, Entry)>,
    /// The newest movement that was let go again.
    let_go: Option<MovementId>,
    left_out: u64,
}

impl<W: Fn(About<'_>) -> bool> Historian<W> {
    /// One that has seen no record, and keeps `most` movements.
    pub fn new(wanted: W, most: usize) -> Self {
        Historian {
            wanted,
            most,
            state: State::keeping_all(),
            records: BTreeMap::new(),
            alone: BTreeMap::new(),
            closed: BTreeMap::new(),
            let_go: None,
            left_out: 0,
        }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// The record does not follow from those before it.
    pub fn take(&mut self, lsn: Lsn, entry: &Entry) -> Result<(), Damaged> {
        self.take_alone(lsn, entry);
        if !concerns(&self.state, entry, |movement| (self.wanted)(About::Movement(movement))) {
            return Ok(());
        }
        self.state.apply(lsn, entry)?;
        let Some(id) = entry.record.movement().filter(|id| Some(*id) > self.let_go) else { return Ok(()) };
        self.records.entry(id).or_default().push((lsn, entry.clone()));
        if self.records.len() > self.most {
            self.let_go = self.records.pop_first().map(|(id, _)| id);
            self.left_out += 1;
        }
        Ok(())
    }

    fn take_alone(&mut self, lsn: Lsn, entry: &Entry) {
        if let Record::ExceptionClosed { exception, .. } = &entry.record
            && self.alone.contains_key(exception)
        {
            self.closed.insert(*exception, (lsn, entry.clone()));
        }
        if entry.record.alone().is_none() || !(self.wanted)(About::Alone(entry)) {
            return;
        }
        self.alone.insert(lsn, entry.clone());
        if self.alone.len() > self.most
            && let Some((oldest, _)) = self.alone.pop_first()
        {
            self.closed.remove(&oldest);
            self.left_out += 1;
        }
    }

    /// What was found.
    pub fn finish(self) -> Histories {
        let mut movements = self.state.movements;
        let told = self
            .records
            .into_iter()
            .filter_map(|(id, records)| movements.remove(&id).map(|movement| Told { movement, records }));
        let mut alone = self.alone;
        alone.extend(self.closed.into_values());
        Histories { told: told.collect(), alone: alone.into_iter().collect(), left_out: self.left_out }
    }
}
