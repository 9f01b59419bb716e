//! The terminal registry: which certificate may speak for which DE41 + DE42, and in which group.
//!
//! Knows no TLS: it is given the fingerprint and the subject of a certificate that was verified. Invariant: a
//! certificate fits at most one entry, so what it may do does not depend on an order.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use iso8583::TerminalId;
use switch::GroupNo;

use super::GroupSettings;
use super::read::{Problems, Section, Source};

/// SHA-256 of a certificate in DER.
pub(crate) type Fingerprint = [u8; 32];

/// The entries, found by certificate.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    by_fingerprint: BTreeMap<Fingerprint, Arc<Entry>>,
    by_subject: BTreeMap<String, Arc<Entry>>,
}

/// What the holder of one certificate may do.
#[derive(Debug)]
pub(crate) struct Entry {
    /// For whom it may speak.
    allow: Vec<Pattern>,
    /// The group of its terminals.
    pub(crate) group: GroupNo,
}

impl Registry {
    /// The entry of a certificate: by its fingerprint, else by its common name.
    pub(crate) fn find(&self, fingerprint: &Fingerprint, subject: Option<&str>) -> Option<&Arc<Entry>> {
        self.by_fingerprint.get(fingerprint).or_else(|| self.by_subject.get(subject?))
    }

    /// Whether a certificate's terminals are of this group.
    pub(crate) fn names_group(&self, group: GroupNo) -> bool {
        self.by_fingerprint.values().chain(self.by_subject.values()).any(|entry| entry.group == group)
    }

    /// How many certificates are named.
    pub(crate) fn len(&self) -> usize {
        self.by_fingerprint.len() + self.by_subject.len()
    }
}

impl Entry {
    /// Whether the certificate may speak for this terminal.
    pub(crate) fn allows(&self, terminal: &TerminalId) -> bool {
        self.allow.iter().any(|pattern| pattern.fits(terminal))
    }

    /// The terminal that the certificate speaks for, if it is one and no more.
    pub(crate) fn only(&self) -> Option<TerminalId> {
        let [Pattern { terminal, merchant }] = self.allow.as_slice() else { return None };
        if terminal.contains('*') || merchant.contains('*') {
            return None;
        }
        TerminalId::new(terminal.as_bytes(), merchant.as_bytes()).ok()
    }
}

/// DE41 and DE42 without their padding; `*` stands for any run of characters within one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    terminal: String,
    merchant: String,
}

impl Pattern {
    fn parse(text: &str) -> Option<Self> {
        let (terminal, merchant) = text.split_once('/')?;
        let good = |part: &str, most: usize| {
            let letters = part.bytes().filter(|b| *b != b'*').count();
            !part.is_empty() && letters <= most && part.bytes().all(|b| b.is_ascii_graphic() || b == b' ')
        };
        (good(terminal, 8) && good(merchant, 15) && !merchant.contains('/'))
            .then(|| Pattern { terminal: terminal.to_owned(), merchant: merchant.to_owned() })
    }

    fn fits(&self, terminal: &TerminalId) -> bool {
        fits(self.terminal.as_bytes(), trimmed(terminal.terminal()))
            && fits(self.merchant.as_bytes(), trimmed(terminal.merchant()))
    }
}

fn trimmed(padded: &[u8]) -> &[u8] {
    padded.trim_ascii_end()
}

/// Whether `*` of the pattern can be filled so that it equals the text. Goes back to the last star only, so the work is
/// at most the product of the lengths.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p) == Some(&text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            star = Some((star_p, star_t + 1));
            p = star_p + 1;
            t = star_t + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// Reads a registry file.
pub(super) fn read(file: &Path, text: &str, groups: &BTreeMap<GroupNo, GroupSettings>) -> Result<Registry, Problems> {
    let source = Source::new(file, text);
    let table = source.parse();
    let root = Section::root(&source, &table);
    let mut registry = Registry::default();
    for s in root.sections("terminal") {
        entry(&s, groups, &mut registry);
        s.finish();
    }
    root.finish();
    let problems = source.finish();
    if problems.is_empty() { Ok(registry) } else { Err(Problems(problems)) }
}

fn entry(s: &Section<'_, '_>, groups: &BTreeMap<GroupNo, GroupSettings>, registry: &mut Registry) {
    let group = GroupNo(s.need_number("group", 1..=u16::MAX));
    if s.has("group") && !groups.contains_key(&group) {
        s.wrong_here("group", &format!("{} is not a [[group]] of the configuration", group.0));
    }
    let mut allow = Vec::new();
    for text in s.texts("allow") {
        match Pattern::parse(text) {
            Some(pattern) => allow.push(pattern),
            None => s.wrong_here(
                "allow",
                &format!("holds {text:?}, needs DE41/DE42 such as \"TERM0001/MERCHANT0000001\" or \"TERM*/MERCHANT*\""),
            ),
        }
    }
    if !s.has("allow") {
        s.wrong_section("allow is missing");
    }
    let entry = Arc::new(Entry { allow, group });
    let taken = match (s.text("certificate"), s.text("subject")) {
        (Some(hex), None) => match fingerprint(hex) {
            Some(fingerprint) => registry.by_fingerprint.insert(fingerprint, entry).is_some(),
            None => {
                s.wrong_here("certificate", "needs to be the SHA-256 of the certificate: 64 hex digits");
                false
            }
        },
        (None, Some(subject)) => registry.by_subject.insert(subject.to_owned(), entry).is_some(),
        (Some(_), Some(_)) | (None, None) => {
            s.wrong_section("needs either certificate (SHA-256 of it) or subject (its common name)");
            false
        }
    };
    if taken {
        s.wrong_section("another [[terminal]] has the same certificate or subject");
    }
}

/// 64 hex digits, with or without colons between the bytes.
fn fingerprint(text: &str) -> Option<Fingerprint> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(value(pair[0])? * 16 + value(pair[1])?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> TerminalId {
        text.parse().unwrap()
    }

    #[track_caller]
    fn check(pattern: &str, terminal: &str, want: bool) {
        assert_eq!(Pattern::parse(pattern).unwrap().fits(&id(terminal)), want, "{pattern} {terminal}");
    }

    #[test]
    fn patterns_bound_both_parts() {
        check("TERM0001/MERCHANT0000001", "TERM0001/MERCHANT0000001", true);
        check("TERM0001/MERCHANT0000001", "TERM0002/MERCHANT0000001", false);
        check("TERM0001/MERCHANT0000001", "TERM0001/MERCHANT0000002", false);
        check("T1/M1", "T1/M1", true);
        check("T1/M1", "T1X/M1", false);
        check("T*/M1", "T/M1", true);
        check("T*/M1", "TERM0001/M1", true);
        check("T*/M1", "XERM0001/M1", false);
        check("*/*", "A/B", true);
        check("*1/M*2*", "XY1/M00200", true);
        check("*1/M*2*", "XY1/M00300", false);
        check("*ab/M", "aab/M", true);
        check("*ab/M", "aba/M", false);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "T1", "/M1", "T1/", "T1/M1/X", "TOOLONG01/M1", "T1/TOOLONG000000001", "Té/M1"] {
            assert_eq!(Pattern::parse(text), None, "{text:?}");
        }
    }

    fn groups() -> BTreeMap<GroupNo, GroupSettings> {
        let settings = GroupSettings { dialect: &iso8583::table::ISO87_ASCII, terminal_response_timeout_ms: 30_000 };
        BTreeMap::from([(GroupNo(1), settings)])
    }

    #[track_caller]
    fn refused(text: &str, named: &[&str]) {
        let problems = read(Path::new("terminals.toml"), text, &groups()).unwrap_err().0;
        assert_eq!(problems.len(), named.len(), "{problems:?}");
        for (problem, named) in problems.iter().zip(named) {
            assert!(problem.text.contains(named), "{problem}");
        }
    }

    #[test]
    fn a_certificate_is_found_by_fingerprint_then_by_subject() {
        let hex = "ab".repeat(32);
        let text = format!(
            "[[terminal]]\ncertificate = \"{hex}\"\nallow = \"T1/M1\"\ngroup = 1\n\
             [[terminal]]\nsubject = \"lane 2\"\nallow = [\"T2/M1\", \"T3/*\"]\ngroup = 1\n"
        );
        let registry = read(Path::new("terminals.toml"), &text, &groups()).unwrap();
        assert_eq!(registry.len(), 2);
        let (known, other) = ([0xAB; 32], [0; 32]);
        assert!(registry.find(&known, Some("lane 2")).unwrap().allows(&id("T1/M1")));
        let by_subject = registry.find(&other, Some("lane 2")).unwrap();
        assert!(by_subject.allows(&id("T3/M9")) && !by_subject.allows(&id("T1/M1")));
        assert_eq!(registry.find(&known, None).unwrap().only(), Some(id("T1/M1")));
        assert_eq!(by_subject.only(), None, "it speaks for more than one");
        assert!(registry.find(&other, Some("lane 3")).is_none());
        assert!(registry.find(&other, None).is_none());
    }

    #[test]
    fn wrong_entries_are_named() {
        refused("[[terminal]]\nsubject = \"a\"\nallow = \"T1/M1\"\ngroup = 2\n", &["group 2 is not a [[group]]"]);
        refused("[[terminal]]\nsubject = \"a\"\nallow = \"T1\"\ngroup = 1\n", &["allow holds \"T1\""]);
        refused("[[terminal]]\nallow = \"T1/M1\"\ngroup = 1\n", &["needs either certificate"]);
        refused("[[terminal]]\ncertificate = \"12\"\nallow = \"T1/M1\"\ngroup = 1\n", &["64 hex digits"]);
        refused(
            "[[terminal]]\nsubjct = \"a\"\nsubject = \"a\"\nallow = \"T/M\"\ngroup = 1\n",
            &["did you mean \"subject\"?"],
        );
        let twice = "[[terminal]]\nsubject = \"a\"\nallow = \"T1/M1\"\ngroup = 1\n".repeat(2);
        refused(&twice, &["another [[terminal]]"]);
    }
}
