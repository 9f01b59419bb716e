//! Deliberate bugs, to see that the simulation notices an outbox that is too quick: a test of the tests.
//!
//! Only builds with the feature `mutants` hold them, and there one at a time is in force, for the whole process. Invariant:
//! without the feature `on` is `false` for the compiler, and nothing of this is in the program.

journal::mutants! {
    /// M1-M3.
    ReleaseAtOnce = "release before the record is durable",
    /// M6.
    ReleaseAfterPoison = "release after a failed commit",
    /// D7, T8.
    KeepWithdrawn = "send an answer that was withdrawn",
}
