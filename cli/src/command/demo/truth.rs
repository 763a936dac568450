//! What fine-tuning on all data really gives, against what was forecast.

use std::fmt::Write as _;

use finepick_proto::selector::v1 as selector;
use finepick_proto::trainer::v1 as trainer;
use trainer_client::{TrainerClient, state_name};

use crate::command::train::quietly;
use crate::error::CliError;
use crate::output::selection::{RankedContender, Report};
use crate::table::{Align, Cell, Column, Style, Table};
use crate::terminal::Terminal;
use crate::text::{examples, loss, percent};

/// A choice that loses less against the best is called right.
const CLOSE: f64 = 0.02;

/// A contender's forecast and its loss.
pub(super) struct Truth {
    name: String,
    predicted: Option<f64>,
    interval: Option<(f64, f64)>,
    loss: f64,
    /// Measured by the selection itself.
    known: bool,
}

impl Truth {
    /// Fine-tunes a contender on all data as the selection would have, or takes the loss that it has measured.
    pub(super) async fn of(
        contender: &RankedContender,
        report: &Report,
        spec: &selector::SelectionSpec,
        client: &TrainerClient,
    ) -> Result<Self, CliError> {
        let known = contender
            .observations
            .iter()
            .find(|point| point.data_size == report.full_size);
        let measured = match known {
            Some(point) => point.test_loss,
            None => measure(contender, report.full_size, spec, client).await?,
        };
        Ok(Self {
            name: contender.candidate.clone(),
            predicted: contender.predicted_loss,
            interval: contender
                .interval
                .as_ref()
                .map(|interval| (interval.lower, interval.upper)),
            loss: measured,
            known: known.is_some(),
        })
    }

    pub(super) fn line(&self) -> String {
        let how = if self.known {
            " (the selection has measured it)"
        } else {
            ""
        };
        format!("{}: loss {}{how}", self.name, loss(self.loss))
    }
}

async fn measure(
    contender: &RankedContender,
    full_size: i64,
    spec: &selector::SelectionSpec,
    client: &TrainerClient,
) -> Result<f64, CliError> {
    let candidate = spec.candidates.iter().find(|one| {
        one.candidate
            .as_ref()
            .is_some_and(|c| c.candidate_id == contender.candidate)
    });
    let method = spec.methods.first();
    let run = trainer::TrainingRunSpec {
        candidate_id: contender.candidate.clone(),
        model: candidate.and_then(|candidate| candidate.model.clone()),
        data: spec.data.clone(),
        held_out: spec.held_out.clone(),
        data_sizes: vec![full_size],
        method: method.and_then(|method| method.tuning.clone()),
        hyperparameters: method.and_then(|method| method.hyperparameters.clone()),
        seed: spec.seed,
        subset_seed: spec.subset_seed,
        ..trainer::TrainingRunSpec::default()
    };
    let run = quietly(client, run).await?;
    let found = run
        .evaluations
        .iter()
        .find(|evaluation| evaluation.data_size == full_size);
    found.map(|evaluation| evaluation.loss).ok_or_else(|| {
        CliError::Connection(format!(
            "fine-tuning {} on all data ended {}: {}",
            contender.candidate,
            state_name(run.state()),
            run.detail
        ))
    })
}

/// Forecasts against truth, and whether the choice was right.
pub(super) fn verdict(truths: &[Truth], report: &Report, terminal: &Terminal) -> String {
    let best = truths.iter().map(|truth| truth.loss).fold(f64::INFINITY, f64::min);
    let columns = vec![
        Column::new("#", Align::Right, 0),
        Column::new("candidate", Align::Left, 0),
        Column::new("forecast", Align::Right, 0),
        Column::new("true", Align::Right, 0),
        Column::new("off by", Align::Right, 1),
        Column::new("in interval", Align::Left, 2),
    ];
    let rows = truths.iter().enumerate().map(|(index, truth)| {
        let style = if truth.loss <= best {
            Style::Strong
        } else {
            Style::Plain
        };
        let within = truth.interval.map_or("-", |(lower, upper)| {
            if (lower..=upper).contains(&truth.loss) {
                "yes"
            } else {
                "no"
            }
        });
        let off = truth
            .predicted
            .map(|predicted| (predicted - truth.loss).abs() / truth.loss);
        vec![
            Cell::styled((index + 1).to_string(), style),
            Cell::styled(truth.name.clone(), style),
            Cell::styled(truth.predicted.map_or("-".to_owned(), loss), style),
            Cell::styled(loss(truth.loss), style),
            Cell::plain(off.map_or("-".to_owned(), percent)),
            Cell::plain(within.to_owned()),
        ]
    });
    let table = Table {
        columns,
        rows: rows.collect(),
    };
    let mut text = format!("\n{}\n", table.render(terminal.width, terminal.colour));
    text.push_str(&judgement(truths, best, report));
    text
}

/// Whether the choice was right, and what finding it took.
fn judgement(truths: &[Truth], best: f64, report: &Report) -> String {
    let mut text = String::new();
    let Some(chosen) = truths.first() else { return text };
    let regret = chosen.loss - best;
    let share = regret / best;
    if regret <= 0.0 {
        let _ = writeln!(text, "The choice, {}, is the best of them: no regret.", chosen.name);
    } else {
        let winner = truths
            .iter()
            .find(|truth| truth.loss <= best)
            .map_or("", |truth| truth.name.as_str());
        let judgement = if share <= CLOSE {
            "within 2% of the best"
        } else {
            "more than 2% behind the best"
        };
        let _ = writeln!(
            text,
            "The choice, {}, loses {} nats per token ({}) against {winner}: {judgement}.",
            chosen.name,
            loss(regret),
            percent(share)
        );
    }
    if let Some(spent) = &report.spent {
        let _ = writeln!(
            text,
            "Finding it took {} examples, {} of fine-tuning all {} on all data.",
            examples(spent.examples),
            percent(report.spent_share),
            report.contenders.len()
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(name: &str, predicted: f64, loss: f64) -> Truth {
        Truth {
            name: name.to_owned(),
            predicted: Some(predicted),
            interval: Some((predicted - 0.1, predicted + 0.1)),
            loss,
            known: false,
        }
    }

    #[test]
    fn a_choice_is_measured_against_the_best() {
        let report = Report::from(&selector::SelectionReport::default());
        let terminal = Terminal {
            is_terminal: false,
            width: None,
            colour: false,
            colour_on_stderr: false,
        };
        let said = |truths: &[Truth]| verdict(truths, &report, &terminal);
        assert!(said(&[truth("a", 3.0, 3.0), truth("b", 3.1, 3.2)]).contains("no regret"));
        assert!(said(&[truth("a", 3.0, 3.03), truth("b", 3.1, 3.0)]).contains("(1.0%) against b: within 2%"));
        assert!(said(&[truth("a", 3.0, 3.3), truth("b", 3.1, 3.0)]).contains("more than 2% behind"));
    }
}
