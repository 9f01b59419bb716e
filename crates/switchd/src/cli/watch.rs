//! `switchd watch`: rate, latency, approval share, doubt and links, live.
//!
//! Plain lines and one escape sequence, which a terminal of any age knows; where standard output is no terminal, one line for
//! each look. The daemon keeps sums only: what happened between two looks is their difference, made here.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::ask::{self, Target};
use super::status::print_link;
use super::time::utc;
use crate::exit::{Exit, Failure};
use crate::observe::outlook::short;
use crate::observe::status::{LinkJson, StatusJson};

/// Home, and clear from there to the end of the screen.
const CLEAR: &str = "\x1b[H\x1b[J";

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    target: Target,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    every: u64,
    /// Look twice, show the difference, end.
    #[arg(long)]
    once: bool,
    /// As JSON, a line for each look.
    #[arg(long)]
    json: bool,
}

/// What happened between two looks, and how it stands at the second.
#[derive(Debug, PartialEq, Serialize)]
struct Frame {
    at_ms: u64,
    ready: bool,
    not_ready: Vec<String>,
    /// Money requests answered, per second.
    rate: f64,
    /// Of those, the share with an approving code, 0 to 1; null without any.
    approved: Option<f64>,
    /// Half of the decisions took at most so long, milliseconds; null without any.
    p50_ms: Option<u64>,
    /// 99 of 100 did.
    p99_ms: Option<u64>,
    in_doubt: u64,
    oldest_ms: Option<u64>,
    entries: usize,
    terminals: u32,
    links: Vec<LinkJson>,
}

/// Looks again and again; ends with the first look that fails, or after the first frame with --once.
pub(crate) fn watch(args: &WatchArgs) -> Result<Exit, Failure> {
    let look = || -> anyhow::Result<StatusJson> { ask::read(&ask::get(&args.target, "/status")?) };
    let live = std::io::stdout().is_terminal() && !args.once && !args.json;
    let mut before = look()?;
    loop {
        std::thread::sleep(Duration::from_secs(args.every));
        let now = look()?;
        let frame = frame(&before, now.clone());
        if args.json {
            println!("{}", serde_json::to_string(&frame).context("the frame")?);
        } else if live {
            print!("{CLEAR}");
            print(&frame);
        } else if args.once {
            print(&frame);
        } else {
            println!("{}", line(&frame));
        }
        if args.once || std::io::stdout().flush().is_err() {
            return Ok(Exit::Done);
        }
        before = now;
    }
}

fn frame(before: &StatusJson, now: StatusJson) -> Frame {
    // Another process, or the same after its sums began anew: they say nothing about each other.
    let same = before.pid == now.pid && before.start == now.start;
    let since = |before: u64, now: u64| if same { now.saturating_sub(before) } else { now };
    let requests = since(before.answers.requests, now.answers.requests);
    let approved = since(before.answers.approved, now.answers.approved);
    let earlier = |bound: u64| before.answers.within_ms.iter().find(|(b, _)| *b == bound).map_or(0, |(_, count)| *count);
    let within: Vec<(u64, u64)> =
        now.answers.within_ms.iter().map(|(bound, count)| (*bound, since(earlier(*bound), *count))).collect();
    let took_ms = if same { now.at_ms.saturating_sub(before.at_ms) } else { now.up_ms };
    let rate = as_f64(requests) * 1_000.0 / as_f64(took_ms.max(1));
    Frame {
        at_ms: now.at_ms,
        ready: now.ready,
        not_ready: now.not_ready,
        rate: (rate * 10.0).round() / 10.0,
        approved: (requests > 0).then(|| (as_f64(approved) / as_f64(requests) * 1_000.0).round() / 1_000.0),
        p50_ms: at_most(&within, 50),
        p99_ms: at_most(&within, 99),
        in_doubt: now.in_doubt,
        oldest_ms: now.oldest_ms,
        entries: now.entries,
        terminals: now.terminals,
        links: now.links,
    }
}

/// The least bound that holds so many of a hundred; `None` of nothing. What is beyond every bound is shown as the last.
fn at_most(within: &[(u64, u64)], percent: u64) -> Option<u64> {
    let total = within.last().map(|(_, count)| *count).filter(|count| *count > 0)?;
    within.iter().find(|(_, count)| count * 100 >= total * percent).map(|(bound, _)| *bound)
}

/// Rates are shown with one decimal: what is above 2^53 loses its last digits and nobody minds.
#[allow(clippy::cast_precision_loss, reason = "see above")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

fn print(frame: &Frame) {
    println!("{}", line(frame));
    for reason in &frame.not_ready {
        println!("NOT READY  {reason}");
    }
    for link in &frame.links {
        print_link(link);
    }
}

/// One look in one line.
fn line(f: &Frame) -> String {
    let bound = |ms: Option<u64>| match ms {
        None => "-".to_owned(),
        Some(u64::MAX) => ">30s".to_owned(),
        Some(ms) => format!("<={}", short(ms)),
    };
    let approved = f.approved.map_or_else(|| "-".to_owned(), |share| format!("{:.1}%", share * 100.0));
    let oldest = f.oldest_ms.map_or_else(String::new, |ms| format!(" (oldest {})", short(ms)));
    let ready = if f.ready { "ready" } else { "NOT READY" };
    format!(
        "{}  {ready}  {:.1}/s  p50 {}  p99 {}  approved {approved}  in doubt {}{oldest}  entries {}  terminals {}",
        utc(f.at_ms),
        f.rate,
        bound(f.p50_ms),
        bound(f.p99_ms),
        f.in_doubt,
        f.entries,
        f.terminals
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_least_bound_that_holds_so_many() {
        let within = [(1, 49), (2, 50), (5, 98), (10, 99), (u64::MAX, 100)];
        let check = |percent, bound| assert_eq!(at_most(&within, percent), bound, "{percent}");
        check(1, Some(1));
        check(49, Some(1));
        check(50, Some(2));
        check(51, Some(5));
        check(99, Some(10));
        check(100, Some(u64::MAX));
        assert_eq!(at_most(&[(1, 0), (u64::MAX, 0)], 50), None);
        assert_eq!(at_most(&[], 50), None);
    }
}
