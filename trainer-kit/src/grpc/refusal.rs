//! Refusals → gRPC statuses, by the contract's table of errors.

use std::time::Duration;

use finepick_proto::types::v1::ErrorReason;
use svc_kit::status::{self, FieldViolation, PreconditionViolation, ResourceInfo};
use tonic::Status;

use crate::refusal::Refusal;

/// What a caller is told to wait when the queue is full.
const RETRY_AFTER: Duration = Duration::from_secs(1);

fn resource(id: String, description: &str) -> ResourceInfo {
    ResourceInfo {
        resource_type: "finepick.dev/TrainingRun".to_owned(),
        resource_name: id,
        description: description.to_owned(),
    }
}

/// The status of a refusal.
#[must_use]
pub fn status(refusal: Refusal) -> Status {
    let description = refusal.to_string();
    match refusal {
        Refusal::Invalid(violations) => {
            let violations = violations
                .into_iter()
                .map(|v| FieldViolation::new(v.field, v.description));
            status::invalid_argument(ErrorReason::InvalidField.as_reason(), violations.collect())
        }
        Refusal::Exists(id) => {
            status::already_exists(ErrorReason::TrainingRunExists.as_reason(), &resource(id, &description))
        }
        Refusal::Missing(missing) => {
            let violations = missing.into_iter().map(|missing| {
                let kind = format!("CAPABILITY_MISSING:{}", missing.capability);
                PreconditionViolation::new(kind, missing.field, missing.description)
            });
            status::failed_precondition(ErrorReason::CapabilityMissing.as_reason(), violations.collect())
        }
        Refusal::NotReady(left) => {
            let left = left.clamp(Duration::from_millis(50), Duration::from_mins(1));
            status::unavailable(ErrorReason::TrainerNotReady.as_reason(), description, left)
        }
        Refusal::QueueFull => status::unavailable(ErrorReason::QueueFull.as_reason(), description, RETRY_AFTER),
        Refusal::NotFound(id) => status::not_found(
            ErrorReason::TrainingRunNotFound.as_reason(),
            &resource(id, &description),
        ),
        Refusal::WrongState { id, .. } => status::failed_precondition(
            ErrorReason::WrongState.as_reason(),
            vec![PreconditionViolation::new("WRONG_STATE", id, description)],
        ),
        Refusal::Draining => draining(),
        Refusal::Internal(why) => status::bug(&why),
    }
}

/// The run that was watched is no longer there.
pub(super) fn gone(id: &str) -> Status {
    let resource = resource(id.to_owned(), "the training run was deleted");
    status::not_found(ErrorReason::TrainingRunNotFound.as_reason(), &resource)
}

/// The process ends, and with it streams and new runs.
pub(super) fn draining() -> Status {
    status::unavailable(
        ErrorReason::Draining.as_reason(),
        "the trainer is shutting down",
        RETRY_AFTER,
    )
}
