//! The whole history of movements for `switchd tx`: found by RRN, key, terminal and time, or card, in memory and in the
//! durable journal.
//!
//! The index leads to the records; while it is being built, and for what it has no entry for, the journal is scanned. Both run
//! on a thread of its own and only read, so that it delays neither a turn nor a look-up. Invariant: no answer
//! holds more of a card than its masked number.

use std::collections::BTreeMap;

use index::{Live, LookUp, Name};
use iso8583::{MaskedPan, Pan, Rrn, Stan, TerminalId};
use journal::FsStorage;
use partition::ScanError;
use serde::{Deserialize, Serialize};
use switch::{CardHmac, IssuerNo, Movement, MovementId, Now, Switch, Told};
use tokio::sync::oneshot;

use super::outlook::{self, AheadJson};
use crate::words::legs::{self, Leg};

/// Movements in one answer at most; the newest are shown.
const MOST: usize = 500;

/// What is looked for, as `switchd tx` sends it.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SearchJson {
    /// DE37, the switch's or the terminal's own.
    pub(crate) rrn: Option<String>,
    /// DE41, with `/` and DE42 or without.
    pub(crate) terminal: Option<String>,
    /// DE11 of the terminal.
    pub(crate) stan: Option<String>,
    /// Began at or after, milliseconds since 1970.
    pub(crate) from_ms: Option<u64>,
    /// Began before, milliseconds since 1970.
    pub(crate) before_ms: Option<u64>,
    /// A card number, or a masked one with `*`.
    pub(crate) card: Option<String>,
}

/// What is wrong with a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongSearch {
    /// It would show everything.
    #[error("nothing to look for; next: give an RRN, a terminal with a STAN or a day, or a card")]
    Empty,
    /// Not an RRN.
    #[error("an RRN is up to 12 letters or digits; next: `switchd doubt`, or search by --terminal")]
    Rrn,
    /// Not a STAN.
    #[error("a STAN is six digits at most")]
    Stan,
    /// A terminal alone is its whole life.
    #[error("a terminal goes with a STAN or a day; next: add --stan or --day")]
    TerminalAlone,
    /// Neither a number nor a mask.
    #[error("a card is its whole number, or masked as it is shown: 400000******7899")]
    Card,
}

/// A card that is looked for.
#[derive(Clone)]
pub(crate) enum CardWanted {
    /// Its number.
    Number(Pan),
    /// Its marks, by each key.
    Marks(Vec<CardHmac>),
    /// As it is shown.
    Masked(MaskedPan),
}

/// A search that can be made.
#[derive(Clone)]
pub(crate) struct Search {
    rrn: Option<Rrn>,
    terminal: Option<(String, Option<String>)>,
    stan: Option<Stan>,
    from_ms: u64,
    before_ms: u64,
    /// The card, once the engine has made its marks.
    pub(crate) card: Option<CardWanted>,
}

impl SearchJson {
    /// What is searched for.
    pub(crate) fn judge(&self) -> Result<Search, WrongSearch> {
        let rrn = self.rrn.as_deref().map(|text| text.parse::<Rrn>().map_err(|_| WrongSearch::Rrn)).transpose()?;
        let stan = self.stan.as_deref().map(stan).transpose()?;
        let terminal = self.terminal.as_deref().map(|text| match text.split_once('/') {
            Some((terminal, merchant)) => (terminal.to_owned(), Some(merchant.to_owned())),
            None => (text.to_owned(), None),
        });
        let card = self.card.as_deref().map(card).transpose()?;
        let timed = self.from_ms.is_some() || self.before_ms.is_some();
        match (&rrn, &card, &terminal) {
            (None, None, None) => return Err(WrongSearch::Empty),
            (None, None, Some(_)) if stan.is_none() && !timed => return Err(WrongSearch::TerminalAlone),
            (_, _, _) => {}
        }
        let (from_ms, before_ms) = (self.from_ms.unwrap_or(0), self.before_ms.unwrap_or(u64::MAX));
        Ok(Search { rrn, terminal, stan, from_ms, before_ms, card })
    }
}

/// One to six digits.
pub(crate) fn stan(text: &str) -> Result<Stan, WrongSearch> {
    let number = Some(text).filter(|text| text.len() <= 6).and_then(|text| text.parse::<u32>().ok());
    number.and_then(|number| Stan::new(number).ok()).ok_or(WrongSearch::Stan)
}

fn card(text: &str) -> Result<CardWanted, WrongSearch> {
    let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    let masked = text.parse().map(CardWanted::Masked);
    masked.or_else(|_| text.parse().map(CardWanted::Number)).map_err(|_| WrongSearch::Card)
}

impl Search {
    /// Whether a movement is looked for.
    pub(crate) fn takes(&self, m: &Movement) -> bool {
        let is = |padded: &[u8], wanted: &str| padded.trim_ascii_end() == wanted.as_bytes();
        let terminal = |(terminal, merchant): &(String, Option<String>)| {
            is(m.key.terminal.terminal(), terminal)
                && merchant.as_ref().is_none_or(|merchant| is(m.key.terminal.merchant(), merchant))
        };
        let card = |wanted: &CardWanted| {
            m.card.is_some_and(|card| match wanted {
                CardWanted::Marks(marks) => marks.contains(&card.hmac),
                CardWanted::Masked(masked) => card.masked == *masked,
                // The engine turns it into marks before anything is compared.
                CardWanted::Number(_) => false,
            })
        };
        self.rrn.is_none_or(|rrn| m.is_named_by(rrn))
            && self.terminal.as_ref().is_none_or(terminal)
            && self.stan.is_none_or(|stan| m.key.stan == stan)
            && (self.from_ms..self.before_ms).contains(&m.begun_wall_ms)
            && self.card.as_ref().is_none_or(card)
    }
}

impl Search {
    /// How the index is asked for it; `None` for what no entry leads to.
    fn look_up(&self) -> Option<LookUp> {
        if let Some(rrn) = self.rrn {
            return Some(LookUp::Rrn(rrn));
        }
        let wall_ms = self.from_ms..self.before_ms;
        if let Some(CardWanted::Marks(cards)) = &self.card {
            return Some(LookUp::Card { cards: cards.clone(), wall_ms });
        }
        let (terminal, merchant) = self.terminal.as_ref()?;
        let exactly = TerminalId::new(terminal.as_bytes(), merchant.as_deref().unwrap_or("-").as_bytes()).ok()?;
        let terminal = if merchant.is_some() { Name::Exactly(exactly) } else { Name::Terminal(*exactly.terminal()) };
        Some(match self.stan {
            Some(stan) => LookUp::Key { terminal, stan },
            None => LookUp::Terminal { terminal, wall_ms },
        })
    }

    /// The histories by the index; `None` where a scan of the journal has to tell them.
    pub(crate) fn by_index(&self, index: &Live<FsStorage>) -> Option<Vec<Told>> {
        let found = index.histories(&self.look_up()?, MOST).ok()?;
        // More than one look shows, of which the other conditions may take few.
        if found.more > 0 {
            return None;
        }
        Some(found.histories.into_iter().filter(|told| self.takes(&told.movement)).collect())
    }
}

/// One movement with its history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TxJson {
    /// As it is now, and what comes.
    #[serde(flatten)]
    pub(crate) now: AheadJson,
    /// What happened, oldest first: what is durable.
    pub(crate) legs: Vec<Leg>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HistoryJson {
    /// Oldest first.
    pub(crate) found: Vec<TxJson>,
    /// Older ones that were found and are not shown.
    pub(crate) left_out: u64,
}

/// Who waits for a history.
pub(crate) type Reply = oneshot::Sender<Result<HistoryJson, String>>;

/// What memory holds of a search, to be laid over what the journal says: it is newer.
pub(crate) fn in_memory(view: &Switch, now: Now, search: &Search) -> BTreeMap<MovementId, AheadJson> {
    let wanted = view.movements().filter(|m| search.takes(m));
    wanted.map(|m| (m.id, outlook::ahead(view, now, m))).collect()
}

/// Puts the journal's history and memory together. `issuers` are their names.
pub(crate) fn told(
    scanned: Result<(Vec<Told>, u64), ScanError>,
    mut memory: BTreeMap<MovementId, AheadJson>,
    now: Now,
    issuers: &BTreeMap<IssuerNo, String>,
) -> Result<HistoryJson, String> {
    let (told, left_out) = scanned.map_err(|error| format!("the journal cannot be read: {error}"))?;
    let mut found = BTreeMap::new();
    for Told { movement, records } in told {
        let currency = movement.fingerprint.amount.currency().to_string();
        let legs = records.iter().map(|(lsn, entry)| legs::leg(*lsn, entry, &currency)).collect();
        let shown = memory.remove(&movement.id).unwrap_or_else(|| outlook::ended(issuers, now, &movement));
        found.insert(movement.id, TxJson { now: shown, legs });
    }
    // Not durable yet, or begun before the oldest record that there is.
    found.extend(memory.into_iter().map(|(id, now)| (id, TxJson { now, legs: Vec::new() })));
    Ok(HistoryJson { found: found.into_values().collect(), left_out })
}

/// How many movements a history shows.
pub(crate) const fn most() -> usize {
    MOST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(search: SearchJson, wrong: Option<WrongSearch>) {
        assert_eq!(search.judge().err(), wrong);
    }

    #[test]
    fn a_search_names_something_and_not_everything() {
        let text = |text: &str| Some(text.to_owned());
        check(SearchJson::default(), Some(WrongSearch::Empty));
        check(SearchJson { stan: text("1"), ..SearchJson::default() }, Some(WrongSearch::Empty));
        check(SearchJson { terminal: text("TERM0001"), ..SearchJson::default() }, Some(WrongSearch::TerminalAlone));
        check(SearchJson { terminal: text("TERM0001"), stan: text("1"), ..SearchJson::default() }, None);
        check(SearchJson { terminal: text("TERM0001"), from_ms: Some(1), ..SearchJson::default() }, None);
        check(SearchJson { terminal: text("T"), stan: text("1000000"), ..SearchJson::default() }, Some(WrongSearch::Stan));
        check(SearchJson { terminal: text("T"), stan: text("x"), ..SearchJson::default() }, Some(WrongSearch::Stan));
        check(SearchJson { rrn: text("632610000001"), ..SearchJson::default() }, None);
        check(SearchJson { rrn: text("63261000000/"), ..SearchJson::default() }, Some(WrongSearch::Rrn));
        check(SearchJson { card: text("400000******7899"), ..SearchJson::default() }, None);
        check(SearchJson { card: text("4000 0012 3456 7899"), ..SearchJson::default() }, None);
        check(SearchJson { card: text("4000"), ..SearchJson::default() }, Some(WrongSearch::Card));
        check(SearchJson { card: text("4000001234567x99"), ..SearchJson::default() }, Some(WrongSearch::Card));
    }
}
