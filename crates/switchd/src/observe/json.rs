//! Movements and exceptions as the admin socket shows them. No field holds more of a card than its masked number.

use std::collections::{BTreeMap, BTreeSet};

use iso8583::{Rrn, Stan, TerminalId};
use serde::{Deserialize, Serialize};
use switch::{Exception, Lsn, Movement, Resolution, Rule, Verdict};

use super::outlook::AheadJson;
use super::resolve::entry_name;
use super::walk::Entry;

/// One movement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MovementJson {
    /// DE37 on both legs.
    pub(crate) rrn: String,
    /// DE41 of the terminal.
    pub(crate) terminal: String,
    /// DE42.
    pub(crate) merchant: String,
    /// DE11 of the terminal.
    pub(crate) stan: String,
    /// Message class.
    pub(crate) class: String,
    /// What it waits for, or how it ended.
    pub(crate) state: String,
    /// Whether it is in doubt.
    pub(crate) in_doubt: bool,
    /// Amount asked for, minor units.
    pub(crate) amount: u64,
    /// DE49.
    pub(crate) currency: String,
    /// What stands at the issuer if every open promise is kept, minor units.
    pub(crate) net: u64,
    /// What stands of the approved amount after partial reversals, minor units (D13).
    pub(crate) remains: Option<u64>,
    /// First six and last four digits.
    pub(crate) card: Option<String>,
    /// The rule that unwound it or handed it to a person, or how it was confirmed.
    pub(crate) cause: Option<String>,
    /// What is known of the answer's way to the terminal.
    pub(crate) evidence: String,
    /// The link that carried it.
    pub(crate) link: String,
    /// DE11 on the link.
    pub(crate) link_stan: String,
    /// DE39 of the issuer's answer.
    pub(crate) code: Option<String>,
    /// DE38 of the issuer's answer.
    pub(crate) approval: Option<String>,
    /// DE38 of a second approval of the same request (T7).
    pub(crate) second_approval: Option<String>,
    /// The terminal sent a reversal for it, or a completion that says no (D10): evidence where nothing followed from it.
    pub(crate) reversal_seen: bool,
    /// Its key was used for something else within the window (D4).
    pub(crate) contested: bool,
    /// The promise to reverse, while there is one.
    pub(crate) obligation: Option<ObligationJson>,
    /// What an operator decided.
    pub(crate) verdict: Option<VerdictJson>,
    /// When it began, milliseconds since 1970.
    pub(crate) begun_ms: u64,
    /// When it came into this state, milliseconds since 1970.
    pub(crate) since_ms: u64,
}

/// A promise to reverse.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObligationJson {
    /// The rule that opened it.
    pub(crate) rule: String,
    /// The reason that the reversal carries.
    pub(crate) reason: String,
    /// When it was opened, milliseconds since 1970.
    pub(crate) opened_ms: u64,
    /// The newest answer to it that did not end it.
    pub(crate) refused: Option<String>,
}

/// An operator's decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VerdictJson {
    /// As `switchd resolve --as` names it.
    pub(crate) resolution: String,
    /// What was adjusted to elsewhere, minor units.
    pub(crate) amount: Option<u64>,
    /// Who decided.
    pub(crate) who: String,
    /// Why.
    pub(crate) why: String,
    /// When, milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// One entry for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExceptionJson {
    /// Its name for `switchd resolve`.
    pub(crate) entry: String,
    /// The rule that made it.
    pub(crate) rule: String,
    /// DE41 of the terminal.
    pub(crate) terminal: String,
    /// DE42.
    pub(crate) merchant: String,
    /// DE11 of the terminal's message that made it.
    pub(crate) stan: String,
    /// RRN of the sale that this message was, where it is another than the movement: of the later of two (D6).
    pub(crate) later_rrn: Option<String>,
    /// The movement's RRN, where there is a movement.
    pub(crate) rrn: Option<String>,
    /// DE11 of the terminal in the movement, while memory holds it.
    pub(crate) movement_stan: Option<String>,
    /// Amount asked for by the movement, minor units, while memory holds it.
    pub(crate) amount: Option<u64>,
    /// DE49 of the movement.
    pub(crate) currency: Option<String>,
    /// When it was made, milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// What `switchd doubt` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DoubtJson {
    /// How many movements are in doubt.
    pub(crate) in_doubt: usize,
    /// Those movements, oldest first.
    pub(crate) movements: Vec<AheadJson>,
    /// Approvals of which nobody knows whether the terminal got them (K2); not in doubt.
    pub(crate) unknown_deliveries: Vec<AheadJson>,
    /// Entries for a person, oldest first.
    pub(crate) exceptions: Vec<ExceptionJson>,
}

/// A movement as it is shown.
pub(crate) fn movement(m: &Movement) -> MovementJson {
    let (terminal, merchant) = parts(&m.key.terminal);
    let by_operator = m.operator_rule.map(|rule| rule.name());
    let by_obligation = m.obligation.as_ref().map(|obligation| obligation.rule.name());
    let cause = by_operator.or(by_obligation).or(m.confirmed.map(|by| by.name()));
    MovementJson {
        rrn: m.rrn.to_string(),
        terminal,
        merchant,
        stan: m.key.stan.to_string(),
        class: m.key.class.name().to_owned(),
        state: m.state.name().to_owned(),
        in_doubt: m.in_doubt(),
        amount: m.fingerprint.amount.minor(),
        currency: m.fingerprint.amount.currency().to_string(),
        net: m.net_minor(),
        remains: m.remains_minor,
        card: m.card.map(|card| card.masked.to_string()),
        cause: cause.map(str::to_owned),
        evidence: m.evidence.name().to_owned(),
        link: m.link.to_string(),
        link_stan: m.sent_as.stan.to_string(),
        code: m.answer.as_ref().map(|answer| answer.code.to_string()),
        approval: m.answer.as_ref().and_then(|answer| answer.approval).map(|code| ascii(&code)),
        second_approval: m.second_approval.map(|code| ascii(&code)),
        reversal_seen: m.reversal_seen,
        contested: m.contested,
        obligation: m.obligation.as_ref().filter(|obligation| !obligation.ended).map(|obligation| ObligationJson {
            rule: obligation.rule.name().to_owned(),
            reason: ascii(obligation.reason.digits()),
            opened_ms: obligation.opened_wall_ms,
            refused: obligation.refused.map(|code| code.to_string()),
        }),
        verdict: m.verdict.as_ref().map(verdict),
        begun_ms: m.begun_wall_ms,
        since_ms: m.since_wall_ms,
    }
}

fn verdict(v: &Verdict) -> VerdictJson {
    let amount = match v.resolution {
        Resolution::AdjustedElsewhere { minor } => Some(minor),
        Resolution::Stands | Resolution::UndoneElsewhere | Resolution::Undo => None,
    };
    let resolution = v.resolution.name().to_owned();
    VerdictJson { resolution, amount, who: v.who.clone(), why: v.why.clone(), at_ms: v.wall_ms }
}

/// An entry as it is shown.
pub(crate) fn entry(Entry { number, exception: e, movement }: &Entry, later: Option<Rrn>) -> ExceptionJson {
    let (terminal, merchant) = parts(&e.terminal);
    ExceptionJson {
        entry: entry_name(*number),
        rule: e.rule.name().to_owned(),
        terminal,
        merchant,
        stan: e.stan.to_string(),
        later_rrn: later.map(|rrn| rrn.to_string()),
        rrn: e.rrn.map(|rrn| rrn.to_string()),
        movement_stan: movement.map(|(stan, _)| stan.to_string()),
        amount: movement.map(|(_, amount)| amount.minor()),
        currency: movement.map(|(_, amount)| amount.currency().to_string()),
        at_ms: e.wall_ms,
    }
}

/// For each entry of D6 the sale that went on beside the movement which the entry names: it began in the turn of the entry.
pub(crate) struct LaterSales {
    wanted: BTreeMap<(TerminalId, Stan), Vec<(Lsn, Exception)>>,
    found: BTreeMap<Lsn, Rrn>,
}

impl LaterSales {
    /// What is looked for.
    pub(crate) fn of(entries: &[Entry]) -> Self {
        let mut wanted: BTreeMap<(TerminalId, Stan), Vec<(Lsn, Exception)>> = BTreeMap::new();
        for Entry { number, exception: e, movement: _ } in entries.iter().filter(|entry| entry.exception.rule == Rule::D6) {
            wanted.entry((e.terminal, e.stan)).or_default().push((*number, *e));
        }
        LaterSales { wanted, found: BTreeMap::new() }
    }

    /// The keys of the sales that are looked for.
    pub(crate) fn keys(&self) -> BTreeSet<(TerminalId, Stan)> {
        self.wanted.keys().copied().collect()
    }

    /// Oldest first: of those that came later the first is meant, as a STAN comes again one day.
    pub(crate) fn see(&mut self, m: &Movement) {
        for (number, e) in self.wanted.get(&(m.key.terminal, m.key.stan)).into_iter().flatten() {
            if e.id.is_some_and(|earlier| m.id > earlier) && m.begun_wall_ms >= e.wall_ms {
                self.found.entry(*number).or_insert(m.rrn);
            }
        }
    }

    /// The later sale of an entry.
    pub(crate) fn of_entry(&self, entry: &Entry) -> Option<Rrn> {
        self.found.get(&entry.number).copied()
    }
}

/// DE41 and DE42 without padding.
pub(super) fn parts(terminal: &iso8583::TerminalId) -> (String, String) {
    (ascii(terminal.terminal()), ascii(terminal.merchant()))
}

fn ascii(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned()
}
