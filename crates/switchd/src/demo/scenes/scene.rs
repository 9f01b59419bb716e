//! One terminal, what it saw, and the rows that come of it.
//!
//! Invariant: what was expected and not seen ends in the `wrong` of a row; nothing that was expected is forgotten.

use std::time::Instant;

use anyhow::Result;
use counterparts::issuer::MovementLine;
use counterparts::net::load::final_sale;
use counterparts::net::terminal::TerminalClient;
use counterparts::terminal::{Presented, Receipt};
use tokio::time::{sleep, timeout};

use super::{World, card};
use crate::demo::progress::Line;
use crate::demo::stage::{Tx, terminal_name};
use crate::demo::timing;

/// One line of the table, as it was observed.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Row {
    /// What happened.
    pub(crate) what: &'static str,
    /// DE41 of the terminal.
    pub(crate) terminal: String,
    /// DE37 of the movement.
    pub(crate) rrn: Option<String>,
    /// What the terminal saw, in order.
    pub(crate) terminal_saw: String,
    /// What the issuer's ledger says of the movement.
    pub(crate) issuer_says: String,
    /// The state in which the switch has it, and by which rule.
    pub(crate) ended: String,
    /// From the first message to that end.
    pub(crate) took_ms: u128,
    /// What was expected and not seen, each in a sentence; empty when all was.
    pub(crate) wrong: Vec<String>,
}

impl Row {
    /// The issuer took this amount and gave it back: that nothing stands is not enough.
    pub(super) fn must_be_given_back(&mut self, minor: u64) {
        let expected = format!("{} given back", units(minor));
        if self.issuer_says != expected {
            self.wrong.push(format!("the issuer's ledger was to say {expected:?} and says {:?}", self.issuer_says));
        }
    }

    /// By this rule.
    pub(super) fn must_end(&mut self, ended: &str) {
        if self.ended != ended {
            self.wrong.push(format!("it was to end {ended:?} and is {:?}", self.ended));
        }
    }
}

/// One terminal and what it saw.
pub(super) struct Scene<'a> {
    world: World<'a>,
    what: &'static str,
    number: u16,
    pub(super) client: TerminalClient,
    card: Presented,
    /// DE11 of the sale that it was about, and what the terminal saw.
    saw: Vec<(String, String)>,
    /// DE11 of the newest sale that is a scene's own.
    sold: Option<String>,
    wrong: Vec<String>,
    line: Line,
    started: Instant,
}

impl<'a> Scene<'a> {
    /// Terminal `number`, which reverses what it does not know before anything new.
    pub(super) fn open(world: World<'a>, what: &'static str, number: u16) -> Result<Self> {
        Self::with(world, what, number, true)
    }

    /// Terminal `number`, which sells on without a word about what it does not know.
    pub(super) fn open_forgetful(world: World<'a>, what: &'static str, number: u16) -> Result<Self> {
        Self::with(world, what, number, false)
    }

    fn with(world: World<'a>, what: &'static str, number: u16, reverses_first: bool) -> Result<Self> {
        let mut terminal = world.stage.terminal(number)?;
        terminal.settings.reverses_first = reverses_first;
        Ok(Self {
            world,
            what,
            number,
            client: TerminalClient::open(terminal)?,
            card: Presented::new(card(number).parse()?),
            saw: Vec::new(),
            sold: None,
            wrong: Vec::new(),
            line: world.progress.line(what),
            started: Instant::now(),
        })
    }

    pub(super) fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(otherwise());
        }
    }

    pub(super) fn expect_code(&mut self, receipt: &Receipt, code: &str) {
        let got = receipt.code();
        self.expect(got == code, || format!("the terminal was to see {code} and saw {got}"));
    }

    /// What the terminal saw, about the sale with this DE11.
    fn saw(&mut self, stan: &str, what: &str, receipt: &Receipt) {
        let code = receipt.code.as_deref().unwrap_or("no answer");
        let words = if what.is_empty() { code.to_owned() } else { format!("{what} {code}") };
        self.saw.push((stan.to_owned(), words));
    }

    pub(super) async fn sale(&mut self, minor: u64) -> Result<Receipt> {
        if self.sold.is_none() {
            self.started = Instant::now();
        }
        self.line.says("sale");
        let receipt = self.client.sale(&self.card, minor).await?;
        self.saw(&receipt.original_stan, "", &receipt);
        self.sold = Some(receipt.original_stan.clone());
        Ok(receipt)
    }

    pub(super) async fn echo(&mut self) -> Result<()> {
        let receipt = self.client.echo().await?;
        self.expect_code(&receipt, "00");
        Ok(())
    }

    /// The same sale once more: it must be told the same.
    pub(super) async fn repeat(&mut self, first: &Receipt) -> Result<()> {
        self.line.says("the same once more");
        let again = self.client.repeat().await?;
        self.saw(&first.original_stan, "repeat", &again);
        let same = (&first.code, &first.rrn, &first.approval, &first.amount);
        let differs = same != (&again.code, &again.rrn, &again.approval, &again.amount);
        self.expect(!differs, || format!("the repeat was answered with {again:?}, the first with {first:?}"));
        Ok(())
    }

    pub(super) async fn reverse(&mut self, sale: &Receipt) -> Result<()> {
        self.line.says("reversal");
        let card = self.card.card.clone();
        let receipt = self.client.reverse(Some(sale.original_stan.parse()?), 0, Some(&card)).await?;
        self.saw(&sale.original_stan, "reversal", &receipt);
        self.expect_code(&receipt, "00");
        Ok(())
    }

    /// Clears what the terminal owes; it must owe something.
    pub(super) async fn clear(&mut self) -> Result<()> {
        self.line.says("the terminal clears what it owes");
        match self.client.clear_pending(timing::SETTLES_WITHIN).await? {
            Some(receipt) => {
                self.saw(&receipt.original_stan, "reversal", &receipt);
                self.expect_code(&receipt, "00");
            }
            None => self.wrong.push("the terminal owed no reversal".to_owned()),
        }
        Ok(())
    }

    /// The switch was restarted and listens elsewhere.
    pub(super) fn back(&mut self) -> Result<()> {
        self.client.set_address(self.world.stage.addresses()?.terminals);
        Ok(())
    }

    /// Waits until a new sale proves that the newest answer arrived (C1).
    pub(super) async fn past_the_margin(&mut self) {
        self.line.says("waits for the crossing margin");
        sleep(timing::CROSSING_MARGIN + timing::BEYOND).await;
    }

    /// One more sale after the crossing margin: it proves that the answers before it arrived (C1).
    pub(super) async fn last_sale(&mut self) -> Result<()> {
        self.line.says("one more sale after the crossing margin");
        let (margin, within) = (timing::CROSSING_MARGIN + timing::BEYOND, timing::SETTLES_WITHIN);
        let receipt = final_sale(&mut self.client, &self.card, 100, margin, within).await?;
        let of = self.sold.clone().unwrap_or_default();
        self.saw(&of, "next sale", &receipt);
        self.expect_code(&receipt, "00");
        Ok(())
    }

    /// An operator decides with `switchd resolve`; the decision must be taken.
    pub(super) async fn resolve(&mut self, rrn: &str, decision: &str, why: &str) {
        self.line.says("an operator decides");
        if let Err(refused) = self.world.stage.resolve(rrn, decision, why).await {
            self.wrong.push(format!("the operator's decision was refused: {refused}"));
        }
    }

    /// Waits until the switch has the movement in this state; the movement as it is then, or was last seen.
    pub(super) async fn await_state(&mut self, sale: &Receipt, state: &str) -> Option<Tx> {
        self.await_tx(sale, state, |tx| tx.state == state).await
    }

    /// Waits until the switch has the movement so; the movement as it is then, or was last seen.
    pub(super) async fn await_tx(&mut self, sale: &Receipt, what: &str, so: impl Fn(&Tx) -> bool) -> Option<Tx> {
        self.line.says(format!("waits until it is {what}"));
        let (terminal, stan) = (terminal_name(self.number), &sale.original_stan);
        let find = |books: &[Tx]| books.iter().find(|tx| tx.terminal == terminal && tx.stan == *stan).cloned();
        let mut books = self.world.books.clone();
        let reached = books.wait_for(|books| find(books).is_some_and(|tx| so(&tx)));
        // One wait in vain is enough.
        let within = if self.wrong.is_empty() { timing::SETTLES_WITHIN } else { timing::LOOK_AGAIN * 5 };
        let seen = timeout(within, reached).await.ok().and_then(Result::ok).and_then(|books| find(&books));
        let reached = seen.is_some();
        let tx = seen.or_else(|| find(&self.world.books.borrow()));
        let is = tx.as_ref().map_or("unknown", |tx| tx.state.as_str());
        self.expect(reached, || format!("{terminal} {stan}: the switch was to have it {what} and has it {is}"));
        tx
    }

    /// The row of the movement that `sale` asked for: it must be in `state`, and the issuer must have `net` standing.
    /// Takes along what was wrong so far.
    pub(super) async fn row(&mut self, what: &'static str, sale: &Receipt, state: &str, net: i64) -> Result<Row> {
        let tx = self.await_state(sale, state).await;
        let took_ms = self.started.elapsed().as_millis();
        let movements = self.world.stage.movements().await?;
        let rrn = tx.as_ref().map(|tx| tx.rrn.clone());
        let of_this = |movement: &&MovementLine| Some(&movement.rrn) == rrn.as_ref();
        let movements: Vec<_> = movements.iter().filter(of_this).collect();
        let stands: i64 = movements.iter().map(|movement| movement.net).sum();
        self.expect(stands == net, || format!("the issuer was to have {net} standing and has {stands}"));
        let saw = self.saw.iter().filter(|(stan, _)| *stan == sale.original_stan).map(|(_, words)| words.as_str());
        Ok(Row {
            what,
            terminal: terminal_name(self.number),
            rrn,
            terminal_saw: saw.collect::<Vec<_>>().join(", "),
            issuer_says: ledger_words(&movements),
            ended: tx.map_or_else(|| "not known to the switch".to_owned(), |tx| ending(&tx)),
            took_ms,
            wrong: std::mem::take(&mut self.wrong),
        })
    }

    /// The one row of a scene.
    pub(super) async fn end(mut self, sale: &Receipt, state: &str, net: i64) -> Result<Row> {
        let row = self.row(self.what, sale, state, net).await?;
        self.line.ends(&row.ended, row.wrong.is_empty());
        Ok(row)
    }

    /// The end of a scene of several rows.
    pub(super) fn over(self, how: &str, rows: &[Row]) {
        self.line.ends(how, rows.iter().all(|row| row.wrong.is_empty()));
    }
}

/// What the ledger says of the movements of one RRN.
fn ledger_words(movements: &[&MovementLine]) -> String {
    let words = movements.iter().map(|movement| {
        let taken = units(movement.amount);
        match u64::try_from(movement.net) {
            Ok(0) => format!("{taken} given back"),
            Ok(net) if net == movement.amount => format!("{taken} stands"),
            Ok(net) => format!("{taken} taken, {} stands", units(net)),
            Err(_) => format!("{taken} taken, {} minor units too many given back", movement.net),
        }
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { "nothing moved".to_owned() } else { words.join("; ") }
}

/// The state, and the rule that led there.
fn ending(tx: &Tx) -> String {
    let state = tx.state.replace('_', " ");
    match &tx.cause {
        Some(cause) => format!("{state}: {cause}"),
        None => state,
    }
}

/// Minor units as `12.50`.
pub(crate) fn units(minor: u64) -> String {
    format!("{}.{:02}", minor / 100, minor % 100)
}
