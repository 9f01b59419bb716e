//! The configuration: one TOML file, read raw, then checked, then used. Nothing is bound before it is all right.
//!
//! Not here: certificates and keys themselves (`tls`, `serve` load them, still before any port is bound). Invariant: a
//! [`Settings`] that left [`load`] names only known things, within their ranges, in relations that hold.

mod check;
pub(crate) mod limits;
pub(crate) mod read;
pub(crate) mod registry;
mod sections;
pub(crate) mod units;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use iso8583::Dialect;
use switch::{GroupNo, LinkNo};

use limits::Limits;
use read::{Problem, Problems, Section, Source};
use registry::Registry;

/// The commented configuration that `init` writes and `deploy/` shows.
pub(crate) const TEMPLATE: &str = include_str!("../../../../deploy/switchd.toml");

/// The commented terminal registry.
pub(crate) const REGISTRY_TEMPLATE: &str = include_str!("../../../../deploy/terminals.toml");

/// A checked configuration.
#[derive(Debug)]
pub(crate) struct Settings {
    /// `[journal]`
    pub(crate) journal: JournalSettings,
    /// `[index]`
    pub(crate) index: index::Options,
    /// `[listen]`
    pub(crate) listen: Listen,
    /// `[metrics]`
    pub(crate) metrics: Metrics,
    /// `[admin] socket`
    pub(crate) admin: PathBuf,
    /// `[log]`
    pub(crate) log: Log,
    /// `[limits]`
    pub(crate) limits: Limits,
    /// `[[group]]`: what the shell needs of each.
    pub(crate) groups: BTreeMap<GroupNo, GroupSettings>,
    /// `[[link]]`: what the shell needs of each.
    pub(crate) links: BTreeMap<LinkNo, LinkSettings>,
    /// What the core is told.
    pub(crate) core: switch::Config,
    /// The terminals.
    pub(crate) registry: Registry,
}

/// Where the journal is, and its sizes.
#[derive(Clone, Debug)]
pub(crate) struct JournalSettings {
    /// The directory.
    pub(crate) dir: PathBuf,
    /// The file with the PAN key and the look-up key.
    pub(crate) keys: PathBuf,
    /// The file that remembers how far the journal was, outside its directory (K5).
    pub(crate) witness: PathBuf,
    /// Sizes.
    pub(crate) options: journal::Options,
    /// How long segments are kept at least, in milliseconds; `None` for ever.
    pub(crate) keep_ms: Option<u64>,
}

/// The terminals' side.
#[derive(Clone, Debug)]
pub(crate) struct Listen {
    /// Where terminals connect.
    pub(crate) address: SocketAddr,
    /// The switch's certificate, PEM, with its chain.
    pub(crate) certificate: PathBuf,
    /// Its key, PEM.
    pub(crate) key: PathBuf,
    /// Who signs terminals, PEM.
    pub(crate) client_ca: PathBuf,
    /// The revocation lists of the signers, PEM.
    pub(crate) client_crl: Option<PathBuf>,
    /// Where the addresses in use are written, for programs that start the daemon.
    pub(crate) addresses_file: Option<PathBuf>,
    /// TCP options of the connections.
    pub(crate) tcp: Tcp,
}

/// Where metrics are served, and to how many.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metrics {
    /// The address.
    pub(crate) address: SocketAddr,
    /// Connections at once; further ones wait with the kernel.
    pub(crate) connections_max: usize,
    /// A connection that is silent for so long is closed; milliseconds.
    pub(crate) idle_timeout_ms: u64,
}

/// TCP options of one side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp {
    /// TCP_USER_TIMEOUT, milliseconds: unacknowledged bytes end the connection after this.
    pub(crate) user_timeout_ms: u64,
    /// A probe goes out after this long without traffic, milliseconds.
    pub(crate) keepalive_ms: u64,
}

/// How logs look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    /// Lines of JSON instead of text.
    pub(crate) json: bool,
    /// The least level that is written.
    pub(crate) level: tracing::level_filters::LevelFilter,
}

/// What the shell needs to know about a terminal group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupSettings {
    /// How its terminals write.
    pub(crate) dialect: &'static Dialect,
    /// How long its terminals wait for an answer; every link must be quicker (T1). Milliseconds.
    pub(crate) terminal_response_timeout_ms: u64,
}

/// What the shell needs to know about a link.
#[derive(Clone, Debug)]
pub(crate) struct LinkSettings {
    /// For people.
    pub(crate) name: String,
    /// The issuer's host: a name or an IP address, and a port.
    pub(crate) address: String,
    /// How many connections are kept.
    pub(crate) connections: u16,
    /// How the host writes.
    pub(crate) dialect: &'static Dialect,
    /// TLS, or plain TCP when absent.
    pub(crate) tls: Option<LinkTls>,
    /// A connection attempt that takes longer, handshake included, is given up; milliseconds.
    pub(crate) connect_timeout_ms: u64,
    /// The first wait before the next attempt; milliseconds.
    pub(crate) backoff_min_ms: u64,
    /// The longest wait before the next attempt; milliseconds.
    pub(crate) backoff_max_ms: u64,
    /// TCP options.
    pub(crate) tcp: Tcp,
}

/// TLS of a link.
#[derive(Clone, Debug)]
pub(crate) struct LinkTls {
    /// The name that the host's certificate must carry.
    pub(crate) server_name: String,
    /// Who signs the host, PEM.
    pub(crate) ca: PathBuf,
    /// The switch's certificate and key towards this host, PEM.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
}

/// Reads and checks a configuration and the registry that it names.
pub(crate) fn load(file: &Path) -> Result<Settings, Problems> {
    let text = read_file(file)?;
    from_text(file, &text, read_file)
}

/// As [`load`], from text that came from `file`; `read` gives the text of the registry.
pub(crate) fn from_text(
    file: &Path,
    text: &str,
    read: impl FnOnce(&Path) -> Result<String, Problems>,
) -> Result<Settings, Problems> {
    let source = Source::new(file, text);
    let table = source.parse();
    let root = Section::root(&source, &table);
    let (mut settings, registry_file) = sections::read(&root);
    root.finish();
    let mut problems = source.finish();
    let relations = check::relations(&settings);
    problems.extend(relations.into_iter().map(|text| Problem { file: file.to_owned(), line: None, text }));
    match read(&registry_file).and_then(|text| registry::read(&registry_file, &text, &settings.groups)) {
        Ok(registry) => settings.registry = registry,
        Err(found) if !registry_file.as_os_str().is_empty() => problems.extend(found.0),
        Err(_) => {} // its path is missing, which was noted
    }
    if problems.is_empty() { Ok(settings) } else { Err(Problems(problems)) }
}

/// The text of a file, or the problem that it cannot be read.
fn read_file(file: &Path) -> Result<String, Problems> {
    fs::read_to_string(file).map_err(|error| {
        let next = match error.kind() {
            io::ErrorKind::NotFound => "check the path; `switchd init DIR` makes a first configuration",
            _ => "check its permissions",
        };
        let text = format!("cannot be read: {error}; next: {next}");
        Problems(vec![Problem { file: file.to_owned(), line: None, text }])
    })
}

/// The address of the first link that a configuration names, without a check of the rest.
#[cfg(feature = "counterparts")]
pub(crate) fn first_link_address(file: &Path) -> Result<Option<String>, Problems> {
    let text = read_file(file)?;
    let source = Source::new(file, &text);
    let table = source.parse();
    let root = Section::root(&source, &table);
    let links = root.sections("link");
    let address = links.first().and_then(|link| link.text("address")).map(str::to_owned);
    drop((links, root));
    let problems = source.finish();
    if problems.is_empty() { Ok(address) } else { Err(Problems(problems)) }
}

/// The admin socket that a configuration names, without a check of the rest: `switchd doubt` and `switchd tx` work with
/// the configuration that the daemon runs with, even while somebody is editing it.
pub(crate) fn admin_socket(file: &Path) -> Result<PathBuf, Problems> {
    let text = read_file(file)?;
    let source = Source::new(file, &text);
    let table = source.parse();
    let root = Section::root(&source, &table);
    let admin = root.section("admin");
    let socket = admin.need_path("socket");
    drop((admin, root));
    let problems = source.finish();
    if problems.is_empty() { Ok(socket) } else { Err(Problems(problems)) }
}

#[cfg(test)]
mod tests;
