//! y = exp x: x̄ = ȳ·y.

use crate::autodiff::site::Site;
use crate::graph::GraphError;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    if site.wants(0) {
        let cotangent = site.cotangent()?;
        let y = site.output(0);
        let product = site.graph().mul(cotangent, y)?;
        site.give(0, product)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    vec![Case::new(crate::graph::Op::Exp, [float([2, 3])])]
}
