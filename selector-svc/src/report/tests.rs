use proptest::prelude::*;

use super::*;
use crate::diagnostics::WarningCode;
use crate::fixture::{FULL, measure, observe, played, ready, size, spec};
use crate::policy::ExclusionReason;
use crate::selection::state::AttemptEnded;
use crate::selection::{Attempt, Ending, Event, Failure, JudgedRecord, Outcome, PlannedTrial, Verdict, transition};
use crate::simulate::SelectionPolicy;
use crate::what_if::{Measured, replay};

fn judged(contender: usize, verdict: Verdict, log_score: Option<f64>) -> JudgedRecord {
    JudgedRecord {
        contender,
        verdict,
        log_score,
        log_sd: log_score.map(|_| 0.05),
        data_size: size(400),
        reason: String::new(),
    }
}

fn decision(contenders: Vec<JudgedRecord>) -> DecisionRecord {
    DecisionRecord {
        rule: "geometric".to_owned(),
        data_size: size(400),
        trained: vec![size(400)],
        contenders,
        log_threshold: None,
        saved_examples: 0,
        expected_regret: None,
        next: Vec::new(),
        explanation: String::new(),
    }
}

/// Four contenders; 3 is withdrawn, 2 dropped after the first round, 1 after the second, 0 chosen.
fn told() -> State {
    let mut state = ready(spec(
        5,
        &["full"],
        SelectionPolicy::from_name("geometric").unwrap(),
        20_000,
    ));
    observe(
        &mut state,
        &[
            (0, 100, 3.0),
            (1, 100, 3.1),
            (2, 100, 3.3),
            (0, 400, 2.7),
            (1, 400, 2.8),
            (2, 400, 3.2),
        ],
    );
    let first = decision(vec![
        judged(1, Verdict::Kept, Some(0.5)),
        judged(0, Verdict::Kept, Some(0.6)),
        judged(2, Verdict::Dropped, Some(0.9)),
    ]);
    state.rounds[0].decision = Some((first, 2_000));
    observe(&mut state, &[(0, 1_600, 2.3), (1, 1_600, 2.5)]);
    let second = decision(vec![
        judged(0, Verdict::Chosen, Some(0.4)),
        judged(1, Verdict::Dropped, Some(0.52)),
    ]);
    state.rounds[1].decision = Some((second, 5_000));
    state.withdrawn.push((
        3,
        0,
        Exclusion::new(ExclusionReason::RunsFailed, "three attempts failed"),
    ));
    if let Some(prepared) = &mut state.prepared {
        prepared.contenders[4].exclusion = Some(Exclusion::new(ExclusionReason::Family, "ruled out"));
    }
    state.phase = Phase::Ended(Ending::Succeeded);
    state.ended = Some(61_000);
    state
}

#[test]
fn the_ranking_is_the_last_decision_then_the_eliminated_the_latest_first() {
    let report = Report::of("s", &told(), 0);
    let places: Vec<_> = report
        .contenders
        .iter()
        .map(|c| (c.named.contender, c.rank, c.dropped_after_round))
        .collect();
    assert_eq!(places, [(0, 1, None), (1, 2, Some(2)), (2, 3, Some(1))]);
    let out: Vec<_> = report
        .excluded
        .iter()
        .map(|c| (c.named.contender, c.exclusion.reason))
        .collect();
    assert_eq!(out, [(3, ExclusionReason::RunsFailed), (4, ExclusionReason::Family)]);
    let choice = report.choice.unwrap();
    assert_eq!(choice.named.candidate, "model-0");
    assert_eq!(
        (
            report.decisions.len(),
            report.decisions[1].round,
            report.decisions[1].at
        ),
        (2, 2, 5_000)
    );
    assert_eq!((report.elapsed, report.policy), (60_000, "geometric"));
}

#[test]
fn bills_and_accuracy_add_up() {
    let mut state = told();
    let attempt = |started, outcome, examples| Attempt {
        trainer: "local".to_owned(),
        run_id: String::new(),
        reserved: Spending::ZERO,
        max_seconds: None,
        lease_until: None,
        started,
        end: Some(AttemptEnded {
            outcome,
            spent: Spending {
                examples,
                device_seconds: examples as f64 / 10.0,
                ..Spending::ZERO
            },
            detail: String::new(),
            at: 0,
        }),
    };
    let observed = Outcome::Observed {
        observation: *state.trials[0].observation().unwrap(),
        model_digest: String::new(),
        data_digest: String::new(),
    };
    state.trials[0].attempts = vec![attempt(11_000, Outcome::Lost, 60), attempt(12_000, observed, 100)];
    state.trials[1].attempts = vec![attempt(13_000, Outcome::Cancelled, 5)];
    state.spent = Spending {
        examples: 10_000,
        device_seconds: 400.0,
        ..Spending::ZERO
    };
    let report = Report::of("s", &state, 0);
    let bills: Vec<u64> = report.contenders.iter().map(|c| c.spent.examples).collect();
    assert_eq!(bills, [160, 5, 0]);
    assert_eq!(report.failed_attempts, 1);
    let accuracy = report.accuracy.unwrap();
    assert_eq!((accuracy.examples, accuracy.device_seconds), (Some(0.5), Some(2.0)));
    assert_eq!(accuracy.wall_time, Some(0.5));
    assert!((report.spent_share - 10_000.0 / (5 * FULL) as f64).abs() < 1e-12);
}

#[test]
fn a_selection_that_has_not_ended_is_reported_so_far() {
    let mut state = told();
    (state.phase, state.ended) = (Phase::Running, None);
    let report = Report::of("s", &state, 3_000);
    assert_eq!((report.choice, report.accuracy, report.elapsed), (None, None, 2_000));
    assert_eq!(report.contenders.len(), 3);
    state.prepared = None;
    let report = Report::of("s", &state, 0);
    assert_eq!(
        (report.elapsed, report.spent_share, report.data_size_full),
        (0, 0.0, None)
    );
}

#[test]
fn a_failure_has_no_choice_but_its_reasons() {
    let mut state = told();
    state.phase = Phase::Ended(Ending::Failed {
        failure: Failure::AllRunsFailed,
        detail: String::new(),
    });
    assert_eq!(Report::of("s", &state, 0).choice, None);
}

#[test]
fn a_played_selection_explains_itself() {
    let policy = SelectionPolicy::from_name("geometric").unwrap();
    let state = played(spec(6, &["full"], policy, 20_000)).unwrap();
    let report = Report::of("s", &state, 0);
    let choice = report.choice.clone().unwrap();
    assert_eq!(choice.named.contender, state.choice().unwrap());
    let best = &report.contenders[0];
    assert_eq!(best.named, choice.named);
    let (predicted, interval) = (choice.predicted_loss.unwrap(), choice.interval.unwrap());
    assert!(interval.lower <= predicted && predicted <= interval.upper);
    assert!(
        report.contenders.iter().all(|entry| !entry.reason.is_empty()),
        "{report:#?}"
    );
    let shares: f64 = report.contenders.iter().filter_map(|entry| entry.win_share).sum();
    assert!((shares - 1.0).abs() < 1e-6);
    assert_eq!(report.contenders.len() + report.excluded.len(), 6);
    assert_eq!(
        report.spent,
        report
            .contenders
            .iter()
            .fold(Spending::ZERO, |sum, entry| sum.plus(entry.spent))
    );
}

#[test]
fn equal_contenders_are_too_close_to_call() {
    let equal = |state: &State, contender: usize, at| {
        let known = measure(state, contender, at)?;
        let observation = measure(state, 0, at)?.observation;
        Some(Measured { observation, ..known })
    };
    let policy = SelectionPolicy::from_name("geometric").unwrap();
    let (state, _) = replay(ready(spec(2, &["full"], policy, 2_000)), equal, |_| None).unwrap();
    let warnings = Report::of("s", &state, 0).warnings;
    let close = warnings
        .iter()
        .find(|warning| warning.code == WarningCode::TooCloseToCall)
        .unwrap();
    assert!(
        close
            .detail
            .starts_with("too close to call: model-0 and model-1 are expected"),
        "{}",
        close.detail
    );
}

#[test]
fn what_costs_more_than_the_limit_is_said() {
    let mut state = told();
    state.spent.examples = 30_000;
    let warnings = Report::of("s", &state, 0).warnings;
    let over = warnings
        .iter()
        .find(|warning| warning.code == WarningCode::BudgetExceeded)
        .unwrap();
    assert_eq!(
        over.detail,
        "more was spent than the budget in force allows (examples): 30,000 examples"
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    let trial = (
        0_usize..8,
        prop::sample::select(vec![0_u64, 100, 400, FULL, 5_000_000]),
        prop::option::of(1e-6..1e6_f64),
    );
    let trials = prop::collection::vec(trial, 0..5).prop_map(|trials| Event::RoundOpened {
        trials: trials
            .into_iter()
            .map(|(contender, examples, reused)| PlannedTrial {
                contender,
                data_size: size(examples),
                reused: reused.map(|nats| (crate::fixture::observation(examples, nats), "earlier".to_owned())),
            })
            .collect(),
    });
    let verdicts = vec![
        Verdict::Kept,
        Verdict::Dropped,
        Verdict::Chosen,
        Verdict::Stopped,
        Verdict::Excluded,
    ];
    let record = (
        0_usize..9,
        prop::sample::select(verdicts),
        prop::option::of(-900.0..900.0_f64),
    );
    let decided = prop::collection::vec(record, 0..6).prop_map(|records| Event::Judged {
        decision: Box::new(decision(
            records
                .into_iter()
                .map(|(c, verdict, score)| judged(c, verdict, score))
                .collect(),
        )),
    });
    let given_up = (0_usize..6).prop_map(|trial| Event::TrialGivenUp {
        trial,
        exclusion: Exclusion::new(ExclusionReason::Budget, "not paid"),
    });
    let ended = prop::bool::ANY.prop_map(|paid| Event::Ended {
        ending: if paid {
            Ending::Succeeded
        } else {
            Ending::BudgetExhausted { detail: String::new() }
        },
    });
    prop_oneof![4 => trials, 4 => decided, 2 => given_up, 1 => ended]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_state_breaks_a_report(
        events in prop::collection::vec(any_event(), 0..12),
        policy in prop::sample::select(vec!["geometric", "halving", "ats", "model_size"]),
        now in any::<i64>(),
    ) {
        let mut state = ready(spec(3, &["full", "lora"], SelectionPolicy::from_name(policy).unwrap(), 30_000));
        for event in events {
            if let Ok((next, _)) = transition(Some(state.clone()), event, 5_000) {
                state = next;
            }
        }
        let report = Report::of("s", &state, now);
        for (place, entry) in report.contenders.iter().enumerate() {
            prop_assert_eq!(entry.rank, place + 1);
            prop_assert!(entry.predicted_loss.is_none_or(f64::is_finite));
            prop_assert!(entry.named.contender < 6);
        }
        prop_assert_eq!(&Report::of("s", &state, now), &report);
    }
}
