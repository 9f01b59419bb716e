//! The auditor: judges from outside whether the money rules' invariants I1 to I12 hold.
//!
//! Reads the issuers' ledgers, the terminals' beliefs, the purchases that customers meant, and the journal's bytes; shares no
//! code with the core, the journal or the outbox. Invariant: it changes nothing, so that a run with it and one without are
//! the same run.

mod book;
mod bytes;
mod end;

use std::collections::{BTreeMap, BTreeSet};

use iso8583::Fields;
use journal::memory::MemStorage;
use switch::{Group, GroupNo, LinkNo};

use crate::coverage::Coverage;
use book::{Book, Standing};
use bytes::Tail;

/// R3: an acknowledgement without an answer counts from then on, after the request left, in milliseconds.
const HORIZON_MS: u64 = 30_000;

/// A STAN of a link is not used again for so long (K4), in milliseconds.
const LATE_HORIZON_MS: u64 = 600_000;

/// Who looks on.
pub(crate) struct Auditor {
    blind: bool,
    keeps_early: Vec<LinkNo>,
    takes_less: BTreeSet<String>,
    tail: Tail,
    pub(crate) book: Book,
    /// A fingerprint of every durable record, by LSN less one.
    prints: Vec<u32>,
    /// The first record that was read again with another fingerprint.
    changed: Option<u64>,
    /// Who used a STAN of a link last, and when.
    stans: BTreeMap<(LinkNo, String), (String, u64)>,
    /// Whose (DE7, STAN) it was: a request's by issuer and link, a reversal's by issuer.
    numbers: BTreeMap<(u16, String), String>,
    /// The link that a request left by, and when.
    left: BTreeMap<String, (LinkNo, u64)>,
    /// When a reversal left first under a STAN, by RRN and STAN.
    reversal_left: BTreeMap<(String, String), u64>,
    /// The latest of them that the issuer acknowledged.
    acknowledged: BTreeMap<String, u64>,
    /// The STANs of the originals that a terminal's reversals named, by terminal and the reversal's own STAN.
    reversals_asked: BTreeMap<(String, String), BTreeSet<u32>>,
    /// The life of the process in which a request left last.
    used_in: BTreeMap<LinkNo, u32>,
    /// The life of the process in which a reversal left first.
    reversed_in: BTreeMap<String, u32>,
    pub(crate) coverage: Coverage,
}

impl Auditor {
    /// `keeps_early`: links whose reversals count before the horizon (R3); `takes_less`: terminals that take approvals of less
    /// (T9); `groups`: what the switch is told of the terminals.
    pub(crate) fn new(
        blind: bool,
        keeps_early: Vec<LinkNo>,
        takes_less: BTreeSet<String>,
        groups: BTreeMap<GroupNo, Group>,
    ) -> Auditor {
        Auditor {
            blind,
            keeps_early,
            takes_less,
            tail: Tail::default(),
            book: Book::new(groups),
            prints: Vec::new(),
            changed: None,
            stans: BTreeMap::new(),
            numbers: BTreeMap::new(),
            left: BTreeMap::new(),
            reversal_left: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            reversals_asked: BTreeMap::new(),
            used_in: BTreeMap::new(),
            reversed_in: BTreeMap::new(),
            coverage: Coverage::default(),
        }
    }

    /// Reads what became durable until now, in milliseconds since 1970.
    pub(crate) fn read_on(&mut self, wall_ms: u64, disk: &MemStorage) {
        if self.blind {
            return;
        }
        self.book.true_ms = wall_ms;
        let (book, prints, changed) = (&mut self.book, &mut self.prints, &mut self.changed);
        self.tail.advance(disk, |lsn, payload| {
            let print = crc32c::crc32c(payload);
            match prints.get(lsn as usize - 1) {
                Some(before) if *before == print => {}
                Some(_) => *changed = changed.or(Some(lsn)),
                None => {
                    prints.push(print);
                    book.take(lsn, payload);
                }
            }
        });
        self.judge_ends();
    }

    /// I10: a promise ends by an acknowledgement; without an answer, by that of a reversal whose first send under its STAN came
    /// after the horizon (R3).
    fn judge_ends(&mut self) {
        for id in std::mem::take(&mut self.book.ended) {
            let Some(page) = self.book.pages.get(&id) else { continue };
            let Some(reversed) = self.acknowledged.get(&page.rrn) else {
                self.book.wrong.push(format!("I10: {} ended, and no reversal of it was acknowledged", page.rrn));
                continue;
            };
            if let Some((link, left)) = self.left.get(&page.rrn)
                && !page.answered
                && !self.keeps_early.contains(link)
                // The switch counts whole milliseconds of its own.
                && reversed + 1 < left + HORIZON_MS
            {
                let after = reversed - left;
                self.book.wrong.push(format!("I10: {} ended by a reversal that left {after} ms after it", page.rrn));
            }
        }
    }

    /// An issuer's answer to a reversal comes in.
    pub(crate) fn acknowledgement_comes(&mut self, message: &Fields) {
        let text = |de| message.text(de).unwrap_or_default().trim_end().to_owned();
        let rrn = text(37);
        if let Some(left) = self.reversal_left.get(&(rrn.clone(), text(11))) {
            let newest = self.acknowledged.entry(rrn).or_insert(*left);
            *newest = (*newest).max(*left);
        }
    }

    /// The request left, and the issuer's horizon for it is over.
    pub(crate) fn horizon_is_over(&self, rrn: &str, now_ms: u64) -> bool {
        self.left.get(rrn).is_some_and(|(_, left)| now_ms > left + HORIZON_MS)
    }

    /// A process is about to start, with a wall clock that says `wall_ms` and is wrong by `error_ms` (K7).
    pub(crate) fn starts(&mut self, wall_ms: u64, error_ms: i64) {
        self.book.clocks.insert(wall_ms, error_ms);
    }

    /// A terminal's money request comes in, at a true time in milliseconds since 1970.
    pub(crate) fn request_comes(&mut self, wall_ms: u64, message: &Fields) {
        let text = |de| message.text(de).map(str::to_owned);
        if let (Some(terminal), Some(stan)) = (text(41), text(11).and_then(|stan| stan.parse().ok())) {
            self.book.came.entry((terminal, stan, text(7))).or_insert(wall_ms);
        }
    }

    /// A terminal's reversal comes in.
    pub(crate) fn reversal_comes(&mut self, message: &Fields) {
        let original = message.text(90).and_then(|original| original.get(4..10)?.parse().ok());
        if let Some(original) = original {
            self.reversals_asked.entry(of_reversal(message)).or_default().insert(original);
        }
    }

    /// Reads all of it again after a start: what was durable must still be there, as it was.
    pub(crate) fn read_again(&mut self, wall_ms: u64, disk: &MemStorage) -> Option<String> {
        if self.blind {
            return None;
        }
        let known = self.prints.len() as u64;
        self.tail = Tail::default();
        self.read_on(wall_ms, disk);
        let lost = (self.tail.lsn < known).then_some(self.tail.lsn + 1);
        self.changed.or(lost).map(|lsn| format!("K5: record {lsn} was durable and is lost or changed"))
    }

    /// I1, at the wire: what leaves for an issuer has its intent on disk; I3, M5: its numbers are its own.
    pub(crate) fn request_leaves(&mut self, now_ms: u64, life: u32, link: LinkNo, message: &Fields) -> Option<String> {
        if self.blind {
            return None;
        }
        let mti = message.mti();
        let text = |de| message.text(de).unwrap_or_default().trim_end().to_owned();
        let (rrn, stan) = (text(37), text(11));
        let request = matches!(mti.as_bytes(), b"0100" | b"0200");
        let reversal = mti.class() == 4;
        if !request && !reversal {
            return None;
        }
        let Some(page) = self.book.by_rrn.get(&rrn).and_then(|id| self.book.pages.get(id)) else {
            return Some(format!("I1: {} {rrn} leaves before its intent is durable", mti));
        };
        if page.never_left {
            return Some(format!("I1: {mti} {rrn} leaves, and by the records it never did"));
        }
        if reversal && !page.ever_promised {
            return Some(format!("M3: the reversal of {rrn} leaves before its promise is durable"));
        }
        if reversal {
            let original = format!("0{}00{:06}{}", page.class, page.sent_as.0, page.sent_as.1);
            let amount = text(4).parse::<u64>().ok();
            if !text(90).starts_with(&original) || ![Some(page.asked), page.approved].contains(&amount) {
                return Some(format!("R1: the reversal of {rrn} names {} of {amount:?}, and it was {original}", text(90)));
            }
            self.reversal_left.entry((rrn.clone(), stan.clone())).or_insert(now_ms);
        }
        // A reversal is a message of its issuer, on whatever link; its number must not be a request's of the link either.
        let of_link = (link.issuer.0, format!("{link}{}{stan}", text(7)));
        let number = if reversal { (link.issuer.0, format!("{}{stan}", text(7))) } else { of_link.clone() };
        if reversal && self.numbers.contains_key(&of_link) {
            return Some(format!("I3: STAN {stan} with DE7 {} of a reversal of {rrn} was a request's", text(7)));
        }
        let owner = self.numbers.entry(number).or_insert_with(|| rrn.clone());
        if *owner != rrn {
            return Some(format!("I3: STAN {stan} with DE7 {} of {rrn} was {owner}'s", text(7)));
        }
        if reversal {
            self.coverage.rule("R1");
            if self.left.get(&rrn).is_some_and(|(of, _)| *of != link) {
                self.coverage.rule("R0");
            }
            if *self.reversed_in.entry(rrn.clone()).or_insert(life) != life {
                self.coverage.rule("K3");
            }
        }
        if request {
            self.coverage.rule("M1");
            // Its number comes after those that a process before it used.
            if self.used_in.insert(link, life).is_some_and(|before| before != life) {
                self.coverage.rule("K4");
            }
            if self.left.insert(rrn.clone(), (link, now_ms)).is_some() {
                return Some(format!("M5: {mti} {rrn} leaves again"));
            }
            let last = self.stans.insert((link, stan.clone()), (rrn.clone(), now_ms));
            if let Some((other, at_ms)) = last
                && (at_ms + LATE_HORIZON_MS > now_ms || self.owes(&other))
            {
                return Some(format!(
                    "K4: STAN {stan} of link {link} goes from {other} to {rrn} after {} ms",
                    now_ms - at_ms
                ));
            }
        }
        None
    }

    /// I1, at the issuer.
    pub(crate) fn issuer_sees(&self, message: &Fields) -> Option<String> {
        let moves = matches!(message.mti().class(), 1 | 2 | 4);
        if self.blind || !moves {
            return None;
        }
        let rrn = message.text(37).unwrap_or_default().trim_end();
        (!self.book.by_rrn.contains_key(rrn)).then(|| format!("I1: the issuer sees {rrn}, of which no intent is durable"))
    }

    fn owes(&self, rrn: &str) -> bool {
        self.book.by_rrn.get(rrn).and_then(|id| self.book.pages.get(id)).is_some_and(|page| page.owes.is_some())
    }

    /// I2, M3: an answer that follows an intent leaves after its outcome is durable, and as it is durable.
    pub(crate) fn answer_leaves(&mut self, message: &Fields) -> Option<String> {
        if self.blind {
            return None;
        }
        let (class, code) = (message.mti().class(), message.text(39)?);
        let rrn = message.text(37).unwrap_or_default().trim_end();
        let Some(page) = self.book.by_rrn.get(rrn).and_then(|id| self.book.pages.get(id)) else {
            return self.buried(class, code, message);
        };
        let standing = page.standing;
        let completion = matches!(message.mti().as_bytes()[3], b'2' | b'3');
        let live = matches!(standing, Standing::AwaitingDelivery | Standing::AwaitingConfirmation | Standing::Confirmed);
        let promised = page.owes.is_some() || page.acknowledged.is_some();
        let wrong = match (class, code) {
            (1 | 2, "00") if completion => live && standing != Standing::Confirmed && !page.ever_promised,
            (1 | 2, _) if completion => false,
            (1 | 2, "00" | "10") => {
                let persons = standing == Standing::NeedsOperator || page.verdict.is_some_and(|(what, _)| what == 1);
                let amount = message.text(4).and_then(|amount| amount.parse().ok());
                !page.holds_approval || !(live || persons) || amount != Some(page.approved.unwrap_or(page.asked))
            }
            (1 | 2, "68") => standing == Standing::AwaitingIssuer || live && !page.ever_promised,
            (1 | 2, "94") => false,
            (1 | 2, _) => standing == Standing::AwaitingIssuer || live,
            (4, "00") => standing == Standing::AwaitingIssuer || live && !promised || page.can_be_promised(),
            (_, _) => false,
        };
        let less = code == "10" || page.approved.is_some_and(|approved| approved < page.asked);
        if matches!((class, code), (1 | 2, "00" | "10")) && !completion && less && !self.takes_less.contains(&page.terminal)
        {
            return Some(format!("T9: {rrn} is approved with {code} for less to {}, which takes no less", page.terminal));
        }
        self.coverage.rule(match code {
            "68" => "M3",
            _ if class == 4 => "M3",
            _ => "M2",
        });
        wrong.then(|| format!("I2: {} {code} for {rrn} leaves while it is durable as {standing:?}", message.mti()))
    }

    /// D11: who is told that a reversal without an original is done has a tombstone.
    fn buried(&self, class: u8, code: &str, message: &Fields) -> Option<String> {
        let key = of_reversal(message);
        let originals = self.reversals_asked.get(&key)?;
        let buried = |(terminal, stan): &(String, u32)| *terminal == key.0 && originals.contains(stan);
        (class == 4 && code == "00" && !self.book.tombstones.iter().any(buried))
            .then(|| format!("D11: terminal {} is told that one of {originals:?} is undone, and none is buried", key.0))
    }
}

/// Which reversal this is, or is answered by this.
fn of_reversal(message: &Fields) -> (String, String) {
    let text = |de| message.text(de).unwrap_or_default().to_owned();
    (text(41), text(11))
}
