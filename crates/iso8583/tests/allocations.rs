//! No allocation for a message, once the buffers have grown: an allocator counts.
//!
//! In a binary of its own, as the counting allocator replaces the global one.

use iso8583::{Dialect, Fields, Layout, Mti};

fn purchase() -> Fields {
    let mut fields = Fields::new(Mti::new(b"0200"));
    let text = [
        (2, "4000001234567899"),
        (3, "000000"),
        (4, "000000012345"),
        (7, "1122045807"),
        (11, "123456"),
        (12, "045807"),
        (13, "1122"),
        (22, "051"),
        (28, "C00000150"),
        (35, "4000001234567899=28122011234567890123"),
        (37, "532604123456"),
        (41, "TERM0001"),
        (42, "MERCHANT0000001"),
        (49, "840"),
        (90, "020012345611220458070000012345600000000000"),
    ];
    for (de, value) in text {
        fields.set(de, value.as_bytes());
    }
    fields.set(52, &[0xA1; 8]);
    fields.set(55, &[0x9F; 120]);
    fields
}

/// Bytes in, offsets, canonical fields, bytes out: all of it again and again.
#[test]
fn parse_and_assembly_allocate_nothing() {
    for dialect in Dialect::all() {
        let fields = purchase();
        let mut bytes = Vec::new();
        dialect.assemble(&fields, &mut bytes).unwrap();
        let mut layout = Layout::new();
        let mut read = Fields::new(Mti::new(b"0000"));
        let mut out = Vec::with_capacity(bytes.len());

        let counted = allocation_counter::measure(|| {
            for _ in 0..100 {
                dialect.parse(&bytes, &mut layout).unwrap().fields_into(&mut read);
                dialect.assemble(&read, &mut out).unwrap();
            }
        });
        assert_eq!(counted.count_total, 0, "{}", dialect.name);
        assert_eq!(out, bytes);
        assert_eq!(read, fields);
    }
}

#[test]
fn a_refusal_allocates_nothing() {
    for dialect in Dialect::all() {
        let mut bytes = Vec::new();
        dialect.assemble(&purchase(), &mut bytes).unwrap();
        let mut layout = Layout::new();
        let counted = allocation_counter::measure(|| {
            for end in 0..bytes.len() {
                assert!(dialect.parse(&bytes[..end], &mut layout).is_err());
            }
        });
        assert_eq!(counted.count_total, 0, "{}", dialect.name);
    }
}

/// Spans and values, each in a buffer that they fill to its end.
#[test]
fn a_copy_allocates_its_two_buffers() {
    let fields = purchase();
    assert_eq!(allocation_counter::measure(|| drop(fields.clone())).count_total, 2);
}

/// The counter counts: else the tests above could not fail.
#[test]
fn the_counter_counts() {
    assert_eq!(allocation_counter::measure(|| drop(Fields::new(Mti::new(b"0200")))).count_total, 2);
}
