//! Card numbers: the one in clear is wiped on drop and never printed whole, the masked one is safe
//! to copy and to log.
//!
//! Invariant: no `Debug` or `Display` here shows more than the first six and the last four digits.

use core::fmt;
use core::str::FromStr;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::types::ValueError;

/// A card number, DE2: 8 to 19 digits. Not `Copy`; wiped on drop; printed masked.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pan {
    digits: [u8; Self::MAX],
    len: u8,
}

impl Pan {
    /// Most digits.
    pub const MAX: usize = 19;
    /// Fewest digits.
    pub const MIN: usize = 8;

    /// The ASCII digits in clear. For the wire and for sealing only.
    pub fn digits(&self) -> &[u8] {
        &self.digits[..usize::from(self.len)]
    }

    /// The digits in clear, as text. For the wire and for sealing only.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.digits()).unwrap_or_default()
    }

    /// What may be shown.
    pub fn masked(&self) -> MaskedPan {
        let digits = self.digits();
        let (_, last) = digits.split_at(digits.len() - 4);
        let mut masked = MaskedPan { first: [0; 6], last: [0; 4], len: self.len };
        masked.last.copy_from_slice(last);
        if masked.shows_first() {
            masked.first.copy_from_slice(&digits[..6]);
        }
        masked
    }
}

impl TryFrom<&[u8]> for Pan {
    type Error = ValueError;

    fn try_from(bytes: &[u8]) -> Result<Self, ValueError> {
        let right_length = (Self::MIN..=Self::MAX).contains(&bytes.len());
        if !right_length || !bytes.iter().all(u8::is_ascii_digit) {
            return Err(ValueError::Pan);
        }
        let mut digits = [0; Self::MAX];
        digits[..bytes.len()].copy_from_slice(bytes);
        // At most 19, as checked above.
        Ok(Self { digits, len: bytes.len() as u8 })
    }
}

impl FromStr for Pan {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::try_from(text.as_bytes())
    }
}

impl Zeroize for Pan {
    fn zeroize(&mut self) {
        // The length stays: it is not secret, and `digits` must not become shorter than `MIN`.
        self.digits.zeroize();
    }
}

impl Drop for Pan {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl ZeroizeOnDrop for Pan {}

impl fmt::Display for Pan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.masked().fmt(f)
    }
}

impl fmt::Debug for Pan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pan({self})")
    }
}

/// What may be shown of a card number: length, last four and, from 13 digits on, the first six.
///
/// In a shorter number ten shown digits would leave nothing to guess.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaskedPan {
    first: [u8; 6],
    last: [u8; 4],
    len: u8,
}

impl MaskedPan {
    const SHOW_FIRST_FROM: u8 = 13;

    /// The first six digits, unless the number is too short to show them.
    pub fn first6(&self) -> Option<&[u8; 6]> {
        self.shows_first().then_some(&self.first)
    }

    /// The last four digits.
    pub const fn last4(&self) -> &[u8; 4] {
        &self.last
    }

    /// How many digits the whole number has.
    pub const fn digit_count(&self) -> u8 {
        self.len
    }

    const fn shows_first(&self) -> bool {
        self.len >= Self::SHOW_FIRST_FROM
    }
}

/// Reads what `Display` writes: `411111******1111`.
impl TryFrom<&[u8]> for MaskedPan {
    type Error = ValueError;

    fn try_from(bytes: &[u8]) -> Result<Self, ValueError> {
        if !(Pan::MIN..=Pan::MAX).contains(&bytes.len()) {
            return Err(ValueError::Pan);
        }
        // At most 19, as checked above.
        let mut masked = Self { first: [0; 6], last: [0; 4], len: bytes.len() as u8 };
        let (head, last) = bytes.split_at(bytes.len() - 4);
        let (first, stars) = head.split_at(if masked.shows_first() { 6 } else { 0 });
        let digits = first.iter().chain(last).all(u8::is_ascii_digit);
        if !digits || stars.iter().any(|b| *b != b'*') {
            return Err(ValueError::Pan);
        }
        masked.first[..first.len()].copy_from_slice(first);
        masked.last.copy_from_slice(last);
        Ok(masked)
    }
}

impl FromStr for MaskedPan {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        Self::try_from(text.as_bytes())
    }
}

impl fmt::Display for MaskedPan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'*'; Pan::MAX];
        let text = &mut text[..usize::from(self.len)];
        if let Some(first) = self.first6() {
            text[..6].copy_from_slice(first);
        }
        let last_at = text.len() - 4;
        text[last_at..].copy_from_slice(&self.last);
        f.pad(core::str::from_utf8(text).unwrap_or_default())
    }
}

impl fmt::Debug for MaskedPan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MaskedPan({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn a_card_number_is_shown_masked() {
        let check = |pan: &str, shown: &str| {
            let pan: Pan = pan.parse().unwrap();
            assert_eq!(pan.to_string(), shown);
            assert_eq!(format!("{pan:?}"), format!("Pan({shown})"));
            assert_eq!(shown.parse::<MaskedPan>(), Ok(pan.masked()));
            assert_eq!(usize::from(pan.masked().digit_count()), shown.len());
            assert_eq!(pan.masked().last4(), &shown.as_bytes()[shown.len() - 4..]);
        };
        check("4111111111111111", "411111******1111");
        check("378282246310005", "378282*****0005");
        check("6224242300000000069", "622424*********0069");
        check("4222222222222", "422222***2222");
        check("123456789012", "********9012");
        check("12345678", "****5678");
    }

    #[test]
    fn a_card_number_has_8_to_19_digits() {
        let check = |text: &str| assert_eq!(text.parse::<Pan>(), Err(ValueError::Pan));
        check("");
        check("1234567");
        check("12345678901234567890");
        check("411111111111111X");
    }

    #[test]
    fn only_what_is_masked_is_read_as_masked() {
        let check = |text: &str| assert_eq!(text.parse::<MaskedPan>(), Err(ValueError::Pan));
        check("4111111111111111");
        check("411111*****11111");
        check("4*1111******1111");
        check("411111******1*11");
        check("411111*****+1111");
        check("123456**9012");
        check("***5678");
        check("411111**********1111");
    }

    #[test]
    fn a_card_number_in_clear_is_what_was_given() {
        let pan: Pan = "4111111111111111".parse().unwrap();
        assert_eq!((pan.as_str(), pan.digits()), ("4111111111111111", &b"4111111111111111"[..]));
    }

    #[test]
    fn wiping_leaves_no_digit() {
        let mut pan: Pan = "4111111111111111".parse().unwrap();
        pan.zeroize();
        assert_eq!(pan.digits, [0; Pan::MAX]);
    }
}
