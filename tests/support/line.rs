//! A terminal's connection in the test's own hands, and the messages that go over it.
//!
//! `counterparts` has a terminal that behaves; this one does exactly what a test says, and shares no code with it.
//! Messages carry what a real terminal sends; the times in them are now.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use counterparts::clock::Calendar;
use counterparts::net::tls::Identity;
use iso8583::frame::{Frame, next_frame, put_frame};
use iso8583::{Dialect, Fields, Layout, Mti};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::wait::within;

/// The merchant of every terminal that `switchd init` makes.
pub(crate) const MERCHANT: &str = "MERCHANT0000001";

/// A connection over TLS.
pub(crate) struct Line {
    stream: TlsStream<TcpStream>,
    input: Vec<u8>,
}

impl Line {
    /// Connects as the holder of `name.pem` and `name.key` in `tls`.
    pub(crate) async fn open(address: SocketAddr, tls: &Path, name: &str) -> Self {
        let config = identity(tls, name).client().expect("the terminal's certificate fits its key");
        within("a terminal's connection", Self::connect(address, config)).await.expect("the daemon takes the connection")
    }

    /// Connects with this configuration. With TLS 1.3 a server that refuses the client says so only at the first read.
    pub(crate) async fn connect(address: SocketAddr, config: Arc<ClientConfig>) -> std::io::Result<Self> {
        Self::over(TcpStream::connect(address).await?, config).await
    }

    /// The handshake on a connection that is there.
    pub(crate) async fn over(tcp: TcpStream, config: Arc<ClientConfig>) -> std::io::Result<Self> {
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").expect("localhost is a name");
        let stream = TlsConnector::from(config).connect(name, tcp).await?;
        Ok(Line { stream, input: Vec::new() })
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &Fields) {
        self.send_bytes(&frame(message)).await;
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the daemon reads");
        self.stream.flush().await.expect("the daemon reads");
    }

    /// Sends a message to a peer that may have closed already.
    pub(crate) async fn try_send(&mut self, message: &Fields) {
        // What a refusal does to a write depends on the moment at which it comes.
        let _ = self.stream.write_all(&frame(message)).await;
        let _ = self.stream.flush().await;
    }

    /// The next message; `None` when the daemon has closed the connection.
    pub(crate) async fn receive(&mut self) -> Option<Fields> {
        within("a message from the daemon", async {
            loop {
                if let Some(message) = take(&mut self.input) {
                    return Some(message);
                }
                match self.stream.read_buf(&mut self.input).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        })
        .await
    }

    /// Sends a message and gives the next one that comes, which must be its answer.
    pub(crate) async fn ask(&mut self, message: &Fields) -> Fields {
        self.send(message).await;
        let answer = self.receive().await.expect("the daemon answers and does not close the connection");
        assert_eq!(answer.mti(), message.mti().response(), "the answer to {}", message.mti());
        assert_eq!(answer.get(11), message.get(11), "DE11 comes back");
        answer
    }

    /// Nothing came that was not asked for: the next message is the answer to an echo.
    pub(crate) async fn assert_silent(&mut self, number: u16) {
        let echo = echo(number, 999_999);
        self.send(&echo).await;
        let next = self.receive().await.expect("the connection is open");
        assert_eq!((next.mti().as_str(), next.get(11)), ("0810", echo.get(11)), "a message came that nobody waits for");
    }

    /// Resets the connection: what is on its way to the terminal is lost.
    pub(crate) fn reset(self) {
        self.stream.get_ref().0.set_zero_linger().expect("the socket is open");
    }
}

/// The certificate, key and authority of a name in a directory made by `switchd init`.
pub(crate) fn identity(tls: &Path, name: &str) -> Identity {
    Identity {
        certificate: tls.join(format!("{name}.pem")),
        key: tls.join(format!("{name}.key")),
        authority: tls.join("ca.pem"),
    }
}

/// A message with its length in front, in `iso87-ascii`.
pub(crate) fn frame(message: &Fields) -> Vec<u8> {
    let (mut bytes, mut out) = (Vec::new(), Vec::new());
    dialect().assemble(message, &mut bytes).expect("the test's message fits the dialect");
    put_frame(&mut out, &bytes);
    out
}

/// Takes the first whole message out of a buffer; keep-alives are skipped.
pub(crate) fn take(input: &mut Vec<u8>) -> Option<Fields> {
    loop {
        match next_frame(input, 8 * 1024) {
            Frame::Incomplete => return None,
            Frame::KeepAlive => drop(input.drain(..2)),
            Frame::TooLong { announced } => panic!("a message of {announced} bytes"),
            Frame::Message(range) => {
                let mut fields = Fields::new(Mti::new(b"0000"));
                let mut layout = Layout::new();
                let parsed = dialect().parse(&input[range.clone()], &mut layout);
                parsed.expect("the switch writes messages that can be read").fields_into(&mut fields);
                input.drain(..range.end);
                return Some(fields);
            }
        }
    }
}

fn dialect() -> &'static Dialect {
    Dialect::by_name("iso87-ascii").expect("iso87-ascii is built in")
}

/// DE41 and the common name of a terminal of `switchd init`.
pub(crate) fn name(number: u16) -> String {
    format!("TERM{number:04}")
}

/// A message of this terminal, now.
fn message(mti: &[u8; 4], number: u16, stan: u32) -> Fields {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let now = Calendar::at(u64::try_from(since_1970.as_millis()).expect("64 bits hold it"), 0);
    let mut message = Fields::new(Mti::new(mti));
    message.set(7, now.de7().as_bytes());
    message.set(11, format!("{stan:06}").as_bytes());
    message.set(12, now.de12().as_bytes());
    message.set(13, now.de13().as_bytes());
    message.set(41, name(number).as_bytes());
    message.set(42, MERCHANT.as_bytes());
    message
}

/// 0200 for a purchase in EUR.
pub(crate) fn sale(number: u16, stan: u32, pan: &str, minor: u64) -> Fields {
    let mut sale = message(b"0200", number, stan);
    sale.set(2, pan.as_bytes());
    sale.set(3, b"000000");
    sale.set(4, format!("{minor:012}").as_bytes());
    sale.set(22, b"021");
    sale.set(25, b"00");
    sale.set(49, b"978");
    sale
}

/// 0201 with the content of a request.
pub(crate) fn repeat_of(request: &Fields) -> Fields {
    let mut repeat = request.clone();
    repeat.set_mti(request.mti().repeat());
    repeat
}

/// 0400 for all of a request, under its own STAN.
pub(crate) fn reversal_of(request: &Fields, stan: u32) -> Fields {
    let mut reversal = request.clone();
    reversal.set_mti(Mti::new(b"0400"));
    reversal.set(11, format!("{stan:06}").as_bytes());
    let original = format!("{}{}{}{:022}", request.mti(), field(request, 11), field(request, 7), 0);
    reversal.set(90, original.as_bytes());
    reversal
}

/// 0800 with DE70 301.
pub(crate) fn echo(number: u16, stan: u32) -> Fields {
    let mut echo = message(b"0800", number, stan);
    echo.set(70, b"301");
    echo
}

/// A field as text; empty when it is not there.
pub(crate) fn field(message: &Fields, de: u8) -> &str {
    message.text(de).unwrap_or_default().trim_end()
}

/// DE39.
pub(crate) fn code(message: &Fields) -> &str {
    field(message, 39)
}
