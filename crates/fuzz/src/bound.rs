//! How much memory a reader may take for how many bytes.
//!
//! Invariant: what is counted is what this thread allocates while the reader runs, and the most that it holds at once.

/// Runs `reader` and asserts that it never holds more than this at once.
///
/// # Panics
/// When it holds more.
pub(crate) fn holding_at_most<T>(bytes: usize, reader: impl FnOnce() -> T) -> T {
    let mut read = None;
    let held = allocation_counter::measure(|| read = Some(reader()));
    assert!(held.bytes_max <= bytes as u64, "held {} bytes, {bytes} are allowed", held.bytes_max);
    read.expect("the reader ran")
}
