//! y = the mean of x over axes of n elements: x̄ = ȳ / n, the same along the axes.

use super::reduce_sum::kept;
use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let Op::ReduceMean { axes, .. } = site.op().clone() else {
        return Ok(());
    };
    if site.wants(0) {
        let shape = site.input_shape(0);
        let count: usize = axes.iter().map(|&axis| shape[axis]).product();
        let cotangent = site.full_cotangent()?;
        let scaled = site.scale(cotangent, 1.0 / count as f64)?;
        let given = kept(site, &axes, scaled)?;
        site.give(0, given)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    crate::autodiff::check::reduction_cases(|axes, keep_dims| Op::ReduceMean { axes, keep_dims })
}
