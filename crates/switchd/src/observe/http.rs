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
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use super::admin;
use super::health::Health;
use super::log;
use super::outlook::Issuers;
use crate::config::Metrics;
use crate::net::guarded::Guarded;
use crate::shell::engine::Event;

/// Histograms keep their samples until they are summed up; this is how often.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// How often it is looked at whether lines of the log were dropped.
const LOG_TICK: Duration = Duration::from_secs(1);

/// How often the engine sets the gauges for those who ask, at most.
const REFRESH_EVERY: Duration = Duration::from_millis(200);

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
    /// The issuers' names.
    pub(crate) issuers: Issuers,
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
        .with_state(Arc::new(Shared {
            recorder: served.recorder,
            health: served.health,
            fresh: Fresh { engine: served.engine.clone(), begun: Mutex::new(None) },
        }));
    let Metrics { connections_max, idle_timeout_ms, address: _ } = served.limits;
    let listener = TcpListener::from_std(served.metrics)?;
    let metrics = axum::serve(Guarded::new(listener, connections_max, Duration::from_millis(idle_timeout_ms)), router);
    let admin = admin::serve(served.admin, served.engine, served.issuers);
    tokio::try_join!(async { metrics.await }, admin)?;
    Ok(())
}

struct Shared {
    recorder: PrometheusHandle,
    health: Arc<Health>,
    fresh: Fresh,
}

/// Has the engine set the gauges and the readiness, for all that ask together: however often they do, it costs the engine
/// the same.
struct Fresh {
    engine: mpsc::UnboundedSender<Event>,
    /// When the engine was last asked.
    begun: Mutex<Option<Instant>>,
}

impl Fresh {
    /// Ends when they are as they were after the call; an engine that is stuck leaves them as they were before.
    async fn refresh(&self) {
        let called = Instant::now();
        let mut begun = self.begun.lock().await;
        if let Some(begun) = *begun {
            if begun > called {
                return; // Another one's, which began after this call.
            }
            sleep_until(begun + REFRESH_EVERY).await;
        }
        *begun = Some(Instant::now());
        let (reply, set) = oneshot::channel();
        if self.engine.send(Event::Refresh(reply)).is_ok() {
            let _ = timeout(REFRESH_PATIENCE, set).await;
        }
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    shared.fresh.refresh().await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.recorder.render())
}

async fn healthz(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    match shared.health.dead() {
        None => (StatusCode::OK, "alive\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> (StatusCode, String) {
    shared.fresh.refresh().await;
    let reasons = shared.health.not_ready();
    if reasons.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_ask_the_engine_is_asked_a_few_times_a_second_and_all_answers_are_fresh() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (engine, mut events) = mpsc::unbounded_channel();
            let fresh = Arc::new(Fresh { engine, begun: Mutex::new(None) });
            let turns = Arc::new(std::sync::Mutex::new(Vec::new()));
            let answered = turns.clone();
            tokio::spawn(async move {
                while let Some(Event::Refresh(reply)) = events.recv().await {
                    answered.lock().unwrap().push(Instant::now());
                    let _ = reply.send(());
                }
            });
            let began = Instant::now();
            let asking: Vec<_> = (0..500)
                .map(|number| {
                    let (fresh, turns) = (fresh.clone(), turns.clone());
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(number)).await;
                        let called = Instant::now();
                        fresh.refresh().await;
                        assert!(turns.lock().unwrap().last().is_some_and(|turn| *turn >= called), "{number}");
                    })
                })
                .collect();
            for asked in asking {
                asked.await.unwrap();
            }
            let (most, turns) = (began.elapsed().as_millis() / REFRESH_EVERY.as_millis() + 1, turns.lock().unwrap().len());
            assert!(turns as u128 <= most, "{turns} of {most}");
        });
    }
}
