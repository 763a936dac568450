//! The question: candidates × methods, data, budget, policy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trainer_kit::spec::{Hyperparameters, Method, Reference};

use crate::constraint::Constraints;
use crate::curve::DataSize;
use crate::simulate::SelectionPolicy;
use crate::table::Attributes;

/// Most candidates of a selection, and most contenders.
pub const MAX_CONTENDERS: usize = 1_000;
/// Most methods.
pub const MAX_METHODS: usize = 8;

/// A checkpoint that may be chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CandidateSpec {
    /// Unique in the selection, 1 to 256 bytes.
    pub id: String,
    /// Family, number of weights (where told), anything else.
    pub attributes: Attributes,
    /// Where it lies; absent only with external work.
    pub model: Option<Reference>,
}

/// A way to tune.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodSpec {
    /// Unique in the selection.
    pub id: String,
    /// Full, LoRA, prompt.
    pub method: Method,
    /// Absent values are the trainer's defaults.
    pub hyperparameters: Hyperparameters,
}

/// What may be spent, as asked for. At least one of the first three is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BudgetSpec {
    /// Examples, > 0.
    pub examples: Option<u64>,
    /// (γ, fraction): a fraction of what Accept then Stop costs at γ.
    pub relative: Option<(f64, f64)>,
    /// A fraction of what all contenders at the full size cost, in (0, 1].
    pub exhaustive_fraction: Option<f64>,
    /// Size times number of weights, > 0.
    pub example_parameters: Option<f64>,
    /// Device-seconds, > 0.
    pub device_seconds: Option<f64>,
    /// Money in billionths of a unit, > 0, with its ISO 4217 code.
    pub money: Option<(i64, String)>,
    /// From creation, milliseconds, > 0.
    pub wall_millis: Option<i64>,
}

/// Who trains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkMode {
    /// Trainers that speak the plugin contract.
    #[default]
    Driven,
    /// The caller's own launcher.
    AskTell,
}

/// The question. Fixed at creation; the budget in force is in the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelectionSpec {
    /// At least one.
    pub candidates: Vec<CandidateSpec>,
    /// At least one.
    pub methods: Vec<MethodSpec>,
    /// Training data; absent only with external work.
    pub data: Option<Reference>,
    /// Held-out data; absent: a split of `data`.
    pub held_out: Option<Reference>,
    /// Absent: what the trainer says that the data hold.
    pub data_size_full: Option<DataSize>,
    /// Absent: full / 4,096, at least 32.
    pub data_size_min: Option<DataSize>,
    /// What may be spent.
    pub budget: BudgetSpec,
    /// How.
    pub policy: SelectionPolicy,
    /// Who may be chosen.
    pub constraints: Constraints,
    /// Names; empty: all that are configured.
    pub trainers: Vec<String>,
    /// Runs at the same time; absent: as the trainers have slots.
    pub parallelism: Option<u32>,
    /// Attempts at one run, ≥ 1.
    pub max_attempts: u32,
    /// Of every run and of simulations.
    pub seed: u64,
    /// Of the nested subsets.
    pub subset_seed: u64,
    /// Coverage of intervals.
    pub interval_level: f64,
    /// Who trains.
    pub work_mode: WorkMode,
    /// Losses that earlier selections measured are taken where the digests agree.
    pub reuse: bool,
    /// The final forecasts of earlier selections are the policy's history.
    pub warm_start: bool,
    /// The longest time of one run, milliseconds; absent: no limit.
    pub max_run_millis: Option<i64>,
    /// Device to ask for; empty: the trainer chooses.
    pub device: String,
    /// The caller's marks.
    pub labels: BTreeMap<String, String>,
    /// For people.
    pub display_name: String,
}

impl SelectionSpec {
    /// How many contenders there are: candidates × methods. Contender `c` is candidate `c / methods` with method `c % methods`.
    #[must_use]
    pub fn contenders(&self) -> usize {
        self.candidates.len().saturating_mul(self.methods.len())
    }

    /// Candidate and method of a contender.
    #[must_use]
    pub fn contender(&self, contender: usize) -> Option<(&CandidateSpec, &MethodSpec)> {
        let methods = self.methods.len().max(1);
        Some((
            self.candidates.get(contender / methods)?,
            self.methods.get(contender % methods)?,
        ))
    }

    /// A contender's name: the candidate's id, with `+method` where there is more than one method.
    #[must_use]
    pub fn contender_name(&self, contender: usize) -> String {
        match self.contender(contender) {
            Some((candidate, method)) if self.methods.len() > 1 => format!("{}+{}", candidate.id, method.id),
            Some((candidate, _)) => candidate.id.clone(),
            None => String::new(),
        }
    }
}
