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
    /// As JSON: {"good":true,…} or {"good":false,"problems":[…]}.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Judged {
    good: bool,
    problems: Vec<String>,
    summary: Option<Summary>,
}

/// Judges.
pub(crate) fn run(args: &CheckArgs) -> Result<Exit, Failure> {
    let prepared = serve::prepare(&args.config);
    if args.json {
        let (good, problems, summary) = match &prepared {
            Ok(prepared) => (true, Vec::new(), Some(prepared.summary())),
            Err(problems) => (false, problems.0.iter().map(ToString::to_string).collect(), None),
        };
        println!("{}", serde_json::to_string(&Judged { good, problems, summary }).context("the answer")?);
        return Ok(if prepared.is_ok() { Exit::Done } else { Exit::Config });
    }
    let Summary { groups, issuers, links, routes, certificates, pan_keys, journal } =
        prepared.map_err(|problems| Failure::new(Exit::Config, problems))?.summary();
    println!("{}: good", args.config.display());
    println!("{groups} groups, {issuers} issuers, {links} links, {routes} routes, {certificates} terminal certificates");
    println!("journal {journal}, {pan_keys} PAN keys; whether they are this journal's own, a start says");
    Ok(Exit::Done)
}
