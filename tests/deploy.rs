//! What an operator is given: unit, alarms, dashboard, and docs/OPERATIONS.md, held against the code and a running daemon.
//!
//! Invariant: a metric, an exit code or an alarm that exists is on the page, and what the page, the rules or the dashboard
//! name exists, labels included. Where promtool or systemd-analyze is missing this is said, and is a failure where
//! `SWITCHD_REQUIRE_PROMTOOL` or `SWITCHD_REQUIRE_SYSTEMD` is set, as `.ci/run` does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::daemon::switchd;
use crate::support::site::{PAN, rule};
use crate::support::strace::can_trace_for;
use crate::support::{Options, Site, code, sale, skipped};
use counterparts::faults::{Fault, MtiClass};

const RULES: &str = "deploy/prometheus/switchd.rules.yml";
const RULES_TEST: &str = "deploy/prometheus/switchd.rules.test.yml";
const DASHBOARD: &str = "deploy/grafana/switchd.json";
const UNIT: &str = "deploy/systemd/switchd.service";
const PAGE: &str = "docs/OPERATIONS.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A metric as the page describes it.
#[derive(Debug, PartialEq)]
struct Described {
    kind: String,
    labels: BTreeSet<String>,
}

/// The page's table of metrics.
fn described() -> BTreeMap<String, Described> {
    let row = |line: &str| {
        let cells: Vec<_> = line.strip_prefix("| `switchd_")?.split('|').map(str::trim).collect();
        let [name, kind, labels, meaning, ""] = cells[..] else { panic!("not a row of five cells: {line}") };
        assert!(!meaning.is_empty(), "{line}");
        let labels = labels.split(',').map(|label| label.trim().to_owned()).filter(|label| !label.is_empty()).collect();
        Some((format!("switchd_{}", name.trim_end_matches('`')), Described { kind: kind.to_owned(), labels }))
    };
    let page = read(PAGE);
    let rows: Vec<_> = page.lines().filter_map(row).collect();
    let table: BTreeMap<_, _> = rows.iter().map(|(name, _)| name.clone()).zip(rows.iter().map(|(_, row)| row)).collect();
    assert_eq!(table.len(), rows.len(), "a metric has one row");
    rows.into_iter().collect()
}

/// Every `"switchd_…"` between quotes in the program's sources.
fn named_in_the_code() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut dirs = vec![root().join("crates")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("the sources are there") {
            let path = entry.expect("the sources are there").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && path.components().any(|part| part.as_os_str() == "src")
            {
                let text = fs::read_to_string(&path).expect("sources are text");
                names.extend(
                    words(&text)
                        .filter(|(before, _, after)| before.ends_with('"') && after.starts_with('"'))
                        .map(|(_, name, _)| name.to_owned()),
                );
            }
        }
    }
    names
}

/// Every word that begins with `switchd_`, with what stands before and after it.
fn words(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let of_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.match_indices("switchd_").filter(move |(at, _)| !text[..*at].ends_with(of_word)).map(move |(at, _)| {
        let end = text[at..].find(|c| !of_word(c)).map_or(text.len(), |length| at + length);
        (&text[..at], &text[at..end], &text[end..])
    })
}

#[test]
fn every_metric_of_the_code_is_on_the_operators_page_and_no_other() {
    let page: BTreeSet<_> = described().into_keys().collect();
    let code = named_in_the_code();
    assert!(code.len() > 30, "the sources were read: {code:?}");
    let missing: Vec<_> = code.difference(&page).collect();
    let invented: Vec<_> = page.difference(&code).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "{PAGE} lacks {missing:?}, and names {invented:?}, which nothing exports"
    );
}

/// A line of an exposition: the metric, without what a histogram adds to its name, and its labels without `le`.
fn series<'a>(line: &'a str, kinds: &BTreeMap<&str, &str>) -> (&'a str, BTreeSet<String>) {
    let (name, rest) = line.split_at(line.find(['{', ' ']).expect("a series has a value"));
    let base = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|end| name.strip_suffix(end).filter(|base| kinds.get(base) == Some(&"histogram")));
    let labels = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(labels, _)| labels);
    let keys = labels.split("\",").filter_map(|label| label.split_once('=').map(|(key, _)| key.to_owned()));
    (base.unwrap_or(name), keys.filter(|key| key != "le").collect())
}

#[tokio::test]
async fn what_a_running_daemon_exports_is_as_the_page_says() {
    let site = Site::open(Options::impatient()).await;
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&sale(1, 1, PAN, 100)).await), "00");
    site.on_requests(Fault::Silence(counterparts::faults::Side::AfterLedger));
    let silent = sale(1, 2, PAN, 100);
    assert_eq!(code(&line.ask(&silent).await), "68");
    site.issuer.set_faults(vec![rule(MtiClass::Reversal, Fault::Ignore)]);
    site.reaches(&silent, "awaiting_reversal_ack").await;
    let text = site.daemon.metrics().await;
    let kinds: BTreeMap<_, _> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let page = described();
    for (name, kind) in &kinds {
        assert_eq!(page.get(*name).map(|row| row.kind.as_str()), Some(*kind), "{name}");
    }
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, labels) = series(line, &kinds);
        assert_eq!(page.get(name).map(|row| &row.labels), Some(&labels), "{line}");
    }
    for seen in [
        "switchd_ready",
        "switchd_build_info",
        "switchd_in_doubt_movements",
        "switchd_obligations_recorded_total",
        "switchd_answer_seconds",
    ] {
        assert!(kinds.contains_key(seen), "{seen} was looked at");
    }
}

/// Whether a text of PromQL names only metrics of the page, with labels that they have.
fn names_what_exists(file: &str, text: &str) {
    let page = described();
    let of_prometheus = ["instance", "job", "le"];
    let mut seen = 0;
    for (_, name, after) in words(text) {
        seen += 1;
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            name.strip_suffix(end).filter(|base| page.get(*base).is_some_and(|row| row.kind == "histogram"))
        });
        let row = page.get(base.unwrap_or(name)).unwrap_or_else(|| panic!("{file}: {name} is no metric of {PAGE}"));
        assert!(base.is_some() || row.kind != "histogram", "{file}: {name} is a histogram: its _bucket, _sum or _count");
        let Some((selector, _)) = after.strip_prefix('{').and_then(|after| after.split_once('}')) else { continue };
        for matcher in selector.split(',').filter(|matcher| matcher.contains('=')) {
            let label = matcher.split(['=', '!']).next().expect("a split has a first part").trim();
            assert!(row.labels.contains(label) || of_prometheus.contains(&label), "{file}: {name} has no label {label:?}");
        }
    }
    assert!(seen > 20, "{file} was read");
}

#[test]
fn rules_their_tests_and_the_dashboard_name_metrics_and_labels_that_exist() {
    names_what_exists(RULES, &read(RULES));
    names_what_exists(RULES_TEST, &read(RULES_TEST));
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("the dashboard is JSON");
    let panels = dashboard["panels"].as_array().expect("it has panels");
    let mut all = String::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().expect("a panel has targets");
        let expressions: Vec<_> = targets.iter().filter_map(|target| target["expr"].as_str()).collect();
        assert!(!expressions.is_empty() && expressions.len() == targets.len(), "{}", panel["title"]);
        assert!(expressions.iter().all(|expression| expression.contains("switchd_")), "{}", panel["title"]);
        all.push_str(&expressions.join("\n"));
    }
    names_what_exists(DASHBOARD, &all);
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
}

/// The names after `- alert:`.
fn alerts() -> Vec<String> {
    let names: Vec<_> =
        read(RULES).lines().filter_map(|line| Some(line.trim().strip_prefix("- alert: ")?.to_owned())).collect();
    assert!(names.len() > 10, "the rules were read");
    names
}

#[test]
fn every_alarm_has_its_section_its_link_and_its_tests_and_no_section_is_left_over() {
    let (page, rules, tests) = (read(PAGE), read(RULES), read(RULES_TEST));
    let headings: Vec<_> =
        page.lines().filter_map(|line| line.strip_prefix("### Switchd")).map(|name| format!("Switchd{name}")).collect();
    assert_eq!(headings, alerts(), "{PAGE} has a section for each alarm of {RULES}, in its order");
    for alert in alerts() {
        let anchor = format!("runbook: docs/OPERATIONS.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&anchor), "{alert} has no {anchor:?}");
        let cases: Vec<_> = tests
            .split("promql_expr_test:")
            .skip(1)
            .filter(|case| case.contains(&format!("alertname=\"{alert}\"")))
            .collect();
        let silent = cases.iter().filter(|case| case.contains("exp_samples: []")).count();
        assert!(silent > 0 && silent < cases.len(), "{RULES_TEST} sees {alert} fire and be silent");
    }
}

/// The links within the page lead somewhere.
#[test]
fn links_within_the_page_lead_somewhere() {
    let page = read(PAGE);
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect::<String>()
    };
    let anchors: BTreeSet<_> =
        page.lines().filter(|line| line.starts_with("##")).map(|line| anchor(line.trim_start_matches(['#', ' ']))).collect();
    let links = page.split("](#").skip(1).map(|rest| rest.split(')').next().expect("a split has a first part"));
    let broken: Vec<_> = links.filter(|link| !anchors.contains(*link)).collect();
    assert_eq!(broken, Vec::<&str>::new());
}

#[tokio::test]
async fn every_exit_code_is_on_the_page_under_its_name() {
    let help = String::from_utf8(switchd(["--help"]).await.stdout).expect("help is text");
    let (_, table) = help.split_once("Exit codes:\n").expect("help shows them");
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse::<u8>().ok()?, words.next()?.to_owned()))
    };
    let shown: Vec<_> = table.lines().filter_map(row).collect();
    let page = read(PAGE);
    let cells = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        Some((cells.next()?.parse::<u8>().ok()?, cells.next()?.to_owned()))
    };
    let described: Vec<_> = page.lines().filter_map(cells).collect();
    assert_eq!(described, shown);
    assert!(shown.len() > 10, "the table was read");
}

/// The unit starts the daemon again after exactly the codes of which the page says so.
#[test]
fn the_unit_restarts_as_the_page_says() {
    let unit = read(UNIT);
    let prevented = unit.lines().find_map(|line| line.strip_prefix("RestartPreventExitStatus=")).expect("the unit says so");
    let prevented: BTreeSet<u8> = prevented.split(' ').map(|code| code.parse().expect("it lists codes")).collect();
    for line in read(PAGE).lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let Some(code) = cells.get(1).and_then(|cell| cell.parse::<u8>().ok()) else { continue };
        match cells[3] {
            "yes" => assert!(!prevented.contains(&code), "{line}"),
            "no" => assert!(prevented.contains(&code) || code == 0, "{line}"),
            other => assert_eq!(other, "–", "{line}"),
        }
    }
    assert!(unit.contains("\nRestart=on-failure\n"), "0 is not started again, everything else is");
}

/// What the page says of a reload: the unit sends SIGHUP, and which files it then reads are copies of the start.
#[test]
fn the_unit_reloads_as_the_page_says() {
    let (unit, config, page) = (read(UNIT), read("deploy/systemd/switchd.toml"), read(PAGE));
    assert!(unit.contains("\nExecReload=/bin/kill -HUP $MAINPID\n"));
    assert!(page.contains("## Loading files anew") && page.contains("`systemctl reload switchd` sends SIGHUP"));
    for copy in unit.lines().filter_map(|line| line.strip_prefix("LoadCredential=")?.split(':').next()) {
        assert!(config.contains(&format!("\"/run/credentials/switchd.service/{copy}\"")), "{copy} is a copy of the start");
    }
}

/// Runs a tool, or says that it is missing.
fn tool(test: &str, name: &str, args: &[&str], required: &str) -> Option<Output> {
    match Command::new(name).args(args).current_dir(root()).output() {
        Ok(output) => Some(output),
        Err(error) => {
            skipped(test, &format!("{name} does not start here ({error})"), required);
            None
        }
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn promtool_finds_the_rules_right_and_their_tests_pass() {
    for args in [["check", "rules", RULES], ["test", "rules", RULES_TEST]] {
        let Some(output) = tool("the alert rules", "promtool", &args, "SWITCHD_REQUIRE_PROMTOOL") else { return };
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn the_units_exposure_is_two_or_less() {
    let args = ["security", "--offline=true", "--threshold=20", UNIT];
    let Some(output) = tool("the unit's exposure", "systemd-analyze", &args, "SWITCHD_REQUIRE_SYSTEMD") else { return };
    assert!(output.status.success() && said(&output).contains("Overall exposure level"), "{}", said(&output));
}

/// The system calls of a set of systemd, with those of the sets in it.
fn calls_of(set: &str) -> Option<BTreeSet<String>> {
    let output = tool("the unit's system calls", "systemd-analyze", &["syscall-filter", set], "SWITCHD_REQUIRE_SYSTEMD")?;
    let text = String::from_utf8(output.stdout).expect("it prints text");
    let mut calls = BTreeSet::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#') && *line != set) {
        if line.starts_with('@') {
            calls.extend(calls_of(line)?);
        } else {
            calls.insert(line.to_owned());
        }
    }
    Some(calls)
}

/// A daemon that starts, serves, reverses, is asked and stops makes no system call that the unit refuses.
#[tokio::test]
async fn the_unit_refuses_no_system_call_that_the_daemon_makes() {
    let unit = read(UNIT);
    let filters: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix("SystemCallFilter=")).collect();
    assert_eq!(filters, ["@system-service", "~@privileged @resources"]);
    if !can_trace_for("the unit's system calls") {
        return;
    }
    let (Some(mut allowed), Some(privileged), Some(resources)) =
        (calls_of("@system-service"), calls_of("@privileged"), calls_of("@resources"))
    else {
        return;
    };
    allowed.retain(|call| !privileged.contains(call) && !resources.contains(call));
    assert!(allowed.len() > 200, "the sets were read");

    let mut site = Site::open(Options::impatient()).await;
    site.daemon.stop().await;
    let trace = site.dir().join("trace");
    let output = trace.to_str().expect("the path is text");
    site.spawn_again_under(&["strace", "-D", "-f", "-o", output].map(str::to_owned));
    site.daemon.ready().await;
    site.on_requests(Fault::Silence(counterparts::faults::Side::AfterLedger));
    let request = sale(1, 1, PAN, 100);
    assert_eq!(code(&site.line(1).await.ask(&request).await), "68");
    site.reaches(&request, "unwound").await;
    site.daemon.metrics().await;
    site.daemon.stop().await;
    let text = fs::read_to_string(&trace).expect("the tracer wrote it");
    // `pid name(…`; continuations and signals begin otherwise. Calls of before the program's own are the service manager's.
    let call = |line: &str| {
        let (name, _) = line.split_once(' ')?.1.trim_start().split_once('(')?;
        name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_').then(|| name.to_owned())
    };
    let made: BTreeSet<_> = text.lines().filter_map(call).collect();
    assert!(made.contains("fdatasync") && made.contains("accept4"), "the trace was read: {made:?}");
    let refused: Vec<_> = made.difference(&allowed).collect();
    assert_eq!(refused, Vec::<&String>::new());
}

/// `deploy/systemd/switchd.toml` is a configuration whose only fault is that its files are not here.
#[tokio::test]
async fn the_units_configuration_lacks_nothing_but_its_files() {
    let output =
        switchd(["serve".as_ref(), "--config".as_ref(), root().join("deploy/systemd/switchd.toml").as_os_str()]).await;
    let said = said(&output);
    assert_eq!(output.status.code(), Some(10), "{said}");
    let other: Vec<_> =
        said.lines().filter(|line| line.contains("switchd.toml") && !line.contains("No such file")).collect();
    assert!(other.is_empty(), "{said}");
    assert!(said.contains("/etc/switchd/terminals.toml"), "{said}");
}

/// Each credential that the configuration reads is one that the unit loads, and each directory one that the unit makes.
#[test]
fn the_units_configuration_has_the_units_paths() {
    let (unit, config) = (read(UNIT), read("deploy/systemd/switchd.toml"));
    let loaded: BTreeSet<_> =
        unit.lines().filter_map(|line| line.strip_prefix("LoadCredential=")?.split(':').next()).collect();
    let used: BTreeSet<_> =
        config.split("/run/credentials/switchd.service/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(loaded, used);
    for (made, path) in [("StateDirectory=switchd", "\"/var/lib/switchd/"), ("RuntimeDirectory=switchd", "\"/run/switchd/")]
    {
        assert!(unit.contains(made) && config.contains(path), "{made} for {path}");
    }
}

/// The bill of materials has what the production build needs, with a checksum for all that is not ours.
#[test]
fn the_bill_of_materials_is_what_the_production_build_is_made_of() {
    let run = |args: &[&str]| {
        let output = Command::new(env!("CARGO")).args(args).current_dir(root()).output().expect("cargo starts");
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).expect("cargo prints text")
    };
    let bill: Value = serde_json::from_str(&run(&["run", "--quiet", "--locked", "-p", "switchd", "--example", "sbom"]))
        .expect("it is JSON");
    assert_eq!((bill["bomFormat"].as_str(), bill["specVersion"].as_str()), (Some("CycloneDX"), Some("1.5")));
    let components = bill["components"].as_array().expect("it lists components");
    let names: BTreeSet<_> = components.iter().filter_map(|component| component["name"].as_str()).collect();
    let tree = run(&[
        "tree",
        "-p",
        "switchd",
        "-e",
        "normal,build",
        "--no-default-features",
        "--prefix",
        "none",
        "--locked",
        "--offline",
    ]);
    let built: BTreeSet<_> =
        tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| !["", "switchd"].contains(name)).collect();
    assert_eq!(names, built);
    assert!(!names.contains("counterparts") && names.contains("rustls"));
    for component in components {
        let ours =
            ["iso8583", "switch", "journal", "partition", "index"].contains(&component["name"].as_str().unwrap_or_default());
        assert!(ours || component["hashes"][0]["content"].as_str().is_some_and(|hash| hash.len() == 64), "{component}");
        assert!(component["licenses"][0]["expression"].is_string(), "{component}");
    }
}

#[tokio::test]
async fn man_pages_and_completions_are_made_by_a_command() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().to_str().expect("the path is text");
    for what in ["man", "completions"] {
        let output = switchd(["generate", what, path]).await;
        assert!(output.status.success(), "{}", said(&output));
    }
    let output = switchd(["generate", "completions", path, "--json"]).await;
    let names: Vec<PathBuf> = serde_json::from_slice(&output.stdout).expect("--json prints JSON");
    assert!(names.contains(&dir.path().join("switchd.bash")), "{names:?}");
    let text = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(text("switchd.1").contains("switchd\\-doubt(1)"), "{}", text("switchd.1"));
    assert!(text("switchd-serve.1").contains(".TH"));
    for name in ["switchd.bash", "switchd.fish", "_switchd"] {
        assert!(text(name).contains("doubt"), "{name}");
    }
}

/// `switchd --version` names the version and the commit, and `/metrics` does too.
#[tokio::test]
async fn the_version_has_the_commit() {
    let output = switchd(["--version"]).await;
    let text = said(&output);
    let commit = text
        .trim()
        .strip_prefix(concat!("switchd ", env!("CARGO_PKG_VERSION"), " ("))
        .and_then(|rest| rest.strip_suffix(')'));
    let commit = commit.unwrap_or_else(|| panic!("{text}"));
    let is_commit = commit.len() >= 7 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(is_commit || commit == "commit unknown" || std::env::var_os("SWITCHD_COMMIT").is_some(), "{text}");
}
