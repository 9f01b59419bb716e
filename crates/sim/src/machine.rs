//! The machine that the switch runs on: its process, clocks and disk, and what the daemon's shell does around a partition.
//!
//! Runs the real [`Partition`] on [`MemStorage`]. Invariant: what was not durable at a crash is kept or lost by the plan's
//! dice, and nothing else is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use journal::OpenError as JournalError;
use journal::memory::{Fate, MemStorage, Unsynced};
use partition::{Commit, Keys, OpenError, Options, Partition};
use switch::{Action, Admission, Config, Input, LinkNo, Lsn, Note, Now, Report};

use crate::plan::{Plan, Trouble};
use crate::queue::{MS, Micros, SECOND};
use crate::wire::{End, ORPHAN_TIMEOUT, Peer, conn_id, link_id};
use crate::world::{Event, SHOPS_CLOSE, World};

/// Small, so that a run seals many segments.
const SEGMENT_BYTES: u64 = 96 << 10;
const GROUP_BYTES_MAX: usize = 32 << 10;
/// Between two looks at work for a quiet journal.
const UPKEEP_EVERY: Micros = SECOND;

/// In one world of four keys of cards are rotated as often as this, while the shops are open: by a reload or, where the switch
/// is down, by its start.
const ROTATED_EVERY: Micros = 5 * 60 * SECOND;

/// How a process ends without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// Its system goes on.
    Killed,
    /// The power fails.
    PowerLost,
}

/// Process, clocks, disk.
pub(crate) struct Machine {
    config: Config,
    pub(crate) storage: Arc<MemStorage>,
    pub(crate) partition: Option<Partition<MemStorage>>,
    inputs: Vec<Input>,
    actions: Vec<Action>,
    /// The process's number; connections belong to one.
    pub(crate) life: u32,
    /// The turn that is due.
    turn_at: Option<Micros>,
    commit: Option<Commit<MemStorage>>,
    /// Nothing runs before this.
    pub(crate) awake_at: Micros,
    /// When the machine was switched on.
    booted_at: Micros,
    /// How wrong the wall clock is, in milliseconds.
    pub(crate) wall_error_ms: i64,
    next_upkeep: Micros,
    /// The last turn of which the commit under way holds all, and the last of which all is durable.
    /// The last record of each turn whose records are not all durable yet, and when it was.
    turns: VecDeque<(Lsn, Micros)>,
    durable_turn: Micros,
    /// Approvals that came in, by RRN and the link's STAN, first and second ones apart, and when; those that a crash may have lost
    /// are not among them.
    pub(crate) told_of: BTreeMap<(String, String, bool), Micros>,
    pub(crate) disk_full: bool,
    /// The disk will fail once; counted when it does.
    pub(crate) failing: Option<Trouble>,
    /// It dies in the middle of its next commit.
    pub(crate) doomed: Option<Death>,
    pub(crate) draining: bool,
    /// How often the keys of cards were rotated.
    rotations: u8,
}

impl Machine {
    pub(crate) fn new(plan: &Plan) -> Machine {
        let mut identity = [7; 16];
        identity[..8].copy_from_slice(&plan.seed.to_le_bytes());
        Machine {
            config: plan.config(),
            storage: Arc::new(MemStorage::new(identity)),
            partition: None,
            inputs: Vec::new(),
            actions: Vec::new(),
            life: 0,
            turn_at: None,
            commit: None,
            awake_at: 0,
            booted_at: 0,
            wall_error_ms: 0,
            next_upkeep: UPKEEP_EVERY,
            turns: VecDeque::new(),
            durable_turn: 0,
            told_of: BTreeMap::new(),
            disk_full: false,
            failing: None,
            doomed: None,
            draining: false,
            rotations: 0,
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn options(&self) -> Options {
        let journal = journal::Options {
            segment_bytes: SEGMENT_BYTES,
            group_bytes_max: GROUP_BYTES_MAX,
            reserve_segments: 1,
            mark_commits: 16,
        };
        Options { journal, config: self.config.clone(), keys: self.keys() }
    }

    /// Its keys, the newest of each kind first: one of each, and one more with each rotation.
    fn keys(&self) -> Keys {
        let newest_first = || (0..=self.rotations).rev();
        let pan = newest_first().map(|number| (u16::from(number) + 1, [number ^ 0x11; 32]));
        Keys::new(pan.collect(), newest_first().map(|number| [number ^ 0x88; 32]).collect())
    }

    pub(crate) fn runs(&self) -> bool {
        self.partition.is_some()
    }
}

impl World {
    pub(crate) fn clocks(&self) -> Now {
        let machine = &self.machine;
        let wall_ms = self.wall_ms().saturating_add_signed(machine.wall_error_ms);
        Now { uptime_ms: 1_000 + (self.now - machine.booted_at) / MS, wall_ms }
    }

    /// Something for the switch to take in at its next turn.
    pub(crate) fn input(&mut self, input: Input) {
        if self.machine.runs() {
            self.machine.inputs.push(input);
            self.turn_by(self.now + 20);
        }
    }

    pub(crate) fn terminal_message(&mut self, at: usize, message: Box<iso8583::Fields>) {
        match message.mti().as_bytes() {
            [_, b'4', ..] => self.auditor.reversal_comes(&message),
            [_, b'1' | b'2', b'0', b'0' | b'1'] => self.auditor.request_comes(self.wall_ms(), &message),
            _ => {}
        }
        let group = self.group_of(&message);
        self.input(Input::Terminal { conn: conn_id(at, self.machine.life), group, message, card: None });
    }

    fn turn_by(&mut self, at: Micros) {
        let at = at.max(self.machine.awake_at).max(self.now);
        if self.machine.turn_at.is_none_or(|due| due > at) {
            self.machine.turn_at = Some(at);
            self.events.put(at, Event::Turn);
        }
    }

    pub(crate) fn turn(&mut self) {
        if self.machine.turn_at != Some(self.now) {
            return;
        }
        self.machine.turn_at = None;
        if self.machine.awake_at > self.now {
            return self.turn_by(self.machine.awake_at);
        }
        let now = self.clocks();
        let Some(partition) = &mut self.machine.partition else { return };
        partition.turn(now, &mut self.machine.inputs);
        self.rotate_keys();
        let Some(partition) = &self.machine.partition else { return };
        self.machine.turns.push_back((partition.view().last_record(), self.now));
        self.commit();
        self.carry_out();
        self.upkeep();
        self.check_point();
        self.turn_when_due();
    }

    /// The operator rotates keys, and the switch takes them while it runs if it takes them at all.
    fn rotate_keys(&mut self) {
        let before = self.machine.rotations;
        self.machine.rotations = self.rotations();
        let (now, keys) = (self.clocks(), self.machine.keys());
        let Some(partition) = self.machine.partition.as_mut().filter(|_| before != self.machine.rotations) else { return };
        match partition.take_keys(now, &keys) {
            Ok(()) => self.out.coverage.event("keys rotated"),
            // Another time.
            Err(_) => self.machine.rotations = before,
        }
    }

    /// How often keys are to have been rotated by now.
    fn rotations(&self) -> u8 {
        let rotates = self.plan.seed.is_multiple_of(4);
        if rotates { (self.now.min(SHOPS_CLOSE) / ROTATED_EVERY) as u8 } else { 0 }
    }

    fn turn_when_due(&mut self) {
        let Some(partition) = &self.machine.partition else { return };
        if let Some(uptime_ms) = partition.next_timeout() {
            let due = self.machine.booted_at + uptime_ms.saturating_sub(1_000) * MS;
            self.turn_by(due.max(self.now + 1));
        }
    }

    fn commit(&mut self) {
        let taken = self.machine.partition.as_mut().and_then(Partition::take_commit);
        if let Some(commit) = taken {
            self.start_commit(commit);
        }
    }

    fn start_commit(&mut self, commit: Commit<MemStorage>) {
        let mut takes = 200 + self.below(3 * MS);
        if self.strikes(Trouble::DiskSlow, 0.01) {
            takes += self.below(4 * SECOND);
        }
        self.machine.commit = Some(commit);
        self.events.put(self.now + takes, Event::DiskDone(self.machine.life));
        if let Some(how) = self.machine.doomed.take() {
            self.die(how);
        }
    }

    pub(crate) fn disk_done(&mut self, life: u32) {
        if life != self.machine.life {
            return;
        }
        if self.machine.awake_at > self.now {
            return self.events.put(self.machine.awake_at, Event::DiskDone(life));
        }
        let now = self.clocks();
        let (Some(commit), Some(partition)) = (self.machine.commit.take(), &mut self.machine.partition) else { return };
        match partition.committed(now, commit.run()) {
            Ok(_) => {
                let durable = partition.durable();
                while let Some((_, turn)) = self.machine.turns.front().filter(|(last, _)| *last <= durable) {
                    self.machine.durable_turn = *turn;
                    self.machine.turns.pop_front();
                }
                self.commit();
                self.carry_out();
                self.check_point();
                self.turn_when_due();
            }
            Err(poisoned) => {
                let mut more = Vec::new();
                partition.release(&mut more);
                self.out.coverage.rule("M6");
                self.tell(|| format!("commit failed, the process ends: {poisoned}"));
                if more.iter().any(|action| matches!(action, Action::ToTerminal { .. } | Action::ToIssuer { .. })) {
                    self.violation("M6: the outbox gives something after a failed commit".to_owned());
                }
                self.disk_failed();
                self.die(Death::Killed);
            }
        }
    }

    fn upkeep(&mut self) {
        if self.now < self.machine.next_upkeep || self.machine.commit.is_some() {
            return;
        }
        self.machine.next_upkeep = self.now + UPKEEP_EVERY;
        let upkeep = self.machine.partition.as_mut().and_then(Partition::take_upkeep);
        if let Some(upkeep) = upkeep {
            self.start_commit(upkeep);
        }
    }

    fn check_point(&mut self) {
        let Some(job) = self.machine.partition.as_mut().and_then(Partition::checkpoint_due) else { return };
        let death = self.dies_within(0.05);
        if death.is_some() {
            let operations = self.below(6);
            self.machine.storage.power_off_after(operations);
        }
        let done = job.run();
        if let Some(how) = death {
            self.out.coverage.event("death in a checkpoint");
            return self.die(how);
        }
        let Some(partition) = &mut self.machine.partition else { return };
        match partition.checkpointed(done) {
            Ok(_) => self.out.coverage.event("checkpoint"),
            Err(error) if self.machine.disk_full || self.machine.failing.is_some() => {
                self.tell(|| format!("no checkpoint: {error}"));
                self.disk_failed();
            }
            Err(error) => self.violation(format!("I4: no checkpoint: {error}")),
        }
    }

    /// An error of the disk was seen: the failure that waited has struck.
    fn disk_failed(&mut self) {
        if let Some(trouble) = self.machine.failing.take() {
            self.struck(trouble);
        }
    }

    /// Whether the process or the machine ends within what begins now.
    fn dies_within(&mut self, rate: f64) -> Option<Death> {
        let ways = [(Trouble::Kill, Death::Killed), (Trouble::PowerLoss, Death::PowerLost)];
        ways.into_iter().find(|(trouble, _)| self.strikes(*trouble, rate)).map(|(_, how)| how)
    }

    pub(crate) fn found(&mut self, life: u32, input: Input) {
        if life == self.machine.life {
            self.input(input);
        }
    }

    fn carry_out(&mut self) {
        let Some(partition) = &mut self.machine.partition else { return };
        let mut actions = std::mem::take(&mut self.machine.actions);
        partition.release(&mut actions);
        if !actions.is_empty() {
            self.auditor.read_on(self.wall_ms(), &self.machine.storage);
        }
        for action in actions.drain(..) {
            self.carry_out_one(action);
        }
        self.machine.actions = actions;
    }

    fn carry_out_one(&mut self, action: Action) {
        let life = self.machine.life;
        match action {
            Action::ToTerminal { id, conn, message } => {
                let at = conn.index as usize;
                if conn.generation != life || !self.conns[at].switch_up {
                    return self.input(Input::Report { action: id, report: Report::Undeliverable });
                }
                let wrong = self.auditor.answer_leaves(&message);
                self.judged(wrong);
                self.write(at, id, message);
            }
            Action::ToIssuer { id, link, message, .. } => {
                let at = link.index as usize;
                if link.generation != life || !self.conns[at].switch_up {
                    return self.input(Input::Report { action: id, report: Report::NotSent });
                }
                if let Peer::Host { link, .. } = self.conns[at].peer {
                    let wrong = self.auditor.request_leaves(self.now / MS, life, link, &message);
                    self.judged(wrong);
                }
                self.write(at, id, message);
            }
            Action::Withdraw { id, conn } => {
                let at = conn.index as usize;
                let pending = &mut self.conns[at].pending;
                if let Some(place) = pending.iter().position(|(pending, _)| *pending == id) {
                    pending.remove(place);
                    self.input(Input::Report { action: id, report: Report::Undeliverable });
                }
            }
            Action::Unsend { .. } => self.violation("an order of the outbox left it".to_owned()),
            Action::ResetIfUnacknowledged { link } => {
                let at = link.index as usize;
                let conn = &self.conns[at];
                if link.generation == life && conn.switch_up && (conn.unacknowledged > 0 || !conn.pending.is_empty()) {
                    self.out.coverage.event("reset at T1");
                    self.reset(at);
                }
            }
            Action::CloseLink { link, .. } => {
                if link.generation == life {
                    self.switch_hangs_up(link.index as usize);
                }
            }
            Action::Find { id, query } => {
                self.out.coverage.event("look-up");
                let fails = self.strikes(Trouble::LookUpFails, 0.1);
                if let Some(partition) = &self.machine.partition {
                    let found =
                        if fails { Input::Found { query: id, found: None } } else { partition.look_up(&query).run(id) };
                    let later = self.now + self.dice.below(50 * MS);
                    self.events.put(later, Event::Found(life, Box::new(found)));
                }
            }
            Action::Resolved { .. } => {}
            Action::Note(note) => {
                if let Some(told) = told(&note) {
                    self.tell(|| told);
                }
                self.out.coverage.note(&note);
            }
        }
    }

    fn judged(&mut self, wrong: Option<String>) {
        if let Some(wrong) = wrong {
            self.violation(wrong);
        }
    }

    fn write(&mut self, at: usize, id: switch::ActionId, message: Box<iso8583::Fields>) {
        if self.conns[at].stalled {
            self.conns[at].pending.push_back((id, message));
            return;
        }
        self.input(Input::Report { action: id, report: Report::Written });
        self.send(at, End::Switch, message);
    }

    /// Dials a connection of a link, as long as this process lives.
    pub(crate) fn dial(&mut self, life: u32, link: LinkNo) {
        if life != self.machine.life || !self.machine.runs() {
            return;
        }
        let host = usize::from(link.issuer.0) - 1;
        if !self.hosts[host].up {
            let again = self.now + 500 * MS + self.below(4 * SECOND);
            return self.events.put(again, Event::Dial(life, link));
        }
        let at = self.connect(Peer::Host { host, link });
        self.input(Input::LinkOpened { link: link_id(at, life), number: link });
    }

    // ---- life and death

    /// Starts the process on what the disk holds.
    pub(crate) fn start_machine(&mut self) {
        if self.machine.runs() {
            return;
        }
        let now = self.clocks();
        self.auditor.starts(now.wall_ms, self.machine.wall_error_ms);
        let storage = Arc::clone(&self.machine.storage);
        let death = self.dies_within(0.1);
        if death.is_some() {
            let operations = self.below(12);
            storage.power_off_after(operations);
        }
        self.machine.rotations = self.rotations();
        let opened = Partition::open(storage, self.machine.options(), now);
        if let Some(how) = death {
            self.out.coverage.event("death in a start");
            drop(opened);
            return self.ends(how);
        }
        let (partition, opened) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.not_started(&error),
        };
        self.machine.life += 1;
        self.machine.partition = Some(partition);
        self.machine.draining = false;
        self.out.coverage.opened(&opened);
        self.listed.clear();
        self.tell(|| format!("--- the switch starts: {} movements, {} in doubt", opened.movements, opened.in_doubt));
        let wrong = self.auditor.read_again(self.wall_ms(), &self.machine.storage);
        self.judged(wrong);
        let links: Vec<LinkNo> = self.machine.config.links.keys().copied().collect();
        for link in links {
            for _ in 0..self.plan.issuers[usize::from(link.issuer.0) - 1].connections {
                let soon = self.now + 10 * MS + self.below(200 * MS);
                self.events.put(soon, Event::Dial(self.machine.life, link));
            }
        }
        self.machine.turn_at = None;
        self.turn_by(self.now + 20);
    }

    fn not_started(&mut self, error: &OpenError) {
        let disk = self.machine.disk_full || self.machine.failing.is_some();
        if !(disk && matches!(error, OpenError::Journal(JournalError::Io { .. }))) {
            return self.violation(format!("K5: the switch does not start: {error}"));
        }
        self.tell(|| format!("the switch does not start: {error}"));
        self.disk_failed();
        self.machine.storage = Arc::new(self.machine.storage.kill());
        let again = self.now + 5 * SECOND;
        self.events.put(again, Event::Start);
    }

    /// The process ends without a word, or its machine does.
    pub(crate) fn die(&mut self, how: Death) {
        let Some(partition) = self.machine.partition.take() else { return };
        if let Some(commit) = self.machine.commit.take() {
            // The disk was in the middle of it, or had not begun, or was done.
            let operations = self.below(4);
            self.machine.storage.power_off_after(operations);
            drop(commit.run());
        }
        drop(partition);
        self.ends(how);
    }

    /// What the disk keeps, and when the switch starts again.
    fn ends(&mut self, how: Death) {
        let power = how == Death::PowerLost;
        self.out.crashes += 1;
        self.mark(3, usize::from(power), None);
        self.tell(|| if power { "--- power lost".to_owned() } else { "--- killed".to_owned() });
        let storage = if power { self.lose_power() } else { self.machine.storage.kill() };
        self.machine.storage = Arc::new(storage);
        // A storage of another process or machine fails no more.
        self.machine.failing = None;
        if power {
            self.machine.booted_at = self.now;
        }
        self.forget_process(how);
        let down = if power { 20 * SECOND } else { 2 * SECOND };
        let again = self.now + 50 * MS + self.below(down);
        self.events.put(again, Event::Start);
    }

    fn lose_power(&mut self) -> MemStorage {
        let (dice, storage) = (&mut self.dice, &self.machine.storage);
        let keeps = [0.0, 0.5, 0.9, 1.0][dice.below(4) as usize];
        storage.crash(|what| match what {
            Unsynced::Piece { .. } | Unsynced::Name(_) | Unsynced::Length(_) if dice.chance(keeps) => Fate::Kept,
            Unsynced::Piece { bytes, .. } if dice.chance(0.3) => Fate::Torn(dice.below(bytes as u64) as usize),
            Unsynced::Piece { .. } | Unsynced::Name(_) | Unsynced::Length(_) => Fate::Lost,
        })
    }

    /// What was the process's is gone: inputs, clocks, connections.
    fn forget_process(&mut self, how: Death) {
        self.machine.inputs.clear();
        self.machine.turns.clear();
        let surely = self.machine.durable_turn;
        self.machine.told_of.retain(|_, at| *at < surely);
        self.machine.actions.clear();
        self.machine.turn_at = None;
        self.machine.awake_at = 0;
        self.machine.life += 1;
        for at in 0..self.conns.len() {
            let conn = &mut self.conns[at];
            if !std::mem::replace(&mut conn.switch_up, false) {
                continue;
            }
            conn.pending.clear();
            self.leaves_to_the_kernel(at);
            let order = self.conns[at].to_peer_at.min(self.now + ORPHAN_TIMEOUT).max(self.now);
            // The kernel of a killed process closes; a machine without power says nothing.
            let latency = match how {
                Death::PowerLost => self.dice.below(30 * SECOND),
                Death::Killed => MS + self.dice.below(20 * MS),
            };
            self.events.put(order + latency, Event::Ended { conn: at, at: End::Peer });
        }
    }

    /// An operator stops the switch: a drain, then a close, then a start.
    pub(crate) fn stop_cleanly(&mut self) {
        if !self.machine.runs() {
            return;
        }
        if !std::mem::replace(&mut self.machine.draining, true) {
            self.tell(|| "--- a clean stop is asked for".to_owned());
            self.input(Input::Admission(Admission::Draining));
        }
        let quiet = self.machine.partition.as_ref().is_some_and(Partition::quiet) && self.machine.inputs.is_empty();
        if !quiet {
            return self.events.put(self.now + 200 * MS, Event::Chaos(crate::chaos::Chaos::Stop));
        }
        let Some(partition) = self.machine.partition.take() else { return };
        let death = self.dies_within(0.2);
        if death.is_some() {
            let operations = self.below(4);
            self.machine.storage.power_off_after(operations);
        }
        let closed = partition.close();
        if let Some(how) = death {
            self.out.coverage.event("death in a close");
            return self.ends(how);
        }
        match closed {
            Ok(()) => self.flip_a_bit(),
            Err(error) => {
                self.tell(|| format!("the close failed: {error}"));
                self.disk_failed();
            }
        }
        self.mark(4, 0, None);
        self.tell(|| "--- stopped".to_owned());
        self.machine.storage = Arc::new(self.machine.storage.kill());
        self.machine.failing = None;
        self.forget_process(Death::Killed);
        let again = self.now + 500 * MS + self.below(5 * SECOND);
        self.events.put(again, Event::Start);
    }

    /// K5: one flipped bit of a closed journal is refused, and the operator brings the journal back; or it is harmless, and
    /// the switch goes on with it. What a start makes of it is tried on copies.
    fn flip_a_bit(&mut self) {
        if !self.strikes(Trouble::BitFlip, 1.0) {
            return;
        }
        let (whole, flipped) = (self.machine.storage.kill(), self.machine.storage.kill());
        let mut files = journal::Storage::list(&flipped).unwrap_or_default();
        files.sort();
        let file = files[self.dice.below(files.len() as u64) as usize].clone();
        let length = flipped.bytes_of(&file).map_or(0, |bytes| bytes.len() as u64);
        if length == 0 {
            return;
        }
        let (offset, bit) = (self.dice.below(length), self.dice.below(8) as u8);
        flipped.flip_bit(&file, offset, bit);
        let goes_on = flipped.kill();
        let now = self.clocks();
        let state = |storage: MemStorage| {
            Partition::open(Arc::new(storage), self.machine.options(), now).map(|(partition, _)| {
                let mut bytes = Vec::new();
                partition.view().snapshot(&mut bytes);
                bytes
            })
        };
        let (whole, flipped) = (state(whole), state(flipped));
        match (whole, flipped) {
            (Ok(_), Err(_)) => self.out.coverage.rule("K5"),
            (Ok(whole), Ok(flipped)) if whole == flipped => {
                self.out.coverage.event("harmless bit");
                self.machine.storage = Arc::new(goes_on);
            }
            (Ok(_), Ok(_)) => self.violation(format!(
                "K5: bit {bit} of byte {offset} of {file} was flipped, not refused, and changed the state"
            )),
            (Err(error), _) => self.violation(format!("K5: the closed journal does not open: {error}")),
        }
    }
}

/// What the trace says of what the core decided.
fn told(note: &Note) -> Option<String> {
    fn of(rrn: Option<impl std::fmt::Display>) -> String {
        rrn.map_or_else(String::new, |rrn| format!(" of {rrn}"))
    }
    match note {
        Note::Decided { rule, rrn } => Some(format!("  {rule} decides{}", of(*rrn))),
        Note::ObligationRecorded { rule, rrn, .. } => Some(format!("  {rule}: a reversal of {rrn} is promised")),
        Note::ObligationAcknowledged { rrn, code, .. } => {
            Some(format!("  R2: the reversal of {rrn} is acknowledged with {code}"))
        }
        Note::LateAnswer { rrn, code, .. } => Some(format!("  T5: the answer {code} of {rrn} is late")),
        Note::Unmatched { stray, .. } => Some(format!("  T4: {} matches nothing that waits", stray.mti)),
        Note::Exception { rule, rrn } => Some(format!("  {rule}: an entry for a person{}", of(*rrn))),
        Note::State { rrn, state, .. } => Some(format!("  {rrn} is {}", state.name())),
        Note::Answered { code, rrn: None, .. } => Some(format!("  refused with {code}")),
        Note::Answered { rrn: Some(_), .. } | Note::ObligationSent { .. } | Note::LinkReady { .. } => None,
    }
}
