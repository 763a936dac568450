//! The inner problem of joint laws: scales and E for given exponents, the cost there, and its gradient in the exponents.

use super::{FactorSign, JointPanel};
use crate::curve::DataSize;
use crate::law::joint::{JointLaw, JointLawKind};
use crate::objective::Penalty;

/// Most outer coefficients: a or √a, ln b, ln `D_l`, d.
pub(super) const MAX_OUTER: usize = 4;
/// Reweighted rounds of the inner problem at most.
const ROUNDS: usize = 12;
/// Relative change of the cost that ends the rounds.
const ROUND_TOLERANCE: f64 = 1e-13;
/// Cost of coefficients at which the law is not a number.
const UNUSABLE: f64 = 1e30;
/// Bounds that keep exponentials finite.
const MAX_FACTOR: f64 = 4.0;
const LOG_EXPONENT_BOUNDS: (f64, f64) = (-14.0, 2.5);
const MAX_LOG_KNEE: f64 = 300.0;
const MAX_PRE_LEARNED_EXPONENT: f64 = 20.0;

/// The outer coefficients in centred units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outer {
    /// a, or √a where a ≥ 0 is asked for, so that the bound needs no constraint.
    factor: f64,
    /// ln b.
    log_exponent: f64,
    /// ln `D_l`.
    log_knee: f64,
    /// d.
    pre_learned_exponent: f64,
}

impl Outer {
    pub(super) fn from_slice(values: &[f64]) -> Self {
        let at = |i: usize| values.get(i).copied().unwrap_or(0.0);
        let (low, high) = LOG_EXPONENT_BOUNDS;
        Self {
            factor: at(0).clamp(-MAX_FACTOR, MAX_FACTOR),
            log_exponent: at(1).clamp(low, high),
            log_knee: at(2).clamp(-MAX_LOG_KNEE, MAX_LOG_KNEE),
            pre_learned_exponent: at(3).clamp(-MAX_PRE_LEARNED_EXPONENT, MAX_PRE_LEARNED_EXPONENT),
        }
    }

    pub(super) fn as_array(&self) -> [f64; MAX_OUTER] {
        [self.factor, self.log_exponent, self.log_knee, self.pre_learned_exponent]
    }

    /// How many of the coefficients a law has.
    pub(super) fn dimension(kind: JointLawKind) -> usize {
        match kind {
            JointLawKind::Multiplicative | JointLawKind::Additive => 2,
            JointLawKind::RectifiedJointCommon => 3,
            JointLawKind::RectifiedJoint => 4,
        }
    }
}

/// Outer coefficients with their best scales.
#[derive(Debug, Clone, Copy)]
pub(super) struct Projected {
    pub(super) outer: Outer,
    /// Scale of the data term, scale of the factor term (additive only), E; centred units.
    pub(super) linear: [f64; 3],
    /// Σ w h(r).
    pub(super) cost: f64,
    pub(super) gradient: [f64; MAX_OUTER],
}

impl Projected {
    /// E or a scale is at 0.
    pub(super) fn on_boundary(&self) -> bool {
        self.linear[2] <= 0.0 || self.outer.factor.abs() < 1e-6
    }

    /// The loss does not fall with the data size.
    pub(super) fn flat(&self) -> bool {
        self.linear[0] <= 0.0
    }
}

/// All points of a panel, logarithms centred.
#[derive(Debug, Clone)]
pub(super) struct PanelPoints {
    points: Vec<PanelPoint>,
    x_center: f64,
    factor_center: f64,
    y_center: f64,
    sign: FactorSign,
}

#[derive(Debug, Clone, Copy)]
struct PanelPoint {
    z: f64,
    g: f64,
    y: f64,
    weight: f64,
}

/// The two columns of a law at one point, with what their derivatives need.
struct Columns {
    data: f64,
    factor: f64,
    /// Share of `D_l` in the denominator.
    pre_share: f64,
}

impl PanelPoints {
    pub(super) fn new(panel: &JointPanel, max_data_size: Option<DataSize>, sign: FactorSign) -> Self {
        let mut points: Vec<PanelPoint> = Vec::new();
        for member in panel.curves() {
            points.extend(member.curve.fit_points(max_data_size).iter().map(|o| PanelPoint {
                z: (o.data_size as f64).ln(),
                g: member.factor.ln(),
                y: o.test_loss.ln(),
                weight: o.weight,
            }));
        }
        let count = points.len().max(1) as f64;
        let mean = |value: fn(&PanelPoint) -> f64| points.iter().map(value).sum::<f64>() / count;
        let (x_center, factor_center, y_center) = (mean(|p| p.z), mean(|p| p.g), mean(|p| p.y));
        for p in &mut points {
            p.z -= x_center;
            p.g -= factor_center;
            p.y -= y_center;
        }
        Self {
            points,
            x_center,
            factor_center,
            y_center,
            sign,
        }
    }

    /// a, and its derivative in the outer coefficient.
    fn factor_exponent(&self, outer: &Outer) -> (f64, f64) {
        match self.sign {
            FactorSign::Any => (outer.factor, 1.0),
            FactorSign::NonNegative => (outer.factor * outer.factor, 2.0 * outer.factor),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.points.len()
    }

    pub(super) fn distinct_factors(&self) -> usize {
        let mut factors: Vec<f64> = self.points.iter().map(|p| p.g).collect();
        factors.sort_by(f64::total_cmp);
        factors.dedup_by(|a, b| (*a - *b).abs() < 1e-12);
        factors.len()
    }

    pub(super) fn all_equal(&self) -> bool {
        self.points.iter().all(|p| p.y.abs() < 1e-12)
    }

    /// (weight, ln predicted − ln measured) of each point.
    pub(super) fn weighted_residuals<'a>(&'a self, law: &'a JointLaw) -> impl Iterator<Item = (f64, f64)> + 'a {
        self.points.iter().map(|p| {
            let predicted = law.log_loss((p.g + self.factor_center).exp(), p.z + self.x_center);
            (p.weight, predicted - p.y - self.y_center)
        })
    }

    /// The law in the caller's units.
    pub(super) fn law(&self, kind: JointLawKind, at: &Projected) -> JointLaw {
        let b = at.outer.log_exponent.exp();
        let a = self.factor_exponent(&at.outer).0;
        let rectified = matches!(kind, JointLawKind::RectifiedJoint | JointLawKind::RectifiedJointCommon);
        let d = if kind == JointLawKind::RectifiedJoint {
            at.outer.pre_learned_exponent
        } else {
            0.0
        };
        let shift = b * self.x_center;
        let shared = if kind == JointLawKind::Additive {
            0.0
        } else {
            a * self.factor_center
        };
        let knee = at.outer.log_knee + shift + d * self.factor_center;
        JointLaw {
            kind,
            log_factor_scale: at.linear[1].ln() + a * self.factor_center + self.y_center,
            factor_exponent: a,
            log_reducible_scale: at.linear[0].ln() + shift + shared + self.y_center,
            log_pre_learned: if rectified { knee } else { f64::NEG_INFINITY },
            pre_learned_factor_exponent: d,
            data_exponent: b,
            irreducible_loss: at.linear[2] * self.y_center.exp(),
        }
    }

    /// Solves for the scales and E and differentiates the cost in the outer coefficients.
    pub(super) fn project(&self, kind: JointLawKind, penalty: Penalty, outer: &Outer) -> Projected {
        let mut linear = self.linear_step(kind, penalty, outer, None);
        let mut cost = self.cost(kind, penalty, outer, &linear);
        for _ in 0..ROUNDS {
            let next = self.linear_step(kind, penalty, outer, Some(&linear));
            let next_cost = self.cost(kind, penalty, outer, &next);
            if next_cost.is_nan() || next_cost >= cost {
                break;
            }
            let change = cost - next_cost;
            (linear, cost) = (next, next_cost);
            if change <= ROUND_TOLERANCE * cost {
                break;
            }
        }
        let gradient = self.gradient(kind, penalty, outer, &linear);
        if cost.is_finite() && gradient.iter().all(|g| g.is_finite()) {
            Projected {
                outer: *outer,
                linear,
                cost,
                gradient,
            }
        } else {
            Projected {
                outer: *outer,
                linear: [0.0, 0.0, 1.0],
                cost: UNUSABLE,
                gradient: [0.0; MAX_OUTER],
            }
        }
    }

    /// One non-negative least-squares step: on relative residuals, or on log residuals linearised at `from`.
    fn linear_step(&self, kind: JointLawKind, penalty: Penalty, outer: &Outer, from: Option<&[f64; 3]>) -> [f64; 3] {
        let mut matrix = [[0.0; 3]; 3];
        let mut right = [0.0; 3];
        for p in &self.points {
            let columns = self.columns(kind, outer, p);
            let (model, target, weight) = match from {
                None => (p.y.exp(), 1.0, p.weight),
                Some(linear) => {
                    let model = model(&columns, linear);
                    let residual = model.ln() - p.y;
                    (model, 1.0 - residual, p.weight * penalty.terms(residual).reweight)
                }
            };
            let row = [columns.data / model, columns.factor / model, 1.0 / model];
            for i in 0..3 {
                right[i] += weight * row[i] * target;
                for k in 0..3 {
                    matrix[i][k] += weight * row[i] * row[k];
                }
            }
        }
        non_negative(&matrix, &right)
    }

    fn cost(&self, kind: JointLawKind, penalty: Penalty, outer: &Outer, linear: &[f64; 3]) -> f64 {
        let residual = |p: &PanelPoint| model(&self.columns(kind, outer, p), linear).ln() - p.y;
        self.points.iter().map(|p| p.weight * penalty.cost(residual(p))).sum()
    }

    /// By the envelope theorem the scales may be held fixed.
    fn gradient(&self, kind: JointLawKind, penalty: Penalty, outer: &Outer, linear: &[f64; 3]) -> [f64; MAX_OUTER] {
        let b = outer.log_exponent.exp();
        let (_, a_slope) = self.factor_exponent(outer);
        let mut gradient = [0.0; MAX_OUTER];
        for p in &self.points {
            let columns = self.columns(kind, outer, p);
            let model = model(&columns, linear);
            let slope = p.weight * penalty.terms(model.ln() - p.y).slope / model;
            let data = linear[0] * columns.data;
            let with_factor = if kind == JointLawKind::Additive {
                linear[1] * columns.factor
            } else {
                data
            };
            gradient[0] -= slope * with_factor * a_slope * p.g;
            gradient[1] -= slope * data * (1.0 - columns.pre_share) * b * p.z;
            gradient[2] -= slope * data * columns.pre_share;
            gradient[3] += slope * data * columns.pre_share * p.g;
        }
        gradient
    }

    fn columns(&self, kind: JointLawKind, outer: &Outer, p: &PanelPoint) -> Columns {
        let (a, _) = self.factor_exponent(outer);
        let power = (outer.log_exponent.exp() * p.z).exp();
        let by_factor = (-a * p.g).exp();
        match kind {
            JointLawKind::Additive => Columns {
                data: 1.0 / power,
                factor: by_factor,
                pre_share: 0.0,
            },
            JointLawKind::Multiplicative => Columns {
                data: by_factor / power,
                factor: 0.0,
                pre_share: 0.0,
            },
            JointLawKind::RectifiedJointCommon | JointLawKind::RectifiedJoint => {
                let d = if kind == JointLawKind::RectifiedJoint {
                    outer.pre_learned_exponent
                } else {
                    0.0
                };
                let knee = (outer.log_knee - d * p.g).exp();
                Columns {
                    data: by_factor / (knee + power),
                    factor: 0.0,
                    pre_share: knee / (knee + power),
                }
            }
        }
    }

    /// The best cell of each β of a grid over the outer coefficients.
    pub(super) fn grid(&self, kind: JointLawKind, penalty: Penalty) -> Vec<Projected> {
        let rectified = Outer::dimension(kind) > 2;
        let (low, high) = self
            .points
            .iter()
            .fold((0.0_f64, 0.0_f64), |(l, h), p| (l.min(p.z), h.max(p.z)));
        let knees: Vec<f64> = (0..7).map(|i| low + (high - low) * f64::from(i) / 5.0).collect();
        let knees = if rectified { knees } else { vec![0.0] };
        let pre_exponents: &[f64] = if Outer::dimension(kind) > 3 {
            &[-0.3, 0.0, 0.3]
        } else {
            &[0.0]
        };
        let factors = match self.sign {
            FactorSign::NonNegative => [0.1, 0.3, 0.5, 0.8],
            FactorSign::Any => [-0.1, 0.03, 0.1, 0.3],
        };
        let mut best = Vec::new();
        for row in 0..9 {
            let b = 0.04 * 1.6_f64.powi(row);
            let mut row_best: Option<Projected> = None;
            for factor in factors {
                for knee in &knees {
                    for &d in pre_exponents {
                        let outer = Outer::from_slice(&[factor, b.ln(), b * knee, d]);
                        let linear = self.linear_step(kind, penalty, &outer, None);
                        let cost = self.cost(kind, penalty, &outer, &linear);
                        if cost.is_finite() && row_best.is_none_or(|best| cost < best.cost) {
                            row_best = Some(Projected {
                                outer,
                                linear,
                                cost,
                                gradient: [0.0; MAX_OUTER],
                            });
                        }
                    }
                }
            }
            best.extend(row_best);
        }
        best
    }
}

fn model(columns: &Columns, linear: &[f64; 3]) -> f64 {
    linear[0] * columns.data + linear[1] * columns.factor + linear[2]
}

/// Minimises xᵀMx/2 − rᵀx over x ≥ 0 by trying every set of positive coefficients (at most seven).
fn non_negative(matrix: &[[f64; 3]; 3], right: &[f64; 3]) -> [f64; 3] {
    let mut best = [0.0; 3];
    let mut best_value = 0.0;
    for set in 1_usize..8 {
        let used = |i: usize| set & (1 << i) != 0;
        if (0..3).any(|i| used(i) && matrix[i][i] <= 0.0) {
            continue;
        }
        let Some(x) = solve_subset(matrix, right, set) else {
            continue;
        };
        let value: f64 = -0.5 * (0..3).map(|i| right[i] * x[i]).sum::<f64>();
        if x.iter().all(|v| *v >= 0.0) && value < best_value {
            (best, best_value) = (x, value);
        }
    }
    best
}

/// Solves the rows and columns in `set` (a bit mask) by Cholesky.
fn solve_subset(matrix: &[[f64; 3]; 3], right: &[f64; 3], set: usize) -> Option<[f64; 3]> {
    let used = |i: usize| set & (1 << i) != 0;
    let mut lower = [[0.0; 3]; 3];
    let mut x = [0.0; 3];
    for i in (0..3).filter(|i| used(*i)) {
        for k in (0..i).filter(|k| used(*k)) {
            let inner: f64 = (0..k).map(|m| lower[i][m] * lower[k][m]).sum();
            lower[i][k] = (matrix[i][k] - inner) / lower[k][k];
        }
        let pivot = matrix[i][i] - (0..i).map(|m| lower[i][m] * lower[i][m]).sum::<f64>();
        if pivot.is_nan() || pivot <= 1e-13 * matrix[i][i] {
            return None;
        }
        lower[i][i] = pivot.sqrt();
        x[i] = (right[i] - (0..i).map(|m| lower[i][m] * x[m]).sum::<f64>()) / lower[i][i];
    }
    for i in (0..3).rev().filter(|i| used(*i)) {
        x[i] = (x[i] - ((i + 1)..3).map(|m| lower[m][i] * x[m]).sum::<f64>()) / lower[i][i];
    }
    x.iter().all(|v| v.is_finite()).then_some(x)
}

#[cfg(test)]
mod tests {
    use super::super::JointCurve;
    use super::*;
    use crate::curve::LearningCurve;
    use crate::objective::Objective;

    fn panel(sign: FactorSign) -> PanelPoints {
        let curve = |scale: f64| {
            let pairs: Vec<_> = (0..6)
                .map(|i| (200_u64 << i, scale * (1.0 + 0.9_f64.powi(i * i))))
                .collect();
            LearningCurve::from_pairs(&pairs).unwrap()
        };
        let curves = [(1.0, 1e8), (0.9, 4e8), (0.7, 1e9)].map(|(scale, factor)| JointCurve {
            curve: curve(scale),
            factor,
        });
        PanelPoints::new(&JointPanel::new(curves.to_vec()).unwrap(), None, sign)
    }

    #[test]
    fn gradient_of_the_projected_cost_matches_differences() {
        let penalty = Penalty::from(Objective::LogRmse);
        for (kind, sign) in JointLawKind::ALL
            .into_iter()
            .zip([FactorSign::Any, FactorSign::NonNegative].into_iter().cycle())
        {
            let points = panel(sign);
            let start = [0.4, -1.0, 0.1, 0.2];
            let at = points.project(kind, penalty, &Outer::from_slice(&start));
            for i in 0..Outer::dimension(kind) {
                let moved = |step: f64| {
                    let mut outer = start;
                    outer[i] += step;
                    points.project(kind, penalty, &Outer::from_slice(&outer)).cost
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!(
                    (slope - at.gradient[i]).abs() < 1e-5 * (1e-3 + slope.abs()),
                    "{kind:?} {i}"
                );
            }
        }
    }

    #[test]
    fn least_squares_keeps_coefficients_non_negative() {
        let matrix = [[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]];
        let x = non_negative(&matrix, &[2.0, -1.0, 0.5]);
        assert!((x[0] - 1.0).abs() < 1e-14 && x[1] == 0.0 && (x[2] - 0.5).abs() < 1e-14);
        assert!(
            non_negative(&matrix, &[-1.0, -1.0, -1.0])
                .iter()
                .all(|x| x.abs() < 1e-300)
        );
    }
}
