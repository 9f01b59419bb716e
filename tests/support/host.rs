//! An issuer's host that does nothing but what a test says, for answers that no issuer of good faith gives.
//!
//! Plain TCP. Sign-on and echo are answered by itself; everything else is handed to the test. Invariant: connections are
//! numbered in the order in which they came, and keep their number.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use iso8583::Fields;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::line::{frame, take};
use super::wait::within;

/// A message and the number of the connection that it came on.
pub(crate) struct Arrived {
    pub(crate) line: usize,
    pub(crate) message: Fields,
}

type Lines = Arc<Mutex<Vec<mpsc::UnboundedSender<Out>>>>;

enum Out {
    Bytes(Vec<u8>),
    Cut,
}

/// A host with its listener.
pub(crate) struct Host {
    address: SocketAddr,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    lines: Lines,
    accepting: JoinHandle<()>,
}

impl Host {
    /// Listens on a free port of loopback.
    pub(crate) async fn start() -> Self {
        Self::answering_sign_on("00").await
    }

    /// As [`Self::start`]; sign-on and echo get this code.
    pub(crate) async fn answering_sign_on(code: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let lines = Lines::default();
        let (to_test, arrived) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(accept(listener, lines.clone(), to_test, code));
        Host { address, arrived, lines, accepting }
    }

    /// Where links connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next message that is not network management.
    pub(crate) async fn next(&mut self) -> Arrived {
        within("a message at the host", self.arrived.recv()).await.expect("the host listens")
    }

    /// The next message on a connection after this one: what was on its way on an earlier one is passed over.
    pub(crate) async fn next_after(&mut self, line: usize) -> Arrived {
        loop {
            let arrived = self.next().await;
            if arrived.line > line {
                return arrived;
            }
        }
    }

    /// Nothing has come that was not taken by [`Self::next`].
    pub(crate) fn assert_nothing_more(&mut self) {
        if let Ok(arrived) = self.arrived.try_recv() {
            panic!("the host was sent a {} that it must not see", arrived.message.mti());
        }
    }

    /// Answers a message on the connection that it came on.
    pub(crate) fn answer(&self, arrived: &Arrived, code: &str) {
        self.send(arrived.line, &answer_to(&arrived.message, code));
    }

    /// Sends a message on a connection.
    pub(crate) fn send(&self, line: usize, message: &Fields) {
        self.send_bytes(line, frame(message));
    }

    /// Sends bytes as they are.
    pub(crate) fn send_bytes(&self, line: usize, bytes: Vec<u8>) {
        self.put(line, Out::Bytes(bytes));
    }

    /// Closes a connection.
    pub(crate) fn cut(&self, line: usize) {
        self.put(line, Out::Cut);
    }

    /// How many connections have come.
    pub(crate) fn connections(&self) -> usize {
        self.lines.lock().expect("no panic while it is held").len()
    }

    /// Takes no more connections; those that are open stay.
    pub(crate) fn refuse(&self) {
        self.accepting.abort();
    }

    fn put(&self, line: usize, out: Out) {
        let lines = self.lines.lock().expect("no panic while it is held");
        // A connection that is gone takes nothing, as in life.
        let _ = lines[line].send(out);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The usual answer: what came, echoed, with DE39 and for an approval DE38.
pub(crate) fn answer_to(message: &Fields, code: &str) -> Fields {
    let mut answer = Fields::new(message.mti().response());
    for de in [2, 3, 4, 7, 11, 12, 13, 37, 41, 42, 49, 70, 90] {
        answer.copy_from(message, de);
    }
    answer.set(39, code.as_bytes());
    if code == "00" && message.mti().class() == 2 {
        answer.set(38, b"A00001");
    }
    answer
}

async fn accept(listener: TcpListener, lines: Lines, to_test: mpsc::UnboundedSender<Arrived>, sign_on: &'static str) {
    while let Ok((tcp, _)) = listener.accept().await {
        let (out, outs) = mpsc::unbounded_channel();
        let line = {
            let mut lines = lines.lock().expect("no panic while it is held");
            lines.push(out.clone());
            lines.len() - 1
        };
        tokio::spawn(converse(tcp, line, (out, outs), to_test.clone(), sign_on));
    }
}

async fn converse(
    mut tcp: TcpStream,
    line: usize,
    (out, mut outs): (mpsc::UnboundedSender<Out>, mpsc::UnboundedReceiver<Out>),
    to_test: mpsc::UnboundedSender<Arrived>,
    sign_on: &'static str,
) {
    let mut input = Vec::new();
    loop {
        tokio::select! {
            read = tcp.read_buf(&mut input) => {
                if !read.is_ok_and(|bytes| bytes > 0) {
                    return;
                }
                while let Some(message) = take(&mut input) {
                    if message.mti().class() == 8 {
                        let _ = out.send(Out::Bytes(frame(&answer_to(&message, sign_on))));
                    } else {
                        // The test may have ended.
                        let _ = to_test.send(Arrived { line, message });
                    }
                }
            }
            next = outs.recv() => match next {
                Some(Out::Bytes(bytes)) => if tcp.write_all(&bytes).await.is_err() { return },
                Some(Out::Cut) | None => return,
            },
        }
    }
}
