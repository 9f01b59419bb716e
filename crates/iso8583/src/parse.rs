//! From bytes to offsets: a message is judged whole, by the dialect's table, before anything of it
//! is used, and nothing is copied or allocated.
//!
//! A [`Layout`] says where each field is; a [`Message`] is that layout over its bytes. Values leave
//! here only as canonical [`Fields`]. Invariant: a span in a layout lies inside the bytes it was made
//! from and holds what its row allows; no input panics.

use core::fmt;
use core::ops::Range;

use crate::content::{first, from_hex, is_packed_digits, is_packed_track, unpack};
use crate::fields::{Fields, bit};
use crate::table::{Content, Dialect, Encoding, Length, Pad, Prefix, Row, Unit};
use crate::types::Mti;

/// The longest message: what a 2-byte length can announce.
pub const MAX_MESSAGE: usize = u16::MAX as usize;

/// Part of a message that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldNo {
    /// Message type indicator.
    Mti,
    /// Primary or secondary bitmap.
    Bitmap,
    /// Data element 2 to 128.
    De(u8),
    /// The message as a whole: too long, or bytes after its last field.
    Message,
}

impl fmt::Display for FieldNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mti => f.write_str("MTI"),
            Self::Bitmap => f.write_str("bitmap"),
            Self::De(de) => write!(f, "field {de}"),
            Self::Message => f.write_str("message"),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Digits => "digits",
            Self::Characters => "characters",
            Self::Bytes => "bytes",
        })
    }
}

/// What was expected and not found. Counts only, never bytes of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// The message ends inside the value.
    Short {
        /// Length of the whole value.
        need: usize,
        /// What both numbers count.
        unit: Unit,
        /// What is left of the message.
        have: usize,
    },
    /// The message ends inside the length prefix.
    ShortLength {
        /// Digits of the prefix.
        need: usize,
        /// Digits that are left of the message.
        have: usize,
    },
    /// The length prefix is not decimal.
    LengthNotDecimal {
        /// Digits of the prefix.
        need: usize,
    },
    /// The length is outside the row's limits.
    LengthOutside {
        /// Shortest value.
        minimum: usize,
        /// Longest value.
        maximum: usize,
        /// What the numbers count.
        unit: Unit,
        /// What the prefix says.
        have: usize,
    },
    /// Hex text of an odd length.
    LengthOdd {
        /// What the prefix says.
        have: usize,
    },
    /// A byte that the content class does not allow, at the offset.
    Content {
        /// What the value may consist of.
        expected: &'static str,
    },
    /// The nibble that fills up an odd number of digits is not the filler.
    Filler {
        /// The filler as a hex digit.
        expected: char,
    },
    /// Bit 65 announces a third bitmap; there are only two.
    ThirdBitmap,
    /// Bytes after the last field.
    Trailing {
        /// How many.
        have: usize,
    },
    /// More than [`MAX_MESSAGE`] bytes.
    TooLong {
        /// How many.
        have: usize,
    },
}

/// Why a message was refused: which field, where, and what was expected there.
///
/// The layout that was given to [`Dialect::parse`] still holds the fields before the wrong one:
/// see [`Dialect::partial`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub struct ParseError {
    /// The part of the message.
    pub field: FieldNo,
    /// Offset into the message in bytes: of the value or prefix, for content of the wrong byte.
    pub offset: usize,
    /// What was expected.
    pub problem: Problem,
    /// The message type, if it could be read; then [`Dialect::partial`] gives what else could.
    pub mti: Option<Mti>,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, offset, problem, mti: _ } = self;
        match problem {
            Problem::Short { need, unit, have } => {
                write!(f, "{field}: need {need} {unit} at offset {offset}, have {have}")
            }
            Problem::ShortLength { need, have } => {
                write!(f, "{field} length: need {need} digits at offset {offset}, have {have}")
            }
            Problem::LengthNotDecimal { need } => {
                write!(f, "{field} length: need {need} decimal digits at offset {offset}, have another byte")
            }
            Problem::LengthOutside { minimum, maximum, unit, have } => {
                write!(f, "{field} length: need {minimum} to {maximum} {unit} at offset {offset}, have {have}")
            }
            Problem::LengthOdd { have } => {
                write!(f, "{field} length: need an even number of hex characters at offset {offset}, have {have}")
            }
            Problem::Content { expected } => {
                write!(f, "{field}: need {expected} at offset {offset}, have another byte")
            }
            Problem::Filler { expected } => {
                write!(f, "{field}: need filler {expected} at offset {offset}, have another nibble")
            }
            Problem::ThirdBitmap => {
                write!(f, "{field}: need bit 65 clear at offset {offset}, have it set: there is no third bitmap")
            }
            Problem::Trailing { have } => {
                write!(f, "{field}: need its end at offset {offset}, have {have} bytes more")
            }
            Problem::TooLong { have } => {
                write!(f, "{field}: need at most {MAX_MESSAGE} bytes, have {have}")
            }
        }
    }
}

/// Where a value stands: its first byte, and its length in the units of its row.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u16,
    units: u16,
}

/// Where the fields of one message are. Reusable; holds no byte of the message.
#[derive(Debug)]
pub struct Layout {
    mti: Option<Mti>,
    /// Bit `n - 1` is set when data element `n` was read.
    present: u128,
    /// Spans of DE 2 to 128; only those of present fields mean anything.
    spans: [Span; 127],
}

impl Layout {
    /// A layout of nothing.
    pub const fn new() -> Self {
        Self { mti: None, present: 0, spans: [Span { start: 0, units: 0 }; 127] }
    }
}

impl Default for Layout {
    fn default() -> Self {
        Self::new()
    }
}

/// A message in its bytes.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    dialect: &'static Dialect,
    bytes: &'a [u8],
    layout: &'a Layout,
    mti: Mti,
}

impl Dialect {
    /// Reads and judges a whole message, without its frame.
    ///
    /// # Errors
    /// [`ParseError`] names the first field that is not as the table says.
    pub fn parse<'a>(&'static self, bytes: &'a [u8], layout: &'a mut Layout) -> Result<Message<'a>, ParseError> {
        layout.mti = None;
        layout.present = 0;
        match self.read(bytes, layout) {
            Ok(mti) => Ok(Message { dialect: self, bytes, layout, mti }),
            Err(wrong) => Err(wrong.into_error(layout.mti)),
        }
    }

    /// What could be read of a message that [`Dialect::parse`] refused: the fields before the wrong
    /// one. For the answer 30 only. `None` if the MTI could not be read, or if the layout is not
    /// that of these bytes.
    pub fn partial<'a>(&'static self, bytes: &'a [u8], layout: &'a Layout) -> Option<Message<'a>> {
        let message = Message { dialect: self, bytes, layout, mti: layout.mti? };
        let inside = ones(layout.present).all(|de| message.value(de).is_some());
        inside.then_some(message)
    }

    fn read(&self, bytes: &[u8], layout: &mut Layout) -> Result<Mti, Wrong> {
        if bytes.len() > MAX_MESSAGE {
            let problem = Problem::TooLong { have: bytes.len() };
            return Err(Wrong { field: FieldNo::Message, offset: MAX_MESSAGE, problem });
        }
        let mut reader = Reader { bytes, at: 0 };
        let mti = reader.mti(self.mti)?;
        layout.mti = Some(mti);
        let announced = reader.bitmaps(self.bitmap)?;
        for de in ones(announced) {
            // Bits 1 and 65 are not among them, so the index is 0 to 126.
            let index = usize::from(de) - 2;
            match reader.field(de, &self.rows[index]) {
                Ok(span) => layout.spans[index] = span,
                Err(wrong) => {
                    layout.present = announced & (bit(de) - 1);
                    return Err(wrong);
                }
            }
        }
        layout.present = announced;
        let have = bytes.len() - reader.at;
        if have > 0 {
            let problem = Problem::Trailing { have };
            return Err(Wrong { field: FieldNo::Message, offset: reader.at, problem });
        }
        Ok(mti)
    }
}

impl<'a> Message<'a> {
    /// The message type.
    pub const fn mti(&self) -> Mti {
        self.mti
    }

    /// True if the data element is present, be it empty.
    pub const fn has(&self, de: u8) -> bool {
        self.layout.present & bit(de) != 0
    }

    /// Where the value of a data element stands in the message, without its length prefix, as the
    /// dialect encodes it.
    pub fn span(&self, de: u8) -> Option<Range<usize>> {
        if !self.has(de) {
            return None;
        }
        let (range, ..) = self.located(de)?;
        Some(range)
    }

    /// Replaces the content of `fields` by this message in canonical form.
    ///
    /// Allocates only when the buffer of `fields` has not yet grown to the size of such messages.
    pub fn fields_into(&self, fields: &mut Fields) {
        fields.clear(self.mti);
        for de in ones(self.layout.present) {
            if let Some((value, row, units)) = self.value(de) {
                decode(value, row, units, de, fields);
            }
        }
    }

    /// The bytes of a present field, its row, and its length in the row's units.
    fn value(&self, de: u8) -> Option<(&'a [u8], &'static Row, usize)> {
        let (range, row, units) = self.located(de)?;
        Some((self.bytes.get(range)?, row, units))
    }

    /// Where a present field is.
    fn located(&self, de: u8) -> Option<(Range<usize>, &'static Row, usize)> {
        let index = usize::from(de).checked_sub(2)?;
        let span = self.layout.spans.get(index)?;
        let row = self.dialect.rows.get(index)?;
        let (start, units) = (usize::from(span.start), usize::from(span.units));
        Some((start..start + row.wire_len(units), row, units))
    }
}

/// Masked, as everything that prints a message without being asked for it in clear.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({}, {} bytes of {})", self.mti, self.bytes.len(), self.dialect.name)
    }
}

/// Sets a field to the canonical form of a value that was judged by its row.
fn decode(value: &[u8], row: &Row, units: usize, de: u8, fields: &mut Fields) {
    match row.encoding {
        Encoding::HexText => from_hex(value, fields.allocate(de, units / 2)),
        Encoding::Raw => fields.set(de, value),
        // Some terminals send the separator of packed track data as a letter.
        Encoding::Ascii if row.content == Content::Z => {
            let text = fields.allocate(de, units);
            for (from, to) in value.iter().zip(text) {
                *to = if *from == b'D' { b'=' } else { *from };
            }
        }
        Encoding::Ascii => fields.set(de, value),
        Encoding::Bcd => match (row.content, value, fields.allocate(de, units)) {
            (Content::Xn, [sign, packed @ ..], [first, digits @ ..]) => {
                *first = *sign;
                unpack(packed, row.pad, digits);
            }
            (_, packed, digits) => unpack(packed, row.pad, digits),
        },
    }
}

/// The set bits, lowest first, as data elements: bit `n - 1` is `n`.
pub(crate) fn ones(mut bits: u128) -> impl Iterator<Item = u8> {
    core::iter::from_fn(move || {
        if bits == 0 {
            return None;
        }
        // At most 127, plus 1.
        let de = bits.trailing_zeros() as u8 + 1;
        bits &= bits - 1;
        Some(de)
    })
}

/// A [`ParseError`] before it is known how far the message was readable.
struct Wrong {
    field: FieldNo,
    offset: usize,
    problem: Problem,
}

impl Wrong {
    #[cold]
    fn into_error(self, mti: Option<Mti>) -> ParseError {
        ParseError { field: self.field, offset: self.offset, problem: self.problem, mti }
    }
}

/// The bytes and how far they are read.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at + count;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn mti(&mut self, encoding: Encoding) -> Result<Mti, Wrong> {
        let wrong = |offset, problem| Wrong { field: FieldNo::Mti, offset, problem };
        let packed = encoding == Encoding::Bcd;
        let have = self.left() * if packed { 2 } else { 1 };
        let bytes =
            self.take(if packed { 2 } else { 4 }).ok_or(wrong(0, Problem::Short { need: 4, unit: Unit::Digits, have }))?;
        let mut digits = [0; 4];
        let not_digit = if packed {
            unpack(bytes, Pad::Left, &mut digits);
            first(bytes, is_packed_digits)
        } else {
            digits.copy_from_slice(bytes);
            first(bytes, |b| b.is_ascii_digit())
        };
        let content = Problem::Content { expected: Content::N.expected() };
        match not_digit {
            Some(offset) => Err(wrong(offset, content)),
            None => Mti::try_from(&digits[..]).map_err(|_| wrong(0, content)),
        }
    }

    /// Both bitmaps as bits `n - 1` for data element `n`, without bit 1.
    fn bitmaps(&mut self, encoding: Encoding) -> Result<u128, Wrong> {
        let primary = self.bitmap(encoding)?;
        if primary & 1 == 0 {
            return Ok(primary.into());
        }
        let offset = self.at;
        let secondary = self.bitmap(encoding)?;
        if secondary & 1 != 0 {
            let problem = Problem::ThirdBitmap;
            return Err(Wrong { field: FieldNo::Bitmap, offset, problem });
        }
        Ok(u128::from(secondary) << 64 | u128::from(primary & !1))
    }

    /// One bitmap; its first bit, the most significant on the wire, is bit 0 here.
    fn bitmap(&mut self, encoding: Encoding) -> Result<u64, Wrong> {
        let offset = self.at;
        let wrong = |offset, problem| Wrong { field: FieldNo::Bitmap, offset, problem };
        let hex = encoding == Encoding::HexText;
        let (need, unit) = if hex { (16, Unit::Characters) } else { (8, Unit::Bytes) };
        let have = self.left();
        let taken = self.take(need).ok_or(wrong(offset, Problem::Short { need, unit, have }))?;
        let mut bits = [0; 8];
        if hex {
            if let Some(at) = first(taken, |b| b.is_ascii_hexdigit()) {
                let expected = Content::B.expected();
                return Err(wrong(offset + at, Problem::Content { expected }));
            }
            from_hex(taken, &mut bits);
        } else {
            bits.copy_from_slice(taken);
        }
        Ok(u64::from_be_bytes(bits).reverse_bits())
    }

    fn field(&mut self, de: u8, row: &Row) -> Result<Span, Wrong> {
        let wrong = |offset, problem| Wrong { field: FieldNo::De(de), offset, problem };
        let units = match row.length {
            Length::Fixed => usize::from(row.maximum),
            Length::Ll(prefix) => self.length(de, row, prefix, 2)?,
            Length::Lll(prefix) => self.length(de, row, prefix, 3)?,
        };
        let start = self.at;
        let left = self.left();
        let Some(value) = self.take(row.wire_len(units)) else {
            let have = match row.encoding {
                Encoding::Bcd => left * 2,
                Encoding::Ascii | Encoding::Raw | Encoding::HexText => left,
            };
            return Err(wrong(start, Problem::Short { need: units, unit: row.unit, have }));
        };
        match judge(value, row, units) {
            // Bounded by `MAX_MESSAGE` and by a row's maximum.
            Ok(()) => Ok(Span { start: start as u16, units: units as u16 }),
            Err((at, problem)) => Err(wrong(start + at, problem)),
        }
    }

    /// Reads and judges a length prefix.
    fn length(&mut self, de: u8, row: &Row, prefix: Prefix, digits: usize) -> Result<usize, Wrong> {
        let offset = self.at;
        let wrong = |offset, problem| Wrong { field: FieldNo::De(de), offset, problem };
        let packed = prefix == Prefix::Bcd;
        let have = self.left() * if packed { 2 } else { 1 };
        let bytes = self
            .take(if packed { digits.div_ceil(2) } else { digits })
            .ok_or(wrong(offset, Problem::ShortLength { need: digits, have }))?;
        let not_decimal = if packed { first(bytes, is_packed_digits) } else { first(bytes, |b| b.is_ascii_digit()) };
        if let Some(at) = not_decimal {
            return Err(wrong(offset + at, Problem::LengthNotDecimal { need: digits }));
        }
        let have = bytes
            .iter()
            .map(|b| usize::from(*b))
            .fold(0, |n, b| if packed { n * 100 + (b >> 4) * 10 + (b & 0xF) } else { n * 10 + (b & 0xF) });
        let (minimum, maximum) = (usize::from(row.minimum), usize::from(row.maximum));
        if !(minimum..=maximum).contains(&have) {
            let problem = Problem::LengthOutside { minimum, maximum, unit: row.unit, have };
            return Err(wrong(offset, problem));
        }
        if row.encoding == Encoding::HexText && have % 2 == 1 {
            return Err(wrong(offset, Problem::LengthOdd { have }));
        }
        Ok(have)
    }
}

/// Judges a value on the wire; the index of the wrong byte otherwise.
fn judge(value: &[u8], row: &Row, units: usize) -> Result<(), (usize, Problem)> {
    let at = match row.encoding {
        Encoding::Raw => None,
        Encoding::HexText => first(value, |b| b.is_ascii_hexdigit()),
        Encoding::Ascii => match row.content {
            Content::Z => first(value, |b| b.is_ascii_digit() || b == b'=' || b == b'D'),
            Content::N | Content::A | Content::An | Content::Ans | Content::B | Content::Xn => {
                row.content.first_wrong(value)
            }
        },
        Encoding::Bcd => return judge_packed(value, row, units),
    };
    match at {
        None => Ok(()),
        Some(at) => Err((at, Problem::Content { expected: row.content.expected() })),
    }
}

/// The byte that an odd digit shares with the filler is judged by itself, in its place.
fn judge_packed(value: &[u8], row: &Row, units: usize) -> Result<(), (usize, Problem)> {
    if row.content == Content::Xn {
        return match value {
            [b'C' | b'D', digits @ ..] => judge_pairs(digits, row, 1),
            [..] => Err((0, content_problem(row))),
        };
    }
    if units.is_multiple_of(2) {
        return judge_pairs(value, row, 0);
    }
    match (row.pad, value) {
        (Pad::Left, [shared, pairs @ ..]) => {
            judge_shared(shared & 0xF, shared >> 4, row, 0)?;
            judge_pairs(pairs, row, 1)
        }
        (Pad::Right, [pairs @ .., shared]) => {
            judge_pairs(pairs, row, 0)?;
            judge_shared(shared >> 4, shared & 0xF, row, pairs.len())
        }
        (Pad::Left | Pad::Right, []) => Ok(()),
    }
}

/// Judges packed bytes that stand `at` bytes into the value.
fn judge_pairs(pairs: &[u8], row: &Row, at: usize) -> Result<(), (usize, Problem)> {
    let wrong = if row.content == Content::Z { first(pairs, is_packed_track) } else { first(pairs, is_packed_digits) };
    wrong.map_or(Ok(()), |i| Err((at + i, content_problem(row))))
}

fn judge_shared(digit: u8, filler: u8, row: &Row, at: usize) -> Result<(), (usize, Problem)> {
    judge_pairs(&[digit], row, at)?;
    if filler != row.filler_nibble() {
        return Err((at, Problem::Filler { expected: char::from(row.filler) }));
    }
    Ok(())
}

fn content_problem(row: &Row) -> Problem {
    Problem::Content { expected: row.content.expected() }
}
