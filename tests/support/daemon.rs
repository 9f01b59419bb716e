//! The daemon as a process: started, asked, stopped, killed, each by its own process id.
//!
//! Invariant: a daemon does not outlive its test, and a test that fails shows the end of its log.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::wait::{until, within};

/// The executable under test.
pub(crate) const SWITCHD: &str = env!("CARGO_BIN_EXE_switchd");

/// How many lines of its log a failed test shows.
const LOG_LINES_SHOWN: usize = 60;

/// A movement as `switchd tx --json` shows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Tx {
    pub(crate) rrn: String,
    pub(crate) terminal: String,
    pub(crate) merchant: String,
    pub(crate) stan: String,
    pub(crate) class: String,
    pub(crate) state: String,
    pub(crate) in_doubt: bool,
    pub(crate) amount: u64,
    pub(crate) currency: String,
    pub(crate) net: i64,
    pub(crate) cause: Option<String>,
    pub(crate) evidence: String,
    pub(crate) link: String,
    pub(crate) code: Option<String>,
    pub(crate) approval: Option<String>,
}

/// An entry for a person as `switchd doubt --json` shows it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Exception {
    pub(crate) entry: String,
    pub(crate) rule: String,
    pub(crate) terminal: String,
    pub(crate) merchant: String,
    pub(crate) stan: String,
    pub(crate) later_rrn: Option<String>,
    pub(crate) rrn: Option<String>,
    pub(crate) movement_stan: Option<String>,
    pub(crate) amount: Option<u64>,
    pub(crate) currency: Option<String>,
    pub(crate) at_ms: u64,
}

/// What `switchd doubt --json` shows.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Doubt {
    pub(crate) in_doubt: usize,
    pub(crate) movements: Vec<Tx>,
    pub(crate) exceptions: Vec<Exception>,
}

#[derive(Debug, Clone, Deserialize)]
struct Addresses {
    terminals: SocketAddr,
    metrics: SocketAddr,
    admin: PathBuf,
}

/// A running daemon, or one that has ended and not been forgotten.
pub(crate) struct Daemon {
    child: Child,
    addresses_file: PathBuf,
    log: PathBuf,
    /// What others wrote there before.
    log_begins: u64,
    addresses: Option<Addresses>,
}

impl Daemon {
    /// Starts `switchd serve` with this configuration, which names `addresses.json` beside it as its addresses file.
    /// Standard error is appended to `log`, standard output too.
    pub(crate) fn spawn(config: &Path, log: &Path) -> Self {
        Self::spawn_under::<&str>(&[], config, log)
    }

    /// The same, started by a tracer: its command line, to which the daemon's is added. The tracer leaves the daemon the
    /// child of this process.
    pub(crate) fn spawn_under<S: AsRef<OsStr>>(tracer: &[S], config: &Path, log: &Path) -> Self {
        let addresses_file = config.with_file_name("addresses.json");
        // What an earlier process wrote must not be taken for this one's.
        let _ = fs::remove_file(&addresses_file);
        let out = append(log);
        let log_begins = out.metadata().expect("an open file has a length").len();
        let err = out.try_clone().expect("an open file can be cloned");
        let daemon = [SWITCHD, "serve", "--config"].map(OsStr::new);
        let mut line = tracer.iter().map(AsRef::as_ref).chain(daemon);
        let child = Command::new(line.next().expect("the daemon at least"))
            .args(line)
            .arg(config)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .expect("the daemon starts");
        Daemon { child, addresses_file, log: log.to_owned(), log_begins, addresses: None }
    }

    /// Waits until it listens and says that it is ready: every issuer has a link.
    pub(crate) async fn ready(&mut self) {
        self.listening().await;
        until("the daemon is ready", async || {
            self.assert_runs();
            self.is_ready().await.then_some(())
        })
        .await;
    }

    /// Waits until it listens.
    pub(crate) async fn listening(&mut self) {
        let file = self.addresses_file.clone();
        let addresses = until("the daemon says where it listens", async || {
            self.assert_runs();
            let text = fs::read_to_string(&file).ok()?;
            Some(serde_json::from_str(&text).expect("the addresses file is JSON"))
        })
        .await;
        self.addresses = Some(addresses);
    }

    /// What `/readyz` says now.
    pub(crate) async fn is_ready(&self) -> bool {
        counterparts::net::http::get_text(self.addresses().metrics, "/readyz").await.is_ok()
    }

    /// Everything that `/metrics` shows.
    pub(crate) async fn metrics(&self) -> String {
        let text = counterparts::net::http::get_text(self.addresses().metrics, "/metrics").await;
        text.expect("the daemon serves its metrics")
    }

    /// The sum of a metric over all its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.metrics().await;
        let of_name = |line: &&str| line.split(['{', ' ']).next() == Some(name);
        text.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until a metric, summed up over its labels, has reached a value.
    pub(crate) async fn counts(&self, name: &str, value: f64) {
        until(&format!("{name} is {value}"), async || (self.metric(name).await >= value).then_some(())).await;
    }

    /// Where terminals connect.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses().terminals
    }

    /// Every movement, asked for on the admin socket as `switchd tx --all --json` does, without a process for each look.
    pub(crate) async fn movements(&self) -> Vec<Tx> {
        self.admin("/tx").await
    }

    /// What is in doubt.
    pub(crate) async fn doubt(&self) -> Doubt {
        self.admin("/doubt").await
    }

    async fn admin<T: DeserializeOwned>(&self, path: &str) -> T {
        let body = self.admin_text(path).await;
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error} in {body}"))
    }

    /// The body of a page of the admin socket.
    pub(crate) async fn admin_text(&self, path: &str) -> String {
        let mut answer = String::new();
        within("an answer on the admin socket", async {
            let mut stream = UnixStream::connect(&self.addresses().admin).await?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: switchd\r\n\r\n").as_bytes()).await?;
            stream.read_to_string(&mut answer).await
        })
        .await
        .expect("the daemon answers on its admin socket");
        let (head, body) = answer.split_once("\r\n\r\n").expect("the answer is HTTP");
        assert!(head.contains(" 200 "), "{path}: {head}");
        body.to_owned()
    }

    /// SIGSTOP, and waits until none of its threads runs.
    pub(crate) async fn freeze(&self) {
        self.signal(Signal::STOP);
        let threads = PathBuf::from(format!("/proc/{}/task", self.child.id()));
        until("every thread of the daemon has stopped", async || {
            let mut threads = fs::read_dir(&threads).expect("the daemon is ours");
            // `pid (name) state …`; the names of its threads have no parenthesis.
            let is_stopped = |stat: &str| stat.split(") ").nth(1).is_some_and(|rest| rest.starts_with(['T', 't']));
            threads
                .all(|thread| {
                    let stat = thread.and_then(|thread| fs::read_to_string(thread.path().join("stat")));
                    // A thread that has just ended runs no more.
                    stat.is_ok_and(|stat| is_stopped(&stat))
                })
                .then_some(())
        })
        .await;
    }

    /// SIGCONT.
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the daemon is ours");
        let status = self.child.wait().expect("the daemon is ours");
        assert_eq!(status.signal(), Some(9), "it must not have ended by itself: {status}");
    }

    /// SIGKILL after so long, by a thread of its own, whatever the test and its runtime are doing then. To be joined before
    /// [`Daemon::kill`], so that the process id is still this one's.
    pub(crate) fn kill_after(&self, time: Duration) -> JoinHandle<()> {
        let pid = self.pid();
        std::thread::spawn(move || {
            std::thread::sleep(time);
            kill_process(pid, Signal::KILL).expect("the daemon is ours");
        })
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Any signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the daemon is ours");
    }

    /// Memory that it holds, bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the daemon is ours");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says what it holds");
        let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("it is a number of KiB");
        kib * 1024
    }

    /// What the kernel allows it of this: the soft limit, the hard one and the unit, as /proc shows them.
    pub(crate) fn limit(&self, name: &str) -> String {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.child.id())).expect("the daemon is ours");
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel has this limit");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Where it serves metrics.
    pub(crate) fn metrics_address(&self) -> SocketAddr {
        self.addresses().metrics
    }

    /// How many files and sockets it has open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the daemon is ours").count()
    }

    /// How many sockets it has open: those that listen, those of its links, and what connects to it.
    pub(crate) fn sockets(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("the daemon is ours");
        let is_socket = |file: PathBuf| fs::read_link(file).is_ok_and(|of| of.to_string_lossy().starts_with("socket:"));
        open.filter(|file| file.as_ref().is_ok_and(|file| is_socket(file.path()))).count()
    }

    /// One series of a metric: its labels as they are written, in the order in which they are.
    pub(crate) async fn series(&self, name: &str, labels: &str) -> f64 {
        let begin = format!("{name}{{{labels}}} ");
        let text = self.metrics().await;
        text.lines().find_map(|line| line.strip_prefix(&begin)?.parse().ok()).unwrap_or(0.0)
    }

    /// Waits until one series has reached a value.
    pub(crate) async fn series_counts(&self, name: &str, labels: &str, value: f64) {
        let what = format!("{name}{{{labels}}} is {value}");
        until(&what, async || (self.series(name, labels).await >= value).then_some(())).await;
    }

    fn pid(&self) -> Pid {
        let id = i32::try_from(self.child.id()).expect("a process id fits");
        Pid::from_raw(id).expect("a process id is above 0")
    }

    /// Waits until it ends by itself.
    pub(crate) async fn exited(&mut self) -> ExitStatus {
        until("the daemon has ended", async || self.child.try_wait().expect("the daemon is ours")).await
    }

    /// SIGTERM, and a drain that ends well.
    pub(crate) async fn stop(&mut self) {
        self.terminate();
        assert_eq!(self.exited().await.code(), Some(0), "a drain that ended by itself");
    }

    /// Everything that it and its predecessors logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Everything that it logged itself.
    pub(crate) fn log_since_start(&self) -> String {
        let mut log = String::new();
        let read = File::open(&self.log).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.log_begins))?;
            file.read_to_string(&mut log)
        });
        read.expect("the log can be read");
        log
    }

    fn addresses(&self) -> &Addresses {
        self.addresses.as_ref().expect("the daemon was waited for")
    }

    fn assert_runs(&mut self) {
        if let Some(status) = self.child.try_wait().expect("the daemon is ours") {
            panic!("the daemon has ended: {status}");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let shown = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("--- end of {}\n{}\n---", self.log.display(), shown.join("\n"));
        }
    }
}

/// A file that is written at its end.
pub(super) fn append(file: &Path) -> File {
    OpenOptions::new().create(true).append(true).open(file).expect("the log can be written")
}

/// Runs `switchd` with these arguments to its end.
pub(crate) async fn switchd<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Output {
    let mut command = tokio::process::Command::new(SWITCHD);
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    within("a command to end", command.output()).await.expect("the command starts")
}
