//! Everything that the core asks of the world.

use alloc::boxed::Box;

use iso8583::{Fields, MaskedPan, Mti, Pan, ResponseCode, Rrn, Stan, TerminalId};

use crate::card::{CardHmac, SealedPan};
use crate::ids::{ActionId, AskId, ConnId, IssuerNo, LinkId, LinkNo, Lsn, MovementId, QueryId};
use crate::operator::Refusal;

/// An action together with the record that must be durable before it leaves (M1, M2, M3). `Lsn(0)` waits for nothing.
#[derive(Clone, Debug)]
pub struct Pending {
    /// The record that it waits for.
    pub after: Lsn,
    /// What to do then.
    pub action: Action,
}

/// One thing for the shell to do. Messages are canonical; the shell writes them in the peer's dialect.
#[derive(Clone, Debug)]
pub enum Action {
    /// Write an answer to a terminal. Reported as `Written` or `Undeliverable`.
    ToTerminal {
        /// For the report.
        id: ActionId,
        /// The connection that last carried the key.
        conn: ConnId,
        /// The answer.
        message: Box<Fields>,
    },
    /// Write a request, reversal or network message to an issuer, to this connection, once (M5). Reported as `Written`,
    /// `NotSent` or `Partial`.
    ToIssuer {
        /// For the report.
        id: ActionId,
        /// The connection.
        link: LinkId,
        /// The message.
        message: Box<Fields>,
        /// The card to be put into DE2, where the message is made from stored data. The partition opens it and hands
        /// `None` to the shell.
        card: Option<SealedPan>,
    },
    /// Give up a write to a terminal if it is still pending; answered by the report of that action either way (T8).
    Withdraw {
        /// The write.
        id: ActionId,
        /// The connection that it was meant for.
        conn: ConnId,
    },
    /// Take a reversal back if it still waits for its record: an operator decided otherwise (section 2, `stands`). The
    /// partition does it, and reports `NotSent`; what has left goes on, and the shell never sees this.
    Unsend {
        /// The write.
        id: ActionId,
    },
    /// Close this link connection if the kernel still holds bytes that the issuer's host did not acknowledge (R3, at T1).
    ResetIfUnacknowledged {
        /// The connection.
        link: LinkId,
    },
    /// Close this link connection: it does not answer echo or sign-on, or refused one.
    CloseLink {
        /// The connection.
        link: LinkId,
        /// DE39 of the refusal.
        refused: Option<ResponseCode>,
    },
    /// Look up what memory no longer holds; answered by [`crate::Input::Found`].
    Find {
        /// For the answer.
        id: QueryId,
        /// What is looked for.
        query: Query,
    },
    /// An operator's decision was taken and is durable, or was refused.
    Resolved {
        /// Which question.
        ask: AskId,
        /// The outcome.
        result: Result<(), Refusal>,
    },
    /// Something that an operator or a gauge wants to know. Decides nothing.
    Note(Note),
}

/// What a look-up asks for: every movement with this terminal and STAN, in either class, that began at or after `since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// The terminal; nothing of another terminal is ever looked at (section 6).
    pub terminal: TerminalId,
    /// Its STAN.
    pub stan: Stan,
    /// DE37 of a reversal: it may name a movement of this terminal whatever its STAN.
    pub rrn: Option<Rrn>,
    /// Wall clock, milliseconds since 1970: the oldest beginning that matters.
    pub since_wall_ms: u64,
    /// The card, for a later index; the scan ignores it.
    pub card: Option<CardHmac>,
}

/// A message from an issuer that matched nothing, as far as it can be compared with what was sent: for a person who looks
/// for the answer to a request that timed out (T4). Never more of a card than its mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray {
    /// What it was.
    pub mti: Mti,
    /// DE11.
    pub stan: Option<Stan>,
    /// DE7.
    pub transmitted: Option<[u8; 10]>,
    /// DE37.
    pub rrn: Option<Rrn>,
    /// DE41 and DE42.
    pub terminal: Option<TerminalId>,
    /// DE4.
    pub amount: Option<[u8; 12]>,
    /// DE2, masked.
    pub card: Option<MaskedPan>,
    /// DE39.
    pub code: Option<ResponseCode>,
}

impl Stray {
    /// What a message says of itself. Fields that cannot be read count as absent.
    pub fn of(message: &Fields) -> Stray {
        let terminal = message.get(41).zip(message.get(42));
        Stray {
            mti: message.mti(),
            stan: message.get(11).and_then(|digits| Stan::try_from(digits).ok()),
            transmitted: message.get(7).and_then(|digits| digits.try_into().ok()),
            rrn: message.get(37).and_then(|text| Rrn::try_from(text).ok()),
            terminal: terminal.and_then(|(terminal, merchant)| TerminalId::new(terminal, merchant).ok()),
            amount: message.get(4).and_then(|digits| digits.try_into().ok()),
            card: message.get(2).and_then(|digits| Pan::try_from(digits).ok()).map(|pan| pan.masked()),
            code: message.get(39).and_then(|text| ResponseCode::try_from(text).ok()),
        }
    }
}

/// Counted and logged by the shell; carries nothing secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A terminal's message was answered.
    Answered {
        /// MTI of the request.
        mti: Mti,
        /// DE39 of the answer.
        code: ResponseCode,
        /// The movement, where one is concerned.
        rrn: Option<Rrn>,
        /// From the arrival of the message to the decision to answer, in milliseconds.
        after_ms: u64,
        /// The part of it spent waiting for the issuer, in milliseconds; 0 when it was not asked.
        issuer_ms: u64,
    },
    /// A repeat or a reversal was decided by this rule of section 6 (or T8, T10).
    Decided {
        /// "D1" … "D12", "T10", "C1".
        rule: &'static str,
        /// The movement, where one is concerned.
        rrn: Option<Rrn>,
    },
    /// A promise to reverse is recorded.
    ObligationRecorded {
        /// Whose.
        issuer: IssuerNo,
        /// The rule that opened it.
        rule: &'static str,
        /// The movement.
        rrn: Rrn,
    },
    /// A reversal was handed out to be sent.
    ObligationSent {
        /// To whom.
        issuer: IssuerNo,
        /// The movement.
        rrn: Rrn,
        /// Which send of it in this process, from 1.
        attempt: u32,
    },
    /// An obligation ended by an acknowledgement that counts.
    ObligationAcknowledged {
        /// By whom.
        issuer: IssuerNo,
        /// The movement.
        rrn: Rrn,
        /// The code.
        code: ResponseCode,
    },
    /// An answer came for a request that was already decided (T5).
    LateAnswer {
        /// From whom.
        issuer: IssuerNo,
        /// The movement.
        rrn: Rrn,
        /// Its code.
        code: ResponseCode,
    },
    /// A message from an issuer that matches nothing that waits (T4).
    Unmatched {
        /// Which link brought it.
        link: LinkNo,
        /// What it was.
        stray: Stray,
    },
    /// A durable entry for `switchd doubt` was made.
    Exception {
        /// The rule.
        rule: &'static str,
        /// The movement, where one is concerned.
        rrn: Option<Rrn>,
    },
    /// A movement ended or changed its state.
    State {
        /// The movement.
        id: MovementId,
        /// Its RRN.
        rrn: Rrn,
        /// The state it is in now.
        state: crate::movement::StateKind,
    },
    /// A link connection is signed on and takes requests, or no longer does.
    LinkReady {
        /// The connection.
        link: LinkId,
        /// Whether it takes requests.
        ready: bool,
    },
}
