//! y = a − b: ā = ⟨ȳ⟩, b̄ = −⟨ȳ⟩.

use crate::autodiff::site::Site;
use crate::graph::GraphError;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let cotangent = site.cotangent()?;
    if site.wants(0) {
        site.give_summed(0, cotangent)?;
    }
    if site.wants(1) {
        // Summed first: there may be less to negate.
        let (from, to) = (site.output_shape(), site.input_shape(1));
        let summed = site.sum_broadcast(cotangent, &from, &to)?;
        let negated = site.scale(summed, -1.0)?;
        site.give(1, negated)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    crate::autodiff::check::binary_cases(&crate::graph::Op::Sub)
}
