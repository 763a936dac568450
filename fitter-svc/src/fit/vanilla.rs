//! The vanilla law (1/(B·D^β) + E)^α: a one-dimensional outer problem in ln α, driven by argmin's Brent minimiser.
//!
//! For fixed α, ln L = α · ln(c·D^(−β) + E), so that residuals are α times those of a power law with floor fitted to
//! ln L / α: the inner problem is solved globally by the same search, with the Huber width scaled by 1/α.

use argmin::core::{CostFunction, Error, Executor};
use argmin::solver::brent::BrentOpt;

use super::newton::Shape;
use super::points::Points;
use super::search::{Found, Search};
use crate::law::{Law, VanillaLaw};
use crate::objective::{HuberWidth, Objective};

/// ln α is searched within ± this; beyond, the law approaches an exponential or a broken line in ln L.
const LOG_OUTER_LIMIT: f64 = 3.0;
/// Steps of the coarse search on each side of α = 1.
const COARSE_STEPS: i32 = 4;
/// Iterations of the Brent minimiser.
const BRENT_ITERATIONS: u64 = 40;
/// Absolute tolerance in ln α.
const BRENT_TOLERANCE: f64 = 1e-5;
/// Relative gain below which α = 1 is kept.
const GAIN: f64 = 1e-9;

/// The best α with its inner solution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundVanilla {
    pub(crate) law: Law,
    pub(crate) inner: Found,
    pub(crate) log_outer: f64,
    /// Σ w h(r) in units of the outer residuals.
    cost: f64,
}

struct Outer<'a> {
    x: &'a [f64],
    y: &'a [f64],
    weight: &'a [f64],
    objective: Objective,
}

impl Outer<'_> {
    fn solve(&self, log_outer: f64) -> FoundVanilla {
        let alpha = log_outer.exp();
        let points = Points::from_logs(
            self.x.iter().copied(),
            self.y.iter().map(|y| y / alpha),
            self.weight.iter().copied(),
        );
        let objective = match self.objective {
            Objective::LogRmse => Objective::LogRmse,
            Objective::Huber(width) => Objective::Huber(HuberWidth::new(width.get() / alpha).unwrap_or(width)),
        };
        let inner = Search::default().global(&points, objective, Shape::POWER_FLOOR);
        let law = inner.theta.map_or_else(
            || Law::constant(crate::law::LawKind::Vanilla, alpha * (inner.constant + points.y_center)),
            |theta| {
                let beta = theta.log_exponent.exp();
                let log_scale = theta.log_scale + beta * points.x_center + points.y_center;
                let floor = theta.floor * points.y_center.exp();
                Law::Vanilla(VanillaLaw::new(-log_scale, beta, floor, alpha))
            },
        );
        FoundVanilla {
            law,
            inner,
            log_outer,
            cost: alpha * alpha * inner.cost,
        }
    }
}

impl CostFunction for &Outer<'_> {
    type Param = f64;
    type Output = f64;

    fn cost(&self, log_outer: &f64) -> Result<f64, Error> {
        Ok(self.solve(*log_outer).cost)
    }
}

/// Fits the vanilla law. `near` restricts the search to the neighbourhood of a known ln α (for the bootstrap).
pub(crate) fn fit(x: &[f64], y: &[f64], weight: &[f64], objective: Objective, near: Option<f64>) -> FoundVanilla {
    let outer = Outer {
        x,
        y,
        weight,
        objective,
    };
    let spacing = LOG_OUTER_LIMIT / f64::from(COARSE_STEPS);
    let mut best = outer.solve(near.unwrap_or(0.0));
    let mut iterations = best.inner.iterations;
    if near.is_none() {
        for step in (-COARSE_STEPS..=COARSE_STEPS).filter(|s| *s != 0) {
            let tried = outer.solve(f64::from(step) * spacing);
            iterations += tried.inner.iterations;
            if tried.cost < best.cost * (1.0 - GAIN) {
                best = tried;
            }
        }
    }
    let low = (best.log_outer - spacing).max(-LOG_OUTER_LIMIT);
    let high = (best.log_outer + spacing).min(LOG_OUTER_LIMIT);
    let solver = BrentOpt::new(low, high).set_tolerance(1e-8, BRENT_TOLERANCE);
    let run = Executor::new(&outer, solver)
        .configure(|state| state.max_iters(BRENT_ITERATIONS))
        .timer(false)
        .run();
    if let Some(log_outer) = run.ok().and_then(|result| result.state.best_param) {
        let polished = outer.solve(log_outer);
        iterations += polished.inner.iterations;
        if polished.cost < best.cost * (1.0 - GAIN) {
            best = polished;
        }
    }
    best.inner.iterations = iterations;
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovers_a_noise_free_law() {
        let truth = VanillaLaw::new(-2.0, 0.4, 0.8, 2.5);
        let x: Vec<f64> = (0..12).map(|i| (200.0 * 2_f64.powi(i)).ln()).collect();
        let y: Vec<f64> = x.iter().map(|x| truth.log_loss(*x)).collect();
        let found = fit(&x, &y, &[1.0; 12], Objective::LogRmse, None);
        for (x, y) in x.iter().zip(&y) {
            assert!((found.law.log_loss(*x) - y).abs() < 1e-5);
        }
    }
}
