//! The result as a table for people, and as JSON for programs.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use counterparts::reconcile::Total;
use serde_json::json;

use super::judge::Verdict;
use super::scenes::{Row, units};
use super::stage::{Stage, logs};

/// The table, the three ledgers, and what is in doubt.
pub(super) fn text(rows: &[Row], verdict: &Verdict, took: Duration) -> String {
    let head = ["what happened", "the terminal saw", "the issuer's ledger", "how it ended", "took"].map(str::to_owned);
    let cells = |row: &Row| {
        let took = format!("{}.{} s", row.took_ms / 1000, row.took_ms % 1000 / 100);
        [row.what.to_owned(), row.terminal_saw.clone(), row.issuer_says.clone(), row.ended.clone(), took]
    };
    let lines: Vec<[String; 5]> = std::iter::once(head).chain(rows.iter().map(cells)).collect();
    let mut text = String::new();
    for line in &lines {
        for (column, cell) in line.iter().enumerate() {
            let width = lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
            text += &format!("{cell:<width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    let seconds = took.as_secs_f32();
    text += &format!("\n{:<10} {:>9} {:>9} {:>12}   after {seconds:.1} s\n", "ledger", "movements", "standing", "net");
    let ledgers = &verdict.ledgers;
    for (name, total) in [("issuer", ledgers.issuer), ("switch", ledgers.switch), ("terminals", ledgers.terminals)] {
        let Total { movements, standing, net } = total;
        let net = u64::try_from(net).map_or_else(|_| net.to_string(), units);
        text += &format!("{name:<10} {movements:>9} {standing:>9} {net:>12}\n");
    }
    let wrong: Vec<String> = complaints(rows, verdict);
    if wrong.is_empty() {
        text += "all three agree on every key\n";
    }
    for sentence in wrong {
        text += &format!("! {sentence}\n");
    }
    text += &format!(
        "unconfirmed: {} (handed over; the terminal's next sale confirms it, or the end of the day)\n",
        verdict.unconfirmed
    );
    text += &format!("in doubt: {}\n", verdict.in_doubt);
    text
}

/// Everything that was not as it had to be.
pub(super) fn complaints(rows: &[Row], verdict: &Verdict) -> Vec<String> {
    let of_rows = rows.iter().flat_map(|row| row.wrong.iter().map(|sentence| format!("{}: {sentence}", row.what)));
    of_rows.chain(verdict.wrong.iter().cloned()).collect()
}

/// The same for a program; with where everything is, when it stays.
pub(super) fn json(rows: &[Row], verdict: &Verdict, took: Duration, stays: Option<&Stage>) -> Result<String> {
    let wrong = complaints(rows, verdict);
    let took_ms = u64::try_from(took.as_millis())?;
    let mut all = json!({
        "agrees": wrong.is_empty(), "in_doubt": verdict.in_doubt, "unconfirmed": verdict.unconfirmed,
        "took_ms": took_ms, "scenes": rows, "ledgers": verdict.ledgers, "wrong": wrong,
    });
    if let Some(stage) = stays {
        let (daemon, issuer) = (stage.addresses()?, stage.issuer_addresses());
        all["stays"] = json!({
            "dir": stage.dir(), "config": stage.config(), "admin": stage.dir().join("admin.sock"),
            "terminals": daemon.terminals, "metrics": daemon.metrics,
            "issuer": issuer.issuer, "issuer_http": issuer.control, "daemon_pid": stage.ids()?.0,
        });
    }
    Ok(serde_json::to_string_pretty(&all)? + "\n")
}

/// Where everything is, and what to try, while it stays.
pub(super) fn how_to_play(stage: &Stage, program: &Path) -> Result<String> {
    let (daemon, issuer) = (stage.addresses()?, stage.issuer_addresses());
    let (dir, config, switchd) = (stage.dir().display(), stage.config(), program.display());
    let (config, control, metrics) = (config.display(), issuer.control, daemon.metrics);
    let [daemon_log, issuer_log] = logs(stage.dir()).map(|log| log.display().to_string());
    Ok(format!(
        "
Everything stays until Ctrl-C.
  terminals  {terminals} (TLS, certificates in {dir}/tls)
  metrics    http://{metrics}/metrics
  issuer     http://{control}/ledger  /movements  /faults
  admin      {dir}/admin.sock
  config     {config}
  logs       {daemon_log}
             {issuer_log}

A sale, and what the switch and the issuer have of it:
  {switchd} terminal --dir {dir} sale --card 4000001234567899 --amount 1000
  {switchd} tx --all --config {config}
  curl -s http://{control}/movements
The issuer falls silent for that card; the sale ends with 68 and is unwound:
  curl -s -X PUT http://{control}/faults -H 'content-type: application/json' \\
       -d '[{{\"match\":{{\"card_suffix\":\"7899\",\"mti_class\":\"request\"}},\"do\":{{\"silence\":\"after_ledger\"}}}}]'
  {switchd} terminal --dir {dir} sale --card 4000001234567899 --amount 1000
  {switchd} doubt --config {config}
The terminal clears what it owes, the issuer behaves again:
  {switchd} terminal --dir {dir} clear
  curl -s -X DELETE http://{control}/faults
Kill the daemon; it is started again and takes up what was open:
  kill -9 {daemon_id}
",
        terminals = daemon.terminals,
        daemon_id = stage.ids()?.0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use counterparts::reconcile::Reconciliation;

    fn verdict(wrong: &[&str]) -> Verdict {
        let wrong = wrong.iter().map(ToString::to_string).collect();
        Verdict { in_doubt: 0, unconfirmed: 1, ledgers: Reconciliation::default(), wrong }
    }

    fn row(wrong: &[&str]) -> Row {
        Row {
            what: "approval",
            terminal: "TERM0001".to_owned(),
            rrn: None,
            terminal_saw: "00".to_owned(),
            issuer_says: "12.50 stands".to_owned(),
            ended: "confirmed".to_owned(),
            took_ms: 640,
            wrong: wrong.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn the_last_line_is_what_is_in_doubt() {
        let text = text(&[row(&[])], &verdict(&[]), Duration::from_secs(7));
        assert!(text.contains("approval       00                12.50 stands         confirmed     0.6 s\n"), "{text}");
        assert!(text.contains("all three agree"), "{text}");
        assert!(text.ends_with("\nin doubt: 0\n"), "{text}");
    }

    #[test]
    fn whatever_was_wrong_is_said_and_nothing_agrees_then() {
        for (rows, verdict) in [([row(&["saw 05"])], verdict(&[])), ([row(&[])], verdict(&["saw 05"]))] {
            let text = text(&rows, &verdict, Duration::from_secs(7));
            assert!(text.contains("saw 05") && !text.contains("agree"), "{text}");
            let json = json(&rows, &verdict, Duration::from_secs(7), None).unwrap();
            assert!(json.contains("\"agrees\": false"), "{json}");
        }
    }
}
