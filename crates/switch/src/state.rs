//! The durable state: what the records say, and nothing else. It changes by [`State::apply`] only (I4).
//!
//! Indexes beside the movements are derived; a snapshot holds the movements and the counters, and `restore` builds the
//! indexes again. Nothing here knows a connection, a clock or a limit of the configuration but how much to keep.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use iso8583::{Amount, Currency, ResponseCode, Rrn, Stan, TerminalId};

use crate::binary::{Damaged, Stored, stored_struct};
use crate::card::CardHmac;
use crate::ids::{IssuerNo, LinkNo, Lsn, MovementId};
use crate::movement::{Class, Evidence, Key, Movement, Obligation, Resolution, Rule, Scope, StateKind};
use crate::mutant::{Mutant, on};
use crate::record::{AckVerdict, Entry, FORMAT_VERSION, Record};

/// The lowest STAN of reversals; requests and network messages of a link use those below. Reversals have a range of their
/// own because they are numbered per issuer, over all its links (R0), and must not meet a request's number on any of them.
pub(crate) const FIRST_REVERSAL_STAN: u32 = 900_000;
const LAST_STAN: u32 = 999_999;
/// The lowest STAN that there is.
pub(crate) const FIRST_STAN: Stan = match Stan::new(1) {
    Ok(stan) => stan,
    Err(_) => unreachable!(),
};

/// How much of what has ended stays in memory. Part of the records, so that a replay under another configuration lets go of
/// exactly what the live core let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// At least this many ended movements.
    pub newest: u64,
    /// And all that ended within this time, in milliseconds.
    pub younger_than_ms: u64,
    /// Tombstones for this long, in milliseconds.
    pub tombstones_ms: u64,
}
stored_struct!(Keep { newest, younger_than_ms, tombstones_ms });

/// A reversal that came without its original (D11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// The original's class, where it was named.
    pub class: Option<Class>,
    /// The original's amount, where it was carried.
    pub amount: Option<Amount>,
    /// Wall clock of its record.
    pub wall_ms: u64,
    /// Its record: answers that follow from it wait for it.
    pub record: Lsn,
}
stored_struct!(Tombstone { class, amount, wall_ms, record });

/// A durable entry with evidence in `switchd doubt` (section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The rule that made it.
    pub rule: Rule,
    /// The terminal.
    pub terminal: TerminalId,
    /// The terminal's STAN.
    pub stan: Stan,
    /// The movement, where there is one.
    pub id: Option<MovementId>,
    /// Its RRN: memory may let the movement go before a person closes this.
    pub rrn: Option<Rrn>,
    /// Wall clock of its record.
    pub wall_ms: u64,
}
stored_struct!(Exception { rule, terminal, stan, id, rrn, wall_ms });

/// What an exception is about.
pub(crate) type About = (Rule, TerminalId, Stan, Option<MovementId>);

impl Exception {
    fn about(&self) -> About {
        (self.rule, self.terminal, self.stan, self.id)
    }
}

/// What census counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CensusKey {
    pub(crate) state: StateKind,
    /// A promise stands beside the state, or is the state.
    pub(crate) owes: bool,
    pub(crate) issuer: IssuerNo,
    pub(crate) currency: Currency,
}

/// What equal sales have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sale {
    pub(crate) terminal: TerminalId,
    pub(crate) class: Class,
    pub(crate) card: Option<CardHmac>,
    pub(crate) amount: Amount,
}

impl Sale {
    pub(crate) fn of(movement: &Movement) -> Sale {
        let (Key { terminal, class, .. }, fingerprint) = (movement.key, &movement.fingerprint);
        Sale { terminal, class, card: fingerprint.card, amount: fingerprint.amount }
    }
}

/// Where a movement stands in the lists that go by state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Open { key: CensusKey, terminal: TerminalId, minor: u64 },
    Ended { since_wall_ms: u64 },
}

impl Place {
    fn of(movement: &Movement) -> Place {
        if !movement.is_open() {
            return Place::Ended { since_wall_ms: movement.since_wall_ms };
        }
        let amount = movement.fingerprint.amount;
        let (state, owes) = (movement.state, movement.owes());
        let key = CensusKey { state, owes, issuer: movement.link.issuer, currency: amount.currency() };
        Place::Open { key, terminal: movement.key.terminal, minor: amount.minor() }
    }
}

/// Open movements of one kind. Ids are in the order of beginning, so the first is the oldest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) ids: BTreeSet<MovementId>,
    pub(crate) minor: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) lsn: Lsn,
    pub(crate) epoch: u32,
    pub(crate) keys: Vec<(u16, [u8; 8])>,
    pub(crate) next_id: u64,
    pub(crate) movements: BTreeMap<MovementId, Movement>,
    pub(crate) tombstones: BTreeMap<(TerminalId, Stan), Tombstone>,
    pub(crate) exceptions: BTreeMap<Lsn, Exception>,
    /// The open exception about this: one is enough for a person.
    pub(crate) exception_about: BTreeMap<About, Lsn>,
    /// How many are open of a terminal.
    pub(crate) exceptions_of: BTreeMap<TerminalId, usize>,
    last_stan: BTreeMap<LinkNo, u32>,
    last_reversal_stan: BTreeMap<IssuerNo, u32>,
    /// Whether memory ever let a movement go: then the journal knows more than memory does.
    pub(crate) let_go: bool,

    // Derived.
    pub(crate) by_key: BTreeSet<(Key, MovementId)>,
    /// What stands or may come to stand, by terminal, card and amount, so that equal sales are found (D6).
    pub(crate) by_sale: BTreeSet<(Sale, MovementId)>,
    pub(crate) by_rrn: BTreeMap<Rrn, MovementId>,
    /// The newest movement of a terminal's own RRN.
    pub(crate) by_terminal_rrn: BTreeMap<(TerminalId, Rrn), MovementId>,
    pub(crate) by_link_stan: BTreeMap<(LinkNo, Stan), MovementId>,
    pub(crate) by_reversal_stan: BTreeMap<(IssuerNo, Stan), MovementId>,
    pub(crate) open_of_terminal: BTreeMap<TerminalId, BTreeSet<MovementId>>,
    pub(crate) open: BTreeMap<CensusKey, Tally>,
    /// Ended movements in the order of their ending, the next to be let go first.
    ended: BTreeSet<(u64, MovementId)>,
    tombstone_ages: BTreeSet<(u64, TerminalId, Stan)>,
    /// `None` keeps everything: before the first start, and for look-ups.
    keep: Option<Keep>,
    keeps_all: bool,
}

impl State {
    /// A state that lets nothing go, whatever the records say.
    pub(crate) fn keeping_all() -> State {
        State { keeps_all: true, ..State::new() }
    }

    pub(crate) fn new() -> State {
        State {
            lsn: Lsn(0),
            epoch: 0,
            keys: Vec::new(),
            next_id: 1,
            movements: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            exceptions: BTreeMap::new(),
            exception_about: BTreeMap::new(),
            exceptions_of: BTreeMap::new(),
            last_stan: BTreeMap::new(),
            last_reversal_stan: BTreeMap::new(),
            let_go: false,
            by_key: BTreeSet::new(),
            by_sale: BTreeSet::new(),
            by_rrn: BTreeMap::new(),
            by_terminal_rrn: BTreeMap::new(),
            by_link_stan: BTreeMap::new(),
            by_reversal_stan: BTreeMap::new(),
            open_of_terminal: BTreeMap::new(),
            open: BTreeMap::new(),
            ended: BTreeSet::new(),
            tombstone_ages: BTreeSet::new(),
            keep: None,
            keeps_all: false,
        }
    }

    /// Takes a record into the state. The records of a journal come in their order, each once.
    ///
    /// # Errors
    /// It is about a movement that the records before it did not leave in memory.
    pub(crate) fn apply(&mut self, lsn: Lsn, entry: &Entry) -> Result<(), Damaged> {
        self.lsn = lsn;
        let wall_ms = entry.wall_ms;
        match &entry.record {
            Record::Restarted { epoch, keep, keys } => {
                self.keys.clone_from(keys);
                self.epoch = *epoch;
                self.keep = Some(*keep).filter(|_| !self.keeps_all);
                self.forget_offers(wall_ms)?;
            }
            Record::Keys { keys } => self.keys.clone_from(keys),
            Record::Marked { marks } => {
                for (id, mark) in marks {
                    self.mark(*id, *mark)?;
                }
            }
            Record::Intent { movement } => {
                self.next_id = self.next_id.max(movement.id.0 + 1);
                self.last_stan.insert(movement.link, movement.sent_as.stan.get());
                let mut movement = movement.clone();
                movement.last_record = lsn;
                self.insert(movement);
            }
            // Its time in memory begins anew: it stays for as long as one that ended now.
            Record::Recalled { movement } => {
                // A version that let go sooner recalled what this one still holds.
                self.forget(movement.id);
                self.insert(Movement { since_wall_ms: wall_ms, ..movement.clone() });
            }
            Record::StanUsed { link, stan } => {
                self.last_stan.insert(*link, stan.get());
            }
            Record::Exception { rule, terminal, stan, id } => {
                let rrn = id.and_then(|id| self.movements.get(&id)).map(|movement| movement.rrn);
                self.except(lsn, Exception { rule: *rule, terminal: *terminal, stan: *stan, id: *id, rrn, wall_ms });
                if let Some(id) = id {
                    self.change(*id, lsn, wall_ms, |movement| match (rule, &mut movement.obligation) {
                        (Rule::D4, _) => movement.contested = true,
                        (Rule::R7, Some(obligation)) => obligation.overdue = true,
                        _ => {}
                    })?;
                }
            }
            Record::Tombstone { terminal, stan, class, amount } => {
                let tombstone = Tombstone { class: *class, amount: *amount, wall_ms, record: lsn };
                self.bury(*terminal, *stan, tombstone);
            }
            Record::Answered { id, answer, to, evidence } => self.change(*id, lsn, wall_ms, |movement| {
                movement.answer = Some(answer.clone());
                movement.evidence = *evidence;
                movement.state = *to;
            })?,
            Record::NeverSent { id, code } => self.change(*id, lsn, wall_ms, |movement| {
                // M4: proof that it was never sent ends the promise too.
                if let Some(obligation) = &mut movement.obligation {
                    obligation.ended = true;
                }
                movement.operator_rule = None;
                let given_up = matches!(movement.state, StateKind::AwaitingReversalAck | StateKind::NeedsOperator);
                movement.state = if given_up { StateKind::Unwound } else { StateKind::Declined };
                movement.answer = Some(crate::movement::Answer {
                    code: *code,
                    approval: None,
                    amount: None,
                    balances: None,
                    moved: false,
                    wall_ms,
                });
            })?,
            Record::Delivery { id, evidence } => self.change(*id, lsn, wall_ms, |movement| {
                movement.evidence = *evidence;
                // What a person has stays with the person, who reads the evidence.
                if !movement.state.is_end() && movement.state != StateKind::NeedsOperator {
                    movement.state = match evidence {
                        Evidence::Handed | Evidence::Seen | Evidence::Unknown => StateKind::AwaitingConfirmation,
                        Evidence::Offered | Evidence::NotHanded | Evidence::None => StateKind::AwaitingDelivery,
                    };
                }
                // The grace of T8 and the margin of C1 run from the newest report.
                movement.since_wall_ms = wall_ms;
            })?,
            Record::Obligation { id, rule, reason, scope } => {
                self.forget_reversal_numbers(*id);
                self.change(*id, lsn, wall_ms, |movement| {
                    match scope {
                        Scope::All => {
                            movement.state = StateKind::AwaitingReversalAck;
                            movement.operator_rule = None;
                        }
                        Scope::AllBut { remains_minor } => movement.remains_minor = Some(*remains_minor),
                        Scope::Approval { .. } => {}
                    }
                    movement.reversal_seen |= matches!(rule, Rule::D7 | Rule::D8);
                    movement.obligation = Some(Obligation {
                        scope: *scope,
                        ended: false,
                        overdue: false,
                        rule: *rule,
                        reason: *reason,
                        opened_wall_ms: wall_ms,
                        early: None,
                        deciding: None,
                        refused: None,
                    });
                })?;
            }
            Record::ReversalNumbered { id, numbers, deciding } => {
                let issuer = self.movements.get(id).map(|movement| movement.link.issuer);
                if let Some(issuer) = issuer {
                    self.last_reversal_stan.insert(issuer, numbers.sent_as.stan.get());
                    self.by_reversal_stan.insert((issuer, numbers.sent_as.stan), *id);
                }
                self.change(*id, lsn, wall_ms, |movement| {
                    if let Some(obligation) = &mut movement.obligation {
                        let place = if *deciding { &mut obligation.deciding } else { &mut obligation.early };
                        *place = Some(*numbers);
                    }
                })?;
            }
            Record::ReversalAnswered { id, code, verdict } => self.change(*id, lsn, wall_ms, |movement| {
                let Some(obligation) = &mut movement.obligation else { return };
                match verdict {
                    AckVerdict::Open => obligation.refused = Some(*code),
                    AckVerdict::Ended => {
                        obligation.refused = None;
                        obligation.ended = true;
                        match obligation.scope {
                            Scope::All => movement.state = StateKind::Unwound,
                            // Its time in memory begins with the end of its last promise.
                            Scope::AllBut { remains_minor } => {
                                movement.acknowledged_minor = Some(remains_minor);
                                movement.since_wall_ms = wall_ms;
                            }
                            Scope::Approval { .. } => movement.since_wall_ms = wall_ms,
                        }
                    }
                    AckVerdict::Operator => {
                        obligation.refused = Some(*code);
                        movement.state = StateKind::NeedsOperator;
                        // 30 parks a reversal that the host cannot read (R4); else there is no original to an approval (R2).
                        let unreadable = *code == ResponseCode::FORMAT_ERROR;
                        movement.operator_rule = Some(if unreadable { Rule::R4 } else { Rule::R2 });
                    }
                }
            })?,
            Record::Resolved { id, verdict } => self.change(*id, lsn, wall_ms, |movement| {
                movement.verdict = Some(verdict.clone());
                if verdict.resolution == Resolution::Undo {
                    return;
                }
                movement.state = StateKind::Resolved;
                // A part that was never acknowledged was, by the operator's word, not undone.
                movement.remains_minor = movement.acknowledged_minor;
                if let Some(obligation) = &mut movement.obligation {
                    obligation.ended = true;
                }
            })?,
            Record::ExceptionClosed { exception, .. } => {
                if let Some(closed) = self.exceptions.remove(exception) {
                    self.exception_about.remove(&closed.about());
                    if let Some(open) = self.exceptions_of.get_mut(&closed.terminal) {
                        *open -= 1;
                        if *open == 0 {
                            self.exceptions_of.remove(&closed.terminal);
                        }
                    }
                }
            }
            Record::LateAnswer { id, answer } => {
                let mut replaced = None;
                self.change(*id, lsn, wall_ms, |movement| {
                    // R3: what was sent before the approval was held decides nothing, even if it was sent after the horizon: the
                    // original may have arrived after it all the same.
                    if answer.moved
                        && !movement.approval_held()
                        && !on(Mutant::KeepDecided)
                        && let Some(obligation) = &mut movement.obligation
                        && obligation.deciding.is_some()
                    {
                        replaced = obligation.early.map(|early| (movement.link.issuer, early.sent_as.stan));
                        obligation.early = obligation.deciding.take();
                    }
                    movement.answer = Some(answer.clone());
                })?;
                // Answers to it are nobody's, and a restored state does not know it.
                if let Some(place) = replaced.filter(|place| self.by_reversal_stan.get(place) == Some(id)) {
                    self.by_reversal_stan.remove(&place);
                }
            }
            Record::AnotherApproval { id, approval } => {
                self.change(*id, lsn, wall_ms, |movement| movement.second_approval = *approval)?;
            }
            Record::Confirmed { id, by } => self.change(*id, lsn, wall_ms, |movement| {
                movement.state = StateKind::Confirmed;
                movement.confirmed = Some(*by);
            })?,
            Record::NeedsOperator { id, rule } => self.change(*id, lsn, wall_ms, |movement| {
                movement.state = StateKind::NeedsOperator;
                movement.operator_rule = Some(*rule);
            })?,
            Record::ReversalSeen { id } => self.change(*id, lsn, wall_ms, |movement| movement.reversal_seen = true)?,
        }
        self.let_go_of_old(wall_ms, entry.record.movement());
        Ok(())
    }

    /// K2: what was approved without a durable mark of handing is unknown after a crash.
    fn forget_offers(&mut self, wall_ms: u64) -> Result<(), Damaged> {
        let offered: Vec<MovementId> = self
            .open
            .iter()
            .filter(|(key, _)| matches!(key.state, StateKind::AwaitingDelivery | StateKind::NeedsOperator))
            .flat_map(|(_, tally)| tally.ids.iter().copied())
            .filter(|id| self.movements.get(id).is_some_and(|movement| movement.evidence == Evidence::Offered))
            .collect();
        let lsn = self.lsn;
        for id in offered {
            self.change(id, lsn, wall_ms, |movement| {
                movement.evidence = Evidence::Unknown;
                if movement.state == StateKind::AwaitingDelivery {
                    movement.state = StateKind::AwaitingConfirmation;
                }
            })?;
        }
        Ok(())
    }

    fn insert(&mut self, movement: Movement) {
        let id = movement.id;
        self.by_key.insert((movement.key, id));
        if movement.may_stand() {
            self.by_sale.insert((Sale::of(&movement), id));
        }
        // A number that was used again names its newest user, in whatever order the two come into memory.
        newest(&mut self.by_rrn, movement.rrn, id);
        if let Some(rrn) = movement.terminal_rrn {
            newest(&mut self.by_terminal_rrn, (movement.key.terminal, rrn), id);
        }
        newest(&mut self.by_link_stan, (movement.link, movement.sent_as.stan), id);
        for stan in reversal_stans(&movement) {
            let place = (movement.link.issuer, stan);
            // A number is never used while its holder owes: the one who owes is its newest user, else who ended last.
            let holder = self.by_reversal_stan.get(&place).and_then(|holder| self.movements.get(holder));
            let newer = |holder: &Movement| !holder.owes() && holder.since_wall_ms <= movement.since_wall_ms;
            if movement.owes() || holder.is_none_or(newer) {
                self.by_reversal_stan.insert(place, id);
            }
        }
        self.enter(id, Place::of(&movement));
        self.movements.insert(id, movement);
    }

    fn except(&mut self, lsn: Lsn, exception: Exception) {
        self.exception_about.insert(exception.about(), lsn);
        *self.exceptions_of.entry(exception.terminal).or_default() += 1;
        self.exceptions.insert(lsn, exception);
    }

    fn bury(&mut self, terminal: TerminalId, stan: Stan, mut tombstone: Tombstone) {
        // Both classes of a STAN were reversed: both are refused.
        if self.tombstones.get(&(terminal, stan)).is_some_and(|older| older.class != tombstone.class) {
            tombstone.class = None;
        }
        if let Some(older) = self.tombstones.insert((terminal, stan), tombstone) {
            self.tombstone_ages.remove(&(older.wall_ms, terminal, stan));
        }
        self.tombstone_ages.insert((tombstone.wall_ms, terminal, stan));
    }

    /// Enters a movement into the lists that go by its state.
    fn enter(&mut self, id: MovementId, place: Place) {
        match place {
            Place::Ended { since_wall_ms } => {
                self.ended.insert((since_wall_ms, id));
            }
            Place::Open { key, terminal, minor } => {
                let tally = self.open.entry(key).or_default();
                tally.ids.insert(id);
                tally.minor = tally.minor.saturating_add(minor);
                self.open_of_terminal.entry(terminal).or_default().insert(id);
            }
        }
    }

    /// Takes it out of them.
    fn leave(&mut self, id: MovementId, place: Place) {
        match place {
            Place::Ended { since_wall_ms } => {
                self.ended.remove(&(since_wall_ms, id));
            }
            Place::Open { key, terminal, minor } => {
                if let Some(tally) = self.open.get_mut(&key) {
                    tally.ids.remove(&id);
                    tally.minor = tally.minor.saturating_sub(minor);
                    if tally.ids.is_empty() {
                        self.open.remove(&key);
                    }
                }
                if let Some(ids) = self.open_of_terminal.get_mut(&terminal) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.open_of_terminal.remove(&terminal);
                    }
                }
            }
        }
    }

    fn change(&mut self, id: MovementId, lsn: Lsn, wall_ms: u64, change: impl FnOnce(&mut Movement)) -> Result<(), Damaged> {
        let movement = self.movements.get_mut(&id).ok_or(Damaged { what: "record about a known movement" })?;
        let (before, state) = (Place::of(movement), movement.state);
        change(movement);
        movement.last_record = lsn;
        if movement.state != state {
            movement.since_wall_ms = wall_ms;
        }
        let (after, sale) = (Place::of(movement), (Sale::of(movement), id));
        if movement.may_stand() {
            self.by_sale.insert(sale);
        } else {
            self.by_sale.remove(&sale);
        }
        if before != after {
            self.leave(id, before);
            self.enter(id, after);
        }
        Ok(())
    }

    /// Its card is known by another mark. Not news about it: its newest record and its age stay.
    fn mark(&mut self, id: MovementId, mark: CardHmac) -> Result<(), Damaged> {
        let movement = self.movements.get_mut(&id).ok_or(Damaged { what: "mark of a known movement" })?;
        let stands = self.by_sale.remove(&(Sale::of(movement), id));
        movement.know_card_by(mark);
        if stands {
            self.by_sale.insert((Sale::of(movement), id));
        }
        Ok(())
    }

    /// Lets go of the oldest of what has ended, but never of what the record is `about`: whoever wrote it goes on with it.
    fn let_go_of_old(&mut self, wall_ms: u64, about: Option<MovementId>) {
        let Some(keep) = self.keep else { return };
        while self.ended.len() as u64 > keep.newest {
            let Some((since_wall_ms, id)) = self.ended.first().copied() else { break };
            if about == Some(id) || since_wall_ms.saturating_add(keep.younger_than_ms) > wall_ms {
                break;
            }
            self.forget(id);
        }
        while let Some((buried_wall_ms, terminal, stan)) = self.tombstone_ages.first().copied() {
            if buried_wall_ms.saturating_add(keep.tombstones_ms) > wall_ms {
                break;
            }
            self.tombstone_ages.pop_first();
            self.tombstones.remove(&(terminal, stan));
        }
    }

    fn forget(&mut self, id: MovementId) {
        let Some(movement) = self.movements.remove(&id) else { return };
        self.leave(id, Place::of(&movement));
        self.let_go = true;
        self.by_key.remove(&(movement.key, id));
        self.by_sale.remove(&(Sale::of(&movement), id));
        if self.by_rrn.get(&movement.rrn) == Some(&id) {
            self.by_rrn.remove(&movement.rrn);
        }
        let own_rrn = movement.terminal_rrn.map(|rrn| (movement.key.terminal, rrn));
        if let Some(own) = own_rrn.filter(|own| self.by_terminal_rrn.get(own) == Some(&id)) {
            self.by_terminal_rrn.remove(&own);
        }
        let link_stan = (movement.link, movement.sent_as.stan);
        if self.by_link_stan.get(&link_stan) == Some(&id) {
            self.by_link_stan.remove(&link_stan);
        }
        self.drop_reversal_stans(&movement);
    }

    /// A new promise has new numbers; answers to the old ones are nobody's.
    fn forget_reversal_numbers(&mut self, id: MovementId) {
        if let Some(movement) = self.movements.remove(&id) {
            self.drop_reversal_stans(&movement);
            self.movements.insert(id, movement);
        }
    }

    fn drop_reversal_stans(&mut self, movement: &Movement) {
        for stan in reversal_stans(movement) {
            let place = (movement.link.issuer, stan);
            if self.by_reversal_stan.get(&place) == Some(&movement.id) {
                self.by_reversal_stan.remove(&place);
            }
        }
    }

    /// How many tombstones a terminal has that were made since (D11).
    pub(crate) fn tombstones_of(&self, terminal: TerminalId, since_wall_ms: u64) -> usize {
        let from = (terminal, FIRST_STAN);
        let own = self.tombstones.range(from..).take_while(|((other, _), _)| *other == terminal);
        own.filter(|(_, tombstone)| tombstone.wall_ms >= since_wall_ms).count()
    }

    /// The next STAN of a link that nothing open or late could still answer to (K4); `None` when there is none.
    pub(crate) fn free_stan(&self, link: LinkNo, late_horizon_ms: u64, wall_ms: u64) -> Option<Stan> {
        let busy = |stan| {
            self.by_link_stan.get(&(link, stan)).and_then(|id| self.movements.get(id)).is_some_and(|movement| {
                let may_answer = match movement.state {
                    StateKind::AwaitingIssuer | StateKind::AwaitingReversalAck | StateKind::NeedsOperator => true,
                    StateKind::AwaitingDelivery
                    | StateKind::AwaitingConfirmation
                    | StateKind::Declined
                    | StateKind::Confirmed
                    | StateKind::Unwound
                    | StateKind::Resolved => false,
                };
                may_answer || movement.owes() || movement.begun_wall_ms.saturating_add(late_horizon_ms) > wall_ms
            })
        };
        let last = self.last_stan.get(&link).copied().unwrap_or(0);
        if on(Mutant::ReuseStan) {
            return Stan::new(1 + last % 7).ok();
        }
        next_free(last, 1, FIRST_REVERSAL_STAN - 1, busy)
    }

    /// The next STAN for a reversal to an issuer (R0, K4).
    pub(crate) fn free_reversal_stan(&self, issuer: IssuerNo, late_horizon_ms: u64, wall_ms: u64) -> Option<Stan> {
        let busy = |stan| {
            self.by_reversal_stan.get(&(issuer, stan)).and_then(|id| self.movements.get(id)).is_some_and(|movement| {
                movement.is_open() || movement.since_wall_ms.saturating_add(late_horizon_ms) > wall_ms
            })
        };
        let last = self.last_reversal_stan.get(&issuer).copied().unwrap_or(FIRST_REVERSAL_STAN - 1);
        if on(Mutant::ReuseReversalStan) {
            return Stan::new(FIRST_REVERSAL_STAN + last % 7).ok();
        }
        next_free(last, FIRST_REVERSAL_STAN, LAST_STAN, busy)
    }

    /// Appends everything that a restore needs.
    pub(crate) fn snapshot(&self, out: &mut Vec<u8>) {
        FORMAT_VERSION.put(out);
        self.lsn.put(out);
        self.epoch.put(out);
        self.keys.put(out);
        self.next_id.put(out);
        self.last_stan.put(out);
        self.last_reversal_stan.put(out);
        self.let_go.put(out);
        self.keep.put(out);
        self.tombstones.put(out);
        self.exceptions.put(out);
        (self.movements.len() as u64).put(out);
        if on(Mutant::LoseEvidence) {
            let lost = |movement: &Movement| Movement { evidence: Evidence::Unknown, ..movement.clone() };
            return self.movements.values().for_each(|movement| lost(movement).put(out));
        }
        self.movements.values().for_each(|movement| movement.put(out));
    }

    /// The state of a snapshot.
    pub(crate) fn restore(bytes: &[u8]) -> Result<State, Damaged> {
        let mut from = bytes;
        if u8::take(&mut from)? != FORMAT_VERSION {
            return Err(Damaged { what: "snapshot of version 1" });
        }
        let mut state = State::new();
        state.lsn = Stored::take(&mut from)?;
        state.epoch = Stored::take(&mut from)?;
        state.keys = Stored::take(&mut from)?;
        state.next_id = Stored::take(&mut from)?;
        state.last_stan = Stored::take(&mut from)?;
        state.last_reversal_stan = Stored::take(&mut from)?;
        state.let_go = Stored::take(&mut from)?;
        state.keep = Stored::take(&mut from)?;
        let tombstones: BTreeMap<(TerminalId, Stan), Tombstone> = Stored::take(&mut from)?;
        let exceptions: BTreeMap<Lsn, Exception> = Stored::take(&mut from)?;
        exceptions.into_iter().for_each(|(lsn, exception)| state.except(lsn, exception));
        let movements: Vec<Movement> = Stored::take(&mut from)?;
        if !from.is_empty() {
            return Err(Damaged { what: "snapshot of this length" });
        }
        movements.into_iter().for_each(|movement| state.insert(movement));
        tombstones.into_iter().for_each(|((terminal, stan), tombstone)| state.bury(terminal, stan, tombstone));
        Ok(state)
    }
}

fn newest<K: Ord>(index: &mut BTreeMap<K, MovementId>, key: K, id: MovementId) {
    let named = index.entry(key).or_insert(id);
    *named = id.max(*named);
}

fn reversal_stans(movement: &Movement) -> impl Iterator<Item = Stan> + use<> {
    let numbers = movement.obligation.as_ref().map(|obligation| [obligation.early, obligation.deciding]);
    numbers.into_iter().flatten().flatten().map(|numbers| numbers.sent_as.stan)
}

fn next_free(last: u32, first: u32, end: u32, busy: impl Fn(Stan) -> bool) -> Option<Stan> {
    let start = last.clamp(first - 1, end);
    (start + 1..=end).chain(first..=start).filter_map(|number| Stan::new(number).ok()).find(|stan| !busy(*stan))
}

#[cfg(test)]
mod tests;
