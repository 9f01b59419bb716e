//! How many messages of one terminal connection wait for their answers: beyond a limit it is not read.
//!
//! Not reading is the answer that costs no message its meaning: what is refused before the core sees it would not be
//! remembered as refused (M7). Not every message is answered, so one counts for as long as its terminal waits, and no
//! longer. Invariant: a connection that asks no more than the limit at once is always read.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The messages that wait, by the moments at which they came.
#[derive(Debug)]
pub(crate) struct InFlight {
    most: usize,
    patience: Duration,
    since: RefCell<VecDeque<Instant>>,
}

impl InFlight {
    /// At most `most` at once; each waits for `patience` at most.
    pub(crate) fn new(most: usize, patience: Duration) -> Self {
        InFlight { most, patience, since: RefCell::default() }
    }

    /// A message that asks for an answer went to the core.
    pub(crate) fn asked(&self, now: Instant) {
        self.since.borrow_mut().push_back(now);
    }

    /// An answer came from it: to the oldest, which is never too many.
    pub(crate) fn answered(&self) {
        self.since.borrow_mut().pop_front();
    }

    /// When there is room again at the latest; `None` when there is now.
    pub(crate) fn full_until(&self, now: Instant) -> Option<Instant> {
        let mut since = self.since.borrow_mut();
        while since.front().is_some_and(|asked| *asked + self.patience <= now) {
            since.pop_front();
        }
        since.front().filter(|_| since.len() >= self.most).map(|oldest| *oldest + self.patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_until_an_answer_or_until_the_oldest_has_waited_long_enough() {
        let (begin, second) = (Instant::now(), Duration::from_secs(1));
        let at = |seconds: u32| begin + second * seconds;
        let in_flight = InFlight::new(2, 30 * second);
        assert_eq!(in_flight.full_until(at(0)), None);
        in_flight.asked(at(0));
        in_flight.asked(at(1));
        assert_eq!(in_flight.full_until(at(1)), Some(at(30)));
        in_flight.answered();
        assert_eq!(in_flight.full_until(at(1)), None);
        in_flight.asked(at(2));
        assert_eq!(in_flight.full_until(at(2)), Some(at(31)));
        assert_eq!(in_flight.full_until(at(31)), None, "a message that gets no answer does not count for ever");
        in_flight.answered();
        in_flight.answered();
        assert_eq!(in_flight.full_until(at(31)), None, "an answer too many is none");
    }
}
