//! On any bytes no panic; on any allowed values, the same values back.

use iso8583::table::{Content, Length, Row};
use iso8583::{Dialect, Fields, Layout, Mti};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::parse;

/// Whatever the bytes are: what is accepted is written again and read to the same fields, and what is
/// refused can be looked at as far as it was read.
fn check_any(dialect: &'static Dialect, bytes: &[u8]) {
    match parse(dialect, bytes) {
        Ok(fields) => {
            let mut out = Vec::new();
            dialect.assemble(&fields, &mut out).expect("what was accepted can be written");
            assert_eq!(parse(dialect, &out), Ok(fields));
        }
        Err(error) => {
            assert!(error.offset <= bytes.len(), "{error}");
            let mut layout = Layout::new();
            let again = dialect.parse(bytes, &mut layout).map(|_| ()).unwrap_err();
            assert_eq!(again, error);
            assert_eq!(dialect.partial(bytes, &layout).is_some(), error.mti.is_some());
            if let Some(partial) = dialect.partial(bytes, &layout) {
                partial.fields_into(&mut Fields::new(partial.mti()));
            }
        }
    }
}

/// Canonical length of a value with so many units on the wire.
fn canonical_len(row: &Row, units: usize) -> usize {
    if row.encoding == iso8583::table::Encoding::HexText { units / 2 } else { units }
}

/// A value that the row allows, from random lengths and bytes.
fn value(row: &Row, len: Index, bytes: &[u8]) -> Vec<u8> {
    let (least, most) = (usize::from(row.minimum), usize::from(row.maximum));
    let units = match row.length {
        Length::Fixed => most,
        Length::Ll(_) | Length::Lll(_) => least + len.index(most + 1 - least),
    };
    let random = bytes.iter().cycle().take(canonical_len(row, units));
    let pick = |from: &'static [u8]| move |b: &u8| from[usize::from(*b) % from.len()];
    let digits = b"0123456789";
    let mut value: Vec<u8> = match row.content {
        Content::N | Content::Xn => random.map(pick(digits)).collect(),
        Content::Z => random.map(pick(b"0123456789=")).collect(),
        Content::A => random.map(pick(b"AZaz ")).collect(),
        Content::An => random.map(pick(b"09AZaz ")).collect(),
        Content::Ans => random.map(|b| b' ' + b % 95).collect(),
        Content::B => random.copied().collect(),
    };
    if row.content == Content::Xn {
        value[0] = pick(b"CD")(&bytes[0]);
    }
    value
}

fn des() -> impl Strategy<Value = std::collections::BTreeSet<u8>> {
    btree_set((2..=128_u8).prop_filter("not supported", |de| *de != 65), 0..30)
}

/// Fields that the dialect allows.
fn allowed_fields(dialect: &'static Dialect) -> impl Strategy<Value = Fields> {
    let digits = vec(b'0'..=b'9', 4);
    (digits, des(), any::<Index>(), vec(any::<u8>(), 1..40)).prop_map(move |(mti, des, len, bytes)| {
        let mut fields = Fields::new(Mti::try_from(&mti[..]).unwrap());
        for de in des {
            fields.set(de, &value(dialect.row(de).unwrap(), len, &bytes));
        }
        fields
    })
}

fn dialects() -> impl Strategy<Value = &'static Dialect> {
    proptest::sample::select(Dialect::all())
}

fn dialect_and_fields() -> impl Strategy<Value = (&'static Dialect, Fields)> {
    dialects().prop_flat_map(|dialect| (Just(dialect), allowed_fields(dialect)))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4096,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes(dialect in dialects(), bytes in vec(any::<u8>(), 0..400)) {
        check_any(dialect, &bytes);
    }

    /// Digits behind a good head reach the fields, where plain noise ends at the MTI.
    #[test]
    fn any_bitmap(dialect in dialects(), bits in any::<[u8; 16]>(), rest in vec(b'0'..=b'9', 0..600)) {
        let mut bytes = Vec::new();
        if dialect.name == "iso87-bcd" {
            bytes.extend_from_slice(&[0x02, 0x00]);
            bytes.extend_from_slice(&bits);
        } else {
            bytes.extend_from_slice(b"0200");
            bytes.extend(bits.iter().flat_map(|b| format!("{b:02X}").into_bytes()));
        }
        bytes.extend_from_slice(&rest);
        check_any(dialect, &bytes);
    }

    #[test]
    fn values_come_back((dialect, fields) in dialect_and_fields()) {
        let mut out = Vec::new();
        dialect.assemble(&fields, &mut out).unwrap();
        prop_assert_eq!(parse(dialect, &out), Ok(fields));
    }

    #[test]
    fn damaged_messages(
        (dialect, fields) in dialect_and_fields(),
        damage in vec((any::<Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let mut out = Vec::new();
        dialect.assemble(&fields, &mut out).unwrap();
        for (at, byte) in damage {
            let at = at.index(out.len());
            out[at] = byte;
        }
        if let Some(cut) = cut {
            out.truncate(cut.index(out.len()));
        }
        check_any(dialect, &out);
    }

    /// A field is either whole or the message is refused: no prefix of a message is one.
    #[test]
    fn no_prefix_is_a_message((dialect, fields) in dialect_and_fields(), cut in any::<Index>()) {
        let mut out = Vec::new();
        dialect.assemble(&fields, &mut out).unwrap();
        out.truncate(cut.index(out.len()));
        prop_assert!(parse(dialect, &out).is_err());
    }
}
