//! The loop around the partition: all inputs that wait into one turn, one commit in flight, what is durable to the
//! sockets.
//!
//! Turns at least once a second: a timer of the runtime does not count suspended time, the clock of the deadlines does
//! (K7). Invariant: after a failed commit nothing more is carried out (M6).

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use index::{Live, Retain};
use journal::FsStorage;
use partition::{CheckpointDone, Commit, Committed, Keys, Partition};
use switch::{Action, Admission, Input, LinkWish, Now};
use tokio::sync::{mpsc, oneshot};

use super::Shell;
use super::dispatch;
use super::worker::Worker;
use crate::clock;
use crate::config::read::Problems;
use crate::exit::{Exit, Failure};
use crate::observe::admin::{Peer, Question, Which};
use crate::observe::health::Health;
use crate::observe::history::{self, Asked, CardWanted, Reading, Search};
use crate::observe::json;
use crate::observe::resolve::Order;
use crate::observe::status::{self, Facts, LinkJson, LinkOrderJson, StatusJson};
use crate::observe::walk;
use crate::reload;
use crate::serve::Prepared;
use crate::witness::Witness;

/// What comes to the engine from other threads.
pub(crate) enum Event {
    /// A commit is done, well or not.
    Committed(Committed<FsStorage>),
    /// A look-up is done.
    Found(Input),
    /// A checkpoint is done.
    Checkpointed(CheckpointDone),
    /// Somebody asks on the admin socket.
    Ask(Question),
    /// An operator decides; answered when it is durable or refused.
    Resolve(Order),
    /// Somebody is about to read the gauges: they are set before the answer.
    Refresh(oneshot::Sender<()>),
    /// The files were read anew, well or not.
    Reload(Box<Result<Prepared, Problems>>),
    /// The process was told to stop.
    Stop,
}

/// How often the gauges are set and the clock is looked at, at least.
const TICK: Duration = Duration::from_secs(1);

/// How long a stop waits for the last frames to leave and the connections to close.
const CLOSING_PATIENCE: Duration = Duration::from_secs(2);

/// A commit that takes longer than this is taken for a disk that hangs: new requests get 96 until it is done, and a stop does
/// not wait for it (M6, M7).
const COMMIT_PATIENCE: Duration = Duration::from_secs(2);

/// The partition and what moves it.
pub(crate) struct Engine {
    partition: Partition<FsStorage>,
    /// How far the journal is, said outside its directory (K5).
    witness: Witness,
    index: Arc<Live<FsStorage>>,
    shell: Rc<Shell>,
    health: Arc<Health>,
    events: mpsc::UnboundedReceiver<Event>,
    to_self: mpsc::UnboundedSender<Event>,
    committer: Worker,
    searcher: Worker,
    checkpointer: Worker,
    /// Tells histories to operators: apart from the look-ups that terminals wait for.
    historian: Worker,
    /// What of them the index cannot tell.
    reading: Reading,
    /// What the clocks said at the start of the engine.
    started: Now,
    inputs: Vec<Input>,
    actions: Vec<Action>,
    /// When the group in flight was closed.
    commit_since: Option<Instant>,
    next_tick: Instant,
    /// What the log last said about the journal's room (M6).
    had_reserve: bool,
    /// The commit in flight takes too long.
    hangs: bool,
    /// When a drain ends in any case.
    drain_until: Option<Instant>,
    /// A second signal came.
    cut: bool,
}

/// The way in for other threads.
pub(crate) type Sender = mpsc::UnboundedSender<Event>;

impl Engine {
    /// Puts an opened partition between the shell's tasks and its threads.
    pub(crate) fn new(
        partition: Partition<FsStorage>,
        witness: Witness,
        index: Arc<Live<FsStorage>>,
        shell: Rc<Shell>,
        health: Arc<Health>,
        (to_self, events): (Sender, mpsc::UnboundedReceiver<Event>),
    ) -> std::io::Result<Self> {
        Ok(Engine {
            partition,
            witness,
            index,
            shell,
            health,
            events,
            to_self,
            committer: Worker::start("commit")?,
            searcher: Worker::start("look-up")?,
            checkpointer: Worker::start("checkpoint")?,
            historian: Worker::start("history")?,
            reading: Reading::default(),
            started: clock::now(),
            inputs: Vec::new(),
            actions: Vec::new(),
            commit_since: None,
            next_tick: Instant::now(),
            had_reserve: true,
            hangs: false,
            drain_until: None,
            cut: false,
        })
    }

    /// Runs until a drain has ended, or the journal failed.
    pub(crate) async fn run(mut self) -> Result<Exit, Failure> {
        loop {
            self.turn();
            if let Some(exit) = self.drained() {
                return self.close(exit).await;
            }
            self.wait().await?;
        }
    }

    /// Waits for something to do, and takes in what came from other threads.
    async fn wait(&mut self) -> Result<(), Failure> {
        let wake = tokio::time::Instant::from_std(self.wake_at());
        tokio::select! {
            biased;
            event = self.events.recv() => self.take_in(event)?,
            () = self.shell.mailbox.filled() => {
                // Let every socket that is ready bring its messages: they share a turn and a commit.
                tokio::task::yield_now().await;
            }
            () = tokio::time::sleep_until(wake) => {}
        }
        while let Ok(event) = self.events.try_recv() {
            self.take_in(Some(event))?;
        }
        Ok(())
    }

    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let due = self
            .partition
            .next_timeout()
            .map(|uptime_ms| now + Duration::from_millis(uptime_ms.saturating_sub(clock::now().uptime_ms)));
        due.map_or(self.next_tick, |due| due.min(self.next_tick))
    }

    fn take_in(&mut self, event: Option<Event>) -> Result<(), Failure> {
        // The engine holds a sender, so the channel never ends.
        let Some(event) = event else { return Ok(()) };
        match event {
            Event::Committed(committed) => self.committed(committed)?,
            Event::Found(found) => self.shell.mailbox.push(found),
            Event::Checkpointed(done) => match self.partition.checkpointed(done) {
                Ok(lsn) => tracing::info!(lsn = lsn.0, "checkpoint"),
                Err(error) => tracing::error!(%error, "no checkpoint; the next start takes longer"),
            },
            Event::Ask(question) => self.answer(question),
            Event::Resolve(order) => self.shell.mailbox.push(self.shell.orders.input(order)),
            Event::Refresh(reply) => {
                self.tick(clock::now().wall_ms);
                let _ = reply.send(());
            }
            Event::Reload(read) => self.reload(*read),
            Event::Stop => self.stop(),
        }
        Ok(())
    }

    /// One turn of the core, and everything that follows from it here.
    fn turn(&mut self) {
        let now = clock::now();
        self.health.turned(now.uptime_ms);
        self.shell.mailbox.take(&mut self.inputs);
        self.partition.turn(now, &mut self.inputs);
        self.commit();
        self.carry_out();
        self.checkpoint();
        self.say_reserve();
        self.watch_commit();
        if Instant::now() >= self.next_tick {
            self.next_tick = Instant::now() + TICK;
            self.tick(now.wall_ms);
            self.retention(now);
            self.upkeep();
            self.witness.follow(self.partition.durable().0);
            let count = self.shell.lines.renew();
            if count > 0 {
                tracing::warn!(count, "more lines about what peers do and what happens to movements were left out");
            }
            self.shell.current().endings.tick(now.wall_ms);
        }
    }

    /// Starts a commit if there is something to make durable and none is in flight.
    fn commit(&mut self) {
        if let Some(commit) = self.partition.take_commit() {
            self.start_commit(commit);
        }
    }

    fn start_commit(&mut self, commit: Commit<FsStorage>) {
        self.commit_since = Some(Instant::now());
        let done = self.to_self.clone();
        self.committer.run(move || {
            // The engine is gone only when the process ends.
            let _ = done.send(Event::Committed(commit.run()));
        });
    }

    fn committed(&mut self, committed: Committed<FsStorage>) -> Result<(), Failure> {
        let took = self.commit_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        let stats = self.partition.committed(clock::now(), committed).map_err(|poisoned| {
            // M6: nothing leaves any more; the sockets close with the process.
            self.health.poison();
            tracing::error!(error = %poisoned, "commit failed, stopping");
            Failure::new(Exit::JournalPoisoned, poisoned)
        })?;
        self.shell.meters.committed(&stats, took);
        Ok(())
    }

    /// Carries out what may be carried out now.
    fn carry_out(&mut self) {
        self.partition.release(&mut self.actions);
        for action in self.actions.drain(..) {
            let look_up = dispatch::carry_out(&self.shell, self.partition.view(), action);
            if let Some((id, query)) = look_up {
                let (index, done) = (Arc::clone(&self.index), self.to_self.clone());
                self.searcher.run(move || {
                    let found = index.find(&query).inspect_err(|error| tracing::warn!(%error, "a look-up has no answer"));
                    let _ = done.send(Event::Found(Input::Found { query: id, found: found.ok() }));
                });
            }
        }
    }

    fn checkpoint(&mut self) {
        if let Some(job) = self.partition.checkpoint_due() {
            let done = self.to_self.clone();
            self.checkpointer.run(move || {
                let _ = done.send(Event::Checkpointed(job.run()));
            });
        }
    }

    /// Says what may go, and asks the journal for what the index has let go.
    fn retention(&mut self, now: Now) {
        let Some(keep_ms) = self.shell.settings.journal.keep_ms else { return };
        // A wall clock that jumps ahead makes no record older (K7).
        let wall_ms = now.wall_ms.min(self.started.wall_ms + now.uptime_ms.saturating_sub(self.started.uptime_ms));
        let oldest_open = self.partition.view().oldest_open();
        self.index.retain(Some(Retain { before_wall_ms: wall_ms.saturating_sub(keep_ms), oldest_open }));
        let below = self.index.retire_below();
        if below > self.partition.reader().oldest() {
            self.partition.retire(switch::Lsn(below.0));
        }
    }

    /// Lets the journal prepare segments while it has nothing better to do.
    fn upkeep(&mut self) {
        if self.commit_since.is_none()
            && let Some(upkeep) = self.partition.take_upkeep()
        {
            self.start_commit(upkeep);
        }
    }

    /// M6: says once that new requests are refused for want of room, and once that they are taken again.
    fn say_reserve(&mut self) {
        let has_reserve = self.partition.has_reserve();
        if std::mem::replace(&mut self.had_reserve, has_reserve) == has_reserve {
            return;
        }
        let dir = self.shell.settings.journal.dir.display();
        if has_reserve {
            tracing::warn!(%dir, "the journal has room again: new requests are taken");
        } else {
            tracing::error!(
                %dir,
                "the journal has no room: new requests get 96, what is open goes on (M6); next: make room on its disk"
            );
        }
    }

    /// How long the commit in flight has taken until now.
    fn commit_age(&self) -> Duration {
        self.commit_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// M7: while the disk hangs, a terminal that begins something new is told so at once. What is open waits for it.
    fn watch_commit(&mut self) {
        let hangs = self.commit_age() >= COMMIT_PATIENCE;
        if std::mem::replace(&mut self.hangs, hangs) == hangs {
            return;
        }
        let dir = self.shell.settings.journal.dir.display();
        if hangs {
            tracing::error!(%dir, "the journal's disk does not answer: new requests get 96, what is open waits; next: look at the disk");
        } else {
            tracing::warn!(%dir, "the journal's disk answers again: new requests are taken");
        }
        if self.drain_until.is_none() {
            let admission = if hangs { Admission::JournalFull } else { Admission::Open };
            self.shell.mailbox.push(Input::Admission(admission));
        }
    }

    /// Answers an operator's question: from what the core shows, as much as does not delay a turn, or on a thread of its own.
    /// Who asked may be gone.
    fn answer(&self, question: Question) {
        let (view, now) = (self.partition.view(), clock::now());
        match question {
            Question::Status(reply) => {
                let _ = reply.send(self.status(now));
            }
            Question::Why(which, reply) => {
                let found = match which {
                    Which::Rrn(rrn) => view.movement_by_rrn(&rrn),
                    Which::Id(id) => view.movement_by_id(id),
                };
                let _ = reply.send(found.map(|movement| self.shell.strays.why(view, movement)));
            }
            Question::Link(order, peer, reply) => {
                let _ = reply.send(self.order_link(&order, peer));
            }
            Question::Stretch(stretch, reply) => {
                let _ = reply.send(stretch.look(view));
            }
            Question::Entries(after, reply) => {
                let _ = reply.send(walk::entries(view, after));
            }
            Question::Movement(rrn, reply) => {
                let _ = reply.send(view.movement_by_rrn(&rrn).map(json::movement));
            }
            Question::History(search, reply) => self.tell(search, reply),
        }
    }

    /// Takes an order for a link; the answer shows the link with the wish that the next turn makes true.
    fn order_link(&self, LinkOrderJson { link, order, who, why }: &LinkOrderJson, peer: Peer) -> Option<LinkJson> {
        let number = status::link_named(&self.shell.settings, link)?;
        let order = order.order();
        let (who, why) = (who.as_deref().unwrap_or("-"), why.as_deref().unwrap_or("-"));
        tracing::info!(target: "audit", link = %number, ?order, uid = peer.uid, who, why, "an operator orders a link");
        self.shell.mailbox.push(Input::Link { number, order });
        let mut shown = status::links(self.partition.view(), &self.shell.settings);
        shown.retain(|shown| shown.link == number.to_string());
        let mut shown = shown.pop()?;
        shown.wish = order.wish().name().to_owned();
        Some(shown)
    }

    fn status(&self, now: Now) -> StatusJson {
        status::status(Facts {
            view: self.partition.view(),
            settings: &self.shell.settings,
            up_ms: now.uptime_ms.saturating_sub(self.started.uptime_ms),
            wall_ms: now.wall_ms,
            not_ready: self.not_ready(),
            terminals: self.shell.meters.terminals(),
            inputs_waiting: self.shell.mailbox.len(),
            answers: self.shell.meters.answers(),
            index: self.index.status(),
        })
    }

    /// Has a history told: the journal's part on a thread of its own.
    fn tell(&self, mut search: Search, reply: history::Reply) {
        if let Some(CardWanted::Number(pan)) = &search.card {
            search.card = Some(CardWanted::Marks(self.partition.marks(pan)));
        }
        let asked = Asked {
            index: Arc::clone(&self.index),
            journal: self.partition.history(),
            reading: self.reading.clone(),
            search,
            reply,
        };
        self.historian.run(move || asked.answer());
    }

    /// Sets the gauges and the readiness.
    fn tick(&mut self, wall_ms: u64) {
        let view = self.partition.view();
        let (meters, settings) = (&self.shell.meters, &self.shell.settings);
        let links: Vec<switch::LinkView> = view.links().collect();
        meters.set_census(&view.census(), wall_ms);
        meters.set_index(&self.index.status());
        meters.set_links(settings.links.keys().copied(), &links);
        let reasons = self.not_ready();
        meters.set_state(self.shell.mailbox.len(), reasons.is_empty());
        meters.set_commit_age(self.commit_age());
        self.health.set_not_ready(reasons);
    }

    /// Why it takes no new requests; empty when it does.
    fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.drain_until.is_some() {
            reasons.push("draining".to_owned());
        }
        if self.hangs {
            reasons.push("the journal's disk does not answer (M6)".to_owned());
        }
        if !self.partition.has_reserve() {
            reasons.push("the journal has no reserve (M6)".to_owned());
        }
        for (number, issuer) in &self.shell.settings.core.issuers {
            let view = self.partition.view();
            let ready = || view.links().filter(|link| link.number.issuer == *number && link.ready);
            if ready().next().is_none() {
                reasons.push(format!("issuer {} ({}): no link is ready", number.0, issuer.name));
            } else if ready().all(|link| view.wish(link.number) != LinkWish::Up) {
                let name = &issuer.name;
                reasons.push(format!("issuer {} ({name}): an operator wishes every ready link down", number.0));
            }
        }
        reasons
    }

    /// Takes files that were read anew, all of them or none.
    fn reload(&mut self, read: Result<Prepared, Problems>) {
        let taken = read.map_err(|problems| problems.to_string()).and_then(|prepared| {
            self.partition.fits(prepared.keys()).map_err(|refused| format!("[journal] keys: {refused}"))?;
            reload::take(&self.shell, prepared)
        });
        match taken {
            Ok(reloaded) => {
                self.take_keys(&reloaded.keys);
                let certificates = self.shell.current().registry.len();
                if !reloaded.at_start.is_empty() {
                    let at_start = reloaded.at_start.join(", ");
                    tracing::warn!(at_start, "changed, and not read again while it runs; next: restart");
                }
                tracing::info!(target: "audit", certificates, pan_key = reloaded.keys.pan_checks()[0].0, "reloaded: registry, routes, certificates and keys");
            }
            Err(problems) => {
                tracing::error!(%problems, "the reload is refused and nothing is taken of it; next: correct it, SIGHUP again");
            }
        }
    }

    /// Cards are sealed and marked with these from now on; they fit.
    fn take_keys(&mut self, keys: &Keys) {
        // The witness first, if it can be written: `adopt` then asks for another key than this one (K5).
        self.witness.seals(keys.pan_checks()[0], self.partition.durable().0);
        if let Err(refused) = self.partition.take_keys(clock::now(), keys) {
            tracing::error!(%refused, "the keys of cards are not taken; the old ones stay");
        }
    }

    /// Begins a drain; the second time, ends it.
    fn stop(&mut self) {
        if self.drain_until.is_some() {
            self.cut = true;
            return;
        }
        tracing::info!("draining: no new work is taken");
        let patience = Duration::from_millis(self.shell.settings.limits.drain_timeout_ms);
        self.drain_until = Some(Instant::now() + patience);
        self.next_tick = Instant::now();
        self.shell.stop_accepting();
        self.shell.mailbox.push(Input::Admission(Admission::Draining));
    }

    /// Whether a drain has ended, and how.
    fn drained(&self) -> Option<Exit> {
        let until = self.drain_until?;
        if self.commit_since.is_none() && self.shell.mailbox.is_empty() && self.partition.quiet() {
            return Some(Exit::Done);
        }
        (self.cut || Instant::now() >= until).then_some(Exit::DrainCut)
    }

    /// Closes every connection, takes the last reports in, and closes the journal.
    async fn close(mut self, exit: Exit) -> Result<Exit, Failure> {
        self.shell.close_all();
        let until = Instant::now() + CLOSING_PATIENCE;
        while !(self.shell.all_closed() && self.shell.mailbox.is_empty() && self.commit_since.is_none()) {
            if Instant::now() >= until {
                tracing::warn!("connections do not close");
                break;
            }
            self.next_tick = Instant::now() + Duration::from_millis(50);
            self.wait().await?;
            self.turn();
        }
        while self.commit_since.is_some() {
            let patience = COMMIT_PATIENCE.saturating_sub(self.commit_age());
            let Ok(event) = tokio::time::timeout(patience, self.events.recv()).await else {
                let dir = self.shell.settings.journal.dir.display().to_string();
                let error =
                    anyhow!("the disk of the journal {dir} does not answer; next: look at the disk, then start again");
                return Err(Failure::new(Exit::JournalStorage, error));
            };
            self.take_in(event)?;
        }
        let last = self.partition.view().lsn();
        self.index.stop();
        self.partition.close().map_err(|error| Failure::new(Exit::JournalStorage, error))?;
        self.witness.stopped(last.0);
        tracing::info!(exit = exit.name(), "stopped");
        Ok(exit)
    }
}
