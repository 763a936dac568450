//! What the simulated trainer fills in where a spec says nothing.

use crate::capability::Capabilities;
use crate::spec::{ExampleOrder, Method, Spec};

/// Sequences a step where the spec does not say.
pub const DEFAULT_BATCH_SIZE: i32 = 8;
/// Tokens a sequence where the spec does not say.
pub const DEFAULT_SEQUENCE_LENGTH: i32 = 512;

/// The precision of runs that ask for none.
#[must_use]
pub fn default_precision(claims: &Capabilities) -> &str {
    claims.precisions.first().map_or("fp32", String::as_str)
}

/// The spec with this trainer's defaults filled in.
#[must_use]
pub fn with_defaults(spec: &Spec, precision: &str) -> Spec {
    let mut spec = spec.clone();
    let learning_rate = match &mut spec.method {
        Method::Full => 2e-5,
        Method::Lora {
            rank, alpha, dropout, ..
        } => {
            alpha.get_or_insert(f64::from(*rank));
            dropout.get_or_insert(0.0);
            2e-4
        }
        Method::Prompt { .. } => 3e-2,
    };
    let chosen = &mut spec.hyperparameters;
    if chosen.steps.is_none() {
        chosen.epochs.get_or_insert(1);
    }
    chosen.batch_size.get_or_insert(DEFAULT_BATCH_SIZE);
    chosen.sequence_length.get_or_insert(DEFAULT_SEQUENCE_LENGTH);
    chosen.learning_rate.get_or_insert(learning_rate);
    chosen.warmup_ratio.get_or_insert(0.0);
    chosen.weight_decay.get_or_insert(0.0);
    chosen.gradient_accumulation.get_or_insert(1);
    chosen.order.get_or_insert(ExampleOrder::Seeded);
    if chosen.schedule.is_empty() {
        "linear".clone_into(&mut chosen.schedule);
    }
    if chosen.precision.is_empty() {
        precision.clone_into(&mut chosen.precision);
    }
    spec
}
