//! A journal's directory that can be read and not written, which says on standard error how far a long reading is.
//!
//! Invariant: no file is made, opened for writing, renamed or removed.

use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use journal::{Storage, StorageFile};
use rustix::fs::FlockOperation;

/// A reading that is shorter says nothing.
const QUIET: Duration = Duration::from_secs(2);
/// Between two lines of progress, where standard error is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);
/// The same on a terminal, where a line takes the place of the one before.
const BETWEEN_UPDATES: Duration = Duration::from_millis(250);

/// See the module.
pub(crate) struct ReadOnly {
    dir: PathBuf,
    progress: Arc<Progress>,
}

/// How far a reading is.
struct Progress {
    total: u64,
    read: AtomicU64,
    shown: Mutex<Shown>,
    terminal: bool,
}

struct Shown {
    what: &'static str,
    since: Instant,
    last: Option<Instant>,
}

/// A file that can be read.
pub(crate) struct ReadFile {
    file: File,
    progress: Arc<Progress>,
}

impl ReadOnly {
    /// The directory, which must be there.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        let mut total = 0;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("segment-") {
                total += entry.metadata()?.len();
            }
        }
        let shown = Mutex::new(Shown { what: "read", since: Instant::now(), last: None });
        let progress = Progress { total, read: AtomicU64::new(0), shown, terminal: io::stderr().is_terminal() };
        Ok(ReadOnly { dir: dir.to_owned(), progress: Arc::new(progress) })
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.progress.total
    }

    /// Whether a process holds the journal's lock.
    pub(crate) fn served(&self) -> bool {
        let lock = File::open(self.dir.join("lock"));
        lock.is_ok_and(|lock| rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared).is_err())
    }

    /// A reading of everything begins.
    pub(crate) fn begin(&self, what: &'static str) {
        self.progress.read.store(0, Ordering::Relaxed);
        *self.progress.shown() = Shown { what, since: Instant::now(), last: None };
    }

    /// It has ended.
    pub(crate) fn end(&self) {
        if self.progress.terminal && self.progress.shown().last.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

impl Progress {
    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, bytes: u64) {
        let read = self.read.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut shown = self.shown();
        let between = if self.terminal { BETWEEN_UPDATES } else { BETWEEN_LINES };
        if shown.since.elapsed() < QUIET || shown.last.is_some_and(|last| last.elapsed() < between) {
            return;
        }
        shown.last = Some(Instant::now());
        let percent = (read * 100).checked_div(self.total).unwrap_or(100).min(100);
        let (begin, end) = if self.terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        // Nobody who reads this is a reason to stop.
        let _ = write!(io::stderr(), "{begin}{percent:>3} % {} of {} bytes{end}", shown.what, self.total);
    }
}

fn refused() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "this command only reads")
}

impl Storage for ReadOnly {
    type File = ReadFile;
    type Lock = ();

    fn lock(&self) -> io::Result<()> {
        Err(refused())
    }

    fn identity(&self) -> io::Result<[u8; 16]> {
        Err(refused())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            // A name that is not text is none of a journal's.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn create(&self, _name: &str, _bytes: u64) -> io::Result<ReadFile> {
        Err(refused())
    }

    fn open(&self, name: &str) -> io::Result<ReadFile> {
        Ok(ReadFile { file: File::open(self.dir.join(name))?, progress: Arc::clone(&self.progress) })
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Err(refused())
    }

    fn remove(&self, _name: &str) -> io::Result<()> {
        Err(refused())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Err(refused())
    }
}

impl StorageFile for ReadFile {
    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.progress.add(buffer.len() as u64);
        StorageFile::read_at(&self.file, buffer, offset)
    }

    fn write_at(&self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
        Err(refused())
    }

    fn sync_data(&self) -> io::Result<()> {
        Err(refused())
    }
}
