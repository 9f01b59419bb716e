//! SECURITY.md: the commands of its table work, as far as they are short, and the tests that the others name exist.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::law_page::tests_of_the_sources;
use crate::support::daemon::SWITCHD;
use crate::support::{Options, Site, skipped};

/// What stands in the last column, between backticks.
fn commands() -> Vec<String> {
    let page = fs::read_to_string(root().join("SECURITY.md")).expect("SECURITY.md can be read");
    let (_, table) = page.split_once("| item | what | shown by |").expect("the page has the table");
    let shown_by = table.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit(" | ").next());
    shown_by.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Whether a `cargo test` command names a test that exists.
fn names_a_test(command: &str) -> bool {
    let words: Vec<_> = command.split(' ').collect();
    let ["cargo", "test", "-p", package, target @ ("--lib" | "--test"), rest @ ..] = &words[..] else { return false };
    let (of, filter) = match (*target, rest) {
        ("--test", ["main", filter]) if *package == "switchd" => ("e2e", *filter),
        ("--test", [_, filter]) | ("--lib", [filter]) => (*package, *filter),
        ("--test", [file]) => (*package, *file),
        _ => return false,
    };
    if of == "e2e"
        && filter.strip_suffix("::").is_some_and(|module| root().join("tests").join(module).join("mod.rs").exists())
    {
        return true;
    }
    let filter = filter.replace("tests::", "");
    tests_of_the_sources().iter().any(|test| test.strip_prefix(of).is_some_and(|test| test.contains(&filter)))
}

#[test]
fn the_commands_of_the_page_work() {
    let commands = commands();
    assert!(commands.len() > 15, "the table was read: {commands:?}");
    for command in commands {
        match command.split(' ').next().expect("a split has a first part") {
            "cargo" if command.starts_with("cargo test ") => assert!(names_a_test(&command), "no such test: {command}"),
            // The gate runs the one, tests/deploy.rs the other.
            "cargo" => assert!(
                ["cargo deny check bans licenses sources", "cargo run -p switchd --example sbom"].contains(&&*command),
                "{command}"
            ),
            tool => {
                let output =
                    Command::new("sh").args(["-c", &command]).current_dir(root()).output().expect("there is a shell");
                if output.status.code() == Some(127) {
                    skipped(&command, &format!("{tool} is not installed"), "SWITCHD_REQUIRE_PROMTOOL");
                } else {
                    assert!(output.status.success() && !output.stdout.is_empty(), "{command}: {output:?}");
                }
            }
        }
    }
}

/// As another user, whom the modes of the files would let through.
#[tokio::test]
async fn the_admin_socket_serves_its_own_user_and_root_alone() {
    let site = Site::open(Options::default()).await;
    let socket = site.dir().join("admin.sock");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o600);
    let program = site.dir().join("switchd");
    fs::copy(SWITCHD, &program).expect("the directory has room");
    for (path, mode) in [(site.dir(), 0o755), (&*program, 0o755), (&*socket, 0o666)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    let ask = || {
        let mut command = Command::new(&program);
        command.arg("doubt").arg("--socket").arg(&socket);
        command
    };
    assert!(ask().output().expect("it starts").status.success(), "its own user is served");
    match ask().uid(65534).gid(65534).output() {
        Ok(output) => {
            assert!(!output.status.success(), "{output:?}");
            let until = "the refusal is in the audit log";
            crate::support::until(until, async || site.daemon.log().contains("refused on the admin socket").then_some(()))
                .await;
        }
        Err(error) => {
            skipped("the admin socket's other users", &format!("only root can be somebody else ({error})"), "CI_AS_ROOT");
        }
    }
}

/// A core file would hold card numbers and keys: whatever the system allows, none is written.
#[tokio::test]
async fn the_daemon_writes_no_core_file() {
    let site = Site::open(Options::default()).await;
    assert_eq!(site.daemon.limit("Max core file size"), "0 0 bytes");
}
