//! Rules by which a wire between two peers misbehaves on purpose.
//!
//! Knows no socket and no message: it is told of chunks of bytes, in the sizes in which they were
//! read, and says what becomes of each. [`crate::net::proxy`] obeys. Invariant: the same rules,
//! seed and chunks give the same faults, and no more of a chunk passes than there is.
//!
//! In JSON a rule is `{"direction": "to_client", "rate": 0.01, "times": 2, "do": "cut"}`; an absent
//! `direction` is both, an absent `rate` always, an absent `times` has no end, and `do` is one of
//! `"cut"`, `"reset"`, `"stall"`, `{"delay_ms": 500}`, `{"halve": 20}`.

use serde::{Deserialize, Serialize};

use crate::seeded::Seeded;

/// The way that bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the peer that connected to the one that listens.
    ToServer,
    /// Back.
    ToClient,
}

/// What becomes of a connection, or of one direction of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WireFault {
    /// The chunk is lost, and both ends are closed.
    Cut,
    /// The chunk is lost, and both ends are reset.
    Reset,
    /// So many bytes of the chunk pass, and then both ends are closed.
    Halve(usize),
    /// The chunk, and all that follows it in its direction, passes this many milliseconds later.
    DelayMs(u64),
    /// The chunk, and all that follows it in its direction, waits until the wire is released.
    Stall,
}

/// One rule: which chunks, how often, what.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WireRule {
    /// Which way; both when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// The probability (0 to 1) of acting on a chunk; always when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// How many more times it acts; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// What it does.
    #[serde(rename = "do")]
    pub fault: WireFault,
}

impl WireRule {
    /// A rule for every chunk, both ways, without end.
    #[must_use]
    pub fn new(fault: WireFault) -> Self {
        Self { direction: None, rate: None, times: None, fault }
    }

    /// The same rule for one direction.
    #[must_use]
    pub fn going(self, direction: Direction) -> Self {
        Self { direction: Some(direction), ..self }
    }

    /// The same rule with a probability per chunk.
    #[must_use]
    pub fn at_rate(self, rate: f64) -> Self {
        Self { rate: Some(rate), ..self }
    }

    /// The same rule, acting `times` times.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }
}

/// What passed, and what was done to it. Chunks and bytes are those that were passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct WireCounts {
    /// Connections that came.
    pub connections: u64,
    /// Bytes passed to the server.
    pub bytes_to_server: u64,
    /// Bytes passed to the client.
    pub bytes_to_client: u64,
    /// Connections cut, by a rule or on command.
    pub cuts: u64,
    /// Connections reset, by a rule or on command.
    pub resets: u64,
    /// Chunks halved.
    pub halves: u64,
    /// Chunks delayed.
    pub delays: u64,
    /// Chunks stalled by a rule.
    pub stalls: u64,
}

/// What is to be done with a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// When.
    pub first: First,
    /// How many of its bytes pass.
    pub passes: usize,
    /// What follows.
    pub then: Then,
}

/// What comes before a chunk passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Nothing.
    AtOnce,
    /// So many milliseconds.
    WaitMs(u64),
    /// Until the wire is released.
    Stall,
}

/// What comes after a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The next one.
    GoOn,
    /// Both ends are closed.
    Cut,
    /// Both ends are reset.
    Reset,
}

/// The rules in force, in order, the generator of their rates, and the counts.
#[derive(Debug)]
pub struct WireFaults {
    rules: Vec<WireRule>,
    seeded: Seeded,
    counts: WireCounts,
}

impl WireFaults {
    /// These rules; rates draw from `seed`.
    #[must_use]
    pub fn new(rules: Vec<WireRule>, seed: u64) -> Self {
        Self { rules, seeded: Seeded::new(seed), counts: WireCounts::default() }
    }

    /// Puts these rules in place of the ones in force.
    pub fn replace(&mut self, rules: Vec<WireRule>) {
        self.rules = rules;
    }

    /// Puts a rule before the ones in force; those that have run out go.
    pub fn push_front(&mut self, rule: WireRule) {
        self.rules.retain(|rule| rule.times != Some(0));
        self.rules.insert(0, rule);
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> WireCounts {
        self.counts
    }

    /// For the driver to count what it does.
    pub fn counts_mut(&mut self) -> &mut WireCounts {
        &mut self.counts
    }

    /// What becomes of a chunk of `length` bytes: by the first rule that matches and has not run
    /// out.
    pub fn decide(&mut self, direction: Direction, length: usize) -> Verdict {
        let whole = Verdict { first: First::AtOnce, passes: length, then: Then::GoOn };
        match self.strike(direction) {
            None => whole,
            Some(WireFault::Cut) => Verdict { passes: 0, then: Then::Cut, ..whole },
            Some(WireFault::Reset) => Verdict { passes: 0, then: Then::Reset, ..whole },
            Some(WireFault::Halve(bytes)) => {
                self.counts.halves += 1;
                Verdict { passes: bytes.min(length), then: Then::Cut, ..whole }
            }
            Some(WireFault::DelayMs(time)) => {
                self.counts.delays += 1;
                Verdict { first: First::WaitMs(time), ..whole }
            }
            Some(WireFault::Stall) => {
                self.counts.stalls += 1;
                Verdict { first: First::Stall, ..whole }
            }
        }
    }

    fn strike(&mut self, direction: Direction) -> Option<WireFault> {
        for rule in &mut self.rules {
            if rule.times == Some(0) || rule.direction.is_some_and(|wanted| wanted != direction) {
                continue;
            }
            if rule.rate.is_some_and(|rate| !self.seeded.chance(rate)) {
                continue;
            }
            rule.times = rule.times.map(|times| times - 1);
            return Some(rule.fault);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Direction::{ToClient, ToServer};

    #[track_caller]
    fn check(fault: WireFault, first: First, passes: usize, then: Then) {
        let mut faults = WireFaults::new(vec![WireRule::new(fault).times(1)], 1);
        assert_eq!(faults.decide(ToServer, 100), Verdict { first, passes, then }, "{fault:?}");
        let whole = Verdict { first: First::AtOnce, passes: 100, then: Then::GoOn };
        assert_eq!(faults.decide(ToServer, 100), whole, "{fault:?} is over");
    }

    #[test]
    fn each_fault_has_its_verdict() {
        check(WireFault::Cut, First::AtOnce, 0, Then::Cut);
        check(WireFault::Reset, First::AtOnce, 0, Then::Reset);
        check(WireFault::Halve(30), First::AtOnce, 30, Then::Cut);
        check(WireFault::Halve(300), First::AtOnce, 100, Then::Cut);
        check(WireFault::DelayMs(5), First::WaitMs(5), 100, Then::GoOn);
        check(WireFault::Stall, First::Stall, 100, Then::GoOn);
    }

    #[test]
    fn a_rule_is_for_its_direction_and_a_rule_in_front_comes_first() {
        let mut faults = WireFaults::new(vec![WireRule::new(WireFault::Cut).going(ToClient)], 1);
        assert_eq!(faults.decide(ToServer, 9).then, Then::GoOn);
        assert_eq!(faults.decide(ToClient, 9).then, Then::Cut);
        faults.push_front(WireRule::new(WireFault::Reset).times(1));
        assert_eq!(faults.decide(ToClient, 9).then, Then::Reset);
        assert_eq!(faults.decide(ToClient, 9).then, Then::Cut);
        faults.replace(Vec::new());
        assert_eq!(faults.decide(ToClient, 9).then, Then::GoOn);
    }

    #[test]
    fn a_rate_strikes_the_same_chunks_for_the_same_seed() {
        let strikes = |seed| {
            let mut faults = WireFaults::new(vec![WireRule::new(WireFault::DelayMs(1)).at_rate(0.3)], seed);
            let struck: Vec<_> = (0..1000).map(|_| faults.decide(ToServer, 9).first != First::AtOnce).collect();
            assert_eq!(faults.counts().delays, struck.iter().filter(|hit| **hit).count() as u64);
            struck
        };
        assert_eq!(strikes(5), strikes(5));
        assert_ne!(strikes(5), strikes(6));
        let hits = strikes(5).iter().filter(|hit| **hit).count();
        assert!((240..360).contains(&hits), "{hits}");
    }

    #[test]
    fn a_rule_has_its_json() {
        let json = r#"{"direction":"to_client","rate":0.5,"times":2,"do":{"halve":20}}"#;
        let rule: WireRule = serde_json::from_str(json).unwrap();
        assert_eq!(rule, WireRule::new(WireFault::Halve(20)).going(ToClient).at_rate(0.5).times(2));
        assert_eq!(serde_json::to_string(&rule).unwrap(), json);
        assert!(serde_json::from_str::<WireRule>(r#"{"do": "burn"}"#).is_err());
        assert!(serde_json::from_str::<WireRule>(r#"{"do": "cut", "rates": 1}"#).is_err());
    }
}
