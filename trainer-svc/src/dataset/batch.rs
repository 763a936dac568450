//! Batches of static shapes.
//!
//! A compiled graph has one shape, so sequences are padded to one of a few lengths, the *buckets*, and a batch always has the same
//! number of rows: the last one of an epoch is filled up with empty rows. Padding is on the right, with id 0 and weight 0; under a
//! causal mask it changes nothing.
//!
//! Position t of a row predicts token t + 1: `targets` are the ids moved by one, and `weights` say where they count. The mean over
//! the counted tokens of a batch is what transformers computes with `labels` in which the others are −100.

use super::tokenized::Tokenized;

/// The shortest bucket.
const SHORTEST: usize = 32;

/// Sequence lengths for which graphs are made, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets(Vec<usize>);

impl Buckets {
    /// 32, 64, 128, … and the sequence length itself.
    #[must_use]
    pub fn doubling(sequence_length: usize) -> Self {
        let mut lengths = Vec::new();
        let mut length = SHORTEST;
        while length < sequence_length {
            lengths.push(length);
            length = length.saturating_mul(2);
        }
        lengths.push(sequence_length);
        Self(lengths)
    }

    /// Only the sequence length.
    #[must_use]
    pub fn single(sequence_length: usize) -> Self {
        Self(vec![sequence_length])
    }

    /// The lengths, ascending.
    #[must_use]
    pub fn lengths(&self) -> &[usize] {
        &self.0
    }

    /// The shortest bucket for so many tokens; `None`: they fit none.
    #[must_use]
    pub fn fitting(&self, tokens: usize) -> Option<usize> {
        self.0.iter().copied().find(|&length| length >= tokens)
    }
}

/// A batch. The tensors are row-major `[rows, length]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Rows, empty ones included.
    pub rows: usize,
    /// The bucket.
    pub length: usize,
    /// Token ids, 0 where there is none.
    pub ids: Vec<i64>,
    /// The next token, 0 where there is none.
    pub targets: Vec<i64>,
    /// 1 where the target counts, 0 elsewhere.
    pub weights: Vec<f32>,
    /// Targets that count: the sum of the weights, at least 1.
    pub tokens: usize,
    /// Rows with an example: the first ones.
    pub examples: usize,
    /// Which example (an index of the [`Tokenized`]) each of these rows holds.
    pub indices: Vec<usize>,
}

/// Batches of an epoch or an evaluation.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    tokenized: &'a Tokenized,
    buckets: Buckets,
    rows: usize,
    order: Vec<usize>,
    next: usize,
}

impl<'a> Batches<'a> {
    /// Batches in this order, for training. Examples without a token to predict, and indices that are none, are left out; so
    /// there may be no batch at all.
    #[must_use]
    pub fn new(tokenized: &'a Tokenized, order: &[usize], rows: usize, buckets: &Buckets) -> Self {
        let fits = |index: usize| buckets.fitting(tokenized.ids(index).len()).is_some();
        Self {
            tokenized,
            buckets: buckets.clone(),
            rows: rows.max(1),
            order: order
                .iter()
                .copied()
                .filter(|&index| tokenized.predicted(index) > 0 && fits(index))
                .collect(),
            next: 0,
        }
    }

    /// Every example that has a token to predict once, the shortest first: little is padded.
    #[must_use]
    pub fn evaluation(tokenized: &'a Tokenized, rows: usize, buckets: &Buckets) -> Self {
        let mut order: Vec<usize> = (0..tokenized.len()).collect();
        order.sort_by_key(|&index| (tokenized.ids(index).len(), index));
        Self::new(tokenized, &order, rows, buckets)
    }

    /// Batches from the beginning, those that were taken included.
    #[must_use]
    pub fn count_all(&self) -> usize {
        self.order.len().div_ceil(self.rows)
    }

    /// Examples in all of them.
    #[must_use]
    pub fn examples(&self) -> usize {
        self.order.len()
    }

    /// Passes over batches, to go on where a run was interrupted.
    pub fn skip_batches(&mut self, batches: usize) {
        self.next = self
            .next
            .saturating_add(batches.saturating_mul(self.rows))
            .min(self.order.len());
    }

    /// The buckets that occur in the batches, ascending.
    #[must_use]
    pub fn lengths(&self) -> Vec<usize> {
        let mut lengths: Vec<usize> = self
            .order
            .chunks(self.rows)
            .filter_map(|rows| self.bucket(rows))
            .collect();
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }

    fn bucket(&self, indices: &[usize]) -> Option<usize> {
        let longest = indices.iter().map(|&index| self.tokenized.ids(index).len()).max()?;
        self.buckets.fitting(longest)
    }
}

impl Iterator for Batches<'_> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        let end = self.next.saturating_add(self.rows).min(self.order.len());
        let indices = self.order.get(self.next..end)?.to_vec();
        let length = self.bucket(&indices)?;
        self.next = end;
        let size = self.rows * length;
        let mut batch = Batch {
            rows: self.rows,
            length,
            ids: vec![0; size],
            targets: vec![0; size],
            weights: vec![0.0; size],
            tokens: indices.iter().map(|&index| self.tokenized.predicted(index)).sum(),
            examples: indices.len(),
            indices,
        };
        for (row, &index) in batch.indices.iter().enumerate() {
            let (ids, counts) = (self.tokenized.ids(index), self.tokenized.counts(index));
            let places = row * length..row * length + ids.len();
            for (place, &id) in batch.ids[places.clone()].iter_mut().zip(ids) {
                *place = i64::from(id);
            }
            for (place, &id) in batch.targets[places.clone()].iter_mut().zip(ids.iter().skip(1)) {
                *place = i64::from(id);
            }
            for (place, &counts) in batch.weights[places].iter_mut().zip(counts.iter().skip(1)) {
                *place = f32::from(u8::from(counts));
            }
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.order.len() - self.next).div_ceil(self.rows);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Batches<'_> {}

#[cfg(test)]
mod tests;
