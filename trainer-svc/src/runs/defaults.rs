//! What this trainer fills in where a spec says nothing. The sequence length follows from the model, when it is read.

use trainer_kit::spec::{ExampleOrder, Method, Spec};

/// The spec with defaults filled in, and this precision where none is asked for.
#[must_use]
pub fn with_defaults(spec: &Spec, precision: &str) -> Spec {
    let mut spec = spec.clone();
    let learning_rate = match &mut spec.method {
        Method::Full => 5e-5,
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
    chosen.batch_size.get_or_insert(8);
    chosen.gradient_accumulation.get_or_insert(1);
    chosen.learning_rate.get_or_insert(learning_rate);
    chosen.warmup_ratio.get_or_insert(0.0);
    chosen.weight_decay.get_or_insert(0.0);
    chosen.order.get_or_insert(ExampleOrder::Seeded);
    if chosen.schedule.is_empty() {
        "linear".clone_into(&mut chosen.schedule);
    }
    if chosen.precision.is_empty() {
        precision.clone_into(&mut chosen.precision);
    }
    spec
}
