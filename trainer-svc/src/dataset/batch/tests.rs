use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::dataset::{EpochOrder, Example, Examples};
use crate::tokenizer::Tokenizer;
use crate::tokenizer::tests::chat_tokenizer;

fn tokenized(lengths: &[usize], sequence_length: usize) -> Tokenized {
    thread_local!(static TOKENIZER: Tokenizer = chat_tokenizer());
    // "mill" with spaces around is a token each.
    let texts = lengths.iter().map(|&words| Example::Completion {
        prompt: "the".to_owned(),
        completion: " mill".repeat(words.max(1)),
    });
    let examples = Examples::of(texts.collect());
    TOKENIZER.with(|tokenizer| Tokenized::new(&examples, tokenizer, sequence_length).unwrap())
}

#[test]
fn a_batch_written_out() {
    let tokenized = tokenized(&[2, 3], 8);
    let (the, mill) = (i64::from(tokenized.ids(0)[0]), i64::from(tokenized.ids(0)[1]));
    let batches: Vec<Batch> = Batches::new(&tokenized, &[1, 0], 3, &Buckets::single(5)).collect();
    assert_eq!(
        batches,
        [Batch {
            rows: 3,
            length: 5,
            ids: vec![the, mill, mill, mill, 0, the, mill, mill, 0, 0, 0, 0, 0, 0, 0],
            targets: vec![mill, mill, mill, 0, 0, mill, mill, 0, 0, 0, 0, 0, 0, 0, 0],
            weights: [1., 1., 1., 0., 0., 1., 1., 0., 0., 0., 0., 0., 0., 0., 0.].to_vec(),
            tokens: 5,
            examples: 2,
            indices: vec![1, 0],
        }]
    );
}

#[test]
fn buckets_double_up_to_the_sequence_length() {
    assert_eq!(Buckets::doubling(128).lengths(), [32, 64, 128]);
    assert_eq!(Buckets::doubling(200).lengths(), [32, 64, 128, 200]);
    assert_eq!(Buckets::doubling(20).lengths(), [20]);
    assert_eq!(Buckets::doubling(128).fitting(33), Some(64));
    assert_eq!(Buckets::doubling(128).fitting(129), None);
}

#[test]
fn a_batch_takes_the_bucket_of_its_longest_example() {
    let tokenized = tokenized(&[3, 40, 3, 3], 64);
    let buckets = Buckets::doubling(64);
    let lengths = |batches: Batches<'_>| batches.map(|batch| batch.length).collect::<Vec<_>>();
    assert_eq!(lengths(Batches::new(&tokenized, &[0, 1, 2, 3], 2, &buckets)), [64, 32]);
    assert_eq!(lengths(Batches::evaluation(&tokenized, 3, &buckets)), [32, 64]);
    assert_eq!(Batches::new(&tokenized, &[0, 2], 1, &buckets).lengths(), [32]);
}

#[test]
fn examples_without_a_prediction_are_left_out() {
    let examples = Examples::of(vec![Example::Text("a".into()), Example::Text("the mill turns".into())]);
    let tokenized = Tokenized::new(&examples, &chat_tokenizer(), 8).unwrap();
    let batches: Vec<Batch> = Batches::new(&tokenized, &[0, 1, 77], 1, &Buckets::doubling(8)).collect();
    assert_eq!(batches.len(), 1);
    assert_eq!(batches[0].indices, [1]);
    assert_eq!(Batches::new(&tokenized, &[0], 1, &Buckets::doubling(8)).next(), None);
}

/// Sums over batches: of each example the predicted (position, token) pairs, and how often it came.
fn seen(batches: Batches<'_>) -> BTreeMap<usize, (usize, Vec<i64>)> {
    let mut seen = BTreeMap::new();
    for batch in batches {
        assert_eq!(batch.ids.len(), batch.rows * batch.length);
        assert_eq!(
            (batch.targets.len(), batch.weights.len()),
            (batch.ids.len(), batch.ids.len())
        );
        assert_eq!(
            batch.weights.iter().filter(|&&weight| weight > 0.0).count(),
            batch.tokens
        );
        assert!(batch.weights.iter().all(|weight| [0.0, 1.0].contains(weight)));
        assert_eq!(batch.indices.len(), batch.examples);
        for (row, &index) in batch.indices.iter().enumerate() {
            let entry: &mut (usize, Vec<i64>) = seen.entry(index).or_default();
            entry.0 += 1;
            let places = row * batch.length..(row + 1) * batch.length;
            let counted = places.clone().filter(|&place| batch.weights[place] > 0.0);
            entry.1.extend(counted.map(|place| batch.targets[place]));
        }
        let filled = batch.examples * batch.length;
        assert!(batch.weights[filled..].iter().all(|&weight| weight == 0.0));
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_predicted_token_comes_once_per_epoch(
        lengths in prop::collection::vec(1_usize..90, 1..40),
        rows in 1_usize..9,
        sequence_length in 2_usize..70,
        seed in any::<u64>(),
        epoch in 0_u64..4,
    ) {
        let tokenized = tokenized(&lengths, sequence_length);
        let buckets = Buckets::doubling(sequence_length);
        let all: Vec<usize> = (0..tokenized.len()).collect();
        let order = EpochOrder::Seeded.epoch(&all, seed, epoch);
        for batches in [Batches::new(&tokenized, &order, rows, &buckets), Batches::evaluation(&tokenized, rows, &buckets)] {
            prop_assert_eq!(batches.count_all(), batches.clone().count());
            prop_assert_eq!(batches.len(), batches.clone().count());
            for batch in batches.clone() {
                prop_assert!(buckets.lengths().contains(&batch.length));
                let longest = batch.indices.iter().map(|&index| tokenized.ids(index).len()).max().unwrap();
                prop_assert_eq!(buckets.fitting(longest), Some(batch.length));
            }
            let seen = seen(batches);
            prop_assert_eq!(seen.len(), tokenized.len());
            for (index, (times, targets)) in seen {
                prop_assert_eq!(times, 1);
                let pairs = tokenized.ids(index).iter().zip(tokenized.counts(index));
                let wanted: Vec<i64> = pairs.filter(|(_, counts)| **counts).map(|(&id, _)| i64::from(id)).collect();
                prop_assert_eq!(targets, wanted);
            }
        }
    }

    #[test]
    fn an_interrupted_epoch_goes_on_where_it_was(batches in 0_usize..12, rows in 1_usize..5) {
        let tokenized = tokenized(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], 64);
        let all: Vec<usize> = (0..tokenized.len()).collect();
        let whole: Vec<Batch> = Batches::new(&tokenized, &all, rows, &Buckets::doubling(64)).collect();
        let mut rest = Batches::new(&tokenized, &all, rows, &Buckets::doubling(64));
        rest.skip_batches(batches);
        prop_assert_eq!(rest.collect::<Vec<_>>(), whole.into_iter().skip(batches).collect::<Vec<_>>());
    }
}
