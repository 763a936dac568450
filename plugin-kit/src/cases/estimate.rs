//! Estimates: if claimed, and refused if not.

use finepick_proto::trainer::v1 as pb;

use super::identity::{is_amount, is_upper_snake};
use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Refusal, Verdict, ensure, succeed};

pub(super) const CASES: &[Case] = &[
    case!(
        "estimate.answer",
        ["C-12.1", "C-12.2"],
        Needs::Claimed("estimate"),
        Shared,
        answer,
        "A run that can be done is feasible, with figures in range."
    ),
    case!(
        "estimate.fields",
        ["C-12.3"],
        Needs::Claimed("estimate"),
        Shared,
        fields,
        "A wrong spec is refused like a wrong create."
    ),
    case!(
        "estimate.unclaimed",
        ["C-2.6"],
        Needs::Unclaimed("estimate"),
        Shared,
        unclaimed,
        "Estimates are refused when they are not claimed."
    ),
];

/// `EstimateTrainingRun`.
async fn estimate(
    scope: &Scope,
    spec: Option<pb::TrainingRunSpec>,
) -> Result<pb::EstimateTrainingRunResponse, tonic::Status> {
    scope
        .estimate_training_run(pb::EstimateTrainingRunRequest { spec })
        .await
}

fn check(scope: &Scope, answer: &pb::EstimateTrainingRunResponse) -> Verdict {
    let reason = &answer.infeasible_reason;
    if answer.feasible {
        ensure(
            "C-12.1",
            reason.is_empty(),
            "no infeasible_reason when feasible",
            answer,
        )?;
    } else {
        ensure(
            "C-12.1",
            is_upper_snake(reason),
            "an UPPER_SNAKE_CASE infeasible_reason",
            answer,
        )?;
    }
    let memory = answer.memory_bytes;
    ensure(
        "C-12.2",
        memory.is_none_or(|bytes| bytes > 0),
        "memory_bytes > 0, or none",
        answer,
    )?;
    let (lower, upper) = (answer.device_seconds_lower, answer.device_seconds_upper);
    let finite = [lower, upper]
        .into_iter()
        .flatten()
        .all(|seconds| seconds.is_finite() && seconds >= 0.0);
    ensure("C-12.2", finite, "device_seconds finite and >= 0", answer)?;
    let ordered = lower.zip(upper).is_none_or(|(lower, upper)| lower <= upper);
    ensure(
        "C-12.2",
        ordered,
        "device_seconds_lower <= device_seconds_upper",
        answer,
    )?;
    let priced = !scope.capabilities.prices.is_empty();
    let fits = answer.money.as_ref().is_none_or(|money| priced && is_amount(money));
    ensure("C-12.2", fits, "money >= 0, with a price table only", answer)
}

async fn answer(scope: &Scope) -> Verdict {
    let answer = succeed(
        "C-12.1",
        "EstimateTrainingRun",
        estimate(scope, Some(scope.spec())).await,
    )?;
    ensure(
        "C-12.1",
        answer.feasible,
        "a run of --model and --data is feasible",
        &answer,
    )?;
    check(scope, &answer)?;
    let priced = !scope.capabilities.prices.is_empty();
    ensure(
        "C-12.2",
        answer.money.is_some() == priced,
        "money exactly when there is a price table",
        &answer,
    )?;
    let answer = succeed(
        "C-12.1",
        "EstimateTrainingRun of a long run",
        estimate(scope, Some(scope.long_spec())).await,
    )?;
    check(scope, &answer)
}

async fn fields(scope: &Scope) -> Verdict {
    let call = "EstimateTrainingRun";
    Refusal::field("spec").check("C-12.3", call, estimate(scope, None).await)?;
    let mut spec = scope.spec();
    spec.data_sizes = vec![100, 50];
    Refusal::field("spec.data_sizes[1]").check("C-12.3", call, estimate(scope, Some(spec)).await)?;
    let mut spec = scope.spec();
    spec.device.push_str("no-such-device");
    Refusal::capability("spec.device").check("C-12.3", call, estimate(scope, Some(spec)).await)
}

async fn unclaimed(scope: &Scope) -> Verdict {
    let answer = estimate(scope, Some(scope.spec())).await;
    Refusal::capability("estimate").check("C-2.6", "EstimateTrainingRun without the capability", answer)
}
