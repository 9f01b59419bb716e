//! What waits for the disk. An action leaves when the record that it names is durable, in the order of the decisions (M1-M3).

use std::collections::VecDeque;

use switch::{Action, Lsn, Pending};

use crate::mutant::{Mutant, on};

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Actions that concern no record.
    free: VecDeque<Action>,
    waiting: VecDeque<Pending>,
}

impl Outbox {
    /// Takes the actions of a turn.
    pub(crate) fn take(&mut self, actions: &mut Vec<Pending>) {
        for pending in actions.drain(..) {
            match pending.action {
                Action::Withdraw { .. } if on(Mutant::KeepWithdrawn) => {}
                Action::Withdraw { id, .. } if self.drop_answer(id) => {}
                action if pending.after == Lsn(0) => self.free.push_back(action),
                action => self.waiting.push_back(Pending { after: pending.after, action }),
            }
        }
    }

    /// An answer that has not left yet is withdrawn here; nobody needs to hear of it.
    fn drop_answer(&mut self, withdrawn: switch::ActionId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|pending| !matches!(&pending.action, Action::ToTerminal { id, .. } if *id == withdrawn));
        self.waiting.len() < before
    }

    /// Hands out what may leave now that everything up to `durable` is on disk.
    pub(crate) fn release(&mut self, durable: Lsn, mut out: impl FnMut(Action)) {
        self.free.drain(..).for_each(&mut out);
        while self.waiting.front().is_some_and(|pending| pending.after <= durable) {
            self.waiting.pop_front().into_iter().for_each(|pending| out(pending.action));
        }
    }

    /// Whether an action waits for a record that is not durable yet.
    pub(crate) fn waits_beyond(&self, durable: Lsn) -> bool {
        self.waiting.iter().any(|pending| pending.after > durable)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.is_empty() && self.waiting.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.free.clear();
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iso8583::{Fields, Mti};
    use switch::{ActionId, ConnId};

    const CONN: ConnId = ConnId { index: 0, generation: 0 };

    fn answer(id: u64, after: u64) -> Pending {
        let message = Box::new(Fields::new(Mti::new(b"0210")));
        Pending { after: Lsn(after), action: Action::ToTerminal { id: ActionId(id), conn: CONN, message } }
    }

    fn released(outbox: &mut Outbox, durable: u64) -> Vec<u64> {
        let mut ids = Vec::new();
        outbox.release(Lsn(durable), |action| match action {
            Action::ToTerminal { id, .. } => ids.push(id.0),
            Action::Withdraw { id, .. } => ids.push(id.0 + 100),
            other => panic!("{other:?}"),
        });
        ids
    }

    #[test]
    fn m2_nothing_leaves_before_its_record_and_the_order_is_kept() {
        let mut outbox = Outbox::default();
        outbox.take(&mut vec![answer(1, 5), answer(2, 3), answer(3, 0), answer(4, 6)]);
        assert_eq!(released(&mut outbox, 4), [3], "an answer that concerns no key waits for nothing");
        assert_eq!(released(&mut outbox, 5), [1, 2]);
        assert_eq!(released(&mut outbox, 5), [0; 0]);
        assert_eq!(released(&mut outbox, 6), [4]);
        assert!(outbox.is_empty());
    }

    #[test]
    fn t8_an_answer_that_has_not_left_is_withdrawn_here_and_one_that_has_by_the_shell() {
        let mut outbox = Outbox::default();
        let withdraw = |id| Pending { after: Lsn(0), action: Action::Withdraw { id: ActionId(id), conn: CONN } };
        outbox.take(&mut vec![answer(1, 5), answer(2, 6)]);
        assert_eq!(released(&mut outbox, 5), [1]);
        outbox.take(&mut vec![withdraw(1), withdraw(2)]);
        assert_eq!(released(&mut outbox, 6), [101]);
    }
}
