//! y = a where c holds, else b: ā = ⟨ȳ where c, else 0⟩, b̄ = ⟨0 where c, else ȳ⟩.

use crate::autodiff::site::Site;
use crate::graph::GraphError;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let cotangent = site.cotangent()?;
    let condition = site.input(0);
    let zero = site.graph().scalar_like(cotangent, 0.0);
    if site.wants(1) {
        let given = site.graph().choose(condition, cotangent, zero)?;
        site.give_summed(1, given)?;
    }
    if site.wants(2) {
        let given = site.graph().choose(condition, zero, cotangent)?;
        site.give_summed(2, given)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, boolean, float};
    use crate::graph::Op;
    vec![
        Case::new(Op::Where, [boolean([2, 3]), float([2, 3]), float([2, 3])]),
        Case::new(Op::Where, [boolean([3]), float([2, 1]), float([])]),
        Case::new(Op::Where, [boolean([2, 1]), float([3]), float([2, 3])]),
    ]
}
