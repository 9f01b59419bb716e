//! Tells the program which commit it was built from (`switchd --version`): what `SWITCHD_COMMIT` says, else what git says,
//! else "commit unknown". A build without git is no failure: sources also come as an archive.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=SWITCHD_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let given = std::env::var("SWITCHD_COMMIT").ok().filter(|given| !given.trim().is_empty());
    let commit = given.or_else(commit).unwrap_or_else(|| "commit unknown".to_owned());
    println!("cargo:rustc-env=SWITCHD_COMMIT={}", commit.trim());
}

/// The commit that is checked out, if these sources are a repository of their own.
fn commit() -> Option<String> {
    // Every commit and every checkout adds a line to this file. One that does not exist would mean a build each time.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo:rerun-if-changed={log}");
    }
    // Sources below somebody else's repository would get that one's commit.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
