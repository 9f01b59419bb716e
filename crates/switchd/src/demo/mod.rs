//! `switchd demo`: what the switch promises, shown with real processes in under a minute.
//!
//! A daemon and a mock issuer are started from this executable, in a temporary directory, on free ports of loopback, with
//! mutual TLS on both sides; terminals are driven from here. Not a test suite: `tests/` is. Invariant: exit code 0 only
//! when every scene was observed as the money rules promise it, the three ledgers agree and nothing is in doubt; both
//! processes are ended on every way out.

mod judge;
mod process;
mod progress;
mod scenes;
mod show;
mod stage;
mod timing;

use std::convert::Infallible;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::exit::{Exit, Failure};
use judge::Verdict;
use progress::Progress;
use scenes::{Row, World};
use stage::{Plan, Stage, Tx};

pub(crate) const EXAMPLES: &str = "Examples:
  switchd demo
  switchd demo --stay
  switchd demo --json";

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Keep everything running afterwards, and print the addresses, until Ctrl-C.
    #[arg(long)]
    stay: bool,
    /// The result as JSON.
    #[arg(long)]
    json: bool,
}

/// Plays the demo.
pub(crate) fn run(args: &DemoArgs) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(Exit::Failed, error))?.block_on(demo(args))
}

async fn demo(args: &DemoArgs) -> Result<Exit, Failure> {
    let program = std::env::current_exe().context("which executable is this?")?;
    let dir = tempfile::Builder::new().prefix("switchd-demo-").tempdir().context("a temporary directory")?;
    let played = tokio::select! {
        played = set_up_and_play(&program, dir.path()) => played,
        // What was started ends with the values that hold it, then the directory goes.
        interrupted = interrupt() => return interrupted.and(Err(anyhow!("interrupted"))).map_err(Failure::from),
    };
    let ended = match played {
        Ok(played) => show_and_stop(args, &program, played).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(true) => Ok(Exit::Done),
        Ok(false) => {
            keep(dir);
            Ok(Exit::Failed)
        }
        Err(error) => {
            keep(dir);
            Err(error.into())
        }
    }
}

/// The directory stays, and where to look is said.
fn keep(dir: tempfile::TempDir) {
    let dir = dir.keep();
    let mut text = format!("\nkept {}\n", dir.display());
    for log in stage::logs(&dir) {
        text += &format!("\nlast lines of {}:\n{}\n", log.display(), process::last_lines(&log, 8));
    }
    progress::remark(&text);
}

/// Ends when a person or a service manager wants an end.
async fn interrupt() -> Result<()> {
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal).into_iter();
    let mut next = || signals.next().context("three signals")?.context("signals");
    let (mut interrupt, mut terminate, mut hangup) = (next()?, next()?, next()?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}

/// All that was played, with the processes still running.
struct Played {
    stage: Stage,
    rows: Vec<Row>,
    verdict: Verdict,
    took: Duration,
}

async fn set_up_and_play(program: &Path, dir: &Path) -> Result<Played> {
    let started = Instant::now();
    let progress = Progress::new();
    let poor = format!("{}:1000", scenes::poor_card());
    let plan = Plan {
        terminals: scenes::TERMINALS,
        groups: &scenes::GROUPS,
        configuration: &timing::configuration(),
        // A reversal of what it does not know is answered as done, and forgotten (R3).
        issuer: &["--default-balance", "1000000", "--account", &poor, "--unknown-original-code", "00"],
        terminal_waits: timing::TERMINAL_WAITS,
    };
    let setting_up = progress.line("setting up");
    setting_up.says("keys, certificates, a mock issuer, a daemon");
    let stage = Stage::set_up(program, dir, plan).await?;
    setting_up.ends("daemon and mock issuer run", true);
    let playing = timeout(timing::ALL_WITHIN, play(&stage, &progress)).await;
    progress.clear();
    let (rows, verdict) = playing.with_context(|| format!("not over within {:?}", timing::ALL_WITHIN))??;
    Ok(Played { stage, rows, verdict, took: started.elapsed() })
}

/// Shows the result, stays when asked to, and stops. True when all was as it must be.
async fn show_and_stop(args: &DemoArgs, program: &Path, played: Played) -> Result<bool> {
    let Played { stage, rows, verdict, took } = played;
    let text = if args.json {
        show::json(&rows, &verdict, took, args.stay.then_some(&stage))?
    } else {
        show::text(&rows, &verdict, took)
    };
    // An error rather than a panic when nobody reads any more: the processes must end all the same.
    std::io::stdout().write_all(text.as_bytes())?;
    if args.stay {
        stay(args, &stage, program).await?;
    }
    stage.stop().await?;
    Ok(show::complaints(&rows, &verdict).is_empty())
}

/// Plays all scenes, then judges.
async fn play(stage: &Stage, progress: &Progress) -> Result<(Vec<Row>, Verdict)> {
    stage.set_faults(&scenes::faults()).await?;
    let (publish, books) = watch::channel(Vec::new());
    let world = World { stage, books: &books, progress };
    let scenes = async {
        let mut rows = scenes::play_together(world).await?;
        rows.extend(scenes::play_kill(world).await?);
        let journals = stage.journals(scenes::TERMINALS)?;
        let verdict = judge::judge(stage, &journals, timing::SETTLES_WITHIN).await?;
        Ok((rows, verdict))
    };
    tokio::select! {
        played = scenes => played,
        ended = keep_books(stage, &publish) => ended.map(|never| match never {}),
    }
}

/// Asks the switch for its movements again and again, for all scenes together. Ends only when a process did.
async fn keep_books(stage: &Stage, books: &watch::Sender<Vec<Tx>>) -> Result<Infallible> {
    loop {
        stage.run()?;
        // While the daemon is killed nobody answers; the scenes that wait have their own patience.
        if let Ok(transactions) = stage.transactions().await {
            books.send_replace(transactions);
        }
        sleep(timing::LOOK_AGAIN).await;
    }
}

/// Keeps everything running, with an issuer that behaves, until it is interrupted. A daemon that was killed for the fun
/// of it is started again.
async fn stay(args: &DemoArgs, stage: &Stage, program: &Path) -> Result<()> {
    stage.set_faults(&[]).await?;
    if !args.json {
        std::io::stdout().write_all(show::how_to_play(stage, program)?.as_bytes())?;
    }
    let watch = async {
        loop {
            if let Err(ended) = stage.run() {
                stage.start_daemon().await.with_context(|| ended.to_string())?;
                let metrics = stage.addresses()?.metrics;
                progress::remark(&format!("{ended}; started again, metrics on http://{metrics}/metrics\n"));
            }
            sleep(timing::LOOK_AGAIN).await;
        }
    };
    tokio::select! {
        interrupted = interrupt() => interrupted,
        ended = watch => ended,
    }
}
