//! `switchd journal verify|show|stats DIR`: a journal read offline, without its keys and without changing a byte of it.
//!
//! Cards are in it sealed and masked, and only the mask is shown. Invariant: every file is opened for reading only.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use journal::{Checkpoint, OpenError, Reader};
use serde::Serialize;
use switch::{Config, Entry, Lsn, Movement, MovementId, Record, Switch};

use super::read_only::ReadOnly;
use super::time::utc;
use super::tx::moment;
use crate::exit::{Exit, Failure};
use crate::observe::outlook::short;
use crate::witness::Extent;
use crate::words::{Lang, amount, legs};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct JournalArgs {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:\n  switchd journal verify state/journal\n  switchd journal show state/journal --rrn 632610000001\n  switchd journal stats state/journal --json";

#[derive(Debug, Subcommand)]
enum Command {
    /// Check every byte, and replay every record as a start would; ends with 21 where a start would refuse.
    #[command(after_help = "Example:\n  switchd journal verify state/journal")]
    Verify(Dir),
    /// Print records, oldest first.
    #[command(
        after_help = "Examples:\n  switchd journal show state/journal --from 1000 --limit 50\n  switchd journal show state/journal --rrn 632610000001"
    )]
    Show(ShowArgs),
    /// Count what is in it: records by kind, files, and what is open at its end.
    #[command(after_help = "Example:\n  switchd journal stats state/journal --json")]
    Stats(Dir),
}

#[derive(Debug, Args)]
struct Dir {
    /// The journal's directory.
    dir: PathBuf,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    dir: Dir,
    /// The first record that is printed.
    #[arg(long, value_name = "LSN", default_value_t = 1)]
    from: u64,
    /// How many records are printed; 0 for all.
    #[arg(long, default_value_t = 1000)]
    limit: u64,
    /// Only records of this movement.
    #[arg(long)]
    rrn: Option<String>,
    /// The language of the lines.
    #[arg(long, value_enum, default_value_t)]
    lang: Lang,
}

/// Does one of the three.
pub(crate) fn run(args: &JournalArgs) -> Result<Exit, Failure> {
    match &args.command {
        Command::Verify(dir) => verify(dir),
        Command::Show(args) => show(args),
        Command::Stats(dir) => stats(dir),
    }
}

/// An offline journal whose bytes are verified.
struct Offline {
    reader: Reader<ReadOnly>,
    checkpoint: Option<Checkpoint>,
    storage: Arc<ReadOnly>,
}

fn open(dir: &Dir) -> Result<Offline, Failure> {
    let storage = read_only(&dir.dir)?;
    if storage.served() {
        eprintln!("a daemon serves this journal: what it writes meanwhile is not judged");
    }
    verified(&dir.dir, storage)
}

/// What a witness knows this journal by, whose lock the caller has.
pub(super) fn extent(dir: &Path) -> Result<Extent, Failure> {
    let offline = verified(dir, read_only(dir)?)?;
    let core = offline.replayed(|_, _| {})?;
    Ok(Extent { identity: offline.reader.identity(), last: Lsn(offline.reader.durable().0), epoch: core.epoch() })
}

fn read_only(dir: &Path) -> Result<Arc<ReadOnly>, Failure> {
    let storage = ReadOnly::new(dir)
        .with_context(|| format!("cannot read {}; next: check the path and its permissions", dir.display()))?;
    Ok(Arc::new(storage))
}

fn verified(dir: &Path, storage: Arc<ReadOnly>) -> Result<Offline, Failure> {
    storage.begin("verified");
    let opened = Reader::open(Arc::clone(&storage));
    storage.end();
    let (reader, checkpoint) = opened.map_err(|error| {
        let exit = match error {
            OpenError::Damaged { .. } | OpenError::Rejected { .. } => Exit::JournalDamaged,
            OpenError::Io { .. } | OpenError::Locked | OpenError::Options(_) => Exit::JournalStorage,
        };
        Failure::new(exit, anyhow!(error).context(format!("journal {}", dir.display())))
    })?;
    Ok(Offline { reader, checkpoint, storage })
}

impl Offline {
    /// Gives every record from `from` on.
    fn each(&self, from: u64, mut each: impl FnMut(Lsn, &Entry) -> anyhow::Result<ControlFlow<()>>) -> Result<(), Failure> {
        let mut failed = None;
        let from = journal::Lsn(from).max(self.reader.oldest()).max(journal::Lsn(1));
        let read = self.reader.for_each(from, self.reader.durable(), |lsn, payload| {
            let done = Entry::decode(payload).map_err(anyhow::Error::from).and_then(|entry| each(Lsn(lsn.0), &entry));
            done.unwrap_or_else(|error| {
                failed = Some(error.context(format!("record {lsn}")));
                ControlFlow::Break(())
            })
        });
        match (failed, read) {
            (Some(error), _) => Err(Failure::new(Exit::JournalDamaged, error)),
            (None, Err(error)) => Err(Failure::new(Exit::JournalDamaged, error)),
            (None, Ok(_)) => Ok(()),
        }
    }

    /// The state after the last record, by the code of the daemon's own start.
    fn replayed(&self, mut each: impl FnMut(Lsn, &Entry)) -> Result<Switch, Failure> {
        let whole = self.reader.oldest().0 <= 1;
        let damaged = |error| Failure::new(Exit::JournalDamaged, error);
        let mut core = match self.checkpoint.as_ref().filter(|_| !whole) {
            Some(newest) => Switch::restore(Config::default(), &newest.bytes)
                .map_err(|error| damaged(anyhow!("checkpoint of record {}: {error}", newest.lsn)))?,
            None => Switch::new(Config::default()),
        };
        let begins = core.lsn();
        self.storage.begin("replayed");
        let done = self.each(1, |lsn, entry| {
            each(lsn, entry);
            if lsn > begins {
                core.replay(lsn, entry)?;
            }
            Ok(ControlFlow::Continue(()))
        });
        self.storage.end();
        done.map(|()| core)
    }
}

#[derive(Serialize)]
struct Verified {
    oldest: u64,
    last: u64,
    segments: usize,
    checkpoint: Option<u64>,
    bytes: u64,
    movements: usize,
    in_doubt: usize,
}

fn verify(dir: &Dir) -> Result<Exit, Failure> {
    let offline = open(dir)?;
    let core = offline.replayed(|_, _| {})?;
    let verified = Verified {
        oldest: offline.reader.oldest().0,
        last: offline.reader.durable().0,
        segments: offline.reader.sealed().len() + 1,
        checkpoint: offline.checkpoint.as_ref().map(|newest| newest.lsn.0),
        bytes: offline.storage.bytes(),
        movements: core.movements().count(),
        in_doubt: core.doubt().count(),
    };
    if dir.json {
        print_json(&verified)?;
        return Ok(Exit::Done);
    }
    println!(
        "whole: records {} to {} in {} segments, {} bytes",
        verified.oldest, verified.last, verified.segments, verified.bytes
    );
    match verified.checkpoint {
        Some(lsn) => println!("checkpoint of record {lsn}"),
        None => println!("no checkpoint"),
    }
    println!("replayed: {} movements in memory, {} in doubt", verified.movements, verified.in_doubt);
    Ok(Exit::Done)
}

/// What a movement is shown by.
struct Known {
    rrn: String,
    currency: String,
}

#[derive(Serialize)]
struct Line {
    lsn: u64,
    at_ms: u64,
    what: String,
    rrn: Option<String>,
    card: Option<String>,
    text: String,
}

fn show(args: &ShowArgs) -> Result<Exit, Failure> {
    let offline = open(&args.dir)?;
    let mut known: BTreeMap<MovementId, Known> = BTreeMap::new();
    let mut left = if args.limit == 0 { u64::MAX } else { args.limit };
    let mut lines = Vec::new();
    let mut print = |line: Line| {
        if args.dir.json {
            lines.push(line);
            return;
        }
        let (rrn, card) = (line.rrn.as_deref().unwrap_or("-"), line.card.as_deref().unwrap_or(""));
        let gap = if card.is_empty() { "" } else { "  " };
        println!("{:>8}  {}  {rrn:<12}  {}{gap}{card}", line.lsn, moment(line.at_ms), line.text);
    };
    // From the beginning: a movement's RRN stands in its first record.
    offline.each(1, |lsn, entry| {
        if let Some(movement) = begun(&entry.record) {
            let currency = movement.fingerprint.amount.currency().to_string();
            known.insert(movement.id, Known { rrn: movement.rrn.to_string(), currency });
        }
        let line = line(lsn, entry, &known, args.lang);
        let asked_for = args.rrn.is_none() || line.rrn == args.rrn;
        if lsn.0 >= args.from && asked_for && left > 0 {
            left -= 1;
            print(line);
        }
        Ok(if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if args.dir.json {
        print_json(&lines)?;
    } else if left == 0 {
        eprintln!("--limit is reached; next: --from a later record, or --limit 0");
    }
    Ok(Exit::Done)
}

fn line(lsn: Lsn, entry: &Entry, known: &BTreeMap<MovementId, Known>, lang: Lang) -> Line {
    let id = entry.record.movement();
    let movement = id.and_then(|id| known.get(&id));
    let currency = movement.map_or("", |known| known.currency.as_str());
    let text = match (about_none(&entry.record), id) {
        (Some(text), _) => text,
        (None, Some(_)) => legs::leg(lsn, entry, currency).text.get(lang).to_owned(),
        (None, None) => entry.record.name().to_owned(),
    };
    let begun = begun(&entry.record);
    let card = begun.and_then(|movement| movement.card).map(|card| card.masked.to_string());
    let rrn = movement.map(|known| known.rrn.clone()).or_else(|| id.map(|id| format!("#{}", id.0)));
    Line { lsn: lsn.0, at_ms: entry.wall_ms, what: entry.record.name().to_owned(), rrn, card, text }
}

/// The line of a record that is about no movement.
fn about_none(record: &Record) -> Option<String> {
    match record {
        Record::Restarted { epoch, keys, .. } => Some(format!("start {epoch}, with keys {}", numbers(keys))),
        Record::Keys { keys } => Some(format!("keys {} from now on", numbers(keys))),
        Record::Marked { marks } => Some(format!("{} cards of memory are compared by another look-up key", marks.len())),
        Record::Tombstone { terminal, stan, .. } => {
            Some(format!("a reversal of {terminal} STAN {stan} without an original (D11)"))
        }
        Record::StanUsed { link, stan } => Some(format!("a network message on link {link} as STAN {stan}")),
        Record::ExceptionClosed { exception, who, why } => Some(format!("entry-{} closed by {who}: {why}", exception.0)),
        Record::Exception { rule, terminal, stan, id: None } => {
            Some(format!("an entry for a person about {terminal} STAN {stan} ({})", rule.name()))
        }
        Record::Exception { id: Some(_), .. }
        | Record::Intent { .. }
        | Record::Recalled { .. }
        | Record::Answered { .. }
        | Record::NeverSent { .. }
        | Record::Delivery { .. }
        | Record::Obligation { .. }
        | Record::ReversalNumbered { .. }
        | Record::ReversalAnswered { .. }
        | Record::LateAnswer { .. }
        | Record::AnotherApproval { .. }
        | Record::Confirmed { .. }
        | Record::NeedsOperator { .. }
        | Record::Resolved { .. }
        | Record::ReversalSeen { .. } => None,
    }
}

/// The numbers of keys.
fn numbers(keys: &[(u16, [u8; 8])]) -> String {
    let numbers: Vec<String> = keys.iter().map(|(number, _)| number.to_string()).collect();
    format!("{} (0: a look-up key)", numbers.join(", "))
}

/// The movement as a record holds all of it.
fn begun(record: &Record) -> Option<&Movement> {
    if let Record::Intent { movement } | Record::Recalled { movement } = record { Some(movement) } else { None }
}

#[derive(Serialize)]
struct Stats {
    oldest: u64,
    last: u64,
    first_ms: Option<u64>,
    last_ms: Option<u64>,
    starts: u32,
    segments: usize,
    bytes: u64,
    records: BTreeMap<&'static str, u64>,
    /// Sales by currency: how many, and their sum in minor units.
    asked: BTreeMap<String, (u64, u64)>,
    open: Vec<Open>,
    entries: usize,
}

#[derive(Serialize)]
struct Open {
    state: &'static str,
    in_doubt: bool,
    issuer: u16,
    currency: String,
    count: u64,
    amount: u64,
}

fn stats(dir: &Dir) -> Result<Exit, Failure> {
    let offline = open(dir)?;
    let mut records: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut asked: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut times: Option<(u64, u64)> = None;
    let core = offline.replayed(|_, entry| {
        *records.entry(entry.record.name()).or_default() += 1;
        times = Some((times.map_or(entry.wall_ms, |(first, _)| first), entry.wall_ms));
        if let Record::Intent { movement } = &entry.record {
            let of = movement.fingerprint.amount;
            let (count, sum) = asked.entry(of.currency().to_string()).or_default();
            (*count, *sum) = (*count + 1, sum.saturating_add(of.minor()));
        }
    })?;
    let row = |row: &switch::CensusRow| Open {
        state: row.state.name(),
        in_doubt: row.in_doubt,
        issuer: row.issuer.0,
        currency: row.currency.to_string(),
        count: row.count,
        amount: row.amount_minor,
    };
    let stats = Stats {
        oldest: offline.reader.oldest().0,
        last: offline.reader.durable().0,
        first_ms: times.map(|(first, _)| first),
        last_ms: times.map(|(_, last)| last),
        starts: core.epoch(),
        segments: offline.reader.sealed().len() + 1,
        bytes: offline.storage.bytes(),
        records,
        asked,
        open: core.census().iter().map(row).collect(),
        entries: core.exceptions().len(),
    };
    if dir.json {
        print_json(&stats)?;
    } else {
        print_stats(&stats);
    }
    Ok(Exit::Done)
}

fn print_stats(s: &Stats) {
    println!("records    {} to {}, {} starts", s.oldest, s.last, s.starts);
    if let (Some(first), Some(last)) = (s.first_ms, s.last_ms) {
        println!("from       {} to {}, {}", utc(first), utc(last), short(last.saturating_sub(first)));
    }
    println!("files      {} segments, {} bytes", s.segments, s.bytes);
    for (kind, count) in &s.records {
        println!("  {count:>10}  {kind}");
    }
    for (currency, (count, sum)) in &s.asked {
        println!("asked for  {} in {count} sales", amount(*sum, currency));
    }
    for row in &s.open {
        let doubt = if row.in_doubt { "in doubt" } else { "open" };
        println!("{doubt:<9}  {} {} at issuer {}, {}", row.count, row.state, row.issuer, amount(row.amount, &row.currency));
    }
    println!("entries    {} for a person", s.entries);
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value).context("the answer")?);
    Ok(())
}
