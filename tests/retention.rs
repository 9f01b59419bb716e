//! `journal.keep_days`: what is too old goes, whole segments of it, and its space comes back.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use iso8583::{Fields, Mti};
use journal::memory::MemStorage;
use partition::{Keys, Partition};
use switch::{Action, Config, ConnId, Group, GroupNo, Input, Issuer, IssuerNo, Link, LinkId, LinkNo, Now, Report, Route};

use crate::support::daemon::switchd;
use crate::support::site::{PAN, configuration, initialised, mock_issuer};
use crate::support::{Options, Site, code, sale, until};

const DAY_MS: u64 = 86_400_000;
const LINK: LinkNo = LinkNo { issuer: IssuerNo(1), number: 1 };
/// Declines of long ago: a few segments of them.
const DECLINES: u32 = 9_000;

/// What a partition does with an input, with an issuer that declines.
fn turn(partition: &mut Partition<MemStorage>, now: Now, input: Input) {
    let mut inputs = vec![input];
    loop {
        partition.turn(now, &mut inputs);
        let commit = partition.take_commit();
        let idle = commit.is_none();
        if let Some(commit) = commit {
            partition.committed(now, commit.run()).expect("durable");
        }
        let mut actions = Vec::new();
        partition.release(&mut actions);
        if idle && actions.is_empty() {
            return;
        }
        for action in actions {
            match action {
                Action::ToTerminal { id, .. } => inputs.push(Input::Report { action: id, report: Report::Written }),
                Action::ToIssuer { id, link, message, .. } => {
                    let mut answer = Box::new(Fields::new(message.mti().response()));
                    for de in [4, 7, 11, 37, 41, 42, 49] {
                        answer.copy_from(&message, de);
                    }
                    answer.set(39, b"51");
                    inputs.push(Input::Report { action: id, report: Report::Written });
                    inputs.push(Input::Issuer { link, message: answer });
                }
                Action::Find { .. }
                | Action::Withdraw { .. }
                | Action::Unsend { .. }
                | Action::Resolved { .. }
                | Action::ResetIfUnacknowledged { .. }
                | Action::CloseLink { .. }
                | Action::Note(_) => {}
            }
        }
    }
}

/// A journal of long ago, made in memory, as files.
fn write_journal(dir: &Path, wall_ms: u64) {
    let mut config = Config { partition: 1, dedup_keys: 10, ..Config::default() };
    config.groups.insert(GroupNo(1), Group::default());
    config.issuers.insert(IssuerNo(1), Issuer::default());
    config.links.insert(LINK, Link { sign_on: false, echo_after_ms: 0, ..Link::default() });
    config.routes.push(Route { prefix: String::new(), issuer: IssuerNo(1) });
    let keys = Keys::read(&dir.join("keys/journal.keys")).expect("init made it");
    let journal = journal::Options { segment_bytes: 1 << 20, group_bytes_max: 256 << 10, ..journal::Options::default() };
    let storage = MemStorage::new([7; 16]);
    let mut now = Now { uptime_ms: 1_000, wall_ms };
    let options = partition::Options { journal, config, keys };
    let (mut partition, _) = Partition::open(Arc::new(storage.clone()), options, now).expect("a new journal");
    turn(&mut partition, now, Input::LinkOpened { link: LinkId { index: 1, generation: 1 }, number: LINK });
    for stan in 1..=DECLINES {
        let mut message = sale(1, stan, PAN, u64::from(stan));
        message.set_mti(Mti::new(b"0200"));
        let conn = ConnId { index: 1, generation: 0 };
        turn(&mut partition, now, Input::Terminal { conn, group: GroupNo(1), message: Box::new(message), card: None });
        now = Now { uptime_ms: now.uptime_ms + 1_000, wall_ms: now.wall_ms + 1_000 };
        if let Some(job) = partition.checkpoint_due() {
            partition.checkpointed(job.run()).expect("written");
        }
    }
    partition.close().expect("a clean stop");
    let target = dir.join("journal");
    fs::create_dir_all(&target).expect("the directory is ours");
    for name in journal::Storage::list(&storage).expect("it is in memory") {
        fs::write(target.join(&name), storage.bytes_of(&name).expect("it is there")).expect("the directory is ours");
    }
}

/// What a directory takes on disk, in bytes.
fn disk(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).expect("it is there").filter_map(Result::ok);
    // One that is removed meanwhile takes nothing.
    files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.blocks() * 512).sum()
}

/// K5: a journal that nobody saw is taken by name, with a new key.
async fn adopt(dir: &Path) {
    let keys = dir.join("keys/journal.keys");
    let text = fs::read_to_string(&keys).expect("init made it");
    fs::write(&keys, format!("pan 2 {}\n{text}", "5a".repeat(32))).expect("the directory is ours");
    let config = dir.join("switchd.toml");
    let args = ["adopt", "--config", config.to_str().expect("the path is text"), "--who", "ann", "--why", "a test"];
    let output = switchd(args).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn segments_past_their_retention_are_deleted_and_their_space_comes_back() {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let now_ms = u64::try_from(since_1970.as_millis()).expect("64 bits hold it");
    let options = Options { retention: "keep_days = 30", ..Options::default() };
    let dir = initialised(1).await;
    write_journal(dir.path(), now_ms - 40 * DAY_MS);
    let issuer = mock_issuer(dir.path()).await;
    let links = vec![(issuer.address(), true)];
    let config = configuration(&options, "127.0.0.1:0".parse().expect("an address"), &links);
    fs::write(dir.path().join("switchd.toml"), config).expect("the directory is ours");
    adopt(dir.path()).await;
    let journal = dir.path().join("journal");
    let before = disk(&journal);
    assert!(before > 6 << 20, "{before} bytes: there is something to delete");

    let mut site = Site::around(dir, issuer, options, links);
    site.daemon.ready().await;
    until("old segments are gone", async || (disk(&journal) + (4 << 20) < before).then_some(())).await;
    let first_gone = !journal.join("segment-0000000000000001").exists();
    assert!(first_gone, "the oldest goes first");
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&sale(1, 900_000, PAN, 100)).await), "00", "and it serves");
    site.daemon.stop().await;
    site.start_again().await;
    site.daemon.counts("switchd_index_following", 1.0).await;
    assert_eq!(site.daemon.metric("switchd_index_built_total").await, 0.0, "the index dropped what went, and no more");
}
