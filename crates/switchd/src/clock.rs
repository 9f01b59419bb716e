//! The clocks: one that counts suspended time for deadlines (K7), and the wall clock for records and DE7.

use rustix::time::{ClockId, Timespec, clock_gettime};
use switch::Now;

/// What both clocks say.
pub(crate) fn now() -> Now {
    Now { uptime_ms: millis(ClockId::Boottime), wall_ms: millis(ClockId::Realtime) }
}

/// Milliseconds; a clock before its zero counts as zero.
fn millis(clock: ClockId) -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    u64::try_from(tv_sec).unwrap_or(0) * 1000 + u64::try_from(tv_nsec).unwrap_or(0) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k7_clocks_go_forward_and_know_the_date() {
        let (first, second) = (now(), now());
        assert!(first.uptime_ms > 0 && second.uptime_ms >= first.uptime_ms);
        assert!(first.wall_ms > 1_700_000_000_000, "after 2023");
    }
}
