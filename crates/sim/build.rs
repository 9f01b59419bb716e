//! The commit that a failing seed belongs to, with a `+` where what is built differs from it.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=../../.git/HEAD");
    println!("cargo:rerun-if-changed=../../.git/logs/HEAD");
    for simulated in ["sim", "switch", "journal", "partition", "counterparts", "iso8583"] {
        println!("cargo:rerun-if-changed=../{simulated}/src");
    }
    let commit = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok();
    let commit = commit.filter(|output| output.status.success()).and_then(|output| String::from_utf8(output.stdout).ok());
    // A working tree that differs from it is another program.
    let changed = Command::new("git").args(["status", "--porcelain", "--untracked-files=no"]).output().ok();
    let dirty = changed.is_none_or(|output| !output.stdout.is_empty());
    let commit = commit.as_deref().unwrap_or("unknown").trim();
    println!("cargo:rustc-env=SIM_COMMIT={commit}{}", if dirty { "+" } else { "" });
}
