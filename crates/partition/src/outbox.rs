//! What waits for the disk. An action leaves when the record that it names is durable, in the order of the decisions (M1-M3).

use std::collections::VecDeque;

use switch::{Action, ActionId, Input, Lsn, Pending, Report};

use crate::mutant::{Mutant, on};

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Actions that concern no record.
    free: VecDeque<Action>,
    waiting: VecDeque<Pending>,
}

impl Outbox {
    /// Takes the actions of a turn. What is withdrawn before it left is dropped here, and its report goes to `reports`: every
    /// write has one.
    pub(crate) fn take(&mut self, actions: &mut Vec<Pending>, reports: &mut Vec<Input>) {
        for pending in actions.drain(..) {
            match pending.action {
                Action::Withdraw { id, .. } if on(Mutant::KeepWithdrawn) && self.holds(id) => {}
                Action::Withdraw { id, .. } if self.drop_write(id) => {
                    reports.push(Input::Report { action: id, report: Report::Undeliverable });
                }
                Action::Unsend { id } => {
                    if self.drop_write(id) {
                        reports.push(Input::Report { action: id, report: Report::NotSent });
                    }
                }
                action if pending.after == Lsn(0) => self.free.push_back(action),
                action => self.waiting.push_back(Pending { after: pending.after, action }),
            }
        }
    }

    /// Drops a message that has not left yet; false when it has.
    fn drop_write(&mut self, withdrawn: ActionId) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|pending| !is_write(&pending.action, withdrawn));
        self.waiting.len() < before
    }

    /// Hands out what may leave now that everything up to `durable` is on disk.
    pub(crate) fn release(&mut self, durable: Lsn, mut out: impl FnMut(Action)) {
        self.free.drain(..).for_each(&mut out);
        while self.waiting.front().is_some_and(|pending| pending.after <= durable) {
            self.waiting.pop_front().into_iter().for_each(|pending| out(pending.action));
        }
    }

    /// Whether a message has not left yet.
    fn holds(&self, written: ActionId) -> bool {
        self.waiting.iter().any(|pending| is_write(&pending.action, written))
    }

    /// Whether an action waits for a record that is not durable yet.
    pub(crate) fn waits_beyond(&self, durable: Lsn) -> bool {
        self.waiting.iter().any(|pending| pending.after > durable)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.is_empty() && self.waiting.is_empty()
    }
}

/// Whether an action writes this message.
fn is_write(action: &Action, written: ActionId) -> bool {
    match action {
        Action::ToTerminal { id, .. } | Action::ToIssuer { id, .. } => *id == written,
        Action::Withdraw { .. }
        | Action::Unsend { .. }
        | Action::ResetIfUnacknowledged { .. }
        | Action::CloseLink { .. }
        | Action::Find { .. }
        | Action::Resolved { .. }
        | Action::Note(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iso8583::{Fields, Mti};
    use switch::{ConnId, LinkId};

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
        outbox.take(&mut vec![answer(1, 5), answer(2, 3), answer(3, 0), answer(4, 6)], &mut Vec::new());
        assert!(!outbox.is_empty());
        assert_eq!(released(&mut outbox, 4), [3], "an answer that concerns no key waits for nothing");
        assert_eq!(released(&mut outbox, 5), [1, 2]);
        assert_eq!(released(&mut outbox, 5), [0; 0]);
        assert!(!outbox.is_empty(), "one waits");
        assert_eq!(released(&mut outbox, 6), [4]);
        assert!(outbox.is_empty());
        outbox.take(&mut vec![answer(5, 0)], &mut Vec::new());
        assert!(!outbox.is_empty(), "one may leave and has not");
    }

    #[test]
    fn what_waits_for_a_durable_record_waits_for_no_commit() {
        let mut outbox = Outbox::default();
        outbox.take(&mut vec![answer(1, 0), answer(2, 5), answer(3, 3)], &mut Vec::new());
        assert_eq!([2, 3, 4, 5, 6].map(|durable| outbox.waits_beyond(Lsn(durable))), [true, true, true, false, false]);
    }

    #[test]
    fn t8_an_answer_that_has_not_left_is_withdrawn_here_and_one_that_has_by_the_shell() {
        let mut outbox = Outbox::default();
        let withdraw = |id| Pending { after: Lsn(0), action: Action::Withdraw { id: ActionId(id), conn: CONN } };
        let mut reports = Vec::new();
        outbox.take(&mut vec![answer(1, 5), answer(2, 6)], &mut reports);
        assert_eq!(released(&mut outbox, 5), [1]);
        outbox.take(&mut vec![withdraw(1), withdraw(2)], &mut reports);
        assert_eq!(released(&mut outbox, 6), [101]);
        assert!(
            matches!(reports[..], [Input::Report { action: ActionId(2), report: Report::Undeliverable }]),
            "a write that the shell never sees is reported here: {reports:?}"
        );
    }

    #[test]
    fn section_2_a_reversal_that_has_not_left_is_unsent_and_one_that_has_goes_on() {
        let reversal = |id| {
            let message = Box::new(Fields::new(Mti::new(b"0420")));
            let link = LinkId { index: 0, generation: 0 };
            Pending { after: Lsn(5), action: Action::ToIssuer { id: ActionId(id), link, message, card: None } }
        };
        let unsend = |id| Pending { after: Lsn(0), action: Action::Unsend { id: ActionId(id) } };
        let (mut outbox, mut reports) = (Outbox::default(), Vec::new());
        outbox.take(&mut vec![reversal(1), unsend(1), unsend(2)], &mut reports);
        assert!(outbox.is_empty(), "nothing of it reaches the shell");
        assert!(matches!(reports[..], [Input::Report { action: ActionId(1), report: Report::NotSent }]), "{reports:?}");
    }
}
