//! A run as callers see it.

use std::time::SystemTime;

use crate::cost::Cost;
use crate::event::{Checkpoint, Evaluation, Progress};
use crate::spec::Spec;
use crate::state::{Failure, RunState, WaitReason};

/// A run as it stands: `finepick.trainer.v1.TrainingRun`. It agrees with the sum of the run's events up to `last_sequence`.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Chosen by the client.
    pub id: String,
    /// With defaults filled in.
    pub spec: Spec,
    /// Where it stands.
    pub state: RunState,
    /// Why it waits.
    pub wait: Option<WaitReason>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// One sentence for people; may be empty.
    pub detail: String,
    /// When it was created.
    pub created: SystemTime,
    /// When it first began to run.
    pub started: Option<SystemTime>,
    /// When it ended.
    pub ended: Option<SystemTime>,
    /// Last progress.
    pub progress: Option<Progress>,
    /// In the order in which they were made.
    pub evaluations: Vec<Evaluation>,
    /// As in its last cost event.
    pub cost: Cost,
    /// Oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// Number of its newest event.
    pub last_sequence: i64,
    /// As in `GetTrainerInfo`.
    pub instance_id: String,
    /// Name of the device that it holds or held last; empty: none yet.
    pub device: String,
    /// Where the tuned weights are; empty: nowhere, or not yet.
    pub artifact_uri: String,
    /// Runs ahead of it; in the queue only.
    pub queue_position: Option<usize>,
    /// Digest of the model that was read; empty: not yet.
    pub model_digest: String,
    /// Digest of the data that were read; empty: not yet.
    pub data_digest: String,
}
