//! A TCP proxy between any two peers that cuts, delays, halves, resets and stalls what it carries.
//!
//! It carries bytes: TLS passes through, and it cannot read what it carries. What becomes of a chunk
//! is decided by [`crate::wire_faults`]. Not a model of a network: a chunk is what one read gave.
//! Invariant: bytes that pass, pass in order and unchanged.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::NetError;
use crate::wire_faults::{Direction, First, Then, WireCounts, WireFault, WireFaults, WireRule};

/// The most that one read takes: the largest chunk, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;
/// Between two tries to take the address again.
const LISTEN_AGAIN: Duration = Duration::from_millis(50);

/// What a proxy needs to start.
#[derive(Debug, Clone)]
pub struct ProxyArgs {
    /// Where clients connect; port 0 takes a free one.
    pub address: SocketAddr,
    /// The server.
    pub target: SocketAddr,
    /// Rules from the start.
    pub rules: Vec<WireRule>,
    /// Drives the rates of rules.
    pub seed: u64,
}

impl ProxyArgs {
    /// A free port of loopback, no rules.
    #[must_use]
    pub fn new(target: SocketAddr) -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 0)), target, rules: Vec::new(), seed: 1 }
    }
}

/// What all connections are told.
#[derive(Debug, Clone, Copy)]
struct Orders {
    listening: bool,
    stopped: bool,
    /// How many times all connections were ended, and how the last time.
    ended: u64,
    how: End,
    /// How many times the wire was released.
    released: u64,
    to_server_stalled: bool,
    to_client_stalled: bool,
}

impl Orders {
    fn stalled(&self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => self.to_server_stalled,
            Direction::ToClient => self.to_client_stalled,
        }
    }

    fn stall(&mut self, direction: Direction) {
        match direction {
            Direction::ToServer => self.to_server_stalled = true,
            Direction::ToClient => self.to_client_stalled = true,
        }
    }
}

/// How a connection ends before both of its peers have closed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Cut,
    Reset,
    /// One of the peers is gone; the other is told by a reset.
    Broken,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    faults: Mutex<WireFaults>,
    orders: watch::Sender<Orders>,
}

impl Shared {
    fn faults(&self) -> MutexGuard<'_, WireFaults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running proxy. Dropping it stops it, too, but does not wait.
#[derive(Debug)]
pub struct FaultyProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl FaultyProxy {
    /// Binds the address and serves it on the current runtime. The target need not be there yet: a
    /// client whose server does not answer is reset.
    ///
    /// # Errors
    /// [`NetError::Listen`] when the address cannot be bound.
    pub async fn start(args: ProxyArgs) -> Result<Self, NetError> {
        let listener = TcpListener::bind(args.address).await;
        let listener = listener.map_err(|reason| NetError::Listen { address: args.address, reason })?;
        let address = listener.local_addr()?;
        let (orders, _) = watch::channel(Orders {
            listening: true,
            stopped: false,
            ended: 0,
            how: End::Cut,
            released: 0,
            to_server_stalled: false,
            to_client_stalled: false,
        });
        let faults = Mutex::new(WireFaults::new(args.rules, args.seed));
        let shared = Arc::new(Shared { target: args.target, faults, orders });
        let accepting = tokio::spawn(accept(listener, address, Arc::clone(&shared)));
        Ok(Self { shared, address, accepting })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What passed, and what was done to it.
    #[must_use]
    pub fn counts(&self) -> WireCounts {
        self.shared.faults().counts()
    }

    /// Puts these rules in place of the ones in force.
    pub fn set_rules(&self, rules: Vec<WireRule>) {
        self.shared.faults().replace(rules);
    }

    /// The next chunk that goes this way gets this fault, before any rule in force.
    pub fn next(&self, direction: Direction, fault: WireFault) {
        self.shared.faults().push_front(WireRule::new(fault).going(direction).times(1));
    }

    /// Closes every connection, both ends.
    pub fn cut(&self) {
        self.end(End::Cut);
    }

    /// Resets every connection, both ends.
    pub fn reset(&self) {
        self.end(End::Reset);
    }

    fn end(&self, how: End) {
        self.order(|orders| {
            orders.ended += 1;
            orders.how = how;
        });
    }

    /// Nothing passes this way, on any connection, until [`Self::release`]. The connections stay,
    /// and a peer that closes is not heard of.
    pub fn stall(&self, direction: Direction) {
        self.order(|orders| orders.stall(direction));
    }

    /// What was stalled, on command or by a rule, passes.
    pub fn release(&self) {
        self.order(|orders| {
            orders.released += 1;
            orders.to_server_stalled = false;
            orders.to_client_stalled = false;
        });
    }

    /// While false, new connections are refused as by a host that is not there; those that are
    /// there stay.
    pub fn set_listening(&self, listening: bool) {
        self.order(|orders| orders.listening = listening);
    }

    /// Closes everything and waits for the listener to end.
    pub async fn stop(mut self) {
        self.order(|orders| orders.stopped = true);
        // A task that panicked has printed why; there is nothing to add here.
        let _ = (&mut self.accepting).await;
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        self.shared.orders.send_modify(change);
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.order(|orders| orders.stopped = true);
    }
}

async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut orders = shared.orders.subscribe();
    let mut listener = Some(listener);
    loop {
        let Orders { listening, stopped, .. } = *orders.borrow_and_update();
        if stopped {
            return;
        }
        match (listening, &listener) {
            (false, _) => listener = None,
            (true, Some(_)) => {}
            (true, None) => match TcpListener::bind(address).await {
                Ok(bound) => listener = Some(bound),
                Err(reason) => {
                    tracing::warn!(%address, %reason, "cannot listen again");
                    tokio::time::sleep(LISTEN_AGAIN).await;
                    continue;
                }
            },
        }
        let Some(bound) = &listener else {
            if orders.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { return },
            accepted = bound.accept() => match accepted {
                Ok((client, _)) => {
                    shared.faults().counts_mut().connections += 1;
                    // Subscribed here: an order that comes before the task runs is for it, too.
                    tokio::spawn(connection(client, shared.orders.subscribe(), Arc::clone(&shared)));
                }
                Err(reason) => {
                    // Out of descriptors, most likely: give them time to come back.
                    tracing::warn!(%reason, "cannot accept");
                    tokio::time::sleep(LISTEN_AGAIN).await;
                }
            },
        }
    }
}

/// One connection, to its end.
async fn connection(mut client: TcpStream, mut orders: watch::Receiver<Orders>, shared: Arc<Shared>) {
    let ended = orders.borrow().ended;
    let server = TcpStream::connect(shared.target).await;
    let mut server = match server {
        Ok(server) => server,
        Err(reason) => {
            tracing::info!(target_address = %shared.target, %reason, "the server does not answer");
            // It fails only on a socket that is gone already.
            let _ = client.set_zero_linger();
            return;
        }
    };
    // Chunks that were read must not be put together again. It fails only on a socket that is gone.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let how = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        tokio::select! {
            carried = async {
                tokio::try_join!(
                    carry(Direction::ToServer, from_client, to_server, &shared),
                    carry(Direction::ToClient, from_server, to_client, &shared),
                )
            } => match carried {
                Ok(_) => return,
                Err(how) => how,
            },
            ordered = orders.wait_for(|orders| orders.stopped || orders.ended != ended) => match ordered {
                Ok(orders) if !orders.stopped => orders.how,
                Ok(_) | Err(_) => return,
            },
        }
    };
    match how {
        End::Cut => {
            shared.faults().counts_mut().cuts += 1;
            // A peer that is gone needs no goodbye.
            let _ = tokio::join!(client.shutdown(), server.shutdown());
        }
        End::Reset => {
            shared.faults().counts_mut().resets += 1;
            reset(&client, &server);
        }
        End::Broken => reset(&client, &server),
    }
}

/// Makes the coming close of both a reset.
fn reset(client: &TcpStream, server: &TcpStream) {
    // It fails only on a socket that is gone already.
    let _ = (client.set_zero_linger(), server.set_zero_linger());
}

/// Carries one direction until its source closes; the close is carried, too. A peer's reset is
/// passed on as a reset.
async fn carry(direction: Direction, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, shared: &Shared) -> Result<(), End> {
    let mut orders = shared.orders.subscribe();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = from.read(&mut chunk).await.map_err(|_| End::Broken)?;
        // Once stopped there is nobody to release it, and the connection is ended from outside.
        let _ = orders.wait_for(|orders| !orders.stalled(direction)).await;
        if length == 0 {
            return to.shutdown().await.map_err(|_| End::Broken);
        }
        let released = orders.borrow().released;
        let verdict = shared.faults().decide(direction, length);
        match verdict.first {
            First::AtOnce => {}
            First::WaitMs(time) => tokio::time::sleep(Duration::from_millis(time)).await,
            First::Stall => {
                let _ = orders.wait_for(|orders| orders.released != released).await;
            }
        }
        to.write_all(&chunk[..verdict.passes]).await.map_err(|_| End::Broken)?;
        count(&mut shared.faults(), direction, verdict.passes);
        match verdict.then {
            Then::GoOn => {}
            Then::Cut => return Err(End::Cut),
            Then::Reset => return Err(End::Reset),
        }
    }
}

fn count(faults: &mut WireFaults, direction: Direction, bytes: usize) {
    let counts = faults.counts_mut();
    let passed = match direction {
        Direction::ToServer => &mut counts.bytes_to_server,
        Direction::ToClient => &mut counts.bytes_to_client,
    };
    *passed += bytes as u64;
}
