//! The table of docs/ARCHITECTURE.md: who may depend on whom, and what a production build has in it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// What a crate may depend on of ours. Nothing depends on `switchd` but `fuzz`, which reads what it reads, and nothing on `fuzz`.
const MAY_DEPEND_ON: &[(&str, &[&str])] = &[
    ("iso8583", &[]),
    ("switch", &["iso8583"]),
    ("journal", &[]),
    // `iso8583` for the values that pass through it, as `switch` has them.
    ("partition", &["switch", "journal", "iso8583"]),
    ("index", &["switch", "journal", "iso8583"]),
    ("counterparts", &["iso8583"]),
    ("sim", &["iso8583", "switch", "journal", "partition", "counterparts"]),
    ("switchd", &["iso8583", "switch", "journal", "partition", "index", "counterparts"]),
    ("fuzz", &["iso8583", "switch", "journal", "partition", "counterparts", "switchd"]),
];

/// Not even their tests may know each other.
const STRANGERS: [(&str, &str); 2] = [("switch", "journal"), ("journal", "switch")];

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the workspace is where it was built")
}

fn cargo(args: &[&str]) -> Output {
    let output = cargo_command().args(args).output().expect("cargo starts");
    assert!(output.status.success(), "cargo {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
    output
}

fn cargo_command() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn tree(args: &[&str]) -> BTreeSet<String> {
    let output = cargo(&[&["tree", "--locked", "--prefix", "none", "--format", "{p}"], args].concat());
    let text = String::from_utf8(output.stdout).expect("cargo writes text");
    text.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

/// Our crates, and for each its dependencies as cargo tells them.
fn ours() -> BTreeMap<String, Vec<Value>> {
    let output = cargo(&["metadata", "--format-version", "1", "--no-deps", "--locked"]);
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let packages = metadata["packages"].as_array().expect("it lists packages");
    let named = |package: &Value| {
        let dependencies = package["dependencies"].as_array().expect("it lists dependencies").clone();
        (package["name"].as_str().expect("a package has a name").to_owned(), dependencies)
    };
    packages.iter().map(named).collect()
}

fn name(dependency: &Value) -> &str {
    dependency["name"].as_str().expect("a dependency has a name")
}

/// `None` for a normal dependency, else `dev` or `build`.
fn kind(dependency: &Value) -> Option<&str> {
    dependency["kind"].as_str()
}

#[test]
fn who_depends_on_whom() {
    let ours = ours();
    let mut wrong = Vec::new();
    for (package, dependencies) in &ours {
        let Some((_, allowed)) = MAY_DEPEND_ON.iter().find(|(name, _)| name == package) else {
            wrong.push(format!("{package} is not in the table"));
            continue;
        };
        for dependency in dependencies.iter().filter(|dependency| ours.contains_key(name(dependency))) {
            let other = name(dependency);
            if kind(dependency) != Some("dev") && !allowed.contains(&other) {
                wrong.push(format!("{package} must not depend on {other}"));
            }
            if other == "fuzz" {
                wrong.push(format!("{package} must not depend on fuzz, not even in its tests"));
            }
            if other == "switchd" && package != "fuzz" {
                wrong.push(format!("{package} must not depend on switchd, not even in its tests"));
            }
            if STRANGERS.contains(&(package.as_str(), other)) {
                wrong.push(format!("{package} must not know {other}, not even in its tests"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert!(ours.contains_key("switchd") && ours.contains_key("switch"), "the table was held against something");
}

/// The core cannot reach clock, disk, socket or randomness: it has no `std`, and nothing but `iso8583`, which has none either.
#[test]
fn the_core_has_no_std_and_one_dependency() {
    let ours = ours();
    let normal = ours["switch"].iter().filter(|dependency| kind(dependency) != Some("dev"));
    assert_eq!(normal.map(name).collect::<Vec<_>>(), ["iso8583"]);
    for package in ["switch", "iso8583"] {
        let lib = std::fs::read_to_string(root().join(format!("crates/{package}/src/lib.rs"))).expect("it has a lib.rs");
        assert!(lib.lines().any(|line| line == "#![no_std]"), "{package} is no_std");
        let mut lines = lib.lines().peekable();
        while let Some(line) = lines.next() {
            let for_tests = line == "#[cfg(test)]";
            let names_std = lines.peek().is_some_and(|next| next.trim_end_matches(';').ends_with("extern crate std"));
            assert!(for_tests || !names_std, "{package} takes std in by {line:?}");
        }
    }
    // All that is below the core: `iso8583`, its errors, its wiping of memory.
    let below = tree(&["-p", "switch", "-e", "normal,build,no-proc-macro"]);
    let below: Vec<_> = below.iter().map(String::as_str).collect();
    assert_eq!(below, ["iso8583", "switch", "thiserror", "zeroize"]);
}

#[test]
fn counterparts_come_by_the_default_feature_only() {
    let ours = ours();
    let to_counterparts: Vec<_> = ours["switchd"].iter().filter(|dependency| name(dependency) == "counterparts").collect();
    let [dependency] = to_counterparts[..] else { panic!("switchd names counterparts once: {to_counterparts:?}") };
    assert_eq!((kind(dependency), &dependency["optional"]), (None, &Value::Bool(true)));
    assert!(tree(&["-p", "switchd", "-e", "normal"]).contains("counterparts"), "the default build has them");
    let production = tree(&["-p", "switchd", "-e", "normal,build", "--no-default-features"]);
    // `tempfile` comes with the index's engine (fjall).
    for name in ["counterparts", "indicatif"] {
        assert!(!production.contains(name), "{name} is in the production build");
    }
    assert!(production.contains("switchd") && production.contains("partition"), "the tree was read");
}

/// The production build is built, and its executable knows no mock issuer, no terminal and no demonstration.
#[test]
fn the_production_build_has_no_counterpart() {
    // Beside the executable that the other tests run, which must stay as it is; what both have in common is not built
    // again, as far as this cargo can tell the two places apart.
    let usual = Path::new(crate::support::daemon::SWITCHD);
    let profile_dir = usual.parent().expect("it is in the directory of its profile");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("production");
    let profile = profile_dir.file_name().and_then(|name| name.to_str()).expect("the directory has a name");
    let built = cargo_command()
        .args(["build", "-p", "switchd", "--bin", "switchd", "--no-default-features", "--locked"])
        .args(["--profile", if profile == "debug" { "dev" } else { profile }, "--target-dir"])
        .arg(&target)
        .env("CARGO_BUILD_BUILD_DIR", profile_dir.parent().expect("it is in the target directory"))
        .output()
        .expect("cargo starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));

    let (production, usual) = (commands(&target.join(profile).join("switchd")), commands(usual));
    for command in ["mock-issuer", "terminal", "demo"] {
        assert!(!production.contains(command), "{command} is in the production build");
        assert!(usual.contains(command), "{command} is not in the usual build, so this test looks for the wrong name");
    }
    assert!(production.contains("serve"), "{production:?}");
}

/// The commands that an executable shows.
fn commands(executable: &Path) -> BTreeSet<String> {
    let output = Command::new(executable).arg("--help").output().expect("it starts");
    let help = String::from_utf8(output.stdout).expect("help is text");
    help.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned)).collect()
}
