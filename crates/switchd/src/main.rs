//! The acquirer transaction switch daemon: sockets, TLS, links, metrics, admin, configuration, command line.
//!
//! Decides nothing about money: that is `switch`, and `partition` makes it durable. This file is a table of contents.

mod clock;
mod config;
mod exit;
mod panic_hook;

fn main() {
    panic_hook::install();
}
