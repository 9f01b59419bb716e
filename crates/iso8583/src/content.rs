//! What a value may consist of, and packed digits and hex as text: the inner loops of parsing and
//! assembly. Invariant: what `pack` and `to_hex` write, `unpack` and `from_hex` read back.

use crate::table::{Content, Pad, Row};

impl Content {
    /// For error messages.
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::N => "digits",
            Self::A => "letters or spaces",
            Self::An => "letters, digits or spaces",
            Self::Ans => "printable ASCII",
            Self::Z => "digits and the separator",
            Self::B => "hex characters",
            Self::Xn => "C or D, then digits",
        }
    }

    /// Index of the first byte of a canonical value that the class does not allow.
    pub(crate) fn first_wrong(self, value: &[u8]) -> Option<usize> {
        match self {
            Self::N => first(value, |b| b.is_ascii_digit()),
            Self::A => first(value, |b| b.is_ascii_alphabetic() || b == b' '),
            Self::An => first(value, |b| b.is_ascii_alphanumeric() || b == b' '),
            Self::Ans => first(value, |b| matches!(b, b' '..=b'~')),
            Self::Z => first(value, |b| b.is_ascii_digit() || b == b'='),
            Self::B => None,
            Self::Xn => match value {
                [b'C' | b'D', digits @ ..] => Self::N.first_wrong(digits).map(|i| i + 1),
                [..] => Some(0),
            },
        }
    }
}

/// Index of the first byte that is not allowed. Judges all bytes before it looks for the one: values
/// are right nearly always, and a loop without an exit runs many bytes at a time.
pub(crate) fn first(bytes: &[u8], allowed: impl Fn(u8) -> bool) -> Option<usize> {
    if bytes.iter().fold(true, |all, b| all & allowed(*b)) {
        return None;
    }
    bytes.iter().position(|b| !allowed(*b))
}

/// Both nibbles are digits.
pub(crate) const fn is_packed_digits(byte: u8) -> bool {
    byte <= 0x99 && byte & 0xF <= 9
}

/// A nibble of track data: a digit or the separator D.
const fn is_track_nibble(nibble: u8) -> bool {
    nibble <= 9 || nibble == 0xD
}

/// Both nibbles are track data.
pub(crate) const fn is_packed_track(byte: u8) -> bool {
    is_track_nibble(byte >> 4) && is_track_nibble(byte & 0xF)
}

/// Packs a checked value into its room; the filler takes what the value leaves.
///
/// A digit is 0x30 to 0x39 and the separator `=` is 0x3D, so the low nibble is the packed form.
pub(crate) fn pack(value: &[u8], row: &Row, room: &mut [u8]) {
    let filler = row.filler_nibble();
    room.fill(filler << 4 | filler);
    let value_bytes = value.len().div_ceil(2).min(room.len());
    let filled = room.len() - value_bytes;
    match row.pad {
        Pad::Left => {
            let (odd, pairs) = value.split_at(value.len() % 2);
            let room = &mut room[filled..];
            let (first, room) = room.split_at_mut(odd.len());
            if let ([digit], [byte]) = (odd, first) {
                *byte = filler << 4 | digit & 0xF;
            }
            pack_pairs(pairs, room);
        }
        Pad::Right => {
            let (pairs, odd) = value.split_at(value.len() & !1);
            pack_pairs(pairs, room);
            if let ([digit], Some(byte)) = (odd, room.get_mut(pairs.len() / 2)) {
                *byte = digit << 4 | filler;
            }
        }
    }
}

fn pack_pairs(pairs: &[u8], room: &mut [u8]) {
    for (pair, byte) in pairs.chunks_exact(2).zip(room) {
        *byte = pair[0] << 4 | pair[1] & 0xF;
    }
}

/// The digits (and separators) of checked packed bytes; the filler nibble of an odd number is left out.
pub(crate) fn unpack(packed: &[u8], pad: Pad, text: &mut [u8]) {
    let skip = match pad {
        Pad::Left => text.len() % 2,
        Pad::Right => 0,
    };
    let nibbles = packed.iter().flat_map(|byte| [byte >> 4, byte & 0xF]);
    for (nibble, character) in nibbles.skip(skip).zip(text) {
        *character = b'0' | nibble;
    }
}

/// Value of a checked hex character.
const fn hex_nibble(character: u8) -> u8 {
    // Letters have bit 6 set, and A is 0x41: its low nibble is nine less than its value.
    (character & 0xF) + 9 * (character >> 6)
}

/// The bytes of checked hex text.
pub(crate) fn from_hex(text: &[u8], bytes: &mut [u8]) {
    for (pair, byte) in text.chunks_exact(2).zip(bytes) {
        *byte = hex_nibble(pair[0]) << 4 | hex_nibble(pair[1]);
    }
}

/// Upper-case hex text.
pub(crate) fn to_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xF)];
    }
}
