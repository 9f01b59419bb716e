//! ISO 8583 messages: field tables, framing, parsing into offsets, assembly, masking.
