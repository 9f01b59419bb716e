//! One record of a movement as a line of its history: what happened, with times, codes and numbers; never a card.

use serde::{Deserialize, Serialize};
use switch::{AckVerdict, Entry, Evidence, Lsn, Record, Scope, StateKind};

use super::{Both, amount, codes, rules};

/// A line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leg {
    /// The record of the journal.
    pub(crate) lsn: u64,
    /// When it was decided, milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// The kind of the record.
    pub(crate) what: String,
    /// For people.
    pub(crate) text: Both,
}

/// The line of a record about a movement in this currency.
pub(crate) fn leg(lsn: Lsn, entry: &Entry, currency: &str) -> Leg {
    Leg { lsn: lsn.0, at_ms: entry.wall_ms, what: entry.record.name().to_owned(), text: text(&entry.record, currency) }
}

fn ascii(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn code(code: iso8583::ResponseCode) -> Both {
    let meaning = codes::meaning(code);
    Both::new(format!("{code} {}", meaning.meaning_en), format!("{code} {}", meaning.meaning_zh))
}

fn text(record: &Record, currency: &str) -> Both {
    match record {
        Record::Intent { movement: m } => {
            let (class, stan, sent) = (m.key.class.name(), m.key.stan, m.sent_as.stan);
            let (link, de7) = (m.link, ascii(&m.sent_as.transmitted));
            let asked = amount(m.fingerprint.amount.minor(), currency);
            Both::new(
                format!(
                    "{class} STAN {stan} from the terminal for {asked}; to the issuer on link {link} as STAN {sent}, DE7 {de7}"
                ),
                format!("终端请求{class}，流水号{stan}，金额{asked}；经链路{link}送发卡方，流水号{sent}，DE7 {de7}"),
            )
        }
        Record::Recalled { movement: m } => {
            Both::new(format!("looked up again, in state {}", m.state.name()), format!("重新载入，状态{}", m.state.name()))
        }
        Record::Answered { answer, to, evidence, .. } => answered(answer, *to, *evidence, currency),
        Record::LateAnswer { answer, .. } => {
            let said = said(answer, currency);
            Both::new(
                format!("the issuer's answer {}, kept and not shown to the terminal", said.en),
                format!("发卡方应答{}，留存，不送终端", said.zh),
            )
        }
        Record::AnotherApproval { approval, .. } => {
            let approval = approval.map_or_else(|| "-".to_owned(), |approval| ascii(&approval));
            Both::new(format!("a second approval of the issuer, {approval}"), format!("发卡方第二次批准，授权码{approval}"))
        }
        Record::NeverSent { code: told, .. } => Both::new(
            format!("no byte of the request left; the terminal is told {told}"),
            format!("请求未发出，终端收到{told}"),
        ),
        Record::Delivery { evidence, .. } => delivery(*evidence),
        Record::Obligation { rule, reason, scope, .. } => promised(*rule, &ascii(reason.digits()), *scope, currency),
        Record::ReversalNumbered { numbers, deciding, .. } => {
            let (stan, de7) = (numbers.sent_as.stan, ascii(&numbers.sent_as.transmitted));
            let minor = amount(numbers.minor, currency);
            let kind = if *deciding {
                ("its answer decides", "应答有效")
            } else {
                ("early, its answer is provisional", "提前发送，应答暂定")
            };
            Both::new(
                format!("reversal of {minor} to the issuer as STAN {stan}, DE7 {de7}; {}", kind.0),
                format!("向发卡方冲正{minor}，流水号{stan}，DE7 {de7}；{}", kind.1),
            )
        }
        Record::ReversalAnswered { code: answered, verdict, .. } => {
            let answered = code(*answered);
            let then = match verdict {
                AckVerdict::Ended => ("the promise is kept", "冲正完成"),
                AckVerdict::Operator => ("a person has to decide", "需人工处理"),
                AckVerdict::Open => ("it is sent again", "将再次发送"),
            };
            Both::new(
                format!("the issuer answers the reversal {}; {}", answered.en, then.0),
                format!("发卡方冲正应答{}；{}", answered.zh, then.1),
            )
        }
        Record::Confirmed { by, .. } => Both::new(format!("confirmed by {}", by.name()), format!("已确认：{}", by.name())),
        Record::NeedsOperator { rule, .. } => {
            let why = rules::why(*rule);
            Both::new(format!("left to a person, as {}", why.en), format!("转人工处理：{}", why.zh))
        }
        Record::Resolved { verdict, .. } => {
            let (what, who, why) = (verdict.resolution.name(), &verdict.who, &verdict.why);
            Both::new(format!("decided {what} by {who}: {why}"), format!("人工处理 {what}，{who}：{why}"))
        }
        Record::ReversalSeen { .. } => Both::new("the terminal's reversal, kept as evidence", "终端冲正，留作凭证"),
        Record::Exception { rule, .. } => {
            Both::new(format!("an entry for a person ({})", rule.name()), format!("列入人工清单（{}）", rule.name()))
        }
        // Not about a movement.
        Record::Restarted { .. }
        | Record::Keys { .. }
        | Record::Marked { .. }
        | Record::Tombstone { .. }
        | Record::StanUsed { .. }
        | Record::ExceptionClosed { .. } => Both::new(record.name(), record.name()),
    }
}

/// Code, approval and amount of an answer.
fn said(answer: &switch::Answer, currency: &str) -> Both {
    let said = code(answer.code);
    let approval = answer.approval.map(|approval| ascii(&approval));
    let minor = answer.amount.map(|of| amount(of.minor(), currency));
    let en: String =
        approval.iter().map(|a| format!(", approval {a}")).chain(minor.iter().map(|m| format!(", {m}"))).collect();
    let zh: String = approval.iter().map(|a| format!("，授权码{a}")).chain(minor.iter().map(|m| format!("，{m}"))).collect();
    Both::new(said.en + &en, said.zh + &zh)
}

fn answered(answer: &switch::Answer, to: StateKind, evidence: Evidence, currency: &str) -> Both {
    let said = said(answer, currency);
    let then = match evidence {
        Evidence::Offered => ("offered to the terminal", "送往终端"),
        Evidence::NotHanded => ("no terminal is there to take it", "终端未在线"),
        Evidence::None | Evidence::Handed | Evidence::Seen | Evidence::Unknown => (to.name(), to.name()),
    };
    Both::new(format!("the issuer answers {}; {}", said.en, then.0), format!("发卡方应答{}；{}", said.zh, then.1))
}

fn delivery(evidence: Evidence) -> Both {
    match evidence {
        Evidence::Handed => Both::new("the answer was handed to the terminal", "应答已交终端"),
        Evidence::NotHanded => Both::new("the answer could not be handed to the terminal", "应答未能送达终端"),
        Evidence::Seen => Both::new("the terminal shows that it has the answer", "终端已证实收到应答"),
        Evidence::Offered => Both::new("the answer was offered to the terminal again", "应答再次送往终端"),
        Evidence::None | Evidence::Unknown => {
            Both::new("it is not known whether the terminal got the answer", "不确定终端是否收到应答")
        }
    }
}

fn promised(rule: switch::Rule, reason: &str, scope: Scope, currency: &str) -> Both {
    let why = rules::why(rule);
    let (en, zh) = match scope {
        Scope::All => ("a reversal".to_owned(), "冲正".to_owned()),
        Scope::AllBut { remains_minor } => {
            let remains = amount(remains_minor, currency);
            (format!("a partial reversal, {remains} remains,"), format!("部分冲正（余{remains}）"))
        }
        Scope::Approval { approval, .. } => {
            (format!("a reversal of approval {}", ascii(&approval)), format!("冲正授权码{}", ascii(&approval)))
        }
    };
    Both::new(format!("{en} is promised, reason {reason}, as {}", why.en), format!("承诺{zh}，原因码{reason}：{}", why.zh))
}
