//! The command line: what each flag means, its unit, and what its absence means.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

mod curves;
mod examples;
mod policy;
mod selection;
mod serving;
mod training;

pub use curves::{
    BenchmarkArgs, BudgetSizeArgs, CurvesArgs, FactorSignName, FitArgs, InputFormat, LawName, ObjectiveName,
    OutputFormat, RankArgs, ReadingArgs, SimulateArgs, SpendArgs, UncertaintyName,
};
use examples::{
    BENCHMARK_EXAMPLES, EVALUATE_EXAMPLES, EXIT_CODES, FIT_EXAMPLES, RANK_EXAMPLES, SELECT_EXAMPLES, SIMULATE_EXAMPLES,
    TRAIN_EXAMPLES,
};
pub use policy::{AnswerArgs, ConstraintArgs, Method, Policy, PolicyArgs};
pub use selection::{
    AmendArgs, BudgetArgs, CancelArgs, CloneArgs, ExplainArgs, IdArgs, LocalArgs, OnInterrupt, ReportArgs, SelectArgs,
    SelectPolicy, SelectionsArgs, ShowArgs, StateName, VerifyArgs, WatchArgs,
};
pub use serving::{DemoArgs, HostedTrainer, UpArgs};
pub use training::{
    EvaluateArgs, Order, PlainFormat, TrainArgs, TrainerArgs, TrainersCommand, TuningArgs, TuningSettings,
    ZooBuildArgs, ZooCommand,
};

/// finepick tells you which LLM to fine-tune before you pay for fine-tuning it.
///
/// `finepick select` fine-tunes your candidate checkpoints on small subsets of your data, drops the ones that will not win, and says
/// which one to fine-tune on all of it, with predicted losses, intervals, costs and reasons. `finepick rank` does the last step on losses
/// that you have measured yourself.
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
    /// Choose the checkpoint to fine-tune: train the candidates on subsets within a budget, and rank them.
    #[command(after_long_help = SELECT_EXAMPLES)]
    Select(Box<SelectArgs>),
    /// Follow a selection to its end, and print its report.
    Watch(WatchArgs),
    /// List selections, newest first.
    Selections(SelectionsArgs),
    /// Tell a selection's story in plain words: what was asked, decided, spent, and how sure the answer is.
    Explain(ExplainArgs),
    /// Print a selection's report, or write its plot or its certificate.
    Report(ReportArgs),
    /// What if: decide once more, with another budget or policy, from the losses that a selection has measured.
    Clone(Box<CloneArgs>),
    /// Print what anybody needs to recompute a selection's ranking.
    Certificate(IdArgs),
    /// Recompute the ranking of a certificate, and compare.
    Verify(VerifyArgs),
    /// End a selection and its runs.
    Cancel(CancelArgs),
    /// Begin no new runs of a selection.
    Pause(IdArgs),
    /// Go on after a pause.
    Resume(IdArgs),
    /// Change the limits of a selection that has not ended.
    Amend(AmendArgs),
    /// Forget a selection that has ended.
    Delete(IdArgs),
    /// Rank candidates at the full data size from losses measured on subsets.
    #[command(after_long_help = RANK_EXAMPLES)]
    Rank(RankArgs),
    /// Fit a scaling law to every curve of a file.
    #[command(after_long_help = FIT_EXAMPLES)]
    Fit(FitArgs),
    /// Compare policies on tables whose full-size losses are known.
    #[command(after_long_help = BENCHMARK_EXAMPLES)]
    Benchmark(BenchmarkArgs),
    /// Replay on a full table what a selection would have trained, spent and chosen.
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
    /// See it work: choose among the small checkpoints of the zoo for a real text, then check the choice against the truth.
    Demo(DemoArgs),
    /// Print the version.
    Version,
    /// Print a shell's completion script.
    Completions {
        /// The shell.
        shell: Shell,
    },
}
