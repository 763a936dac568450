//! Policies, their parameters, and who may be chosen.

use clap::{Args, ValueEnum};

/// A ranking policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Policy {
    /// Accept then Stop, as published (ICML 2024).
    #[value(alias = "accept-then-stop")]
    Ats,
    /// Accept then Stop without the reference code's quirks.
    #[value(alias = "ats_corrected")]
    AtsCorrected,
    /// Recency-weighted log-linear trend with a pooled slope cap.
    Rwl,
    /// Pooled local linear trend: calibrated intervals and win shares.
    #[value(alias = "local_trend")]
    LocalTrend,
    /// Baseline: the loss before fine-tuning.
    #[value(alias = "zero_shot")]
    ZeroShot,
    /// Baseline: the largest checkpoint.
    #[value(alias = "model_size")]
    ModelSize,
    /// Baseline: the loss at the budget size.
    #[value(alias = "sub_tuning")]
    SubTuning,
    /// Baseline: the rectified law fitted to each curve.
    #[value(alias = "rectified_fit")]
    RectifiedFit,
    /// Baseline: the 4-coefficient power law fitted to each curve.
    #[value(alias = "vanilla_fit")]
    VanillaFit,
    /// Adaptive: halving on forecasts that skips sizes, the best known.
    Geometric,
    /// Adaptive: successive halving on extrapolated loss.
    Halving,
    /// Adaptive: ordinary successive halving on the current loss.
    #[value(alias = "halving_current")]
    HalvingCurrent,
}

impl Policy {
    /// The policy's name in answers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ats => "ats",
            Self::AtsCorrected => "ats_corrected",
            Self::Rwl => "rwl",
            Self::LocalTrend => "local_trend",
            Self::ZeroShot => "zero_shot",
            Self::ModelSize => "model_size",
            Self::SubTuning => "sub_tuning",
            Self::RectifiedFit => "rectified_fit",
            Self::VanillaFit => "vanilla_fit",
            Self::Geometric => "geometric",
            Self::Halving => "halving",
            Self::HalvingCurrent => "halving_current",
        }
    }

    /// Whether the policy spends its budget step by step (simulate) instead of ranking finished curves (rank).
    #[must_use]
    pub fn is_adaptive(self) -> bool {
        matches!(self, Self::Geometric | Self::Halving | Self::HalvingCurrent)
    }
}

/// Parameters of the policies; each policy reads its own.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Policy parameters")]
pub struct PolicyArgs {
    /// ats: points that the first line is fitted to (k in the paper). Absent: 3.
    #[arg(long, value_name = "POINTS")]
    pub min_fit_points: Option<i32>,
    /// ats: standard deviations at which a point stops the line (delta in the paper). Absent: 5.
    #[arg(long, value_name = "SD")]
    pub stop_threshold: Option<f64>,
    /// rwl, halving: recency scale tau in doublings. Absent: 0.7 for rwl, 1 for halving.
    #[arg(long, value_name = "DOUBLINGS", alias = "tau")]
    pub recency: Option<f64>,
    /// rwl, halving: quantile of the candidates' slopes that caps steeper ones; 0 is no cap. Absent: 0.1 for rwl, 0 for halving.
    #[arg(long, value_name = "QUANTILE")]
    pub slope_cap: Option<f64>,
    /// rwl, halving: at most so many of the largest sizes are used. Absent: 8.
    #[arg(long, value_name = "POINTS")]
    pub window: Option<i32>,
    /// halving: each rung keeps one candidate in eta. Absent: 2.
    #[arg(long, value_name = "FACTOR")]
    pub eta: Option<f64>,
    /// geometric: the keep list divides by this. Absent: 4.
    #[arg(long, value_name = "FACTOR")]
    pub keep_divisor: Option<f64>,
    /// `local_trend`, geometric: standard deviation of the slope's drift per doubling. Absent: estimated, 0.010.
    #[arg(long, value_name = "SD")]
    pub drift: Option<f64>,
    /// `local_trend`, geometric: standard deviation of one log loss. Absent: estimated, 0.007.
    #[arg(long, value_name = "SD")]
    pub noise: Option<f64>,
    /// `local_trend`: simulated futures for the win shares. Absent: 4,000.
    #[arg(long, value_name = "COUNT")]
    pub simulations: Option<i32>,
    /// `rectified_fit`, `vanilla_fit`: fit by Huber's function of this width. Absent: mean squared log residual.
    #[arg(long, value_name = "WIDTH")]
    pub huber_width: Option<f64>,
    /// `rectified_fit`, `vanilla_fit`: bootstrap draws for intervals. Absent: intervals from the covariance.
    #[arg(long, value_name = "DRAWS")]
    pub bootstrap_draws: Option<i32>,
    /// geometric: least rank correlation of history and first forecasts for a warm start. Absent: 0.2.
    #[arg(long, value_name = "CORRELATION", allow_negative_numbers = true)]
    pub history_guard: Option<f64>,
}

/// What answers with simulations and intervals take.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Policy parameters")]
pub struct AnswerArgs {
    /// Nominal coverage of intervals.
    #[arg(long, value_name = "LEVEL", default_value_t = 0.9)]
    pub level: f64,
    /// Seed of everything random: the same seed gives the same answer.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
}

/// Which candidates may be chosen.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Constraints")]
pub struct ConstraintArgs {
    /// Condition on attributes, may be repeated: `family=NAME` (several: any of them), `family!=NAME`, `parameters<=3e9`,
    /// `parameters>=1e8`, `COLUMN=VALUE`.
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<String>,
    /// Device memory that fine-tuning may take, e.g. 24GiB; the estimate is weights x bytes per weight.
    #[arg(long, value_name = "BYTES")]
    pub memory_limit: Option<String>,
    /// Tuning method that the memory estimate assumes.
    #[arg(long, value_name = "METHOD", value_enum, default_value_t = Method::Full)]
    pub tuning_method: Method,
    /// Bytes per weight for weights, gradients and optimizer state. Absent: 16 for full tuning, 4 for lora and prompt.
    #[arg(long, value_name = "BYTES", requires = "memory_limit")]
    pub bytes_per_parameter: Option<f64>,
}

/// Tuning method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// All weights.
    #[default]
    Full,
    /// Low-rank adapters.
    Lora,
    /// Prompt embeddings.
    Prompt,
}
