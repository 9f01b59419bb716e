//! Logs: lines of text or JSON on standard error, written by a thread of their own.
//!
//! Whoever reads them may stop reading, and a full pipe stops whoever writes. Then the lines wait, so many, and what does
//! not fit is left out, counted, and said as soon as the log goes on. Not a record of money: that is the journal.
//! Invariant: no thread but the log's own waits for the reader; the end of the process waits for it a moment only.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use metrics::counter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};

use crate::config::Log;

/// Lines that wait for the reader; some hundred bytes each.
const LINES_MAX: usize = 4096;

/// How long the last lines of the process wait for their reader.
const LAST_WORDS_PATIENCE: Duration = Duration::from_secs(2);

/// The log of this process, once it is started.
static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

struct Running {
    /// What waits is written when it is dropped.
    guard: WorkerGuard,
    dropped: ErrorCounter,
    /// How many of the dropped lines the log has spoken of.
    said: usize,
}

/// Starts logging; once per process.
pub(crate) fn start(log: Log) {
    let lines = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES_MAX).thread_name("log");
    let (writer, guard) = lines.finish(io::stderr());
    let running = Running { guard, dropped: writer.error_counter(), said: 0 };
    let builder = tracing_subscriber::fmt().with_max_level(log.level).with_writer(writer);
    // Colours are for people; a file gets none.
    let builder = builder.with_ansi(io::stderr().is_terminal());
    let started = if log.json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        tracing::subscriber::set_global_default(builder.finish())
    };
    let before = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).replace(running);
    assert!(started.is_ok() && before.is_none(), "logging is started once");
}

/// Counts the lines that were dropped, and says so when the log takes lines again.
pub(crate) fn tick() {
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(Running { guard: _, dropped, said }) = &mut *running else { return };
    let count = dropped.dropped_lines();
    counter!("switchd_log_lines_dropped_total").absolute(count as u64);
    if count > *said {
        tracing::warn!(count = count - *said, "lines of this log were dropped: nobody read it in time");
        // It may have been dropped itself.
        if dropped.dropped_lines() == count {
            *said = count;
        }
    }
}

/// The end of the process: writes what waits, and `words` behind it. What nobody reads by then is lost.
pub(crate) fn end(words: Option<String>) {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (done, wait) = mpsc::channel();
    let write = move || {
        drop(running.map(|running| running.guard));
        if let Some(words) = words {
            eprintln!("{words}");
        }
        // Whoever waited may have given up.
        let _ = done.send(());
    };
    if thread::Builder::new().name("last-words".to_owned()).spawn(write).is_ok() {
        let _ = wait.recv_timeout(LAST_WORDS_PATIENCE);
    }
}
