//! A scenario file: what a mock issuer does wrong, under a name, in one piece.
//!
//! ```json
//! {"version": 1, "name": "what it shows", "rules": [{"do": "ignore"}], "settings": {}}
//! ```
//!
//! `rules` are those of [`crate::faults`], in order. `settings` are those of
//! [`crate::issuer::Settings`]; absent, the issuer keeps the ones that it has. Not a script: nothing
//! in it happens at a time. Invariant: a file of another version, or with a key that is not known,
//! is refused whole; and no error shows a card number.

use serde::{Deserialize, Serialize};

use crate::faults::Rule;
use crate::issuer::Settings;

/// The version that this program reads.
pub const VERSION: u64 = 1;

/// A scenario that was read.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Always [`VERSION`].
    pub version: u64,
    /// What it shows, in a few words.
    pub name: String,
    /// The issuer's rules of misbehaviour; without any it behaves.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// The issuer's settings, complete: what is not named has its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
}

/// Why a scenario is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadScenario {
    /// It is not JSON.
    #[error("the scenario is not JSON: {0}")]
    Json(String),
    /// It does not say its version.
    #[error("the scenario has no version: it begins with {{\"version\": 1, \"name\": \"…\"")]
    NoVersion,
    /// It has a version that this program does not read.
    #[error("the scenario has version {0}, and this program reads version {VERSION}")]
    Version(String),
    /// A key is not known, or a value is none of those that it may have.
    #[error("the scenario cannot be used: {0}")]
    Content(String),
}

/// The one key that every version has.
#[derive(Deserialize)]
struct Versioned {
    version: Option<u64>,
}

impl core::str::FromStr for Scenario {
    type Err = BadScenario;

    fn from_str(json: &str) -> Result<Self, BadScenario> {
        // The version first: a key that is not known is no news in a file of another version.
        let versioned: Versioned = serde_json::from_str(json).map_err(|reason| {
            let text = without_numbers(&reason.to_string());
            if reason.is_data() { BadScenario::Content(text) } else { BadScenario::Json(text) }
        })?;
        match versioned.version {
            None => return Err(BadScenario::NoVersion),
            Some(VERSION) => {}
            Some(other) => return Err(BadScenario::Version(without_numbers(&other.to_string()))),
        }
        serde_json::from_str(json).map_err(|reason| BadScenario::Content(without_numbers(&reason.to_string())))
    }
}

/// The parser's words may repeat a value: no number of them is as long as a card's.
fn without_numbers(text: &str) -> String {
    const DIGITS_SHOWN: usize = 10;
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, digits_and_more) = rest.split_at(start);
        let end = digits_and_more.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits_and_more.len());
        let (digits, after) = digits_and_more.split_at(end);
        shown.push_str(before);
        shown.push_str(if digits.len() > DIGITS_SHOWN { "…" } else { digits });
        rest = after;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests;
