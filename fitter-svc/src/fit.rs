//! Fitting: from a curve and options to a [`FitReport`]. The only place (with its submodules) that knows argmin.
//!
//! The rectified law and its boundary models are fitted by a grid over (β, knee) with b and E eliminated, followed by our
//! own damped Newton polish; argmin drives the outer problems of the vanilla and joint laws and the root search of
//! crossovers. `docs/adr/0001` says what was measured.

pub(crate) mod covariance;
mod diagnose;
mod grid;
pub(crate) mod joint;

mod newton;
pub(crate) mod points;
mod report;
pub(crate) mod root;
mod search;
mod vanilla;

use rayon::prelude::*;

pub use joint::{FactorSign, JointCurve, JointFitReport, JointOptions, JointPanel, fit_joint};

pub use report::{
    Covariance, FLOOR_SHARE, FitReport, JUMP_SDS, LONG_REACH, MIN_QUOTABLE_POINTS, RISE_SHARE, Termination, Verdict,
    Warning,
};

use crate::curve::{DataSize, LearningCurve, Observation};
use crate::law::{Law, LawKind};
use crate::objective::Objective;
use crate::phase;
use newton::{Shape, Theta};
use points::Points;
use search::Search;

/// Mean squared log residual up to which a fit is exact but for rounding.
const EXACT: f64 = 1e-24;

/// How to fit a curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitOptions {
    /// The law.
    pub law: LawKind,
    /// What to minimise.
    pub objective: Objective,
    /// Leave out points above this size.
    pub max_data_size: Option<DataSize>,
}

impl Default for FitOptions {
    /// The rectified law by mean squared log residual on all points.
    fn default() -> Self {
        Self {
            law: LawKind::Rectified,
            objective: Objective::LogRmse,
            max_data_size: None,
        }
    }
}

/// Fits curves one after another with buffers that are reused.
#[derive(Debug, Clone, Default)]
pub struct Fitter {
    search: Search,
}

/// A law with what the search knows about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Solution {
    pub(crate) law: Law,
    pub(crate) start: WarmStart,
    flat: bool,
    boundary: bool,
    converged: bool,
    iterations: u32,
}

/// Where a later fit of nearly the same losses may start.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WarmStart {
    Shape(Option<Theta>),
    Vanilla { log_outer: f64 },
}

impl Fitter {
    /// Fits one law to one curve. Never fails: what speaks against the fit is in the report.
    #[must_use]
    pub fn fit(&mut self, curve: &LearningCurve, options: &FitOptions) -> FitReport {
        let observations = curve.fit_points(options.max_data_size);
        if observations.len() < options.law.coefficient_count() {
            return unfitted(observations, options);
        }
        let points = Points::new(observations);
        let solution = self.solve(&points, options.law, options.objective, None);
        report(observations, options, &solution)
    }

    /// Solves for the law on prepared points; from `warm` in its neighbourhood and from the grid's best cell only.
    pub(crate) fn solve(
        &mut self,
        points: &Points,
        kind: LawKind,
        objective: Objective,
        warm: Option<WarmStart>,
    ) -> Solution {
        if kind == LawKind::Vanilla {
            return solve_vanilla(points, objective, warm);
        }
        let shape = match kind {
            LawKind::PowerWithFloor => Shape::POWER_FLOOR,
            LawKind::Power => Shape::POWER,
            LawKind::Rectified | LawKind::Vanilla => Shape::RECTIFIED,
        };
        let found = match warm {
            Some(WarmStart::Shape(start)) => self.search.near(points, objective, shape, start),
            _ => self.search.global(points, objective, shape),
        };
        let free = 2 + usize::from(shape.knee) + usize::from(shape.floor);
        Solution {
            law: found.law(points, kind),
            start: WarmStart::Shape(found.theta),
            flat: found.theta.is_none(),
            boundary: search::complexity(found.theta) < free,
            converged: found.converged,
            iterations: found.iterations,
        }
    }
}

/// Fits one law to one curve; [`Fitter`] saves allocations where there are many.
#[must_use]
pub fn fit_curve(curve: &LearningCurve, options: &FitOptions) -> FitReport {
    Fitter::default().fit(curve, options)
}

/// Fits one law to many curves on rayon's threads, in the order of the curves. The answers do not depend on the number of
/// threads.
#[must_use]
pub fn fit_batch(curves: &[LearningCurve], options: &FitOptions) -> Vec<FitReport> {
    curves
        .par_iter()
        .map_init(Fitter::default, |fitter, curve| fitter.fit(curve, options))
        .collect()
}

fn solve_vanilla(points: &Points, objective: Objective, warm: Option<WarmStart>) -> Solution {
    let near = match warm {
        Some(WarmStart::Vanilla { log_outer }) => Some(log_outer),
        _ => None,
    };
    let x: Vec<f64> = points.z.iter().map(|z| z + points.x_center).collect();
    let y: Vec<f64> = points.y.iter().map(|y| y + points.y_center).collect();
    let found = vanilla::fit(&x, &y, &points.weight, objective, near);
    Solution {
        law: found.law,
        start: WarmStart::Vanilla {
            log_outer: found.log_outer,
        },
        flat: found.inner.theta.is_none(),
        boundary: search::complexity(found.inner.theta) < 3,
        converged: found.inner.converged,
        iterations: found.inner.iterations,
    }
}

/// (weight, ln predicted − ln measured) of each point.
pub(crate) fn weighted_residuals<'a>(
    observations: &'a [Observation],
    law: &'a Law,
) -> impl Iterator<Item = (f64, f64)> + 'a {
    observations
        .iter()
        .map(|o| (o.weight, law.log_loss((o.data_size as f64).ln()) - o.test_loss.ln()))
}

fn report(observations: &[Observation], options: &FitOptions, solution: &Solution) -> FitReport {
    let law = solution.law;
    let count = observations.len();
    let mean_square = Objective::LogRmse.value(weighted_residuals(observations, &law));
    let spread = covariance::spread(observations, &law);
    let termination = if mean_square <= EXACT {
        Termination::Exact
    } else if !solution.converged {
        Termination::IterationLimit
    } else if solution.boundary {
        Termination::Boundary
    } else {
        Termination::Converged
    };
    let converged = termination != Termination::IterationLimit;
    FitReport {
        kind: options.law,
        law: Some(law),
        objective: options.objective,
        objective_value: options.objective.value(weighted_residuals(observations, &law)),
        rmsd_log: mean_square.sqrt(),
        points_used: count,
        largest_size: observations.last().map(|o| o.data_size),
        termination: Some(termination),
        iterations: solution.iterations,
        verdict: diagnose::verdict(observations, options.law, Some(&law), solution.flat, spread.determined),
        warnings: diagnose::warnings(observations, Some(&law), solution.flat, converged),
        aicc: aicc(mean_square, count, options.law.coefficient_count()),
        residual_sd: spread.residual_sd,
        covariance: spread.covariance,
        phase: phase::detect(observations, None),
        phase_boundary: match law {
            Law::Rectified(law) => law.pre_learned_examples(),
            _ => None,
        },
    }
}

/// The report on fewer points than coefficients.
fn unfitted(observations: &[Observation], options: &FitOptions) -> FitReport {
    FitReport {
        kind: options.law,
        law: None,
        objective: options.objective,
        objective_value: 0.0,
        rmsd_log: 0.0,
        points_used: observations.len(),
        largest_size: observations.last().map(|o| o.data_size),
        termination: None,
        iterations: 0,
        verdict: Verdict::TooFewPoints,
        warnings: diagnose::warnings(observations, None, false, true),
        aicc: None,
        residual_sd: None,
        covariance: None,
        phase: phase::detect(observations, None),
        phase_boundary: None,
    }
}

/// Akaike's corrected criterion for Gaussian log residuals (Hurvich and Tsai 1989); the noise variance is a parameter.
pub(crate) fn aicc(mean_square: f64, points: usize, coefficients: usize) -> Option<f64> {
    let (n, k) = (points as f64, coefficients as f64 + 1.0);
    (points > coefficients + 2).then(|| n * mean_square.max(EXACT).ln() + 2.0 * k + 2.0 * k * (k + 1.0) / (n - k - 1.0))
}

#[cfg(test)]
mod polish_comparison;
#[cfg(test)]
mod tests;
