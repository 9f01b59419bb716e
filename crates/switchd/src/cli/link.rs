//! `switchd link`: an operator's wish for a link, kept apart from its health.

use clap::Args;

use super::ask::{self, Target};
use super::status::print_link;
use crate::exit::{Exit, Failure};
use crate::observe::status::{LinkJson, LinkOrderJson, LinkOrderName};

#[derive(Debug, Args)]
pub(crate) struct LinkArgs {
    /// The link's name in the configuration, or its number such as 1.1.
    name: String,
    /// What is wished.
    #[arg(value_enum)]
    order: LinkOrderName,
    /// Who wishes it; goes into the daemon's log, beside the number of the user who runs this.
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// Why; goes into the daemon's log. Never a card number.
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    #[command(flatten)]
    target: Target,
    /// As JSON: the link as it is now.
    #[arg(long)]
    json: bool,
}

/// Orders.
pub(crate) fn link(args: &LinkArgs) -> Result<Exit, Failure> {
    let order = LinkOrderJson { link: args.name.clone(), order: args.order, who: args.who.clone(), why: args.why.clone() };
    order.judge().map_err(|wrong| Failure::new(Exit::Usage, wrong))?;
    let body = ask::post(&args.target, "/link", &order)?;
    if args.json {
        println!("{body}");
    } else {
        print_link(&ask::read::<LinkJson>(&body)?);
    }
    Ok(Exit::Done)
}
