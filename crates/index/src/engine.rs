//! What an engine must do: an ordered map of bytes that takes a batch whole or not at all.
//!
//! An engine knows no entry, no mark, no journal. Invariant: after a crash of the process it holds the batches that it took,
//! up to some one and none after it; after a loss of power it may have lost the newest.

use std::ops::ControlFlow;
use std::path::Path;

/// Which engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// fjall 3: the default.
    Fjall,
    /// sled 0.34, with the feature of its name.
    #[cfg(feature = "sled")]
    Sled,
}

impl Kind {
    /// All that were built in.
    pub const ALL: &[Kind] = &[
        Kind::Fjall,
        #[cfg(feature = "sled")]
        Kind::Sled,
    ];

    /// As the configuration writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Fjall => "fjall",
            #[cfg(feature = "sled")]
            Kind::Sled => "sled",
        }
    }

    /// Opens what is there, or makes an empty one.
    ///
    /// # Errors
    /// It cannot be read or written, or is not what the engine wrote.
    pub fn open(self, dir: &Path) -> Result<Box<dyn Engine>, EngineError> {
        match self {
            Kind::Fjall => Ok(Box::new(crate::fjall::Fjall::open(dir)?)),
            #[cfg(feature = "sled")]
            Kind::Sled => Ok(Box::new(crate::sled::Sled::open(dir)?)),
        }
    }
}

/// Why an engine failed. The index that it holds is then built again.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// In the engine's own words.
    #[error("{0}")]
    Failed(String),
    /// It panicked, as engines do on files that they did not write.
    #[error("the engine panicked: {0}")]
    Panicked(String),
}

/// Takes a key and its value, and says whether to go on.
pub type Each<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// An ordered map of bytes.
pub trait Engine: Send + Sync {
    /// Takes the batch: all of it, or none.
    ///
    /// # Errors
    /// Nothing of it was taken, for all that is known.
    fn apply(&self, batch: &Batch) -> Result<(), EngineError>;

    /// The value of a key.
    ///
    /// # Errors
    /// It cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError>;

    /// Gives the entries from `from` on, which it includes, to `to`, which it does not, in the order of their keys, until
    /// `each` breaks.
    ///
    /// # Errors
    /// One cannot be read.
    fn scan(&self, from: &[u8], to: &[u8], each: &mut Each<'_>) -> Result<(), EngineError>;

    /// Lets the device have what was taken. For a clean stop.
    ///
    /// # Errors
    /// As the system says.
    fn sync(&self) -> Result<(), EngineError>;
}

/// Changes that are made together. A later one to the same key wins.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    changes: Vec<Change>,
}

/// Where a change lies in the bytes.
#[derive(Debug)]
struct Change {
    at: usize,
    key: usize,
    /// Length of the value; `None` removes the key.
    value: Option<usize>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.changes.push(Change { at: self.bytes.len(), key: key.len(), value: Some(value.len()) });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
    }

    /// Removes a key, if it is there.
    pub fn remove(&mut self, key: &[u8]) {
        self.changes.push(Change { at: self.bytes.len(), key: key.len(), value: None });
        self.bytes.extend_from_slice(key);
    }

    /// Every change in its order: the key, and its value unless it is removed.
    pub fn changes(&self) -> impl ExactSizeIterator<Item = (&[u8], Option<&[u8]>)> {
        self.changes.iter().map(|change| {
            let value_at = change.at + change.key;
            (&self.bytes[change.at..value_at], change.value.map(|length| &self.bytes[value_at..value_at + length]))
        })
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.changes.clear();
    }
}
