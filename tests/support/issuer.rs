//! A mock issuer as a process of its own, as `switchd mock-issuer` starts it: it can be stopped, killed and started again.
//!
//! Everything else goes over its HTTP control. Invariant: it ends with its value, by its own process id; what it had in its
//! books ends with it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use counterparts::faults::Rule;
use counterparts::issuer::{MovementLine, Report};
use counterparts::net::http;
use counterparts::scenario::Scenario;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::daemon::{SWITCHD, append};
use super::wait::until;

#[derive(Debug, Clone, Copy, Deserialize)]
struct Addresses {
    issuer: SocketAddr,
    control: SocketAddr,
}

/// A running mock issuer. Every card has an account with money.
pub(crate) struct IssuerProcess {
    child: Child,
    addresses: Addresses,
    dir: PathBuf,
    name: &'static str,
    more: &'static [&'static str],
}

impl IssuerProcess {
    /// Starts it with the certificate of a directory made by `switchd init`, under a name that no other one there has, and
    /// with more arguments.
    pub(crate) async fn start(dir: &Path, name: &'static str, more: &'static [&'static str]) -> Self {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(dir, name, more, anywhere).await
    }

    async fn start_at(dir: &Path, name: &'static str, more: &'static [&'static str], address: SocketAddr) -> Self {
        let file = dir.join(format!("{name}.json"));
        // What an earlier process wrote must not be taken for this one's.
        let _ = fs::remove_file(&file);
        let log = append(&dir.join(format!("{name}.log")));
        let mut child = Command::new(SWITCHD)
            .args(["mock-issuer", "--control-address", "127.0.0.1:0", "--default-balance", "1000000000", "--address"])
            .arg(address.to_string())
            .arg("--dir")
            .arg(dir)
            .arg("--addresses-file")
            .arg(&file)
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("an open file can be cloned"))
            .stderr(log)
            .spawn()
            .expect("the mock issuer starts");
        let addresses = until("the mock issuer says where it listens", async || {
            let ended = child.try_wait().expect("the mock issuer is ours");
            assert!(ended.is_none(), "the mock issuer {name} has ended");
            let text = fs::read_to_string(&file).ok()?;
            Some(serde_json::from_str(&text).expect("the addresses file is JSON"))
        })
        .await;
        IssuerProcess { child, addresses, dir: dir.to_owned(), name, more }
    }

    /// Where links connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses.issuer
    }

    /// A new one at the address of one that has died, with empty books.
    pub(crate) async fn restart(&mut self) {
        self.child.wait().expect("the mock issuer is ours");
        *self = Self::start_at(&self.dir, self.name, self.more, self.addresses.issuer).await;
    }

    /// SIGKILL.
    pub(crate) fn die(&self) {
        self.signal(Signal::KILL);
    }

    /// SIGSTOP: its kernel still takes connections and bytes, and nobody reads them.
    pub(crate) fn hang(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id fits");
        kill_process(Pid::from_raw(id).expect("a process id is above 0"), signal).expect("the mock issuer is ours");
    }

    /// Puts these rules in force.
    pub(crate) async fn set_faults(&self, rules: &[Rule]) {
        let put = http::put::<Vec<Rule>>(self.addresses.control, "/faults", &rules).await;
        assert_eq!(put.expect("the rules are taken").len(), rules.len());
    }

    /// Puts these rules and settings in force.
    pub(crate) async fn set_scenario(&self, scenario: &Scenario) {
        let put = http::put::<Scenario>(self.addresses.control, "/scenario", scenario).await;
        assert_eq!(put.expect("the scenario is taken").name, scenario.name);
    }

    /// The rules in force, with how often each has acted.
    pub(crate) async fn faults(&self) -> Vec<Rule> {
        self.get("/faults").await
    }

    /// Every request that moved money.
    pub(crate) async fn movements(&self) -> Vec<MovementLine> {
        self.get("/movements").await
    }

    /// Books and counts.
    pub(crate) async fn report(&self) -> Report {
        self.get("/ledger").await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        http::get(self.addresses.control, path).await.unwrap_or_else(|error| panic!("{}: {path}: {error}", self.name))
    }
}

impl Drop for IssuerProcess {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
