//! The end: everything quiet, the three ledgers side by side, nothing in doubt. The load test uses this file too.
//!
//! Judges from outside: HTTP of the issuer, journals of the terminals, the switch's own command line. Invariant: a
//! [`Verdict`] without [`Verdict::wrong`] means that all three were read and agree on every key.

use std::time::Duration;

use anyhow::Result;
use counterparts::reconcile::{Reconciliation, TerminalJournal, reconcile};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::stage::{Doubt, Exception, Stage, Tx};

/// What was found.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    /// Movements that the switch has in doubt.
    pub(crate) in_doubt: usize,
    /// Approved and handed over; the terminal's next request confirms them.
    pub(crate) unconfirmed: usize,
    /// The three ledgers.
    pub(crate) ledgers: Reconciliation,
    /// Everything that is not as it must be, each in a sentence.
    pub(crate) wrong: Vec<String>,
}

/// Waits at most `within` until nothing is in doubt, then compares with what the terminals have, who are quiet.
pub(crate) async fn judge(stage: &Stage, terminals: &[TerminalJournal], within: Duration) -> Result<Verdict> {
    let doubt = until_quiet(stage, within).await?;
    let transactions = stage.transactions().await?;
    let movements: Vec<_> = transactions.iter().map(Tx::movement).collect();
    let ledgers = reconcile(&stage.movements().await?, &movements, terminals);
    let mut wrong = ledgers.disagreements.clone();
    wrong.extend(ledgers.in_doubt.iter().map(|rrn| format!("{rrn}: the switch has not brought it to an end")));
    wrong.extend(ledgers.needs_operator.iter().map(|rrn| format!("{rrn}: needs an operator")));
    wrong.extend(ledgers.unknown_to_terminal.iter().map(|key| format!("{key}: the terminal does not know how it ended")));
    let person = |e: &Exception| format!("{} {}: an entry for a person ({})", e.terminal, e.stan, e.rule);
    wrong.extend(doubt.exceptions.iter().map(person));
    if doubt.in_doubt > 0 {
        wrong.push(format!("{} movements are in doubt", doubt.in_doubt));
    }
    wrong.extend(issuers_books(stage).await?);
    let unconfirmed = transactions.iter().filter(|tx| tx.state == "awaiting_confirmation").count();
    Ok(Verdict { in_doubt: doubt.in_doubt, unconfirmed, ledgers, wrong })
}

async fn until_quiet(stage: &Stage, within: Duration) -> Result<Doubt> {
    let deadline = Instant::now() + within;
    loop {
        let doubt = stage.doubt().await?;
        if doubt.in_doubt == 0 || Instant::now() >= deadline {
            return Ok(doubt);
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// What the issuer's own books say against it or against the switch.
async fn issuers_books(stage: &Stage) -> Result<Vec<String>> {
    let report = stage.ledger().await?;
    let mut wrong = report.ledger.inconsistencies;
    if !report.ledger.consistent {
        wrong.push("the issuer's books do not add up".to_owned());
    }
    let twice = report.ledger.approved_more_than_once.iter();
    wrong.extend(twice.map(|twice| format!("{}: the issuer approved it {} times", twice.rrn, twice.times)));
    let asked_again = report.counts.repeats + report.counts.reused_keys;
    if asked_again > 0 {
        wrong.push(format!("the issuer was asked {asked_again} times for what it had been asked before"));
    }
    Ok(wrong)
}
