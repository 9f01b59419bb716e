//! What a new transaction says of its terminal's earlier ones: given up (T10), keyed again (D5, D6), received (C1).

use alloc::vec::Vec;

use iso8583::Fields;

use crate::config::OnRekey;
use crate::ids::{Lsn, MovementId, Now};
use crate::look_up::Arrival;
use crate::machine::{Output, Switch};
use crate::movement::{ConfirmedBy, Evidence, Fingerprint, Key, Movement, Reason, Rule, StateKind};
use crate::mutant::{Mutant, on};
use crate::record::Record;
use crate::request::{MoneyRequest, says_something};
use crate::state::{About, FIRST_STAN, Sale};

impl Switch {
    /// What a new transaction says of the terminal's earlier ones. T10: a request of a serial terminal that still awaits the
    /// issuer was abandoned. D5, D6: one that is equal may be this sale, keyed again. C1: an approval of a terminal that
    /// reverses first, handed long enough ago, was received. Returns the equal sale that the new one is to be flagged beside, if
    /// it gets an intent; `Err` with the record that says so: refused by policy (D6).
    pub(crate) fn judge_earlier(
        &mut self,
        now: Now,
        request: &MoneyRequest,
        arrival: &Arrival,
        out: &mut Output,
    ) -> Result<Option<MovementId>, Lsn> {
        let config = self.config.clone();
        let group = config.group(arrival.group);
        if group.serial {
            self.look_ups.cancel_requests_of(request.key.terminal);
        }
        self.see_what_is_named(now, request, arrival, out);
        let open: Vec<MovementId> =
            self.state.open_of_terminal.get(&request.key.terminal).into_iter().flatten().copied().collect();
        for id in &open {
            let Some(movement) = self.movement(*id) else { continue };
            let abandoned = group.serial || (movement.key == request.key && another_tap(movement, request));
            // What is in flight is the older of the two: a request that waits for a look-up is cancelled by a newer one of its
            // serial terminal, and holds its key against a newer tap.
            if movement.state == StateKind::AwaitingIssuer && !on(Mutant::AbandonNothing) && abandoned {
                // Its answer is never delivered: whoever waited is told nothing more.
                self.stop_waiting(*id);
                self.oblige(now, *id, Rule::T10, Reason::Unspecified, out);
            } else if movement.state == StateKind::AwaitingConfirmation && on(Mutant::AbandonHanded) && abandoned {
                self.oblige(now, *id, Rule::T10, Reason::Unspecified, out);
            }
        }
        let flagged = self.judge_equal_sales(now, request, arrival, out)?;
        let reverses_first = (group.reverses_first || on(Mutant::ConfirmCrossing)) && !on(Mutant::LaterIsNothing);
        for id in open.into_iter().filter(|_| group.serial && reverses_first) {
            let Some(movement) = self.movement(id) else { continue };
            let proved = matches!(movement.evidence, Evidence::Handed | Evidence::Seen | Evidence::Unknown);
            let handed_ms = self.live.get(&id).and_then(|live| live.handed_ms);
            let margin_ms = if on(Mutant::ConfirmCrossing) { 0 } else { group.crossing_margin_ms };
            let past_margin = handed_ms.is_some_and(|at_ms| arrival.at_ms >= at_ms + margin_ms);
            if movement.state == StateKind::AwaitingConfirmation && proved && past_margin {
                self.confirm(now, id, ConfirmedBy::LaterRequest, Rule::C1, out);
            }
        }
        Ok(flagged)
    }

    /// A request that carries the RRN or the approval code of an earlier answer proves that its terminal has that answer.
    fn see_what_is_named(&mut self, now: Now, request: &MoneyRequest, arrival: &Arrival, out: &mut Output) {
        let carried = |de| arrival.message.get(de).filter(|text| says_something(text));
        let rrn = carried(37);
        let approval: Option<[u8; 6]> = carried(38).and_then(|text| text.try_into().ok());
        let open = self.state.open_of_terminal.get(&request.key.terminal).into_iter().flatten();
        let named = |id: &&MovementId| {
            self.movement(**id).is_some_and(|movement| {
                rrn == Some(movement.rrn.as_bytes()) || approval.is_some_and(|code| movement.is_approved_by(code))
            })
        };
        let seen: Vec<MovementId> = open.filter(named).copied().collect();
        for id in seen {
            self.seen_by_terminal(now, id, out);
        }
    }

    /// D5 and D6: equal sales of one card at one terminal, close together, and a new tap under a used key. What was not handed
    /// over is unwound; of what may stand, the newest is named by the flag.
    fn judge_equal_sales(
        &mut self,
        now: Now,
        request: &MoneyRequest,
        arrival: &Arrival,
        out: &mut Output,
    ) -> Result<Option<MovementId>, Lsn> {
        let config = self.config.clone();
        let group = config.group(arrival.group);
        let Key { terminal, class, .. } = request.key;
        let recent = |movement: &&Movement| now.wall_ms.saturating_sub(movement.begun_wall_ms) < group.rekey_window_ms;
        let equal = |movement: &&Movement| rekeyed(movement, request, &arrival.message);
        let open = self.state.open_of_terminal.get(&terminal).into_iter().flatten().filter_map(|id| self.movement(*id));
        // Positive evidence that the terminal does not hold the approval (M8).
        let not_handed: Vec<MovementId> = open
            .filter(|movement| movement.state == StateKind::AwaitingDelivery && movement.evidence == Evidence::NotHanded)
            .filter(recent)
            .filter(equal)
            .map(|movement| movement.id)
            .collect();
        for id in not_handed {
            self.promise_unsent(now, id, Rule::D5, Reason::NotDelivered, out);
        }
        let Fingerprint { card, amount, .. } = request.fingerprint;
        let sale = Sale { terminal, class, card, amount };
        let of_sale = self.state.by_sale.range((sale, MovementId(0))..=(sale, MovementId(u64::MAX))).rev();
        let tapped = self.of_key(request.key).filter(recent).find(|movement| another_tap(movement, request));
        let standing = of_sale
            .filter_map(|(_, id)| self.movement(*id))
            .take_while(recent)
            .filter(equal)
            .chain(tapped)
            .find(|movement| movement.may_stand());
        let Some(standing) = standing.filter(|_| !on(Mutant::NoFlag)) else { return Ok(None) };
        let (id, stan, in_flight) = (standing.id, standing.key.stan, standing.state == StateKind::AwaitingIssuer);
        if on(Mutant::ReverseGoodSale) {
            self.promise_unsent(now, id, Rule::D5, Reason::NotDelivered, out);
        }
        match group.on_rekey {
            // Nothing is charged: one entry, however often it is tried.
            OnRekey::Refuse if !in_flight => Err(self.exception(now, Rule::D6, terminal, stan, Some(id), out)),
            // What is in flight may be declined yet: that is no reason to refuse a sale.
            OnRekey::Refuse | OnRekey::AllowAndFlag => Ok(Some(id)),
        }
    }

    /// One of two equal sales ended without money: what flagged the two is closed (D6, I9). It stays where memory holds a
    /// third that is equal, which the other may stand beside.
    pub(crate) fn close_flags(&mut self, now: Now, id: MovementId, out: &mut Output) {
        let Some(ended) = self.movement(id) else { return };
        let Key { terminal, stan, .. } = ended.key;
        let flags = self.state.exception_about.range((Rule::D6, terminal, FIRST_STAN, None)..);
        let of_terminal = flags.take_while(|((rule, of, ..), _)| (*rule, *of) == (Rule::D6, terminal));
        let two = |about: &About| {
            let (_, _, second, first) = *about;
            let beside = first.and_then(|first| self.movement(first))?;
            let is_first = beside.id == id;
            let is_second = second == stan && beside.id < id && Sale::of(beside) == Sale::of(ended);
            (is_first || is_second).then_some(beside)
        };
        let alone = |about: &About| {
            let sale = Sale::of(ended);
            // What ended is not among them: they may stand.
            let others = self.state.by_sale.range((sale, MovementId(0))..=(sale, MovementId(u64::MAX)));
            let mut others = others.filter_map(|(_, other)| self.movement(*other));
            let (_, _, second, first) = *about;
            !others.any(|other| other.key.stan != second && Some(other.id) != first)
        };
        let closed: Vec<Lsn> =
            of_terminal.filter(|(about, _)| two(about).is_some() && alone(about)).map(|(_, entry)| *entry).collect();
        for exception in closed {
            let (who, why) = ("switch".into(), "one of the two ended without money".into());
            self.write(now, Record::ExceptionClosed { exception, who, why }, out);
        }
    }
}

/// Both carry chip data, and it differs: the card was presented again.
pub(crate) fn another_tap(movement: &Movement, request: &MoneyRequest) -> bool {
    let (held, arrived) = (movement.fingerprint.chip, request.fingerprint.chip);
    held.is_some() && arrived.is_some() && held != arrived
}

/// The request may be this movement, keyed again under a new key (D5), or tapped again under a used one. A request that names
/// the movement is something else.
fn rekeyed(movement: &Movement, request: &MoneyRequest, message: &Fields) -> bool {
    let (held, arrived) = (&movement.fingerprint, &request.fingerprint);
    let equal = movement.key.class == request.key.class
        && held.card == arrived.card
        && held.amount == arrived.amount
        && held.processing_code == arrived.processing_code;
    let approval = movement.answer.as_ref().and_then(|answer| answer.approval);
    let stan = movement.key.stan.digits();
    let named = message.get(37) == Some(movement.rrn.as_bytes())
        || approval.is_some_and(|approval| message.get(38) == Some(&approval))
        || message.get(90).is_some_and(|original| original.get(4..10) == Some(&stan))
        || message.get(61).is_some_and(|original| original.get(6..12) == Some(&stan));
    let tapped_again = movement.key == request.key && another_tap(movement, request);
    (equal && movement.key != request.key && !named) || tapped_again
}
