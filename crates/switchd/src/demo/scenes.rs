//! What is played: each scene drives terminals of its own, and tells what it saw against what the money rules promise.
//!
//! Not a simulation: sockets, processes and time are real. Invariant: a row of the table shows only what was observed at
//! the terminal, in the issuer's ledger and in the switch; what a scene expected and did not see is in [`Row::wrong`].

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use counterparts::faults::{Fault, Match, MtiClass, Rule, Side};
use counterparts::issuer::MovementLine;
use counterparts::net::load::final_sale;
use counterparts::net::terminal::{TerminalClient, Vanish, VanishPoint};
use counterparts::terminal::{Presented, Receipt};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::progress::{Line, Progress};
use super::stage::{Stage, Tx, terminal_name};
use super::timing;

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
pub(crate) const TERMINALS: u16 = 12;

/// The card of terminal `number`; the issuer's faults know it by its last four digits.
fn card(number: u16) -> String {
    format!("400000123456{number:04}")
}

/// The card with little money.
pub(crate) fn poor_card() -> String {
    card(POOR)
}

const POOR: u16 = 2;
const SILENT: u16 = 4;
const LATE: u16 = 5;
const VANISHING: u16 = 6;
const IGNORED: u16 = 8;
const IN_FLIGHT: [u16; 3] = [9, 10, 11];

/// How the issuer misbehaves, by card.
pub(crate) fn faults() -> Vec<Rule> {
    let on = |number: u16, class, fault| {
        let card_suffix = Some(format!("{number:04}"));
        Rule::new(Match { card_suffix, mti_class: Some(class), ..Match::default() }, fault)
    };
    let late = |number, by: Duration| {
        on(number, MtiClass::Request, Fault::LateMs(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    };
    let mut rules = vec![
        on(SILENT, MtiClass::Request, Fault::Silence(Side::AfterLedger)),
        late(LATE, timing::LATE_ANSWER),
        late(VANISHING, timing::SLOW_ANSWER),
        on(IGNORED, MtiClass::Reversal, Fault::Ignore).times(2),
    ];
    // Once each, so that the terminals' last sales find a good issuer.
    rules.extend(IN_FLIGHT.map(|number| late(number, timing::IN_FLIGHT).times(1)));
    rules
}

/// All scenes that can be played at once.
pub(crate) async fn play_together(world: World<'_>) -> Result<Vec<Row>> {
    let played = tokio::try_join!(
        approval(world),
        decline(world),
        asked_twice(world),
        silent_issuer(world),
        late_approval(world),
        vanished(world),
        reversed_by_terminal(world),
        reversal_ignored(world),
    )?;
    let (a, b, c, d, e, f, g, h) = played;
    Ok(vec![a, b, c, d, e, f, g, h])
}

async fn approval(world: World<'_>) -> Result<Row> {
    let mut scene = Scene::open(world, "approval", 1)?;
    let sale = scene.sale(1250).await?;
    scene.expect_code(&sale, "00");
    scene.last_sale().await?;
    scene.end(&sale, "confirmed", 1250).await
}

async fn decline(world: World<'_>) -> Result<Row> {
    let mut scene = Scene::open(world, "not enough funds", POOR)?;
    let sale = scene.sale(5000).await?;
    scene.expect_code(&sale, "51");
    scene.end(&sale, "declined", 0).await
}

async fn asked_twice(world: World<'_>) -> Result<Row> {
    let mut scene = Scene::open(world, "asked twice", 3)?;
    let sale = scene.sale(2000).await?;
    scene.expect_code(&sale, "00");
    scene.repeat(&sale).await?;
    scene.last_sale().await?;
    scene.end(&sale, "confirmed", 2000).await
}

async fn silent_issuer(world: World<'_>) -> Result<Row> {
    let mut scene = Scene::open(world, "silent issuer", SILENT)?;
    let sale = scene.sale(3000).await?;
    scene.expect_code(&sale, "68");
    scene.clear().await?;
    scene.end(&sale, "unwound", 0).await
}

async fn late_approval(world: World<'_>) -> Result<Row> {
    let mut scene = Scene::open(world, "late approval", LATE)?;
    let sale = scene.sale(3100).await?;
    scene.expect_code(&sale, "68");
    scene.clear().await?;
    scene.await_state(&sale.original_stan, "unwound").await;
    let late = world.stage.metric("switchd_late_answers_total").await?;
    scene.expect(late > 0.0, || "no late answer reached the switch".to_owned());
    scene.end(&sale, "unwound", 0).await
}

async fn vanished(world: World<'_>) -> Result<Row> {
    let mut scene = Scene::open(world, "terminal vanished", VANISHING)?;
    // Connected before, so that what vanishes is a terminal in the middle of its sale and not of its handshake.
    scene.echo().await?;
    scene.client.vanish_next(Vanish { point: VanishPoint::AfterSending, reset: true });
    let sale = scene.sale(3200).await?;
    scene.expect_code(&sale, "--");
    // The switch unwinds it on its own, before the terminal is back.
    scene.await_state(&sale.original_stan, "unwound").await;
    scene.clear().await?;
    scene.end(&sale, "unwound", 0).await
}

async fn reversed_by_terminal(world: World<'_>) -> Result<Row> {
    let mut scene = Scene::open(world, "terminal reverses", 7)?;
    let sale = scene.sale(3300).await?;
    scene.expect_code(&sale, "00");
    scene.reverse().await?;
    scene.end(&sale, "unwound", 0).await
}

async fn reversal_ignored(world: World<'_>) -> Result<Row> {
    let mut scene = Scene::open(world, "reversal ignored twice", IGNORED)?;
    let sale = scene.sale(3400).await?;
    scene.expect_code(&sale, "00");
    scene.reverse().await?;
    scene.await_state(&sale.original_stan, "unwound").await;
    let ignored: u64 = world.stage.faults().await?.iter().filter(|rule| rule.fault == Fault::Ignore).map(|r| r.acted).sum();
    scene.expect(ignored == 2, || format!("the issuer ignored {ignored} reversals, not 2"));
    let mut row = scene.end(&sale, "unwound", 0).await?;
    row.issuer_says += &format!(", {ignored} ignored");
    Ok(row)
}

/// `kill -9` of the daemon: three sales are on their way, one approval was just handed over.
pub(crate) async fn play_kill(world: World<'_>) -> Result<Vec<Row>> {
    let stage = world.stage;
    let mut before = Scene::open(world, "approved, then kill -9", 12)?;
    let approved = before.sale(4000).await?;
    before.expect_code(&approved, "00");
    let [mut a, mut b, mut c] = [
        Scene::open(world, "in flight at kill -9", IN_FLIGHT[0])?,
        Scene::open(world, "in flight at kill -9", IN_FLIGHT[1])?,
        Scene::open(world, "in flight at kill -9", IN_FLIGHT[2])?,
    ];
    let kill = async {
        until_ledger_has(stage, &IN_FLIGHT).await?;
        stage.kill_daemon().await
    };
    let (in_a, in_b, in_c, ()) = tokio::try_join!(a.sale(4100), b.sale(4200), c.sale(4300), kill)?;
    stage.start_daemon().await?;
    let played = tokio::try_join!(after_kill(a, in_a), after_kill(b, in_b), after_kill(c, in_c), async {
        before.back()?;
        before.repeat(&approved).await?;
        before.last_sale().await?;
        before.end(&approved, "confirmed", 4000).await
    },)?;
    let (a, b, c, before) = played;
    Ok(vec![a, b, c, before])
}

/// A terminal that was in the middle of a sale comes back, clears what it owes, and sells once more.
async fn after_kill(mut scene: Scene<'_>, sale: Receipt) -> Result<Row> {
    scene.expect_code(&sale, "--");
    scene.back()?;
    scene.clear().await?;
    scene.await_state(&sale.original_stan, "unwound").await;
    scene.last_sale().await?;
    scene.end(&sale, "unwound", 0).await
}

/// Waits until the issuer has moved money for each of these terminals.
async fn until_ledger_has(stage: &Stage, terminals: &[u16]) -> Result<()> {
    let look = async {
        loop {
            let movements = stage.movements().await?;
            let has = |number: &u16| movements.iter().any(|movement| movement.terminal == terminal_name(*number));
            if terminals.iter().all(has) {
                return Ok(());
            }
            sleep(timing::LOOK_AGAIN).await;
        }
    };
    timeout(timing::SETTLES_WITHIN, look).await.context("the sales in flight did not reach the issuer")?
}

/// One terminal and what it saw.
struct Scene<'a> {
    world: World<'a>,
    what: &'static str,
    number: u16,
    client: TerminalClient,
    card: Presented,
    saw: Vec<String>,
    wrong: Vec<String>,
    line: Line,
    started: Instant,
}

impl<'a> Scene<'a> {
    fn open(world: World<'a>, what: &'static str, number: u16) -> Result<Self> {
        Ok(Self {
            world,
            what,
            number,
            client: TerminalClient::open(world.stage.terminal(number)?)?,
            card: Presented::new(card(number).parse()?),
            saw: Vec::new(),
            wrong: Vec::new(),
            line: world.progress.line(what),
            started: Instant::now(),
        })
    }

    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.wrong.push(otherwise());
        }
    }

    fn expect_code(&mut self, receipt: &Receipt, code: &str) {
        let got = receipt.code();
        self.expect(got == code, || format!("the terminal was to see {code} and saw {got}"));
    }

    fn saw(&mut self, what: &str, receipt: &Receipt) {
        let code = receipt.code.as_deref().unwrap_or("no answer");
        self.saw.push(if what.is_empty() { code.to_owned() } else { format!("{what} {code}") });
    }

    async fn sale(&mut self, minor: u64) -> Result<Receipt> {
        self.started = Instant::now();
        self.line.says("sale");
        let receipt = self.client.sale(&self.card, minor).await?;
        self.saw("", &receipt);
        Ok(receipt)
    }

    async fn echo(&mut self) -> Result<()> {
        let receipt = self.client.echo().await?;
        self.expect_code(&receipt, "00");
        Ok(())
    }

    /// The same sale once more: it must be told the same.
    async fn repeat(&mut self, first: &Receipt) -> Result<()> {
        self.line.says("the same once more");
        let again = self.client.repeat().await?;
        self.saw("repeat", &again);
        let same = (&first.code, &first.rrn, &first.approval, &first.amount);
        let differs = same != (&again.code, &again.rrn, &again.approval, &again.amount);
        self.expect(!differs, || format!("the repeat was answered with {again:?}, the first with {first:?}"));
        Ok(())
    }

    async fn reverse(&mut self) -> Result<()> {
        self.line.says("reversal");
        let card = self.card.card.clone();
        let receipt = self.client.reverse(None, 0, Some(&card)).await?;
        self.saw("reversal", &receipt);
        self.expect_code(&receipt, "00");
        Ok(())
    }

    /// Clears what the terminal owes; it must owe something.
    async fn clear(&mut self) -> Result<()> {
        self.line.says("the terminal clears what it owes");
        match self.client.clear_pending(timing::SETTLES_WITHIN).await? {
            Some(receipt) => {
                self.saw("reversal", &receipt);
                self.expect_code(&receipt, "00");
            }
            None => self.wrong.push("the terminal owed no reversal".to_owned()),
        }
        Ok(())
    }

    /// The switch was restarted and listens elsewhere.
    fn back(&mut self) -> Result<()> {
        self.client.set_address(self.world.stage.addresses()?.terminals);
        Ok(())
    }

    /// One more sale after the crossing margin: it proves that the answers before it arrived (C1).
    async fn last_sale(&mut self) -> Result<()> {
        self.line.says("one more sale after the crossing margin");
        let (margin, within) = (timing::CROSSING_MARGIN + timing::BEYOND, timing::SETTLES_WITHIN);
        let receipt = final_sale(&mut self.client, &self.card, 100, margin, within).await?;
        self.saw("next sale", &receipt);
        self.expect_code(&receipt, "00");
        Ok(())
    }

    /// Waits until the switch has the movement in this state; the movement as it is then, or was last seen.
    async fn await_state(&mut self, stan: &str, state: &str) -> Option<Tx> {
        self.line.says(format!("waits until it is {state}"));
        let terminal = terminal_name(self.number);
        let find = |books: &[Tx]| books.iter().find(|tx| tx.terminal == terminal && tx.stan == stan).cloned();
        let mut books = self.world.books.clone();
        let reached = books.wait_for(|books| find(books).is_some_and(|tx| tx.state == state));
        // One wait in vain is enough.
        let within = if self.wrong.is_empty() { timing::SETTLES_WITHIN } else { timing::LOOK_AGAIN * 5 };
        let reached = timeout(within, reached).await.is_ok_and(|reached| reached.is_ok());
        let tx = find(&self.world.books.borrow());
        let is = tx.as_ref().map_or("unknown", |tx| tx.state.as_str());
        self.expect(reached, || format!("{terminal} {stan}: the switch was to have it {state} and has it {is}"));
        tx
    }

    /// The row of the movement that `sale` asked for: it must end in `state`, and the issuer must have `net` standing.
    async fn end(mut self, sale: &Receipt, state: &str, net: i64) -> Result<Row> {
        let tx = self.await_state(&sale.original_stan, state).await;
        let took_ms = self.started.elapsed().as_millis();
        let movements = self.world.stage.movements().await?;
        let rrn = tx.as_ref().map(|tx| tx.rrn.clone());
        let of_this = |movement: &&MovementLine| Some(&movement.rrn) == rrn.as_ref();
        let movements: Vec<_> = movements.iter().filter(of_this).collect();
        let stands: i64 = movements.iter().map(|movement| movement.net).sum();
        self.expect(stands == net, || format!("the issuer was to have {net} standing and has {stands}"));
        let ended = tx.map_or_else(|| "not known to the switch".to_owned(), |tx| ending(&tx));
        self.line.ends(&ended, self.wrong.is_empty());
        let row = Row {
            what: self.what,
            terminal: terminal_name(self.number),
            rrn,
            terminal_saw: self.saw.join(", "),
            issuer_says: ledger_words(&movements),
            ended,
            took_ms,
            wrong: self.wrong,
        };
        Ok(row)
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
