//! What a terminal sends: which message it is, whether its key is known, and what follows (M5, M7, D1-D4, T8, T10, C1).

use alloc::boxed::Box;
use alloc::vec::Vec;

use iso8583::{Amount, Currency, Fields, Mti, ResponseCode, Rrn, Stan, TerminalId};

use crate::action::{Action, Note, Pending};
use crate::calendar;
use crate::card::Card;
use crate::config::{Group, OnRepeat};
use crate::earlier::another_tap;
use crate::ids::{ConnId, GroupNo, IssuerNo, LinkId, LinkNo, Lsn, MovementId, Now};
use crate::input::Admission;
use crate::look_up::Arrival;
use crate::machine::{Output, Purpose, Request, Switch, Timer, Waiter};
use crate::message;
use crate::movement::{Class, Evidence, Fingerprint, Key, Movement, Reason, Resolution, Rule, StateKind, local_time};
use crate::mutant::{Mutant, on};
use crate::record::Record;
use crate::table::{decide, takes};

/// How many repeats' own times are remembered; without, a reversal that names one is for a person (D12).
const REPEAT_TIMES_MAX: usize = 10_000;

/// How many open entries of one terminal there may be before equal sales of it are refused.
const ENTRIES_MAX: usize = 1000;

/// What is known of the key of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing.
    Nothing,
    /// It was refused before an intent (M7).
    Refused,
    /// A reversal for it came first (D11).
    Buried,
    /// A look-up for it is pending.
    LookingUp,
    /// A movement within the window, or of the same local time, in this state.
    Movement(StateKind),
}

/// How the content compares with what is known under the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Same,
    Other,
}

/// What is known beside the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// Nothing more.
    Plain,
    /// The terminal sent a reversal for it.
    ReversalSeen,
    /// A person has it only because its delivery is doubtful, or has said that it stands.
    DeliveryDoubtful,
}

/// Whether a repeat came too late to be taken for an original that never arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Fresh,
    /// A repeat (0101, 0201) whose own time lies before the repeat window.
    OldRepeat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// A new transaction.
    New,
    /// Refused as before.
    RefuseAgain,
    /// 94: its reversal came first (D11).
    Buried,
    /// 94 and an exception: too old to be an original.
    TooOld,
    /// The one answer goes to its newest connection (D1).
    Attach,
    /// The stored answer, under its record (D2).
    Replay,
    /// The stored approval, by a record that makes it offered again (D2, T8).
    OfferAgain,
    /// 68 (D3).
    Unwound,
    /// 94 and an alarm (D4).
    Conflict,
}

#[derive(Debug)]
struct Row {
    known: &'static [Known],
    content: &'static [Content],
    mark: &'static [Mark],
    age: &'static [Age],
    then: Decision,
    rule: &'static str,
}

const ANY_MARK: &[Mark] = &[];
const ANY_AGE: &[Age] = &[];
const ANY_CONTENT: &[Content] = &[];
const MOVEMENTS: &[Known] = &[
    Known::LookingUp,
    Known::Movement(StateKind::AwaitingIssuer),
    Known::Movement(StateKind::AwaitingDelivery),
    Known::Movement(StateKind::AwaitingConfirmation),
    Known::Movement(StateKind::AwaitingReversalAck),
    Known::Movement(StateKind::NeedsOperator),
    Known::Movement(StateKind::Declined),
    Known::Movement(StateKind::Confirmed),
    Known::Movement(StateKind::Unwound),
    Known::Movement(StateKind::Resolved),
];
const LIVE: &[Known] = &[Known::Movement(StateKind::AwaitingDelivery), Known::Movement(StateKind::AwaitingConfirmation)];

/// Section 6, the rows for requests.
#[rustfmt::skip]
const ARRIVALS: &[Row] = &[
    Row { known: &[Known::Nothing], content: ANY_CONTENT, mark: ANY_MARK, age: &[Age::Fresh], then: Decision::New, rule: "M1" },
    Row { known: &[Known::Nothing], content: ANY_CONTENT, mark: ANY_MARK, age: &[Age::OldRepeat], then: Decision::TooOld, rule: "D11" },
    Row { known: &[Known::Refused], content: ANY_CONTENT, mark: ANY_MARK, age: ANY_AGE, then: Decision::RefuseAgain, rule: "M7" },
    Row { known: &[Known::Buried], content: ANY_CONTENT, mark: ANY_MARK, age: ANY_AGE, then: Decision::Buried, rule: "D11" },
    Row { known: &[Known::LookingUp, Known::Movement(StateKind::AwaitingIssuer)], content: &[Content::Same], mark: &[Mark::Plain, Mark::DeliveryDoubtful], age: ANY_AGE, then: Decision::Attach, rule: "D1" },
    Row { known: LIVE, content: &[Content::Same], mark: &[Mark::Plain, Mark::DeliveryDoubtful], age: ANY_AGE, then: Decision::OfferAgain, rule: "D2" },
    Row { known: &[Known::Movement(StateKind::Declined), Known::Movement(StateKind::Confirmed)], content: &[Content::Same], mark: &[Mark::Plain, Mark::DeliveryDoubtful], age: ANY_AGE, then: Decision::Replay, rule: "D2" },
    Row { known: &[Known::Movement(StateKind::NeedsOperator), Known::Movement(StateKind::Resolved)], content: &[Content::Same], mark: &[Mark::DeliveryDoubtful], age: ANY_AGE, then: Decision::Replay, rule: "D2" },
    Row { known: &[Known::Movement(StateKind::NeedsOperator), Known::Movement(StateKind::Resolved)], content: &[Content::Same], mark: &[Mark::Plain], age: ANY_AGE, then: Decision::Unwound, rule: "D3" },
    Row { known: &[Known::Movement(StateKind::AwaitingReversalAck), Known::Movement(StateKind::Unwound)], content: &[Content::Same], mark: &[Mark::Plain, Mark::DeliveryDoubtful], age: ANY_AGE, then: Decision::Unwound, rule: "D3" },
    Row { known: MOVEMENTS, content: &[Content::Same], mark: &[Mark::ReversalSeen], age: ANY_AGE, then: Decision::Unwound, rule: "D3" },
    Row { known: MOVEMENTS, content: &[Content::Other], mark: ANY_MARK, age: ANY_AGE, then: Decision::Conflict, rule: "D4" },
];

fn arrival(known: Known, content: Content, mark: Mark, age: Age) -> &'static Row {
    decide(ARRIVALS, |row| matches(row, known, content, mark, age))
}

fn matches(row: &Row, known: Known, content: Content, mark: Mark, age: Age) -> bool {
    takes(row.known, known) && takes(row.content, content) && takes(row.mark, mark) && takes(row.age, age)
}

/// The parts of a money request that every decision needs.
pub(crate) struct MoneyRequest {
    pub(crate) key: Key,
    pub(crate) fingerprint: Fingerprint,
    local_time: Option<[u8; 10]>,
}

impl Switch {
    pub(crate) fn terminal_message(
        &mut self,
        now: Now,
        conn: ConnId,
        group: GroupNo,
        message: Box<Fields>,
        card: Option<Card>,
        out: &mut Output,
    ) {
        let arrival = Arrival { conn, group, message, card, looked_up: false, at_ms: now.uptime_ms };
        let mti = arrival.message.mti();
        if mti.is_response() {
            // An answer from a terminal answers nothing that was asked.
            return;
        }
        match (Class::of(mti), mti.as_bytes()) {
            (Some(class), _) => self.money_request(now, class, arrival, out),
            (None, b"0400" | b"0401" | b"0420" | b"0421") => self.terminal_reversal(now, arrival, out),
            (None, _) if is_completion(mti) => self.completion(now, arrival, out),
            (None, b"0800" | b"0801" | b"0820" | b"0821") => {
                let answer = message::network_answer(&arrival.message, ResponseCode::APPROVED);
                self.answer_terminal(conn, answer, Lsn(0), out);
                self.note(answered(now, &arrival, ResponseCode::APPROVED, None), out);
            }
            (None, _) => self.refuse(now, &arrival, None, ResponseCode::INVALID_TRANSACTION, out),
        }
    }

    pub(crate) fn money_request(&mut self, now: Now, class: Class, arrival: Arrival, out: &mut Output) {
        let request = match read(class, &arrival) {
            Ok(request) => request,
            Err(code) => return self.refuse(now, &arrival, None, code, out),
        };
        let config = self.config.clone();
        let group = config.group(arrival.group);
        let own_age_ms = own_age_ms(self.civil_ms, &arrival.message, group);
        let missed = on(Mutant::MissRepeat) && arrival.message.mti().is_repeat();
        let (known, movement) = if missed { (Known::Nothing, None) } else { self.known(now, &request, group, own_age_ms) };
        let (content, mark) = match movement.and_then(|id| self.movement(id)) {
            Some(movement) => (compare(&movement.fingerprint, &request.fingerprint), mark(movement)),
            None => (self.compare_pending(&request), Mark::Plain),
        };
        let repeat = arrival.message.mti().is_repeat();
        let too_old = repeat && own_age_ms.is_some_and(|age_ms| age_ms >= group.repeat_window_ms);
        if known == Known::Nothing
            && !arrival.looked_up
            && self.state.let_go
            && (repeat || own_age_ms.is_some_and(|age| age >= group.repeat_window_ms))
        {
            return self.look_up(now, request.key.stan, request.key.terminal, Some(class), arrival, out);
        }
        let row = self::arrival(known, content, mark, if too_old { Age::OldRepeat } else { Age::Fresh });
        if row.then != Decision::New {
            let rrn = movement.and_then(|id| self.movement(id)).map(|movement| movement.rrn);
            self.note(Note::Decided { rule: row.rule, rrn }, out);
        }
        if let (Content::Same, Some(id)) = (content, movement) {
            self.remember_repeat_time(id, &arrival.message);
        }
        match (row.then, movement) {
            (Decision::New, _) => self.new_movement(now, request, arrival, out),
            (Decision::RefuseAgain, _) => {
                let code = self.refused.code(request.key, now.uptime_ms).unwrap_or(ResponseCode::SYSTEM_MALFUNCTION);
                self.refuse(now, &arrival, None, code, out);
            }
            (Decision::Buried, _) => {
                let after = self.tombstone(now, &request, own_age_ms).map_or(Lsn(0), |(_, record)| record);
                self.refuse_after(now, &arrival, ResponseCode::DUPLICATE, after, out);
            }
            (Decision::TooOld, _) => {
                let Key { terminal, stan, .. } = request.key;
                let after = if self.has_too_many_entries(terminal) {
                    self.note(Note::Exception { rule: Rule::D11.name(), rrn: None }, out);
                    Lsn(0)
                } else {
                    self.exception(now, Rule::D11, terminal, stan, None, out)
                };
                self.refused.remember(request.key, ResponseCode::DUPLICATE, now.uptime_ms + group.repeat_window_ms);
                self.refuse_after(now, &arrival, ResponseCode::DUPLICATE, after, out);
            }
            (Decision::Conflict, Some(id)) => {
                let Key { terminal, stan, .. } = request.key;
                let after = self.exception(now, Rule::D4, terminal, stan, Some(id), out);
                // Its repeat may come when the first's window has passed, and the refusal may be on its way still (M7).
                self.refused.remember(request.key, ResponseCode::DUPLICATE, now.uptime_ms + group.repeat_window_ms);
                self.refuse_after(now, &arrival, ResponseCode::DUPLICATE, after, out);
            }
            (Decision::Attach, Some(id)) => {
                let echo = message::echo_of(&arrival.message, group.echo_pan);
                self.wait(id, Waiter { conn: arrival.conn, echo, since_ms: arrival.at_ms });
            }
            (Decision::Attach, None) => {
                if let Some(waiting) = self.look_ups.waiting_for(request.key) {
                    *waiting = arrival;
                }
            }
            (Decision::OfferAgain, Some(id)) if self.gave_up(now, id, group) => {
                self.oblige(now, id, Rule::D2, Reason::NotDelivered, out);
                self.answer_unwound(now, id, &arrival, out);
            }
            (Decision::OfferAgain, Some(id)) if self.crosses(now, id, group) => self.offer_copy(now, id, &arrival, out),
            (Decision::OfferAgain, Some(id)) => self.offer_again(now, id, &arrival, out),
            (Decision::Replay, Some(id)) => self.replay_answer(now, id, &arrival, out),
            (Decision::Unwound, Some(id)) if on(Mutant::ApproveUnwound) => self.replay_answer(now, id, &arrival, out),
            (Decision::Unwound, Some(id)) => {
                // An answer of another word that is still pending is for nobody any more (T8).
                self.withdraw(id, out);
                self.answer_unwound(now, id, &arrival, out);
            }
            // Another content while the first is looked up: the first is untouched (D4).
            (Decision::Conflict | Decision::OfferAgain | Decision::Replay | Decision::Unwound, None) => {
                self.refuse(now, &arrival, None, ResponseCode::DUPLICATE, out);
            }
        }
    }

    /// What is known of a key, and the movement that it is known by. Another tap of the chip is another transaction.
    fn known(
        &mut self,
        now: Now,
        request: &MoneyRequest,
        group: &Group,
        own_age_ms: Option<u64>,
    ) -> (Known, Option<MovementId>) {
        let known = self.of_key(request.key).filter(|movement| !another_tap(movement, request)).find(|movement| {
            let within_window = now.wall_ms.saturating_sub(movement.begun_wall_ms) < group.repeat_window_ms;
            within_window || (request.local_time.is_some() && movement.local_time == request.local_time)
        });
        if let Some(movement) = known {
            return (Known::Movement(movement.state), Some(movement.id));
        }
        if self.look_ups.waiting_for(request.key).is_some() {
            return (Known::LookingUp, None);
        }
        if self.tombstone(now, request, own_age_ms).is_some() {
            return (Known::Buried, None);
        }
        if self.refused.code(request.key, now.uptime_ms).is_some() {
            return (Known::Refused, None);
        }
        (Known::Nothing, None)
    }

    fn remember_repeat_time(&mut self, id: MovementId, message: &Fields) {
        let transmitted: Option<[u8; 10]> = message.get(7).and_then(|digits| digits.try_into().ok());
        let original = self.movement(id).and_then(|movement| movement.terminal_transmitted);
        if let Some(transmitted) = transmitted.filter(|_| transmitted != original) {
            self.repeat_times.insert(id, transmitted);
            while self.repeat_times.len() > REPEAT_TIMES_MAX {
                self.repeat_times.pop_first();
            }
        }
    }

    /// The terminals of this group repeat only what they have given up, and this answer was released long enough ago.
    fn gave_up(&self, now: Now, id: MovementId, group: &Group) -> bool {
        let released_ms = self.live.get(&id).and_then(|live| live.released_ms);
        group.on_repeat == OnRepeat::Unwind
            && released_ms.is_some_and(|at_ms| now.uptime_ms >= at_ms + group.crossing_margin_ms)
    }

    /// An answer was handed so short a time ago that this repeat may have been sent before it came: a copy on an older
    /// connection, overtaken. It is no evidence that the terminal is without its answer, whatever becomes of the copy's (M8).
    fn crosses(&self, now: Now, id: MovementId, group: &Group) -> bool {
        let crossed = self.live.get(&id).is_some_and(|live| live.crossed);
        let handed = self.movement(id).is_some_and(|movement| {
            movement.state == StateKind::AwaitingConfirmation
                && (matches!(movement.evidence, Evidence::Handed | Evidence::Seen)
                    || crossed && movement.evidence == Evidence::Unknown)
        });
        let handed_ms = self.live.get(&id).and_then(|live| live.handed_ms);
        handed && handed_ms.is_some_and(|at_ms| now.uptime_ms < at_ms + group.crossing_margin_ms)
    }

    /// 68, after the newest record (D3).
    fn answer_unwound(&mut self, now: Now, id: MovementId, arrival: &Arrival, out: &mut Output) {
        let code = ResponseCode::RESPONSE_TOO_LATE;
        let Some(movement) = self.movement(id) else { return };
        let (rrn, after) = (movement.rrn, movement.last_record);
        let echo = message::echo_of(&arrival.message, self.config.group(arrival.group).echo_pan);
        let answer = message::answer(&echo, code, Some(movement), false);
        self.answer_terminal(arrival.conn, answer, after, out);
        self.note(answered(now, arrival, code, Some(rrn)), out);
    }

    fn compare_pending(&mut self, request: &MoneyRequest) -> Content {
        let pending = self.look_ups.waiting_for(request.key).and_then(|arrival| read(request.key.class, arrival).ok());
        pending.map_or(Content::Same, |pending| compare(&pending.fingerprint, &request.fingerprint))
    }

    /// The tombstone that refuses this request (D11), with its record.
    fn tombstone(&self, now: Now, request: &MoneyRequest, own_age_ms: Option<u64>) -> Option<(u64, Lsn)> {
        let Key { terminal, stan, class } = request.key;
        let tombstone = self.state.tombstones.get(&(terminal, stan))?;
        let of_class = tombstone.class.is_none_or(|buried| buried == class);
        // The original's arrival, or its own time: a copy can have been on its way for long.
        let age_ms = now.wall_ms.saturating_sub(tombstone.wall_ms);
        let made_after_ms = age_ms.saturating_sub(own_age_ms.unwrap_or(0));
        let alive = made_after_ms < self.config.tombstone_life_ms;
        (of_class && alive).then_some((tombstone.wall_ms, tombstone.record))
    }

    /// A transaction that was not there before. What it says of the terminal's earlier ones comes first (T10, D5, D6, C1).
    fn new_movement(&mut self, now: Now, request: MoneyRequest, arrival: Arrival, out: &mut Output) {
        if self.of_key(request.key).next().is_some() {
            self.note(Note::Decided { rule: "STAN reuse", rrn: None }, out);
        }
        match self.judge_earlier(now, &request, &arrival, out) {
            Ok(beside) => self.place(now, request, arrival, beside, out),
            Err(flagged) => {
                let (code, window_ms) = (ResponseCode::DUPLICATE, self.config.group(arrival.group).repeat_window_ms);
                self.refused.remember(request.key, code, now.uptime_ms + window_ms);
                self.refuse_after(now, &arrival, code, flagged, out);
            }
        }
        // What D5 has just promised to reverse, if no request took it along.
        let issuers: Vec<IssuerNo> = self.due.keys().copied().collect();
        for issuer in issuers {
            self.send_due_reversals(now, issuer, out);
        }
    }

    fn place(&mut self, now: Now, request: MoneyRequest, arrival: Arrival, beside: Option<MovementId>, out: &mut Output) {
        let route = pan_digits(&arrival.message).and_then(|pan| self.config.route(pan));
        let Key { terminal, stan, .. } = request.key;
        match self.admit(now, route) {
            // It would stand beside an equal one, and nobody would know.
            Ok(_) if beside.is_some() && self.has_too_many_entries(terminal) => {
                self.note(Note::Exception { rule: Rule::D6.name(), rrn: None }, out);
                self.refuse(now, &arrival, Some(request.key), ResponseCode::SYSTEM_MALFUNCTION, out);
            }
            Ok(place) => {
                self.intend(now, request, arrival, place, out);
                // The entry names the two, and what was refused charged nobody (D6).
                if beside.is_some() {
                    self.exception(now, Rule::D6, terminal, stan, beside, out);
                }
            }
            Err(code) => self.refuse(now, &arrival, Some(request.key), code, out),
        }
    }

    /// Where a new request may go (M7).
    fn admit(&self, now: Now, route: Option<IssuerNo>) -> Result<(LinkId, LinkNo, Stan), ResponseCode> {
        match self.admission {
            Admission::Open => {}
            Admission::Draining | Admission::JournalFull => return Err(ResponseCode::SYSTEM_MALFUNCTION),
        }
        let none = ResponseCode::ISSUER_UNAVAILABLE;
        let (link, number) = route.and_then(|issuer| self.connection_for_request(issuer)).ok_or(none)?;
        let late_horizon_ms = self.config.link(number).late_horizon_ms;
        let stan = self.state.free_stan(number, late_horizon_ms, now.wall_ms).ok_or(none)?;
        Ok((link, number, stan))
    }

    /// M1: the intent first, then the request that waits for it.
    fn intend(
        &mut self,
        now: Now,
        request: MoneyRequest,
        arrival: Arrival,
        (link, number, stan): (LinkId, LinkNo, Stan),
        out: &mut Output,
    ) {
        let config = self.config.clone();
        let id = MovementId(self.state.next_id);
        let message = &arrival.message;
        let terminal_rrn = message.get(37).filter(|text| says_something(text)).and_then(|text| Rrn::try_from(text).ok());
        let movement = Movement {
            id,
            rrn: self.new_rrn(id),
            terminal_rrn,
            key: request.key,
            group: arrival.group,
            fingerprint: request.fingerprint,
            card: arrival.card,
            link: number,
            sent_as: self.numbers(stan),
            local_time: request.local_time,
            terminal_transmitted: message.get(7).and_then(|digits| digits.try_into().ok()),
            entry_mode: message.get(22).and_then(|digits| digits.try_into().ok()),
            condition: message.get(25).and_then(|digits| digits.try_into().ok()),
            acquirer: message.text(32).map(Into::into),
            begun_wall_ms: now.wall_ms,
            state: StateKind::AwaitingIssuer,
            since_wall_ms: now.wall_ms,
            answer: None,
            second_approval: None,
            evidence: Evidence::None,
            obligation: None,
            remains_minor: None,
            acknowledged_minor: None,
            confirmed: None,
            operator_rule: None,
            verdict: None,
            reversal_seen: false,
            contested: false,
            last_record: Lsn(0),
        };
        let to_issuer = message::request(message, &movement);
        let card = request.fingerprint.card;
        let after = self.write(now, Record::Intent { movement }, out);
        self.send_reversals_of_card(now, card, (link, number), out);
        let action = self.new_action(Some(Purpose::Request(id)));
        let after = if on(Mutant::SendBeforeIntent) { Lsn(0) } else { after };
        if on(Mutant::SendTwice) {
            let (id, message) = (self.new_action(None), to_issuer.clone());
            out.actions.push(Pending { after, action: Action::ToIssuer { id, link, message, card: None } });
        }
        out.actions.push(Pending { after, action: Action::ToIssuer { id: action, link, message: to_issuer, card: None } });
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.requests.insert(id);
        }
        self.live(id).request = Some(Request { link, asked_ms: now.uptime_ms, left: false });
        let echo = message::echo_of(message, config.group(arrival.group).echo_pan);
        self.wait(id, Waiter { conn: arrival.conn, echo, since_ms: arrival.at_ms });
        self.set_timer(id, now.uptime_ms + config.link(number).response_timeout_ms, Timer::ResponseTimeout(id));
        self.settle(id, out);
    }

    /// A refusal before any intent: no record, and the key stays refused (M7).
    pub(crate) fn refuse(&mut self, now: Now, arrival: &Arrival, key: Option<Key>, code: ResponseCode, out: &mut Output) {
        if let Some(key) = key {
            let window_ms = self.config.group(arrival.group).repeat_window_ms;
            self.refused.remember(key, code, now.uptime_ms + window_ms);
        }
        self.refuse_after(now, arrival, code, Lsn(0), out);
    }

    fn refuse_after(&mut self, now: Now, arrival: &Arrival, code: ResponseCode, after: Lsn, out: &mut Output) {
        let echo = message::echo_of(&arrival.message, self.config.group(arrival.group).echo_pan);
        self.answer_terminal(arrival.conn, message::answer(&echo, code, None, false), after, out);
        self.note(answered(now, arrival, code, None), out);
    }

    /// A durable entry for a person, with its alarm. While it is open one is enough, however often the reason for it comes
    /// again.
    pub(crate) fn exception(
        &mut self,
        now: Now,
        rule: Rule,
        terminal: TerminalId,
        stan: Stan,
        id: Option<MovementId>,
        out: &mut Output,
    ) -> Lsn {
        if let Some(entry) = self.state.exception_about.get(&(rule, terminal, stan, id)) {
            return id.and_then(|id| self.movement(id)).map_or(*entry, |movement| movement.last_record);
        }
        let lsn = self.write(now, Record::Exception { rule, terminal, stan, id }, out);
        let rrn = id.and_then(|id| self.movement(id)).map(|movement| movement.rrn);
        self.note(Note::Exception { rule: rule.name(), rrn }, out);
        lsn
    }

    /// Nobody has looked at this terminal's entries for long: what would only add to them is refused, with an alarm.
    fn has_too_many_entries(&self, terminal: TerminalId) -> bool {
        self.state.exceptions_of.get(&terminal).is_some_and(|open| *open >= ENTRIES_MAX)
    }

    /// YDDD, the partition and the movement's number in base 36: never a number that a terminal thought of, of which nobody
    /// knows whether it was used before (K4, I3).
    fn new_rrn(&self, id: MovementId) -> Rrn {
        const DIGITS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let mut text = [b'0'; 12];
        text[..4].copy_from_slice(&calendar::year_day(self.civil_ms));
        text[4] = DIGITS[usize::from(self.config.partition) % 36];
        let mut rest = if on(Mutant::ReuseRrn) { id.0 / 2 } else { id.0 };
        for place in text[5..].iter_mut().rev() {
            *place = DIGITS[(rest % 36) as usize];
            rest /= 36;
        }
        let Ok(rrn) = Rrn::try_from(&text[..]) else { unreachable!("twelve letters and digits are an RRN") };
        rrn
    }
}

/// 0102, 0202 and their repeats: the terminal says whether it completed a sale (C2).
pub(crate) fn is_completion(mti: Mti) -> bool {
    matches!(mti.as_bytes(), b"0102" | b"0103" | b"0202" | b"0203")
}

pub(crate) fn answered(now: Now, arrival: &Arrival, code: ResponseCode, rrn: Option<Rrn>) -> Note {
    let after_ms = now.uptime_ms.saturating_sub(arrival.at_ms);
    Note::Answered { mti: arrival.message.mti(), code, rrn, after_ms, issuer_ms: 0 }
}

/// Terminals fill a field that they have no value for with zeros or blanks.
pub(crate) fn says_something(text: &[u8]) -> bool {
    text.iter().any(|byte| !matches!(byte, b'0' | b' '))
}

/// DE41 + DE42 of a message.
pub(crate) fn terminal_of(message: &Fields) -> Option<TerminalId> {
    TerminalId::new(message.get(41)?, message.get(42)?).ok()
}

/// DE4 with DE49.
pub(crate) fn amount_of(message: &Fields) -> Option<Amount> {
    let currency = Currency::try_from(message.get(49)?).ok()?;
    Amount::from_digits(message.get(4)?, currency).ok()
}

/// The PAN of DE2, or of track 2.
pub fn pan_digits(message: &Fields) -> Option<&str> {
    message.text(2).or_else(|| message.text(35)?.split(['=', 'D']).next()).filter(|pan| !pan.is_empty())
}

fn read(class: Class, arrival: &Arrival) -> Result<MoneyRequest, ResponseCode> {
    let message = &arrival.message;
    let format = ResponseCode::FORMAT_ERROR;
    let terminal = terminal_of(message).ok_or(format)?;
    let stan = message.get(11).and_then(|digits| Stan::try_from(digits).ok()).ok_or(format)?;
    let processing_code: [u8; 6] = message.get(3).and_then(|digits| digits.try_into().ok()).ok_or(format)?;
    let amount = amount_of(message).ok_or(format)?;
    let card = arrival.card.ok_or(format)?;
    // Debits and holds only: voids, refunds and inquiries have rules of their own.
    if !matches!(&processing_code[..2], b"00" | b"01" | b"03" | b"09") {
        return Err(ResponseCode::INVALID_TRANSACTION);
    }
    if amount.minor() == 0 {
        return Err(ResponseCode::INVALID_AMOUNT);
    }
    let mut references = Fnv::default();
    for de in [54, 37, 38, 61, 90] {
        references.field(message.get(de));
    }
    references.field(message.get(60).map(|value| &value[..value.len().min(2)]));
    let fingerprint =
        Fingerprint { processing_code, amount, card: Some(card.hmac), references: references.0, chip: chip(message) };
    Ok(MoneyRequest { key: Key { terminal, stan, class }, fingerprint, local_time: local_time(message) })
}

/// FNV-1a: small, and enough to tell a terminal's own messages apart.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// An absent field differs from an empty one, and where a field ends counts.
    fn field(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => {
                self.bytes(&[1]);
                self.bytes(&(value.len() as u64).to_le_bytes());
                self.bytes(value);
            }
            None => self.bytes(&[0]),
        }
    }
}

/// 9F36 and 9F37 of DE55: the chip's counter and its unpredictable number.
fn chip(message: &Fields) -> Option<u64> {
    let mut data = message.get(55)?;
    let mut fnv = Fnv::default();
    let mut seen = false;
    while let Some((tag, value, rest)) = next_tag(data) {
        if tag == 0x9f36 || tag == 0x9f37 {
            fnv.field(Some(value));
            seen = true;
        }
        data = rest;
    }
    seen.then_some(fnv.0)
}

/// One BER-TLV element with a tag of one or two bytes and a length of one to three.
fn next_tag(data: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (&first, mut rest) = data.split_first()?;
    let mut tag = u16::from(first);
    if first & 0x1f == 0x1f {
        let (&second, after) = rest.split_first()?;
        tag = tag << 8 | u16::from(second);
        rest = after;
    }
    let (&length, mut rest) = rest.split_first()?;
    let mut len = usize::from(length);
    if length & 0x80 != 0 {
        let count = usize::from(length & 0x7f);
        if count == 0 || count > 2 || rest.len() < count {
            return None;
        }
        len = rest[..count].iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
        rest = &rest[count..];
    }
    (rest.len() >= len).then(|| (tag, &rest[..len], &rest[len..]))
}

fn compare(held: &Fingerprint, arrived: &Fingerprint) -> Content {
    if held == arrived || on(Mutant::IgnoreContent) { Content::Same } else { Content::Other }
}

fn mark(movement: &Movement) -> Mark {
    let whole = movement.remains_minor.is_none();
    let stands = whole && movement.verdict.as_ref().is_none_or(|verdict| verdict.resolution == Resolution::Stands);
    let doubtful = matches!(movement.operator_rule, Some(Rule::K2 | Rule::C3)) && stands;
    match (movement.reversal_seen, doubtful) {
        (true, _) => Mark::ReversalSeen,
        (false, true) => Mark::DeliveryDoubtful,
        (false, false) => Mark::Plain,
    }
}

/// How long ago the terminal made this message, by its own word: DE12 + DE13, or DE7 where they are absent.
fn own_age_ms(civil_ms: u64, message: &Fields, group: &Group) -> Option<u64> {
    let offset_ms = i64::from(group.utc_offset_minutes) * 60_000;
    let local = local_time(message).and_then(|time_date| {
        let mut month_first = [0; 10];
        month_first[..4].copy_from_slice(&time_date[6..]);
        month_first[4..].copy_from_slice(&time_date[..6]);
        calendar::age_ms(civil_ms.saturating_add_signed(offset_ms), &month_first)
    });
    let transmitted =
        || message.get(7).and_then(|digits| digits.try_into().ok()).and_then(|digits| calendar::age_ms(civil_ms, digits));
    local.or_else(transmitted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::assert_one_row;

    #[test]
    fn every_arrival_matches_exactly_one_row() {
        let unknown = [Known::Nothing, Known::Refused, Known::Buried];
        for known in unknown.into_iter().chain(MOVEMENTS.iter().copied()) {
            for content in [Content::Same, Content::Other] {
                for mark in [Mark::Plain, Mark::ReversalSeen, Mark::DeliveryDoubtful] {
                    for age in [Age::Fresh, Age::OldRepeat] {
                        let what = (known, content, mark, age);
                        assert_one_row(ARRIVALS, &what, |row| matches(row, known, content, mark, age));
                    }
                }
            }
        }
    }

    #[test]
    fn chip_data_is_read_as_ber_tlv_says() {
        let long = [&[0x9f, 0x36, 0x82, 1, 2][..], &[7; 258], &[0x5a]].concat();
        for (data, read) in [
            (&[0x9f, 0x36, 2, 1, 2, 0x5a][..], Some((0x9f36, 2, 1))),
            (&[0x5a, 0], Some((0x5a, 0, 0))),
            (&[0x9f, 0x36, 0x81, 2, 1, 2, 0x5a], Some((0x9f36, 2, 1))),
            (&[0x9f, 0x36, 0x81, 0], Some((0x9f36, 0, 0))),
            (&long, Some((0x9f36, 258, 1))),
            // No length of no byte, or of three.
            (&[0x9f, 0x36, 0x80, 1], None),
            (&[0x9f, 0x36, 0x83, 0, 0, 1, 7], None),
            // It ends too early: in the tag, before the length, in the length, in the value.
            (&[0x9f], None),
            (&[0x9f, 0x36], None),
            (&[0x9f, 0x36, 0x82, 1], None),
            (&[0x9f, 0x36, 3, 1, 2], None),
            (&[], None),
        ] {
            let element = next_tag(data).map(|(tag, value, rest)| (tag, value.len(), rest.len()));
            assert_eq!(element, read, "{data:02x?}");
        }
    }
}
