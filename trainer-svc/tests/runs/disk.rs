//! A disk that is full.

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use trainer_kit::Refusal;
use trainer_kit::state::{Failure, RunState};
use trainer_svc::runs::Permit;

use crate::world::{World, settings, spec};

/// So many bytes, then no more.
fn budget(bytes: i64, kind: io::ErrorKind) -> (Arc<AtomicI64>, Permit) {
    let left = Arc::new(AtomicI64::new(bytes));
    let permit = {
        let left = Arc::clone(&left);
        move |_: &Path, wanted: usize| {
            let wanted = i64::try_from(wanted).unwrap();
            if left.load(Ordering::Relaxed) < wanted {
                return Err(kind.into());
            }
            left.fetch_sub(wanted, Ordering::Relaxed);
            Ok(())
        }
    };
    (left, Arc::new(permit))
}

#[test]
fn a_run_that_finds_the_disk_full_fails_with_disk_full_and_says_so_when_there_is_room() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
        let folder = tempfile::tempdir().unwrap();
        let mut with_budget = settings(folder.path());
        let (left, permit) = budget(400_000, kind);
        with_budget.permit = Some(permit);
        let world = World::with(&with_budget, &[("cpu", 1)]);
        world.create("run", &spec(&[1_000_000], &[("step_ms", 0)]));
        let run = world.until_state("run", RunState::Failed);
        assert_eq!(
            (run.failure, run.detail.as_str()),
            (Some(Failure::DiskFull), "the disk is full")
        );
        assert!(matches!(
            world.manager.create("another", spec(&[1; 1], &[("step_ms", 0)])),
            Ok(_) | Err(Refusal::NotReady(_))
        ));
        left.store(0, Ordering::Relaxed);
        let refused = world.manager.create("third", spec(&[1], &[]));
        assert!(matches!(refused, Err(Refusal::NotReady(_))), "{refused:?}");
        world.until_told("cannot be created");
        // There is room again: what could not be written is written.
        left.store(10_000_000, Ordering::Relaxed);
        let written = |text: &str| {
            std::fs::read_to_string(folder.path().join("runs/run/events.jsonl"))
                .unwrap()
                .contains(text)
        };
        let end = std::time::Instant::now() + crate::world::PATIENCE;
        while !written("DiskFull") {
            assert!(std::time::Instant::now() < end);
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        world.create("third", &spec(&[1], &[]));
        world.until_state("third", RunState::Succeeded);
        world.close();
        let world = World::open(folder.path());
        let again = world.get("run");
        assert_eq!(
            (again.state, again.failure, again.last_sequence),
            (run.state, run.failure, run.last_sequence)
        );
        assert_eq!((again.evaluations, again.cost), (run.evaluations, run.cost));
        world.close();
    }
}

#[test]
fn other_errors_of_the_disk_are_internal() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(folder.path());
    let (_left, permit) = budget(400_000, io::ErrorKind::PermissionDenied);
    settings.permit = Some(permit);
    let world = World::with(&settings, &[("cpu", 1)]);
    world.create("run", &spec(&[1_000_000], &[("step_ms", 0)]));
    let run = world.until_state("run", RunState::Failed);
    assert_eq!(run.failure, Some(Failure::Internal));
    assert!(!run.detail.contains('/'), "no paths: {}", run.detail);
    world.close();
}

/// A file system of so many KiB, gone with this.
struct Small(tempfile::TempDir);

impl Small {
    fn mount(kibibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={kibibytes}k");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(folder.path())
            .output();
        mount
            .is_ok_and(|output| output.status.success())
            .then_some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

#[test]
fn a_real_disk_that_fills_up_fails_the_run_and_the_reserve_holds_its_end() {
    let Some(small) = Small::mount(512) else {
        eprintln!("skipped: no tmpfs can be mounted here");
        return;
    };
    let dir = small.0.path().join("state");
    let world = World::open(&dir);
    world.create(
        "run",
        &spec(&[1_000_000], &[("step_ms", 0), ("checkpoint_every", 100_000)]),
    );
    let run = world.until_state("run", RunState::Failed);
    assert_eq!(run.failure, Some(Failure::DiskFull));
    world.close();
    let world = World::open(&dir);
    let again = world.get("run");
    assert_eq!(
        (again.state, again.failure, again.last_sequence),
        (run.state, run.failure, run.last_sequence)
    );
    world.manager.delete("run").unwrap();
    world.create("another", &spec(&[3], &[]));
    world.until_state("another", RunState::Succeeded);
    world.close();
}
