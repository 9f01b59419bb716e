//! `switchd why`: for a request without an answer, the nearest messages that matched nothing, and in which part they differ.

use anyhow::anyhow;
use clap::Args;

use super::ask::{self, Target};
use super::tx::moment;
use crate::exit::{Exit, Failure};
use crate::observe::strays::{CandidateJson, WhyJson};
use crate::words::{Lang, amount};

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// DE37 of the movement, or a STAN: the terminal's or the link's; the newest movement that has it.
    #[arg(value_name = "RRN|STAN")]
    what: String,
    /// The language of the sentences.
    #[arg(long, value_enum, default_value_t)]
    lang: Lang,
    #[command(flatten)]
    target: Target,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Says why.
pub(crate) fn why(args: &WhyArgs) -> Result<Exit, Failure> {
    let fits = (1..=12).contains(&args.what.len()) && args.what.bytes().all(|b| b.is_ascii_alphanumeric());
    if !fits {
        // It may be a card number or a track.
        let wrong = anyhow!("what was typed is neither an RRN nor a STAN; next: `switchd doubt`");
        return Err(Failure::new(Exit::Usage, wrong));
    }
    let body = ask::get(&args.target, &format!("/why/{}", args.what))?;
    if args.json {
        println!("{body}");
        return Ok(Exit::Done);
    }
    let why: WhyJson = ask::read(&body)?;
    let m = &why.movement;
    println!("{}  {}/{} STAN {}  {}", m.rrn, m.terminal, m.merchant, m.stan, amount(m.amount, &m.currency));
    println!("{}", why.said.get(args.lang));
    println!("{}", why.why.get(args.lang));
    for (at, candidate) in why.candidates.iter().enumerate() {
        print_candidate(at + 1, candidate);
    }
    Ok(Exit::Done)
}

fn print_candidate(number: usize, candidate: &CandidateJson) {
    let code = candidate.code.as_deref().unwrap_or("-");
    println!(
        "candidate {number}: came {}, {} ms after the request, code {code}",
        moment(candidate.at_ms),
        candidate.after_ms
    );
    if let Some(field) = &candidate.unreadable {
        println!("  could not be read from {field} on");
    }
    for part in &candidate.parts {
        let (mark, came) = match &part.came {
            Some(came) if part.same => ("=", came.as_str()),
            Some(came) => ("DIFFERS", came.as_str()),
            None => ("-", "not said"),
        };
        println!("  {:<16}  {mark:<7}  sent {:<24}  came {came}", part.part, part.sent);
    }
}
