//! What a command can fail with, and how the failure is told.

use std::fmt::Write as _;

use tonic::Status;
use tonic_types::StatusExt as _;

/// Exit status: a service failed, or an output could not be written.
pub const EXIT_FAILED: u8 = 1;
/// Exit status: the command line, the configuration or a file is wrong.
pub const EXIT_USAGE: u8 = 2;
/// Exit status: rows of a file were left out.
pub const EXIT_PARTIAL: u8 = 3;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The command line contradicts itself or a value is wrong.
    #[error("{0}")]
    Usage(String),
    /// A curve file cannot be used.
    #[error(transparent)]
    Curves(#[from] crate::curves::CurveFileError),
    /// Rows of a file are bad and `--strict` was given; they were listed already.
    #[error("{rows} bad row(s) in {file}, and --strict was given: nothing is answered")]
    BadRows {
        /// How many.
        rows: usize,
        /// Where.
        file: String,
    },
    /// A call failed.
    #[error("{}", describe(.0))]
    Call(#[from] Box<Status>),
    /// The suite cannot be reached, or the services cannot be set up.
    #[error("{0}")]
    Connection(String),
    /// Another process has the state folder's trainer.
    #[error("--state-dir {folder} is in use by another command; each folder has one that trains at a time")]
    InUse {
        /// The folder.
        folder: String,
    },
    /// An output cannot be written.
    #[error("cannot write {what}: {error}")]
    Write {
        /// The file or stream.
        what: String,
        /// Why.
        error: std::io::Error,
    },
}

impl CliError {
    /// The exit status to end with.
    #[must_use]
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Curves(_) | Self::BadRows { .. } => EXIT_USAGE,
            Self::Call(status) if status.code() == tonic::Code::InvalidArgument => EXIT_USAGE,
            Self::Call(_) | Self::Connection(_) | Self::InUse { .. } | Self::Write { .. } => EXIT_FAILED,
        }
    }

    /// Whether nobody answered: what was asked about may go on all the same.
    #[must_use]
    pub fn is_of_the_connection(&self) -> bool {
        use tonic::Code;
        let away = |status: &Status| {
            matches!(
                status.code(),
                Code::Unavailable | Code::DeadlineExceeded | Code::Unknown
            )
        };
        matches!(self, Self::Call(status) if away(status)) || matches!(self, Self::Connection(_))
    }
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(status))
    }
}

/// A status with its google.rpc details, for people.
fn describe(status: &Status) -> String {
    let details = status.get_error_details();
    let mut violations: Vec<(&str, &str)> = Vec::new();
    if let Some(request) = details.bad_request() {
        violations.extend(
            request
                .field_violations
                .iter()
                .map(|v| (v.field.as_str(), v.description.as_str())),
        );
    }
    if let Some(precondition) = details.precondition_failure() {
        violations.extend(
            precondition
                .violations
                .iter()
                .map(|v| (v.subject.as_str(), v.description.as_str())),
        );
    }
    if let Some(quota) = details.quota_failure() {
        violations.extend(
            quota
                .violations
                .iter()
                .map(|v| (v.subject.as_str(), v.description.as_str())),
        );
    }
    let message = status.message();
    let mut text = if message.is_empty() {
        status.code().description().to_owned()
    } else {
        message.to_owned()
    };
    // A message that tells the one violation already is not told twice.
    let told = |(field, description): &(&str, &str)| {
        message == *description || (message.contains(field) && message.contains(description))
    };
    if violations.len() != 1 || !violations.iter().all(told) {
        for (field, description) in &violations {
            let _ = write!(text, "\n  {field}: {description}");
        }
    }
    if let Some(info) = details.error_info() {
        let _ = write!(text, " [{}]", info.reason);
    }
    if let Some(retry) = details.retry_info().and_then(|info| info.retry_delay) {
        let _ = write!(text, " (try again in {:.1} s)", retry.as_secs_f64());
    }
    if let Some(request) = details.request_info() {
        let _ = write!(text, " (request id {})", request.request_id);
    }
    text
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    #[test]
    fn details_are_told() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("candidates[1].observations[0].test_loss", "must be positive");
        details.set_error_info("INVALID_FIELD", "finepick.dev", std::collections::HashMap::new());
        let status = Status::with_error_details(tonic::Code::InvalidArgument, "1 field is wrong", details);
        let error = CliError::from(status);
        assert_eq!(error.exit_status(), EXIT_USAGE);
        assert_eq!(
            error.to_string(),
            "1 field is wrong\n  candidates[1].observations[0].test_loss: must be positive [INVALID_FIELD]"
        );
    }

    #[test]
    fn a_budget_that_is_too_small_is_told_once() {
        let words = "the smallest plan of geometric for 4 contenders needs 256 examples, the budget pays 70 examples";
        let mut details = ErrorDetails::new();
        details.add_quota_failure_violation("spec.budget", words);
        details.set_error_info("BUDGET_TOO_SMALL", "finepick.dev", std::collections::HashMap::new());
        let status = Status::with_error_details(tonic::Code::ResourceExhausted, words, details);
        let error = CliError::from(status);
        assert_eq!(error.exit_status(), EXIT_FAILED);
        assert_eq!(error.to_string(), format!("{words} [BUDGET_TOO_SMALL]"));
    }

    #[test]
    fn a_status_without_a_message_still_says_something() {
        let error = CliError::from(Status::unavailable(""));
        assert!(!error.to_string().is_empty());
        assert_eq!(error.exit_status(), EXIT_FAILED);
    }
}
