//! The frames that wait for one connection, and what became of each.
//!
//! Frames are coalesced: all that wait when the socket is free become one batch, written and flushed together. Under TLS
//! nobody knows which plain byte lies in which record, so the fate of a frame in a broken batch is judged by a bound that
//! always holds: encryption never shortens, so the kernel cannot hold the plain byte at place `n` of a batch before it
//! took `n + 1` bytes of it. Invariant: exactly one [`Fate`] for each frame that was queued.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use switch::ActionId;
use zeroize::Zeroize;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The kernel took all of it.
    Written,
    /// The kernel took none of it.
    NotSent,
    /// The kernel may have taken some of it.
    Partial,
}

/// A frame in a buffer whose fate somebody wants to know: whose, and where it lies. A keep-alive has none, so that what a
/// peer's keep-alives take of memory is the bytes of the answers to them.
#[derive(Clone, Copy, Debug)]
struct Mark {
    action: ActionId,
    begin: usize,
    end: usize,
}

/// What a buffer keeps of its memory when it is empty: room for some usual answers.
const KEPT_BYTES: usize = 2048;

/// Frames that wait, and the batch that is being written.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    waiting: Vec<u8>,
    waiting_marks: VecDeque<Mark>,
    batch: Vec<u8>,
    batch_marks: Vec<Mark>,
    /// How much of the batch the layer below accepted; it may hold it in its own buffer.
    accepted: usize,
    /// The count of bytes that the kernel took before this batch.
    taken_before: u64,
    /// The connection's task, when it sleeps.
    waker: Option<Waker>,
}

impl Outgoing {
    /// Queues a frame that `put` appends to the buffer, and wakes the connection's task. If `put` fails, nothing of it
    /// stays.
    pub(crate) fn push<E>(
        &mut self,
        action: Option<ActionId>,
        put: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let begin = self.waiting.len();
        if let Err(error) = put(&mut self.waiting) {
            self.waiting[begin..].zeroize();
            self.waiting.truncate(begin);
            return Err(error);
        }
        if let Some(action) = action {
            self.waiting_marks.push_back(Mark { action, begin, end: self.waiting.len() });
        }
        self.wake();
        Ok(())
    }

    /// Takes a frame back that is in no batch yet. False: it is being written, or was.
    pub(crate) fn withdraw(&mut self, action: ActionId) -> bool {
        let Some(place) = self.waiting_marks.iter().position(|mark| mark.action == action) else { return false };
        let Mark { begin, end, action: _ } = self.waiting_marks[place];
        self.waiting[begin..end].zeroize();
        self.waiting.drain(begin..end);
        self.waiting_marks.remove(place);
        for mark in self.waiting_marks.range_mut(place..) {
            mark.begin -= end - begin;
            mark.end -= end - begin;
        }
        true
    }

    /// Whether the frame is in the batch that is being written.
    pub(crate) fn in_batch(&self, action: ActionId) -> bool {
        self.batch_marks.iter().any(|mark| mark.action == action)
    }

    /// Bytes that wait or are being written.
    pub(crate) fn backlog(&self) -> usize {
        self.waiting.len() + self.batch.len()
    }

    /// What the layer below has not accepted of the batch; makes a batch of all that waits when there is none. `taken`
    /// is the kernel's count now.
    pub(crate) fn next(&mut self, taken: u64) -> Option<&[u8]> {
        if self.batch.is_empty() {
            if self.waiting.is_empty() {
                return None;
            }
            std::mem::swap(&mut self.batch, &mut self.waiting);
            self.batch_marks.extend(self.waiting_marks.drain(..));
            self.accepted = 0;
            self.taken_before = taken;
        }
        self.batch.get(self.accepted..).filter(|rest| !rest.is_empty())
    }

    /// Whether a batch waits for its flush.
    pub(crate) fn unflushed(&self) -> bool {
        !self.batch.is_empty()
    }

    /// The layer below accepted so many bytes of the batch.
    pub(crate) fn accept(&mut self, bytes: usize) {
        self.accepted += bytes;
        assert!(self.accepted <= self.batch.len(), "a stream accepts no more than it was given");
    }

    /// The batch was accepted and flushed: every frame of it is written.
    pub(crate) fn flushed(&mut self, mut report: impl FnMut(ActionId, Fate)) {
        for mark in self.batch_marks.drain(..) {
            report(mark.action, Fate::Written);
        }
        self.batch.zeroize();
        // What one slow moment needed is not kept for the rest of a connection's life.
        self.batch.shrink_to(KEPT_BYTES);
        self.batch_marks.shrink_to(KEPT_BYTES / size_of::<Mark>());
        self.waiting_marks.shrink_to(KEPT_BYTES / size_of::<Mark>());
    }

    /// The connection is gone: the fate of all that is left. `taken` is the kernel's count, `plain` says that the bytes
    /// of the batch went to the kernel as they are.
    pub(crate) fn fail(&mut self, taken: u64, plain: bool, mut report: impl FnMut(ActionId, Fate)) {
        let took = usize::try_from(taken - self.taken_before).unwrap_or(usize::MAX);
        for mark in self.batch_marks.drain(..) {
            let fate = if self.batch.is_empty() || took <= mark.begin {
                Fate::NotSent
            } else if plain && took >= mark.end {
                Fate::Written
            } else {
                Fate::Partial
            };
            report(mark.action, fate);
        }
        for mark in self.waiting_marks.drain(..) {
            report(mark.action, Fate::NotSent);
        }
        self.batch.zeroize();
        self.waiting.zeroize();
    }

    /// The task to wake when a frame is queued.
    pub(crate) fn wake_with(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
    }

    /// Wakes the connection's task.
    pub(crate) fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 10] = [7; 10];

    fn queue(outgoing: &mut Outgoing, action: u64) {
        let put = |out: &mut Vec<u8>| -> Result<(), ()> {
            out.extend_from_slice(&FRAME);
            Ok(())
        };
        outgoing.push(Some(ActionId(action)), put).unwrap();
    }

    fn failed(outgoing: &mut Outgoing, taken: u64, plain: bool) -> Vec<(u64, Fate)> {
        let mut fates = Vec::new();
        outgoing.fail(taken, plain, |action, fate| fates.push((action.0, fate)));
        assert_eq!(outgoing.backlog(), 0);
        fates
    }

    /// Three frames of ten bytes in one batch, a fourth behind it; the kernel took `took` bytes.
    #[track_caller]
    fn check(took: u64, plain: bool, fates: [Fate; 3]) {
        let mut outgoing = Outgoing::default();
        (1..=3).for_each(|action| queue(&mut outgoing, action));
        assert_eq!(outgoing.next(100).unwrap().len(), 30);
        queue(&mut outgoing, 4);
        let got = failed(&mut outgoing, 100 + took, plain);
        assert_eq!(got, [(1, fates[0]), (2, fates[1]), (3, fates[2]), (4, Fate::NotSent)], "{took} bytes, plain {plain}");
    }

    #[test]
    fn t2_t3_fate_by_what_the_kernel_took() {
        use Fate::{NotSent, Partial, Written};
        check(0, true, [NotSent, NotSent, NotSent]);
        check(1, true, [Partial, NotSent, NotSent]);
        check(9, true, [Partial, NotSent, NotSent]);
        check(10, true, [Written, NotSent, NotSent]);
        check(11, true, [Written, Partial, NotSent]);
        check(29, true, [Written, Written, Partial]);
        check(30, true, [Written, Written, Written]);
        // Encrypted: how many plain bytes left is not known, only that they are not more.
        check(0, false, [NotSent, NotSent, NotSent]);
        check(1, false, [Partial, NotSent, NotSent]);
        check(10, false, [Partial, NotSent, NotSent]);
        check(11, false, [Partial, Partial, NotSent]);
        check(90, false, [Partial, Partial, Partial]);
    }

    #[test]
    fn written_only_after_the_flush_and_only_once() {
        let mut outgoing = Outgoing::default();
        queue(&mut outgoing, 1);
        assert_eq!(outgoing.next(0).unwrap().len(), 10);
        outgoing.accept(4);
        assert_eq!(outgoing.next(0).unwrap().len(), 6);
        outgoing.accept(6);
        assert!(outgoing.next(0).is_none() && outgoing.unflushed());
        let mut fates = Vec::new();
        outgoing.flushed(|action, fate| fates.push((action.0, fate)));
        assert_eq!(fates, [(1, Fate::Written)]);
        assert!(!outgoing.unflushed());
        assert_eq!(failed(&mut outgoing, 50, false), []);
    }

    #[test]
    fn t8_what_waits_can_be_withdrawn_what_is_written_cannot() {
        let mut outgoing = Outgoing::default();
        (1..=3).for_each(|action| queue(&mut outgoing, action));
        assert!(outgoing.withdraw(ActionId(2)));
        assert!(!outgoing.withdraw(ActionId(2)));
        assert_eq!(outgoing.next(0).unwrap().len(), 20);
        queue(&mut outgoing, 4);
        assert!(!outgoing.withdraw(ActionId(1)), "in the batch");
        assert!(outgoing.withdraw(ActionId(4)));
        assert_eq!(failed(&mut outgoing, 11, true), [(1, Fate::Written), (3, Fate::Partial)]);
    }

    #[test]
    fn t2_t3_frames_between_which_keep_alives_lie_have_the_same_fates() {
        let mut outgoing = Outgoing::default();
        let keep_alive = |outgoing: &mut Outgoing| {
            let put = |out: &mut Vec<u8>| -> Result<(), ()> {
                out.extend_from_slice(&[0, 0]);
                Ok(())
            };
            outgoing.push(None, put).unwrap();
        };
        for action in 1..=4 {
            keep_alive(&mut outgoing);
            queue(&mut outgoing, action);
        }
        assert!(outgoing.withdraw(ActionId(2)));
        assert_eq!(outgoing.next(0).unwrap().len(), 4 * 2 + 3 * 10);
        let fates = failed(&mut outgoing, 2 + 10 + 2 + 2 + 1, true);
        assert_eq!(fates, [(1, Fate::Written), (3, Fate::Partial), (4, Fate::NotSent)]);
    }

    #[test]
    fn what_a_full_queue_took_is_given_back() {
        let mut outgoing = Outgoing::default();
        (1..=10_000).for_each(|action| queue(&mut outgoing, action));
        let bytes = outgoing.next(0).unwrap().len();
        outgoing.accept(bytes);
        outgoing.flushed(|_, _| ());
        let Outgoing { waiting, batch, batch_marks, .. } = &outgoing;
        assert!(waiting.capacity() + batch.capacity() <= 2 * KEPT_BYTES, "{} bytes kept", batch.capacity());
        assert!(batch_marks.capacity() * size_of::<Mark>() <= KEPT_BYTES);
    }

    #[test]
    fn a_frame_that_cannot_be_made_leaves_nothing() {
        let mut outgoing = Outgoing::default();
        queue(&mut outgoing, 1);
        let refused = outgoing.push(Some(ActionId(2)), |out| {
            out.push(1);
            Err(())
        });
        assert_eq!(refused, Err(()));
        assert_eq!(outgoing.backlog(), 10);
        assert_eq!(failed(&mut outgoing, 0, true), [(1, Fate::NotSent)]);
    }
}
