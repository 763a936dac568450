//! The loss of a language model, and its cotangent, written down rather than derived: the logits are the largest tensor there is.

use crate::graph::{Graph, GraphError, Op, ValueId};

/// Values that [`cross_entropy`] adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrossEntropy {
    /// Σ weight · nll, a scalar, in nats.
    pub loss: ValueId,
    /// `[N]`: negative log-likelihood of each target, in nats, unweighted.
    pub nll: ValueId,
    /// `[N, V]`: ∂ loss / ∂ logits = weight · (softmax − onehot). Where nothing reads it, an exported graph does not compute it.
    pub logits_cotangent: ValueId,
}

/// Weighted cross entropy. logits: `[N, V]`; targets: i64 `[N]`, each in 0..V; weights: `[N]`, of the logits' type, 0 where a position
/// does not count (its target must still be valid).
///
/// With p = softmax(z) and m = max z, the largest probability is exp(0) / Σ exp(z − m), so ln Σ exp(z) = m − ln(max p): stable, and two
/// readings of `[N, V]` instead of a difference, an exponential and a sum written out.
///
/// # Errors
/// The shapes or types do not fit together.
pub fn cross_entropy(
    graph: &mut Graph,
    logits: ValueId,
    targets: ValueId,
    weights: ValueId,
) -> Result<CrossEntropy, GraphError> {
    let &[rows, _] = graph.shape(logits) else {
        return Err(refused(graph, logits, "the logits must be a matrix"));
    };
    for vector in [targets, weights] {
        if graph.shape(vector) != [rows] {
            return Err(refused(
                graph,
                vector,
                "targets and weights must be vectors of the logits' rows",
            ));
        }
    }
    let column = [rows, 1];
    let (targets, weight_column) = (graph.reshape(targets, &column)?, graph.reshape(weights, &column)?);
    let probabilities = graph.one(Op::Softmax { axis: 1 }, &[logits])?;
    let largest_logit = graph.reduce_max(logits, &[1], true)?;
    let largest = graph.reduce_max(probabilities, &[1], true)?;
    let log_largest = graph.one(Op::Log, &[largest])?;
    let target_logit = graph.one(Op::GatherElements { axis: 1 }, &[logits, targets])?;
    let above = graph.sub(largest_logit, target_logit)?;
    let nll_column = graph.sub(above, log_largest)?;
    let nll = graph.reshape(nll_column, &[rows])?;
    let weighted = graph.mul(nll, weights)?;
    let loss = graph.reduce_sum(weighted, &[0], false)?;

    let scaled = graph.mul(probabilities, weight_column)?;
    let negative = graph.scale(weight_column, -1.0)?;
    let logits_cotangent = graph.scatter_add(scaled, targets, negative, 1)?;
    Ok(CrossEntropy {
        loss,
        nll,
        logits_cotangent,
    })
}

fn refused(graph: &Graph, value: ValueId, message: &str) -> GraphError {
    let value = graph.value(value);
    GraphError::Inputs {
        op: "cross entropy",
        inputs: format!("{} {:?} {:?}", value.name, value.element, value.shape),
        message: message.into(),
    }
}
