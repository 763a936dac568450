//! `finepick rank`.

use std::collections::HashMap;

use finepick_proto::selector::v1 as selector;

use super::{Input, Outcome, json, log_spaced, print, read_curves, write_plot};
use crate::args::{OutputFormat, RankArgs};
use crate::backend::Backend;
use crate::error::CliError;
use crate::output::{self, RankAnswer};
use crate::plot::{self, ForecastPoint, PlotPoint, PlotScene, PlotSeries};
use crate::request;
use crate::table::{Align, Cell, Column, Style, Table};
use crate::terminal::Terminal;
use crate::text::{examples, interval, loss, percent};

/// Sizes at which a plot shows the forecast between the budget and the full size.
const PLOTTED_SIZES: u32 = 24;

/// Ranks the candidates of a file.
///
/// # Errors
/// What is wrong with the command line, the file or the call.
pub async fn run(args: &RankArgs, backend: &mut Backend, terminal: &Terminal) -> Result<Outcome, CliError> {
    let policy = request::ranking_policy(args.policy, &args.parameters)?;
    let constraints = request::constraints(&args.constraints)?;
    let budget_size = match (args.budget.budget_size, args.budget.budget_ratio) {
        (Some(size), _) => size,
        (None, Some(ratio)) => request::budget_size(args.full_size, ratio)?,
        (None, None) => {
            return Err(CliError::Usage(
                "--budget-size or --budget-ratio is required".to_owned(),
            ));
        }
    };
    let input = read_curves(&args.input.curves, &args.input.reading)?;
    let forecast_data_sizes = if args.plot.is_some() {
        log_spaced(1.max(budget_size), args.full_size, PLOTTED_SIZES)
    } else {
        Vec::new()
    };
    let response = backend
        .selector
        .rank_candidates(selector::RankCandidatesRequest {
            candidates: request::candidates(&input.table),
            data_size_budget: budget_size,
            data_size_full: args.full_size,
            policy: Some(policy),
            constraints,
            interval_level: Some(args.answer.level),
            seed: Some(args.answer.seed),
            forecast_data_sizes: forecast_data_sizes.clone(),
        })
        .await?
        .into_inner();
    let answer = output::rank_answer(
        args.policy.name(),
        (budget_size, args.full_size),
        &response,
        &input.rejected,
    );
    if let Some(path) = &args.plot {
        write_plot(path, &plot::render_svg(&scene(&answer, &response, &input)), terminal)?;
    }
    print(&match args.format {
        OutputFormat::Json => json(&answer)?,
        OutputFormat::Csv => output::rank_csv(&answer),
        OutputFormat::Table => table(&answer, terminal),
    })?;
    Ok(input.outcome())
}

/// The answer for people.
fn table(answer: &RankAnswer, terminal: &Terminal) -> String {
    let truth_known = answer.candidates.iter().any(|candidate| candidate.true_loss.is_some());
    let shares = answer.candidates.iter().any(|candidate| candidate.win_share.is_some());
    let level = answer
        .candidates
        .iter()
        .find_map(|candidate| candidate.interval.as_ref().map(|i| i.level));
    let mut columns = vec![
        Column::new("#", Align::Right, 0),
        Column::new("candidate", Align::Left, 0),
        Column::new("predicted", Align::Right, 0),
        Column::new(
            &level.map_or("interval".to_owned(), |level| format!("{} interval", percent(level))),
            Align::Left,
            1,
        ),
    ];
    if shares {
        columns.push(Column::new("wins", Align::Right, 2));
    }
    if truth_known {
        columns.push(Column::new("true", Align::Right, 2));
    }
    columns.push(Column::new("points", Align::Right, 3));
    columns.push(Column::new("stopped by", Align::Left, 4));
    columns.push(Column::new("warnings", Align::Left, 5));
    let rows = answer
        .candidates
        .iter()
        .map(|candidate| {
            let style = if candidate.rank == 1 {
                Style::Strong
            } else {
                Style::Plain
            };
            let mut row = vec![
                Cell::styled(candidate.rank.to_string(), style),
                Cell::styled(candidate.candidate.clone(), style),
                Cell::styled(candidate.predicted_loss.map_or("-".to_owned(), loss), style),
                Cell::plain(interval(candidate.interval.as_ref())),
            ];
            if shares {
                row.push(Cell::plain(candidate.win_share.map_or("-".to_owned(), percent)));
            }
            if truth_known {
                row.push(Cell::plain(candidate.true_loss.map_or("-".to_owned(), loss)));
            }
            row.push(Cell::plain(candidate.points_used.to_string()));
            row.push(Cell::plain(candidate.stop.as_ref().map_or(
                "-".to_owned(),
                |stop| match stop.standardized_residual {
                    Some(residual) => format!("{} ({residual:.1} sd)", stop.reason),
                    None => stop.reason.clone(),
                },
            )));
            row.push(Cell::styled(candidate.warnings.join(" "), Style::Dim));
            row
        })
        .collect();
    let mut text = Table { columns, rows }.render(terminal.width, terminal.colour);
    text.push('\n');
    text.push_str(&summary(answer));
    text
}

fn summary(answer: &RankAnswer) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    if let Some(best) = answer.candidates.first() {
        let _ = write!(text, "Fine-tune {}", best.candidate);
        if let Some(predicted) = best.predicted_loss {
            let _ = write!(
                text,
                ": predicted loss {} at {} examples",
                loss(predicted),
                examples(answer.full_size)
            );
        }
        let _ = writeln!(
            text,
            " (policy {}, measured up to {}).",
            answer.policy,
            examples(answer.budget_size)
        );
    }
    if let Some(cost) = &answer.cost {
        let share = cost.examples as f64 / cost.exhaustive_examples.max(1) as f64;
        let _ = writeln!(
            text,
            "Cost: {} examples, {} of fine-tuning every candidate on all data.",
            examples(cost.examples),
            percent(share)
        );
    }
    if let Some(metrics) = &answer.metrics {
        let optional = |value: Option<f64>| value.map_or("undefined".to_owned(), |value| format!("{value:.4}"));
        let _ = writeln!(
            text,
            "Against the truth: PearCorr {}, RelAcc {}, regret {:.4} ({} of the best, {} at {}).",
            optional(metrics.pearson_correlation),
            optional(metrics.relative_accuracy),
            metrics.regret,
            percent(metrics.relative_regret),
            metrics.best,
            loss(metrics.best_true_loss)
        );
    }
    for warning in &answer.warning_details {
        let _ = writeln!(text, "Note: {}.", warning.detail.trim_end_matches('.'));
    }
    for excluded in &answer.excluded {
        let _ = writeln!(
            text,
            "Not ranked: {} ({}: {})",
            excluded.candidate, excluded.reason, excluded.detail
        );
    }
    text
}

/// The picture of a ranking.
fn scene(answer: &RankAnswer, response: &selector::RankCandidatesResponse, input: &Input) -> PlotScene {
    let ranked: HashMap<&str, &selector::RankedCandidate> = response
        .candidates
        .iter()
        .map(|candidate| (candidate.candidate_id.as_str(), candidate))
        .collect();
    let series = input
        .table
        .rows
        .iter()
        .map(|row| {
            let candidate = ranked.get(row.candidate.as_str()).copied();
            let used = candidate.map(|c| c.data_sizes_used.as_slice()).unwrap_or_default();
            let measured = row
                .observations
                .iter()
                .filter(|point| point.data_size > 0 && point.data_size <= answer.budget_size.unsigned_abs())
                .map(|point| PlotPoint {
                    x: point.data_size as f64,
                    y: point.test_loss,
                    used: i64::try_from(point.data_size).is_ok_and(|size| used.contains(&size)),
                })
                .collect();
            series(row.candidate.clone(), measured, candidate, answer.full_size)
        })
        .collect();
    let best = answer.candidates.first();
    PlotScene {
        title: best.map_or("No candidate could be ranked".to_owned(), |best| {
            format!("Fine-tune {}", best.candidate)
        }),
        subtitle: subtitle(answer),
        x_label: "fine-tuning examples".to_owned(),
        y_label: "held-out loss (nats per token)".to_owned(),
        verticals: vec![
            (
                answer.budget_size as f64,
                format!("measured up to {}", examples(answer.budget_size)),
            ),
            (
                answer.full_size as f64,
                format!("all data: {}", examples(answer.full_size)),
            ),
        ],
        series,
        ..PlotScene::default()
    }
}

fn subtitle(answer: &RankAnswer) -> String {
    let mut parts = vec![format!("policy {}", answer.policy)];
    if let Some(best) = answer.candidates.first()
        && let Some(predicted) = best.predicted_loss
    {
        let interval = best
            .interval
            .as_ref()
            .map(|i| format!(" ({} interval {}–{})", percent(i.level), loss(i.lower), loss(i.upper)))
            .unwrap_or_default();
        parts.push(format!("predicted loss {}{interval}", loss(predicted)));
    }
    if let Some(cost) = &answer.cost {
        let share = cost.examples as f64 / cost.exhaustive_examples.max(1) as f64;
        parts.push(format!("{} of the cost of trying all", percent(share)));
    }
    parts.join(" · ")
}

fn series(
    name: String,
    measured: Vec<PlotPoint>,
    candidate: Option<&selector::RankedCandidate>,
    full_size: i64,
) -> PlotSeries {
    let line = candidate.and_then(|c| c.line);
    let fitted = line
        .map(|line| {
            let at = |x: f64| (x, (line.intercept + line.slope * x.ln()).exp());
            measured
                .iter()
                .filter(|point| point.used)
                .map(|point| at(point.x))
                .collect()
        })
        .unwrap_or_default();
    let forecast = candidate
        .map(|c| {
            c.forecasts
                .iter()
                .map(|forecast| ForecastPoint {
                    x: forecast.data_size as f64,
                    y: forecast.predicted_loss,
                    band: forecast.interval.map(|interval| (interval.lower, interval.upper)),
                })
                .collect()
        })
        .unwrap_or_default();
    PlotSeries {
        name,
        rank: candidate.and_then(|c| u32::try_from(c.rank).ok()),
        highlight: candidate.is_some_and(|c| c.rank == 1),
        measured,
        fitted,
        forecast,
        truth: candidate
            .and_then(|c| c.true_loss)
            .map(|truth| (full_size as f64, truth)),
        note: candidate.is_none().then(|| "not ranked".to_owned()),
        ..PlotSeries::default()
    }
}
