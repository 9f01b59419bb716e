//! Three ledgers side by side: the issuer's movements, the switch's, and what terminals believe.
//!
//! A pure comparison of lists that were taken when everything was quiet. It judges from outside
//! and shares no code with any of the three. Invariant: a movement that stands on one side and not
//! on the other is a disagreement, in a plain sentence, unless a person already has it on a list.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::issuer::MovementLine;
use crate::terminal::{Belief, BeliefLine};

/// One movement as the switch's journal has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct SwitchMovement {
    /// DE37 without padding.
    pub rrn: String,
    /// DE41 without padding.
    pub terminal: String,
    /// DE42 without padding.
    pub merchant: String,
    /// DE11 on the terminal's leg, 6 digits.
    pub stan: String,
    /// Second digit of the request's MTI: 1 or 2.
    pub class: u8,
    /// The state's name, as MONEY-RULES section 2 gives it; case and separators do not matter.
    pub state: String,
    /// DE4 in minor units.
    pub amount: u64,
    /// DE49.
    pub currency: String,
    /// What the switch believes stands, in minor units.
    pub net: i64,
}

/// What one terminal believes, newest line per key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct TerminalJournal {
    /// DE41 without padding.
    pub terminal: String,
    /// DE42 without padding.
    pub merchant: String,
    /// One line per money request.
    pub beliefs: Vec<BeliefLine>,
}

/// How many movements a side has, and how much of them stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Total {
    /// Movements of any state.
    pub movements: usize,
    /// Movements of which something stands.
    pub standing: usize,
    /// Sum of what stands, in minor units.
    pub net: i64,
}

impl Total {
    fn of(nets: impl Iterator<Item = i64>) -> Self {
        nets.fold(Self::default(), |total, net| Self {
            movements: total.movements + 1,
            standing: total.standing + usize::from(net != 0),
            net: total.net + net,
        })
    }
}

/// What the comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Reconciliation {
    /// Each in one sentence; empty when all three agree.
    pub disagreements: Vec<String>,
    /// RRNs that the switch has on its list for a person; their nets are not compared.
    pub needs_operator: Vec<String>,
    /// RRNs that the switch has not brought to an end yet.
    pub in_doubt: Vec<String>,
    /// Keys of which the terminal does not know how they ended: `TERM0001 000042`.
    pub unknown_to_terminal: Vec<String>,
    /// The issuer's side.
    pub issuer: Total,
    /// The switch's side.
    pub switch: Total,
    /// The terminals' side.
    pub terminals: Total,
}

impl Reconciliation {
    /// True when nothing disagrees and nothing is left in doubt.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.disagreements.is_empty() && self.in_doubt.is_empty()
    }
}

impl fmt::Display for Reconciliation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (side, total) in [
            ("issuer", self.issuer),
            ("switch", self.switch),
            ("terminals", self.terminals),
        ] {
            let Total {
                movements,
                standing,
                net,
            } = total;
            writeln!(
                f,
                "{side:<10} {movements:>8} movements {standing:>8} standing {net:>16} net"
            )?;
        }
        let (doubt, operator) = (self.in_doubt.len(), self.needs_operator.len());
        writeln!(f, "in doubt {doubt}, for an operator {operator}")?;
        for sentence in &self.disagreements {
            writeln!(f, "! {sentence}")?;
        }
        Ok(())
    }
}

/// Compares the three sides on every key. A terminal whose journal is not given is not judged.
#[must_use]
pub fn reconcile(
    issuer: &[MovementLine],
    switch: &[SwitchMovement],
    terminals: &[TerminalJournal],
) -> Reconciliation {
    let mut found = Reconciliation {
        issuer: Total::of(issuer.iter().map(|movement| movement.net)),
        switch: Total::of(switch.iter().map(|movement| movement.net)),
        terminals: Total::of(
            terminals
                .iter()
                .flat_map(|journal| &journal.beliefs)
                .map(BeliefLine::net),
        ),
        ..Reconciliation::default()
    };
    judge_states(switch, &mut found);
    issuer_against_switch(issuer, switch, &mut found);
    terminals_against_switch(terminals, switch, &mut found);
    found
}

/// A state's name without case and separators.
fn plain(state: &str) -> String {
    state
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase()
}

fn is_for_operator(movement: &SwitchMovement) -> bool {
    plain(&movement.state) == "needsoperator"
}

fn judge_states(switch: &[SwitchMovement], found: &mut Reconciliation) {
    for movement in switch {
        match plain(&movement.state).as_str() {
            "needsoperator" => found.needs_operator.push(movement.rrn.clone()),
            "awaitingissuer" | "awaitingdelivery" | "awaitingreversalack" => {
                found.in_doubt.push(movement.rrn.clone());
            }
            "awaitingconfirmation" | "declined" | "confirmed" | "unwound" | "resolved" => {}
            _ => found.disagreements.push(format!(
                "{}: the switch names a state that is not known, {}",
                movement.rrn, movement.state
            )),
        }
    }
}

fn issuer_against_switch(
    issuer: &[MovementLine],
    switch: &[SwitchMovement],
    found: &mut Reconciliation,
) {
    let mut by_rrn: BTreeMap<&str, Vec<&MovementLine>> = BTreeMap::new();
    for movement in issuer {
        by_rrn.entry(&movement.rrn).or_default().push(movement);
        if movement.net < 0 {
            found.disagreements.push(format!(
                "{}: the issuer gave back more than it took, {} stands",
                movement.rrn, movement.net
            ));
        }
    }
    let mut known = BTreeSet::new();
    for ours in switch {
        let rrn = &ours.rrn;
        if !known.insert(rrn.as_str()) {
            found
                .disagreements
                .push(format!("{rrn}: the switch used this RRN more than once"));
        }
        let theirs = by_rrn.get(rrn.as_str()).map_or(&[][..], Vec::as_slice);
        if theirs.len() > 1 {
            let times = theirs.len();
            found
                .disagreements
                .push(format!("{rrn}: the issuer moved money {times} times"));
        }
        let net: i64 = theirs.iter().map(|movement| movement.net).sum();
        if net != ours.net && !is_for_operator(ours) {
            found.disagreements.push(format!(
                "{rrn}: the switch says that {} stands ({}), the issuer {net}",
                ours.net, ours.state
            ));
        }
        if let Some(theirs) = theirs
            .iter()
            .find(|theirs| theirs.currency != ours.currency)
        {
            found.disagreements.push(format!(
                "{rrn}: the switch has currency {}, the issuer {}",
                ours.currency, theirs.currency
            ));
        }
    }
    for (rrn, theirs) in by_rrn.iter().filter(|(rrn, _)| !known.contains(**rrn)) {
        for movement in theirs {
            found.disagreements.push(format!(
                "{rrn}: the issuer moved {} for terminal {}, the switch does not know it",
                movement.amount, movement.terminal
            ));
        }
    }
}

fn terminals_against_switch(
    terminals: &[TerminalJournal],
    switch: &[SwitchMovement],
    found: &mut Reconciliation,
) {
    let mut by_terminal: BTreeMap<(&str, &str), Vec<&SwitchMovement>> = BTreeMap::new();
    for movement in switch {
        by_terminal
            .entry((&movement.terminal, &movement.merchant))
            .or_default()
            .push(movement);
    }
    for journal in terminals {
        let ours = by_terminal.remove(&(journal.terminal.as_str(), journal.merchant.as_str()));
        let mut by_key: BTreeMap<(&str, u8), Vec<&SwitchMovement>> = BTreeMap::new();
        for movement in ours.unwrap_or_default() {
            by_key
                .entry((&movement.stan, movement.class))
                .or_default()
                .push(movement);
        }
        for belief in &journal.beliefs {
            let key = (belief.stan.as_str(), belief.class);
            let candidates = by_key.get_mut(&key);
            // A STAN comes round again: then the RRN tells which one it is.
            let matched = candidates.and_then(|candidates| {
                let same_rrn = |m: &&SwitchMovement| belief.rrn.as_deref() == Some(&m.rrn);
                let at = candidates.iter().position(|m| same_rrn(m)).unwrap_or(0);
                (!candidates.is_empty()).then(|| candidates.remove(at))
            });
            judge_belief(journal, belief, matched, found);
        }
        for movement in by_key
            .into_values()
            .flatten()
            .filter(|movement| movement.net != 0)
        {
            found.disagreements.push(format!(
                "{}: the switch says that {} stands for {} {}, the terminal never asked for it",
                movement.rrn, movement.net, movement.terminal, movement.stan
            ));
        }
    }
}

fn judge_belief(
    journal: &TerminalJournal,
    belief: &BeliefLine,
    movement: Option<&SwitchMovement>,
    found: &mut Reconciliation,
) {
    let key = format!("{} {}", journal.terminal, belief.stan);
    if belief.belief == Belief::Unknown {
        found.unknown_to_terminal.push(key);
        return;
    }
    let Some(movement) = movement else {
        if belief.net() != 0 {
            found.disagreements.push(format!(
                "{key}: the terminal believes that {} stands, the switch does not know it",
                belief.net()
            ));
        }
        return;
    };
    if is_for_operator(movement) {
        return;
    }
    if belief.net() != movement.net {
        found.disagreements.push(format!(
            "{key}: the terminal believes {} ({} stands), the switch says that {} stands ({}, {})",
            belief.belief,
            belief.net(),
            movement.net,
            movement.state,
            movement.rrn
        ));
    }
    if belief.rrn.as_ref().is_some_and(|rrn| *rrn != movement.rrn) {
        found.disagreements.push(format!(
            "{key}: the terminal was given RRN {}, the switch has {}",
            belief.rrn.as_deref().unwrap_or_default(),
            movement.rrn
        ));
    }
    if belief.currency != movement.currency {
        found.disagreements.push(format!(
            "{key}: the terminal asked in currency {}, the switch has {}",
            belief.currency, movement.currency
        ));
    }
}
