//! Between frames and canonical messages, in buffers that are used again.

use std::cell::RefCell;

use iso8583::frame::put_frame;
use iso8583::{AssembleError, Dialect, Fields, Layout, ParseError};
use zeroize::Zeroize;

/// Buffers for parsing and assembly.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    layout: RefCell<Layout>,
    message: RefCell<Vec<u8>>,
}

/// A message that cannot be read, and what could be read of it.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// Field, offset and problem; never bytes.
    pub(crate) error: ParseError,
    /// The fields before the wrong one.
    pub(crate) partial: Option<Box<Fields>>,
}

impl Wire {
    /// Reads a message.
    pub(crate) fn parse(&self, dialect: &'static Dialect, bytes: &[u8]) -> Result<Box<Fields>, Unreadable> {
        let mut layout = self.layout.borrow_mut();
        let canonical = |message: iso8583::Message<'_>| {
            let mut fields = Box::new(Fields::new(message.mti()));
            message.fields_into(&mut fields);
            fields
        };
        let error = match dialect.parse(bytes, &mut layout) {
            Ok(message) => return Ok(canonical(message)),
            Err(error) => error,
        };
        Err(Unreadable { error, partial: dialect.partial(bytes, &layout).map(canonical) })
    }

    /// Appends a message in its frame.
    pub(crate) fn put(&self, dialect: &Dialect, fields: &Fields, out: &mut Vec<u8>) -> Result<(), AssembleError> {
        let mut message = self.message.borrow_mut();
        dialect.assemble(fields, &mut message)?;
        put_frame(out, &message);
        message.zeroize();
        Ok(())
    }
}
