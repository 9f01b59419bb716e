//! What an operator asks and tells a running daemon: `switchd status`, `doubt`, `tx`, `why`, `link` and `watch`, as the commands print it.
//!
//! Which movements are in doubt, and why, is `doubt.rs`. Invariant: nothing that any of them prints holds a card number.

use std::process::Output;
use std::time::{Duration, Instant};

use counterparts::faults::{Fault, Side};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::sync::Notify;

use crate::support::daemon::{SWITCHD, switchd};
use crate::support::host::answer_to;
use crate::support::site::{PAN, POOR_PAN};
use crate::support::{Host, Options, Site, code, field, reversal_of, sale, until, within};

/// A command with the site's configuration.
pub(crate) async fn run(site: &Site, args: &[&str]) -> Output {
    let config = site.config();
    switchd(args.iter().copied().chain(["--config", config.to_str().expect("the path is text")])).await
}

/// What a command prints when it ends well; never a card number.
pub(crate) async fn said(site: &Site, args: &[&str]) -> String {
    let output = run(site, args).await;
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("it is text");
    assert!(!text.contains(PAN) && !text.contains(POOR_PAN), "{args:?} prints a card number:\n{text}");
    text
}

/// The same as JSON.
pub(crate) async fn json(site: &Site, args: &[&str]) -> Value {
    let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&said(site, &args).await).expect("--json prints JSON")
}

#[track_caller]
fn holds(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}

#[tokio::test]
async fn status_shows_readiness_doubt_links_and_what_was_answered() {
    let mut site = Site::open(Options::impatient()).await;
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&sale(1, 1, PAN, 1250)).await), "00");
    assert_eq!(code(&line.ask(&sale(1, 2, POOR_PAN, 1250)).await), "51");
    let status = json(&site, &["status"]).await;
    assert_eq!((&status["ready"], &status["in_doubt"], &status["terminals"]), (&true.into(), &0.into(), &1.into()));
    assert_eq!((&status["answers"]["requests"], &status["answers"]["approved"]), (&2.into(), &1.into()));
    let link = &status["links"][0];
    assert_eq!((&link["name"], &link["ready"], &link["in_flight"]), (&"line 1".into(), &1.into(), &0.into()));
    let text = said(&site, &["status"]).await;
    holds(&text, &["ready", "in doubt   0", "2 since the start, 1 approved", "1 of 1 ready", "12.50 978"]);

    site.on_requests(Fault::Silence(Side::AfterLedger));
    assert_eq!(code(&line.ask(&sale(1, 3, PAN, 500)).await), "68");
    let status = json(&site, &["status"]).await;
    let open = status["open"].as_array().expect("a list");
    assert_eq!(status["in_doubt"], 1);
    assert!(open.iter().any(|row| row["in_doubt"] == true && row["state"] == "awaiting_reversal_ack"), "{status}");
    site.nothing_in_doubt().await;

    site.daemon.stop().await;
    let output = run(&site, &["status"]).await;
    assert_eq!(output.status.code(), Some(1));
    holds(&String::from_utf8_lossy(&output.stderr), &["nobody answers; next: "]);
}

#[tokio::test]
async fn doubt_says_whose_how_old_how_much_and_what_comes_when() {
    let site = Site::open(Options { original_horizon: 20_000, ..Options::impatient() }).await;
    site.on_requests(Fault::Silence(Side::AfterLedger));
    let request = sale(1, 1, PAN, 1250);
    let asked = tokio::spawn({
        let mut line = site.line(1).await;
        let request = request.clone();
        async move { line.ask(&request).await }
    });
    site.reaches(&request, "awaiting_issuer").await;
    let doubt = json(&site, &["doubt"]).await;
    let movement = &doubt["movements"][0];
    assert_eq!((&movement["next"], &movement["issuer_name"]), (&"issuer_answer".into(), &"issuer of the test".into()));
    let (now, at) = (movement["begun_ms"].as_u64().unwrap(), movement["next_at_ms"].as_u64().unwrap());
    assert!((600..=800).contains(&(at - now)), "given up after response_timeout: {movement}");
    assert_eq!(code(&asked.await.expect("it is answered")), "68");

    // The early reversal is acknowledged, which does not count: the next goes at the horizon (R3).
    let movement = until("the next send is at the horizon", async || {
        let doubt = json(&site, &["doubt"]).await;
        Some(doubt["movements"][0].clone()).filter(|movement| movement["next"] == "reversal_time")
    })
    .await;
    assert_eq!(
        (&movement["cause"], &movement["amount"], &movement["card"]),
        (&"T1".into(), &1250.into(), &"400000******7899".into())
    );
    let in_ms = movement["next_at_ms"].as_u64().unwrap() - movement["begun_ms"].as_u64().unwrap();
    assert!((15_000..=25_000).contains(&in_ms), "{movement}");
    let text = said(&site, &["doubt"]).await;
    holds(
        &text,
        &[
            "in doubt: 1",
            "12.50 978",
            "issuer of the test",
            "400000******7899",
            "T1",
            "next: its reversal is sent (R3, R4) in 1",
        ],
    );
    holds(&said(&site, &["doubt", "--lang", "zh"]).await, &["next: 发送冲正"]);
}

#[tokio::test]
async fn tx_tells_what_happened_by_rrn_key_day_and_card_in_two_languages() {
    let mut site = Site::open(Options::default()).await;
    let (sold, poor) = (sale(1, 1, PAN, 1250), sale(1, 2, POOR_PAN, 1250));
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&sold).await), "00");
    assert_eq!(code(&line.ask(&poor).await), "51");
    assert_eq!(code(&line.ask(&reversal_of(&sold, 3)).await), "00");
    let (sold, poor) = (site.reaches(&sold, "unwound").await, site.reaches(&poor, "declined").await);

    let kept = "the issuer answers the reversal 00 Approved; the promise is kept";
    let text = until("the newest record is on disk", async || {
        Some(said(&site, &["tx", &sold.rrn]).await).filter(|text| text.contains(kept))
    })
    .await;
    let merchant = "It was undone, as its terminal reversed it (D8), and the issuer agrees; no money stands; the merchant has not been paid and may charge again.";
    holds(
        &text,
        &[
            merchant,
            "0200 STAN 000001 from the terminal for 12.50 978",
            "the issuer answers 00 Approved, approval ",
            "a reversal is promised, reason ",
        ],
    );
    let text = said(&site, &["tx", &poor.rrn]).await;
    holds(
        &text,
        &[
            "The issuer declined it (51 Insufficient funds); no money moved; the merchant has not been paid and may try another card (\"Not enough available balance\").",
            "400000******0042",
        ],
    );
    let text = said(&site, &["tx", &poor.rrn, "--lang", "zh"]).await;
    holds(&text, &["发卡方拒绝（51 资金不足）；未扣款；商户未收到款项，请换卡或换其他支付方式（可用余额不足）。"]);

    let rrns = async |args: &[&str]| -> Vec<Value> {
        let found = json(&site, args).await;
        found["found"].as_array().expect("a list").iter().map(|tx| tx["rrn"].clone()).collect()
    };
    let (sold, poor) = (Value::from(sold.rrn), Value::from(poor.rrn));
    let today = said(&site, &["status"]).await;
    let today = today.split(" at ").nth(1).and_then(|rest| rest.get(..10)).expect("status shows the day").to_owned();
    let both = [sold.clone(), poor.clone()];
    assert_eq!(rrns(&["tx", "--terminal", "TERM0001", "--stan", "2"]).await, both[1..]);
    assert_eq!(rrns(&["tx", "--terminal", "TERM0001/MERCHANT0000001", "--day", &today]).await, both);
    assert_eq!(rrns(&["tx", "--terminal", "TERM0001/MERCHANT0000002", "--day", &today]).await, [] as [Value; 0]);
    assert_eq!(rrns(&["tx", "--terminal", "TERM0001", "--day", "1999-01-01"]).await, [] as [Value; 0]);
    assert_eq!(rrns(&["tx", "--card", "400000******7899", "--day", &today]).await, both[..1]);
    let one = json(&site, &["tx", poor.as_str().unwrap()]).await;
    assert_eq!((&one["legs"][0]["what"], &one["legs"][1]["what"]), (&"intent".into(), &"answered".into()));

    // A whole number goes by standard input alone.
    let output = run(&site, &["tx", "--card", PAN]).await;
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stderr).contains(PAN));
    assert_eq!(by_whole_card(&site, POOR_PAN).await, [poor]);
    let log = site.daemon.log();
    assert!(!log.contains(PAN) && !log.contains(POOR_PAN));

    let output = run(&site, &["tx", "999999999999"]).await;
    assert_eq!(output.status.code(), Some(1));
    holds(&String::from_utf8_lossy(&output.stderr), &["no movement of RRN 999999999999", "next: "]);

    // What a crash leaves is the journal, and the history in it.
    site.crash().await;
    let one = json(&site, &["tx", sold.as_str().unwrap()]).await;
    assert_eq!((&one["state"], &one["legs"][0]["what"]), (&"unwound".into(), &"intent".into()));
}

/// The RRNs of a card whose number is typed.
pub(crate) async fn by_whole_card(site: &Site, pan: &str) -> Vec<Value> {
    let mut command = tokio::process::Command::new(SWITCHD);
    command.args(["tx", "--json", "--card", "-", "--config"]).arg(site.config());
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("the command starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin.write_all(format!("{pan}\n").as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = within("switchd tx to end", child.wait_with_output()).await.expect("it ends");
    let found: Value = serde_json::from_slice(&output.stdout).expect("--json prints JSON");
    found["found"].as_array().expect("a list").iter().map(|tx| tx["rrn"].clone()).collect()
}

/// An answer with another time (DE7) than the request's answers nothing (T4): the request times out, and a person finds it.
#[tokio::test]
async fn why_shows_the_answer_that_matched_nothing_and_what_differed() {
    let mut host = Host::start().await;
    let site = Site::with_hosts(Options::impatient(), &[Some(&host)]).await;
    let mut line = site.line(1).await;
    line.send(&sale(1, 1, PAN, 1250)).await;
    let asked = host.next().await;
    let mut wrong = answer_to(&asked.message, "00");
    wrong.set(7, b"0101000000");
    host.send(asked.line, &wrong);
    let mut of_another = answer_to(&asked.message, "05");
    for (de, content) in [(11, &b"000777"[..]), (37, b"000000000777"), (2, b"4999991234560000")] {
        of_another.set(de, content);
    }
    host.send(asked.line, &of_another);
    assert_eq!(code(&line.receive().await.expect("68 comes")), "68");
    let rrn = field(&asked.message, 37);

    let why = json(&site, &["why", rrn]).await;
    let candidates = why["candidates"].as_array().expect("a list");
    assert_eq!(candidates.len(), 1, "what names another request is no candidate: {why}");
    let differing: Vec<&Value> =
        candidates[0]["parts"].as_array().expect("a list").iter().filter(|part| part["same"] == false).collect();
    assert_eq!(differing.len(), 1, "{why}");
    assert_eq!((&differing[0]["part"], &differing[0]["came"]), (&"DE7 time".into(), &"0101000000".into()));
    assert_eq!(candidates[0]["code"], "00");
    let text = said(&site, &["why", field(&asked.message, 11)]).await;
    holds(
        &text,
        &["It is being undone, as the issuer gave no usable answer in time (T1)", "differs in DE7 time.", "DIFFERS"],
    );
    holds(&said(&site, &["why", rrn, "--lang", "zh"]).await, &["差异：DE7 time"]);
    let output = run(&site, &["why", "999999"]).await;
    assert_eq!(output.status.code(), Some(1));
    holds(&String::from_utf8_lossy(&output.stderr), &["no movement of this RRN or STAN", "next: "]);
}

#[tokio::test]
async fn a_link_that_is_wished_down_stays_down_until_it_is_wished_up() {
    let mut site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&sale(1, 1, PAN, 1250)).await), "00");
    let link = async |wanted: (&str, u64)| {
        until(&format!("the link is {wanted:?}"), async || {
            let link = json(&site, &["status"]).await["links"][0].clone();
            (link["wish"] == wanted.0 && link["ready"] == wanted.1).then_some(())
        })
        .await;
    };
    holds(&said(&site, &["link", "line 1", "drain", "--who", "ann", "--why", "ticket 8"]).await, &["wished drained"]);
    link(("drained", 1)).await;
    // Another terminal's: the same one's would confirm its sale (C1), if it came late enough.
    assert_eq!(code(&site.line(2).await.ask(&sale(2, 2, PAN, 700)).await), "91");
    assert_eq!(code(&line.ask(&reversal_of(&sale(1, 1, PAN, 1250), 3)).await), "00", "promises go on");
    site.nothing_in_doubt().await;
    assert!(!site.daemon.is_ready().await, "it takes no requests");
    holds(&said(&site, &["status"]).await, &["NOT READY", "wishes every ready link down"]);

    assert_eq!(json(&site, &["link", "1.1", "sign-off"]).await["wish"], "signed-off");
    link(("signed-off", 0)).await;
    assert_eq!(code(&line.ask(&sale(1, 4, PAN, 700)).await), "91");
    said(&site, &["link", "1.1", "sign-on"]).await;
    link(("up", 1)).await;
    assert_eq!(code(&line.ask(&sale(1, 5, PAN, 700)).await), "00");
    let output = run(&site, &["link", "no such line", "up"]).await;
    assert_eq!(output.status.code(), Some(1));
    holds(&String::from_utf8_lossy(&output.stderr), &["no link has this name", "next: "]);
    let output = run(&site, &["link", "line 1", "up", "--why", &format!("card {PAN}")]).await;
    assert_eq!(output.status.code(), Some(2), "it would stand in the log");
    site.daemon.stop().await;
    let log = site.daemon.log();
    let uid = format!("uid={}", rustix::process::getuid().as_raw());
    let orders: Vec<_> =
        log.lines().filter(|line| line.contains("audit") && line.contains("an operator orders a link")).collect();
    assert_eq!(orders.len(), 3, "{orders:?}");
    holds(orders[0], &["link=1.1", "order=Drain", &uid, "who=\"ann\"", "why=\"ticket 8\""]);
    holds(orders[1], &["order=SignOff", &uid, "who=\"-\""]);
}

/// Sells until it is told to stop, and says when the first has sold: three of four are approved.
async fn sell_until(site: &Site, begun: &Notify, over: &Notify) -> u32 {
    let mut line = site.line(1).await;
    let mut sold = 0;
    loop {
        sold += 1;
        let (pan, expected) = if sold % 4 == 0 { (POOR_PAN, "51") } else { (PAN, "00") };
        assert_eq!(code(&line.ask(&sale(1, sold, pan, 1_000 + u64::from(sold))).await), expected);
        begun.notify_one();
        if tokio::time::timeout(Duration::from_millis(20), over.notified()).await.is_ok() {
            return sold;
        }
    }
}

#[tokio::test]
async fn watch_shows_what_happened_between_two_looks() {
    let site = Site::open(Options::default()).await;
    let (begun, over) = (Notify::new(), Notify::new());
    // Both looks come while it sells.
    let look = async {
        begun.notified().await;
        let since = Instant::now();
        let frame = json(&site, &["watch", "--once"]).await;
        let took = since.elapsed();
        over.notify_one();
        (frame, took)
    };
    let ((frame, took), sold) = tokio::join!(look, sell_until(&site, &begun, &over));
    let rate = frame["rate"].as_f64().expect("a number");
    assert!(rate >= 1.0 && rate <= f64::from(sold), "{sold} were sold in {took:?} and the first before: {frame}");
    let approved = frame["approved"].as_f64().expect("some were answered");
    assert!((0.4..=0.95).contains(&approved), "three of four: {frame}");
    let (p50, p99) = (frame["p50_ms"].as_u64().expect("a bound"), frame["p99_ms"].as_u64().expect("a bound"));
    assert!(p50 > 0 && p50 <= p99, "{frame}");
    assert!(frame["in_doubt"].as_u64().is_some_and(|count| count <= 1), "the sale of the moment at most: {frame}");
    assert_eq!((&frame["ready"], &frame["links"][0]["ready"]), (&true.into(), &1.into()));
    let text = said(&site, &["watch", "--once"]).await;
    holds(&text, &["ready  0.0/s", "p50 -", "approved -", "in doubt 0", "1 of 1 ready"]);
    assert!(!text.contains('\x1b'), "no escape sequence where there is no terminal");
}

/// Every command has its place on the page, and the page shows no whole card number.
#[tokio::test]
async fn every_command_is_on_the_page() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/COMMANDS.md");
    let page = std::fs::read_to_string(page).expect("docs/COMMANDS.md is there");
    let help = switchd(["--help"]).await;
    let help = String::from_utf8(help.stdout).expect("it is text");
    let commands =
        help.split("Commands:").nth(1).and_then(|rest| rest.split("Options:").next()).expect("a list of commands");
    let names = commands.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        assert!(page.contains(&format!("`switchd {name}")), "switchd {name} is not on the page");
    }
    assert!(!page.contains(PAN) && !page.contains(POOR_PAN));
}
