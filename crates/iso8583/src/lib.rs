//! ISO 8583 messages: field tables, framing, parsing into offsets, assembly, masking.
//!
//! The only reader of hostile bytes in the project. It does no IO, keeps no clock and knows no
//! money rule: it turns bytes into [`fields::Fields`] and back, by a table with one row per DE.
//! Invariant: no input bytes make it panic, and no error of it holds a byte of a message.
#![no_std]

extern crate alloc;

pub mod assemble;
mod content;
pub mod display;
pub mod fields;
pub mod frame;
pub mod mask;
pub mod pan;
pub mod parse;
pub mod table;
pub mod types;

pub use assemble::AssembleError;
pub use fields::Fields;
pub use frame::{Frame, next_frame, put_frame};
pub use pan::{MaskedPan, Pan};
pub use parse::{FieldNo, Layout, Message, ParseError};
pub use table::Dialect;
pub use types::{Amount, Currency, Mti, ResponseCode, Rrn, Stan, TerminalId, ValueError};
