//! `switchd doubt`, `switchd tx` and `switchd resolve`: ask and tell the running daemon over its admin socket.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use crate::config;
use crate::exit::{Exit, Failure};
use crate::observe::json::{DoubtJson, ExceptionJson, MovementJson};
use crate::observe::resolve::{self, OrderJson, Wish};

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The configuration that the daemon runs with.
    #[arg(long, value_name = "FILE", required_unless_present = "socket")]
    config: Option<PathBuf>,
    /// The admin socket, instead of the one that a configuration names.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DoubtArgs {
    #[command(flatten)]
    target: Target,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct TxArgs {
    /// DE37 of the movement.
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    rrn: Option<String>,
    /// Every movement in memory.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    target: Target,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResolveArgs {
    /// DE37 of the movement, or the name of an entry, such as entry-41.
    #[arg(value_name = "RRN")]
    case: String,
    /// What is decided.
    #[arg(long = "as", value_enum, value_name = "DECISION")]
    resolution: Wish,
    /// With adjusted-elsewhere: what stands, in minor units.
    #[arg(long, value_name = "MINOR", required_if_eq("resolution", "adjusted-elsewhere"))]
    amount: Option<u64>,
    /// Who decides; goes on record.
    #[arg(long, value_name = "NAME")]
    who: String,
    /// Why; goes on record. Never a card number.
    #[arg(long, value_name = "TEXT")]
    why: String,
    #[command(flatten)]
    target: Target,
    /// As JSON: the movement as it is now, or null.
    #[arg(long)]
    json: bool,
}

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lists what is in doubt.
pub(crate) fn doubt(args: &DoubtArgs) -> Result<Exit, Failure> {
    let body = get(&args.target, "/doubt")?;
    if args.json {
        println!("{body}");
        return Ok(Exit::Done);
    }
    let doubt: DoubtJson = serde_json::from_str(&body).context("the daemon's answer")?;
    println!("in doubt: {}", doubt.in_doubt);
    print_movements(&doubt.movements);
    if !doubt.unknown_deliveries.is_empty() {
        println!("approved, and not known whether the terminal got it (K2): {}", doubt.unknown_deliveries.len());
        print_movements(&doubt.unknown_deliveries);
    }
    print_exceptions(&doubt.exceptions);
    Ok(Exit::Done)
}

/// Shows one movement or all.
pub(crate) fn tx(args: &TxArgs) -> Result<Exit, Failure> {
    let path = match &args.rrn {
        Some(rrn) => format!("/tx/{}", rrn_in_path(rrn)?),
        None => "/tx".to_owned(),
    };
    let body = get(&args.target, &path)?;
    if args.json {
        println!("{body}");
    } else if args.all {
        print_movements(&serde_json::from_str::<Vec<MovementJson>>(&body).context("the daemon's answer")?);
    } else {
        print_movement(&serde_json::from_str(&body).context("the daemon's answer")?);
    }
    Ok(Exit::Done)
}

/// Puts a person's decision on record, or says why it is not taken.
pub(crate) fn resolve(args: &ResolveArgs) -> Result<Exit, Failure> {
    let case = &args.case;
    if resolve::case(case).is_none() {
        return Err(anyhow!("{case:?} is neither an RRN nor an entry; next: `switchd doubt`").into());
    }
    let order = OrderJson { resolution: args.resolution, amount: args.amount, who: args.who.clone(), why: args.why.clone() };
    order.judge().map_err(|wrong| Failure::new(Exit::Usage, wrong))?;
    let order = serde_json::to_string(&order).context("the order")?;
    let body = ask(&args.target, &format!("/resolve/{case}"), Some(&order))?;
    if args.json {
        println!("{body}");
    } else {
        match serde_json::from_str::<Option<MovementJson>>(&body).context("the daemon's answer")? {
            Some(movement) => print_movement(&movement),
            None => println!("closed"),
        }
    }
    Ok(Exit::Done)
}

/// An RRN that cannot be anything else in a path.
fn rrn_in_path(rrn: &str) -> anyhow::Result<&str> {
    let fits = (1..=12).contains(&rrn.len()) && rrn.bytes().all(|b| b.is_ascii_alphanumeric());
    if fits {
        Ok(rrn)
    } else {
        Err(anyhow!("{rrn:?} is no RRN, which is up to 12 letters or digits; next: `switchd doubt`"))
    }
}

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

/// The cause, and what speaks for or against it.
fn said(m: &MovementJson) -> String {
    let second = m.second_approval.as_ref().map(|code| format!("second approval {code} (T7)"));
    let reversal = m.reversal_seen.then(|| "its terminal reversed it (D10)".to_owned());
    let contested = m.contested.then(|| "its key was used again (D4)".to_owned());
    let all: Vec<String> = [m.cause.clone(), second, reversal, contested].into_iter().flatten().collect();
    all.join("; ")
}

fn print_exceptions(exceptions: &[ExceptionJson]) {
    if exceptions.is_empty() {
        return;
    }
    println!("for a person: {}", exceptions.len());
    for e in exceptions {
        println!("  {}", exception_line(e));
    }
}

/// One line: name, rule, when, whose, how much, and which messages; of two sales the later first.
fn exception_line(e: &ExceptionJson) -> String {
    let amount = match (e.amount, &e.currency) {
        (Some(minor), Some(currency)) => format!("{minor} {currency}"),
        (_, _) => String::from("-"),
    };
    let (terminal, at) = (format!("{}/{}", e.terminal, e.merchant), utc(e.at_ms));
    let message = |stan: &str, rrn: Option<&str>| match rrn {
        Some(rrn) => format!("STAN {stan} RRN {rrn}"),
        None => format!("STAN {stan}"),
    };
    let rrn = e.rrn.as_deref();
    let messages = match (&e.later_rrn, e.movement_stan.as_deref()) {
        (None, None) => message(&e.stan, rrn),
        (None, Some(stan)) if stan == e.stan => message(stan, rrn),
        (later, stan) => {
            let movement = stan.map_or_else(|| format!("RRN {}", rrn.unwrap_or("-")), |stan| message(stan, rrn));
            format!("{} after {movement}", message(&e.stan, later.as_deref()))
        }
    };
    format!("{:<10}  {:<4}  {at}  {terminal:<24}  {amount:>16}  {messages}", e.entry, e.rule)
}

/// A moment in UTC, to the second.
fn utc(ms: u64) -> String {
    let (days, seconds) = (ms / 86_400_000, ms / 1_000 % 86_400);
    // Days since 0000-03-01, so that a leap day is the last of its year; eras of 400 years.
    let since = days + 719_468;
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn print_movement(m: &MovementJson) {
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

fn get(target: &Target, path: &str) -> anyhow::Result<String> {
    ask(target, path, None)
}

/// Asks for a page, or posts JSON to it.
fn ask(target: &Target, path: &str, post: Option<&str>) -> anyhow::Result<String> {
    let socket = match (&target.socket, &target.config) {
        (Some(socket), _) => socket.clone(),
        (None, Some(config)) => config::admin_socket(config)?,
        (None, None) => bail!("--config or --socket is needed"),
    };
    let (status, body) = request(&socket, path, post).with_context(|| format!("admin socket {}", socket.display()))?;
    if status != "200" {
        bail!("{}", body.trim());
    }
    Ok(body)
}

/// One request of HTTP/1.0, so that the answer ends with the connection. The status and the body.
fn request(socket: &Path, path: &str, post: Option<&str>) -> anyhow::Result<(String, String)> {
    let mut stream = UnixStream::connect(socket)
        .context("nobody answers; next: look whether the daemon runs, and with this configuration")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = match post {
        None => format!("GET {path} HTTP/1.0\r\nHost: switchd\r\n\r\n"),
        Some(json) => format!(
            "POST {path} HTTP/1.0\r\nHost: switchd\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        ),
    };
    stream.write_all(head.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).context("the daemon did not answer; next: see its log")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer is not HTTP; next: check --socket")?;
    let status = head.split(' ').nth(1).unwrap_or("");
    Ok((status.to_owned(), body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_shown_in_utc() {
        let check = |ms, expected: &str| assert_eq!(utc(ms), expected);
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399_999, "2000-02-28T23:59:59Z");
        check(951_782_400_000, "2000-02-29T00:00:00Z");
        check(951_868_800_000, "2000-03-01T00:00:00Z");
        check(1_709_251_199_999, "2024-02-29T23:59:59Z");
        check(1_798_761_599_000, "2026-12-31T23:59:59Z");
        check(4_107_542_400_000, "2100-03-01T00:00:00Z");
    }

    #[test]
    fn an_entry_is_one_line_with_when_how_much_and_which() {
        let d6 = ExceptionJson {
            entry: "entry-41".to_owned(),
            rule: "D6".to_owned(),
            terminal: "TERM0001".to_owned(),
            merchant: "MERCHANT0000001".to_owned(),
            stan: "000002".to_owned(),
            later_rrn: Some("632610000002".to_owned()),
            rrn: Some("632610000001".to_owned()),
            movement_stan: Some("000001".to_owned()),
            amount: Some(1250),
            currency: Some("978".to_owned()),
            at_ms: 0,
        };
        let check = |e: ExceptionJson, amount: &str, messages: &str| {
            let expected =
                format!("entry-41    D6    1970-01-01T00:00:00Z  TERM0001/MERCHANT0000001  {amount:>16}  {messages}");
            assert_eq!(exception_line(&e), expected);
        };
        let known = "STAN 000002 RRN 632610000002 after STAN 000001 RRN 632610000001";
        check(d6.clone(), "1250 978", known);
        let forgotten = ExceptionJson { movement_stan: None, amount: None, currency: None, ..d6.clone() };
        check(forgotten, "-", "STAN 000002 RRN 632610000002 after RRN 632610000001");
        let refused = ExceptionJson { later_rrn: None, ..d6.clone() };
        check(refused.clone(), "1250 978", "STAN 000002 after STAN 000001 RRN 632610000001");
        check(ExceptionJson { stan: "000001".to_owned(), ..refused }, "1250 978", "STAN 000001 RRN 632610000001");
        let of_nothing =
            ExceptionJson { later_rrn: None, rrn: None, movement_stan: None, amount: None, currency: None, ..d6 };
        check(of_nothing, "-", "STAN 000002");
    }
}
