use proptest::prelude::*;
use trainer_kit::spec::{Hyperparameters, Method};

use super::*;
use crate::constraint::Constraints;
use crate::curve::{DataSize, Loss, Observation};
use crate::selection::{BudgetSpec, CandidateSpec, ContenderFacts, CostModel, Failure, MethodSpec, WorkMode, trial_id};
use crate::simulate::SelectionPolicy;
use crate::table::Attributes;

fn size(examples: u64) -> DataSize {
    DataSize::new(examples).unwrap()
}

fn spec(candidates: usize) -> SelectionSpec {
    let candidate = |index: usize| CandidateSpec {
        id: format!("m{index}"),
        attributes: Attributes::default(),
        model: None,
    };
    SelectionSpec {
        candidates: (0..candidates).map(candidate).collect(),
        methods: vec![MethodSpec {
            id: "full".to_owned(),
            method: Method::Full,
            hyperparameters: Hyperparameters::default(),
        }],
        data: None,
        held_out: None,
        data_size_full: Some(size(800)),
        data_size_min: None,
        budget: BudgetSpec {
            examples: Some(10_000),
            wall_millis: Some(5_000),
            ..BudgetSpec::default()
        },
        policy: SelectionPolicy::Exhaustive,
        constraints: Constraints::default(),
        trainers: Vec::new(),
        parallelism: None,
        max_attempts: 3,
        seed: 1,
        subset_seed: 2,
        interval_level: 0.9,
        work_mode: WorkMode::Driven,
        reuse: true,
        warm_start: false,
        max_run_millis: None,
        device: String::new(),
        labels: std::collections::BTreeMap::new(),
        display_name: String::new(),
    }
}

fn prepared(candidates: usize) -> Prepared {
    let facts = ContenderFacts {
        parameters: Some(10),
        costs: [(
            "t".to_owned(),
            CostModel {
                seconds_per_example: 0.5,
                ..CostModel::default()
            },
        )]
        .into(),
        ..ContenderFacts::default()
    };
    Prepared {
        data_size_full: size(800),
        data_sizes: vec![size(400), size(800)],
        data_digest: String::new(),
        contenders: vec![facts; candidates],
        trainers: Vec::new(),
        limits: Limits {
            examples: Some(10_000),
            ..Limits::default()
        },
        plan_examples: 10_000,
        planned: Spending::ZERO,
        exhaustive: Spending::ZERO,
        wall_seconds: None,
        expected_relative_regret: None,
        history: Vec::new(),
        warnings: Vec::new(),
    }
}

fn created_event(candidates: usize) -> Event {
    Event::Created {
        spec: Box::new(spec(candidates)),
        nonce: "n".to_owned(),
    }
}

/// A selection that runs, with one round of all candidates at 400.
fn running(candidates: usize) -> State {
    let planned = (0..candidates).map(|contender| PlannedTrial {
        contender,
        data_size: size(400),
        reused: None,
    });
    play(
        None,
        [
            created_event(candidates),
            Event::Prepared {
                prepared: Box::new(prepared(candidates)),
            },
            Event::RoundOpened {
                trials: planned.collect(),
            },
        ],
    )
}

fn play(state: Option<State>, events: impl IntoIterator<Item = Event>) -> State {
    let mut state = state;
    for event in events {
        state = Some(transition(state, event, 1_000).unwrap().0);
    }
    state.unwrap()
}

fn scheduled(trial: usize, attempt: u32) -> Event {
    Event::Scheduled {
        attempts: vec![ScheduledAttempt {
            trial,
            attempt,
            trainer: "t".to_owned(),
            run_id: format!("s.n.{}.{attempt}", trial_id(trial, size(400))),
            reserved: CostModel {
                seconds_per_example: 0.5,
                ..CostModel::default()
            }
            .of(size(400), Some(10)),
            max_seconds: None,
            lease_until: None,
        }],
    }
}

fn ended(trial: usize, attempt: u32, outcome: Outcome, retry_at: Option<Millis>) -> Event {
    Event::AttemptEnded(Box::new(AttemptEnd {
        trial,
        attempt,
        outcome,
        spent: Spending {
            examples: 400,
            device_seconds: 150.0,
            ..Spending::ZERO
        },
        detail: "it fell over".to_owned(),
        retry_at,
    }))
}

fn observed(trial: usize, attempt: u32) -> Event {
    let observation = Observation::new(size(400), Loss::new(2.5).unwrap());
    let outcome = Outcome::Observed {
        observation,
        model_digest: String::new(),
        data_digest: String::new(),
    };
    ended(trial, attempt, outcome, None)
}

fn decision() -> Event {
    Event::Judged {
        decision: Box::new(DecisionRecord {
            rule: "exhaustive".to_owned(),
            data_size: size(400),
            trained: vec![size(400)],
            contenders: Vec::new(),
            log_threshold: None,
            saved_examples: 0,
            expected_regret: None,
            next: Vec::new(),
            explanation: String::new(),
        }),
    }
}

#[test]
fn a_life_from_creation_to_the_end() {
    let state = play(None, [created_event(2)]);
    assert_eq!(due(&state, 0), [Action::Prepare]);
    assert_eq!(state.limits.deadline, Some(6_000), "the deadline counts from creation");
    let state = running(2);
    assert_eq!(state.limits.deadline, Some(6_000));
    assert_eq!(due(&state, 0), [Action::Schedule { trials: vec![0, 1] }]);
    let state = play(Some(state), [scheduled(0, 1)]);
    assert_eq!(
        due(&state, 0),
        [
            Action::Attend { trial: 0, attempt: 1 },
            Action::Schedule { trials: vec![1] }
        ]
    );
    assert_eq!((state.reserved.examples, state.reserved.device_seconds), (400, 200.0));
    let state = play(Some(state), [scheduled(1, 1), observed(1, 1), observed(0, 1)]);
    assert_eq!(
        (state.reserved.examples, state.spent.examples, state.wasted.examples),
        (0, 800, 0)
    );
    assert!((state.spent.device_seconds - 300.0).abs() < 1e-9 && state.reserved.device_seconds.abs() < 1e-9);
    assert_eq!(due(&state, 0), [Action::Judge]);
    let state = play(
        Some(state),
        [
            decision(),
            Event::Ended {
                ending: Ending::Succeeded,
            },
        ],
    );
    assert!(state.has_ended() && due(&state, 0).is_empty() && state.ended == Some(1_000));
    assert_eq!(state.rounds[0].spent.examples, 800);
}

#[test]
fn an_attempt_that_fails_is_paid_and_tried_again_later() {
    let state = play(
        Some(running(1)),
        [scheduled(0, 1), ended(0, 1, Outcome::Lost, Some(7_000))],
    );
    assert_eq!(
        (state.spent.examples, state.wasted.examples, state.reserved.examples),
        (400, 400, 0)
    );
    assert_eq!(due(&state, 6_999), [Action::WaitUntil { at: 7_000 }]);
    assert_eq!(due(&state, 7_000), [Action::Schedule { trials: vec![0] }]);
    let state = play(Some(state), [scheduled(0, 2), observed(0, 2)]);
    assert_eq!((state.spent.examples, state.wasted.examples), (800, 400));
    assert_eq!(state.trials[0].attempts.len(), 2);
}

#[test]
fn a_contender_without_attempts_left_is_out_and_nothing_more_of_it_begins() {
    let both_sizes = [400, 800].map(|examples| PlannedTrial {
        contender: 0,
        data_size: size(examples),
        reused: None,
    });
    let opened = play(
        None,
        [
            created_event(1),
            Event::Prepared {
                prepared: Box::new(prepared(1)),
            },
            Event::RoundOpened {
                trials: both_sizes.into(),
            },
            scheduled(0, 1),
            ended(0, 1, Outcome::Refused, None),
        ],
    );
    assert!(matches!(opened.trials[0].status, TrialStatus::GivenUp(_)));
    assert_eq!(opened.trials[1].status, TrialStatus::Cancelled);
    let (contender, round, exclusion) = &opened.withdrawn[0];
    assert_eq!(
        (*contender, *round, exclusion.reason),
        (0, 0, ExclusionReason::RunsFailed)
    );
    assert!(exclusion.detail.contains("it fell over"), "{}", exclusion.detail);
    assert_eq!(due(&opened, 0), [Action::Judge]);
}

#[test]
fn a_pause_lets_runs_end_and_begins_none() {
    let state = play(Some(running(2)), [scheduled(0, 1), Event::Paused]);
    assert_eq!(due(&state, 0), [Action::Attend { trial: 0, attempt: 1 }]);
    let state = play(Some(state), [Event::Resumed]);
    assert_eq!(due(&state, 0).len(), 2);
}

#[test]
fn stopping_cancels_what_runs_and_ends_when_all_has() {
    let ending = Ending::Cancelled { detail: String::new() };
    let state = play(
        Some(running(2)),
        [scheduled(0, 1), Event::Stopping { ending: ending.clone() }],
    );
    assert_eq!(state.trials[1].status, TrialStatus::Cancelled);
    assert_eq!(due(&state, 0), [Action::Cancel { trial: 0, attempt: 1 }]);
    // A loss that comes in at the last moment still counts; a failure is not tried again.
    let late = play(Some(state.clone()), [observed(0, 1)]);
    assert!(late.trials[0].observation().is_some());
    let state = play(Some(state), [ended(0, 1, Outcome::Cancelled, Some(9_000))]);
    assert_eq!(state.trials[0].status, TrialStatus::Cancelled);
    assert_eq!(due(&state, 0), [Action::Finish { ending }]);
}

#[test]
fn a_reused_loss_is_no_run_and_its_price_is_saved() {
    let reused = PlannedTrial {
        contender: 0,
        data_size: size(400),
        reused: Some((
            Observation::new(size(400), Loss::new(2.0).unwrap()),
            "earlier".to_owned(),
        )),
    };
    let prepared = Box::new(prepared(1));
    let opened = Event::RoundOpened { trials: vec![reused] };
    let state = play(None, [created_event(1), Event::Prepared { prepared }, opened]);
    assert_eq!((state.saved.examples, state.spent.examples), (400, 0));
    assert!((state.saved.device_seconds - 200.0).abs() < 1e-9);
    assert_eq!(due(&state, 0), [Action::Judge]);
}

#[test]
fn events_that_cannot_follow_are_told() {
    let error = |state: Option<State>, event: Event| transition(state, event, 0).unwrap_err().to_string();
    assert!(error(None, Event::Paused).contains("begins with exactly one creation"));
    assert!(error(Some(running(1)), created_event(1)).contains("begins with exactly one creation"));
    assert!(error(Some(running(1)), scheduled(0, 2)).contains("does not wait for attempt 2"));
    assert!(error(Some(running(1)), scheduled(7, 1)).contains("trial 7"));
    assert!(error(Some(running(1)), observed(0, 1)).contains("attempt 1 of trial 0 is not in hand"));
    assert!(error(Some(running(1)), decision()).contains("without a complete round"));
    let again = Event::RoundOpened { trials: Vec::new() };
    assert!(error(Some(running(1)), again).contains("before the last one was judged"));
    let over = play(
        Some(running(1)),
        [Event::Ended {
            ending: Ending::Failed {
                failure: Failure::Internal,
                detail: String::new(),
            },
        }],
    );
    assert!(error(Some(over), Event::Paused).contains("while the selection is over"));
    let twice = play(Some(running(1)), [scheduled(0, 1), observed(0, 1)]);
    assert!(
        error(Some(twice), observed(0, 1)).contains("not in hand"),
        "no run is charged twice"
    );
}

proptest! {
    /// Whatever is thrown at it: no panic, and the books always balance.
    #[test]
    fn the_books_balance(choices in proptest::collection::vec((0..9_u8, 0..4_usize, 1..4_u32), 0..60)) {
        let mut state = running(3);
        for (kind, trial, attempt) in choices {
            let event = match kind {
                0 | 1 => scheduled(trial, attempt),
                2 => observed(trial, attempt),
                3 => ended(trial, attempt, Outcome::Lost, Some(0)),
                4 => ended(trial, attempt, Outcome::Refused, None),
                5 => Event::Paused,
                6 => Event::Resumed,
                7 => decision(),
                _ => Event::Stopping { ending: Ending::Succeeded },
            };
            if let Ok((next, actions)) = transition(Some(state.clone()), event, 0) {
                prop_assert_eq!(actions, due(&next, 0));
                state = next;
            }
            let attempts: Vec<&Attempt> = state.trials.iter().flat_map(|trial| &trial.attempts).collect();
            let reserved: u64 = attempts.iter().filter(|a| a.end.is_none()).map(|a| a.reserved.examples).sum();
            let spent: u64 = attempts.iter().filter_map(|a| a.end.as_ref()).map(|end| end.spent.examples).sum();
            prop_assert_eq!((state.reserved.examples, state.spent.examples), (reserved, spent));
            prop_assert!(state.reserved.device_seconds >= 0.0);
        }
    }
}
