//! `sim`: runs seeds and judges them, replays one, shrinks one, compares a seed with itself.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use sim::{Limits, Plan, Telling, Trouble, corpus, keep, mutants, run, run_seeds, shrink};

/// Simulates a partition of the switch: the real core, journal and outbox in a world of faults, judged from outside.
#[derive(Parser)]
#[command(
    name = "sim",
    version,
    after_help = "Examples:\n  cargo run --release -p sim -- --seeds 1000\n  cargo run --release -p sim -- replay 42\n  \
                  cargo run --release -p sim -- meta --seeds 20"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    seeds: Seeds,
    /// Print one line of JSON at the end, and nothing else on standard output
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Args, Clone)]
struct Seeds {
    /// How many seeds
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them
    #[arg(long, default_value_t = 1)]
    from: u64,
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
    Meta(Seeds),
    /// Put deliberate bugs into core, journal and outbox, one at a time, and say which seed finds each
    Mutants {
        /// Seeds tried against each
        #[arg(long, default_value_t = 400)]
        most: u64,
    },
    /// List the troubles that a seed draws from
    Troubles,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    match cli.command {
        None => seeds(&cli.seeds, cli.json),
        Some(Command::Replay { seed, without, purchases, sites }) => {
            let plan = Plan::draw(seed).cut(&without, purchases, sites.as_deref());
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
        Some(Command::Meta(seeds)) => Ok(meta(&seeds)),
        Some(Command::Mutants { most }) => Ok(hunt(most, cli.json)),
        Some(Command::Troubles) => {
            Trouble::ALL.iter().for_each(|trouble| println!("{}", trouble.name()));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn exit(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn numbers(seeds: &Seeds) -> Vec<u64> {
    (seeds.from..seeds.from.saturating_add(seeds.seeds)).collect()
}

fn seeds(seeds: &Seeds, json: bool) -> Result<ExitCode> {
    // What failed once comes first.
    let mut all = corpus();
    all.extend(numbers(seeds));
    let bar = ProgressBar::new(all.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {msg} {elapsed}")?);
    let limits =
        Limits { transactions: seeds.transactions, time: seeds.minutes.map(|minutes| Duration::from_secs(60 * minutes)) };
    let total = run_seeds(&all, Telling::default(), limits, |so_far| {
        bar.set_position(so_far.seeds);
        bar.set_message(format!("{} transactions, {} failed,", so_far.transactions, so_far.failures.len()));
    });
    bar.finish_and_clear();
    // A few seeds do not reach every rule; a hundred must.
    let never = if total.seeds >= 100 { total.rules_never_fired() } else { Vec::new() };
    if json {
        println!("{}", total.json());
    } else {
        print!("{total}");
    }
    for failure in total.failures.iter().take(3) {
        eprintln!("seed {} of {}:", failure.seed, sim::COMMIT);
        failure.violations.iter().for_each(|violation| eprintln!("  {violation}"));
        if let Some(smallest) = shrink(failure.seed) {
            eprintln!("  smallest: {}\n  {}", smallest.violation, smallest.command);
        }
    }
    let kept = keep(&total.failures)?;
    if !kept.is_empty() {
        eprintln!("added to crates/sim/corpus.txt, which runs first from now on: {kept:?}");
    }
    if !never.is_empty() {
        eprintln!("rules that never fired: {}", never.join(", "));
    }
    Ok(exit(total.failures.is_empty() && never.is_empty()))
}

fn meta(seeds: &Seeds) -> ExitCode {
    let differ = numbers(seeds).into_iter().filter(|seed| {
        let plan = Plan::draw(*seed);
        let (first, second) = (run(&plan, Telling::default()), run(&plan, Telling { trace: true, blind: false }));
        let differs = first.hash != second.hash;
        println!("seed {seed}: {:016x} {}", first.hash, if differs { "differs" } else { "twice the same" });
        differs
    });
    exit(differ.count() == 0)
}

fn hunt(most: u64, json: bool) -> ExitCode {
    let bar = ProgressBar::new_spinner();
    // What a bug makes panic is found as well as what it makes wrong; nobody wants to read it here.
    std::panic::set_hook(Box::new(|_| {}));
    let found = mutants::hunt(most, |name| {
        bar.set_message(name);
        bar.tick();
    });
    bar.finish_and_clear();
    if json {
        println!("{}", mutants::json(&found));
    } else {
        for mutants::Killed { place, name, by } in &found {
            match by {
                Some((seed, what)) => println!("{place:<9} {name:<55} seed {seed:>4}: {what}"),
                None => println!("{place:<9} {name:<55} LIVES after {most} seeds"),
            }
        }
    }
    exit(found.iter().all(|killed| killed.by.is_some()))
}
