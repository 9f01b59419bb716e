//! The mock issuer's HTTP control: ledger, movements, faults, settings, scenario, links,
//! connections.
//!
//! No authentication: for loopback in demonstrations and tests. Invariant: card numbers leave
//! masked.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::issuer::{ConnectionLine, Links, Shared};
use crate::faults::Rule;
use crate::issuer::{MovementLine, Report, Settings};
use crate::scenario::Scenario;

/// How many of the newest entries `GET /ledger` shows, unless it is asked for another number.
pub(super) const ENTRIES_SHOWN: usize = 100;

#[derive(Deserialize)]
struct LedgerQuery {
    entries: Option<usize>,
}

/// Whether links are up: `{"up": true}`; or down for a time: `{"up": false, "for_ms": 3000}`; each of
/// it for one line alone with `"line": 2`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinksUp {
    up: bool,
    /// Milliseconds until they are up again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    for_ms: Option<u64>,
    /// From 1; all lines without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
}

/// How many connections were closed.
#[derive(Serialize)]
struct Closed {
    closed: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CloseQuery {
    /// The connection that stays.
    but: Option<u64>,
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
        .route("/scenario", put(put_scenario))
        .route("/links", get(links_up).put(put_links))
        .route("/connections", get(connections).delete(delete_connections))
        .route("/connections/{id}", delete(delete_connection))
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

async fn put_scenario(State(shared): Issuer, body: String) -> Result<Json<Scenario>, (StatusCode, String)> {
    let scenario: Scenario = body.parse().map_err(|reason| (StatusCode::BAD_REQUEST, format!("{reason}\n")))?;
    shared.set_scenario(&scenario);
    Ok(Json(scenario))
}

async fn links_up(State(shared): Issuer) -> Json<LinksUp> {
    Json(LinksUp { up: shared.is_up(None).unwrap_or(false), for_ms: None, line: None })
}

async fn put_links(State(shared): Issuer, Json(wanted): Json<LinksUp>) -> Result<Json<LinksUp>, (StatusCode, &'static str)> {
    let LinksUp { up, for_ms, line } = wanted;
    if shared.is_up(line).is_none() {
        return Err((StatusCode::NOT_FOUND, "there is no such line; the first is 1\n"));
    }
    match (up, for_ms) {
        (true, None) => shared.command_links(line, Links::Up),
        (false, None) => shared.command_links(line, Links::Down),
        (false, Some(for_ms)) => shared.links_down_for(line, Duration::from_millis(for_ms)),
        (true, Some(_)) => return Err((StatusCode::BAD_REQUEST, "for_ms says how long the links are down, not up\n")),
    }
    Ok(Json(LinksUp { up: shared.is_up(line).unwrap_or(false), for_ms: None, line }))
}

async fn connections(State(shared): Issuer) -> Json<Vec<ConnectionLine>> {
    Json(shared.connections())
}

async fn delete_connections(State(shared): Issuer, Query(query): Query<CloseQuery>) -> Json<Closed> {
    Json(Closed { closed: shared.close(|id| Some(id) != query.but) })
}

async fn delete_connection(State(shared): Issuer, Path(id): Path<u64>) -> (StatusCode, Json<Closed>) {
    let closed = shared.close(|open| open == id);
    let status = if closed > 0 { StatusCode::OK } else { StatusCode::NOT_FOUND };
    (status, Json(Closed { closed }))
}
