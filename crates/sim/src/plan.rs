//! What a seed draws: who takes part, how they behave, which faults are on. No state of its own.
//!
//! Invariant: a plan is a function of its seed; what the shrinker changes afterwards is in the plan, so that plan and
//! build repeat a run exactly.

use std::collections::BTreeSet;

use counterparts::card::Card;
use counterparts::faults::{Approval, Fault, Match, Rule};
use counterparts::issuer::{AccountSettings, Settings};
use counterparts::seeded::Seeded;
use counterparts::terminal::{ReversalNames, ReversalTimes};
use iso8583::ResponseCode;
use switch::{AtDeadline, Config, Group, GroupNo, Issuer, IssuerNo, Link, LinkNo, OnRekey, OnRepeat, Route};

use crate::misconduct;

macro_rules! troubles {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// One kind of trouble; a seed draws which are on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Trouble { $($(#[doc = $doc])* $name,)* }

        impl Trouble {
            /// All of them.
            pub const ALL: &'static [Trouble] = &[$(Trouble::$name,)*];

            /// As the command line says it.
            pub const fn name(self) -> &'static str {
                match self { $(Trouble::$name => $text,)* }
            }
        }

        impl std::str::FromStr for Trouble {
            type Err = String;

            fn from_str(text: &str) -> Result<Trouble, String> {
                let known = Trouble::ALL.iter().find(|trouble| trouble.name() == text);
                known.copied().ok_or_else(|| format!("no trouble is called {text:?}; next: `sim troubles` lists them"))
            }
        }
    };
}

troubles! {
    /// A terminal's connection is cut; both sides see it soon.
    TerminalCut = "terminal-cut",
    /// A terminal's connection is dead and its two sides see it at different times.
    TerminalHalfOpen = "terminal-half-open",
    /// The kernel takes nothing for a terminal for a while.
    TerminalStall = "terminal-stall",
    /// Seconds instead of milliseconds to a terminal or from it.
    TerminalDelay = "terminal-delay",
    /// A terminal's message arrives twice.
    TerminalDouble = "terminal-double",
    /// A concentrator sends a lane's message on its other line, too.
    LaneCopy = "lane-copy",
    /// A link's connection is cut; both sides see it soon.
    LinkCut = "link-cut",
    /// A link's connection is dead and its two sides see it at different times.
    LinkHalfOpen = "link-half-open",
    /// The network takes nothing to an issuer for up to a minute: what was sent arrives late, or never.
    LinkHole = "link-hole",
    /// The kernel takes nothing for a link for a while.
    LinkStall = "link-stall",
    /// Seconds instead of milliseconds on a link.
    LinkDelay = "link-delay",
    /// A message to an issuer, or its answer, arrives twice.
    LinkDouble = "link-double",
    /// The issuer does not answer, before or after its ledger.
    HostSilent = "host-silent",
    /// The issuer hangs up instead of an answer.
    HostCut = "host-cut",
    /// The issuer judges later.
    HostSlow = "host-slow",
    /// The issuer judges later than the horizon: an approval that never arrives is what no switch could unwind.
    BeyondHorizon = "beyond-horizon",
    /// The issuer answers later, up to beyond the horizon.
    HostLate = "host-late",
    /// A code that says nothing of the money, moved or not.
    HostUnknownCode = "host-unknown-code",
    /// An answer of another STAN, RRN, card, terminal or amount.
    HostWrong = "host-wrong",
    /// Two answers, with the same DE38.
    HostTwice = "host-twice",
    /// Two answers, with another DE38.
    HostOther = "host-other",
    /// Two answers, and two debits.
    HostSecondDebit = "host-second-debit",
    /// An approval of less.
    HostPartial = "host-partial",
    /// Garbage or half a frame instead of an answer.
    HostGarbage = "host-garbage",
    /// The issuer's host is down for seconds or minutes.
    HostDown = "host-down",
    /// The answer comes on another connection of the link.
    HostElsewhere = "host-elsewhere",
    /// Reversals are not answered.
    ReversalSilent = "reversal-silent",
    /// Reversals are answered with a code that settles nothing.
    ReversalRefused = "reversal-refused",
    /// Reversals of unknown originals are answered 00.
    UnknownReversal00 = "unknown-reversal-00",
    /// The process is killed.
    Kill = "kill",
    /// The power fails.
    PowerLoss = "power-loss",
    /// A sync fails.
    SyncFails = "sync-fails",
    /// A write fails, or half of it is done.
    WriteFails = "write-fails",
    /// The journal cannot be read for a look-up.
    LookUpFails = "look-up-fails",
    /// The disk is full for a while.
    DiskFull = "disk-full",
    /// The disk takes up to seconds.
    DiskSlow = "disk-slow",
    /// The wall clock jumps.
    WallJump = "wall-jump",
    /// Clocks of terminals are hours or days wrong.
    TerminalClock = "terminal-clock",
    /// The process, or the machine, is suspended.
    Suspend = "suspend",
    /// An operator stops and starts the switch.
    CleanRestart = "clean-restart",
    /// A bit of a closed journal is flipped.
    BitFlip = "bit-flip",
    /// Terminals that never return.
    Vanish = "vanish",
    /// The customer changes his mind.
    Cancel = "cancel",
    /// A part is given back.
    PartialReversal = "partial-reversal",
    /// A used key with other content.
    KeyReuse = "key-reuse",
    /// A terminal's counter begins anew.
    StanReset = "stan-reset",
    /// A reversal whose original never came, or comes later.
    LostOriginal = "lost-original",
    /// A reversal of a wrong amount.
    WrongReversal = "wrong-reversal",
    /// Equal sales in a row that are both meant.
    EqualSales = "equal-sales",
    /// An operator decides while all goes on.
    Operator = "operator",
}

/// How a terminal's connections live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    /// One connection, kept.
    Kept,
    /// A new one for each message.
    PerCall,
    /// A concentrator's, shared with other lanes.
    Lane,
}

/// The behaviour of a terminal group, and what the switch is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Serial, reverses first: the default.
    Careful,
    /// Serial; resends or keys again, and forgets.
    Forgetful,
    /// Nothing is promised of it; the switch knows neither `serial` nor `reverses_first`.
    Unknown,
    /// Holds the goods until its 0202 is answered (C2).
    Completes,
    /// Resends only after giving up (`on_repeat = unwind`).
    ResendsLate,
    /// Takes partial approvals, and reverses first.
    TakesPartial,
}

impl Profile {
    /// All of them; a profile's place is its group number less one.
    pub const ALL: [Profile; 6] = [
        Profile::Careful,
        Profile::Forgetful,
        Profile::Unknown,
        Profile::Completes,
        Profile::ResendsLate,
        Profile::TakesPartial,
    ];

    /// The number of its group in the configuration.
    pub(crate) fn group(self) -> GroupNo {
        GroupNo(Profile::ALL.iter().position(|other| *other == self).unwrap_or(0) as u16 + 1)
    }

    /// The terminal itself reverses what it does not know before anything new.
    pub(crate) fn reverses_first(self) -> bool {
        match self {
            Profile::Careful | Profile::TakesPartial => true,
            Profile::Forgetful | Profile::Unknown | Profile::Completes | Profile::ResendsLate => false,
        }
    }
}

/// One terminal of the plan.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// What it does.
    pub profile: Profile,
    /// How it connects.
    pub calls: Calls,
    /// Which merchant; merchants share cards.
    pub merchant: u32,
    /// How its reversals name their original.
    pub reversal_names: ReversalNames,
    /// Which local time they carry.
    pub reversal_times: ReversalTimes,
    /// How wrong its clock is, in seconds.
    pub clock_error_s: i64,
}

/// One issuer of the plan.
#[derive(Clone, Copy, Debug)]
pub struct IssuerPlan {
    /// Links to it.
    pub links: u16,
    /// Connections of each.
    pub connections: u16,
    /// Of two approvals of one request it undoes the one that is named.
    pub addresses_one_approval: bool,
    /// It remembers reversals that come before their original.
    pub remembers_early_reversals: bool,
}

/// Everything that a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Draws everything that is left to chance.
    pub seed: u64,
    /// Purchases of each terminal.
    pub purchases: u32,
    /// The terminals.
    pub sites: Vec<Site>,
    /// The troubles that are on.
    pub troubles: Vec<Trouble>,
    /// Cards in circulation.
    pub cards: u64,
    /// The issuers.
    pub issuers: Vec<IssuerPlan>,
    /// The longest pause between purchases, in seconds.
    pub pause_s: u64,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Plan {
        let mut dice = Seeded::new(seed ^ 0x706c_616e);
        let terminals = 3 + dice.below(10);
        let lanes = dice.chance(0.3);
        let mut sites: Vec<Site> = (0..terminals)
            .map(|_| {
                let profile = Profile::ALL[dice.below(Profile::ALL.len() as u64) as usize];
                let calls = match dice.below(3) {
                    0 => Calls::PerCall,
                    // It gives an exchange up by hanging up, which a lane cannot.
                    1 if lanes && profile != Profile::ResendsLate => Calls::Lane,
                    _ => Calls::Kept,
                };
                let merchant = dice.below(u64::from(MERCHANTS)) as u32 + 1;
                let reversal_names = if dice.below(4) == 0 { ReversalNames::OriginalStan } else { ReversalNames::OwnStan };
                let reversal_times = [ReversalTimes::Original, ReversalTimes::Own, ReversalTimes::Absent];
                let reversal_times = reversal_times[dice.below(3) as usize];
                Site { profile, calls, merchant, reversal_names, reversal_times, clock_error_s: 0 }
            })
            .collect();
        // A quiet seed now and then: what goes wrong without trouble is easy to read.
        let share = [0.0, 0.1, 0.25, 0.5, 0.8][dice.below(5) as usize];
        let troubles: Vec<Trouble> = Trouble::ALL.iter().copied().filter(|_| dice.chance(share)).collect();
        if troubles.contains(&Trouble::TerminalClock) {
            for site in &mut sites {
                site.clock_error_s = [0, 40, -300, 7_200, -86_400 * 3][dice.below(5) as usize];
            }
        }
        let issuers = 1 + dice.below(2);
        let mut issuer = || IssuerPlan {
            links: 1 + dice.below(2) as u16,
            connections: 1 + dice.below(2) as u16,
            addresses_one_approval: dice.chance(0.5),
            remembers_early_reversals: dice.chance(0.3),
        };
        let issuers = (0..issuers).map(|_| issuer()).collect();
        Plan {
            seed,
            purchases: 20 + dice.below(100) as u32,
            sites,
            troubles,
            cards: 2 + dice.below(8),
            issuers,
            pause_s: [2, 10, 60][dice.below(3) as usize],
        }
    }

    /// Without some troubles, with fewer purchases, with these terminals only: what a shrunk case is replayed with.
    #[must_use]
    pub fn cut(mut self, without: &[Trouble], purchases: Option<u32>, sites: Option<&[usize]>) -> Plan {
        self.troubles.retain(|trouble| !without.contains(trouble));
        self.purchases = purchases.unwrap_or(self.purchases);
        if let Some(sites) = sites {
            self.sites = sites.iter().filter_map(|at| self.sites.get(*at).copied()).collect();
        }
        self
    }

    /// Whether a trouble is on.
    #[must_use]
    pub fn has(&self, trouble: Trouble) -> bool {
        self.troubles.contains(&trouble)
    }

    /// The switch's configuration.
    pub(crate) fn config(&self) -> Config {
        let mut dice = Seeded::new(self.seed ^ 0x636f_6e66);
        let mut pick = |choices: &[u64]| choices[dice.below(choices.len() as u64) as usize];
        let mut config = Config { dedup_keys: pick(&[5, 50, 100_000]) as usize, ..Config::default() };
        for profile in Profile::ALL {
            let group = group(profile, &mut pick);
            config.groups.insert(profile.group(), group);
        }
        for (at, plan) in self.issuers.iter().enumerate() {
            let issuer = IssuerNo(at as u16 + 1);
            let settings = Issuer {
                name: format!("issuer {}", issuer.0),
                needs_operator_after_ms: pick(&[1_200_000, 86_400_000]),
                reversal_window: pick(&[1, 4, 32]) as usize,
                ..Issuer::default()
            };
            config.issuers.insert(issuer, settings);
            let keeps_early = plan.remembers_early_reversals && pick(&[0, 1]) == 1;
            for number in 1..=plan.links {
                let link = Link {
                    name: format!("link {}.{number}", issuer.0),
                    in_flight_max: pick(&[2, 512]) as usize,
                    reversal_as_request: pick(&[0, 0, 1]) == 1,
                    addresses_one_approval: plan.addresses_one_approval,
                    remembers_early_reversals: keeps_early,
                    ..Link::default()
                };
                config.links.insert(LinkNo { issuer, number }, link);
            }
        }
        let last = IssuerNo(self.issuers.len() as u16);
        config.routes.push(Route { prefix: "4".into(), issuer: IssuerNo(1) });
        config.routes.push(Route { prefix: "5".into(), issuer: last });
        config
    }

    /// The links whose reversals count although they left early (R3).
    pub(crate) fn keeps_early(&self) -> Vec<LinkNo> {
        let links = self.config().links;
        links.into_iter().filter(|(_, link)| link.remembers_early_reversals).map(|(number, _)| number).collect()
    }

    /// The terminals that take an approval of less (T9), by DE41.
    pub(crate) fn takes_less(&self) -> BTreeSet<String> {
        let sites = self.sites.iter().enumerate();
        let takes = sites.filter(|(_, site)| site.profile == Profile::TakesPartial);
        takes.map(|(number, _)| format!("T{number:07}")).collect()
    }

    /// How an issuer is set up.
    pub(crate) fn host_settings(&self, issuer: IssuerPlan) -> Settings {
        let unknown = if self.has(Trouble::UnknownReversal00) { ResponseCode::APPROVED } else { ResponseCode::NOT_FOUND };
        // One card of each merchant is soon empty.
        let poor =
            (1..=MERCHANTS).map(|merchant| AccountSettings::new(card(u64::from(merchant) * CARDS_OF_MERCHANT), 3_000_000));
        Settings {
            accounts: poor.collect(),
            default_balance: Some(1_000_000_000),
            unknown_original_code: unknown,
            addresses_one_approval: issuer.addresses_one_approval,
            remembers_early_reversals: issuer.remembers_early_reversals,
            ..Settings::default()
        }
    }

    /// How an issuer misbehaves, and which trouble each rule is of.
    pub(crate) fn host_faults(&self, issuer: IssuerPlan) -> (Vec<Trouble>, Vec<Rule>) {
        // Another approval that was never given, where the one that is named is undone: nobody could know.
        let unknowable = |fault: &Fault| {
            issuer.addresses_one_approval && matches!(fault, Fault::Double { approval: Approval::Other, .. })
        };
        let on = misconduct::all().into_iter().filter(|(trouble, _, _, fault)| self.has(*trouble) && !unknowable(fault));
        on.map(|(trouble, class, rate, fault)| {
            let matches = Match { mti_class: Some(class), rate: Some(rate), ..Match::default() };
            (trouble, Rule::new(matches, fault))
        })
        .unzip()
    }
}

/// What the switch is told of the terminals of a profile.
fn group(profile: Profile, pick: &mut impl FnMut(&[u64]) -> u64) -> Group {
    let base = Group {
        name: format!("{profile:?}"),
        confirm_deadline_ms: pick(&[300_000, 1_800_000]),
        at_deadline: match pick(&[0, 0, 1, 2]) {
            0 => AtDeadline::Confirm,
            1 => AtDeadline::Operator,
            _ => AtDeadline::Reverse,
        },
        on_rekey: if pick(&[0, 0, 1]) == 1 { OnRekey::Refuse } else { OnRekey::AllowAndFlag },
        // A terminal that has used up its quota gets 96 for a day: nothing here would settle.
        tombstones_max: pick(&[500, 1000]) as usize,
        ..Group::default()
    };
    match profile {
        Profile::Careful => base,
        Profile::Forgetful => Group { reverses_first: false, ..base },
        Profile::Unknown => Group { serial: false, reverses_first: false, ..base },
        Profile::Completes => Group { reverses_first: false, confirm_within_ms: Some(60_000), ..base },
        Profile::ResendsLate => Group { reverses_first: false, on_repeat: OnRepeat::Unwind, ..base },
        Profile::TakesPartial => Group { takes_partial_approvals: true, ..base },
    }
}

/// Merchants of a plan at most.
const MERCHANTS: u32 = 3;
/// Between the first cards of two merchants.
pub(crate) const CARDS_OF_MERCHANT: u64 = 1000;

/// A card by its number; even ones belong to the first issuer, odd ones to the last.
pub(crate) fn card(number: u64) -> Card {
    let prefix = if number.is_multiple_of(2) { 4 } else { 5 };
    format!("{prefix}00000{number:010}").parse().unwrap_or_else(|_| panic!("card {number}"))
}
