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
const ONCE_MORE: [&str; 2] = ["EVALUATION_MISSING", Outcome::DEADLINE];

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
pub(super) fn shares(state: &State, ended: &Ended, now: Millis) -> Vec<Share> {
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
    let each = members.iter().zip(&trials).zip(bills(state, &trials, &end, now));
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
    let missing = trials.iter().find(|trial| end.at(trial.data_size).is_none());
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

/// The end of a run as that of one of its trials: what it has measured is measured, however it ended.
fn own(trial: &Trial, end: &RunEnd, sizes: usize) -> RunEnd {
    let mut own = end.clone();
    if sizes > 1 && !matches!(end.outcome, Outcome::Observed { .. }) {
        own.detail = format!("one run for {}: {}", explain::count(sizes, "size", "sizes"), end.detail);
    }
    own.outcome = end.at(trial.data_size).unwrap_or(own.outcome);
    own
}

/// How an attempt in hand ends; `None`: it is not in hand (any more).
pub(super) fn settle(state: &State, share: &Share, config: &DriverConfig, now: Millis) -> Option<AttemptEnd> {
    let trial = state.trials.get(share.trial)?;
    let (attempt, in_hand) = trial.running().filter(|(attempt, _)| *attempt == share.attempt)?;
    // It had all that the budget pays for it.
    let paid_out = share.end.outcome.is_deadline() && state.paid_seconds(in_hand).is_some();
    let retry_at = (!paid_out && may_go_on(state, trial, share, config)).then(|| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::{Loss, Observation};
    use crate::fixture::{ready, size, spec};
    use crate::ports::Measured;
    use crate::selection::{Event, PlannedTrial, ScheduledAttempt, transition};
    use crate::simulate::SelectionPolicy;

    /// A run on 1,000 examples that is expected to take 12 s, with so much set aside, begun at time 0.
    fn running(max_seconds: Option<f64>) -> State {
        let policy = SelectionPolicy::from_name("geometric").unwrap();
        let planned = PlannedTrial {
            contender: 0,
            data_size: size(1_000),
            reused: None,
        };
        let attempt = ScheduledAttempt {
            trial: 0,
            attempt: 1,
            trainer: "local".to_owned(),
            run_id: "r".to_owned(),
            reserved: Spending {
                examples: 1_000,
                device_seconds: max_seconds.unwrap_or(12.0),
                ..Spending::ZERO
            },
            max_seconds,
            lease_until: None,
        };
        let state = ready(spec(2, &["full"], policy, 100_000));
        let events = [
            Event::RoundOpened { trials: vec![planned] },
            Event::Scheduled {
                attempts: vec![attempt],
            },
        ];
        events
            .into_iter()
            .fold(state, |state, event| transition(Some(state), event, 0).unwrap().0)
    }

    fn settled(state: &State, outcome: Outcome, share_done: Option<f64>, told: Option<f64>, now: Millis) -> AttemptEnd {
        let end = RunEnd {
            outcome,
            others: Vec::new(),
            detail: String::new(),
            device_seconds: told,
            money_nanos: None,
            share_done,
            may_be_retried: true,
        };
        let ended = Ended {
            trial: 0,
            attempt: 1,
            end,
        };
        let shares = shares(state, &ended, now);
        settle(state, &shares[0], &DriverConfig::of("me"), now).unwrap()
    }

    fn deadline() -> Outcome {
        Outcome::Failed {
            failure: Outcome::DEADLINE.to_owned(),
        }
    }

    #[test]
    fn what_nobody_tells_is_charged_by_the_clock_within_what_was_set_aside() {
        let state = running(Some(40.0));
        let lost = |now| settled(&state, Outcome::Lost, None, None, now).spent.device_seconds;
        assert_eq!((lost(1_000), lost(20_000), lost(90_000)), (12.0, 20.0, 40.0));
        let failed = |share| {
            settled(&state, Outcome::Preempted, Some(share), None, 5_000)
                .spent
                .device_seconds
        };
        assert_eq!((failed(0.0), failed(0.25), failed(0.5)), (0.0, 5.0, 6.0));
        // All of it, what its trainer tells, and where nothing limits time what was set aside.
        let ended = settled(&state, deadline(), Some(0.1), None, 1_000);
        let told = settled(&state, Outcome::Lost, None, Some(41.5), 0);
        let free = settled(&running(None), Outcome::Lost, None, None, 90_000);
        let spent = [ended, told, free].map(|end| end.spent.device_seconds);
        assert!(
            spent
                .iter()
                .zip([40.0, 41.5, 12.0])
                .all(|(spent, wanted)| (spent - wanted).abs() < 1e-9)
        );
    }

    #[test]
    fn a_loss_that_was_told_before_the_run_failed_is_a_loss_and_paid_in_full() {
        let state = running(None);
        let measured = Measured {
            observation: Observation::new(size(1_000), Loss::new(2.5).unwrap()),
            model_digest: "sha256:a".to_owned(),
            data_digest: "sha256:b".to_owned(),
        };
        let end = RunEnd {
            outcome: Outcome::Failed {
                failure: "DISK_FULL".to_owned(),
            },
            others: vec![measured.clone()],
            detail: "no space for the weights".to_owned(),
            device_seconds: Some(11.0),
            money_nanos: None,
            share_done: Some(0.5),
            may_be_retried: true,
        };
        let ended = Ended {
            trial: 0,
            attempt: 1,
            end,
        };
        let shares = shares(&state, &ended, 0);
        let end = settle(&state, &shares[0], &DriverConfig::of("me"), 0).unwrap();
        assert_eq!((end.outcome, end.retry_at), (Outcome::from(measured), None));
        assert_eq!((end.spent.examples, end.spent.device_seconds.round()), (1_000, 11.0));
    }

    #[test]
    fn a_run_that_had_all_that_the_budget_pays_is_not_made_again() {
        let state = running(Some(40.0));
        let end = settled(&state, deadline(), None, Some(40.0), 0);
        assert_eq!(end.retry_at, None);
        let (after, _) = transition(Some(state), Event::AttemptEnded(Box::new(end)), 0).unwrap();
        let (_, _, exclusion) = &after.withdrawn[0];
        assert_eq!(exclusion.reason, crate::policy::ExclusionReason::Budget);
        assert!(exclusion.detail.contains("40 s of device time"), "{}", exclusion.detail);
        // The spec's own limit, and none at all.
        let mut own = running(Some(40.0));
        own.spec.max_run_millis = Some(39_000);
        for state in [own, running(None)] {
            assert!(settled(&state, deadline(), None, Some(39.0), 0).retry_at.is_some());
        }
    }
}
