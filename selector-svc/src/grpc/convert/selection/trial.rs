//! Trials and their attempts.

use finepick_proto::selector::v1 as wire;
use finepick_proto::trainer::v1 as trainer;

use super::{seconds, spending, time};
use crate::grpc::convert::fitter::observation;
use crate::grpc::convert::wire as examples;
use crate::ports::RunProgress;
use crate::selection::{Attempt, Outcome, State, TrialStatus, trial_id};

/// A trial by its position, and how far its run is, where that is known. `None`: there is no such trial.
#[must_use]
pub fn trial(state: &State, index: usize, progress: Option<&RunProgress>) -> Option<wire::Trial> {
    let trial = state.trials.get(index)?;
    let (candidate, method) = state.spec.contender(trial.contender)?;
    let status = match &trial.status {
        TrialStatus::Waiting { .. } => wire::TrialState::Waiting,
        TrialStatus::Running => wire::TrialState::Running,
        TrialStatus::Observed(_) => wire::TrialState::Observed,
        TrialStatus::GivenUp(_) => wire::TrialState::Failed,
        TrialStatus::Cancelled => wire::TrialState::Cancelled,
    };
    let (model_digest, data_digest) = trial.attempts.iter().rev().find_map(digests).unwrap_or_default();
    let attempts = trial.attempts.iter().zip(1_i32..);
    Some(wire::Trial {
        trial_id: trial_id(trial.contender, trial.data_size),
        candidate_id: candidate.id.clone(),
        method_id: method.id.clone(),
        data_size: examples(trial.data_size.examples()),
        round: i32::try_from(trial.round).unwrap_or(i32::MAX).saturating_add(1),
        state: status.into(),
        observation: trial.observation().map(observation),
        reused_from: trial.reused_from.clone().unwrap_or_default(),
        attempts: attempts
            .map(|(found, number)| attempt(found, number, &state.limits.currency))
            .collect(),
        progress: progress.filter(|_| trial.running().is_some()).map(shown_progress),
        model_digest,
        data_digest,
    })
}

fn digests(attempt: &Attempt) -> Option<(String, String)> {
    match &attempt.end.as_ref()?.outcome {
        Outcome::Observed {
            model_digest,
            data_digest,
            ..
        } => Some((model_digest.clone(), data_digest.clone())),
        _ => None,
    }
}

fn attempt(attempt: &Attempt, number: i32, currency: &str) -> wire::Attempt {
    let end = attempt.end.as_ref();
    let (outcome, failure) = end.map_or(
        (wire::AttemptOutcome::Unspecified, trainer::TrainingFailure::Unspecified),
        |end| outcome(&end.outcome),
    );
    wire::Attempt {
        attempt: number,
        trainer: attempt.trainer.clone(),
        training_run_id: attempt.run_id.clone(),
        outcome: outcome.into(),
        failure: failure.into(),
        detail: end.map(|end| end.detail.clone()).unwrap_or_default(),
        reserved: Some(spending(&attempt.reserved, currency)),
        spent: end.map(|end| spending(&end.spent, currency)),
        start_time: Some(time(attempt.started)),
        end_time: end.map(|end| time(end.at)),
    }
}

fn outcome(outcome: &Outcome) -> (wire::AttemptOutcome, trainer::TrainingFailure) {
    let plain = |outcome| (outcome, trainer::TrainingFailure::Unspecified);
    match outcome {
        Outcome::Observed { .. } => plain(wire::AttemptOutcome::Observed),
        Outcome::Failed { failure } => {
            // A failure of a newer contract keeps its name in the detail.
            let known = trainer::TrainingFailure::from_str_name(&format!("TRAINING_FAILURE_{failure}"));
            (wire::AttemptOutcome::Failed, known.unwrap_or_default())
        }
        Outcome::Lost => plain(wire::AttemptOutcome::Lost),
        Outcome::Preempted => plain(wire::AttemptOutcome::Preempted),
        Outcome::Cancelled => plain(wire::AttemptOutcome::Cancelled),
        Outcome::Refused => plain(wire::AttemptOutcome::Refused),
    }
}

fn shown_progress(progress: &RunProgress) -> trainer::Progress {
    trainer::Progress {
        step: examples(progress.step),
        total_steps: progress.total.map(examples),
        training_loss: progress.training_loss,
        tokens_per_second: progress.tokens_per_second,
        remaining: progress.remaining_seconds.and_then(seconds),
    }
}
