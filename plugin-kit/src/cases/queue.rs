//! Slots and the queue: filled to the brim, one more.

use std::time::Duration;

use finepick_proto::trainer::v1 as pb;
use finepick_proto::trainer::v1::TrainingRunState as State;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, sleep};
use tonic::{Code, Status};

use crate::case::{Case, Needs, case};
use crate::kit::{CALLS_AT_ONCE, Scope};
use crate::verdict::{Refusal, Verdict, ensure, equal, fail, skip, succeed};

pub(super) const CASES: &[Case] = &[
    case!(
        "queue.slots",
        ["C-5.1", "C-4.4"],
        Needs::Nothing,
        Alone,
        slots,
        "With all slots taken a run is QUEUED, says why, and costs nothing; cancelled, it ends there."
    ),
    case!(
        "queue.full",
        ["C-5.1", "C-5.2", "C-3.6", "C-1.7"],
        Needs::Nothing,
        Alone,
        full,
        "Slots and queue are filled; one more is QUEUE_FULL with RetryInfo, a repeat is answered."
    ),
    case!(
        "queue.room",
        ["C-5.3"],
        Needs::Nothing,
        Alone,
        room,
        "When a run leaves a full queue, the next is accepted."
    ),
];

/// Time until what was asked for can be seen.
const LIMIT: Duration = Duration::from_secs(10);

/// Starts so many long runs; their ids.
async fn fill(scope: &Scope, count: usize) -> Verdict<Vec<String>> {
    let spec = &scope.long_spec();
    stream::iter(0..count)
        .map(|_| async move { scope.start("fill", spec).await.map(|run| run.training_run_id) })
        .buffer_unordered(CALLS_AT_ONCE)
        .try_collect()
        .await
}

/// Waits until all slots hold a run.
async fn slots_taken(scope: &Scope, slots: usize) -> Verdict<pb::GetTrainerInfoResponse> {
    let until = Instant::now() + LIMIT;
    loop {
        let info = succeed(
            "C-1.7",
            "GetTrainerInfo",
            scope.get_trainer_info(pb::GetTrainerInfoRequest {}).await,
        )?;
        let active = usize::try_from(info.active_runs).unwrap_or(0);
        ensure("C-5.1", active <= slots, format!("at most {slots} active_runs"), active)?;
        if active == slots {
            return Ok(info);
        }
        if Instant::now() > until {
            return fail(
                "C-5.1",
                format!("{slots} active_runs within {LIMIT:?}"),
                format!("{active}"),
            );
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn slots(scope: &Scope) -> Verdict {
    let slots = scope.slots();
    if slots > scope.options.max_load {
        return skip(format!(
            "{slots} slots; the kit creates up to {} runs (--max-load)",
            scope.options.max_load
        ));
    }
    if scope.info.queue_limit == 0 {
        return skip("no run may wait: queue_limit is 0");
    }
    fill(scope, slots).await?;
    slots_taken(scope, slots).await?;
    let id = scope.start("queued", &scope.long_spec()).await?.training_run_id;
    sleep(Duration::from_millis(100)).await;
    let run = succeed("C-5.1", "GetTrainingRun", scope.get(&id).await)?;
    equal(
        "C-5.1",
        "the state of a run beyond the slots",
        &State::Queued,
        &run.state(),
    )?;
    let waits = run.wait_reason() != pb::WaitReason::Unspecified;
    ensure("C-4.4", waits, "a wait_reason in QUEUED", run.wait_reason())?;
    let position = run.queue_position;
    ensure(
        "C-4.4",
        position.is_none_or(|position| position >= 0),
        "queue_position >= 0",
        position,
    )?;
    let ended = super::cancel::cancel(scope, &id).await?;
    let prepared = ended.changes().any(|change| change.to() == State::Preparing);
    ensure(
        "C-9.1",
        !prepared,
        "a cancelled run that waited is not prepared",
        prepared,
    )?;
    let cost = ended.run.cost.map_or(0.0, |cost| cost.device_seconds);
    ensure("C-8.2", cost == 0.0, "a run that only waited costs nothing", cost)
}

/// Fills slots and queue; skips the case if that takes too many runs.
async fn fill_all(scope: &Scope) -> Verdict<Vec<String>> {
    let waiting = usize::try_from(scope.info.queue_limit).unwrap_or(0);
    let capacity = scope.slots() + waiting;
    if capacity > scope.options.max_load {
        let most = scope.options.max_load;
        return skip(format!(
            "{capacity} runs fill slots and queue; the kit creates up to {most} (--max-load)"
        ));
    }
    let ids = fill(scope, capacity).await?;
    let info = slots_taken(scope, scope.slots()).await?;
    equal(
        "C-5.2",
        "queued_runs of a full queue",
        &scope.info.queue_limit,
        &info.queued_runs,
    )?;
    Ok(ids)
}

async fn full(scope: &Scope) -> Verdict {
    let ids = fill_all(scope).await?;
    let spec = scope.long_spec();
    let id = scope.new_id("one-more");
    for _ in 0..3 {
        Refusal::queue_full().check(
            "C-5.2",
            "CreateTrainingRun on a full queue",
            scope.create(&id, &spec).await,
        )?;
    }
    Refusal::not_found(&id).check("C-5.2", "GetTrainingRun of the refused run", scope.get(&id).await)?;
    let wrong = pb::TrainingRunSpec {
        candidate_id: String::new(),
        ..spec.clone()
    };
    let answer = scope.create(&id, &wrong).await;
    Refusal::field("spec.candidate_id").check("C-3.9", "a wrong CreateTrainingRun on a full queue", answer)?;
    for id in ids.iter().take(3) {
        let answer = scope.create(id, &spec).await;
        let run = succeed("C-3.6", "a repeated CreateTrainingRun on a full queue", answer)?;
        equal("C-3.6", "the id", id, &run.training_run_id)?;
    }
    let answer = scope.list_capabilities(pb::ListCapabilitiesRequest {}).await;
    succeed("C-1.7", "ListCapabilities on a full queue", answer).map(drop)
}

async fn room(scope: &Scope) -> Verdict {
    let ids = fill_all(scope).await?;
    let Some(id) = ids.last() else {
        return skip("no run can be created");
    };
    succeed("C-5.3", "CancelTrainingRun on a full queue", scope.cancel(id).await)?;
    let (next, spec) = (scope.new_id("next"), scope.long_spec());
    let until = Instant::now() + LIMIT;
    loop {
        let answer: Result<_, Status> = scope.create(&next, &spec).await;
        match answer {
            Err(status) if status.code() == Code::Unavailable && Instant::now() < until => {
                sleep(Duration::from_millis(20)).await;
            }
            answer => return succeed("C-5.3", "CreateTrainingRun after one left the queue", answer).map(drop),
        }
    }
}
