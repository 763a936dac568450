//! What the trainer claims, and which of its claims a spec needs.

use std::time::Duration;

use crate::settings::Settings;
use crate::spec::{MethodKind, Reference, Spec};

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
    /// At least one; the first is the default.
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
    /// The longest time between two events of a watch, real time.
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

impl Capabilities {
    /// The precision of runs that ask for none.
    #[must_use]
    pub fn default_precision(&self) -> &str {
        self.precisions.first().map_or("fp32", String::as_str)
    }
}

/// The claims that a spec needs and that are not made; none if the trainer can do it.
#[must_use]
pub fn missing(spec: &Spec, settings: &Settings) -> Vec<Missing> {
    let claims = &settings.capabilities;
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
    if !spec.device.is_empty() && !settings.devices.iter().any(|device| device.name == spec.device) {
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
    .chain(sets.map(|(index, set)| (format!("spec.retention_sets[{index}].data"), &set.data)))
}

/// The scheme of a URL; `None` for local paths and `file:`.
fn scheme(reference: &Reference) -> Option<&str> {
    let (scheme, _) = reference.uri.split_once("://")?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    (is_scheme && scheme != "file").then_some(scheme)
}
