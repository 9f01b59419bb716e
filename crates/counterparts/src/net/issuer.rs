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
    links: watch::Sender<Links>,
    /// How often the links were told to go up or down: a timed change that was overtaken by
    /// another command is not made.
    commands: AtomicU64,
    open: Mutex<BTreeMap<u64, Open>>,
    dialect: &'static Dialect,
}

/// A connection that is there.
#[derive(Debug)]
struct Open {
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
    /// The address that it came from.
    pub peer: SocketAddr,
}

impl Shared {
    /// The issuer. A panic elsewhere does not make the ledger unreadable.
    pub(super) fn issuer(&self) -> MutexGuard<'_, Issuer> {
        self.issuer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Links> {
        self.links.subscribe()
    }

    pub(super) fn links(&self) -> Links {
        *self.links.borrow()
    }

    /// What a person or a test says of the links; ends an earlier timed change.
    pub(super) fn command_links(&self, links: Links) -> u64 {
        let command = self.commands.fetch_add(1, Ordering::SeqCst) + 1;
        self.set_links(links);
        command
    }

    /// Takes the links down, and up again after a time unless another command comes first.
    pub(super) fn links_down_for(self: &Arc<Self>, time: Duration) {
        let command = self.command_links(Links::Down);
        let shared = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if shared.commands.load(Ordering::SeqCst) == command {
                shared.set_links(Links::Up);
            }
        });
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connections that are there, oldest first.
    pub(super) fn connections(&self) -> Vec<ConnectionLine> {
        self.open().iter().map(|(id, open)| ConnectionLine { id: *id, peer: open.peer }).collect()
    }

    /// Closes the connections with such an id; how many.
    pub(super) fn close(&self, wanted: impl Fn(u64) -> bool) -> usize {
        let open = self.open();
        let closing = open.iter().filter(|(id, _)| wanted(**id));
        closing.inspect(|(_, open)| open.close.notify_one()).count()
    }

    /// Hands an answer to the oldest connection that is not this one; it is lost when there is no other.
    fn answer_elsewhere(&self, not: u64, answer: Fields) {
        let open = self.open();
        let other = open.iter().find(|(id, _)| **id != not);
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

    /// Takes the links up or down, and says so to the accept loop and every connection. A stopped
    /// issuer stays stopped.
    pub(super) fn set_links(&self, links: Links) {
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
    address: SocketAddr,
    control_address: SocketAddr,
    accepting: JoinHandle<()>,
    control: JoinHandle<()>,
}

impl MockIssuer {
    /// Binds both addresses and serves them on the current runtime.
    ///
    /// # Errors
    /// [`NetError`] when an address, a PEM file or the dialect cannot be used.
    pub async fn start(args: MockIssuerArgs) -> Result<Self, NetError> {
        let dialect = dialect(&args.dialect)?;
        let tls = args.tls.as_ref().map(Identity::server).transpose()?;
        let listener = listen(args.address).await?;
        let control_listener = listen(args.control_address).await?;
        let (address, control_address) = (listener.local_addr()?, control_listener.local_addr()?);
        let mut issuer = Issuer::new(args.settings, args.seed);
        issuer.faults().replace(args.faults);
        let (links, _) = watch::channel(Links::Up);
        let (commands, open) = (AtomicU64::new(0), Mutex::default());
        let shared = Arc::new(Shared { issuer: Mutex::new(issuer), links, commands, open, dialect });
        let accepting = tokio::spawn(accept(listener, address, tls, Arc::clone(&shared)));
        let control = tokio::spawn(control::serve(control_listener, Arc::clone(&shared)));
        Ok(Self { shared, address, control_address, accepting, control })
    }

    /// Where links connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
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
        self.shared.command_links(if up { Links::Up } else { Links::Down });
    }

    /// What `PUT /links` with a time does: down at once, and up again after `time` unless it is
    /// told otherwise before. Needs the runtime.
    pub fn set_links_down_for(&self, time: Duration) {
        self.shared.links_down_for(time);
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

    /// Closes everything and waits for the two listeners to end.
    pub async fn stop(mut self) {
        self.shared.set_links(Links::Stopped);
        // A task that panicked has printed why; there is nothing to add here.
        let _ = (&mut self.accepting).await;
        let _ = (&mut self.control).await;
    }
}

impl Drop for MockIssuer {
    fn drop(&mut self) {
        self.shared.set_links(Links::Stopped);
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, NetError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|reason| NetError::Listen { address, reason })
}

/// Accepts links while they may be up. While they are down the port is closed, so that a
/// connection is refused as by a host that is not there.
async fn accept(listener: TcpListener, address: SocketAddr, tls: Option<Arc<ServerConfig>>, shared: Arc<Shared>) {
    let acceptor = tls.map(TlsAcceptor::from);
    let mut links = shared.subscribe();
    let mut listener = Some(listener);
    let mut connections = 0;
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
                    connections += 1;
                    let (id, acceptor, shared) = (connections, acceptor.clone(), Arc::clone(&shared));
                    tokio::spawn(async move {
                        let close = Arc::new(Notify::new());
                        let (effects, to_do) = mpsc::unbounded_channel();
                        let desk = Desk { id, shared: Arc::clone(&shared), effects: effects.clone() };
                        shared.open().insert(id, Open { peer, close: Arc::clone(&close), effects });
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
    let mut links = desk.shared.subscribe();
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
            Effect::Elsewhere(answer) => self.shared.answer_elsewhere(self.id, answer),
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
            Effect::Down { for_ms } => self.shared.links_down_for(Duration::from_millis(for_ms)),
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
