//! The acquirer transaction switch daemon: sockets, TLS, links, metrics, admin, configuration, command line.
//!
//! Decides nothing about money: that is `switch`, and `partition` makes it durable. This file is a table of contents. It is a
//! library so that `fuzz` reaches the readers of its files ([`parsers`]); nothing else may depend on it.

mod certificates;
mod cli;
mod clock;
mod config;
#[cfg(feature = "counterparts")]
mod counterpart;
#[cfg(feature = "counterparts")]
mod demo;
mod exit;
mod init;
mod net;
mod observe;
mod panic_hook;
pub mod parsers;
mod reload;
mod serve;
mod shell;
mod tls;
mod witness;
mod words;

/// The program: does what the command line says.
pub fn run() -> std::process::ExitCode {
    panic_hook::install();
    cli::run().into()
}
