//! y₁ … yₙ = x cut along an axis: x̄ = ȳ₁ … ȳₙ joined.

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let Op::Split { axis, .. } = *site.op() else {
        return Ok(());
    };
    if site.wants(0) {
        let pieces: Vec<_> = site
            .outputs()
            .into_iter()
            .map(|output| site.full_cotangent_of(output))
            .collect::<Result<_, _>>()?;
        let given = site.graph().concat(&pieces, axis)?;
        site.give(0, given)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    let op = |axis, sizes: &[usize]| Op::Split {
        axis,
        sizes: sizes.to_vec(),
    };
    vec![
        Case::new(op(1, &[1, 2]), [float([2, 3])]),
        Case::new(op(0, &[2, 1, 2]), [float([5, 2])]),
        Case::new(op(0, &[2, 1, 2]), [float([5, 2])]).seeding(&[1]),
    ]
}
