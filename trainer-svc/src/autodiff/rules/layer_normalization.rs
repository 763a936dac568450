//! y = x̂·γ + δ with x̂ = (x − μ)·r over the last axes (n elements), r = 1/√(variance + ε); μ and r are the node's own outputs.
//!
//! With c = x − μ and g = ȳ·γ (Ba, Kiros, Hinton 2016, arXiv:1607.06450, differentiated):
//! x̄ = r·g − (r³·mean(g·c)·c + r·mean(g)), γ̄ = Σ r·c·ȳ and δ̄ = Σ ȳ over the other axes.
//!
//! Rows and columns: x is taken as a matrix [rows, n], so that weighted sums are matrix products: mean(g) = ȳ·(γ/n), mean(g·c) =
//! (ȳ·c)·(γ/n), γ̄ = rᵀ·(ȳ·c), each one pass over memory without an intermediate.

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let Op::LayerNormalization { axis, .. } = *site.op() else {
        return Ok(());
    };
    let shape = site.input_shape(0);
    let (rows, columns): (usize, usize) = (shape[..axis].iter().product(), shape[axis..].iter().product());
    let cotangent = site.full_cotangent()?;
    let cotangent = site.reshape(cotangent, &[rows, columns])?;
    if site.wants(2) {
        let sum = site.graph().reduce_sum(cotangent, &[0], false)?;
        let sum = site.reshape(sum, &shape[axis..])?;
        site.give(2, sum)?;
    }
    if !site.wants(0) && !site.wants(1) {
        return Ok(());
    }
    let (x, mean, inverse) = (site.input(0), site.output(1), site.output(2));
    let x = site.reshape(x, &[rows, columns])?;
    let mean = site.reshape(mean, &[rows, 1])?;
    let inverse = site.reshape(inverse, &[rows, 1])?;
    let centred = site.graph().sub(x, mean)?;
    let product = site.graph().mul(cotangent, centred)?;
    if site.wants(1) {
        let sum = site.graph().gemm(inverse, product, None, true, false)?;
        let sum = site.reshape(sum, &shape[axis..])?;
        site.give(1, sum)?;
    }
    if site.wants(0) {
        let scale = site.input(1);
        let scale = site.reshape(scale, &[columns])?;
        let share = site.graph().scale(scale, 1.0 / columns as f64)?;
        let share = site.reshape(share, &[columns, 1])?;
        let graph = site.graph();
        let mean_product = graph.gemm(product, share, None, false, false)?;
        let mean_cotangent = graph.gemm(cotangent, share, None, false, false)?;
        // [rows, 1] each: these cost nothing.
        let square = graph.mul(inverse, inverse)?;
        let cube = graph.mul(square, inverse)?;
        let slope = graph.mul(cube, mean_product)?;
        let offset = graph.mul(inverse, mean_cotangent)?;
        let scaled = graph.mul(cotangent, scale)?;
        let scaled = graph.mul(scaled, inverse)?;
        let correction = graph.mul(centred, slope)?;
        let correction = graph.add(correction, offset)?;
        let given = graph.sub(scaled, correction)?;
        let given = site.reshape(given, &shape)?;
        site.give(0, given)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    let op = |axis| Op::LayerNormalization { axis, epsilon: 1e-5 };
    vec![
        Case::new(op(1), [float([3, 4]), float([4]), float([4])])
            .seeding(&[0])
            .in_f32(),
        Case::new(op(2), [float([2, 2, 5]), float([5]), float([5])])
            .seeding(&[0])
            .in_f32(),
        Case::new(op(1), [float([2, 2, 3]), float([2, 3]), float([2, 3])])
            .seeding(&[0])
            .in_f32(),
        Case::new(op(0), [float([6]), float([6]), float([6])])
            .seeding(&[0])
            .in_f32(),
    ]
}
