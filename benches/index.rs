//! The engines of the index beside each other: CPU per record, memory, disk, look-ups that hit and miss, opening again,
//! and what comes back when half is deleted.
//!
//! `cargo bench -p index`, or with `-- --records 2000000`. Each engine runs in a process of its
//! own, so that its memory is its own. A record is what a sale makes on average: its intent has five entries, and three more
//! records have one each. Invariant: every figure is of the same entries, in the same order, for both engines.

use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use index::{Batch, Engine, Kind};

/// Records of one batch, as the daemon's thread applies them.
const BATCH: u64 = 4_096;
const RECORDS_PER_SALE: u64 = 4;
const LOOK_UPS: u64 = 20_000;
/// Ticks of `/proc/self/stat` in a second; the same on every Linux that programs can see.
const TICKS: f64 = 100.0;

#[derive(Debug, Parser)]
struct Options {
    /// Records. The default is small, so that it is quick; the figures of docs/DEPENDENCIES.md are of 2,000,000.
    #[arg(long, default_value_t = 100_000)]
    records: u64,
    /// Measure this engine, here.
    #[arg(long, hide = true)]
    engine: Option<String>,
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("index: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if let Some(name) = &options.engine {
        let kind = Kind::ALL.iter().find(|kind| kind.name() == name).context("no such engine in this build")?;
        return measure(*kind, options.records);
    }
    println!("{} records, {} per sale, batches of {BATCH}; lower is better", options.records, RECORDS_PER_SALE);
    println!("engine  CPU us/record  records/s  memory MiB  disk MiB  hit us  miss us  open ms  disk MiB, half deleted");
    for kind in Kind::ALL {
        let this = std::env::current_exe()?;
        let records = options.records.to_string();
        let status = Command::new(this).args(["--engine", kind.name(), "--records", &records]).status()?;
        ensure!(status.success(), "{}: {status}", kind.name());
    }
    Ok(())
}

/// User and system time of this process, its threads included.
fn cpu() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(Duration::from_secs_f64(ticks / TICKS))
}

/// Resident memory of this process, in MiB.
fn memory() -> Result<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = statm.split_whitespace().nth(1).context("statm has fields")?.parse()?;
    Ok(pages * 4096.0 / f64::from(1 << 20))
}

/// What a directory takes on disk, in MiB.
fn disk(dir: &Path) -> Result<f64> {
    use std::os::unix::fs::MetadataExt;
    let mut blocks = 0;
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for file in std::fs::read_dir(dir)? {
            let file = file?;
            if file.file_type()?.is_dir() {
                dirs.push(file.path());
            }
            // One that is removed meanwhile takes nothing.
            blocks += file.metadata().map_or(0, |metadata| metadata.blocks());
        }
    }
    Ok(blocks as f64 * 512.0 / f64::from(1 << 20))
}

/// A bijection that looks like chance.
fn mix(number: u64) -> u64 {
    let mut x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The key of an entry: a letter, what identifies it, its time, its LSN; as long as the real ones.
fn key(kind: u8, what: &[u8], time: u64, lsn: u64) -> Vec<u8> {
    [&[kind], what, &time.to_be_bytes(), &lsn.to_be_bytes()].concat()
}

/// Gives the entries of a record.
fn entries(lsn: u64, mut each: impl FnMut(&[u8], &[u8])) {
    let sale = lsn / RECORDS_PER_SALE;
    let mut place = sale.to_be_bytes().to_vec();
    place.extend_from_slice(&lsn.to_be_bytes());
    each(&key(b'M', &[], sale, lsn), &place);
    if lsn.is_multiple_of(RECORDS_PER_SALE) {
        let terminal = format!("T{:07}MERCHANT{:07}", mix(sale) % 5_000, 1);
        let (subject, time) = ([0, 1, 2, 3, 4, 5, 6, 7, 8], 1_795_331_289_000 + sale);
        let stan = u32::try_from(sale % 1_000_000).unwrap_or(0).to_be_bytes();
        each(&key(b'K', &[terminal.as_bytes(), &stan].concat(), time, lsn), &subject);
        each(&key(b'T', terminal.as_bytes(), time, lsn), &subject);
        each(&rrn_key(sale, lsn), &subject);
        let card = mix(mix(sale) % 200_000);
        each(&key(b'C', &[card.to_be_bytes(), mix(card).to_be_bytes()].concat(), time, lsn), &subject);
    }
}

fn rrn_prefix(sale: u64) -> Vec<u8> {
    format!("R6326{sale:08}").into_bytes()
}

fn rrn_key(sale: u64, lsn: u64) -> Vec<u8> {
    [rrn_prefix(sale), lsn.to_be_bytes().to_vec()].concat()
}

fn measure(kind: Kind, records: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("engine");
    let before = memory()?;
    let engine = kind.open(&path)?;
    let (started, cpu_before) = (Instant::now(), cpu()?);
    let mut batch = Batch::default();
    for from in (0..records).step_by(BATCH as usize) {
        batch.clear();
        let upto = records.min(from + BATCH);
        (from..upto).for_each(|lsn| entries(lsn, |key, value| batch.put(key, value)));
        batch.put(b"V", &upto.to_be_bytes());
        engine.apply(&batch)?;
    }
    engine.sync()?;
    let (took, spent) = (started.elapsed().as_secs_f64(), (cpu()? - cpu_before).as_secs_f64());
    let (memory, filled) = (memory()? - before, disk(&path)?);
    let sales = records / RECORDS_PER_SALE;
    let hit = look_up(&*engine, |n| mix(n) % sales, true)?;
    let miss = look_up(&*engine, |n| sales + 1 + mix(n) % sales, false)?;
    drop(engine);
    let opening = Instant::now();
    let engine = kind.open(&path)?;
    ensure!(engine.get(b"V")?.as_deref() == Some(&records.to_be_bytes()[..]), "the mark is what was written last");
    let open = opening.elapsed();
    for from in (0..records / 2).step_by(BATCH as usize) {
        batch.clear();
        (from..(records / 2).min(from + BATCH)).for_each(|lsn| entries(lsn, |key, _| batch.remove(key)));
        engine.apply(&batch)?;
    }
    engine.sync()?;
    drop(engine);
    // A closed and opened one has done what it would do in the background.
    let engine = kind.open(&path)?;
    std::thread::sleep(Duration::from_secs(2));
    drop(engine);
    println!(
        "{:<6} {:>14.2} {:>10.0} {:>11.0} {:>9.0} {:>7.1} {:>8.1} {:>8.0} {:>23.0}",
        kind.name(),
        spent * 1e6 / records as f64,
        records as f64 / took,
        memory,
        filled,
        hit.as_secs_f64() * 1e6 / LOOK_UPS as f64,
        miss.as_secs_f64() * 1e6 / LOOK_UPS as f64,
        open.as_secs_f64() * 1e3,
        disk(&path)?,
    );
    Ok(())
}

/// Looks sales up by RRN, each of which is there or is not.
fn look_up(engine: &dyn Engine, sale: impl Fn(u64) -> u64, there: bool) -> Result<Duration> {
    let started = Instant::now();
    for n in 0..LOOK_UPS {
        let (from, mut found) = (rrn_prefix(sale(n)), 0);
        let to = [from.as_slice(), &[0xff; 8]].concat();
        engine.scan(&from, &to, &mut |_, _| {
            found += 1;
            ControlFlow::Continue(())
        })?;
        ensure!(found == u64::from(there), "{found} entries of an RRN");
    }
    Ok(started.elapsed())
}
