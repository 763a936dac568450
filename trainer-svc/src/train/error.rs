//! What can go wrong in a run.

use thiserror::Error;

use super::state::StateError;
use crate::arch::{ArchError, OpenError};
use crate::artifact::ArtifactError;
use crate::autodiff::AutodiffError;
use crate::checkpoint::CheckpointError;
use crate::dataset::DataError;
use crate::graph::GraphError;
use crate::method::MethodError;
use crate::session::SessionError;
use crate::tokenizer::TokenizerError;

/// A run cannot be done.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The checkpoint.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The checkpoint's weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The data.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tuning method does not fit the model.
    #[error(transparent)]
    Method(#[from] MethodError),
    /// The adapter to start from, or the tuned weights as files.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// A graph cannot be differentiated.
    #[error(transparent)]
    Autodiff(#[from] AutodiffError),
    /// A graph cannot be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// ONNX Runtime or the device.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The training state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A digest is not the expected one.
    #[error("{what} has the digest {found}, expected was {expected}")]
    Digest {
        /// The model or the data.
        what: &'static str,
        /// What was asked for.
        expected: String,
        /// What was computed.
        found: String,
    },
    /// The tokenizer makes ids that the model has no embedding for.
    #[error("the tokenizer gives token {token}, the model's vocabulary has {vocabulary}")]
    Vocabulary {
        /// The largest id.
        token: u32,
        /// Entries.
        vocabulary: usize,
    },
    /// The sequence length does not fit the model.
    #[error("a sequence of {asked} tokens does not fit: the model has {limit} positions for them")]
    SequenceTooLong {
        /// What was asked for.
        asked: usize,
        /// What there is.
        limit: usize,
    },
    /// The adapter is of another kind, rank or shape than the method.
    #[error("the adapter to start from does not fit: {0}")]
    Adapter(String),
    /// No held-out token is predicted.
    #[error("no token of the data to evaluate on is predicted")]
    NothingToPredict,
    /// The training loss or its gradient became NaN or infinite, or exploded.
    #[error("at step {step} the loss was {loss} with gradient norm {gradient_norm}{}", first.map(|first| format!("; it began at {first:.4}")).unwrap_or_default())]
    Diverged {
        /// Counted from 1, within its size.
        step: u64,
        /// Nats per token.
        loss: f64,
        /// Before clipping.
        gradient_norm: f64,
        /// The first step's loss, where it exploded from.
        first: Option<f64>,
    },
    /// A measured loss is NaN or infinite.
    #[error("the measured loss is {loss}")]
    HeldOutNotFinite {
        /// What it is.
        loss: f64,
    },
    /// A value that was just made is not there: a defect.
    #[error("internal: {0}")]
    Unused(String),
}

impl From<ArchError> for TrainError {
    fn from(error: ArchError) -> Self {
        Self::Method(MethodError::Arch(error))
    }
}

impl TrainError {
    /// Was it the stop token?
    #[must_use]
    pub fn is_stop(&self) -> bool {
        matches!(self, Self::Session(SessionError::Stopped))
    }
}
