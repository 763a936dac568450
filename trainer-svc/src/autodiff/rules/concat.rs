//! y = x₁ … xₙ joined along an axis: x̄ᵢ is the i-th piece of ȳ.

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let Op::Concat { axis } = *site.op() else {
        return Ok(());
    };
    let cotangent = site.full_cotangent()?;
    let sizes: Vec<usize> = (0..site.input_count())
        .map(|index| site.input_shape(index)[axis])
        .collect();
    let pieces = site.graph().split(cotangent, axis, &sizes)?;
    for (index, piece) in pieces.into_iter().enumerate() {
        if site.wants(index) {
            site.give(index, piece)?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float, same_as};
    vec![
        Case::new(Op::Concat { axis: 0 }, [float([2, 3]), float([1, 3])]),
        Case::new(
            Op::Concat { axis: 2 },
            [float([2, 1, 2]), float([2, 1, 3]), float([2, 1, 1])],
        ),
        Case::new(Op::Concat { axis: 1 }, [float([2, 2]), same_as(0)]),
    ]
}
