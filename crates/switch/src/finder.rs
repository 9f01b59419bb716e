//! The result of a look-up: what a scan of the journal says about one terminal's STAN.

use alloc::vec::Vec;

use crate::action::Query;
use crate::binary::Damaged;
use crate::ids::Lsn;
use crate::movement::Movement;
use crate::record::{Entry, Record};
use crate::state::State;

/// Collects the movements that a [`Query`] asks for from the records of a journal, which come in their order.
#[derive(Debug)]
pub struct Finder {
    query: Query,
    state: State,
}

impl Finder {
    /// A finder that has seen no record.
    pub fn new(query: Query) -> Finder {
        Finder { query, state: State::keeping_all() }
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// The record does not follow from those before it.
    pub fn take(&mut self, lsn: Lsn, entry: &Entry) -> Result<(), Damaged> {
        let asked_for = |movement: &Movement| {
            movement.key.terminal == self.query.terminal
                && (movement.key.stan == self.query.stan || self.query.rrn.is_some_and(|rrn| movement.is_named_by(rrn)))
                && movement.begun_wall_ms >= self.query.since_wall_ms
        };
        let concerns = match &entry.record {
            Record::Intent { movement } | Record::Recalled { movement } => asked_for(movement),
            Record::Restarted { .. } => true,
            Record::Tombstone { .. } | Record::StanUsed { .. } | Record::ExceptionClosed { .. } => false,
            Record::Exception { id, .. } => id.is_some_and(|id| self.state.movements.contains_key(&id)),
            Record::Answered { id, .. }
            | Record::NeverSent { id, .. }
            | Record::Delivery { id, .. }
            | Record::Obligation { id, .. }
            | Record::ReversalNumbered { id, .. }
            | Record::ReversalAnswered { id, .. }
            | Record::LateAnswer { id, .. }
            | Record::AnotherApproval { id, .. }
            | Record::Confirmed { id, .. }
            | Record::NeedsOperator { id, .. }
            | Record::Resolved { id, .. }
            | Record::ReversalSeen { id } => self.state.movements.contains_key(id),
        };
        if concerns { self.state.apply(lsn, entry) } else { Ok(()) }
    }

    /// What was found, oldest first.
    pub fn finish(self) -> Vec<Movement> {
        self.state.movements.into_values().collect()
    }
}
