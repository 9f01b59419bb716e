//! What a terminal believes of each of its money requests: the lines of its journal.
//!
//! One JSON object a line, one line a change; of several lines with the same STAN, class and DE7
//! the last holds. Invariant: a line holds no card number beyond first six and last four, and what
//! a reversal needs is in it, so that a restarted terminal can still clear what it owes.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// How a request ended, as far as the terminal knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Belief {
    /// It was told that money moved.
    Approved,
    /// It was told that nothing moved.
    Failed,
    /// Its reversal was acknowledged.
    Reversed,
    /// It does not know.
    Unknown,
}

impl fmt::Display for Belief {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Approved => "approved",
            Self::Failed => "failed",
            Self::Reversed => "reversed",
            Self::Unknown => "unknown",
        })
    }
}

/// One line of a terminal's journal: a money request and what the terminal believes of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct BeliefLine {
    /// Milliseconds since 1970 (UTC) of this change.
    pub at: u64,
    /// DE11 of the request, 6 digits.
    pub stan: String,
    /// Second digit of its MTI: 1 authorisation, 2 financial.
    pub class: u8,
    /// DE4 in minor units.
    pub amount: u64,
    /// DE49.
    pub currency: String,
    /// DE37 of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rrn: Option<String>,
    /// DE39 of the newest answer to it or to its reversal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// How it ended.
    pub belief: Belief,
    /// What stands by that belief, in minor units.
    pub stands: u64,
    /// DE38 of its answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// First six and last four digits.
    pub card: String,
    /// DE3.
    pub processing: String,
    /// DE7 of the request.
    pub de7: String,
    /// DE12 of the request.
    pub de12: String,
    /// DE13 of the request.
    pub de13: String,
    /// Its reversal, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reversal: Option<ReversalLine>,
    /// The next STAN of the terminal's counter when this line was written.
    pub next_stan: u32,
}

/// The reversal of a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReversalLine {
    /// DE11 of the reversal, 6 digits.
    pub stan: String,
    /// DE7 of the reversal.
    pub de7: String,
    /// DE12 of the reversal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub de12: Option<String>,
    /// DE13 of the reversal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub de13: Option<String>,
    /// What remains of the amount after it, in minor units; 0 for a full reversal.
    pub remains: u64,
    /// How often it was sent.
    pub sends: u32,
    /// True until it was acknowledged or refused.
    pub open: bool,
}

impl BeliefLine {
    /// What stands by this belief, in minor units.
    #[must_use]
    pub fn net(&self) -> i64 {
        i64::try_from(self.stands).unwrap_or(i64::MAX)
    }

    fn key(&self) -> (String, u8, String) {
        (self.stan.clone(), self.class, self.de7.clone())
    }
}

/// The newest line of each key, in the order in which the keys first appeared.
#[must_use]
pub fn newest(lines: impl IntoIterator<Item = BeliefLine>) -> Vec<BeliefLine> {
    let mut beliefs: Vec<BeliefLine> = Vec::new();
    let mut by_key = HashMap::new();
    for line in lines {
        match by_key.get(&line.key()) {
            Some(at) => beliefs[*at] = line,
            None => {
                by_key.insert(line.key(), beliefs.len());
                beliefs.push(line);
            }
        }
    }
    beliefs
}

/// A line of a journal file that is not one. Names the line, never its content.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the terminal's journal: {reason}")]
pub struct BadLine {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: serde_json::Error,
}

/// Reads a journal: one JSON object a line, empty lines skipped. A last line without its newline
/// was being written when the terminal died; it is not part of the journal.
///
/// # Errors
/// [`BadLine`] for the first complete line that is not a belief.
pub fn read_lines(text: &str) -> Result<Vec<BeliefLine>, BadLine> {
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let numbered = complete.lines().enumerate();
    numbered
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| serde_json::from_str(line).map_err(|reason| BadLine { line: at + 1, reason }))
        .collect()
}
