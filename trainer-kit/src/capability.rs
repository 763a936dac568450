//! What a trainer says of itself: who it is, what it claims, and which of its claims a spec needs.

use std::time::Duration;

use crate::cost::PriceTable;
use crate::refusal::Refusal;
use crate::spec::{MethodKind, Reference, Spec, check_spec};

/// Something that runs take a slot of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Unique within the trainer, not empty.
    pub name: String,
    /// For people.
    pub description: String,
    /// Bytes, > 0; absent where it is not known.
    pub memory_bytes: Option<i64>,
    /// Runs at the same time, ≥ 1.
    pub slots: u32,
}

/// Who the trainer is and how it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Reverse-DNS name, 1 to 256 bytes.
    pub name: String,
    /// Not empty.
    pub version: String,
    /// The same as long as its runs are kept, 1 to 256 bytes.
    pub instance_id: String,
    /// At least one.
    pub devices: Vec<Device>,
    /// Why new runs are not accepted, `UPPER_SNAKE_CASE`; absent when they are.
    pub unready: Option<&'static str>,
    /// Runs that wait.
    pub queued: usize,
    /// Runs that hold a slot.
    pub active: usize,
    /// Runs that may wait.
    pub queue_limit: usize,
}

/// What a run would take.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// Why it cannot be done, `UPPER_SNAKE_CASE`, with a sentence; absent when it can.
    pub infeasible: Option<(&'static str, String)>,
    /// Bytes of device memory, > 0; absent where it is not known.
    pub memory_bytes: Option<i64>,
    /// Device-seconds; absent where they are not known.
    pub device_seconds: Option<SecondsRange>,
    /// What it would be made from.
    pub inputs: Inputs,
}

/// What a run would be made from, as far as it is known beforehand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Digest of the model; empty where it is not computed.
    pub model_digest: String,
    /// Digest of the data; empty where it is not computed.
    pub data_digest: String,
    /// Number of the model's weights, > 0.
    pub parameters: Option<i64>,
    /// Examples that can be trained on, those held out not counted, > 0.
    pub data_examples: Option<i64>,
}

/// A range of durations, seconds: 0 ≤ lower ≤ expected ≤ upper, all finite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SecondsRange {
    /// Lower end.
    pub lower: f64,
    /// What prices are quoted for.
    pub expected: f64,
    /// Upper end.
    pub upper: f64,
}

/// What is claimed; absence means: cannot.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the contract's list of independent claims")]
pub struct Capabilities {
    /// At least one.
    pub methods: Vec<MethodKind>,
    /// Formats of checkpoints.
    pub model_formats: Vec<String>,
    /// Schemes of references beyond local paths.
    pub uri_schemes: Vec<String>,
    /// The first is the default; empty: no precision can be asked for.
    pub precisions: Vec<String>,
    /// Runs can be paused.
    pub pause: bool,
    /// Runs outlive a restart of the trainer.
    pub checkpoint_resume: bool,
    /// One run may report several sizes.
    pub nested_subsets: bool,
    /// The same spec and seed give the same losses.
    pub deterministic_seeds: bool,
    /// Estimates are given.
    pub estimate: bool,
    /// Retention sets are evaluated.
    pub retention_sets: bool,
    /// Prices; absent: no money is reported.
    pub prices: Option<PriceTable>,
    /// The longest time between two messages of a watch.
    pub heartbeat_interval: Duration,
    /// The largest size; absent: no bound.
    pub data_size_max: Option<i64>,
}

/// A claim that a request needs and that is not made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The claim, as the contract names it, e.g. `nested_subsets`.
    pub capability: &'static str,
    /// Path of the field that needs it; for calls, the call's name.
    pub field: String,
    /// One sentence.
    pub description: String,
}

impl Missing {
    /// A missing claim.
    #[must_use]
    pub fn new(capability: &'static str, field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            capability,
            field: field.into(),
            description: description.into(),
        }
    }
}

/// Refuses what is not claimed.
///
/// # Errors
/// [`Refusal::Missing`] when it is not.
pub fn claim(capability: &'static str, claimed: bool) -> Result<(), Refusal> {
    if claimed {
        return Ok(());
    }
    let description = format!("the trainer does not claim {capability}");
    Err(Refusal::Missing(vec![Missing::new(
        capability,
        capability,
        description,
    )]))
}

/// The claims that a spec needs and that are not made; none if the trainer can do it.
#[must_use]
pub fn missing(spec: &Spec, claims: &Capabilities, has_device: impl Fn(&str) -> bool) -> Vec<Missing> {
    let mut found = Vec::new();
    let mut need = |capability, field: &str, description: String| {
        found.push(Missing::new(capability, field, description));
    };
    let kind = spec.method.kind();
    if !claims.methods.contains(&kind) {
        let description = format!("the trainer does not tune by {}", kind.name());
        need("methods", "spec.method", description);
    }
    if spec.data_sizes.len() > 1 && !claims.nested_subsets {
        need(
            "nested_subsets",
            "spec.data_sizes",
            "the trainer reports one size per run".to_owned(),
        );
    }
    if let Some(max) = claims.data_size_max {
        for (index, size) in spec.data_sizes.iter().enumerate().filter(|(_, size)| **size > max) {
            let field = format!("spec.data_sizes[{index}]");
            need(
                "data_size_max",
                &field,
                format!("{size} is above the largest size, {max}"),
            );
        }
    }
    if !spec.retention_sets.is_empty() && !claims.retention_sets {
        need(
            "retention_sets",
            "spec.retention_sets",
            "the trainer evaluates no retention sets".to_owned(),
        );
    }
    let precision = &spec.hyperparameters.precision;
    if !precision.is_empty() && !claims.precisions.contains(precision) {
        let description = format!("the trainer has no precision {precision:?}");
        need("precisions", "spec.hyperparameters.precision", description);
    }
    if !spec.device.is_empty() && !has_device(&spec.device) {
        let description = format!("the trainer has no device {:?}", spec.device);
        need("devices", "spec.device", description);
    }
    for (path, reference) in references(spec) {
        if let Some(scheme) = scheme(reference)
            && !claims.uri_schemes.iter().any(|known| known == scheme)
        {
            let description = format!("the trainer cannot read {scheme}: references");
            need("uri_schemes", &format!("{path}.uri"), description);
        }
    }
    found
}

fn references(spec: &Spec) -> impl Iterator<Item = (String, &Reference)> {
    let sets = spec.retention_sets.iter().enumerate();
    [
        ("spec.model".to_owned(), &spec.model),
        ("spec.data".to_owned(), &spec.data),
    ]
    .into_iter()
    .chain(
        spec.held_out
            .iter()
            .map(|held_out| ("spec.held_out".to_owned(), held_out)),
    )
    .chain(
        spec.initial_adapter
            .iter()
            .map(|adapter| ("spec.initial_adapter".to_owned(), adapter)),
    )
    .chain(sets.map(|(index, set)| (format!("spec.retention_sets[{index}].data"), &set.data)))
}

/// The scheme of a URL; `None` for local paths and `file:`.
#[must_use]
pub fn scheme(reference: &Reference) -> Option<&str> {
    let (scheme, _) = reference.uri.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    (is_scheme && scheme != "file").then_some(scheme)
}

/// What every trainer checks of a spec that is to be estimated: its fields, the claim, what it needs.
///
/// # Errors
/// [`Refusal`], in the order of the contract.
pub fn check_estimate(spec: &Spec, claims: &Capabilities, has_device: impl Fn(&str) -> bool) -> Result<(), Refusal> {
    let violations = check_spec(spec);
    if !violations.is_empty() {
        return Err(Refusal::Invalid(violations));
    }
    claim("estimate", claims.estimate)?;
    let missing = missing(spec, claims, has_device);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Refusal::Missing(missing))
    }
}
