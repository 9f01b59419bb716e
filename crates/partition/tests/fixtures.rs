//! Journals of a partition that this version and those before it wrote, with the keys of their cards, kept as files: every
//! later version must find every movement in them as it was, and keep what was promised.
//!
//! Each folder of `tests/fixtures` is one, named by the version that wrote it, and by what that recorded which one before it
//! did not; `expected.txt` says what must come out, `keys`
//! is the key file, all else are the journal's files. None is ever written again. A version that changes what is recorded
//! adds its own: `cargo test -p partition -- --ignored write_the_fixture_of_this_version`, and what it wrote is read and
//! committed.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use iso8583::{Fields, Mti};
use journal::memory::MemStorage;
use partition::{Keys, Options, Partition};
use switch::*;

const EXPECTED: &str = "expected.txt";
const KEYS: &str = "keys";
/// Journals that are kept. One that is missing here or there is noticed.
const KEPT: [&str; 2] = ["0.1.0", WRITTEN];
/// The newest: its keys were rotated while it was served.
const WRITTEN: &str = "0.1.0-rotated";

const BANK: LinkNo = LinkNo { issuer: IssuerNo(1), number: 1 };
/// The group, and the terminal in it, that confirms its sales.
const CONFIRMS: GroupNo = GroupNo(2);
const LINK: LinkId = LinkId { index: 1, generation: 1 };
const CONN: ConnId = ConnId { index: 1, generation: 0 };
const PANS: [&str; 2] = ["4111111111111111", "6221234567890123456"];
const HOUR_MS: u64 = 3_600_000;
/// When the first life began, and the second.
const BEGUN: Now = Now { uptime_ms: 1000, wall_ms: 1_795_331_289_000 };
const AGAIN: Now = Now { uptime_ms: 1000, wall_ms: BEGUN.wall_ms + 27 * HOUR_MS + 240_000 };

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn options(keys: Keys) -> Options {
    let mut config = Config { dedup_keys: 50, ..Config::default() };
    for number in 1..=4 {
        config.groups.insert(GroupNo(number), Group::default());
    }
    config.groups.insert(CONFIRMS, Group { confirm_within_ms: Some(10_000), ..Group::default() });
    config.issuers.insert(IssuerNo(1), Issuer::default());
    config.links.insert(BANK, Link { sign_on: false, echo_after_ms: 0, ..Link::default() });
    config.routes.push(Route { prefix: String::new(), issuer: IssuerNo(1) });
    let journal = journal::Options { segment_bytes: 8 << 10, group_bytes_max: 4 << 10, ..journal::Options::default() };
    Options { journal, config, keys }
}

/// What the issuer says to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Says {
    Yes,
    No,
    Nothing,
}

/// A process that serves the journal, its terminal and its issuer.
struct Life {
    partition: Partition<MemStorage>,
    now: Now,
    issuer: Says,
    acknowledges: bool,
    terminal_reads: bool,
    /// What left for issuer and terminals, a line each.
    sent: String,
}

impl Life {
    fn begin(storage: &MemStorage, keys: Keys, now: Now) -> (Life, partition::Opened) {
        let (partition, opened) = Partition::open(Arc::new(storage.clone()), options(keys), now)
            .unwrap_or_else(|error| panic!("refused: {error}"));
        let life = Life { partition, now, issuer: Says::Yes, acknowledges: true, terminal_reads: true, sent: String::new() };
        (life, opened)
    }

    fn input(&mut self, input: Input) {
        let mut inputs = vec![input];
        loop {
            self.partition.turn(self.now, &mut inputs);
            let commit = self.partition.take_commit();
            let idle = commit.is_none();
            if let Some(commit) = commit {
                self.partition.committed(self.now, commit.run()).expect("durable");
            }
            let mut actions = Vec::new();
            self.partition.release(&mut actions);
            if idle && actions.is_empty() {
                return;
            }
            inputs = actions.into_iter().flat_map(|action| self.act(action)).collect();
        }
    }

    fn act(&mut self, action: Action) -> Vec<Input> {
        match action {
            Action::ToTerminal { id, message, .. } => {
                self.tell(&message);
                let report = if self.terminal_reads { Report::Written } else { Report::Undeliverable };
                vec![Input::Report { action: id, report }]
            }
            Action::ToIssuer { id, link, message, .. } => {
                self.tell(&message);
                let reversal = message.has(90);
                let code = match self.issuer {
                    _ if reversal && self.acknowledges => Some("00"),
                    Says::Yes if !reversal => Some("00"),
                    Says::No if !reversal => Some("51"),
                    Says::Yes | Says::No | Says::Nothing => None,
                };
                let mut then = vec![Input::Report { action: id, report: Report::Written }];
                then.extend(code.map(|code| Input::Issuer { link, message: answer(&message, code) }));
                then
            }
            Action::Find { id, query } => vec![self.partition.look_up(&query).run(id)],
            Action::Withdraw { .. }
            | Action::Unsend { .. }
            | Action::Resolved { .. }
            | Action::ResetIfUnacknowledged { .. }
            | Action::CloseLink { .. }
            | Action::Note(_) => vec![],
        }
    }

    fn tell(&mut self, message: &Fields) {
        write!(self.sent, "sent {}", message.mti()).expect("text takes text");
        for de in [2, 4, 11, 37, 38, 39, 41, 90, 95] {
            if let Some(text) = message.text(de) {
                write!(self.sent, ", DE{de} {text}").expect("text takes text");
            }
        }
        self.sent.push('\n');
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { uptime_ms: self.now.uptime_ms + ms, wall_ms: self.now.wall_ms + ms };
        self.input(Input::Admission(Admission::Open));
    }

    fn terminal(&mut self, mti: &[u8; 4], group: u16, stan: u32, minor: u64, more: &[(u8, &str)]) {
        let mut message = Box::new(Fields::new(Mti::new(mti)));
        for (de, text) in [(3, "000000"), (49, "156"), (42, "MERCHANT0000001")] {
            message.set(de, text.as_bytes());
        }
        message.set(41, format!("TERM{group:04}").as_bytes());
        message.set(2, PANS[stan as usize % 2].as_bytes());
        message.set(4, format!("{minor:012}").as_bytes());
        message.set(11, format!("{stan:06}").as_bytes());
        more.iter().for_each(|(de, text)| message.set(*de, text.as_bytes()));
        self.input(Input::Terminal { conn: CONN, group: GroupNo(group), message, card: None });
        self.pass(4000);
        if let Some(job) = self.partition.checkpoint_due() {
            self.partition.checkpointed(job.run()).expect("made");
        }
    }

    fn reversal(&mut self, original: u32, minor: u64, more: &[(u8, &str)]) {
        let named = format!("0200{original:06}{:032}", 0);
        self.terminal(b"0400", 1, 900 + original, minor, &[&[(90, named.as_str())], more].concat());
    }
}

fn answer(message: &Fields, code: &str) -> Box<Fields> {
    let mut answer = Box::new(Fields::new(message.mti().response()));
    for de in [4, 7, 11, 37, 41, 42, 49] {
        answer.copy_from(message, de);
    }
    answer.set(39, code.as_bytes());
    if code == "00" && !message.has(90) {
        answer.set(38, b"APPR01");
    }
    answer
}

/// A movement in one line: what it is known by, what it waits for, and what is promised.
fn line(movement: &Movement) -> String {
    let mut text = format!("{} {} {} of {}", movement.rrn, movement.key.terminal, movement.key.stan, movement.amount());
    let masked = movement.card.as_ref().map_or("no card".into(), |card| card.masked.to_string());
    write!(text, ", {masked}: {}", movement.state.name()).expect("text takes text");
    write!(text, ", {} stands, answer {}", movement.net_minor(), movement.evidence.name()).expect("text takes text");
    if let Some(by) = movement.confirmed {
        write!(text, ", confirmed by {}", by.name()).expect("text takes text");
    }
    if let Some(owed) = &movement.obligation {
        let ended = if owed.ended { "kept" } else { "open" };
        let reason = std::str::from_utf8(owed.reason.digits()).expect("digits");
        write!(text, ", promise by {} with {reason} {ended}", owed.rule.name()).expect("text takes text");
    }
    if let Some(verdict) = &movement.verdict {
        write!(text, ", {} by {}: {}", verdict.resolution.name(), verdict.who, verdict.why).expect("text takes text");
    }
    text
}

/// What comes out of a journal, and what its next life does with it.
fn told(storage: &MemStorage, keys: Keys) -> String {
    let (mut life, opened) = Life::begin(storage, keys, AGAIN);
    let mut text = format!(
        "start {}, {} records after the checkpoint of record {}\n",
        opened.epoch,
        opened.journal.records,
        opened.journal.checkpoint.expect("a checkpoint"),
    );
    let movements = |life: &Life, text: &mut String| {
        for movement in life.partition.view().movements() {
            writeln!(text, "{}", line(movement)).expect("text takes text");
        }
        for (lsn, exception) in life.partition.view().exceptions() {
            let Exception { rule, terminal, stan, .. } = exception;
            writeln!(text, "for a person since record {}: {} {terminal} {stan}", lsn.0, rule.name())
                .expect("text takes text");
        }
    };
    movements(&life, &mut text);
    // The issuer is there again, and what was promised is kept. What is sent names the cards, so they were opened.
    life.input(Input::LinkOpened { link: LINK, number: BANK });
    for _ in 0..120 {
        life.pass(1000);
    }
    // A repeat gets what its sale got, and an original that comes after its reversal is refused.
    life.terminal(b"0201", 3, 10, 8000, &[]);
    life.terminal(b"0200", 1, 77, 7700, &[]);
    text.push_str("\ntwo minutes later\n");
    text.push_str(&life.sent);
    movements(&life, &mut text);
    text
}

/// A copy of a fixture's keys, readable by their owner alone: a checkout gives them to everybody.
fn keys_of(folder: &Path) -> Keys {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(KEYS);
    fs::copy(folder.join(KEYS), &path).expect("copied");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set");
    Keys::read(&path).expect("a key file of that version is read")
}

fn load(folder: &Path) -> MemStorage {
    let storage = MemStorage::new(*b"another identity");
    for entry in fs::read_dir(folder).expect("a fixture can be listed") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a plain name");
        if name != EXPECTED && name != KEYS {
            storage.put(name, fs::read(&path).expect("a file of a fixture can be read"));
        }
    }
    storage
}

#[test]
fn k5_movements_of_every_version_are_found_as_they_were_and_their_promises_are_kept() {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder()).expect("the fixtures can be listed") {
        let path = entry.expect("an entry").path();
        let expected = fs::read_to_string(path.join(EXPECTED)).expect("what must come out");
        let told = told(&load(&path), keys_of(&path));
        assert!(told == expected, "{}:\n{told}", path.display());
        found.push(path.file_name().expect("a name").to_string_lossy().into_owned());
    }
    found.sort();
    assert_eq!(found, KEPT);
}

/// A life with a movement in every state, in which keys are rotated, and which is killed.
fn live(storage: &MemStorage, keys: Keys, rotated: &Keys) {
    let (mut life, _) = Life::begin(storage, keys, BEGUN);
    life.input(Input::LinkOpened { link: LINK, number: BANK });
    life.terminal(b"0200", 1, 1, 1000, &[]);
    life.pass(25 * HOUR_MS);
    life.terminal(b"0200", 1, 2, 2000, &[]);
    life.reversal(2, 2000, &[]);
    life.issuer = Says::No;
    life.terminal(b"0200", 1, 3, 3000, &[]);
    life.issuer = Says::Yes;
    life.terminal(b"0200", 2, 4, 4000, &[]);
    life.terminal(b"0202", 2, 4, 4000, &[(39, "00")]);

    life.acknowledges = false;
    life.issuer = Says::Nothing;
    for (stan, minor) in [(5, 5000), (6, 6000)] {
        life.terminal(b"0200", 1, stan, minor, &[]);
        life.pass(60_000);
    }
    let rrn = life.partition.view().movements().last().expect("the sixth").rrn;
    life.input(Input::Resolve {
        ask: AskId(1),
        case: Case::Movement(rrn),
        resolution: Resolution::UndoneElsewhere,
        who: "anna".into(),
        why: "the issuer says so on paper".into(),
    });
    // The promise of the fifth is on the list: it was not kept for too long.
    life.pass(2 * HOUR_MS);
    life.issuer = Says::Yes;
    life.terminal(b"0200", 1, 7, 7000, &[]);
    life.reversal(7, 7000, &[(95, "000000003000000000000000000000000000000000")]);
    life.reversal(77, 7700, &[]);
    // Handed over, and keyed again at once.
    life.terminal(b"0200", 3, 8, 8000, &[]);
    life.terminal(b"0200", 3, 10, 8000, &[]);
    life.partition.take_keys(life.now, rotated).expect("the old ones are among them");
    // Killed while one waits for its issuer, and another for its terminal.
    life.issuer = Says::Nothing;
    life.terminal(b"0200", 4, 11, 11_000, &[]);
    life.issuer = Says::Yes;
    life.terminal_reads = false;
    life.terminal(b"0200", 1, 12, 12_000, &[]);
}

#[test]
#[ignore = "writes the fixture of this version, once; not a test"]
fn write_the_fixture_of_this_version() {
    let folder = folder().join(WRITTEN);
    fs::create_dir(&folder).unwrap_or_else(|error| panic!("{} is not written again: {error}", folder.display()));
    let keys = Keys::new(vec![(2, [0x5c; 32]), (1, [0xa3; 32])], vec![[0x3e; 32]]);
    let rotated = Keys::new(vec![(3, [0x71; 32]), (2, [0x5c; 32]), (1, [0xa3; 32])], vec![[0xd4; 32], [0x3e; 32]]);
    rotated.write(&folder.join(KEYS)).expect("written");
    let storage = MemStorage::new(*b"kept for decades");
    live(&storage, keys, &rotated);
    let killed = storage.kill();
    for name in journal::Storage::list(&killed).expect("listed") {
        fs::write(folder.join(&name), killed.bytes_of(&name).expect("there")).expect("written");
    }
    fs::write(folder.join(EXPECTED), told(&load(&folder), keys_of(&folder))).expect("written");
}
