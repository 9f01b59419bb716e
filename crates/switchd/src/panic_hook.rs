//! A panic is our own broken invariant: it is logged and the process stops, as a task that is dead in silence is worse.
//!
//! Not a profile setting, as tests must unwind. An engine of the index that panics over a damaged file is the exception: the
//! index is built again. Invariant: after [`install`] no thread survives any other panic.

use std::panic;
use std::process;

use crate::observe::log;

/// Installs the hook; the first thing that `main` does.
pub(crate) fn install() {
    panic::set_hook(Box::new(|info| {
        // Our own messages carry no message bytes, so the text of a panic may be logged.
        let place = info.location().map_or_else(String::new, ToString::to_string);
        let text = info.payload().downcast_ref::<&str>().copied();
        let reason = text.or(info.payload().downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given");
        if index::contains_panic() {
            tracing::error!(place, reason, "the engine of the index panicked");
            return;
        }
        tracing::error!(place, reason, "broken invariant, stopping");
        log::end(Some(format!("switchd: broken invariant at {place}: {reason}")));
        process::abort();
    }));
}
