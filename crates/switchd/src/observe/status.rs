//! What `switchd status` and `switchd watch` show: the daemon at a glance.

use serde::{Deserialize, Serialize};
use switch::{CensusRow, LinkNo, LinkOrder, LinkView, Switch};

use super::meters::Answers;
use super::resolve::{WrongOrder, one_line};
use crate::config::Settings;

/// The daemon now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatusJson {
    /// Of the program.
    pub(crate) version: String,
    /// The process.
    pub(crate) pid: u32,
    /// Which partition it serves.
    pub(crate) partition: u8,
    /// How often the partition was started.
    pub(crate) start: u32,
    /// Since this start, milliseconds.
    pub(crate) up_ms: u64,
    /// When this was true, milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Whether it takes new requests, as `/readyz` says.
    pub(crate) ready: bool,
    /// Why not.
    pub(crate) not_ready: Vec<String>,
    /// The newest record.
    pub(crate) lsn: u64,
    /// Movements in memory.
    pub(crate) movements: usize,
    /// Movements in doubt; must return to zero.
    pub(crate) in_doubt: u64,
    /// Age of the oldest, milliseconds.
    pub(crate) oldest_ms: Option<u64>,
    /// What is open, by state, issuer and currency.
    pub(crate) open: Vec<OpenJson>,
    /// Entries for a person.
    pub(crate) entries: usize,
    /// Open terminal connections.
    pub(crate) terminals: u32,
    /// Inputs that wait for the core.
    pub(crate) inputs_waiting: usize,
    /// Answers since this start.
    pub(crate) answers: Answers,
    /// The index, which look-ups beyond memory need.
    pub(crate) index: IndexJson,
    /// Every configured link.
    pub(crate) links: Vec<LinkJson>,
}

/// How far the index is behind the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexJson {
    /// `following`: look-ups are answered. `opening`, `building` from the oldest record on, or `waiting` to be built again.
    pub(crate) stage: String,
    /// The last record that it covers.
    pub(crate) covered: u64,
    /// The last durable record.
    pub(crate) durable: u64,
    /// How many durable records it does not cover.
    pub(crate) lag: u64,
    /// Records that it takes in a second; 0 when it is not behind.
    pub(crate) records_per_second: u64,
    /// How often it was built from nothing since this start.
    pub(crate) built: u64,
    /// Why it failed last, until it follows again.
    pub(crate) failed: Option<String>,
}

/// As the index says it.
fn index(status: index::Status) -> IndexJson {
    IndexJson {
        stage: status.stage.name().to_owned(),
        covered: status.covered.0,
        durable: status.durable.0,
        lag: status.lag(),
        records_per_second: status.records_per_second,
        built: status.built,
        failed: status.failed,
    }
}

/// Open movements of one state, issuer and currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenJson {
    /// What they wait for.
    pub(crate) state: String,
    /// Whether they are in doubt.
    pub(crate) in_doubt: bool,
    /// The issuer's number.
    pub(crate) issuer: u16,
    /// DE49.
    pub(crate) currency: String,
    /// How many.
    pub(crate) count: u64,
    /// Their requested amounts, minor units.
    pub(crate) amount: u64,
    /// Age of the oldest, milliseconds.
    pub(crate) oldest_ms: Option<u64>,
}

/// A configured link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LinkJson {
    /// Its number, as in movements.
    pub(crate) link: String,
    /// Its name in the configuration.
    pub(crate) name: String,
    /// The issuer's name in the configuration.
    pub(crate) issuer: String,
    /// Where the issuer's host is.
    pub(crate) address: String,
    /// What an operator wishes of it: up, drained, signed-off. Kept apart from its health, and gone with the process.
    pub(crate) wish: String,
    /// Connections that are wanted.
    pub(crate) connections: u16,
    /// Connections that are open.
    pub(crate) open: usize,
    /// Of those, taking messages: signed on and not failing.
    pub(crate) ready: usize,
    /// Requests without an answer.
    pub(crate) in_flight: usize,
}

/// An operator's order for a link.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkOrderJson {
    /// Its name in the configuration, or its number.
    pub(crate) link: String,
    /// What is wished.
    pub(crate) order: LinkOrderName,
    /// Who wishes it, for the log; the kernel's word stands beside it.
    #[serde(default)]
    pub(crate) who: Option<String>,
    /// Why, for the log.
    #[serde(default)]
    pub(crate) why: Option<String>,
}

impl LinkOrderJson {
    /// Whether who and why may stand in the log.
    pub(crate) fn judge(&self) -> Result<(), WrongOrder> {
        let texts = [("who", &self.who), ("why", &self.why)];
        texts
            .into_iter()
            .filter_map(|(name, text)| Some((name, text.as_ref()?)))
            .try_for_each(|(name, text)| one_line(name, text))
    }
}

/// The orders, as a person writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LinkOrderName {
    /// No new requests; answers and reversals go on.
    Drain,
    /// Requests again; what is signed off signs on.
    Up,
    /// The same, and what is signed on signs on again.
    SignOn,
    /// No new requests, and the host is told (0800, DE70 002): reversals wait, or go by another link.
    SignOff,
}

impl LinkOrderName {
    /// For the core.
    pub(crate) const fn order(self) -> LinkOrder {
        match self {
            LinkOrderName::Drain => LinkOrder::Drain,
            LinkOrderName::Up => LinkOrder::Up,
            LinkOrderName::SignOn => LinkOrder::SignOn,
            LinkOrderName::SignOff => LinkOrder::SignOff,
        }
    }
}

/// The configured link of this name or number.
pub(crate) fn link_named(settings: &Settings, name: &str) -> Option<LinkNo> {
    let named = settings.links.iter().find(|(number, link)| link.name == name || number.to_string() == name);
    named.map(|(number, _)| *number)
}

/// What the engine knows beside the core.
pub(crate) struct Facts<'a> {
    /// The core.
    pub(crate) view: &'a Switch,
    /// The configuration.
    pub(crate) settings: &'a Settings,
    /// Since the start, milliseconds.
    pub(crate) up_ms: u64,
    /// The wall clock, milliseconds since 1970.
    pub(crate) wall_ms: u64,
    /// Why it is not ready.
    pub(crate) not_ready: Vec<String>,
    /// Open terminal connections.
    pub(crate) terminals: u32,
    /// Inputs that wait for the core.
    pub(crate) inputs_waiting: usize,
    /// Answers since the start.
    pub(crate) answers: Answers,
    /// Where the index stands.
    pub(crate) index: index::Status,
}

/// The daemon at a glance.
pub(crate) fn status(facts: Facts<'_>) -> StatusJson {
    let Facts { view, settings, up_ms, wall_ms, not_ready, terminals, inputs_waiting, answers, index } = facts;
    let census = view.census();
    let open: Vec<OpenJson> = census.iter().map(|row| open_row(row, wall_ms)).collect();
    let doubtful = || open.iter().filter(|row| row.in_doubt);
    let (in_doubt, oldest_ms) = (doubtful().map(|row| row.count).sum(), doubtful().filter_map(|row| row.oldest_ms).max());
    StatusJson {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        partition: view.config().partition,
        start: view.epoch(),
        up_ms,
        at_ms: wall_ms,
        ready: not_ready.is_empty(),
        not_ready,
        lsn: view.lsn().0,
        movements: view.movements().len(),
        in_doubt,
        oldest_ms,
        open,
        entries: view.exceptions().len(),
        terminals,
        inputs_waiting,
        answers,
        index: self::index(index),
        links: links(view, settings),
    }
}

fn open_row(row: &CensusRow, wall_ms: u64) -> OpenJson {
    OpenJson {
        state: row.state.name().to_owned(),
        in_doubt: row.in_doubt,
        issuer: row.issuer.0,
        currency: row.currency.to_string(),
        count: row.count,
        amount: row.amount_minor,
        oldest_ms: row.oldest_wall_ms.map(|oldest| wall_ms.saturating_sub(oldest)),
    }
}

/// Every configured link with what is open of it.
pub(crate) fn links(view: &Switch, settings: &Settings) -> Vec<LinkJson> {
    let views: Vec<LinkView> = view.links().collect();
    let link = |(number, link): (&LinkNo, &crate::config::LinkSettings)| {
        let of_link = || views.iter().filter(|view| view.number == *number);
        LinkJson {
            link: number.to_string(),
            name: link.name.clone(),
            issuer: view.config().issuers.get(&number.issuer).map_or_else(String::new, |issuer| issuer.name.clone()),
            address: link.address.clone(),
            wish: view.wish(*number).name().to_owned(),
            connections: link.connections,
            open: of_link().count(),
            ready: of_link().filter(|view| view.ready).count(),
            in_flight: of_link().map(|view| view.in_flight).sum(),
        }
    };
    settings.links.iter().map(link).collect()
}
