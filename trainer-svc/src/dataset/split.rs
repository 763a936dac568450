//! Which examples are held out, and which are trained on.
//!
//! Without a held-out file the held-out part is taken from the data by content: of the different examples, those with the
//! smallest content hashes ([`Example::content_hash`]), a tenth of them (rounded down), at least 1, at most 1,000. So it depends
//! neither on a seed, nor on the order or the size, nor on the candidate; with n examples added, at most n + n/10 of its members
//! change, and none at random. Further copies of a held-out example belong to neither part.
//!
//! With a held-out file all its examples are held out, and the training part is the data without copies of them.
//!
//! A subset of the training part is the beginning of one seeded permutation: the smaller is contained in the larger.

use std::collections::{BTreeMap, BTreeSet};

use super::error::DataError;
use super::example::Example;
use super::order::order;
use super::read::Examples;

/// Examples that are held out at most, where the split is ours.
const HELD_OUT_LIMIT: usize = 1_000;

/// Where the held-out examples lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldOut {
    /// In the data: these indices, ascending.
    Inside(Vec<usize>),
    /// In other data: all of them.
    Outside,
}

/// A division of data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// What is held out.
    pub held_out: HeldOut,
    /// Indices of the training part in the data, ascending.
    pub training: Vec<usize>,
    /// Examples in neither part, because they are copies of a held-out one.
    pub copies: usize,
}

impl Split {
    /// Takes the held-out part from the data.
    ///
    /// # Errors
    /// [`DataError::TooFewToSplit`]: there are not two different examples.
    pub fn inside(data: &Examples) -> Result<Self, DataError> {
        let hashes = hashes(data);
        let mut first: BTreeMap<[u8; 32], usize> = BTreeMap::new();
        for (index, hash) in hashes.iter().enumerate() {
            first.entry(*hash).or_insert(index);
        }
        let distinct = first.len();
        if distinct < 2 {
            return Err(DataError::TooFewToSplit { distinct });
        }
        let size = (distinct / 10).clamp(1, HELD_OUT_LIMIT);
        let held: BTreeMap<[u8; 32], usize> = first.into_iter().take(size).collect();
        let training = without(&hashes, |hash| held.contains_key(hash));
        let mut indices: Vec<usize> = held.into_values().collect();
        indices.sort_unstable();
        Ok(Self {
            copies: hashes.len() - training.len() - indices.len(),
            held_out: HeldOut::Inside(indices),
            training,
        })
    }

    /// Takes copies of the held-out examples out of the data.
    #[must_use]
    pub fn outside(data: &Examples, held_out: &Examples) -> Self {
        let held: BTreeSet<[u8; 32]> = hashes(held_out).into_iter().collect();
        let hashes = hashes(data);
        let training = without(&hashes, |hash| held.contains(hash));
        Self {
            copies: hashes.len() - training.len(),
            held_out: HeldOut::Outside,
            training,
        }
    }

    /// `size` training examples: indices in the data, in the permutation's order. 0 is none: the model as it is.
    ///
    /// # Errors
    /// [`DataError::TooFewExamples`]: there are not so many.
    pub fn subset(&self, size: usize, subset_seed: u64) -> Result<Vec<usize>, DataError> {
        if size > self.training.len() {
            return Err(DataError::TooFewExamples {
                asked: size,
                available: self.training.len(),
            });
        }
        let places = order(self.training.len(), subset_seed);
        Ok(places
            .into_iter()
            .take(size)
            .filter_map(|place| self.training.get(place).copied())
            .collect())
    }
}

fn hashes(data: &Examples) -> Vec<[u8; 32]> {
    data.examples().iter().map(Example::content_hash).collect()
}

fn without(hashes: &[[u8; 32]], held: impl Fn(&[u8; 32]) -> bool) -> Vec<usize> {
    let kept = hashes.iter().enumerate().filter(|(_, hash)| !held(hash));
    kept.map(|(index, _)| index).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn data(texts: impl IntoIterator<Item = u32>) -> Examples {
        Examples::of(
            texts
                .into_iter()
                .map(|number| Example::Text(format!("text {number}")))
                .collect(),
        )
    }

    fn held(split: &Split) -> &[usize] {
        match &split.held_out {
            HeldOut::Inside(indices) => indices,
            HeldOut::Outside => panic!("inside is wanted"),
        }
    }

    fn held_texts(data: &Examples) -> BTreeSet<[u8; 32]> {
        let split = Split::inside(data).unwrap();
        held(&split)
            .iter()
            .map(|&index| data.examples()[index].content_hash())
            .collect()
    }

    #[test]
    fn a_tenth_at_least_one_at_most_a_thousand() {
        for (examples, wanted) in [(2, 1), (9, 1), (19, 1), (20, 2), (999, 99), (12_000, 1_000)] {
            assert_eq!(
                held(&Split::inside(&data(0..examples)).unwrap()).len(),
                wanted,
                "{examples}"
            );
        }
        assert_eq!(
            Split::inside(&data([7, 7, 7])),
            Err(DataError::TooFewToSplit { distinct: 1 })
        );
    }

    #[test]
    fn adding_examples_moves_few() {
        let before = held_texts(&data(0..1_000));
        let after = held_texts(&data(0..1_100));
        assert_eq!(after.len(), 110);
        // 100 new ones of 1,100: about ten of the old 100 make room at most, and ten places are new.
        assert!(before.intersection(&after).count() >= 95 - 10);
    }

    #[test]
    fn more_than_there_are_is_refused_with_both_numbers() {
        let split = Split::inside(&data(0..50)).unwrap();
        assert_eq!(split.subset(45, 1).unwrap().len(), 45);
        assert_eq!(
            split.subset(46, 1),
            Err(DataError::TooFewExamples {
                asked: 46,
                available: 45
            })
        );
        assert!(split.subset(0, 1).unwrap().is_empty());
    }

    #[test]
    fn a_held_out_file_takes_its_copies_out() {
        let split = Split::outside(&data([1, 2, 3, 2, 4]), &data([2, 9]));
        assert_eq!(split.training, [0, 2, 4]);
        assert_eq!(split.copies, 2);
    }

    proptest! {
        #[test]
        fn parts_are_disjoint_and_copies_are_in_neither(texts in prop::collection::vec(0_u32..60, 2..120)) {
            let data = data(texts);
            let Ok(split) = Split::inside(&data) else { return Ok(()) };
            let out: BTreeSet<_> = held(&split).iter().map(|&index| data.examples()[index].content_hash()).collect();
            prop_assert_eq!(out.len(), held(&split).len(), "a held-out example counts once");
            for &index in &split.training {
                prop_assert!(!out.contains(&data.examples()[index].content_hash()));
            }
            prop_assert_eq!(split.training.len() + held(&split).len() + split.copies, data.len());
            prop_assert!(!split.training.is_empty());
        }

        #[test]
        fn the_order_of_the_file_does_not_matter(seed in any::<u64>()) {
            let shuffled = data(order(200, seed).into_iter().map(|number| u32::try_from(number).unwrap()));
            prop_assert_eq!(held_texts(&shuffled), held_texts(&data(0..200)));
        }

        #[test]
        fn subsets_are_nested(seed in any::<u64>(), small in 0_usize..90, more in 0_usize..90) {
            let split = Split::inside(&data(0..200)).unwrap();
            let less = split.subset(small, seed).unwrap();
            let large = split.subset(small + more, seed).unwrap();
            prop_assert_eq!(&large[..small], &less[..]);
            prop_assert!(large.iter().all(|index| !held(&split).contains(index)));
            prop_assert_eq!(large.iter().collect::<BTreeSet<_>>().len(), large.len());
        }
    }
}
