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
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::admin;
use super::health::Health;
use super::log;
use crate::config::Metrics;
use crate::net::guarded::Guarded;
use crate::shell::engine::Event;

/// Histograms keep their samples until they are summed up; this is how often.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// How often it is looked at whether lines of the log were dropped.
const LOG_TICK: Duration = Duration::from_secs(1);

/// How long a scrape waits for fresh gauges.
const REFRESH_PATIENCE: Duration = Duration::from_secs(1);

/// What the thread serves.
pub(crate) struct Served {
    /// The metrics' address, bound.
    pub(crate) metrics: StdTcpListener,
    /// To how many.
    pub(crate) limits: Metrics,
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
    tokio::spawn(async {
        loop {
            log::tick();
            tokio::time::sleep(LOG_TICK).await;
        }
    });
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(Arc::new(Shared { recorder: served.recorder, health: served.health, engine: served.engine.clone() }));
    let Metrics { connections_max, idle_timeout_ms, address: _ } = served.limits;
    let listener = TcpListener::from_std(served.metrics)?;
    let metrics = axum::serve(Guarded::new(listener, connections_max, Duration::from_millis(idle_timeout_ms)), router);
    let admin = admin::serve(served.admin, served.engine);
    tokio::try_join!(async { metrics.await }, admin)?;
    Ok(())
}

struct Shared {
    recorder: PrometheusHandle,
    health: Arc<Health>,
    engine: mpsc::UnboundedSender<Event>,
}

impl Shared {
    /// Has the engine set the gauges and the readiness; one that is stuck leaves them as they were.
    async fn refresh(&self) {
        let (reply, set) = oneshot::channel();
        if self.engine.send(Event::Refresh(reply)).is_ok() {
            let _ = timeout(REFRESH_PATIENCE, set).await;
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    shared.refresh().await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.recorder.render())
}

async fn healthz(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    match shared.health.dead() {
        None => (StatusCode::OK, "alive\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    shared.refresh().await;
    let reasons = shared.health.not_ready();
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
    }
}
