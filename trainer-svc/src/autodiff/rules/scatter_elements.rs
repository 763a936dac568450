//! y = x with updates u at single elements along an axis. Added: x̄ = ȳ, ū = ȳ at those elements. Replacing: x̄ = ȳ with zeros there,
//! ū the same (places that are written twice are not defined in ONNX, and neither is their gradient).

use crate::autodiff::site::Site;
use crate::graph::GraphError;
use crate::graph::Op;
use crate::graph::op::Reduction;

pub(in crate::autodiff) fn rule(site: &mut Site<'_, '_>) -> Result<(), GraphError> {
    let Op::ScatterElements { axis, reduction } = *site.op() else {
        return Ok(());
    };
    let (indices, updates) = (site.input(1), site.input(2));
    let cotangent = site.full_cotangent()?;
    if site.wants(0) {
        let given = match reduction {
            Reduction::Add => cotangent,
            Reduction::None => {
                let zeros = site.zeros_like(updates)?;
                let op = Op::ScatterElements {
                    axis,
                    reduction: Reduction::None,
                };
                site.graph().one(op, &[cotangent, indices, zeros])?
            }
        };
        site.give(0, given)?;
    }
    if site.wants(2) {
        let given = site.graph().one(Op::GatherElements { axis }, &[cotangent, indices])?;
        site.give(2, given)?;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::autodiff) fn cases() -> Vec<crate::autodiff::check::Case> {
    use crate::autodiff::check::{Case, distinct, float, index};
    let op = |axis, reduction| Op::ScatterElements { axis, reduction };
    vec![
        Case::new(op(1, Reduction::Add), [float([3, 4]), index([3, 2], 4), float([3, 2])]),
        Case::new(op(0, Reduction::Add), [float([2, 3]), index([5, 3], 2), float([5, 3])]),
        Case::new(op(0, Reduction::None), [float([5]), distinct([3], 5), float([3])]),
    ]
}
