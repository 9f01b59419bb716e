//! Two processes never serve one journal (K6): the second ends with a code of its own, the first does not notice.

use crate::support::daemon::switchd;
use crate::support::site::PAN;
use crate::support::{Daemon, Options, Site, code, sale};

#[tokio::test]
async fn k6_a_second_process_on_the_journal_ends_with_journal_locked() {
    let site = Site::open(Options::default()).await;
    let mut line = site.line(1).await;
    assert_eq!(code(&line.ask(&sale(1, 1, PAN, 100)).await), "00");
    // The same journal, by a configuration of its own: other addresses, other admin socket.
    let own = std::fs::read_to_string(site.config()).expect("the site has one");
    let beside = site.dir().join("second");
    std::fs::create_dir(&beside).expect("the directory is ours");
    let config = beside.join("switchd.toml");
    let theirs = own.replace("admin.sock", "second/admin.sock").replace("addresses.json", "second/addresses.json");
    let theirs: String = theirs
        .lines()
        .map(|line| match line.split_once(" = \"") {
            Some((key @ ("dir" | "keys" | "certificate" | "key" | "client_ca" | "ca" | "registry" | "socket"), path)) => {
                format!("{key} = \"{}/{path}\n", site.dir().display())
            }
            Some((key @ "addresses_file", path)) => format!("{key} = \"{}/{path}\n", site.dir().display()),
            Some(_) | None => format!("{line}\n"),
        })
        .collect();
    std::fs::write(&config, theirs).expect("the directory is ours");
    let log = beside.join("switchd.log");
    let mut second = Daemon::spawn(&config, &log);
    assert_eq!(second.exited().await.code(), Some(20));
    assert!(second.log().contains("(K6)"), "it says why: {}", second.log());
    let help = switchd(["--help"]).await;
    let help = String::from_utf8(help.stdout).expect("help is text");
    assert!(help.contains("20  journal-locked"), "the code has its name: {help}");
    assert!(!beside.join("addresses.json").exists(), "nothing was bound");

    assert_eq!(code(&line.ask(&sale(1, 2, PAN, 100)).await), "00", "the first is unharmed");
    assert_eq!(site.issuer_net(), 200);
    assert!(site.daemon.is_ready().await);
}

#[tokio::test]
async fn k6_what_a_killed_process_left_does_not_keep_the_next_one_out() {
    let mut site = Site::open(Options::default()).await;
    for stan in 1..=3 {
        assert_eq!(code(&site.line(1).await.ask(&sale(1, stan, PAN, 100)).await), "00");
        site.crash().await;
    }
    assert_eq!(site.daemon.movements().await.len(), 3);
}
