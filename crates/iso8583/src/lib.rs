//! ISO 8583 messages: field tables, framing, parsing into offsets, assembly, masking.
//!
//! The only reader of hostile bytes in the project. It does no IO, keeps no clock and knows no
//! money rule: it turns bytes into [`fields::Fields`] and back, by a table with one row per DE.
//! Invariant: no input bytes make it panic, and no error of it holds a byte of a message.
#![no_std]

extern crate alloc;

pub mod fields;
pub mod mask;
pub mod pan;
pub mod types;

pub use fields::Fields;
pub use pan::{MaskedPan, Pan};
pub use types::{Amount, Currency, Mti, ResponseCode, Rrn, Stan, TerminalId, ValueError};
