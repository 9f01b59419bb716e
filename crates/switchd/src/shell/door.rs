//! The door: connections of which nobody knows yet whose they are.
//!
//! A peer that says nothing, or begins a handshake and stops, costs a socket and a place here, and goes when its time is
//! over, or sooner when all places are taken and another comes. What handshakes compute is done a few steps at a time, so
//! that a thousand of them do not stand between a sale and its answer. Not here: who a peer is. Invariant: peers without a
//! certificate keep nobody out for longer than a grace, however many they are.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::config::limits::Limits;

/// All places before authentication, and the steps of the handshakes in them.
pub(crate) struct Door {
    places_max: usize,
    first_byte: Duration,
    whole: Duration,
    grace: Duration,
    /// The number of the next one that comes.
    next: Cell<u64>,
    /// Who has not said a byte, by number: oldest first.
    silent: RefCell<Guests>,
    /// Who has, and waits for its first step: nobody goes for what is the switch's own delay.
    waiting: Cell<usize>,
    /// Whose handshake has begun; their grace counts from then.
    begun: RefCell<Guests>,
    /// Somebody left.
    left: Notify,
    steps: Steps,
}

/// Since when each is there, and how it is told to go.
type Guests = BTreeMap<u64, (Instant, Rc<Notify>)>;

/// Who says nothing has had its grace after this part of it: a first byte needs no more than its way.
const SILENT_GRACE_PART: u32 = 10;

/// A place of one connection, until it is known or gone.
pub(crate) struct Place {
    door: Rc<Door>,
    number: u64,
    came: Instant,
    waits: Cell<bool>,
    /// Notified when it has to go.
    leave: Rc<Notify>,
}

impl Door {
    /// Nobody is there.
    pub(crate) fn new(limits: &Limits) -> Self {
        Door {
            places_max: limits.unauthenticated_max,
            first_byte: Duration::from_millis(limits.first_byte_timeout_ms),
            whole: Duration::from_millis(limits.handshake_timeout_ms),
            grace: Duration::from_millis(limits.handshake_grace_ms),
            next: Cell::new(0),
            silent: RefCell::default(),
            waiting: Cell::new(0),
            begun: RefCell::default(),
            left: Notify::new(),
            steps: Steps::new(limits.handshake_steps_max),
        }
    }

    /// A place for a new connection. When all are taken, the one that is silent for longest goes, else the oldest, once it has
    /// had its grace; until then this waits, and what comes meanwhile waits with the kernel.
    pub(crate) async fn enter(self: &Rc<Self>) -> Place {
        while let Err(until) = self.make_room() {
            // Over time: then the oldest has had its grace.
            let _ = timeout_at(until, self.left.notified()).await;
        }
        let place = Place {
            door: self.clone(),
            number: self.next.get(),
            came: Instant::now(),
            waits: Cell::new(false),
            leave: Rc::new(Notify::new()),
        };
        self.next.set(place.number + 1);
        self.silent.borrow_mut().insert(place.number, (place.came, place.leave.clone()));
        place
    }

    /// How many are there.
    pub(crate) fn taken(&self) -> usize {
        self.silent.borrow().len() + self.waiting.get() + self.begun.borrow().len()
    }

    /// Makes one of the places free, or says when there will be one at the latest.
    fn make_room(&self) -> Result<(), Instant> {
        if self.taken() < self.places_max {
            return Ok(());
        }
        let now = Instant::now();
        let of = |guests: &RefCell<Guests>, grace: Duration| {
            let mut guests = guests.borrow_mut();
            let oldest = guests.first_entry()?;
            let until = oldest.get().0 + grace;
            if until > now {
                return Some(Err(until));
            }
            oldest.remove().1.notify_one();
            Some(Ok(()))
        };
        let silent = of(&self.silent, self.grace / SILENT_GRACE_PART);
        if let Some(Ok(())) = silent {
            return Ok(());
        }
        let both = [silent, of(&self.begun, self.grace)];
        // Where all wait for their first step, one of them has it soon.
        both.into_iter().flatten().min_by_key(|room| room.err()).unwrap_or(Err(now + self.grace / SILENT_GRACE_PART))
    }

    /// Lets handshakes go on, so many steps between two turns of everything else, for as long as it is polled.
    pub(crate) async fn pace(self: Rc<Self>) {
        loop {
            self.steps.asked_for.notified().await;
            while self.steps.renew() {
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Place {
    /// Ends when the peer has said something, or with the reason why it has to go.
    pub(crate) async fn first_byte(&self, stream: &TcpStream) -> Result<(), &'static str> {
        let mut byte = [0; 1];
        tokio::select! {
            biased;
            // Looked at, as readiness alone may be wrong; an error shows again when the handshake reads.
            spoke = timeout_at(self.came + self.door.first_byte, stream.peek(&mut byte)) => {
                spoke.map(drop).map_err(|_| "first_byte_timeout")?;
            }
            () = self.leave.notified() => return Err("unauthenticated_max"),
        }
        // One that has to go at this moment is in no list any more.
        if self.door.silent.borrow_mut().remove(&self.number).is_some() {
            self.set_waits(true);
        }
        Ok(())
    }

    fn set_waits(&self, waits: bool) {
        let before = usize::from(self.waits.replace(waits));
        self.door.waiting.set(self.door.waiting.get() - before + usize::from(waits));
    }

    /// Its handshake has its first step.
    fn begins(&self) {
        if self.waits.get() {
            self.set_waits(false);
            self.door.begun.borrow_mut().insert(self.number, (Instant::now(), self.leave.clone()));
        }
    }

    /// The handshake, step by step as the door lets it, or the reason why its peer has to go.
    pub(crate) async fn handshake<T>(&self, handshake: impl Future<Output = T>) -> Result<T, &'static str> {
        let handshake = async {
            self.begins();
            handshake.await
        };
        tokio::select! {
            biased;
            () = self.leave.notified() => Err("unauthenticated_max"),
            done = timeout_at(self.came + self.door.whole, self.door.steps.pace(handshake)) => {
                done.map_err(|_| "handshake_timeout")
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.door.silent.borrow_mut().remove(&self.number);
        self.door.begun.borrow_mut().remove(&self.number);
        self.set_waits(false);
        self.door.left.notify_one();
    }
}

/// Steps of computation that handshakes share out among themselves, renewed once everything else had its turn.
struct Steps {
    most: usize,
    free: Cell<usize>,
    queue: RefCell<VecDeque<(Rc<Cell<Turn>>, Waker)>>,
    asked_for: Notify,
}

/// Where a handshake stands that wants a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It has not asked.
    Away,
    /// It waits in the queue.
    Queued,
    /// A step is kept for it.
    Granted,
}

impl Steps {
    fn new(most: usize) -> Self {
        Steps { most, free: Cell::new(most), queue: RefCell::default(), asked_for: Notify::new() }
    }

    /// Runs a future that takes a step for each of its polls.
    async fn pace<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        let (turn, mut begun) = (Rc::new(Cell::new(Turn::Away)), false);
        poll_fn(|cx| {
            match turn.get() {
                Turn::Granted => {}
                Turn::Queued => return Poll::Pending,
                Turn::Away if self.take() => {}
                Turn::Away => {
                    self.queue_up(&turn, cx.waker(), begun);
                    return Poll::Pending;
                }
            }
            turn.set(Turn::Away);
            begun = true;
            future.as_mut().poll(cx)
        })
        .await
    }

    /// Takes a step that nobody waits for.
    fn take(&self) -> bool {
        let free = if self.queue.borrow().is_empty() { self.free.get() } else { 0 };
        self.free.set(self.free.get() - usize::from(free > 0));
        if free <= 1 {
            self.asked_for.notify_one();
        }
        free > 0
    }

    /// What has begun ends first: else a crowd would all be half done, and none in time.
    fn queue_up(&self, turn: &Rc<Cell<Turn>>, waker: &Waker, begun: bool) {
        turn.set(Turn::Queued);
        let next = (turn.clone(), waker.clone());
        let mut queue = self.queue.borrow_mut();
        if begun { queue.push_front(next) } else { queue.push_back(next) }
    }

    /// All steps are free again, and those that wait have theirs first. False: nobody waited.
    fn renew(&self) -> bool {
        let mut queue = self.queue.borrow_mut();
        let granted = self.most.min(queue.len());
        self.free.set(self.most - granted);
        for (turn, waker) in queue.drain(..granted) {
            turn.set(Turn::Granted);
            waker.wake();
        }
        granted > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    fn on_one_thread(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    fn door(limits: Limits) -> Rc<Door> {
        Rc::new(Door::new(&limits))
    }

    /// As if a byte had come.
    fn speaks(place: &Place) {
        assert!(place.door.silent.borrow_mut().remove(&place.number).is_some());
        place.set_waits(true);
    }

    fn begins(place: &Place) {
        speaks(place);
        place.begins();
    }

    async fn has_to_go(place: &Place) -> bool {
        tokio::time::timeout(Duration::ZERO, place.leave.notified()).await.is_ok()
    }

    #[test]
    fn when_full_the_longest_silent_goes_then_the_oldest_after_its_grace_and_nobody_before() {
        on_one_thread(async {
            let door = door(Limits { unauthenticated_max: 3, handshake_grace_ms: 100, ..Limits::default() });
            let [first, second, third] = [door.enter().await, door.enter().await, door.enter().await];
            begins(&first);
            begins(&third);
            let fourth = door.enter().await;
            assert!(has_to_go(&second).await && !has_to_go(&first).await && !has_to_go(&third).await);
            begins(&fourth);
            assert_eq!(door.taken(), 3);
            let since = Instant::now();
            let _fifth = door.enter().await;
            assert!(since.elapsed() > Duration::from_millis(20), "the oldest had its grace");
            assert!(has_to_go(&first).await && !has_to_go(&third).await && !has_to_go(&fourth).await);
        });
    }

    /// Places full of those that began and stopped: whoever comes next must have the time for its own first byte.
    #[test]
    fn one_that_has_just_come_does_not_go_for_the_next() {
        on_one_thread(async {
            let door = door(Limits { unauthenticated_max: 2, handshake_grace_ms: 200, ..Limits::default() });
            let stalled = door.enter().await;
            begins(&stalled);
            let newcomer = door.enter().await;
            let since = Instant::now();
            let _next = door.enter().await;
            assert!(since.elapsed() >= Duration::from_millis(10), "it had a part of the grace");
            assert!(has_to_go(&newcomer).await && !has_to_go(&stalled).await);
        });
    }

    /// A crowd waits for the switch, not the other way round.
    #[test]
    fn one_that_waits_for_its_first_step_does_not_go() {
        on_one_thread(async {
            let door = door(Limits { unauthenticated_max: 1, handshake_grace_ms: 10, ..Limits::default() });
            let waits = door.enter().await;
            speaks(&waits);
            let next = tokio::time::timeout(Duration::from_millis(100), door.enter()).await;
            assert!(next.is_err() && !has_to_go(&waits).await);
            waits.begins();
            let _next = door.enter().await;
            assert!(has_to_go(&waits).await);
            drop(waits);
            assert_eq!(door.taken(), 1);
        });
    }

    #[test]
    fn one_that_leaves_makes_room_at_once() {
        on_one_thread(async {
            let door = door(Limits { unauthenticated_max: 1, ..Limits::default() });
            let first = door.enter().await;
            begins(&first);
            let since = Instant::now();
            let second = spawn_local({
                let door = door.clone();
                async move { drop(door.enter().await) }
            });
            yield_now().await;
            assert!(!second.is_finished());
            drop(first);
            second.await.unwrap();
            assert!(since.elapsed() < door.grace, "it waited for nobody's grace");
            assert_eq!(door.taken(), 0);
        });
    }

    /// Each handshake takes ten polls; everything else must have had a turn after each few of them.
    #[test]
    fn a_hundred_handshakes_take_a_few_steps_between_two_turns_of_the_others() {
        on_one_thread(async {
            let door = door(Limits { handshake_steps_max: 4, ..Limits::default() });
            spawn_local(door.clone().pace());
            let steps = Rc::new(Cell::new(0));
            let done = Rc::new(Cell::new(0));
            for _ in 0..100 {
                let (door, steps, done) = (door.clone(), steps.clone(), done.clone());
                spawn_local(async move {
                    let handshake = async {
                        for _ in 0..9 {
                            yield_now().await;
                            steps.set(steps.get() + 1);
                        }
                    };
                    door.steps.pace(handshake).await;
                    done.set(done.get() + 1);
                });
            }
            let mut most = 0;
            while done.get() < 100 {
                let before = steps.get();
                yield_now().await;
                most = most.max(steps.get() - before);
            }
            assert!((1..=8).contains(&most), "{most} steps between two turns");
        });
    }
}
