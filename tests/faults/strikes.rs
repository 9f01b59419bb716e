//! What is done to a process, or to the disk under it, while terminals sell. After each the daemon runs again, and sells.
//!
//! Counts of system calls and moments are drawn. Invariant: a strike that did not act fails.

use std::time::Duration;

use counterparts::net::load::Load;

use super::Kind;
use super::scene::{DAEMON_STOPPED_MS, ISSUER_STOPPED_MS, Scene};
use crate::support::strace::{can_trace, injected};
use crate::support::until;

/// The exit code that the table of `switchd --help` calls journal-storage: it failed while it was opened.
const JOURNAL_STORAGE: i32 = 22;
/// The same for journal-poisoned: a commit failed (M6).
const JOURNAL_POISONED: i32 = 23;

/// Within so many of its calls the journal is struck.
const CALLS: u64 = 200;
/// The recovery takes some of the first.
const FIRST_CALLS: u64 = 10;
/// So long a commit hangs before its sync while the power goes, microseconds.
const SYNC_HANGS: &str = "delay_enter=5000000";

/// What the log says when the recovery is over.
const LISTENING: &str = "listening for terminals";
/// What it says when the journal cannot get its next segment, and when it can again.
const NO_ROOM: &str = "the journal has no room";
const ROOM_AGAIN: &str = "the journal has room again";

/// Strikes once. The load that it gives goes on.
pub(super) async fn strike(kind: Kind, round: u32, scene: &mut Scene) -> Load {
    match kind {
        Kind::Kill => kill(scene).await,
        Kind::Stop => stop(round, scene).await,
        Kind::FailedSync => failed_sync(round, scene).await,
        Kind::FullDisk => match round % 3 {
            0 => full_for_good(scene).await,
            1 => full_for_a_while(scene).await,
            _ => failed_write(scene).await,
        },
        Kind::PowerLoss => power_loss(round, scene).await,
    }
}

/// `kill -9`; in every third round in the recovery, too.
async fn kill(scene: &mut Scene) -> Load {
    let load = scene.running_load().await;
    scene.pause(0, 1_500).await;
    scene.site.daemon.kill();
    scene.lose_terminals().await;
    if scene.seeded.below(3) == 0 {
        scene.site.spawn_again();
        scene.pause(0, 150).await;
        scene.site.daemon.kill();
    }
    scene.site.start_again().await;
    load
}

/// SIGSTOP of the daemon, of an issuer, of both, for longer than whoever waits for them.
async fn stop(round: u32, scene: &mut Scene) -> Load {
    let load = scene.running_load().await;
    scene.pause(0, 1_500).await;
    let one_of_two = Some(round as usize % 2);
    let (with_daemon, issuer) = match round % 3 {
        0 => (true, None),
        1 => (false, one_of_two),
        _ => (true, one_of_two),
    };
    if let Some(issuer) = issuer {
        scene.issuers[issuer].hang();
    }
    if with_daemon {
        scene.site.daemon.freeze().await;
    }
    scene.lose_terminals().await;
    scene.pause(ISSUER_STOPPED_MS / 2 + 300, ISSUER_STOPPED_MS).await;
    if let Some(issuer) = issuer {
        scene.issuers[issuer].go_on();
    }
    if with_daemon {
        scene.pause(DAEMON_STOPPED_MS, 2 * DAEMON_STOPPED_MS).await;
        scene.site.daemon.thaw();
    }
    scene.pause(100, 600).await;
    load
}

/// From one sync on all fail. The disk that failed may have lost what was not synced: then the power goes, too.
async fn failed_sync(round: u32, scene: &mut Scene) -> Load {
    let load = ends_by(scene, "fdatasync", "error=EIO").await;
    if round.is_multiple_of(2)
        && let Some(disk) = &scene.disk
    {
        disk.lose_power().await.ends().await;
    }
    scene.site.start_again().await;
    load
}

/// A file system that finds no room for what was allocated: from one write on all fail.
async fn failed_write(scene: &mut Scene) -> Load {
    let load = ends_by(scene, "pwrite64", "error=ENOSPC").await;
    scene.site.start_again().await;
    load
}

/// A call fails from some time on, and the daemon ends by itself, with the code that its table has for it (M6).
async fn ends_by(scene: &mut Scene, call: &str, error: &str) -> Load {
    let within = if scene.seeded.below(4) == 0 { FIRST_CALLS } else { CALLS };
    let from = 1 + scene.seeded.below(within);
    scene.site.daemon.kill();
    scene.site.spawn_again_under(&injected(call, error, &format!("{from}+")));
    let load = scene.load();
    let status = scene.site.daemon.exited().await;
    scene.lose_terminals().await;
    let has_listened = scene.site.daemon.log_since_start().contains(LISTENING);
    let expected = if has_listened { JOURNAL_POISONED } else { JOURNAL_STORAGE };
    assert_eq!(status.code(), Some(expected), "{call} {error} from call {from} on");
    load
}

/// The disk has no room for another segment, until it is another disk.
async fn full_for_good(scene: &mut Scene) -> Load {
    let load = no_room(scene, "1+").await;
    let mut probe = scene.probe();
    let receipt = until("a new sale is answered", async || probe.sale(&crate::support::card(), 77).await.ok()).await;
    assert_eq!(receipt.code(), "96", "M6: {receipt}");
    drop(probe);
    assert!(!scene.site.daemon.is_ready().await, "M6: it is not ready");
    // What is open goes on, and new requests are refused.
    scene.pause(100, 600).await;
    scene.site.daemon.kill();
    scene.lose_terminals().await;
    scene.site.start_again().await;
    load
}

/// The disk has no room for another segment, and then it has again.
async fn full_for_a_while(scene: &mut Scene) -> Load {
    let tries = 1 + scene.seeded.below(3);
    let load = no_room(scene, &format!("1..{tries}")).await;
    scene.lose_terminals().await;
    until("there is room again", async || scene.site.daemon.log_since_start().contains(ROOM_AGAIN).then_some(())).await;
    scene.site.daemon.ready().await;
    load
}

/// A daemon for which these attempts to allocate fail, at the moment when it knows.
async fn no_room(scene: &mut Scene, when: &str) -> Load {
    scene.site.daemon.kill();
    // Without its spare a journal needs one when its segment is half full, and not only after the next rotation.
    for file in std::fs::read_dir(scene.site.dir().join("journal")).expect("the journal is there") {
        let file = file.expect("the journal can be listed");
        if file.file_name().to_string_lossy().starts_with("spare-") {
            std::fs::remove_file(file.path()).expect("the journal is ours");
        }
    }
    scene.site.spawn_again_under(&injected("fallocate", "error=ENOSPC", when));
    scene.site.daemon.listening().await;
    let load = scene.load();
    until("there is no room", async || scene.site.daemon.log_since_start().contains(NO_ROOM).then_some(())).await;
    load
}

/// The power goes. In every other round, where it may be traced, in the middle of a commit that is written and not synced;
/// else between two.
async fn power_loss(round: u32, scene: &mut Scene) -> Load {
    let in_a_commit = round.is_multiple_of(2) && can_trace();
    if in_a_commit {
        let nth = 20 + scene.seeded.below(CALLS);
        scene.site.daemon.kill();
        scene.site.spawn_again_under(&injected("fdatasync", SYNC_HANGS, &nth.to_string()));
        scene.site.daemon.listening().await;
    }
    let load = scene.running_load().await;
    if in_a_commit {
        scene.stands_still(&load).await;
    } else {
        scene.pause(0, 1_500).await;
        scene.site.daemon.freeze().await;
    }
    let disk = scene.disk.as_ref().expect("a loss of power has a disk");
    let outage = disk.lose_power().await;
    scene.site.daemon.kill();
    // The kernel lets go of the files of a process a little after the process.
    tokio::time::sleep(Duration::from_millis(50)).await;
    outage.ends().await;
    scene.lose_terminals().await;
    scene.site.start_again().await;
    load
}
