//! `kill -9` of the daemon.

use anyhow::{Context, Result};
use counterparts::terminal::Receipt;
use tokio::time::{sleep, timeout};

use super::scene::{Row, Scene};
use super::{BEFORE_KILL, IN_FLIGHT, World};
use crate::demo::stage::{Stage, terminal_name};
use crate::demo::timing;

/// Three sales are on their way, one approval was just handed over.
pub(crate) async fn play_kill(world: World<'_>) -> Result<Vec<Row>> {
    let stage = world.stage;
    let mut before = Scene::open(world, "approved, kill -9", BEFORE_KILL)?;
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
    Ok(<[Row; 4]>::from(played).into())
}

/// A terminal that was in the middle of a sale comes back, clears what it owes, and sells once more.
async fn after_kill(mut scene: Scene<'_>, sale: Receipt) -> Result<Row> {
    scene.expect_code(&sale, "--");
    scene.back()?;
    scene.clear().await?;
    scene.await_state(&sale, "unwound").await;
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
