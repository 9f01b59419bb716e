//! `switchd keys`: which keys protect cards, and a new one for what comes.
//!
//! Shows numbers, never a key. Invariant: no key is ever taken out of the file, so that every old record opens and every
//! journal still fits.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use partition::Keys;
use serde::Serialize;

use crate::config;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  switchd keys list --config state/switchd.toml\n  switchd keys rotate --config state/switchd.toml"
)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The numbers of the keys in the file that a configuration names.
    #[command(after_help = "Example:\n  switchd keys list --config state/switchd.toml --json")]
    List(File),
    /// Put a new PAN key first: from the next start on it seals; the others stay, and open what they sealed.
    #[command(after_help = "Example:\n  switchd keys rotate --config state/switchd.toml")]
    Rotate(File),
}

#[derive(Debug, Args)]
struct File {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed {
    file: PathBuf,
    /// The one that seals.
    sealing: Option<u16>,
    /// All that open.
    opening: Vec<u16>,
}

/// Does one of the two.
pub(crate) fn run(args: &KeysArgs) -> Result<Exit, Failure> {
    let (file, rotate) = match &args.command {
        Command::List(file) => (file, false),
        Command::Rotate(file) => (file, true),
    };
    let path = config::load(&file.config).map_err(|problems| Failure::new(Exit::Config, problems))?.journal.keys;
    let mut keys = Keys::read(&path).map_err(|error| Failure::new(Exit::Config, anyhow!(error)))?;
    if rotate {
        keys = keys.rotated().ok_or_else(|| anyhow!("every key number is in use"))?;
        keys.replace(&path).map_err(|error| Failure::new(Exit::Failed, anyhow!(error)))?;
    }
    let opening = keys.pan_numbers();
    let listed = Listed { file: path, sealing: opening.first().copied(), opening };
    if file.json {
        println!("{}", serde_json::to_string(&listed).context("the answer")?);
        return Ok(Exit::Done);
    }
    let numbers: Vec<String> = listed.opening.iter().map(ToString::to_string).collect();
    println!("{}: PAN key {} seals, {} open, one look-up key", listed.file.display(), numbers[0], numbers.join(", "));
    if rotate {
        println!("next: restart the daemon, which seals with it from then on; and back the file up, beside no journal");
    }
    Ok(Exit::Done)
}
