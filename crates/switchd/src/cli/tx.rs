//! `switchd tx`: the whole history of a movement, found by RRN, key, terminal and day, or card.

use anyhow::{Context, anyhow};
use clap::Args;

use super::ask::{self, Target};
use super::doubt::said;
use super::time::{DAY_MS, day_ms, utc};
use crate::exit::{Exit, Failure};
use crate::observe::alone::AloneJson;
use crate::observe::history::{HistoryJson, SearchJson, TxJson};
use crate::observe::json::MovementJson;
use crate::words::{Lang, amount};

#[derive(Debug, Args)]
pub(crate) struct TxArgs {
    /// DE37 of the movement, the switch's or the terminal's own.
    #[arg(required_unless_present_any = ["all", "terminal", "card"], conflicts_with_all = ["all", "terminal", "card"])]
    rrn: Option<String>,
    /// Every movement in memory.
    #[arg(long, conflicts_with_all = ["terminal", "card"])]
    all: bool,
    /// DE41, or DE41/DE42; with --stan or --day.
    #[arg(long, value_name = "TERMINAL")]
    terminal: Option<String>,
    /// DE11 of the terminal.
    #[arg(long, requires = "terminal")]
    stan: Option<String>,
    /// The day on which it began, in UTC.
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    day: Option<u64>,
    /// A card as it is shown, such as 400000******7899, with --day, or --terminal and --stan; - reads its whole number from standard input, so that it stands in no
    /// list of processes and no shell history.
    #[arg(long, value_name = "CARD")]
    card: Option<String>,
    /// The language of the sentences.
    #[arg(long, value_enum, default_value_t)]
    lang: Lang,
    #[command(flatten)]
    target: Target,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

fn day(text: &str) -> Result<u64, String> {
    day_ms(text).ok_or_else(|| "a day is written as 2026-11-22".to_owned())
}

/// Shows movements.
pub(crate) fn tx(args: &TxArgs) -> Result<Exit, Failure> {
    if args.all {
        return all(args);
    }
    let search = SearchJson {
        rrn: args.rrn.clone(),
        terminal: args.terminal.clone(),
        stan: args.stan.clone(),
        from_ms: args.day,
        before_ms: args.day.map(|from| from + DAY_MS),
        card: args.card.as_deref().map(card).transpose()?,
    };
    search.judge().map_err(|wrong| Failure::new(Exit::Usage, wrong))?;
    let body = ask::post(&args.target, "/history", &search)?;
    let history: HistoryJson = ask::read(&body)?;
    if let Some(rrn) = args.rrn.as_ref().filter(|_| history.found.is_empty()) {
        let next = "check the RRN, or search by --terminal and --day; what is older than the journal, ask the issuer";
        return Err(anyhow!("no movement of RRN {rrn} is in memory or in the journal; next: {next}").into());
    }
    match (args.json, &args.rrn, &history.found[..]) {
        (true, Some(_), [one]) => println!("{}", serde_json::to_string(one).context("the movement")?),
        (true, _, _) => println!("{body}"),
        (false, _, _) => print_history(&history, args.lang),
    }
    Ok(Exit::Done)
}

/// A card of the command line; a whole number only ever comes from standard input.
fn card(text: &str) -> Result<String, Failure> {
    match text {
        "-" => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).context("standard input")?;
            Ok(line.trim().to_owned())
        }
        masked if masked.contains('*') => Ok(masked.to_owned()),
        _ => {
            let why = "a whole card number does not belong on a command line; next: --card - and type it, or --card 400000******7899";
            Err(Failure::new(Exit::Usage, anyhow!(why)))
        }
    }
}

fn all(args: &TxArgs) -> Result<Exit, Failure> {
    let body = ask::get(&args.target, "/tx")?;
    if args.json {
        println!("{body}");
    } else {
        print_movements(&ask::read::<Vec<MovementJson>>(&body)?);
    }
    Ok(Exit::Done)
}

fn print_history(history: &HistoryJson, lang: Lang) {
    if history.left_out > 0 {
        println!("{} older ones were not looked at; next: search by --day, or by --terminal and --stan", history.left_out);
    }
    if history.found.is_empty() && history.alone.is_empty() {
        println!("nothing found");
    }
    for (at, tx) in history.found.iter().enumerate() {
        if at > 0 {
            println!();
        }
        print_tx(tx, lang);
    }
    for (at, alone) in history.alone.iter().enumerate() {
        if at > 0 || !history.found.is_empty() {
            println!();
        }
        print_alone(alone, lang);
    }
}

/// What is about no movement.
fn print_alone(a: &AloneJson, lang: Lang) {
    println!("{}", a.said.get(lang));
    let class = a.class.as_ref().map_or_else(String::new, |class| format!(", {class}"));
    println!("terminal   {}/{}, STAN {}{class}", a.terminal, a.merchant, a.stan);
    if let (Some(minor), Some(currency)) = (a.amount, &a.currency) {
        println!("amount     {}", amount(minor, currency));
    }
    println!("record     {} of {}: {} by {}", a.lsn, moment(a.at_ms), a.what, a.rule);
    if let Some(entry) = &a.entry {
        match &a.closed {
            Some(closed) => {
                println!("entry      {entry}, closed {} by {}: {}", moment(closed.at_ms), closed.who, closed.why)
            }
            None => println!("entry      {entry}, open; next: `switchd resolve {entry} --as stands`"),
        }
    }
}

fn print_tx(tx: &TxJson, lang: Lang) {
    println!("{}", tx.now.said.get(lang));
    print_movement(&tx.now.movement);
    println!("issuer     {} {}", tx.now.issuer, tx.now.issuer_name);
    println!("next       {}", tx.now.ahead.get(lang));
    if tx.legs.is_empty() {
        println!("history    not on disk: it is newer than the newest write, or older than the oldest record");
    }
    for leg in &tx.legs {
        println!("  {}  {:>8}  {}", moment(leg.at_ms), leg.lsn, leg.text.get(lang));
    }
}

/// A moment in UTC, to the millisecond.
pub(crate) fn moment(ms: u64) -> String {
    format!("{}.{:03}Z", utc(ms).trim_end_matches('Z'), ms % 1_000)
}

/// A table of movements.
fn print_movements(movements: &[MovementJson]) {
    if movements.is_empty() {
        return;
    }
    println!(
        "{:<12}  {:<8}  {:<6}  {:<21}  {:>12} {:<3}  {:>12}  {:<19}  cause",
        "RRN", "terminal", "STAN", "state", "amount", "", "net", "card"
    );
    for m in movements {
        let (card, cause) = (m.card.as_deref().unwrap_or(""), said(m));
        println!(
            "{:<12}  {:<8}  {:<6}  {:<21}  {:>12} {:<3}  {:>12}  {card:<19}  {cause}",
            m.rrn, m.terminal, m.stan, m.state, m.amount, m.currency, m.net
        );
    }
}

/// A movement, a line for each thing that is known of it.
pub(crate) fn print_movement(m: &MovementJson) {
    let none = String::from("-");
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| none.clone());
    println!("RRN        {}", m.rrn);
    println!("terminal   {}/{}, STAN {}, {}", m.terminal, m.merchant, m.stan, m.class);
    println!("card       {}", or_none(&m.card));
    println!("amount     {} {} minor units; {} stands", m.amount, m.currency, m.net);
    if let Some(remains) = m.remains {
        println!("remains    {remains} {} minor units after a partial reversal", m.currency);
    }
    println!("state      {}{}", m.state, if m.in_doubt { " (in doubt)" } else { "" });
    println!("cause      {}", or_none(&m.cause));
    println!("answer     {}, approval {}, evidence {}", or_none(&m.code), or_none(&m.approval), m.evidence);
    if let Some(second) = &m.second_approval {
        println!("second     approval {second} of the same request (T7)");
    }
    if m.reversal_seen {
        println!("reversed   by its terminal's word (D10)");
    }
    if m.contested {
        println!("contested  its key was used for something else within the window (D4)");
    }
    println!("link       {}, STAN {}", m.link, m.link_stan);
    if let Some(obligation) = &m.obligation {
        println!(
            "reversal   promised by {}, reason {}, last refused {}",
            obligation.rule,
            obligation.reason,
            or_none(&obligation.refused)
        );
    }
    if let Some(verdict) = &m.verdict {
        let amount = verdict.amount.map(|minor| format!(" to {minor} {}", m.currency)).unwrap_or_default();
        println!("decided    {}{amount} by {}: {}", verdict.resolution, verdict.who, verdict.why);
    }
}
