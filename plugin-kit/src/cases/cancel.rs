//! Cancelling, in every state.

use std::time::Duration;

use finepick_proto::trainer::v1::TrainingRunState as State;
use futures::future::join_all;

use super::states::check_way;
use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Verdict, ensure, equal, succeed};
use crate::watch::has_ended;

pub(super) const CASES: &[Case] = &[
    case!(
        "cancel.new",
        ["C-9.1"],
        Needs::Nothing,
        Shared,
        new,
        "A run that was created a moment ago is cancelled."
    ),
    case!(
        "cancel.preparing",
        ["C-9.1"],
        Needs::Nothing,
        Shared,
        preparing,
        "A run that is being prepared is cancelled."
    ),
    case!(
        "cancel.running",
        ["C-9.1", "C-9.3"],
        Needs::Nothing,
        Shared,
        running,
        "A running run is cancelled; what it cost is kept."
    ),
    case!(
        "cancel.paused",
        ["C-9.1"],
        Needs::Claimed("pause"),
        Shared,
        paused,
        "A paused run is cancelled."
    ),
    case!(
        "cancel.ended",
        ["C-9.2"],
        Needs::Nothing,
        Shared,
        ended,
        "Cancelling an ended run is OK and changes nothing."
    ),
    case!(
        "cancel.repeat",
        ["C-9.2"],
        Needs::Nothing,
        Shared,
        repeat,
        "16 cancels at the same time are all OK, and end the run once."
    ),
];

/// Time from a cancel to the end.
const LIMIT: Duration = Duration::from_secs(10);

/// Cancels a live run, and checks that it ends CANCELLED, along the table.
pub(super) async fn cancel(scope: &Scope, id: &str) -> Verdict<crate::watch::Record> {
    succeed("C-9.1", "CancelTrainingRun of a live run", scope.cancel(id).await)?;
    let ends = [
        State::Cancelled,
        State::Succeeded,
        State::Failed,
        State::Preempted,
        State::Lost,
    ];
    let end = scope.until("C-9.1", id, &ends, LIMIT).await?;
    equal(
        "C-9.1",
        "the state",
        &Some(State::Cancelled),
        &crate::watch::state_of(&end),
    )?;
    let record = scope.watch_to_end(id).await?;
    check_way(&record)?;
    Ok(record)
}

async fn new(scope: &Scope) -> Verdict {
    let id = scope.start("new", &scope.long_spec()).await?.training_run_id;
    cancel(scope, &id).await.map(drop)
}

async fn preparing(scope: &Scope) -> Verdict {
    let id = scope.start("preparing", &scope.long_spec()).await?.training_run_id;
    scope
        .until("C-4.1", &id, &[State::Preparing], scope.options.run_timeout)
        .await?;
    cancel(scope, &id).await.map(drop)
}

async fn running(scope: &Scope) -> Verdict {
    let id = scope.start("running", &scope.long_spec()).await?.training_run_id;
    scope
        .until("C-4.1", &id, &[State::Running], scope.options.run_timeout)
        .await?;
    let before = succeed("C-9.3", "GetTrainingRun", scope.get(&id).await)?;
    let after = cancel(scope, &id).await?.run;
    let kept = after.evaluations.starts_with(&before.evaluations);
    ensure(
        "C-9.3",
        kept,
        format!("the evaluations so far: {:?}", before.evaluations),
        &after.evaluations,
    )?;
    let seconds =
        |run: &finepick_proto::trainer::v1::TrainingRun| run.cost.as_ref().map_or(0.0, |cost| cost.device_seconds);
    let (spent, shown) = (seconds(&before), seconds(&after));
    ensure(
        "C-9.3",
        shown >= spent,
        format!("device_seconds of at least {spent}"),
        shown,
    )
}

async fn paused(scope: &Scope) -> Verdict {
    let id = scope.start("paused", &scope.long_spec()).await?.training_run_id;
    scope
        .until("C-4.1", &id, &[State::Running], scope.options.run_timeout)
        .await?;
    succeed("C-10.1", "PauseTrainingRun", scope.pause(&id).await)?;
    scope.until("C-10.1", &id, &[State::Paused], LIMIT).await?;
    cancel(scope, &id).await.map(drop)
}

async fn ended(scope: &Scope) -> Verdict {
    let succeeded = scope.finished().await?.run;
    let id = scope.start("ended", &scope.long_spec()).await?.training_run_id;
    let cancelled = cancel(scope, &id).await?.run;
    for before in [succeeded, cancelled] {
        for _ in 0..2 {
            let answer = scope.cancel(&before.training_run_id).await;
            let after = succeed("C-9.2", "CancelTrainingRun of an ended run", answer)?;
            equal("C-9.2", "the run as it ended", &before, &after)?;
        }
    }
    Ok(())
}

async fn repeat(scope: &Scope) -> Verdict {
    let id = scope.start("repeat", &scope.long_spec()).await?.training_run_id;
    for answer in join_all((0..16).map(|_| scope.cancel(&id))).await {
        succeed("C-9.2", "each of 16 cancels at the same time", answer)?;
    }
    let record = cancel(scope, &id).await?;
    let ends = record.changes().filter(|change| has_ended(change.to())).count();
    equal("C-9.2", "events that end the run", &1, &ends)
}
