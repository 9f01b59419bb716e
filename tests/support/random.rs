//! The seed of tests that draw.

use std::time::{SystemTime, UNIX_EPOCH};

/// `SWITCHD_TEST_SEED`, or another one every time; it is printed.
pub(crate) fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    seed_or(u64::from(now.subsec_nanos()))
}

/// `SWITCHD_TEST_SEED`, or this one; it is printed.
pub(crate) fn seed_or(usual: u64) -> u64 {
    let given = std::env::var("SWITCHD_TEST_SEED").ok();
    let seed = given.map_or(usual, |text| text.parse().expect("SWITCHD_TEST_SEED is a number"));
    println!("seed {seed}; again with SWITCHD_TEST_SEED={seed}");
    seed
}
