//! Domain → answers.

use std::time::Duration;

use finepick_proto::trainer::v1 as wire;
use finepick_proto::types::v1 as types;

use crate::clock::Clock;
use crate::cost::{Cost, Money, PriceTable};
use crate::engine::Trainer;
use crate::event::{Checkpoint, Evaluation, EvaluationKind, Event, Happening, Progress};
use crate::plan::Estimate;
use crate::run::Run;
use crate::settings::Settings;
use crate::simulation::Simulation;
use crate::spec::{Hyperparameters, Method, MethodKind, Reference, Spec};
use crate::state::{Failure, RunState, Transition, WaitReason};

/// The longest duration that the protocol allows, seconds.
const MAX_SECONDS: u64 = 315_576_000_000;

fn small(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn timestamp(clock: &dyn Clock, at: Duration) -> prost_types::Timestamp {
    clock.wall(at).into()
}

pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs().min(MAX_SECONDS)).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

pub(super) fn info(simulation: &Simulation, trainer: &Trainer) -> wire::GetTrainerInfoResponse {
    let settings = simulation.settings();
    let unready = simulation.unready();
    wire::GetTrainerInfoResponse {
        name: trainer.config().name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        contract_versions: vec!["v1".to_owned()],
        instance_id: trainer.instance_id().to_owned(),
        devices: settings
            .devices
            .iter()
            .map(|device| wire::Device {
                name: device.name.clone(),
                description: device.description.clone(),
                memory_bytes: Some(device.memory_bytes),
                slots: i32::try_from(device.slots).unwrap_or(i32::MAX),
            })
            .collect(),
        ready: unready.is_none(),
        ready_reason: unready.unwrap_or_default().to_owned(),
        queued_runs: small(simulation.queued()),
        active_runs: i32::try_from(simulation.active()).unwrap_or(i32::MAX),
        queue_limit: small(settings.queue_limit),
    }
}

pub(super) fn capabilities(settings: &Settings) -> wire::ListCapabilitiesResponse {
    let claims = &settings.capabilities;
    let methods = claims.methods.iter().map(|kind| match kind {
        MethodKind::Full => wire::MethodKind::Full,
        MethodKind::Lora => wire::MethodKind::Lora,
        MethodKind::Prompt => wire::MethodKind::Prompt,
    });
    wire::ListCapabilitiesResponse {
        methods: methods.map(i32::from).collect(),
        model_formats: claims.model_formats.clone(),
        uri_schemes: claims.uri_schemes.clone(),
        precisions: claims.precisions.clone(),
        pause: claims.pause,
        checkpoint_resume: claims.checkpoint_resume,
        nested_subsets: claims.nested_subsets,
        deterministic_seeds: claims.deterministic_seeds,
        estimate: claims.estimate,
        retention_sets: claims.retention_sets,
        prices: settings.prices.as_ref().map(price_table).unwrap_or_default(),
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

/// The range is a quarter of the expected time either way.
pub(super) fn estimate(estimate: &Estimate, prices: Option<&PriceTable>) -> wire::EstimateTrainingRunResponse {
    let (reason, detail) = estimate.infeasible.clone().unwrap_or_default();
    wire::EstimateTrainingRunResponse {
        feasible: estimate.infeasible.is_none(),
        infeasible_reason: reason.to_owned(),
        detail,
        memory_bytes: Some(estimate.memory_bytes),
        device_seconds_lower: Some(estimate.device_seconds * 0.75),
        device_seconds_upper: Some(estimate.device_seconds * 1.25),
        money: prices.map(|prices| money(&prices.price(estimate.device_seconds))),
    }
}

pub(super) fn run(run: &Run, simulation: &Simulation, trainer: &Trainer) -> wire::TrainingRun {
    let clock = trainer.clock();
    let device = run.device.and_then(|index| simulation.settings().devices.get(index));
    let succeeded = run.state == RunState::Succeeded;
    let read = run.started.is_some();
    wire::TrainingRun {
        training_run_id: run.id.clone(),
        spec: Some(spec(&run.spec)),
        state: state(run.state).into(),
        wait_reason: wait_reason(run.wait).into(),
        failure: failure(run.failure).into(),
        detail: run.detail.clone(),
        create_time: Some(timestamp(clock, run.created)),
        start_time: run.started.map(|at| timestamp(clock, at)),
        end_time: run.ended.map(|at| timestamp(clock, at)),
        progress: run.progress.as_ref().map(progress),
        evaluations: run.evaluations.iter().map(evaluation).collect(),
        cost: Some(cost(&run.cost)),
        checkpoints: run.checkpoints.iter().map(checkpoint).collect(),
        last_sequence: run.log.last_sequence(),
        instance_id: trainer.instance_id().to_owned(),
        device: device.map(|device| device.name.clone()).unwrap_or_default(),
        artifact_uri: if succeeded {
            format!("sim://artifacts/{}", run.id)
        } else {
            String::new()
        },
        queue_position: (run.state == RunState::Queued).then(|| small(simulation.queue_position(run).unwrap_or(0))),
        model_digest: if read { digest(&run.spec.model) } else { String::new() },
        data_digest: if read { digest(&run.spec.data) } else { String::new() },
    }
}

/// Nothing is read: what was expected is what is found, and where nothing was, a hash of the name.
fn digest(reference: &Reference) -> String {
    if reference.digest.is_empty() {
        format!("sim:{:016x}", crate::law::fingerprint(&[reference.uri.as_bytes()]))
    } else {
        reference.digest.clone()
    }
}

pub(super) fn event(event: &Event, clock: &dyn Clock) -> wire::TrainingEvent {
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
        Happening::Log(line) => Kind::Log(wire::LogLine {
            severity: wire::LogSeverity::Info.into(),
            text: line.clone(),
        }),
        Happening::Checkpoint(found) => Kind::Checkpoint(checkpoint(found)),
        Happening::Cost(found) => Kind::Cost(cost(found)),
    };
    wire::TrainingEvent {
        sequence: event.sequence,
        time: Some(timestamp(clock, event.at)),
        kind: Some(kind),
    }
}

pub(super) fn heartbeat(last_sequence: i64, clock: &dyn Clock) -> wire::TrainingEvent {
    wire::TrainingEvent {
        sequence: last_sequence,
        time: Some(timestamp(clock, clock.now())),
        kind: Some(wire::training_event::Kind::Heartbeat(wire::Heartbeat {})),
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
        tokens_per_second: Some(progress.tokens_per_second),
        remaining: Some(duration(progress.remaining)),
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
        standard_error: Some(evaluation.standard_error),
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

fn reference(reference: &Reference) -> wire::Reference {
    wire::Reference {
        uri: reference.uri.clone(),
        digest: reference.digest.clone(),
    }
}

fn spec(spec: &Spec) -> wire::TrainingRunSpec {
    wire::TrainingRunSpec {
        candidate_id: spec.candidate_id.clone(),
        model: Some(reference(&spec.model)),
        data: Some(reference(&spec.data)),
        held_out: spec.held_out.as_ref().map(reference),
        data_sizes: spec.data_sizes.clone(),
        method: Some(method(&spec.method)),
        hyperparameters: Some(hyperparameters(&spec.hyperparameters)),
        seed: spec.seed,
        subset_seed: spec.subset_seed,
        retention_sets: spec
            .retention_sets
            .iter()
            .map(|set| wire::RetentionSet {
                name: set.name.clone(),
                data: Some(reference(&set.data)),
            })
            .collect(),
        device: spec.device.clone(),
        max_duration: spec.max_duration.map(duration),
        labels: spec.labels.clone().into_iter().collect(),
    }
}

fn method(method: &Method) -> wire::TuningMethod {
    use wire::tuning_method::Kind;
    let kind = match method {
        Method::Full => Kind::Full(wire::FullTuning {}),
        Method::Lora {
            rank,
            alpha,
            dropout,
            target_modules,
        } => Kind::Lora(wire::LoraTuning {
            rank: *rank,
            alpha: *alpha,
            dropout: *dropout,
            target_modules: target_modules.clone(),
        }),
        Method::Prompt { length, initial_text } => Kind::Prompt(wire::PromptTuning {
            length: *length,
            initial_text: initial_text.clone(),
        }),
    };
    wire::TuningMethod { kind: Some(kind) }
}

fn hyperparameters(chosen: &Hyperparameters) -> wire::Hyperparameters {
    wire::Hyperparameters {
        epochs: chosen.epochs,
        steps: chosen.steps,
        batch_size: chosen.batch_size,
        sequence_length: chosen.sequence_length,
        learning_rate: chosen.learning_rate,
        warmup_ratio: chosen.warmup_ratio,
        weight_decay: chosen.weight_decay,
        clip_norm: chosen.clip_norm,
        precision: chosen.precision.clone(),
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
