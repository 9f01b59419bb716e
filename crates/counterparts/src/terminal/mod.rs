//! A card terminal: it asks, believes what it is told, and reverses what it does not know.
//!
//! Pure: no socket, no file, no clock. The driver sends what it is given, hands in the answer or
//! says that none came, and writes [`Terminal::take_lines`] to the terminal's journal **before** it
//! sends, so that a terminal that dies knows what it owes. One exchange at a time (profile
//! `serial`). Invariant: with `reverses_first`, nothing new is asked while a request of unknown end
//! has not been reversed.

mod belief;
mod receipt;
#[cfg(test)]
mod tests;

pub use belief::{BadLine, Belief, BeliefLine, ReversalLine, newest, read_lines};
pub use receipt::{Kind, Outcome, Receipt};

use iso8583::{Amount, Currency, Fields, Mti, Stan, TerminalId, ValueError};

use crate::card::Card;
use crate::clock::Calendar;
use crate::codes;
use crate::issuer::PinBlock;

/// What a terminal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// DE41 and DE42.
    pub id: TerminalId,
    /// DE49.
    pub currency: Currency,
    /// Local time (DE12, DE13) against UTC.
    pub utc_offset_minutes: i32,
    /// A request of unknown end is reversed before anything new. A terminal without this profile
    /// takes 68 for a failure and leaves what it does not know as it is.
    pub reverses_first: bool,
    /// How a reversal names its original.
    pub reversal_names: ReversalNames,
    /// Which DE12 and DE13 a reversal carries.
    pub reversal_times: ReversalTimes,
    /// Codes of DE39 (0410) by which a reversal is done.
    pub reversal_done_codes: Vec<String>,
}

impl Settings {
    /// A serial terminal that reverses first, in this currency.
    #[must_use]
    pub fn new(id: TerminalId, currency: Currency) -> Self {
        Self {
            id,
            currency,
            utc_offset_minutes: 0,
            reverses_first: true,
            reversal_names: ReversalNames::OwnStan,
            reversal_times: ReversalTimes::Original,
            reversal_done_codes: ["00", "25", "12"].map(str::to_owned).to_vec(),
        }
    }
}

/// How a reversal names its original.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReversalNames {
    /// By DE90; the reversal has its own STAN.
    OwnStan,
    /// By the original's STAN in DE11, without DE90.
    OriginalStan,
}

/// Which local time (DE12, DE13) a reversal carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReversalTimes {
    /// Its original's.
    Original,
    /// Its own, the same over its repeats.
    Own,
    /// None.
    Absent,
}

/// A card at the terminal. `Debug` shows it masked.
#[derive(Debug, Clone)]
pub struct Presented {
    /// The card number: DE2, unless there is a track.
    pub card: Card,
    /// DE14, YYMM.
    pub expiry: Option<String>,
    /// What follows the card number and its separator on track 2: sent as DE35 in place of DE2.
    pub track2_tail: Option<Tail>,
    /// DE52.
    pub pin_block: Option<PinBlock>,
    /// DE55, TLV bytes.
    pub chip: Option<Vec<u8>>,
}

impl Presented {
    /// A card number and nothing else.
    #[must_use]
    pub fn new(card: Card) -> Self {
        Self { card, expiry: None, track2_tail: None, pin_block: None, chip: None }
    }
}

/// The secret part of track 2. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Tail(String);

impl From<String> for Tail {
    fn from(digits: String) -> Self {
        Self(digits)
    }
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tail")
    }
}

/// Why the terminal does not do what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// An exchange is open: its answer, or that there is none, has to come in first.
    #[error("another exchange is open")]
    Busy,
    /// A reversal is owed and has to be cleared first.
    #[error("a reversal is owed and comes first")]
    ReversalFirst,
    /// There is no such request to repeat or reverse.
    #[error("no such request")]
    NoSuchRequest,
    /// The amount cannot be carried.
    #[error("{0}")]
    Value(#[from] ValueError),
}

/// The exchange that waits for its answer.
#[derive(Debug)]
struct Open {
    kind: Kind,
    /// MTI of what was sent.
    mti: Mti,
    stan: Stan,
    /// Index of the belief it is about; none for echo, sign-on and balance.
    belief: Option<usize>,
}

/// One terminal.
#[derive(Debug)]
pub struct Terminal {
    settings: Settings,
    next_stan: Stan,
    beliefs: Vec<BeliefLine>,
    /// Index of the belief that must be reversed.
    owed: Option<usize>,
    open: Option<Open>,
    /// The newest money request in full, for its repeat: in memory only.
    last_request: Option<(usize, Fields)>,
    changed: Vec<BeliefLine>,
}

impl Terminal {
    /// A terminal with an empty journal; its STANs start at 1.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self::restore(settings, [])
    }

    /// A terminal that was switched on again, from the lines of its journal. What it asked and
    /// never heard of is owed a reversal, if it `reverses_first`.
    #[must_use]
    pub fn restore(settings: Settings, lines: impl IntoIterator<Item = BeliefLine>) -> Self {
        let mut counter = 1;
        let lines = lines.into_iter().inspect(|line| counter = line.next_stan);
        let beliefs = newest(lines);
        let owes = |belief: &BeliefLine| match &belief.reversal {
            Some(reversal) => reversal.open,
            None => settings.reverses_first && belief.belief == Belief::Unknown,
        };
        let owed = beliefs.iter().rposition(owes);
        let next_stan = Stan::new(counter).unwrap_or(FIRST_STAN);
        let (open, last_request, changed) = (None, None, Vec::new());
        Self { settings, next_stan, beliefs, owed, open, last_request, changed }
    }

    /// What it is.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What it believes, oldest request first.
    #[must_use]
    pub fn beliefs(&self) -> &[BeliefLine] {
        &self.beliefs
    }

    /// The request that is owed a reversal.
    #[must_use]
    pub fn owed(&self) -> Option<&BeliefLine> {
        self.owed.map(|at| &self.beliefs[at])
    }

    /// Journal lines not taken yet; to be written before anything that was returned is sent.
    pub fn take_lines(&mut self) -> Vec<BeliefLine> {
        std::mem::take(&mut self.changed)
    }

    /// A sale, a cash advance, a balance inquiry or an authorisation of `minor` units.
    ///
    /// # Errors
    /// [`Refused`] while an exchange is open or a reversal is owed, or for an amount above 12
    /// digits.
    pub fn ask(&mut self, now_ms: u64, kind: Asked, card: &Presented, minor: u64) -> Result<Fields, Refused> {
        self.may_start()?;
        let amount = Amount::new(minor, self.settings.currency)?;
        let (mti, processing, receipt) = kind.parts();
        let stan = self.take_stan();
        let mut message = self.message(now_ms, mti, stan);
        self.put_card(&mut message, card);
        message.set(3, processing);
        message.set(4, &amount.digits());
        message.set(22, if card.chip.is_some() { b"051" } else { b"021" });
        message.set(25, b"00");
        message.set(49, amount.currency().as_bytes());
        let moves = kind != Asked::Balance;
        let belief = moves.then(|| self.believe(now_ms, &message, stan, amount, &card.card));
        if let Some(at) = belief {
            self.last_request = Some((at, message.clone()));
        }
        self.open = Some(Open { kind: receipt, mti, stan, belief });
        Ok(message)
    }

    /// The newest money request once more, with the MTI of a repeat and the same content.
    ///
    /// # Errors
    /// [`Refused`] while an exchange is open, when the reversal of that request is under way, or
    /// when the terminal was restarted since.
    pub fn repeat(&mut self) -> Result<Fields, Refused> {
        if self.open.is_some() {
            return Err(Refused::Busy);
        }
        let (at, request) = self.last_request.as_ref().ok_or(Refused::NoSuchRequest)?;
        let belief = &self.beliefs[*at];
        if belief.reversal.is_some() || self.owed.is_some_and(|owed| owed != *at) {
            return Err(Refused::ReversalFirst);
        }
        let mut message = request.clone();
        message.set_mti(request.mti().repeat());
        let stan = belief.stan.parse()?;
        let kind = Asked::of(belief).parts().2;
        self.open = Some(Open { kind, mti: message.mti(), stan, belief: Some(*at) });
        Ok(message)
    }

    /// Undoes the newest request with this STAN (the newest of all without one), so that `remains`
    /// minor units of it stand: 0 for all of it. From here on the terminal owes that reversal, and
    /// [`Self::reversal`] is what it sends.
    ///
    /// # Errors
    /// [`Refused`] while an exchange is open, another reversal is owed, or there is no such request.
    pub fn reverse(&mut self, now_ms: u64, stan: Option<Stan>, remains: u64) -> Result<(), Refused> {
        if self.open.is_some() {
            return Err(Refused::Busy);
        }
        let named = |belief: &BeliefLine| stan.is_none_or(|stan| belief.stan == stan.to_string());
        let at = self.beliefs.iter().rposition(named).ok_or(Refused::NoSuchRequest)?;
        if self.owed.is_some_and(|owed| owed != at) {
            return Err(Refused::ReversalFirst);
        }
        if remains > self.beliefs[at].amount {
            return Err(Refused::Value(ValueError::Amount));
        }
        // One that is under way goes on under its own STAN.
        let under_way = self.beliefs[at].reversal.as_ref().filter(|reversal| reversal.open);
        if let Some(reversal) = under_way {
            let same = reversal.remains == remains;
            return if same { Ok(()) } else { Err(Refused::ReversalFirst) };
        }
        self.start_reversal(now_ms, at, remains);
        Ok(())
    }

    /// The reversal that is owed: 0400 the first time, 0401 from then on, with the same STAN and
    /// DE7. `None` when nothing is owed. `card` is for a terminal that was restarted and has the
    /// card again; without either the reversal carries no DE2.
    ///
    /// # Errors
    /// [`Refused::Busy`] while an exchange is open.
    pub fn reversal(&mut self, now_ms: u64, card: Option<&Card>) -> Result<Option<Fields>, Refused> {
        if self.open.is_some() {
            return Err(Refused::Busy);
        }
        let Some(at) = self.owed else {
            return Ok(None);
        };
        if self.beliefs[at].reversal.is_none() {
            self.start_reversal(now_ms, at, 0);
        }
        let line = &mut self.beliefs[at];
        let Some(reversal) = &mut line.reversal else {
            return Ok(None);
        };
        let first = Mti::new(b"0400");
        let mti = if reversal.sends == 0 { first } else { first.repeat() };
        reversal.sends += 1;
        let stan: Stan = reversal.stan.parse()?;
        let message = self.reversal_message(mti, stan, at, card);
        self.changed(now_ms, at);
        self.open = Some(Open { kind: Kind::Reversal, mti, stan, belief: Some(at) });
        Ok(Some(message))
    }

    /// 0800 with DE70 301.
    ///
    /// # Errors
    /// [`Refused::Busy`] while an exchange is open.
    pub fn echo(&mut self, now_ms: u64) -> Result<Fields, Refused> {
        self.network(now_ms, Kind::Echo, b"301")
    }

    /// 0800 with DE70 001.
    ///
    /// # Errors
    /// [`Refused::Busy`] while an exchange is open.
    pub fn sign_on(&mut self, now_ms: u64) -> Result<Fields, Refused> {
        self.network(now_ms, Kind::SignOn, b"001")
    }

    /// A message came in. `None` if it is not the answer that the terminal waits for.
    pub fn answer(&mut self, now_ms: u64, message: &Fields) -> Option<Receipt> {
        let open = self.open.as_ref()?;
        let right = message.mti() == open.mti.response()
            && message.get(11) == Some(&open.stan.digits())
            && message.get(41).is_none_or(|de41| de41 == self.settings.id.terminal())
            && message.get(42).is_none_or(|de42| de42 == self.settings.id.merchant())
            && self.is_of_its_time(open, message);
        if !right {
            return None;
        }
        let open = self.open.take()?;
        let code = message.text(39).unwrap_or_default();
        let outcome = match (open.kind, open.belief) {
            (Kind::Reversal, Some(at)) => self.learn_reversal(at, code),
            (_, Some(at)) => self.learn(at, message, code),
            (_, None) if codes::approves(code) => Outcome::Approved,
            (_, None) => Outcome::Declined,
        };
        if let Some(at) = open.belief {
            self.changed(now_ms, at);
        }
        Some(self.receipt(now_ms, &open, outcome, Some(message)))
    }

    /// What the answer echoes of the local time is the request's: an older one of the same STAN is another's.
    fn is_of_its_time(&self, open: &Open, message: &Fields) -> bool {
        let Some(line) = open.belief.filter(|_| open.kind != Kind::Reversal).map(|at| &self.beliefs[at]) else {
            return true;
        };
        let same = |de: u8, said: &str| said.is_empty() || message.text(de).is_none_or(|echoed| echoed == said);
        same(12, &line.de12) && same(13, &line.de13)
    }

    /// No usable answer came: the time is over, or the connection is lost. `None` if nothing was
    /// open.
    pub fn give_up(&mut self, now_ms: u64) -> Option<Receipt> {
        let open = self.open.take()?;
        if let Some(at) = open.belief {
            // What an earlier answer said still holds after a repeat that nobody answered.
            let unknown = self.beliefs[at].belief == Belief::Unknown;
            if unknown && self.settings.reverses_first && self.owed.is_none() {
                self.owed = Some(at);
            }
            self.changed(now_ms, at);
        }
        Some(self.receipt(now_ms, &open, Outcome::Unknown, None))
    }

    fn may_start(&self) -> Result<(), Refused> {
        if self.open.is_some() {
            return Err(Refused::Busy);
        }
        if self.settings.reverses_first && self.owed.is_some() {
            return Err(Refused::ReversalFirst);
        }
        Ok(())
    }

    fn take_stan(&mut self) -> Stan {
        let stan = self.next_stan;
        self.next_stan = Stan::new(stan.get() + 1).unwrap_or(FIRST_STAN);
        stan
    }

    /// MTI and the fields that every message of this terminal has.
    fn message(&self, now_ms: u64, mti: Mti, stan: Stan) -> Fields {
        let local = Calendar::at(now_ms, self.settings.utc_offset_minutes);
        let mut message = Fields::new(mti);
        message.set(7, Calendar::at(now_ms, 0).de7().as_bytes());
        message.set(11, &stan.digits());
        message.set(12, local.de12().as_bytes());
        message.set(13, local.de13().as_bytes());
        message.set(41, self.settings.id.terminal());
        message.set(42, self.settings.id.merchant());
        message
    }

    fn put_card(&self, message: &mut Fields, card: &Presented) {
        match &card.track2_tail {
            Some(tail) => {
                message.set(35, format!("{}={}", card.card.digits(), tail.0).as_bytes());
            }
            None => message.set(2, card.card.digits().as_bytes()),
        }
        if let Some(expiry) = &card.expiry {
            message.set(14, expiry.as_bytes());
        }
        if let Some(pin_block) = &card.pin_block {
            message.set(52, pin_block.bytes());
        }
        if let Some(chip) = &card.chip {
            message.set(55, chip);
        }
    }

    /// A new request: its end is unknown until an answer says otherwise.
    fn believe(&mut self, now_ms: u64, request: &Fields, stan: Stan, amount: Amount, card: &Card) -> usize {
        let text = |de| request.text(de).unwrap_or_default().to_owned();
        self.beliefs.push(BeliefLine {
            at: now_ms,
            stan: stan.to_string(),
            class: request.mti().class(),
            amount: amount.minor(),
            currency: amount.currency().to_string(),
            rrn: None,
            code: None,
            belief: Belief::Unknown,
            stands: 0,
            approval: None,
            card: card.to_string(),
            processing: text(3),
            de7: text(7),
            de12: text(12),
            de13: text(13),
            reversal: None,
            next_stan: self.next_stan.get(),
        });
        let at = self.beliefs.len() - 1;
        self.changed(now_ms, at);
        at
    }

    fn start_reversal(&mut self, now_ms: u64, at: usize, remains: u64) {
        let stan = match self.settings.reversal_names {
            ReversalNames::OwnStan => self.take_stan().to_string(),
            ReversalNames::OriginalStan => self.beliefs[at].stan.clone(),
        };
        let line = &mut self.beliefs[at];
        let de7 = Calendar::at(now_ms, 0).de7();
        let local = Calendar::at(now_ms, self.settings.utc_offset_minutes);
        let (de12, de13) = match self.settings.reversal_times {
            ReversalTimes::Original => (Some(line.de12.clone()), Some(line.de13.clone())),
            ReversalTimes::Own => (Some(local.de12()), Some(local.de13())),
            ReversalTimes::Absent => (None, None),
        };
        line.reversal = Some(ReversalLine { stan, de7, de12, de13, remains, sends: 0, open: true });
        line.belief = Belief::Unknown;
        line.stands = 0;
        self.owed = Some(at);
        self.changed(now_ms, at);
    }

    /// A reversal carries its own DE7; no track, PIN or chip.
    fn reversal_message(&self, mti: Mti, stan: Stan, at: usize, card: Option<&Card>) -> Fields {
        let line = &self.beliefs[at];
        let mut message = Fields::new(mti);
        let remembered = self.last_request.as_ref().filter(|(last, _)| *last == at);
        let remembered = remembered.and_then(|(_, request)| Card::of(request));
        if let Some(card) = card.or(remembered.as_ref()) {
            message.set(2, card.digits().as_bytes());
        }
        let mut put = |de, value: &str| message.set(de, value.as_bytes());
        put(3, &line.processing);
        put(4, &format!("{:012}", line.amount));
        put(11, &stan.to_string());
        put(25, "00");
        put(49, &line.currency);
        if let Some(rrn) = &line.rrn {
            put(37, &format!("{rrn:<12}"));
        }
        if let Some(approval) = &line.approval {
            put(38, approval);
        }
        if let Some(reversal) = &line.reversal {
            put(7, &reversal.de7);
            for (de, value) in [(12, &reversal.de12), (13, &reversal.de13)] {
                if let Some(value) = value {
                    put(de, value);
                }
            }
            if reversal.remains > 0 {
                put(95, &format!("{:012}{:030}", reversal.remains, 0));
            }
        }
        if self.settings.reversal_names == ReversalNames::OwnStan {
            put(90, &format!("0{}00{}{}{:022}", line.class, line.stan, line.de7, 0));
        }
        message.set(41, self.settings.id.terminal());
        message.set(42, self.settings.id.merchant());
        message
    }

    fn network(&mut self, now_ms: u64, kind: Kind, code: &[u8; 3]) -> Result<Fields, Refused> {
        if self.open.is_some() {
            return Err(Refused::Busy);
        }
        let stan = self.take_stan();
        let mti = Mti::new(b"0800");
        let mut message = self.message(now_ms, mti, stan);
        message.set(70, code);
        self.open = Some(Open { kind, mti, stan, belief: None });
        Ok(message)
    }

    /// What the answer to a money request says.
    fn learn(&mut self, at: usize, message: &Fields, code: &str) -> Outcome {
        let line = &mut self.beliefs[at];
        let text = |de| message.text(de).map(|text| text.trim_end_matches(' ').to_owned());
        line.rrn = text(37).or(line.rrn.take());
        line.code = Some(code.to_owned());
        line.approval = text(38);
        line.stands = 0;
        let (belief, outcome) = if codes::approves(code) {
            let approved = text(4).and_then(|digits| digits.parse().ok());
            line.stands = approved.unwrap_or(line.amount);
            (Belief::Approved, Outcome::Approved)
        } else if code == "68" && self.settings.reverses_first || code.is_empty() {
            (Belief::Unknown, Outcome::Unknown)
        } else if code == "68" {
            (Belief::Failed, Outcome::Unknown)
        } else {
            (Belief::Failed, Outcome::Declined)
        };
        line.belief = belief;
        let owes = self.settings.reverses_first && belief == Belief::Unknown;
        self.owed = if owes { Some(at) } else { self.owed.filter(|owed| *owed != at) };
        outcome
    }

    /// What the answer to a reversal says. A refusal for its amount will not change by asking
    /// again: then only people can tell. Any other code: it stays owed.
    fn learn_reversal(&mut self, at: usize, code: &str) -> Outcome {
        let done = self.settings.reversal_done_codes.iter().any(|done| done == code);
        let line = &mut self.beliefs[at];
        line.code = Some(code.to_owned());
        let Some(reversal) = line.reversal.as_mut().filter(|_| done || code == "64") else {
            return Outcome::Declined;
        };
        reversal.open = false;
        self.owed = None;
        if !done {
            return Outcome::Declined;
        }
        line.stands = reversal.remains;
        line.belief = if reversal.remains > 0 { Belief::Approved } else { Belief::Reversed };
        Outcome::Approved
    }

    /// A belief changed: stamps it and puts it among the lines to be written.
    fn changed(&mut self, now_ms: u64, at: usize) {
        let line = &mut self.beliefs[at];
        line.at = now_ms;
        line.next_stan = self.next_stan.get();
        self.changed.push(line.clone());
    }

    fn receipt(&self, now_ms: u64, open: &Open, outcome: Outcome, answer: Option<&Fields>) -> Receipt {
        let line = open.belief.map(|at| &self.beliefs[at]);
        let text = |de| Some(answer?.text(de)?.trim_end_matches(' ').to_owned());
        let id = &self.settings.id;
        let trimmed = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches(' ').to_owned();
        let amount = line.map(|line| {
            let approved = line.belief == Belief::Approved && open.kind != Kind::Reversal;
            (if approved { line.stands } else { line.amount }, line.currency.clone())
        });
        Receipt {
            kind: open.kind,
            outcome,
            terminal: trimmed(id.terminal()),
            merchant: trimmed(id.merchant()),
            at: now_ms,
            utc_offset_minutes: self.settings.utc_offset_minutes,
            stan: open.stan.to_string(),
            original_stan: line.map_or_else(|| open.stan.to_string(), |line| line.stan.clone()),
            rrn: text(37).or_else(|| line?.rrn.clone()),
            approval: text(38),
            code: text(39),
            card: line.map(|line| line.card.clone()),
            amount,
            balance: text(54),
        }
    }
}

const FIRST_STAN: Stan = match Stan::new(1) {
    Ok(stan) => stan,
    Err(_) => panic!("1 is a STAN"),
};

/// What a terminal can ask for with a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// 0200, DE3 00.
    Sale,
    /// 0200, DE3 01.
    Cash,
    /// 0200, DE3 31.
    Balance,
    /// 0100, DE3 00.
    Authorisation,
}

impl Asked {
    fn parts(self) -> (Mti, &'static [u8; 6], Kind) {
        const AUTHORISATION: Mti = Mti::new(b"0100");
        const FINANCIAL: Mti = Mti::new(b"0200");
        match self {
            Self::Sale => (FINANCIAL, b"000000", Kind::Sale),
            Self::Cash => (FINANCIAL, b"010000", Kind::Cash),
            Self::Balance => (FINANCIAL, b"310000", Kind::Balance),
            Self::Authorisation => (AUTHORISATION, b"000000", Kind::Authorisation),
        }
    }

    /// What a belief was asked as.
    fn of(belief: &BeliefLine) -> Self {
        match (belief.class, belief.processing.starts_with("01")) {
            (1, _) => Self::Authorisation,
            (_, true) => Self::Cash,
            (_, false) => Self::Sale,
        }
    }
}
