//! Kill -9, again and again, under load and with an issuer that misbehaves: after each recovery the issuer's ledger, the
//! terminals' journals and the switch's journal agree on every key.
//!
//! Moments and faults are random; the seed is printed, and `SWITCHD_TEST_SEED` sets it. As the rest is real time, a seed
//! gives the same faults, not the same run. Not here: faults that end with a person (another DE38, another amount than the
//! books have, refused reversals), which [`crate::fault_matrix`] has one by one.

use std::time::Duration;

use counterparts::faults::{Approval, Fault, Match, MtiClass, Rule, Side, Wrong};
use counterparts::issuer::Settings;
use counterparts::net::load::{Load, LoadArgs, final_sale};
use counterparts::scenario::Scenario;
use counterparts::seeded::Seeded;
use counterparts::terminal::Presented;

use crate::support::site::{PAN, POOR_PAN};
use crate::support::{Options, PATIENCE, Site, card, seed, until, within};

const TERMINALS: u16 = 24;
const BEFORE: Side = Side::BeforeLedger;
const AFTER: Side = Side::AfterLedger;

/// The longest that a request can be on its way to the mock's ledger; shorter than the horizon.
const LONGEST_DELAY_MS: u64 = 1_500;

fn options() -> Options {
    Options {
        terminals: TERMINALS,
        response_timeout: 1_000,
        original_horizon: LONGEST_DELAY_MS + 700,
        crossing_margin: 100,
        redeliver_grace: 300,
        connections: 2,
        // A connection that is deaf after half a frame is given up soon.
        limits: "frame_timeout = \"1s\"",
        log: "info",
        ..Options::default()
    }
}

/// About one request in three is struck, and as many reversals.
fn faults() -> Vec<Rule> {
    let code = |code: &[u8; 2]| iso8583::ResponseCode::new(*code);
    let twice = |after_ms| Fault::Double { approval: Approval::Same, after_ms };
    let late_partial = Fault::Late { by_ms: LONGEST_DELAY_MS, of: Box::new(Fault::PartialPercent(50)) };
    let late_half = Fault::Late { by_ms: 150, of: Box::new(Fault::Half(AFTER)) };
    [
        requests([
            (0.05, Fault::DelayMs(LONGEST_DELAY_MS)),
            (0.10, Fault::DelayMs(150)),
            (0.03, Fault::LateMs(LONGEST_DELAY_MS)),
            (0.01, Fault::Silence(AFTER)),
            (0.01, Fault::Silence(BEFORE)),
            (0.005, Fault::Cut(AFTER)),
            (0.005, Fault::Cut(BEFORE)),
        ]),
        requests([
            (0.02, twice(0)),
            (0.02, twice(150)),
            (0.02, Fault::PartialPercent(60)),
            (0.01, late_partial),
            (0.005, Fault::Answer(code(b"96"))),
            (0.005, Fault::AnswerMoved(code(b"96"))),
            (0.005, Fault::AnswerMoved(code(b"68"))),
        ]),
        requests([
            (0.005, Fault::Wrong(Wrong::Stan)),
            (0.005, Fault::Wrong(Wrong::Rrn)),
            (0.005, Fault::Wrong(Wrong::Card)),
            (0.005, Fault::Wrong(Wrong::Terminal)),
            (0.005, Fault::Garbage(AFTER)),
            (0.02, Fault::OtherConnection),
            (0.002, Fault::CutOthers),
        ]),
        requests([
            (0.003, Fault::Half(AFTER)),
            (0.003, Fault::Half(BEFORE)),
            (0.003, late_half),
            (0.002, Fault::HalfAndSilence(AFTER)),
            (0.003, Fault::ImpossibleLength(AFTER)),
            (0.001, Fault::Down { side: AFTER, for_ms: 200 }),
            (0.001, Fault::Down { side: BEFORE, for_ms: 200 }),
        ]),
        reversals([
            (0.10, Fault::Ignore),
            (0.05, Fault::Silence(AFTER)),
            (0.05, Fault::Answer(code(b"91"))),
            (0.05, Fault::AnswerMoved(code(b"96"))),
            (0.02, Fault::Cut(AFTER)),
            (0.02, Fault::Garbage(AFTER)),
            (0.02, Fault::Wrong(Wrong::Stan)),
            (0.02, Fault::Wrong(Wrong::Rrn)),
            (0.01, Fault::Wrong(Wrong::More)),
            (0.05, twice(50)),
            (0.05, Fault::LateMs(300)),
            (0.05, Fault::OtherConnection),
        ]),
    ]
    .concat()
}

fn requests<const N: usize>(faults: [(f64, Fault); N]) -> Vec<Rule> {
    of_class(MtiClass::Request, faults)
}

fn reversals<const N: usize>(faults: [(f64, Fault); N]) -> Vec<Rule> {
    of_class(MtiClass::Reversal, faults)
}

fn of_class<const N: usize>(class: MtiClass, faults: [(f64, Fault); N]) -> Vec<Rule> {
    let strike = |(rate, fault)| Rule::new(Match { mti_class: Some(class), rate: Some(rate), ..Match::default() }, fault);
    faults.map(strike).to_vec()
}

/// In every other round the issuer answers 00 to the reversal of what it does not know, and forgets it.
fn settings(round: u32) -> Scenario {
    let unknown_original_code = iso8583::ResponseCode::new(if round.is_multiple_of(2) { *b"00" } else { *b"25" });
    let settings = Some(Settings { unknown_original_code, ..Settings::default() });
    Scenario { version: counterparts::scenario::VERSION, name: format!("round {round}"), rules: faults(), settings }
}

async fn kill_loop(rounds: u32) {
    let mut seeded = Seeded::new(seed());
    let mut site = Site::open(options()).await;
    let mut sales = 0;
    for round in 1..=rounds {
        site.issuer.set_scenario(&settings(round));
        let load = load(&site, seeded.next_u64());
        // Not a wait for anything: the moment of the kill is what is random.
        tokio::time::sleep(Duration::from_millis(100 + seeded.below(900))).await;
        site.daemon.kill();
        // In every third round it is killed in its recovery, too.
        if seeded.below(3) == 0 {
            site.spawn_again();
            tokio::time::sleep(Duration::from_millis(seeded.below(150))).await;
            site.daemon.kill();
        }
        site.start_again().await;
        sales += load.progress().asked.load(std::sync::atomic::Ordering::Relaxed);
        load.stop();
        let loaded = within("all terminals to come back", load.finish()).await.expect("their journals can be written");
        assert_eq!(loaded.not_cleared, Vec::<String>::new(), "round {round}: reversals are owed");
        site.no_faults();
        let mut journals = Vec::new();
        for mut terminal in loaded.terminals {
            until(&format!("round {round}: a last sale is approved"), async || {
                let margin = Duration::from_millis(options().crossing_margin);
                let receipt = final_sale(&mut terminal, &card(), 1, margin, PATIENCE).await;
                let receipt = receipt.unwrap_or_else(|error| panic!("round {round}: {error}"));
                // A link that the issuer took down with its last faults may not be back.
                assert!(receipt.is_approved() || receipt.code() == "91", "round {round}: {receipt}");
                receipt.is_approved().then_some(())
            })
            .await;
            journals.push(terminal.journal());
        }
        let found = site.reconciled(&journals).await;
        println!("round {round}\n{found}");
    }
    assert!(sales > u64::from(rounds) * 20, "{sales} sales are no load");
}

fn load(site: &Site, seed: u64) -> Load {
    let poor = Presented::new(POOR_PAN.parse().expect("it is a card number"));
    let rich = Presented::new(PAN.parse().expect("it is a card number"));
    let args = LoadArgs {
        terminals: (1..=TERMINALS).map(|number| site.terminal_args(number)).collect(),
        cards: vec![rich.clone(), rich.clone(), rich, poor],
        amounts: 1..=5_000,
        pause: Duration::from_millis(2),
        sales_max: None,
        duration: None,
        come_back_within: PATIENCE,
        seed,
    };
    Load::start(args).expect("their journals can be written")
}

#[tokio::test]
async fn after_each_of_10_kills_three_ledgers_agree() {
    kill_loop(10).await;
}

#[tokio::test]
#[ignore = "five minutes; run by hand"]
async fn after_each_of_50_kills_three_ledgers_agree() {
    kill_loop(50).await;
}
