//! A seeded generator (SplitMix64), so that a run can be repeated.
//!
//! Not for secrets. Invariant: the same seed gives the same sequence on every machine.

/// A small deterministic generator.
#[derive(Debug, Clone)]
pub struct Seeded(u64);

impl Seeded {
    /// A generator that starts from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`; 0 when `n` is 0. The slight bias of the remainder does not matter here.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next_u64().checked_rem(n).unwrap_or(0)
    }

    /// True with probability `rate` (0 never, 1 always).
    pub fn chance(&mut self, rate: f64) -> bool {
        // 53 bits are what an f64 in [0, 1) can hold.
        let unit = (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        unit < rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_sequence() {
        let (mut a, mut b) = (Seeded::new(7), Seeded::new(7));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert_ne!(Seeded::new(7).next_u64(), Seeded::new(8).next_u64());
    }

    #[test]
    fn chance_keeps_to_its_rate() {
        let mut seeded = Seeded::new(1);
        let hits = (0..10_000).filter(|_| seeded.chance(0.25)).count();
        assert!((2300..2700).contains(&hits), "{hits}");
        assert!(!(0..1000).any(|_| seeded.chance(0.0)));
        assert!((0..1000).all(|_| seeded.chance(1.0)));
    }
}
