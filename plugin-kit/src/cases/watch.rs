//! Watches: order, cursors, breaks, heartbeats.

use std::time::Duration;

use finepick_proto::trainer::v1 as pb;
use finepick_proto::trainer::v1::TrainingRunState as State;
use finepick_proto::trainer::v1::training_event::Kind;
use futures::future::{join_all, try_join_all};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use super::fields::first_of_watch;
use crate::case::{Case, Needs, case};
use crate::kit::Scope;
use crate::verdict::{Refusal, Verdict, describe, ensure, equal, fail, same, skip, succeed};
use crate::watch::{brief, briefs, has_ended, is_heartbeat, is_kept, state_of};

pub(super) const CASES: &[Case] = &[
    case!(
        "watch.order",
        ["C-6.1", "C-6.9"],
        Needs::Nothing,
        Shared,
        order,
        "Events are numbered from 1, ascending, no number twice, and time does not go back."
    ),
    case!(
        "watch.resume",
        ["C-6.2", "C-6.3", "C-6.4"],
        Needs::Nothing,
        Shared,
        resume,
        "A watch from any cursor gives exactly the events after it, the same as before."
    ),
    case!(
        "watch.broken_live",
        ["C-6.2", "C-6.3"],
        Needs::Nothing,
        Shared,
        broken_live,
        "A watch of a live run that breaks after every event loses and doubles nothing."
    ),
    case!(
        "watch.end",
        ["C-6.5"],
        Needs::Nothing,
        Shared,
        end,
        "A watch ends with OK after the last event, at once if that was seen already."
    ),
    case!(
        "watch.future",
        ["C-6.6"],
        Needs::Nothing,
        Shared,
        future,
        "Cursors below 0 and above the newest event are refused."
    ),
    case!(
        "watch.heartbeat",
        ["C-6.7"],
        Needs::Nothing,
        Shared,
        heartbeat,
        "No more than heartbeat_interval passes between two messages; heartbeats carry the newest number."
    ),
    case!(
        "watch.many",
        ["C-6.3", "C-6.8"],
        Needs::Nothing,
        Shared,
        many,
        "64 watches of one run see the same, and one that is not read disturbs none."
    ),
];

/// Cursors tried of one run.
const MAX_CURSORS: usize = 256;

async fn order(scope: &Scope) -> Verdict {
    let record = scope.finished().await?;
    let first = record.events.first().map(|event| event.sequence);
    equal("C-6.1", "the first number", &Some(1), &first)?;
    for pair in record.events.windows(2) {
        let [before, after] = pair else { continue };
        let got = format!("{} then {}", brief(before), brief(after));
        ensure(
            "C-6.1",
            before.sequence < after.sequence,
            "ascending numbers, none twice",
            &got,
        )?;
        let time = |event: &pb::TrainingEvent| event.time.map(|time| (time.seconds, time.nanos));
        let forward = time(before).is_some() && time(before) <= time(after);
        ensure(
            "C-6.9",
            forward,
            "times that do not go back",
            format!("{got}: {:?}", (before.time, after.time)),
        )?;
        if let Some(Kind::Log(line)) = &after.kind {
            ensure(
                "C-6.9",
                line.text.len() <= 8 << 10,
                "log lines of at most 8 KiB",
                line.text.len(),
            )?;
        }
    }
    let last = record.events.last().map(|event| event.sequence);
    equal(
        "C-6.1",
        "last_sequence, by the last event",
        &last,
        &Some(record.run.last_sequence),
    )
}

async fn resume(scope: &Scope) -> Verdict {
    let record = scope.finished().await?;
    let id = &record.run.training_run_id;
    let sequences: Vec<i64> = [0]
        .into_iter()
        .chain(record.events.iter().map(|event| event.sequence))
        .collect();
    let step = sequences.len().div_ceil(MAX_CURSORS).max(1);
    let cursors = sequences.into_iter().step_by(step);
    let check = |cursor: i64| {
        let record = &record;
        async move {
            let got = scope.replay(id, cursor).await?;
            // Old progress and log events may be gone by now (C-6.4); whatever is left must be as it was.
            let left = |event: &pb::TrainingEvent| got.iter().any(|other| other.sequence == event.sequence);
            let expected: Vec<_> = record
                .events
                .iter()
                .filter(|event| event.sequence > cursor && (is_kept(event) || left(event)))
                .cloned()
                .collect();
            same(
                "C-6.2",
                &format!("events after {cursor}"),
                &briefs(&expected),
                &briefs(&got),
            )?;
            equal("C-6.3", &format!("the same events after {cursor}"), &expected, &got)
        }
    };
    stream::iter(cursors).map(Ok).try_for_each_concurrent(8, check).await
}

async fn broken_live(scope: &Scope) -> Verdict {
    let id = scope.start("broken", &scope.spec_of_all_sizes()).await?.training_run_id;
    let until = Instant::now() + scope.options.run_timeout;
    let mut seen: Vec<pb::TrainingEvent> = Vec::new();
    while !seen.last().and_then(state_of).is_some_and(has_ended) {
        let cursor = seen.last().map_or(0, |event| event.sequence);
        let mut stream = succeed("C-6.2", "WatchTrainingRun", scope.watch(&id, cursor).await)?;
        // One event, and the stream is dropped.
        loop {
            let what = format!("an event after {cursor}");
            match timeout_at(until, stream.message()).await {
                Ok(Ok(Some(message))) => {
                    let event = message.event.unwrap_or_default();
                    if is_heartbeat(&event) {
                        continue;
                    }
                    ensure("C-6.2", event.sequence > cursor, what, brief(&event))?;
                    seen.push(event);
                    break;
                }
                Ok(Ok(None)) => return fail("C-6.2", what, "the end of the stream"),
                Ok(Err(status)) => return fail("C-6.2", what, describe(&status)),
                Err(_) => return fail("C-6.2", what, format!("nothing within {:?}", scope.options.run_timeout)),
            }
        }
    }
    let whole = scope.replay(&id, 0).await?;
    let kept = |events: &[pb::TrainingEvent]| {
        events
            .iter()
            .filter(|event| is_kept(event))
            .cloned()
            .collect::<Vec<_>>()
    };
    let (expected, got) = (kept(&whole), kept(&seen));
    same("C-6.2", "events", &briefs(&expected), &briefs(&got))?;
    for event in whole {
        let known = seen.contains(&event);
        ensure(
            "C-6.3",
            known,
            format!("the event as in one watch: {event:?}"),
            briefs(&seen),
        )?;
    }
    Ok(())
}

async fn end(scope: &Scope) -> Verdict {
    let record = scope.finished().await?;
    let ends = record.events.last().and_then(state_of).is_some_and(has_ended);
    ensure("C-6.5", ends, "the last event ends the run", record.events.last())?;
    let last = record.run.last_sequence;
    match first_of_watch(scope, &record.run.training_run_id, last).await {
        Ok(None) => Ok(()),
        Ok(Some(event)) => fail("C-6.5", format!("no event after {last}, the last one"), brief(&event)),
        Err(status) => fail(
            "C-6.5",
            format!("an end with OK after {last}, the last event"),
            describe(&status),
        ),
    }
}

async fn future(scope: &Scope) -> Verdict {
    let refused = Refusal::field("after_sequence");
    let ended = scope.finished().await?.run;
    let live = scope.start("future", &scope.long_spec()).await?;
    for run in [ended, live] {
        for cursor in [-1, i64::MIN, run.last_sequence + 1_000_000, i64::MAX] {
            let call = format!("WatchTrainingRun after {cursor} of {}", run.last_sequence);
            refused.check(
                "C-6.6",
                &call,
                first_of_watch(scope, &run.training_run_id, cursor).await,
            )?;
        }
    }
    let run = scope.finished().await?.run;
    let cursor = run.last_sequence + 1;
    let call = format!("WatchTrainingRun after {cursor} of {}", run.last_sequence);
    refused.check(
        "C-6.6",
        &call,
        first_of_watch(scope, &run.training_run_id, cursor).await,
    )
}

/// Longest heartbeat interval that the kit waits for.
const MAX_INTERVAL: Duration = Duration::from_secs(12);

async fn heartbeat(scope: &Scope) -> Verdict {
    let claimed = scope.capabilities.heartbeat_interval.unwrap_or_default();
    let interval = Duration::try_from(claimed).unwrap_or_default();
    if interval > MAX_INTERVAL {
        return skip(format!(
            "heartbeat_interval is {interval:?}; the kit waits for up to {MAX_INTERVAL:?}"
        ));
    }
    let id = scope.start("heartbeat", &scope.long_spec()).await?.training_run_id;
    if scope.capabilities.pause {
        // Nothing happens in a paused run.
        scope
            .until("C-6.7", &id, &[State::Running], scope.options.run_timeout)
            .await?;
        succeed("C-10.1", "PauseTrainingRun", scope.pause(&id).await)?;
    }
    let slack = Duration::from_secs(1) + interval / 4;
    let until = Instant::now() + interval * 2 + slack;
    let mut stream = succeed("C-6.7", "WatchTrainingRun", scope.watch(&id, 0).await)?;
    let (mut newest, mut beats, mut quiet_since) = (0, 0, Instant::now());
    while Instant::now() < until {
        let message = match timeout_at(quiet_since + interval + slack, stream.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return fail("C-6.7", "the watch of a live run goes on", "it ended"),
            Ok(Err(status)) => return fail("C-6.7", "the watch of a live run goes on", describe(&status)),
            Err(_) => {
                return fail(
                    "C-6.7",
                    format!("a message every {interval:?}"),
                    format!("nothing for {:?}", interval + slack),
                );
            }
        };
        quiet_since = Instant::now();
        let event = message.event.unwrap_or_default();
        if is_heartbeat(&event) {
            beats += 1;
            equal(
                "C-6.7",
                "the newest event's number on a heartbeat",
                &newest,
                &event.sequence,
            )?;
        } else {
            newest = event.sequence;
        }
    }
    ensure(
        "C-6.7",
        beats > 0 || !scope.capabilities.pause,
        "heartbeats while nothing happens",
        beats,
    )
}

async fn many(scope: &Scope) -> Verdict {
    const WATCHES: usize = 64;
    let id = scope.start("many", &scope.spec_of_all_sizes()).await?.training_run_id;
    let unread = join_all((0..4).map(|_| scope.watch(&id, 0))).await;
    let events = try_join_all((0..WATCHES).map(|_| scope.replay(&id, 0))).await?;
    drop(unread);
    let whole = scope.replay(&id, 0).await?;
    for seen in events {
        let kept = |events: &[pb::TrainingEvent]| {
            briefs(&events.iter().filter(|one| is_kept(one)).cloned().collect::<Vec<_>>())
        };
        same("C-6.3", "the same in each watch", &kept(&whole), &kept(&seen))?;
    }
    Ok(())
}
