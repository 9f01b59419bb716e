//! `switchd status`: the daemon at a glance.

use clap::Args;

use super::ask::{self, Target};
use super::time::utc;
use crate::exit::{Exit, Failure};
use crate::observe::outlook::short;
use crate::observe::status::{IndexJson, LinkJson, StatusJson};
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
    println!("index      {}", index(&s.index));
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

/// Where the index is, how far it has to go and, if it failed, why.
fn index(i: &IndexJson) -> String {
    let left = match i.lag.checked_div(i.records_per_second) {
        Some(seconds) => format!(", {} a second, {} left", i.records_per_second, short(seconds * 1_000)),
        None => String::new(),
    };
    let failed = i.failed.as_ref().map_or_else(String::new, |why| format!("; failed: {why}"));
    if i.stage == "following" {
        return format!("following, {} records behind{failed}", i.lag);
    }
    let percent = i.covered.saturating_mul(100) / i.durable.max(1);
    format!("{}, {} of {} records ({percent} %){left}{failed}", i.stage.to_uppercase(), i.covered, i.durable)
}

/// One line for a link.
pub(crate) fn print_link(link: &LinkJson) {
    println!(
        "link       {} {} to {} at {}: wished {}, {} of {} ready, {} open, {} in flight",
        link.link, link.name, link.issuer, link.address, link.wish, link.ready, link.connections, link.open, link.in_flight
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_says_what_it_does_how_far_it_is_and_why_it_failed() {
        let following = IndexJson {
            stage: "following".to_owned(),
            covered: 40,
            durable: 42,
            lag: 2,
            records_per_second: 0,
            built: 1,
            failed: None,
        };
        let check = |i: IndexJson, shown: &str| assert_eq!(index(&i), shown);
        check(following.clone(), "following, 2 records behind");
        let building =
            IndexJson { stage: "building".to_owned(), durable: 400, lag: 360, records_per_second: 3, ..following };
        check(building.clone(), "BUILDING, 40 of 400 records (10 %), 3 a second, 2min00s left");
        let failed = Some("segment 7 is damaged".to_owned());
        let waiting = IndexJson { stage: "waiting".to_owned(), records_per_second: 0, failed, ..building };
        check(waiting, "WAITING, 40 of 400 records (10 %); failed: segment 7 is damaged");
    }
}
