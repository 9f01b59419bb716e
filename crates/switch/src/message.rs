//! The messages that the switch makes: answers to terminals, requests, reversals and network messages to issuers.
//!
//! All are canonical; the shell writes them in the peer's dialect. Field numbers are ISO 8583:1987's.

use alloc::boxed::Box;

use iso8583::{Fields, Mti, ResponseCode, Stan};

use crate::config::Link;
use crate::movement::{Movement, ReversalNumbers, Scope};

/// What an answer returns unchanged, where the request had it (WIRE, "Messages").
const ECHOED: [u8; 11] = [3, 4, 7, 11, 12, 13, 32, 33, 41, 42, 49];
const PAN: u8 = 2;
const RRN: u8 = 37;

/// What an answer must return of its request: kept while the answer is waited for, without card data.
pub(crate) fn echo_of(request: &Fields, echo_pan: bool) -> Box<Fields> {
    let mut echo = Box::new(Fields::new(request.mti()));
    if echo_pan {
        echo.copy_from(request, PAN);
    }
    for de in ECHOED {
        echo.copy_from(request, de);
    }
    echo.copy_from(request, RRN);
    echo
}

/// What the first answer passes on of the issuer's besides the stored fields: settlement date, text, chip data. Not kept.
const PASSED_ON: [u8; 3] = [15, 44, 55];

/// Takes what is passed on of an issuer's answer into what is kept for the terminal's.
pub(crate) fn pass_on(echo: &mut Fields, from_issuer: &Fields) {
    for de in PASSED_ON {
        echo.copy_from(from_issuer, de);
    }
}

/// An answer to a terminal. With a movement, the answer carries its RRN; `replay` adds the issuer's 4, 38 and 54 (D2).
pub(crate) fn answer(echo: &Fields, code: ResponseCode, movement: Option<&Movement>, replay: bool) -> Box<Fields> {
    let mut answer = Box::new(echo.clone());
    answer.set_mti(echo.mti().response());
    answer.set(39, code.as_bytes());
    if let Some(movement) = movement {
        answer.set(RRN, movement.rrn.as_bytes());
        if let Some(held) = movement.answer.as_ref().filter(|_| replay) {
            if let Some(approval) = &held.approval {
                answer.set(38, approval);
            }
            if let Some(amount) = held.amount {
                answer.set(4, &amount.digits());
            }
            if let Some(balances) = &held.balances {
                answer.set(54, balances.as_bytes());
            }
        }
    }
    answer
}

/// A refusal of a message that the core never saw (03, 30): what it needs of the request is echoed. `None` for a message
/// that is itself an answer.
pub fn refusal(request: &Fields, code: ResponseCode) -> Option<Box<Fields>> {
    if request.mti().is_response() {
        return None;
    }
    Some(answer(&echo_of(request, false), code, None, false))
}

/// The request that leaves for the issuer: the terminal's, under the link's own numbers (K4). A repeat whose original never
/// arrived is the original, so the MTI is always that of the plain request.
pub(crate) fn request(from_terminal: &Fields, movement: &Movement) -> Box<Fields> {
    let mut request = Box::new(from_terminal.clone());
    request.set_mti(movement.key.class.request());
    request.set(7, &movement.sent_as.transmitted);
    request.set(11, &movement.sent_as.stan.digits());
    request.set(RRN, movement.rrn.as_bytes());
    // A MAC ends at the leg that it was made for.
    request.remove(64);
    request.remove(128);
    request
}

/// A reversal (R1), made from what may be stored only (R8). DE2 is put in when it is released.
pub(crate) fn reversal(movement: &Movement, link: &Link, numbers: ReversalNumbers, again: bool) -> Box<Fields> {
    let mti = match (link.reversal_as_request, again) {
        (false, false) => Mti::new(b"0420"),
        (false, true) => Mti::new(b"0421"),
        (true, false) => Mti::new(b"0400"),
        (true, true) => Mti::new(b"0401"),
    };
    let mut reversal = Box::new(Fields::new(mti));
    reversal.set(3, &movement.fingerprint.processing_code);
    reversal.set(4, &digits12(numbers.minor));
    reversal.set(7, &numbers.sent_as.transmitted);
    reversal.set(11, &numbers.sent_as.stan.digits());
    if let Some(local) = &movement.local_time {
        reversal.set(12, &local[..6]);
        reversal.set(13, &local[6..]);
    }
    if let Some(entry_mode) = &movement.entry_mode {
        reversal.set(22, entry_mode);
    }
    if let Some(condition) = &movement.condition {
        reversal.set(25, condition);
    }
    if let Some(acquirer) = &movement.acquirer {
        reversal.set(32, acquirer.as_bytes());
    }
    reversal.set(RRN, movement.rrn.as_bytes());
    let scope = movement.obligation.as_ref().map_or(Scope::All, |obligation| obligation.scope);
    let held = movement.answer.as_ref().and_then(|held| held.approval);
    let approval = if let Scope::Approval { approval, .. } = scope { Some(approval) } else { held };
    if let Some(approval) = approval {
        reversal.set(38, &approval);
    }
    reversal.set(41, movement.key.terminal.terminal());
    reversal.set(42, movement.key.terminal.merchant());
    reversal.set(49, movement.fingerprint.amount.currency().as_bytes());
    if let Some(obligation) = &movement.obligation {
        reversal.set(56, obligation.reason.digits());
    }
    reversal.set(90, &original_data(movement));
    reversal.set(95, &replacement_amounts(scope));
    reversal
}

/// DE95: what remains of the amount, then zeros; all zeros for a full reversal.
fn replacement_amounts(scope: Scope) -> [u8; 42] {
    let mut out = [b'0'; 42];
    if let Scope::AllBut { remains_minor } = scope {
        out[..12].copy_from_slice(&digits12(remains_minor));
    }
    out
}

/// An amount of minor units as DE4 and DE95 have it.
fn digits12(minor: u64) -> [u8; 12] {
    let mut out = [b'0'; 12];
    let mut rest = minor;
    for place in out.iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out
}

/// DE90 of a reversal: MTI, STAN and DE7 of the original on this leg, then DE32 right-justified, then zeros for DE33.
fn original_data(movement: &Movement) -> [u8; 42] {
    let mut out = [b'0'; 42];
    out[..4].copy_from_slice(movement.key.class.request().as_bytes());
    out[4..10].copy_from_slice(&movement.sent_as.stan.digits());
    out[10..20].copy_from_slice(&movement.sent_as.transmitted);
    if let Some(acquirer) = movement.acquirer.as_deref().filter(|text| text.len() <= 11) {
        out[31 - acquirer.len()..31].copy_from_slice(acquirer.as_bytes());
    }
    out
}

/// What 0800 says in DE70.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    SignOn,
    SignOff,
    Echo,
}

/// A network message to an issuer.
pub(crate) fn network(what: Network, stan: Stan, transmitted: [u8; 10]) -> Box<Fields> {
    let mut message = Box::new(Fields::new(Mti::new(b"0800")));
    message.set(7, &transmitted);
    message.set(11, &stan.digits());
    message.set(
        70,
        match what {
            Network::SignOn => b"001",
            Network::SignOff => b"002",
            Network::Echo => b"301",
        },
    );
    message
}

/// The answer to a network message of either side.
pub(crate) fn network_answer(request: &Fields, code: ResponseCode) -> Box<Fields> {
    let mut message = answer(&echo_of(request, false), code, None, false);
    message.copy_from(request, 70);
    message
}
