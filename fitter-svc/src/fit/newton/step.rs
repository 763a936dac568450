//! One step of the polish: the Newton system with b and E eliminated, and b and E solved for again where it leads.

use super::{Derivatives, Matrix, Theta, Vector};
use crate::fit::points::Points;
use crate::objective::Penalty;

/// The exact system where it is positive definite, and the one that always is.
pub(super) struct Systems {
    exact: Option<Reduced>,
    gauss_newton: Option<Reduced>,
    scale: [f64; 2],
}

impl Systems {
    pub(super) fn new(at: &Derivatives, free: [bool; 4]) -> Self {
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

    pub(super) fn step(&self, damping: f64) -> Option<Vector> {
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
pub(super) fn project(points: &Points, penalty: Penalty, floor: bool, theta: Theta, far: bool) -> Theta {
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
