//! A small world around the core, driven by scripts: a line a step, what must be sent behind `>`.
//!
//! Every step also checks what holds always: each action waits for its record (M1, M2), and replaying the records gives the
//! same state (I4).
//!
//! ```text
//! sale STAN AMOUNT          0200 on the terminal's connection     (auth: 0100, repeat: 0201)
//!   options: conn N, card N, term N, time HHMMSS or fresh (no times), ownrrn TEXT, de38 TEXT,
//!   tap N (chip's counter), random N and cryptogram N (with tap), shop N (merchant), set, drop
//! reverse STAN AMOUNT       0400 naming the original in DE90      (options also: rrn, bare, keep N, de95 TEXT, again, oldtime,
//!   set, drop)
//! complete STAN CODE             0202 (complete-again: 0203, complete-auth: 0102)  (options: set, drop)
//! resolve STAN|unknown|named|entry HOW [N]   an operator decides (entry: about the oldest on the list)
//! answer CODE               0210 to the newest request            (options: nth N, approval TEXT, amount N, currency N,
//!   rrn TEXT, on LINK, set DE=TEXT,… and drop DE,…)
//! ack CODE                  0430 to the newest reversal           (options: nth N, amount N, currency N, mti N, set, drop)
//! network CODE              0810 to the newest 0800               (options: on LINK, set, drop)
//! host-asks MTI             the issuer's own message, 0800 for one (option: on LINK)
//! report FATE               the next write is reported as written (default), notsent, partial, undeliverable, unbuildable or silent
//! pass MS                   time goes by, timers fire
//! written · never-sent · late FATE   the report of the oldest write that was left `silent`
//! rotate [at-start]              another look-up key: terminals' cards have other marks (at-start: memory's from the next start on)
//! close [conn N] · link down|up [N] · crash · clean-restart · drain
//! waits                          the newest answer waits for the newest record
//! ready COUNT                    so many connections of links take requests
//! took MS MS                     the newest answer to a terminal: how long in all, and how long its issuer
//! answered-on CONN               the newest answer went to this connection
//! answered-lane TERM             the newest answer names this terminal
//! noted RULE ...                 what the step before noted: rules, `late` and `unmatched` answers
//! state STAN NAME · evidence STAN NAME · doubt COUNT · exceptions COUNT
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use iso8583::{Fields, Mti};
use switch::*;

pub(crate) const PANS: [&str; 3] = ["4111111111111111", "5500000000000004", "4222222222222220"];
const START_MS: u64 = 1_795_331_289_000;

pub(crate) struct World {
    core: Option<Switch>,
    pub(crate) config: Config,
    now: Now,
    pub(crate) records: Vec<Entry>,
    requests: Vec<Fields>,
    reversals: Vec<Fields>,
    /// The newest 0800 to an issuer.
    network: Option<Fields>,
    sent: Vec<String>,
    fates: VecDeque<Option<Report>>,
    links: BTreeMap<u32, LinkId>,
    generation: u32,
    lookups: Vec<(QueryId, Query)>,
    /// Writes that were not reported.
    unreported: VecDeque<ActionId>,
    step: String,
    /// What the newest answer to a terminal waits for.
    answer_after: Lsn,
    /// Connections that were to be closed if the host had not taken what was written.
    resets: usize,
    /// The connection that the newest answer to a terminal went to, and its DE41.
    answered_on: u32,
    answered_lane: String,
    /// The newest answer to a terminal.
    pub(crate) answered: Option<Fields>,
    /// What the newest step noted as decided.
    noted: Vec<&'static str>,
    /// How long the newest answer to a terminal took, and its issuer, in milliseconds.
    took: (u64, u64),
    /// The numbers of this process's actions and look-ups: none comes twice.
    numbers: BTreeSet<u64>,
    /// The state of each movement as it was told last.
    told: BTreeMap<MovementId, StateKind>,
    /// The look-up key.
    look_up: u8,
}

pub(crate) fn config() -> Config {
    let mut config = Config { dedup_keys: 1000, ..Config::default() };
    config.groups.insert(GroupNo(1), Group { name: "shops".into(), ..Group::default() });
    config.issuers.insert(IssuerNo(1), Issuer { name: "bank".into(), ..Issuer::default() });
    for number in 1..=2 {
        let link = Link { name: format!("bank-{number}"), sign_on: false, echo_after_ms: 0, ..Link::default() };
        config.links.insert(LinkNo { issuer: IssuerNo(1), number }, link);
    }
    config.routes.push(Route { prefix: "4".into(), issuer: IssuerNo(1) });
    config
}

/// Runs a script in a world of its own.
pub(crate) fn check(script: &str) {
    check_with(|_| {}, script);
}

/// The same, with settings changed.
pub(crate) fn check_with(change: impl FnOnce(&mut Config), script: &str) {
    let mut changed = config();
    change(&mut changed);
    let mut world = World::new(changed);
    world.run(script);
    world.restores_to_the_same_indexes();
}

/// The terminals' group.
pub(crate) fn shops(config: &mut Config) -> &mut Group {
    config.groups.get_mut(&GroupNo(1)).unwrap()
}

/// The link that is up at the start.
pub(crate) fn link(config: &mut Config) -> &mut Link {
    config.links.get_mut(&LinkNo { issuer: IssuerNo(1), number: 1 }).unwrap()
}

/// So many reversals may be sent and unanswered (R5).
pub(crate) fn window_of(reversals: usize) -> impl FnOnce(&mut Config) {
    move |config| config.issuers.get_mut(&IssuerNo(1)).unwrap().reversal_window = reversals
}

fn card(number: usize, look_up: u8) -> Card {
    let pan: iso8583::Pan = PANS[number].parse().unwrap();
    let sealed = SealedPan { key: 1, nonce: [number as u8; 12], sealed: [number as u8; SEALED_BYTES] };
    Card { sealed, hmac: mark(&sealed, look_up), masked: pan.masked() }
}

/// What a sealed card is known by under a look-up key.
fn mark(sealed: &SealedPan, look_up: u8) -> CardHmac {
    let mut mark = [sealed.sealed[0]; 16];
    mark[15] = look_up;
    CardHmac(mark)
}

/// A key that seals, and look-up keys up to this one, the newest first.
fn keys(look_up: u8) -> Vec<(u16, [u8; 8])> {
    (0..=look_up).rev().map(|key| (0, [key; 8])).chain([(1, [7; 8])]).collect()
}

struct Words<'a>(Vec<&'a str>);

impl<'a> Words<'a> {
    fn option(&self, name: &str) -> Option<&'a str> {
        self.0.iter().position(|word| *word == name).and_then(|at| self.0.get(at + 1).copied())
    }
    fn number(&self, name: &str, default: usize) -> usize {
        self.option(name).map_or(default, |text| text.parse().expect("a number"))
    }
    fn has(&self, name: &str) -> bool {
        self.0.contains(&name)
    }
    /// Fields that are put into the message, or left out of it, at the last.
    fn alter(&self, message: &mut Fields) {
        for field in self.option("set").into_iter().flat_map(|fields| fields.split(',')) {
            let (de, text) = field.split_once('=').expect("DE=TEXT");
            message.set(de.parse().unwrap(), text.replace('_', " ").as_bytes());
        }
        for de in self.option("drop").into_iter().flat_map(|fields| fields.split(',')) {
            message.remove(de.parse().unwrap());
        }
    }
    fn at(&self, at: usize) -> &'a str {
        self.0.get(at).copied().unwrap_or_else(|| panic!("word {at} is missing in {:?}", self.0))
    }
}

impl World {
    pub(crate) fn new(config: Config) -> World {
        assert_eq!(config.check(), Vec::<String>::new());
        let mut world = World {
            core: Some(Switch::new(config.clone())),
            config,
            now: Now { uptime_ms: 1_000_000, wall_ms: START_MS },
            records: Vec::new(),
            requests: Vec::new(),
            reversals: Vec::new(),
            network: None,
            sent: Vec::new(),
            fates: VecDeque::new(),
            links: BTreeMap::new(),
            generation: 0,
            lookups: Vec::new(),
            unreported: VecDeque::new(),
            step: String::from("start"),
            answer_after: Lsn(0),
            resets: 0,
            answered_on: 0,
            answered_lane: String::new(),
            answered: None,
            noted: Vec::new(),
            took: (0, 0),
            numbers: BTreeSet::new(),
            told: BTreeMap::new(),
            look_up: 0,
        };
        world.begin();
        world.link_up(1);
        world
    }

    pub(crate) fn run(&mut self, script: &str) {
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            self.step = line.into();
            let (command, expected) = match line.split_once('>') {
                Some((command, expected)) => (command.trim(), expected.split(';').map(|s| s.trim().to_owned()).collect()),
                None => (line, Vec::new()),
            };
            self.sent.clear();
            if !command.starts_with("noted") {
                self.noted.clear();
            }
            let words = Words(command.split_whitespace().collect());
            self.command(&words);
            let expected: Vec<String> = expected.into_iter().filter(|s: &String| !s.is_empty()).collect();
            assert_eq!(self.sent, expected, "\nat: {line}\nin: {script}");
            self.replays_to_the_same_state();
        }
    }

    fn command(&mut self, words: &Words<'_>) {
        match words.at(0) {
            "sale" => self.request(b"0200", words),
            "auth" => self.request(b"0100", words),
            "repeat" => self.request(b"0201", words),
            "reverse" => self.reverse(words),
            "echo" => {
                let mut message = Fields::new(Mti::new(b"0800"));
                message.set(11, b"000077");
                message.set(70, b"301");
                self.terminal_sends(message, words, None);
            }
            "complete" => self.complete(b"0202", words),
            "complete-auth" => self.complete(b"0102", words),
            "complete-again" => self.complete(b"0203", words),
            "resolve" => self.resolve(words),
            "answer" => self.answer(words),
            "ack" => self.ack(words),
            "network" => self.network_answer(words),
            "host-asks" => {
                let mut message = Fields::new(Mti::try_from(words.at(1).as_bytes()).unwrap());
                message.set(11, b"000055");
                message.set(70, b"301");
                let link = self.links[&(words.number("on", 1) as u32)];
                self.turn(Input::Issuer { link, message: Box::new(message) });
            }
            "ready" => {
                let ready = self.core().links().filter(|link| link.ready).count();
                assert_eq!(ready.to_string(), words.at(1), "{}", self.step);
            }
            "report" => self.fates.push_back(fate(words.at(1))),
            "late" => self.report_now(fate(words.at(1)).expect("a report")),
            "pass" => self.pass(words.at(1).parse().unwrap()),
            "close" => self.turn(Input::TerminalClosed { conn: conn(words) }),
            "link" => match words.at(1) {
                "up" => self.link_up(words.0.get(2).map_or(1, |n| n.parse().unwrap())),
                _ => self.link_down(words.0.get(2).map_or(1, |n| n.parse().unwrap())),
            },
            "order" => {
                let order = match words.at(1) {
                    "drain" => LinkOrder::Drain,
                    "up" => LinkOrder::Up,
                    "sign-on" => LinkOrder::SignOn,
                    "sign-off" => LinkOrder::SignOff,
                    other => panic!("{other} is no order"),
                };
                self.turn(Input::Link { number: LinkNo { issuer: IssuerNo(1), number: 1 }, order });
            }
            "crash" => self.crash(),
            "rotate" => self.rotate(words.has("at-start")),
            "drain" => self.turn(Input::Admission(Admission::Draining)),
            "journal-full" => self.turn(Input::Admission(Admission::JournalFull)),
            "admit" => self.turn(Input::Admission(Admission::Open)),
            "written" => self.report_now(Report::Written),
            "never-sent" => self.report_now(Report::NotSent),
            "found" => self.found(),
            "not-found" => {
                let (query, _) = self.lookups.remove(0);
                self.turn(Input::Found { query, found: None });
            }
            "state" => assert_eq!(self.movement(words).state.name(), words.at(2), "{}", self.step),
            "evidence" => assert_eq!(self.movement(words).evidence.name(), words.at(2), "{}", self.step),
            "cause" => {
                let rule = self.movement(words).obligation.as_ref().map(|obligation| obligation.rule.name());
                assert_eq!(rule, Some(words.at(2)), "{}", self.step);
            }
            "operator" => {
                assert_eq!(self.movement(words).operator_rule.map(Rule::name), Some(words.at(2)), "{}", self.step);
            }
            "net" => assert_eq!(self.movement(words).net_minor().to_string(), words.at(2), "{}", self.step),
            "unknown" => assert_eq!(self.core().unknown_deliveries().count().to_string(), words.at(1), "{}", self.step),
            "confirmed" => {
                let by = self.movement(words).confirmed.map(ConfirmedBy::name);
                assert!(by.is_some_and(|by| by.contains(words.at(2))), "{} is confirmed by {by:?}", self.step);
            }
            "answered-lane" => assert_eq!(self.answered_lane, format!("TERM{:0>4}", words.at(1)), "{}", self.step),
            "noted" => assert_eq!(self.noted.join(" "), words.0[1..].join(" "), "{}", self.step),
            "took" => assert_eq!(format!("{} {}", self.took.0, self.took.1), words.0[1..].join(" "), "{}", self.step),
            "answered-on" => assert_eq!(self.answered_on.to_string(), words.at(1), "{}", self.step),
            "waits" => assert_eq!(self.answer_after, self.core().lsn(), "M2: {}", self.step),
            "doubt" => assert_eq!(self.core().doubt().count().to_string(), words.at(1), "{}", self.step),
            "exceptions" => assert_eq!(self.core().exceptions().len().to_string(), words.at(1), "{}", self.step),
            "movements" => assert_eq!(self.core().movements().count().to_string(), words.at(1), "{}", self.step),
            other => panic!("no command {other}"),
        }
    }

    pub(crate) fn core(&self) -> &Switch {
        self.core.as_ref().unwrap()
    }

    fn movement(&self, words: &Words<'_>) -> &Movement {
        let stan: u32 = words.at(1).parse().unwrap();
        let of_stan = self.core().movements().filter(|movement| movement.key.stan.get() == stan);
        of_stan.last().unwrap_or_else(|| panic!("no movement of STAN {stan}"))
    }

    fn request(&mut self, mti: &[u8; 4], words: &Words<'_>) {
        let mut message = Fields::new(Mti::new(mti));
        let card_number = words.number("card", 0);
        message.set(2, PANS[card_number].as_bytes());
        message.set(3, b"000000");
        message.set(4, format!("{:012}", words.at(2).parse::<u64>().unwrap()).as_bytes());
        message.set(11, format!("{:06}", words.at(1).parse::<u32>().unwrap()).as_bytes());
        if !words.has("fresh") {
            message.set(7, words.option("de7now").unwrap_or("1122070809").as_bytes());
            message.set(12, words.option("time").unwrap_or("070809").as_bytes());
            message.set(13, words.option("date").unwrap_or("1122").as_bytes());
        }
        for (de, option) in [(37, "ownrrn"), (38, "de38")] {
            if let Some(text) = words.option(option) {
                message.set(de, text.replace('_', " ").as_bytes());
            }
        }
        if let Some(tap) = words.option("tap") {
            let counter: u16 = tap.parse().unwrap();
            let [high, low] = counter.to_be_bytes();
            let (random, cryptogram) = (words.number("random", 1) as u8, words.number("cryptogram", 1) as u8);
            let chip = [0x9f, 0x26, 2, 7, cryptogram, 0x9f, 0x36, 2, high, low, 0x9f, 0x37, 0x81, 4, 1, 2, 3, random];
            message.set(55, &chip);
        }
        message.set(22, b"051");
        message.set(35, b"4111111111111111=29122010000000000000");
        message.set(49, b"156");
        message.set(52, &[7; 8]);
        message.set(64, &[8; 8]);
        words.alter(&mut message);
        self.terminal_sends(message, words, Some(card(card_number, self.look_up)));
    }

    fn reverse(&mut self, words: &Words<'_>) {
        let original: u32 = words.at(1).parse().unwrap();
        let mut message = Fields::new(Mti::new(if words.has("again") { b"0421" } else { b"0400" }));
        message.set(4, format!("{:012}", words.at(2).parse::<u64>().unwrap()).as_bytes());
        if !words.has("nocurrency") {
            message.set(49, b"156");
        }
        message.set(12, b"111111");
        message.set(13, b"1122");
        if words.has("own") {
            message.set(11, b"000999");
        } else if words.has("bare") {
            message.set(11, format!("{original:06}").as_bytes());
        } else {
            message.set(11, b"000999");
            let time = if words.has("oldtime") { "1122060606" } else { words.option("de7").unwrap_or("0000000000") };
            let class = words.option("class").unwrap_or("0200");
            message.set(90, format!("{class}{original:06}{time}{:022}", 0).as_bytes());
        }
        for (de, option) in [(37, "ownrrn"), (38, "de38")] {
            if let Some(text) = words.option(option) {
                message.set(de, text.as_bytes());
            }
        }
        if words.has("rrn") {
            let rrn = self.movement(words).rrn;
            message.set(37, rrn.as_bytes());
        }
        if let Some(remains) = words.option("keep") {
            message.set(95, format!("{:0>12}{:030}", remains, 0).as_bytes());
        }
        if let Some(text) = words.option("de95") {
            message.set(95, text.replace('_', " ").as_bytes());
        }
        let look_up = self.look_up;
        let card = words.option("card").map(|number| card(number.parse().unwrap(), look_up));
        words.alter(&mut message);
        self.terminal_sends(message, words, card);
    }

    /// 0202: the terminal says with DE39 whether it completed the sale.
    fn complete(&mut self, mti: &[u8; 4], words: &Words<'_>) {
        let original: u32 = words.at(1).parse().unwrap();
        let mut message = Fields::new(Mti::new(mti));
        message.set(11, format!("{original:06}").as_bytes());
        message.set(39, words.at(2).as_bytes());
        words.alter(&mut message);
        self.terminal_sends(message, words, None);
    }

    fn resolve(&mut self, words: &Words<'_>) {
        let resolution = match words.at(2) {
            "stands" => Resolution::Stands,
            "undo" => Resolution::Undo,
            "undone-elsewhere" => Resolution::UndoneElsewhere,
            "adjusted-elsewhere" => Resolution::AdjustedElsewhere { minor: words.at(3).parse().unwrap() },
            other => panic!("no resolution {other}"),
        };
        let case = match words.at(1) {
            "unknown" => Case::Movement(iso8583::Rrn::try_from(&b"999999999999"[..]).unwrap()),
            "named" => Case::Movement(
                self.core().exceptions().next().and_then(|(_, entry)| entry.rrn).expect("an entry with an RRN"),
            ),
            "entry" => Case::Entry(self.core().exceptions().next().map_or(Lsn(77), |(entry, _)| entry)),
            _ => Case::Movement(self.movement(words).rrn),
        };
        self.turn(Input::Resolve { ask: AskId(1), case, resolution, who: "anna".into(), why: "called the shop".into() });
    }

    fn terminal_sends(&mut self, mut message: Fields, words: &Words<'_>, card: Option<Card>) {
        let terminal = words.number("term", 1);
        message.set(41, format!("TERM{terminal:04}").as_bytes());
        message.set(42, format!("MERCHANT{:07}", words.number("shop", 1)).as_bytes());
        self.turn(Input::Terminal { conn: conn(words), group: GroupNo(1), message: Box::new(message), card });
    }

    fn answer(&mut self, words: &Words<'_>) {
        let nth = words.number("nth", self.requests.len());
        let request = self.requests[nth - 1].clone();
        let mut answer = Fields::new(request.mti().response());
        for de in [3, 4, 7, 11, 12, 13, 37, 41, 42, 49] {
            answer.copy_from(&request, de);
        }
        answer.set(39, words.at(1).as_bytes());
        if matches!(words.at(1), "00" | "10") {
            answer.set(38, words.option("approval").unwrap_or("AP0001").as_bytes());
            answer.set(54, b"1002156C000000050000");
        }
        for (de, option) in [(4, "amount"), (11, "stan")] {
            if let Some(number) = words.option(option) {
                let width = if de == 4 { 12 } else { 6 };
                answer.set(de, format!("{number:0>width$}").as_bytes());
            }
        }
        for (de, option) in [(37, "rrn"), (41, "terminal"), (2, "pan"), (49, "currency")] {
            if let Some(text) = words.option(option) {
                answer.set(de, text.as_bytes());
            }
        }
        let mti = words.option("mti").map(|mti| Mti::try_from(mti.as_bytes()).unwrap());
        answer.set_mti(mti.unwrap_or(answer.mti()));
        words.alter(&mut answer);
        let link = self.links[&(words.number("on", 1) as u32)];
        self.turn(Input::Issuer { link, message: Box::new(answer) });
    }

    fn ack(&mut self, words: &Words<'_>) {
        let nth = words.number("nth", self.reversals.len());
        let reversal = self.reversals[nth - 1].clone();
        let mut ack = Fields::new(reversal.mti().response());
        for de in [4, 7, 11, 37, 41, 42, 49, 90] {
            ack.copy_from(&reversal, de);
        }
        ack.set(39, words.at(1).as_bytes());
        if let Some(amount) = words.option("amount") {
            ack.set(4, format!("{amount:0>12}").as_bytes());
        }
        if let Some(currency) = words.option("currency") {
            ack.set(49, currency.as_bytes());
        }
        if let Some(mti) = words.option("mti") {
            ack.set_mti(Mti::try_from(mti.as_bytes()).unwrap());
        }
        words.alter(&mut ack);
        let link = self.links[&(words.number("on", *self.links.keys().next().unwrap() as usize) as u32)];
        self.turn(Input::Issuer { link, message: Box::new(ack) });
    }

    fn network_answer(&mut self, words: &Words<'_>) {
        let asked = self.network.as_ref().expect("an 0800");
        let mut answer = Fields::new(asked.mti().response());
        for de in [7, 11, 70] {
            answer.copy_from(asked, de);
        }
        answer.set(39, words.at(1).as_bytes());
        words.alter(&mut answer);
        let link = self.links[&(words.number("on", 1) as u32)];
        self.turn(Input::Issuer { link, message: Box::new(answer) });
    }

    fn pass(&mut self, ms: u64) {
        let until = self.now.uptime_ms + ms;
        let mut turns = 0;
        while let Some(at) = self.core().next_timeout().filter(|at| *at <= until) {
            let ahead = at.saturating_sub(self.now.uptime_ms);
            self.now = Now { uptime_ms: self.now.uptime_ms + ahead, wall_ms: self.now.wall_ms + ahead };
            let mut out = Output::default();
            self.core.as_mut().unwrap().expire(self.now, &mut out);
            self.take(out);
            turns = if ahead == 0 { turns + 1 } else { 0 };
            assert!(turns < 100, "timers set each other for ever: {}", self.step);
        }
        let ahead = until - self.now.uptime_ms;
        self.now = Now { uptime_ms: until, wall_ms: self.now.wall_ms + ahead };
    }

    fn link_up(&mut self, number: u32) {
        self.generation += 1;
        let link = LinkId { index: number, generation: self.generation };
        self.links.insert(number, link);
        self.turn(Input::LinkOpened { link, number: LinkNo { issuer: IssuerNo(1), number: number as u16 } });
    }

    fn link_down(&mut self, number: u32) {
        let link = self.links.remove(&number).expect("the link is up");
        self.turn(Input::LinkClosed { link });
    }

    /// All that a process knew is gone; the records are there.
    fn crash(&mut self) {
        let mut core = Switch::new(self.config.clone());
        for (at, entry) in self.records.iter().enumerate() {
            core.replay(Lsn(at as u64 + 1), entry).unwrap();
        }
        self.core = Some(core);
        self.forget_the_process();
        // The uptime clock of another boot begins elsewhere.
        self.now.uptime_ms += 5_000_000;
        self.begin();
    }

    fn forget_the_process(&mut self) {
        self.links.clear();
        self.fates.clear();
        self.numbers.clear();
        self.told.clear();
    }

    fn begin(&mut self) {
        let mut out = Output::default();
        let look_up = self.look_up;
        self.core.as_mut().unwrap().start(self.now, keys(look_up), &|sealed| Some(mark(sealed, look_up)), &mut out);
        self.take(out);
    }

    fn rotate(&mut self, at_start: bool) {
        self.look_up += 1;
        if !at_start {
            let (look_up, mut out) = (self.look_up, Output::default());
            self.core.as_mut().unwrap().take_keys(self.now, keys(look_up), &|sealed| Some(mark(sealed, look_up)), &mut out);
            self.take(out);
        }
    }

    /// The report of the oldest write that was left without one.
    fn report_now(&mut self, report: Report) {
        let action = self.unreported.pop_front().expect("a write without a report");
        self.turn(Input::Report { action, report });
    }

    fn found(&mut self) {
        let (query, asked) = self.lookups.remove(0);
        let mut finder = Finder::new(asked);
        self.records.iter().enumerate().for_each(|(at, entry)| finder.take(Lsn(at as u64 + 1), entry).unwrap());
        let mut found = finder.finish();
        for movement in &mut found {
            // As the partition does.
            let card = movement.card.expect("every movement here has one");
            movement.know_card_by(mark(&card.sealed, self.look_up));
        }
        self.turn(Input::Found { query, found: Some(found) });
    }

    fn turn(&mut self, input: Input) {
        let mut out = Output::default();
        self.core.as_mut().unwrap().turn(self.now, input, &mut out);
        self.take(out);
    }

    fn take(&mut self, out: Output) {
        let begun = out.records.iter().filter_map(|entry| match &entry.record {
            Record::Intent { movement } => Some(movement.id),
            _ => None,
        });
        let begun: Vec<MovementId> = begun.collect();
        self.records.extend(out.records);
        assert_eq!(self.core().lsn().0, self.records.len() as u64, "every record has the next LSN");
        let mut reports = Vec::new();
        for Pending { after, action } in out.actions {
            assert!(after.0 <= self.records.len() as u64, "an action waits for a record that was decided");
            let number = match &action {
                Action::ToTerminal { id, .. } | Action::ToIssuer { id, .. } => Some(id.0),
                Action::Find { id, .. } => Some(id.0),
                _ => None,
            };
            assert!(number.is_none_or(|number| self.numbers.insert(number)), "{number:?} again: {}", self.step);
            match action {
                Action::ToTerminal { id, conn, message } => {
                    self.answer_after = after;
                    self.answered_on = conn.index;
                    self.answered_lane = message.text(41).unwrap_or("").into();
                    self.answered = Some((*message).clone());
                    let rrn = message.get(37).and_then(|text| iso8583::Rrn::try_from(text).ok());
                    let movement = rrn.and_then(|rrn| self.core().movement_by_rrn(&rrn));
                    if let Some(movement) = movement {
                        assert!(
                            after >= movement.last_record,
                            "M2: an answer waits for its key's latest record: {}",
                            self.step
                        );
                    }
                    let code = message.text(39).unwrap_or("--");
                    self.sent.push(format!("terminal {} {code}", message.mti()));
                    reports.push((id, self.fates.pop_front().unwrap_or(Some(Report::Written))));
                }
                Action::ToIssuer { id, link, message, .. } => {
                    let answers = message.mti().is_response();
                    assert!(answers || after != Lsn(0), "M1: what is sent to an issuer waits for a record: {}", self.step);
                    self.sent_to_issuer(link, *message);
                    reports.push((id, self.fates.pop_front().unwrap_or(Some(Report::Written))));
                }
                Action::Withdraw { .. } => self.sent.push("withdraw".into()),
                Action::Unsend { .. } => self.sent.push("unsend".into()),
                Action::CloseLink { refused, .. } => {
                    self.sent.push(format!("close link{}", if refused.is_some() { " refused" } else { "" }))
                }
                Action::Resolved { result, .. } => {
                    if result.is_ok() {
                        assert_eq!(after.0, self.records.len() as u64, "an operator hears of what is durable");
                    }
                    self.sent.push(result.map_or_else(|refusal| format!("refused {refusal:?}"), |()| "resolved".into()));
                }
                Action::Find { id, query } => {
                    self.sent.push("find".into());
                    self.lookups.push((id, query));
                }
                Action::ResetIfUnacknowledged { .. } => self.resets += 1,
                Action::Note(Note::Decided { rule, .. }) => self.noted.push(rule),
                Action::Note(Note::LateAnswer { .. }) => self.noted.push("late"),
                Action::Note(Note::Unmatched { .. }) => self.noted.push("unmatched"),
                Action::Note(Note::Answered { after_ms, issuer_ms, .. }) => self.took = (after_ms, issuer_ms),
                Action::Note(Note::State { id, state, .. }) => drop(self.told.insert(id, state)),
                Action::Note(_) => {}
            }
        }
        assert!(begun.iter().all(|id| self.told.contains_key(id)), "a state that was not told: {}", self.step);
        for movement in self.core().movements() {
            let told = self.told.get(&movement.id).is_none_or(|told| *told == movement.state);
            assert!(told, "{} is not what was told: {}", movement.state.name(), self.step);
        }
        for (action, report) in reports {
            match report {
                Some(report) => self.turn(Input::Report { action, report }),
                None => self.unreported.push_back(action),
            }
        }
    }

    fn sent_to_issuer(&mut self, link: LinkId, message: Fields) {
        let amount: u64 = message.text(4).map_or(0, |digits| digits.parse().unwrap());
        let mti = message.mti();
        let on = if link.index == 1 { String::new() } else { format!(" on {}", link.index) };
        match mti.as_bytes() {
            b"0100" | b"0200" => {
                self.sent.push(format!("issuer {mti} {amount}{on}"));
                self.requests.push(message);
            }
            b"0800" => {
                self.sent.push(format!("issuer 0800 {}{on}", message.text(70).unwrap()));
                self.network = Some(message);
            }
            b"0810" => {
                let echoed = [message.text(11), message.text(70), message.text(39)].map(|text| text.unwrap_or("-"));
                self.sent.push(format!("issuer 0810 {}{on}", echoed.join(" ")));
            }
            _ => {
                for de in [35, 52, 55] {
                    assert!(!message.has(de), "R8: a reversal is built only from what may be stored");
                }
                self.sent.push(format!("issuer {mti} {amount} {}{on}", message.text(56).unwrap()));
                self.reversals.push(message);
            }
        }
    }

    /// I4, and that a snapshot is the whole of the durable state.
    fn replays_to_the_same_state(&self) {
        let mut replayed = Switch::new(self.config.clone());
        for (at, entry) in self.records.iter().enumerate() {
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            let decoded = Entry::decode(&bytes).unwrap();
            assert_eq!(&decoded, entry);
            replayed.replay(Lsn(at as u64 + 1), &decoded).unwrap();
        }
        let snapshot = |core: &Switch| {
            let mut bytes = Vec::new();
            core.snapshot(&mut bytes);
            bytes
        };
        let live = snapshot(self.core());
        assert_eq!(live, snapshot(&replayed), "I4 at: {}", self.step);
        let restored = Switch::restore(self.config.clone(), &live).unwrap();
        assert_eq!(live, snapshot(&restored), "a snapshot is whole at: {}", self.step);
        assert_eq!(self.core().census(), restored.census());
        let in_doubt = self.core().movements().filter(|movement| movement.in_doubt());
        assert!(self.core().doubt().eq(in_doubt), "the gauge is what it counts: {}", self.step);
    }

    /// What is derived from the durable state is the same, whether it grew record by record or out of a snapshot.
    pub(crate) fn restores_to_the_same_indexes(&self) {
        let (mut replayed, mut snapshot) = (Switch::new(self.config.clone()), Vec::new());
        for (at, entry) in self.records.iter().enumerate() {
            replayed.replay(Lsn(at as u64 + 1), entry).unwrap();
        }
        replayed.snapshot(&mut snapshot);
        let restored = Switch::restore(self.config.clone(), &snapshot).unwrap();
        let (grown, restored) = (format!("{replayed:?}"), format!("{restored:?}"));
        let same = grown.bytes().zip(restored.bytes()).take_while(|(a, b)| a == b).count();
        let around = |text: &str| String::from_utf8_lossy(&text.as_bytes()[same.saturating_sub(200)..]).into_owned();
        assert!(grown == restored, "{}\n\n{}\n\nat: {}", around(&grown), around(&restored), self.step);
    }

    pub(crate) fn requests(&self) -> &[Fields] {
        &self.requests
    }

    pub(crate) fn reversals(&self) -> &[Fields] {
        &self.reversals
    }

    pub(crate) fn resets(&self) -> usize {
        self.resets
    }

    /// The record that the newest answer to a terminal waits for.
    pub(crate) fn answer_waits_for(&self) -> Lsn {
        self.answer_after
    }

    pub(crate) fn records(&self) -> &[Entry] {
        &self.records
    }

    /// Runs a step without a look at what it sends and keeps: for many of them.
    pub(crate) fn run_unchecked(&mut self, line: &str) {
        self.step = line.into();
        self.command(&Words(line.split_whitespace().collect()));
    }

    /// Runs a step and says what it sent.
    pub(crate) fn step(&mut self, line: &str) -> Vec<String> {
        self.sent.clear();
        self.run_free(line);
        self.sent.clone()
    }

    /// Runs a step without saying what it sends.
    pub(crate) fn run_free(&mut self, line: &str) {
        self.step = line.into();
        self.command(&Words(line.split_whitespace().collect()));
        self.replays_to_the_same_state();
    }

    /// The process goes on from a snapshot instead of a replay.
    pub(crate) fn restore(&mut self) {
        let mut snapshot = Vec::new();
        self.core().snapshot(&mut snapshot);
        self.core = Some(Switch::restore(self.config.clone(), &snapshot).unwrap());
        self.forget_the_process();
        self.begin();
    }

    pub(crate) fn jump_wall_clock(&mut self, by_ms: i64) {
        self.now.wall_ms = self.now.wall_ms.saturating_add_signed(by_ms);
    }
}

fn fate(name: &str) -> Option<Report> {
    match name {
        "written" => Some(Report::Written),
        "notsent" => Some(Report::NotSent),
        "partial" => Some(Report::Partial),
        "undeliverable" => Some(Report::Undeliverable),
        "unbuildable" => Some(Report::Unbuildable),
        "silent" => None,
        other => panic!("no fate {other}"),
    }
}

fn conn(words: &Words<'_>) -> ConnId {
    ConnId { index: words.number("conn", 1) as u32, generation: 0 }
}
