//! The issuer's books: accounts, movements, and the entries that every balance follows from.
//!
//! Knows no message and no response code. One purse per account in minor units, whatever the
//! currency of a movement: this issuer does not convert. Invariant: an account's opening balance
//! is what is available, plus what is held, plus what went to the acquirer; [`Ledger::check`]
//! derives all of them again from the entries and compares.

use std::collections::HashMap;

use iso8583::{Amount, Mti, Rrn, Stan};
use serde::{Deserialize, Serialize};

use crate::card::Card;

/// Index of an account, in the order of opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AccountId(u32);

/// Index of a movement, in the order of approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MovementId(u32);

/// What a movement does with the money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Set aside, still the cardholder's (0100).
    Hold,
    /// Gone to the acquirer (0200).
    Debit,
}

#[derive(Debug)]
struct Account {
    card: Card,
    opening: i64,
    available: i64,
    held: i64,
    /// What went to the acquirer.
    paid: i64,
}

/// What one request moved.
#[derive(Debug, Clone)]
pub(super) struct Movement {
    pub(super) account: AccountId,
    pub(super) kind: Kind,
    pub(super) rrn: Option<Rrn>,
    pub(super) stan: Stan,
    /// DE41 as it came.
    pub(super) terminal: Option<[u8; 8]>,
    pub(super) amount: Amount,
    pub(super) mti: Mti,
    /// Nobody asked for it: the second one of a request that was approved twice.
    pub(super) second: bool,
    /// What stands of it, in minor units.
    pub(super) net: u64,
}

/// One line of the books: money from the account to the hold or the acquirer, or back.
#[derive(Debug, Clone, Copy)]
struct Entry {
    at_ms: u64,
    movement: MovementId,
    /// Minor units; negative for what is given back.
    minor: i64,
}

/// Accounts, movements and entries.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    accounts: Vec<Account>,
    by_card: HashMap<Card, AccountId>,
    movements: Vec<Movement>,
    entries: Vec<Entry>,
}

impl Ledger {
    /// Opens an account; one that exists keeps its balance.
    pub(super) fn open(&mut self, card: Card, balance: u64) -> AccountId {
        if let Some(id) = self.by_card.get(&card) {
            return *id;
        }
        let opening = i64::try_from(balance).unwrap_or(i64::MAX);
        let id = AccountId(index(self.accounts.len()));
        self.by_card.insert(card.clone(), id);
        self.accounts.push(Account { card, opening, available: opening, held: 0, paid: 0 });
        id
    }

    pub(super) fn account_of(&self, card: &Card) -> Option<AccountId> {
        self.by_card.get(card).copied()
    }

    /// Available minor units.
    pub(super) fn available(&self, id: AccountId) -> i64 {
        self.accounts[id.0 as usize].available
    }

    pub(super) fn movement(&self, id: MovementId) -> &Movement {
        &self.movements[id.0 as usize]
    }

    /// Takes the movement's whole amount from its account; the caller has judged that it may.
    pub(super) fn take(&mut self, at_ms: u64, movement: Movement) -> MovementId {
        let id = MovementId(index(self.movements.len()));
        let minor = signed(movement.net);
        self.movements.push(movement);
        self.post(Entry { at_ms, movement: id, minor });
        id
    }

    /// Takes the amount of a movement once more, whatever is available: nobody asked for it.
    pub(super) fn take_again(&mut self, at_ms: u64, id: MovementId) -> MovementId {
        let first = self.movement(id).clone();
        self.take(at_ms, Movement { second: true, net: first.amount.minor(), ..first })
    }

    /// Gives back what stands above `remains`. False if nothing did.
    pub(super) fn give_back(&mut self, at_ms: u64, id: MovementId, remains: u64) -> bool {
        let movement = &mut self.movements[id.0 as usize];
        let Some(back) = movement.net.checked_sub(remains).filter(|back| *back > 0) else {
            return false;
        };
        movement.net = remains;
        self.post(Entry { at_ms, movement: id, minor: -signed(back) });
        true
    }

    fn post(&mut self, entry: Entry) {
        let movement = &self.movements[entry.movement.0 as usize];
        let account = &mut self.accounts[movement.account.0 as usize];
        account.available -= entry.minor;
        match movement.kind {
            Kind::Hold => account.held += entry.minor,
            Kind::Debit => account.paid += entry.minor,
        }
        self.entries.push(entry);
    }

    /// Every movement, oldest first.
    pub(super) fn movements(&self) -> Vec<MovementLine> {
        self.movements.iter().map(MovementLine::of).collect()
    }

    /// Accounts, the newest `entries_max` entries, and the check.
    pub(super) fn report(&self, entries_max: usize) -> LedgerReport {
        let newest = self.entries.len().saturating_sub(entries_max);
        let inconsistencies = self.check();
        LedgerReport {
            accounts: self.accounts.iter().map(AccountLine::of).collect(),
            held: self.accounts.iter().map(|account| account.held).sum(),
            paid: self.accounts.iter().map(|account| account.paid).sum(),
            entries_total: self.entries.len(),
            entries: self.entries[newest..].iter().map(|entry| self.line(entry)).collect(),
            consistent: inconsistencies.is_empty(),
            inconsistencies,
            negative_nets: self.nets().into_iter().filter(|net| *net < 0).count(),
            approved_more_than_once: self.approved_more_than_once(),
        }
    }

    fn line(&self, entry: &Entry) -> EntryLine {
        let movement = &self.movements[entry.movement.0 as usize];
        let kind = match (movement.kind, entry.minor < 0) {
            (Kind::Hold, false) => EntryKind::Hold,
            (Kind::Hold, true) => EntryKind::Release,
            (Kind::Debit, false) => EntryKind::Debit,
            (Kind::Debit, true) => EntryKind::GiveBack,
        };
        EntryLine {
            at_ms: entry.at_ms,
            card: self.accounts[movement.account.0 as usize].card.to_string(),
            rrn: rrn_text(movement.rrn),
            kind,
            amount: entry.minor.unsigned_abs(),
        }
    }

    /// What stands of each movement, derived from the entries alone.
    fn nets(&self) -> Vec<i64> {
        let mut nets = vec![0; self.movements.len()];
        for entry in &self.entries {
            nets[entry.movement.0 as usize] += entry.minor;
        }
        nets
    }

    /// Derives every balance again from the entries; says what differs.
    fn check(&self) -> Vec<String> {
        let mut derived: Vec<_> = self.accounts.iter().map(|a| (a.opening, 0, 0)).collect();
        let mut wrong = Vec::new();
        for (movement, net) in self.movements.iter().zip(self.nets()) {
            let account = &mut derived[movement.account.0 as usize];
            account.0 -= net;
            match movement.kind {
                Kind::Hold => account.1 += net,
                Kind::Debit => account.2 += net,
            }
            if net != signed(movement.net) || !(0..=signed(movement.amount.minor())).contains(&net) {
                let rrn = rrn_text(movement.rrn);
                wrong.push(format!("movement {rrn}: entries say {net}, it says {}", movement.net));
            }
        }
        for (account, derived) in self.accounts.iter().zip(derived) {
            let kept = (account.available, account.held, account.paid);
            if kept != derived || kept.0 + kept.1 + kept.2 != account.opening {
                wrong.push(format!("account {}: entries say {derived:?}, it says {kept:?}", account.card));
            }
        }
        wrong
    }

    /// An auditor's question: was any RRN ever approved more than once?
    fn approved_more_than_once(&self) -> Vec<RrnCount> {
        let mut counts: HashMap<Rrn, usize> = HashMap::new();
        for rrn in self.movements.iter().filter_map(|movement| movement.rrn) {
            *counts.entry(rrn).or_default() += 1;
        }
        let mut more: Vec<_> = counts
            .into_iter()
            .filter(|(_, times)| *times > 1)
            .map(|(rrn, times)| RrnCount { rrn: rrn.to_string(), times })
            .collect();
        more.sort_by(|a, b| a.rrn.cmp(&b.rrn));
        more
    }
}

/// A memory-sized index as 32 bits; more movements than that do not fit the memory of a test.
fn index(len: usize) -> u32 {
    u32::try_from(len).expect("fewer than 2^32 entries fit in memory")
}

/// Minor units with a sign; DE4 has at most 12 digits.
fn signed(minor: u64) -> i64 {
    i64::try_from(minor).unwrap_or(i64::MAX)
}

fn rrn_text(rrn: Option<Rrn>) -> String {
    rrn.map(|rrn| rrn.to_string()).unwrap_or_default()
}

/// One movement, as `GET /movements` gives it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct MovementLine {
    /// DE37 without padding; empty if the request carried none.
    pub rrn: String,
    /// DE11 on this link, 6 digits.
    pub stan: String,
    /// DE41 without padding.
    pub terminal: String,
    /// DE4 in minor units.
    pub amount: u64,
    /// DE49.
    pub currency: String,
    /// The request's MTI as it came.
    pub mti: String,
    /// True when all of it was given back.
    pub reversed: bool,
    /// What stands, in minor units.
    pub net: i64,
    /// True for the second movement of a request that the issuer approved twice by a fault.
    #[serde(default, skip_serializing_if = "is_false")]
    pub second: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl MovementLine {
    fn of(movement: &Movement) -> Self {
        let terminal = movement.terminal.unwrap_or_default();
        Self {
            rrn: rrn_text(movement.rrn),
            stan: movement.stan.to_string(),
            terminal: String::from_utf8_lossy(&terminal).trim_end_matches([' ', '\0']).to_owned(),
            amount: movement.amount.minor(),
            currency: movement.amount.currency().to_string(),
            mti: movement.mti.to_string(),
            reversed: movement.net == 0,
            net: signed(movement.net),
            second: movement.second,
        }
    }
}

/// The books, as `GET /ledger` gives them. All amounts in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct LedgerReport {
    /// In the order of opening.
    pub accounts: Vec<AccountLine>,
    /// Sum of all holds.
    pub held: i64,
    /// Sum of all debits that stand: what the acquirer is owed.
    pub paid: i64,
    /// How many entries there are.
    pub entries_total: usize,
    /// The newest of them, oldest first.
    pub entries: Vec<EntryLine>,
    /// True when every balance follows from the entries.
    pub consistent: bool,
    /// What does not, in words.
    pub inconsistencies: Vec<String>,
    /// Movements of which more was given back than taken; never.
    pub negative_nets: usize,
    /// RRNs under which money moved more than once.
    pub approved_more_than_once: Vec<RrnCount>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct AccountLine {
    /// Masked.
    pub card: String,
    /// Balance when it was opened.
    pub opening: i64,
    /// What can be spent.
    pub balance: i64,
    /// What is held.
    pub held: i64,
    /// What went to the acquirer.
    pub paid: i64,
}

impl AccountLine {
    fn of(account: &Account) -> Self {
        Self {
            card: account.card.to_string(),
            opening: account.opening,
            balance: account.available,
            held: account.held,
            paid: account.paid,
        }
    }
}

/// One entry of the books.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct EntryLine {
    /// Milliseconds since 1970, UTC.
    pub at_ms: u64,
    /// Masked.
    pub card: String,
    /// DE37 of the movement; empty if it has none.
    pub rrn: String,
    /// What it does.
    pub kind: EntryKind,
    /// Minor units.
    pub amount: u64,
}

/// What an entry does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// From the account into a hold.
    Hold,
    /// From a hold back to the account.
    Release,
    /// From the account to the acquirer.
    Debit,
    /// From the acquirer back to the account.
    GiveBack,
}

/// How often an RRN was approved.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct RrnCount {
    /// DE37 without padding.
    pub rrn: String,
    /// How many movements carry it.
    pub times: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use iso8583::Currency;

    fn movement(account: AccountId, kind: Kind, minor: u64) -> Movement {
        Movement {
            account,
            kind,
            rrn: "532604000001".parse().ok(),
            stan: Stan::new(7).unwrap(),
            terminal: Some(*b"TERM0001"),
            amount: Amount::new(minor, Currency::new(*b"978")).unwrap(),
            mti: Mti::new(b"0200"),
            second: false,
            net: minor,
        }
    }

    fn ledger() -> (Ledger, AccountId) {
        let mut ledger = Ledger::default();
        let id = ledger.open("4000001234567899".parse().unwrap(), 1000);
        (ledger, id)
    }

    #[test]
    fn holds_and_debits_leave_the_available_balance_and_come_back() {
        let (mut ledger, account) = ledger();
        let debit = ledger.take(1, movement(account, Kind::Debit, 300));
        let hold = ledger.take(2, movement(account, Kind::Hold, 200));
        assert_eq!(ledger.available(account), 500);
        assert!(ledger.give_back(3, debit, 100));
        assert!(!ledger.give_back(4, debit, 100), "nothing above what remains");
        assert!(ledger.give_back(5, hold, 0));
        let report = ledger.report(2);
        assert_eq!(ledger.available(account), 900);
        assert_eq!((report.paid, report.held), (100, 0));
        assert_eq!((report.entries_total, report.entries.len()), (4, 2));
        assert!(report.consistent, "{:?}", report.inconsistencies);
    }

    #[test]
    fn the_check_finds_a_balance_that_does_not_follow_from_the_entries() {
        let (mut ledger, account) = ledger();
        ledger.take(1, movement(account, Kind::Debit, 300));
        ledger.accounts[0].available += 1;
        assert!(!ledger.report(0).consistent);
    }

    #[test]
    fn the_check_finds_a_negative_net_and_an_rrn_approved_twice() {
        let (mut ledger, account) = ledger();
        let id = ledger.take(1, movement(account, Kind::Debit, 300));
        ledger.take(1, movement(account, Kind::Debit, 300));
        ledger.post(Entry { at_ms: 2, movement: id, minor: -301 });
        let report = ledger.report(0);
        assert_eq!(report.negative_nets, 1);
        assert!(!report.consistent);
        let twice = RrnCount { rrn: "532604000001".to_owned(), times: 2 };
        assert_eq!(report.approved_more_than_once, [twice]);
    }

    #[test]
    fn an_account_that_exists_keeps_its_balance_when_opened_again() {
        let (mut ledger, account) = ledger();
        ledger.take(1, movement(account, Kind::Debit, 300));
        assert_eq!(ledger.open("4000001234567899".parse().unwrap(), 9), account);
        assert_eq!(ledger.available(account), 700);
    }
}
