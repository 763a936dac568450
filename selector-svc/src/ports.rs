//! What the domain needs of the world, as traits: adapters implement them, tests fake them.

use std::future::Future;
use std::pin::Pin;

use thiserror::Error;

use crate::curve::{DataSize, Observation};
use crate::policy::fitted::{FittedForecasts, Law, LawFitParameters};

/// A boxed future, so that [`Fitter`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Curves to fit one law to, and where to forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct FitRequest {
    /// Which law.
    pub law: Law,
    /// Objective and uncertainty.
    pub parameters: LawFitParameters,
    /// Name and points (ascending, without zero-shot) of each candidate.
    pub curves: Vec<(String, Vec<Observation>)>,
    /// Sizes to forecast at; the first is the full size.
    pub data_sizes: Vec<DataSize>,
    /// Nominal coverage of intervals, in (0, 1).
    pub level: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// Why the fitter gave no answer at all; a law that cannot be fitted to a candidate is not an error.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FitterError {
    /// It cannot be reached, or is overloaded; trying again later may help.
    #[error("the fitter does not answer: {detail}")]
    Unavailable {
        /// For the log.
        detail: String,
    },
    /// The caller's time is over.
    #[error("the fitter did not answer in time: {detail}")]
    TimedOut {
        /// For the log.
        detail: String,
    },
    /// It refused or broke; trying again does not help.
    #[error("the fitter failed: {detail}")]
    Failed {
        /// For the log.
        detail: String,
    },
}

/// Fits laws to curves.
pub trait Fitter: Send + Sync {
    /// One answer per curve, by name.
    fn forecast(&self, request: FitRequest) -> BoxFuture<'_, Result<FittedForecasts, FitterError>>;
}
