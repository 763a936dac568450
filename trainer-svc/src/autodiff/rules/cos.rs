//! y = cos x: x̄ = −ȳ·sin x.

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    if site.wants(0) {
        let cotangent = site.cotangent()?;
        let x = site.input(0);
        let slope = site.graph().one(Op::Sin, &[x])?;
        let product = site.graph().mul(cotangent, slope)?;
        let product = site.scale(product, -1.0)?;
        site.give(0, product)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    vec![Case::new(Op::Cos, [float([2, 3])]).in_f32()]
}
