//! Predicting from a fit that a client kept. Its law, coefficients, draws and covariance are as good as what it sends.
//!
//! With the largest size of its data a kept fit gives the intervals of `FitCurve`; without, they lack the drift beyond the data
//! (see [`drift_sd`]) and are the narrower ones.

use finepick_proto::fitter::v1 as pb;
use tonic::Status;

use super::law::curve_law;
use super::response::{prediction, warning};
use super::{Violations, level, optional_size, sizes};
use crate::config::FitterConfig;
use crate::curve::DataSize;
use crate::fit::{Covariance, Warning};
use crate::law::{CoefficientName, Law, LawKind};
use crate::uncertainty::{
    Draws, Interval, Level, Prediction, delta_interval, drift_sd, representable, shrunk_noise_sd,
};

/// Sizes in one request.
const MAX_SIZES: usize = 1_000;
/// Entries of a covariance's side.
const MAX_COEFFICIENTS: usize = 8;

/// `PredictLoss`.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictRequest {
    law: Law,
    draws: Option<Draws>,
    covariance: Option<Covariance>,
    residual_sd: Option<f64>,
    points_used: usize,
    largest_size: Option<DataSize>,
    sizes: Vec<DataSize>,
    level: Level,
}

/// Checks a `PredictLossRequest`.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn predict_loss_request(request: pb::PredictLossRequest, limits: &FitterConfig) -> Result<PredictRequest, Status> {
    let mut violations = Violations::default();
    let sizes = sizes("data_sizes", &request.data_sizes, MAX_SIZES, &mut violations);
    if request.data_sizes.is_empty() {
        violations.push("data_sizes", "must hold at least one size");
    }
    let level = level("interval_level", request.interval_level, &mut violations);
    let fit = violations.required("fit", request.fit);
    let known = fit.and_then(|fit| known_fit(fit, request.data_sizes.len(), limits, &mut violations));
    let request = known
        .zip(sizes.zip(level))
        .map(|(known, (sizes, level))| PredictRequest { sizes, level, ..known });
    violations.settle(request)
}

/// The fit's part of the request; sizes and level are filled in by the caller.
fn known_fit(
    fit: pb::CurveFit,
    sizes: usize,
    limits: &FitterConfig,
    violations: &mut Violations,
) -> Option<PredictRequest> {
    let kind = curve_law("fit.law", fit.law, violations)?;
    let kind = violations.required("fit.law", kind)?;
    let order = coefficient_order(kind, &fit.coefficients, violations)?;
    let values: Vec<f64> = fit.coefficients.iter().map(|c| c.value).collect();
    let law = law_of(kind, &order, &values);
    if law.is_none() {
        violations.push(
            "fit.coefficients",
            format!("are not finite or out of the bounds of {}", kind.name()),
        );
    }
    let residual_sd = fit.residual_standard_deviation;
    let sane = residual_sd.is_none_or(|sd| sd.is_finite() && sd >= 0.0);
    if !sane {
        violations.push("fit.residual_standard_deviation", "must be finite and >= 0");
    }
    let points_used = usize::try_from(fit.points_used);
    let points_used = violations.take("fit.points_used", points_used.map_err(|_| "must be >= 0"));
    let largest_size = optional_size("fit.data_size_largest", fit.data_size_largest, violations);
    let laws = draws(kind, &order, &fit.draws, sizes, limits, violations);
    let covariance = match fit.covariance {
        None => Some(None),
        Some(message) => covariance(kind, message, violations).map(Some),
    };
    let (law, points_used, laws, covariance, largest_size) = (law?, points_used?, laws?, covariance?, largest_size?);
    let draws = Draws::new(laws, shrunk_noise_sd(&law, points_used, residual_sd.filter(|_| sane)));
    let level = Level::default();
    Some(PredictRequest {
        law,
        draws,
        covariance,
        residual_sd,
        points_used,
        largest_size,
        sizes: Vec::new(),
        level,
    })
}

/// For each coefficient of the law its position in the message.
fn coefficient_order(kind: LawKind, sent: &[pb::Coefficient], violations: &mut Violations) -> Option<Vec<usize>> {
    let names = kind.coefficient_names();
    let position = |name: &CoefficientName| sent.iter().position(|c| c.name == name.name());
    let order: Option<Vec<usize>> = names.iter().map(position).collect();
    let order = order.filter(|_| sent.len() == names.len());
    if order.is_none() {
        let expected: Vec<&str> = names.iter().map(|n| n.name()).collect();
        violations.push(
            "fit.coefficients",
            format!("must be {}, each once", expected.join(", ")),
        );
    }
    order
}

fn law_of(kind: LawKind, order: &[usize], values: &[f64]) -> Option<Law> {
    let ordered: Option<Vec<f64>> = order.iter().map(|&at| values.get(at).copied()).collect();
    Law::from_coefficients(kind, &ordered?)
}

fn draws(
    kind: LawKind,
    order: &[usize],
    messages: &[pb::CoefficientDraw],
    sizes: usize,
    limits: &FitterConfig,
    violations: &mut Violations,
) -> Option<Vec<Law>> {
    let work = messages.len().saturating_mul(sizes);
    if !violations.within("fit.draws", messages.len(), limits.max_draws)
        || !violations.within("data_sizes", work, limits.max_bootstrap_work)
    {
        return None;
    }
    let mut laws = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let law = law_of(kind, order, &message.values).filter(|_| message.values.len() == order.len());
        if law.is_none() {
            violations.push(format!("fit.draws[{index}].values"), "are not coefficients of the law");
        }
        laws.extend(law);
    }
    (laws.len() == messages.len()).then_some(laws)
}

fn covariance(kind: LawKind, message: pb::Covariance, violations: &mut Violations) -> Option<Covariance> {
    let names = kind.coefficient_names();
    let find = |name: &String| names.iter().copied().find(|n| n.name() == name);
    let found: Option<Vec<CoefficientName>> = message
        .coefficient_names
        .iter()
        .take(MAX_COEFFICIENTS)
        .map(find)
        .collect();
    let found = found.filter(|found| {
        let distinct = found
            .iter()
            .enumerate()
            .all(|(i, name)| !found.iter().take(i).any(|n| n == name));
        distinct && found.len() == message.coefficient_names.len()
    });
    let Some(found) = found else {
        violations.push(
            "fit.covariance.coefficient_names",
            "must be coefficients of the law, each once",
        );
        return None;
    };
    if message.values.len() != found.len() * found.len() || !message.values.iter().all(|v| v.is_finite()) {
        violations.push(
            "fit.covariance.values",
            format!("must be {} finite numbers", found.len() * found.len()),
        );
        return None;
    }
    Some(Covariance {
        names: found,
        values: message.values,
    })
}

/// The answer of `PredictLoss`.
#[must_use]
pub fn predict_loss_response(request: &PredictRequest) -> pb::PredictLossResponse {
    let predictions: Vec<Prediction> = request
        .sizes
        .iter()
        .map(|&data_size| {
            let predicted_loss = representable(request.law.loss(data_size));
            Prediction {
                data_size,
                predicted_loss,
                interval: interval(request, data_size, predicted_loss),
            }
        })
        .collect();
    let missing = predictions
        .iter()
        .any(|p| p.interval.is_none())
        .then_some(Warning::NoInterval);
    pb::PredictLossResponse {
        predictions: predictions.iter().map(prediction).collect(),
        warnings: missing.iter().map(warning).collect(),
    }
}

/// From the draws, else the covariance, else none.
fn interval(request: &PredictRequest, data_size: DataSize, predicted_loss: f64) -> Option<Interval> {
    let drift = request.largest_size.map_or(0.0, |largest| drift_sd(largest, data_size));
    if let Some(draws) = &request.draws {
        return draws.interval(data_size, predicted_loss, drift, request.level);
    }
    let (covariance, residual_sd) = (request.covariance.as_ref()?, request.residual_sd?);
    let degrees = request.points_used.checked_sub(covariance.names.len())?;
    delta_interval(
        &request.law,
        covariance,
        residual_sd,
        degrees,
        data_size,
        drift,
        request.level,
    )
}
