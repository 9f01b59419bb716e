//! `switchd doubt`: what is neither confirmed nor unwound, what comes next and when, and what needs a person.

use clap::Args;

use super::ask::{self, Target};
use super::time::utc;
use crate::exit::{Exit, Failure};
use crate::observe::json::{DoubtJson, ExceptionJson, MovementJson};
use crate::observe::outlook::{AheadJson, short};
use crate::words::{Lang, amount};

#[derive(Debug, Args)]
pub(crate) struct DoubtArgs {
    #[command(flatten)]
    target: Target,
    /// The language of the sentences.
    #[arg(long, value_enum, default_value_t)]
    lang: Lang,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Lists what is in doubt.
pub(crate) fn doubt(args: &DoubtArgs) -> Result<Exit, Failure> {
    let body = ask::get(&args.target, "/doubt")?;
    if args.json {
        println!("{body}");
        return Ok(Exit::Done);
    }
    let doubt: DoubtJson = ask::read(&body)?;
    println!("in doubt: {}", doubt.in_doubt);
    print_ahead(&doubt.movements, args.lang);
    if !doubt.unknown_deliveries.is_empty() {
        println!("approved, and not known whether the terminal got it (K2): {}", doubt.unknown_deliveries.len());
        print_ahead(&doubt.unknown_deliveries, args.lang);
    }
    print_exceptions(&doubt.exceptions);
    Ok(Exit::Done)
}

fn print_ahead(movements: &[AheadJson], lang: Lang) {
    if movements.is_empty() {
        return;
    }
    println!(
        "{:<12}  {:>8}  {:>16}  {:<14}  {:<19}  {:<8}  {:<6}  {:<21}  rule",
        "RRN", "age", "amount", "issuer", "card", "terminal", "STAN", "state"
    );
    for AheadJson { movement: m, issuer, issuer_name, age_ms, ahead, .. } in movements {
        let issuer = format!("{issuer} {issuer_name}");
        println!(
            "{:<12}  {:>8}  {:>16}  {issuer:<14}  {:<19}  {:<8}  {:<6}  {:<21}  {}",
            m.rrn,
            short(*age_ms),
            amount(m.amount, &m.currency),
            m.card.as_deref().unwrap_or("-"),
            m.terminal,
            m.stan,
            m.state,
            said(m),
        );
        println!("              next: {}", ahead.get(lang));
    }
}

/// The cause, and what speaks for or against it.
pub(crate) fn said(m: &MovementJson) -> String {
    let second = m.second_approval.as_ref().map(|code| format!("second approval {code} (T7)"));
    let reversal = m.reversal_seen.then(|| "its terminal reversed it (D10)".to_owned());
    let contested = m.contested.then(|| "its key was used again (D4)".to_owned());
    let all: Vec<String> = [m.cause.clone(), second, reversal, contested].into_iter().flatten().collect();
    all.join("; ")
}

fn print_exceptions(exceptions: &[ExceptionJson]) {
    if exceptions.is_empty() {
        return;
    }
    println!("for a person: {}", exceptions.len());
    for e in exceptions {
        println!("  {}", exception_line(e));
    }
}

/// One line: name, rule, when, whose, how much, and which messages; of two sales the later first.
fn exception_line(e: &ExceptionJson) -> String {
    let amount = match (e.amount, &e.currency) {
        (Some(minor), Some(currency)) => format!("{minor} {currency}"),
        (_, _) => String::from("-"),
    };
    let (terminal, at) = (format!("{}/{}", e.terminal, e.merchant), utc(e.at_ms));
    let message = |stan: &str, rrn: Option<&str>| match rrn {
        Some(rrn) => format!("STAN {stan} RRN {rrn}"),
        None => format!("STAN {stan}"),
    };
    let rrn = e.rrn.as_deref();
    let messages = match (&e.later_rrn, e.movement_stan.as_deref()) {
        (None, None) => message(&e.stan, rrn),
        (None, Some(stan)) if stan == e.stan => message(stan, rrn),
        (later, stan) => {
            let movement = stan.map_or_else(|| format!("RRN {}", rrn.unwrap_or("-")), |stan| message(stan, rrn));
            format!("{} after {movement}", message(&e.stan, later.as_deref()))
        }
    };
    format!("{:<10}  {:<4}  {at}  {terminal:<24}  {amount:>16}  {messages}", e.entry, e.rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_one_line_with_when_how_much_and_which() {
        let d6 = ExceptionJson {
            entry: "entry-41".to_owned(),
            rule: "D6".to_owned(),
            terminal: "TERM0001".to_owned(),
            merchant: "MERCHANT0000001".to_owned(),
            stan: "000002".to_owned(),
            later_rrn: Some("632610000002".to_owned()),
            rrn: Some("632610000001".to_owned()),
            movement_stan: Some("000001".to_owned()),
            amount: Some(1250),
            currency: Some("978".to_owned()),
            at_ms: 0,
        };
        let check = |e: ExceptionJson, amount: &str, messages: &str| {
            let expected =
                format!("entry-41    D6    1970-01-01T00:00:00Z  TERM0001/MERCHANT0000001  {amount:>16}  {messages}");
            assert_eq!(exception_line(&e), expected);
        };
        let known = "STAN 000002 RRN 632610000002 after STAN 000001 RRN 632610000001";
        check(d6.clone(), "1250 978", known);
        let forgotten = ExceptionJson { movement_stan: None, amount: None, currency: None, ..d6.clone() };
        check(forgotten, "-", "STAN 000002 RRN 632610000002 after RRN 632610000001");
        let refused = ExceptionJson { later_rrn: None, ..d6.clone() };
        check(refused.clone(), "1250 978", "STAN 000002 after STAN 000001 RRN 632610000001");
        check(ExceptionJson { stan: "000001".to_owned(), ..refused }, "1250 978", "STAN 000001 RRN 632610000001");
        let of_nothing =
            ExceptionJson { later_rrn: None, rrn: None, movement_stan: None, amount: None, currency: None, ..d6 };
        check(of_nothing, "-", "STAN 000002");
    }
}
