//! Terminals against the mock issuer, directly, over real loopback sockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use iso8583::{Currency, Fields, TerminalId};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::connection::{Connection, Socket};
use super::issuer::{ConnectionLine, MockIssuer, MockIssuerArgs};
use super::load::{Load, LoadArgs, final_sale};
use super::proxy::{FaultyProxy, ProxyArgs};
use super::terminal::{Route, TerminalArgs, TerminalClient, Vanish, VanishPoint, read_journal};
use super::tls::Identity;
use super::{NetError, http};
use crate::faults::{Approval, Fault, Match, MtiClass, Rule, Side};
use crate::issuer::{AccountSettings, MovementLine, Report, Settings};
use crate::terminal::{self, Asked, Belief, Outcome, Presented, Refused, newest};
use crate::wire_faults::{Direction, WireFault, WireRule};

const CARD: &str = "4000001234567899";
const SECOND: Duration = Duration::from_secs(1);

/// Certificates and journals of one test, on disk.
struct Files {
    dir: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = CertifiedIssuer::self_signed(params, key).unwrap();
        std::fs::write(dir.path().join("ca.pem"), authority.pem()).unwrap();
        Self { dir, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        let identity = Identity {
            certificate: self.path(&format!("{name}.pem")),
            key: self.path(&format!("{name}.key")),
            authority: self.path("ca.pem"),
        };
        std::fs::write(&identity.certificate, certificate.pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }

    async fn issuer(&self) -> MockIssuer {
        self.issuer_in("iso87-ascii").await
    }

    async fn issuer_in(&self, dialect: &str) -> MockIssuer {
        let args = MockIssuerArgs {
            tls: Some(self.identity("issuer")),
            dialect: dialect.to_owned(),
            settings: Settings {
                accounts: vec![AccountSettings::new(CARD.parse().unwrap(), 100_000_000)],
                ..Settings::default()
            },
            ..MockIssuerArgs::default()
        };
        MockIssuer::start(args).await.unwrap()
    }

    fn terminal(&self, address: SocketAddr, name: &str) -> TerminalArgs {
        let id = TerminalId::new(name.as_bytes(), b"MERCHANT0000001").unwrap();
        let config = self.identity(name).client().unwrap();
        TerminalArgs {
            route: Route { address, tls: Some(("issuer".to_owned(), config)), dialect: "iso87-ascii".to_owned() },
            settings: terminal::Settings::new(id, Currency::new(*b"978")),
            journal: Some(self.path(&format!("{name}.jsonl"))),
            response_timeout: 5 * SECOND,
        }
    }
}

fn card() -> Presented {
    Presented::new(CARD.parse().unwrap())
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test);
}

/// What stands at the issuer for each STAN of a terminal.
fn nets(issuer: &MockIssuer) -> Vec<(String, i64)> {
    issuer.movements().into_iter().map(|line| (line.stan, line.net)).collect()
}

#[test]
fn a_sale_over_mutual_tls_is_approved_and_believed() {
    run(async {
        let files = Files::new();
        let issuer = files.issuer().await;
        let args = files.terminal(issuer.address(), "TERM0001");
        let journal = args.journal.clone().unwrap();
        let mut terminal = TerminalClient::open(args).unwrap();

        assert!(terminal.sign_on().await.unwrap().is_approved());
        assert!(terminal.echo().await.unwrap().is_approved());
        let sale = terminal.sale(&card(), 1250).await.unwrap();
        assert_eq!((sale.outcome, sale.code()), (Outcome::Approved, "00"));
        let repeat = terminal.repeat().await.unwrap();
        assert_eq!(repeat.approval, sale.approval);
        let hold = terminal.auth(&card(), 700).await.unwrap();
        assert!(terminal.ask(Asked::Balance, &card(), 0).await.unwrap().balance.is_some());
        let undone = terminal.reverse(hold.stan.parse().ok(), 0, None).await.unwrap();
        assert!(undone.is_approved());

        assert_eq!(nets(&issuer), [(sale.stan, 1250), (hold.stan, 0)]);
        let beliefs = newest(read_journal(&journal).unwrap());
        let believed: Vec<_> = beliefs.iter().map(|line| (line.belief, line.stands)).collect();
        assert_eq!(believed, [(Belief::Approved, 1250), (Belief::Reversed, 0)]);
        assert!(!std::fs::read_to_string(&journal).unwrap().contains(CARD));
        issuer.stop().await;
    });
}

#[test]
fn the_packed_dialect_carries_the_same_sale() {
    run(async {
        let files = Files::new();
        let issuer = files.issuer_in("iso87-bcd").await;
        let mut args = files.terminal(issuer.address(), "TERM0001");
        args.route.dialect = "iso87-bcd".to_owned();
        let mut terminal = TerminalClient::open(args).unwrap();
        let presented = Presented {
            expiry: Some("3012".to_owned()),
            track2_tail: Some("30121010000012300000".to_owned().into()),
            pin_block: Some([0x12; 8].into()),
            chip: Some(vec![0x9f, 0x36, 0x02, 0x00, 0x01]),
            ..card()
        };
        assert!(terminal.sale(&presented, 99).await.unwrap().is_approved());
        assert!(terminal.reverse(None, 40, None).await.unwrap().is_approved());
        assert_eq!(nets(&issuer), [("000001".to_owned(), 40)]);
    });
}

#[test]
fn a_certificate_of_another_authority_is_refused_by_either_side() {
    run(async {
        let (files, strangers) = (Files::new(), Files::new());
        let issuer = files.issuer().await;
        let trusting_stranger = Identity { authority: files.path("ca.pem"), ..strangers.identity("TERM0001") };
        for identity in [trusting_stranger, strangers.identity("TERM0002")] {
            let mut args = files.terminal(issuer.address(), "TERM0003");
            args.route.tls = Some(("issuer".to_owned(), identity.client().unwrap()));
            args.journal = None;
            let mut terminal = TerminalClient::open(args).unwrap();
            // In TLS 1.3 a client hears that it was refused only when it reads.
            let refused = match terminal.sale(&card(), 100).await {
                Ok(receipt) => receipt.outcome == Outcome::Unknown,
                Err(error) => matches!(error, NetError::Connect { .. }),
            };
            assert!(refused);
        }
        assert!(issuer.movements().is_empty());
    });
}

#[test]
fn faults_and_settings_change_over_http() {
    run(async {
        let files = Files::new();
        let issuer = files.issuer().await;
        let control = issuer.control_address();
        let mut args = files.terminal(issuer.address(), "TERM0001");
        args.settings.reverses_first = false;
        let mut terminal = TerminalClient::open(args).unwrap();

        assert_eq!(http::get_text(control, "/healthz").await.unwrap(), "ok\n");
        let rules = r#"[{"match": {"card_suffix": "99"}, "times": 1, "do": {"answer": "91"}}]"#;
        http::put_text(control, "/faults", rules).await.unwrap();
        assert_eq!(terminal.sale(&card(), 100).await.unwrap().code(), "91");
        assert!(terminal.sale(&card(), 100).await.unwrap().is_approved());
        let rules: Vec<Rule> = http::get(control, "/faults").await.unwrap();
        assert_eq!(rules[0].times, Some(0));
        http::delete(control, "/faults").await.unwrap();
        assert!(http::get::<Vec<Rule>>(control, "/faults").await.unwrap().is_empty());
        assert!(http::put_text(control, "/faults", r#"[{"do": "explode"}]"#).await.is_err());

        let accounts = format!(r#"{{"accounts": [{{"card": "{CARD}", "balance": 0, "status": "lost"}}]}}"#);
        let shown = http::put_text(control, "/settings", &accounts).await.unwrap();
        assert!(!shown.contains(CARD), "{shown}");
        assert_eq!(terminal.sale(&card(), 100).await.unwrap().code(), "41");

        let movements: Vec<MovementLine> = http::get(control, "/movements").await.unwrap();
        assert_eq!(movements, issuer.movements());
        assert_eq!(movements.len(), 1);
        let report: Report = http::get(control, "/ledger?entries=1").await.unwrap();
        assert!(report.ledger.consistent);
        assert_eq!(report.ledger.accounts[0].balance, 100_000_000 - 100);
        assert!(!http::get_text(control, "/ledger").await.unwrap().contains(CARD));
        issuer.stop().await;
    });
}

/// A sale struck by a fault: the terminal does not know, clears it, and nothing stands.
async fn check_fault(fault: Fault, response_timeout: Duration) {
    let files = Files::new();
    let issuer = files.issuer().await;
    let sales = Match { mti_class: Some(MtiClass::Request), ..Match::default() };
    issuer.set_faults(vec![Rule::new(sales, fault.clone()).times(1)]);
    let mut args = files.terminal(issuer.address(), "TERM0001");
    args.response_timeout = response_timeout;
    let mut terminal = TerminalClient::open(args).unwrap();
    // A cut ends the wait at once, long before the terminal's own time is over.
    let sale = tokio::time::timeout(5 * SECOND, terminal.sale(&card(), 1250)).await;
    let sale = sale.unwrap().unwrap();
    assert_eq!((sale.outcome, sale.code()), (Outcome::Unknown, "--"), "{fault:?}");
    let next = terminal.sale(&card(), 1250).await;
    assert!(matches!(next, Err(NetError::Refused(Refused::ReversalFirst))), "{fault:?}");
    let cleared = terminal.clear_pending(5 * SECOND).await.unwrap();
    assert!(cleared.unwrap().is_approved(), "{fault:?}");
    assert!(issuer.movements().iter().all(|line| line.reversed), "{fault:?}");
    assert_eq!(terminal.terminal().beliefs()[0].belief, Belief::Reversed);
    assert!(terminal.sale(&card(), 1250).await.unwrap().is_approved(), "{fault:?}");
}

#[test]
fn a_sale_of_unknown_end_is_reversed_before_anything_new() {
    run(async {
        check_fault(Fault::Cut(Side::BeforeLedger), 60 * SECOND).await;
        check_fault(Fault::Cut(Side::AfterLedger), 60 * SECOND).await;
        check_fault(Fault::Ignore, SECOND / 2).await;
        check_fault(Fault::Silence(Side::AfterLedger), SECOND / 2).await;
        check_fault(Fault::LateMs(700), SECOND / 2).await;
    });
}

#[test]
fn a_reversal_that_is_ignored_is_sent_again_as_a_repeat() {
    run(async {
        let files = Files::new();
        let issuer = files.issuer().await;
        let reversals = Match { mti_class: Some(MtiClass::Reversal), ..Match::default() };
        let mut args = files.terminal(issuer.address(), "TERM0001");
        args.response_timeout = SECOND / 2;
        let mut terminal = TerminalClient::open(args).unwrap();
        let sale = terminal.sale(&card(), 1250).await.unwrap();
        issuer.set_faults(vec![Rule::new(reversals, Fault::Ignore).times(2)]);
        let ignored = terminal.reverse(None, 0, None).await.unwrap();
        assert_eq!(ignored.outcome, Outcome::Unknown);
        terminal.clear_pending(5 * SECOND).await.unwrap().unwrap();
        assert_eq!(nets(&issuer), [(sale.stan, 0)]);
        assert_eq!(terminal.terminal().beliefs()[0].reversal.as_ref().unwrap().sends, 3);
    });
}

#[test]
fn a_delayed_original_is_overtaken_by_its_reversal() {
    run(async {
        let files = Files::new();
        let issuer = files.issuer().await;
        let sales = Match { mti_class: Some(MtiClass::Request), ..Match::default() };
        issuer.set_faults(vec![Rule::new(sales, Fault::DelayMs(1500)).times(1)]);
        let mut args = files.terminal(issuer.address(), "TERM0001");
        args.response_timeout = SECOND / 2;
        let mut terminal = TerminalClient::open(args).unwrap();
        terminal.sale(&card(), 1250).await.unwrap();
        let cleared = terminal.clear_pending(5 * SECOND).await.unwrap().unwrap();
        assert_eq!(cleared.code(), "25", "the original is not there yet");
        while issuer.movements().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // No terminal can prevent this; it is what a switch has the horizon of R3 for.
        assert_eq!(nets(&issuer), [("000001".to_owned(), 1250)]);
    });
}

#[test]
fn a_terminal_that_vanishes_knows_from_its_journal_what_it_owes() {
    run(async {
        let files = Files::new();
        let issuer = files.issuer().await;
        let args = files.terminal(issuer.address(), "TERM0001");
        let points =
            [VanishPoint::BeforeSending, VanishPoint::AfterSending, VanishPoint::HalfAnswer, VanishPoint::BeforeBelieving];
        for point in points {
            for reset in [false, true] {
                let mut terminal = TerminalClient::open(args.clone()).unwrap();
                terminal.vanish_next(Vanish { point, reset });
                let sale = terminal.sale(&card(), 1250).await.unwrap();
                assert_eq!(sale.outcome, Outcome::Unknown, "{point:?}");
                drop(terminal);
                let mut terminal = TerminalClient::open(args.clone()).unwrap();
                assert_eq!(terminal.terminal().owed().unwrap().stan, sale.stan, "{point:?}");
                terminal.clear_pending(5 * SECOND).await.unwrap().unwrap();
                let stands = issuer.movements().iter().any(|line| line.net != 0);
                assert!(!stands, "{point:?} {reset}");
            }
        }
    });
}

#[test]
fn a_terminal_that_dies_while_it_waits_has_its_request_in_its_journal() {
    run(async {
        let files = Files::new();
        let issuer = files.issuer().await;
        issuer.set_faults(vec![Rule::new(Match::default(), Fault::Silence(Side::AfterLedger)).times(1)]);
        let args = files.terminal(issuer.address(), "TERM0001");
        let mut terminal = TerminalClient::open(args.clone()).unwrap();
        let presented = card();
        tokio::select! {
            answered = terminal.sale(&presented, 1250) => panic!("{answered:?}"),
            () = async {
                while issuer.movements().is_empty() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            } => {}
        }
        drop(terminal);
        let mut terminal = TerminalClient::open(args).unwrap();
        terminal.clear_pending(5 * SECOND).await.unwrap().unwrap();
        assert_eq!(nets(&issuer), [("000001".to_owned(), 0)]);
    });
}

#[test]
fn a_torn_last_line_of_a_journal_is_cut_and_a_damaged_one_is_refused() {
    run(async {
        let files = Files::new();
        let issuer = files.issuer().await;
        let args = files.terminal(issuer.address(), "TERM0001");
        let file = args.journal.clone().unwrap();
        let mut terminal = TerminalClient::open(args.clone()).unwrap();
        terminal.sale(&card(), 1250).await.unwrap();
        let whole = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{whole}{{\"at\": 1, \"st")).unwrap();
        let mut terminal = TerminalClient::open(args.clone()).unwrap();
        assert_eq!(terminal.terminal().beliefs().len(), 1);
        let next = terminal.sale(&card(), 1250).await.unwrap();
        assert_eq!(next.stan, "000002");
        assert_eq!(read_journal(&file).unwrap().len(), 4);
        std::fs::write(&file, format!("{{}}\n{whole}")).unwrap();
        let refused = TerminalClient::open(args).err().unwrap();
        assert!(matches!(refused, NetError::JournalLine { .. }), "{refused}");
    });
}

#[test]
fn links_go_down_and_come_up_with_the_ledger_kept() {
    run(async {
        let files = Files::new();
        let issuer = files.issuer().await;
        let mut terminal = TerminalClient::open(files.terminal(issuer.address(), "TERM0001")).unwrap();
        assert!(terminal.sale(&card(), 100).await.unwrap().is_approved());
        http::put_text(issuer.control_address(), "/links", r#"{"up": false}"#).await.unwrap();
        // The connection closes under the terminal; what it asks then, it must reverse.
        let unknown = terminal.sale(&card(), 200).await.unwrap();
        assert_eq!(unknown.outcome, Outcome::Unknown);
        let refused = terminal.clear_pending(SECOND / 2).await;
        assert!(matches!(refused, Err(NetError::Deadline(_))));
        issuer.set_links_up(true);
        terminal.clear_pending(5 * SECOND).await.unwrap();
        assert!(terminal.sale(&card(), 300).await.unwrap().is_approved());
        let standing: Vec<_> = nets(&issuer).into_iter().map(|(_, net)| net).filter(|net| *net > 0).collect();
        assert_eq!(standing, [100, 300]);
    });
}

#[test]
fn a_load_survives_faults_and_lost_links_and_every_key_agrees() {
    run(async {
        let files = Files::new();
        let issuer = files.issuer().await;
        let rate = |rate| Match { rate: Some(rate), ..Match::default() };
        issuer.set_faults(vec![
            Rule::new(rate(0.02), Fault::Cut(Side::AfterLedger)),
            Rule::new(rate(0.02), Fault::Cut(Side::BeforeLedger)),
            Rule::new(rate(0.02), Fault::LateMs(30)),
            Rule::new(rate(0.02), Fault::Answer("96".parse().unwrap())),
        ]);
        let terminals = (0..8).map(|n| files.terminal(issuer.address(), &format!("TERM{n:04}")));
        let load = Load::start(LoadArgs {
            terminals: terminals.collect(),
            cards: vec![card()],
            amounts: 1..=500,
            pause: Duration::ZERO,
            sales_max: Some(2000),
            duration: None,
            come_back_within: 10 * SECOND,
            seed: 3,
        })
        .unwrap();
        while load.progress().approved.load(Relaxed) < 300 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        issuer.set_links_up(false);
        while load.progress().unreachable.load(Relaxed) < 8 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        issuer.set_links_up(true);
        let mut loaded = load.finish().await.unwrap();
        assert!(loaded.not_cleared.is_empty(), "{:?}", loaded.not_cleared);
        assert!(loaded.latencies_us.len() > 1000);
        issuer.set_faults(Vec::new());
        for terminal in &mut loaded.terminals {
            let sale = final_sale(terminal, &card(), 7, Duration::ZERO, 5 * SECOND).await.unwrap();
            assert!(sale.is_approved());
        }
        let mut at_issuer: std::collections::BTreeMap<_, _> =
            issuer.movements().into_iter().map(|line| ((line.terminal, line.stan), line.net)).collect();
        for terminal in &loaded.terminals {
            let journal = terminal.journal();
            for belief in &journal.beliefs {
                assert_ne!(belief.belief, Belief::Unknown, "{belief:?}");
                let key = (journal.terminal.clone(), belief.stan.clone());
                assert_eq!(at_issuer.remove(&key).unwrap_or(0), belief.net(), "{belief:?}");
            }
        }
        assert!(at_issuer.is_empty(), "{at_issuer:?}");
        let report = issuer.report();
        assert!(report.ledger.consistent && report.ledger.negative_nets == 0);
    });
}

/// A client's link without TLS.
async fn plain_link(address: SocketAddr) -> Connection {
    let tcp = TcpStream::connect(address).await.unwrap();
    Connection::new(Socket::Plain(tcp), iso8583::Dialect::by_name("iso87-ascii").unwrap())
}

/// An issuer without TLS that knows every card.
async fn plain_issuer() -> MockIssuer {
    let settings = Settings { default_balance: Some(1_000_000), ..Settings::default() };
    MockIssuer::start(MockIssuerArgs { settings, ..MockIssuerArgs::default() }).await.unwrap()
}

fn sale_of(stan: u32) -> Fields {
    let mut sale = Fields::new("0200".parse().unwrap());
    for (de, value) in [(2, CARD), (3, "000000"), (4, "000000001250"), (7, "0229235959"), (41, "TERM0001"), (49, "978")] {
        sale.set(de, value.as_bytes());
    }
    sale.set(11, format!("{stan:06}").as_bytes());
    sale.set(37, format!("532604{stan:06}").as_bytes());
    sale
}

async fn ask(link: &mut Connection, message: &Fields) {
    link.put(message).unwrap();
    link.flush().await.unwrap();
}

async fn closed(link: &mut Connection) -> bool {
    let waited = tokio::time::timeout(5 * SECOND, link.receive()).await;
    matches!(waited, Ok(Ok(None) | Err(NetError::Io(_))))
}

#[test]
fn a_double_answer_garbage_and_half_a_frame_are_on_the_wire_as_they_are_named() {
    run(async {
        let issuer = plain_issuer().await;
        let fault = |fault| issuer.set_faults(vec![Rule::new(Match::default(), fault).times(1)]);
        let mut link = plain_link(issuer.address()).await;
        for (stan, after_ms) in [(1, 0), (2, 20)] {
            fault(Fault::Double { approval: Approval::Other, after_ms });
            ask(&mut link, &sale_of(stan)).await;
            let first = link.receive().await.unwrap().unwrap();
            let second = link.receive().await.unwrap().unwrap();
            assert_eq!(first.get(11), second.get(11));
            assert_ne!(first.get(38), second.get(38));
        }
        fault(Fault::Garbage(Side::AfterLedger));
        ask(&mut link, &sale_of(3)).await;
        assert!(matches!(link.receive().await, Err(NetError::Parse(_))));

        // The connection that carried garbage goes on at the issuer's end.
        fault(Fault::Half(Side::AfterLedger));
        ask(&mut link, &sale_of(4)).await;
        assert!(closed(&mut link).await);
        let (have, needs) = link.progress();
        let needs = needs.unwrap();
        assert!(have > 0 && (have == needs / 2), "{have} of {needs}");
        assert_eq!(issuer.movements().len(), 4);
    });
}

#[test]
fn of_two_links_one_dies_and_the_other_goes_on() {
    run(async {
        let issuer = plain_issuer().await;
        let (mut first, mut second) = (plain_link(issuer.address()).await, plain_link(issuer.address()).await);
        ask(&mut first, &sale_of(1)).await;
        first.receive().await.unwrap().unwrap();
        ask(&mut second, &sale_of(2)).await;
        second.receive().await.unwrap().unwrap();
        let control = issuer.control_address();
        let there: Vec<ConnectionLine> = http::get(control, "/connections").await.unwrap();
        assert_eq!(there.iter().map(|line| line.id).collect::<Vec<_>>(), [1, 2]);

        assert_eq!(http::delete(control, "/connections/1").await.unwrap(), r#"{"closed":1}"#);
        assert!(closed(&mut first).await);
        assert!(http::delete(control, "/connections/9").await.is_err());
        issuer.set_faults(vec![Rule::new(Match::default(), Fault::CutOthers).times(1)]);
        let mut third = plain_link(issuer.address()).await;
        ask(&mut third, &sale_of(3)).await;
        assert_eq!(third.receive().await.unwrap().unwrap().text(39), Some("00"));
        assert!(closed(&mut second).await);

        let mut fourth = plain_link(issuer.address()).await;
        ask(&mut fourth, &sale_of(4)).await;
        fourth.receive().await.unwrap().unwrap();
        assert_eq!(http::delete(control, "/connections?but=3").await.unwrap(), r#"{"closed":1}"#);
        assert!(closed(&mut fourth).await);
        ask(&mut third, &sale_of(5)).await;
        third.receive().await.unwrap().unwrap();
        assert_eq!(issuer.movements().len(), 5, "one ledger, whatever link");
    });
}

#[test]
fn broken_frames_leave_the_connection_open_and_silent() {
    run(async {
        let issuer = plain_issuer().await;
        let faults = [Fault::HalfAndSilence(Side::AfterLedger), Fault::ImpossibleLength(Side::AfterLedger)];
        for (stan, fault) in [(1, faults[0].clone()), (3, faults[1].clone())] {
            let mut link = plain_link(issuer.address()).await;
            issuer.set_faults(vec![Rule::new(Match::default(), fault.clone()).times(1)]);
            ask(&mut link, &sale_of(stan)).await;
            let broken = tokio::time::timeout(SECOND / 5, link.receive()).await;
            let as_named = match (&fault, &broken) {
                // Half of it is there, and the rest does not come.
                (Fault::HalfAndSilence(_), Err(_)) => {
                    let (have, needs) = link.progress();
                    have > 0 && needs.is_some_and(|needs| have == needs / 2)
                }
                (_, Ok(Err(NetError::TooLong(announced)))) => *announced == usize::from(u16::MAX),
                (_, _) => false,
            };
            assert!(as_named, "{fault:?}: {broken:?}");
            // It hears what is asked next, and says nothing to it, nor to a keep-alive.
            ask(&mut link, &sale_of(stan + 1)).await;
            let before = link.progress();
            assert!(tokio::time::timeout(SECOND / 5, link.fill()).await.is_err(), "{fault:?}");
            assert_eq!(link.progress(), before);
        }
        assert_eq!(issuer.movements().len(), 4);
    });
}

#[test]
fn an_answer_comes_on_another_connection_late_or_at_once_or_is_lost_without_one() {
    run(async {
        let issuer = plain_issuer().await;
        let fault = |fault| issuer.set_faults(vec![Rule::new(Match::default(), fault).times(1)]);
        let mut first = plain_link(issuer.address()).await;
        fault(Fault::OtherConnection);
        ask(&mut first, &sale_of(1)).await;
        assert!(tokio::time::timeout(SECOND / 5, first.receive()).await.is_err(), "there is no other");

        let mut second = plain_link(issuer.address()).await;
        ask(&mut second, &sale_of(2)).await;
        second.receive().await.unwrap().unwrap();
        fault(Fault::OtherConnection);
        ask(&mut second, &sale_of(3)).await;
        assert_eq!(first.receive().await.unwrap().unwrap().text(11), Some("000003"));
        fault(Fault::Late { by_ms: 30, of: Box::new(Fault::OtherConnection) });
        ask(&mut first, &sale_of(4)).await;
        assert_eq!(second.receive().await.unwrap().unwrap().text(11), Some("000004"));
        ask(&mut first, &sale_of(5)).await;
        assert_eq!(first.receive().await.unwrap().unwrap().text(11), Some("000005"), "only what is struck");
    });
}

#[test]
fn a_partial_approval_comes_late() {
    run(async {
        let issuer = plain_issuer().await;
        let mut link = plain_link(issuer.address()).await;
        let fault = Fault::Late { by_ms: 300, of: Box::new(Fault::PartialPercent(60)) };
        issuer.set_faults(vec![Rule::new(Match::default(), fault).times(1)]);
        let began = std::time::Instant::now();
        ask(&mut link, &sale_of(1)).await;
        assert!(tokio::time::timeout(SECOND / 10, link.receive()).await.is_err());
        assert_eq!(nets(&issuer), [("000001".to_owned(), 750)], "the ledger does not wait");
        let answer = link.receive().await.unwrap().unwrap();
        assert_eq!((answer.text(39), answer.text(4)), (Some("10"), Some("000000000750")));
        assert!(began.elapsed() >= Duration::from_millis(300));
    });
}

#[test]
fn of_two_lines_one_goes_down_for_a_time_and_the_other_goes_on_with_the_same_books() {
    run(async {
        let more_addresses = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let settings = Settings { default_balance: Some(1_000_000), ..Settings::default() };
        let args = MockIssuerArgs { settings, more_addresses, ..MockIssuerArgs::default() };
        let issuer = MockIssuer::start(args).await.unwrap();
        let &[one, two] = issuer.addresses() else { panic!("two lines") };
        let (mut first, mut second) = (plain_link(one).await, plain_link(two).await);
        for (stan, link) in [(1, &mut first), (2, &mut second)] {
            ask(link, &sale_of(stan)).await;
            link.receive().await.unwrap().unwrap();
        }
        assert_eq!(issuer.connections().iter().map(|line| line.line).collect::<Vec<_>>(), [1, 2]);
        // The answer does not leave on another line: its STAN means nothing there.
        issuer.set_faults(vec![Rule::new(Match::default(), Fault::OtherConnection).times(1)]);
        ask(&mut first, &sale_of(3)).await;
        assert!(tokio::time::timeout(SECOND / 5, second.receive()).await.is_err());

        let control = issuer.control_address();
        let down = http::put_text(control, "/links", r#"{"up": false, "line": 2}"#).await.unwrap();
        assert_eq!(down, r#"{"up":false,"line":2}"#);
        assert!(closed(&mut second).await && refused(two).await);
        assert_eq!(http::get_text(control, "/links").await.unwrap(), r#"{"up":false}"#);
        ask(&mut first, &sale_of(4)).await;
        first.receive().await.unwrap().unwrap();
        assert!(issuer.set_line_up(2, true) && !issuer.set_line_up(3, true));
        assert!(http::put_text(control, "/links", r#"{"up": false, "line": 3}"#).await.is_err());
        while refused(two).await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        // A rule takes down the line that its message came on.
        let down = Fault::Down { side: Side::BeforeLedger, for_ms: 60_000 };
        issuer.set_faults(vec![Rule::new(Match::default(), down).times(1)]);
        ask(&mut first, &sale_of(5)).await;
        assert!(closed(&mut first).await && refused(one).await && !refused(two).await);
        assert_eq!(issuer.movements().len(), 4);
    });
}

async fn refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).await.is_err()
}

#[test]
fn links_go_down_for_a_time_unless_they_are_told_otherwise() {
    run(async {
        let issuer = plain_issuer().await;
        let (address, control) = (issuer.address(), issuer.control_address());
        let mut link = plain_link(address).await;
        ask(&mut link, &sale_of(1)).await;
        link.receive().await.unwrap().unwrap();
        let down = http::put_text(control, "/links", r#"{"up": false, "for_ms": 300}"#).await.unwrap();
        assert_eq!(down, r#"{"up":false}"#);
        assert!(closed(&mut link).await);
        let began = std::time::Instant::now();
        while refused(address).await {
            assert!(began.elapsed() < 5 * SECOND);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(began.elapsed() > Duration::from_millis(200));

        // A rule does the same, to every connection.
        let (mut link, mut other) = (plain_link(address).await, plain_link(address).await);
        let down = Fault::Down { side: Side::AfterLedger, for_ms: 300 };
        issuer.set_faults(vec![Rule::new(Match::default(), down).times(1)]);
        ask(&mut link, &sale_of(2)).await;
        assert!(closed(&mut link).await && closed(&mut other).await);
        assert!(refused(address).await);
        assert_eq!(issuer.movements().len(), 2);
        while refused(address).await {
            assert!(began.elapsed() < 10 * SECOND);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }

        // A later command takes the place of the time.
        issuer.set_links_down_for(Duration::from_millis(50));
        issuer.set_links_up(false);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(refused(address).await);
        assert!(http::put_text(control, "/links", r#"{"up": true, "for_ms": 5}"#).await.is_err());
    });
}

#[test]
fn a_scenario_is_put_in_force_from_the_start_or_over_http() {
    run(async {
        let scenario = |code: &str, more: &str| {
            format!(r#"{{"version": 1, "name": "n", "rules": [{{"times": 1, "do": {{"answer": "{code}"}}}}]{more}}}"#)
        };
        let knows_nobody = scenario("91", r#", "settings": {}"#);
        let issuer = MockIssuer::start(MockIssuerArgs::default().scenario(knows_nobody.parse().unwrap())).await.unwrap();
        let control = issuer.control_address();
        let mut link = plain_link(issuer.address()).await;
        let mut codes = Vec::new();
        let knows_all = r#", "settings": {"default_balance": 5000}"#;
        for (stan, json) in
            [(1, None), (2, None), (3, Some(scenario("96", knows_all))), (4, None), (5, Some(scenario("05", "")))]
        {
            if let Some(json) = json {
                http::put_text(control, "/scenario", &json).await.unwrap();
            }
            ask(&mut link, &sale_of(stan)).await;
            codes.push(link.receive().await.unwrap().unwrap().text(39).unwrap().to_owned());
        }
        // A card of its own: one that was seen has its account whatever the settings.
        let mut stranger = sale_of(6);
        stranger.set(2, b"4000001234567800");
        ask(&mut link, &stranger).await;
        codes.push(link.receive().await.unwrap().unwrap().text(39).unwrap().to_owned());
        assert_eq!(codes, ["91", "14", "96", "00", "05", "00"], "without settings they stay");

        let refused = http::put_text(control, "/scenario", r#"{"version": 7, "name": "n"}"#).await.unwrap_err();
        assert!(refused.to_string().contains("has version 7"), "{refused}");
        let refused = http::put_text(control, "/scenario", r#"{"version": 1, "name": "n", "x": 1}"#).await.unwrap_err();
        assert!(refused.to_string().contains("unknown field `x`"), "{refused}");
    });
}

#[test]
fn tls_passes_through_a_proxy_that_cuts_either_leg() {
    run(async {
        let files = Files::new();
        let issuer = files.issuer().await;
        let proxy = FaultyProxy::start(ProxyArgs::new(issuer.address())).await.unwrap();
        let mut terminal = TerminalClient::open(files.terminal(proxy.address(), "TERM0001")).unwrap();
        assert!(terminal.sale(&card(), 100).await.unwrap().is_approved());
        // Of a lost request nothing stands because nothing moved, of a lost answer because it is
        // given back.
        let faults = [WireFault::Cut, WireFault::Reset, WireFault::Halve(10)];
        for (direction, moved) in [(Direction::ToServer, 0), (Direction::ToClient, 1)] {
            for fault in faults {
                let before = issuer.movements().len();
                proxy.next(direction, fault);
                let sale = terminal.sale(&card(), 200).await.unwrap();
                assert_eq!(sale.outcome, Outcome::Unknown, "{direction:?} {fault:?}");
                assert_eq!(issuer.movements().len() - before, moved, "{direction:?} {fault:?}");
                terminal.clear_pending(5 * SECOND).await.unwrap().unwrap();
            }
        }
        let standing: Vec<_> = nets(&issuer).into_iter().map(|(_, net)| net).collect();
        assert_eq!(standing, [100, 0, 0, 0]);
        assert_eq!(proxy.counts().resets, 2);
        proxy.stop().await;
    });
}

#[test]
fn a_load_through_a_proxy_with_seeded_faults_ends_with_every_sale_known() {
    run(async {
        let files = Files::new();
        let issuer = files.issuer().await;
        let rules = [WireFault::Cut, WireFault::Reset, WireFault::Halve(7), WireFault::DelayMs(20)];
        let rules = rules.map(|fault| WireRule::new(fault).at_rate(0.01)).to_vec();
        let args = ProxyArgs { rules, seed: 5, ..ProxyArgs::new(issuer.address()) };
        let proxy = FaultyProxy::start(args).await.unwrap();
        let terminals = (0..4).map(|n| files.terminal(proxy.address(), &format!("TERM{n:04}")));
        let load = Load::start(LoadArgs {
            terminals: terminals.collect(),
            cards: vec![card()],
            amounts: 1..=500,
            pause: Duration::ZERO,
            sales_max: Some(600),
            duration: None,
            come_back_within: 10 * SECOND,
            seed: 3,
        })
        .unwrap();
        let loaded = load.finish().await.unwrap();
        assert!(loaded.not_cleared.is_empty(), "{:?}", loaded.not_cleared);
        let counts = proxy.counts();
        assert!(counts.cuts > 0 && counts.resets > 0 && counts.halves > 0 && counts.delays > 0, "{counts:?}");
        let believed: i64 =
            loaded.terminals.iter().flat_map(|terminal| terminal.journal().beliefs).map(|belief| belief.net()).sum();
        assert_eq!(issuer.report().ledger.paid, believed);
    });
}
