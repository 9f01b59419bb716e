//! The audit when all is quiet: three ledgers, terminal by terminal and purchase by purchase (I4 to I12).

use std::collections::{BTreeMap, BTreeSet};

use counterparts::terminal::{Belief, BeliefLine};
use iso8583::Rrn;
use switch::{Entry, Lsn, Switch};

use super::book::{Confirmer, Flag, Page, Standing};
use crate::plan::Profile;
use crate::queue::MS;
use crate::world::{START_WALL_MS, World};

/// D6, as the format writes it.
const D6: u8 = 26;

/// T5 and T7, as the format writes them.
const T5: u8 = 5;
const T7: u8 = 7;

/// What an operator said, as the format writes it.
const UNDONE_ELSEWHERE: u8 = 2;

/// `rekey_window` (D5, D6).
const REKEY_WINDOW_MS: u64 = 180_000;

/// What stands at the issuers, by RRN.
type Stands = BTreeMap<String, i64>;
/// The debits that it is made of.
type Debits = BTreeMap<String, Vec<i64>>;

impl World {
    /// Nothing is open but what a person has.
    pub(crate) fn is_settled(&self) -> bool {
        let Some(partition) = &self.machine.partition else { return false };
        partition.quiet() && partition.view().movements().all(|movement| !movement.is_open())
    }

    /// What is open, for people.
    pub(crate) fn unsettled(&self) -> String {
        let Some(partition) = &self.machine.partition else { return "the switch does not run".to_owned() };
        let open = partition.view().movements().filter(|movement| movement.is_open());
        let open: Vec<String> = open.take(5).map(|m| format!("{} {} owes {}", m.rrn, m.state.name(), m.owes())).collect();
        let busy = self.devices.iter().filter(|device| !device.is_idle()).count();
        format!("{busy} terminals busy; {}; {} exceptions", open.join(", "), partition.view().exceptions().len())
    }

    pub(crate) fn stands_at_issuers(&self, rrn: &Rrn) -> u64 {
        let rrn = rrn.to_string();
        let movements = self.hosts.iter().flat_map(|host| host.issuer.movements());
        movements.filter(|movement| movement.rrn == rrn.trim_end()).map(|movement| movement.net.unsigned_abs()).sum()
    }

    /// All that must hold at the end.
    pub(crate) fn audit_the_end(&mut self) {
        self.auditor.read_on(self.wall_ms(), &self.machine.storage);
        let mut wrong = std::mem::take(&mut self.auditor.book.wrong);
        for rule in std::mem::take(&mut self.auditor.book.seen) {
            self.out.coverage.rule(rule);
        }
        self.out.coverage.add(&self.auditor.coverage);
        let (mut stands, mut debits, mut untold) = (Stands::new(), Debits::new(), Debits::new());
        let mut twice = BTreeSet::new();
        for (number, host) in self.hosts.iter().enumerate() {
            let report = host.issuer.report(0);
            wrong.extend(report.ledger.inconsistencies.iter().map(|what| format!("I5: issuer {}: {what}", number + 1)));
            if report.ledger.negative_nets > 0 {
                wrong.push(format!("I5: issuer {}: {} negative", number + 1, report.ledger.negative_nets));
            }
            for movement in host.issuer.movements() {
                // T7: two debits, and nobody told the switch of both.
                let told = |second| self.was_told(&movement.rrn, &movement.stan, second);
                let known = told(true) && told(false);
                let unknown = if movement.second { !known } else { !told(false) };
                if unknown && movement.net > 0 {
                    untold.entry(movement.rrn.clone()).or_default().push(movement.net);
                }
                if movement.second {
                    twice.insert(movement.rrn.clone());
                }
                if movement.net > 0 {
                    debits.entry(movement.rrn.clone()).or_default().push(movement.net);
                }
                *stands.entry(movement.rrn).or_default() += movement.net;
            }
        }
        debits.retain(|rrn, _| twice.contains(rrn));
        untold.retain(|rrn, _| twice.contains(rrn));
        self.out.lost += self.stand_beside(&untold, &mut stands, |_| true);
        // What was judged after the horizon and never told to the switch: no switch could save it (R3).
        let late = self.hosts.iter().flat_map(|host| host.judged_late.iter());
        let lost: Vec<String> = late.filter(|rrn| self.could_not_be_saved(rrn, &stands)).cloned().collect();
        for rrn in &lost {
            stands.remove(rrn);
        }
        self.out.lost += lost.len() as u64;
        // T5, T7: a debit that stands beside what should is a person's, if an entry of the list names it.
        let flags = &self.auditor.book.flags;
        let listed = |id: u64| flags.iter().any(|flag| matches!(flag.rule, T5 | T7) && flag.movement == Some(id));
        self.out.flagged += self.stand_beside(&debits, &mut stands, listed);
        self.audit_movements(&stands, &mut wrong);
        self.audit_terminals(&stands, &mut wrong);
        self.audit_purchases(&stands, &mut wrong);
        self.audit_replay(&mut wrong);
        for what in wrong {
            self.violation(what);
        }
    }

    /// The journal never heard of the approval, and it stands.
    fn could_not_be_saved(&self, rrn: &str, stands: &Stands) -> bool {
        let page = self.auditor.book.by_rrn.get(rrn).and_then(|id| self.auditor.book.pages.get(id));
        let told = |page: &Page| {
            let stan = format!("{:06}", page.sent_as.0);
            [false, true].into_iter().any(|second| self.was_told(rrn, &stan, second))
        };
        !page.is_some_and(told)
            && stands.get(rrn).is_some_and(|net| *net > 0)
            && page.is_some_and(|page| page.stands() == Some(0) && !page.holds_approval)
            // It did its part: a reversal was promised for what had left.
            && page.is_some_and(|page| page.ever_promised && !page.never_left)
    }

    /// The switch heard of an approval while it could know what that was of: a clock that jumps over a start makes memory let
    /// go of what is younger than it seems (K7).
    fn was_told(&self, rrn: &str, stan: &str, second: bool) -> bool {
        let book = &self.auditor.book;
        let begun_ms = book.by_rrn.get(rrn).and_then(|id| book.pages.get(id)).map(|page| page.begun_ms);
        let told = self.machine.told_of.get(&(rrn.to_owned(), stan.to_owned(), second));
        told.zip(begun_ms).is_some_and(|(at, begun_ms)| !book.clock_jumped(begun_ms, START_WALL_MS + at / MS))
    }

    /// Takes out of `stands` the one of `debits` that stands beside what the journal says, and counts them.
    fn stand_beside(&self, debits: &Debits, stands: &mut Stands, excused: impl Fn(u64) -> bool) -> u64 {
        let book = &self.auditor.book;
        let mut beside = 0;
        for (rrn, debits) in debits {
            let Some((id, page)) = book.by_rrn.get(rrn).and_then(|id| Some((*id, book.pages.get(id)?))) else { continue };
            let Some(by_journal) = page.stands().map(|minor| minor as i64) else { continue };
            let too_much = stands.get(rrn).map_or(0, |stands| stands - by_journal);
            if debits.contains(&too_much) && excused(id) {
                stands.insert(rrn.clone(), by_journal);
                beside += 1;
            }
        }
        beside
    }

    /// I6, I10, I11: the issuers' net is what the journal says, and nothing is open.
    fn audit_movements(&self, stands: &Stands, wrong: &mut Vec<String>) {
        let book = &self.auditor.book;
        for page in book.pages.values() {
            let at_issuer = stands.get(&page.rrn).copied().unwrap_or(0);
            match page.stands() {
                Some(by_journal) if at_issuer != by_journal as i64 => wrong.push(format!(
                    "I6: {} of {} {:06}: the issuer has {at_issuer}, the journal {by_journal} ({:?})",
                    page.rrn, page.terminal, page.stan, page.standing
                )),
                Some(_) | None => {}
            }
            let open = matches!(
                page.standing,
                Standing::AwaitingIssuer
                    | Standing::AwaitingDelivery
                    | Standing::AwaitingConfirmation
                    | Standing::AwaitingReversalAck
                    | Standing::NeedsOperator
            );
            if open || page.owes.is_some() {
                wrong.push(format!("I11: {} is still {:?}, owes {:?}", page.rrn, page.standing, page.owes));
            }
            if page.standing == Standing::NeedsOperator && page.listed.is_none() && !page.ever_promised {
                wrong.push(format!("I11: no rule sent {} to an operator", page.rrn));
            }
        }
        for rrn in stands.keys().filter(|rrn| !book.by_rrn.contains_key(*rrn)) {
            wrong.push(format!("I1: the issuer moved money for {rrn}, of which the journal knows nothing"));
        }
    }

    /// I7, I8, I12: what terminals were told is so.
    fn audit_terminals(&self, stands: &Stands, wrong: &mut Vec<String>) {
        let book = &self.auditor.book;
        for (number, device) in self.devices.iter().enumerate() {
            for (at, belief) in device.terminal.beliefs().iter().enumerate() {
                let pages: Vec<&Page> = self.pages_of(number, belief).collect();
                let net: i64 = pages.iter().filter_map(|page| stands.get(&page.rrn)).sum();
                let decided = pages.iter().any(|page| page.verdict.is_some());
                // He asks the shop: what that holds he does not write off.
                let undone = |page: &&Page| page.verdict.is_some_and(|(what, _)| what != UNDONE_ELSEWHERE);
                let undone = pages.iter().any(undone) || decided && device.knows(at) != Some(true);
                let by_policy = pages.iter().any(|page| page.by_policy);
                // D11: what was reversed before it came is never executed.
                let answered_ms = belief.at.saturating_add_signed(-device.site.clock_error_s * 1000);
                let executed =
                    pages.iter().find(|page| page.begun_ms > answered_ms && !book.clock_jumped(answered_ms, page.begun_ms));
                if let (Belief::Reversed, Some(page)) = (belief.belief, executed) {
                    wrong.push(format!("D11: {} of terminal {number} began after its reversal was answered", page.rrn));
                }
                let who = || format!("terminal {number} {} of {}", belief.stan, belief.amount);
                let due = match device.knows(at) {
                    None => net,
                    Some(false) if belief.belief == Belief::Approved => 0,
                    Some(_) => belief.net(),
                };
                if net < due && !undone && !by_policy {
                    wrong.push(format!("I7: {}: {due} are to stand, the issuer has {net}: a good sale reversed", who()));
                }
                if net > due && !decided {
                    wrong.push(format!("I8: {}: {due} are to stand, the issuer has {net}", who()));
                }
                for page in pages.iter().filter(|page| page.standing == Standing::Confirmed) {
                    let true_word = match page.confirmed {
                        Some(Confirmer::Terminal) => device.completions.iter().any(|c| c.belief == at && c.completes),
                        Some(Confirmer::LaterRequest) => {
                            device.knows(at) == Some(true) && device.site.profile.reverses_first()
                        }
                        // That its deadline had passed, and that its group has one, is judged with the record.
                        Some(Confirmer::CutOver) => {
                            device.knows(at) != Some(false) && device.site.profile != Profile::Completes
                        }
                        None => false,
                    };
                    if !true_word {
                        wrong.push(format!(
                            "I12: {} {} is confirmed by {:?}, which is not so",
                            page.rrn,
                            who(),
                            page.confirmed
                        ));
                    }
                }
            }
        }
    }

    /// I9: at most one debit stands for a purchase, or it is flagged.
    fn audit_purchases(&mut self, stands: &Stands, wrong: &mut Vec<String>) {
        let mut flagged = 0;
        for (number, intent) in self.intents.iter().enumerate() {
            let device = &self.devices[intent.device];
            let beliefs = intent.beliefs.iter().filter_map(|at| device.terminal.beliefs().get(*at));
            let pages: Vec<&Page> = beliefs.flat_map(|belief| self.pages_of(intent.device, belief)).collect();
            let standing = |page: &&Page| stands.get(&page.rrn).is_some_and(|net| *net > 0);
            let mut standing: Vec<&Page> = pages.into_iter().filter(standing).collect();
            if standing.len() < 2 {
                continue;
            }
            let book = &self.auditor.book;
            standing.sort_unstable_by_key(|page| page.id);
            let reverses_first = device.site.profile.reverses_first();
            let known = |pair: &[&Page]| {
                let [first, second] = pair else { return true };
                // Each but the first is named by an entry, as the later of two.
                let equal =
                    |other: &Page| other.terminal == second.terminal && other.asked == second.asked && other.id < second.id;
                let is_flag = |flag: &Flag| {
                    let beside = flag.movement.and_then(|id| book.pages.get(&id));
                    flag.rule == D6 && flag.stan == second.stan && beside.is_some_and(equal)
                };
                let flagged = book.flags.iter().any(is_flag);
                // Keyed again when nobody looks for the one before it any more.
                let apart = second.begun_ms - first.begun_ms >= REKEY_WINDOW_MS;
                (flagged || apart) && !reverses_first
                    // Nothing of the first stood, until a person said so.
                    || first.verdict.is_some() && first.decided_ms >= second.begun_ms
                    || book.clock_jumped(first.begun_ms, second.begun_ms)
            };
            if standing.windows(2).all(known) {
                flagged += 1;
                continue;
            }
            let rrns: Vec<&str> = standing.iter().map(|page| page.rrn.as_str()).collect();
            wrong.push(format!(
                "I9: purchase {number} of terminal {} was charged as {} and not flagged",
                intent.device,
                rrns.join(" and ")
            ));
        }
        self.out.flagged += flagged;
    }

    /// I4: the records give the same state again.
    fn audit_replay(&self, wrong: &mut Vec<String>) {
        let Some(partition) = &self.machine.partition else { return };
        let mut core = Switch::new(self.machine.config().clone());
        let mut failed = None;
        let mut tail = super::Tail::default();
        tail.advance(&self.machine.storage, |lsn, payload| {
            let replayed = Entry::decode(payload).and_then(|entry| core.replay(Lsn(lsn), &entry));
            failed = failed.take().or(replayed.err().map(|error| format!("I4: record {lsn}: {error}")));
        });
        let (mut live, mut again) = (Vec::new(), Vec::new());
        partition.view().snapshot(&mut live);
        core.snapshot(&mut again);
        wrong.extend(failed);
        if core.lsn() != partition.view().lsn() || live != again {
            wrong.push("I4: replaying the records gives another state".to_owned());
        }
    }

    /// The pages of a terminal's request.
    fn pages_of<'a>(&'a self, device: usize, belief: &'a BeliefLine) -> impl Iterator<Item = &'a Page> {
        let terminal = std::str::from_utf8(self.devices[device].id.terminal()).unwrap_or_default();
        self.auditor.book.pages_of(terminal).filter(move |page| is_for(page, belief))
    }
}

fn is_for(page: &Page, belief: &BeliefLine) -> bool {
    page.asked == belief.amount
        && page.stan.to_string() == belief.stan.trim_start_matches('0')
        && page.class == belief.class
        && page.de7.as_deref() == Some(belief.de7.as_str())
}
