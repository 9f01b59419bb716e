//! One daemon with many issuers, each with its own cards, and mock issuers as processes behind them.
//!
//! Every case has an issuer of the daemon, a card of that issuer and a terminal to itself, so that many cases run at once
//! and none hears of another's cut. Decides nothing; [`super`] judges. Invariant: what a case looks at was read from the
//! daemon after it began to look.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use counterparts::issuer::MovementLine;
use counterparts::net::terminal::{TerminalArgs, TerminalClient};
use counterparts::terminal::Presented;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::support::daemon::{Doubt, Tx};
use crate::support::site::{self, initialised, mock_issuer};
use crate::support::{IssuerProcess, Options, PATIENCE, Site, name, within};

/// T1, milliseconds. Long enough for a loaded machine to answer in time.
pub(super) const RESPONSE_TIMEOUT_MS: u64 = 2_000;
/// R3, milliseconds.
pub(super) const HORIZON_MS: u64 = 4_000;
/// How long a terminal waits for an answer.
pub(super) const TERMINAL_TIMEOUT: Duration = Duration::from_millis(3_500);
/// What every case sells, minor units.
pub(super) const AMOUNT: u64 = 1_250;

const CROSSING_MARGIN_MS: u64 = 100;
const LOOK_EVERY: Duration = Duration::from_millis(40);

fn options(terminals: u16) -> Options {
    Options {
        terminals,
        response_timeout: RESPONSE_TIMEOUT_MS,
        original_horizon: HORIZON_MS,
        crossing_margin: CROSSING_MARGIN_MS,
        redeliver_grace: 500,
        log: "info",
        limits: "frame_timeout = \"3s\"",
        ..Options::default()
    }
}

/// The plan of a stage: the daemon's issuers and terminals, before it is started.
pub(super) struct Plan {
    dir: TempDir,
    options: Options,
    issuers: u16,
}

impl Plan {
    /// A directory with certificates for so many terminals.
    pub(super) async fn new(terminals: u16) -> Self {
        Plan { dir: initialised(terminals).await, options: options(terminals), issuers: 1 }
    }

    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// One more issuer of the daemon, with a link to each of these addresses; its number.
    pub(super) fn issuer(&mut self, links: &[SocketAddr]) -> u16 {
        self.issuer_with(links, 1)
    }

    /// The same; each link has so many connections.
    pub(super) fn issuer_with(&mut self, links: &[SocketAddr], connections: u16) -> u16 {
        self.options.connections = connections;
        self.issuers += 1;
        let number = self.issuers;
        self.options.more.push_str(&site::issuer(&self.options, number, &prefix(number)));
        for (link, address) in (1..).zip(links) {
            self.options.more.push_str(&site::link(&self.options, (number, link), *address, true));
            // No echo comes between a fault and the message that it is meant for.
            self.options.more.push_str("echo_after = \"0s\"\n");
        }
        number
    }

    /// Puts a terminal into the group of those that take partial approvals.
    pub(super) fn takes_partial_approvals(&mut self, terminal: u16) {
        let file = self.dir().join("terminals.toml");
        let registry = std::fs::read_to_string(&file).expect("init made the registry");
        let name = name(terminal);
        let usual = format!("allow = \"{name}/MERCHANT0000001\"\ngroup = 1\n");
        assert!(registry.contains(&usual), "the registry has {name}");
        let changed = registry.replace(&usual, &usual.replace("group = 1", "group = 2"));
        std::fs::write(file, changed).expect("the directory is ours");
    }

    /// Starts the daemon.
    pub(super) async fn open(mut self) -> Stage {
        self.options.more.push_str(&format!(
            "\n[[group]]\nnumber = 2\nname = \"takes partial approvals\"\nterminal_response_timeout = \"20s\"\n\
             crossing_margin = \"{CROSSING_MARGIN_MS}ms\"\ntakes_partial_approvals = true\n"
        ));
        let idle = mock_issuer(self.dir()).await;
        let links = vec![(idle.address(), true)];
        let mut site = Site::around(self.dir, idle, self.options, links);
        site.daemon.ready().await;
        let first = look(&site).await;
        let (seen, looks) = watch::channel(first);
        Stage { site: Rc::new(site), looks, seen: Rc::new(seen) }
    }
}

/// First digits of the cards of an issuer.
fn prefix(issuer: u16) -> String {
    format!("4{issuer:03}")
}

/// The card of an issuer; its last four digits are its number.
pub(super) fn card(issuer: u16, number: u16) -> Presented {
    let digits = format!("{}00123456{number:04}", prefix(issuer));
    Presented::new(digits.parse().expect("it is a card number"))
}

/// What the daemon showed.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) movements: Vec<Tx>,
    pub(super) doubt: Doubt,
}

impl Look {
    /// The movement of a terminal's request.
    pub(super) fn of(&self, terminal: u16, stan: &str) -> Option<&Tx> {
        self.movements.iter().rfind(|tx| tx.terminal == name(terminal) && tx.stan == stan && tx.class == "0200")
    }
}

async fn look(site: &Site) -> Look {
    let (movements, doubt) = (site.daemon.movements().await, site.daemon.doubt().await);
    Look { movements, doubt }
}

/// The running daemon, and what it shows again and again.
#[derive(Clone)]
pub(super) struct Stage {
    pub(super) site: Rc<Site>,
    looks: watch::Receiver<Look>,
    seen: Rc<watch::Sender<Look>>,
}

impl Stage {
    /// Looks at the daemon again and again, for all cases together; never ends.
    pub(super) async fn keep_looking(self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.seen.send_replace(look(&self.site).await);
        }
    }

    /// Waits until the daemon shows something.
    pub(super) async fn sees<T>(&self, what: &str, mut ask: impl FnMut(&Look) -> Option<T>) -> T {
        let mut looks = self.looks.clone();
        let seeing = async {
            loop {
                if let Some(answer) = ask(&looks.borrow_and_update()) {
                    return answer;
                }
                looks.changed().await.expect("the stage keeps looking");
            }
        };
        within(what, seeing).await
    }

    /// The newest look.
    pub(super) fn look(&self) -> Look {
        self.looks.borrow().clone()
    }

    /// A terminal, connected; what its TLS handshake sends is over. It connects through `address`, or directly.
    pub(super) async fn terminal(&self, number: u16, address: Option<SocketAddr>) -> TerminalClient {
        let mut args: TerminalArgs = self.site.terminal_args(number);
        args.response_timeout = TERMINAL_TIMEOUT;
        args.route.address = address.unwrap_or(args.route.address);
        let mut terminal = TerminalClient::open(args).expect("its journal can be written");
        assert!(terminal.echo().await.expect("the daemon is there").is_approved());
        terminal
    }
}

/// A terminal that goes on: it clears what it owes and sells for small amounts until one is approved. That confirms what was
/// approved before (C1).
pub(super) async fn sells_on(terminal: &mut TerminalClient, card: &Presented) {
    // The switch heard a little later than the terminal that the answer was handed.
    let margin = 2 * Duration::from_millis(CROSSING_MARGIN_MS);
    within("the terminal sells on", async {
        for minor in 1.. {
            tokio::time::sleep(margin).await;
            terminal.clear_pending(PATIENCE).await.expect("the daemon takes its reversal");
            // Another amount every time: this is not a sale that is keyed again (D6).
            if terminal.sale(card, minor).await.is_ok_and(|receipt| receipt.is_approved()) {
                return;
            }
        }
    })
    .await;
}

/// What all issuers' books hold together.
pub(super) async fn books(issuers: &[&IssuerProcess]) -> Vec<MovementLine> {
    let mut all = Vec::new();
    for issuer in issuers {
        all.extend(issuer.movements().await);
    }
    all
}
