//! `/metrics`, `/healthz` and `/readyz`, and the thread that serves them and the admin socket.
//!
//! Apart from the engine's thread, so that whoever reads slowly delays no transaction.

use std::io;
use std::net::TcpListener as StdTcpListener;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::admin;
use super::health::Health;
use crate::shell::engine::Event;

/// Histograms keep their samples until they are summed up; this is how often.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// What the thread serves.
pub(crate) struct Served {
    /// The metrics' address, bound.
    pub(crate) metrics: StdTcpListener,
    /// The admin socket, bound.
    pub(crate) admin: StdUnixListener,
    /// The recorder's content.
    pub(crate) recorder: PrometheusHandle,
    /// What the engine says about itself.
    pub(crate) health: Arc<Health>,
    /// The way to the engine.
    pub(crate) engine: mpsc::UnboundedSender<Event>,
}

/// Starts the thread; it lives as long as the process.
pub(crate) fn start(served: Served) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let serve = move || {
        if let Err(error) = runtime.block_on(serve(served)) {
            // Transactions go on without it; the gauge of the monitoring that is blind now raises the alarm.
            tracing::error!(%error, "metrics and admin socket are not served any more");
        }
    };
    thread::Builder::new().name("observe".to_owned()).spawn(serve)?;
    Ok(())
}

async fn serve(served: Served) -> io::Result<()> {
    let recorder = served.recorder.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP_EVERY).await;
            recorder.run_upkeep();
        }
    });
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state((served.recorder, served.health));
    let metrics = axum::serve(TcpListener::from_std(served.metrics)?, router);
    let admin = admin::serve(served.admin, served.engine);
    tokio::try_join!(async { metrics.await }, admin)?;
    Ok(())
}

type Shared = State<(PrometheusHandle, Arc<Health>)>;

async fn metrics(State((recorder, _)): Shared) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], recorder.render())
}

async fn healthz(State((_, health)): Shared) -> (StatusCode, String) {
    match health.dead() {
        None => (StatusCode::OK, "alive\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn readyz(State((_, health)): Shared) -> (StatusCode, String) {
    let reasons = health.not_ready();
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
    }
}
