//! What is known before anything is spent: sizes, limits, who can run, and what it will cost.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::curve::DataSize;
use crate::diagnostics::Warning;
use crate::policy::Exclusion;
use crate::selection::{Limits, Spending};
use crate::simulate::NamedHistory;

/// A trainer as it was when the selection was prepared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainerFacts {
    /// Its name in the selector's configuration.
    pub name: String,
    /// What `GetTrainerInfo` says: implementation and version.
    pub implementation: String,
    /// Runs at the same time, ≥ 1.
    pub slots: u32,
    /// One run may report several sizes.
    pub nested_subsets: bool,
    /// The same spec and seed give the same losses.
    pub deterministic: bool,
}

/// What one contender's runs cost at one trainer: fixed + per example.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CostModel {
    /// Device-seconds of a run of size 0.
    pub fixed_seconds: f64,
    /// Device-seconds an example.
    pub seconds_per_example: f64,
    /// Money of a device-second, billionths.
    pub nanos_per_second: i64,
    /// Money of a run, billionths.
    pub nanos_per_run: i64,
    /// Device memory, bytes; 0: not told.
    pub memory_bytes: u64,
}

impl CostModel {
    /// What a run of this size is expected to cost.
    #[must_use]
    pub fn of(&self, data_size: DataSize, parameters: Option<u64>) -> Spending {
        let examples = data_size.examples();
        let device_seconds = self.fixed_seconds + self.seconds_per_example * examples as f64;
        Spending {
            examples,
            example_parameters: examples as f64 * parameters.unwrap_or(0) as f64,
            device_seconds,
            money_nanos: self.money(device_seconds),
        }
    }

    /// Money of a run that takes so many device-seconds, billionths; rounded up, saturating.
    #[must_use]
    pub fn money(&self, device_seconds: f64) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
        let by_time = (device_seconds * self.nanos_per_second as f64).ceil() as i64;
        by_time.saturating_add(self.nanos_per_run)
    }
}

/// What is known of a contender.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContenderFacts {
    /// It takes no part.
    pub exclusion: Option<Exclusion>,
    /// Number of weights, as told by the spec or by a trainer.
    pub parameters: Option<u64>,
    /// Digest of the model; empty: not told.
    pub model_digest: String,
    /// By the trainers that can run it.
    pub costs: BTreeMap<String, CostModel>,
}

/// The end of preparation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// Size of the whole data set.
    pub data_size_full: DataSize,
    /// Ladder, ascending; the last is the full size.
    pub data_sizes: Vec<DataSize>,
    /// Digest of the data (and of held-out data, where they are a file of their own); empty: not told.
    pub data_digest: String,
    /// By contender.
    pub contenders: Vec<ContenderFacts>,
    /// In the order of their names.
    pub trainers: Vec<TrainerFacts>,
    /// In force from now on.
    pub limits: Limits,
    /// Examples that the policy plans with: as many as fit every limit.
    pub plan_examples: u64,
    /// What the plan will spend at most.
    pub planned: Spending,
    /// What all contenders at the full size would cost.
    pub exhaustive: Spending,
    /// With the trainers' slots; absent: not known.
    pub wall_seconds: Option<f64>,
    /// From replays on published curves; absent: none is near enough.
    pub expected_relative_regret: Option<f64>,
    /// Losses of the same models on other data, for a warm start; by contender names.
    pub history: Vec<NamedHistory>,
    /// Remarks.
    pub warnings: Vec<Warning>,
}

impl Prepared {
    /// Positions of the contenders that take part, ascending: the policy's candidates in its order.
    #[must_use]
    pub fn pool(&self) -> Vec<usize> {
        let eligible = |(index, facts): (usize, &ContenderFacts)| facts.exclusion.is_none().then_some(index);
        self.contenders.iter().enumerate().filter_map(eligible).collect()
    }
}
