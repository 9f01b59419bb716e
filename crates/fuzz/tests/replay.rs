//! The corpora through their targets, as they are and a little changed. Each run is the same as the one before.

use std::fs;
use std::path::{Path, PathBuf};

use fuzz::{TARGETS, Target};

/// Changes of each input, by default; `SWITCHD_FUZZ_CHANGES` says otherwise.
const CHANGES: u64 = 20;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name)
}

/// The inputs of a target, in the order of their names.
fn inputs(name: &str) -> Vec<(String, Vec<u8>)> {
    let dir = corpus(name);
    let entries = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry of a corpus").path()).collect();
    files.sort();
    let named = |path: &PathBuf| path.file_name().expect("a file has a name").to_string_lossy().into_owned();
    files.iter().map(|path| (named(path), fs::read(path).expect("an input can be read"))).collect()
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % end.max(1) as u64) as usize
    }
}

/// One to four bytes set, taken out, doubled or taken from another input.
fn changed(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(5) {
            0 => bytes.insert(at, random.below(256) as u8),
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            3 => {
                let end = at + random.below(bytes.len() - at + 1);
                bytes.drain(at..end);
            }
            _ => {
                let from = random.below(other.len() + 1);
                let to = (from + random.below(32)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    bytes
}

/// Runs a target; where it panics, the input stands before the panic goes on.
fn run(target: Target, what: &str, bytes: &[u8]) {
    struct Told<'a>(&'a str, &'a [u8]);
    impl Drop for Told<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                let hex: String = self.1.iter().map(|byte| format!("{byte:02x}")).collect();
                eprintln!("{}: {hex}", self.0);
            }
        }
    }
    let _told = Told(what, bytes);
    target(bytes);
}

fn replay(name: &str) {
    let (_, target) = *TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    let changes = std::env::var("SWITCHD_FUZZ_CHANGES").ok().map_or(CHANGES, |n| n.parse().expect("a number"));
    let inputs = inputs(name);
    assert!(inputs.len() >= 3, "{name} has a corpus");
    target(&[]);
    let mut random = Random(7);
    for (file, bytes) in &inputs {
        run(target, &format!("{name}/{file}"), bytes);
        for change in 0..changes {
            let (_, other) = &inputs[random.below(inputs.len())];
            let bytes = changed(bytes, other, &mut random);
            run(target, &format!("{name}/{file}, change {change}"), &bytes);
        }
    }
}

/// A test for each target; the list of targets, the programs and the corpora name the same ones.
macro_rules! replays {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                replay(stringify!($name));
            }
        )*

        #[test]
        fn every_target_has_a_test_a_program_and_a_corpus() {
            let tests = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|(name, _)| name), tests);
            let listed = |folder: &Path, extension: &str| {
                let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
                let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
                let mut names: Vec<String> = names.filter_map(|name| name.strip_suffix(extension).map(str::to_owned)).collect();
                names.sort();
                names
            };
            let mut tests = tests.map(str::to_owned).to_vec();
            tests.sort();
            assert_eq!(listed(&corpus(""), ""), tests);
            assert_eq!(listed(&corpus("../fuzz_targets"), ".rs"), tests);
        }
    };
}

replays!(
    frame,
    message_ascii,
    message_bcd,
    codec_differential,
    traffic,
    configuration,
    keys,
    certificate,
    order,
    scenario,
    records,
    snapshot,
    journal_recovery,
);
