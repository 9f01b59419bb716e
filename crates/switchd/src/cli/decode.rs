//! `switchd decode`: a message field by field. The only place that can show one in clear, and only what its user typed.

use anyhow::Context;
use clap::Args;
use iso8583::display::{self, Secrets};
use iso8583::{Dialect, Fields, Layout};

use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(crate) struct DecodeArgs {
    /// How it is written.
    #[arg(long, value_name = "NAME", value_parser = dialect)]
    dialect: &'static Dialect,
    /// As JSON: {"mti":"0200","fields":{"2":"…"}}.
    #[arg(long)]
    json: bool,
    /// Show secrets as well: card number, track, PIN block.
    #[arg(long)]
    clear: bool,
    /// The message in hex, without its length; spaces are ignored. - reads it from standard input.
    #[arg(required = true, value_name = "HEX")]
    hex: Vec<String>,
}

fn dialect(name: &str) -> Result<&'static Dialect, String> {
    let known = || Dialect::all().iter().map(|dialect| dialect.name).collect::<Vec<_>>().join(", ");
    Dialect::by_name(name).ok_or_else(|| format!("the dialects are {}", known()))
}

/// Prints the message, or the field, the offset and what was expected.
pub(crate) fn run(args: &DecodeArgs) -> Result<Exit, Failure> {
    let bytes = if args.hex == ["-"] {
        unhex(&std::io::read_to_string(std::io::stdin()).context("standard input")?)?
    } else {
        unhex(&args.hex.concat())?
    };
    let secrets = if args.clear { Secrets::Clear } else { Secrets::Masked };
    let mut layout = Layout::new();
    let message = args.dialect.parse(&bytes, &mut layout).map_err(anyhow::Error::from)?;
    let mut fields = Fields::new(message.mti());
    message.fields_into(&mut fields);
    if args.json {
        println!("{}", display::json(&fields, secrets));
    } else {
        print!("{}", display::text(&fields, secrets));
    }
    Ok(Exit::Done)
}

pub(crate) fn unhex(text: &str) -> anyhow::Result<Vec<u8>> {
    let mut digits = Vec::new();
    for (place, letter) in text.chars().enumerate() {
        match letter.to_digit(16) {
            Some(digit) => digits.push(digit),
            None if letter.is_whitespace() => {}
            None => anyhow::bail!("character {} is not a hex digit", place + 1),
        }
    }
    if digits.len() % 2 == 1 {
        anyhow::bail!("{} hex digits, needs an even number", digits.len());
    }
    // Two digits below 16 fit a byte.
    Ok(digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_or_refused_without_showing_it() {
        assert_eq!(unhex("0a fF").unwrap(), [0x0A, 0xFF]);
        assert_eq!(unhex("0a4").unwrap_err().to_string(), "3 hex digits, needs an even number");
        assert_eq!(unhex("0ax4").unwrap_err().to_string(), "character 3 is not a hex digit");
    }
}
