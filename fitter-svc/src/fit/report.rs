//! What a fit answers. A fit that fails is an answer too: a [`Verdict`], never an error.

use std::fmt;

use crate::curve::DataSize;
use crate::law::{Coefficient, CoefficientName, Law, LawKind};
use crate::objective::Objective;
use crate::phase::PhaseEvidence;

/// With fewer points than this neither E nor a forecast should be quoted (measured: median ln error .13–.35).
pub const MIN_QUOTABLE_POINTS: usize = 9;
/// E above this share of the predicted loss at the largest size raises [`Warning::FloorAtData`].
pub const FLOOR_SHARE: f64 = 0.9;
/// A second difference of ln L beyond this many robust standard deviations raises [`Warning::NoiseJump`].
pub const JUMP_SDS: f64 = 5.0;
/// Rises of ln L above this share of its falls make [`Verdict::NonMonotone`].
pub const RISE_SHARE: f64 = 0.5;

/// Forecasts beyond this multiple of the largest measured size raise [`Warning::LongExtrapolation`].
pub const LONG_REACH: u64 = 64;

/// How the search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Termination {
    /// At a stationary point with all coefficients off their bounds.
    Converged,
    /// At a stationary point with a coefficient at its bound: a simpler law, in the extreme a constant, fits as well.
    Boundary,
    /// Residuals are zero to rounding.
    Exact,
    /// Stopped at the iteration limit or where rounding hides further descent; the best point so far is reported.
    IterationLimit,
}

/// Whether the coefficients mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing speaks against the fit.
    Ok,
    /// Fewer points than coefficients: nothing was fitted.
    TooFewPoints,
    /// The points do not determine the coefficients: all losses equal, as many coefficients as points, or a singular
    /// information matrix.
    NotIdentifiable,
    /// The loss rises with the data size at least half as much as it falls, or does not fall at all.
    NonMonotone,
    /// All points lie before the end of the pre-power phase, `D_l^(1/β)` ≥ the largest size: the power phase, which the
    /// forecast is about, was not seen.
    PrePowerPhaseOnly,
}

/// Something to know before quoting the fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Warning {
    /// E exceeds [`FLOOR_SHARE`] of the predicted loss at the largest size: the forecast is nearly the floor itself.
    FloorAtData,
    /// E = 0 at the optimum (so on about 40 % of curves with 7–11 points): the floor was not seen.
    IrreducibleLossZero,
    /// `D_l` = 0 at the optimum: no pre-power phase was seen.
    PreLearnedZero,
    /// `D_l^(1/β)` lies beyond the largest size.
    KneeBeyondData,
    /// Fewer than [`MIN_QUOTABLE_POINTS`] points.
    TooFewPoints,
    /// The loss rises from one size to the next by more than noise explains.
    NonMonotone,
    /// The point at this size stands out from its neighbours by more than [`JUMP_SDS`] robust standard deviations.
    NoiseJump {
        /// Data size of the point.
        data_size: DataSize,
    },
    /// The search stopped at its iteration limit; the objective may not be the lowest.
    NotConverged,
    /// The curve is still accelerating and the law cannot follow: its forecast is an upper bound of the loss.
    UpperBound,
    /// The curve flattens and the law has no floor: its forecast is a lower bound of the loss.
    NearFloor,
    /// A forecast at this size is over [`LONG_REACH`] times the largest measured size away.
    LongExtrapolation {
        /// Data size of the forecast.
        data_size: DataSize,
    },
    /// No interval could be given with these forecasts: no spare points, or coefficients that are not determined.
    NoInterval,
}

impl Warning {
    /// Stable `snake_case` name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FloorAtData => "floor_at_data",
            Self::IrreducibleLossZero => "irreducible_loss_zero",
            Self::PreLearnedZero => "pre_learned_zero",
            Self::KneeBeyondData => "knee_beyond_data",
            Self::TooFewPoints => "too_few_points",
            Self::NonMonotone => "non_monotone",
            Self::NoiseJump { .. } => "noise_jump",
            Self::NotConverged => "not_converged",
            Self::UpperBound => "upper_bound",
            Self::NearFloor => "near_floor",
            Self::LongExtrapolation { .. } => "long_extrapolation",
            Self::NoInterval => "no_interval",
        }
    }
}

impl fmt::Display for Warning {
    /// One sentence for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FloorAtData => write!(
                f,
                "the irreducible loss is over {FLOOR_SHARE} of the loss at the largest size"
            ),
            Self::IrreducibleLossZero => write!(
                f,
                "no floor shows in these sizes: the irreducible loss is 0 at the optimum"
            ),
            Self::PreLearnedZero => write!(f, "no pre-power phase shows in these sizes: this is a plain power law"),
            Self::KneeBeyondData => write!(f, "the fitted power phase begins beyond the largest size"),
            Self::TooFewPoints => write!(
                f,
                "fewer than {MIN_QUOTABLE_POINTS} points: do not quote the floor or a far forecast"
            ),
            Self::NonMonotone => write!(f, "the loss rises somewhere by more than noise explains"),
            Self::NoiseJump { data_size } => write!(f, "the point at size {data_size} stands off its neighbours"),
            Self::NotConverged => write!(f, "the search stopped early: the objective may not be the lowest"),
            Self::UpperBound => write!(f, "the curve still accelerates: this law's forecast is an upper bound"),
            Self::NearFloor => write!(
                f,
                "the curve flattens and this law has no floor: its forecast is a lower bound"
            ),
            Self::LongExtrapolation { data_size } => {
                write!(
                    f,
                    "size {data_size} is over {LONG_REACH} times the largest measured one"
                )
            }
            Self::NoInterval => write!(
                f,
                "no interval: no spare points, or coefficients that are not determined"
            ),
        }
    }
}

/// Covariance of the logarithms of the coefficients that are off their bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct Covariance {
    /// The coefficients, in the law's order.
    pub names: Vec<CoefficientName>,
    /// Row-major, `names.len()` squared entries: covariance of ln coefficients, dimensionless.
    pub values: Vec<f64>,
}

impl Covariance {
    /// Cov(ln `row`, ln `column`) by index into `names`.
    #[must_use]
    pub fn get(&self, row: usize, column: usize) -> Option<f64> {
        (column < self.names.len())
            .then(|| self.values.get(row * self.names.len() + column).copied())
            .flatten()
    }
}

/// The result of fitting one law to one curve.
#[derive(Debug, Clone, PartialEq)]
pub struct FitReport {
    /// The law that was asked for.
    pub kind: LawKind,
    /// The fitted law; `None` exactly when the verdict is [`Verdict::TooFewPoints`].
    pub law: Option<Law>,
    /// What was minimised.
    pub objective: Objective,
    /// Its value at the fitted law, as [`Objective::value`] defines it; 0 without a law.
    pub objective_value: f64,
    /// Root of the weighted mean squared residual of ln loss; 0 without a law.
    pub rmsd_log: f64,
    /// Points of positive size that were fitted.
    pub points_used: usize,
    /// The largest size that was fitted; `None` without points.
    pub largest_size: Option<DataSize>,
    /// How the search ended; `None` without a law.
    pub termination: Option<Termination>,
    /// Newton iterations over all starts.
    pub iterations: u32,
    /// Whether the coefficients mean anything.
    pub verdict: Verdict,
    /// What to know before quoting the fit.
    pub warnings: Vec<Warning>,
    /// Akaike's corrected criterion, n ln(SSE/n) + 2k + 2k(k+1)/(n−k−1) with the noise variance counted in k; `None` when
    /// n ≤ k + 1.
    pub aicc: Option<f64>,
    /// Standard deviation of ln loss around the law, corrected for the coefficients used; `None` without spare points.
    pub residual_sd: Option<f64>,
    /// Covariance of the ln coefficients; `None` without spare points or when singular.
    pub covariance: Option<Covariance>,
    /// The phase at the newest points; `None` with fewer than four points.
    pub phase: Option<PhaseEvidence>,
    /// `D_l^(1/β)`, where the fitted pre-power phase ends, in examples; `None` without one (and for other laws).
    pub phase_boundary: Option<DataSize>,
}

impl FitReport {
    /// The coefficients with their names; empty without a law.
    #[must_use]
    pub fn coefficients(&self) -> Vec<Coefficient> {
        self.law.map(|law| law.coefficients()).unwrap_or_default()
    }

    /// Whether a warning of this name was raised.
    #[must_use]
    pub fn warns(&self, name: &str) -> bool {
        self.warnings.iter().any(|w| w.name() == name)
    }
}
