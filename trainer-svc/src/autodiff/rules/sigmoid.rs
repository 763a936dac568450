//! y = 1/(1 + exp(−x)): x̄ = ȳ·y·(1 − y).

use crate::autodiff::site::Site;
use crate::graph::GraphError;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    if site.wants(0) {
        let cotangent = site.cotangent()?;
        let y = site.output(0);
        let graph = site.graph();
        let one = graph.scalar_like(y, 1.0);
        let rest = graph.sub(one, y)?;
        let slope = graph.mul(y, rest)?;
        let product = graph.mul(cotangent, slope)?;
        site.give(0, product)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    vec![Case::new(crate::graph::Op::Sigmoid, [float([2, 3])])]
}
