//! A person with the switch's list: asks the issuer and the shop, and decides what fits.
//!
//! Invariant: knows what the switch shows, what the issuers' books say and what terminals hold, and nothing of the auditor's.

use counterparts::terminal::BeliefLine;
use iso8583::Rrn;
use switch::{AskId, Case, Class, Input, Movement, Resolution, Rule, StateKind};

use crate::world::World;

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
        let doubtful: Vec<Movement> = doubtful.cloned().collect();
        let settled = |rrn: &Rrn| view.movement_by_rrn(rrn).is_none_or(|movement| !movement.in_doubt());
        let named = view.exceptions().filter_map(|(_, exception)| exception.rrn);
        let exceptions: Vec<Rrn> = named.filter(settled).filter(|rrn| !later(rrn)).collect();
        for movement in doubtful {
            self.issuer_corrects(movement.rrn);
            let amount = movement.amount().minor();
            let resolution = match (self.stands_at_issuers(&movement.rrn), self.asks_the_shop(&movement)) {
                (0, _) => Resolution::UndoneElsewhere,
                (_, Some(false)) => Resolution::Undo,
                (minor, _) if minor < amount => Resolution::AdjustedElsewhere { minor },
                (_, _) => Resolution::Stands,
            };
            self.out.coverage.event("operator's decision");
            self.tell(|| format!("operator: {} {}", movement.rrn, resolution.name()));
            self.resolve(movement.rrn, resolution);
        }
        for rrn in exceptions {
            self.issuer_corrects(rrn);
            self.resolve(rrn, Resolution::Stands);
        }
    }

    /// T7: the issuer is told of a second debit that nobody asked for, and gives it back if more stands than should.
    fn issuer_corrects(&mut self, rrn: Rrn) {
        let wall_ms = self.wall_ms();
        let movement = self.machine.partition.as_ref().and_then(|partition| partition.view().movement_by_rrn(&rrn));
        // What memory let go of has ended: one of the two is right.
        let should_stand = movement.map_or_else(
            || self.stands_at_issuers(&rrn) / 2,
            |movement| match movement.state {
                StateKind::Declined | StateKind::Unwound => 0,
                StateKind::AwaitingIssuer
                | StateKind::AwaitingDelivery
                | StateKind::AwaitingConfirmation
                | StateKind::AwaitingReversalAck
                | StateKind::NeedsOperator
                | StateKind::Confirmed
                | StateKind::Resolved => movement.remains_minor.unwrap_or(movement.amount().minor()),
            },
        );
        let both = self.hosts.iter().flat_map(|host| host.issuer.movements());
        let both = both.filter(|line| line.rrn == rrn.to_string().trim_end() && line.net > 0).count() == 2;
        if !both && should_stand > 0 || self.stands_at_issuers(&rrn) <= should_stand {
            return;
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].issuer.give_back_second(wall_ms, rrn) {
                self.out.coverage.event("second debit given back by a person");
                self.tell(|| format!("operator: the issuer gives the second debit of {rrn} back"));
            }
        }
    }

    /// What the terminal of this movement knows of it.
    fn asks_the_shop(&self, movement: &Movement) -> Option<bool> {
        let device = self.devices.iter().find(|device| device.id == movement.key.terminal)?;
        let at = device.terminal.beliefs().iter().rposition(|belief| is_of(movement, belief))?;
        device.knows(at)
    }

    fn resolve(&mut self, rrn: Rrn, resolution: Resolution) {
        let (who, why) = ("operator".to_owned(), "asked the issuer".to_owned());
        self.input(Input::Resolve { ask: AskId(1), case: Case::Movement(rrn), resolution, who, why });
    }
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
