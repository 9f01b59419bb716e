//! File descriptors: the process takes as many as it may have, and leaves some to the journal whatever terminals do.
//!
//! Invariant: terminals never take the last descriptor, as a journal that cannot open its next segment stops the switch.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the journal and its index, the metrics, the admin socket and the process itself need at most.
const RESERVED: usize = 512;

/// Raises the soft limit to the hard one, and says how many sockets terminals may have beside `links` connections to
/// issuers.
pub(crate) fn for_terminals(links: usize) -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let may_have = if raised.is_ok() { maximum } else { current };
    let descriptors = may_have.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    // One that can serve a single terminal is better than none, even if nothing is left for the journal to grow into.
    descriptors.saturating_sub(RESERVED + links).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_left_for_the_journal() {
        let most = getrlimit(Resource::Nofile).maximum.map_or(usize::MAX, |most| usize::try_from(most).unwrap());
        assert_eq!(for_terminals(8), most.saturating_sub(RESERVED + 8).max(1));
        assert_eq!(getrlimit(Resource::Nofile).current, getrlimit(Resource::Nofile).maximum);
        assert_eq!(for_terminals(usize::MAX - RESERVED), 1);
    }
}
