//! A person with the switch's list: asks the issuer and the shop, and decides what fits.
//!
//! Invariant: knows what the switch shows, what the issuers' books say and what terminals hold, and nothing of the auditor's.

use std::collections::BTreeSet;

use counterparts::terminal::BeliefLine;
use iso8583::Rrn;
use switch::{AskId, Case, Class, Input, Movement, Resolution, Rule, Scope, StateKind};

use crate::queue::{Micros, SECOND};
use crate::world::World;

/// How long a case is on the list before he decides on it: longer than `original_horizon`.
const WAITS: Micros = 60 * SECOND;

impl World {
    /// Works off what is on the list.
    pub(crate) fn operator_decides(&mut self) {
        // He sees what the switch shows: not while it is suspended, with messages before its door.
        let Some(partition) = self.machine.partition.as_ref().filter(|_| self.machine.awake_at <= self.now) else { return };
        let view = partition.view();
        let parked = |movement: &Movement| matches!(movement.operator_rule, Some(Rule::R2 | Rule::R4));
        // What is still being reversed decides itself.
        let decidable =
            |movement: &&Movement| movement.state == StateKind::NeedsOperator && (!movement.owes() || parked(movement));
        // Two debits are looked at when nothing of them is on its way any more.
        let later = |rrn: &Rrn| self.troubled && self.hosts.iter().any(|host| host.issuer.approved_twice(*rrn));
        let doubtful = view.doubt().filter(decidable).filter(|movement| !later(&movement.rrn));
        // What its issuer may still judge is not decided (R3).
        let listed = &mut self.listed;
        let waited = |movement: &&Movement| *listed.entry(movement.rrn).or_insert(self.now) + WAITS <= self.now;
        let doubtful: Vec<Movement> = doubtful.filter(waited).cloned().collect();
        let settled = |rrn: &Rrn| view.movement_by_rrn(rrn).is_none_or(|movement| !movement.in_doubt());
        let named = view.exceptions().filter_map(|(_, exception)| exception.rrn.map(|rrn| (rrn, exception.rule)));
        let named: BTreeSet<(Rrn, Rule)> = named.collect();
        // What an entry says nothing of he does not put right: two debits (T7), or one that came late (T5).
        let too_much = |rrn: &Rrn| [Rule::T5, Rule::T7].into_iter().any(|rule| named.contains(&(*rrn, rule)));
        let rrns: BTreeSet<Rrn> = named.iter().map(|(rrn, _)| *rrn).collect();
        let exceptions: Vec<Rrn> = rrns.into_iter().filter(settled).filter(|rrn| !later(rrn)).collect();
        for movement in doubtful {
            // Of a case that is before him he sees the issuer's books, and two debits there.
            self.issuer_corrects(movement.rrn);
            let amount = movement.amount().minor();
            // What stands by the journal, if he says that it does.
            let remains = movement.acknowledged_minor.unwrap_or(amount);
            let resolution = match (self.stands_at_issuers(&movement.rrn), self.asks_the_shop(&movement)) {
                (0, _) => Resolution::UndoneElsewhere,
                (_, Some(false)) => Resolution::Undo,
                (minor, _) if minor < remains => Resolution::AdjustedElsewhere { minor },
                // Two debits, of which no giving back leaves what should stand, and all was to be undone.
                (minor, _) if minor > remains && is_undone_whole(&movement) => Resolution::Undo,
                (_, _) => Resolution::Stands,
            };
            self.out.coverage.event("operator's decision");
            self.tell(|| format!("operator: {} {}", movement.rrn, resolution.name()));
            self.resolve(movement.rrn, resolution);
        }
        for rrn in exceptions {
            if too_much(&rrn) {
                self.issuer_corrects(rrn);
            }
            self.resolve(rrn, Resolution::Stands);
        }
    }

    /// The issuer is told of a second debit that nobody asked for (T7), and gives it back if more stands than should; and of an
    /// approval that came after a person had written that nothing stands (T5).
    fn issuer_corrects(&mut self, rrn: Rrn) {
        let wall_ms = self.wall_ms();
        let movement = self.machine.partition.as_ref().and_then(|partition| partition.view().movement_by_rrn(&rrn));
        let undone = |movement: &Movement| {
            movement.verdict.as_ref().is_some_and(|verdict| verdict.resolution == Resolution::UndoneElsewhere)
        };
        if movement.is_some_and(undone) {
            for host in &mut self.hosts {
                if host.issuer.give_back_all(wall_ms, rrn) {
                    self.out.coverage.event("late approval given back by a person");
                }
            }
            return;
        }
        // What memory let go of has ended: the receipt says what is right, or one of the two is.
        let should_stand = movement.map_or_else(
            || self.on_the_receipt(&rrn).unwrap_or_else(|| self.stands_at_issuers(&rrn) / 2),
            |movement| match movement.state {
                StateKind::Declined | StateKind::Unwound => 0,
                // If he says that it stands, what was never acknowledged was not undone.
                StateKind::NeedsOperator => movement.acknowledged_minor.unwrap_or(movement.amount().minor()),
                StateKind::AwaitingIssuer
                | StateKind::AwaitingDelivery
                | StateKind::AwaitingConfirmation
                | StateKind::AwaitingReversalAck
                | StateKind::Confirmed
                | StateKind::Resolved => movement.remains_minor.unwrap_or(movement.amount().minor()),
            },
        );
        if self.stands_at_issuers(&rrn) <= should_stand {
            return;
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].issuer.give_back_one(wall_ms, rrn, should_stand) {
                self.out.coverage.event("second debit given back by a person");
                self.tell(|| format!("operator: the issuer gives one of the two debits of {rrn} back"));
            }
        }
    }

    /// What the terminal of this movement knows of it.
    fn asks_the_shop(&self, movement: &Movement) -> Option<bool> {
        let device = self.devices.iter().find(|device| device.id == movement.key.terminal)?;
        let at = device.terminal.beliefs().iter().rposition(|belief| is_of(movement, belief))?;
        device.knows(at)
    }

    /// What stands by the receipt of this RRN.
    fn on_the_receipt(&self, rrn: &Rrn) -> Option<u64> {
        let rrn = rrn.to_string();
        let mut beliefs = self.devices.iter().flat_map(|device| device.terminal.beliefs());
        let belief = beliefs.find(|belief| belief.rrn.as_deref() == Some(rrn.trim_end()))?;
        Some(belief.stands)
    }

    fn resolve(&mut self, rrn: Rrn, resolution: Resolution) {
        let (who, why) = ("operator".to_owned(), "asked the issuer".to_owned());
        self.input(Input::Resolve { ask: AskId(1), case: Case::Movement(rrn), resolution, who, why });
    }
}

/// A reversal of all of it is promised.
fn is_undone_whole(movement: &Movement) -> bool {
    movement.obligation.as_ref().is_some_and(|obligation| !obligation.ended && obligation.scope == Scope::All)
}

fn is_of(movement: &Movement, belief: &BeliefLine) -> bool {
    let class = match movement.key.class {
        Class::Authorisation => 1,
        Class::Financial => 2,
    };
    belief.class == class
        && belief.stan == movement.key.stan.to_string()
        && belief.amount == movement.fingerprint.amount.minor()
        && movement.terminal_transmitted.is_some_and(|de7| de7 == belief.de7.as_bytes())
}
