//! A daemon and a mock issuer as real processes, in a directory of their own, on free ports of loopback.
//!
//! Knows the command line and the addresses that it leads to, and nothing of the daemon's inside, so that the load test
//! uses this file too. Invariant: both processes are started from one executable and end with the [`Stage`].

use std::cell::{Cell, RefCell};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use counterparts::faults::{Fault, Rule};
use counterparts::issuer::{MovementLine, Report};
use counterparts::net::http;
use counterparts::net::terminal::{Route, TerminalArgs, load_journal};
use counterparts::net::tls::Identity;
use counterparts::reconcile::{SwitchMovement, TerminalJournal};
use counterparts::terminal::Settings as Terminal;
use iso8583::{Currency, TerminalId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::process::Command;
use tokio::time::sleep;

use super::process::{Process, last_lines};

/// DE42 of every terminal that `init` makes a certificate for.
const MERCHANT: &str = "MERCHANT0000001";
/// DE49: US dollar, as `switchd terminal` has it.
const CURRENCY: &str = "840";

/// How long a process may take to say where it listens, and the daemon to be ready.
const START_WITHIN: Duration = Duration::from_secs(15);
/// How long a process may take to stop after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What to set up.
pub(crate) struct Plan<'a> {
    /// How many terminals get a certificate.
    pub(crate) terminals: u16,
    /// Terminals that are in another group than 1, with its number.
    pub(crate) groups: &'a [(u16, u8)],
    /// Lines of the configuration that `init` writes, each with what stands there instead.
    pub(crate) configuration: &'a [(&'static str, String)],
    /// More arguments of the mock issuer: its accounts.
    pub(crate) issuer: &'a [&'a str],
    /// How long a terminal waits for an answer.
    pub(crate) terminal_waits: Duration,
}

/// Where the daemon listens, as it says itself.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct Addresses {
    /// Terminals.
    pub(crate) terminals: SocketAddr,
    /// `/metrics`, `/healthz`, `/readyz`.
    pub(crate) metrics: SocketAddr,
}

/// Where the mock issuer listens, as it says itself.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(crate) struct IssuerAddresses {
    /// Links.
    pub(crate) issuer: SocketAddr,
    /// HTTP control.
    pub(crate) control: SocketAddr,
}

/// A movement as `switchd tx --all --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Tx {
    /// DE37.
    pub(crate) rrn: String,
    /// DE41.
    pub(crate) terminal: String,
    /// DE42.
    pub(crate) merchant: String,
    /// DE11 on the terminal's leg.
    pub(crate) stan: String,
    /// The request's MTI.
    pub(crate) class: String,
    /// What it waits for, or how it ended.
    pub(crate) state: String,
    /// DE4 in minor units.
    pub(crate) amount: u64,
    /// DE49.
    pub(crate) currency: String,
    /// What stands, in minor units.
    pub(crate) net: i64,
    /// The rule that unwound it, or how it was confirmed.
    pub(crate) cause: Option<String>,
    /// What is known of the answer's way to the terminal.
    pub(crate) evidence: String,
    /// DE39 of the issuer's answer.
    pub(crate) code: Option<String>,
}

impl Tx {
    /// For the comparison of the three ledgers.
    pub(crate) fn movement(&self) -> SwitchMovement {
        let class = self.class.as_bytes().get(1).map_or(0, |digit| digit.wrapping_sub(b'0'));
        SwitchMovement {
            rrn: self.rrn.clone(),
            terminal: self.terminal.clone(),
            merchant: self.merchant.clone(),
            stan: self.stan.clone(),
            class,
            state: self.state.clone(),
            amount: self.amount,
            currency: self.currency.clone(),
            net: self.net,
        }
    }
}

/// What `switchd doubt --json` says.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Doubt {
    /// Movements in doubt.
    pub(crate) in_doubt: usize,
    /// Those movements.
    pub(crate) movements: Vec<Tx>,
    /// Entries for a person.
    pub(crate) exceptions: Vec<Exception>,
}

/// An entry for a person.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Exception {
    /// The rule that made it.
    pub(crate) rule: String,
    /// DE41.
    pub(crate) terminal: String,
    /// DE11.
    pub(crate) stan: String,
    /// DE37 of the movement that it names, where there is one in memory.
    pub(crate) rrn: Option<String>,
}

/// The two processes and where they are.
pub(crate) struct Stage {
    program: PathBuf,
    dir: PathBuf,
    terminal_waits: Duration,
    daemon: RefCell<Option<Process>>,
    addresses: Cell<Option<Addresses>>,
    issuer: RefCell<Process>,
    issuer_addresses: IssuerAddresses,
}

impl Stage {
    /// Makes keys, certificates and configuration in `dir`, which is empty; starts both processes and waits until the
    /// daemon is ready.
    pub(crate) async fn set_up(program: &Path, dir: &Path, plan: Plan<'_>) -> Result<Self> {
        let terminals = plan.terminals.to_string();
        let state = dir.display().to_string();
        let free = "127.0.0.1:0";
        output(program, &["init", &state, "--terminals", &terminals, "--listen", free, "--metrics", free]).await?;
        let (issuer, issuer_addresses) = start_issuer(program, dir, plan.issuer).await?;
        let link = ("address = \"127.0.0.1:8590\"", format!("address = \"{}\"", issuer_addresses.issuer));
        configure(&dir.join("switchd.toml"), [link].iter().chain(plan.configuration))?;
        assign(&dir.join("terminals.toml"), plan.groups)?;
        fs::create_dir(dir.join("terminals"))?;
        let stage = Self {
            program: program.to_owned(),
            dir: dir.to_owned(),
            terminal_waits: plan.terminal_waits,
            daemon: RefCell::new(None),
            addresses: Cell::new(None),
            issuer: RefCell::new(issuer),
            issuer_addresses,
        };
        stage.start_daemon().await?;
        Ok(stage)
    }

    /// The directory that everything is in.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The daemon's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.join("switchd.toml")
    }

    /// Where the daemon listens.
    pub(crate) fn addresses(&self) -> Result<Addresses> {
        self.addresses.get().context("the daemon does not run")
    }

    /// Where the mock issuer listens.
    pub(crate) fn issuer_addresses(&self) -> IssuerAddresses {
        self.issuer_addresses
    }

    /// An error if one of the processes has ended by itself.
    pub(crate) fn run(&self) -> Result<()> {
        self.daemon.borrow_mut().as_mut().map_or(Ok(()), Process::runs)?;
        self.issuer.borrow_mut().runs()
    }

    /// The process ids of the daemon and of the mock issuer.
    pub(crate) fn ids(&self) -> Result<(u32, u32)> {
        let daemon = self.daemon.borrow().as_ref().and_then(Process::id).context("the daemon does not run")?;
        let issuer = self.issuer.borrow().id().context("the mock issuer does not run")?;
        Ok((daemon, issuer))
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) async fn start_daemon(&self) -> Result<()> {
        let said = self.dir.join("addresses.json");
        remove(&said)?;
        let config = self.config().display().to_string();
        let [log, _] = logs(&self.dir);
        let mut daemon = Process::start("the daemon", &self.program, &["serve", "--config", &config], log.clone())?;
        let started = Instant::now();
        loop {
            if let Some(addresses) = read_addresses::<Addresses>(&said)?
                && http::get_text(addresses.metrics, "/readyz").await.is_ok()
            {
                self.addresses.set(Some(addresses));
                self.daemon.replace(Some(daemon));
                return Ok(());
            }
            daemon.runs().with_context(|| last_lines(&log, 10))?;
            ensure!(started.elapsed() < START_WITHIN, "the daemon is not ready:\n{}", last_lines(&log, 10));
            sleep(LOOK_AGAIN).await;
        }
    }

    /// `kill -9` of the daemon.
    pub(crate) async fn kill_daemon(&self) -> Result<()> {
        self.addresses.set(None);
        let daemon = self.daemon.take();
        daemon.context("the daemon does not run")?.kill().await
    }

    /// Stops both: the daemon must have drained.
    pub(crate) async fn stop(self) -> Result<()> {
        let daemon = self.daemon.take().context("the daemon did not run at the end")?;
        let drained = daemon.stop(STOP_WITHIN).await;
        let stopped = self.issuer.into_inner().stop(STOP_WITHIN).await;
        let status = drained?;
        ensure!(status.success(), "the daemon did not drain: {status}");
        stopped.map(drop)
    }

    /// Terminal `number` with its own certificate and its journal in a file.
    pub(crate) fn terminal(&self, number: u16) -> Result<TerminalArgs> {
        let name = terminal_name(number);
        let tls = |file: String| self.dir.join("tls").join(file);
        let identity = Identity {
            certificate: tls(format!("{name}.pem")),
            key: tls(format!("{name}.key")),
            authority: tls("ca.pem".to_owned()),
        };
        Ok(TerminalArgs {
            route: Route {
                address: self.addresses()?.terminals,
                tls: Some(("localhost".to_owned(), identity.client()?)),
                dialect: "iso87-ascii".to_owned(),
            },
            settings: Terminal::new(TerminalId::new(name.as_bytes(), MERCHANT.as_bytes())?, CURRENCY.parse::<Currency>()?),
            journal: Some(self.dir.join("terminals").join(format!("{name}.jsonl"))),
            response_timeout: self.terminal_waits,
        })
    }

    /// Every movement that the switch has.
    pub(crate) async fn transactions(&self) -> Result<Vec<Tx>> {
        self.ask(&["tx", "--all"]).await
    }

    /// What the switch has in doubt.
    pub(crate) async fn doubt(&self) -> Result<Doubt> {
        self.ask(&["doubt"]).await
    }

    /// An operator's decision on record: `switchd resolve`. The movement after it.
    pub(crate) async fn resolve(&self, rrn: &str, decision: &str, why: &str) -> Result<Tx> {
        self.ask(&["resolve", rrn, "--as", decision, "--who", "the demo's operator", "--why", why]).await
    }

    async fn ask<T: DeserializeOwned>(&self, command: &[&str]) -> Result<T> {
        let config = self.config().display().to_string();
        let args = [command, &["--json", "--config", &config]].concat();
        let answer = output(&self.program, &args).await?;
        serde_json::from_str(&answer).with_context(|| format!("what switchd {} says", command.join(" ")))
    }

    /// The journals of terminals 1 to `terminals`, read from their files.
    pub(crate) fn journals(&self, terminals: u16) -> Result<Vec<TerminalJournal>> {
        let journal = |number| {
            let args = self.terminal(number)?;
            let file = args.journal.context("a terminal of the stage has a journal")?;
            Ok(load_journal(&args.settings, &file)?)
        };
        (1..=terminals).map(journal).collect()
    }

    /// Every movement of the issuer's ledger.
    pub(crate) async fn movements(&self) -> Result<Vec<MovementLine>> {
        Ok(http::get(self.issuer_addresses.control, "/movements").await?)
    }

    /// The issuer's books.
    pub(crate) async fn ledger(&self) -> Result<Report> {
        Ok(http::get(self.issuer_addresses.control, "/ledger?entries=0").await?)
    }

    /// Puts the issuer's faults in force.
    pub(crate) async fn set_faults(&self, rules: &[Rule]) -> Result<()> {
        let control = self.issuer_addresses.control;
        let _: Vec<Rule> = http::put(control, "/faults", &rules).await?;
        Ok(())
    }

    /// How often the issuer's rules of this fault have acted.
    pub(crate) async fn acted(&self, fault: &Fault) -> Result<u64> {
        let rules: Vec<Rule> = http::get(self.issuer_addresses.control, "/faults").await?;
        Ok(rules.iter().filter(|rule| rule.fault == *fault).map(|rule| rule.acted).sum())
    }

    /// The sum of a metric of the daemon over all its labels; 0 when there is none yet.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let text = http::get_text(self.addresses()?.metrics, "/metrics").await?;
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
        Ok(text.lines().filter(of_name).filter_map(value).sum())
    }
}

/// DE41 and common name of terminal `number`.
pub(crate) fn terminal_name(number: u16) -> String {
    format!("TERM{number:04}")
}

/// The logs of both processes in a directory.
pub(crate) fn logs(dir: &Path) -> [PathBuf; 2] {
    ["serve.log", "mock-issuer.log"].map(|name| dir.join(name))
}

/// Starts the mock issuer on free ports and reads from its file where it listens.
async fn start_issuer(program: &Path, dir: &Path, more: &[&str]) -> Result<(Process, IssuerAddresses)> {
    let said = dir.join("mock-issuer.json");
    let (state, free, file) = (dir.display().to_string(), "127.0.0.1:0", said.display().to_string());
    let args = ["mock-issuer", "--dir", &state, "--address", free, "--control-address", free, "--addresses-file", &file];
    let [_, log] = logs(dir);
    let mut issuer = Process::start("the mock issuer", program, &[&args, more].concat(), log.clone())?;
    let started = Instant::now();
    loop {
        if let Some(addresses) = read_addresses(&said)? {
            return Ok((issuer, addresses));
        }
        issuer.runs().with_context(|| last_lines(&log, 10))?;
        ensure!(started.elapsed() < START_WITHIN, "the mock issuer does not listen:\n{}", last_lines(&log, 10));
        sleep(LOOK_AGAIN).await;
    }
}

/// What a process says about its addresses; `None` before it has said so.
fn read_addresses<T: DeserializeOwned>(file: &Path) -> Result<Option<T>> {
    match fs::read_to_string(file) {
        Ok(text) => serde_json::from_str(&text).map(Some).with_context(|| file.display().to_string()),
        Err(reason) if reason.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(reason).with_context(|| file.display().to_string()),
    }
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(reason) if reason.kind() != std::io::ErrorKind::NotFound => {
            Err(reason).with_context(|| file.display().to_string())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Puts lines in place of others; each must be there, once.
fn configure<'a>(file: &Path, changes: impl Iterator<Item = &'a (&'static str, String)>) -> Result<()> {
    let mut text = fs::read_to_string(file)?;
    for (line, instead) in changes {
        let found = text.lines().filter(|found| found == line).count();
        ensure!(found == 1, "the configuration has the line {line:?} {found} times");
        let lines = text.lines().map(|found| if found == *line { instead } else { found });
        text = lines.collect::<Vec<_>>().join("\n") + "\n";
    }
    fs::write(file, text).with_context(|| file.display().to_string())
}

/// Puts terminals into groups; each must be in the registry, once.
fn assign(file: &Path, groups: &[(u16, u8)]) -> Result<()> {
    let mut text = fs::read_to_string(file)?;
    for (number, group) in groups {
        let entry = format!("allow = \"{}/{MERCHANT}\"\ngroup = ", terminal_name(*number));
        let found = text.matches(&entry).count();
        ensure!(found == 1, "the registry has the terminal {number} {found} times");
        text = text.replace(&format!("{entry}1\n"), &format!("{entry}{group}\n"));
    }
    fs::write(file, text).with_context(|| file.display().to_string())
}

/// Runs a command of the executable to its end; what it printed.
async fn output(program: &Path, args: &[&str]) -> Result<String> {
    let command = Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = command.await.with_context(|| format!("cannot run {}", program.display()))?;
    if !output.status.success() {
        bail!("switchd {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
