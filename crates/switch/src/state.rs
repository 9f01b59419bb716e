//! The durable state: what the records say, and nothing else. It changes by [`State::apply`] only (I4).
//!
//! Indexes beside the movements are derived; a snapshot holds the movements and the counters, and `restore` builds the
//! indexes again. Nothing here knows a connection, a clock or a limit of the configuration but how much to keep.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use iso8583::{Amount, Currency, ResponseCode, Rrn, Stan, TerminalId};

use crate::binary::{Damaged, Stored, stored_struct};
use crate::ids::{IssuerNo, LinkNo, Lsn, MovementId};
use crate::movement::{Class, Evidence, Key, Movement, Obligation, Rule, StateKind};
use crate::record::{Entry, FORMAT_VERSION, Record};

/// The lowest STAN of reversals; requests and network messages of a link use those below. Reversals have a range of their
/// own because they are numbered per issuer, over all its links (R0), and must not meet a request's number on any of them.
pub(crate) const FIRST_REVERSAL_STAN: u32 = 900_000;
const LAST_STAN: u32 = 999_999;

/// How much of what has ended stays in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keep {
    /// At least this many ended movements.
    pub(crate) newest: usize,
    /// And all that ended within this time.
    pub(crate) younger_than_ms: u64,
    /// Tombstones for this long.
    pub(crate) tombstones_ms: u64,
}

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
    /// Wall clock of its record.
    pub wall_ms: u64,
}
stored_struct!(Exception { rule, terminal, stan, id, wall_ms });

/// What census counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CensusKey {
    pub(crate) state: StateKind,
    pub(crate) issuer: IssuerNo,
    pub(crate) currency: Currency,
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
    pub(crate) next_id: u64,
    pub(crate) movements: BTreeMap<MovementId, Movement>,
    pub(crate) tombstones: BTreeMap<(TerminalId, Stan), Tombstone>,
    pub(crate) exceptions: Vec<Exception>,
    last_stan: BTreeMap<LinkNo, u32>,
    last_reversal_stan: BTreeMap<IssuerNo, u32>,
    /// Whether memory ever let a movement go: then the journal knows more than memory does.
    pub(crate) let_go: bool,

    // Derived.
    pub(crate) by_key: BTreeSet<(Key, MovementId)>,
    pub(crate) by_rrn: BTreeMap<Rrn, MovementId>,
    pub(crate) by_link_stan: BTreeMap<(LinkNo, Stan), MovementId>,
    pub(crate) by_reversal_stan: BTreeMap<(IssuerNo, Stan), MovementId>,
    pub(crate) open_of_terminal: BTreeMap<TerminalId, BTreeSet<MovementId>>,
    pub(crate) open: BTreeMap<CensusKey, Tally>,
    /// Ended movements in the order of their ending, the next to be let go first.
    ended: BTreeSet<(u64, MovementId)>,
    tombstone_ages: BTreeSet<(u64, TerminalId, Stan)>,
    keep: Keep,
}

impl State {
    pub(crate) fn new(keep: Keep) -> State {
        State {
            lsn: Lsn(0),
            epoch: 0,
            next_id: 1,
            movements: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            exceptions: Vec::new(),
            last_stan: BTreeMap::new(),
            last_reversal_stan: BTreeMap::new(),
            let_go: false,
            by_key: BTreeSet::new(),
            by_rrn: BTreeMap::new(),
            by_link_stan: BTreeMap::new(),
            by_reversal_stan: BTreeMap::new(),
            open_of_terminal: BTreeMap::new(),
            open: BTreeMap::new(),
            ended: BTreeSet::new(),
            tombstone_ages: BTreeSet::new(),
            keep,
        }
    }

    /// Takes a record into the state. The records of a journal come in their order, each once.
    pub(crate) fn apply(&mut self, lsn: Lsn, entry: &Entry) {
        self.lsn = lsn;
        let wall_ms = entry.wall_ms;
        match &entry.record {
            Record::Restarted { epoch } => {
                self.epoch = *epoch;
                self.forget_offers(wall_ms);
            }
            Record::Intent { movement } => {
                self.next_id = self.next_id.max(movement.id.0 + 1);
                self.last_stan.insert(movement.link, movement.sent_as.stan.get());
                let mut movement = movement.clone();
                movement.last_record = lsn;
                self.insert(movement);
            }
            // Its time in memory begins anew: it stays for as long as one that ended now.
            Record::Recalled { movement } => self.insert(Movement { since_wall_ms: wall_ms, ..movement.clone() }),
            Record::StanUsed { link, stan } => {
                self.last_stan.insert(*link, stan.get());
            }
            Record::Exception { rule, terminal, stan, id } => {
                self.exceptions.push(Exception { rule: *rule, terminal: *terminal, stan: *stan, id: *id, wall_ms });
                if let (Some(id), Rule::D4) = (id, rule) {
                    self.change(*id, lsn, wall_ms, |movement| movement.contested = true);
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
            }),
            Record::NeverSent { id, code } => self.change(*id, lsn, wall_ms, |movement| {
                movement.state = match movement.state {
                    StateKind::AwaitingReversalAck | StateKind::NeedsOperator => StateKind::Unwound,
                    _ => StateKind::Declined,
                };
                movement.answer = Some(crate::movement::Answer {
                    code: *code,
                    approval: None,
                    amount: None,
                    balances: None,
                    moved: false,
                    wall_ms,
                });
            }),
            Record::Delivery { id, evidence } => self.change(*id, lsn, wall_ms, |movement| {
                movement.evidence = *evidence;
                if !movement.state.is_end() {
                    movement.state = match evidence {
                        Evidence::Handed | Evidence::Seen | Evidence::Unknown => StateKind::AwaitingConfirmation,
                        Evidence::Offered | Evidence::NotHanded | Evidence::None => StateKind::AwaitingDelivery,
                    };
                }
                // The grace of T8 and the margin of C1 run from the newest report.
                movement.since_wall_ms = wall_ms;
            }),
            Record::Obligation { id, rule, reason } => self.change(*id, lsn, wall_ms, |movement| {
                movement.state = StateKind::AwaitingReversalAck;
                movement.operator_rule = None;
                movement.reversal_seen |= matches!(rule, Rule::D7 | Rule::D8);
                movement.obligation = Some(Obligation {
                    rule: *rule,
                    reason: *reason,
                    opened_wall_ms: wall_ms,
                    early: None,
                    deciding: None,
                    refused: None,
                });
            }),
            Record::ReversalNumbered { id, numbers, deciding } => {
                let issuer = self.movements.get(id).map(|movement| movement.link.issuer);
                if let Some(issuer) = issuer {
                    self.last_reversal_stan.insert(issuer, numbers.stan.get());
                    self.by_reversal_stan.insert((issuer, numbers.stan), *id);
                }
                self.change(*id, lsn, wall_ms, |movement| {
                    if let Some(obligation) = &mut movement.obligation {
                        let place = if *deciding { &mut obligation.deciding } else { &mut obligation.early };
                        *place = Some(*numbers);
                    }
                });
            }
            Record::ReversalAnswered { id, code, to } => self.change(*id, lsn, wall_ms, |movement| {
                movement.state = *to;
                if let Some(obligation) = &mut movement.obligation {
                    obligation.refused = (*to != StateKind::Unwound).then_some(*code);
                }
                if *to == StateKind::NeedsOperator {
                    // 30 parks a reversal that the host cannot read (R4); else there is no original to an approval (R2).
                    let unreadable = *code == ResponseCode::FORMAT_ERROR;
                    movement.operator_rule = Some(if unreadable { Rule::R4 } else { Rule::R2 });
                }
            }),
            Record::LateAnswer { id, answer } => {
                self.change(*id, lsn, wall_ms, |movement| movement.answer = Some(answer.clone()));
            }
            Record::Confirmed { id, by } => self.change(*id, lsn, wall_ms, |movement| {
                movement.state = StateKind::Confirmed;
                movement.confirmed = Some(*by);
            }),
            Record::NeedsOperator { id, rule } => self.change(*id, lsn, wall_ms, |movement| {
                movement.state = StateKind::NeedsOperator;
                movement.operator_rule = Some(*rule);
            }),
            Record::ReversalSeen { id } => self.change(*id, lsn, wall_ms, |movement| movement.reversal_seen = true),
        }
        self.let_go_of_old(wall_ms);
    }

    /// K2: what was approved without a durable mark of handing is unknown after a crash.
    fn forget_offers(&mut self, wall_ms: u64) {
        let offered: Vec<MovementId> = self
            .open
            .iter()
            .filter(|(key, _)| key.state == StateKind::AwaitingDelivery)
            .flat_map(|(_, tally)| tally.ids.iter().copied())
            .filter(|id| self.movements.get(id).is_some_and(|movement| movement.evidence == Evidence::Offered))
            .collect();
        let lsn = self.lsn;
        for id in offered {
            self.change(id, lsn, wall_ms, |movement| {
                movement.evidence = Evidence::Unknown;
                movement.state = StateKind::AwaitingConfirmation;
            });
        }
    }

    fn insert(&mut self, movement: Movement) {
        let id = movement.id;
        self.by_key.insert((movement.key, id));
        self.by_rrn.insert(movement.rrn, id);
        self.by_link_stan.insert((movement.link, movement.sent_as.stan), id);
        if let Some(obligation) = &movement.obligation {
            for numbers in [obligation.early, obligation.deciding].into_iter().flatten() {
                self.by_reversal_stan.insert((movement.link.issuer, numbers.stan), id);
            }
        }
        self.count(&movement, true);
        self.movements.insert(id, movement);
    }

    fn bury(&mut self, terminal: TerminalId, stan: Stan, tombstone: Tombstone) {
        if let Some(older) = self.tombstones.insert((terminal, stan), tombstone) {
            self.tombstone_ages.remove(&(older.wall_ms, terminal, stan));
        }
        self.tombstone_ages.insert((tombstone.wall_ms, terminal, stan));
    }

    /// Enters a movement into the lists that go by its state, or takes it out of them.
    fn count(&mut self, movement: &Movement, enter: bool) {
        if movement.state.is_end() {
            let ended = (movement.since_wall_ms, movement.id);
            if enter {
                self.ended.insert(ended)
            } else {
                self.ended.remove(&ended)
            };
            return;
        }
        let amount = movement.fingerprint.amount;
        let key = CensusKey { state: movement.state, issuer: movement.link.issuer, currency: amount.currency() };
        let terminal = movement.key.terminal;
        if enter {
            let tally = self.open.entry(key).or_default();
            tally.ids.insert(movement.id);
            tally.minor = tally.minor.saturating_add(amount.minor());
            self.open_of_terminal.entry(terminal).or_default().insert(movement.id);
            return;
        }
        if let Some(tally) = self.open.get_mut(&key) {
            tally.ids.remove(&movement.id);
            tally.minor = tally.minor.saturating_sub(amount.minor());
            if tally.ids.is_empty() {
                self.open.remove(&key);
            }
        }
        if let Some(ids) = self.open_of_terminal.get_mut(&terminal) {
            ids.remove(&movement.id);
            if ids.is_empty() {
                self.open_of_terminal.remove(&terminal);
            }
        }
    }

    fn change(&mut self, id: MovementId, lsn: Lsn, wall_ms: u64, change: impl FnOnce(&mut Movement)) {
        let Some(mut movement) = self.movements.remove(&id) else {
            // A record about a movement is preceded by its Intent or Recalled; the core writes no other order.
            debug_assert!(false, "a record about a movement that memory does not hold");
            return;
        };
        self.count(&movement, false);
        let before = movement.state;
        change(&mut movement);
        movement.last_record = lsn;
        if movement.state != before {
            movement.since_wall_ms = wall_ms;
        }
        self.count(&movement, true);
        self.movements.insert(id, movement);
    }

    fn let_go_of_old(&mut self, wall_ms: u64) {
        while self.ended.len() > self.keep.newest {
            let Some((since_wall_ms, id)) = self.ended.first().copied() else { break };
            if since_wall_ms.saturating_add(self.keep.younger_than_ms) > wall_ms {
                break;
            }
            self.forget(id);
        }
        while let Some((buried_wall_ms, terminal, stan)) = self.tombstone_ages.first().copied() {
            if buried_wall_ms.saturating_add(self.keep.tombstones_ms) > wall_ms {
                break;
            }
            self.tombstone_ages.pop_first();
            self.tombstones.remove(&(terminal, stan));
        }
    }

    fn forget(&mut self, id: MovementId) {
        let Some(movement) = self.movements.remove(&id) else { return };
        self.count(&movement, false);
        self.let_go = true;
        self.by_key.remove(&(movement.key, id));
        if self.by_rrn.get(&movement.rrn) == Some(&id) {
            self.by_rrn.remove(&movement.rrn);
        }
        let link_stan = (movement.link, movement.sent_as.stan);
        if self.by_link_stan.get(&link_stan) == Some(&id) {
            self.by_link_stan.remove(&link_stan);
        }
        for numbers in movement.obligation.iter().flat_map(|o| [o.early, o.deciding]).flatten() {
            let reversal_stan = (movement.link.issuer, numbers.stan);
            if self.by_reversal_stan.get(&reversal_stan) == Some(&id) {
                self.by_reversal_stan.remove(&reversal_stan);
            }
        }
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
                may_answer || movement.begun_wall_ms.saturating_add(late_horizon_ms) > wall_ms
            })
        };
        let last = self.last_stan.get(&link).copied().unwrap_or(0);
        next_free(last, 1, FIRST_REVERSAL_STAN - 1, busy)
    }

    /// The next STAN for a reversal to an issuer (R0, K4).
    pub(crate) fn free_reversal_stan(&self, issuer: IssuerNo, late_horizon_ms: u64, wall_ms: u64) -> Option<Stan> {
        let busy = |stan| {
            self.by_reversal_stan.get(&(issuer, stan)).and_then(|id| self.movements.get(id)).is_some_and(|movement| {
                !movement.state.is_end() || movement.since_wall_ms.saturating_add(late_horizon_ms) > wall_ms
            })
        };
        let last = self.last_reversal_stan.get(&issuer).copied().unwrap_or(FIRST_REVERSAL_STAN - 1);
        next_free(last, FIRST_REVERSAL_STAN, LAST_STAN, busy)
    }

    /// Appends everything that a restore needs.
    pub(crate) fn snapshot(&self, out: &mut Vec<u8>) {
        FORMAT_VERSION.put(out);
        self.lsn.put(out);
        self.epoch.put(out);
        self.next_id.put(out);
        self.last_stan.put(out);
        self.last_reversal_stan.put(out);
        self.let_go.put(out);
        self.tombstones.put(out);
        self.exceptions.put(out);
        (self.movements.len() as u64).put(out);
        self.movements.values().for_each(|movement| movement.put(out));
    }

    /// The state of a snapshot.
    pub(crate) fn restore(bytes: &[u8], keep: Keep) -> Result<State, Damaged> {
        let mut from = bytes;
        if u8::take(&mut from)? != FORMAT_VERSION {
            return Err(Damaged { what: "snapshot of version 1" });
        }
        let mut state = State::new(keep);
        state.lsn = Stored::take(&mut from)?;
        state.epoch = Stored::take(&mut from)?;
        state.next_id = Stored::take(&mut from)?;
        state.last_stan = Stored::take(&mut from)?;
        state.last_reversal_stan = Stored::take(&mut from)?;
        state.let_go = Stored::take(&mut from)?;
        let tombstones: BTreeMap<(TerminalId, Stan), Tombstone> = Stored::take(&mut from)?;
        state.exceptions = Stored::take(&mut from)?;
        let movements: Vec<Movement> = Stored::take(&mut from)?;
        if !from.is_empty() {
            return Err(Damaged { what: "snapshot of this length" });
        }
        movements.into_iter().for_each(|movement| state.insert(movement));
        tombstones.into_iter().for_each(|((terminal, stan), tombstone)| state.bury(terminal, stan, tombstone));
        Ok(state)
    }
}

fn next_free(last: u32, first: u32, end: u32, busy: impl Fn(Stan) -> bool) -> Option<Stan> {
    let start = last.clamp(first - 1, end);
    (start + 1..=end).chain(first..=start).filter_map(|number| Stan::new(number).ok()).find(|stan| !busy(*stan))
}
