//! The admin socket: what `switchd status`, `doubt`, `tx` and `watch` ask, answered by the engine between two turns, and
//! what `switchd resolve` orders, answered when the core has taken it and it is durable, or has refused it.
//!
//! HTTP on a Unix socket. Who connects is judged by the kernel's word, before a byte is read: the daemon's own user or
//! root. What is shown is the newest state, and may be newer than the disk.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::Path;

use axum::Json;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use iso8583::Rrn;
use switch::{Now, Switch};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use super::history::{self, Search, SearchJson};
use super::json::{self, DoubtJson, MovementJson};
use super::outlook::{self, AheadJson};
use super::resolve::{Order, OrderJson};
use super::status::{LinkJson, LinkOrderJson, StatusJson};
use super::strays::WhyJson;
use crate::shell::engine::Event;

const NOT_AN_RRN: &str = "an RRN is up to 12 letters or digits";

const NOT_A_CASE: &str = "a movement is named by its RRN, an entry by its name on the list, such as entry-41";

const NOT_IN_MEMORY: &str = "no movement of this RRN is in memory, which holds what is open and the newest `[partition] \
                             dedup_keys` that ended; next: `switchd tx RRN`, which looks in the journal too";

const NOTHING_TO_EXPLAIN: &str = "no movement of this RRN or STAN is in memory; next: `switchd tx` looks in the journal too, \
                                  but what issuers sent beside it is only known while it is in memory";

const NO_SUCH_LINK: &str = "no link has this name or number; next: `switchd status` lists them";

/// A question for the engine.
pub(crate) enum Question {
    /// The daemon at a glance.
    Status(oneshot::Sender<StatusJson>),
    /// Why the newest movement of an RRN or a STAN has no answer; `None` for one that memory does not hold.
    Why(String, oneshot::Sender<Option<WhyJson>>),
    /// An order for a link and whose, answered with the link; `None` when there is no such link.
    Link(LinkOrderJson, Peer, oneshot::Sender<Option<LinkJson>>),
    /// Everything in doubt, and the entries for a person.
    Doubt(oneshot::Sender<DoubtJson>),
    /// Movements with all that happened to them, from memory and journal.
    History(Search, history::Reply),
    /// One movement.
    Movement(Rrn, oneshot::Sender<Option<MovementJson>>),
    /// Every movement in memory.
    Movements(oneshot::Sender<Vec<MovementJson>>),
}

/// Everything in doubt.
pub(crate) fn doubt(view: &Switch, now: Now) -> DoubtJson {
    let movements: Vec<AheadJson> = view.doubt().map(|m| outlook::ahead(view, now, m)).collect();
    let exceptions = json::exceptions(view);
    let unknown_deliveries = view.unknown_deliveries().map(|m| outlook::ahead(view, now, m)).collect();
    DoubtJson { in_doubt: movements.len(), movements, unknown_deliveries, exceptions }
}

/// Binds the socket; what a killed process left there is taken away, a living one's is not.
pub(crate) fn bind(path: &Path) -> io::Result<StdUnixListener> {
    let left_over = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if left_over && StdUnixStream::connect(path).is_err() {
        fs::remove_file(path)?;
    }
    let listener = StdUnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves the socket; never ends.
pub(crate) async fn serve(listener: StdUnixListener, engine: mpsc::UnboundedSender<Event>) -> io::Result<()> {
    let router = Router::new()
        .route("/status", get(answer_status))
        .route("/doubt", get(answer_doubt))
        .route("/history", post(answer_history))
        .route("/why/{what}", get(answer_why))
        .route("/link", post(answer_link))
        .route("/tx", get(answer_movements))
        .route("/tx/{rrn}", get(answer_movement))
        .route("/resolve/{case}", post(answer_resolve))
        .with_state(engine);
    let service = router.into_make_service_with_connect_info::<Peer>();
    axum::serve(OwnUserOnly(UnixListener::from_std(listener)?), service).await
}

/// Who is at the other end, by the kernel's word.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// The user's number.
    pub(crate) uid: u32,
}

impl Connected<IncomingStream<'_, OwnUserOnly>> for Peer {
    fn connect_info(stream: IncomingStream<'_, OwnUserOnly>) -> Self {
        *stream.remote_addr()
    }
}

/// Lets in only the daemon's own user and root.
struct OwnUserOnly(UnixListener);

impl axum::serve::Listener for OwnUserOnly {
    type Io = UnixStream;
    type Addr = Peer;

    async fn accept(&mut self) -> (UnixStream, Peer) {
        loop {
            let (stream, _) = axum::serve::Listener::accept(&mut self.0).await;
            let own = rustix::process::getuid().as_raw();
            match stream.peer_cred() {
                Ok(peer) if peer.uid() == own || peer.uid() == 0 => return (stream, Peer { uid: peer.uid() }),
                Ok(peer) => tracing::warn!(target: "audit", uid = peer.uid(), "refused on the admin socket"),
                Err(error) => tracing::warn!(target: "audit", %error, "refused on the admin socket"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { uid: rustix::process::getuid().as_raw() })
    }
}

type Engine = State<mpsc::UnboundedSender<Event>>;

async fn answer_status(engine: Engine) -> Response {
    ask(&engine, Question::Status).await.map_or_else(stopping, |status| Json(status).into_response())
}

async fn answer_why(engine: Engine, UrlPath(what): UrlPath<String>) -> Response {
    match ask(&engine, |reply| Question::Why(what, reply)).await {
        Some(Some(why)) => Json(why).into_response(),
        Some(None) => (StatusCode::NOT_FOUND, NOTHING_TO_EXPLAIN).into_response(),
        None => stopping(),
    }
}

async fn answer_link(engine: Engine, ConnectInfo(peer): ConnectInfo<Peer>, Json(order): Json<LinkOrderJson>) -> Response {
    if let Err(wrong) = order.judge() {
        return (StatusCode::BAD_REQUEST, wrong.to_string()).into_response();
    }
    match ask(&engine, |reply| Question::Link(order, peer, reply)).await {
        Some(Some(link)) => Json(link).into_response(),
        Some(None) => (StatusCode::NOT_FOUND, NO_SUCH_LINK).into_response(),
        None => stopping(),
    }
}

async fn answer_history(engine: Engine, Json(search): Json<SearchJson>) -> Response {
    let search = match search.judge() {
        Ok(search) => search,
        Err(wrong) => return (StatusCode::BAD_REQUEST, wrong.to_string()).into_response(),
    };
    match ask(&engine, |reply| Question::History(search, reply)).await {
        Some(Ok(history)) => Json(history).into_response(),
        Some(Err(why)) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
        None => stopping(),
    }
}

async fn answer_doubt(engine: Engine) -> Response {
    ask(&engine, Question::Doubt).await.map_or_else(stopping, |doubt| Json(doubt).into_response())
}

async fn answer_movements(engine: Engine) -> Response {
    ask(&engine, Question::Movements).await.map_or_else(stopping, |all| Json(all).into_response())
}

async fn answer_movement(engine: Engine, UrlPath(rrn): UrlPath<String>) -> Response {
    let Ok(rrn) = rrn.parse::<Rrn>() else {
        return (StatusCode::BAD_REQUEST, NOT_AN_RRN).into_response();
    };
    match ask(&engine, |reply| Question::Movement(rrn, reply)).await {
        Some(Some(movement)) => Json(movement).into_response(),
        Some(None) => (StatusCode::NOT_FOUND, NOT_IN_MEMORY).into_response(),
        None => stopping(),
    }
}

async fn answer_resolve(engine: Engine, UrlPath(named): UrlPath<String>, Json(order): Json<OrderJson>) -> Response {
    let Some(case) = super::resolve::case(&named) else {
        return (StatusCode::BAD_REQUEST, NOT_A_CASE).into_response();
    };
    let resolution = match order.judge() {
        Ok(resolution) => resolution,
        Err(wrong) => return (StatusCode::BAD_REQUEST, wrong.to_string()).into_response(),
    };
    let (reply, answer) = oneshot::channel();
    let OrderJson { who, why, .. } = order;
    if engine.send(Event::Resolve(Order { case, resolution, who, why, reply })).is_err() {
        return stopping();
    }
    match answer.await {
        Ok(Ok(movement)) => Json(movement).into_response(),
        Ok(Err(refusal)) => (StatusCode::CONFLICT, refusal.to_string()).into_response(),
        Err(_) => stopping(),
    }
}

async fn ask<T>(engine: &Engine, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
    let (reply, answer) = oneshot::channel();
    engine.send(Event::Ask(question(reply))).ok()?;
    answer.await.ok()
}

fn stopping() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the daemon is stopping").into_response()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// What a search costs ends with the command that asked: `history` looks at the reply as it reads.
    #[tokio::test]
    async fn who_asks_and_goes_away_waits_no_more() {
        let path = std::env::temp_dir().join(format!("switchd-{}-admin.sock", std::process::id()));
        let (engine, mut asked) = mpsc::unbounded_channel();
        let server = tokio::spawn(serve(bind(&path).expect("a new socket"), engine));
        let mut client = UnixStream::connect(&path).await.expect("it listens");
        let body = r#"{"rrn":"632610000001"}"#;
        let head = "POST /history HTTP/1.0\r\nHost: switchd\r\nContent-Type: application/json\r\n";
        let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        client.write_all(request.as_bytes()).await.expect("it reads");
        let Some(Event::Ask(Question::History(_, mut reply))) = asked.recv().await else { panic!("a search was sent") };
        assert!(!reply.is_closed(), "it waits");
        drop(client);
        tokio::time::timeout(Duration::from_secs(10), reply.closed()).await.expect("nobody waits");
        server.abort();
        fs::remove_file(&path).expect("it is there");
    }
}
