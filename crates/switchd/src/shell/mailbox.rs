//! Inputs on their way to the core, in the order in which the shell saw them.
//!
//! Not a channel between threads: everything is on one. Reports and closes are always taken; sockets are not read while
//! it is full, which is the back-pressure of the whole daemon.

use std::cell::RefCell;
use std::task::{Context, Waker};

use switch::Input;
use tokio::sync::Notify;

/// What waits for the next turn.
#[derive(Debug)]
pub(crate) struct Mailbox {
    inputs: RefCell<Vec<Input>>,
    filled: Notify,
    waiting_for_room: RefCell<Vec<Waker>>,
    most: usize,
}

impl Mailbox {
    /// Sockets are read while fewer than `most` inputs wait.
    pub(crate) fn new(most: usize) -> Self {
        Mailbox { inputs: RefCell::default(), filled: Notify::new(), waiting_for_room: RefCell::default(), most }
    }

    /// Puts an input behind the others.
    pub(crate) fn push(&self, input: Input) {
        let mut inputs = self.inputs.borrow_mut();
        inputs.push(input);
        if inputs.len() == 1 {
            self.filled.notify_one();
        }
    }

    /// Whether a socket may be read; if not, the task is woken after the next turn.
    pub(crate) fn has_room(&self, cx: &Context<'_>) -> bool {
        if self.inputs.borrow().len() < self.most {
            return true;
        }
        self.waiting_for_room.borrow_mut().push(cx.waker().clone());
        false
    }

    /// Moves everything to `inputs`, which is empty.
    pub(crate) fn take(&self, inputs: &mut Vec<Input>) {
        assert!(inputs.is_empty(), "a turn drains its inputs");
        std::mem::swap(&mut *self.inputs.borrow_mut(), inputs);
        self.waiting_for_room.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// Ends when something waits.
    pub(crate) async fn filled(&self) {
        while self.is_empty() {
            self.filled.notified().await;
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.inputs.borrow().is_empty()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.inputs.borrow().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::Wake;
    use switch::Admission;

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn full_stops_reading_until_the_next_turn() {
        let mailbox = Mailbox::new(2);
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(woken.clone());
        let cx = Context::from_waker(&waker);
        for _ in 0..2 {
            assert!(mailbox.has_room(&cx));
            mailbox.push(Input::Admission(Admission::Open));
        }
        assert!(!mailbox.has_room(&cx));
        mailbox.push(Input::Admission(Admission::Open));
        assert_eq!(mailbox.len(), 3, "reports are taken always");
        let mut inputs = Vec::new();
        mailbox.take(&mut inputs);
        assert!(inputs.len() == 3 && mailbox.is_empty());
        assert!(woken.0.load(Ordering::Relaxed) && mailbox.has_room(&cx));
    }
}
