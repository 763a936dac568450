//! y = max x over axes: x̄ = ȳ, in equal shares, where x is the maximum.

use super::reduce_sum::kept;
use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let Op::ReduceMax { axes, .. } = site.op().clone() else {
        return Ok(());
    };
    if site.wants(0) {
        let to = site.element();
        let (x, y) = (site.input(0), site.output(0));
        let cotangent = site.full_cotangent()?;
        let (cotangent, y) = (kept(site, &axes, cotangent)?, kept(site, &axes, y)?);
        let graph = site.graph();
        let equal = graph.one(Op::Equal, &[x, y])?;
        let equal = graph.one(Op::Cast { to }, &[equal])?;
        let count = graph.reduce_sum(equal, &axes, true)?;
        let share = graph.div(cotangent, count)?;
        let given = graph.mul(equal, share)?;
        site.give(0, given)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    crate::autodiff::check::reduction_cases(|axes, keep_dims| Op::ReduceMax { axes, keep_dims })
}
