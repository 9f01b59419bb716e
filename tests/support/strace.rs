//! A daemon whose system calls fail or dawdle: `strace` injects it into the real process.
//!
//! `strace` counts each thread's calls for itself, and a fault meant for one thread strikes at the same count on all others.
//! Invariant: where it may not trace this is said, and is a failure where `SWITCHD_REQUIRE_STRACE` is set, as `.ci/run` does.

use std::process::{Command, Stdio};

use super::skipped;

/// The tracer's command line, for [`super::Daemon::spawn_under`]: what it saw goes to `output`. It ends with the daemon.
pub(crate) fn tracer(output: &str, calls: &str, more: &[&str]) -> Vec<String> {
    let trace = format!("trace={calls}");
    let line = ["strace", "-D", "-f", "--seccomp-bpf", "-o", output, "-e", &trace];
    line.iter().chain(more).map(|word| (*word).to_owned()).collect()
}

/// The tracer's command line for one fault: `call` gets `what` (`error=EIO`, `delay_enter=1000`) as often as `when` says.
pub(crate) fn injected(call: &str, what: &str, when: &str) -> Vec<String> {
    let inject = format!("inject={call}:{what}:when={when}");
    tracer("/dev/null", call, &["-e", &inject])
}

/// Whether `strace` is there and may trace.
pub(crate) fn can_trace() -> bool {
    let tried =
        Command::new("strace").args(["-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// The same; says `SKIPPED` of a test that cannot run then.
pub(crate) fn can_trace_for(test: &str) -> bool {
    can_trace() || skipped(test, "strace is not installed or may not trace here", "SWITCHD_REQUIRE_STRACE")
}
