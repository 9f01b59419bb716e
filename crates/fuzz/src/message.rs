//! Messages of one dialect: read, refused, shown, written again.

use iso8583::display::{self, Secrets};
use iso8583::mask;
use iso8583::table::{ISO87_ASCII, ISO87_BCD};
use iso8583::{Dialect, Fields, Layout, Mti, ParseError, ResponseCode};

use crate::bound::holding_at_most;

/// Bytes of one message of `iso87-ascii`.
///
/// # Panics
/// When a property of `check` does not hold.
pub fn message_ascii(data: &[u8]) {
    check(&ISO87_ASCII, data);
}

/// Bytes of one message of `iso87-bcd`.
///
/// # Panics
/// When a property of `check` does not hold.
pub fn message_bcd(data: &[u8]) {
    check(&ISO87_BCD, data);
}

/// Reading allocates nothing and gives the same twice. What is accepted lies in the message without overlap, is written
/// again to the same bytes (but for [`one_form`]), and is shown without its secrets. What is
/// refused names a place inside the message and nothing of its content, and the fields before it can be answered with.
fn check(dialect: &'static Dialect, data: &[u8]) {
    let mut layout = Layout::new();
    let read = holding_at_most(0, || dialect.parse(data, &mut layout).map(|message| message.mti()));
    let mut twice = Layout::new();
    assert_eq!(read, dialect.parse(data, &mut twice).map(|message| message.mti()), "the same again");
    match read {
        Ok(_) => accepted(dialect, data),
        Err(error) => refused(dialect, data, &error, &layout),
    }
}

fn accepted(dialect: &'static Dialect, data: &[u8]) {
    let mut layout = Layout::new();
    let message = dialect.parse(data, &mut layout).expect("as before");
    let mut fields = Fields::new(Mti::new(b"0000"));
    holding_at_most(32 * 1024 + 8 * data.len(), || message.fields_into(&mut fields));
    let mut end = 0;
    for (de, _) in fields.iter() {
        let span = message.span(de).expect("a field that is there has a place");
        assert!(end <= span.start && span.end <= data.len(), "field {de} lies at {span:?}");
        end = span.end;
    }
    assert!(end == data.len() || fields.iter().next().is_none(), "nothing after the last field");

    let mut out = Vec::new();
    dialect.assemble(&fields, &mut out).expect("what was accepted can be written");
    one_form(dialect, &fields, data, &out);
    let mut layout = Layout::new();
    let mut again = Fields::new(Mti::new(b"0000"));
    dialect.parse(&out, &mut layout).expect("what was written can be read").fields_into(&mut again);
    assert_eq!(again, fields, "written and read again");
    shown(&fields);
    refusal(dialect, &fields);
}

/// A message has one form. Left open are only the case of hex, D for = in a track, and a secondary bitmap in which nothing is
/// set.
fn one_form(dialect: &Dialect, fields: &Fields, data: &[u8], out: &[u8]) {
    let (mti, bitmap) = if dialect.name == ISO87_BCD.name { (2, 8) } else { (4, 16) };
    let mut normal = data.to_vec();
    if data.len() != out.len() {
        let second = mti + bitmap..mti + 2 * bitmap;
        let empty = normal.get(second.clone()).is_some_and(|bits| bits.iter().all(|b| matches!(b, 0 | b'0')));
        assert!(empty, "{} bytes were read and {} written", data.len(), out.len());
        normal.drain(second);
        // The bit that announced it.
        normal[mti] = out[mti];
    }
    let tracks = fields.has(35) || fields.has(36);
    let same_letter = |a: &u8, b: &u8| a.eq_ignore_ascii_case(b) || tracks && matches!((a, b), (b'D', b'='));
    let same = match dialect.name == ISO87_BCD.name {
        true => normal == out,
        false => normal.len() == out.len() && normal.iter().zip(out).all(|(a, b)| same_letter(a, b)),
    };
    assert!(same, "another form was accepted");
}

fn refused(dialect: &'static Dialect, data: &[u8], error: &ParseError, layout: &Layout) {
    assert!(error.offset <= data.len(), "{error}");
    let text = format!("{error} {error:?}");
    // Counts and offsets have at most five digits: no number in it is one of the message's.
    let longest = text.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or_default();
    assert!(longest <= 6, "{text}");
    let partial = dialect.partial(data, layout);
    assert_eq!(partial.is_some(), error.mti.is_some(), "{error}");
    if let Some(partial) = partial {
        let mut fields = Fields::new(Mti::new(b"0000"));
        partial.fields_into(&mut fields);
        let mut out = Vec::new();
        dialect.assemble(&fields, &mut out).expect("the fields before the wrong one were judged");
        shown(&fields);
        refusal(dialect, &fields);
    }
}

/// The answer 30 to a message that was read in part can be written and read.
fn refusal(dialect: &'static Dialect, fields: &Fields) {
    let Some(answer) = switch::refusal(fields, ResponseCode::FORMAT_ERROR) else { return };
    let mut out = Vec::new();
    dialect.assemble(&answer, &mut out).expect("an answer to it can be written");
    let mut layout = Layout::new();
    let mti = dialect.parse(&out, &mut layout).expect("and read").mti();
    assert!(mti.is_response());
}

/// How many digits of a data element may be seen: said again, apart from `mask`.
fn digits_shown(de: u8) -> Option<usize> {
    match de {
        2 => Some(10),
        34 | 102 | 103 => Some(4),
        14 | 35 | 36 | 45 | 46..=48 | 53 | 56..=63 | 105..=127 => Some(0),
        52 | 96 => Some(0),
        _ => None,
    }
}

fn shown(fields: &Fields) {
    for (de, value) in fields.iter() {
        let mut text = String::new();
        mask::write_masked(de, value, &mut text).expect("a String takes everything");
        if let Some(most) = digits_shown(de) {
            let seen = text.bytes().filter(u8::is_ascii_digit).count();
            assert!(seen <= most, "field {de} shows {seen} digits");
            assert!(text.len() <= 2 * value.len(), "field {de} is shown longer than it is");
        }
    }
    for secrets in [Secrets::Masked, Secrets::Clear] {
        let text = display::text(fields, secrets);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "text that steers a terminal");
        assert_eq!(text.lines().count(), 1 + fields.iter().count(), "a line for each field");
        let json: serde_json::Value = serde_json::from_str(&display::json(fields, secrets)).expect("it is JSON");
        let shown = json["fields"].as_object().expect("fields by number");
        assert_eq!(shown.len(), fields.iter().count());
        if secrets == Secrets::Clear {
            for (de, value) in fields.iter() {
                let clear = shown[&de.to_string()].as_str().expect("values are text");
                let expected = match mask::is_binary(de) {
                    true => value.iter().map(|byte| format!("{byte:02X}")).collect(),
                    false => String::from_utf8(value.to_vec()).expect("text fields are ASCII"),
                };
                assert_eq!(clear, expected, "field {de}");
            }
        }
    }
}
