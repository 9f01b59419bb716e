//! Sales as they are every day, and terminals that change their mind or vanish.

use anyhow::Result;
use counterparts::net::terminal::{Vanish, VanishPoint};

use super::scene::{Row, Scene};
use super::{APPROVED, ASKED_TWICE, POOR, REVERSES, VANISHING, World};

/// All of them at once.
pub(super) async fn play(world: World<'_>) -> Result<Vec<Row>> {
    let played =
        tokio::try_join!(approval(world), decline(world), asked_twice(world), vanished(world), reversed_by_terminal(world))?;
    Ok(<[Row; 5]>::from(played).into())
}

async fn approval(world: World<'_>) -> Result<Row> {
    let mut scene = Scene::open(world, "approval", APPROVED)?;
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
    let mut scene = Scene::open(world, "asked twice", ASKED_TWICE)?;
    let sale = scene.sale(2000).await?;
    scene.expect_code(&sale, "00");
    scene.repeat(&sale).await?;
    scene.last_sale().await?;
    scene.end(&sale, "confirmed", 2000).await
}

async fn vanished(world: World<'_>) -> Result<Row> {
    let mut scene = Scene::open(world, "terminal vanished", VANISHING)?;
    // Connected before, so that what vanishes is a terminal in the middle of its sale and not of its handshake.
    scene.echo().await?;
    scene.client.vanish_next(Vanish { point: VanishPoint::AfterSending, reset: true });
    let sale = scene.sale(3200).await?;
    scene.expect_code(&sale, "--");
    // The switch unwinds it on its own, before the terminal is back.
    scene.await_state(&sale, "unwound").await;
    scene.clear().await?;
    scene.end(&sale, "unwound", 0).await
}

async fn reversed_by_terminal(world: World<'_>) -> Result<Row> {
    let mut scene = Scene::open(world, "terminal reverses", REVERSES)?;
    let sale = scene.sale(3300).await?;
    scene.expect_code(&sale, "00");
    scene.reverse(&sale).await?;
    scene.end(&sale, "unwound", 0).await
}
