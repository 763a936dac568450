//! One step of `AdamW` (arXiv:1711.05101, algorithm 2) in the form of `torch.optim.AdamW`: for gradients g, already clipped,
//!
//! m ← β₁·m + (1 − β₁)·g, v ← β₂·v + (1 − β₂)·g²,
//! θ ← (1 − η·λ)·θ − η · (m / c₁) / (√(v / c₂) + ε), with cᵢ = 1 − βᵢᵗ.
//!
//! Scalars are multiplied with scalars first, so that as few passes as possible go over the parameters: the last term is
//! η·√c₂/c₁ · m / (√v + ε·√c₂), and the clipping factor goes into (1 − β₁) and √(1 − β₂).

use super::{AdamW, BIAS_CORRECTION_1, BIAS_CORRECTION_2, LEARNING_RATE, Next, Slot, WEIGHT_DECAY};
use crate::graph::{Graph, GraphError, Op, ValueId};

/// Moments before the step.
#[derive(Debug, Clone, Copy)]
pub(super) struct State {
    mean: ValueId,
    square: ValueId,
}

impl State {
    /// The inputs `m/<name>` and `v/<name>`.
    pub(super) fn inputs(graph: &mut Graph, slot: &Slot) -> Result<Self, GraphError> {
        let (element, shape) = (graph.element(slot.parameter), graph.shape(slot.parameter).to_vec());
        Ok(Self {
            mean: graph.input(format!("m/{}", slot.name), element, shape.clone())?,
            square: graph.input(format!("v/{}", slot.name), element, shape)?,
        })
    }
}

/// Scalars of a step, the same for all parameters.
#[derive(Debug)]
pub(super) struct Factors {
    /// β₁
    keep_mean: ValueId,
    /// β₂
    keep_square: ValueId,
    /// (1 − β₁)·clip
    add_mean: ValueId,
    /// √(1 − β₂)·clip
    add_root: ValueId,
    /// ε·√c₂
    epsilon: ValueId,
    /// η·√c₂/c₁
    rate: ValueId,
    /// 1 − η·λ
    decay: ValueId,
}

impl Factors {
    /// Adds the scalar inputs and what follows from them. The learning rate waits for the norm, whether it is used or not.
    pub(super) fn new(
        graph: &mut Graph,
        settings: &AdamW,
        norm: ValueId,
        coefficient: Option<ValueId>,
    ) -> Result<Self, GraphError> {
        let element = graph.element(norm);
        let learning_rate = graph.input(LEARNING_RATE, element, [])?;
        let weight_decay = graph.input(WEIGHT_DECAY, element, [])?;
        let correction_1 = graph.input(BIAS_CORRECTION_1, element, [])?;
        let correction_2 = graph.input(BIAS_CORRECTION_2, element, [])?;

        let learning_rate = after(graph, learning_rate, norm)?;
        let root = graph.one(Op::Sqrt, &[correction_2])?;
        let rate = graph.mul(learning_rate, root)?;
        let rate = graph.div(rate, correction_1)?;
        let shrink = graph.mul(learning_rate, weight_decay)?;
        let one = graph.scalar_like(norm, 1.0);
        let mut add = |share: f64| match coefficient {
            Some(coefficient) => graph.scale(coefficient, share),
            None => Ok(graph.scalar_like(norm, share)),
        };
        let add_mean = add(1.0 - settings.beta1)?;
        let add_root = add((1.0 - settings.beta2).sqrt())?;
        Ok(Self {
            keep_mean: graph.scalar_like(norm, settings.beta1),
            keep_square: graph.scalar_like(norm, settings.beta2),
            add_mean,
            add_root,
            epsilon: graph.scale(root, settings.epsilon)?,
            rate,
            decay: graph.sub(one, shrink)?,
        })
    }

    /// The step of one parameter.
    pub(super) fn apply(&self, graph: &mut Graph, slot: &Slot, state: State) -> Result<Next, GraphError> {
        let kept = graph.mul(state.mean, self.keep_mean)?;
        let added = graph.mul(slot.gradient, self.add_mean)?;
        let mean = graph.add(kept, added)?;

        let kept = graph.mul(state.square, self.keep_square)?;
        let root = graph.mul(slot.gradient, self.add_root)?;
        let added = graph.mul(root, root)?;
        let square = graph.add(kept, added)?;

        let root = graph.one(Op::Sqrt, &[square])?;
        let divisor = graph.add(root, self.epsilon)?;
        let direction = graph.div(mean, divisor)?;
        let change = graph.mul(direction, self.rate)?;
        let kept = if slot.decays {
            graph.mul(slot.parameter, self.decay)?
        } else {
            slot.parameter
        };
        let parameter = graph.sub(kept, change)?;
        Ok(Next {
            parameter,
            mean,
            square,
        })
    }
}

/// The scalar x, not before `norm` is known: whatever `norm` is compared to, the answer is x.
fn after(graph: &mut Graph, x: ValueId, norm: ValueId) -> Result<ValueId, GraphError> {
    let zero = graph.scalar_like(norm, 0.0);
    let above = graph.one(Op::Greater, &[norm, zero])?;
    graph.choose(above, x, x)
}
