//! What a mock issuer is told before it starts, or over HTTP while it runs.
//!
//! Invariant: settings that were read can be used; a code is two characters, a card is a card.

use iso8583::ResponseCode;
use serde::{Deserialize, Serialize};

use crate::card::Card;

/// The issuer's settings. Cards are shown masked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Accounts that exist from the start.
    pub accounts: Vec<AccountSettings>,
    /// A card that is not known gets an account with this balance (minor units) on first sight;
    /// without it, 14.
    pub default_balance: Option<u64>,
    /// DE39 for a reversal whose original is not known.
    #[serde(with = "crate::text")]
    pub unknown_original_code: ResponseCode,
    /// A reversal that comes before its original is remembered, and the original then refused.
    pub remembers_early_reversals: bool,
    /// A reversal undoes the approval that its DE38 names, and one that names an approval that was
    /// never given has no original; otherwise always the first.
    pub addresses_one_approval: bool,
    /// DE2 of the request comes back in the answer.
    pub echoes_card: bool,
    /// Approvals and balance inquiries carry the available balance in DE54.
    pub balance_in_answer: bool,
    /// An MTI that is not known is ignored; otherwise it is answered 12.
    pub ignores_unknown_mti: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            accounts: Vec::new(),
            default_balance: None,
            unknown_original_code: ResponseCode::NOT_FOUND,
            remembers_early_reversals: false,
            addresses_one_approval: false,
            echoes_card: true,
            balance_in_answer: true,
            ignores_unknown_mti: false,
        }
    }
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AccountSettings {
    /// Its card.
    pub card: Card,
    /// Minor units when it is opened.
    pub balance: u64,
    /// Whether the card may be used.
    #[serde(default)]
    pub status: Status,
    /// YYMM: another DE14, or a later month, is answered 54.
    #[serde(default)]
    pub expiry: Option<String>,
    /// The PIN block (DE52, 16 hex digits) of the right PIN: another, or none, is answered 55.
    /// Never shown.
    #[serde(default, skip_serializing)]
    pub pin_block: Option<PinBlock>,
    /// Minor units per transaction: more is answered 61.
    #[serde(default)]
    pub limit: Option<u64>,
}

impl AccountSettings {
    /// An account in good standing.
    #[must_use]
    pub fn new(card: Card, balance: u64) -> Self {
        let status = Status::Good;
        Self { card, balance, status, expiry: None, pin_block: None, limit: None }
    }
}

/// Whether a card may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It may.
    #[default]
    Good,
    /// 41.
    Lost,
    /// 43.
    Stolen,
    /// 62.
    Restricted,
}

/// Eight bytes of an encrypted PIN (DE52). `Debug` shows nothing of it.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PinBlock([u8; 8]);

impl PinBlock {
    /// The eight bytes of DE52.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl From<[u8; 8]> for PinBlock {
    fn from(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<String> for PinBlock {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const NEED: &str = "a PIN block is 16 hex digits";
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(NEED);
        }
        u64::from_str_radix(&text, 16).map(|number| Self(number.to_be_bytes())).map_err(|_| NEED)
    }
}

impl core::fmt::Debug for PinBlock {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PinBlock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_without_card_or_pin() {
        let json = r#"{"accounts": [{"card": "4000001234567899", "balance": 5, "status": "lost",
            "pin_block": "0123456789ABCDEF"}], "unknown_original_code": "00"}"#;
        let settings: Settings = serde_json::from_str(json).unwrap();
        assert_eq!(settings.accounts[0].pin_block.unwrap().bytes()[7], 0xef);
        assert_eq!(settings.unknown_original_code, ResponseCode::APPROVED);
        for shown in [serde_json::to_string(&settings).unwrap(), format!("{settings:?}")] {
            assert!(shown.contains("400000******7899"), "{shown}");
            assert!(!shown.contains("4000001234567899") && !shown.contains("CDEF"), "{shown}");
        }
    }

    #[test]
    fn an_unknown_setting_or_value_is_refused() {
        let refused = |json| serde_json::from_str::<Settings>(json).is_err();
        assert!(refused(r#"{"default_balanse": 1}"#));
        assert!(refused(r#"{"unknown_original_code": "0"}"#));
        assert!(refused(r#"{"accounts": [{"card": "4000", "balance": 1}]}"#));
    }
}
