//! The acquirer transaction switch daemon: sockets, TLS, links, metrics, admin, configuration, command line.
//!
//! Decides nothing about money: that is `switch`, and `partition` makes it durable. This file is a table of contents.

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
mod serve;
mod shell;
mod tls;

fn main() -> std::process::ExitCode {
    panic_hook::install();
    cli::run().into()
}
