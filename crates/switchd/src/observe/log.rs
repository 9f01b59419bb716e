//! Logs: lines of text or JSON on standard error.

use std::io::{self, IsTerminal};

use crate::config::Log;

/// Starts logging; once per process.
pub(crate) fn start(log: Log) {
    let builder = tracing_subscriber::fmt().with_max_level(log.level).with_writer(io::stderr);
    // Colours are for people; a file gets none.
    let builder = builder.with_ansi(io::stderr().is_terminal());
    let started = if log.json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        tracing::subscriber::set_global_default(builder.finish())
    };
    assert!(started.is_ok(), "logging is started once");
}
