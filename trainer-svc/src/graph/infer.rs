//! Types of a node's outputs from those of its inputs, as the ONNX operator specification (opset 21) has them.

use super::{Graph, GraphError, Op, ValueId};
use crate::tensor::{ElementType, element_count};

type Type = (ElementType, Vec<usize>);

/// Element types and shapes of the outputs.
pub(super) fn outputs(op: &Op, graph: &Graph, inputs: &[ValueId]) -> Result<Vec<Type>, GraphError> {
    let types: Vec<(ElementType, &[usize])> = inputs.iter().map(|&id| (graph.element(id), graph.shape(id))).collect();
    infer(op, &types).map_err(|message| GraphError::Inputs {
        op: op.name(),
        inputs: describe(graph, inputs),
        message,
    })
}

fn describe(graph: &Graph, inputs: &[ValueId]) -> String {
    let described: Vec<String> = inputs
        .iter()
        .map(|&id| {
            let value = graph.value(id);
            format!("{} {:?} {:?}", value.name, value.element, value.shape)
        })
        .collect();
    described.join(", ")
}

/// The shape that both broadcast to (numpy's rule).
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let extent = |shape: &[usize], axis: usize| (axis + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    (0..rank)
        .map(|axis| match (extent(a, axis), extent(b, axis)) {
            (x, y) if x == y => Some(x),
            (1, x) | (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

fn infer(op: &Op, inputs: &[(ElementType, &[usize])]) -> Result<Vec<Type>, String> {
    match op {
        Op::Add | Op::Sub | Op::Mul | Op::Div => {
            let [a, b] = take(inputs)?;
            same_element(a.0, b.0)?;
            Ok(vec![(a.0, broadcast_all(&[a.1, b.1])?)])
        }
        Op::Equal | Op::Greater => {
            let [a, b] = take(inputs)?;
            same_element(a.0, b.0)?;
            Ok(vec![(ElementType::Bool, broadcast_all(&[a.1, b.1])?)])
        }
        Op::Where => {
            let [condition, a, b] = take(inputs)?;
            if condition.0 != ElementType::Bool {
                return Err("the condition must be boolean".into());
            }
            same_element(a.0, b.0)?;
            Ok(vec![(a.0, broadcast_all(&[condition.1, a.1, b.1])?)])
        }
        Op::Sqrt | Op::Exp | Op::Log | Op::Tanh | Op::Erf | Op::Sigmoid | Op::Relu | Op::Cos | Op::Sin => {
            let [x] = take(inputs)?;
            floating(x.0)?;
            Ok(vec![(x.0, x.1.to_vec())])
        }
        Op::Cast { to } => {
            let [x] = take(inputs)?;
            Ok(vec![(*to, x.1.to_vec())])
        }
        Op::Softmax { axis } => {
            let [x] = take(inputs)?;
            floating(x.0)?;
            in_rank(*axis, x.1)?;
            Ok(vec![(x.0, x.1.to_vec())])
        }
        Op::LayerNormalization { axis, .. } => layer_normalization(*axis, inputs),
        Op::Gemm {
            transpose_a,
            transpose_b,
            ..
        } => gemm(*transpose_a, *transpose_b, inputs),
        Op::MatMul => matmul(inputs),
        Op::ReduceSum { axes, keep_dims }
        | Op::ReduceMean { axes, keep_dims }
        | Op::ReduceMax { axes, keep_dims }
        | Op::ReduceL2 { axes, keep_dims } => {
            let [x] = take(inputs)?;
            Ok(vec![(x.0, reduce(x.1, axes, *keep_dims)?)])
        }
        _ => infer_structural(op, inputs),
    }
}

/// Operators that move elements without computing with them.
fn infer_structural(op: &Op, inputs: &[(ElementType, &[usize])]) -> Result<Vec<Type>, String> {
    match op {
        Op::Transpose { permutation } => {
            let [x] = take(inputs)?;
            let mut axes = permutation.clone();
            axes.sort_unstable();
            if !axes.into_iter().eq(0..x.1.len()) {
                return Err(format!("{permutation:?} is no permutation of the axes"));
            }
            Ok(vec![(x.0, permutation.iter().map(|&axis| x.1[axis]).collect())])
        }
        Op::Reshape { shape } => {
            let [x] = take(inputs)?;
            if element_count(shape).is_none() || element_count(shape) != element_count(x.1) {
                return Err(format!("cannot take the shape {shape:?}"));
            }
            Ok(vec![(x.0, shape.clone())])
        }
        Op::Expand { shape } => {
            let [x] = take(inputs)?;
            if broadcast(x.1, shape).as_ref() != Some(shape) {
                return Err(format!("does not broadcast to {shape:?}"));
            }
            Ok(vec![(x.0, shape.clone())])
        }
        Op::Split { axis, sizes } => {
            let [x] = take(inputs)?;
            in_rank(*axis, x.1)?;
            let total = sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size));
            if total != Some(x.1[*axis]) {
                return Err(format!("pieces of {sizes:?} do not add up to the axis {axis}"));
            }
            let piece = |&size: &usize| (x.0, with_extent(x.1, *axis, size));
            Ok(sizes.iter().map(piece).collect())
        }
        Op::Concat { axis } => concat(*axis, inputs),
        Op::Gather { axis } => {
            let [data, indices] = take(inputs)?;
            in_rank(*axis, data.1)?;
            integer(indices.0)?;
            let mut shape = data.1[..*axis].to_vec();
            shape.extend_from_slice(indices.1);
            shape.extend_from_slice(&data.1[axis + 1..]);
            Ok(vec![(data.0, shape)])
        }
        Op::GatherElements { axis } => {
            let [data, indices] = take(inputs)?;
            integer(indices.0)?;
            inside(*axis, data.1, indices.1)?;
            Ok(vec![(data.0, indices.1.to_vec())])
        }
        Op::ScatterElements { axis, .. } => {
            let [data, indices, updates] = take(inputs)?;
            integer(indices.0)?;
            same_element(data.0, updates.0)?;
            inside(*axis, data.1, indices.1)?;
            if indices.1 != updates.1 {
                return Err("indices and updates must have one shape".into());
            }
            Ok(vec![(data.0, data.1.to_vec())])
        }
        _ => Err("no rule for the output's type".into()),
    }
}

fn take<'a, const N: usize>(inputs: &[(ElementType, &'a [usize])]) -> Result<[(ElementType, &'a [usize]); N], String> {
    inputs
        .try_into()
        .map_err(|_| format!("takes {N} inputs, got {}", inputs.len()))
}

fn same_element(a: ElementType, b: ElementType) -> Result<(), String> {
    if a == b {
        Ok(())
    } else {
        Err("element types differ".into())
    }
}

fn floating(element: ElementType) -> Result<(), String> {
    if element.is_float() {
        Ok(())
    } else {
        Err("takes floats".into())
    }
}

fn integer(element: ElementType) -> Result<(), String> {
    match element {
        ElementType::I64 | ElementType::I32 => Ok(()),
        _ => Err("indices must be integers".into()),
    }
}

fn in_rank(axis: usize, shape: &[usize]) -> Result<(), String> {
    if axis < shape.len() {
        Ok(())
    } else {
        Err(format!("there is no axis {axis}"))
    }
}

fn with_extent(shape: &[usize], axis: usize, extent: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    shape[axis] = extent;
    shape
}

fn broadcast_all(shapes: &[&[usize]]) -> Result<Vec<usize>, String> {
    shapes
        .iter()
        .try_fold(Vec::new(), |all: Vec<usize>, shape| broadcast(&all, shape))
        .ok_or_else(|| "shapes do not broadcast".into())
}

/// `indices` has the rank of `data` and is nowhere larger than it, but along the axis.
fn inside(axis: usize, data: &[usize], indices: &[usize]) -> Result<(), String> {
    in_rank(axis, data)?;
    let fits = |(i, (&index, &extent)): (usize, (&usize, &usize))| i == axis || index <= extent;
    if data.len() == indices.len() && indices.iter().zip(data).enumerate().all(fits) {
        Ok(())
    } else {
        Err("indices do not lie inside the data".into())
    }
}

fn reduce(shape: &[usize], axes: &[usize], keep_dims: bool) -> Result<Vec<usize>, String> {
    if axes.is_empty() || !axes.windows(2).all(|pair| pair[0] < pair[1]) {
        return Err(format!("axes {axes:?} must be ascending and not empty"));
    }
    axes.iter().try_for_each(|&axis| in_rank(axis, shape))?;
    Ok(shape
        .iter()
        .enumerate()
        .filter_map(|(axis, &extent)| match (axes.contains(&axis), keep_dims) {
            (true, true) => Some(1),
            (true, false) => None,
            (false, _) => Some(extent),
        })
        .collect())
}

fn layer_normalization(axis: usize, inputs: &[(ElementType, &[usize])]) -> Result<Vec<Type>, String> {
    let [x, scale, bias] = take(inputs)?;
    floating(x.0)?;
    same_element(x.0, scale.0)?;
    same_element(x.0, bias.0)?;
    in_rank(axis, x.1)?;
    if scale.1 != &x.1[axis..] || bias.1 != &x.1[axis..] {
        return Err("scale and bias must have the normalised axes' shape".into());
    }
    let mut moments = x.1[..axis].to_vec();
    moments.resize(x.1.len(), 1);
    Ok(vec![(x.0, x.1.to_vec()), (x.0, moments.clone()), (x.0, moments)])
}

fn gemm(transpose_a: bool, transpose_b: bool, inputs: &[(ElementType, &[usize])]) -> Result<Vec<Type>, String> {
    let (Some(a), Some(b), 2 | 3) = (inputs.first(), inputs.get(1), inputs.len()) else {
        return Err(format!("takes 2 or 3 inputs, got {}", inputs.len()));
    };
    floating(a.0)?;
    same_element(a.0, b.0)?;
    let (&[a0, a1], &[b0, b1]) = (a.1, b.1) else {
        return Err("takes matrices".into());
    };
    let (m, k) = if transpose_a { (a1, a0) } else { (a0, a1) };
    let (other_k, n) = if transpose_b { (b1, b0) } else { (b0, b1) };
    if k != other_k {
        return Err(format!("inner extents {k} and {other_k} differ"));
    }
    if let Some(c) = inputs.get(2) {
        same_element(a.0, c.0)?;
        if broadcast(c.1, &[m, n]).as_deref() != Some(&[m, n]) {
            return Err(format!("C does not broadcast to [{m}, {n}]"));
        }
    }
    Ok(vec![(a.0, vec![m, n])])
}

fn matmul(inputs: &[(ElementType, &[usize])]) -> Result<Vec<Type>, String> {
    let [a, b] = take(inputs)?;
    floating(a.0)?;
    same_element(a.0, b.0)?;
    let ([a_batch @ .., m, k], [b_batch @ .., other_k, n]) = (a.1, b.1) else {
        return Err("takes tensors of rank 2 or more".into());
    };
    if k != other_k {
        return Err(format!("inner extents {k} and {other_k} differ"));
    }
    let mut shape = broadcast(a_batch, b_batch).ok_or("batches do not broadcast")?;
    shape.extend([*m, *n]);
    Ok(vec![(a.0, shape)])
}

fn concat(axis: usize, inputs: &[(ElementType, &[usize])]) -> Result<Vec<Type>, String> {
    let Some(first) = inputs.first() else {
        return Err("takes at least one input".into());
    };
    in_rank(axis, first.1)?;
    let mut extent = 0_usize;
    for input in inputs {
        same_element(first.0, input.0)?;
        if input.1.len() != first.1.len() || with_extent(input.1, axis, 0) != with_extent(first.1, axis, 0) {
            return Err(format!("shapes differ beyond the axis {axis}"));
        }
        extent = extent.checked_add(input.1[axis]).ok_or("the extent overflows")?;
    }
    Ok(vec![(first.0, with_extent(first.1, axis, extent))])
}
