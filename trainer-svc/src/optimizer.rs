//! The update of a training step, as a part of its graph: global-norm clipping, `AdamW`, and sums of gradients over several batches.
//!
//! What changes from step to step (learning rate, bias corrections, clipping threshold) are scalar inputs, so that one compiled graph
//! serves a whole run. Each parameter's update reads the norm of all gradients and so comes after everything that reads a parameter:
//! outputs may be written over inputs.

mod adamw;
mod clip;
#[cfg(test)]
mod tests;

use self::adamw::{Factors, State};
use crate::graph::{Graph, GraphError, ValueId};

/// Constants of `AdamW` (Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, arXiv:1711.05101, algorithm 2).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// β₁: decay of the mean of gradients, in [0, 1).
    pub beta1: f64,
    /// β₂: decay of the mean of squared gradients, in [0, 1).
    pub beta2: f64,
    /// ε: added to the root of the bias-corrected second moment, > 0.
    pub epsilon: f64,
}

impl Default for AdamW {
    /// As `torch.optim.AdamW` has them.
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
        }
    }
}

/// A parameter to be updated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name, in the names of its state and of the outputs.
    pub name: String,
    /// Its value before the step.
    pub parameter: ValueId,
    /// Its gradient, of the same shape.
    pub gradient: ValueId,
    /// Does weight decay apply to it?
    pub decays: bool,
}

/// What [`update`] adds for a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// Output `next/<name>`.
    pub parameter: ValueId,
    /// Output `next/m/<name>`.
    pub mean: ValueId,
    /// Output `next/v/<name>`.
    pub square: ValueId,
}

/// What [`update`] adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// Output `gradient_norm`: √Σg² over all gradients, before clipping.
    pub gradient_norm: ValueId,
    /// In the order of the slots.
    pub next: Vec<Next>,
}

/// Scalar inputs that [`update`] adds; [`CLIP_NORM`] only if it clips.
pub const LEARNING_RATE: &str = "optimizer/learning_rate";
/// λ: parameters that decay are multiplied by 1 − learning rate · λ.
pub const WEIGHT_DECAY: &str = "optimizer/weight_decay";
/// 1 − β₁ᵗ in step t, counted from 1.
pub const BIAS_CORRECTION_1: &str = "optimizer/bias_correction_1";
/// 1 − β₂ᵗ in step t, counted from 1.
pub const BIAS_CORRECTION_2: &str = "optimizer/bias_correction_2";
/// The norm of all gradients is brought down to this, if it is greater.
pub const CLIP_NORM: &str = "optimizer/clip_norm";
/// Output: the norm of all gradients before clipping.
pub const GRADIENT_NORM: &str = "gradient_norm";

/// Adds one step of `AdamW`, as `torch.optim.AdamW` computes it, to all slots; with `clip`, after scaling all gradients by
/// min(1, c / (norm + 10⁻⁶)), as `torch.nn.utils.clip_grad_norm_` does.
///
/// Inputs: the scalars above (shape `[]`), and `m/<name>` and `v/<name>` (the moments, zeros before the first step) of each parameter's
/// shape. Outputs: `next/<name>`, `next/m/<name>`, `next/v/<name>`, `gradient_norm`.
///
/// # Errors
/// A name is taken, a gradient is not of its parameter's shape, or there are no slots.
pub fn update(graph: &mut Graph, slots: &[Slot], settings: &AdamW, clip: bool) -> Result<Updated, GraphError> {
    for slot in slots {
        check(graph, slot)?;
    }
    let gradients: Vec<ValueId> = slots.iter().map(|slot| slot.gradient).collect();
    let norm = clip::global_norm(graph, &gradients)?;
    let coefficient = if clip {
        Some(clip::coefficient(graph, norm)?)
    } else {
        None
    };
    let factors = Factors::new(graph, settings, norm, coefficient)?;
    let mut next = Vec::new();
    for slot in slots {
        let state = State::inputs(graph, slot)?;
        let updated = factors.apply(graph, slot, state)?;
        output(graph, updated.parameter, format!("next/{}", slot.name))?;
        output(graph, updated.mean, format!("next/m/{}", slot.name))?;
        output(graph, updated.square, format!("next/v/{}", slot.name))?;
        next.push(updated);
    }
    output(graph, norm, GRADIENT_NORM.into())?;
    Ok(Updated {
        gradient_norm: norm,
        next,
    })
}

/// Adds gradients to sums over several batches: inputs `sum/<name>`, outputs `next/sum/<name>`, which are returned. An [`update`] in
/// another graph takes such sums as its gradients, by inputs of its own.
///
/// # Errors
/// A name is taken.
pub fn accumulate(graph: &mut Graph, gradients: &[(String, ValueId)]) -> Result<Vec<ValueId>, GraphError> {
    gradients
        .iter()
        .map(|(name, gradient)| {
            let (element, shape) = (graph.element(*gradient), graph.shape(*gradient).to_vec());
            let sum = graph.input(format!("sum/{name}"), element, shape)?;
            let next = graph.add(sum, *gradient)?;
            output(graph, next, format!("next/sum/{name}"))?;
            Ok(next)
        })
        .collect()
}

fn check(graph: &Graph, slot: &Slot) -> Result<(), GraphError> {
    let (parameter, gradient) = (graph.value(slot.parameter), graph.value(slot.gradient));
    if parameter.shape == gradient.shape && parameter.element == gradient.element && parameter.element.is_float() {
        return Ok(());
    }
    Err(GraphError::Inputs {
        op: "AdamW",
        inputs: format!(
            "{} {:?} {:?}, gradient {:?} {:?}",
            slot.name, parameter.element, parameter.shape, gradient.element, gradient.shape
        ),
        message: "a parameter and its gradient must be floats of one type and shape".into(),
    })
}

fn output(graph: &mut Graph, value: ValueId, name: String) -> Result<(), GraphError> {
    graph.rename(value, name)?;
    graph.output(value);
    Ok(())
}
