//! SIGHUP: registry, routes, certificates and keys are taken anew, or none of them; no connection and no movement is lost.

use std::fs;
use std::io::Write;

use rustix::process::Signal;

use crate::support::authority::GOOD;
use crate::support::daemon::switchd;
use crate::support::line::{Line, identity};
use crate::support::site::PAN;
use crate::support::{Authority, Options, Site, code, name, sale, until, within};

/// SIGHUP, and waits for this in the log, once more than before.
pub(crate) async fn reload(site: &Site, wanted: &str) {
    let count = |log: String| log.lines().filter(|line| line.contains(wanted)).count();
    let before = count(site.daemon.log());
    site.daemon.signal(Signal::HUP);
    until(&format!("the log says {wanted:?}"), async || (count(site.daemon.log()) > before).then_some(())).await;
}

pub(crate) fn edit(site: &Site, file: &str, old: &str, new: &str) {
    let path = site.dir().join(file);
    let text = fs::read_to_string(&path).expect("it is there");
    assert!(text.contains(old), "{file} has {old:?}");
    fs::write(path, text.replace(old, new)).expect("it is ours");
}

#[tokio::test]
async fn a_reload_takes_the_registry_and_the_routes_and_drops_nothing() {
    let site = Site::open(Options::default()).await;
    let (mut first, mut second) = (site.line(1).await, site.line(2).await);
    assert_eq!(code(&first.ask(&sale(1, 1, PAN, 1250)).await), "00");
    assert_eq!(code(&second.ask(&sale(2, 1, PAN, 700)).await), "00");

    // One terminal loses its place: on the connection that it has, and for every new one.
    let entry = format!("allow = \"{}/MERCHANT0000001\"", name(2));
    edit(&site, "terminals.toml", &entry, "allow = \"NOBODY/MERCHANT0000001\"");
    reload(&site, "reloaded").await;
    assert_eq!(code(&second.ask(&sale(2, 2, PAN, 700)).await), "03");
    assert_eq!(code(&first.ask(&sale(1, 2, PAN, 800)).await), "00", "on the same connection");
    edit(&site, "terminals.toml", "allow = \"NOBODY/MERCHANT0000001\"", &entry);
    reload(&site, "reloaded").await;
    assert_eq!(code(&second.ask(&sale(2, 3, PAN, 900)).await), "00", "on the same connection");

    // No route for this card any more.
    edit(&site, "switchd.toml", "prefix = \"\"", "prefix = \"5\"");
    reload(&site, "reloaded").await;
    assert_ne!(code(&first.ask(&sale(1, 3, PAN, 800)).await), "00", "no route leads anywhere");
    edit(&site, "switchd.toml", "prefix = \"5\"", "prefix = \"\"");
    reload(&site, "reloaded").await;
    assert_eq!(code(&first.ask(&sale(1, 4, PAN, 850)).await), "00");
    assert_eq!(site.issuer_net(), 1250 + 700 + 800 + 900 + 850);
    site.nothing_in_doubt().await;
}

#[tokio::test]
async fn a_reload_takes_new_certificates_for_new_connections() {
    let mut site = Site::open(Options::default()).await;
    let mut old = site.line(1).await;
    // Everything signed anew, by another authority.
    let other = tempfile::tempdir().expect("a temporary directory");
    let other = other.path().join("other");
    let output = switchd(["init", other.to_str().expect("text"), "--terminals", "3"]).await;
    assert!(output.status.success());
    for file in ["ca.pem", "server.pem", "server.key"] {
        fs::copy(other.join("tls").join(file), site.tls().join(file)).expect("both are there");
    }
    // The mock issuer shows the old authority's certificate: its connection stays, as nothing is dropped.
    reload(&site, "reloaded").await;
    assert_eq!(code(&old.ask(&sale(1, 1, PAN, 1250)).await), "00", "the old connection goes on, and so does the link's");
    for file in [format!("{}.pem", name(2)), format!("{}.key", name(2))] {
        fs::copy(other.join("tls").join(&file), site.tls().join(&file)).expect("both are there");
    }
    edit_subjects(&site, &other);
    reload(&site, "reloaded").await;
    let mut new = site.line(2).await;
    assert_eq!(code(&new.ask(&sale(2, 1, PAN, 700)).await), "00");
    site.daemon.stop().await;
}

/// The registry of the other directory: its certificates' fingerprints, or their names.
fn edit_subjects(site: &Site, other: &std::path::Path) {
    fs::copy(other.join("terminals.toml"), site.dir().join("terminals.toml")).expect("both are there");
}

#[tokio::test]
async fn a_bad_file_is_refused_whole_and_the_old_stays() {
    let mut site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let entry = format!("allow = \"{}/MERCHANT0000001\"", name(1));
    // A registry that would lock the terminal out, beside a certificate that is none: neither is taken.
    edit(&site, "terminals.toml", &entry, "allow = \"NOBODY/MERCHANT0000001\"");
    let good = fs::read(site.tls().join("server.pem")).expect("it is there");
    fs::write(site.tls().join("server.pem"), "no certificate").expect("it is ours");
    reload(&site, "nothing is taken of it").await;
    assert_eq!(code(&line.ask(&sale(1, 1, PAN, 1250)).await), "00");
    let log = site.daemon.log();
    let refusal = log.lines().find(|line| line.contains("nothing is taken of it")).expect("it was waited for");
    assert!(refusal.contains("server.pem"), "{refusal}");
    fs::write(site.tls().join("server.pem"), good).expect("it is ours");
    edit(&site, "terminals.toml", "allow = \"NOBODY/MERCHANT0000001\"", &entry);

    // What only a start can take is named, and the rest is taken.
    edit(&site, "switchd.toml", "drain_timeout = \"20s\"", "drain_timeout = \"21s\"");
    reload(&site, "[limits]").await;
    // What needs what is not there is refused.
    edit(
        &site,
        "switchd.toml",
        "prefix = \"\"\nissuer = 1",
        "prefix = \"\"\nissuer = 1\n[[issuer]]\nnumber = 9\nname = \"new\"\n[[route]]\nprefix = \"9\"\nissuer = 9\n[[link]]\nissuer = 9\nnumber = 1\nname = \"new line\"\naddress = \"127.0.0.1:9\"\ntls = false\noriginal_horizon = \"30s\"\ntcp_user_timeout = \"1s\"",
    );
    reload(&site, "leads to issuer 9, which is new").await;
    assert_eq!(code(&line.ask(&sale(1, 2, PAN, 700)).await), "00");
    site.daemon.stop().await;
}

/// A file that was cut off while it was written, at a place where it is still TOML.
#[tokio::test]
async fn a_registry_of_nobody_is_not_taken_by_a_reload_and_warned_of_by_check_and_start() {
    let mut site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    let (file, config) = (site.dir().join("terminals.toml"), site.dir().join("switchd.toml"));
    for (stan, text) in (1..).zip(["", "# The terminals, and wh"]) {
        fs::write(&file, text).expect("it is ours");
        reload(&site, "names no certificate, and the running one names 3").await;
        assert_eq!(code(&line.ask(&sale(1, stan, PAN, 1250)).await), "00", "{text:?}: on the same connection");
        assert_eq!(code(&site.line(2).await.ask(&sale(2, stan, PAN, 700)).await), "00", "{text:?}: on a new one");
    }
    let config = config.to_str().expect("the path is text");
    let warning = "names no certificate: every terminal is refused";
    for more in [None, Some("--json")] {
        let output = switchd(["check", "--config", config].into_iter().chain(more)).await;
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains(warning), "{said}");
    }
    site.daemon.stop().await;
    site.start_again().await;
    assert!(site.daemon.log_since_start().contains(warning), "{}", site.daemon.log_since_start());
    // From nobody on, any registry is taken; and so is nobody again from nobody.
    reload(&site, "reloaded").await;
}

/// What only a start takes is named, whichever section it stands in.
#[tokio::test]
async fn a_reload_names_what_only_a_start_takes() {
    let site = Site::open(Options::default()).await;
    let config = site.dir().join("switchd.toml");
    let whole = fs::read_to_string(&config).expect("it is there");
    let changed = whole.replace("[index]\n", "[index]\nwait = \"70ms\"\n");
    assert_ne!(changed, whole);
    fs::write(&config, changed).expect("it is ours");
    reload(&site, "reloaded").await;
    assert!(site.daemon.log().contains("at_start=\"[index]\""), "{}", site.daemon.log());
}

/// What only a start can take changes nothing until then: a link that the new file has without TLS, or not at all, keeps what it
/// has, also when it connects again.
#[tokio::test]
async fn a_reload_never_takes_a_running_link_out_of_tls() {
    let site = Site::with_hosts(Options::default(), &[None, None]).await;
    let both_are_up = async || {
        let links = site.daemon.metrics().await;
        let up = links
            .lines()
            .filter(|line| line.starts_with("switchd_link_connections{") && line.ends_with("ready=\"true\"} 1"));
        (up.count() == 2).then_some(())
    };
    until("both links are up", both_are_up).await;
    let config = site.dir().join("switchd.toml");
    let whole = fs::read_to_string(&config).expect("it is there");
    let second = whole.rfind("[[link]]").expect("there are two");
    let identity = "server_name = \"localhost\"\nca = \"tls/ca.pem\"\ncertificate = \"tls/issuer-client.pem\"\n\
                    key = \"tls/issuer-client.key\"";
    let mut line = site.line(1).await;
    for (stan, (what, text)) in (1..)
        .zip([("without TLS", whole.replace(identity, "tls = false")), ("without the second", whole[..second].to_owned())])
    {
        assert_ne!(text, whole, "{what}");
        fs::write(&config, text).expect("it is ours");
        reload(&site, "reloaded").await;
        assert!(site.daemon.log().contains("at_start=\"[[link]]\""), "{what}: it says that this is the next start's");
        site.issuer.set_links_up(false);
        until("both are gone", async || (!site.daemon.is_ready().await).then_some(())).await;
        site.issuer.set_links_up(true);
        until(&format!("both links come back with TLS, {what}"), both_are_up).await;
        assert_eq!(code(&line.ask(&sale(1, stan, PAN, 1250)).await), "00", "{what}");
    }
    site.nothing_in_doubt().await;
}

/// A certificate is renewed while a long journal is replayed, say.
#[tokio::test]
async fn a_reload_that_is_asked_for_during_the_start_does_not_kill() {
    let mut site = Site::open(Options::default()).await;
    site.daemon.stop().await;
    // The start waits for the rest of its key file, so that the signal comes in the middle of it.
    let (keys, whole) = (site.dir().join("keys/journal.keys"), site.dir().join("keys/whole.keys"));
    fs::rename(&keys, &whole).expect("it is there");
    let made = std::process::Command::new("mkfifo").arg("--mode=600").arg(&keys).status();
    assert!(made.expect("coreutils are there").success());
    site.spawn_again();
    let pipe = keys.clone();
    let opened = tokio::task::spawn_blocking(move || fs::OpenOptions::new().write(true).open(pipe));
    let mut pipe = within("the start to read its keys", opened).await.expect("no panic").expect("it is a pipe");
    site.daemon.signal(Signal::HUP);
    let text = fs::read(&whole).expect("it is there");
    fs::rename(&whole, &keys).expect("it is ours");
    pipe.write_all(&text).expect("it reads");
    drop(pipe);
    site.daemon.ready().await;
    until("the reload that was asked for", async || site.daemon.log().contains("reloaded").then_some(())).await;
    assert_eq!(code(&site.line(1).await.ask(&sale(1, 1, PAN, 1250)).await), "00");
}

/// A list of before names nobody; the new one takes a certificate back, for new connections.
#[tokio::test]
async fn a_reload_takes_a_new_revocation_list() {
    let mut site = Site::open(Options::default()).await;
    let authority = Authority::of(&site.tls());
    authority.sign("taken-back", &name(2), 66, GOOD);
    authority.revoke(&[65], 4000);
    site.daemon.stop().await;
    site.set_listen("client_crl = \"tls/ca.crl\"");
    site.start_again().await;
    let mut open = Line::open(site.daemon.address(), &site.tls(), "taken-back").await;
    assert_eq!(code(&open.ask(&sale(2, 1, PAN, 700)).await), "00", "the list names another");
    authority.revoke(&[65, 66], 4000);
    reload(&site, "reloaded").await;
    assert_eq!(code(&open.ask(&sale(2, 2, PAN, 800)).await), "00", "an open connection keeps its session");
    let connected =
        Line::connect(site.daemon.address(), identity(&site.tls(), "taken-back").client().expect("it fits its key")).await;
    if let Ok(mut refused) = connected {
        // With TLS 1.3 a client learns of it when it says something.
        refused.try_send(&sale(2, 3, PAN, 900)).await;
        assert!(refused.receive().await.is_none(), "a certificate that was taken back is served");
    }
    assert_eq!(code(&site.line(1).await.ask(&sale(1, 1, PAN, 1250)).await), "00", "who is not on the list is");
    // A list that is none: nothing is taken, and the one that was taken still counts.
    fs::write(site.tls().join("ca.crl"), "no list").expect("it is ours");
    reload(&site, "nothing is taken of it").await;
    assert_eq!(code(&site.line(1).await.ask(&sale(1, 2, PAN, 600)).await), "00");
    assert_eq!(site.issuer_net(), 700 + 800 + 1250 + 600);
    site.daemon.stop().await;
}
