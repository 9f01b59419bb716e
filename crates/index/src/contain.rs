//! Panics of an engine end with the engine, not with the process: a view that can be built again is not worth a stop.
//!
//! An engine that reads a damaged file may panic instead of saying so. The process' panic hook asks [`contains_panic`] and
//! lets such a panic unwind; it becomes an error here, or the end of one of the engine's own threads, which [`died`] tells.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::engine::EngineError;

/// How the threads of the engines are named.
const THREADS: [&str; 3] = ["fjall", "sled", "log flusher"];

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

static DIED: AtomicU64 = AtomicU64::new(0);

/// For a panic hook that ends the process: whether the panic of this thread is an engine's, and is taken care of here.
#[must_use]
pub fn contains_panic() -> bool {
    if INSIDE.get() {
        return true;
    }
    let of_engine = thread::current().name().is_some_and(|name| THREADS.iter().any(|own| name.starts_with(own)));
    if of_engine {
        DIED.fetch_add(1, Ordering::Relaxed);
    }
    of_engine
}

/// How many threads of engines have panicked in this process.
pub(crate) fn died() -> u64 {
    DIED.load(Ordering::Relaxed)
}

/// Does something with an engine.
pub(crate) fn contained<T>(what: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
    let before = INSIDE.replace(true);
    let done = catch_unwind(AssertUnwindSafe(what));
    INSIDE.set(before);
    done.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or(panic.downcast_ref::<String>().map(String::as_str));
        Err(EngineError::Panicked(text.unwrap_or("no reason given").to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_is_an_error_and_outside_is_not_ours() {
        assert!(!contains_panic());
        let inside = contained(|| {
            assert!(contains_panic());
            contained(|| Ok(()))?;
            assert!(contains_panic(), "a call within a call does not end it");
            Ok(7)
        });
        assert_eq!(inside.ok(), Some(7));
        let panicked = contained::<()>(|| panic!("a damaged file"));
        assert!(matches!(panicked, Err(EngineError::Panicked(text)) if text == "a damaged file"));
        assert!(!contains_panic());
    }

    #[test]
    fn a_thread_of_an_engine_is_known_by_its_name() {
        for (name, of_engine) in [("fjall:worker", true), ("sled-io-1", true), ("log flusher", true), ("commit", false)] {
            let thread = thread::Builder::new().name(name.to_owned()).spawn(contains_panic).expect("it starts");
            assert_eq!(thread.join().ok(), Some(of_engine), "{name}");
        }
    }
}
