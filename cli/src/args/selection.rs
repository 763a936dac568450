//! Flags of the commands on selections: `finepick select`, `watch`, `selections`, `report`, `explain` and their like.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ConstraintArgs, PlainFormat, PolicyArgs, TuningSettings};

/// How a selection spends its budget.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum SelectPolicy {
    /// Halving on forecasts that skips sizes: the best known.
    #[default]
    Geometric,
    /// Successive halving on extrapolated loss.
    Halving,
    /// Ordinary successive halving, on the current loss.
    #[value(alias = "halving_current")]
    HalvingCurrent,
    /// Accept then Stop as published (ICML 2024), paid run by run.
    #[value(alias = "accept-then-stop")]
    Ats,
    /// Everybody at all sizes up to the budget size, then Accept then Stop.
    FlatAts,
    /// The same without the reference code's quirks.
    #[value(alias = "ats-corrected", alias = "ats_corrected")]
    FlatAtsCorrected,
    /// Everybody at all sizes, then the recency-weighted trend.
    #[value(alias = "rwl")]
    FlatRwl,
    /// Everybody at all sizes, then the pooled local trend.
    #[value(alias = "local-trend", alias = "local_trend")]
    FlatLocalTrend,
    /// Everybody at all sizes, then the rectified law fitted to each curve.
    #[value(alias = "rectified-fit", alias = "rectified_fit")]
    FlatRectifiedFit,
    /// Everybody at all sizes, then the 4-coefficient power law fitted to each curve.
    #[value(alias = "vanilla-fit", alias = "vanilla_fit")]
    FlatVanillaFit,
    /// Everybody at all sizes, then the loss at the largest of them.
    #[value(alias = "sub-tuning", alias = "sub_tuning")]
    FlatSubTuning,
    /// Everybody at the full size: the truth, for what it costs.
    Exhaustive,
    /// A control: the largest checkpoint, after everybody was trained at all sizes.
    #[value(alias = "model-size", alias = "model_size")]
    FlatModelSize,
    /// A control: the best before fine-tuning.
    #[value(alias = "zero_shot")]
    ZeroShot,
    /// A control: one by chance.
    Random,
}

impl SelectPolicy {
    /// The policy's name in answers.
    #[must_use]
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().replace('-', "_"))
    }
}

/// What a selection may spend. Every limit that is given holds.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Budget")]
pub struct BudgetArgs {
    /// Budget relative to Accept then Stop with this share of the full size, e.g. 1/64.
    #[arg(long, value_name = "RATIO", value_parser = crate::values::ratio)]
    pub budget_ratio: Option<f64>,
    /// With --budget-ratio: fraction of the cost of Accept then Stop. Absent: 1.
    #[arg(long, value_name = "FRACTION", value_parser = crate::values::ratio, requires = "budget_ratio")]
    pub budget_fraction: Option<f64>,
    /// Budget as a share of fine-tuning every contender on all data, e.g. 10%. Absent, where no budget in examples is given either: 10%.
    #[arg(long, value_name = "SHARE", value_parser = crate::values::ratio)]
    pub budget_share: Option<f64>,
    /// Sum of the sizes of all runs.
    #[arg(long, value_name = "EXAMPLES")]
    pub budget_examples: Option<i64>,
    /// Sum of size times number of weights over all runs.
    #[arg(long, value_name = "PRODUCT")]
    pub budget_example_parameters: Option<f64>,
    /// Time on devices, e.g. 5400, 90m or 1h30m.
    #[arg(long, value_name = "TIME", value_parser = crate::values::duration)]
    pub budget_device_seconds: Option<std::time::Duration>,
    /// Money by the trainers' price tables, e.g. "12.50 EUR".
    #[arg(long, value_name = "MONEY", value_parser = crate::values::money)]
    pub budget_money: Option<crate::values::Money>,
    /// No run begins later than this after the creation, and those that run are ended; e.g. 2h.
    #[arg(long, value_name = "TIME", value_parser = crate::values::duration)]
    pub deadline: Option<std::time::Duration>,
}

/// Where a selection is kept when no suite is asked.
#[derive(Debug, Clone, Args)]
pub struct LocalArgs {
    /// Without --endpoint: where selections and training runs of this machine are kept.
    #[arg(long, value_name = "DIR", default_value = ".finepick", help_heading = "Connection")]
    pub state_dir: PathBuf,
    /// Without --endpoint: threads of a training run. Absent: all cores.
    #[arg(long, value_name = "THREADS", value_parser = clap::value_parser!(u16).range(1..=1024),
          help_heading = "Connection")]
    pub threads: Option<u16>,
}

/// What ^C means while a selection is followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OnInterrupt {
    /// The selection is left as it is: behind --endpoint it goes on, here the printed command goes on with it.
    #[default]
    Leave,
    /// The selection is cancelled.
    Cancel,
}

/// How a selection is shown while it goes on, and at its end.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct ShowArgs {
    /// How to print the report; what happens meanwhile goes to standard error.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = PlainFormat::Table)]
    pub format: PlainFormat,
    /// Write a plot of the selection to this SVG file.
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    /// What the first ^C does; a second one ends the command at once.
    #[arg(long, value_name = "WISH", value_enum, default_value_t = OnInterrupt::Leave)]
    pub on_interrupt: OnInterrupt,
    /// Do not show what happens meanwhile.
    #[arg(long, short)]
    pub quiet: bool,
}

/// `finepick select`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct SelectArgs {
    /// A checkpoint that may be chosen: a path or URL that the trainer can read, with a name for reports. Absent name: the last part of
    /// the path. May be repeated.
    #[arg(long = "model", value_name = "[NAME=]URI")]
    pub models: Vec<String>,
    /// A folder of checkpoints: every folder in it that holds a config.json. May be repeated.
    #[arg(long = "models", value_name = "DIR")]
    pub model_folders: Vec<PathBuf>,
    /// The training data, a path or URL that the trainer can read.
    #[arg(long, value_name = "URI", required_unless_present = "resume")]
    pub data: Option<String>,
    /// Held-out data. Absent: a split of the training data, the same for all sizes.
    #[arg(long, value_name = "URI")]
    pub held_out: Option<String>,
    /// Size of the whole data set in examples. Absent: what the trainer says that the data hold.
    #[arg(long, value_name = "EXAMPLES")]
    pub full_size: Option<i64>,
    /// Smallest size to train on. Absent: full / 4,096, at least 32.
    #[arg(long, value_name = "EXAMPLES")]
    pub min_size: Option<i64>,
    /// Budget.
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// How the budget is spent.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = SelectPolicy::Geometric)]
    pub policy: SelectPolicy,
    /// Parameters of the policy.
    #[command(flatten)]
    pub parameters: PolicyArgs,
    /// Who may be chosen.
    #[command(flatten)]
    pub constraints: ConstraintArgs,
    /// How candidates are tuned: full, lora or prompt, with settings of its own, e.g. `lora:rank=16,lr=1e-3,id=lora-16`. May be
    /// repeated: then candidate and method are chosen together.
    #[arg(long = "method", value_name = "METHOD[:KEY=VALUE,...]", help_heading = "Tuning")]
    pub methods: Vec<String>,
    /// Tuning of all methods.
    #[command(flatten)]
    pub tuning: TuningSettings,
    /// Only this trainer of the selector's configuration; may be repeated. Without --endpoint: which trainer this process hosts, `onnx` or
    /// `simulated`.
    #[arg(long = "trainer", value_name = "NAME")]
    pub trainers: Vec<String>,
    /// Device by name, as `finepick trainers info` shows it. Absent: the trainer chooses.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub device: String,
    /// Runs at the same time. Absent: as many as the trainers have slots.
    #[arg(long, value_name = "RUNS")]
    pub parallelism: Option<i32>,
    /// Attempts at one run. Absent: 3.
    #[arg(long, value_name = "ATTEMPTS")]
    pub max_attempts: Option<i32>,
    /// A run that takes longer fails; e.g. 30m.
    #[arg(long, value_name = "TIME", value_parser = crate::values::duration)]
    pub max_run_duration: Option<std::time::Duration>,
    /// Nominal coverage of intervals.
    #[arg(long, value_name = "LEVEL", default_value_t = 0.9)]
    pub level: f64,
    /// Start from the final forecasts of earlier selections of the same checkpoints on other data.
    #[arg(long)]
    pub warm_start: bool,
    /// Measure anew what earlier selections have measured on the same checkpoints and data.
    #[arg(long)]
    pub no_reuse: bool,
    /// Id of the selection: the same command with the same id goes on with the same selection. Absent: a new one.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Go on with a selection that was left: nothing else needs to be said again.
    #[arg(long, value_name = "ID", conflicts_with_all = ["models", "model_folders", "data", "id", "dry_run", "detach"])]
    pub resume: Option<String>,
    /// For people: what the selection is about.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub name: String,
    /// A mark of your own on the selection; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// Do not wait for the end. Needs --endpoint.
    #[arg(long, conflicts_with = "dry_run")]
    pub detach: bool,
    /// Only say what would be planned, what it would cost, and who is excluded. Trains and stores nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// How it is shown.
    #[command(flatten)]
    pub show: ShowArgs,
    /// Where it is kept.
    #[command(flatten)]
    pub local: LocalArgs,
}

/// `finepick watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// The selection.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Sequence of the last event that is known already: only what came after it is told.
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    pub after: i64,
    /// How it is shown.
    #[command(flatten)]
    pub show: ShowArgs,
    /// Where it is kept.
    #[command(flatten)]
    pub local: LocalArgs,
}

/// Where a selection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StateName {
    /// Asking trainers.
    Preparing,
    /// Training and judging.
    Running,
    /// Paused.
    Paused,
    /// Being cancelled.
    Cancelling,
    /// Ended with a choice.
    Succeeded,
    /// Ended by a limit of its budget.
    #[value(alias = "budget_exhausted")]
    BudgetExhausted,
    /// Ended without a choice.
    Failed,
    /// Cancelled.
    Cancelled,
}

/// `finepick selections`.
#[derive(Debug, Args)]
pub struct SelectionsArgs {
    /// Only selections in this state; may be repeated.
    #[arg(long = "state", value_name = "STATE", value_enum, value_delimiter = ',')]
    pub states: Vec<StateName>,
    /// Only selections with this mark; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// At most so many, newest first.
    #[arg(long, value_name = "SELECTIONS", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// How to print them.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = PlainFormat::Table, help_heading = "Output")]
    pub format: PlainFormat,
    /// Where they are kept.
    #[command(flatten)]
    pub local: LocalArgs,
}

/// `finepick explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The selection.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Only this round, with every contender's reason.
    #[arg(long, value_name = "ROUND", value_parser = clap::value_parser!(i32).range(1..))]
    pub round: Option<i32>,
    /// Where it is kept.
    #[command(flatten)]
    pub local: LocalArgs,
}

/// `finepick report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The selection.
    #[arg(value_name = "ID")]
    pub id: String,
    /// How to print the report.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = PlainFormat::Table, help_heading = "Output")]
    pub format: PlainFormat,
    /// Write a plot of the selection to this SVG file.
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    pub plot: Option<PathBuf>,
    /// Write the selection's certificate to this file: what anybody needs to recompute the ranking.
    #[arg(long, value_name = "FILE.json", help_heading = "Output")]
    pub certificate: Option<PathBuf>,
    /// Where it is kept.
    #[command(flatten)]
    pub local: LocalArgs,
}

/// `finepick clone`.
#[derive(Debug, Args)]
pub struct CloneArgs {
    /// The selection whose losses are used.
    #[arg(value_name = "ID")]
    pub id: String,
    /// What might have been spent. Absent: as it was.
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// How it might have been spent. Absent: as it was.
    #[arg(long, value_name = "POLICY", value_enum)]
    pub policy: Option<SelectPolicy>,
    /// Parameters of the policy.
    #[command(flatten)]
    pub parameters: PolicyArgs,
    /// Who might have been chosen. Absent: as it was.
    #[command(flatten)]
    pub constraints: ConstraintArgs,
    /// How to print the answer.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = PlainFormat::Table, help_heading = "Output")]
    pub format: PlainFormat,
    /// Where it is kept.
    #[command(flatten)]
    pub local: LocalArgs,
}

/// `finepick verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A file that `finepick certificate` or `finepick report --certificate` wrote, or the id of a selection.
    #[arg(value_name = "FILE|ID")]
    pub what: String,
    /// Digest that the file must have, `sha256:...`.
    #[arg(long, value_name = "DIGEST", default_value = "", hide_default_value = true)]
    pub digest: String,
    /// How to print the verdict.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = PlainFormat::Table, help_heading = "Output")]
    pub format: PlainFormat,
    /// Where it is kept.
    #[command(flatten)]
    pub local: LocalArgs,
}

/// A selection, for commands that need nothing else: `certificate`, `pause`, `resume`, `delete`.
#[derive(Debug, Args)]
pub struct IdArgs {
    /// The selection.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Where it is kept.
    #[command(flatten)]
    pub local: LocalArgs,
}

/// `finepick cancel`.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// Which.
    #[command(flatten)]
    pub selection: IdArgs,
    /// For people: why.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub reason: String,
}

/// `finepick amend`.
#[derive(Debug, Args)]
pub struct AmendArgs {
    /// Which.
    #[command(flatten)]
    pub selection: IdArgs,
    /// The new limits, all of them.
    #[command(flatten)]
    pub budget: BudgetArgs,
}
