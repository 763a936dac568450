//! What is asked for: a run's specification and its checks. Defaults are each trainer's own.

mod check;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::check::{Violation, check_id, check_request_id, check_spec, label_path};

/// Where something lies, and what it must be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Reference {
    /// Path or URL, 1 to 2,048 bytes.
    pub uri: String,
    /// Expected digest; empty: not checked.
    pub digest: String,
}

/// How weights are tuned.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Method {
    /// All weights.
    Full,
    /// Low-rank adapters (arXiv 2106.09685).
    Lora {
        /// 1 to 4,096.
        rank: i32,
        /// Finite, > 0.
        alpha: Option<f64>,
        /// In [0, 1).
        dropout: Option<f64>,
        /// Names of modules; empty: the default.
        target_modules: Vec<String>,
    },
    /// Trained prompt embeddings (arXiv 2104.08691).
    Prompt {
        /// Virtual tokens, 1 to 4,096.
        length: i32,
        /// Text the prompt starts from.
        initial_text: String,
    },
}

/// A method without its parameters: what capabilities speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum MethodKind {
    /// [`Method::Full`]
    Full,
    /// [`Method::Lora`]
    Lora,
    /// [`Method::Prompt`]
    Prompt,
}

impl Method {
    /// Which method it is.
    #[must_use]
    pub fn kind(&self) -> MethodKind {
        match self {
            Self::Full => MethodKind::Full,
            Self::Lora { .. } => MethodKind::Lora,
            Self::Prompt { .. } => MethodKind::Prompt,
        }
    }
}

impl MethodKind {
    /// Lower-case name, as the configuration writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Lora => "lora",
            Self::Prompt => "prompt",
        }
    }

    /// The method of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Full, Self::Lora, Self::Prompt]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// How to optimise; absent values are the trainer's defaults.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Hyperparameters {
    /// Passes over the subset, 1 to 10,000; not together with `steps`.
    pub epochs: Option<i32>,
    /// Optimizer steps, > 0.
    pub steps: Option<i32>,
    /// Sequences a step, 1 to 1,048,576.
    pub batch_size: Option<i32>,
    /// Tokens a sequence, 1 to 1,048,576.
    pub sequence_length: Option<i32>,
    /// Finite, > 0.
    pub learning_rate: Option<f64>,
    /// In [0, 1].
    pub warmup_ratio: Option<f64>,
    /// Finite, ≥ 0.
    pub weight_decay: Option<f64>,
    /// Finite, > 0.
    pub clip_norm: Option<f64>,
    /// Name of a precision; empty: the default.
    pub precision: String,
    /// Batches whose gradients are added up before a step, 1 to 65,536.
    pub gradient_accumulation: Option<i32>,
    /// One of [`SCHEDULES`]; empty: the default.
    pub schedule: String,
    /// Epochs without a better held-out loss after which tuning ends, 1 to 10,000; absent: no early stopping.
    pub patience: Option<i32>,
    /// Order of the examples within an epoch; absent: the default, seeded.
    pub order: Option<ExampleOrder>,
}

/// How the learning rate may go on after the warm-up.
pub const SCHEDULES: [&str; 3] = ["constant", "linear", "cosine"];

/// In which order an epoch goes through the examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum ExampleOrder {
    /// A new order for every epoch, drawn by the seed.
    Seeded,
    /// The order of the data.
    AsIs,
}

/// Further data to evaluate on before and after.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RetentionSet {
    /// Unique within the run, 1 to 256 bytes.
    pub name: String,
    /// The data.
    pub data: Reference,
}

/// A run's specification. Equality is what makes a create idempotent: two specs as sent.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Spec {
    /// Name for people, 1 to 256 bytes.
    pub candidate_id: String,
    /// The checkpoint.
    pub model: Reference,
    /// The training data.
    pub data: Reference,
    /// Held-out data; absent: a split of `data`.
    pub held_out: Option<Reference>,
    /// Examples; ascending, unique, 1 to 64 entries ≥ 0.
    pub data_sizes: Vec<i64>,
    /// How weights are tuned.
    pub method: Method,
    /// How to optimise.
    pub hyperparameters: Hyperparameters,
    /// Seed of everything random but the subsets.
    pub seed: u64,
    /// Seed of the nested subsets.
    pub subset_seed: u64,
    /// At most 16.
    pub retention_sets: Vec<RetentionSet>,
    /// Device by name; empty: the trainer chooses.
    pub device: String,
    /// The longest time it may run, > 0.
    pub max_duration: Option<Duration>,
    /// The caller's marks, returned as they are.
    pub labels: BTreeMap<String, String>,
    /// An adapter that tuning starts from; of the method's kind.
    pub initial_adapter: Option<Reference>,
}

impl Spec {
    /// The largest requested size, examples.
    #[must_use]
    pub fn data_size_max(&self) -> i64 {
        self.data_sizes.iter().copied().max().unwrap_or(0)
    }
}
