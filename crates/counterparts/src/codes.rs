//! What the codes of DE39 mean to a terminal, in a few words.
//!
//! Not the switch's response-code table: a terminal knows only approvals, refusals, and one code
//! that tells it that nobody knows.

/// True for the codes of DE39 that say that money moved.
#[must_use]
pub fn approves(code: &str) -> bool {
    matches!(code, "00" | "10" | "11" | "16" | "32" | "A2" | "A4" | "A5" | "A6")
}

/// The receipt's text for a code of DE39.
#[must_use]
pub fn text(code: &str) -> &'static str {
    match code {
        "00" | "11" | "16" | "32" | "A2" | "A4" | "A5" | "A6" => "approved",
        "10" => "approved in part",
        "12" => "transaction not valid",
        "13" => "amount not valid",
        "14" => "no such card",
        "25" => "original not found",
        "30" => "format error",
        "41" => "lost card",
        "43" => "stolen card",
        "51" => "not enough funds",
        "54" => "card expired",
        "55" => "wrong PIN",
        "57" => "not permitted to this card",
        "61" => "above the card's limit",
        "62" => "card restricted",
        "64" => "amount differs from the original",
        "68" => "no answer in time",
        "91" => "issuer not available",
        "94" => "duplicate transaction",
        "96" => "system error",
        _ => "declined",
    }
}
