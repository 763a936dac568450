//! Operators that move elements, and reductions.

use super::super::node::{Refusal, Site, axis, integers, malformed, single};
use super::super::shape::{along, cuts, expanded, permutation, pieces, points, reduced, reshaped};
use super::elementwise::Numbers;
use super::{Budget, pick, places, repeating, strides, tensor_of};
use crate::tensor::{Elements, HostTensor};

pub(super) fn fold(site: &Site<'_>, budget: &mut Budget) -> Result<Option<Vec<HostTensor>>, Refusal> {
    let Some(input) = site.constant(0) else {
        return Ok(None);
    };
    let shape = input.shape();
    let one = |tensor: HostTensor| Ok(Some(vec![tensor]));
    match site.op() {
        "Identity" => one(input.clone()),
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => {
            let to = reshaped(site, shape)?;
            budget.spend(&to)?;
            one(tensor_of(&to, input.elements().clone())?)
        }
        "Expand" => {
            let to = expanded(site, shape)?;
            let count = budget.spend(&to)?;
            one(pick(input, &to, &places(&to, &repeating(shape, &to), 0, count))?)
        }
        "Transpose" => {
            let permutation = permutation(site, shape.len())?;
            let own = strides(shape);
            let to: Vec<usize> = permutation.iter().map(|&axis| shape[axis]).collect();
            let turned: Vec<i64> = permutation.iter().map(|&axis| own[axis]).collect();
            let count = budget.spend(&to)?;
            one(pick(input, &to, &places(&to, &turned, 0, count))?)
        }
        "Slice" => one(slice(site, input, budget)?),
        "Gather" => one(gather(site, input, budget)?),
        "GatherND" => {
            let points = points(site, shape)?;
            let rest = &shape[points.axes..];
            let to = [&points.shape, rest].concat();
            let inner: usize = rest.iter().product();
            budget.spend(&to)?;
            let starts = points
                .places
                .iter()
                .map(|&place| usize::try_from(place).unwrap_or(usize::MAX));
            let places: Vec<usize> = starts
                .flat_map(|start| (0..inner).map(move |after| start * inner + after))
                .collect();
            one(pick(input, &to, &places)?)
        }
        "Concat" => one(concat(site, budget)?),
        "Split" => split(site, input, budget).map(Some),
        "Tile" => one(tile(site, input, budget)?),
        "Trilu" => one(triangle(site, input, budget)?),
        "CumSum" => one(running_sum(site, input, budget)?),
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd" => one(reduce(site, input, budget)?),
        _ => Ok(None),
    }
}

fn slice(site: &Site<'_>, input: &HostTensor, budget: &mut Budget) -> Result<HostTensor, Refusal> {
    let cuts = cuts(site, input.shape())?;
    let own = strides(input.shape());
    let to: Vec<usize> = cuts.iter().map(|cut| cut.count).collect();
    let count = budget.spend(&to)?;
    let stepped: Vec<i64> = cuts
        .iter()
        .zip(&own)
        .map(|(cut, &stride)| stride.wrapping_mul(cut.step))
        .collect();
    let starts = cuts
        .iter()
        .zip(&own)
        .map(|(cut, &stride)| stride.wrapping_mul(i64::try_from(cut.start).unwrap_or(i64::MAX)));
    let offset = starts.fold(0, i64::wrapping_add);
    pick(input, &to, &places(&to, &stepped, offset, count))
}

/// Extents before, at and after an axis, multiplied.
fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (
        shape[..axis].iter().product(),
        shape[axis],
        shape[axis + 1..].iter().product(),
    )
}

fn gather(site: &Site<'_>, input: &HostTensor, budget: &mut Budget) -> Result<HostTensor, Refusal> {
    let axis = along(site, 0, input.shape().len())?;
    let Some((indices, index_shape)) = site
        .constant(1)
        .and_then(|tensor| Some((integers(tensor)?, tensor.shape())))
    else {
        return malformed("has no indices");
    };
    let mut to = input.shape()[..axis].to_vec();
    to.extend_from_slice(index_shape);
    to.extend_from_slice(&input.shape()[axis + 1..]);
    let count = budget.spend(&to)?;
    let (outer, extent, inner) = around(input.shape(), axis);
    let indices = indices
        .iter()
        .map(|&index| {
            super::super::node::axis(index, extent).or_else(|_| malformed(format!("there is no index {index}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut places = Vec::with_capacity(count);
    for before in 0..outer {
        for &index in &indices {
            places.extend((0..inner).map(|after| (before * extent + index) * inner + after));
        }
    }
    pick(input, &to, &places)
}

fn concat(site: &Site<'_>, budget: &mut Budget) -> Result<HostTensor, Refusal> {
    let inputs: Vec<&HostTensor> = (0..site.inputs.len())
        .filter_map(|index| site.constant(index))
        .collect();
    let Some(first) = inputs.first().filter(|_| inputs.len() == site.inputs.len()) else {
        return malformed("an input is missing");
    };
    let axis = along(site, 0, first.shape().len())?;
    let mut to = first.shape().to_vec();
    to[axis] = 0;
    for input in &inputs {
        let fits = input.shape().len() == to.len()
            && input.element_type() == first.element_type()
            && (0..to.len()).all(|other| other == axis || input.shape()[other] == to[other]);
        let extent = fits.then(|| to[axis].checked_add(input.shape()[axis])).flatten();
        to[axis] = extent.map_or_else(|| malformed("shapes or element types differ"), Ok)?;
    }
    budget.spend(&to)?;
    let (outer, _, _) = around(&to, axis);
    let mut joined = empty_like(first.elements());
    for before in 0..outer {
        for input in &inputs {
            let (_, extent, inner) = around(input.shape(), axis);
            let length = extent * inner;
            append(&mut joined, input.elements(), before * length, length);
        }
    }
    tensor_of(&to, joined)
}

fn empty_like(elements: &Elements) -> Elements {
    match elements {
        Elements::F32(_) => Elements::F32(Vec::new()),
        Elements::F64(_) => Elements::F64(Vec::new()),
        Elements::I64(_) => Elements::I64(Vec::new()),
        Elements::I32(_) => Elements::I32(Vec::new()),
        Elements::Bool(_) => Elements::Bool(Vec::new()),
    }
}

/// Appends part of elements of the same type.
fn append(to: &mut Elements, from: &Elements, start: usize, length: usize) {
    fn part<T: Copy>(to: &mut Vec<T>, from: &[T], start: usize, length: usize) {
        to.extend(from.iter().skip(start).take(length));
    }
    match (to, from) {
        (Elements::F32(to), Elements::F32(from)) => part(to, from, start, length),
        (Elements::F64(to), Elements::F64(from)) => part(to, from, start, length),
        (Elements::I64(to), Elements::I64(from)) => part(to, from, start, length),
        (Elements::I32(to), Elements::I32(from)) => part(to, from, start, length),
        (Elements::Bool(to), Elements::Bool(from)) => part(to, from, start, length),
        _ => {}
    }
}

fn split(site: &Site<'_>, input: &HostTensor, budget: &mut Budget) -> Result<Vec<HostTensor>, Refusal> {
    let (axis, sizes) = pieces(site, input.shape())?;
    let total = sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size));
    if total != Some(input.shape()[axis]) {
        return malformed(format!("pieces of {sizes:?} do not add up to the axis {axis}"));
    }
    let (own, mut start, mut results) = (strides(input.shape()), 0_usize, Vec::new());
    for size in sizes {
        let mut to = input.shape().to_vec();
        to[axis] = size;
        let count = budget.spend(&to)?;
        let offset = own[axis].wrapping_mul(i64::try_from(start).unwrap_or(i64::MAX));
        results.push(pick(input, &to, &places(&to, &own, offset, count))?);
        start += size;
    }
    Ok(results)
}

fn tile(site: &Site<'_>, input: &HostTensor, budget: &mut Budget) -> Result<HostTensor, Refusal> {
    let repeats = site.constant(1).and_then(integers).unwrap_or_default();
    let repeats = super::super::node::extents(&repeats)?;
    if repeats.len() != input.shape().len() {
        return malformed("repeats must be as many as there are axes");
    }
    let to: Option<Vec<usize>> = input
        .shape()
        .iter()
        .zip(&repeats)
        .map(|(&extent, &times)| extent.checked_mul(times))
        .collect();
    let to = to.map_or_else(|| malformed("the extents overflow"), Ok)?;
    let count = budget.spend(&to)?;
    // Axes of repeats between the axes: [r₀, e₀, r₁, e₁, …].
    let own = strides(input.shape());
    let between: Vec<usize> = repeats
        .iter()
        .zip(input.shape())
        .flat_map(|(&times, &extent)| [times, extent])
        .collect();
    let steps: Vec<i64> = own.iter().flat_map(|&stride| [0, stride]).collect();
    pick(input, &to, &places(&between, &steps, 0, count))
}

/// The elements whose places are kept; zeros elsewhere.
fn masked<T: Copy>(elements: &[T], zero: T, keeps: impl Fn(usize) -> bool) -> Vec<T> {
    let item = |(place, &x): (usize, &T)| if keeps(place) { x } else { zero };
    elements.iter().enumerate().map(item).collect()
}

/// The upper or lower triangle of matrices; zeros elsewhere.
fn triangle(site: &Site<'_>, input: &HostTensor, budget: &mut Budget) -> Result<HostTensor, Refusal> {
    let &[.., rows, columns] = input.shape() else {
        return malformed("takes matrices");
    };
    let upper = site.int("upper").unwrap_or(1) != 0;
    let diagonal = match site.constant(1) {
        Some(tensor) => integers(tensor).and_then(|list| list.first().copied()).unwrap_or(0),
        None => 0,
    };
    budget.spend(input.shape())?;
    let keeps = |place: usize| {
        let (row, column) = ((place / columns) % rows, place % columns);
        let above = i128::try_from(column).unwrap_or(0) - i128::try_from(row).unwrap_or(0) - i128::from(diagonal);
        if upper { above >= 0 } else { above <= 0 }
    };
    let kept = match input.elements() {
        Elements::F32(elements) => Elements::F32(masked(elements, 0.0, keeps)),
        Elements::F64(elements) => Elements::F64(masked(elements, 0.0, keeps)),
        Elements::I64(elements) => Elements::I64(masked(elements, 0, keeps)),
        Elements::I32(elements) => Elements::I32(masked(elements, 0, keeps)),
        Elements::Bool(elements) => Elements::Bool(masked(elements, false, keeps)),
    };
    tensor_of(input.shape(), kept)
}

fn running_sum(site: &Site<'_>, input: &HostTensor, budget: &mut Budget) -> Result<HostTensor, Refusal> {
    let at = site.constant(1).and_then(single).unwrap_or(0.0);
    #[expect(clippy::cast_possible_truncation, reason = "an integer, or else refused below")]
    let axis = axis(at as i64, input.shape().len())?;
    if site.int("exclusive") == Some(1) || site.int("reverse") == Some(1) {
        return super::super::node::unsupported("it is exclusive or goes backwards");
    }
    budget.spend(input.shape())?;
    let (_, extent, inner) = around(input.shape(), axis);
    let is_first = |place: usize| (place / inner).is_multiple_of(extent);
    let mut numbers = Numbers::of(input);
    match &mut numbers {
        Numbers::Float(items) => {
            for place in (0..items.len()).filter(|&place| !is_first(place)) {
                items[place] += items[place - inner];
            }
        }
        Numbers::Int(items) => {
            for place in (0..items.len()).filter(|&place| !is_first(place)) {
                items[place] = items[place].wrapping_add(items[place - inner]);
            }
        }
        Numbers::Bool(_) => return malformed("takes numbers"),
    }
    numbers.tensor(input.shape(), input.element_type())
}

fn reduce(site: &Site<'_>, input: &HostTensor, budget: &mut Budget) -> Result<HostTensor, Refusal> {
    let shape = input.shape();
    let (axes, keep) = reduced(site, shape.len())?;
    let kept: Vec<usize> = (0..shape.len())
        .map(|axis| if axes.contains(&axis) { 1 } else { shape[axis] })
        .collect();
    let dropped = |(axis, &extent): (usize, &usize)| (keep || !axes.contains(&axis)).then_some(extent);
    let to: Vec<usize> = kept.iter().enumerate().filter_map(dropped).collect();
    let (count, total) = (budget.spend(&kept)?, budget.spend(shape)?);
    let targets = places(shape, &repeating(&kept, shape), 0, total);
    let op = site.op();
    if total == 0 {
        return malformed("reduces nothing");
    }
    let result = match Numbers::of(input) {
        Numbers::Float(items) => {
            let of: fn(f64, f64) -> f64 = match op {
                "ReduceMax" => f64::max,
                "ReduceMin" => f64::min,
                "ReduceProd" => |a, b| a * b,
                _ => |a, b| a + b,
            };
            let mut results = gathered(&items, &targets, count, |a, b| Some(of(a, b)))?;
            if op == "ReduceMean" {
                let share = (total / count) as f64;
                for x in &mut results {
                    *x /= share;
                }
            }
            Numbers::Float(results)
        }
        Numbers::Int(items) => Numbers::Int(gathered(&items, &targets, count, |a, b| match op {
            "ReduceMax" => Some(a.max(b)),
            "ReduceMin" => Some(a.min(b)),
            "ReduceProd" => a.checked_mul(b),
            "ReduceSum" => a.checked_add(b),
            _ => None,
        })?),
        Numbers::Bool(_) => return malformed("takes numbers"),
    };
    result.tensor(&to, input.element_type())
}

/// Elements combined that have one target.
fn gathered<T: Copy>(
    items: &[T],
    targets: &[usize],
    count: usize,
    of: impl Fn(T, T) -> Option<T>,
) -> Result<Vec<T>, Refusal> {
    let mut results: Vec<Option<T>> = vec![None; count];
    for (&item, &target) in items.iter().zip(targets) {
        if let Some(result) = results.get_mut(target) {
            *result = match *result {
                Some(so_far) => Some(of(so_far, item).map_or_else(|| malformed("overflows"), Ok)?),
                None => Some(item),
            };
        }
    }
    let results: Option<Vec<T>> = results.into_iter().collect();
    results.map_or_else(|| malformed("reduces nothing"), Ok)
}
