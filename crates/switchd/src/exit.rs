//! The exit codes of the daemon, in one table, so that a service manager and a person can tell them apart.
//!
//! Not for errors within a run: those are answered, logged or counted. Invariant: each code stands for one cause.

use std::fmt;
use std::process::ExitCode;

/// Why the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked to do; for `serve`: a drain that ended by itself.
    Done,
    /// A command failed: the daemon was not there, the input was not a message, a file exists already.
    Failed,
    /// The command line is wrong.
    Usage,
    /// `switchd terminal`: the request was declined.
    Declined,
    /// `switchd terminal`: no usable answer.
    Unknown,
    /// The configuration, the registry, a certificate or a key file is wrong. Nothing was bound.
    Config,
    /// An address or the admin socket could not be bound.
    Bind,
    /// Another process serves this journal (K6).
    JournalLocked,
    /// The journal is damaged, has a gap, or is older than its high-water mark (K5).
    JournalDamaged,
    /// The journal's storage failed while it was opened, or at the clean stop.
    JournalStorage,
    /// A commit failed: nothing was sent after it, the restart recovers (M6).
    JournalPoisoned,
    /// A drain that its timeout or a second signal ended with work still open.
    DrainCut,
}

/// Every way to end, in the order of the codes.
pub(crate) const ALL: [Exit; 12] = [
    Exit::Done,
    Exit::Failed,
    Exit::Usage,
    Exit::Declined,
    Exit::Unknown,
    Exit::Config,
    Exit::Bind,
    Exit::JournalLocked,
    Exit::JournalDamaged,
    Exit::JournalStorage,
    Exit::JournalPoisoned,
    Exit::DrainCut,
];

impl Exit {
    /// The code, its name, and what to do about it.
    pub(crate) const fn row(self) -> (u8, &'static str, &'static str) {
        match self {
            Exit::Done => (0, "done", "nothing to do"),
            Exit::Failed => (1, "failed", "the message says why"),
            Exit::Usage => (2, "usage", "see --help"),
            Exit::Declined => (3, "declined", "the terminal's request was declined"),
            Exit::Unknown => (4, "no-answer", "the terminal got no usable answer; its reversal is owed"),
            Exit::Config => (10, "configuration", "correct every line that is named; nothing was bound"),
            Exit::Bind => (11, "bind", "an address is taken or not allowed"),
            Exit::JournalLocked => (20, "journal-locked", "another process serves this journal; do not start a second"),
            Exit::JournalDamaged => (21, "journal-damaged", "do not delete anything; the message names file and offset"),
            Exit::JournalStorage => (22, "journal-storage", "look at the disk, then start again"),
            Exit::JournalPoisoned => {
                (23, "journal-poisoned", "a commit failed; look at the disk, then start again: it recovers")
            }
            Exit::DrainCut => (30, "drain-cut", "stopped with work open; the next start takes it up"),
        }
    }

    /// The process exit code.
    pub(crate) const fn code(self) -> u8 {
        self.row().0
    }

    /// The name in logs.
    pub(crate) const fn name(self) -> &'static str {
        self.row().1
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (exit code {})", self.name(), self.code())
    }
}

/// The table as `switchd help` shows it.
pub(crate) fn table() -> String {
    let mut text = String::from("Exit codes:\n");
    for exit in ALL {
        let (code, name, advice) = exit.row();
        text.push_str(&format!("  {code:>3}  {name:<17} {advice}\n"));
    }
    text.push_str("  134  abort             a broken invariant or a bug; the log's last line says which\n");
    text
}

/// An error together with the code that the process ends with.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code.
    pub(crate) exit: Exit,
    /// For a person.
    pub(crate) error: anyhow::Error,
}

impl Failure {
    /// Puts a code to an error.
    pub(crate) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Failure { exit, error: error.into() }
    }
}

/// An error without a code of its own.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure { exit: Exit::Failed, error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_and_name_stands_for_one_cause() {
        for (place, exit) in ALL.iter().enumerate() {
            for other in &ALL[place + 1..] {
                assert!(exit.code() < other.code(), "{exit} and {other} are out of order");
                assert_ne!(exit.name(), other.name());
            }
            assert!(table().contains(exit.name()));
        }
    }

    #[test]
    fn codes_that_scripts_rely_on() {
        let codes: Vec<u8> = ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 10, 11, 20, 21, 22, 23, 30]);
    }
}
