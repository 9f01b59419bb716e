//! What `switchd tx` shows of a terminal beside its movements: reversals without an original, and entries of requests that
//! never became a movement (D11).

use serde::{Deserialize, Serialize};
use switch::{Entry, Lsn, Record, Rule};

use super::json::parts;
use super::resolve::entry_name;
use crate::words::{self, Both};

/// One record that is about no movement. Optional fields are null where the message did not carry them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AloneJson {
    /// The record of the journal.
    pub(crate) lsn: u64,
    /// When it was decided, milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// `tombstone`, or `entry` of the list of `switchd doubt`.
    pub(crate) what: String,
    /// The rule that made it.
    pub(crate) rule: String,
    /// DE41 of the terminal.
    pub(crate) terminal: String,
    /// DE42.
    pub(crate) merchant: String,
    /// DE11: of a tombstone the original's, of an entry its message's.
    pub(crate) stan: String,
    /// Message class of the original.
    pub(crate) class: Option<String>,
    /// Amount of the original, minor units.
    pub(crate) amount: Option<u64>,
    /// DE49.
    pub(crate) currency: Option<String>,
    /// The entry's name for `switchd resolve`.
    pub(crate) entry: Option<String>,
    /// Who closed the entry, and why.
    pub(crate) closed: Option<ClosedJson>,
    /// What happened, whether money moved, and what the merchant may do.
    pub(crate) said: Both,
}

/// The closing of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClosedJson {
    /// Who.
    pub(crate) who: String,
    /// Why.
    pub(crate) why: String,
    /// When, milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// Records about no movement, with those that closed one of them, in their order.
pub(crate) fn shown(records: &[(Lsn, Entry)]) -> Vec<AloneJson> {
    let closing = |of: Lsn| {
        records.iter().find_map(|(_, entry)| {
            let Record::ExceptionClosed { exception, who, why } = &entry.record else { return None };
            (*exception == of).then(|| ClosedJson { who: who.clone(), why: why.clone(), at_ms: entry.wall_ms })
        })
    };
    let shown = |(lsn, entry): &(Lsn, Entry)| Some(AloneJson { closed: closing(*lsn), ..one(*lsn, entry)? });
    records.iter().filter_map(shown).collect()
}

/// `None` for what is about a movement, and for what closes an entry.
fn one(lsn: Lsn, entry: &Entry) -> Option<AloneJson> {
    let (terminal, stan) = entry.record.alone()?;
    let (terminal, merchant) = parts(&terminal);
    let (mut rule, mut named, mut original) = (Rule::D11, None, (None, None));
    if let Record::Exception { rule: of, .. } = &entry.record {
        (rule, named) = (*of, Some(entry_name(lsn)));
    }
    if let Record::Tombstone { class, amount, .. } = &entry.record {
        original = (*class, *amount);
    }
    let (class, amount) = original;
    Some(AloneJson {
        lsn: lsn.0,
        at_ms: entry.wall_ms,
        what: entry.record.name().to_owned(),
        rule: rule.name().to_owned(),
        said: named.as_ref().map_or_else(words::tombstone, |_| words::entry_alone(rule)),
        terminal,
        merchant,
        stan: stan.to_string(),
        class: class.map(|class| class.name().to_owned()),
        amount: amount.map(|amount| amount.minor()),
        currency: amount.map(|amount| amount.currency().to_string()),
        entry: named,
        closed: None,
    })
}
