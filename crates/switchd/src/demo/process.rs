//! A child process that this program started: its log, and its end.
//!
//! Invariant: it ends by its own id, at the latest when its value is dropped; nobody else is ever signalled.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// One child process.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
}

impl Process {
    /// Starts it with its output at the end of the file `log`. In a process group of its own, so that Ctrl-C reaches
    /// only this program, which then ends it in order.
    pub(crate) fn start(name: &'static str, program: &Path, args: &[&str], log: PathBuf) -> Result<Self> {
        let open = || OpenOptions::new().create(true).append(true).open(&log);
        let file = open().with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self { name, child })
    }

    /// Its process id, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// An error if it has ended by itself.
    pub(crate) fn runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself: {status}", self.name),
        }
    }

    /// SIGKILL: it does not get to do anything more.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// SIGTERM, and waits for its end; after `within` SIGKILL and an error.
    pub(crate) async fn stop(mut self, within: Duration) -> Result<ExitStatus> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            kill_process(id, Signal::TERM).with_context(|| format!("cannot stop {}", self.name))?;
        }
        match timeout(within, self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(_) => {
                let name = self.name;
                self.kill().await?;
                bail!("{name} did not stop within {within:?}");
            }
        }
    }
}

/// The last lines of a log.
pub(crate) fn last_lines(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
