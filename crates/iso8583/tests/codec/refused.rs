//! Bad messages, each refused at the right field and offset, with what was expected there.

use crate::{dialect, parse, unhex};

#[track_caller]
fn check_bytes(dialect_name: &str, bytes: &[u8], text: &str) {
    let error = parse(dialect(dialect_name), bytes).map(|_| "accepted").unwrap_err();
    assert_eq!(error.to_string(), text);
}

/// ASCII with `~` for a byte that is not ASCII.
#[track_caller]
fn ascii(message: &str, text: &str) {
    let bytes: Vec<u8> = message.bytes().map(|b| if b == b'~' { 0xFF } else { b }).collect();
    check_bytes("iso87-ascii", &bytes, text);
}

#[track_caller]
fn bcd(hex: &str, text: &str) {
    check_bytes("iso87-bcd", &unhex(hex), text);
}

#[test]
fn mti() {
    ascii("", "MTI: need 4 digits at offset 0, have 0");
    ascii("02", "MTI: need 4 digits at offset 0, have 2");
    ascii("02X0", "MTI: need digits at offset 2, have another byte");
    bcd("", "MTI: need 4 digits at offset 0, have 0");
    bcd("02", "MTI: need 4 digits at offset 0, have 2");
    bcd("02A0", "MTI: need digits at offset 1, have another byte");
}

#[test]
fn bitmap() {
    ascii("0210", "bitmap: need 16 characters at offset 4, have 0");
    ascii("02100000", "bitmap: need 16 characters at offset 4, have 4");
    ascii("0210~000000000000000", "bitmap: need hex characters at offset 4, have another byte");
    ascii("0210000000000000000G", "bitmap: need hex characters at offset 19, have another byte");
    ascii("02008000000000000000", "bitmap: need 16 characters at offset 20, have 0");
    ascii("020080000000000000000000", "bitmap: need 16 characters at offset 20, have 4");
    ascii("020080000000000000000000000X00000000", "bitmap: need hex characters at offset 27, have another byte");
    ascii(
        "0100800000000000000080000000000000000000000000000000",
        "bitmap: need bit 65 clear at offset 20, have it set: there is no third bitmap",
    );
    bcd("0200 00", "bitmap: need 8 bytes at offset 2, have 1");
    bcd("0200 8000000000000000 0000", "bitmap: need 8 bytes at offset 10, have 2");
    bcd(
        "0200 8000000000000000 8000000000000000",
        "bitmap: need bit 65 clear at offset 10, have it set: there is no third bitmap",
    );
}

#[test]
fn fixed_fields() {
    ascii("0200200000000000000000000", "field 3: need 6 digits at offset 20, have 5");
    ascii("02002000000000000000010Q33", "field 3: need digits at offset 23, have another byte");
    ascii("02002000000000000000~10033", "field 3: need digits at offset 20, have another byte");
    ascii("02000000001000000000X00000150", "field 28: need C or D, then digits at offset 20, have another byte");
    ascii("02000000001000000000C0000015X", "field 28: need C or D, then digits at offset 28, have another byte");
    ascii("02000000000004000000A-0000", "field 38: need letters, digits or spaces at offset 21, have another byte");
    ascii("02000000000000800000TERM000~", "field 41: need printable ASCII at offset 27, have another byte");
    ascii("0200000000000000100001234567", "field 52: need 16 characters at offset 20, have 8");
    ascii("020000000000000010000123456789ABCDEG", "field 52: need hex characters at offset 35, have another byte");
    bcd("0200 2000000000000000 00", "field 3: need 6 digits at offset 10, have 2");
    bcd("0200 2000000000000000 0000", "field 3: need 6 digits at offset 10, have 4");
    bcd("0200 2000000000000000 00A000", "field 3: need digits at offset 11, have another byte");
    bcd("0200 2000000000000000 00000F", "field 3: need digits at offset 12, have another byte");
    bcd("0200 0000040000000000 1051", "field 22: need filler 0 at offset 10, have another nibble");
    bcd("0200 0000040000000000 0A51", "field 22: need digits at offset 10, have another byte");
    bcd("0200 0000001000000000 4500000150", "field 28: need C or D, then digits at offset 10, have another byte");
    bcd("0200 0000001000000000 43000001F0", "field 28: need C or D, then digits at offset 14, have another byte");
    bcd("0200 0000000000001000 01020304", "field 52: need 8 bytes at offset 10, have 4");
    bcd("0200 0000000000800000 5445524D30303000", "field 41: need printable ASCII at offset 17, have another byte");
}

#[test]
fn variable_fields() {
    let de2 = "02004000000000000000";
    let check = |rest: &str, text: &str| ascii(&format!("{de2}{rest}"), text);
    check("", "field 2 length: need 2 digits at offset 20, have 0");
    check("1", "field 2 length: need 2 digits at offset 20, have 1");
    check("g5123456", "field 2 length: need 2 decimal digits at offset 20, have another byte");
    check("~5123456", "field 2 length: need 2 decimal digits at offset 20, have another byte");
    check("0g123456", "field 2 length: need 2 decimal digits at offset 21, have another byte");
    check("B0000000000000", "field 2 length: need 2 decimal digits at offset 20, have another byte");
    check("2001234567890123456789", "field 2 length: need 0 to 19 digits at offset 20, have 20");
    check("06", "field 2: need 6 digits at offset 22, have 0");
    check("0612345", "field 2: need 6 digits at offset 22, have 5");
    check("02~~", "field 2: need digits at offset 22, have another byte");
    check("021X", "field 2: need digits at offset 23, have another byte");
    ascii("020000000000200000003711=", "field 35: need 37 digits at offset 22, have 3");
    ascii("020000000000200000000411:1", "field 35: need digits and the separator at offset 24, have another byte");
    ascii("020000000000000002000049F0", "field 55: need 4 characters at offset 23, have 3");
    ascii("020000000000000002000039F0", "field 55 length: need an even number of hex characters at offset 20, have 3");
    ascii("020000000000000002000049F0G", "field 55: need hex characters at offset 26, have another byte");
    ascii("0200000000000000020051200", "field 55 length: need 0 to 510 characters at offset 20, have 512");

    let de2 = "0200 4000000000000000";
    let check = |rest: &str, text: &str| bcd(&format!("{de2}{rest}"), text);
    check("", "field 2 length: need 2 digits at offset 10, have 0");
    check("0A 1234567890", "field 2 length: need 2 decimal digits at offset 10, have another byte");
    check("20 01234567890123456789", "field 2 length: need 0 to 19 digits at offset 10, have 20");
    check("06 1234", "field 2: need 6 digits at offset 11, have 4");
    check("05 1234", "field 2: need 5 digits at offset 11, have 4");
    check("05 112345", "field 2: need filler 0 at offset 11, have another nibble");
    check("05 01234F", "field 2: need digits at offset 13, have another byte");
    bcd("0200 0000000020000000 37 4111", "field 35: need 37 digits at offset 11, have 4");
    bcd("0200 0000000020000000 05 411120", "field 35: need filler F at offset 13, have another nibble");
    bcd("0200 0000000020000000 05 4111EF", "field 35: need digits and the separator at offset 13, have another byte");
    bcd("0200 0000000020000000 06 41F1D0", "field 35: need digits and the separator at offset 12, have another byte");
    bcd("0200 0000000000010000 00", "field 48 length: need 3 digits at offset 10, have 2");
    bcd("0200 0000000000010000 1000", "field 48 length: need 0 to 999 characters at offset 10, have 1000");
    bcd("0200 0000000000010000 0A00", "field 48 length: need 3 decimal digits at offset 10, have another byte");
    bcd("0200 0000000000000200 0256", "field 55 length: need 0 to 255 bytes at offset 10, have 256");
    bcd("0200 0000000000000200 0003 9F02", "field 55: need 3 bytes at offset 12, have 2");
}

#[test]
fn the_end() {
    ascii("02100000000000000000345", "message: need its end at offset 20, have 3 bytes more");
    ascii("0200400000000000000002123456", "message: need its end at offset 24, have 4 bytes more");
    bcd("0800 0000000000000000 00", "message: need its end at offset 10, have 1 bytes more");
    check_bytes("iso87-bcd", &[0; 65_535], "message: need its end at offset 10, have 65525 bytes more");
    check_bytes("iso87-bcd", &[0; 65_536], "message: need at most 65535 bytes, have 65536");
}
