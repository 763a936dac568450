//! Joint laws.

use finepick_proto::fitter::v1 as pb;
use tonic::Status;

use super::law::{joint_law, wire_joint_law};
use super::options::{objective, wire_objective};
use super::response::{termination, verdict, warning};
use super::{Violations, curve, optional_size, positive_size, wire_count};
use crate::config::FitterConfig;
use crate::curve::DataSize;
use crate::fit::{FactorSign, JointCurve, JointFitReport, JointOptions, JointPanel};
use crate::law::joint::JointLawKind;

/// Curves of one group.
const MAX_CURVES: usize = 1_000;
/// Points to predict.
const MAX_PREDICTED_POINTS: usize = 1_000;

/// `FitJointLaw`.
#[derive(Debug, Clone, PartialEq)]
pub struct JointRequest {
    /// Echoed.
    pub group: String,
    /// The curves.
    pub panel: JointPanel,
    /// The fit.
    pub options: JointOptions,
    /// (factor, data size) to predict at.
    pub predict: Vec<(f64, DataSize)>,
}

/// Checks a `FitJointLawRequest`.
///
/// # Errors
/// `INVALID_ARGUMENT` with every wrong field.
pub fn fit_joint_law_request(request: pb::FitJointLawRequest, limits: &FitterConfig) -> Result<JointRequest, Status> {
    let mut violations = Violations::default();
    curve::name("group", &request.group, &mut violations);
    let law = joint_law("law", request.law, &mut violations);
    let objective = objective("objective", request.objective, &mut violations);
    let max_data_size = optional_size("data_size_max", request.data_size_max, &mut violations);
    let sign = factor_sign(request.factor_sign, law, &mut violations);
    let curves = curves(request.curves, limits, &mut violations);
    let predict = predict_points(&request.predict_points, &mut violations);
    let panel = curves.and_then(|curves| violations.take("curves", JointPanel::new(curves)));
    let options =
        law.zip(objective)
            .zip(max_data_size.zip(sign))
            .map(|((law, objective), (max_data_size, factor_sign))| JointOptions {
                law,
                objective,
                max_data_size,
                factor_sign,
            });
    let group = request.group;
    let request = panel
        .zip(options)
        .zip(predict)
        .map(|((panel, options), predict)| JointRequest {
            group,
            panel,
            options,
            predict,
        });
    violations.settle(request)
}

fn curves(
    messages: Vec<pb::FactorCurve>,
    limits: &FitterConfig,
    violations: &mut Violations,
) -> Option<Vec<JointCurve>> {
    let count = messages.len();
    if !violations.within("curves", count, MAX_CURVES.min(limits.max_curves)) {
        return None;
    }
    let mut curves = Vec::with_capacity(count);
    for (index, message) in messages.into_iter().enumerate() {
        let path = format!("curves[{index}]");
        let named = curve::required(&format!("{path}.curve"), message.curve, limits.max_points, violations);
        let factor = factor(&format!("{path}.factor"), message.factor, violations);
        curves.extend(named.zip(factor).map(|(named, factor)| JointCurve {
            curve: named.curve,
            factor,
        }));
    }
    let points: usize = curves.iter().map(|c| c.curve.observations().len()).sum();
    (violations.within("curves", points, limits.max_joint_points) && curves.len() == count).then_some(curves)
}

fn factor(path: &str, factor: f64, violations: &mut Violations) -> Option<f64> {
    let fine = factor.is_finite() && factor > 0.0;
    if !fine {
        violations.push(path, format!("must be finite and > 0, is {factor}"));
    }
    fine.then_some(factor)
}

fn factor_sign(number: i32, law: Option<JointLawKind>, violations: &mut Violations) -> Option<FactorSign> {
    let sign = pb::FactorSign::try_from(number).map_err(|_| format!("{number} is not a sign"));
    Some(match violations.take("factor_sign", sign)? {
        pb::FactorSign::Unspecified => FactorSign::default_for(law?),
        pb::FactorSign::NonNegative => FactorSign::NonNegative,
        pb::FactorSign::Any => FactorSign::Any,
    })
}

fn predict_points(messages: &[pb::FactorPoint], violations: &mut Violations) -> Option<Vec<(f64, DataSize)>> {
    if !violations.within("predict_points", messages.len(), MAX_PREDICTED_POINTS) {
        return None;
    }
    let point = |(index, message): (usize, &pb::FactorPoint)| {
        let factor = factor(&format!("predict_points[{index}].factor"), message.factor, violations);
        let size = positive_size(
            &format!("predict_points[{index}].data_size"),
            message.data_size,
            violations,
        );
        factor.zip(size)
    };
    let points: Vec<_> = messages.iter().enumerate().map(point).collect();
    points.into_iter().collect()
}

/// The answer of `FitJointLaw`.
#[must_use]
pub fn fit_joint_law_response(request: &JointRequest, found: &JointFitReport) -> pb::FitJointLawResponse {
    let fitted = found.law.is_some();
    let coefficients = found.law.map(|law| law.coefficients()).unwrap_or_default();
    let coefficient = |c: crate::law::Coefficient| pb::Coefficient {
        name: c.name.name().to_owned(),
        value: c.value,
        log_standard_error: None,
    };
    let predict = |law: crate::law::joint::JointLaw| {
        let loss = |(factor, size): &(f64, DataSize)| law.loss(*factor, *size).clamp(f64::MIN_POSITIVE, f64::MAX);
        request.predict.iter().map(loss).collect()
    };
    let fit = pb::JointFit {
        group: request.group.clone(),
        law: wire_joint_law(found.kind).into(),
        coefficients: coefficients.into_iter().map(coefficient).collect(),
        objective: Some(wire_objective(found.objective)),
        objective_value: fitted.then_some(found.objective_value),
        rmsd_log: fitted.then_some(found.rmsd_log),
        termination: found
            .termination
            .map_or(pb::Termination::Unspecified, termination)
            .into(),
        verdict: verdict(found.verdict).into(),
        warnings: found.warnings.iter().map(warning).collect(),
        points_used: wire_count(found.points_used),
        predicted_losses: found.law.map(predict).unwrap_or_default(),
        aicc: found.aicc,
    };
    pb::FitJointLawResponse { fit: Some(fit) }
}
