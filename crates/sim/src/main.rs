//! `sim`: runs seeds and judges them, replays one, shrinks one, compares a seed with itself.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use sim::{Limits, Plan, Telling, Trouble, corpus, keep, mutants, run, run_seeds, shrink, stale};

/// Simulates a partition of the switch: the real core, journal and outbox in a world of faults, judged from outside.
#[derive(Parser)]
#[command(
    name = "sim",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  cargo run --release -p sim -- --seeds 1000\n  cargo run --release -p sim -- replay 42\n  \
                  cargo run --release -p sim -- meta --seeds 20\n\nExit codes: 0 all is well; 1 a seed fails, differs from \
                  itself, or does not reach every rule and trouble (from 1000 seeds on), or a mutant lives; 2 the command \
                  line is wrong"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    seeds: Seeds,
    /// Print one line of JSON at the end, and nothing else on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Args, Clone)]
struct Range {
    /// How many seeds
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
}

#[derive(Args, Clone)]
struct Seeds {
    #[command(flatten)]
    range: Range,
    /// Begin no more seeds after so many minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Begin no more seeds after so many transactions
    #[arg(long)]
    transactions: Option<u64>,
}

#[derive(Subcommand)]
enum Command {
    /// Tell what happens in one seed: who sent what, which rule decided
    Replay {
        /// The seed
        seed: u64,
        /// Leave these troubles out, separated by commas
        #[arg(long, value_delimiter = ',')]
        without: Vec<Trouble>,
        /// Purchases of a terminal at most
        #[arg(long)]
        purchases: Option<u32>,
        /// Only these terminals of the seed's, separated by commas
        #[arg(long, value_delimiter = ',')]
        sites: Option<Vec<usize>>,
    },
    /// Find the smallest case of a seed that fails
    Shrink {
        /// The seed
        seed: u64,
    },
    /// Run each seed twice and compare all that happened
    Meta(Range),
    /// Put deliberate bugs into core, journal and outbox, one at a time, and say which seed finds each
    Mutants {
        /// Seeds tried against each
        #[arg(long, default_value_t = 1000)]
        most: u64,
        /// Only bugs whose name contains this
        #[arg(long)]
        only: Option<String>,
        /// Print the table of docs/TESTING.md
        #[arg(long)]
        markdown: bool,
        /// Print one line of JSON, and nothing else on standard output
        #[arg(long, conflicts_with = "markdown")]
        json: bool,
    },
    /// List the troubles that a seed draws from
    Troubles,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        None => seeds(&cli.seeds, cli.json),
        Some(Command::Replay { seed, without, purchases, sites }) => {
            let whole = Plan::draw(seed);
            if let Some(unknown) = sites.iter().flatten().find(|site| **site >= whole.sites.len()) {
                let text = format!("seed {seed} has terminals 0 to {}, and no {unknown}", whole.sites.len() - 1);
                Cli::command().error(ErrorKind::ValueValidation, text).exit();
            }
            let plan = whole.cut(&without, purchases, sites.as_deref());
            let outcome = run(&plan, Telling { trace: true, blind: false });
            // Who reads only the beginning has seen enough.
            let _ = std::io::stdout().write_all(outcome.trace.as_bytes());
            outcome.violations.iter().for_each(|violation| eprintln!("{violation}"));
            Ok(exit(outcome.violations.is_empty()))
        }
        Some(Command::Shrink { seed }) => match shrink(seed) {
            Some(smallest) => {
                println!("{}\n{}", smallest.violation, smallest.command);
                Ok(ExitCode::FAILURE)
            }
            None => {
                println!("seed {seed} breaks nothing");
                Ok(ExitCode::SUCCESS)
            }
        },
        Some(Command::Meta(range)) => Ok(meta(&range)),
        Some(Command::Mutants { most, only, markdown, json }) => Ok(hunt(most, only.as_deref(), markdown, json)),
        Some(Command::Troubles) => {
            Trouble::ALL.iter().for_each(|trouble| println!("{}", trouble.name()));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn exit(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn numbers(range: &Range) -> Vec<u64> {
    (range.from..range.from.saturating_add(range.seeds)).collect()
}

fn seeds(seeds: &Seeds, json: bool) -> Result<ExitCode> {
    // What failed once comes first.
    let mut all = corpus();
    all.extend(numbers(&seeds.range));
    let bar = ProgressBar::new(all.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {msg} {elapsed}")?);
    let limits =
        Limits { transactions: seeds.transactions, time: seeds.minutes.map(|minutes| Duration::from_secs(60 * minutes)) };
    let mut total = run_seeds(&all, Telling::default(), limits, |so_far| {
        bar.set_position(so_far.seeds);
        bar.set_message(format!("{} transactions, {} failed,", so_far.transactions, so_far.failures.len()));
    });
    bar.finish_and_clear();
    if json {
        println!("{}", total.json());
    } else {
        print!("{total}");
    }
    total.shrink_first();
    for failure in total.failures.iter().take(3) {
        eprintln!("seed {} of {}:", failure.seed, sim::COMMIT);
        failure.violations.iter().for_each(|violation| eprintln!("  {violation}"));
        if let Some(smallest) = &failure.smallest {
            eprintln!("  smallest: {}\n  {}", smallest.violation, smallest.command);
        }
    }
    let kept = keep(&total.failures)?;
    if !kept.is_empty() {
        eprintln!("added to crates/sim/corpus.txt, which runs first from now on: {kept:?}");
    }
    let stale = stale();
    if !stale.is_empty() {
        eprintln!("seeds of the corpus that draw another plan than on their day: {stale:?}");
    }
    let never = total.never();
    if !never.is_empty() {
        eprintln!("never occurred: {}", never.join(", "));
    }
    Ok(exit(total.failures.is_empty() && never.is_empty()))
}

fn meta(range: &Range) -> ExitCode {
    let differ = numbers(range).into_iter().filter(|seed| {
        let plan = Plan::draw(*seed);
        let (first, second) = (run(&plan, Telling::default()), run(&plan, Telling { trace: true, blind: false }));
        let differs = !first.is_same(&second);
        println!("seed {seed}: {:016x} {}", first.hash, if differs { "differs" } else { "twice the same" });
        differs
    });
    exit(differ.count() == 0)
}

fn hunt(most: u64, only: Option<&str>, markdown: bool, json: bool) -> ExitCode {
    // What a bug makes panic is told with the bug that it does not find; nobody wants to read it here.
    std::panic::set_hook(Box::new(|_| {}));
    let bugs = mutants::Bug::all().filter(|bug| only.is_none_or(|only| bug.name().contains(only)));
    let found = mutants::hunt(bugs, most, |killed| {
        if !json && !markdown {
            println!("{}", line(killed, most));
        }
    });
    if json {
        println!("{}", mutants::json(&found));
    } else if markdown {
        print!("{}", mutants::markdown(&found));
    }
    exit(found.iter().all(|killed| killed.by.is_some()))
}

fn line(mutants::Killed { bug, by, otherwise }: &mutants::Killed, most: u64) -> String {
    let (place, name) = (bug.place(), bug.name());
    let other = otherwise.as_ref().map(|(seed, what)| format!(" (not by name: seed {seed}: {what})")).unwrap_or_default();
    match by {
        Some((seed, what)) => format!("{place:<9} {name:<55} seed {seed:>4}: {what}{other}"),
        None => format!("{place:<9} {name:<55} LIVES after {most} seeds{other}"),
    }
}
