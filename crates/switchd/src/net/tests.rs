//! Traffic over real loopback sockets, plain and under TLS: fates, timeouts, keep-alives, orders.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use iso8583::frame::put_frame;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use switch::ActionId;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::counting::{Counting, Taken};
use super::outgoing::Fate;
use super::send_queue::SendQueues;
use super::traffic::{self, End, Handler, Line, Timeouts, Traffic};
use crate::certificates::{Authority, Usage};

/// Long enough for any machine; no test waits for it.
const LONG: Duration = Duration::from_secs(60);
/// A reading of the kernel's table has been made: here it may come late, and then the case proves less.
const SURVEYED: Duration = Duration::from_millis(400);
const SHORT: Duration = Duration::from_millis(50);
const PATIENT: Timeouts = Timeouts { first_message: Some(LONG), frame: LONG, idle: Some(LONG) };
const BACKLOG_MAX: usize = 64 << 20;

/// What a connection's handler saw.
#[derive(Clone, Debug, Default)]
struct Seen {
    messages: Rc<RefCell<Vec<Vec<u8>>>>,
    fates: Rc<RefCell<Vec<(u64, Fate)>>>,
}

impl Handler for Seen {
    fn has_room(&mut self, _: &mut Context<'_>) -> bool {
        true
    }

    fn message(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.messages.borrow_mut().push(bytes.to_vec());
        if bytes == b"bad" { Err(End::Unreadable) } else { Ok(()) }
    }

    fn answers_keep_alive(&self) -> bool {
        true
    }

    fn report(&mut self, action: ActionId, fate: Fate) {
        self.fates.borrow_mut().push((action.0, fate));
    }
}

/// A connection under test.
struct Subject {
    line: Rc<Line>,
    seen: Seen,
    taken: Taken,
    task: JoinHandle<End>,
}

impl Subject {
    fn queue(&self, action: u64, bytes: usize) {
        let put = |out: &mut Vec<u8>| -> Result<(), Infallible> {
            (0..bytes / 1000).for_each(|_| put_frame(out, &[7; 998]));
            Ok(())
        };
        let Ok(()) = self.line.push(Some(ActionId(action)), BACKLOG_MAX, put);
    }

    /// The task has seen what is queued when it had its turns.
    async fn let_it_run(&self) {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(self) -> (End, Vec<(u64, Fate)>) {
        let end = tokio::time::timeout(LONG, self.task).await.unwrap().unwrap();
        let fates = self.seen.fates.borrow().clone();
        (end, fates)
    }
}

fn run<S: AsyncRead + AsyncWrite + Unpin + 'static>(
    stream: S,
    socket: fn(&S) -> &TcpStream,
    taken: Taken,
    plain: bool,
    timeouts: Timeouts,
) -> Subject {
    let (line, seen) = (Rc::new(Line::default()), Seen::default());
    let count = taken.clone();
    let traffic = Traffic {
        stream,
        socket,
        taken: count,
        plain,
        queues: Rc::new(SendQueues::start().unwrap()),
        line: line.clone(),
        frame_max: 1000,
        backlog_max: BACKLOG_MAX,
        timeouts,
    };
    let mut handler = seen.clone();
    let task = spawn_local(async move { traffic::run(traffic, &mut handler).await });
    Subject { line, seen, taken, task }
}

/// Two ends of a connection; the far end takes little before it reads.
async fn pair() -> (TcpStream, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener: TcpListener = socket.listen(1).unwrap();
    let near = TcpSocket::new_v4().unwrap();
    near.set_send_buffer_size(16 << 10).unwrap();
    let near = near.connect(listener.local_addr().unwrap()).await.unwrap();
    let (far, _) = listener.accept().await.unwrap();
    (near, far)
}

async fn plain(timeouts: Timeouts) -> (Subject, TcpStream) {
    let (near, far) = pair().await;
    let near = Counting::new(near);
    let taken = near.taken();
    (run(near, |stream| stream.get_ref(), taken, true, timeouts), far)
}

type Far = tokio_rustls::server::TlsStream<TcpStream>;

async fn encrypted() -> (Subject, Far) {
    let authority = Authority::generate(1_800_000_000_000).unwrap();
    let server = authority.sign("host", Usage::LocalServer).unwrap();
    let certificate = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap();
    let chain = vec![certificate(&server.certificate)];
    let accepting = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.pair.certificate)).unwrap();
    let connecting = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();

    let (near, far) = pair().await;
    let name = ServerName::try_from("localhost").unwrap();
    let near = TlsConnector::from(Arc::new(connecting)).connect(name, Counting::new(near));
    let (near, far) = tokio::try_join!(near, TlsAcceptor::from(Arc::new(accepting)).accept(far)).unwrap();
    let taken = near.get_ref().0.taken();
    (run(near, |stream| stream.get_ref().0.get_ref(), taken, false, PATIENT), far)
}

fn on_one_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// More than the sockets of both ends hold.
const STUFFING: usize = 2 << 20;

/// What fits is written; of what does not, the batch is partial and the rest not sent.
async fn check_fates<F>((subject, far): (Subject, F)) {
    subject.queue(1, 1000);
    subject.let_it_run().await;
    assert_eq!(*subject.seen.fates.borrow(), [(1, Fate::Written)]);
    subject.queue(2, STUFFING);
    subject.let_it_run().await;
    subject.queue(3, 1000);
    subject.let_it_run().await;
    assert_eq!(subject.seen.fates.borrow().len(), 1, "nothing is said while nothing is known");
    drop(far);
    let (_, fates) = subject.end().await;
    assert_eq!(fates, [(1, Fate::Written), (2, Fate::Partial), (3, Fate::NotSent)]);
}

#[test]
fn t2_t3_fates_on_a_plain_socket() {
    on_one_thread(async { check_fates(plain(PATIENT).await).await });
}

#[test]
fn t2_t3_fates_under_tls() {
    on_one_thread(async { check_fates(encrypted().await).await });
}

#[test]
fn t2_what_tls_only_keeps_in_its_buffer_is_not_written() {
    on_one_thread(async {
        let (subject, _far) = encrypted().await;
        let written = || subject.seen.fates.borrow().len() as u64;
        let mut queued = 0;
        while written() == queued {
            queued += 1;
            subject.queue(queued, 16_000);
            subject.let_it_run().await;
        }
        let (written, taken) = (written() * 16_000, subject.taken.bytes());
        assert!(written <= taken, "{written} bytes are said to be written, the kernel took {taken}");
    });
}

#[test]
fn t8_a_withdrawn_write_that_the_kernel_does_not_take_ends_the_connection() {
    on_one_thread(async {
        let (subject, _far) = plain(PATIENT).await;
        subject.queue(1, STUFFING);
        subject.let_it_run().await;
        subject.queue(2, 1000);
        assert!(subject.line.withdraw(ActionId(2)), "it waits behind the other");
        assert!(!subject.line.withdraw(ActionId(1)));
        assert_eq!(subject.end().await, (End::Withdrawn, vec![(1, Fate::Partial)]));
    });
}

#[test]
fn r3_unacknowledged_bytes_end_the_connection_and_acknowledged_ones_do_not() {
    on_one_thread(async {
        let (subject, _far) = plain(PATIENT).await;
        subject.queue(1, 1000);
        subject.let_it_run().await;
        subject.line.reset_if_unacknowledged();
        // What is written after the order had no time to be acknowledged: a survey of its own is for that.
        subject.queue(2, STUFFING);
        tokio::time::sleep(SURVEYED).await;
        assert!(!subject.task.is_finished());
        subject.let_it_run().await;
        subject.line.reset_if_unacknowledged();
        assert_eq!(subject.end().await.0, End::Unacknowledged);
    });
}

#[test]
fn a_stop_lets_out_what_waits() {
    on_one_thread(async {
        let (subject, mut far) = plain(PATIENT).await;
        subject.queue(1, 1000);
        subject.line.close(End::Stopping);
        assert_eq!(subject.end().await, (End::Stopping, vec![(1, Fate::Written)]));
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), 1000);
    });
}

#[test]
fn frames_are_cut_and_keep_alives_answered() {
    on_one_thread(async {
        let (subject, mut far) = plain(PATIENT).await;
        let mut sent = vec![0, 0];
        put_frame(&mut sent, &[1; 10]);
        put_frame(&mut sent, &[2; 1000]);
        for byte in sent {
            far.write_all(&[byte]).await.unwrap();
        }
        let mut answer = [9; 2];
        far.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [0, 0]);
        far.write_all(&[0, 3, b'b', b'a', b'd']).await.unwrap();
        let messages = subject.seen.messages.clone();
        assert_eq!(subject.end().await.0, End::Unreadable);
        assert_eq!(*messages.borrow(), [vec![1; 10], vec![2; 1000], b"bad".to_vec()]);
    });
}

/// What the far end sends, and how the connection ends; `timeouts` are short where the case wants it.
#[track_caller]
fn check_end(timeouts: Timeouts, sent: &'static [u8], end: End) {
    let place = std::panic::Location::caller();
    on_one_thread(async move {
        let (subject, mut far) = plain(timeouts).await;
        far.write_all(sent).await.unwrap();
        assert_eq!(subject.end().await.0, end, "{place}");
    });
}

#[test]
fn timeouts_and_lengths_end_the_connection() {
    check_end(Timeouts { first_message: Some(SHORT), ..PATIENT }, &[], End::NoFirstMessage);
    check_end(Timeouts { idle: Some(SHORT), ..PATIENT }, &[0, 0], End::Idle);
    check_end(Timeouts { idle: Some(SHORT), ..PATIENT }, &[0, 1, 7], End::Idle);
    check_end(Timeouts { frame: SHORT, ..PATIENT }, &[0, 5, 7], End::SlowFrame);
    check_end(Timeouts { frame: SHORT, ..PATIENT }, &[0], End::SlowFrame);
    check_end(PATIENT, &[0xFF, 0xFF], End::TooLong { announced: 65_535 });
}

#[test]
fn a_peer_that_does_not_read_is_closed() {
    on_one_thread(async {
        let (subject, _far) = plain(PATIENT).await;
        let put = |out: &mut Vec<u8>| -> Result<(), Infallible> {
            out.resize(out.len() + STUFFING, 0);
            Ok(())
        };
        let Ok(()) = subject.line.push(Some(ActionId(1)), STUFFING - 1, put);
        assert_eq!(subject.end().await, (End::Backlog, vec![(1, Fate::NotSent)]));
    });
}
