//! From the training loop's reports to the contract's, with rates and the time that is left.

use std::time::{Duration, Instant};

use trainer_kit::event::{Checkpoint, Evaluation, EvaluationKind, Progress, Severity};

use super::estimate::Measured as Speed;
use crate::runs::{self, Desk, Prepared};
use crate::train::{Measured, Observer, Report, Wish};

/// Weight of the newest step in the moving averages of rates.
const NEWEST: f64 = 0.1;

/// Tells the desk.
pub(super) struct Reporter<'a> {
    desk: &'a dyn Desk,
    model_digest: &'a str,
    interval: Duration,
    /// When the last step ended, and when progress was last reported.
    last_step: Instant,
    last_report: Option<Instant>,
    seconds_per_step: Option<f64>,
    tokens_per_second: Option<f64>,
    stage_tokens: u64,
    busy: f64,
    parameters: u64,
    trained: u64,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(desk: &'a dyn Desk, model_digest: &'a str, interval: Duration) -> Self {
        Self {
            desk,
            model_digest,
            interval,
            last_step: Instant::now(),
            last_report: None,
            seconds_per_step: None,
            tokens_per_second: None,
            stage_tokens: 0,
            busy: 0.0,
            parameters: 0,
            trained: 0,
        }
    }

    /// Tokens trained on, and the seconds that took.
    pub(super) fn pace(&self) -> Speed {
        Speed {
            parameters: self.parameters,
            trained: self.trained,
            tokens: self.stage_tokens,
            seconds: self.busy,
        }
    }

    fn step(&mut self, step: u64, total: u64, loss: f64, tokens: u64) {
        let now = Instant::now();
        let seconds = (now - self.last_step).as_secs_f64().max(1e-9);
        self.last_step = now;
        self.stage_tokens += tokens;
        self.busy += seconds;
        let blend = |old: Option<f64>, new: f64| Some(old.map_or(new, |old| old + NEWEST * (new - old)));
        self.seconds_per_step = blend(self.seconds_per_step, seconds);
        self.tokens_per_second = blend(self.tokens_per_second, tokens as f64 / seconds);
        let is_due = self.last_report.is_none_or(|last| now - last >= self.interval);
        if !(is_due || step == total) {
            self.desk.alive();
            return;
        }
        self.last_report = Some(now);
        let left = self.seconds_per_step.unwrap_or(0.0) * total.saturating_sub(step) as f64;
        self.desk.report(runs::Report::Progress(Progress {
            step: whole(step),
            total_steps: Some(whole(total)),
            training_loss: Some(loss),
            tokens_per_second: self.tokens_per_second,
            remaining: Duration::try_from_secs_f64(left).ok(),
        }));
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Observer for Reporter<'_> {
    fn report(&mut self, report: Report) {
        let report = match report {
            Report::Step {
                step,
                total,
                loss,
                tokens,
            } => return self.step(step, total, loss, tokens),
            Report::Prepared {
                data_digest,
                total_steps,
                sequence_length,
                parameters,
                trained,
            } => {
                (self.parameters, self.trained) = (parameters, trained);
                runs::Report::Prepared(Prepared {
                    model_digest: self.model_digest.to_owned(),
                    data_digest,
                    total_steps: Some(whole(total_steps)),
                    sequence_length: i32::try_from(sequence_length).ok(),
                })
            }
            Report::Evaluated {
                on,
                data_size,
                measurement,
            } => {
                let (kind, retention_set) = match on {
                    Measured::HeldOut => (EvaluationKind::HeldOut, String::new()),
                    Measured::RetentionBefore(name) => (EvaluationKind::RetentionBefore, name),
                    Measured::RetentionAfter(name) => (EvaluationKind::RetentionAfter, name),
                };
                runs::Report::Evaluation(Evaluation {
                    kind,
                    data_size: i64::try_from(data_size).unwrap_or(i64::MAX),
                    loss: measurement.loss,
                    standard_error: measurement.standard_error,
                    tokens: whole(measurement.tokens),
                    examples: whole(measurement.examples),
                    truncated_examples: whole(measurement.truncated),
                    retention_set,
                })
            }
            Report::Saved { step } => runs::Report::CheckpointSaved(Checkpoint {
                checkpoint_id: format!("step-{step}"),
                step: whole(step),
            }),
            Report::Note(text) => runs::Report::Log(Severity::Info, text),
            Report::Warning(text) => runs::Report::Log(Severity::Warning, text),
        };
        self.desk.report(report);
        // Measuring and saving are no part of a step's time.
        self.last_step = Instant::now();
    }

    fn wish(&mut self) -> Wish {
        match self.desk.stop().reason() {
            Some(_) => Wish::Pause,
            None => Wish::GoOn,
        }
    }

    fn alive(&mut self) {
        self.desk.alive();
    }
}
