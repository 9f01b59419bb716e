//! Each fault of the mock issuer and of the wire, on either leg, before, during and after the answer: at the end the
//! issuers' books, the switch's journal and the terminals' receipts agree, and what no rule can decide is in
//! `switchd doubt` under the rule that put it there.
//!
//! A case is a row of [`issuer_faults`] or [`wire_faults`]; [`others`] are those that need more than one terminal. All run at
//! once on one daemon. Not here: an issuer that approves what it never books, or acknowledges a reversal that it forgets
//! for good, which no switch can see. Invariant: a case whose fault did not act fails.

mod issuer_faults;
mod others;
mod stage;
mod wire_faults;

use counterparts::faults::{Fault, Match, MtiClass, Rule};
use counterparts::issuer::MovementLine;
use counterparts::net::proxy::{FaultyProxy, ProxyArgs};
use counterparts::net::terminal::TerminalClient;
use counterparts::reconcile::{Reconciliation, TerminalJournal, reconcile};
use counterparts::terminal::Belief;
use tokio::task::JoinSet;

use crate::support::daemon::{Doubt, Tx, switchd};
use crate::support::site::as_switch_movement;
use crate::support::{IssuerProcess, PATIENCE};
use stage::{AMOUNT, Plan, Stage, books, card, sells_on};
use wire_faults::{Leg, Wire};

/// What the terminal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// A sale.
    Sale,
    /// A sale, and once it is approved its reversal.
    SaleAndReversal,
}

/// How a case ends.
#[derive(Debug, Clone, Copy, PartialEq)]
struct End {
    /// The movement's state; none if the switch never had it.
    state: Option<&'static str>,
    /// The rule that unwound or listed it.
    cause: Option<&'static str>,
    /// What stands at the issuer, minor units.
    at_issuer: i64,
    /// The rule of its entry for a person.
    exception: Option<&'static str>,
}

const fn end(state: &'static str, cause: Option<&'static str>, at_issuer: i64) -> End {
    End { state: Some(state), cause, at_issuer, exception: None }
}

/// A good sale.
const STANDS: End = end("confirmed", None, AMOUNT as i64);
/// Nothing moved, and everybody knows.
const DECLINED: End = end("declined", None, 0);
/// It never came, or too late to be executed.
const NEVER_ARRIVED: End = End { state: None, cause: None, at_issuer: 0, exception: None };

/// Reversed by this rule.
const fn unwound(rule: &'static str) -> End {
    end("unwound", Some(rule), 0)
}

/// Reversed, then approved after all, reversed again, and a person hears of it (T5).
const UNWOUND_TWICE: End = End { exception: Some("T5"), ..unwound("T5") };

/// Only a person can tell; the switch names the rule.
const fn for_a_person(rule: &'static str, at_issuer: i64) -> End {
    end("needs_operator", Some(rule), at_issuer)
}

/// A row: what goes wrong, what the terminal is told, how it ends.
#[derive(Debug, Clone)]
struct Case {
    name: String,
    asks: Asks,
    /// Each for this case's card alone.
    faults: Vec<(MtiClass, Fault, u32)>,
    wire: Option<Wire>,
    partial: bool,
    forgetful: bool,
    /// DE39 of the answer to what is struck; `--` for none.
    told: &'static str,
    end: End,
}

impl Case {
    fn new(name: String, asks: Asks, told: &'static str, end: End) -> Self {
        Case { name, asks, faults: Vec::new(), wire: None, partial: false, forgetful: false, told, end }
    }
}

/// A case with its place on the stage.
struct Placed {
    case: Case,
    /// Of its terminal and its card.
    number: u16,
    issuer: u16,
    proxy: Option<FaultyProxy>,
}

impl Placed {
    fn rules(&self) -> impl Iterator<Item = Rule> + '_ {
        self.case.faults.iter().map(|(class, fault, times)| {
            let suffix = format!("{:04}", self.number);
            let matches = Match { card_suffix: Some(suffix), mti_class: Some(*class), ..Match::default() };
            Rule::new(matches, fault.clone()).times(*times)
        })
    }

    fn card(&self) -> counterparts::terminal::Presented {
        card(self.issuer, self.number)
    }

    /// The request that the case is about: the terminal's first, as the echo before it had the first STAN.
    fn stan(&self) -> &'static str {
        "000002"
    }
}

/// Gives each case an issuer of the daemon, a card and a terminal. The wire between terminal and switch is made when the
/// daemon's address is known.
async fn place(
    plan: &mut Plan,
    cases: Vec<Case>,
    first: u16,
    usual: &IssuerProcess,
    forgetful: &IssuerProcess,
) -> Vec<Placed> {
    let mut all = Vec::new();
    for (number, case) in (first..).zip(cases) {
        let host = if case.forgetful { forgetful.address() } else { usual.address() };
        let on_issuer_leg = case.wire.is_some_and(|wire| wire.leg == Leg::Issuer);
        let proxy = match on_issuer_leg {
            true => Some(FaultyProxy::start(ProxyArgs::new(host)).await.expect("loopback has free ports")),
            false => None,
        };
        let issuer = plan.issuer(&[proxy.as_ref().map_or(host, FaultyProxy::address)]);
        if case.partial {
            plan.takes_partial_approvals(number);
        }
        all.push(Placed { case, number, issuer, proxy });
    }
    all
}

/// What a case leaves to be judged.
struct Played {
    placed: Placed,
    journal: TerminalJournal,
}

/// Plays one case to its end.
async fn play(stage: Stage, mut placed: Placed) -> Played {
    let case = placed.case.clone();
    if case.wire.is_some_and(|wire| wire.leg == Leg::Terminal) {
        let daemon = stage.site.daemon.address();
        placed.proxy = Some(FaultyProxy::start(ProxyArgs::new(daemon)).await.expect("loopback has free ports"));
    }
    let through = case.wire.filter(|wire| wire.leg == Leg::Terminal).and(placed.proxy.as_ref()).map(FaultyProxy::address);
    let mut terminal = stage.terminal(placed.number, through).await;
    let told = match (case.wire, &placed.proxy) {
        (Some(wire), Some(proxy)) => wire_faults::ask(&stage, &placed, wire, proxy, &mut terminal).await,
        (_, _) => ask(&placed, &mut terminal).await,
    };
    assert_eq!(told, case.told, "{}: what the terminal is told", case.name);
    sells_on(&mut terminal, &placed.card()).await;
    reaches_its_end(&stage, &placed).await;
    if let (Some(wire), Some(proxy)) = (case.wire, &placed.proxy) {
        wire_faults::assert_acted(&case.name, wire, proxy);
    }
    Played { journal: terminal.journal(), placed }
}

/// The exchange that a fault of the issuer strikes; the code that the terminal is told.
async fn ask(placed: &Placed, terminal: &mut TerminalClient) -> String {
    let receipt = terminal.sale(&placed.card(), AMOUNT).await.expect("the daemon is there");
    match placed.case.asks {
        Asks::Sale => receipt.code().to_owned(),
        Asks::SaleAndReversal => {
            assert!(receipt.is_approved(), "{}: {receipt}", placed.case.name);
            let reversed = terminal.reverse(None, 0, None).await.expect("the daemon is there");
            reversed.code().to_owned()
        }
    }
}

async fn reaches_its_end(stage: &Stage, placed: &Placed) {
    let Placed { case, number, .. } = placed;
    let ending = stage.sees(&case.name, |look| {
        let tx = look.of(*number, placed.stan());
        let as_it_should = tx.map(|tx| tx.state.as_str()) == case.end.state
            && (case.end.cause.is_none() || tx.and_then(|tx| tx.cause.as_deref()) == case.end.cause);
        let listed = entry_of(&look.doubt, tx) == case.end.exception;
        (as_it_should && listed).then_some(())
    });
    tokio::select! {
        () = ending => {}
        () = tokio::time::sleep(PATIENCE / 2) => {
            let look = stage.look();
            let tx = look.of(*number, placed.stan());
            panic!("{}: {:?} and not {:?}, {:?}", case.name, tx, case.end, entry_of(&look.doubt, tx));
        }
    }
}

/// The rule of the entry for a person that names this movement.
fn entry_of<'a>(doubt: &'a Doubt, tx: Option<&Tx>) -> Option<&'a str> {
    let rrn = &tx?.rrn;
    doubt.exceptions.iter().find(|entry| entry.rrn.as_ref() == Some(rrn)).map(|entry| entry.rule.as_str())
}

/// What one movement and its terminal's receipt say, against each other and against the row.
fn judge(played: &Played, movements: &[Tx], books: &[MovementLine]) {
    let Placed { case, number, .. } = &played.placed;
    let stan = played.placed.stan();
    let belief = played.journal.beliefs.iter().find(|belief| belief.stan == stan);
    let belief = belief.unwrap_or_else(|| panic!("{}: the terminal forgot", case.name));
    let terminal = crate::support::name(*number);
    let tx = movements.iter().find(|tx| tx.terminal == terminal && tx.stan == stan);
    let rrn = tx.map(|tx| tx.rrn.as_str());
    let at_issuer: i64 = books.iter().filter(|line| Some(line.rrn.as_str()) == rrn).map(|line| line.net).sum();
    assert_eq!(at_issuer, case.end.at_issuer, "{}: what stands at the issuer", case.name);
    // A second approval that the issuer booked is with a person, too.
    let in_persons_hands = tx.is_some_and(|tx| tx.in_doubt) || (case.end.exception.is_some() && case.end.at_issuer > 0);
    let told_good = belief.belief == Belief::Approved;
    assert!(belief.belief != Belief::Unknown, "{}: the terminal does not know", case.name);
    if !in_persons_hands {
        assert_eq!(belief.net(), at_issuer, "{}: receipt against books", case.name);
        assert_eq!(tx.map_or(0, |tx| tx.net), at_issuer, "{}: journal against books", case.name);
        assert_eq!(told_good, at_issuer > 0, "{}: what the receipt says", case.name);
    }
}

/// All that no case takes with it: the three ledgers whole, and `switchd doubt`, as their commands show them.
async fn judge_all(
    stage: &Stage,
    played: &[Played],
    others: Vec<TerminalJournal>,
    books: &[MovementLine],
) -> Reconciliation {
    let movements: Vec<Tx> = command(stage, &["tx", "--all", "--json"]).await;
    for one in played {
        judge(one, &movements, books);
    }
    let journals: Vec<_> = played.iter().map(|one| one.journal.clone()).chain(others).collect();
    let switch: Vec<_> = movements.iter().map(as_switch_movement).collect();
    let mut found = reconcile(books, &switch, &journals);
    let doubt: Doubt = command(stage, &["doubt", "--json"]).await;
    let expected = |one: &&Played| one.placed.case.end.state.is_some_and(is_listed);
    let mut listed: Vec<_> = doubt.movements.iter().map(|tx| (tx.terminal.clone(), tx.cause.clone())).collect();
    let of_case = |one: &Played| (crate::support::name(one.placed.number), one.placed.case.end.cause.map(str::to_owned));
    let mut wanted: Vec<_> = played.iter().filter(expected).map(of_case).collect();
    listed.sort();
    wanted.sort();
    assert_eq!(listed, wanted, "in doubt is what no rule can decide, and nothing else");
    assert_eq!(doubt.in_doubt, wanted.len());
    assert_eq!(stage.site.daemon.metric("switchd_in_doubt").await, wanted.len() as f64);
    let of_exception = |one: &Played| {
        let rule = one.placed.case.end.exception?;
        Some((crate::support::name(one.placed.number), rule.to_owned()))
    };
    let mut entries: Vec<_> = doubt.exceptions.iter().map(|entry| (entry.terminal.clone(), entry.rule.clone())).collect();
    let mut wanted: Vec<_> = played.iter().filter_map(of_exception).collect();
    entries.sort();
    wanted.sort();
    assert_eq!(entries, wanted, "the entries for a person");
    // What a person has is judged by its row; everything else must be at its end.
    let entries = doubt.exceptions.iter().filter_map(|entry| entry.rrn.as_ref());
    let with_a_person: Vec<_> = doubt.movements.iter().map(|tx| &tx.rrn).chain(entries).collect();
    let listed = |text: &str| with_a_person.iter().any(|rrn| text.starts_with(*rrn));
    found.in_doubt.retain(|rrn| !listed(rrn));
    found.disagreements.retain(|sentence| !listed(sentence));
    found
}

/// Whether a state is in doubt for good.
fn is_listed(state: &str) -> bool {
    matches!(state, "needs_operator" | "awaiting_reversal_ack")
}

async fn command<T: serde::de::DeserializeOwned>(stage: &Stage, words: &[&str]) -> T {
    let config = stage.site.config();
    let config = config.to_str().expect("the path is text");
    let output = switchd(words.iter().copied().chain(["--config", config])).await;
    assert!(output.status.success(), "switchd {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("--json prints JSON")
}

/// No case is there for nothing.
async fn assert_faults_acted(issuer: &IssuerProcess, armed: &[(String, Rule)]) {
    let rules = issuer.faults().await;
    assert_eq!(rules.len(), armed.len());
    for (rule, (name, armed)) in rules.iter().zip(armed) {
        assert_eq!(rule.acted, u64::from(armed.times.unwrap_or(0)), "{name}: {:?} did not act", rule.fault);
    }
}

/// Runs every case at once; the number of those that failed is the test's.
async fn play_all(stage: &Stage, placed: Vec<Placed>) -> Vec<Played> {
    let mut running = JoinSet::new();
    let cases = placed.len();
    for one in placed {
        running.spawn_local(play(stage.clone(), one));
    }
    let mut played = Vec::new();
    while let Some(ended) = running.join_next().await {
        // One that failed has said why.
        played.extend(ended);
    }
    assert_eq!(played.len(), cases, "{} of {cases} cases failed, see above", cases - played.len());
    played
}

async fn matrix() {
    let cases: Vec<Case> = issuer_faults::cases().into_iter().chain(wire_faults::cases()).collect();
    let first_of_others = 1 + u16::try_from(cases.len()).expect("there are not so many");
    let mut plan = Plan::new(first_of_others + others::TERMINALS - 1).await;
    let usual = IssuerProcess::start(plan.dir(), "usual", &[]).await;
    let forgetful = IssuerProcess::start(plan.dir(), "forgetful", &["--unknown-original-code", "00"]).await;
    let placed = place(&mut plan, cases, 1, &usual, &forgetful).await;
    let mut others = others::place(&mut plan, first_of_others).await;
    let rules_of = |forgetful: bool| -> Vec<(String, Rule)> {
        let of_host = placed.iter().filter(|one| one.case.forgetful == forgetful);
        of_host.flat_map(|one| one.rules().map(|rule| (one.case.name.clone(), rule))).collect()
    };
    let (of_usual, of_forgetful) = (rules_of(false), rules_of(true));
    for (issuer, rules) in [(&usual, &of_usual), (&forgetful, &of_forgetful)] {
        let rules: Vec<_> = rules.iter().map(|(_, rule)| rule.clone()).collect();
        issuer.set_faults(&rules).await;
    }
    let stage = plan.open().await;
    let looking = tokio::task::spawn_local(stage.clone().keep_looking());
    let since = std::time::Instant::now();
    let (played, journals) = tokio::join!(play_all(&stage, placed), others.play(&stage));
    looking.abort();
    assert_faults_acted(&usual, &of_usual).await;
    assert_faults_acted(&forgetful, &of_forgetful).await;
    let mut books = books(&[&usual, &forgetful]).await;
    books.extend(others.books().await);
    let found = judge_all(&stage, &played, journals, &books).await;
    println!("{} cases in {:?}\n{found}", played.len(), since.elapsed());
    assert!(found.agrees(), "the ledgers disagree\n{found}");
    assert!(found.unknown_to_terminal.is_empty(), "terminals do not know {:?}", found.unknown_to_terminal);
}

#[tokio::test]
async fn each_fault_on_either_leg_at_each_moment_ends_with_three_ledgers_that_agree() {
    tokio::task::LocalSet::new().run_until(matrix()).await;
}
