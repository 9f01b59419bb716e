//! Messages of terminals and issuers through the whole partition: what reads data elements is the core, behind the codec.
//!
//! ```text
//! items    1 byte what, 2 bytes length (little-endian), so many bytes
//! what     0, 1  a message of terminal 0 or 1 of group 1 (iso87-ascii)       4  the length is milliseconds that pass
//!          2     a message of a terminal of group 2 (iso87-bcd)              5  the issuer's answer to the oldest request or
//!          3     a message of the issuer (iso87-ascii)                          reversal: the bytes are its DE39, DE38
//!          6     the next writes fare as the length says                     7  the process is killed and starts again
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use iso8583::table::{ISO87_ASCII, ISO87_BCD};
use iso8583::{Dialect, Fields, Layout, Mti, TerminalId, mask};
use journal::Storage;
use journal::memory::MemStorage;
use partition::{Keys, Options, Partition};
use switch::{Action, ConnId, GroupNo, Input, IssuerNo, LinkId, LinkNo, Now, Report};

use crate::records::config;

const ITEMS_MAX: usize = 40;

/// Messages of peers, in any order. Every answer can be written in its peer's dialect, no card number that a peer named is in
/// the files of the journal, and after a kill at the end it opens, twice to the same state.
///
/// # Panics
/// When one of these does not hold.
pub fn traffic(mut data: &[u8]) {
    let mut site = Site::open(MemStorage::new([7; 16]), 1_000_000);
    for _ in 0..ITEMS_MAX {
        let Some(([what, low, high], rest)) = data.split_first_chunk::<3>() else { break };
        let length = u16::from_le_bytes([*low, *high]);
        // An item without bytes of its own has a number.
        let taken = if matches!(what % 8, 4 | 6 | 7) { 0 } else { usize::from(length).min(rest.len()) };
        let (bytes, rest) = rest.split_at(taken);
        data = rest;
        match what % 8 {
            terminal @ (0 | 1) => site.terminal(u32::from(terminal), 1, bytes),
            2 => site.terminal(2, 2, bytes),
            3 => site.issuer(bytes),
            4 => site.pass(u64::from(length)),
            5 => site.answer(bytes),
            6 => site.fates = length,
            _ => site = site.killed(),
        }
    }
    let first = site.killed();
    let state = first.state();
    let cards = first.secret_cards();
    for name in first.storage.list().expect("listed") {
        let file = first.storage.bytes_of(&name).expect("there");
        for card in &cards {
            assert!(!file.windows(card.len()).any(|bytes| bytes == card), "a card in clear in {name}");
        }
    }
    // A start is on record, so the second one is one record on; what is known of movements is the same.
    assert_eq!(first.killed().state(), state, "opened twice");
}

/// A partition with its disk, a link, and what waits for the issuer.
struct Site {
    storage: MemStorage,
    partition: Partition<MemStorage>,
    now: Now,
    generation: u32,
    at_issuer: VecDeque<Fields>,
    /// Numbers that no file may hold.
    cards: BTreeSet<Vec<u8>>,
    /// Values that may be stored as they are. A peer that gives its card number as one of them has it kept as that.
    clear: Vec<Vec<u8>>,
    fates: u16,
}

impl Site {
    fn open(storage: MemStorage, uptime_ms: u64) -> Site {
        let journal = journal::Options { segment_bytes: 32 << 10, group_bytes_max: 16 << 10, ..journal::Options::default() };
        let keys = Keys::new(vec![(1, [1; 32])], vec![[2; 32]]);
        let now = Now { uptime_ms, wall_ms: 1_795_331_289_000 + uptime_ms };
        let options = Options { journal, config: config(), keys };
        let (partition, _) = Partition::open(Arc::new(storage.clone()), options, now).expect("its own journal opens");
        let (at_issuer, cards, clear) = Default::default();
        let mut site = Site { storage, partition, now, generation: 0, at_issuer, cards, clear, fates: 0 };
        site.input(Input::LinkOpened { link: site.link(), number: LinkNo { issuer: IssuerNo(1), number: 1 } });
        site
    }

    fn link(&self) -> LinkId {
        LinkId { index: 1, generation: self.generation }
    }

    fn killed(self) -> Site {
        let mut site = Site::open(self.storage.kill(), self.now.uptime_ms + 1_000);
        (site.cards, site.clear) = (self.cards, self.clear);
        site
    }

    /// What is known of each movement.
    fn state(&self) -> Vec<String> {
        self.partition.view().movements().map(|movement| format!("{movement:?}")).collect()
    }

    fn secret_cards(&self) -> Vec<Vec<u8>> {
        let in_clear = |card: &[u8]| {
            let alike = |value: &Vec<u8>| card.windows(12).any(|part| value.windows(12).any(|digits| digits == part));
            self.clear.iter().any(alike)
        };
        self.cards.iter().filter(|card| !in_clear(card)).cloned().collect()
    }

    fn read(&mut self, dialect: &'static Dialect, bytes: &[u8]) -> Option<Box<Fields>> {
        let mut layout = Layout::new();
        let message = dialect.parse(bytes, &mut layout).ok()?;
        let mut fields = Box::new(Fields::new(message.mti()));
        message.fields_into(&mut fields);
        // Shorter ones stand in other numbers by chance.
        self.cards.extend(fields.get(2).filter(|pan| pan.len() >= 13).map(<[u8]>::to_vec));
        self.clear.push([fields.get(41).unwrap_or_default(), fields.get(42).unwrap_or_default()].concat());
        let clear = fields.iter().filter(|(de, _)| mask::shown(*de) == mask::Shown::Whole);
        self.clear.extend(clear.map(|(_, value)| value.to_vec()));
        Some(fields)
    }

    /// As the daemon: what cannot be read is answered 30 without the core, and so is what names no terminal.
    fn terminal(&mut self, index: u32, group: u16, bytes: &[u8]) {
        let dialect = dialect_of(index);
        let Some(message) = self.read(dialect, bytes) else { return };
        let named = match (message.get(41), message.get(42)) {
            (Some(terminal), Some(merchant)) => TerminalId::new(terminal, merchant).is_ok(),
            (Some(_), None) | (None, Some(_)) | (None, None) => message.mti().class() == 8,
        };
        if named {
            let conn = ConnId { index, generation: 0 };
            self.input(Input::Terminal { conn, group: GroupNo(group), message, card: None });
        }
    }

    fn issuer(&mut self, bytes: &[u8]) {
        if let Some(message) = self.read(&ISO87_ASCII, bytes) {
            self.input(Input::Issuer { link: self.link(), message });
        }
    }

    fn answer(&mut self, bytes: &[u8]) {
        let Some(request) = self.at_issuer.pop_front() else { return };
        let mut answer = Box::new(Fields::new(request.mti().response()));
        for de in [3, 4, 7, 11, 37, 41, 42, 49, 90] {
            answer.copy_from(&request, de);
        }
        let (code, approval) = bytes.split_at(bytes.len().min(2));
        answer.set(39, if code.is_empty() { b"00" } else { code });
        if !approval.is_empty() {
            answer.set(38, approval);
        }
        // Through the codec, as it would come.
        let mut wire = Vec::new();
        if ISO87_ASCII.assemble(&answer, &mut wire).is_ok() {
            self.issuer(&wire);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { uptime_ms: self.now.uptime_ms + ms, wall_ms: self.now.wall_ms + ms };
        self.partition.turn(self.now, &mut Vec::new());
        self.run();
    }

    fn input(&mut self, input: Input) {
        self.partition.turn(self.now, &mut vec![input]);
        self.run();
    }

    fn run(&mut self) {
        loop {
            let commit = self.partition.take_commit();
            let mut actions = Vec::new();
            self.partition.release(&mut actions);
            if commit.is_none() && actions.is_empty() {
                return;
            }
            let mut inputs: Vec<Input> = actions.drain(..).flat_map(|action| self.act(action)).collect();
            if let Some(commit) = commit {
                self.partition.committed(self.now, commit.run()).expect("this disk does not fail");
            }
            self.partition.turn(self.now, &mut inputs);
        }
    }

    fn act(&mut self, action: Action) -> Vec<Input> {
        match action {
            Action::ToTerminal { id, conn, message } => {
                writable(dialect_of(conn.index), &message);
                vec![Input::Report { action: id, report: self.fate([Report::Written, Report::Undeliverable]) }]
            }
            Action::ToIssuer { id, link: _, message, card } => {
                assert!(card.is_none(), "the partition has put the card in");
                let report = match self.issuer_can_be_told(&message) {
                    true => self.fate([Report::Written, Report::NotSent]),
                    false => Report::Unbuildable,
                };
                if report == Report::Written && !message.mti().is_response() {
                    self.at_issuer.push_back(*message);
                }
                vec![Input::Report { action: id, report }]
            }
            Action::Find { id, query } => vec![self.partition.look_up(&query).run(id)],
            Action::CloseLink { .. } | Action::ResetIfUnacknowledged { .. } => {
                let closed = Input::LinkClosed { link: self.link() };
                self.generation += 1;
                self.at_issuer.clear();
                let number = LinkNo { issuer: IssuerNo(1), number: 1 };
                vec![closed, Input::LinkOpened { link: self.link(), number }]
            }
            Action::Withdraw { .. } | Action::Unsend { .. } | Action::Resolved { .. } | Action::Note(_) => vec![],
        }
    }

    /// A request of another dialect may not fit the issuer's.
    fn issuer_can_be_told(&self, message: &Fields) -> bool {
        let told = ISO87_ASCII.assemble(message, &mut Vec::new()).is_ok();
        assert!(told, "both dialects hold the same values");
        told
    }

    /// One bit of the fates for each write.
    fn fate(&mut self, fates: [Report; 2]) -> Report {
        let fate = fates[usize::from(self.fates & 1)];
        self.fates >>= 1;
        fate
    }
}

fn dialect_of(terminal: u32) -> &'static Dialect {
    if terminal == 2 { &ISO87_BCD } else { &ISO87_ASCII }
}

fn writable(dialect: &'static Dialect, message: &Fields) {
    let mut out = Vec::new();
    if let Err(error) = dialect.assemble(message, &mut out) {
        panic!("an answer cannot be written: {error}: {message:?}");
    }
    let mut layout = Layout::new();
    let mut again = Fields::new(Mti::new(b"0000"));
    dialect.parse(&out, &mut layout).expect("an answer can be read").fields_into(&mut again);
    assert!(again.mti().is_response() && again.has(39), "an answer is an answer");
}
