//! Domain errors → gRPC statuses.

use std::time::Duration;

use finepick_proto::types::v1::ErrorReason;
use svc_kit::status::{self, FieldViolation, PreconditionViolation, QuotaViolation};
use tonic::{Code, Status};

use crate::error::{RankError, SimulateError};
use crate::ports::FitterError;

/// What a client is told to wait when the fitter does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(1);

fn field(path: &str, description: String) -> Status {
    status::invalid_argument(
        ErrorReason::InvalidField.as_reason(),
        vec![FieldViolation::new(path, description)],
    )
}

/// A ranking that could not be computed at all: the request is at fault.
#[must_use]
pub fn rank_status(error: &RankError) -> Status {
    match error {
        RankError::Parameter(parameter) => field(parameter.field, parameter.description.clone()),
        RankError::FullSizeZero => field("data_size_full", error.to_string()),
        RankError::BudgetOutOfRange { .. } | RankError::NothingMeasured { .. } => {
            field("data_size_budget", error.to_string())
        }
    }
}

/// A replay that could not be computed.
#[must_use]
pub fn simulate_status(error: &SimulateError) -> Status {
    let description = error.to_string();
    match error {
        SimulateError::Parameter(parameter) => field(parameter.field, parameter.description.clone()),
        SimulateError::FullSizeZero => field("data_size_full", description),
        SimulateError::BudgetOutOfRange { .. } => field("relative_budget", description),
        SimulateError::NoCandidates | SimulateError::NothingScored => {
            no_eligible_candidate(vec![PreconditionViolation::new(
                "NO_ELIGIBLE_CANDIDATE",
                "candidates",
                description,
            )])
        }
        SimulateError::BudgetTooSmall { .. } => status::resource_exhausted(
            ErrorReason::BudgetTooSmall.as_reason(),
            vec![QuotaViolation::new("budget", description)],
        ),
        SimulateError::MissingObservation { candidate, .. } => status::failed_precondition(
            ErrorReason::MissingObservation.as_reason(),
            vec![PreconditionViolation::new(
                "MISSING_OBSERVATION",
                candidate.clone(),
                description,
            )],
        ),
        SimulateError::DidNotStop { .. } => status::bug(error),
    }
}

/// No candidate is left; each violation says of one candidate why.
pub(super) fn no_eligible_candidate(violations: Vec<PreconditionViolation>) -> Status {
    let reason = ErrorReason::NoEligibleCandidate.as_reason();
    status::Failure::new(Code::FailedPrecondition, reason, "no candidate can be ranked")
        .preconditions(violations)
        .into_status()
}

/// The fitter gave no answer.
#[must_use]
pub fn fitter_status(error: &FitterError) -> Status {
    match error {
        FitterError::Unavailable { detail } => {
            tracing::warn!(%detail, "the fitter does not answer");
            let reason = ErrorReason::BackendUnavailable.as_reason();
            status::unavailable(
                reason,
                "the fitter does not answer; other policies do not need it",
                RETRY_AFTER,
            )
        }
        FitterError::TimedOut { detail } => {
            tracing::warn!(%detail, "the fitter took too long");
            status::deadline_exceeded("the fitter did not answer in time")
        }
        FitterError::Failed { .. } => status::bug(error),
    }
}
