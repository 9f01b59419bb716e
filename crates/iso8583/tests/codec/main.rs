//! The codec from outside: vectors of an independent library, refusals to the byte, properties.

mod properties;
mod refused;
mod vectors;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod wiped;

use iso8583::{Dialect, Fields, Layout, Mti, ParseError};

/// Parses a whole message into canonical fields.
fn parse(dialect: &'static Dialect, bytes: &[u8]) -> Result<Fields, ParseError> {
    let mut layout = Layout::new();
    let mut fields = Fields::new(Mti::new(b"0000"));
    dialect.parse(bytes, &mut layout)?.fields_into(&mut fields);
    Ok(fields)
}

fn dialect(name: &str) -> &'static Dialect {
    Dialect::by_name(name).expect("a built-in dialect")
}

/// Bytes of hex text; spaces are for the reader.
fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| *b != b' ').collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}
