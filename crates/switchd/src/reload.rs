//! SIGHUP: registry, routes, revocation lists, certificates, their keys and the keys of cards are taken anew, all or none.
//!
//! No connection is closed and no movement is touched: a connection that is open keeps its TLS session, its next message is
//! judged by the new registry, and its next request goes by the new routes. Everything else of the configuration is the
//! next start's, and a reload that finds it changed says so. Invariant: files of which one is wrong change nothing.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

use partition::Keys;
use switch::{Input, LinkNo, Route};
use tokio_rustls::TlsAcceptor;

use crate::config::registry::Registry;
use crate::config::{JournalSettings, LinkSettings, LinkTls, Settings};
use crate::observe::expiry::Endings;
use crate::serve::Prepared;
use crate::shell::Shell;
use crate::shell::links::LinkSecurity;

/// What a reload replaces.
pub(crate) struct Current {
    /// Counts reloads: who has looked something up looks again when it has changed.
    pub(crate) number: u64,
    /// The terminals.
    pub(crate) registry: Registry,
    /// For handshakes of terminals.
    pub(crate) acceptor: TlsAcceptor,
    /// For handshakes with issuers.
    pub(crate) links: BTreeMap<LinkNo, LinkSecurity>,
    /// When certificates and revocation lists end.
    pub(crate) endings: Endings,
}

/// What a reload did.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// The keys of cards, for the partition.
    pub(crate) keys: Keys,
    /// Sections that have changed and are the next start's.
    pub(crate) at_start: Vec<&'static str>,
}

/// Takes what was read, or says why none of it is taken.
pub(crate) fn take(shell: &Shell, prepared: Prepared) -> Result<Reloaded, String> {
    let running = &shell.settings;
    let (mut settings, keys, terminals, links, endings) = prepared.into_parts();
    fits(running, shell.current().registry.len(), &settings)?;
    let at_start = changed(running, &settings);
    let links = links_of(running, &settings, links, &shell.current().links);
    let routes: Vec<Route> = std::mem::take(&mut settings.core.routes);
    let number = shell.current().number + 1;
    let registry = std::mem::take(&mut settings.registry);
    shell.current().endings.forget();
    let endings = Endings::new(endings);
    shell.replace_current(Current { number, registry, acceptor: TlsAcceptor::from(terminals), links, endings });
    shell.mailbox.push(Input::Routes(routes));
    Ok(Reloaded { keys, at_start })
}

/// What the new registry and routes name must be there in the running daemon, and be the same. A registry of nobody is most
/// likely a file that was cut off while it was written: taken, it would refuse every terminal its reversals too. `certificates`
/// is how many the running daemon knows.
fn fits(running: &Settings, certificates: usize, new: &Settings) -> Result<(), String> {
    if certificates > 0 && new.registry.len() == 0 {
        return Err(format!(
            "the file of [listen] registry names no certificate, and the running one names {certificates}: every terminal would \
             be refused; next: write the file whole; to lock all terminals out, stop the daemon"
        ));
    }
    for (number, group) in &new.groups {
        let known = running.groups.get(number).is_some_and(|known| known.dialect.name == group.dialect.name);
        if !known && new.registry.names_group(*number) {
            return Err(format!("group {} is new, or its dialect has changed; next: restart", number.0));
        }
    }
    for route in &new.core.routes {
        if !running.core.issuers.contains_key(&route.issuer) {
            return Err(format!(
                "the route of prefix {:?} leads to issuer {}, which is new; next: restart",
                route.prefix, route.issuer.0
            ));
        }
    }
    Ok(())
}

/// What each running link has from now on: the new certificates, if all else about it is the same; what it has, if not, or if
/// the new files know it no more. Its other settings are the next start's, and half of two is worse than either.
fn links_of(
    running: &Settings,
    new: &Settings,
    mut read: BTreeMap<LinkNo, LinkSecurity>,
    current: &BTreeMap<LinkNo, LinkSecurity>,
) -> BTreeMap<LinkNo, LinkSecurity> {
    let mut links = current.clone();
    for (number, link) in &running.links {
        let same = new.links.get(number).is_some_and(|new| same_but_files(link, new));
        if let Some(security) = read.remove(number).filter(|_| same) {
            links.insert(*number, security);
        }
    }
    links
}

fn same_but_files(one: &LinkSettings, other: &LinkSettings) -> bool {
    format!("{:?}", without_files(one)) == format!("{:?}", without_files(other))
}

/// A link's settings without what is read anew: that it has TLS, and the host's name, stay.
fn without_files(link: &LinkSettings) -> LinkSettings {
    let tls = link.tls.as_ref().map(|tls| LinkTls { ca: PathBuf::new(), identity: None, ..tls.clone() });
    LinkSettings { tls, ..link.clone() }
}

/// Sections that differ and are not reloaded.
fn changed(running: &Settings, new: &Settings) -> Vec<&'static str> {
    let mut changed = Vec::new();
    let mut compare = |section, running: &dyn Debug, new: &dyn Debug| {
        if format!("{running:?}") != format!("{new:?}") {
            changed.push(section);
        }
    };
    // The key file is taken from wherever it is now.
    let journal = |settings: &Settings| JournalSettings { keys: PathBuf::new(), ..settings.journal.clone() };
    compare("[journal]", &journal(running), &journal(new));
    let listen =
        |settings: &Settings| (settings.listen.address, settings.listen.addresses_file.clone(), settings.listen.tcp);
    compare("[listen]", &listen(running), &listen(new));
    compare("[metrics]", &running.metrics, &new.metrics);
    compare("[admin]", &running.admin, &new.admin);
    compare("[index]", &running.index, &new.index);
    compare("[log]", &running.log, &new.log);
    compare("[limits]", &running.limits, &new.limits);
    compare("[[group]]", &(&running.groups, &running.core.groups), &(&new.groups, &new.core.groups));
    compare("[[issuer]]", &running.core.issuers, &new.core.issuers);
    let links = |settings: &Settings| -> BTreeMap<LinkNo, LinkSettings> {
        settings.links.iter().map(|(number, link)| (*number, without_files(link))).collect()
    };
    compare("[[link]]", &(links(running), &running.core.links), &(links(new), &new.core.links));
    let rest = |settings: &Settings| {
        let core = &settings.core;
        (core.partition, core.dedup_keys, core.tombstone_life_ms, core.reversal_lookback_ms)
    };
    compare("[partition]", &rest(running), &rest(new));
    changed
}
