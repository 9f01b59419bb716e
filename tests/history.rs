//! `switchd tx` beyond movements: what is about none of them, and searches that no entry of the index leads to.

use std::time::{SystemTime, UNIX_EPOCH};

use counterparts::clock::Calendar;
use serde_json::Value;

use crate::operate::{json, run, said};
use crate::support::site::{PAN, POOR_PAN};
use crate::support::{Options, Site, code, repeat_of, reversal_of, sale, until};

#[track_caller]
fn holds(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}

/// The day of now in UTC, as `--day` takes it.
async fn today(site: &Site) -> String {
    let status = said(site, &["status"]).await;
    status.split(" at ").nth(1).and_then(|rest| rest.get(..10)).expect("status shows the day").to_owned()
}

/// What a search finds apart from movements, when it is durable.
async fn alone(site: &Site, args: &[&str], count: usize) -> Vec<Value> {
    until("it is on disk", async || {
        let found = json(site, args).await;
        assert_eq!(found["found"], Value::Array(vec![]), "{found}");
        found["alone"].as_array().filter(|alone| alone.len() == count).cloned()
    })
    .await
}

#[tokio::test]
async fn d11_tx_tells_a_reversal_without_an_original_and_an_entry_without_a_movement() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&reversal_of(&sale(1, 7, PAN, 1250), 8)).await), "00", "nothing stands");
    let mut old = repeat_of(&sale(1, 9, PAN, 1250));
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let then = Calendar::at(u64::try_from(since_1970.as_millis()).expect("64 bits hold it") - 3_600_000, 0);
    old.set(12, then.de12().as_bytes());
    old.set(13, then.de13().as_bytes());
    assert_eq!(code(&line.ask(&old).await), "94", "too old to be the original");

    let by_stan = ["tx", "--terminal", "TERM0001", "--stan", "7"];
    let buried = alone(&site, &by_stan, 1).await.remove(0);
    assert_eq!((&buried["what"], &buried["rule"], &buried["stan"]), (&"tombstone".into(), &"D11".into(), &"000007".into()));
    assert_eq!((&buried["amount"], &buried["currency"]), (&1250.into(), &"978".into()));
    let sentence = "The terminal reversed a sale that the switch does not know (D11); should that sale still come, it gets 94; by the journal no money moved;";
    holds(
        &said(&site, &by_stan).await,
        &[sentence, "TERM0001/MERCHANT0000001, STAN 000007", "12.50 978", "tombstone by D11"],
    );
    let zh = said(&site, &["tx", "--terminal", "TERM0001", "--stan", "7", "--lang", "zh"]).await;
    holds(&zh, &["终端冲正了系统没有记录的交易（D11）；该交易如之后到达，将以94拒绝；按流水记录未扣款；"]);

    // By terminal and day both are told, and by whole name, and of another merchant none.
    let today = today(&site).await;
    let both = alone(&site, &["tx", "--terminal", "TERM0001/MERCHANT0000001", "--day", &today], 2).await;
    let entry = both[1]["entry"].as_str().expect("an entry has a name").to_owned();
    assert_eq!((&both[1]["what"], &both[1]["closed"]), (&"entry".into(), &Value::Null));
    alone(&site, &["tx", "--terminal", "TERM0001/MERCHANT0000002", "--day", &today], 0).await;
    alone(&site, &["tx", "--terminal", "TERM0001", "--day", "1999-01-01"], 0).await;
    let text = said(&site, &["tx", "--terminal", "TERM0001", "--stan", "9"]).await;
    holds(
        &text,
        &["A repeat came too late for the request that it repeats", "must ask the acquirer", &entry, "open; next:"],
    );

    said(&site, &["resolve", &entry, "--as", "stands", "--who", "ann", "--why", "ticket 7"]).await;
    let closed = alone(&site, &["tx", "--terminal", "TERM0001", "--stan", "9"], 1).await.remove(0);
    assert_eq!((&closed["closed"]["who"], &closed["closed"]["why"]), (&"ann".into(), &"ticket 7".into()));
    holds(&said(&site, &["tx", "--terminal", "TERM0001", "--stan", "9"]).await, &["by ann: ticket 7"]);
    // What has neither RRN nor card is found by neither.
    assert!(!run(&site, &["tx", "000000000007"]).await.status.success());
    alone(&site, &["tx", "--terminal", "TERM0001", "--stan", "7", "--card", "400000******7899"], 0).await;
}

#[tokio::test]
async fn a_masked_card_goes_with_a_day_or_a_terminals_stan() {
    let mut site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&sale(1, 1, PAN, 1250)).await), "00");
    assert_eq!(code(&line.ask(&sale(1, 2, POOR_PAN, 1250)).await), "51");
    for wrong in [&["tx", "--card", "400000******7899"][..], &["tx", "--card", "400000******7899", "--terminal", "TERM0001"]]
    {
        let output = run(&site, wrong).await;
        assert_eq!(output.status.code(), Some(2));
        holds(&String::from_utf8_lossy(&output.stderr), &["a masked card goes with a day", "next: add --day"]);
    }
    let today = today(&site).await;
    let stans = async |site: &Site, args: &[&str]| -> Vec<Value> {
        let args: Vec<&str> = ["tx", "--card", "400000******7899"].iter().chain(args).copied().collect();
        let found = json(site, &args).await;
        found["found"].as_array().expect("a list").iter().map(|tx| tx["stan"].clone()).collect()
    };
    for crashed in [false, true] {
        assert_eq!(stans(&site, &["--day", &today]).await, ["000001"], "crashed: {crashed}");
        assert_eq!(stans(&site, &["--day", "1999-01-01"]).await, [] as [Value; 0]);
        assert_eq!(stans(&site, &["--day", &today, "--terminal", "TERM0001"]).await, ["000001"]);
        assert_eq!(stans(&site, &["--day", &today, "--terminal", "TERM0002"]).await, [] as [Value; 0]);
        assert_eq!(stans(&site, &["--terminal", "TERM0001", "--stan", "1"]).await, ["000001"]);
        assert_eq!(stans(&site, &["--terminal", "TERM0001", "--stan", "2"]).await, [] as [Value; 0]);
        if !crashed {
            site.crash().await;
        }
    }
}
