//! The whole history of movements, for people: every record about them, as the journal holds it.

use std::ops::{ControlFlow, Range};

use iso8583::{Rrn, Stan, TerminalId};
use journal::{Lsn, Position, ReadError, Reader, Storage};
use switch::{About, CardHmac, Entry, Finder, MovementId, Record, Told};

use crate::view::{Error, Index, Subjects, fold, read};

/// A terminal as a person names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// DE41 alone, padded with spaces to eight bytes: whatever merchant it came with.
    Terminal([u8; 8]),
    /// DE41 and DE42.
    Exactly(TerminalId),
}

/// What a person asks for. Times are the wall clock in milliseconds since 1970 UTC, the end not included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookUp {
    /// DE37: the switch's own, or the one that a terminal gave.
    Rrn(Rrn),
    /// A terminal's STAN (DE11), in either class.
    Key {
        /// Whose.
        terminal: Name,
        /// Which.
        stan: Stan,
    },
    /// What a terminal did in a time: a day is two midnights.
    Terminal {
        /// Whose.
        terminal: Name,
        /// When the movement began.
        wall_ms: Range<u64>,
    },
    /// What a card did in a time.
    Card {
        /// The card under each look-up key that was ever used; never a PAN.
        cards: Vec<CardHmac>,
        /// When the movement began.
        wall_ms: Range<u64>,
    },
    /// Whatever began in a time. No entry leads to it: that part of the journal is read.
    Time {
        /// When the movement began.
        wall_ms: Range<u64>,
    },
}

/// After a restart the wall clock may stand before what it was: so far beyond its end the records of a time are looked for.
const CLOCK_SET_BACK_MS: u64 = 3_600_000;

/// What a look-up found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Oldest first; each as the last record left it, with every record about it and those that closed its exceptions. One that
    /// began in a part of the journal that is gone, and was recalled since, begins with [`Record::Recalled`].
    pub histories: Vec<Told>,
    /// Records that are about no movement: tombstones (D11), and exceptions of requests that never became one; and those that
    /// closed one of them.
    pub alone: Vec<(Lsn, Entry)>,
    /// How many more there are where the entries lead, all of them older, and not looked at.
    pub more: usize,
}

impl Index {
    /// What a person asks for, as it is by the last record that the index covers: of movements the newest `most`.
    ///
    /// # Errors
    /// [`Error`]; nothing is known then.
    pub fn histories<S: Storage>(&self, reader: &Reader<S>, what: &LookUp, most: usize) -> Result<Found, Error> {
        Ok(self.chosen(reader, what, most, &|_: About<'_>| true, &|| true)?.unwrap_or_default())
    }

    /// The same of what `wanted` takes, the newest `most` movements and the newest `most` records about none; `None` when
    /// `go_on`, which is asked before each, said no.
    ///
    /// # Errors
    /// [`Error`]; nothing is known then.
    pub fn chosen<S: Storage>(
        &self,
        reader: &Reader<S>,
        what: &LookUp,
        most: usize,
        wanted: &dyn Fn(About<'_>) -> bool,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Option<Found>, Error> {
        let mut subjects = self.look_up(what)?;
        if let LookUp::Time { wall_ms } = what
            && !self.began(reader, wall_ms, wanted, go_on, &mut subjects).map_err(|error| Error::Scan(Box::new(error)))?
        {
            return Ok(None);
        }
        let Subjects { mut movements, mut alone } = subjects;
        let mut found = Found::default();
        while found.histories.len() < most
            && let Some(id) = movements.pop_last()
        {
            if !go_on() {
                return Ok(None);
            }
            found.histories.extend(self.history(reader, id)?.filter(|told| wanted(About::Movement(&told.movement))));
        }
        found.histories.reverse();
        found.more = movements.len();
        while alone.len() > most {
            alone.pop_first();
            found.more += 1;
        }
        found.alone = read(reader, &mut alone.into_iter().collect())?;
        found.alone.retain(|(_, entry)| wanted(About::Alone(entry)));
        let mut closings = self.closings(&found.alone)?;
        found.alone.extend(read(reader, &mut closings)?);
        found.alone.sort_by_key(|(lsn, _)| *lsn);
        Ok(Some(found))
    }

    /// The movements that are wanted and began in a time: its segments, which the index knows, are read. Whether it went on to
    /// the end.
    fn began<S: Storage>(
        &self,
        reader: &Reader<S>,
        wall_ms: &Range<u64>,
        wanted: &dyn Fn(About<'_>) -> bool,
        go_on: &dyn Fn() -> bool,
        out: &mut Subjects,
    ) -> Result<bool, Error> {
        let (mut failed, mut stopped) = (None, false);
        let end = wall_ms.end.saturating_add(CLOCK_SET_BACK_MS);
        let mut each = |lsn: Lsn, payload: &[u8]| match Entry::decode(payload) {
            Err(source) => {
                failed = Some(Error::Record { lsn, source });
                ControlFlow::Break(())
            }
            Ok(entry) if entry.wall_ms >= end => ControlFlow::Break(()),
            Ok(entry) => {
                if let Record::Intent { movement } | Record::Recalled { movement } = &entry.record
                    && wall_ms.contains(&movement.begun_wall_ms)
                    && wanted(About::Movement(movement))
                {
                    out.movements.insert(movement.id);
                }
                stopped = !go_on();
                if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
        };
        loop {
            let from = self.first_since(reader, wall_ms.start)?;
            match reader.for_each(from, reader.durable(), &mut each) {
                // Retired between the two.
                Err(ReadError::Retired { .. }) => {}
                Err(other) => return Err(other.into()),
                Ok(_) => break,
            }
        }
        failed.map_or(Ok(!stopped), Err)
    }

    /// The first record of the journal but for the oldest sealed segments that hold nothing as new as this.
    fn first_since<S: Storage>(&self, reader: &Reader<S>, wall_ms: u64) -> Result<Lsn, Error> {
        let mut first = reader.oldest();
        for segment in reader.sealed() {
            match self.facts(segment.number)? {
                Some(facts) if facts.newest_wall_ms < wall_ms => first = first.max(segment.last.next()),
                Some(_) | None => break,
            }
        }
        Ok(first)
    }

    /// Where the records lie that closed the exceptions among these.
    fn closings(&self, records: &[(Lsn, Entry)]) -> Result<Vec<(Lsn, Position)>, Error> {
        let mut closings = Vec::new();
        for (lsn, entry) in records {
            if let Record::Exception { .. } = entry.record {
                closings.extend(self.closed(*lsn)?);
            }
        }
        closings.sort_unstable();
        Ok(closings)
    }

    fn look_up(&self, what: &LookUp) -> Result<Subjects, Error> {
        let mut subjects = Subjects::default();
        let out = &mut subjects;
        match what {
            LookUp::Rrn(rrn) => self.by_rrn(rrn, out)?,
            LookUp::Key { terminal: Name::Exactly(terminal), stan } => self.by_key(terminal, *stan, 0, out)?,
            LookUp::Key { terminal: Name::Terminal(name), stan } => self.by_name_and_stan(name, *stan, out)?,
            LookUp::Terminal { terminal: Name::Exactly(terminal), wall_ms } => {
                self.by_terminal(terminal, wall_ms.clone(), out)?;
            }
            LookUp::Terminal { terminal: Name::Terminal(name), wall_ms } => self.by_name(name, wall_ms.clone(), out)?,
            LookUp::Card { cards, wall_ms } => {
                for card in cards {
                    self.by_card(card, wall_ms.clone(), out)?;
                }
            }
            // The caller reads the journal.
            LookUp::Time { .. } => {}
        }
        Ok(subjects)
    }

    /// `None` when the record of its beginning is gone.
    fn history<S: Storage>(&self, reader: &Reader<S>, id: MovementId) -> Result<Option<Told>, Error> {
        let mut records = self.records(reader, self.places(id)?)?;
        let movements = fold(Finder::of_all(), &records)?;
        let Some(movement) = movements.into_iter().find(|movement| movement.id == id) else { return Ok(None) };
        // The starts served for the state; they are not about this movement.
        records.retain(|(_, entry)| entry.record.movement() == Some(id));
        let mut closings = self.closings(&records)?;
        records.extend(read(reader, &mut closings)?);
        records.sort_by_key(|(lsn, _)| *lsn);
        let records = records.into_iter().map(|(lsn, entry)| (switch::Lsn(lsn.0), entry)).collect();
        Ok(Some(Told { movement, records }))
    }
}
