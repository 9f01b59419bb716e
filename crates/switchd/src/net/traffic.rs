//! One connection's traffic: reads frames, writes what waits, keeps the timeouts; one task, both directions at once.
//!
//! Reading does not wait for writing, nor the other way round, as two peers that both did would wait for ever. It knows
//! frames and not messages: a [`Handler`] reads those. Invariant: [`run`] reports the fate of every frame before it ends.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use iso8583::frame::{Frame, LENGTH_BYTES, next_frame, put_frame};
use switch::ActionId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use zeroize::Zeroize;

use super::counting::Taken;
use super::outgoing::{Fate, Outgoing};
use super::send_queue::{SendQueues, Survey};
use super::socket;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer closed it.
    PeerClosed,
    /// Reading or writing failed.
    Broken(io::ErrorKind),
    /// The peer said nothing after its handshake.
    NoFirstMessage,
    /// A message was not complete in time.
    SlowFrame,
    /// The peer said nothing for too long.
    Idle,
    /// A length above the cap.
    TooLong {
        /// The announced length in bytes.
        announced: usize,
    },
    /// A message of which not enough could be read for an answer.
    Unreadable,
    /// The peer does not read what is written to it.
    Backlog,
    /// An answer to it was given up while the kernel did not take it.
    Withdrawn,
    /// The core asked for it: no answer to echo or sign-on.
    Unresponsive,
    /// A request was not answered in time and bytes are unacknowledged (R3).
    Unacknowledged,
    /// The terminal came again: its newest authenticated connection wins.
    Superseded,
    /// The daemon stops.
    Stopping,
}

impl End {
    /// For labels and logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            End::PeerClosed => "peer_closed",
            End::Broken(_) => "broken",
            End::NoFirstMessage => "no_first_message",
            End::SlowFrame => "slow_frame",
            End::Idle => "idle",
            End::TooLong { .. } => "too_long",
            End::Unreadable => "unreadable",
            End::Backlog => "backlog",
            End::Withdrawn => "withdrawn",
            End::Unresponsive => "unresponsive",
            End::Unacknowledged => "unacknowledged",
            End::Superseded => "superseded",
            End::Stopping => "stopping",
        }
    }
}

/// What the shell holds of a connection while its task runs.
#[derive(Debug, Default)]
pub(crate) struct Line {
    out: RefCell<Outgoing>,
    order: Cell<Option<Order>>,
}

/// What the shell wants of a connection's task.
#[derive(Clone, Copy, Debug)]
enum Order {
    Close(End),
    ResetIfUnacknowledged,
}

impl Line {
    /// Queues a frame; the connection is closed when more than `backlog_max` bytes wait. See [`Outgoing::push`].
    pub(crate) fn push<E>(
        &self,
        action: Option<ActionId>,
        backlog_max: usize,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut out = self.out.borrow_mut();
        out.push(action, put)?;
        if out.backlog() > backlog_max {
            drop(out);
            self.close(End::Backlog);
        }
        Ok(())
    }

    /// Takes a frame back. True: it was, and nothing else reports it. False: its report was made or comes; if the kernel
    /// does not take it, the connection is closed so that it comes now.
    pub(crate) fn withdraw(&self, action: ActionId) -> bool {
        let mut out = self.out.borrow_mut();
        if out.withdraw(action) {
            return true;
        }
        if out.in_batch(action) {
            drop(out);
            self.close(End::Withdrawn);
        }
        false
    }

    /// Ends the connection; the first reason stays.
    pub(crate) fn close(&self, end: End) {
        if !matches!(self.order.get(), Some(Order::Close(_))) {
            self.order.set(Some(Order::Close(end)));
        }
        self.out.borrow().wake();
    }

    /// Ends the connection with a reset if its peer does not acknowledge what the kernel has taken until now; seen a moment
    /// later ([`super::send_queue`]).
    pub(crate) fn reset_if_unacknowledged(&self) {
        if self.order.get().is_none() {
            self.order.set(Some(Order::ResetIfUnacknowledged));
        }
        self.out.borrow().wake();
    }
}

/// Timeouts of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    /// From the start to the first byte.
    pub(crate) first_message: Option<Duration>,
    /// From the first byte of a frame to its last.
    pub(crate) frame: Duration,
    /// From one byte to the next.
    pub(crate) idle: Option<Duration>,
}

/// What to do with what arrives.
pub(crate) trait Handler {
    /// Whether more can be taken; if not, the handler wakes the task later.
    fn has_room(&mut self, cx: &mut Context<'_>) -> bool;
    /// A whole message, without its frame.
    fn message(&mut self, bytes: &[u8]) -> Result<(), End>;
    /// Whether a keep-alive is answered with one.
    fn answers_keep_alive(&self) -> bool;
    /// What became of a frame.
    fn report(&mut self, action: ActionId, fate: Fate);
}

/// What a connection is made of.
pub(crate) struct Traffic<S> {
    /// The stream, TLS or not.
    pub(crate) stream: S,
    /// How to reach the socket below.
    pub(crate) socket: fn(&S) -> &TcpStream,
    /// The kernel's count.
    pub(crate) taken: Taken,
    /// There is no TLS in between.
    pub(crate) plain: bool,
    /// Where it is seen what the peer has not acknowledged.
    pub(crate) queues: Rc<SendQueues>,
    /// What the shell holds.
    pub(crate) line: Rc<Line>,
    /// The longest message that is taken, bytes.
    pub(crate) frame_max: usize,
    /// The most that may wait for the socket, bytes.
    pub(crate) backlog_max: usize,
    /// Timeouts.
    pub(crate) timeouts: Timeouts,
}

/// A first buffer that holds a usual message; it grows to the longest that is taken.
const INBOX_BYTES: usize = 2048;

/// Reads at most so often before other connections get their turn.
const READS_PER_TURN: usize = 8;

/// Carries frames until the connection ends; every queued frame has its report then.
pub(crate) async fn run<S, H>(mut traffic: Traffic<S>, handler: &mut H) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    let mut reading = Reading::new(traffic.timeouts, traffic.frame_max);
    let mut survey = None;
    let end = poll_fn(|cx| poll(&mut traffic, &mut reading, &mut survey, handler, cx)).await;
    let mut out = std::mem::take(&mut *traffic.line.out.borrow_mut());
    out.fail(traffic.taken.bytes(), traffic.plain, |action, fate| handler.report(action, fate));
    match end {
        // What the kernel holds must not arrive later, or the peer does not deserve a farewell.
        End::Unacknowledged | End::Backlog | End::Withdrawn => socket::reset_on_close((traffic.socket)(&traffic.stream)),
        End::Stopping | End::Idle | End::NoFirstMessage | End::Unresponsive | End::Superseded => {
            // A farewell is a courtesy: one attempt, nobody waits for it.
            poll_fn(|cx| {
                let _ = Pin::new(&mut traffic.stream).poll_shutdown(cx);
                Poll::Ready(())
            })
            .await;
        }
        End::PeerClosed | End::Broken(_) | End::SlowFrame | End::TooLong { .. } | End::Unreadable => {}
    }
    end
}

fn poll<S, H>(
    traffic: &mut Traffic<S>,
    reading: &mut Reading,
    survey: &mut Option<Survey>,
    handler: &mut H,
    cx: &mut Context<'_>,
) -> Poll<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handler,
{
    if let Some(end) = obey(traffic, survey, cx) {
        return Poll::Ready(end);
    }
    let read = reading.poll(traffic, handler, cx);
    // After the reading, so that what it queued leaves at once.
    if let Poll::Ready(Err(error)) = poll_write(traffic, handler, cx) {
        return Poll::Ready(End::Broken(error.kind()));
    }
    traffic.line.out.borrow_mut().wake_with(cx);
    if let Some(end) = obey(traffic, survey, cx) {
        return Poll::Ready(end);
    }
    if let Poll::Ready(end) = read {
        return Poll::Ready(end);
    }
    reading.poll_timeout(cx)
}

/// Carries out what the shell ordered.
fn obey<S>(traffic: &Traffic<S>, survey: &mut Option<Survey>, cx: &mut Context<'_>) -> Option<End> {
    loop {
        if let Some(asked) = survey {
            match asked.poll(traffic.taken.bytes(), cx) {
                Poll::Pending => {}
                Poll::Ready(true) => return Some(End::Unacknowledged),
                Poll::Ready(false) => *survey = None,
            }
        }
        match traffic.line.order.get()? {
            // What waits may leave first; the shell does not wait for ever.
            Order::Close(End::Stopping) if traffic.line.out.borrow().backlog() > 0 => return None,
            Order::Close(end) => return Some(end),
            // It is about later bytes than the survey that is on its way, and waits for one of its own.
            Order::ResetIfUnacknowledged if survey.is_some() => return None,
            Order::ResetIfUnacknowledged => {
                traffic.line.order.set(None);
                *survey = Some(traffic.queues.survey((traffic.socket)(&traffic.stream), traffic.taken.bytes()));
                // Once more: the look at it is how this task is woken.
            }
        }
    }
}

/// Writes and flushes what waits, batch by batch, as far as the socket takes it.
fn poll_write<S, H>(traffic: &mut Traffic<S>, handler: &mut H, cx: &mut Context<'_>) -> Poll<io::Result<()>>
where
    S: AsyncWrite + Unpin,
    H: Handler,
{
    let mut out = traffic.line.out.borrow_mut();
    loop {
        let stream = Pin::new(&mut traffic.stream);
        if let Some(bytes) = out.next(traffic.taken.bytes()) {
            let accepted = ready!(stream.poll_write(cx, bytes))?;
            if accepted == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            out.accept(accepted);
        } else if out.unflushed() {
            ready!(stream.poll_flush(cx))?;
            out.flushed(|action, fate| handler.report(action, fate));
        } else {
            return Poll::Ready(Ok(()));
        }
    }
}

/// The reading half.
struct Reading {
    inbox: Vec<u8>,
    filled: usize,
    frame_max: usize,
    timeouts: Timeouts,
    heard: bool,
    last_heard: Instant,
    frame_begun: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl Reading {
    fn new(timeouts: Timeouts, frame_max: usize) -> Self {
        let now = Instant::now();
        Reading {
            inbox: vec![0; first_bytes(frame_max)],
            filled: 0,
            frame_max,
            timeouts,
            heard: false,
            last_heard: now,
            frame_begun: None,
            timer: Box::pin(tokio::time::sleep_until(now)),
        }
    }

    /// Reads and handles frames until the socket has no more, the core has no room, or others should have a turn.
    fn poll<S, H>(&mut self, traffic: &mut Traffic<S>, handler: &mut H, cx: &mut Context<'_>) -> Poll<End>
    where
        S: AsyncRead + Unpin,
        H: Handler,
    {
        for _ in 0..READS_PER_TURN {
            match self.take_frames(traffic, handler, cx) {
                Ok(true) => {}
                Ok(false) => {
                    self.excuse();
                    return Poll::Pending;
                }
                Err(end) => return Poll::Ready(end),
            }
            if self.filled == self.inbox.len() {
                self.grow();
            }
            let mut buf = ReadBuf::new(&mut self.inbox[self.filled..]);
            match ready!(Pin::new(&mut traffic.stream).poll_read(cx, &mut buf)) {
                Ok(()) if buf.filled().is_empty() => return Poll::Ready(End::PeerClosed),
                Ok(()) => {
                    self.filled += buf.filled().len();
                    self.heard = true;
                    self.last_heard = Instant::now();
                }
                // Without TLS's farewell: many terminals just close.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(End::PeerClosed),
                Err(error) => return Poll::Ready(End::Broken(error.kind())),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// It is we who do not read: the peer's time begins again.
    fn excuse(&mut self) {
        self.last_heard = Instant::now();
        self.frame_begun = self.frame_begun.map(|_| self.last_heard);
    }

    /// Handles the whole frames that are there, as far as the handler has room. False: it has none.
    fn take_frames<S, H>(&mut self, traffic: &Traffic<S>, handler: &mut H, cx: &mut Context<'_>) -> Result<bool, End>
    where
        H: Handler,
    {
        let (mut at, mut has_room) = (0, true);
        loop {
            has_room = has_room && handler.has_room(cx);
            if !has_room {
                break;
            }
            let rest = &self.inbox[at..self.filled];
            match next_frame(rest, self.frame_max) {
                Frame::Incomplete => break,
                Frame::KeepAlive => {
                    at += LENGTH_BYTES;
                    self.frame_begun = None;
                    if handler.answers_keep_alive() {
                        keep_alive(traffic);
                    }
                }
                Frame::Message(range) => {
                    let end = range.end;
                    handler.message(&rest[range])?;
                    at += end;
                    self.frame_begun = None;
                }
                Frame::TooLong { announced } => return Err(End::TooLong { announced }),
            }
        }
        self.drop_front(at);
        if self.filled == 0 && self.inbox.len() > self.first_bytes() {
            // What one long message needed is not kept for the rest of a connection's life.
            self.inbox = vec![0; self.first_bytes()];
        }
        if self.filled > 0 {
            self.frame_begun.get_or_insert(self.last_heard);
        }
        Ok(has_room)
    }

    /// Wipes what was handled and moves the rest to the front.
    fn drop_front(&mut self, bytes: usize) {
        self.inbox.copy_within(bytes..self.filled, 0);
        let rest = self.filled - bytes;
        self.inbox[rest..self.filled].zeroize();
        self.filled = rest;
    }

    fn first_bytes(&self) -> usize {
        first_bytes(self.frame_max)
    }

    fn grow(&mut self) {
        // A frame above the cap ended the connection, so a full buffer is below it.
        let size = (self.inbox.len() * 2).min(LENGTH_BYTES + self.frame_max);
        let mut grown = vec![0; size];
        grown[..self.filled].copy_from_slice(&self.inbox[..self.filled]);
        self.inbox.zeroize();
        self.inbox = grown;
    }

    /// When to give up, and why; `None` when nothing is waited for.
    fn deadline(&self) -> Option<(Instant, End)> {
        if let Some(begun) = self.frame_begun {
            return Some((begun + self.timeouts.frame, End::SlowFrame));
        }
        let (patience, end) =
            if self.heard { (self.timeouts.idle, End::Idle) } else { (self.timeouts.first_message, End::NoFirstMessage) };
        patience.map(|patience| (self.last_heard + patience, end))
    }

    /// The timer is moved forward only when it fires, not at every message.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let Some((deadline, end)) = self.deadline() else { return Poll::Pending };
        loop {
            if deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
            ready!(self.timer.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(end);
            }
            self.timer.as_mut().reset(deadline);
        }
    }
}

/// The size of a first buffer.
fn first_bytes(frame_max: usize) -> usize {
    INBOX_BYTES.min(LENGTH_BYTES + frame_max)
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.inbox.zeroize();
    }
}

fn keep_alive<S>(traffic: &Traffic<S>) {
    let put = |out: &mut Vec<u8>| -> Result<(), std::convert::Infallible> {
        put_frame(out, &[]);
        Ok(())
    };
    let Ok(()) = traffic.line.push(None, traffic.backlog_max, put);
}
