//! The auditor: judges from outside whether the money rules' invariants I1 to I12 hold.
//!
//! Reads the issuers' ledgers, the terminals' beliefs, the purchases that customers meant, and the journal's bytes; shares no
//! code with the core, the journal or the outbox. Invariant: it changes nothing, so that a run with it and one without are
//! the same run.

mod book;
mod bytes;
mod end;

use std::collections::BTreeMap;

use iso8583::Fields;
use journal::memory::MemStorage;
use switch::LinkNo;

use crate::coverage::Coverage;
use book::{Book, Standing};
use bytes::Tail;

/// A STAN of a link is not used again for so long (K4), in milliseconds.
const LATE_HORIZON_MS: u64 = 600_000;

/// Who looks on.
pub(crate) struct Auditor {
    blind: bool,
    tail: Tail,
    pub(crate) book: Book,
    /// A fingerprint of every durable record, by LSN less one.
    prints: Vec<u32>,
    /// The first record that was read again with another fingerprint.
    changed: Option<u64>,
    /// Who used a STAN of a link last, and when.
    stans: BTreeMap<(LinkNo, String), (String, u64)>,
    /// Whose (DE7, STAN) it was, by issuer and kind.
    numbers: BTreeMap<(u16, bool, String), String>,
    /// The link that a request left by.
    left: BTreeMap<String, LinkNo>,
    /// The life of the process in which a reversal left first.
    reversed_in: BTreeMap<String, u32>,
    pub(crate) coverage: Coverage,
}

impl Auditor {
    pub(crate) fn new(blind: bool) -> Auditor {
        Auditor {
            blind,
            tail: Tail::default(),
            book: Book::default(),
            prints: Vec::new(),
            changed: None,
            stans: BTreeMap::new(),
            numbers: BTreeMap::new(),
            left: BTreeMap::new(),
            reversed_in: BTreeMap::new(),
            coverage: Coverage::default(),
        }
    }

    /// Reads what became durable.
    pub(crate) fn read_on(&mut self, disk: &MemStorage) {
        if self.blind {
            return;
        }
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
    }

    /// Reads all of it again after a start: what was durable must still be there, as it was.
    pub(crate) fn read_again(&mut self, disk: &MemStorage) -> Option<String> {
        if self.blind {
            return None;
        }
        let known = self.prints.len() as u64;
        self.tail = Tail::default();
        self.read_on(disk);
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
        if !self.book.by_rrn.contains_key(&rrn) {
            return Some(format!("I1: {} {rrn} leaves before its intent is durable", mti));
        }
        let number = (link.issuer.0, reversal, format!("{link}{}{stan}", text(7)));
        let number = if reversal { (number.0, true, format!("{}{stan}", text(7))) } else { number };
        let owner = self.numbers.entry(number).or_insert_with(|| rrn.clone());
        if *owner != rrn {
            return Some(format!("I3: STAN {stan} with DE7 {} of {rrn} was {owner}'s", text(7)));
        }
        if reversal {
            self.coverage.rule("R1");
            if self.left.get(&rrn).is_some_and(|of| *of != link) {
                self.coverage.rule("R0");
            }
            if *self.reversed_in.entry(rrn.clone()).or_insert(life) != life {
                self.coverage.rule("K3");
            }
        }
        if request {
            self.coverage.rule("M1");
            if self.left.insert(rrn.clone(), link).is_some() {
                return Some(format!("M5: {mti} {rrn} leaves again"));
            }
            let last = self.stans.insert((link, stan.clone()), (rrn.clone(), now_ms));
            if let Some((other, at_ms)) = last
                && at_ms + LATE_HORIZON_MS > now_ms
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

    /// I2, M3: an answer that follows an intent leaves after its outcome is durable.
    pub(crate) fn answer_leaves(&mut self, message: &Fields) -> Option<String> {
        if self.blind {
            return None;
        }
        let (code, rrn) = (message.text(39)?, message.text(37)?.trim_end());
        let page = self.book.pages.get(self.book.by_rrn.get(rrn)?)?;
        let standing = page.standing;
        let promised = page.ever_promised;
        let completion = matches!(message.mti().as_bytes()[3], b'2' | b'3');
        let live = matches!(standing, Standing::AwaitingDelivery | Standing::AwaitingConfirmation | Standing::Confirmed);
        let wrong = match (message.mti().class(), code) {
            (1 | 2, "00") if completion => live && standing != Standing::Confirmed && !promised,
            (1 | 2, _) if completion => false,
            // An operator may already have it.
            (1 | 2, "00" | "10") => !live && standing != Standing::NeedsOperator && standing != Standing::Resolved,
            (1 | 2, "68") => standing == Standing::AwaitingIssuer || live && !promised,
            (1 | 2, "94") => false,
            (1 | 2, _) => standing == Standing::AwaitingIssuer,
            (4, "00") => standing == Standing::AwaitingIssuer || live && !promised,
            (_, _) => false,
        };
        self.coverage.rule(match code {
            "68" => "M3",
            _ if message.mti().class() == 4 => "M3",
            _ => "M2",
        });
        let class = message.mti();
        wrong.then(|| format!("I2: {class} {code} for {rrn} leaves while it is durable as {standing:?}"))
    }
}
