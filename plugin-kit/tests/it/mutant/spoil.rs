//! What each flaw does to messages.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use finepick_proto::trainer::v1 as pb;
use finepick_proto::trainer::v1::training_event::Kind;
use finepick_proto::trainer::v1::{EvaluationKind, TrainingRunState as State};
use finepick_proto::types::v1::Money;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::{Flaw, has_ended};

pub(super) fn info(flaw: Flaw, info: &mut pb::GetTrainerInfoResponse, count: u64) {
    match flaw {
        Flaw::TwinDevices => info.devices.extend(info.devices.first().cloned()),
        Flaw::NoVersions => info.contract_versions.clear(),
        Flaw::ReasonWhenReady => info.ready_reason.push_str("WHO_KNOWS"),
        Flaw::InstanceChanges => info.instance_id = format!("instance-{count}"),
        _ => {}
    }
}

pub(super) fn capabilities(flaw: Flaw, claimed: &mut pb::ListCapabilitiesResponse) {
    match flaw {
        Flaw::NegativePrice => {
            let money = Money {
                currency_code: "EUR".to_owned(),
                units: -1,
                nanos: 0,
            };
            claimed.prices.push(pb::Price {
                unit: pb::PriceUnit::Run.into(),
                device: String::new(),
                price: Some(money),
            });
        }
        Flaw::PauseUnclaimed => claimed.pause = false,
        Flaw::EstimateUnclaimed => claimed.estimate = false,
        Flaw::PricesMissing => claimed.prices.clear(),
        _ => {}
    }
}

pub(super) fn spec(flaw: Flaw, spec: &mut pb::TrainingRunSpec) {
    match flaw {
        Flaw::AnyCandidate if spec.candidate_id.is_empty() => spec.candidate_id.push('x'),
        Flaw::AnyDevice => spec.device.clear(),
        Flaw::LimitIgnored => spec.max_duration = None,
        Flaw::EndlessRequests => spec.candidate_id.truncate(10),
        _ => {}
    }
}

pub(super) fn created(flaw: Flaw, run: &mut pb::TrainingRun, count: u64) {
    match flaw {
        Flaw::CreateAnswersRunning => run.set_state(State::Running),
        Flaw::FreshTimes => {
            let time = run.create_time.get_or_insert_default();
            time.seconds += i64::try_from(count).unwrap_or(0);
        }
        _ => {}
    }
}

/// A run in any answer.
pub(super) fn run(flaw: Flaw, run: &mut pb::TrainingRun, count: u64, was_paused: bool) {
    let sizes = run
        .spec
        .as_ref()
        .map(|spec| spec.data_sizes.clone())
        .unwrap_or_default();
    match flaw {
        Flaw::TextTrimmed => {
            if let Some(spec) = &mut run.spec {
                spec.candidate_id = spec.candidate_id.trim().to_owned();
            }
        }
        Flaw::LabelsDropped => {
            if let Some(spec) = run.spec.as_mut().filter(|spec| spec.labels.len() > 32) {
                spec.labels = std::mem::take(&mut spec.labels).into_iter().take(32).collect();
            }
        }
        Flaw::EndedChanges if has_ended(run.state()) => run.detail = format!("asked {count} times"),
        Flaw::FailureEverywhere => run.set_failure(pb::TrainingFailure::Internal),
        Flaw::EvaluationsHidden => run.evaluations.clear(),
        Flaw::PauseLosesLosses if was_paused => run.evaluations.clear(),
        Flaw::CheckpointsTwice => {
            let twin = pb::Checkpoint {
                checkpoint_id: "twin".to_owned(),
                step: 1,
            };
            run.checkpoints.extend([twin.clone(), twin]);
        }
        Flaw::LargestMissing => run.evaluations.retain(|one| Some(&one.data_size) != sizes.last()),
        Flaw::ZeroShotMissing if sizes == [0] => run.evaluations.clear(),
        Flaw::MiddleMissing if sizes.len() == 3 => run.evaluations.retain(|one| one.data_size != sizes[1]),
        Flaw::SizesAddUp => {
            let held_out = run.evaluations.iter_mut();
            let after =
                held_out.filter(|one| one.kind() == EvaluationKind::HeldOut && sizes.first() != Some(&one.data_size));
            after.for_each(|one| one.loss *= 0.99);
        }
        Flaw::LossNan => run.evaluations.iter_mut().for_each(|one| one.loss = f64::NAN),
        Flaw::LossNegative => run.evaluations.iter_mut().for_each(|one| one.loss = -one.loss),
        Flaw::LossesDrift => {
            let mut hasher = DefaultHasher::new();
            run.training_run_id.hash(&mut hasher);
            let drift = 1e-9 * (hasher.finish() % 100_000) as f64;
            run.evaluations.iter_mut().for_each(|one| one.loss += drift);
        }
        Flaw::RetentionAfterMissing => run
            .evaluations
            .retain(|one| one.kind() != EvaluationKind::RetentionAfter),
        Flaw::CostNotFinal => {
            if let Some(cost) = &mut run.cost {
                cost.device_seconds += 1.0;
            }
        }
        Flaw::NoWaitReason => run.set_wait_reason(pb::WaitReason::Unspecified),
        _ => {}
    }
}

pub(super) fn cursor(flaw: Flaw, request: &mut pb::WatchTrainingRunRequest, run: &pb::TrainingRun) {
    let cursor = &mut request.after_sequence;
    match flaw {
        Flaw::CursorIgnored => *cursor = 0,
        Flaw::LastEventAgain if *cursor == run.last_sequence => *cursor -= 1,
        Flaw::FutureAccepted => *cursor = (*cursor).clamp(0, run.last_sequence),
        _ => {}
    }
}

/// What is sent in place of an event.
pub(super) fn event(
    flaw: Flaw,
    mut event: pb::TrainingEvent,
    odd_watch: bool,
) -> Vec<Result<pb::TrainingEvent, Status>> {
    let sequence = event.sequence;
    match (flaw, &mut event.kind) {
        (Flaw::NoHeartbeats, Some(Kind::Heartbeat(_))) => return Vec::new(),
        (Flaw::HeartbeatZero, Some(Kind::Heartbeat(_))) => event.sequence = 0,
        (Flaw::SomeWatchesLoseCosts, Some(Kind::Cost(_))) if odd_watch => return Vec::new(),
        (Flaw::EventTwice, _) => return vec![Ok(event.clone()), Ok(event)],
        (Flaw::TimeGoesBack, _) => {
            let time = event.time.get_or_insert_default();
            time.seconds -= sequence;
        }
        (Flaw::PreparingSkipped, Some(Kind::StateChanged(change))) => match change.to() {
            State::Preparing => return Vec::new(),
            State::Running => change.set_from(State::Queued),
            _ => {}
        },
        (Flaw::CostFalls, Some(Kind::Cost(cost))) => cost.device_seconds = 1_000.0 - sequence as f64,
        (Flaw::CostNegative, Some(Kind::Cost(cost))) => cost.device_seconds = -1.0,
        _ => {}
    }
    vec![Ok(event)]
}

/// A refusal.
pub(super) fn error(flaw: Flaw, status: Status) -> Status {
    let (code, message, details) = (status.code(), status.message().to_owned(), status.get_error_details());
    let reason = details.error_info().map_or("", |info| info.reason.as_str()).to_owned();
    let remake =
        |code: Code, message: String, details: ErrorDetails| Status::with_error_details(code, message, details);
    match flaw {
        Flaw::PathsMissing if code == Code::InvalidArgument => {
            let bare = ErrorDetails::with_error_info(
                reason,
                finepick_proto::ERROR_DOMAIN,
                std::collections::HashMap::<String, String>::new(),
            );
            remake(code, message, bare)
        }
        Flaw::NotFoundIsUnknown if code == Code::NotFound => remake(Code::Unknown, message, details),
        Flaw::ForeignDomain => {
            let mut details = details;
            details.set_error_info(reason, "example.com", std::collections::HashMap::new());
            remake(code, message, details)
        }
        Flaw::NoDetails => Status::new(code, message),
        Flaw::MoreDetails => {
            let mut details = details;
            details.set_request_info("1", "2");
            details.add_help_link("help", "https://example.com");
            remake(code, message, details)
        }
        Flaw::StackTraces => {
            let trace = "Traceback (most recent call last): File \"/home/me/trainer.py\", line 7";
            remake(code, format!("{message}: {trace}"), details)
        }
        Flaw::EndlessMessages => remake(code, "x".repeat(5_000), details),
        Flaw::FullIsInternal if reason == "QUEUE_FULL" => Status::internal("no room"),
        Flaw::FullWithoutRetry if reason == "QUEUE_FULL" => {
            let bare = ErrorDetails::with_error_info(
                reason,
                finepick_proto::ERROR_DOMAIN,
                std::collections::HashMap::<String, String>::new(),
            );
            remake(code, message, bare)
        }
        _ => status,
    }
}
