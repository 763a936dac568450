//! Which candidates may be chosen: family, number of weights, memory, attributes. Each exclusion says which rule with
//! which numbers.
//!
//! # The memory estimate
//! bytes = `bytes_per_parameter` · parameters + activations.
//!
//! - Full fine-tuning with `AdamW`: 16 bytes a parameter (f32 weights 4, gradients 4, two moments 8; mixed precision with f32
//!   master weights comes to the same 2 + 2 + 12).
//! - LoRA and prompt tuning: 4 bytes a parameter (frozen f32 weights; adapters and their optimizer state are about 1 % of
//!   them). Frozen weights of 16 bits would take 2, of 4 bits ½: say so with `bytes_per_parameter`.
//! - Activations: 4 bytes for each token of a step and each layer's input (checkpointed activations, recomputed in the
//!   backward pass): 4 · [`TOKENS_PER_STEP`] · layers · width. Layers and width are guessed from the number of weights by
//!   parameters = 12 · layers · width² and width = 96 · layers (GPT-2 has 64, OPT-6.7B 128). For 1.3 · 10⁹ parameters this
//!   is 0.8 GB beside 21 GB of state; it is an estimate for sorting out what cannot run, not a promise that the rest fits.

use std::collections::BTreeMap;

use crate::error::InvalidParameter;
use crate::policy::{Exclusion, ExclusionReason};
use crate::table::Candidate;

/// Tokens of one training step in the memory estimate (8 sequences of 512).
pub const TOKENS_PER_STEP: f64 = 4096.0;
/// Weights of a transformer block in units of width²: 4 for attention, 8 for the feed-forward part.
const BLOCK_WEIGHTS: f64 = 12.0;
/// Width over number of layers.
const ASPECT: f64 = 96.0;
/// Bytes of one checkpointed activation.
const ACTIVATION_BYTES: f64 = 4.0;

/// What is tuned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TuningMethod {
    /// All weights.
    #[default]
    Full,
    /// Low-rank adapters.
    Lora,
    /// Prompt embeddings.
    Prompt,
}

impl TuningMethod {
    /// Bytes a parameter for weights, gradients and optimizer state, unless said otherwise.
    #[must_use]
    pub const fn bytes_per_parameter(self) -> f64 {
        match self {
            Self::Full => 16.0,
            Self::Lora | Self::Prompt => 4.0,
        }
    }

    /// Stable name in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Lora => "lora",
            Self::Prompt => "prompt",
        }
    }
}

/// A device's memory.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct MemoryLimit {
    /// Bytes, > 0.
    pub bytes: u64,
    /// What is tuned.
    pub method: TuningMethod,
    /// Overrides the method's bytes per parameter; finite, > 0.
    pub bytes_per_parameter: Option<f64>,
}

impl MemoryLimit {
    /// The estimate in bytes for a number of weights; see the module's documentation.
    #[must_use]
    pub fn estimate(&self, parameters: u64) -> f64 {
        let state = self
            .bytes_per_parameter
            .unwrap_or_else(|| self.method.bytes_per_parameter());
        state * parameters as f64 + activation_bytes(parameters)
    }
}

/// Checkpointed activations of one step, bytes.
fn activation_bytes(parameters: u64) -> f64 {
    let width = (parameters as f64 * ASPECT / BLOCK_WEIGHTS).cbrt();
    ACTIVATION_BYTES * TOKENS_PER_STEP * width * (width / ASPECT)
}

/// All that are given hold together.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Constraints {
    /// Only these families, when not empty. A candidate of unknown family is then excluded.
    pub include_families: Vec<String>,
    /// Never these families. A candidate of unknown family passes.
    pub exclude_families: Vec<String>,
    /// Fewest weights.
    pub min_parameters: Option<u64>,
    /// Most weights.
    pub max_parameters: Option<u64>,
    /// What fine-tuning may take.
    pub memory_limit: Option<MemoryLimit>,
    /// Attributes that must equal.
    pub attributes: BTreeMap<String, String>,
}

impl Constraints {
    /// # Errors
    /// The first constraint that no candidate could ever meet or that is no number.
    pub fn validate(&self) -> Result<(), InvalidParameter> {
        if let (Some(min), Some(max)) = (self.min_parameters, self.max_parameters)
            && min > max
        {
            let description = format!("must be at least min_parameters ({min}), is {max}");
            return Err(InvalidParameter::new("max_parameters", description));
        }
        let Some(limit) = self.memory_limit else { return Ok(()) };
        if limit.bytes == 0 {
            return Err(InvalidParameter::new("memory_limit.bytes", "must be above 0"));
        }
        limit.bytes_per_parameter.map_or(Ok(()), |bytes| {
            InvalidParameter::unless_within("memory_limit.bytes_per_parameter", bytes, 1e-3, 1e6)
        })
    }

    /// Checks a candidate against every rule, in the order of the fields.
    ///
    /// # Errors
    /// The first rule that excludes it.
    pub fn check(&self, candidate: &Candidate) -> Result<(), Exclusion> {
        self.check_family(candidate)?;
        self.check_parameters(candidate)?;
        self.check_memory(candidate)?;
        for (key, wanted) in &self.attributes {
            let actual = candidate.attributes().get(key);
            if actual.as_deref() != Some(wanted) {
                let detail = match actual {
                    Some(actual) => format!("attribute {key} is {actual:?}, the constraint asks for {wanted:?}"),
                    None => format!("has no attribute {key}, the constraint asks for {wanted:?}"),
                };
                return Err(Exclusion::new(ExclusionReason::Attribute, detail));
            }
        }
        Ok(())
    }

    fn check_family(&self, candidate: &Candidate) -> Result<(), Exclusion> {
        let family = candidate.attributes().family();
        let excluded = |detail: String| Err(Exclusion::new(ExclusionReason::Family, detail));
        let among = |families: &[String]| family.is_some_and(|name| families.iter().any(|f| f == name));
        if !self.include_families.is_empty() && !among(&self.include_families) {
            let wanted = self.include_families.join(", ");
            return match family {
                Some(name) => excluded(format!("family {name:?} is not among {wanted}")),
                None => excluded(format!("family is unknown, the constraint asks for {wanted}")),
            };
        }
        if among(&self.exclude_families) {
            return excluded(format!("family {:?} is ruled out", family.unwrap_or_default()));
        }
        Ok(())
    }

    fn check_parameters(&self, candidate: &Candidate) -> Result<(), Exclusion> {
        if self.min_parameters.is_none() && self.max_parameters.is_none() {
            return Ok(());
        }
        let excluded = |detail: String| Err(Exclusion::new(ExclusionReason::Parameters, detail));
        let Some(parameters) = candidate.attributes().parameters() else {
            return excluded("the number of parameters is unknown, and a bound is set".to_owned());
        };
        match (self.min_parameters, self.max_parameters) {
            (Some(min), _) if parameters < min => excluded(format!("{parameters} parameters, fewer than {min}")),
            (_, Some(max)) if parameters > max => excluded(format!("{parameters} parameters, more than {max}")),
            _ => Ok(()),
        }
    }

    fn check_memory(&self, candidate: &Candidate) -> Result<(), Exclusion> {
        let Some(limit) = self.memory_limit else { return Ok(()) };
        let excluded = |detail: String| Err(Exclusion::new(ExclusionReason::Memory, detail));
        let Some(parameters) = candidate.attributes().parameters() else {
            return excluded("the number of parameters is unknown, memory cannot be estimated".to_owned());
        };
        let estimate = limit.estimate(parameters);
        if estimate <= limit.bytes as f64 {
            return Ok(());
        }
        excluded(format!(
            "{} tuning of {parameters} parameters takes about {} GiB, the limit is {} GiB",
            limit.method.as_str(),
            gibibytes(estimate),
            gibibytes(limit.bytes as f64)
        ))
    }
}

/// Bytes as people compare them, three significant digits or better.
pub(crate) fn gibibytes(bytes: f64) -> String {
    let value = bytes / f64::from(1_u32 << 30);
    if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::LearningCurve;
    use crate::table::Attributes;

    fn candidate(family: Option<&str>, parameters: Option<u64>) -> Candidate {
        let other = BTreeMap::from([("licence".to_owned(), "mit".to_owned())]);
        let attributes = Attributes::new(family.map(str::to_owned), parameters, other);
        Candidate::new("c".to_owned(), attributes, LearningCurve::default()).unwrap()
    }

    fn reason(constraints: &Constraints, candidate: &Candidate) -> Option<ExclusionReason> {
        constraints.check(candidate).err().map(|exclusion| exclusion.reason)
    }

    #[test]
    fn families_are_let_in_or_ruled_out_by_name() {
        let only = Constraints {
            include_families: vec!["OPT".to_owned()],
            ..Constraints::default()
        };
        let never = Constraints {
            exclude_families: vec!["OPT".to_owned()],
            ..Constraints::default()
        };
        for (family, by_only, by_never) in [
            (Some("OPT"), None, Some(ExclusionReason::Family)),
            (Some("T5"), Some(ExclusionReason::Family), None),
            (None, Some(ExclusionReason::Family), None),
        ] {
            assert_eq!(reason(&only, &candidate(family, None)), by_only);
            assert_eq!(reason(&never, &candidate(family, None)), by_never);
        }
    }

    #[test]
    fn bounds_on_parameters_exclude_the_unknown() {
        let bounds = Constraints {
            min_parameters: Some(10),
            max_parameters: Some(20),
            ..Constraints::default()
        };
        for (parameters, excluded) in [
            (Some(9), true),
            (Some(10), false),
            (Some(20), false),
            (Some(21), true),
            (None, true),
        ] {
            assert_eq!(
                reason(&bounds, &candidate(None, parameters)).is_some(),
                excluded,
                "{parameters:?}"
            );
        }
        let detail = bounds.check(&candidate(None, Some(21))).unwrap_err().detail;
        assert_eq!(detail, "21 parameters, more than 20");
        let crossed = Constraints {
            min_parameters: Some(2),
            max_parameters: Some(1),
            ..Constraints::default()
        };
        assert_eq!(crossed.validate().unwrap_err().field, "max_parameters");
    }

    #[test]
    fn memory_follows_the_stated_estimate() {
        let limit = |bytes, method| MemoryLimit {
            bytes,
            method,
            bytes_per_parameter: None,
        };
        let full = limit(24_000_000_000, TuningMethod::Full).estimate(1_315_758_080);
        assert!((21.0e9..22.5e9).contains(&full), "{full:e}");
        let lora = limit(1, TuningMethod::Lora).estimate(1_315_758_080);
        assert!((5.2e9..6.5e9).contains(&lora), "{lora:e}");
        let tight = Constraints {
            memory_limit: Some(limit(20_000_000_000, TuningMethod::Full)),
            ..Constraints::default()
        };
        assert_eq!(
            reason(&tight, &candidate(None, Some(1_315_758_080))),
            Some(ExclusionReason::Memory)
        );
        assert_eq!(reason(&tight, &candidate(None, Some(124_000_000))), None);
        assert_eq!(reason(&tight, &candidate(None, None)), Some(ExclusionReason::Memory));
    }

    #[test]
    fn attributes_must_equal() {
        let wanted = |value: &str| Constraints {
            attributes: BTreeMap::from([("licence".to_owned(), value.to_owned())]),
            ..Constraints::default()
        };
        assert_eq!(reason(&wanted("mit"), &candidate(None, None)), None);
        assert_eq!(
            reason(&wanted("gpl"), &candidate(None, None)),
            Some(ExclusionReason::Attribute)
        );
    }
}
