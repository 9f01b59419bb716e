//! What is given back is wiped: looked for in the memory where it was.
//!
//! Linux shows a process its own memory as a file, so that reading where nothing is owned any more needs no `unsafe`. The
//! allocator (glibc) writes links into the first bytes of what it gets back and leaves the rest as it was; the first test
//! shows that it does, else the others could not fail.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;

use iso8583::{Fields, Mti, Pan};

/// The allocator may write into these, at the front.
const LINK_BYTES: usize = 32;
/// Bytes that are looked at behind them.
const SEEN_BYTES: usize = 128;

/// A digit that fills what has to be wiped.
const SECRET: u8 = b'7';
const VALUE: [u8; LINK_BYTES + SEEN_BYTES] = [SECRET; LINK_BYTES + SEEN_BYTES];

/// How many bytes of the secret that begins at `at` are still there after `give_back`.
fn left_behind(at: *const u8, give_back: impl FnOnce()) -> usize {
    let memory = File::open("/proc/self/mem").expect("a process may read itself");
    let look = || {
        let mut seen = [0; SEEN_BYTES];
        memory.read_exact_at(&mut seen, (at.addr() + LINK_BYTES) as u64).expect("the allocator keeps the memory");
        seen.iter().filter(|byte| **byte == SECRET).count()
    };
    // Between two card numbers stands a length.
    assert!(look() > SEEN_BYTES * 9 / 10, "it is there before");
    give_back();
    look()
}

fn message() -> (Fields, *const u8) {
    let mut fields = Fields::new(Mti::new(b"0200"));
    fields.set(48, &VALUE);
    let at = fields.get(48).expect("just set").as_ptr();
    (fields, at)
}

#[test]
fn what_is_not_wiped_stays() {
    let value = black_box(VALUE.to_vec());
    assert_eq!(left_behind(value.as_ptr(), || drop(value)), SEEN_BYTES);
}

#[test]
fn a_dropped_message_is_wiped() {
    let (fields, at) = message();
    assert_eq!(left_behind(at, || drop(fields)), 0);
}

#[test]
fn the_buffer_that_a_message_outgrows_is_wiped() {
    let (mut fields, at) = message();
    assert_eq!(left_behind(at, || fields.set(63, &[b'0'; 999])), 0);
    assert_eq!(fields.get(48), Some(&VALUE[..]));
}

#[test]
fn dropped_card_numbers_are_wiped() {
    let pans = vec![Pan::try_from(&[SECRET; Pan::MAX][..]).expect("digits"); 16];
    assert_eq!(left_behind(pans[0].digits().as_ptr(), || drop(pans)), 0);
}
