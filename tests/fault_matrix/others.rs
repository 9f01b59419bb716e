//! Faults that strike more than one terminal: links and issuers that die, hang and come back.

use std::net::SocketAddr;

use counterparts::faults::{Fault, Match, MtiClass, Rule, Side};
use counterparts::issuer::MovementLine;
use counterparts::net::proxy::{FaultyProxy, ProxyArgs};
use counterparts::net::terminal::TerminalClient;
use counterparts::reconcile::TerminalJournal;
use counterparts::terminal::Presented;

use super::stage::{AMOUNT, Plan, Stage, books, card, sells_on};
use crate::support::{IssuerProcess, until};

/// Terminals of each scene.
const EACH: u16 = 4;
/// Terminals of all scenes.
pub(super) const TERMINALS: u16 = 8 * EACH;
/// How long an issuer is down.
const DOWN_MS: u64 = 1_500;
const CLASSES: [MtiClass; 2] = [MtiClass::Request, MtiClass::Reversal];
const SIDES: [Side; 2] = [Side::BeforeLedger, Side::AfterLedger];

const fn down(side: Side) -> Fault {
    Fault::Down { side, for_ms: DOWN_MS }
}

/// The faults of the scenes' issuers that no row has, each with what it strikes.
pub(super) fn strikes() -> impl Iterator<Item = (MtiClass, Fault)> {
    let faults = || [Fault::OtherConnection, Fault::CutOthers].into_iter().chain(SIDES.map(down));
    CLASSES.into_iter().flat_map(move |class| faults().map(move |fault| (class, fault)))
}

/// An issuer of the daemon with a process behind it that no other scene has.
struct Scene {
    process: IssuerProcess,
    issuer: u16,
    /// The first of its terminals and cards.
    first: u16,
}

/// Everything that is there before the daemon starts.
pub(super) struct Others {
    two_links: Scene,
    wires: [FaultyProxy; 2],
    cut_others: Scene,
    cut_by_reversal: Scene,
    down: Scene,
    down_at_reversal: Scene,
    elsewhere: Scene,
    hangs: Scene,
    dies: Scene,
}

async fn process(plan: &Plan, name: &'static str) -> IssuerProcess {
    IssuerProcess::start(plan.dir(), name, &[]).await
}

/// Starts the issuers and gives each its place.
pub(super) async fn place(plan: &mut Plan, first: u16) -> Others {
    let mut firsts = (first..).step_by(usize::from(EACH));
    let mut scene = |plan: &mut Plan, process: IssuerProcess, links: &[SocketAddr], connections| {
        let issuer = plan.issuer_with(links, connections);
        Scene { process, issuer, first: firsts.next().expect("it has no end") }
    };
    let behind_wires = process(plan, "two-links").await;
    let wire = async || FaultyProxy::start(ProxyArgs::new(behind_wires.address())).await.expect("loopback has free ports");
    let wires = [wire().await, wire().await];
    let addresses = [wires[0].address(), wires[1].address()];
    let two_links = scene(plan, behind_wires, &addresses, 1);
    let mut alone = Vec::new();
    for (name, connections) in [
        ("cut-others", 2),
        ("cut-by-reversal", 2),
        ("elsewhere", 2),
        ("down", 1),
        ("down-at-reversal", 1),
        ("hangs", 1),
        ("dies", 1),
    ] {
        let process = process(plan, name).await;
        let links = [process.address()];
        alone.push(scene(plan, process, &links, connections));
    }
    let Ok([cut_others, cut_by_reversal, elsewhere, down, down_at_reversal, hangs, dies]) = <[Scene; 7]>::try_from(alone)
    else {
        unreachable!("seven were made")
    };
    Others { two_links, wires, cut_others, cut_by_reversal, elsewhere, down, down_at_reversal, hangs, dies }
}

impl Others {
    /// Plays all scenes at once; what their terminals believe at the end.
    pub(super) async fn play(&mut self, stage: &Stage) -> Vec<TerminalJournal> {
        let Others { two_links, wires, cut_others, cut_by_reversal, elsewhere, down, down_at_reversal, hangs, dies } = self;
        let (a, b, c, d, e, f, g, h) = tokio::join!(
            one_of_two_links_dies(stage, two_links, &wires[0]),
            one_connection_outlives_the_others(stage, cut_others),
            an_answer_comes_on_another_connection(stage, elsewhere),
            the_issuer_is_down_for_a_while(stage, down),
            the_issuer_hangs_for_a_while(stage, hangs),
            the_issuer_dies_and_starts_anew(stage, dies),
            the_answer_to_a_reversal_closes_the_other_connection(stage, cut_by_reversal),
            the_issuer_goes_down_at_a_reversal(stage, down_at_reversal),
        );
        [a, b, c, d, e, f, g, h].concat()
    }

    /// What the books of their issuers hold.
    pub(super) async fn books(&self) -> Vec<MovementLine> {
        let Others { two_links, wires: _, cut_others, cut_by_reversal, elsewhere, down, down_at_reversal, hangs, dies } =
            self;
        let scenes = [two_links, cut_others, cut_by_reversal, elsewhere, down, down_at_reversal, hangs, dies];
        books(&scenes.map(|scene| &scene.process)).await
    }
}

impl Scene {
    fn card(&self, at: u16) -> Presented {
        card(self.issuer, self.first + at)
    }

    async fn terminal(&self, stage: &Stage, at: u16) -> TerminalClient {
        stage.terminal(self.first + at, None).await
    }

    /// The sales on some of its cards take their time.
    fn thinks(&self, cards: std::ops::Range<u16>, ms: u64) -> Vec<Rule> {
        cards.map(|at| self.strikes(at, MtiClass::Request, Fault::DelayMs(ms))).collect()
    }

    /// The next message of this class about one of its cards.
    fn strikes(&self, at: u16, class: MtiClass, fault: Fault) -> Rule {
        let suffix = format!("{:04}", self.first + at);
        let matches = Match { card_suffix: Some(suffix), mti_class: Some(class), ..Match::default() };
        Rule::new(matches, fault).times(1)
    }

    /// Waits until so many messages were struck.
    async fn struck(&self, count: u64) {
        until("the issuer has the requests", async || (self.process.report().await.counts.faults == count).then_some(()))
            .await;
    }

    /// Waits until a terminal's first sale is over at the switch, as this.
    async fn reaches(&self, stage: &Stage, at: u16, state: &str, cause: Option<&str>) {
        let what = format!("terminal {} of issuer {} is {state} by {cause:?}", self.first + at, self.issuer);
        let as_it_should = |look: &super::stage::Look| {
            let tx = look.of(self.first + at, "000002")?;
            (tx.state == state && (cause.is_none() || tx.cause.as_deref() == cause)).then_some(())
        };
        stage.sees(&what, as_it_should).await;
    }
}

/// All sell at once; what each is told.
async fn sell(scene: &Scene, terminals: Vec<TerminalClient>) -> Vec<(TerminalClient, String)> {
    let sale = |(at, mut terminal): (u16, TerminalClient)| {
        let card = scene.card(at);
        tokio::task::spawn_local(async move {
            let receipt = terminal.sale(&card, AMOUNT).await.expect("the daemon is there");
            (terminal, receipt.code().to_owned())
        })
    };
    let running: Vec<_> = (0..).zip(terminals).map(sale).collect();
    let mut told = Vec::new();
    for sale in running {
        told.push(sale.await.expect("the daemon is there"));
    }
    told
}

/// Each of these sells on, and its first sale ends as what it was told says.
async fn settled(stage: &Stage, scene: &Scene, told: Vec<(TerminalClient, String)>, rule: &str) -> Vec<TerminalJournal> {
    let mut journals = Vec::new();
    for (at, (mut terminal, code)) in (0..).zip(told) {
        sells_on(&mut terminal, &scene.card(at)).await;
        match code.as_str() {
            "00" => scene.reaches(stage, at, "confirmed", None).await,
            "68" => scene.reaches(stage, at, "unwound", Some(rule)).await,
            _ => panic!("terminal {at} of issuer {} was told {code}", scene.issuer),
        }
        journals.push(terminal.journal());
    }
    journals
}

async fn terminals(stage: &Stage, scene: &Scene, count: u16) -> Vec<TerminalClient> {
    let mut terminals = Vec::new();
    for at in 0..count {
        terminals.push(scene.terminal(stage, at).await);
    }
    terminals
}

/// T2, R0: what was on the dead link is unwound over the other, and the others do not notice.
async fn one_of_two_links_dies(stage: &Stage, scene: &Scene, wire: &FaultyProxy) -> Vec<TerminalJournal> {
    scene.process.set_faults(&scene.thinks(0..EACH, 1_000)).await;
    let terminals = terminals(stage, scene, EACH).await;
    let dies = async {
        scene.struck(u64::from(EACH)).await;
        wire.set_listening(false);
        wire.cut();
    };
    let (told, ()) = tokio::join!(sell(scene, terminals), dies);
    for ((_, code), at) in told.iter().zip(0..) {
        let link = stage.sees("it is known", |look| Some(look.of(scene.first + at, "000002")?.link.clone())).await;
        let over_the_dead = link == format!("{}.1", scene.issuer);
        assert_eq!(code, if over_the_dead { "68" } else { "00" }, "over {link}");
    }
    let failed = told.iter().filter(|(_, code)| code == "68").count();
    assert!((1..told.len()).contains(&failed), "{failed} of {EACH} were on the link that died");
    assert_eq!(wire.counts().cuts, 1);
    let journals = settled(stage, scene, told, "T2").await;
    wire.set_listening(true);
    journals
}

/// The answer to one closes every other connection of the issuer: those that wait there are unwound.
async fn one_connection_outlives_the_others(stage: &Stage, scene: &Scene) -> Vec<TerminalJournal> {
    let mut rules = scene.thinks(0..2, 1_500);
    rules.push(scene.strikes(2, MtiClass::Request, Fault::CutOthers));
    scene.process.set_faults(&rules).await;
    let waiting = terminals(stage, scene, 2).await;
    let strikes = async {
        scene.struck(2).await;
        let mut terminal = scene.terminal(stage, 2).await;
        let receipt = terminal.sale(&scene.card(2), AMOUNT).await.expect("the daemon is there");
        (terminal, receipt.code().to_owned())
    };
    let (mut told, struck) = tokio::join!(sell(scene, waiting), strikes);
    assert_eq!(struck.1, "00", "its own connection stays");
    told.push(struck);
    let failed = told.iter().filter(|(_, code)| code == "68").count();
    assert_eq!(failed, 1, "one of the two that waited was on the other connection");
    settled(stage, scene, told, "T2").await
}

/// The same at the acknowledgement of a reversal, which counts.
async fn the_answer_to_a_reversal_closes_the_other_connection(stage: &Stage, scene: &Scene) -> Vec<TerminalJournal> {
    let mut rules = scene.thinks(0..2, 1_500);
    rules.push(scene.strikes(2, MtiClass::Reversal, Fault::CutOthers));
    scene.process.set_faults(&rules).await;
    // The switch's word, not the issuer's: only what is ready carries a request.
    let of_link = format!("link=\"{}.1\"", scene.issuer);
    let both_are_ready = async || {
        let text = stage.site.daemon.metrics().await;
        let ready =
            |line: &str| line.starts_with("switchd_link_connections{") && line.contains("\"true\"") && line.ends_with(" 2");
        text.lines().any(|line| ready(line) && line.contains(&of_link)).then_some(())
    };
    until("both connections are ready", both_are_ready).await;
    let mut reverses = scene.terminal(stage, 2).await;
    let receipt = reverses.sale(&scene.card(2), AMOUNT).await.expect("the daemon is there");
    assert_eq!(receipt.code(), "00");
    let waiting = terminals(stage, scene, 2).await;
    let strikes = async {
        scene.struck(2).await;
        assert!(reverses.reverse(None, 0, None).await.expect("the daemon is there").is_approved());
    };
    let (told, ()) = tokio::join!(sell(scene, waiting), strikes);
    let failed = told.iter().filter(|(_, code)| code == "68").count();
    assert_eq!(failed, 1, "one of the two that waited was on the other connection");
    scene.reaches(stage, 2, "unwound", Some("D8")).await;
    assert_eq!(scene.process.report().await.counts.faults, 3);
    sells_on(&mut reverses, &scene.card(2)).await;
    let mut journals = settled(stage, scene, told, "T2").await;
    journals.push(reverses.journal());
    journals
}

/// T2: a link is one STAN space; answers to a sale and to a reversal count on whichever connection they come.
async fn an_answer_comes_on_another_connection(stage: &Stage, scene: &Scene) -> Vec<TerminalJournal> {
    let rules = CLASSES.map(|class| scene.strikes(0, class, Fault::OtherConnection));
    scene.process.set_faults(&rules).await;
    let both_are_up = async || (scene.process.report().await.counts.network >= 2).then_some(());
    until("both connections are signed on", both_are_up).await;
    let mut terminal = scene.terminal(stage, 0).await;
    let receipt = terminal.sale(&scene.card(0), AMOUNT).await.expect("the daemon is there");
    assert_eq!(receipt.code(), "00");
    assert!(terminal.reverse(None, 0, None).await.expect("the daemon is there").is_approved());
    scene.reaches(stage, 0, "unwound", Some("D8")).await;
    assert_eq!(scene.process.report().await.counts.faults, 2);
    assert_eq!(scene.process.report().await.counts.reversed_again, 0, "one acknowledgement was enough");
    sells_on(&mut terminal, &scene.card(0)).await;
    vec![terminal.journal()]
}

/// T2, M7: what was in flight is unwound, whether it was booked or not; what is asked meanwhile is refused.
async fn the_issuer_is_down_for_a_while(stage: &Stage, scene: &Scene) -> Vec<TerminalJournal> {
    let mut journals = Vec::new();
    for (at, side) in (0..).step_by(2).zip(SIDES) {
        scene.process.set_faults(&[scene.strikes(at, MtiClass::Request, down(side))]).await;
        let mut in_flight = scene.terminal(stage, at).await;
        let receipt = in_flight.sale(&scene.card(at), AMOUNT).await.expect("the daemon is there");
        assert_eq!(receipt.code(), "68", "{side:?}");
        let mut refused = scene.terminal(stage, at + 1).await;
        let receipt = refused.sale(&scene.card(at + 1), AMOUNT).await.expect("the daemon is there");
        assert_eq!(receipt.code(), "91", "no request waits for a link to come back");
        for (at, terminal) in [(at, &mut in_flight), (at + 1, &mut refused)] {
            sells_on(terminal, &scene.card(at)).await;
            journals.push(terminal.journal());
        }
        scene.reaches(stage, at, "unwound", Some("T2")).await;
    }
    journals
}

/// R4, R6: the reversal is sent again when the issuer is back, whether it was booked or not; its terminal has its 00 at once.
async fn the_issuer_goes_down_at_a_reversal(stage: &Stage, scene: &Scene) -> Vec<TerminalJournal> {
    let mut journals = Vec::new();
    for ((at, side), struck) in (0..).zip(SIDES).zip(1..) {
        scene.process.set_faults(&[scene.strikes(at, MtiClass::Reversal, down(side))]).await;
        let mut terminal = scene.terminal(stage, at).await;
        let receipt = terminal.sale(&scene.card(at), AMOUNT).await.expect("the daemon is there");
        assert_eq!(receipt.code(), "00", "{side:?}");
        assert!(terminal.reverse(None, 0, None).await.expect("the daemon is there").is_approved());
        scene.struck(struck).await;
        scene.reaches(stage, at, "unwound", Some("D8")).await;
        sells_on(&mut terminal, &scene.card(at)).await;
        journals.push(terminal.journal());
    }
    assert_eq!(scene.process.report().await.counts.reversed_again, 1, "the one that was booked came again");
    journals
}

/// T1, T5: it reads what waits in its kernel after the switch has given up, and answers all of it.
async fn the_issuer_hangs_for_a_while(stage: &Stage, scene: &Scene) -> Vec<TerminalJournal> {
    let terminals = terminals(stage, scene, 2).await;
    scene.process.hang();
    let told = sell(scene, terminals).await;
    assert!(told.iter().all(|(_, code)| code == "68"), "nobody answers");
    assert!(stage.look().of(scene.first, "000002").is_some());
    scene.process.go_on();
    settled(stage, scene, told, "T1").await
}

/// T2, R2: its books are empty when it comes back, and it knows of no original.
async fn the_issuer_dies_and_starts_anew(stage: &Stage, scene: &mut Scene) -> Vec<TerminalJournal> {
    scene.process.set_faults(&scene.thinks(0..2, 1_500)).await;
    let terminals = terminals(stage, scene, 2).await;
    let dies = async {
        scene.struck(2).await;
        scene.process.die();
    };
    let (told, ()) = tokio::join!(sell(scene, terminals), dies);
    assert!(told.iter().all(|(_, code)| code == "68"), "their connection is gone");
    scene.process.restart().await;
    settled(stage, scene, told, "T2").await
}
