//! The index in fjall 3: one keyspace of a log-structured tree.
//!
//! Small on purpose, as it shares the machine with the switch: one thread for flushes and compactions, 8 MiB tables.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::engine::{Batch, Each, Engine, EngineError};

/// Blocks kept in memory.
const CACHE_BYTES: u64 = 16 << 20;
/// What is in memory before it is written as a table.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// The engine's own journal; its least.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// An open database.
pub(crate) struct Fjall {
    database: Database,
    entries: Keyspace,
}

impl Fjall {
    /// Opens or makes it.
    pub(crate) fn open(dir: &Path) -> Result<Self, EngineError> {
        let database = Database::builder(dir)
            .cache_size(CACHE_BYTES)
            .worker_threads(1)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .open()
            .map_err(said)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES);
        let entries = database.keyspace("entries", options).map_err(said)?;
        Ok(Fjall { database, entries })
    }
}

fn said(error: fjall::Error) -> EngineError {
    EngineError::Failed(error.to_string())
}

impl Engine for Fjall {
    fn apply(&self, batch: &Batch) -> Result<(), EngineError> {
        let changes = batch.changes();
        let mut write = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), changes.len());
        for (key, value) in changes {
            match value {
                Some(value) => write.insert(&self.entries, key, value),
                None => write.remove(&self.entries, key),
            }
        }
        write.commit().map_err(said)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        Ok(self.entries.get(key).map_err(said)?.map(|value| value.to_vec()))
    }

    fn scan(&self, from: &[u8], to: &[u8], each: &mut Each<'_>) -> Result<(), EngineError> {
        for entry in self.entries.range(from..to) {
            let (key, value) = entry.into_inner().map_err(said)?;
            if each(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.database.persist(PersistMode::SyncData).map_err(said)
    }
}
