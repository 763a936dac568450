//! y = x broadcast to a shape: x̄ = ⟨ȳ⟩.

use crate::autodiff::site::Site;
use crate::graph::GraphError;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    if site.wants(0) {
        let cotangent = site.cotangent()?;
        site.give_summed(0, cotangent)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    use crate::graph::Op;
    let to = |shape: &[usize]| Op::Expand { shape: shape.to_vec() };
    vec![
        Case::new(to(&[2, 3]), [float([2, 1])]),
        Case::new(to(&[4, 2, 3]), [float([2, 1])]),
        Case::new(to(&[4, 2, 3]), [float([2, 3])]),
        Case::new(to(&[2, 2]), [float([])]),
        Case::new(to(&[1, 2, 2]), [float([2, 2])]),
    ]
}
