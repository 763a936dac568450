//! Deadlines, silence, and threads that do not stop.

use std::time::Duration;

use trainer_kit::state::{Failure, RunState};

use crate::world::{PATIENCE, World, settings, spec};

#[test]
fn a_run_that_takes_too_long_ends_and_pauses_do_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path());
    let mut asked = spec(&[1_000_000], &[]);
    asked.max_duration = Some(Duration::from_millis(300));
    world.create("run", &asked);
    world.until_step("run", 3);
    world.manager.pause("run").unwrap();
    world.until_state("run", RunState::Paused);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(world.get("run").state, RunState::Paused);
    world.manager.resume("run").unwrap();
    let run = world.until_state("run", RunState::Failed);
    assert_eq!(run.failure, Some(Failure::DeadlineExceeded));
    assert!(run.cost.device_seconds >= 0.3, "{:?}", run.cost);
    world.close();
}

#[test]
fn time_counts_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let mut asked = spec(&[1_000_000], &[]);
    asked.max_duration = Some(Duration::from_secs(2));
    let mut ran = Duration::ZERO;
    let mut starts = 0;
    loop {
        let world = World::open(folder.path());
        world.create("run", &asked);
        let begun = std::time::Instant::now();
        let run = world.until("run", |run| {
            run.state.is_ended() || begun.elapsed() > Duration::from_millis(400)
        });
        ran += begun.elapsed();
        starts += 1;
        world.close();
        if run.state.is_ended() {
            assert_eq!(run.failure, Some(Failure::DeadlineExceeded));
            break;
        }
        assert!(ran < PATIENCE);
    }
    assert!(starts >= 2, "no start of its own lasted long enough: {starts}");
}

#[test]
fn a_run_that_falls_silent_fails_and_one_that_only_prepares_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.stall_timeout = Duration::from_secs(2);
    let world = World::with(&settings, &[("cpu", 2)]);
    world.create("silent", &spec(&[9], &[("hang_at", 3)]));
    world.create("patient", &spec(&[9], &[("prepare_ms", 3_000)]));
    let run = world.until_state("silent", RunState::Failed);
    assert_eq!(run.failure, Some(Failure::Stalled));
    world.until_state("patient", RunState::Succeeded);
    world.close();
}

#[test]
fn a_thread_that_does_not_stop_is_left_behind_and_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    settings.stop_grace = Duration::from_millis(100);
    let world = World::with(&settings, &[("cpu", 1)]);
    let deaf = spec(&[9], &[("deaf_at", 3), ("deaf_ms", 4_000)]);
    world.create("deaf", &deaf);
    world.until_step("deaf", 3);
    world.manager.cancel("deaf").unwrap();
    let run = world.until_state("deaf", RunState::Cancelled);
    world.until_told("left behind");
    // The slot is free again, also for a new run of this name, whose folder is another.
    world.manager.delete("deaf").unwrap();
    world.create("deaf", &spec(&[4], &[]));
    let again = world.until_state("deaf", RunState::Succeeded);
    assert!(again.artifact_uri.contains("deaf~2"), "{}", again.artifact_uri);
    let before = again.last_sequence;
    assert!(run.last_sequence > 1);
    // What the straggler says and writes afterwards reaches nobody; its files go with it.
    let trash = folder.path().join("trash");
    let end = std::time::Instant::now() + PATIENCE;
    while std::fs::read_dir(&trash).unwrap().count() > 0 {
        assert!(std::time::Instant::now() < end, "the files of the run stay");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(world.get("deaf").last_sequence, before);
    assert!(!folder.path().join("runs/deaf").exists() && !folder.path().join("runs/deaf~2/late").exists());
    world.close();
}
