//! `switchd terminal`.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use counterparts::card::Card;
use counterparts::issuer::PinBlock;
use counterparts::net::terminal::{Route, TerminalArgs, TerminalClient, Vanish, VanishPoint};
use counterparts::net::tls::Identity;
use counterparts::terminal::{Asked, BeliefLine, Outcome, Presented, Receipt, ReversalNames, Settings};
use iso8583::{Currency, Stan, TerminalId};

use super::failure;
use crate::config::units;
use crate::exit::{Exit, Failure};
use crate::init::MERCHANT;

pub(super) const EXAMPLES: &str = "Examples:
  switchd terminal --dir state sale --card 4000001234567899 --amount 1000
  switchd terminal --dir state --terminal TERM0002 reverse
  switchd terminal --dir state --vanish after-sending sale --card 4000001234567899 --amount 1000
  switchd terminal --dir state clear

Exits with 0 when approved or done, 3 when declined, 4 when nobody knows.";

#[derive(Debug, Args)]
pub(crate) struct TerminalCli {
    #[command(subcommand)]
    action: Action,
    /// A directory of `switchd init`: certificates, the switch's address, and the terminal's journal are there.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["plain", "certificate"])]
    dir: Option<PathBuf>,
    /// DE41; with --dir also the name of its certificate.
    #[arg(long, value_name = "DE41", default_value = "TERM0001")]
    terminal: String,
    /// DE42.
    #[arg(long, value_name = "DE42", default_value = MERCHANT)]
    merchant: String,
    /// The switch. With --dir the address that the running daemon wrote there, else 127.0.0.1:8583.
    #[arg(long)]
    address: Option<SocketAddr>,
    /// No TLS.
    #[arg(long, conflicts_with_all = ["certificate"])]
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
    /// The name in the switch's certificate.
    #[arg(long, value_name = "NAME", default_value = "localhost")]
    server_name: String,
    /// How it writes.
    #[arg(long, value_name = "NAME", default_value = "iso87-ascii")]
    dialect: String,
    /// DE49.
    #[arg(long, value_name = "DE49", default_value = "840")]
    currency: Currency,
    /// Minutes by which its clock is ahead of UTC.
    #[arg(long, value_name = "MINUTES", default_value_t = 0, allow_negative_numbers = true)]
    utc_offset_minutes: i32,
    /// It does not reverse a request of unknown end before anything new.
    #[arg(long)]
    forgetful: bool,
    /// How its reversals name the original.
    #[arg(long, value_enum, default_value_t = Names::OwnStan)]
    reversal_names: Names,
    /// Its journal. With --dir: DIR/terminals/NAME.jsonl. Without either it forgets everything.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// How long it waits for an answer.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    response_timeout: Duration,
    /// It vanishes during the exchange.
    #[arg(long, value_enum)]
    vanish: Option<When>,
    /// It vanishes with a reset instead of a close.
    #[arg(long, requires = "vanish")]
    vanish_reset: bool,
    /// Print the receipt as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// A purchase: 0200.
    Sale(Money),
    /// Cash: 0200.
    Cash(Money),
    /// A hold: 0100.
    Auth(Money),
    /// A balance inquiry: 0200.
    Balance(CardArgs),
    /// The newest request once more: 0101, 0201.
    Repeat,
    /// Reverse the newest request, or the one with a STAN: 0400.
    Reverse {
        /// DE11 of the original.
        #[arg(long)]
        stan: Option<Stan>,
        /// What remains, in minor units; 0 reverses all.
        #[arg(long, default_value_t = 0)]
        remains: u64,
        /// The card number, when its journal does not hold it: a journal holds it masked.
        #[arg(long)]
        card: Option<Card>,
    },
    /// Send the reversal that is owed until it is acknowledged.
    Clear {
        /// How long.
        #[arg(long, default_value = "30s", value_parser = duration)]
        within: Duration,
    },
    /// 0800 with DE70 301.
    Echo,
    /// 0800 with DE70 001.
    SignOn,
    /// What it believes, from its journal; asks nobody.
    Journal,
}

#[derive(Debug, Args)]
struct Money {
    #[command(flatten)]
    card: CardArgs,
    /// Minor units: cents.
    #[arg(long, value_name = "MINOR")]
    amount: u64,
}

#[derive(Debug, Args)]
struct CardArgs {
    /// The card number. A test card: others can read a command line.
    #[arg(long, default_value = "4000001234567899")]
    card: Card,
    /// DE14, YYMM.
    #[arg(long, value_name = "YYMM")]
    expiry: Option<String>,
    /// What follows the card number and its separator on track 2: sent as DE35 instead of DE2.
    #[arg(long, value_name = "DIGITS")]
    track2_tail: Option<String>,
    /// DE52, 16 hex digits.
    #[arg(long, value_name = "HEX", value_parser = pin_block)]
    pin_block: Option<PinBlock>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Names {
    /// DE90, with a STAN of its own.
    OwnStan,
    /// The original's STAN in DE11.
    OriginalStan,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum When {
    /// The request is in its journal and not sent.
    BeforeSending,
    /// The request is sent, no answer is read.
    AfterSending,
    /// Half of the answer is read.
    HalfAnswer,
    /// The answer is read, and not written down.
    BeforeBelieving,
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration_ms(text).map(Duration::from_millis).ok_or_else(|| format!("needs {}", units::DURATION))
}

fn pin_block(text: &str) -> Result<PinBlock, &'static str> {
    PinBlock::try_from(text.to_owned())
}

impl CardArgs {
    fn presented(&self) -> Presented {
        Presented {
            card: self.card.clone(),
            expiry: self.expiry.clone(),
            track2_tail: self.track2_tail.clone().map(Into::into),
            pin_block: self.pin_block,
            chip: None,
        }
    }
}

/// One exchange, or none.
pub(super) async fn run(args: &TerminalCli) -> Result<Exit, Failure> {
    let mut terminal = TerminalClient::open(arguments(args)?).map_err(failure)?;
    if let Some(point) = args.vanish {
        terminal.vanish_next(Vanish { point: point.into(), reset: args.vanish_reset });
    }
    let receipt = match &args.action {
        Action::Sale(money) => terminal.sale(&money.card.presented(), money.amount).await.map(Some),
        Action::Cash(money) => terminal.ask(Asked::Cash, &money.card.presented(), money.amount).await.map(Some),
        Action::Auth(money) => terminal.auth(&money.card.presented(), money.amount).await.map(Some),
        Action::Balance(card) => terminal.ask(Asked::Balance, &card.presented(), 0).await.map(Some),
        Action::Repeat => terminal.repeat().await.map(Some),
        Action::Reverse { stan, remains, card } => terminal.reverse(*stan, *remains, card.as_ref()).await.map(Some),
        Action::Clear { within } => terminal.clear_pending(*within).await,
        Action::Echo => terminal.echo().await.map(Some),
        Action::SignOn => terminal.sign_on().await.map(Some),
        Action::Journal => {
            print_journal(terminal.terminal().beliefs(), args.json)?;
            return Ok(Exit::Done);
        }
    };
    match receipt.map_err(failure)? {
        Some(receipt) => print_receipt(&receipt, args.json),
        None => {
            println!("nothing is owed");
            Ok(Exit::Done)
        }
    }
}

fn print_receipt(receipt: &Receipt, json: bool) -> Result<Exit, Failure> {
    if json {
        println!("{}", serde_json::to_string(receipt).context("the receipt")?);
    } else {
        print!("{receipt}");
    }
    Ok(match receipt.outcome {
        Outcome::Approved => Exit::Done,
        Outcome::Declined => Exit::Declined,
        Outcome::Unknown => Exit::Unknown,
    })
}

fn print_journal(beliefs: &[BeliefLine], json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(beliefs).context("the journal")?);
        return Ok(());
    }
    for b in beliefs {
        let (rrn, code) = (b.rrn.as_deref().unwrap_or("-"), b.code.as_deref().unwrap_or("--"));
        println!("{}  {rrn:<12}  {code}  {:?}  {} {}  {}", b.stan, b.belief, b.amount, b.currency, b.card);
    }
    Ok(())
}

fn arguments(args: &TerminalCli) -> anyhow::Result<TerminalArgs> {
    let id = TerminalId::new(args.terminal.as_bytes(), args.merchant.as_bytes())?;
    let settings = Settings {
        utc_offset_minutes: args.utc_offset_minutes,
        reverses_first: !args.forgetful,
        reversal_names: match args.reversal_names {
            Names::OwnStan => ReversalNames::OwnStan,
            Names::OriginalStan => ReversalNames::OriginalStan,
        },
        ..Settings::new(id, args.currency)
    };
    let tls = match identity(args) {
        Some(identity) => Some((args.server_name.clone(), identity.client()?)),
        None => None,
    };
    let route = Route { address: address(args)?, tls, dialect: args.dialect.clone() };
    Ok(TerminalArgs { route, settings, journal: journal(args)?, response_timeout: args.response_timeout })
}

fn identity(args: &TerminalCli) -> Option<Identity> {
    if args.plain {
        return None;
    }
    if let (Some(certificate), Some(key), Some(authority)) = (&args.certificate, &args.key, &args.authority) {
        return Some(Identity { certificate: certificate.clone(), key: key.clone(), authority: authority.clone() });
    }
    let tls = args.dir.as_ref()?.join("tls");
    Some(Identity {
        certificate: tls.join(format!("{}.pem", args.terminal)),
        key: tls.join(format!("{}.key", args.terminal)),
        authority: tls.join("ca.pem"),
    })
}

fn address(args: &TerminalCli) -> anyhow::Result<SocketAddr> {
    let written = args.dir.as_ref().map(|dir| dir.join("addresses.json")).filter(|file| file.exists());
    match (args.address, written) {
        (Some(address), _) => Ok(address),
        (None, Some(file)) => written_address(&file).with_context(|| file.display().to_string()),
        (None, None) => Ok(SocketAddr::from(([127, 0, 0, 1], 8583))),
    }
}

fn written_address(file: &Path) -> anyhow::Result<SocketAddr> {
    let addresses: serde_json::Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    Ok(addresses["terminals"].as_str().context("no address of terminals")?.parse()?)
}

fn journal(args: &TerminalCli) -> anyhow::Result<Option<PathBuf>> {
    if let Some(file) = &args.journal {
        return Ok(Some(file.clone()));
    }
    let Some(dir) = &args.dir else { return Ok(None) };
    let dir = dir.join("terminals");
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(Some(dir.join(format!("{}.jsonl", args.terminal))))
}

impl From<When> for VanishPoint {
    fn from(when: When) -> Self {
        match when {
            When::BeforeSending => VanishPoint::BeforeSending,
            When::AfterSending => VanishPoint::AfterSending,
            When::HalfAnswer => VanishPoint::HalfAnswer,
            When::BeforeBelieving => VanishPoint::BeforeBelieving,
        }
    }
}
