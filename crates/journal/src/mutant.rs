//! Deliberate bugs, to see that the simulation notices a journal that loses records: a test of the tests.
//!
//! Only builds with the feature `mutants` hold them, and there one at a time is in force, for the whole process. Invariant:
//! without the feature `on` is `false` for the compiler, and nothing of this is in the program.

/// Makes a module's list of deliberate bugs, and the switch for them. The feature `mutants` is that of the crate that uses it.
#[doc(hidden)]
#[macro_export]
macro_rules! mutants {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal,)*) => {
        static IN_FORCE: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

        /// One deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Mutant {
            #[doc(hidden)]
            None,
            $($(#[doc = $doc])* $name,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &'static [Mutant] = &[$(Mutant::$name,)*];

            /// What it does, in a few words.
            pub const fn name(self) -> &'static str {
                match self {
                    Mutant::None => "none",
                    $(Mutant::$name => $text,)*
                }
            }
        }

        /// Puts a bug in force, or none.
        pub fn set(mutant: Option<Mutant>) {
            IN_FORCE.store(mutant.unwrap_or(Mutant::None) as u8, std::sync::atomic::Ordering::Relaxed);
        }

        /// Whether this bug is in force.
        #[inline]
        pub(crate) fn on(mutant: Mutant) -> bool {
            cfg!(feature = "mutants") && IN_FORCE.load(std::sync::atomic::Ordering::Relaxed) == mutant as u8
        }
    };
}

mutants! {
    /// M1, M2.
    NoSync = "do not sync a group",
    /// M6.
    IgnoreFailedSync = "release after a failed fsync",
    /// K5.
    NoDirectorySync = "do not sync the directory at a rotation",
    /// K5.
    CutTooMuch = "cut too much of a torn tail",
    /// K5.
    SkipDamage = "skip a damaged group",
}
