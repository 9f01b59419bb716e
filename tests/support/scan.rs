//! Looks for secrets in bytes, in every form in which a program might have written them.
//!
//! A digit string is looked for in pieces as well, so that one that was cut somewhere is found; in ASCII, EBCDIC, packed
//! BCD at either half of a byte, and as the hex of each. Bytes are looked for as they are and as hex.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Pieces of a digit string have this length: longer than anything that a masked number shows in a row.
const PIECE: usize = 11;

/// A set of patterns, found in one pass.
#[derive(Default)]
pub(crate) struct Secrets {
    /// By their first two bytes.
    by_start: BTreeMap<[u8; 2], Vec<(String, Vec<u8>)>>,
}

impl Secrets {
    /// Digits of which no piece may be seen. `=` stands for the separator of a track.
    pub(crate) fn digits(mut self, name: &str, digits: &str) -> Self {
        let piece = PIECE.min(digits.len());
        for at in 0..=digits.len() - piece {
            for (form, bytes) in forms(&digits[at..at + piece]) {
                self.add(&format!("{name} ({form})"), bytes);
            }
        }
        self
    }

    /// Bytes that may not be seen.
    pub(crate) fn bytes(mut self, name: &str, bytes: &[u8]) -> Self {
        self.add(&format!("{name} (as it is)"), bytes.to_vec());
        self.add_hex(name, bytes);
        self
    }

    fn add_hex(&mut self, name: &str, bytes: &[u8]) {
        for (form, text) in [("HEX", hex(bytes).to_ascii_uppercase()), ("hex", hex(bytes))] {
            self.add(&format!("{name} ({form})"), text.into_bytes());
        }
    }

    fn add(&mut self, name: &str, bytes: Vec<u8>) {
        let start = [bytes[0], bytes[1]];
        self.by_start.entry(start).or_default().push((name.to_owned(), bytes));
    }

    /// The first pattern in these bytes and where it begins.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<(usize, &str)> {
        let mut starts = vec![false; 1 << 16];
        for start in self.by_start.keys() {
            starts[usize::from(u16::from_be_bytes(*start))] = true;
        }
        for (at, pair) in bytes.windows(2).enumerate() {
            if !starts[usize::from(pair[0]) << 8 | usize::from(pair[1])] {
                continue;
            }
            let here = &self.by_start[&[pair[0], pair[1]]];
            if let Some((name, _)) = here.iter().find(|(_, pattern)| bytes[at..].starts_with(pattern)) {
                return Some((at, name));
            }
        }
        None
    }

    /// Everything found in the files below a directory, a sentence each, and how many bytes were looked at.
    pub(crate) fn search(&self, dir: &Path) -> (Vec<String>, usize) {
        let (mut found, mut looked_at) = (Vec::new(), 0);
        for file in files(dir) {
            let bytes = fs::read(&file).expect("a file of the test can be read");
            looked_at += bytes.len();
            if let Some((at, name)) = self.find(&bytes) {
                found.push(format!("{}: {name} at byte {at}", file.display()));
            }
        }
        (found, looked_at)
    }
}

/// How digits may be written.
pub(crate) fn forms(digits: &str) -> Vec<(&'static str, Vec<u8>)> {
    let ebcdic = |letter: u8| if letter == b'=' { 0x7e } else { letter - b'0' + 0xf0 };
    let nibble = |letter: u8| if letter == b'=' { 0xd } else { letter - b'0' };
    let pack = |nibbles: &[u8]| nibbles.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect::<Vec<u8>>();
    let ascii = digits.as_bytes().to_vec();
    let nibbles: Vec<u8> = digits.bytes().map(nibble).collect();
    // Whole bytes only: the digit that shares its byte with another is left out.
    let (even, odd) = (pack(&nibbles), pack(&nibbles[1..]));
    let mut forms = vec![
        ("hex of ASCII", hex(&ascii).into_bytes()),
        ("EBCDIC", digits.bytes().map(ebcdic).collect()),
        ("BCD", even),
        ("BCD from the second half of a byte", odd),
        ("ASCII", ascii),
    ];
    if digits.contains('=') {
        forms.push(("ASCII with D", digits.replace('=', "D").into_bytes()));
        forms.push(("hex of BCD", digits.replace('=', "d").into_bytes()));
    }
    forms
}

/// Lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Every regular file below a directory.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("the directory can be read") {
        let entry = entry.expect("the directory can be read");
        let kind = entry.file_type().expect("the entry has a type");
        if kind.is_dir() {
            files.extend(self::files(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}
