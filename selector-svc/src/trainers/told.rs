//! What a trainer's messages say, checked against the contract. Pure.

use finepick_proto::trainer::v1 as wire;
use finepick_proto::types::v1::Money;
use trainer_kit::spec::MethodKind;

use super::run::refused;
use crate::curve::{DataSize, Loss, Observation};
use crate::explain;
use crate::ports::{Measured, RunEnd, RunEstimate, RunProgress, TrainerDescription};
use crate::selection::Outcome;

/// Something that the contract rules out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lie(pub(super) String);

const NANOS_PER_UNIT: i64 = 1_000_000_000;

/// What a trainer says of itself, as far as it concerns a selection.
pub(super) fn description(
    info: &wire::GetTrainerInfoResponse,
    claims: &wire::ListCapabilitiesResponse,
    replicas: u32,
) -> TrainerDescription {
    let slots = info
        .devices
        .iter()
        .map(|device| u32::try_from(device.slots).unwrap_or(0).max(1));
    let slots = slots.fold(0_u32, u32::saturating_add).max(1);
    let methods = claims.methods().filter_map(|kind| match kind {
        wire::MethodKind::Full => Some(MethodKind::Full),
        wire::MethodKind::Lora => Some(MethodKind::Lora),
        wire::MethodKind::Prompt => Some(MethodKind::Prompt),
        wire::MethodKind::Unspecified => None,
    });
    TrainerDescription {
        implementation: format!("{} {}", info.name, info.version),
        slots: slots.saturating_mul(replicas),
        methods: methods.collect(),
        nested_subsets: claims.nested_subsets,
        deterministic: claims.deterministic_seeds,
        estimates: claims.estimate,
        data_size_max: claims.data_size_max.and_then(positive),
        price: price(&claims.prices),
        memory_bytes: info
            .devices
            .iter()
            .filter_map(|device| positive(device.memory_bytes?))
            .max(),
    }
}

/// The dearest of its devices: a run may land on any.
fn price(prices: &[wire::Price]) -> Option<(String, i64, i64)> {
    let of = |unit: wire::PriceUnit| {
        let lines = prices.iter().filter(move |line| line.unit() == unit);
        lines.filter_map(|line| line.price.as_ref())
    };
    let currency = prices
        .iter()
        .find_map(|line| line.price.as_ref())?
        .currency_code
        .clone();
    let dearest = |unit| {
        let amounts = of(unit)
            .filter(|money| money.currency_code == currency)
            .filter_map(nanos);
        amounts.max().unwrap_or(0)
    };
    let (second, run) = (dearest(wire::PriceUnit::DeviceSecond), dearest(wire::PriceUnit::Run));
    Some((currency, second, run))
}

/// Billionths of a unit, saturating; `None`: negative.
fn nanos(money: &Money) -> Option<i64> {
    let nanos = money
        .units
        .saturating_mul(NANOS_PER_UNIT)
        .saturating_add(i64::from(money.nanos));
    (money.units >= 0 && money.nanos >= 0).then_some(nanos)
}

fn positive(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}

fn not_negative(value: f64) -> Option<f64> {
    Some(value).filter(|value| value.is_finite() && *value >= 0.0)
}

/// What a run would take. What cannot be is taken as not told.
pub(super) fn estimate(answer: wire::EstimateTrainingRunResponse) -> RunEstimate {
    let words = (answer.infeasible_reason, answer.detail);
    let infeasible = (!answer.feasible).then(|| (explain::shortened(&words.0), explain::shortened(&words.1)));
    RunEstimate {
        infeasible,
        memory_bytes: answer.memory_bytes.and_then(positive),
        device_seconds: answer.device_seconds_upper.and_then(not_negative),
        money_nanos: answer.money.as_ref().and_then(nanos),
        model_digest: answer.model_digest,
        data_digest: answer.data_digest,
        parameters: answer.parameters.and_then(positive),
        data_examples: answer.data_examples.and_then(positive),
    }
}

/// How far a run is. What cannot be is taken as not told.
pub(super) fn progress(progress: &wire::Progress, queued: bool) -> RunProgress {
    let seconds = |duration: &prost_types::Duration| {
        std::time::Duration::try_from(*duration)
            .ok()
            .map(|duration| duration.as_secs_f64())
    };
    RunProgress {
        step: u64::try_from(progress.step).unwrap_or(0),
        total: progress.total_steps.and_then(positive),
        training_loss: progress.training_loss.filter(|loss| loss.is_finite()),
        tokens_per_second: progress.tokens_per_second.and_then(not_negative),
        remaining_seconds: progress.remaining.as_ref().and_then(seconds),
        queued,
    }
}

/// Whether an answer speaks of the run that was asked for.
pub(super) fn is_the_run(run: &wire::TrainingRun, run_id: &str, sizes: &[i64]) -> Result<(), Lie> {
    if run.training_run_id != run_id {
        return Err(Lie(format!(
            "asked for run {run_id:?}, it answers with {:?}",
            run.training_run_id
        )));
    }
    match &run.spec {
        Some(spec) if spec.data_sizes != sizes => Err(Lie(format!(
            "the run was asked for the sizes {sizes:?} and has {:?}",
            spec.data_sizes
        ))),
        _ => Ok(()),
    }
}

/// How a run ended.
pub(super) fn end(run: &wire::TrainingRun, sizes: &[i64]) -> RunEnd {
    checked_end(run, sizes).unwrap_or_else(|lie| refused(&lie))
}

fn checked_end(run: &wire::TrainingRun, sizes: &[i64]) -> Result<RunEnd, Lie> {
    use wire::TrainingRunState as State;
    let (device_seconds, money_nanos) = cost(run.cost.as_ref())?;
    let share_done = share_done(run);
    let all = || sizes.iter().map(|size| measured(run, *size));
    let mut others = Vec::new();
    let (outcome, may_be_retried) = match run.state() {
        State::Succeeded => {
            others = all().collect::<Result<Vec<Measured>, Lie>>()?;
            // Sizes ascend.
            let largest = others.pop().ok_or_else(|| Lie("it was asked for no size".to_owned()))?;
            (Outcome::from(largest), false)
        }
        State::Failed => {
            let name = run.failure().as_str_name();
            let failure = name.strip_prefix("TRAINING_FAILURE_").unwrap_or(name).to_owned();
            (Outcome::Failed { failure }, is_passing(run.failure()))
        }
        State::Cancelled => (Outcome::Cancelled, true),
        State::Preempted => (Outcome::Preempted, true),
        State::Lost => (Outcome::Lost, true),
        state => {
            return Err(Lie(format!(
                "a run that had ended is {}",
                trainer_client::state_name(state)
            )));
        }
    };
    if !matches!(outcome, Outcome::Observed { .. }) {
        // What was measured before stays (C-9.3 of the plugin contract).
        others = all().filter_map(Result::ok).collect();
    }
    Ok(RunEnd {
        outcome,
        others,
        detail: run.detail.clone(),
        device_seconds,
        money_nanos,
        share_done,
        may_be_retried,
    })
}

/// Whether a failure may not happen again: the others are the run's own.
fn is_passing(failure: wire::TrainingFailure) -> bool {
    use wire::TrainingFailure as Failure;
    match failure {
        Failure::Internal
        | Failure::Stalled
        | Failure::DiskFull
        | Failure::DeadlineExceeded
        | Failure::EvaluationMissing
        | Failure::Unspecified => true,
        Failure::LossNotFinite
        | Failure::ModelUnreadable
        | Failure::DataUnreadable
        | Failure::TooFewExamples
        | Failure::OutOfMemory => false,
    }
}

fn cost(cost: Option<&wire::RunCost>) -> Result<(Option<f64>, Option<i64>), Lie> {
    let Some(cost) = cost else { return Ok((None, None)) };
    let seconds = not_negative(cost.device_seconds)
        .ok_or_else(|| Lie(format!("its run cost {} device-seconds", cost.device_seconds)))?;
    let money = match &cost.money {
        None => None,
        Some(money) => {
            let told = nanos(money);
            Some(told.ok_or_else(|| Lie(format!("its run cost {} units and {} nanos", money.units, money.nanos)))?)
        }
    };
    Ok((Some(seconds), money))
}

/// Share of the steps that were made; a run that never began has made none.
fn share_done(run: &wire::TrainingRun) -> Option<f64> {
    if run.start_time.is_none() && run.progress.is_none() {
        return Some(0.0);
    }
    let progress = run.progress.as_ref()?;
    let total = progress.total_steps.and_then(positive)?;
    let step = u64::try_from(progress.step).unwrap_or(0);
    Some((step as f64 / total as f64).clamp(0.0, 1.0))
}

/// The held-out loss of a size that was asked for.
fn measured(run: &wire::TrainingRun, wanted: i64) -> Result<Measured, Lie> {
    let held_out = || {
        let kind = wire::EvaluationKind::HeldOut;
        let all = run.evaluations.iter();
        all.filter(move |evaluation| evaluation.kind() == kind)
    };
    let found = held_out().rev().find(|evaluation| evaluation.data_size == wanted);
    let Some(found) = found else {
        let others: Vec<i64> = held_out().map(|evaluation| evaluation.data_size).take(8).collect();
        return Err(Lie(format!(
            "a run that succeeded has no held-out loss for {wanted} examples; it has losses for {others:?}"
        )));
    };
    let size = u64::try_from(wanted).ok().and_then(|size| DataSize::new(size).ok());
    let size = size.ok_or_else(|| Lie(format!("{wanted} is no size")))?;
    let loss = Loss::new(found.loss).map_err(|error| Lie(format!("its loss is {}: {error}", found.loss)))?;
    let mut observation = Observation::new(size, loss);
    if let Some(error) = found.standard_error {
        observation = observation
            .with_standard_error(error)
            .map_err(|wrong| Lie(format!("the standard error of its loss is {error}: {wrong}")))?;
    }
    Ok(Measured {
        observation,
        model_digest: run.model_digest.clone(),
        data_digest: run.data_digest.clone(),
    })
}
