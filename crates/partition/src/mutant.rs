//! Deliberate bugs, to see that the simulation notices an outbox that is too quick: a test of the tests.
//!
//! Only builds with the feature `mutants` hold them, and there one at a time is in force, for the whole process. Invariant:
//! without the feature `on` is `false` for the compiler, and nothing of this is in the program.

journal::mutants! {
    ReleaseAtOnce = "release before the record is durable", breaks "M1-M3", found by ["I1", "I2"];
    ReleaseAfterPoison = "release after a failed commit", breaks "M6", found by ["I1", "I2", "M3", "M6"];
    KeepWithdrawn = "send an answer that was withdrawn", breaks "D7, T8", found by ["I2"];
}
