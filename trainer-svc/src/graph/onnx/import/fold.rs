//! Evaluates nodes whose inputs are known: what exporters compute with shapes, and masks and tables made of them.

mod elementwise;
mod structure;

use super::node::{Refusal, Site, Symbol, integers, malformed};
use super::{ImportError, tensor};
use crate::graph::ValueId;
use crate::tensor::{ElementType, Elements, HostTensor, element_count};

/// Elements of one evaluated tensor: a causal mask of 2,048 positions is half of it.
const ELEMENTS: usize = 1 << 23;
/// Elements of all of them together.
const TOTAL: usize = 1 << 27;

/// How many elements may still be made.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(TOTAL)
    }
}

impl Budget {
    /// Spends as many elements as the shape has; gives their number.
    fn spend(&mut self, shape: &[usize]) -> Result<usize, Refusal> {
        let over = |limit: usize| {
            let what = format!("elements of the constant {shape:?}, or of all constants evaluated");
            Refusal::Failed(ImportError::TooLarge { what, limit })
        };
        let volume = tensor::volume(shape)
            .filter(|&volume| volume <= ELEMENTS)
            .ok_or_else(|| over(ELEMENTS))?;
        let count = if shape.contains(&0) { 0 } else { volume };
        // An empty tensor costs something, too.
        self.0 = self.0.checked_sub(volume).ok_or_else(|| over(TOTAL))?;
        Ok(count)
    }
}

/// Operators that are only ever evaluated.
const EVALUATED: [&str; 15] = [
    "Constant",
    "ConstantOfShape",
    "Shape",
    "Size",
    "Range",
    "Mod",
    "Floor",
    "Ceil",
    "Sign",
    "Xor",
    "Trilu",
    "CumSum",
    "Tile",
    "ReduceMin",
    "ReduceProd",
];

/// Can it be evaluated, and nothing else?
pub(super) fn knows(op: &str) -> bool {
    EVALUATED.contains(&op)
}

/// The outputs, if all that the node reads is known and the operator is one that is evaluated.
pub(super) fn fold(
    site: &Site<'_>,
    shape: &dyn Fn(ValueId) -> Vec<usize>,
    budget: &mut Budget,
) -> Result<Option<Vec<HostTensor>>, Refusal> {
    if let "Shape" | "Size" = site.op() {
        let shape = match site.symbol(0) {
            Some(Symbol::Value(value)) => shape(*value),
            Some(Symbol::Constant(tensor)) => tensor.shape().to_vec(),
            _ => return malformed("has no input"),
        };
        return extents_of(site, &shape).map(|tensor| Some(vec![tensor]));
    }
    let known = site
        .inputs
        .iter()
        .flatten()
        .all(|symbol| matches!(symbol, Symbol::Constant(_)));
    if !known {
        return if knows(site.op()) {
            Err(Refusal::Unsupported("what it reads is known only when it runs".into()))
        } else {
            Ok(None)
        };
    }
    if let Some(tensor) = source(site, budget)? {
        return Ok(Some(vec![tensor]));
    }
    if let Some(tensors) = structure::fold(site, budget)? {
        return Ok(Some(tensors));
    }
    let folded = elementwise::fold(site, budget)?;
    Ok(folded.map(|tensor| vec![tensor]))
}

fn extents_of(site: &Site<'_>, shape: &[usize]) -> Result<HostTensor, Refusal> {
    let int = |extent: usize| i64::try_from(extent).or_else(|_| malformed("the extent overflows"));
    if site.op() == "Size" {
        let count = element_count(shape).map_or_else(|| malformed("the extents overflow"), int)?;
        return tensor_of(&[], Elements::I64(vec![count]));
    }
    // Out of range is cut off, not refused.
    let rank = int(shape.len())?;
    let bound =
        |at: i64| usize::try_from(if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank)).unwrap_or(0);
    let (start, end) = (
        bound(site.int("start").unwrap_or(0)),
        bound(site.int("end").unwrap_or(rank)),
    );
    let extents = shape.get(start..end).unwrap_or_default();
    let extents = extents.iter().map(|&extent| int(extent)).collect::<Result<_, _>>()?;
    Ok(HostTensor::indices(extents))
}

/// Operators that make tensors from little.
fn source(site: &Site<'_>, budget: &mut Budget) -> Result<Option<HostTensor>, Refusal> {
    match site.op() {
        "Constant" => constant(site).map(Some),
        "ConstantOfShape" => {
            let Some(list) = site.constant(0).and_then(integers) else {
                return malformed("has no shape");
            };
            let shape = super::node::extents(&list)?;
            let value = match site.tensor("value") {
                Some(proto) => tensor::read(proto).map_err(Refusal::Failed)?,
                None => HostTensor::vector(vec![0.0]),
            };
            let count = budget.spend(&shape)?;
            if value.elements().len() != 1 {
                return malformed("repeats something else than one element");
            }
            pick(&value, &shape, &vec![0; count]).map(Some)
        }
        "Range" => range(site, budget).map(Some),
        _ => Ok(None),
    }
}

fn constant(site: &Site<'_>) -> Result<HostTensor, Refusal> {
    if let Some(proto) = site.tensor("value") {
        return tensor::read(proto).map_err(Refusal::Failed);
    }
    if let Some(float) = site.float("value_float") {
        return Ok(HostTensor::scalar(float));
    }
    if let Some(int) = site.int("value_int") {
        return tensor_of(&[], Elements::I64(vec![int]));
    }
    if let Some(floats) = site.floats("value_floats") {
        return Ok(HostTensor::vector(floats.to_vec()));
    }
    match site.ints("value_ints") {
        Some(ints) => Ok(HostTensor::indices(ints.to_vec())),
        None => super::node::unsupported("it holds no dense tensor of numbers"),
    }
}

fn range(site: &Site<'_>, budget: &mut Budget) -> Result<HostTensor, Refusal> {
    let (Some(start), Some(limit), Some(delta)) = (site.constant(0), site.constant(1), site.constant(2)) else {
        return malformed("needs start, limit and delta");
    };
    let element = start.element_type();
    if let (Some(&[start]), Some(&[limit]), Some(&[delta])) = (
        integers(start).as_deref(),
        integers(limit).as_deref(),
        integers(delta).as_deref(),
    ) {
        let (start, limit, delta) = (i128::from(start), i128::from(limit), i128::from(delta));
        if delta == 0 {
            return malformed("goes in steps of 0");
        }
        let distance = if delta > 0 { limit - start } else { start - limit };
        let count = if distance <= 0 {
            0
        } else {
            (distance - 1) / delta.abs() + 1
        };
        let count = budget.spend(&[usize::try_from(count).unwrap_or(usize::MAX)])?;
        let item = |index: usize| i64::try_from(start + delta * index as i128).unwrap_or(i64::MAX);
        return elementwise::Numbers::Int((0..count).map(item).collect()).tensor(&[count], element);
    }
    let numbers = (
        super::node::single(start),
        super::node::single(limit),
        super::node::single(delta),
    );
    let (Some(start), Some(limit), Some(delta)) = numbers else {
        return malformed("needs three numbers");
    };
    let count = ((limit - start) / delta).ceil().max(0.0);
    if count.is_nan() || count > ELEMENTS as f64 {
        return malformed(format!("goes from {start} to {limit} in steps of {delta}"));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the limit, see above"
    )]
    let count = budget.spend(&[count as usize])?;
    let items = (0..count).map(|index| start + delta * index as f64).collect();
    elementwise::Numbers::Float(items).tensor(&[count], element)
}

fn tensor_of(shape: &[usize], elements: Elements) -> Result<HostTensor, Refusal> {
    HostTensor::new(shape, elements).or_else(|error| malformed(error.to_string()))
}

/// The tensor of this shape whose elements are those of another, by their place.
fn pick(tensor: &HostTensor, shape: &[usize], places: &[usize]) -> Result<HostTensor, Refusal> {
    fn each<T: Copy>(elements: &[T], places: &[usize]) -> Option<Vec<T>> {
        places.iter().map(|&place| elements.get(place).copied()).collect()
    }
    let picked = match tensor.elements() {
        Elements::F32(elements) => each(elements, places).map(Elements::F32),
        Elements::F64(elements) => each(elements, places).map(Elements::F64),
        Elements::I64(elements) => each(elements, places).map(Elements::I64),
        Elements::I32(elements) => each(elements, places).map(Elements::I32),
        Elements::Bool(elements) => each(elements, places).map(Elements::Bool),
    };
    match picked {
        Some(elements) => tensor_of(shape, elements),
        None => malformed("an index lies outside the tensor"),
    }
}

/// Distances between neighbours along each axis.
fn strides(shape: &[usize]) -> Vec<i64> {
    let mut strides = vec![0; shape.len()];
    let mut stride = 1_i64;
    for (axis, &extent) in shape.iter().enumerate().rev() {
        strides[axis] = stride;
        stride = stride.saturating_mul(i64::try_from(extent).unwrap_or(i64::MAX));
    }
    strides
}

/// Places of the elements of a tensor of this shape, in row-major order, where neighbours along an axis lie a stride apart.
fn places(shape: &[usize], strides: &[i64], offset: i64, count: usize) -> Vec<usize> {
    let mut places = Vec::with_capacity(count);
    let mut index = vec![0_usize; shape.len()];
    let mut place = offset;
    for _ in 0..count {
        places.push(usize::try_from(place).unwrap_or(usize::MAX));
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            place = place.wrapping_add(strides[axis]);
            if index[axis] < shape[axis] {
                break;
            }
            place = place.wrapping_sub(strides[axis].wrapping_mul(i64::try_from(shape[axis]).unwrap_or(i64::MAX)));
            index[axis] = 0;
        }
    }
    places
}

/// Strides that repeat a tensor of shape `from` along the axes of `to`, to which it broadcasts.
fn repeating(from: &[usize], to: &[usize]) -> Vec<i64> {
    let own = strides(from);
    let added = to.len() - from.len();
    let along = |axis: usize| match axis.checked_sub(added) {
        Some(own_axis) if from[own_axis] != 1 => own[own_axis],
        _ => 0,
    };
    (0..to.len()).map(along).collect()
}

/// Element type of an input.
fn element_of(site: &Site<'_>, index: usize) -> Result<ElementType, Refusal> {
    match site.constant(index) {
        Some(tensor) => Ok(tensor.element_type()),
        None => malformed(format!("has no input {index}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_evaluated_is_bounded_one_by_one_and_together() {
        let mut budget = Budget::default();
        assert!(budget.spend(&[ELEMENTS + 1]).is_err());
        assert!(budget.spend(&[0, ELEMENTS + 1]).is_err());
        for _ in 0..TOTAL / ELEMENTS {
            assert_eq!(budget.spend(&[2, ELEMENTS / 2]).unwrap(), ELEMENTS);
        }
        assert!(matches!(
            budget.spend(&[1]),
            Err(Refusal::Failed(ImportError::TooLarge { limit: TOTAL, .. }))
        ));
    }
}
