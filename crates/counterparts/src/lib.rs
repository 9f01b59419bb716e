//! Issuer and terminal behaviour for demonstrations, tests and load.
//!
//! The modules at the top are pure: no socket, no file, no clock; time comes in as milliseconds
//! since 1970 (UTC), so that a simulation can drive them. The feature `net` adds the sockets.
//! Never part of a production build. Invariant: nothing that this crate prints, logs, serves or
//! writes to a file holds more of a card number than its first six and last four digits.

pub mod card;
pub mod clock;
pub mod codes;
pub mod faults;
pub mod issuer;
#[cfg(feature = "net")]
pub mod net;
pub mod reconcile;
pub mod scenario;
pub mod seeded;
pub mod terminal;
mod text;
pub mod wire_faults;
