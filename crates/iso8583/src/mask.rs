//! Which data elements are secret, and what of them may be shown (MONEY-RULES section 10).
//!
//! Conservative: what may hold card data in some dialect is hidden in all of them, and of chip data
//! only the tags known to be harmless are shown. Invariant: nothing written by [`write_masked`]
//! holds a track, PIN block, card verification value or more of a PAN than first six and last four.

use core::fmt::{self, Write};

use crate::pan::Pan;

/// How much of a data element may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// All of it.
    Whole,
    /// A card number: first six and last four.
    Pan,
    /// An account: last four.
    LastFour,
    /// Chip data: tags and lengths, and the values of harmless tags.
    ChipTags,
    /// Only its length.
    Nothing,
}

/// What may be shown of a data element.
pub const fn shown(de: u8) -> Shown {
    match de {
        2 => Shown::Pan,
        34 | 102 | 103 => Shown::LastFour,
        // Expiry; tracks 2, 3, 1; PIN block; security control; message security code.
        14 | 35 | 36 | 45 | 52 | 53 | 96 => Shown::Nothing,
        55 => Shown::ChipTags,
        // National and private data: hosts put CVV2, tracks and keys there.
        46..=48 | 56..=63 | 105..=127 => Shown::Nothing,
        _ => Shown::Whole,
    }
}

/// True for the data elements whose canonical value is raw bytes, not text: PIN block, chip data,
/// MACs, bitmap, message security code.
pub const fn is_binary(de: u8) -> bool {
    matches!(de, 52 | 55 | 64 | 65 | 96 | 128)
}

/// Writes the canonical value of a data element as far as it may be shown: text as it is, binary as
/// upper-case hex, a star for each character that is hidden.
///
/// # Errors
/// Those of `out`.
pub fn write_masked(de: u8, value: &[u8], out: &mut impl Write) -> fmt::Result {
    match shown(de) {
        Shown::Whole => write_clear(de, value, out),
        Shown::Pan => match Pan::try_from(value) {
            Ok(pan) => write!(out, "{}", pan.masked()),
            // Not a card number: nothing is known of it, so nothing is shown.
            Err(_) => stars(value.len(), out),
        },
        Shown::LastFour => {
            // From eight characters on; of a shorter one four would be most of it.
            let hidden = if value.len() >= 8 { value.len() - 4 } else { value.len() };
            stars(hidden, out)?;
            write_clear(de, &value[hidden..], out)
        }
        Shown::ChipTags => write_chip_tags(value, out),
        Shown::Nothing if is_binary(de) => stars(value.len() * 2, out),
        Shown::Nothing => stars(value.len(), out),
    }
}

/// Writes the whole canonical value: text as it is, binary as upper-case hex.
///
/// # Errors
/// Those of `out`.
pub fn write_clear(de: u8, value: &[u8], out: &mut impl Write) -> fmt::Result {
    if is_binary(de) {
        return hex(value, out);
    }
    for byte in value {
        out.write_char(char::from(*byte))?;
    }
    Ok(())
}

fn hex(value: &[u8], out: &mut impl Write) -> fmt::Result {
    value.iter().try_for_each(|byte| write!(out, "{byte:02X}"))
}

fn stars(count: usize, out: &mut impl Write) -> fmt::Result {
    (0..count).try_for_each(|_| out.write_char('*'))
}

/// The value of this EMV tag says nothing about card or holder, and is no cryptogram.
const fn is_harmless_tag(tag: u32) -> bool {
    matches!(
        tag,
        0x82 | 0x84
            | 0x8A
            | 0x95
            | 0x9A
            | 0x9B
            | 0x9C
            | 0x5F2A
            | 0x5F34
            | 0x9F02
            | 0x9F03
            | 0x9F06
            | 0x9F09
            | 0x9F1A
            | 0x9F1E
            | 0x9F27
            | 0x9F33
            | 0x9F34
            | 0x9F35
            | 0x9F36
            | 0x9F37
            | 0x9F41
            | 0x9F53
    )
}

/// Tags and lengths in hex, harmless values in hex, others as stars. From the first byte on that is
/// not BER-TLV everything is stars.
fn write_chip_tags(mut rest: &[u8], out: &mut impl Write) -> fmt::Result {
    while let Some(element) = TlvElement::first_of(rest) {
        hex(element.head, out)?;
        if is_harmless_tag(element.tag) {
            hex(element.value, out)?;
        } else {
            stars(element.value.len() * 2, out)?;
        }
        rest = &rest[element.head.len() + element.value.len()..];
    }
    stars(rest.len() * 2, out)
}

/// One primitive element of BER-TLV as EMV uses it: tag of one or two bytes, length of up to three.
struct TlvElement<'a> {
    tag: u32,
    /// The bytes of tag and length.
    head: &'a [u8],
    value: &'a [u8],
}

impl<'a> TlvElement<'a> {
    fn first_of(bytes: &'a [u8]) -> Option<Self> {
        let (tag, tag_len) = match bytes {
            [a, b, ..] if a & 0x1F == 0x1F && b & 0x80 == 0 => (u32::from(*a) << 8 | u32::from(*b), 2),
            [a, ..] if a & 0x1F != 0x1F => (u32::from(*a), 1),
            [..] => return None,
        };
        let (value_len, length_len) = match bytes.get(tag_len..)? {
            [short, ..] if *short < 0x80 => (usize::from(*short), 1),
            [0x81, long, ..] => (usize::from(*long), 2),
            [0x82, high, low, ..] => (usize::from(*high) << 8 | usize::from(*low), 3),
            [..] => return None,
        };
        let head_len = tag_len + length_len;
        let value = bytes.get(head_len..)?.get(..value_len)?;
        Some(Self { tag, head: &bytes[..head_len], value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::{format, vec};

    #[track_caller]
    fn check(de: u8, value: &[u8], shown: &str) {
        let mut out = String::new();
        write_masked(de, value, &mut out).unwrap();
        assert_eq!(out, shown);
    }

    #[test]
    fn secrets_are_masked() {
        check(2, b"4111111111111111", "411111******1111");
        check(2, b"41111111X1111111", "****************");
        check(4, b"000000010000", "000000010000");
        check(14, b"2812", "****");
        check(34, b"4111111111111111", "************1111");
        check(35, b"4111111111111111=2812", "*********************");
        check(41, b"TERM0001", "TERM0001");
        check(45, b"B4111^A", "*******");
        check(48, b"CVV", "***");
        check(52, &[1, 2, 3, 4, 5, 6, 7, 8], "****************");
        check(64, &[0xAB, 0xCD], "ABCD");
        check(102, b"1234567", "*******");
        check(102, b"12345678", "****5678");
        check(120, b"private", "*******");
    }

    #[test]
    fn chip_data_shows_harmless_tags_only() {
        check(55, &[0x9F, 0x36, 0x02, 0x00, 0x12], "9F36020012");
        check(55, &[0x5A, 0x02, 0x41, 0x11, 0x9A, 0x01, 0x25], "5A02****9A0125");
        check(55, &[0x57, 0x81, 0x02, 0x41, 0x11], "578102****");
        check(55, &[0x5F, 0x20, 0x01, 0x41], "5F2001**");
        // A length beyond the end, a tag of three bytes, an indefinite length: all hidden.
        check(55, &[0x9A, 0x05, 0x25], "******");
        check(55, &[0x9F, 0x81, 0x01, 0x00], "********");
        check(55, &[0x9A, 0x80, 0x25], "******");
        check(55, &[], "");
    }

    #[test]
    fn chip_data_with_long_lengths_shows_harmless_tags_only() {
        let chip = |head: &[u8], len: usize| [head, &vec![0x25; len]].concat();
        check(55, &chip(&[0x9A, 0x81, 0x80], 128), &format!("9A8180{}", "25".repeat(128)));
        check(55, &chip(&[0x9A, 0x82, 0x01, 0x02], 258), &format!("9A820102{}", "25".repeat(258)));
        check(55, &chip(&[0x5A, 0x82, 0x01, 0x02], 258), &format!("5A820102{}", "*".repeat(516)));
        check(55, &chip(&[0x9A, 0x82, 0x01, 0x02], 257), &"*".repeat(522));
        // The first byte that is no length is not one of 128 either.
        check(55, &chip(&[0x9A, 0x80], 128), &"*".repeat(260));
    }
}
