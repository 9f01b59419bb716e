//! Issuers that are silent, late, slow to book, deaf to reversals, or give less than they were asked for.

use anyhow::Result;
use counterparts::faults::Fault;
use tokio::time::{sleep, timeout};

use super::scene::{Row, Scene, units};
use super::{IGNORED, LATE, OVERTAKEN, PARTIAL_PERCENT, REFUSES_PARTIAL, SILENT, TAKES_PARTIAL, World};
use crate::demo::stage::Stage;
use crate::demo::timing;

/// All of them at once.
pub(super) async fn play(world: World<'_>) -> Result<Vec<Row>> {
    let played = tokio::try_join!(
        silent_issuer(world),
        late_approval(world),
        reversal_came_first(world),
        reversal_ignored(world),
        partial_taken(world),
        partial_not_taken(world),
    )?;
    Ok(<[Row; 6]>::from(played).into())
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
    let tx = scene.await_state(&sale, "unwound").await;
    let late = world.stage.metric("switchd_late_answers_total").await?;
    scene.expect(late > 0.0, || "no late answer is counted".to_owned());
    let code = tx.and_then(|tx| tx.code);
    scene.expect(code.as_deref() == Some("00"), || format!("the late approval is kept as evidence, and there is {code:?}"));
    scene.end(&sale, "unwound", 0).await
}

/// R3: the issuer books the sale after its reversal has come, and has said 00 to that reversal. Whoever believes it leaves
/// the customer with a debit.
async fn reversal_came_first(world: World<'_>) -> Result<Row> {
    let mut scene = Scene::open(world, "reversal came first", OVERTAKEN)?;
    let (sale, early) = tokio::join!(scene.sale(3500), early_reversals(world.stage));
    let (sale, early) = (sale?, early?);
    scene.expect(early > 0, || "no reversal overtook its sale".to_owned());
    scene.expect_code(&sale, "68");
    let tx = scene.await_state(&sale, "awaiting_reversal_ack").await;
    let code = tx.and_then(|tx| tx.code);
    scene.expect(code.is_none(), || format!("the issuer has answered {code:?} before its time"));
    scene.clear().await?;
    let mut row = scene.end(&sale, "unwound", 0).await?;
    row.must_be_given_back(3500);
    row.issuer_says += &format!(", {early} early");
    Ok(row)
}

/// Waits until the issuer has said 00 to a reversal of what it had not heard of; how many there were, 0 when in vain.
async fn early_reversals(stage: &Stage) -> Result<u64> {
    let look = async {
        loop {
            let early = stage.ledger().await?.counts.reversals_unknown;
            if early > 0 {
                return Ok(early);
            }
            sleep(timing::LOOK_AGAIN).await;
        }
    };
    timeout(timing::SETTLES_WITHIN, look).await.unwrap_or(Ok(0))
}

async fn reversal_ignored(world: World<'_>) -> Result<Row> {
    let mut scene = Scene::open(world, "reversal ignored", IGNORED)?;
    let sale = scene.sale(3400).await?;
    scene.expect_code(&sale, "00");
    scene.reverse(&sale).await?;
    scene.await_state(&sale, "unwound").await;
    let ignored = world.stage.acted(&Fault::Ignore).await?;
    scene.expect(ignored == 2, || format!("the issuer ignored {ignored} reversals, not 2"));
    let mut row = scene.end(&sale, "unwound", 0).await?;
    row.must_be_given_back(3400);
    row.issuer_says += &format!(", {ignored} ignored");
    Ok(row)
}

/// What the issuer approves of `asked`.
fn part(asked: u64) -> u64 {
    asked * u64::from(PARTIAL_PERCENT) / 100
}

/// T9 at a terminal that goes on with less.
async fn partial_taken(world: World<'_>) -> Result<Row> {
    const ASKED: u64 = 3600;
    let mut scene = Scene::open(world, "partial, taken", TAKES_PARTIAL)?;
    let sale = scene.sale(ASKED).await?;
    scene.expect_code(&sale, "10");
    let approved = sale.amount.as_ref().map(|(minor, _)| *minor);
    scene.expect(approved == Some(part(ASKED)), || format!("the terminal was to have a part, and has {approved:?}"));
    scene.last_sale().await?;
    let mut row = scene.end(&sale, "confirmed", i64::try_from(part(ASKED))?).await?;
    row.terminal_saw = row.terminal_saw.replacen("10", &format!("10 for {}", units(approved.unwrap_or(0))), 1);
    Ok(row)
}

/// T9 at a terminal that wants all or nothing.
async fn partial_not_taken(world: World<'_>) -> Result<Row> {
    const ASKED: u64 = 3700;
    let mut scene = Scene::open(world, "partial, not taken", REFUSES_PARTIAL)?;
    let sale = scene.sale(ASKED).await?;
    scene.expect_code(&sale, "51");
    let mut row = scene.end(&sale, "unwound", 0).await?;
    row.must_be_given_back(part(ASKED));
    row.must_end("unwound: T9");
    Ok(row)
}
