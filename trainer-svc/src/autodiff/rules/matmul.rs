//! Y = A·B over the last two axes, the others broadcast: Ā = ⟨Ȳ·Bᵀ⟩, B̄ = ⟨Aᵀ·Ȳ⟩.
//!
//! A: […, M, K], B: […, K, N], Y: […, M, N]. Where B is a matrix, everything is a product of matrices (rows = all of A's), and
//! nothing is summed afterwards. A transposition that only turns the last two axes is fused into the product by ONNX Runtime; where B
//! itself was made by one (attention's keys), B̄ is computed as (Ȳᵀ·A)ᵀ, so that the two transpositions cancel.

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::ValueId;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    if site.input_shape(1).len() == 2 {
        return by_matrix(site);
    }
    let cotangent = site.full_cotangent()?;
    let (a, b) = (site.input(0), site.input(1));
    if site.wants(0) {
        let transposed = site.swap_last(b)?;
        let product = site.graph().matmul(cotangent, transposed)?;
        give_batches(site, 0, product)?;
    }
    if site.wants(1) {
        let product = if is_turned(site, b) {
            let transposed = site.swap_last(cotangent)?;
            let product = site.graph().matmul(transposed, a)?;
            sum_turned(site, product)?
        } else {
            let transposed = site.swap_last(a)?;
            site.graph().matmul(transposed, cotangent)?
        };
        give_batches(site, 1, product)?;
    }
    Ok(())
}

/// Was B made by a transposition that put the innermost axis of its source second to last?
fn is_turned(site: &mut Site<'_, '_>, b: ValueId) -> bool {
    site.transposed_from(b)
        .is_some_and(|(_, permutation)| permutation.iter().rev().nth(1) == Some(&(permutation.len() - 1)))
}

/// From B̄ᵀ to B̄, summed over broadcast batches before it is turned.
fn sum_turned(site: &mut Site<'_, '_>, product: ValueId) -> Result<ValueId, GraphError> {
    let from = site.shape(product);
    let mut to = site.input_shape(1);
    let rank = to.len();
    to.swap(rank - 1, rank - 2);
    let summed = site.sum_broadcast(product, &from, &to)?;
    site.swap_last(summed)
}

fn give_batches(site: &mut Site<'_, '_>, index: usize, product: ValueId) -> Result<(), GraphError> {
    let (from, to) = (site.shape(product), site.input_shape(index));
    let summed = site.sum_broadcast(product, &from, &to)?;
    site.give(index, summed)
}

/// B is a matrix [K, N].
fn by_matrix(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let (a, b) = (site.input(0), site.input(1));
    let (a_shape, b_shape) = (site.input_shape(0), site.input_shape(1));
    let rows = a_shape[..a_shape.len() - 1].iter().product();
    let cotangent = site.full_cotangent()?;
    let cotangent = site.reshape(cotangent, &[rows, b_shape[1]])?;
    if site.wants(0) {
        let product = site.graph().gemm(cotangent, b, None, false, true)?;
        let product = site.reshape(product, &a_shape)?;
        site.give(0, product)?;
    }
    if site.wants(1) {
        let a = site.reshape(a, &[rows, b_shape[0]])?;
        let product = site.graph().gemm(a, cotangent, None, true, false)?;
        site.give(1, product)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    use crate::graph::Op;
    let case = |a: &[usize], b: &[usize]| Case::new(Op::MatMul, [float(a), float(b)]);
    vec![
        case(&[2, 3], &[3, 4]),
        case(&[2, 2, 3], &[3, 4]),
        case(&[2, 3], &[2, 3, 4]),
        case(&[2, 2, 3], &[2, 3, 2]),
        case(&[2, 1, 2, 3], &[1, 3, 3, 2]),
        case(&[1, 2, 2, 3], &[2, 3, 2]),
    ]
}
