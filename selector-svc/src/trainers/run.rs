//! A run from its creation to its end.

use finepick_proto::trainer::v1::training_event::Kind;
use finepick_proto::trainer::v1::{Progress, TrainingRunState};
use tokio::time::Instant;
use trainer_client::{Problem, TrainerError, has_ended};
use trainer_kit::spec::Spec;

use super::told::{self, Lie};
use super::{PROGRESS_INTERVAL, RemoteTrainer};
use crate::ports::{ProgressSink, RunEnd, RunProgress, TrainerFault};
use crate::selection::Outcome;

/// Makes the run known and follows it to its end.
pub(super) async fn follow(
    trainer: &RemoteTrainer,
    run_id: &str,
    spec: Spec,
    progress: ProgressSink,
) -> Result<RunEnd, TrainerFault> {
    let sizes = spec.data_sizes.clone();
    let run = trainer.create(run_id, trainer_kit::grpc::spec(spec)).await?;
    if let Err(lie) = told::is_the_run(&run, run_id, &sizes) {
        return Ok(refused(&lie));
    }
    let mut teller = Teller {
        progress,
        last: RunProgress::default(),
        told: None,
    };
    teller.hear(run.state(), run.progress.as_ref());
    if has_ended(run.state()) {
        return Ok(told::end(&run, &sizes));
    }
    if let Some(end) = watch(trainer, run_id, run.last_sequence, &mut teller).await? {
        return Ok(end);
    }
    match trainer.client.get(run_id).await {
        Ok(run) => Ok(match told::is_the_run(&run, run_id, &sizes) {
            Ok(()) => told::end(&run, &sizes),
            Err(lie) => refused(&lie),
        }),
        Err(error) if error.problem() == Some(Problem::NotFound) => Ok(lost(&error)),
        Err(error) => Err(trainer.fault(&error)),
    }
}

/// Follows the events; `None`: the run has ended.
async fn watch(
    trainer: &RemoteTrainer,
    run_id: &str,
    after: i64,
    teller: &mut Teller,
) -> Result<Option<RunEnd>, TrainerFault> {
    let mut watch = trainer.client.watch(run_id, after);
    while let Some(event) = watch.next().await {
        match event {
            Ok(event) => match event.kind {
                Some(Kind::StateChanged(change)) => {
                    teller.hear(change.to(), None);
                    if has_ended(change.to()) {
                        return Ok(None);
                    }
                }
                Some(Kind::Progress(progress)) => teller.hear(TrainingRunState::Running, Some(&progress)),
                _ => {}
            },
            Err(error) => {
                return match &error {
                    // It was there, and is not any more.
                    TrainerError::RunReplaced(_) => Ok(Some(lost(&error))),
                    // Nothing new was heard for as long as a watch bears it. A trainer that tells too little may still know.
                    TrainerError::GaveUp { .. } => Ok(forgotten(trainer, run_id).await.then(|| lost(&error))),
                    TrainerError::BrokenContract(word) => Ok(Some(refused(&Lie(word.clone())))),
                    TrainerError::Refused { .. } if error.problem() == Some(Problem::NotFound) => {
                        Ok(Some(lost(&error)))
                    }
                    TrainerError::Refused { .. } => Err(trainer.unavailable(error.to_string())),
                };
            }
        }
    }
    Ok(None)
}

/// Whether a run of which nothing is heard has not ended; it is asked to, so that it does not go on beside its successor.
async fn forgotten(trainer: &RemoteTrainer, run_id: &str) -> bool {
    let known = trainer.client.get(run_id).await;
    if known.as_ref().is_ok_and(|run| has_ended(run.state())) {
        return false;
    }
    if known.is_ok() {
        let _ = trainer.client.cancel(run_id).await;
    }
    true
}

/// Passes progress on, not more often than anybody looks.
struct Teller {
    progress: ProgressSink,
    last: RunProgress,
    told: Option<Instant>,
}

impl Teller {
    fn hear(&mut self, state: TrainingRunState, progress: Option<&Progress>) {
        let queued = matches!(state, TrainingRunState::Queued | TrainingRunState::Paused);
        let changed = queued != self.last.queued;
        self.last = progress.map_or(RunProgress { queued, ..self.last }, |progress| {
            told::progress(progress, queued)
        });
        if !changed && self.told.is_some_and(|told| told.elapsed() < PROGRESS_INTERVAL) {
            return;
        }
        self.told = Some(Instant::now());
        (self.progress)(self.last);
    }
}

fn lost(error: &TrainerError) -> RunEnd {
    RunEnd {
        outcome: Outcome::Lost,
        others: Vec::new(),
        detail: error.to_string(),
        device_seconds: None,
        money_nanos: None,
        share_done: None,
        may_be_retried: true,
    }
}

/// The end of a run about which the trainer said something that cannot be: another attempt, or another trainer, may do better.
pub(super) fn refused(lie: &Lie) -> RunEnd {
    RunEnd {
        outcome: Outcome::Refused,
        others: Vec::new(),
        detail: format!("the trainer breaks its contract: {}", lie.0),
        device_seconds: None,
        money_nanos: None,
        share_done: None,
        may_be_retried: true,
    }
}
