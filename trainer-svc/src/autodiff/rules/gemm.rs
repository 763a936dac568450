//! Y = α·A'·B' + β·C with A' = A or Aᵀ, B' = B or Bᵀ: Ā' = α·Ȳ·B'ᵀ, B̄' = α·A'ᵀ·Ȳ, C̄ = β·⟨Ȳ⟩.
//!
//! A: [M, K] or [K, M], B: [K, N] or [N, K], Y: [M, N]. Transposition is left to the products' own flags.

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let Op::Gemm {
        alpha,
        beta,
        transpose_a,
        transpose_b,
    } = *site.op()
    else {
        return Ok(());
    };
    let product = |site: &mut Site<'_, '_>, a, b, transpose_a, transpose_b| {
        let op = Op::Gemm {
            alpha,
            beta: 1.0,
            transpose_a,
            transpose_b,
        };
        site.graph().one(op, &[a, b])
    };
    let (a, b) = (site.input(0), site.input(1));
    if site.wants(0) {
        let cotangent = site.full_cotangent()?;
        let given = if transpose_a {
            product(site, b, cotangent, transpose_b, true)?
        } else {
            product(site, cotangent, b, false, !transpose_b)?
        };
        site.give(0, given)?;
    }
    if site.wants(1) {
        let cotangent = site.full_cotangent()?;
        let given = if transpose_b {
            product(site, cotangent, a, true, transpose_a)?
        } else {
            product(site, a, cotangent, !transpose_a, false)?
        };
        site.give(1, given)?;
    }
    if site.wants(2) {
        let cotangent = site.cotangent()?;
        let (from, to) = (site.output_shape(), site.input_shape(2));
        let summed = site.sum_broadcast(cotangent, &from, &to)?;
        let scaled = site.scale(summed, f64::from(beta))?;
        site.give(2, scaled)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    let mut cases = Vec::new();
    for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
        let op = |alpha, beta| Op::Gemm {
            alpha,
            beta,
            transpose_a,
            transpose_b,
        };
        let a = || float(if transpose_a { [3, 2] } else { [2, 3] });
        let b = || float(if transpose_b { [4, 3] } else { [3, 4] });
        cases.push(Case::new(op(1.0, 1.0), [a(), b()]));
        cases.push(Case::new(op(0.5, 1.0), [a(), b(), float([4])]));
        cases.push(Case::new(op(1.0, 2.0), [a(), b(), float([2, 1])]));
        cases.push(Case::new(op(1.0, 1.0), [a(), b(), float([])]));
        cases.push(Case::new(op(2.0, -1.0), [a(), b(), float([2, 4])]));
    }
    cases
}
