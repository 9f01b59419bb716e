//! Checkpoints: the caller's state after a record, so that a start need not replay everything.
//!
//! A checkpoint is a shortcut, never the truth: one that fails its check is put aside, and the one before it serves, as
//! long as the records after that one are there. Retirement sees to it that they are.

use std::io;

use crate::Lsn;
use crate::error::{Damage, OpenError};
use crate::format::{FORMAT_VERSION, Identity, identity_at, put, u32_at, u64_at};
use crate::mark::MarkFile;
use crate::storage::{Storage, StorageFile};

const MAGIC: &[u8; 8] = b"SWJCHECK";
const HEADER_BYTES: usize = 64;
const PREFIX: &str = "checkpoint-";
/// How many are kept.
const KEPT: usize = 2;

/// A state and the record it was reached with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last record that the state includes.
    pub lsn: Lsn,
    /// The state, as it was given to [`write_checkpoint`].
    pub bytes: Vec<u8>,
}

pub(crate) fn file_name(lsn: Lsn) -> String {
    format!("{PREFIX}{:020}", lsn.0)
}

/// The LSNs of the checkpoints among `names`, ascending.
pub(crate) fn listed(names: &[String]) -> Vec<Lsn> {
    let mut lsns: Vec<Lsn> = names
        .iter()
        .filter_map(|name| name.strip_prefix(PREFIX)?.parse().ok().map(Lsn))
        .filter(|lsn| names.contains(&file_name(*lsn)))
        .collect();
    lsns.sort_unstable();
    lsns
}

/// Writes the state after record `lsn` (which must be durable) and removes all checkpoints but the newest two.
/// May be called from any thread, by one at a time, while the journal is open. Blocks for the write and its sync.
///
/// # Errors
/// As the system says; the checkpoints that there were are then still there. `NotFound` when there is no journal.
pub fn write_checkpoint<S: Storage>(storage: &S, lsn: Lsn, bytes: &[u8]) -> io::Result<()> {
    let identity = match MarkFile::open(storage) {
        Ok(Some(mark)) => mark.mark.identity,
        Ok(None) => {
            return Err(io::Error::new(io::ErrorKind::NotFound, "there is no journal"));
        }
        Err(error) => return Err(io::Error::other(error)),
    };
    let name = file_name(lsn);
    let temporary = format!("{name}.tmp");
    let written = write_file(storage, &temporary, &name, &encode_header(&identity, lsn, bytes), bytes);
    if let Err(error) = written {
        // What the failed attempt left takes space and is removed, here or at the next start.
        let _ = storage.remove(&temporary);
        return Err(error);
    }
    let lsns = listed(&storage.list()?);
    for lsn in lsns.iter().rev().skip(KEPT) {
        storage.remove(&file_name(*lsn))?;
    }
    storage.sync_dir()
}

fn encode_header(identity: &Identity, lsn: Lsn, bytes: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    put(&mut header, 0, MAGIC);
    put(&mut header, 8, &FORMAT_VERSION.to_le_bytes());
    put(&mut header, 12, &crc32c::crc32c(bytes).to_le_bytes());
    put(&mut header, 16, identity);
    put(&mut header, 32, &lsn.0.to_le_bytes());
    put(&mut header, 40, &(bytes.len() as u64).to_le_bytes());
    let crc = crc32c::crc32c(&header[..60]);
    put(&mut header, 60, &crc.to_le_bytes());
    header
}

fn write_file<S: Storage>(storage: &S, temporary: &str, name: &str, header: &[u8], bytes: &[u8]) -> io::Result<()> {
    let file = storage.create(temporary, (header.len() + bytes.len()) as u64)?;
    file.write_at(header, 0)?;
    file.write_at(bytes, header.len() as u64)?;
    file.sync_data()?;
    storage.rename(temporary, name)?;
    storage.sync_dir()
}

/// What a checkpoint file holds: a state, or nothing usable.
pub(crate) fn read<S: Storage>(storage: &S, lsn: Lsn, identity: &Identity) -> Result<Option<Checkpoint>, OpenError> {
    let name = file_name(lsn);
    let io = |source| OpenError::Io { action: "read", file: name.clone(), source };
    let file = storage.open(&name).map_err(io)?;
    let length = file.bytes().map_err(io)?;
    if length < HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut header = [0; HEADER_BYTES];
    file.read_at(&mut header, 0).map_err(io)?;
    if &header[..8] != MAGIC || u32_at(&header, 60) != crc32c::crc32c(&header[..60]) {
        return Ok(None);
    }
    let damaged = |damage| OpenError::Damaged { file: name.clone(), offset: 0, damage };
    if u32_at(&header, 8) != FORMAT_VERSION {
        return Err(damaged(Damage::Version(u32_at(&header, 8))));
    }
    if identity_at(&header, 16) != *identity {
        return Err(damaged(Damage::Foreign));
    }
    if u64_at(&header, 32) != lsn.0 || u64_at(&header, 40) != length - HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(|e| io(io::Error::other(e)))? - HEADER_BYTES];
    file.read_at(&mut bytes, HEADER_BYTES as u64).map_err(io)?;
    Ok((crc32c::crc32c(&bytes) == u32_at(&header, 12)).then_some(Checkpoint { lsn, bytes }))
}
