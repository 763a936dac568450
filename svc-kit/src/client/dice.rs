//! Random numbers for spreading: which replica, how long to wait. Not for secrets.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// The increment of `SplitMix64`.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// `SplitMix64` (Steele, Lea, Flood 2014, doi 10.1145/2660193.2660195) over a shared counter: no lock, any thread.
#[derive(Debug)]
pub(super) struct Dice {
    state: AtomicU64,
}

impl Dice {
    /// Seeded by the operating system.
    pub(super) fn new() -> Self {
        Self::seeded(RandomState::new().build_hasher().finish())
    }

    /// Always the same numbers.
    pub(super) fn seeded(seed: u64) -> Self {
        Self {
            state: AtomicU64::new(seed),
        }
    }

    /// 64 random bits.
    pub(super) fn roll(&self) -> u64 {
        mix(self.state.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN))
    }

    /// A number in `0..count`; 0 for a count of 0.
    pub(super) fn below(&self, count: usize) -> usize {
        let product = u128::from(self.roll()) * (count as u128);
        usize::try_from(product >> 64).unwrap_or_default()
    }

    /// A number in [0, 1).
    pub(super) fn unit(&self) -> f64 {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Spreads the bits of a number over all 64; `SplitMix64`'s finaliser.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_evenly_and_stay_in_range() {
        let dice = Dice::seeded(7);
        let mut counts = [0_u32; 5];
        for _ in 0..10_000 {
            counts[dice.below(5)] += 1;
            assert!((0.0..1.0).contains(&dice.unit()));
        }
        // The standard deviation of a count is 40.
        assert!(counts.iter().all(|count| (1_800..2_200).contains(count)), "{counts:?}");
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.below(1), 0);
    }
}
