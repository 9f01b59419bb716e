//! The mock issuer's HTTP control: ledger, movements, faults, settings, links.
//!
//! No authentication: for loopback in demonstrations and tests. Invariant: card numbers leave
//! masked.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::issuer::{Links, Shared};
use crate::faults::Rule;
use crate::issuer::{MovementLine, Report, Settings};

/// How many of the newest entries `GET /ledger` shows, unless it is asked for another number.
pub(super) const ENTRIES_SHOWN: usize = 100;

#[derive(Deserialize)]
struct LedgerQuery {
    entries: Option<usize>,
}

/// Whether links are up: `{"up": true}`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinksUp {
    up: bool,
}

/// Serves until the issuer is stopped.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut links = shared.subscribe();
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/ledger", get(ledger))
        .route("/movements", get(movements))
        .route("/faults", get(faults).put(put_faults).delete(delete_faults))
        .route("/settings", get(settings).put(put_settings))
        .route("/links", get(links_up).put(put_links))
        .with_state(shared);
    // A client that holds its connection open must not keep the issuer from stopping, so the
    // server is dropped rather than shut down.
    tokio::select! {
        served = axum::serve(listener, router).into_future() => if let Err(reason) = served {
            tracing::warn!(%reason, "control ended");
        },
        _ = links.wait_for(|links| *links == Links::Stopped) => {}
    }
}

type Issuer = State<Arc<Shared>>;

async fn ledger(State(shared): Issuer, Query(query): Query<LedgerQuery>) -> Json<Report> {
    Json(shared.issuer().report(query.entries.unwrap_or(ENTRIES_SHOWN)))
}

async fn movements(State(shared): Issuer) -> Json<Vec<MovementLine>> {
    Json(shared.issuer().movements())
}

async fn faults(State(shared): Issuer) -> Json<Vec<Rule>> {
    Json(shared.issuer().faults().rules().to_vec())
}

async fn put_faults(State(shared): Issuer, Json(rules): Json<Vec<Rule>>) -> Json<Vec<Rule>> {
    let mut issuer = shared.issuer();
    issuer.faults().replace(rules);
    Json(issuer.faults().rules().to_vec())
}

async fn delete_faults(State(shared): Issuer) -> Json<Vec<Rule>> {
    shared.issuer().faults().replace(Vec::new());
    Json(Vec::new())
}

async fn settings(State(shared): Issuer) -> Json<Settings> {
    Json(shared.issuer().settings().clone())
}

async fn put_settings(State(shared): Issuer, Json(settings): Json<Settings>) -> Json<Settings> {
    let mut issuer = shared.issuer();
    issuer.change(settings);
    Json(issuer.settings().clone())
}

async fn links_up(State(shared): Issuer) -> Json<LinksUp> {
    Json(LinksUp { up: shared.links() == Links::Up })
}

async fn put_links(State(shared): Issuer, Json(wanted): Json<LinksUp>) -> Json<LinksUp> {
    shared.set_links(if wanted.up { Links::Up } else { Links::Down });
    Json(LinksUp { up: shared.links() == Links::Up })
}
