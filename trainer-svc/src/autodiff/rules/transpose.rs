//! y = x with its axes permuted: x̄ = ȳ with them put back.

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let Op::Transpose { permutation } = site.op().clone() else {
        return Ok(());
    };
    if site.wants(0) {
        let mut inverse = vec![0; permutation.len()];
        for (to, &from) in permutation.iter().enumerate() {
            inverse[from] = to;
        }
        let cotangent = site.cotangent()?;
        let given = site.transpose(cotangent, &inverse)?;
        site.give(0, given)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    let op = |permutation: &[usize]| Op::Transpose {
        permutation: permutation.to_vec(),
    };
    vec![
        Case::new(op(&[1, 0]), [float([2, 3])]),
        Case::new(op(&[2, 0, 3, 1]), [float([2, 1, 3, 2])]),
    ]
}
