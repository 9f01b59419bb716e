//! Values and bytes as an independent library has them, and by hand what it cannot write.

use iso8583::display::{self, Secrets};
use iso8583::{AssembleError, Dialect, Fields, Layout, Mti, mask};

use crate::{dialect, parse, unhex};

/// A value as a test writes it: text, or hex of a binary field.
fn canonical(de: u8, value: &str) -> Vec<u8> {
    if mask::is_binary(de) { unhex(value) } else { value.into() }
}

#[track_caller]
fn check_both_ways(dialect: &'static Dialect, bytes: &[u8], mti: &str, want: &[(u8, Vec<u8>)]) {
    let fields = parse(dialect, bytes).unwrap();
    assert_eq!(fields.mti().as_str(), mti);
    let got: Vec<_> = fields.iter().map(|(de, value)| (de, value.to_vec())).collect();
    assert_eq!(got, want);
    let mut out = Vec::new();
    dialect.assemble(&fields, &mut out).unwrap();
    assert_eq!(out, bytes, "assembled again, byte for byte");
}

#[track_caller]
fn check_file(dialect: &'static Dialect, file: &str) {
    let vectors: serde_json::Value = serde_json::from_str(file).unwrap();
    for vector in vectors.as_array().unwrap() {
        let text = |key: &str| vector[key].as_str().unwrap();
        println!("{} {}", dialect.name, text("name"));
        let mut want: Vec<(u8, Vec<u8>)> = vector["fields"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(de, value)| (de.parse().unwrap(), value.as_str().unwrap()))
            .map(|(de, value)| (de, canonical(de, value)))
            .collect();
        want.sort();
        let bytes = unhex(text("hex"));
        check_both_ways(dialect, &bytes, text("mti"), &want);

        // What `decode --json --clear` prints is what the library was given.
        let json = display::json(&parse(dialect, &bytes).unwrap(), Secrets::Clear);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["fields"], vector["fields"]);
        assert_eq!(json["mti"], vector["mti"]);
    }
}

#[test]
fn iso87_ascii_as_pyiso8583() {
    check_file(dialect("iso87-ascii"), include_str!("../vectors/iso87-ascii.json"));
}

#[test]
fn iso87_bcd_as_pyiso8583() {
    check_file(dialect("iso87-bcd"), include_str!("../vectors/iso87-bcd.json"));
}

#[test]
fn a_sign_stands_before_packed_digits() {
    let check = |hex: &str, de: u8, value: &str| {
        check_both_ways(dialect("iso87-bcd"), &unhex(hex), "0200", &[(de, value.into())]);
    };
    check("0200 0000001000000000 43 00000150", 28, "C00000150");
    check("0200 8000000000000000 0000000080000000 44 0000000000012345", 97, "D0000000000012345");
}

/// A message with one field, which is read to this value.
#[track_caller]
fn check_read(dialect_name: &str, bytes: &[u8], de: u8, value: &str) {
    assert_eq!(parse(dialect(dialect_name), bytes).unwrap().text(de), Some(value));
}

#[test]
fn what_hosts_send_otherwise_is_read_canonically() {
    check_read("iso87-ascii", b"02000000000020000000074111D28", 35, "4111=28");
    // Lower-case hex in the bitmap.
    check_read("iso87-ascii", b"0410000000000a80800053260412345600TERM0001840", 37, "532604123456");
    // A second bitmap of zeros announces nothing.
    check_read("iso87-bcd", &unhex("0800 8020000000000000 0000000000000000 123456"), 11, "123456");
}

/// One field set to `value`: assembled as `wire` behind MTI 0200 and its bitmap.
#[track_caller]
fn check_written(dialect_name: &str, de: u8, value: &str, wire: &str) {
    let dialect = dialect(dialect_name);
    let mut fields = Fields::new(Mti::new(b"0200"));
    fields.set(de, &canonical(de, value));
    let mut out = Vec::new();
    dialect.assemble(&fields, &mut out).unwrap();
    let head = if dialect_name == "iso87-bcd" { 10 } else { 20 };
    assert_eq!(&out[head..], unhex(wire), "DE {de}");
}

#[test]
fn short_fixed_fields_are_padded() {
    check_written("iso87-ascii", 4, "150", "303030303030303030313530");
    check_written("iso87-ascii", 41, "T1", "5431202020202020");
    check_written("iso87-bcd", 4, "150", "000000000150");
    check_written("iso87-bcd", 4, "15", "000000000015");
    check_written("iso87-bcd", 22, "5", "0005");
    check_written("iso87-bcd", 39, "0", "3020");
    check_written("iso87-bcd", 2, "378282246310005", "15 0378282246310005");
    check_written("iso87-bcd", 35, "4111=28", "07 4111D28F");
}

/// What assembly says of one field.
#[track_caller]
fn check_unwritable(de: u8, value: &[u8], text: [&str; 2]) {
    for (name, text) in ["iso87-ascii", "iso87-bcd"].into_iter().zip(text) {
        let mut fields = Fields::new(Mti::new(b"0200"));
        fields.set(11, b"000001");
        fields.set(de, value);
        let mut out = b"an earlier message".to_vec();
        let error: AssembleError = dialect(name).assemble(&fields, &mut out).unwrap_err();
        assert_eq!(error.to_string(), text, "{name}");
        assert!(out.is_empty(), "nothing of a refused message may be sent");
    }
}

#[test]
fn unwritable_fields_are_refused_by_name() {
    let same = |text| [text, text];
    check_unwritable(3, b"00000X", same("field 3: need digits"));
    check_unwritable(3, b"", same("field 3: need 1 to 6 digits, have 0"));
    check_unwritable(4, b"1000000000000", same("field 4: need 1 to 12 digits, have 13"));
    check_unwritable(28, b"C150", same("field 28: need 9 to 9 digits, have 4"));
    check_unwritable(28, b"X00000150", same("field 28: need C or D, then digits"));
    check_unwritable(35, b"4111D28", same("field 35: need digits and the separator"));
    check_unwritable(38, b"A-1", same("field 38: need letters, digits or spaces"));
    check_unwritable(41, b"TERM00012", same("field 41: need 1 to 8 characters, have 9"));
    check_unwritable(43, b"caf\xE9", same("field 43: need printable ASCII"));
    check_unwritable(52, &[0; 7], ["field 52: need 16 to 16 characters, have 14", "field 52: need 8 to 8 bytes, have 7"]);
    check_unwritable(65, &[0; 8], same("field 65: a third bitmap is not supported"));
}

#[test]
fn spans_and_partial_messages_name_what_was_read() {
    let bcd = dialect("iso87-bcd");
    // DE3, 11, 41, 42; DE42 is cut.
    let bytes = unhex("0200 2020000000C00000 000000 123456 5445524D30303031 53484F50");
    let mut layout = Layout::new();
    let error = bcd.parse(&bytes, &mut layout).unwrap_err();
    assert_eq!(error.mti, Some(Mti::new(b"0200")));
    let partial = bcd.partial(&bytes, &layout).unwrap();
    assert_eq!(partial.span(11), Some(13..16));
    assert_eq!(partial.span(42), None);
    let mut fields = Fields::new(Mti::new(b"0000"));
    partial.fields_into(&mut fields);
    assert_eq!(fields.text(41), Some("TERM0001"));
    assert!(!fields.has(42) && fields.mti() == Mti::new(b"0200"));

    assert!(bcd.partial(&bytes[..12], &layout).is_none(), "a layout of other bytes");
    bcd.parse(&[], &mut layout).unwrap_err();
    assert!(bcd.partial(&[], &layout).is_none(), "no MTI, no message");
}
