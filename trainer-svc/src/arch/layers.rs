//! Layers that several architectures share.
//!
//! Activations are `[rows, width]` with rows = batch · positions, so that a linear layer is one `Gemm` with its bias inside;
//! only attention needs the axes apart, `[batch, heads, positions, head width]`.

use super::config::{Fields, Heads};
use super::{ArchError, ConfigError, Forward, Linear};
use crate::graph::{Graph, GraphError, Op, ValueId};
use crate::tensor::{ElementType, Elements, HostTensor};

/// Longest sequence, prompt included: its mask alone takes a gigabyte.
const MAX_SEQUENCE: usize = 16_384;
/// What is added to the score of a key that a query must not see. The exponential of it is 0 in every float type.
const UNSEEN: f32 = -1e9;

/// Extents of what goes through the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Sequences.
    pub(super) batch: usize,
    /// Virtual tokens before every sequence.
    pub(super) prompt: usize,
    /// Tokens of a sequence.
    pub(super) sequence: usize,
}

impl Frame {
    /// The frame of these ids and this prompt, within a model's limit.
    pub(super) fn new(
        graph: &Graph,
        ids: ValueId,
        prompt: Option<ValueId>,
        limit: Option<usize>,
    ) -> Result<Self, ArchError> {
        let &[batch, sequence] = graph.shape(ids) else {
            return Err(ArchError::Unsupported("token ids must be [batch, sequence]".into()));
        };
        let prompt = match prompt.map(|prompt| graph.shape(prompt)) {
            None => 0,
            Some(&[length, _]) => length,
            Some(_) => return Err(ArchError::Unsupported("a prompt must be [length, width]".into())),
        };
        let frame = Self {
            batch,
            prompt,
            sequence,
        };
        let limit = limit.unwrap_or(MAX_SEQUENCE).min(MAX_SEQUENCE);
        let positions = prompt.saturating_add(sequence);
        if positions > limit {
            return Err(ArchError::TooManyPositions { positions, limit });
        }
        Ok(frame)
    }

    /// Positions of a sequence with its prompt.
    pub(super) fn positions(self) -> usize {
        self.prompt + self.sequence
    }

    /// Rows of an activation.
    pub(super) fn rows(self) -> usize {
        self.batch * self.positions()
    }
}

/// Token embeddings, with the prompt's before them: `[batch, positions, width]`.
pub(super) fn embed(
    graph: &mut Graph,
    frame: Frame,
    table: ValueId,
    ids: ValueId,
    prompt: Option<ValueId>,
) -> Result<ValueId, GraphError> {
    let tokens = graph.gather(table, ids, 0)?;
    let Some(prompt) = prompt else {
        return Ok(tokens);
    };
    let width = graph.shape(prompt).last().copied().unwrap_or_default();
    let shape = vec![frame.batch, frame.prompt, width];
    let prompt = graph.reshape(prompt, &[1, frame.prompt, width])?;
    let prompt = graph.one(Op::Expand { shape }, &[prompt])?;
    graph.concat(&[prompt, tokens], 1)
}

/// The rows of a learned table of positions, `[positions, width]`.
pub(super) fn learned_positions(
    graph: &mut Graph,
    frame: Frame,
    table: ValueId,
    offset: usize,
) -> Result<ValueId, GraphError> {
    let positions = (offset..offset + frame.positions()).filter_map(|position| i64::try_from(position).ok());
    let indices = graph.constant(HostTensor::indices(positions.collect()));
    graph.gather(table, indices, 0)
}

/// The tokens' rows of x `[rows, width]`, without the prompt's: `[batch · sequence, width]`.
pub(super) fn token_rows(graph: &mut Graph, frame: Frame, x: ValueId) -> Result<ValueId, GraphError> {
    if frame.prompt == 0 {
        return Ok(x);
    }
    let width = graph.shape(x).last().copied().unwrap_or_default();
    let x = graph.reshape(x, &[frame.batch, frame.positions(), width])?;
    let [_, tokens] = pieces(graph, x, 1, [frame.prompt, frame.sequence])?;
    graph.reshape(tokens, &[frame.batch * frame.sequence, width])
}

/// Logits of x `[rows, width]` by the transposed table of embeddings `[vocabulary, width]`.
pub(super) fn tied_head(graph: &mut Graph, x: ValueId, table: ValueId) -> Result<ValueId, GraphError> {
    graph.gemm(x, table, None, false, true)
}

/// What is added to scores so that a query sees no later key, nor one that is `window` or more positions back:
/// `[1, 1, positions, positions]`.
pub(super) fn causal_mask(graph: &mut Graph, positions: usize, window: Option<usize>) -> Result<ValueId, GraphError> {
    let seen = |query: usize, key: usize| key <= query && window.is_none_or(|window| query - key < window);
    let elements: Vec<f32> = (0..positions)
        .flat_map(|query| (0..positions).map(move |key| if seen(query, key) { 0.0 } else { UNSEEN }))
        .collect();
    constant(graph, vec![1, 1, positions, positions], elements)
}

/// A constant of f32.
pub(super) fn constant(graph: &mut Graph, shape: Vec<usize>, elements: Vec<f32>) -> Result<ValueId, GraphError> {
    let tensor = HostTensor::new(shape, Elements::F32(elements)).map_err(|error| GraphError::Inputs {
        op: "Constant",
        inputs: String::new(),
        message: error.to_string(),
    })?;
    Ok(graph.constant(tensor))
}

/// Queries, keys and values of one layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attention {
    /// `[batch, query heads, positions, head width]`, already multiplied by the scale of the scores.
    pub(super) queries: ValueId,
    /// `[batch, key heads, positions, head width]`
    pub(super) keys: ValueId,
    /// As the keys.
    pub(super) values: ValueId,
    /// From [`causal_mask`].
    pub(super) mask: ValueId,
}

/// softmax(Q·Kᵀ + mask)·V, with the heads side by side again: `[rows, query heads · head width]`.
///
/// Query heads that share a key head lie side by side, so that one product per key head, with the queries of its whole group
/// as rows, serves them without copies of the keys.
pub(super) fn attend(
    graph: &mut Graph,
    frame: Frame,
    heads: Heads,
    attention: Attention,
) -> Result<ValueId, GraphError> {
    let (batch, positions) = (frame.batch, frame.positions());
    let group_rows = heads.queries / heads.keys * positions;
    let queries = graph.reshape(attention.queries, &[batch, heads.keys, group_rows, heads.width])?;
    let keys = graph.transpose(attention.keys, &[0, 1, 3, 2])?;
    let scores = graph.matmul(queries, keys)?;
    let scores = graph.reshape(scores, &[batch, heads.queries, positions, positions])?;
    let scores = graph.add(scores, attention.mask)?;
    let weights = graph.one(Op::Softmax { axis: 3 }, &[scores])?;
    let weights = graph.reshape(weights, &[batch, heads.keys, group_rows, positions])?;
    let context = graph.matmul(weights, attention.values)?;
    let context = graph.reshape(context, &[batch, heads.queries, positions, heads.width])?;
    let context = graph.transpose(context, &[0, 2, 1, 3])?;
    graph.reshape(context, &[frame.rows(), heads.query_width()])
}

/// Attention without rotary positions. `projected`: queries, keys and values, as many heads of each, `[rows, width]`; queries are
/// multiplied by `scale`. The result: `[rows, width]`.
pub(super) fn attend_projected(
    graph: &mut Graph,
    frame: Frame,
    heads: Heads,
    projected: [ValueId; 3],
    scale: f64,
    mask: ValueId,
) -> Result<ValueId, GraphError> {
    let [queries, keys, values] = projected;
    let queries = graph.scale(queries, scale)?;
    let attention = Attention {
        queries: split_heads(graph, frame, queries, heads.queries, heads.width)?,
        keys: split_heads(graph, frame, keys, heads.keys, heads.width)?,
        values: split_heads(graph, frame, values, heads.keys, heads.width)?,
        mask,
    };
    attend(graph, frame, heads, attention)
}

/// The two layers behind attention, with an activation between them: `[rows, inner.inputs]` to `[rows, outer.outputs]`.
pub(super) fn feed_forward(
    forward: &mut Forward<'_>,
    inner: &Linear,
    activation: Activation,
    outer: &Linear,
    x: ValueId,
) -> Result<ValueId, GraphError> {
    let x = forward.linear(inner, x)?;
    let x = activation.apply(forward.graph, x)?;
    forward.linear(outer, x)
}

/// x cut along an axis.
pub(super) fn pieces<const N: usize>(
    graph: &mut Graph,
    x: ValueId,
    axis: usize,
    sizes: [usize; N],
) -> Result<[ValueId; N], GraphError> {
    let parts = graph.split(x, axis, &sizes)?;
    parts.try_into().map_err(|parts: Vec<ValueId>| GraphError::Inputs {
        op: "Split",
        inputs: String::new(),
        message: format!("gave {} pieces instead of {N}", parts.len()),
    })
}

/// x `[rows, heads · width]` as `[batch, heads, positions, width]`.
pub(super) fn split_heads(
    graph: &mut Graph,
    frame: Frame,
    x: ValueId,
    heads: usize,
    width: usize,
) -> Result<ValueId, GraphError> {
    let x = graph.reshape(x, &[frame.batch, frame.positions(), heads, width])?;
    graph.transpose(x, &[0, 2, 1, 3])
}

/// (x − mean) / √(variance + ε) · weight + bias along the rows of x `[rows, width]`.
pub(super) fn layer_norm(
    forward: &mut Forward<'_>,
    x: ValueId,
    module: &str,
    epsilon: f32,
    affine: bool,
) -> Result<ValueId, GraphError> {
    let width = forward.graph.shape(x).last().copied().unwrap_or_default();
    let (weight, bias) = if affine {
        let weight = forward.parameter(&format!("{module}.weight"), &[width])?;
        (weight, forward.parameter(&format!("{module}.bias"), &[width])?)
    } else {
        let ones = constant(forward.graph, vec![width], vec![1.0; width])?;
        (ones, constant(forward.graph, vec![width], vec![0.0; width])?)
    };
    forward
        .graph
        .one(Op::LayerNormalization { axis: 1, epsilon }, &[x, weight, bias])
}

/// x / √(mean(x²) + ε) · weight along the rows of x `[rows, width]` (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4).
pub(super) fn rms_norm(
    forward: &mut Forward<'_>,
    x: ValueId,
    module: &str,
    epsilon: f32,
) -> Result<ValueId, GraphError> {
    let width = forward.graph.shape(x).last().copied().unwrap_or_default();
    let weight = forward.parameter(&format!("{module}.weight"), &[width])?;
    let graph = &mut *forward.graph;
    let squares = graph.mul(x, x)?;
    let mean = graph.reduce_mean(squares, &[1], true)?;
    let epsilon = graph.scalar_like(mean, f64::from(epsilon));
    let shifted = graph.add(mean, epsilon)?;
    let root = graph.one(Op::Sqrt, &[shifted])?;
    // The reciprocal of a column is cheap; a product has a cheaper gradient than a quotient.
    let one = graph.scalar_like(root, 1.0);
    let inverse = graph.div(one, root)?;
    let normal = graph.mul(x, inverse)?;
    graph.mul(normal, weight)
}

/// An activation function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Activation {
    /// x·Φ(x)
    Gelu,
    /// ½x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
    GeluTanh,
    /// x·σ(1.702·x)
    QuickGelu,
    /// max(x, 0)
    Relu,
    /// x·σ(x)
    Silu,
    /// tanh(x)
    Tanh,
}

/// Names in configurations.
const ACTIVATIONS: [(&str, Activation); 11] = [
    ("gelu", Activation::Gelu),
    ("gelu_python", Activation::Gelu),
    ("gelu_new", Activation::GeluTanh),
    ("gelu_fast", Activation::GeluTanh),
    ("gelu_pytorch_tanh", Activation::GeluTanh),
    ("gelu_python_tanh", Activation::GeluTanh),
    ("quick_gelu", Activation::QuickGelu),
    ("relu", Activation::Relu),
    ("silu", Activation::Silu),
    ("swish", Activation::Silu),
    ("tanh", Activation::Tanh),
];

impl Activation {
    /// The one that a configuration names.
    pub(super) fn read(fields: Fields<'_>, field: &str, default: Self) -> Result<Self, ConfigError> {
        let Some(name) = fields.text(field)? else {
            return Ok(default);
        };
        let known = ACTIVATIONS.iter().find(|(known, _)| *known == name);
        known.map(|(_, activation)| *activation).ok_or_else(|| {
            let names: Vec<&str> = ACTIVATIONS.iter().map(|(name, _)| *name).collect();
            fields.unsupported(field, &name.into(), &names.join(", "))
        })
    }

    /// Adds it to a graph.
    pub(super) fn apply(self, graph: &mut Graph, x: ValueId) -> Result<ValueId, GraphError> {
        match self {
            Self::Gelu => {
                let scaled = graph.scale(x, std::f64::consts::FRAC_1_SQRT_2)?;
                let erf = graph.one(Op::Erf, &[scaled])?;
                let half = graph.scale(erf, 0.5)?;
                let offset = graph.scalar_like(x, 0.5);
                let share = graph.add(half, offset)?;
                graph.mul(x, share)
            }
            Self::GeluTanh => {
                // ½(1 + tanh u) = σ(2u): two passes over the widest activation less than with tanh.
                let c = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
                let square = graph.mul(x, x)?;
                let cubic = graph.scale(square, 0.044_715 * c)?;
                let linear = graph.scalar_like(x, c);
                let factor = graph.add(cubic, linear)?;
                let argument = graph.mul(x, factor)?;
                sigmoid_gate(graph, x, argument)
            }
            Self::QuickGelu => {
                let argument = graph.scale(x, 1.702)?;
                sigmoid_gate(graph, x, argument)
            }
            Self::Relu => graph.one(Op::Relu, &[x]),
            Self::Silu => sigmoid_gate(graph, x, x),
            Self::Tanh => graph.one(Op::Tanh, &[x]),
        }
    }
}

/// x·σ(argument)
fn sigmoid_gate(graph: &mut Graph, x: ValueId, argument: ValueId) -> Result<ValueId, GraphError> {
    let share = graph.one(Op::Sigmoid, &[argument])?;
    graph.mul(x, share)
}

/// Are ids integers? Gather would say so, too, but not as plainly.
pub(super) fn check_ids(graph: &Graph, ids: ValueId) -> Result<(), ArchError> {
    match graph.element(ids) {
        ElementType::I64 => Ok(()),
        other => Err(ArchError::Unsupported(format!("token ids must be i64, not {other:?}"))),
    }
}
