//! Real processes under fault: the daemon between terminals and issuers that misbehave, over wires that do, is killed, stopped,
//! denied its syncs and its space, and loses power. After each round the issuers' ledgers, the terminals' receipts and the
//! switch's journal agree on every key of this round and of those before it, up to ten.
//!
//! Moments and faults are random; the seed is printed, and `SWITCHD_TEST_SEED` sets it. As the rest is real time, a seed
//! gives the same faults, not the same run. The long form is
//! `cargo test -p switchd --test main -- --ignored faults --nocapture`. Where a machine may not trace or mount, what
//! needs it says `SKIPPED`. Invariant: a round whose fault did not act fails.

mod mishaps;
mod scene;
mod strikes;

use std::time::Instant;

use counterparts::seeded::Seeded;
use scene::{Figures, Scene};

use crate::support::strace::can_trace_for;
use crate::support::{Disk, seed};

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

/// After so many rounds everything is made anew: what is compared grows with every round, and with it the time.
const ROUNDS_OF_A_SCENE: u32 = 10;

async fn rounds(kind: Kind, rounds: u32) {
    let name = kind.name();
    let needs_strace = matches!(kind, Kind::FailedSync | Kind::FullDisk);
    if needs_strace && !can_trace_for(name) {
        return;
    }
    let (all, mut seeded, mut figures) = (Instant::now(), Seeded::new(seed()), Figures::default());
    for first in (1..=rounds).step_by(ROUNDS_OF_A_SCENE as usize) {
        let disk = match kind {
            Kind::Kill | Kind::Stop | Kind::FullDisk => None,
            // Without one a failed sync loses nothing, and the exit codes alone are seen.
            Kind::FailedSync => Disk::mounted().await.ok(),
            Kind::PowerLoss => match Disk::mounted_for(name).await {
                Some(disk) => Some(disk),
                None => return,
            },
        };
        let mut scene = Scene::open(kind, disk, seeded.next_u64()).await;
        for round in first..=rounds.min(first + ROUNDS_OF_A_SCENE - 1) {
            let since = Instant::now();
            scene.misbehave(round).await;
            let load = strikes::strike(kind, round, &mut scene).await;
            scene.settle(load).await;
            println!("{name} {round}/{rounds}: three ledgers agree, {}; {:.1?}", scene.figures, since.elapsed());
        }
        figures += scene.figures;
    }
    assert!(figures.sales > u64::from(rounds) * SALES_PER_ROUND, "{} sales are no load", figures.sales);
    println!("{name}: {rounds} rounds, {figures}, 0 in doubt, {:.0?}", all.elapsed());
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
