//! Where wire and domain meet, and the only place: requests are checked here, *all* wrong fields at once, each with its
//! path; answers and errors are translated back.

mod curve;
mod joint;
mod law;
mod options;
mod predict;
mod request;
mod response;

pub use joint::{JointRequest, fit_joint_law_request, fit_joint_law_response};
pub use law::list_laws;
pub use predict::{PredictRequest, predict_loss_request, predict_loss_response};
pub use request::{
    BatchRequest, CompareRequest, CrossoverRequest, FitRequest, batch_fit_curves_request, compare_laws_request,
    find_crossover_request, fit_curve_request, suggest_next_size_request,
};
pub use response::{
    batch_fit_curves_response, compare_laws_response, find_crossover_response, fit_curve_response,
    suggest_next_size_response,
};

use finepick_proto::types::v1::ErrorReason;
use svc_kit::status::{self, FieldViolation};
use tonic::Status;

use crate::curve::{DataSize, MAX_DATA_SIZE};
use crate::error::FitError;
use crate::forecast::ForecastOptions;
use crate::uncertainty::Level;

/// Violations remembered of one request; a status lists fewer.
const MAX_VIOLATIONS: usize = 1_000;
/// Nominal coverages accepted.
const LEVELS: std::ops::RangeInclusive<f64> = 0.01..=0.999;

/// A curve with its candidate's name.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedCurve {
    /// Echoed.
    pub candidate: String,
    /// The curve.
    pub curve: crate::curve::LearningCurve,
}

/// Options of a fit as requests carry them.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// What to fit and predict.
    pub forecast: ForecastOptions,
    /// Whether the answer holds the draws.
    pub return_draws: bool,
}

/// Collects what is wrong with a request.
#[derive(Debug, Default)]
struct Violations {
    found: Vec<FieldViolation>,
    /// How many of them are no errors in themselves but too much for this server.
    limits: usize,
}

impl Violations {
    fn push(&mut self, path: impl Into<String>, description: impl Into<String>) {
        if self.found.len() < MAX_VIOLATIONS {
            self.found.push(FieldViolation::new(path, description));
        }
    }

    /// Remembers that there is more of something than is accepted.
    fn limit(&mut self, path: impl Into<String>, description: impl Into<String>) {
        if self.found.len() < MAX_VIOLATIONS {
            self.limits += 1;
        }
        self.push(path, description);
    }

    /// Whether a list is within its limit.
    fn within(&mut self, path: &str, count: usize, most: usize) -> bool {
        if count > most {
            self.limit(path, format!("holds {count}, at most {most} are accepted"));
        }
        count <= most
    }

    /// The value, or a remembered violation.
    fn take<T>(&mut self, path: impl Into<String>, value: Result<T, impl ToString>) -> Option<T> {
        value.map_err(|error| self.push(path, error.to_string())).ok()
    }

    /// The value of a required message.
    fn required<T>(&mut self, path: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.push(path, "is required");
        }
        value
    }

    /// `INVALID_ARGUMENT` if anything was found: `LIMIT_EXCEEDED` when all of it is a matter of limits.
    fn finish(self) -> Result<(), Status> {
        if self.found.is_empty() {
            return Ok(());
        }
        let only_limits = self.limits == self.found.len();
        let reason = if only_limits {
            ErrorReason::LimitExceeded
        } else {
            ErrorReason::InvalidField
        };
        Err(status::invalid_argument(reason.as_reason(), self.found))
    }

    /// The value unless anything was found; a value that is absent without a violation is a bug.
    fn settle<T>(self, value: Option<T>) -> Result<T, Status> {
        self.finish()?;
        value.ok_or_else(|| status::bug(&"a request was neither converted nor refused"))
    }
}

/// The status for what the domain refuses after the fields were found good, at the field it is about.
#[must_use]
pub fn fit_error(path: &str, error: FitError) -> Status {
    let violation = FieldViolation::new(path, error.to_string());
    status::invalid_argument(ErrorReason::InvalidField.as_reason(), vec![violation])
}

/// A data size > 0.
fn positive_size(path: &str, value: i64, violations: &mut Violations) -> Option<DataSize> {
    let size = DataSize::try_from(value)
        .ok()
        .filter(|size| (1..MAX_DATA_SIZE).contains(size));
    if size.is_none() {
        violations.push(path, format!("must be within 1 .. 2^53, is {value}"));
    }
    size
}

/// As [`positive_size`] where absence has a meaning of its own: the outer option is the check's.
#[expect(clippy::option_option, reason = "outer: the field was good; inner: it was given")]
fn optional_size(path: &str, value: Option<i64>, violations: &mut Violations) -> Option<Option<DataSize>> {
    match value {
        None => Some(None),
        Some(value) => positive_size(path, value, violations).map(Some),
    }
}

/// Data sizes > 0, at most so many.
fn sizes(path: &str, values: &[i64], most: usize, violations: &mut Violations) -> Option<Vec<DataSize>> {
    if !violations.within(path, values.len(), most) {
        return None;
    }
    let checked: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(i, &value)| positive_size(&format!("{path}[{i}]"), value, violations))
        .collect();
    checked.into_iter().collect()
}

/// A nominal coverage; absent: 0.9.
fn level(path: &str, value: Option<f64>, violations: &mut Violations) -> Option<Level> {
    let Some(value) = value else {
        return Some(Level::default());
    };
    if !LEVELS.contains(&value) {
        violations.push(path, format!("must be within 0.01 .. 0.999, is {value}"));
        return None;
    }
    violations.take(path, Level::new(value))
}

/// Numbers of examples for the wire; beyond its range they saturate.
fn wire(examples: DataSize) -> i64 {
    i64::try_from(examples).unwrap_or(i64::MAX)
}

/// Counts for the wire; they are bounded far below its range.
fn wire_count(count: impl TryInto<i32>) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
