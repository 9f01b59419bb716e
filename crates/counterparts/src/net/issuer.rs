//! A mock issuer on sockets: many connections, one ledger, faults on request.
//!
//! The behaviour is [`crate::issuer`]; this carries bytes, keeps time and serves the control
//! address. Invariant: the ledger outlives every connection; [`MockIssuer::stop`] alone ends it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iso8583::{Dialect, Fields, Mti};
use rustls::ServerConfig;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::connection::{Connection, Socket};
use super::tls::Identity;
use super::{NetError, control, dialect, now_ms};
use crate::faults::Rule;
use crate::issuer::{Effect, Issuer, MovementLine, Report, Settings};
use crate::scenario::Scenario;

/// What a mock issuer needs to start.
#[derive(Debug, Clone)]
pub struct MockIssuerArgs {
    /// Where links connect; port 0 takes a free one.
    pub address: SocketAddr,
    /// Further lines to the same books, for switches with several links: each can be down alone.
    pub more_addresses: Vec<SocketAddr>,
    /// Where HTTP control listens; port 0 takes a free one.
    pub control_address: SocketAddr,
    /// Mutual TLS with these files; plain TCP without.
    pub tls: Option<Identity>,
    /// Name of the dialect.
    pub dialect: String,
    /// Accounts and behaviour.
    pub settings: Settings,
    /// Rules of misbehaviour from the start.
    pub faults: Vec<Rule>,
    /// Drives the rates of faults.
    pub seed: u64,
}

impl Default for MockIssuerArgs {
    /// Plain TCP on free ports of loopback, `iso87-ascii`, no accounts.
    fn default() -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            address: loopback,
            more_addresses: Vec::new(),
            control_address: loopback,
            tls: None,
            dialect: "iso87-ascii".to_owned(),
            settings: Settings::default(),
            faults: Vec::new(),
            seed: 1,
        }
    }
}

/// Whether links may be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Up,
    /// Connections are closed and refused.
    Down,
    Stopped,
}

/// What connections and control share.
#[derive(Debug)]
pub(super) struct Shared {
    issuer: Mutex<Issuer>,
    /// One for each address; the first is line 1.
    lines: Vec<Line>,
    /// Connections so far.
    connections: AtomicU64,
    open: Mutex<BTreeMap<u64, Open>>,
    dialect: &'static Dialect,
}

/// One address where links connect.
#[derive(Debug)]
struct Line {
    links: watch::Sender<Links>,
    /// How often it was told to go up or down: a timed change that was overtaken by another command
    /// is not made.
    commands: AtomicU64,
}

/// A connection that is there.
#[derive(Debug)]
struct Open {
    /// Index of its line.
    line: usize,
    peer: SocketAddr,
    close: Arc<Notify>,
    /// What has to be done on it.
    effects: Effects,
}

type Effects = mpsc::UnboundedSender<Effect>;

/// A connection, as `GET /connections` gives it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ConnectionLine {
    /// 1 for the first since the start, and so on.
    pub id: u64,
    /// Which of the issuer's addresses it connected to: 1 for the first.
    pub line: usize,
    /// The address that it came from.
    pub peer: SocketAddr,
}

impl Shared {
    /// The issuer. A panic elsewhere does not make the ledger unreadable.
    pub(super) fn issuer(&self) -> MutexGuard<'_, Issuer> {
        self.issuer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Line 1, which is stopped together with all others.
    pub(super) fn subscribe(&self) -> watch::Receiver<Links> {
        self.lines[0].links.subscribe()
    }

    /// Whether line `number` (from 1), or every line, is up; `None` if there is no such line.
    pub(super) fn is_up(&self, number: Option<usize>) -> Option<bool> {
        let mut chosen = self.chosen(number).peekable();
        chosen.peek()?;
        Some(chosen.all(|line| *self.lines[line].links.borrow() == Links::Up))
    }

    /// Indices of line `number` (from 1), or of all.
    fn chosen(&self, number: Option<usize>) -> impl Iterator<Item = usize> + use<> {
        (0..self.lines.len()).filter(move |line| number.is_none_or(|number| number == line + 1))
    }

    /// What a person or a test says of one line or of all; ends an earlier timed change.
    pub(super) fn command_links(&self, number: Option<usize>, links: Links) {
        self.chosen(number).for_each(|line| {
            self.lines[line].command(links);
        });
    }

    /// Takes one line or all down, and up again after a time unless another command comes first.
    pub(super) fn links_down_for(self: &Arc<Self>, number: Option<usize>, time: Duration) {
        for line in self.chosen(number) {
            let command = self.lines[line].command(Links::Down);
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                let line = &shared.lines[line];
                if line.commands.load(Ordering::SeqCst) == command {
                    line.set(Links::Up);
                }
            });
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections that are there, oldest first.
    pub(super) fn connections(&self) -> Vec<ConnectionLine> {
        self.open().iter().map(|(id, open)| ConnectionLine { id: *id, line: open.line + 1, peer: open.peer }).collect()
    }

    /// Closes the connections with such an id; how many.
    pub(super) fn close(&self, wanted: impl Fn(u64) -> bool) -> usize {
        let open = self.open();
        let closing = open.iter().filter(|(id, _)| wanted(**id));
        closing.inspect(|(_, open)| open.close.notify_one()).count()
    }

    /// Hands an answer to the oldest connection of a line that is not this one; it is lost when
    /// there is no other.
    fn answer_elsewhere(&self, line: usize, not: u64, answer: Fields) {
        let open = self.open();
        let other = open.iter().find(|(id, open)| **id != not && open.line == line);
        let sent = other.is_some_and(|(_, open)| open.effects.send(Effect::Answer(answer)).is_ok());
        if !sent {
            tracing::warn!("no other connection for an answer");
        }
    }

    /// Puts a scenario in force.
    pub(super) fn set_scenario(&self, scenario: &Scenario) {
        let mut issuer = self.issuer();
        if let Some(settings) = &scenario.settings {
            issuer.change(settings.clone());
        }
        issuer.faults().replace(scenario.rules.clone());
    }

    /// Ends all lines.
    fn end(&self) {
        self.lines.iter().for_each(|line| line.set(Links::Stopped));
    }
}

impl Line {
    fn command(&self, links: Links) -> u64 {
        let command = self.commands.fetch_add(1, Ordering::SeqCst) + 1;
        self.set(links);
        command
    }

    /// Takes the line up or down, and says so to its accept loop and its connections. A stopped
    /// issuer stays stopped.
    fn set(&self, links: Links) {
        self.links.send_if_modified(|current| {
            let changes = *current != links && *current != Links::Stopped;
            if changes {
                *current = links;
            }
            changes
        });
    }
}

impl MockIssuerArgs {
    /// The same with a scenario in force from the start: its rules, and its settings if it has any.
    #[must_use]
    pub fn scenario(self, scenario: Scenario) -> Self {
        Self { settings: scenario.settings.unwrap_or(self.settings), faults: scenario.rules, ..self }
    }
}

/// A running mock issuer. Dropping it stops it, too, but does not wait.
#[derive(Debug)]
pub struct MockIssuer {
    shared: Arc<Shared>,
    /// One for each line.
    addresses: Vec<SocketAddr>,
    control_address: SocketAddr,
    accepting: Vec<JoinHandle<()>>,
    control: JoinHandle<()>,
}

impl MockIssuer {
    /// Binds all addresses and serves them on the current runtime.
    ///
    /// # Errors
    /// [`NetError`] when an address, a PEM file or the dialect cannot be used.
    pub async fn start(args: MockIssuerArgs) -> Result<Self, NetError> {
        let dialect = dialect(&args.dialect)?;
        let tls = args.tls.as_ref().map(Identity::server).transpose()?;
        let mut listeners = vec![listen(args.address).await?];
        for address in args.more_addresses {
            listeners.push(listen(address).await?);
        }
        let control_listener = listen(args.control_address).await?;
        let control_address = control_listener.local_addr()?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let mut issuer = Issuer::new(args.settings, args.seed);
        issuer.faults().replace(args.faults);
        let line = |_: &_| Line { links: watch::channel(Links::Up).0, commands: AtomicU64::new(0) };
        let lines = listeners.iter().map(line).collect();
        let (connections, open) = (AtomicU64::new(0), Mutex::default());
        let shared = Arc::new(Shared { issuer: Mutex::new(issuer), lines, connections, open, dialect });
        let each = listeners.into_iter().zip(&addresses).enumerate();
        let accept = |(line, (listener, address)): (usize, (TcpListener, &SocketAddr))| {
            tokio::spawn(accept(listener, *address, line, tls.clone(), Arc::clone(&shared)))
        };
        let accepting = each.map(accept).collect();
        let control = tokio::spawn(control::serve(control_listener, Arc::clone(&shared)));
        Ok(Self { shared, addresses, control_address, accepting, control })
    }

    /// Where links connect: line 1.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where links connect: every line, the first first.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where HTTP control listens.
    #[must_use]
    pub fn control_address(&self) -> SocketAddr {
        self.control_address
    }

    /// What `GET /movements` gives.
    #[must_use]
    pub fn movements(&self) -> Vec<MovementLine> {
        self.shared.issuer().movements()
    }

    /// What `GET /ledger` gives.
    #[must_use]
    pub fn report(&self) -> Report {
        self.shared.issuer().report(control::ENTRIES_SHOWN)
    }

    /// What `PUT /faults` does.
    pub fn set_faults(&self, rules: Vec<Rule>) {
        self.shared.issuer().faults().replace(rules);
    }

    /// What `PUT /links` does: closes all connections and refuses new ones, until it is up again.
    pub fn set_links_up(&self, up: bool) {
        self.shared.command_links(None, if up { Links::Up } else { Links::Down });
    }

    /// The same for line `number`, from 1, alone; false if there is none.
    pub fn set_line_up(&self, number: usize, up: bool) -> bool {
        self.shared.command_links(Some(number), if up { Links::Up } else { Links::Down });
        self.shared.is_up(Some(number)).is_some()
    }

    /// What `PUT /links` with a time does: down at once, and up again after `time` unless it is
    /// told otherwise before. Needs the runtime.
    pub fn set_links_down_for(&self, time: Duration) {
        self.shared.links_down_for(None, time);
    }

    /// What `GET /connections` gives.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionLine> {
        self.shared.connections()
    }

    /// Closes one connection; false if it is not there. A peer may come again at once.
    pub fn close_connection(&self, id: u64) -> bool {
        self.shared.close(|open| open == id) > 0
    }

    /// Closes every connection but one; how many.
    pub fn close_connections_but(&self, id: u64) -> usize {
        self.shared.close(|open| open != id)
    }

    /// What `PUT /scenario` does: its rules take the place of those in force, and so do its
    /// settings if it has any.
    pub fn set_scenario(&self, scenario: &Scenario) {
        self.shared.set_scenario(scenario);
    }

    /// Closes everything and waits for the listeners to end.
    pub async fn stop(mut self) {
        self.shared.end();
        // A task that panicked has printed why; there is nothing to add here.
        for accepting in &mut self.accepting {
            let _ = accepting.await;
        }
        let _ = (&mut self.control).await;
    }
}

impl Drop for MockIssuer {
    fn drop(&mut self) {
        self.shared.end();
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, NetError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|reason| NetError::Listen { address, reason })
}

/// Accepts links while they may be up. While they are down the port is closed, so that a
/// connection is refused as by a host that is not there.
async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    line: usize,
    tls: Option<Arc<ServerConfig>>,
    shared: Arc<Shared>,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let mut links = shared.lines[line].links.subscribe();
    let mut listener = Some(listener);
    loop {
        let wanted = *links.borrow_and_update();
        match (wanted, &listener) {
            (Links::Stopped, _) => return,
            (Links::Down, _) => listener = None,
            (Links::Up, Some(_)) => {}
            (Links::Up, None) => match TcpListener::bind(address).await {
                Ok(bound) => listener = Some(bound),
                Err(reason) => {
                    tracing::warn!(%address, %reason, "cannot listen again");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        }
        let Some(bound) = &listener else {
            if links.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            changed = links.changed() => if changed.is_err() { return },
            accepted = bound.accept() => match accepted {
                Ok((tcp, peer)) => {
                    let id = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
                    let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
                    tokio::spawn(async move {
                        let close = Arc::new(Notify::new());
                        let (effects, to_do) = mpsc::unbounded_channel();
                        let desk = Desk { id, line, shared: Arc::clone(&shared), effects: effects.clone() };
                        shared.open().insert(id, Open { line, peer, close: Arc::clone(&close), effects });
                        if let Err(reason) = link(tcp, acceptor, &close, desk, to_do).await {
                            tracing::info!(%peer, %reason, "link closed");
                        }
                        shared.open().remove(&id);
                    });
                }
                Err(reason) => {
                    // Out of descriptors, most likely: give them time to come back.
                    tracing::warn!(%reason, "cannot accept");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
        }
    }
}

/// What the effects on one connection are carried out with.
struct Desk {
    /// The connection's number.
    id: u64,
    /// Index of its line.
    line: usize,
    shared: Arc<Shared>,
    /// Effects that wait for their time come back through here.
    effects: Effects,
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Close,
}

/// One link, from handshake to close.
async fn link(
    tcp: TcpStream,
    acceptor: Option<TlsAcceptor>,
    close: &Notify,
    desk: Desk,
    to_do: mpsc::UnboundedReceiver<Effect>,
) -> Result<(), NetError> {
    let mut links = desk.shared.lines[desk.line].links.subscribe();
    let went_down = async move { links.wait_for(|links| *links != Links::Up).await.is_ok() };
    tokio::select! {
        _ = went_down => Ok(()),
        () = close.notified() => Ok(()),
        ended = async {
            tcp.set_nodelay(true)?;
            let socket = match acceptor {
                None => Socket::Plain(tcp),
                Some(acceptor) => Socket::Tls(Box::new(acceptor.accept(tcp).await?.into())),
            };
            serve(Connection::new(socket, desk.shared.dialect), &desk, to_do).await
        } => ended,
    }
}

/// Reads, judges and answers until the peer closes or a fault cuts. All answers to one read leave
/// in one write.
async fn serve(mut connection: Connection, desk: &Desk, mut to_do: mpsc::UnboundedReceiver<Effect>) -> Result<(), NetError> {
    let mut message = Fields::new(Mti::new(b"0000"));
    loop {
        let mut then = Then::GoOn;
        tokio::select! {
            read = connection.fill() => {
                if !read? {
                    return Ok(());
                }
                while then == Then::GoOn && connection.next(&mut message)? {
                    let effect = desk.shared.issuer().receive(now_ms(), &message);
                    then = desk.carry_out(effect, &mut connection)?;
                }
            }
            Some(first) = to_do.recv() => {
                let mut next = Some(first);
                while let Some(effect) = next.filter(|_| then == Then::GoOn) {
                    then = desk.carry_out(effect, &mut connection)?;
                    next = to_do.try_recv().ok();
                }
            }
        }
        connection.flush().await?;
        if then == Then::Close {
            return Ok(());
        }
    }
}

impl Desk {
    /// Does what the issuer says.
    fn carry_out(&self, effect: Effect, connection: &mut Connection) -> Result<Then, NetError> {
        match effect {
            Effect::Answer(answer) => connection.put(&answer)?,
            Effect::Later { after_ms, effect } => self.after(after_ms, *effect),
            Effect::Twice { first, after_ms, second } => {
                connection.put(&first)?;
                match after_ms {
                    0 => connection.put(&second)?,
                    _ => self.after(after_ms, Effect::Answer(second)),
                }
            }
            Effect::Alone(answer) => {
                connection.put(&answer)?;
                self.shared.close(|open| open != self.id);
            }
            Effect::Elsewhere(answer) => self.shared.answer_elsewhere(self.line, self.id, answer),
            Effect::Garbage => connection.put_garbage(),
            Effect::ImpossibleLength => {
                connection.put_impossible_length();
                connection.fall_silent();
            }
            Effect::HalfAndSilence(answer) => {
                connection.put_half(&answer)?;
                connection.fall_silent();
            }
            Effect::Half(answer) => {
                connection.put_half(&answer)?;
                return Ok(Then::Close);
            }
            Effect::Down { for_ms } => self.shared.links_down_for(Some(self.line + 1), Duration::from_millis(for_ms)),
            Effect::Resume { after_ms, message } => self.resume_after(after_ms, message),
            Effect::Cut => return Ok(Then::Close),
            Effect::Silence => {}
        }
        Ok(Then::GoOn)
    }

    /// Has it done after a time.
    fn after(&self, after_ms: u64, effect: Effect) {
        let effects = self.effects.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            // The connection may be gone by then: the answer is lost with it.
            let _ = effects.send(effect);
        });
    }

    /// Judges a message after its delay, whether its connection is still there or not.
    fn resume_after(&self, after_ms: u64, message: Fields) {
        let (shared, effects) = (Arc::clone(&self.shared), self.effects.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            if let Some(answer) = shared.issuer().resume(now_ms(), &message) {
                // The connection may be gone by then: the answer is lost with it.
                let _ = effects.send(Effect::Answer(answer));
            }
        });
    }
}
