//! `cargo run --example sbom > switchd.cdx.json`: what the production build is made of, as a CycloneDX 1.5 bill of materials.
//!
//! From `cargo tree` and `cargo metadata`, without the network: every crate that is compiled into `switchd --no-default-features` on this platform or
//! runs while it is built, with version, licence, checksum and what it depends on. Not tests, benches, fuzzers, counterparts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

fn main() -> ExitCode {
    match bill() {
        Ok(bill) => {
            println!("{bill:#}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("sbom: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn bill() -> Result<Value> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let metadata = metadata(here)?;
    let built = built(here)?;
    let packages: BTreeMap<&str, &Value> = array(&metadata["packages"])
        .filter(|package| built.contains(&named(package)))
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let root = packages.iter().find(|(_, package)| package["name"] == "switchd").map(|(id, _)| *id);
    let root = root.context("cargo metadata does not name switchd")?;
    if packages.len() != built.len() {
        bail!("cargo tree names {} packages, cargo metadata has {} of them", built.len(), packages.len());
    }
    let edges = edges(&metadata, &packages);
    let checksums = checksums(&here.join("../../Cargo.lock"))?;
    let components = packages.iter().filter(|(id, _)| **id != root).map(|(_, package)| component(package, &checksums));
    let depends = |(id, package): (&&str, &&Value)| {
        let on: Vec<String> = edges.get(id).into_iter().flatten().map(|next| purl(packages[next])).collect();
        json!({ "ref": purl(package), "dependsOn": on })
    };
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": component(packages[root], &checksums) },
        "components": components.collect::<Vec<_>>(),
        "dependencies": packages.iter().map(depends).collect::<Vec<_>>(),
    }))
}

/// Everything about every package that the lock file names.
fn metadata(here: &Path) -> Result<Value> {
    Ok(serde_json::from_str(&cargo(here, &["metadata", "--format-version", "1", "--locked", "--offline"])?)?)
}

/// Names and versions of what the production build on this platform needs. `cargo metadata` alone would say more: it unites the
/// features that all programs of the workspace want.
fn built(here: &Path) -> Result<BTreeSet<(String, String)>> {
    let args = ["tree", "-p", "switchd", "-e", "normal,build", "--no-default-features", "--prefix", "none"];
    let tree = cargo(here, &[&args[..], &["--locked", "--offline"]].concat())?;
    // `name v1.2.3 …`
    let package = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.strip_prefix('v')?.to_owned()))
    };
    Ok(tree.lines().filter_map(package).collect())
}

fn cargo(here: &Path, args: &[&str]) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(args).current_dir(here).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo {}: {}", args[0], String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn named(package: &Value) -> (String, String) {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    (text("name"), text("version"))
}

/// Which package needs which of these, for the program or for building it; not for its tests.
fn edges<'a>(metadata: &'a Value, packages: &BTreeMap<&str, &Value>) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let needed = |dependency: &&Value| array(&dependency["dep_kinds"]).any(|kind| kind["kind"] != "dev");
    array(&metadata["resolve"]["nodes"])
        .filter_map(|node| {
            let needs = array(&node["deps"]).filter(needed).filter_map(|dependency| dependency["pkg"].as_str());
            Some((node["id"].as_str()?, needs.filter(|id| packages.contains_key(id)).collect()))
        })
        .collect()
}

/// SHA-256 of each package from a registry, by name and version.
fn checksums(lock: &Path) -> Result<BTreeMap<(String, String), String>> {
    let text = std::fs::read_to_string(lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let lock: toml::Table = text.parse()?;
    let packages = lock.get("package").and_then(toml::Value::as_array).context("the lock file lists packages")?;
    let of = |package: &toml::Value, key| package.get(key).and_then(toml::Value::as_str).map(str::to_owned);
    Ok(packages
        .iter()
        .filter_map(|package| Some(((of(package, "name")?, of(package, "version")?), of(package, "checksum")?)))
        .collect())
}

fn component(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let mut component = json!({
        "type": if text("name") == "switchd" { "application" } else { "library" },
        "bom-ref": purl(package),
        "purl": purl(package),
        "name": text("name"),
        "version": text("version"),
    });
    // Some write "MIT/Apache-2.0", which is no expression any more and means "or".
    let licence = text("license").replace('/', " OR ");
    if !licence.is_empty() {
        component["licenses"] = json!([{ "expression": licence }]);
    }
    if let Some(checksum) = checksums.get(&(text("name"), text("version"))) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

fn purl(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default();
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
