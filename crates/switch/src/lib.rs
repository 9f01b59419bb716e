//! The money rules as a pure state machine.
//!
//! [`Switch`] takes [`Input`]s and decides [`Record`]s and [`Action`]s. It reaches no clock, disk, socket or randomness (it is
//! `no_std` and depends on message types only): time comes in with every call, and everything that it wants done goes out.
//!
//! ```text
//! Input --> turn(now, input, &mut Output) --> Output.records   made durable in their order
//!                                        +--> Output.actions   each leaves when the record that it names is durable
//! ```
//!
//! Rules are cited by their number in MONEY-RULES: M write before you speak, T timeouts, R reversals, D what a terminal sends
//! again, C confirmation, K crash and restart.
//!
//! Absent on purpose: sockets, durability, cryptography (cards come in sealed), configuration files, metrics.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod action;
mod answer;
mod binary;
mod calendar;
mod card;
mod codes;
mod completion;
mod config;
mod delivery;
mod earlier;
mod finder;
mod ids;
mod input;
mod links;
mod look_up;
mod machine;
mod message;
mod movement;
#[doc(hidden)]
pub mod mutant;
mod operator;
mod record;
mod refused;
mod rekey;
mod request;
mod restart;
mod state;
mod table;
mod terminal_reversal;
mod timers;
mod unwind;
mod view;

pub use crate::action::{Action, Note, Pending, Query, Stray};
pub use crate::binary::Damaged;
pub use crate::card::{Card, CardHmac, SEALED_BYTES, SealedPan};
pub use crate::codes::{CodeTable, Money};
pub use crate::config::{AtDeadline, Config, Group, Issuer, Link, OnRekey, OnRepeat, Route};
pub use crate::finder::{About, Finder, Historian, Histories, Told};
pub use crate::ids::{ActionId, AskId, ConnId, GroupNo, IssuerNo, LinkId, LinkNo, Lsn, MovementId, Now, QueryId};
pub use crate::input::{Admission, Case, Input, LinkOrder, LinkWish, Report};
pub use crate::machine::{Output, Switch, Timer};
pub use crate::message::refusal;
pub use crate::movement::{
    Answer, Class, ConfirmedBy, Evidence, Fingerprint, Key, Movement, Obligation, Reason, Resolution, ReversalNumbers, Rule,
    Scope, SentAs, StateKind, Verdict,
};
pub use crate::operator::Refusal;
pub use crate::record::{AckVerdict, Entry, FORMAT_VERSION, Record};
pub use crate::rekey::MarkOf;
pub use crate::request::pan_digits;
pub use crate::state::{Exception, Keep, Tombstone};
pub use crate::view::{CensusRow, LinkView, Next, Outlook};
