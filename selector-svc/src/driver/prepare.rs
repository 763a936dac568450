//! What the trainers are asked before anything is spent.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, FuturesUnordered};

use super::{PrepareError, Shared};
use crate::curve::DataSize;
use crate::order::probe_spec;
use crate::plan::{self, Told};
use crate::ports::{RunEstimate, Trainer, TrainerDescription, TrainerFault};
use crate::selection::{Failure, Prepared, SelectionSpec, WorkMode};
use crate::store::KnownForecast;

/// Most forecasts of earlier selections that are looked at.
const MAX_FORECASTS: u32 = 10_000;

/// What trainers told, and who did not answer.
pub(super) struct Asked {
    pub(super) told: Told,
    /// The first fault of each trainer that was away for some question.
    pub(super) away: BTreeMap<String, TrainerFault>,
}

type Estimates = BTreeMap<(usize, String), Vec<(DataSize, Result<RunEstimate, TrainerFault>)>>;

/// What a selection would take, by what the trainers say now. Trainers that are away are left out, unless all are.
pub(super) async fn prepare(shared: &Arc<Shared>, spec: &SelectionSpec) -> Result<Prepared, PrepareError> {
    let asked = ask(shared, spec).await?;
    conclude(spec, asked.told).await
}

/// From answers to a plan.
pub(super) async fn conclude(spec: &SelectionSpec, told: Told) -> Result<Prepared, PrepareError> {
    let spec = spec.clone();
    // Plans of a thousand contenders take a while, and other tasks are waiting.
    let planned = tokio::task::spawn_blocking(move || plan::prepare(&spec, &told)).await;
    match planned {
        Ok(planned) => planned.map_err(|(failure, detail)| PrepareError::Failed { failure, detail }),
        Err(panicked) => Err(PrepareError::Failed {
            failure: Failure::Internal,
            detail: panicked.to_string(),
        }),
    }
}

/// Asks everybody everything.
///
/// # Errors
/// An unknown name; no trainer answers; the store does not.
pub(super) async fn ask(shared: &Arc<Shared>, spec: &SelectionSpec) -> Result<Asked, PrepareError> {
    if spec.work_mode == WorkMode::AskTell {
        return Ok(Asked {
            told: Told::default(),
            away: BTreeMap::new(),
        });
    }
    let (trainers, mut away) = describe(shared, spec).await?;
    let mut estimates = Estimates::new();
    let mut data_examples = None;
    if spec.data_size_full.is_none() {
        // How much the data hold, from the first who can tell.
        let probes = plan::probe_sizes(spec, None);
        for contender in 0..spec.contenders() {
            let asked = estimate(shared, spec, &trainers, &[contender], &probes).await;
            data_examples = largest_data(&asked);
            merge(&mut estimates, asked);
            if data_examples.is_some() {
                break;
            }
        }
    }
    if spec.data_size_full.is_some() || data_examples.is_some() {
        let probes = plan::probe_sizes(spec, data_examples);
        let contenders: Vec<usize> = (0..spec.contenders()).collect();
        merge(
            &mut estimates,
            estimate(shared, spec, &trainers, &contenders, &probes).await,
        );
    }
    for ((_, trainer), answers) in &estimates {
        let fault = answers.iter().find_map(|(_, answer)| match answer {
            Err(fault @ TrainerFault::Unavailable { .. }) => Some(fault.clone()),
            _ => None,
        });
        if let Some(fault) = fault {
            away.entry(trainer.clone()).or_insert(fault);
        }
    }
    let mut told = Told {
        trainers,
        estimates,
        forecasts: Vec::new(),
    };
    told.forecasts = earlier_forecasts(shared, spec, &told).await?;
    Ok(Asked { told, away })
}

type Described = (Vec<(String, TrainerDescription)>, BTreeMap<String, TrainerFault>);

async fn describe(shared: &Arc<Shared>, spec: &SelectionSpec) -> Result<Described, PrepareError> {
    let all = &shared.parts.trainers;
    if let Some(unknown) = spec.trainers.iter().find(|name| !all.contains_key(*name)) {
        return Err(PrepareError::UnknownTrainer {
            name: unknown.clone(),
            known: all.keys().cloned().collect(),
        });
    }
    let wanted = |name: &&String| spec.trainers.is_empty() || spec.trainers.contains(*name);
    let questions = all.keys().filter(wanted).map(|name| async move {
        let _turn = shared.questions.acquire().await;
        let answer = match all.get(name) {
            Some(trainer) => trainer.describe().await,
            None => return None,
        };
        Some((name.clone(), answer))
    });
    let answers: Vec<_> = questions.collect::<FuturesUnordered<_>>().collect().await;
    let (mut described, mut away) = (Vec::new(), BTreeMap::new());
    for (name, answer) in answers.into_iter().flatten() {
        match answer {
            Ok(description) => {
                shared.slots.set(&name, description.slots);
                described.push((name, description));
            }
            Err(fault) => {
                away.insert(name, fault);
            }
        }
    }
    described.sort_by(|a, b| a.0.cmp(&b.0));
    match away.values().next() {
        Some(fault) if described.is_empty() => Err(fault.clone().into()),
        _ => Ok((described, away)),
    }
}

async fn estimate(
    shared: &Arc<Shared>,
    spec: &SelectionSpec,
    trainers: &[(String, TrainerDescription)],
    contenders: &[usize],
    sizes: &[DataSize],
) -> Estimates {
    let able = |contender: &usize, description: &TrainerDescription| {
        let method = spec.contender(*contender).map(|(_, method)| method.method.kind());
        description.estimates && method.is_some_and(|kind| description.methods.contains(&kind))
    };
    let mut questions = Vec::new();
    for contender in contenders {
        for (name, description) in trainers {
            if !able(contender, description) {
                continue;
            }
            let Some(trainer) = shared.parts.trainers.get(name) else {
                continue;
            };
            for size in sizes {
                questions.push(question(shared, trainer, name, spec, *contender, *size));
            }
        }
    }
    let at_once = shared.config.estimates_in_flight.max(1);
    let answers: Vec<_> = stream::iter(questions).buffered(at_once).collect().await;
    let mut estimates = Estimates::new();
    for (contender, name, size, answer) in answers {
        estimates.entry((contender, name)).or_default().push((size, answer));
    }
    estimates
}

type Answer = (usize, String, DataSize, Result<RunEstimate, TrainerFault>);

async fn question(
    shared: &Arc<Shared>,
    trainer: &Arc<dyn Trainer>,
    name: &str,
    spec: &SelectionSpec,
    contender: usize,
    size: DataSize,
) -> Answer {
    let _turn = shared.questions.acquire().await;
    let answer = trainer.estimate(probe_spec(spec, contender, size)).await;
    (contender, name.to_owned(), size, answer)
}

fn merge(estimates: &mut Estimates, more: Estimates) {
    for (key, answers) in more {
        let known = estimates.entry(key).or_default();
        for (size, answer) in answers {
            known.retain(|(other, _)| *other != size);
            known.push((size, answer));
        }
        known.sort_by_key(|(size, _)| *size);
    }
}

fn largest_data(estimates: &Estimates) -> Option<u64> {
    let answers = estimates
        .values()
        .flatten()
        .filter_map(|(_, answer)| answer.as_ref().ok());
    answers.filter_map(|estimate| estimate.data_examples).max()
}

/// What earlier selections forecast of the same models on other data.
async fn earlier_forecasts(
    shared: &Shared,
    spec: &SelectionSpec,
    told: &Told,
) -> Result<Vec<KnownForecast>, PrepareError> {
    if !spec.warm_start {
        return Ok(Vec::new());
    }
    let digests = plan::digests(spec, told);
    let mut keys: Vec<String> = digests.model_keys.into_iter().flatten().collect();
    keys.sort();
    keys.dedup();
    let data = digests.data;
    if keys.is_empty() || data.is_empty() {
        return Ok(Vec::new());
    }
    Ok(shared.parts.store.known_forecasts(&keys, &data, MAX_FORECASTS).await?)
}
