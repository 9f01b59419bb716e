//! The daemon between terminals and two issuers that are processes of their own, with a faulty wire on either leg.
//!
//! Knows no fault of a process: [`super::strikes`] has those. Some terminals are lost in the middle of a sale, and come back
//! from their journals only when nothing is in doubt any more: what they would have reversed the switch has to reverse by
//! itself. Invariant: at the end of a round nothing misbehaves any more,
//! every terminal has come back and had a last sale approved, and three ledgers agree on all rounds of the scene so far.

use std::fmt;
use std::net::SocketAddr;
use std::ops::{AddAssign, RangeInclusive};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use counterparts::net::load::{Load, LoadArgs, final_sale};
use counterparts::net::proxy::{FaultyProxy, ProxyArgs};
use counterparts::net::terminal::{TerminalArgs, TerminalClient};
use counterparts::reconcile::TerminalJournal;
use counterparts::seeded::Seeded;
use counterparts::terminal::Presented;
use tokio::task::JoinSet;

use super::Kind;
use super::mishaps::{self, LONGEST_DELAY_MS};
use crate::support::site::{self, PAN, POOR_PAN, initialised, mock_issuer};
use crate::support::{Disk, IssuerProcess, Options, PATIENCE, Site, card, until, within};

const TERMINALS: u16 = 30;
/// The numbers of those that are lost in each round.
const MORTALS: RangeInclusive<u16> = TERMINALS + 1..=TERMINALS + 6;
/// One that sells when the test says so, and not with the load.
const PROBE: u16 = TERMINALS + 7;
/// A card of the second issuer.
const OTHER_PAN: &str = "5000001234567899";
const CROSSING_MARGIN_MS: u64 = 100;
/// T1, milliseconds.
const RESPONSE_TIMEOUT_MS: u64 = 1_000;
/// How long a terminal waits: longer than the switch waits for the issuer.
const TERMINAL_TIMEOUT: Duration = Duration::from_millis(1_600);
/// Nobody who sells is without an answer for so long, if the switch is well.
const STILL: Duration = Duration::from_millis(400);

/// The longest that an issuer is stopped, milliseconds: longer than the switch waits for its answer.
pub(super) const ISSUER_STOPPED_MS: u64 = 2_000;
/// The shortest that the daemon is stopped, milliseconds: longer than its terminals wait.
pub(super) const DAEMON_STOPPED_MS: u64 = 2_000;

fn options(kind: Kind, disk: Option<&Disk>) -> Options {
    // What is with an issuer that is stopped arrives so much later (R3).
    let stopped = if kind == Kind::Stop { ISSUER_STOPPED_MS } else { 0 };
    let usual = Options::default();
    Options {
        terminals: PROBE,
        response_timeout: RESPONSE_TIMEOUT_MS,
        original_horizon: LONGEST_DELAY_MS + stopped + 1_000,
        crossing_margin: CROSSING_MARGIN_MS,
        redeliver_grace: 300,
        connections: 2,
        // A connection that is deaf after half a frame is given up soon.
        limits: "frame_timeout = \"1s\"",
        log: "info",
        journal: disk.map_or(usual.journal, |disk| disk.path("journal")),
        ..Options::default()
    }
}

/// What rounds did together.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) sales: u64,
    reversals: u64,
    movements: usize,
    unwound: usize,
}

impl AddAssign for Figures {
    fn add_assign(&mut self, more: Self) {
        self.sales += more.sales;
        self.reversals += more.reversals;
        self.movements += more.movements;
        self.unwound += more.unwound;
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { sales, reversals, movements, unwound } = self;
        write!(f, "{sales} sales asked for, {reversals} reversed by terminals, {movements} movements, {unwound} unwound")
    }
}

/// See the module. The fields are dropped in this order: the daemon before its disk.
pub(super) struct Scene {
    pub(super) site: Site,
    pub(super) issuers: [IssuerProcess; 2],
    issuers_wires: [FaultyProxy; 2],
    terminals_wire: FaultyProxy,
    terminals: Vec<TerminalArgs>,
    /// They are lost in each round, and come back when the switch has settled without them.
    mortals: Vec<TerminalArgs>,
    /// The mortals, selling.
    living: JoinSet<()>,
    /// Of [`Self::probe`].
    probe: TerminalArgs,
    pub(super) disk: Option<Disk>,
    pub(super) seeded: Seeded,
    pub(super) figures: Figures,
}

impl Scene {
    /// Everything runs, and behaves.
    pub(super) async fn open(kind: Kind, disk: Option<Disk>, seed: u64) -> Self {
        let mut seeded = Seeded::new(seed);
        let mut options = options(kind, disk.as_ref());
        let dir = initialised(options.terminals).await;
        let poor = &["--account", "4000001234560042:100"];
        let issuers = [
            IssuerProcess::start(dir.path(), "issuer-1", poor).await,
            IssuerProcess::start(dir.path(), "issuer-2", &["--seed", "2"]).await,
        ];
        let wires = [wire(issuers[0].address(), &mut seeded).await, wire(issuers[1].address(), &mut seeded).await];
        options.more = site::issuer(&options, 2, "5") + &site::link(&options, (2, 1), wires[1].address(), true);
        // The books are with the processes: a site has an issuer of its own, and this one hears of nothing.
        let idle = mock_issuer(dir.path()).await;
        let mut site = Site::around(dir, idle, options, vec![(wires[0].address(), true)]);
        site.daemon.ready().await;
        let terminals_wire = wire(site.daemon.address(), &mut seeded).await;
        let all =
            |numbers: RangeInclusive<u16>| numbers.map(|number| terminal_args(&site, number, &terminals_wire)).collect();
        let (terminals, mortals) = (all(1..=TERMINALS), all(MORTALS));
        let probe = site.terminal_args(PROBE);
        let figures = Figures::default();
        let (living, issuers_wires) = (JoinSet::new(), wires);
        Scene { site, issuers, issuers_wires, terminals_wire, terminals, mortals, living, probe, disk, seeded, figures }
    }

    /// Issuers and wires misbehave from now on.
    pub(super) async fn misbehave(&self, round: u32) {
        for (issuer, wire) in self.issuers.iter().zip(&self.issuers_wires) {
            issuer.set_scenario(&mishaps::scenario(round)).await;
            wire.set_rules(mishaps::issuers_wire());
        }
        self.terminals_wire.set_rules(mishaps::terminals_wire());
    }

    async fn behave(&self) {
        for (issuer, wire) in self.issuers.iter().zip(&self.issuers_wires) {
            issuer.set_faults(&[]).await;
            wire.set_rules(Vec::new());
        }
        self.terminals_wire.set_rules(Vec::new());
    }

    /// All terminals sell, until they are told to stop.
    pub(super) fn load(&mut self) -> Load {
        let [rich, poor, other] = [PAN, POOR_PAN, OTHER_PAN].map(presented);
        let args = LoadArgs {
            terminals: self.terminals.clone(),
            cards: vec![rich.clone(), rich, other.clone(), other, poor],
            amounts: 1..=5_000,
            pause: Duration::from_millis(2),
            sales_max: None,
            duration: None,
            come_back_within: PATIENCE,
            seed: self.seeded.next_u64(),
        };
        for mortal in &self.mortals {
            let terminal = TerminalClient::open(mortal.clone()).expect("its journal can be written");
            self.living.spawn_local(sells(terminal, Seeded::new(self.seeded.next_u64())));
        }
        Load::start(args).expect("their journals can be written")
    }

    /// The same; by now they have had about an answer each.
    pub(super) async fn running_load(&mut self) -> Load {
        let load = self.load();
        until("terminals sell", async || (self.answered(&load) >= u64::from(TERMINALS)).then_some(())).await;
        load
    }

    /// The mortals are switched off, whatever they are doing.
    pub(super) async fn lose_terminals(&mut self) {
        assert!(!self.living.is_empty(), "they sell");
        self.living.shutdown().await;
    }

    /// A terminal that takes no part in the load, on a good wire of its own.
    pub(super) fn probe(&self) -> TerminalClient {
        TerminalClient::open(self.probe.clone()).expect("its journal can be written")
    }

    /// Some time between these. Not a wait for anything: the moment is what is random.
    pub(super) async fn pause(&mut self, from_ms: u64, to_ms: u64) {
        tokio::time::sleep(Duration::from_millis(from_ms + self.seeded.below(to_ms - from_ms))).await;
    }

    /// Waits until no terminal gets an answer any more, although all ask.
    pub(super) async fn stands_still(&self, load: &Load) {
        let (mut answered, mut since) = (None, Instant::now());
        until("nobody is answered", async || {
            let now = self.answered(load);
            if answered != Some(now) {
                (answered, since) = (Some(now), Instant::now());
            }
            (now > 0 && since.elapsed() >= STILL).then_some(())
        })
        .await;
    }

    fn answered(&self, load: &Load) -> u64 {
        let progress = load.progress();
        let answers = [&progress.approved, &progress.declined];
        answers.map(|count| count.load(Relaxed)).iter().sum()
    }

    /// The load stops, the faults stop, everything drains; then the three ledgers are compared.
    pub(super) async fn settle(&mut self, load: Load) {
        let progress = load.progress().clone();
        load.stop();
        let loaded = within("all terminals to come back", load.finish()).await.expect("their journals can be written");
        assert_eq!(loaded.not_cleared, Vec::<String>::new(), "reversals are owed");
        self.behave().await;
        assert!(self.living.is_empty(), "the mortals are lost by now");
        let journals = last_sales(loaded.terminals).await;
        self.site.nothing_in_doubt().await;
        // The switch has settled without them.
        let late = self.mortals.iter().chain([&self.probe]).cloned();
        let late = late.map(|args| TerminalClient::open(args).expect("its journal can be read")).collect();
        let journals = [journals, last_sales(late).await].concat();
        self.site.nothing_in_doubt().await;
        let mut books = self.issuers[0].movements().await;
        books.extend(self.issuers[1].movements().await);
        let found = self.site.reconciled_with(&books, &journals).await;
        let count = |counter: &AtomicU64| counter.load(Relaxed);
        self.figures.sales += count(&progress.asked);
        self.figures.reversals += count(&progress.reversed);
        self.figures.movements = found.switch.movements;
        let movements = self.site.daemon.movements().await;
        self.figures.unwound = movements.iter().filter(|tx| tx.state == "unwound").count();
    }
}

fn terminal_args(site: &Site, number: u16, wire: &FaultyProxy) -> TerminalArgs {
    let mut args = site.terminal_args(number);
    args.route.address = wire.address();
    args.response_timeout = TERMINAL_TIMEOUT;
    args
}

async fn wire(target: SocketAddr, seeded: &mut Seeded) -> FaultyProxy {
    let args = ProxyArgs { seed: seeded.next_u64(), ..ProxyArgs::new(target) };
    FaultyProxy::start(args).await.expect("loopback has free ports")
}

fn presented(pan: &str) -> Presented {
    Presented::new(pan.parse().expect("it is a card number"))
}

/// Sells until it is dropped.
async fn sells(mut terminal: TerminalClient, mut seeded: Seeded) {
    loop {
        // What fails is in its journal, and is reversed first.
        let _ = terminal.send_owed().await;
        let _ = terminal.sale(&card(), 1 + seeded.below(5_000)).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn last_sales(terminals: Vec<TerminalClient>) -> Vec<TerminalJournal> {
    let mut selling = JoinSet::new();
    for terminal in terminals {
        selling.spawn_local(last_sale(terminal));
    }
    selling.join_all().await
}

/// A terminal goes on until a sale is approved, which confirms what was approved before (C1).
async fn last_sale(mut terminal: TerminalClient) -> TerminalJournal {
    until("a last sale is approved", async || {
        let margin = Duration::from_millis(CROSSING_MARGIN_MS);
        let receipt = final_sale(&mut terminal, &card(), 1, margin, PATIENCE).await;
        let receipt = receipt.unwrap_or_else(|error| panic!("a last sale: {error}"));
        // A link that was cut with the last faults may not be back.
        assert!(receipt.is_approved() || receipt.code() == "91", "{receipt}");
        receipt.is_approved().then_some(())
    })
    .await;
    terminal.journal()
}
