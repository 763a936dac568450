//! The global search: grid, polish of every local minimum of the grid, boundary models, and the choice among them.

use super::grid::Grid;
use super::newton::{Polished, Shape, Theta, polish};
use super::points::Points;
use crate::law::{Law, LawKind, PowerLaw, RectifiedLaw};
use crate::objective::{Objective, Penalty};

/// Relative difference of costs below which the simpler model wins.
const TIE: f64 = 1e-7;
/// Costs per point below this are rounding error: all such fits are equally good.
const ROUNDING: f64 = 1e-26;

/// The penalty of least squares.
const LEAST_SQUARES: Penalty = Penalty { width: f64::INFINITY };
/// Factor between Huber widths, beginning at the largest residual of least squares.
const NARROWING: f64 = 0.4;
/// Relative difference of costs below which two polishes have found the same minimum.
const SAME_END: f64 = 1e-6;
/// With at most so many points, fits without each of them give further starts for the Huber cost.
const LEAVE_ONE_OUT_POINTS: usize = 8;
/// Weight of a point that is left out.
const LEFT_OUT: f64 = 1e-6;

/// The best point found for one curve and one shape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// `None`: the best law is a constant (the losses do not fall with the data size).
    pub(crate) theta: Option<Theta>,
    /// ln of the constant in centred units, for `theta = None`.
    pub(crate) constant: f64,
    /// Σ w h(r) with weights of mean 1.
    pub(crate) cost: f64,
    /// Newton iterations over all starts.
    pub(crate) iterations: u32,
    pub(crate) converged: bool,
}

/// Searches with buffers that are reused from curve to curve.
#[derive(Debug, Clone, Default)]
pub(crate) struct Search {
    grid: Grid,
}

impl Search {
    /// The global optimum of the law of `shape` on `points`.
    pub(crate) fn global(&mut self, points: &Points, objective: Objective, shape: Shape) -> Found {
        let penalty = Penalty::from(objective);
        let mut best = constant(points, penalty);
        if points.len() < 2 {
            return best;
        }
        if shape == Shape::POWER && objective == Objective::LogRmse {
            best.challenge(log_linear(points), points.len());
            return best;
        }
        let starts = self.grid.starts(points, shape);
        for start in starts.iter() {
            best.challenge(Some(polish(points, penalty, shape, start)), points.len());
        }
        if penalty.width.is_finite() {
            best.narrowing(points, penalty, shape, starts.iter());
            best.leave_one_out(points, penalty, shape);
        }
        best.simplify(points, penalty, shape);
        best
    }

    /// The optimum near `warm` or near the grid's best cell: for the bootstrap, where thousands of nearly equal problems
    /// are solved.
    pub(crate) fn near(&mut self, points: &Points, objective: Objective, shape: Shape, warm: Option<Theta>) -> Found {
        if points.len() < 2 || (shape == Shape::POWER && objective == Objective::LogRmse) {
            return self.global(points, objective, shape);
        }
        let penalty = Penalty::from(objective);
        let mut best = constant(points, penalty);
        let first = self.grid.starts(points, shape).iter().next();
        for start in warm.into_iter().chain(first) {
            best.challenge(Some(polish(points, penalty, shape, start)), points.len());
        }
        best.simplify(points, penalty, shape);
        best
    }
}

impl Found {
    /// Takes the challenger if it is better by more than a tie, or as good and simpler.
    fn challenge(&mut self, challenger: Option<Polished>, count: usize) {
        let Some(challenger) = challenger else { return };
        let iterations = self.iterations + challenger.iterations;
        let margin = TIE * self.cost.min(challenger.cost) + ROUNDING * count as f64;
        let simpler = complexity(Some(challenger.theta)) < complexity(self.theta);
        let better = if simpler {
            challenger.cost <= self.cost + margin
        } else {
            challenger.cost < self.cost - margin || (challenger.cost < self.cost && self.theta.is_some())
        };
        if better {
            *self = Self {
                theta: Some(challenger.theta),
                constant: 0.0,
                cost: challenger.cost,
                iterations,
                converged: challenger.converged,
            };
        }
        self.iterations = iterations;
    }

    /// Polishes each start by least squares and narrows the Huber width step by step from each distinct end: the minima of
    /// the narrow cost that the wide ones lead to are the deep ones.
    fn narrowing(&mut self, points: &Points, penalty: Penalty, shape: Shape, starts: impl Iterator<Item = Theta>) {
        let mut before = f64::NAN;
        for start in starts {
            let wide = polish(points, LEAST_SQUARES, shape, start);
            self.iterations += wide.iterations;
            if (wide.cost - before).abs() <= SAME_END * before {
                continue;
            }
            before = wide.cost;
            let mut theta = wide.theta;
            let mut width = NARROWING * largest_residual(points, &theta);
            while width > penalty.width * 1.5 {
                let end = polish(points, Penalty { width }, shape, theta);
                self.iterations += end.iterations;
                theta = end.theta;
                width *= NARROWING;
            }
            self.challenge(Some(polish(points, penalty, shape, theta)), points.len());
        }
    }

    /// Starts from the least-squares fits without each of the points in turn, where there are few: the Huber cost of a few
    /// points has a minimum for nearly every choice of the points it passes through.
    fn leave_one_out(&mut self, points: &Points, penalty: Penalty, shape: Shape) {
        let Some(theta) = self.theta.filter(|_| points.len() <= LEAVE_ONE_OUT_POINTS) else {
            return;
        };
        let mut without = points.clone();
        for index in 0..points.len() {
            without.weight.clone_from(&points.weight);
            if let Some(weight) = without.weight.get_mut(index) {
                *weight *= LEFT_OUT;
            }
            let start = polish(&without, LEAST_SQUARES, shape, theta).theta;
            self.challenge(Some(polish(points, penalty, shape, start)), points.len());
        }
    }

    /// Refits the boundary models next to the best point; a tie goes to them.
    fn simplify(&mut self, points: &Points, penalty: Penalty, shape: Shape) {
        let Some(theta) = self.theta else { return };
        let on_knee_face = theta.log_knee == f64::NEG_INFINITY;
        if shape.knee && !on_knee_face {
            let without_knee = Theta {
                log_knee: f64::NEG_INFINITY,
                ..theta
            };
            let faced = Shape {
                knee: false,
                floor: shape.floor,
            };
            self.challenge(Some(polish(points, penalty, faced, without_knee)), points.len());
        }
        if shape.floor && theta.floor > 0.0 {
            let faced = Shape {
                knee: shape.knee && !on_knee_face,
                floor: false,
            };
            self.challenge(
                Some(polish(points, penalty, faced, Theta { floor: 0.0, ..theta })),
                points.len(),
            );
        }
    }

    /// The law in the caller's units.
    pub(crate) fn law(&self, points: &Points, kind: LawKind) -> Law {
        let Some(theta) = self.theta else {
            return Law::constant(kind, self.constant + points.y_center);
        };
        let beta = theta.log_exponent.exp();
        let shift = beta * points.x_center;
        let log_scale = theta.log_scale + shift + points.y_center;
        let floor = theta.floor * points.y_center.exp();
        match kind {
            LawKind::PowerWithFloor => Law::PowerWithFloor(PowerLaw::new(log_scale, beta, floor)),
            LawKind::Power => Law::Power(PowerLaw::new(log_scale, beta, 0.0)),
            _ => Law::Rectified(RectifiedLaw::new(log_scale, theta.log_knee + shift, beta, floor)),
        }
    }
}

fn largest_residual(points: &Points, theta: &Theta) -> f64 {
    points
        .iter()
        .map(|(z, y, ..)| (theta.log_loss(z) - y).abs())
        .fold(0.0, f64::max)
}

/// Number of coefficients off their bounds; the constant has one.
pub(crate) fn complexity(theta: Option<Theta>) -> usize {
    theta.map_or(1, |t| {
        2 + usize::from(t.log_knee > f64::NEG_INFINITY) + usize::from(t.floor > 0.0)
    })
}

/// The best constant: the weighted mean of ln L, or its Huber counterpart by bisection on the (monotone) derivative.
fn constant(points: &Points, penalty: Penalty) -> Found {
    let slope = |c: f64| {
        points
            .iter()
            .map(|(_, y, _, w)| w * penalty.terms(c - y).slope)
            .sum::<f64>()
    };
    let (mut low, mut high) = points
        .y
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &y| {
            (low.min(y), high.max(y))
        });
    let mut level = 0.0;
    if penalty.width.is_finite() && low < high {
        for _ in 0..60 {
            level = 0.5 * (low + high);
            if slope(level) < 0.0 { low = level } else { high = level }
        }
    }
    let cost = points.iter().map(|(_, y, _, w)| w * penalty.cost(level - y)).sum();
    Found {
        theta: None,
        constant: level,
        cost,
        iterations: 0,
        converged: true,
    }
}

/// The log-linear least-squares fit; `None` unless the losses fall.
fn log_linear(points: &Points) -> Option<Polished> {
    let (mut w1, mut wz, mut wzz, mut wzy) = (0.0, 0.0, 0.0, 0.0);
    for (z, _, _, w) in points.iter() {
        w1 += w;
        wz += w * z;
    }
    let mean = wz / w1;
    for (z, y, _, w) in points.iter() {
        wzz += w * (z - mean) * (z - mean);
        wzy += w * (z - mean) * y;
    }
    let slope = wzy / wzz;
    if slope.is_nan() || slope >= 0.0 {
        return None;
    }
    let cost = points
        .iter()
        .map(|(z, y, _, w)| 0.5 * w * (slope * (z - mean) - y).powi(2))
        .sum();
    let theta = Theta {
        log_scale: -slope * mean,
        log_knee: f64::NEG_INFINITY,
        log_exponent: (-slope).ln(),
        floor: 0.0,
    };
    Some(Polished {
        theta,
        cost,
        iterations: 1,
        converged: true,
    })
}

#[cfg(test)]
mod tests {
    use super::super::newton::derivatives;
    use super::*;

    /// Curves of the test; with 600 none fails either.
    const CURVES: u32 = 60;

    /// A curve drawn from a rectified law like the published ones, with noise that has a heavy tail.
    fn noisy(k: u32) -> Points {
        let phase = f64::from(k) * 0.618_034;
        let beta = 0.2 + 0.5 * phase.fract();
        let floor = if k.is_multiple_of(3) {
            0.0
        } else {
            1.2 * (phase * 7.0).fract()
        };
        let law = RectifiedLaw::new(
            beta * 11.0 + 1.0,
            beta * (9.0 + 3.0 * (phase * 3.0).fract()),
            beta,
            floor,
        );
        let noise = |i: u32| 0.012 * (f64::from(i * 37 + k * 101) * 1.7).sin().powi(3);
        let x: Vec<f64> = (0..5 + k % 10)
            .map(|i| (200.0 * 2_f64.powf(f64::from(i))).ln())
            .collect();
        let y: Vec<f64> = x
            .iter()
            .zip(0_u32..)
            .map(|(x, i)| law.log_loss(*x) + noise(i))
            .collect();
        let weights = vec![1.0; x.len()];
        Points::from_logs(x.into_iter(), y.into_iter(), weights.into_iter())
    }

    /// The lowest cost that polishing from a dense grid of starts finds.
    fn exhaustive(points: &Points, penalty: Penalty) -> f64 {
        let (low, high) = points.z_range();
        let mut best = f64::INFINITY;
        for (row, column, floor) in (0..10).flat_map(|i| (0..10).flat_map(move |j| [0.0, 0.5].map(|e| (i, j, e)))) {
            let beta = 0.03 * (5.0_f64 / 0.03).powf(f64::from(row) / 9.0);
            let knee = beta * (low - 2.0 + (high - low + 4.0) * f64::from(column) / 9.0);
            let log_knee = if column == 0 { f64::NEG_INFINITY } else { knee };
            let start = Theta {
                log_scale: knee.max(0.0),
                log_knee,
                log_exponent: beta.ln(),
                floor,
            };
            if derivatives(points, penalty, &start).cost.is_finite() {
                best = best.min(polish(points, penalty, Shape::RECTIFIED, start).cost);
            }
        }
        best
    }

    #[test]
    fn no_start_of_a_dense_grid_leads_lower() {
        for k in 0..CURVES {
            let points = noisy(k);
            for objective in [Objective::LogRmse, Objective::huber()] {
                let found = Search::default().global(&points, objective, Shape::RECTIFIED);
                let best = exhaustive(&points, Penalty::from(objective));
                assert!(
                    found.cost <= best * 1.002 + 1e-18,
                    "{k} {objective:?}: {:e} above {best:e}",
                    found.cost
                );
            }
        }
    }
}
