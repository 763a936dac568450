//! The command line: what each flag means, its unit, and what its absence means.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

mod training;

pub use training::{
    EvaluateArgs, HostedTrainer, Order, PlainFormat, TrainArgs, TrainerArgs, TrainersCommand, TuningArgs, UpArgs,
    ZooBuildArgs, ZooCommand,
};

/// finepick tells you which LLM to fine-tune before you pay for fine-tuning it.
///
/// Give it measured losses of your candidates on small subsets of your data; it extrapolates each curve to the whole data set
/// and ranks the candidates, with predicted losses, intervals and reasons.
///
/// Without --endpoint everything runs in this process; with --endpoint URL the same command asks a running suite (see
/// `finepick up`) and prints the same answer.
#[derive(Debug, Parser)]
#[command(name = "finepick", version, max_term_width = 110, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
}

const EXIT_CODES: &str = "\
Exit status:
  0  answered
  1  could not answer: a service failed or could not be reached, or a file could not be written
  2  the command line, the configuration or a file is wrong
  3  answered in part: some rows of a file were left out, and are named on standard error";

/// Flags that every command takes.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Ask the suite at this URL instead of computing here, e.g. <http://127.0.0.1:50060>.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "FINEPICK_ENDPOINT",
        help_heading = "Connection"
    )]
    pub endpoint: Option<String>,
    /// PEM file with the certificate authority of an https endpoint. Absent: the system's.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        requires = "endpoint",
        help_heading = "Connection"
    )]
    pub ca_certificate: Option<PathBuf>,
    /// Give up on a call after so many seconds.
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        default_value_t = 60.0,
        help_heading = "Connection"
    )]
    pub timeout: f64,
    /// Colours in tables. auto: on a terminal, unless `NO_COLOR` is set.
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
    /// Switches automatic colours off when set to anything but the empty string.
    #[arg(long, global = true, hide = true, env = "NO_COLOR", default_value = "")]
    pub no_color: String,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What finepick can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Rank candidates at the full data size from losses measured on subsets.
    #[command(after_long_help = RANK_EXAMPLES)]
    Rank(RankArgs),
    /// Fit a scaling law to every curve of a file.
    #[command(after_long_help = FIT_EXAMPLES)]
    Fit(FitArgs),
    /// Compare policies on tables whose full-size losses are known.
    #[command(after_long_help = BENCHMARK_EXAMPLES)]
    Benchmark(BenchmarkArgs),
    /// Replay on a full table what an adaptive policy would have trained, spent and chosen.
    #[command(after_long_help = SIMULATE_EXAMPLES)]
    Simulate(SimulateArgs),
    /// Look at the trainers behind --endpoint.
    #[command(subcommand)]
    Trainers(TrainersCommand),
    /// Fine-tune a checkpoint, on this machine or on a trainer behind --endpoint, and show its progress.
    #[command(after_long_help = TRAIN_EXAMPLES)]
    Train(Box<TrainArgs>),
    /// Measure a checkpoint's loss on data, with or without an adapter.
    #[command(after_long_help = EVALUATE_EXAMPLES)]
    Evaluate(EvaluateArgs),
    /// Make the small checkpoints that demos and tests run on.
    #[command(subcommand)]
    Zoo(ZooCommand),
    /// Run the suite (gateway, fitter, selector) in this process, on one port.
    Up(UpArgs),
    /// Print the version.
    Version,
    /// Print a shell's completion script.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

const RANK_EXAMPLES: &str = "\
Examples:
  finepick rank --curves curves.csv --budget-size 25600 --full-size 1638400
  finepick rank --curves curves.csv --budget-size 25600 --full-size 1638400 --policy local-trend --plot ranking.svg
  finepick rank --curves curves.csv --budget-ratio 1/64 --full-size 1638400 --where family=OPT --where 'parameters<=3e9'
  producer | finepick rank --curves - --budget-size 6400 --full-size 100000 --format json";

const FIT_EXAMPLES: &str = "\
Examples:
  finepick fit --curves curves.csv --predict 1638400
  finepick fit --curves curves.csv --law power --objective huber --max-size 51200 --format json
  finepick fit --curves curves.csv --law rectified-joint --factor parameters --group-by family";

const BENCHMARK_EXAMPLES: &str = "\
Examples:
  finepick benchmark --curves a.csv --curves b.csv --full-size 1638400 --policies ats,rwl,zero-shot
  finepick benchmark --curves a.csv --full-size 1638400 --budget-ratios 1/8,1/64 --policies geometric --budget-fraction 0.25";

const SIMULATE_EXAMPLES: &str = "\
Examples:
  finepick simulate --curves curves.csv --full-size 1638400 --budget-ratio 1/64 --budget-fraction 0.25 --policy halving
  finepick simulate --curves curves.csv --full-size 1638400 --budget-examples 400000 --policy geometric --history other.csv";

const EVALUATE_EXAMPLES: &str = "\
Examples:
  finepick evaluate --model zoo/gpt2-verse-m --data held-out.jsonl
  finepick evaluate --model zoo/gpt2-verse-m --adapter tuned/ --data held-out.jsonl --format json";

const TRAIN_EXAMPLES: &str = "\
Exit status, where it differs:
  0  the run has SUCCEEDED (with --detach: it was accepted)
  1  it has FAILED, or a call did
  4  it was CANCELLED
  5  it was PREEMPTED or LOST: create a new one

^C asks whether to cancel the run (on a terminal; elsewhere it cancels it). A second ^C cancels it.

Examples:
  finepick train --model zoo/gpt2-verse-m --data data.jsonl --size 200 --method lora --output tuned/
  finepick train --endpoint http://127.0.0.1:50060 --model hf://EleutherAI/pythia-160m --data data.jsonl --size 0,200,400
  finepick train --endpoint URL --trainer gpu-a --model m --data d --size 1000 --method lora --lora-rank 16 --format json";

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
    /// The policy; one that is not adaptive is replayed flat: every candidate at every size up to the budget.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Policy::Geometric)]
    pub policy: Policy,
    /// geometric: curve files of the same candidates on other data sets, for a warm start; may be repeated.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub history: Vec<PathBuf>,
    /// Parameters.
    #[command(flatten)]
    pub parameters: PolicyArgs,
    /// Constraints.
    #[command(flatten)]
    pub constraints: ConstraintArgs,
    /// How to print the answer.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Table, help_heading = "Output")]
    pub format: OutputFormat,
}
