//! An issuer: it judges requests, moves money in its ledger, undoes it, and answers.
//!
//! Pure: no socket and no clock. The driver hands in each message with the time, and does what the
//! returned [`Effect`] says. Connections do not exist here: one issuer, one ledger, however many
//! links. Not a model of any real host. Invariant: a request moves money at most once, whatever is
//! repeated, and no more than that comes back, whatever is reversed.

mod ledger;
mod memory;
mod settings;
mod spoil;
#[cfg(test)]
mod tests;

pub use ledger::{AccountLine, EntryKind, EntryLine, LedgerReport, MovementLine, RrnCount};
pub use settings::{AccountSettings, PinBlock, Settings, Status};

use std::collections::HashMap;

use iso8583::{Amount, Currency, Fields, ResponseCode, Rrn};
use serde::{Deserialize, Serialize};

use crate::card::Card;
use crate::clock::Calendar;
use crate::faults::{Approval, Fault, Faults, MtiClass, Side, Subject};
use ledger::{AccountId, Kind, Ledger, Movement};
use memory::{Decision, Memory, Reference};

/// What the driver has to do about a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this answer on the message's connection.
    Answer(Fields),
    /// Do this after so many milliseconds, if the message's connection is still there.
    Later {
        /// Never 0.
        after_ms: u64,
        /// Whatever it is.
        effect: Box<Effect>,
    },
    /// Hand the message to [`Issuer::resume`] after so many milliseconds.
    Resume {
        /// Never 0.
        after_ms: u64,
        /// The message as it came.
        message: Fields,
    },
    /// Send the first on the message's connection at once, the second after so many milliseconds.
    Twice {
        /// The first answer.
        first: Fields,
        /// 0: at once, too.
        after_ms: u64,
        /// The second answer.
        second: Fields,
    },
    /// Send this answer at once, and close every connection but the message's.
    Alone(Fields),
    /// Send a frame of bytes that are no message.
    Garbage,
    /// Send the first half of this answer's frame, and close the connection.
    Half(Fields),
    /// Send the first half of this answer's frame, and nothing more on that connection.
    HalfAndSilence(Fields),
    /// Send a frame that is announced longer than any message, and nothing more on that connection.
    ImpossibleLength,
    /// Send this answer on another connection of the same line.
    Elsewhere(Fields),
    /// Close every connection of the message's line, and refuse new ones for so many milliseconds.
    Down {
        /// Milliseconds.
        for_ms: u64,
    },
    /// Close the connection that the message came on.
    Cut,
    /// Nothing.
    Silence,
}

/// What the issuer has seen and done since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Counts {
    /// Requests approved (a repeat is not counted again).
    pub approved: u64,
    /// Requests declined (a repeat is not counted again).
    pub declined: u64,
    /// Requests answered from memory.
    pub repeats: u64,
    /// Requests with a key already used for another amount or card: 94.
    pub reused_keys: u64,
    /// Requests refused because their reversal came first.
    pub refused_after_early_reversal: u64,
    /// Reversals that gave money back.
    pub reversed: u64,
    /// Reversals for what was given back already.
    pub reversed_again: u64,
    /// Reversals for a request that had been declined.
    pub reversals_of_declined: u64,
    /// Reversals whose original is not known.
    pub reversals_unknown: u64,
    /// Reversals refused: another amount or card than the original's, or bad fields.
    pub reversals_refused: u64,
    /// 0800 and 0820.
    pub network: u64,
    /// Messages of an MTI that is not known.
    pub unknown_mti: u64,
    /// Messages that a fault struck.
    pub faults: u64,
}

/// The books together with the counts, as `GET /ledger` gives them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Report {
    /// Accounts, entries and their check.
    #[serde(flatten)]
    pub ledger: LedgerReport,
    /// What was seen and done.
    pub counts: Counts,
}

/// One issuer.
#[derive(Debug)]
pub struct Issuer {
    settings: Settings,
    /// Terms of the accounts that settings name, by card.
    terms: HashMap<Card, AccountSettings>,
    ledger: Ledger,
    memory: Memory,
    faults: Faults,
    counts: Counts,
}

impl Issuer {
    /// An issuer with its accounts opened. `seed` drives the rates of faults.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        let mut issuer = Self {
            settings: Settings::default(),
            terms: HashMap::new(),
            ledger: Ledger::default(),
            memory: Memory::default(),
            faults: Faults::new(seed),
            counts: Counts::default(),
        };
        issuer.change(settings);
        issuer
    }

    /// Puts settings in force. Accounts listed are opened, or get the new terms and keep their
    /// balance; accounts not listed keep theirs.
    pub fn change(&mut self, settings: Settings) {
        for account in &settings.accounts {
            self.ledger.open(account.card.clone(), account.balance);
            self.terms.insert(account.card.clone(), account.clone());
        }
        self.settings = settings;
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The rules by which it misbehaves.
    pub fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    /// Books and counts, with the newest `entries_max` entries.
    #[must_use]
    pub fn report(&self, entries_max: usize) -> Report {
        Report { ledger: self.ledger.report(entries_max), counts: self.counts }
    }

    /// Every request that moved money, oldest first.
    #[must_use]
    pub fn movements(&self) -> Vec<MovementLine> {
        self.ledger.movements()
    }

    /// Whether the request with this RRN was approved twice, each time with a movement.
    #[must_use]
    pub fn approved_twice(&self, rrn: Rrn) -> bool {
        self.memory.of_rrn(rrn).is_some_and(|decision| decision.second.is_some())
    }

    /// A person at the issuer gives back one of the two debits (or holds) of the request with this RRN, so that `remains` minor
    /// units stand. False if there are not two, or neither does that.
    pub fn give_back_one(&mut self, now_ms: u64, rrn: Rrn, remains: u64) -> bool {
        let Some(decision) = self.memory.of_rrn(rrn) else { return false };
        let (Some(first), Some((_, second))) = (decision.movement, decision.second) else { return false };
        let nets = [first, second].map(|movement| self.ledger.movement(movement).net);
        let of = match nets {
            [_, remaining] if remaining == remains => first,
            [remaining, _] if remaining == remains => second,
            [_, _] => return false,
        };
        self.ledger.give_back(now_ms, of, 0)
    }

    /// A person at the issuer gives back all that stands of the request with this RRN. False if nothing does.
    pub fn give_back_all(&mut self, now_ms: u64, rrn: Rrn) -> bool {
        let decision = self.memory.of_rrn(rrn);
        let first = decision.and_then(|decision| decision.movement);
        let second = decision.and_then(|decision| decision.second).map(|(_, movement)| movement);
        let gives = [first, second].map(|movement| movement.is_some_and(|id| self.ledger.give_back(now_ms, id, 0)));
        gives.contains(&true)
    }

    /// A message from a link at `now_ms` (milliseconds since 1970, UTC).
    pub fn receive(&mut self, now_ms: u64, message: &Fields) -> Effect {
        if message.mti().is_response() {
            return Effect::Silence;
        }
        let fault = class_of(message).and_then(|class| self.faults.strike(&subject(class, message)));
        self.counts.faults += u64::from(fault.is_some());
        match fault {
            None => self.judged(now_ms, message, Effect::Answer),
            Some(fault) => self.misbehave(now_ms, message, fault),
        }
    }

    /// A message that a fault has struck.
    fn misbehave(&mut self, now_ms: u64, message: &Fields, fault: Fault) -> Effect {
        match fault {
            Fault::Ignore => Effect::Silence,
            Fault::Silence(side) => {
                self.on_side(now_ms, message, side);
                Effect::Silence
            }
            Fault::Cut(side) => {
                self.on_side(now_ms, message, side);
                Effect::Cut
            }
            Fault::Garbage(side) => {
                self.on_side(now_ms, message, side);
                Effect::Garbage
            }
            Fault::Half(side) => Effect::Half(self.broken(now_ms, message, side)),
            Fault::HalfAndSilence(side) => Effect::HalfAndSilence(self.broken(now_ms, message, side)),
            Fault::ImpossibleLength(side) => {
                self.on_side(now_ms, message, side);
                Effect::ImpossibleLength
            }
            Fault::Down { side, for_ms } => {
                self.on_side(now_ms, message, side);
                Effect::Down { for_ms }
            }
            Fault::DelayMs(0) => self.judged(now_ms, message, Effect::Answer),
            Fault::DelayMs(after_ms) => Effect::Resume { after_ms, message: message.clone() },
            Fault::LateMs(by_ms) => self.judged(now_ms, message, |answer| later(by_ms, Effect::Answer(answer))),
            Fault::Late { by_ms, of } => later(by_ms, self.misbehave(now_ms, message, *of)),
            Fault::Answer(code) => Effect::Answer(self.answer(message, code)),
            Fault::AnswerMoved(code) => {
                self.judged(now_ms, message, |answer| Effect::Answer(spoil::with_code(answer, code)))
            }
            Fault::PartialPercent(percent) => match class_of(message) {
                Some(MtiClass::Request) => Effect::Answer(self.request(now_ms, message, Some(percent))),
                Some(MtiClass::Reversal | MtiClass::Network) | None => self.judged(now_ms, message, Effect::Answer),
            },
            Fault::Double { approval, after_ms } => self.double(now_ms, message, approval, after_ms),
            Fault::Wrong(what) => {
                let asked = message.clone();
                self.judged(now_ms, message, |answer| Effect::Answer(spoil::wrong(answer, what, &asked)))
            }
            Fault::CutOthers => self.judged(now_ms, message, Effect::Alone),
            Fault::OtherConnection => self.judged(now_ms, message, Effect::Elsewhere),
        }
    }

    /// The answer twice; the second one's DE38 may have a movement of its own.
    fn double(&mut self, now_ms: u64, message: &Fields, approval: Approval, after_ms: u64) -> Effect {
        let Some(first) = self.resume(now_ms, message) else {
            return Effect::Silence;
        };
        let second = spoil::second(first.clone(), approval);
        if approval == Approval::SecondDebit
            && let Some(code) = second.get(38).and_then(|code| code.try_into().ok())
            && let Some(decision) = Reference::of_request(message).and_then(|of| self.memory.find_mut(&of))
            && let Some(movement) = decision.movement.filter(|_| decision.second.is_none())
        {
            decision.second = Some((code, self.ledger.take_again(now_ms, movement)));
        }
        Effect::Twice { first, after_ms, second }
    }

    /// The answer of which only a part is sent.
    fn broken(&mut self, now_ms: u64, message: &Fields, side: Side) -> Fields {
        let judged = match side {
            Side::BeforeLedger => None,
            Side::AfterLedger => self.resume(now_ms, message),
        };
        judged.unwrap_or_else(|| self.answer(message, ResponseCode::SYSTEM_MALFUNCTION))
    }

    /// Judges the message if the fault strikes after the ledger.
    fn on_side(&mut self, now_ms: u64, message: &Fields, side: Side) {
        match side {
            Side::BeforeLedger => {}
            Side::AfterLedger => {
                self.resume(now_ms, message);
            }
        }
    }

    /// Judges the message as if nothing were wrong; what happens to its answer, if it gets one.
    fn judged(&mut self, now_ms: u64, message: &Fields, then: impl FnOnce(Fields) -> Effect) -> Effect {
        match self.resume(now_ms, message) {
            Some(answer) => then(answer),
            None => Effect::Silence,
        }
    }

    /// The answer to a message whose delay is over, or that no fault may strike; `None` if it gets
    /// none.
    pub fn resume(&mut self, now_ms: u64, message: &Fields) -> Option<Fields> {
        match class_of(message) {
            Some(MtiClass::Request) => Some(self.request(now_ms, message, None)),
            Some(MtiClass::Reversal) => Some(self.reversal(now_ms, message)),
            Some(MtiClass::Network) => Some(self.network(message)),
            None => {
                self.counts.unknown_mti += 1;
                if self.settings.ignores_unknown_mti || message.mti().is_response() {
                    return None;
                }
                Some(self.answer(message, ResponseCode::INVALID_TRANSACTION))
            }
        }
    }

    /// 0100, 0200 and their repeats; approved for so many per cent, when that is given.
    fn request(&mut self, now_ms: u64, message: &Fields, percent: Option<u8>) -> Fields {
        let Some(reference) = Reference::of_request(message) else {
            self.counts.declined += 1;
            return self.answer(message, ResponseCode::FORMAT_ERROR);
        };
        if let Some(earlier) = self.memory.find(&reference) {
            let card = Card::of(message).and_then(|card| self.ledger.account_of(&card));
            let differs = earlier.amount.is_some() && earlier.amount != amount_of(message)
                || earlier.account.is_some() && earlier.account != card;
            if differs {
                self.counts.reused_keys += 1;
                return self.answer(message, ResponseCode::DUPLICATE);
            }
            self.counts.repeats += 1;
            return answer_decision(&self.settings, message, earlier);
        }
        let decision = if self.memory.reversed_early(&reference) {
            self.counts.refused_after_early_reversal += 1;
            Decision::declined(reference, ResponseCode::INVALID_TRANSACTION)
        } else {
            self.decide(now_ms, message, reference, percent)
        };
        let decision = self.memory.keep(decision);
        answer_decision(&self.settings, message, decision)
    }

    /// Judges a request that was never seen before, and moves the money of an approval.
    fn decide(&mut self, now_ms: u64, message: &Fields, reference: Reference, percent: Option<u8>) -> Decision {
        let demand = match self.judge(now_ms, message, percent) {
            Ok(demand) => demand,
            Err(code) => {
                self.counts.declined += 1;
                let mut decision = Decision::declined(reference, code);
                decision.amount = amount_of(message);
                return decision;
            }
        };
        self.counts.approved += 1;
        let mut decision = Decision::declined(reference, ResponseCode::APPROVED);
        decision.account = Some(demand.account);
        decision.amount = amount_of(message);
        decision.approval = Some(approval_code(self.counts.approved));
        if let Some((kind, amount)) = demand.moves {
            if Some(amount) != decision.amount {
                decision.code = ResponseCode::PARTIAL_APPROVAL;
                decision.approved_amount = Some(amount);
            }
            let movement = Movement {
                account: demand.account,
                kind,
                rrn: decision.reference.rrn,
                stan: decision.reference.stan,
                terminal: decision.reference.terminal,
                amount,
                mti: message.mti(),
                second: false,
                net: amount.minor(),
            };
            decision.movement = Some(self.ledger.take(now_ms, movement));
        }
        decision.available = self.ledger.available(demand.account);
        decision
    }

    /// What a request asks for (so many per cent of it), or the code that declines it.
    fn judge(&mut self, now_ms: u64, message: &Fields, percent: Option<u8>) -> Result<Demand, ResponseCode> {
        let card = Card::of(message).ok_or(ResponseCode::FORMAT_ERROR)?;
        let processing = message.text(3).ok_or(ResponseCode::FORMAT_ERROR)?;
        let moves = match (message.mti().class(), processing.get(..2)) {
            (2, Some("31")) => None,
            (2, Some("00" | "01")) => Some(Kind::Debit),
            (1, Some("00" | "01" | "03")) => Some(Kind::Hold),
            (_, _) => return Err(ResponseCode::INVALID_TRANSACTION),
        };
        let moves = match moves {
            None => None,
            Some(kind) => {
                let amount = amount_of(message).ok_or(ResponseCode::FORMAT_ERROR)?;
                if amount.minor() == 0 {
                    return Err(ResponseCode::INVALID_AMOUNT);
                }
                Some((kind, percent.map_or(amount, |percent| share(amount, percent))))
            }
        };
        let account = match (self.ledger.account_of(&card), self.settings.default_balance) {
            (Some(account), _) => account,
            (None, Some(balance)) => self.ledger.open(card.clone(), balance),
            (None, None) => return Err(ResponseCode::INVALID_CARD),
        };
        if let Some(terms) = self.terms.get(&card) {
            terms.allow(now_ms, message, moves.map(|(_, amount)| amount))?;
        }
        let wanted = moves.map_or(0, |(_, amount)| amount.minor());
        if self.ledger.available(account) < i64::try_from(wanted).unwrap_or(i64::MAX) {
            return Err(ResponseCode::INSUFFICIENT_FUNDS);
        }
        Ok(Demand { account, moves })
    }

    /// 0400, 0420 and their repeats. An issuer that is asked again for what it has done says so
    /// again: its acknowledgement may have been lost.
    fn reversal(&mut self, now_ms: u64, message: &Fields) -> Fields {
        let Some(reference) = Reference::of_original(message) else {
            self.counts.reversals_refused += 1;
            return self.answer(message, ResponseCode::FORMAT_ERROR);
        };
        let found = self.memory.find(&reference).or_else(|| self.memory.find_by_rrn(&reference));
        let Some(original) = found else {
            self.counts.reversals_unknown += 1;
            if self.settings.remembers_early_reversals {
                self.memory.remember_early(reference);
            }
            return self.answer(message, self.settings.unknown_original_code);
        };
        let Some(first) = original.movement else {
            self.counts.reversals_of_declined += 1;
            return self.answer(message, ResponseCode::APPROVED);
        };
        let named = message.get(38).filter(|_| self.settings.addresses_one_approval);
        let by_de38 = original.second.filter(|(code, _)| named == Some(code));
        let is_first = named.is_none() || original.approval.is_none_or(|code| named == Some(&code));
        if !is_first && by_de38.is_none() {
            self.counts.reversals_unknown += 1;
            return self.answer(message, self.settings.unknown_original_code);
        }
        let id = by_de38.map_or(first, |(_, second)| second);
        let movement = self.ledger.movement(id);
        // After a partial approval either amount names it: what was asked, or what was approved.
        let known = [Some(movement.amount.minor()), original.amount.map(Amount::minor)];
        let other_amount = message.has(4) && !known.contains(&amount_of(message).map(Amount::minor));
        let other_card = Card::of(message).is_some_and(|card| self.ledger.account_of(&card) != Some(movement.account));
        let remains = remains_of(message).filter(|remains| *remains <= movement.amount.minor());
        let Some(remains) = remains.filter(|_| !other_amount && !other_card) else {
            self.counts.reversals_refused += 1;
            let code = if other_card { self.settings.unknown_original_code } else { ResponseCode::ORIGINAL_AMOUNT_WRONG };
            return self.answer(message, code);
        };
        if self.ledger.give_back(now_ms, id, remains) {
            self.counts.reversed += 1;
        } else {
            self.counts.reversed_again += 1;
        }
        self.answer(message, ResponseCode::APPROVED)
    }

    /// 0800 and 0820.
    fn network(&mut self, message: &Fields) -> Fields {
        self.counts.network += 1;
        let code = match message.text(70) {
            Some("001" | "002" | "201" | "301") => ResponseCode::APPROVED,
            Some(_) => ResponseCode::INVALID_TRANSACTION,
            None => ResponseCode::FORMAT_ERROR,
        };
        self.answer(message, code)
    }

    fn answer(&self, message: &Fields, code: ResponseCode) -> Fields {
        answer(&self.settings, message, code)
    }
}

/// What an approved request asks for.
struct Demand {
    account: AccountId,
    /// `None` for a balance inquiry.
    moves: Option<(Kind, Amount)>,
}

impl AccountSettings {
    /// Judges a request by the account's terms, funds apart.
    fn allow(&self, now_ms: u64, message: &Fields, amount: Option<Amount>) -> Result<(), ResponseCode> {
        match self.status {
            Status::Good => {}
            Status::Lost => return Err(ResponseCode::LOST_CARD),
            Status::Stolen => return Err(ResponseCode::STOLEN_CARD),
            Status::Restricted => return Err(ResponseCode::RESTRICTED_CARD),
        }
        if let Some(expiry) = &self.expiry {
            let other = message.text(14).is_some_and(|de14| de14 != expiry);
            if other || *expiry < Calendar::at(now_ms, 0).yymm() {
                return Err(ResponseCode::EXPIRED_CARD);
            }
        }
        if let Some(pin_block) = &self.pin_block
            && message.get(52) != Some(pin_block.bytes().as_slice())
        {
            return Err(ResponseCode::WRONG_PIN);
        }
        if let (Some(limit), Some(amount)) = (self.limit, amount)
            && amount.minor() > limit
        {
            return Err(ResponseCode::EXCEEDS_AMOUNT_LIMIT);
        }
        Ok(())
    }
}

fn later(after_ms: u64, effect: Effect) -> Effect {
    if after_ms == 0 { effect } else { Effect::Later { after_ms, effect: Box::new(effect) } }
}

fn class_of(message: &Fields) -> Option<MtiClass> {
    match message.mti().as_bytes() {
        b"0100" | b"0101" | b"0200" | b"0201" => Some(MtiClass::Request),
        b"0400" | b"0401" | b"0420" | b"0421" => Some(MtiClass::Reversal),
        b"0800" | b"0801" | b"0820" | b"0821" => Some(MtiClass::Network),
        _ => None,
    }
}

fn subject(class: MtiClass, message: &Fields) -> Subject<'_> {
    let card = message.text(2).or_else(|| message.text(35)?.split(['=', 'D']).next());
    Subject {
        class,
        card,
        amount: message.text(4).and_then(|digits| digits.parse().ok()),
        terminal: message.text(41).map(|terminal| terminal.trim_end_matches(' ')),
    }
}

/// DE4 with DE49. A message without a currency has that of nothing, 000.
fn amount_of(message: &Fields) -> Option<Amount> {
    let currency = match message.get(49) {
        Some(digits) => Currency::try_from(digits).ok()?,
        None => Currency::new(*b"000"),
    };
    Amount::from_digits(message.get(4)?, currency).ok()
}

/// What remains after this reversal (the first twelve digits of DE95), in minor units; 0 for a
/// full reversal. `None` if DE95 is not digits.
fn remains_of(message: &Fields) -> Option<u64> {
    let Some(de95) = message.get(95) else {
        return Some(0);
    };
    let digits = de95.get(..12)?;
    Amount::from_digits(digits, Currency::new(*b"000")).ok().map(Amount::minor)
}

/// So many per cent of an amount, rounded down, but never nothing.
fn share(amount: Amount, percent: u8) -> Amount {
    let minor = u128::from(amount.minor()) * u128::from(percent) / 100;
    let minor = u64::try_from(minor).unwrap_or(u64::MAX).max(1);
    Amount::new(minor, amount.currency()).unwrap_or(amount)
}

/// DE38: a number in base 36, six characters.
fn approval_code(mut number: u64) -> [u8; 6] {
    const DIGITS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let mut code = [b'0'; 6];
    for character in code.iter_mut().rev() {
        *character = DIGITS[(number % 36) as usize];
        number /= 36;
    }
    code
}

/// An answer that echoes what answers echo, with this code in DE39.
fn answer(settings: &Settings, message: &Fields, code: ResponseCode) -> Fields {
    const ECHOED: [u8; 13] = [2, 3, 4, 7, 11, 12, 13, 32, 33, 37, 41, 42, 49];
    let mut answer = Fields::new(message.mti().response());
    for de in ECHOED {
        if (de != 2 || settings.echoes_card)
            && let Some(value) = message.get(de)
        {
            answer.set(de, value);
        }
    }
    if let Some(code) = message.get(70) {
        answer.set(70, code);
    }
    answer.set(39, code.as_bytes());
    answer
}

/// The answer to a request that was decided, now or before.
fn answer_decision(settings: &Settings, message: &Fields, decision: &Decision) -> Fields {
    let mut answer = answer(settings, message, decision.code);
    if let Some(approval) = &decision.approval {
        answer.set(38, approval);
        if let Some(amount) = decision.approved_amount {
            answer.set(4, format!("{:012}", amount.minor()).as_bytes());
        }
        if settings.balance_in_answer {
            answer.set(54, balance(decision.available, message).as_bytes());
        }
    }
    answer
}

/// DE54: account type 00, amount type 02 (available), currency, sign, twelve digits.
fn balance(available: i64, message: &Fields) -> String {
    let currency = message.text(49).unwrap_or("000");
    let sign = if available < 0 { 'D' } else { 'C' };
    format!("0002{currency}{sign}{:012}", available.unsigned_abs())
}
