//! From canonical fields to bytes, judged by the same table as parsing.
//!
//! Writes into a buffer that is used again and again; allocates nothing once that has grown to the
//! size of the messages. Invariant: what is written here parses, and to the same fields.

use alloc::vec::Vec;
use core::fmt;

use crate::content::{pack, to_hex};
use crate::fields::Fields;
use crate::parse::FieldNo;
use crate::table::{Content, Dialect, Encoding, Length, Pad, Prefix, Row, Unit};

/// Why a field cannot be written. Counts only, never bytes of the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unwritable {
    /// The value is shorter or longer than the row allows.
    Length {
        /// Shortest value.
        minimum: usize,
        /// Longest value.
        maximum: usize,
        /// What the numbers count.
        unit: Unit,
        /// The value's length.
        have: usize,
    },
    /// A byte that the content class does not allow.
    Content {
        /// What the value may consist of.
        expected: &'static str,
    },
    /// DE65 would be a third bitmap.
    ThirdBitmap,
}

/// Why a message cannot be written in this dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct AssembleError {
    /// The part of the message.
    pub field: FieldNo,
    /// What it needs.
    pub problem: Unwritable,
}

impl fmt::Display for AssembleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, problem } = self;
        match problem {
            Unwritable::Length { minimum, maximum, unit, have } => {
                write!(f, "{field}: need {minimum} to {maximum} {unit}, have {have}")
            }
            Unwritable::Content { expected } => write!(f, "{field}: need {expected}"),
            Unwritable::ThirdBitmap => write!(f, "{field}: a third bitmap is not supported"),
        }
    }
}

impl Dialect {
    /// Replaces the content of `out` by the message, without a frame.
    ///
    /// A fixed numeric field that is shorter than its room is filled with zeros on the left, fixed
    /// text with spaces on the right. The caller wipes the buffer when it holds card data.
    ///
    /// # Errors
    /// [`AssembleError`] names the first field that the table does not allow; `out` is then empty.
    pub fn assemble(&self, fields: &Fields, out: &mut Vec<u8>) -> Result<(), AssembleError> {
        out.clear();
        let written = self.write(fields, out);
        if written.is_err() {
            out.clear();
        }
        written
    }

    fn write(&self, fields: &Fields, out: &mut Vec<u8>) -> Result<(), AssembleError> {
        self.write_mti(fields, out);
        self.write_bitmaps(fields.present(), out);
        for (de, value) in fields.iter() {
            let wrong = |problem| AssembleError { field: FieldNo::De(de), problem };
            match self.row(de) {
                Some(row) if de != 65 => write_field(value, row, out).map_err(wrong)?,
                Some(_) | None => return Err(wrong(Unwritable::ThirdBitmap)),
            }
        }
        Ok(())
    }

    fn write_mti(&self, fields: &Fields, out: &mut Vec<u8>) {
        let mti = fields.mti();
        let [a, b, c, d] = mti.as_bytes();
        match self.mti {
            Encoding::Bcd => out.extend_from_slice(&[a << 4 | b & 0xF, c << 4 | d & 0xF]),
            Encoding::Ascii | Encoding::Raw | Encoding::HexText => {
                out.extend_from_slice(mti.as_bytes());
            }
        }
    }

    fn write_bitmaps(&self, present: u128, out: &mut Vec<u8>) {
        // The lower half is DE 1 to 64, the upper one 65 to 128.
        let (primary, secondary) = (present as u64, (present >> 64) as u64);
        let mut both = [primary | u64::from(secondary != 0), secondary].into_iter();
        for bits in both.by_ref().take(if secondary == 0 { 1 } else { 2 }) {
            let bytes = bits.reverse_bits().to_be_bytes();
            if self.bitmap == Encoding::HexText {
                to_hex(&bytes, grow(out, 16));
            } else {
                out.extend_from_slice(&bytes);
            }
        }
    }
}

/// Appends room for `count` bytes.
fn grow(out: &mut Vec<u8>, count: usize) -> &mut [u8] {
    let start = out.len();
    out.resize(start + count, 0);
    &mut out[start..]
}

fn write_field(value: &[u8], row: &Row, out: &mut Vec<u8>) -> Result<(), Unwritable> {
    let have = match row.encoding {
        Encoding::HexText => value.len() * 2,
        Encoding::Ascii | Encoding::Bcd | Encoding::Raw => value.len(),
    };
    let (minimum, maximum) = (usize::from(row.minimum), usize::from(row.maximum));
    if !(minimum..=maximum).contains(&have) {
        return Err(Unwritable::Length { minimum, maximum, unit: row.unit, have });
    }
    if row.content.first_wrong(value).is_some() {
        return Err(Unwritable::Content { expected: row.content.expected() });
    }
    let units = match row.length {
        Length::Fixed => maximum,
        Length::Ll(prefix) => write_length(have, prefix, 2, out),
        Length::Lll(prefix) => write_length(have, prefix, 3, out),
    };
    let room = row.wire_len(units);
    match (row.encoding, row.content, value) {
        (Encoding::Bcd, Content::Xn, [sign, digits @ ..]) => {
            out.push(*sign);
            pack(digits, row, room - 1, out);
        }
        (Encoding::Bcd, _, digits) => pack(digits, row, room, out),
        (Encoding::HexText, _, bytes) => to_hex(bytes, grow(out, room)),
        (Encoding::Ascii | Encoding::Raw, _, value) => {
            let fill = room - value.len();
            if row.pad == Pad::Left {
                out.extend(core::iter::repeat_n(row.filler, fill));
            }
            out.extend_from_slice(value);
            if row.pad == Pad::Right {
                out.extend(core::iter::repeat_n(row.filler, fill));
            }
        }
    }
    Ok(())
}

/// Writes a length prefix and gives the length back.
fn write_length(length: usize, prefix: Prefix, digits: usize, out: &mut Vec<u8>) -> usize {
    // A row's maximum has no more digits than its prefix, so each of these is 0 to 9.
    let [a, b, c] = [length / 100, length / 10 % 10, length % 10].map(|digit| digit as u8);
    let wide = digits == 3;
    match prefix {
        Prefix::Ascii if wide => out.extend_from_slice(&[b'0' | a, b'0' | b, b'0' | c]),
        Prefix::Ascii => out.extend_from_slice(&[b'0' | b, b'0' | c]),
        Prefix::Bcd if wide => out.extend_from_slice(&[a, b << 4 | c]),
        Prefix::Bcd => out.push(b << 4 | c),
    }
    length
}
