//! What operators and gauges may see. Reading changes nothing.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use iso8583::{Currency, Rrn};

use crate::config::Config;
use crate::ids::{IssuerNo, LinkId, LinkNo, Lsn, MovementId};
use crate::machine::Switch;
use crate::movement::{Evidence, Movement, StateKind};
use crate::state::Exception;

/// Open movements of one state, issuer and currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CensusRow {
    /// What they wait for.
    pub state: StateKind,
    /// Who holds the accounts.
    pub issuer: IssuerNo,
    /// Of the amount.
    pub currency: Currency,
    /// How many.
    pub count: u64,
    /// The sum of their requested amounts, in minor units.
    pub amount_minor: u64,
    /// Wall clock of the beginning of the oldest.
    pub oldest_wall_ms: Option<u64>,
    /// Whether they are in doubt (section 2), or only unconfirmed.
    pub in_doubt: bool,
}

/// An open connection of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// The connection.
    pub link: LinkId,
    /// Its link.
    pub number: LinkNo,
    /// Takes requests.
    pub ready: bool,
    /// Requests without an answer.
    pub in_flight: usize,
}

impl Switch {
    /// What the core was told at its start.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// All that is open, counted: one row for each state, issuer and currency, and apart for what a promise puts in doubt.
    pub fn census(&self) -> Vec<CensusRow> {
        let mut rows: BTreeMap<_, CensusRow> = BTreeMap::new();
        for (key, tally) in &self.state.open {
            let in_doubt = key.state.in_doubt() || key.owes;
            let oldest = tally.ids.first().and_then(|id| self.state.movements.get(id)).map(|oldest| oldest.begun_wall_ms);
            let row = rows.entry((key.state, in_doubt, key.issuer, key.currency)).or_insert(CensusRow {
                state: key.state,
                issuer: key.issuer,
                currency: key.currency,
                count: 0,
                amount_minor: 0,
                oldest_wall_ms: oldest,
                in_doubt,
            });
            row.count += tally.ids.len() as u64;
            row.amount_minor = row.amount_minor.saturating_add(tally.minor);
            row.oldest_wall_ms = row.oldest_wall_ms.min(oldest);
        }
        rows.into_values().collect()
    }

    /// The movement that is open the longest, by its serial number: of the order in which they began.
    pub fn oldest_open(&self) -> Option<MovementId> {
        self.state.open.values().filter_map(|tally| tally.ids.first().copied()).min()
    }

    /// Every movement that is neither confirmed nor unwound, oldest first.
    pub fn doubt(&self) -> impl Iterator<Item = &Movement> {
        let mut ids: Vec<MovementId> = self
            .state
            .open
            .iter()
            .filter(|(key, _)| key.state.in_doubt() || key.owes)
            .flat_map(|(_, tally)| tally.ids.iter().copied())
            .collect();
        ids.sort();
        ids.into_iter().filter_map(|id| self.state.movements.get(&id))
    }

    /// Approvals of which nobody knows whether the terminal got them (K2): not in doubt, and listed.
    pub fn unknown_deliveries(&self) -> impl Iterator<Item = &Movement> {
        self.state
            .open
            .iter()
            .filter(|(key, _)| key.state == StateKind::AwaitingConfirmation)
            .flat_map(|(_, tally)| tally.ids.iter().filter_map(|id| self.state.movements.get(id)))
            .filter(|movement| movement.evidence == Evidence::Unknown)
    }

    /// Entries for a person, oldest first.
    pub fn exceptions(&self) -> impl ExactSizeIterator<Item = (Lsn, &Exception)> {
        self.state.exceptions.iter().map(|(lsn, exception)| (*lsn, exception))
    }

    /// The movement of an RRN, if memory holds it.
    pub fn movement_by_rrn(&self, rrn: &Rrn) -> Option<&Movement> {
        self.state.movements.get(self.state.by_rrn.get(rrn)?)
    }

    /// The movement of a serial number, if memory holds it.
    pub fn movement_by_id(&self, id: MovementId) -> Option<&Movement> {
        self.state.movements.get(&id)
    }

    /// Every movement that memory holds, oldest first.
    pub fn movements(&self) -> impl Iterator<Item = &Movement> {
        self.state.movements.values()
    }

    /// Every open connection of a link.
    pub fn links(&self) -> impl Iterator<Item = LinkView> {
        self.connections.iter().map(|(link, connection)| LinkView {
            link: *link,
            number: connection.number,
            ready: connection.ready,
            in_flight: connection.requests.len(),
        })
    }

    /// Nothing awaits its issuer or its delivery: a drain may end.
    pub fn quiet(&self) -> bool {
        let waits = |state: StateKind| matches!(state, StateKind::AwaitingIssuer | StateKind::AwaitingDelivery);
        !self.state.open.keys().any(|key| waits(key.state))
    }
}
