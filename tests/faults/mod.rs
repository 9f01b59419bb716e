//! Real processes under fault: the daemon between terminals and issuers that misbehave, over wires that do, is killed, stopped,
//! denied its syncs and its space, and loses power. After each round the issuers' ledgers, the terminals' receipts and the
//! switch's journal agree on every key of every round so far.
//!
//! Moments and faults are random; the seed is printed, and `SWITCHD_TEST_SEED` sets it. As the rest is real time, a seed
//! gives the same faults, not the same run. The long form is
//! `cargo test -p switchd --release --test main -- --ignored faults --nocapture`. Where a machine may not trace or mount, what
//! needs it says `SKIPPED`. Invariant: a round whose fault did not act fails.

mod mishaps;
mod scene;
mod strikes;

use std::time::Instant;

use scene::{Figures, Scene};

use crate::support::Disk;
use crate::support::strace::can_trace_for;

/// What is done to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `kill -9`.
    Kill,
    /// SIGSTOP of the daemon and of issuers, longer than the timeouts.
    Stop,
    /// `fdatasync` ends with EIO.
    FailedSync,
    /// ENOSPC: no next segment, or no room for what is written.
    FullDisk,
    /// The power goes.
    PowerLoss,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill -9",
            Kind::Stop => "SIGSTOP",
            Kind::FailedSync => "EIO",
            Kind::FullDisk => "ENOSPC",
            Kind::PowerLoss => "power loss",
        }
    }
}

/// So many sales in a round are a load.
const SALES_PER_ROUND: u64 = 20;

async fn rounds(kind: Kind, rounds: u32) {
    let name = kind.name();
    let needs_strace = matches!(kind, Kind::FailedSync | Kind::FullDisk);
    if needs_strace && !can_trace_for(name) {
        return;
    }
    let disk = match kind {
        Kind::Kill | Kind::Stop | Kind::FullDisk => None,
        // Without one a failed sync loses nothing, and the exit codes alone are seen.
        Kind::FailedSync => Disk::mounted().await.ok(),
        Kind::PowerLoss => match Disk::mounted_for(name).await {
            Some(disk) => Some(disk),
            None => return,
        },
    };
    let all = Instant::now();
    let mut scene = Scene::open(kind, disk).await;
    for round in 1..=rounds {
        let since = Instant::now();
        scene.misbehave(round).await;
        let load = strikes::strike(kind, round, &mut scene).await;
        scene.settle(load).await;
        println!("{name} {round}/{rounds}: three ledgers agree, {}; {:.1?}", shown(&scene.figures), since.elapsed());
    }
    let sales = scene.figures.sales;
    assert!(sales > u64::from(rounds) * SALES_PER_ROUND, "{sales} sales are no load");
    println!("{name}: {rounds} rounds, {}, 0 in doubt, {:.0?}", shown(&scene.figures), all.elapsed());
}

/// Of all rounds so far.
fn shown(figures: &Figures) -> String {
    let Figures { sales, reversals, movements, unwound } = figures;
    format!("{sales} sales asked for, {reversals} reversed by terminals, {movements} movements, {unwound} unwound")
}

async fn play(kind: Kind, count: u32) {
    tokio::task::LocalSet::new().run_until(rounds(kind, count)).await;
}

#[tokio::test]
async fn after_each_kill_three_ledgers_agree() {
    play(Kind::Kill, 4).await;
}

#[tokio::test]
async fn after_each_stop_longer_than_the_timeouts_three_ledgers_agree() {
    play(Kind::Stop, 3).await;
}

#[tokio::test]
async fn m6_after_each_failed_sync_three_ledgers_agree() {
    play(Kind::FailedSync, 4).await;
}

#[tokio::test]
async fn m6_after_each_full_disk_three_ledgers_agree() {
    play(Kind::FullDisk, 3).await;
}

#[tokio::test]
async fn m1_m2_m3_after_each_loss_of_power_three_ledgers_agree() {
    play(Kind::PowerLoss, 2).await;
}

#[tokio::test]
#[ignore = "minutes; run by hand"]
async fn long_50_kills() {
    play(Kind::Kill, 50).await;
}

#[tokio::test]
#[ignore = "minutes; run by hand"]
async fn long_50_stops() {
    play(Kind::Stop, 50).await;
}

#[tokio::test]
#[ignore = "minutes; run by hand"]
async fn long_50_failed_syncs() {
    play(Kind::FailedSync, 50).await;
}

#[tokio::test]
#[ignore = "minutes; run by hand"]
async fn long_50_full_disks() {
    play(Kind::FullDisk, 50).await;
}

#[tokio::test]
#[ignore = "minutes; run by hand"]
async fn long_15_losses_of_power() {
    play(Kind::PowerLoss, 15).await;
}
