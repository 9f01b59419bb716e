//! The terminals' side: accepting, handshake, registry, messages to the core.
//!
//! A terminal that may not speak for a DE41 + DE42 gets 03 here; a message that cannot be read gets 30 if it says enough
//! about itself to be answered, else its connection ends. Neither reaches the core (M2: refusals leave no record).
//! Invariant: what reaches the core was allowed by the certificate of its connection.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use iso8583::{Dialect, Fields, ResponseCode, TerminalId};
use rustls::CertificateError;
use switch::{ActionId, ConnId, Input, Report, refusal};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;

use super::door::{Door, Place};
use super::in_flight::InFlight;
use super::wire::Unreadable;
use super::{Peer, Shell};
use crate::clock;
use crate::config::registry::Entry;
use crate::net::counting::Counting;
use crate::net::outgoing::Fate;
use crate::net::socket;
use crate::net::traffic::{self, End, Handler, Line, Timeouts, Traffic};
use crate::observe::expiry::{Nearness, nearness};
use crate::observe::quota::Subject;
use crate::tls::Identity;

/// What TLS may keep of what the socket does not take: a record's worth, the rest waits where it is counted.
const TLS_BUFFER_BYTES: usize = 16 << 10;

/// Takes connections until the shell accepts no more.
pub(crate) async fn accept(shell: Rc<Shell>, listener: TcpListener) {
    let door = Rc::new(Door::new(&shell.settings.limits));
    spawn_local(door.clone().pace());
    let open = Rc::new(Cell::new(0_usize));
    loop {
        let accepted = tokio::select! {
            () = shell.until_not_accepting() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Out of descriptors, most likely: some must close first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if door.taken() + open.get() >= shell.sockets_max {
            refused(&shell, "descriptors", address, None);
            continue;
        }
        let place = tokio::select! {
            () = shell.until_not_accepting() => return,
            place = door.enter() => place,
        };
        let (shell, open) = (shell.clone(), open.clone());
        spawn_local(async move {
            let Some((stream, holder)) = welcome(&shell, place, stream, address).await else { return };
            // Who comes again takes the place of its own earlier connection.
            let only = holder.entry.borrow().as_ref().and_then(|entry| entry.only());
            let again = only.is_some_and(|terminal| shell.newest.borrow().contains_key(&terminal));
            if !again && open.get() >= shell.settings.limits.connections_max {
                refused(&shell, "connections_max", address, None);
                return;
            }
            let counted = Counted::new(&open);
            converse(&shell, stream, holder, address).await;
            drop(counted);
        });
    }
}

/// Counts a connection that is refused before its first message; a few a second of each peer get a line.
fn refused(shell: &Shell, reason: &'static str, address: SocketAddr, error: Option<&io::Error>) {
    shell.meters.refused(reason);
    if shell.lines.take(Subject::Address(address.ip())) {
        let error = error.map(tracing::field::display);
        tracing::info!(%address, reason, error, "terminal connection refused");
    }
}

/// One more connection for as long as it lives.
struct Counted(Rc<Cell<usize>>);

impl Counted {
    fn new(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Counted(open.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

type Stream = TlsStream<Counting<TcpStream>>;

/// The handshake, and whose certificate it was; `None` when the connection is refused.
async fn welcome(shell: &Shell, place: Place, stream: TcpStream, address: SocketAddr) -> Option<(Stream, Holder)> {
    if let Err(error) = socket::set_options(&stream, &shell.settings.listen.tcp) {
        // The peer is gone already.
        tracing::debug!(%address, %error, "cannot set the options of a socket");
        return None;
    }
    if let Err(reason) = place.first_byte(&stream).await {
        refused(shell, reason, address, None);
        return None;
    }
    let mut stream = match place.handshake(shell.current().acceptor.accept(Counting::new(stream))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            refused(shell, refusal_of(&error), address, Some(&error));
            return None;
        }
        Err(reason) => {
            refused(shell, reason, address, None);
            return None;
        }
    };
    drop(place);
    let (_, session) = stream.get_mut();
    session.set_buffer_limit(Some(TLS_BUFFER_BYTES));
    let identity = session.peer_certificates().and_then(|chain| chain.first()).map(Identity::of);
    let identity = identity.expect("the verifier refuses handshakes without a certificate");
    let holder = Holder::new(shell, identity);
    let identity = &holder.identity;
    let subject = identity.subject.as_deref().unwrap_or("");
    if holder.entry.borrow().is_none() {
        shell.meters.refused("not_registered");
        if shell.lines.take(Subject::Audit(address.ip())) {
            tracing::warn!(target: "audit", %address, subject, certificate = identity.hex(), "certificate is not registered");
        }
        return None;
    }
    if let Some(Nearness::Within(days)) = nearness(identity.not_after_s, clock::now().wall_ms) {
        shell.meters.expires_soon(days);
        if shell.lines.take(Subject::Address(address.ip())) {
            tracing::warn!(%address, subject, days, "a terminal's certificate expires within so many days; next: renew it");
        }
    }
    Some((stream, holder))
}

/// What a handshake failed for, as far as an operator would tell it apart.
fn refusal_of(error: &io::Error) -> &'static str {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::NoCertificatesPresented) => "no_certificate",
        Some(rustls::Error::InvalidCertificate(wrong)) => match wrong {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "certificate_expired",
            CertificateError::Revoked => "certificate_revoked",
            _ => "certificate",
        },
        _ => "handshake",
    }
}

/// Carries the terminal's messages until its connection ends.
async fn converse(shell: &Rc<Shell>, stream: Stream, holder: Holder, address: SocketAddr) {
    let Some(entry) = holder.entry.borrow().clone() else { return };
    let group = shell.settings.groups.get(&entry.group).copied();
    let group = group.expect("the registry names configured groups only");
    let dialect = group.dialect;
    let line = Rc::new(Line::default());
    let limits = &shell.settings.limits;
    let patience = Duration::from_millis(group.terminal_response_timeout_ms);
    let in_flight = InFlight::new(limits.terminal_in_flight_max, patience);
    let peer = Rc::new(Peer { line: line.clone(), dialect, in_flight });
    let place = shell.terminals.borrow_mut().insert(peer.clone());
    shell.close_if_late(&line);
    let only = entry.only();
    if let Some(terminal) = only {
        supersede(shell, terminal, place, address);
    }
    let conn = ConnId { index: place.0, generation: place.1 };
    shell.meters.terminal_opened();
    let traffic = Traffic {
        taken: stream.get_ref().0.taken(),
        stream,
        socket: |stream: &Stream| stream.get_ref().0.get_ref(),
        plain: false,
        queues: shell.queues.clone(),
        line,
        frame_max: limits.frame_max,
        backlog_max: limits.write_backlog_max,
        timeouts: Timeouts {
            first_message: Some(Duration::from_millis(limits.first_message_timeout_ms)),
            frame: Duration::from_millis(limits.frame_timeout_ms),
            idle: Some(Duration::from_millis(limits.idle_timeout_ms)),
        },
    };
    let mut terminal = Terminal { shell, peer, conn, holder, address, named: Cell::new(None), full: None };
    let end = traffic::run(traffic, &mut terminal).await;
    shell.terminals.borrow_mut().remove(place);
    if let Some(terminal) = only {
        let mut newest = shell.newest.borrow_mut();
        if newest.get(&terminal) == Some(&place) {
            newest.remove(&terminal);
        }
    }
    shell.mailbox.push(Input::TerminalClosed { conn });
    shell.meters.terminal_closed(end);
    closed(shell, end, address, terminal.named.get());
}

/// The newest authenticated connection of a terminal wins: the one before is most likely dead and does not know it.
fn supersede(shell: &Shell, terminal: TerminalId, place: super::table::Place, address: SocketAddr) {
    let Some(before) = shell.newest.borrow_mut().insert(terminal, place) else { return };
    if let Some(peer) = shell.terminals.borrow().get(before) {
        peer.line.close(End::Superseded);
        if shell.lines.take(Subject::Address(address.ip())) {
            tracing::info!(%address, %terminal, "the terminal came again; its earlier connection is closed");
        }
    }
}

/// Says why a connection ended: aloud when a merchant would ask.
fn closed(shell: &Shell, end: End, address: SocketAddr, named: Option<TerminalId>) {
    let (reason, terminal) = (end.name(), named.map(tracing::field::display));
    match end {
        End::NoFirstMessage | End::SlowFrame | End::TooLong { .. } | End::Unreadable | End::Backlog => {
            if shell.lines.take(Subject::Address(address.ip())) {
                tracing::info!(%address, terminal, reason, "terminal connection closed by the switch");
            }
        }
        End::PeerClosed
        | End::Broken(_)
        | End::Idle
        | End::Withdrawn
        | End::Unresponsive
        | End::Unacknowledged
        | End::Superseded
        | End::Stopping => tracing::debug!(%address, terminal, reason, "terminal connection closed"),
    }
}

/// Whose connection it is, and what that certificate may do by the registry as it is now.
struct Holder {
    identity: Identity,
    /// The registry that was looked into.
    number: Cell<u64>,
    entry: RefCell<Option<Arc<Entry>>>,
}

impl Holder {
    fn new(shell: &Shell, identity: Identity) -> Holder {
        let holder = Holder { identity, number: Cell::new(0), entry: RefCell::default() };
        holder.look_up(shell);
        holder
    }

    fn look_up(&self, shell: &Shell) {
        let current = shell.current();
        self.number.set(current.number);
        let found = current.registry.find(&self.identity.fingerprint, self.identity.subject.as_deref());
        self.entry.replace(found.cloned());
    }

    /// What it may do; nothing where a reload has taken it out, or moved it to terminals that write otherwise.
    fn entry(&self, shell: &Shell, dialect: &'static Dialect) -> Option<Arc<Entry>> {
        if self.number.get() != shell.current().number {
            self.look_up(shell);
        }
        let writes_so = |entry: &Arc<Entry>| {
            shell.settings.groups.get(&entry.group).is_some_and(|group| group.dialect.name == dialect.name)
        };
        self.entry.borrow().clone().filter(writes_so)
    }
}

/// What a terminal's messages are handled with.
struct Terminal<'s> {
    shell: &'s Shell,
    peer: Rc<Peer>,
    conn: ConnId,
    holder: Holder,
    address: SocketAddr,
    /// Who spoke last, of those that may.
    named: Cell<Option<TerminalId>>,
    /// Wakes the connection when it may be read again, while it may not.
    full: Option<Pin<Box<Sleep>>>,
}

impl Handler for Terminal<'_> {
    fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        while let Some(until) = self.peer.in_flight.full_until(Instant::now()) {
            // An answer wakes it too, as it is to be written.
            let mut sleep = self.full.take().unwrap_or_else(|| Box::pin(sleep_until(until)));
            sleep.as_mut().reset(until);
            if sleep.as_mut().poll(cx).is_pending() {
                self.full = Some(sleep);
                return false;
            }
        }
        self.shell.mailbox.has_room(cx)
    }

    fn message(&mut self, bytes: &[u8]) -> Result<(), End> {
        match self.shell.wire.parse(self.peer.dialect, bytes) {
            Ok(message) => self.admit(message),
            Err(unreadable) => self.unreadable(bytes.len(), unreadable),
        }
    }

    fn answers_keep_alive(&self) -> bool {
        true
    }

    fn report(&mut self, action: ActionId, fate: Fate) {
        let report = match fate {
            Fate::Written => Report::Written,
            Fate::NotSent | Fate::Partial => Report::Undeliverable,
        };
        self.shell.mailbox.push(Input::Report { action, report });
    }
}

impl Terminal<'_> {
    /// Lets a message through that its certificate may send.
    fn admit(&self, message: Box<Fields>) -> Result<(), End> {
        let entry = self.holder.entry(self.shell, self.peer.dialect);
        match terminal_of(&message) {
            Some(Ok(terminal)) if !entry.as_ref().is_some_and(|entry| entry.allows(&terminal)) => {
                self.shell.meters.not_allowed();
                if self.shell.lines.take(Subject::Audit(self.address.ip())) {
                    tracing::warn!(target: "audit", address = %self.address, %terminal, "certificate may not speak for this terminal");
                }
                self.refuse(&message, ResponseCode::INVALID_MERCHANT)
            }
            Some(Err(())) => self.refuse(&message, ResponseCode::FORMAT_ERROR),
            named @ (Some(Ok(_)) | None) => {
                // A reload has taken the certificate out: it may say nothing more.
                let Some(entry) = entry else { return self.refuse(&message, ResponseCode::INVALID_MERCHANT) };
                self.named.set(named.and_then(Result::ok).or(self.named.get()));
                let asks = !message.mti().is_response();
                let input = Input::Terminal { conn: self.conn, group: entry.group, message, card: None };
                // What is itself an answer gets none, so it must not wait for one.
                if asks {
                    self.peer.in_flight.asked(Instant::now());
                }
                self.shell.mailbox.push(input);
                Ok(())
            }
        }
    }

    fn unreadable(&self, length: usize, unreadable: Unreadable) -> Result<(), End> {
        let Unreadable { error, partial } = unreadable;
        self.shell.meters.parse_error("terminal");
        if self.shell.lines.take(Subject::Address(self.address.ip())) {
            tracing::warn!(
                address = %self.address, length, field = %error.field, offset = error.offset, "message cannot be read"
            );
        }
        // An answer must carry what the terminal finds its request by.
        match partial {
            Some(message) if message.has(11) && message.has(41) => self.refuse(&message, ResponseCode::FORMAT_ERROR),
            Some(_) | None => Err(End::Unreadable),
        }
    }

    /// Answers without the core.
    fn refuse(&self, message: &Fields, code: ResponseCode) -> Result<(), End> {
        // What is itself an answer gets none.
        let Some(answer) = refusal(message, code) else { return Ok(()) };
        self.shell.meters.answered(message.mti(), code);
        let backlog_max = self.shell.settings.limits.write_backlog_max;
        let put = |out: &mut Vec<u8>| self.shell.wire.put(self.peer.dialect, &answer, out);
        self.peer.line.push(None, backlog_max, put).map_err(|error| {
            tracing::warn!(%error, "a refusal cannot be written");
            End::Unreadable
        })
    }
}

/// The terminal that a message names; `None` for network management that names none, `Err` for what must and does not.
fn terminal_of(message: &Fields) -> Option<Result<TerminalId, ()>> {
    match (message.get(41), message.get(42)) {
        (Some(terminal), Some(merchant)) => Some(TerminalId::new(terminal, merchant).map_err(|_| ())),
        (Some(_), None) | (None, Some(_)) | (None, None) => (message.mti().class() != 8).then_some(Err(())),
    }
}
