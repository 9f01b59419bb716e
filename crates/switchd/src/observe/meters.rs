//! The metrics: their names, labels and buckets, and a handle for each that is in use.
//!
//! Handles are held, as to look one up costs many times an increment. Labels come from closed or configured sets, so a
//! peer cannot make series: an MTI that is not in WIRE counts as `other`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use iso8583::{Mti, ResponseCode};
use metrics::{Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use partition::CommitStats;
use serde::{Deserialize, Serialize};
use switch::{CensusRow, IssuerNo, LinkNo, LinkView, StateKind};

use crate::clock;
use crate::net::traffic::End;

/// Seconds, from what memory does to what a person waits for.
const LATENCY_BUCKETS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0,
];

/// Records of one commit group.
const GROUP_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// MTIs that get a series of their own.
const KNOWN_MTIS: &[&str] = &[
    "0100", "0101", "0200", "0201", "0102", "0202", "0103", "0203", "0120", "0121", "0220", "0221", "0320", "0321", "0400",
    "0401", "0420", "0421", "0500", "0520", "0800", "0820",
];

/// Makes the recorder of the process; once.
pub(crate) fn install() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), LATENCY_BUCKETS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full("switchd_commit_records".to_owned()), GROUP_BUCKETS)
        })
        .expect("the buckets above are not empty")
        .build_recorder();
    let handle = recorder.handle();
    assert!(metrics::set_global_recorder(recorder).is_ok(), "metrics are installed once");
    describe();
    gauge!("switchd_start_time_seconds").set(seconds(clock::now().wall_ms));
    gauge!("switchd_build_info", "version" => env!("CARGO_PKG_VERSION"), "commit" => env!("SWITCHD_COMMIT")).set(1.0);
    handle
}

fn describe() {
    describe_counter!("switchd_answers_total", "Answers to terminals by MTI of the request and response code");
    describe_histogram!("switchd_answer_seconds", "From a terminal's message to the decision to answer it");
    describe_histogram!("switchd_answer_issuer_seconds", "The part of it spent waiting for the issuer");
    describe_histogram!(
        "switchd_answer_journal_seconds",
        "From a decision's commit group being closed to its being durable"
    );
    describe_gauge!("switchd_in_doubt", "Movements in doubt, all of them; must return to zero");
    describe_gauge!("switchd_in_doubt_movements", "Movements in doubt by state and issuer");
    describe_gauge!("switchd_in_doubt_amount_minor", "Their amount in minor units");
    describe_gauge!("switchd_in_doubt_oldest_seconds", "Age of the oldest");
    describe_gauge!("switchd_unconfirmed_movements", "Approved and handed over, not confirmed yet, by issuer");
    describe_gauge!("switchd_unconfirmed_amount_minor", "Their amount in minor units");
    describe_gauge!("switchd_unconfirmed_oldest_seconds", "Age of the oldest");
    describe_counter!("switchd_obligations_recorded_total", "Promises to reverse, by issuer and rule");
    describe_counter!("switchd_obligations_sent_total", "Reversals sent, by issuer");
    describe_counter!("switchd_obligations_acknowledged_total", "Promises kept, by issuer");
    describe_counter!("switchd_late_answers_total", "Answers to requests already decided (T5), by issuer");
    describe_counter!("switchd_unmatched_answers_total", "Answers that match nothing (T4), by issuer");
    describe_counter!("switchd_decided_total", "Repeats, reversals and confirmations by rule");
    describe_counter!("switchd_exceptions_total", "Entries for a person, by rule");
    describe_gauge!("switchd_link_connections", "Open connections of a link, by whether they take requests");
    describe_gauge!("switchd_link_in_flight", "Requests without an answer, by link");
    describe_counter!("switchd_link_closed_total", "Link connections that ended, by link and reason");
    describe_counter!("switchd_link_connect_failed_total", "Attempts to connect that failed, by link");
    describe_gauge!("switchd_terminal_connections", "Open terminal connections");
    describe_counter!("switchd_terminal_closed_total", "Terminal connections that ended, by reason");
    describe_counter!("switchd_terminal_refused_total", "Terminal connections refused before a message, by reason");
    describe_counter!("switchd_not_allowed_total", "Messages for a terminal that the certificate may not speak for (03)");
    describe_counter!(
        "switchd_terminal_certificates_expiring_total",
        "Connections of terminals whose certificate expires within so many days"
    );
    describe_gauge!(
        "switchd_certificate_expiry_timestamp_seconds",
        "When a certificate or revocation list of the configuration ends, seconds since 1970"
    );
    describe_counter!("switchd_parse_errors_total", "Messages that cannot be read, by side");
    describe_counter!("switchd_commits_total", "Commit groups made durable");
    describe_counter!("switchd_commit_bytes_total", "Bytes of them");
    describe_histogram!("switchd_commit_records", "Records in a commit group");
    describe_histogram!("switchd_fsync_seconds", "Time of the fdatasync of a commit group");
    describe_gauge!("switchd_commit_age_seconds", "How long the commit in flight has taken until now; 0 without one");
    describe_gauge!("switchd_index_lag_records", "Durable records that the index does not cover yet");
    describe_gauge!("switchd_index_following", "1 when look-ups beyond memory can be answered, 0 while the index is built");
    describe_counter!("switchd_index_built_total", "How often the index was built from nothing since the start");
    describe_gauge!("switchd_inputs_waiting", "Events that wait for the core");
    describe_gauge!("switchd_ready", "1 when /readyz says ready");
    describe_counter!("switchd_log_lines_dropped_total", "Lines of the log that were dropped, as nobody read it in time");
    describe_counter!("switchd_witness_failures_total", "Failed attempts to write the journal's witness");
    describe_gauge!("switchd_start_time_seconds", "When the process started, seconds since 1970");
    describe_gauge!("switchd_build_info", "1; version and commit are its labels");
}

/// Handles, made when first needed.
struct Family<K, H>(RefCell<BTreeMap<K, H>>);

impl<K: Ord, H: Clone> Family<K, H> {
    fn new() -> Self {
        Family(RefCell::default())
    }

    fn get(&self, key: K, make: impl FnOnce(&K) -> H) -> H {
        let mut handles = self.0.borrow_mut();
        if let Some(handle) = handles.get(&key) {
            return handle.clone();
        }
        let handle = make(&key);
        handles.insert(key, handle.clone());
        handle
    }
}

/// Gauges of open movements with one set of labels.
#[derive(Clone)]
struct Open {
    movements: Gauge,
    amount: Gauge,
    oldest: Gauge,
}

type OpenKey = (StateKind, bool, IssuerNo, String);

/// Answers since the start, summed up for `switchd status` and `switchd watch`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answers {
    /// Money requests that were answered: 0100, 0200 and their repeats.
    pub(crate) requests: u64,
    /// Of those, with an approving code.
    pub(crate) approved: u64,
    /// How many decisions took at most so long: milliseconds, and the count at or below; the last has no bound.
    pub(crate) within_ms: Vec<(u64, u64)>,
}

/// The bounds of [`Answers::within_ms`].
const WITHIN_MS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, u64::MAX];

/// Every metric of the engine's thread.
pub(crate) struct Meters {
    tally: RefCell<Answers>,
    answers: Family<(&'static str, ResponseCode), Counter>,
    answer: Histogram,
    answer_issuer: Histogram,
    answer_journal: Histogram,
    in_doubt: Gauge,
    open: Family<OpenKey, Open>,
    obligations_recorded: Family<(IssuerNo, &'static str), Counter>,
    by_issuer: Family<(&'static str, IssuerNo), Counter>,
    by_rule: Family<(&'static str, &'static str), Counter>,
    link_connections: Family<(LinkNo, bool), Gauge>,
    link_in_flight: Family<LinkNo, Gauge>,
    terminals: Gauge,
    terminals_open: Cell<u32>,
    commits: Counter,
    commit_bytes: Counter,
    commit_records: Histogram,
    fsync: Histogram,
    commit_age: Gauge,
    index_lag: Gauge,
    index_following: Gauge,
    index_built: Counter,
    inputs_waiting: Gauge,
    ready: Gauge,
}

impl Meters {
    /// Handles of the recorder that is installed.
    pub(crate) fn new() -> Self {
        let within_ms = WITHIN_MS.iter().map(|bound| (*bound, 0)).collect();
        Meters {
            tally: RefCell::new(Answers { within_ms, ..Answers::default() }),
            answers: Family::new(),
            answer: histogram!("switchd_answer_seconds"),
            answer_issuer: histogram!("switchd_answer_issuer_seconds"),
            answer_journal: histogram!("switchd_answer_journal_seconds"),
            in_doubt: gauge!("switchd_in_doubt"),
            open: Family::new(),
            obligations_recorded: Family::new(),
            by_issuer: Family::new(),
            by_rule: Family::new(),
            link_connections: Family::new(),
            link_in_flight: Family::new(),
            terminals: gauge!("switchd_terminal_connections"),
            terminals_open: Cell::new(0),
            commits: counter!("switchd_commits_total"),
            commit_bytes: counter!("switchd_commit_bytes_total"),
            commit_records: histogram!("switchd_commit_records"),
            fsync: histogram!("switchd_fsync_seconds"),
            commit_age: gauge!("switchd_commit_age_seconds"),
            index_lag: gauge!("switchd_index_lag_records"),
            index_following: gauge!("switchd_index_following"),
            index_built: counter!("switchd_index_built_total"),
            inputs_waiting: gauge!("switchd_inputs_waiting"),
            ready: gauge!("switchd_ready"),
        }
    }

    /// A terminal's message was answered.
    pub(crate) fn answered(&self, mti: Mti, code: ResponseCode) {
        let label = KNOWN_MTIS.iter().find(|known| **known == mti.as_str()).copied().unwrap_or("other");
        let make = |key: &(&'static str, ResponseCode)| counter!("switchd_answers_total", "mti" => key.0, "code" => key.1.to_string());
        self.answers.get((label, code), make).increment(1);
        if matches!(label, "0100" | "0101" | "0200" | "0201") {
            let mut tally = self.tally.borrow_mut();
            tally.requests += 1;
            tally.approved += u64::from([b"00", b"10", b"11"].contains(&code.as_bytes()));
        }
    }

    /// Answers since the start.
    pub(crate) fn answers(&self) -> Answers {
        self.tally.borrow().clone()
    }

    /// Open terminal connections.
    pub(crate) fn terminals(&self) -> u32 {
        self.terminals_open.get()
    }

    /// How long a decision took, and the issuer's part of it; milliseconds.
    pub(crate) fn answer_took(&self, after_ms: u64, issuer_ms: u64) {
        self.answer.record(seconds(after_ms));
        for (_, count) in self.tally.borrow_mut().within_ms.iter_mut().filter(|(bound, _)| after_ms <= *bound) {
            *count += 1;
        }
        if issuer_ms > 0 {
            self.answer_issuer.record(seconds(issuer_ms));
        }
    }

    /// A promise to reverse was recorded.
    pub(crate) fn obligation_recorded(&self, issuer: IssuerNo, rule: &'static str) {
        let make = |key: &(IssuerNo, &'static str)| counter!("switchd_obligations_recorded_total", "issuer" => key.0.0.to_string(), "rule" => key.1);
        self.obligations_recorded.get((issuer, rule), make).increment(1);
    }

    /// One more of a counter that has the issuer as its only label.
    pub(crate) fn count_by_issuer(&self, name: &'static str, issuer: IssuerNo) {
        let make = |key: &(&'static str, IssuerNo)| counter!(key.0, "issuer" => key.1.0.to_string());
        self.by_issuer.get((name, issuer), make).increment(1);
    }

    /// One more of a counter that has the rule as its only label.
    pub(crate) fn count_by_rule(&self, name: &'static str, rule: &'static str) {
        let make = |key: &(&'static str, &'static str)| counter!(key.0, "rule" => key.1);
        self.by_rule.get((name, rule), make).increment(1);
    }

    /// A commit group is durable.
    pub(crate) fn committed(&self, stats: &CommitStats, closed_to_durable: Duration) {
        self.commit_bytes.absolute(stats.bytes_total);
        if stats.records == 0 {
            return; // upkeep
        }
        self.commits.increment(1);
        self.commit_records.record(f64::from(stats.records));
        self.fsync.record(stats.sync.as_secs_f64());
        self.answer_journal.record(closed_to_durable.as_secs_f64());
    }

    /// A terminal connection opened.
    pub(crate) fn terminal_opened(&self) {
        self.terminals_open.set(self.terminals_open.get() + 1);
        self.terminals.set(self.terminals_open.get());
    }

    /// A terminal connection ended.
    pub(crate) fn terminal_closed(&self, end: End) {
        self.terminals_open.set(self.terminals_open.get().saturating_sub(1));
        self.terminals.set(self.terminals_open.get());
        counter!("switchd_terminal_closed_total", "reason" => end.name()).increment(1);
    }

    /// A terminal connection was refused before it could say anything.
    pub(crate) fn refused(&self, reason: &'static str) {
        counter!("switchd_terminal_refused_total", "reason" => reason).increment(1);
    }

    /// A certificate spoke for a terminal that is not its own.
    pub(crate) fn not_allowed(&self) {
        counter!("switchd_not_allowed_total").increment(1);
    }

    /// A terminal came with a certificate that expires within so many days.
    pub(crate) fn expires_soon(&self, days: i64) {
        counter!("switchd_terminal_certificates_expiring_total", "days" => days.to_string()).increment(1);
    }

    /// A message could not be read.
    pub(crate) fn parse_error(&self, side: &'static str) {
        counter!("switchd_parse_errors_total", "side" => side).increment(1);
    }

    /// A link connection ended.
    pub(crate) fn link_closed(&self, link: LinkNo, end: End) {
        counter!("switchd_link_closed_total", "link" => link.to_string(), "reason" => end.name()).increment(1);
    }

    /// An attempt to connect failed.
    pub(crate) fn connect_failed(&self, link: LinkNo) {
        counter!("switchd_link_connect_failed_total", "link" => link.to_string()).increment(1);
    }

    /// How many inputs wait, and whether the daemon is ready.
    pub(crate) fn set_state(&self, inputs_waiting: usize, ready: bool) {
        self.inputs_waiting.set(as_f64(inputs_waiting as u64));
        self.ready.set(if ready { 1.0 } else { 0.0 });
    }

    /// How long the commit in flight has taken until now.
    pub(crate) fn set_commit_age(&self, age: Duration) {
        self.commit_age.set(age.as_secs_f64());
    }

    /// Where the index stands.
    pub(crate) fn set_index(&self, status: &index::Status) {
        self.index_lag.set(as_f64(status.lag()));
        self.index_following.set(if status.stage == index::Stage::Following { 1.0 } else { 0.0 });
        self.index_built.absolute(status.built);
    }

    /// What is open, counted by the core.
    pub(crate) fn set_census(&self, rows: &[CensusRow], wall_ms: u64) {
        // What has no row any more is none.
        for open in self.open.0.borrow().values() {
            open.movements.set(0);
            open.amount.set(0);
            open.oldest.set(0);
        }
        let mut in_doubt = 0;
        for row in rows {
            let open = self.open.get((row.state, row.in_doubt, row.issuer, row.currency.to_string()), open_gauges);
            open.movements.set(as_f64(row.count));
            open.amount.set(as_f64(row.amount_minor));
            open.oldest.set(row.oldest_wall_ms.map_or(0.0, |oldest| seconds(wall_ms.saturating_sub(oldest))));
            if row.in_doubt {
                in_doubt += row.count;
            }
        }
        self.in_doubt.set(as_f64(in_doubt));
    }

    /// The connections of every configured link.
    pub(crate) fn set_links(&self, configured: impl Iterator<Item = LinkNo>, open: &[LinkView]) {
        for link in configured {
            let of_link = || open.iter().filter(|view| view.number == link);
            for ready in [true, false] {
                let make = |key: &(LinkNo, bool)| {
                    let ready = if key.1 { "true" } else { "false" };
                    gauge!("switchd_link_connections", "link" => key.0.to_string(), "ready" => ready)
                };
                let count = of_link().filter(|view| view.ready == ready).count();
                self.link_connections.get((link, ready), make).set(as_f64(count as u64));
            }
            let make = |key: &LinkNo| gauge!("switchd_link_in_flight", "link" => key.to_string());
            let in_flight: usize = of_link().map(|view| view.in_flight).sum();
            self.link_in_flight.get(link, make).set(as_f64(in_flight as u64));
        }
    }
}

fn open_gauges((state, in_doubt, issuer, currency): &OpenKey) -> Open {
    let (issuer, currency) = (issuer.0.to_string(), currency.clone());
    if *in_doubt {
        let labels = [("state", state.name().to_owned()), ("issuer", issuer), ("currency", currency)];
        Open {
            movements: gauge!("switchd_in_doubt_movements", &labels),
            amount: gauge!("switchd_in_doubt_amount_minor", &labels),
            oldest: gauge!("switchd_in_doubt_oldest_seconds", &labels),
        }
    } else {
        let labels = [("issuer", issuer), ("currency", currency)];
        Open {
            movements: gauge!("switchd_unconfirmed_movements", &labels),
            amount: gauge!("switchd_unconfirmed_amount_minor", &labels),
            oldest: gauge!("switchd_unconfirmed_oldest_seconds", &labels),
        }
    }
}

/// Gauges are floating point; above 2^53 the last digits of a sum do not matter to one.
#[allow(clippy::cast_precision_loss, reason = "see above")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

fn seconds(ms: u64) -> f64 {
    as_f64(ms) / 1000.0
}
