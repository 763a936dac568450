//! Flags of the commands on curve files: `finepick rank`, `fit`, `benchmark`, `simulate`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{AnswerArgs, ConstraintArgs, Policy, PolicyArgs, SelectPolicy};

/// Where the curves come from.
#[derive(Debug, Args)]
pub struct CurvesArgs {
    /// Curve file, `-` for standard input. Wide CSV (first column the name, integer headers are data sizes; `size`, `family`
    /// and other columns are attributes), long CSV (`candidate,data_size,test_loss[,...]`) or JSON lines.
    #[arg(long, value_name = "FILE", required = true)]
    pub curves: PathBuf,
    /// Reading of the file.
    #[command(flatten)]
    pub reading: ReadingArgs,
}

/// How curve files are read.
#[derive(Debug, Clone, Args)]
pub struct ReadingArgs {
    /// The file's format. Absent: found from its content.
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub input_format: Option<InputFormat>,
    /// Answer nothing when any row of the file is bad. Absent: the other rows are answered, and the status is 3.
    #[arg(long)]
    pub strict: bool,
}

/// Format of a curve file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InputFormat {
    /// One row a candidate, one column a data size.
    Wide,
    /// One row a measurement.
    Long,
    /// One JSON object a line.
    Jsonl,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// One JSON document, numbers in full precision.
    Json,
    /// Comma-separated values with a header, numbers in full precision.
    Csv,
}

/// The size up to which losses count as measured.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct BudgetSizeArgs {
    /// Largest subset that counts as measured, in examples.
    #[arg(long, value_name = "EXAMPLES")]
    pub budget_size: Option<i64>,
    /// The same as a share of the full size, e.g. 1/64 or 0.015625.
    #[arg(long, value_name = "RATIO", value_parser = crate::values::ratio)]
    pub budget_ratio: Option<f64>,
}

/// `finepick rank`.
#[derive(Debug, Args)]
pub struct RankArgs {
    /// Input.
    #[command(flatten)]
    pub input: CurvesArgs,
    /// Budget.
    #[command(flatten)]
    pub budget: BudgetSizeArgs,
    /// Size of the whole data set, in examples. Losses measured there are taken as the truth for the metrics.
    #[arg(long, value_name = "EXAMPLES")]
    pub full_size: i64,
    /// How to rank.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Policy::Ats)]
    pub policy: Policy,
    /// Parameters.
    #[command(flatten)]
    pub parameters: PolicyArgs,
    /// Intervals and seed.
    #[command(flatten)]
    pub answer: AnswerArgs,
    /// Constraints.
    #[command(flatten)]
    pub constraints: ConstraintArgs,
    /// How to print the answer.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Table, help_heading = "Output")]
    pub format: OutputFormat,
    /// Write a plot to this SVG file.
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    pub plot: Option<PathBuf>,
}

/// A law to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LawName {
    /// L = B / (`D_l` + D^beta) + E.
    Rectified,
    /// L = B / D^beta + E.
    #[value(alias = "power_with_floor", alias = "power-floor", alias = "power_floor")]
    PowerWithFloor,
    /// L = B / D^beta.
    Power,
    /// L = (1 / (B D^beta) + E)^alpha.
    Vanilla,
    /// Joint: L = A / (X^alpha D^beta) + E.
    Multiplicative,
    /// Joint: L = A / X^a + B / D^b + E.
    Additive,
    /// Joint: L = B X^-a / (`D_l` X^-d + D^b) + E.
    #[value(alias = "rectified_joint")]
    RectifiedJoint,
    /// Joint: the same with d = 0.
    #[value(alias = "rectified_joint_common")]
    RectifiedJointCommon,
}

/// What a fit minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ObjectiveName {
    /// Mean squared log residual.
    #[value(alias = "log_rmse")]
    LogRmse,
    /// Sum of Huber's function of log residuals.
    Huber,
}

/// How intervals are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UncertaintyName {
    /// No intervals.
    None,
    /// From the covariance of the coefficients.
    Covariance,
    /// From refits to resampled curves.
    Bootstrap,
}

/// Signs of a joint law's factor exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FactorSignName {
    /// More of the factor never hurts.
    #[value(alias = "non_negative")]
    NonNegative,
    /// Either sign.
    Any,
}

/// `finepick fit`.
#[derive(Debug, Args)]
pub struct FitArgs {
    /// Input.
    #[command(flatten)]
    pub input: CurvesArgs,
    /// The law.
    #[arg(long, value_name = "LAW", value_enum, default_value_t = LawName::Rectified)]
    pub law: LawName,
    /// What the fit minimises.
    #[arg(long, value_name = "OBJECTIVE", value_enum, default_value_t = ObjectiveName::LogRmse)]
    pub objective: ObjectiveName,
    /// Width of Huber's function in log loss. Absent: 1e-3.
    #[arg(long, value_name = "WIDTH")]
    pub huber_width: Option<f64>,
    /// Leave out larger sizes.
    #[arg(long, value_name = "EXAMPLES")]
    pub max_size: Option<i64>,
    /// Predict the loss at this size; may be repeated.
    #[arg(long, value_name = "EXAMPLES", value_delimiter = ',')]
    pub predict: Vec<i64>,
    /// How intervals are found.
    #[arg(long, value_name = "METHOD", value_enum, default_value_t = UncertaintyName::Covariance)]
    pub uncertainty: UncertaintyName,
    /// Bootstrap draws. Absent: 200.
    #[arg(long, value_name = "DRAWS")]
    pub draws: Option<i32>,
    /// Nominal coverage of intervals.
    #[arg(long, value_name = "LEVEL", default_value_t = 0.9)]
    pub level: f64,
    /// Seed of the bootstrap.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
    /// Joint laws: the column that holds the extra factor.
    #[arg(long, value_name = "COLUMN", default_value = "parameters")]
    pub factor: String,
    /// Joint laws: signs that the factor's exponent may take. Absent: the law's default.
    #[arg(long, value_name = "SIGN", value_enum)]
    pub factor_sign: Option<FactorSignName>,
    /// Joint laws: one fit for each value of this column; `none`: one fit for the whole file.
    #[arg(long, value_name = "COLUMN", default_value = "family")]
    pub group_by: String,
    /// How to print the answer.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Table, help_heading = "Output")]
    pub format: OutputFormat,
    /// Write a plot to this SVG file.
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    pub plot: Option<PathBuf>,
}

/// `finepick benchmark`.
#[derive(Debug, Args)]
pub struct BenchmarkArgs {
    /// Curve files with measured losses at the full size; may be repeated.
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub curves: Vec<PathBuf>,
    /// Reading of the files.
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// Size of the whole data set, in examples.
    #[arg(long, value_name = "EXAMPLES")]
    pub full_size: i64,
    /// Budgets as shares of the full size.
    #[arg(long, value_name = "RATIO,...", value_delimiter = ',', value_parser = crate::values::ratio,
          default_value = "1/8,1/16,1/32,1/64,1/128,1/256,1/512")]
    pub budget_ratios: Vec<f64>,
    /// Policies to compare.
    #[arg(
        long,
        value_name = "POLICY,...",
        value_delimiter = ',',
        value_enum,
        default_value = "ats,zero-shot,sub-tuning,model-size"
    )]
    pub policies: Vec<Policy>,
    /// Adaptive policies: budget as a fraction of what Accept then Stop costs.
    #[arg(long, value_name = "FRACTION", default_value = "1", value_parser = crate::values::ratio)]
    pub budget_fraction: f64,
    /// Parameters.
    #[command(flatten)]
    pub parameters: PolicyArgs,
    /// Intervals and seed.
    #[command(flatten)]
    pub answer: AnswerArgs,
    /// Constraints.
    #[command(flatten)]
    pub constraints: ConstraintArgs,
    /// How to print the answer.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Table, help_heading = "Output")]
    pub format: OutputFormat,
}

/// What a replay may spend.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct SpendArgs {
    /// Budget in examples.
    #[arg(long, value_name = "EXAMPLES")]
    pub budget_examples: Option<i64>,
    /// Budget relative to Accept then Stop with this share of the full size, e.g. 1/64.
    #[arg(long, value_name = "RATIO", value_parser = crate::values::ratio)]
    pub budget_ratio: Option<f64>,
}

/// `finepick simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Input.
    #[command(flatten)]
    pub input: CurvesArgs,
    /// Size of the whole data set, in examples.
    #[arg(long, value_name = "EXAMPLES")]
    pub full_size: i64,
    /// Budget.
    #[command(flatten)]
    pub spend: SpendArgs,
    /// With --budget-ratio: fraction of the cost of Accept then Stop.
    #[arg(long, value_name = "FRACTION", default_value = "1", value_parser = crate::values::ratio)]
    pub budget_fraction: f64,
    /// The policy, by the names that `finepick select` has.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = SelectPolicy::Geometric)]
    pub policy: SelectPolicy,
    /// geometric: curve files of the same candidates on other data sets, for a warm start; may be repeated.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub history: Vec<PathBuf>,
    /// Parameters.
    #[command(flatten)]
    pub parameters: PolicyArgs,
    /// Intervals and seed.
    #[command(flatten)]
    pub answer: AnswerArgs,
    /// Constraints.
    #[command(flatten)]
    pub constraints: ConstraintArgs,
    /// How to print the answer.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Table, help_heading = "Output")]
    pub format: OutputFormat,
}
