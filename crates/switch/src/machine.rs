//! The switch as a value: inputs in, records and actions out.
//!
//! Two halves. [`State`] is durable and changes by records only; `Live` is what a process knows while it runs (connections,
//! pending writes, timers) and is gone with it. A decision writes its record, which changes the state at once, and emits the
//! actions that wait for it. What a crash may lose is therefore never a decision.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec::Vec;

use iso8583::{Fields, ResponseCode, Stan};

use crate::action::{Action, Note, Pending};
use crate::binary::Damaged;
use crate::calendar;
use crate::config::Config;
use crate::ids::{ActionId, ConnId, IssuerNo, LinkId, LinkNo, Lsn, MovementId, Now, QueryId};
use crate::input::{Admission, Input, LinkWish};
use crate::links::Connection;
use crate::look_up::LookUps;
use crate::movement::{Key, Movement, SentAs};
use crate::mutant::{Mutant, on};
use crate::record::{Entry, Record};
use crate::refused::Refused;
use crate::state::{Keep, State};
use crate::timers::Deadline;

/// A deadline and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// T1: no usable answer in time.
    ResponseTimeout(MovementId),
    /// T8: nobody asked again for an approval that could not be handed over.
    GraceOver(MovementId),
    /// C3: nothing confirmed or unwound it.
    ConfirmDeadline(MovementId),
    /// R3, R4: the next send of a reversal, or the end of waiting for its acknowledgement.
    Reversal(MovementId),
    /// The next echo of a link connection, or the end of waiting for its 0810.
    Link(LinkId),
}

/// What one turn decided: records to make durable, in order, and actions that wait for them.
#[derive(Debug, Default)]
pub struct Output {
    /// The records; the first has the LSN after the newest before the turn.
    pub records: Vec<Entry>,
    /// The actions.
    pub actions: Vec<Pending>,
}

/// A terminal's connection that waits for the answer of a movement.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) conn: ConnId,
    pub(crate) echo: Box<Fields>,
    pub(crate) since_ms: u64,
}

/// How the request of a movement went out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) link: LinkId,
    pub(crate) asked_ms: u64,
    /// The shell reported that the kernel took it, in part or whole.
    pub(crate) left: bool,
}

/// A send of a reversal that waits for its acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flight {
    pub(crate) action: ActionId,
    pub(crate) stan: Stan,
    pub(crate) link: LinkId,
}

/// How the reversal of a movement goes out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sending {
    /// The send that waits for its acknowledgement.
    pub(crate) in_flight: Option<Flight>,
    /// Its place in the line of its issuer, if it is due: fewer sends go first, then the older movement.
    pub(crate) due: Option<u32>,
    /// Sends in this process.
    pub(crate) sends: u32,
    /// Sends in this process under the deciding numbers.
    pub(crate) deciding_sends: u32,
    /// A send may have been made before this process began: the next is a repeat (K3).
    pub(crate) sent_before: bool,
    /// The same for the deciding numbers (R2, 94).
    pub(crate) decided_before: bool,
}

/// A terminal that asks again over ever new connections leaves the oldest behind.
const HANDED_ON_MAX: usize = 8;

/// What this process knows of an open movement beyond its records.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) waiter: Option<Waiter>,
    pub(crate) request: Option<Request>,
    /// When the original was written or its connection closed, or the restart: the horizon counts from here (R3).
    pub(crate) horizon_from_ms: Option<u64>,
    /// The newest answer while its report is awaited.
    pub(crate) offered: Option<(ActionId, ConnId)>,
    /// Older copies of it that may still wait on the same connection.
    pub(crate) offered_before: Vec<(ActionId, ConnId)>,
    /// One of those copies was handed: the terminal has the answer, whatever becomes of the newest (M8).
    pub(crate) copy_handed: bool,
    /// The connections that the answer or a copy of it was handed to, the newest last; at most [`HANDED_ON_MAX`].
    pub(crate) handed_on: Vec<ConnId>,
    /// A repeat that crossed the answer was given a copy of it: what became of that one is no evidence against the answer.
    pub(crate) crossed: bool,
    /// When the newest answer was released, or the restart: `on_repeat` counts from here.
    pub(crate) released_ms: Option<u64>,
    /// When the answer was handed, or the restart: the crossing margin counts from here (C1).
    pub(crate) handed_ms: Option<u64>,
    pub(crate) sending: Sending,
    /// The deadline of the state.
    timer: Option<(u64, Timer)>,
    /// The deadline of the promise to reverse, which can stand beside the state.
    reversal_timer: Option<(u64, Timer)>,
}

impl Live {
    /// The answer, or a copy of it, was handed to this connection.
    pub(crate) fn handed_to(&mut self, conn: ConnId) {
        self.handed_on.retain(|earlier| *earlier != conn);
        if self.handed_on.len() == HANDED_ON_MAX {
            self.handed_on.remove(0);
        }
        self.handed_on.push(conn);
    }
}

impl Live {
    pub(crate) fn timer_ms(&self) -> Option<u64> {
        self.timer.map(|(at_ms, _)| at_ms)
    }

    pub(crate) fn reversal_timer_ms(&self) -> Option<u64> {
        self.reversal_timer.map(|(at_ms, _)| at_ms)
    }
}

/// What the report of an action is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    Offer(MovementId),
    /// An older copy of the answer that a newer one has taken the place of.
    Copy(MovementId, ConnId),
    /// A copy for a repeat that crossed the answer on its way.
    Crossing(MovementId, ConnId),
    Request(MovementId),
    Reversal(MovementId),
}

/// The money rules as one value. See the crate's documentation for how it is driven.
#[derive(Debug)]
pub struct Switch {
    pub(crate) config: Arc<Config>,
    pub(crate) state: State,
    pub(crate) live: BTreeMap<MovementId, Live>,
    timers: BTreeSet<(u64, Timer)>,
    /// Uptime and wall clock of the start.
    anchor: Option<(u64, u64)>,
    /// The real wall clock of this turn.
    pub(crate) civil_ms: u64,
    next_action: u64,
    pub(crate) purposes: BTreeMap<ActionId, Purpose>,
    /// Movements whose answer a terminal's connection waits for.
    pub(crate) waiting: BTreeMap<ConnId, BTreeSet<MovementId>>,
    pub(crate) connections: BTreeMap<LinkId, Connection>,
    /// What the operator wishes of links, where it is not "up".
    pub(crate) wishes: BTreeMap<LinkNo, LinkWish>,
    /// Reversals that are to be sent as soon as a connection and the window allow: fewest sends first, then the oldest (R6).
    pub(crate) due: BTreeMap<IssuerNo, BTreeSet<(u32, MovementId)>>,
    /// Reversals that wait for their acknowledgement (R5).
    pub(crate) unacknowledged: BTreeMap<IssuerNo, BTreeSet<MovementId>>,
    /// DE7 of the newest repeat of a movement, where it is another than the original's: a reversal may name that one.
    pub(crate) repeat_times: BTreeMap<MovementId, [u8; 10]>,
    pub(crate) admission: Admission,
    pub(crate) refused: Refused,
    pub(crate) look_ups: LookUps,
}

impl Switch {
    /// A core without a past.
    pub fn new(config: Config) -> Switch {
        Switch::with(config, State::new())
    }

    /// A core as a snapshot left it. Records after [`Switch::lsn`] are to be replayed, then [`Switch::start`] comes.
    ///
    /// # Errors
    /// The bytes are not a snapshot of this version.
    pub fn restore(config: Config, snapshot: &[u8]) -> Result<Switch, Damaged> {
        let state = State::restore(snapshot)?;
        Ok(Switch::with(config, state))
    }

    fn with(config: Config, state: State) -> Switch {
        Switch {
            config: Arc::new(config),
            state,
            live: BTreeMap::new(),
            timers: BTreeSet::new(),
            anchor: None,
            civil_ms: 0,
            next_action: 1,
            purposes: BTreeMap::new(),
            waiting: BTreeMap::new(),
            connections: BTreeMap::new(),
            wishes: BTreeMap::new(),
            due: BTreeMap::new(),
            unacknowledged: BTreeMap::new(),
            repeat_times: BTreeMap::new(),
            admission: Admission::Open,
            refused: Refused::default(),
            look_ups: LookUps::default(),
        }
    }

    /// The newest record that the state contains.
    pub fn lsn(&self) -> Lsn {
        self.state.lsn
    }

    /// Takes a record of the journal into the state: recovery, checkpoints, look-ups.
    ///
    /// # Errors
    /// The record does not follow from those before it.
    pub fn replay(&mut self, lsn: Lsn, entry: &Entry) -> Result<(), Damaged> {
        if lsn.0.checked_sub(1) != Some(self.state.lsn.0) {
            return Err(Damaged { what: "next record" });
        }
        self.state.apply(lsn, entry)
    }

    /// Appends the durable state; [`Switch::restore`] reads it. Holds cards only sealed.
    pub fn snapshot(&self, out: &mut Vec<u8>) {
        self.state.snapshot(out);
    }

    /// Takes one input and decides.
    pub fn turn(&mut self, now: Now, input: Input, out: &mut Output) {
        let now = self.steady(now);
        match input {
            Input::Terminal { conn, group, message, card } => self.terminal_message(now, conn, group, message, card, out),
            Input::TerminalClosed { conn } => self.terminal_closed(conn),
            Input::LinkOpened { link, number } => self.link_opened(now, link, number, out),
            Input::Issuer { link, message } => self.issuer_message(now, link, &message, out),
            Input::LinkClosed { link } => self.link_closed(now, link, out),
            Input::Report { action, report } => self.report(now, action, report, out),
            Input::Found { query, found } => self.found(now, query, found, out),
            Input::Resolve { ask, case, resolution, who, why } => self.resolve(now, ask, case, (resolution, who, why), out),
            Input::Link { number, order } => self.link_ordered(now, number, order, out),
            Input::Routes(routes) => Arc::make_mut(&mut self.config).routes = routes,
            Input::Admission(admission) => self.admission = admission,
        }
    }

    /// When the next timer is due, on [`Now::uptime_ms`].
    pub fn next_timeout(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Fires every timer that is due. One that a timer sets is left for the next call, whatever its time: a turn ends.
    pub fn expire(&mut self, now: Now, out: &mut Output) {
        let now = self.steady(now);
        let due: Vec<(u64, Timer)> = self.timers.iter().take_while(|(at, _)| *at <= now.uptime_ms).copied().collect();
        for due in due {
            if !self.timers.remove(&due) {
                continue;
            }
            match due.1 {
                Timer::ResponseTimeout(id) => self.deadline_passed(now, id, Deadline::Response, out),
                Timer::GraceOver(id) => self.deadline_passed(now, id, Deadline::Grace, out),
                Timer::ConfirmDeadline(id) => self.deadline_passed(now, id, Deadline::Confirm, out),
                Timer::Reversal(id) => self.reversal_timer(now, id, out),
                Timer::Link(link) => self.link_timer(now, link, out),
            }
        }
    }

    /// K7: within one life of the process the wall clock of records and ages runs with the uptime from where it stood at the
    /// start, so that a jump of the real one changes no age. The real one goes into DE7 and RRNs.
    pub(crate) fn steady(&mut self, now: Now) -> Now {
        let (uptime_ms, wall_ms) = *self.anchor.get_or_insert((now.uptime_ms, now.wall_ms));
        self.civil_ms = now.wall_ms;
        if on(Mutant::FollowTheJump) {
            return now;
        }
        Now { wall_ms: wall_ms + now.uptime_ms.saturating_sub(uptime_ms), ..now }
    }

    // What every decision uses.

    /// Writes a record: the state has it at once, the journal soon, the world after that.
    pub(crate) fn write(&mut self, now: Now, record: Record, out: &mut Output) -> Lsn {
        let entry = Entry { partition: self.config.partition, wall_ms: now.wall_ms, record };
        let lsn = Lsn(self.state.lsn.0 + 1);
        if let Err(damaged) = self.state.apply(lsn, &entry) {
            unreachable!("the core records only what its state knows: {damaged}");
        }
        out.records.push(entry);
        lsn
    }

    pub(crate) fn note(&self, note: Note, out: &mut Output) {
        out.actions.push(Pending { after: Lsn(0), action: Action::Note(note) });
    }

    /// Says in which state a movement is now, and lets go of what only an open one needs.
    pub(crate) fn settle(&mut self, id: MovementId, out: &mut Output) {
        let Some(movement) = self.state.movements.get(&id) else { return };
        let note = Note::State { id, rrn: movement.rrn, state: movement.state };
        let (ended, open) = (movement.state.is_end(), movement.is_open());
        if ended {
            self.stop_waiting(id);
            self.clear_timer(id);
        }
        if !open {
            self.stop_sending(id);
            self.live.remove(&id);
        }
        self.note(note, out);
    }

    pub(crate) fn new_action(&mut self, purpose: Option<Purpose>) -> ActionId {
        let id = ActionId(self.next_action);
        self.next_action += 1;
        if let Some(purpose) = purpose {
            self.purposes.insert(id, purpose);
        }
        id
    }

    /// Sends an answer that waits for a record; `Lsn(0)` for one that concerns no key.
    pub(crate) fn answer_terminal(&mut self, conn: ConnId, message: Box<Fields>, after: Lsn, out: &mut Output) {
        let id = self.new_action(None);
        out.actions.push(Pending { after, action: Action::ToTerminal { id, conn, message } });
    }

    pub(crate) fn movement(&self, id: MovementId) -> Option<&Movement> {
        self.state.movements.get(&id)
    }

    pub(crate) fn live(&mut self, id: MovementId) -> &mut Live {
        self.live.entry(id).or_default()
    }

    /// A state has one deadline at a time.
    pub(crate) fn set_timer(&mut self, id: MovementId, at_ms: u64, timer: Timer) {
        self.clear_timer(id);
        self.timers.insert((at_ms, timer));
        self.live(id).timer = Some((at_ms, timer));
    }

    pub(crate) fn clear_timer(&mut self, id: MovementId) {
        if let Some(timer) = self.live.get_mut(&id).and_then(|live| live.timer.take()) {
            self.timers.remove(&timer);
        }
    }

    /// So has a promise to reverse.
    pub(crate) fn set_reversal_timer(&mut self, id: MovementId, at_ms: u64) {
        self.clear_reversal_timer(id);
        let timer = (at_ms, Timer::Reversal(id));
        self.timers.insert(timer);
        self.live(id).reversal_timer = Some(timer);
    }

    pub(crate) fn clear_reversal_timer(&mut self, id: MovementId) {
        if let Some(timer) = self.live.get_mut(&id).and_then(|live| live.reversal_timer.take()) {
            self.timers.remove(&timer);
        }
    }

    pub(crate) fn set_link_timer(&mut self, link: LinkId, at_ms: u64) {
        self.clear_link_timer(link);
        self.timers.insert((at_ms, Timer::Link(link)));
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.timer_ms = Some(at_ms);
        }
    }

    pub(crate) fn clear_link_timer(&mut self, link: LinkId) {
        if let Some(at_ms) = self.connections.get_mut(&link).and_then(|connection| connection.timer_ms.take()) {
            self.timers.remove(&(at_ms, Timer::Link(link)));
        }
    }

    /// Makes this connection the one that gets the answer (D1).
    pub(crate) fn wait(&mut self, id: MovementId, waiter: Waiter) {
        self.stop_waiting(id);
        self.waiting.entry(waiter.conn).or_default().insert(id);
        self.live(id).waiter = Some(waiter);
    }

    /// Nobody waits for this movement's answer any more; returns who did.
    pub(crate) fn stop_waiting(&mut self, id: MovementId) -> Option<Waiter> {
        let waiter = self.live.get_mut(&id)?.waiter.take()?;
        if let Some(ids) = self.waiting.get_mut(&waiter.conn) {
            ids.remove(&id);
            if ids.is_empty() {
                self.waiting.remove(&waiter.conn);
            }
        }
        Some(waiter)
    }

    /// Answers whoever waits for a movement, after its newest record, and counts it.
    pub(crate) fn answer_waiter(&mut self, now: Now, id: MovementId, code: ResponseCode, out: &mut Output) {
        let issuer_ms = self.issuer_ms(now, id);
        let Some(waiter) = self.stop_waiting(id) else { return };
        let Some(movement) = self.movement(id) else { return };
        let (rrn, after) = (movement.rrn, movement.last_record);
        let after = if on(Mutant::FailBeforePromise) { Lsn(0) } else { after };
        let message = crate::message::answer(&waiter.echo, code, Some(movement), false);
        let note = Note::Answered {
            mti: waiter.echo.mti(),
            code,
            rrn: Some(rrn),
            after_ms: now.uptime_ms.saturating_sub(waiter.since_ms),
            issuer_ms,
        };
        self.answer_terminal(waiter.conn, message, after, out);
        self.note(note, out);
    }

    pub(crate) fn issuer_ms(&self, now: Now, id: MovementId) -> u64 {
        let request = self.live.get(&id).and_then(|live| live.request);
        request.map_or(0, |request| now.uptime_ms.saturating_sub(request.asked_ms))
    }

    pub(crate) fn numbers(&self, stan: Stan) -> SentAs {
        SentAs { stan, transmitted: calendar::transmitted(self.civil_ms) }
    }

    fn terminal_closed(&mut self, conn: ConnId) {
        for id in self.waiting.remove(&conn).unwrap_or_default() {
            if let Some(live) = self.live.get_mut(&id) {
                live.waiter = None;
            }
        }
        self.look_ups.forget_connection(conn);
    }

    /// The newest movement of a key and those before it, newest first.
    pub(crate) fn of_key(&self, key: Key) -> impl Iterator<Item = &Movement> {
        let range = (key, MovementId(0))..=(key, MovementId(u64::MAX));
        self.state.by_key.range(range).rev().filter_map(|(_, id)| self.state.movements.get(id))
    }

    pub(crate) fn new_query(&mut self) -> QueryId {
        let id = QueryId(self.next_action);
        self.next_action += 1;
        id
    }
}

pub(crate) fn keep(config: &Config) -> Keep {
    let late = config.links.values().map(|link| link.late_horizon_ms).max().unwrap_or(0);
    let repeat = config.groups.values().map(|group| group.repeat_window_ms).max().unwrap_or(0);
    let rekey = config.groups.values().map(|group| group.rekey_window_ms).max().unwrap_or(0);
    Keep {
        newest: config.dedup_keys as u64,
        // Twice, so that what a window still needs is in memory whenever the window is looked at.
        younger_than_ms: late.max(repeat).max(rekey).saturating_mul(2),
        // The original's own time counts too, and a copy of it comes within the repeat window of its life's end.
        tombstones_ms: config.tombstone_life_ms.saturating_add(repeat),
    }
}
