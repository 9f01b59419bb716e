//! The keys that protect cards, and what they do (section 10): seal a PAN for a record, open it for a reversal, make the
//! value by which equal cards are known.
//!
//! A nonce is the start epoch (4 bytes, durable, one more at each start) and a counter (8 bytes): never used twice with
//! one key, as long as a restored backup is given a new key.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use iso8583::Pan;
use switch::{Card, CardHmac, Movement, SEALED_BYTES, SealedPan};
use zeroize::{Zeroize, Zeroizing};

const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// A PAN before sealing: its length, its digits, zeros.
const BLOCK_BYTES: usize = SEALED_BYTES - TAG_BYTES;

/// What is wrong with a key file.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It, or its directory, cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file or the directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Others than its owner may read it.
    #[error("{path} may be read by others (mode {mode:o}); next: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line is not what a key file holds.
    #[error("{path} line {line}: expected `pan NUMBER 64-hex-digits`, each number once, or `hmac 64-hex-digits`")]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
    /// A key is not there.
    #[error("{path} holds no {what} key; next: make keys with `switchd init`")]
    Missing {
        /// The file.
        path: PathBuf,
        /// "pan" or "hmac".
        what: &'static str,
    },
    /// No number is left for a new PAN key.
    #[error("{path}: every number above its PAN keys is in use; next: restore a file whose numbers are lower")]
    Numbers {
        /// The file.
        path: PathBuf,
    },
}

/// The keys of one partition, the newest of each kind first: of those for PANs the first seals and all open; under the first
/// look-up key (HMAC) cards are compared, and under all of them a person finds what was recorded.
pub struct Keys {
    pan: Vec<(u16, [u8; KEY_BYTES])>,
    hmac: Vec<[u8; KEY_BYTES]>,
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.pan.iter_mut().for_each(|(_, key)| key.zeroize());
        self.hmac.iter_mut().for_each(Zeroize::zeroize);
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<u16> = self.pan.iter().map(|(id, _)| *id).collect();
        write!(f, "Keys(pan {ids:?}, {} hmac)", self.hmac.len())
    }
}

impl Keys {
    /// Given keys: PAN keys by number, and look-up keys, the newest first. For a simulation, which must be the same twice.
    ///
    /// # Panics
    /// If one kind is missing.
    pub fn new(pan: Vec<(u16, [u8; KEY_BYTES])>, hmac: Vec<[u8; KEY_BYTES]>) -> Keys {
        assert!(!pan.is_empty() && !hmac.is_empty(), "a key of each kind");
        Keys { pan, hmac }
    }

    /// New random keys.
    ///
    /// # Panics
    /// If the system has no randomness.
    pub fn generate() -> Keys {
        let random = SystemRandom::new();
        let key = || {
            let mut key = [0; KEY_BYTES];
            random.fill(&mut key).expect("the system gives random bytes");
            key
        };
        Keys { pan: vec![(1, key())], hmac: vec![key()] }
    }

    /// The same keys with a new PAN key before them, whose number is above all others; `None` when there is no such number.
    ///
    /// # Panics
    /// If the system has no randomness.
    pub fn with_new_pan_key(&self) -> Option<Keys> {
        let number = self.pan.iter().map(|(number, _)| *number).max().unwrap_or(0).checked_add(1)?;
        let new = Keys::generate();
        let pan = new.pan.iter().map(|(_, key)| (number, *key)).chain(self.pan.iter().copied()).collect();
        Some(Keys { pan, hmac: self.hmac.clone() })
    }

    /// The same keys with a new look-up key before them.
    ///
    /// # Panics
    /// If the system has no randomness.
    #[must_use]
    pub fn with_new_look_up_key(&self) -> Keys {
        let new = Keys::generate();
        Keys { pan: self.pan.clone(), hmac: new.hmac.iter().chain(&self.hmac).copied().collect() }
    }

    /// What each PAN key is known by: its number, and a value that changes with the key and tells nothing of it. The first
    /// seals, all of them open.
    pub fn pan_checks(&self) -> Vec<(u16, [u8; 8])> {
        self.pan.iter().map(|(number, key)| (*number, check(key))).collect()
    }

    /// What each look-up key is known by. Cards are compared under the first.
    pub fn look_up_checks(&self) -> Vec<[u8; 8]> {
        self.hmac.iter().map(check).collect()
    }

    /// The first of these that is not among them, by number (0 for a look-up key) and check value.
    pub(crate) fn lack(&self, known: &[(u16, [u8; 8])]) -> Option<u16> {
        let checks = self.checks();
        known.iter().find(|key| !checks.contains(key)).map(|(number, _)| *number)
    }

    /// Changes a key file: what `change` makes of the keys that are in it is written in one piece, so that a crash leaves the
    /// old or the new. Who changes it meanwhile waits, by a lock on the directory, and no key is lost. Behind a link, the file
    /// that the link leads to is changed.
    ///
    /// # Errors
    /// [`KeyError`] of reading and writing; [`KeyError::Numbers`] when `change` has no number for a key.
    pub fn change(path: &Path, change: impl FnOnce(&Keys) -> Option<Keys>) -> Result<Keys, KeyError> {
        let path = fs::canonicalize(path).map_err(|error| KeyError::Io { path: path.into(), error })?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        let in_dir = |error| KeyError::Io { path: dir.into(), error };
        let lock = fs::File::open(dir).and_then(|dir| dir.lock().map(|()| dir)).map_err(in_dir)?;
        let keys = change(&Keys::read(&path)?).ok_or_else(|| KeyError::Numbers { path: path.clone() })?;
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        let in_new = |error| KeyError::Io { path: new.clone(), error };
        // Of an attempt that failed: whoever makes one holds the lock.
        match fs::remove_file(&new) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(in_new(error)),
        }
        keys.write(&new)?;
        fs::rename(&new, &path).map_err(in_new)?;
        lock.sync_all().map_err(in_dir)?;
        Ok(keys)
    }

    /// Writes a new file that only its owner may read. It must not exist.
    ///
    /// # Errors
    /// [`KeyError::Io`].
    pub fn write(&self, path: &Path) -> Result<(), KeyError> {
        let failed = |error| KeyError::Io { path: path.into(), error };
        let mut text = Zeroizing::new(String::with_capacity(256));
        for (id, key) in &self.pan {
            text.push_str(&format!("pan {id} "));
            push_hex(&mut text, key);
        }
        for key in &self.hmac {
            text.push_str("hmac ");
            push_hex(&mut text, key);
        }
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
    }

    /// Numbers (0 for a look-up key) and check values of all keys, as the core takes them.
    pub(crate) fn checks(&self) -> Vec<(u16, [u8; 8])> {
        self.look_up_checks().into_iter().map(|check| (0, check)).chain(self.pan_checks()).collect()
    }

    /// Reads a key file: `pan NUMBER HEX` lines and `hmac HEX` lines, the newest of each kind first.
    ///
    /// # Errors
    /// [`KeyError`]; no error holds key material.
    pub fn read(path: &Path) -> Result<Keys, KeyError> {
        let failed = |error| KeyError::Io { path: path.into(), error };
        let mut file = fs::File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let mode = metadata.permissions().mode() & 0o777;
        // systemd gives a service its credentials as files of root that a list of access opens to the service alone; such a
        // file shows the list's mask as its group's bits.
        let credential = metadata.uid() == 0 && metadata.gid() == 0 && mode & 0o037 == 0 && !is_root().map_err(failed)?;
        if mode & 0o077 != 0 && !credential {
            return Err(KeyError::Exposed { path: path.into(), mode });
        }
        let mut text = Zeroizing::new(String::with_capacity(4096));
        file.read_to_string(&mut text).map_err(failed)?;
        Keys::parse(path, &text)
    }

    /// Reads the text of a key file that came from `path`.
    ///
    /// # Errors
    /// [`KeyError::Line`] and [`KeyError::Missing`]; no error holds key material.
    pub fn parse(path: &Path, text: &str) -> Result<Keys, KeyError> {
        // A list that grows would leave what it held behind.
        let lines = text.lines().count();
        let mut keys = Keys { pan: Vec::with_capacity(lines), hmac: Vec::with_capacity(lines) };
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = || KeyError::Line { path: path.into(), line: at + 1 };
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("pan"), Some(id), Some(key), None) => {
                    // A number names one key: cards that were sealed under another of it would never open again.
                    let fresh = |id: &u16| *id > 0 && keys.pan.iter().all(|(other, _)| other != id);
                    let id = id.parse().ok().filter(fresh).ok_or_else(wrong)?;
                    keys.pan.push((id, key_from_hex(key).ok_or_else(wrong)?));
                }
                (Some("hmac"), Some(key), None, None) => keys.hmac.push(key_from_hex(key).ok_or_else(wrong)?),
                _ => return Err(wrong()),
            }
        }
        for (what, missing) in [("pan", keys.pan.is_empty()), ("hmac", keys.hmac.is_empty())] {
            if missing {
                return Err(KeyError::Missing { path: path.into(), what });
            }
        }
        Ok(keys)
    }
}

/// A value that changes with the key and tells nothing of it.
fn check(key: &[u8; KEY_BYTES]) -> [u8; 8] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), b"switchd key check value");
    let mut value = [0; 8];
    value.copy_from_slice(&tag.as_ref()[..8]);
    value
}

/// Whether this process is root, for whom a file of root is its own.
fn is_root() -> io::Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}

fn push_hex(text: &mut String, key: &[u8]) {
    for byte in key {
        text.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        text.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    text.push('\n');
}

fn key_from_hex(text: &str) -> Option<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    let digits = text.as_bytes();
    if digits.len() != KEY_BYTES * 2 {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = (value(pair[0])? << 4 | value(pair[1])?) as u8;
    }
    Some(key)
}

/// The keys at work, in one life of the process.
pub(crate) struct Sealer {
    pan: Vec<(u16, LessSafeKey)>,
    hmac: Vec<hmac::Key>,
    epoch: u32,
    /// Counts on when the keys change: one that comes back has no nonce twice.
    counter: u64,
}

impl Sealer {
    /// `epoch` must be durable, and larger than that of every process that used these keys before.
    pub(crate) fn new(keys: &Keys, epoch: u32) -> Sealer {
        let mut sealer = Sealer { pan: Vec::new(), hmac: Vec::new(), epoch, counter: 0 };
        sealer.take(keys);
        sealer
    }

    /// Works with these keys from now on.
    pub(crate) fn take(&mut self, keys: &Keys) {
        let aead = |key: &[u8; KEY_BYTES]| {
            LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has the length of AES-256"))
        };
        self.pan = keys.pan.iter().map(|(id, key)| (*id, aead(key))).collect();
        self.hmac = keys.hmac.iter().map(|key| hmac::Key::new(hmac::HMAC_SHA256, key)).collect();
    }

    /// The card of a PAN: sealed, keyed, masked.
    pub(crate) fn card(&mut self, pan: &Pan) -> Card {
        Card { sealed: self.seal(pan), hmac: mark(&self.hmac[0], pan), masked: pan.masked() }
    }

    /// What a PAN is known by in records: the newest first.
    pub(crate) fn marks(&self, pan: &Pan) -> Vec<CardHmac> {
        self.hmac.iter().map(|key| mark(key, pan)).collect()
    }

    /// What a sealed PAN is known by from now on; `None` when it cannot be opened.
    pub(crate) fn mark_of(&self, sealed: &SealedPan) -> Option<CardHmac> {
        self.open(sealed).map(|pan| mark(&self.hmac[0], &pan))
    }

    /// Marks what the journal tells as cards are compared now.
    pub(crate) fn mark_anew(&self, movement: &mut Movement) {
        // With one look-up key every record has its mark.
        let sealed = movement.card.filter(|_| self.hmac.len() > 1).map(|card| card.sealed);
        if let Some(mark) = sealed.and_then(|sealed| self.mark_of(&sealed)) {
            movement.know_card_by(mark);
        }
    }

    fn seal(&mut self, pan: &Pan) -> SealedPan {
        let (id, key) = &self.pan[0];
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.epoch.to_be_bytes());
        nonce[4..].copy_from_slice(&self.counter.to_be_bytes());
        self.counter += 1;
        let mut sealed = [0; SEALED_BYTES];
        let (block, tag_place) = sealed.split_at_mut(BLOCK_BYTES);
        block[0] = pan.digits().len() as u8;
        block[1..=pan.digits().len()].copy_from_slice(pan.digits());
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), aad(*id), block)
            .expect("a block of twenty bytes can be sealed");
        tag_place.copy_from_slice(tag.as_ref());
        SealedPan { key: *id, nonce, sealed }
    }

    /// The PAN again; `None` when the key is gone or the bytes are not what was sealed.
    pub(crate) fn open(&self, sealed: &SealedPan) -> Option<Pan> {
        let (_, key) = self.pan.iter().find(|(id, _)| *id == sealed.key)?;
        let mut block = Zeroizing::new(sealed.sealed);
        let open = key.open_in_place(Nonce::assume_unique_for_key(sealed.nonce), aad(sealed.key), &mut block[..]).ok()?;
        let len = usize::from(*open.first()?);
        Pan::try_from(open.get(1..=len)?).ok()
    }
}

fn mark(key: &hmac::Key, pan: &Pan) -> CardHmac {
    let tag = hmac::sign(key, pan.digits());
    let mut mark = [0; 16];
    mark.copy_from_slice(&tag.as_ref()[..16]);
    CardHmac(mark)
}

fn aad(id: u16) -> Aad<[u8; 2]> {
    Aad::from(id.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pan(digits: &str) -> Pan {
        digits.parse().unwrap()
    }

    #[test]
    fn section_10_a_sealed_pan_opens_only_with_its_key_and_unchanged() {
        let keys = Keys::generate();
        let mut sealer = Sealer::new(&keys, 7);
        for digits in ["4111111111111111", "62212345678", "6221234567890123456"] {
            let card = sealer.card(&pan(digits));
            assert_eq!(sealer.open(&card.sealed).unwrap().as_str(), digits);
            let next_life = Sealer::new(&keys, 8);
            assert_eq!(next_life.open(&card.sealed).unwrap().as_str(), digits);
            assert!(Sealer::new(&Keys::generate(), 7).open(&card.sealed).is_none());
            for at in 0..SEALED_BYTES {
                let mut changed = card.sealed;
                changed.sealed[at] ^= 1;
                assert!(sealer.open(&changed).is_none());
            }
        }
    }

    #[test]
    fn section_10_a_nonce_is_never_used_twice() {
        let keys = Keys::generate();
        let mut seen = std::collections::BTreeSet::new();
        for epoch in 1..4 {
            let mut sealer = Sealer::new(&keys, epoch);
            for _ in 0..100 {
                assert!(seen.insert(sealer.card(&pan("4111111111111111")).sealed.nonce));
            }
        }
    }

    #[test]
    fn section_10_a_nonce_is_never_used_twice_when_keys_change_and_come_back() {
        let keys = Keys::generate();
        let rotated = keys.with_new_pan_key().unwrap();
        let mut sealer = Sealer::new(&keys, 1);
        let mut seen = std::collections::BTreeSet::new();
        for keys in [&keys, &rotated, &keys, &rotated, &keys.with_new_look_up_key()] {
            sealer.take(keys);
            let sealed = sealer.card(&pan("4111111111111111")).sealed;
            assert_eq!(sealed.key, keys.pan[0].0);
            assert!(seen.insert(sealed.nonce));
        }
    }

    #[test]
    fn section_10_a_new_key_of_one_kind_stands_before_the_others_and_changes_none() {
        let keys = Keys::generate();
        let both = keys.with_new_pan_key().unwrap().with_new_look_up_key();
        assert_eq!((&both.pan[1..], &both.hmac[1..]), (&keys.pan[..], &keys.hmac[..]));
        assert_eq!(both.pan[0].0, 2);
        assert!(both.lack(&keys.checks()).is_none() && keys.lack(&both.checks()) == Some(0));
        let mut old = Sealer::new(&keys, 1);
        let (new, card) = (Sealer::new(&both, 2), old.card(&pan("4111111111111111")));
        assert_eq!(new.marks(&pan("4111111111111111"))[1], card.hmac, "an old record is found");
        assert_eq!(new.mark_of(&card.sealed), Some(new.marks(&pan("4111111111111111"))[0]), "and known again");
        let last = Keys::new(vec![(u16::MAX, [1; KEY_BYTES])], vec![[2; KEY_BYTES]]);
        assert!(last.with_new_pan_key().is_none());
    }

    #[test]
    fn equal_cards_are_known_by_their_hmac_in_every_life() {
        let keys = Keys::generate();
        let hmac = |epoch, digits| Sealer::new(&keys, epoch).card(&pan(digits)).hmac;
        assert_eq!(hmac(1, "4111111111111111"), hmac(2, "4111111111111111"));
        assert_ne!(hmac(1, "4111111111111111"), hmac(1, "4111111111111129"));
    }

    /// Looked for where they were, as in `tests/codec/wiped.rs` of `iso8583`, which says how and shows that what is not wiped stays.
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn dropped_keys_are_wiped() {
        use std::os::unix::fs::FileExt;
        const SECRET: u8 = 0xA7;
        let keys = Keys::new(vec![(1, [SECRET; KEY_BYTES]); 8], vec![[SECRET; KEY_BYTES]; 8]);
        // Those in the middle, which the allocator does not write on.
        let places = [keys.pan[2].1.as_ptr().addr(), keys.pan[5].1.as_ptr().addr(), keys.hmac[4].as_ptr().addr()];
        let memory = fs::File::open("/proc/self/mem").unwrap();
        let secret_bytes = || {
            places.map(|at| {
                let mut seen = [0; KEY_BYTES];
                memory.read_exact_at(&mut seen, at as u64).unwrap();
                seen.iter().filter(|byte| **byte == SECRET).count()
            })
        };
        assert_eq!(secret_bytes(), [KEY_BYTES; 3]);
        drop(keys);
        assert_eq!(secret_bytes(), [0; 3]);
    }

    #[test]
    fn key_files_are_private_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let keys = Keys::generate();
        keys.write(&path).unwrap();
        assert!(matches!(keys.write(&path), Err(KeyError::Io { .. })), "an existing file is never overwritten");
        let read = Keys::read(&path).unwrap();
        assert_eq!((&read.pan, &read.hmac), (&keys.pan, &keys.hmac));
        let check = |text: &str, mode: u32, expected: &str| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Keys::read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        let key = "ab".repeat(32);
        check(&format!("pan 1 {key}\nhmac {key}\n"), 0o640, "chmod 600");
        check(&format!("pan 1 {key}\nhmac {key}\n"), 0o604, "(mode 604)");
        check(&format!("pan 1 {key}\n"), 0o600, "holds no hmac key");
        check(&format!("hmac {key}\n"), 0o600, "holds no pan key");
        check(&format!("pan 1 {key}\nhmac {key}0\n"), 0o600, "line 2");
        check("pan x y\n", 0o600, "line 1");
        check(&format!("\npan 0 {key}\nhmac {key}\n"), 0o600, "line 2");
        check(&format!("pan 2 {key}\npan 1 {key}\npan 2 {key}\nhmac {key}\n"), 0o600, "line 3");
        check(&format!("pan 1 {key}\n\nhmac {key} {key}\n"), 0o600, "line 3");
    }

    #[test]
    fn section_10_a_changed_key_file_stays_where_its_link_leads_and_what_a_failure_left_is_no_hindrance() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::create_dir(&real).unwrap();
        let file = real.join("keys");
        Keys::generate().write(&file).unwrap();
        std::os::unix::fs::symlink("real/keys", &link).unwrap();
        fs::write(real.join("keys.new"), "half of a k").unwrap();
        let changed = Keys::change(&link, Keys::with_new_pan_key).unwrap();
        assert!(link.is_symlink() && !real.join("keys.new").exists() && !dir.path().join("link.new").exists());
        assert_eq!((&Keys::read(&file).unwrap().pan, changed.pan.len()), (&changed.pan, 2));
        assert!(matches!(Keys::change(&link, |_| None), Err(KeyError::Numbers { .. })));
        // What cannot be removed is named.
        fs::create_dir(real.join("keys.new")).unwrap();
        let said = Keys::change(&link, Keys::with_new_pan_key).unwrap_err().to_string();
        assert!(said.contains("keys.new"), "{said}");
        assert_eq!(Keys::read(&file).unwrap().pan.len(), 2, "nothing changed");
    }
}
