//! y = a + b: ā = ⟨ȳ⟩, b̄ = ⟨ȳ⟩.

use crate::autodiff::site::Site;
use crate::graph::GraphError;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let cotangent = site.cotangent()?;
    for index in [0, 1] {
        if site.wants(index) {
            site.give_summed(index, cotangent)?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    crate::autodiff::check::binary_cases(&crate::graph::Op::Add)
}
