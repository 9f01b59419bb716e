//! A stream that counts the bytes that the layer below took.
//!
//! Put between TLS and the TCP socket it says what no TLS library does: whether one byte of a message can have left.
//! Invariant: the count never lags behind the kernel.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How many bytes were taken since the stream was made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken(Rc<Cell<u64>>);

impl Taken {
    /// The count.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.get()
    }
}

/// A stream and its count of bytes written.
#[derive(Debug)]
pub(crate) struct Counting<T> {
    inner: T,
    taken: Taken,
}

impl<T> Counting<T> {
    /// Counts what `inner` takes from now on.
    pub(crate) fn new(inner: T) -> Self {
        Counting { inner, taken: Taken::default() }
    }

    /// The stream below.
    pub(crate) fn get_ref(&self) -> &T {
        &self.inner
    }

    /// The count, as a handle that stays true.
    pub(crate) fn taken(&self) -> Taken {
        self.taken.clone()
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counting<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counting<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.count(taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.count(taken)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<T> Counting<T> {
    fn count(&self, taken: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &taken {
            // A usize fits 64 bits.
            self.taken.0.set(self.taken.0.get() + *bytes as u64);
        }
        taken
    }
}
