//! Trainers that hang, fail, refuse and go away; stores that are full or gone; clocks that jump.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use selector_svc::policy::Prediction;
use selector_svc::policy::fitted::{FittedForecast, FittedForecasts};
use selector_svc::ports::{BoxFuture, FitRequest, Fitter, FitterError};
use selector_svc::selection::{Ending, Failure, Outcome, Phase, SelectionSpec, WaitReason};
use selector_svc::store::StoreError;
use selector_svc::store::memory::fault::{Effect, Fault, Moment, Operation};

use tokio::sync::Notify;

use crate::trainer::Behaviour;
use crate::world::{World, answer, check_books, spec, spec_with, succeeded};

/// Eight at every size, with a budget that pays for some of it twice: what fails does not change the plan.
fn everyone() -> SelectionSpec {
    spec_with(8, "rwl", 24 * 4_096)
}

async fn undisturbed(asked: SelectionSpec) -> (Vec<usize>, Option<usize>) {
    let mut world = World::new(2, 2);
    world.create("s", asked).await;
    let at_work = world.start();
    world.until_ended(&["s"], at_work).await.kill().await;
    answer(&check_books(&world.events("s").await))
}

/// A deterministic one in `of`, by the name of the run.
fn chance(run_id: &str, of: u64) -> bool {
    let hash = run_id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash >> 20).is_multiple_of(of)
}

#[tokio::test(start_paused = true)]
async fn failing_attempts_are_tried_again_and_paid_by_their_share() {
    let mut world = World::new(2, 2);
    for trainer in &world.trainers {
        trainer.behave(|run_id, _| {
            if chance(run_id, 6) {
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
    }
    world.create("s", everyone()).await;
    let at_work = world.start();
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert_eq!(answer(&state), undisturbed(everyone()).await);
    let ends = || {
        state
            .trials
            .iter()
            .flat_map(|trial| &trial.attempts)
            .filter_map(|attempt| Some((attempt.reserved, attempt.end.as_ref()?)))
    };
    let failed: Vec<_> = ends()
        .filter(|(_, end)| matches!(end.outcome, Outcome::Failed { .. }))
        .collect();
    assert!(!failed.is_empty());
    for (reserved, end) in failed {
        assert_eq!(end.spent.examples, reserved.examples.div_ceil(2), "half of it was done");
    }
    assert!(state.withdrawn.is_empty(), "{:?}", state.withdrawn);
}

#[tokio::test(start_paused = true)]
async fn a_contender_whose_runs_fail_is_out_and_the_others_go_on() {
    let mut world = World::new(1, 2);
    world.trainers[0].behave(|_, spec| match spec.candidate_id.as_str() {
        "model-1" => Behaviour::End(
            Outcome::Failed {
                failure: "LOSS_NOT_FINITE".to_owned(),
            },
            false,
        ),
        "model-2" => Behaviour::End(
            Outcome::Failed {
                failure: "INTERNAL".to_owned(),
            },
            true,
        ),
        "model-3" => Behaviour::Refuse,
        "model-4" => Behaviour::End(
            Outcome::Failed {
                failure: "EVALUATION_MISSING".to_owned(),
            },
            true,
        ),
        _ => Behaviour::Succeed,
    });
    world.create("s", spec(7)).await;
    let at_work = world.start();
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert!(succeeded(&state), "{:?}", state.phase);
    let mut out: Vec<usize> = state.withdrawn.iter().map(|(contender, ..)| *contender).collect();
    out.sort_unstable();
    assert_eq!(out, [1, 2, 3, 4]);
    let most = |contender| {
        let own = state.trials.iter().filter(move |trial| trial.contender == contender);
        own.map(|trial| trial.attempts.len()).max()
    };
    assert_eq!(
        (most(1), most(2), most(3), most(4)),
        (Some(1), Some(3), Some(1), Some(2))
    );
    let refused = state
        .trials
        .iter()
        .filter(|trial| trial.contender == 3)
        .flat_map(|trial| &trial.attempts);
    assert_eq!(
        refused
            .filter_map(|attempt| attempt.end.as_ref())
            .map(|end| end.spent.examples)
            .sum::<u64>(),
        0
    );
}

#[tokio::test(start_paused = true)]
async fn preempted_runs_are_made_again_however_often() {
    let mut world = World::new(1, 2);
    world.trainers[0].behave(|run_id, _| {
        let attempt: u32 = run_id
            .rsplit('.')
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(9);
        if run_id.contains(".1-128.") && attempt < 6 {
            Behaviour::End(Outcome::Preempted, true)
        } else {
            Behaviour::Succeed
        }
    });
    world.create("s", spec(8)).await;
    let at_work = world.start();
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert_eq!(answer(&state), undisturbed(spec(8)).await);
    assert_eq!(state.trials.iter().map(|trial| trial.attempts.len()).max(), Some(6));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_hangs_is_ended_by_us() {
    let mut world = World::new(1, 2);
    world.trainers[0].behave(|run_id, _| {
        if run_id.contains(".1-64.") {
            Behaviour::Hang
        } else {
            Behaviour::Succeed
        }
    });
    let mut asked = spec(5);
    asked.max_run_millis = Some(60_000);
    world.create("s", asked).await;
    let at_work = world.start();
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert!(succeeded(&state));
    let hung = state
        .trials
        .iter()
        .find(|trial| trial.contender == 1 && trial.data_size.examples() == 64);
    let attempts = &hung.expect("it was planned").attempts;
    assert_eq!(attempts.len(), 2, "once more, and then no more");
    for attempt in attempts {
        let end = attempt.end.as_ref().expect("it was ended");
        assert_eq!(
            end.outcome,
            Outcome::Failed {
                failure: "DEADLINE_EXCEEDED".to_owned()
            }
        );
        assert_eq!(end.spent.examples, 64, "nobody says how far it was");
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_selection_does_not_wait_for_a_trainer_that_hangs() {
    let mut world = World::new(1, 2);
    world.trainers[0].behave(|_, _| Behaviour::Hang);
    world.create("s", spec(4)).await;
    let at_work = world.start();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ending = selector_svc::selection::Ending::Cancelled { detail: String::new() };
    world
        .command("s", selector_svc::selection::Event::Stopping { ending })
        .await;
    let before = tokio::time::Instant::now();
    world.until_ended(&["s"], at_work).await.kill().await;
    assert!(before.elapsed() < Duration::from_mins(2));
    let state = check_books(&world.events("s").await);
    assert!(state.spent.examples > 0, "what may have been used is paid");
}

#[tokio::test(start_paused = true)]
async fn a_trainer_that_goes_away_is_waited_for_while_others_work() {
    let mut world = World::new(2, 2);
    world.create("s", spec(8)).await;
    let at_work = world.start();
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.trainers[0].behave(|_, _| Behaviour::Away);
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.trainers[0].behave(|_, _| Behaviour::Succeed);
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert_eq!(answer(&state), undisturbed(spec(8)).await);
}

#[tokio::test(start_paused = true)]
async fn while_all_trainers_are_away_the_reason_is_told() {
    let mut world = World::new(1, 2);
    world.trainers[0].behave(|_, _| Behaviour::Away);
    world.create("s", spec(4)).await;
    let at_work = world.start();
    tokio::time::sleep(Duration::from_secs(50)).await;
    let waiting = world.state("s").await;
    assert_eq!(waiting.wait.reason, WaitReason::TrainerUnavailable);
    assert!(waiting.wait.detail.contains("trainer-0"), "{}", waiting.wait.detail);
    assert!(waiting.sequence < 6, "one event a change, not one a question");
    world.trainers[0].behave(|_, _| Behaviour::Succeed);
    world.until_ended(&["s"], at_work).await.kill().await;
    assert!(succeeded(&check_books(&world.events("s").await)));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_or_full_loses_nothing() {
    let wanted = undisturbed(spec(8)).await;
    for error in [
        StoreError::Full {
            detail: "no room".to_owned(),
        },
        StoreError::Unavailable {
            detail: "locked".to_owned(),
        },
    ] {
        for moment in [Moment::Before, Moment::After] {
            for nth in [1, 2, 5, 9, 23, 31] {
                let mut world = World::new(2, 2);
                world.store.inject(Fault {
                    operations: vec![Operation::Append, Operation::Renew, Operation::Claim],
                    nth,
                    times: 25,
                    moment,
                    effect: Effect::Fail(error.clone()),
                });
                world.create("s", spec(8)).await;
                let at_work = world.start();
                world.until_ended(&["s"], at_work).await.kill().await;
                let state = check_books(&world.events("s").await);
                assert_eq!(answer(&state), wanted, "{error}, {moment:?}, {nth}");
                assert_eq!(state.wasted.examples, 0, "{error}, {moment:?}, {nth}");
                for trainer in &world.trainers {
                    assert_eq!(trainer.violations(), Vec::<String>::new());
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn clocks_may_jump() {
    let wanted = undisturbed(spec(8)).await;
    for jump in [3_600_000, -3_600_000, 90_000_000] {
        let mut world = World::new(2, 2);
        let mut asked = spec(8);
        asked.max_run_millis = Some(600_000);
        world.create("s", asked).await;
        let at_work = world.start();
        tokio::time::sleep(Duration::from_millis(400)).await;
        world.jump.fetch_add(jump, Ordering::SeqCst);
        world.until_ended(&["s"], at_work).await.kill().await;
        let events = world.events("s").await;
        assert!(events.is_sorted_by_key(|event| event.at), "times do not go back");
        assert_eq!(answer(&check_books(&events)), wanted, "{jump} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn slots_and_parallelism_are_kept_and_shared_in_turn() {
    let mut world = World::new(2, 3);
    let mut asked = spec(6);
    asked.parallelism = Some(2);
    let ids = ["a", "b", "c", "d", "e"];
    for id in ids {
        world.create(id, asked.clone()).await;
    }
    let at_work = world.start();
    let mut most = 0;
    let store = Arc::clone(&world.store);
    let watched = tokio::spawn(async move {
        let mut seen = (0, 0);
        loop {
            tokio::time::sleep(Duration::from_millis(7)).await;
            let mut in_hand = 0;
            for id in ids {
                let events = selector_svc::store::Store::events(&*store, id, 0, 100_000)
                    .await
                    .expect("events");
                let state = crate::world::replay(&events);
                let own = state.trials.iter().filter(|trial| trial.running().is_some()).count();
                seen.0 = seen.0.max(own);
                in_hand += own;
            }
            seen.1 = seen.1.max(in_hand);
            if seen == (2, 6) {
                return seen;
            }
            assert!(seen.0 <= 2 && seen.1 <= 6, "{seen:?}");
        }
    });
    let at_work = world.until_ended(&ids, at_work).await;
    most += watched.await.expect("both limits are reached and kept").1;
    assert_eq!(most, 6);
    let mut ends = Vec::new();
    for id in ids {
        ends.push(check_books(&world.events(id).await).ended.expect("it has ended"));
    }
    let (first, last) = (ends.iter().min().unwrap(), ends.iter().max().unwrap());
    let begin = 1_700_000_000_000;
    assert!(
        (last - begin) * 2 < (first - begin) * 3,
        "nobody is passed over: {ends:?}"
    );
    at_work.kill().await;
}

/// A fitter that is away twice, takes the driver with it once, and then answers.
struct Mortal {
    calls: AtomicU32,
    kill: Arc<Notify>,
}

impl Fitter for Mortal {
    fn forecast(&self, request: FitRequest) -> BoxFuture<'_, Result<FittedForecasts, FitterError>> {
        Box::pin(async move {
            match self.calls.fetch_add(1, Ordering::SeqCst) {
                0 | 1 => Err(FitterError::Unavailable {
                    detail: "nobody is there".to_owned(),
                }),
                2 => {
                    self.kill.notify_one();
                    std::future::pending().await
                }
                3 => Err(FitterError::TimedOut {
                    detail: "too slow".to_owned(),
                }),
                _ => Ok(FittedForecasts::new(request.curves.into_iter().map(|(name, curve)| {
                    let last = curve.last().map_or(9.0, |point| point.test_loss().nats());
                    let predictions = request.data_sizes.iter().map(|size| Prediction {
                        data_size: *size,
                        predicted_loss: last * 0.9,
                        interval: None,
                    });
                    let forecast = FittedForecast {
                        predictions: predictions.collect(),
                        warnings: Vec::new(),
                    };
                    (name, Ok(forecast))
                }))),
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_fitter_that_dies_is_waited_for() {
    let mut world = World::new(2, 2);
    let fitter = Arc::new(Mortal {
        calls: AtomicU32::new(0),
        kill: Arc::clone(&world.kill),
    });
    world.fitter = Arc::clone(&fitter) as Arc<dyn Fitter>;
    world.create("s", spec_with(8, "rectified_fit", 24 * 4_096)).await;
    let at_work = world.start();
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert!(succeeded(&state), "{:?}", state.phase);
    assert_eq!(fitter.calls.load(Ordering::SeqCst), 5);
    assert!(
        state.rounds.iter().all(|round| round.fitted.is_some()),
        "what was judged by is kept"
    );
    assert_eq!(world.lives, 2);
}

#[tokio::test(start_paused = true)]
async fn a_fitter_that_cannot_ends_the_selection_with_its_word() {
    let mut world = World::new(1, 2);
    world.create("s", spec_with(4, "rectified_fit", 24 * 4_096)).await;
    let at_work = world.start();
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    let Phase::Ended(Ending::Failed { failure, detail }) = &state.phase else {
        panic!("{:?}", state.phase);
    };
    assert_eq!(*failure, Failure::Internal);
    assert!(detail.contains("there is no fitter"), "{detail}");
}
