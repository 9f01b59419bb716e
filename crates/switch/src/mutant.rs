//! Deliberate bugs, to see that the simulation notices broken rules: a test of the tests.
//!
//! Only builds with the feature `mutants` hold them, and there one at a time is in force, for the whole process. Invariant:
//! without the feature `on` is `false` for the compiler, and nothing of this is in the program. The journal, which does not know this
//! crate, has a macro like this one.

use core::sync::atomic::{AtomicU8, Ordering};

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
    /// M1.
    SendBeforeIntent = "send before the intent is durable",
    /// K1.
    ForgetInFlight = "forget in-flight on recovery",
    /// T5.
    ShowLateApproval = "show a late approval",
    /// M4, R4.
    GiveUpAfterFive = "give up a reversal after five",
    /// D1, D2.
    MissRepeat = "miss a repeat",
    /// K4.
    ReuseStan = "reuse a STAN",
    /// I3.
    ReuseRrn = "reuse an RRN",
    /// D11.
    NoTombstone = "no tombstone",
    /// M2.
    AnswerBeforeOutcome = "answer before the outcome is durable",
    /// M3.
    FailBeforePromise = "tell a failure before the promise is durable",
    /// T6.
    AnswerForAck = "take a 0210 for a 0430",
    /// R3.
    EndBeforeHorizon = "end an obligation before the horizon",
    /// M8, D5.
    ReverseGoodSale = "reverse a good sale on a re-key",
    /// D6.
    NoFlag = "let an equal sale pass unflagged",
    /// K2.
    LoseEvidence = "lose the evidence in a checkpoint",
    /// R2, R4.
    AnyCodeEnds = "take any code for an acknowledgement",
    /// T4.
    BelieveMore = "deliver an approval of more",
    /// D13.
    PartIsAll = "reverse all where a part was meant",
    /// K3.
    ForgetPromises = "forget promises on recovery",
    /// D3.
    ApproveUnwound = "give a repeat of what is unwound its approval",
    /// T8.
    NoGraceEnd = "keep an approval that was never handed over",
    /// C2.
    AlwaysCompleted = "take every completion for a success",
    /// C3, K2.
    SilenceIsGold = "confirm what nobody knows to be handed",
    /// C2.
    SilentCompletion = "confirm what its terminal never completed",
    /// D7, D8.
    PromiseNothing = "answer a reversal without a promise",
    /// T1.
    TimeoutDeclines = "take a timeout for a decline",
    /// T9.
    LessIsNothing = "decline an approval of less without its reversal",
    /// T5.
    LateStands = "let an approval after the end stand",
    /// T7.
    SecondUndoesFirst = "undo the first approval for a second one",
    /// T10.
    AbandonNothing = "leave what a serial terminal gave up",
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
