//! What issuers sent that matched nothing (T4), kept for a while in memory, and compared with a request that got no answer:
//! the evidence of `switchd why`.
//!
//! Decides nothing: what matches is the core's to say. Invariant: bounded, and no card number is kept.

use std::cell::RefCell;
use std::collections::VecDeque;

use iso8583::FieldNo;
use serde::{Deserialize, Serialize};
use switch::{LinkNo, Movement, StateKind, Stray, Switch};

use super::json::{self, MovementJson};
use crate::words::{self, Both};

/// Messages that are kept: the newest.
const KEPT: usize = 1024;

/// Candidates that are shown: the nearest.
const SHOWN: usize = 5;

/// A message that says this many of the same things about itself is no candidate: amount and terminal alone say nothing.
const AGREEING_MIN: usize = 1;

/// Messages before the request was sent are not its answer; clocks are read a moment apart.
const BEFORE_MS: u64 = 1_000;

/// A kept message.
#[derive(Clone, Copy, Debug)]
struct Kept {
    at_ms: u64,
    link: LinkNo,
    stray: Stray,
    /// It could not be read to its end: the field that was wrong.
    unreadable: Option<FieldNo>,
}

/// The messages that matched nothing.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    kept: RefCell<VecDeque<Kept>>,
}

/// One thing that a message can say, as it was sent and as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartJson {
    /// What it is.
    pub(crate) part: String,
    /// In the request.
    pub(crate) sent: String,
    /// In the message; null where it said nothing.
    pub(crate) came: Option<String>,
    /// Whether the two agree; what was not said is no difference.
    pub(crate) same: bool,
}

/// A message that may have been the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CandidateJson {
    /// When it came, milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// After the request, milliseconds.
    pub(crate) after_ms: u64,
    /// DE39.
    pub(crate) code: Option<String>,
    /// The first field that could not be read, where the message could not.
    pub(crate) unreadable: Option<String>,
    /// What it says and does not say.
    pub(crate) parts: Vec<PartJson>,
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WhyJson {
    /// The movement.
    pub(crate) movement: MovementJson,
    /// What happened to it.
    pub(crate) said: Both,
    /// Whether it timed out, and what is known.
    pub(crate) why: Both,
    /// The nearest messages that matched nothing, the nearest first.
    pub(crate) candidates: Vec<CandidateJson>,
}

impl Strays {
    /// Keeps a message that matched nothing.
    pub(crate) fn keep(&self, at_ms: u64, link: LinkNo, stray: Stray, unreadable: Option<FieldNo>) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Kept { at_ms, link, stray, unreadable });
    }

    /// Why a movement has no answer.
    pub(crate) fn why(&self, view: &Switch, m: &Movement) -> WhyJson {
        let horizon_ms = view.config().links.get(&m.link).map_or(600_000, |link| link.late_horizon_ms);
        let times = m.begun_wall_ms.saturating_sub(BEFORE_MS)..=m.begun_wall_ms.saturating_add(horizon_ms);
        let mut near: Vec<(usize, CandidateJson)> = (self.kept.borrow().iter())
            .filter(|kept| kept.link.issuer == m.link.issuer && times.contains(&kept.at_ms))
            .filter_map(|kept| candidate(m, kept))
            .collect();
        near.sort_by_key(|(differing, candidate)| (*differing, candidate.after_ms));
        near.truncate(SHOWN);
        let candidates: Vec<CandidateJson> = near.into_iter().map(|(_, candidate)| candidate).collect();
        WhyJson { movement: json::movement(m), said: words::sentence(m), why: why(m, &candidates), candidates }
    }
}

/// A message compared with a request, and in how many parts they differ; `None` for one that names nothing of it.
fn candidate(m: &Movement, kept: &Kept) -> Option<(usize, CandidateJson)> {
    let stray = &kept.stray;
    let digits = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let minor = format!("{:012}", m.fingerprint.amount.minor());
    let part = |part: &str, sent: String, came: Option<String>| {
        let same = came.as_ref().is_none_or(|came| *came == sent);
        PartJson { part: part.to_owned(), sent, came, same }
    };
    let parts = vec![
        part("MTI", m.key.class.request().response().to_string(), Some(stray.mti.to_string())),
        part("link", m.link.to_string(), Some(kept.link.to_string())),
        part("DE11 STAN", m.sent_as.stan.to_string(), stray.stan.map(|stan| stan.to_string())),
        part("DE7 time", digits(&m.sent_as.transmitted), stray.transmitted.map(|time| digits(&time))),
        part("DE37 RRN", m.rrn.to_string(), stray.rrn.map(|rrn| rrn.to_string())),
        part("DE41/42 terminal", m.key.terminal.to_string(), stray.terminal.map(|terminal| terminal.to_string())),
        part("DE4 amount", minor, stray.amount.map(|amount| digits(&amount))),
        part(
            "DE2 card",
            m.card.map_or_else(String::new, |card| card.masked.to_string()),
            stray.card.map(|card| card.to_string()),
        ),
    ];
    let names = |part: &PartJson| part.same && part.came.is_some() && NAMING.contains(&part.part.as_str());
    let differing = parts.iter().filter(|part| !part.same).count();
    let candidate = CandidateJson {
        at_ms: kept.at_ms,
        after_ms: kept.at_ms.saturating_sub(m.begun_wall_ms),
        code: stray.code.map(|code| code.to_string()),
        unreadable: kept.unreadable.map(|field| field.to_string()),
        parts,
    };
    (candidate.parts.iter().filter(|part| names(part)).count() >= AGREEING_MIN).then_some((differing, candidate))
}

/// The parts that tell one request from another.
const NAMING: [&str; 3] = ["DE11 STAN", "DE37 RRN", "DE2 card"];

fn why(m: &Movement, candidates: &[CandidateJson]) -> Both {
    match (&m.answer, candidates) {
        (Some(answer), _) if m.state == StateKind::Declined || m.obligation.is_none() => Both::new(
            format!("It has an answer, {}: it did not time out.", answer.code),
            format!("已收到应答{}，并未超时。", answer.code),
        ),
        (Some(answer), _) => {
            let after = answer.wall_ms.saturating_sub(m.begun_wall_ms);
            Both::new(
                format!("Its answer, {}, came {after} ms after the request; see `switchd tx` for what it met.", answer.code),
                format!("应答{}在请求后{after}毫秒到达，详见`switchd tx`。", answer.code),
            )
        }
        (None, []) => Both::new(
            "No answer came that resembles it: the issuer was silent, or its answer came before the daemon's start.",
            "未收到任何相似应答：发卡方无应答，或应答早于本次启动。",
        ),
        (None, [nearest, ..]) => nearest_text(nearest),
    }
}

/// What the nearest message differs in.
fn nearest_text(nearest: &CandidateJson) -> Both {
    let parts: Vec<&str> = nearest.parts.iter().filter(|part| !part.same).map(|part| part.part.as_str()).collect();
    let differing = parts.join(", ");
    let after = nearest.after_ms;
    match &nearest.unreadable {
        Some(field) => Both::new(
            format!("A message came {after} ms after the request that could not be read from {field} on."),
            format!("请求后{after}毫秒收到一条报文，自{field}起无法解析。"),
        ),
        None if parts.is_empty() => Both::new(
            format!(
                "A message came {after} ms after the request that agrees in all it says; it had been decided without it."
            ),
            format!("请求后{after}毫秒收到内容一致的报文，但交易已先行处理。"),
        ),
        None => Both::new(
            format!("A message came {after} ms after the request that differs in {differing}."),
            format!("请求后{after}毫秒收到一条报文，差异：{differing}。"),
        ),
    }
}
