//! Domain errors → gRPC statuses.

use std::time::Duration;

use finepick_proto::types::v1::ErrorReason;
use svc_kit::status::{self, FieldViolation, PreconditionViolation, QuotaViolation, ResourceInfo};
use tonic::{Code, Status};

use crate::desk::DeskError;
use crate::driver::PrepareError;
use crate::error::{RankError, SimulateError};
use crate::ports::{FitterError, TrainerFault};
use crate::selection::Failure;
use crate::store::StoreError;
use crate::what_if::WhatIfError;

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

fn selection(id: &str, description: &str) -> ResourceInfo {
    ResourceInfo {
        resource_type: "finepick.dev/Selection".to_owned(),
        resource_name: id.to_owned(),
        description: description.to_owned(),
    }
}

fn wrong_state(id: &str, description: &str) -> Status {
    let violation = PreconditionViolation::new("WRONG_STATE", id, description);
    status::failed_precondition(ErrorReason::WrongState.as_reason(), vec![violation])
}

/// A caller's wish that was not fulfilled.
#[must_use]
pub fn desk_status(error: &DeskError) -> Status {
    let description = error.to_string();
    match error {
        DeskError::Store(error) => store_status(error),
        DeskError::Invalid {
            field: path,
            description,
        } => field(path, description.clone()),
        DeskError::LimitExceeded { field, description } => status::invalid_argument(
            ErrorReason::LimitExceeded.as_reason(),
            vec![FieldViolation::new(field, description)],
        ),
        DeskError::Taken { id } => {
            let resource = selection(id, "the id belongs to a selection with another spec");
            status::already_exists(ErrorReason::SelectionExists.as_reason(), &resource)
        }
        DeskError::WrongState { id, description } => wrong_state(id, description),
        DeskError::StaleAttempt { description } => {
            status::aborted(ErrorReason::StaleAttempt.as_reason(), description.clone())
        }
        DeskError::Contended { .. } => status::aborted(ErrorReason::LostLease.as_reason(), description),
        DeskError::Prepare(error) => prepare_status(error),
        DeskError::WhatIf(error) => what_if_status(error),
        DeskError::Replay { .. } => status::bug(error),
    }
}

/// The store did not do it.
#[must_use]
pub fn store_status(error: &StoreError) -> Status {
    let unavailable = |message: &str| {
        tracing::warn!(%error, "the store cannot be used");
        status::unavailable(ErrorReason::StoreUnavailable.as_reason(), message, RETRY_AFTER)
    };
    match error {
        StoreError::NotFound { id } => {
            let resource = selection(id, "no selection has this id");
            status::not_found(ErrorReason::SelectionNotFound.as_reason(), &resource)
        }
        StoreError::NotEnded { id } => wrong_state(id, &error.to_string()),
        StoreError::Conflict { .. } | StoreError::Fenced { .. } => {
            status::aborted(ErrorReason::LostLease.as_reason(), error.to_string())
        }
        StoreError::Full { .. } => unavailable("the store's disk is full; nothing was changed"),
        StoreError::Unavailable { .. } => unavailable("the store cannot be used now; nothing was changed"),
        _ => status::bug(error),
    }
}

fn prepare_status(error: &PrepareError) -> Status {
    let description = error.to_string();
    match error {
        PrepareError::UnknownTrainer { name, .. } => {
            let violation = PreconditionViolation::new("UNKNOWN_TRAINER", name, description);
            status::failed_precondition(ErrorReason::UnknownTrainer.as_reason(), vec![violation])
        }
        PrepareError::Trainer(TrainerFault::Unavailable { .. }) => {
            status::unavailable(ErrorReason::BackendUnavailable.as_reason(), description, RETRY_AFTER)
        }
        PrepareError::Trainer(TrainerFault::Refused { trainer, .. }) => {
            let violation = PreconditionViolation::new("TRAINER_REFUSED", trainer, description);
            no_eligible_candidate(vec![violation])
        }
        PrepareError::Failed { failure, detail } => match failure {
            Failure::NoEligibleCandidate => no_eligible_candidate(vec![PreconditionViolation::new(
                "NO_ELIGIBLE_CANDIDATE",
                "spec.candidates",
                detail,
            )]),
            Failure::BudgetTooSmall => status::resource_exhausted(
                ErrorReason::BudgetTooSmall.as_reason(),
                vec![QuotaViolation::new("spec.budget", detail)],
            ),
            Failure::FullSizeUnknown => field("spec.data_size_full", detail.clone()),
            Failure::AllRunsFailed | Failure::Internal => status::bug(error),
        },
        PrepareError::Store(error) => store_status(error),
    }
}

fn what_if_status(error: &WhatIfError) -> Status {
    match error {
        WhatIfError::Parameter(parameter) => field(parameter.field, parameter.description.clone()),
        WhatIfError::Spec {
            field: path,
            description,
        } => field(path, description.clone()),
        WhatIfError::Policy(error) => simulate_status(error),
        WhatIfError::NeedsFitter { policy } => {
            let violation = PreconditionViolation::new("MISSING_FIT", *policy, error.to_string());
            status::failed_precondition(ErrorReason::MissingObservation.as_reason(), vec![violation])
        }
        other => wrong_state("", &other.to_string()),
    }
}
