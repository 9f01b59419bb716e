//! The index as a value: opened, filled in batches, asked, and rid of what the journal no longer holds.
//!
//! It has no thread; [`crate::Live`] gives it one. Invariant: a batch and the mark that covers it are one change, so what
//! the mark covers is in the engine, each entry as the journal's record makes it.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use iso8583::{Rrn, Stan, TerminalId};
use journal::{Lsn, Position, ReadError, Reader, SealedSegment, Storage};
use switch::{CardHmac, Entry, Finder, Movement, MovementId, Query};

use crate::contain::contained;
use crate::engine::{Batch, Each, Engine, EngineError, Kind};
use crate::entries::{self, Bytes, Facts, Subject, VERSION, kind, last_number, number_at, place_at};

pub use crate::entries::Mark;

/// Why an index could not be used. Whatever it is, the journal is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine failed: the index has to be built again.
    #[error("the index: {0}")]
    Engine(#[from] EngineError),
    /// An entry that no version of this program writes.
    #[error("the index holds an entry that is not one")]
    Entry,
    /// The journal could not be read, or a record does not lie where the index says.
    #[error(transparent)]
    Journal(#[from] ReadError),
    /// A record of the journal is not one of this version.
    #[error("record {lsn} of the journal cannot be read: {source}")]
    Record {
        /// Which.
        lsn: Lsn,
        /// What is wrong with it.
        source: switch::Damaged,
    },
    /// A part of the journal could not be read from one record to the next, which the index has no part in.
    #[error("the journal cannot be read: {0}")]
    Scan(Box<Error>),
    /// The directory of the index cannot be made or emptied.
    #[error("cannot {action} {path}: {source}")]
    Dir {
        /// What was tried.
        action: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The directories of all engines and versions begin so, and nothing else in the index's directory is ever touched.
const PREFIXES: [&str; 2] = ["fjall-", "sled-"];

/// How many removals make a batch.
const REMOVALS: usize = 8_192;

/// An open index. See the module.
pub struct Index {
    engine: Box<dyn Engine>,
}

impl Drop for Index {
    fn drop(&mut self) {
        // An engine may panic when it closes files that somebody damaged; the next open says what is left.
        let engine = std::mem::replace(&mut self.engine, Box::new(Nothing));
        let _ = contained(move || {
            drop(engine);
            Ok(())
        });
    }
}

/// Stands in for an engine that is being closed.
struct Nothing;

impl Engine for Nothing {
    fn apply(&self, _: &Batch) -> Result<(), EngineError> {
        Ok(())
    }
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(None)
    }
    fn scan(&self, _: &[u8], _: &[u8], _: &mut Each<'_>) -> Result<(), EngineError> {
        Ok(())
    }
    fn sync(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

/// Where an engine keeps its files: another engine and another version have another place.
fn own_dir(kind: Kind, dir: &Path) -> PathBuf {
    dir.join(format!("{}-{VERSION}", kind.name()))
}

/// Removes the directories of engines and versions for which `gone` says so.
fn remove_dirs(dir: &Path, gone: impl Fn(&str) -> bool) -> Result<(), Error> {
    let failed = |action, path: &Path, source| Error::Dir { action, path: path.to_owned(), source };
    let listed = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        listed => listed.map_err(|source| failed("read", dir, source))?,
    };
    for file in listed {
        let path = file.map_err(|source| failed("read", dir, source))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && gone(name) {
            let removed = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
            removed.map_err(|source| failed("remove", &path, source))?;
        }
    }
    Ok(())
}

impl Index {
    /// Opens the index in `dir`, or makes an empty one there. Those of other engines and versions are removed.
    ///
    /// # Errors
    /// [`Error::Engine`]: what is there is damaged; [`Index::remove`] it. [`Error::Dir`]: no directory could be made.
    pub fn open(kind: Kind, dir: &Path) -> Result<Index, Error> {
        let own = own_dir(kind, dir);
        remove_dirs(dir, |name| own.file_name().is_none_or(|own| own != name))?;
        let made =
            std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700).recursive(true).create(dir);
        made.map_err(|source| Error::Dir { action: "make", path: dir.to_owned(), source })?;
        Ok(Index { engine: contained(|| kind.open(&own))? })
    }

    /// Removes the index in `dir`, which nobody has open.
    ///
    /// # Errors
    /// [`Error::Dir`].
    pub fn remove(dir: &Path) -> Result<(), Error> {
        remove_dirs(dir, |_| true)
    }

    /// How far it has come; `None` when it is empty, or of another version.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn mark(&self) -> Result<Option<Mark>, Error> {
        let value = contained(|| self.engine.get(kind::MARK))?;
        Ok(value.and_then(|value| Mark::read(&value)))
    }

    /// Lets the device have all of it. For a clean stop; without it a loss of power costs a part that is built again.
    ///
    /// # Errors
    /// [`Error::Engine`].
    pub fn sync(&self) -> Result<(), Error> {
        Ok(contained(|| self.engine.sync())?)
    }

    pub(crate) fn facts(&self, segment: u64) -> Result<Option<Facts>, Error> {
        let mut key = Bytes::default();
        let value = contained(|| self.engine.get(key.begin(kind::SEGMENT).number(segment).as_slice()))?;
        value.map(|value| Facts::read(&value).ok_or(Error::Entry)).transpose()
    }

    /// All entries with this beginning whose next eight bytes lie in `numbers`.
    fn scan(
        &self,
        prefix: &Bytes,
        numbers: std::ops::Range<u64>,
        mut each: impl FnMut(&[u8], &[u8]) -> Option<()>,
    ) -> Result<(), Error> {
        let bound = |number: u64| [prefix.as_slice(), &number.to_be_bytes()].concat();
        let mut sound = true;
        contained(|| {
            self.engine.scan(&bound(numbers.start), &bound(numbers.end), &mut |key, value| {
                sound = each(key, value).is_some();
                if sound { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
        })?;
        if sound { Ok(()) } else { Err(Error::Entry) }
    }

    fn subjects(&self, prefix: &Bytes, numbers: std::ops::Range<u64>, out: &mut Subjects) -> Result<(), Error> {
        self.scan(prefix, numbers, |key, value| {
            match Subject::read(value)? {
                Subject::Movement(id) => {
                    out.movements.insert(id);
                }
                Subject::Alone(place) => {
                    out.alone.insert((Lsn(last_number(key)?), place));
                }
            }
            Some(())
        })
    }

    /// What one terminal's STAN names, of what began at or after `since_wall_ms`.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Entry`].
    pub(crate) fn by_key(
        &self,
        terminal: &TerminalId,
        stan: Stan,
        since_wall_ms: u64,
        out: &mut Subjects,
    ) -> Result<(), Error> {
        let mut prefix = Bytes::default();
        prefix.begin(kind::KEY).terminal(terminal).stan(stan);
        self.subjects(&prefix, since_wall_ms..u64::MAX, out)
    }

    /// The same for every merchant number (DE42) that came with this DE41.
    pub(crate) fn by_name_and_stan(&self, name: &[u8; 8], stan: Stan, out: &mut Subjects) -> Result<(), Error> {
        let mut found = Vec::new();
        let mut prefix = Bytes::default();
        prefix.begin(kind::KEY).raw(name);
        // Of 'K' DE41 DE42 STAN: the STAN.
        let named = |key: &[u8]| key.get(24..28).is_some_and(|bytes| bytes == stan.get().to_be_bytes());
        self.scan(&prefix, 0..u64::MAX, |key, value| {
            if named(key) {
                found.push((last_number(key)?, Subject::read(value)?));
            }
            Some(())
        })?;
        out.add(found);
        Ok(())
    }

    /// What an RRN names: the switch's, or a terminal's own.
    pub(crate) fn by_rrn(&self, rrn: &Rrn, out: &mut Subjects) -> Result<(), Error> {
        let mut prefix = Bytes::default();
        prefix.begin(kind::RRN).raw(rrn.as_bytes());
        self.subjects(&prefix, 0..u64::MAX, out)
    }

    /// What a terminal did in a time, by the wall clock in milliseconds.
    pub(crate) fn by_terminal(
        &self,
        terminal: &TerminalId,
        wall_ms: std::ops::Range<u64>,
        out: &mut Subjects,
    ) -> Result<(), Error> {
        let mut prefix = Bytes::default();
        prefix.begin(kind::TERMINAL).terminal(terminal);
        self.subjects(&prefix, wall_ms, out)
    }

    /// The same for every DE42 that came with this DE41.
    pub(crate) fn by_name(&self, name: &[u8; 8], wall_ms: std::ops::Range<u64>, out: &mut Subjects) -> Result<(), Error> {
        let mut found = Vec::new();
        let mut prefix = Bytes::default();
        prefix.begin(kind::TERMINAL).raw(name);
        self.scan(&prefix, 0..u64::MAX, |key, value| {
            // Of 'T' DE41 DE42 begun LSN: the time.
            if wall_ms.contains(&number_at(key, 24)?) {
                found.push((last_number(key)?, Subject::read(value)?));
            }
            Some(())
        })?;
        out.add(found);
        Ok(())
    }

    /// What a card did in a time.
    pub(crate) fn by_card(
        &self,
        CardHmac(hmac): &CardHmac,
        wall_ms: std::ops::Range<u64>,
        out: &mut Subjects,
    ) -> Result<(), Error> {
        let mut prefix = Bytes::default();
        prefix.begin(kind::CARD).raw(hmac);
        self.subjects(&prefix, wall_ms, out)
    }

    /// Where the records about a movement lie.
    pub(crate) fn places(&self, id: MovementId) -> Result<Vec<(Lsn, Position)>, Error> {
        let mut places = Vec::new();
        let mut prefix = Bytes::default();
        prefix.begin(kind::MOVEMENT).number(id.0);
        self.scan(&prefix, 0..u64::MAX, |key, value| {
            places.push((Lsn(last_number(key)?), place_at(value, 0)?));
            Some(())
        })?;
        Ok(places)
    }

    /// The record that closed an exception.
    pub(crate) fn closed(&self, exception: Lsn) -> Result<Option<(Lsn, Position)>, Error> {
        let mut key = Bytes::default();
        let value = contained(|| self.engine.get(key.begin(kind::CLOSED).number(exception.0).as_slice()))?;
        let read = |value: Vec<u8>| Some((Lsn(number_at(&value, 0)?), place_at(&value, 8)?));
        value.map(|value| read(value).ok_or(Error::Entry)).transpose()
    }

    /// The starts of the process after a record (K2).
    pub(crate) fn starts(&self, after: Lsn) -> Result<Vec<(Lsn, Entry)>, Error> {
        let mut starts = Vec::new();
        let mut prefix = Bytes::default();
        prefix.begin(kind::START);
        self.scan(&prefix, after.0.saturating_add(1)..u64::MAX, |key, value| {
            starts.push((Lsn(last_number(key)?), Entry::decode(value).ok()?));
            Some(())
        })?;
        Ok(starts)
    }

    /// What a look-up of the core asks for, as it is by the last record that the index covers; oldest first.
    ///
    /// # Errors
    /// [`Error`]; nothing is known then.
    pub fn find<S: Storage>(&self, reader: &Reader<S>, query: &Query) -> Result<Vec<Movement>, Error> {
        let mut subjects = Subjects::default();
        self.by_key(&query.terminal, query.stan, query.since_wall_ms, &mut subjects)?;
        if let Some(rrn) = &query.rrn {
            self.by_rrn(rrn, &mut subjects)?;
        }
        let mut places = Vec::new();
        for id in subjects.movements {
            places.extend(self.places(id)?);
        }
        let records = self.records(reader, places)?;
        fold(Finder::new(*query), &records)
    }

    /// The records at these places as far as the journal still holds them, and the starts among them, in their order.
    pub(crate) fn records<S: Storage>(
        &self,
        reader: &Reader<S>,
        mut places: Vec<(Lsn, Position)>,
    ) -> Result<Vec<(Lsn, Entry)>, Error> {
        places.sort_unstable();
        let mut records = read(reader, &mut places)?;
        if let Some((first, _)) = records.first() {
            records.extend(self.starts(*first)?);
        }
        records.sort_by_key(|(lsn, _)| *lsn);
        Ok(records)
    }

    /// The sealed segments, from the oldest on, that hold nothing younger than `before_wall_ms` and no beginning of a
    /// movement that is as new as `oldest_open`, and that this index covers: the record after the last of them.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Entry`].
    pub(crate) fn too_old(
        &self,
        sealed: &[SealedSegment],
        covered: Lsn,
        before_wall_ms: u64,
        oldest_open: Option<MovementId>,
    ) -> Result<Vec<SealedSegment>, Error> {
        let mut old = Vec::new();
        for segment in sealed.iter().take_while(|segment| segment.last < covered) {
            let Some(facts) = self.facts(segment.number)? else { break };
            let needed = oldest_open.is_some_and(|open| facts.newest_movement >= open.0);
            if needed || facts.newest_wall_ms >= before_wall_ms {
                break;
            }
            old.push(*segment);
        }
        Ok(old)
    }

    /// Drops the entries of a segment that is about to be retired; `mark` is how far the index has come.
    ///
    /// # Errors
    /// [`Error`]; what was dropped until then stays dropped.
    pub(crate) fn drop_segment<S: Storage>(
        &self,
        reader: &Reader<S>,
        segment: &SealedSegment,
        mark: &mut Mark,
    ) -> Result<(), Error> {
        let (mut key, mut value) = (Bytes::default(), Bytes::default());
        let mut batch = Batch::default();
        let mut failed = None;
        let place = Position { segment: segment.number, offset: 0 };
        reader.for_each(segment.first, segment.last, |lsn, payload| {
            let removed = Entry::decode(payload).map_err(|source| Error::Record { lsn, source }).and_then(|entry| {
                entries::of_record(lsn, place, payload, &entry, (&mut key, &mut value), &mut |key, _| batch.remove(key));
                if batch.changes().len() >= REMOVALS {
                    contained(|| self.engine.apply(&batch))?;
                    batch.clear();
                }
                Ok(())
            });
            match removed {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        batch.remove(key.begin(kind::SEGMENT).number(segment.number).as_slice());
        let dropped = Mark { kept_from: segment.last.next(), ..*mark };
        dropped.put(&mut value);
        batch.put(kind::MARK, value.as_slice());
        contained(|| self.engine.apply(&batch))?;
        *mark = dropped;
        Ok(())
    }
}

/// What a look-up came upon.
#[derive(Debug, Default)]
pub(crate) struct Subjects {
    pub(crate) movements: BTreeSet<MovementId>,
    pub(crate) alone: BTreeSet<(Lsn, Position)>,
}

impl Subjects {
    fn add(&mut self, found: Vec<(u64, Subject)>) {
        for (lsn, subject) in found {
            match subject {
                Subject::Movement(id) => {
                    self.movements.insert(id);
                }
                Subject::Alone(place) => {
                    self.alone.insert((Lsn(lsn), place));
                }
            }
        }
    }
}

/// Reads the records at these places, which are in order; those that the journal retired are left out.
pub(crate) fn read<S: Storage>(reader: &Reader<S>, places: &mut Vec<(Lsn, Position)>) -> Result<Vec<(Lsn, Entry)>, Error> {
    loop {
        let oldest = reader.oldest();
        places.retain(|(lsn, _)| *lsn >= oldest);
        let (mut records, mut failed) = (Vec::with_capacity(places.len()), None);
        let read = reader.read_at(places, |lsn, payload| match Entry::decode(payload) {
            Ok(entry) => records.push((lsn, entry)),
            Err(source) => failed = Some(Error::Record { lsn, source }),
        });
        match read {
            // A segment was retired between the two.
            Err(ReadError::Retired { .. }) => continue,
            other => other?,
        }
        return failed.map_or(Ok(records), Err);
    }
}

/// What records make of the movements in them.
pub(crate) fn fold(mut finder: Finder, records: &[(Lsn, Entry)]) -> Result<Vec<Movement>, Error> {
    for (lsn, entry) in records {
        finder.take(switch::Lsn(lsn.0), entry).map_err(|source| Error::Record { lsn: *lsn, source })?;
    }
    Ok(finder.finish())
}

/// Collects the entries of records that follow each other, for one batch after another.
#[derive(Debug)]
pub struct Filler {
    batch: Batch,
    mark: Mark,
    facts: Facts,
    records: usize,
    key: Bytes,
    value: Bytes,
}

impl Filler {
    /// Goes on where the index stands; `None` begins with `from`, the oldest record of this journal.
    ///
    /// # Errors
    /// [`Error::Engine`], [`Error::Entry`].
    pub fn new(index: &Index, journal: [u8; 16], from: Lsn) -> Result<Filler, Error> {
        let begin = Mark {
            journal,
            lsn: Lsn(from.0.saturating_sub(1)),
            place: Position { segment: 0, offset: 0 },
            crc: 0,
            kept_from: from,
        };
        let mark = index.mark()?.unwrap_or(begin);
        let facts = index.facts(mark.place.segment)?.unwrap_or_default();
        Ok(Filler { batch: Batch::default(), mark, facts, records: 0, key: Bytes::default(), value: Bytes::default() })
    }

    /// The mark that the next [`Filler::apply`] writes.
    #[must_use]
    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Records that wait to be applied.
    #[must_use]
    pub fn records(&self) -> usize {
        self.records
    }

    /// Bytes of entries that wait to be applied.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batch.bytes()
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// [`Error::Record`].
    pub fn add(&mut self, lsn: Lsn, place: Position, payload: &[u8]) -> Result<(), Error> {
        assert_eq!(lsn, self.mark.lsn.next(), "records come in order, each once");
        let entry = Entry::decode(payload).map_err(|source| Error::Record { lsn, source })?;
        if place.segment != self.mark.place.segment {
            self.put_facts();
            self.facts = Facts::default();
        }
        let (batch, buffers) = (&mut self.batch, (&mut self.key, &mut self.value));
        entries::of_record(lsn, place, payload, &entry, buffers, &mut |key, value| batch.put(key, value));
        self.facts.last_lsn = lsn.0;
        self.facts.newest_wall_ms = self.facts.newest_wall_ms.max(entry.wall_ms);
        if let switch::Record::Intent { movement } | switch::Record::Recalled { movement } = &entry.record {
            self.facts.newest_movement = self.facts.newest_movement.max(movement.id.0);
        }
        self.mark = Mark { lsn, place, crc: crc32c::crc32c(payload), ..self.mark };
        self.records += 1;
        Ok(())
    }

    fn put_facts(&mut self) {
        if self.facts != Facts::default() {
            self.facts.put(&mut self.value);
            let key = self.key.begin(kind::SEGMENT).number(self.mark.place.segment);
            self.batch.put(key.as_slice(), self.value.as_slice());
        }
    }

    /// Applies what was taken, with its mark, as one.
    ///
    /// # Errors
    /// [`Error::Engine`]; the index has to be opened again, or built again.
    pub fn apply(&mut self, index: &Index) -> Result<(), Error> {
        if self.records == 0 {
            return Ok(());
        }
        self.put_facts();
        self.mark.put(&mut self.value);
        self.batch.put(kind::MARK, self.value.as_slice());
        contained(|| index.engine.apply(&self.batch))?;
        self.batch.clear();
        self.records = 0;
        Ok(())
    }

    /// Drops the entries of a segment that is about to be retired. Nothing may wait to be applied.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) fn drop_segment<S: Storage>(
        &mut self,
        index: &Index,
        reader: &Reader<S>,
        segment: &SealedSegment,
    ) -> Result<(), Error> {
        assert_eq!(self.records, 0, "the mark on disk is the one in memory");
        index.drop_segment(reader, segment, &mut self.mark)
    }
}
