//! Trainers that report several sizes in one run: the same answer for the same examples, with fewer runs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use selector_svc::driver::DriverConfig;
use selector_svc::order::{ATTEMPT_LABEL, TRIAL_LABEL, TRIALS_LABEL};
use selector_svc::selection::{Attempt, Ending, Event, Outcome, Phase, SelectionSpec, Spending, State};
use trainer_kit::spec::Spec;

use crate::trainer::Behaviour;
use crate::world::{World, answer, check_books, runs, spec, spec_with, succeeded};

/// What comes of it in this world.
async fn ended(world: &mut World, asked: SelectionSpec) -> State {
    ended_with(world, asked, World::config(1)).await
}

async fn ended_with(world: &mut World, asked: SelectionSpec, config: DriverConfig) -> State {
    world.create("s", asked).await;
    let at_work = world.start_with(config);
    world.until_ended(&["s"], at_work).await.kill().await;
    for trainer in &world.trainers {
        assert_eq!(trainer.violations(), Vec::<String>::new());
    }
    check_books(&world.events("s").await)
}

/// All sizes up to 1,024 of everybody at once, with a budget that pays for some of it twice.
fn flat() -> SelectionSpec {
    spec_with(8, "rwl", 16_128 + 15_000)
}

fn attempts(state: &State) -> impl Iterator<Item = &Attempt> {
    state.trials.iter().flat_map(|trial| &trial.attempts)
}

/// Attempts that share their run with others.
fn shared(state: &State) -> Vec<&Attempt> {
    let alone = |attempt: &&Attempt| attempts(state).filter(|other| other.run_id == attempt.run_id).count() == 1;
    attempts(state).filter(|attempt| !alone(attempt)).collect()
}

#[tokio::test(start_paused = true)]
async fn it_comes_to_the_same_with_fewer_runs() {
    for policy in [
        "geometric",
        "halving",
        "halving_current",
        "ats_online",
        "rwl",
        "local_trend",
        "exhaustive",
    ] {
        for (trainers, slots) in [(1, 1), (2, 2)] {
            let asked = spec_with(8, policy, if policy == "exhaustive" { 8 * 4_096 } else { 5 * 4_096 });
            let apart = ended(&mut World::new(trainers, slots), asked.clone()).await;
            let together = ended(&mut World::nested(trainers, slots), asked).await;
            let where_ = format!("{policy}, {trainers} × {slots}");
            assert_eq!(answer(&together), answer(&apart), "{where_}");
            assert_eq!(together.phase, apart.phase, "{where_}");
            assert_eq!(together.trials.len(), apart.trials.len(), "{where_}");
            // A pass over the largest subset is charged as all of its sizes: the plan counts so.
            assert_eq!(together.spent.examples, apart.spent.examples, "{where_}");
            let (fewer, more) = (runs(&together).len(), runs(&apart).len());
            eprintln!(
                "{where_}: {fewer} runs instead of {more}, in {} rounds",
                apart.rounds.len()
            );
            // It asks for one size only.
            assert_eq!(
                fewer < more,
                policy != "exhaustive",
                "{where_}: {fewer} runs instead of {more}"
            );
            assert!(
                together.spent.device_seconds <= apart.spent.device_seconds + 1e-9,
                "{where_}"
            );
            assert_eq!(
                together.spent.device_seconds < apart.spent.device_seconds,
                fewer < more,
                "{where_}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_says_what_it_is_for_and_has_the_time_of_all_its_sizes() {
    let mut world = World::nested(1, 1);
    let seen = Arc::new(Mutex::new(Vec::<(String, Spec)>::new()));
    let notes = Arc::clone(&seen);
    world.trainers[0].behave(move |run_id, spec| {
        if !run_id.is_empty() {
            notes.lock().expect("no panics").push((run_id.to_owned(), spec.clone()));
        }
        Behaviour::Succeed
    });
    let mut asked = flat();
    asked.max_run_millis = Some(60_000);
    ended(&mut world, asked).await;
    let seen = seen.lock().expect("no panics");
    let (run_id, spec) = &seen[0];
    assert_eq!(run_id, "s.n0.0-1024.1", "it has its name of the largest");
    assert_eq!(spec.data_sizes, [32, 64, 128, 256, 512, 1_024]);
    assert_eq!(spec.max_duration, Some(Duration::from_mins(6)));
    let label = |key: &str| spec.labels.get(key).map(String::as_str);
    assert_eq!((label(TRIAL_LABEL), label(ATTEMPT_LABEL)), (Some("0-1024"), Some("1")));
    assert_eq!(label(TRIALS_LABEL), Some("0-1024,0-512,0-256,0-128,0-64,0-32"));
    assert_eq!(seen.len(), 8, "one for each contender");
}

#[tokio::test(start_paused = true)]
async fn no_slot_is_left_empty_for_it() {
    // Four contenders do not fill eight slots with a run each; as many as two slots they do.
    for (parallelism, several) in [(None, false), (Some(8), false), (Some(2), true)] {
        let mut asked = spec_with(4, "rwl", 4 * 2_016);
        asked.parallelism = parallelism;
        let state = ended(&mut World::nested(1, 8), asked).await;
        assert!(succeeded(&state), "{:?}", state.phase);
        assert_eq!(!shared(&state).is_empty(), several, "{parallelism:?}");
        assert_eq!(runs(&state).len() < state.trials.len(), several, "{parallelism:?}");
    }
    // The last ones are not made to wait for each other: what nobody else waits for is spread.
    let state = ended(&mut World::nested(1, 4), spec_with(5, "rwl", 5 * 2_016)).await;
    assert_eq!(shared(&state).len(), 4 * 6);
    assert_eq!(runs(&state).len(), 4 + 6);
}

#[tokio::test(start_paused = true)]
async fn its_progress_is_that_of_all_its_trials() {
    let mut world = World::nested(1, 1);
    world.create("s", flat()).await;
    let at_work = world.start();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let live = at_work.driver.live("s").expect("it is driven");
    let seen = live.borrow().progress.clone();
    assert_eq!(seen.len(), 6);
    assert!(seen.values().all(|progress| progress.step == 1));
    let state = world.state("s").await;
    assert!(seen.keys().all(|trial| state.trials[*trial].contender == 0));
    assert_eq!(state.runs_in_hand().len(), 1);
    drop(live);
    let at_work = world.until_ended(&["s"], at_work).await;
    at_work.kill().await;
    check_books(&world.events("s").await);
}

#[tokio::test(start_paused = true)]
async fn a_trainer_that_keeps_some_losses_to_itself_is_asked_for_one_at_a_time() {
    let wanted = ended(&mut World::new(1, 1), flat()).await;
    let mut world = World::nested(1, 1);
    world.trainers[0].behave(|_, spec| {
        if spec.data_sizes.len() > 1 && spec.candidate_id == "model-3" {
            Behaviour::Partly
        } else {
            Behaviour::Succeed
        }
    });
    let state = ended(&mut world, flat()).await;
    assert_eq!(answer(&state), answer(&wanted));
    assert!(state.withdrawn.is_empty(), "{:?}", state.withdrawn);
    let own: Vec<_> = state.trials.iter().filter(|trial| trial.contender == 3).collect();
    for trial in &own {
        let [first, second] = trial.attempts.as_slice() else {
            panic!("two attempts: {:?}", trial.attempts);
        };
        let end = first.end.as_ref().expect("it has ended");
        assert_eq!(end.outcome, Outcome::Refused);
        assert!(
            end.detail
                .starts_with("one run for 6 sizes: the trainer breaks its contract")
                && end.detail.contains("32 examples"),
            "{}",
            end.detail
        );
        assert!(
            second
                .end
                .as_ref()
                .is_some_and(|end| matches!(end.outcome, Outcome::Observed { .. }))
        );
    }
    let ids = |attempt: usize| {
        own.iter()
            .map(|trial| &trial.attempts[attempt].run_id)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!((ids(0).len(), ids(1).len()), (1, 6));
    // Everybody else goes on as before.
    assert_eq!(runs(&state).len(), 8 + 6);
}

#[tokio::test(start_paused = true)]
async fn what_it_has_measured_is_measured_however_it_ends() {
    let wanted = ended(&mut World::new(1, 1), flat()).await;
    let failed = Outcome::Failed {
        failure: "INTERNAL".to_owned(),
    };
    for outcome in [failed, Outcome::Lost, Outcome::Preempted] {
        let mut world = World::nested(1, 1);
        let told = outcome.clone();
        world.trainers[0].behave(move |run_id, spec| {
            if spec.data_sizes.len() > 1 && spec.candidate_id == "model-3" && run_id.ends_with(".1") {
                Behaviour::EndAfter(5, told.clone())
            } else {
                Behaviour::Succeed
            }
        });
        let state = ended(&mut world, flat()).await;
        assert_eq!(answer(&state), answer(&wanted), "{outcome:?}");
        assert!(state.withdrawn.is_empty(), "{:?}", state.withdrawn);
        // Only the last size is tried again.
        assert_eq!(runs(&state).len(), 8 + 1, "{outcome:?}");
        let own = state.trials.iter().filter(|trial| trial.contender == 3);
        for trial in own {
            let measured = trial.data_size.examples() < 1_024;
            assert_eq!(trial.attempts.len(), if measured { 1 } else { 2 }, "{outcome:?}");
            let end = trial.attempts[0].end.as_ref().expect("it has ended");
            assert_eq!(matches!(end.outcome, Outcome::Observed { .. }), measured, "{outcome:?}");
            assert_eq!(end.detail, "one run for 6 sizes: as told");
            let (paid, whole) = (end.spent.examples, trial.data_size.examples());
            // Of half of 2,016 examples, 992 are those of the five. Nobody knows what one did that is lost.
            let last = if outcome == Outcome::Lost { whole } else { 1_008 - 992 };
            assert_eq!(paid, if measured { whole } else { last }, "{outcome:?}");
        }
        assert_eq!(state.spent.examples, wanted.spent.examples + state.wasted.examples);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trainer_that_refuses_several_sizes_is_asked_for_one_at_a_time() {
    let wanted = ended(&mut World::new(1, 1), flat()).await;
    let mut world = World::nested(1, 1);
    world.trainers[0].behave(|_, spec| {
        if spec.data_sizes.len() > 1 {
            Behaviour::Refuse
        } else {
            Behaviour::Succeed
        }
    });
    let state = ended(&mut world, flat()).await;
    assert_eq!(answer(&state), answer(&wanted));
    assert_eq!(state.wasted, Spending::ZERO, "what was refused costs nothing");
    assert_eq!(state.spent.examples, wanted.spent.examples);
    assert_eq!(runs(&state).len(), 8 + state.trials.len());
}

#[tokio::test(start_paused = true)]
async fn preempted_it_is_made_again_for_all_of_its_sizes() {
    let wanted = ended(&mut World::new(1, 1), flat()).await;
    let mut world = World::nested(1, 1);
    world.trainers[0].behave(|run_id, spec| {
        if spec.data_sizes.len() > 1 && run_id.ends_with(".1") {
            Behaviour::End(Outcome::Preempted, true)
        } else {
            Behaviour::Succeed
        }
    });
    // Eight runs are made again, not eight times six attempts.
    let config = DriverConfig {
        retries: 8,
        retries_per_trial: 0.0,
        ..World::config(1)
    };
    let mut asked = flat();
    asked.budget.examples = Some(2 * 16_128);
    let state = ended_with(&mut world, asked, config).await;
    assert_eq!(answer(&state).1, answer(&wanted).1);
    assert!(state.withdrawn.is_empty(), "{:?}", state.withdrawn);
    assert_eq!(runs(&state).len(), 16);
    assert!(state.trials.iter().all(|trial| trial.attempts.len() == 2));
    for attempt in attempts(&state) {
        let end = attempt.end.as_ref().expect("it has ended");
        if end.outcome == Outcome::Preempted {
            assert_eq!(
                end.spent.examples,
                attempt.reserved.examples.div_ceil(2),
                "half of it was done"
            );
            assert_eq!(end.detail, "one run for 6 sizes: as told");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn cancelled_it_is_ended_once_and_paid_by_its_share() {
    let mut world = World::nested(1, 2);
    world.create("s", flat()).await;
    let at_work = world.start();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let in_hand = world.state("s").await;
    assert_eq!(in_hand.runs_in_hand().len(), 2);
    let ending = Ending::Cancelled { detail: String::new() };
    world.command("s", Event::Stopping { ending: ending.clone() }).await;
    at_work.driver.nudge("s");
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert_eq!(state.phase, Phase::Ended(ending));
    let cancelled = |attempt: &&Attempt| {
        let end = attempt.end.as_ref();
        end.is_some_and(|end| end.outcome == Outcome::Cancelled)
    };
    assert_eq!(attempts(&state).filter(cancelled).count(), 12);
    assert_eq!(world.trainers[0].cancelled(), 2);
    assert_eq!(state.spent.examples, 2 * 2_016 / 2);
}

#[tokio::test(start_paused = true)]
async fn a_hung_one_is_given_up_as_a_whole() {
    let mut world = World::nested(1, 2);
    world.trainers[0].behave(|_, _| Behaviour::Hang);
    world.create("s", flat()).await;
    let at_work = world.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ending = Ending::Cancelled { detail: String::new() };
    world.command("s", Event::Stopping { ending }).await;
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert_eq!(shared(&state).len(), 12);
    assert_eq!(state.spent.examples, 2 * 2_016, "what may have been used is paid");
}

#[tokio::test(start_paused = true)]
async fn where_the_budget_does_not_pay_for_all_the_plan_has_its_order() {
    let mut world = World::nested(1, 1);
    world.trainers[0].behave(|_, spec| {
        if spec.data_sizes.len() > 1 && spec.candidate_id == "model-0" {
            Behaviour::End(
                Outcome::Failed {
                    failure: "INTERNAL".to_owned(),
                },
                true,
            )
        } else {
            Behaviour::Succeed
        }
    });
    // To the last example: what the first run has wasted is missing.
    let state = ended(&mut world, spec_with(8, "rwl", 16_128)).await;
    let several = world.trainers[0]
        .sizes()
        .into_values()
        .filter(|sizes| *sizes > 1)
        .count();
    assert_eq!(several, 1);
    assert_eq!(state.wasted.examples, 2_016 / 2);
    let large = |trial: &&selector_svc::selection::Trial| trial.data_size.examples() == 1_024;
    let measured = state
        .trials
        .iter()
        .filter(large)
        .filter_map(|trial| trial.observation());
    assert_eq!(measured.count(), 8, "the largest come first");
    assert!(
        !state.withdrawn.is_empty(),
        "somebody's smallest size could not be paid"
    );
}

#[tokio::test(start_paused = true)]
async fn each_of_its_losses_is_known_to_later_selections() {
    let mut world = World::nested(2, 2);
    let mut asked = spec(8);
    asked.reuse = true;
    let first = ended(&mut world, asked.clone()).await;
    assert!(!shared(&first).is_empty());
    world.create("t", asked).await;
    let at_work = world.start();
    world.until_ended(&["t"], at_work).await.kill().await;
    let second = check_books(&world.events("t").await);
    assert_eq!(answer(&first), answer(&second));
    assert_eq!(
        (second.spent, second.saved.examples),
        (Spending::ZERO, first.spent.examples)
    );
}
