//! The other parties, for demonstrations and tests: `switchd mock-issuer` and `switchd terminal`.
//!
//! Only with the feature `counterparts`; a production build has none of it. Behaviour is in the library of that name,
//! here are command lines.

mod mock_issuer;
mod terminal;

use std::future::Future;

use clap::Subcommand;
use counterparts::net::NetError;

use crate::exit::{Exit, Failure};

/// Commands of the counterparts.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run an issuer that holds accounts in memory and misbehaves on request, for tests.
    ///
    /// GET /ledger and GET /movements on the control address show its books, PUT /faults changes what it does wrong.
    #[command(after_help = mock_issuer::EXAMPLES)]
    MockIssuer(Box<mock_issuer::MockIssuerCli>),
    /// Be a terminal for one exchange, and print its receipt; it keeps a journal of what it believes.
    #[command(after_help = terminal::EXAMPLES)]
    Terminal(Box<terminal::TerminalCli>),
}

/// Does what the command line says.
pub(crate) fn run(command: Command) -> Result<Exit, Failure> {
    match command {
        Command::MockIssuer(args) => block_on(mock_issuer::run(&args)),
        Command::Terminal(args) => block_on(terminal::run(&args)),
    }
}

fn block_on(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::new(Exit::Failed, error))?.block_on(work)
}

/// The library's errors as exit codes.
fn failure(error: NetError) -> Failure {
    let exit = match &error {
        NetError::Listen { .. } => Exit::Bind,
        NetError::Pem { .. } | NetError::Tls(_) | NetError::Verifier(_) | NetError::UnknownDialect(_) => Exit::Config,
        NetError::Connect { .. }
        | NetError::Io(_)
        | NetError::ServerName(_)
        | NetError::Parse(_)
        | NetError::TooLong(_)
        | NetError::Assemble(_)
        | NetError::JournalFile { .. }
        | NetError::JournalLine { .. }
        | NetError::Refused(_)
        | NetError::Deadline(_)
        | NetError::Http(_) => Exit::Failed,
    };
    Failure::new(exit, error)
}
