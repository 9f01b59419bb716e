//! Many seeds, on all cores; and the smallest case of one that failed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::coverage::{Coverage, SIMULABLE};
use crate::plan::{Plan, Trouble};
use crate::world::{Outcome, Telling, run};

/// What a seed broke.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// The first violations.
    pub violations: Vec<String>,
    /// The smallest case, of the first failures only ([`Total::shrink_first`]).
    pub smallest: Option<Smallest>,
}

/// What many seeds showed.
#[derive(Clone, Debug, Default)]
pub struct Total {
    /// Seeds run.
    pub seeds: u64,
    /// Money requests, repeats not counted.
    pub transactions: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Ends of the process without a clean stop.
    pub crashes: u64,
    /// Purchases charged twice where nobody can know, and flagged.
    pub flagged: u64,
    /// Debits that no switch could have unwound.
    pub lost: u64,
    /// By the clock on the wall.
    pub seconds: f64,
    /// How often what occurred.
    pub coverage: Coverage,
    /// By seed.
    pub failures: Vec<Failure>,
}

impl Total {
    /// Simulable rules that never fired.
    #[must_use]
    pub fn rules_never_fired(&self) -> Vec<&'static str> {
        SIMULABLE.iter().copied().filter(|rule| self.coverage.rules.get(rule).is_none_or(|count| *count == 0)).collect()
    }

    /// Looks for the smallest cases of the first failures: of three, as a broken core would keep this busy for hours.
    pub fn shrink_first(&mut self) {
        for failure in self.failures.iter_mut().take(3) {
            failure.smallest = shrink(failure.seed);
        }
    }

    /// Simulable rules that never fired and troubles that never struck. Fewer than 1,000 seeds need not reach all of them:
    /// nothing is said then.
    #[must_use]
    pub fn never(&self) -> Vec<&'static str> {
        if self.seeds < 1000 {
            return Vec::new();
        }
        self.rules_never_fired().into_iter().chain(self.troubles_never_struck()).collect()
    }

    /// Troubles that never struck.
    #[must_use]
    pub fn troubles_never_struck(&self) -> Vec<&'static str> {
        let names = Trouble::ALL.iter().map(|trouble| trouble.name());
        names.filter(|name| self.coverage.troubles.get(name).is_none_or(|count| *count == 0)).collect()
    }

    fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.seeds += 1;
        self.transactions += outcome.transactions;
        self.faults += outcome.faults;
        self.crashes += outcome.crashes;
        self.flagged += outcome.flagged;
        self.lost += outcome.lost;
        self.coverage.add(&outcome.coverage);
        if !outcome.violations.is_empty() {
            let violations = outcome.violations.iter().take(5).cloned().collect();
            self.failures.push(Failure { seed, violations, smallest: None });
        }
    }
}

/// How far a run of many seeds goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Stop beginning seeds after so many transactions.
    pub transactions: Option<u64>,
    /// Stop beginning seeds after so long.
    pub time: Option<Duration>,
}

/// Runs seeds on all cores. `done` hears of each that is over.
pub fn run_seeds(seeds: &[u64], telling: Telling, limits: Limits, done: impl Fn(&Total) + Sync) -> Total {
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, total) = (AtomicUsize::new(0), Mutex::new(Total::default()));
    let total_of = || total.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let work = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let enough = limits.transactions.is_some_and(|most| total_of().transactions >= most)
                || limits.time.is_some_and(|longest| started.elapsed() >= longest);
            if enough {
                return;
            }
            let outcome = run(&Plan::draw(*seed), telling);
            let mut total = total_of();
            total.add(*seed, &outcome);
            done(&total);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut total = total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    total.seconds = started.elapsed().as_secs_f64();
    total.failures.sort_by_key(|failure| failure.seed);
    total
}

/// The smallest plan found that still breaks the same invariant, and how it differs from its seed's.
#[derive(Clone, Debug)]
pub struct Smallest {
    /// The plan.
    pub plan: Plan,
    /// The command that shows it.
    pub command: String,
    /// What it breaks.
    pub violation: String,
}

/// Leaves out troubles, purchases and terminals as long as the run still fails in the same way.
#[must_use]
pub fn shrink(seed: u64) -> Option<Smallest> {
    let broken = |without: &[Trouble], purchases: u32, sites: &[usize]| {
        let plan = Plan::draw(seed).cut(without, Some(purchases), Some(sites));
        let violation = run(&plan, Telling::default()).violations.into_iter().next()?;
        Some((plan, violation))
    };
    let whole = Plan::draw(seed);
    let (mut without, mut purchases) = (Vec::new(), whole.purchases);
    let mut sites: Vec<usize> = (0..whole.sites.len()).collect();
    let (mut plan, mut violation) = broken(&without, purchases, &sites)?;
    let invariant = |violation: &str| violation.split(':').next().unwrap_or_default().to_owned();
    let wanted = invariant(&violation);
    let mut try_it = |without: &[Trouble], purchases: u32, sites: &[usize]| match broken(without, purchases, sites) {
        Some((smaller, fails)) if invariant(&fails) == wanted => {
            (plan, violation) = (smaller, fails);
            true
        }
        _ => false,
    };
    while purchases > 1 && try_it(&without, purchases / 2, &sites) {
        purchases /= 2;
    }
    for trouble in &whole.troubles {
        without.push(*trouble);
        if !try_it(&without, purchases, &sites) {
            without.pop();
        }
    }
    for site in 0..whole.sites.len() {
        let fewer: Vec<usize> = sites.iter().copied().filter(|other| *other != site).collect();
        if !fewer.is_empty() && try_it(&without, purchases, &fewer) {
            sites = fewer;
        }
    }
    while purchases > 1 && try_it(&without, purchases / 2, &sites) {
        purchases /= 2;
    }
    let command = replay_command(seed, &without, purchases, &sites);
    Some(Smallest { plan, command, violation })
}

fn replay_command(seed: u64, without: &[Trouble], purchases: u32, sites: &[usize]) -> String {
    let sites: Vec<String> = sites.iter().map(usize::to_string).collect();
    let mut command =
        format!("cargo run --release -p sim -- replay {seed} --purchases {purchases} --sites {}", sites.join(","));
    if !without.is_empty() {
        let without: Vec<&str> = without.iter().map(|trouble| trouble.name()).collect();
        command += &format!(" --without {}", without.join(","));
    }
    command
}
