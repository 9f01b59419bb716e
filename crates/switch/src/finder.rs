//! The result of a look-up: what a scan of the journal says about one terminal's STAN.

use alloc::vec::Vec;

use crate::action::Query;
use crate::binary::Damaged;
use crate::ids::Lsn;
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
        let known = |id| self.state.movements.contains_key(&id);
        let concerns = match &entry.record {
            Record::Intent { movement } | Record::Recalled { movement } => asked_for(movement),
            // What was offered is unknown after it (K2).
            Record::Restarted { .. } => true,
            other => other.movement().is_some_and(known),
        };
        if concerns { self.state.apply(lsn, entry) } else { Ok(()) }
    }

    /// What was found, oldest first.
    pub fn finish(self) -> Vec<Movement> {
        self.state.movements.into_values().collect()
    }
}
