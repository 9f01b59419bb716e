//! A storage in whose steps another thread's work comes: what runs beside each other can interleave in many ways, and here
//! each of them can be had on purpose.
//!
//! It changes nothing itself; every call goes to the disk in memory. A step is a call that changes something.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use journal::memory::{MemFile, MemLock, MemStorage};
use journal::{Storage, StorageFile};

/// The disk, and what comes in before one of the steps.
pub(crate) struct Interrupted {
    disk: Arc<MemStorage>,
    steps: Arc<Mutex<Steps>>,
}

struct Steps {
    left: u64,
    other: Option<Box<dyn FnOnce() + Send>>,
}

impl Interrupted {
    /// `other` is called before the step `before`, counted from 0.
    pub(crate) fn new(disk: &Arc<MemStorage>, before: u64, other: impl FnOnce() + Send + 'static) -> Interrupted {
        let steps = Steps { left: before, other: Some(Box::new(other)) };
        Interrupted { disk: Arc::clone(disk), steps: Arc::new(Mutex::new(steps)) }
    }

    /// Calls the other now, if its step did not come.
    pub(crate) fn interrupt(&self) {
        if let Some(other) = self.steps.lock().unwrap_or_else(PoisonError::into_inner).other.take() {
            other();
        }
    }
}

/// Counts a step, and lets the other come in before it when it is the one.
fn step(steps: &Mutex<Steps>) {
    let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
    if steps.left > 0 {
        steps.left -= 1;
    } else if let Some(other) = steps.other.take() {
        other();
    }
}

/// An open file of such a disk.
pub(crate) struct File {
    file: MemFile,
    steps: Arc<Mutex<Steps>>,
}

impl Storage for Interrupted {
    type File = File;
    type Lock = MemLock;

    fn lock(&self) -> io::Result<MemLock> {
        self.disk.lock()
    }

    fn identity(&self) -> io::Result<[u8; 16]> {
        self.disk.identity()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<File> {
        step(&self.steps);
        Ok(File { file: self.disk.create(name, bytes)?, steps: Arc::clone(&self.steps) })
    }

    fn open(&self, name: &str) -> io::Result<File> {
        Ok(File { file: self.disk.open(name)?, steps: Arc::clone(&self.steps) })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        step(&self.steps);
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        step(&self.steps);
        self.disk.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        step(&self.steps);
        self.disk.sync_dir()
    }
}

impl StorageFile for File {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        step(&self.steps);
        self.file.write_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        step(&self.steps);
        self.file.sync_data()
    }
}
