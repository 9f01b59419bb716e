//! `switchd adopt`: an operator takes the journal that is there although its witness speaks against it (K5).

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::Args;
use journal::Storage;
use serde::Serialize;

use crate::config;
use crate::exit::{Exit, Failure};
use crate::observe::resolve::one_line;
use crate::witness;

#[derive(Debug, Args)]
pub(crate) struct AdoptArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Who decides; goes into the log of the next start.
    #[arg(long, value_name = "NAME")]
    who: String,
    /// Why; goes into the log of the next start. Never a card number.
    #[arg(long, value_name = "TEXT")]
    why: String,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// What was decided.
#[derive(Serialize)]
struct Adopted {
    /// The directory of the journal.
    journal: PathBuf,
    /// What the witness knew, for people.
    known: String,
}

/// Writes the decision into the witness; the next start carries it out.
pub(crate) fn run(args: &AdoptArgs) -> Result<Exit, Failure> {
    for (option, text) in [("--who", &args.who), ("--why", &args.why)] {
        one_line(option, text).map_err(|wrong| Failure::new(Exit::Usage, wrong))?;
    }
    let journal = config::load(&args.config).map_err(|problems| Failure::new(Exit::Config, problems))?.journal;
    // Held until the end: a daemon that runs would write its own witness over this.
    let lock = match journal::FsStorage::new(&journal.dir).and_then(|storage| storage.lock()) {
        Ok(lock) => Some(lock),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            return Err(Failure::new(Exit::JournalLocked, anyhow!("the daemon runs; next: stop it")));
        }
        // No directory: a new journal is to begin in place of one that is gone.
        Err(_) => None,
    };
    // One that cannot be read speaks for nothing.
    let found = lock.as_ref().and_then(|_| super::journal::extent(&journal.dir).ok());
    let known =
        witness::adopt(&journal, found, &args.who, &args.why).map_err(|error| Failure::new(Exit::Failed, anyhow!(error)))?;
    let adopted = Adopted { journal: journal.dir, known };
    if args.json {
        println!("{}", serde_json::to_string(&adopted).context("the answer")?);
        return Ok(Exit::Done);
    }
    println!("The next start takes the journal in {}: {}.", adopted.journal.display(), adopted.known);
    println!("It will want a PAN key that never sealed; see docs/OPERATIONS.md, \"Backup and restore\".");
    Ok(Exit::Done)
}
