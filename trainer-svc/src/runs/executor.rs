//! The seam to the training itself: what is to be done, what is reported, how it ends.

use std::fmt;
use std::path::PathBuf;

use trainer_kit::capability::{Device, Estimate};
use trainer_kit::event::{Checkpoint, Evaluation, Progress, Severity};
use trainer_kit::spec::Spec;
use trainer_kit::state::Failure;

use super::stop::Stop;

/// Does the work. One call of [`execute`](Self::execute) at a time for each slot, each on a thread of its own.
pub trait Executor: Send + Sync + 'static {
    /// Devices and their slots; asked once, when the trainer starts. At least one.
    fn devices(&self) -> Vec<Device>;

    /// Can this device do a run of this spec (defaults filled in)? Runs wait for one that can; where none can, they are refused for
    /// their precision. Must be quick: it is asked with a lock held.
    fn suits(&self, device: &str, spec: &Spec) -> bool {
        let _ = (device, spec);
        true
    }

    /// The spec with the trainer's defaults filled in, as far as they do not depend on the model.
    fn with_defaults(&self, spec: &Spec) -> Spec;

    /// What a run of this spec (defaults filled in) would take. Must answer within a few seconds.
    ///
    /// # Errors
    /// Why it cannot be done: the answer to the caller is then "infeasible", not an error.
    fn estimate(&self, spec: &Spec) -> Result<Estimate, RunFailure>;

    /// Does a run, from the beginning or from its checkpoint.
    ///
    /// It returns soon after the desk's [`Stop`] has a reason, with [`Done::Stopped`]; a checkpoint comes first where the
    /// [reason wants one](super::StopReason::wants_checkpoint). Failures that come only from being stopped are not reported as such.
    ///
    /// # Errors
    /// Why the run failed.
    fn execute(&self, job: &Job, desk: &dyn Desk) -> Result<Done, RunFailure>;
}

/// A run to be done.
#[derive(Debug, Clone)]
pub struct Job {
    /// The run's id.
    pub id: String,
    /// What is asked for, defaults filled in. The same at every attempt.
    pub spec: Spec,
    /// The run's own folder, absolute. Checkpoints and working files are the executor's to name, but for `run.json`,
    /// `events.jsonl` and files beside them that begin with either. Tuned weights go to [`Job::artifact`].
    pub folder: PathBuf,
    /// Device by name.
    pub device: String,
    /// Which of the device's slots, from 0: two runs at the same time never have the same.
    pub slot: u32,
    /// This is not the first attempt: go on from the folder's checkpoint, if it holds one.
    pub resume: bool,
    /// What earlier attempts have measured. What is measured again is not reported twice.
    pub evaluations: Vec<Evaluation>,
    /// Checkpoints of earlier attempts, oldest first.
    pub checkpoints: Vec<Checkpoint>,
}

impl Job {
    /// The folder of the tuned weights. It must appear there complete, or not at all.
    #[must_use]
    pub fn artifact(&self) -> PathBuf {
        self.folder.join(super::ARTIFACT)
    }
}

/// Where an executor reports to, from any thread.
pub trait Desk: Sync {
    /// Something happened. When this returns, evaluations and checkpoints are on the disk.
    fn report(&self, report: Report);

    /// Nothing happened, and the run is alive: before and within steps that take long and have nothing to report.
    fn alive(&self);

    /// Asks the run to stop.
    fn stop(&self) -> &Stop;
}

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// Model and data are there; training begins, or goes on.
    Prepared(Prepared),
    /// It got on.
    Progress(Progress),
    /// A loss was measured. One that is not finite and above 0 ends the run.
    Evaluation(Evaluation),
    /// A state was saved: after a restart the run goes on from here.
    CheckpointSaved(Checkpoint),
    /// A line for people.
    Log(Severity, String),
}

/// What is known when model and data are there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Digest of the model, e.g. `sha256:…`; empty: not computed.
    pub model_digest: String,
    /// Digest of the data; empty: not computed.
    pub data_digest: String,
    /// Optimizer steps in all.
    pub total_steps: Option<i64>,
    /// Tokens a sequence, where that default depends on the model; shown in the run's spec.
    pub sequence_length: Option<i32>,
}

/// How an execution ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// All work is done; the artifact, if there is one, is in its place.
    Finished,
    /// It stopped because it was asked to.
    Stopped,
}

/// A run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFailure {
    /// As the contract names it.
    pub failure: Failure,
    /// One sentence for people, without paths of the trainer's own files.
    pub detail: String,
}

impl RunFailure {
    /// A failure, and a sentence on it.
    #[must_use]
    pub fn new(failure: Failure, detail: impl Into<String>) -> Self {
        Self {
            failure,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for RunFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.failure, self.detail)
    }
}

impl std::error::Error for RunFailure {}
