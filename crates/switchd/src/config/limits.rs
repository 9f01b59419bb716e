//! Every limit of the shell with its default, in one place. What happens when one is reached is said beside it.
//!
//! The limits of the core and of the journal are theirs. Invariant: the defaults keep the relations that
//! [`Limits::check`] demands of a configuration.

use iso8583::frame::LENGTH_BYTES;

use super::read::Section;
use super::units::{show_duration, show_size};

/// The limits of one daemon. Times in milliseconds, sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Terminal connections at once; one more is closed after its handshake.
    pub(crate) connections_max: usize,
    /// Connections before the end of their handshake; one more closes the one that is silent for longest, else the
    /// oldest, once it has had its `handshake_grace_ms`, and waits until then.
    pub(crate) unauthenticated_max: usize,
    /// Steps of handshakes between two turns of all other work; further ones wait for the next.
    pub(crate) handshake_steps_max: usize,
    /// Bytes of a message without its length; a longer one closes the connection.
    pub(crate) frame_max: usize,
    /// Bytes that wait for one terminal's socket; more closes the connection.
    pub(crate) write_backlog_max: usize,
    /// Bytes that wait for one issuer's socket; more closes the connection.
    pub(crate) link_write_backlog_max: usize,
    /// Messages of one terminal connection that are not answered yet; it is not read beyond.
    pub(crate) terminal_in_flight_max: usize,
    /// What one terminal connection may take of memory, by the limits above and what TLS needs.
    pub(crate) connection_memory_max: usize,
    /// Events that wait for the core; more stops the reading of sockets until it has caught up.
    pub(crate) inputs_max: usize,
    /// Log lines of one second about one address, issuer, or kind of line about movements; the others are counted.
    pub(crate) log_lines_max: u32,
    /// A new connection that says nothing for so long is closed.
    pub(crate) first_byte_timeout_ms: u64,
    /// A TLS handshake that takes longer, from the connection to its end, is given up.
    pub(crate) handshake_timeout_ms: u64,
    /// What a handshake has in any case, even when all places before authentication are taken.
    pub(crate) handshake_grace_ms: u64,
    /// A terminal that says nothing for so long after its handshake is closed.
    pub(crate) first_message_timeout_ms: u64,
    /// A message that takes longer from its first byte to its last closes the connection.
    pub(crate) frame_timeout_ms: u64,
    /// A terminal that says nothing for so long is closed.
    pub(crate) idle_timeout_ms: u64,
    /// A drain that takes longer ends with work open.
    pub(crate) drain_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 10_000,
            unauthenticated_max: 4_096,
            handshake_steps_max: 8,
            frame_max: 8 << 10,
            write_backlog_max: 64 << 10,
            link_write_backlog_max: 1 << 20,
            terminal_in_flight_max: 32,
            connection_memory_max: 256 << 10,
            inputs_max: 16_384,
            log_lines_max: 5,
            first_byte_timeout_ms: 3_000,
            handshake_timeout_ms: 10_000,
            handshake_grace_ms: 3_000,
            first_message_timeout_ms: 60_000,
            frame_timeout_ms: 10_000,
            idle_timeout_ms: 300_000,
            drain_timeout_ms: 30_000,
        }
    }
}

/// What TLS holds of one connection: a record each way, 16 KiB and its frame, twice as it grows.
const TLS_BYTES: usize = 64 << 10;

/// A day: no timeout of a socket is longer.
const DAY_MS: u64 = 86_400_000;

impl Limits {
    /// From `[limits]`; what is absent keeps its default.
    pub(crate) fn read(s: &Section<'_, '_>) -> Self {
        let d = Limits::default();
        let count = |key, default: usize, most: usize| s.number(key, default, 1..=most);
        let bytes = |key, default: usize, most| as_usize(s.size(key, default as u64, 256..=most));
        let ms = |key, default| s.duration(key, default, 10..=DAY_MS);
        Limits {
            connections_max: count("connections_max", d.connections_max, 1_000_000),
            unauthenticated_max: count("unauthenticated_max", d.unauthenticated_max, 1_000_000),
            handshake_steps_max: count("handshake_steps_max", d.handshake_steps_max, 100_000),
            // A length of two bytes carries no more.
            frame_max: bytes("frame_max", d.frame_max, 65_535),
            write_backlog_max: bytes("write_backlog_max", d.write_backlog_max, 64 << 20),
            link_write_backlog_max: bytes("link_write_backlog_max", d.link_write_backlog_max, 64 << 20),
            terminal_in_flight_max: count("terminal_in_flight_max", d.terminal_in_flight_max, 100_000),
            connection_memory_max: bytes("connection_memory_max", d.connection_memory_max, 1 << 30),
            inputs_max: count("inputs_max", d.inputs_max, 10_000_000),
            log_lines_max: s.number("log_lines_max", d.log_lines_max, 1..=10_000),
            first_byte_timeout_ms: ms("first_byte_timeout", d.first_byte_timeout_ms),
            handshake_timeout_ms: ms("handshake_timeout", d.handshake_timeout_ms),
            handshake_grace_ms: ms("handshake_grace", d.handshake_grace_ms),
            first_message_timeout_ms: ms("first_message_timeout", d.first_message_timeout_ms),
            frame_timeout_ms: ms("frame_timeout", d.frame_timeout_ms),
            idle_timeout_ms: ms("idle_timeout", d.idle_timeout_ms),
            drain_timeout_ms: ms("drain_timeout", d.drain_timeout_ms),
        }
    }

    /// How the limits contradict each other, a sentence each.
    pub(crate) fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, size) in
            [("write_backlog_max", self.write_backlog_max), ("link_write_backlog_max", self.link_write_backlog_max)]
        {
            if size < 2 * (self.frame_max + LENGTH_BYTES) {
                wrong.push(format!("[limits] {key} must hold two messages of frame_max"));
            }
        }
        let needed = self.connection_memory();
        if self.connection_memory_max < needed {
            let (most, needed) = (show_size(self.connection_memory_max as u64), show_size(needed as u64));
            wrong.push(format!(
                "[limits] connection_memory_max ({most}) must not be below {needed}: twice frame_max and write_backlog_max, \
                 and 64KiB for TLS"
            ));
        }
        if self.inputs_max < self.terminal_in_flight_max {
            wrong.push("[limits] inputs_max must not be below terminal_in_flight_max".to_owned());
        }
        for (key, shorter) in
            [("first_byte_timeout", self.first_byte_timeout_ms), ("handshake_grace", self.handshake_grace_ms)]
        {
            if shorter > self.handshake_timeout_ms {
                let (shorter, whole) = (show_duration(shorter), show_duration(self.handshake_timeout_ms));
                wrong.push(format!(
                    "[limits] {key} ({shorter}) must not be longer than handshake_timeout ({whole}), which counts from the connection"
                ));
            }
        }
        if self.frame_timeout_ms > self.idle_timeout_ms {
            let (frame, idle) = (show_duration(self.frame_timeout_ms), show_duration(self.idle_timeout_ms));
            wrong.push(format!("[limits] frame_timeout ({frame}) must not be longer than idle_timeout ({idle})"));
        }
        wrong
    }

    /// The most that one terminal connection takes: buffers double as they grow, so each is twice what it holds.
    fn connection_memory(&self) -> usize {
        2 * (self.frame_max + LENGTH_BYTES + self.write_backlog_max) + TLS_BYTES
    }
}

/// A size whose range fits the address space.
pub(super) fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_keep_the_relations() {
        assert_eq!(Limits::default().check(), Vec::<String>::new());
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut Limits), named: &str) {
        let mut limits = Limits::default();
        change(&mut limits);
        let wrong = limits.check();
        assert!(wrong.len() == 1 && wrong[0].contains(named), "{wrong:?}");
    }

    #[test]
    fn contradictions_are_named() {
        check(|l| l.write_backlog_max = l.frame_max, "write_backlog_max");
        check(|l| l.link_write_backlog_max = l.frame_max, "link_write_backlog_max");
        check(|l| l.connection_memory_max = 2 * l.write_backlog_max, "connection_memory_max (128KiB)");
        check(|l| l.terminal_in_flight_max = l.inputs_max + 1, "terminal_in_flight_max");
        check(|l| l.first_byte_timeout_ms = l.handshake_timeout_ms + 1, "first_byte_timeout");
        check(|l| l.handshake_grace_ms = l.handshake_timeout_ms + 1, "handshake_grace");
        check(|l| l.frame_timeout_ms = l.idle_timeout_ms + 1, "frame_timeout");
    }
}
