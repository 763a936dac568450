//! What makes a whole request impossible. Trouble with one candidate is not here: it is answered as that
//! candidate's [`crate::policy::Exclusion`].

use thiserror::Error;

use crate::curve::DataSize;

/// A parameter out of range, named as its field is.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{field}: {description}")]
pub struct InvalidParameter {
    /// Field of the parameter struct, e.g. `stop_threshold`.
    pub field: &'static str,
    /// What is allowed and what was given.
    pub description: String,
}

impl InvalidParameter {
    pub(crate) fn new(field: &'static str, description: impl Into<String>) -> Self {
        Self {
            field,
            description: description.into(),
        }
    }

    /// Checks that `value` is finite and within `low..=high`.
    pub(crate) fn unless_within(field: &'static str, value: f64, low: f64, high: f64) -> Result<(), Self> {
        if value.is_finite() && (low..=high).contains(&value) {
            return Ok(());
        }
        Err(Self::new(field, format!("must be within {low}..={high}, is {value}")))
    }
}

/// Why a ranking could not be computed at all.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum RankError {
    /// A parameter is out of range.
    #[error("parameter {0}")]
    Parameter(#[from] InvalidParameter),
    /// The full size is 0.
    #[error("the full data size must be above 0")]
    FullSizeZero,
    /// Budget size 0 or above the full size.
    #[error("the budget size must be within 1..={full}, is {budget}")]
    BudgetOutOfRange {
        /// Largest size that may be looked at.
        budget: DataSize,
        /// Size of the prediction.
        full: DataSize,
    },
    /// No candidate was measured at any size up to the budget.
    #[error("no candidate was measured at a data size within 1..={budget}; the smallest measured size is {}",
        smallest.map_or_else(|| "absent".to_owned(), |size| size.to_string()))]
    NothingMeasured {
        /// Largest size that may be looked at.
        budget: DataSize,
        /// Smallest size above 0 in the table.
        smallest: Option<DataSize>,
    },
}

/// Why a replay could not be computed.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SimulateError {
    /// A parameter is out of range.
    #[error("parameter {0}")]
    Parameter(#[from] InvalidParameter),
    /// The full size is 0.
    #[error("the full data size must be above 0")]
    FullSizeZero,
    /// Budget size 0 or above the full size.
    #[error("the budget size must be within 1..={full}, is {budget}")]
    BudgetOutOfRange {
        /// The budget size whose cost by `AtS` is the yardstick.
        budget: DataSize,
        /// Full size.
        full: DataSize,
    },
    /// Every candidate was excluded by a constraint.
    #[error("every candidate was excluded by a constraint")]
    NoCandidates,
    /// Not even the smallest plan fits.
    #[error("the smallest plan costs {needed} examples, the budget is {budget}")]
    BudgetTooSmall {
        /// Cost of the smallest plan, examples.
        needed: u64,
        /// The budget, examples.
        budget: u64,
    },
    /// The table lacks a loss that the policy asked for.
    #[error("candidate {candidate:?} has no loss at data size {data_size}, which the policy asked for")]
    MissingObservation {
        /// Name of the candidate.
        candidate: String,
        /// The size that was asked for.
        data_size: DataSize,
    },
    /// No candidate could be scored.
    #[error("no candidate could be scored")]
    NothingScored,
    /// A policy asked for more rounds than any ladder has: a bug of the policy.
    #[error("the policy did not stop within {rounds} rounds")]
    DidNotStop {
        /// Rounds played.
        rounds: usize,
    },
}
