//! `switchd check`: judges a configuration and every file that it names, as a start would, and starts nothing.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::serve::{self, Summary};

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// As JSON: {"good":true,"warning":…,…} or {"good":false,"problems":[…]}.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Judged {
    good: bool,
    problems: Vec<String>,
    /// What a start takes and is hardly meant.
    warning: Option<&'static str>,
    summary: Option<Summary>,
}

/// Judges.
pub(crate) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let prepared = serve::prepare(&args.config);
    if args.json {
        let judged = match &prepared {
            Ok(prepared) => {
                let (warning, summary) = (prepared.warning(), Some(prepared.summary()));
                Judged { good: true, problems: Vec::new(), warning, summary }
            }
            Err(problems) => {
                let problems = problems.0.iter().map(ToString::to_string).collect();
                Judged { good: false, problems, warning: None, summary: None }
            }
        };
        println!("{}", serde_json::to_string(&judged).context("the answer")?);
        return Ok(if prepared.is_ok() { Exit::Done } else { Exit::Config });
    }
    let prepared = prepared.map_err(|problems| Failure::new(Exit::Config, problems))?;
    let Summary { groups, issuers, links, routes, certificates, pan_keys, journal } = prepared.summary();
    println!("{}: good", args.config.display());
    println!("{groups} groups, {issuers} issuers, {links} links, {routes} routes, {certificates} terminal certificates");
    println!("journal {journal}, {pan_keys} PAN keys; whether they are this journal's own, a start says");
    if let Some(warning) = prepared.warning() {
        println!("warning: {warning}");
    }
    Ok(Exit::Done)
}
