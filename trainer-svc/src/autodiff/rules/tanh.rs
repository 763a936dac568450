//! y = tanh x: x̄ = ȳ·(1 − y²).

use crate::autodiff::site::Site;
use crate::graph::GraphError;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    if site.wants(0) {
        let cotangent = site.cotangent()?;
        let y = site.output(0);
        let graph = site.graph();
        let square = graph.mul(y, y)?;
        let one = graph.scalar_like(y, 1.0);
        let slope = graph.sub(one, square)?;
        let product = graph.mul(cotangent, slope)?;
        site.give(0, product)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    vec![Case::new(crate::graph::Op::Tanh, [float([2, 3])])]
}
