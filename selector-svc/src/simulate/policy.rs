//! Which policy spends, with its parameters, and what it may know of other data sets.

use crate::curve::{DataSize, Loss};
use crate::error::InvalidParameter;
use crate::policy::RankingPolicy;
use crate::policy::ats::AtsParameters;
use crate::policy::geometric::GeometricParameters;
use crate::policy::halving::{HalvingParameters, HalvingScore};
use crate::table::{Candidate, CandidateTable};
use crate::win_share::FALLBACK_DRAWS;

/// Losses of candidates on another data set, by name.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct NamedHistory {
    /// Name of the data set.
    pub data_set: String,
    /// Full-size loss by candidate name.
    pub losses: Vec<(String, Loss)>,
}

impl NamedHistory {
    /// The losses of a table at one size; candidates that lack it are left out.
    #[must_use]
    pub fn from_table(data_set: &str, table: &CandidateTable, full: DataSize) -> Self {
        let loss = |c: &Candidate| Some((c.name().to_owned(), c.true_loss(full)?));
        Self {
            data_set: data_set.to_owned(),
            losses: table.candidates().iter().filter_map(loss).collect(),
        }
    }
}

/// How a selection spends.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelectionPolicy {
    /// Halving on forecasts that skips sizes; with a history: warm.
    Geometric(GeometricParameters, Vec<NamedHistory>),
    /// Successive halving, on extrapolated or current loss.
    Halving(HalvingParameters),
    /// Everyone at every size, then a ranking.
    Flat(RankingPolicy),
    /// Accept then Stop, sizes from the largest downwards; the largest size, or what the budget pays.
    Ats(AtsParameters, Option<DataSize>),
    /// Everyone at the full size.
    Exhaustive,
    /// One by chance, by the seed.
    Random,
    /// The best before fine-tuning.
    ZeroShot,
}

impl SelectionPolicy {
    /// The adaptive policies' names; those of [`RankingPolicy::NAMES`] are known as well.
    pub const ADAPTIVE_NAMES: [&'static str; 7] = [
        "geometric",
        "halving",
        "halving_current",
        "ats_online",
        "exhaustive",
        "random",
        "zero_shot_control",
    ];

    /// The policy of that name with its default parameters, cold.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let halving = |score| {
            Self::Halving(HalvingParameters {
                score,
                ..HalvingParameters::default()
            })
        };
        match name {
            "geometric" => Some(Self::Geometric(GeometricParameters::default(), Vec::new())),
            "halving" => Some(halving(HalvingScore::Extrapolated)),
            "halving_current" => Some(halving(HalvingScore::Current)),
            "ats_online" => Some(Self::Ats(AtsParameters::default(), None)),
            "exhaustive" => Some(Self::Exhaustive),
            "random" => Some(Self::Random),
            "zero_shot_control" => Some(Self::ZeroShot),
            flat => RankingPolicy::from_name(flat).map(Self::Flat),
        }
    }

    /// Stable name in `snake_case`; of a flat policy the ranking's.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Geometric(..) => "geometric",
            Self::Halving(HalvingParameters {
                score: HalvingScore::Current,
                ..
            }) => "halving_current",
            Self::Halving(_) => "halving",
            Self::Flat(ranking) => ranking.name(),
            Self::Ats(..) => "ats_online",
            Self::Exhaustive => "exhaustive",
            Self::Random => "random",
            Self::ZeroShot => "zero_shot_control",
        }
    }

    /// Checks every parameter.
    ///
    /// # Errors
    /// The first parameter out of its range.
    pub fn validate(&self) -> Result<(), InvalidParameter> {
        match self {
            Self::Geometric(parameters, _) => parameters.validate(),
            Self::Halving(parameters) => parameters.validate(),
            Self::Flat(policy) => policy.validate(),
            Self::Ats(parameters, _) => parameters.validate(),
            Self::Exhaustive | Self::Random | Self::ZeroShot => Ok(()),
        }
    }

    /// Seeded draws for win shares; 0 for the exact integral.
    #[must_use]
    pub const fn draws(&self) -> u32 {
        if let Self::Flat(policy) = self {
            policy.draws()
        } else {
            FALLBACK_DRAWS
        }
    }
}
