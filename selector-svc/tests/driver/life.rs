//! What callers do to a selection on its way, and what selections have of each other.

use std::time::Duration;

use selector_svc::ports::RunProgress;
use selector_svc::selection::{
    AttemptEnd, BudgetSpec, Ending, Event, Failure, Limits, Outcome, Phase, ScheduledAttempt, Spending, WaitReason,
    WorkMode,
};
use selector_svc::store::Store;

use crate::world::{World, answer, check_books, spec, succeeded};

#[tokio::test(start_paused = true)]
async fn a_selection_is_taken_up_at_once_and_told_live() {
    let mut world = World::new(1, 2);
    let at_work = world.start();
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.create("s", spec(4)).await;
    at_work.driver.nudge("s");
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut live = at_work.driver.live("s").expect("it is driven");
    assert!(live.borrow_and_update().sequence > 1);
    live.changed().await.expect("it goes on");
    let seen = live.borrow().clone();
    assert_eq!(
        seen.progress.values().next(),
        Some(&RunProgress {
            step: 1,
            ..RunProgress::default()
        })
    );
    let at_work = world.until_ended(&["s"], at_work).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(at_work.driver.live("s").is_none(), "nobody drives what has ended");
    assert_eq!(world.store.get("s").await.expect("it is there").owner, "");
    at_work.kill().await;
}

#[tokio::test(start_paused = true)]
async fn paused_it_begins_nothing_and_goes_on_when_resumed() {
    let mut world = World::new(1, 2);
    world.create("s", spec(6)).await;
    let at_work = world.start();
    tokio::time::sleep(Duration::from_millis(400)).await;
    world.command("s", Event::Paused).await;
    at_work.driver.nudge("s");
    tokio::time::sleep(Duration::from_mins(1)).await;
    let paused = world.state("s").await;
    assert!(
        paused.trials.iter().all(|trial| trial.running().is_none()),
        "runs in hand end"
    );
    assert_eq!(paused.wait.reason, WaitReason::Paused);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(world.state("s").await.sequence, paused.sequence, "nothing happens");
    // Another process writes, and nobody nudges.
    world.command("s", Event::Resumed).await;
    world.until_ended(&["s"], at_work).await.kill().await;
    assert!(succeeded(&check_books(&world.events("s").await)));
}

#[tokio::test(start_paused = true)]
async fn cancelled_its_runs_are_ended_and_paid_by_their_share() {
    let mut world = World::new(2, 2);
    world.create("s", spec(6)).await;
    let at_work = world.start();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let ending = Ending::Cancelled {
        detail: "enough".to_owned(),
    };
    world.command("s", Event::Stopping { ending: ending.clone() }).await;
    at_work.driver.nudge("s");
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert_eq!(state.phase, Phase::Ended(ending));
    let ended = state
        .trials
        .iter()
        .flat_map(|trial| &trial.attempts)
        .filter_map(|attempt| attempt.end.as_ref());
    let cancelled = ended.filter(|end| end.outcome == Outcome::Cancelled).count();
    assert!(cancelled > 0);
    assert_eq!(
        world.trainers.iter().map(|trainer| trainer.cancelled()).sum::<usize>(),
        cancelled
    );
}

#[tokio::test(start_paused = true)]
async fn an_amended_budget_is_in_force_at_once() {
    let mut world = World::new(1, 1);
    world.create("s", spec(6)).await;
    let at_work = world.start();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let state = world.state("s").await;
    let taken = state.spent.plus(state.reserved).examples;
    let budget = BudgetSpec {
        examples: Some(taken),
        ..BudgetSpec::default()
    };
    let limits = Limits {
        examples: Some(taken),
        ..state.limits.clone()
    };
    world
        .command(
            "s",
            Event::BudgetAmended {
                budget,
                limits,
                plan_examples: taken,
            },
        )
        .await;
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert!(state.spent.examples <= taken, "{} of {taken}", state.spent.examples);
    assert!(!state.withdrawn.is_empty(), "somebody could not be paid");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_it_with_the_best_so_far_or_without() {
    for (millis, judged) in [(200, false), (40_000, true)] {
        let mut world = World::new(1, 1);
        let mut asked = spec(6);
        asked.budget.wall_millis = Some(millis);
        world.create("s", asked).await;
        let at_work = world.start();
        world.until_ended(&["s"], at_work).await.kill().await;
        let state = check_books(&world.events("s").await);
        let late = state.ended.expect("it has ended") - state.created;
        assert!(late < millis + 5_000, "{late} ms");
        match &state.phase {
            Phase::Ended(Ending::Failed { failure, .. }) => {
                assert_eq!((*failure, judged), (Failure::BudgetTooSmall, false));
            }
            Phase::Ended(Ending::BudgetExhausted { .. }) => assert!(judged && state.choice().is_some()),
            other => assert!(judged && matches!(other, Phase::Ended(Ending::Succeeded)), "{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_measured_is_not_measured_again() {
    let mut world = World::new(2, 2);
    let mut asked = spec(6);
    asked.reuse = true;
    world.create("s", asked.clone()).await;
    let at_work = world.start();
    let at_work = world.until_ended(&["s"], at_work).await;
    let made = world.trainers.iter().map(|trainer| trainer.completed()).sum::<u64>();
    world.create("t", asked.clone()).await;
    let at_work = world.until_ended(&["t"], at_work).await;
    let (first, second) = (world.state("s").await, check_books(&world.events("t").await));
    assert_eq!(answer(&first), answer(&second));
    assert_eq!(second.spent, Spending::ZERO);
    assert_eq!(second.saved.examples, first.spent.examples);
    assert_eq!(
        world.trainers.iter().map(|trainer| trainer.completed()).sum::<u64>(),
        made
    );
    // Another seed is another measurement.
    asked.seed += 1;
    world.create("u", asked).await;
    world.until_ended(&["u"], at_work).await.kill().await;
    assert_eq!(world.state("u").await.saved, Spending::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_gives_back_and_leaves_the_runs() {
    let mut world = World::new(1, 2);
    world.create("s", spec(4)).await;
    let at_work = world.start();
    tokio::time::sleep(Duration::from_millis(150)).await;
    at_work.shutdown.trigger();
    at_work.task.await.expect("it ends by itself");
    assert_eq!(world.store.get("s").await.expect("it is there").owner, "");
    assert_eq!(world.trainers[0].cancelled(), 0);
    // No lease has to run out.
    let at_work = world.start();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(at_work.driver.live("s").is_some());
    world.until_ended(&["s"], at_work).await.kill().await;
    assert!(succeeded(&check_books(&world.events("s").await)));
}

#[tokio::test(start_paused = true)]
async fn external_work_is_offered_judged_and_given_to_the_next() {
    let mut world = World::new(0, 1);
    let mut asked = spec(3);
    asked.work_mode = WorkMode::AskTell;
    world.create("s", asked).await;
    let at_work = world.start();
    let mut lost = false;
    for _ in 0..2_000 {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let state = world.state("s").await;
        if state.has_ended() {
            break;
        }
        let waits = |trial: &selector_svc::selection::Trial| {
            matches!(trial.status, selector_svc::selection::TrialStatus::Waiting { .. })
        };
        let Some(trial) = state.trials.iter().position(waits) else {
            continue;
        };
        assert_eq!(state.wait.reason, WaitReason::Worker);
        let attempt = u32::try_from(state.trials[trial].attempts.len()).unwrap() + 1;
        let reserved = Spending {
            examples: state.trials[trial].data_size.examples(),
            ..Spending::ZERO
        };
        let given = ScheduledAttempt {
            trial,
            attempt,
            trainer: "worker".to_owned(),
            run_id: selector_svc::order::run_id(&state, "s", trial, attempt),
            reserved,
            max_seconds: None,
            lease_until: Some(state.updated + 60_000),
        };
        world.command("s", Event::Scheduled { attempts: vec![given] }).await;
        if !lost {
            // This worker never comes back.
            lost = true;
            tokio::time::sleep(Duration::from_mins(2)).await;
            let now = world.state("s").await;
            let end = now.trials[trial].attempts[0].end.as_ref().expect("it is ended");
            assert_eq!(end.outcome, Outcome::Lost);
            continue;
        }
        let size = state.trials[trial].data_size;
        let name = state.spec.contender_name(state.trials[trial].contender);
        let loss = selector_svc::curve::Loss::new(crate::trainer::loss(&name, size.examples())).unwrap();
        let outcome = Outcome::Observed {
            observation: selector_svc::curve::Observation::new(size, loss),
            model_digest: String::new(),
            data_digest: String::new(),
        };
        let end = AttemptEnd {
            trial,
            attempt,
            outcome,
            spent: reserved,
            detail: String::new(),
            retry_at: None,
        };
        world.command("s", Event::AttemptEnded(Box::new(end))).await;
        at_work.driver.nudge("s");
    }
    at_work.kill().await;
    assert!(succeeded(&check_books(&world.events("s").await)));
}
