//! Which entries a record makes: a pure function, so that they can be made again, and removed by the same function.
//!
//! ```text
//! 'K' DE41 (8) DE42 (15) STAN (4) begun (8) LSN (8)  -> subject     what a terminal's key names
//! 'T' DE41 (8) DE42 (15) begun (8) LSN (8)           -> subject     what a terminal did, by time
//! 'R' RRN (12) LSN (8)                               -> subject     either RRN of a movement
//! 'C' HMAC (16) begun (8) LSN (8)                    -> subject     what a card did, by time
//! 'M' movement (8) LSN (8)                           -> place       every record about a movement
//! 'X' LSN of an exception (8)                        -> LSN, place  the record that closed it
//! 'S' LSN (8)                                        -> record      a start of the process, whole
//! 'G' segment (8)                                    -> facts       what retention must know of a segment
//! 'V'                                                -> mark        how far this index has come
//!
//! subject     0, movement (8); or 1, place: a record that is about no movement (D11)
//! place       segment (8), offset of the group (8)
//! facts       last LSN (8), newest wall clock (8), newest movement (8)
//! mark        version (2), journal (16), LSN (8), its place, CRC32C of its payload (4), first LSN that is kept (8)
//! ```
//! Numbers in keys are big-endian, so that they sort; in values too. `begun` is the wall clock in milliseconds.

use iso8583::{Rrn, Stan, TerminalId};
use journal::{Lsn, Position};
use switch::{CardHmac, Entry, Movement, MovementId, Record};

/// Another layout of anything above is another version; an index of another version is built again.
pub(crate) const VERSION: u16 = 1;

/// Begins every key of a kind.
pub(crate) mod kind {
    pub(crate) const KEY: u8 = b'K';
    pub(crate) const TERMINAL: u8 = b'T';
    pub(crate) const RRN: u8 = b'R';
    pub(crate) const CARD: u8 = b'C';
    pub(crate) const MOVEMENT: u8 = b'M';
    pub(crate) const CLOSED: u8 = b'X';
    pub(crate) const START: u8 = b'S';
    pub(crate) const SEGMENT: u8 = b'G';
    pub(crate) const MARK: &[u8] = b"V";
}

/// A key or a value being made.
#[derive(Debug, Default)]
pub(crate) struct Bytes(Vec<u8>);

impl Bytes {
    /// Empties it and begins a key of this kind.
    pub(crate) fn begin(&mut self, kind: u8) -> &mut Self {
        self.0.clear();
        self.0.push(kind);
        self
    }

    /// Appends bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Appends a number.
    pub(crate) fn number(&mut self, number: u64) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }

    /// Appends DE41 and DE42.
    pub(crate) fn terminal(&mut self, terminal: &TerminalId) -> &mut Self {
        self.raw(terminal.terminal()).raw(terminal.merchant())
    }

    /// Appends DE11.
    pub(crate) fn stan(&mut self, stan: Stan) -> &mut Self {
        self.raw(&stan.get().to_be_bytes())
    }

    /// Appends a place.
    pub(crate) fn place(&mut self, place: Position) -> &mut Self {
        self.number(place.segment).number(place.offset)
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

/// Takes a number off the end of a key, or off the front of a value.
pub(crate) fn number_at(bytes: &[u8], at: usize) -> Option<u64> {
    let end = at.checked_add(8)?;
    bytes.get(at..end).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes)
}

/// The number that a key ends with.
pub(crate) fn last_number(key: &[u8]) -> Option<u64> {
    number_at(key, key.len().checked_sub(8)?)
}

/// A place in a value.
pub(crate) fn place_at(value: &[u8], at: usize) -> Option<Position> {
    Some(Position { segment: number_at(value, at)?, offset: number_at(value, at + 8)? })
}

/// What an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Movement(MovementId),
    /// A record that is about no movement.
    Alone(Position),
}

impl Subject {
    fn put(self, out: &mut Bytes) {
        out.0.clear();
        match self {
            Subject::Movement(id) => out.raw(&[0]).number(id.0),
            Subject::Alone(place) => out.raw(&[1]).place(place),
        };
    }

    pub(crate) fn read(value: &[u8]) -> Option<Subject> {
        match value.first()? {
            0 if value.len() == 9 => Some(Subject::Movement(MovementId(number_at(value, 1)?))),
            1 if value.len() == 17 => Some(Subject::Alone(place_at(value, 1)?)),
            _ => None,
        }
    }
}

/// Gives every entry of a record, key and value. `payload` is the record as the journal holds it.
pub(crate) fn of_record(
    lsn: Lsn,
    place: Position,
    payload: &[u8],
    entry: &Entry,
    (key, value): (&mut Bytes, &mut Bytes),
    each: &mut impl FnMut(&[u8], &[u8]),
) {
    if let Some(id) = entry.record.movement() {
        key.begin(kind::MOVEMENT).number(id.0).number(lsn.0);
        value.0.clear();
        value.place(place);
        each(key.as_slice(), value.as_slice());
    }
    match &entry.record {
        Record::Intent { movement } | Record::Recalled { movement } => of_movement(lsn, movement, (key, value), each),
        Record::Tombstone { terminal, stan, .. } | Record::Exception { terminal, stan, id: None, .. } => {
            Subject::Alone(place).put(value);
            of_terminal(lsn, terminal, *stan, entry.wall_ms, (key, value), each);
        }
        Record::ExceptionClosed { exception, .. } => {
            key.begin(kind::CLOSED).number(exception.0);
            value.0.clear();
            value.number(lsn.0).place(place);
            each(key.as_slice(), value.as_slice());
        }
        Record::Restarted { .. } => {
            key.begin(kind::START).number(lsn.0);
            each(key.as_slice(), payload);
        }
        Record::Exception { id: Some(_), .. }
        | Record::Answered { .. }
        | Record::NeverSent { .. }
        | Record::Delivery { .. }
        | Record::Obligation { .. }
        | Record::ReversalNumbered { .. }
        | Record::ReversalAnswered { .. }
        | Record::LateAnswer { .. }
        | Record::AnotherApproval { .. }
        | Record::Confirmed { .. }
        | Record::NeedsOperator { .. }
        | Record::Resolved { .. }
        | Record::ReversalSeen { .. }
        | Record::StanUsed { .. }
        | Record::Keys { .. }
        | Record::Marked { .. } => {}
    }
}

fn of_terminal(
    lsn: Lsn,
    terminal: &TerminalId,
    stan: Stan,
    wall_ms: u64,
    (key, value): (&mut Bytes, &Bytes),
    each: &mut impl FnMut(&[u8], &[u8]),
) {
    key.begin(kind::KEY).terminal(terminal).stan(stan).number(wall_ms).number(lsn.0);
    each(key.as_slice(), value.as_slice());
    key.begin(kind::TERMINAL).terminal(terminal).number(wall_ms).number(lsn.0);
    each(key.as_slice(), value.as_slice());
}

fn of_movement(lsn: Lsn, movement: &Movement, (key, value): (&mut Bytes, &mut Bytes), each: &mut impl FnMut(&[u8], &[u8])) {
    let begun = movement.begun_wall_ms;
    Subject::Movement(movement.id).put(value);
    of_terminal(lsn, &movement.key.terminal, movement.key.stan, begun, (key, value), each);
    for rrn in [Some(movement.rrn), movement.terminal_rrn].into_iter().flatten() {
        key.begin(kind::RRN).raw(Rrn::as_bytes(&rrn)).number(lsn.0);
        each(key.as_slice(), value.as_slice());
    }
    if let Some(CardHmac(hmac)) = movement.fingerprint.card {
        key.begin(kind::CARD).raw(&hmac).number(begun).number(lsn.0);
        each(key.as_slice(), value.as_slice());
    }
}

/// What retention must know of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) last_lsn: u64,
    /// The newest wall clock of its records, in milliseconds.
    pub(crate) newest_wall_ms: u64,
    /// The newest movement that began or was recalled in it; 0 when none did.
    pub(crate) newest_movement: u64,
}

impl Facts {
    pub(crate) fn put(&self, out: &mut Bytes) {
        out.0.clear();
        out.number(self.last_lsn).number(self.newest_wall_ms).number(self.newest_movement);
    }

    pub(crate) fn read(value: &[u8]) -> Option<Facts> {
        Some(Facts {
            last_lsn: number_at(value, 0)?,
            newest_wall_ms: number_at(value, 8)?,
            newest_movement: number_at(value, 16)?,
        })
    }
}

/// How far an index has come, and in which journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What [`journal::Reader::identity`] says.
    pub journal: [u8; 16],
    /// The last record that it covers; 0 when there is none.
    pub lsn: Lsn,
    /// Where that one lies.
    pub place: Position,
    /// CRC32C of its payload, by which a journal that went another way is told (a restored copy).
    pub crc: u32,
    /// The first record whose entries it keeps; those before were dropped.
    pub kept_from: Lsn,
}

impl Mark {
    pub(crate) fn put(&self, out: &mut Bytes) {
        out.0.clear();
        out.raw(&VERSION.to_be_bytes()).raw(&self.journal).number(self.lsn.0).place(self.place);
        out.raw(&self.crc.to_be_bytes()).number(self.kept_from.0);
    }

    pub(crate) fn read(value: &[u8]) -> Option<Mark> {
        if value.len() != 54 || value[..2] != VERSION.to_be_bytes() {
            return None;
        }
        Some(Mark {
            journal: value[2..18].try_into().ok()?,
            lsn: Lsn(number_at(value, 18)?),
            place: place_at(value, 26)?,
            crc: u32::from_be_bytes(value[42..46].try_into().ok()?),
            kept_from: Lsn(number_at(value, 46)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_written_and_others_are_not() {
        let mark = Mark {
            journal: *b"journal of tests",
            lsn: Lsn(77),
            place: Position { segment: 3, offset: 512 },
            crc: 0xdead_beef,
            kept_from: Lsn(5),
        };
        let mut out = Bytes::default();
        mark.put(&mut out);
        assert_eq!(Mark::read(out.as_slice()), Some(mark));
        let mut other = out.as_slice().to_vec();
        other[1] += 1;
        assert_eq!(Mark::read(&other), None, "another version");
        assert_eq!(Mark::read(&other[..53]), None);
        for subject in [Subject::Movement(MovementId(9)), Subject::Alone(mark.place)] {
            subject.put(&mut out);
            assert_eq!(Subject::read(out.as_slice()), Some(subject));
            assert_eq!(Subject::read(&out.as_slice()[1..]), None);
        }
        let facts = Facts { last_lsn: 1, newest_wall_ms: 2, newest_movement: 3 };
        facts.put(&mut out);
        assert_eq!(Facts::read(out.as_slice()), Some(facts));
        assert_eq!((Facts::read(b"short"), Subject::read(b""), last_number(b"short")), (None, None, None));
    }
}
