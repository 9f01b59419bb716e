//! The index in sled 0.34, for comparison and for whoever asks for it by name; why it is not the default is written in
//! docs/DEPENDENCIES.md.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use sled::Db;

use crate::engine::{Batch, Each, Engine, EngineError};

/// What sled may keep of pages in memory; it takes this as a hint.
const CACHE_BYTES: u64 = 16 << 20;

/// Its threads let go of its lock a moment after the last handle is dropped.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// An open database.
pub(crate) struct Sled {
    database: Db,
}

impl Sled {
    /// Opens or makes it.
    pub(crate) fn open(dir: &Path) -> Result<Self, EngineError> {
        let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES);
        let until = Instant::now() + LOCK_PATIENCE;
        loop {
            match config.open() {
                Ok(database) => return Ok(Sled { database }),
                Err(error) if Instant::now() < until && error.to_string().contains("could not acquire lock") => {
                    thread::sleep(Duration::from_millis(10));
                }
                Err(error) => return Err(said(error)),
            }
        }
    }
}

fn said(error: sled::Error) -> EngineError {
    EngineError::Failed(error.to_string())
}

impl Engine for Sled {
    fn apply(&self, batch: &Batch) -> Result<(), EngineError> {
        let mut write = sled::Batch::default();
        for (key, value) in batch.changes() {
            match value {
                Some(value) => write.insert(key, value),
                None => write.remove(key),
            }
        }
        self.database.apply_batch(write).map_err(said)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.database.get(key).map_err(said)?.map(|value| value.to_vec()))
    }

    fn scan(&self, from: &[u8], to: &[u8], each: &mut Each<'_>) -> Result<(), EngineError> {
        for entry in self.database.range(from..to) {
            let (key, value) = entry.map_err(said)?;
            if each(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.database.flush().map(|_| ()).map_err(said)
    }
}
