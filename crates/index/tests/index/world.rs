//! A partition with terminals that sell, reverse, repeat and cancel, so that there is a journal to look things up in.

use std::sync::Arc;

use iso8583::{Fields, Mti};
use journal::memory::MemStorage;
use partition::{Keys, Options, Partition};
use switch::*;

const BANK: LinkNo = LinkNo { issuer: IssuerNo(1), number: 1 };
const LINK: LinkId = LinkId { index: 1, generation: 1 };
pub(crate) const PANS: [&str; 3] = ["4111111111111111", "4000001234567899", "6221234567890123456"];
/// The terminals; the first two have one DE41 and two merchants.
pub(crate) const TERMINALS: [(&[u8; 8], &[u8; 15]); 3] =
    [(b"TERM0001", b"MERCHANT0000001"), (b"TERM0001", b"MERCHANT0000002"), (b"TERM0003", b"MERCHANT0000001")];
/// When the first life began.
pub(crate) const BEGUN_MS: u64 = 1_795_331_289_000;

/// What comes next, from a seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// A process that serves the journal.
pub(crate) struct World {
    pub(crate) partition: Partition<MemStorage>,
    pub(crate) storage: MemStorage,
    pub(crate) now: Now,
    /// The issuer answers with this, or not at all.
    pub(crate) code: Option<&'static str>,
    /// The kernel's word about what is written to terminals comes back.
    pub(crate) reports: bool,
}

fn options(keys: ([u8; 32], [u8; 32])) -> Options {
    let mut config = Config { dedup_keys: 3, ..Config::default() };
    config.groups.insert(GroupNo(1), Group { serial: false, ..Group::default() });
    config.issuers.insert(IssuerNo(1), Issuer::default());
    config.links.insert(BANK, Link { sign_on: false, echo_after_ms: 0, ..Link::default() });
    config.routes.push(Route { prefix: String::new(), issuer: IssuerNo(1) });
    let journal = journal::Options { segment_bytes: 16 << 10, group_bytes_max: 8 << 10, ..journal::Options::default() };
    Options { journal, config, keys: Keys::new(vec![(1, keys.0)], vec![keys.1]) }
}

impl World {
    /// The first life of a journal.
    pub(crate) fn begin(identity: u8) -> World {
        Self::open(MemStorage::new([identity; 16]), Now { uptime_ms: 1_000, wall_ms: BEGUN_MS })
    }

    /// A life of the journal that is there.
    pub(crate) fn open(storage: MemStorage, now: Now) -> World {
        let keys = ([3; 32], [4; 32]);
        let (partition, _) = Partition::open(Arc::new(storage.clone()), options(keys), now).expect("it opens");
        let mut world = World { partition, storage, now, code: Some("00"), reports: true };
        world.input(Input::LinkOpened { link: LINK, number: BANK });
        world
    }

    /// Kill -9, and the next life.
    pub(crate) fn restart(self) -> World {
        let storage = self.storage.kill();
        Self::open(storage, self.now)
    }

    pub(crate) fn input(&mut self, input: Input) {
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
            Action::ToTerminal { .. } if !self.reports => vec![],
            Action::ToTerminal { id, .. } => vec![Input::Report { action: id, report: Report::Written }],
            Action::ToIssuer { id, link, message, .. } => {
                let mut then = vec![Input::Report { action: id, report: Report::Written }];
                let code = if message.has(90) { Some("00") } else { self.code };
                then.extend(code.map(|code| {
                    let mut answer = Box::new(Fields::new(message.mti().response()));
                    for de in [4, 7, 11, 37, 41, 42, 49] {
                        answer.copy_from(&message, de);
                    }
                    answer.set(39, code.as_bytes());
                    Input::Issuer { link, message: answer }
                }));
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

    /// Time passes.
    pub(crate) fn pass(&mut self, ms: u64) {
        self.now = Now { uptime_ms: self.now.uptime_ms + ms, wall_ms: self.now.wall_ms + ms };
        self.input(Input::Admission(Admission::Open));
        // What nobody waits for is committed with the next turn.
        self.now.uptime_ms += 30;
        self.input(Input::Admission(Admission::Open));
        if let Some(job) = self.partition.checkpoint_due() {
            self.partition.checkpointed(job.run()).expect("written");
        }
    }

    /// A terminal says something.
    pub(crate) fn terminal(&mut self, terminal: usize, mti: &[u8; 4], stan: u64, card: usize, more: &[(u8, &str)]) {
        let mut message = Fields::new(Mti::new(mti));
        let (name, merchant) = TERMINALS[terminal];
        for (de, text) in [(2, PANS[card]), (3, "000000"), (49, "978")] {
            message.set(de, text.as_bytes());
        }
        message.set(4, format!("{:012}", 1_000 + stan).as_bytes());
        message.set(11, format!("{stan:06}").as_bytes());
        message.set(41, name);
        message.set(42, merchant);
        for (de, text) in more {
            message.set(*de, text.as_bytes());
        }
        let conn = ConnId { index: terminal as u32, generation: 0 };
        self.input(Input::Terminal { conn, group: GroupNo(1), message: Box::new(message), card: None });
    }

    /// So many things happen, of every kind.
    pub(crate) fn live(mut self, dice: &mut Dice, count: u64) -> World {
        for _ in 0..count {
            let (terminal, stan) = (dice.below(3) as usize, 1 + dice.below(40));
            let card = dice.below(3) as usize;
            let class = [b"0200", b"0100"][dice.below(2) as usize];
            self.code = [Some("00"), Some("00"), Some("51"), None][dice.below(4) as usize];
            self.reports = dice.below(5) > 0;
            match dice.below(9) {
                0..=3 => self.terminal(terminal, class, stan, card, &[(37, "TERMINALRRN1")]),
                4 => self.terminal(terminal, b"0201", stan, card, &[]),
                5 => {
                    let original = format!("0200{stan:06}{}", "0".repeat(32));
                    self.terminal(terminal, b"0400", 900 + stan, card, &[(90, &original)]);
                }
                6 => self.terminal(terminal, b"0420", stan, card, &[]),
                7 => self.pass(1_000 * dice.below(400)),
                _ if dice.below(4) == 0 => self = self.restart(),
                _ => self.pass(50),
            }
            self.pass(20);
        }
        self
    }

    /// What the switch compares cards by.
    pub(crate) fn card(&self, movement: &Movement) -> CardHmac {
        movement.card.expect("it had one").hmac
    }
}
