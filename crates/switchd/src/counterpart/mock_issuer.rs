//! `switchd mock-issuer`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use clap::Args;
use counterparts::card::Card;
use counterparts::faults::Rule;
use counterparts::issuer::{AccountSettings, Settings};
use counterparts::net::issuer::{MockIssuer, MockIssuerArgs};
use counterparts::net::tls::Identity;
use counterparts::scenario::Scenario;
use serde::Deserialize;
use tokio::signal::unix::{SignalKind, signal};

use super::failure;
use crate::config;
use crate::exit::{Exit, Failure};

pub(super) const EXAMPLES: &str = "Examples:
  switchd mock-issuer --dir state
  switchd mock-issuer --dir state --account 4000001234567899:500000
  switchd mock-issuer --dir state --scenario deploy/scenarios/late.json --seed 7
  switchd mock-issuer --plain --settings issuer.toml --address 127.0.0.1:0 --addresses-file issuer.json

A scenario file says what it does wrong, under a name; deploy/scenarios has examples. PUT /scenario takes the same:
  {\"version\": 1, \"name\": \"partial: every other sale is approved for six tenths\",
   \"rules\": [{\"match\": {\"mti_class\": \"request\", \"rate\": 0.5}, \"do\": {\"partial_percent\": 60}}]}

The settings file:
  [issuer]
  default_balance = 1000000
  accounts = [{ card = \"4000001234567899\", balance = 500000, limit = 100000 }]
  [[fault]]
  match = { card_suffix = \"0042\", mti_class = \"reversal\" }
  times = 2
  do = \"ignore\"";

/// Balance of an unknown card when nothing else is said, in minor units.
const DEFAULT_BALANCE: u64 = 1_000_000;

#[derive(Debug, Args)]
pub(crate) struct MockIssuerCli {
    /// A directory of `switchd init`: its certificate for the mock issuer is used, and the address of its first link.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["plain", "certificate"], conflicts_with_all = ["plain", "certificate"])]
    dir: Option<PathBuf>,
    /// No TLS.
    #[arg(long, conflicts_with = "certificate")]
    plain: bool,
    /// Its certificate, PEM.
    #[arg(long, value_name = "FILE", requires_all = ["key", "authority"])]
    certificate: Option<PathBuf>,
    /// The key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// Who signs the switch, PEM.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    authority: Option<PathBuf>,
    /// Where links connect; port 0 for any. With --dir what its configuration says, else 127.0.0.1:8590.
    #[arg(long)]
    address: Option<SocketAddr>,
    /// A further line to the same books, for a switch with several links. May be repeated; PUT /links takes one down alone.
    #[arg(long = "more-address", value_name = "ADDRESS")]
    more_addresses: Vec<SocketAddr>,
    /// Where HTTP control listens; port 0 for any.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8591")]
    control_address: SocketAddr,
    /// The addresses in use are written here as JSON: {"issuer":"…","lines":["…"],"control":"…"}; issuer is the first line.
    #[arg(long, value_name = "FILE")]
    addresses_file: Option<PathBuf>,
    /// How it writes.
    #[arg(long, value_name = "NAME", default_value = "iso87-ascii")]
    dialect: String,
    /// Accounts, behaviour and faults, TOML.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// What it does wrong, in one piece: a scenario file of version 1, JSON.
    #[arg(long, value_name = "FILE", conflicts_with = "settings")]
    scenario: Option<PathBuf>,
    /// One account: card number and balance in minor units. May be repeated.
    #[arg(long = "account", value_name = "CARD:BALANCE", value_parser = account)]
    accounts: Vec<AccountSettings>,
    /// A card that is not known gets this balance, in minor units. 1000000 when no account is named.
    #[arg(long, value_name = "MINOR")]
    default_balance: Option<u64>,
    /// It remembers a reversal that comes before its original, and refuses the original then.
    #[arg(long)]
    remembers_early_reversals: bool,
    /// DE39 for a reversal whose original is not known.
    #[arg(long, value_name = "CODE")]
    unknown_original_code: Option<iso8583::ResponseCode>,
    /// Drives the rates of faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the addresses as JSON.
    #[arg(long)]
    json: bool,
}

fn account(text: &str) -> Result<AccountSettings, String> {
    let parsed = text.split_once(':').and_then(|(card, balance)| Some((card.parse::<Card>().ok()?, balance.parse().ok()?)));
    parsed.map(|(card, balance)| AccountSettings::new(card, balance)).ok_or_else(|| "needs CARD:BALANCE".to_owned())
}

/// The settings file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SettingsFile {
    issuer: Settings,
    fault: Vec<Rule>,
}

/// Runs until SIGTERM or SIGINT.
pub(super) async fn run(args: &MockIssuerCli) -> Result<Exit, Failure> {
    let not_usable = |error| Failure::new(Exit::Config, error);
    let scenario = args.scenario.as_deref().map(read_scenario).transpose().map_err(not_usable)?;
    let plays = scenario.as_ref().map(|scenario| scenario.name.clone());
    let arguments = arguments(args, scenario).map_err(not_usable)?;
    let issuer = MockIssuer::start(arguments).await.map_err(failure)?;
    announce(args, &issuer, plays.as_deref())?;
    let signals = || Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?));
    let (mut terminate, mut interrupt) = signals().map_err(|error: std::io::Error| Failure::new(Exit::Failed, error))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    issuer.stop().await;
    Ok(Exit::Done)
}

fn arguments(args: &MockIssuerCli, scenario: Option<Scenario>) -> anyhow::Result<MockIssuerArgs> {
    let SettingsFile { issuer: mut settings, fault: mut faults } = match &args.settings {
        None => SettingsFile::default(),
        Some(path) => read_settings(path)?,
    };
    if let Some(scenario) = scenario {
        (settings, faults) = (scenario.settings.unwrap_or_default(), scenario.rules);
    }
    settings.accounts.extend(args.accounts.iter().cloned());
    settings.default_balance = args.default_balance.or(settings.default_balance);
    if settings.accounts.is_empty() && settings.default_balance.is_none() {
        settings.default_balance = Some(DEFAULT_BALANCE);
    }
    settings.remembers_early_reversals |= args.remembers_early_reversals;
    if let Some(code) = args.unknown_original_code {
        settings.unknown_original_code = code;
    }
    Ok(MockIssuerArgs {
        address: address(args)?,
        more_addresses: args.more_addresses.clone(),
        control_address: args.control_address,
        tls: identity(args),
        dialect: args.dialect.clone(),
        settings,
        faults,
        seed: args.seed,
    })
}

/// Where links look for it: the switch that was made by the same `init` must find it.
fn address(args: &MockIssuerCli) -> anyhow::Result<SocketAddr> {
    let usual = SocketAddr::from(([127, 0, 0, 1], 8590));
    let file = args.dir.as_ref().map(|dir| dir.join("switchd.toml")).filter(|file| file.exists());
    let (None, Some(file)) = (args.address, file) else { return Ok(args.address.unwrap_or(usual)) };
    let Some(named) = config::first_link_address(&file)? else { return Ok(usual) };
    named.parse().map_err(|_| {
        anyhow!("{}: the first link leads to {named}, which is no IP address; next: say --address", file.display())
    })
}

fn read_settings(path: &PathBuf) -> anyhow::Result<SettingsFile> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    // The error of the parser would show the line, and with it a card.
    toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(0, |span| text[..span.start].lines().count());
        anyhow!("{}:{line}: {}", path.display(), error.message())
    })
}

fn read_scenario(path: &Path) -> anyhow::Result<Scenario> {
    const NEXT: &str = "next: compare with the examples in deploy/scenarios";
    let text = fs::read_to_string(path).map_err(|reason| anyhow!("{}: {reason}; {NEXT}", path.display()))?;
    text.parse::<Scenario>().map_err(|reason| anyhow!("{}: {reason}; {NEXT}", path.display()))
}

fn identity(args: &MockIssuerCli) -> Option<Identity> {
    if let Some(dir) = &args.dir {
        let tls = dir.join("tls");
        return Some(Identity {
            certificate: tls.join("mock-issuer.pem"),
            key: tls.join("mock-issuer.key"),
            authority: tls.join("ca.pem"),
        });
    }
    let (certificate, key, authority) = (args.certificate.clone()?, args.key.clone()?, args.authority.clone()?);
    Some(Identity { certificate, key, authority })
}

fn announce(args: &MockIssuerCli, issuer: &MockIssuer, plays: Option<&str>) -> anyhow::Result<()> {
    let (address, control) = (issuer.address().to_string(), issuer.control_address().to_string());
    let json = serde_json::json!({ "issuer": address, "lines": issuer.addresses(), "control": control });
    if args.json {
        println!("{json}");
    } else {
        let lines: Vec<String> = issuer.addresses().iter().map(ToString::to_string).collect();
        println!("mock issuer on {}, control on http://{control}", lines.join(" and "));
        if let Some(plays) = plays {
            println!("scenario {plays}");
        }
    }
    if let Some(file) = &args.addresses_file {
        let part = file.with_extension("part");
        fs::write(&part, format!("{json}\n"))
            .and_then(|()| fs::rename(&part, file))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: MockIssuerCli,
    }

    #[track_caller]
    fn check(arguments: &[&str], listens: &str) {
        let args = Command::parse_from([&["mock-issuer"], arguments].concat()).args;
        let found = address(&args).map_or_else(|error| error.to_string(), |address| address.to_string());
        assert!(found.contains(listens), "{arguments:?}: {found}");
    }

    /// What a scenario file leads to: its faults and the balance of a card that is not known, or the refusal.
    #[track_caller]
    fn check_scenario(content: Option<&str>, more: &[&str], expected: &str) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let file = dir.path().join("scenario.json");
        if let Some(content) = content {
            fs::write(&file, content).expect("the directory is ours");
        }
        let path = file.to_str().expect("the path is text");
        let args = Command::parse_from([&["mock-issuer", "--plain", "--scenario", path], more].concat()).args;
        let found = match read_scenario(&file).and_then(|scenario| arguments(&args, Some(scenario))) {
            Ok(found) => format!(
                "{:?} {:?}",
                found.faults.iter().map(|f| &f.fault).collect::<Vec<_>>(),
                found.settings.default_balance
            ),
            Err(error) => format!("{error:#}"),
        };
        assert!(found.contains(expected), "{content:?} {more:?}: {found}");
        if found != expected {
            assert!(found.contains("scenario.json") && found.contains("next: "), "{found}");
        }
    }

    #[test]
    fn a_scenario_file_is_in_force_from_the_start_or_refused_with_what_to_do() {
        let good = r#"{"version": 1, "name": "n", "rules": [{"do": "ignore"}], "settings": {"default_balance": 5}}"#;
        check_scenario(Some(good), &[], "[Ignore] Some(5)");
        check_scenario(Some(good), &["--default-balance", "7"], "[Ignore] Some(7)");
        check_scenario(Some(r#"{"version": 1, "name": "n"}"#), &[], "[] Some(1000000)");
        check_scenario(None, &[], "No such file or directory");
        check_scenario(Some("{"), &[], "is not JSON");
        check_scenario(Some(r#"{"version": 2, "name": "n"}"#), &[], "has version 2, and this program reads version 1");
        check_scenario(Some(r#"{"version": 1, "name": "n", "rule": []}"#), &[], "unknown field `rule`");
        let both = Command::try_parse_from(["mock-issuer", "--plain", "--scenario", "a", "--settings", "b"]);
        assert!(both.is_err_and(|error| error.to_string().contains("cannot be used with")));
    }

    #[test]
    fn it_listens_where_the_links_of_its_directory_lead() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().to_str().expect("the path is text");
        check(&["--plain"], "127.0.0.1:8590");
        check(&["--dir", path], "127.0.0.1:8590");
        let link =
            |address: &str| fs::write(dir.path().join("switchd.toml"), format!("[[link]]\naddress = \"{address}\"\n"));
        link("127.0.0.1:18590").expect("the directory is ours");
        check(&["--dir", path], "127.0.0.1:18590");
        check(&["--dir", path, "--address", "127.0.0.1:7"], "127.0.0.1:7");
        link("issuer.example:8590").expect("the directory is ours");
        check(&["--dir", path], "next: say --address");
    }
}
