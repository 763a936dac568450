//! The answer of `fit`.

use std::collections::BTreeMap;

use finepick_proto::fitter::v1 as fitter;
use serde::Serialize;

use super::{Interval, WarningDetail, short, warnings};

/// A forecast.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Prediction {
    /// Examples.
    pub data_size: i64,
    /// For joint laws: the candidate that is predicted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
    /// Nats per token.
    pub predicted_loss: f64,
    /// Its interval.
    pub interval: Option<Interval>,
}

/// Where on its curve a candidate is.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Phase {
    /// `pre_power`, `power`, `near_floor`; `unspecified`: too few points.
    pub phase: String,
    /// Curvature in standard errors.
    pub curvature_z: Option<f64>,
    /// Size at which the pre-power phase ends, examples.
    pub phase_boundary: Option<f64>,
}

/// One fit.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct FitAnswer {
    /// The candidate, or the group of a joint law.
    pub candidate: String,
    /// The law.
    pub law: String,
    /// Coefficients by name; empty when nothing was fitted.
    pub coefficients: BTreeMap<String, f64>,
    /// `log-rmse` or `huber`.
    pub objective: String,
    /// Its lowest value.
    pub objective_value: Option<f64>,
    /// Root of the mean squared log residual.
    pub rmsd_log: Option<f64>,
    /// Forecasts at the sizes asked for.
    pub predictions: Vec<Prediction>,
    /// `OK`, `NOT_IDENTIFIABLE`, `PRE_POWER_PHASE_ONLY`, `NON_MONOTONE`, `TOO_FEW_POINTS`.
    pub verdict: String,
    /// Codes of remarks.
    pub warnings: Vec<String>,
    /// The remarks.
    pub warning_details: Vec<WarningDetail>,
    /// How the optimizer ended.
    pub termination: String,
    /// Corrected Akaike criterion.
    pub aicc: Option<f64>,
    /// Points that took part.
    pub points_used: i32,
    /// Phase; `null` for joint laws.
    pub phase: Option<Phase>,
}

/// A law's name as it is printed and as `--law` takes it.
#[must_use]
pub fn law_name(law: fitter::Law) -> String {
    short(law.as_str_name(), "LAW_")
}

fn objective_name(objective: Option<&fitter::Objective>) -> String {
    match objective.and_then(|objective| objective.kind.as_ref()) {
        Some(fitter::objective::Kind::Huber(_)) => "huber",
        Some(fitter::objective::Kind::LogRmse(_)) | None => "log-rmse",
    }
    .to_owned()
}

fn coefficients(list: &[fitter::Coefficient]) -> BTreeMap<String, f64> {
    list.iter()
        .map(|coefficient| (coefficient.name.clone(), coefficient.value))
        .collect()
}

fn verdict(verdict: fitter::Verdict) -> String {
    let name = verdict.as_str_name();
    name.strip_prefix("VERDICT_").unwrap_or(name).to_owned()
}

/// Builds one answer of `fit`; only the sizes that were asked for are shown.
#[must_use]
pub fn fit_answer(fit: &fitter::CurveFit, asked: &[i64]) -> FitAnswer {
    let (codes, details) = warnings(&fit.warnings);
    let prediction = |size: &i64| fit.predictions.iter().find(|prediction| prediction.data_size == *size);
    FitAnswer {
        candidate: fit.candidate.clone(),
        law: law_name(fit.law()),
        coefficients: coefficients(&fit.coefficients),
        objective: objective_name(fit.objective.as_ref()),
        objective_value: fit.objective_value,
        rmsd_log: fit.rmsd_log,
        predictions: asked
            .iter()
            .filter_map(prediction)
            .map(|prediction| Prediction {
                data_size: prediction.data_size,
                candidate: None,
                predicted_loss: prediction.predicted_loss,
                interval: prediction.interval.map(Interval::from),
            })
            .collect(),
        verdict: verdict(fit.verdict()),
        warnings: codes,
        warning_details: details,
        termination: short(fit.termination().as_str_name(), "TERMINATION_"),
        aicc: fit.aicc,
        points_used: fit.points_used,
        phase: fit.phase.as_ref().map(|phase| Phase {
            phase: short(phase.phase().as_str_name(), "PHASE_"),
            curvature_z: phase.curvature_z,
            phase_boundary: phase.phase_boundary_data_size,
        }),
    }
}

/// Builds the answer for a joint law; `points` says which candidate and size each predicted loss is for.
#[must_use]
pub fn joint_answer(fit: &fitter::JointFit, points: &[(String, i64)]) -> FitAnswer {
    let (codes, details) = warnings(&fit.warnings);
    FitAnswer {
        candidate: fit.group.clone(),
        law: law_name(fit.law()),
        coefficients: coefficients(&fit.coefficients),
        objective: objective_name(fit.objective.as_ref()),
        objective_value: fit.objective_value,
        rmsd_log: fit.rmsd_log,
        predictions: points
            .iter()
            .zip(&fit.predicted_losses)
            .map(|((candidate, data_size), predicted_loss)| Prediction {
                data_size: *data_size,
                candidate: Some(candidate.clone()),
                predicted_loss: *predicted_loss,
                interval: None,
            })
            .collect(),
        verdict: verdict(fit.verdict()),
        warnings: codes,
        warning_details: details,
        termination: short(fit.termination().as_str_name(), "TERMINATION_"),
        aicc: fit.aicc,
        points_used: fit.points_used,
        phase: None,
    }
}
