//! Relations between settings that hold values of their own right: judged once all of them are read.
//!
//! Invariant: what passes here cannot make the switch break T1 or R3 by its configuration alone.

use super::Settings;
use super::units::show_duration;

/// Every relation that does not hold, a sentence each.
pub(super) fn relations(settings: &Settings) -> Vec<String> {
    let mut wrong = settings.core.check();
    wrong.extend(settings.limits.check());
    if settings.groups.is_empty() {
        wrong.push("no [[group]]: terminals need one".to_owned());
    }
    if settings.core.issuers.is_empty() {
        wrong.push("no [[issuer]]: requests have nowhere to go".to_owned());
    }
    if settings.core.routes.is_empty() {
        wrong.push("no [[route]]: requests have nowhere to go".to_owned());
    }
    wrong.extend(response_timeouts(settings));
    wrong.extend(confirmations(settings));
    wrong.extend(horizons(settings));
    wrong.extend(timeouts_of_sockets(settings));
    wrong.extend(retention(settings));
    wrong
}

/// T1: the switch must give up on the issuer before a terminal gives up on the switch.
fn response_timeouts(settings: &Settings) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, link) in &settings.core.links {
        for (group_number, group) in &settings.groups {
            if link.response_timeout_ms >= group.terminal_response_timeout_ms {
                wrong.push(format!(
                    "link {number} ({}): response_timeout ({}) must be shorter than terminal_response_timeout ({}) of \
                     group {} (T1)",
                    link.name,
                    show_duration(link.response_timeout_ms),
                    show_duration(group.terminal_response_timeout_ms),
                    group_number.0,
                ));
            }
        }
    }
    wrong
}

/// A reversal must find its original for as long as it looks for it; and the index never shares the journal's directory.
fn retention(settings: &Settings) -> Vec<String> {
    let mut wrong = Vec::new();
    let (back_ms, journal, index) = (settings.core.reversal_lookback_ms, &settings.journal.dir, &settings.index.dir);
    if let Some(keep_ms) = settings.journal.keep_ms.filter(|keep_ms| *keep_ms <= back_ms) {
        let (keep, back) = (show_duration(keep_ms), show_duration(back_ms));
        wrong.push(format!("[journal] keep_days ({keep}) must be longer than [partition] reversal_lookback ({back})"));
    }
    // A directory that is missing is said to be, and is beside nothing.
    let both = !journal.as_os_str().is_empty();
    if both && (index.starts_with(journal) || journal.starts_with(index)) {
        wrong.push(
            "[index] dir and [journal] dir must be apart: nothing but the journal may be where the journal is".to_owned(),
        );
    }
    wrong
}

/// C2 must be able to act before C3 settles what it would have reversed.
fn confirmations(settings: &Settings) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, group) in &settings.core.groups {
        let (within, deadline) = (group.confirm_within_ms, group.confirm_deadline_ms);
        if let Some(within) = within.filter(|within| *within >= deadline) {
            wrong.push(format!(
                "group {} ({}): confirm_within ({}) must be shorter than confirm_deadline ({}) (C2, C3)",
                number.0,
                group.name,
                show_duration(within),
                show_duration(deadline),
            ));
        }
    }
    wrong
}

/// R3: the kernel must have given up on a request before the horizon says that it can no longer arrive.
fn horizons(settings: &Settings) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, link) in &settings.links {
        let Some(rules) = settings.core.links.get(number) else { continue };
        if link.tcp.user_timeout_ms >= rules.original_horizon_ms {
            wrong.push(format!(
                "link {number} ({}): tcp_user_timeout ({}) must be shorter than original_horizon ({}) (R3)",
                link.name,
                show_duration(link.tcp.user_timeout_ms),
                show_duration(rules.original_horizon_ms),
            ));
        }
        if link.backoff_min_ms > link.backoff_max_ms {
            wrong.push(format!("link {number} ({}): backoff_min must not be longer than backoff_max", link.name));
        }
    }
    wrong
}

/// A socket must live as long as an answer may take, and a drain as long as an issuer may.
fn timeouts_of_sockets(settings: &Settings) -> Vec<String> {
    let mut wrong = Vec::new();
    let (idle, drain) = (settings.limits.idle_timeout_ms, settings.limits.drain_timeout_ms);
    for (number, group) in &settings.groups {
        if idle <= group.terminal_response_timeout_ms {
            wrong.push(format!(
                "[limits] idle_timeout ({}) must be longer than terminal_response_timeout ({}) of group {}",
                show_duration(idle),
                show_duration(group.terminal_response_timeout_ms),
                number.0,
            ));
        }
    }
    for (number, link) in &settings.core.links {
        if drain <= link.response_timeout_ms {
            wrong.push(format!(
                "[limits] drain_timeout ({}) must be longer than response_timeout ({}) of link {number} ({})",
                show_duration(drain),
                show_duration(link.response_timeout_ms),
                link.name,
            ));
        }
    }
    wrong
}
