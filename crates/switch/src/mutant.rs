//! Deliberate bugs, to see that the simulation notices broken rules: a test of the tests.
//!
//! Only builds with the feature `mutants` hold them, and there one at a time is in force, for the whole process. Invariant:
//! without the feature `on` is `false` for the compiler, and nothing of this is in the program. The journal, which does not know this
//! crate, has a macro like this one.

use core::sync::atomic::{AtomicU8, Ordering};

static IN_FORCE: AtomicU8 = AtomicU8::new(0);

macro_rules! mutants {
    ($($name:ident = $text:literal, breaks $rule:literal, found by [$($by:literal),+];)*) => {
        /// One deliberate bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Mutant { #[doc(hidden)] None, $(#[doc = $text] $name,)* }

        impl Mutant {
            /// All of them.
            pub const ALL: &'static [Mutant] = &[$(Mutant::$name,)*];

            /// What it does, in a few words.
            pub const fn name(self) -> &'static str {
                match self { Mutant::None => "none", $(Mutant::$name => $text,)* }
            }

            /// The money rules that it breaks, by number.
            pub const fn rule(self) -> &'static str {
                match self { Mutant::None => "", $(Mutant::$name => $rule,)* }
            }

            /// What an auditor may call it: invariants, or rules that he checks themselves. Anything else, a panic too, does not
            /// count as having found it.
            pub const fn found_by(self) -> &'static [&'static str] {
                match self { Mutant::None => &[], $(Mutant::$name => &[$($by),+],)* }
            }
        }
    };
}

mutants! {
    SendBeforeIntent = "send before the intent is durable", breaks "M1", found by ["I1"];
    AnswerBeforeOutcome = "answer before the outcome is durable", breaks "M2", found by ["I2"];
    FailBeforePromise = "tell a failure before the promise is durable", breaks "M3", found by ["I2"];
    AnswerBeforePromise = "answer a reversal before the promise is durable", breaks "M3", found by ["I2"];
    LeaveBeforePromise = "send a reversal before its promise is durable", breaks "M3", found by ["M3", "I1"];
    GiveUpAfterFive = "give up a reversal after five", breaks "M4, R4", found by ["I11"];
    SendTwice = "write a request twice", breaks "M5", found by ["M5"];
    AbandonHanded = "take back what a serial terminal holds", breaks "M8", found by ["I7"];
    ReverseGoodSale = "reverse a good sale on a re-key", breaks "M8, D5", found by ["I7"];
    TimeoutDeclines = "take a timeout for a request that never left", breaks "T1", found by ["I6"];
    UnknownDeclines = "take a code that says nothing for a decline", breaks "T1", found by ["I6"];
    LostIsUnsent = "take a lost connection for a request that never left", breaks "T2", found by ["I6"];
    BelieveMore = "deliver an approval of more", breaks "T4", found by ["I6"];
    ShowLateApproval = "show a late approval", breaks "T5", found by ["I2"];
    LateStands = "let an approval after the end stand", breaks "T5", found by ["I6"];
    AnswerForAck = "take a 0210 for a 0430", breaks "T6", found by ["I6", "I10"];
    SecondUndoesFirst = "undo the first approval for a second one", breaks "T7", found by ["I7"];
    IgnoreSecond = "take a second approval for the first again", breaks "T7", found by ["I6", "I8"];
    NoGraceEnd = "keep an approval that was never handed over", breaks "T8", found by ["I11"];
    LessToAnybody = "deliver an approval of less to anybody", breaks "T9", found by ["T9"];
    LessIsNothing = "decline an approval of less without its reversal", breaks "T9", found by ["I6"];
    AbandonNothing = "leave what a serial terminal gave up", breaks "T10", found by ["T10"];
    ReuseReversalStan = "reuse a STAN of reversals", breaks "R0, K4", found by ["I3"];
    AnyCodeEnds = "take any code for an acknowledgement", breaks "R2, R4", found by ["I6"];
    EndBeforeHorizon = "end an obligation before the horizon", breaks "R3", found by ["I10", "I6"];
    EarlyAckEnds = "let the acknowledgement of an early send end it", breaks "R3", found by ["I10", "I6"];
    KeepDecided = "decide before a late approval came", breaks "R3", found by ["I6"];
    HoldTheLine = "let a silent reversal hold up the others", breaks "R5", found by ["I11"];
    MissRepeat = "miss a repeat", breaks "D1, D2", found by ["I9"];
    ApproveUnwound = "give a repeat of what is unwound its approval", breaks "D3", found by ["I2", "I7"];
    IgnoreContent = "take other content for a repeat", breaks "D4", found by ["I2", "I8", "I9"];
    NoFlag = "let an equal sale pass unflagged", breaks "D6", found by ["I9"];
    PromiseNothing = "answer a reversal without a promise", breaks "D7, D8", found by ["I2"];
    NoTombstone = "no tombstone", breaks "D11", found by ["D11"];
    AnyAmount = "reverse whatever the amount", breaks "D12", found by ["I7"];
    PartIsAll = "reverse all where a part was meant", breaks "D13", found by ["I7"];
    PartIsNothing = "give nothing back for a partial reversal", breaks "D13", found by ["I2", "I8"];
    ConfirmCrossing = "confirm across a crossing", breaks "C1", found by ["I12"];
    LaterIsNothing = "a later request confirms nothing", breaks "C1", found by ["C1"];
    AlwaysCompleted = "take every completion for a success", breaks "C2", found by ["I12"];
    SilentCompletion = "confirm what its terminal never completed", breaks "C2", found by ["I12"];
    CompleteUnwound = "accept the completion of what is unwound", breaks "C2", found by ["I7"];
    SilenceIsGold = "confirm what nobody knows to be handed", breaks "C3, K2", found by ["I12"];
    SilenceAtOnce = "decide by silence before the deadline", breaks "C3", found by ["C3"];
    ForgetInFlight = "forget in-flight on recovery", breaks "K1", found by ["I11"];
    LoseEvidence = "lose the evidence in a checkpoint", breaks "K2", found by ["K2", "I4"];
    ForgetPromises = "forget promises on recovery", breaks "K3", found by ["I11"];
    ReuseStan = "reuse a STAN", breaks "K4", found by ["K4", "I3"];
    ReuseRrn = "reuse an RRN", breaks "K4", found by ["I3", "M5"];
    FollowTheJump = "let ages follow a wall clock that jumps", breaks "K7", found by ["K7"];
    UndoIsUndone = "take an order to undo for a thing done", breaks "section 2", found by ["I6"];
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
