//! `switchd init`: a directory with everything that a first start needs: keys, development certificates, registry,
//! configuration.
//!
//! Invariant: it overwrites nothing, and what only the daemon may read is made so before it has content.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use partition::Keys;

use crate::certificates::{Authority, Pair, Usage};
use crate::clock;
use crate::config::{REGISTRY_TEMPLATE, TEMPLATE};

/// Most terminals that `init` makes certificates for: DE41 `TERM0001` to `TERM9999`.
pub(crate) const TERMINALS_MAX: u16 = 9_999;

/// The merchant of all of them, DE42.
pub(crate) const MERCHANT: &str = "MERCHANT0000001";

/// What the caller wants otherwise than the template.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Addresses {
    /// Where terminals connect.
    pub(crate) listen: Option<SocketAddr>,
    /// Metrics.
    pub(crate) metrics: Option<SocketAddr>,
    /// The issuer's host.
    pub(crate) issuer: Option<SocketAddr>,
}

/// The common name and DE41 of a terminal.
pub(crate) fn terminal_name(number: u16) -> String {
    format!("TERM{number:04}")
}

/// Writes everything below `dir`, which is made if it is not there.
pub(crate) fn init(dir: &Path, terminals: u16, addresses: Addresses) -> anyhow::Result<()> {
    for name in ["switchd.toml", "terminals.toml", "keys", "tls"] {
        if dir.join(name).exists() {
            bail!("{} exists already; init overwrites nothing", dir.join(name).display());
        }
    }
    for part in [dir.to_owned(), dir.join("keys"), dir.join("tls")] {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&part);
        made.with_context(|| format!("cannot make {}", part.display()))?;
    }
    let keys = dir.join("keys/journal.keys");
    Keys::generate().write(&keys).with_context(|| format!("cannot write {}", keys.display()))?;
    certificates(&dir.join("tls"), terminals)?;
    write(&dir.join("terminals.toml"), &registry(terminals), 0o644)?;
    write(&dir.join("switchd.toml"), &configuration(addresses), 0o644)
}

fn certificates(dir: &Path, terminals: u16) -> anyhow::Result<()> {
    let authority = Authority::generate(clock::now().wall_ms)?;
    pair(dir, "ca", &authority.pair)?;
    pair(dir, "server", &authority.sign("switchd", Usage::LocalServer)?)?;
    pair(dir, "issuer-client", &authority.sign("switchd", Usage::Client)?)?;
    pair(dir, "mock-issuer", &authority.sign("mock issuer", Usage::LocalServer)?)?;
    for number in 1..=terminals {
        let name = terminal_name(number);
        pair(dir, &name, &authority.sign(&name, Usage::Client)?)?;
    }
    Ok(())
}

fn pair(dir: &Path, name: &str, pair: &Pair) -> anyhow::Result<()> {
    write(&dir.join(format!("{name}.pem")), &pair.certificate, 0o644)?;
    write(&dir.join(format!("{name}.key")), &pair.key, 0o600)
}

fn registry(terminals: u16) -> String {
    let mut text = REGISTRY_TEMPLATE.to_owned();
    for number in 1..=terminals {
        let name = terminal_name(number);
        text.push_str(&format!("\n[[terminal]]\nsubject = \"{name}\"\nallow = \"{name}/{MERCHANT}\"\ngroup = 1\n"));
    }
    text
}

fn configuration(addresses: Addresses) -> String {
    let replaced = [
        ("address = \"127.0.0.1:8583\"", addresses.listen),
        ("address = \"127.0.0.1:9583\"", addresses.metrics),
        ("address = \"127.0.0.1:8590\"", addresses.issuer),
    ];
    let mut text = TEMPLATE.to_owned();
    for (line, address) in replaced {
        assert!(text.contains(line), "the template has the line {line}");
        if let Some(address) = address {
            text = text.replacen(line, &format!("address = \"{address}\""), 1);
        }
    }
    text
}

fn write(file: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let written = opened.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot write {}", file.display()))
}

/// What to do next, for a person.
pub(crate) fn next_steps(dir: &Path, terminals: u16) -> String {
    let d = dir.display();
    let mut text = format!(
        "Made {d}/switchd.toml, {d}/terminals.toml, {d}/keys/journal.keys and certificates in {d}/tls for \
         {terminals} terminals.\n\
         The certificates are for development. Keep a copy of keys/journal.keys apart from the journal.\n\nNext:\n"
    );
    if cfg!(feature = "counterparts") {
        text.push_str(&format!("  switchd mock-issuer --dir {d}\n"));
    }
    text.push_str(&format!("  switchd serve --config {d}/switchd.toml\n"));
    if cfg!(feature = "counterparts") {
        text.push_str(&format!("  switchd terminal --dir {d} sale --card 4000001234567899 --amount 1000\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, tls};
    use std::os::unix::fs::PermissionsExt;

    fn empty_dir(name: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("switchd-init-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn what_init_writes_is_a_configuration_that_starts() {
        let dir = empty_dir("starts");
        let addresses = Addresses { listen: Some(([127, 0, 0, 1], 0).into()), ..Addresses::default() };
        init(&dir, 2, addresses).unwrap();
        let settings = config::load(&dir.join("switchd.toml")).unwrap();
        assert_eq!(settings.listen.address.port(), 0);
        assert_eq!(settings.registry.len(), 2);
        tls::server(&settings.listen).unwrap();
        for link in settings.links.values() {
            tls::client(link.tls.as_ref().unwrap()).unwrap();
        }
        Keys::read(&settings.journal.keys).unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn secrets_are_for_the_daemon_alone() {
        let dir = empty_dir("modes");
        init(&dir, 1, Addresses::default()).unwrap();
        for secret in ["keys/journal.keys", "tls/ca.key", "tls/server.key", "tls/TERM0001.key", "tls/issuer-client.key"] {
            let mode = fs::metadata(dir.join(secret)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{secret}");
        }
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = empty_dir("twice");
        init(&dir, 1, Addresses::default()).unwrap();
        let before = fs::read(dir.join("tls/ca.pem")).unwrap();
        let refused = init(&dir, 1, Addresses::default()).unwrap_err();
        assert!(refused.to_string().contains("overwrites nothing"), "{refused}");
        assert_eq!(fs::read(dir.join("tls/ca.pem")).unwrap(), before);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn the_identity_of_a_certificate_is_its_fingerprint_and_common_name() {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;
        let pair = Authority::generate(1_800_000_000_000).unwrap().sign("TERM0007", Usage::Client).unwrap();
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        let identity = tls::Identity::of(&certificate);
        assert_eq!(identity.subject.as_deref(), Some("TERM0007"));
        assert_eq!(identity.hex().len(), 64);
    }
}
