//! Why a socket, a certificate or a peer's bytes could not be used.
//!
//! Invariant: no error holds bytes of a message.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::terminal::{BadLine, Refused};

/// What went wrong, and with what.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// The address does not answer, or the TLS handshake failed: nothing was sent.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// Whom.
        address: SocketAddr,
        /// Why not.
        reason: io::Error,
    },
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        reason: io::Error,
    },
    /// The connection broke.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// A PEM file cannot be read.
    #[error("{}: {reason}", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: rustls::pki_types::pem::Error,
    },
    /// Certificates or keys do not fit.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The authority's certificates cannot verify a peer.
    #[error("TLS: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// The name is no name that a certificate can hold.
    #[error("TLS: {0:?} is not a server name")]
    ServerName(String),
    /// The dialect is not built in.
    #[error("no dialect is named {0:?}")]
    UnknownDialect(String),
    /// The peer sent what is not a message of the dialect.
    #[error("the peer's message: {0}")]
    Parse(#[from] iso8583::ParseError),
    /// The peer announced a message that is too long.
    #[error("the peer announced a message of {0} bytes")]
    TooLong(usize),
    /// Our message cannot be written in the dialect.
    #[error("our message: {0}")]
    Assemble(#[from] iso8583::AssembleError),
    /// The terminal's journal cannot be read or written.
    #[error("{}: {reason}", file.display())]
    JournalFile {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: io::Error,
    },
    /// The terminal's journal is damaged.
    #[error("{}: {reason}", file.display())]
    JournalLine {
        /// The file.
        file: PathBuf,
        /// Which line, and why.
        reason: BadLine,
    },
    /// The terminal does not do that now.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// What had to be done was not done in time.
    #[error("not done within {0:?}")]
    Deadline(std::time::Duration),
    /// An HTTP server answered with an error, or with what is not HTTP or not the JSON asked for.
    #[error("HTTP: {0}")]
    Http(String),
}
