//! Each fault of the wire, on the terminal's leg and on the issuer's: before the answer, in the middle of it, after it.

use std::collections::BTreeSet;
use std::time::Duration;

use counterparts::faults::{Fault, MtiClass};
use counterparts::net::proxy::FaultyProxy;
use counterparts::net::terminal::TerminalClient;
use counterparts::wire_faults::{Direction, WireFault};

use tokio::time::Instant;

use super::stage::{AMOUNT, RESPONSE_TIMEOUT_MS, Stage};
use super::{Asks, Case, End, NEVER_ARRIVED, Placed, STANDS, unwound};
use crate::support::PATIENCE;

/// Which wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leg {
    /// Terminal to switch.
    Terminal,
    /// Switch to issuer.
    Issuer,
}

/// What the fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The sale on its way.
    Request,
    /// The connection while the issuer thinks.
    Waiting,
    /// The answer on its way.
    Answer,
    /// The connection, once the answer is there.
    After,
    /// The reversal of an approved sale on its way.
    Reversal,
    /// The answer to that.
    ReversalAnswer,
}

/// A fault of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wire {
    pub(super) leg: Leg,
    pub(super) moment: Moment,
    pub(super) fault: WireFault,
}

/// The issuer's thinking while its connection, or the terminal's, is struck. Shorter than the timeout.
const THINKS_MS: u64 = 1_000;
/// A delay that nobody notices.
const SHORT: WireFault = WireFault::DelayMs(400);
/// A delay beyond the terminal's patience.
const LONG_FOR_A_TERMINAL: WireFault = WireFault::DelayMs(4_500);
/// A delay beyond the switch's patience.
const LONG_FOR_THE_SWITCH: WireFault = WireFault::DelayMs(RESPONSE_TIMEOUT_MS + 800);
/// In the middle of a frame.
const HALF: WireFault = WireFault::Halve(20);
/// A stalled wire is released after this: the switch has given up by then, and so has the terminal.
const RELEASED_AFTER: Duration = Duration::from_millis(4_200);

use WireFault::{Cut, Reset, Stall};

/// One row for each of these faults.
fn rows(leg: Leg, moment: Moment, faults: &[WireFault], told: &'static str, end: End) -> Vec<Case> {
    let row = |fault: &WireFault| {
        let asks = match moment {
            Moment::Request | Moment::Waiting | Moment::Answer | Moment::After => Asks::Sale,
            Moment::Reversal | Moment::ReversalAnswer => Asks::SaleAndReversal,
        };
        let mut case = Case::new(format!("{leg:?} leg, {moment:?}, {fault:?}"), asks, told, end);
        case.wire = Some(Wire { leg, moment, fault: *fault });
        if moment == Moment::Waiting {
            case.faults.push((MtiClass::Request, Fault::DelayMs(THINKS_MS), 1));
        }
        case
    };
    faults.iter().map(row).collect()
}

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let terminal = |moment, faults: &[WireFault], told, end| rows(Leg::Terminal, moment, faults, told, end);
    let issuer = |moment, faults: &[WireFault], told, end| rows(Leg::Issuer, moment, faults, told, end);
    let broken = [Cut, Reset, HALF];
    let cases = [
        // D11: what comes after its reversal is not executed.
        terminal(Moment::Request, &[Cut, Reset, HALF, LONG_FOR_A_TERMINAL, Stall], "--", NEVER_ARRIVED),
        terminal(Moment::Request, &[SHORT], "00", STANDS),
        terminal(Moment::Waiting, &[Cut, Reset], "--", unwound("D7")),
        terminal(Moment::Waiting, &[Stall], "--", unwound("D8")),
        terminal(Moment::Answer, &[Cut, Reset, HALF, LONG_FOR_A_TERMINAL, Stall], "--", unwound("D8")),
        terminal(Moment::Answer, &[SHORT], "00", STANDS),
        terminal(Moment::After, &[Cut, Reset], "00", STANDS),
        terminal(Moment::Reversal, &[Cut, Reset, HALF, LONG_FOR_A_TERMINAL, Stall], "--", unwound("D8")),
        terminal(Moment::Reversal, &[SHORT], "00", unwound("D8")),
        terminal(Moment::ReversalAnswer, &[Cut, Reset, HALF, LONG_FOR_A_TERMINAL, Stall], "--", unwound("D8")),
        terminal(Moment::ReversalAnswer, &[SHORT], "00", unwound("D8")),
        issuer(Moment::Request, &broken, "68", unwound("T2")),
        issuer(Moment::Request, &[LONG_FOR_THE_SWITCH, Stall], "68", unwound("T1")),
        issuer(Moment::Request, &[SHORT], "00", STANDS),
        issuer(Moment::Waiting, &[Cut, Reset], "68", unwound("T2")),
        issuer(Moment::Waiting, &[Stall], "68", unwound("T1")),
        issuer(Moment::Answer, &broken, "68", unwound("T2")),
        issuer(Moment::Answer, &[LONG_FOR_THE_SWITCH, Stall], "68", unwound("T1")),
        issuer(Moment::Answer, &[SHORT], "00", STANDS),
        issuer(Moment::After, &[Cut, Reset], "00", STANDS),
        issuer(Moment::Reversal, &[Cut, Reset, HALF, SHORT, LONG_FOR_THE_SWITCH, Stall], "00", unwound("D8")),
        issuer(Moment::ReversalAnswer, &[Cut, Reset, HALF, SHORT, LONG_FOR_THE_SWITCH, Stall], "00", unwound("D8")),
    ]
    .concat();
    assert_nothing_is_left_out(&cases);
    cases
}

/// Every fault strikes at every moment on either leg.
fn assert_nothing_is_left_out(cases: &[Case]) {
    const MESSAGES: [Moment; 4] = [Moment::Request, Moment::Answer, Moment::Reversal, Moment::ReversalAnswer];
    let kind = |fault: WireFault| match fault {
        Cut => "cut",
        Reset => "reset",
        WireFault::Halve(_) => "half",
        SHORT => "short delay",
        WireFault::DelayMs(_) => "long delay",
        Stall => "stall",
    };
    let struck: Vec<Wire> = cases.iter().filter_map(|case| case.wire).collect();
    for leg in [Leg::Terminal, Leg::Issuer] {
        let at = |moment: Moment| -> BTreeSet<&str> {
            struck.iter().filter(|wire| wire.leg == leg && wire.moment == moment).map(|wire| kind(wire.fault)).collect()
        };
        for moment in MESSAGES {
            let all = BTreeSet::from(["cut", "reset", "half", "short delay", "long delay", "stall"]);
            assert_eq!(at(moment), all, "{leg:?} leg, {moment:?}");
        }
        // Without a message there is no half of one, and nothing to delay.
        assert_eq!(at(Moment::Waiting), BTreeSet::from(["cut", "reset", "stall"]), "{leg:?} leg");
        // A wire that stalls after the answer is one that stalls before the next request.
        assert_eq!(at(Moment::After), BTreeSet::from(["cut", "reset"]), "{leg:?} leg");
    }
}

/// The exchange with the fault in it; the code that the terminal is told.
pub(super) async fn ask(
    stage: &Stage,
    placed: &Placed,
    wire: Wire,
    proxy: &FaultyProxy,
    terminal: &mut TerminalClient,
) -> String {
    let Wire { moment, fault, .. } = wire;
    match moment {
        Moment::Request => proxy.next(Direction::ToServer, fault),
        Moment::Answer => proxy.next(Direction::ToClient, fault),
        Moment::Waiting | Moment::After | Moment::Reversal | Moment::ReversalAnswer => {}
    }
    let card = placed.card();
    let struck = async {
        if moment == Moment::Waiting {
            stage.sees("the issuer thinks", |look| look.of(placed.number, placed.stan()).map(|_| ())).await;
            strike(proxy, fault);
        }
    };
    let armed = Instant::now();
    let sale = async {
        let receipt = terminal.sale(&card, AMOUNT).await.expect("the daemon is there");
        let receipt = match (moment, placed.case.asks) {
            (Moment::After, _) => {
                strike(proxy, fault);
                receipt
            }
            (_, Asks::Sale) => receipt,
            (_, Asks::SaleAndReversal) => {
                assert!(receipt.is_approved(), "{}: {receipt}", placed.case.name);
                let way = if moment == Moment::Reversal { Direction::ToServer } else { Direction::ToClient };
                proxy.next(way, fault);
                terminal.reverse(None, 0, None).await.expect("the daemon is there")
            }
        };
        if receipt.code.is_none() {
            terminal.disconnect();
        }
        // What it does not know it reverses at once, on a new connection, and what was held back comes after that.
        terminal.clear_pending(PATIENCE).await.expect("the daemon takes its reversal");
        receipt
    };
    let (receipt, (), ()) = tokio::join!(sale, struck, released(proxy, wire));
    if let WireFault::DelayMs(ms) = fault {
        // The delay itself: until it is over the case is not.
        tokio::time::sleep_until(armed + Duration::from_millis(ms)).await;
    }
    receipt.code().to_owned()
}

/// What strikes a connection and not a message.
fn strike(proxy: &FaultyProxy, fault: WireFault) {
    match fault {
        Cut => proxy.cut(),
        Reset => proxy.reset(),
        Stall => {
            proxy.stall(Direction::ToServer);
            proxy.stall(Direction::ToClient);
        }
        WireFault::Halve(_) | WireFault::DelayMs(_) => panic!("{fault:?} strikes messages"),
    }
}

/// What is stalled moves again when nobody waits for it any more.
async fn released(proxy: &FaultyProxy, wire: Wire) {
    if wire.fault == Stall {
        tokio::time::sleep(RELEASED_AFTER).await;
        proxy.release();
    }
}

/// The fault acted, once; a stall on command is seen by what the terminal was told.
pub(super) fn assert_acted(name: &str, wire: Wire, proxy: &FaultyProxy) {
    let counts = proxy.counts();
    let acted = match wire.fault {
        Cut => counts.cuts == 1,
        Reset => counts.resets == 1,
        WireFault::Halve(_) => counts.halves == 1,
        WireFault::DelayMs(_) => counts.delays == 1,
        Stall => wire.moment == Moment::Waiting || counts.stalls == 1,
    };
    assert!(acted, "{name}: the fault did not act once: {counts:?}");
}
