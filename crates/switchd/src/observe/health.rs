//! Whether the daemon lives and whether it is ready, as its engine last said; read by another thread.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::clock;

/// An engine that has not turned for so long is not alive, in milliseconds; it turns at least once a second.
const SILENCE_MAX_MS: u64 = 10_000;

/// Shared by the engine and the HTTP server.
#[derive(Debug)]
pub(crate) struct Health {
    last_turn_ms: AtomicU64,
    poisoned: AtomicBool,
    not_ready: Mutex<Vec<String>>,
}

impl Health {
    /// Alive, not ready.
    pub(crate) fn new() -> Self {
        Health {
            last_turn_ms: AtomicU64::new(clock::now().uptime_ms),
            poisoned: AtomicBool::new(false),
            not_ready: Mutex::new(vec!["starting".to_owned()]),
        }
    }

    /// The engine turned.
    pub(crate) fn turned(&self, uptime_ms: u64) {
        self.last_turn_ms.store(uptime_ms, Ordering::Relaxed);
    }

    /// The journal is poisoned (M6).
    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Relaxed);
    }

    /// Why it is not ready; empty when it is.
    pub(crate) fn set_not_ready(&self, reasons: Vec<String>) {
        *self.lock() = reasons;
    }

    /// Why it is not alive; `None` when it is.
    pub(crate) fn dead(&self) -> Option<&'static str> {
        if self.poisoned.load(Ordering::Relaxed) {
            return Some("the journal is poisoned (M6)");
        }
        let silent = clock::now().uptime_ms.saturating_sub(self.last_turn_ms.load(Ordering::Relaxed));
        (silent > SILENCE_MAX_MS).then_some("the engine does not turn")
    }

    /// Why it is not ready; empty when it is.
    pub(crate) fn not_ready(&self) -> Vec<String> {
        let mut reasons = self.lock().clone();
        reasons.extend(self.dead().map(str::to_owned));
        reasons
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        // A panic stops the process, so nobody leaves the lock poisoned.
        self.not_ready.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
