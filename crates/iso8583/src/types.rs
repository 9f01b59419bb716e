//! The small values of a message, one type for each, so that no two can be mixed up.
//!
//! They hold what was checked once, at the border: digits are digits, lengths are right. They know
//! no encoding (that is `table`) and no rule of money. Card numbers are in [`crate::pan`].
//! Invariant: a value of these types can always be written into its data element.

use core::fmt;
use core::str::FromStr;

/// Why a value was refused. Names the value and what it needs, never the bytes that were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Message type indicator.
    #[error("MTI: need 4 digits")]
    Mti,
    /// DE11.
    #[error("STAN (DE11): need 6 digits, 000001 to 999999")]
    Stan,
    /// DE37.
    #[error("RRN (DE37): need 12 letters or digits, padded with spaces")]
    Rrn,
    /// DE41 and DE42.
    #[error("terminal (DE41/DE42): need up to 8 and up to 15 printable ASCII characters, not blank")]
    TerminalId,
    /// DE39.
    #[error("response code (DE39): need 2 letters or digits")]
    ResponseCode,
    /// DE49.
    #[error("currency (DE49): need 3 digits")]
    Currency,
    /// DE4.
    #[error("amount (DE4): need at most 12 digits of minor units")]
    Amount,
    /// DE2.
    #[error("card number (DE2): need 8 to 19 digits")]
    Pan,
}

/// Message type indicator, four ASCII digits: version, class, function, origin.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mti([u8; 4]);

impl Mti {
    /// For literals in our own code: `Mti::new(b"0200")`. A peer's bytes go through `TryFrom`.
    ///
    /// # Panics
    /// If one of the four is not a digit; in a constant this is a compile error.
    pub const fn new(digits: &[u8; 4]) -> Self {
        let mut i = 0;
        while i < 4 {
            assert!(digits[i].is_ascii_digit(), "an MTI is four digits");
            i += 1;
        }
        Self(*digits)
    }

    /// The four ASCII digits.
    pub const fn as_bytes(&self) -> &[u8; 4] {
        &self.0
    }

    /// The four digits as text.
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }

    /// Second digit as a number: 1 authorisation, 2 financial, 3 file action, 4 reversal,
    /// 5 reconciliation, 8 network management.
    pub const fn class(&self) -> u8 {
        self.0[1] - b'0'
    }

    /// Last digit odd: 0101, 0201, 0221, 0401, 0421, 0821.
    pub const fn is_repeat(&self) -> bool {
        self.0[3] & 1 == 1
    }

    /// Third digit odd: 0110, 0130, 0210, 0230, 0410, 0430, 0810, 0830.
    pub const fn is_response(&self) -> bool {
        self.0[2] & 1 == 1
    }

    /// The MTI of the answer: 0200 and 0201 give 0210, 0420 and 0421 give 0430, 0202 gives 0212.
    /// An answer gives itself.
    #[must_use]
    pub const fn response(&self) -> Self {
        // Digits are 0x30 to 0x39, so the lowest bit of the byte is that of the digit.
        let [version, class, function, origin] = self.0;
        Self([version, class, function | 1, origin & !1])
    }

    /// The MTI of a repeat: 0200 gives 0201, 0400 gives 0401, 0420 gives 0421. A repeat gives itself.
    #[must_use]
    pub const fn repeat(&self) -> Self {
        let [version, class, function, origin] = self.0;
        Self([version, class, function, origin | 1])
    }
}

impl TryFrom<&[u8]> for Mti {
    type Error = ValueError;

    fn try_from(bytes: &[u8]) -> Result<Self, ValueError> {
        Ok(Self(exactly(bytes, u8::is_ascii_digit).ok_or(ValueError::Mti)?))
    }
}

/// Systems trace audit number, DE11: 1 to 999999; 000000 is never used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stan(u32);

impl Stan {
    /// The largest STAN, after which a counter starts at 1 again.
    pub const MAX: u32 = 999_999;

    /// # Errors
    /// [`ValueError::Stan`] unless the number is 1 to 999999.
    pub const fn new(number: u32) -> Result<Self, ValueError> {
        if number == 0 || number > Self::MAX {
            return Err(ValueError::Stan);
        }
        Ok(Self(number))
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Six ASCII digits, zeros on the left, as DE11 carries them.
    pub fn digits(self) -> [u8; 6] {
        decimal(u64::from(self.0))
    }
}

impl TryFrom<&[u8]> for Stan {
    type Error = ValueError;

    fn try_from(bytes: &[u8]) -> Result<Self, ValueError> {
        let digits: [u8; 6] = exactly(bytes, u8::is_ascii_digit).ok_or(ValueError::Stan)?;
        Self::new(digits.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0')))
    }
}

/// Retrieval reference number, DE37: 12 letters or digits, padding spaces kept.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rrn([u8; 12]);

impl Rrn {
    /// The twelve bytes, as DE37 carries them.
    pub const fn as_bytes(&self) -> &[u8; 12] {
        &self.0
    }

    /// Without the padding spaces.
    pub fn as_str(&self) -> &str {
        ascii(&self.0).trim_matches(' ')
    }
}

impl TryFrom<&[u8]> for Rrn {
    type Error = ValueError;

    fn try_from(bytes: &[u8]) -> Result<Self, ValueError> {
        let rrn = Self(exactly(bytes, |b| b.is_ascii_alphanumeric() || *b == b' ').ok_or(ValueError::Rrn)?);
        // Padding stands at an end; blank inside, or all blank, refers to nothing.
        let value = rrn.as_str();
        if value.is_empty() || value.contains(' ') {
            return Err(ValueError::Rrn);
        }
        Ok(rrn)
    }
}

/// A terminal: DE41 and DE42, both with their padding spaces, so that they can be echoed unchanged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TerminalId {
    merchant: [u8; 15],
    terminal: [u8; 8],
}

impl TerminalId {
    /// Pads both with spaces on the right.
    ///
    /// # Errors
    /// [`ValueError::TerminalId`] if one is blank, too long or not printable ASCII.
    pub fn new(terminal: &[u8], merchant: &[u8]) -> Result<Self, ValueError> {
        Ok(Self { terminal: padded_text(terminal)?, merchant: padded_text(merchant)? })
    }

    /// DE41, eight bytes.
    pub const fn terminal(&self) -> &[u8; 8] {
        &self.terminal
    }

    /// DE42, fifteen bytes.
    pub const fn merchant(&self) -> &[u8; 15] {
        &self.merchant
    }
}

/// 23 bytes: DE41, then DE42.
impl TryFrom<&[u8]> for TerminalId {
    type Error = ValueError;

    fn try_from(bytes: &[u8]) -> Result<Self, ValueError> {
        if bytes.len() != 23 {
            return Err(ValueError::TerminalId);
        }
        let (terminal, merchant) = bytes.split_at(8);
        Self::new(terminal, merchant)
    }
}

/// Response code, DE39: two letters or digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponseCode([u8; 2]);

impl ResponseCode {
    /// 00
    pub const APPROVED: Self = Self::new(*b"00");
    /// 03: merchant or terminal not registered here.
    pub const INVALID_MERCHANT: Self = Self::new(*b"03");
    /// 06: error.
    pub const ERROR: Self = Self::new(*b"06");
    /// 10: approved for less than was asked.
    pub const PARTIAL_APPROVAL: Self = Self::new(*b"10");
    /// 12: invalid transaction.
    pub const INVALID_TRANSACTION: Self = Self::new(*b"12");
    /// 13: invalid amount.
    pub const INVALID_AMOUNT: Self = Self::new(*b"13");
    /// 14: no such card.
    pub const INVALID_CARD: Self = Self::new(*b"14");
    /// 21: no action taken.
    pub const NO_ACTION: Self = Self::new(*b"21");
    /// 25: original not found.
    pub const NOT_FOUND: Self = Self::new(*b"25");
    /// 30: format error.
    pub const FORMAT_ERROR: Self = Self::new(*b"30");
    /// 41: lost card.
    pub const LOST_CARD: Self = Self::new(*b"41");
    /// 43: stolen card.
    pub const STOLEN_CARD: Self = Self::new(*b"43");
    /// 51: not enough money in the account.
    pub const INSUFFICIENT_FUNDS: Self = Self::new(*b"51");
    /// 54: expired card.
    pub const EXPIRED_CARD: Self = Self::new(*b"54");
    /// 55: wrong PIN.
    pub const WRONG_PIN: Self = Self::new(*b"55");
    /// 61: above the amount limit.
    pub const EXCEEDS_AMOUNT_LIMIT: Self = Self::new(*b"61");
    /// 62: restricted card.
    pub const RESTRICTED_CARD: Self = Self::new(*b"62");
    /// 64: the original had another amount.
    pub const ORIGINAL_AMOUNT_WRONG: Self = Self::new(*b"64");
    /// 68: no answer in time.
    pub const RESPONSE_TOO_LATE: Self = Self::new(*b"68");
    /// 91: issuer not reachable.
    pub const ISSUER_UNAVAILABLE: Self = Self::new(*b"91");
    /// 94: duplicate transmission.
    pub const DUPLICATE: Self = Self::new(*b"94");
    /// 96: the switch cannot serve now.
    pub const SYSTEM_MALFUNCTION: Self = Self::new(*b"96");

    /// For literals in our own code. A peer's bytes go through `TryFrom`.
    ///
    /// # Panics
    /// If one is not a letter or digit; in a constant this is a compile error.
    pub const fn new(code: [u8; 2]) -> Self {
        assert!(
            code[0].is_ascii_alphanumeric() && code[1].is_ascii_alphanumeric(),
            "a response code is two letters or digits"
        );
        Self(code)
    }

    /// The two bytes of DE39.
    pub const fn as_bytes(&self) -> &[u8; 2] {
        &self.0
    }

    /// The code as text.
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }
}

impl TryFrom<&[u8]> for ResponseCode {
    type Error = ValueError;

    fn try_from(bytes: &[u8]) -> Result<Self, ValueError> {
        Ok(Self(exactly(bytes, u8::is_ascii_alphanumeric).ok_or(ValueError::ResponseCode)?))
    }
}

/// Currency, DE49: three ASCII digits of ISO 4217 (840, 978, 156).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// For literals in our own code. A peer's bytes go through `TryFrom`.
    ///
    /// # Panics
    /// If one is not a digit; in a constant this is a compile error.
    pub const fn new(digits: [u8; 3]) -> Self {
        assert!(
            digits[0].is_ascii_digit() && digits[1].is_ascii_digit() && digits[2].is_ascii_digit(),
            "a currency is three digits"
        );
        Self(digits)
    }

    /// The three ASCII digits of DE49.
    pub const fn as_bytes(&self) -> &[u8; 3] {
        &self.0
    }

    /// The three digits as text.
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }
}

impl TryFrom<&[u8]> for Currency {
    type Error = ValueError;

    fn try_from(bytes: &[u8]) -> Result<Self, ValueError> {
        Ok(Self(exactly(bytes, u8::is_ascii_digit).ok_or(ValueError::Currency)?))
    }
}

/// An amount of money in minor units of its currency (DE4 with DE49), at most twelve digits.
///
/// The order is that of currency, then amount; only amounts of one currency compare as money.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount {
    currency: Currency,
    minor: u64,
}

impl Amount {
    /// The largest amount that DE4 can carry, in minor units.
    pub const MAX_MINOR: u64 = 999_999_999_999;

    /// # Errors
    /// [`ValueError::Amount`] above twelve digits.
    pub const fn new(minor: u64, currency: Currency) -> Result<Self, ValueError> {
        if minor > Self::MAX_MINOR {
            return Err(ValueError::Amount);
        }
        Ok(Self { currency, minor })
    }

    /// From DE4 (twelve ASCII digits) and its currency.
    ///
    /// # Errors
    /// [`ValueError::Amount`] unless there are exactly twelve digits.
    pub fn from_digits(digits: &[u8], currency: Currency) -> Result<Self, ValueError> {
        let digits: [u8; 12] = exactly(digits, u8::is_ascii_digit).ok_or(ValueError::Amount)?;
        Self::new(digits.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')), currency)
    }

    /// Minor units: cents, fen.
    pub const fn minor(self) -> u64 {
        self.minor
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// Twelve ASCII digits, zeros on the left, as DE4 carries them.
    pub fn digits(self) -> [u8; 12] {
        decimal(self.minor)
    }
}

/// 15 bytes: DE4, then DE49.
impl TryFrom<&[u8]> for Amount {
    type Error = ValueError;

    fn try_from(bytes: &[u8]) -> Result<Self, ValueError> {
        if bytes.len() != 15 {
            return Err(ValueError::Amount);
        }
        let (minor, currency) = bytes.split_at(12);
        Self::from_digits(minor, Currency::try_from(currency)?)
    }
}

impl fmt::Display for Mti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Stan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(ascii(&self.digits()))
    }
}

impl fmt::Display for Rrn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// `TERM0001/MERCHANT0000001`, without the padding.
impl fmt::Display for TerminalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", ascii(&self.terminal).trim_end_matches(' '), ascii(&self.merchant).trim_end_matches(' '))
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// `10000 840`: minor units, then the currency; no decimal point, as that differs by currency.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.minor, self.currency)
    }
}

/// `Debug` as `Mti(0200)`: what the person reads, not an array of bytes.
macro_rules! debug_as_display {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    )*};
}

debug_as_display!(Mti, Stan, Rrn, TerminalId, ResponseCode, Currency, Amount);

/// Text is read as the bytes of the field.
macro_rules! from_str_as_bytes {
    ($($name:ident),*) => {$(
        impl FromStr for $name {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                Self::try_from(text.as_bytes())
            }
        }
    )*};
}

from_str_as_bytes!(Mti, Stan, ResponseCode, Currency);

/// Shorter text is padded with spaces on the right, as `Display` takes them away.
impl FromStr for Rrn {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let mut padded = [b' '; 12];
        padded.get_mut(..text.len()).ok_or(ValueError::Rrn)?.copy_from_slice(text.as_bytes());
        Self::try_from(&padded[..])
    }
}

/// `TERM0001/MERCHANT0000001`; with a second slash it could be read in two ways and is refused.
impl FromStr for TerminalId {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (terminal, merchant) = text.split_once('/').ok_or(ValueError::TerminalId)?;
        if merchant.contains('/') {
            return Err(ValueError::TerminalId);
        }
        Self::new(terminal.as_bytes(), merchant.as_bytes())
    }
}

/// `10000 840`, as `Display` writes it.
impl FromStr for Amount {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (minor, currency) = text.split_once(' ').ok_or(ValueError::Amount)?;
        if !minor.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ValueError::Amount);
        }
        Self::new(minor.parse().map_err(|_| ValueError::Amount)?, currency.parse()?)
    }
}

/// Exactly `N` bytes, each of them allowed.
fn exactly<const N: usize>(bytes: &[u8], allowed: impl Fn(&u8) -> bool) -> Option<[u8; N]> {
    let bytes: [u8; N] = bytes.try_into().ok()?;
    bytes.iter().all(allowed).then_some(bytes)
}

fn padded_text<const N: usize>(text: &[u8]) -> Result<[u8; N], ValueError> {
    let printable = text.iter().all(|b| (b' '..=b'~').contains(b));
    if !printable || text.iter().all(|b| *b == b' ') {
        return Err(ValueError::TerminalId);
    }
    let mut padded = [b' '; N];
    padded.get_mut(..text.len()).ok_or(ValueError::TerminalId)?.copy_from_slice(text);
    Ok(padded)
}

/// The last `N` decimal digits.
fn decimal<const N: usize>(mut number: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        // The remainder of a division by ten fits a byte.
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// Checked at construction: these bytes are ASCII.
fn ascii(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn mti_answers_and_repeats() {
        let check = |mti: &[u8; 4], response: &[u8; 4], repeat: &[u8; 4], class: u8| {
            let mti = Mti::new(mti);
            assert_eq!(mti.response(), Mti::new(response));
            assert_eq!(mti.repeat(), Mti::new(repeat));
            assert_eq!(mti.class(), class);
            assert!(mti.response().is_response() && !mti.response().is_repeat());
            assert!(mti.repeat().is_repeat());
        };
        check(b"0100", b"0110", b"0101", 1);
        check(b"0101", b"0110", b"0101", 1);
        check(b"0120", b"0130", b"0121", 1);
        check(b"0200", b"0210", b"0201", 2);
        check(b"0201", b"0210", b"0201", 2);
        check(b"0202", b"0212", b"0203", 2);
        check(b"0221", b"0230", b"0221", 2);
        check(b"0400", b"0410", b"0401", 4);
        check(b"0401", b"0410", b"0401", 4);
        check(b"0420", b"0430", b"0421", 4);
        check(b"0421", b"0430", b"0421", 4);
        check(b"0210", b"0210", b"0211", 2);
        check(b"0430", b"0430", b"0431", 4);
        check(b"0800", b"0810", b"0801", 8);
        check(b"0820", b"0830", b"0821", 8);
        assert!(!Mti::new(b"0200").is_response() && !Mti::new(b"0200").is_repeat());
    }

    /// Text in, text out; refused text gives the error of its type.
    #[track_caller]
    fn check<T>(text: &str, want: Result<&str, ValueError>)
    where
        T: FromStr<Err = ValueError> + ToString,
    {
        let got = text.parse::<T>().map(|value| value.to_string());
        assert_eq!(got.as_deref().map_err(|e| *e), want);
    }

    #[test]
    fn values_are_checked_at_the_border() {
        check::<Mti>("0200", Ok("0200"));
        check::<Mti>("020", Err(ValueError::Mti));
        check::<Mti>("02A0", Err(ValueError::Mti));
        check::<Stan>("000001", Ok("000001"));
        check::<Stan>("999999", Ok("999999"));
        check::<Stan>("000000", Err(ValueError::Stan));
        check::<Stan>("1000000", Err(ValueError::Stan));
        check::<Stan>("12345", Err(ValueError::Stan));
        check::<Rrn>("532604123456", Ok("532604123456"));
        check::<Rrn>("5326", Ok("5326"));
        check::<Rrn>("      532604", Ok("532604"));
        check::<Rrn>("53 604123456", Err(ValueError::Rrn));
        check::<Rrn>("", Err(ValueError::Rrn));
        check::<Rrn>("5326041234567", Err(ValueError::Rrn));
        check::<TerminalId>("TERM0001/MERCHANT0000001", Ok("TERM0001/MERCHANT0000001"));
        check::<TerminalId>("T1/M", Ok("T1/M"));
        check::<TerminalId>("T1/", Err(ValueError::TerminalId));
        check::<TerminalId>("T/1/M", Err(ValueError::TerminalId));
        check::<TerminalId>("TERM00012/M", Err(ValueError::TerminalId));
        check::<ResponseCode>("00", Ok("00"));
        check::<ResponseCode>("A6", Ok("A6"));
        check::<ResponseCode>("0", Err(ValueError::ResponseCode));
        check::<ResponseCode>("0 ", Err(ValueError::ResponseCode));
        check::<Currency>("840", Ok("840"));
        check::<Currency>("USD", Err(ValueError::Currency));
        check::<Amount>("10000 840", Ok("10000 840"));
        check::<Amount>("999999999999 840", Ok("999999999999 840"));
        check::<Amount>("1000000000000 840", Err(ValueError::Amount));
        check::<Amount>("+1 840", Err(ValueError::Amount));
    }

    #[test]
    fn values_write_their_field() {
        let amount = Amount::new(10_050, Currency::new(*b"840")).unwrap();
        assert_eq!((amount.minor(), &amount.digits()), (10_050, b"000000010050"));
        assert_eq!(Amount::from_digits(b"000000010050", amount.currency()), Ok(amount));
        assert_eq!(Amount::try_from(&b"000000010050840"[..]), Ok(amount));
        assert_eq!(Amount::try_from(&b"00000010050840"[..]), Err(ValueError::Amount));
        let stan = Stan::new(42).unwrap();
        assert_eq!((&stan.digits(), stan.get()), (b"000042", 42));
        assert_eq!("5326".parse::<Rrn>().unwrap().as_bytes(), b"5326        ");
        assert_eq!(ResponseCode::INSUFFICIENT_FUNDS.as_bytes(), b"51");
        assert_eq!(amount.currency().as_bytes(), b"840");
        let terminal = TerminalId::new(b"T1", b"SHOP").unwrap();
        assert_eq!(terminal.terminal(), b"T1      ");
        assert_eq!(terminal.merchant(), b"SHOP           ");
        assert_eq!(TerminalId::try_from(&b"T1      SHOP           "[..]), Ok(terminal));
    }
}
