//! y = √x: x̄ = ȳ / (2y).

use crate::autodiff::site::Site;
use crate::graph::GraphError;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    if site.wants(0) {
        let cotangent = site.cotangent()?;
        let y = site.output(0);
        let quotient = site.graph().div(cotangent, y)?;
        let half = site.scale(quotient, 0.5)?;
        site.give(0, half)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, positive};
    vec![Case::new(crate::graph::Op::Sqrt, [positive([2, 3])])]
}
