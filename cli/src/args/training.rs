//! Flags of `finepick trainers`, `train`, `evaluate` and `zoo`.

use clap::{Args, Subcommand, ValueEnum};

use super::Method;

/// How answers about trainers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PlainFormat {
    /// For people.
    Table,
    /// One JSON document.
    Json,
}

/// Which trainer, and how to print.
#[derive(Debug, Clone, Args)]
pub struct TrainerArgs {
    /// The trainer's name at the gateway. Absent: the gateway's default, or the trainer that --endpoint is.
    #[arg(long, value_name = "NAME")]
    pub trainer: Option<String>,
    /// How to print the answer.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = PlainFormat::Table, help_heading = "Output")]
    pub format: PlainFormat,
}

/// `finepick trainers`.
#[derive(Debug, Subcommand)]
pub enum TrainersCommand {
    /// List the trainers that --endpoint routes to, with their state.
    List {
        /// How to print the answer.
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t = PlainFormat::Table, help_heading = "Output")]
        format: PlainFormat,
    },
    /// Say who a trainer is, what devices it has, and whether it is ready.
    Info(TrainerArgs),
    /// Say what a trainer can do, and what it costs.
    Capabilities(TrainerArgs),
    /// List a trainer's runs that have not ended.
    Queue {
        /// Which.
        #[command(flatten)]
        trainer: TrainerArgs,
        /// At most so many runs, newest first.
        #[arg(long, value_name = "RUNS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
}

/// In which order an epoch goes through the examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// As they lie in the data.
    AsIs,
    /// A new one for every epoch, drawn by the seed.
    Seeded,
}

/// How to tune; what is absent is the trainer's default.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tuning")]
pub struct TuningArgs {
    /// What is trained.
    #[arg(long, value_name = "METHOD", value_enum, default_value_t = Method::Full)]
    pub method: Method,
    /// How.
    #[command(flatten)]
    pub settings: TuningSettings,
}

/// Settings of a tuning, apart from its method; what is absent is the trainer's default.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tuning")]
pub struct TuningSettings {
    /// lora: rank of the adapters.
    #[arg(long, value_name = "RANK", default_value_t = 8)]
    pub lora_rank: i32,
    /// lora: the update is scaled by alpha / rank. Absent: alpha = rank.
    #[arg(long, value_name = "ALPHA")]
    pub lora_alpha: Option<f64>,
    /// lora: dropout on the adapters' input. Absent: 0.
    #[arg(long, value_name = "SHARE")]
    pub lora_dropout: Option<f64>,
    /// lora: modules that get an adapter, by the last part of their path, or all-linear. Absent: the trainer's default for the model.
    #[arg(long, value_name = "MODULE,...", value_delimiter = ',')]
    pub lora_targets: Vec<String>,
    /// prompt: virtual tokens before every sequence.
    #[arg(long, value_name = "TOKENS", default_value_t = 20)]
    pub prompt_length: i32,
    /// prompt: text whose embeddings it starts from. Absent: tokens drawn by the seed.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub prompt_text: String,
    /// Passes over the subset.
    #[arg(long, value_name = "EPOCHS", conflicts_with = "steps")]
    pub epochs: Option<i32>,
    /// Optimizer steps.
    #[arg(long, value_name = "STEPS")]
    pub steps: Option<i32>,
    /// Sequences a step.
    #[arg(long, value_name = "SEQUENCES")]
    pub batch_size: Option<i32>,
    /// Tokens a sequence; longer texts are cut.
    #[arg(long, value_name = "TOKENS")]
    pub sequence_length: Option<i32>,
    /// Batches whose gradients are added up for one step.
    #[arg(long, value_name = "BATCHES")]
    pub accumulation: Option<i32>,
    /// Peak learning rate.
    #[arg(long, visible_alias = "lr", value_name = "RATE")]
    pub learning_rate: Option<f64>,
    /// How the learning rate goes on after the warm-up: constant, linear or cosine.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub schedule: String,
    /// Share of the steps in which the learning rate rises.
    #[arg(long, value_name = "SHARE")]
    pub warmup: Option<f64>,
    /// Decoupled weight decay.
    #[arg(long, value_name = "RATE")]
    pub weight_decay: Option<f64>,
    /// Clip the global gradient norm to this.
    #[arg(long, value_name = "NORM")]
    pub clip: Option<f64>,
    /// Early stopping: end when the held-out loss has not improved for so many epochs, and keep the best.
    #[arg(long, value_name = "EPOCHS")]
    pub patience: Option<i32>,
    /// Order of the examples within an epoch.
    #[arg(long, value_name = "ORDER", value_enum, default_value_t = Order::Seeded)]
    pub order: Order,
    /// One of the trainer's precisions.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub precision: String,
    /// Seed of everything random but the subsets.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,
    /// Seed of the subsets: the same for all candidates that are compared.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub subset_seed: u64,
}

/// `finepick train`.
#[derive(Debug, Args)]
pub struct TrainArgs {
    /// The trainer's name at the gateway. Absent: the gateway's default, or the trainer that --endpoint is.
    #[arg(long, value_name = "NAME")]
    pub trainer: Option<String>,
    /// The checkpoint, a path or URL that the trainer can read.
    #[arg(long, value_name = "URI")]
    pub model: String,
    /// The training data, a path or URL that the trainer can read.
    #[arg(long, value_name = "URI")]
    pub data: String,
    /// Held-out data. Absent: a split of the training data.
    #[arg(long, value_name = "URI")]
    pub held_out: Option<String>,
    /// Subset sizes to report a held-out loss for, in examples; 0: before tuning. Several need the capability
    /// `nested_subsets`.
    #[arg(long = "size", value_name = "EXAMPLES,...", value_delimiter = ',', required = true)]
    pub sizes: Vec<i64>,
    /// Further data to measure before and after tuning: what was forgotten. May be repeated.
    #[arg(long = "retention", value_name = "NAME=URI")]
    pub retention: Vec<String>,
    /// An adapter folder (PEFT) that tuning starts from.
    #[arg(long, value_name = "URI")]
    pub init_adapter: Option<String>,
    /// Put the tuned weights here, a folder that does not exist yet. Absent: they stay with the trainer, or, without --endpoint, are not
    /// kept.
    #[arg(long, value_name = "DIR")]
    pub output: Option<std::path::PathBuf>,
    /// Tuning.
    #[command(flatten)]
    pub tuning: TuningArgs,
    /// Name of the candidate in reports. Absent: the model's URI.
    #[arg(long, value_name = "NAME")]
    pub candidate: Option<String>,
    /// Device by name, as `finepick trainers info` shows it. Absent: the trainer chooses.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub device: String,
    /// Without --endpoint: threads of the run. Absent: all cores.
    #[arg(long, value_name = "THREADS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// The run fails when it has run for so long.
    #[arg(long, value_name = "SECONDS")]
    pub max_duration: Option<f64>,
    /// A mark of your own on the run; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// Id of the run: the same command with the same id goes on watching the same run. Absent: a new one.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Do not wait for the end.
    #[arg(long)]
    pub detach: bool,
    /// How to print the run; progress goes to standard error.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = PlainFormat::Table, help_heading = "Output")]
    pub format: PlainFormat,
}

/// `finepick evaluate`.
#[derive(Debug, Args)]
pub struct EvaluateArgs {
    /// The trainer's name at the gateway. Absent: the gateway's default, or the trainer that --endpoint is.
    #[arg(long, value_name = "NAME")]
    pub trainer: Option<String>,
    /// The checkpoint.
    #[arg(long, value_name = "URI")]
    pub model: String,
    /// An adapter folder (PEFT).
    #[arg(long, value_name = "URI")]
    pub adapter: Option<String>,
    /// The data to measure the loss on, all of it.
    #[arg(long, value_name = "URI")]
    pub data: String,
    /// Sequences a batch; the loss does not depend on it.
    #[arg(long, value_name = "SEQUENCES")]
    pub batch_size: Option<i32>,
    /// Tokens a sequence; longer texts are cut.
    #[arg(long, value_name = "TOKENS")]
    pub sequence_length: Option<i32>,
    /// Device by name, as `finepick trainers info` shows it. Absent: the trainer chooses.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub device: String,
    /// How to print the loss.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = PlainFormat::Table, help_heading = "Output")]
    pub format: PlainFormat,
}

/// `finepick zoo`.
#[derive(Debug, Subcommand)]
pub enum ZooCommand {
    /// Make the zoo's checkpoints: pretrain each from random weights by the recipe.
    Build(ZooBuildArgs),
}

/// `finepick zoo build`.
#[derive(Debug, Args)]
pub struct ZooBuildArgs {
    /// What to make.
    #[arg(long, value_name = "FILE", default_value = "zoo/recipe.toml")]
    pub recipe: std::path::PathBuf,
    /// Folder with the texts, KIND.jsonl each (`python3 tools/fetch_texts.py` fetches them).
    #[arg(long, value_name = "DIR", default_value = ".deps/texts/pretrain")]
    pub texts: std::path::PathBuf,
    /// Where the checkpoints' folders go.
    #[arg(long, value_name = "DIR", default_value = "zoo")]
    pub output: std::path::PathBuf,
    /// Only this checkpoint; may be repeated. Absent: all.
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Device by name.
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub device: String,
    /// Threads; absent: all cores.
    #[arg(long, value_name = "THREADS")]
    pub threads: Option<usize>,
}
