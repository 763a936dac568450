//! y = ln x: x̄ = ȳ / x.

use crate::autodiff::site::Site;
use crate::graph::GraphError;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    if site.wants(0) {
        let cotangent = site.cotangent()?;
        let x = site.input(0);
        let quotient = site.graph().div(cotangent, x)?;
        site.give(0, quotient)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, positive};
    vec![Case::new(crate::graph::Op::Log, [positive([2, 3])])]
}
