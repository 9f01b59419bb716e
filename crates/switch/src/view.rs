//! What operators and gauges may see. Reading changes nothing.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Bound;

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

/// What an open movement waits for, as far as this process knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Next {
    /// The issuer's answer; at the deadline it is given up and reversed (T1).
    IssuerAnswer,
    /// The kernel's word on the answer to the terminal (T8).
    Handing,
    /// The terminal's repeat of what could not be handed; at the deadline it is reversed (T8).
    AskedAgain,
    /// Its confirmation; at the deadline its group's rule decides (C2, C3, K2).
    Confirmation,
    /// The answer to a reversal that was sent; at the deadline it is sent again (R4).
    ReversalAnswer,
    /// The time of the next send of its reversal (R3, R4).
    ReversalTime,
    /// A link for its reversal, which is due (R0, R5).
    ReversalLink,
    /// A person.
    Person,
    /// Nothing: it has ended.
    Nothing,
}

impl Next {
    /// All of them, for tables.
    pub const ALL: [Next; 9] = [
        Next::IssuerAnswer,
        Next::Handing,
        Next::AskedAgain,
        Next::Confirmation,
        Next::ReversalAnswer,
        Next::ReversalTime,
        Next::ReversalLink,
        Next::Person,
        Next::Nothing,
    ];

    /// For `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Next::IssuerAnswer => "issuer_answer",
            Next::Handing => "handing",
            Next::AskedAgain => "asked_again",
            Next::Confirmation => "confirmation",
            Next::ReversalAnswer => "reversal_answer",
            Next::ReversalTime => "reversal_time",
            Next::ReversalLink => "reversal_link",
            Next::Person => "person",
            Next::Nothing => "nothing",
        }
    }
}

/// What happens next to a movement, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// What it waits for.
    pub next: Next,
    /// The deadline of that, on [`crate::Now::uptime_ms`]; `None` when no clock ends it.
    pub at_uptime_ms: Option<u64>,
    /// Sends of its reversal in this process.
    pub sends: u32,
}

/// An open connection of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkView {
    /// The connection.
    pub link: LinkId,
    /// Its link.
    pub number: LinkNo,
    /// Signed on, and not failing: takes requests, if its link is wished up, and reversals.
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

    /// Those after this one, oldest first; all of them after none. For a walk in stretches.
    pub fn exceptions_after(&self, after: Option<Lsn>) -> impl Iterator<Item = (Lsn, &Exception)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.state.exceptions.range((from, Bound::Unbounded)).map(|(lsn, exception)| (*lsn, exception))
    }

    /// The last record that was written, durable or not.
    pub fn last_record(&self) -> Lsn {
        self.state.lsn
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
    pub fn movements(&self) -> impl ExactSizeIterator<Item = &Movement> {
        self.state.movements.values()
    }

    /// Those that began after this one, oldest first; all of them after none. For a walk in stretches.
    pub fn movements_after(&self, after: Option<MovementId>) -> impl Iterator<Item = &Movement> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.state.movements.range((from, Bound::Unbounded)).map(|(_, movement)| movement)
    }

    /// What happens next to a movement, and when.
    pub fn outlook(&self, movement: &Movement) -> Outlook {
        let live = self.live.get(&movement.id);
        let sending = live.map(|live| live.sending).unwrap_or_default();
        let state_ms = live.and_then(|live| live.timer_ms());
        let (next, at_uptime_ms) = match movement.state {
            // A promise that stands beside the state is what is waited for: the state itself is at its end, or confirmed later.
            StateKind::NeedsOperator => (Next::Person, None),
            StateKind::AwaitingIssuer => (Next::IssuerAnswer, state_ms),
            StateKind::AwaitingReversalAck
            | StateKind::AwaitingDelivery
            | StateKind::AwaitingConfirmation
            | StateKind::Declined
            | StateKind::Confirmed
            | StateKind::Unwound
            | StateKind::Resolved
                if movement.owes() =>
            {
                let at_ms = live.and_then(|live| live.reversal_timer_ms());
                if sending.in_flight.is_some() {
                    (Next::ReversalAnswer, at_ms)
                } else if sending.due.is_some() {
                    (Next::ReversalLink, None)
                } else {
                    (Next::ReversalTime, at_ms)
                }
            }
            StateKind::AwaitingDelivery if movement.evidence == Evidence::NotHanded => (Next::AskedAgain, state_ms),
            StateKind::AwaitingDelivery => (Next::Handing, state_ms),
            StateKind::AwaitingConfirmation => (Next::Confirmation, state_ms),
            // Without a promise there is nothing to acknowledge.
            StateKind::AwaitingReversalAck
            | StateKind::Declined
            | StateKind::Confirmed
            | StateKind::Unwound
            | StateKind::Resolved => (Next::Nothing, None),
        };
        Outlook { next, at_uptime_ms, sends: sending.sends }
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
