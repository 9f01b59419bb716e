//! One connection: plain or TLS bytes on one side, messages of a dialect on the other.
//!
//! Invariant: bytes that were read and not yet understood stay in the buffer, so every wait here
//! may be abandoned and started again.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};

use iso8583::frame::{Frame, LENGTH_BYTES, next_frame, put_frame};
use iso8583::{Dialect, Fields, Layout, Mti};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::NetError;

/// The longest message in bytes that is taken from a peer.
const MESSAGE_MAX: usize = 8 * 1024;
/// Room for one read.
const READ_BYTES: usize = 16 * 1024;
/// A length that no message has.
const IMPOSSIBLE_LENGTH: [u8; LENGTH_BYTES] = [0xff; LENGTH_BYTES];
/// No message of any dialect: neither text nor packed digits.
const GARBAGE: [u8; 48] = [0xff; 48];

/// A byte stream with or without TLS.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}

/// A socket with its buffers.
pub(super) struct Connection {
    socket: Socket,
    dialect: &'static Dialect,
    input: Vec<u8>,
    /// Bytes at the front of `input` that were handled.
    handled: usize,
    output: Vec<u8>,
    /// Nothing more is put into the output buffer.
    silent: bool,
    layout: Layout,
    scratch: Vec<u8>,
}

impl Connection {
    pub(super) fn new(socket: Socket, dialect: &'static Dialect) -> Self {
        Self {
            socket,
            dialect,
            input: Vec::with_capacity(READ_BYTES),
            handled: 0,
            output: Vec::with_capacity(READ_BYTES),
            silent: false,
            layout: Layout::new(),
            scratch: Vec::with_capacity(512),
        }
    }

    /// Makes the coming drop a reset: what is in the buffers is thrown away.
    pub(super) fn reset_on_close(&self) -> io::Result<()> {
        match &self.socket {
            Socket::Plain(tcp) => tcp.set_zero_linger(),
            Socket::Tls(tls) => tls.get_ref().0.set_zero_linger(),
        }
    }

    /// Tells the peer that nothing more comes, with TLS by a close-notify.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        self.socket.shutdown().await
    }

    /// Reads once. False when the peer has closed.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        self.input.drain(..self.handled);
        self.handled = 0;
        self.input.reserve(READ_BYTES);
        Ok(self.socket.read_buf(&mut self.input).await? > 0)
    }

    /// How many bytes were read and not handled, and how many the first frame needs in all, once
    /// its length is there.
    pub(super) fn progress(&self) -> (usize, Option<usize>) {
        let waiting = &self.input[self.handled..];
        let needs = waiting.first_chunk().map(|length| LENGTH_BYTES + usize::from(u16::from_be_bytes(*length)));
        (waiting.len(), needs)
    }

    /// Takes the next message that is complete in the buffer. Answers keep-alives on the way.
    pub(super) fn next(&mut self, fields: &mut Fields) -> Result<bool, NetError> {
        loop {
            match next_frame(&self.input[self.handled..], MESSAGE_MAX) {
                Frame::Incomplete => return Ok(false),
                Frame::KeepAlive => {
                    self.handled += LENGTH_BYTES;
                    if !self.silent {
                        put_frame(&mut self.output, &[]);
                    }
                }
                Frame::TooLong { announced } => return Err(NetError::TooLong(announced)),
                Frame::Message(Range { start, end }) => {
                    let bytes = &self.input[self.handled + start..self.handled + end];
                    self.handled += end;
                    self.dialect.parse(bytes, &mut self.layout)?.fields_into(fields);
                    return Ok(true);
                }
            }
        }
    }

    /// Puts a message into the output buffer.
    pub(super) fn put(&mut self, message: &Fields) -> Result<(), NetError> {
        if self.silent {
            return Ok(());
        }
        self.dialect.assemble(message, &mut self.scratch)?;
        put_frame(&mut self.output, &self.scratch);
        Ok(())
    }

    /// Puts the first half of a message's frame into the output buffer; nothing may follow it.
    pub(super) fn put_half(&mut self, message: &Fields) -> Result<(), NetError> {
        let before = self.output.len();
        self.put(message)?;
        self.output.truncate(before + (self.output.len() - before) / 2);
        Ok(())
    }

    /// Puts a frame that holds no message into the output buffer.
    pub(super) fn put_garbage(&mut self) {
        if !self.silent {
            put_frame(&mut self.output, &GARBAGE);
        }
    }

    /// Puts a length that no message has into the output buffer, and some bytes after it; nothing
    /// may follow them.
    pub(super) fn put_impossible_length(&mut self) {
        if !self.silent {
            self.output.extend_from_slice(&IMPOSSIBLE_LENGTH);
            self.output.extend_from_slice(&GARBAGE);
        }
    }

    /// What is put from now on is thrown away; the connection stays open, and is read.
    pub(super) fn fall_silent(&mut self) {
        self.silent = true;
    }

    /// Writes what is in the output buffer.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        self.socket.write_all(&self.output).await?;
        self.socket.flush().await?;
        self.output.clear();
        Ok(())
    }

    /// Waits for the next message. `None` when the peer has closed.
    pub(super) async fn receive(&mut self) -> Result<Option<Fields>, NetError> {
        let mut fields = Fields::new(Mti::new(b"0000"));
        while !self.next(&mut fields)? {
            if !self.fill().await? {
                return Ok(None);
            }
        }
        Ok(Some(fields))
    }
}
