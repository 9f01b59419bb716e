//! What happens next to a movement that is in doubt, and when: the part of `switchd doubt` that looks ahead.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use switch::{IssuerNo, Movement, Next, Now, Outlook};

use super::json::{self, MovementJson};
use super::walk::Seen;
use crate::words::{self, Both};

/// The issuers' names.
pub(crate) type Issuers = BTreeMap<IssuerNo, String>;

/// A movement with its issuer, its age, and what comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AheadJson {
    /// As `switchd tx` shows it.
    #[serde(flatten)]
    pub(crate) movement: MovementJson,
    /// The issuer's number.
    pub(crate) issuer: u16,
    /// The issuer's name in the configuration.
    pub(crate) issuer_name: String,
    /// Since it began, milliseconds.
    pub(crate) age_ms: u64,
    /// What it waits for.
    pub(crate) next: String,
    /// When that ends by itself, milliseconds since 1970; null when no clock ends it.
    pub(crate) next_at_ms: Option<u64>,
    /// Sends of its reversal since the daemon started.
    pub(crate) sends: u32,
    /// What happens next, for people.
    pub(crate) ahead: Both,
    /// What happened, whether money moved, and what the merchant may do.
    pub(crate) said: Both,
}

/// What is known of a movement and its future.
pub(crate) fn ahead(issuers: &Issuers, now: Now, Seen { movement, outlook }: &Seen) -> AheadJson {
    shown(issuers, now, movement, *outlook)
}

/// A movement that memory has let go: it ended, and nothing comes.
pub(crate) fn ended(issuers: &Issuers, now: Now, m: &Movement) -> AheadJson {
    shown(issuers, now, m, Outlook { next: Next::Nothing, at_uptime_ms: None, sends: 0 })
}

fn shown(issuers: &Issuers, now: Now, m: &Movement, outlook: Outlook) -> AheadJson {
    let issuer_name = issuers.get(&m.link.issuer).map_or("", String::as_str);
    let in_ms = outlook.at_uptime_ms.map(|at_ms| at_ms.saturating_sub(now.uptime_ms));
    AheadJson {
        movement: json::movement(m),
        issuer: m.link.issuer.0,
        issuer_name: issuer_name.to_owned(),
        age_ms: now.wall_ms.saturating_sub(m.begun_wall_ms),
        next: outlook.next.name().to_owned(),
        next_at_ms: in_ms.map(|in_ms| now.wall_ms + in_ms),
        sends: outlook.sends,
        ahead: text(outlook.next, in_ms),
        said: words::sentence(m),
    }
}

fn text(next: Next, in_ms: Option<u64>) -> Both {
    let when = in_ms.map_or_else(
        || Both::new("", ""),
        |in_ms| Both::new(format!(" in {}", short(in_ms)), format!("（{}后）", short(in_ms))),
    );
    let (en, zh) = match next {
        Next::IssuerAnswer => ("given up and reversed if the issuer has not answered", "如发卡方未应答则放弃并冲正"),
        Next::Handing => {
            ("the kernel says whether the terminal's connection took the answer", "等待系统确认终端连接是否收下应答")
        }
        Next::AskedAgain => ("reversed if the terminal has not asked again (T8)", "如终端未重新请求则冲正（T8）"),
        Next::Confirmation => {
            ("decided by its group's rule if nobody confirms it (C2, C3)", "如无人确认则按终端组规则处理（C2、C3）")
        }
        Next::ReversalAnswer => {
            ("its reversal is sent again if the issuer has not acknowledged it (R4)", "如发卡方未确认则再次发送冲正（R4）")
        }
        Next::ReversalTime => ("its reversal is sent (R3, R4)", "发送冲正（R3、R4）"),
        Next::ReversalLink => (
            "its reversal is sent as soon as a link of the issuer takes it (R0, R5)",
            "发卡方链路可用时立即发送冲正（R0、R5）",
        ),
        Next::Person => ("nothing by itself: `switchd resolve`", "不会自动处理：请用 `switchd resolve`"),
        Next::Nothing => ("nothing", "无"),
    };
    Both::new(format!("{en}{}", when.en), format!("{zh}{}", when.zh))
}

/// A length of time for people: two units at most.
pub(crate) fn short(ms: u64) -> String {
    let (seconds, minutes, hours, days) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match (days, hours, minutes, seconds) {
        (0, 0, 0, 0) => format!("{ms}ms"),
        (0, 0, 0, _) => format!("{seconds}s"),
        (0, 0, _, _) => format!("{minutes}min{:02}s", seconds % 60),
        (0, _, _, _) => format!("{hours}h{:02}min", minutes % 60),
        (_, _, _, _) => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let check = |ms, shown: &str| assert_eq!(short(ms), shown);
        check(0, "0ms");
        check(999, "999ms");
        check(59_999, "59s");
        check(61_000, "1min01s");
        check(3_660_000, "1h01min");
        check(90_000_000, "1d01h");
    }

    #[test]
    fn every_wait_says_what_comes_in_both_languages() {
        for next in Next::ALL {
            let text = text(next, Some(1_500));
            assert!(text.en.ends_with(" in 1s") && text.zh.ends_with("（1s后）"), "{text:?}");
        }
    }
}
