//! Examples, examples × weights, device-seconds and money: what is allowed, set aside and spent.

use serde::{Deserialize, Serialize};

use crate::curve::DataSize;
use crate::policy::{Exclusion, ExclusionReason};

/// An amount in every unit. Units that nobody can tell stay 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Spending {
    /// Sum of sizes, examples.
    pub examples: u64,
    /// Size times number of weights.
    pub example_parameters: f64,
    /// Device-seconds.
    pub device_seconds: f64,
    /// Money in billionths of the budget's or the price table's currency unit.
    pub money_nanos: i64,
}

impl Spending {
    /// Nothing.
    pub const ZERO: Self = Self {
        examples: 0,
        example_parameters: 0.0,
        device_seconds: 0.0,
        money_nanos: 0,
    };

    /// The sum, saturating.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            examples: self.examples.saturating_add(other.examples),
            example_parameters: self.example_parameters + other.example_parameters,
            device_seconds: self.device_seconds + other.device_seconds,
            money_nanos: self.money_nanos.saturating_add(other.money_nanos),
        }
    }

    /// The difference, not below 0 in any unit.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            examples: self.examples.saturating_sub(other.examples),
            example_parameters: (self.example_parameters - other.example_parameters).max(0.0),
            device_seconds: (self.device_seconds - other.device_seconds).max(0.0),
            money_nanos: self.money_nanos.saturating_sub(other.money_nanos).max(0),
        }
    }
}

/// Limits in force; an absent one does not bind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Examples.
    pub examples: Option<u64>,
    /// Size times number of weights.
    pub example_parameters: Option<f64>,
    /// Device-seconds.
    pub device_seconds: Option<f64>,
    /// Money in billionths of a unit.
    pub money_nanos: Option<i64>,
    /// Of the money: ISO 4217. Empty: no price was told.
    pub currency: String,
    /// No run begins after it, and running ones are ended.
    pub deadline: Option<super::Millis>,
}

/// The unit whose limit would be passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Examples.
    Examples,
    /// Size times number of weights.
    ExampleParameters,
    /// Device-seconds.
    DeviceSeconds,
    /// Money.
    Money,
}

impl Unit {
    /// In words.
    #[must_use]
    pub const fn as_words(self) -> &'static str {
        match self {
            Self::Examples => "examples",
            Self::ExampleParameters => "examples times weights",
            Self::DeviceSeconds => "device-seconds",
            Self::Money => "money",
        }
    }

    /// Why a run of this size is not begun: the limit in this unit does not pay for it.
    #[must_use]
    pub fn unpaid(self, data_size: DataSize) -> Exclusion {
        let unit = self.as_words();
        let detail = format!("what is left of the budget in {unit} does not pay for a run on {data_size} examples");
        Exclusion::new(ExclusionReason::Budget, detail)
    }
}

/// Sums of thousands of amounts wander in the last bits: a limit is not passed by that.
const SLACK: f64 = 1e-9;

impl Limits {
    /// Whether so much may be spent in all (settled and reserved together).
    ///
    /// # Errors
    /// The first unit whose limit would be passed.
    pub fn allow(&self, total: Spending) -> Result<(), Unit> {
        let over = |limit: Option<f64>, value: f64| limit.is_some_and(|limit| value > limit * (1.0 + SLACK));
        if self.examples.is_some_and(|limit| total.examples > limit) {
            return Err(Unit::Examples);
        }
        if over(self.example_parameters, total.example_parameters) {
            return Err(Unit::ExampleParameters);
        }
        if over(self.device_seconds, total.device_seconds) {
            return Err(Unit::DeviceSeconds);
        }
        if self.money_nanos.is_some_and(|limit| total.money_nanos > limit) {
            return Err(Unit::Money);
        }
        Ok(())
    }
}
