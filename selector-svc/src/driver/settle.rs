//! What the end of a run means for its trials, and what it costs. Pure.

mod bill;

use std::collections::HashSet;

use self::bill::bills;
use crate::driver::journal::doubled;
use crate::driver::{DriverConfig, attend::Ended};
use crate::explain;
use crate::ports::RunEnd;
use crate::selection::{AttemptEnd, Millis, Outcome, Phase, Spending, State, Trial};

/// Most attempts at a trial, those that were preempted included.
const MAX_ATTEMPTS: usize = 64;

/// Failures that are tried once more, but not again and again: the same spec will mostly fail the same way.
const ONCE_MORE: [&str; 2] = ["EVALUATION_MISSING", "DEADLINE_EXCEEDED"];

/// What a run that has ended is for one of the attempts that it was made for.
pub(super) struct Share {
    trial: usize,
    attempt: u32,
    /// With this trial's own loss.
    end: RunEnd,
    spent: Spending,
    /// The run was made for other trials as well.
    of_several: bool,
}

/// The shares of all attempts that a run was made for; none: it is not in hand (any more).
pub(super) fn shares(state: &State, ended: &Ended) -> Vec<Share> {
    let leading = state.trials.get(ended.trial).and_then(Trial::running);
    let Some((_, leading)) = leading.filter(|(attempt, _)| *attempt == ended.attempt) else {
        return Vec::new();
    };
    let members = state.runs_in_hand().remove(leading.run_id.as_str()).unwrap_or_default();
    let trials: Vec<&Trial> = members
        .iter()
        .filter_map(|(trial, _)| state.trials.get(*trial))
        .collect();
    let end = whole(&trials, &ended.end);
    let several = members.len() > 1;
    let each = members.iter().zip(&trials).zip(bills(state, &trials, &end));
    each.map(|(((trial, attempt), measured), spent)| Share {
        trial: *trial,
        attempt: *attempt,
        end: own(measured, &end, members.len()),
        spent,
        of_several: several,
    })
    .collect()
}

/// The end of a run, unless it is said to have succeeded without a loss for every trial: such a word is worth nothing.
fn whole(trials: &[&Trial], end: &RunEnd) -> RunEnd {
    let missing = trials.iter().find(|trial| end.loss_at(trial.data_size).is_none());
    match missing.filter(|_| matches!(end.outcome, Outcome::Observed { .. })) {
        None => end.clone(),
        Some(trial) => RunEnd {
            outcome: Outcome::Refused,
            others: Vec::new(),
            detail: format!(
                "the trainer breaks its contract: a run that succeeded has no loss for {} examples",
                trial.data_size
            ),
            may_be_retried: true,
            ..end.clone()
        },
    }
}

/// The end of a run as that of one of its trials.
fn own(trial: &Trial, end: &RunEnd, sizes: usize) -> RunEnd {
    let mut own = end.clone();
    match (&mut own.outcome, end.loss_at(trial.data_size)) {
        (Outcome::Observed { observation, .. }, Some(measured)) => *observation = measured,
        _ if sizes > 1 => {
            own.detail = format!("one run for {}: {}", explain::count(sizes, "size", "sizes"), end.detail);
        }
        _ => {}
    }
    own
}

/// How an attempt in hand ends; `None`: it is not in hand (any more).
pub(super) fn settle(state: &State, share: &Share, config: &DriverConfig, now: Millis) -> Option<AttemptEnd> {
    let trial = state.trials.get(share.trial)?;
    let (attempt, _) = trial.running().filter(|(attempt, _)| *attempt == share.attempt)?;
    let retry_at = may_go_on(state, trial, share, config).then(|| {
        let pause = pause(trial, &share.end, config);
        now.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
    });
    Some(AttemptEnd {
        trial: share.trial,
        attempt,
        outcome: share.end.outcome.clone(),
        spent: share.spent,
        detail: explain::shortened(&share.end.detail),
        retry_at: retry_at.filter(|_| !matches!(share.end.outcome, Outcome::Observed { .. })),
    })
}

/// Whether another attempt follows one that ended so.
fn may_go_on(state: &State, trial: &Trial, share: &Share, config: &DriverConfig) -> bool {
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
    // A run for several trials has failed once, however they are tried again.
    let replaced = state
        .trials
        .iter()
        .flat_map(|trial| trial.attempts.iter().rev().skip(1));
    let in_all = replaced
        .map(|attempt| attempt.run_id.as_str())
        .collect::<HashSet<_>>()
        .len();
    let allowed = f64::from(config.retries) + config.retries_per_trial.max(0.0) * state.trials.len() as f64;
    if in_all as f64 >= allowed {
        return false;
    }
    let tries_left = counted + 1 < state.spec.max_attempts as usize;
    match &share.end.outcome {
        Outcome::Observed { .. } => false,
        // Not the run's fault; the selection's own bound holds.
        Outcome::Preempted => true,
        Outcome::Failed { failure } if ONCE_MORE.contains(&failure.as_str()) => {
            let failed_so =
                |outcome: &Outcome| matches!(outcome, Outcome::Failed { failure: other } if other == failure);
            tries_left && !before.clone().any(|end| failed_so(&end.outcome))
        }
        // Who refuses several sizes may take one.
        Outcome::Refused if share.of_several => tries_left,
        Outcome::Failed { .. } | Outcome::Lost | Outcome::Cancelled | Outcome::Refused => {
            share.end.may_be_retried && tries_left
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
