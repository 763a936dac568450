//! What a call can fail with, as a caller tells failures apart.

use std::time::Duration;

use finepick_proto::types::v1::ErrorReason;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// A call to a trainer failed, or a watch cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TrainerError {
    /// The trainer, or something on the way to it, answered with an error.
    #[error("{}", said(status))]
    Refused {
        /// Which.
        problem: Problem,
        /// The answer, with its details.
        status: Box<Status>,
    },
    /// The trainer answered with something that the contract rules out.
    #[error("the trainer breaks its contract: {0}")]
    BrokenContract(String),
    /// The id belongs to another run than before: the trainer has lost the watched one, and somebody has created it anew.
    #[error("the training run {0} was replaced by another one of the same id")]
    RunReplaced(String),
    /// No sign of life of the run for as long as a watch bears it.
    #[error("no word of the training run for {} s{}", patience.as_secs(), because(cause.as_deref()))]
    GaveUp {
        /// How long.
        patience: Duration,
        /// The last error on the way to the trainer, if it was not plain silence.
        cause: Option<Box<Status>>,
    },
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// A field is wrong; `BadRequest` names it.
    InvalidField,
    /// No run has the id.
    NotFound,
    /// The id belongs to a run with another spec.
    AlreadyExists,
    /// The run's state does not allow the call.
    WrongState,
    /// The trainer does not claim what the call needs.
    CapabilityMissing,
    /// Nobody is there, or has time; a later attempt may succeed.
    Unavailable,
    /// The time for the call was up.
    DeadlineExceeded,
    /// The trainer does not have the call, or nobody routes to it.
    Unimplemented,
    /// Anything else.
    Other,
}

impl TrainerError {
    /// The error status, if one was answered.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused { status, .. } => Some(status),
            Self::GaveUp { cause, .. } => cause.as_deref(),
            Self::BrokenContract(_) | Self::RunReplaced(_) => None,
        }
    }

    /// The kind of refusal, if it is one.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Refused { problem, .. } => Some(*problem),
            _ => None,
        }
    }

    pub(crate) fn without(field: &str) -> Self {
        Self::BrokenContract(format!("an answer without {field}"))
    }
}

impl From<Status> for TrainerError {
    fn from(status: Status) -> Self {
        Self::Refused {
            problem: problem_of(&status),
            status: Box::new(status),
        }
    }
}

fn problem_of(status: &Status) -> Problem {
    let details = status.get_error_details();
    let reason = details.error_info().map_or("", |info| info.reason.as_str());
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => Problem::InvalidField,
        Code::NotFound => Problem::NotFound,
        Code::AlreadyExists => Problem::AlreadyExists,
        Code::FailedPrecondition if reason == ErrorReason::CapabilityMissing.as_reason() => Problem::CapabilityMissing,
        Code::FailedPrecondition => Problem::WrongState,
        Code::Unavailable => Problem::Unavailable,
        Code::DeadlineExceeded => Problem::DeadlineExceeded,
        Code::Unimplemented => Problem::Unimplemented,
        _ => Problem::Other,
    }
}

fn said(status: &Status) -> String {
    if status.message().is_empty() {
        status.code().description().to_owned()
    } else {
        status.message().to_owned()
    }
}

fn because(cause: Option<&Status>) -> String {
    cause.map_or_else(String::new, |status| format!("; the last error was: {}", said(status)))
}

#[cfg(test)]
mod tests {
    use svc_kit::status;

    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let precondition = |reason| status::failed_precondition(reason, Vec::new());
        for (status, problem) in [
            (precondition("CAPABILITY_MISSING"), Problem::CapabilityMissing),
            (precondition("WRONG_STATE"), Problem::WrongState),
            (
                status::invalid_argument("INVALID_FIELD", Vec::new()),
                Problem::InvalidField,
            ),
            (
                status::unavailable("QUEUE_FULL", "full", Duration::ZERO),
                Problem::Unavailable,
            ),
            (Status::not_found(""), Problem::NotFound),
            (Status::internal("a bug"), Problem::Other),
        ] {
            let error = TrainerError::from(status);
            assert_eq!(error.problem(), Some(problem), "{error}");
            assert!(!error.to_string().is_empty());
        }
    }
}
