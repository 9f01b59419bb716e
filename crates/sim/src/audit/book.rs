//! What the journal's records say of each movement, told again by somebody who knows the law and not the core.
//!
//! Invariant: a [`Page`] says how a movement ended by the records alone.

use std::collections::BTreeMap;

use switch::{AtDeadline, Group, GroupNo};

use super::bytes::{Cursor, Unreadable};

/// Where a movement stands by its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    AwaitingIssuer,
    AwaitingDelivery,
    AwaitingConfirmation,
    AwaitingReversalAck,
    NeedsOperator,
    Declined,
    Confirmed,
    Unwound,
    Resolved,
}

impl Standing {
    fn of(tag: u8) -> Result<Standing, Unreadable> {
        use Standing::*;
        let all = [
            AwaitingIssuer,
            AwaitingDelivery,
            AwaitingConfirmation,
            AwaitingReversalAck,
            NeedsOperator,
            Declined,
            Confirmed,
            Unwound,
            Resolved,
        ];
        all.get(usize::from(tag).wrapping_sub(1)).copied().ok_or(Unreadable)
    }
}

/// How much a promise undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    AllBut(u64),
    OneApproval,
}

/// Who says that a movement is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmer {
    LaterRequest,
    Terminal,
    CutOver,
}

/// One movement's page.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) id: u64,
    pub(crate) rrn: String,
    /// DE41 as the terminal sent it.
    pub(crate) terminal: String,
    pub(crate) stan: u32,
    /// 1 authorisation, 2 financial.
    pub(crate) class: u8,
    /// DE7 as the terminal sent it.
    pub(crate) de7: Option<String>,
    pub(crate) asked: u64,
    /// DE11 and DE7 towards the issuer.
    pub(crate) sent_as: (u32, String),
    group: GroupNo,
    /// When its intent was written: true time, milliseconds since 1970.
    pub(crate) begun_ms: u64,
    /// Since when it awaits its confirmation (C3), and from when the crossing margin counts (C1): true time.
    awaits_since_ms: u64,
    handed_ms: u64,
    /// Its terminal, which does one thing at a time, has begun another (T10).
    abandoned: bool,
    /// Acknowledgements that settled nothing, and starts of the process, since it owes.
    trials: u32,
    /// An answer of the issuer is known.
    pub(crate) answered: bool,
    /// By the records it never left for the issuer.
    pub(crate) never_left: bool,
    pub(crate) approved: Option<u64>,
    remains: Option<u64>,
    /// What remains by the partial reversals that the issuer acknowledged.
    pub(crate) acknowledged: Option<u64>,
    pub(crate) standing: Standing,
    /// An open promise, and how much it undoes.
    pub(crate) owes: Option<Scope>,
    /// It ever promised to undo some of it.
    pub(crate) ever_promised: bool,
    /// It was reversed at its deadline, rightly (C3).
    pub(crate) by_policy: bool,
    pub(crate) confirmed: Option<Confirmer>,
    /// The rule that a person was called by.
    pub(crate) listed: Option<u8>,
    /// What an operator said: stands, undone elsewhere, adjusted to.
    pub(crate) verdict: Option<(u8, u64)>,
    /// When: true time.
    pub(crate) decided_ms: u64,
    pub(crate) holds_approval: bool,
    /// What the records say of the answer's way: 1 offered, 3 handed, 4 seen, 5 unknown.
    evidence: u8,
}

const OFFERED: u8 = 1;
const HANDED: u8 = 3;
const SEEN: u8 = 4;
const UNKNOWN: u8 = 5;
/// D12, C3 and K2, as the format writes them.
const D12: u8 = 32;
const C3: u8 = 43;
const K2: u8 = 52;

impl Page {
    /// Its terminal is known to have its answer.
    fn is_handed(&self) -> bool {
        matches!(self.evidence, HANDED | SEEN)
    }

    /// From now on it waits for a confirmation.
    fn awaits_confirmation(&mut self, now_ms: u64) {
        if self.standing != Standing::AwaitingConfirmation {
            self.standing = Standing::AwaitingConfirmation;
            (self.awaits_since_ms, self.handed_ms) = (now_ms, now_ms);
        }
    }

    /// A person has it, and its right reversal is a promise all the same (D7, D8): nothing of it is undone or being undone,
    /// something may stand, and the person was not called by the terminal's reversal itself (D12).
    pub(crate) fn can_be_promised(&self) -> bool {
        let undone = self.owes.is_some() || self.acknowledged.is_some() || self.answered && !self.holds_approval;
        self.standing == Standing::NeedsOperator && !undone && self.listed != Some(D12)
    }

    /// What has to stand at the issuer; `None` where only a person can tell.
    pub(crate) fn stands(&self) -> Option<u64> {
        let whole = || self.remains.unwrap_or(self.approved.unwrap_or(self.asked));
        match self.standing {
            Standing::AwaitingIssuer | Standing::NeedsOperator => None,
            Standing::AwaitingDelivery | Standing::AwaitingConfirmation | Standing::Confirmed => Some(whole()),
            Standing::AwaitingReversalAck | Standing::Declined | Standing::Unwound => Some(0),
            Standing::Resolved => match self.verdict? {
                (1, _) => Some(whole()),
                (3, minor) => Some(minor),
                (_, _) => Some(0),
            },
        }
    }
}

/// An entry for a person, which the switch has not closed by itself.
#[derive(Clone, Debug)]
pub(crate) struct Flag {
    /// The record that made it.
    lsn: u64,
    /// The rule's number in the format.
    pub(crate) rule: u8,
    /// The terminal's.
    pub(crate) stan: u32,
    pub(crate) movement: Option<u64>,
}

/// All that the records say.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) pages: BTreeMap<u64, Page>,
    pub(crate) by_rrn: BTreeMap<String, u64>,
    by_terminal: BTreeMap<String, Vec<u64>>,
    pub(crate) flags: Vec<Flag>,
    pub(crate) tombstones: Vec<(String, u32)>,
    /// Rules that records show at work.
    pub(crate) seen: Vec<&'static str>,
    /// Movements whose promise an acknowledgement ended, since the auditor looked.
    pub(crate) ended: Vec<u64>,
    groups: BTreeMap<GroupNo, Group>,
    /// When a money request came in first, by terminal, STAN and DE7: true time.
    pub(crate) came: BTreeMap<(String, u32, Option<String>), u64>,
    /// How wrong the wall clock was at each start, by what it said then.
    pub(crate) clocks: BTreeMap<u64, i64>,
    /// How wrong the clock of records is in this life of the process: it is set at the start (K7).
    clock_error_ms: i64,
    /// The starts at which that changed, and the newest start: true time.
    clock_jumps: Vec<u64>,
    started_ms: u64,
    /// True time of the record that is being read, and of who reads.
    now_ms: u64,
    pub(crate) true_ms: u64,
    /// What no book should say.
    pub(crate) wrong: Vec<String>,
}

type Read<T> = Result<T, Unreadable>;

impl Book {
    /// `groups`: what the switch is told of its terminals.
    pub(crate) fn new(groups: BTreeMap<GroupNo, Group>) -> Book {
        Book { groups, ..Book::default() }
    }

    /// Takes one record.
    pub(crate) fn take(&mut self, lsn: u64, payload: &[u8]) {
        if self.read(lsn, &mut Cursor(payload)).is_err() {
            self.wrong.push(format!("record {lsn} cannot be read"));
        }
    }

    fn read(&mut self, lsn: u64, from: &mut Cursor<'_>) -> Read<()> {
        let (version, _partition, wall_ms, kind) = (from.u8()?, from.u8()?, from.u64()?, from.u8()?);
        if version != 1 {
            return Err(Unreadable);
        }
        if kind == 1 {
            self.starts(wall_ms);
        }
        let before_ms = std::mem::replace(&mut self.now_ms, wall_ms.saturating_add_signed(-self.clock_error_ms));
        let now_ms = self.now_ms;
        // Clocks count whole milliseconds, each from its own beginning.
        if now_ms + 1 < before_ms || now_ms > self.true_ms + 1 {
            self.wrong.push(format!("K7: a record was written at {now_ms}, after {before_ms} and before {}", self.true_ms));
        }
        match kind {
            2 => self.intent(from)?,
            3 => {
                let (id, answer, to) = (from.u64()?, answer(from)?, Standing::of_next(from)?);
                let evidence = from.u8()?;
                let page = self.page(id)?;
                page.evidence = evidence;
                page.answered = true;
                page.approved = answer.amount.or(page.approved);
                page.holds_approval = answer.moved;
                let wrong = page.abandoned.then(|| format!("T10: {} was abandoned and got its answer", page.rrn));
                page.standing = to;
                self.wrong.extend(wrong);
            }
            4 => {
                let page = self.page(from.u64()?)?;
                let given_up = matches!(page.standing, Standing::AwaitingReversalAck | Standing::NeedsOperator);
                page.standing = if given_up { Standing::Unwound } else { Standing::Declined };
                page.owes = None;
                page.never_left = true;
            }
            5 => {
                let (id, evidence) = (from.u64()?, from.u8()?);
                let page = self.page(id)?;
                page.evidence = evidence;
                // What a person has stays with him, and so does what has ended.
                if matches!(page.standing, Standing::AwaitingDelivery | Standing::AwaitingConfirmation) {
                    match evidence {
                        HANDED | SEEN | UNKNOWN => page.awaits_confirmation(now_ms),
                        _ => page.standing = Standing::AwaitingDelivery,
                    }
                }
            }
            6 => {
                let (id, rule, _reason, scope) = (from.u64()?, from.u8()?, from.u8()?, scope(from)?);
                if rule == C3 {
                    self.at_deadline(id, "C3", AtDeadline::Reverse)?;
                }
                let page = self.page(id)?;
                page.by_policy |= rule == C3;
                page.owes = Some(scope);
                page.ever_promised = true;
                match scope {
                    Scope::All => page.standing = Standing::AwaitingReversalAck,
                    Scope::AllBut(remains) => page.remains = Some(remains),
                    Scope::OneApproval => {}
                }
            }
            8 => {
                let (id, code, verdict) = (from.u64()?, from.text(2)?, from.u8()?);
                let page = self.page(id)?;
                let seen = match (verdict, code.as_str(), page.trials) {
                    (1, _, 0) => None,
                    (1, _, _) => Some("M4"),
                    (3, "00", _) => Some("R3"),
                    (3, _, _) => Some("R4"),
                    (_, _, _) => None,
                };
                page.trials += 1;
                match (verdict, page.owes) {
                    (1, Some(Scope::All)) => {
                        page.standing = Standing::Unwound;
                        page.owes = None;
                        self.ended.push(id);
                    }
                    (1, Some(Scope::AllBut(remains))) => {
                        page.acknowledged = Some(remains);
                        page.owes = None;
                    }
                    (1, _) => page.owes = None,
                    (2, _) => page.standing = Standing::NeedsOperator,
                    (_, _) => {}
                }
                self.seen.extend(seen);
            }
            9 => {
                let (id, answer) = (from.u64()?, answer(from)?);
                let page = self.page(id)?;
                page.answered = true;
                page.approved = answer.amount.or(page.approved);
                page.holds_approval = answer.moved;
            }
            10 => {
                let (id, by) = (from.u64()?, from.u8()?);
                if by == 3 {
                    self.at_deadline(id, "I12", AtDeadline::Confirm)?;
                }
                let page = self.page(id)?;
                page.standing = Standing::Confirmed;
                page.confirmed = Some(match by {
                    1 => Confirmer::LaterRequest,
                    2 => Confirmer::Terminal,
                    3 => Confirmer::CutOver,
                    _ => return Err(Unreadable),
                });
            }
            11 => {
                let (id, rule) = (from.u64()?, from.u8()?);
                match rule {
                    C3 => self.at_deadline(id, "C3", AtDeadline::Operator)?,
                    K2 => self.unknown_at_deadline(id)?,
                    _ => {}
                }
                let page = self.page(id)?;
                page.standing = Standing::NeedsOperator;
                page.listed = Some(rule);
            }
            13 => {
                let (rule, _terminal, stan) = (from.u8()?, from.text(23)?, from.u32()?);
                let movement = from.option(Cursor::u64)?;
                self.flags.push(Flag { lsn, rule, stan, movement });
            }
            14 => {
                let (terminal, stan) = (from.text(23)?, from.u32()?);
                self.tombstones.push((terminal[..8].to_owned(), stan));
            }
            17 => {
                let (id, resolution) = (from.u64()?, from.u8()?);
                let minor = if resolution == 3 { from.u64()? } else { 0 };
                let page = self.page(id)?;
                if resolution != 4 {
                    page.remains = page.acknowledged;
                    page.standing = Standing::Resolved;
                    page.owes = None;
                    (page.verdict, page.decided_ms) = (Some((resolution, minor)), now_ms);
                }
            }
            1 => {
                let owing = self.pages.values_mut().filter(|page| page.owes.is_some());
                owing.for_each(|page| page.trials += 1);
                for page in self.pages.values_mut() {
                    if page.standing == Standing::AwaitingDelivery && page.evidence == OFFERED {
                        page.awaits_confirmation(now_ms);
                        page.evidence = UNKNOWN;
                    }
                    // K2: margins count from the restart.
                    page.handed_ms = now_ms;
                }
            }
            18 => {
                let (entry, who) = (from.u64()?, from.string()?);
                self.flags.retain(|flag| flag.lsn != entry || who != "switch");
            }
            // Numbers of reversals, reversals that changed nothing, recalled movements, STANs of network messages, second
            // approvals, keys and marks of cards: nothing of it moves what stands.
            7 | 12 | 15 | 16 | 19 | 20 | 21 => {}
            _ => return Err(Unreadable),
        }
        Ok(())
    }

    /// The pages of a terminal.
    pub(crate) fn pages_of(&self, terminal: &str) -> impl Iterator<Item = &Page> {
        self.by_terminal.get(terminal).into_iter().flatten().filter_map(|id| self.pages.get(id))
    }

    fn page(&mut self, id: u64) -> Read<&mut Page> {
        self.pages.get_mut(&id).ok_or(Unreadable)
    }

    /// A process begins: its records' clock is what the wall clock is now, and goes on with the uptime (K7).
    fn starts(&mut self, wall_ms: u64) {
        let error_ms = self.clocks.get(&wall_ms).copied().unwrap_or(0);
        let before = std::mem::replace(&mut self.clock_error_ms, error_ms);
        self.started_ms = wall_ms.saturating_add_signed(-self.clock_error_ms);
        if before != self.clock_error_ms {
            self.clock_jumps.push(self.started_ms);
        }
    }

    /// The clock of records jumped after the one and not after the other: an age between them is not what it seems (K7).
    pub(crate) fn clock_jumped(&self, after_ms: u64, until_ms: u64) -> bool {
        self.clock_jumps.iter().any(|at_ms| (after_ms..=until_ms).contains(at_ms))
    }

    /// C3: silence decides by the group's policy, after the deadline, and only on what is known to be handed.
    fn at_deadline(&mut self, id: u64, name: &str, policy: AtDeadline) -> Read<()> {
        self.deadline_passed(id)?;
        let page = self.pages.get(&id).ok_or(Unreadable)?;
        let group = self.groups.get(&page.group).ok_or(Unreadable)?;
        let rightly = group.at_deadline == policy && group.confirm_within_ms.is_none();
        if !page.is_handed() || page.standing != Standing::AwaitingConfirmation {
            self.wrong.push(format!("{name}: silence decides on {}, which was not handed", page.rrn));
        } else if !rightly {
            self.wrong.push(format!("{name}: silence decides on {}: {policy:?}, which is not its group's policy", page.rrn));
        }
        Ok(())
    }

    /// K2: what nobody knows to be handed is a person's at the deadline, and nothing else is.
    fn unknown_at_deadline(&mut self, id: u64) -> Read<()> {
        self.deadline_passed(id)?;
        let page = self.pages.get(&id).ok_or(Unreadable)?;
        if page.is_handed() {
            self.wrong.push(format!("K2: {} is listed as unknown and was handed", page.rrn));
        }
        Ok(())
    }

    fn deadline_passed(&mut self, id: u64) -> Read<()> {
        let page = self.pages.get(&id).ok_or(Unreadable)?;
        let group = self.groups.get(&page.group).ok_or(Unreadable)?;
        let waited_ms = self.now_ms.saturating_sub(page.awaits_since_ms);
        // The switch counts whole milliseconds of its own.
        let early = waited_ms + 1 < group.confirm_deadline_ms;
        if early && !self.clock_jumped(page.awaits_since_ms, self.now_ms) {
            self.wrong.push(format!("C3: silence decides on {} after {waited_ms} ms", page.rrn));
        }
        if page.awaits_since_ms < self.started_ms {
            self.seen.push("K7");
        }
        Ok(())
    }

    /// C1: a later request of a terminal that reverses first confirms what was handed before the crossing margin.
    fn confirms_earlier(&mut self, later: &Page) {
        let Some(group) = self.groups.get(&later.group).filter(|group| group.serial && group.reverses_first) else { return };
        let came = self.came.get(&(later.terminal.clone(), later.stan, later.de7.clone())).copied().unwrap_or(0);
        let missed = self.pages_of(&later.terminal).find(|page| {
            page.standing == Standing::AwaitingConfirmation
                && (page.is_handed() || page.evidence == UNKNOWN)
                && page.handed_ms + group.crossing_margin_ms < came
        });
        let wrong = missed.map(|page| format!("C1: {} is not confirmed by {}, which came later", page.rrn, later.rrn));
        self.wrong.extend(wrong);
    }

    fn intent(&mut self, from: &mut Cursor<'_>) -> Read<()> {
        let id = from.u64()?;
        let rrn = from.text(12)?;
        from.option(|from| from.bytes(12))?;
        let (terminal, stan, class) = (from.text(23)?, from.u32()?, from.u8()?);
        let group = GroupNo(from.u16()?);
        let _processing = from.bytes(6)?;
        let (asked, _currency) = (from.u64()?, from.bytes(3)?);
        from.option(|from| from.bytes(16))?;
        let _references = from.u64()?;
        from.option(Cursor::u64)?;
        from.option(|from| {
            // Key number, nonce, ciphertext; HMAC; masked number.
            from.bytes(2 + 12 + 36 + 16)?;
            from.string()
        })?;
        let (_issuer, _link) = (from.u16()?, from.u16()?);
        let sent_as = (from.u32()?, from.text(10)?);
        let _local_time = from.option(|from| from.bytes(10))?;
        let de7 = from.option(|from| from.text(10))?;
        let page = Page {
            id,
            rrn: rrn.trim_end().to_owned(),
            terminal: terminal[..8].to_owned(),
            stan,
            class,
            de7,
            asked,
            sent_as,
            group,
            begun_ms: self.now_ms,
            awaits_since_ms: 0,
            handed_ms: 0,
            abandoned: false,
            trials: 0,
            answered: false,
            never_left: false,
            approved: None,
            remains: None,
            acknowledged: None,
            standing: Standing::AwaitingIssuer,
            owes: None,
            ever_promised: false,
            by_policy: false,
            confirmed: None,
            listed: None,
            verdict: None,
            decided_ms: 0,
            holds_approval: false,
            evidence: 0,
        };
        self.confirms_earlier(&page);
        if self.groups.get(&group).is_some_and(|group| group.serial) {
            for other in self.by_terminal.get(&page.terminal).into_iter().flatten() {
                let other = self.pages.get_mut(other).ok_or(Unreadable)?;
                other.abandoned |= other.standing == Standing::AwaitingIssuer;
            }
        }
        self.by_terminal.entry(page.terminal.clone()).or_default().push(id);
        if self.by_rrn.insert(page.rrn.clone(), id).is_some() {
            self.wrong.push(format!("I3: RRN {} names two movements", page.rrn));
        }
        if self.pages.insert(id, page).is_some() {
            self.wrong.push(format!("movement {id} begins twice"));
        }
        Ok(())
    }
}

impl Standing {
    fn of_next(from: &mut Cursor<'_>) -> Read<Standing> {
        Standing::of(from.u8()?)
    }
}

struct Said {
    amount: Option<u64>,
    moved: bool,
}

fn answer(from: &mut Cursor<'_>) -> Read<Said> {
    let _code = from.bytes(2)?;
    from.option(|from| from.bytes(6))?;
    let amount = from.option(|from| {
        let minor = from.u64()?;
        from.bytes(3)?;
        Ok(minor)
    })?;
    from.option(Cursor::string)?;
    let moved = from.u8()? == 1;
    let _wall = from.u64()?;
    Ok(Said { amount, moved })
}

fn scope(from: &mut Cursor<'_>) -> Read<Scope> {
    match from.u8()? {
        1 => Ok(Scope::All),
        2 => Ok(Scope::AllBut(from.u64()?)),
        3 => from.bytes(6).map(|_| Scope::OneApproval),
        // With an amount of its own.
        4 => {
            from.bytes(6)?;
            from.option(Cursor::u64)?;
            Ok(Scope::OneApproval)
        }
        _ => Err(Unreadable),
    }
}
