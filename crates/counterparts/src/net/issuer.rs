//! A mock issuer on sockets: many connections, one ledger, faults on request.
//!
//! The behaviour is [`crate::issuer`]; this carries bytes, keeps time and serves the control
//! address. Invariant: the ledger outlives every connection; [`MockIssuer::stop`] alone ends it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use iso8583::{Dialect, Fields, Mti};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::connection::{Connection, Socket};
use super::tls::Identity;
use super::{NetError, control, dialect, now_ms};
use crate::faults::Rule;
use crate::issuer::{Effect, Issuer, MovementLine, Report, Settings};

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
    dialect: &'static Dialect,
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
        let shared = Arc::new(Shared { issuer: Mutex::new(issuer), links, dialect });
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
        self.shared.set_links(if up { Links::Up } else { Links::Down });
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
                    let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
                    tokio::spawn(async move {
                        if let Err(reason) = link(tcp, acceptor, &shared).await {
                            tracing::info!(%peer, %reason, "link closed");
                        }
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

/// What comes back to a connection after its time.
enum Late {
    Answer(Fields),
    Cut,
}

/// One link, from handshake to close.
async fn link(tcp: TcpStream, acceptor: Option<TlsAcceptor>, shared: &Arc<Shared>) -> Result<(), NetError> {
    let mut links = shared.subscribe();
    let went_down = async move { links.wait_for(|links| *links != Links::Up).await.is_ok() };
    tokio::select! {
        _ = went_down => Ok(()),
        ended = async {
            tcp.set_nodelay(true)?;
            let socket = match acceptor {
                None => Socket::Plain(tcp),
                Some(acceptor) => Socket::Tls(Box::new(acceptor.accept(tcp).await?.into())),
            };
            serve(Connection::new(socket, shared.dialect), shared).await
        } => ended,
    }
}

/// Reads, judges and answers until the peer closes or a fault cuts. All answers to one read leave
/// in one write.
async fn serve(mut connection: Connection, shared: &Arc<Shared>) -> Result<(), NetError> {
    let (late, mut late_answers) = mpsc::unbounded_channel();
    let mut message = Fields::new(Mti::new(b"0000"));
    loop {
        let mut cut = false;
        tokio::select! {
            read = connection.fill() => {
                if !read? {
                    return Ok(());
                }
                cut = judge_all(&mut connection, &mut message, shared, &late)?;
            }
            Some(first) = late_answers.recv() => {
                let mut next = Some(first);
                while let Some(what) = next {
                    match what {
                        Late::Answer(answer) => connection.put(&answer)?,
                        Late::Cut => cut = true,
                    }
                    next = late_answers.try_recv().ok();
                }
            }
        }
        connection.flush().await?;
        if cut {
            return Ok(());
        }
    }
}

/// Judges every complete message in the buffer. True if a fault cuts the connection.
fn judge_all(
    connection: &mut Connection,
    message: &mut Fields,
    shared: &Arc<Shared>,
    late: &mpsc::UnboundedSender<Late>,
) -> Result<bool, NetError> {
    let now_ms = now_ms();
    while connection.next(message)? {
        let effect = shared.issuer().receive(now_ms, message);
        match effect {
            Effect::Answer { after_ms: 0, answer } => connection.put(&answer)?,
            Effect::Answer { after_ms, answer } => {
                let late = late.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(after_ms)).await;
                    // The connection may be gone by then: the answer is lost with it.
                    let _ = late.send(Late::Answer(answer));
                });
            }
            Effect::Resume { after_ms } => {
                let work = resume(after_ms, message.clone(), Arc::clone(shared), late.clone());
                tokio::spawn(work);
            }
            Effect::Cut => return Ok(true),
            Effect::Silence => {}
        }
    }
    Ok(false)
}

/// Judges a message after its delay, whether its connection is still there or not.
async fn resume(after_ms: u64, message: Fields, shared: Arc<Shared>, late: mpsc::UnboundedSender<Late>) {
    tokio::time::sleep(Duration::from_millis(after_ms)).await;
    let effect = shared.issuer().resume(now_ms(), &message);
    let what = match effect {
        Effect::Answer { answer, .. } => Late::Answer(answer),
        Effect::Cut => Late::Cut,
        Effect::Resume { .. } | Effect::Silence => return,
    };
    // The connection may be gone by then: the answer is lost with it.
    let _ = late.send(what);
}
