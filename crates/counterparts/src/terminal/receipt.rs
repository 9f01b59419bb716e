//! What a terminal prints and returns after an exchange.
//!
//! Invariant: the card is masked before it gets here.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::clock::Calendar;
use crate::codes;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// 0200, DE3 00.
    Sale,
    /// 0200, DE3 01.
    Cash,
    /// 0200, DE3 31: moves nothing.
    Balance,
    /// 0100.
    Authorisation,
    /// 0400.
    Reversal,
    /// 0800, DE70 301.
    Echo,
    /// 0800, DE70 001.
    SignOn,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Sale => "SALE",
            Self::Cash => "CASH",
            Self::Balance => "BALANCE",
            Self::Authorisation => "AUTHORISATION",
            Self::Reversal => "REVERSAL",
            Self::Echo => "ECHO",
            Self::SignOn => "SIGN ON",
        })
    }
}

/// How an exchange ended for the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Approved; for a reversal, an echo or a sign-on: done.
    Approved,
    /// Refused, by the code on the receipt.
    Declined,
    /// No usable answer, or 68.
    Unknown,
}

/// A receipt. `Display` is what the printer gives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Receipt {
    /// What was asked for.
    pub kind: Kind,
    /// How it ended.
    pub outcome: Outcome,
    /// DE41.
    pub terminal: String,
    /// DE42.
    pub merchant: String,
    /// Milliseconds since 1970 (UTC) of the end.
    pub at: u64,
    /// The terminal's local time against UTC.
    pub utc_offset_minutes: i32,
    /// DE11 of the message that was answered.
    pub stan: String,
    /// DE11 of the request that it concerns: another than `stan` for a reversal.
    pub original_stan: String,
    /// DE37.
    pub rrn: Option<String>,
    /// DE38.
    pub approval: Option<String>,
    /// DE39; none without an answer.
    pub code: Option<String>,
    /// First six and last four digits.
    pub card: Option<String>,
    /// Minor units and DE49; none for what has no amount.
    pub amount: Option<(u64, String)>,
    /// DE54 as it came.
    pub balance: Option<String>,
}

impl Receipt {
    /// True when the answer approved.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.outcome == Outcome::Approved
    }

    /// DE39, or `--` without an answer.
    #[must_use]
    pub fn code(&self) -> &str {
        self.code.as_deref().unwrap_or("--")
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |label: &str, value: &str| writeln!(f, "{label:<10}{value:>26}");
        line(&self.kind.to_string(), &Calendar::at(self.at, self.utc_offset_minutes).readable())?;
        line("terminal", &self.terminal)?;
        line("merchant", &self.merchant)?;
        line("stan", &self.stan)?;
        if self.original_stan != self.stan {
            line("original", &self.original_stan)?;
        }
        if let Some(rrn) = &self.rrn {
            line("rrn", rrn)?;
        }
        if let Some(card) = &self.card {
            line("card", card)?;
        }
        if let Some((minor, currency)) = &self.amount {
            line("amount", &readable_amount(*minor, currency))?;
        }
        if let Some(approval) = &self.approval {
            line("approval", approval)?;
        }
        let result = match &self.code {
            Some(code) => format!("{code} {}", codes::text(code)),
            None => "no answer".to_owned(),
        };
        line("result", &result)?;
        Ok(())
    }
}

/// Minor units as `12.50 978`, with the decimals of the currency.
fn readable_amount(minor: u64, currency: &str) -> String {
    let decimals = match currency {
        // JPY, KRW, VND, CLP.
        "392" | "410" | "704" | "152" => 0,
        // BHD, IQD, JOD, KWD, OMR, TND.
        "048" | "368" | "400" | "414" | "512" | "788" => 3,
        _ => 2,
    };
    if decimals == 0 {
        return format!("{minor} {currency}");
    }
    let unit = 10_u64.pow(decimals);
    let width = decimals as usize;
    format!("{}.{:0width$} {currency}", minor / unit, minor % unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_readable() {
        let receipt = Receipt {
            kind: Kind::Sale,
            outcome: Outcome::Declined,
            terminal: "TERM0001".to_owned(),
            merchant: "MERCHANT0000001".to_owned(),
            at: 1_709_251_199_999,
            utc_offset_minutes: 0,
            stan: "000042".to_owned(),
            original_stan: "000042".to_owned(),
            rrn: Some("532604000001".to_owned()),
            approval: None,
            code: Some("51".to_owned()),
            card: Some("400000******7899".to_owned()),
            amount: Some((1205, "978".to_owned())),
            balance: None,
        };
        let expected = "\
SALE             2024-02-29 23:59:59
terminal                    TERM0001
merchant             MERCHANT0000001
stan                          000042
rrn                     532604000001
card                400000******7899
amount                     12.05 978
result           51 not enough funds
";
        assert_eq!(receipt.to_string(), expected);
    }

    #[test]
    fn amounts_have_the_decimals_of_their_currency() {
        assert_eq!(readable_amount(5, "978"), "0.05 978");
        assert_eq!(readable_amount(500, "392"), "500 392");
        assert_eq!(readable_amount(12_345, "414"), "12.345 414");
    }
}
