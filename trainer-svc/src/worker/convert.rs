//! From a run of the contract to a job of the training loop.

use std::path::PathBuf;
use std::time::Duration;

use trainer_kit::spec::{ExampleOrder, Hyperparameters, Method as Asked, Spec};
use trainer_kit::state::Failure;

use crate::dataset::EpochOrder;
use crate::method::{Lora, Method, Prompt};
use crate::runs::{self, RunFailure};
use crate::train::schedule::Schedule;
use crate::train::{Job, Length, Tuning};

/// Where everything lies on this machine.
pub(super) struct Places {
    pub(super) model: PathBuf,
    pub(super) model_digest: String,
    pub(super) data: PathBuf,
    pub(super) held_out: Option<PathBuf>,
    pub(super) retention: Vec<(String, PathBuf)>,
    pub(super) initial_adapter: Option<PathBuf>,
}

pub(super) fn job(run: &runs::Job, places: Places, checkpoint_interval: Duration) -> Result<Job, RunFailure> {
    let spec = &run.spec;
    Ok(Job {
        model: places.model,
        model_digest: places.model_digest,
        data: places.data,
        data_digest: spec.data.digest.clone(),
        held_out: places.held_out,
        retention: places.retention,
        initial_adapter: places.initial_adapter,
        sizes: spec.data_sizes.iter().map(|&size| count(size)).collect(),
        subset_seed: spec.subset_seed,
        tuning: tuning(spec)?,
        folder: Some(run.folder.clone()),
        checkpoint_interval,
    })
}

/// A number that the contract holds to be ≥ 0.
fn count(number: impl TryInto<usize>) -> usize {
    number.try_into().unwrap_or(usize::MAX)
}

fn tuning(spec: &Spec) -> Result<Tuning, RunFailure> {
    let chosen = &spec.hyperparameters;
    let schedule = Schedule::from_name(&chosen.schedule);
    let schedule = schedule.map_err(|error| RunFailure::new(Failure::Internal, error.to_string()))?;
    Ok(Tuning {
        method: method(&spec.method),
        length: length(chosen),
        batch_size: count(chosen.batch_size.unwrap_or(1)),
        accumulation: count(chosen.gradient_accumulation.unwrap_or(1)),
        sequence_length: chosen.sequence_length.map(count),
        learning_rate: chosen.learning_rate.unwrap_or(0.0),
        warmup_ratio: chosen.warmup_ratio.unwrap_or(0.0),
        schedule,
        weight_decay: chosen.weight_decay.unwrap_or(0.0),
        clip_norm: chosen.clip_norm,
        patience: chosen.patience.map(|epochs| u32::try_from(epochs).unwrap_or(1)),
        order: match chosen.order {
            Some(ExampleOrder::AsIs) => EpochOrder::AsIs,
            _ => EpochOrder::Seeded,
        },
        seed: spec.seed,
    })
}

fn length(chosen: &Hyperparameters) -> Length {
    match chosen.steps {
        Some(steps) => Length::Steps(u64::try_from(steps).unwrap_or(1)),
        None => Length::Epochs(u32::try_from(chosen.epochs.unwrap_or(1)).unwrap_or(1)),
    }
}

pub(super) fn method(asked: &Asked) -> Method {
    match asked {
        Asked::Full => Method::Full,
        Asked::Lora {
            rank,
            alpha,
            dropout,
            target_modules,
        } => Method::Lora(Lora {
            rank: count(*rank),
            alpha: alpha.unwrap_or(f64::from(*rank)),
            dropout: dropout.unwrap_or(0.0),
            targets: target_modules.clone(),
        }),
        Asked::Prompt { length, initial_text } => Method::Prompt(Prompt {
            length: count(*length),
            initial_text: initial_text.clone(),
        }),
    }
}
