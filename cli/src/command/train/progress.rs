//! What happens to a run, as it happens: a bar on a terminal, lines elsewhere. All of it on standard error.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use finepick_proto::trainer::v1 as pb;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pb::training_event::Kind;
use trainer_client::state_name;

use crate::command::complain;
use crate::curves::printable;
use crate::text::{examples, loss};

/// Without a total, lines of progress are at least so far apart.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Lines of progress of one run: one every so many percent.
const PERCENT_A_LINE: i64 = 10;

/// Shows events.
#[derive(Debug)]
pub(super) struct Progress {
    /// Hidden where standard error is no terminal.
    bar: ProgressBar,
    lines: bool,
    last_part: i64,
    last_line: Option<Instant>,
}

impl Progress {
    pub(super) fn new(id: &str) -> Self {
        let lines = !std::io::stderr().is_terminal();
        let bar = if lines {
            ProgressBar::hidden()
        } else {
            ProgressBar::no_length()
        };
        // The template is a constant that the tests have tried.
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(printable(id));
        Self {
            bar,
            lines,
            last_part: -1,
            last_line: None,
        }
    }

    /// Shows one event.
    pub(super) fn show(&mut self, event: &pb::TrainingEvent) {
        match &event.kind {
            Some(Kind::StateChanged(change)) => {
                self.bar.set_message(state_name(change.to()));
                self.say(&state_line(change));
            }
            Some(Kind::Progress(progress)) => self.advance(progress),
            Some(Kind::Evaluation(evaluation)) => self.say(&evaluation_line(evaluation)),
            Some(Kind::Log(line)) => self.say(&format!("log: {}", printable(&line.text))),
            Some(Kind::Checkpoint(saved)) => {
                self.say(&format!(
                    "checkpoint {} at step {}",
                    printable(&saved.checkpoint_id),
                    saved.step
                ));
            }
            Some(Kind::Cost(_) | Kind::Heartbeat(_)) | None => {}
        }
    }

    fn advance(&mut self, progress: &pb::Progress) {
        let step = u64::try_from(progress.step).unwrap_or(0);
        if let Some(total) = progress.total_steps.and_then(|total| u64::try_from(total).ok()) {
            self.bar.set_length(total);
        }
        self.bar.set_position(step);
        self.bar.set_message(progress_words(progress));
        if self.lines && self.is_line_due(progress) {
            complain(&progress_line(progress));
        }
    }

    /// Whether a line is due: every tenth of the way, or now and then where the way is not known.
    fn is_line_due(&mut self, progress: &pb::Progress) -> bool {
        if let Some(total) = progress.total_steps.filter(|total| *total > 0) {
            let part = progress.step.saturating_mul(100) / total / PERCENT_A_LINE;
            // Beyond the last one too: a run that goes back (after a restart) shows it.
            return std::mem::replace(&mut self.last_part, part) != part;
        }
        let due = self.last_line.is_none_or(|last| last.elapsed() >= LINE_INTERVAL);
        if due {
            self.last_line = Some(Instant::now());
        }
        due
    }

    /// A line that stays.
    pub(super) fn say(&self, line: &str) {
        if self.lines {
            complain(line);
        } else {
            self.bar.suspend(|| complain(line));
        }
    }

    /// Draws nothing until [`Progress::resume`]: somebody else has the terminal.
    pub(super) fn pause(&self) {
        self.bar.set_draw_target(ProgressDrawTarget::hidden());
    }

    /// Draws again.
    pub(super) fn resume(&self) {
        if !self.lines {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// Leaves the terminal as it was.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

const TEMPLATE: &str = "{prefix} {bar:30} {percent:>3}% {pos}/{len} {msg}";

fn state_line(change: &pb::StateChanged) -> String {
    let mut text = state_name(change.to()).to_owned();
    if change.wait_reason() != pb::WaitReason::Unspecified {
        let reason = change.wait_reason().as_str_name();
        text = format!("{text} ({})", reason.strip_prefix("WAIT_REASON_").unwrap_or(reason));
    }
    if change.failure() != pb::TrainingFailure::Unspecified {
        let failure = change.failure().as_str_name();
        text = format!(
            "{text} ({})",
            failure.strip_prefix("TRAINING_FAILURE_").unwrap_or(failure)
        );
    }
    if !change.detail.is_empty() {
        text = format!("{text}: {}", printable(&change.detail));
    }
    text
}

fn evaluation_line(evaluation: &pb::Evaluation) -> String {
    let on = match evaluation.kind() {
        pb::EvaluationKind::HeldOut | pb::EvaluationKind::Unspecified => "held-out".to_owned(),
        pb::EvaluationKind::RetentionBefore => format!("{} before", printable(&evaluation.retention_set)),
        pb::EvaluationKind::RetentionAfter => format!("{} after", printable(&evaluation.retention_set)),
    };
    let error = evaluation
        .standard_error
        .map_or_else(String::new, |error| format!(" +- {}", loss(error)));
    format!(
        "{on} loss at {} examples: {}{error}",
        examples(evaluation.data_size),
        loss(evaluation.loss)
    )
}

fn progress_words(progress: &pb::Progress) -> String {
    let mut words = Vec::new();
    words.extend(
        progress
            .training_loss
            .map(|value| format!("training loss {}", loss(value))),
    );
    words.extend(progress.tokens_per_second.map(|rate| format!("{rate:.0} tokens/s")));
    words.extend(
        progress
            .remaining
            .as_ref()
            .map(|left| format!("{} s left", left.seconds)),
    );
    words.join(", ")
}

fn progress_line(progress: &pb::Progress) -> String {
    let of = progress
        .total_steps
        .map_or_else(String::new, |total| format!(" of {total}"));
    let words = progress_words(progress);
    let comma = if words.is_empty() { "" } else { ", " };
    format!("step {}{of}{comma}{words}", progress.step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_in_words() {
        let change = pb::StateChanged {
            to: pb::TrainingRunState::Failed.into(),
            failure: pb::TrainingFailure::OutOfMemory.into(),
            detail: "too\u{1b}big".to_owned(),
            ..pb::StateChanged::default()
        };
        let line = state_line(&change);
        assert!(
            line.starts_with("FAILED (OUT_OF_MEMORY): too") && !line.contains('\u{1b}'),
            "{line}"
        );
        let progress = pb::Progress {
            step: 5,
            total_steps: Some(10),
            training_loss: Some(2.5),
            ..pb::Progress::default()
        };
        assert_eq!(progress_line(&progress), "step 5 of 10, training loss 2.5000");
        let evaluation = pb::Evaluation {
            data_size: 1_600,
            loss: 1.25,
            ..pb::Evaluation::default()
        };
        assert_eq!(evaluation_line(&evaluation), "held-out loss at 1,600 examples: 1.2500");
    }

    #[test]
    fn lines_come_every_tenth_of_the_way() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
        let mut shown = Progress::new("run");
        let at = |step| pb::Progress {
            step,
            total_steps: Some(1_000),
            ..pb::Progress::default()
        };
        let lines = (0..=1_000).filter(|step| shown.is_line_due(&at(*step))).count();
        assert_eq!(lines, 11);
    }
}
