//! Deliberate bugs, to see that the simulation notices an outbox that is too quick: a test of the tests.
//!
//! Only builds with the feature `mutants` hold them, and there one at a time is in force, for the whole process. Invariant:
//! without the feature `on` is `false` for the compiler, and nothing of this is in the program.

use std::sync::atomic::{AtomicU8, Ordering};

static IN_FORCE: AtomicU8 = AtomicU8::new(0);

macro_rules! mutants {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        /// One deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Mutant { #[doc(hidden)] None, $($(#[doc = $doc])* $name,)* }

        impl Mutant {
            /// All of them.
            pub const ALL: &'static [Mutant] = &[$(Mutant::$name,)*];

            /// What it does, in a few words.
            pub const fn name(self) -> &'static str {
                match self { Mutant::None => "none", $(Mutant::$name => $text,)* }
            }
        }
    };
}

mutants! {
    /// M1-M3.
    ReleaseAtOnce = "release before the record is durable",
    /// M6.
    ReleaseAfterPoison = "release after a failed commit",
    /// D7, T8.
    KeepWithdrawn = "send an answer that was withdrawn",
}

/// Puts a bug in force, or none.
pub fn set(mutant: Option<Mutant>) {
    IN_FORCE.store(mutant.unwrap_or(Mutant::None) as u8, Ordering::Relaxed);
}

/// Whether this bug is in force.
#[inline]
pub(crate) fn on(mutant: Mutant) -> bool {
    cfg!(feature = "mutants") && IN_FORCE.load(Ordering::Relaxed) == mutant as u8
}
