//! The norm of all gradients, and the factor that bounds it (Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063).

use crate::graph::{Graph, GraphError, Op, ValueId};

/// √Σg² over all gradients, a scalar.
///
/// Each tensor is summed in two stages, along its last axis first: in one stage ONNX Runtime's CPU kernel adds element after element
/// in f32, which is off by 10⁻⁴ for 3 million elements, and slower.
pub(super) fn global_norm(graph: &mut Graph, gradients: &[ValueId]) -> Result<ValueId, GraphError> {
    let mut total: Option<ValueId> = None;
    for &gradient in gradients {
        let square = graph.mul(gradient, gradient)?;
        let sum = sum_all(graph, square)?;
        total = Some(match total {
            Some(total) => graph.add(total, sum)?,
            None => sum,
        });
    }
    let total = total.ok_or_else(|| GraphError::Inputs {
        op: "AdamW",
        inputs: String::new(),
        message: "there is nothing to update".into(),
    })?;
    graph.one(Op::Sqrt, &[total])
}

fn sum_all(graph: &mut Graph, x: ValueId) -> Result<ValueId, GraphError> {
    let rank = graph.shape(x).len();
    let Some(last) = rank.checked_sub(1) else {
        return Ok(x);
    };
    let rows = graph.reduce_sum(x, &[last], false)?;
    if last == 0 {
        return Ok(rows);
    }
    let axes: Vec<usize> = (0..last).collect();
    graph.reduce_sum(rows, &axes, false)
}

/// min(1, c / (norm + 10⁻⁶)) for the input c, [`super::CLIP_NORM`]. Not a number if the norm is none.
pub(super) fn coefficient(graph: &mut Graph, norm: ValueId) -> Result<ValueId, GraphError> {
    let threshold = graph.input(super::CLIP_NORM, graph.element(norm), [])?;
    let tiny = graph.scalar_like(norm, 1e-6);
    let one = graph.scalar_like(norm, 1.0);
    let divisor = graph.add(norm, tiny)?;
    let quotient = graph.div(threshold, divisor)?;
    let above = graph.one(Op::Greater, &[quotient, one])?;
    graph.choose(above, one, quotient)
}
