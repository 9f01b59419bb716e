//! One switch with what is around it: a directory made by `switchd init`, a mock issuer, the daemon.
//!
//! Every site has an address of loopback of its own, so that a daemon that is started again finds its port free: no
//! connection of another test can have taken it. Invariant: everything of a site is below its directory and goes with it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use counterparts::card::Card;
use counterparts::faults::{Fault, Match, MtiClass, Rule};
use counterparts::issuer::{AccountSettings, MovementLine, Settings as IssuerSettings};
use counterparts::net::issuer::{MockIssuer, MockIssuerArgs};
use counterparts::net::terminal::{Route, TerminalArgs, TerminalClient};
use counterparts::reconcile::{Reconciliation, SwitchMovement, TerminalJournal, reconcile};
use counterparts::terminal::{Presented, Settings as TerminalSettings};
use iso8583::{Currency, Fields};
use tempfile::TempDir;

use super::daemon::{Daemon, Tx, switchd};
use super::host::Host;
use super::line::{self, Line, field};
use super::wait::until;

/// A card with money, for whoever needs one and does not care.
pub(crate) const PAN: &str = "4000001234567899";
/// Its balance in minor units.
pub(crate) const BALANCE: u64 = 1_000_000_000;
/// A card with [`POOR_BALANCE`].
pub(crate) const POOR_PAN: &str = "4000001234560042";
/// In minor units.
pub(crate) const POOR_BALANCE: u64 = 100;

/// How a site differs from the usual one. Milliseconds.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// TERM0001 to TERM000n have certificates.
    pub(crate) terminals: u16,
    /// T1.
    pub(crate) response_timeout: u64,
    /// R3.
    pub(crate) original_horizon: u64,
    /// C1.
    pub(crate) crossing_margin: u64,
    /// T8.
    pub(crate) redeliver_grace: u64,
    /// T10, C1.
    pub(crate) serial: bool,
    /// C1.
    pub(crate) reverses_first: bool,
    /// R4.
    pub(crate) reversal_retry: u64,
    /// Of each link.
    pub(crate) connections: u16,
    /// The longest wait of a link before its next attempt to connect.
    pub(crate) backoff_max: u64,
    /// error, warn, info, debug.
    pub(crate) log: &'static str,
    /// Its directory; below the configuration's unless it is absolute.
    pub(crate) journal: PathBuf,
    /// Lines for `[listen]`.
    pub(crate) listen: &'static str,
    /// Lines for `[partition]`.
    pub(crate) partition: &'static str,
    /// Lines for `[journal]`.
    pub(crate) retention: &'static str,
    /// Lines for `[index]`.
    pub(crate) index: &'static str,
    /// Lines for `[metrics]`.
    pub(crate) metrics: &'static str,
    /// Lines for `[limits]`.
    pub(crate) limits: &'static str,
    /// Lines for the `[[group]]` of all terminals.
    pub(crate) group: &'static str,
    /// Lines for each `[[link]]`.
    pub(crate) link: &'static str,
    /// Sections after all others.
    pub(crate) more: String,
}

/// Nothing times out, and an answer is waited for longer than a loaded machine needs for it.
impl Default for Options {
    fn default() -> Self {
        Options {
            terminals: 3,
            response_timeout: 10_000,
            original_horizon: 12_000,
            crossing_margin: 100,
            redeliver_grace: 5_000,
            serial: true,
            reverses_first: true,
            reversal_retry: 200,
            connections: 1,
            backoff_max: 100,
            log: "debug",
            journal: PathBuf::from("journal"),
            listen: "",
            partition: "",
            retention: "",
            index: "dir = \"index\"",
            metrics: "",
            limits: "",
            group: "",
            link: "",
            more: String::new(),
        }
    }
}

impl Options {
    /// For what is about timeouts: the issuer's silence is noticed soon.
    pub(crate) fn impatient() -> Self {
        Options { response_timeout: 700, original_horizon: 2_000, ..Options::default() }
    }
}

/// See the module. The fields are dropped in this order: the daemon before its directory.
pub(crate) struct Site {
    /// The daemon that was started last.
    pub(crate) daemon: Daemon,
    /// The mock issuer. A site with scripted hosts has one too.
    pub(crate) issuer: MockIssuer,
    ip: Ipv4Addr,
    /// The daemon's, once it has been there.
    port: u16,
    options: Options,
    /// Where the issuer's links lead, and whether they have TLS.
    links: Vec<(SocketAddr, bool)>,
    dir: TempDir,
}

impl Site {
    /// Everything runs, and the link is up.
    pub(crate) async fn open(options: Options) -> Self {
        let mut site = Self::prepare(options, &[]).await;
        site.daemon.ready().await;
        site
    }

    /// Everything runs; the links lead to these hosts, in this order, and to the mock issuer where there is none.
    pub(crate) async fn with_hosts(options: Options, hosts: &[Option<&Host>]) -> Self {
        let mut site = Self::prepare(options, hosts).await;
        site.daemon.ready().await;
        site
    }

    /// The daemon is started and not waited for.
    pub(crate) async fn prepare(options: Options, hosts: &[Option<&Host>]) -> Self {
        let dir = initialised(options.terminals).await;
        let issuer = mock_issuer(dir.path()).await;
        let of_host = |host: &Option<&Host>| match host {
            Some(host) => (host.address(), false),
            None => (issuer.address(), true),
        };
        let links = if hosts.is_empty() { vec![(issuer.address(), true)] } else { hosts.iter().map(of_host).collect() };
        Self::around(dir, issuer, options, links)
    }

    /// The daemon is started in a directory that is there, with an issuer that is there, and not waited for.
    pub(crate) fn around(dir: TempDir, issuer: MockIssuer, options: Options, links: Vec<(SocketAddr, bool)>) -> Self {
        let config = dir.path().join("switchd.toml");
        let ip = own_address();
        fs::write(&config, configuration(&options, SocketAddr::from((ip, 0)), &links)).expect("the directory is ours");
        let daemon = Daemon::spawn(&config, &dir.path().join("switchd.log"));
        Site { dir, ip, port: 0, options, links, issuer, daemon }
    }

    /// The directory with everything in it.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir().join("switchd.toml")
    }

    /// The directory of certificates and keys.
    pub(crate) fn tls(&self) -> PathBuf {
        self.dir().join("tls")
    }

    /// Starts the daemon again at the same address, and waits until it is ready. The earlier one has ended.
    pub(crate) async fn start_again(&mut self) {
        self.spawn_again();
        self.daemon.ready().await;
    }

    /// Starts the daemon again at the same address.
    pub(crate) fn spawn_again(&mut self) {
        self.spawn_again_under(&[]);
    }

    /// The same, under a tracer.
    pub(crate) fn spawn_again_under(&mut self, tracer: &[String]) {
        if self.port == 0 {
            self.port = self.daemon.address().port();
        }
        let address = SocketAddr::from((self.ip, self.port));
        fs::write(self.config(), configuration(&self.options, address, &self.links)).expect("the directory is ours");
        self.daemon = Daemon::spawn_under(tracer, &self.config(), &self.dir().join("switchd.log"));
    }

    /// Other lines of `[listen]` when the daemon is started again.
    pub(crate) fn set_listen(&mut self, lines: &'static str) {
        self.options.listen = lines;
    }

    /// Where the links lead when the daemon is started again: an address, and whether it has TLS.
    pub(crate) fn lead_to(&mut self, links: Vec<(SocketAddr, bool)>) {
        self.links = links;
    }

    /// Kill -9, and start again.
    pub(crate) async fn crash(&mut self) {
        self.daemon.kill();
        self.start_again().await;
    }

    /// What a terminal of `counterparts` needs; its journal is below `journals`.
    pub(crate) fn terminal_args(&self, number: u16) -> TerminalArgs {
        let id = format!("{}/{}", line::name(number), line::MERCHANT).parse().expect("it is a terminal's name");
        let tls = line::identity(&self.tls(), &line::name(number)).client().expect("init made the certificate");
        TerminalArgs {
            route: Route {
                address: self.daemon.address(),
                tls: Some(("localhost".to_owned(), tls)),
                dialect: "iso87-ascii".to_owned(),
            },
            settings: TerminalSettings::new(id, Currency::new(*b"978")),
            journal: Some(self.dir().join(format!("{}.journal", line::name(number)))),
            response_timeout: Duration::from_secs(20),
        }
    }

    /// A terminal that behaves.
    pub(crate) fn terminal(&self, number: u16) -> TerminalClient {
        TerminalClient::open(self.terminal_args(number)).expect("its journal can be written")
    }

    /// A connection of a terminal, in the test's own hands.
    pub(crate) async fn line(&self, number: u16) -> Line {
        Line::open(self.daemon.address(), &self.tls(), &line::name(number)).await
    }

    /// The movement of a request; waits until the switch has it.
    pub(crate) async fn tx(&self, request: &Fields) -> Tx {
        let what = format!("the switch knows {} of {}", field(request, 11), field(request, 41));
        until(&what, async || self.find(request).await).await
    }

    /// Waits until the movement of a request is in this state.
    pub(crate) async fn reaches(&self, request: &Fields, state: &str) -> Tx {
        let what = format!("{} of {} is {state}", field(request, 11), field(request, 41));
        until(&what, async || self.find(request).await.filter(|tx| tx.state == state)).await
    }

    async fn find(&self, request: &Fields) -> Option<Tx> {
        let (stan, terminal) = (field(request, 11), field(request, 41));
        let class = request.mti().class();
        let found = |tx: &Tx| tx.stan == stan && tx.terminal == terminal && class_of(tx) == class;
        self.daemon.movements().await.into_iter().rfind(found)
    }

    /// Waits until the issuer has moved money `count` times in all, standing or not.
    pub(crate) async fn issuer_moved(&self, count: usize) -> Vec<MovementLine> {
        until(&format!("the issuer has {count} movements"), async || {
            Some(self.issuer.movements()).filter(|movements| movements.len() == count)
        })
        .await
    }

    /// The sum that stands at the issuer, in minor units.
    pub(crate) fn issuer_net(&self) -> i64 {
        self.issuer.movements().iter().map(|movement| movement.net).sum()
    }

    /// The issuer does this to every request (0100, 0200) from now on, and to nothing else.
    pub(crate) fn on_requests(&self, fault: Fault) {
        self.issuer.set_faults(vec![rule(MtiClass::Request, fault)]);
    }

    /// The issuer behaves from now on.
    pub(crate) fn no_faults(&self) {
        self.issuer.set_faults(Vec::new());
    }

    /// Waits until nothing is in doubt.
    pub(crate) async fn nothing_in_doubt(&self) {
        until("nothing is in doubt", async || {
            let doubt = self.daemon.doubt().await;
            (doubt.in_doubt == 0 && doubt.movements.is_empty()).then_some(())
        })
        .await;
    }

    /// Waits until nothing is in doubt, then compares the three ledgers: the issuer's, the switch's and the terminals'.
    /// The switch's is the output of `switchd tx --all --json`.
    pub(crate) async fn reconciled(&self, terminals: &[TerminalJournal]) -> Reconciliation {
        self.nothing_in_doubt().await;
        self.reconciled_with(&self.issuer.movements(), terminals).await
    }

    /// The same with the books of issuers that are processes. Nothing is in doubt by now.
    pub(crate) async fn reconciled_with(&self, books: &[MovementLine], terminals: &[TerminalJournal]) -> Reconciliation {
        let config = self.config();
        let config = config.to_str().expect("the path is text");
        let output = switchd(["tx", "--all", "--json", "--config", config]).await;
        assert!(output.status.success(), "switchd tx: {}", String::from_utf8_lossy(&output.stderr));
        let movements: Vec<Tx> = serde_json::from_slice(&output.stdout).expect("switchd tx --json prints JSON");
        let switch: Vec<_> = movements.iter().map(as_switch_movement).collect();
        let found = reconcile(books, &switch, terminals);
        assert!(found.agrees(), "the ledgers disagree\n{found}");
        assert!(found.needs_operator.is_empty(), "a person is needed for {:?}", found.needs_operator);
        assert!(found.unknown_to_terminal.is_empty(), "terminals do not know {:?}", found.unknown_to_terminal);
        found
    }
}

/// A rule for all messages of a class.
pub(crate) fn rule(class: MtiClass, fault: Fault) -> Rule {
    Rule::new(Match { mti_class: Some(class), ..Match::default() }, fault)
}

/// A rule for requests, acting at this rate.
pub(crate) fn rule_at(rate: f64, fault: Fault) -> Rule {
    Rule::new(Match { mti_class: Some(MtiClass::Request), rate: Some(rate), ..Match::default() }, fault)
}

/// [`PAN`] at a terminal.
pub(crate) fn card() -> Presented {
    Presented::new(PAN.parse().expect("it is a card number"))
}

pub(crate) fn as_switch_movement(tx: &Tx) -> SwitchMovement {
    SwitchMovement {
        rrn: tx.rrn.clone(),
        terminal: tx.terminal.clone(),
        merchant: tx.merchant.clone(),
        stan: tx.stan.clone(),
        class: class_of(tx),
        state: tx.state.clone(),
        amount: tx.amount,
        currency: tx.currency.clone(),
        net: tx.net,
    }
}

fn class_of(tx: &Tx) -> u8 {
    tx.class.as_bytes().get(1).map_or(0, |digit| digit - b'0')
}

/// A new directory with what `switchd init` makes.
pub(crate) async fn initialised(terminals: u16) -> TempDir {
    let dir = TempDir::with_prefix("switchd-e2e-").expect("a temporary directory");
    let path = dir.path().to_str().expect("the path is text");
    let output = switchd(["init", path, "--terminals", &terminals.to_string()]).await;
    assert!(output.status.success(), "switchd init: {}", String::from_utf8_lossy(&output.stderr));
    dir
}

/// The mock issuer in this process, with its two accounts.
pub(crate) async fn mock_issuer(dir: &Path) -> MockIssuer {
    let account = |pan: &str, balance| {
        let card: Card = pan.parse().expect("it is a card number");
        AccountSettings::new(card, balance)
    };
    let accounts = vec![account(PAN, BALANCE), account(POOR_PAN, POOR_BALANCE)];
    let args = MockIssuerArgs {
        tls: Some(line::identity(&dir.join("tls"), "mock-issuer")),
        settings: IssuerSettings { accounts, ..IssuerSettings::default() },
        ..MockIssuerArgs::default()
    };
    MockIssuer::start(args).await.expect("loopback has free ports")
}

/// An address of 127/8 that no other site of this process, and most likely none of another, uses.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id();
    let (high, low) = ((process >> 8) & 0x7f, process & 0xff);
    let byte = |number: u32| u8::try_from(number).expect("it was masked");
    Ipv4Addr::new(127, 1 + byte(high), byte(low), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The daemon's configuration, with every time short.
pub(crate) fn configuration(options: &Options, listen: SocketAddr, links: &[(SocketAddr, bool)]) -> String {
    let Options { crossing_margin, redeliver_grace, .. } = options;
    let Options { serial, reverses_first, reversal_retry, log, listen: more_listen, limits, group, more, .. } = options;
    let Options { partition, retention, index, metrics, .. } = options;
    let journal = options.journal.display();
    let mut text = format!(
        r#"
[partition]
number = 1
{partition}
[journal]
dir = "{journal}"
keys = "keys/journal.keys"
segment_size = "1MiB"
group_size_max = "256KiB"
{retention}
[index]
{index}
[listen]
address = "{listen}"
certificate = "tls/server.pem"
key = "tls/server.key"
client_ca = "tls/ca.pem"
registry = "terminals.toml"
addresses_file = "addresses.json"
{more_listen}
[metrics]
address = "127.0.0.1:0"
{metrics}
[admin]
socket = "admin.sock"
[log]
level = "{log}"
[limits]
drain_timeout = "20s"
{limits}
[[group]]
number = 1
name = "terminals of the test"
serial = {serial}
reverses_first = {reverses_first}
terminal_response_timeout = "20s"
crossing_margin = "{crossing_margin}ms"
redeliver_grace = "{redeliver_grace}ms"
{group}
[[issuer]]
number = 1
name = "issuer of the test"
reversal_retry = ["{reversal_retry}ms"]
[[route]]
prefix = ""
issuer = 1
"#
    );
    for (number, (address, tls)) in (1..).zip(links) {
        text.push_str(&link(options, (1, number), *address, *tls));
    }
    text.push_str(more);
    text
}

/// The section of a link: its issuer and number, where it leads, and whether it has TLS.
pub(crate) fn link(options: &Options, (issuer, number): (u16, u16), address: SocketAddr, tls: bool) -> String {
    let Options { response_timeout, original_horizon, connections, backoff_max, link, .. } = options;
    let identity = if tls {
        "server_name = \"localhost\"\nca = \"tls/ca.pem\"\ncertificate = \"tls/issuer-client.pem\"\n\
         key = \"tls/issuer-client.key\""
    } else {
        "tls = false"
    };
    format!(
        r#"
[[link]]
issuer = {issuer}
number = {number}
name = "line {number}"
address = "{address}"
connections = {connections}
response_timeout = "{response_timeout}ms"
original_horizon = "{original_horizon}ms"
tcp_user_timeout = "1s"
backoff_min = "20ms"
backoff_max = "{backoff_max}ms"
{link}
{identity}
"#
    )
}

/// The section of another issuer than the first, and the route of its cards.
pub(crate) fn issuer(options: &Options, number: u16, prefix: &str) -> String {
    let Options { reversal_retry, .. } = options;
    format!(
        r#"
[[issuer]]
number = {number}
name = "issuer {number}"
reversal_retry = ["{reversal_retry}ms"]
[[route]]
prefix = "{prefix}"
issuer = {number}
"#
    )
}
