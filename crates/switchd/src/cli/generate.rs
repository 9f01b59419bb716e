//! `switchd generate`: man pages and completions, made from the same definition as `--help`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;

use crate::exit::{Exit, Failure};

/// The shells that get completions.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Fish, Shell::Zsh];

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// What to write.
    #[arg(value_enum)]
    what: What,
    /// The directory; it is made if it is not there. Files of an earlier version are replaced.
    dir: PathBuf,
    /// The names as a JSON list.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    /// switchd.1 and a page for each command.
    Man,
    /// For bash, fish and zsh.
    Completions,
}

/// Writes the files, and prints their names.
pub(crate) fn run(args: &GenerateArgs, command: Command) -> Result<Exit, Failure> {
    let into = || format!("cannot write into {}", args.dir.display());
    fs::create_dir_all(&args.dir).with_context(into)?;
    match args.what {
        What::Man => clap_mangen::generate_to(command, &args.dir).with_context(into)?,
        What::Completions => {
            for shell in SHELLS {
                clap_complete::generate_to(shell, &mut command.clone(), "switchd", &args.dir).with_context(into)?;
            }
        }
    }
    let mut names: Vec<PathBuf> =
        fs::read_dir(&args.dir).with_context(into)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    names.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().contains("switchd")));
    names.sort();
    if args.json {
        println!("{}", serde_json::to_string(&names).context("the names")?);
        return Ok(Exit::Done);
    }
    for name in names {
        println!("{}", name.display());
    }
    Ok(Exit::Done)
}
