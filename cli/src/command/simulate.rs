//! `finepick simulate`.

use std::fmt::Write as _;
use std::path::Path;

use finepick_proto::selector::v1 as selector;

use super::{Outcome, json, print, read_curves};
use crate::args::{OutputFormat, ReadingArgs, SimulateArgs};
use crate::backend::Backend;
use crate::error::CliError;
use crate::output::{self, SimulateAnswer};
use crate::request;
use crate::table::{Align, Cell, Column, Style, Table};
use crate::terminal::Terminal;
use crate::text::{examples, interval, loss, percent};

/// Replays a policy on a full table.
///
/// # Errors
/// What is wrong with the command line, a file or the call.
pub async fn run(args: &SimulateArgs, backend: &mut Backend, terminal: &Terminal) -> Result<Outcome, CliError> {
    use selector::simulate_selection_request::Budget;
    let history = args
        .history
        .iter()
        .map(|path| history(path, &args.input.reading, args.full_size))
        .collect::<Result<Vec<_>, _>>()?;
    let policy = request::replayed_policy(args.policy, &args.parameters, history)?;
    let constraints = request::constraints(&args.constraints)?;
    let budget = match (args.spend.budget_examples, args.spend.budget_ratio) {
        (Some(budget), _) => Budget::BudgetExamples(budget),
        (None, Some(budget_ratio)) => {
            request::budget_size(args.full_size, budget_ratio)?;
            Budget::RelativeBudget(selector::RelativeBudget {
                budget_ratio,
                fraction: Some(args.budget_fraction),
            })
        }
        (None, None) => {
            return Err(CliError::Usage(
                "--budget-ratio or --budget-examples is required".to_owned(),
            ));
        }
    };
    let input = read_curves(&args.input.curves, &args.input.reading)?;
    let response = backend
        .selector
        .simulate_selection(selector::SimulateSelectionRequest {
            candidates: request::candidates(&input.table),
            data_size_full: args.full_size,
            policy: Some(policy),
            constraints,
            interval_level: Some(args.answer.level),
            seed: Some(args.answer.seed),
            budget: Some(budget),
        })
        .await?
        .into_inner();
    let answer = output::simulate_answer(&args.policy.name(), &response, &input.rejected);
    print(&match args.format {
        OutputFormat::Json => json(&answer)?,
        OutputFormat::Csv => output::simulate_csv(&answer),
        OutputFormat::Table => table(&answer, terminal),
    })?;
    Ok(input.outcome())
}

/// The full-size losses of another data set.
fn history(path: &Path, reading: &ReadingArgs, full_size: i64) -> Result<selector::HistoryDataSet, CliError> {
    let input = read_curves(path, reading)?;
    let losses: Vec<_> = input
        .table
        .rows
        .iter()
        .filter_map(|row| {
            let full = row
                .observations
                .iter()
                .find(|p| i64::try_from(p.data_size).is_ok_and(|size| size == full_size));
            full.map(|point| selector::CandidateLoss {
                candidate_id: row.candidate.clone(),
                test_loss: point.test_loss,
            })
        })
        .collect();
    if losses.is_empty() {
        return Err(CliError::Usage(format!(
            "--history {}: no loss at the full size {full_size}",
            path.display()
        )));
    }
    Ok(selector::HistoryDataSet {
        data_set: path.display().to_string(),
        losses,
    })
}

/// The answer for people.
fn table(answer: &SimulateAnswer, terminal: &Terminal) -> String {
    let mut text = rungs(answer).render(terminal.width, terminal.colour);
    text.push('\n');
    text.push_str(&survivors(answer).render(terminal.width, terminal.colour));
    let share = |part: i64, whole: i64| percent(part as f64 / whole.max(1) as f64);
    let _ = writeln!(
        text,
        "\n{} chooses {}. Spent {} of {} examples ({}), {} of fine-tuning every candidate on all data.",
        answer.policy,
        answer.chosen,
        examples(answer.spent_examples),
        examples(answer.budget_examples),
        share(answer.spent_examples, answer.budget_examples),
        share(answer.spent_examples, answer.exhaustive_examples),
    );
    if let Some(metrics) = &answer.metrics {
        let _ = writeln!(
            text,
            "Against the truth: RelAcc {}, relative regret {:.4}; the best is {} at {}.",
            metrics
                .relative_accuracy
                .map_or("undefined".to_owned(), |value| format!("{value:.4}")),
            metrics.relative_regret,
            metrics.best,
            loss(metrics.best_true_loss)
        );
    }
    if let Some(alone) = &answer.history_alone {
        let _ = writeln!(text, "{}", alone.to_line("History"));
    }
    for warning in &answer.warning_details {
        let _ = writeln!(text, "Note: {}.", warning.detail.trim_end_matches('.'));
    }
    for excluded in &answer.excluded {
        let _ = writeln!(
            text,
            "Not trained: {} ({}: {})",
            excluded.candidate, excluded.reason, excluded.detail
        );
    }
    text
}

fn rungs(answer: &SimulateAnswer) -> Table {
    let columns = vec![
        Column::new("size", Align::Right, 0),
        Column::new("candidates", Align::Right, 0),
        Column::new("trained at", Align::Left, 3),
        Column::new("leader", Align::Left, 1),
        Column::new("kept", Align::Right, 2),
        Column::new("spent", Align::Right, 1),
    ];
    let rows = answer.rungs.iter().map(|rung| {
        vec![
            Cell::plain(examples(rung.data_size)),
            Cell::plain(rung.candidates.to_string()),
            Cell::plain(
                rung.trained_sizes
                    .iter()
                    .map(|size| examples(*size))
                    .collect::<Vec<_>>()
                    .join(" "),
            ),
            Cell::plain(rung.leader.clone()),
            Cell::plain(rung.kept.len().to_string()),
            Cell::plain(examples(rung.spent_examples)),
        ]
    });
    Table {
        columns,
        rows: rows.collect(),
    }
}

fn survivors(answer: &SimulateAnswer) -> Table {
    let columns = vec![
        Column::new("#", Align::Right, 0),
        Column::new("candidate", Align::Left, 0),
        Column::new("predicted", Align::Right, 0),
        Column::new("interval", Align::Left, 2),
        Column::new("dropped after", Align::Right, 1),
    ];
    let rows = answer.candidates.iter().map(|candidate| {
        let chosen = candidate.candidate == answer.chosen;
        let style = if chosen { Style::Strong } else { Style::Plain };
        let dropped = candidate
            .dropped_at_rung
            .and_then(|index| usize::try_from(index).ok())
            .and_then(|index| answer.rungs.get(index))
            .map_or("kept".to_owned(), |rung| examples(rung.data_size));
        vec![
            Cell::styled(candidate.rank.to_string(), style),
            Cell::styled(candidate.candidate.clone(), style),
            Cell::styled(loss(candidate.predicted_loss), style),
            Cell::plain(interval(candidate.interval.as_ref())),
            Cell::plain(dropped),
        ]
    });
    Table {
        columns,
        rows: rows.collect(),
    }
}
