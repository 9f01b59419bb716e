//! `sim`: runs seeds and judges them.

use sim::{Plan, Telling, run};

fn main() {
    let mut args = std::env::args().skip(1);
    let from: u64 = args.next().map_or(1, |text| text.parse().unwrap());
    let count: u64 = args.next().map_or(1, |text| text.parse().unwrap());
    let trace = args.next().is_some();
    let mut coverage = sim::Coverage::default();
    let (mut transactions, mut faults, mut crashes, mut flagged, mut bad) = (0, 0, 0, 0, 0);
    let started = std::time::Instant::now();
    for seed in from..from + count {
        let out = run(&Plan::draw(seed), Telling { trace, blind: false });
        if trace {
            print!("{}", out.trace);
        }
        transactions += out.transactions;
        faults += out.faults;
        crashes += out.crashes;
        flagged += out.flagged;
        coverage.add(&out.coverage);
        if !out.violations.is_empty() {
            bad += 1;
            println!("seed {seed}: {}", out.violations.iter().take(2).cloned().collect::<Vec<_>>().join(" | "));
        }
    }
    println!(
        "{transactions} transactions {faults} faults {crashes} crashes {flagged} flagged {bad} bad {:?}",
        started.elapsed()
    );
    println!("{coverage:#?}");
}
