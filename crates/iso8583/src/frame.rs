//! Frames on a byte stream: a 2-byte big-endian length that does not count itself, then a message.
//!
//! ```text
//! 00 1C | 28 bytes of message        00 00 | keep-alive, no message
//! ```
//! Knows no message and does no IO: the caller keeps the buffer and drops what it was told to.
//! Invariant: a frame is never announced before all its bytes are there.

use alloc::vec::Vec;
use core::ops::Range;

use crate::parse::MAX_MESSAGE;

/// Bytes of the length in front of each message.
pub const LENGTH_BYTES: usize = 2;

/// What stands at the front of a buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Not all of a frame is there: read more.
    Incomplete,
    /// A length of zero: drop [`LENGTH_BYTES`]; the peer only wants to know that we live.
    KeepAlive,
    /// A message in this range of the buffer: handle it, then drop everything up to its end.
    Message(Range<usize>),
    /// A length above the cap: nothing after it can be trusted, close the connection.
    TooLong {
        /// The announced length in bytes.
        announced: usize,
    },
}

/// Looks at the front of a buffer. `cap` is the longest message in bytes that is taken.
pub fn next_frame(buffer: &[u8], cap: usize) -> Frame {
    let [high, low, ..] = buffer else {
        return Frame::Incomplete;
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length == 0 {
        return Frame::KeepAlive;
    }
    if length > cap {
        return Frame::TooLong { announced: length };
    }
    let end = LENGTH_BYTES + length;
    if buffer.len() < end {
        return Frame::Incomplete;
    }
    Frame::Message(LENGTH_BYTES..end)
}

/// Appends a frame with this message; an empty one is a keep-alive.
///
/// # Panics
/// If the message is longer than [`MAX_MESSAGE`]; no dialect can make one that is.
pub fn put_frame(out: &mut Vec<u8>, message: &[u8]) {
    assert!(message.len() <= MAX_MESSAGE, "a frame's length has two bytes");
    // Fits, as just asserted.
    out.extend_from_slice(&(message.len() as u16).to_be_bytes());
    out.extend_from_slice(message);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(buffer: &[u8], want: Frame) {
        assert_eq!(next_frame(buffer, 3), want);
    }

    #[test]
    fn frames_are_cut_from_a_stream() {
        check(&[], Frame::Incomplete);
        check(&[0], Frame::Incomplete);
        check(&[0, 0], Frame::KeepAlive);
        check(&[0, 0, 0, 3, 1], Frame::KeepAlive);
        check(&[0, 3], Frame::Incomplete);
        check(&[0, 3, 1, 2], Frame::Incomplete);
        check(&[0, 3, 1, 2, 3], Frame::Message(2..5));
        check(&[0, 1, 1, 0, 2], Frame::Message(2..3));
        check(&[0, 4], Frame::TooLong { announced: 4 });
        check(&[0xFF, 0xFF, 1, 2], Frame::TooLong { announced: 65535 });
    }

    #[test]
    fn what_is_put_is_found() {
        let mut out = Vec::new();
        put_frame(&mut out, b"");
        put_frame(&mut out, &[7; 300]);
        assert_eq!(next_frame(&out, 300), Frame::KeepAlive);
        assert_eq!(next_frame(&out[2..], 300), Frame::Message(2..302));
        assert_eq!(&out[2..4], [0x01, 0x2C]);
    }
}
