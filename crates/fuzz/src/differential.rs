//! The codec beside `iso8583_rs`, an independent library: the same bytes through both.
//!
//! The peer's fields are public and are put together here by the table's lengths, so that neither its specification file nor
//! its environment variable is needed. It reads both dialects' bitmaps only as bytes, so those of `iso87-ascii` are put into
//! bytes first. Where the two may differ is the list in `May`; all else is a disagreement.

use std::collections::HashMap;
use std::io::{BufRead, Cursor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use iso8583::parse::Problem;
use iso8583::table::{Content, Encoding, ISO87_ASCII, ISO87_BCD, Length, Prefix, Row};
use iso8583::{Dialect, FieldNo, Fields, Layout, Mti, ParseError, mask};
use iso8583_rs::iso8583::bitmap::BmpField;
use iso8583_rs::iso8583::field::{Encoding as PeerEncoding, Field, FixedField, VarField};

/// One byte of dialect, then a message. What we accept the peer accepts, with the same fields and values and to the same
/// byte; what we refuse it refuses, but for the cases of `May`, and then it has the fields before the wrong one as we have
/// them.
///
/// # Panics
/// When the two disagree.
pub fn codec_differential(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    let packed = which % 2 == 1;
    let dialect = if packed { &ISO87_BCD } else { &ISO87_ASCII };
    let mut layout = Layout::new();
    let ours = dialect.parse(bytes, &mut layout).map(|message| message.mti());
    let Some(for_peer) = with_binary_bitmaps(bytes, packed) else {
        assert!(ours.is_err(), "no bitmap, and accepted");
        return;
    };
    let mut fields = Fields::new(Mti::new(b"0000"));
    if let Some(message) = dialect.partial(bytes, &layout) {
        message.fields_into(&mut fields);
    }
    if packed && fields.iter().any(|(de, _)| counts_digits(de)) {
        return;
    }
    let peer = read_by_peer(&for_peer, packed);
    match (ours, peer) {
        (Ok(_), Some(peer)) => {
            assert_eq!(peer.left, 0, "the peer leaves {} bytes", peer.left);
            assert_eq!(peer.values.len(), fields.iter().count(), "the peer has other fields");
            same_values(dialect, &fields, &peer);
        }
        (Ok(_), None) => panic!("accepted here, refused by the peer: {fields:?}"),
        (Err(error), Some(peer)) => {
            assert!(May::of(&error).accept(&peer, &error, bytes.len()), "refused here and accepted by the peer: {error}");
            same_values(dialect, &fields, &peer);
        }
        (Err(_), None) => {}
    }
}

/// What the peer may do with a message that we refuse.
enum May {
    /// It does not judge content: letters in digits, a sign, filler nibbles, hex, an MTI of any bytes; nor a length above the
    /// field's maximum, nor one of hex text that is odd. A length prefix it reads as Rust does, which takes a `+`.
    NotJudge,
    /// It knows of third bitmaps.
    ReadAThirdBitmap,
    /// It stops after the last field and leaves the rest to its caller.
    Leave(usize),
    /// Nothing: the message ends inside a field.
    Nothing,
}

impl May {
    fn of(error: &ParseError) -> May {
        match error.problem {
            Problem::Content { .. } | Problem::Filler { .. } | Problem::LengthOutside { .. } => May::NotJudge,
            Problem::LengthOdd { .. } | Problem::LengthNotDecimal { .. } => May::NotJudge,
            Problem::ThirdBitmap => May::ReadAThirdBitmap,
            Problem::Trailing { have } => May::Leave(have),
            Problem::Short { .. } | Problem::ShortLength { .. } | Problem::TooLong { .. } => May::Nothing,
        }
    }

    fn accept(&self, peer: &Read, error: &ParseError, length: usize) -> bool {
        match self {
            May::NotJudge => error.offset <= length,
            May::ReadAThirdBitmap => error.field == FieldNo::Bitmap,
            May::Leave(have) => peer.left == *have,
            May::Nothing => false,
        }
    }
}

/// In `iso87-bcd` these have a length in digits, two to a byte; the peer's lengths are bytes always.
fn counts_digits(de: u8) -> bool {
    let row = ISO87_BCD.row(de);
    row.is_some_and(|row| row.encoding == Encoding::Bcd && row.length != Length::Fixed)
}

/// What the peer read: field values as it keeps them, and how many bytes it left.
struct Read {
    values: HashMap<String, Vec<u8>>,
    left: usize,
}

fn same_values(dialect: &'static Dialect, fields: &Fields, peer: &Read) {
    for (de, value) in fields.iter() {
        let row = dialect.row(de).expect("a row for each");
        let theirs = peer.values.get(&de.to_string()).unwrap_or_else(|| panic!("the peer has no field {de}"));
        assert_eq!(canonical(theirs, row, value.len()), value, "field {de}");
        assert_eq!(mask::is_binary(de), matches!(row.encoding, Encoding::Raw | Encoding::HexText), "field {de}");
    }
}

/// The peer's raw value as a person reads it, for a value of so many characters.
fn canonical(raw: &[u8], row: &Row, length: usize) -> Vec<u8> {
    let hex = |raw: &[u8]| -> Vec<u8> { raw.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect() };
    match (row.encoding, row.content) {
        // D and = both separate tracks; here they are the same.
        (Encoding::Ascii, Content::Z) => raw.iter().map(|byte| if *byte == b'D' { b'=' } else { *byte }).collect(),
        (Encoding::Ascii | Encoding::Raw, _) => raw.to_vec(),
        (Encoding::HexText, _) => raw.chunks_exact(2).map(hex_byte).collect(),
        // A sign is a byte of its own before the digits.
        (Encoding::Bcd, Content::Xn) => [&raw[..1], &hex(&raw[1..])[..]].concat(),
        // Variable ones are not compared, so there is no track among them.
        (Encoding::Bcd, _) => {
            let digits = hex(raw);
            digits[digits.len() - length..].to_vec()
        }
    }
}

fn hex_byte(pair: &[u8]) -> u8 {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("we accepted it as hex") as u8;
    digit(pair[0]) << 4 | digit(pair[1])
}

/// The message with each bitmap as eight bytes; `None` when the hex text of one is none.
fn with_binary_bitmaps(bytes: &[u8], packed: bool) -> Option<Vec<u8>> {
    if packed {
        return Some(bytes.to_vec());
    }
    let (mti, mut rest) = bytes.split_at_checked(4)?;
    let mut out = mti.to_vec();
    loop {
        let (text, after) = rest.split_at_checked(16)?;
        if !text.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        out.extend(text.chunks_exact(2).map(hex_byte));
        rest = after;
        // Bit 1 announces the second one, and bit 65 a third.
        let announces_another = text[0].to_ascii_uppercase() >= b'8';
        if !announces_another || out.len() == 4 + 24 {
            out.extend_from_slice(rest);
            return Some(out);
        }
    }
}

thread_local! {
    /// For `iso87-ascii` and `iso87-bcd`.
    static PEERS: [BmpField; 2] = [peer(&ISO87_ASCII), peer(&ISO87_BCD)];
}

fn read_by_peer(bytes: &[u8], packed: bool) -> Option<Read> {
    let mti_bytes = if packed { 2 } else { 4 };
    let mut input = Cursor::new(bytes);
    let mut values = HashMap::new();
    let mti = fixed("mti", mti_bytes, if packed { PeerEncoding::BCD } else { PeerEncoding::ASCII });
    let read = quietly(|| {
        mti.parse(&mut input as &mut dyn BufRead, &mut values)?;
        PEERS.with(|[text, packed_one]| {
            let peer = if packed { packed_one } else { text };
            peer.parse(&mut input as &mut dyn BufRead, &mut values)
        })
    });
    let left = bytes.len() - input.position() as usize;
    values.retain(|name, _| name.bytes().all(|b| b.is_ascii_digit()));
    matches!(read, Some(Ok(()))).then_some(Read { values, left })
}

/// It panics on bytes that it cannot read: that is its refusal, and is not printed.
fn quietly<T>(read: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    thread_local!(static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
    HOOK.call_once(|| {
        // Around the one that is there: that of a fuzzing engine ends the process.
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                others(info);
            }
        }));
    });
    QUIET.set(true);
    let read = catch_unwind(AssertUnwindSafe(read));
    QUIET.set(false);
    read.ok()
}

fn fixed(name: &str, bytes: usize, encoding: PeerEncoding) -> FixedField {
    FixedField { name: name.to_owned(), id: 0, len: bytes as u32, encoding, position: name.parse().unwrap_or_default() }
}

/// The peer's fields: lengths and positions by the table, everything else is its own.
fn peer(dialect: &'static Dialect) -> BmpField {
    let children = (2..=128).filter_map(|de| Some((de, dialect.row(de)?))).map(|(de, row)| field(de, row)).collect();
    BmpField { name: "bitmap".to_owned(), id: 0, encoding: PeerEncoding::BINARY, children }
}

fn field(de: u8, row: &Row) -> Box<dyn Field> {
    let (name, position) = (de.to_string(), u32::from(de));
    let (encoding, len_encoding) = match row.encoding {
        Encoding::Bcd => (PeerEncoding::BCD, PeerEncoding::BCD),
        Encoding::Raw => (PeerEncoding::BINARY, PeerEncoding::BCD),
        Encoding::Ascii | Encoding::HexText => (PeerEncoding::ASCII, PeerEncoding::ASCII),
    };
    let (ascii_prefix, digits) = match row.length {
        Length::Fixed => return Box::new(fixed(&name, wire_bytes(row), encoding)),
        Length::Ll(prefix) => (prefix == Prefix::Ascii, 2),
        Length::Lll(prefix) => (prefix == Prefix::Ascii, 3_u32),
    };
    let (len, len_encoding) = if ascii_prefix { (digits, len_encoding) } else { (digits.div_ceil(2), PeerEncoding::BCD) };
    Box::new(VarField { name, id: 0, len, len_encoding, encoding, position })
}

/// Bytes of a fixed field on the wire.
fn wire_bytes(row: &Row) -> usize {
    let units = usize::from(row.maximum);
    match (row.encoding, row.content) {
        (Encoding::Bcd, Content::Xn) => 1 + (units - 1).div_ceil(2),
        (Encoding::Bcd, _) => units.div_ceil(2),
        (Encoding::Ascii | Encoding::Raw | Encoding::HexText, _) => units,
    }
}
