//! Look-ups beyond memory: a **view** of the journal by key, RRN, terminal and time, and card.
//!
//! ```text
//! journal --durable records--> thread of its own --batches--> engine (fjall, or sled)
//!    ^                                                             |
//!    +--------- records, read where the entries say they lie ------+--> movements, histories
//! ```
//!
//! It says where the records of a movement lie, and nothing else: every answer is read from the journal. So it is never the
//! only copy of anything, may be deleted at any time, and is built again when it is missing, damaged, of another version,
//! or of another journal.
//!
//! Absent on purpose: card numbers (a card is its keyed HMAC), any say in what is decided, any work on the way of a
//! transaction. Invariant: an answer covers every record that was durable when it was asked for, or there is none.
//!
//! [`Index`] is the view itself; [`Live`] keeps one behind a journal that is being written, on a thread of its own.

mod contain;
mod engine;
mod entries;
mod fjall;
mod history;
mod live;
#[cfg(feature = "sled")]
mod sled;
mod view;

pub use contain::contains_panic;
pub use engine::{Batch, Each, Engine, EngineError, Kind};
pub use history::{Found, LookUp, Name};
pub use live::{Live, Options, Retain, Stage, Status, Unavailable};
pub use view::{Error, Filler, Index, Mark};
