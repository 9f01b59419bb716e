//! A terminal on a socket: it connects with its own certificate, keeps its journal in a file, and
//! can vanish at the worst moments.
//!
//! The behaviour is [`crate::terminal`]. One JSON line is appended to the journal for each change,
//! before what it is about is sent; not synced, as the terminal's own disk is not what is tested.
//! Invariant: a [`TerminalClient`] that is dropped at any point can be opened again from its
//! journal and owes what it owed.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use iso8583::{Dialect, Fields, Stan};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsConnector;

use super::connection::{Connection, Socket};
use super::{NetError, dialect, now_ms};
use crate::card::Card;
use crate::reconcile::TerminalJournal;
use crate::terminal::{Asked, BeliefLine, Presented, Receipt, Settings, Terminal, newest, read_lines};

/// How a terminal reaches the switch.
#[derive(Debug, Clone)]
pub struct Route {
    /// The switch.
    pub address: SocketAddr,
    /// Its name in its certificate, and the terminal's own certificate; plain TCP without.
    pub tls: Option<(String, Arc<ClientConfig>)>,
    /// Name of the dialect.
    pub dialect: String,
}

/// What a terminal needs to start.
#[derive(Debug, Clone)]
pub struct TerminalArgs {
    /// How it reaches the switch.
    pub route: Route,
    /// What it is.
    pub settings: Settings,
    /// Its journal, made when it is not there; without one it forgets everything when dropped.
    pub journal: Option<PathBuf>,
    /// How long it waits for an answer, and for a connection.
    pub response_timeout: Duration,
}

/// When a terminal vanishes during its next exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VanishPoint {
    /// The request is in its journal and not sent.
    BeforeSending,
    /// The request is sent, no answer is read.
    AfterSending,
    /// Half of the answer's bytes are read.
    HalfAnswer,
    /// The whole answer is read, and the terminal dies before it writes what it says.
    BeforeBelieving,
}

/// How a terminal vanishes during its next exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vanish {
    /// When.
    pub point: VanishPoint,
    /// The connection is reset rather than closed.
    pub reset: bool,
}

/// One terminal with its connection and its journal file.
pub struct TerminalClient {
    args: TerminalArgs,
    dialect: &'static Dialect,
    terminal: Terminal,
    journal: Option<File>,
    connection: Option<Connection>,
    vanish: Option<Vanish>,
}

impl TerminalClient {
    /// Switches the terminal on: reads its journal, connects to nobody yet.
    ///
    /// # Errors
    /// [`NetError`] when the journal cannot be read or written, or the dialect is not built in.
    pub fn open(args: TerminalArgs) -> Result<Self, NetError> {
        let dialect = dialect(&args.route.dialect)?;
        let (lines, journal) = match &args.journal {
            None => (Vec::new(), None),
            Some(file) => {
                let lines = read_journal(file)?;
                (lines, Some(open_journal(file)?))
            }
        };
        let terminal = Terminal::restore(args.settings.clone(), lines);
        Ok(Self { args, dialect, terminal, journal, connection: None, vanish: None })
    }

    /// The behaviour behind it: beliefs, and what it owes.
    #[must_use]
    pub fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// What it believes, for [`reconcile`](crate::reconcile::reconcile).
    #[must_use]
    pub fn journal(&self) -> TerminalJournal {
        journal_of(&self.args.settings, self.terminal.beliefs().to_vec())
    }

    /// The next exchange breaks off like this.
    pub fn vanish_next(&mut self, vanish: Vanish) {
        self.vanish = Some(vanish);
    }

    /// Where it connects from now on: a switch that was restarted may have another port.
    pub fn set_address(&mut self, address: SocketAddr) {
        self.connection = None;
        self.args.route.address = address;
    }

    /// Closes the connection; the next exchange opens another.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Connects, unless it is connected.
    ///
    /// # Errors
    /// [`NetError::Connect`] when it cannot, within the response timeout.
    pub async fn connect(&mut self) -> Result<(), NetError> {
        if self.connection.is_none() {
            self.connection = Some(self.connected().await?);
        }
        Ok(())
    }

    /// A sale (0200) of `minor` units.
    ///
    /// # Errors
    /// [`NetError::Connect`] when nothing was asked; [`NetError::Refused`] when a reversal comes
    /// first. A lost connection or an answer that does not come is a receipt, `Unknown`.
    pub async fn sale(&mut self, card: &Presented, minor: u64) -> Result<Receipt, NetError> {
        self.ask(Asked::Sale, card, minor).await
    }

    /// An authorisation (0100) of `minor` units.
    ///
    /// # Errors
    /// As [`Self::sale`].
    pub async fn auth(&mut self, card: &Presented, minor: u64) -> Result<Receipt, NetError> {
        self.ask(Asked::Authorisation, card, minor).await
    }

    /// Any request with a card.
    ///
    /// # Errors
    /// As [`Self::sale`].
    pub async fn ask(&mut self, asked: Asked, card: &Presented, minor: u64) -> Result<Receipt, NetError> {
        self.connect().await?;
        let message = self.terminal.ask(now_ms(), asked, card, minor)?;
        self.exchange(&message).await
    }

    /// The newest money request once more (0101, 0201).
    ///
    /// # Errors
    /// As [`Self::sale`].
    pub async fn repeat(&mut self) -> Result<Receipt, NetError> {
        self.connect().await?;
        let message = self.terminal.repeat()?;
        self.exchange(&message).await
    }

    /// Reverses the newest request with this STAN (of all, without one) down to `remains` minor
    /// units: one 0400. When it is not acknowledged the terminal still owes it.
    ///
    /// # Errors
    /// As [`Self::sale`].
    pub async fn reverse(&mut self, stan: Option<Stan>, remains: u64, card: Option<&Card>) -> Result<Receipt, NetError> {
        self.connect().await?;
        self.terminal.reverse(now_ms(), stan, remains)?;
        match self.terminal.reversal(now_ms(), card)? {
            Some(message) => self.exchange(&message).await,
            None => Err(NetError::Refused(crate::terminal::Refused::NoSuchRequest)),
        }
    }

    /// Sends the reversal that is owed, again and again, until it is acknowledged or refused for
    /// good. `None` when nothing was owed.
    ///
    /// # Errors
    /// [`NetError::Deadline`] when it is still owed after `within`; a journal that cannot be
    /// written.
    pub async fn clear_pending(&mut self, within: Duration) -> Result<Option<Receipt>, NetError> {
        let deadline = Instant::now() + within;
        let mut pause = FIRST_PAUSE;
        let mut last = None;
        while self.terminal.owed().is_some() {
            match self.send_owed().await {
                Ok(receipt) => last = receipt,
                Err(error) if !error_passes(&error) => return Err(error),
                Err(_) => {}
            }
            if self.terminal.owed().is_none() {
                break;
            }
            if Instant::now() + pause >= deadline {
                return Err(NetError::Deadline(within));
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(last)
    }

    /// Sends the reversal that is owed once. `None` when nothing is owed.
    ///
    /// # Errors
    /// As [`Self::sale`].
    pub async fn send_owed(&mut self) -> Result<Option<Receipt>, NetError> {
        if self.terminal.owed().is_none() {
            return Ok(None);
        }
        self.connect().await?;
        match self.terminal.reversal(now_ms(), None)? {
            Some(message) => self.exchange(&message).await.map(Some),
            None => Ok(None),
        }
    }

    /// 0800 with DE70 301.
    ///
    /// # Errors
    /// As [`Self::sale`].
    pub async fn echo(&mut self) -> Result<Receipt, NetError> {
        self.connect().await?;
        let message = self.terminal.echo(now_ms())?;
        self.exchange(&message).await
    }

    /// 0800 with DE70 001.
    ///
    /// # Errors
    /// As [`Self::sale`].
    pub async fn sign_on(&mut self) -> Result<Receipt, NetError> {
        self.connect().await?;
        let message = self.terminal.sign_on(now_ms())?;
        self.exchange(&message).await
    }

    /// Sends, waits, believes. The journal is written before the first byte leaves, and again
    /// before the receipt is given.
    async fn exchange(&mut self, message: &Fields) -> Result<Receipt, NetError> {
        self.write_journal()?;
        let carried = self.carry(message).await;
        let receipt = match carried {
            Ok(Some(receipt)) => Some(receipt),
            Ok(None) => self.terminal.give_up(now_ms()),
            Err(NetError::Assemble(error)) => {
                // Our own message was never sent; nothing is owed that a reversal could undo, but
                // only the journal says so, and it is left to the terminal's rule.
                self.terminal.give_up(now_ms());
                self.write_journal()?;
                return Err(NetError::Assemble(error));
            }
            Err(reason) => {
                tracing::debug!(%reason, "terminal gives up");
                self.connection = None;
                self.terminal.give_up(now_ms())
            }
        };
        self.write_journal()?;
        receipt.ok_or(NetError::Refused(crate::terminal::Refused::NoSuchRequest))
    }

    /// The exchange on the wire. `None` when the time is over or the terminal vanished.
    async fn carry(&mut self, message: &Fields) -> Result<Option<Receipt>, NetError> {
        let deadline = Instant::now() + self.args.response_timeout;
        let vanish = self.vanish.take();
        let at = |point| vanish.is_some_and(|vanish| vanish.point == point);
        let Some(connection) = &mut self.connection else {
            return Ok(None);
        };
        if !at(VanishPoint::BeforeSending) {
            connection.put(message)?;
            connection.flush().await?;
        }
        if let Some(vanish) = vanish {
            // Before it vanishes it waits for as much of an answer as it should have seen.
            let _ = timeout_at(deadline, see_part(connection, vanish.point)).await;
            if vanish.reset {
                connection.reset_on_close()?;
            } else {
                connection.close().await?;
            }
            self.connection = None;
            return Ok(None);
        }
        loop {
            match timeout_at(deadline, connection.receive()).await {
                Err(_) => return Ok(None),
                Ok(received) => {
                    let Some(answer) = received? else {
                        self.connection = None;
                        return Ok(None);
                    };
                    if let Some(receipt) = self.terminal.answer(now_ms(), &answer) {
                        return Ok(Some(receipt));
                    }
                }
            }
        }
    }

    async fn connected(&self) -> Result<Connection, NetError> {
        let Route { address, tls, .. } = &self.args.route;
        let failed = |reason| NetError::Connect { address: *address, reason };
        let connecting = async {
            let tcp = TcpStream::connect(address).await.map_err(failed)?;
            tcp.set_nodelay(true).map_err(failed)?;
            let Some((name, config)) = tls else {
                return Ok::<_, NetError>(Socket::Plain(tcp));
            };
            let server = ServerName::try_from(name.clone()).map_err(|_| NetError::ServerName(name.clone()))?;
            let connector = TlsConnector::from(Arc::clone(config));
            let stream = connector.connect(server, tcp).await.map_err(failed)?;
            Ok(Socket::Tls(Box::new(stream.into())))
        };
        let within = Instant::now() + self.args.response_timeout;
        let socket = timeout_at(within, connecting).await.map_err(|_| failed(std::io::ErrorKind::TimedOut.into()))??;
        Ok(Connection::new(socket, self.dialect))
    }

    fn write_journal(&mut self) -> Result<(), NetError> {
        let lines = self.terminal.take_lines();
        let (Some(journal), Some(file)) = (&mut self.journal, &self.args.journal) else {
            return Ok(());
        };
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, &line).map_err(|e| failed(file, e.into()))?;
            text.push(b'\n');
        }
        journal.write_all(&text).map_err(|reason| failed(file, reason))
    }
}

/// First wait between two sends of a reversal; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait between two sends of a reversal.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// True for what may be over when it is tried again: the switch is away.
pub(super) fn error_passes(error: &NetError) -> bool {
    matches!(error, NetError::Connect { .. } | NetError::Io(_))
}

/// Reads as much of the answer as a terminal that vanishes at this point has seen.
async fn see_part(connection: &mut Connection, point: VanishPoint) -> std::io::Result<()> {
    loop {
        let (have, needs) = connection.progress();
        let seen = match (point, needs) {
            (VanishPoint::BeforeSending | VanishPoint::AfterSending, _) => true,
            (VanishPoint::HalfAnswer | VanishPoint::BeforeBelieving, None) => false,
            // The kernel hands out what came; half of it is what counts, and more is not looked at.
            (VanishPoint::HalfAnswer, Some(needs)) => have >= needs / 2,
            (VanishPoint::BeforeBelieving, Some(needs)) => have >= needs,
        };
        if seen || !connection.fill().await? {
            return Ok(());
        }
    }
}

/// The newest beliefs in a journal file; none if it is not there.
///
/// # Errors
/// [`NetError::JournalFile`] or [`NetError::JournalLine`] when it cannot be read.
pub fn read_journal(file: &Path) -> Result<Vec<BeliefLine>, NetError> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(reason) => return Err(failed(file, reason)),
    };
    read_lines(&text).map_err(|reason| NetError::JournalLine { file: file.to_owned(), reason })
}

/// A terminal's journal file, for [`reconcile`](crate::reconcile::reconcile).
///
/// # Errors
/// As [`read_journal`].
pub fn load_journal(settings: &Settings, file: &Path) -> Result<TerminalJournal, NetError> {
    Ok(journal_of(settings, newest(read_journal(file)?)))
}

fn journal_of(settings: &Settings, beliefs: Vec<BeliefLine>) -> TerminalJournal {
    let trimmed = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches(' ').to_owned();
    TerminalJournal { terminal: trimmed(settings.id.terminal()), merchant: trimmed(settings.id.merchant()), beliefs }
}

/// Opens the journal for appending, without the piece of a line that a dying terminal left.
fn open_journal(file: &Path) -> Result<File, NetError> {
    let open = || -> std::io::Result<File> {
        let journal = OpenOptions::new().create(true).append(true).open(file)?;
        let bytes = std::fs::read(file)?;
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        journal.set_len(complete as u64)?;
        Ok(journal)
    };
    open().map_err(|reason| failed(file, reason))
}

fn failed(file: &Path, reason: std::io::Error) -> NetError {
    NetError::JournalFile { file: file.to_owned(), reason }
}
