//! What the end of a run means for its trial, and what it costs. Pure.

use crate::driver::journal::doubled;
use crate::driver::{DriverConfig, attend::Ended};
use crate::ports::RunEnd;
use crate::selection::{AttemptEnd, Event, Millis, Outcome, Phase, Spending, State, Trial};

/// Longest words of a trainer that are kept, bytes: they are repeated in every answer about the contender.
const MAX_WORDS: usize = 1_024;

/// Most attempts at a trial, those that were preempted included.
const MAX_ATTEMPTS: usize = 64;

/// Failures that are tried once more, but not again and again: the same spec will mostly fail the same way.
const ONCE_MORE: [&str; 2] = ["EVALUATION_MISSING", "DEADLINE_EXCEEDED"];

/// The event with which an attempt in hand ends; `None`: it is not in hand (any more).
pub(super) fn settle(state: &State, ended: &Ended, config: &DriverConfig, now: Millis) -> Option<Event> {
    let trial = state.trials.get(ended.trial)?;
    let (attempt, in_hand) = trial.running().filter(|(attempt, _)| *attempt == ended.attempt)?;
    let spent = cost(state, trial, in_hand.reserved, &in_hand.trainer, &ended.end);
    let retry_at = may_go_on(state, trial, &ended.end, config).then(|| {
        let pause = pause(trial, &ended.end, config);
        now.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
    });
    Some(Event::AttemptEnded(Box::new(AttemptEnd {
        trial: ended.trial,
        attempt,
        outcome: ended.end.outcome.clone(),
        spent,
        detail: shortened(&ended.end.detail),
        retry_at: retry_at.filter(|_| !matches!(ended.end.outcome, Outcome::Observed { .. })),
    })))
}

fn shortened(words: &str) -> String {
    if words.len() <= MAX_WORDS {
        return words.to_owned();
    }
    let end = (0..=MAX_WORDS).rev().find(|at| words.is_char_boundary(*at));
    format!("{}…", words.get(..end.unwrap_or(0)).unwrap_or_default())
}

/// What is charged: what the trainer told, else what was set aside, by the share of the work that was done.
fn cost(state: &State, trial: &Trial, reserved: Spending, trainer: &str, end: &RunEnd) -> Spending {
    let share = match end.outcome {
        Outcome::Observed { .. } | Outcome::Lost => 1.0,
        _ => end
            .share_done
            .filter(|share| share.is_finite())
            .map_or(1.0, |share| share.clamp(0.0, 1.0)),
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of sizes below 2^53, which are whole and not negative"
    )]
    let examples = (reserved.examples as f64 * share).ceil() as u64;
    let told = end
        .device_seconds
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    let device_seconds = told.unwrap_or(reserved.device_seconds * share);
    let model = state.prepared.as_ref().and_then(|prepared| {
        let facts = prepared.contenders.get(trial.contender)?;
        facts.costs.get(trainer)
    });
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
    let priced = |seconds: f64| {
        model.map(|model| ((seconds * model.nanos_per_second as f64).ceil() as i64).saturating_add(model.nanos_per_run))
    };
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
    let by_share = (reserved.money_nanos as f64 * share).ceil() as i64;
    let money = end.money_nanos.filter(|money| *money >= 0);
    Spending {
        examples: examples.min(reserved.examples),
        example_parameters: reserved.example_parameters * share,
        device_seconds,
        money_nanos: money.or_else(|| told.and_then(priced)).unwrap_or(by_share).max(0),
    }
}

/// Whether another attempt follows one that ended so.
fn may_go_on(state: &State, trial: &Trial, end: &RunEnd, config: &DriverConfig) -> bool {
    let out = state
        .withdrawn
        .iter()
        .any(|(contender, ..)| *contender == trial.contender);
    if out || matches!(state.phase, Phase::Stopping(_) | Phase::Ended(_)) || trial.attempts.len() >= MAX_ATTEMPTS {
        return false;
    }
    // The one that ends now is the last in the list, without an end.
    let before = trial.attempts.iter().filter_map(|attempt| attempt.end.as_ref());
    let counted = before.clone().filter(|end| end.outcome != Outcome::Preempted).count();
    let in_all: usize = state
        .trials
        .iter()
        .map(|trial| trial.attempts.len().saturating_sub(1))
        .sum();
    let allowed = f64::from(config.retries) + config.retries_per_trial.max(0.0) * state.trials.len() as f64;
    if in_all as f64 >= allowed {
        return false;
    }
    match &end.outcome {
        Outcome::Observed { .. } => false,
        // Not the run's fault; the selection's own bound holds.
        Outcome::Preempted => true,
        Outcome::Failed { failure } if ONCE_MORE.contains(&failure.as_str()) => {
            let failed_so =
                |outcome: &Outcome| matches!(outcome, Outcome::Failed { failure: other } if other == failure);
            counted + 1 < state.spec.max_attempts as usize && !before.clone().any(|end| failed_so(&end.outcome))
        }
        Outcome::Failed { .. } | Outcome::Lost | Outcome::Cancelled | Outcome::Refused => {
            end.may_be_retried && counted + 1 < state.spec.max_attempts as usize
        }
    }
}

fn pause(trial: &Trial, end: &RunEnd, config: &DriverConfig) -> std::time::Duration {
    let (first, longest) = config.backoff;
    if end.outcome == Outcome::Preempted {
        return first;
    }
    let doublings = trial.attempts.len().saturating_sub(1).min(30);
    (0..doublings).fold(first, |pause, _| doubled(pause, longest))
}
