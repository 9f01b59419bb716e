//! The whole history of movements, for people: every record about them, as the journal holds it.

use std::ops::Range;

use iso8583::{Rrn, Stan, TerminalId};
use journal::{Lsn, Reader, Storage};
use switch::{CardHmac, Entry, Finder, MovementId, Record, Told};

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
}

/// What a look-up found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Oldest first; each as the last record left it, with every record about it and those that closed its exceptions. One that
    /// began in a part of the journal that is gone, and was recalled since, begins with [`Record::Recalled`].
    pub histories: Vec<Told>,
    /// Records that are about no movement: tombstones (D11), and exceptions of requests that never became one.
    pub alone: Vec<(Lsn, Entry)>,
    /// How many more movements there are, all of them older.
    pub more: usize,
}

impl Index {
    /// What a person asks for, as it is by the last record that the index covers: of movements the newest `most`.
    ///
    /// # Errors
    /// [`Error`]; nothing is known then.
    pub fn histories<S: Storage>(&self, reader: &Reader<S>, what: &LookUp, most: usize) -> Result<Found, Error> {
        let Subjects { mut movements, alone } = self.look_up(what)?;
        let mut found = Found::default();
        while movements.len() > most {
            movements.pop_first();
            found.more += 1;
        }
        for id in movements {
            found.histories.extend(self.history(reader, id)?);
        }
        found.alone = read(reader, &mut alone.into_iter().collect())?;
        Ok(found)
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
        let mut closings = Vec::new();
        for (lsn, entry) in &records {
            if let Record::Exception { .. } = entry.record {
                closings.extend(self.closed(*lsn)?);
            }
        }
        closings.sort_unstable();
        records.extend(read(reader, &mut closings)?);
        records.sort_by_key(|(lsn, _)| *lsn);
        let records = records.into_iter().map(|(lsn, entry)| (switch::Lsn(lsn.0), entry)).collect();
        Ok(Some(Told { movement, records }))
    }
}
