//! How a run will go: its work laid out in simulated time, memory, and money, before it begins.
//!
//! Time of training: C·N·T / F seconds an example, with N weights, T tokens a sequence, F = `flops` of the device, and
//! C = 6 for full tuning (Kaplan et al. 2020, arXiv 2001.08361, section 2.1: 2 forward, 4 backward), 4 for adapters and
//! prompts, whose frozen weights need no gradient of their own. Time of evaluation: 2·N·T / F an example.
//! Memory: 16 bytes a weight for full tuning (weights, gradients, two moments, master copy), 2.4 for adapters and 2.2 for
//! prompts, and 2 bytes · batch · T · √N · 24 of activations.

use std::time::Duration;

use crate::defaults::{DEFAULT_BATCH_SIZE, DEFAULT_SEQUENCE_LENGTH};
use crate::event::{Evaluation, EvaluationKind};
use crate::law::{Law, deviate, fingerprint, parameters_of, unit};
use crate::overrides::{Fault, FaultPoint, Overrides};
use crate::settings::Settings;
use crate::spec::{MethodKind, Spec};

/// Examples in every set that is evaluated on.
const EVALUATION_EXAMPLES: i64 = 512;
/// Progress events of one run at most, whatever its length.
const MAX_TICKS: f64 = 500.0;
/// Longest work, simulated seconds: what would be longer takes this long.
const MAX_SECONDS: f64 = 3e9;

/// What a stage does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Trains up to this size (examples) and step.
    Train {
        /// Examples when it ends.
        to_size: i64,
        /// Steps when it ends.
        to_step: i64,
    },
    /// Evaluates on held-out data, at this size.
    HeldOut(i64),
    /// Evaluates on the retention set of this index.
    Retention {
        /// Index in the spec.
        set: usize,
        /// After tuning?
        after: bool,
    },
}

/// A piece of work; times are simulated seconds since the run began to run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// When it begins.
    pub start: f64,
    /// When it ends, ≥ start.
    pub end: f64,
    /// Steps done when it begins.
    pub from_step: i64,
    /// Examples tuned on when it begins.
    pub from_size: i64,
    /// What is done.
    pub work: Work,
}

/// The whole of a run's work.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// In order, without gaps.
    pub stages: Vec<Stage>,
    /// All work, simulated seconds.
    pub total: f64,
    /// Optimizer steps; 0 for runs that only evaluate.
    pub steps: i64,
    /// Simulated seconds between two progress events.
    pub tick: f64,
    /// Throughput of training, tokens per simulated second.
    pub tokens_per_second: f64,
    /// Tokens a sequence.
    pub sequence_length: i64,
    /// Device memory, bytes.
    pub memory_bytes: i64,
    /// The law of the losses.
    pub law: Law,
    /// Relative standard deviation of the losses.
    pub noise: f64,
    /// Examples that the data hold, where that is bounded.
    pub examples: Option<i64>,
    /// A fault, and the work after which it happens.
    pub fault: Option<(f64, Fault)>,
}

impl Plan {
    /// The plan of a spec with its defaults filled in. The same spec gives the same plan.
    #[must_use]
    pub fn new(id: &str, spec: &Spec, overrides: &Overrides, settings: &Settings) -> Self {
        let kind = spec.method.kind();
        let parameters = overrides.parameters.unwrap_or_else(|| parameters_of(&spec.model.uri));
        let chosen = &spec.hyperparameters;
        let sequence_length = i64::from(chosen.sequence_length.unwrap_or(DEFAULT_SEQUENCE_LENGTH));
        let batch = i64::from(chosen.batch_size.unwrap_or(DEFAULT_BATCH_SIZE));
        let pass = parameters * sequence_length as f64 / settings.flops;
        let factor = if kind == MethodKind::Full { 6.0 } else { 4.0 };
        let per_example = overrides.seconds_per_example.unwrap_or(factor * pass);
        let evaluation = overrides
            .seconds_per_example
            .map_or(2.0 * pass, |seconds| seconds / 3.0)
            * EVALUATION_EXAMPLES as f64;

        let steps = total_steps(spec, batch);
        let mut layout = Layout::new(batch as f64 * per_example, evaluation);
        layout.lay_out(spec, steps);
        let (stages, total) = layout.finish();
        let tick = settings
            .progress_interval
            .as_secs_f64()
            .max(total / MAX_TICKS)
            .max(1e-3);
        let mut plan = Self {
            stages,
            total,
            steps,
            tick,
            tokens_per_second: sequence_length as f64 / per_example,
            sequence_length,
            memory_bytes: memory(kind, parameters, batch * sequence_length),
            law: overrides
                .law
                .unwrap_or_else(|| declared(spec, kind, settings, parameters)),
            noise: overrides.noise.unwrap_or(settings.noise),
            examples: overrides.examples,
            fault: None,
        };
        plan.fault = plan.planned_fault(id, overrides, settings);
        plan
    }

    fn planned_fault(&self, id: &str, overrides: &Overrides, settings: &Settings) -> Option<(f64, Fault)> {
        let default = FaultPoint::Share(settings.fault_at);
        let by_chance = || {
            let drawn = unit(fingerprint(&[b"fault", id.as_bytes()]));
            settings.fault.filter(|_| drawn < settings.fault_probability)
        };
        let fault = overrides.fault.or_else(by_chance)?;
        let at = match overrides.fault_point.unwrap_or(default) {
            FaultPoint::Share(share) => share * self.total,
            FaultPoint::Step(step) => self.time_of_step(step),
        };
        Some((at, fault))
    }

    /// When a step is done; the end, if there is no such step.
    fn time_of_step(&self, step: i64) -> f64 {
        let stage = self.stages.iter().find(|stage| match stage.work {
            Work::Train { to_step, .. } => step <= to_step,
            _ => false,
        });
        let Some(stage) = stage else { return self.total };
        let Work::Train { to_step, .. } = stage.work else {
            return self.total;
        };
        let steps = (to_step - stage.from_step).max(1) as f64;
        let share = ((step - stage.from_step) as f64 / steps).clamp(0.0, 1.0);
        stage.start + share * (stage.end - stage.start)
    }

    /// Steps and examples done at a moment of a stage.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "shares of numbers that are in range themselves"
    )]
    pub fn position(stage: &Stage, done: f64) -> (i64, i64) {
        let Work::Train { to_size, to_step } = stage.work else {
            return (stage.from_step, stage.from_size);
        };
        let length = stage.end - stage.start;
        let share = if length > 0.0 {
            ((done - stage.start) / length).clamp(0.0, 1.0)
        } else {
            1.0
        };
        // Beyond 2^53 the product rounds up past the end: the sum must not overflow before it is cut.
        let between = |from: i64, to: i64| from.saturating_add(((to - from) as f64 * share).floor() as i64);
        (
            between(stage.from_step, to_step).min(to_step),
            between(stage.from_size, to_size).min(to_size),
        )
    }

    /// The loss on the batch at a position; less certain than an evaluation.
    #[must_use]
    pub fn training_loss(&self, spec: &Spec, size: i64, step: i64) -> f64 {
        self.law.loss(size) * (0.02 * deviate(spec, "training", step)).exp()
    }

    /// The held-out evaluation at a size. At size 0 the checkpoint's own loss: the same for every method and seed.
    #[must_use]
    pub fn held_out(&self, spec: &Spec, size: i64) -> Evaluation {
        let noise = if size == 0 {
            0.0
        } else {
            self.noise * deviate(spec, "held-out", size)
        };
        self.evaluation(
            EvaluationKind::HeldOut,
            size,
            self.law.loss(size) * noise.exp(),
            String::new(),
        )
    }

    /// The evaluation on a retention set; `None` when there is no such set. Before tuning the loss r is log-uniform in
    /// 1.5 to 4.5 nats by model and set; after D examples it is r·(1 + f·D / (D + 5,000)), f = 0.08 for full tuning,
    /// 0.03 for adapters, 0.01 for prompts, with noise.
    #[must_use]
    pub fn retention(&self, spec: &Spec, set: usize, after: bool) -> Option<Evaluation> {
        let set = spec.retention_sets.get(set)?;
        let drawn = unit(fingerprint(&[
            b"retention",
            spec.model.uri.as_bytes(),
            set.data.uri.as_bytes(),
        ]));
        let before = 1.5 * 3_f64.powf(drawn);
        let (kind, size) = if after {
            (EvaluationKind::RetentionAfter, spec.data_size_max())
        } else {
            (EvaluationKind::RetentionBefore, 0)
        };
        let forgetting = match spec.method.kind() {
            MethodKind::Full => 0.08,
            MethodKind::Lora => 0.03,
            MethodKind::Prompt => 0.01,
        };
        let examples = size as f64;
        let noise = if size == 0 {
            0.0
        } else {
            self.noise * deviate(spec, &set.data.uri, size)
        };
        let loss = before * (1.0 + forgetting * examples / (examples + 5_000.0)) * noise.exp();
        Some(self.evaluation(kind, size, loss, set.name.clone()))
    }

    fn evaluation(&self, kind: EvaluationKind, data_size: i64, loss: f64, retention_set: String) -> Evaluation {
        Evaluation {
            kind,
            data_size,
            loss,
            standard_error: Some(self.noise * loss),
            tokens: EVALUATION_EXAMPLES * self.sequence_length * 3 / 4 + 1,
            examples: EVALUATION_EXAMPLES,
            truncated_examples: EVALUATION_EXAMPLES / 64,
            retention_set,
        }
    }
}

/// Optimizer steps for the largest size: as asked for, or passes over the subset.
fn total_steps(spec: &Spec, batch: i64) -> i64 {
    let size = spec.data_size_max();
    if size == 0 {
        return 0;
    }
    if let Some(steps) = spec.hyperparameters.steps {
        return i64::from(steps);
    }
    let sequences = i128::from(size) * i128::from(spec.hyperparameters.epochs.unwrap_or(1));
    i64::try_from((sequences + i128::from(batch) - 1) / i128::from(batch)).unwrap_or(i64::MAX)
}

fn declared(spec: &Spec, kind: MethodKind, settings: &Settings, parameters: f64) -> Law {
    let fits = |declared: &&crate::settings::DeclaredLaw| declared.model_uri == spec.model.uri;
    let of_method = settings.laws.iter().filter(fits).find(|law| law.method == Some(kind));
    let of_model = || settings.laws.iter().filter(fits).find(|law| law.method.is_none());
    of_method.or_else(of_model).map_or_else(
        || Law::derived(&spec.model.uri, kind, parameters),
        |declared| declared.law,
    )
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "floating-point casts saturate; the value is positive"
)]
fn memory(kind: MethodKind, parameters: f64, tokens: i64) -> i64 {
    let per_weight = match kind {
        MethodKind::Full => 16.0,
        MethodKind::Lora => 2.4,
        MethodKind::Prompt => 2.2,
    };
    (parameters * per_weight + 48.0 * tokens as f64 * parameters.sqrt()).max(1.0) as i64
}

struct Layout {
    stages: Vec<Stage>,
    now: f64,
    step: i64,
    size: i64,
    step_seconds: f64,
    evaluation: f64,
}

impl Layout {
    fn new(step_seconds: f64, evaluation: f64) -> Self {
        Self {
            stages: Vec::new(),
            now: 0.0,
            step: 0,
            size: 0,
            step_seconds,
            evaluation,
        }
    }

    fn add(&mut self, seconds: f64, work: Work) {
        let start = self.now;
        self.now = (start + seconds).min(MAX_SECONDS);
        self.stages.push(Stage {
            start,
            end: self.now,
            from_step: self.step,
            from_size: self.size,
            work,
        });
        if let Work::Train { to_size, to_step } = work {
            (self.size, self.step) = (to_size, to_step);
        }
    }

    /// Retention sets, then each size in turn: train up to it, evaluate; retention sets again.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a share of the steps, which are in range themselves"
    )]
    fn lay_out(&mut self, spec: &Spec, steps: i64) {
        for set in 0..spec.retention_sets.len() {
            self.add(self.evaluation, Work::Retention { set, after: false });
        }
        let largest = spec.data_size_max();
        for &size in &spec.data_sizes {
            if size > 0 {
                let share = size as f64 / largest.max(1) as f64;
                let to_step = if size == largest {
                    steps
                } else {
                    (steps as f64 * share).ceil() as i64
                };
                let seconds = (to_step - self.step) as f64 * self.step_seconds;
                self.add(seconds, Work::Train { to_size: size, to_step });
            }
            self.add(self.evaluation, Work::HeldOut(size));
        }
        for set in 0..spec.retention_sets.len() {
            self.add(self.evaluation, Work::Retention { set, after: true });
        }
    }

    fn finish(self) -> (Vec<Stage>, f64) {
        (self.stages, self.now)
    }
}

/// Whether a run could be done, and what it would take.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Why not, `UPPER_SNAKE_CASE`; absent when it could.
    pub infeasible: Option<(&'static str, String)>,
    /// Bytes of device memory.
    pub memory_bytes: i64,
    /// Device-seconds, expected.
    pub device_seconds: f64,
    /// Examples that the data hold; absent: without bound.
    pub examples: Option<i64>,
}

impl Estimate {
    /// Of a plan on these settings' devices (or the one it asks for).
    #[must_use]
    pub fn new(plan: &Plan, spec: &Spec, settings: &Settings) -> Self {
        let memory = settings
            .devices
            .iter()
            .filter(|device| spec.device.is_empty() || device.name == spec.device)
            .map(|device| device.memory_bytes)
            .max()
            .unwrap_or(0);
        let too_few = plan.examples.filter(|examples| *examples < spec.data_size_max());
        let infeasible = if plan.memory_bytes > memory {
            Some((
                "OUT_OF_MEMORY",
                format!(
                    "needs {} bytes of device memory, a device has {memory}",
                    plan.memory_bytes
                ),
            ))
        } else {
            too_few.map(|examples| ("TOO_FEW_EXAMPLES", format!("the data hold {examples} examples")))
        };
        Self {
            infeasible,
            memory_bytes: plan.memory_bytes,
            device_seconds: settings.prepare.as_secs_f64() + plan.total,
            examples: plan.examples,
        }
    }
}

/// Simulated seconds as a duration; what is out of range becomes the nearest that is not.
#[must_use]
pub fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, 1e11)).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests;
