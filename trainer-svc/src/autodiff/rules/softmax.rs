//! y = softmax x along an axis: x̄ = y·(ȳ − Σ ȳ·y).

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let Op::Softmax { axis } = *site.op() else {
        return Ok(());
    };
    if site.wants(0) {
        let cotangent = site.cotangent()?;
        let y = site.output(0);
        let graph = site.graph();
        let product = graph.mul(cotangent, y)?;
        let sum = graph.reduce_sum(product, &[axis], true)?;
        let difference = graph.sub(cotangent, sum)?;
        let given = graph.mul(difference, y)?;
        site.give(0, given)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, float};
    vec![
        Case::new(Op::Softmax { axis: 1 }, [float([2, 3])]),
        Case::new(Op::Softmax { axis: 0 }, [float([3, 2])]),
        Case::new(Op::Softmax { axis: 2 }, [float([2, 2, 4])]),
    ]
}
