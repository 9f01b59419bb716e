//! The admin socket: what `switchd status`, `doubt`, `tx` and `watch` ask, answered by the engine between two turns, and
//! what `switchd resolve` orders, answered when the core has taken it and it is durable, or has refused it.
//!
//! HTTP on a Unix socket. Who connects is judged by the kernel's word, before a byte is read: the daemon's own user or
//! root. What is shown is the newest state, and may be newer than the disk; a list is made in stretches ([`walk`]).

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use iso8583::Rrn;
use switch::{Evidence, Lsn, Movement, MovementId, StateKind};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;

use super::history::{self, Journalled, Memory, Search, SearchJson};
use super::json::{self, DoubtJson, LaterSales, MovementJson};
use super::outlook::{self, Issuers};
use super::resolve::{Order, OrderJson};
use super::status::{LinkJson, LinkOrderJson, StatusJson};
use super::strays::WhyJson;
use super::walk::{self, Engine, Entry, Found, Seen, Stretch};
use crate::clock;
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
    /// Why a movement has no answer; `None` for one that memory does not hold.
    Why(Which, oneshot::Sender<Option<WhyJson>>),
    /// An order for a link and whose, answered with the link; `None` when there is no such link.
    Link(LinkOrderJson, Peer, oneshot::Sender<Option<LinkJson>>),
    /// The next movements in memory.
    Stretch(Stretch, oneshot::Sender<Found<Seen, MovementId>>),
    /// The next entries for a person.
    Entries(Option<Lsn>, oneshot::Sender<Found<Entry, Lsn>>),
    /// What the journal says of movements.
    History(Search, history::Reply),
    /// One movement.
    Movement(Rrn, oneshot::Sender<Option<MovementJson>>),
}

/// Which movement is asked for.
pub(crate) enum Which {
    /// The one of this RRN.
    Rrn(Rrn),
    /// The one of this serial number.
    Id(MovementId),
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
pub(crate) async fn serve(listener: StdUnixListener, engine: Engine, issuers: Issuers) -> io::Result<()> {
    let router = Router::new()
        .route("/status", get(answer_status))
        .route("/doubt", get(answer_doubt))
        .route("/history", post(answer_history))
        .route("/why/{what}", get(answer_why))
        .route("/link", post(answer_link))
        .route("/tx", get(answer_movements))
        .route("/tx/{rrn}", get(answer_movement))
        .route("/resolve/{case}", post(answer_resolve))
        .with_state(Desk { engine, issuers: Arc::new(issuers) });
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

/// What every answer is made with.
#[derive(Clone)]
struct Desk {
    engine: Engine,
    issuers: Arc<Issuers>,
}

async fn answer_status(State(desk): State<Desk>) -> Response {
    walk::ask(&desk.engine, Question::Status).await.map_or_else(stopping, |status| Json(status).into_response())
}

async fn answer_why(State(desk): State<Desk>, UrlPath(what): UrlPath<String>) -> Response {
    match why(&desk.engine, &what).await {
        Some(Some(why)) => Json(why).into_response(),
        Some(None) => (StatusCode::NOT_FOUND, NOTHING_TO_EXPLAIN).into_response(),
        None => stopping(),
    }
}

/// Of the movement of an RRN, or of the newest of a STAN: the terminal's or the link's.
async fn why(engine: &Engine, what: &str) -> Option<Option<WhyJson>> {
    if let Ok(rrn) = what.parse() {
        let found = walk::ask(engine, |reply| Question::Why(Which::Rrn(rrn), reply)).await?;
        if found.is_some() {
            return Some(found);
        }
    }
    let Ok(stan) = history::stan(what) else { return Some(None) };
    let mut newest = None;
    let takes = move |m: &Movement| m.key.stan == stan || m.sent_as.stan == stan;
    walk::movements(engine, Arc::new(takes), |seen| newest = Some(seen.movement.id)).await?;
    let Some(id) = newest else { return Some(None) };
    walk::ask(engine, |reply| Question::Why(Which::Id(id), reply)).await
}

async fn answer_link(
    State(desk): State<Desk>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Json(order): Json<LinkOrderJson>,
) -> Response {
    if let Err(wrong) = order.judge() {
        return (StatusCode::BAD_REQUEST, wrong.to_string()).into_response();
    }
    match walk::ask(&desk.engine, |reply| Question::Link(order, peer, reply)).await {
        Some(Some(link)) => Json(link).into_response(),
        Some(None) => (StatusCode::NOT_FOUND, NO_SUCH_LINK).into_response(),
        None => stopping(),
    }
}

async fn answer_history(State(desk): State<Desk>, Json(search): Json<SearchJson>) -> Response {
    let search = match search.judge() {
        Ok(search) => search,
        Err(wrong) => return (StatusCode::BAD_REQUEST, wrong.to_string()).into_response(),
    };
    match walk::ask(&desk.engine, |reply| Question::History(search, reply)).await {
        Some(Ok(Journalled { search, found })) => {
            let mut memory = Memory::default();
            // After the journal, so that it is newer.
            let takes = Arc::new(move |m: &Movement| search.takes(m));
            if walk::movements(&desk.engine, takes, |seen| memory.keep(seen)).await.is_none() {
                return stopping();
            }
            Json(history::told(found, memory, clock::now(), &desk.issuers)).into_response()
        }
        Some(Err(why)) => (StatusCode::INTERNAL_SERVER_ERROR, why).into_response(),
        None => stopping(),
    }
}

async fn answer_doubt(State(desk): State<Desk>) -> Response {
    doubt(&desk).await.map_or_else(stopping, |doubt| Json(doubt).into_response())
}

/// Everything in doubt; `None` when the engine stops.
async fn doubt(desk: &Desk) -> Option<DoubtJson> {
    let entries = walk::all_entries(&desk.engine).await?;
    let (mut doubt, mut later) = (DoubtJson::default(), LaterSales::of(&entries));
    let unknown = |m: &Movement| m.state == StateKind::AwaitingConfirmation && m.evidence == Evidence::Unknown;
    let keys = later.keys();
    let takes = move |m: &Movement| m.in_doubt() || unknown(m) || keys.contains(&(m.key.terminal, m.key.stan));
    let now = clock::now();
    walk::movements(&desk.engine, Arc::new(takes), |seen| {
        later.see(&seen.movement);
        if seen.movement.in_doubt() {
            doubt.movements.push(outlook::ahead(&desk.issuers, now, &seen));
        }
        if unknown(&seen.movement) {
            doubt.unknown_deliveries.push(outlook::ahead(&desk.issuers, now, &seen));
        }
    })
    .await?;
    doubt.in_doubt = doubt.movements.len();
    doubt.exceptions = entries.iter().map(|entry| json::entry(entry, later.of_entry(entry))).collect();
    Some(doubt)
}

async fn answer_movements(State(desk): State<Desk>) -> Response {
    let mut all = Vec::new();
    let walked = walk::movements(&desk.engine, Arc::new(|_| true), |seen| all.push(json::movement(&seen.movement))).await;
    walked.map_or_else(stopping, |()| Json(all).into_response())
}

async fn answer_movement(State(desk): State<Desk>, UrlPath(rrn): UrlPath<String>) -> Response {
    let Ok(rrn) = rrn.parse::<Rrn>() else {
        return (StatusCode::BAD_REQUEST, NOT_AN_RRN).into_response();
    };
    match walk::ask(&desk.engine, |reply| Question::Movement(rrn, reply)).await {
        Some(Some(movement)) => Json(movement).into_response(),
        Some(None) => (StatusCode::NOT_FOUND, NOT_IN_MEMORY).into_response(),
        None => stopping(),
    }
}

async fn answer_resolve(
    State(desk): State<Desk>,
    UrlPath(named): UrlPath<String>,
    Json(order): Json<OrderJson>,
) -> Response {
    let Some(case) = super::resolve::case(&named) else {
        return (StatusCode::BAD_REQUEST, NOT_A_CASE).into_response();
    };
    let resolution = match order.judge() {
        Ok(resolution) => resolution,
        Err(wrong) => return (StatusCode::BAD_REQUEST, wrong.to_string()).into_response(),
    };
    let (reply, answer) = oneshot::channel();
    let OrderJson { who, why, .. } = order;
    if desk.engine.send(Event::Resolve(Order { case, resolution, who, why, reply })).is_err() {
        return stopping();
    }
    match answer.await {
        Ok(Ok(movement)) => Json(movement).into_response(),
        Ok(Err(refusal)) => (StatusCode::CONFLICT, refusal.to_string()).into_response(),
        Err(_) => stopping(),
    }
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
        let (engine, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let server = tokio::spawn(serve(bind(&path).expect("a new socket"), engine, Issuers::new()));
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
