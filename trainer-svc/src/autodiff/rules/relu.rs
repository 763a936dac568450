//! y = max(x, 0): x̄ = ȳ where y > 0, else 0 (and 0 at x = 0, as JAX and PyTorch have it).

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    if site.wants(0) {
        let cotangent = site.cotangent()?;
        let y = site.output(0);
        let graph = site.graph();
        let zero = graph.scalar_like(y, 0.0);
        let positive = graph.one(Op::Greater, &[y, zero])?;
        let given = graph.choose(positive, cotangent, zero)?;
        site.give(0, given)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    vec![Case::new(Op::Relu, [float([4, 5])])]
}
