//! `switchd serve`: everything is read and judged, then the journal is opened, then addresses are bound, then it runs.
//!
//! Invariant: nothing is bound before the configuration, the certificates, the keys and the journal are all right.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use index::Live;
use partition::{KeyError, Keys, OpenError, Opened, Options, Partition};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustls::ServerConfig;
use serde::Serialize;
use switch::LinkNo;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use tokio_rustls::TlsAcceptor;

use crate::clock;
use crate::config::read::{Problem, Problems};
use crate::config::{self, Settings};
use crate::exit::{Exit, Failure};
use crate::net::descriptors;
use crate::net::send_queue::SendQueues;
use crate::observe::expiry::{Ending, Endings};
use crate::observe::health::Health;
use crate::observe::http::{self, Served};
use crate::observe::meters::{self, Meters};
use crate::observe::{admin, log};
use crate::reload::Current;
use crate::shell::engine::{Engine, Event, Sender};
use crate::shell::links::LinkSecurity;
use crate::shell::{Shell, links, terminals};
use crate::tls;
use crate::witness::Witness;

/// A configuration together with the files that it names.
pub(crate) struct Prepared {
    settings: Settings,
    keys: Keys,
    terminals: Arc<ServerConfig>,
    links: BTreeMap<LinkNo, LinkSecurity>,
    endings: Vec<Ending>,
}

/// What a reload takes: the settings, the keys of cards, the terminals' TLS, the links', and when certificates end.
pub(crate) type Parts = (Settings, Keys, Arc<ServerConfig>, BTreeMap<LinkNo, LinkSecurity>, Vec<Ending>);

/// What a good configuration names, counted.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) groups: usize,
    pub(crate) issuers: usize,
    pub(crate) links: usize,
    pub(crate) routes: usize,
    pub(crate) certificates: usize,
    pub(crate) pan_keys: usize,
    pub(crate) journal: String,
}

impl Prepared {
    /// The keys of cards.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// All of it.
    pub(crate) fn into_parts(self) -> Parts {
        (self.settings, self.keys, self.terminals, self.links, self.endings)
    }

    /// What a start takes and is hardly meant.
    pub(crate) fn warning(&self) -> Option<&'static str> {
        no_certificate(&self.settings)
    }

    /// What it names, counted.
    pub(crate) fn summary(&self) -> Summary {
        Summary {
            groups: self.settings.groups.len(),
            issuers: self.settings.core.issuers.len(),
            links: self.settings.links.len(),
            routes: self.settings.core.routes.len(),
            certificates: self.settings.registry.len(),
            pan_keys: self.keys.pan_checks().len(),
            journal: self.settings.journal.dir.display().to_string(),
        }
    }
}

/// Reads and judges everything that a start needs, and touches nothing else.
pub(crate) fn prepare(file: &Path) -> Result<Prepared, Problems> {
    let settings = config::load(file)?;
    let mut problems = Vec::new();
    let mut wrong = |text: String| problems.push(Problem { file: file.to_owned(), line: None, text });
    let keys = Keys::read(&settings.journal.keys).map_err(|error| wrong(wrong_keys(&error)));
    let terminals = tls::server(&settings.listen).map_err(|error| wrong(error.to_string()));
    let mut links = BTreeMap::new();
    for (number, link) in &settings.links {
        match link.tls.as_ref().map_or(Ok(LinkSecurity::Plain), tls::client) {
            Ok(security) => drop(links.insert(*number, security)),
            Err(error) => wrong(format!("link {number}: {error}")),
        }
    }
    let endings = tls::endings(&settings).map_err(|error| wrong(error.to_string()));
    match (keys, terminals, endings) {
        (Ok(keys), Ok(terminals), Ok(endings)) if problems.is_empty() => {
            Ok(Prepared { settings, keys, terminals, links, endings })
        }
        (Ok(_) | Err(()), Ok(_) | Err(()), Ok(_) | Err(())) => {
            problems.dedup_by(|one, other| one.text == other.text);
            Err(Problems(problems))
        }
    }
}

/// A switch of no terminals can start, to settle what it owes; but the file may as well have been cut off.
fn no_certificate(settings: &Settings) -> Option<&'static str> {
    (settings.registry.len() == 0).then_some(
        "the file of [listen] registry names no certificate: every terminal is refused, its reversals too; next: give each \
         terminal a [[terminal]] there",
    )
}

/// What is wrong with the key file, and what to do.
fn wrong_keys(error: &KeyError) -> String {
    match error {
        KeyError::Io { .. } => format!(
            "[journal] keys: {error}; next: put this journal's own key file there; for a first start `switchd init` makes one"
        ),
        KeyError::Exposed { .. } | KeyError::Line { .. } | KeyError::Missing { .. } | KeyError::Numbers { .. } => {
            format!("[journal] keys: {error}")
        }
    }
}

/// Runs the daemon.
pub(crate) fn serve(file: &Path) -> Result<Exit, Failure> {
    no_core_file()?;
    let failed = |error| Failure::new(Exit::Failed, anyhow::Error::from(error));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    // Before anything that takes time: who asks for a reload while the journal is replayed must not kill.
    let harmless = {
        let _entered = runtime.enter();
        Harmless::new().map_err(failed)?
    };
    let prepared = prepare(file).map_err(|problems| Failure::new(Exit::Config, problems))?;
    log::start(prepared.settings.log);
    let local = LocalSet::new();
    let ended = local.block_on(&runtime, run(prepared, file, harmless));
    // Sockets close here, before the process does: after a failed commit nobody is kept waiting.
    drop(local);
    runtime.shutdown_background();
    ended
}

/// A core file would hold card numbers and keys, and a broken invariant ends with one where the system's limit lets it. Before
/// any of them is read.
fn no_core_file() -> Result<(), Failure> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .context("cannot set the limit of core files to 0; next: let the service's sandbox allow prlimit64")
        .map_err(|error| Failure::new(Exit::Failed, error))
}

async fn run(prepared: Prepared, file: &Path, harmless: Harmless) -> Result<Exit, Failure> {
    let Prepared { mut settings, keys, terminals, links, endings } = prepared;
    if let Some(warning) = no_certificate(&settings) {
        tracing::warn!("{warning}");
    }
    // Before the journal is opened: what fails there is counted too.
    let recorder = meters::install();
    let (partition, witness) = open(&settings, keys)?;
    let index =
        Live::start(partition.reader(), settings.index.clone()).map_err(|error| Failure::new(Exit::Failed, error))?;
    let index = Arc::new(index);
    // What an earlier process wrote must not be taken for ours.
    forget(settings.listen.addresses_file.clone());
    let left_behind = settings.listen.addresses_file.iter().chain([&settings.admin]).cloned().collect::<Vec<_>>();
    let health = Arc::new(Health::new());
    let (sender, receiver) = mpsc::unbounded_channel();
    let listener = bind_terminals(settings.listen.address)?;
    let metrics = bind_metrics(settings.metrics.address)?;
    let admin = admin::bind(&settings.admin)
        .with_context(|| format!("cannot bind the admin socket {}", settings.admin.display()))
        .map_err(|error| Failure::new(Exit::Bind, error))?;
    announce(&settings, &listener, &metrics)?;
    let limits = settings.metrics;
    let issuers = settings.core.issuers.iter().map(|(number, issuer)| (*number, issuer.name.clone())).collect();
    let served = Served { metrics, limits, admin, recorder, health: health.clone(), engine: sender.clone(), issuers };
    http::start(served).map_err(|error| Failure::new(Exit::Failed, error))?;

    let sockets_max = sockets_max(&settings);
    let registry = std::mem::take(&mut settings.registry);
    let endings = Endings::new(endings);
    let current = Current { number: 0, registry, acceptor: TlsAcceptor::from(terminals), links, endings };
    let queues = SendQueues::start().map_err(|error| Failure::new(Exit::Failed, error))?;
    let shell = Rc::new(Shell::new(settings, current, Meters::new(), queues, sockets_max));
    watch_stops(&sender).map_err(|error| Failure::new(Exit::Failed, error))?;
    harmless.watch(&sender, file);
    for (number, link) in &shell.settings.links {
        for _ in 0..link.connections {
            spawn_local(links::keep(shell.clone(), *number));
        }
    }
    spawn_local(terminals::accept(shell.clone(), listener));
    let engine = Engine::new(partition, witness, index, shell, health, (sender, receiver));
    let ended = engine.map_err(|error| Failure::new(Exit::Failed, error))?.run().await;
    forget(left_behind);
    ended
}

/// How many sockets terminals may have; says so when it is less than what is configured.
fn sockets_max(settings: &Settings) -> usize {
    let links = settings.links.values().map(|link| usize::from(link.connections)).sum();
    let sockets_max = descriptors::for_terminals(links);
    let limits = &settings.limits;
    let configured = limits.connections_max.saturating_add(limits.unauthenticated_max);
    if sockets_max < configured {
        tracing::warn!(
            sockets_max,
            configured,
            "fewer file descriptors than connections_max and unauthenticated_max together; next: raise the limit of open \
             files (LimitNOFILE, ulimit -Hn), or lower these"
        );
    }
    sockets_max
}

/// Opens the journal, if it is the one that its witness saw (K5); logs what was found.
fn open(settings: &Settings, keys: Keys) -> Result<(Partition<journal::FsStorage>, Witness), Failure> {
    let dir = &settings.journal.dir;
    let mut witness =
        Witness::open(&settings.journal).map_err(|error| Failure::new(Exit::JournalDamaged, anyhow!(error)))?;
    let storage = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .and_then(|()| journal::FsStorage::new(dir))
        .with_context(|| format!("cannot open the journal's directory {}", dir.display()))
        .map_err(|error| Failure::new(Exit::JournalStorage, error))?;
    let options = Options { journal: settings.journal.options.clone(), config: settings.core.clone(), keys };
    let storage = Arc::new(storage);
    let mut progress = Replayed::begin();
    let opened = Partition::open_if(storage, options, clock::now(), |lsn| progress.tell(lsn), |found| witness.takes(found));
    let (partition, opened) = opened.map_err(|error| {
        let exit = exit_of(&error);
        Failure::new(exit, anyhow!(error).context(format!("journal {}", dir.display())))
    })?;
    log_opened(&opened);
    witness.started(partition.durable().0, opened.epoch);
    Ok((partition, witness))
}

/// How often a long replay says how far it is.
const REPLAY_REPORT: Duration = Duration::from_secs(5);

/// Tells the log how far the replay of a journal is. How far it has to go nobody knows before its end.
struct Replayed {
    records: u64,
    since: Instant,
    last: Instant,
}

impl Replayed {
    fn begin() -> Self {
        let now = Instant::now();
        Replayed { records: 0, since: now, last: now }
    }

    fn tell(&mut self, lsn: switch::Lsn) {
        self.records += 1;
        if self.last.elapsed() >= REPLAY_REPORT {
            self.last = Instant::now();
            let rate = self.records / self.since.elapsed().as_secs().max(1);
            tracing::info!(record = lsn.0, replayed = self.records, records_per_second = rate, "the journal is replayed");
        }
    }
}

/// What the start found, for the log.
fn log_opened(opened: &Opened) {
    let journal = &opened.journal;
    tracing::info!(
        last_record = journal.last.0,
        replayed = journal.records,
        checkpoint = journal.checkpoint.map(|lsn| lsn.0),
        clean = journal.clean,
        created = journal.created,
        movements = opened.movements,
        in_doubt = opened.in_doubt,
        start = opened.epoch,
        "journal open"
    );
    if let Some((file, offset)) = &journal.torn_at {
        tracing::warn!(cut = journal.torn_groups_cut, file, offset, "a torn last group was cut (K5)");
    }
    for lsn in &journal.checkpoints_damaged {
        tracing::warn!(lsn = lsn.0, "a damaged checkpoint was put aside");
    }
}

/// The code of a partition that does not open.
fn exit_of(error: &OpenError) -> Exit {
    match error {
        OpenError::Journal(journal::OpenError::Locked) => Exit::JournalLocked,
        OpenError::Journal(journal::OpenError::Options(_))
        | OpenError::ForeignKeys { .. }
        | OpenError::IssuerGone { .. }
        | OpenError::OtherPartition { .. } => Exit::Config,
        OpenError::Journal(journal::OpenError::Io { .. }) => Exit::JournalStorage,
        OpenError::Journal(journal::OpenError::Damaged { .. } | journal::OpenError::Rejected { .. })
        | OpenError::NotTaken(_) => Exit::JournalDamaged,
    }
}

fn bind_terminals(address: SocketAddr) -> Result<TcpListener, Failure> {
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        // What comes all at once waits with the kernel, which has a limit of its own.
        socket.listen(4096)
    };
    bind().map_err(|error| cannot_bind(address, "terminals", "[listen]", &error))
}

fn bind_metrics(address: SocketAddr) -> Result<StdTcpListener, Failure> {
    let bind = || {
        let listener = StdTcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        std::io::Result::Ok(listener)
    };
    bind().map_err(|error| cannot_bind(address, "metrics", "[metrics]", &error))
}

/// An address that is taken or not allowed, and what to do.
fn cannot_bind(address: SocketAddr, purpose: &str, section: &str, error: &std::io::Error) -> Failure {
    let next = format!("next: stop what listens there, or change the address in {section}");
    Failure::new(Exit::Bind, anyhow!("cannot bind {address} for {purpose}: {error}; {next}"))
}

/// Removes files by which others find this process.
fn forget(files: impl IntoIterator<Item = PathBuf>) {
    for file in files {
        // It may not be there; if it cannot be removed, it cannot be written either, and that is said.
        let _ = fs::remove_file(file);
    }
}

/// Says where it listens: in the log, and in the file for programs that start the daemon.
fn announce(settings: &Settings, terminals: &TcpListener, metrics: &StdTcpListener) -> Result<(), Failure> {
    let addresses = || Ok((terminals.local_addr()?, metrics.local_addr()?));
    let (terminals, metrics) = addresses().map_err(|error: std::io::Error| Failure::new(Exit::Bind, error))?;
    tracing::info!(address = %terminals, certificates = settings.registry.len(), "listening for terminals");
    tracing::info!(address = %metrics, "listening for metrics");
    let admin = std::path::absolute(&settings.admin).map_err(|error| Failure::new(Exit::Bind, error))?;
    tracing::info!(socket = %admin.display(), "listening for admin");
    let Some(file) = &settings.listen.addresses_file else { return Ok(()) };
    let text = serde_json::json!({
        "terminals": terminals.to_string(),
        "metrics": metrics.to_string(),
        "admin": admin,
    });
    // Whole or not at all: somebody is waiting for the file to appear.
    let part = file.with_extension("part");
    fs::write(&part, format!("{text}\n"))
        .and_then(|()| fs::rename(&part, file))
        .with_context(|| format!("cannot write {}", file.display()))
        .map_err(|error| Failure::new(Exit::Failed, error))
}

/// SIGTERM and SIGINT drain; the second one ends the drain.
fn watch_stops(engine: &Sender) -> std::io::Result<()> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind)?;
        let engine = engine.clone();
        spawn_local(async move {
            while signals.recv().await.is_some() {
                let _ = engine.send(Event::Stop);
            }
        });
    }
    Ok(())
}

/// Signals that must not kill, from the first moment on: SIGHUP reloads, and others take SIGUSR1 and SIGUSR2 for nothing.
struct Harmless {
    reloads: Signal,
    ignored: [(Signal, &'static str); 2],
}

impl Harmless {
    fn new() -> std::io::Result<Self> {
        Ok(Harmless {
            reloads: signal(SignalKind::hangup())?,
            ignored: [(signal(SignalKind::user_defined1())?, "SIGUSR1"), (signal(SignalKind::user_defined2())?, "SIGUSR2")],
        })
    }

    /// Does what they ask for, also those that came before.
    fn watch(self, engine: &Sender, file: &Path) {
        let Harmless { mut reloads, ignored } = self;
        let (file, engine) = (file.to_owned(), engine.clone());
        spawn_local(async move {
            while reloads.recv().await.is_some() {
                let file = file.clone();
                // Files are read beside the engine: a slow disk delays no transaction.
                let read = tokio::task::spawn_blocking(move || prepare(&file)).await;
                let prepared = read.expect("a panic stops the process");
                let _ = engine.send(Event::Reload(Box::new(prepared)));
            }
        });
        for (mut signals, name) in ignored {
            spawn_local(async move {
                while signals.recv().await.is_some() {
                    tracing::warn!(signal = name, "ignored: SIGHUP reloads, SIGTERM drains and stops");
                }
            });
        }
    }
}
