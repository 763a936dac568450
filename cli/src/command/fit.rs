//! `finepick fit`.

use std::collections::BTreeMap;

use finepick_proto::fitter::v1 as fitter;
use finepick_proto::types::v1::Prediction as Forecast;

use super::{Input, Outcome, json, log_spaced, print, read_curves, write_plot};
use crate::args::{FactorSignName, FitArgs, LawName, ObjectiveName, OutputFormat, UncertaintyName};
use crate::backend::Backend;
use crate::curves::CurveRow;
use crate::error::CliError;
use crate::output::{self, FitAnswer, Prediction};
use crate::plot::{self, ForecastPoint, PlotPoint, PlotScene, PlotSeries};
use crate::request;
use crate::table::{Align, Cell, Column, Style, Table};
use crate::terminal::Terminal;
use crate::text::{examples, interval, loss};

/// Sizes at which a plot shows the law.
const PLOTTED_SIZES: u32 = 60;

/// Fits a law to every curve of a file, or a joint law to every group of curves.
///
/// # Errors
/// What is wrong with the command line, the file or the call.
pub async fn run(args: &FitArgs, backend: &mut Backend, terminal: &Terminal) -> Result<Outcome, CliError> {
    let input = read_curves(&args.input.curves, &args.input.reading)?;
    let answers = if is_joint(args.law) {
        if args.plot.is_some() {
            return Err(CliError::Usage(
                "--plot shows laws of one curve each, not joint laws".to_owned(),
            ));
        }
        joint(args, backend, &input).await?
    } else {
        let (answers, fits) = single(args, backend, &input).await?;
        if let Some(path) = &args.plot {
            write_plot(path, &plot::render_svg(&scene(args, &fits, &input)), terminal)?;
        }
        answers
    };
    print(&match args.format {
        OutputFormat::Json => json(&answers)?,
        OutputFormat::Csv => output::fit_csv(&answers),
        OutputFormat::Table => table(&answers, terminal),
    })?;
    Ok(input.outcome())
}

fn is_joint(law: LawName) -> bool {
    matches!(
        law,
        LawName::Multiplicative | LawName::Additive | LawName::RectifiedJoint | LawName::RectifiedJointCommon
    )
}

fn law(name: LawName) -> fitter::Law {
    match name {
        LawName::Rectified => fitter::Law::Rectified,
        LawName::PowerWithFloor => fitter::Law::PowerWithFloor,
        LawName::Power => fitter::Law::Power,
        LawName::Vanilla => fitter::Law::Vanilla,
        LawName::Multiplicative => fitter::Law::Multiplicative,
        LawName::Additive => fitter::Law::Additive,
        LawName::RectifiedJoint => fitter::Law::RectifiedJoint,
        LawName::RectifiedJointCommon => fitter::Law::RectifiedJointCommon,
    }
}

fn objective(args: &FitArgs) -> Result<fitter::Objective, CliError> {
    use fitter::objective::Kind;
    let kind = match (args.objective, args.huber_width) {
        (ObjectiveName::Huber, width) => Kind::Huber(fitter::HuberObjective { width }),
        (ObjectiveName::LogRmse, None) => Kind::LogRmse(fitter::LogRmseObjective {}),
        (ObjectiveName::LogRmse, Some(_)) => {
            return Err(CliError::Usage("--huber-width needs --objective huber".to_owned()));
        }
    };
    Ok(fitter::Objective { kind: Some(kind) })
}

async fn single(
    args: &FitArgs,
    backend: &mut Backend,
    input: &Input,
) -> Result<(Vec<FitAnswer>, Vec<fitter::CurveFit>), CliError> {
    let mut predict_data_sizes = args.predict.clone();
    if args.plot.is_some() {
        predict_data_sizes.extend(plotted_sizes(args, &input.table.rows));
    }
    let method = match args.uncertainty {
        UncertaintyName::None => fitter::UncertaintyMethod::None,
        UncertaintyName::Covariance => fitter::UncertaintyMethod::Covariance,
        UncertaintyName::Bootstrap => fitter::UncertaintyMethod::Bootstrap,
    };
    let request = fitter::BatchFitCurvesRequest {
        curves: input.table.rows.iter().map(request::learning_curve).collect(),
        options: Some(fitter::FitOptions {
            law: law(args.law).into(),
            objective: Some(objective(args)?),
            data_size_max: args.max_size,
            predict_data_sizes,
            uncertainty: method.into(),
            bootstrap_draws: args.draws,
            return_draws: false,
            interval_level: Some(args.level),
            seed: Some(args.seed),
        }),
    };
    let fits = backend.fitter.batch_fit_curves(request).await?.into_inner().fits;
    let answers = fits.iter().map(|fit| output::fit_answer(fit, &args.predict)).collect();
    Ok((answers, fits))
}

/// From the smallest measured size to the largest measured or predicted one.
fn plotted_sizes(args: &FitArgs, rows: &[CurveRow]) -> Vec<i64> {
    let sizes = rows
        .iter()
        .flat_map(|row| &row.observations)
        .map(|point| point.data_size)
        .filter(|size| *size > 0);
    let sizes: Vec<i64> = sizes
        .filter_map(|size| i64::try_from(size).ok())
        .chain(args.predict.clone())
        .collect();
    match (sizes.iter().min(), sizes.iter().max()) {
        (Some(smallest), Some(largest)) => log_spaced(*smallest, *largest, PLOTTED_SIZES),
        _ => Vec::new(),
    }
}

/// The value of the extra factor of a row.
fn factor(row: &CurveRow, column: &str) -> Result<f64, CliError> {
    let value = if matches!(column, "parameters" | "size") {
        row.parameters.map(|count| count as f64)
    } else {
        row.attributes.get(column).and_then(|text| text.parse().ok())
    };
    match value {
        Some(value) if value.is_finite() && value > 0.0 => Ok(value),
        _ => Err(CliError::Usage(format!(
            "candidate {:?} has no positive number in column {column:?}, which --factor names",
            row.candidate
        ))),
    }
}

fn group(row: &CurveRow, column: &str) -> String {
    match column {
        "none" => "all".to_owned(),
        "family" => row.family.clone().unwrap_or_default(),
        _ => row.attributes.get(column).cloned().unwrap_or_default(),
    }
}

async fn joint(args: &FitArgs, backend: &mut Backend, input: &Input) -> Result<Vec<FitAnswer>, CliError> {
    let mut groups: BTreeMap<String, Vec<&CurveRow>> = BTreeMap::new();
    for row in &input.table.rows {
        groups.entry(group(row, &args.group_by)).or_default().push(row);
    }
    let mut answers = Vec::new();
    for (name, rows) in groups {
        let mut curves = Vec::new();
        let mut predict_points = Vec::new();
        let mut labels = Vec::new();
        for row in rows {
            let factor = factor(row, &args.factor)?;
            curves.push(fitter::FactorCurve {
                curve: Some(request::learning_curve(row)),
                factor,
            });
            for data_size in &args.predict {
                predict_points.push(fitter::FactorPoint {
                    factor,
                    data_size: *data_size,
                });
                labels.push((row.candidate.clone(), *data_size));
            }
        }
        let request = fitter::FitJointLawRequest {
            group: name,
            curves,
            law: law(args.law).into(),
            objective: Some(objective(args)?),
            data_size_max: args.max_size,
            predict_points,
            factor_sign: match args.factor_sign {
                None => fitter::FactorSign::Unspecified,
                Some(FactorSignName::NonNegative) => fitter::FactorSign::NonNegative,
                Some(FactorSignName::Any) => fitter::FactorSign::Any,
            }
            .into(),
        };
        let fit = backend
            .fitter
            .fit_joint_law(request)
            .await?
            .into_inner()
            .fit
            .unwrap_or_default();
        answers.push(output::joint_answer(&fit, &labels));
    }
    Ok(answers)
}

/// The answers for people.
fn table(answers: &[FitAnswer], terminal: &Terminal) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in answers.iter().flat_map(|answer| answer.coefficients.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let predicted = answers.iter().any(|answer| !answer.predictions.is_empty());
    let mut columns = vec![
        Column::new("candidate", Align::Left, 0),
        Column::new("verdict", Align::Left, 1),
    ];
    columns.push(Column::new("rmsd(ln)", Align::Right, 2));
    if predicted {
        columns.push(Column::new("at", Align::Right, 0));
        columns.push(Column::new("predicted", Align::Right, 0));
        columns.push(Column::new("interval", Align::Left, 1));
    }
    columns.extend(names.iter().map(|name| Column::new(name, Align::Right, 3)));
    columns.push(Column::new("warnings", Align::Left, 4));
    let mut rows = Vec::new();
    for answer in answers {
        // One line a prediction; the fit itself is told on the first. A joint law's predictions are for other candidates than the
        // group: they get lines of their own below it.
        let shared = answer
            .predictions
            .first()
            .filter(|prediction| prediction.candidate.is_none());
        let below = answer.predictions.iter().skip(usize::from(shared.is_some()));
        let lines = std::iter::once((true, shared)).chain(below.map(|prediction| (false, Some(prediction))));
        rows.extend(lines.map(|(first, prediction)| line(answer, first, prediction, predicted, &names)));
    }
    Table { columns, rows }.render(terminal.width, terminal.colour)
}

/// One line of the table: the fit when it is the `first` of its answer, and a prediction.
fn line(
    answer: &FitAnswer,
    first: bool,
    prediction: Option<&Prediction>,
    predicted: bool,
    names: &[&str],
) -> Vec<Cell> {
    let only_first = |text: String| if first { text } else { String::new() };
    let style = if answer.verdict == "OK" {
        Style::Plain
    } else {
        Style::Warning
    };
    let name = match prediction.and_then(|prediction| prediction.candidate.as_ref()) {
        Some(candidate) => format!("  {candidate}"),
        None => only_first(answer.candidate.clone()),
    };
    let rmsd = answer.rmsd_log.map_or("-".to_owned(), |value| format!("{value:.5}"));
    let mut cells = vec![
        Cell::plain(name),
        Cell::styled(only_first(answer.verdict.clone()), style),
        Cell::plain(only_first(rmsd)),
    ];
    if predicted {
        let told = |text: fn(&Prediction) -> String| prediction.map(text).unwrap_or_default();
        cells.push(Cell::plain(told(|prediction| examples(prediction.data_size))));
        cells.push(Cell::styled(
            told(|prediction| loss(prediction.predicted_loss)),
            Style::Strong,
        ));
        cells.push(Cell::plain(told(|prediction| interval(prediction.interval.as_ref()))));
    }
    for name in names {
        let value = answer.coefficients.get(*name).copied();
        cells.push(Cell::plain(only_first(value.map_or("-".to_owned(), loss))));
    }
    cells.push(Cell::styled(only_first(answer.warnings.join(" ")), Style::Dim));
    cells
}

/// The picture of fits. The lowest prediction is marked, where one was asked for.
fn scene(args: &FitArgs, fits: &[fitter::CurveFit], input: &Input) -> PlotScene {
    let furthest = args.predict.iter().max().copied();
    let series = input
        .table
        .rows
        .iter()
        .zip(fits)
        .zip(places(fits, furthest))
        .map(|((row, fit), place)| {
            let highlight = fits.len() == 1 || place == Some(1);
            series(row, fit, args.max_size, place, highlight)
        })
        .collect();
    let law = output::law_name(law(args.law));
    PlotScene {
        title: match fits {
            [fit] if !fit.candidate.is_empty() => format!("{law} law fitted to {}", fit.candidate),
            [_] => format!("{law} law fitted to a curve"),
            _ => format!("{law} law fitted to {} curves", fits.len()),
        },
        subtitle: input.table.name.clone(),
        x_label: "fine-tuning examples".to_owned(),
        y_label: "held-out loss (nats per token)".to_owned(),
        verticals: args
            .max_size
            .map(|size| (size as f64, format!("fitted up to {}", examples(size))))
            .into_iter()
            .chain(furthest.map(|size| (size as f64, format!("predicted at {}", examples(size)))))
            .collect(),
        series,
        ..PlotScene::default()
    }
}

/// The place of each fit by its prediction at a size, 1 the lowest; none without a prediction.
fn places(fits: &[fitter::CurveFit], size: Option<i64>) -> Vec<Option<u32>> {
    let predicted = |fit: &fitter::CurveFit| {
        size.and_then(|size| fit.predictions.iter().find(|p| p.data_size == size))
            .map(|p| p.predicted_loss)
    };
    let losses: Vec<Option<f64>> = fits.iter().map(predicted).collect();
    let place = |index: usize, own: f64| {
        let before = losses.iter().enumerate().filter(|(other, loss)| match loss {
            Some(loss) => loss.total_cmp(&own).then(other.cmp(&index)).is_lt(),
            None => false,
        });
        u32::try_from(before.count() + 1).ok()
    };
    losses
        .iter()
        .enumerate()
        .map(|(index, own)| own.and_then(|own| place(index, own)))
        .collect()
}

fn series(
    row: &CurveRow,
    fit: &fitter::CurveFit,
    max_size: Option<i64>,
    rank: Option<u32>,
    highlight: bool,
) -> PlotSeries {
    let used = |size: u64| max_size.is_none_or(|max| size <= max.unsigned_abs());
    let measured: Vec<PlotPoint> = row
        .observations
        .iter()
        .filter(|point| point.data_size > 0)
        .map(|point| PlotPoint {
            x: point.data_size as f64,
            y: point.test_loss,
            used: used(point.data_size),
        })
        .collect();
    let last = measured
        .iter()
        .filter(|point| point.used)
        .map(|point| point.x)
        .fold(0.0, f64::max);
    let mut forecasts: Vec<&Forecast> = fit.predictions.iter().collect();
    forecasts.sort_by_key(|forecast| forecast.data_size);
    forecasts.dedup_by_key(|forecast| forecast.data_size);
    let (fitted, ahead): (Vec<&Forecast>, Vec<&Forecast>) = forecasts
        .into_iter()
        .partition(|forecast| (forecast.data_size as f64) < last);
    PlotSeries {
        name: row.candidate.clone(),
        rank,
        highlight,
        measured,
        fitted: fitted.iter().map(|p| (p.data_size as f64, p.predicted_loss)).collect(),
        forecast: ahead
            .iter()
            .map(|p| ForecastPoint {
                x: p.data_size as f64,
                y: p.predicted_loss,
                band: p.interval.map(|interval| (interval.lower, interval.upper)),
            })
            .collect(),
        truth: None,
        note: None,
        ..PlotSeries::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_follow_predictions_and_skip_fits_without_one() {
        let fit = |loss: Option<f64>| fitter::CurveFit {
            predictions: loss
                .map(|predicted_loss| Forecast {
                    data_size: 100,
                    predicted_loss,
                    interval: None,
                })
                .into_iter()
                .collect(),
            ..fitter::CurveFit::default()
        };
        let fits = [fit(Some(2.0)), fit(None), fit(Some(1.0)), fit(Some(2.0))];
        assert_eq!(places(&fits, Some(100)), [Some(2), None, Some(1), Some(3)]);
        assert_eq!(places(&fits, None), [None; 4]);
    }
}
