//! Objectives on log residuals r = ln(predicted loss) − ln(measured loss).

use crate::error::FitError;

/// Default width of the Huber objective, in units of ln loss (Hoffmann et al. 2022 use it on log loss).
pub const DEFAULT_HUBER_WIDTH: f64 = 1e-3;
/// Smallest Huber width accepted; below it the objective is the absolute value in all but name.
pub const MIN_HUBER_WIDTH: f64 = 1e-9;
/// Largest Huber width accepted; above it the objective is half the sum of squares in all but name.
pub const MAX_HUBER_WIDTH: f64 = 10.0;

/// What a fit minimises.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Objective {
    /// Weighted mean squared log residual, Σ w r² / Σ w. Its square root is the RMSD of ln loss (Lin et al. 2024).
    #[default]
    LogRmse,
    /// Weighted sum of Huber losses Σ w h(r); h(r) = r²/2 up to the width δ, δ(|r| − δ/2) beyond. Robust against single
    /// bad points (Hoffmann et al. 2022).
    Huber(HuberWidth),
}

/// A checked Huber width δ in units of ln loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HuberWidth(f64);

impl HuberWidth {
    /// Checks the width.
    ///
    /// # Errors
    /// [`FitError::HuberWidth`] unless it lies in [`MIN_HUBER_WIDTH`] ..= [`MAX_HUBER_WIDTH`].
    pub fn new(width: f64) -> Result<Self, FitError> {
        if (MIN_HUBER_WIDTH..=MAX_HUBER_WIDTH).contains(&width) {
            Ok(Self(width))
        } else {
            Err(FitError::HuberWidth(width))
        }
    }

    /// The width in units of ln loss.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for HuberWidth {
    fn default() -> Self {
        Self(DEFAULT_HUBER_WIDTH)
    }
}

impl Objective {
    /// The Huber objective with the default width.
    #[must_use]
    pub fn huber() -> Self {
        Self::Huber(HuberWidth::default())
    }

    /// The objective's value for (weight, log residual) pairs; 0 for none.
    pub fn value(self, weighted_residuals: impl IntoIterator<Item = (f64, f64)>) -> f64 {
        let (mut sum, mut total_weight) = (0.0, 0.0);
        let penalty = Penalty::from(self);
        for (weight, residual) in weighted_residuals {
            sum += weight * penalty.cost(residual);
            total_weight += weight;
        }
        match self {
            Self::LogRmse if total_weight > 0.0 => 2.0 * sum / total_weight,
            Self::LogRmse => 0.0,
            Self::Huber(_) => sum,
        }
    }
}

/// The penalty of one residual as the solvers see it: half squares, linear beyond `width` (infinite for least squares).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Penalty {
    /// Where the quadratic part ends.
    pub(crate) width: f64,
}

impl From<Objective> for Penalty {
    fn from(objective: Objective) -> Self {
        match objective {
            Objective::LogRmse => Self { width: f64::INFINITY },
            Objective::Huber(width) => Self { width: width.get() },
        }
    }
}

/// Cost and derivatives of the penalty at one residual.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PenaltyTerms {
    pub(crate) cost: f64,
    /// ψ, the derivative.
    pub(crate) slope: f64,
    /// ψ′: 1 inside, 0 outside.
    pub(crate) curvature: f64,
    /// ψ(r)/r, the weight of iteratively reweighted least squares.
    pub(crate) reweight: f64,
}

impl Penalty {
    /// h(r).
    pub(crate) fn cost(self, residual: f64) -> f64 {
        let size = residual.abs();
        if size <= self.width {
            0.5 * residual * residual
        } else {
            self.width * (size - 0.5 * self.width)
        }
    }

    /// h(r) with its derivatives.
    #[inline]
    pub(crate) fn terms(self, residual: f64) -> PenaltyTerms {
        let size = residual.abs();
        if size <= self.width {
            PenaltyTerms {
                cost: 0.5 * residual * residual,
                slope: residual,
                curvature: 1.0,
                reweight: 1.0,
            }
        } else {
            PenaltyTerms {
                cost: self.width * (size - 0.5 * self.width),
                slope: self.width.copysign(residual),
                curvature: 0.0,
                reweight: self.width / size,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_rmse_is_the_weighted_mean_square() {
        let value = Objective::LogRmse.value([(1.0, 0.1), (3.0, -0.2)]);
        assert!((value - (0.01 + 3.0 * 0.04) / 4.0).abs() < 1e-15);
        assert!(Objective::LogRmse.value([]).abs() < 1e-300);
    }

    #[test]
    fn huber_is_quadratic_inside_and_linear_outside_and_meets_smoothly() {
        let huber = Objective::Huber(HuberWidth::new(0.5).unwrap());
        assert!((huber.value([(1.0, 0.3)]) - 0.045).abs() < 1e-15);
        assert!((huber.value([(2.0, -1.5)]) - 2.0 * 0.5 * 1.25).abs() < 1e-15);
        let penalty = Penalty::from(huber);
        let (inside, outside) = (penalty.terms(0.5), penalty.terms(0.5 + 1e-12));
        assert!((inside.cost - outside.cost).abs() < 1e-11 && (inside.slope - outside.slope).abs() < 1e-11);
    }

    #[test]
    fn refuses_senseless_widths() {
        for width in [0.0, -1.0, f64::NAN, f64::INFINITY, 11.0] {
            assert!(matches!(HuberWidth::new(width), Err(FitError::HuberWidth(_))));
        }
    }
}
