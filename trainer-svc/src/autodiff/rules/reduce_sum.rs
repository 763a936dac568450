//! y = Σ x over axes: x̄ = ȳ, the same along the axes.

use crate::autodiff::site::{Built, Site};
use crate::graph::{GraphError, Op, ValueId};

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let Op::ReduceSum { axes, .. } = site.op().clone() else {
        return Ok(());
    };
    if site.wants(0) {
        let cotangent = site.full_cotangent()?;
        let given = kept(site, &axes, cotangent)?;
        site.give(0, given)?;
    }
    Ok(())
}

/// A value of the node's output's shape with the reduced axes of its input kept, with extent 1.
pub(super) fn kept(site: &mut Site<'_, '_>, axes: &[usize], value: ValueId) -> Built {
    let mut shape = site.input_shape(0);
    for &axis in axes {
        shape[axis] = 1;
    }
    site.reshape(value, &shape)
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    crate::autodiff::check::reduction_cases(|axes, keep_dims| Op::ReduceSum { axes, keep_dims })
}
