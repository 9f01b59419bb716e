//! What no rule decides is in `switchd doubt`, each under the name of the rule that put it there, and a crash forgets none.
//!
//! Not here: R7, whose shortest setting is a minute. Invariant: each terminal is in one kind of trouble, and the list is
//! exactly these.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use counterparts::clock::Calendar;
use counterparts::faults::{Approval, Fault, Match, MtiClass, Rule};
use iso8583::{Fields, Mti};

use crate::support::daemon::{Doubt, Tx, switchd};
use crate::support::site::{PAN, initialised, mock_issuer};
use crate::support::{Options, Site, code, name, repeat_of, reversal_of, sale, until};

const HORIZON_MS: u64 = 1_500;

/// C3 by a person, C2 with a short time to confirm, and everything else as usual.
const GROUPS: &str = r#"
[[group]]
number = 2
name = "deadlines for a person"
terminal_response_timeout = "20s"
crossing_margin = "100ms"
confirm_deadline = "500ms"
at_deadline = "operator"
[[group]]
number = 3
name = "terminals that confirm"
terminal_response_timeout = "20s"
crossing_margin = "100ms"
confirm_within = "300ms"
"#;

/// The terminals and their troubles.
const T7: u16 = 1;
const R2: u16 = 2;
const R4: u16 = 3;
const D12: u16 = 4;
const C3: u16 = 5;
const D4: u16 = 6;
const D6: u16 = 7;
const D11: u16 = 8;
const T5: u16 = 9;
const C2: u16 = 10;
const K2: u16 = 11;
const TERMINALS: u16 = 11;

/// The issuer's next message of this class about a terminal.
fn strikes(terminal: u16, class: MtiClass, fault: Fault) -> Rule {
    let matches = Match { terminal: Some(name(terminal)), mti_class: Some(class), ..Match::default() };
    Rule::new(matches, fault).times(1)
}

async fn open() -> Site {
    let options = Options {
        terminals: TERMINALS,
        response_timeout: 700,
        original_horizon: HORIZON_MS,
        more: GROUPS.to_owned(),
        ..Options::default()
    };
    let dir = initialised(TERMINALS).await;
    let registry = dir.path().join("terminals.toml");
    let mut text = std::fs::read_to_string(&registry).expect("init made the registry");
    for (terminal, group) in [(C3, 2), (K2, 2), (C2, 3)] {
        let usual = format!("allow = \"{}/MERCHANT0000001\"\ngroup = 1\n", name(terminal));
        assert!(text.contains(&usual), "the registry has {usual}");
        text = text.replace(&usual, &usual.replace("group = 1", &format!("group = {group}")));
    }
    std::fs::write(&registry, text).expect("the directory is ours");
    let issuer = mock_issuer(dir.path()).await;
    let refuses = |code: &[u8; 2]| Fault::Answer(iso8583::ResponseCode::new(*code));
    issuer.set_faults(vec![
        strikes(T7, MtiClass::Request, Fault::Double { approval: Approval::Other, after_ms: 0 }),
        strikes(R2, MtiClass::Reversal, refuses(b"25")),
        strikes(R4, MtiClass::Reversal, refuses(b"30")),
        strikes(T5, MtiClass::Request, Fault::LateMs(HORIZON_MS + 1_000)),
    ]);
    let links = vec![(issuer.address(), true)];
    let mut site = Site::around(dir, issuer, options, links);
    site.daemon.ready().await;
    site
}

/// An approved sale; its connection is gone.
async fn sold(site: &Site, terminal: u16) -> Fields {
    let request = sale(terminal, 1, PAN, 1250);
    assert_eq!(code(&site.line(terminal).await.ask(&request).await), "00");
    request
}

async fn ask(site: &Site, terminal: u16, message: &Fields, answered: &str) {
    assert_eq!(code(&site.line(terminal).await.ask(message).await), answered, "{}", name(terminal));
}

/// Every trouble but that of a crash.
async fn troubles(site: &Site) {
    sold(site, T7).await;
    for terminal in [R2, R4] {
        let request = sold(site, terminal).await;
        ask(site, terminal, &reversal_of(&request, 2), "00").await;
    }
    let mut of_another_amount = reversal_of(&sold(site, D12).await, 2);
    of_another_amount.set(4, b"000000001251");
    ask(site, D12, &of_another_amount, "64").await;
    sold(site, C3).await;
    sold(site, D4).await;
    ask(site, D4, &sale(D4, 1, PAN, 1251), "94").await;
    sold(site, D6).await;
    ask(site, D6, &sale(D6, 2, PAN, 1250), "00").await;
    let mut old = repeat_of(&sale(D11, 1, PAN, 1250));
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let an_hour_ago = u64::try_from(since_1970.as_millis()).expect("64 bits hold it") - 3_600_000;
    let then = Calendar::at(an_hour_ago, 0);
    old.set(12, then.de12().as_bytes());
    old.set(13, then.de13().as_bytes());
    ask(site, D11, &old, "94").await;
    ask(site, T5, &sale(T5, 1, PAN, 1250), "68").await;
    let request = sold(site, C2).await;
    site.reaches(&request, "unwound").await;
    let mut confirmation = request.clone();
    confirmation.set_mti(Mti::new(b"0202"));
    confirmation.set(39, b"00");
    ask(site, C2, &confirmation, "68").await;
}

/// Rule and terminal of each.
type Listed = BTreeSet<(String, String)>;

fn listed(doubt: &Doubt) -> (Listed, Listed) {
    let movements = doubt.movements.iter().filter(|tx| tx.state == "needs_operator");
    let movements = movements.map(|tx| (tx.cause.clone().unwrap_or_default(), tx.terminal.clone())).collect();
    let entries = doubt.exceptions.iter().map(|entry| (entry.rule.clone(), entry.terminal.clone())).collect();
    (movements, entries)
}

fn wanted(rules: &[(&str, u16)]) -> Listed {
    rules.iter().map(|(rule, terminal)| ((*rule).to_owned(), name(*terminal))).collect()
}

/// What the command shows, for programs and for people.
async fn command(site: &Site) -> (Doubt, String) {
    let config = site.config();
    let config = config.to_str().expect("the path is text");
    let said = async |more: &[&str]| {
        let output = switchd(["doubt", "--config", config].iter().chain(more)).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("it is text")
    };
    let json = said(&["--json"]).await;
    (serde_json::from_str(&json).expect("--json prints JSON"), said(&[]).await)
}

#[tokio::test]
async fn t5_t7_r2_r4_d4_d6_d11_d12_c2_c3_k2_what_no_rule_decides_is_listed_under_its_rule() {
    let mut site = open().await;
    troubles(&site).await;
    let movements = wanted(&[("T7", T7), ("R2", R2), ("R4", R4), ("D12", D12), ("C3", C3)]);
    let entries = wanted(&[("D4", D4), ("D6", D6), ("D11", D11), ("T5", T5), ("C2", C2)]);
    let all = (movements.clone(), entries.clone());
    until("everything is listed, and nothing else", async || {
        let doubt = site.daemon.doubt().await;
        (listed(&doubt) == all && doubt.in_doubt == movements.len()).then_some(())
    })
    .await;
    let (doubt, text) = command(&site).await;
    assert_eq!(listed(&doubt), all);
    for (rule, terminal) in movements.iter().chain(&entries) {
        let together = |line: &str| line.contains(rule.as_str()) && line.contains(terminal.as_str());
        assert!(text.lines().any(together), "{rule} of {terminal} is not in\n{text}");
    }
    a_pair_is_shown_whole(&site, &doubt, &text).await;
    k2_is_listed_after_a_crash(&mut site, movements, entries).await;
}

/// An entry shows when, how much, and both sales of a pair that may be one (D6).
async fn a_pair_is_shown_whole(site: &Site, doubt: &Doubt, text: &str) {
    let entry = doubt.exceptions.iter().find(|entry| entry.rule == "D6").expect("it is listed");
    let (first, second) = (site.tx(&sale(D6, 1, PAN, 1250)).await, site.tx(&sale(D6, 2, PAN, 1250)).await);
    assert_eq!((entry.rrn.as_ref(), entry.later_rrn.as_ref()), (Some(&first.rrn), Some(&second.rrn)));
    assert_eq!((entry.movement_stan.as_ref(), &entry.stan), (Some(&first.stan), &second.stan));
    assert_eq!((entry.amount, entry.currency.as_deref()), (Some(1250), Some("978")));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_millis();
    assert!((now - 60_000..=now).contains(&u128::from(entry.at_ms)), "{entry:?}");
    let pair = format!("STAN {} RRN {} after STAN {} RRN {}", second.stan, second.rrn, first.stan, first.rrn);
    let whole = |line: &str| line.contains(&pair) && line.contains("1250 978") && line.contains(&entry.entry);
    assert!(text.lines().any(whole), "{pair} is not in\n{text}");
}

/// Kills of a daemon that sells on and on. Most of the time it is between the record of an outcome and that of its handing,
/// which waits for company; on a slow machine too, as everything else is slower there as well.
const KILLS: u32 = 30;
/// Between two sales: shorter than the mark of a handing waits for company.
const PAUSE: Duration = Duration::from_millis(10);

/// K2: approved, and a crash hides whether it was handed. Whether the mark of handing was durable is a matter of moments: the
/// terminal sells on and on, and the kill comes when it comes, until it hides one. What was handed is the deadline's (C3),
/// what was in flight is unwound (K1).
async fn k2_is_listed_after_a_crash(site: &mut Site, movements: Listed, entries: Listed) {
    let mut stan = 0;
    for kill in 0..KILLS {
        let mut line = site.line(K2).await;
        let killed = site.daemon.kill_after(Duration::from_millis(60 + 7 * u64::from(kill)));
        loop {
            stan += 1;
            // Another amount every time: no sale is keyed again.
            line.try_send(&sale(K2, stan, PAN, 1_000 + u64::from(stan))).await;
            match line.receive().await {
                Some(answer) => assert_eq!(code(&answer), "00"),
                None => break,
            }
            tokio::time::sleep(PAUSE).await;
        }
        killed.join().expect("the daemon was there to be killed");
        site.crash().await;
        let causes: BTreeSet<_> = until("its sales are over", async || {
            let all = site.daemon.movements().await;
            let of_k2: Vec<_> = all.iter().filter(|tx| tx.terminal == name(K2)).collect();
            let over = |tx: &&&Tx| ["needs_operator", "unwound"].contains(&tx.state.as_str());
            let causes = || of_k2.iter().map(|tx| tx.cause.clone().unwrap_or_default()).collect();
            (of_k2.iter().filter(over).count() == of_k2.len()).then(causes)
        })
        .await;
        let (now, entries_now) = listed(&site.daemon.doubt().await);
        assert!(now.is_superset(&movements), "a crash forgets none: {now:?}");
        assert_eq!(entries_now, entries, "a crash forgets none");
        let known = ["K1", "K2", "C3"].map(str::to_owned);
        assert!(causes.is_subset(&BTreeSet::from(known)), "{causes:?}");
        if causes.contains("K2") {
            println!("{} kills, {stan} sales", kill + 1);
            return;
        }
    }
    panic!("none of {KILLS} kills came between an answer and the durable mark of its handing");
}
