//! A storage in memory that loses exactly what a disk may lose. For tests and the simulation.
//!
//! It keeps what was synced and what was not apart. A crash is a new storage that holds what was synced and, of the
//! rest, what the caller decides, sector by sector. It has no randomness of its own: whoever owns the seed decides.
//! A failed sync behaves as Linux does: what was written stays readable, and no later sync makes it durable.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::format::SECTOR;
use crate::mutant::{Mutant, on};
use crate::storage::{Storage, StorageFile};

/// Something that was done and not synced when the crash came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced<'a> {
    /// A change of the directory concerning this name: creation, renaming (the new name), removal.
    Name(&'a str),
    /// The length of a new file, or of one that was made anew; lost, the file is empty, or what it was.
    Length(&'a str),
    /// A piece of a write, within one sector.
    Piece {
        /// The file.
        file: &'a str,
        /// Which unsynced write of the file, from 0.
        write: usize,
        /// Where in the file, in bytes.
        offset: u64,
        /// How many bytes.
        bytes: usize,
    },
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It reached the disk.
    Kept,
    /// It did not.
    Lost,
    /// So many of its first bytes did (of a piece; all else is kept if it is not 0).
    Torn(usize),
}

/// The disk, shared by all handles to it.
#[derive(Clone)]
pub struct MemStorage {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Clone)]
struct Disk {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<NameChange>,
    identity: [u8; 16],
    locked: bool,
    faults: Faults,
    operations: u64,
}

#[derive(Clone, Default)]
struct Inode {
    current: Arc<Vec<u8>>,
    synced: Arc<Vec<u8>>,
    /// The length is not durable yet.
    new: bool,
    /// Held by every open file.
    handles: Arc<()>,
    writes: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum NameChange {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl NameChange {
    fn name(&self) -> &str {
        match self {
            NameChange::Create(name, _) | NameChange::Rename(_, name) | NameChange::Remove(name) => name,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Create(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

#[derive(Clone, Default)]
struct Faults {
    space_left: Option<u64>,
    operations_left: Option<u64>,
    write: Option<(u64, usize)>,
    sync: Option<(u64, bool)>,
}

fn io_error() -> io::Error {
    io::Error::other("input/output error (injected)")
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

impl Disk {
    /// Counts an operation that changes something; fails when the power is off.
    fn operate(&mut self) -> io::Result<()> {
        match &mut self.faults.operations_left {
            Some(0) => return Err(io_error()),
            Some(left) => *left -= 1,
            None => {}
        }
        self.operations += 1;
        Ok(())
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| missing(name))
    }

    /// Gives the memory of files back that have neither a name nor a handle.
    fn free(&mut self) {
        let named: Vec<usize> = self.names.values().copied().collect();
        for (number, inode) in self.inodes.iter_mut().enumerate() {
            if !inode.current.is_empty() && !named.contains(&number) && Arc::strong_count(&inode.handles) == 1 {
                *inode = Inode::default();
            }
        }
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }
}

impl Inode {
    fn write(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
        if bytes.len() < offset + data.len() {
            bytes.resize(offset + data.len(), 0);
        }
        bytes[offset..offset + data.len()].copy_from_slice(data);
    }

    fn sync(&mut self) {
        if self.new {
            self.synced = Arc::new(vec![0; self.current.len()]);
            self.new = false;
        }
        for (offset, data) in self.writes.drain(..) {
            Inode::write(Arc::make_mut(&mut self.synced), offset, &data);
        }
    }
}

/// Whether a countdown has come to its end, which it does once.
fn due<T: Copy>(fault: &mut Option<(u64, T)>) -> Option<T> {
    let (left, what) = fault.as_mut()?;
    *left -= 1;
    let what = *what;
    if *left == 0 {
        *fault = None;
        return Some(what);
    }
    None
}

impl MemStorage {
    /// An empty disk. Journals made on it have this identity.
    #[must_use]
    pub fn new(identity: [u8; 16]) -> Self {
        MemStorage::of(Disk {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            identity,
            locked: false,
            faults: Faults::default(),
            operations: 0,
        })
    }

    fn of(disk: Disk) -> Self {
        MemStorage { disk: Arc::new(Mutex::new(disk)) }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle(&self, disk: &Disk, inode: usize) -> MemFile {
        let handle = Arc::clone(&disk.inodes[inode].handles);
        MemFile { disk: Arc::clone(&self.disk), inode, _handle: handle }
    }

    /// The power fails: a new storage with all that was synced, and of the rest what `fate` decides. It is asked
    /// first about names in the order of their changes, then about each file's length and pieces, in order.
    #[must_use]
    pub fn crash(&self, mut fate: impl FnMut(Unsynced<'_>) -> Fate) -> MemStorage {
        let disk = self.disk();
        let mut names = disk.synced_names.clone();
        for change in &disk.unsynced_names {
            if fate(Unsynced::Name(change.name())) != Fate::Lost {
                change.apply(&mut names);
            }
        }
        let mut inodes = Vec::new();
        for (file, inode) in &mut names {
            let bytes = Arc::new(disk.inodes[*inode].survive(file, &mut fate));
            *inode = inodes.len();
            inodes.push(Inode { current: bytes.clone(), synced: bytes, ..Inode::default() });
        }
        MemStorage::of(Disk {
            inodes,
            synced_names: names.clone(),
            names,
            unsynced_names: Vec::new(),
            identity: disk.identity,
            locked: false,
            faults: Faults { space_left: disk.faults.space_left, ..Faults::default() },
            operations: 0,
        })
    }

    /// The process is killed and the system goes on: a new storage in which everything written can be read, and what
    /// was not synced is not yet durable.
    #[must_use]
    pub fn kill(&self) -> MemStorage {
        let mut disk = self.disk().clone();
        disk.locked = false;
        disk.operations = 0;
        disk.faults = Faults { space_left: disk.faults.space_left, ..Faults::default() };
        MemStorage::of(disk)
    }

    /// Operations so far that change something: creation, writing, renaming, removal, syncs.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// After so many more such operations every one fails. Then [`crash`](Self::crash).
    pub fn power_off_after(&self, operations: u64) {
        self.disk().faults.operations_left = Some(operations);
    }

    /// The `nth` write from now on (1 is the next) fails after `written` bytes.
    pub fn fail_write(&self, nth: u64, written: usize) {
        assert!(nth > 0, "the first write from now on is number 1");
        self.disk().faults.write = Some((nth, written));
    }

    /// The `nth` sync of a file from now on (1 is the next) fails; what it should have made durable stays readable, and
    /// is on disk if `kept`, never to be if not.
    pub fn fail_sync(&self, nth: u64, kept: bool) {
        assert!(nth > 0, "the first sync from now on is number 1");
        self.disk().faults.sync = Some((nth, kept));
    }

    /// New files may take so many bytes in all from now on; `None` for no limit. Removing files gives none back.
    pub fn set_space_left(&self, bytes: Option<u64>) {
        self.disk().faults.space_left = bytes;
    }

    /// Turns a bit of a file over, on disk and as read.
    ///
    /// # Panics
    /// When there is no such file or offset.
    pub fn flip_bit(&self, file: &str, offset: u64, bit: u8) {
        let mut disk = self.disk();
        let inode = disk.names[file];
        let inode = &mut disk.inodes[inode];
        Arc::make_mut(&mut inode.current)[offset as usize] ^= 1 << bit;
        if let Some(byte) = Arc::make_mut(&mut inode.synced).get_mut(offset as usize) {
            *byte ^= 1 << bit;
        }
    }

    /// A file's bytes as read now.
    #[must_use]
    pub fn bytes_of(&self, file: &str) -> Option<Vec<u8>> {
        let disk = self.disk();
        disk.names.get(file).map(|inode| disk.inodes[*inode].current.to_vec())
    }

    /// Up to `length` bytes of a file from `offset` on, as far as they are durable; `None` when its name is not.
    #[must_use]
    pub fn durable_bytes(&self, file: &str, offset: u64, length: usize) -> Option<Vec<u8>> {
        let disk = self.disk();
        let synced = &disk.inodes[*disk.synced_names.get(file)?].synced;
        let start = usize::try_from(offset).ok()?.min(synced.len());
        Some(synced[start..synced.len().min(start + length)].to_vec())
    }

    /// Puts a file in place of what there is, durably.
    pub fn put(&self, file: &str, bytes: Vec<u8>) {
        let mut disk = self.disk();
        let (inode, bytes) = (disk.inodes.len(), Arc::new(bytes));
        disk.inodes.push(Inode { current: bytes.clone(), synced: bytes, ..Inode::default() });
        disk.names.insert(file.to_owned(), inode);
        disk.synced_names.insert(file.to_owned(), inode);
    }

    /// Takes a file away, durably.
    pub fn take(&self, file: &str) {
        let mut disk = self.disk();
        disk.names.remove(file);
        disk.synced_names.remove(file);
    }
}

impl Inode {
    fn survive(&self, file: &str, fate: &mut impl FnMut(Unsynced<'_>) -> Fate) -> Vec<u8> {
        let mut bytes = self.synced.to_vec();
        if self.new && fate(Unsynced::Length(file)) != Fate::Lost {
            bytes = vec![0; self.current.len()];
        }
        for (write, (offset, data)) in self.writes.iter().enumerate() {
            let mut at = 0;
            while at < data.len() {
                let sector_end = (offset + at + 1).next_multiple_of(SECTOR) - offset;
                let piece = &data[at..sector_end.min(data.len())];
                let place = (offset + at) as u64;
                let kept = match fate(Unsynced::Piece { file, write, offset: place, bytes: piece.len() }) {
                    Fate::Kept => piece.len(),
                    Fate::Lost => 0,
                    Fate::Torn(bytes) => bytes.min(piece.len()),
                };
                if kept > 0 {
                    Inode::write(&mut bytes, offset + at, &piece[..kept]);
                }
                at += piece.len();
            }
        }
        bytes
    }
}

/// Gives the lock back.
pub struct MemLock {
    disk: Arc<Mutex<Disk>>,
}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner).locked = false;
    }
}

/// An open file; follows it through renaming.
pub struct MemFile {
    disk: Arc<Mutex<Disk>>,
    inode: usize,
    _handle: Arc<()>,
}

impl MemFile {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Storage for MemStorage {
    type File = MemFile;
    type Lock = MemLock;

    fn lock(&self) -> io::Result<MemLock> {
        let mut disk = self.disk();
        if disk.locked && !on(Mutant::ServeTogether) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        disk.locked = true;
        Ok(MemLock { disk: Arc::clone(&self.disk) })
    }

    fn identity(&self) -> io::Result<[u8; 16]> {
        Ok(self.disk().identity)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.disk().names.keys().cloned().collect())
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<MemFile> {
        let mut disk = self.disk();
        disk.operate()?;
        if let Some(left) = &mut disk.faults.space_left {
            *left = left.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
        }
        let current = Arc::new(vec![0; bytes as usize]);
        if let Ok(inode) = disk.find(name) {
            // As `O_TRUNC` does it: the file of this name is another file no more than before.
            let file = &mut disk.inodes[inode];
            file.current = current;
            file.new = true;
            file.writes.clear();
            return Ok(self.handle(&disk, inode));
        }
        let inode = disk.inodes.len();
        disk.inodes.push(Inode { current, new: true, ..Inode::default() });
        disk.change(NameChange::Create(name.to_owned(), inode));
        Ok(self.handle(&disk, inode))
    }

    fn open(&self, name: &str) -> io::Result<MemFile> {
        let disk = self.disk();
        let inode = disk.find(name)?;
        Ok(self.handle(&disk, inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        disk.find(from)?;
        disk.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        disk.find(name)?;
        disk.change(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        disk.synced_names = disk.names.clone();
        disk.unsynced_names.clear();
        disk.free();
        Ok(())
    }
}

impl StorageFile for MemFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk().inodes[self.inode].current.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let disk = self.disk();
        let current = &disk.inodes[self.inode].current;
        let at = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = at.checked_add(buffer.len()).and_then(|end| current.get(at..end));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        let fault = due(&mut disk.faults.write);
        let written = fault.map_or(bytes, |written| &bytes[..written.min(bytes.len())]);
        let inode = &mut disk.inodes[self.inode];
        Inode::write(Arc::make_mut(&mut inode.current), offset as usize, written);
        inode.writes.push((offset as usize, written.to_vec()));
        if fault.is_some() { Err(io_error()) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk();
        disk.operate()?;
        let fault = due(&mut disk.faults.sync);
        let inode = &mut disk.inodes[self.inode];
        match fault {
            None => inode.sync(),
            Some(kept) => {
                if kept {
                    inode.sync();
                }
                inode.writes.clear();
                return Err(io_error());
            }
        }
        Ok(())
    }
}
