//! What errors carry.

use finepick_proto::trainer::v1 as pb;

use super::fields::first_of_watch;
use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Refusal, Verdict, fail, well_formed};

pub(super) const CASES: &[Case] = &[
    case!(
        "errors.not_found",
        ["C-11.6"],
        Needs::Nothing,
        Shared,
        not_found,
        "An unknown id is NOT_FOUND with ResourceInfo, in every call."
    ),
    case!(
        "errors.details",
        ["C-13.1", "C-13.2", "C-13.4"],
        Needs::Nothing,
        Shared,
        details,
        "Every kind of error has ErrorInfo of finepick.dev, its own detail, and no internals."
    ),
    case!(
        "errors.size",
        ["C-13.3"],
        Needs::Nothing,
        Shared,
        size,
        "A status stays below 8 KiB, however much is wrong."
    ),
];

async fn not_found(scope: &Scope) -> Verdict {
    let id = scope.new_id("none");
    let none = Refusal::not_found(&id);
    none.check("C-11.6", "GetTrainingRun of no run", scope.get(&id).await)?;
    none.check("C-11.6", "CancelTrainingRun of no run", scope.cancel(&id).await)?;
    none.check("C-11.6", "DeleteTrainingRun of no run", scope.delete(&id).await)?;
    none.check(
        "C-11.6",
        "WatchTrainingRun of no run",
        first_of_watch(scope, &id, 0).await,
    )
}

async fn details(scope: &Scope) -> Verdict {
    let (spec, id) = (scope.spec(), scope.new_id("details"));
    let live = scope.start("live", &scope.long_spec()).await?.training_run_id;
    let invalid = pb::TrainingRunSpec {
        candidate_id: String::new(),
        ..spec.clone()
    };
    let other = pb::TrainingRunSpec {
        seed: 99,
        ..spec.clone()
    };
    let missing = pb::TrainingRunSpec {
        device: "no-such-device".to_owned(),
        ..spec
    };
    let answers = [
        (
            "CreateTrainingRun without candidate_id",
            scope.create(&id, &invalid).await.map(drop),
        ),
        (
            "CreateTrainingRun with another spec",
            scope.create(&live, &other).await.map(drop),
        ),
        (
            "CreateTrainingRun on no device",
            scope.create(&id, &missing).await.map(drop),
        ),
        ("GetTrainingRun of no run", scope.get(&id).await.map(drop)),
        ("DeleteTrainingRun of a live run", scope.delete(&live).await.map(drop)),
        (
            "WatchTrainingRun from the future",
            first_of_watch(scope, &live, i64::MAX).await.map(drop),
        ),
    ];
    for (call, answer) in answers {
        match answer {
            Ok(()) => return fail("C-13.1", format!("{call} is refused"), "OK"),
            Err(status) => well_formed(call, &status)?,
        }
    }
    Ok(())
}

async fn size(scope: &Scope) -> Verdict {
    let id = scope.new_id("size");
    let mut spec = scope.spec();
    // Each of these is wrong, and each wrong value is long.
    spec.candidate_id = "c".repeat(20_000);
    spec.data_sizes = (0..64).rev().collect();
    let long = |number: usize| pb::RetentionSet {
        name: format!("{number}{}", "n".repeat(2_000)),
        data: None,
    };
    spec.retention_sets = (0..16).map(long).collect();
    spec.labels = (0..64)
        .map(|key| (format!("{key}{}", "k".repeat(300)), "v".repeat(300)))
        .collect();
    Refusal::field("spec").check(
        "C-13.3",
        "CreateTrainingRun with 200 wrong fields",
        scope.create(&id, &spec).await,
    )?;
    let answer = scope.get(&"i".repeat(100_000)).await;
    Refusal::field("training_run_id").check("C-13.3", "GetTrainingRun of an id of 100,000 bytes", answer)
}
