//! Shapes and axes that nodes ask for, whether they are evaluated or translated.

use super::node::{Refusal, Site, axes, axis, extents, integers, malformed, unsupported};
use crate::graph::broadcast;
use crate::tensor::element_count;

/// The shape that Reshape, Flatten, Squeeze or Unsqueeze gives to a tensor of this shape.
pub(super) fn reshaped(site: &Site<'_>, shape: &[usize]) -> Result<Vec<usize>, Refusal> {
    match site.op() {
        "Flatten" => {
            let rank = shape.len();
            let at = site.int("axis").unwrap_or(1);
            let at = if i64::try_from(rank) == Ok(at) {
                rank
            } else {
                axis(at, rank)?
            };
            let product = |part: &[usize]| element_count(part).map_or_else(|| malformed("the extents overflow"), Ok);
            Ok(vec![product(&shape[..at])?, product(&shape[at..])?])
        }
        "Squeeze" => {
            let list = site.list("axes", 1)?;
            let squeezed = match list {
                Some(list) => axes(&list, shape.len())?,
                None => (0..shape.len()).filter(|&axis| shape[axis] == 1).collect(),
            };
            if let Some(axis) = squeezed.iter().find(|&&axis| shape[axis] != 1) {
                return malformed(format!("the axis {axis} of {shape:?} is not 1"));
            }
            let kept = shape.iter().enumerate().filter(|(axis, _)| !squeezed.contains(axis));
            Ok(kept.map(|(_, &extent)| extent).collect())
        }
        "Unsqueeze" => {
            let Some(list) = site.list("axes", 1)? else {
                return malformed("has no axes");
            };
            let added = axes(&list, shape.len().saturating_add(list.len()))?;
            let mut result = shape.to_vec();
            for axis in added {
                result.insert(axis, 1);
            }
            Ok(result)
        }
        _ => {
            let Some(list) = site.list("shape", 1)? else {
                return malformed("has no shape");
            };
            target(&list, shape, site.int("allowzero") == Some(1))
        }
    }
}

/// 0 keeps an extent, −1 takes what is left.
fn target(list: &[i64], shape: &[usize], zero_is_zero: bool) -> Result<Vec<usize>, Refusal> {
    let mut open = None;
    let mut result = Vec::new();
    for (index, &item) in list.iter().enumerate() {
        result.push(match (item, shape.get(index)) {
            (-1, _) if open.is_none() => {
                open = Some(index);
                1
            }
            (0, Some(&extent)) if !zero_is_zero => extent,
            (0, None) if !zero_is_zero => return malformed(format!("{shape:?} has no extent to keep at {index}")),
            _ => match usize::try_from(item) {
                Ok(extent) => extent,
                Err(_) => return malformed(format!("cannot take the shape {list:?}")),
            },
        });
    }
    if let Some(open) = open {
        let (all, rest) = (element_count(shape), element_count(&result));
        result[open] = match (all, rest) {
            (Some(all), Some(rest)) if rest > 0 && all % rest == 0 => all / rest,
            _ => return malformed(format!("{shape:?} cannot take the shape {list:?}")),
        };
    }
    if element_count(&result).is_none() || element_count(&result) != element_count(shape) {
        return malformed(format!("{shape:?} cannot take the shape {list:?}"));
    }
    Ok(result)
}

/// The shape that Expand gives: both are broadcast.
pub(super) fn expanded(site: &Site<'_>, shape: &[usize]) -> Result<Vec<usize>, Refusal> {
    let Some(list) = site.list("shape", 1)? else {
        return malformed("has no shape");
    };
    let wanted = extents(&list)?;
    broadcast(shape, &wanted).map_or_else(|| malformed(format!("{shape:?} does not broadcast to {wanted:?}")), Ok)
}

/// The permutation of Transpose; by default the axes are reversed.
pub(super) fn permutation(site: &Site<'_>, rank: usize) -> Result<Vec<usize>, Refusal> {
    let Some(list) = site.ints("perm") else {
        return Ok((0..rank).rev().collect());
    };
    let permutation = list
        .iter()
        .map(|&item| axis(item, rank))
        .collect::<Result<Vec<_>, _>>()?;
    if axes(list, rank)?.len() == rank {
        Ok(permutation)
    } else {
        malformed(format!("{list:?} is no permutation of {rank} axes"))
    }
}

/// What is left of one axis: elements `start`, `start + step`, …
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) start: usize,
    pub(super) step: i64,
    pub(super) count: usize,
}

/// What Slice leaves of each axis.
pub(super) fn cuts(site: &Site<'_>, shape: &[usize]) -> Result<Vec<Cut>, Refusal> {
    let (Some(starts), Some(ends)) = (site.list("starts", 1)?, site.list("ends", 2)?) else {
        return malformed("has no starts or ends");
    };
    let axes_list = site.list("axes", 3)?;
    let steps = site.list("steps", 4)?.unwrap_or_else(|| vec![1; starts.len()]);
    let along = match &axes_list {
        Some(list) => list
            .iter()
            .map(|&item| axis(item, shape.len()))
            .collect::<Result<Vec<_>, _>>()?,
        None => (0..starts.len()).collect(),
    };
    if starts.len() != ends.len() || steps.len() != starts.len() || along.len() != starts.len() {
        return malformed("starts, ends, axes and steps are not of one length");
    }
    let whole = |&extent: &usize| Cut {
        start: 0,
        step: 1,
        count: extent,
    };
    let mut cuts: Vec<Cut> = shape.iter().map(whole).collect();
    for (((&start, &end), &step), &axis) in starts.iter().zip(&ends).zip(&steps).zip(&along) {
        let (Some(cut), Some(&extent)) = (cuts.get_mut(axis), shape.get(axis)) else {
            return malformed(format!("there is no axis {axis}"));
        };
        *cut = self::cut(start, end, step, extent)?;
    }
    Ok(cuts)
}

fn cut(start: i64, end: i64, step: i64, extent: usize) -> Result<Cut, Refusal> {
    let Ok(extent) = i64::try_from(extent) else {
        return malformed("the extent overflows");
    };
    if step == 0 || step == i64::MIN {
        return malformed(format!("cannot go in steps of {step}"));
    }
    let from_front = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
    let (low, high) = if step > 0 { (0, extent) } else { (-1, extent - 1) };
    let (first, end) = (
        from_front(start).clamp(low.max(0).min(high), high),
        from_front(end).clamp(low, high),
    );
    // Distance in the direction of the step; both ends lie in −1..=extent.
    let distance = if step > 0 { end - first } else { first - end };
    let count = if extent == 0 || distance <= 0 {
        0
    } else {
        (distance - 1) / step.abs() + 1
    };
    Ok(Cut {
        start: usize::try_from(first).unwrap_or(0),
        step,
        count: usize::try_from(count).unwrap_or(0),
    })
}

/// Axis and sizes of Split.
pub(super) fn pieces(site: &Site<'_>, shape: &[usize]) -> Result<(usize, Vec<usize>), Refusal> {
    let along = axis(site.int("axis").unwrap_or(0), shape.len())?;
    if let Some(list) = site.list("split", 1)? {
        let sizes = extents(&list)?;
        return Ok((along, sizes));
    }
    let count = match site.int("num_outputs") {
        Some(count) => usize::try_from(count).unwrap_or(0),
        None => site.proto.output.len(),
    };
    if count == 0 || count != site.proto.output.len() {
        return malformed(format!("cannot split into {count}"));
    }
    // The last piece is smaller where it does not divide.
    let size = shape[along].div_ceil(count);
    let sizes = (0..count).map(|index| shape[along].saturating_sub(index.saturating_mul(size)).min(size));
    Ok((along, sizes.collect()))
}

/// Axes of a reduction, and whether they are kept. No axes at all: nothing is reduced.
pub(super) fn reduced(site: &Site<'_>, rank: usize) -> Result<(Vec<usize>, bool), Refusal> {
    let keep = site.int("keepdims").unwrap_or(1) != 0;
    let list = site.list("axes", 1)?.unwrap_or_default();
    if !list.is_empty() {
        return Ok((axes(&list, rank)?, keep));
    }
    if site.int("noop_with_empty_axes") == Some(1) {
        return Ok((Vec::new(), keep));
    }
    Ok(((0..rank).collect(), keep))
}

/// The axis of an operator that has one.
pub(super) fn along(site: &Site<'_>, default: i64, rank: usize) -> Result<usize, Refusal> {
    axis(site.int("axis").unwrap_or(default), rank)
}

/// The axis of Softmax and its kin. Before operator set 13 they took all axes from there on as one.
pub(super) fn softmax_axis(site: &Site<'_>, rank: usize) -> Result<usize, Refusal> {
    if site.opset >= 13 {
        return along(site, -1, rank);
    }
    let axis = along(site, 1, rank)?;
    if axis.checked_add(1) == Some(rank) {
        Ok(axis)
    } else {
        unsupported("it goes over several axes")
    }
}

/// What `GatherND` takes: places in the data with its first axes taken as one, and how many axes those are.
pub(super) struct Points {
    pub(super) places: Vec<i64>,
    /// Extents of the indices without their last axis.
    pub(super) shape: Vec<usize>,
    pub(super) axes: usize,
}

/// The points of `GatherND`, whose indices are known.
pub(super) fn points(site: &Site<'_>, shape: &[usize]) -> Result<Points, Refusal> {
    if site.int("batch_dims").unwrap_or(0) != 0 {
        return unsupported("it has batches");
    }
    let Some((indices, index_shape)) = site
        .constant(1)
        .and_then(|tensor| Some((integers(tensor)?, tensor.shape())))
    else {
        return unsupported("its indices are known only when it runs");
    };
    let Some((&axes, outer)) = index_shape
        .split_last()
        .filter(|&(&axes, _)| axes > 0 && axes <= shape.len())
    else {
        return malformed(format!("indices of shape {index_shape:?} do not fit {shape:?}"));
    };
    let mut places = Vec::new();
    for point in indices.chunks_exact(axes) {
        let mut place = 0_usize;
        for (&index, &extent) in point.iter().zip(shape) {
            let index = axis(index, extent).or_else(|_| malformed(format!("there is no index {index}")))?;
            // Below the number of elements of the data.
            place = place * extent + index;
        }
        places.push(i64::try_from(place).or_else(|_| malformed("an index overflows"))?);
    }
    Ok(Points {
        places,
        shape: outer.to_vec(),
        axes,
    })
}
