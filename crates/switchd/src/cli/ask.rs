//! `switchd doubt` and `switchd tx`: ask the running daemon over its admin socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use crate::config;
use crate::exit::{Exit, Failure};
use crate::observe::json::{DoubtJson, ExceptionJson, MovementJson};

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The configuration that the daemon runs with.
    #[arg(long, value_name = "FILE", required_unless_present = "socket")]
    config: Option<PathBuf>,
    /// The admin socket, instead of the one that a configuration names.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DoubtArgs {
    #[command(flatten)]
    target: Target,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TxArgs {
    /// DE37 of the movement.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    rrn: Option<String>,
    /// Every movement in memory.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    target: Target,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lists what is in doubt.
pub(crate) fn doubt(args: &DoubtArgs) -> Result<Exit, Failure> {
    let body = get(&args.target, "/doubt")?;
    if args.json {
        println!("{body}");
        return Ok(Exit::Done);
    }
    let doubt: DoubtJson = serde_json::from_str(&body).context("the daemon's answer")?;
    println!("in doubt: {}", doubt.in_doubt);
    print_movements(&doubt.movements);
    print_exceptions(&doubt.exceptions);
    Ok(Exit::Done)
}

/// Shows one movement or all.
pub(crate) fn tx(args: &TxArgs) -> Result<Exit, Failure> {
    let path = match &args.rrn {
        Some(rrn) if rrn.bytes().all(|b| b.is_ascii_alphanumeric()) => format!("/tx/{rrn}"),
        Some(_) => return Err(anyhow!("an RRN is up to 12 letters or digits").into()),
        None => "/tx".to_owned(),
    };
    let body = get(&args.target, &path)?;
    if args.json {
        println!("{body}");
    } else if args.all {
        print_movements(&serde_json::from_str::<Vec<MovementJson>>(&body).context("the daemon's answer")?);
    } else {
        print_movement(&serde_json::from_str(&body).context("the daemon's answer")?);
    }
    Ok(Exit::Done)
}

fn print_movements(movements: &[MovementJson]) {
    if movements.is_empty() {
        return;
    }
    println!(
        "{:<12}  {:<8}  {:<6}  {:<21}  {:>12} {:<3}  {:>12}  {:<19}  cause",
        "RRN", "terminal", "STAN", "state", "amount", "", "net", "card"
    );
    for m in movements {
        let (card, cause) = (m.card.as_deref().unwrap_or(""), m.cause.as_deref().unwrap_or(""));
        println!(
            "{:<12}  {:<8}  {:<6}  {:<21}  {:>12} {:<3}  {:>12}  {card:<19}  {cause}",
            m.rrn, m.terminal, m.stan, m.state, m.amount, m.currency, m.net
        );
    }
}

fn print_exceptions(exceptions: &[ExceptionJson]) {
    if exceptions.is_empty() {
        return;
    }
    println!("for a person: {}", exceptions.len());
    for e in exceptions {
        let rrn = e.rrn.as_deref().unwrap_or("");
        println!("  {:<4}  {}/{}  STAN {}  {rrn}", e.rule, e.terminal, e.merchant, e.stan);
    }
}

fn print_movement(m: &MovementJson) {
    let none = String::from("-");
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| none.clone());
    println!("RRN        {}", m.rrn);
    println!("terminal   {}/{}, STAN {}, {}", m.terminal, m.merchant, m.stan, m.class);
    println!("card       {}", or_none(&m.card));
    println!("amount     {} {} minor units; {} stands", m.amount, m.currency, m.net);
    println!("state      {}{}", m.state, if m.in_doubt { " (in doubt)" } else { "" });
    println!("cause      {}", or_none(&m.cause));
    println!("answer     {}, approval {}, evidence {}", or_none(&m.code), or_none(&m.approval), m.evidence);
    println!("link       {}, STAN {}", m.link, m.link_stan);
    if let Some(obligation) = &m.obligation {
        println!(
            "reversal   promised by {}, reason {}, last refused {}",
            obligation.rule,
            obligation.reason,
            or_none(&obligation.refused)
        );
    }
}

fn get(target: &Target, path: &str) -> anyhow::Result<String> {
    let socket = match (&target.socket, &target.config) {
        (Some(socket), _) => socket.clone(),
        (None, Some(config)) => config::admin_socket(config)?,
        (None, None) => bail!("--config or --socket is needed"),
    };
    request(&socket, path).with_context(|| format!("admin socket {}", socket.display()))
}

/// One request of HTTP/1.0, so that the answer ends with the connection.
fn request(socket: &Path, path: &str) -> anyhow::Result<String> {
    let mut stream = UnixStream::connect(socket).context("is the daemon running?")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: switchd\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("reading the answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or("");
    if status != "200" {
        bail!("{}", body.trim());
    }
    Ok(body.to_owned())
}
