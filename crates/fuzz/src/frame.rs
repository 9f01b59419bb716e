//! Frames on a stream of bytes.

use iso8583::{Frame, next_frame, put_frame};

/// What a stream is cut into: each message, `None` for a keep-alive, and whether it ended with a frame that is too long.
#[derive(Debug, PartialEq, Eq)]
struct Cut {
    messages: Vec<Option<Vec<u8>>>,
    too_long: bool,
    rest: usize,
}

/// Two bytes of cap, then a stream. What is found is what a reader finds that was written apart from the codec; it does not
/// depend on how the stream arrives; and written again it is the same bytes.
///
/// # Panics
/// When one of these does not hold.
pub fn frame(data: &[u8]) {
    let Some((cap, stream)) = data.split_first_chunk::<2>() else { return };
    let cap = usize::from(u16::from_be_bytes(*cap));
    let whole = cut(stream, cap, stream.len().max(1));
    assert_eq!(whole, cut(stream, cap, 1 + stream.len() / 7), "in pieces");
    assert_eq!(whole, expected(stream, cap));

    let mut again = Vec::new();
    for message in &whole.messages {
        put_frame(&mut again, message.as_deref().unwrap_or_default());
    }
    assert_eq!(again, stream[..stream.len() - whole.rest], "what was found, written again");
}

/// As the daemon reads: pieces are appended to a buffer, and what was taken is dropped from its front.
fn cut(stream: &[u8], cap: usize, piece: usize) -> Cut {
    let (mut buffer, mut messages) = (Vec::new(), Vec::new());
    for bytes in stream.chunks(piece) {
        buffer.extend_from_slice(bytes);
        loop {
            let end = match next_frame(&buffer, cap) {
                Frame::Incomplete => break,
                Frame::KeepAlive => {
                    messages.push(None);
                    iso8583::frame::LENGTH_BYTES
                }
                Frame::Message(range) => {
                    assert!(range.len() <= cap, "a message above the cap");
                    messages.push(Some(buffer[range.clone()].to_vec()));
                    range.end
                }
                Frame::TooLong { announced } => {
                    assert!(announced > cap, "{announced} is within {cap}");
                    let taken: usize = messages.iter().flatten().map(Vec::len).sum::<usize>() + 2 * messages.len();
                    return Cut { messages, too_long: true, rest: stream.len() - taken };
                }
            };
            buffer.drain(..end);
        }
    }
    Cut { messages, too_long: false, rest: buffer.len() }
}

/// The same, told by the format and not by the codec.
fn expected(mut stream: &[u8], cap: usize) -> Cut {
    let (mut messages, mut too_long) = (Vec::new(), false);
    while let [high, low, rest @ ..] = stream {
        let length = usize::from(*high) * 256 + usize::from(*low);
        if length > cap {
            too_long = true;
            break;
        }
        let Some((message, after)) = rest.split_at_checked(length) else { break };
        messages.push((length > 0).then(|| message.to_vec()));
        stream = after;
    }
    Cut { messages, too_long, rest: stream.len() }
}
