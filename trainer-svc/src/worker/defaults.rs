//! What this trainer fills in where a spec says nothing.

use trainer_kit::spec::{ExampleOrder, Method, Spec};

/// Sequences a step.
const BATCH_SIZE: i32 = 8;
/// Passes over the subset.
const EPOCHS: i32 = 1;
/// Bound of the gradient's norm.
const CLIP_NORM: f64 = 1.0;

/// The spec with defaults filled in; the sequence length depends on the model and is told when it is known.
pub(super) fn fill(spec: &Spec) -> Spec {
    let mut spec = spec.clone();
    let learning_rate = match &mut spec.method {
        Method::Full => 5e-5,
        Method::Lora { rank, alpha, dropout, .. } => {
            alpha.get_or_insert(f64::from(*rank));
            dropout.get_or_insert(0.0);
            1e-3
        }
        Method::Prompt { .. } => 3e-2,
    };
    let chosen = &mut spec.hyperparameters;
    if chosen.steps.is_none() {
        chosen.epochs.get_or_insert(EPOCHS);
    }
    chosen.batch_size.get_or_insert(BATCH_SIZE);
    chosen.learning_rate.get_or_insert(learning_rate);
    chosen.warmup_ratio.get_or_insert(0.0);
    chosen.weight_decay.get_or_insert(0.0);
    chosen.clip_norm.get_or_insert(CLIP_NORM);
    chosen.gradient_accumulation.get_or_insert(1);
    chosen.order.get_or_insert(ExampleOrder::Seeded);
    if chosen.schedule.is_empty() {
        "linear".clone_into(&mut chosen.schedule);
    }
    if chosen.precision.is_empty() {
        "fp32".clone_into(&mut chosen.precision);
    }
    spec
}
