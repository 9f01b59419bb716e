//! Many terminals at once, each in its own closed loop: ask, wait, pause, ask again.
//!
//! A terminal that loses the switch comes back by itself, clears what it owes, and goes on; so the
//! switch may be killed under it. Not a benchmark: the caller measures, this only counts and keeps
//! the latencies. Invariant: after [`Load::finish`] no terminal owes a reversal, or it is named.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::NetError;
use super::terminal::{TerminalArgs, TerminalClient, error_passes};
use crate::seeded::Seeded;
use crate::terminal::{Outcome, Presented, Receipt};

/// What to drive, and how far.
#[derive(Debug, Clone)]
pub struct LoadArgs {
    /// One loop for each.
    pub terminals: Vec<TerminalArgs>,
    /// Drawn from for each sale; at least one.
    pub cards: Vec<Presented>,
    /// Minor units, drawn from for each sale.
    pub amounts: RangeInclusive<u64>,
    /// Wait of each terminal between an answer and its next sale.
    pub pause: Duration,
    /// Stops after so many sales of all terminals together.
    pub sales_max: Option<u64>,
    /// Stops after so long.
    pub duration: Option<Duration>,
    /// After the stop, how long each terminal may take to come back and clear what it owes.
    pub come_back_within: Duration,
    /// Drives cards, amounts and jitter.
    pub seed: u64,
}

/// Counters of a running load.
#[derive(Debug, Default)]
pub struct Progress {
    /// Sales asked for.
    pub asked: AtomicU64,
    /// Sales approved.
    pub approved: AtomicU64,
    /// Sales declined.
    pub declined: AtomicU64,
    /// Sales without a usable answer, or with 68.
    pub unknown: AtomicU64,
    /// Reversals acknowledged.
    pub reversed: AtomicU64,
    /// Times that the switch could not be reached.
    pub unreachable: AtomicU64,
}

/// A running load. Dropping it stops the terminals at their next turn.
pub struct Load {
    progress: Arc<Progress>,
    stop: watch::Sender<bool>,
    started: Instant,
    terminals: Vec<JoinHandle<Result<Driven, NetError>>>,
}

/// One terminal after its loop.
struct Driven {
    client: TerminalClient,
    latencies_us: Vec<u32>,
    ended: Instant,
    not_cleared: Option<NetError>,
}

/// What a load did.
pub struct Loaded {
    /// The terminals, connected and with their journals, in the order of the arguments.
    pub terminals: Vec<TerminalClient>,
    /// Microseconds from asking to the answer of each sale that was answered, in no order.
    pub latencies_us: Vec<u32>,
    /// From the start to the last sale's end, without coming back.
    pub elapsed: Duration,
    /// Terminals that still owe a reversal, and why.
    pub not_cleared: Vec<String>,
}

impl Load {
    /// Switches all terminals on, on the current runtime.
    ///
    /// # Errors
    /// [`NetError`] when a terminal's journal or dialect cannot be used.
    ///
    /// # Panics
    /// If there are no cards.
    pub fn start(args: LoadArgs) -> Result<Self, NetError> {
        assert!(!args.cards.is_empty(), "a load needs a card");
        let (stop, stopped) = watch::channel(false);
        let progress = Arc::new(Progress::default());
        let started = Instant::now();
        let mut terminals = Vec::with_capacity(args.terminals.len());
        let clients = args.terminals.iter().cloned().map(TerminalClient::open);
        let shared = Arc::new(args.clone());
        for (number, client) in clients.enumerate() {
            let driver = Driver {
                args: Arc::clone(&shared),
                progress: Arc::clone(&progress),
                stopped: stopped.clone(),
                ends: shared.duration.map(|duration| started + duration),
                seeded: Seeded::new(shared.seed.wrapping_add(number as u64)),
            };
            terminals.push((driver, client?));
        }
        let terminals = terminals.into_iter().map(|(driver, client)| tokio::spawn(driver.run(client))).collect();
        Ok(Self { progress, stop, started, terminals })
    }

    /// The counters, for a progress bar or a test that waits for some of them.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Asks all terminals to stop selling; they still come back and clear what they owe.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until all have stopped, by themselves or after [`Self::stop`], and have come back.
    ///
    /// # Errors
    /// [`NetError`] when a journal could not be written or a message could not be built.
    ///
    /// # Panics
    /// If a terminal's task did.
    pub async fn finish(self) -> Result<Loaded, NetError> {
        let mut loaded = Loaded {
            terminals: Vec::with_capacity(self.terminals.len()),
            latencies_us: Vec::new(),
            elapsed: Duration::ZERO,
            not_cleared: Vec::new(),
        };
        for terminal in self.terminals {
            let driven = terminal.await.expect("a terminal's task does not panic")?;
            loaded.elapsed = loaded.elapsed.max(driven.ended - self.started);
            loaded.latencies_us.extend(driven.latencies_us);
            if let Some(reason) = driven.not_cleared {
                let id = driven.client.terminal().settings().id;
                loaded.not_cleared.push(format!("{id}: {reason}"));
            }
            loaded.terminals.push(driven.client);
        }
        Ok(loaded)
    }
}

/// First wait before the switch is tried again; it doubles.
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
/// Longest wait before the switch is tried again.
const LONGEST_BACKOFF: Duration = Duration::from_millis(500);

/// The loop of one terminal.
struct Driver {
    args: Arc<LoadArgs>,
    progress: Arc<Progress>,
    stopped: watch::Receiver<bool>,
    ends: Option<Instant>,
    seeded: Seeded,
}

impl Driver {
    async fn run(mut self, mut client: TerminalClient) -> Result<Driven, NetError> {
        let mut latencies_us = Vec::new();
        let mut backoff = FIRST_BACKOFF;
        while !self.is_over() {
            match self.turn(&mut client, &mut latencies_us).await {
                Ok(true) => {
                    backoff = FIRST_BACKOFF;
                    self.wait(self.args.pause).await;
                }
                Ok(false) => break,
                Err(error) if error_passes(&error) => {
                    self.progress.unreachable.fetch_add(1, Relaxed);
                    let jitter = self.seeded.below(backoff.as_millis() as u64);
                    self.wait(backoff + Duration::from_millis(jitter)).await;
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                }
                Err(error) => return Err(error),
            }
        }
        let ended = Instant::now();
        let not_cleared = match client.clear_pending(self.args.come_back_within).await {
            Ok(cleared) => {
                let reversed = cleared.is_some_and(|receipt| receipt.is_approved());
                self.progress.reversed.fetch_add(u64::from(reversed), Relaxed);
                None
            }
            Err(error) => Some(error),
        };
        Ok(Driven { client, latencies_us, ended, not_cleared })
    }

    /// One exchange: what is owed, else a sale. False when there are sales enough.
    async fn turn(&mut self, client: &mut TerminalClient, latencies_us: &mut Vec<u32>) -> Result<bool, NetError> {
        client.connect().await?;
        if client.terminal().settings().reverses_first && client.terminal().owed().is_some() {
            let receipt = client.send_owed().await?;
            let reversed = receipt.is_some_and(|receipt| receipt.is_approved());
            self.progress.reversed.fetch_add(u64::from(reversed), Relaxed);
            if !reversed {
                self.wait(FIRST_BACKOFF).await;
            }
            return Ok(true);
        }
        let number = self.progress.asked.fetch_add(1, Relaxed);
        if self.args.sales_max.is_some_and(|most| number >= most) {
            self.progress.asked.fetch_sub(1, Relaxed);
            return Ok(false);
        }
        let card = self.seeded.below(self.args.cards.len() as u64);
        let amounts = &self.args.amounts;
        let spread = (amounts.end() - amounts.start()).saturating_add(1);
        let minor = amounts.start() + self.seeded.below(spread);
        let asked_at = Instant::now();
        let receipt = client.sale(&self.args.cards[card as usize], minor).await?;
        let counter = match receipt.outcome {
            Outcome::Approved => &self.progress.approved,
            Outcome::Declined => &self.progress.declined,
            Outcome::Unknown => &self.progress.unknown,
        };
        counter.fetch_add(1, Relaxed);
        if receipt.code.is_some() {
            let micros = asked_at.elapsed().as_micros();
            latencies_us.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
        Ok(true)
    }

    fn is_over(&self) -> bool {
        let dropped = self.stopped.has_changed().is_err();
        dropped || *self.stopped.borrow() || self.ends.is_some_and(|ends| Instant::now() >= ends)
    }

    /// Waits, but not beyond the stop or the end.
    async fn wait(&mut self, pause: Duration) {
        if pause.is_zero() {
            return;
        }
        let until = Instant::now() + pause;
        let until = self.ends.map_or(until, |ends| until.min(ends));
        // Over time, stopped, or the load was dropped: in each case the loop looks again.
        let _ = timeout_at(until, self.stopped.wait_for(|stopped| *stopped)).await;
    }
}

/// One more approved sale after the crossing margin: it confirms the terminal's last approval for
/// a switch that confirms implicitly (C1). Clears what is owed first, and tries again until the
/// answer is an approval or a decline.
///
/// # Errors
/// [`NetError::Deadline`] when there is none after `within`.
pub async fn final_sale(
    client: &mut TerminalClient,
    card: &Presented,
    minor: u64,
    crossing_margin: Duration,
    within: Duration,
) -> Result<Receipt, NetError> {
    let deadline = Instant::now() + within;
    sleep(crossing_margin).await;
    let mut backoff = FIRST_BACKOFF;
    loop {
        client.clear_pending(deadline.saturating_duration_since(Instant::now())).await?;
        match client.sale(card, minor).await {
            Ok(receipt) if receipt.outcome != Outcome::Unknown => return Ok(receipt),
            Ok(_) => {}
            Err(error) if error_passes(&error) => {}
            Err(error) => return Err(error),
        }
        if Instant::now() + backoff >= deadline {
            return Err(NetError::Deadline(within));
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(LONGEST_BACKOFF);
    }
}
