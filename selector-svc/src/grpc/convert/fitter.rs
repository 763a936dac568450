//! The fitter's messages.

use finepick_proto::fitter::v1 as wire;
use finepick_proto::types::v1 as types;

use super::wire as examples;
use crate::curve::{DataSize, Observation};
use crate::diagnostics::{Warning, WarningCode};
use crate::policy::fitted::{FittedForecast, FittedForecasts, Law};
use crate::policy::{Interval, Prediction};
use crate::ports::FitRequest;

/// The question to the fitter.
#[must_use]
pub fn batch_fit_request(request: &FitRequest) -> wire::BatchFitCurvesRequest {
    let curve = |(name, points): &(String, Vec<Observation>)| types::LearningCurve {
        candidate: name.clone(),
        observations: points.iter().map(observation).collect(),
    };
    let kind = match request.parameters.huber_width {
        Some(width) => wire::objective::Kind::Huber(wire::HuberObjective { width: Some(width) }),
        None => wire::objective::Kind::LogRmse(wire::LogRmseObjective {}),
    };
    let law = match request.law {
        Law::Rectified => wire::Law::Rectified,
        Law::Vanilla => wire::Law::Vanilla,
    };
    let draws = request.parameters.bootstrap_draws;
    let uncertainty = if draws.is_some() {
        wire::UncertaintyMethod::Bootstrap
    } else {
        wire::UncertaintyMethod::Covariance
    };
    let options = wire::FitOptions {
        law: law.into(),
        objective: Some(wire::Objective { kind: Some(kind) }),
        predict_data_sizes: request
            .data_sizes
            .iter()
            .map(|size| examples(size.examples()))
            .collect(),
        uncertainty: uncertainty.into(),
        bootstrap_draws: draws.map(|draws| i32::try_from(draws).unwrap_or(i32::MAX)),
        interval_level: Some(request.level),
        seed: Some(request.seed),
        ..wire::FitOptions::default()
    };
    wire::BatchFitCurvesRequest {
        curves: request.curves.iter().map(curve).collect(),
        options: Some(options),
    }
}

pub(super) fn observation(point: &Observation) -> types::Observation {
    types::Observation {
        data_size: examples(point.data_size().examples()),
        test_loss: point.test_loss().nats(),
        standard_error: point.standard_error(),
        weight: Some(point.weight()),
    }
}

/// The answers by candidate; fits are in the order of the curves that were sent.
#[must_use]
pub fn fitted_forecasts(request: &FitRequest, fits: Vec<wire::CurveFit>) -> FittedForecasts {
    FittedForecasts::new(
        request
            .curves
            .iter()
            .zip(fits)
            .map(|((name, _), fit)| (name.clone(), forecast(fit))),
    )
}

fn forecast(fit: wire::CurveFit) -> Result<FittedForecast, String> {
    let verdict = fit.verdict();
    if fit.predictions.is_empty() {
        return Err(format!(
            "the fit has no forecast: {}",
            verdict.as_str_name().trim_start_matches("VERDICT_")
        ));
    }
    let predictions = fit
        .predictions
        .into_iter()
        .map(prediction)
        .collect::<Option<Vec<Prediction>>>();
    let predictions = predictions.ok_or_else(|| "the fitter answered with numbers out of range".to_owned())?;
    let mut warnings: Vec<Warning> = fit.warnings.into_iter().filter_map(warning).collect();
    let upper_bound = warnings.iter().any(|warning| warning.code == WarningCode::UpperBound);
    if verdict == wire::Verdict::PrePowerPhaseOnly && !upper_bound {
        warnings.push(Warning::new(
            WarningCode::UpperBound,
            "the power phase has not begun: the forecast is an upper bound",
        ));
    }
    Ok(FittedForecast { predictions, warnings })
}

fn prediction(message: types::Prediction) -> Option<Prediction> {
    let interval = message.interval.map(|i| Interval {
        lower: i.lower,
        upper: i.upper,
        level: i.level,
    });
    Some(Prediction {
        data_size: DataSize::new(u64::try_from(message.data_size).ok()?).ok()?,
        predicted_loss: message.predicted_loss,
        interval: interval.filter(|i| i.lower.is_finite() && i.upper.is_finite() && i.lower <= i.upper),
    })
}

/// Codes that this version does not know are dropped: their meaning cannot be vouched for.
fn warning(message: types::Warning) -> Option<Warning> {
    use types::WarningCode as Wire;
    let code = match message.code() {
        Wire::FloorAtData => WarningCode::FloorAtData,
        Wire::IrreducibleLossZero => WarningCode::IrreducibleLossZero,
        Wire::PreLearnedZero => WarningCode::PreLearnedZero,
        Wire::KneeBeyondData => WarningCode::KneeBeyondData,
        Wire::TooFewPoints => WarningCode::TooFewPoints,
        Wire::NonMonotone => WarningCode::NonMonotone,
        Wire::NoiseJump => WarningCode::NoiseJump,
        Wire::UpperBound => WarningCode::UpperBound,
        Wire::NearFloor => WarningCode::NearFloor,
        Wire::NoInterval => WarningCode::NoInterval,
        Wire::NotConverged => WarningCode::NotConverged,
        Wire::LongExtrapolation => WarningCode::LongExtrapolation,
        _ => return None,
    };
    Some(Warning::new(code, message.detail))
}
