//! y = slices of x at indices along an axis: x̄ = zeros, with the slices of ȳ added at the indices.
//!
//! `ScatterElements` adds single elements, so the indices are repeated along the other axes. (`ScatterND` would add whole slices, but
//! with duplicate indices and two threads the CPU provider loses some: onnxruntime issues 18048 and 23396.) What is already known of
//! x̄ is added to in place of zeros: with tied embeddings that saves two passes over the largest parameter.

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let Op::Gather { axis } = *site.op() else {
        return Ok(());
    };
    if !site.wants(0) {
        return Ok(());
    }
    let cotangent = site.full_cotangent()?;
    let (x, indices) = (site.input(0), site.input(1));
    let (shape, index_shape) = (site.input_shape(0), site.input_shape(1));
    let (outer, extent, inner): (usize, usize, usize) = (
        shape[..axis].iter().product(),
        shape[axis],
        shape[axis + 1..].iter().product(),
    );
    let count: usize = index_shape.iter().product();
    // As a matrix, if there is nothing before the axis.
    let around = |extent: usize, inner: usize| {
        if axis == 0 {
            vec![extent, inner]
        } else {
            vec![outer, extent, inner]
        }
    };

    let data = match site.take_accumulated(0)? {
        Some(so_far) => site.reshape(so_far, &around(extent, inner))?,
        None => site.late_zeros(indices, x, &around(extent, inner))?,
    };
    let rank_one: Vec<usize> = if axis == 0 { vec![count, 1] } else { vec![1, count, 1] };
    let indices = site.reshape(indices, &rank_one)?;
    let shape_of_updates = around(count, inner);
    let indices = if site.shape(indices) == shape_of_updates {
        indices
    } else {
        let shape = shape_of_updates.clone();
        site.graph().one(Op::Expand { shape }, &[indices])?
    };
    let updates = site.reshape(cotangent, &shape_of_updates)?;
    let sum = site
        .graph()
        .scatter_add(data, indices, updates, usize::from(axis != 0))?;
    let sum = site.graph().reshape(sum, &shape)?;
    site.give(0, sum)
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float, index};
    vec![
        Case::new(Op::Gather { axis: 0 }, [float([4, 3]), index([2, 5], 4)]),
        Case::new(Op::Gather { axis: 0 }, [float([5]), index([7], 5)]),
        Case::new(Op::Gather { axis: 0 }, [float([4, 2, 2]), index([], 4)]),
        Case::new(Op::Gather { axis: 1 }, [float([2, 3, 2]), index([4], 3)]),
        Case::new(Op::Gather { axis: 2 }, [float([2, 1, 3]), index([2, 2], 3)]),
    ]
}
