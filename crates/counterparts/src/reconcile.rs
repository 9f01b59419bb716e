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
        for (side, total) in [("issuer", self.issuer), ("switch", self.switch), ("terminals", self.terminals)] {
            let Total { movements, standing, net } = total;
            writeln!(f, "{side:<10} {movements:>8} movements {standing:>8} standing {net:>16} net")?;
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
pub fn reconcile(issuer: &[MovementLine], switch: &[SwitchMovement], terminals: &[TerminalJournal]) -> Reconciliation {
    let mut found = Reconciliation {
        issuer: Total::of(issuer.iter().map(|movement| movement.net)),
        switch: Total::of(switch.iter().map(|movement| movement.net)),
        terminals: Total::of(terminals.iter().flat_map(|journal| &journal.beliefs).map(BeliefLine::net)),
        ..Reconciliation::default()
    };
    judge_states(switch, &mut found);
    issuer_against_switch(issuer, switch, &mut found);
    terminals_against_switch(terminals, switch, &mut found);
    found
}

/// A state's name without case and separators.
fn plain(state: &str) -> String {
    state.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
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
            _ => found
                .disagreements
                .push(format!("{}: the switch names a state that is not known, {}", movement.rrn, movement.state)),
        }
    }
}

fn issuer_against_switch(issuer: &[MovementLine], switch: &[SwitchMovement], found: &mut Reconciliation) {
    let mut by_rrn: BTreeMap<&str, Vec<&MovementLine>> = BTreeMap::new();
    for movement in issuer {
        by_rrn.entry(&movement.rrn).or_default().push(movement);
        if movement.net < 0 {
            found
                .disagreements
                .push(format!("{}: the issuer gave back more than it took, {} stands", movement.rrn, movement.net));
        }
    }
    let mut known = BTreeSet::new();
    for ours in switch {
        let rrn = &ours.rrn;
        if !known.insert(rrn.as_str()) {
            found.disagreements.push(format!("{rrn}: the switch used this RRN more than once"));
        }
        let theirs = by_rrn.get(rrn.as_str()).map_or(&[][..], Vec::as_slice);
        // An issuer that doubled its own movement was asked once; what stands of both is compared.
        let times = theirs.iter().filter(|movement| !movement.second).count();
        if times > 1 {
            found.disagreements.push(format!("{rrn}: the issuer moved money {times} times"));
        }
        let net: i64 = theirs.iter().map(|movement| movement.net).sum();
        if net != ours.net && !is_for_operator(ours) {
            found
                .disagreements
                .push(format!("{rrn}: the switch says that {} stands ({}), the issuer {net}", ours.net, ours.state));
        }
        if let Some(theirs) = theirs.iter().find(|theirs| theirs.currency != ours.currency) {
            found
                .disagreements
                .push(format!("{rrn}: the switch has currency {}, the issuer {}", ours.currency, theirs.currency));
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

fn terminals_against_switch(terminals: &[TerminalJournal], switch: &[SwitchMovement], found: &mut Reconciliation) {
    let mut by_terminal: BTreeMap<(&str, &str), Vec<&SwitchMovement>> = BTreeMap::new();
    for movement in switch {
        by_terminal.entry((&movement.terminal, &movement.merchant)).or_default().push(movement);
    }
    for journal in terminals {
        let ours = by_terminal.remove(&(journal.terminal.as_str(), journal.merchant.as_str()));
        let mut by_key: BTreeMap<(&str, u8), Vec<&SwitchMovement>> = BTreeMap::new();
        for movement in ours.unwrap_or_default() {
            by_key.entry((&movement.stan, movement.class)).or_default().push(movement);
        }
        // A STAN comes round again: then the RRN tells which one it is, and a belief without an
        // RRN gets what the others leave.
        let (with_rrn, without) = journal.beliefs.iter().partition::<Vec<_>, _>(|belief| belief.rrn.is_some());
        for belief in with_rrn.into_iter().chain(without) {
            let candidates = by_key.get_mut(&(belief.stan.as_str(), belief.class));
            let matched = candidates.filter(|left| !left.is_empty()).map(|left| {
                let named = left.iter().position(|m| belief.rrn.as_ref() == Some(&m.rrn));
                left.remove(named.unwrap_or(0))
            });
            judge_belief(journal, belief, matched, found);
        }
        for movement in by_key.into_values().flatten().filter(|movement| movement.net != 0) {
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
            found
                .disagreements
                .push(format!("{key}: the terminal believes that {} stands, the switch does not know it", belief.net()));
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

#[cfg(test)]
mod tests {
    use super::*;

    const RRN: &str = "532604000001";

    fn at_issuer(rrn: &str, amount: u64, net: i64) -> MovementLine {
        MovementLine {
            rrn: rrn.to_owned(),
            stan: "000900".to_owned(),
            terminal: "TERM0001".to_owned(),
            amount,
            currency: "978".to_owned(),
            mti: "0200".to_owned(),
            reversed: net == 0,
            net,
            second: false,
        }
    }

    fn at_switch(rrn: &str, stan: &str, state: &str, net: i64) -> SwitchMovement {
        SwitchMovement {
            rrn: rrn.to_owned(),
            terminal: "TERM0001".to_owned(),
            merchant: "SHOP".to_owned(),
            stan: stan.to_owned(),
            class: 2,
            state: state.to_owned(),
            amount: 1250,
            currency: "978".to_owned(),
            net,
        }
    }

    fn believed(stan: &str, rrn: Option<&str>, belief: Belief, stands: u64) -> BeliefLine {
        let json = format!(
            r#"{{"at": 1, "stan": "{stan}", "class": 2, "amount": 1250, "currency": "978",
            "belief": "{belief}", "stands": {stands}, "card": "400000******7899",
            "processing": "000000", "de7": "0229235959", "de12": "235959", "de13": "0229",
            "next_stan": 2}}"#
        );
        let line: BeliefLine = serde_json::from_str(&json).unwrap();
        BeliefLine { rrn: rrn.map(str::to_owned), ..line }
    }

    fn journal(beliefs: Vec<BeliefLine>) -> TerminalJournal {
        let (terminal, merchant) = ("TERM0001".to_owned(), "SHOP".to_owned());
        TerminalJournal { terminal, merchant, beliefs }
    }

    /// One movement on each side; what is said about it.
    #[track_caller]
    fn check(
        issuer: &[MovementLine],
        switch: &[SwitchMovement],
        beliefs: Vec<BeliefLine>,
        expected: &[&str],
    ) -> Reconciliation {
        let found = reconcile(issuer, switch, &[journal(beliefs)]);
        let said: Vec<_> = found.disagreements.iter().map(String::as_str).collect();
        assert_eq!(said, expected);
        found
    }

    fn approved() -> Vec<BeliefLine> {
        vec![believed("000001", Some(RRN), Belief::Approved, 1250)]
    }

    #[test]
    fn three_sides_that_agree_are_silent_and_added_up() {
        let found = check(
            &[at_issuer(RRN, 1250, 1250), at_issuer("532604000002", 1250, 0)],
            &[
                at_switch(RRN, "000001", "Confirmed", 1250),
                at_switch("532604000002", "000002", "unwound", 0),
                at_switch("532604000003", "000003", "Declined", 0),
            ],
            vec![
                believed("000001", Some(RRN), Belief::Approved, 1250),
                believed("000002", None, Belief::Reversed, 0),
                believed("000003", Some("532604000003"), Belief::Failed, 0),
                believed("000004", None, Belief::Reversed, 0),
            ],
            &[],
        );
        assert!(found.agrees());
        assert_eq!(found.issuer, Total { movements: 2, standing: 1, net: 1250 });
        assert_eq!(found.switch, Total { movements: 3, standing: 1, net: 1250 });
        assert_eq!(found.terminals, Total { movements: 4, standing: 1, net: 1250 });
    }

    #[test]
    fn the_issuer_holds_something_else_than_the_switch_believes() {
        check(
            &[at_issuer(RRN, 1250, 0)],
            &[at_switch(RRN, "000001", "Confirmed", 1250)],
            approved(),
            &["532604000001: the switch says that 1250 stands (Confirmed), the issuer 0"],
        );
        check(
            &[],
            &[at_switch(RRN, "000001", "Confirmed", 1250)],
            approved(),
            &["532604000001: the switch says that 1250 stands (Confirmed), the issuer 0"],
        );
    }

    #[test]
    fn the_issuer_still_holds_what_the_switch_believes_undone() {
        check(
            &[at_issuer(RRN, 1250, 1250)],
            &[at_switch(RRN, "000001", "Unwound", 0)],
            vec![believed("000001", None, Belief::Reversed, 0)],
            &["532604000001: the switch says that 0 stands (Unwound), the issuer 1250"],
        );
    }

    #[test]
    fn the_issuer_holds_what_the_switch_does_not_know() {
        check(
            &[at_issuer(RRN, 1250, 1250)],
            &[],
            vec![],
            &["532604000001: the issuer moved 1250 for terminal TERM0001, the switch does not know it"],
        );
    }

    #[test]
    fn the_issuer_moved_twice_or_gave_back_too_much() {
        check(
            &[at_issuer(RRN, 1250, 1250), at_issuer(RRN, 1250, 0)],
            &[at_switch(RRN, "000001", "Confirmed", 1250)],
            approved(),
            &["532604000001: the issuer moved money 2 times"],
        );
        check(
            &[at_issuer(RRN, 1250, -5)],
            &[at_switch(RRN, "000001", "NeedsOperator", 1250)],
            approved(),
            &["532604000001: the issuer gave back more than it took, -5 stands"],
        );
    }

    #[test]
    fn the_issuer_doubled_its_own_movement() {
        let doubled = |net| MovementLine { second: true, ..at_issuer(RRN, 1250, net) };
        let switch = [at_switch(RRN, "000001", "Confirmed", 1250)];
        check(&[at_issuer(RRN, 1250, 1250), doubled(0)], &switch, approved(), &[]);
        check(
            &[at_issuer(RRN, 1250, 1250), doubled(1250)],
            &switch,
            approved(),
            &["532604000001: the switch says that 1250 stands (Confirmed), the issuer 2500"],
        );
    }

    #[test]
    fn currencies_differ() {
        let dollars = MovementLine { currency: "840".to_owned(), ..at_issuer(RRN, 1250, 1250) };
        check(
            &[dollars],
            &[at_switch(RRN, "000001", "Confirmed", 1250)],
            approved(),
            &["532604000001: the switch has currency 978, the issuer 840"],
        );
    }

    #[test]
    fn the_terminal_believes_something_else_than_the_switch() {
        let issuer = [at_issuer(RRN, 1250, 1250)];
        let switch = [at_switch(RRN, "000001", "Confirmed", 1250)];
        check(
            &issuer,
            &switch,
            vec![believed("000001", None, Belief::Failed, 0)],
            &["TERM0001 000001: the terminal believes failed (0 stands), the switch says that \
               1250 stands (Confirmed, 532604000001)"],
        );
        check(
            &[],
            &[at_switch(RRN, "000001", "Unwound", 0)],
            approved(),
            &["TERM0001 000001: the terminal believes approved (1250 stands), the switch says \
               that 0 stands (Unwound, 532604000001)"],
        );
        check(
            &issuer,
            &switch,
            vec![believed("000001", Some("532604000009"), Belief::Approved, 1250)],
            &["TERM0001 000001: the terminal was given RRN 532604000009, the switch has 532604000001"],
        );
    }

    #[test]
    fn one_side_of_the_terminals_leg_does_not_know_it() {
        check(
            &[],
            &[],
            approved(),
            &["TERM0001 000001: the terminal believes that 1250 stands, the switch does not know it"],
        );
        check(
            &[at_issuer(RRN, 1250, 1250)],
            &[at_switch(RRN, "000001", "Confirmed", 1250)],
            vec![],
            &["532604000001: the switch says that 1250 stands for TERM0001 000001, the terminal \
               never asked for it"],
        );
    }

    #[test]
    fn an_rrn_or_a_state_that_cannot_be() {
        check(
            &[at_issuer(RRN, 1250, 1250)],
            &[at_switch(RRN, "000001", "Confirmed", 1250), at_switch(RRN, "000002", "Confirmed", 1250)],
            vec![
                believed("000001", Some(RRN), Belief::Approved, 1250),
                believed("000002", Some(RRN), Belief::Approved, 1250),
            ],
            &["532604000001: the switch used this RRN more than once"],
        );
        check(
            &[],
            &[at_switch(RRN, "000001", "Perhaps", 0)],
            vec![],
            &["532604000001: the switch names a state that is not known, Perhaps"],
        );
    }

    #[test]
    fn what_is_open_is_named_and_what_a_person_has_is_not_compared() {
        let found = check(
            &[at_issuer(RRN, 1250, 1250)],
            &[at_switch(RRN, "000001", "needs_operator", 0), at_switch("532604000002", "000002", "AwaitingReversalAck", 0)],
            vec![believed("000001", None, Belief::Reversed, 0), believed("000002", None, Belief::Unknown, 0)],
            &[],
        );
        assert!(!found.agrees());
        assert_eq!(found.needs_operator, [RRN]);
        assert_eq!(found.in_doubt, ["532604000002"]);
        assert_eq!(found.unknown_to_terminal, ["TERM0001 000002"]);
    }

    #[test]
    fn a_stan_that_came_round_again_is_told_apart_by_its_rrn() {
        check(
            &[at_issuer(RRN, 1250, 1250)],
            &[at_switch("532604000002", "000001", "Unwound", 0), at_switch(RRN, "000001", "Confirmed", 1250)],
            vec![believed("000001", None, Belief::Reversed, 0), believed("000001", Some(RRN), Belief::Approved, 1250)],
            &[],
        );
    }
}
