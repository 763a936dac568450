//! y = x in another shape: x̄ = ȳ in the shape of x.

use crate::autodiff::site::Site;
use crate::graph::GraphError;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    if site.wants(0) {
        let cotangent = site.full_cotangent()?;
        let shape = site.input_shape(0);
        let given = site.reshape(cotangent, &shape)?;
        site.give(0, given)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    use crate::graph::Op;
    let to = |shape: &[usize]| Op::Reshape { shape: shape.to_vec() };
    vec![
        Case::new(to(&[3, 2]), [float([2, 3])]),
        Case::new(to(&[]), [float([1, 1])]),
        Case::new(to(&[1, 4]), [float([2, 2])]),
    ]
}
