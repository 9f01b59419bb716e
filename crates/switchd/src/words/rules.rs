//! The rules of MONEY-RULES as the reason in a sentence: "it was undone, as …".

use switch::Rule;

use super::Both;

/// Why, with the rule's number.
pub(crate) fn why(rule: Rule) -> Both {
    let (en, zh) = match rule {
        Rule::T1 => ("the issuer gave no usable answer in time", "发卡方未在时限内给出有效应答"),
        Rule::T2 => ("the link was lost before the issuer answered", "应答前与发卡方的连接中断"),
        Rule::T3 => ("the request never left", "请求未发出"),
        Rule::T4 => ("the issuer's answer did not fit the request", "发卡方应答与请求不符"),
        Rule::T5 => ("an approval came after the end", "交易结束后才收到批准"),
        Rule::T7 => ("the issuer approved the same request twice", "发卡方对同一请求批准两次"),
        Rule::T8 => ("the terminal could not be given the approval", "批准应答无法送达终端"),
        Rule::T9 => ("the issuer approved less than was asked for", "发卡方批准金额小于请求金额"),
        Rule::T10 => ("the terminal began a new sale instead of waiting", "终端放弃等待并发起新交易"),
        Rule::R2 => ("the issuer says that it does not know what it approved", "发卡方称找不到其已批准的原交易"),
        Rule::R4 => ("the issuer cannot read the reversal", "发卡方无法处理冲正报文"),
        Rule::R7 => ("its reversal has waited too long", "冲正等待过久"),
        Rule::D2 => ("its terminal asked again for an answer that it should have", "终端重复请求应已收到的应答"),
        Rule::D4 => ("its key was used for something else", "流水号被用于其他交易"),
        Rule::D5 => ("the terminal, which never got the approval, keyed the sale again", "终端未收到批准并重新发起同一交易"),
        Rule::D6 => ("an equal sale was keyed shortly after", "短时间内出现相同交易"),
        Rule::D7 => ("its terminal reversed it before the answer", "终端在应答前发起冲正"),
        Rule::D8 => ("its terminal reversed it", "终端发起冲正"),
        Rule::D9 => ("its terminal reversed what was declined", "终端冲正已被拒绝的交易"),
        Rule::D10 => ("its terminal reversed it again", "终端再次发起冲正"),
        Rule::D11 => ("its terminal reversed it before it was known", "终端冲正先于原交易到达"),
        Rule::D12 => ("its terminal's reversal does not fit it", "终端冲正与原交易不符"),
        Rule::D13 => ("its terminal reversed a part of it", "终端发起部分冲正"),
        Rule::C1 => ("a later sale of its terminal spoke for it", "终端后续交易表明其有效"),
        Rule::C2 => ("its terminal did not confirm it", "终端未确认交易"),
        Rule::C3 => ("nobody confirmed it by the deadline", "截止时间前未获确认"),
        Rule::K1 => ("the switch restarted while the issuer was asked", "等待应答期间系统重启"),
        Rule::K2 => ("a restart hid whether the terminal got the approval", "因系统重启无法确定终端是否收到批准"),
        Rule::Operator => ("an operator ordered it", "操作员要求撤销"),
    };
    let number = rule.name();
    Both::new(format!("{en} ({number})"), format!("{zh}，{number}"))
}
