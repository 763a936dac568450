//! Answers about curves.

use finepick_proto::fitter::v1 as pb;
use finepick_proto::types::v1 as types;

use super::law::wire_law;
use super::options::wire_objective;
use super::{BatchRequest, CompareRequest, CrossoverRequest, FitRequest, Options, wire, wire_count};
use crate::compare::Comparison;
use crate::crossover::{Crossover, CrossoverOutcome, Side};
use crate::fit::{Covariance, FitReport, Termination, Verdict, Warning};
use crate::forecast::{Forecast, Uncertainty};
use crate::phase::Phase;
use crate::suggest::Suggestion;
use crate::uncertainty::{Draws, Prediction};

/// The answer of `FitCurve`.
#[must_use]
pub fn fit_curve_response(request: &FitRequest, found: &Forecast) -> pb::FitCurveResponse {
    pb::FitCurveResponse {
        fit: Some(curve_fit(&request.curve.candidate, &request.options, found)),
    }
}

/// The answer of `BatchFitCurves`.
#[must_use]
pub fn batch_fit_curves_response(request: &BatchRequest, found: &[Forecast]) -> pb::BatchFitCurvesResponse {
    let pairs = request.candidates.iter().zip(found);
    let fits = pairs
        .map(|(candidate, forecast)| curve_fit(candidate, &request.options, forecast))
        .collect();
    pb::BatchFitCurvesResponse { fits }
}

/// The answer of `CompareLaws`; `forecasts` belong to the laws of `found` in their order.
#[must_use]
pub fn compare_laws_response(
    request: &CompareRequest,
    found: &Comparison,
    forecasts: &[Forecast],
) -> pb::CompareLawsResponse {
    let comparison = |(law, forecast): (&crate::compare::LawComparison, &Forecast)| pb::LawComparison {
        fit: Some(curve_fit(&request.curve.candidate, &request.options, forecast)),
        delta_aicc: law.delta_aicc,
        akaike_weight: law.akaike_weight,
        holdout_rmsd_log: law.holdout_rmsd_log,
    };
    pb::CompareLawsResponse {
        comparisons: found.laws.iter().zip(forecasts).map(comparison).collect(),
        recommended_law: found.recommendation.law().map_or(pb::Law::Unspecified, wire_law).into(),
        reason: found.recommendation.to_string(),
    }
}

/// The answer of `FindCrossover`.
#[must_use]
pub fn find_crossover_response(request: &CrossoverRequest, found: &Crossover) -> pb::FindCrossoverResponse {
    let name = |side: Option<Side>| match side {
        None => String::new(),
        Some(Side::First) => request.first.candidate.clone(),
        Some(Side::Second) => request.second.candidate.clone(),
    };
    let outcome = match found.outcome {
        CrossoverOutcome::Crosses => pb::CrossoverOutcome::Crosses,
        CrossoverOutcome::NoneInRange => pb::CrossoverOutcome::NoneInRange,
        CrossoverOutcome::Indistinguishable => pb::CrossoverOutcome::Indistinguishable,
        CrossoverOutcome::TooFewPoints => pb::CrossoverOutcome::TooFewPoints,
    };
    pb::FindCrossoverResponse {
        outcome: outcome.into(),
        critical_data_size: found.critical_data_size,
        critical_data_size_lower: found.lower,
        critical_data_size_upper: found.upper,
        interval_level: request.options.level.get(),
        crossing_share: found.crossing_share,
        better_below: name(found.better_below),
        better_above: name(found.better_above),
        warnings: Vec::new(),
    }
}

/// The answer of `SuggestNextSize`.
#[must_use]
pub fn suggest_next_size_response(found: &Suggestion) -> pb::SuggestNextSizeResponse {
    pb::SuggestNextSizeResponse {
        data_size: found.data_size.map(wire),
        current_log_standard_deviation: found.current_log_sd,
        expected_log_standard_deviation: found.expected_log_sd,
        reason: found.reason.to_string(),
    }
}

fn curve_fit(candidate: &str, options: &Options, found: &Forecast) -> pb::CurveFit {
    let report = &found.report;
    let covariance = report
        .covariance
        .as_ref()
        .filter(|_| options.forecast.uncertainty != Uncertainty::None);
    let fitted = report.law.is_some();
    pb::CurveFit {
        candidate: candidate.to_owned(),
        law: wire_law(report.kind).into(),
        coefficients: coefficients(report, covariance),
        objective: Some(wire_objective(report.objective)),
        objective_value: fitted.then_some(report.objective_value),
        rmsd_log: fitted.then_some(report.rmsd_log),
        termination: report
            .termination
            .map_or(pb::Termination::Unspecified, termination)
            .into(),
        iterations: wire_count(report.iterations),
        verdict: verdict(report.verdict).into(),
        warnings: report.warnings.iter().map(warning).collect(),
        aicc: report.aicc,
        covariance: covariance.map(wire_covariance),
        draws: found
            .draws
            .as_ref()
            .filter(|_| options.return_draws)
            .map(draws)
            .unwrap_or_default(),
        phase: Some(phase(report)),
        predictions: found.predictions.iter().map(prediction).collect(),
        points_used: wire_count(report.points_used),
        residual_standard_deviation: report.residual_sd,
        data_size_largest: report
            .largest_size
            .filter(|_| fitted)
            .and_then(|size| i64::try_from(size).ok()),
    }
}

fn coefficients(report: &FitReport, covariance: Option<&Covariance>) -> Vec<pb::Coefficient> {
    let error = |name| {
        let covariance = covariance?;
        let at = covariance.names.iter().position(|n| *n == name)?;
        covariance.get(at, at).map(|variance| variance.max(0.0).sqrt())
    };
    let wire = |c: crate::law::Coefficient| pb::Coefficient {
        name: c.name.name().to_owned(),
        value: c.value,
        log_standard_error: error(c.name),
    };
    report.coefficients().into_iter().map(wire).collect()
}

fn wire_covariance(covariance: &Covariance) -> pb::Covariance {
    pb::Covariance {
        coefficient_names: covariance.names.iter().map(|name| name.name().to_owned()).collect(),
        values: covariance.values.clone(),
    }
}

fn draws(draws: &Draws) -> Vec<pb::CoefficientDraw> {
    let values = |law: &crate::law::Law| law.coefficients().iter().map(|c| c.value).collect();
    draws
        .laws()
        .iter()
        .map(|law| pb::CoefficientDraw { values: values(law) })
        .collect()
}

fn phase(report: &FitReport) -> pb::PhaseReport {
    let phase = report
        .phase
        .map_or(pb::Phase::Unspecified, |evidence| match evidence.phase {
            Phase::PrePower => pb::Phase::PrePower,
            Phase::Power => pb::Phase::Power,
            Phase::NearFloor => pb::Phase::NearFloor,
        });
    pb::PhaseReport {
        phase: phase.into(),
        curvature_z: report.phase.map(|evidence| evidence.z),
        phase_boundary_data_size: report.phase_boundary.map(|size| size as f64),
    }
}

pub(super) fn prediction(prediction: &Prediction) -> types::Prediction {
    types::Prediction {
        data_size: wire(prediction.data_size),
        predicted_loss: prediction.predicted_loss,
        interval: prediction.interval.map(|i| types::Interval {
            lower: i.lower,
            upper: i.upper,
            level: i.level,
        }),
    }
}

pub(super) fn termination(termination: Termination) -> pb::Termination {
    match termination {
        Termination::Converged => pb::Termination::Converged,
        Termination::Boundary => pb::Termination::Boundary,
        Termination::Exact => pb::Termination::Exact,
        Termination::IterationLimit => pb::Termination::IterationLimit,
    }
}

pub(super) fn verdict(verdict: Verdict) -> pb::Verdict {
    match verdict {
        Verdict::Ok => pb::Verdict::Ok,
        Verdict::TooFewPoints => pb::Verdict::TooFewPoints,
        Verdict::NotIdentifiable => pb::Verdict::NotIdentifiable,
        Verdict::NonMonotone => pb::Verdict::NonMonotone,
        Verdict::PrePowerPhaseOnly => pb::Verdict::PrePowerPhaseOnly,
    }
}

pub(super) fn warning(warning: &Warning) -> types::Warning {
    let code = match warning {
        Warning::FloorAtData => types::WarningCode::FloorAtData,
        Warning::IrreducibleLossZero => types::WarningCode::IrreducibleLossZero,
        Warning::PreLearnedZero => types::WarningCode::PreLearnedZero,
        Warning::KneeBeyondData => types::WarningCode::KneeBeyondData,
        Warning::TooFewPoints => types::WarningCode::TooFewPoints,
        Warning::NonMonotone => types::WarningCode::NonMonotone,
        Warning::NoiseJump { .. } => types::WarningCode::NoiseJump,
        Warning::NotConverged => types::WarningCode::NotConverged,
        Warning::UpperBound => types::WarningCode::UpperBound,
        Warning::NearFloor => types::WarningCode::NearFloor,
        Warning::LongExtrapolation { .. } => types::WarningCode::LongExtrapolation,
        Warning::NoInterval => types::WarningCode::NoInterval,
    };
    types::Warning {
        code: code.into(),
        detail: warning.to_string(),
    }
}
