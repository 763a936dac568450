//! What the end of a run means for its trial, and what it costs. Pure.

use crate::driver::journal::doubled;
use crate::driver::{DriverConfig, attend::Ended};
use crate::ports::RunEnd;
use crate::selection::{Attempt, AttemptEnd, Event, Millis, Outcome, Phase, Spending, State, Trial};

/// Most attempts at a trial, those that were preempted included.
const MAX_ATTEMPTS: usize = 64;

/// Failures that are tried once more, but not again and again: the same spec will mostly fail the same way.
const ONCE_MORE: [&str; 2] = ["EVALUATION_MISSING", Outcome::DEADLINE];

/// The event with which an attempt in hand ends; `None`: it is not in hand (any more).
pub(super) fn settle(state: &State, ended: &Ended, config: &DriverConfig, now: Millis) -> Option<Event> {
    let trial = state.trials.get(ended.trial)?;
    let (attempt, in_hand) = trial.running().filter(|(attempt, _)| *attempt == ended.attempt)?;
    let spent = cost(state, trial, in_hand, &ended.end, now);
    let retry_at = may_go_on(state, trial, in_hand, &ended.end, config).then(|| {
        let pause = pause(trial, &ended.end, config);
        now.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
    });
    Some(Event::AttemptEnded(Box::new(AttemptEnd {
        trial: ended.trial,
        attempt,
        outcome: ended.end.outcome.clone(),
        spent,
        detail: ended.end.detail.clone(),
        retry_at: retry_at.filter(|_| !matches!(ended.end.outcome, Outcome::Observed { .. })),
    })))
}

/// What is charged: what the trainer told, else what was set aside, by the share of the work that was done. Where the budget limits
/// the run's time, what nobody told is what the run had by the clock, at least its estimate and at most what was set aside.
fn cost(state: &State, trial: &Trial, in_hand: &Attempt, end: &RunEnd, now: Millis) -> Spending {
    let reserved = in_hand.reserved;
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
    let model = state.prepared.as_ref().and_then(|prepared| {
        let facts = prepared.contenders.get(trial.contender)?;
        facts.costs.get(&in_hand.trainer)
    });
    let told = end
        .device_seconds
        .filter(|seconds| seconds.is_finite() && *seconds >= 0.0);
    let untold = || {
        let paid = in_hand.max_seconds?;
        if end.outcome.is_deadline() {
            return Some(paid);
        }
        let expected = model.map_or(paid, |model| model.of(trial.data_size, None).device_seconds * share);
        let held = now.saturating_sub(in_hand.started).max(0) as f64 / 1e3;
        Some(if share > 0.0 { held.max(expected).min(paid) } else { 0.0 })
    };
    let seconds = told.or_else(untold);
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
    let by_share = (reserved.money_nanos as f64 * share).ceil() as i64;
    // What never ran costs nothing, and no price of a run either, unless its trainer says so.
    let priced = seconds.filter(|_| told.is_some() || share > 0.0);
    let priced = priced.and_then(|seconds| Some(model?.money(seconds)));
    let money = end.money_nanos.filter(|money| *money >= 0);
    Spending {
        examples: examples.min(reserved.examples),
        example_parameters: reserved.example_parameters * share,
        device_seconds: seconds.unwrap_or(reserved.device_seconds * share),
        money_nanos: money.or(priced).unwrap_or(by_share).max(0),
    }
}

/// Whether another attempt follows one that ended so.
fn may_go_on(state: &State, trial: &Trial, in_hand: &Attempt, end: &RunEnd, config: &DriverConfig) -> bool {
    let out = state
        .withdrawn
        .iter()
        .any(|(contender, ..)| *contender == trial.contender);
    if out || matches!(state.phase, Phase::Stopping(_) | Phase::Ended(_)) || trial.attempts.len() >= MAX_ATTEMPTS {
        return false;
    }
    // It had all that the budget pays for it.
    if end.outcome.is_deadline() && in_hand.paid_seconds(&state.spec).is_some() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{ready, size, spec};
    use crate::selection::{PlannedTrial, ScheduledAttempt, transition};
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
        match settle(state, &ended, &DriverConfig::of("me"), now) {
            Some(Event::AttemptEnded(end)) => *end,
            other => panic!("{other:?}"),
        }
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
