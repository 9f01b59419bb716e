//! Kill -9, again and again, under load and with an issuer that misbehaves: after each recovery the issuer's ledger, the
//! terminals' journals and the switch's journal agree on every key.
//!
//! Moments and faults are random; the seed is printed, and `SWITCHD_TEST_SEED` sets it. As the rest is real time, a seed
//! gives the same faults, not the same run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use counterparts::faults::{Fault, Match, MtiClass, Rule, Side};
use counterparts::net::load::{Load, LoadArgs, final_sale};
use counterparts::seeded::Seeded;
use counterparts::terminal::Presented;

use crate::support::site::{PAN, POOR_PAN};
use crate::support::{Options, PATIENCE, Site, card, within};

const TERMINALS: u16 = 24;

/// The longest that a request can be on its way to the mock's ledger; shorter than the horizon.
const LONGEST_DELAY_MS: u64 = 1_500;

fn options() -> Options {
    Options {
        terminals: TERMINALS,
        response_timeout: 1_000,
        original_horizon: LONGEST_DELAY_MS + 700,
        crossing_margin: 100,
        redeliver_grace: 300,
        log: "info",
        ..Options::default()
    }
}

/// About one message in five is struck.
fn faults() -> Vec<Rule> {
    let strike =
        |class, rate, fault| Rule::new(Match { mti_class: Some(class), rate: Some(rate), ..Match::default() }, fault);
    vec![
        strike(MtiClass::Request, 0.05, Fault::DelayMs(LONGEST_DELAY_MS)),
        strike(MtiClass::Request, 0.10, Fault::DelayMs(150)),
        strike(MtiClass::Request, 0.03, Fault::LateMs(LONGEST_DELAY_MS)),
        strike(MtiClass::Request, 0.01, Fault::Silence(Side::AfterLedger)),
        strike(MtiClass::Request, 0.01, Fault::Silence(Side::BeforeLedger)),
        strike(MtiClass::Request, 0.005, Fault::Cut(Side::AfterLedger)),
        strike(MtiClass::Request, 0.005, Fault::Cut(Side::BeforeLedger)),
        strike(MtiClass::Reversal, 0.10, Fault::Ignore),
        strike(MtiClass::Reversal, 0.10, Fault::Silence(Side::AfterLedger)),
        strike(MtiClass::Reversal, 0.05, Fault::Answer("91".parse().expect("it is a code"))),
    ]
}

fn seed() -> u64 {
    let given = std::env::var("SWITCHD_TEST_SEED").ok();
    let given = given.map(|text| text.parse().expect("SWITCHD_TEST_SEED is a number"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let seed = given.unwrap_or_else(|| u64::from(now.subsec_nanos()));
    println!("seed {seed}; again with SWITCHD_TEST_SEED={seed}");
    seed
}

async fn kill_loop(rounds: u32) {
    let mut seeded = Seeded::new(seed());
    let mut site = Site::open(options()).await;
    let mut sales = 0;
    for round in 1..=rounds {
        site.issuer.set_faults(faults());
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
            let margin = Duration::from_millis(options().crossing_margin);
            let receipt = final_sale(&mut terminal, &card(), 1, margin, PATIENCE).await;
            let receipt = receipt.unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert!(receipt.is_approved(), "round {round}: {receipt}");
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
