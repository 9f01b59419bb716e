//! What a movement's record says, in one plain sentence for people: what happened, whether money moved, and what the
//! merchant may do; in English and Chinese.
//!
//! Decides nothing: every word follows from the movement's state, its rule and its response code. Invariant: nothing here
//! calls a sale undone whose reversal is not acknowledged, nor lets a merchant charge again while money may have moved.

pub(crate) mod codes;
pub(crate) mod legs;
mod rules;

use serde::{Deserialize, Serialize};
use switch::{Evidence, Movement, Resolution, StateKind};

use codes::Meaning;

/// A language of the operator's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Lang {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

/// One text in both languages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Both {
    /// English.
    pub(crate) en: String,
    /// Chinese.
    pub(crate) zh: String,
}

impl Both {
    /// The text in a language.
    pub(crate) fn get(&self, lang: Lang) -> &str {
        match lang {
            Lang::En => &self.en,
            Lang::Zh => &self.zh,
        }
    }

    /// A text in both languages.
    pub(crate) fn new(en: impl Into<String>, zh: impl Into<String>) -> Both {
        Both { en: en.into(), zh: zh.into() }
    }

    /// Three parts of a sentence: what happened, the money, the merchant.
    fn join(parts: [Both; 3]) -> Both {
        let [happened, money, merchant] = parts;
        let en = format!("{}; {}; the merchant {}.", happened.en, money.en, merchant.en);
        Both { en, zh: format!("{}；{}；商户{}。", happened.zh, money.zh, merchant.zh) }
    }
}

/// The sentence of a movement.
pub(crate) fn sentence(m: &Movement) -> Both {
    Both::join([happened(m), money(m), merchant(m)])
}

/// An amount as a person writes it, where the currency's decimals are known; else in minor units.
pub(crate) fn amount(minor: u64, currency: &str) -> String {
    match currency {
        // JPY and KRW have no minor unit; most have two decimals, and these are the ones that the switch is run with.
        "392" | "410" => format!("{minor} {currency}"),
        "036" | "124" | "156" | "344" | "446" | "702" | "756" | "826" | "840" | "901" | "946" | "978" => {
            format!("{}.{:02} {currency}", minor / 100, minor % 100)
        }
        _ => format!("{minor} minor units of {currency}"),
    }
}

fn shown(minor: u64, m: &Movement) -> String {
    amount(minor, &m.fingerprint.amount.currency().to_string())
}

/// The code of the answer with its meaning.
fn code(m: &Movement) -> Both {
    match &m.answer {
        Some(answer) => {
            let Meaning { meaning_en, meaning_zh, .. } = codes::meaning(answer.code);
            Both::new(format!("{} {meaning_en}", answer.code), format!("{} {meaning_zh}", answer.code))
        }
        None => Both::new("no answer", "无应答"),
    }
}

/// Why, by the rule that unwound it or left it to a person.
fn why(m: &Movement) -> Both {
    let rule = m.operator_rule.or(m.obligation.as_ref().map(|obligation| obligation.rule));
    rule.map_or_else(|| Both::new("no rule is on record", "无规则记录"), rules::why)
}

fn happened(m: &Movement) -> Both {
    let code = code(m);
    let why = why(m);
    match m.state {
        StateKind::AwaitingIssuer => {
            Both::new("The request is with the issuer and its answer is awaited", "请求已送发卡方，等待应答")
        }
        StateKind::AwaitingDelivery => Both::new(
            format!("The issuer approved it ({}), and the terminal does not have the answer yet", code.en),
            format!("发卡方已批准（{}），应答尚未送达终端", code.zh),
        ),
        StateKind::AwaitingConfirmation => match m.evidence {
            Evidence::Unknown => Both::new(
                format!("The issuer approved it ({}), and a restart hid whether the terminal got the answer (K2)", code.en),
                format!("发卡方已批准（{}），因系统重启无法确定终端是否收到应答（K2）", code.zh),
            ),
            Evidence::None | Evidence::Offered | Evidence::NotHanded | Evidence::Handed | Evidence::Seen => Both::new(
                format!("The issuer approved it ({}), and the answer was handed to the terminal", code.en),
                format!("发卡方已批准（{}），应答已交终端", code.zh),
            ),
        },
        StateKind::AwaitingReversalAck => Both::new(
            format!("It is being undone, as {}; the issuer has not acknowledged the reversal yet", why.en),
            format!("正在冲正（{}），发卡方尚未确认冲正", why.zh),
        ),
        StateKind::NeedsOperator => {
            Both::new(format!("A person has to decide, as {}", why.en), format!("需人工处理：{}", why.zh))
        }
        StateKind::Declined if m.answer.is_some() => {
            Both::new(format!("The issuer declined it ({})", code.en), format!("发卡方拒绝（{}）", code.zh))
        }
        StateKind::Declined => Both::new(
            "The request never left for the issuer (T3), and the terminal was told 91",
            "请求未发出（T3），终端收到91",
        ),
        StateKind::Confirmed if m.owes() => Both::new(
            format!("The issuer approved it ({}), and a reversal beside it is on its way, as {}", code.en, why.en),
            format!("发卡方已批准（{}），另有冲正在途（{}）", code.zh, why.zh),
        ),
        StateKind::Confirmed => Both::new(
            format!("The issuer approved it ({}), and it is confirmed", code.en),
            format!("发卡方已批准（{}），交易已确认", code.zh),
        ),
        StateKind::Unwound => Both::new(
            format!("It was undone, as {}, and the issuer agrees", why.en),
            format!("已冲正（{}），发卡方已确认", why.zh),
        ),
        StateKind::Resolved => decided(m),
    }
}

/// What a person decided.
fn decided(m: &Movement) -> Both {
    let Some(verdict) = &m.verdict else { return Both::new("A person decided", "已人工处理") };
    let who = &verdict.who;
    match verdict.resolution {
        Resolution::Stands => Both::new(format!("{who} decided that it stands"), format!("经{who}人工处理：交易成立")),
        Resolution::UndoneElsewhere => {
            Both::new(format!("{who} recorded that it was undone by other means"), format!("经{who}人工处理：已另行撤销"))
        }
        Resolution::AdjustedElsewhere { .. } => Both::new(
            format!("{who} recorded that it was corrected by other means"),
            format!("经{who}人工处理：已另行调整金额"),
        ),
        Resolution::Undo => Both::new(format!("{who} ordered it to be undone"), format!("经{who}人工处理：要求撤销")),
    }
}

/// It ended with nothing, but for a promise beside it (T7): until that is kept, something may stand.
fn nothing_stands_yet(m: &Movement) -> bool {
    m.owes() && m.net_minor() == 0
}

/// Whether money moved.
fn money(m: &Movement) -> Both {
    let (asked, net) = (shown(m.amount().minor(), m), shown(m.net_minor(), m));
    let unknown = || Both::new(format!("whether {asked} moved is not known yet"), format!("{asked}是否扣款尚不确定"));
    match m.state {
        StateKind::AwaitingIssuer => unknown(),
        StateKind::AwaitingDelivery | StateKind::AwaitingConfirmation | StateKind::Confirmed => {
            Both::new(format!("money moved: {net} stands"), format!("已扣款，现有效金额{net}"))
        }
        StateKind::AwaitingReversalAck if m.approval_held() => Both::new(
            format!("money moved ({asked}) and is given back with the acknowledgement"),
            format!("已扣款（{asked}），发卡方确认冲正后退回"),
        ),
        StateKind::AwaitingReversalAck => Both::new(
            format!("{asked} may have moved, and what moved is given back with the acknowledgement"),
            format!("{asked}可能已扣款，如已扣款，发卡方确认冲正后退回"),
        ),
        StateKind::NeedsOperator if m.approval_held() => {
            Both::new(format!("money moved: {net} stands until the decision"), format!("已扣款，处理前有效金额{net}"))
        }
        StateKind::NeedsOperator => unknown(),
        StateKind::Declined | StateKind::Unwound | StateKind::Resolved if nothing_stands_yet(m) => Both::new(
            format!("{asked} may have moved once more, and is given back with the acknowledgement of a reversal on its way"),
            format!("{asked}可能另有扣款，如有，发卡方确认在途冲正后退回"),
        ),
        StateKind::Declined => Both::new("no money moved", "未扣款"),
        StateKind::Unwound => Both::new("no money stands", "款项未发生或已退回"),
        StateKind::Resolved if m.net_minor() == 0 => Both::new("no money stands", "款项未发生或已退回"),
        StateKind::Resolved => Both::new(format!("{net} stands"), format!("有效金额{net}")),
    }
}

/// What the merchant may do.
fn merchant(m: &Movement) -> Both {
    let stands = || Both::new("has been paid and must not charge again", "已收款，请勿重复收款");
    match m.state {
        StateKind::AwaitingIssuer | StateKind::AwaitingDelivery => {
            Both::new("must wait for the answer and not charge again", "请等待结果，请勿重复收款")
        }
        StateKind::AwaitingConfirmation if m.evidence == Evidence::Unknown => Both::new(
            "must look whether the terminal shows the approval before handing over goods, and not charge again",
            "交货前请核对终端是否显示成功，请勿重复收款",
        ),
        StateKind::AwaitingConfirmation | StateKind::Confirmed => stands(),
        StateKind::AwaitingReversalAck => {
            Both::new("has not been paid, and must query before charging again", "未收到款项，请先查询再收款")
        }
        StateKind::NeedsOperator => {
            Both::new("must ask the acquirer before handing over goods or charging again", "交货或再次收款前请联系收单机构")
        }
        StateKind::Declined | StateKind::Unwound | StateKind::Resolved if nothing_stands_yet(m) => {
            Both::new("has not been paid, and must query before charging again", "未收到款项，请先查询再收款")
        }
        StateKind::Declined => declined(m),
        StateKind::Unwound => Both::new("has not been paid and may charge again", "未收到款项，可重新收款"),
        StateKind::Resolved if m.net_minor() == 0 => {
            Both::new("has not been paid and may charge again", "未收到款项，可重新收款")
        }
        StateKind::Resolved => stands(),
    }
}

/// The table's advice for the code of a decline.
fn declined(m: &Movement) -> Both {
    let code = m.answer.as_ref().map_or(iso8583::ResponseCode::ISSUER_UNAVAILABLE, |answer| answer.code);
    let meaning = codes::meaning(code);
    let advice = meaning.retry.advice();
    Both::new(
        format!("has not been paid and {} (\"{}\")", advice.en, meaning.merchant_en),
        format!("未收到款项，{}（{}）", advice.zh, meaning.merchant_zh),
    )
}

/// The sentence of a tombstone (D11): what is known of the sale that it refuses is that there was none.
pub(crate) fn tombstone() -> Both {
    Both::join([
        Both::new(
            "The terminal reversed a sale that the switch does not know (D11); should that sale still come, it gets 94",
            "终端冲正了系统没有记录的交易（D11）；该交易如之后到达，将以94拒绝",
        ),
        Both::new("by the journal no money moved", "按流水记录未扣款"),
        Both::new(
            "has not been paid for it, and must look for the sale under another number before charging again",
            "未收到款项，再次收款前请先按其他流水号查询该交易",
        ),
    ])
}

/// The sentence of an entry for a request that never became a movement.
pub(crate) fn entry_alone(rule: switch::Rule) -> Both {
    let happened = if rule == switch::Rule::D11 {
        Both::new(
            "A repeat came too late for the request that it repeats, which the switch does not know, and got 94 (D11)",
            "收到过期的重发请求，系统没有其原请求记录，以94拒绝（D11）",
        )
    } else {
        let why = rules::why(rule);
        Both::new(format!("A request became no movement, as {}", why.en), format!("请求未成为交易：{}", why.zh))
    };
    Both::join([
        happened,
        Both::new("by the journal no money moved", "按流水记录未扣款"),
        Both::new("must ask the acquirer before charging again", "再次收款前请联系收单机构"),
    ])
}

#[cfg(test)]
mod tests;
