//! The directory of files that a journal lives in, as a trait, and the real one.
//!
//! The trait says what the journal relies on; `memory` is the implementation that loses exactly what it may lose.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, FlockOperation};

use crate::writer::write_zeros;

/// A directory of files. Names are plain, without separators.
pub trait Storage: Send + Sync + 'static {
    /// An open file.
    type File: StorageFile;
    /// Held while the journal is open; gives the lock back when dropped.
    type Lock: Send + 'static;

    /// Takes the exclusive lock of the directory.
    ///
    /// # Errors
    /// `WouldBlock` when it is held elsewhere.
    fn lock(&self) -> io::Result<Self::Lock>;

    /// 16 bytes that no other journal has; asked for once in a journal's life.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    fn identity(&self) -> io::Result<[u8; 16]>;

    /// The names of all files, in any order.
    ///
    /// # Errors
    /// As the system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file of `bytes` zeros whose blocks are allocated, so that writing inside it needs no space.
    /// An existing one is truncated and made so; its name needs no `sync_dir` then. On an error nothing is left behind.
    ///
    /// # Errors
    /// `StorageFull` when there is no space.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Self::File>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Renames a file, replacing one of the new name. Durable after `sync_dir`.
    ///
    /// # Errors
    /// As the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after `sync_dir`.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes what was created, renamed and removed durable.
    ///
    /// # Errors
    /// As the system says; what was done since the last success may be lost.
    fn sync_dir(&self) -> io::Result<()>;
}

/// One open file. Reads and writes may come from several threads at once.
pub trait StorageFile: Send + Sync + 'static {
    /// The file's length in bytes.
    ///
    /// # Errors
    /// As the system says.
    fn bytes(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. Durable after `sync_data`.
    ///
    /// # Errors
    /// As the system says; any part may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written, and the length, durable (`fdatasync`).
    ///
    /// # Errors
    /// As the system says; what was written since the last success may be lost, even if it can still be read and a
    /// later sync succeeds.
    fn sync_data(&self) -> io::Result<()>;
}

/// A directory of the file system. Files are made with mode 0600, the directory with 0700.
pub struct FsStorage {
    path: PathBuf,
    dir: File,
}

impl FsStorage {
    /// Opens the directory, and makes it when there is none (its parent must exist).
    ///
    /// # Errors
    /// As the system says.
    pub fn new(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {
                let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                File::open(parent)?.sync_all()?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let dir = File::open(&path)?;
        Ok(FsStorage { path, dir })
    }

    fn fill(file: &File, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            // A file system that cannot reserve: what is written is allocated.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(file, 0, bytes),
            Err(error) => Err(error.into()),
        }
    }
}

impl Storage for FsStorage {
    type File = File;
    type Lock = File;

    fn lock(&self) -> io::Result<File> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(self.path.join("lock"))?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    }

    fn identity(&self) -> io::Result<[u8; 16]> {
        let mut identity = [0; 16];
        let mut filled = 0;
        while filled < identity.len() {
            filled += rustix::rand::getrandom(&mut identity[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(identity)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            // A name that is not text is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<File> {
        let path = self.path.join(name);
        let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).mode(0o600).open(&path)?;
        match FsStorage::fill(&file, bytes) {
            Ok(()) => Ok(file),
            Err(error) => {
                std::fs::remove_file(&path)?;
                Err(error)
            }
        }
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.path.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.dir.sync_all()
    }
}

impl StorageFile for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}
