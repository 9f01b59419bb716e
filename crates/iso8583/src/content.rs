//! What a value may consist of, and packed digits and hex as text: the inner loops of parsing and
//! assembly. Invariant: what `pack` and `to_hex` write, `unpack` and `from_hex` read back.

use alloc::vec::Vec;

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
    #[inline(always)]
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
/// are right nearly always, and a block without an exit is judged at once.
#[inline(always)]
pub(crate) fn first(bytes: &[u8], allowed: impl Fn(u8) -> bool + Copy) -> Option<usize> {
    let all = match bytes.len() {
        0..4 => bytes.iter().all(|b| allowed(*b)),
        4..8 => both_ends::<4>(bytes, allowed),
        8..16 => both_ends::<8>(bytes, allowed),
        _ => {
            let (blocks, _) = bytes.as_chunks::<16>();
            blocks.iter().all(|block| whole(block, allowed)) & both_ends::<16>(bytes, allowed)
        }
    };
    if all { None } else { bytes.iter().position(|b| !allowed(*b)) }
}

/// Judges the first and the last `N` bytes; they may overlap.
#[inline(always)]
fn both_ends<const N: usize>(bytes: &[u8], allowed: impl Fn(u8) -> bool + Copy) -> bool {
    match (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) {
        (Some(first), Some(last)) => whole(first, allowed) & whole(last, allowed),
        (None, _) | (_, None) => bytes.iter().all(|b| allowed(*b)),
    }
}

/// Without an exit, and of a length known to the compiler: a few instructions for the whole block.
#[inline(always)]
fn whole<const N: usize>(block: &[u8; N], allowed: impl Fn(u8) -> bool) -> bool {
    block.iter().fold(true, |all, b| all & allowed(*b))
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

/// Appends a checked value in packed form, in a room of so many bytes; the filler takes what the value
/// leaves of it.
///
/// A digit is 0x30 to 0x39 and the separator `=` is 0x3D, so the low nibble is the packed form.
pub(crate) fn pack(value: &[u8], row: &Row, room: usize, out: &mut Vec<u8>) {
    let filler = row.filler_nibble();
    let filled = room.saturating_sub(value.len().div_ceil(2));
    let fill = core::iter::repeat_n(filler << 4 | filler, filled);
    match row.pad {
        Pad::Left => {
            let (odd, pairs) = value.split_at(value.len() % 2);
            out.extend(fill);
            out.extend(odd.iter().map(|digit| filler << 4 | digit & 0xF));
            out.extend(packed_pairs(pairs));
        }
        Pad::Right => {
            let (pairs, odd) = value.split_at(value.len() & !1);
            out.extend(packed_pairs(pairs));
            out.extend(odd.iter().map(|digit| digit << 4 | filler));
            out.extend(fill);
        }
    }
}

fn packed_pairs(pairs: &[u8]) -> impl Iterator<Item = u8> {
    let (pairs, _) = pairs.as_chunks::<2>();
    pairs.iter().map(|[high, low]| high << 4 | low & 0xF)
}

/// Writes the digits (and separators) of checked packed bytes; the filler nibble of an odd number is
/// left out.
pub(crate) fn unpack(packed: &[u8], pad: Pad, text: &mut [u8]) {
    let (packed, text) = match (pad, text.len() % 2, packed, text) {
        (Pad::Left, 1, [shared, packed @ ..], [digit, text @ ..]) => {
            *digit = b'0' | shared & 0xF;
            (packed, text)
        }
        (Pad::Right, 1, [packed @ .., shared], [text @ .., digit]) => {
            *digit = b'0' | shared >> 4;
            (packed, text)
        }
        (_, _, packed, text) => (packed, text),
    };
    let (pairs, _) = text.as_chunks_mut::<2>();
    for (byte, pair) in packed.iter().zip(pairs) {
        *pair = [b'0' | byte >> 4, b'0' | byte & 0xF];
    }
}

/// Value of a checked hex character.
const fn hex_nibble(character: u8) -> u8 {
    // Letters have bit 6 set, and A is 0x41: its low nibble is nine less than its value.
    (character & 0xF) + 9 * (character >> 6)
}

/// The bytes of checked hex text.
pub(crate) fn from_hex(text: &[u8], bytes: &mut [u8]) {
    let (pairs, _) = text.as_chunks::<2>();
    for ([high, low], byte) in pairs.iter().zip(bytes) {
        *byte = hex_nibble(*high) << 4 | hex_nibble(*low);
    }
}

/// Upper-case hex text.
pub(crate) fn to_hex(bytes: &[u8], text: &mut [u8]) {
    // Arithmetic, not a table: so that many bytes are done at a time.
    let digit = |nibble: u8| nibble + if nibble > 9 { b'A' - 10 } else { b'0' };
    let (pairs, _) = text.as_chunks_mut::<2>();
    for (byte, pair) in bytes.iter().zip(pairs) {
        *pair = [digit(byte >> 4), digit(byte & 0xF)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    /// One wrong byte is found at each place of each length: blocks leave no gap between them.
    #[test]
    fn a_wrong_byte_is_found_wherever_it_stands() {
        for len in 0..70 {
            let mut digits = vec![b'7'; len];
            assert_eq!(Content::N.first_wrong(&digits), None);
            for at in 0..len {
                digits[at] = b':';
                assert_eq!(Content::N.first_wrong(&digits), Some(at), "length {len}");
                digits[at] = b'7';
            }
        }
    }

    /// Two of them do not make each other right.
    #[test]
    fn the_first_of_two_wrong_bytes_is_found() {
        for len in 2..40 {
            let mut digits = vec![b'7'; len];
            for (first, second) in (1..len).flat_map(|second| (0..second).map(move |first| (first, second))) {
                (digits[first], digits[second]) = (b' ', b'/');
                assert_eq!(Content::N.first_wrong(&digits), Some(first), "length {len}, and {second}");
                (digits[first], digits[second]) = (b'7', b'7');
            }
        }
    }

    #[test]
    fn the_filler_takes_what_packed_digits_leave() {
        let check = |pad, filler, digits: &[u8], room, expected: &[u8]| {
            let row = Row {
                encoding: crate::table::Encoding::Bcd,
                length: crate::table::Length::Fixed,
                unit: crate::table::Unit::Digits,
                pad,
                filler,
                content: Content::N,
                minimum: 0,
                maximum: 8,
            };
            let mut out = Vec::new();
            pack(digits, &row, room, &mut out);
            assert_eq!(out, expected, "{pad:?} {filler}");
        };
        check(Pad::Left, b'F', b"123", 4, &[0xFF, 0xFF, 0xF1, 0x23]);
        check(Pad::Left, b'0', b"123", 4, &[0x00, 0x00, 0x01, 0x23]);
        check(Pad::Right, b'F', b"123", 4, &[0x12, 0x3F, 0xFF, 0xFF]);
        check(Pad::Right, b'0', b"123", 4, &[0x12, 0x30, 0x00, 0x00]);
        check(Pad::Left, b'F', b"1234", 2, &[0x12, 0x34]);
        check(Pad::Right, b'F', b"", 1, &[0xFF]);
    }

    #[test]
    fn each_class_allows_its_bytes_and_no_other() {
        let check = |content: Content, allowed: &[u8]| {
            for byte in 0..=255 {
                let judged = content.first_wrong(&[byte]).is_none();
                assert_eq!(judged, allowed.contains(&byte), "{content:?} {byte:#X}");
            }
        };
        let printable: Vec<u8> = (b' '..=b'~').collect();
        let only = |keep: fn(&u8) -> bool| -> Vec<u8> { printable.iter().copied().filter(keep).collect() };
        check(Content::N, b"0123456789");
        check(Content::Z, b"0123456789=");
        check(Content::A, &only(|b| b.is_ascii_alphabetic() || *b == b' '));
        check(Content::An, &only(|b| b.is_ascii_alphanumeric() || *b == b' '));
        check(Content::Ans, &printable);
        check(Content::Xn, b"CD");
    }
}
