//! Terminals, their customers and concentrators. What a terminal sends and believes is `counterparts`'; here it is decided
//! when, over which connection, and what a person at the counter does when no answer comes.
//!
//! Invariant: what the auditor is told of a terminal (beliefs, purchases) is what a person at its counter knows, nothing
//! that the switch said elsewhere.

use counterparts::clock::Calendar;
use counterparts::seeded::Seeded;
use counterparts::terminal::{Asked, Belief, BeliefLine, Kind, Outcome, Presented, Receipt, Settings, Terminal};
use iso8583::{Currency, Fields, Mti, TerminalId};
use switch::GroupNo;

use crate::plan::{CARDS_OF_MERCHANT, Calls, Plan, Profile, Site, Trouble, card};
use crate::queue::{MS, Micros, SECOND};
use crate::wire::{End, Peer};
use crate::world::World;

/// A purchase that a customer means to make once, however often it is keyed.
#[derive(Clone, Debug)]
pub(crate) struct Intent {
    pub(crate) device: usize,
    kind: Asked,
    card: u64,
    amount: u64,
    /// Index of each request in the terminal's beliefs.
    pub(crate) beliefs: Vec<usize>,
    done: bool,
}

/// What a terminal of the profile [`Profile::Completes`] knows of its 0202.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Completion {
    pub(crate) belief: usize,
    /// DE39 that is sent: 00, or not.
    pub(crate) completes: bool,
    sends: u32,
    /// DE39 of the answer.
    pub(crate) answer: Option<String>,
}

/// A terminal repeats a request so often.
const REPEATS: u32 = 3;
/// In place of DE39, when nobody answers for ever.
const GAVE_UP: &str = "--";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Nothing is open.
    Rests,
    /// A message waits for its answer.
    Waits,
    /// A 0202 does.
    Completes,
}

/// One of the two lines of the concentrator.
#[derive(Default)]
pub(crate) struct Hub {
    conn: Option<usize>,
}

/// A terminal and who stands before it.
pub(crate) struct Device {
    pub(crate) site: Site,
    pub(crate) id: TerminalId,
    pub(crate) terminal: Terminal,
    conn: Option<usize>,
    doing: Doing,
    generation: u64,
    left: u32,
    intent: Option<usize>,
    repeats: u32,
    /// The newest request or reversal in full, to be sent again by somebody else's fault.
    last: Option<Fields>,
    cancels: Option<u64>,
    pub(crate) completions: Vec<Completion>,
    /// It never comes back.
    pub(crate) gone: bool,
    dice: Seeded,
}

impl Device {
    pub(crate) fn all(plan: &Plan) -> Vec<Device> {
        plan.sites.iter().enumerate().map(|(number, site)| Device::new(plan, number, *site)).collect()
    }

    fn new(plan: &Plan, number: usize, site: Site) -> Device {
        let id = terminal_id(number, site.merchant);
        let mut settings = Settings::new(id, Currency::new(*b"156"));
        settings.reverses_first = site.profile.reverses_first();
        settings.reversal_names = site.reversal_names;
        settings.reversal_times = site.reversal_times;
        let mut dice = Seeded::new(plan.seed ^ 0x6465_7600 ^ number as u64);
        let left = 1 + dice.below(u64::from(plan.purchases)) as u32;
        Device {
            site,
            id,
            terminal: Terminal::new(settings),
            conn: None,
            doing: Doing::Rests,
            generation: 0,
            left,
            intent: None,
            repeats: 0,
            last: None,
            cancels: None,
            completions: Vec::new(),
            gone: false,
            dice,
        }
    }

    pub(crate) fn has_bought_all(&self) -> bool {
        self.gone || self.left == 0
    }

    /// Nothing is open, nothing is owed, nothing is left to do.
    pub(crate) fn is_idle(&self) -> bool {
        self.gone || self.doing == Doing::Rests && self.terminal.owed().is_none() && self.open_completion().is_none()
    }

    fn open_completion(&self) -> Option<usize> {
        self.completions.iter().position(|completion| completion.answer.is_none())
    }

    /// What it knows of request `at`: `Some(true)` approved, `Some(false)` not, `None` it does not know.
    pub(crate) fn knows(&self, at: usize) -> Option<bool> {
        let belief = &self.terminal.beliefs()[at];
        let completion = self.completions.iter().rev().find(|completion| completion.belief == at);
        match (belief.belief, completion) {
            (Belief::Approved, Some(Completion { answer: Some(code), .. })) if code == GAVE_UP => None,
            (Belief::Approved, Some(Completion { answer: Some(code), completes, .. })) => Some(*completes && code == "00"),
            (Belief::Approved, Some(Completion { answer: None, .. })) => None,
            // Its silence unwinds it, or its time is not over.
            (Belief::Approved, None) if self.site.profile == Profile::Completes => None,
            (Belief::Approved, None) => Some(true),
            (Belief::Failed | Belief::Reversed, _) => Some(false),
            (Belief::Unknown, _) => None,
        }
    }
}

/// The concentrator's line that a lane goes by.
fn line_of(device: usize) -> usize {
    device % 2
}

fn terminal_id(number: usize, merchant: u32) -> TerminalId {
    let text = format!("T{number:07}M{merchant:014}");
    TerminalId::try_from(text.as_bytes()).unwrap_or_else(|_| panic!("{text} is 23 characters"))
}

impl World {
    /// The group of the terminal that a message names.
    pub(crate) fn group_of(&self, message: &Fields) -> GroupNo {
        self.device_of(message).map_or(GroupNo(1), |device| self.devices[device].site.profile.group())
    }

    fn device_of(&self, message: &Fields) -> Option<usize> {
        message.text(41)?.get(1..)?.parse().ok().filter(|device| *device < self.devices.len())
    }

    pub(crate) fn wake_device(&mut self, device: usize, after: Micros) {
        self.devices[device].generation += 1;
        let event = crate::world::Event::Device(device, self.devices[device].generation);
        self.events.put(self.now + after, event);
    }

    /// What the terminal takes for the time.
    fn terminal_ms(&self, device: usize) -> u64 {
        self.wall_ms().saturating_add_signed(self.devices[device].site.clock_error_s * 1000)
    }

    fn draw(&mut self, device: usize, end: u64) -> u64 {
        self.devices[device].dice.below(end)
    }

    fn rest(&mut self, device: usize) {
        let pause = 200 * MS + self.draw(device, self.plan.pause_s * SECOND);
        self.devices[device].doing = Doing::Rests;
        self.wake_device(device, pause);
    }

    pub(crate) fn device_wakes(&mut self, device: usize, generation: u64) {
        if self.devices[device].generation != generation || self.devices[device].gone {
            return;
        }
        match self.devices[device].doing {
            Doing::Rests => self.does_next(device),
            Doing::Waits => self.gives_up(device),
            Doing::Completes => self.completes(device),
        }
    }

    /// What comes next when nothing is open.
    fn does_next(&mut self, device: usize) {
        if self.devices[device].open_completion().is_some() {
            return self.completes(device);
        }
        if self.devices[device].terminal.owed().is_some() {
            return self.reverses(device);
        }
        if let Some(remains) = self.devices[device].cancels.take() {
            let wall_ms = self.terminal_ms(device);
            if self.devices[device].terminal.reverse(wall_ms, None, remains).is_ok() {
                return self.reverses(device);
            }
        }
        self.reuses_key(device);
        self.reverses_wrongly(device);
        self.resets_counter(device);
        if self.vanishes(device) {
            return;
        }
        let Some(intent) = self.next_intent(device) else { return };
        self.asks(device, intent);
    }

    /// The purchase to be made: the one that failed, or a new one; none when the shop is closed.
    fn next_intent(&mut self, device: usize) -> Option<usize> {
        if let Some(intent) = self.devices[device].intent.filter(|intent| !self.intents[*intent].done) {
            // A customer tries three times.
            if self.troubled && self.intents[intent].beliefs.len() < 3 {
                return Some(intent);
            }
        }
        if self.devices[device].left == 0 || !self.troubled {
            return None;
        }
        self.devices[device].left -= 1;
        let equal = self.devices[device].intent.filter(|_| self.strikes_quietly(Trouble::EqualSales, 0.2));
        let (kind, card, amount) = match equal {
            Some(last) => (self.intents[last].kind, self.intents[last].card, self.intents[last].amount),
            None => {
                let merchant = u64::from(self.devices[device].site.merchant);
                let cards = self.plan.cards;
                let amount = 100 + self.draw(device, 1_000_000);
                let kind = match self.draw(device, 10) {
                    0 => Asked::Authorisation,
                    1 => Asked::Cash,
                    _ => Asked::Sale,
                };
                (kind, merchant * CARDS_OF_MERCHANT + self.draw(device, cards), amount)
            }
        };
        self.intents.push(Intent { device, kind, card, amount, beliefs: Vec::new(), done: false });
        self.devices[device].intent = Some(self.intents.len() - 1);
        Some(self.intents.len() - 1)
    }

    fn vanishes(&mut self, device: usize) -> bool {
        let vanishes = self.strikes(Trouble::Vanish, 0.002);
        if vanishes {
            self.tell(|| format!("terminal {device} never comes back"));
            self.devices[device].gone = true;
        }
        vanishes
    }

    /// Something that customers do, and no fault.
    fn strikes_quietly(&mut self, trouble: Trouble, rate: f64) -> bool {
        let strikes = self.troubled && self.plan.has(trouble) && self.dice.chance(rate);
        if strikes {
            self.out.coverage.trouble(trouble);
        }
        strikes
    }

    fn asks(&mut self, device: usize, intent: usize) {
        let Intent { kind, card: number, amount, .. } = self.intents[intent];
        let wall_ms = self.terminal_ms(device);
        let presented = Presented::new(card(number));
        let terminal = &mut self.devices[device].terminal;
        let Ok(message) = terminal.ask(wall_ms, kind, &presented, amount) else {
            return self.rest(device);
        };
        let belief = terminal.beliefs().len() - 1;
        self.intents[intent].beliefs.push(belief);
        if self.devices[device].site.clock_error_s != 0 {
            self.out.coverage.trouble(Trouble::TerminalClock);
        }
        self.out.transactions += 1;
        self.devices[device].repeats = 0;
        self.says(device, message);
    }

    fn reverses(&mut self, device: usize) {
        let wall_ms = self.terminal_ms(device);
        let with_card = self.draw(device, 2) == 0;
        let intent = self.devices[device].intent;
        let number = intent.filter(|_| with_card).map(|intent| card(self.intents[intent].card));
        // Only the newest purchase's card is still at hand.
        let newest = self.devices[device].terminal.owed().map(|owed| owed.stan.clone())
            == self.devices[device].terminal.beliefs().last().map(|last| last.stan.clone());
        let number = number.filter(|_| newest);
        match self.devices[device].terminal.reversal(wall_ms, number.as_ref()) {
            Ok(Some(message)) => self.says(device, message),
            Ok(None) | Err(_) => self.rest(device),
        }
    }

    /// A request is on its way for long. T8 trusts that a copy is not older than the crossing margin: its terminal reverses it
    /// or keys it again, and does not repeat it.
    pub(crate) fn gives_up_without_repeat(&mut self, message: &Fields) {
        if let Some(device) = self.device_of(message) {
            self.devices[device].repeats = REPEATS;
        }
    }

    /// Sends a message and waits for its answer.
    fn says(&mut self, device: usize, message: Fields) {
        self.devices[device].doing = Doing::Waits;
        self.devices[device].terminal.take_lines();
        self.devices[device].last = Some(message.clone());
        let patience = 18 * SECOND + self.draw(device, 20 * SECOND);
        self.wake_device(device, patience);
        if self.devices[device].site.calls == Calls::Lane {
            self.sends_by_lane(device, message);
        } else {
            self.sends(device, message);
        }
        self.vanishes(device);
    }

    fn sends(&mut self, device: usize, message: Fields) {
        let Some(at) = self.connection_of(device, line_of(device)) else { return };
        self.send(at, End::Peer, Box::new(message));
    }

    /// By a concentrator, who may carry a copy on his other line: at once, as the crossing margin asks for (T8).
    fn sends_by_lane(&mut self, device: usize, message: Fields) {
        let lines = [line_of(device), 1 - line_of(device)];
        let Some(at) = self.connection_of(device, lines[0]) else { return };
        let other = self.hubs[lines[1]].conn.filter(|other| self.conns[*other].peer_up);
        let prompt = |at: usize| self.conns[at].to_switch_at <= self.now;
        match other.filter(|other| prompt(at) && prompt(*other)) {
            Some(other) if self.strikes(Trouble::LaneCopy, 0.05) => {
                let (first, second) = (MS + self.below(1_500 * MS), MS + self.below(1_500 * MS));
                self.send_within(at, End::Peer, first, Box::new(message.clone()));
                self.send_within(other, End::Peer, second, Box::new(message));
            }
            Some(_) | None => self.send(at, End::Peer, Box::new(message)),
        }
    }

    /// The connection to send on, a lane's by this line; none while the switch is down.
    fn connection_of(&mut self, device: usize, line: usize) -> Option<usize> {
        let calls = self.devices[device].site.calls;
        let lane = calls == Calls::Lane;
        let kept = if lane { self.hubs[line].conn } else { self.devices[device].conn };
        if let Some(at) = kept.filter(|at| self.conns[*at].peer_up) {
            if calls != Calls::PerCall {
                return Some(at);
            }
            self.peer_hangs_up(at);
        }
        if !self.machine.runs() {
            return None;
        }
        let at = self.connect(if lane { Peer::Hub(line) } else { Peer::Device(device) });
        if lane {
            self.hubs[line].conn = Some(at);
        } else {
            self.devices[device].conn = Some(at);
        }
        Some(at)
    }

    pub(crate) fn device_sees_end(&mut self, device: usize, at: usize) {
        if self.devices[device].conn == Some(at) {
            self.devices[device].conn = None;
            self.loses_patience(device);
        }
    }

    pub(crate) fn hub_sees_end(&mut self, hub: usize, at: usize) {
        if self.hubs[hub].conn == Some(at) {
            self.hubs[hub].conn = None;
            for device in 0..self.devices.len() {
                if self.devices[device].site.calls == Calls::Lane && line_of(device) == hub {
                    self.loses_patience(device);
                }
            }
        }
    }

    /// Its connection is gone: no answer will come.
    fn loses_patience(&mut self, device: usize) {
        if self.devices[device].doing != Doing::Rests && !self.devices[device].gone {
            let soon = 50 * MS + self.draw(device, 3 * SECOND);
            self.wake_device(device, soon);
        }
    }

    pub(crate) fn hub_answered(&mut self, message: &Fields) {
        if let Some(device) = self.device_of(message) {
            self.device_answered(device, message);
        }
    }

    pub(crate) fn device_answered(&mut self, device: usize, message: &Fields) {
        if self.devices[device].gone {
            return;
        }
        if matches!(message.mti().as_bytes(), b"0112" | b"0212" | b"0113" | b"0213") {
            return self.completion_answered(device, message);
        }
        let wall_ms = self.terminal_ms(device);
        let Some(receipt) = self.devices[device].terminal.answer(wall_ms, message) else { return };
        self.tell(|| format!("terminal {device} shows {:?} {}", receipt.outcome, receipt.code.as_deref().unwrap_or("-")));
        match receipt.kind {
            Kind::Reversal => self.rest(device),
            Kind::Sale | Kind::Cash | Kind::Authorisation | Kind::Balance | Kind::Echo | Kind::SignOn => {
                self.was_answered(device, &receipt);
            }
        }
    }

    fn was_answered(&mut self, device: usize, receipt: &Receipt) {
        let intent = self.devices[device].intent;
        if receipt.outcome == Outcome::Approved {
            self.is_done(intent);
            let belief =
                self.devices[device].terminal.beliefs().iter().rposition(|belief| belief.stan == receipt.original_stan);
            if let (Profile::Completes, Some(belief)) = (self.devices[device].site.profile, belief) {
                let completes = self.draw(device, 10) > 0;
                self.devices[device].completions.push(Completion { belief, completes, sends: 0, answer: None });
            } else if self.strikes_quietly(Trouble::Cancel, 0.1) {
                self.devices[device].cancels = Some(0);
            } else if self.strikes_quietly(Trouble::PartialReversal, 0.1) {
                let approved = receipt.amount.as_ref().map_or(0, |(minor, _)| *minor);
                self.devices[device].cancels = Some(approved / 2).filter(|remains| *remains > 0);
            }
        } else if self.draw(device, 2) == 0 {
            // Declined, and the customer pays in cash.
            self.is_done(intent);
        }
        self.rest(device);
    }

    fn is_done(&mut self, intent: Option<usize>) {
        if let Some(intent) = intent {
            self.intents[intent].done = true;
        }
    }

    /// No answer came: what the terminal and the person before it do then.
    fn gives_up(&mut self, device: usize) {
        let wall_ms = self.terminal_ms(device);
        let Some(receipt) = self.devices[device].terminal.give_up(wall_ms) else {
            return self.rest(device);
        };
        self.tell(|| format!("terminal {device} got no answer to {} {}", receipt.original_stan, receipt.kind));
        if receipt.kind == Kind::Reversal {
            return self.rest(device);
        }
        let choice = self.draw(device, 10);
        let profile = self.devices[device].site.profile;
        let may_repeat = self.devices[device].repeats < REPEATS;
        if may_repeat
            && choice < 4
            && let Ok(message) = self.devices[device].terminal.repeat()
        {
            self.devices[device].repeats += 1;
            // It has given up the first: what is still on its way to it must not answer the second.
            let conn = self.devices[device].conn.take_if(|_| profile == Profile::ResendsLate);
            if let Some(at) = conn {
                self.peer_hangs_up(at);
            }
            return self.says(device, message);
        }
        if self.devices[device].site.profile.reverses_first() {
            return self.rest(device);
        }
        match choice {
            4 | 5 if self.devices[device].site.profile != Profile::Completes => self.devices[device].cancels = Some(0),
            // Keyed again, at once or after a rest.
            6 | 7 if !self.devices[device].has_bought_all() => {
                self.devices[device].doing = Doing::Rests;
                let soon = 100 * MS + self.draw(device, SECOND);
                return self.wake_device(device, soon);
            }
            4..=7 => {}
            _ => self.is_done(self.devices[device].intent),
        }
        self.rest(device);
    }

    // ---- C2

    fn completes(&mut self, device: usize) {
        let Some(at) = self.devices[device].open_completion() else { return self.rest(device) };
        let completion = &mut self.devices[device].completions[at];
        if completion.sends > 0 && !self.troubled && completion.sends > 40 {
            completion.answer = Some(GAVE_UP.to_owned());
            return self.rest(device);
        }
        completion.sends += 1;
        let (again, completes, belief) = (completion.sends > 1, completion.completes, completion.belief);
        let belief = self.devices[device].terminal.beliefs()[belief].clone();
        let message = completion_message(&belief, self.devices[device].id, self.terminal_ms(device), again, completes);
        self.devices[device].doing = Doing::Completes;
        let patience = 10 * SECOND + self.draw(device, 5 * SECOND);
        self.wake_device(device, patience);
        self.sends(device, message);
    }

    fn completion_answered(&mut self, device: usize, message: &Fields) {
        let Some(at) = self.devices[device].open_completion() else { return };
        let belief = self.devices[device].completions[at].belief;
        if message.text(11) != Some(self.devices[device].terminal.beliefs()[belief].stan.as_str()) {
            return;
        }
        self.devices[device].completions[at].answer = Some(message.text(39).unwrap_or_default().to_owned());
        self.rest(device);
    }

    // ---- what a terminal should not do

    /// A used key with another amount (D4). Nobody waits for the answer.
    fn reuses_key(&mut self, device: usize) {
        let terminal = &self.devices[device].terminal;
        // Of a request that never came, this would be the original.
        let answered = terminal.beliefs().last().is_some_and(|last| last.belief == Belief::Approved);
        let Some(mut message) = self.devices[device].last.clone().filter(|_| answered) else { return };
        if message.mti().as_bytes()[1] != b'2' || message.mti().as_bytes()[2] != b'0' {
            return;
        }
        if !self.strikes(Trouble::KeyReuse, 0.02) {
            return;
        }
        message.set(4, b"000000000077");
        self.sends(device, message);
    }

    /// A reversal of the newest request with a wrong amount (D12). Nobody waits for the answer.
    fn reverses_wrongly(&mut self, device: usize) {
        let Some(belief) = self.devices[device].terminal.beliefs().last().cloned() else { return };
        if !self.strikes(Trouble::WrongReversal, 0.02) {
            return;
        }
        let mut message = Fields::new(Mti::new(b"0400"));
        let id = self.devices[device].id;
        message.set(3, belief.processing.as_bytes());
        message.set(4, format!("{:012}", belief.amount + 1).as_bytes());
        message.set(11, b"999999");
        message.set(41, id.terminal());
        message.set(42, id.merchant());
        message.set(49, belief.currency.as_bytes());
        message.set(90, format!("0{}00{}{}{:022}", belief.class, belief.stan, belief.de7, 0).as_bytes());
        self.sends(device, message);
    }

    /// Its counter was lost: it begins again far below, where its keys are old.
    fn resets_counter(&mut self, device: usize) {
        if !self.strikes(Trouble::StanReset, 0.01) {
            return;
        }
        let device = &mut self.devices[device];
        if device.completions.iter().any(|completion| completion.answer.is_none()) {
            return;
        }
        let mut lines: Vec<BeliefLine> = device.terminal.beliefs().to_vec();
        // Two requests of one second under one number would become one line of its journal.
        let mut keys: Vec<_> = lines.iter().map(|line| (&line.stan, line.class, &line.de7)).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return;
        }
        if let Some(last) = lines.last_mut() {
            last.next_stan = 1 + device.dice.below(20) as u32;
        }
        device.terminal = Terminal::restore(device.terminal.settings().clone(), lines);
        // Whoever stands there pays in cash; an equal sale under a used key would be a repeat.
        device.intent = None;
    }
}

fn completion_message(belief: &BeliefLine, id: TerminalId, wall_ms: u64, again: bool, completes: bool) -> Fields {
    let mut message = Fields::new(Mti::new(match (belief.class, again) {
        (1, false) => b"0102",
        (1, true) => b"0103",
        (_, false) => b"0202",
        (_, true) => b"0203",
    }));
    message.set(4, format!("{:012}", belief.stands).as_bytes());
    message.set(7, Calendar::at(wall_ms, 0).de7().as_bytes());
    message.set(11, belief.stan.as_bytes());
    message.set(12, belief.de12.as_bytes());
    message.set(13, belief.de13.as_bytes());
    if let Some(rrn) = &belief.rrn {
        message.set(37, format!("{rrn:<12}").as_bytes());
    }
    message.set(39, if completes { b"00" } else { b"05" });
    message.set(41, id.terminal());
    message.set(42, id.merchant());
    message.set(49, belief.currency.as_bytes());
    message
}
