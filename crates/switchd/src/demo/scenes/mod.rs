//! What is played: each scene drives terminals of its own, and tells what it saw against what the money rules promise.
//!
//! Not a simulation: sockets, processes and time are real. Invariant: a row of the table shows only what was observed at
//! the terminal, in the issuer's ledger and in the switch; what a scene expected and did not see is in [`Row::wrong`].

mod crash;
mod everyday;
mod issuer;
mod operator;
mod scene;
mod twice;

use std::time::Duration;

use anyhow::Result;
use counterparts::faults::{Fault, Match, MtiClass, Rule, Side};
use iso8583::ResponseCode;
use tokio::sync::watch;

use super::progress::Progress;
use super::stage::{Stage, Tx};
use super::timing;

pub(crate) use crash::play_kill;
pub(crate) use scene::{Row, units};

/// What every scene is given.
#[derive(Clone, Copy)]
pub(crate) struct World<'a> {
    /// The processes.
    pub(crate) stage: &'a Stage,
    /// The switch's movements, as they were a moment ago.
    pub(crate) books: &'a watch::Receiver<Vec<Tx>>,
    /// Where a scene says that it is over.
    pub(crate) progress: &'a Progress,
}

/// Terminals that the scenes need.
pub(crate) const TERMINALS: u16 = 18;

/// Terminals that behave otherwise than group 1, and their groups in [`timing::configuration`].
pub(crate) const GROUPS: [(u16, u8); 2] = [(KEYED_TWICE, 2), (TAKES_PARTIAL, 3)];

/// The card of terminal `number`; the issuer's faults know it by its last four digits.
fn card(number: u16) -> String {
    format!("400000123456{number:04}")
}

/// The card with little money.
pub(crate) fn poor_card() -> String {
    card(POOR)
}

const APPROVED: u16 = 1;
const POOR: u16 = 2;
const ASKED_TWICE: u16 = 3;
const SILENT: u16 = 4;
const LATE: u16 = 5;
const VANISHING: u16 = 6;
const REVERSES: u16 = 7;
const IGNORED: u16 = 8;
const IN_FLIGHT: [u16; 3] = [9, 10, 11];
const BEFORE_KILL: u16 = 12;
const KEYED_TWICE: u16 = 13;
const EQUAL_SALES: u16 = 14;
const OVERTAKEN: u16 = 15;
const TAKES_PARTIAL: u16 = 16;
const REFUSES_PARTIAL: u16 = 17;
const FOR_OPERATOR: u16 = 18;

/// How much of a sale the issuer approves in part.
const PARTIAL_PERCENT: u8 = 60;

/// How the issuer misbehaves, by card. A count of times leaves a good issuer to the terminal's last sale.
pub(crate) fn faults() -> Vec<Rule> {
    let on = |number: u16, class, fault| {
        let card_suffix = Some(format!("{number:04}"));
        Rule::new(Match { card_suffix, mti_class: Some(class), ..Match::default() }, fault)
    };
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let late = |number, by| on(number, MtiClass::Request, Fault::LateMs(ms(by)));
    let partly = |number| on(number, MtiClass::Request, Fault::PartialPercent(PARTIAL_PERCENT)).times(1);
    let mut rules = vec![
        on(SILENT, MtiClass::Request, Fault::Silence(Side::AfterLedger)),
        late(LATE, timing::LATE_ANSWER),
        late(VANISHING, timing::SLOW_ANSWER),
        late(KEYED_TWICE, timing::SLOW_ANSWER).times(1),
        on(IGNORED, MtiClass::Reversal, Fault::Ignore).times(2),
        on(OVERTAKEN, MtiClass::Request, Fault::DelayMs(ms(timing::OVERTAKEN))).times(1),
        partly(TAKES_PARTIAL),
        partly(REFUSES_PARTIAL),
        on(FOR_OPERATOR, MtiClass::Reversal, Fault::Answer(ResponseCode::NOT_FOUND)).times(1),
    ];
    rules.extend(IN_FLIGHT.map(|number| late(number, timing::IN_FLIGHT).times(1)));
    rules
}

/// All scenes that can be played at once.
pub(crate) async fn play_together(world: World<'_>) -> Result<Vec<Row>> {
    let played = tokio::try_join!(everyday::play(world), issuer::play(world), twice::play(world), operator::play(world),)?;
    let (everyday, issuer, twice, operator) = played;
    Ok([everyday, issuer, twice, operator].concat())
}
