//! Joint laws over data size and one more factor, fitted to several curves at once.
//!
//! For fixed exponents (and `D_l`) the laws are linear in their scales and E, which are eliminated by non-negative least
//! squares, iterated so that log residuals are minimised. The outer problem in two to four coefficients is argmin's:
//! L-BFGS on the exact gradient of the projected objective (envelope theorem), started from the best cells of a grid, and
//! Nelder–Mead where its line search gives up. The cost is scaled to order one first: raw, it is below L-BFGS's tolerances.

mod projection;

use argmin::core::{CostFunction, Error, Executor, Gradient};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::neldermead::NelderMead;
use argmin::solver::quasinewton::LBFGS;

use super::aicc;
use super::report::{MIN_QUOTABLE_POINTS, Termination, Verdict, Warning};
use crate::curve::{DataSize, LearningCurve};
use crate::error::FitError;
use crate::law::joint::{JointLaw, JointLawKind};
use crate::objective::{Objective, Penalty};
use projection::{MAX_OUTER, Outer, PanelPoints, Projected};

/// Starts that are polished.
const STARTS: usize = 6;
/// L-BFGS iterations per start.
const LBFGS_ITERATIONS: u64 = 150;
/// Nelder–Mead iterations where L-BFGS fails.
const SIMPLEX_ITERATIONS: u64 = 600;
/// Corrections that L-BFGS remembers.
const LBFGS_MEMORY: usize = 7;
/// Mean squared residual up to which a fit is exact but for rounding.
const EXACT: f64 = 1e-24;

/// One curve of a panel.
#[derive(Debug, Clone, PartialEq)]
pub struct JointCurve {
    /// The curve.
    pub curve: LearningCurve,
    /// The extra factor X (parameters, pre-training tokens, tuned parameters), finite, > 0.
    pub factor: f64,
}

/// Curves with their factors, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct JointPanel {
    curves: Vec<JointCurve>,
}

impl JointPanel {
    /// Checks the factors.
    ///
    /// # Errors
    /// [`FitError::EmptyPanel`], or [`FitError::Factor`] with the index of the first curve whose factor is not finite and > 0.
    pub fn new(curves: Vec<JointCurve>) -> Result<Self, FitError> {
        if curves.is_empty() {
            return Err(FitError::EmptyPanel);
        }
        match curves
            .iter()
            .enumerate()
            .find(|(_, c)| !(c.factor.is_finite() && c.factor > 0.0))
        {
            Some((index, c)) => Err(FitError::Factor {
                index,
                factor: c.factor,
            }),
            None => Ok(Self { curves }),
        }
    }

    /// The curves.
    #[must_use]
    pub fn curves(&self) -> &[JointCurve] {
        &self.curves
    }
}

/// Which signs the factor's exponent a may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FactorSign {
    /// a ≥ 0: more of the factor never hurts.
    NonNegative,
    /// Either sign.
    Any,
}

impl FactorSign {
    /// What fits in sample best without doing harm: a ≥ 0, except for [`JointLawKind::RectifiedJoint`], where a is only the
    /// large-D part of the factor's effect (the small-D part is a − d) and the bound costs up to a fifth of the fit on
    /// families in which size does not order the losses. There a negative a makes [`Verdict::NotIdentifiable`]: predict
    /// near the data only.
    #[must_use]
    pub fn default_for(law: JointLawKind) -> Self {
        if law == JointLawKind::RectifiedJoint {
            Self::Any
        } else {
            Self::NonNegative
        }
    }
}

/// How to fit a joint law.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct JointOptions {
    /// The law.
    pub law: JointLawKind,
    /// What to minimise.
    pub objective: Objective,
    /// Leave out points above this size.
    pub max_data_size: Option<DataSize>,
    /// Signs of the factor's exponent.
    pub factor_sign: FactorSign,
}

impl JointOptions {
    /// The law by mean squared log residual on all points.
    #[must_use]
    pub fn new(law: JointLawKind) -> Self {
        Self {
            law,
            objective: Objective::LogRmse,
            max_data_size: None,
            factor_sign: FactorSign::default_for(law),
        }
    }
}

impl Default for JointOptions {
    fn default() -> Self {
        Self::new(JointLawKind::RectifiedJoint)
    }
}

/// The result of fitting a joint law.
#[derive(Debug, Clone, PartialEq)]
pub struct JointFitReport {
    /// The law that was asked for.
    pub kind: JointLawKind,
    /// The fitted law; `None` exactly when the verdict is [`Verdict::TooFewPoints`].
    pub law: Option<JointLaw>,
    /// What was minimised.
    pub objective: Objective,
    /// Its lowest value found; 0 without a law.
    pub objective_value: f64,
    /// Root of the weighted mean squared residual of ln loss; 0 without a law.
    pub rmsd_log: f64,
    /// Points of positive size over all curves.
    pub points_used: usize,
    /// How the search ended; `None` without a law.
    pub termination: Option<Termination>,
    /// Whether the coefficients mean anything.
    pub verdict: Verdict,
    /// What to know before quoting the fit.
    pub warnings: Vec<Warning>,
    /// As [`super::FitReport::aicc`].
    pub aicc: Option<f64>,
}

/// Fits a joint law to a panel. Never fails: what speaks against the fit is in the report.
#[must_use]
pub fn fit_joint(panel: &JointPanel, options: &JointOptions) -> JointFitReport {
    let points = PanelPoints::new(panel, options.max_data_size, options.factor_sign);
    let count = points.len();
    let coefficients = options.law.coefficient_count();
    if count < coefficients {
        return JointFitReport {
            kind: options.law,
            law: None,
            objective: options.objective,
            objective_value: 0.0,
            rmsd_log: 0.0,
            points_used: count,
            termination: None,
            verdict: Verdict::TooFewPoints,
            warnings: vec![Warning::TooFewPoints],
            aicc: None,
        };
    }
    let (best, converged) = search(&points, options);
    let law = points.law(options.law, &best);
    let mean_square = Objective::LogRmse.value(points.weighted_residuals(&law));
    let termination = if mean_square <= EXACT {
        Termination::Exact
    } else if !converged {
        Termination::IterationLimit
    } else if best.on_boundary() {
        Termination::Boundary
    } else {
        Termination::Converged
    };
    let undetermined = points.distinct_factors() < 2 || points.all_equal() || count == coefficients;
    let verdict = if undetermined || law.factor_exponent() < 0.0 {
        Verdict::NotIdentifiable
    } else if best.flat() {
        Verdict::NonMonotone
    } else {
        Verdict::Ok
    };
    let mut warnings = Vec::new();
    if count < MIN_QUOTABLE_POINTS {
        warnings.push(Warning::TooFewPoints);
    }
    if law.irreducible_loss() <= 0.0 {
        warnings.push(Warning::IrreducibleLossZero);
    }
    if termination == Termination::IterationLimit {
        warnings.push(Warning::NotConverged);
    }
    JointFitReport {
        kind: options.law,
        law: Some(law),
        objective: options.objective,
        objective_value: options.objective.value(points.weighted_residuals(&law)),
        rmsd_log: mean_square.sqrt(),
        points_used: count,
        termination: Some(termination),
        verdict,
        warnings,
        aicc: aicc(mean_square, count, coefficients),
    }
}

/// The outer problem as argmin sees it.
struct Problem<'a> {
    points: &'a PanelPoints,
    kind: JointLawKind,
    penalty: Penalty,
    /// Multiplies the cost to order one.
    scale: f64,
}

impl Problem<'_> {
    fn solve(&self, outer: &Outer) -> Projected {
        self.points.project(self.kind, self.penalty, outer)
    }
}

impl CostFunction for &Problem<'_> {
    type Param = Vec<f64>;
    type Output = f64;

    fn cost(&self, outer: &Self::Param) -> Result<f64, Error> {
        Ok(self.solve(&Outer::from_slice(outer)).cost * self.scale)
    }
}

impl Gradient for &Problem<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;

    fn gradient(&self, outer: &Self::Param) -> Result<Self::Gradient, Error> {
        let dimension = Outer::dimension(self.kind);
        Ok(self
            .solve(&Outer::from_slice(outer))
            .gradient
            .iter()
            .take(dimension)
            .map(|g| g * self.scale)
            .collect())
    }
}

/// Polishes the grid's best cells; the best end and whether its polish converged.
fn search(points: &PanelPoints, options: &JointOptions) -> (Projected, bool) {
    let mut problem = Problem {
        points,
        kind: options.law,
        penalty: Penalty::from(options.objective),
        scale: 1.0,
    };
    let mut cells: Vec<Projected> = points.grid(options.law, problem.penalty);
    cells.sort_by(|a, b| a.cost.total_cmp(&b.cost));
    cells.truncate(STARTS);
    let mut best = cells
        .first()
        .copied()
        .unwrap_or_else(|| problem.solve(&Outer::from_slice(&[0.0; MAX_OUTER])));
    let mut converged = false;
    for start in cells {
        problem.scale = points.len() as f64 / start.cost.max(f64::MIN_POSITIVE.sqrt());
        let (end, ended) = polish(&problem, &start);
        if end.cost < best.cost || (end.cost <= best.cost && ended) {
            (best, converged) = (end, ended);
        }
    }
    (best, converged)
}

fn polish(problem: &Problem<'_>, start: &Projected) -> (Projected, bool) {
    let dimension = Outer::dimension(problem.kind);
    let initial: Vec<f64> = start.outer.as_array().iter().take(dimension).copied().collect();
    let search = MoreThuenteLineSearch::new();
    let solver = LBFGS::new(search, LBFGS_MEMORY)
        .with_tolerance_grad(1e-7)
        .and_then(|s| s.with_tolerance_cost(1e-12));
    let found = solver.ok().and_then(|solver| {
        let executor = Executor::new(problem, solver).timer(false);
        let run = executor
            .configure(|s| s.param(initial.clone()).max_iters(LBFGS_ITERATIONS))
            .run()
            .ok()?;
        run.state.best_param
    });
    let quasi_newton = found.map(|outer| problem.solve(&Outer::from_slice(&outer)));
    match quasi_newton {
        Some(end) if end.cost < start.cost => (end, true),
        _ => simplex(problem, &initial).map_or((*start, false), |end| (end, end.cost <= start.cost)),
    }
}

fn simplex(problem: &Problem<'_>, initial: &[f64]) -> Option<Projected> {
    let mut corners = vec![initial.to_vec()];
    for index in 0..initial.len() {
        let mut corner = initial.to_vec();
        *corner.get_mut(index)? += 0.2;
        corners.push(corner);
    }
    let solver = NelderMead::new(corners).with_sd_tolerance(1e-9).ok()?;
    let run = Executor::new(problem, solver)
        .timer(false)
        .configure(|s| s.max_iters(SIMPLEX_ITERATIONS))
        .run()
        .ok()?;
    run.state
        .best_param
        .map(|outer| problem.solve(&Outer::from_slice(&outer)))
}

#[cfg(test)]
mod tests;
