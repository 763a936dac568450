//! y = a / b: ā = ⟨ȳ / b⟩, b̄ = −⟨ȳ / b · y⟩.

use crate::autodiff::site::Site;
use crate::graph::GraphError;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let cotangent = site.cotangent()?;
    let divisor = site.input(1);
    if let Some(divisor) = site.scalar(divisor).filter(|_| !site.wants(1)) {
        let quotient = site.scale(cotangent, 1.0 / divisor)?;
        return site.give_summed(0, quotient);
    }
    let quotient = site.graph().div(cotangent, divisor)?;
    if site.wants(0) {
        site.give_summed(0, quotient)?;
    }
    if site.wants(1) {
        let y = site.output(0);
        let product = site.graph().mul(quotient, y)?;
        let (from, to) = (site.output_shape(), site.input_shape(1));
        let summed = site.sum_broadcast(product, &from, &to)?;
        let summed = site.scale(summed, -1.0)?;
        site.give(1, summed)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float, positive, scalar};
    use crate::graph::Op;
    vec![
        Case::new(Op::Div, [float([2, 3]), positive([2, 3])]),
        Case::new(Op::Div, [float([2, 3]), positive([2, 1])]),
        Case::new(Op::Div, [float([3]), positive([2, 3])]),
        Case::new(Op::Div, [float([2, 3]), scalar(3.0)]),
    ]
}
