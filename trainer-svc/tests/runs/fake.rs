//! An executor that pretends: a state that changes with every step, checkpoints, and labels that make it misbehave.
//!
//! | label | effect |
//! |---|---|
//! | `step_ms` | a step takes so long (default 1) |
//! | `checkpoint_every` | steps between two checkpoints (default 5) |
//! | `hang_at`, `deaf_at` | at this step nothing happens any more; `deaf_at`: not even a stop is heard, for `deaf_ms` |
//! | `panic_at`, `fail_at` | at this step it panics, or fails with OUT_OF_MEMORY |
//! | `skip` | the held-out loss of this size is not reported |
//! | `nan` | the held-out loss of this size is NaN |
//! | `prepare_ms` | preparing takes so long, with signs of life |

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use trainer_kit::capability::{Device, Estimate, Inputs, SecondsRange};
use trainer_kit::event::{Checkpoint, Evaluation, EvaluationKind, Progress, Severity};
use trainer_kit::spec::Spec;
use trainer_kit::state::Failure;
use trainer_svc::runs::{Desk, Done, Executor, Job, Prepared, Report, RunFailure, StopReason, with_defaults};

pub(crate) struct Fake {
    pub(crate) devices: Vec<Device>,
    /// Executions so far.
    pub(crate) executions: AtomicUsize,
}

impl Fake {
    pub(crate) fn with_slots(slots: &[(&str, u32)]) -> Self {
        let device = |(name, slots): &(&str, u32)| Device {
            name: (*name).to_owned(),
            description: "pretends".to_owned(),
            memory_bytes: Some(1 << 30),
            slots: *slots,
        };
        Self {
            devices: slots.iter().map(device).collect(),
            executions: AtomicUsize::new(0),
        }
    }
}

/// What a run has come to.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Weights {
    step: i64,
    hash: u64,
}

impl Weights {
    fn next(self, seed: u64) -> Self {
        let hash = (self.hash ^ seed).wrapping_add(0x9e37_79b9_7f4a_7c15);
        Self {
            step: self.step + 1,
            hash: (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9),
        }
    }

    fn loss(self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "it only pretends")]
        let wobble = (self.hash >> 11) as f64 / (1_u64 << 53) as f64;
        2.0 + 3.0 / (1.0 + f64::from(i32::try_from(self.step).unwrap())) + wobble / 100.0
    }

    fn save(self, folder: &Path) {
        let partial = folder.join("checkpoint.partial");
        std::fs::write(&partial, format!("{} {}", self.step, self.hash)).unwrap();
        std::fs::rename(partial, folder.join("checkpoint")).unwrap();
    }

    fn load(folder: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(folder.join("checkpoint")).ok()?;
        let (step, hash) = text.split_once(' ')?;
        Some(Self {
            step: step.parse().ok()?,
            hash: hash.parse().ok()?,
        })
    }
}

fn label(spec: &Spec, name: &str) -> Option<i64> {
    spec.labels.get(name)?.parse().ok()
}

fn millis(spec: &Spec, name: &str, default: u64) -> Duration {
    let time = label(spec, name).and_then(|time| u64::try_from(time).ok());
    Duration::from_millis(time.unwrap_or(default))
}

fn steps_of(spec: &Spec, size: i64) -> i64 {
    let chosen = &spec.hyperparameters;
    let batch = i64::from(chosen.batch_size.unwrap_or(8));
    let all = size / batch + i64::from(size % batch > 0);
    all * i64::from(chosen.epochs.unwrap_or(1))
}

/// The losses that a run of this spec reports when nothing goes wrong.
pub(crate) fn losses(spec: &Spec) -> Vec<(i64, f64)> {
    let spec = with_defaults(spec, "fp32");
    let mut weights = Weights { step: 0, hash: 0 };
    let mut found = Vec::new();
    for &size in &spec.data_sizes {
        while weights.step < steps_of(&spec, size) {
            weights = weights.next(spec.seed);
        }
        found.push((size, weights.loss()));
    }
    found
}

fn evaluation(kind: EvaluationKind, size: i64, loss: f64, set: &str) -> Report {
    Report::Evaluation(Evaluation {
        kind,
        data_size: size,
        loss,
        standard_error: None,
        tokens: 1_000,
        examples: 10,
        truncated_examples: 1,
        retention_set: set.to_owned(),
    })
}

impl Executor for Fake {
    fn devices(&self) -> Vec<Device> {
        self.devices.clone()
    }

    fn with_defaults(&self, spec: &Spec) -> Spec {
        with_defaults(spec, "fp32")
    }

    fn estimate(&self, spec: &Spec) -> Result<Estimate, RunFailure> {
        if spec.model.uri.contains("not-there") {
            return Err(RunFailure::new(Failure::ModelUnreadable, "there is no such model"));
        }
        Ok(Estimate {
            infeasible: None,
            memory_bytes: Some(1_000),
            device_seconds: Some(SecondsRange {
                lower: 1.0,
                expected: 2.0,
                upper: 3.0,
            }),
            inputs: Inputs::default(),
        })
    }

    fn execute(&self, job: &Job, desk: &dyn Desk) -> Result<Done, RunFailure> {
        self.executions.fetch_add(1, Ordering::Relaxed);
        let spec = &job.spec;
        let mut weights = Weights { step: 0, hash: 0 };
        if job.resume
            && let Some(saved) = Weights::load(&job.folder)
        {
            weights = saved;
        }
        let preparing = std::time::Instant::now();
        while preparing.elapsed() < millis(spec, "prepare_ms", 0) {
            if desk.stop().sleep(Duration::from_millis(10)).is_some() {
                return Ok(Done::Stopped);
            }
            desk.alive();
        }
        let total = steps_of(spec, spec.data_size_max());
        desk.report(Report::Prepared(Prepared {
            model_digest: format!("fake:{}", spec.model.uri),
            data_digest: format!("fake:{}", spec.data.uri),
            total_steps: Some(total),
            sequence_length: Some(128),
        }));
        for set in &spec.retention_sets {
            desk.report(evaluation(EvaluationKind::RetentionBefore, 0, 3.0, &set.name));
        }
        for &size in &spec.data_sizes {
            while weights.step < steps_of(spec, size) {
                if let Some(done) = step(job, desk, &mut weights, total)? {
                    return Ok(done);
                }
            }
            let loss = if label(spec, "nan") == Some(size) {
                f64::NAN
            } else {
                weights.loss()
            };
            if label(spec, "skip") != Some(size) {
                desk.report(evaluation(EvaluationKind::HeldOut, size, loss, ""));
            }
        }
        for set in &spec.retention_sets {
            desk.report(evaluation(
                EvaluationKind::RetentionAfter,
                spec.data_size_max(),
                3.5,
                &set.name,
            ));
        }
        std::fs::create_dir_all(job.artifact()).unwrap();
        std::fs::write(job.artifact().join("weights"), weights.hash.to_le_bytes()).unwrap();
        Ok(Done::Finished)
    }
}

/// A step, or the end.
fn step(job: &Job, desk: &dyn Desk, weights: &mut Weights, total: i64) -> Result<Option<Done>, RunFailure> {
    let spec = &job.spec;
    let here = |name| label(spec, name) == Some(weights.step);
    let save = |weights: Weights| {
        weights.save(&job.folder);
        desk.report(Report::CheckpointSaved(Checkpoint {
            checkpoint_id: format!("step-{:06}", weights.step),
            step: weights.step,
        }));
    };
    assert!(!here("panic_at"), "as it was told");
    if here("fail_at") {
        return Err(RunFailure::new(Failure::OutOfMemory, "as it was told"));
    }
    if here("deaf_at") {
        std::thread::sleep(millis(spec, "deaf_ms", 1_000));
        desk.report(Report::Log(Severity::Info, "heard nothing".to_owned()));
        std::fs::write(job.folder.join("late"), "x").ok();
    }
    let time = if here("hang_at") {
        Duration::MAX
    } else {
        millis(spec, "step_ms", 1)
    };
    match desk.stop().sleep(time) {
        None => {}
        Some(reason) => {
            if matches!(reason, StopReason::Pause | StopReason::Drain) && weights.step > 0 {
                save(*weights);
            }
            return Ok(Some(Done::Stopped));
        }
    }
    *weights = weights.next(spec.seed);
    desk.report(Report::Progress(Progress {
        step: weights.step,
        total_steps: Some(total),
        training_loss: Some(weights.loss()),
        tokens_per_second: Some(1_000.0),
        remaining: None,
    }));
    if weights.step % label(spec, "checkpoint_every").unwrap_or(5) == 0 {
        save(*weights);
    }
    Ok(None)
}
