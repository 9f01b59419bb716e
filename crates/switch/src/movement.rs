//! A movement: a hold or debit at an issuer, from its intent to the end of its doubt. Durable: it changes by records only.

use alloc::string::String;
use alloc::vec::Vec;

use iso8583::{Amount, Fields, Mti, ResponseCode, Rrn, Stan, TerminalId};

use crate::binary::{Damaged, Stored, stored_enum, stored_struct};
use crate::card::{Card, CardHmac};
use crate::ids::{GroupNo, LinkNo, Lsn, MovementId};

/// The message class of a request, as far as it moves money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// 0100: a hold.
    Authorisation,
    /// 0200: a debit.
    Financial,
}
stored_enum!(Class { 1 => Authorisation, 2 => Financial });

impl Class {
    /// The class of a request's MTI; `None` for every other message.
    pub fn of(mti: Mti) -> Option<Class> {
        match mti.as_bytes() {
            b"0100" | b"0101" => Some(Class::Authorisation),
            b"0200" | b"0201" => Some(Class::Financial),
            _ => None,
        }
    }

    /// The class that a message of any function belongs to: the second digit of its MTI.
    pub const fn of_any(mti: Mti) -> Option<Class> {
        match mti.class() {
            1 => Some(Class::Authorisation),
            2 => Some(Class::Financial),
            _ => None,
        }
    }

    /// The MTI of the plain request.
    pub const fn request(self) -> Mti {
        match self {
            Class::Authorisation => Mti::new(b"0100"),
            Class::Financial => Mti::new(b"0200"),
        }
    }

    /// For people and programs: "0100" or "0200".
    pub const fn name(self) -> &'static str {
        match self {
            Class::Authorisation => "0100",
            Class::Financial => "0200",
        }
    }
}

/// What makes two requests the same transaction (section 1). Time bounds it and is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// DE41 + DE42.
    pub terminal: TerminalId,
    /// DE11 as the terminal sent it.
    pub stan: Stan,
    /// Hold or debit.
    pub class: Class,
}
stored_struct!(Key { terminal, stan, class });

/// "Same content" (section 1): DE3, 4, 49, 54, the card, the references 37, 38, 61, 90, DE60.1, and the chip's 9F36 + 9F37.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// DE3.
    pub processing_code: [u8; 6],
    /// DE4 with DE49.
    pub amount: Amount,
    /// The card, where one was given.
    pub card: Option<CardHmac>,
    /// FNV-1a over the references: compared for equality only.
    pub references: u64,
    /// FNV-1a over 9F36 and 9F37, where the chip gave them.
    pub chip: Option<u64>,
}
stored_struct!(Fingerprint { processing_code, amount, card, references, chip });

/// What a movement waits for (section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StateKind {
    /// The intent is durable, the request may have left.
    AwaitingIssuer,
    /// Approved, not handed to the terminal's socket yet.
    AwaitingDelivery,
    /// Approved and handed (or handed for all that is known).
    AwaitingConfirmation,
    /// A reversal is promised and sent until acknowledged.
    AwaitingReversalAck,
    /// Automatic means would guess.
    NeedsOperator,
    /// Nothing moved.
    Declined,
    /// Both sides agree that it happened.
    Confirmed,
    /// Both sides agree that it did not.
    Unwound,
    /// An operator decided.
    Resolved,
}
stored_enum!(StateKind {
    1 => AwaitingIssuer, 2 => AwaitingDelivery, 3 => AwaitingConfirmation, 4 => AwaitingReversalAck, 5 => NeedsOperator,
    6 => Declined, 7 => Confirmed, 8 => Unwound, 9 => Resolved,
});

impl StateKind {
    /// All of them, for tables and gauges.
    pub const ALL: [StateKind; 9] = [
        StateKind::AwaitingIssuer,
        StateKind::AwaitingDelivery,
        StateKind::AwaitingConfirmation,
        StateKind::AwaitingReversalAck,
        StateKind::NeedsOperator,
        StateKind::Declined,
        StateKind::Confirmed,
        StateKind::Unwound,
        StateKind::Resolved,
    ];

    /// Two parties may disagree about it right now: the gauge that must return to zero (section 2).
    pub const fn in_doubt(self) -> bool {
        match self {
            StateKind::AwaitingIssuer
            | StateKind::AwaitingDelivery
            | StateKind::AwaitingReversalAck
            | StateKind::NeedsOperator => true,
            StateKind::AwaitingConfirmation
            | StateKind::Declined
            | StateKind::Confirmed
            | StateKind::Unwound
            | StateKind::Resolved => false,
        }
    }

    /// Nothing is waited for any more; only late messages can open it again.
    pub const fn is_end(self) -> bool {
        match self {
            StateKind::Declined | StateKind::Confirmed | StateKind::Unwound | StateKind::Resolved => true,
            StateKind::AwaitingIssuer
            | StateKind::AwaitingDelivery
            | StateKind::AwaitingConfirmation
            | StateKind::AwaitingReversalAck
            | StateKind::NeedsOperator => false,
        }
    }

    /// For labels of gauges and for `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            StateKind::AwaitingIssuer => "awaiting_issuer",
            StateKind::AwaitingDelivery => "awaiting_delivery",
            StateKind::AwaitingConfirmation => "awaiting_confirmation",
            StateKind::AwaitingReversalAck => "awaiting_reversal_ack",
            StateKind::NeedsOperator => "needs_operator",
            StateKind::Declined => "declined",
            StateKind::Confirmed => "confirmed",
            StateKind::Unwound => "unwound",
            StateKind::Resolved => "resolved",
        }
    }
}

/// What is known of the newest answer's way to the terminal (section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// No approval was given.
    None,
    /// Released, and the shell has not reported yet.
    Offered,
    /// The kernel never accepted the last byte.
    NotHanded,
    /// The kernel accepted the last byte.
    Handed,
    /// A later message proves that the terminal has it.
    Seen,
    /// Lost in a crash (K2).
    Unknown,
}
stored_enum!(Evidence { 0 => None, 1 => Offered, 2 => NotHanded, 3 => Handed, 4 => Seen, 5 => Unknown });

impl Evidence {
    /// All of them, for tables.
    pub const ALL: [Evidence; 6] =
        [Evidence::None, Evidence::Offered, Evidence::NotHanded, Evidence::Handed, Evidence::Seen, Evidence::Unknown];

    /// For people and `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Evidence::None => "none",
            Evidence::Offered => "offered",
            Evidence::NotHanded => "not_handed",
            Evidence::Handed => "handed",
            Evidence::Seen => "seen",
            Evidence::Unknown => "unknown",
        }
    }
}

/// What an issuer answered, as far as a repeat must get it again (D2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// DE39.
    pub code: ResponseCode,
    /// DE38.
    pub approval: Option<[u8; 6]>,
    /// DE4 where the answer carried one.
    pub amount: Option<Amount>,
    /// DE54 where the answer carried one.
    pub balances: Option<String>,
    /// Whether the code said that money moved.
    pub moved: bool,
    /// Wall clock of its arrival.
    pub wall_ms: u64,
}
stored_struct!(Answer { code, approval, amount, balances, moved, wall_ms });

/// The rule that opened an obligation, sent a movement to an operator, or confirmed it. Its text is the rule's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // Each variant is the number of a rule in MONEY-RULES; a sentence here would be a copy of it.
pub enum Rule {
    T1,
    T2,
    T3,
    T4,
    T5,
    T7,
    T8,
    T9,
    T10,
    R2,
    R4,
    R7,
    D2,
    D4,
    D5,
    D6,
    D7,
    D8,
    D9,
    D10,
    D11,
    D12,
    D13,
    C1,
    C2,
    C3,
    K1,
    K2,
    Operator,
}
stored_enum!(Rule {
    1 => T1, 2 => T2, 3 => T3, 4 => T4, 5 => T5, 7 => T7, 8 => T8, 9 => T9, 10 => T10, 12 => R2, 14 => R4, 17 => R7, 22 => D2, 24 => D4, 25 => D5, 26 => D6,
    27 => D7, 28 => D8, 29 => D9, 30 => D10, 31 => D11, 32 => D12, 33 => D13, 41 => C1, 42 => C2, 43 => C3, 51 => K1, 52 => K2,
    61 => Operator,
});

impl Rule {
    /// "T1", "D12", …
    pub const fn name(self) -> &'static str {
        match self {
            Rule::T1 => "T1",
            Rule::T2 => "T2",
            Rule::T3 => "T3",
            Rule::T4 => "T4",
            Rule::T5 => "T5",
            Rule::T7 => "T7",
            Rule::T8 => "T8",
            Rule::T9 => "T9",
            Rule::T10 => "T10",
            Rule::R2 => "R2",
            Rule::R4 => "R4",
            Rule::R7 => "R7",
            Rule::D2 => "D2",
            Rule::D4 => "D4",
            Rule::D5 => "D5",
            Rule::D6 => "D6",
            Rule::D7 => "D7",
            Rule::D8 => "D8",
            Rule::D9 => "D9",
            Rule::D10 => "D10",
            Rule::D11 => "D11",
            Rule::D12 => "D12",
            Rule::D13 => "D13",
            Rule::C1 => "C1",
            Rule::C2 => "C2",
            Rule::C3 => "C3",
            Rule::K1 => "K1",
            Rule::K2 => "K2",
            Rule::Operator => "operator",
        }
    }
}

/// The reason that a reversal carries (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// 4000.
    CustomerCancel,
    /// 4001.
    Unspecified,
    /// 4004.
    PartlyCompleted,
    /// 4013.
    NotDelivered,
    /// 4020.
    InvalidAnswer,
    /// 4021.
    Timeout,
}
stored_enum!(Reason {
    1 => CustomerCancel, 2 => Unspecified, 3 => PartlyCompleted, 4 => NotDelivered, 5 => InvalidAnswer, 6 => Timeout,
});

impl Reason {
    /// The four digits of the message.
    pub const fn digits(self) -> &'static [u8; 4] {
        match self {
            Reason::CustomerCancel => b"4000",
            Reason::Unspecified => b"4001",
            Reason::PartlyCompleted => b"4004",
            Reason::NotDelivered => b"4013",
            Reason::InvalidAnswer => b"4020",
            Reason::Timeout => b"4021",
        }
    }
}

/// A message's own numbers on the issuer leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentAs {
    /// DE11.
    pub stan: Stan,
    /// DE7, UTC MMDDhhmmss.
    pub transmitted: [u8; 10],
}
stored_struct!(SentAs { stan, transmitted });

/// How much of a movement a reversal undoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it: the movement's state is `AwaitingReversalAck`.
    All,
    /// All but so much, in minor units (D13): the promise stands beside the movement's state.
    AllBut {
        /// What remains.
        remains_minor: u64,
    },
    /// A second approval of the request, which its own DE38 names (T7): the promise stands beside the movement's state.
    Approval {
        /// DE38 of the approval that is undone.
        approval: [u8; 6],
        /// Its own amount, in minor units; `None` in records that did not keep it: the movement's.
        minor: Option<u64>,
    },
}

/// Kind 3 is [`Scope::Approval`] without an amount: read, and not written any more.
impl Stored for Scope {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Scope::All => out.push(1),
            Scope::AllBut { remains_minor } => {
                out.push(2);
                remains_minor.put(out);
            }
            Scope::Approval { approval, minor } => {
                out.push(4);
                approval.put(out);
                minor.put(out);
            }
        }
    }

    fn take(from: &mut &[u8]) -> Result<Scope, Damaged> {
        match u8::take(from)? {
            1 => Ok(Scope::All),
            2 => Ok(Scope::AllBut { remains_minor: u64::take(from)? }),
            3 => Ok(Scope::Approval { approval: Stored::take(from)?, minor: None }),
            4 => Ok(Scope::Approval { approval: Stored::take(from)?, minor: Stored::take(from)? }),
            _ => Err(Damaged { what: "Scope" }),
        }
    }
}

/// A reversal's own numbers, and the amount that it undoes: constant over its repeats (R1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReversalNumbers {
    /// DE11 and DE7.
    pub sent_as: SentAs,
    /// DE4, in minor units.
    pub minor: u64,
}
stored_struct!(ReversalNumbers { sent_as, minor });

/// A durable promise to reverse (M3, M4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obligation {
    /// How much it undoes.
    pub scope: Scope,
    /// It was acknowledged by an answer that counts.
    pub ended: bool,
    /// It is older than `needs_operator_after` and on the list (R7).
    pub overdue: bool,
    /// The rule that opened it.
    pub rule: Rule,
    /// What the message says.
    pub reason: Reason,
    /// Wall clock of its opening.
    pub opened_wall_ms: u64,
    /// The numbers of the sends whose acknowledgement is provisional (R3).
    pub early: Option<ReversalNumbers>,
    /// The numbers of the send whose acknowledgement counts (R3).
    pub deciding: Option<ReversalNumbers>,
    /// The newest acknowledgement that did not end it.
    pub refused: Option<ResponseCode>,
}
stored_struct!(Obligation { scope, ended, overdue, rule, reason, opened_wall_ms, early, deciding, refused });

/// How an operator closed a movement (section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// It happened and stays; unsent reversals are withdrawn.
    Stands,
    /// It was undone by other means.
    UndoneElsewhere,
    /// It was corrected by other means to this amount, in minor units.
    AdjustedElsewhere {
        /// What stands.
        minor: u64,
    },
    /// An order: reverse it.
    Undo,
}
stored_enum!(Resolution { 1 => Stands, 2 => UndoneElsewhere, 3 => AdjustedElsewhere { minor }, 4 => Undo });

impl Resolution {
    /// For people and `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Resolution::Stands => "stands",
            Resolution::UndoneElsewhere => "undone-elsewhere",
            Resolution::AdjustedElsewhere { .. } => "adjusted-elsewhere",
            Resolution::Undo => "undo",
        }
    }
}

/// An operator's decision on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What was decided.
    pub resolution: Resolution,
    /// Who decided; at most 255 bytes.
    pub who: String,
    /// Why; at most 255 bytes.
    pub why: String,
    /// Wall clock.
    pub wall_ms: u64,
}
stored_struct!(Verdict { resolution, who, why, wall_ms });

/// How a confirmation is known (section 7, I12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfirmedBy {
    /// C1: a later money request of a terminal that reverses first.
    LaterRequest,
    /// C2: the terminal said so.
    Terminal,
    /// C3: nothing unwound it until the deadline.
    CutOver,
}
stored_enum!(ConfirmedBy { 1 => LaterRequest, 2 => Terminal, 3 => CutOver });

impl ConfirmedBy {
    /// For people and `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            ConfirmedBy::LaterRequest => "later request (C1)",
            ConfirmedBy::Terminal => "terminal (C2)",
            ConfirmedBy::CutOver => "cut-over (C3)",
        }
    }
}

/// One movement of money, or the attempt of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Serial number in the partition.
    pub id: MovementId,
    /// DE37 on both legs.
    pub rrn: Rrn,
    /// The terminal's own DE37, where it sent one that says something: it may name the movement by it.
    pub terminal_rrn: Option<Rrn>,
    /// The terminal's key.
    pub key: Key,
    /// Its group.
    pub group: GroupNo,
    /// Its content.
    pub fingerprint: Fingerprint,
    /// Its card, sealed.
    pub card: Option<Card>,
    /// Which link carried it.
    pub link: LinkNo,
    /// Its numbers on that link.
    pub sent_as: SentAs,
    /// DE12 + DE13 as the terminal sent them, where both were there.
    pub local_time: Option<[u8; 10]>,
    /// DE7 as the terminal sent it.
    pub terminal_transmitted: Option<[u8; 10]>,
    /// DE22, for the reversal.
    pub entry_mode: Option<[u8; 3]>,
    /// DE25, for the reversal.
    pub condition: Option<[u8; 2]>,
    /// DE32, for the reversal's DE90.
    pub acquirer: Option<String>,
    /// Wall clock of the intent.
    pub begun_wall_ms: u64,
    /// What it waits for.
    pub state: StateKind,
    /// Wall clock of the record that put it into this state.
    pub since_wall_ms: u64,
    /// The issuer's answer, once one was usable; a late one too.
    pub answer: Option<Answer>,
    /// DE38 of a second approval with another code than the first (T7).
    pub second_approval: Option<[u8; 6]>,
    /// What is known of the approval's way to the terminal.
    pub evidence: Evidence,
    /// The newest promise to reverse, open or ended.
    pub obligation: Option<Obligation>,
    /// What stands of the approved amount after partial reversals, in minor units (D13).
    pub remains_minor: Option<u64>,
    /// The part of that which the issuer has acknowledged: what remains by the partial reversals that it says are done.
    pub acknowledged_minor: Option<u64>,
    /// How it was confirmed.
    pub confirmed: Option<ConfirmedBy>,
    /// The rule that left it to a person.
    pub operator_rule: Option<Rule>,
    /// What an operator decided.
    pub verdict: Option<Verdict>,
    /// The terminal sent a reversal for it (D3, D9).
    pub reversal_seen: bool,
    /// Its key was used for something else within the window (D4), so that a reversal must prove which one it means.
    pub contested: bool,
    /// The newest record about it: every answer waits for it (M2).
    pub last_record: Lsn,
}
stored_struct!(Movement {
    id,
    rrn,
    terminal_rrn,
    key,
    group,
    fingerprint,
    card,
    link,
    sent_as,
    local_time,
    terminal_transmitted,
    entry_mode,
    condition,
    acquirer,
    begun_wall_ms,
    state,
    since_wall_ms,
    answer,
    second_approval,
    evidence,
    obligation,
    remains_minor,
    acknowledged_minor,
    confirmed,
    operator_rule,
    verdict,
    reversal_seen,
    contested,
    last_record,
});

impl Movement {
    /// One of the numbers that this movement is known by.
    pub fn is_named_by(&self, rrn: Rrn) -> bool {
        self.rrn == rrn || self.terminal_rrn == Some(rrn)
    }

    /// Its card is compared by this mark from now on: one under the look-up key of what it is compared with.
    pub fn know_card_by(&mut self, mark: CardHmac) {
        self.fingerprint.card = Some(mark);
        if let Some(card) = &mut self.card {
            card.hmac = mark;
        }
    }

    /// One of the approvals that the issuer gave it.
    pub fn is_approved_by(&self, approval: [u8; 6]) -> bool {
        let first = self.answer.as_ref().and_then(|held| held.approval);
        first == Some(approval) || self.second_approval == Some(approval)
    }

    /// The issuer approved it, as far as is known.
    pub fn approval_held(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.moved)
    }

    /// What the issuer moved or was asked to move: the approved amount where it said one.
    pub fn amount(&self) -> Amount {
        self.answer.as_ref().and_then(|answer| answer.amount).unwrap_or(self.fingerprint.amount)
    }

    /// A promise to reverse is open, whatever the state.
    pub fn owes(&self) -> bool {
        self.obligation.as_ref().is_some_and(|obligation| !obligation.ended)
    }

    /// Something is waited for: the state, or a promise beside it.
    pub fn is_open(&self) -> bool {
        !self.state.is_end() || self.owes()
    }

    /// Two parties may disagree about it right now (section 2).
    pub fn in_doubt(&self) -> bool {
        self.state.in_doubt() || self.owes()
    }

    /// It stands, or its issuer may approve it yet, and nothing undoes it: beside an equal one, two would stand and nobody
    /// would know (D6, I9).
    pub(crate) fn may_stand(&self) -> bool {
        match self.state {
            StateKind::AwaitingIssuer
            | StateKind::AwaitingDelivery
            | StateKind::AwaitingConfirmation
            | StateKind::Confirmed => true,
            StateKind::NeedsOperator => self.approval_held(),
            StateKind::Resolved => self.net_minor() > 0,
            StateKind::AwaitingReversalAck | StateKind::Declined | StateKind::Unwound => false,
        }
    }

    /// What stands at the issuer if every open promise is kept, in minor units.
    pub fn net_minor(&self) -> u64 {
        match self.state {
            StateKind::AwaitingDelivery | StateKind::AwaitingConfirmation | StateKind::Confirmed => {
                self.remains_minor.unwrap_or(self.amount().minor())
            }
            // The person who decides must not read that nothing stands.
            StateKind::NeedsOperator if self.approval_held() => self.remains_minor.unwrap_or(self.amount().minor()),
            StateKind::AwaitingIssuer
            | StateKind::AwaitingReversalAck
            | StateKind::NeedsOperator
            | StateKind::Declined
            | StateKind::Unwound => 0,
            StateKind::Resolved => crate::operator::net_minor(self),
        }
    }
}

/// DE12 + DE13 of a message, where both are there and of their full length.
pub(crate) fn local_time(message: &Fields) -> Option<[u8; 10]> {
    let mut both = [0; 10];
    let (time, date) = (message.get(12)?, message.get(13)?);
    if time.len() != 6 || date.len() != 4 {
        return None;
    }
    both[..6].copy_from_slice(time);
    both[6..].copy_from_slice(date);
    Some(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_of_an_older_record_is_read_and_one_of_no_version_is_not() {
        let taken = |bytes: &[u8]| Scope::take(&mut &*bytes);
        assert_eq!(taken(b"\x01"), Ok(Scope::All));
        assert_eq!(taken(b"\x02\x05\0\0\0\0\0\0\0"), Ok(Scope::AllBut { remains_minor: 5 }));
        assert_eq!(taken(b"\x03AP0001"), Ok(Scope::Approval { approval: *b"AP0001", minor: None }));
        assert_eq!(taken(b"\x04AP0001\0"), Ok(Scope::Approval { approval: *b"AP0001", minor: None }));
        assert_eq!(taken(b"\x05"), Err(Damaged { what: "Scope" }));
    }

    #[test]
    fn names_are_those_of_labels_and_lists() {
        assert_eq!([Class::Authorisation, Class::Financial].map(Class::name), ["0100", "0200"]);
        assert_eq!(StateKind::ALL.map(StateKind::name)[3..5], ["awaiting_reversal_ack", "needs_operator"]);
        assert_eq!(Evidence::ALL.map(Evidence::name), ["none", "offered", "not_handed", "handed", "seen", "unknown"]);
        let by = [ConfirmedBy::LaterRequest, ConfirmedBy::Terminal, ConfirmedBy::CutOver];
        assert_eq!(by.map(ConfirmedBy::name), ["later request (C1)", "terminal (C2)", "cut-over (C3)"]);
        let said =
            [Resolution::Stands, Resolution::UndoneElsewhere, Resolution::AdjustedElsewhere { minor: 1 }, Resolution::Undo];
        assert_eq!(said.map(Resolution::name), ["stands", "undone-elsewhere", "adjusted-elsewhere", "undo"]);
    }
}
