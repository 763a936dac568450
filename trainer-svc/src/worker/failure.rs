//! What went wrong, in the contract's terms.

use trainer_kit::state::Failure;

use crate::artifact::ArtifactError;
use crate::dataset::DataError;
use crate::runs::RunFailure;
use crate::session::SessionError;
use crate::train::TrainError;

/// A failure of a run.
pub(super) fn of(error: &TrainError) -> RunFailure {
    let failure = match error {
        TrainError::Open(_)
        | TrainError::Checkpoint(_)
        | TrainError::Tokenizer(_)
        | TrainError::Vocabulary { .. }
        | TrainError::Adapter(_)
        | TrainError::Digest { what: "the model", .. }
        | TrainError::Artifact(
            ArtifactError::Read(_)
            | ArtifactError::NoAdapter { .. }
            | ArtifactError::Config { .. }
            | ArtifactError::Tensors { .. },
        ) => Failure::ModelUnreadable,
        TrainError::Data(DataError::TooFewExamples { .. } | DataError::TooFewToSplit { .. }) => Failure::TooFewExamples,
        TrainError::Data(_) | TrainError::Digest { .. } | TrainError::NothingToPredict => Failure::DataUnreadable,
        TrainError::Session(SessionError::OutOfMemory { .. }) => Failure::OutOfMemory,
        TrainError::Artifact(ArtifactError::DiskFull { .. }) => Failure::DiskFull,
        TrainError::State(error) if error.is_disk_full() => Failure::DiskFull,
        TrainError::Diverged { .. } | TrainError::HeldOutNotFinite { .. } => Failure::LossNotFinite,
        _ => Failure::Internal,
    };
    RunFailure::new(failure, error.to_string())
}
