//! The acquirer transaction switch daemon: sockets, TLS, links, metrics, admin, configuration, command line.
//!
//! Decides nothing about money: that is `switch`, and `partition` makes it durable. This file is a table of contents.

mod certificates;
mod clock;
mod config;
mod exit;
mod init;
mod net;
mod panic_hook;
mod tls;

fn main() {
    panic_hook::install();
}
