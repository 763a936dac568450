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

mod step;

use super::points::Points;
use crate::objective::Penalty;
use step::{Systems, project};

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

impl Theta {
    /// ln L in centred units.
    pub(crate) fn log_loss(&self, z: f64) -> f64 {
        let denominator = self.log_knee.exp() + (self.log_exponent.exp() * z).exp();
        (self.log_scale.exp() / denominator + self.floor).ln()
    }
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
