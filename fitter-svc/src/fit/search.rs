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
        for start in self.grid.starts(points, shape).iter() {
            best.challenge(Some(polish(points, penalty, shape, start)), points.len());
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
