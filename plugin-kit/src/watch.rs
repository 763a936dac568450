//! Watching runs: whole, from a cursor, or until a state is reached.

use std::time::Duration;

use finepick_proto::trainer::v1 as pb;
use finepick_proto::trainer::v1::training_event::Kind;
use tokio::time::{Instant, timeout_at};
use tonic::codec::Streaming;
use tonic::{Request, Status};

use crate::kit::Scope;
use crate::verdict::{Verdict, describe, fail, succeed};

/// A run that has ended, and all events of it.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    /// The run as `GetTrainingRun` shows it after its end.
    pub(crate) run: pb::TrainingRun,
    /// Its events, heartbeats left out.
    pub(crate) events: Vec<pb::TrainingEvent>,
}

impl Record {
    /// The changes of its state.
    pub(crate) fn changes(&self) -> impl Iterator<Item = &pb::StateChanged> {
        self.events.iter().filter_map(|event| match &event.kind {
            Some(Kind::StateChanged(change)) => Some(change),
            _ => None,
        })
    }
}

/// Whether a run in this state has ended.
pub(crate) fn has_ended(state: pb::TrainingRunState) -> bool {
    use pb::TrainingRunState as S;
    matches!(state, S::Succeeded | S::Failed | S::Cancelled | S::Preempted | S::Lost)
}

/// The state that an event brings.
pub(crate) fn state_of(event: &pb::TrainingEvent) -> Option<pb::TrainingRunState> {
    match &event.kind {
        Some(Kind::StateChanged(change)) => Some(change.to()),
        _ => None,
    }
}

/// Whether the event must be kept while its run exists.
pub(crate) fn is_kept(event: &pb::TrainingEvent) -> bool {
    !matches!(event.kind, Some(Kind::Progress(_) | Kind::Log(_)) | None)
}

/// Whether it is a heartbeat.
pub(crate) fn is_heartbeat(event: &pb::TrainingEvent) -> bool {
    matches!(event.kind, Some(Kind::Heartbeat(_)))
}

/// The name of a state without its prefix.
pub(crate) fn name(state: pb::TrainingRunState) -> &'static str {
    let name = state.as_str_name();
    name.strip_prefix("TRAINING_RUN_STATE_").unwrap_or(name)
}

/// An event in one line.
pub(crate) fn brief(event: &pb::TrainingEvent) -> String {
    let kind = match &event.kind {
        Some(Kind::StateChanged(change)) => name(change.to()).to_owned(),
        Some(Kind::Progress(progress)) => format!("progress {}", progress.step),
        Some(Kind::Evaluation(evaluation)) => format!("evaluation {}", evaluation.data_size),
        Some(Kind::Log(_)) => "log".to_owned(),
        Some(Kind::Checkpoint(checkpoint)) => format!("checkpoint {}", checkpoint.checkpoint_id),
        Some(Kind::Cost(cost)) => format!("cost {}", cost.device_seconds),
        Some(Kind::Heartbeat(_)) => "heartbeat".to_owned(),
        None => "nothing".to_owned(),
    };
    format!("{}: {kind}", event.sequence)
}

/// Events in one line.
pub(crate) fn briefs(events: &[pb::TrainingEvent]) -> String {
    events.iter().map(brief).collect::<Vec<_>>().join(", ")
}

impl Scope {
    /// Opens a watch.
    pub(crate) async fn watch(
        &self,
        id: &str,
        after_sequence: i64,
    ) -> Result<Streaming<pb::WatchTrainingRunResponse>, Status> {
        let request = Request::new(pb::WatchTrainingRunRequest {
            training_run_id: id.to_owned(),
            after_sequence,
        });
        // Some servers send their headers with the first message, and that may be a heartbeat.
        let interval = self.capabilities.heartbeat_interval.unwrap_or_default();
        let limit = self.options.call_timeout + Duration::try_from(interval).unwrap_or_default();
        let late = |_| {
            Err(Status::deadline_exceeded(format!(
                "the watch did not begin within {limit:?}"
            )))
        };
        let answer = tokio::time::timeout(limit, self.stub().watch_training_run(request)).await;
        answer.unwrap_or_else(late).map(tonic::Response::into_inner)
    }

    /// The events of an ended run after a cursor, heartbeats left out. The stream must end by itself, with OK.
    pub(crate) async fn replay(&self, id: &str, after_sequence: i64) -> Verdict<Vec<pb::TrainingEvent>> {
        let mut events = Vec::new();
        let until = Instant::now() + self.options.run_timeout;
        self.read(id, after_sequence, until, |event| {
            events.push(event);
            false
        })
        .await?;
        Ok(events)
    }

    /// Watches a run from its first event to its end, and gets it then.
    pub(crate) async fn watch_to_end(&self, id: &str) -> Verdict<Record> {
        let events = self.replay(id, 0).await?;
        let run = succeed("C-4.8", "GetTrainingRun of an ended run", self.get(id).await)?;
        Ok(Record { run, events })
    }

    /// Watches a run until a state is reached; the event that brought it.
    pub(crate) async fn until(
        &self,
        clause: &'static str,
        id: &str,
        wanted: &[pb::TrainingRunState],
        limit: Duration,
    ) -> Verdict<pb::TrainingEvent> {
        let names: Vec<_> = wanted.iter().map(|state| name(*state)).collect();
        let goal = if wanted.iter().all(|state| has_ended(*state)) {
            "ends".to_owned()
        } else {
            format!("reaches {}", names.join(" or "))
        };
        let expected = format!("the run {goal} within {limit:?}");
        let mut last = String::from("no event");
        let mut found = None;
        let until = Instant::now() + limit;
        let over = self
            .read(id, 0, until, |event| {
                last = brief(&event);
                let reached = state_of(&event).is_some_and(|state| wanted.contains(&state));
                if reached {
                    found = Some(event);
                }
                reached
            })
            .await;
        match (found, over) {
            (Some(event), _) => Ok(event),
            (None, _) => fail(clause, expected, format!("the last event was {last}")),
        }
    }

    /// Reads a watch until `stop` says so, the stream ends, or the time is over. Heartbeats are left out.
    async fn read(
        &self,
        id: &str,
        after_sequence: i64,
        until: Instant,
        mut stop: impl FnMut(pb::TrainingEvent) -> bool,
    ) -> Verdict {
        let mut stream = succeed("C-6.2", "WatchTrainingRun", self.watch(id, after_sequence).await)?;
        loop {
            match timeout_at(until, stream.message()).await {
                Ok(Ok(Some(message))) => {
                    let Some(event) = message.event else {
                        return fail("C-6.1", "every message of a watch holds an event", "one without");
                    };
                    if !is_heartbeat(&event) && stop(event) {
                        return Ok(());
                    }
                }
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(status)) => {
                    return fail("C-6.5", "the watch ends with OK after the run's end", describe(&status));
                }
                Err(_) => {
                    let expected = format!(
                        "the run and its watch end within {:?} (--run-timeout)",
                        self.options.run_timeout
                    );
                    return fail("C-6.5", expected, "the watch is still open");
                }
            }
        }
    }
}
