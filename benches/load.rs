//! A first load test: the real daemon and a mock issuer as processes, terminals over TLS in a closed loop, and at the end
//! the three ledgers compared.
//!
//! `cargo bench --bench load`, or with `-- --terminals 64 --seconds 10`. Loopback only; terminals, issuer and daemon share
//! the machine, so the figures are those of the machine, not of the daemon alone. Invariant: figures are printed only of a
//! run after which the ledgers agree and nothing is in doubt; otherwise it says what differs and fails.

#[allow(dead_code, reason = "the demo needs more of it")]
#[path = "../crates/switchd/src/demo/judge.rs"]
mod judge;
#[path = "../crates/switchd/src/demo/process.rs"]
mod process;
#[allow(dead_code, reason = "the demo needs more of it")]
#[path = "../crates/switchd/src/demo/stage.rs"]
mod stage;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use counterparts::net::load::{Load, LoadArgs, Loaded, Progress, final_sale};
use counterparts::net::terminal::TerminalClient;
use counterparts::terminal::Presented;
use indicatif::{ProgressBar, ProgressStyle};
use judge::Verdict;
use stage::{Plan, Stage};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Left out of the figures: handshakes, first segments, cold caches.
const WARM_UP: Duration = Duration::from_secs(1);
/// More cannot be asked in one run: a STAN of the link is not used again within its late horizon.
const SALES_MAX: u64 = 900_000;
const CARDS: u64 = 1_000;
/// Long enough for a sale to wait behind all others, short enough for a person to wait for the end.
const TERMINAL_WAITS: Duration = Duration::from_secs(10);
/// A terminal in a closed loop sells a thousand times as often as a person can; with the usual margin of 2 s hundreds of
/// its sales would wait for their confirmation, where a real terminal has one or two. This keeps that proportion.
const CROSSING_MARGIN: Duration = Duration::from_millis(10);
const SETTLES_WITHIN: Duration = Duration::from_secs(30);
/// Ticks of `/proc/PID/stat` in a second; the same on every Linux that programs can see.
const TICKS: f64 = 100.0;

#[derive(Debug, Parser)]
struct Options {
    /// Terminals, each with its own certificate and connection.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1000))]
    terminals: u16,
    /// How long they sell.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=60))]
    seconds: u64,
    /// What `cargo bench` says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(measure(&options))
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: &Options) -> Result<()> {
    let load_before = load_average();
    warn_of_conditions(load_before);
    let dir = tempfile::Builder::new().prefix("load-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let set = |line, instead: &str| (line, instead.to_owned());
    let plan = Plan {
        terminals: options.terminals,
        groups: &[],
        configuration: &[
            set("terminal_response_timeout = \"30s\"", "terminal_response_timeout = \"10s\""),
            set("#crossing_margin = \"2s\"", "crossing_margin = \"10ms\""),
            // So many random sales hold equal ones by chance, which D6 would rightly flag.
            set("#rekey_window = \"3min\"", "rekey_window = \"0s\""),
            set("#response_timeout = \"15s\"", "response_timeout = \"5s\""),
            set("#original_horizon = \"30s\"", "original_horizon = \"8s\""),
            set("#tcp_user_timeout = \"20s\"", "tcp_user_timeout = \"7s\""),
            // All movements stay in memory, so that all can be compared at the end.
            set("#dedup_keys = 100000", "dedup_keys = 2000000"),
            set("#in_flight_max = 512", "in_flight_max = 2000"),
        ],
        issuer: &["--default-balance", "1000000000000"],
        terminal_waits: TERMINAL_WAITS,
    };
    let stage = Stage::set_up(Path::new(env!("CARGO_BIN_EXE_switchd")), dir.path(), plan).await?;
    let measured = drive(&stage, options).await;
    let figures = match measured {
        Ok(figures) => figures,
        Err(error) => {
            let kept = dir.keep();
            let [log, _] = stage::logs(&kept);
            bail!("{error:#}\nkept {}, last lines of the log:\n{}", kept.display(), process::last_lines(&log, 8));
        }
    };
    stage.stop().await?;
    figures.print(options, load_before);
    Ok(())
}

/// What one run gave.
struct Figures {
    /// Of the window after the warm-up, in seconds.
    window_s: f64,
    /// Sales answered in the window.
    sales: u64,
    /// Microseconds of every sale of the run, sorted.
    latencies_us: Vec<u32>,
    declined: u64,
    unknown: u64,
    /// CPU seconds in the window: daemon, mock issuer, terminals.
    cpu_s: [f64; 3],
    /// Means over the daemon's life.
    records_a_commit: f64,
    fsync_ms: f64,
    commits: f64,
    verdict: Verdict,
}

/// A look at counters and clocks.
struct Look {
    at: Instant,
    sales: u64,
    cpu_s: [f64; 3],
}

impl Look {
    fn now(stage: &Stage, progress: &Progress) -> Result<Self> {
        let (daemon, issuer) = stage.ids()?;
        let sales = [&progress.approved, &progress.declined, &progress.unknown].map(|count| count.load(Relaxed));
        let cpu_s = [cpu_seconds(daemon)?, cpu_seconds(issuer)?, cpu_seconds(std::process::id())?];
        Ok(Self { at: Instant::now(), sales: sales.iter().sum(), cpu_s })
    }
}

async fn drive(stage: &Stage, options: &Options) -> Result<Figures> {
    let duration = Duration::from_secs(options.seconds) + WARM_UP;
    let cards = (0..CARDS).map(|number| Ok(Presented::new(format!("400000{number:010}").parse()?)));
    let cards = cards.collect::<Result<Vec<_>>>()?;
    let terminals = (1..=options.terminals).map(|number| {
        // What a terminal believes stays in memory here: its disk is not what is measured.
        stage.terminal(number).map(|args| counterparts::net::terminal::TerminalArgs { journal: None, ..args })
    });
    let load = Load::start(LoadArgs {
        terminals: terminals.collect::<Result<_>>()?,
        cards: cards.clone(),
        amounts: 100..=10_000,
        pause: Duration::ZERO,
        sales_max: Some(SALES_MAX),
        duration: Some(duration),
        come_back_within: SETTLES_WITHIN,
        seed: 1,
    })?;
    let progress = load.progress().clone();
    sleep(WARM_UP).await;
    let from = Look::now(stage, &progress)?;
    show_progress(&progress, options.seconds, from.at).await;
    let to = Look::now(stage, &progress)?;
    let loaded = load.finish().await?;
    let (declined, unknown) = (progress.declined.load(Relaxed), progress.unknown.load(Relaxed));
    let (latencies_us, verdict) = reconcile(stage, loaded, &cards[0]).await?;
    let commits = stage.metric("switchd_commits_total").await?.max(1.0);
    Ok(Figures {
        window_s: (to.at - from.at).as_secs_f64(),
        sales: to.sales - from.sales,
        latencies_us,
        declined,
        unknown,
        cpu_s: std::array::from_fn(|party| to.cpu_s[party] - from.cpu_s[party]),
        records_a_commit: stage.metric("switchd_commit_records_sum").await? / commits,
        fsync_ms: stage.metric("switchd_fsync_seconds_sum").await? / commits * 1000.0,
        commits,
        verdict,
    })
}

async fn show_progress(progress: &Progress, seconds: u64, from: Instant) {
    let bar = ProgressBar::new(seconds * 10);
    let style = ProgressStyle::with_template("{bar:40} {elapsed} {msg}");
    bar.set_style(style.expect("the template above is one"));
    for tenth in 1..=seconds * 10 {
        tokio::time::sleep_until(from + Duration::from_millis(100 * tenth)).await;
        bar.set_position(tenth);
        bar.set_message(format!("{} approved", progress.approved.load(Relaxed)));
    }
    bar.finish_and_clear();
}

/// Every terminal has cleared what it owed and sells once more after the margin; then the ledgers must agree.
async fn reconcile(stage: &Stage, loaded: Loaded, card: &Presented) -> Result<(Vec<u32>, Verdict)> {
    ensure!(loaded.not_cleared.is_empty(), "terminals that still owe a reversal: {}", loaded.not_cleared.join(", "));
    let mut last_sales = JoinSet::new();
    for mut client in loaded.terminals {
        let card = card.clone();
        last_sales.spawn(async move {
            let receipt = final_sale(&mut client, &card, 100, CROSSING_MARGIN * 10, SETTLES_WITHIN).await?;
            anyhow::Ok((client, receipt))
        });
    }
    let mut journals = Vec::new();
    while let Some(ended) = last_sales.join_next().await {
        let (client, receipt): (TerminalClient, _) = ended??;
        ensure!(receipt.is_approved(), "a terminal's last sale was answered {}", receipt.code());
        journals.push(client.journal());
    }
    let verdict = judge::judge(stage, &journals, SETTLES_WITHIN).await?;
    let few = verdict.wrong.iter().take(10).cloned().collect::<Vec<_>>().join("\n");
    ensure!(verdict.wrong.is_empty(), "the ledgers do not agree, {} sentences:\n{few}", verdict.wrong.len());
    let mut latencies_us = loaded.latencies_us;
    latencies_us.sort_unstable();
    Ok((latencies_us, verdict))
}

impl Figures {
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    fn print(&self, options: &Options, load_before: f64) {
        let rate = self.sales as f64 / self.window_s;
        let (p50, p99) = (self.percentile_ms(50.0), self.percentile_ms(99.0));
        println!("{rate:.0} transactions per second; p50 {p50:.2} ms, p99 {p99:.2} ms");
        let Options { terminals, .. } = options;
        println!(
            "  {terminals} terminals over TLS, closed loop, {:.1} s after {} s of warm-up: {} sales; p99.9 {:.2} ms, longest {:.2} ms; \
             {} declined, {} unknown in the whole run",
            self.window_s,
            WARM_UP.as_secs(),
            self.sales,
            self.percentile_ms(99.9),
            self.percentile_ms(100.0),
            self.declined,
            self.unknown,
        );
        let (model, cores) = machine();
        println!(
            "  {model}, {cores} cores that daemon, mock issuer and terminals share; load average before {load_before:.2}"
        );
        let [daemon, issuer, terminals] = self.cpu_s;
        let micros = daemon * 1e6 / self.sales.max(1) as f64;
        let cores = |cpu: f64| cpu / self.window_s;
        println!(
            "  daemon {micros:.0} µs CPU per transaction; cores in use: daemon {:.2}, mock issuer {:.2}, terminals {:.2}",
            cores(daemon),
            cores(issuer),
            cores(terminals)
        );
        println!(
            "  journal: {:.0} commits of {:.1} records, fdatasync {:.2} ms on average",
            self.commits, self.records_a_commit, self.fsync_ms
        );
        let ledgers = &self.verdict.ledgers;
        println!(
            "  ledgers: issuer {}, switch {}, terminals {} movements; they agree on every key",
            ledgers.issuer.movements, ledgers.switch.movements, ledgers.terminals.movements
        );
        println!("  in doubt: {}", self.verdict.in_doubt);
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as above")]
    fn percentile_ms(&self, percentile: f64) -> f64 {
        let last = self.latencies_us.len().saturating_sub(1);
        let at = (last as f64 * percentile / 100.0).round() as usize;
        self.latencies_us.get(at).map_or(0.0, |us| f64::from(*us) / 1000.0)
    }
}

/// CPU that a process has used, user and system, in seconds.
fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold anything; utime and stime are the 12th and 13th after it.
    let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let ticks = |at| rest.split_whitespace().nth(at).and_then(|field| field.parse::<f64>().ok());
    Ok((ticks(11).context("utime")? + ticks(12).context("stime")?) / TICKS)
}

fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

fn machine() -> (String, usize) {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, model)| model);
    (model.unwrap_or("unknown processor").to_owned(), std::thread::available_parallelism().map_or(0, usize::from))
}

fn warn_of_conditions(load_before: f64) {
    if cfg!(debug_assertions) {
        eprintln!("warning: a debug build; the figures say nothing");
    }
    if load_before > 0.5 {
        eprintln!("warning: the machine is busy, load average {load_before:.2}; the figures will be low");
    }
}
