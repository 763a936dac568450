//! Limits in device-seconds and money are not passed, however long the runs take.

use std::time::Duration;

use proptest::prelude::*;
use selector_svc::diagnostics::WarningCode;
use selector_svc::policy::ExclusionReason;
use selector_svc::report::Report;
use selector_svc::selection::{
    BudgetSpec, CostModel, Ending, Event, Failure, Limits, Phase, SelectionSpec, State, TrialStatus,
};

use crate::trainer::Behaviour;
use crate::world::{AtWork, World, answer, check_books, spec_with, succeeded};

/// A deterministic number in 0 to 1, by the name of the run.
fn dice(run_id: &str, seed: u64) -> f64 {
    let hash = run_id.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ seed, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

fn limited(policy: &str, contenders: usize, budget: BudgetSpec) -> SelectionSpec {
    SelectionSpec {
        budget,
        ..spec_with(contenders, policy, 1)
    }
}

fn seconds(limit: f64) -> BudgetSpec {
    BudgetSpec {
        examples: Some(1_000_000),
        device_seconds: Some(limit),
        ..BudgetSpec::default()
    }
}

async fn run(world: &mut World, asked: SelectionSpec) -> State {
    world.create("s", asked).await;
    let at_work = world.start();
    ended(world, at_work).await
}

async fn ended(world: &mut World, at_work: AtWork) -> State {
    world.until_ended(&["s"], at_work).await.kill().await;
    // Looks at the limits after every event.
    let state = check_books(&world.events("s").await);
    for trainer in &world.trainers {
        assert_eq!(trainer.violations(), Vec::<String>::new());
    }
    state
}

/// What the trainers really used, beside what was written down.
fn used(world: &World) -> (f64, i64) {
    let all = world.trainers.iter().map(|trainer| trainer.used());
    all.fold((0.0, 0), |sum, used| (sum.0 + used.0, sum.1 + used.1))
}

fn outs_by_budget(state: &State) -> usize {
    let by_budget = state.withdrawn.iter();
    by_budget
        .filter(|(.., exclusion)| exclusion.reason == ExclusionReason::Budget)
        .count()
}

#[derive(Debug, Clone)]
struct Case {
    policy: &'static str,
    contenders: usize,
    /// Share of what everything would take by the estimates.
    share: f64,
    /// By money instead of time: billionths of a second, of a run.
    price: Option<(i64, i64)>,
    both: bool,
    stretch: f64,
    slots: u32,
    seed: u64,
    /// Milliseconds after which the driver dies once.
    dies: u64,
    /// Several sizes go into one run.
    nested: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    (
        prop::sample::select(vec!["geometric", "halving", "ats", "rwl"]),
        2_usize..7,
        0.1..1.2_f64,
        prop::option::of((1_i64..3_000_000_000, 0_i64..2_000_000_000)),
        any::<bool>(),
        1.0..5.0_f64,
        1_u32..4,
        any::<u64>(),
        (10_u64..60_000, any::<bool>()),
    )
        .prop_map(
            |(policy, contenders, share, price, both, stretch, slots, seed, (dies, nested))| Case {
                policy,
                contenders,
                share,
                price,
                both,
                stretch,
                slots,
                seed,
                dies,
                nested,
            },
        )
}

async fn check(case: Case) -> (bool, bool) {
    let mut world = if case.nested {
        World::nested(2, case.slots)
    } else {
        World::new(2, case.slots)
    };
    for trainer in &world.trainers {
        let (most, seed) = (case.stretch, case.seed);
        // Most take longer than they should, some less.
        trainer.charge(case.price, move |run_id| 0.5 + dice(run_id, seed) * (most - 0.5));
    }
    let time = 0.01 * 4_096.0 * case.contenders as f64 * case.share;
    let budget = BudgetSpec {
        device_seconds: (case.both || case.price.is_none()).then_some(time),
        money: case.price.map(|(second, run)| {
            let price = CostModel {
                nanos_per_second: second,
                nanos_per_run: run * i64::try_from(case.contenders).unwrap() * 4,
                ..CostModel::default()
            };
            (price.money(time) + 1, "EUR".to_owned())
        }),
        ..seconds(time)
    };
    world
        .create("s", limited(case.policy, case.contenders, budget.clone()))
        .await;
    let at_work = world.start();
    tokio::time::sleep(Duration::from_millis(case.dies)).await;
    at_work.kill().await;
    let at_work = world.start();
    let state = ended(&mut world, at_work).await;
    let (spent, money) = used(&world);
    assert!(
        budget.device_seconds.is_none_or(|limit| spent <= limit * (1.0 + 1e-9)),
        "{spent} s of {budget:?}"
    );
    assert!(
        budget.money.as_ref().is_none_or(|(limit, _)| money <= *limit),
        "{money} of {budget:?}"
    );
    assert!(
        (state.spent.device_seconds - spent).abs() < 1e-6,
        "the truth is charged"
    );
    let first = state.trials.iter().filter(|trial| trial.round == 0);
    let paid = first.clone().count() > 0 && first.clone().all(|trial| trial.observation().is_some());
    match &state.phase {
        Phase::Ended(Ending::Succeeded) => assert_eq!(outs_by_budget(&state), 0),
        Phase::Ended(Ending::BudgetExhausted { detail }) => {
            assert!(outs_by_budget(&state) > 0 && !detail.is_empty());
            assert!(state.choice().is_some());
        }
        Phase::Ended(Ending::Failed { failure, .. }) => {
            assert_eq!(*failure, Failure::BudgetTooSmall);
            assert!(!paid, "the first round was paid: there is a best so far");
        }
        other => panic!("{other:?}"),
    }
    let ended_by_budget = state.trials.iter().flat_map(|trial| &trial.attempts);
    let ended_by_budget = ended_by_budget
        .filter_map(|attempt| attempt.end.as_ref())
        .any(|end| end.outcome.is_deadline());
    (ended_by_budget, state.choice().is_some())
}

fn paused_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

#[test]
fn no_limit_in_time_or_money_is_passed_by_slow_runs() {
    let (mut ended, mut chosen) = (0, 0);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let counts = std::cell::RefCell::new((&mut ended, &mut chosen));
    runner
        .run(&cases(), |case| {
            let (by_budget, choice) = paused_runtime().block_on(check(case));
            let mut counts = counts.borrow_mut();
            *counts.0 += u32::from(by_budget);
            *counts.1 += u32::from(choice);
            Ok(())
        })
        .unwrap();
    assert!(ended > 5 && chosen > 5, "{ended} met the budget, {chosen} had a choice");
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_fills_its_limit_to_the_last_second_runs_as_without_it() {
    let free = spec_with(5, "rwl", 5 * 8_160);
    let wanted = run(&mut World::new(2, 2), free.clone()).await;
    assert!(
        succeeded(&wanted)
            && wanted
                .trials
                .iter()
                .flat_map(|trial| &trial.attempts)
                .all(|a| a.max_seconds.is_none())
    );
    let tight = SelectionSpec {
        budget: BudgetSpec {
            device_seconds: Some(wanted.spent.device_seconds),
            ..free.budget.clone()
        },
        ..free
    };
    let state = run(&mut World::new(2, 2), tight).await;
    assert_eq!((answer(&state), &state.phase), (answer(&wanted), &wanted.phase));
    assert!((state.spent.device_seconds - wanted.spent.device_seconds).abs() < 1e-6);
    let capped = state.trials.iter().flat_map(|trial| &trial.attempts);
    assert!(capped.clone().all(|attempt| attempt.max_seconds.is_some()));
}

#[tokio::test(start_paused = true)]
async fn an_estimate_that_was_too_low_costs_nobody_its_place_while_there_is_something_left() {
    let mut world = World::new(2, 2);
    for trainer in &world.trainers {
        trainer.charge(None, |_| 1.9);
    }
    // The plan takes a third of it.
    let budget = BudgetSpec {
        examples: Some(3 * 4_096),
        ..seconds(400.0)
    };
    let state = run(&mut world, limited("geometric", 6, budget)).await;
    assert!(succeeded(&state), "{:?}", state.phase);
    let first = state.trials.iter().filter(|trial| trial.round == 0);
    assert!(first.clone().count() >= 6 && first.clone().all(|trial| trial.observation().is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_the_budget_ends_is_not_made_again_and_the_others_go_on() {
    let mut world = World::new(2, 2);
    for trainer in &world.trainers {
        trainer.charge(Some((2_000_000_000, 0)), |run_id| {
            if run_id.contains(".1-") { 500.0 } else { 1.0 }
        });
    }
    let state = run(&mut world, limited("geometric", 6, seconds(400.0))).await;
    assert!(
        matches!(state.phase, Phase::Ended(Ending::BudgetExhausted { .. })),
        "{:?}",
        state.phase
    );
    let (out, _, exclusion) = &state.withdrawn[0];
    assert_eq!(
        (*out, exclusion.reason, state.withdrawn.len()),
        (1, ExclusionReason::Budget, 1)
    );
    assert!(exclusion.detail.contains("of device time"), "{}", exclusion.detail);
    let slow = state.trials.iter().filter(|trial| trial.contender == 1);
    let ended = slow.filter(|trial| {
        trial
            .attempts
            .iter()
            .any(|a| a.end.as_ref().is_some_and(|end| end.outcome.is_deadline()))
    });
    for trial in ended {
        assert_eq!(trial.attempts.len(), 1);
        let attempt = &trial.attempts[0];
        let spent = attempt.end.as_ref().map(|end| end.spent).unwrap();
        assert!(spent.device_seconds <= attempt.reserved.device_seconds * (1.0 + 1e-9));
    }
    // The spec's own limit is another matter: that is tried once more.
    let mut world = World::new(2, 2);
    for trainer in &world.trainers {
        trainer.charge(None, |run_id| if run_id.contains(".1-") { 500.0 } else { 1.0 });
    }
    let mut asked = limited("geometric", 6, seconds(4_000.0));
    asked.max_run_millis = Some(1_000);
    let state = run(&mut world, asked).await;
    let (_, _, exclusion) = state.withdrawn.iter().find(|(out, ..)| *out == 1).unwrap();
    assert_eq!(exclusion.reason, ExclusionReason::RunsFailed);
}

#[tokio::test(start_paused = true)]
async fn sizes_that_were_measured_before_the_budget_ended_their_run_are_kept() {
    let mut world = World::nested(1, 1);
    world.trainers[0].charge(None, |run_id| if run_id.contains(".1-") { 20.0 } else { 1.0 });
    let state = run(&mut world, limited("rwl", 6, seconds(200.0))).await;
    let (out, _, exclusion) = &state.withdrawn[0];
    assert_eq!(
        (*out, exclusion.reason, state.withdrawn.len()),
        (1, ExclusionReason::Budget, 1)
    );
    let own: Vec<_> = state.trials.iter().filter(|trial| trial.contender == 1).collect();
    let measured = own.iter().filter(|trial| trial.observation().is_some()).count();
    assert!(0 < measured && measured < own.len(), "{measured} of {}", own.len());
    assert!(
        own.iter().all(|trial| trial.attempts.len() == 1),
        "nothing is made again"
    );
    let report = Report::of("s", &state, 0);
    assert!(report.excluded.is_empty(), "{:?}", report.excluded);
    let ranked = report.contenders.iter().find(|entry| entry.named.contender == 1);
    let warnings = &ranked.expect("it is ranked by the losses that it has").warnings;
    assert!(warnings.iter().any(|warning| warning.code == WarningCode::UnpaidRun));
}

#[tokio::test(start_paused = true)]
async fn a_trainer_that_does_not_end_a_run_is_not_waited_for_a_minute() {
    let mut world = World::new(1, 2);
    world.trainers[0].behave(|run_id, _| {
        if run_id.contains(".1-") {
            Behaviour::Hang
        } else {
            Behaviour::Succeed
        }
    });
    let state = run(&mut world, limited("geometric", 5, seconds(300.0))).await;
    assert!(state.choice().is_some(), "{:?}", state.phase);
    let hung = state.trials.iter().find(|trial| trial.contender == 1).unwrap();
    let attempt = &hung.attempts[0];
    let end = attempt.end.as_ref().unwrap();
    assert_eq!(hung.attempts.len(), 1);
    assert!(end.outcome.is_deadline());
    assert_eq!(end.spent, attempt.reserved, "nobody says what it took");
    let paid = attempt.max_seconds.unwrap();
    // Its grace, and the time in which its trainer might still have told.
    let most = Duration::from_secs_f64(paid) + Duration::from_secs(10 + 60 + 1);
    assert!(Duration::from_millis(u64::try_from(end.at - attempt.started).unwrap()) < most);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_tells_times_what_is_left_is_shared() {
    let mut world = World::new(2, 2);
    for trainer in &world.trainers {
        trainer.estimate_no_times();
    }
    let asked = spec_with(6, "rwl", 6 * 8_160);
    world.create("s", asked.clone()).await;
    let at_work = world.start();
    tokio::time::sleep(Duration::from_millis(400)).await;
    world.command("s", Event::Paused).await;
    at_work.driver.nudge("s");
    tokio::time::sleep(Duration::from_mins(1)).await;
    let before = world.state("s").await;
    let limit = before.spent.device_seconds + 100.0;
    let limits = Limits {
        device_seconds: Some(limit),
        ..before.limits.clone()
    };
    let event = Event::BudgetAmended {
        budget: seconds(limit),
        limits,
        plan_examples: 6 * 8_160,
    };
    world.command("s", event).await;
    world.command("s", Event::Resumed).await;
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert!(used(&world).0 <= limit * (1.0 + 1e-9));
    let attempts = || state.trials.iter().flat_map(|trial| &trial.attempts);
    let shared: Vec<f64> = attempts().filter_map(|attempt| attempt.max_seconds).collect();
    // Two trainers with two slots each; every trial that waits is left a second.
    let (first, equal) = (
        shared[0],
        shared[..4].windows(2).all(|pair| (pair[0] - pair[1]).abs() < 1e-6),
    );
    assert!(equal && (10.0..25.0).contains(&first), "{shared:?}");
    assert!(
        state.spent.device_seconds > before.spent.device_seconds + 50.0,
        "it was used"
    );
    assert!(
        state
            .trials
            .iter()
            .any(|trial| matches!(trial.status, TrialStatus::GivenUp(_)))
    );
}
