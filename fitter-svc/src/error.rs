//! What a caller can get wrong. A fit that goes badly is not here: that is a [`crate::fit::Verdict`] in the report.

use thiserror::Error;

/// Why observations do not make a [`crate::curve::LearningCurve`].
///
/// Every variant names the offending observation by its index in the input, so that an adapter can turn it into a
/// field path or a file row.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum CurveError {
    /// No observations at all.
    #[error("a learning curve needs at least one observation")]
    Empty,
    /// A data size at or above [`crate::curve::MAX_DATA_SIZE`].
    #[error("observation {index}: data size {data_size} is not below 2^53")]
    DataSizeTooLarge {
        /// Index in the input.
        index: usize,
        /// The size given, in examples.
        data_size: u64,
    },
    /// The same data size twice.
    #[error("observation {index}: data size {data_size} occurs twice")]
    DuplicateDataSize {
        /// Index of the second occurrence in the input.
        index: usize,
        /// The repeated size, in examples.
        data_size: u64,
    },
    /// A data size below its predecessor.
    #[error("observation {index}: data sizes must ascend, {data_size} comes after a larger one")]
    Unsorted {
        /// Index in the input.
        index: usize,
        /// The size that comes too late, in examples.
        data_size: u64,
    },
    /// A loss that is not a finite number in [`crate::curve::MIN_LOSS`] ..= [`crate::curve::MAX_LOSS`].
    #[error("observation {index}: test loss {test_loss} is not a number between 1e-12 and 1e6")]
    LossOutOfRange {
        /// Index in the input.
        index: usize,
        /// The loss given, nats per token.
        test_loss: f64,
    },
    /// A weight that is not finite, not positive, or outside [`crate::curve::MIN_WEIGHT`] ..=
    /// [`crate::curve::MAX_WEIGHT`].
    #[error("observation {index}: weight {weight} is not a number between 1e-9 and 1e9")]
    WeightOutOfRange {
        /// Index in the input.
        index: usize,
        /// The weight given.
        weight: f64,
    },
    /// A standard error that is negative, infinite or NaN.
    #[error("observation {index}: standard error {standard_error} is not a finite number >= 0")]
    StandardErrorOutOfRange {
        /// Index in the input.
        index: usize,
        /// The standard error given, nats per token.
        standard_error: f64,
    },
}

/// Why a request cannot be carried out on otherwise good curves.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum FitError {
    /// The Huber width is not a finite number in `1e-9 ..= 10`.
    #[error("huber width {0} is not a number between 1e-9 and 10")]
    HuberWidth(f64),
    /// A confidence level outside the open interval (0, 1).
    #[error("level {0} is not a number strictly between 0 and 1")]
    Level(f64),
    /// Bootstrap draws below 1.
    #[error("at least one bootstrap draw is needed")]
    NoDraws,
    /// A data size at or above 2^53 to predict at.
    #[error("data size {0} is not below 2^53")]
    DataSize(u64),
    /// A factor (model size, tuned parameters, pre-training data) that is not finite and positive.
    #[error("panel curve {index}: factor {factor} is not a finite number > 0")]
    Factor {
        /// Index of the curve in the panel.
        index: usize,
        /// The factor given.
        factor: f64,
    },
    /// A panel without curves.
    #[error("a joint law needs at least one curve")]
    EmptyPanel,
    /// No laws to compare.
    #[error("no laws to compare")]
    NoLaws,
    /// A search range whose lower end is not below its upper end, or is zero.
    #[error("range {lower}..{upper} is empty or starts at 0")]
    Range {
        /// Lower end, in examples.
        lower: u64,
        /// Upper end, in examples.
        upper: u64,
    },
}
