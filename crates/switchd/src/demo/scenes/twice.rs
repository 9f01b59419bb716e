//! Two equal sales of one card: one that was keyed twice, and two that are both meant (D5, D6).

use anyhow::Result;
use counterparts::net::terminal::{Vanish, VanishPoint};

use super::scene::{Row, Scene};
use super::{EQUAL_SALES, KEYED_TWICE, World};
use crate::demo::stage::{Tx, terminal_name};

/// Both at once.
pub(super) async fn play(world: World<'_>) -> Result<Vec<Row>> {
    let (keyed_twice, equal_sales) = tokio::try_join!(keyed_twice(world), equal_sales(world))?;
    Ok([keyed_twice, equal_sales].concat())
}

/// D5: the approval could not be handed over, and the cashier keys the sale again. The customer would pay twice.
async fn keyed_twice(world: World<'_>) -> Result<Vec<Row>> {
    let mut scene = Scene::open_forgetful(world, "keyed again", KEYED_TWICE)?;
    scene.echo().await?;
    scene.client.vanish_next(Vanish { point: VanishPoint::AfterSending, reset: true });
    let first = scene.sale(3800).await?;
    scene.expect_code(&first, "--");
    let not_handed = |tx: &Tx| tx.state == "awaiting_delivery" && tx.evidence == "not_handed";
    scene.await_tx(&first, "approved and not handed over", not_handed).await;
    let second = scene.sale(3800).await?;
    scene.expect_code(&second, "00");
    scene.await_state(&first, "unwound").await;
    // This terminal clears what it owes after its next sale, not before it.
    scene.reverse(&first).await?;
    let mut unwound = scene.row("keyed again: first", &first, "unwound", 0).await?;
    unwound.must_be_given_back(3800);
    unwound.must_end("unwound: D5");
    let stands = scene.row("keyed again: second", &second, "awaiting_confirmation", 3800).await?;
    let rows = vec![unwound, stands];
    scene.over("the first unwound, the second stands", &rows);
    Ok(rows)
}

/// D6: the customer buys the same thing again. Nothing says that it is not so: both stand, and a person is told.
async fn equal_sales(world: World<'_>) -> Result<Vec<Row>> {
    let mut scene = Scene::open(world, "equal sales", EQUAL_SALES)?;
    let first = scene.sale(3900).await?;
    scene.expect_code(&first, "00");
    scene.past_the_margin().await;
    let second = scene.sale(3900).await?;
    scene.expect_code(&second, "00");
    scene.last_sale().await?;
    let terminal = terminal_name(EQUAL_SALES);
    let listed = world.stage.doubt().await?.exceptions;
    let of_this = listed.iter().filter(|e| e.terminal == terminal);
    let flags: Vec<_> = of_this.map(|e| (e.rule.as_str(), e.stan.as_str(), e.rrn.clone())).collect();
    // The entry has the key of the second, and names the first.
    let expected = [("D6", second.original_stan.as_str(), first.rrn.clone())];
    scene.expect(flags == expected, || format!("the operator was to be shown {expected:?} and is shown {flags:?}"));
    let rrn = first.rrn.clone().unwrap_or_default();
    scene.resolve(&rrn, "stands", "the customer bought two").await;
    let left = world.stage.doubt().await?.exceptions.iter().filter(|e| e.terminal == terminal).count();
    scene.expect(left == 0, || format!("{left} entries are left for a person"));
    let mut one = scene.row("equal sales: first", &first, "confirmed", 3900).await?;
    if one.wrong.is_empty() {
        one.ended = one.ended.replace("later request (C1)", "C1") + ", D6 accepted";
    }
    let two = scene.row("equal sales: second", &second, "confirmed", 3900).await?;
    let rows = vec![one, two];
    scene.over("both stand, flagged and accepted", &rows);
    Ok(rows)
}
