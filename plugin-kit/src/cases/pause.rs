//! Pausing, resuming, checkpoints: if claimed, and refused if not.

use std::collections::HashSet;
use std::time::Duration;

use finepick_proto::trainer::v1 as pb;
use finepick_proto::trainer::v1::TrainingRunState as State;
use finepick_proto::trainer::v1::training_event::Kind;

use super::states::check_way;
use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Refusal, Verdict, ensure, equal, fail, skip, succeed};
use crate::watch::has_ended;

pub(super) const CASES: &[Case] = &[
    case!(
        "pause.holds",
        ["C-10.1", "C-10.2"],
        Needs::Claimed("pause"),
        Shared,
        holds,
        "A paused run stays PAUSED until it is resumed, through QUEUED; doing either twice changes nothing."
    ),
    case!(
        "pause.same_result",
        ["C-10.4"],
        Needs::Claimed("pause"),
        Shared,
        same_result,
        "A run that was paused reports what one reports that was not."
    ),
    case!(
        "pause.wrong_state",
        ["C-10.3", "C-11.6"],
        Needs::Claimed("pause"),
        Shared,
        wrong_state,
        "Pausing and resuming an ended run, or none, is refused."
    ),
    case!(
        "pause.unclaimed",
        ["C-2.6"],
        Needs::Unclaimed("pause"),
        Shared,
        unclaimed,
        "Pause and resume are refused when they are not claimed."
    ),
    case!(
        "checkpoint.reported",
        ["C-10.5"],
        Needs::Claimed("checkpoint_resume"),
        Shared,
        checkpoints,
        "Checkpoints have names, each once, and Get lists them."
    ),
];

/// Time from a call to its effect.
const LIMIT: Duration = Duration::from_secs(10);

async fn paused(scope: &Scope, name: &str) -> Verdict<String> {
    let id = scope.start(name, &scope.long_spec()).await?.training_run_id;
    scope
        .until("C-4.1", &id, &[State::Running], scope.options.run_timeout)
        .await?;
    succeed("C-10.1", "PauseTrainingRun of a running run", scope.pause(&id).await)?;
    scope.until("C-10.1", &id, &[State::Paused], LIMIT).await?;
    Ok(id)
}

async fn holds(scope: &Scope) -> Verdict {
    let id = paused(scope, "holds").await?;
    let before = succeed("C-10.1", "GetTrainingRun", scope.get(&id).await)?;
    equal("C-10.1", "state", &State::Paused, &before.state())?;
    let again = succeed("C-10.2", "PauseTrainingRun of a paused run", scope.pause(&id).await)?;
    equal("C-10.2", "the paused run, unchanged", &before, &again)?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let later = succeed("C-10.1", "GetTrainingRun", scope.get(&id).await)?;
    equal("C-10.1", "the paused run, a moment later", &before, &later)?;
    succeed("C-10.1", "ResumeTrainingRun of a paused run", scope.resume(&id).await)?;
    let resumed = succeed("C-10.2", "ResumeTrainingRun of a resumed run", scope.resume(&id).await)?;
    ensure(
        "C-10.1",
        resumed.state() != State::Paused,
        "a state other than PAUSED",
        resumed.state(),
    )?;
    let record = super::cancel::cancel(scope, &id).await?;
    let mut states: Vec<_> = record.changes().map(pb::StateChanged::to).collect();
    states.retain(|state| matches!(state, State::Paused | State::Queued));
    equal(
        "C-10.1",
        "the waits of the run",
        &vec![State::Queued, State::Paused, State::Queued],
        &states,
    )
}

async fn same_result(scope: &Scope) -> Verdict {
    const ATTEMPTS: usize = 5;
    let (expected, spec) = (scope.finished().await?.run, scope.spec_of_all_sizes());
    for _ in 0..ATTEMPTS {
        let id = scope.start("same", &spec).await?.training_run_id;
        scope
            .until("C-4.1", &id, &[State::Running], scope.options.run_timeout)
            .await?;
        // The run may end before it is paused.
        if scope.pause(&id).await.is_err() {
            continue;
        }
        let ends = [State::Paused, State::Succeeded, State::Failed];
        scope.until("C-10.1", &id, &ends, LIMIT).await?;
        let run = succeed("C-10.1", "GetTrainingRun", scope.get(&id).await)?;
        if has_ended(run.state()) {
            continue;
        }
        succeed("C-10.1", "ResumeTrainingRun", scope.resume(&id).await)?;
        let record = scope.watch_to_end(&id).await?;
        check_way(&record)?;
        let run = record.run;
        equal("C-10.4", "the state", &State::Succeeded, &run.state())?;
        let sizes = |run: &pb::TrainingRun| run.evaluations.iter().map(|one| one.data_size).collect::<Vec<_>>();
        equal("C-10.4", "the sizes", &sizes(&expected), &sizes(&run))?;
        if scope.capabilities.deterministic_seeds {
            equal("C-10.4", "the evaluations", &expected.evaluations, &run.evaluations)?;
        }
        return Ok(());
    }
    skip("runs of --size end before they can be paused")
}

async fn wrong_state(scope: &Scope) -> Verdict {
    let id = scope.finished().await?.run.training_run_id;
    let refused = Refusal::state(&id);
    refused.check("C-10.3", "PauseTrainingRun of an ended run", scope.pause(&id).await)?;
    refused.check("C-10.3", "ResumeTrainingRun of an ended run", scope.resume(&id).await)?;
    let none = scope.new_id("none");
    let refused = Refusal::not_found(&none);
    refused.check("C-11.6", "PauseTrainingRun of no run", scope.pause(&none).await)?;
    refused.check("C-11.6", "ResumeTrainingRun of no run", scope.resume(&none).await)
}

async fn unclaimed(scope: &Scope) -> Verdict {
    let id = scope.start("unclaimed", &scope.long_spec()).await?.training_run_id;
    let refused = Refusal::capability("pause");
    refused.check(
        "C-2.6",
        "PauseTrainingRun without the capability",
        scope.pause(&id).await,
    )?;
    refused.check(
        "C-2.6",
        "ResumeTrainingRun without the capability",
        scope.resume(&id).await,
    )?;
    let run = succeed("C-2.6", "GetTrainingRun", scope.get(&id).await)?;
    ensure(
        "C-2.6",
        run.state() != State::Paused,
        "a state other than PAUSED",
        run.state(),
    )
}

async fn checkpoints(scope: &Scope) -> Verdict {
    let run = if scope.capabilities.pause {
        let id = paused(scope, "checkpoint").await?;
        succeed("C-10.5", "GetTrainingRun", scope.get(&id).await)?
    } else {
        scope.finished().await?.run
    };
    let finished = scope.finished().await?;
    let events: Vec<_> = finished
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            Some(Kind::Checkpoint(checkpoint)) => Some(checkpoint.clone()),
            _ => None,
        })
        .collect();
    equal(
        "C-10.5",
        "checkpoints that Get lists",
        &events,
        &finished.run.checkpoints,
    )?;
    let mut names = HashSet::new();
    for checkpoint in run.checkpoints.iter().chain(&finished.run.checkpoints) {
        let length = checkpoint.checkpoint_id.len();
        ensure(
            "C-10.5",
            (1..=256).contains(&length),
            "a checkpoint_id of 1 to 256 bytes",
            checkpoint,
        )?;
        ensure("C-10.5", checkpoint.step >= 0, "step >= 0", checkpoint)?;
    }
    for checkpoint in &finished.run.checkpoints {
        if !names.insert(&checkpoint.checkpoint_id) {
            return fail(
                "C-10.5",
                "checkpoint_ids that are unique within the run",
                format!("{checkpoint:?} twice"),
            );
        }
    }
    Ok(())
}
