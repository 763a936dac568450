//! Crashes: the state folder as it was after every single event, opened anew.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use trainer_kit::event::Happening;
use trainer_kit::state::{Failure, RunState};
use trainer_svc::runs::OpenError;

use crate::fake::{self, Fake};
use crate::world::{Ear, World, is_queue_full, lines, losses, settings, spec};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if path.file_name().is_some_and(|name| name != "ballast") {
            // A file may be gone by now: a temporary one, renamed.
            std::fs::copy(&path, target).ok();
        }
    }
}

/// Goes on from a folder that a crash has left, to the end.
fn go_on(dir: &Path, asked: &trainer_kit::spec::Spec, seen: i64) {
    let world = World::open(dir);
    let run = world.until_state("run", RunState::Succeeded);
    assert_eq!(losses(&run), fake::losses(asked), "{}", dir.display());
    let events = world.events("run");
    assert!(events.is_sorted_by(|a, b| a.sequence < b.sequence && a.at <= b.at));
    assert!(run.last_sequence > seen, "numbers go on");
    let costs: Vec<f64> = events
        .iter()
        .filter_map(|event| match &event.what {
            Happening::Cost(cost) => Some(cost.device_seconds),
            _ => None,
        })
        .collect();
    assert!(costs.is_sorted_by(|a, b| a < b), "{costs:?}");
    world.close();
}

#[test]
fn after_a_crash_at_any_event_the_run_ends_as_it_would_have() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("state");
    let asked = spec(&[0, 4, 13], &[("checkpoint_every", 3), ("step_ms", 0)]);
    let snapshots: Arc<Mutex<Vec<PathBuf>>> = Arc::default();
    let ear = Ear::default();
    *ear.on_change.lock().unwrap() = Some(Box::new({
        let (snapshots, dir, folder) = (Arc::clone(&snapshots), dir.clone(), folder.path().to_owned());
        move || {
            let mut snapshots = snapshots.lock().unwrap();
            let to = folder.join(format!("snapshot-{}", snapshots.len()));
            copy(&dir, &to);
            snapshots.push(to);
        }
    }));
    let world = World::try_open(settings(&dir), Fake::with_slots(&[("cpu", 1)]), ear).unwrap();
    world.create("run", &asked);
    world.until_state("run", RunState::Succeeded);
    *world.ear.on_change.lock().unwrap() = None;
    world.close();
    let snapshots = std::mem::take(&mut *snapshots.lock().unwrap());
    assert!(snapshots.len() > 20, "{}", snapshots.len());
    for snapshot in &snapshots {
        let journal = snapshot.join("runs/run/events.jsonl");
        let text = std::fs::read(&journal).unwrap();
        let ended = String::from_utf8_lossy(&text).contains("Succeeded");
        let seen = i64::try_from(lines(&journal)).unwrap();
        if !ended {
            // Once more with the last line torn in two, and with progress lines that power took.
            let torn = snapshot.with_extension("torn");
            copy(snapshot, &torn);
            let end = text.len() - 1;
            let start = text[..end]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            if start > 0 {
                std::fs::write(torn.join("runs/run/events.jsonl"), &text[..usize::midpoint(start, end)]).unwrap();
                go_on(&torn, &asked, seen - 1);
            }
            go_on(snapshot, &asked, seen);
        }
    }
}

#[test]
fn what_waited_waits_again_in_its_order() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path());
    world.create("busy", &spec(&[1], &[("hang_at", 0)]));
    world.until_state("busy", RunState::Running);
    for id in ["a", "b", "c"] {
        world.create(id, &spec(&[2], &[("hang_at", 0)]));
    }
    // Who pauses and resumes goes to the end.
    world.manager.pause("a").unwrap();
    world.manager.resume("a").unwrap();
    world.close();
    let world = World::open(folder.path());
    for (id, position) in [("b", 0), ("c", 1), ("a", 2)] {
        assert_eq!(world.get(id).queue_position, Some(position), "{id}");
    }
    assert_eq!(world.get("busy").state, RunState::Running);
    assert!(is_queue_full(&world.manager.create("d", spec(&[0], &[]))));
}

#[test]
fn a_folder_in_use_of_a_newer_version_or_damaged_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::open(folder.path());
    let second = World::try_open(settings(folder.path()), Fake::with_slots(&[("cpu", 1)]), Ear::default());
    assert!(matches!(second.map(drop), Err(OpenError::Locked { .. })));
    for id in ["good", "newer", "damaged"] {
        world.create(id, &spec(&[1], &[]));
        world.until_state(id, RunState::Succeeded);
    }
    world.close();
    // A run in a format of the future stops the start; damage to one run does not.
    let header = folder.path().join("runs/newer/run.json");
    let text = std::fs::read_to_string(&header).unwrap();
    std::fs::write(&header, text.replacen("\"format\":1", "\"format\":2", 1)).unwrap();
    std::fs::create_dir(folder.path().join("runs/.77")).unwrap();
    std::fs::write(folder.path().join("runs/damaged/events.jsonl"), "{}\n{}\n").unwrap();
    let open = || World::try_open(settings(folder.path()), Fake::with_slots(&[("cpu", 1)]), Ear::default());
    let refused = open().map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { found: 2, .. }), "{refused}");
    assert!(refused.to_string().contains("use a newer trainer"), "{refused}");
    std::fs::write(&header, text).unwrap();
    let world = World::open(folder.path());
    assert_eq!(world.get("good").state, RunState::Succeeded);
    assert!(world.manager.get("damaged").is_err() && folder.path().join("damaged/damaged").exists());
    world.until_told("set aside");
    assert!(!folder.path().join("runs/.77").exists());
    world.close();
    std::fs::write(
        folder.path().join("trainer.json"),
        "{\"format\":9,\"instance_id\":\"x\"}",
    )
    .unwrap();
    assert!(matches!(open().map(drop), Err(OpenError::Newer { found: 9, .. })));
    std::fs::write(folder.path().join("trainer.json"), "nonsense").unwrap();
    assert!(matches!(open().map(drop), Err(OpenError::Damaged { .. })));
}

/// The child of the test below: it works until it is killed.
#[test]
#[ignore = "started by the test that kills it"]
fn child() {
    let mut dir = String::new();
    std::io::stdin().read_line(&mut dir).unwrap();
    let world = World::open(Path::new(dir.trim()));
    world.create("run", &killed_spec());
    world.create("waits", &spec(&[3], &[]));
    world.until_state("run", RunState::Succeeded);
}

fn killed_spec() -> trainer_kit::spec::Spec {
    spec(&[10, 400], &[("step_ms", 2), ("checkpoint_every", 7)])
}

#[test]
fn a_process_that_is_killed_loses_nothing_that_was_told() {
    use std::io::Write as _;
    let folder = tempfile::tempdir().unwrap();
    let mut told = 0;
    for kill in 0..3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "crash::child"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{}", folder.path().display()).unwrap();
        let journal = folder.path().join("runs/run/events.jsonl");
        let lines = || lines(&journal);
        let wanted = lines() + 40;
        let end = std::time::Instant::now() + crate::world::PATIENCE;
        while lines() < wanted {
            assert!(std::time::Instant::now() < end, "start {kill}: {} lines", lines());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(lines() >= told);
        told = lines();
    }
    let world = World::open(folder.path());
    let run = world.until_state("run", RunState::Succeeded);
    assert_eq!(losses(&run), fake::losses(&killed_spec()));
    world.until_state("waits", RunState::Succeeded);
    world.close();
}

#[test]
fn a_folder_of_format_1_is_read_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state-1"),
        folder.path(),
    );
    let world = World::open(folder.path());
    assert_eq!(world.manager.info().instance_id, "onnx-0123456789abcdef");
    let run = world.get("run");
    assert_eq!((run.state, run.failure), (RunState::Failed, Some(Failure::DiskFull)));
    assert_eq!(
        (run.last_sequence, run.evaluations.len(), run.checkpoints.len()),
        (11, 1, 1)
    );
    assert_eq!(run.spec.hyperparameters.sequence_length, Some(128));
    assert_eq!(run.cost.money.unwrap().nanos, 5);
    world.close();
}
