//! `switchd status`: the daemon at a glance.

use clap::Args;

use super::ask::{self, Target};
use super::time::utc;
use crate::exit::{Exit, Failure};
use crate::observe::outlook::short;
use crate::observe::status::{LinkJson, StatusJson};
use crate::words::amount;

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    target: Target,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Shows the daemon at a glance.
pub(crate) fn status(args: &StatusArgs) -> Result<Exit, Failure> {
    let body = ask::get(&args.target, "/status")?;
    if args.json {
        println!("{body}");
    } else {
        print(&ask::read(&body)?);
    }
    Ok(Exit::Done)
}

fn print(s: &StatusJson) {
    let ready = if s.ready { "ready".to_owned() } else { format!("NOT READY: {}", s.not_ready.join("; ")) };
    println!("switchd {}, process {}, {ready}", s.version, s.pid);
    println!("up         {} at {}, start {} of partition {}", short(s.up_ms), utc(s.at_ms), s.start, s.partition);
    println!("journal    record {}, {} movements in memory", s.lsn, s.movements);
    println!("terminals  {} connected, {} inputs waiting", s.terminals, s.inputs_waiting);
    let (requests, approved) = (s.answers.requests, s.answers.approved);
    println!("answers    {requests} since the start, {approved} approved");
    let oldest = s.oldest_ms.map_or_else(String::new, |ms| format!(", the oldest {} old", short(ms)));
    println!("in doubt   {}{oldest}", s.in_doubt);
    for row in &s.open {
        let doubt = if row.in_doubt { "in doubt" } else { "open" };
        let sum = amount(row.amount, &row.currency);
        println!("           {doubt}: {} {} at issuer {}, {sum}", row.count, row.state, row.issuer);
    }
    println!("entries    {} for a person", s.entries);
    for link in &s.links {
        print_link(link);
    }
}

/// One line for a link.
pub(crate) fn print_link(link: &LinkJson) {
    println!(
        "link       {} {} to {} at {}: wished {}, {} of {} ready, {} open, {} in flight",
        link.link, link.name, link.issuer, link.address, link.wish, link.ready, link.connections, link.open, link.in_flight
    );
}
