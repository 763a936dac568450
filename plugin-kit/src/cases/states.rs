//! The way of a run through its states, and what `GetTrainingRun` shows of it.

use std::time::Duration;

use finepick_proto::trainer::v1 as pb;
use finepick_proto::trainer::v1::TrainingRunState as State;
use finepick_proto::trainer::v1::training_event::Kind;
use prost_types::Timestamp;
use tokio::time::{Instant, sleep};

use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Verdict, ensure, equal, fail, succeed};
use crate::watch::{Record, has_ended, name};

pub(super) const CASES: &[Case] = &[
    case!(
        "states.legal",
        ["C-4.1"],
        Needs::Nothing,
        Shared,
        legal,
        "A run goes to its end along legal transitions, each an event."
    ),
    case!(
        "states.final",
        ["C-4.2"],
        Needs::Nothing,
        Shared,
        ended_is_final,
        "An ended run does not change any more."
    ),
    case!(
        "states.fields",
        ["C-4.3", "C-4.4", "C-4.5"],
        Needs::Nothing,
        Shared,
        fields,
        "Failure, wait reason, queue position and times fit the state, at every moment."
    ),
    case!(
        "states.sum_of_events",
        ["C-4.8"],
        Needs::Nothing,
        Shared,
        sum_of_events,
        "What Get shows is the sum of the events up to last_sequence, at every moment."
    ),
    case!(
        "states.max_duration",
        ["C-4.6"],
        Needs::Nothing,
        Shared,
        max_duration,
        "A run that runs for max_duration fails with DEADLINE_EXCEEDED."
    ),
];

/// Whether the contract's table has this transition.
fn is_legal(from: State, to: State) -> bool {
    use State as S;
    let allowed: &[State] = match from {
        S::Unspecified => &[S::Queued],
        S::Queued => &[S::Preparing, S::Paused, S::Cancelled, S::Failed, S::Lost],
        S::Preparing => &[S::Running, S::Paused, S::Cancelled, S::Failed, S::Preempted, S::Lost],
        S::Running => &[S::Succeeded, S::Paused, S::Cancelled, S::Failed, S::Preempted, S::Lost],
        S::Paused => &[S::Queued, S::Cancelled, S::Failed, S::Lost],
        S::Succeeded | S::Failed | S::Cancelled | S::Preempted | S::Lost => &[],
    };
    allowed.contains(&to)
}

/// Fails unless the run went along the contract's table from its creation to its end.
pub(super) fn check_way(record: &Record) -> Verdict {
    let mut before = State::Unspecified;
    for change in record.changes() {
        let (from, to) = (change.from(), change.to());
        let got = format!("{} -> {} after {}", name(from), name(to), name(before));
        if from != before {
            return fail("C-4.1", format!("the change goes from {}", name(before)), got);
        }
        if !is_legal(from, to) {
            return fail("C-4.1", "a transition of the contract's table", got);
        }
        before = to;
    }
    ensure("C-4.1", has_ended(before), "the last change ends the run", name(before))?;
    equal("C-4.8", "the state that Get shows", &before, &record.run.state())
}

async fn legal(scope: &Scope) -> Verdict {
    let record = scope.finished().await?;
    let first = record.events.first().and_then(|event| event.kind.as_ref());
    let creates = matches!(first, Some(Kind::StateChanged(change)) if change.to() == State::Queued);
    ensure("C-4.1", creates, "the first event is the change to QUEUED", first)?;
    check_way(&record)
}

async fn ended_is_final(scope: &Scope) -> Verdict {
    let run = scope.start("final", &scope.spec()).await?;
    let id = run.training_run_id;
    let before = scope.watch_to_end(&id).await?;
    succeed("C-9.2", "CancelTrainingRun of an ended run", scope.cancel(&id).await)?;
    sleep(Duration::from_millis(300)).await;
    let after = scope.watch_to_end(&id).await?;
    equal("C-4.2", "the run as it ended", &before.run, &after.run)?;
    equal("C-4.2", "its events", &before.events, &after.events)
}

fn nanos(time: &Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

/// Fails unless the fields of a run fit its state.
fn check_fields(run: &pb::TrainingRun) -> Verdict {
    let state = run.state();
    let at = name(state);
    let failed = state == State::Failed;
    let says = run.failure() != pb::TrainingFailure::Unspecified;
    ensure(
        "C-4.3",
        failed == says,
        format!("failure is set in FAILED only, in {at}"),
        run.failure(),
    )?;
    let waits = run.wait_reason() != pb::WaitReason::Unspecified;
    match state {
        State::Queued | State::Paused => ensure("C-4.4", waits, format!("a wait_reason in {at}"), run.wait_reason())?,
        State::Preparing => {}
        _ => ensure("C-4.4", !waits, format!("no wait_reason in {at}"), run.wait_reason())?,
    }
    let position = run.queue_position;
    let fits = position.is_none_or(|position| position >= 0 && state == State::Queued);
    ensure(
        "C-4.4",
        fits,
        format!("queue_position >= 0 in QUEUED only, in {at}"),
        position,
    )?;
    let (create, start, end) = (run.create_time, run.start_time, run.end_time);
    ensure("C-4.5", create.is_some(), format!("a create_time in {at}"), create)?;
    let ended = has_ended(state);
    ensure(
        "C-4.5",
        ended == end.is_some(),
        format!("end_time in ended runs only, in {at}"),
        end,
    )?;
    let running = matches!(state, State::Running | State::Succeeded);
    ensure(
        "C-4.5",
        !running || start.is_some(),
        format!("a start_time in {at}"),
        start,
    )?;
    let times: Vec<_> = [create, start, end].into_iter().flatten().collect();
    let ordered = times.is_sorted_by_key(nanos);
    ensure("C-4.5", ordered, "create_time <= start_time <= end_time", times)
}

/// What Get shows of a run, from its creation to its end.
async fn snapshots(scope: &Scope, name: &str, spec: &pb::TrainingRunSpec) -> Verdict<Vec<pb::TrainingRun>> {
    let mut run = scope.start(name, spec).await?;
    let id = run.training_run_id.clone();
    let until = Instant::now() + scope.options.run_timeout;
    let mut shots = Vec::new();
    loop {
        let over = has_ended(run.state()) || Instant::now() > until;
        shots.push(run);
        if over {
            return Ok(shots);
        }
        sleep(Duration::from_millis(15)).await;
        run = succeed("C-4.8", "GetTrainingRun", scope.get(&id).await)?;
    }
}

async fn fields(scope: &Scope) -> Verdict {
    for run in snapshots(scope, "fields", &scope.spec_of_all_sizes()).await? {
        check_fields(&run)?;
    }
    let id = scope.start("fields", &scope.long_spec()).await?.training_run_id;
    succeed("C-9.1", "CancelTrainingRun", scope.cancel(&id).await)?;
    let run = scope.watch_to_end(&id).await?.run;
    check_fields(&run)
}

async fn sum_of_events(scope: &Scope) -> Verdict {
    let shots = snapshots(scope, "sum", &scope.spec_of_all_sizes()).await?;
    let id = shots.first().map(|run| run.training_run_id.clone()).unwrap_or_default();
    let events = scope.replay(&id, 0).await?;
    for run in shots {
        let past: Vec<_> = events
            .iter()
            .filter(|event| event.sequence <= run.last_sequence)
            .collect();
        let when = format!("at event {}", run.last_sequence);
        let mut state = State::Unspecified;
        let (mut evaluations, mut checkpoints, mut cost) = (Vec::new(), Vec::new(), 0.0);
        for event in past {
            match &event.kind {
                Some(Kind::StateChanged(change)) => state = change.to(),
                Some(Kind::Evaluation(evaluation)) => evaluations.push(evaluation.clone()),
                Some(Kind::Checkpoint(checkpoint)) => checkpoints.push(checkpoint.clone()),
                Some(Kind::Cost(event)) => cost = event.device_seconds,
                _ => {}
            }
        }
        equal("C-4.8", &format!("state {when}"), &state, &run.state())?;
        equal("C-4.8", &format!("evaluations {when}"), &evaluations, &run.evaluations)?;
        equal("C-4.8", &format!("checkpoints {when}"), &checkpoints, &run.checkpoints)?;
        // Get may know more than the last cost event, never less; at the end both are the same.
        let shown = run.cost.as_ref().map_or(0.0, |cost| cost.device_seconds);
        let agrees = if has_ended(state) {
            (shown - cost).abs() <= 0.0
        } else {
            shown >= cost
        };
        ensure("C-4.8", agrees, format!("device_seconds {cost} {when}"), shown)?;
    }
    Ok(())
}

async fn max_duration(scope: &Scope) -> Verdict {
    let mut spec = scope.long_spec();
    spec.max_duration = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    let id = scope.start("limited", &spec).await?.training_run_id;
    let end = [
        State::Failed,
        State::Succeeded,
        State::Cancelled,
        State::Preempted,
        State::Lost,
    ];
    scope.until("C-4.6", &id, &end, scope.options.run_timeout).await?;
    let run = succeed("C-4.6", "GetTrainingRun", scope.get(&id).await)?;
    equal("C-4.6", "state", &State::Failed, &run.state())?;
    equal(
        "C-4.6",
        "failure",
        &pb::TrainingFailure::DeadlineExceeded,
        &run.failure(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_states_lead_nowhere_and_live_ones_can_be_cancelled() {
        let all = (0..=9).filter_map(|number| State::try_from(number).ok());
        for from in all.clone().filter(|state| *state != State::Unspecified) {
            assert_eq!(all.clone().all(|to| !is_legal(from, to)), has_ended(from), "{from:?}");
            assert_eq!(is_legal(from, State::Cancelled), !has_ended(from), "{from:?}");
        }
        assert!(!is_legal(State::Queued, State::Running));
        assert!(!is_legal(State::Paused, State::Running));
    }
}
