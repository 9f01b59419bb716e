//! Each class of error with the sentence that it gets, and the template against the keys that are read.

use super::*;
use std::collections::BTreeSet;

/// The template as if written to a directory that holds a registry.
struct Fixture {
    dir: PathBuf,
}

impl Fixture {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("switchd-config-{}-{:p}", std::process::id(), &TEMPLATE));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("terminals.toml"), REGISTRY_TEMPLATE).unwrap();
        Fixture { dir }
    }

    fn read(&self, text: &str) -> Result<Settings, Problems> {
        from_text(&self.dir.join("switchd.toml"), text, read_file)
    }
}

/// The template with one text replaced.
fn with(old: &str, new: &str) -> String {
    assert!(TEMPLATE.contains(old), "{old:?} is in the template");
    TEMPLATE.replacen(old, new, 1)
}

/// The template, changed, has exactly these problems.
#[track_caller]
fn check(old: &str, new: &str, sentences: &[&str]) {
    let problems = Fixture::new().read(&with(old, new)).unwrap_err().0;
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), sentences.len(), "{shown:#?}");
    for sentence in sentences {
        assert!(shown.iter().any(|problem| problem.contains(sentence)), "{sentence}: {shown:#?}");
    }
}

#[test]
fn the_template_is_a_good_configuration() {
    let settings = Fixture::new().read(TEMPLATE).unwrap();
    assert_eq!(settings.core.links.len(), 1);
    assert_eq!(settings.groups[&GroupNo(1)].terminal_response_timeout_ms, 30_000);
    assert!(settings.admin.ends_with("admin.sock") && settings.admin.is_absolute(), "relative to the file");
}

/// Keys whose absence means something that no value says.
const WITHOUT_DEFAULT: &[&str] = &["confirm_within = ", "client_crl = ", "keep_days = "];

/// The template with every commented key in force but these.
fn uncommented(but: &[&str]) -> String {
    let key = |line: &str| {
        let rest = line.strip_prefix('#').filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
        rest.filter(|rest| !but.iter().any(|key| rest.starts_with(key))).map(str::to_owned)
    };
    TEMPLATE.lines().map(|line| key(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
fn the_template_shows_every_key_with_its_default() {
    let fixture = Fixture::new();
    let (plain, full) = (fixture.read(TEMPLATE).unwrap(), fixture.read(&uncommented(WITHOUT_DEFAULT)).unwrap());
    assert_eq!(format!("{plain:?}"), format!("{full:?}"), "a commented line is the default");

    let text = uncommented(&[]);
    fixture.read(&text).unwrap();
    let source = Source::new(Path::new("switchd.toml"), &text);
    let table = source.parse();
    let root = Section::root(&source, &table);
    sections::read(&root);
    root.finish();
    let mut shown = BTreeSet::new();
    let mut section = String::new();
    for line in text.lines() {
        if line.starts_with('[') {
            section = line.to_owned();
            shown.insert((String::new(), line.trim_matches(['[', ']']).to_owned()));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            shown.insert((section.clone(), key.to_owned()));
        }
    }
    let asked: BTreeSet<_> = source.asked().into_iter().map(|(section, key)| (section, key.to_owned())).collect();
    assert_eq!(shown, asked);
}

#[test]
fn unknown_keys_get_the_nearest_known_one() {
    check("[metrics]\n", "[metrics]\nadress = \"x\"\n", &["[metrics] unknown key \"adress\"; did you mean \"address\"?"]);
    check("#sign_on = true", "sing_on = true", &["[[link]] unknown key \"sing_on\"; did you mean \"sign_on\"?"]);
    check("[log]\n", "[logs]\n", &["unknown key \"logs\"; did you mean \"log\"?"]);
    check("[log]\n", "[log]\nxyzzy = 1\n", &["[log] unknown key \"xyzzy\""]);
}

#[test]
fn types_are_checked() {
    check(
        "number = 1\nname = \"counter",
        "number = \"1\"\nname = \"counter",
        &["[[group]] number is of type string, needs to be a whole number"],
    );
    check("name = \"first bank\"", "name = 1", &["[[issuer]] name is of type integer, needs to be text in quotes"]);
    check("name = \"first bank\"", "name = \"a\\u001b[2J\"", &["[[issuer]] name holds a control character"]);
    check("#sign_on = true", "sign_on = \"yes\"", &["[[link]] sign_on is of type string, needs to be true or false"]);
    check("#response_timeout = \"15s\"", "response_timeout = 15", &["[[link]] response_timeout needs to be a duration"]);
    check("#frame_max = \"8KiB\"", "frame_max = \"8KB\"", &["[limits] frame_max needs to be a size"]);
    check(
        "\"127.0.0.1:9583\"",
        "\"localhost\"",
        &["[metrics] address is \"localhost\", needs to be an IP address and port"],
    );
    check(
        "#format = \"text\"",
        "format = \"jsn\"",
        &["format is \"jsn\", needs to be one of text, json; did you mean \"json\"?"],
    );
    check("\"127.0.0.1:8590\"", "\"bank\"", &["[[link]] address needs to be a host and a port"]);
    check("#codes_moved = []", "codes_moved = [\"0\"]", &["[[link]] codes_moved holds \"0\""]);
    check("#reversal_retry = [\"1s\"", "reversal_retry = [\"1\"", &["reversal_retry holds \"1\""]);
}

#[test]
fn ranges_are_checked() {
    check("#connections = 1", "connections = 0", &["[[link]] connections is out of range, needs to be 1 to 64"]);
    check("#tombstones_max = 1000", "tombstones_max = 0", &["tombstones_max is out of range, needs to be 1 to 1000000"]);
    check("#needs_operator_after = \"1d\"", "needs_operator_after = \"1s\"", &["needs_operator_after is out of range"]);
    check("#rekey_window = \"3min\"", "rekey_window = \"2d\"", &["rekey_window is out of range, needs to be 0ms to 1d"]);
    check("#confirm_within = \"1min\"", "confirm_within = \"1ms\"", &["confirm_within is out of range, needs to be 10ms"]);
    check("#frame_max = \"8KiB\"", "frame_max = \"64KiB\"", &["frame_max is out of range, needs to be 256B to 65535B"]);
    check("#echo_after = \"30s\"", "echo_after = \"2h\"", &["echo_after is out of range, needs to be 0ms to 1h"]);
}

#[test]
fn policies_are_words() {
    check(
        "#at_deadline = \"confirm\"",
        "at_deadline = \"confrm\"",
        &["[[group]] at_deadline is \"confrm\", needs to be one of confirm, operator, reverse; did you mean \"confirm\"?"],
    );
    check(
        "#on_repeat = \"replay\"",
        "on_repeat = \"again\"",
        &["on_repeat is \"again\", needs to be one of replay, unwind"],
    );
    check("#on_rekey = \"allow\"", "on_rekey = \"yes\"", &["on_rekey is \"yes\", needs to be one of allow, refuse"]);
    check("#partial_refused_as = \"51\"", "partial_refused_as = \"05\"", &["needs to be one of 51, 61"]);
}

/// The template, changed, is a good configuration; `show` says what the core is told.
#[track_caller]
fn check_core(old: &str, new: &str, show: impl Fn(&switch::Group, &switch::Issuer, &switch::Link) -> bool) {
    let core = Fixture::new().read(&with(old, new)).unwrap().core;
    let (group, issuer) = (&core.groups[&GroupNo(1)], &core.issuers[&switch::IssuerNo(1)]);
    assert!(show(group, issuer, core.links.values().next().unwrap()), "{new}");
}

#[test]
fn rules_reach_the_core() {
    use switch::{AtDeadline, OnRekey, OnRepeat};
    check_core("#at_deadline = \"confirm\"", "at_deadline = \"operator\"", |g, _, _| g.at_deadline == AtDeadline::Operator);
    check_core("#at_deadline = \"confirm\"", "at_deadline = \"reverse\"", |g, _, _| g.at_deadline == AtDeadline::Reverse);
    check_core("#on_repeat = \"replay\"", "on_repeat = \"unwind\"", |g, _, _| g.on_repeat == OnRepeat::Unwind);
    check_core("#on_rekey = \"allow\"", "on_rekey = \"refuse\"", |g, _, _| g.on_rekey == OnRekey::Refuse);
    check_core("#rekey_window = \"3min\"", "rekey_window = \"0s\"", |g, _, _| g.rekey_window_ms == 0);
    check_core("#confirm_within = \"1min\"", "confirm_within = \"9s\"", |g, _, _| g.confirm_within_ms == Some(9_000));
    check_core("#confirm_within = \"1min\"", "", |g, _, _| g.confirm_within_ms.is_none());
    check_core("#takes_partial_approvals = false", "takes_partial_approvals = true", |g, _, _| g.takes_partial_approvals);
    check_core("#partial_refused_as = \"51\"", "partial_refused_as = \"61\"", |g, _, _| {
        g.partial_refused_as.as_bytes() == b"61"
    });
    check_core("#tombstones_max = 1000", "tombstones_max = 7", |g, _, _| g.tombstones_max == 7);
    check_core("#needs_operator_after = \"1d\"", "needs_operator_after = \"1h\"", |_, i, _| {
        i.needs_operator_after_ms == 3_600_000
    });
    check_core("#addresses_one_approval = false", "addresses_one_approval = true", |_, _, l| l.addresses_one_approval);
}

#[test]
fn what_is_missing_is_named() {
    check("terminal_response_timeout = \"30s\"", "", &["[[group]] terminal_response_timeout is missing"]);
    check("dir = \"journal\"", "", &["[journal] dir is missing"]);
    check("registry = \"terminals.toml\"", "registry = \"other.toml\"", &["other.toml: cannot be read"]);
    check("ca = \"tls/ca.pem\"\n# The switch's own", "# The switch's own", &["tls is on and needs server_name and ca"]);
    check("key = \"tls/issuer-client.key\"", "", &["certificate and key go together"]);
}

#[test]
fn relations_are_checked() {
    check(
        "#response_timeout = \"15s\"",
        "response_timeout = \"30s\"",
        &[
            "response_timeout (30s) must be shorter than terminal_response_timeout (30s) of group 1 (T1)",
            "drain_timeout (30s) must be longer than response_timeout (30s)",
        ],
    );
    check("#tcp_user_timeout = \"20s\"", "tcp_user_timeout = \"30s\"", &["shorter than original_horizon (30s) (R3)"]);
    check("#idle_timeout = \"5min\"", "idle_timeout = \"30s\"", &["idle_timeout (30s) must be longer"]);
    check(
        "#confirm_within = \"1min\"",
        "confirm_within = \"1d\"",
        &["confirm_within (1d) must be shorter than confirm_deadline (1d) (C2, C3)"],
    );
    check(
        "#segment_size = \"64MiB\"",
        "segment_size = \"1MiB\"",
        &["[journal] segment_size (1MiB) must be at least 512B longer than group_size_max (1MiB)"],
    );
    check("#segment_size = \"64MiB\"", "segment_size = \"9000000B\"", &["segment_size must be a multiple of 512B"]);
    check("#group_size_max = \"1MiB\"", "group_size_max = \"65537B\"", &["group_size_max must be a multiple of 512B"]);
    check("#backoff_min = \"500ms\"", "backoff_min = \"31s\"", &["backoff_min must not be longer"]);
    check("prefix = \"\"\nissuer = 1", "prefix = \"\"\nissuer = 2", &["leads to issuer 2"]);
    check("#tls = true", "tls = false", &["tls is false, but"]);
    check(
        "[[route]]",
        "[[route]]\nprefix = \"4\"\nissuer = 1\n[[route]]\nprefix = \"4\"\nissuer = 1\n[[route]]",
        &["\"4\" is used by another [[route]]"],
    );
    check(
        "#codes_moved = []\n#codes_not_moved = []",
        "codes_moved = [\"05\"]\ncodes_not_moved = [\"05\"]",
        &["codes_not_moved holds 05, which codes_moved holds too"],
    );
}

#[test]
fn all_errors_come_at_once_in_the_order_of_the_file() {
    let text = with("number = 1\n#", "number = 99\n#")
        .replacen("address = \"127.0.0.1:8583\"", "address = 8583", 1)
        .replacen("#level = \"info\"", "levle = \"info\"", 1)
        .replacen("#sign_on = true", "sign_on = 1", 1);
    let problems = Fixture::new().read(&text).unwrap_err().0;
    let lines: Vec<usize> = problems.iter().filter_map(|problem| problem.line).collect();
    assert_eq!(lines.len(), 4, "{problems:?}");
    assert!(lines.is_sorted());
    assert!(problems[0].text.contains("number is out of range, needs to be 0 to 35"), "{}", problems[0]);
}

#[test]
fn what_is_not_toml_is_named_with_its_line() {
    let problems = Fixture::new().read("[journal\ndir = 1").unwrap_err().0;
    assert_eq!(problems[0].line, Some(1), "{problems:?}");
}

#[test]
fn settings_that_lose_money_are_refused() {
    for key in ["codes_not_moved", "codes_unknown"] {
        for code in ["00", "10", "11"] {
            let sentence = format!("[[link]] {key} holds {code}, an approval");
            check("#codes_moved = []", &format!("{key} = [\"{code}\"]"), &[&sentence]);
        }
    }
    for code in ["00", "94", "30"] {
        let sentence = format!("[[link]] codes_no_original holds {code}, which R2 or R4 reads differently");
        check("#codes_moved = []", &format!("codes_no_original = [\"{code}\", \"25\"]"), &[&sentence]);
    }
    check(
        "#crossing_margin = \"2s\"",
        "crossing_margin = \"10min\"",
        &["[[group]] crossing_margin (10min) must be shorter than repeat_window (10min)"],
    );
    check(
        "#at_deadline = \"confirm\"",
        "at_deadline = \"reverse\"\nconfirm_within = \"9s\"",
        &["[[group]] at_deadline is \"reverse\" beside confirm_within"],
    );
    check(
        "#repeat_window = \"10min\"",
        "repeat_window = \"6d\"",
        &["[partition] reversal_lookback (5d) must not be shorter than repeat_window (6d) of group 1"],
    );
    // Without serial C1 never speaks: no contradiction.
    assert!(Fixture::new().read(&with("#serial = true", "serial = false\nreverses_first = true")).is_ok());
}
