//! Domain → answers.

use std::time::{Duration, SystemTime};

use finepick_proto::trainer::v1 as wire;
use finepick_proto::types::v1 as types;

use crate::capability::{Capabilities, Estimate, Info};
use crate::cost::{Cost, Money, PriceTable};
use crate::event::{Checkpoint, Evaluation, EvaluationKind, Event, Happening, Progress, Severity};
use crate::run::Run;
use crate::spec::{ExampleOrder, Hyperparameters, Method, MethodKind, Reference, RetentionSet, Spec};
use crate::state::{Failure, RunState, Transition, WaitReason};

/// The longest duration that the protocol allows, seconds.
const MAX_SECONDS: u64 = 315_576_000_000;

fn small(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs().min(MAX_SECONDS)).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// Who the trainer is and how it stands.
#[must_use]
pub fn info(info: Info) -> wire::GetTrainerInfoResponse {
    wire::GetTrainerInfoResponse {
        name: info.name,
        version: info.version,
        contract_versions: vec!["v1".to_owned()],
        instance_id: info.instance_id,
        devices: info
            .devices
            .into_iter()
            .map(|device| wire::Device {
                name: device.name,
                description: device.description,
                memory_bytes: device.memory_bytes,
                slots: i32::try_from(device.slots).unwrap_or(i32::MAX),
            })
            .collect(),
        ready: info.unready.is_none(),
        ready_reason: info.unready.unwrap_or_default().to_owned(),
        queued_runs: small(info.queued),
        active_runs: small(info.active),
        queue_limit: small(info.queue_limit),
    }
}

/// What the trainer claims.
#[must_use]
pub fn capabilities(claims: Capabilities) -> wire::ListCapabilitiesResponse {
    let methods = claims.methods.iter().map(|kind| match kind {
        MethodKind::Full => wire::MethodKind::Full,
        MethodKind::Lora => wire::MethodKind::Lora,
        MethodKind::Prompt => wire::MethodKind::Prompt,
    });
    wire::ListCapabilitiesResponse {
        methods: methods.map(i32::from).collect(),
        prices: claims.prices.as_ref().map(price_table).unwrap_or_default(),
        model_formats: claims.model_formats,
        uri_schemes: claims.uri_schemes,
        precisions: claims.precisions,
        pause: claims.pause,
        checkpoint_resume: claims.checkpoint_resume,
        nested_subsets: claims.nested_subsets,
        deterministic_seeds: claims.deterministic_seeds,
        estimate: claims.estimate,
        retention_sets: claims.retention_sets,
        heartbeat_interval: Some(duration(claims.heartbeat_interval)),
        data_size_max: claims.data_size_max,
    }
}

fn price_table(table: &PriceTable) -> Vec<wire::Price> {
    let price = |unit: wire::PriceUnit, amount: f64| wire::Price {
        unit: unit.into(),
        device: String::new(),
        price: Some(money(&table.money(amount))),
    };
    vec![
        price(wire::PriceUnit::DeviceSecond, table.per_device_second),
        price(wire::PriceUnit::Run, table.per_run),
    ]
}

fn money(money: &Money) -> types::Money {
    types::Money {
        currency_code: money.currency.clone(),
        units: money.units,
        nanos: money.nanos,
    }
}

/// What a run would take, priced.
#[must_use]
pub fn estimate(estimate: Estimate, prices: Option<&PriceTable>) -> wire::EstimateTrainingRunResponse {
    let feasible = estimate.infeasible.is_none();
    let (reason, detail) = estimate.infeasible.unwrap_or_default();
    let seconds = estimate.device_seconds;
    wire::EstimateTrainingRunResponse {
        feasible,
        infeasible_reason: reason.to_owned(),
        detail,
        memory_bytes: estimate.memory_bytes,
        device_seconds_lower: seconds.map(|range| range.lower),
        device_seconds_upper: seconds.map(|range| range.upper),
        money: prices.map(|prices| money(&prices.price(seconds.map_or(0.0, |range| range.expected)))),
        model_digest: estimate.inputs.model_digest,
        data_digest: estimate.inputs.data_digest,
        parameters: estimate.inputs.parameters,
        data_examples: estimate.inputs.data_examples,
    }
}

/// A run as callers see it.
#[must_use]
pub fn run(run: Run) -> wire::TrainingRun {
    wire::TrainingRun {
        training_run_id: run.id,
        spec: Some(spec(run.spec)),
        state: state(run.state).into(),
        wait_reason: wait_reason(run.wait).into(),
        failure: failure(run.failure).into(),
        detail: run.detail,
        create_time: Some(run.created.into()),
        start_time: run.started.map(Into::into),
        end_time: run.ended.map(Into::into),
        progress: run.progress.as_ref().map(progress),
        evaluations: run.evaluations.iter().map(evaluation).collect(),
        cost: Some(cost(&run.cost)),
        checkpoints: run.checkpoints.iter().map(checkpoint).collect(),
        last_sequence: run.last_sequence,
        instance_id: run.instance_id,
        device: run.device,
        artifact_uri: run.artifact_uri,
        queue_position: run.queue_position.map(small),
        model_digest: run.model_digest,
        data_digest: run.data_digest,
    }
}

/// An event, and the wall clock's time at its moment.
#[must_use]
pub fn event(event: &Event, time: SystemTime) -> wire::TrainingEvent {
    use wire::training_event::Kind;
    let kind = match &event.what {
        Happening::Created(wait) => Kind::StateChanged(wire::StateChanged {
            to: wire::TrainingRunState::Queued.into(),
            wait_reason: wait_reason(Some(*wait)).into(),
            ..wire::StateChanged::default()
        }),
        Happening::State(way, detail) => Kind::StateChanged(state_changed(*way, detail)),
        Happening::Progress(found) => Kind::Progress(progress(found)),
        Happening::Evaluation(found) => Kind::Evaluation(evaluation(found)),
        Happening::Log(severity, line) => Kind::Log(wire::LogLine {
            severity: log_severity(*severity).into(),
            text: line.clone(),
        }),
        Happening::Checkpoint(found) => Kind::Checkpoint(checkpoint(found)),
        Happening::Cost(found) => Kind::Cost(cost(found)),
    };
    wire::TrainingEvent {
        sequence: event.sequence,
        time: Some(time.into()),
        kind: Some(kind),
    }
}

/// Nothing happened; the newest event is this one.
pub(super) fn heartbeat(last_sequence: i64, now: SystemTime) -> wire::TrainingEvent {
    wire::TrainingEvent {
        sequence: last_sequence,
        time: Some(now.into()),
        kind: Some(wire::training_event::Kind::Heartbeat(wire::Heartbeat {})),
    }
}

fn log_severity(severity: Severity) -> wire::LogSeverity {
    match severity {
        Severity::Info => wire::LogSeverity::Info,
        Severity::Warning => wire::LogSeverity::Warning,
        Severity::Error => wire::LogSeverity::Error,
    }
}

fn state_changed(way: Transition, detail: &str) -> wire::StateChanged {
    wire::StateChanged {
        from: state(way.from).into(),
        to: state(way.to).into(),
        wait_reason: wait_reason(way.wait).into(),
        failure: failure(way.failure).into(),
        detail: detail.to_owned(),
    }
}

fn progress(progress: &Progress) -> wire::Progress {
    wire::Progress {
        step: progress.step,
        total_steps: progress.total_steps,
        training_loss: progress.training_loss,
        tokens_per_second: progress.tokens_per_second,
        remaining: progress.remaining.map(duration),
    }
}

fn evaluation(evaluation: &Evaluation) -> wire::Evaluation {
    let kind = match evaluation.kind {
        EvaluationKind::HeldOut => wire::EvaluationKind::HeldOut,
        EvaluationKind::RetentionBefore => wire::EvaluationKind::RetentionBefore,
        EvaluationKind::RetentionAfter => wire::EvaluationKind::RetentionAfter,
    };
    wire::Evaluation {
        kind: kind.into(),
        data_size: evaluation.data_size,
        loss: evaluation.loss,
        standard_error: evaluation.standard_error,
        tokens: evaluation.tokens,
        examples: evaluation.examples,
        truncated_examples: evaluation.truncated_examples,
        retention_set: evaluation.retention_set.clone(),
    }
}

fn checkpoint(checkpoint: &Checkpoint) -> wire::Checkpoint {
    wire::Checkpoint {
        checkpoint_id: checkpoint.checkpoint_id.clone(),
        step: checkpoint.step,
    }
}

fn cost(cost: &Cost) -> wire::RunCost {
    wire::RunCost {
        device_seconds: cost.device_seconds,
        money: cost.money.as_ref().map(money),
    }
}

/// Where something lies.
#[must_use]
pub fn reference(reference: Reference) -> wire::Reference {
    wire::Reference {
        uri: reference.uri,
        digest: reference.digest,
    }
}

/// A spec as it goes to callers.
#[must_use]
pub fn spec(spec: Spec) -> wire::TrainingRunSpec {
    let set = |set: RetentionSet| wire::RetentionSet {
        name: set.name,
        data: Some(reference(set.data)),
    };
    wire::TrainingRunSpec {
        candidate_id: spec.candidate_id,
        model: Some(reference(spec.model)),
        data: Some(reference(spec.data)),
        held_out: spec.held_out.map(reference),
        data_sizes: spec.data_sizes,
        method: Some(method(spec.method)),
        hyperparameters: Some(hyperparameters(spec.hyperparameters)),
        seed: spec.seed,
        subset_seed: spec.subset_seed,
        retention_sets: spec.retention_sets.into_iter().map(set).collect(),
        device: spec.device,
        max_duration: spec.max_duration.map(duration),
        labels: spec.labels.into_iter().collect(),
        initial_adapter: spec.initial_adapter.map(reference),
    }
}

/// How weights are tuned.
#[must_use]
pub fn method(method: Method) -> wire::TuningMethod {
    use wire::tuning_method::Kind;
    let kind = match method {
        Method::Full => Kind::Full(wire::FullTuning {}),
        Method::Lora {
            rank,
            alpha,
            dropout,
            target_modules,
        } => Kind::Lora(wire::LoraTuning {
            rank,
            alpha,
            dropout,
            target_modules,
        }),
        Method::Prompt { length, initial_text } => Kind::Prompt(wire::PromptTuning { length, initial_text }),
    };
    wire::TuningMethod { kind: Some(kind) }
}

/// How to optimise.
#[must_use]
pub fn hyperparameters(chosen: Hyperparameters) -> wire::Hyperparameters {
    wire::Hyperparameters {
        epochs: chosen.epochs,
        steps: chosen.steps,
        batch_size: chosen.batch_size,
        sequence_length: chosen.sequence_length,
        learning_rate: chosen.learning_rate,
        warmup_ratio: chosen.warmup_ratio,
        weight_decay: chosen.weight_decay,
        clip_norm: chosen.clip_norm,
        precision: chosen.precision,
        gradient_accumulation: chosen.gradient_accumulation,
        schedule: chosen.schedule,
        patience: chosen.patience,
        order: order(chosen.order).into(),
    }
}

fn order(order: Option<ExampleOrder>) -> wire::ExampleOrder {
    match order {
        None => wire::ExampleOrder::Unspecified,
        Some(ExampleOrder::Seeded) => wire::ExampleOrder::Seeded,
        Some(ExampleOrder::AsIs) => wire::ExampleOrder::AsIs,
    }
}

fn state(state: RunState) -> wire::TrainingRunState {
    match state {
        RunState::Queued => wire::TrainingRunState::Queued,
        RunState::Preparing => wire::TrainingRunState::Preparing,
        RunState::Running => wire::TrainingRunState::Running,
        RunState::Paused => wire::TrainingRunState::Paused,
        RunState::Succeeded => wire::TrainingRunState::Succeeded,
        RunState::Failed => wire::TrainingRunState::Failed,
        RunState::Cancelled => wire::TrainingRunState::Cancelled,
        RunState::Preempted => wire::TrainingRunState::Preempted,
        RunState::Lost => wire::TrainingRunState::Lost,
    }
}

/// The state of a wire value; none for the unspecified one.
pub(super) fn domain_state(value: wire::TrainingRunState) -> Option<RunState> {
    RunState::ALL.into_iter().find(|known| state(*known) == value)
}

fn wait_reason(reason: Option<WaitReason>) -> wire::WaitReason {
    match reason {
        None => wire::WaitReason::Unspecified,
        Some(WaitReason::NoFreeSlot) => wire::WaitReason::NoFreeSlot,
        Some(WaitReason::DeviceBusy) => wire::WaitReason::DeviceBusy,
        Some(WaitReason::TrainerStarting) => wire::WaitReason::TrainerStarting,
        Some(WaitReason::Fetching) => wire::WaitReason::Fetching,
        Some(WaitReason::Paused) => wire::WaitReason::Paused,
    }
}

fn failure(failure: Option<Failure>) -> wire::TrainingFailure {
    match failure {
        None => wire::TrainingFailure::Unspecified,
        Some(Failure::EvaluationMissing) => wire::TrainingFailure::EvaluationMissing,
        Some(Failure::OutOfMemory) => wire::TrainingFailure::OutOfMemory,
        Some(Failure::DiskFull) => wire::TrainingFailure::DiskFull,
        Some(Failure::ModelUnreadable) => wire::TrainingFailure::ModelUnreadable,
        Some(Failure::DataUnreadable) => wire::TrainingFailure::DataUnreadable,
        Some(Failure::TooFewExamples) => wire::TrainingFailure::TooFewExamples,
        Some(Failure::LossNotFinite) => wire::TrainingFailure::LossNotFinite,
        Some(Failure::DeadlineExceeded) => wire::TrainingFailure::DeadlineExceeded,
        Some(Failure::Stalled) => wire::TrainingFailure::Stalled,
        Some(Failure::Internal) => wire::TrainingFailure::Internal,
    }
}
