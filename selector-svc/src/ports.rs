//! What the domain needs of the world, as traits: adapters implement them, tests fake them.

use std::future::Future;
use std::pin::Pin;

use thiserror::Error;
use trainer_kit::spec::{MethodKind, Spec};

use crate::curve::{DataSize, Observation};
use crate::policy::fitted::{FittedForecasts, Law, LawFitParameters};
use crate::selection::Outcome;

/// A boxed future, so that [`Fitter`] can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Curves to fit one law to, and where to forecast.
#[derive(Clone, Debug, PartialEq)]
pub struct FitRequest {
    /// Which law.
    pub law: Law,
    /// Objective and uncertainty.
    pub parameters: LawFitParameters,
    /// Name and points (ascending, without zero-shot) of each candidate.
    pub curves: Vec<(String, Vec<Observation>)>,
    /// Sizes to forecast at; the first is the full size.
    pub data_sizes: Vec<DataSize>,
    /// Nominal coverage of intervals, in (0, 1).
    pub level: f64,
    /// Seed of the bootstrap.
    pub seed: u64,
}

/// Why the fitter gave no answer at all; a law that cannot be fitted to a candidate is not an error.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FitterError {
    /// It cannot be reached, or is overloaded; trying again later may help.
    #[error("the fitter does not answer: {detail}")]
    Unavailable {
        /// For the log.
        detail: String,
    },
    /// The caller's time is over.
    #[error("the fitter did not answer in time: {detail}")]
    TimedOut {
        /// For the log.
        detail: String,
    },
    /// It refused or broke; trying again does not help.
    #[error("the fitter failed: {detail}")]
    Failed {
        /// For the log.
        detail: String,
    },
}

/// Fits laws to curves.
pub trait Fitter: Send + Sync {
    /// One answer per curve, by name.
    fn forecast(&self, request: FitRequest) -> BoxFuture<'_, Result<FittedForecasts, FitterError>>;
}

/// What a trainer says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainerDescription {
    /// Implementation and version, e.g. `dev.finepick.onnx 0.1.0`.
    pub implementation: String,
    /// Runs at the same time, over all its devices and replicas, ≥ 1.
    pub slots: u32,
    /// What it can tune.
    pub methods: Vec<MethodKind>,
    /// One run may report several sizes.
    pub nested_subsets: bool,
    /// The same spec and seed give the same losses.
    pub deterministic: bool,
    /// It answers estimates.
    pub estimates: bool,
    /// Largest size; absent: no bound but the data.
    pub data_size_max: Option<u64>,
    /// (currency, billionths a device-second, billionths a run); absent: it has no prices.
    pub price: Option<(String, i64, i64)>,
    /// Largest device memory, bytes; absent: not told.
    pub memory_bytes: Option<u64>,
}

/// What a trainer says of a run before it is made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunEstimate {
    /// Why it could not be done: (reason, detail); absent: it could.
    pub infeasible: Option<(String, String)>,
    /// Device memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Device-seconds, the upper end.
    pub device_seconds: Option<f64>,
    /// Money in billionths of a unit.
    pub money_nanos: Option<i64>,
    /// Empty: not told.
    pub model_digest: String,
    /// Empty: not told.
    pub data_digest: String,
    /// Number of the model's weights.
    pub parameters: Option<u64>,
    /// Examples that can be trained on.
    pub data_examples: Option<u64>,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RunProgress {
    /// Steps done.
    pub step: u64,
    /// Steps in all; absent: not known.
    pub total: Option<u64>,
    /// Last training loss, nats.
    pub training_loss: Option<f64>,
    /// Tokens per second.
    pub tokens_per_second: Option<f64>,
    /// Seconds until the end.
    pub remaining_seconds: Option<f64>,
    /// It waits for a slot of the trainer.
    pub queued: bool,
}

/// How a run ended, as the trainer tells it; checked against what was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnd {
    /// How.
    pub outcome: Outcome,
    /// Losses at other sizes that were asked for, ascending: at all but the largest where it was observed, else at those that were
    /// measured before it ended.
    pub others: Vec<Measured>,
    /// For people.
    pub detail: String,
    /// Device-seconds that it took, where told.
    pub device_seconds: Option<f64>,
    /// Money in billionths of a unit, where told.
    pub money_nanos: Option<i64>,
    /// Share of its steps that were made, 0 to 1, where told: what a run that failed has used of its examples.
    pub share_done: Option<f64>,
    /// Another attempt may end otherwise.
    pub may_be_retried: bool,
}

impl RunEnd {
    /// What it says of a size that it has measured.
    #[must_use]
    pub fn at(&self, data_size: DataSize) -> Option<Outcome> {
        match &self.outcome {
            Outcome::Observed { observation, .. } if observation.data_size() == data_size => Some(self.outcome.clone()),
            _ => {
                let mut others = self.others.iter();
                let found = others.find(|other| other.observation.data_size() == data_size);
                found.cloned().map(Outcome::from)
            }
        }
    }
}

/// A loss that a run has reported, and what it was measured on.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Size and loss.
    pub observation: Observation,
    /// Empty: not told.
    pub model_digest: String,
    /// Empty: not told.
    pub data_digest: String,
}

impl From<Measured> for Outcome {
    fn from(measured: Measured) -> Self {
        Self::Observed {
            observation: measured.observation,
            model_digest: measured.model_digest,
            data_digest: measured.data_digest,
        }
    }
}

/// Why a trainer could not be asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrainerFault {
    /// Nobody answers, or has time; later it may.
    #[error("trainer {trainer} does not answer: {detail}")]
    Unavailable {
        /// Its name.
        trainer: String,
        /// For people.
        detail: String,
    },
    /// It refused.
    #[error("trainer {trainer} refused: {detail}")]
    Refused {
        /// Its name.
        trainer: String,
        /// Reason of the refusal, `UPPER_SNAKE_CASE`; may be empty.
        reason: String,
        /// For people.
        detail: String,
    },
}

/// Takes note of a run's progress; must not block.
pub type ProgressSink = Box<dyn FnMut(RunProgress) + Send>;

/// A trainer, or a set of its replicas, known by a name.
pub trait Trainer: Send + Sync {
    /// What it says of itself.
    fn describe(&self) -> BoxFuture<'_, Result<TrainerDescription, TrainerFault>>;

    /// Whether it could do a run, and at what cost.
    fn estimate(&self, spec: Spec) -> BoxFuture<'_, Result<RunEstimate, TrainerFault>>;

    /// Makes the run known to the trainer, if it is not, and follows it to its end. Idempotent: after a crash the same call finds
    /// the run as it stands. Waits out a trainer that goes away for as long as it is patient; then the run is
    /// [`Outcome::Lost`]. Dropping the future leaves the run as it is. Several sizes are asked only of one that has described itself
    /// with `nested_subsets`; it succeeds with a loss for each, or not at all.
    fn run<'a>(
        &'a self,
        run_id: &'a str,
        spec: Spec,
        progress: ProgressSink,
    ) -> BoxFuture<'a, Result<RunEnd, TrainerFault>>;

    /// Whether the process that a run of this id belongs to (`None`: any of its processes) can be reached, as far as is known without
    /// asking; `None`: it is one process, or nothing is known.
    fn reaches(&self, _run_id: Option<&str>) -> Option<bool> {
        None
    }

    /// Asks for the end of a run; one that is not known counts as ended.
    fn cancel<'a>(&'a self, run_id: &'a str) -> BoxFuture<'a, Result<(), TrainerFault>>;
}
