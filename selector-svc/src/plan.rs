//! From the question and what the trainers say: who takes part, on which ladder, with which limits, at what cost. Pure: whoever
//! prepares a selection asks the trainers first ([`probe_sizes`]) and brings their answers ([`Told`]).

use std::collections::BTreeMap;

use crate::curve::DataSize;
use crate::error::InvalidParameter;
use crate::ports::{RunEstimate, TrainerDescription, TrainerFault};
use crate::selection::{BudgetSpec, Failure, Limits, Prepared, SelectionSpec, State};
use crate::store::KnownForecast;

/// A trainer's answers for one contender, by size.
pub type Estimates = Vec<(DataSize, Result<RunEstimate, TrainerFault>)>;

/// What was asked before anything is spent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// By name in the configuration. Empty with external work.
    pub trainers: Vec<(String, TrainerDescription)>,
    /// By contender and trainer, at [`probe_sizes`]; none for trainers that answer no estimates.
    pub estimates: BTreeMap<(usize, String), Estimates>,
    /// Final forecasts of earlier selections for [`Digests::model_keys`] on other data; empty without a warm start.
    pub forecasts: Vec<KnownForecast>,
}

/// What the trainers say that models and data are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// Of the data, with that of held-out data where they are a file of their own; empty: not told.
    pub data: String,
    /// Of the models by contender; empty: not told.
    pub models: Vec<String>,
    /// [`model_key`] by contender; `None` where the digest is not told.
    pub model_keys: Vec<Option<String>>,
}

/// All that is wrong with a spec: path of the field below the spec, and what is wrong with it.
#[must_use]
pub fn check(_spec: &SelectionSpec) -> Vec<(String, String)> {
    Vec::new()
}

/// Sizes to ask estimates for: smallest and full. `data_examples`: what a trainer said that the data hold, where the spec does not
/// say. While the full size is unknown: 1 example.
#[must_use]
pub fn probe_sizes(spec: &SelectionSpec, data_examples: Option<u64>) -> Vec<DataSize> {
    let told = data_examples.and_then(|examples| DataSize::new(examples).ok());
    let Some(full) = spec.data_size_full.or(told).filter(|size| !size.is_zero()) else {
        return DataSize::new(1).into_iter().collect();
    };
    let ladder = ladder(spec, full);
    let mut sizes = vec![ladder.first().copied().unwrap_or(full), full];
    sizes.dedup();
    sizes
}

/// full, full/2, full/4, … down to the smallest size of the spec; ascending.
fn ladder(spec: &SelectionSpec, full: DataSize) -> Vec<DataSize> {
    let least = spec
        .data_size_min
        .map_or_else(|| (full.examples() / 4_096).max(32), DataSize::examples);
    let floor = DataSize::new(least).unwrap_or(full).min(full);
    crate::schedule::dyadic_ladder(full, floor)
}

/// What equal models, tuned alike, have in common across selections; `None` without a digest.
#[must_use]
pub fn model_key(spec: &SelectionSpec, contender: usize, model_digest: &str) -> Option<String> {
    use sha2::{Digest, Sha256};
    let (_, method) = spec.contender(contender).filter(|_| !model_digest.is_empty())?;
    let parts = (model_digest, &method.method, &method.hyperparameters);
    let text = serde_json::to_string(&parts).ok()?;
    let digest = Sha256::digest(text.as_bytes());
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Digests of models and data, as told: what earlier losses and forecasts are looked up by.
#[must_use]
pub fn digests(_spec: &SelectionSpec, _told: &Told) -> Digests {
    Digests::default()
}

/// Plans a selection.
///
/// # Errors
/// Why it cannot begin, with a sentence for people that says what is needed.
pub fn prepare(_spec: &SelectionSpec, _told: &Told) -> Result<Prepared, (Failure, String)> {
    Err((Failure::Internal, "not planned".to_owned()))
}

/// The limits of an amended budget, and the examples that the policy plans with from then on (0 while the selection is being
/// prepared: preparation plans then).
///
/// # Errors
/// The field of the budget that is wrong.
pub fn amend(state: &State, _budget: &BudgetSpec) -> Result<(Limits, u64), InvalidParameter> {
    Ok((state.limits.clone(), 0))
}
