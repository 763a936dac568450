//! A driver that dies at every step in turn: the same answer, every run paid once, none lost.

use std::sync::Arc;
use std::time::Duration;

use selector_svc::selection::{SelectionSpec, State};
use selector_svc::store::memory::fault::{Effect, Fault, Moment};

use crate::trainer::Point;
use crate::world::{World, answer, check_books, runs, spec_with, succeeded};

/// Several rounds of eight.
fn asked() -> SelectionSpec {
    spec_with(8, "halving", 4 * 4_096)
}

/// What comes of it undisturbed.
async fn undisturbed(asked: SelectionSpec) -> State {
    let mut world = World::new(2, 2);
    world.create("s", asked).await;
    let at_work = world.start();
    world.until_ended(&["s"], at_work).await.kill().await;
    let state = check_books(&world.events("s").await);
    assert!(succeeded(&state), "{:?}", state.phase);
    state
}

/// Whatever happened, it came to the same.
async fn check(world: &World, wanted: &State, attempts_as_well: bool, where_: &str) {
    let state = check_books(&world.events("s").await);
    assert_eq!(answer(&state), answer(wanted), "{where_}");
    assert_eq!(state.phase, wanted.phase, "{where_}");
    for trainer in &world.trainers {
        assert_eq!(trainer.violations(), Vec::<String>::new(), "{where_}");
    }
    if attempts_as_well {
        assert_eq!(state.spent.examples, wanted.spent.examples, "{where_}");
        let made: u64 = world.trainers.iter().map(|trainer| trainer.completed()).sum();
        assert_eq!(made, runs(&state).len() as u64, "{where_}");
    }
}

/// With trainers that take one size a run, and with trainers that take several.
const KINDS: [fn() -> World; 2] = [|| World::new(2, 2), || World::nested(2, 1)];

#[tokio::test(start_paused = true)]
async fn killed_at_every_append() {
    let wanted = undisturbed(asked()).await;
    assert!(wanted.rounds.len() > 2, "{} rounds", wanted.rounds.len());
    for kind in KINDS {
        let kills = killed_at_appends(kind, &wanted).await;
        assert!(kills > 12, "{kills}");
    }
}

async fn killed_at_appends(kind: fn() -> World, wanted: &State) -> u32 {
    let mut kills = 0;
    for moment in [Moment::Before, Moment::After] {
        for nth in 1.. {
            let mut world = kind();
            let kill = Arc::clone(&world.kill);
            world.store.on_fault(Box::new(move |_| kill.notify_one()));
            world.store.inject(Fault::append(nth, moment, Effect::Hang));
            world.create("s", asked()).await;
            let at_work = world.start();
            world.until_ended(&["s"], at_work).await.kill().await;
            check(&world, wanted, true, &format!("append {nth}, {moment:?}")).await;
            if world.store.faults_met() == 0 {
                break;
            }
            kills += 1;
        }
    }
    kills
}

#[tokio::test(start_paused = true)]
async fn killed_at_every_call_of_a_trainer() {
    let wanted = undisturbed(asked()).await;
    for kind in KINDS {
        let kills = killed_at_calls(kind, &wanted).await;
        assert!(kills > 40, "{kills}");
    }
}

async fn killed_at_calls(kind: fn() -> World, wanted: &State) -> u32 {
    let mut kills = 0;
    for point in [Point::Before, Point::Created, Point::After] {
        for victim in 0..2 {
            let mut misses = 0;
            // The trainers are alike: of the second one, some calls.
            for call in (1..).step_by(1 + 4 * victim) {
                let mut world = kind();
                world.trainers[victim].kill_at(call, point);
                world.create("s", asked()).await;
                let at_work = world.start();
                world.until_ended(&["s"], at_work).await.kill().await;
                check(&world, wanted, true, &format!("call {call} of {victim}, {point:?}")).await;
                if world.trainers[victim].was_killed() {
                    kills += 1;
                    misses = 0;
                } else {
                    // Calls that make no run have no middle.
                    misses += 1;
                }
                if misses > 20 / (1 + 4 * victim) {
                    break;
                }
            }
        }
    }
    kills
}

#[tokio::test(start_paused = true)]
async fn killed_again_and_again() {
    let wanted = undisturbed(asked()).await;
    for (kind, millis) in KINDS
        .iter()
        .flat_map(|kind| [37, 111, 333, 1_003].map(|millis| (kind, millis)))
    {
        let mut world = kind();
        world.create("s", asked()).await;
        let mut at_work = world.start();
        for _ in 0..500 {
            // Long enough for the lease of the last one to run out and for a little work.
            tokio::time::sleep(Duration::from_millis(3_000 + millis)).await;
            if world.has_ended("s").await {
                break;
            }
            at_work.kill().await;
            at_work = world.start();
        }
        world.until_ended(&["s"], at_work).await.kill().await;
        check(&world, &wanted, true, &format!("every {millis} ms")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn trainers_lose_their_runs() {
    // With a budget that pays for them twice it comes to the same.
    for (policy, examples, same) in [("exhaustive", 16 * 4_096, true), ("geometric", 5 * 4_096, false)] {
        let asked = spec_with(8, policy, examples);
        let wanted = undisturbed(asked.clone()).await;
        for (kind, after) in KINDS
            .iter()
            .flat_map(|kind| [10, 200, 900, 2_500].map(|after| (kind, after)))
        {
            let mut world = kind();
            world.create("s", asked.clone()).await;
            let at_work = world.start();
            let trainers = world.trainers.clone();
            let robber = tokio::spawn(async move {
                for trainer in trainers {
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    trainer.forget_runs();
                }
            });
            world.until_ended(&["s"], at_work).await.kill().await;
            robber.abort();
            let state = check_books(&world.events("s").await);
            assert!(succeeded(&state), "{:?}", state.phase);
            if same {
                check(&world, &wanted, false, &format!("{policy}, runs lost after {after} ms")).await;
            }
            let forgotten: u64 = world.trainers.iter().map(|trainer| trainer.forgotten()).sum();
            assert_eq!(forgotten > 0, state.wasted.examples > 0, "lost runs are paid");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn two_drivers_share_a_store() {
    let wanted = undisturbed(asked()).await;
    // Renewals fail now and then, so that selections change hands while their old owner still works.
    for nth in 1..12 {
        let mut world = World::new(2, 2);
        world.store.inject(Fault {
            operations: vec![selector_svc::store::memory::fault::Operation::Renew],
            nth,
            times: 3,
            moment: Moment::Before,
            effect: Effect::Fail(selector_svc::store::StoreError::Unavailable {
                detail: "busy".to_owned(),
            }),
        });
        world.create("s", asked()).await;
        world.create("t", asked()).await;
        let (first, second) = (world.start(), world.start());
        let second = world.until_ended(&["s", "t"], second).await;
        first.kill().await;
        second.kill().await;
        // Two processes cannot see each other's runs: one that was followed by both was still made once.
        check(&world, &wanted, false, &format!("renewal {nth}")).await;
        check_books(&world.events("t").await);
    }
}
