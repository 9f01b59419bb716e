//! So many log lines a second for what strangers can cause, and a count of the rest.
//!
//! Invariant: nothing is left out without a line that says how often.

use std::cell::Cell;

/// Lines of one kind in a second.
const LINES: u32 = 5;

/// What is left of this second.
#[derive(Debug)]
pub(crate) struct Quota {
    left: Cell<u32>,
    unsaid: Cell<u64>,
}

impl Quota {
    /// All of it is left.
    pub(crate) fn new() -> Self {
        Quota { left: Cell::new(LINES), unsaid: Cell::new(0) }
    }

    /// Whether a line may be written; if not, it is counted.
    pub(crate) fn take(&self) -> bool {
        if let Some(left) = self.left.get().checked_sub(1) {
            self.left.set(left);
            return true;
        }
        self.unsaid.set(self.unsaid.get() + 1);
        false
    }

    /// A new second begins: how many lines were left out in the one before.
    pub(crate) fn renew(&self) -> u64 {
        self.left.set(LINES);
        self.unsaid.replace(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted() {
        let quota = Quota::new();
        let written = (0..100).filter(|_| quota.take()).count();
        assert_eq!((written, quota.renew()), (LINES as usize, 100 - u64::from(LINES)));
        assert!(quota.take());
        assert_eq!(quota.renew(), 0);
    }
}
