//! The witness: a file outside the journal's directory that remembers how far the journal was, so that an older copy of the
//! whole directory is noticed (K5). The journal's own high-water mark is in the directory and is copied back with it.
//!
//! Not a backup, and not the truth: the journal decides about money, this decides only whether it is the journal. Invariant:
//! what it says was durable in the journal before it was written, so the newest journal is never refused after a crash.
//!
//! What it cannot see: a snapshot of a whole machine put back, witness and journal together. A witness on another disk, or on
//! another machine's file system, sees that too.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant, UNIX_EPOCH};

use partition::Found;
use serde::{Deserialize, Serialize};
use switch::Lsn;

use crate::clock;
use crate::config::JournalSettings;
use crate::shell::worker::Worker;

/// How old what it says may be while the daemon runs.
const FOLLOW_EVERY: Duration = Duration::from_secs(10);

/// How long new keys wait for it.
const WRITING_PATIENCE: Duration = Duration::from_secs(1);

/// What is in the file, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    /// The journal's identity, hex.
    journal: String,
    /// A record that is durable, by LSN: there may be more, never fewer.
    last: u64,
    /// How often the journal was started.
    starts: u32,
    /// Written after a clean stop: `last` is the last.
    clean: bool,
    /// When the file `mark` was made in its directory, nanoseconds since 1970: a copy was made later. Absent where the file
    /// system does not say.
    made_ns: Option<u64>,
    /// Check values of every PAN key that sealed.
    keys: Vec<String>,
    /// When this was written, milliseconds since 1970.
    at_ms: u64,
    /// An operator takes whatever journal is found at the next start.
    adopted: Option<Adopted>,
}

impl Seen {
    /// This PAN key seals; whether that is news.
    fn remember(&mut self, key: (u16, [u8; 8])) -> bool {
        let name = key_name(key);
        let new = !self.keys.contains(&name);
        if new {
            self.keys.push(name);
        }
        new
    }
}

/// Who decided that a journal is to be taken, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Adopted {
    who: String,
    why: String,
}

/// Why a journal is not taken; for [`refusal`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum Refused {
    /// There is a journal and no witness.
    Unknown,
    /// It is another journal than the witness saw.
    Another,
    /// It ends before what was durable.
    Older { ends: u64, seen: u64 },
    /// It was started less often than the witness saw.
    FewerStarts { starts: u32, seen: u32 },
    /// It is in files that were made after those that the witness saw, and it is not known to be complete.
    Copy,
    /// Taken by an operator, but the key that seals was in use in a life that may be lost: a nonce could come twice.
    OldKey { number: u16 },
}

/// What a witness knows a journal by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// As [`Found::identity`].
    pub(crate) identity: [u8; 16],
    /// As [`Found::last`].
    pub(crate) last: Lsn,
    /// As [`Found::epoch`].
    pub(crate) epoch: u32,
}

/// Whether a journal is the one that the witness saw, or is taken by an operator with a key that never sealed.
fn judge(seen: Option<&Seen>, found: &Found, made_ns: Option<u64>) -> Result<(), Refused> {
    if let Some(seen) = seen.filter(|seen| seen.adopted.is_some()) {
        let sealed_before = found.keys.contains(&found.seals) || seen.keys.contains(&key_name(found.seals));
        return if sealed_before { Err(Refused::OldKey { number: found.seals.0 }) } else { Ok(()) };
    }
    agrees(seen, Extent { identity: found.identity, last: found.last, epoch: found.epoch }, made_ns)
}

/// Whether a journal is the one that the witness saw.
fn agrees(seen: Option<&Seen>, found: Extent, made_ns: Option<u64>) -> Result<(), Refused> {
    let Some(seen) = seen else {
        return if found.epoch == 0 { Ok(()) } else { Err(Refused::Unknown) };
    };
    if seen.journal != hex(&found.identity) {
        return Err(Refused::Another);
    }
    if found.last.0 < seen.last {
        return Err(Refused::Older { ends: found.last.0, seen: seen.last });
    }
    if found.epoch < seen.starts {
        return Err(Refused::FewerStarts { starts: found.epoch, seen: seen.starts });
    }
    let complete = seen.clean && found.last.0 == seen.last;
    match (seen.made_ns, made_ns) {
        (Some(then), Some(now)) if then != now && !complete => Err(Refused::Copy),
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// The sentence for a person: what was found, how that is known, and what to do.
fn refusal(refused: &Refused, dir: &Path, file: &Path, written: &str) -> String {
    let (dir, file) = (dir.display(), file.display());
    let adopt = "docs/OPERATIONS.md, \"Backup and restore\", says what is lost otherwise and when to use `switchd adopt`";
    match refused {
        Refused::Unknown => format!(
            "nothing says that the journal in {dir} is the newest: its witness {file} is missing (K5); \
             next: put the witness back; if there is none, {adopt}"
        ),
        Refused::Another => format!(
            "the journal in {dir} is another one than {file} saw {written} (K5); \
             next: put that one back; {adopt}"
        ),
        Refused::Older { ends, seen } => format!(
            "the journal in {dir} is an older copy: it ends with record {ends}, and record {seen} was durable {written}, says \
             {file} (K5); next: put the newest journal back; {adopt}"
        ),
        Refused::FewerStarts { starts, seen } => format!(
            "the journal in {dir} is an older copy: it was started {starts} times, and {written} it had been started {seen} times, \
             says {file} (K5); next: put the newest journal back; {adopt}"
        ),
        Refused::Copy => format!(
            "the journal in {dir} is a copy, made after {file} saw the journal run {written}, and may lack its end (K5); \
             next: put the journal itself back; {adopt}"
        ),
        Refused::OldKey { number } => format!(
            "the journal in {dir} was adopted, and PAN key {number} seals still, which may have sealed in what the copy lacks (K5); \
             next: put a line `pan NUMBER KEY` with a number never used above it in the key file, with a KEY of \
             `openssl rand -hex 32`, and keep the other lines"
        ),
    }
}

/// The file, what it said at the start, and the thread that writes it.
pub(crate) struct Witness {
    file: PathBuf,
    dir: PathBuf,
    /// What the file said; then what it is to say next.
    seen: Option<Seen>,
    worker: Worker,
    wrote: Instant,
    /// The log has said that it cannot be written.
    failing: Arc<AtomicBool>,
}

impl Witness {
    /// Reads the file, and refuses a directory without a journal where there was one: its disk may not be mounted.
    ///
    /// # Errors
    /// For a person.
    pub(crate) fn open(settings: &JournalSettings) -> Result<Self, String> {
        let (file, dir) = (settings.witness.clone(), settings.dir.clone());
        let seen = read(&file)?;
        let expected = seen.as_ref().is_some_and(|seen| seen.adopted.is_none());
        if expected && !mark(&dir).exists() {
            return Err(format!(
                "there is no journal in {}, and {} saw one there {} (K5); next: mount its disk or put it back; if it is gone for \
                 good, docs/OPERATIONS.md, \"Backup and restore\"",
                dir.display(),
                file.display(),
                age(seen.as_ref())
            ));
        }
        let worker = Worker::start("witness").map_err(|error| format!("cannot start a thread: {error}"))?;
        Ok(Witness { file, dir, seen, worker, wrote: Instant::now(), failing: Arc::default() })
    }

    /// Whether to take the journal that was found; its sentence if not.
    ///
    /// # Errors
    /// For a person.
    pub(crate) fn takes(&mut self, found: &Found) -> Result<(), String> {
        let made_ns = made_ns(&self.dir);
        judge(self.seen.as_ref(), found, made_ns)
            .map_err(|refused| refusal(&refused, &self.dir, &self.file, &age(self.seen.as_ref())))?;
        let before = self.seen.take().unwrap_or_default();
        if let Some(Adopted { who, why }) = &before.adopted {
            tracing::warn!(target: "audit", who, why, last_record = found.last.0, "a journal was adopted (K5)");
        }
        let (journal, keys) = (hex(&found.identity), before.keys);
        let mut seen = Seen { journal, last: found.last.0, starts: found.epoch, made_ns, keys, ..Seen::default() };
        seen.remember(found.seals);
        self.seen = Some(seen);
        Ok(())
    }

    /// This life began: its restart is durable, as record `last`.
    pub(crate) fn started(&mut self, last: u64, starts: u32) {
        if let Some(seen) = &mut self.seen {
            seen.starts = starts;
            // A journal that was just made has its files only now.
            seen.made_ns = made_ns(&self.dir);
        }
        self.write(last, false);
    }

    /// This PAN key is about to seal, in a journal that is durable up to record `last`. Waits until that is written, and not
    /// for ever: a disk that hangs stops no movement.
    pub(crate) fn seals(&mut self, key: (u16, [u8; 8]), last: u64) {
        if self.seen.as_mut().is_some_and(|seen| seen.remember(key)) {
            let written = self.write_in_turn(last, false);
            if written.recv_timeout(WRITING_PATIENCE).is_err() {
                tracing::warn!(file = %self.file.display(), "the witness is slow to be written, and does not know the new PAN key yet");
            }
        }
    }

    /// Says now and then, on a thread of its own, how far the journal is. Cheap otherwise.
    pub(crate) fn follow(&mut self, last: u64) {
        let said = self.seen.as_ref().is_none_or(|seen| seen.last == last) && !self.failing.load(Ordering::Relaxed);
        if said || self.wrote.elapsed() < FOLLOW_EVERY {
            return;
        }
        self.wrote = Instant::now();
        let Some(seen) = self.next(last, false) else { return };
        let (file, failing) = (self.file.clone(), Arc::clone(&self.failing));
        self.worker.run(move || say(&file, &seen, &failing));
    }

    /// After a clean stop: this is all of it.
    pub(crate) fn stopped(mut self, last: u64) {
        if self.write_in_turn(last, true).recv_timeout(WRITING_PATIENCE).is_err() {
            tracing::warn!(file = %self.file.display(), "the witness is slow to be written, and does not know of the clean stop");
        }
    }

    /// Writes on the thread, after what it has to write already; says when that is done.
    fn write_in_turn(&mut self, last: u64, clean: bool) -> Receiver<()> {
        let (file, failing, seen) = (self.file.clone(), Arc::clone(&self.failing), self.next(last, clean));
        let (done, wait) = mpsc::channel();
        self.worker.run(move || {
            if let Some(seen) = seen {
                say(&file, &seen, &failing);
            }
            // Nobody may wait any more.
            let _ = done.send(());
        });
        wait
    }

    fn write(&mut self, last: u64, clean: bool) {
        if let Some(seen) = self.next(last, clean) {
            say(&self.file, &seen, &self.failing);
        }
    }

    fn next(&mut self, last: u64, clean: bool) -> Option<Seen> {
        let seen = self.seen.as_mut()?;
        (seen.last, seen.clean, seen.at_ms) = (last, clean, clock::now().wall_ms);
        Some(seen.clone())
    }
}

/// Writes, and says once when that fails, and once when it works again.
fn say(file: &Path, seen: &Seen, failing: &AtomicBool) {
    let written = write(file, seen);
    let failed = failing.swap(written.is_err(), Ordering::Relaxed);
    metrics::counter!("switchd_witness_failures_total").increment(u64::from(written.is_err()));
    match written {
        Err(error) if !failed => tracing::error!(
            file = %file.display(), %error,
            "the witness cannot be written: an older copy of the journal would not be noticed (K5); next: make room or mend its disk"
        ),
        Ok(()) if failed => tracing::warn!(file = %file.display(), "the witness is written again"),
        Ok(()) | Err(_) => {}
    }
}

/// Decides that whatever journal is found at the next start is taken. The daemon must not run. `found` is the journal that is
/// there, if it can be read.
///
/// # Errors
/// For a person; also where the next start takes the journal as it is.
pub(crate) fn adopt(settings: &JournalSettings, found: Option<Extent>, who: &str, why: &str) -> Result<String, String> {
    let seen = read(&settings.witness)?;
    if taken_as_it_is(settings, seen.as_ref(), found) {
        return Err(format!(
            "nothing is to be adopted: {} does not speak against what is in {}; next: start the daemon",
            settings.witness.display(),
            settings.dir.display()
        ));
    }
    let known = seen.as_ref().map_or_else(
        || "there was no witness".to_owned(),
        |seen| format!("the witness saw record {} and start {} {}", seen.last, seen.starts, age(Some(seen))),
    );
    let adopted = Some(Adopted { who: who.to_owned(), why: why.to_owned() });
    let at_ms = clock::now().wall_ms;
    write(&settings.witness, &Seen { adopted, at_ms, ..seen.unwrap_or_default() })
        .map_err(|error| format!("cannot write {}: {error}", settings.witness.display()))?;
    Ok(known)
}

/// Whether the next start takes the journal without a decision. One that was decided already may be decided anew.
fn taken_as_it_is(settings: &JournalSettings, seen: Option<&Seen>, found: Option<Extent>) -> bool {
    let decided = seen.is_some_and(|seen| seen.adopted.is_some());
    match found {
        Some(found) => !decided && agrees(seen, found, made_ns(&settings.dir)).is_ok(),
        None => seen.is_none() && !mark(&settings.dir).exists(),
    }
}

fn read(file: &Path) -> Result<Option<Seen>, String> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read the witness {}: {error}", file.display())),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        let next = "next: put it back from its last copy, or remove it and read docs/OPERATIONS.md, \"Backup and restore\"";
        format!("{} is not a witness (K5): {error}; {next}", file.display())
    })
}

/// Whole or not at all, and durable.
fn write(file: &Path, seen: &Seen) -> io::Result<()> {
    let part = file.with_extension("part");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    out.write_all(format!("{}\n", serde_json::to_string(seen)?).as_bytes())?;
    out.sync_all()?;
    fs::rename(&part, file)?;
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir)?.sync_all()
}

/// The journal's high-water mark: made once in a journal's life, and written in place ever after.
fn mark(dir: &Path) -> PathBuf {
    dir.join("mark")
}

fn made_ns(dir: &Path) -> Option<u64> {
    let made = fs::metadata(mark(dir)).ok()?.created().ok()?;
    u64::try_from(made.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn key_name((number, check): (u16, [u8; 8])) -> String {
    format!("{number}:{}", hex(&check))
}

/// "3 hours ago".
fn age(seen: Option<&Seen>) -> String {
    let seconds = seen.map_or(0, |seen| clock::now().wall_ms.saturating_sub(seen.at_ms) / 1000);
    let (count, unit) = match seconds {
        0..=119 => (seconds, "seconds"),
        120..=7_199 => (seconds / 60, "minutes"),
        7_200..=172_799 => (seconds / 3_600, "hours"),
        172_800.. => (seconds / 86_400, "days"),
    };
    format!("{count} {unit} ago")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: (u16, [u8; 8]) = (1, [1; 8]);
    const NEW_KEY: (u16, [u8; 8]) = (2, [2; 8]);

    fn found(last: u64, epoch: u32) -> Found {
        Found { identity: [7; 16], last: Lsn(last), epoch, keys: vec![(0, [9; 8]), KEY], seals: KEY }
    }

    fn seen(last: u64, starts: u32, clean: bool) -> Seen {
        let journal = hex(&[7; 16]);
        Seen { journal, last, starts, clean, made_ns: Some(5), keys: vec![key_name(KEY)], ..Seen::default() }
    }

    fn adopted(seen: Seen) -> Seen {
        Seen { adopted: Some(Adopted { who: "ann".into(), why: "ticket 7".into() }), ..seen }
    }

    #[test]
    fn k5_the_journal_that_the_witness_saw_is_taken_and_nothing_else() {
        let check = |seen: Option<Seen>, found: Found, made_ns, expected: Result<(), Refused>| {
            assert_eq!(judge(seen.as_ref(), &found, made_ns), expected, "{seen:?} {found:?} {made_ns:?}");
        };
        // A first start, and a journal that nobody knows.
        check(None, found(0, 0), None, Ok(()));
        check(None, found(1, 1), None, Err(Refused::Unknown));
        // After a crash the journal has as much or more; after a clean stop exactly as much.
        check(Some(seen(40, 3, false)), found(40, 3), Some(5), Ok(()));
        check(Some(seen(40, 3, false)), found(90, 4), Some(5), Ok(()));
        check(Some(seen(40, 3, true)), found(40, 3), Some(5), Ok(()));
        // Older copies.
        check(Some(seen(40, 3, false)), found(39, 3), Some(5), Err(Refused::Older { ends: 39, seen: 40 }));
        check(Some(seen(40, 3, true)), found(12, 2), Some(8), Err(Refused::Older { ends: 12, seen: 40 }));
        check(Some(seen(40, 3, false)), found(41, 2), Some(5), Err(Refused::FewerStarts { starts: 2, seen: 3 }));
        // A copy that may lack what came after the witness, one that is complete, and a file system that does not say.
        check(Some(seen(40, 3, false)), found(41, 3), Some(8), Err(Refused::Copy));
        check(Some(seen(40, 3, true)), found(40, 3), Some(8), Ok(()));
        check(Some(seen(40, 3, true)), found(41, 3), Some(8), Err(Refused::Copy));
        check(Some(seen(40, 3, false)), found(41, 3), None, Ok(()));
        // Another journal, an empty one too.
        check(Some(seen(40, 3, false)), Found { identity: [8; 16], ..found(90, 4) }, Some(5), Err(Refused::Another));
        check(Some(seen(40, 3, false)), Found { identity: [8; 16], ..found(0, 0) }, Some(5), Err(Refused::Another));
    }

    #[test]
    fn section_10_an_adopted_journal_seals_with_a_key_that_never_sealed() {
        let check = |seen: Seen, found: Found, expected: Result<(), Refused>| {
            assert_eq!(judge(Some(&seen), &found, Some(8)), expected, "{seen:?} {found:?}");
        };
        check(adopted(seen(40, 3, false)), found(12, 2), Err(Refused::OldKey { number: 1 }));
        check(adopted(Seen::default()), found(12, 2), Err(Refused::OldKey { number: 1 }));
        check(adopted(seen(40, 3, false)), Found { seals: NEW_KEY, ..found(12, 2) }, Ok(()));
        // The copy is older than the newest key; the witness is not.
        let later = Seen { keys: vec![key_name(KEY), key_name(NEW_KEY)], ..seen(40, 3, false) };
        check(adopted(later), Found { seals: NEW_KEY, ..found(12, 2) }, Err(Refused::OldKey { number: 2 }));
        // A new journal in place of one that is lost.
        let empty = Found { identity: [8; 16], keys: vec![], ..found(0, 0) };
        check(adopted(seen(40, 3, false)), empty.clone(), Err(Refused::OldKey { number: 1 }));
        check(adopted(seen(40, 3, false)), Found { seals: NEW_KEY, ..empty }, Ok(()));
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let all = [
            Refused::Unknown,
            Refused::Another,
            Refused::Older { ends: 1, seen: 2 },
            Refused::FewerStarts { starts: 1, seen: 2 },
            Refused::Copy,
            Refused::OldKey { number: 1 },
        ];
        for refused in all {
            let text = refusal(&refused, Path::new("/j"), Path::new("/j.witness"), "2 hours ago");
            assert!(text.contains("next: ") && text.contains("/j"), "{text}");
        }
    }

    #[test]
    fn k5_what_could_not_be_written_is_tried_again_though_nothing_new_happens() {
        let dir = std::env::temp_dir().join(format!("switchd-witness-again-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("journal.witness");
        // In the way of the file that is renamed.
        let in_the_way = file.with_extension("part");
        fs::create_dir(&in_the_way).unwrap();
        let mut witness = Witness {
            file: file.clone(),
            dir: dir.clone(),
            seen: Some(seen(1, 1, false)),
            worker: Worker::start("witness").unwrap(),
            wrote: Instant::now(),
            failing: Arc::default(),
        };
        witness.started(40, 3);
        assert!(witness.failing.load(Ordering::Relaxed) && !file.exists());
        fs::remove_dir(&in_the_way).unwrap();
        let long_ago = Instant::now().checked_sub(FOLLOW_EVERY).unwrap();
        let follow = |witness: &mut Witness, last| {
            witness.wrote = long_ago;
            witness.follow(last);
            // Behind it on the same thread.
            let (done, wait) = std::sync::mpsc::channel();
            witness.worker.run(move || done.send(()).unwrap());
            wait.recv().unwrap();
            read(&file).unwrap().map(|seen| seen.last)
        };
        assert_eq!(follow(&mut witness, 40), Some(40));
        fs::remove_file(&file).unwrap();
        assert_eq!(follow(&mut witness, 40), None, "it is said, and nothing is written for nothing");
        assert_eq!(follow(&mut witness, 41), Some(41));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_written_is_read_and_a_file_that_is_no_witness_is_refused() {
        let dir = std::env::temp_dir().join(format!("switchd-witness-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let file = dir.join("journal.witness");
        assert_eq!(read(&file), Ok(None));
        let seen = adopted(seen(40, 3, true));
        write(&file, &seen).unwrap();
        assert_eq!(read(&file), Ok(Some(seen)));
        fs::write(&file, "{}").unwrap();
        assert!(read(&file).unwrap_err().contains("is not a witness"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
