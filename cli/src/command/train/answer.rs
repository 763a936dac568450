//! A run as it is printed.

use finepick_proto::trainer::v1 as pb;
use serde::Serialize;
use trainer_client::state_name;

use crate::command::trainers::answer::amount;
use crate::curves::printable;
use crate::table::{Align, Cell, Column, Table};
use crate::terminal::Terminal;
use crate::text::{examples, loss};

/// A training run. Keys are published; what is unknown is `null`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RunAnswer {
    id: String,
    candidate: String,
    state: &'static str,
    /// Why it waits.
    wait_reason: Option<String>,
    /// Why it failed.
    failure: Option<String>,
    detail: String,
    evaluations: Vec<EvaluationAnswer>,
    /// Optimizer steps done.
    step: Option<i64>,
    total_steps: Option<i64>,
    device_seconds: Option<f64>,
    cost: Option<f64>,
    currency: Option<String>,
    create_time: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
    instance_id: String,
    device: Option<String>,
    artifact_uri: Option<String>,
    model_digest: Option<String>,
    data_digest: Option<String>,
    last_sequence: i64,
    /// Training losses of the steps that were told; without --endpoint, of all.
    steps: Vec<StepLoss>,
}

/// A step's training loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct StepLoss {
    /// Counted from 1.
    step: i64,
    /// Nats per token, before the update.
    loss: f64,
}

impl StepLoss {
    /// The loss that an event tells, if it does.
    pub(super) fn of(event: &pb::TrainingEvent) -> Option<Self> {
        match &event.kind {
            Some(pb::training_event::Kind::Progress(progress)) => Some(Self {
                step: progress.step,
                loss: progress.training_loss?,
            }),
            _ => None,
        }
    }
}

/// A measured loss.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct EvaluationAnswer {
    /// `held_out`, `retention_before`, `retention_after`.
    kind: String,
    retention_set: Option<String>,
    data_size: i64,
    /// Nats per token.
    loss: f64,
    standard_error: Option<f64>,
    tokens: i64,
    examples: i64,
    truncated_examples: i64,
}

fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// The name of an enum value, unless it is the unspecified one.
fn named(name: &str, prefix: &str) -> Option<String> {
    let name = name.strip_prefix(prefix).unwrap_or(name);
    (name != "UNSPECIFIED").then(|| name.to_owned())
}

impl From<pb::Evaluation> for EvaluationAnswer {
    fn from(evaluation: pb::Evaluation) -> Self {
        let kind = evaluation.kind().as_str_name();
        Self {
            kind: kind
                .strip_prefix("EVALUATION_KIND_")
                .unwrap_or(kind)
                .to_ascii_lowercase(),
            retention_set: filled(evaluation.retention_set),
            data_size: evaluation.data_size,
            loss: evaluation.loss,
            standard_error: evaluation.standard_error,
            tokens: evaluation.tokens,
            examples: evaluation.examples,
            truncated_examples: evaluation.truncated_examples,
        }
    }
}

impl RunAnswer {
    /// A run, and what its steps lost.
    pub(super) fn of(run: pb::TrainingRun, steps: Vec<StepLoss>) -> Self {
        let money = run.cost.as_ref().and_then(|cost| cost.money.as_ref());
        Self {
            state: state_name(run.state()),
            wait_reason: named(run.wait_reason().as_str_name(), "WAIT_REASON_"),
            failure: named(run.failure().as_str_name(), "TRAINING_FAILURE_"),
            cost: money.map(amount),
            currency: money.map(|money| money.currency_code.clone()),
            device_seconds: run.cost.as_ref().map(|cost| cost.device_seconds),
            candidate: run.spec.map(|spec| spec.candidate_id).unwrap_or_default(),
            id: run.training_run_id,
            detail: run.detail,
            evaluations: run.evaluations.into_iter().map(EvaluationAnswer::from).collect(),
            step: run.progress.as_ref().map(|progress| progress.step),
            total_steps: run.progress.and_then(|progress| progress.total_steps),
            create_time: run.create_time.map(|time| time.to_string()),
            start_time: run.start_time.map(|time| time.to_string()),
            end_time: run.end_time.map(|time| time.to_string()),
            instance_id: run.instance_id,
            device: filled(run.device),
            artifact_uri: filled(run.artifact_uri),
            model_digest: filled(run.model_digest),
            data_digest: filled(run.data_digest),
            last_sequence: run.last_sequence,
            steps,
        }
    }
}

impl RunAnswer {
    /// For people.
    pub(super) fn to_text(&self, terminal: &Terminal) -> String {
        let mut text = format!("run {}: {}", printable(&self.id), self.state);
        for more in [&self.wait_reason, &self.failure].into_iter().flatten() {
            text = format!("{text} ({more})");
        }
        if !self.detail.is_empty() {
            text = format!("{text}: {}", printable(&self.detail));
        }
        text.push('\n');
        if !self.evaluations.is_empty() {
            text.push_str(&self.losses().render(terminal.width, terminal.colour));
        }
        if let Some(seconds) = self.device_seconds {
            let money = self.cost.zip(self.currency.as_ref());
            let money = money.map_or_else(String::new, |(cost, currency)| {
                format!(", {cost:.4} {}", printable(currency))
            });
            text = format!("{text}cost: {seconds:.1} device-seconds{money}\n");
        }
        if let Some(artifact) = &self.artifact_uri {
            text = format!("{text}weights: {}\n", printable(artifact));
        }
        text
    }

    fn losses(&self) -> Table {
        let row = |evaluation: &EvaluationAnswer| {
            let set = evaluation.retention_set.as_deref();
            let on = set.map_or_else(|| "held-out".to_owned(), |set| format!("{set} ({})", evaluation.kind));
            vec![
                Cell::plain(on.replace("retention_", "")),
                Cell::plain(examples(evaluation.data_size)),
                Cell::plain(loss(evaluation.loss)),
                Cell::plain(evaluation.standard_error.map_or_else(String::new, loss)),
                Cell::plain(examples(evaluation.tokens)),
            ]
        };
        Table {
            columns: vec![
                Column::new("data", Align::Left, 0),
                Column::new("tuned on", Align::Right, 0),
                Column::new("loss", Align::Right, 0),
                Column::new("+-", Align::Right, 1),
                Column::new("tokens", Align::Right, 2),
            ],
            rows: self.evaluations.iter().map(row).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_in_words_and_as_a_document() {
        let run = pb::TrainingRun {
            training_run_id: "run-1".to_owned(),
            state: pb::TrainingRunState::Failed.into(),
            failure: pb::TrainingFailure::OutOfMemory.into(),
            evaluations: vec![pb::Evaluation {
                kind: pb::EvaluationKind::HeldOut.into(),
                data_size: 1_600,
                loss: 1.25,
                tokens: 10_000,
                ..pb::Evaluation::default()
            }],
            cost: Some(pb::RunCost {
                device_seconds: 12.5,
                money: None,
            }),
            ..pb::TrainingRun::default()
        };
        let answer = RunAnswer::of(run, Vec::new());
        let terminal = Terminal {
            is_terminal: false,
            width: None,
            colour: false,
            colour_on_stderr: false,
        };
        let text = answer.to_text(&terminal);
        assert!(text.starts_with("run run-1: FAILED (OUT_OF_MEMORY)\n"), "{text}");
        assert!(
            text.contains("1,600") && text.contains("1.2500") && text.contains("12.5 device-seconds"),
            "{text}"
        );
        let document = serde_json::to_value(&answer).expect("JSON");
        assert_eq!(document["failure"], "OUT_OF_MEMORY");
        assert_eq!(document["evaluations"][0]["kind"], "held_out");
        assert!(document["wait_reason"].is_null() && document["cost"].is_null());
    }
}
