//! When certificates and revocation lists end: a gauge for each, warnings 30, 7 and 1 days before a certificate does, and an
//! error when either has ended.
//!
//! A revocation list usually lives for some days, so its end is no news before it has come. What has ended is for TLS to refuse.
//! Invariant: of what one reading of the files brought each threshold is told once, and at the start and after each reload the
//! nearest that is passed.

use std::cell::Cell;
use std::collections::BTreeMap;

use metrics::gauge;

/// Days before the end at which a warning is due.
const WARNED_DAYS: [i64; 3] = [30, 7, 1];

const DAY_S: i64 = 86_400;

/// What ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A certificate: refused afterwards.
    Certificate,
    /// A revocation list: counts afterwards too, and is due to be replaced.
    RevocationList,
}

/// Something that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// What it is.
    pub(crate) kind: Kind,
    /// Where the configuration names it: `[listen] certificate`, `link 1.1 ca`.
    pub(crate) named: String,
    /// Whose it is; empty when it has no common name.
    pub(crate) subject: String,
    /// When, in seconds since 1970.
    pub(crate) at_s: i64,
}

/// How near an end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Nearness {
    /// Within so many days: 30, 7 or 1.
    Within(i64),
    /// It is over.
    Over,
}

/// How near the end is, if it is near.
pub(crate) fn nearness(at_s: i64, wall_ms: u64) -> Option<Nearness> {
    let left_s = at_s - i64::try_from(wall_ms / 1000).unwrap_or(i64::MAX);
    if left_s <= 0 {
        return Some(Nearness::Over);
    }
    WARNED_DAYS.into_iter().rev().find(|days| left_s <= days * DAY_S).map(Nearness::Within)
}

/// All that ends, and what was said of it.
#[derive(Debug, Default)]
pub(crate) struct Endings(Vec<(Ending, Cell<Option<Nearness>>)>);

impl Endings {
    /// Shows each on its gauge; of those of one name, as the old and the new certificate of an authority, the earliest end.
    pub(crate) fn new(endings: Vec<Ending>) -> Self {
        for ((named, subject), at_s) in earliest(&endings) {
            let labels = [("named", named.to_owned()), ("subject", subject.to_owned())];
            gauge!("switchd_certificate_expiry_timestamp_seconds", &labels).set(as_f64(at_s));
        }
        Endings(endings.into_iter().map(|ending| (ending, Cell::new(None))).collect())
    }

    /// Takes each off its gauge: it is not in use any more, and never ends.
    pub(crate) fn forget(&self) {
        for (ending, _) in &self.0 {
            let labels = [("named", ending.named.clone()), ("subject", ending.subject.clone())];
            gauge!("switchd_certificate_expiry_timestamp_seconds", &labels).set(f64::INFINITY);
        }
    }

    /// Warns of what is near, once for each threshold.
    pub(crate) fn tick(&self, wall_ms: u64) {
        for ending in self.due(wall_ms) {
            let Ending { named, subject, at_s, .. } = ending;
            let days = (at_s - i64::try_from(wall_ms / 1000).unwrap_or(i64::MAX)) / DAY_S;
            match nearness(*at_s, wall_ms) {
                Some(Nearness::Over) => {
                    tracing::error!(named, subject, "expired; next: put a new one in its place and load it");
                }
                Some(Nearness::Within(within)) => {
                    tracing::warn!(
                        named,
                        subject,
                        days,
                        within,
                        "expires soon; next: put a new one in its place and load it"
                    );
                }
                None => {}
            }
        }
    }

    /// What has come nearer than was said of it.
    fn due(&self, wall_ms: u64) -> impl Iterator<Item = &Ending> {
        self.0.iter().filter_map(move |(ending, said)| {
            let near = nearness(ending.at_s, wall_ms);
            let near = near.filter(|near| ending.kind == Kind::Certificate || *near == Nearness::Over);
            (near.is_some() && said.replace(near) != near).then_some(ending)
        })
    }
}

/// The earliest end of each name and subject.
fn earliest(endings: &[Ending]) -> BTreeMap<(&str, &str), i64> {
    let mut earliest = BTreeMap::new();
    for Ending { named, subject, at_s, .. } in endings {
        let known = earliest.entry((named.as_str(), subject.as_str())).or_insert(*at_s);
        *known = (*known).min(*at_s);
    }
    earliest
}

/// Seconds since 1970 fit a gauge.
#[allow(clippy::cast_precision_loss, reason = "see above")]
fn as_f64(number: i64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const END_S: i64 = 2_000_000_000;

    fn at(before_s: i64) -> u64 {
        u64::try_from(END_S - before_s).unwrap() * 1000
    }

    #[track_caller]
    fn check(before_s: i64, near: Option<Nearness>) {
        assert_eq!(nearness(END_S, at(before_s)), near, "{before_s} s before");
    }

    #[test]
    fn thresholds_are_thirty_seven_and_one_day() {
        check(31 * DAY_S, None);
        check(30 * DAY_S + 1, None);
        check(30 * DAY_S, Some(Nearness::Within(30)));
        check(7 * DAY_S + 1, Some(Nearness::Within(30)));
        check(7 * DAY_S, Some(Nearness::Within(7)));
        check(DAY_S + 1, Some(Nearness::Within(7)));
        check(DAY_S, Some(Nearness::Within(1)));
        check(1, Some(Nearness::Within(1)));
        check(0, Some(Nearness::Over));
        check(-1, Some(Nearness::Over));
    }

    fn ending(kind: Kind, at_s: i64) -> Ending {
        Ending { kind, named: "[listen] client_ca".to_owned(), subject: "switchd".to_owned(), at_s }
    }

    /// On which days before the end something is told.
    fn told(kind: Kind) -> Vec<i64> {
        let endings = Endings::new(vec![ending(kind, END_S)]);
        let told = (-2..40).rev().filter(|days| endings.due(at(days * DAY_S)).count() > 0).collect();
        assert_eq!(endings.due(at(0)).count(), 0);
        told
    }

    #[test]
    fn each_threshold_is_told_once_and_of_a_revocation_list_its_end_alone() {
        assert_eq!(told(Kind::Certificate), [30, 7, 1, 0]);
        assert_eq!(told(Kind::RevocationList), [0]);
    }

    #[test]
    fn of_two_certificates_of_one_name_the_earliest_end_is_shown() {
        let check = |ends: [i64; 2]| {
            let both = ends.map(|at_s| ending(Kind::Certificate, at_s));
            assert_eq!(earliest(&both), BTreeMap::from([(("[listen] client_ca", "switchd"), 5)]));
        };
        check([5, 9]);
        check([9, 5]);
    }
}
