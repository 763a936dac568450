//! What the lies do to messages and streams.

use std::time::Duration;

use finepick_proto::trainer::v1 as wire;
use finepick_proto::trainer::v1::training_event::Kind;
use futures::{StreamExt, future, stream};
use tonic::{Code, Status};

use crate::config::SimulationConfig;
use crate::grpc::EventStream;
use crate::law::fingerprint;
use crate::lie::Lie;
use crate::spec::check_id;

pub(super) fn is_ended(state: wire::TrainingRunState) -> bool {
    use wire::TrainingRunState as S;
    matches!(state, S::Succeeded | S::Failed | S::Cancelled | S::Preempted | S::Lost)
}

pub(super) fn status(lie: Option<Lie>, status: Status) -> Status {
    match lie {
        Some(Lie::NoDetails) => Status::new(status.code(), status.message()),
        Some(Lie::UnknownCode) => Status::with_details(Code::Unknown, status.message(), bytes_of(&status)),
        _ => status,
    }
}

fn bytes_of(status: &Status) -> prost::bytes::Bytes {
    prost::bytes::Bytes::copy_from_slice(status.details())
}

/// An id that the honest service accepts.
pub(super) fn mend_id(id: &mut String) {
    if check_id(id).is_err() {
        *id = format!("mended-{:016x}", fingerprint(&[id.as_bytes()]));
    }
}

/// A spec that the honest service accepts.
pub(super) fn plain_spec() -> wire::TrainingRunSpec {
    let reference = || {
        Some(wire::Reference {
            uri: "sim://mended-20m".to_owned(),
            digest: String::new(),
        })
    };
    wire::TrainingRunSpec {
        candidate_id: "mended".to_owned(),
        model: reference(),
        data: reference(),
        data_sizes: vec![100],
        method: Some(wire::TuningMethod {
            kind: Some(wire::tuning_method::Kind::Full(wire::FullTuning {})),
        }),
        ..wire::TrainingRunSpec::default()
    }
}

/// Is this an evaluation that the lie leaves out?
fn is_hidden(lie: Lie, evaluation: &wire::Evaluation) -> bool {
    let held_out = evaluation.kind() == wire::EvaluationKind::HeldOut;
    match lie {
        Lie::MissingEvaluation => held_out && evaluation.data_size > 0,
        Lie::RetentionMissing => !held_out,
        _ => false,
    }
}

fn evaluation(lie: Lie, evaluation: &mut wire::Evaluation) {
    match lie {
        Lie::NanLoss => evaluation.loss = f64::NAN,
        Lie::NegativeLoss => evaluation.loss = -evaluation.loss,
        Lie::WrongSize => evaluation.data_size += 1,
        Lie::NotDeterministic => {
            let drawn = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0);
            evaluation.loss *= 1.0 + 1e-3 * crate::law::unit(drawn);
        }
        _ => {}
    }
}

fn cost(lie: Lie, cost: &mut wire::RunCost) {
    match lie {
        Lie::DecreasingCost => {
            cost.device_seconds = 1e9 - cost.device_seconds;
            if let Some(money) = &mut cost.money {
                money.units = 1_000_000 - money.units;
                money.nanos = 0;
            }
        }
        Lie::NegativeCost => {
            cost.device_seconds = -1.0 - cost.device_seconds;
            if let Some(money) = &mut cost.money {
                money.units = -1 - money.units;
                money.nanos = 0;
            }
        }
        _ => {}
    }
}

pub(super) fn run(lie: Option<Lie>, run: &mut wire::TrainingRun) {
    let Some(lie) = lie else { return };
    run.evaluations.retain(|evaluation| !is_hidden(lie, evaluation));
    for found in &mut run.evaluations {
        evaluation(lie, found);
    }
    if let Some(found) = &mut run.cost {
        cost(lie, found);
    }
    match lie {
        Lie::FailureHidden => run.failure = wire::TrainingFailure::Unspecified.into(),
        Lie::SequenceFromZero => run.last_sequence -= 1,
        _ => {}
    }
}

/// The event as the liar tells it; `None`: it keeps it to itself.
fn event(lie: Lie, mut event: wire::TrainingEvent) -> Option<wire::TrainingEvent> {
    use wire::TrainingRunState as S;
    match &mut event.kind {
        Some(Kind::Evaluation(found)) => {
            if is_hidden(lie, found) {
                return None;
            }
            evaluation(lie, found);
        }
        Some(Kind::Cost(found)) => cost(lie, found),
        Some(Kind::Heartbeat(_)) if lie == Lie::NoHeartbeat => return None,
        Some(Kind::StateChanged(change)) => match lie {
            Lie::IllegalTransition if change.to() == S::Preparing => return None,
            Lie::IllegalTransition if change.from() == S::Preparing => change.from = S::Queued.into(),
            Lie::FailureHidden => change.failure = wire::TrainingFailure::Unspecified.into(),
            _ => {}
        },
        _ => {}
    }
    match lie {
        Lie::SequenceFromZero => event.sequence -= 1,
        Lie::DuplicateSequence if event.sequence % 3 == 0 => event.sequence -= 1,
        _ => {}
    }
    Some(event)
}

fn is_heartbeat(event: &wire::TrainingEvent) -> bool {
    matches!(event.kind, Some(Kind::Heartbeat(_)))
}

fn is_last(event: &wire::TrainingEvent) -> bool {
    matches!(&event.kind, Some(Kind::StateChanged(change)) if is_ended(change.to()))
}

/// The stream as the liar tells it.
pub(super) fn stream(lie: Lie, after: i64, honest: EventStream, config: &SimulationConfig) -> EventStream {
    let mut to_skip = u32::from(lie == Lie::CursorSkipsOne && after > 0);
    let told = honest
        .take_while(move |item| {
            let ends = lie == Lie::WatchEndsEarly
                && matches!(item, Ok(response) if response.event.as_ref().is_some_and(is_last));
            future::ready(!ends)
        })
        .filter_map(move |item| {
            let told = match item {
                Ok(response) => response.event.and_then(|honest| {
                    if to_skip > 0 && !is_heartbeat(&honest) {
                        to_skip -= 1;
                        return None;
                    }
                    let event = event(lie, honest)?;
                    Some(Ok(wire::WatchTrainingRunResponse { event: Some(event) }))
                }),
                Err(error) => Some(Err(status(Some(lie), error))),
            };
            future::ready(told)
        });
    if lie == Lie::WatchNeverEnds {
        return told
            .chain(heartbeats(after, config.heartbeat_interval.get() / 2))
            .boxed();
    }
    told.boxed()
}

/// Heartbeats without end.
fn heartbeats(sequence: i64, every: Duration) -> EventStream {
    stream::repeat(())
        .then(move |()| async move {
            tokio::time::sleep(every).await;
            let event = wire::TrainingEvent {
                sequence: sequence.max(1),
                time: None,
                kind: Some(Kind::Heartbeat(wire::Heartbeat {})),
            };
            Ok(wire::WatchTrainingRunResponse { event: Some(event) })
        })
        .boxed()
}
