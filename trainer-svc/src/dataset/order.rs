//! Seeded permutations. They are part of what a measurement means, so they are spelt out here and never change: not with the
//! version of a crate, not with the machine.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// In which order examples are trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EpochOrder {
    /// As they lie in the files, in every epoch.
    AsIs,
    /// A permutation of the seed and the epoch.
    #[default]
    Seeded,
}

impl EpochOrder {
    /// The order of epoch `epoch` (from 0) over `examples`, which are indices in the order of the files.
    #[must_use]
    pub fn epoch(self, examples: &[usize], seed: u64, epoch: u64) -> Vec<usize> {
        match self {
            Self::AsIs => {
                let mut order = examples.to_vec();
                order.sort_unstable();
                order
            }
            // Stream 0 chooses subsets.
            Self::Seeded => permutation(examples.len(), seed, epoch.wrapping_add(1))
                .into_iter()
                .filter_map(|place| examples.get(place).copied())
                .collect(),
        }
    }
}

/// A permutation of 0..n that depends on nothing but n and the seed. Its first k entries are the subset of size k: the smaller
/// subset is contained in the larger one.
#[must_use]
pub fn order(n: usize, subset_seed: u64) -> Vec<usize> {
    permutation(n, subset_seed, 0)
}

/// Fisher and Yates, from the last place down, over `ChaCha8` (key from the seed by `seed_from_u64`, the stream as given).
fn permutation(n: usize, seed: u64, stream: u64) -> Vec<usize> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(stream);
    let mut places: Vec<usize> = (0..n).collect();
    for last in (1..n).rev() {
        places.swap(last, below(&mut random, last + 1));
    }
    places
}

/// Uniform in 0..bound, bound ≥ 1: the high half of a 64 × 64 bit product, and another draw where that would be uneven
/// (D. Lemire, Fast random integer generation in an interval, 2019, section 4).
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low half, and a number below a usize"
)]
fn below(random: &mut ChaCha8Rng, bound: usize) -> usize {
    let bound = bound as u64;
    let uneven = bound.wrapping_neg() % bound;
    loop {
        let product = u128::from(random.next_u64()) * u128::from(bound);
        if product as u64 >= uneven {
            return (product >> 64) as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_permutations_are_the_published_ones() {
        // Computed apart, by an implementation of ChaCha8 and of this page in Python.
        assert_eq!(order(10, 0), [6, 1, 8, 3, 2, 9, 0, 5, 4, 7]);
        let subset = order(10, 7);
        assert_eq!(subset, [4, 6, 2, 0, 8, 3, 7, 5, 9, 1]);
        assert_eq!(EpochOrder::Seeded.epoch(&subset, 7, 0), [5, 6, 7, 8, 2, 9, 0, 3, 4, 1]);
    }

    #[test]
    fn every_place_is_about_equally_likely() {
        // 4 places, 4,000 seeds: each element is first 1,000 ± 27 times (standard deviation); six of those are allowed.
        let mut first = [0_i32; 4];
        for seed in 0..4_000 {
            first[order(4, seed)[0]] += 1;
        }
        assert!(first.iter().all(|count| (count - 1_000).abs() < 165), "{first:?}");
    }

    #[test]
    fn as_is_is_the_order_of_the_file_in_every_epoch() {
        for epoch in 0..3 {
            assert_eq!(EpochOrder::AsIs.epoch(&[5, 2, 9], 1, epoch), [2, 5, 9]);
        }
    }

    proptest! {
        #[test]
        fn it_is_a_permutation(n in 0_usize..300, seed in any::<u64>()) {
            let mut places = order(n, seed);
            places.sort_unstable();
            prop_assert_eq!(places, (0..n).collect::<Vec<_>>());
        }

        #[test]
        fn epochs_differ_and_repeat(seed in any::<u64>(), epoch in 0_u64..50) {
            let examples: Vec<usize> = (100..150).collect();
            let order = EpochOrder::Seeded.epoch(&examples, seed, epoch);
            prop_assert_eq!(&order, &EpochOrder::Seeded.epoch(&examples, seed, epoch));
            prop_assert_ne!(&order, &EpochOrder::Seeded.epoch(&examples, seed, epoch + 1));
            prop_assert_ne!(&order, &EpochOrder::Seeded.epoch(&examples, seed ^ 1, epoch));
        }
    }
}
