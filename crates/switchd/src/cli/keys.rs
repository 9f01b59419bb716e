//! `switchd keys`: which keys protect cards, and a new one for what comes.
//!
//! Shows numbers and check values, never a key. Invariant: no key is ever taken out of the file, so that every old record opens,
//! every old record is found, and every journal still fits.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use partition::{KeyError, Keys};
use serde::Serialize;

use crate::config;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  switchd keys list --config state/switchd.toml\n  switchd keys rotate pan --config state/switchd.toml"
)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The keys in the file that a configuration names: what each is for, by number and check value.
    #[command(after_help = "Example:\n  switchd keys list --config state/switchd.toml --json")]
    List(File),
    /// Put a new key before the others of its kind: it is used from the next SIGHUP or start on; the others stay.
    #[command(
        after_help = "Examples:\n  switchd keys rotate pan --config state/switchd.toml\n  switchd keys rotate hmac --file /etc/switchd/secret/journal.keys"
    )]
    Rotate {
        /// Which kind.
        #[arg(value_enum)]
        kind: Kind,
        #[command(flatten)]
        file: File,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Card numbers are sealed with it (AES-256-GCM).
    Pan,
    /// Cards are known by it: repeats, equal sales, reversals, `switchd tx --card` (HMAC-SHA256).
    Hmac,
}

#[derive(Debug, Args)]
struct File {
    /// The configuration that names the key file.
    #[arg(long, value_name = "FILE", required_unless_present = "file")]
    config: Option<PathBuf>,
    /// The key file itself, where the daemon reads a copy of it: /etc/switchd/secret/journal.keys under the systemd unit.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

impl File {
    fn path(&self) -> Result<PathBuf, Failure> {
        match (&self.file, &self.config) {
            (Some(file), _) => Ok(file.clone()),
            (None, Some(config)) => {
                Ok(config::load(config).map_err(|problems| Failure::new(Exit::Config, problems))?.journal.keys)
            }
            (None, None) => Err(Failure::new(Exit::Usage, anyhow!("--config or --file is needed"))),
        }
    }
}

/// One key. A check value changes with its key and tells nothing of it.
#[derive(Serialize)]
struct PanKey {
    number: u16,
    check: String,
}

#[derive(Serialize)]
struct Listed {
    file: PathBuf,
    /// The newest first: it seals, and all of them open.
    pan: Vec<PanKey>,
    /// Check values, the newest first: cards are compared by it, and old records are found by all of them.
    hmac: Vec<String>,
}

impl Listed {
    fn new(file: PathBuf, keys: &Keys) -> Listed {
        let pan = keys.pan_checks().into_iter().map(|(number, check)| PanKey { number, check: hex(check) });
        let hmac = keys.look_up_checks().into_iter().map(hex);
        Listed { file, pan: pan.collect(), hmac: hmac.collect() }
    }

    fn print(&self) {
        println!("{}, by check values, which tell nothing of the keys:", self.file.display());
        for (at, PanKey { number, check }) in self.pan.iter().enumerate() {
            let what = if at == 0 { "seals and opens" } else { "opens what it sealed" };
            println!("  pan {number:<5} {check}  {what}");
        }
        for (at, check) in self.hmac.iter().enumerate() {
            let what = if at == 0 { "cards are known by it" } else { "finds what was recorded under it" };
            println!("  hmac      {check}  {what}");
        }
        if self.pan.len() + self.hmac.len() > 2 {
            println!("Old keys stay in the file: a journal opens only with every key that it was ever served with.");
        }
    }
}

/// Does one of the two.
pub(crate) fn run(args: &KeysArgs) -> Result<Exit, Failure> {
    let (file, rotate) = match &args.command {
        Command::List(file) => (file, None),
        Command::Rotate { kind, file } => (file, Some(kind)),
    };
    let path = file.path()?;
    let keys = match rotate {
        None => Keys::read(&path),
        Some(kind) => Keys::change(&path, |keys| match kind {
            Kind::Pan => keys.with_new_pan_key(),
            Kind::Hmac => Some(keys.with_new_look_up_key()),
        }),
    };
    let keys = keys.map_err(|error| failed(&error))?;
    let listed = Listed::new(path, &keys);
    if file.json {
        println!("{}", serde_json::to_string(&listed).context("the answer")?);
        return Ok(Exit::Done);
    }
    listed.print();
    if rotate.is_some() {
        println!(
            "next: back the file up, beside no journal; then SIGHUP, or restart the daemon, which uses it from then on"
        );
        println!("      (under systemd's LoadCredential: restart, as a running service keeps the copy of its start)");
    }
    Ok(Exit::Done)
}

/// A key file that cannot be read or changed, and what to do.
fn failed(error: &KeyError) -> Failure {
    match error {
        KeyError::Io { .. } => {
            let next = "next: see that it is there, and that this user may read and write it and its directory";
            Failure::new(Exit::Failed, anyhow!("{error}; {next}"))
        }
        KeyError::Numbers { .. } => Failure::new(Exit::Failed, anyhow!("{error}")),
        KeyError::Exposed { .. } | KeyError::Line { .. } | KeyError::Missing { .. } => {
            Failure::new(Exit::Config, anyhow!("{error}"))
        }
    }
}

fn hex(check: [u8; 8]) -> String {
    check.iter().map(|byte| format!("{byte:02x}")).collect()
}
