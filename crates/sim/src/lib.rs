//! Deterministic simulation of a partition, and an auditor who judges it from outside.
//!
//! The real partition (core, journal, outbox) runs in a simulated world: virtual time, a network and a disk that fail, a
//! process that crashes, terminals and issuers from `counterparts` with every fault. One seed gives one run. The auditor
//! reads the issuers' ledgers, the terminals' beliefs, the customers' purchases and the journal's bytes, and checks the
//! invariants I1 to I12 of the money rules.
//!
//! Absent on purpose: sockets, TLS, threads inside a run. Real processes are tested in `tests/`.

mod audit;
mod chaos;
mod corpus;
mod coverage;
mod device;
mod host;
mod machine;
mod misconduct;
pub mod mutants;
mod operator;
mod plan;
mod queue;
mod report;
mod runner;
mod wire;
mod world;

pub use corpus::{corpus, keep, stale};
pub use coverage::{Coverage, PROVED_ELSEWHERE, SIMULABLE};
pub use plan::{Calls, IssuerPlan, Plan, Profile, Site, Trouble};
pub use runner::{Failure, Limits, Smallest, Total, run_seeds, shrink};
pub use world::{Outcome, Telling, run};

/// The commit that this was built from, 12 hex digits; "unknown" outside a repository.
pub const COMMIT: &str = env!("SIM_COMMIT");
