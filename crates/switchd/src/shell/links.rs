//! The issuers' side: each link keeps its connections, connects again with backoff and jitter, and brings what the host
//! says to the core.
//!
//! Sign-on, echo, timeouts and matching are the core's. Randomness is here, as the core has none. Invariant: one
//! `LinkOpened` and one `LinkClosed` for each connection, everything about it in between.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use switch::{ActionId, Input, LinkId, LinkNo, Report, Stray};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{LinkPeer, Shell};
use crate::clock;
use crate::config::LinkSettings;
use crate::net::counting::{Counting, Taken};
use crate::net::outgoing::Fate;
use crate::net::socket;
use crate::net::traffic::{self, End, Handler, Line, Timeouts, Traffic};
use crate::observe::quota::Subject;

/// How a link's connections are secured.
#[derive(Clone)]
pub(crate) enum LinkSecurity {
    /// Plain TCP, as the configuration says in so many words.
    Plain,
    /// TLS towards a host of this name.
    Tls(Arc<ClientConfig>, ServerName<'static>),
}

/// Keeps one connection of a link until everything closes.
pub(crate) async fn keep(shell: Rc<Shell>, number: LinkNo) {
    let Some(link) = shell.settings.links.get(&number) else { return };
    let mut wait_ms = link.backoff_min_ms;
    while !shell.closing() {
        let patience = Duration::from_millis(link.connect_timeout_ms);
        // A reload keeps what each running link has: never less than it started with.
        let Some(security) = shell.current().links.get(&number).cloned() else { return };
        let connected = tokio::select! {
            () = shell.until_closing() => return,
            connected = timeout(patience, connect(link, &security)) => connected,
        };
        match connected {
            Ok(Ok(stream)) => {
                if converse(&shell, number, link, stream).await {
                    wait_ms = link.backoff_min_ms;
                }
            }
            Ok(Err(error)) => failed(&shell, number, link, &error),
            Err(_) => failed(&shell, number, link, &io::Error::from(io::ErrorKind::TimedOut)),
        }
        tokio::select! {
            () = shell.until_closing() => return,
            () = tokio::time::sleep(jitter(wait_ms)) => {}
        }
        wait_ms = (wait_ms * 2).min(link.backoff_max_ms);
    }
}

fn failed(shell: &Shell, number: LinkNo, link: &LinkSettings, error: &io::Error) {
    shell.meters.connect_failed(number);
    tracing::warn!(link = %number, name = link.name, address = link.address, %error, "cannot connect to the issuer");
}

/// Between half of it and all of it, so that many links do not come back in one moment.
fn jitter(wait_ms: u64) -> Duration {
    let mut random = [0; 4];
    // Without randomness the whole wait is right too.
    let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    let share = filled.map_or(u64::from(u32::MAX), |_| u64::from(u32::from_ne_bytes(random)));
    Duration::from_millis(wait_ms / 2 + wait_ms.div_ceil(2) * share / u64::from(u32::MAX))
}

/// An open connection.
enum Stream {
    Plain(Counting<TcpStream>),
    Tls(Box<TlsStream<Counting<TcpStream>>>),
}

async fn connect(link: &LinkSettings, security: &LinkSecurity) -> io::Result<Stream> {
    let stream = TcpStream::connect(&link.address).await?;
    socket::set_options(&stream, &link.tcp)?;
    let stream = Counting::new(stream);
    match security {
        LinkSecurity::Plain => Ok(Stream::Plain(stream)),
        LinkSecurity::Tls(config, name) => {
            let tls = TlsConnector::from(config.clone()).connect(name.clone(), stream).await?;
            Ok(Stream::Tls(Box::new(tls)))
        }
    }
}

/// Carries messages until the connection ends. True: the host said something and took requests, so it is worth coming back
/// soon; one that refuses the sign-on is not.
async fn converse(shell: &Rc<Shell>, number: LinkNo, link: &LinkSettings, stream: Stream) -> bool {
    let line = Rc::new(Line::default());
    let peer = Rc::new(LinkPeer { line: line.clone(), dialect: link.dialect, number, was_ready: Cell::new(false) });
    let place = shell.links.borrow_mut().insert(peer.clone());
    shell.close_if_late(&line);
    let id = LinkId { index: place.0, generation: place.1 };
    shell.mailbox.push(Input::LinkOpened { link: id, number });
    tracing::info!(link = %number, name = link.name, address = link.address, "link connection open");
    let mut host = Host { shell, link, id, number, heard: false };
    let end = match stream {
        Stream::Plain(stream) => {
            let taken = stream.taken();
            carry(&mut host, line, stream, taken, true, |stream| stream.get_ref()).await
        }
        Stream::Tls(stream) => {
            let taken = stream.get_ref().0.taken();
            carry(&mut host, line, *stream, taken, false, |stream| stream.get_ref().0.get_ref()).await
        }
    };
    let heard = host.heard;
    shell.links.borrow_mut().remove(place);
    shell.mailbox.push(Input::LinkClosed { link: id });
    shell.meters.link_closed(number, end);
    tracing::warn!(link = %number, name = link.name, reason = end.name(), "link connection closed");
    heard && peer.was_ready.get()
}

async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    host: &mut Host<'_>,
    line: Rc<Line>,
    stream: S,
    taken: Taken,
    plain: bool,
    socket: fn(&S) -> &TcpStream,
) -> End {
    let limits = &host.shell.settings.limits;
    let timeouts = Timeouts { first_message: None, frame: Duration::from_millis(limits.frame_timeout_ms), idle: None };
    let (frame_max, backlog_max) = (limits.frame_max, limits.link_write_backlog_max);
    let queues = host.shell.queues.clone();
    traffic::run(Traffic { stream, socket, taken, plain, queues, line, frame_max, backlog_max, timeouts }, host).await
}

/// What a host's messages are handled with.
struct Host<'s> {
    shell: &'s Shell,
    link: &'s LinkSettings,
    id: LinkId,
    number: LinkNo,
    heard: bool,
}

impl Handler for Host<'_> {
    fn has_room(&mut self, cx: &mut Context<'_>) -> bool {
        self.shell.mailbox.has_room(cx)
    }

    fn message(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.heard = true;
        match self.shell.wire.parse(self.link.dialect, bytes) {
            Ok(message) => self.shell.mailbox.push(Input::Issuer { link: self.id, message }),
            Err(unreadable) => {
                // T4: not an answer; counted and ignored, the timeout decides.
                let error = unreadable.error;
                if let Some(partial) = &unreadable.partial {
                    self.shell.strays.keep(clock::now().wall_ms, self.number, Stray::of(partial), Some(error.field));
                }
                self.shell.meters.parse_error("issuer");
                if self.shell.lines.take(Subject::Issuer(self.number.issuer)) {
                    tracing::warn!(
                        link = %self.number, length = bytes.len(), field = %error.field, offset = error.offset,
                        "message from the issuer cannot be read"
                    );
                }
            }
        }
        Ok(())
    }

    fn answers_keep_alive(&self) -> bool {
        // The host may be answering ours, and two that answer answers never end.
        false
    }

    fn report(&mut self, action: ActionId, fate: Fate) {
        let report = match fate {
            Fate::Written => Report::Written,
            Fate::NotSent => Report::NotSent,
            Fate::Partial => Report::Partial,
        };
        self.shell.mailbox.push(Input::Report { action, report });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_keeps_between_half_and_all() {
        for wait_ms in [1, 2, 500, 30_000] {
            for _ in 0..100 {
                let got = jitter(wait_ms).as_millis();
                assert!(got >= u128::from(wait_ms / 2) && got <= u128::from(wait_ms), "{got} of {wait_ms}");
            }
        }
    }
}
