//! The response-code table: what DE39 means, what a customer may do next, and texts for a merchant.
//!
//! Only words: which codes move money is each link's configuration (`switch::CodeTable`), not this table's.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use iso8583::ResponseCode;
use serde::Deserialize;

use super::Both;

/// A row of the table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Meaning {
    code: String,
    /// English.
    pub(crate) meaning_en: String,
    /// Chinese.
    pub(crate) meaning_zh: String,
    /// What the customer may do.
    pub(crate) retry: Retry,
    /// For the merchant, English.
    pub(crate) merchant_en: String,
    /// For the merchant, Chinese.
    pub(crate) merchant_zh: String,
}

/// What may be tried after a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Retry {
    /// Nothing has to be.
    #[serde(rename = "n/a")]
    NotApplicable,
    /// Not with this card.
    No,
    /// With another card.
    OtherCard,
    /// Now, with the same card.
    #[serde(alias = "yes_now")]
    SameCardNow,
    /// Later, with the same card.
    SameCardLater,
    /// After the merchant or the acquirer has mended something.
    AfterFix,
    /// After the terminal has signed on again.
    AfterResignon,
    /// With less, or another card.
    SmallerAmount,
    /// After a look at what became of the first.
    CheckFirst,
}

impl Retry {
    /// Goes on from "the merchant has not been paid and …".
    pub(crate) fn advice(self) -> Both {
        let (en, zh) = match self {
            Retry::NotApplicable => ("need do nothing more", "无需其他操作"),
            Retry::No => ("may not try this card again", "请勿再用此卡"),
            Retry::OtherCard => ("may try another card", "请换卡或换其他支付方式"),
            Retry::SameCardNow => ("may try again now", "可立即重试"),
            Retry::SameCardLater => ("may try again later", "请稍后重试"),
            Retry::AfterFix => ("may try again when it is mended with the acquirer", "请与收单机构处理后重试"),
            Retry::AfterResignon => ("may try again after the terminal signs on", "请终端重新签到后重试"),
            Retry::SmallerAmount => ("may try a smaller amount or another card", "可减小金额或换卡"),
            Retry::CheckFirst => ("must query before charging again", "请先查询再收款"),
        };
        Both::new(en, zh)
    }
}

static TABLE: LazyLock<BTreeMap<String, Meaning>> = LazyLock::new(|| {
    let rows: Vec<Meaning> = serde_json::from_str(include_str!("response-codes.json")).expect("the table is JSON (tested)");
    rows.into_iter().map(|row| (row.code.clone(), row)).collect()
});

static OTHER: LazyLock<Meaning> = LazyLock::new(|| Meaning {
    code: String::new(),
    meaning_en: "a code of the network".to_owned(),
    meaning_zh: "网络自定义应答码".to_owned(),
    retry: Retry::OtherCard,
    merchant_en: "Declined".to_owned(),
    merchant_zh: "交易未成功".to_owned(),
});

/// The row of a code; codes of a network's own share one.
pub(crate) fn meaning(code: ResponseCode) -> &'static Meaning {
    TABLE.get(&code.to_string()).unwrap_or(&OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_whole_and_says_something_of_each_code() {
        assert_eq!(TABLE.len(), 80);
        for row in TABLE.values() {
            assert!(ResponseCode::try_from(row.code.as_bytes()).is_ok(), "{}", row.code);
            for text in [&row.meaning_en, &row.meaning_zh, &row.merchant_en, &row.merchant_zh] {
                assert!(!text.is_empty(), "{}", row.code);
            }
        }
        assert_eq!(meaning(ResponseCode::INSUFFICIENT_FUNDS).meaning_en, "Insufficient funds");
        assert_eq!(meaning(ResponseCode::new(*b"Z9")).meaning_en, "a code of the network");
    }
}
