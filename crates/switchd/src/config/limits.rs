//! Every limit of the shell with its default, in one place. What happens when one is reached is said beside it.
//!
//! The limits of the core and of the journal are theirs. Invariant: the defaults keep the relations that
//! [`Limits::check`] demands of a configuration.

use super::read::Section;
use super::units::show_duration;

/// The limits of one daemon. Times in milliseconds, sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Terminal connections at once; one more is closed after its handshake.
    pub(crate) connections_max: usize,
    /// Connections before the end of their handshake; one more closes the one that is silent for longest, or itself.
    pub(crate) unauthenticated_max: usize,
    /// Handshakes at once, counted from the peer's first byte; further ones wait for one to end.
    pub(crate) handshakes_max: usize,
    /// Bytes of a message without its length; a longer one closes the connection.
    pub(crate) frame_max: usize,
    /// Bytes that wait for one peer's socket; more closes the connection.
    pub(crate) write_backlog_max: usize,
    /// Events that wait for the core; more stops the reading of sockets until it has caught up.
    pub(crate) inputs_max: usize,
    /// A new connection that says nothing for so long is closed.
    pub(crate) first_byte_timeout_ms: u64,
    /// A TLS handshake that takes longer is given up.
    pub(crate) handshake_timeout_ms: u64,
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
            handshakes_max: 256,
            frame_max: 8 << 10,
            write_backlog_max: 256 << 10,
            inputs_max: 16_384,
            first_byte_timeout_ms: 3_000,
            handshake_timeout_ms: 10_000,
            first_message_timeout_ms: 60_000,
            frame_timeout_ms: 10_000,
            idle_timeout_ms: 300_000,
            drain_timeout_ms: 30_000,
        }
    }
}

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
            handshakes_max: count("handshakes_max", d.handshakes_max, 100_000),
            // A length of two bytes carries no more.
            frame_max: bytes("frame_max", d.frame_max, 65_535),
            write_backlog_max: bytes("write_backlog_max", d.write_backlog_max, 64 << 20),
            inputs_max: count("inputs_max", d.inputs_max, 10_000_000),
            first_byte_timeout_ms: ms("first_byte_timeout", d.first_byte_timeout_ms),
            handshake_timeout_ms: ms("handshake_timeout", d.handshake_timeout_ms),
            first_message_timeout_ms: ms("first_message_timeout", d.first_message_timeout_ms),
            frame_timeout_ms: ms("frame_timeout", d.frame_timeout_ms),
            idle_timeout_ms: ms("idle_timeout", d.idle_timeout_ms),
            drain_timeout_ms: ms("drain_timeout", d.drain_timeout_ms),
        }
    }

    /// How the limits contradict each other, a sentence each.
    pub(crate) fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.write_backlog_max < 2 * (self.frame_max + 2) {
            wrong.push("[limits] write_backlog_max must hold two messages of frame_max".to_owned());
        }
        if self.handshakes_max > self.unauthenticated_max {
            wrong.push("[limits] handshakes_max must not be above unauthenticated_max".to_owned());
        }
        if self.frame_timeout_ms > self.idle_timeout_ms {
            let (frame, idle) = (show_duration(self.frame_timeout_ms), show_duration(self.idle_timeout_ms));
            wrong.push(format!("[limits] frame_timeout ({frame}) must not be longer than idle_timeout ({idle})"));
        }
        wrong
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
        check(|l| l.handshakes_max = l.unauthenticated_max + 1, "handshakes_max");
        check(|l| l.frame_timeout_ms = l.idle_timeout_ms + 1, "frame_timeout");
    }
}
