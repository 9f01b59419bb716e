//! The command line. Every command says what it does, with an example; exit codes stand below `switchd --help`.

pub(crate) mod adopt;
pub(crate) mod ask;
mod check;
pub(crate) mod decode;
mod doubt;
pub(crate) mod generate;
mod journal;
mod keys;
mod link;
mod read_only;
mod resolve;
mod status;
pub(crate) mod time;
mod tx;
mod watch;
mod why;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::exit::{self, Exit, Failure};
use crate::init::{self, Addresses};
use crate::observe::log;
use crate::serve;

/// With the commit, so that what runs can be found again.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SWITCHD_COMMIT"), ")");

/// The acquirer transaction switch.
#[derive(Debug, Parser)]
#[command(name = "switchd", version = VERSION, about, after_help = exit::table(), max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a directory with keys, development certificates, terminal registry and configuration.
    ///
    /// Overwrites nothing. The certificates are for development: one authority signs the switch, a mock issuer, and
    /// TERM0001, TERM0002 … of merchant MERCHANT0000001.
    #[command(after_help = "Example:\n  switchd init state --terminals 4")]
    Init(InitArgs),
    /// Run the daemon.
    ///
    /// Nothing is bound before the configuration, the certificates, the keys and the journal are all right. SIGTERM
    /// drains: what is in flight is answered, then it ends; a second SIGTERM ends the drain.
    #[command(after_help = "Example:\n  switchd serve --config state/switchd.toml")]
    Serve(ServeArgs),
    /// Print a message field by field, masked unless --clear.
    #[command(after_help = "Example:\n  switchd decode --dialect iso87-ascii 30383030… --json")]
    Decode(decode::DecodeArgs),
    /// Show the daemon at a glance: readiness, doubt, links, terminals.
    #[command(after_help = "Example:\n  switchd status --config state/switchd.toml")]
    Status(status::StatusArgs),
    /// List what is in doubt, what happens next and when, and what needs a person, with the evidence.
    ///
    /// Shows the newest state, which may be newer than the disk: after a crash the last moments can read otherwise.
    #[command(
        after_help = "Examples:\n  switchd doubt --config state/switchd.toml\n  switchd doubt --socket state/admin.sock --json"
    )]
    Doubt(doubt::DoubtArgs),
    /// Tell what happened to a movement: by RRN, by terminal and STAN, by terminal and day, or by card.
    ///
    /// One plain sentence says what happened, whether money moved, and what the merchant may do; below it stand all that is
    /// known and every record about it with its time. Memory shows the newest state, which may be newer than the disk; the
    /// history is what is on disk.
    #[command(
        after_help = "Examples:\n  switchd tx 632610000001 --config state/switchd.toml\n  switchd tx --terminal TERM0001 --stan 17 --lang zh --config state/switchd.toml\n  switchd tx --terminal TERM0001/MERCHANT0000001 --day 2026-11-22 --socket state/admin.sock\n  switchd tx --card '400000******7899' --day 2026-11-22 --json --socket state/admin.sock\n  switchd tx --all --json --socket state/admin.sock"
    )]
    Tx(tx::TxArgs),
    /// Say why a request has no answer: the nearest messages that matched nothing, and in which part they differ.
    ///
    /// The newest 1024 messages of issuers that matched nothing are kept, masked, while the daemon runs.
    #[command(
        after_help = "Examples:\n  switchd why 632610000001 --config state/switchd.toml\n  switchd why 000017 --json --socket state/admin.sock"
    )]
    Why(why::WhyArgs),
    /// Wish a link drained, up, signed on or signed off, whatever its health.
    ///
    /// The wish stands until another is made or the daemon ends; `switchd status` shows it beside the link's health. To take a
    /// link away: drain it, wait until nothing is in flight, sign off.
    #[command(
        after_help = "Examples:\n  switchd link \"first line\" drain --who ann --why \"maintenance, ticket 8\" --config state/switchd.toml\n  switchd link 1.1 sign-on --socket state/admin.sock"
    )]
    Link(link::LinkArgs),
    /// Decide what only a person can: what stands of a movement that `switchd doubt` lists, who says so, and why.
    ///
    /// Answered when the decision is durable; ends with 1 and the reason when it is not taken, and where nothing is open.
    /// `undo` is an order: the reversal is sent until the issuer acknowledges it; a sale that stands is undone where an entry
    /// names it or a partial reversal of it is on its way. The others end the doubt and send nothing; the two that say
    /// "elsewhere" change what stands in the journal. An entry (`entry-N`) is closed with `stands`.
    #[command(
        after_help = "Examples:\n  switchd resolve 632610000001 --as stands --who ann --why \"on the issuer's list\" --config state/switchd.toml\n  switchd resolve 632610000001 --as adjusted-elsewhere --amount 500 --who ann --why \"ticket 7\" --socket state/admin.sock"
    )]
    Resolve(resolve::ResolveArgs),
    /// Take the journal that is there at the next start, although its witness says that a newer one exists (K5).
    ///
    /// For a journal that had to be restored from an older copy, or begun anew, because the newest is lost. What the copy
    /// lacks is unknown to the switch: first settle it with the issuers, as docs/OPERATIONS.md says. The daemon must not run.
    #[command(
        after_help = "Examples:\n  switchd adopt --config state/switchd.toml --who ann --why \"disk lost, copy of 3 h; list settled, ticket 7\"\n  switchd adopt --config state/switchd.toml --who ann --why \"ticket 7\" --json"
    )]
    Adopt(adopt::AdoptArgs),
    /// Read a journal offline: verify it, print its records, count them. Masked, and without its keys.
    Journal(journal::JournalArgs),
    /// Watch rate, latency, approval share, doubt and links live.
    ///
    /// A screen that is written anew each second; a line for each look where standard output is no terminal. Ctrl-C ends it.
    #[command(
        after_help = "Examples:\n  switchd watch --config state/switchd.toml\n  switchd watch --every 10 --json --socket state/admin.sock\n  switchd watch --once --config state/switchd.toml"
    )]
    Watch(watch::WatchArgs),
    /// List the keys that protect cards, or put a new one first.
    Keys(keys::KeysArgs),
    /// Judge a configuration and every file that it names, as a start would; starts nothing.
    ///
    /// Ends with 10 and every wrong line where a start would refuse.
    #[command(after_help = "Example:\n  switchd check --config state/switchd.toml")]
    Check(check::CheckArgs),
    /// Write man pages or shell completions into a directory.
    #[command(
        after_help = "Examples:\n  switchd generate man /usr/share/man/man1\n  switchd generate completions /usr/share/switchd"
    )]
    Generate(generate::GenerateArgs),
    #[cfg(feature = "counterparts")]
    #[command(flatten)]
    Counterpart(super::counterpart::Command),
    /// Show with real processes what the switch promises, in under a minute.
    ///
    /// A daemon and a mock issuer in a temporary directory, on free ports of loopback. Ends with 0 only when the ledgers
    /// of issuer, switch and terminals agree and nothing is in doubt.
    #[cfg(feature = "counterparts")]
    #[command(after_help = super::demo::EXAMPLES)]
    Demo(super::demo::DemoArgs),
}

#[derive(Debug, Args)]
struct InitArgs {
    /// The directory; it is made if it is not there.
    dir: PathBuf,
    /// How many terminals get a certificate.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=i64::from(init::TERMINALS_MAX)))]
    terminals: u16,
    /// Where terminals connect, instead of 127.0.0.1:8583; port 0 for any.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where metrics are served, instead of 127.0.0.1:9583; port 0 for any.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// The issuer's host, instead of 127.0.0.1:8590.
    #[arg(long, value_name = "ADDRESS")]
    issuer: Option<SocketAddr>,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// The configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Does what the command line says.
pub(crate) fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors.
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            let _ = error.print();
            return exit;
        }
    };
    let done = match cli.command {
        Command::Init(args) => run_init(&args),
        // Its last words wait for a reader a moment only: whoever restarts it waits for its end.
        Command::Serve(args) => {
            let ended = serve::serve(&args.config);
            log::end(ended.as_ref().err().map(words));
            return ended.unwrap_or_else(|failure| failure.exit);
        }
        Command::Decode(args) => decode::run(&args),
        Command::Status(args) => status::status(&args),
        Command::Doubt(args) => doubt::doubt(&args),
        Command::Tx(args) => tx::tx(&args),
        Command::Why(args) => why::why(&args),
        Command::Link(args) => link::link(&args),
        Command::Resolve(args) => resolve::resolve(&args),
        Command::Journal(args) => journal::run(&args),
        Command::Watch(args) => watch::watch(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Adopt(args) => adopt::run(&args),
        Command::Generate(args) => generate::run(&args, Cli::command()),
        #[cfg(feature = "counterparts")]
        Command::Counterpart(command) => super::counterpart::run(command),
        #[cfg(feature = "counterparts")]
        Command::Demo(args) => super::demo::run(&args),
    };
    done.unwrap_or_else(|failure| {
        eprintln!("{}", words(&failure));
        failure.exit
    })
}

fn words(Failure { exit: _, error }: &Failure) -> String {
    format!("switchd: {error:#}")
}

fn run_init(args: &InitArgs) -> Result<Exit, Failure> {
    let addresses = Addresses { listen: args.listen, metrics: args.metrics, issuer: args.issuer };
    init::init(&args.dir, args.terminals, addresses)?;
    print!("{}", init::next_steps(&args.dir, args.terminals));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_shows_the_exit_codes() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        assert!(command.render_help().to_string().contains("journal-poisoned"));
    }

    #[test]
    fn every_command_has_an_example() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let name = command.get_name();
            assert!(help.contains(&format!("switchd {name}")), "{name}");
            assert!(command.get_about().is_some(), "{name}");
        }
    }
}
