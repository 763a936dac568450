//! Held-out losses from per-example sums.

use std::fmt;

/// What a set of examples was measured to lose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measurement {
    /// Mean negative log-likelihood per predicted token, nats.
    pub loss: f64,
    /// Standard error of `loss`, examples being drawn independently; absent for a single example.
    pub standard_error: Option<f64>,
    /// Predicted tokens, > 0.
    pub tokens: u64,
    /// Examples with at least one predicted token, > 0.
    pub examples: u64,
    /// Of these, cut to the sequence length.
    pub truncated: u64,
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} nats per token ({} tokens)", self.loss, self.tokens)
    }
}

/// One example's part of a measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExampleLoss {
    /// Σ negative log-likelihood over its predicted tokens, nats.
    pub sum: f64,
    /// Its predicted tokens.
    pub tokens: u64,
}

impl Measurement {
    /// From the examples, of which so many were cut; `None` when they predict nothing.
    ///
    /// The loss is the ratio L = Σs/Σt. Its standard error is that of a ratio estimator: √(n/(n−1) · Σ(s − L·t)²) / Σt
    /// (Cochran, Sampling Techniques, 3rd edition, equation 2.39, with an infinite population).
    #[must_use]
    pub fn of(examples: &[ExampleLoss], truncated: u64) -> Option<Self> {
        let counted = || examples.iter().filter(|example| example.tokens > 0);
        let tokens: u64 = counted().map(|example| example.tokens).sum();
        if tokens == 0 {
            return None;
        }
        let n = counted().count();
        let loss = counted().map(|example| example.sum).sum::<f64>() / tokens as f64;
        let standard_error = (n > 1).then(|| {
            let squares: f64 = counted()
                .map(|example| (example.sum - loss * example.tokens as f64).powi(2))
                .sum();
            (squares * n as f64 / (n - 1) as f64).sqrt() / tokens as f64
        });
        Some(Self {
            loss,
            standard_error,
            tokens,
            examples: n as u64,
            truncated,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(sum: f64, tokens: u64) -> ExampleLoss {
        ExampleLoss { sum, tokens }
    }

    #[test]
    fn the_loss_is_per_token_not_per_example() {
        let measured = Measurement::of(&[example(2.0, 1), example(3.0, 3), example(9.0, 0)], 1).unwrap();
        assert!((measured.loss - 1.25).abs() < 1e-15);
        assert_eq!((measured.tokens, measured.examples, measured.truncated), (4, 2, 1));
        // s − L·t = ±0.75; √(2 · 2 · 0.5625) / 4
        assert!((measured.standard_error.unwrap() - 0.375).abs() < 1e-15);
    }

    #[test]
    fn one_example_has_no_standard_error_and_none_no_loss() {
        assert_eq!(Measurement::of(&[example(2.0, 1)], 0).unwrap().standard_error, None);
        assert_eq!(Measurement::of(&[example(0.0, 0)], 0), None);
        assert_eq!(Measurement::of(&[], 0), None);
    }
}
