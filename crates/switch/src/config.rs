//! What the core is told once, at the start. All times are milliseconds; the defaults are those of MONEY-RULES.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use iso8583::ResponseCode;

use crate::codes::CodeTable;
use crate::ids::{GroupNo, IssuerNo, LinkNo};

/// Everything that is set once. Checked by [`Config::check`] before a core is made from it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which partition this is; goes into every record and RRN. 0 to 35 (one base-36 digit of the RRN).
    pub partition: u8,
    /// Terminal groups by number.
    pub groups: BTreeMap<GroupNo, Group>,
    /// Issuers by number.
    pub issuers: BTreeMap<IssuerNo, Issuer>,
    /// Links by issuer and number.
    pub links: BTreeMap<LinkNo, Link>,
    /// PAN prefixes and the issuer that each belongs to; the longest that fits wins. An empty prefix is the default route.
    pub routes: Vec<Route>,
    /// How many ended movements stay in memory, newest first; older ones are looked up. At least 1.
    pub dedup_keys: usize,
    /// How long a tombstone refuses its original (D11): 24 h.
    pub tombstone_life_ms: u64,
    /// How far back a reversal looks for its original (section 6): 5 days, which hold 3 business days whatever the weekend.
    pub reversal_lookback_ms: u64,
    /// The rules for movements whose group or link a newer configuration no longer names.
    pub fallback: (Group, Link),
}

/// How the terminals of one group behave and what is done for them.
#[derive(Clone, Debug)]
pub struct Group {
    /// For people.
    pub name: String,
    /// The terminal does one transaction at a time (T10, C1).
    pub serial: bool,
    /// The terminal clears its pending reversal before anything new and never forgets it (C1).
    pub reverses_first: bool,
    /// The same key within this time is a repeat, not a new transaction: 10 min.
    pub repeat_window_ms: u64,
    /// How long an approval that could not be handed over waits for a repeat (T8): 5 s.
    pub redeliver_grace_ms: u64,
    /// A new request this long after the last answer was handed proves that it was received (C1): 2 s.
    pub crossing_margin_ms: u64,
    /// An approval that nothing confirmed or unwound is settled by policy after this (C3): 24 h.
    pub confirm_deadline_ms: u64,
    /// What happens to an approval at its deadline (C3): confirmed.
    pub at_deadline: AtDeadline,
    /// What a repeat of a live approval means (section 6): the stored answer is given again.
    pub on_repeat: OnRepeat,
    /// Equal sales of one card at one terminal within this time may be one sale, keyed again (D5, D6): 3 min.
    pub rekey_window_ms: u64,
    /// What happens to a sale that may be another's second charge (D6): allowed and flagged.
    pub on_rekey: OnRekey,
    /// The terminal goes on with an approval of less (T9). Default false.
    pub takes_partial_approvals: bool,
    /// What the terminal is told of an approval of less that it cannot take (T9): 51.
    pub partial_refused_as: ResponseCode,
    /// The terminal confirms with 0102/0202 and holds the goods until the answer (C2); an approval that it does not confirm
    /// within this time of its handing is reversed. Default none.
    pub confirm_within_ms: Option<u64>,
    /// Tombstones of one terminal at most; a further reversal without an original raises an alarm and gets 96 (D11): 1000.
    pub tombstones_max: usize,
    /// Whether DE2 of the request comes back in the answer.
    pub echo_pan: bool,
    /// Minutes by which the terminals' own clock (DE12, DE13) is ahead of UTC: 0.
    pub utc_offset_minutes: i32,
}

/// What happens to an approval that nothing confirmed or unwound until its deadline (C3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtDeadline {
    /// Confirmed, if it was handed.
    Confirm,
    /// A person decides.
    Operator,
    /// Reversed.
    Reverse,
}

/// What a repeat of a live approval means (section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRepeat {
    /// The terminal did not see the answer: it is given again (D2).
    Replay,
    /// The terminal gave up on the first: from `crossing_margin` after its release on, the approval is reversed.
    Unwind,
}

/// What happens to a sale that may be another's second charge (D6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnRekey {
    /// It goes on, and an exception names the two.
    AllowAndFlag,
    /// 94.
    Refuse,
}

/// A party that holds accounts.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// For people.
    pub name: String,
    /// How long to wait before a reversal is sent again (R4), from the first to the last, which is used for ever after:
    /// 1, 5, 15, 30, 60, 120, 300, 600 s.
    pub reversal_retry_ms: Vec<u64>,
    /// A promise that is older than this is listed as needing a person, and still kept (R7): 24 h.
    pub needs_operator_after_ms: u64,
    /// How many reversals may be sent and not answered or timed out at once, over all links (R5): 32.
    pub reversal_window: usize,
}

/// One STAN space of an issuer and how its host behaves.
#[derive(Clone, Debug)]
pub struct Link {
    /// For people.
    pub name: String,
    /// Without a usable answer in this time the request is unwound (T1): 15 s.
    pub response_timeout_ms: u64,
    /// Later than this after its sending the original can no longer arrive at the issuer (R3): 30 s.
    pub original_horizon_ms: u64,
    /// How long a STAN is not used again after its request began (K4): 10 min.
    pub late_horizon_ms: u64,
    /// Requests sent and not answered, at most; more get 91 (M7): 512.
    pub in_flight_max: usize,
    /// The host keeps reversals that arrive before their original, so that any acknowledgement counts (R3). Default false.
    pub remembers_early_reversals: bool,
    /// Reversals go out as 0400/0401 instead of 0420/0421 (R1). Default false.
    pub reversal_as_request: bool,
    /// A reversal with DE38 undoes that approval and no other (T7). Default false.
    pub addresses_one_approval: bool,
    /// The host returns DE7 unchanged; otherwise answers match on STAN and DE37 (K4). Default true.
    pub echoes_de7: bool,
    /// The host returns the card and DE37 unchanged, so that a difference is an invalid answer (T4). Default true.
    pub echoes_card_and_rrn: bool,
    /// Sign on with 0800 before requests are sent. Default true.
    pub sign_on: bool,
    /// An echo goes out after this long without a message from the host; 0 for never: 30 s.
    pub echo_after_ms: u64,
    /// Which codes mean that money moved, and which acknowledge a reversal.
    pub codes: CodeTable,
}

/// A PAN prefix and whose cards begin with it.
#[derive(Clone, Debug)]
pub struct Route {
    /// Leading digits of the PAN, possibly none.
    pub prefix: String,
    /// Who holds these accounts.
    pub issuer: IssuerNo,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            partition: 1,
            groups: BTreeMap::new(),
            issuers: BTreeMap::new(),
            links: BTreeMap::new(),
            routes: Vec::new(),
            dedup_keys: 100_000,
            tombstone_life_ms: 24 * 3_600_000,
            reversal_lookback_ms: 5 * 24 * 3_600_000,
            fallback: (Group::default(), Link::default()),
        }
    }
}

impl Default for Group {
    fn default() -> Self {
        Group {
            name: String::new(),
            serial: true,
            reverses_first: true,
            repeat_window_ms: 600_000,
            redeliver_grace_ms: 5_000,
            crossing_margin_ms: 2_000,
            confirm_deadline_ms: 24 * 3_600_000,
            at_deadline: AtDeadline::Confirm,
            on_repeat: OnRepeat::Replay,
            rekey_window_ms: 180_000,
            on_rekey: OnRekey::AllowAndFlag,
            takes_partial_approvals: false,
            partial_refused_as: ResponseCode::INSUFFICIENT_FUNDS,
            confirm_within_ms: None,
            tombstones_max: 1000,
            echo_pan: false,
            utc_offset_minutes: 0,
        }
    }
}

impl Default for Issuer {
    fn default() -> Self {
        Issuer {
            name: String::new(),
            reversal_retry_ms: vec![1_000, 5_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000],
            needs_operator_after_ms: 24 * 3_600_000,
            reversal_window: 32,
        }
    }
}

impl Default for Link {
    fn default() -> Self {
        Link {
            name: String::new(),
            response_timeout_ms: 15_000,
            original_horizon_ms: 30_000,
            late_horizon_ms: 600_000,
            in_flight_max: 512,
            remembers_early_reversals: false,
            reversal_as_request: false,
            addresses_one_approval: false,
            echoes_de7: true,
            echoes_card_and_rrn: true,
            sign_on: true,
            echo_after_ms: 30_000,
            codes: CodeTable::default(),
        }
    }
}

impl Config {
    /// Every way in which the parts contradict each other, a sentence each; empty when the core can run with it.
    pub fn check(&self) -> Vec<String> {
        use alloc::format;
        let mut wrong = Vec::new();
        if self.partition > 35 {
            wrong.push(format!("partition {} is above 35, the last that an RRN can carry", self.partition));
        }
        if self.dedup_keys == 0 {
            wrong.push(String::from("dedup_keys must be at least 1"));
        }
        for (number, group) in &self.groups {
            let name = format!("group {} ({})", number.0, group.name);
            if group.crossing_margin_ms >= group.confirm_deadline_ms {
                wrong.push(format!("{name}: crossing_margin must be shorter than confirm_deadline"));
            }
            if group.redeliver_grace_ms >= group.repeat_window_ms {
                wrong.push(format!("{name}: redeliver_grace must be shorter than repeat_window"));
            }
        }
        for (number, issuer) in &self.issuers {
            let name = format!("issuer {} ({})", number.0, issuer.name);
            if issuer.reversal_retry_ms.is_empty() || issuer.reversal_retry_ms.contains(&0) {
                wrong.push(format!("{name}: reversal_retry needs at least one wait, each above zero"));
            }
            if issuer.reversal_window == 0 {
                wrong.push(format!("{name}: reversal_window must be at least 1"));
            }
            if !self.links.keys().any(|link| link.issuer == *number) {
                wrong.push(format!("{name} has no link"));
            }
        }
        for (number, link) in &self.links {
            let name = format!("link {number} ({})", link.name);
            if !self.issuers.contains_key(&number.issuer) {
                wrong.push(format!("{name} belongs to an issuer that is not configured"));
            }
            if link.response_timeout_ms == 0 {
                wrong.push(format!("{name}: response_timeout must be above zero"));
            }
            if link.late_horizon_ms < link.response_timeout_ms.max(link.original_horizon_ms) {
                wrong.push(format!("{name}: late_horizon must not be shorter than response_timeout and original_horizon"));
            }
            if link.in_flight_max == 0 {
                wrong.push(format!("{name}: in_flight_max must be at least 1"));
            }
        }
        for route in &self.routes {
            if !self.issuers.contains_key(&route.issuer) {
                wrong.push(format!("route {:?} leads to issuer {}, which is not configured", route.prefix, route.issuer.0));
            }
            if !route.prefix.bytes().all(|b| b.is_ascii_digit()) || route.prefix.len() > 19 {
                wrong.push(format!("route {:?} is not a PAN prefix (up to 19 digits)", route.prefix));
            }
        }
        wrong
    }

    /// The rules of a group.
    pub fn group(&self, number: GroupNo) -> &Group {
        self.groups.get(&number).unwrap_or(&self.fallback.0)
    }

    /// The rules of a link.
    pub fn link(&self, number: LinkNo) -> &Link {
        self.links.get(&number).unwrap_or(&self.fallback.1)
    }

    /// The issuer of a card: the longest prefix that fits.
    pub fn route(&self, pan: &str) -> Option<IssuerNo> {
        self.routes
            .iter()
            .filter(|route| pan.starts_with(route.prefix.as_str()))
            .max_by_key(|route| route.prefix.len())
            .map(|route| route.issuer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkNo = LinkNo { issuer: IssuerNo(1), number: 1 };

    fn sound() -> Config {
        let mut config = Config::default();
        config.groups.insert(GroupNo(1), Group::default());
        config.issuers.insert(IssuerNo(1), Issuer::default());
        config.links.insert(LINK, Link::default());
        config.routes.push(Route { prefix: String::new(), issuer: IssuerNo(1) });
        config
    }

    #[test]
    fn each_contradiction_is_said_and_what_is_just_sound_is_not() {
        let said = |change: &dyn Fn(&mut Config)| {
            let mut config = sound();
            change(&mut config);
            config.check()
        };
        let group = |change: fn(&mut Group)| said(&|config| change(config.groups.get_mut(&GroupNo(1)).unwrap()));
        let issuer = |change: fn(&mut Issuer)| said(&|config| change(config.issuers.get_mut(&IssuerNo(1)).unwrap()));
        let link = |change: fn(&mut Link)| said(&|config| change(config.links.get_mut(&LINK).unwrap()));
        let route = |prefix: &str| said(&|config| config.routes[0].prefix = prefix.into());
        for sound in [
            said(&|_| {}),
            said(&|config| config.partition = 35),
            said(&|config| config.dedup_keys = 1),
            group(|group| group.crossing_margin_ms = group.confirm_deadline_ms - 1),
            group(|group| group.redeliver_grace_ms = group.repeat_window_ms - 1),
            issuer(|issuer| issuer.reversal_retry_ms = [1].into()),
            issuer(|issuer| issuer.reversal_window = 1),
            link(|link| link.response_timeout_ms = 1),
            link(|link| link.late_horizon_ms = link.response_timeout_ms.max(link.original_horizon_ms)),
            link(|link| link.in_flight_max = 1),
            route("4111111111111111111"),
        ] {
            assert_eq!(sound, Vec::<String>::new());
        }
        for (wrong, word) in [
            (said(&|config| config.partition = 36), "partition 36"),
            (said(&|config| config.dedup_keys = 0), "dedup_keys"),
            (group(|group| group.crossing_margin_ms = group.confirm_deadline_ms), "crossing_margin"),
            (group(|group| group.redeliver_grace_ms = group.repeat_window_ms), "redeliver_grace"),
            (issuer(|issuer| issuer.reversal_retry_ms.clear()), "reversal_retry"),
            (issuer(|issuer| issuer.reversal_retry_ms.push(0)), "reversal_retry"),
            (issuer(|issuer| issuer.reversal_window = 0), "reversal_window"),
            (said(&|config| drop(config.issuers.insert(IssuerNo(2), Issuer::default()))), "no link"),
            (
                said(&|config| drop(config.links.insert(LinkNo { issuer: IssuerNo(2), number: 1 }, Link::default()))),
                "belongs to an issuer",
            ),
            (link(|link| link.response_timeout_ms = 0), "response_timeout"),
            (link(|link| link.late_horizon_ms = link.original_horizon_ms - 1), "late_horizon"),
            (link(|link| link.in_flight_max = 0), "in_flight_max"),
            (said(&|config| config.routes[0].issuer = IssuerNo(2)), "leads to issuer 2"),
            (route("41x"), "not a PAN prefix"),
            (route("41111111111111111111"), "not a PAN prefix"),
        ] {
            assert_eq!(wrong.len(), 1, "{word}: {wrong:?}");
            assert!(wrong[0].contains(word), "{word}: {wrong:?}");
        }
    }

    #[test]
    fn the_longest_prefix_that_fits_leads_the_way() {
        let mut config = sound();
        for (prefix, issuer) in [("411", 3), ("4", 2), ("41", 4)] {
            config.routes.push(Route { prefix: prefix.into(), issuer: IssuerNo(issuer) });
        }
        for (pan, issuer) in [("4111", 3), ("4122", 4), ("4222", 2), ("5111", 1)] {
            assert_eq!(config.route(pan), Some(IssuerNo(issuer)), "{pan}");
        }
        config.routes.remove(0);
        assert_eq!(config.route("5111"), None);
    }
}
