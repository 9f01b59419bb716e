//! Every section of the configuration: which keys it has, their kinds, ranges and defaults.
//!
//! The defaults of the money rules are those of `switch::config`. Relations between settings are judged in `check`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use index::Kind;
use iso8583::{Dialect, ResponseCode};
use switch::{AtDeadline, CodeTable, GroupNo, IssuerNo, LinkNo, Money, OnRekey, OnRepeat};
use tracing::level_filters::LevelFilter;

use super::limits::{Limits, as_usize};
use super::read::Section;
use super::registry::Registry;
use super::units::{show_duration, show_size};
use super::{GroupSettings, JournalSettings, LinkSettings, LinkTls, Listen, Log, Metrics, Settings, Tcp};

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What the journal writes in.
const SECTOR: u64 = 512;

/// Reads every section. The second value is the registry's file.
pub(super) fn read(root: &Section<'_, '_>) -> (Settings, PathBuf) {
    let journal = journal(root);
    let index = index(root, &journal.dir);
    let (listen, registry_file) = listen(root);
    let mut core = switch::Config::default();
    partition(root, &mut core);
    let groups = groups(root, &mut core);
    lookback(root, &core);
    issuers(root, &mut core);
    let links = links(root, &mut core);
    routes(root, &mut core);
    let settings = Settings {
        journal,
        index,
        listen,
        metrics: one(root, "metrics", metrics),
        admin: one(root, "admin", |s| s.need_path("socket")),
        log: one(root, "log", log),
        limits: one(root, "limits", Limits::read),
        groups,
        links,
        core,
        registry: Registry::default(),
    };
    (settings, registry_file)
}

/// Reads one section and judges its unknown keys.
fn one<T>(root: &Section<'_, '_>, key: &'static str, read: impl FnOnce(&Section<'_, '_>) -> T) -> T {
    let section = root.section(key);
    let value = read(&section);
    section.finish();
    value
}

fn journal(root: &Section<'_, '_>) -> JournalSettings {
    one(root, "journal", |s| {
        let dir = s.need_path("dir");
        let witness = s.path("witness").unwrap_or_else(|| beside(&dir, ".witness"));
        if !dir.as_os_str().is_empty() && witness.starts_with(&dir) {
            s.wrong_here("witness", "lies in the journal's directory, and would be copied and restored with it");
        }
        let keep_ms = s.has("keep_days").then(|| u64::from(s.number("keep_days", 1_u32, 1..=36_500)) * DAY);
        JournalSettings { keys: s.need_path("keys"), options: journal_options(s), keep_ms, dir, witness }
    })
}

/// `journal.witness` beside the directory `journal`, for one.
fn beside(dir: &Path, with: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(with);
    dir.with_file_name(name)
}

/// The engines that this build has.
const ENGINES: &[(&str, Kind)] = &[
    ("fjall", Kind::Fjall),
    #[cfg(feature = "index-sled")]
    ("sled", Kind::Sled),
];

/// Beside the journal unless it is said where.
fn index(root: &Section<'_, '_>, journal: &Path) -> index::Options {
    one(root, "index", |s| index::Options {
        kind: engine(s),
        dir: s.path("dir").unwrap_or_else(|| beside(journal, "-index")),
        patience: Duration::from_millis(s.duration("wait", 500, 1..=10 * SECOND)),
    })
}

fn engine(s: &Section<'_, '_>) -> Kind {
    if cfg!(not(feature = "index-sled")) && s.text("engine") == Some("sled") {
        s.wrong_here("engine", "is \"sled\", which this build does not have; next: build with `--features index-sled`");
        return Kind::Fjall;
    }
    s.choice("engine", Kind::Fjall, ENGINES)
}

/// Sizes, and how they must fit each other: said here, with the line, as the journal knows no keys of a configuration.
fn journal_options(s: &Section<'_, '_>) -> journal::Options {
    let d = journal::Options::default();
    let options = journal::Options {
        segment_bytes: s.size("segment_size", d.segment_bytes, 1 << 20..=2 << 30),
        group_bytes_max: as_usize(s.size("group_size_max", d.group_bytes_max as u64, 64 << 10..=64 << 20)),
        reserve_segments: s.number("reserve_segments", d.reserve_segments, 1..=1_000),
        mark_commits: s.number("mark_commits", d.mark_commits, 1..=1_000_000),
    };
    let (segment, group) = (options.segment_bytes, options.group_bytes_max as u64);
    for (key, size) in [("segment_size", segment), ("group_size_max", group)] {
        if !size.is_multiple_of(SECTOR) {
            s.wrong_here(key, "must be a multiple of 512B");
        }
    }
    if segment < group + SECTOR {
        let (segment, group) = (show_size(segment), show_size(group));
        if s.has("segment_size") {
            s.wrong_here("segment_size", &format!("({segment}) must be at least 512B longer than group_size_max ({group})"));
        } else {
            s.wrong_here(
                "group_size_max",
                &format!("({group}) must be at least 512B shorter than segment_size ({segment})"),
            );
        }
    }
    options
}

fn listen(root: &Section<'_, '_>) -> (Listen, PathBuf) {
    one(root, "listen", |s| {
        let listen = Listen {
            address: s.need_address("address"),
            certificate: s.need_path("certificate"),
            key: s.need_path("key"),
            client_ca: s.need_path("client_ca"),
            client_crl: s.path("client_crl"),
            addresses_file: s.path("addresses_file"),
            tcp: tcp(s, 30 * SECOND, MINUTE),
        };
        (listen, s.need_path("registry"))
    })
}

fn metrics(s: &Section<'_, '_>) -> Metrics {
    Metrics {
        address: s.need_address("address"),
        connections_max: s.number("connections_max", 64, 1..=1_000),
        idle_timeout_ms: s.duration("idle_timeout", MINUTE, SECOND..=HOUR),
    }
}

fn tcp(s: &Section<'_, '_>, user_timeout: u64, keepalive: u64) -> Tcp {
    Tcp {
        user_timeout_ms: s.duration("tcp_user_timeout", user_timeout, 100..=HOUR),
        keepalive_ms: s.duration("tcp_keepalive", keepalive, SECOND..=HOUR),
    }
}

fn log(s: &Section<'_, '_>) -> Log {
    let levels = [
        ("error", LevelFilter::ERROR),
        ("warn", LevelFilter::WARN),
        ("info", LevelFilter::INFO),
        ("debug", LevelFilter::DEBUG),
    ];
    Log {
        json: s.choice("format", false, &[("text", false), ("json", true)]),
        level: s.choice("level", LevelFilter::INFO, &levels),
    }
}

fn partition(root: &Section<'_, '_>, core: &mut switch::Config) {
    one(root, "partition", |s| {
        core.partition = s.number("number", core.partition, 0..=35);
        core.dedup_keys = s.number("dedup_keys", core.dedup_keys, 1..=100_000_000);
        core.tombstone_life_ms = s.duration("tombstone_life", core.tombstone_life_ms, MINUTE..=30 * DAY);
        core.reversal_lookback_ms = s.duration("reversal_lookback", core.reversal_lookback_ms, MINUTE..=30 * DAY);
    });
}

/// A reversal must find what a repeat would still find (section 6).
fn lookback(root: &Section<'_, '_>, core: &switch::Config) {
    let back_ms = core.reversal_lookback_ms;
    for (number, group) in core.groups.iter().filter(|(_, group)| group.repeat_window_ms > back_ms) {
        let (back, window) = (show_duration(back_ms), show_duration(group.repeat_window_ms));
        let text = format!("({back}) must not be shorter than repeat_window ({window}) of group {}", number.0);
        root.section("partition").wrong_here("reversal_lookback", &text);
    }
}

fn groups(root: &Section<'_, '_>, core: &mut switch::Config) -> BTreeMap<GroupNo, GroupSettings> {
    let mut groups = BTreeMap::new();
    for s in root.sections("group") {
        let number = GroupNo(s.need_number("number", 1..=u16::MAX));
        let group = group_rules(&s);
        let terminal_response_timeout_ms = s.need_duration("terminal_response_timeout", MINUTE, 100..=HOUR);
        groups.insert(number, GroupSettings { dialect: dialect(&s), terminal_response_timeout_ms });
        if core.groups.insert(number, group).is_some() {
            s.wrong_here("number", &format!("{} is used by another [[group]]", number.0));
        }
        s.finish();
    }
    groups
}

/// What the core needs to know about a group.
fn group_rules(s: &Section<'_, '_>) -> switch::Group {
    let group = read_group_rules(s);
    let margin_ms = group.crossing_margin_ms;
    if margin_ms >= group.repeat_window_ms {
        let (margin, window) = (show_duration(margin_ms), show_duration(group.repeat_window_ms));
        s.wrong_here("crossing_margin", &format!("({margin}) must be shorter than repeat_window ({window}) (T8)"));
    }
    if group.confirm_within_ms.is_some() && group.at_deadline == AtDeadline::Reverse {
        s.wrong_here(
            "at_deadline",
            "is \"reverse\" beside confirm_within, which reverses sooner: only one of them can hold",
        );
    }
    group
}

fn read_group_rules(s: &Section<'_, '_>) -> switch::Group {
    let d = switch::Group::default();
    let (least, most) = (10, 7 * DAY);
    let at_deadline =
        [("confirm", AtDeadline::Confirm), ("operator", AtDeadline::Operator), ("reverse", AtDeadline::Reverse)];
    let on_repeat = [("replay", OnRepeat::Replay), ("unwind", OnRepeat::Unwind)];
    let on_rekey = [("allow", OnRekey::AllowAndFlag), ("refuse", OnRekey::Refuse)];
    switch::Group {
        name: s.need_text("name").to_owned(),
        serial: s.flag("serial", d.serial),
        reverses_first: s.flag("reverses_first", d.reverses_first),
        repeat_window_ms: s.duration("repeat_window", d.repeat_window_ms, least..=most),
        on_repeat: s.choice("on_repeat", d.on_repeat, &on_repeat),
        rekey_window_ms: s.duration("rekey_window", d.rekey_window_ms, 0..=DAY),
        on_rekey: s.choice("on_rekey", d.on_rekey, &on_rekey),
        redeliver_grace_ms: s.duration("redeliver_grace", d.redeliver_grace_ms, least..=most),
        crossing_margin_ms: s.duration("crossing_margin", d.crossing_margin_ms, least..=most),
        confirm_within_ms: s.has("confirm_within").then(|| s.duration("confirm_within", MINUTE, least..=DAY)),
        confirm_deadline_ms: s.duration("confirm_deadline", d.confirm_deadline_ms, least..=most),
        at_deadline: s.choice("at_deadline", d.at_deadline, &at_deadline),
        takes_partial_approvals: s.flag("takes_partial_approvals", d.takes_partial_approvals),
        partial_refused_as: partial_refused_as(s, d.partial_refused_as),
        tombstones_max: s.number("tombstones_max", d.tombstones_max, 1..=1_000_000),
        echo_pan: s.flag("echo_pan", d.echo_pan),
        utc_offset_minutes: s.number("utc_offset_minutes", d.utc_offset_minutes, -840..=840),
    }
}

/// T9 knows two words for a terminal that cannot take less.
fn partial_refused_as(s: &Section<'_, '_>, default: ResponseCode) -> ResponseCode {
    let codes = [("51", ResponseCode::INSUFFICIENT_FUNDS), ("61", ResponseCode::new(*b"61"))];
    s.choice("partial_refused_as", default, &codes)
}

fn issuers(root: &Section<'_, '_>, core: &mut switch::Config) {
    for s in root.sections("issuer") {
        let number = IssuerNo(s.need_number("number", 1..=u16::MAX));
        let d = switch::Issuer::default();
        let issuer = switch::Issuer {
            name: s.need_text("name").to_owned(),
            reversal_retry_ms: s.durations("reversal_retry", &d.reversal_retry_ms),
            needs_operator_after_ms: s.duration("needs_operator_after", d.needs_operator_after_ms, MINUTE..=30 * DAY),
            reversal_window: s.number("reversal_window", d.reversal_window, 1..=100_000),
        };
        if core.issuers.insert(number, issuer).is_some() {
            s.wrong_here("number", &format!("{} is used by another [[issuer]]", number.0));
        }
        s.finish();
    }
}

fn links(root: &Section<'_, '_>, core: &mut switch::Config) -> BTreeMap<LinkNo, LinkSettings> {
    let mut links = BTreeMap::new();
    for s in root.sections("link") {
        let issuer = IssuerNo(s.need_number("issuer", 1..=u16::MAX));
        let number = LinkNo { issuer, number: s.need_number("number", 1..=u16::MAX) };
        if core.links.insert(number, link_rules(&s)).is_some() {
            s.wrong_here("number", &format!("{} is used by another [[link]] of this issuer", number.number));
        }
        links.insert(number, link_shell(&s));
        s.finish();
    }
    links
}

/// What the core needs to know about a link.
fn link_rules(s: &Section<'_, '_>) -> switch::Link {
    let d = switch::Link::default();
    switch::Link {
        name: s.need_text("name").to_owned(),
        response_timeout_ms: s.duration("response_timeout", d.response_timeout_ms, 10..=HOUR),
        original_horizon_ms: s.duration("original_horizon", d.original_horizon_ms, 10..=DAY),
        late_horizon_ms: s.duration("late_horizon", d.late_horizon_ms, SECOND..=7 * DAY),
        in_flight_max: s.number("in_flight_max", d.in_flight_max, 1..=100_000),
        remembers_early_reversals: s.flag("remembers_early_reversals", d.remembers_early_reversals),
        reversal_as_request: s.flag("reversal_as_request", d.reversal_as_request),
        addresses_one_approval: s.flag("addresses_one_approval", d.addresses_one_approval),
        echoes_de7: s.flag("echoes_de7", d.echoes_de7),
        echoes_card_and_rrn: s.flag("echoes_card_and_rrn", d.echoes_card_and_rrn),
        sign_on: s.flag("sign_on", d.sign_on),
        echo_after_ms: s.duration("echo_after", d.echo_after_ms, 0..=HOUR),
        codes: codes(s),
    }
}

/// Approvals on every link: 00, the partial one, the one of a VIP.
const ALWAYS_MOVED: [&[u8; 2]; 3] = [b"00", b"10", b"11"];

/// In an answer to a reversal: done, done before, unreadable.
const NEVER_NO_ORIGINAL: [&[u8; 2]; 3] = [b"00", b"94", b"30"];

/// The usual code table with what this link reads differently.
fn codes(s: &Section<'_, '_>) -> CodeTable {
    let mut table = CodeTable::default();
    let lists = [("codes_moved", Money::Moved), ("codes_not_moved", Money::NotMoved), ("codes_unknown", Money::Unknown)];
    let mut seen = BTreeMap::new();
    for (key, money) in lists {
        for code in code_list(s, key) {
            if let Some(other) = seen.insert(code, key) {
                s.wrong_here(key, &format!("holds {code}, which {other} holds too"));
            }
            if money != Money::Moved && ALWAYS_MOVED.contains(&code.as_bytes()) {
                s.wrong_here(key, &format!("holds {code}, an approval: what the issuer moved would be forgotten"));
            }
            table.set(code, money);
        }
    }
    if s.has("codes_no_original") {
        table.no_original = code_list(s, "codes_no_original");
        for code in table.no_original.iter().filter(|code| NEVER_NO_ORIGINAL.contains(&code.as_bytes())) {
            s.wrong_here("codes_no_original", &format!("holds {code}, which R2 or R4 reads differently"));
        }
    }
    table
}

fn code_list(s: &Section<'_, '_>, key: &'static str) -> Vec<ResponseCode> {
    let texts = s.texts(key);
    let codes = texts.iter().filter_map(|text| {
        let code = text.parse::<ResponseCode>().ok();
        if code.is_none() {
            s.wrong_here(key, &format!("holds {text:?}, needs response codes of two letters or digits"));
        }
        code
    });
    codes.collect()
}

/// What the shell needs to know about a link.
fn link_shell(s: &Section<'_, '_>) -> LinkSettings {
    let address = s.need_text("address").to_owned();
    let port = address.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    if s.has("address") && !matches!(port, Some(Ok(1..))) {
        s.wrong_here("address", "needs to be a host and a port such as \"issuer.example:8583\"");
    }
    LinkSettings {
        name: s.text("name").unwrap_or_default().to_owned(),
        address,
        connections: s.number("connections", 1, 1..=64),
        dialect: dialect(s),
        tls: link_tls(s),
        connect_timeout_ms: s.duration("connect_timeout", 10 * SECOND, 10..=5 * MINUTE),
        backoff_min_ms: s.duration("backoff_min", 500, 1..=HOUR),
        backoff_max_ms: s.duration("backoff_max", 30 * SECOND, 1..=HOUR),
        tcp: tcp(s, 20 * SECOND, 15 * SECOND),
    }
}

fn link_tls(s: &Section<'_, '_>) -> Option<LinkTls> {
    let on = s.flag("tls", true);
    let (server_name, ca) = (s.text("server_name"), s.path("ca"));
    let (certificate, key) = (s.path("certificate"), s.path("key"));
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            s.wrong_section("certificate and key go together");
            None
        }
    };
    if !on {
        if server_name.is_some() || ca.is_some() || identity.is_some() {
            s.wrong_here("tls", "is false, but server_name, ca, certificate or key is set");
        }
        return None;
    }
    if server_name.is_none() || ca.is_none() {
        s.wrong_section("tls is on and needs server_name and ca");
    }
    Some(LinkTls { server_name: server_name.unwrap_or_default().to_owned(), ca: ca.unwrap_or_default(), identity })
}

fn routes(root: &Section<'_, '_>, core: &mut switch::Config) {
    for s in root.sections("route") {
        let prefix = s.need_text("prefix").to_owned();
        let issuer = IssuerNo(s.need_number("issuer", 1..=u16::MAX));
        if core.routes.iter().any(|route| route.prefix == prefix) {
            s.wrong_here("prefix", &format!("{prefix:?} is used by another [[route]]"));
        }
        core.routes.push(switch::Route { prefix, issuer });
        s.finish();
    }
}

fn dialect(s: &Section<'_, '_>) -> &'static Dialect {
    let words: Vec<(&str, &'static Dialect)> = Dialect::all().iter().map(|dialect| (dialect.name, *dialect)).collect();
    s.choice("dialect", &iso8583::table::ISO87_ASCII, &words)
}
