//! How long one message takes: ns per validated parse and per assembly of a chip purchase (0200) in
//! both dialects, beside `iso8583_rs`.
//!
//! Not a test of correctness, but each side must first give the same values, else figures would
//! compare different work. `iso8583_rs` can panic and has one specification a process, taken from an
//! environment variable: it runs in a child process, this same program started again.

use std::hint::black_box;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use iso8583::{Dialect, Fields, Layout, Mti};

/// What the design allows, in ns (docs/ARCHITECTURE.md).
const PARSE_BUDGET_NS: f64 = 200.0;
const ASSEMBLY_BUDGET_NS: f64 = 150.0;

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(40);

/// Argument with which this program is started again, as the peer.
const PEER: &str = "--iso8583-rs";

const TEXT_FIELDS: [(u8, &str); 16] = [
    (2, "4000001234567899"),
    (3, "000000"),
    (4, "000000012345"),
    (7, "1122045807"),
    (11, "123456"),
    (12, "045807"),
    (13, "1122"),
    (14, "2812"),
    (22, "051"),
    (24, "200"),
    (25, "00"),
    (35, "4000001234567899=28122011234567890123"),
    (37, "532604123456"),
    (41, "TERM0001"),
    (42, "MERCHANT0000001"),
    (49, "840"),
];
const PIN_BLOCK: [u8; 8] = [0xA1, 0xB2, 0xC3, 0xD4, 0xE5, 0xF6, 0x07, 0x18];
const CHIP_BYTES: usize = 91;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == PEER) {
        peer::run();
        return ExitCode::SUCCESS;
    }
    let ours: Vec<Figures> = Dialect::all().iter().map(|dialect| measure(dialect)).collect();
    let [first, ..] = &ours[..] else {
        return ExitCode::FAILURE;
    };
    println!("parse {:.0} ns, assembly {:.0} ns", first.parse_ns, first.assembly_ns);
    println!(
        "  a chip purchase 0200 with {} fields, {} bytes of {}; budget {PARSE_BUDGET_NS:.0} and {ASSEMBLY_BUDGET_NS:.0} ns",
        TEXT_FIELDS.len() + 2,
        first.bytes,
        first.name
    );
    println!("  on {}, one core; median of {ROUNDS} rounds", processor());
    println!("  compared with iso8583_rs 0.1.10 below\n");
    warn_of_conditions();

    println!("{:<32}{:>8}{:>12}{:>16}{:>12}", "", "bytes", "parse ns", "to values ns", "assembly ns");
    for figures in &ours {
        println!(
            "{:<32}{:>8}{:>12.0}{:>16.0}{:>12.0}",
            figures.name, figures.bytes, figures.parse_ns, figures.values_ns, figures.assembly_ns
        );
    }
    match run_peer() {
        Ok(lines) => print!("{lines}"),
        Err(why) => println!("iso8583_rs 0.1.10: no figures: {why}"),
    }
    println!(
        "\nparse: validated, into offsets. to values: the same and all values copied out of the message.\n\
         iso8583_rs checks no content and copies all values; its message has a binary bitmap."
    );
    ExitCode::SUCCESS
}

struct Figures {
    name: &'static str,
    bytes: usize,
    parse_ns: f64,
    values_ns: f64,
    assembly_ns: f64,
}

/// Tag 9F10 around bytes that stand for the cryptogram and what belongs to it.
fn chip_data() -> Vec<u8> {
    let value = (0..CHIP_BYTES as u8 - 3).map(|i| i.wrapping_mul(37));
    [0x9F, 0x10, CHIP_BYTES as u8 - 3].into_iter().chain(value).collect()
}

fn purchase() -> Fields {
    let mut fields = Fields::new(Mti::new(b"0200"));
    for (de, value) in TEXT_FIELDS {
        fields.set(de, value.as_bytes());
    }
    fields.set(52, &PIN_BLOCK);
    fields.set(55, &chip_data());
    fields
}

fn measure(dialect: &'static Dialect) -> Figures {
    let fields = purchase();
    let mut bytes = Vec::new();
    dialect.assemble(&fields, &mut bytes).expect("the purchase fits the table");
    let mut layout = Layout::new();
    let mut read = Fields::new(Mti::new(b"0000"));
    dialect.parse(&bytes, &mut layout).expect("what was assembled").fields_into(&mut read);
    assert!(read == fields, "the same values");

    let parse_ns = median_ns(|| {
        black_box(dialect.parse(black_box(&bytes), &mut layout)).expect("as before");
    });
    let values_ns = median_ns(|| {
        dialect.parse(black_box(&bytes), &mut layout).expect("as before").fields_into(&mut read);
        black_box(&read);
    });
    let mut out = Vec::new();
    let assembly_ns = median_ns(|| {
        dialect.assemble(black_box(&fields), &mut out).expect("as before");
        black_box(&out);
    });
    Figures { name: dialect.name, bytes: bytes.len(), parse_ns, values_ns, assembly_ns }
}

/// Median over the rounds of the mean time of one call.
fn median_ns(mut call: impl FnMut()) -> f64 {
    // The first round warms up and says how many calls fill one.
    let started = Instant::now();
    let mut calls = 0_u32;
    while started.elapsed() < ROUND {
        (0..100).for_each(|_| call());
        calls += 100;
    }
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            (0..calls).for_each(|_| call());
            started.elapsed().as_nanos() as f64 / f64::from(calls)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or("an unknown processor".into(), |(_, name)| name.into())
}

fn warn_of_conditions() {
    if cfg!(debug_assertions) {
        println!("WARNING: built without optimisation, the figures mean nothing\n");
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    if load > cores as f64 / 2.0 {
        println!("WARNING: the machine is busy (load {load} on {cores} cores), figures are too high\n");
    }
}

/// Starts this program again as the peer and gives its line of the table.
fn run_peer() -> std::io::Result<String> {
    let specification = SpecificationFile::write()?;
    let output = Command::new(std::env::current_exe()?).arg(PEER).env("SPEC_FILE", &specification.0).output()?;
    // It prints lines of its own too.
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.starts_with("iso8583_rs"));
    let ended = || std::io::Error::other(format!("its process ended with {}", output.status));
    line.map(|line| format!("{line}\n")).ok_or_else(ended)
}

/// A file that is removed with the value.
struct SpecificationFile(PathBuf);

impl SpecificationFile {
    fn write() -> std::io::Result<Self> {
        let name = format!("switchd-bench-codec-{}.yaml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, peer::specification())?;
        Ok(Self(path))
    }
}

impl Drop for SpecificationFile {
    fn drop(&mut self) {
        // Left behind it is harmless: it holds no data.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// `iso8583_rs` on the same values: ASCII with a binary bitmap, which it reads correctly.
mod peer {
    use std::fmt::Write;
    use std::hint::black_box;

    use iso8583::Dialect;
    use iso8583::table::Length;
    use iso8583_rs::iso8583::iso_spec;

    use super::{median_ns, purchase};

    const SEGMENT: &str = "purchase";

    /// The fields of `iso87-ascii` in its own format.
    pub(super) fn specification() -> String {
        let mut yaml = format!(
            "name: peer\nid: 1\n\
             header_fields:\n  - {{name: header, id: 1, type: Fixed, len: 4, data_encoding: ASCII}}\n\
             messages:\n  - name: {SEGMENT}\n    selector: [\"0200\"]\n    id: 1\n    fields:\n\
             \x20     - {{name: message_type, id: 1, type: Fixed, len: 4, data_encoding: ASCII}}\n\
             \x20     - name: bitmap\n        id: 2\n        type: Bitmapped\n        len: 0\n\
             \x20       data_encoding: BINARY\n        children:\n"
        );
        for (de, _) in purchase().iter() {
            let row = ascii().row(de).expect("a field of the table");
            let (kind, len) = match row.length {
                Length::Fixed => ("Fixed", row.maximum),
                Length::Ll(_) => ("Variable", 2),
                Length::Lll(_) => ("Variable", 3),
            };
            writeln!(
                yaml,
                "          - {{name: f{de}, id: {de}, type: {kind}, len: {len}, len_encoding: ASCII, \
                 data_encoding: ASCII, position: {de}}}"
            )
            .expect("a String takes everything");
        }
        yaml
    }

    /// Checks that it gives our values and bytes, measures, prints its line of the table.
    pub(super) fn run() {
        let mut bytes = message();
        let spec = iso_spec::spec("");
        let read = spec.parse(&mut bytes).expect("a good message");
        for (de, value) in super::TEXT_FIELDS {
            assert_eq!(read.bmp_child_value(de.into()).expect("present"), value, "DE {de}");
        }
        assert_eq!(read.assemble().expect("as it was read"), bytes, "the same bytes");

        let parse_ns = median_ns(|| {
            black_box(spec.parse(black_box(&mut bytes))).expect("as before");
        });
        let assembly_ns = median_ns(|| {
            black_box(black_box(&read).assemble()).expect("as before");
        });
        println!("{:<32}{:>8}{:>12}{parse_ns:>16.0}{assembly_ns:>12.0}", "iso8583_rs 0.1.10", bytes.len(), "-");
    }

    fn ascii() -> &'static Dialect {
        Dialect::by_name("iso87-ascii").expect("built in")
    }

    /// The message of `iso87-ascii` with its sixteen hex characters of bitmap as eight bytes.
    fn message() -> Vec<u8> {
        let mut text = Vec::new();
        ascii().assemble(&purchase(), &mut text).expect("the purchase fits the table");
        let (mti, rest) = text.split_at(4);
        let (bitmap, fields) = rest.split_at(16);
        let bitmap = u64::from_str_radix(&String::from_utf8_lossy(bitmap), 16).expect("hex");
        [mti, &bitmap.to_be_bytes(), fields].concat()
    }
}
