//! A message for people and for scripts: field by field, masked unless asked for in clear.
//!
//! Values are the canonical ones, so the same message reads the same in every dialect. Not a log
//! format: logs hold RRN and masked PAN only. Invariant: with [`Secrets::Masked`] nothing is written
//! that [`crate::mask`] hides.

use alloc::string::String;
use core::fmt::{self, Write};

use crate::fields::Fields;
use crate::mask;
use crate::table;

/// Whether secrets are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// As far as [`crate::mask`] allows.
    Masked,
    /// Whole: only for bytes that the reader has typed.
    Clear,
}

/// One line for each field: number, name, value.
pub fn text(fields: &Fields, secrets: Secrets) -> String {
    let mut out = String::new();
    let written = write_text(fields, secrets, &mut out);
    debug_assert!(written.is_ok(), "a String takes everything");
    out
}

/// `{"mti":"0200","fields":{"2":"411111******1111"}}`: text as text, binary as upper-case hex.
pub fn json(fields: &Fields, secrets: Secrets) -> String {
    let mut out = String::new();
    let written = write_json(fields, secrets, &mut out);
    debug_assert!(written.is_ok(), "a String takes everything");
    out
}

fn write_text(fields: &Fields, secrets: Secrets, out: &mut String) -> fmt::Result {
    writeln!(out, "MTI  {:<36}  {}", "Message Type", fields.mti())?;
    for (de, value) in fields.iter() {
        write!(out, "{de:>3}  {:<36}  ", table::name(de).unwrap_or_default())?;
        write_value(de, value, secrets, &mut Printable(out))?;
        out.push('\n');
    }
    Ok(())
}

fn write_json(fields: &Fields, secrets: Secrets, out: &mut String) -> fmt::Result {
    write!(out, "{{\"mti\":\"{}\",\"fields\":{{", fields.mti())?;
    for (i, (de, value)) in fields.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        write!(out, "{comma}\"{de}\":\"")?;
        write_value(de, value, secrets, &mut JsonString(out))?;
        out.push('"');
    }
    out.push_str("}}");
    Ok(())
}

fn write_value(de: u8, value: &[u8], secrets: Secrets, out: &mut impl Write) -> fmt::Result {
    match secrets {
        Secrets::Masked => mask::write_masked(de, value, out),
        Secrets::Clear => mask::write_clear(de, value, out),
    }
}

/// Escapes what would steer a terminal.
struct Printable<'a>(&'a mut String);

impl Write for Printable<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if character.is_control() {
                write!(self.0, "{}", character.escape_default())?;
            } else {
                self.0.push(character);
            }
        }
        Ok(())
    }
}

/// Escapes what may not stand in a JSON string.
struct JsonString<'a>(&'a mut String);

impl Write for JsonString<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '"' | '\\' => {
                    self.0.push('\\');
                    self.0.push(character);
                }
                '\0'..='\x1F' | '\x7F'..='\u{9F}' => {
                    write!(self.0, "\\u{:04X}", u32::from(character))?;
                }
                _ => self.0.push(character),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Mti;

    fn purchase() -> Fields {
        let mut fields = Fields::new(Mti::new(b"0200"));
        fields.set(2, b"4111111111111111");
        fields.set(43, b"JOE\"S \\ BAR");
        fields.set(52, &[0xA1, 0xB2, 3, 4, 5, 6, 7, 8]);
        fields
    }

    #[test]
    fn json_is_masked_unless_clear() {
        assert_eq!(
            json(&purchase(), Secrets::Masked),
            r#"{"mti":"0200","fields":{"2":"411111******1111","43":"JOE\"S \\ BAR","52":"****************"}}"#
        );
        assert_eq!(
            json(&purchase(), Secrets::Clear),
            r#"{"mti":"0200","fields":{"2":"4111111111111111","43":"JOE\"S \\ BAR","52":"A1B2030405060708"}}"#
        );
        let empty = Fields::new(Mti::new(b"0800"));
        assert_eq!(json(&empty, Secrets::Masked), r#"{"mti":"0800","fields":{}}"#);
    }

    #[test]
    fn text_is_a_line_for_each_field() {
        let want = "\
MTI  Message Type                          0200
  2  Primary Account Number                411111******1111
 43  Merchant Name and Location            JOE\"S \\ BAR
 52  PIN Block                             ****************
";
        assert_eq!(text(&purchase(), Secrets::Masked), want);
    }

    #[test]
    fn control_characters_steer_nothing() {
        let mut fields = Fields::new(Mti::new(b"0200"));
        fields.set(43, b"\x1b[2J\n");
        assert!(text(&fields, Secrets::Clear).contains("\\u{1b}[2J\\n"));
        assert!(json(&fields, Secrets::Clear).contains(r"\u001B[2J\u000A"));
    }
}
