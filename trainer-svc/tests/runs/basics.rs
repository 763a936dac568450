//! Runs that nothing disturbs: events, sums, queue, slots, deletion.

use std::sync::atomic::Ordering;

use trainer_kit::Refusal;
use trainer_kit::event::{EvaluationKind, Happening};
use trainer_kit::spec::RetentionSet;
use trainer_kit::state::{Failure, RunState, WaitReason};
use trainer_svc::runs::Roots;

use crate::fake;
use crate::world::{World, is_queue_full, losses, settings, spec, states};

#[test]
fn a_run_does_its_work_and_is_the_sum_of_its_events() {
    use RunState as S;
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path());
    let mut asked = spec(&[0, 7, 23], &[]);
    asked.retention_sets.push(RetentionSet {
        name: "wiki".to_owned(),
        data: asked.data.clone(),
    });
    let created = world.create("run", &asked);
    assert_eq!(
        (created.last_sequence >= 1, created.spec.hyperparameters.epochs),
        (true, Some(1))
    );
    let run = world.until_state("run", RunState::Succeeded);
    assert_eq!(losses(&run), fake::losses(&asked));
    let kinds = [EvaluationKind::RetentionBefore, EvaluationKind::RetentionAfter];
    assert!(
        kinds
            .iter()
            .all(|kind| run.evaluations.iter().any(|found| found.kind == *kind))
    );
    assert_eq!(run.spec.hyperparameters.sequence_length, Some(128));
    assert!(run.started >= Some(run.created) && run.ended >= run.started);
    assert_eq!((run.device.as_str(), run.model_digest.as_str()), ("cpu", "fake:model"));
    assert!(std::path::Path::new(&run.artifact_uri).join("weights").exists());

    let events = world.events("run");
    assert_eq!(states(&events), [S::Queued, S::Preparing, S::Running, S::Succeeded]);
    assert!(events.is_sorted_by(|a, b| a.sequence < b.sequence && a.at <= b.at));
    assert_eq!(events.last().map(|event| event.sequence), Some(run.last_sequence));
    let costs: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.what {
            Happening::Cost(cost) => Some(cost.clone()),
            _ => None,
        })
        .collect();
    assert!(costs.is_sorted_by(|a, b| a.device_seconds < b.device_seconds) && costs.last() == Some(&run.cost));
    let money = run.cost.money.unwrap();
    assert!(money.units > 0 || money.nanos >= 250_000_000, "{money:?}");
    let checkpoints: Vec<i64> = run.checkpoints.iter().map(|checkpoint| checkpoint.step).collect();
    assert_eq!(checkpoints, [5, 10, 15, 20]);

    // The same again is the same run; another spec is refused.
    assert_eq!(world.create("run", &asked).last_sequence, run.last_sequence);
    let other = spec(&[0], &[]);
    assert_eq!(
        world.manager.create("run", other),
        Err(Refusal::Exists("run".to_owned()))
    );
    assert_eq!(world.fake.executions.load(Ordering::Relaxed), 1);
    world.manager.delete("run").unwrap();
    assert!(matches!(world.manager.get("run"), Err(Refusal::NotFound(_))));
    assert_eq!(std::fs::read_dir(folder.path().join("runs")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(folder.path().join("trash")).unwrap().count(), 0);
    world.close();
}

#[test]
fn the_queue_is_first_in_first_out_and_says_why_runs_wait() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::with(&settings(folder.path()), &[("a", 1), ("b", 1)]);
    let busy = spec(&[1], &[("hang_at", 0)]);
    let mut on_a = spec(&[1], &[]);
    on_a.device = "a".to_owned();
    world.create("one", &busy);
    let first = world.until_state("one", RunState::Running);
    assert_eq!(first.device, "a");
    let waiting = world.create("for-a", &on_a);
    assert_eq!(
        (waiting.state, waiting.wait),
        (RunState::Queued, Some(WaitReason::DeviceBusy))
    );
    // Who waits for a taken device does not hold up the others.
    world.create("any", &spec(&[1], &[]));
    world.until_state("any", RunState::Succeeded);
    world.create("two", &busy);
    world.until_state("two", RunState::Running);
    let queued: Vec<_> = ["three", "four"]
        .into_iter()
        .map(|id| world.create(id, &spec(&[1], &[])))
        .collect();
    assert_eq!(queued[1].wait, Some(WaitReason::NoFreeSlot));
    assert_eq!(queued[1].queue_position, Some(2));
    assert!(is_queue_full(&world.manager.create("five", spec(&[1], &[]))));
    assert_eq!(
        world.create("four", &spec(&[1], &[])).queue_position,
        Some(2),
        "a repeated create is answered"
    );
    let info = world.manager.info();
    assert_eq!((info.queued, info.active, info.queue_limit), (3, 2, 3));
    world.manager.cancel("two").unwrap();
    world.until_state("three", RunState::Succeeded);
    world.until_state("four", RunState::Succeeded);
    assert_eq!(world.get("for-a").queue_position, Some(0));
    world.manager.cancel("one").unwrap();
    world.until_state("for-a", RunState::Succeeded);
    let mut keys = Vec::new();
    world.manager.list(u64::MAX, &[RunState::Succeeded], &mut |key, run| {
        keys.push((key, run.id));
        keys.len() < 3
    });
    assert!(keys.len() == 3 && keys.is_sorted_by(|a, b| a.0 > b.0), "{keys:?}");
    world.close();
}

#[test]
fn a_run_that_ends_badly_says_why_and_the_next_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path());
    for (id, label, failure) in [
        ("panics", ("panic_at", 3), Failure::Internal),
        ("fails", ("fail_at", 3), Failure::OutOfMemory),
        ("skips", ("skip", 9), Failure::EvaluationMissing),
        ("nan", ("nan", 4), Failure::LossNotFinite),
    ] {
        world.create(id, &spec(&[4, 9], &[label]));
        let run = world.until_state(id, RunState::Failed);
        assert_eq!(run.failure, Some(failure), "{run:?}");
        assert!(!run.detail.is_empty() && run.evaluations.iter().all(|found| found.loss.is_finite()));
        assert_eq!(run.artifact_uri.is_empty(), id != "skips");
    }
    // The words of a panic are for the operator.
    world.until_told("as it was told");
    assert!(!world.get("panics").detail.contains("told"));
    world.create("well", &spec(&[4], &[]));
    world.until_state("well", RunState::Succeeded);
    world.close();
}

#[test]
fn references_outside_of_the_roots_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&folder.path().join("state"));
    settings.roots = Roots {
        model: Some(vec![folder.path().join("models")]),
        data: Some(vec![folder.path().join("data")]),
    };
    let world = World::with(&settings, &[("cpu", 1)]);
    let mut asked = spec(&[1], &[]);
    asked.model.uri = folder.path().join("models/../secret").display().to_string();
    asked.data.uri = folder.path().join("data/x").display().to_string();
    let fields = |refusal| match refusal {
        Err(Refusal::Invalid(violations)) => violations.into_iter().map(|v| v.field).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        fields(world.manager.create("r", asked.clone()).map(drop)),
        ["spec.model.uri"]
    );
    assert_eq!(fields(world.manager.estimate(&asked).map(drop)), ["spec.model.uri"]);
    asked.model.uri = "hf://org/name".to_owned();
    world.create("r", &asked);
    world.until_state("r", RunState::Succeeded);
    world.close();
}

#[test]
fn estimates_are_the_executors_and_what_cannot_be_done_is_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path());
    let mut asked = spec(&[1], &[]);
    assert_eq!(world.manager.estimate(&asked).unwrap().memory_bytes, Some(1_000));
    asked.model.uri = "not-there".to_owned();
    let estimate = world.manager.estimate(&asked).unwrap();
    assert_eq!(estimate.infeasible.unwrap().0, "MODEL_UNREADABLE");
    asked.device = "cuda:7".to_owned();
    assert!(matches!(world.manager.estimate(&asked), Err(Refusal::Missing(_))));
    world.close();
}
