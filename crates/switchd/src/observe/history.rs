//! The whole history of movements for `switchd tx`: found by RRN, key, terminal and time, or card, in memory and in the
//! durable journal.
//!
//! The index leads to the records; for a masked card the day is read, and while the index is being built the whole journal.
//! All of it runs on threads of its own and only reads, so that it delays neither a turn nor a look-up; what reads the journal
//! runs once at a time, and no longer than somebody waits for it. Invariant: no answer holds more of a card than its masked
//! number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use index::{Found, Live, LookUp, Name, Unavailable};
use iso8583::{MaskedPan, Pan, Rrn, Stan, TerminalId};
use journal::FsStorage;
use partition::HistoryJob;
use serde::{Deserialize, Serialize};
use switch::{About, CardHmac, Entry, Histories, Movement, MovementId, Now, Told};
use tokio::sync::oneshot;

use super::alone::{self, AloneJson};
use super::outlook::{self, AheadJson, Issuers};
use super::walk::Seen;
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
    /// No entry of the index leads to a masked number.
    #[error(
        "a masked card goes with a day, or a terminal and its STAN; next: add --day, or give the whole number by --card -"
    )]
    MaskedAlone,
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
        let one_day = self.from_ms.is_some() && self.before_ms.is_some();
        let by_key = terminal.is_some() && stan.is_some();
        match (&rrn, &card, &terminal) {
            (None, None, None) => return Err(WrongSearch::Empty),
            (None, None, Some(_)) if stan.is_none() && !timed => return Err(WrongSearch::TerminalAlone),
            (None, Some(CardWanted::Masked(_)), _) if !(one_day || by_key) => return Err(WrongSearch::MaskedAlone),
            (_, _, _) => {}
        }
        let (from_ms, before_ms) = (self.from_ms.unwrap_or(0), self.before_ms.unwrap_or(u64::MAX));
        Ok(Search { rrn, terminal, stan, from_ms, before_ms, card })
    }
}

/// One to six digits.
pub(crate) fn stan(text: &str) -> Result<Stan, WrongSearch> {
    let fits = text.len() <= 6 && text.bytes().all(|digit| digit.is_ascii_digit());
    let number = text.parse::<u32>().ok().filter(|_| fits);
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
        let card = |wanted: &CardWanted| {
            m.card.is_some_and(|card| match wanted {
                CardWanted::Marks(marks) => marks.contains(&card.hmac),
                CardWanted::Masked(masked) => card.masked == *masked,
                // The engine turns it into marks before anything is compared.
                CardWanted::Number(_) => false,
            })
        };
        self.rrn.is_none_or(|rrn| m.is_named_by(rrn))
            && self.takes_key(&m.key.terminal, m.key.stan, m.begun_wall_ms)
            && self.card.as_ref().is_none_or(card)
    }

    fn takes_key(&self, of: &TerminalId, stan: Stan, wall_ms: u64) -> bool {
        let is = |padded: &[u8], wanted: &str| padded.trim_ascii_end() == wanted.as_bytes();
        let terminal = |(terminal, merchant): &(String, Option<String>)| {
            is(of.terminal(), terminal) && merchant.as_ref().is_none_or(|merchant| is(of.merchant(), merchant))
        };
        self.terminal.as_ref().is_none_or(terminal)
            && self.stan.is_none_or(|wanted| stan == wanted)
            && (self.from_ms..self.before_ms).contains(&wall_ms)
    }

    /// What is about no movement has a terminal, a STAN and a time; neither RRN nor card.
    fn takes_alone(&self, entry: &Entry) -> bool {
        let of = entry.record.alone().filter(|_| self.rrn.is_none() && self.card.is_none());
        of.is_some_and(|(terminal, stan)| self.takes_key(&terminal, stan, entry.wall_ms))
    }

    fn wants(&self, about: About<'_>) -> bool {
        match about {
            About::Movement(movement) => self.takes(movement),
            About::Alone(entry) => self.takes_alone(entry),
        }
    }

    /// How the index is asked for it; `None` for what no entry leads to.
    fn look_up(&self) -> Option<LookUp> {
        if let Some(rrn) = self.rrn {
            return Some(LookUp::Rrn(rrn));
        }
        let wall_ms = self.from_ms..self.before_ms;
        if let Some(CardWanted::Marks(cards)) = &self.card {
            return Some(LookUp::Card { cards: cards.clone(), wall_ms });
        }
        let Some((terminal, merchant)) = self.terminal.as_ref() else { return Some(LookUp::Time { wall_ms }) };
        let exactly = TerminalId::new(terminal.as_bytes(), merchant.as_deref().unwrap_or("-").as_bytes()).ok()?;
        let terminal = if merchant.is_some() { Name::Exactly(exactly) } else { Name::Terminal(*exactly.terminal()) };
        Some(match self.stan {
            Some(stan) => LookUp::Key { terminal, stan },
            None => LookUp::Terminal { terminal, wall_ms },
        })
    }
}

/// The one reading of the journal for people that may run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading(Arc<AtomicBool>);

impl Reading {
    /// `None` while another runs.
    fn begin(&self) -> Option<ReadingNow> {
        (!self.0.swap(true, Ordering::AcqRel)).then(|| ReadingNow(Arc::clone(&self.0)))
    }
}

/// Ends it when dropped.
struct ReadingNow(Arc<AtomicBool>);

impl Drop for ReadingNow {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

const READING_ALREADY: &str = "the journal is being read for another search, and one at a time may; \
                               next: try again when that has ended, or search by RRN, or by terminal and STAN or day";

/// A search that is to be answered, with what the engine knows of it.
pub(crate) struct Asked {
    /// What for.
    pub(crate) search: Search,
    /// The index.
    pub(crate) index: Arc<Live<FsStorage>>,
    /// The journal.
    pub(crate) journal: HistoryJob<FsStorage>,
    /// The one reading of the journal that may run.
    pub(crate) reading: Reading,
    /// Who waits.
    pub(crate) reply: Reply,
}

impl Asked {
    /// Answers it: by the index on this thread, or by reading the journal on another.
    pub(crate) fn answer(self) {
        // Those who went while others were answered cost nothing more.
        if self.reply.is_closed() {
            return;
        }
        let look_up = self.search.look_up();
        if let Some(what) = look_up.as_ref().filter(|what| !matches!(what, LookUp::Time { .. })) {
            match self.by_index(what) {
                Ok(found) => return self.reply_with(found),
                Err(unavailable) => tracing::info!(%unavailable, "a history is read from the whole journal"),
            }
        }
        let Some(now) = self.reading.begin() else {
            let _ = self.reply.send(Err(READING_ALREADY.to_owned()));
            return;
        };
        let read = std::thread::Builder::new().name("reading".to_owned()).spawn(move || {
            self.read(look_up.as_ref());
            drop(now);
        });
        if let Err(error) = read {
            tracing::error!(%error, "no thread to read the journal on; the search has no answer");
        }
    }

    /// What the index says of it; `None` when nobody waits any more.
    fn by_index(&self, what: &LookUp) -> Result<Option<Histories>, Unavailable> {
        let (wanted, waits) = (|about: About<'_>| self.search.wants(about), || !self.reply.is_closed());
        let found = self.index.chosen(what, MOST, &wanted, &waits)?;
        Ok(found.map(|Found { histories, alone, more }| Histories {
            told: histories,
            alone: alone.into_iter().map(|(lsn, entry)| (switch::Lsn(lsn.0), entry)).collect(),
            left_out: u64::try_from(more).unwrap_or(u64::MAX),
        }))
    }

    /// Reads the journal: a day of it where the index knows where that is, else all.
    fn read(self, look_up: Option<&LookUp>) {
        if let Some(day @ LookUp::Time { .. }) = look_up {
            match self.by_index(day) {
                Ok(found) => return self.reply_with(found),
                Err(Unavailable::Journal(why)) => {
                    let _ = self.reply.send(Err(why));
                    return;
                }
                Err(unavailable) => tracing::info!(%unavailable, "a history is read from the whole journal"),
            }
        }
        let Asked { search, journal, reply, .. } = self;
        match journal.run(|about| search.wants(about), MOST, || !reply.is_closed()) {
            Ok(Some(found)) => drop(reply.send(Ok(Journalled { search, found }))),
            Ok(None) => tracing::info!("nobody waits for a history any more: the journal is read no further"),
            Err(error) => drop(reply.send(Err(format!("the journal cannot be read: {error}")))),
        }
    }

    fn reply_with(self, found: Option<Histories>) {
        match found {
            Some(found) => drop(self.reply.send(Ok(Journalled { search: self.search, found }))),
            None => tracing::info!("nobody waits for a history any more: the journal is read no further"),
        }
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
    /// What is about no movement: reversals without an original, and entries of requests that never became one (D11).
    #[serde(default)]
    pub(crate) alone: Vec<AloneJson>,
    /// Older ones that are not shown; they are of the same RRN, terminal, card or time, and were not looked at further.
    pub(crate) left_out: u64,
}

/// What the journal says of a search.
pub(crate) struct Journalled {
    /// The search, by the marks of its card.
    pub(crate) search: Search,
    /// What was found.
    pub(crate) found: Histories,
}

/// Who waits for it.
pub(crate) type Reply = oneshot::Sender<Result<Journalled, String>>;

/// What memory holds of a search, to be laid over what the journal says: it is newer. The newest are kept.
#[derive(Default)]
pub(crate) struct Memory {
    seen: BTreeMap<MovementId, Seen>,
    left_out: u64,
}

impl Memory {
    /// Keeps one more.
    pub(crate) fn keep(&mut self, seen: Seen) {
        self.seen.insert(seen.movement.id, seen);
        if self.seen.len() > MOST {
            self.seen.pop_first();
            self.left_out += 1;
        }
    }
}

/// Puts the journal's history and memory together; the newest are shown.
pub(crate) fn told(
    Histories { told, alone, left_out }: Histories,
    mut memory: Memory,
    now: Now,
    issuers: &Issuers,
) -> HistoryJson {
    let mut found = BTreeMap::new();
    for Told { movement, records } in told {
        let currency = movement.fingerprint.amount.currency().to_string();
        let legs = records.iter().map(|(lsn, entry)| legs::leg(*lsn, entry, &currency)).collect();
        let seen = memory.seen.remove(&movement.id);
        let now = seen.map_or_else(|| outlook::ended(issuers, now, &movement), |seen| outlook::ahead(issuers, now, &seen));
        found.insert(movement.id, TxJson { now, legs });
    }
    // Not durable yet, or begun before the oldest record that there is. What the journal left out is not news.
    let news_from = found.keys().next().copied().filter(|_| left_out > 0);
    let news = memory.seen.into_iter().filter(|(id, _)| news_from.is_none_or(|from| *id > from));
    found.extend(news.map(|(id, seen)| (id, TxJson { now: outlook::ahead(issuers, now, &seen), legs: Vec::new() })));
    let mut older = 0;
    while found.len() > MOST {
        found.pop_first();
        older += 1;
    }
    // Most of what memory left out the journal did too.
    let left_out = (left_out + older).max(memory.left_out);
    HistoryJson { found: found.into_values().collect(), alone: alone::shown(&alone), left_out }
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
        check(SearchJson { terminal: text("T"), stan: text("+1"), ..SearchJson::default() }, Some(WrongSearch::Stan));
        check(SearchJson { terminal: text("T"), stan: text("x"), ..SearchJson::default() }, Some(WrongSearch::Stan));
        check(SearchJson { rrn: text("632610000001"), ..SearchJson::default() }, None);
        check(SearchJson { rrn: text("63261000000/"), ..SearchJson::default() }, Some(WrongSearch::Rrn));
        let masked = || SearchJson { card: text("400000******7899"), ..SearchJson::default() };
        let terminal = || text("TERM0001");
        check(masked(), Some(WrongSearch::MaskedAlone));
        check(SearchJson { from_ms: Some(1), ..masked() }, Some(WrongSearch::MaskedAlone));
        check(SearchJson { terminal: terminal(), from_ms: Some(1), ..masked() }, Some(WrongSearch::MaskedAlone));
        check(SearchJson { from_ms: Some(1), before_ms: Some(2), ..masked() }, None);
        check(SearchJson { terminal: terminal(), from_ms: Some(1), before_ms: Some(2), ..masked() }, None);
        check(SearchJson { terminal: terminal(), stan: text("1"), ..masked() }, None);
        check(SearchJson { rrn: text("632610000001"), ..masked() }, None);
        check(SearchJson { card: text("4000 0012 3456 7899"), ..SearchJson::default() }, None);
        check(SearchJson { card: text("4000"), ..SearchJson::default() }, Some(WrongSearch::Card));
        check(SearchJson { card: text("4000001234567x99"), ..SearchJson::default() }, Some(WrongSearch::Card));
    }

    #[test]
    fn the_journal_is_read_for_one_at_a_time() {
        let reading = Reading::default();
        let first = reading.begin();
        assert!(first.is_some() && reading.clone().begin().is_none());
        drop(first);
        assert!(reading.begin().is_some());
    }
}
