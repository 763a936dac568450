//! Selection policies: one trait for rankings from flat curves, one for policies that spend step by step.
//!
//! A *flat* policy sees every candidate's losses up to one budget size and orders them. An *adaptive* policy is a
//! pure, incremental state machine: it is told the observations that it asked for and answers with the next runs or
//! a stop. [`crate::simulate`] replays it on a table; an online driver can feed it from real runs.

mod adaptive;
pub mod ats;
pub mod ats_online;
pub mod baselines;
pub mod exhaustive;
pub mod fitted;
pub mod full;
pub mod geometric;
pub mod halving;
pub mod local_trend;
pub mod random;
pub mod rwl;
pub mod zero_shot;

use std::fmt::Debug;

pub use self::adaptive::{Action, AdaptivePolicy, Decision, FinalForecast, Observed, Run, Step, Withdrawal};

pub(crate) use self::adaptive::{MAX_ROUNDS, order_by_score, runs_of, still_racing, with_unpaid};

use crate::curve::{DataSize, Observation};
use crate::diagnostics::Warning;
use crate::error::InvalidParameter;
use crate::table::Candidate;
use crate::trend::{TrendState, TrendVariances};

use self::ats::{AtsParameters, AtsPolicy, Variant};
use self::baselines::{ModelSize, SubTuning, ZeroShot};
use self::fitted::{FittedForecasts, FittedPolicy, Law, LawFitParameters};
use self::local_trend::{LocalTrendParameters, LocalTrendPolicy};
use self::rwl::{RwlParameters, RwlPolicy};

/// A live candidate as a flat policy sees it.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// Who.
    pub candidate: &'a Candidate,
    /// Its points with `0 < size ≤ budget`, ascending; may be empty.
    pub seen: &'a [Observation],
}

/// The live candidates and the question.
#[derive(Clone, Debug)]
pub struct Pool<'a> {
    members: Vec<Member<'a>>,
    budget: DataSize,
    full: DataSize,
}

impl<'a> Pool<'a> {
    /// The candidates cut off at the budget size. `0 < budget ≤ full` is the caller's to check.
    #[must_use]
    pub fn new(candidates: impl IntoIterator<Item = &'a Candidate>, budget: DataSize, full: DataSize) -> Self {
        let members = candidates.into_iter().map(|candidate| Member {
            candidate,
            seen: candidate.curve().up_to(budget),
        });
        Self {
            members: members.collect(),
            budget,
            full,
        }
    }

    /// In input order.
    #[must_use]
    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// Largest size that is looked at.
    #[must_use]
    pub const fn budget(&self) -> DataSize {
        self.budget
    }

    /// Size of the forecast.
    #[must_use]
    pub const fn full(&self) -> DataSize {
        self.full
    }
}

/// Why a candidate is not ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExclusionReason {
    /// A family constraint.
    Family,
    /// A bound on the number of weights, or the number is unknown.
    Parameters,
    /// The estimated memory is above the limit, or cannot be estimated.
    Memory,
    /// An attribute constraint.
    Attribute,
    /// Too few points up to the budget size.
    TooFewPoints,
    /// A measurement or an attribute that the policy needs is absent.
    MissingData,
    /// No usable law, or a forecast outside all reason.
    FitFailed,
    /// No trainer can run it.
    TrainerCannot,
    /// Its runs failed as often as they may.
    RunsFailed,
    /// The budget did not pay for its run.
    Budget,
}

impl ExclusionReason {
    /// Stable name in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Family => "family",
            Self::Parameters => "parameters",
            Self::Memory => "memory",
            Self::Attribute => "attribute",
            Self::TooFewPoints => "too_few_points",
            Self::MissingData => "missing_data",
            Self::FitFailed => "fit_failed",
            Self::TrainerCannot => "trainer_cannot",
            Self::RunsFailed => "runs_failed",
            Self::Budget => "budget",
        }
    }
}

/// A candidate's exclusion: the others are answered all the same.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Exclusion {
    /// Which rule.
    pub reason: ExclusionReason,
    /// The rule with its numbers, for people.
    pub detail: String,
}

impl Exclusion {
    pub(crate) fn new(reason: ExclusionReason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }

    pub(crate) fn too_few(needed: usize, seen: &[Observation], budget: DataSize) -> Self {
        let available = seen.len();
        let detail = format!("needs {needed} points within data sizes 1..={budget}, has {available}");
        Self::new(ExclusionReason::TooFewPoints, detail)
    }
}

/// Why a policy used the points that it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// The next smaller size was further off the line than the threshold.
    Outlier,
    /// Every size was accepted.
    AllAccepted,
    /// No more points than the first line needs: all were used untested.
    TooFewToTest,
    /// The policy uses a fixed set of points.
    NotApplicable,
    /// The policy uses the most recent points, at most its window.
    Window,
}

impl StopReason {
    /// Stable name in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outlier => "outlier",
            Self::AllAccepted => "all_accepted",
            Self::TooFewToTest => "too_few_to_test",
            Self::NotApplicable => "not_applicable",
            Self::Window => "window",
        }
    }
}

/// Where a policy stopped taking points.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop {
    /// Why.
    pub reason: StopReason,
    /// |ln L − line| / σ of the last tested point. Absent: no test was made, or the line was exact (σ = 0) and the
    /// point off it.
    pub standardized_residual: Option<f64>,
    /// The last tested size. Absent: no test was made.
    pub tested: Option<DataSize>,
}

impl Stop {
    /// A stop without a test.
    #[must_use]
    pub const fn untested(reason: StopReason) -> Self {
        Self {
            reason,
            standardized_residual: None,
            tested: None,
        }
    }
}

/// ln L = intercept + slope · ln D.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogLogLine {
    /// d ln L / d ln D.
    pub slope: f64,
    /// ln L at D = 1.
    pub intercept: f64,
}

impl LogLogLine {
    /// ln L at a size above 0.
    #[must_use]
    pub fn log_loss_at(&self, size: DataSize) -> f64 {
        self.intercept + self.slope * (size.examples() as f64).ln()
    }
}

/// A range of losses in nats with its nominal coverage.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
    /// Nominal coverage, in (0, 1).
    pub level: f64,
}

/// A forecast at one size.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Prediction {
    /// Examples.
    pub data_size: DataSize,
    /// Nats per token.
    pub predicted_loss: f64,
    /// Absent where the method has none.
    pub interval: Option<Interval>,
}

/// What stands behind a forecast: how to evaluate it at other sizes, and its uncertainty.
#[derive(Clone, Debug, PartialEq)]
pub enum Model {
    /// A stand-in value; nothing can be said of other sizes.
    StandIn,
    /// A log-log line; its uncertainty is that of the pooled trend.
    Line(LogLogLine),
    /// A local linear trend with its own predictive distribution.
    Trend(TrendState, TrendVariances),
    /// Evaluated elsewhere (by the fitter), in the order of the sizes asked for; the first is the full size.
    Given(Vec<Prediction>),
}

/// What a flat policy says of a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// What is ordered by, lower is better: the predicted loss, or a stand-in.
    pub score: f64,
    /// What `PearCorr` compares with the true losses: the score, except for `model_size`.
    pub correlated: f64,
    /// Loss at the full size in nats. Absent: the policy ranks without one.
    pub predicted_loss: Option<f64>,
    /// Sizes that the forecast rests on, ascending.
    pub data_sizes_used: Vec<DataSize>,
    /// Where it stopped taking points.
    pub stop: Stop,
    /// What stands behind it.
    pub model: Model,
    /// Remarks of the policy itself.
    pub warnings: Vec<Warning>,
}

/// Largest and smallest |ln loss| of a forecast that is answered; beyond, the data cannot be what they claim.
const REASONABLE_LOG_LOSS: f64 = 50.0;

/// exp of a forecast of ln loss, unless it is outside all reason.
pub(crate) fn reasonable_loss(log_loss: f64) -> Result<f64, Exclusion> {
    if log_loss.abs() <= REASONABLE_LOG_LOSS {
        return Ok(log_loss.exp());
    }
    Err(Exclusion::new(
        ExclusionReason::FitFailed,
        format!("the forecast of ln loss, {log_loss:.3}, is outside ±{REASONABLE_LOG_LOSS}"),
    ))
}

/// Where a policy's intervals come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalSource {
    /// Nowhere: the score is no forecast.
    None,
    /// The pooled local linear trend's predictive deviation, about the policy's forecast.
    PooledTrend,
    /// The policy's own predictive distribution.
    Own,
}

/// Orders candidates by their curves up to one size.
pub trait FlatPolicy: Debug + Send + Sync {
    /// Stable name in `snake_case`.
    fn name(&self) -> &'static str;

    /// One outcome per member, in the pool's order.
    fn forecast(&self, pool: &Pool<'_>) -> Vec<Result<Forecast, Exclusion>>;

    /// Where intervals come from.
    fn interval_source(&self) -> IntervalSource {
        IntervalSource::PooledTrend
    }
}

/// Which flat policy, with its parameters.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RankingPolicy {
    /// Accept then Stop as published.
    Ats(AtsParameters),
    /// Accept then Stop without the reference's quirks.
    AtsCorrected(AtsParameters),
    /// Recency-weighted log-linear with a pooled slope cap.
    Rwl(RwlParameters),
    /// Pooled local linear trend.
    LocalTrend(LocalTrendParameters),
    /// Loss before fine-tuning.
    ZeroShot,
    /// The most weights.
    ModelSize,
    /// Loss at the budget size.
    SubTuning,
    /// The rectified law fitted to each curve.
    RectifiedFit(LawFitParameters),
    /// The paper's 4-coefficient power law fitted to each curve.
    VanillaFit(LawFitParameters),
}

impl RankingPolicy {
    /// Names that [`RankingPolicy::from_name`] knows.
    pub const NAMES: [&'static str; 9] = [
        "ats",
        "ats_corrected",
        "rwl",
        "local_trend",
        "zero_shot",
        "model_size",
        "sub_tuning",
        "rectified_fit",
        "vanilla_fit",
    ];

    /// The policy of that name with its default parameters.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ats" => Self::Ats(AtsParameters::default()),
            "ats_corrected" => Self::AtsCorrected(AtsParameters::default()),
            "rwl" => Self::Rwl(RwlParameters::default()),
            "local_trend" => Self::LocalTrend(LocalTrendParameters::default()),
            "zero_shot" => Self::ZeroShot,
            "model_size" => Self::ModelSize,
            "sub_tuning" => Self::SubTuning,
            "rectified_fit" => Self::RectifiedFit(LawFitParameters::default()),
            "vanilla_fit" => Self::VanillaFit(LawFitParameters::default()),
            _ => return None,
        })
    }

    /// Stable name in `snake_case`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ats(_) => "ats",
            Self::AtsCorrected(_) => "ats_corrected",
            Self::Rwl(_) => "rwl",
            Self::LocalTrend(_) => "local_trend",
            Self::ZeroShot => "zero_shot",
            Self::ModelSize => "model_size",
            Self::SubTuning => "sub_tuning",
            Self::RectifiedFit(_) => "rectified_fit",
            Self::VanillaFit(_) => "vanilla_fit",
        }
    }

    /// The law that the fitter must fit first, for the policies that need one.
    #[must_use]
    pub const fn law(&self) -> Option<(Law, &LawFitParameters)> {
        match self {
            Self::RectifiedFit(parameters) => Some((Law::Rectified, parameters)),
            Self::VanillaFit(parameters) => Some((Law::Vanilla, parameters)),
            _ => None,
        }
    }

    /// Seeded draws for the win share; 0 for the exact integral.
    #[must_use]
    pub const fn draws(&self) -> u32 {
        match self {
            Self::LocalTrend(parameters) => parameters.draws,
            _ => 0,
        }
    }

    /// Checks every parameter.
    ///
    /// # Errors
    /// The first parameter out of its range.
    pub fn validate(&self) -> Result<(), InvalidParameter> {
        match self {
            Self::Ats(parameters) | Self::AtsCorrected(parameters) => parameters.validate(),
            Self::Rwl(parameters) => parameters.validate(),
            Self::LocalTrend(parameters) => parameters.validate(),
            Self::RectifiedFit(parameters) | Self::VanillaFit(parameters) => parameters.validate(),
            Self::ZeroShot | Self::ModelSize | Self::SubTuning => Ok(()),
        }
    }

    /// The policy, ready to forecast. `fitted`: what the fitter answered, for the policies with a [`Self::law`];
    /// without it they exclude every candidate.
    #[must_use]
    pub fn build(&self, fitted: Option<&FittedForecasts>) -> Box<dyn FlatPolicy> {
        match self {
            Self::Ats(parameters) => Box::new(AtsPolicy::new(*parameters, Variant::Published)),
            Self::AtsCorrected(parameters) => Box::new(AtsPolicy::new(*parameters, Variant::Corrected)),
            Self::Rwl(parameters) => Box::new(RwlPolicy::new(*parameters)),
            Self::LocalTrend(parameters) => Box::new(LocalTrendPolicy::new(*parameters)),
            Self::ZeroShot => Box::new(ZeroShot),
            Self::ModelSize => Box::new(ModelSize),
            Self::SubTuning => Box::new(SubTuning),
            Self::RectifiedFit(_) => Box::new(FittedPolicy::new(Law::Rectified, fitted.cloned().unwrap_or_default())),
            Self::VanillaFit(_) => Box::new(FittedPolicy::new(Law::Vanilla, fitted.cloned().unwrap_or_default())),
        }
    }
}
