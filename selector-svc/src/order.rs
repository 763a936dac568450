//! What a trial is to its trainer and to later selections: its run's id and spec, and the keys under which its loss and its
//! contender's forecast are known.
//!
//! All of it is a function of the state: whoever takes a selection up sends the same specs under the same ids.

use std::time::Duration;

use serde::Serialize;
use trainer_kit::spec::{Hyperparameters, Method, Reference, Spec};

use crate::curve::DataSize;
use crate::selection::{Prepared, SelectionSpec, State, trial_id};
use crate::store::LossKey;

/// Most labels of a run, by the plugin contract; the first three of ours always find room.
const MAX_LABELS: usize = 64;
/// Ids that a run is offered, until one belongs to a process that is there.
const MAX_RUN_IDS: u32 = 64;
/// Longest name of a candidate at a trainer, bytes.
const MAX_NAME_BYTES: usize = 256;
/// Longest value of a label, bytes.
const MAX_LABEL_BYTES: usize = 256;

/// Label of a run: the selection that it is made for.
pub const SELECTION_LABEL: &str = "finepick.selection";
/// Label of a run: its trial.
pub const TRIAL_LABEL: &str = "finepick.trial";
/// Label of a run: which attempt at the trial.
pub const ATTEMPT_LABEL: &str = "finepick.attempt";
/// Label of a run that measures several sizes: all its trials, as far as there is room.
pub const TRIALS_LABEL: &str = "finepick.trials";

/// Id of the run of an attempt at a trial (by position): `{selection}.{nonce}.{contender}-{size}.{attempt}`.
#[must_use]
pub fn run_id(state: &State, selection_id: &str, trial: usize, attempt: u32) -> String {
    format!("{selection_id}.{}.{}.{attempt}", state.nonce, name_of(state, trial))
}

/// Ids that the run of an attempt may have: [`run_id`] first, then others that no other attempt has.
pub fn run_ids(state: &State, selection_id: &str, trial: usize, attempt: u32) -> impl Iterator<Item = String> {
    let first = run_id(state, selection_id, trial, attempt);
    let others = (1..MAX_RUN_IDS).map({
        let first = first.clone();
        move |n| format!("{first}-{n}")
    });
    std::iter::once(first).chain(others)
}

fn name_of(state: &State, trial: usize) -> String {
    state
        .trials
        .get(trial)
        .map_or_else(String::new, |trial| trial_id(trial.contender, trial.data_size))
}

/// What is asked of a trainer for a run in hand: for an attempt at a trial (by position), or for attempts at several sizes of a contender,
/// ascending by size ([`State::runs_in_hand`]); for no longer than their reservations pay. The caller's marks go along, as far as there is
/// room.
#[must_use]
pub fn run_spec(state: &State, selection_id: &str, members: &[(usize, u32)]) -> Spec {
    let (trial, attempt) = members.last().copied().unwrap_or_default();
    let largest = state.trials.get(trial);
    let (contender, size) = largest.map_or((0, DataSize::ZERO), |trial| (trial.contender, trial.data_size));
    let mut spec = probe_spec(&state.spec, contender, size);
    let own = [
        (SELECTION_LABEL, selection_id.to_owned()),
        (TRIAL_LABEL, name_of(state, trial)),
        (ATTEMPT_LABEL, attempt.to_string()),
    ];
    spec.labels
        .extend(own.into_iter().map(|(key, value)| (key.to_owned(), value)));
    if members.len() > 1 {
        let sizes = members.iter().filter_map(|(trial, _)| state.trials.get(*trial));
        spec.data_sizes = sizes.map(|trial| wire(trial.data_size)).collect();
        // Each size has the time that a run of its own would have.
        let count = u32::try_from(members.len()).unwrap_or(u32::MAX);
        spec.max_duration = spec.max_duration.map(|limit| limit.saturating_mul(count));
        if spec.labels.len() < MAX_LABELS {
            spec.labels.insert(TRIALS_LABEL.to_owned(), names_of(state, members));
        }
    }
    let in_hand = largest.and_then(|trial| trial.attempts.get((attempt as usize).checked_sub(1)?));
    let paid = in_hand.and_then(|attempt| attempt.max_seconds).map(whole_nanoseconds);
    spec.max_duration = [spec.max_duration, paid].into_iter().flatten().min();
    spec
}

/// Names of the trials of a run, the largest first, as many as a label holds.
fn names_of(state: &State, members: &[(usize, u32)]) -> String {
    let mut text = String::new();
    for (trial, _) in members.iter().rev() {
        let name = name_of(state, *trial);
        if text.len() + name.len() + 1 > MAX_LABEL_BYTES {
            break;
        }
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(&name);
    }
    text
}

/// A size for the wire; beyond its range it saturates.
fn wire(data_size: DataSize) -> i64 {
    i64::try_from(data_size.examples()).unwrap_or(i64::MAX)
}

/// What a trainer is asked to estimate: a contender's run at a size, before there are trials.
#[must_use]
pub fn probe_spec(spec: &SelectionSpec, contender: usize, data_size: DataSize) -> Spec {
    let found = spec.contender(contender);
    let (model, method, hyperparameters) = found.map_or_else(
        || (None, Method::Full, Hyperparameters::default()),
        |(candidate, method)| {
            (
                candidate.model.clone(),
                method.method.clone(),
                method.hyperparameters.clone(),
            )
        },
    );
    let room = MAX_LABELS - [SELECTION_LABEL, TRIAL_LABEL, ATTEMPT_LABEL].len();
    Spec {
        candidate_id: shortened(spec.contender_name(contender)),
        model: model.unwrap_or_default(),
        data: spec.data.clone().unwrap_or_default(),
        held_out: spec.held_out.clone(),
        data_sizes: vec![wire(data_size)],
        method,
        hyperparameters,
        seed: spec.seed,
        subset_seed: spec.subset_seed,
        retention_sets: Vec::new(),
        device: spec.device.clone(),
        max_duration: max_duration(spec),
        labels: spec
            .labels
            .iter()
            .take(room)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        initial_adapter: None,
    }
}

/// The longest time of a run, as the spec limits it.
#[must_use]
pub fn max_duration(spec: &SelectionSpec) -> Option<Duration> {
    let millis = spec.max_run_millis.and_then(|millis| u64::try_from(millis).ok());
    millis.filter(|millis| *millis > 0).map(Duration::from_millis)
}

/// Rounded down, so that a run is not longer than what pays for it; more than 0, as every limit is.
fn whole_nanoseconds(seconds: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, at 584 years"
    )]
    let nanoseconds = (seconds * 1e9).floor() as u64;
    Duration::from_nanos(nanoseconds.max(1))
}

fn shortened(mut name: String) -> String {
    if name.len() > MAX_NAME_BYTES {
        let end = (0..=MAX_NAME_BYTES).rev().find(|at| name.is_char_boundary(*at));
        name.truncate(end.unwrap_or(0));
    }
    name
}

/// What a loss depends on. The fields' order is part of the key.
#[derive(Serialize)]
struct LossRecord<'a> {
    version: u32,
    trainer: &'a str,
    device: &'a str,
    model: &'a str,
    data: &'a str,
    held_out: Option<&'a Reference>,
    method: &'a Method,
    hyperparameters: &'a Hyperparameters,
    data_size: u64,
    seed: u64,
    subset_seed: u64,
}

/// Under which key the loss of a contender at a size is known to all selections. Absent where the same spec need not give the same
/// loss: a digest is not known, a trainer that may run it is not deterministic, or its trainers are of several implementations
/// (defaults and rounding are each one's own).
#[must_use]
pub fn loss_key(state: &State, contender: usize, data_size: DataSize) -> Option<LossKey> {
    let prepared = state.prepared.as_ref()?;
    let facts = prepared.contenders.get(contender)?;
    let (_, method) = state.spec.contender(contender)?;
    if facts.model_digest.is_empty() || prepared.data_digest.is_empty() {
        return None;
    }
    let record = LossRecord {
        version: 1,
        trainer: implementation(prepared, contender)?,
        device: &state.spec.device,
        model: &facts.model_digest,
        data: &prepared.data_digest,
        held_out: state.spec.held_out.as_ref(),
        method: &method.method,
        hyperparameters: &method.hyperparameters,
        data_size: data_size.examples(),
        seed: state.spec.seed,
        subset_seed: state.spec.subset_seed,
    };
    digest_of(&record).map(LossKey)
}

/// The one implementation that trains this contender, if it is one and deterministic.
fn implementation(prepared: &Prepared, contender: usize) -> Option<&str> {
    let costs = &prepared.contenders.get(contender)?.costs;
    let mut able = prepared
        .trainers
        .iter()
        .filter(|trainer| costs.contains_key(&trainer.name));
    let first = able.next()?;
    let same =
        |other: &crate::selection::TrainerFacts| other.deterministic && other.implementation == first.implementation;
    (first.deterministic && able.all(same)).then_some(first.implementation.as_str())
}

/// Under which key the forecast of a contender is known to selections on other data. Absent: its model's digest is not known.
#[must_use]
pub fn model_key(state: &State, contender: usize) -> Option<String> {
    let facts = state.prepared.as_ref()?.contenders.get(contender)?;
    crate::plan::model_key(&state.spec, contender, &facts.model_digest)
}

fn digest_of(record: &impl Serialize) -> Option<String> {
    let text = serde_json::to_vec(record).ok()?;
    Some(crate::digest::sha256(&text))
}
