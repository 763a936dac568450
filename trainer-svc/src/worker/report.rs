//! From the training loop's reports to the contract's, with rates and the time that is left.

use std::time::{Duration, Instant};

use trainer_kit::event::{Checkpoint, Evaluation, EvaluationKind, Progress, Severity};

use super::estimate::Measured as Speed;
use crate::runs::{self, Desk, Prepared};
use crate::train::{Measured, Observer, Report, Wish};

/// Time between two reports of progress without a step at least.
const REPEAT: Duration = Duration::from_secs(1);
/// Weight of the newest step in the moving averages of rates.
const NEWEST: f64 = 0.1;

/// Tells the desk.
pub(super) struct Reporter<'a> {
    desk: &'a dyn Desk,
    model_digest: &'a str,
    interval: Duration,
    /// The same without a step.
    repeat: Duration,
    /// When the last step ended, and when progress was last reported.
    last_step: Instant,
    last_report: Option<Instant>,
    /// As it was last reported.
    latest: Option<Progress>,
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
            repeat: interval.max(REPEAT),
            last_step: Instant::now(),
            last_report: None,
            latest: None,
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
        let left = self.seconds_per_step.unwrap_or(0.0) * total.saturating_sub(step) as f64;
        let progress = Progress {
            step: whole(step),
            total_steps: Some(whole(total)),
            training_loss: Some(loss),
            tokens_per_second: self.tokens_per_second,
            remaining: Duration::try_from_secs_f64(left).ok(),
        };
        let interval = if step == total { Duration::ZERO } else { self.interval };
        self.tell(progress, now, interval);
    }

    /// Reports progress when so much time has passed.
    fn tell(&mut self, progress: Progress, now: Instant, interval: Duration) {
        if self.last_report.is_none_or(|last| now - last >= interval) {
            self.last_report = Some(now);
            self.latest = Some(progress.clone());
            self.desk.report(runs::Report::Progress(progress));
        } else {
            self.desk.alive();
        }
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

    /// Where a step or an evaluation takes long, the time that is left is news.
    fn alive(&mut self) {
        let Some((mut progress, last)) = self.latest.clone().zip(self.last_report) else {
            self.desk.alive();
            return;
        };
        let now = Instant::now();
        progress.remaining = progress.remaining.map(|left| left.saturating_sub(now - last));
        self.tell(progress, now, self.repeat);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::runs::Stop;

    #[derive(Default)]
    struct Notes {
        progress: Mutex<Vec<Progress>>,
        alive: Mutex<usize>,
        stop: Stop,
    }

    impl Desk for Notes {
        fn report(&self, report: runs::Report) {
            if let runs::Report::Progress(progress) = report {
                self.progress.lock().unwrap().push(progress);
            }
        }

        fn alive(&self) {
            *self.alive.lock().unwrap() += 1;
        }

        fn stop(&self) -> &Stop {
            &self.stop
        }
    }

    fn step(step: u64) -> Report {
        Report::Step {
            step,
            total: 1_000,
            loss: 2.0,
            tokens: 64,
        }
    }

    #[test]
    fn long_work_between_steps_is_told_as_the_time_that_is_left() {
        let notes = Notes::default();
        let mut reporter = Reporter::new(&notes, "", Duration::ZERO);
        reporter.repeat = Duration::ZERO;
        reporter.alive();
        std::thread::sleep(Duration::from_millis(5));
        reporter.report(step(1));
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(2));
            reporter.alive();
        }
        let told = notes.progress.lock().unwrap().clone();
        assert_eq!(told.iter().map(|progress| progress.step).collect::<Vec<_>>(), [1, 1, 1]);
        assert!(
            told.windows(2).all(|pair| pair[1].remaining < pair[0].remaining),
            "{told:?}"
        );
        assert_eq!(
            *notes.alive.lock().unwrap(),
            1,
            "before the first step there is nothing to tell"
        );
    }

    #[test]
    fn where_every_step_is_told_a_fast_evaluation_is_not() {
        let notes = Notes::default();
        let mut reporter = Reporter::new(&notes, "", Duration::ZERO);
        for number in 1..4 {
            reporter.report(step(number));
            reporter.alive();
        }
        assert_eq!(notes.progress.lock().unwrap().len(), 3);
        assert_eq!(*notes.alive.lock().unwrap(), 3);
    }

    #[test]
    fn it_is_told_no_more_often_than_asked_for() {
        let notes = Notes::default();
        let mut reporter = Reporter::new(&notes, "", Duration::from_hours(1));
        reporter.report(step(1));
        reporter.report(step(2));
        reporter.alive();
        reporter.report(step(1_000));
        let told = notes.progress.lock().unwrap().clone();
        assert_eq!(
            told.iter().map(|progress| progress.step).collect::<Vec<_>>(),
            [1, 1_000]
        );
        assert_eq!(*notes.alive.lock().unwrap(), 2);
    }
}
