//! What no rule may decide, and the person who does.

use anyhow::Result;
use counterparts::faults::Fault;
use iso8583::ResponseCode;

use super::scene::{Row, Scene};
use super::{FOR_OPERATOR, World};

/// R2: the issuer approved, and says of the reversal that it never heard of the sale. Either may be wrong: the operator
/// asks the issuer, and has it reversed once more.
pub(super) async fn play(world: World<'_>) -> Result<Vec<Row>> {
    let mut scene = Scene::open(world, "left to an operator", FOR_OPERATOR)?;
    let sale = scene.sale(4400).await?;
    scene.expect_code(&sale, "00");
    scene.reverse(&sale).await?;
    let tx = scene.await_tx(&sale, "left to a person", |tx| tx.state == "needs_operator").await;
    let cause = tx.and_then(|tx| tx.cause);
    scene.expect(cause.as_deref() == Some("R2"), || format!("R2 was to leave it to a person, and it is {cause:?}"));
    let rrn = sale.rrn.clone().unwrap_or_default();
    let doubt = world.stage.doubt().await?;
    let listed = doubt.movements.iter().any(|tx| tx.rrn == rrn && tx.state == "needs_operator");
    scene.expect(listed, || format!("{rrn} is not on the operator's list"));
    scene.resolve(&rrn, "undo", "the issuer has it in its books").await;
    scene.await_state(&sale, "unwound").await;
    let doubt = world.stage.doubt().await?;
    let still = doubt.movements.iter().any(|tx| tx.rrn == rrn);
    scene.expect(!still, || format!("{rrn} is still in doubt"));
    let mut row = scene.end(&sale, "unwound", 0).await?;
    row.must_be_given_back(4400);
    let refused = world.stage.acted(&Fault::Answer(ResponseCode::NOT_FOUND)).await?;
    row.issuer_says += &format!(", {refused} refused");
    Ok(vec![row])
}
