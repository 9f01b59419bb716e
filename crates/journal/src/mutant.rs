//! Deliberate bugs, to see that the simulation notices a journal that loses records: a test of the tests.
//!
//! Only builds with the feature `mutants` hold them, and there one at a time is in force, for the whole process. Invariant:
//! without the feature `on` is `false` for the compiler, and nothing of this is in the program.

/// Makes a module's list of deliberate bugs, and the switch for them. The feature `mutants` is that of the crate that uses it.
#[doc(hidden)]
#[macro_export]
macro_rules! mutants {
    ($($name:ident = $text:literal, breaks $rule:literal, found by [$($by:literal),+];)*) => {
        static IN_FORCE: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

        /// One deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Mutant {
            #[doc(hidden)]
            None,
            $(#[doc = $text] $name,)*
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

            /// The money rules that it breaks, by number.
            pub const fn rule(self) -> &'static str {
                match self {
                    Mutant::None => "",
                    $(Mutant::$name => $rule,)*
                }
            }

            /// What an auditor may call it: invariants, or rules that he checks themselves. Anything else, a panic too, does
            /// not count as having found it.
            pub const fn found_by(self) -> &'static [&'static str] {
                match self {
                    Mutant::None => &[],
                    $(Mutant::$name => &[$($by),+],)*
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
    NoSync = "do not sync a group", breaks "M1, M2", found by ["I1", "I2", "K5"];
    IgnoreFailedSync = "release after a failed fsync", breaks "M6", found by ["I1", "I2", "M3", "M6", "K5"];
    NoSegmentSync = "do not sync a segment at a rotation", breaks "K5", found by ["I1", "I2", "K5"];
    NoDirectorySync = "do not sync the directory at a rotation", breaks "K5", found by ["I1", "I2", "K5"];
    TrustWhatIsRead = "take for durable what can be read after a failed sync", breaks "K5", found by ["I1", "I2", "K5"];
    CutTooMuch = "cut too much of a torn tail", breaks "K5", found by ["K5"];
    DamageIsTorn = "skip a damaged group, and what follows it", breaks "K5", found by ["K5"];
    ServeTogether = "serve a journal that another process serves", breaks "K6", found by ["K6"];
}
