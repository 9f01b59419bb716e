//! What the daemon reads from files, sockets and certificates, without the files, sockets and handshakes: for the fuzz targets.
//!
//! Nothing here parses; each function hands its text to the reader that the daemon uses. Invariant: none of them opens a file.

use std::collections::BTreeMap;
use std::path::Path;

use switch::{Case, GroupNo, Resolution};

use crate::config;
use crate::observe::resolve::{self, OrderJson};
use crate::tls::Identity;

/// What of an accepted configuration can be held against the money rules from outside.
#[derive(Debug)]
pub struct Configuration {
    /// What the core is told.
    pub core: switch::Config,
    /// How long the terminals of each group wait for an answer, milliseconds (T1).
    pub terminal_response_timeout_ms: BTreeMap<GroupNo, u64>,
    /// How long the kernel goes on with a request that a link does not take, milliseconds (R3).
    pub tcp_user_timeout_ms: BTreeMap<switch::LinkNo, u64>,
    /// How many certificates the registry names.
    pub certificates: usize,
    /// All of it, for comparison.
    pub shown: String,
}

/// Reads `switchd.toml` and the registry that it names, whatever its path.
///
/// # Errors
/// Every problem as the daemon prints it, with its line.
pub fn configuration(text: &str, registry: &str) -> Result<Configuration, Vec<String>> {
    let read = config::from_text(Path::new("switchd.toml"), text, |_| Ok(registry.to_owned()));
    let settings = read.map_err(|problems| problems.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let shown = format!("{settings:?}");
    let patience = settings.groups.iter().map(|(number, group)| (*number, group.terminal_response_timeout_ms));
    let stubbornness = settings.links.iter().map(|(number, link)| (*number, link.tcp.user_timeout_ms));
    Ok(Configuration {
        terminal_response_timeout_ms: patience.collect(),
        tcp_user_timeout_ms: stubbornness.collect(),
        certificates: settings.registry.len(),
        core: settings.core,
        shown,
    })
}

/// The common name in a terminal's certificate (DER), and its fingerprint in hex.
pub fn certificate(der: &[u8]) -> (Option<String>, String) {
    let identity = Identity::of(&der.into());
    let hex = identity.hex();
    (identity.subject, hex)
}

/// An operator's order as the admin socket takes it: the name in the path and the body.
///
/// # Errors
/// Why it is refused, as the socket answers.
pub fn order(named: &str, body: &str) -> Result<(Case, Resolution, String, String), String> {
    let case = resolve::case(named).ok_or_else(|| "neither an RRN nor an entry".to_owned())?;
    let order: OrderJson = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let resolution = order.judge().map_err(|wrong| wrong.to_string())?;
    Ok((case, resolution, order.who, order.why))
}

/// What `switchd decode` takes for bytes.
///
/// # Errors
/// Why it is refused, as the command prints it.
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    crate::cli::decode::unhex(text).map_err(|error| error.to_string())
}
