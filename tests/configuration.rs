//! A wrong configuration is refused whole, by name, before anything is bound.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Output;

use crate::support::Options;
use crate::support::daemon::switchd;
use crate::support::site::{configuration, initialised};

/// `switchd serve` with the usual configuration after a change; it listens where somebody else does already, so a daemon
/// that binds before it has judged ends with the code of a bind.
async fn serve(dir: &Path, change: impl FnOnce(String) -> String) -> Output {
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let listen = taken.local_addr().expect("it is bound");
    let text = configuration(&Options::default(), listen, &[(SocketAddr::from(([127, 0, 0, 1], 9)), true)]);
    let changed = change(text.clone());
    assert_ne!(changed, text, "the change changes something");
    let config = dir.join("switchd.toml");
    std::fs::write(&config, changed).expect("the directory is ours");
    let output = switchd([Path::new("serve"), Path::new("--config"), &config]).await;
    assert!(!dir.join("addresses.json").exists(), "nothing was bound");
    assert!(!dir.join("admin.sock").exists(), "nothing was bound");
    assert!(!dir.join("journal").exists(), "the journal was not touched");
    output
}

async fn check(change: impl FnOnce(String) -> String, named: &[&str]) {
    let dir = initialised(1).await;
    let output = serve(dir.path(), change).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{said}");
    for name in named {
        assert!(said.contains(name), "{name:?} is not in {said}");
    }
}

#[tokio::test]
async fn an_unknown_key_is_refused_with_the_nearest_known_one() {
    check(|text| text.replace("response_timeout = ", "respons_timeout = "), &["respons_timeout", "response_timeout"]).await;
    check(|text| text.replace("[admin]", "[admn]"), &["admn", "admin"]).await;
}

#[tokio::test]
async fn all_errors_are_named_at_once() {
    let change = |text: String| {
        text.replace("[log]\n", "[log]\nformatt = \"json\"\n")
            .replace("serial = true", "serial = \"yes\"")
            .replace("drain_timeout = \"20s\"", "drain_timeout = \"20\"")
    };
    check(change, &["formatt", "serial", "drain_timeout"]).await;
}

#[tokio::test]
async fn t1_a_response_timeout_that_is_not_shorter_than_the_terminals_own_is_refused() {
    for timeout in ["20s", "21s"] {
        let change = |text: String| {
            text.replace("response_timeout = \"10000ms\"", &format!("response_timeout = \"{timeout}\""))
                .replace("drain_timeout = \"20s\"", "drain_timeout = \"40s\"")
        };
        check(change, &["response_timeout", "terminal_response_timeout"]).await;
    }
}

#[tokio::test]
async fn a_certificate_or_key_that_is_not_there_is_refused() {
    check(|text| text.replace("tls/server.pem", "tls/nobody.pem"), &["nobody.pem"]).await;
    check(|text| text.replace("keys/journal.keys", "keys/nobody.keys"), &["[journal] keys", "nobody.keys", "next:"]).await;
    check(|text| text.replace("registry = \"terminals.toml\"", "registry = \"nobody.toml\""), &["nobody.toml"]).await;
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named_once_with_what_to_do() {
    let dir = initialised(1).await;
    let output = serve(dir.path(), |text| text.replace("keys/journal.keys", "keys/nobody.keys")).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("nobody.keys").count(), 1, "{said}");
    let output = switchd([Path::new("serve"), Path::new("--config"), &dir.path().join("nobody.toml")]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(10), "{said}");
    assert!(said.matches("nobody.toml").count() == 1 && said.contains("next:"), "{said}");
}

#[tokio::test]
async fn sizes_of_the_journal_that_do_not_fit_are_judged_with_the_rest() {
    let change = |text: String| {
        text.replace("group_size_max = \"256KiB\"", "group_size_max = \"1MiB\"").replace("[log]\n", "[log]\nformatt = 1\n")
    };
    check(change, &["segment_size (1MiB) must be at least 512B longer than group_size_max (1MiB)", "formatt"]).await;
}

#[tokio::test]
async fn an_address_that_is_taken_has_a_code_of_its_own() {
    let dir = initialised(1).await;
    let output = serve_taken(dir.path()).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(11), "{said}");
    assert!(said.contains("[listen]") && said.contains("next:"), "{said}");
}

/// With a right configuration the same taken address is found out.
async fn serve_taken(dir: &Path) -> Output {
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let listen = taken.local_addr().expect("it is bound");
    let links = [(SocketAddr::from(([127, 0, 0, 1], 9)), true)];
    let config = dir.join("switchd.toml");
    std::fs::write(&config, configuration(&Options::default(), listen, &links)).expect("the directory is ours");
    switchd([Path::new("serve"), Path::new("--config"), &config]).await
}
