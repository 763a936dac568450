//! y = x in another floating-point type: x̄ = ȳ in the type of x.

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    if site.wants(0) {
        let cotangent = site.cotangent()?;
        let x = site.input(0);
        let to = site.graph().element(x);
        let cast = site.graph().one(Op::Cast { to }, &[cotangent])?;
        site.give(0, cast)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    use crate::tensor::ElementType;
    vec![Case::new(Op::Cast { to: ElementType::F64 }, [float([2, 3])])]
}
