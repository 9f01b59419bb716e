//! Waits that end: for a condition, never for a time.

use std::time::{Duration, Instant};

/// After this what a test waits for will not come any more. Long, as machines are slow; nothing waits it out when all is
/// well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition that cannot wake anybody is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(15);

/// Asks until there is an answer.
///
/// # Panics
/// When there is none after [`PATIENCE`]; says what was waited for.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(since.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Waits for a future.
///
/// # Panics
/// When it has not ended after [`PATIENCE`]; says what was waited for.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}
