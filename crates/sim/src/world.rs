//! The simulated world: virtual time, the wires, and who acts on what happens.
//!
//! The switch's side is in [`crate::machine`], terminals and customers in [`crate::device`], issuers in [`crate::host`],
//! what goes wrong by itself in [`crate::chaos`]. Invariant: everything left to chance is drawn from generators seeded by
//! the plan, and nothing depends on real time, threads or the order of a hash map: a plan gives one trace.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use counterparts::issuer::Effect;
use counterparts::seeded::Seeded;
use iso8583::{Fields, Rrn};
use journal::OpenError as JournalError;
use partition::{OpenError, Partition};
use switch::{Input, LinkNo, Report};

use crate::audit::Auditor;
use crate::chaos::Chaos;
use crate::coverage::Coverage;
use crate::device::{Device, Hub, Intent};
use crate::host::Host;
use crate::machine::Machine;
use crate::plan::{Plan, Profile, Trouble};
use crate::queue::{MS, Micros, Queue, SECOND};
use crate::wire::{Conn, End, Hole, ORPHAN_TIMEOUT, Peer, USER_TIMEOUT, conn_id, link_id};

/// Wall clock of the beginning: 2026-11-22 07:08:09 UTC.
pub(crate) const START_WALL_MS: u64 = 1_795_331_289_000;

/// What can happen.
pub(crate) enum Event {
    /// The switch looks at what came in and at its clocks.
    Turn,
    /// The disk has done a commit of this life.
    DiskDone(u32),
    /// A look-up of this life is done.
    Found(u32, Box<Input>),
    /// A message is at one end of its connection.
    Arrive { conn: usize, at: End, message: Box<Fields> },
    /// One end sees that its connection is over.
    Ended { conn: usize, at: End },
    /// The network loses a connection.
    Cut { conn: usize, half_open: bool },
    /// The kernel takes bytes again.
    Unstall(usize),
    /// The switch dials a connection of a link.
    Dial(u32, LinkNo),
    /// An issuer comes back to a message that it put aside.
    HostResumes { conn: usize, message: Box<Fields> },
    /// An issuer does what it put off.
    HostDoes { conn: usize, effect: Box<Effect> },
    /// An issuer's answer leaves.
    HostSends { conn: usize, message: Box<Fields> },
    /// A terminal's time is up, or its rest over.
    Device(usize, u64),
    /// Something goes wrong by itself.
    Chaos(Chaos),
    /// The switch starts.
    Start,
    /// Is it over?
    Look,
}

/// What a run showed.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Money requests of terminals, repeats not counted.
    pub transactions: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Ends of the process without a clean stop.
    pub crashes: u64,
    /// What broke a promise; empty is good.
    pub violations: Vec<String>,
    /// Purchases charged twice where the terminal's profile lets nobody know, and flagged (D6).
    pub flagged: u64,
    /// Debits that no switch could have unwound: judged after the horizon, and the answer lost.
    pub lost: u64,
    /// How often each rule, trouble and state occurred.
    pub coverage: Coverage,
    /// Of everything that happened, in order, and of what was left in the end.
    pub hash: u64,
    /// Virtual seconds.
    pub virtual_seconds: u64,
    /// What happened, for people; empty unless asked for.
    pub trace: String,
}

impl Outcome {
    /// Whether another run was the same: in what happened, in what it left, and in every count.
    #[must_use]
    pub fn is_same(&self, other: &Outcome) -> bool {
        let counts = |of: &Outcome| (of.transactions, of.faults, of.crashes, of.flagged, of.lost, of.virtual_seconds);
        self.hash == other.hash
            && counts(self) == counts(other)
            && self.coverage == other.coverage
            && self.violations == other.violations
    }
}

/// How a run is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Telling {
    /// Write the trace down.
    pub trace: bool,
    /// The auditor looks away: nothing may be found then (a test of the gate).
    pub blind: bool,
}

/// Everything.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) now: Micros,
    pub(crate) events: Queue<Event>,
    pub(crate) conns: Vec<Conn>,
    pub(crate) machine: Machine,
    pub(crate) hosts: Vec<Host>,
    pub(crate) devices: Vec<Device>,
    /// The concentrator's lines.
    pub(crate) hubs: [Hub; 2],
    pub(crate) intents: Vec<Intent>,
    pub(crate) auditor: Auditor,
    /// Draws of the network and the disk.
    pub(crate) dice: Seeded,
    /// What the operator has seen on the list, and since when; the issuers' horizon counts anew from a restart.
    pub(crate) listed: BTreeMap<Rrn, Micros>,
    /// False once faults have stopped.
    pub(crate) troubled: bool,
    pub(crate) out: Outcome,
    telling: Telling,
    pub(crate) over: bool,
    pub(crate) drain_since: Micros,
}

/// After so much virtual time purchases stop, whatever is left to buy.
pub(crate) const SHOPS_CLOSE: Micros = 3 * 3600 * SECOND;
/// Everything has to be settled so long after faults stopped.
const DRAINS_WITHIN: Micros = 6 * 3600 * SECOND;
const LOOK_EVERY: Micros = 30 * SECOND;
/// The longest delays of the network. With what a host takes to judge ([`Trouble::HostSlow`]) a link's stay below
/// `original_horizon` (R3); later ones are [`Trouble::BeyondHorizon`].
const LINK_DELAYS: Micros = 12 * SECOND;
const TERMINAL_DELAYS: Micros = 60 * SECOND;

/// Runs a plan to its end. A panic of what runs in it is a violation like any other.
#[must_use]
pub fn run(plan: &Plan, telling: Telling) -> Outcome {
    let mut world = World::new(plan.clone(), telling);
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.play())).err();
    if let Some(payload) = panicked {
        // What happened until then is told and counted, and a blind auditor does not hide it.
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("without a word");
        world.tell(|| format!("PANIC {text}"));
        world.out.violations.push(format!("panic: {text}"));
    }
    world.out
}

impl World {
    fn new(plan: Plan, telling: Telling) -> World {
        let seed = plan.seed;
        World {
            now: 0,
            events: Queue::new(),
            conns: Vec::new(),
            machine: Machine::new(&plan),
            hosts: Host::all(&plan),
            devices: Device::all(&plan),
            hubs: Default::default(),
            listed: BTreeMap::new(),
            intents: Vec::new(),
            auditor: Auditor::new(telling.blind, plan.keeps_early(), plan.takes_less(), plan.config().groups),
            dice: Seeded::new(seed),
            troubled: true,
            out: Outcome::default(),
            telling,
            over: false,
            drain_since: 0,
            plan,
        }
    }

    fn play(&mut self) {
        self.begin();
        while !self.over && self.out.violations.is_empty() {
            let Some((at, event)) = self.events.take() else { break };
            self.now = at;
            self.out.virtual_seconds = at / SECOND;
            self.step(event);
        }
        if self.out.violations.is_empty() {
            self.audit_the_end();
        }
        self.mark_the_end();
    }

    fn begin(&mut self) {
        self.start_machine();
        for device in 0..self.devices.len() {
            let rest = self.below(SECOND * self.plan.pause_s) + 100 * MS;
            self.wake_device(device, rest);
        }
        self.begin_chaos();
        self.events.put(LOOK_EVERY, Event::Look);
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Turn => self.turn(),
            Event::DiskDone(life) => self.disk_done(life),
            Event::Found(life, input) => self.found(life, *input),
            Event::Arrive { conn, at, message } => self.arrive(conn, at, message),
            Event::Ended { conn, at } => self.ended(conn, at),
            Event::Cut { conn, half_open } => self.cut(conn, half_open),
            Event::Unstall(conn) => self.unstall(conn),
            Event::Dial(life, link) => self.dial(life, link),
            Event::HostResumes { conn, message } => self.host_resumes(conn, &message),
            Event::HostDoes { conn, effect } => self.host_does(conn, *effect),
            Event::HostSends { conn, message } => self.host_sends(conn, message),
            Event::Device(device, generation) => self.device_wakes(device, generation),
            Event::Chaos(chaos) => self.chaos(chaos),
            Event::Start => self.start_machine(),
            Event::Look => self.look(),
        }
    }

    /// K6: a second process on the journal is refused, as long as the first one lives.
    fn try_a_second_process(&mut self) {
        if !self.machine.runs() {
            return;
        }
        let storage = Arc::clone(&self.machine.storage);
        match Partition::open(storage, self.machine.options(), self.clocks()) {
            Err(OpenError::Journal(JournalError::Locked)) => self.out.coverage.rule("K6"),
            // It never comes as far as the lock.
            Err(error) if self.machine.disk_full || self.machine.failing.is_some() => {
                self.tell(|| format!("a second process does not start: {error}"));
            }
            Err(error) => self.violation(format!("K6: a second process is refused with: {error}")),
            Ok(_) => self.violation("K6: a second process opened the journal".to_owned()),
        }
    }

    /// Ends the faults when all is bought, and the run when all is settled.
    fn look(&mut self) {
        self.events.put(self.now + LOOK_EVERY, Event::Look);
        if self.troubled {
            self.try_a_second_process();
            let bought = self.devices.iter().all(Device::has_bought_all);
            if bought || self.now > SHOPS_CLOSE {
                self.end_troubles();
            }
            return;
        }
        let idle = self.devices.iter().all(Device::is_idle);
        if idle {
            self.operator_decides();
        }
        if idle && self.is_settled() {
            self.over = true;
        } else if self.now > self.drain_since + DRAINS_WITHIN {
            let left = self.unsettled();
            self.violation(format!("I11: not settled within {} h: {left}", DRAINS_WITHIN / SECOND / 3600));
            // A blind auditor's run ends too.
            self.over = true;
        }
    }

    fn end_troubles(&mut self) {
        self.troubled = false;
        self.drain_since = self.now;
        self.tell(|| "--- faults stop".to_owned());
        self.calm_chaos();
        for at in 0..self.conns.len() {
            if self.conns[at].stalled {
                self.unstall(at);
            }
        }
    }

    // ---- chance and telling

    pub(crate) fn below(&mut self, end: Micros) -> Micros {
        self.dice.below(end)
    }

    /// Whether a trouble strikes now; counts it.
    pub(crate) fn strikes(&mut self, trouble: Trouble, rate: f64) -> bool {
        let strikes = self.troubled && self.plan.has(trouble) && self.dice.chance(rate);
        if strikes {
            self.struck(trouble);
        }
        strikes
    }

    pub(crate) fn struck(&mut self, trouble: Trouble) {
        self.out.faults += 1;
        self.out.coverage.trouble(trouble);
    }

    pub(crate) fn wall_ms(&self) -> u64 {
        START_WALL_MS + self.now / MS
    }

    pub(crate) fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.telling.trace {
            let (seconds, ms) = (self.now / SECOND, self.now % SECOND / MS);
            let _ = writeln!(self.out.trace, "{seconds:>7}.{ms:03}  {}", what());
        }
    }

    pub(crate) fn violation(&mut self, what: String) {
        if self.telling.blind {
            return;
        }
        self.tell(|| format!("VIOLATION {what}"));
        self.out.violations.push(what);
    }

    /// Puts something that happened into the hash of the run.
    pub(crate) fn mark(&mut self, tag: u8, conn: usize, message: Option<&Fields>) {
        let mut hash = self.out.hash ^ self.now.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (u64::from(tag) << 56) ^ conn as u64;
        let mut byte = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        if let Some(message) = message {
            message.mti().as_bytes().iter().for_each(|b| byte(*b));
            for de in [4, 7, 11, 12, 37, 38, 39, 41, 90, 95] {
                message.get(de).unwrap_or_default().iter().for_each(|b| byte(*b));
            }
        }
        self.out.hash = hash.rotate_left(5);
    }

    /// What is left in the end goes into the hash too: the disk's bytes, the issuers' ledgers, the terminals' beliefs.
    fn mark_the_end(&mut self) {
        let storage = &self.machine.storage;
        let mut files = journal::Storage::list(&**storage).unwrap_or_default();
        files.sort();
        let mut left: Vec<u32> =
            files.iter().filter_map(|file| storage.bytes_of(file)).map(|b| crc32c::crc32c(&b)).collect();
        let said = self.hosts.iter().map(|host| format!("{:?}", host.issuer.movements()));
        let said = said.chain(self.devices.iter().map(|device| format!("{:?}", device.terminal.beliefs())));
        left.extend(said.map(|text| crc32c::crc32c(text.as_bytes())));
        for print in left {
            self.out.hash = (self.out.hash ^ u64::from(print)).wrapping_mul(0x0100_0000_01b3).rotate_left(5);
        }
    }

    // ---- wires

    pub(crate) fn connect(&mut self, peer: Peer) -> usize {
        self.conns.push(Conn::new(peer, self.machine.life, self.now));
        self.conns.len() - 1
    }

    /// One message's time on the way.
    fn latency(&mut self, at: usize) -> Micros {
        let link = self.conns[at].is_link();
        let trouble = if link { Trouble::LinkDelay } else { Trouble::TerminalDelay };
        let usual = MS + self.below(40 * MS);
        // `on_repeat = unwind` trusts that no message is older than the crossing margin.
        let prompt =
            matches!(self.conns[at].peer, Peer::Device(device) if self.devices[device].site.profile == Profile::ResendsLate);
        let longest = if link { LINK_DELAYS } else { TERMINAL_DELAYS };
        if !prompt && self.strikes(trouble, 0.02) { usual + self.below(longest) } else { usual }
    }

    /// A message leaves one end. It may be lost, be doubled, come late; the sender knows nothing of that.
    pub(crate) fn send(&mut self, at: usize, from: End, message: Box<Fields>) {
        let latency = self.latency(at);
        self.send_within(at, from, latency, message);
    }

    /// The same, with so much time on the way.
    pub(crate) fn send_within(&mut self, at: usize, from: End, latency: Micros, message: Box<Fields>) {
        if from == End::Peer && latency > SECOND {
            self.gives_up_without_repeat(&message);
        }
        self.trouble_the_wire(at);
        let link = self.conns[at].is_link();
        // TLS lets nobody send a terminal's request twice but the terminal; what it does itself is in `device`.
        let may_double = link || !matches!(message.mti().as_bytes(), b"0100" | b"0101" | b"0200" | b"0201");
        let doubled = may_double && self.strikes(if link { Trouble::LinkDouble } else { Trouble::TerminalDouble }, 0.01);
        let lost = from == End::Peer && !link && self.strikes(Trouble::LostOriginal, 0.01);
        if from == End::Switch {
            self.conns[at].unacknowledged += 1 + u32::from(doubled);
        }
        if self.conns[at].dead {
            return;
        }
        let earliest = match from {
            End::Switch => self.passes(at).max(self.now + latency),
            End::Peer => self.now + latency,
        };
        let conn = &mut self.conns[at];
        let (to, order) = match from {
            End::Switch => (End::Peer, &mut conn.to_peer_at),
            End::Peer => (End::Switch, &mut conn.to_switch_at),
        };
        *order = (*order).max(earliest) + 1;
        let arrives = *order;
        if doubled {
            let later = arrives + self.below(3 * SECOND);
            self.events.put(later, Event::Arrive { conn: at, at: to, message: message.clone() });
        }
        if !lost {
            self.events.put(arrives, Event::Arrive { conn: at, at: to, message });
        }
    }

    /// When the network takes what the switch sends now. What a hole holds too long ends its connection, and half of what it
    /// lets go is the last that passes.
    fn passes(&mut self, at: usize) -> Micros {
        let now = self.now;
        let Some(hole) = &mut self.conns[at].hole else { return now };
        let first = hole.since.is_none();
        if first && hole.until <= now {
            self.conns[at].hole = None;
            return now;
        }
        let passes = hole.passes(now).filter(|passes| *passes < hole.since.unwrap_or(now) + USER_TIMEOUT);
        let ends = match passes {
            Some(passes) => self.dice.chance(0.5).then_some(passes + 100 * MS),
            None => Some(now + USER_TIMEOUT),
        };
        if let Some(ends) = ends.filter(|_| first) {
            self.events.put(ends, Event::Cut { conn: at, half_open: false });
        }
        if passes.is_some_and(|passes| passes <= now) {
            self.conns[at].hole = None;
        }
        passes.unwrap_or(Micros::MAX / 2)
    }

    /// Draws whether the connection that was just used is cut soon, or its kernel takes no more.
    fn trouble_the_wire(&mut self, at: usize) {
        let (cut, half, stall) = if self.conns[at].is_link() {
            (Trouble::LinkCut, Trouble::LinkHalfOpen, Trouble::LinkStall)
        } else {
            (Trouble::TerminalCut, Trouble::TerminalHalfOpen, Trouble::TerminalStall)
        };
        let rate = if self.conns[at].is_link() { 0.002 } else { 0.02 };
        if self.strikes(cut, rate) {
            let soon = self.now + self.dice.below(120 * MS);
            self.events.put(soon, Event::Cut { conn: at, half_open: false });
        }
        if self.strikes(half, rate) {
            let soon = self.now + self.dice.below(120 * MS);
            self.events.put(soon, Event::Cut { conn: at, half_open: true });
        }
        if self.conns[at].is_link() && self.conns[at].hole.is_none() && self.strikes(Trouble::LinkHole, 0.004) {
            let until = self.now + self.dice.below(60 * SECOND);
            self.conns[at].hole = Some(Hole { until, since: None });
        }
        if !self.conns[at].stalled && self.strikes(stall, rate) {
            self.conns[at].stalled = true;
            let later = self.now + self.dice.below(30 * SECOND);
            self.events.put(later, Event::Unstall(at));
            // What the kernel does not take is often what it never will.
            if self.dice.chance(0.5) {
                let soon = self.now + 200 * MS + self.dice.below(2 * SECOND);
                self.events.put(soon, Event::Cut { conn: at, half_open: false });
            }
        }
    }

    /// The peer closes on purpose; what it has sent still arrives.
    pub(crate) fn peer_hangs_up(&mut self, at: usize) {
        let latency = MS + self.below(20 * MS);
        let conn = &mut self.conns[at];
        if std::mem::replace(&mut conn.peer_up, false) {
            let after = conn.to_switch_at.max(self.now) + latency;
            self.events.put(after, Event::Ended { conn: at, at: End::Switch });
        }
    }

    /// The network loses a connection. With `half_open` one of the sides learns of it much later.
    pub(crate) fn cut(&mut self, at: usize, half_open: bool) {
        if std::mem::replace(&mut self.conns[at].dead, true) {
            return;
        }
        self.mark(1, at, None);
        self.tell(|| format!("connection {at} is {}", if half_open { "half open" } else { "cut" }));
        // What is already on its way may still arrive, but nobody hears that it did.
        let (to_switch, to_peer) = (self.in_flight_until(), self.in_flight_until());
        (self.conns[at].to_switch_until, self.conns[at].to_peer_until) = (to_switch, to_peer);
        let (mut switch, mut peer) = (MS + self.below(30 * MS), MS + self.below(30 * MS));
        if half_open {
            // TCP_USER_TIMEOUT is shorter than the horizon (R3).
            let late = if self.dice.chance(0.5) { &mut switch } else { &mut peer };
            *late += self.dice.below(20 * SECOND);
        }
        self.events.put(self.now + switch, Event::Ended { conn: at, at: End::Switch });
        self.events.put(self.now + peer, Event::Ended { conn: at, at: End::Peer });
    }

    fn in_flight_until(&mut self) -> Micros {
        if self.dice.chance(0.5) { self.now } else { self.now + self.dice.below(30 * MS) }
    }

    /// The switch resets a connection: its own end is over, what its kernel held is gone, and the peer hears of it if the
    /// network still lets anything pass. What is on its way may arrive.
    pub(crate) fn reset(&mut self, at: usize) {
        self.tell(|| format!("connection {at} is reset"));
        let until = self.in_flight_until();
        let conn = &mut self.conns[at];
        conn.to_peer_until = conn.to_peer_until.min(until);
        let hears = !std::mem::replace(&mut conn.dead, true);
        self.switch_sees_end(at);
        if hears {
            let after = if self.conns[at].hole.is_some() { 20 * SECOND } else { 30 * MS };
            let hears = self.now + self.dice.below(after);
            self.events.put(hears, Event::Ended { conn: at, at: End::Peer });
        }
    }

    /// The process lets go of a connection: its kernel goes on for a while with what it has taken.
    pub(crate) fn leaves_to_the_kernel(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        if let Some(since) = conn.hole.and_then(|hole| hole.since) {
            conn.to_peer_until = conn.to_peer_until.min(since + ORPHAN_TIMEOUT);
        }
    }

    fn ended(&mut self, at: usize, end: End) {
        match end {
            End::Switch => self.switch_sees_end(at),
            End::Peer => {
                if std::mem::replace(&mut self.conns[at].peer_up, false) {
                    match self.conns[at].peer {
                        Peer::Device(device) => self.device_sees_end(device, at),
                        Peer::Hub(hub) => self.hub_sees_end(hub, at),
                        Peer::Host { .. } => {}
                    }
                }
            }
        }
    }

    fn switch_sees_end(&mut self, at: usize) {
        if !std::mem::replace(&mut self.conns[at].switch_up, false) {
            return;
        }
        self.report_what_is_pending(at);
        let life = self.conns[at].life;
        if life != self.machine.life {
            return;
        }
        match self.conns[at].peer {
            Peer::Device(_) | Peer::Hub(_) => self.input(Input::TerminalClosed { conn: conn_id(at, life) }),
            Peer::Host { link, .. } => {
                self.input(Input::LinkClosed { link: link_id(at, life) });
                let backoff = 50 * MS + self.below(SECOND);
                self.events.put(self.now + backoff, Event::Dial(life, link));
            }
        }
    }

    /// The switch closes a connection on purpose.
    pub(crate) fn switch_hangs_up(&mut self, at: usize) {
        if self.conns[at].switch_up {
            self.leaves_to_the_kernel(at);
            let order = self.conns[at].to_peer_at.min(self.now + ORPHAN_TIMEOUT).max(self.now);
            let latency = MS + self.below(20 * MS);
            self.switch_sees_end(at);
            self.events.put(order + latency, Event::Ended { conn: at, at: End::Peer });
        }
    }

    /// The fate of writes that the kernel never took, before the end of their connection (T2, T3, T8).
    fn report_what_is_pending(&mut self, at: usize) {
        let link = self.conns[at].is_link();
        let mut first = true;
        while let Some((action, _)) = self.conns[at].pending.pop_front() {
            let report = match (link, first) {
                (false, _) => Report::Undeliverable,
                (true, true) if self.dice.chance(0.5) => Report::Partial,
                (true, _) => Report::NotSent,
            };
            first = false;
            if self.conns[at].life == self.machine.life {
                self.input(Input::Report { action, report });
            }
        }
    }

    fn unstall(&mut self, at: usize) {
        self.conns[at].stalled = false;
        while let Some((action, message)) = self.conns[at].pending.pop_front() {
            self.input(Input::Report { action, report: Report::Written });
            self.send(at, End::Switch, message);
        }
    }

    fn arrive(&mut self, at: usize, end: End, message: Box<Fields>) {
        let conn = &mut self.conns[at];
        let (up, until) = match end {
            End::Switch => (conn.switch_up, conn.to_switch_until),
            End::Peer => (conn.peer_up, conn.to_peer_until),
        };
        if !up || self.now > until {
            return;
        }
        if end == End::Peer && !conn.dead {
            conn.unacknowledged -= 1;
        }
        let (peer, life) = (conn.peer, conn.life);
        self.mark(2, at, Some(&message));
        self.tell(|| format!("{} {}", direction(peer, end), shown(&message)));
        match (end, peer) {
            (End::Switch, _) if life != self.machine.life => {}
            (End::Switch, Peer::Host { .. }) => {
                if matches!(message.text(39), Some("00" | "10"))
                    && matches!(message.mti().class(), 1 | 2)
                    && self.machine.runs()
                {
                    let rrn = message.text(37).unwrap_or_default().trim_end();
                    let stan = message.text(11).unwrap_or_default();
                    // As the issuers' second approvals begin.
                    let second = message.text(38).is_some_and(|code| code.starts_with('X'));
                    self.machine.told_of.insert((rrn.to_owned(), stan.to_owned(), second), self.now);
                }
                if message.mti().class() == 4 {
                    self.auditor.acknowledgement_comes(&message);
                }
                self.input(Input::Issuer { link: link_id(at, life), message });
            }
            (End::Switch, Peer::Device(_) | Peer::Hub(_)) => self.terminal_message(at, message),
            (End::Peer, Peer::Host { host, .. }) => self.host_receives(host, at, &message),
            (End::Peer, Peer::Device(device)) => self.device_answered(device, &message),
            (End::Peer, Peer::Hub(_)) => self.hub_answered(&message),
        }
    }
}

fn direction(peer: Peer, end: End) -> String {
    let peer = match peer {
        Peer::Device(device) => format!("terminal {device}"),
        Peer::Hub(hub) => format!("concentrator {hub}"),
        Peer::Host { link, .. } => format!("link {link}"),
    };
    match end {
        End::Switch => format!("{peer:<14} -> switch        "),
        End::Peer => format!("switch         -> {peer:<14}"),
    }
}

/// A message in one line, without its card.
pub(crate) fn shown(message: &Fields) -> String {
    let mut text = message.mti().to_string();
    for (de, name) in [
        (41, ""),
        (11, "stan "),
        (4, "amount "),
        (37, "rrn "),
        (38, "approval "),
        (39, "code "),
        (56, "reason "),
        (90, "of "),
        (95, "keep "),
    ] {
        if let Some(value) = message.text(de) {
            let value = match de {
                4 => value.trim_start_matches('0'),
                90 => value.get(..20).unwrap_or(value),
                95 => value.get(..12).unwrap_or(value).trim_start_matches('0'),
                _ => value.trim_end(),
            };
            let _ = write!(text, " {name}{value}");
        }
    }
    text
}
