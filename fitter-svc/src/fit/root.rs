//! Roots of a function of one variable in a bracket, by argmin's Brent solver.

use argmin::core::{CostFunction, Error, Executor};
use argmin::solver::brent::BrentRoot;

/// Iterations after which the best bracket end is taken.
const MAX_ITERATIONS: u64 = 100;
/// Absolute tolerance of the root.
const TOLERANCE: f64 = 1e-10;

struct Function<F>(F);

impl<F: Fn(f64) -> f64> CostFunction for Function<F> {
    type Param = f64;
    type Output = f64;

    fn cost(&self, x: &f64) -> Result<f64, Error> {
        Ok((self.0)(*x))
    }
}

/// A root of `function` between `low` and `high`; `None` unless its signs at the ends are opposite.
pub(crate) fn find(function: impl Fn(f64) -> f64, low: f64, high: f64) -> Option<f64> {
    let opposite = function(low) * function(high) < 0.0;
    if !opposite {
        return None;
    }
    let solver = BrentRoot::new(low, high, TOLERANCE);
    let run = Executor::new(Function(function), solver)
        .configure(|s| s.max_iters(MAX_ITERATIONS))
        .timer(false)
        .run();
    run.ok()
        .and_then(|result| result.state.best_param)
        .filter(|root| root.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_bracketed_root_only() {
        assert!((find(|x| x * x - 2.0, 0.0, 2.0).unwrap() - 2_f64.sqrt()).abs() < 1e-9);
        assert!(find(|x| x * x + 1.0, 0.0, 2.0).is_none());
    }
}
