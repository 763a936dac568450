//! y = a · b: ā = ⟨ȳ·b⟩, b̄ = ⟨ȳ·a⟩; of a square, ā = 2·ȳ·a.

use crate::autodiff::site::Site;
use crate::graph::GraphError;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let cotangent = site.cotangent()?;
    let inputs = [site.input(0), site.input(1)];
    if inputs[0] == inputs[1] {
        let doubled = site.scale(cotangent, 2.0)?;
        let product = site.graph().mul(doubled, inputs[0])?;
        return site.give(0, product);
    }
    for (index, other) in [(0, inputs[1]), (1, inputs[0])] {
        if site.wants(index) {
            let product = match site.scalar(other) {
                Some(factor) => site.scale(cotangent, factor)?,
                None => site.graph().mul(cotangent, other)?,
            };
            site.give_summed(index, product)?;
        }
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, binary_cases, float, same_as, scalar};
    use crate::graph::Op;
    let mut cases = binary_cases(&Op::Mul);
    cases.push(Case::new(Op::Mul, [float([2, 3]), same_as(0)]));
    cases.push(Case::new(Op::Mul, [float([2, 3]), scalar(0.25)]));
    cases.push(Case::new(Op::Mul, [scalar(-2.0), float([2, 3])]));
    cases
}
