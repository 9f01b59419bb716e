//! Everything that the core decides, as it is kept. State changes by records only, so that replaying them gives it again (I4).
//!
//! ```text
//! byte 0      version of this format, now 1
//! byte 1      partition
//! bytes 2-9   wall clock, milliseconds since 1970 UTC, little-endian
//! byte 10     kind
//! bytes 11-   the kind's fields
//! ```

use alloc::string::String;
use alloc::vec::Vec;

use iso8583::{Amount, ResponseCode, Stan, TerminalId};

use crate::binary::{Damaged, Stored, stored_enum};
use crate::card::CardHmac;
use crate::ids::{LinkNo, Lsn, MovementId};
use crate::movement::{
    Answer, Class, ConfirmedBy, Evidence, Movement, Reason, ReversalNumbers, Rule, Scope, StateKind, Verdict,
};
use crate::state::Keep;

/// The version byte of records and snapshots.
pub const FORMAT_VERSION: u8 = 1;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A process took over: what was offered is unknown now (K2). `epoch` is the number of starts.
    Restarted {
        /// How often this partition was started.
        epoch: u32,
        /// What memory keeps of what has ended, from now on: a replay lets go of what the live core let go.
        keep: Keep,
        /// What the keys of its cards are known by: a number for each, and a check value that tells nothing of the key.
        keys: Vec<(u16, [u8; 8])>,
    },
    /// A request will leave (M1).
    Intent {
        /// All of it.
        movement: Movement,
    },
    /// The issuer's answer and what it makes of the movement (M2). `to` is never an obligation: that has its own record.
    Answered {
        /// The movement.
        id: MovementId,
        /// The answer.
        answer: Answer,
        /// The state that it leads to.
        to: StateKind,
        /// Whether there was a connection to offer it on.
        evidence: Evidence,
    },
    /// Not one byte of the request left (T3): nothing moved, and nothing is owed.
    NeverSent {
        /// The movement.
        id: MovementId,
        /// What the terminal is told, unless an obligation was open already.
        code: ResponseCode,
    },
    /// What became of the newest answer (T8), or that a repeat was given it.
    Delivery {
        /// The movement.
        id: MovementId,
        /// What is known now.
        evidence: Evidence,
    },
    /// A promise to reverse (M3).
    Obligation {
        /// The movement.
        id: MovementId,
        /// The rule.
        rule: Rule,
        /// The reason that the message carries.
        reason: Reason,
        /// How much is undone.
        scope: Scope,
    },
    /// The numbers under which a reversal goes out; durable before it does.
    ReversalNumbered {
        /// The movement.
        id: MovementId,
        /// DE11, DE7 and the amount.
        numbers: ReversalNumbers,
        /// Whether its acknowledgement counts (R3).
        deciding: bool,
    },
    /// An issuer's answer to a reversal (R2, R3).
    ReversalAnswered {
        /// The movement.
        id: MovementId,
        /// The code.
        code: ResponseCode,
        /// What it makes of the promise.
        verdict: AckVerdict,
    },
    /// An answer to a request that was decided without it (T5). Changes nothing but what is held.
    LateAnswer {
        /// The movement.
        id: MovementId,
        /// The answer.
        answer: Answer,
    },
    /// A second approval with another DE38 (T7). The first stays what the terminal knows.
    AnotherApproval {
        /// The movement.
        id: MovementId,
        /// DE38, where it carried one.
        approval: Option<[u8; 6]>,
    },
    /// Both sides agree that it happened.
    Confirmed {
        /// The movement.
        id: MovementId,
        /// How that is known.
        by: ConfirmedBy,
    },
    /// Only a person can decide.
    NeedsOperator {
        /// The movement.
        id: MovementId,
        /// The rule that says so.
        rule: Rule,
    },
    /// An operator decided (section 2). An order to undo is followed by its obligation.
    Resolved {
        /// The movement.
        id: MovementId,
        /// What, who, why.
        verdict: Verdict,
    },
    /// An operator closed an exception.
    ExceptionClosed {
        /// The record that made it.
        exception: Lsn,
        /// Who closed it.
        who: String,
        /// Why.
        why: String,
    },
    /// A terminal's reversal was seen and changed nothing (D9, D10).
    ReversalSeen {
        /// The movement.
        id: MovementId,
    },
    /// A durable entry for `switchd doubt`.
    Exception {
        /// The rule that made it.
        rule: Rule,
        /// The terminal.
        terminal: TerminalId,
        /// Its STAN.
        stan: Stan,
        /// The movement, where there is one.
        id: Option<MovementId>,
    },
    /// A reversal without an original (D11).
    Tombstone {
        /// DE41 + DE42.
        terminal: TerminalId,
        /// The original's STAN.
        stan: Stan,
        /// The original's class, where the reversal named it.
        class: Option<Class>,
        /// The original's amount, where the reversal carried it.
        amount: Option<Amount>,
    },
    /// A movement that memory had let go is needed again; it is kept as it was found.
    Recalled {
        /// All of it.
        movement: Movement,
    },
    /// The keys of cards from now on, as in [`Record::Restarted`]: nothing is sealed or marked with them before it.
    Keys {
        /// Number and check value; the first of number 0 is the one that what memory holds is marked under.
        keys: Vec<(u16, [u8; 8])>,
    },
    /// What memory holds is compared by another look-up key. Changes nothing but what its cards are known by.
    Marked {
        /// Movements that memory holds, and the mark of each.
        marks: Vec<(MovementId, CardHmac)>,
    },
    /// A network message takes a STAN of the link (K4).
    StanUsed {
        /// Whose.
        link: LinkNo,
        /// Which.
        stan: Stan,
    },
}
stored_enum!(Record {
    1 => Restarted { epoch, keep, keys },
    2 => Intent { movement },
    3 => Answered { id, answer, to, evidence },
    4 => NeverSent { id, code },
    5 => Delivery { id, evidence },
    6 => Obligation { id, rule, reason, scope },
    7 => ReversalNumbered { id, numbers, deciding },
    8 => ReversalAnswered { id, code, verdict },
    9 => LateAnswer { id, answer },
    10 => Confirmed { id, by },
    11 => NeedsOperator { id, rule },
    12 => ReversalSeen { id },
    13 => Exception { rule, terminal, stan, id },
    14 => Tombstone { terminal, stan, class, amount },
    15 => Recalled { movement },
    16 => StanUsed { link, stan },
    17 => Resolved { id, verdict },
    18 => ExceptionClosed { exception, who, why },
    19 => AnotherApproval { id, approval },
    20 => Keys { keys },
    21 => Marked { marks },
});

impl Record {
    /// The movement that it is about; `None` for what is about none, or about an entry of a person's list.
    pub fn movement(&self) -> Option<MovementId> {
        match self {
            Record::Intent { movement } | Record::Recalled { movement } => Some(movement.id),
            Record::Exception { id, .. } => *id,
            Record::Restarted { .. }
            | Record::Keys { .. }
            | Record::Marked { .. }
            | Record::Tombstone { .. }
            | Record::StanUsed { .. }
            | Record::ExceptionClosed { .. } => None,
            Record::Answered { id, .. }
            | Record::NeverSent { id, .. }
            | Record::Delivery { id, .. }
            | Record::Obligation { id, .. }
            | Record::ReversalNumbered { id, .. }
            | Record::ReversalAnswered { id, .. }
            | Record::LateAnswer { id, .. }
            | Record::AnotherApproval { id, .. }
            | Record::Confirmed { id, .. }
            | Record::NeedsOperator { id, .. }
            | Record::Resolved { id, .. }
            | Record::ReversalSeen { id } => Some(*id),
        }
    }

    /// Whose message made it, where it is about no movement: a tombstone, or an entry for a request that never became one
    /// (D11).
    pub fn alone(&self) -> Option<(TerminalId, Stan)> {
        // What else is about no movement (a start, a network message, the closing of an entry) no message of a terminal made.
        if let Record::Tombstone { terminal, stan, .. } | Record::Exception { terminal, stan, id: None, .. } = self {
            Some((*terminal, *stan))
        } else {
            None
        }
    }

    /// For people and programs: what was recorded.
    pub const fn name(&self) -> &'static str {
        match self {
            Record::Restarted { .. } => "restarted",
            Record::Intent { .. } => "intent",
            Record::Answered { .. } => "answered",
            Record::NeverSent { .. } => "never_sent",
            Record::Delivery { .. } => "delivery",
            Record::Obligation { .. } => "reversal_promised",
            Record::ReversalNumbered { .. } => "reversal_numbered",
            Record::ReversalAnswered { .. } => "reversal_answered",
            Record::LateAnswer { .. } => "late_answer",
            Record::AnotherApproval { .. } => "another_approval",
            Record::Confirmed { .. } => "confirmed",
            Record::NeedsOperator { .. } => "needs_operator",
            Record::Resolved { .. } => "resolved",
            Record::ExceptionClosed { .. } => "entry_closed",
            Record::ReversalSeen { .. } => "terminal_reversed",
            Record::Exception { .. } => "entry",
            Record::Tombstone { .. } => "tombstone",
            Record::Recalled { .. } => "recalled",
            Record::StanUsed { .. } => "stan_used",
            Record::Keys { .. } => "keys",
            Record::Marked { .. } => "marked",
        }
    }
}

/// What an acknowledgement makes of the promise to reverse (R2, R3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckVerdict {
    /// It ends.
    Ended,
    /// A person decides.
    Operator,
    /// It stays open.
    Open,
}
stored_enum!(AckVerdict { 1 => Ended, 2 => Operator, 3 => Open });

/// A record with the head that every record has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which partition decided.
    pub partition: u8,
    /// When, by the wall clock; milliseconds since 1970 UTC.
    pub wall_ms: u64,
    /// What.
    pub record: Record,
}

impl Entry {
    /// Appends the bytes of this entry.
    pub fn encode(&self, out: &mut Vec<u8>) {
        FORMAT_VERSION.put(out);
        self.partition.put(out);
        self.wall_ms.put(out);
        self.record.put(out);
    }

    /// Reads one entry, which must fill `bytes`.
    ///
    /// # Errors
    /// Another version, or bytes that no version of this program wrote.
    pub fn decode(bytes: &[u8]) -> Result<Entry, Damaged> {
        let mut from = bytes;
        if u8::take(&mut from)? != FORMAT_VERSION {
            return Err(Damaged { what: "record of version 1" });
        }
        let entry =
            Entry { partition: u8::take(&mut from)?, wall_ms: u64::take(&mut from)?, record: Record::take(&mut from)? };
        if from.is_empty() { Ok(entry) } else { Err(Damaged { what: "record of this length" }) }
    }
}
