//! Ladders of data sizes: what to train on, and what a table offers for replay.

use std::collections::BTreeSet;

use crate::curve::DataSize;
use crate::table::Candidate;

/// `top`, `top/2`, `top/4`, … rounded down, not below `floor` and never 0; ascending.
///
/// These are the sizes of the paper's schedule (Lin et al., ICML 2024, algorithm 1): `top` = γ·D.
/// Empty when `top` is 0 or below `floor`.
#[must_use]
pub fn dyadic_ladder(top: DataSize, floor: DataSize) -> Vec<DataSize> {
    let mut sizes = Vec::new();
    let mut size = top;
    while !size.is_zero() && size >= floor {
        sizes.push(size);
        size = size.half();
    }
    sizes.reverse();
    sizes
}

/// All sizes above 0 and up to `limit` at which any of the candidates was measured; ascending.
#[must_use]
pub fn observed_sizes<'a>(candidates: impl IntoIterator<Item = &'a Candidate>, limit: DataSize) -> Vec<DataSize> {
    let mut sizes = BTreeSet::new();
    for candidate in candidates {
        sizes.extend(
            candidate
                .curve()
                .up_to(limit)
                .iter()
                .map(crate::curve::Observation::data_size),
        );
    }
    sizes.into_iter().collect()
}

/// The rungs on which adaptive policies are replayed: the observed sizes up to `full`, continued by
/// `full/2ⁱ` where the table ends earlier, so that plans are made for the whole way; ascending, last = `full`.
///
/// A policy that asks for a size which the table lacks gets an error that names candidate and size.
#[must_use]
pub fn replay_ladder<'a>(candidates: impl IntoIterator<Item = &'a Candidate>, full: DataSize) -> Vec<DataSize> {
    let mut sizes = observed_sizes(candidates, full);
    let largest = sizes.last().copied();
    let missing: Vec<DataSize> = dyadic_ladder(full, DataSize::new(1).unwrap_or(full))
        .into_iter()
        .filter(|s| Some(*s) > largest)
        .collect();
    if largest.is_some() {
        sizes.extend(missing);
    } else {
        sizes.push(full);
    }
    sizes
}

/// Sum of the sizes in examples: what one candidate costs on this ladder.
#[must_use]
pub fn ladder_cost(sizes: &[DataSize]) -> u64 {
    sizes
        .iter()
        .fold(0_u64, |sum, size| sum.saturating_add(size.examples()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{LearningCurve, Loss, Observation};
    use crate::table::Attributes;

    fn size(examples: u64) -> DataSize {
        DataSize::new(examples).unwrap()
    }

    fn examples(sizes: &[DataSize]) -> Vec<u64> {
        sizes.iter().map(|s| s.examples()).collect()
    }

    fn candidate(sizes: &[u64]) -> Candidate {
        let points = sizes
            .iter()
            .map(|s| Observation::new(size(*s), Loss::new(2.0).unwrap()))
            .collect();
        Candidate::new(
            "c".to_owned(),
            Attributes::default(),
            LearningCurve::new(points).unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn dyadic_sizes_are_rounded_down_and_never_zero() {
        assert_eq!(examples(&dyadic_ladder(size(1000), size(100))), [125, 250, 500, 1000]);
        assert_eq!(examples(&dyadic_ladder(size(7), size(1))), [1, 3, 7]);
        assert_eq!(examples(&dyadic_ladder(size(7), size(0))), [1, 3, 7]);
        assert!(dyadic_ladder(size(0), size(0)).is_empty());
        assert!(dyadic_ladder(size(10), size(11)).is_empty());
    }

    #[test]
    fn replay_continues_the_table_up_to_the_full_size() {
        let pool = [candidate(&[0, 200, 400]), candidate(&[400, 800])];
        assert_eq!(examples(&observed_sizes(&pool, size(400))), [200, 400]);
        assert_eq!(
            examples(&replay_ladder(&pool, size(6400))),
            [200, 400, 800, 1600, 3200, 6400]
        );
        assert_eq!(examples(&replay_ladder(&pool, size(800))), [200, 400, 800]);
        assert_eq!(examples(&replay_ladder(&[], size(800))), [800]);
        assert_eq!(ladder_cost(&[size(200), size(400)]), 600);
    }
}
