//! y = erf x: x̄ = ȳ · 2/√π · exp(−x²) = ȳ · exp(ln(2/√π) − x²).

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    if site.wants(0) {
        let cotangent = site.cotangent()?;
        let x = site.input(0);
        let graph = site.graph();
        let square = graph.mul(x, x)?;
        let log_factor = graph.scalar_like(x, std::f64::consts::FRAC_2_SQRT_PI.ln());
        let exponent = graph.sub(log_factor, square)?;
        let slope = graph.one(Op::Exp, &[exponent])?;
        let product = graph.mul(cotangent, slope)?;
        site.give(0, product)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    vec![Case::new(Op::Erf, [float([2, 3])]).in_f32()]
}
