//! `finepick benchmark`: policies against tables whose full-size losses are known.

use std::fmt::Write as _;
use std::path::Path;

use finepick_proto::selector::v1 as selector;

use super::{Outcome, complain, json, print, read_curves};
use crate::args::{BenchmarkArgs, OutputFormat, Policy};
use crate::backend::Backend;
use crate::curves::CurveTable;
use crate::error::CliError;
use crate::output::{self, BenchmarkRow};
use crate::request;
use crate::table::{Align, Cell, Column, Style, Table};
use crate::terminal::Terminal;
use crate::text::examples;

/// Compares policies on full tables.
///
/// # Errors
/// What is wrong with the command line or a file. A cell that cannot be computed is a row with `error`.
pub async fn run(args: &BenchmarkArgs, backend: &mut Backend, terminal: &Terminal) -> Result<Outcome, CliError> {
    let mut rows = Vec::new();
    let mut outcome = Outcome::Complete;
    for path in &args.curves {
        let input = read_curves(path, &args.reading)?;
        if input.outcome() == Outcome::Partial {
            outcome = Outcome::Partial;
        }
        require_truth(&input.table, args.full_size)?;
        for ratio in &args.budget_ratios {
            request::budget_size(args.full_size, *ratio)?;
            for policy in &args.policies {
                rows.push(cell(args, path, &input.table, *policy, *ratio, backend).await?);
            }
        }
    }
    if rows.iter().any(|row| row.error.is_some()) {
        outcome = Outcome::Partial;
        for row in &rows {
            if let Some(error) = &row.error {
                complain(&format!(
                    "error: {}, {} at {}: {error}",
                    row.curves, row.policy, row.budget_ratio
                ));
            }
        }
    }
    print(&match args.format {
        OutputFormat::Json => json(&rows)?,
        OutputFormat::Csv => output::benchmark_csv(&rows),
        OutputFormat::Table => tables(args, &rows, terminal),
    })?;
    Ok(outcome)
}

/// A benchmark without a single true loss would compare nothing.
fn require_truth(table: &CurveTable, full_size: i64) -> Result<(), CliError> {
    let known = |row: &crate::curves::CurveRow| {
        row.observations
            .iter()
            .any(|point| i64::try_from(point.data_size).is_ok_and(|size| size == full_size))
    };
    if table.rows.iter().any(known) {
        return Ok(());
    }
    Err(CliError::Usage(format!(
        "{}: no candidate has a loss at the full size {full_size}, so there is no truth to compare with",
        table.name
    )))
}

async fn cell(
    args: &BenchmarkArgs,
    path: &Path,
    table: &CurveTable,
    policy: Policy,
    ratio: f64,
    backend: &mut Backend,
) -> Result<BenchmarkRow, CliError> {
    let empty = BenchmarkRow {
        curves: path.display().to_string(),
        policy: policy.name().to_owned(),
        budget_ratio: ratio,
        pearson_correlation: None,
        relative_accuracy: None,
        relative_regret: None,
        cost_examples: None,
        chosen: None,
        error: None,
    };
    let answer = if policy.is_adaptive() {
        simulated(args, table, policy, ratio, backend).await
    } else {
        ranked(args, table, policy, ratio, backend).await
    };
    match answer {
        Ok((metrics, cost, chosen)) => Ok(BenchmarkRow {
            pearson_correlation: metrics.as_ref().and_then(|m| m.pearson_correlation),
            relative_accuracy: metrics.as_ref().and_then(|m| m.relative_accuracy),
            relative_regret: metrics.as_ref().map(|m| m.relative_regret),
            cost_examples: cost,
            chosen,
            ..empty
        }),
        // The data do not allow this cell; the others may be fine.
        Err(CliError::Call(status))
            if matches!(
                status.code(),
                tonic::Code::FailedPrecondition | tonic::Code::ResourceExhausted
            ) =>
        {
            Ok(BenchmarkRow {
                error: Some(CliError::Call(status).to_string().replace('\n', ";")),
                ..empty
            })
        }
        Err(error) => Err(error),
    }
}

type CellAnswer = (Option<selector::Metrics>, Option<i64>, Option<String>);

async fn ranked(
    args: &BenchmarkArgs,
    table: &CurveTable,
    policy: Policy,
    ratio: f64,
    backend: &mut Backend,
) -> Result<CellAnswer, CliError> {
    let response = backend
        .selector
        .rank_candidates(selector::RankCandidatesRequest {
            candidates: request::candidates(table),
            data_size_budget: request::budget_size(args.full_size, ratio)?,
            data_size_full: args.full_size,
            policy: Some(request::ranking_policy(policy, &args.parameters)?),
            constraints: request::constraints(&args.constraints)?,
            interval_level: Some(args.answer.level),
            seed: Some(args.answer.seed),
            forecast_data_sizes: Vec::new(),
        })
        .await?
        .into_inner();
    let chosen = response
        .candidates
        .first()
        .map(|candidate| candidate.candidate_id.clone());
    Ok((response.metrics, response.cost.map(|cost| cost.examples), chosen))
}

async fn simulated(
    args: &BenchmarkArgs,
    table: &CurveTable,
    policy: Policy,
    ratio: f64,
    backend: &mut Backend,
) -> Result<CellAnswer, CliError> {
    let budget = selector::RelativeBudget {
        budget_ratio: ratio,
        fraction: Some(args.budget_fraction),
    };
    let response = backend
        .selector
        .simulate_selection(selector::SimulateSelectionRequest {
            candidates: request::candidates(table),
            data_size_full: args.full_size,
            policy: Some(request::adaptive_policy(policy, &args.parameters)?),
            constraints: request::constraints(&args.constraints)?,
            interval_level: Some(args.answer.level),
            seed: Some(args.answer.seed),
            budget: Some(selector::simulate_selection_request::Budget::RelativeBudget(budget)),
        })
        .await?
        .into_inner();
    Ok((response.metrics, Some(response.spent_examples), Some(response.chosen)))
}

/// One table per file and metric, as the paper prints them: policies down, budgets across, 4 places.
fn tables(args: &BenchmarkArgs, rows: &[BenchmarkRow], terminal: &Terminal) -> String {
    type Value = fn(&BenchmarkRow) -> Option<f64>;
    let metrics: [(&str, Value, bool); 3] = [
        (
            "PearCorr: Pearson correlation of predicted and true full-size loss",
            |row| row.pearson_correlation,
            true,
        ),
        (
            "RelAcc: (worst - chosen) / (worst - best)",
            |row| row.relative_accuracy,
            true,
        ),
        ("Relative regret: chosen / best - 1", |row| row.relative_regret, false),
    ];
    let mut text = String::new();
    for path in &args.curves {
        let name = path.display().to_string();
        for (title, value, higher_is_better) in metrics {
            let _ = writeln!(text, "{name}  {title}");
            text.push_str(&grid(args, rows, &name, value, higher_is_better).render(terminal.width, terminal.colour));
            text.push('\n');
        }
        let _ = writeln!(text, "{name}  Examples spent");
        text.push_str(&costs(args, rows, &name).render(terminal.width, terminal.colour));
        text.push('\n');
    }
    text
}

fn header(args: &BenchmarkArgs) -> Vec<Column> {
    let ratio = |ratio: &f64| {
        let inverse = 1.0 / ratio;
        if (inverse - inverse.round()).abs() < 1e-9 {
            format!("1/{inverse:.0}")
        } else {
            format!("{ratio:.4}")
        }
    };
    let budgets = args
        .budget_ratios
        .iter()
        .map(|r| Column::new(&ratio(r), Align::Right, 0));
    std::iter::once(Column::new("policy", Align::Left, 0))
        .chain(budgets)
        .collect()
}

fn find<'a>(rows: &'a [BenchmarkRow], name: &str, policy: Policy, ratio: f64) -> Option<&'a BenchmarkRow> {
    rows.iter()
        .find(|row| row.curves == name && row.policy == policy.name() && row.budget_ratio.total_cmp(&ratio).is_eq())
}

fn grid(
    args: &BenchmarkArgs,
    rows: &[BenchmarkRow],
    name: &str,
    value: fn(&BenchmarkRow) -> Option<f64>,
    higher_is_better: bool,
) -> Table {
    let at = |policy: Policy, ratio: f64| find(rows, name, policy, ratio).and_then(value);
    let best = |ratio: f64| {
        let values = args.policies.iter().filter_map(|policy| at(*policy, ratio));
        values.reduce(if higher_is_better { f64::max } else { f64::min })
    };
    let cell = |policy: Policy, ratio: f64| match at(policy, ratio) {
        Some(value) if best(ratio).is_some_and(|best| best.total_cmp(&value).is_eq()) => {
            Cell::styled(format!("{value:.4}"), Style::Strong)
        }
        Some(value) => Cell::plain(format!("{value:.4}")),
        None => Cell::styled("-".to_owned(), Style::Dim),
    };
    let lines = args.policies.iter().map(|policy| {
        let cells = args.budget_ratios.iter().map(|ratio| cell(*policy, *ratio));
        std::iter::once(Cell::plain(policy.name().to_owned()))
            .chain(cells)
            .collect()
    });
    Table {
        columns: header(args),
        rows: lines.collect(),
    }
}

fn costs(args: &BenchmarkArgs, rows: &[BenchmarkRow], name: &str) -> Table {
    let lines = args.policies.iter().map(|policy| {
        let cells = args.budget_ratios.iter().map(|ratio| {
            let cost = find(rows, name, *policy, *ratio).and_then(|row| row.cost_examples);
            Cell::plain(cost.map_or("-".to_owned(), examples))
        });
        std::iter::once(Cell::plain(policy.name().to_owned()))
            .chain(cells)
            .collect()
    });
    Table {
        columns: header(args),
        rows: lines.collect(),
    }
}
