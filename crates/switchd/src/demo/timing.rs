//! The times of the demo, in one place, as each must be longer or shorter than another.
//!
//! Short, so that a person can wait for them; a real switch has the defaults of its configuration. Invariant: what the
//! money rules demand of times holds here, and is checked when this is compiled.

use std::time::Duration;

/// Lines of the configuration that `init` writes, each with what the demo has instead.
pub(super) fn configuration() -> Vec<(&'static str, String)> {
    let set = |line, key: &str, time: Duration| (line, format!("{key} = \"{}ms\"", time.as_millis()));
    // What is the same for every group.
    let times = [
        ("terminal_response_timeout = \"30s\"", "terminal_response_timeout", TERMINAL_WAITS),
        ("#redeliver_grace = \"5s\"", "redeliver_grace", REDELIVER_GRACE),
        ("#crossing_margin = \"2s\"", "crossing_margin", CROSSING_MARGIN),
    ];
    let of_group: String = times.map(|(_, key, time)| format!("{key} = \"{}ms\"\n", time.as_millis())).concat();
    let forgetful = format!("[[group]]\nnumber = 2\nname = \"terminals that forget\"\nreverses_first = false\n{of_group}");
    let takes = format!("[[group]]\nnumber = 3\nname = \"vending machines\"\ntakes_partial_approvals = true\n{of_group}");
    let after_groups = "# A party that holds accounts.";
    let retry = "#reversal_retry = [\"1s\", \"5s\", \"15s\", \"30s\", \"1min\", \"2min\", \"5min\", \"10min\"]";
    let more = vec![
        (after_groups, format!("{forgetful}\n{takes}\n{after_groups}")),
        set("#response_timeout = \"15s\"", "response_timeout", RESPONSE_TIMEOUT),
        set("#original_horizon = \"30s\"", "original_horizon", ORIGINAL_HORIZON),
        set("#tcp_user_timeout = \"20s\"", "tcp_user_timeout", Duration::from_secs(2)),
        set("#backoff_min = \"500ms\"", "backoff_min", Duration::from_millis(50)),
        set("#backoff_max = \"30s\"", "backoff_max", Duration::from_secs(1)),
        (retry, "reversal_retry = [\"500ms\", \"1s\", \"2s\"]".to_owned()),
        ("#segment_size = \"64MiB\"", "segment_size = \"4MiB\"".to_owned()),
        ("#level = \"info\"", "level = \"debug\"".to_owned()),
    ];
    times.into_iter().map(|(line, key, time)| set(line, key, time)).chain(more).collect()
}

/// How long a terminal waits: longer than the switch waits for the issuer (T1).
pub(super) const TERMINAL_WAITS: Duration = Duration::from_secs(5);
/// How long after an answer a new request proves that it arrived (C1).
pub(super) const CROSSING_MARGIN: Duration = Duration::from_millis(400);
/// What a terminal waits beyond the margin, as its clock began when the answer arrived.
pub(super) const BEYOND: Duration = Duration::from_millis(150);
/// An approval that comes after the switch gave up and before the horizon.
pub(super) const LATE_ANSWER: Duration = Duration::from_millis(1800);
/// An approval that comes when its terminal has vanished, and before the switch gives up.
pub(super) const SLOW_ANSWER: Duration = Duration::from_millis(400);
/// A sale that the issuer books when the switch has given it up and reversed it, and before the horizon.
pub(super) const OVERTAKEN: Duration = Duration::from_millis(1900);
/// How long an approval that could not be handed over waits for its terminal (T8): a cashier keys the sale again before.
const REDELIVER_GRACE: Duration = Duration::from_secs(2);
/// An approval that is on its way when the daemon is killed.
pub(super) const IN_FLIGHT: Duration = Duration::from_millis(1000);

/// The longest that anything may take to come to its end.
pub(super) const SETTLES_WITHIN: Duration = Duration::from_secs(15);
/// The longest that the whole demo may take.
pub(super) const ALL_WITHIN: Duration = Duration::from_secs(58);
/// Between two looks at the ledgers.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How long the switch waits for the issuer (T1).
const RESPONSE_TIMEOUT: Duration = Duration::from_millis(1200);
/// When a request can no longer reach the issuer's ledger (R3).
const ORIGINAL_HORIZON: Duration = Duration::from_millis(2500);

const _: () = assert!(RESPONSE_TIMEOUT.as_millis() < TERMINAL_WAITS.as_millis(), "T1");
const _: () =
    assert!(SLOW_ANSWER.as_millis() < IN_FLIGHT.as_millis() && IN_FLIGHT.as_millis() < RESPONSE_TIMEOUT.as_millis());
const _: () = assert!(RESPONSE_TIMEOUT.as_millis() < LATE_ANSWER.as_millis(), "T5");
const _: () = assert!(RESPONSE_TIMEOUT.as_millis() + 500 < OVERTAKEN.as_millis(), "R3: the reversal comes first");
const _: () = assert!(OVERTAKEN.as_millis() < ORIGINAL_HORIZON.as_millis(), "R3");
const _: () = assert!(LATE_ANSWER.as_millis() < ORIGINAL_HORIZON.as_millis(), "R3");

#[cfg(test)]
mod tests {
    #[test]
    fn every_line_that_the_demo_changes_is_in_the_configuration_once() {
        for (line, _) in super::configuration() {
            assert_eq!(crate::config::TEMPLATE.lines().filter(|found| *found == line).count(), 1, "{line}");
        }
    }
}
