//! Requests → domain. Ranges are the domain's matter ([`crate::spec`]); here is what only the wire can get wrong.

use std::time::Duration;

use finepick_proto::trainer::v1 as wire;
use svc_kit::status::FieldViolation;

use super::page;
use crate::refusal::Refusal;
use crate::spec::{ExampleOrder, Hyperparameters, Method, Reference, RetentionSet, Spec, Violation, check_spec};
use crate::state::RunState;

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page {
    /// Runs at most.
    pub(super) size: usize,
    /// Only runs with smaller keys.
    pub(super) before: u64,
    /// Only runs in one of these states; empty: all.
    pub(super) states: Vec<RunState>,
}

/// The spec, and all that is wrong with it if the wire already shows that something is. `None`: there is no spec, or
/// nothing that the domain could look at.
pub(super) fn spec(message: Option<wire::TrainingRunSpec>, violations: &mut Vec<Violation>) -> Option<Spec> {
    let Some(message) = message else {
        violations.push(Violation::new("spec", "must be set"));
        return None;
    };
    let before = violations.len();
    let mut required = |path: &str, present: bool| {
        if !present {
            violations.push(Violation::new(path, "must be set"));
        }
    };
    required("spec.model", message.model.is_some());
    required("spec.data", message.data.is_some());
    let kind = message.method.and_then(|method| method.kind);
    required("spec.method", kind.is_some());
    for (index, set) in message.retention_sets.iter().enumerate().take(16) {
        required(&format!("spec.retention_sets[{index}].data"), set.data.is_some());
    }
    let max_duration = message.max_duration.and_then(|limit| {
        let duration = positive(limit);
        if duration.is_none() {
            violations.push(Violation::new(
                "spec.max_duration",
                "must be a duration longer than 0 s",
            ));
        }
        duration
    });
    let hyperparameters = message
        .hyperparameters
        .map(|chosen| hyperparameters("spec.hyperparameters", chosen, violations));
    let spec = Spec {
        candidate_id: message.candidate_id,
        model: reference(message.model),
        data: reference(message.data),
        held_out: message.held_out.map(|held_out| reference(Some(held_out))),
        data_sizes: message.data_sizes,
        method: kind.map_or(Method::Full, method),
        hyperparameters: hyperparameters.unwrap_or_default(),
        seed: message.seed,
        subset_seed: message.subset_seed,
        retention_sets: message
            .retention_sets
            .into_iter()
            .map(|set| RetentionSet {
                name: set.name,
                data: reference(set.data),
            })
            .collect(),
        device: message.device,
        max_duration,
        labels: message.labels.into_iter().collect(),
        initial_adapter: message.initial_adapter.map(|adapter| reference(Some(adapter))),
    };
    let missing: Vec<String> = violations
        .iter()
        .skip(before)
        .map(|v| format!("{}.", v.field))
        .collect();
    if !missing.is_empty() {
        // All that is wrong at once; but what lies within a message that is not there is not listed again.
        let more = check_spec(&spec).into_iter();
        violations.extend(more.filter(|v| !missing.iter().any(|path| v.field.starts_with(path))));
    }
    Some(spec)
}

/// The spec, or what is wrong with the request.
pub(super) fn settle(spec: Option<Spec>, violations: Vec<Violation>) -> Result<Spec, Refusal> {
    match spec {
        Some(spec) if violations.is_empty() => Ok(spec),
        Some(spec) => {
            // A request field is wrong that the domain does not see: it still gets to say what else is.
            let mut all = violations;
            let known: Vec<String> = all.iter().map(|v| v.field.clone()).collect();
            let inside = |field: &str| {
                known
                    .iter()
                    .any(|path| field == path || field.starts_with(&format!("{path}.")))
            };
            all.extend(check_spec(&spec).into_iter().filter(|v| !inside(&v.field)));
            Err(Refusal::Invalid(all))
        }
        None => Err(Refusal::Invalid(violations)),
    }
}

/// Where something lies; absent: nowhere, which is for the domain to refuse.
#[must_use]
pub fn reference(message: Option<wire::Reference>) -> Reference {
    message.map_or_else(Reference::default, |message| Reference {
        uri: message.uri,
        digest: message.digest,
    })
}

/// How weights are tuned.
#[must_use]
pub fn method(kind: wire::tuning_method::Kind) -> Method {
    match kind {
        wire::tuning_method::Kind::Full(wire::FullTuning {}) => Method::Full,
        wire::tuning_method::Kind::Lora(lora) => Method::Lora {
            rank: lora.rank,
            alpha: lora.alpha,
            dropout: lora.dropout,
            target_modules: lora.target_modules,
        },
        wire::tuning_method::Kind::Prompt(prompt) => Method::Prompt {
            length: prompt.length,
            initial_text: prompt.initial_text,
        },
    }
}

/// How to optimise. What only the wire can get wrong is remembered under `path`.
pub fn hyperparameters(path: &str, message: wire::Hyperparameters, violations: &mut Vec<Violation>) -> Hyperparameters {
    let order = match wire::ExampleOrder::try_from(message.order) {
        Ok(wire::ExampleOrder::Unspecified) => None,
        Ok(wire::ExampleOrder::Seeded) => Some(ExampleOrder::Seeded),
        Ok(wire::ExampleOrder::AsIs) => Some(ExampleOrder::AsIs),
        Err(_) => {
            let description = format!("{} is no order of examples", message.order);
            violations.push(Violation::new(format!("{path}.order"), description));
            None
        }
    };
    Hyperparameters {
        epochs: message.epochs,
        steps: message.steps,
        batch_size: message.batch_size,
        sequence_length: message.sequence_length,
        learning_rate: message.learning_rate,
        warmup_ratio: message.warmup_ratio,
        weight_decay: message.weight_decay,
        clip_norm: message.clip_norm,
        precision: message.precision,
        gradient_accumulation: message.gradient_accumulation,
        schedule: message.schedule,
        patience: message.patience,
        order,
    }
}

/// A duration > 0 that the protocol allows.
fn positive(message: prost_types::Duration) -> Option<Duration> {
    let nanos = u32::try_from(message.nanos)
        .ok()
        .filter(|nanos| *nanos < 1_000_000_000)?;
    let seconds = u64::try_from(message.seconds)
        .ok()
        .filter(|seconds| *seconds <= 315_576_000_000)?;
    Some(Duration::new(seconds, nanos)).filter(|duration| !duration.is_zero())
}

/// The page that is asked for; all wrong fields at once.
pub(super) fn page(
    message: &wire::ListTrainingRunsRequest,
    (largest, default): (i32, i32),
) -> Result<Page, Vec<FieldViolation>> {
    let mut violations = Vec::new();
    if !(0..=largest).contains(&message.page_size) {
        let description = format!("must be 0 to {largest}, is {}", message.page_size);
        violations.push(FieldViolation::new("page_size", description));
    }
    let size = if message.page_size == 0 {
        default
    } else {
        message.page_size
    };
    let before = match message.page_token.as_str() {
        "" => u64::MAX,
        token => page::read(token).unwrap_or_else(|| {
            violations.push(FieldViolation::new("page_token", "is no token of this trainer"));
            0
        }),
    };
    let mut states = Vec::new();
    for (index, value) in message.states.iter().enumerate() {
        let known = wire::TrainingRunState::try_from(*value)
            .ok()
            .and_then(super::response::domain_state);
        match known {
            Some(state) => states.push(state),
            None => violations.push(FieldViolation::new(
                format!("states[{index}]"),
                format!("{value} is no state of a run"),
            )),
        }
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    Ok(Page {
        size: usize::try_from(size).unwrap_or(1),
        before,
        states,
    })
}
