//! Asking and telling the running daemon over its admin socket.
//!
//! HTTP/1.0 on a Unix socket, written by hand: one request, one answer, no library. Invariant: an answer that is not 200 is
//! an error with the daemon's own words.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config;

/// How long the daemon may take to answer: a history is read from the disk.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The configuration that the daemon runs with.
    #[arg(long, value_name = "FILE", required_unless_present = "socket")]
    config: Option<PathBuf>,
    /// The admin socket, instead of the one that a configuration names.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
}

/// Asks for a page.
pub(crate) fn get(target: &Target, path: &str) -> anyhow::Result<String> {
    ask(target, path, None)
}

/// Asks for a page, or posts JSON to it.
pub(crate) fn ask(target: &Target, path: &str, post: Option<&str>) -> anyhow::Result<String> {
    let socket = match (&target.socket, &target.config) {
        (Some(socket), _) => socket.clone(),
        (None, Some(config)) => config::admin_socket(config)?,
        (None, None) => bail!("--config or --socket is needed"),
    };
    let (status, body) = request(&socket, path, post).with_context(|| format!("admin socket {}", socket.display()))?;
    if status != "200" {
        bail!("{}", body.trim());
    }
    Ok(body)
}

/// One request of HTTP/1.0, so that the answer ends with the connection. The status and the body.
fn request(socket: &Path, path: &str, post: Option<&str>) -> anyhow::Result<(String, String)> {
    let mut stream = UnixStream::connect(socket)
        .context("nobody answers; next: look whether the daemon runs, and with this configuration")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = match post {
        None => format!("GET {path} HTTP/1.0\r\nHost: switchd\r\n\r\n"),
        Some(json) => format!(
            "POST {path} HTTP/1.0\r\nHost: switchd\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        ),
    };
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the daemon did not answer; next: see its log")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP; next: check --socket")?;
    let status = head.split(' ').nth(1).unwrap_or("");
    Ok((status.to_owned(), body.to_owned()))
}

/// Posts JSON.
pub(crate) fn post(target: &Target, path: &str, body: &impl Serialize) -> anyhow::Result<String> {
    ask(target, path, Some(&serde_json::to_string(body).context("the question")?))
}

/// What the daemon answered.
pub(crate) fn read<T: DeserializeOwned>(body: &str) -> anyhow::Result<T> {
    serde_json::from_str(body)
        .context("the daemon's answer; next: is it of the version of this command? see `switchd status`")
}
