//! Look-ups beyond memory: what waits for one, and what a result sets going again.
//!
//! A key with a look-up pending counts as present: a repeat of it takes the place of the one that waits (D1), a reversal
//! cancels it. `Found` re-enters as a fresh input, and every rule is judged then.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use iso8583::{Fields, Mti, ResponseCode, Rrn, Stan, TerminalId};

use crate::action::{Action, Pending, Query};
use crate::card::Card;
use crate::ids::{ConnId, GroupNo, Lsn, Now, QueryId};
use crate::machine::{Output, Switch};
use crate::movement::{Class, Key, Movement};
use crate::record::Record;
use crate::request::is_completion;

/// Look-ups that wait at most; a request beyond gets 91, a reversal no answer, so that it comes again.
const LOOK_UPS_MAX: usize = 256;

/// A terminal's message with its connection and card, as it came in.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) conn: ConnId,
    pub(crate) group: GroupNo,
    pub(crate) message: Box<Fields>,
    pub(crate) card: Option<Card>,
    /// Memory was not enough, and the journal has been asked: it is not asked again.
    pub(crate) looked_up: bool,
    pub(crate) at_ms: u64,
}

#[derive(Debug)]
struct LookUp {
    terminal: TerminalId,
    stan: Stan,
    /// The class of a request that waits; `None` for a reversal.
    class: Option<Class>,
    arrival: Arrival,
    /// The connection is still there to be answered.
    connected: bool,
}

/// All that are pending.
#[derive(Debug, Default)]
pub(crate) struct LookUps {
    pending: BTreeMap<QueryId, LookUp>,
}

impl LookUps {
    /// The message that waits under this key, if a look-up for it is pending.
    pub(crate) fn waiting_for(&mut self, key: Key) -> Option<&mut Arrival> {
        self.pending
            .values_mut()
            .find(|look_up| (look_up.terminal, look_up.stan, look_up.class) == (key.terminal, key.stan, Some(key.class)))
            .map(|look_up| {
                look_up.connected = true;
                &mut look_up.arrival
            })
    }

    /// Takes back the request that waits with this terminal and STAN, in this class or any: it will not become an intent.
    pub(crate) fn cancel(&mut self, terminal: TerminalId, stan: Stan, class: Option<Class>) {
        self.pending.retain(|_, look_up| {
            let same = (look_up.terminal, look_up.stan) == (terminal, stan);
            !(same && look_up.class.is_some() && (class.is_none() || look_up.class == class))
        });
    }

    /// T10: a serial terminal that begins anew has given up what it asked for before.
    pub(crate) fn cancel_requests_of(&mut self, terminal: TerminalId) {
        self.pending.retain(|_, look_up| look_up.terminal != terminal || look_up.class.is_none());
    }

    /// A reversal or completion that waits with this terminal and STAN: one scan serves its repeats too.
    fn same_reversal(&mut self, terminal: TerminalId, stan: Stan, mti: Mti) -> Option<&mut LookUp> {
        self.pending.values_mut().find(|look_up| {
            let waits = (look_up.terminal, look_up.stan, look_up.class) == (terminal, stan, None);
            waits && look_up.arrival.message.mti().response() == mti.response()
        })
    }

    /// The cards of what waits.
    pub(crate) fn cards(&mut self) -> impl Iterator<Item = &mut Card> {
        self.pending.values_mut().filter_map(|look_up| look_up.arrival.card.as_mut())
    }

    pub(crate) fn forget_connection(&mut self, conn: ConnId) {
        for look_up in self.pending.values_mut().filter(|look_up| look_up.arrival.conn == conn) {
            look_up.connected = false;
        }
    }
}

impl Switch {
    /// Asks the journal for what memory may have let go.
    pub(crate) fn look_up(
        &mut self,
        now: Now,
        stan: Stan,
        terminal: TerminalId,
        class: Option<Class>,
        arrival: Arrival,
        out: &mut Output,
    ) {
        if class.is_none()
            && let Some(pending) = self.look_ups.same_reversal(terminal, stan, arrival.message.mti())
        {
            pending.arrival = arrival;
            pending.connected = true;
            return;
        }
        if self.look_ups.pending.len() >= LOOK_UPS_MAX {
            return self.give_up_look_up(now, &arrival, terminal, stan, class, out);
        }
        let id = self.new_query();
        let query = Query {
            terminal,
            stan,
            rrn: arrival.message.get(37).filter(|_| class.is_none()).and_then(|text| Rrn::try_from(text).ok()),
            since_wall_ms: now.wall_ms.saturating_sub(self.config.reversal_lookback_ms),
            card: arrival.card.map(|card| card.hmac),
        };
        self.look_ups.pending.insert(id, LookUp { terminal, stan, class, arrival, connected: true });
        out.actions.push(Pending { after: Lsn(0), action: Action::Find { id, query } });
    }

    /// A request that cannot be judged gets 91, a reversal stays without an answer rather than get a wrong 00.
    fn give_up_look_up(
        &mut self,
        now: Now,
        arrival: &Arrival,
        terminal: TerminalId,
        stan: Stan,
        class: Option<Class>,
        out: &mut Output,
    ) {
        if let Some(class) = class {
            let key = Key { terminal, stan, class };
            self.refuse(now, arrival, Some(key), ResponseCode::ISSUER_UNAVAILABLE, out);
        }
    }

    /// What the journal knows is taken into memory (and recorded, so that a replay has it too), and the message is judged.
    pub(crate) fn found(&mut self, now: Now, query: QueryId, found: Option<Vec<Movement>>, out: &mut Output) {
        let Some(look_up) = self.look_ups.pending.remove(&query) else { return };
        let Some(found) = found else {
            if look_up.connected {
                self.give_up_look_up(now, &look_up.arrival, look_up.terminal, look_up.stan, look_up.class, out);
            }
            return;
        };
        for movement in found {
            if !self.state.movements.contains_key(&movement.id) {
                self.write(now, Record::Recalled { movement }, out);
            }
        }
        let arrival = Arrival { looked_up: true, ..look_up.arrival };
        match look_up.class {
            Some(class) => self.money_request(now, class, arrival, out),
            None if is_completion(arrival.message.mti()) => self.completion(now, arrival, out),
            None => self.terminal_reversal(now, arrival, out),
        }
    }
}
