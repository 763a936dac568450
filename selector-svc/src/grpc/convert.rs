//! Where wire and domain meet, and the only place: requests are checked here, *all* wrong fields at once, each with its
//! path; answers and errors are translated back.

mod error;
mod fitter;
mod policy;
mod request;
mod response;
pub mod selection;

pub use error::{desk_status, fitter_status, rank_status, simulate_status, store_status};
pub use fitter::{batch_fit_request, fitted_forecasts};
pub use request::{rank_request, simulate_request};
pub use response::{rank_response, simulate_response};

use finepick_proto::types::v1::ErrorReason;
use svc_kit::status::{self, FieldViolation};
use tonic::Status;

use crate::error::InvalidParameter;

/// Violations remembered of one request; a status lists fewer.
const MAX_VIOLATIONS: usize = 1_000;

/// Collects what is wrong with a request.
#[derive(Debug, Default)]
struct Violations {
    found: Vec<FieldViolation>,
}

impl Violations {
    fn push(&mut self, path: impl Into<String>, description: impl Into<String>) {
        if self.found.len() < MAX_VIOLATIONS {
            self.found.push(FieldViolation::new(path, description));
        }
    }

    /// The value, or a remembered violation.
    fn take<T>(&mut self, path: impl FnOnce() -> String, value: Result<T, impl ToString>) -> Option<T> {
        value.map_err(|error| self.push(path(), error.to_string())).ok()
    }

    /// Remembers a parameter out of range, under the prefix of its message.
    fn parameter(&mut self, prefix: &str, checked: Result<(), InvalidParameter>) {
        if let Err(InvalidParameter { field, description }) = checked {
            self.push(format!("{prefix}.{field}"), description);
        }
    }

    /// `INVALID_ARGUMENT` if anything was found.
    fn finish(self) -> Result<(), Status> {
        if self.found.is_empty() {
            return Ok(());
        }
        Err(status::invalid_argument(
            ErrorReason::InvalidField.as_reason(),
            self.found,
        ))
    }

    /// The value unless anything was found; a value that is absent without a violation is a bug.
    fn settle<T>(self, value: Option<T>) -> Result<T, Status> {
        self.finish()?;
        value.ok_or_else(|| status::bug(&"a request was neither converted nor refused"))
    }
}

/// A count that the wire carries signed.
fn count(path: &str, value: i32, violations: &mut Violations) -> usize {
    usize::try_from(value).unwrap_or_else(|_| {
        violations.push(path, format!("must be positive, is {value}"));
        0
    })
}

/// Numbers of examples for the wire; beyond its range they saturate.
pub(super) fn wire(examples: u64) -> i64 {
    i64::try_from(examples).unwrap_or(i64::MAX)
}

/// Counts for the wire; they are bounded far below its range.
fn wire_count(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
