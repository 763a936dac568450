//! Polishing one start: a damped Newton method on the four coefficients of the rectified law, with the faces `D_l` = 0
//! and E = 0 handled as active sets.
//!
//! Symbols, in centred units (z = ln D − mean, losses over their weighted geometric mean):
//! m(z) = b / (d + t) + E with t = e^(βz), and θ = (ln b, ln d, ln β, E). With ρ = b / ((d + t)·m), q = d / (d + t), s = 1 − q, τ = βz:
//! ∂ ln m / ∂θ = (ρ, −ρq, −ρsτ, 1/m), and the second derivatives are closed forms in the same quantities.
//!
//! b and E are cheap to solve for once (d, β) are fixed, and strongly correlated with them. So the damping acts on the
//! 2×2 Schur complement of (d, β) alone, and after each trial step b and E are solved for again (variable projection).
//! The Hessian is exact wherever its Schur complement is positive definite, else the (reweighted) Gauss–Newton matrix G
//! stands in. Convergence is judged by the scale-free gradient max gᵢ² / (Gᵢᵢ · cost), because the cost itself (~1e-5
//! and below) is smaller than any absolute tolerance.

use super::points::Points;
use crate::objective::Penalty;

/// Smallest β a fit may return (apart from the constant law's 0).
pub(crate) const MIN_DATA_EXPONENT: f64 = 1e-6;
/// Largest β a fit may return.
pub(crate) const MAX_DATA_EXPONENT: f64 = 20.0;
/// β·ln D stays below this, so that D^β neither overflows nor underflows.
const MAX_LOG_POWER: f64 = 600.0;
/// Iterations before a polish is given up as it stands.
pub(crate) const MAX_ITERATIONS: u32 = 200;
/// Scale-free squared gradient at which a polish has converged.
const GRADIENT_TOLERANCE: f64 = 1e-14;
/// Relative decrease of the cost below which a nearly undamped step ends the polish.
const DECREASE_TOLERANCE: f64 = 1e-11;
/// Mean squared residual that is rounding error.
const PERFECT: f64 = 1e-28;
/// Below this share of the smallest D^β, `D_l` is a candidate for the face `D_l` = 0.
const NEGLIGIBLE_KNEE: f64 = 1e-3;
/// Largest change of a logarithm in one step.
const MAX_STEP: f64 = 3.0;
/// Change of ln d or ln β beyond which b and E are solved for from scratch.
const FAR_STEP: f64 = 0.5;
/// Damping ranges over this before a polish gives up.
const MAX_DAMPING: f64 = 1e10;
const MIN_DAMPING: f64 = 1e-12;

/// Coefficients in centred units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Theta {
    /// ln b.
    pub(crate) log_scale: f64,
    /// ln d; −∞ on the face `D_l` = 0.
    pub(crate) log_knee: f64,
    /// ln β.
    pub(crate) log_exponent: f64,
    /// E; 0 on the face E = 0.
    pub(crate) floor: f64,
}

/// Which coefficients a law has beyond b and β.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) knee: bool,
    pub(crate) floor: bool,
}

impl Shape {
    pub(crate) const RECTIFIED: Self = Self {
        knee: true,
        floor: true,
    };
    pub(crate) const POWER_FLOOR: Self = Self {
        knee: false,
        floor: true,
    };
    pub(crate) const POWER: Self = Self {
        knee: false,
        floor: false,
    };
}

/// Where a polish ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Polished {
    pub(crate) theta: Theta,
    /// Σ w h(r), weights of mean 1.
    pub(crate) cost: f64,
    pub(crate) iterations: u32,
    pub(crate) converged: bool,
}

type Vector = [f64; 4];
type Matrix = [[f64; 4]; 4];

/// Cost with first and second derivatives at one θ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Derivatives {
    pub(crate) cost: f64,
    pub(crate) gradient: Vector,
    /// Exact Hessian, upper triangle.
    pub(crate) hessian: Matrix,
    /// Reweighted Gauss–Newton matrix, upper triangle.
    pub(crate) gauss_newton: Matrix,
    /// ∂cost/∂d at d = 0, only on that face: negative means that the face should be left.
    knee_slope: f64,
}

/// Bounds of ln β for curves whose largest |ln D| is `max_abs_log_size`.
pub(crate) fn log_exponent_bounds(max_abs_log_size: f64) -> (f64, f64) {
    let largest = MAX_DATA_EXPONENT.min(MAX_LOG_POWER / max_abs_log_size.max(1.0));
    (MIN_DATA_EXPONENT.ln(), largest.ln())
}

/// The cost and its derivatives.
pub(crate) fn derivatives(points: &Points, penalty: Penalty, theta: &Theta) -> Derivatives {
    let mut out = Derivatives {
        cost: 0.0,
        gradient: [0.0; 4],
        hessian: [[0.0; 4]; 4],
        gauss_newton: [[0.0; 4]; 4],
        knee_slope: 0.0,
    };
    let beta = theta.log_exponent.exp();
    let (scale, knee) = (theta.log_scale.exp(), theta.log_knee.exp());
    for (z, y, _, weight) in points.iter() {
        let tau = beta * z;
        let power = tau.exp();
        let inverse_denominator = 1.0 / (knee + power);
        let reducible = scale * inverse_denominator;
        let inverse_loss = 1.0 / (reducible + theta.floor);
        let terms = penalty.terms((reducible + theta.floor).ln() - y);
        let (rho, q) = (reducible * inverse_loss, knee * inverse_denominator);
        let s = power * inverse_denominator;
        let sigma = theta.floor * inverse_loss;
        let a = [1.0, -q, -s * tau];
        let j = [rho, rho * a[1], rho * a[2], inverse_loss];
        let (slope, curvature, reweight) = (weight * terms.slope, weight * terms.curvature, weight * terms.reweight);
        out.cost += weight * terms.cost;
        out.knee_slope -= slope * rho * inverse_denominator;
        let second = rho * sigma * slope;
        let knee_curvature = rho * slope * q * s;
        for row in 0..3 {
            out.gradient[row] += slope * j[row];
            for column in row..3 {
                let product = j[row] * j[column];
                out.gauss_newton[row][column] += reweight * product;
                out.hessian[row][column] += curvature * product + second * a[row] * a[column];
            }
            let product = j[row] * j[3];
            out.gauss_newton[row][3] += reweight * product;
            out.hessian[row][3] += (curvature - slope) * product;
        }
        out.gradient[3] += slope * j[3];
        out.gauss_newton[3][3] += reweight * j[3] * j[3];
        out.hessian[3][3] += (curvature - slope) * j[3] * j[3];
        out.hessian[1][1] -= knee_curvature;
        out.hessian[1][2] += knee_curvature * tau;
        out.hessian[2][2] -= knee_curvature * tau * tau + rho * slope * s * tau;
    }
    out
}

/// Follows the cost downhill from `start` until it is stationary on its face.
pub(crate) fn polish(points: &Points, penalty: Penalty, shape: Shape, start: Theta) -> Polished {
    Descent::new(points, penalty, shape, start).run()
}

struct Descent<'a> {
    points: &'a Points,
    penalty: Penalty,
    shape: Shape,
    exponent_bounds: (f64, f64),
    /// ln of the smallest D^β per unit of β.
    z_min: f64,
    theta: Theta,
    at: Derivatives,
    damping: f64,
    knee_releases: u32,
}

impl<'a> Descent<'a> {
    fn new(points: &'a Points, penalty: Penalty, shape: Shape, start: Theta) -> Self {
        let (z_min, z_max) = points.z_range();
        let largest = (z_max + points.x_center).abs().max(z_min.abs()).max(z_max.abs());
        Self {
            points,
            penalty,
            shape,
            exponent_bounds: log_exponent_bounds(largest),
            z_min,
            theta: start,
            at: derivatives(points, penalty, &start),
            damping: 1e-4,
            knee_releases: 0,
        }
    }

    fn run(mut self) -> Polished {
        let perfect = PERFECT * self.points.len() as f64;
        let mut iterations = 0;
        let mut converged = false;
        while iterations < MAX_ITERATIONS {
            iterations += 1;
            if self.at.cost <= perfect {
                converged = true;
                break;
            }
            let free = self.free();
            if self.stationary(free) {
                converged = true;
                if !self.leave_knee_face() {
                    break;
                }
                continue;
            }
            match self.step(free) {
                Some(decrease) if decrease <= DECREASE_TOLERANCE * self.at.cost && self.damping < 1e-2 => {
                    converged = true;
                    if !self.leave_knee_face() {
                        break;
                    }
                }
                Some(_) => self.enter_knee_face(),
                None => break,
            }
        }
        Polished {
            theta: self.theta,
            cost: self.at.cost,
            iterations,
            converged,
        }
    }

    /// Which coefficients may move: those of the law that are not held by a bound the gradient pushes against.
    fn free(&self) -> [bool; 4] {
        let (low, high) = self.exponent_bounds;
        let g = &self.at.gradient;
        let exponent = self.theta.log_exponent;
        [
            true,
            self.shape.knee && self.theta.log_knee > f64::NEG_INFINITY,
            !(exponent <= low && g[2] > 0.0 || exponent >= high && g[2] < 0.0),
            self.shape.floor && !(self.theta.floor <= 0.0 && g[3] >= 0.0),
        ]
    }

    /// Whether every free coefficient's column is orthogonal to the residuals, in units of both.
    fn stationary(&self, free: [bool; 4]) -> bool {
        (0..4).all(|i| {
            let g = self.at.gradient[i];
            !free[i] || g * g <= GRADIENT_TOLERANCE * self.at.gauss_newton[i][i] * self.at.cost
        })
    }

    /// Tries steps of growing damping until one lowers the cost; the decrease, or `None` when none does.
    ///
    /// A step that would cross E = 0 is cut short there: the valley bends at the bound, and the part of the step beyond
    /// it was computed for another valley.
    fn step(&mut self, mut free: [bool; 4]) -> Option<f64> {
        let mut systems = Systems::new(&self.at, free);
        while self.damping < MAX_DAMPING {
            if let Some(mut step) = systems.step(self.damping) {
                if free[3] && self.theta.floor + step[3] < 0.0 {
                    if self.theta.floor <= 0.0 {
                        free[3] = false;
                        systems = Systems::new(&self.at, free);
                        continue;
                    }
                    let share = -self.theta.floor / step[3];
                    step = step.map(|s| s * share);
                    step[3] = -self.theta.floor;
                }
                let theta = self.moved(&step, free[3]);
                let at = derivatives(self.points, self.penalty, &theta);
                if at.cost < self.at.cost {
                    let decrease = self.at.cost - at.cost;
                    (self.theta, self.at) = (theta, at);
                    self.damping = (self.damping * 0.1).max(MIN_DAMPING);
                    return Some(decrease);
                }
            }
            self.damping *= 10.0;
        }
        None
    }

    fn moved(&self, step: &Vector, floor_free: bool) -> Theta {
        let limit = |delta: f64| delta.clamp(-MAX_STEP, MAX_STEP);
        let (low, high) = self.exponent_bounds;
        let floor = (self.theta.floor + step[3]).max(0.0);
        let theta = Theta {
            log_scale: self.theta.log_scale + step[0].clamp(-2.0 * MAX_STEP, 2.0 * MAX_STEP),
            log_knee: self.theta.log_knee + limit(step[1]),
            log_exponent: (self.theta.log_exponent + limit(step[2])).clamp(low, high),
            floor: if floor_free { floor } else { self.theta.floor },
        };
        let far = step[1].abs().max(step[2].abs()) > FAR_STEP;
        project(self.points, self.penalty, floor_free && floor > 0.0, theta, far)
    }

    /// Moves to `D_l` = 0 when `D_l` is negligible, still shrinking, and not missed.
    fn enter_knee_face(&mut self) {
        let negligible = self.theta.log_exponent.exp() * self.z_min + NEGLIGIBLE_KNEE.ln();
        if self.theta.log_knee > negligible || self.theta.log_knee == f64::NEG_INFINITY || self.at.gradient[1] <= 0.0 {
            return;
        }
        let theta = Theta {
            log_knee: f64::NEG_INFINITY,
            ..self.theta
        };
        let at = derivatives(self.points, self.penalty, &theta);
        if at.cost <= self.at.cost * (1.0 + 1e-9) {
            (self.theta, self.at) = (theta, at);
        }
    }

    /// Leaves `D_l` = 0, once, when a positive `D_l` would lower the cost.
    fn leave_knee_face(&mut self) -> bool {
        let on_face = self.shape.knee && self.theta.log_knee == f64::NEG_INFINITY;
        if !on_face || self.at.knee_slope >= 0.0 || self.knee_releases > 0 {
            return false;
        }
        self.knee_releases += 1;
        let log_knee = self.theta.log_exponent.exp() * self.z_min + (10.0 * NEGLIGIBLE_KNEE).ln();
        self.theta = Theta { log_knee, ..self.theta };
        self.at = derivatives(self.points, self.penalty, &self.theta);
        self.damping = 1e-4;
        true
    }
}

/// The exact system where it is positive definite, and the one that always is.
struct Systems {
    exact: Option<Reduced>,
    gauss_newton: Option<Reduced>,
    scale: [f64; 2],
}

impl Systems {
    fn new(at: &Derivatives, free: [bool; 4]) -> Self {
        let gauss_newton = Reduced::new(&at.gauss_newton, &at.gradient, free);
        let scale = gauss_newton
            .as_ref()
            .map_or([1.0; 2], |r| [r.matrix[0][0], r.matrix[1][1]]);
        Self {
            exact: Reduced::new(&at.hessian, &at.gradient, free),
            gauss_newton,
            scale,
        }
    }

    fn step(&self, damping: f64) -> Option<Vector> {
        [&self.exact, &self.gauss_newton]
            .into_iter()
            .flatten()
            .find_map(|r| r.step(damping, self.scale))
    }
}

/// The Newton system with b and E eliminated.
struct Reduced {
    /// Schur complement of (ln d, ln β); identity rows where not free.
    matrix: [[f64; 2]; 2],
    gradient: [f64; 2],
    /// (b, E) response to a unit change of ln d and of ln β, and to their own gradient.
    response: [[f64; 2]; 3],
    free: [bool; 4],
}

impl Reduced {
    /// `None` when the block of (b, E) is not positive definite. `matrix` is an upper triangle.
    fn new(matrix: &Matrix, gradient: &Vector, free: [bool; 4]) -> Option<Self> {
        let (bb, be, ee) = if free[3] {
            (matrix[0][0], matrix[0][3], matrix[3][3])
        } else {
            (matrix[0][0], 0.0, 1.0)
        };
        let determinant = bb * ee - be * be;
        if !(bb > 0.0 && ee > 0.0 && determinant > 1e-15 * bb * ee) {
            return None;
        }
        let inner = |x: f64, y: f64| {
            let y = if free[3] { y } else { 0.0 };
            [(ee * x - be * y) / determinant, (bb * y - be * x) / determinant]
        };
        let couple = [[matrix[0][1], matrix[1][3]], [matrix[0][2], matrix[2][3]]];
        let response = [
            inner(couple[0][0], couple[0][1]),
            inner(couple[1][0], couple[1][1]),
            inner(gradient[0], gradient[3]),
        ];
        let dot = |row: usize, column: usize| {
            let floor = if free[3] {
                couple[row][1] * response[column][1]
            } else {
                0.0
            };
            couple[row][0] * response[column][0] + floor
        };
        let mut reduced = Self {
            matrix: [[1.0, 0.0], [0.0, 1.0]],
            gradient: [0.0; 2],
            response,
            free,
        };
        for row in 0..2 {
            if free[row + 1] {
                reduced.gradient[row] = gradient[row + 1] - dot(row, 2);
                reduced.matrix[row][row] = matrix[row + 1][row + 1] - dot(row, row);
            }
        }
        if free[1] && free[2] {
            reduced.matrix[0][1] = matrix[1][2] - dot(0, 1);
        }
        Some(reduced)
    }

    /// The damped step in all four coefficients; `None` when the damped matrix is not positive definite.
    fn step(&self, damping: f64, scale: [f64; 2]) -> Option<Vector> {
        let (a, b) = (
            self.matrix[0][0] + damping * scale[0],
            self.matrix[1][1] + damping * scale[1],
        );
        let off = self.matrix[0][1];
        let determinant = a * b - off * off;
        if !(a > 0.0 && b > 0.0 && determinant > 1e-12 * a * b) {
            return None;
        }
        let [g_knee, g_exponent] = self.gradient;
        let knee = if self.free[1] {
            (off * g_exponent - b * g_knee) / determinant
        } else {
            0.0
        };
        let exponent = if self.free[2] {
            (off * g_knee - a * g_exponent) / determinant
        } else {
            0.0
        };
        let inner = |i: usize| -self.response[2][i] - knee * self.response[0][i] - exponent * self.response[1][i];
        let step = [inner(0), knee, exponent, if self.free[3] { inner(1) } else { 0.0 }];
        step.iter().all(|v| v.is_finite()).then_some(step)
    }
}

/// Solves for b and E at fixed (d, β): relative residuals first when `theta`'s own b and E are not to be trusted, then
/// reweighted Gauss–Newton steps on the log residuals.
fn project(points: &Points, penalty: Penalty, floor: bool, theta: Theta, far: bool) -> Theta {
    let beta = theta.log_exponent.exp();
    let knee = theta.log_knee.exp();
    let (mut scale, mut level) = (theta.log_scale.exp(), theta.floor);
    let rounds = 1 + u32::from(far) + u32::from(penalty.width.is_finite());
    for round in 0..rounds {
        let relative = far && round == 0;
        // Normal equations of Σ w (b·p + E·q − c)², p = f/m, q = 1/m (m: model, or the measured loss in the first round).
        let (mut pp, mut pq, mut qq, mut pc, mut qc) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (z, y, inverse, weight) in points.iter() {
            let unit = 1.0 / (knee + (beta * z).exp());
            let (q, c, weight) = if relative {
                (inverse, 1.0, weight)
            } else {
                let model = scale * unit + level;
                let residual = model.ln() - y;
                (1.0 / model, 1.0 - residual, weight * penalty.terms(residual).reweight)
            };
            let p = unit * q;
            let (wp, wq) = (weight * p, weight * q);
            pp += wp * p;
            pq += wp * q;
            qq += wq * q;
            pc += wp * c;
            qc += wq * c;
        }
        let determinant = pp * qq - pq * pq;
        let (mut b, mut e) = (pc / pp, 0.0);
        if floor && determinant > 1e-14 * pp * qq {
            let free = (pp * qc - pq * pc) / determinant;
            if free > 0.0 {
                (b, e) = ((qq * pc - pq * qc) / determinant, free);
            }
        }
        if !(b > 0.0 && b.is_finite() && e.is_finite()) {
            break;
        }
        (scale, level) = (b, e);
    }
    Theta {
        log_scale: scale.ln(),
        floor: level,
        ..theta
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objective::{HuberWidth, Objective};

    fn points() -> Points {
        let sizes = [200_f64, 400.0, 800.0, 1600.0, 3200.0, 6400.0];
        let losses = [3.2_f64, 3.1, 2.95, 2.7, 2.45, 2.1];
        Points::from_logs(
            sizes.iter().map(|d| d.ln()),
            losses.iter().map(|l| l.ln()),
            [1.0, 2.0, 0.5, 1.0, 1.0, 1.5].into_iter(),
        )
    }

    fn as_theta(v: Vector) -> Theta {
        Theta {
            log_scale: v[0],
            log_knee: v[1],
            log_exponent: v[2],
            floor: v[3],
        }
    }

    #[test]
    fn derivatives_match_differences() {
        let points = points();
        let v = [0.3, 0.2, -0.4, 0.35];
        for penalty in [
            Penalty::from(Objective::LogRmse),
            Penalty::from(Objective::Huber(HuberWidth::new(0.2).unwrap())),
        ] {
            let at = derivatives(&points, penalty, &as_theta(v));
            let step = 1e-5;
            for i in 0..4 {
                let (mut up, mut down) = (v, v);
                up[i] += step;
                down[i] -= step;
                let (up, down) = (
                    derivatives(&points, penalty, &as_theta(up)),
                    derivatives(&points, penalty, &as_theta(down)),
                );
                let slope = (up.cost - down.cost) / (2.0 * step);
                assert!(
                    (slope - at.gradient[i]).abs() < 1e-8 * (1.0 + slope.abs()),
                    "gradient {i}"
                );
                for k in 0..4 {
                    let curvature = (up.gradient[k] - down.gradient[k]) / (2.0 * step);
                    let (row, column) = (i.min(k), i.max(k));
                    assert!((curvature - at.hessian[row][column]).abs() < 1e-7, "hessian {i} {k}");
                }
            }
        }
    }

    #[test]
    fn slope_on_the_knee_face_matches_differences() {
        let (points, penalty) = (points(), Penalty::from(Objective::LogRmse));
        let face = Theta {
            log_scale: 0.1,
            log_knee: f64::NEG_INFINITY,
            log_exponent: -0.5,
            floor: 0.2,
        };
        let at = derivatives(&points, penalty, &face);
        let near = derivatives(
            &points,
            penalty,
            &Theta {
                log_knee: 1e-7_f64.ln(),
                ..face
            },
        );
        assert!(((near.cost - at.cost) / 1e-7 - at.knee_slope).abs() < 1e-4 * at.knee_slope.abs());
    }

    #[test]
    fn polish_reaches_a_stationary_point() {
        let (points, penalty) = (points(), Penalty::from(Objective::LogRmse));
        let start = Theta {
            log_scale: 0.0,
            log_knee: 0.0,
            log_exponent: 0.0,
            floor: 0.1,
        };
        let before = derivatives(&points, penalty, &start).cost;
        let end = polish(&points, penalty, Shape::RECTIFIED, start);
        assert!(end.converged && end.cost < before && end.iterations < MAX_ITERATIONS);
    }
}
