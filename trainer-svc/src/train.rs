//! The training loop: for each data size, tune from the checkpoint and measure the held-out loss.
//!
//! Every size is tuned from the checkpoint anew, with its own epochs and schedule, so a run over several sizes gives what
//! separate runs would give; what they share is the preparation. Everything random is a function of a seed and a counter (the
//! subset, an epoch's order, a step's dropout), so a resumed run needs only the weights, the optimizer's moments and the number
//! of steps done ([`state`]).

mod error;
pub mod measure;
mod prepare;
mod programs;
pub mod schedule;
mod stage;
pub mod state;
mod tuner;

use std::path::PathBuf;
use std::time::Duration;

pub use self::error::TrainError;
use self::measure::Measurement;
use self::prepare::Prepared;
use self::schedule::Schedule;
use self::state::Tensors;
use self::tuner::Tuner;
use crate::arch::Decoder;
use crate::dataset::{Batches, Buckets, EpochOrder, Tokenized};
use crate::method::{Method, Tuned};
use crate::session::{Device, StopToken};

/// How long tuning goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// Passes over the examples, ≥ 1.
    Epochs(u32),
    /// Optimizer steps, ≥ 1; as many passes as it takes.
    Steps(u64),
}

/// How to tune.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// What is trained.
    pub method: Method,
    /// How long.
    pub length: Length,
    /// Sequences of a batch, ≥ 1.
    pub batch_size: usize,
    /// Batches whose gradients are added up for a step, ≥ 1.
    pub accumulation: usize,
    /// Tokens of a sequence; absent: what the model takes, at most [`DEFAULT_SEQUENCE_LENGTH`].
    pub sequence_length: Option<usize>,
    /// Peak learning rate, > 0.
    pub learning_rate: f64,
    /// Share of the steps with rising learning rate, in [0, 1].
    pub warmup_ratio: f64,
    /// How it goes on after that.
    pub schedule: Schedule,
    /// Decoupled weight decay, ≥ 0; biases and norms do not decay.
    pub weight_decay: f64,
    /// Global gradient norm is clipped to this, > 0.
    pub clip_norm: Option<f64>,
    /// Early stopping: epochs without improvement of the held-out loss until tuning ends; the best epoch is kept.
    pub patience: Option<u32>,
    /// Order of the examples.
    pub order: EpochOrder,
    /// Seed of everything random but the subset.
    pub seed: u64,
}

/// Tokens of a sequence where neither the run nor the model says fewer.
pub const DEFAULT_SEQUENCE_LENGTH: usize = 512;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Job {
    /// A checkpoint folder.
    pub model: PathBuf,
    /// Its digest: a saved state goes on only with the same model.
    pub model_digest: String,
    /// The data: a file or folder.
    pub data: PathBuf,
    /// Digest that they must have; empty: any.
    pub data_digest: String,
    /// Held-out data; absent: a split of the data.
    pub held_out: Option<PathBuf>,
    /// Further data to evaluate on before and after tuning, by name.
    pub retention: Vec<(String, PathBuf)>,
    /// An adapter to start from.
    pub initial_adapter: Option<PathBuf>,
    /// Examples to tune on, ascending; 0: only measure.
    pub sizes: Vec<usize>,
    /// Seed of the nested subsets.
    pub subset_seed: u64,
    /// How to tune.
    pub tuning: Tuning,
    /// Where the training state and the tuned weights go; absent: nothing is kept.
    pub folder: Option<PathBuf>,
    /// Time between saved states.
    pub checkpoint_interval: Duration,
}

/// On what a loss was measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Measured {
    /// The held-out data.
    HeldOut,
    /// A retention set, before tuning.
    RetentionBefore(String),
    /// A retention set, after tuning.
    RetentionAfter(String),
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Report {
    /// Model and data are there.
    Prepared {
        /// Digest of the data.
        data_digest: String,
        /// Steps of all sizes; fewer with early stopping.
        total_steps: u64,
        /// Tokens to which sequences are cut.
        sequence_length: usize,
        /// Weights of the forward pass, those of adapters and prompts included.
        parameters: u64,
        /// Of these, trained.
        trained: u64,
    },
    /// A step was done.
    Step {
        /// Steps done, over all sizes.
        step: u64,
        /// Of so many.
        total: u64,
        /// Mean over the step's predicted tokens, before the update, nats per token.
        loss: f64,
        /// Predicted tokens of the step.
        tokens: u64,
    },
    /// A loss was measured.
    Evaluated {
        /// On what.
        on: Measured,
        /// Examples tuned on before it.
        data_size: usize,
        /// The loss.
        measurement: Measurement,
    },
    /// The training state was saved at this step.
    Saved {
        /// Steps done, over all sizes.
        step: u64,
    },
    /// A line for people.
    Note(String),
    /// Something is odd.
    Warning(String),
}

/// What the caller wishes of a run that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Go on.
    GoOn,
    /// Save the state and come back; the run may be resumed.
    Pause,
}

/// Who is told what happens, and may want it to end.
pub trait Observer {
    /// Something happened.
    fn report(&mut self, report: Report);
    /// Asked between steps.
    fn wish(&mut self) -> Wish;
    /// Nothing is to be told, but the run goes on: called after every batch of an evaluation, and of a step that adds up several.
    fn alive(&mut self) {}
}

/// How a run ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All sizes were tuned and measured.
    Done,
    /// At the observer's wish; the state is saved.
    Paused,
}

/// Does a job on a device, from its beginning or from the state that its folder holds.
///
/// # Errors
/// [`TrainError::Stopped`] when the token was stopped; anything else that [`TrainError`] names.
pub fn run(job: &Job, device: &Device, observer: &mut dyn Observer, stop: &StopToken) -> Result<Ending, TrainError> {
    let prepared = Prepared::new(job)?;
    prepared.announce(observer);
    let resumed = prepared.saved_state()?;
    let mut first = resumed.as_ref().map_or(0, |(position, _)| position.stage);
    if first == 0 && prepared.has_new_prompt() {
        first = begin_without_prompt(&prepared, device, observer, stop)?;
    }
    if first >= job.sizes.len() {
        return Ok(Ending::Done);
    }
    let model = &prepared.model;
    let mut tuner = Tuner::new(
        device,
        model.decoder.as_ref(),
        &job.tuning.method,
        &prepared.trainable,
        stop.clone(),
    )?;
    for parameter in &prepared.frozen {
        tuner.freeze(
            &parameter.name,
            &model.checkpoint.read(&parameter.name, &parameter.shape)?,
        )?;
    }
    if first == 0 && !prepared.has_new_prompt() {
        prepared.put_starts(&mut tuner)?;
        measure_retention(&mut tuner, &prepared, observer, 0, Measured::RetentionBefore)?;
    }
    let mut resumed = resumed;
    for index in first..job.sizes.len() {
        let mut stage = stage::Stage::new(&prepared, index)?;
        if stage.tune(&mut tuner, observer, resumed.take())? == Ending::Paused {
            return Ok(Ending::Paused);
        }
        finish(&stage, &mut tuner, observer)?;
    }
    Ok(Ending::Done)
}

/// What is measured before a prompt is tuned is the checkpoint's own: one that has learned nothing would stand in the way. Gives
/// the stage to go on with.
fn begin_without_prompt(
    prepared: &Prepared<'_>,
    device: &Device,
    observer: &mut dyn Observer,
    stop: &StopToken,
) -> Result<usize, TrainError> {
    let begins_with_zero = prepared.job.sizes.first() == Some(&0);
    if !begins_with_zero && prepared.retention.is_empty() {
        return Ok(0);
    }
    let (model, method) = (&prepared.model, Method::Full);
    let Tuned { trainable, .. } = method.build(model.decoder.as_ref(), prepare::SMALLEST)?;
    let mut tuner = Tuner::new(device, model.decoder.as_ref(), &method, &trainable, stop.clone())?;
    for weight in &trainable {
        tuner.set(&weight.name, &model.checkpoint.read(&weight.name, &weight.shape)?)?;
    }
    measure_retention(&mut tuner, prepared, observer, 0, Measured::RetentionBefore)?;
    if !begins_with_zero {
        return Ok(0);
    }
    finish(&stage::Stage::new(prepared, 0)?, &mut tuner, observer)?;
    Ok(1)
}

/// A size has been tuned: its losses, and what is kept of it.
fn finish(stage: &stage::Stage<'_>, tuner: &mut Tuner<'_>, observer: &mut dyn Observer) -> Result<(), TrainError> {
    let prepared = stage.prepared();
    stage.measure(tuner, observer)?;
    // What was forgotten is asked of the result: of the largest size.
    if prepared.is_last(stage.index()) {
        measure_retention(tuner, prepared, observer, stage.size(), Measured::RetentionAfter)?;
    }
    prepared.finish_stage(stage.index(), tuner, observer)
}

fn measure_retention(
    tuner: &mut Tuner<'_>,
    prepared: &Prepared<'_>,
    observer: &mut dyn Observer,
    data_size: usize,
    on: fn(String) -> Measured,
) -> Result<(), TrainError> {
    for (name, tokenized) in &prepared.retention {
        let rows = prepared.job.tuning.batch_size;
        let measurement = evaluate(tuner, tokenized, &prepared.buckets, rows, observer)?;
        let on = on(name.clone());
        observer.report(Report::Evaluated {
            on,
            data_size,
            measurement,
        });
    }
    Ok(())
}

fn evaluate(
    tuner: &mut Tuner<'_>,
    tokenized: &Tokenized,
    buckets: &Buckets,
    rows: usize,
    observer: &mut dyn Observer,
) -> Result<Measurement, TrainError> {
    let batches = Batches::evaluation(tokenized, rows, buckets);
    let measured = tuner.evaluate(batches, tokenized.truncated() as u64, observer)?;
    let measured = measured.ok_or(TrainError::NothingToPredict)?;
    if measured.loss.is_finite() {
        Ok(measured)
    } else {
        Err(TrainError::HeldOutNotFinite { loss: measured.loss })
    }
}

/// Tuned weights, by name.
pub type Weights = Tensors;

/// Positions that are left for tokens, where the model has a limit.
fn positions_for_tokens(decoder: &dyn Decoder, method: &Method) -> Option<usize> {
    let prompt = match method {
        Method::Prompt(prompt) => prompt.length,
        Method::Full | Method::Lora(_) => 0,
    };
    decoder.max_positions().map(|limit| limit.saturating_sub(prompt))
}
