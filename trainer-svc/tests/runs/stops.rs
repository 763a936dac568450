//! Cancelling, pausing, resuming, draining.

use trainer_kit::Refusal;
use trainer_kit::event::Happening;
use trainer_kit::state::{RunState, WaitReason};

use crate::fake;
use crate::world::{PATIENCE, World, losses, settings, spec, states};

#[test]
fn a_run_is_cancelled_in_whichever_state_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path());
    let long = spec(&[0, 1_000_000], &[]);
    world.create("running", &long);
    world.until_step("running", 3);
    world.create("queued", &long);
    assert_eq!(world.manager.cancel("queued").unwrap().state, RunState::Cancelled);
    assert_eq!(world.get("queued").cost.money.unwrap().nanos, 0, "it never had a slot");
    world.create("paused", &long);
    assert_eq!(world.manager.pause("paused").unwrap().state, RunState::Paused);
    assert_eq!(world.manager.cancel("paused").unwrap().state, RunState::Cancelled);
    world.manager.cancel("running").unwrap();
    let run = world.until_state("running", RunState::Cancelled);
    assert_eq!(run.evaluations.len(), 1, "what was measured stays");
    let again = world.manager.cancel("running").unwrap();
    assert_eq!(again.last_sequence, run.last_sequence);
    world.create("preparing", &spec(&[1], &[("prepare_ms", 100_000)]));
    world.until_state("preparing", RunState::Preparing);
    world.manager.cancel("preparing").unwrap();
    world.until_state("preparing", RunState::Cancelled);
    assert!(matches!(
        world.manager.pause("running"),
        Err(Refusal::WrongState { .. })
    ));
    assert!(matches!(world.manager.delete("running"), Ok(())));
    world.close();
}

#[test]
fn a_run_that_was_paused_reports_what_it_would_have_reported() {
    use RunState as S;
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path());
    let asked = spec(&[0, 20, 60], &[("step_ms", 3)]);
    world.create("run", &asked);
    for step in [7, 33] {
        world.until_step("run", step);
        world.manager.pause("run").unwrap();
        let run = world.until_state("run", RunState::Paused);
        assert_eq!((run.wait, run.device.as_str()), (Some(WaitReason::Paused), ""));
        assert_eq!(world.manager.pause("run").unwrap().last_sequence, run.last_sequence);
        // It holds no slot.
        let other = format!("other-{step}");
        world.create(&other, &spec(&[2], &[]));
        world.until_state(&other, RunState::Succeeded);
        assert_eq!(world.get("run").cost, run.cost, "a paused run costs nothing more");
        world.manager.resume("run").unwrap();
    }
    let run = world.until_state("run", RunState::Succeeded);
    assert_eq!(losses(&run), fake::losses(&asked));
    let round = [S::Preparing, S::Running, S::Paused, S::Queued];
    let expected: Vec<_> = [
        &[S::Queued][..],
        &round,
        &round,
        &[S::Preparing, S::Running, S::Succeeded],
    ]
    .concat();
    assert_eq!(states(&world.events("run")), expected);
    let steps: Vec<i64> = run.checkpoints.iter().map(|checkpoint| checkpoint.step).collect();
    assert!(steps.is_sorted_by(|a, b| a < b), "{steps:?}");
    world.close();
}

#[test]
fn resuming_a_run_that_is_about_to_pause_brings_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path());
    let asked = spec(&[30], &[("deaf_at", 3), ("deaf_ms", 2_000)]);
    world.create("run", &asked);
    world.until_step("run", 3);
    world.manager.pause("run").unwrap();
    let run = world.manager.resume("run").unwrap();
    assert_eq!(run.state, RunState::Running);
    let run = world.until_state("run", RunState::Succeeded);
    assert_eq!(losses(&run), fake::losses(&asked));
    world.close();
}

#[test]
fn what_is_drained_goes_on_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let asked = spec(&[5, 40], &[("step_ms", 3), ("checkpoint_every", 1_000)]);
    let world = World::open(folder.path());
    let instance = world.manager.info().instance_id;
    world.create("run", &asked);
    world.create("waits", &spec(&[2], &[]));
    world.create("paused", &spec(&[2], &[]));
    world.manager.pause("paused").unwrap();
    world.until_step("run", 12);
    assert_eq!(world.manager.drain(PATIENCE), 0);
    let drained = world.get("run");
    assert_eq!((drained.state, drained.checkpoints.len()), (RunState::Running, 1));
    assert_eq!(world.manager.create("late", spec(&[1], &[])), Err(Refusal::Draining));
    drop(world);

    let world = World::open(folder.path());
    assert_eq!(world.manager.info().instance_id, instance);
    let run = world.until_state("run", RunState::Succeeded);
    assert_eq!(losses(&run), fake::losses(&asked));
    assert!(run.cost.device_seconds >= drained.cost.device_seconds && run.started == drained.started);
    let events = world.events("run");
    let resumed = |what: &Happening| matches!(what, Happening::Log(_, text) if text == "resumed after a restart");
    assert_eq!(events.iter().filter(|event| resumed(&event.what)).count(), 1);
    assert!(events.is_sorted_by(|a, b| a.sequence < b.sequence && a.at <= b.at));
    world.until_state("waits", RunState::Succeeded);
    assert_eq!(world.get("paused").state, RunState::Paused);
    world.close();
}

#[test]
fn fewer_slots_after_a_restart_make_runs_wait_or_take_their_device_away() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(&settings(folder.path()), &[("a", 2), ("b", 1)]);
    let asked = spec(&[30], &[("step_ms", 3)]);
    let mut on_b = asked.clone();
    on_b.device = "b".to_owned();
    world.create("on-b", &on_b);
    for id in ["one", "two"] {
        world.create(id, &asked);
        world.until_step(id, 2);
    }
    world.until_step("on-b", 2);
    world.close();
    let world = World::with(&settings(folder.path()), &[("a", 1)]);
    let run = world.get("on-b");
    assert_eq!(run.state, RunState::Preempted, "{run:?}");
    for id in ["one", "two"] {
        let run = world.until_state(id, RunState::Succeeded);
        assert_eq!(losses(&run), fake::losses(&asked));
    }
    world.close();
}
