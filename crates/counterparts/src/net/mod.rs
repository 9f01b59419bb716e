//! Sockets around the pure modules: a mock issuer, terminals, load, a faulty proxy, and a small
//! HTTP client.
//!
//! Works on a current-thread runtime; tasks are spawned on the runtime that the caller is in.
//! Decides nothing about money. Invariant: nothing here connects or binds anywhere but to the
//! addresses it is given, and those default to loopback.

mod connection;
mod control;
mod error;
pub mod http;
pub mod issuer;
pub mod load;
pub mod proxy;
pub mod terminal;
#[cfg(test)]
mod tests;
pub mod tls;

pub use error::NetError;

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, UTC.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A dialect by its name in WIRE.
fn dialect(name: &str) -> Result<&'static iso8583::Dialect, NetError> {
    iso8583::Dialect::by_name(name).ok_or_else(|| NetError::UnknownDialect(name.to_owned()))
}
