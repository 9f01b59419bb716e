//! Answers that say something else than the books.
//!
//! Moves nothing. Invariant: one data element differs, in the form that it must have, so that only
//! a comparison can tell.

use iso8583::{Fields, ResponseCode};

use crate::codes::approves;
use crate::faults::{Approval, Wrong};

/// Half of the STANs: added to one, it leads to one that no request nearby has.
const STANS_HALF: u32 = 500_000;
/// The longest DE4.
const AMOUNT_MAX: u64 = 999_999_999_999;

/// The same answer with one thing wrong. What it does not carry stays absent. More is more than was asked for.
pub(super) fn wrong(mut answer: Fields, what: Wrong, asked: &Fields) -> Fields {
    match what {
        Wrong::Stan => {
            if let Some(stan) = number(&answer, 11) {
                let other = (stan + u64::from(STANS_HALF)) % 1_000_000;
                answer.set(11, format!("{:06}", other.max(1)).as_bytes());
            }
        }
        Wrong::Rrn => turn_last(&mut answer, 37),
        Wrong::Card => turn_last(&mut answer, 2),
        Wrong::Terminal => turn_last(&mut answer, 41),
        Wrong::More => {
            let asked = number(asked, 4).unwrap_or(0);
            amount(&mut answer, |minor| (minor.max(asked) + 1).min(AMOUNT_MAX));
        }
        Wrong::Less => amount(&mut answer, |minor| minor.saturating_sub(1)),
        Wrong::Currency => turn_last(&mut answer, 49),
    }
    answer
}

/// The same answer with another code; one that refuses carries neither DE38 nor DE54.
pub(super) fn with_code(mut answer: Fields, code: ResponseCode) -> Fields {
    answer.set(39, code.as_bytes());
    if !approves(code.as_str()) {
        answer.remove(38);
        answer.remove(54);
    }
    answer
}

/// The answer that comes second. Own codes count up from zero and never begin with X.
pub(super) fn second(mut answer: Fields, approval: Approval) -> Fields {
    match approval {
        Approval::Same => {}
        Approval::Other | Approval::SecondDebit => {
            if let Some(mut code) = answer.get(38).map(<[u8]>::to_vec) {
                code[..1].fill(b'X');
                answer.set(38, &code);
            }
        }
    }
    answer
}

fn number(answer: &Fields, de: u8) -> Option<u64> {
    answer.text(de)?.parse().ok()
}

fn amount(answer: &mut Fields, change: impl Fn(u64) -> u64) {
    if let Some(minor) = number(answer, 4) {
        answer.set(4, format!("{:012}", change(minor)).as_bytes());
    }
}

/// Another last character: the next digit, and 0 for what is no digit.
fn turn_last(answer: &mut Fields, de: u8) {
    let Some(mut value) = answer.get(de).map(<[u8]>::to_vec) else {
        return;
    };
    if let Some(last) = value.last_mut() {
        *last = match *last {
            digit @ b'0'..=b'8' => digit + 1,
            _ => b'0',
        };
        answer.set(de, &value);
    }
}
