//! y = single elements of x along an axis: x̄ = zeros, with the elements of ȳ added where they came from.

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let Op::GatherElements { axis } = *site.op() else {
        return Ok(());
    };
    if site.wants(0) {
        let cotangent = site.full_cotangent()?;
        let (x, indices) = (site.input(0), site.input(1));
        let shape = site.input_shape(0);
        let zeros = site.late_zeros(indices, x, &shape)?;
        let sum = site.graph().scatter_add(zeros, indices, cotangent, axis)?;
        site.give(0, sum)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float, index};
    vec![
        Case::new(Op::GatherElements { axis: 1 }, [float([3, 4]), index([3, 1], 4)]),
        Case::new(Op::GatherElements { axis: 0 }, [float([3, 4]), index([5, 2], 3)]),
        Case::new(Op::GatherElements { axis: 2 }, [float([2, 2, 3]), index([2, 1, 4], 3)]),
    ]
}
