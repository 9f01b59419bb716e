//! `switchd resolve`: puts a person's decision on record.

use anyhow::{Context, anyhow};
use clap::Args;

use super::ask::{self, Target};
use super::tx::print_movement;
use crate::exit::{Exit, Failure};
use crate::observe::json::MovementJson;
use crate::observe::resolve::{self, OrderJson, Wish};

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

/// Puts a person's decision on record, or says why it is not taken.
pub(crate) fn resolve(args: &ResolveArgs) -> Result<Exit, Failure> {
    let case = &args.case;
    if resolve::case(case).is_none() {
        // What was typed may be a card number.
        return Err(anyhow!("what was typed is neither an RRN nor an entry such as entry-41; next: `switchd doubt`").into());
    }
    let order = OrderJson { resolution: args.resolution, amount: args.amount, who: args.who.clone(), why: args.why.clone() };
    order.judge().map_err(|wrong| Failure::new(Exit::Usage, wrong))?;
    let order = serde_json::to_string(&order).context("the order")?;
    let body = ask::ask(&args.target, &format!("/resolve/{case}"), Some(&order))?;
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
