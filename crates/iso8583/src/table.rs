//! The field table: one row per data element, and the dialects built in.
//!
//! A dialect is data: how MTI and bitmap are written, and for each DE its encoding, length, padding
//! and content. What a field *is* (`ISO87`: content class and sizes of ISO 8583:1987) is written
//! once; each dialect adds how that class travels. It reads and writes nothing itself: `parse` and
//! `assemble` do, both by the same row. Invariant: a row's sizes fit its length prefix, and the longest
//! message of a dialect fits a 2-byte frame.

/// How a value stands on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// One ASCII byte for each digit or character.
    Ascii,
    /// Two digits a byte; in track data D is the separator.
    Bcd,
    /// The bytes themselves.
    Raw,
    /// Two hex characters for each byte.
    HexText,
}

/// How a length prefix is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// One ASCII digit a byte: LL 2 bytes, LLL 3.
    Ascii,
    /// Packed: LL 1 byte, LLL 2 bytes with a zero in front.
    Bcd,
}

/// How the length of a value is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Always the row's maximum.
    Fixed,
    /// A two-digit prefix.
    Ll(Prefix),
    /// A three-digit prefix.
    Lll(Prefix),
}

/// What a length counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Digits, packed or not; in track data the separator counts as one.
    Digits,
    /// Characters on the wire; of hex text there are two for each byte.
    Characters,
    /// Bytes.
    Bytes,
}

/// Where filler goes when a value is shorter than its room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pad {
    /// In front of the value.
    Left,
    /// After the value.
    Right,
}

/// What a value may consist of, in the letters of ISO 8583.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// n: digits.
    N,
    /// a: letters and spaces.
    A,
    /// an: letters, digits and spaces (hosts send blank DE37 and DE38).
    An,
    /// ans: printable ASCII.
    Ans,
    /// z: track data, digits and the separator `=`.
    Z,
    /// b: any bytes.
    B,
    /// x+n: C or D, then digits.
    Xn,
}

/// One row of the table: everything that is needed to read and to write one data element.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// How the value stands on the wire.
    pub encoding: Encoding,
    /// How its length is known.
    pub length: Length,
    /// What its length counts.
    pub unit: Unit,
    /// Where filler goes: of a fixed field that is shorter than its room, of an odd number of digits.
    pub pad: Pad,
    /// The filler as a character: `0` or `F` in packed digits (then a nibble), else `0` or a space.
    pub filler: u8,
    /// What the value may consist of.
    pub content: Content,
    /// Shortest value in units; for a fixed field the shortest that assembly pads.
    pub minimum: u16,
    /// Longest value in units; for a fixed field its length on the wire.
    pub maximum: u16,
}

impl Row {
    /// Bytes on the wire of a value of so many units, without its length prefix.
    pub(crate) const fn wire_len(&self, units: usize) -> usize {
        match (self.encoding, self.content) {
            (Encoding::Bcd, Content::Xn) => 1 + units.saturating_sub(1).div_ceil(2),
            (Encoding::Bcd, _) => units.div_ceil(2),
            (Encoding::Ascii | Encoding::Raw | Encoding::HexText, _) => units,
        }
    }

    /// The filler of packed digits as a nibble.
    pub(crate) const fn filler_nibble(&self) -> u8 {
        if self.filler == b'F' { 0xF } else { self.filler & 0xF }
    }
}

/// A way to write messages. The built-in ones are [`ISO87_ASCII`] and [`ISO87_BCD`].
#[derive(Debug)]
pub struct Dialect {
    /// As configuration and command line name it.
    pub name: &'static str,
    /// The four digits of the MTI: `Ascii` or `Bcd`.
    pub mti: Encoding,
    /// The bitmaps of eight bytes: `HexText` or `Raw`.
    pub bitmap: Encoding,
    /// The rows of DE 2 to 128 in their order.
    pub(crate) rows: [Row; 127],
}

/// ASCII throughout; bitmaps and binary fields as hex text.
pub static ISO87_ASCII: Dialect =
    Dialect { name: "iso87-ascii", mti: Encoding::Ascii, bitmap: Encoding::HexText, rows: rows(Convention::Text) };

/// Packed digits, raw bitmaps and binary fields, text in ASCII.
pub static ISO87_BCD: Dialect =
    Dialect { name: "iso87-bcd", mti: Encoding::Bcd, bitmap: Encoding::Raw, rows: rows(Convention::Packed) };

static ALL: [&Dialect; 2] = [&ISO87_ASCII, &ISO87_BCD];

impl Dialect {
    /// The dialects built in.
    pub fn all() -> &'static [&'static Dialect] {
        &ALL
    }

    /// The dialect of this name.
    pub fn by_name(name: &str) -> Option<&'static Dialect> {
        ALL.into_iter().find(|dialect| dialect.name == name)
    }

    /// The row of a data element, 2 to 128.
    pub fn row(&self, de: u8) -> Option<&Row> {
        self.rows.get(usize::from(de).checked_sub(2)?)
    }
}

/// The name of a data element, 2 to 128.
pub fn name(de: u8) -> Option<&'static str> {
    Some(ISO87.get(usize::from(de).checked_sub(2)?)?.name)
}

/// What a field is, in every dialect: ISO 8583:1987.
struct Shape {
    name: &'static str,
    content: Content,
    size: Size,
}

/// Sizes in digits, characters or (content b) bytes.
#[derive(Clone, Copy)]
enum Size {
    Fixed(u16),
    Ll(u16),
    Lll(u16),
}

const fn shape(name: &'static str, content: Content, size: Size) -> Shape {
    Shape { name, content, size }
}

/// How a dialect turns a shape into a row.
#[derive(Clone, Copy)]
enum Convention {
    /// Everything is characters.
    Text,
    /// Digits are packed, an odd number padded in front with 0 (track data behind with F); binary
    /// is raw; text stays ASCII; lengths are packed.
    Packed,
}

/// Evaluated once, by the compiler.
const fn rows(convention: Convention) -> [Row; 127] {
    let mut rows = [row(&ISO87[0], convention); 127];
    let mut i = 1;
    while i < rows.len() {
        rows[i] = row(&ISO87[i], convention);
        i += 1;
    }
    rows
}

const fn row(shape: &Shape, convention: Convention) -> Row {
    use Content::{A, An, Ans, B, N, Xn, Z};
    let (encoding, unit, pad, filler) = match (convention, shape.content) {
        (Convention::Text, N | Xn) => (Encoding::Ascii, Unit::Digits, Pad::Left, b'0'),
        (Convention::Text, Z) => (Encoding::Ascii, Unit::Digits, Pad::Right, b' '),
        (Convention::Text, B) => (Encoding::HexText, Unit::Characters, Pad::Right, b'0'),
        (Convention::Packed, N | Xn) => (Encoding::Bcd, Unit::Digits, Pad::Left, b'0'),
        (Convention::Packed, Z) => (Encoding::Bcd, Unit::Digits, Pad::Right, b'F'),
        (Convention::Packed, B) => (Encoding::Raw, Unit::Bytes, Pad::Right, b'0'),
        (Convention::Text | Convention::Packed, A | An | Ans) => (Encoding::Ascii, Unit::Characters, Pad::Right, b' '),
    };
    let prefix = match convention {
        Convention::Text => Prefix::Ascii,
        Convention::Packed => Prefix::Bcd,
    };
    let (length, size) = match shape.size {
        Size::Fixed(size) => (Length::Fixed, size),
        Size::Ll(size) => (Length::Ll(prefix), size),
        Size::Lll(size) => (Length::Lll(prefix), size),
    };
    let maximum = match encoding {
        Encoding::HexText => 2 * size,
        Encoding::Ascii | Encoding::Bcd | Encoding::Raw => size,
    };
    let minimum = match (shape.size, shape.content) {
        // Neither filler bytes in a PIN block nor zeros before a sign are ours to add.
        (Size::Fixed(_), B | Xn) => maximum,
        (Size::Fixed(_), N | A | An | Ans | Z) => 1,
        // Hosts send variable fields with length zero: present, and empty.
        (Size::Ll(_) | Size::Lll(_), _) => 0,
    };
    Row { encoding, length, unit, pad, filler, content: shape.content, minimum, maximum }
}

/// ISO 8583:1987, DE 2 to 128 in their order.
#[rustfmt::skip]
const ISO87: [Shape; 127] = [
    /*   2 */ shape("Primary Account Number", Content::N, Size::Ll(19)),
    /*   3 */ shape("Processing Code", Content::N, Size::Fixed(6)),
    /*   4 */ shape("Amount, Transaction", Content::N, Size::Fixed(12)),
    /*   5 */ shape("Amount, Settlement", Content::N, Size::Fixed(12)),
    /*   6 */ shape("Amount, Cardholder Billing", Content::N, Size::Fixed(12)),
    /*   7 */ shape("Transmission Date and Time", Content::N, Size::Fixed(10)),
    /*   8 */ shape("Amount, Cardholder Billing Fee", Content::N, Size::Fixed(8)),
    /*   9 */ shape("Conversion Rate, Settlement", Content::N, Size::Fixed(8)),
    /*  10 */ shape("Conversion Rate, Cardholder Billing", Content::N, Size::Fixed(8)),
    /*  11 */ shape("System Trace Audit Number", Content::N, Size::Fixed(6)),
    /*  12 */ shape("Time, Local Transaction", Content::N, Size::Fixed(6)),
    /*  13 */ shape("Date, Local Transaction", Content::N, Size::Fixed(4)),
    /*  14 */ shape("Date, Expiration", Content::N, Size::Fixed(4)),
    /*  15 */ shape("Date, Settlement", Content::N, Size::Fixed(4)),
    /*  16 */ shape("Date, Conversion", Content::N, Size::Fixed(4)),
    /*  17 */ shape("Date, Capture", Content::N, Size::Fixed(4)),
    /*  18 */ shape("Merchant Type", Content::N, Size::Fixed(4)),
    /*  19 */ shape("Acquiring Institution Country Code", Content::N, Size::Fixed(3)),
    /*  20 */ shape("PAN Country Code", Content::N, Size::Fixed(3)),
    /*  21 */ shape("Forwarding Institution Country Code", Content::N, Size::Fixed(3)),
    /*  22 */ shape("Point-of-Service Entry Mode", Content::N, Size::Fixed(3)),
    /*  23 */ shape("PAN Sequence Number", Content::N, Size::Fixed(3)),
    /*  24 */ shape("Network International Identifier", Content::N, Size::Fixed(3)),
    /*  25 */ shape("Point-of-Service Condition Code", Content::N, Size::Fixed(2)),
    /*  26 */ shape("PIN Capture Code", Content::N, Size::Fixed(2)),
    /*  27 */ shape("Authorisation Response Length", Content::N, Size::Fixed(1)),
    /*  28 */ shape("Amount, Transaction Fee", Content::Xn, Size::Fixed(9)),
    /*  29 */ shape("Amount, Settlement Fee", Content::Xn, Size::Fixed(9)),
    /*  30 */ shape("Amount, Transaction Processing Fee", Content::Xn, Size::Fixed(9)),
    /*  31 */ shape("Amount, Settlement Processing Fee", Content::Xn, Size::Fixed(9)),
    /*  32 */ shape("Acquiring Institution", Content::N, Size::Ll(11)),
    /*  33 */ shape("Forwarding Institution", Content::N, Size::Ll(11)),
    /*  34 */ shape("Primary Account Number, Extended", Content::Ans, Size::Ll(28)),
    /*  35 */ shape("Track 2 Data", Content::Z, Size::Ll(37)),
    /*  36 */ shape("Track 3 Data", Content::Z, Size::Lll(104)),
    /*  37 */ shape("Retrieval Reference Number", Content::An, Size::Fixed(12)),
    /*  38 */ shape("Authorisation Code", Content::An, Size::Fixed(6)),
    /*  39 */ shape("Response Code", Content::An, Size::Fixed(2)),
    /*  40 */ shape("Service Restriction Code", Content::An, Size::Fixed(3)),
    /*  41 */ shape("Terminal", Content::Ans, Size::Fixed(8)),
    /*  42 */ shape("Merchant", Content::Ans, Size::Fixed(15)),
    /*  43 */ shape("Merchant Name and Location", Content::Ans, Size::Fixed(40)),
    /*  44 */ shape("Additional Response Data", Content::Ans, Size::Ll(25)),
    /*  45 */ shape("Track 1 Data", Content::Ans, Size::Ll(76)),
    /*  46 */ shape("Additional Data, ISO", Content::Ans, Size::Lll(999)),
    /*  47 */ shape("Additional Data, National", Content::Ans, Size::Lll(999)),
    /*  48 */ shape("Additional Data, Private", Content::Ans, Size::Lll(999)),
    /*  49 */ shape("Currency Code, Transaction", Content::N, Size::Fixed(3)),
    /*  50 */ shape("Currency Code, Settlement", Content::N, Size::Fixed(3)),
    /*  51 */ shape("Currency Code, Cardholder Billing", Content::N, Size::Fixed(3)),
    /*  52 */ shape("PIN Block", Content::B, Size::Fixed(8)),
    /*  53 */ shape("Security Control Information", Content::N, Size::Fixed(16)),
    /*  54 */ shape("Additional Amounts", Content::Ans, Size::Lll(240)),
    /*  55 */ shape("Chip Data", Content::B, Size::Lll(255)),
    /*  56 */ shape("Reserved, ISO", Content::Ans, Size::Lll(999)),
    /*  57 */ shape("Reserved, National", Content::Ans, Size::Lll(999)),
    /*  58 */ shape("Reserved, National", Content::Ans, Size::Lll(999)),
    /*  59 */ shape("Reserved, National", Content::Ans, Size::Lll(999)),
    /*  60 */ shape("Reserved, National", Content::Ans, Size::Lll(999)),
    /*  61 */ shape("Reserved, Private", Content::Ans, Size::Lll(999)),
    /*  62 */ shape("Reserved, Private", Content::Ans, Size::Lll(999)),
    /*  63 */ shape("Reserved, Private", Content::Ans, Size::Lll(999)),
    /*  64 */ shape("MAC", Content::B, Size::Fixed(8)),
    /*  65 */ shape("Bitmap, Tertiary", Content::B, Size::Fixed(8)),
    /*  66 */ shape("Settlement Code", Content::N, Size::Fixed(1)),
    /*  67 */ shape("Extended Payment Code", Content::N, Size::Fixed(2)),
    /*  68 */ shape("Receiving Institution Country Code", Content::N, Size::Fixed(3)),
    /*  69 */ shape("Settlement Institution Country Code", Content::N, Size::Fixed(3)),
    /*  70 */ shape("Network Management Code", Content::N, Size::Fixed(3)),
    /*  71 */ shape("Message Number", Content::N, Size::Fixed(4)),
    /*  72 */ shape("Message Number, Last", Content::N, Size::Fixed(4)),
    /*  73 */ shape("Date, Action", Content::N, Size::Fixed(6)),
    /*  74 */ shape("Credits, Number", Content::N, Size::Fixed(10)),
    /*  75 */ shape("Credits, Reversal Number", Content::N, Size::Fixed(10)),
    /*  76 */ shape("Debits, Number", Content::N, Size::Fixed(10)),
    /*  77 */ shape("Debits, Reversal Number", Content::N, Size::Fixed(10)),
    /*  78 */ shape("Transfers, Number", Content::N, Size::Fixed(10)),
    /*  79 */ shape("Transfers, Reversal Number", Content::N, Size::Fixed(10)),
    /*  80 */ shape("Inquiries, Number", Content::N, Size::Fixed(10)),
    /*  81 */ shape("Authorisations, Number", Content::N, Size::Fixed(10)),
    /*  82 */ shape("Credits, Processing Fee Amount", Content::N, Size::Fixed(12)),
    /*  83 */ shape("Credits, Transaction Fee Amount", Content::N, Size::Fixed(12)),
    /*  84 */ shape("Debits, Processing Fee Amount", Content::N, Size::Fixed(12)),
    /*  85 */ shape("Debits, Transaction Fee Amount", Content::N, Size::Fixed(12)),
    /*  86 */ shape("Credits, Amount", Content::N, Size::Fixed(16)),
    /*  87 */ shape("Credits, Reversal Amount", Content::N, Size::Fixed(16)),
    /*  88 */ shape("Debits, Amount", Content::N, Size::Fixed(16)),
    /*  89 */ shape("Debits, Reversal Amount", Content::N, Size::Fixed(16)),
    /*  90 */ shape("Original Data Elements", Content::N, Size::Fixed(42)),
    /*  91 */ shape("File Update Code", Content::An, Size::Fixed(1)),
    /*  92 */ shape("File Security Code", Content::An, Size::Fixed(2)),
    /*  93 */ shape("Response Indicator", Content::An, Size::Fixed(5)),
    /*  94 */ shape("Service Indicator", Content::An, Size::Fixed(7)),
    /*  95 */ shape("Replacement Amounts", Content::An, Size::Fixed(42)),
    /*  96 */ shape("Message Security Code", Content::B, Size::Fixed(8)),
    /*  97 */ shape("Amount, Net Settlement", Content::Xn, Size::Fixed(17)),
    /*  98 */ shape("Payee", Content::Ans, Size::Fixed(25)),
    /*  99 */ shape("Settlement Institution", Content::N, Size::Ll(11)),
    /* 100 */ shape("Receiving Institution", Content::N, Size::Ll(11)),
    /* 101 */ shape("File Name", Content::Ans, Size::Ll(17)),
    /* 102 */ shape("Account 1", Content::Ans, Size::Ll(28)),
    /* 103 */ shape("Account 2", Content::Ans, Size::Ll(28)),
    /* 104 */ shape("Transaction Description", Content::Ans, Size::Lll(100)),
    /* 105 */ shape("Reserved, ISO", Content::Ans, Size::Lll(999)),
    /* 106 */ shape("Reserved, ISO", Content::Ans, Size::Lll(999)),
    /* 107 */ shape("Reserved, ISO", Content::Ans, Size::Lll(999)),
    /* 108 */ shape("Reserved, ISO", Content::Ans, Size::Lll(999)),
    /* 109 */ shape("Reserved, ISO", Content::Ans, Size::Lll(999)),
    /* 110 */ shape("Reserved, ISO", Content::Ans, Size::Lll(999)),
    /* 111 */ shape("Reserved, ISO", Content::Ans, Size::Lll(999)),
    /* 112 */ shape("Reserved, National", Content::Ans, Size::Lll(999)),
    /* 113 */ shape("Reserved, National", Content::Ans, Size::Lll(999)),
    /* 114 */ shape("Reserved, National", Content::Ans, Size::Lll(999)),
    /* 115 */ shape("Reserved, National", Content::Ans, Size::Lll(999)),
    /* 116 */ shape("Reserved, National", Content::Ans, Size::Lll(999)),
    /* 117 */ shape("Reserved, National", Content::Ans, Size::Lll(999)),
    /* 118 */ shape("Reserved, National", Content::Ans, Size::Lll(999)),
    /* 119 */ shape("Reserved, National", Content::Ans, Size::Lll(999)),
    /* 120 */ shape("Reserved, Private", Content::Ans, Size::Lll(999)),
    /* 121 */ shape("Reserved, Private", Content::Ans, Size::Lll(999)),
    /* 122 */ shape("Reserved, Private", Content::Ans, Size::Lll(999)),
    /* 123 */ shape("Reserved, Private", Content::Ans, Size::Lll(999)),
    /* 124 */ shape("Reserved, Private", Content::Ans, Size::Lll(999)),
    /* 125 */ shape("Reserved, Private", Content::Ans, Size::Lll(999)),
    /* 126 */ shape("Reserved, Private", Content::Ans, Size::Lll(999)),
    /* 127 */ shape("Reserved, Private", Content::Ans, Size::Lll(999)),
    /* 128 */ shape("MAC", Content::B, Size::Fixed(8)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_fits_its_prefix_and_its_class() {
        for dialect in Dialect::all() {
            for de in 2..=128 {
                let row = dialect.row(de).unwrap();
                let most = match row.length {
                    Length::Fixed => row.maximum,
                    Length::Ll(_) => 99,
                    Length::Lll(_) => 999,
                };
                assert!(row.minimum <= row.maximum && row.maximum <= most, "{} {de}", dialect.name);
                assert_eq!(row.content == Content::B, crate::mask::is_binary(de), "DE {de}");
                assert!(!name(de).unwrap().is_empty());
            }
            assert!([0, 1, 129, 255].into_iter().all(|de| dialect.row(de).is_none()));
            assert_eq!(Dialect::by_name(dialect.name).map(|d| d.name), Some(dialect.name));
        }
        assert!(Dialect::by_name("iso87-ebcdic").is_none());
    }
}
