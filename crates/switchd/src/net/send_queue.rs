//! What the kernel still holds of what was written: bytes that a peer's host has not acknowledged (R3).
//!
//! The count comes from the kernel's table of connections in `/proc`, as the system call for it needs `unsafe`. The table
//! has a line for every socket of the host: with 10,000 terminals a reading takes tens of milliseconds. So it is read on a
//! thread of its own, once for all connections that ask within [`GATHER`]. Meanwhile more is written, the reversal itself
//! among it, which the peer had no time to acknowledge: only what the kernel had taken when it was asked for counts.
//!
//! Invariant: a reading begins after every question that it answers.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::shell::worker::Worker;

/// From the first question to the reading: those that come meanwhile share it, and what was just written is acknowledged by
/// a host that does so late (40 ms are usual).
const GATHER: Duration = Duration::from_millis(100);

/// The kernel's table: of version 6, or of 4.
type Read = dyn Fn(bool) -> io::Result<String> + Send + Sync;

/// A connection whose send queue is asked for.
struct Ask {
    local: SocketAddr,
    peer: SocketAddr,
    reply: oneshot::Sender<io::Result<u64>>,
}

/// The thread that reads the table, and who waits for it.
pub(crate) struct SendQueues {
    worker: Worker,
    asked: Arc<Mutex<Vec<Ask>>>,
    read: Arc<Read>,
}

/// A question about one connection.
pub(crate) struct Survey {
    /// What the kernel had taken when it was asked.
    taken: u64,
    found: oneshot::Receiver<io::Result<u64>>,
}

impl SendQueues {
    /// Starts the thread.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(crate) fn start() -> io::Result<Self> {
        Self::of(|v6| fs::read_to_string(if v6 { "/proc/self/net/tcp6" } else { "/proc/self/net/tcp" }))
    }

    fn of(read: impl Fn(bool) -> io::Result<String> + Send + Sync + 'static) -> io::Result<Self> {
        Ok(SendQueues { worker: Worker::start("send-queues")?, asked: Arc::default(), read: Arc::new(read) })
    }

    /// Asks for a connection of which the kernel has taken so many bytes.
    pub(crate) fn survey(&self, stream: &TcpStream, taken: u64) -> Survey {
        let (reply, found) = oneshot::channel();
        match stream.local_addr().and_then(|local| Ok((local, stream.peer_addr()?))) {
            Ok((local, peer)) => self.ask(Ask { local, peer, reply }),
            // The survey ends at once.
            Err(error) => drop(reply.send(Err(error))),
        }
        Survey { taken, found }
    }

    fn ask(&self, ask: Ask) {
        let mut asked = lock(&self.asked);
        asked.push(ask);
        if asked.len() > 1 {
            return; // A reading that has not begun is on its way.
        }
        let (asked, read) = (Arc::clone(&self.asked), Arc::clone(&self.read));
        self.worker.run(move || {
            thread::sleep(GATHER);
            let asked = std::mem::take(&mut *lock(&asked));
            answer(asked, &*read);
        });
    }
}

impl Survey {
    /// Whether the peer has not acknowledged what the kernel had taken when it was asked. `taken` is the kernel's count now.
    pub(crate) fn poll(&mut self, taken: u64, cx: &mut Context<'_>) -> Poll<bool> {
        let found = ready!(Pin::new(&mut self.found).poll(cx)).unwrap_or_else(|_| Err(io::Error::other("not read")));
        Poll::Ready(match found {
            // What was written since stands at the end of the queue.
            Ok(unacknowledged) => unacknowledged > taken - self.taken,
            Err(error) => {
                // TCP_USER_TIMEOUT, shorter than the horizon, still ends a dead connection.
                tracing::warn!(%error, "cannot see what the peer acknowledged");
                false
            }
        })
    }
}

fn lock(asked: &Mutex<Vec<Ask>>) -> std::sync::MutexGuard<'_, Vec<Ask>> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers all of them from one reading of each table.
fn answer(asked: Vec<Ask>, read: &Read) {
    let (v6, v4): (Vec<Ask>, Vec<Ask>) = asked.into_iter().partition(|ask| ask.local.is_ipv6());
    for (asked, is_v6) in [(v4, false), (v6, true)] {
        if asked.is_empty() {
            continue;
        }
        let table = read(is_v6);
        for Ask { local, peer, reply } in asked {
            let found = match &table {
                Ok(table) => {
                    find(table, local, peer).ok_or_else(|| io::Error::other("the connection is not in the kernel's table"))
                }
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            // Whoever asked may be gone.
            let _ = reply.send(found);
        }
    }
}

/// The send queue of a connection in the kernel's table.
fn find(table: &str, local: SocketAddr, peer: SocketAddr) -> Option<u64> {
    let (local, peer) = (kernel_address(local), kernel_address(peer));
    table.lines().find_map(|line| {
        let mut columns = line.split_ascii_whitespace().skip(1);
        if columns.next()? != local || columns.next()? != peer {
            return None;
        }
        let (send_queue, _) = columns.nth(1)?.split_once(':')?;
        u64::from_str_radix(send_queue, 16).ok()
    })
}

/// An address as the table writes it: words of four bytes as numbers of this machine, in hex.
fn kernel_address(address: SocketAddr) -> String {
    let octets: Vec<u8> = match address {
        SocketAddr::V4(v4) => v4.ip().octets().to_vec(),
        SocketAddr::V6(v6) => v6.ip().octets().to_vec(),
    };
    let word = |w: &[u8]| format!("{:08X}", u32::from_ne_bytes([w[0], w[1], w[2], w[3]]));
    let words: String = octets.chunks_exact(4).map(word).collect();
    format!("{words}:{:04X}", address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::mpsc;
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpSocket};

    fn on_one_thread(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    async fn unacknowledged(queues: &SendQueues, stream: &TcpStream, taken: u64, taken_then: u64) -> bool {
        let mut survey = queues.survey(stream, taken);
        poll_fn(|cx| survey.poll(taken_then, cx)).await
    }

    /// A connection to a peer that does not read, with a small window, so that the kernel must keep what is written.
    async fn stuffed(address: &str) -> (TcpStream, TcpStream, u64) {
        let listening = if address.starts_with('[') { TcpSocket::new_v6() } else { TcpSocket::new_v4() }.unwrap();
        listening.set_recv_buffer_size(4096).unwrap();
        listening.bind(address.parse().unwrap()).unwrap();
        let listener: TcpListener = listening.listen(1).unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (peer, _) = listener.accept().await.unwrap();
        let queues = SendQueues::start().unwrap();
        assert!(!unacknowledged(&queues, &stream, 0, 0).await, "nothing was written");
        let mut taken = 0;
        while let Ok(bytes) = tokio::time::timeout(Duration::from_millis(100), stream.write(&[0; 64 << 10])).await {
            taken += bytes.unwrap() as u64;
        }
        (stream, peer, taken)
    }

    #[test]
    fn r3_unacknowledged_bytes_are_seen() {
        on_one_thread(async {
            for address in ["127.0.0.1:0", "[::1]:0"] {
                let (stream, _peer, taken) = stuffed(address).await;
                let queues = SendQueues::start().unwrap();
                assert!(unacknowledged(&queues, &stream, taken, taken).await, "{address}");
                assert!(!unacknowledged(&queues, &stream, 0, taken).await, "written after the question: {address}");
            }
        });
    }

    /// Every timed-out request asks for its connection: the table is as long as there are terminals.
    #[test]
    fn r3_the_table_is_read_once_for_all_and_never_on_the_thread_that_asks() {
        on_one_thread(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (read, readings) = mpsc::channel();
            let queues = SendQueues::of(move |v6| {
                read.send((v6, thread::current().id())).unwrap();
                Ok(String::new())
            });
            let queues = queues.unwrap();
            let mut surveys: Vec<Survey> = (0..500).map(|_| queues.survey(&stream, 0)).collect();
            for survey in &mut surveys {
                assert!(!poll_fn(|cx| survey.poll(0, cx)).await, "a connection that is not found is not reset");
            }
            drop(queues);
            let readings: Vec<_> = readings.iter().collect();
            assert_eq!(readings.len(), 1);
            assert!(!readings[0].0 && readings[0].1 != thread::current().id());
        });
    }
}
