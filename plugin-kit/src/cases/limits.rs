//! Requests at the limits and beyond.

use finepick_proto::trainer::v1 as pb;
use tonic::Code;

use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Refusal, Verdict, describe, equal, fail, succeed};

pub(super) const CASES: &[Case] = &[
    case!(
        "limits.full_spec",
        ["C-3.10"],
        Needs::Nothing,
        Shared,
        full_spec,
        "A spec at the limits of its fields is accepted, and kept whole."
    ),
    case!(
        "limits.one_mebibyte",
        ["C-14.1"],
        Needs::Nothing,
        Shared,
        one_mebibyte,
        "A request of 1 MiB is read and judged."
    ),
    case!(
        "limits.too_large",
        ["C-14.1"],
        Needs::Nothing,
        Shared,
        too_large,
        "A request of 40 MiB is refused with a status, and the trainer lives on."
    ),
];

async fn full_spec(scope: &Scope) -> Verdict {
    let mut spec = scope.spec();
    spec.candidate_id = "c".repeat(256);
    spec.labels = (0..64)
        .map(|key| (format!("{key:03}{}", "k".repeat(253)), "v".repeat(256)))
        .collect();
    spec.seed = u64::MAX;
    spec.subset_seed = u64::MAX;
    spec.max_duration = Some(prost_types::Duration {
        seconds: 86_400,
        nanos: 999_999_999,
    });
    let id = scope.new_id("full");
    let request = pb::CreateTrainingRunRequest {
        training_run_id: format!("{id}{}", "x".repeat(128_usize.saturating_sub(id.len()))),
        spec: Some(spec.clone()),
        request_id: "r".repeat(128),
    };
    scope.own(request.training_run_id.clone());
    let answer = scope.patiently(|| scope.create_training_run(request.clone())).await;
    let run = succeed("C-3.10", "CreateTrainingRun at all limits", answer)?;
    let kept = run.run.and_then(|run| run.spec).unwrap_or_default();
    equal("C-3.10", "labels", &spec.labels.len(), &kept.labels.len())?;
    equal("C-3.10", "the labels as they were sent", &spec.labels, &kept.labels)?;
    equal(
        "C-3.10",
        "seeds",
        &(spec.seed, spec.subset_seed),
        &(kept.seed, kept.subset_seed),
    )?;
    equal("C-3.10", "max_duration", &spec.max_duration, &kept.max_duration)
}

async fn one_mebibyte(scope: &Scope) -> Verdict {
    let mut spec = scope.spec();
    spec.candidate_id = "c".repeat((1 << 20) - 1_024);
    let answer = scope.create(&scope.new_id("mebibyte"), &spec).await;
    Refusal::field("spec.candidate_id").check("C-14.1", "CreateTrainingRun of 1 MiB", answer)
}

async fn too_large(scope: &Scope) -> Verdict {
    let mut spec = scope.spec();
    spec.candidate_id = "c".repeat(40 << 20);
    let expected = "CreateTrainingRun of 40 MiB: RESOURCE_EXHAUSTED, OUT_OF_RANGE or INVALID_ARGUMENT";
    match scope.create(&scope.new_id("large"), &spec).await {
        Ok(_) => return fail("C-14.1", expected, "OK"),
        Err(status)
            if matches!(
                status.code(),
                Code::ResourceExhausted | Code::OutOfRange | Code::InvalidArgument
            ) => {}
        Err(status) => return fail("C-14.1", expected, describe(&status)),
    }
    let answer = scope.get_trainer_info(pb::GetTrainerInfoRequest {}).await;
    succeed("C-14.1", "GetTrainerInfo after a request of 40 MiB", answer).map(drop)
}
