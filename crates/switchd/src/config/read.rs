//! Reading TOML so that every error is found at once: each key is asked for by name, kind and range; what nobody asked
//! for is unknown and gets the nearest name that was.
//!
//! Knows no setting. Invariant: a value that was refused is noted as a problem, and a stand-in lets the reading go on.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::units;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file, as it was named.
    pub(crate) file: PathBuf,
    /// Line from 1, where it is known.
    pub(crate) line: Option<usize>,
    /// A sentence.
    pub(crate) text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.text)
    }
}

/// Everything that is wrong, in the order in which it was found.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

/// A file that is being read.
pub(crate) struct Source<'t> {
    file: PathBuf,
    text: &'t str,
    problems: RefCell<Vec<Problem>>,
    asked: RefCell<BTreeSet<(String, &'static str)>>,
}

impl<'t> Source<'t> {
    /// Reads `text`, which came from `file`.
    pub(crate) fn new(file: &Path, text: &'t str) -> Self {
        Source { file: file.to_owned(), text, problems: RefCell::default(), asked: RefCell::default() }
    }

    /// The whole file as a table. What is not TOML is noted; what could be read of it goes on.
    pub(crate) fn parse(&self) -> Spanned<DeTable<'t>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            self.note(error.span().map(|span| span.start), error.message().trim().to_owned());
        }
        table
    }

    /// Notes a problem at a byte offset of the file.
    pub(crate) fn note(&self, offset: Option<usize>, text: String) {
        let line = offset.map(|offset| {
            let before = self.text.get(..offset).unwrap_or(self.text);
            before.bytes().filter(|b| *b == b'\n').count() + 1
        });
        self.problems.borrow_mut().push(Problem { file: self.file.clone(), line, text });
    }

    /// What was wrong, in the order of the lines.
    pub(crate) fn finish(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        problems
    }

    /// Every key that was asked for, with its section.
    #[cfg(test)]
    pub(crate) fn asked(&self) -> BTreeSet<(String, &'static str)> {
        self.asked.borrow().clone()
    }
}

/// One table of a file.
pub(crate) struct Section<'s, 't> {
    source: &'s Source<'t>,
    table: Option<&'s DeTable<'t>>,
    /// As a person finds it: `[limits]`, `[[link]]`.
    name: String,
    /// Where it begins, for what is missing in it.
    offset: Option<usize>,
    asked: RefCell<Vec<&'static str>>,
}

impl<'s, 't> Section<'s, 't> {
    /// The file itself.
    pub(crate) fn root(source: &'s Source<'t>, table: &'s Spanned<DeTable<'t>>) -> Self {
        Self::of(source, Some(table.get_ref()), String::new(), None)
    }

    fn of(source: &'s Source<'t>, table: Option<&'s DeTable<'t>>, name: String, offset: Option<usize>) -> Self {
        Section { source, table, name, offset, asked: RefCell::default() }
    }

    /// A table below this one; an absent one reads as empty.
    pub(crate) fn section(&self, key: &'static str) -> Section<'s, 't> {
        let value = self.get(key);
        let offset = value.map(|value| value.span().start).or(self.offset);
        let table = value.and_then(|value| match value.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                self.wrong(
                    Some(value.span().start),
                    key,
                    &format!("is of type {}, needs to be a table: [{key}]", other.type_str()),
                );
                None
            }
        });
        Self::of(self.source, table, format!("[{key}]"), offset)
    }

    /// The tables of an array of tables; an absent one has none.
    pub(crate) fn sections(&self, key: &'static str) -> Vec<Section<'s, 't>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else {
            self.wrong(Some(value.span().start), key, &format!("needs to be an array of tables: [[{key}]]"));
            return Vec::new();
        };
        let mut found = Vec::new();
        for element in array.iter() {
            match element.get_ref() {
                DeValue::Table(table) => {
                    found.push(Self::of(self.source, Some(table), format!("[[{key}]]"), Some(element.span().start)));
                }
                other => self.wrong(
                    Some(element.span().start),
                    key,
                    &format!("holds a {}, needs tables: [[{key}]]", other.type_str()),
                ),
            }
        }
        found
    }

    /// Whether the key is present.
    pub(crate) fn has(&self, key: &'static str) -> bool {
        self.get(key).is_some()
    }

    /// Text, or nothing when it is absent.
    pub(crate) fn text(&self, key: &'static str) -> Option<&'s str> {
        let value = self.get(key)?;
        match value.get_ref() {
            // Names and paths come back in logs, metrics and answers.
            DeValue::String(text) if text.chars().any(char::is_control) => {
                self.wrong(Some(value.span().start), key, "holds a control character");
                None
            }
            DeValue::String(text) => Some(text.as_ref()),
            other => {
                self.wrong(
                    Some(value.span().start),
                    key,
                    &format!("is of type {}, needs to be text in quotes", other.type_str()),
                );
                None
            }
        }
    }

    /// Text that must be there.
    pub(crate) fn need_text(&self, key: &'static str) -> &'s str {
        self.need(key);
        self.text(key).unwrap_or_default()
    }

    /// One text, or a list of them.
    pub(crate) fn texts(&self, key: &'static str) -> Vec<&'s str> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let DeValue::Array(array) = value.get_ref() else { return self.text(key).into_iter().collect() };
        let mut texts = Vec::new();
        for element in array.iter() {
            match element.get_ref() {
                DeValue::String(text) => texts.push(text.as_ref()),
                other => self.wrong(
                    Some(element.span().start),
                    key,
                    &format!("holds a {}, needs texts in quotes", other.type_str()),
                ),
            }
        }
        texts
    }

    /// Yes or no.
    pub(crate) fn flag(&self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.get(key) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            let kind = value.get_ref().type_str();
            self.wrong(Some(value.span().start), key, &format!("is of type {kind}, needs to be true or false"));
            default
        })
    }

    /// A whole number within a range.
    pub(crate) fn number<T>(&self, key: &'static str, default: T, range: RangeInclusive<T>) -> T
    where
        T: Copy + PartialOrd + fmt::Display + TryFrom<i64>,
    {
        let Some(value) = self.get(key) else { return default };
        let parsed = match value.get_ref() {
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).ok(),
            other => {
                let kind = other.type_str();
                self.wrong(Some(value.span().start), key, &format!("is of type {kind}, needs to be a whole number"));
                return default;
            }
        };
        let parsed = parsed.and_then(|number| T::try_from(number).ok());
        self.within(key, value.span().start, parsed, default, range, |n| n.to_string())
    }

    /// A whole number that must be there.
    pub(crate) fn need_number<T>(&self, key: &'static str, range: RangeInclusive<T>) -> T
    where
        T: Copy + PartialOrd + fmt::Display + TryFrom<i64>,
    {
        self.need(key);
        let stand_in = *range.start();
        self.number(key, stand_in, range)
    }

    /// A duration in milliseconds within a range.
    pub(crate) fn duration(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.with_unit(key, default, range, units::duration_ms, units::show_duration, units::DURATION)
    }

    /// A duration that must be there; the stand-in lets the check of relations go on.
    pub(crate) fn need_duration(&self, key: &'static str, stand_in: u64, range: RangeInclusive<u64>) -> u64 {
        self.need(key);
        self.duration(key, stand_in, range)
    }

    /// A size in bytes within a range.
    pub(crate) fn size(&self, key: &'static str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.with_unit(key, default, range, units::size_bytes, units::show_size, units::SIZE)
    }

    /// A list of durations in milliseconds.
    pub(crate) fn durations(&self, key: &'static str, default: &[u64]) -> Vec<u64> {
        if !self.has(key) {
            return default.to_vec();
        }
        let texts = self.texts(key);
        let read = texts.iter().filter_map(|text| {
            let ms = units::duration_ms(text);
            if ms.is_none() {
                self.wrong_here(key, &format!("holds {text:?}, needs {}", units::DURATION));
            }
            ms
        });
        read.collect()
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, key: &'static str, default: T, words: &[(&str, T)]) -> T {
        let Some(text) = self.text(key) else { return default };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return *value;
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.wrong_here(key, &format!("is {text:?}, needs to be one of {}{}", known.join(", "), did_you_mean(text, &known)));
        default
    }

    /// A path, relative to the directory of the file.
    pub(crate) fn path(&self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        if text.is_empty() {
            self.wrong_here(key, "is empty, needs to be a path");
        }
        Some(self.source.file.parent().unwrap_or(Path::new("")).join(text))
    }

    /// A path that must be there.
    pub(crate) fn need_path(&self, key: &'static str) -> PathBuf {
        self.need(key);
        self.path(key).unwrap_or_default()
    }

    /// An IP address and port.
    pub(crate) fn address(&self, key: &'static str) -> Option<SocketAddr> {
        let text = self.text(key)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.wrong_here(key, &format!("is {text:?}, needs to be an IP address and port such as \"127.0.0.1:8583\""));
        }
        parsed
    }

    /// An IP address and port that must be there.
    pub(crate) fn need_address(&self, key: &'static str) -> SocketAddr {
        self.need(key);
        self.address(key).unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Notes that this key's value is wrong.
    pub(crate) fn wrong_here(&self, key: &'static str, text: &str) {
        let offset = self.table.and_then(|table| table.get(key)).map(|value| value.span().start);
        self.wrong(offset.or(self.offset), key, text);
    }

    /// Notes a problem of the whole section.
    pub(crate) fn wrong_section(&self, text: &str) {
        self.source.note(self.offset, format!("{}{text}", self.prefix()));
    }

    /// Notes every key that nobody asked for.
    pub(crate) fn finish(self) {
        let asked = self.asked.borrow();
        self.source.asked.borrow_mut().extend(asked.iter().map(|key| (self.name.clone(), *key)));
        for (key, _) in self.table.into_iter().flat_map(|table| table.iter()) {
            let name: &str = key.get_ref().as_ref();
            if !asked.contains(&name) {
                let hint = did_you_mean(name, &asked);
                self.source.note(Some(key.span().start), format!("{}unknown key {name:?}{hint}", self.prefix()));
            }
        }
    }

    fn get(&self, key: &'static str) -> Option<&'s Spanned<DeValue<'t>>> {
        if !self.asked.borrow().contains(&key) {
            self.asked.borrow_mut().push(key);
        }
        self.table?.get(key)
    }

    fn need(&self, key: &'static str) {
        if !self.has(key) {
            self.source.note(self.offset, format!("{}{key} is missing", self.prefix()));
        }
    }

    fn with_unit(
        &self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
        read: fn(&str) -> Option<u64>,
        show: fn(u64) -> String,
        example: &str,
    ) -> u64 {
        let Some(value) = self.get(key) else { return default };
        let Some(parsed) = value.get_ref().as_str().and_then(read) else {
            self.wrong(Some(value.span().start), key, &format!("needs to be {example}"));
            return default;
        };
        self.within(key, value.span().start, Some(parsed), default, range, show)
    }

    fn within<T: Copy + PartialOrd>(
        &self,
        key: &'static str,
        offset: usize,
        parsed: Option<T>,
        default: T,
        range: RangeInclusive<T>,
        show: fn(T) -> String,
    ) -> T {
        if let Some(number) = parsed.filter(|number| range.contains(number)) {
            return number;
        }
        let (least, most) = (show(*range.start()), show(*range.end()));
        self.wrong(Some(offset), key, &format!("is out of range, needs to be {least} to {most}"));
        default
    }

    fn wrong(&self, offset: Option<usize>, key: &str, text: &str) {
        self.source.note(offset, format!("{}{key} {text}", self.prefix()));
    }

    fn prefix(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!("{} ", self.name) }
    }
}

/// `; did you mean "…"?` with the nearest known word, or nothing when none is near.
fn did_you_mean(word: &str, known: &[&str]) -> String {
    let nearest =
        known.iter().map(|candidate| (strsim::jaro_winkler(word, candidate), candidate)).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, candidate)) if likeness > 0.7 => format!("; did you mean {candidate:?}?"),
        Some(_) | None => String::new(),
    }
}
